//! The innermost kernel: tiles of the result, whose sums are kept in registers while the depth goes by.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::Side;
use super::sums::{Depths, sums};
use super::vector::{Real, Vector};

/// The rows of a tile.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, T, const ROWS: usize> {
    pub left: [*const T; ROWS],
    /// The left operand's offset at each depth.
    pub depth: &'a [i32],
    out: [*mut T; ROWS],
    pub count: usize,
}

impl<T, const ROWS: usize> Default for Rows<'_, T, ROWS> {
    #[inline(always)]
    fn default() -> Self {
        let (left, out) = ([std::ptr::null(); ROWS], [std::ptr::null_mut(); ROWS]);
        Rows { left, depth: &[], out, count: 0 }
    }
}

impl<'a, T, const ROWS: usize> Rows<'a, T, ROWS> {
    /// Rows where they lie.
    #[inline(always)]
    pub(super) fn new(side: &Side<'_, T>, rows: Range<usize>, out: *mut T, depth: &'a [i32]) -> Self {
        let mut found = Rows { depth, count: rows.len(), ..Rows::default() };
        for (at, row) in rows.enumerate().take(ROWS) {
            found.left[at] = side.operand.wrapping_offset(side.offsets[row] as isize);
            found.out[at] = out.wrapping_offset(side.out[row] as isize);
        }
        found
    }

    /// The rows are in a copy, side by side.
    #[inline(always)]
    pub(super) fn move_to(&mut self, copy: *const T, depth: &'a [i32]) {
        self.depth = depth;
        for (at, left) in self.left.iter_mut().enumerate() {
            *left = copy.wrapping_add(at);
        }
    }
}

/// The columns of a tile, as vectors.
pub(super) struct Strip<'a, T> {
    right: [*const T; 4],
    /// The result's offsets.
    columns: [&'a [i32]; 4],
    pub count: usize,
    /// Whether each vector's columns lie side by side in the result.
    is_contiguous: bool,
    /// Whether all lanes of each vector can be read.
    pub is_whole: bool,
    /// How many strips there are, the columns of each beside those of the one before it.
    times: usize,
    /// From one to the next in the right operand.
    right_step: usize,
}

impl<T> Default for Strip<'_, T> {
    #[inline(always)]
    fn default() -> Self {
        Strip {
            right: [std::ptr::null(); 4],
            columns: [&[]; 4],
            count: 0,
            is_contiguous: true,
            is_whole: true,
            times: 1,
            right_step: 0,
        }
    }
}

impl<'a, T> Strip<'a, T> {
    #[inline(always)]
    pub(super) fn push(&mut self, right: *const T, columns: &'a [i32], is_contiguous: bool, is_whole: bool) {
        self.is_contiguous &= is_contiguous;
        self.is_whole &= is_whole;
        self.right[self.count] = right;
        self.columns[self.count] = columns;
        self.count += 1;
    }

    /// So many strips like this one, so far apart in the right operand.
    #[inline(always)]
    pub(super) fn repeat(&mut self, times: usize, right_step: usize) {
        (self.times, self.right_step) = (times, right_step);
    }
}

/// What becomes of a tile's sums.
#[derive(Clone, Copy)]
pub(super) enum Ending<T> {
    Store,
    /// Added, each multiplied by this number.
    AddScaled(T),
}

/// Tiles of the result: some, with as many rows each, one below the other, for every strip.
#[derive(Clone, Copy)]
pub(super) struct Tiles<'a, T, const ROWS: usize> {
    pub rows: &'a [Rows<'a, T, ROWS>],
    pub strip: &'a Strip<'a, T>,
    /// The right operand's offset at each depth.
    pub right: &'a [i32],
    pub depths: Depths,
    pub ending: Ending<T>,
}

/// Computes tiles.
pub(super) type TilesFn<T, const ROWS: usize> = unsafe fn(&Tiles<'_, T, ROWS>);

impl<T: Real, const MOST: usize> Tiles<'_, T, MOST> {
    /// # Safety
    /// The processor has the vector's instructions; pointers and offsets are good, for as many rows, depths and columns
    /// as there are.
    #[inline(always)]
    pub(super) unsafe fn compute<V: Vector<Element = T>, const SUMS: usize>(&self) {
        let mut sums = MaybeUninit::<[V; SUMS]>::uninit();
        let buffer = sums.as_mut_ptr().cast::<V>();
        // The buffer holds one tile.
        let at_once = if self.strip.is_contiguous { self.rows.len() } else { 1 };
        for rows in self.rows.chunks(at_once) {
            // SAFETY: the caller's promise.
            unsafe {
                Tiles { rows, ..*self }.compute_to::<V, SUMS>(buffer);
                if !self.strip.is_contiguous {
                    self.scatter::<V>(&rows[0], buffer.cast());
                }
            }
        }
    }

    /// The kernel for as many rows and vectors as there are.
    #[inline(always)]
    unsafe fn compute_to<V: Vector<Element = T>, const SUMS: usize>(&self, buffer: *mut V) {
        macro_rules! by_vectors {
            ($rows:literal) => {
                match self.strip.count {
                    1 if SUMS >= $rows => tiles::<V, MOST, $rows, 1>(self, buffer),
                    2 if SUMS >= 2 * $rows => tiles::<V, MOST, $rows, 2>(self, buffer),
                    3 if SUMS >= 3 * $rows => tiles::<V, MOST, $rows, 3>(self, buffer),
                    4 if SUMS >= 4 * $rows => tiles::<V, MOST, $rows, 4>(self, buffer),
                    _ => {}
                }
            };
        }
        // SAFETY: the caller's promise.
        unsafe {
            match self.rows[0].count {
                1 if MOST >= 1 => by_vectors!(1),
                2 if MOST >= 2 => by_vectors!(2),
                3 if MOST >= 3 => by_vectors!(3),
                4 if MOST >= 4 => by_vectors!(4),
                5 if MOST >= 5 => by_vectors!(5),
                6 if MOST >= 6 => by_vectors!(6),
                7 if MOST >= 7 => by_vectors!(7),
                8 if MOST >= 8 => by_vectors!(8),
                9 if MOST >= 9 => by_vectors!(9),
                10 if MOST >= 10 => by_vectors!(10),
                11 if MOST >= 11 => by_vectors!(11),
                12 if MOST >= 12 => by_vectors!(12),
                _ => {}
            }
        }
    }

    /// Writes sums whose columns lie apart, along the rows: these are often side by side.
    #[inline(always)]
    unsafe fn scatter<V: Vector<Element = T>>(&self, rows: &Rows<'_, T, MOST>, sums: *const T) {
        let (rows, vectors) = (&rows.out[..rows.count], self.strip.count);
        // SAFETY: offsets are the caller's promise; rows that do not exist are read as the last one.
        unsafe {
            for (group, rows) in rows.chunks(V::LANES).enumerate() {
                for (vector, columns) in self.strip.columns[..vectors].iter().enumerate() {
                    let mut from = [sums; 16];
                    for (at, from) in from.iter_mut().enumerate() {
                        let row = group * V::LANES + at.min(rows.len() - 1);
                        *from = sums.add((row * vectors + vector) * V::LANES);
                    }
                    let mut block = [V::splat(T::default()); 16];
                    let block = block.as_mut_ptr().cast::<T>();
                    V::transpose(&from, 0, block, V::LANES);
                    let mut at = 0;
                    for run in rows.chunk_by(|a, b| a.wrapping_add(1) == *b) {
                        let lanes = Lanes::<V>::first(run.len());
                        for (lane, &column) in columns.iter().enumerate() {
                            let sum = V::load_masked(block.add(lane * V::LANES + at), lanes.mask);
                            let to = run[0].offset(column as isize);
                            match self.ending {
                                Ending::Store => lanes.store(sum, to),
                                Ending::AddScaled(scale) => lanes.add_scaled(sum, scale, to),
                            }
                        }
                        at += run.len();
                    }
                }
            }
        }
    }
}

/// The first lanes of a vector.
#[derive(Clone, Copy)]
pub(super) struct Lanes<V: Vector> {
    mask: V::Mask,
    is_all: bool,
}

impl<V: Vector> Lanes<V> {
    #[inline(always)]
    unsafe fn first(count: usize) -> Self {
        // SAFETY: the caller's promise.
        Lanes { mask: unsafe { V::mask(count) }, is_all: !V::MASKS && count == V::LANES }
    }

    #[inline(always)]
    pub(super) unsafe fn load(&self, from: *const V::Element) -> V {
        // SAFETY: the caller's promise.
        unsafe { if self.is_all { V::load(from) } else { V::load_masked(from, self.mask) } }
    }

    #[inline(always)]
    unsafe fn store(&self, value: V, to: *mut V::Element) {
        // SAFETY: the caller's promise.
        unsafe { if self.is_all { value.store(to) } else { value.store_masked(to, self.mask) } }
    }

    #[inline(always)]
    unsafe fn add_scaled(&self, sum: V, scale: V::Element, to: *mut V::Element) {
        // SAFETY: the caller's promise.
        unsafe { self.store(sum.mul_add(V::splat(scale), self.load(to)), to) }
    }
}

/// From this depth on, fetching the result ahead takes less time than it saves: 3 % where the result lies in the third
/// cache.
const DEEP: usize = 128;

/// Where a strip's vectors lie.
pub(super) struct Places<V: Vector, const VECTORS: usize> {
    pub rights: [*const V::Element; VECTORS],
    starts: [isize; VECTORS],
    pub lanes: [Lanes<V>; VECTORS],
}

impl<V: Vector, const VECTORS: usize> Places<V, VECTORS> {
    #[inline(always)]
    unsafe fn of(strip: &Strip<'_, V::Element>) -> Self {
        let mut rights = [std::ptr::null(); VECTORS];
        rights.copy_from_slice(&strip.right[..VECTORS]);
        let mut starts = [0; VECTORS];
        // SAFETY: the caller's promise.
        let mut lanes = unsafe { [Lanes::<V>::first(0); VECTORS] };
        for (vector, columns) in strip.columns[..VECTORS].iter().enumerate() {
            // SAFETY: the caller's promise.
            lanes[vector] = unsafe { Lanes::first(columns.len()) };
            starts[vector] = columns[0] as isize;
        }
        Places { rights, starts, lanes }
    }

    /// Goes to the next strip.
    #[inline(always)]
    fn advance(&mut self, right_step: usize) {
        for vector in 0..VECTORS {
            self.rights[vector] = self.rights[vector].wrapping_add(right_step);
            self.starts[vector] += (VECTORS * V::LANES) as isize;
        }
    }

    /// Does something with each vector of the result in these rows: its row, its number and where it begins.
    #[inline(always)]
    fn each(&self, rows: &[*mut V::Element], mut f: impl FnMut(usize, usize, *mut V::Element)) {
        for (row, start) in rows.iter().enumerate() {
            for vector in 0..VECTORS {
                f(row, vector, start.wrapping_offset(self.starts[vector]));
            }
        }
    }
}

/// Writes the result, or sums to the buffer if the columns lie apart.
#[inline(always)]
unsafe fn tiles<V: Vector, const MOST: usize, const ROWS: usize, const VECTORS: usize>(
    tiles: &Tiles<'_, V::Element, MOST>,
    buffer: *mut V,
) {
    // SAFETY: the caller's promise; the buffer has room for all sums.
    unsafe {
        let mut places = Places::<V, VECTORS>::of(tiles.strip);
        for _ in 0..tiles.strip.times {
            for rows in tiles.rows {
                tile::<V, MOST, ROWS, VECTORS>(tiles, rows, &places, buffer);
            }
            places.advance(tiles.strip.right_step);
        }
    }
}

#[inline(always)]
unsafe fn tile<V: Vector, const MOST: usize, const ROWS: usize, const VECTORS: usize>(
    tiles: &Tiles<'_, V::Element, MOST>,
    rows: &Rows<'_, V::Element, MOST>,
    places: &Places<V, VECTORS>,
    buffer: *mut V,
) {
    let is_contiguous = tiles.strip.is_contiguous;
    let out = &rows.out[..ROWS];
    // SAFETY: the caller's promise; the buffer has room for all sums.
    unsafe {
        if is_contiguous && tiles.right.len() >= DEEP {
            places.each(out, |_, _, to| V::prefetch(to));
        }
        let sums = sums::<V, MOST, ROWS, VECTORS>(tiles, rows, places);
        match tiles.ending {
            _ if !is_contiguous => {
                places
                    .each(out, |row, vector, _| buffer.add(row * VECTORS + vector).write(sums[row][vector]));
            }
            Ending::Store => {
                places.each(out, |row, vector, to| places.lanes[vector].store(sums[row][vector], to));
            }
            Ending::AddScaled(scale) => places
                .each(out, |row, vector, to| places.lanes[vector].add_scaled(sums[row][vector], scale, to)),
        }
    }
}
