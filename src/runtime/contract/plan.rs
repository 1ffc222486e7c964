//! How a contraction is computed: which operand fills vectors, and from where.

use super::vector::Vector;
use super::{Side, dot};

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
    /// Cycles a depth, about: one for a vector multiplied and added.
    cost: usize,
}

/// Elements of a right operand that the first cache holds.
const SMALL: usize = 1 << 12;

/// A right operand that is no larger is read in place by at most so many rows: two tiles.
const FEW_ROWS: usize = 24;

impl Plan {
    /// The cheapest plan; `depth_run` depths at a time lie side by side in both operands.
    #[inline(always)]
    pub(super) fn of<V: Vector, T>(left: &Side<T>, right: &Side<T>, depth_run: usize) -> Plan {
        let (rows, columns, depth) = (left.offsets.len(), right.offsets.len(), left.depth.len());
        if V::MASKS && right.run == columns && columns * depth <= SMALL {
            return Plan { way: Way::InPlace, is_swapped: false, cost: 0 };
        }
        let (plain, swapped) = (Plan::of_columns::<V, T>(left, right), Plan::of_columns::<V, T>(right, left));
        // What is written across costs a little more.
        let is_swapped = 8 * swapped.cost < 7 * plain.cost;
        let best = if is_swapped { Plan { is_swapped, ..swapped } } else { plain };
        // Vectors of sums are added up at the end, in about 8 cycles.
        let sums = rows.next_multiple_of(dot::ROWS) * columns;
        let cost = sums * depth_run.div_ceil(V::LANES) / depth_run + 8 * sums / depth;
        match V::MASKS && 4 * cost < 3 * best.cost {
            true => Plan { way: Way::Dots, is_swapped: false, cost },
            false => best,
        }
    }

    /// The cheaper plan with vectors of columns.
    #[inline(always)]
    fn of_columns<V: Vector, T>(left: &Side<T>, right: &Side<T>) -> Plan {
        let (rows, columns) = (left.offsets.len(), right.offsets.len());
        // Vectors that runs are cut into, and vectors that are packed full.
        let cut = columns / right.run * right.run.div_ceil(V::LANES);
        let full = columns.div_ceil(V::LANES);
        // A vector beside no other is multiplied a sixth slower, or half as fast where an element takes an instruction
        // of its own. One is copied in 4 cycles or put together in 12.
        let height = match (full, V::MASKS) {
            (1, true) => rows + rows / 6,
            (1, false) => 2 * rows,
            _ => rows,
        };
        let is_transposed = V::MASKS && steps_by_one(right.depth, V::LANES);
        let is_copied = is_transposed || steps_by_one(right.offsets, V::LANES);
        let packed = full * (height + if is_copied { 4 } else { 12 });
        let in_place = cut * height;
        match (V::MASKS || right.run.is_multiple_of(V::LANES)) && rows <= FEW_ROWS && in_place <= packed {
            true => Plan { way: Way::InPlace, is_swapped: false, cost: in_place },
            false => Plan { way: Way::Packed, is_swapped: false, cost: packed },
        }
    }
}

/// Whether the first `count` offsets seem to be neighbours.
fn steps_by_one(offsets: &[i32], count: usize) -> bool {
    let last = offsets.len().min(count) - 1;
    offsets[last] - offsets[0] == last as i32
}
