//! One thread's share of a contraction: the loops over panels, tiles of rows and strips of columns.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::cache::{PERIOD, is_crowded, steps_by_multiple};
use super::pack::{Part, is_run, strip_elements};
use super::panel::{self, MOST_TILES, Sizes};
use super::plan::NEAR;
use super::tile::{Ending, Rows, Steps, Strip, Tiles};
use super::vector::{Real, Vector};
use super::{Kernels, Operands, Side, parts};

/// The most vectors a strip has.
const VECTORS: usize = 4;

/// Depths of the deepest panel.
const DEEPEST: usize = panel::depth(size_of::<f32>());

/// So many strips pay for a copy of the rows that meet them, where vectors are narrow.
const COPIED: usize = 6;

/// So many do if the rows' depths lie side by side already.
const COPIED_ALONG: usize = 80;

/// Rows that are neighbours are read in place by strips of so few depths: the first cache holds a line of rows a depth.
const SHALLOW: usize = 64;

/// Or if all strips together fetch so few bytes from the second cache.
const FETCHED: usize = 2 << 20;

/// Some rows and columns of the result.
pub(super) struct Share {
    pub rows: Range<usize>,
    pub columns: Range<usize>,
}

/// Vectors in a strip, beside so many rows.
fn vectors_beside<V: Vector>(rows: usize) -> usize {
    (V::SUMS / rows.max(1)).clamp(1, VECTORS)
}

/// The share's rows, a tile's at a time.
fn tiles_of<V: Vector>(rows: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<V> {
    let start = rows.start;
    parts(rows.len(), V::ROWS, 1).map(move |part| start + part.start..start + part.end)
}

/// Does something with the share's rows, those of so many tiles at a time, and their offsets for some depths. All tiles are
/// as tall but for the last.
#[inline(always)]
fn blocks_of<'t, V: Kernels>(
    operands: &Operands<'t, V::Element>,
    rows: &Range<usize>,
    depth: &'t [i32],
    at_once: usize,
    mut f: impl FnMut(&mut [Rows<'t, V::Element>], Range<usize>),
) {
    let Operands { rows: left, out, .. } = operands;
    let mut tiles = tiles_of::<V>(rows).peekable();
    while let Some(first) = tiles.peek().cloned() {
        let mut block = [const { MaybeUninit::uninit() }; MOST_TILES];
        let (mut count, mut end) = (0, first.start);
        for (rows, part) in block.iter_mut().zip(tiles.by_ref().take(at_once)) {
            end = part.end;
            rows.write(Rows::new(left, part, *out, depth));
            count += 1;
        }
        // SAFETY: so many were written.
        f(unsafe { block[..count].assume_init_mut() }, first.start..end);
    }
}

/// Tiles with as many rows as one another.
fn of_one_height<'b, 't, T>(block: &'b [Rows<'t, T>]) -> impl Iterator<Item = &'b [Rows<'t, T>]> {
    block.chunk_by(|a, b| a.count() == b.count())
}

/// A right operand of so many bytes is fetched from memory, or from a third cache by way of many pages.
const FAR: usize = 4 << 20;

/// So many of its depths at a time, all columns of them, are read in the order in which they lie: as many as first caches
/// hold of lines that compete with each other, and as processors fetch ahead.
const STREAMS: usize = 8;

/// Windows of images that no second cache holds are read so many depths and columns at a time: the depths are of some thirty
/// channels, more than processors fetch ahead, and the next tile of rows finds the columns still there.
const WINDOWS: [usize; 2] = [288, 1024];

/// Depths and columns that are multiplied at once if they are read where they lie; depths are the same for every share, as
/// sums depend on them.
#[inline(always)]
fn at_once<T>(Operands { rows, columns, .. }: &Operands<'_, T>) -> [usize; 2] {
    if columns.is_in_panels() {
        // Few enough for the second cache to hold them while all rows meet them.
        let panels = NEAR / 2 / (columns.depth.len() * columns.run * size_of::<T>());
        return [columns.depth.len(), panels.max(1) * columns.run];
    }
    let bytes = columns.bytes();
    if columns.depth_step.is_none() && bytes > NEAR {
        return WINDOWS;
    }
    // One row meets each element once, so that the next columns' lines would be gone before they are read.
    let competes = || rows.offsets.len() == 1 && steps_by_multiple::<T>(columns.depth, PERIOD);
    let depths = if bytes > FAR || bytes > NEAR && competes() { STREAMS } else { columns.depth.len() };
    [depths, columns.offsets.len()]
}

/// What becomes of the sums over some depths.
pub(super) fn ending<T: Real>(scale: Option<T>, is_first: bool) -> Ending<T> {
    match scale {
        Some(scale) => Ending::AddScaled(scale),
        None if is_first => Ending::Store,
        None => Ending::AddScaled(T::ONE),
    }
}

/// Does something with the tiles of a share, vectors of whose columns are read where they lie.
#[inline(always)]
pub(super) fn in_place<V: Kernels>(
    operands: &Operands<'_, V::Element>,
    share: &Share,
    f: &mut impl FnMut(&Tiles<'_, V::Element>),
) {
    let [depths, columns] = at_once(operands);
    let is_in_panels = operands.columns.is_in_panels();
    let unit = if is_in_panels { operands.columns.run } else { V::LANES };
    // Columns in panels go by while the first cache holds a tile's rows.
    let tiles = if is_in_panels { 1 } else { Sizes::of::<V>().tiles };
    for (number, depth) in parts(operands.rows.depth.len(), depths, 1).enumerate() {
        let ending = ending(operands.scale, number == 0);
        for part in parts(share.columns.len(), columns, unit) {
            let columns = share.columns.start + part.start..share.columns.start + part.end;
            let [left, right] = [&operands.rows.depth[depth.clone()], &operands.columns.depth[depth.clone()]];
            blocks_of::<V>(operands, &share.rows, left, tiles, |block, _| {
                for rows in of_one_height(block) {
                    rows_of_tiles::<V>(operands, rows, &columns, right, ending, f);
                }
            });
        }
    }
}

/// The rows of some tiles, as many in each, times some columns, over some depths.
#[inline(always)]
fn rows_of_tiles<V: Kernels>(
    operands: &Operands<'_, V::Element>,
    rows: &[Rows<'_, V::Element>],
    columns: &Range<usize>,
    depth: &[i32],
    ending: Ending<V::Element>,
    f: &mut impl FnMut(&Tiles<'_, V::Element>),
) {
    let Operands { rows: left, columns: right, .. } = operands;
    let steps = Steps { rows: [left.step, left.out_step], depths: [left.depth_step, right.depth_step] };
    let most = vectors_beside::<V>(rows[0].count());
    let mut start = columns.start;
    // Of the run that the next column is in.
    let mut run_end = start - start % right.run + right.run;
    while start < columns.end {
        let mut strip = Strip::default();
        let (first, width, end_of_run) = (start, most * V::LANES, run_end.min(columns.end));
        while strip.count < most && start < columns.end {
            let end = (start + V::LANES).min(run_end).min(columns.end);
            let from = right.operand.wrapping_offset(right.offsets[start] as isize);
            strip.push(from, &right.out[start..end], true, end == start + V::LANES);
            start = end;
            if start == run_end {
                run_end += right.run;
            }
        }
        if first + width <= end_of_run {
            // More of the same run, or more runs like it.
            let (end, step) = match right.run_step.filter(|_| width == right.run) {
                Some(step) => (columns.end, step),
                None => (end_of_run, width),
            };
            let times = (end - first) / width;
            strip.repeat(times, step, width as isize);
            start = first + times * width;
            if start >= run_end {
                run_end = start + right.run;
            }
        }
        f(&Tiles { rows, strip: &strip, right: depth, steps, ending });
    }
}

/// The depths, those of a panel at a time.
pub(super) fn depths<V: Vector>(count: usize) -> impl Iterator<Item = Range<usize>> + use<V> {
    parts(count, panel::depth(size_of::<V::Element>()), V::LANES)
}

/// The panels of a share, vectors of whose columns are packed first.
#[inline(always)]
pub(super) fn panels<V: Kernels>(
    operands: &Operands<'_, V::Element>,
    share: &Share,
) -> impl Iterator<Item = Panel<V::Element>> {
    let tallest = tiles_of::<V>(&share.rows).next().map_or(1, |rows| rows.len());
    let (columns, scale) = (share.columns.clone(), operands.scale);
    let room = Sizes::of::<V>().panel;
    depths::<V>(operands.rows.depth.len()).enumerate().flat_map(move |(number, depth)| {
        let vectors = vectors_beside::<V>(tallest).min(columns.len().div_ceil(V::LANES));
        let vectors = vectors.min(room / depth.len() / V::LANES).max(1);
        let width = vectors * V::LANES;
        let strips = room / strip_elements::<V>(vectors, depth.len());
        let (start, ending) = (columns.start, ending(scale, number == 0));
        parts(columns.len(), strips * width, width).map(move |part| {
            let columns = start + part.start..start + part.end;
            Panel { depth: depth.clone(), columns, vectors, ending }
        })
    })
}

/// Computes a share with vectors of columns that are packed first.
///
/// # Safety
/// The processor has the vector's instructions; the operands are good.
#[inline(always)]
pub(super) unsafe fn packed<V: Kernels>(operands: &Operands<'_, V::Element>, share: &Share) {
    for panel in panels::<V>(operands, share) {
        // SAFETY: the caller's promise; there is room for so many columns.
        unsafe {
            panel.pack::<V>(operands);
            panel.multiply::<V>(operands, &share.rows, &mut |tiles| tiles.compute::<V>());
        }
    }
}

/// A block of the right operand that is packed at once, in strips.
pub(super) struct Panel<T> {
    depth: Range<usize>,
    columns: Range<usize>,
    /// Vectors in a strip.
    vectors: usize,
    ending: Ending<T>,
}

impl<T: Real> Panel<T> {
    /// # Safety
    /// As above.
    #[inline(always)]
    pub(super) unsafe fn pack<V: Kernels<Element = T>>(&self, operands: &Operands<'_, T>) {
        let side = &operands.columns;
        let (depth, lanes) = (&side.depth[self.depth.clone()], &side.offsets[self.columns.clone()]);
        let part = Part { from: side.operand, depth, lanes, is_along: are_along(side, depth) };
        // SAFETY: the caller's promise.
        unsafe { V::pack(part, panel::start(), self.vectors, self.vectors * V::LANES) };
    }

    /// Does something with the tiles of rows and every strip, those of some tiles at a time; rows are copied first where that
    /// pays.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    pub(super) unsafe fn multiply<V: Kernels<Element = T>>(
        &self,
        operands: &Operands<'_, T>,
        rows: &Range<usize>,
        f: &mut impl FnMut(&Tiles<'_, T>),
    ) {
        let Operands { rows: left, columns, .. } = operands;
        let depth = &left.depth[self.depth.clone()];
        let width = self.vectors * V::LANES;
        let is_along = are_along(left, depth);
        let part = Part { from: left.operand, depth, lanes: left.offsets, is_along };
        let copies = self.copies::<V>(left).then_some(Copies::<V> { part });
        let mut rooms = [[MaybeUninit::uninit(); DEEPEST]; 2];
        let [left_steps, right_steps] = &mut rooms;
        let (row_step, depth_step) = match copies {
            Some(_) => (Some(1), Some(Copies::<V>::LANES as i32)),
            None => (left.step, if is_along { Some(1) } else { left.depth_step }),
        };
        let packed = Packed {
            panel: self,
            columns: &columns.out[self.columns.clone()],
            step: step_of(columns, &self.columns, width),
            depth: steps(right_steps, width, depth.len()),
            steps: Steps { rows: [row_step, left.out_step], depths: [depth_step, Some(width as i32)] },
        };
        let left_depth =
            if copies.is_some() { steps(left_steps, Copies::<V>::LANES, depth.len()) } else { depth };
        blocks_of::<V>(operands, rows, left_depth, Sizes::of::<V>().tiles, |block, rows| {
            if let Some(copies) = &copies {
                // SAFETY: the caller's promise; there is room for so many tiles.
                unsafe { copies.fill(rows, block) };
            }
            for rows in of_one_height(block) {
                packed.multiply::<V>(rows, f);
            }
        });
    }

    /// Whether rows are copied before they meet the strips.
    pub(super) fn copies<V: Vector>(&self, left: &Side<'_, T>) -> bool {
        let is_along = are_along(left, &left.depth[self.depth.clone()]);
        let strips = self.columns.len() / (self.vectors * V::LANES);
        let is_crowded = || is_crowded::<T>(left.offsets, left.depth);
        // Neighbours are copied in less time than others.
        let are_neighbours = || is_run(left.offsets);
        // The second cache holds all else.
        let bytes = || left.bytes() + self.columns.len() * self.depth.len() * size_of::<T>();
        let is_small = || self.depth.len() <= SHALLOW && bytes() <= NEAR / 2;
        let are_few = || strips * left.bytes() <= FETCHED && left.bytes() <= NEAR / 2;
        match strips {
            0..3 => false,
            _ if V::MASKS || strips < COPIED_ALONG && is_along => strips >= 4 && is_crowded(),
            3 => is_crowded() && are_neighbours(),
            4..COPIED => is_crowded() || left.bytes() > NEAR && are_neighbours(),
            _ => is_crowded() || !(are_neighbours() && (is_small() || are_few())),
        }
    }
}

/// Copies of rows of the left operand, those of a tile side by side.
struct Copies<'p, V: Vector> {
    /// All rows.
    part: Part<'p, V::Element>,
}

impl<V: Kernels> Copies<'_, V> {
    /// Vectors of a tile's rows: no tile has more rows than they have lanes.
    const VECTORS: usize = V::ROWS.div_ceil(V::LANES);
    const LANES: usize = Self::VECTORS * V::LANES;

    /// Copies the rows of some tiles, all as tall but for the last, and has them read there.
    ///
    /// # Safety
    /// The processor has the vector's instructions; the operand is good; there is room for so many tiles.
    #[inline(always)]
    unsafe fn fill(&self, rows: Range<usize>, tiles: &mut [Rows<'_, V::Element>]) {
        let (start, height) = (panel::rows::<V::Element>(), tiles[0].count());
        let part = Part { lanes: &self.part.lanes[rows], ..self.part };
        // SAFETY: the caller's promise.
        unsafe { V::pack(part, start, Self::VECTORS, height) };
        let step = strip_elements::<V>(Self::VECTORS, part.depth.len());
        for (number, rows) in tiles.iter_mut().enumerate() {
            *rows = rows.copied(start.wrapping_add(number * step));
        }
    }
}

/// Whether some of an operand's depths are neighbours: most often all are, or none.
fn are_along<T>(side: &Side<'_, T>, depth: &[i32]) -> bool {
    side.depth_step == Some(1) || is_run(depth)
}

/// A packed panel.
struct Packed<'p, T> {
    panel: &'p Panel<T>,
    /// The result's offsets.
    columns: &'p [i32],
    /// From one strip to the next there, if all are evenly apart and the columns of each side by side.
    step: Option<isize>,
    /// The panel's offsets at each depth.
    depth: &'p [i32],
    steps: Steps,
}

/// How far apart strips of so many of these columns begin in the result, if evenly, and if the columns of each are
/// neighbours.
fn step_of<T>(side: &Side<'_, T>, columns: &Range<usize>, width: usize) -> Option<isize> {
    if side.out_step == Some(1) {
        return Some(width as isize);
    }
    let columns = &side.out[columns.clone()];
    let step = columns.get(width).map_or(width as i32, |second| second - columns[0]);
    let starts = columns.iter().step_by(width);
    let is_even = starts.clone().zip(starts.skip(1)).all(|(start, next)| next - start == step);
    (is_even && columns.chunks(width).all(is_run)).then_some(step as isize)
}

impl<T: Real> Packed<'_, T> {
    /// Does something with the tiles of as many rows each and every strip.
    #[inline(always)]
    fn multiply<V: Kernels<Element = T>>(&self, rows: &[Rows<'_, T>], f: &mut impl FnMut(&Tiles<'_, T>)) {
        let Panel { vectors, ending, .. } = *self.panel;
        let (width, strip_elements) = (vectors * V::LANES, strip_elements::<V>(vectors, self.depth.len()));
        let mut number = 0;
        while number * width < self.columns.len() {
            let mut strip = Strip::default();
            let from = panel::start::<T>().wrapping_add(number * strip_elements);
            let columns = &self.columns[number * width..];
            for (vector, lanes) in columns[..width.min(columns.len())].chunks(V::LANES).enumerate() {
                let is_contiguous = self.step.is_some() || is_run(lanes);
                strip.push(from.wrapping_add(vector * V::LANES), lanes, is_contiguous, true);
            }
            let times = self.step.map_or(1, |_| (columns.len() / width).max(1));
            strip.repeat(times, strip_elements, self.step.unwrap_or_default());
            number += times;
            f(&Tiles { rows, strip: &strip, right: self.depth, steps: self.steps, ending });
        }
    }
}

/// The offsets of packed depths, so far apart.
#[inline(always)]
fn steps(room: &mut [MaybeUninit<i32>; DEEPEST], step: usize, count: usize) -> &[i32] {
    let room = &mut room[..count];
    for (at, offset) in room.iter_mut().enumerate() {
        offset.write((at * step) as i32);
    }
    // SAFETY: all were written.
    unsafe { room.assume_init_ref() }
}
