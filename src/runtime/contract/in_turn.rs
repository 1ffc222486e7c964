//! Instructions that stay in the order they are written in.
//!
//! LLVM would move all loads of a depth ahead of the multiply-adds; the sums would then no longer fit in the registers.

/// Sums in 32 registers; an element is multiplied with from where it lies.
macro_rules! zmm {
    ($module:ident, $register:ty, $element:ty, $mask:ty, $fma:literal, $times:literal, $load:literal) => {
        pub(super) mod $module {
            use std::arch::asm;
            use std::arch::x86_64::*;

            /// Where an element lies: a pointer and an offset.
            pub type Factor = (*const $element, isize);

            #[inline(always)]
            pub unsafe fn factor(from: *const $element, offset: isize) -> Factor {
                (from, offset)
            }

            #[inline]
            #[target_feature(enable = "avx512f")]
            pub unsafe fn add_multiple(mut sum: $register, a: Factor, b: $register) -> $register {
                // SAFETY: reads one element, which is there by the caller's promise.
                unsafe {
                    asm!(
                        concat!($fma, " {sum}, {b}, [{from} + {offset} * {size}]{{", $times, "}}"),
                        sum = inout(zmm_reg) sum,
                        b = in(zmm_reg) b,
                        from = in(reg) a.0,
                        offset = in(reg) a.1,
                        size = const size_of::<$element>(),
                        options(nostack, readonly, preserves_flags),
                    );
                }
                sum
            }

            #[inline]
            #[target_feature(enable = "avx512f")]
            pub unsafe fn add_product(mut sum: $register, a: $register, b: $register) -> $register {
                // SAFETY: computes in registers alone.
                unsafe {
                    asm!(
                        concat!($fma, " {sum}, {a}, {b}"),
                        sum = inout(zmm_reg) sum,
                        a = in(zmm_reg) a,
                        b = in(zmm_reg) b,
                        options(nostack, nomem, preserves_flags),
                    );
                }
                sum
            }

            #[inline]
            #[target_feature(enable = "avx512f")]
            pub unsafe fn load(from: *const $element, mask: $mask) -> $register {
                let vector;
                // SAFETY: reads the lanes of the mask, which are there by the caller's promise.
                unsafe {
                    asm!(
                        concat!($load, " {vector}{{{mask}}}{{z}}, [{from}]"),
                        vector = out(zmm_reg) vector,
                        mask = in(kreg) mask,
                        from = in(reg) from,
                        options(nostack, readonly, preserves_flags),
                    );
                }
                vector
            }
        }
    };
}

zmm!(zmm_ps, __m512, f32, __mmask16, "vfmadd231ps", "1to16", "vmovups");
zmm!(zmm_pd, __m512d, f64, __mmask8, "vfmadd231pd", "1to8", "vmovupd");

/// Sums in 16 registers; an element is brought to all lanes first.
macro_rules! ymm {
    ($module:ident, $register:ty, $element:ty, $fma:literal, $broadcast:literal) => {
        pub(super) mod $module {
            use std::arch::asm;
            use std::arch::x86_64::*;

            pub type Factor = $register;

            #[inline]
            #[target_feature(enable = "avx2,fma")]
            pub unsafe fn factor(from: *const $element, offset: isize) -> Factor {
                let all;
                // SAFETY: reads one element, which is there by the caller's promise.
                unsafe {
                    asm!(
                        concat!($broadcast, " {all}, [{from} + {offset} * {size}]"),
                        all = out(ymm_reg) all,
                        from = in(reg) from,
                        offset = in(reg) offset,
                        size = const size_of::<$element>(),
                        options(nostack, readonly, preserves_flags),
                    );
                }
                all
            }

            #[inline]
            #[target_feature(enable = "avx2,fma")]
            pub unsafe fn add_multiple(mut sum: $register, a: Factor, b: $register) -> $register {
                // SAFETY: computes in registers alone.
                unsafe {
                    asm!(
                        concat!($fma, " {sum}, {a}, {b}"),
                        sum = inout(ymm_reg) sum,
                        a = in(ymm_reg) a,
                        b = in(ymm_reg) b,
                        options(nostack, nomem, preserves_flags),
                    );
                }
                sum
            }
        }
    };
}

ymm!(ymm_ps, __m256, f32, "vfmadd231ps", "vbroadcastss");
ymm!(ymm_pd, __m256d, f64, "vfmadd231pd", "vbroadcastsd");
