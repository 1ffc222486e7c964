//! The innermost kernel: tiles of the result, whose sums are kept in registers while the depth goes by.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::slice::from_ref;

use super::grid::Grid;
use super::kernels::GridFn;
use super::sums::sums;
use super::vector::{Real, Vector};
use super::{Kernels, Side, TALLEST};

/// Vectors of sums in the largest tile.
const MOST_SUMS: usize = 24;

/// Offsets of neighbours: as many as the widest strip has columns.
const NEIGHBOURS: [i32; 64] = {
    let mut offsets = [0; 64];
    let mut number = 0;
    while number < offsets.len() {
        offsets[number] = number as i32;
        number += 1;
    }
    offsets
};

/// The rows of a tile.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, T> {
    left: *const T,
    /// The rows' offsets in the left operand.
    offsets: &'a [i32],
    /// The left operand's offset at each depth.
    pub depth: &'a [i32],
    out: *mut T,
    /// The rows' offsets in the result.
    out_offsets: &'a [i32],
}

impl<'a, T> Rows<'a, T> {
    /// Rows where they lie.
    #[inline(always)]
    pub(super) fn new(side: &Side<'a, T>, rows: Range<usize>, out: *mut T, depth: &'a [i32]) -> Self {
        let offsets = &side.offsets[rows.clone()];
        Rows { left: side.operand, offsets, depth, out, out_offsets: &side.out[rows] }
    }

    /// The rows are in a copy, side by side.
    #[inline(always)]
    pub(super) fn copied(self, copy: *const T) -> Self {
        Rows { left: copy, offsets: &NEIGHBOURS[..self.count()], ..self }
    }

    #[inline(always)]
    pub(super) fn count(&self) -> usize {
        self.offsets.len()
    }

    /// Where the first row begins in the left operand.
    #[inline(always)]
    pub(super) fn left(&self) -> *const T {
        self.left.wrapping_offset(self.offsets[0] as isize)
    }

    /// Where it begins in the result.
    #[inline(always)]
    pub(super) fn out(&self) -> *mut T {
        self.out.wrapping_offset(self.out_offsets[0] as isize)
    }

    /// Where the rows begin in the left operand.
    #[inline(always)]
    pub(super) fn lefts<const ROWS: usize>(&self) -> [*const T; ROWS] {
        at_offsets(self.left, self.offsets, <*const T>::wrapping_offset)
    }

    /// Where they begin in the result.
    #[inline(always)]
    fn outs<const ROWS: usize>(&self) -> [*mut T; ROWS] {
        at_offsets(self.out, self.out_offsets, <*mut T>::wrapping_offset)
    }
}

/// Pointers so far beyond another one. Kernels count plainly: iterators' adapters, such as `zip`, become calls in
/// profiles that do not optimise across units of compilation.
#[inline(always)]
pub(super) fn at_offsets<P: Copy, const COUNT: usize>(
    start: P,
    offsets: &[i32],
    beyond: impl Fn(P, isize) -> P,
) -> [P; COUNT] {
    let offsets = &offsets[..COUNT];
    let mut places = [start; COUNT];
    for number in 0..COUNT {
        places[number] = beyond(start, offsets[number] as isize);
    }
    places
}

/// The columns of a tile, as vectors.
pub(super) struct Strip<'a, T> {
    pub right: [*const T; 4],
    /// The result's offsets.
    pub columns: [&'a [i32]; 4],
    pub count: usize,
    /// Whether each vector's columns lie side by side in the result.
    is_contiguous: bool,
    /// Whether all lanes of each vector can be read.
    pub is_whole: bool,
    /// How many strips there are.
    pub times: usize,
    /// From one to the next in the right operand, and in the result.
    pub right_step: usize,
    pub out_step: isize,
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
            out_step: 0,
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

    /// How far beyond its first vector the last one begins if it ends where the strip does and all follow one another, in the
    /// right operand and in the result.
    #[inline(always)]
    pub(super) fn last(&self, lanes: usize) -> Option<usize> {
        let last = self.count - 1;
        let follows = |vector: usize| {
            let (columns, beyond) = (self.columns[vector], vector * lanes);
            (columns.len() == lanes || vector == last)
                && columns[0] == self.columns[0][0] + beyond as i32
                && self.right[vector] == self.right[0].wrapping_add(beyond)
        };
        let is_even = self.is_contiguous && (0..self.count).all(follows);
        if is_even { (last * lanes + self.columns[last].len()).checked_sub(lanes) } else { None }
    }

    /// The same strip, with all lanes of its vectors side by side in the result.
    #[inline(always)]
    fn side_by_side(&self, lanes: usize) -> Self {
        let columns = std::array::from_fn(|vector| &NEIGHBOURS[vector * lanes..(vector + 1) * lanes]);
        Strip { columns, is_contiguous: true, ..*self }
    }

    /// So many strips like this one, so far apart in the right operand and in the result.
    #[inline(always)]
    pub(super) fn repeat(&mut self, times: usize, right_step: usize, out_step: isize) {
        (self.times, self.right_step, self.out_step) = (times, right_step, out_step);
    }
}

/// What becomes of a tile's sums.
#[derive(Clone, Copy)]
pub(super) enum Ending<T> {
    Store,
    /// Added, each multiplied by this number.
    AddScaled(T),
}

/// How far apart a tile's parts lie, where evenly.
#[derive(Clone, Copy)]
pub(super) struct Steps {
    /// Rows, in the left operand and in the result.
    pub rows: [Option<i32>; 2],
    /// Depths, in the left operand and in the right one.
    pub depths: [Option<i32>; 2],
}

/// Tiles of the result: some, with as many rows each, one below the other, for every strip.
#[derive(Clone, Copy)]
pub(super) struct Tiles<'a, T> {
    pub rows: &'a [Rows<'a, T>],
    pub strip: &'a Strip<'a, T>,
    /// The right operand's offset at each depth.
    pub right: &'a [i32],
    pub steps: Steps,
    pub ending: Ending<T>,
}

impl<T: Real> Tiles<'_, T> {
    /// # Safety
    /// The processor has the vector's instructions; pointers and offsets are good, for as many rows, depths and columns
    /// as there are.
    #[inline(always)]
    pub(super) unsafe fn compute<V: Kernels<Element = T>>(&self) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.strip.is_contiguous {
                true => self.compute_side_by_side::<V>(),
                false => V::scattered(self),
            }
        }
    }

    /// The kernel for as many rows and vectors as there are, all evenly.
    #[inline(always)]
    pub(super) fn grid_kernel<V: Kernels<Element = T>>(&self) -> Option<GridFn<V>> {
        V::GRIDS[self.rows[0].count() - 1][self.strip.count - 1]
    }

    /// Calls the kernel for as many rows and vectors as there are.
    #[inline(always)]
    unsafe fn compute_side_by_side<V: Kernels<Element = T>>(&self) {
        // The multipliers of wide vectors are busy all the same.
        if !V::MASKS
            && let Some((grid, start)) = Grid::of::<V>(self)
            && let Some(kernel) = self.grid_kernel::<V>()
        {
            // SAFETY: the caller's promise.
            unsafe { kernel(&grid, &start, &self.ending) };
            return;
        }
        if let Some(kernel) = V::TILES[self.rows[0].count() - 1][self.strip.count - 1] {
            // SAFETY: the caller's promise.
            unsafe { kernel(self) }
        }
    }

    /// Computes tiles whose columns lie apart, one after the other, by way of a buffer.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    pub(super) unsafe fn scattered<V: Kernels<Element = T>>(&self) {
        const { assert!(V::SUMS <= MOST_SUMS, "the buffer is too small") };
        let mut sums = MaybeUninit::<[V; MOST_SUMS]>::uninit();
        let buffer = sums.as_mut_ptr().cast::<T>();
        let width = self.strip.count * V::LANES;
        let offsets: [i32; TALLEST] = std::array::from_fn(|row| (row * width) as i32);
        let strip = self.strip.side_by_side(V::LANES);
        for tall in self.rows {
            let in_buffer = Rows { out: buffer, out_offsets: &offsets[..tall.count()], ..*tall };
            let steps = Steps { rows: [self.steps.rows[0], Some(width as i32)], ..self.steps };
            let (rows, ending) = (from_ref(&in_buffer), Ending::Store);
            let tiles = Tiles { rows, strip: &strip, steps, ending, ..*self };
            // SAFETY: the caller's promise; the buffer has room for a tile's sums.
            unsafe {
                tiles.compute_side_by_side::<V>();
                self.scatter::<V>(tall, buffer);
            }
        }
    }

    /// Writes sums whose columns lie apart, along the rows: these are often side by side.
    #[inline(always)]
    unsafe fn scatter<V: Vector<Element = T>>(&self, rows: &Rows<'_, T>, sums: *const T) {
        let (out, vectors) = (rows.out, self.strip.count);
        // SAFETY: offsets are the caller's promise; rows that do not exist are read as the last one.
        unsafe {
            for (group, rows) in rows.out_offsets.chunks(V::LANES).enumerate() {
                for (vector, columns) in self.strip.columns[..vectors].iter().enumerate() {
                    let from = |at: usize| {
                        let row = group * V::LANES + at.min(rows.len() - 1);
                        sums.wrapping_add((row * vectors + vector) * V::LANES)
                    };
                    let mut block = [V::splat(T::default()); 16];
                    let block = block.as_mut_ptr().cast::<T>();
                    V::transpose(from, block, V::LANES);
                    let mut at = 0;
                    for run in rows.chunk_by(|a, b| b - a == 1) {
                        let lanes = Lanes::<V>::first(run.len());
                        for (lane, &column) in columns.iter().enumerate() {
                            let sum = lanes.load(block.add(lane * V::LANES + at));
                            let to = out.offset(run[0] as isize + column as isize);
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

/// The first lanes of a vector. Masks are made where they are needed: registers hold sums.
#[derive(Clone, Copy)]
pub(super) struct Lanes<V> {
    count: usize,
    vector: PhantomData<V>,
}

impl<V: Vector> Lanes<V> {
    #[inline(always)]
    fn first(count: usize) -> Self {
        Lanes { count, vector: PhantomData }
    }

    /// Whether all lanes are read and written as one: those with fast masks do not ask.
    #[inline(always)]
    fn are_all(&self) -> bool {
        !V::MASKS && self.count == V::LANES
    }

    #[inline(always)]
    pub(super) unsafe fn load(&self, from: *const V::Element) -> V {
        // SAFETY: the caller's promise, here and below.
        unsafe {
            match self.are_all() {
                true => V::load(from),
                false => V::load_masked(from, V::mask(self.count)),
            }
        }
    }

    #[inline(always)]
    unsafe fn store(&self, value: V, to: *mut V::Element) {
        unsafe {
            match self.are_all() {
                true => value.store(to),
                false => value.store_first(to, self.count),
            }
        }
    }

    #[inline(always)]
    unsafe fn add_scaled(&self, sum: V, scale: V::Element, to: *mut V::Element) {
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
        let mut lanes = [Lanes::<V>::first(0); VECTORS];
        for (vector, columns) in strip.columns[..VECTORS].iter().enumerate() {
            lanes[vector] = Lanes::first(columns.len());
            starts[vector] = columns[0] as isize;
        }
        Places { rights, starts, lanes }
    }

    /// Goes to the next strip.
    #[inline(always)]
    fn advance(&mut self, strip: &Strip<'_, V::Element>) {
        for vector in 0..VECTORS {
            self.rights[vector] = self.rights[vector].wrapping_add(strip.right_step);
            self.starts[vector] += strip.out_step;
        }
    }

    /// Does something with each vector of the result in these rows: its row, its number and where it begins.
    #[inline(always)]
    fn each<const ROWS: usize>(
        &self,
        rows: [*mut V::Element; ROWS],
        mut f: impl FnMut(usize, usize, *mut V::Element),
    ) {
        for (row, start) in rows.iter().enumerate() {
            for vector in 0..VECTORS {
                f(row, vector, start.wrapping_offset(self.starts[vector]));
            }
        }
    }

    /// Writes sums to the result's rows, or adds them.
    #[inline(always)]
    unsafe fn end<const ROWS: usize>(
        &self,
        rows: [*mut V::Element; ROWS],
        sums: [[V; VECTORS]; ROWS],
        ending: Ending<V::Element>,
        lanes: impl Fn(usize) -> Lanes<V>,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match ending {
                Ending::Store => {
                    self.each(rows, |row, vector, to| lanes(vector).store(sums[row][vector], to));
                }
                Ending::AddScaled(scale) => {
                    self.each(rows, |row, vector, to| {
                        lanes(vector).add_scaled(sums[row][vector], scale, to);
                    });
                }
            }
        }
    }
}

/// Whether registers hold so many sums.
pub(super) const fn is_tile<V: Vector>(rows: usize, vectors: usize) -> bool {
    rows <= V::ROWS && rows * vectors <= V::SUMS
}

/// The kernel, for columns that lie side by side.
///
/// # Safety
/// As above.
#[inline(always)]
pub(super) unsafe fn tiles<V: Vector, const ROWS: usize, const VECTORS: usize>(
    tiles: &Tiles<'_, V::Element>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut places = Places::<V, VECTORS>::of(tiles.strip);
        for _ in 0..tiles.strip.times {
            for rows in tiles.rows {
                tile::<V, ROWS, VECTORS>(tiles, rows, &places);
            }
            places.advance(tiles.strip);
        }
    }
}

#[inline(always)]
unsafe fn tile<V: Vector, const ROWS: usize, const VECTORS: usize>(
    tiles: &Tiles<'_, V::Element>,
    rows: &Rows<'_, V::Element>,
    places: &Places<V, VECTORS>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let outs = rows.outs::<ROWS>();
        if tiles.right.len() >= DEEP {
            places.each(outs, |_, _, to| V::prefetch(to));
        }
        let sums = sums::<V, ROWS, VECTORS>(tiles, rows, places);
        // Asked once for all vectors of a tile.
        match places.lanes.iter().all(Lanes::are_all) {
            true => places.end(outs, sums, tiles.ending, |_| Lanes::first(V::LANES)),
            false => places.end(outs, sums, tiles.ending, |vector| places.lanes[vector]),
        }
    }
}
