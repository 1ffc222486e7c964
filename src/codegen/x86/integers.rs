//! Integers in lanes as wide as they are, and i64 beside lanes of 32 bits: those that are the same in every lane are
//! numbers, and those in lanes fit 32 bits. Division, for which processors have no vector instruction.

use super::isa::Isa;
use super::lanes::{Held, Lanes};
use super::machine::{Class, Code, Inst, Operand, Reg, Writes};
use crate::loops::{Binary, Compare, Unary};
use crate::types::{DType, Scalar};

/// How f64 stand for lanes of 32 bits: those of half a vector fill one.
const TO_DOUBLE: Code = Code { suffix: "pd", prefix: 2, ..Code::integer("vcvtdq2", 1, 0xe6, 4) }.of_bytes(32);
const TRUNCATE: Code = Code { suffix: "dq", ..Code::float("vcvttpd2", 1, 0xe6, 8) };
const DIVIDE: Code = Code::float("vdiv", 1, 0x5e, 8);
const MULTIPLY: Code = Code::float("vmul", 1, 0x59, 8);

/// The first lane of 64 bits to a general register.
const FIRST: Code = Code::integer("vmov", 1, 0x7e, 8).writing(Writes::Operand).scalar();

/// Integers as wide as the lanes.
impl Lanes {
    pub(super) fn unary_integer(&mut self, f: Unary, x: Held) -> Held {
        match f {
            Unary::Neg => self.arithmetic(Binary::Sub, Held::Constant(0), x, false),
            Unary::Sign => {
                let low = self.arithmetic(Binary::Max, x, Held::Constant(u64::MAX), false);
                self.arithmetic(Binary::Min, low, Held::Constant(1), false)
            }
            Unary::Abs => {
                let byte = if self.width == 8 { 0x1f } else { 0x1e };
                self.one(self.integer("vpabs", 2, byte), x, None)
            }
            Unary::Not => self.inverted(x),
            _ => self.unsupported(),
        }
    }

    pub(super) fn binary_integer(&mut self, f: Binary, a: Held, b: Held) -> Held {
        match f {
            Binary::Div | Binary::Rem => self.divide(f, a, b),
            f => self.arithmetic(f, a, b, false),
        }
    }

    pub(super) fn compare_integer(&mut self, f: Compare, a: Held, b: Held) -> Held {
        let condition = match f {
            Compare::Eq => 0,
            Compare::Lt => 1,
            Compare::Le => 2,
            Compare::Ne => 4,
            Compare::Ge => 5,
            Compare::Gt => 6,
        };
        self.compare_integers(condition, a, b)
    }
}

/// Whether the value is the same in every lane, and all its bits are there.
fn is_number(x: Held) -> bool {
    matches!(x, Held::Number(_) | Held::Constant(_))
}

/// Whether 32 bits are known to hold an i64, beside lanes that are no wider.
fn is_small(x: Held) -> bool {
    match x {
        Held::Lanes(_) => true,
        Held::Constant(bits) => i32::try_from(bits as i64).is_ok(),
        Held::Number(_) | Held::Mask(_) => false,
    }
}

/// Values of i64.
impl Lanes {
    pub(super) fn unary_i64(&mut self, f: Unary, x: Held) -> Held {
        if is_number(x) {
            return self.on_numbers(|lanes| lanes.unary_integer(f, x));
        }
        match self.width == 8 || matches!(f, Unary::Not | Unary::Sign) {
            true => self.unary_integer(f, x),
            false => self.unsupported(),
        }
    }

    pub(super) fn binary_i64(&mut self, f: Binary, a: Held, b: Held) -> Held {
        use Binary::{And, Max, Min, Or, Xor};
        if is_number(a) && is_number(b) {
            return self.on_numbers(|lanes| lanes.binary_integer(f, a, b));
        }
        let stays_small = matches!(f, And | Max | Min | Or | Xor) && is_small(a) && is_small(b);
        match self.width == 8 || stays_small {
            true => self.binary_integer(f, a, b),
            false => self.unsupported(),
        }
    }

    pub(super) fn compare_i64(&mut self, f: Compare, a: Held, b: Held) -> Held {
        if self.width == 8 || is_small(a) && is_small(b) {
            return self.compare_integer(f, a, b);
        }
        if !is_number(a) || !is_number(b) {
            return self.unsupported();
        }
        let ones = self.in_wide_lanes(|lanes| {
            let mask = lanes.compare_integer(f, a, b);
            lanes.register(mask)
        });
        Held::Mask(self.mask(Held::Lanes(ones)))
    }

    /// `is_one` says that the condition is the same in every lane.
    pub(super) fn select_i64(&mut self, condition: Held, a: Held, b: Held, is_one: bool) -> Held {
        if self.width == 8 || is_small(a) && is_small(b) {
            return self.select(condition, a, b);
        }
        if !is_one || !is_number(a) || !is_number(b) {
            return self.unsupported();
        }
        let mask = self.mask(condition);
        let ones = self.register(Held::Mask(mask));
        self.on_numbers(|lanes| lanes.select(Held::Lanes(ones), a, b))
    }

    pub(super) fn cast_from_i64(&mut self, x: Held, to: DType) -> Held {
        match (to, x) {
            (DType::Bool, _) => self.compare_i64(Compare::Ne, x, Held::Constant(0)),
            (DType::I32, Held::Constant(bits)) => Held::Constant(u64::from(bits as u32)),
            (DType::I32, _) => Held::Lanes(self.register(x)),
            (DType::F32, Held::Lanes(_)) => self.cast(x, DType::I32, DType::F32, false),
            (DType::F32, _) => {
                let number = self.one_number(x);
                self.float_of(number)
            }
            (DType::F64, _) => {
                let code = Code { prefix: 2, ..self.float("vcvtqq2", 1, 0xe6) };
                self.one(code, x, None)
            }
            (DType::I64, _) => x,
        }
    }

    /// `is_one` says that the value is the same in every lane.
    pub(super) fn cast_to_i64(&mut self, x: Held, from: DType, is_one: bool) -> Held {
        match (from, x) {
            (DType::I32, Held::Number(_)) => x,
            (DType::I32, Held::Constant(bits)) => Held::Constant(bits as i32 as i64 as u64),
            (DType::I32, _) if is_one => Held::Number(self.number(x)),
            (DType::I32, _) => x,
            (DType::Bool, _) => self.select(x, Held::Constant(1), Held::Constant(0)),
            (DType::F64, _) => self.truncated(x, from),
            _ => self.unsupported(),
        }
    }

    /// What a computation on lanes of 64 bits makes of what is the same in all lanes.
    fn on_numbers(&mut self, compute: impl FnOnce(&mut Lanes) -> Held) -> Held {
        let result = self.in_wide_lanes(|lanes| {
            let result = compute(lanes);
            lanes.register(result)
        });
        Held::Number(self.first_lane(result))
    }

    pub(super) fn in_wide_lanes(&mut self, compute: impl FnOnce(&mut Lanes) -> Reg) -> Reg {
        let width = std::mem::replace(&mut self.width, 8);
        let result = compute(self);
        self.width = width;
        result
    }

    /// The lower half of all lanes of 32 bits, as lanes of 64.
    pub(super) fn widened(&mut self, x: Reg) -> Reg {
        let code = Code { suffix: "dq", ..Code::integer("vpmovsx", 2, 0x25, 4) };
        self.build.pure(Class::Vector, |d| Inst::new(code, d, None, Operand::Reg(x)))
    }

    fn first_lane(&mut self, x: Reg) -> Reg {
        self.build.pure(Class::General, |d| Inst::new(FIRST, x, None, Operand::Reg(d)))
    }

    /// An i64 that is the same in every lane.
    pub fn one_number(&mut self, x: Held) -> Reg {
        match x {
            Held::Number(number) => number,
            Held::Constant(_) => {
                let lanes = self.in_wide_lanes(|lanes| lanes.register(x));
                self.first_lane(lanes)
            }
            _ => self.number(x),
        }
    }

    /// The first lane of an integer.
    fn number(&mut self, x: Held) -> Reg {
        const LOW: Code = Code::integer("vmov", 1, 0x7e, 4).writing(Writes::Operand).scalar();
        const EXTEND: Code = Code::plain("movsxd", 0x63);
        let x = self.register(x);
        if self.width == 8 {
            return self.first_lane(x);
        }
        let low = self.build.pure(Class::General, |d| Inst::new(LOW, x, None, Operand::Reg(d)));
        self.build.pure(Class::General, |d| Inst::new(EXTEND, d, None, Operand::Reg(low)))
    }

    /// A number as f32.
    fn float_of(&mut self, x: Reg) -> Held {
        const CONVERT: Code =
            Code { suffix: "ss", prefix: 2, ..Code::integer("vcvtsi2", 1, 0x2a, 8) }.scalar();
        let any = self.register(Held::Constant(0));
        let x = self.build.pure(Class::Vector, |d| Inst::new(CONVERT, d, any, Operand::Reg(x)));
        let code = self.broadcast();
        Held::Lanes(self.build.pure(Class::Vector, |d| Inst::new(code, d, None, Operand::Reg(x))))
    }

    /// A number held between 0 and another.
    pub fn held_between(&mut self, x: Reg, most: i64) -> Reg {
        let held = self.in_wide_lanes(|lanes| {
            let x = lanes.between(Held::Number(x), most);
            lanes.register(x)
        });
        self.first_lane(held)
    }

    /// Lanes held between 0 and a number.
    pub fn between(&mut self, x: Held, most: i64) -> Held {
        let natural = self.arithmetic(Binary::Max, x, Held::Constant(0), false);
        self.arithmetic(Binary::Min, natural, Held::Constant(most as u64), false)
    }

    /// To whole numbers as wide, of NaN 0, and of what is too large the nearest: the processor gives the lowest for all these.
    pub(super) fn truncated(&mut self, x: Held, from: DType) -> Held {
        let (truncate, large, most) = match from {
            DType::F32 => {
                let code = Code { prefix: 2, suffix: "dq", ..self.float("vcvttps2", 1, 0x5b) };
                (code, Scalar::F32(i32::MAX as f32), i32::MAX as u64)
            }
            _ => {
                let code = Code { suffix: "qq", ..self.float("vcvttpd2", 1, 0x7a) };
                (code, Scalar::F64(i64::MAX as f64), i64::MAX as u64)
            }
        };
        let truncated = self.one(truncate, x, None);
        let is_large = self.compare(Compare::Ge, x, Held::Constant(large.bits()), from);
        let most = self.select(is_large, Held::Constant(most), truncated);
        let is_number = self.compare(Compare::Eq, x, x, from);
        self.select(is_number, most, Held::Constant(0))
    }
}

/// Division.
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
        let reciprocal = match self.isa.has_masks() {
            true => Operand::Broadcast(self.build.constant(&reciprocal)),
            false => Operand::Memory(self.build.constant(&reciprocal.repeat(self.isa.bytes() / 8))),
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
            Isa::Avx2 | Isa::Avx2Short => Code { suffix: "f128", ..Code::integer("vinsert", 3, 0x18, 4) },
        };
        let [low, high] = halves
            .map(|half| self.build.pure(Class::Vector, |d| Inst::new(TRUNCATE, d, None, Operand::Reg(half))));
        Held::Lanes(self.build.pure(Class::Vector, |d| Inst::new(insert, d, low, Operand::Reg(high)).with(1)))
    }
}
