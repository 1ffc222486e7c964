//! Packing: parts of an operand copied into strips, each a few vectors wide, row by row of the depth.

use super::vector::Vector;

/// Copies a strip of `vectors` vectors of lanes at these depths, given the operand's offsets. Lanes beyond those given
/// hold anything that is there.
///
/// # Safety
/// The processor has the vector's instructions; the offsets are good for `from`; `to` has room for a row of whole
/// vectors a depth.
#[inline(always)]
pub(super) unsafe fn strip<V: Vector>(
    from: *const V::Element,
    depth: &[i32],
    lanes: &[i32],
    to: *mut V::Element,
    vectors: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match vectors {
            1 => strip_of::<V, 1>(from, depth, lanes, to),
            2 => strip_of::<V, 2>(from, depth, lanes, to),
            3 => strip_of::<V, 3>(from, depth, lanes, to),
            _ => strip_of::<V, 4>(from, depth, lanes, to),
        }
    }
}

#[inline(always)]
unsafe fn strip_of<V: Vector, const VECTORS: usize>(
    from: *const V::Element,
    depth: &[i32],
    lanes: &[i32],
    to: *mut V::Element,
) {
    let stride = VECTORS * V::LANES;
    for vector in 0..VECTORS {
        let start = (vector * V::LANES).min(lanes.len());
        let lanes = &lanes[start..(start + V::LANES).min(lanes.len())];
        // SAFETY: the caller's promise.
        unsafe {
            let to = to.add(vector * V::LANES);
            match lanes {
                lanes if is_run(lanes) => side_by_side::<V>(from, depth, lanes, to, stride),
                lanes
                    if lanes.len() >= V::LANES / 2
                        && depth.len() >= V::LANES
                        && is_run(&depth[..V::LANES]) =>
                {
                    across::<V>(from, depth, lanes, to, stride)
                }
                lanes => apart::<V>(from, depth, lanes, to, stride),
            }
        }
    }
}

/// Whether offsets are neighbours.
pub(super) fn is_run(offsets: &[i32]) -> bool {
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
                count => V::load_masked(at, V::mask(count)),
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
    // SAFETY: the caller's promise; rows that do not exist are read as the last one.
    unsafe {
        let is_one_run = is_run(depth);
        for (block, depth) in depth.chunks(V::LANES).enumerate() {
            let to = to.add(block * V::LANES * stride);
            if depth.len() < V::LANES || !(is_one_run || is_run(depth)) {
                apart::<V>(from, depth, lanes, to, stride);
                continue;
            }
            let mut rows = [from; 16];
            for (lane, row) in rows.iter_mut().enumerate() {
                let column = lanes[lane.min(lanes.len() - 1)];
                *row = from.offset(column as isize + depth[0] as isize);
            }
            V::transpose(&rows, to, stride);
        }
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
