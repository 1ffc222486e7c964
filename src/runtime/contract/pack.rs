//! Packing: parts of an operand copied into strips, each a few vectors wide, depth after depth.

use super::cache::{LINE, PERIOD, steps_by_multiple};
use super::vector::Vector;

/// A part of an operand: its offsets for each depth and each lane.
#[derive(Clone, Copy)]
pub(super) struct Part<'p, T> {
    pub from: *const T,
    pub depth: &'p [i32],
    pub lanes: &'p [i32],
    /// Whether all depths are neighbours.
    pub is_along: bool,
}

/// From one strip to the next, in elements: a line more where strips' lines would compete with each other.
pub(super) const fn strip_elements<V: Vector>(vectors: usize, depth: usize) -> usize {
    let elements = vectors * V::LANES * depth;
    let is_period = (elements * size_of::<V::Element>()).is_multiple_of(PERIOD);
    if is_period { elements + LINE / size_of::<V::Element>() } else { elements }
}

/// Copies a part in strips of `width` lanes, each in so many vectors. Lanes beyond those given hold anything that is there.
///
/// # Safety
/// The processor has the vector's instructions; the offsets are good; `to` has room for all strips.
#[inline(always)]
pub(super) unsafe fn pack<V: Vector>(
    part: Part<'_, V::Element>,
    to: *mut V::Element,
    vectors: usize,
    width: usize,
) {
    let stride = vectors * V::LANES;
    let strip_elements = strip_elements::<V>(vectors, part.depth.len());
    // Those whose vectors end within the part.
    let whole = match part.lanes.len().checked_sub(stride) {
        Some(rest) if is_run(part.lanes) => rest / width + 1,
        _ => 0,
    };
    // SAFETY: the caller's promise.
    unsafe {
        match vectors {
            1 => row_by_row::<V, 1>(part, whole, to, width),
            2 => row_by_row::<V, 2>(part, whole, to, width),
            3 => row_by_row::<V, 3>(part, whole, to, width),
            _ => row_by_row::<V, 4>(part, whole, to, width),
        }
        for (strip, lanes) in part.lanes.chunks(width).enumerate().skip(whole) {
            let to = to.add(strip * strip_elements);
            if vectors == 2 && is_across_at_once::<V>(Part { lanes, ..part }) {
                across::<V, 2>(Part { lanes, ..part }, to, stride);
                continue;
            }
            for vector in 0..vectors {
                let start = (vector * V::LANES).min(lanes.len());
                let lanes = &lanes[start..(start + V::LANES).min(lanes.len())];
                one_vector::<V>(Part { lanes, ..part }, to.add(vector * V::LANES), stride);
            }
        }
    }
}

/// Copies whole strips whose lanes are all neighbours, some at a time in the order in which they lie in memory.
#[inline(always)]
unsafe fn row_by_row<V: Vector, const VECTORS: usize>(
    part: Part<'_, V::Element>,
    strips: usize,
    to: *mut V::Element,
    width: usize,
) {
    let start = part.lanes.first().map_or(0, |&start| start as isize);
    let stride = VECTORS * V::LANES;
    let strip = strip_elements::<V>(VECTORS, part.depth.len());
    for group in (0..strips).step_by(GROUP) {
        let count = GROUP.min(strips - group);
        let at = |offset: i32| part.from.wrapping_offset(start + offset as isize).wrapping_add(group * width);
        for (row, &offset) in part.depth.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                if let Some(&ahead) = part.depth.get(row + AHEAD) {
                    for vector in 0..(count * width).div_ceil(V::LANES) {
                        V::prefetch(at(ahead).wrapping_add(vector * V::LANES));
                    }
                }
                let mut from = at(offset);
                let mut to = to.add(group * strip + row * stride);
                for _ in 0..count {
                    for vector in 0..VECTORS {
                        V::load(from.add(vector * V::LANES)).store(to.add(vector * V::LANES));
                    }
                    (from, to) = (from.add(width), to.add(strip));
                }
            }
        }
    }
}

/// So many strips are written at a time.
const GROUP: usize = 8;

/// So many rows are asked for ahead: each may begin in a page of its own, where the processor fetches nothing by itself.
const AHEAD: usize = 8;

#[inline(always)]
unsafe fn one_vector<V: Vector>(part: Part<'_, V::Element>, to: *mut V::Element, stride: usize) {
    let Part { depth, lanes, is_along, .. } = part;
    let is_long = lanes.len() >= V::LANES / 2 && depth.len() >= V::LANES;
    // SAFETY: the caller's promise.
    unsafe {
        if is_run(lanes) {
            side_by_side::<V>(part, to, stride);
        } else if is_long && (is_along || is_run(&depth[..V::LANES])) {
            across::<V, 1>(part, to, stride);
        } else if lanes.len() == V::LANES && steps_by(lanes, 2) {
            every_other::<V>(part, to, stride);
        } else if let Some(second) = start_of_second_run(lanes).filter(|_| lanes.len() == V::LANES) {
            joined::<V>(part, second, to, stride);
        } else {
            apart::<V>(part, to, stride);
        }
    }
}

/// Where the second of two runs of neighbours begins.
fn start_of_second_run(offsets: &[i32]) -> Option<usize> {
    let first = offsets.windows(2).position(|pair| pair[1] - pair[0] != 1)? + 1;
    is_run(&offsets[first..]).then_some(first)
}

/// Whether offsets are neighbours.
pub(super) fn is_run(offsets: &[i32]) -> bool {
    steps_by(offsets, 1)
}

/// Most that do not are told by their ends; the others are compared without a branch for each.
fn steps_by(offsets: &[i32], step: i32) -> bool {
    let (Some(first), Some(last)) = (offsets.first(), offsets.last()) else { return true };
    let span = i64::from(step) * (offsets.len() as i64 - 1);
    let is_step = |is_even: bool, (a, b): (&i32, &i32)| is_even & (b.wrapping_sub(*a) == step);
    i64::from(*last) - i64::from(*first) == span && offsets.iter().zip(&offsets[1..]).fold(true, is_step)
}

/// Columns that lie side by side: vectors are copied.
#[inline(always)]
unsafe fn side_by_side<V: Vector>(part: Part<'_, V::Element>, to: *mut V::Element, stride: usize) {
    let start = part.lanes.first().map_or(0, |&start| start as isize);
    for (row, &offset) in part.depth.iter().enumerate() {
        // SAFETY: the caller's promise; no column that does not exist is read.
        unsafe {
            let at = part.from.wrapping_offset(start + offset as isize);
            let value = match part.lanes.len() {
                count if count == V::LANES => V::load(at),
                0 => V::splat(V::Element::default()),
                count => V::load_masked(at, V::mask(count)),
            };
            value.store(to.add(row * stride));
        }
    }
}

/// So many columns are read at once: each is a stream of its own that the processor fetches ahead.
const COLUMNS: usize = 16;

/// Whether two vectors of columns are filled together, so that lines of the copy are written once.
fn is_across_at_once<V: Vector>(Part { depth, lanes, is_along, .. }: Part<'_, V::Element>) -> bool {
    let is_full = lanes.len() == 2 * V::LANES && lanes.len() <= COLUMNS;
    let competes = steps_by_multiple::<V::Element>(lanes, PERIOD);
    is_full && is_along && depth.len() >= V::LANES && !is_run(lanes) && !competes
}

/// Columns along which the depths lie side by side: blocks are transposed on the way, the last one may overlap another.
#[inline(always)]
unsafe fn across<V: Vector, const VECTORS: usize>(
    part: Part<'_, V::Element>,
    to: *mut V::Element,
    stride: usize,
) {
    let Part { from, depth, lanes, is_along } = part;
    let step = lanes.get(1).map_or(0, |second| (second - lanes[0]) as isize);
    if is_along && lanes.len() == VECTORS * V::LANES && steps_by(lanes, step as i32) {
        let from = from.wrapping_offset(lanes[0] as isize + depth[0] as isize);
        // SAFETY: the caller's promise.
        return unsafe { evenly_across::<V, VECTORS>(from, step, depth.len(), to, stride) };
    }
    let mut columns = [[from; 16]; VECTORS];
    for (vector, columns) in columns.iter_mut().enumerate() {
        for (lane, column) in columns.iter_mut().enumerate() {
            // Columns that do not exist are read as the last one.
            let lane = (vector * V::LANES + lane).min(lanes.len() - 1);
            *column = from.wrapping_offset(lanes[lane] as isize);
        }
    }
    for start in blocks::<V>(depth.len()) {
        let depth = &depth[start..start + V::LANES];
        // SAFETY: the caller's promise; two vectors are filled only where depths are neighbours.
        unsafe {
            let to = to.add(start * stride);
            if !is_along && !is_run(depth) {
                apart::<V>(Part { depth, ..part }, to, stride);
                continue;
            }
            for (vector, columns) in columns.iter().enumerate() {
                let row = |at: usize| columns[at].wrapping_offset(depth[0] as isize);
                V::transpose(row, to.add(vector * V::LANES), stride);
            }
        }
    }
}

/// Where blocks of depths begin.
fn blocks<V: Vector>(depths: usize) -> impl Iterator<Item = usize> {
    (0..depths).step_by(V::LANES).map(move |start| start.min(depths - V::LANES))
}

/// The same for columns that are all `step` apart. Every fourth has a pointer, so that registers hold all addresses.
#[inline(always)]
unsafe fn evenly_across<V: Vector, const VECTORS: usize>(
    from: *const V::Element,
    step: isize,
    depths: usize,
    mut to: *mut V::Element,
    stride: usize,
) {
    // Two vectors are a strip: a number known in advance.
    let stride = if VECTORS == 2 { 2 * V::LANES } else { stride };
    let mut fourths: [_; 8] = std::array::from_fn(|number| from.wrapping_offset(4 * number as isize * step));
    let mut start = 0;
    loop {
        for vector in 0..VECTORS {
            let lane = vector * V::LANES;
            let column = |at: usize| fourths[(lane + at) / 4].wrapping_offset((at % 4) as isize * step);
            // SAFETY: the caller's promise.
            unsafe { V::transpose(column, to.wrapping_add(lane), stride) };
        }
        let next = V::LANES.min(depths - V::LANES - start);
        if next == 0 {
            return;
        }
        start += next;
        to = to.wrapping_add(next * stride);
        for fourth in &mut fourths[..VECTORS * V::LANES / 4] {
            *fourth = fourth.wrapping_add(next);
        }
    }
}

/// A vector of columns two apart: windows that move by two.
#[inline(always)]
unsafe fn every_other<V: Vector>(part: Part<'_, V::Element>, to: *mut V::Element, stride: usize) {
    let from = part.from.wrapping_offset(part.lanes[0] as isize);
    for (row, &offset) in part.depth.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe { V::load_every_other(from.offset(offset as isize)).store(to.add(row * stride)) };
    }
}

/// A vector of columns in two runs: where rows of an image meet.
#[inline(always)]
unsafe fn joined<V: Vector>(part: Part<'_, V::Element>, second: usize, to: *mut V::Element, stride: usize) {
    let starts = [part.lanes[0], part.lanes[second] - second as i32];
    // SAFETY: no vector has fewer lanes.
    let mask = unsafe { V::mask(second) };
    for (row, &offset) in part.depth.iter().enumerate() {
        let at = |start: i32| part.from.wrapping_offset(start as isize + offset as isize);
        // SAFETY: the caller's promise.
        unsafe { V::load_joined([at(starts[0]), at(starts[1])], mask).store(to.add(row * stride)) };
    }
}

/// Columns anywhere: runs of neighbours, one after the other, and zeros for what is missing.
#[inline(always)]
unsafe fn apart<V: Vector>(part: Part<'_, V::Element>, to: *mut V::Element, stride: usize) {
    let Part { from, depth, lanes, .. } = part;
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
