//! Tiles whose rows, columns and depths all lie evenly: nothing is looked up between one tile and the next.

use super::Kernels;
use super::tile::{Ending, Tiles};
use super::vector::{Real, Vector};

/// Depths that are added row by row, each row being written before the next one: writing all of a tile at once holds up the
/// products of the next tile, on Zen 3 for 25 cycles. Of wide vectors no processor loads as many as that takes.
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
    /// From a strip's first vector to its last one, in elements, if too few columns are left for that one: it ends where the
    /// strip does and begins with columns of the vector before, for which it has the same sums.
    last: Option<isize>,
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
        let last = strip.last(V::LANES).filter(|_| depth > 0)?;
        let is_whole = last.is_multiple_of(V::LANES);
        // Few columns are left over of wide vectors, and masks cost them nothing.
        if V::MASKS && !is_whole {
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
            last: (!is_whole).then_some(last as isize),
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

    /// From the first row to every other one: to those between, these are two, four or eight times as far.
    #[inline(always)]
    fn rows(&self) -> [isize; 6] {
        [1, 3, 5, 7, 9, 11].map(|rows| rows * self.row)
    }
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
    // Asked here, so that code for whole vectors knows nothing of others.
    let last = grid.last.filter(|_| VECTORS > 1 && !V::MASKS);
    // SAFETY: the caller's promise.
    unsafe {
        match (ending, last) {
            (Ending::Store, None) => each::<V, ROWS, VECTORS, false>(grid, start, &V::Element::ONE, None),
            (Ending::Store, last) => each::<V, ROWS, VECTORS, false>(grid, start, &V::Element::ONE, last),
            (Ending::AddScaled(scale), None) => each::<V, ROWS, VECTORS, true>(grid, start, scale, None),
            (Ending::AddScaled(scale), last) => each::<V, ROWS, VECTORS, true>(grid, start, scale, last),
        }
    }
}

#[inline(always)]
unsafe fn each<V: Vector, const ROWS: usize, const VECTORS: usize, const ADDS: bool>(
    grid: &Grid,
    start: &Start<V::Element>,
    scale: *const V::Element,
    last: Option<isize>,
) {
    let (mut right, mut out) = (start.right, start.out);
    for _ in 0..grid.strips {
        let (mut left, mut to) = (start.left, out);
        for _ in 0..grid.tiles {
            // SAFETY: the caller's promise.
            to = unsafe { tile::<V, ROWS, VECTORS, ADDS>(grid, left, right, to, scale, last) };
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
    last: Option<isize>,
) -> *mut V::Element {
    let rows = grid.rows();
    let first = grid.depth.saturating_sub(if V::MASKS { 0 } else { LAST });
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[V::splat(V::Element::default()); VECTORS]; ROWS];
        for _ in 0..first {
            add_depth::<V, ROWS, VECTORS>(&mut sums, left, rows, right, last);
            left = left.wrapping_byte_offset(grid.left_depth);
            right = right.wrapping_byte_offset(grid.right_depth);
        }
        match grid.depth {
            _ if V::MASKS => end::<V, ROWS, VECTORS, ADDS, 0>(grid, sums, left, right, to, scale, last),
            1 => end::<V, ROWS, VECTORS, ADDS, 1>(grid, sums, left, right, to, scale, last),
            2 => end::<V, ROWS, VECTORS, ADDS, 2>(grid, sums, left, right, to, scale, last),
            _ => end::<V, ROWS, VECTORS, ADDS, LAST>(grid, sums, left, right, to, scale, last),
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
    last: Option<isize>,
) -> *mut V::Element {
    let rows = grid.rows();
    let lefts = [0, 1, 2].map(|depth| left.wrapping_byte_offset(depth * grid.left_depth));
    let rights = [0, 1, 2].map(|depth| right.wrapping_byte_offset(depth * grid.right_depth));
    // SAFETY: the caller's promise.
    unsafe {
        let scale = V::broadcast_row::<0>(scale, rows);
        macro_rules! add {
            ($row:literal $($depth:literal)*) => {
                $(if $depth < DEPTHS {
                    let (left, right) = (lefts[$depth], rights[$depth]);
                    add_to_row::<V, VECTORS, $row>(&mut sums[$row], left, rows, right, last);
                })*
            };
        }
        macro_rules! rows {
            ($($row:literal)*) => {
                $(if $row < ROWS {
                    add!($row 0 1 2);
                    write_row::<V, VECTORS, ADDS>(sums[$row], to, last, scale);
                    to = to.wrapping_byte_offset(grid.out_row);
                })*
            };
        }
        rows!(0 1 2 3 4 5 6 7 8 9 10 11);
    }
    to
}

/// Adds the products of a depth.
#[inline(always)]
unsafe fn add_depth<V: Vector, const ROWS: usize, const VECTORS: usize>(
    sums: &mut [[V; VECTORS]; ROWS],
    left: *const V::Element,
    rows: [isize; 6],
    right: *const V::Element,
    last: Option<isize>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut vectors = [V::splat(V::Element::default()); VECTORS];
        macro_rules! load {
            ($($vector:literal)*) => {
                $(if $vector < VECTORS {
                    vectors[$vector] = match last {
                        Some(last) if $vector + 1 == VECTORS => V::load_in_turn(right, last, None),
                        _ => V::load_beside::<$vector>(right),
                    };
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
        multiply!(0 1 2 3 4 5 6 7 8 9 10 11);
    }
}

/// Adds the products of a depth to the sums of one row.
#[inline(always)]
unsafe fn add_to_row<V: Vector, const VECTORS: usize, const ROW: usize>(
    sums: &mut [V; VECTORS],
    left: *const V::Element,
    rows: [isize; 6],
    right: *const V::Element,
    last: Option<isize>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let left = V::broadcast_row::<ROW>(left, rows);
        macro_rules! add {
            ($($vector:literal)*) => {
                $(if $vector < VECTORS {
                    sums[$vector] = match last {
                        Some(last) if $vector + 1 == VECTORS => {
                            sums[$vector].add_product_beyond(left, right, last)
                        }
                        _ => sums[$vector].add_product_beside::<$vector>(left, right),
                    };
                })*
            };
        }
        add!(0 1 2 3);
    }
}

/// Writes the sums of a row, or adds them: all are read before any is written, as two vectors can have columns in common.
#[inline(always)]
unsafe fn write_row<V: Vector, const VECTORS: usize, const ADDS: bool>(
    mut sums: [V; VECTORS],
    to: *mut V::Element,
    last: Option<isize>,
    scale: V,
) {
    let at = |vector| match last {
        Some(last) if vector + 1 == VECTORS => to.wrapping_offset(last),
        _ => to.wrapping_add(vector * V::LANES),
    };
    // SAFETY: the caller's promise.
    unsafe {
        if ADDS {
            for (vector, sum) in sums.iter_mut().enumerate() {
                *sum = sum.mul_add(scale, V::load(at(vector)));
            }
        }
        for (vector, sum) in sums.iter().enumerate() {
            sum.store(at(vector));
        }
    }
}
