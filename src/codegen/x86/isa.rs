//! The sets of vector instructions, and the registers they work on.

use super::machine::Class;
use crate::codegen::Cpu;

/// A set of vector instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX2 and FMA: vectors of 256 bits. Masks are vectors, with all bits of a lane set or none.
    Avx2,
    /// The same instructions on vectors of 128 bits, some of which take half the time.
    Avx2Short,
    /// AVX-512 F, CD, DQ, BW and VL: vectors of 512 bits, and registers for masks.
    Avx512,
}

impl Isa {
    #[cfg(test)]
    pub const ALL: [Isa; 3] = [Isa::Avx512, Isa::Avx2, Isa::Avx2Short];

    /// The widest vectors that this machine has and the choice of processors allows.
    pub fn of(cpu: Cpu) -> Option<Isa> {
        let all = match cpu {
            Cpu::Native => &[Isa::Avx512, Isa::Avx2][..],
            Cpu::WithoutAvx512 => &[Isa::Avx2],
            Cpu::Baseline => &[],
        };
        all.iter().copied().find(|isa| isa.is_available())
    }

    /// Whether this processor runs such code.
    fn is_available(self) -> bool {
        #[cfg(all(target_arch = "x86_64", unix))]
        return match self {
            Isa::Avx2 | Isa::Avx2Short => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            Isa::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512cd")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
            }
        };
        #[cfg(not(all(target_arch = "x86_64", unix)))]
        false
    }

    pub fn name(self) -> &'static str {
        match self {
            Isa::Avx2 | Isa::Avx2Short => "AVX2",
            Isa::Avx512 => "AVX-512",
        }
    }

    /// How a vector's name begins.
    pub fn vector(self) -> &'static str {
        match self {
            Isa::Avx2Short => "xmm",
            Isa::Avx2 => "ymm",
            Isa::Avx512 => "zmm",
        }
    }

    /// Whether masks have registers of their own, and instructions a mask.
    pub fn has_masks(self) -> bool {
        self == Isa::Avx512
    }

    /// Bytes of a vector.
    pub fn bytes(self) -> usize {
        match self {
            Isa::Avx2Short => 16,
            Isa::Avx2 => 32,
            Isa::Avx512 => 64,
        }
    }

    /// The class of registers that hold what is of a class.
    pub fn bank(self, class: Class) -> Class {
        match (self, class) {
            (Isa::Avx2 | Isa::Avx2Short, Class::Mask) => Class::Vector,
            _ => class,
        }
    }

    /// The bytes of a register when it is put aside.
    pub fn size(self, class: Class) -> u32 {
        match class {
            Class::Vector => self.bytes() as u32,
            Class::General | Class::Mask => 8,
        }
    }

    /// The registers to hand out, those of the caller last.
    pub fn registers(self, class: Class) -> &'static [u32] {
        match (self, class) {
            (_, Class::General) => &[0, 10, 11, 9, 8, 1, 2, 6, 7, 3, 5, 12, 13, 14, 15],
            (Isa::Avx2 | Isa::Avx2Short, _) => &DESCENDING[16..],
            (Isa::Avx512, Class::Vector) => &DESCENDING,
            (Isa::Avx512, Class::Mask) => &[1, 2, 3, 4, 5, 6, 7],
        }
    }
}

const DESCENDING: [u32; 32] = {
    let mut all = [0; 32];
    let mut number = 0;
    while number < 32 {
        all[number] = 31 - number as u32;
        number += 1;
    }
    all
};
