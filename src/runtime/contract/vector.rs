//! Vectors of the processor's widths behind one trait, for kernels written once.
//!
//! The methods are `inline(always)` and only sound inside functions compiled for the instructions they use.

use std::ops::{Add, Mul};

/// A float that vectors are made of.
pub(super) trait Real: Copy + Default + Add<Output = Self> + Mul<Output = Self> + Send + Sync {
    const ONE: Self;
}

impl Real for f32 {
    const ONE: f32 = 1.0;
}
impl Real for f64 {
    const ONE: f64 = 1.0;
}

/// A vector of floats.
pub(super) trait Vector: Copy {
    type Element: Real;
    const LANES: usize;
    /// Vectors that the processor has registers for.
    const REGISTERS: usize;
    /// Rows of a tile, at most.
    const ROWS: usize;
    /// Vectors of sums in a tile, at most: registers but for those that operands take.
    const SUMS: usize;
    /// Some of the lanes, from the first on.
    type Mask: Copy;
    /// Whether loads of some lanes are as fast as of all.
    const MASKS: bool;
    /// So few rows or columns do not pay for packing what they meet, if loads of some lanes are slow.
    const THIN: usize;

    /// # Safety
    /// As for all methods: the processor has the vector's instructions; pointers are good for the lanes named.
    unsafe fn splat(x: Self::Element) -> Self;
    unsafe fn load(from: *const Self::Element) -> Self;
    unsafe fn store(self, to: *mut Self::Element);
    /// The first `count` lanes.
    unsafe fn mask(count: usize) -> Self::Mask;
    /// The lanes of the mask; zero in the others, which are not read.
    unsafe fn load_masked(from: *const Self::Element, mask: Self::Mask) -> Self;
    /// Stores the first lanes, fewer than all if masks are slow.
    unsafe fn store_first(self, to: *mut Self::Element, count: usize);
    /// The lanes of the mask from the first, the others from the second: both point to where the first lane would be.
    unsafe fn load_joined(from: [*const Self::Element; 2], mask: Self::Mask) -> Self;
    /// `self · a + b`, rounded once where the processor can.
    unsafe fn mul_add(self, a: Self, b: Self) -> Self;

    /// Every other element, from the first one to that of the last lane.
    #[inline(always)]
    unsafe fn load_every_other(from: *const Self::Element) -> Self {
        let mut lanes = [Self::Element::default(); 16];
        for (lane, to) in lanes[..Self::LANES].iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *to = unsafe { *from.add(2 * lane) };
        }
        // SAFETY: no vector has more lanes.
        unsafe { Self::load(lanes.as_ptr()) }
    }

    /// Asks for an element to be brought to the first cache.
    #[inline(always)]
    unsafe fn prefetch(_at: *const Self::Element) {}

    /// One element in all lanes, after the steps of sums before it.
    #[inline(always)]
    unsafe fn broadcast_in_turn(from: *const Self::Element, offset: isize) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self::splat(*from.offset(offset)) }
    }

    /// One element in all lanes, in turn: of a row below the first; the steps are one row, three, five and so on, in bytes.
    #[inline(always)]
    unsafe fn broadcast_row<const ROW: usize>(from: *const Self::Element, steps: [isize; 6]) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self::splat(*from.byte_offset(ROW as isize * steps[0])) }
    }

    /// A vector, in turn: so many beyond another one.
    #[inline(always)]
    unsafe fn load_beside<const VECTOR: usize>(from: *const Self::Element) -> Self {
        // SAFETY: the caller's promise.
        unsafe { Self::load(from.add(VECTOR * Self::LANES)) }
    }

    /// `self + a · b` with a vector so many beyond another one.
    #[inline(always)]
    unsafe fn add_product_beside<const VECTOR: usize>(self, a: Self, from: *const Self::Element) -> Self {
        // SAFETY: the caller's promise.
        unsafe { self.add_product(a, Self::load_beside::<VECTOR>(from)) }
    }

    /// `self + a · b` with a vector so many elements further on.
    #[inline(always)]
    unsafe fn add_product_beyond(self, a: Self, from: *const Self::Element, offset: isize) -> Self {
        // SAFETY: the caller's promise.
        unsafe { self.add_product(a, Self::load(from.offset(offset))) }
    }

    /// `self + a · b`: a step of a long sum.
    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        // SAFETY: the caller's promise.
        unsafe { a.mul_add(b, self) }
    }

    /// A vector, or the lanes of the mask, after the steps of sums before it.
    #[inline(always)]
    unsafe fn load_in_turn(from: *const Self::Element, offset: isize, mask: Option<Self::Mask>) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            let at = from.offset(offset);
            mask.map_or_else(|| Self::load(at), |mask| Self::load_masked(at, mask))
        }
    }

    /// The sum of each vector's lanes.
    #[inline(always)]
    unsafe fn sums_of_lanes(vectors: [Self; 4]) -> [Self::Element; 4] {
        vectors.map(|vector| {
            let mut lanes = [Self::Element::default(); 16];
            // SAFETY: no vector has more lanes.
            unsafe { vector.store(lanes.as_mut_ptr()) };
            lanes[..Self::LANES].iter().fold(Self::Element::default(), |sum, &lane| sum + lane)
        })
    }

    /// Takes as many elements from each of `LANES` rows and writes them across: what lay along a row comes to lie `stride`
    /// elements apart.
    #[inline(always)]
    unsafe fn transpose(row: impl Fn(usize) -> *const Self::Element, to: *mut Self::Element, stride: usize) {
        for along in 0..Self::LANES {
            for lane in 0..Self::LANES {
                // SAFETY: the caller's promise.
                unsafe { *to.add(along * stride + lane) = *row(lane).add(along) };
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
    // A vector of doubles is two registers.
    const REGISTERS: usize = 64 / size_of::<T>();
    const ROWS: usize = 16 / size_of::<T>();
    const SUMS: usize = 2 * Self::ROWS;
    type Mask = usize;
    const MASKS: bool = false;
    const THIN: usize = 1;

    #[inline(always)]
    unsafe fn mask(count: usize) -> usize {
        count
    }

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
    unsafe fn load_masked(from: *const T, count: usize) -> Self {
        let mut lanes = [T::default(); 4];
        for (lane, to) in lanes.iter_mut().enumerate().take(count) {
            // SAFETY: only lanes below the count are read.
            *to = unsafe { *from.add(lane) };
        }
        Portable(lanes)
    }

    #[inline(always)]
    unsafe fn load_joined([first, second]: [*const T; 2], count: usize) -> Self {
        let mut lanes = [T::default(); 4];
        for (lane, to) in lanes.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *to = unsafe { *(if lane < count { first } else { second }).wrapping_add(lane) };
        }
        Portable(lanes)
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut T, count: usize) {
        for (lane, &x) in self.0.iter().enumerate().take(count) {
            // SAFETY: only lanes below the count are written.
            unsafe { to.add(lane).write(x) };
        }
    }

    #[inline(always)]
    unsafe fn mul_add(self, a: Self, b: Self) -> Self {
        let mut lanes = self.0;
        for (lane, x) in lanes.iter_mut().enumerate() {
            *x = *x * a.0[lane] + b.0[lane];
        }
        Portable(lanes)
    }
}

#[cfg(target_arch = "x86_64")]
mod x86;
