//! Packing: a panel of the right operand copied into strips, each a few vectors wide, row by row of the depth.

use super::vector::Vector;

/// Copies the panel of these depths and columns, given the operand's offsets. Strips are `VECTORS` vectors wide; what
/// they have beyond the panel's columns is zero.
///
/// # Safety
/// The processor has the vector's instructions; the offsets are good for `from`; `to` has room for
/// `depth.len() · columns.len()` elements, the latter rounded up to a multiple of the strips' width.
#[inline(always)]
pub(super) unsafe fn panel<V: Vector, const VECTORS: usize>(
    from: *const V::Element,
    depth: &[i32],
    columns: &[i32],
    to: *mut V::Element,
) {
    let stride = VECTORS * V::LANES;
    for (number, columns) in columns.chunks(stride).enumerate() {
        for vector in 0..VECTORS {
            let start = (vector * V::LANES).min(columns.len());
            let lanes = &columns[start..(start + V::LANES).min(columns.len())];
            // SAFETY: the caller's promise.
            unsafe {
                let to = to.add(number * stride * depth.len() + vector * V::LANES);
                match lanes {
                    lanes if is_run(lanes) => side_by_side::<V>(from, depth, lanes, to, stride),
                    lanes if lanes.len() == V::LANES && is_run(depth) => {
                        across::<V>(from, depth, lanes, to, stride);
                    }
                    lanes => apart::<V>(from, depth, lanes, to, stride),
                }
            }
        }
    }
}

fn is_run(offsets: &[i32]) -> bool {
    offsets.windows(2).all(|pair| pair[1] - pair[0] == 1)
}

/// Columns that lie side by side: vectors are copied.
#[inline(always)]
unsafe fn side_by_side<V: Vector>(
    from: *const V::Element,
    depth: &[i32],
    lanes: &[i32],
    to: *mut V::Element,
    stride: usize,
) {
    let start = lanes.first().map_or(0, |&start| start as isize);
    for (row, &offset) in depth.iter().enumerate() {
        // SAFETY: the caller's promise; no column that does not exist is read.
        unsafe {
            let at = from.wrapping_offset(start + offset as isize);
            let value = match lanes.len() {
                count if count == V::LANES => V::load(at),
                0 => V::splat(V::Element::default()),
                count => V::load_first(at, count),
            };
            value.store(to.add(row * stride));
        }
    }
}

/// Columns along which the depths lie side by side: blocks are transposed on the way.
#[inline(always)]
unsafe fn across<V: Vector>(
    from: *const V::Element,
    depth: &[i32],
    lanes: &[i32],
    to: *mut V::Element,
    stride: usize,
) {
    let whole = depth.len() / V::LANES * V::LANES;
    // SAFETY: the caller's promise.
    unsafe {
        for block in (0..whole).step_by(V::LANES) {
            let mut rows = [from; 16];
            for (row, &column) in rows.iter_mut().zip(lanes) {
                *row = from.offset(column as isize + depth[block] as isize);
            }
            V::transpose(&rows[..V::LANES], to.add(block * stride), stride);
        }
        apart::<V>(from, &depth[whole..], lanes, to.add(whole * stride), stride);
    }
}

/// Columns anywhere: runs of neighbours, one after the other, and zeros for what is missing.
#[inline(always)]
unsafe fn apart<V: Vector>(
    from: *const V::Element,
    depth: &[i32],
    lanes: &[i32],
    to: *mut V::Element,
    stride: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        for run in lanes.chunk_by(|a, b| b - a == 1) {
            let lane = run.as_ptr().offset_from(lanes.as_ptr()) as usize;
            let source = from.offset(run[0] as isize);
            for (row, &offset) in depth.iter().enumerate() {
                let (to, source) = (to.add(row * stride + lane), source.offset(offset as isize));
                for column in 0..run.len() {
                    *to.add(column) = *source.add(column);
                }
            }
        }
        for lane in lanes.len()..V::LANES {
            for row in 0..depth.len() {
                *to.add(row * stride + lane) = V::Element::default();
            }
        }
    }
}
