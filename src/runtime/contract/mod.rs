//! Contractions too large for code in the step itself: `out[i, j] (+)= Σₖ lhs[i, k] · rhs[k, j]` in tiles that fill
//! the processor's registers, for the widest vectors it has.
//!
//! Every index stands for several loop variables, by way of tables of offsets: transposes, windows and slices are
//! read in place. The right operand is packed, a cache-sized panel at a time; the left one is read where it lies.
//! The blocking follows Goto & van de Geijn, "Anatomy of High-Performance Matrix Multiplication" (2008).

mod pack;
mod tile;
mod vector;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m256d, __m512, __m512d};
use std::ops::Range;

use crate::codegen::{Cpu, Library};
use crate::loops::{PANEL_DEPTH, Tables, panel_columns};
use tile::{Ending, Tile};
use vector::{Portable, Vector};

/// The functions to call for the processors that code is generated for.
pub(crate) fn library(cpu: Cpu) -> Library {
    let (sort, parallel) = (super::sort::function, super::parallel::parallel);
    #[cfg(target_arch = "x86_64")]
    if cpu != Cpu::Baseline {
        if cpu == Cpu::Native && is_x86_feature_detected!("avx512f") {
            return Library { contract_f32: avx512_f32, contract_f64: avx512_f64, parallel, sort };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Library { contract_f32: avx2_f32, contract_f64: avx2_f64, parallel, sort };
        }
    }
    let _ = cpu;
    Library { contract_f32: portable_f32, contract_f64: portable_f64, parallel, sort }
}

/// An entry for one kind of vectors: how many rows and vectors of columns a tile has.
macro_rules! entry {
    ($(#[$feature:meta])* $name:ident, $element:ty, $vector:ty, $rows:literal, $vectors:literal) => {
        $(#[$feature])*
        unsafe extern "C" fn $name(
            tables: *const Tables,
            lhs: *const $element,
            rhs: *const $element,
            out: *mut $element,
            scratch: *mut $element,
            scale: $element,
        ) {
            // SAFETY: generated code passes tables that live as long as it, and memory that the loop IR's verifier
            // found large enough; the library was chosen for this processor.
            unsafe {
                let operands = Operands { tables: &*tables, lhs, rhs, out, scratch, scale };
                contract::<$vector, $vectors>(&operands, rows);
            }

            // Compiled for the same processor, wherever it is called from.
            $(#[$feature])*
            unsafe fn rows(operands: &Operands<'_, $element>, panel: &Panel, rows: Range<usize>) {
                // SAFETY: as above.
                unsafe { panel_rows::<$vector, $rows, $vectors>(operands, panel, rows) }
            }
        }
    };
}

// 32 registers: 24 sums, two vectors of the right operand, one number of the left.
#[cfg(target_arch = "x86_64")]
entry!(
    #[target_feature(enable = "avx512f")]
    avx512_f32,
    f32,
    __m512,
    12,
    2
);
#[cfg(target_arch = "x86_64")]
entry!(
    #[target_feature(enable = "avx512f")]
    avx512_f64,
    f64,
    __m512d,
    12,
    2
);
// 16 registers: 12 sums.
#[cfg(target_arch = "x86_64")]
entry!(
    #[target_feature(enable = "avx2,fma")]
    avx2_f32,
    f32,
    __m256,
    6,
    2
);
#[cfg(target_arch = "x86_64")]
entry!(
    #[target_feature(enable = "avx2,fma")]
    avx2_f64,
    f64,
    __m256d,
    6,
    2
);
entry!(portable_f32, f32, Portable<f32>, 4, 2);
entry!(portable_f64, f64, Portable<f64>, 2, 2);

/// What one call works on.
struct Operands<'t, T> {
    tables: &'t Tables,
    lhs: *const T,
    rhs: *const T,
    out: *mut T,
    scratch: *mut T,
    scale: T,
}

// SAFETY: threads share the operands to read and write different rows of the result.
unsafe impl<T: Sync> Sync for Operands<'_, T> {}

/// Computes some rows of a panel.
type RowsFn<T> = unsafe fn(&Operands<'_, T>, &Panel, Range<usize>);

/// The loops over panels.
#[inline(always)]
unsafe fn contract<V: Vector, const VECTORS: usize>(
    operands: &Operands<'_, V::Element>,
    rows: RowsFn<V::Element>,
) {
    let tables = operands.tables;
    let (columns, depth) = (tables.column_out.len(), tables.depth_lhs.len());
    for (number, depth) in parts(depth, PANEL_DEPTH, 1).enumerate() {
        for columns in parts(columns, panel_columns(size_of::<V::Element>()), VECTORS * V::LANES) {
            let panel = Panel { depth: depth.clone(), columns, is_first: number == 0 };
            // SAFETY: the caller's promise; the scratch has room for the panel.
            unsafe {
                match panel.is_narrow(V::LANES) {
                    true => pack_panel::<V, 1>(operands, &panel),
                    false => pack_panel::<V, VECTORS>(operands, &panel),
                }
            }
            let all = 0..tables.row_out.len();
            let work = all.len() * panel.columns.len() * panel.depth.len();
            split(all, work, &|part| {
                // SAFETY: the caller's promise; no two parts have a row in common.
                unsafe { rows(operands, &panel, part) }
            });
        }
    }
}

/// Multiplications that pay for waking another thread, which takes about 5 µs: 100 µs of them.
const WORTH_A_THREAD: usize = 1 << 22;

/// Runs the rows in as many parts as there are threads, if the work is worth it. What is computed of a row does not
/// depend on the parts.
fn split(rows: Range<usize>, work: usize, run: &(impl Fn(Range<usize>) + Sync)) {
    let threads = if work < 2 * WORTH_A_THREAD { 1 } else { rayon::current_num_threads() };
    let mut shares = parts(rows.len(), rows.len().div_ceil(threads.min(work / WORTH_A_THREAD).max(1)), 1);
    let Some(first) = shares.next() else { return };
    if first.len() == rows.len() {
        return run(first);
    }
    rayon::scope(|scope| {
        for share in shares {
            scope.spawn(|_| run(share));
        }
        run(first);
    });
}

/// A range cut into parts of about equal length, at most `most` and multiples of `unit` but for the last.
fn parts(length: usize, most: usize, unit: usize) -> impl Iterator<Item = Range<usize>> {
    let count = length.div_ceil(most).max(1);
    let part = length.div_ceil(count).next_multiple_of(unit).max(1);
    (0..length).step_by(part).map(move |start| start..(start + part).min(length))
}

/// A block of the right operand that is packed at once.
struct Panel {
    depth: Range<usize>,
    columns: Range<usize>,
    is_first: bool,
}

impl Panel {
    /// Whether tiles of one vector cover it.
    fn is_narrow(&self, lanes: usize) -> bool {
        self.columns.len() <= lanes
    }
}

#[inline(always)]
unsafe fn pack_panel<V: Vector, const VECTORS: usize>(operands: &Operands<'_, V::Element>, panel: &Panel) {
    let Operands { tables, rhs, scratch, .. } = *operands;
    let (depth, columns) =
        (&tables.depth_rhs[panel.depth.clone()], &tables.column_rhs[panel.columns.clone()]);
    // SAFETY: the caller's promise.
    unsafe { pack::panel::<V, VECTORS>(rhs, depth, columns, scratch) }
}

#[inline(always)]
unsafe fn panel_rows<V: Vector, const ROWS: usize, const VECTORS: usize>(
    operands: &Operands<'_, V::Element>,
    panel: &Panel,
    rows: Range<usize>,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match panel.is_narrow(V::LANES) {
            true => tiles::<V, ROWS, 1>(operands, panel, rows),
            false => tiles::<V, ROWS, VECTORS>(operands, panel, rows),
        }
    }
}

#[inline(always)]
unsafe fn tiles<V: Vector, const ROWS: usize, const VECTORS: usize>(
    operands: &Operands<'_, V::Element>,
    panel: &Panel,
    all: Range<usize>,
) {
    let Operands { tables, lhs, out, scratch, scale, .. } = *operands;
    let (depth, columns) = (panel.depth.clone(), panel.columns.clone());
    let width = VECTORS * V::LANES;
    let ending = match (tables.is_scaled, panel.is_first) {
        (true, _) => Ending::AddScaled(scale),
        (false, true) => Ending::Store,
        (false, false) => Ending::Add,
    };
    for rows in parts(all.len(), ROWS, 1).map(|rows| all.start + rows.start..all.start + rows.end) {
        let mut left = [std::ptr::null(); ROWS];
        let mut result = [std::ptr::null_mut(); ROWS];
        for (at, row) in rows.clone().enumerate() {
            left[at] = lhs.wrapping_offset(tables.row_lhs[row] as isize);
            result[at] = out.wrapping_offset(tables.row_out[row] as isize);
        }
        for (strip, columns) in tables.column_out[columns.clone()].chunks(width).enumerate() {
            let tile = Tile {
                lhs: &left[..rows.len()],
                depth: &tables.depth_lhs[depth.clone()],
                strip: scratch.wrapping_add(strip * width * depth.len()),
                out: &result[..rows.len()],
                columns,
                ending,
            };
            // SAFETY: the caller's promise.
            unsafe { tile_of_rows::<V, ROWS, VECTORS>(&tile) };
        }
    }
}

/// The tile kernel for as many rows as there are.
#[inline(always)]
unsafe fn tile_of_rows<V: Vector, const ROWS: usize, const VECTORS: usize>(tile: &Tile<'_, V::Element>) {
    use tile::tile as run;
    // SAFETY: the caller's promise.
    unsafe {
        match tile.lhs.len() {
            1 if ROWS >= 1 => run::<V, 1, VECTORS>(tile),
            2 if ROWS >= 2 => run::<V, 2, VECTORS>(tile),
            3 if ROWS >= 3 => run::<V, 3, VECTORS>(tile),
            4 if ROWS >= 4 => run::<V, 4, VECTORS>(tile),
            5 if ROWS >= 5 => run::<V, 5, VECTORS>(tile),
            6 if ROWS >= 6 => run::<V, 6, VECTORS>(tile),
            7 if ROWS >= 7 => run::<V, 7, VECTORS>(tile),
            8 if ROWS >= 8 => run::<V, 8, VECTORS>(tile),
            9 if ROWS >= 9 => run::<V, 9, VECTORS>(tile),
            10 if ROWS >= 10 => run::<V, 10, VECTORS>(tile),
            11 if ROWS >= 11 => run::<V, 11, VECTORS>(tile),
            12 if ROWS >= 12 => run::<V, 12, VECTORS>(tile),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
