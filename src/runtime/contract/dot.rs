//! Few rows and columns over a long depth: vectors run along the depth, which lies side by side in both operands.

use std::ops::Range;

use super::vector::Vector;
use super::{Operands, Share, parts};

/// Rows and, at most, columns of a tile: 24 sums.
pub(super) const ROWS: usize = 6;
pub(super) const COLUMNS: usize = 4;

/// Computes a share.
///
/// # Safety
/// The processor has the vector's instructions; pointers and offsets are good.
#[inline(always)]
pub(super) unsafe fn compute<V: Vector>(operands: &Operands<'_, V::Element>, share: &Share<V::Element>) {
    for rows in parts(share.rows.len(), ROWS, 1) {
        let rows = share.rows.start + rows.start..share.rows.start + rows.end;
        for columns in parts(share.columns.len(), COLUMNS, 1) {
            let columns = share.columns.start + columns.start..share.columns.start + columns.end;
            // SAFETY: the caller's promise.
            unsafe {
                match columns.len() {
                    1 => tile::<V, 1>(operands, rows.clone(), columns),
                    2 => tile::<V, 2>(operands, rows.clone(), columns),
                    3 => tile::<V, 3>(operands, rows.clone(), columns),
                    _ => tile::<V, 4>(operands, rows.clone(), columns),
                }
            }
        }
    }
}

/// Rows that do not exist are computed as the last one.
#[inline(always)]
unsafe fn tile<V: Vector, const COLUMNS: usize>(
    operands: &Operands<'_, V::Element>,
    rows: Range<usize>,
    columns: Range<usize>,
) {
    let Operands { rows: left, columns: right, out, scale, depth_run, .. } = operands;
    let mut lhs = [left.operand; ROWS];
    for (at, lhs) in lhs.iter_mut().enumerate() {
        *lhs = lhs.wrapping_offset(left.offsets[(rows.start + at).min(rows.end - 1)] as isize);
    }
    let mut rhs = [right.operand; COLUMNS];
    for (rhs, column) in rhs.iter_mut().zip(columns.clone()) {
        *rhs = rhs.wrapping_offset(right.offsets[column] as isize);
    }
    // SAFETY: the caller's promise; no depth is read that does not exist.
    unsafe {
        let mut sums = [[V::splat(V::Element::default()); COLUMNS]; ROWS];
        for (left_run, right_run) in left.depth.chunks(*depth_run).zip(right.depth.chunks(*depth_run)) {
            for (left, right) in left_run.chunks(V::LANES).zip(right_run.chunks(V::LANES)) {
                let mask = V::mask(left.len());
                let (left, right) = (left[0] as isize, right[0] as isize);
                let mut vectors = [V::splat(V::Element::default()); COLUMNS];
                for column in 0..COLUMNS {
                    vectors[column] = V::load_masked(rhs[column].offset(right), mask);
                }
                for row in 0..ROWS {
                    let vector = V::load_in_turn(lhs[row].offset(left), mask);
                    for column in 0..COLUMNS {
                        sums[row][column] = sums[row][column].add_product(vector, vectors[column]);
                    }
                }
            }
        }
        let mut lanes = [[[V::Element::default(); 16]; COLUMNS]; ROWS];
        for row in 0..ROWS {
            for column in 0..COLUMNS {
                sums[row][column].store(lanes[row][column].as_mut_ptr());
            }
        }
        for (row, lanes) in rows.zip(&lanes) {
            for (column, lanes) in columns.clone().zip(lanes) {
                let sum = lanes.iter().fold(V::Element::default(), |sum, &lane| sum + lane);
                let at = out.offset(left.out[row] as isize + right.out[column] as isize);
                *at = match scale {
                    None => sum,
                    Some(scale) => *at + sum * *scale,
                };
            }
        }
    }
}
