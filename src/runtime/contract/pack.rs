//! Packing: a panel of the right operand copied into strips, each a few vectors wide, row by row of the depth.

use std::ops::Range;

use super::vector::Vector;

/// Copies the panel of these depths and columns, given the operand's offsets. Strips are `WIDTH` columns wide; what
/// they have beyond the panel's columns is zero.
///
/// # Safety
/// The processor has the vector's instructions; the offsets are good for `from`; `to` has room for
/// `depth.len() · columns.len()` elements, the latter rounded up to a multiple of the width.
#[inline(always)]
pub(super) unsafe fn panel<V: Vector, const VECTORS: usize>(
    from: *const V::Element,
    depth: &[i32],
    columns: &[i32],
    to: *mut V::Element,
) {
    let width = VECTORS * V::LANES;
    for (number, columns) in columns.chunks(width).enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            let strip = to.add(number * width * depth.len());
            if is_run(columns) {
                rows::<V, VECTORS>(from.offset(columns[0] as isize), depth, columns.len(), strip);
            } else {
                columns_apart::<V, VECTORS>(from, depth, columns, strip);
            }
        }
    }
}

fn is_run(offsets: &[i32]) -> bool {
    offsets.windows(2).all(|pair| pair[1] - pair[0] == 1)
}

/// A strip whose columns lie side by side: vectors are copied.
#[inline(always)]
unsafe fn rows<V: Vector, const VECTORS: usize>(
    from: *const V::Element,
    depth: &[i32],
    columns: usize,
    strip: *mut V::Element,
) {
    let (whole, rest) = (columns / V::LANES, columns % V::LANES);
    let mut to = strip;
    for &offset in depth {
        // SAFETY: the caller's promise; the last vector reads existing columns only.
        unsafe {
            let row = from.offset(offset as isize);
            for vector in 0..VECTORS {
                let count = if vector < whole {
                    V::LANES
                } else if vector == whole {
                    rest
                } else {
                    0
                };
                let value = match count {
                    0 => V::splat(V::Element::default()),
                    count if count == V::LANES => V::load(row.add(vector * V::LANES)),
                    count => V::load_first(row.add(vector * V::LANES), count),
                };
                value.store(to.add(vector * V::LANES));
            }
            to = to.add(VECTORS * V::LANES);
        }
    }
}

/// A strip whose columns lie apart: runs of neighbouring columns, one after the other.
#[inline(always)]
unsafe fn columns_apart<V: Vector, const VECTORS: usize>(
    from: *const V::Element,
    depth: &[i32],
    columns: &[i32],
    strip: *mut V::Element,
) {
    let width = VECTORS * V::LANES;
    let mut next = 0;
    while next < columns.len() {
        let run = run_at(columns, next);
        // SAFETY: the caller's promise.
        unsafe {
            let source = from.offset(columns[next] as isize);
            let to = strip.add(next);
            for (row, &offset) in depth.iter().enumerate() {
                let (row, offset) = (to.add(row * width), source.offset(offset as isize));
                for column in 0..run.len() {
                    *row.add(column) = *offset.add(column);
                }
            }
        }
        next = run.end;
    }
    for column in columns.len()..width {
        for row in 0..depth.len() {
            // SAFETY: inside the strip.
            unsafe { *strip.add(row * width + column) = V::Element::default() };
        }
    }
}

/// The longest run of neighbouring columns that begins here.
fn run_at(columns: &[i32], start: usize) -> Range<usize> {
    let length = (start + 1..columns.len())
        .take_while(|&next| columns[next] - columns[start] == (next - start) as i32)
        .count();
    start..start + 1 + length
}
