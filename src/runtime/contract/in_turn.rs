//! Instructions that stay in the order they are written in.
//!
//! LLVM would move all loads of a depth ahead of the multiply-adds; the sums would then no longer fit in the registers. It
//! would also multiply with an element where it lies, each time anew: as many loads as multiplications, and processors
//! with two 512-bit multipliers do not load that much.

macro_rules! in_turn {
    ($module:ident, $register:ty, $class:ident, $element:ty, $mask:ty, $mask_class:ident,
     $features:literal, $fma:literal, $broadcast:literal, $load:literal, $load_masked:literal) => {
        pub(super) mod $module {
            use std::arch::asm;
            use std::arch::x86_64::*;

            #[inline]
            #[target_feature(enable = $features)]
            pub unsafe fn broadcast_beyond<const TIMES: usize>(
                from: *const $element,
                step: isize,
            ) -> $register {
                let all;
                // SAFETY: reads one element, which is there by the caller's promise.
                unsafe {
                    asm!(
                        concat!($broadcast, " {all}, [{from} + {step} * {times}]"),
                        all = out($class) all,
                        from = in(reg) from,
                        step = in(reg) step,
                        times = const TIMES,
                        options(nostack, readonly, preserves_flags),
                    );
                }
                all
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub unsafe fn broadcast_first(from: *const $element) -> $register {
                let all;
                // SAFETY: reads one element, which is there by the caller's promise.
                unsafe {
                    asm!(
                        concat!($broadcast, " {all}, [{from}]"),
                        all = out($class) all,
                        from = in(reg) from,
                        options(nostack, readonly, preserves_flags),
                    );
                }
                all
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub unsafe fn load_beside<const VECTOR: usize>(from: *const $element) -> $register {
                let vector;
                // SAFETY: reads a vector, which is there by the caller's promise.
                unsafe {
                    asm!(
                        concat!($load, " {vector}, [{from} + {at}]"),
                        vector = out($class) vector,
                        from = in(reg) from,
                        at = const VECTOR * size_of::<$register>(),
                        options(nostack, readonly, preserves_flags),
                    );
                }
                vector
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub unsafe fn add_product_beside<const VECTOR: usize>(
                mut sum: $register,
                a: $register,
                from: *const $element,
            ) -> $register {
                // SAFETY: reads a vector, which is there by the caller's promise.
                unsafe {
                    asm!(
                        concat!($fma, " {sum}, {a}, [{from} + {at}]"),
                        sum = inout($class) sum,
                        a = in($class) a,
                        from = in(reg) from,
                        at = const VECTOR * size_of::<$register>(),
                        options(nostack, readonly, preserves_flags),
                    );
                }
                sum
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub unsafe fn add_product_beyond(
                mut sum: $register,
                a: $register,
                from: *const $element,
                offset: isize,
            ) -> $register {
                // SAFETY: reads a vector, which is there by the caller's promise.
                unsafe {
                    asm!(
                        concat!($fma, " {sum}, {a}, [{from} + {offset} * {size}]"),
                        sum = inout($class) sum,
                        a = in($class) a,
                        from = in(reg) from,
                        offset = in(reg) offset,
                        size = const size_of::<$element>(),
                        options(nostack, readonly, preserves_flags),
                    );
                }
                sum
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub unsafe fn add_product(mut sum: $register, a: $register, b: $register) -> $register {
                // SAFETY: computes in registers alone.
                unsafe {
                    asm!(
                        concat!($fma, " {sum}, {a}, {b}"),
                        sum = inout($class) sum,
                        a = in($class) a,
                        b = in($class) b,
                        options(nostack, nomem, preserves_flags),
                    );
                }
                sum
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub unsafe fn load(from: *const $element, offset: isize) -> $register {
                let vector;
                // SAFETY: reads a vector, which is there by the caller's promise.
                unsafe {
                    asm!(
                        concat!($load, " {vector}, [{from} + {offset} * {size}]"),
                        vector = out($class) vector,
                        from = in(reg) from,
                        offset = in(reg) offset,
                        size = const size_of::<$element>(),
                        options(nostack, readonly, preserves_flags),
                    );
                }
                vector
            }

            #[inline]
            #[target_feature(enable = $features)]
            pub unsafe fn load_masked(from: *const $element, offset: isize, mask: $mask) -> $register {
                let vector;
                // SAFETY: reads the lanes of the mask, which are there by the caller's promise.
                unsafe {
                    asm!(
                        concat!($load_masked, ", [{from} + {offset} * {size}]"),
                        vector = out($class) vector,
                        mask = in($mask_class) mask,
                        from = in(reg) from,
                        offset = in(reg) offset,
                        size = const size_of::<$element>(),
                        options(nostack, readonly, preserves_flags),
                    );
                }
                vector
            }
        }
    };
}

in_turn!(
    zmm_ps,
    __m512,
    zmm_reg,
    f32,
    __mmask16,
    kreg,
    "avx512f",
    "vfmadd231ps",
    "vbroadcastss",
    "vmovups",
    "vmovups {vector}{{{mask}}}{{z}}"
);
in_turn!(
    zmm_pd,
    __m512d,
    zmm_reg,
    f64,
    __mmask8,
    kreg,
    "avx512f",
    "vfmadd231pd",
    "vbroadcastsd",
    "vmovupd",
    "vmovupd {vector}{{{mask}}}{{z}}"
);
in_turn!(
    ymm_ps,
    __m256,
    ymm_reg,
    f32,
    __m256i,
    ymm_reg,
    "avx2,fma",
    "vfmadd231ps",
    "vbroadcastss",
    "vmovups",
    "vmaskmovps {vector}, {mask}"
);
in_turn!(
    ymm_pd,
    __m256d,
    ymm_reg,
    f64,
    __m256i,
    ymm_reg,
    "avx2,fma",
    "vfmadd231pd",
    "vbroadcastsd",
    "vmovupd",
    "vmaskmovpd {vector}, {mask}"
);
