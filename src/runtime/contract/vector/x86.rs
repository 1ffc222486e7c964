//! Vectors of x86-64, by intrinsics.

use std::arch::x86_64::*;

use super::super::in_turn::{ymm_pd, ymm_ps, zmm_pd, zmm_ps};
use super::Vector;

/// A vector type whose operations are intrinsics; `$first` makes a mask of the first lanes.
macro_rules! vector {
    ($register:ty, $element:ty, $lanes:literal, $registers:literal registers, tile $rows:literal $vectors:literal,
     $splat:ident, $load:ident, $store:ident, $fma:ident, every other $every_other:ident,
     masked $fast:literal $mask:ty, $first:expr, $mask_load:ident, $store_first:ident, $joined:ident,
     in turn $in_turn:ident $(, sums $sums:ident)? $(, transpose $transpose:ident)?) => {
        impl Vector for $register {
            type Element = $element;
            const LANES: usize = $lanes;
            const REGISTERS: usize = $registers;
            const ROWS: usize = $rows;
            const SUMS: usize = $rows * $vectors;
            type Mask = $mask;
            const MASKS: bool = $fast;
            // Up to 12, dots took 0.2 to 0.8 times as long, from 16 on 0.8 to 1.2 times.
            const THIN: usize = 12;

            #[inline(always)]
            unsafe fn mask(count: usize) -> $mask {
                unsafe { $first(count) }
            }

            #[inline(always)]
            unsafe fn splat(x: $element) -> Self {
                // SAFETY: the caller's promise, here and below.
                unsafe { $splat(x) }
            }

            #[inline(always)]
            unsafe fn load(from: *const $element) -> Self {
                unsafe { $load(from) }
            }

            #[inline(always)]
            unsafe fn store(self, to: *mut $element) {
                unsafe { $store(to, self) }
            }

            #[inline(always)]
            unsafe fn load_masked(from: *const $element, mask: $mask) -> Self {
                unsafe { $mask_load(mask, from) }
            }

            #[inline(always)]
            unsafe fn store_first(self, to: *mut $element, count: usize) {
                unsafe { $store_first(self, to, count) }
            }

            #[inline(always)]
            unsafe fn load_joined(from: [*const $element; 2], mask: $mask) -> Self {
                unsafe { $joined(from, mask) }
            }

            #[inline(always)]
            unsafe fn mul_add(self, a: Self, b: Self) -> Self {
                unsafe { $fma(self, a, b) }
            }

            #[inline(always)]
            unsafe fn load_every_other(from: *const $element) -> Self {
                unsafe { $every_other(from) }
            }

            #[inline(always)]
            unsafe fn prefetch(at: *const $element) {
                unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
            }

            #[inline(always)]
            unsafe fn broadcast_in_turn(from: *const $element, offset: isize) -> Self {
                unsafe { $in_turn::broadcast_beyond::<{ size_of::<$element>() }>(from, offset) }
            }

            #[inline(always)]
            unsafe fn broadcast_row<const ROW: usize>(from: *const $element, steps: [isize; 6]) -> Self {
                unsafe {
                    match ROW {
                        0 => $in_turn::broadcast_first(from),
                        2 => $in_turn::broadcast_beyond::<2>(from, steps[0]),
                        4 => $in_turn::broadcast_beyond::<4>(from, steps[0]),
                        6 => $in_turn::broadcast_beyond::<2>(from, steps[1]),
                        8 => $in_turn::broadcast_beyond::<8>(from, steps[0]),
                        10 => $in_turn::broadcast_beyond::<2>(from, steps[2]),
                        _ => $in_turn::broadcast_beyond::<1>(from, steps[ROW / 2]),
                    }
                }
            }

            #[inline(always)]
            unsafe fn load_beside<const VECTOR: usize>(from: *const $element) -> Self {
                unsafe { $in_turn::load_beside::<VECTOR>(from) }
            }

            #[inline(always)]
            unsafe fn add_product_beside<const VECTOR: usize>(self, a: Self, from: *const $element) -> Self {
                unsafe { $in_turn::add_product_beside::<VECTOR>(self, a, from) }
            }

            #[inline(always)]
            unsafe fn add_product_beyond(self, a: Self, from: *const $element, offset: isize) -> Self {
                unsafe { $in_turn::add_product_beyond(self, a, from, offset) }
            }

            #[inline(always)]
            unsafe fn add_product(self, a: Self, b: Self) -> Self {
                unsafe { $in_turn::add_product(self, a, b) }
            }

            #[inline(always)]
            unsafe fn load_in_turn(from: *const $element, offset: isize, mask: Option<$mask>) -> Self {
                unsafe {
                    match mask {
                        Some(mask) => $in_turn::load_masked(from, offset, mask),
                        None => $in_turn::load(from, offset),
                    }
                }
            }

            $(#[inline(always)]
            unsafe fn sums_of_lanes(vectors: [Self; 4]) -> [$element; 4] {
                unsafe { $sums(vectors) }
            })?

            $(#[inline(always)]
            unsafe fn transpose(row: impl Fn(usize) -> *const $element, to: *mut $element, stride: usize) {
                unsafe { $transpose(row, to, stride) }
            })?
        }
    };
}

// Registers hold sums, up to four vectors of the right operand and one number of the left.
vector!(__m512, f32, 16, 32 registers, tile 12 2,
    _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_fmadd_ps, every other every_other_16,
    masked true u16, first_of_16, _mm512_maskz_loadu_ps, store_first_16, joined_16,
    in turn zmm_ps, sums sums_of_16, transpose transpose_16);
vector!(__m512d, f64, 8, 32 registers, tile 12 2,
    _mm512_set1_pd, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_fmadd_pd, every other every_other_8,
    masked true u8, first_of_8_bits, _mm512_maskz_loadu_pd, store_first_8, joined_8,
    in turn zmm_pd, sums sums_of_8);
vector!(__m256, f32, 8, 16 registers, tile 6 2,
    _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps, every other every_other_8_singles,
    masked false __m256i, first_of_8, mask_load_ps, store_first_8_singles, joined_8_singles,
    in turn ymm_ps, sums sums_of_8_singles, transpose transpose_8);
vector!(__m256d, f64, 4, 16 registers, tile 6 2,
    _mm256_set1_pd, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_fmadd_pd, every other every_other_4,
    masked false __m256i, first_of_4, mask_load_pd, store_first_4, joined_4,
    in turn ymm_pd, sums sums_of_4, transpose transpose_4);

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn joined_16([first, second]: [*const f32; 2], mask: u16) -> __m512 {
    // SAFETY: the caller's promise, here and below; lanes that are masked out are not read.
    unsafe { _mm512_mask_loadu_ps(_mm512_maskz_loadu_ps(mask, first), !mask, second) }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn joined_8([first, second]: [*const f64; 2], mask: u8) -> __m512d {
    unsafe { _mm512_mask_loadu_pd(_mm512_maskz_loadu_pd(mask, first), !mask, second) }
}

#[inline]
#[target_feature(enable = "avx2")]
unsafe fn joined_8_singles([first, second]: [*const f32; 2], mask: __m256i) -> __m256 {
    let rest = _mm256_xor_si256(mask, _mm256_set1_epi32(-1));
    unsafe { _mm256_or_ps(_mm256_maskload_ps(first, mask), _mm256_maskload_ps(second, rest)) }
}

#[inline]
#[target_feature(enable = "avx2")]
unsafe fn joined_4([first, second]: [*const f64; 2], mask: __m256i) -> __m256d {
    let rest = _mm256_xor_si256(mask, _mm256_set1_epi32(-1));
    unsafe { _mm256_or_pd(_mm256_maskload_pd(first, mask), _mm256_maskload_pd(second, rest)) }
}

/// The second vector ends with the last element: its odd lanes are wanted.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn every_other_16(from: *const f32) -> __m512 {
    let order = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 17, 19, 21, 23, 25, 27, 29, 31);
    // SAFETY: the caller's promise, here and below.
    unsafe { _mm512_permutex2var_ps(_mm512_loadu_ps(from), order, _mm512_loadu_ps(from.add(15))) }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn every_other_8(from: *const f64) -> __m512d {
    let order = _mm512_setr_epi64(0, 2, 4, 6, 9, 11, 13, 15);
    unsafe { _mm512_permutex2var_pd(_mm512_loadu_pd(from), order, _mm512_loadu_pd(from.add(7))) }
}

#[inline]
#[target_feature(enable = "avx2")]
unsafe fn every_other_8_singles(from: *const f32) -> __m256 {
    let (first, second) = unsafe { (_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(7))) };
    let pairs = _mm256_castps_pd(_mm256_shuffle_ps::<0b_11_01_10_00>(first, second));
    _mm256_castpd_ps(_mm256_permute4x64_pd::<0b_11_01_10_00>(pairs))
}

#[inline]
#[target_feature(enable = "avx2")]
unsafe fn every_other_4(from: *const f64) -> __m256d {
    let (first, second) = unsafe { (_mm256_loadu_pd(from), _mm256_loadu_pd(from.add(3))) };
    _mm256_permute4x64_pd::<0b_11_01_10_00>(_mm256_shuffle_pd::<0b_1010>(first, second))
}

/// Halves of pairs are added until one vector holds four sums in each quarter, and then its quarters.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn sums_of_16([a, b, c, d]: [__m512; 4]) -> [f32; 4] {
    let pairs = |x, y| _mm512_castps_pd(_mm512_add_ps(_mm512_unpacklo_ps(x, y), _mm512_unpackhi_ps(x, y)));
    let (ab, cd) = (pairs(a, b), pairs(c, d));
    let low = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
    let quarters = _mm512_add_ps(low, _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)));
    let halves = _mm512_add_ps(quarters, _mm512_shuffle_f32x4(quarters, quarters, 0b_01_00_11_10));
    let sums = _mm512_add_ps(halves, _mm512_shuffle_f32x4(halves, halves, 0b_00_00_00_01));
    // SAFETY: both are 16 bytes.
    unsafe { std::mem::transmute(_mm512_castps512_ps128(sums)) }
}

/// The same for pairs of sums.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn sums_of_8([a, b, c, d]: [__m512d; 4]) -> [f64; 4] {
    let pairs = |x, y| _mm512_add_pd(_mm512_unpacklo_pd(x, y), _mm512_unpackhi_pd(x, y));
    let (ab, cd) = (pairs(a, b), pairs(c, d));
    let even = _mm512_shuffle_f64x2(ab, cd, 0b_10_00_10_00);
    let quarters = _mm512_add_pd(even, _mm512_shuffle_f64x2(ab, cd, 0b_11_01_11_01));
    let sums = _mm512_add_pd(quarters, _mm512_shuffle_f64x2(quarters, quarters, 0b_10_11_00_01));
    // Those of `a` and `b` are in the first quarter, those of `c` and `d` in the third.
    let order = _mm512_setr_epi64(0, 1, 4, 5, 0, 1, 4, 5);
    let sums = _mm512_castpd512_pd256(_mm512_permutexvar_pd(order, sums));
    // SAFETY: both are 32 bytes.
    unsafe { std::mem::transmute(sums) }
}

/// Neighbours are added, and sums of neighbours; halves of registers are left.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn sums_of_8_singles([a, b, c, d]: [__m256; 4]) -> [f32; 4] {
    let halves = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    let sums = _mm_add_ps(_mm256_castps256_ps128(halves), _mm256_extractf128_ps::<1>(halves));
    // SAFETY: both are 16 bytes.
    unsafe { std::mem::transmute(sums) }
}

/// The same for pairs.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn sums_of_4([a, b, c, d]: [__m256d; 4]) -> [f64; 4] {
    let (ab, cd) = (_mm256_hadd_pd(a, b), _mm256_hadd_pd(c, d));
    let low = _mm256_permute2f128_pd::<0x20>(ab, cd);
    let sums = _mm256_add_pd(low, _mm256_permute2f128_pd::<0x31>(ab, cd));
    // SAFETY: both are 32 bytes.
    unsafe { std::mem::transmute(sums) }
}

/// Pairs, then pairs of pairs, then quarters of registers change places.
#[inline(never)]
#[target_feature(enable = "avx512f")]
unsafe fn transpose_16(row: impl Fn(usize) -> *const f32, to: *mut f32, stride: usize) {
    let mut quads = [[_mm512_setzero_ps(); 4]; 4];
    for (quad, filled) in quads.iter_mut().enumerate() {
        // SAFETY: the rows are the caller's promise.
        let (a, b, c, d) = unsafe {
            let load = |at: usize| _mm512_loadu_ps(row(4 * quad + at));
            (load(0), load(1), load(2), load(3))
        };
        let low = (_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d));
        let high = (_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d));
        let join = |pairs: (__m512, __m512)| {
            let (x, y) = (_mm512_castps_pd(pairs.0), _mm512_castps_pd(pairs.1));
            let (first, second) = (_mm512_unpacklo_pd(x, y), _mm512_unpackhi_pd(x, y));
            (_mm512_castpd_ps(first), _mm512_castpd_ps(second))
        };
        let ((first, second), (third, fourth)) = (join(low), join(high));
        *filled = [first, second, third, fourth];
    }
    let [first, second, third, fourth] = quads;
    for along in 0..4 {
        let (a, b, c, d) = (first[along], second[along], third[along], fourth[along]);
        let even = (_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(c, d, 0x88));
        let odd = (_mm512_shuffle_f32x4(a, b, 0xdd), _mm512_shuffle_f32x4(c, d, 0xdd));
        // SAFETY: the room is the caller's promise.
        unsafe {
            let at = |row: usize| to.add(row * stride);
            _mm512_storeu_ps(at(along), _mm512_shuffle_f32x4(even.0, even.1, 0x88));
            _mm512_storeu_ps(at(along + 4), _mm512_shuffle_f32x4(odd.0, odd.1, 0x88));
            _mm512_storeu_ps(at(along + 8), _mm512_shuffle_f32x4(even.0, even.1, 0xdd));
            _mm512_storeu_ps(at(along + 12), _mm512_shuffle_f32x4(odd.0, odd.1, 0xdd));
        }
    }
}

/// Two halves of a register.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn halves(low: *const f32, high: *const f32) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe { _mm256_insertf128_ps::<1>(_mm256_castps128_ps256(_mm_loadu_ps(low)), _mm_loadu_ps(high)) }
}

/// Halves of rows are loaded where their registers' halves end up; then pairs, and pairs of pairs, change places.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn transpose_8(row: impl Fn(usize) -> *const f32, to: *mut f32, stride: usize) {
    for half in [0, 4] {
        // SAFETY: the rows are the caller's promise.
        let load = |at: usize| unsafe { halves(row(at).add(half), row(at + 4).add(half)) };
        let (a, b, c, d) = (load(0), load(1), load(2), load(3));
        let low = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
        let high = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
        // SAFETY: the room is the caller's promise.
        unsafe {
            let at = |along: usize| to.add((half + along) * stride);
            _mm256_storeu_ps(at(0), _mm256_shuffle_ps::<0x44>(low.0, low.1));
            _mm256_storeu_ps(at(1), _mm256_shuffle_ps::<0xee>(low.0, low.1));
            _mm256_storeu_ps(at(2), _mm256_shuffle_ps::<0x44>(high.0, high.1));
            _mm256_storeu_ps(at(3), _mm256_shuffle_ps::<0xee>(high.0, high.1));
        }
    }
}

/// The same for two pairs.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn transpose_4(row: impl Fn(usize) -> *const f64, to: *mut f64, stride: usize) {
    for half in [0, 2] {
        // SAFETY: the rows are the caller's promise.
        let load = |at: usize| unsafe {
            _mm256_castps_pd(halves(row(at).add(half).cast(), row(at + 2).add(half).cast()))
        };
        let (a, b) = (load(0), load(1));
        // SAFETY: the room is the caller's promise.
        unsafe {
            _mm256_storeu_pd(to.add(half * stride), _mm256_unpacklo_pd(a, b));
            _mm256_storeu_pd(to.add((half + 1) * stride), _mm256_unpackhi_pd(a, b));
        }
    }
}

#[inline(always)]
unsafe fn first_of_16(count: usize) -> u16 {
    ((1u32 << count) - 1) as u16
}

#[inline(always)]
unsafe fn first_of_8_bits(count: usize) -> u8 {
    ((1u32 << count) - 1) as u8
}

#[inline(always)]
unsafe fn first_of_8(count: usize) -> __m256i {
    // SAFETY: AVX2 is the caller's promise.
    unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
}

#[inline(always)]
unsafe fn first_of_4(count: usize) -> __m256i {
    // SAFETY: as above.
    unsafe { _mm256_cmpgt_epi64(_mm256_set1_epi64x(count as i64), _mm256_setr_epi64x(0, 1, 2, 3)) }
}

#[inline(always)]
unsafe fn mask_load_ps(mask: __m256i, from: *const f32) -> __m256 {
    // SAFETY: masked lanes are not read.
    unsafe { _mm256_maskload_ps(from, mask) }
}

#[inline(always)]
unsafe fn mask_load_pd(mask: __m256i, from: *const f64) -> __m256d {
    // SAFETY: masked lanes are not read.
    unsafe { _mm256_maskload_pd(from, mask) }
}

#[inline(always)]
unsafe fn store_first_16(vector: __m512, to: *mut f32, count: usize) {
    // SAFETY: the caller's promise, here and below; lanes from the count on are not written.
    unsafe { _mm512_mask_storeu_ps(to, first_of_16(count), vector) }
}

#[inline(always)]
unsafe fn store_first_8(vector: __m512d, to: *mut f64, count: usize) {
    unsafe { _mm512_mask_storeu_pd(to, first_of_8_bits(count), vector) }
}

/// Four, two and one: on Zen 3, products with ten columns take 0.9 of the time that masked stores take.
#[inline(always)]
unsafe fn store_first_8_singles(vector: __m256, mut to: *mut f32, count: usize) {
    unsafe {
        let mut rest = _mm256_castps256_ps128(vector);
        if count & 4 != 0 {
            _mm_storeu_ps(to, rest);
            (rest, to) = (_mm256_extractf128_ps::<1>(vector), to.add(4));
        }
        if count & 2 != 0 {
            _mm_storel_pd(to.cast(), _mm_castps_pd(rest));
            (rest, to) = (_mm_movehl_ps(rest, rest), to.add(2));
        }
        if count & 1 != 0 {
            _mm_store_ss(to, rest);
        }
    }
}

#[inline(always)]
unsafe fn store_first_4(vector: __m256d, to: *mut f64, count: usize) {
    unsafe { store_first_8_singles(_mm256_castpd_ps(vector), to.cast(), 2 * count) }
}
