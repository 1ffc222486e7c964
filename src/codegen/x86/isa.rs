//! The sets of vector instructions, and the registers they work on.

use super::machine::Class;
use crate::codegen::Cpu;

/// A set of vector instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX2 and FMA: vectors of 256 bits. Masks are vectors, with all bits of a lane set or none.
    Avx2,
    /// AVX-512 F, CD, DQ, BW and VL: vectors of 512 bits, and registers for masks.
    Avx512,
}

impl Isa {
    pub const ALL: [Isa; 2] = [Isa::Avx512, Isa::Avx2];

    /// The widest vectors that this machine has and the choice of processors allows.
    pub fn of(cpu: Cpu) -> Option<Isa> {
        let all = match cpu {
            Cpu::Native => &Isa::ALL[..],
            Cpu::WithoutAvx512 => &[Isa::Avx2],
            Cpu::Baseline => &[],
        };
        all.iter().copied().find(|isa| isa.is_available())
    }

    /// Whether this processor runs such code.
    fn is_available(self) -> bool {
        #[cfg(all(target_arch = "x86_64", unix))]
        return match self {
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
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
            Isa::Avx2 => "AVX2",
            Isa::Avx512 => "AVX-512",
        }
    }

    /// Bytes of a vector.
    pub fn bytes(self) -> usize {
        match self {
            Isa::Avx2 => 32,
            Isa::Avx512 => 64,
        }
    }

    /// The class of registers that hold what is of a class.
    pub fn bank(self, class: Class) -> Class {
        match (self, class) {
            (Isa::Avx2, Class::Mask) => Class::Vector,
            _ => class,
        }
    }

    /// The registers to hand out, those of the caller last; and as many that stand in for values on the stack as one
    /// instruction has.
    pub fn registers(self, class: Class) -> (&'static [u32], &'static [u32]) {
        match (self, class) {
            (_, Class::General) => (&[0, 10, 11, 9, 8, 1, 2, 6, 7, 3, 5, 12, 13, 14, 15], &[0, 10, 11]),
            (Isa::Avx2, _) => (&DESCENDING[16..], &[15, 14, 13, 12]),
            (Isa::Avx512, Class::Vector) => (&DESCENDING, &[31, 30, 29]),
            (Isa::Avx512, Class::Mask) => (&[1, 2, 3, 4, 5, 6, 7], &[1, 2, 3]),
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
