//! Few rows and columns over a long depth: vectors run along the depth, which lies side by side in both operands.

use std::ops::Range;

use super::pack::is_run;
use super::tile::at_offsets;
use super::vector::Vector;
use super::{Kernels, Operands, Share, parts};

/// Rows and columns of a tile, at most: wide vectors have 24 sums.
const ROWS: usize = 6;
pub(super) const COLUMNS: usize = 4;

/// Columns of a tile: narrow vectors have twelve sums.
const fn most_columns<V: Vector>() -> usize {
    if V::MASKS { COLUMNS } else { 2 }
}

/// Whether registers hold so many sums.
pub(super) const fn is_tile_of_dots<V: Vector>(rows: usize, columns: usize) -> bool {
    rows <= ROWS && columns <= most_columns::<V>()
}

/// Computes a share.
///
/// # Safety
/// The processor has the vector's instructions; pointers and offsets are good.
#[inline(always)]
pub(super) unsafe fn compute<V: Kernels>(operands: &Operands<'_, V::Element>, share: &Share) {
    let count = share.columns.len();
    let width = parts(count, most_columns::<V>(), 1).next().map_or(1, |columns| columns.len());
    let whole = share.columns.start + count / width * width;
    for rows in parts(share.rows.len(), ROWS, 1) {
        let start = share.rows.start + rows.start;
        for columns in [share.columns.start..whole, whole..share.columns.end] {
            let width = width.min(columns.len());
            if width > 0
                && let Some(kernel) = V::DOTS[rows.len() - 1][width - 1]
            {
                // SAFETY: the caller's promise; rows and columns are in the share.
                unsafe { kernel(operands, start, columns) };
            }
        }
    }
}

/// The kernel: tiles of the result, from this row on, for so many columns at a time.
///
/// # Safety
/// As above.
#[inline(always)]
pub(super) unsafe fn tiles<V: Vector, const ROWS: usize, const COLUMNS: usize>(
    operands: &Operands<'_, V::Element>,
    row: usize,
    columns: Range<usize>,
) {
    for column in columns.step_by(COLUMNS) {
        // SAFETY: the caller's promise.
        unsafe { tile::<V, ROWS, COLUMNS>(operands, row, column) };
    }
}

#[inline(always)]
unsafe fn tile<V: Vector, const ROWS: usize, const COLUMNS: usize>(
    operands: &Operands<'_, V::Element>,
    row: usize,
    column: usize,
) {
    let Operands { rows: left, columns: right, out, scale, .. } = operands;
    let (rows, columns) = (&left.out[row..row + ROWS], &right.out[column..column + COLUMNS]);
    let is_side_by_side = is_run(columns);
    // SAFETY: the caller's promise.
    unsafe {
        let totals = totals(sums::<V, ROWS, COLUMNS>(operands, row, column));
        for (row, totals) in totals.iter().enumerate() {
            let start = out.offset(rows[row] as isize);
            match scale {
                None if is_side_by_side => {
                    let to = start.offset(columns[0] as isize);
                    to.copy_from_nonoverlapping(totals.as_ptr(), COLUMNS);
                }
                _ => {
                    for (column, &total) in totals[..COLUMNS].iter().enumerate() {
                        let at = start.offset(columns[column] as isize);
                        *at = scale.map_or(total, |scale| *at + total * scale);
                    }
                }
            }
        }
    }
}

/// Each vector's lanes added up.
#[expect(
    clippy::manual_memcpy,
    reason = "not every profile inlines that, and sums would leave their registers"
)]
#[inline(always)]
unsafe fn totals<V: Vector, const ROWS: usize, const COLUMNS: usize>(
    sums: [[V; COLUMNS]; ROWS],
) -> [[V::Element; 4]; ROWS] {
    let mut totals = [[V::Element::default(); 4]; ROWS];
    for row in 0..ROWS {
        // SAFETY: the caller's promise.
        unsafe {
            let mut quad = [V::splat(V::Element::default()); 4];
            for column in 0..COLUMNS {
                quad[column] = sums[row][column];
            }
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
    let mut sums = Sums::<V, ROWS, COLUMNS> {
        lhs: at_offsets(left.operand, &left.offsets[row..], <*const V::Element>::wrapping_offset),
        rhs: at_offsets(right.operand, &right.offsets[column..], <*const V::Element>::wrapping_offset),
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
