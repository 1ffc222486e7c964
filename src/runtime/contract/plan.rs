//! How a contraction is computed: which operand fills vectors, and from where.

use super::Side;
use super::cache::{PERIOD, steps_by_multiple};
use super::vector::Vector;

/// Where vectors come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Way {
    /// Vectors of columns of the packed right operand.
    Packed,
    /// Vectors of columns, read where they lie.
    InPlace,
    /// Vectors of depths of both operands, read where they lie.
    Dots,
}

pub(super) struct Plan {
    pub way: Way,
    /// Whether the left operand's rows take the place of columns.
    pub is_swapped: bool,
    /// In vectors multiplied and added, about.
    cost: usize,
}

/// A right operand of so many bytes is held by the second cache beside all else.
pub(super) const NEAR: usize = 512 << 10;

/// Rows of so many bytes are held by the first cache, a tile's of both operands.
const LONG: usize = 4 << 10;

/// One that is not is read in place by so few rows: two tiles.
const FEW_ROWS: usize = 24;

/// If vectors are narrow and its lines compete with each other, by so few.
const FEWER_ROWS: usize = 12;

impl Plan {
    /// The cheapest plan; `depth_run` depths at a time lie side by side in both operands.
    #[inline(always)]
    pub(super) fn of<V: Vector, T>(left: &Side<T>, right: &Side<T>, depth_run: usize) -> Plan {
        let (rows, columns, depth) = (left.offsets.len(), right.offsets.len(), left.depth.len());
        let plain = Plan::of_columns::<V, T>(left, right);
        let swapped = Plan::of_columns::<V, T>(right, left);
        // In doubt, as the result lies in memory.
        let is_swapped = 8 * swapped.cost < 7 * plain.cost;
        let best = if is_swapped { Plan { is_swapped, ..swapped } } else { plain };
        // Every run begins anew, and lanes are added up at the end; what is read under masks alone is waited for, and
        // so is what a cache does not hold.
        let runs = depth / depth_run;
        let vectors = depth_run.div_ceil(V::LANES) * runs;
        let ending = V::LANES / 8 + if depth_run < V::LANES { 5 } else { 0 };
        let waits = match depth * size_of::<T>() {
            long if long > LONG => vectors / 3,
            long if long * columns > NEAR => vectors / 10,
            _ => 0,
        };
        let cost = rows * columns * (vectors + waits + 4 * runs / 3 + ending);
        let is_thin = rows.min(columns) <= V::THIN && depth_run >= 4 * V::LANES;
        match if V::MASKS { cost < best.cost } else { is_thin } {
            true => Plan { way: Way::Dots, is_swapped: !V::MASKS && columns > rows, cost },
            false => best,
        }
    }

    /// The cheaper plan with vectors of columns.
    #[inline(always)]
    fn of_columns<V: Vector, T>(left: &Side<T>, right: &Side<T>) -> Plan {
        let (rows, columns, depth) = (left.offsets.len(), right.offsets.len(), left.depth.len());
        // Vectors that runs are cut into, and vectors that are packed full.
        let cut = columns / right.run * right.run.div_ceil(V::LANES);
        let full = columns.div_ceil(V::LANES);
        // A vector beside no other waits for the elements it is multiplied with, or is multiplied half as fast where
        // an element takes an instruction of its own.
        let height = match (full, V::MASKS) {
            (1, true) => rows * 8 / 5,
            (1, false) => 2 * rows,
            _ => rows,
        };
        // What a vector of sums takes at the end, beside so many: to be written, or to be written across.
        let ending = match (seem_to_step_by(right.out, 1, V::LANES), V::MASKS) {
            (true, true) => 10 * rows,
            (true, false) if columns < V::LANES => 45 * rows,
            (true, false) => 16 * rows,
            (false, true) => 220 * rows.div_ceil(V::ROWS),
            (false, false) => 440 * rows.div_ceil(V::ROWS),
        };
        let packed = full * ((height + packing::<V, T>(right)) * depth + ending);
        let in_place = cut * (height * depth + ending);
        // Tiles of narrow vectors are small: the operand is read more often, and packing it pays sooner.
        let crowd = if V::MASKS { PERIOD } else { PERIOD / 2 };
        let near = match rows {
            _ if V::MASKS => NEAR,
            ..=64 => NEAR / 4,
            65..=128 => NEAR / 16,
            _ => 0,
        };
        let is_crowded = steps_by_multiple::<T>(right.depth, crowd);
        let bytes = if V::MASKS { columns * depth * size_of::<T>() } else { right.bytes() };
        let is_near = rows <= FEWER_ROWS
            || right.is_in_panels()
            || rows <= FEW_ROWS && (V::MASKS || !is_crowded)
            || bytes <= near && !is_crowded;
        let fits = V::MASKS || right.run >= V::LANES;
        match fits && is_near && in_place <= packed {
            true => Plan { way: Way::InPlace, is_swapped: false, cost: in_place },
            false => Plan { way: Way::Packed, is_swapped: false, cost: packed },
        }
    }
}

/// What it takes to pack a vector: it is copied or put together from two runs, a transposed block, every other element, or
/// put together from many runs, if not an element at a time.
#[inline(always)]
fn packing<V: Vector, T>(side: &Side<T>) -> usize {
    let is_along = side.depth.len() >= V::LANES && seem_to_step_by(side.depth, 1, V::LANES);
    // Runs are of the result too: shorter ones say nothing here.
    let is_cut = (V::LANES..side.offsets.len()).contains(&side.run) && !side.run.is_multiple_of(V::LANES);
    if seem_to_step_by(side.offsets, 1, V::LANES) {
        // Where runs meet, a vector is two loads of some lanes.
        6 + if is_cut { 12 * V::LANES / side.run } else { 0 }
    } else if is_along && !is_broken::<V>(side.depth) {
        if V::MASKS { 10 } else { 18 }
    } else if side.offsets.len() >= V::LANES && seem_to_step_by(side.offsets, 2, V::LANES) {
        8
    } else if side.depth.len() < V::LANES {
        4 * V::LANES
    } else if V::MASKS {
        40
    } else {
        24
    }
}

/// Whether depths lie in short runs, two of which meet in many vectors: these are copied an element at a time.
fn is_broken<V: Vector>(depth: &[i32]) -> bool {
    let first = &depth[..depth.len().min(4 * V::LANES)];
    let run = || first.windows(2).position(|pair| pair[1] - pair[0] != 1);
    !seem_to_step_by(first, 1, first.len()) && run().is_some_and(|last| !(last + 1).is_multiple_of(V::LANES))
}

/// Whether the first `count` offsets seem to be so far apart.
fn seem_to_step_by(offsets: &[i32], step: i32, count: usize) -> bool {
    let last = offsets.len().min(count) - 1;
    offsets[last] - offsets[0] == step * last as i32
}
