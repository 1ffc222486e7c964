//! Vectors of the processor's widths behind one trait, for kernels written once.
//!
//! The methods are `inline(always)` and only sound inside functions compiled for the instructions they use.

use std::ops::{Add, Mul};

/// A float that vectors are made of.
pub(super) trait Real: Copy + Default + Add<Output = Self> + Mul<Output = Self> + Send + Sync {}

impl Real for f32 {}
impl Real for f64 {}

/// A vector of floats.
pub(super) trait Vector: Copy {
    type Element: Real;
    const LANES: usize;

    /// # Safety
    /// As for all methods: the processor has the vector's instructions; pointers are good for the lanes named.
    unsafe fn splat(x: Self::Element) -> Self;
    unsafe fn load(from: *const Self::Element) -> Self;
    unsafe fn store(self, to: *mut Self::Element);
    /// The first `count` lanes; zero in the others.
    unsafe fn load_first(from: *const Self::Element, count: usize) -> Self;
    unsafe fn store_first(self, to: *mut Self::Element, count: usize);
    unsafe fn add(self, other: Self) -> Self;
    /// `self · a + b`, rounded once where the processor can.
    unsafe fn mul_add(self, a: Self, b: Self) -> Self;

    /// One element in all lanes.
    #[inline(always)]
    unsafe fn broadcast(from: *const Self::Element) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self::splat(*from) }
    }

    /// `self + a · b`: a step of a long sum.
    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { a.mul_add(b, self) }
    }

    /// Takes as many elements from each of `LANES` rows and writes them across: what lay along a row comes to lie
    /// `stride` elements apart.
    #[inline(always)]
    unsafe fn transpose(rows: &[*const Self::Element], to: *mut Self::Element, stride: usize) {
        for along in 0..Self::LANES {
            for (lane, row) in rows.iter().enumerate() {
                // SAFETY: the caller's promise.
                unsafe { *to.add(along * stride + lane) = *row.add(along) };
            }
        }
    }
}

/// Four lanes in plain Rust: what every processor has.
#[derive(Clone, Copy)]
pub(super) struct Portable<T>([T; 4]);

impl<T: Real> Vector for Portable<T> {
    type Element = T;
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(x: T) -> Self {
        Portable([x; 4])
    }

    #[inline(always)]
    unsafe fn load(from: *const T) -> Self {
        // SAFETY: the caller's promise.
        Portable(unsafe { from.cast::<[T; 4]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut T) {
        // SAFETY: the caller's promise.
        unsafe { to.cast::<[T; 4]>().write_unaligned(self.0) }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const T, count: usize) -> Self {
        // SAFETY: only lanes below the count are read.
        Portable(std::array::from_fn(
            |lane| if lane < count { unsafe { *from.add(lane) } } else { T::default() },
        ))
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut T, count: usize) {
        for (lane, &x) in self.0.iter().enumerate().take(count) {
            // SAFETY: only lanes below the count are written.
            unsafe { to.add(lane).write(x) };
        }
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Portable(std::array::from_fn(|lane| self.0[lane] + other.0[lane]))
    }

    #[inline(always)]
    unsafe fn mul_add(self, a: Self, b: Self) -> Self {
        Portable(std::array::from_fn(|lane| self.0[lane] * a.0[lane] + b.0[lane]))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;
    use std::arch::x86_64::*;

    use super::Vector;

    /// A vector type whose operations are intrinsics; `$first` makes a mask of the first lanes.
    macro_rules! vector {
        ($register:ty, $element:ty, $lanes:literal, $splat:ident, $load:ident, $store:ident, $add:ident, $fma:ident,
         masked $first:expr, $mask_load:ident, $mask_store:ident
         $(, in order $broadcast:ident, $add_product:ident)? $(, transpose $transpose:ident)?) => {
            impl Vector for $register {
                type Element = $element;
                const LANES: usize = $lanes;

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
                unsafe fn load_first(from: *const $element, count: usize) -> Self {
                    unsafe { $mask_load($first(count), from) }
                }

                #[inline(always)]
                unsafe fn store_first(self, to: *mut $element, count: usize) {
                    unsafe { $mask_store(to, $first(count), self) }
                }

                #[inline(always)]
                unsafe fn add(self, other: Self) -> Self {
                    unsafe { $add(self, other) }
                }

                #[inline(always)]
                unsafe fn mul_add(self, a: Self, b: Self) -> Self {
                    unsafe { $fma(self, a, b) }
                }

                $(
                    #[inline(always)]
                    unsafe fn broadcast(from: *const $element) -> Self {
                        unsafe { $broadcast(from) }
                    }

                    #[inline(always)]
                    unsafe fn add_product(self, a: Self, b: Self) -> Self {
                        unsafe { $add_product(self, a, b) }
                    }
                )?

                $(#[inline(always)]
                unsafe fn transpose(rows: &[*const $element], to: *mut $element, stride: usize) {
                    unsafe { $transpose(rows, to, stride) }
                })?
            }
        };
    }

    vector!(__m512, f32, 16, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_add_ps, _mm512_fmadd_ps,
        masked |count: usize| ((1u32 << count) - 1) as u16, _mm512_maskz_loadu_ps, _mm512_mask_storeu_ps,
        in order broadcast_ps, add_product_ps, transpose transpose_16);
    vector!(__m512d, f64, 8, _mm512_set1_pd, _mm512_loadu_pd, _mm512_storeu_pd, _mm512_add_pd, _mm512_fmadd_pd,
        masked |count: usize| ((1u32 << count) - 1) as u8, _mm512_maskz_loadu_pd, _mm512_mask_storeu_pd,
        in order broadcast_pd, add_product_pd);
    vector!(__m256, f32, 8, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_add_ps, _mm256_fmadd_ps,
        masked first_of_8, mask_load_ps, _mm256_maskstore_ps);
    vector!(__m256d, f64, 4, _mm256_set1_pd, _mm256_loadu_pd, _mm256_storeu_pd, _mm256_add_pd, _mm256_fmadd_pd,
        masked first_of_4, mask_load_pd, _mm256_maskstore_pd);

    /// Instructions that stay in the order they are written in. LLVM would move all broadcasts of a depth ahead of the
    /// sums, which then no longer fit in the registers.
    macro_rules! in_order {
        ($register:ty, $element:ty, $broadcast:ident $load:literal, $add_product:ident $fma:literal) => {
            #[inline]
            #[target_feature(enable = "avx512f")]
            unsafe fn $broadcast(from: *const $element) -> $register {
                let all;
                // SAFETY: reads one element, which is there by the caller's promise.
                unsafe {
                    asm!(concat!($load, " {}, [{}]"), out(zmm_reg) all, in(reg) from,
                        options(nostack, readonly, preserves_flags));
                }
                all
            }

            #[inline]
            #[target_feature(enable = "avx512f")]
            unsafe fn $add_product(mut sum: $register, a: $register, b: $register) -> $register {
                // SAFETY: computes in registers alone.
                unsafe {
                    asm!(concat!($fma, " {}, {}, {}"), inout(zmm_reg) sum, in(zmm_reg) a, in(zmm_reg) b,
                        options(nostack, nomem, preserves_flags));
                }
                sum
            }
        };
    }

    in_order!(__m512, f32, broadcast_ps "vbroadcastss", add_product_ps "vfmadd231ps");
    in_order!(__m512d, f64, broadcast_pd "vbroadcastsd", add_product_pd "vfmadd231pd");

    /// Pairs, then pairs of pairs, then quarters of registers change places.
    #[inline(always)]
    unsafe fn transpose_16(rows: &[*const f32], to: *mut f32, stride: usize) {
        // SAFETY: AVX-512, the rows and the room are the caller's promise.
        unsafe {
            let mut quads = [[_mm512_setzero_ps(); 4]; 4];
            for (quad, rows) in quads.iter_mut().zip(rows.chunks(4)) {
                let [a, b, c, d] = [0, 1, 2, 3].map(|row| _mm512_loadu_ps(rows[row]));
                let pairs = |x, y| (_mm512_unpacklo_ps(x, y), _mm512_unpackhi_ps(x, y));
                let ((low, high), (low_2, high_2)) = (pairs(a, b), pairs(c, d));
                let join = |x, y| {
                    let (x, y) = (_mm512_castps_pd(x), _mm512_castps_pd(y));
                    let (first, second) = (_mm512_unpacklo_pd(x, y), _mm512_unpackhi_pd(x, y));
                    (_mm512_castpd_ps(first), _mm512_castpd_ps(second))
                };
                let ((first, second), (third, fourth)) = (join(low, low_2), join(high, high_2));
                *quad = [first, second, third, fourth];
            }
            for along in 0..4 {
                let [a, b, c, d] = quads.map(|quad| quad[along]);
                let (even, even_2) = (_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(c, d, 0x88));
                let (odd, odd_2) = (_mm512_shuffle_f32x4(a, b, 0xdd), _mm512_shuffle_f32x4(c, d, 0xdd));
                let at = |row: usize| to.add(row * stride);
                _mm512_storeu_ps(at(along), _mm512_shuffle_f32x4(even, even_2, 0x88));
                _mm512_storeu_ps(at(along + 4), _mm512_shuffle_f32x4(odd, odd_2, 0x88));
                _mm512_storeu_ps(at(along + 8), _mm512_shuffle_f32x4(even, even_2, 0xdd));
                _mm512_storeu_ps(at(along + 12), _mm512_shuffle_f32x4(odd, odd_2, 0xdd));
            }
        }
    }

    #[inline(always)]
    unsafe fn first_of_8(count: usize) -> __m256i {
        // SAFETY: AVX2 is the caller's promise.
        unsafe {
            _mm256_cmpgt_epi32(_mm256_set1_epi32(count as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
        }
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
}
