//! A tile's sums over the depth: what nearly all time goes into.

use super::tile::{Places, Rows, Tiles};
use super::vector::Vector;

/// How depths follow one another.
#[derive(Clone, Copy, Debug)]
pub(super) enum Depths {
    /// At the offsets that are given.
    Listed,
    /// So many elements apart, in the left operand and the right one.
    Even(isize, isize),
    /// Rows are copied, and strips packed with no other vectors between theirs.
    Packed,
}

impl Depths {
    #[inline(always)]
    pub(super) fn of(left: Option<i32>, right: Option<i32>) -> Depths {
        match (left, right) {
            (Some(left), Some(right)) => Depths::Even(left as isize, right as isize),
            _ => Depths::Listed,
        }
    }
}

/// The sums of a tile.
///
/// # Safety
/// As for the tile.
#[inline(always)]
pub(super) unsafe fn sums<V: Vector, const ROWS: usize, const VECTORS: usize>(
    tiles: &Tiles<'_, V::Element>,
    rows: &Rows<'_, V::Element>,
    places: &Places<V, VECTORS>,
) -> [[V; VECTORS]; ROWS] {
    let (left, right) = (&rows.depth[..tiles.right.len()], tiles.right);
    // Counted up to zero: that takes a register less.
    let (left_end, right_end) = (left.as_ptr_range().end, right.as_ptr_range().end);
    let depths = right.len() as isize;
    // SAFETY: both lists have so many offsets before their ends.
    let mut listed =
        (-depths..0).map(|at| unsafe { (*left_end.offset(at) as isize, *right_end.offset(at) as isize) });
    // SAFETY: the caller's promise.
    unsafe {
        match tiles.depths {
            // The processor does not fetch ahead what is read under masks.
            _ if V::MASKS && !tiles.strip.is_whole => sums_at::<V, ROWS, VECTORS, true>(rows, places, listed),
            // The multipliers of wide vectors are busy all the same.
            Depths::Even(left_step, right_step) if !V::MASKS => {
                let (left, right) = listed.next().unwrap_or_default();
                let even = (0..depths).map(|depth| (left + depth * left_step, right + depth * right_step));
                sums_at::<V, ROWS, VECTORS, false>(rows, places, even)
            }
            Depths::Packed if !V::MASKS => {
                packed_sums::<V, ROWS, VECTORS>(rows.lefts::<1>()[0], places.rights[0], tiles.right.len())
            }
            _ => sums_at::<V, ROWS, VECTORS, false>(rows, places, listed),
        }
    }
}

/// The sums over depths at these offsets in the left operand and the right one.
#[inline(always)]
unsafe fn sums_at<V: Vector, const ROWS: usize, const VECTORS: usize, const MASKED: bool>(
    rows: &Rows<'_, V::Element>,
    places: &Places<V, VECTORS>,
    depths: impl Iterator<Item = (isize, isize)>,
) -> [[V; VECTORS]; ROWS] {
    let lefts = rows.lefts();
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[V::splat(V::Element::default()); VECTORS]; ROWS];
        for (left, right) in depths {
            add_depth::<V, ROWS, VECTORS, MASKED>(&mut sums, &lefts, left, places, right);
        }
        sums
    }
}

#[expect(clippy::needless_range_loop, reason = "plain counted loops over constants are unrolled early")]
#[inline(always)]
unsafe fn add_depth<V: Vector, const ROWS: usize, const VECTORS: usize, const MASKED: bool>(
    sums: &mut [[V; VECTORS]; ROWS],
    lefts: &[*const V::Element; ROWS],
    left: isize,
    places: &Places<V, VECTORS>,
    right: isize,
) {
    // As many vectors at a time as registers hold beside the sums and one number.
    let at_once = if ROWS * VECTORS + VECTORS < V::REGISTERS { VECTORS } else { VECTORS / 2 };
    // SAFETY: the caller's promise.
    unsafe {
        for first in 0..VECTORS / at_once {
            let first = first * at_once;
            let mut vectors = [V::splat(V::Element::default()); VECTORS];
            for vector in first..first + at_once {
                vectors[vector] = match MASKED {
                    true => places.lanes[vector].load(places.rights[vector].offset(right)),
                    false => V::load_in_turn(places.rights[vector], right, None),
                };
            }
            for row in 0..ROWS {
                let left = V::broadcast_in_turn(lefts[row], left);
                for vector in first..first + at_once {
                    sums[row][vector] = sums[row][vector].add_product(left, vectors[vector]);
                }
            }
        }
    }
}

/// The same for packed operands, whose steps are known: fewer instructions.
#[inline(always)]
unsafe fn packed_sums<V: Vector, const ROWS: usize, const VECTORS: usize>(
    mut left: *const V::Element,
    mut right: *const V::Element,
    depth: usize,
) -> [[V; VECTORS]; ROWS] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[V::splat(V::Element::default()); VECTORS]; ROWS];
        for _ in 0..depth / 4 {
            add_packed_depth::<V, ROWS, VECTORS, 0>(&mut sums, left, right);
            add_packed_depth::<V, ROWS, VECTORS, 1>(&mut sums, left, right);
            add_packed_depth::<V, ROWS, VECTORS, 2>(&mut sums, left, right);
            add_packed_depth::<V, ROWS, VECTORS, 3>(&mut sums, left, right);
            left = left.add(4 * V::ROWS.next_multiple_of(V::LANES));
            right = right.add(4 * VECTORS * V::LANES);
        }
        for _ in 0..depth % 4 {
            add_packed_depth::<V, ROWS, VECTORS, 0>(&mut sums, left, right);
            left = left.add(V::ROWS.next_multiple_of(V::LANES));
            right = right.add(VECTORS * V::LANES);
        }
        sums
    }
}

/// Adds the products of so many depths on.
#[inline(always)]
unsafe fn add_packed_depth<V: Vector, const ROWS: usize, const VECTORS: usize, const DEPTH: usize>(
    sums: &mut [[V; VECTORS]; ROWS],
    left: *const V::Element,
    right: *const V::Element,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut vectors = [V::splat(V::Element::default()); VECTORS];
        macro_rules! load {
            ($($vector:literal)*) => {
                $(if $vector < VECTORS {
                    vectors[$vector] = V::load_packed::<DEPTH, VECTORS, $vector>(right);
                })*
            };
        }
        macro_rules! multiply {
            ($($row:literal)*) => {
                $(if $row < ROWS {
                    let left = V::broadcast_packed::<DEPTH, $row>(left);
                    for vector in 0..VECTORS {
                        sums[$row][vector] = sums[$row][vector].add_product(left, vectors[vector]);
                    }
                })*
            };
        }
        load!(0 1 2 3);
        multiply!(0 1 2 3 4 5 6 7 8 9 10 11);
    }
}
