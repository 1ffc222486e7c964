//! The functions that are compiled for each kind of vectors.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{__m256, __m256d, __m512, __m512d};
use std::ops::Range;

use super::dot::{self, is_tile_of_dots};
use super::grid::{self, Grid, Start};
use super::pack::{self, Part};
use super::share::{self, Share};
use super::tile::{self, Ending, Tiles, is_tile};
use super::vector::{Portable, Vector};
use super::{Arguments, Operands, Prepared, contract};

/// A tile's kernels, by rows and by vectors or columns: those whose sums fit in registers.
type TileKernels<F> = [[Option<F>; 4]; TALLEST];

/// Computes tiles.
type TilesFn<V> = unsafe fn(&Tiles<'_, <V as Vector>::Element>);

/// Computes tiles that lie evenly.
pub(super) type GridFn<V> = unsafe fn(&Grid, &Start<<V as Vector>::Element>, &Ending<<V as Vector>::Element>);

/// Computes tiles from this row on, for these columns.
type DotsFn<V> = unsafe fn(&Operands<'_, <V as Vector>::Element>, usize, Range<usize>);

/// Rows of the tallest tile.
pub(super) const TALLEST: usize = 12;

macro_rules! tile_kernels {
    ($kernel:ident if $fits:ident, $($rows:literal)*) => {
        [$([
            tile_kernels!(@ $kernel if $fits, $rows 1),
            tile_kernels!(@ $kernel if $fits, $rows 2),
            tile_kernels!(@ $kernel if $fits, $rows 3),
            tile_kernels!(@ $kernel if $fits, $rows 4),
        ]),*]
    };
    (@ $kernel:ident if $fits:ident, $rows:literal $columns:literal) => {
        if $fits::<Self>($rows, $columns) { Some(Self::$kernel::<$rows, $columns>) } else { None }
    };
}

/// What is compiled for one kind of vectors: functions of their own, each with the processor's instructions enabled, in
/// which all others are inlined. Tiles are called by way of tables: all of them inlined in one function would take the
/// compiler several times as long.
///
/// # Safety
/// The processor has the instructions; operands, shares and parts are good.
pub(super) trait Kernels: Vector + 'static {
    const TILES: TileKernels<TilesFn<Self>> = tile_kernels!(tiles if is_tile, 1 2 3 4 5 6 7 8 9 10 11 12);
    const GRIDS: TileKernels<GridFn<Self>> = tile_kernels!(grid if is_tile, 1 2 3 4 5 6 7 8 9 10 11 12);
    const DOTS: TileKernels<DotsFn<Self>> =
        tile_kernels!(tiles_of_dots if is_tile_of_dots, 1 2 3 4 5 6 7 8 9 10 11 12);

    /// The function to call from generated code.
    unsafe extern "C" fn contract(
        prepared: *const u8,
        lhs: *const Self::Element,
        rhs: *const Self::Element,
        out: *mut Self::Element,
        scale: Self::Element,
    );
    unsafe fn in_place(operands: &Operands<'_, Self::Element>, share: &Share);
    unsafe fn packed(operands: &Operands<'_, Self::Element>, share: &Share);
    unsafe fn dots(operands: &Operands<'_, Self::Element>, share: &Share);
    unsafe fn pack(part: Part<'_, Self::Element>, to: *mut Self::Element, vectors: usize, width: usize);
    unsafe fn scattered(tiles: &Tiles<'_, Self::Element>);
    unsafe fn tiles<const ROWS: usize, const VECTORS: usize>(tiles: &Tiles<'_, Self::Element>);
    unsafe fn grid<const ROWS: usize, const VECTORS: usize>(
        grid: &Grid,
        start: &Start<Self::Element>,
        ending: &Ending<Self::Element>,
    );
    unsafe fn tiles_of_dots<const ROWS: usize, const COLUMNS: usize>(
        operands: &Operands<'_, Self::Element>,
        row: usize,
        columns: Range<usize>,
    );
}

macro_rules! kernels {
    ($(#[$feature:meta])* $vector:ty, $element:ty) => {
        impl Kernels for $vector {
            $(#[$feature])*
            unsafe extern "C" fn contract(
                prepared: *const u8,
                lhs: *const $element,
                rhs: *const $element,
                out: *mut $element,
                scale: $element,
            ) {
                // SAFETY: generated code passes what was prepared for it and lives as long as it, and memory that the loop
                // IR's verifier found large enough; the library was chosen for this processor.
                unsafe {
                    let prepared = &*prepared.cast::<Prepared<Self>>();
                    contract::<Self>(prepared, &Arguments { lhs, rhs, out, scale });
                }
            }

            $(#[$feature])*
            unsafe fn in_place(operands: &Operands<'_, $element>, share: &Share) {
                // SAFETY: the caller's promise, here and below.
                unsafe { share::in_place::<Self>(operands, share, &mut |tiles| tiles.compute::<Self>()) }
            }

            $(#[$feature])*
            unsafe fn packed(operands: &Operands<'_, $element>, share: &Share) {
                unsafe { share::packed::<Self>(operands, share) }
            }

            $(#[$feature])*
            unsafe fn dots(operands: &Operands<'_, $element>, share: &Share) {
                unsafe { dot::compute::<Self>(operands, share) }
            }

            $(#[$feature])*
            unsafe fn pack(part: Part<'_, $element>, to: *mut $element, vectors: usize, width: usize) {
                unsafe { pack::pack::<Self>(part, to, vectors, width) }
            }

            $(#[$feature])*
            unsafe fn scattered(tiles: &Tiles<'_, $element>) {
                unsafe { tiles.scattered::<Self>() }
            }

            $(#[$feature])*
            unsafe fn tiles<const ROWS: usize, const VECTORS: usize>(tiles: &Tiles<'_, $element>) {
                unsafe { tile::tiles::<Self, ROWS, VECTORS>(tiles) }
            }

            $(#[$feature])*
            unsafe fn grid<const ROWS: usize, const VECTORS: usize>(
                grid: &Grid,
                start: &Start<$element>,
                ending: &Ending<$element>,
            ) {
                unsafe { grid::compute::<Self, ROWS, VECTORS>(grid, start, ending) }
            }

            $(#[$feature])*
            unsafe fn tiles_of_dots<const ROWS: usize, const COLUMNS: usize>(
                operands: &Operands<'_, $element>,
                row: usize,
                columns: Range<usize>,
            ) {
                unsafe { dot::tiles::<Self, ROWS, COLUMNS>(operands, row, columns) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
kernels!(
    #[target_feature(enable = "avx512f")]
    __m512,
    f32
);
#[cfg(target_arch = "x86_64")]
kernels!(
    #[target_feature(enable = "avx512f")]
    __m512d,
    f64
);
#[cfg(target_arch = "x86_64")]
kernels!(
    #[target_feature(enable = "avx2,fma")]
    __m256,
    f32
);
#[cfg(target_arch = "x86_64")]
kernels!(
    #[target_feature(enable = "avx2,fma")]
    __m256d,
    f64
);
kernels!(Portable<f32>, f32);
kernels!(Portable<f64>, f64);
