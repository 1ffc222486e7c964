//! Division of integers, for which processors have no vector instruction.

use super::isa::Isa;
use super::lanes::{Held, Lanes};
use super::machine::{Class, Code, Inst, Operand, Reg};
use crate::loops::{Binary, Compare};
use crate::types::DType;

/// How f64 stand for lanes of 32 bits: those of half a vector fill one.
const TO_DOUBLE: Code = Code { suffix: "pd", prefix: 2, ..Code::integer("vcvtdq2", 1, 0xe6, 4) }.of_bytes(32);
const TRUNCATE: Code = Code { suffix: "dq", ..Code::float("vcvttpd2", 1, 0xe6, 8) };
const DIVIDE: Code = Code::float("vdiv", 1, 0x5e, 8);
const MULTIPLY: Code = Code::float("vmul", 1, 0x59, 8);

impl Lanes {
    /// The quotient, towards zero, or what it leaves over; 0 for divisor 0.
    pub(super) fn divide(&mut self, f: Binary, a: Held, b: Held) -> Held {
        match b {
            Held::Constant(0) => Held::Constant(0),
            Held::Constant(bits) if self.signed(bits) > 0 && bits.is_power_of_two() => {
                self.divide_by_power_of_two(f, a, bits)
            }
            _ if self.width == 8 => self.unsupported(),
            Held::Constant(bits) => {
                let quotient = self.quotient_by_number(a, bits as i32);
                self.quotient_or_rest(f, a, b, quotient)
            }
            _ => {
                let quotient = self.quotient(a, b);
                let result = self.quotient_or_rest(f, a, b, quotient);
                let exists = self.compare(Compare::Ne, b, Held::Constant(0), DType::I32);
                self.select(exists, result, Held::Constant(0))
            }
        }
    }

    /// A constant's number, of as many bits as a lane has.
    fn signed(&self, bits: u64) -> i64 {
        if self.width == 4 { (bits as i32).into() } else { bits as i64 }
    }

    /// What is not negative is shifted; the others are moved up first, by all but one of the divisor.
    fn divide_by_power_of_two(&mut self, f: Binary, a: Held, divisor: u64) -> Held {
        let sign = self.arithmetic(Binary::ShiftRight, a, Held::Constant(8 * self.width as u64 - 1), false);
        let up = self.arithmetic(Binary::And, sign, Held::Constant(divisor - 1), false);
        let moved = self.arithmetic(Binary::Add, a, up, false);
        if f == Binary::Div {
            let bits = Held::Constant(divisor.trailing_zeros().into());
            return self.arithmetic(Binary::ShiftRight, moved, bits, false);
        }
        let multiple = self.arithmetic(Binary::And, moved, Held::Constant(!(divisor - 1)), false);
        self.arithmetic(Binary::Sub, a, multiple, false)
    }

    fn quotient_or_rest(&mut self, f: Binary, a: Held, b: Held, quotient: Held) -> Held {
        if f == Binary::Div {
            return quotient;
        }
        let multiple = self.arithmetic(Binary::Mul, quotient, b, false);
        self.arithmetic(Binary::Sub, a, multiple, false)
    }

    /// Quotients as f64: whole, or 1/|b| away from it, and rounding moves those of 32-bit numbers by 2⁻²²/|b| at most. What
    /// i32 does not hold, MIN / −1, is converted to MIN: it wraps.
    fn quotient(&mut self, a: Held, b: Held) -> Held {
        let (a, b) = (self.doubles(a), self.doubles(b));
        let divide = |lanes: &mut Lanes, half: usize| {
            lanes.build.pure(Class::Vector, |d| Inst::new(DIVIDE, d, a[half], Operand::Reg(b[half])))
        };
        let quotients = [divide(self, 0), divide(self, 1)];
        self.truncated_doubles(quotients)
    }

    /// The same by a product with a reciprocal that is too large by one unit in the last place, lest whole quotients get lost.
    fn quotient_by_number(&mut self, a: Held, divisor: i32) -> Held {
        let reciprocal = f64::from_bits((1.0 / f64::from(divisor)).to_bits() + 1).to_le_bytes();
        let reciprocal = match self.isa {
            Isa::Avx512 => Operand::Broadcast(self.build.constant(&reciprocal)),
            Isa::Avx2 => Operand::Memory(self.build.constant(&reciprocal.repeat(4))),
        };
        let a = self.doubles(a);
        let quotients =
            a.map(|half| self.build.pure(Class::Vector, |d| Inst::new(MULTIPLY, d, half, reciprocal)));
        self.truncated_doubles(quotients)
    }

    /// Both halves as f64.
    fn doubles(&mut self, x: Held) -> [Reg; 2] {
        let x = self.register(x);
        let halves = [x, self.upper_half(x)];
        halves
            .map(|half| self.build.pure(Class::Vector, |d| Inst::new(TO_DOUBLE, d, None, Operand::Reg(half))))
    }

    /// Two vectors of f64 as one of i32.
    fn truncated_doubles(&mut self, halves: [Reg; 2]) -> Held {
        let insert = match self.isa {
            Isa::Avx512 => Code { suffix: "f64x4", ..Code::integer("vinsert", 3, 0x1a, 8) },
            Isa::Avx2 => Code { suffix: "f128", ..Code::integer("vinsert", 3, 0x18, 4) },
        };
        let [low, high] = halves
            .map(|half| self.build.pure(Class::Vector, |d| Inst::new(TRUNCATE, d, None, Operand::Reg(half))));
        Held::Lanes(self.build.pure(Class::Vector, |d| Inst::new(insert, d, low, Operand::Reg(high)).with(1)))
    }
}
