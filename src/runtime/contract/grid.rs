//! Tiles whose rows, columns and depths all lie evenly: nothing is looked up between one tile and the next.

use super::Kernels;
use super::tile::{Ending, Tiles, is_tile};
use super::vector::{Real, Vector};

/// Depths that are added row by row, each row being written before the next one: writing all of a tile at once holds up the
/// products of the next tile, on Zen 3 for 25 cycles.
const LAST: usize = 3;

/// Tiles below one another, for strips beside one another. Steps are in bytes.
pub(super) struct Grid {
    /// From one row to the next, from one depth to the next and from one tile to the next in the left operand.
    row: isize,
    left_depth: isize,
    tile: isize,
    right_depth: isize,
    strip: isize,
    out_row: isize,
    out_strip: isize,
    depth: usize,
    tiles: usize,
    strips: usize,
}

/// Where a grid's first tile begins.
#[derive(Clone, Copy)]
pub(super) struct Start<T> {
    pub left: *const T,
    pub right: *const T,
    pub out: *mut T,
}

impl Grid {
    /// The grid that tiles are, if they lie evenly.
    #[inline(always)]
    pub(super) fn of<V: Kernels>(tiles: &Tiles<'_, V::Element>) -> Option<(Grid, Start<V::Element>)> {
        let ([Some(row), Some(out_row)], [Some(left_depth), Some(right_depth)]) =
            (tiles.steps.rows, tiles.steps.depths)
        else {
            return None;
        };
        let (strip, rows, depth) = (tiles.strip, &tiles.rows[0], tiles.right.len());
        if V::MASKS || depth == 0 || !strip.is_even(V::LANES) {
            return None;
        }
        let bytes = |elements: i32| elements as isize * size_of::<V::Element>() as isize;
        let first = rows.left();
        let second = tiles.rows.get(1).map_or(first, |rows| rows.left());
        let grid = Grid {
            row: bytes(row),
            left_depth: bytes(left_depth),
            tile: second.addr().wrapping_sub(first.addr()) as isize,
            right_depth: bytes(right_depth),
            strip: bytes(strip.right_step as i32),
            out_row: bytes(out_row),
            out_strip: bytes(strip.out_step as i32),
            depth,
            tiles: tiles.rows.len(),
            strips: strip.times,
        };
        let start = Start {
            left: first.wrapping_offset(rows.depth[0] as isize),
            right: strip.right[0].wrapping_offset(tiles.right[0] as isize),
            out: rows.out().wrapping_offset(strip.columns[0][0] as isize),
        };
        Some((grid, start))
    }
}

/// Rows of the tallest tile.
const ROWS: usize = 6;

/// Whether there is a kernel: the multipliers of wide vectors are busy all the same.
pub(super) const fn is_grid<V: Vector>(rows: usize, vectors: usize) -> bool {
    !V::MASKS && rows <= ROWS && is_tile::<V>(rows, vectors)
}

/// The kernel.
///
/// # Safety
/// The processor has the vector's instructions; pointers and steps are good for as many rows, depths and columns as there
/// are.
#[inline(always)]
pub(super) unsafe fn compute<V: Vector, const ROWS: usize, const VECTORS: usize>(
    grid: &Grid,
    start: &Start<V::Element>,
    ending: &Ending<V::Element>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match ending {
            Ending::Store => each::<V, ROWS, VECTORS, false>(grid, start, &V::Element::ONE),
            Ending::AddScaled(scale) => each::<V, ROWS, VECTORS, true>(grid, start, scale),
        }
    }
}

#[inline(always)]
unsafe fn each<V: Vector, const ROWS: usize, const VECTORS: usize, const ADDS: bool>(
    grid: &Grid,
    start: &Start<V::Element>,
    scale: *const V::Element,
) {
    let (mut right, mut out) = (start.right, start.out);
    for _ in 0..grid.strips {
        let (mut left, mut to) = (start.left, out);
        for _ in 0..grid.tiles {
            // SAFETY: the caller's promise.
            to = unsafe { tile::<V, ROWS, VECTORS, ADDS>(grid, left, right, to, scale) };
            left = left.wrapping_byte_offset(grid.tile);
        }
        right = right.wrapping_byte_offset(grid.strip);
        out = out.wrapping_byte_offset(grid.out_strip);
    }
}

/// Computes a tile; returns where the next one's results are.
#[inline(always)]
unsafe fn tile<V: Vector, const ROWS: usize, const VECTORS: usize, const ADDS: bool>(
    grid: &Grid,
    mut left: *const V::Element,
    mut right: *const V::Element,
    to: *mut V::Element,
    scale: *const V::Element,
) -> *mut V::Element {
    let rows = [grid.row, 3 * grid.row, 5 * grid.row];
    let first = grid.depth.saturating_sub(LAST);
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[V::splat(V::Element::default()); VECTORS]; ROWS];
        for _ in 0..first {
            add_depth::<V, ROWS, VECTORS>(&mut sums, left, rows, right);
            left = left.wrapping_byte_offset(grid.left_depth);
            right = right.wrapping_byte_offset(grid.right_depth);
        }
        match grid.depth {
            1 => end::<V, ROWS, VECTORS, ADDS, 1>(grid, sums, left, right, to, scale),
            2 => end::<V, ROWS, VECTORS, ADDS, 2>(grid, sums, left, right, to, scale),
            _ => end::<V, ROWS, VECTORS, ADDS, LAST>(grid, sums, left, right, to, scale),
        }
    }
}

/// Adds the products of the last depths and writes the sums, row by row.
#[inline(always)]
unsafe fn end<V: Vector, const ROWS: usize, const VECTORS: usize, const ADDS: bool, const DEPTHS: usize>(
    grid: &Grid,
    mut sums: [[V; VECTORS]; ROWS],
    left: *const V::Element,
    right: *const V::Element,
    mut to: *mut V::Element,
    scale: *const V::Element,
) -> *mut V::Element {
    let rows = [grid.row, 3 * grid.row, 5 * grid.row];
    let lefts = [0, 1, 2].map(|depth| left.wrapping_byte_offset(depth * grid.left_depth));
    let rights = [0, 1, 2].map(|depth| right.wrapping_byte_offset(depth * grid.right_depth));
    // SAFETY: the caller's promise.
    unsafe {
        let scale = V::broadcast_row::<0>(scale, rows);
        macro_rules! add {
            ($row:literal $($depth:literal)*) => {
                $(if $depth < DEPTHS {
                    add_to_row::<V, VECTORS, $row>(&mut sums[$row], lefts[$depth], rows, rights[$depth]);
                })*
            };
        }
        macro_rules! rows {
            ($($row:literal)*) => {
                $(if $row < ROWS {
                    add!($row 0 1 2);
                    for vector in 0..VECTORS {
                        let to = to.wrapping_add(vector * V::LANES);
                        let sum = sums[$row][vector];
                        if ADDS { sum.mul_add(scale, V::load(to)).store(to) } else { sum.store(to) }
                    }
                    to = to.wrapping_byte_offset(grid.out_row);
                })*
            };
        }
        rows!(0 1 2 3 4 5);
    }
    to
}

/// Adds the products of a depth.
#[inline(always)]
unsafe fn add_depth<V: Vector, const ROWS: usize, const VECTORS: usize>(
    sums: &mut [[V; VECTORS]; ROWS],
    left: *const V::Element,
    rows: [isize; 3],
    right: *const V::Element,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut vectors = [V::splat(V::Element::default()); VECTORS];
        macro_rules! load {
            ($($vector:literal)*) => {
                $(if $vector < VECTORS {
                    vectors[$vector] = V::load_beside::<$vector>(right);
                })*
            };
        }
        macro_rules! multiply {
            ($($row:literal)*) => {
                $(if $row < ROWS {
                    let left = V::broadcast_row::<$row>(left, rows);
                    for vector in 0..VECTORS {
                        sums[$row][vector] = sums[$row][vector].add_product(left, vectors[vector]);
                    }
                })*
            };
        }
        load!(0 1 2 3);
        multiply!(0 1 2 3 4 5);
    }
}

/// Adds the products of a depth to the sums of one row.
#[inline(always)]
unsafe fn add_to_row<V: Vector, const VECTORS: usize, const ROW: usize>(
    sums: &mut [V; VECTORS],
    left: *const V::Element,
    rows: [isize; 3],
    right: *const V::Element,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let left = V::broadcast_row::<ROW>(left, rows);
        macro_rules! add {
            ($($vector:literal)*) => {
                $(if $vector < VECTORS {
                    sums[$vector] = sums[$vector].add_product_beside::<$vector>(left, right);
                })*
            };
        }
        add!(0 1 2 3);
    }
}
