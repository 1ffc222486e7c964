//! A tile's sums over the depth: what nearly all time goes into.

use super::tile::{Places, Rows, Tiles};
use super::vector::Vector;

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
    let depths = right.len() as isize;
    let first = |offsets: &[i32]| offsets.first().map_or(0, |&first| first as isize);
    let (left_first, right_first) = (first(left), first(right));
    let (left_end, right_end) = (left.as_ptr_range().end, right.as_ptr_range().end);
    // Counted up to zero: that takes a register less. SAFETY: both lists have so many offsets before their ends.
    let left_at = |at: isize| unsafe { *left_end.offset(at) as isize };
    let right_at = |at: isize| unsafe { *right_end.offset(at) as isize };
    let listed = (-depths..0).map(|at| (left_at(at), right_at(at)));
    // SAFETY: the caller's promise.
    unsafe {
        match tiles.steps.depths {
            // The processor does not fetch ahead what is read under masks.
            _ if V::MASKS && !tiles.strip.is_whole => sums_at::<V, ROWS, VECTORS, true>(rows, places, listed),
            // The multipliers of wide vectors are busy all the same.
            _ if V::MASKS => sums_at::<V, ROWS, VECTORS, false>(rows, places, listed),
            [None, None] => sums_at::<V, ROWS, VECTORS, false>(rows, places, listed),
            // Where both are even, most often all else is, too: tiles are a grid.
            [Some(left), _] => {
                let left = |at: isize| left_first + (at + depths) * left as isize;
                let half = (-depths..0).map(|at| (left(at), right_at(at)));
                sums_at::<V, ROWS, VECTORS, false>(rows, places, half)
            }
            [None, Some(right)] => {
                let right = |at: isize| right_first + (at + depths) * right as isize;
                let half = (-depths..0).map(|at| (left_at(at), right(at)));
                sums_at::<V, ROWS, VECTORS, false>(rows, places, half)
            }
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
