//! The innermost kernel: one tile of the result, kept in registers while the depth goes by.

use super::vector::Vector;

/// Where a tile's factors are and what becomes of it.
pub(super) struct Tile<'a, T> {
    /// Each row of the left operand.
    pub lhs: &'a [*const T],
    /// The left operand's offset at each depth.
    pub depth: &'a [i32],
    /// The packed strip of the right operand: one row of the strip's width a depth.
    pub strip: *const T,
    /// Each row of the result.
    pub out: &'a [*mut T],
    /// The result's offset at each column.
    pub columns: &'a [i32],
    pub ending: Ending<T>,
}

/// What becomes of a tile's sums.
#[derive(Clone, Copy)]
pub(super) enum Ending<T> {
    Store,
    Add,
    /// Added, each multiplied by this number.
    AddScaled(T),
}

/// Computes a tile of `ROWS` rows and `VECTORS` vectors of columns, of which those in `columns` exist.
///
/// # Safety
/// The processor has the vector's instructions; pointers and offsets are good, for as many rows, depths and columns as
/// the slices say; the strip has `VECTORS · LANES` elements a depth.
#[inline(always)]
pub(super) unsafe fn tile<V: Vector, const ROWS: usize, const VECTORS: usize>(tile: &Tile<'_, V::Element>) {
    let mut lhs = [std::ptr::null(); ROWS];
    lhs.copy_from_slice(&tile.lhs[..ROWS]);
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[V::splat(V::Element::default()); VECTORS]; ROWS];
        let mut strip = tile.strip;
        for &offset in tile.depth {
            let offset = offset as isize;
            let mut right = [V::splat(V::Element::default()); VECTORS];
            for (vector, right) in right.iter_mut().enumerate() {
                *right = V::load(strip.add(vector * V::LANES));
            }
            for row in 0..ROWS {
                let left = V::broadcast(lhs[row].offset(offset));
                for vector in 0..VECTORS {
                    sums[row][vector] = sums[row][vector].add_product(left, right[vector]);
                }
            }
            strip = strip.add(VECTORS * V::LANES);
        }
        for (row, sums) in sums.iter().enumerate() {
            finish_row::<V, VECTORS>(tile, tile.out[row], sums);
        }
    }
}

/// Writes one row of sums.
#[inline(always)]
unsafe fn finish_row<V: Vector, const VECTORS: usize>(
    tile: &Tile<'_, V::Element>,
    out: *mut V::Element,
    sums: &[V; VECTORS],
) {
    let columns = tile.columns;
    let last = columns.len() - 1;
    let is_contiguous = columns[last] - columns[0] == last as i32;
    // SAFETY: the caller's promise: only existing columns are read and written.
    unsafe {
        if !is_contiguous {
            return scatter_row::<V, VECTORS>(tile, out, sums);
        }
        let start = out.offset(columns[0] as isize);
        for (vector, &sum) in sums.iter().enumerate() {
            let at = start.add(vector * V::LANES);
            match columns.len().saturating_sub(vector * V::LANES) {
                0 => {}
                count if count >= V::LANES => ended(tile.ending, sum, || V::load(at)).store(at),
                count => ended(tile.ending, sum, || V::load_first(at, count)).store_first(at, count),
            }
        }
    }
}

#[inline(always)]
unsafe fn ended<V: Vector>(ending: Ending<V::Element>, sum: V, old: impl FnOnce() -> V) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        match ending {
            Ending::Store => sum,
            Ending::Add => old().add(sum),
            Ending::AddScaled(scale) => sum.mul_add(V::splat(scale), old()),
        }
    }
}

/// Writes a row whose columns lie apart.
#[inline(always)]
unsafe fn scatter_row<V: Vector, const VECTORS: usize>(
    tile: &Tile<'_, V::Element>,
    out: *mut V::Element,
    sums: &[V; VECTORS],
) {
    let mut row = [V::Element::default(); 64];
    // SAFETY: no tile is wider than 64 columns; offsets are the caller's promise.
    unsafe {
        for (vector, sum) in sums.iter().enumerate() {
            sum.store(row.as_mut_ptr().add(vector * V::LANES));
        }
        for (&sum, &column) in row.iter().zip(tile.columns) {
            let at = out.offset(column as isize);
            *at = match tile.ending {
                Ending::Store => sum,
                Ending::Add => *at + sum,
                Ending::AddScaled(scale) => *at + sum * scale,
            };
        }
    }
}
