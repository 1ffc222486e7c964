//! Few rows and columns over a long depth: vectors run along the depth, which lies side by side in both operands.

use super::pack::is_run;
use super::vector::Vector;
use super::{Operands, Share, Side, parts};

/// Rows and columns of a tile, at most: 24 sums.
const ROWS: usize = 6;
pub(super) const COLUMNS: usize = 4;

/// Columns of a tile of narrow vectors, which has twelve.
const FEW_COLUMNS: usize = 2;

/// Computes a share.
///
/// # Safety
/// The processor has the vector's instructions; pointers and offsets are good.
#[inline(always)]
pub(super) unsafe fn compute<V: Vector>(operands: &Operands<'_, V::Element>, share: &Share) {
    let most = if V::MASKS { COLUMNS } else { FEW_COLUMNS };
    for rows in parts(share.rows.len(), ROWS, 1) {
        let rows = share.rows.start + rows.start..share.rows.start + rows.end;
        for columns in parts(share.columns.len(), most, 1) {
            let columns = share.columns.start + columns.start..share.columns.start + columns.end;
            macro_rules! by_columns {
                ($rows:literal) => {
                    match columns.len() {
                        1 => tile::<V, $rows, 1>(operands, rows.start, columns.start),
                        2 => tile::<V, $rows, 2>(operands, rows.start, columns.start),
                        3 => tile::<V, $rows, 3>(operands, rows.start, columns.start),
                        _ => tile::<V, $rows, 4>(operands, rows.start, columns.start),
                    }
                };
            }
            // SAFETY: the caller's promise; rows and columns are in the share.
            unsafe {
                match rows.len() {
                    1 => by_columns!(1),
                    2 => by_columns!(2),
                    3 => by_columns!(3),
                    4 => by_columns!(4),
                    5 => by_columns!(5),
                    _ => by_columns!(6),
                }
            }
        }
    }
}

#[inline(always)]
unsafe fn tile<V: Vector, const ROWS: usize, const COLUMNS: usize>(
    operands: &Operands<'_, V::Element>,
    row: usize,
    column: usize,
) {
    let Operands { rows: left, columns: right, out, scale, .. } = operands;
    let columns = &right.out[column..column + COLUMNS];
    let is_side_by_side = is_run(columns);
    // SAFETY: the caller's promise.
    unsafe {
        let totals = totals(sums::<V, ROWS, COLUMNS>(operands, row, column));
        for (totals, &row) in totals.iter().zip(&left.out[row..row + ROWS]) {
            let start = out.offset(row as isize);
            match scale {
                None if is_side_by_side => {
                    let to = start.offset(columns[0] as isize);
                    to.copy_from_nonoverlapping(totals.as_ptr(), COLUMNS);
                }
                _ => {
                    for (&column, &total) in columns.iter().zip(totals) {
                        let at = start.offset(column as isize);
                        *at = scale.map_or(total, |scale| *at + total * scale);
                    }
                }
            }
        }
    }
}

/// Each vector's lanes added up.
#[inline(always)]
unsafe fn totals<V: Vector, const ROWS: usize, const COLUMNS: usize>(
    sums: [[V; COLUMNS]; ROWS],
) -> [[V::Element; 4]; ROWS] {
    let mut totals = [[V::Element::default(); 4]; ROWS];
    for row in 0..ROWS {
        // SAFETY: the caller's promise.
        unsafe {
            let mut quad = [V::splat(V::Element::default()); 4];
            quad[..COLUMNS].copy_from_slice(&sums[row]);
            totals[row] = V::sums_of_lanes(quad);
        }
    }
    totals
}

/// The products' sums, lane by lane.
#[inline(always)]
unsafe fn sums<V: Vector, const ROWS: usize, const COLUMNS: usize>(
    operands: &Operands<'_, V::Element>,
    row: usize,
    column: usize,
) -> [[V; COLUMNS]; ROWS] {
    let Operands { rows: left, columns: right, depth_run, .. } = operands;
    let at = |side: &Side<'_, V::Element>, number: usize| {
        side.operand.wrapping_offset(side.offsets[number] as isize)
    };
    let mut sums = Sums::<V, ROWS, COLUMNS> {
        lhs: std::array::from_fn(|number| at(left, row + number)),
        rhs: std::array::from_fn(|number| at(right, column + number)),
        // SAFETY: the caller's promise, here and below; no depth is read that does not exist.
        sums: unsafe { [[V::splat(V::Element::default()); COLUMNS]; ROWS] },
    };
    let (whole, rest) = (depth_run / V::LANES, depth_run % V::LANES);
    for start in (0..left.depth.len()).step_by(*depth_run) {
        let (mut left, mut right) = (left.depth[start] as isize, right.depth[start] as isize);
        for _ in 0..whole {
            unsafe { sums.add(left, right, None) };
            (left, right) = (left + V::LANES as isize, right + V::LANES as isize);
        }
        if rest > 0 {
            unsafe { sums.add(left, right, Some(V::mask(rest))) };
        }
    }
    sums.sums
}

struct Sums<V: Vector, const ROWS: usize, const COLUMNS: usize> {
    lhs: [*const V::Element; ROWS],
    rhs: [*const V::Element; COLUMNS],
    sums: [[V; COLUMNS]; ROWS],
}

impl<V: Vector, const ROWS: usize, const COLUMNS: usize> Sums<V, ROWS, COLUMNS> {
    /// Adds the products at these offsets, or those of the mask.
    #[expect(clippy::needless_range_loop, reason = "plain counted loops over constants are unrolled early")]
    #[inline(always)]
    unsafe fn add(&mut self, left: isize, right: isize, mask: Option<V::Mask>) {
        // SAFETY: the caller's promise.
        unsafe {
            let mut vectors = [V::splat(V::Element::default()); COLUMNS];
            for column in 0..COLUMNS {
                let at = self.rhs[column].offset(right);
                vectors[column] = mask.map_or_else(|| V::load(at), |mask| V::load_masked(at, mask));
            }
            for row in 0..ROWS {
                let vector = V::load_in_turn(self.lhs[row], left, mask);
                for column in 0..COLUMNS {
                    self.sums[row][column] = self.sums[row][column].add_product(vector, vectors[column]);
                }
            }
        }
    }
}
