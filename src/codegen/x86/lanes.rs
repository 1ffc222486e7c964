//! One scalar instruction of the loop IR on all lanes of vectors. What is the same in every lane is held in lanes too;
//! truth values are masks.

use rustc_hash::FxHashMap;

use super::build::Builder;
use super::extrema::{MAXIMUM, MINIMUM};
use super::isa::Isa;
use super::machine::{Address, Class, Code, Inst, Operand, Reg, Writes};
use crate::codegen::math;
use crate::loops::{Binary, Compare, Unary};
use crate::types::{DType, Scalar};

/// Where a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Held {
    /// In lanes, or the bits of a mask in them.
    Lanes(Reg),
    /// True where the bit is set.
    Mask(Reg),
    /// These bits in every lane.
    Constant(u64),
    /// A number of 64 bits that is the same in every lane.
    Number(Reg),
}

/// Writes instructions on lanes of one width.
pub struct Lanes {
    pub build: Builder,
    pub isa: Isa,
    /// Bytes of a lane.
    pub width: usize,
    /// What the handles of formulas stand for.
    pub(super) values: Vec<Held>,
    /// The masks of `x < y`, of floats, and those.
    less: Vec<(Reg, [Held; 2])>,
    /// Partial results that nothing was joined to yet, and the loops around each.
    pub(super) begun: FxHashMap<Reg, usize>,
    /// Whether something came up that is not done here.
    pub is_unsupported: bool,
}

/// The predicates of comparisons that are false for NaN, and of `unordered`.
pub(super) const EQUAL: i32 = 0;
pub(super) const LESS: i32 = 1;
pub(super) const LESS_OR_EQUAL: i32 = 2;
pub(super) const UNORDERED: i32 = 3;
pub(super) const NOT_EQUAL: i32 = 4;
const GREATER_OR_EQUAL: i32 = 13;
const GREATER: i32 = 14;

/// Puts halves of two vectors of 256 bits together.
pub(super) const HALVES: Code = Code { suffix: "128", ..Code::integer("vperm2f", 3, 0x06, 4) };

impl Lanes {
    pub fn new(isa: Isa, width: usize) -> Lanes {
        let (build, begun) = (Builder::new(), FxHashMap::default());
        Lanes { build, isa, width, values: vec![], less: vec![], begun, is_unsupported: false }
    }

    pub fn count(&self) -> usize {
        self.isa.bytes() / self.width
    }

    pub fn float(&self, name: &'static str, map: u8, byte: u8) -> Code {
        Code::float(name, map, byte, self.width)
    }

    pub fn integer(&self, name: &'static str, map: u8, byte: u8) -> Code {
        Code::integer(name, map, byte, self.width)
    }

    /// Gives up on the kernel: what follows is not used.
    pub fn unsupported(&mut self) -> Held {
        self.is_unsupported = true;
        Held::Constant(0)
    }

    /// An operand that may lie in memory, as constants do.
    pub fn operand(&mut self, x: Held) -> Operand {
        match x {
            Held::Constant(bits) if self.isa.has_masks() => {
                Operand::Broadcast(self.build.constant(&bits.to_le_bytes()[..self.width]))
            }
            Held::Constant(bits) => self.series(|_| bits),
            other => Operand::Reg(self.register(other)),
        }
    }

    /// The value in a vector register.
    pub fn register(&mut self, x: Held) -> Reg {
        match x {
            Held::Lanes(reg) => reg,
            Held::Constant(bits) => {
                let place = self.build.constant(&bits.to_le_bytes()[..self.width]);
                let code = self.broadcast();
                self.build.pure(Class::Vector, |d| Inst::new(code, d, None, Operand::Memory(place)))
            }
            Held::Mask(mask) => {
                let code = self.integer("vpmovm2", 2, 0x38).with_prefix(2);
                self.build.pure(Class::Vector, |d| Inst::new(code, d, None, Operand::Reg(mask)))
            }
            Held::Number(number) => {
                let code = self.integer("vpbroadcast", 2, 0x7c);
                self.build.pure(Class::Vector, |d| Inst::new(code, d, None, Operand::Reg(number)))
            }
        }
    }

    /// Loads one element into every lane.
    pub fn broadcast(&self) -> Code {
        if self.isa == Isa::Avx2Short && self.width == 8 {
            return Code { suffix: "", prefix: 3, ..self.float("vmovddup", 1, 0x12) }.of_bytes(8);
        }
        let (suffix, byte) = if self.width == 8 { ("sd", 0x19) } else { ("ss", 0x18) };
        Code { suffix, ..self.float("vbroadcast", 2, byte) }.of_bytes(self.width as u8)
    }

    /// Loads or copies all lanes.
    pub fn whole(&self) -> Code {
        self.float("vmovu", 1, 0x10)
    }

    /// Stores the first lane.
    pub fn store_first(&mut self, address: Address, value: Reg) {
        let Some(code) = self.of_bytes(self.width, 0x11) else { return };
        let code = code.writing(Writes::NoRegister);
        self.build.here(Inst::new(code, value, None, Operand::Memory(address)));
    }

    /// Loads (by 0x10) or stores (0x11) the first lanes, if that takes no mask. Where masks are vectors, stores under them take
    /// many times as long, and what was stored so is waited for when it is loaded.
    pub fn of_first(&self, count: usize, byte: u8) -> Option<Code> {
        if self.isa.has_masks() { None } else { self.of_bytes(count * self.width, byte) }
    }

    fn of_bytes(&self, bytes: usize, byte: u8) -> Option<Code> {
        let (name, suffix, prefix) = match bytes {
            4 => ("vmov", "ss", 2),
            8 => ("vmov", "sd", 3),
            16 => ("vmovu", "ps", 0),
            _ => return None,
        };
        Some(Code { name, suffix, prefix, ..self.float("vmovu", 1, byte) }.scalar().of_bytes(bytes as u8))
    }

    /// A different constant for each lane, as an operand.
    pub fn series(&mut self, bits: impl Fn(u64) -> u64) -> Operand {
        let width = self.width;
        let bytes: Vec<u8> =
            (0..self.count() as u64).flat_map(|lane| bits(lane).to_le_bytes()[..width].to_vec()).collect();
        Operand::Memory(self.build.constant(&bytes))
    }

    /// The truth value as a mask.
    pub fn mask(&mut self, x: Held) -> Reg {
        match x {
            Held::Mask(mask) => mask,
            Held::Constant(bits) => self.first(if bits == 0 { 0 } else { self.count() }),
            other => {
                let x = self.register(other);
                let code = self.integer("vptestm", 2, 0x27);
                self.build.pure(Class::Mask, |d| Inst::new(code, d, x, Operand::Reg(x)))
            }
        }
    }

    /// The mask of the first lanes.
    pub fn first(&mut self, count: usize) -> Reg {
        self.bits((1i32 << count) - 1)
    }

    /// The mask with these bits.
    pub fn bits(&mut self, bits: i32) -> Reg {
        if !self.isa.has_masks() {
            let lanes = self.series(|lane| if bits >> lane & 1 == 1 { u64::MAX } else { 0 });
            let code = self.whole();
            return self.build.pure(Class::Mask, |d| Inst::new(code, d, None, lanes));
        }
        const TO_MASK: Code = Code::mask("kmovw", 0x92, false);
        let number = self.build.pure(Class::General, |d| Inst::set(d, bits));
        self.build.pure(Class::Mask, |d| Inst::new(TO_MASK, d, None, Operand::Reg(number)))
    }

    /// An instruction with two operands, the second of which may be a constant.
    pub(super) fn two(&mut self, code: Code, a: Held, b: Held) -> Held {
        let (a, b) = (self.register(a), self.operand(b));
        Held::Lanes(self.build.pure(Class::Vector, |d| Inst::new(code, d, a, b)))
    }

    /// The same where the operands may change places.
    pub(super) fn commutative(&mut self, code: Code, a: Held, b: Held) -> Held {
        match a {
            Held::Constant(_) => self.two(code, b, a),
            _ => self.two(code, a, b),
        }
    }

    pub(super) fn one(&mut self, code: Code, x: Held, immediate: Option<i32>) -> Held {
        let x = self.operand(x);
        Held::Lanes(self.build.pure(Class::Vector, |d| Inst { immediate, ..Inst::new(code, d, None, x) }))
    }

    fn mask_of_two(&mut self, name: &'static str, byte: u8, a: Reg, b: Reg) -> Reg {
        let code = Code::mask(name, byte, true);
        self.build.pure(Class::Mask, |d| Inst::new(code, d, a, Operand::Reg(b)))
    }

    pub fn both(&mut self, a: Reg, b: Reg) -> Reg {
        self.mask_of_two("kandw", 0x41, a, b)
    }

    /// `a · b + c`, or `c − a · b`.
    pub fn mul_add(&mut self, a: Held, b: Held, c: Held, is_negative: bool) -> Held {
        let name = if is_negative { "vfnmadd231" } else { "vfmadd231" };
        let byte = if is_negative { 0xbc } else { 0xb8 };
        let (a, b) = if matches!(a, Held::Constant(_)) { (b, a) } else { (a, b) };
        // A constant summand is the operand in memory, and a factor is overwritten instead.
        if let (Held::Constant(_), Held::Lanes(_)) = (c, a) {
            let code = self.float(if is_negative { "vfnmadd213" } else { "vfmadd213" }, 2, byte - 0x10);
            let (a, b, c) = (self.register(a), self.register(b), self.operand(c));
            let code = code.writing(Writes::RegUpdated);
            return Held::Lanes(
                self.build.updated(Operand::Reg(a), Class::Vector, |d| Inst::new(code, d, b, c)),
            );
        }
        let code = self.float(name, 2, byte).writing(Writes::RegUpdated);
        let (a, b, c) = (self.register(a), self.operand(b), self.register(c));
        Held::Lanes(self.build.updated(Operand::Reg(c), Class::Vector, |d| Inst::new(code, d, a, b)))
    }

    pub fn unary(&mut self, f: Unary, x: Held, dtype: DType) -> Held {
        match (f, dtype) {
            (Unary::Not, DType::Bool) => {
                let mask = self.mask(x);
                let code = Code::mask("knotw", 0x44, false);
                Held::Mask(self.build.pure(Class::Mask, |d| Inst::new(code, d, None, Operand::Reg(mask))))
            }
            (_, DType::F32 | DType::F64) => self.unary_float(f, x, dtype),
            (_, DType::I32) => self.unary_integer(f, x),
            (_, DType::I64) => self.unary_i64(f, x),
            (_, DType::Bool) => self.unsupported(),
        }
    }

    pub(super) fn unary_float(&mut self, f: Unary, x: Held, dtype: DType) -> Held {
        let sign = 1u64 << (8 * self.width - 1);
        match f {
            Unary::Neg => self.arithmetic(Binary::Xor, x, Held::Constant(sign), false),
            Unary::Abs => self.arithmetic(Binary::And, x, Held::Constant(!sign), false),
            Unary::Sqrt => self.one(self.float("vsqrt", 1, 0x51), x, None),
            Unary::Floor => self.round(x, 9),
            Unary::Ceil => self.round(x, 10),
            Unary::Round => self.round(x, 8),
            Unary::Sign => {
                let number = |x: f64| Held::Constant(Scalar::from_f64(x, dtype).bits());
                let below = self.compare(Compare::Lt, x, number(0.0), dtype);
                let above = self.compare(Compare::Gt, x, number(0.0), dtype);
                let rest = self.select(below, number(-1.0), x);
                self.select(above, number(1.0), rest)
            }
            f => self.function(math::way(f), [x]),
        }
    }

    /// To a whole number; the immediate says which way.
    pub(super) fn round(&mut self, x: Held, way: i32) -> Held {
        let code = self.float("vrndscale", 3, 0x08 + (self.width == 8) as u8);
        self.one(code, x, Some(way))
    }

    pub fn binary(&mut self, f: Binary, a: Held, b: Held, dtype: DType) -> Held {
        match dtype {
            DType::F32 | DType::F64 => self.binary_float(f, a, b),
            DType::Bool => self.binary_mask(f, a, b),
            DType::I32 => self.binary_integer(f, a, b),
            DType::I64 => self.binary_i64(f, a, b),
        }
    }

    fn binary_float(&mut self, f: Binary, a: Held, b: Held) -> Held {
        match f {
            Binary::Max => self.extremum(a, b, MAXIMUM),
            Binary::Min => self.extremum(a, b, MINIMUM),
            f => match math::way_of_two(f) {
                math::Way::Nothing => self.arithmetic(f, a, b, true),
                way => self.function(way, [a, b]),
            },
        }
    }

    /// What one instruction computes, of floats or of integers as wide as the lanes.
    pub(super) fn arithmetic(&mut self, f: Binary, a: Held, b: Held, is_float: bool) -> Held {
        use Binary::{Add, And, Max, Min, Mul, Or, Xor};
        match self.code(f, is_float) {
            Some(code) if matches!(f, Add | Mul | Max | Min | And | Or | Xor) => self.commutative(code, a, b),
            Some(code) => self.two(code, a, b),
            None => self.unsupported(),
        }
    }

    /// The instruction for a function, if there is one.
    pub(super) fn code(&self, f: Binary, is_float: bool) -> Option<Code> {
        let is_wide = self.width == 8;
        Some(match (f, is_float) {
            (Binary::Add, true) => self.float("vadd", 1, 0x58),
            (Binary::Mul, true) => self.float("vmul", 1, 0x59),
            (Binary::Sub, true) => self.float("vsub", 1, 0x5c),
            (Binary::Div, true) => self.float("vdiv", 1, 0x5e),
            (Binary::Add, false) => self.integer_add(),
            (Binary::Sub, false) => self.integer("vpsub", 1, if is_wide { 0xfb } else { 0xfa }),
            (Binary::Mul, false) => self.integer("vpmull", 2, 0x40),
            (Binary::Max, false) => self.integer("vpmaxs", 2, 0x3d),
            (Binary::Min, false) => self.integer("vpmins", 2, 0x39),
            (Binary::And, false) => self.integer("vpand", 1, 0xdb),
            (Binary::Or, false) => self.integer("vpor", 1, 0xeb),
            (Binary::Xor, false) => self.integer("vpxor", 1, 0xef),
            // Amounts outside the width: shifts by lanes shift everything out, sign bits included.
            (Binary::ShiftLeft, false) => self.integer("vpsllv", 2, 0x47),
            (Binary::ShiftRightLogical, false) => self.integer("vpsrlv", 2, 0x45),
            (Binary::ShiftRight, false) => self.integer("vpsrav", 2, 0x46),
            (Binary::RotateLeft, false) => self.integer("vprolv", 2, 0x15),
            _ => return None,
        })
    }

    pub(super) fn integer_add(&self) -> Code {
        self.integer("vpadd", 1, if self.width == 8 { 0xd4 } else { 0xfe })
    }

    /// Every bit the other way.
    pub(super) fn inverted(&mut self, x: Held) -> Held {
        self.arithmetic(Binary::Xor, x, Held::Constant(u64::MAX), false)
    }

    pub(super) fn comparison(&self) -> Code {
        self.float("vcmp", 1, 0xc2)
    }

    fn binary_mask(&mut self, f: Binary, a: Held, b: Held) -> Held {
        let (a, b) = (self.mask(a), self.mask(b));
        Held::Mask(match f {
            Binary::And | Binary::Mul | Binary::Min => self.both(a, b),
            Binary::Or | Binary::Max | Binary::Add => self.mask_of_two("korw", 0x45, a, b),
            Binary::Xor => self.mask_of_two("kxorw", 0x47, a, b),
            _ => return self.unsupported(),
        })
    }

    /// `dtype` is that of the operands.
    pub fn compare(&mut self, f: Compare, a: Held, b: Held, dtype: DType) -> Held {
        match dtype {
            DType::F32 | DType::F64 => {
                let condition = match f {
                    Compare::Eq => EQUAL,
                    Compare::Ne => NOT_EQUAL,
                    Compare::Lt => LESS,
                    Compare::Le => LESS_OR_EQUAL,
                    Compare::Gt => GREATER,
                    Compare::Ge => GREATER_OR_EQUAL,
                };
                self.compare_float(condition, a, b)
            }
            DType::I32 => self.compare_integer(f, a, b),
            DType::I64 => self.compare_i64(f, a, b),
            DType::Bool if matches!(f, Compare::Eq | Compare::Ne) => {
                let differ = self.binary_mask(Binary::Xor, a, b);
                if f == Compare::Ne { differ } else { self.unary(Unary::Not, differ, dtype) }
            }
            _ => self.unsupported(),
        }
    }

    pub(super) fn compare_float(&mut self, condition: i32, a: Held, b: Held) -> Held {
        let code = self.comparison();
        let (x, y) = (self.register(a), self.operand(b));
        let mask = self.build.pure(Class::Mask, |d| Inst::new(code, d, x, y).with(condition));
        if condition == LESS {
            self.less.push((mask, [a, b]));
        }
        Held::Mask(mask)
    }

    pub(super) fn compare_integers(&mut self, condition: i32, a: Held, b: Held) -> Held {
        let code = self.integer("vpcmp", 3, 0x1f);
        let (a, b) = (self.register(a), self.operand(b));
        Held::Mask(self.build.pure(Class::Mask, |d| Inst::new(code, d, a, b).with(condition)))
    }

    /// Where whole numbers are below a bound, taken as unsigned.
    pub fn below(&mut self, x: Held, bound: u64) -> Reg {
        let code = self.integer("vpcmpu", 3, 0x1e);
        let (x, bound) = (self.register(x), self.operand(Held::Constant(bound)));
        self.build.pure(Class::Mask, |d| Inst::new(code, d, x, bound).with(LESS))
    }

    /// `a` where the condition holds, else `b`.
    pub fn select(&mut self, condition: Held, a: Held, b: Held) -> Held {
        if let (Held::Mask(a), Held::Mask(b)) = (a, b) {
            return self.select_masks(condition, a, b);
        }
        let mask = self.mask(condition);
        // The processor's minimum is exactly `x < y ? x : y`.
        let compared = self.less.iter().find(|known| known.0 == mask).map(|known| known.1);
        if let Some([x, y]) = compared {
            if [a, b] == [x, y] {
                return self.two(self.float("vmin", 1, 0x5d), a, b);
            }
            if [a, b] == [y, x] {
                return self.two(self.float("vmax", 1, 0x5f), a, b);
            }
        }
        if b == Held::Constant(0) {
            let (code, a) = (self.whole(), self.register(a));
            let inst = |d| Inst::new(code, d, None, Operand::Reg(a)).zeroing(Some(mask));
            return Held::Lanes(self.build.pure(Class::Vector, inst));
        }
        let code = self.float("vblendm", 2, 0x65).writing(Writes::RegSelected);
        let (a, b) = (self.operand(a), self.register(b));
        Held::Lanes(self.build.pure(Class::Vector, |d| Inst::new(code, d, b, a).masked(Some(mask))))
    }

    /// The same of any type; `is_one` says that the condition is the same in every lane.
    pub fn choose(&mut self, condition: Held, [a, b]: [Held; 2], dtype: DType, is_one: bool) -> Held {
        match dtype {
            DType::Bool => {
                let (a, b) = (self.mask(a), self.mask(b));
                self.select(condition, Held::Mask(a), Held::Mask(b))
            }
            DType::I64 => self.select_i64(condition, a, b, is_one),
            _ => self.select(condition, a, b),
        }
    }

    fn select_masks(&mut self, condition: Held, a: Reg, b: Reg) -> Held {
        let condition = self.mask(condition);
        let first = self.both(condition, a);
        let second = self.mask_of_two("kandnw", 0x42, condition, b);
        Held::Mask(self.mask_of_two("korw", 0x45, first, second))
    }

    /// `is_one` says that the value is the same in every lane.
    pub fn cast(&mut self, x: Held, from: DType, to: DType, is_one: bool) -> Held {
        let one = Scalar::from_f64(1.0, to).bits();
        match (from, to) {
            (DType::I64, _) => self.cast_from_i64(x, to),
            (_, DType::I64) => self.cast_to_i64(x, from, is_one),
            (DType::Bool, _) if to.size() == self.width => {
                self.select(x, Held::Constant(one), Held::Constant(0))
            }
            (DType::F32 | DType::F64, DType::Bool) => self.compare(Compare::Ne, x, Held::Constant(0), from),
            (DType::I32, DType::Bool) => self.compare(Compare::Ne, x, Held::Constant(0), from),
            (DType::I32, DType::F32) => self.one(self.float("vcvtdq2", 1, 0x5b), x, None),
            (DType::F32, DType::I32) => self.truncated(x, from),
            _ if from == to => x,
            _ => self.unsupported(),
        }
    }

    /// The upper half of a vector.
    pub fn upper_half(&mut self, x: Reg) -> Reg {
        let code = match self.isa {
            Isa::Avx512 => Code { suffix: "f64x4", ..Code::integer("vextract", 3, 0x1b, 8) },
            Isa::Avx2 => Code { suffix: "f128", ..Code::integer("vextract", 3, 0x19, 4) },
            Isa::Avx2Short => {
                self.is_unsupported = true;
                return x;
            }
        };
        let code = code.writing(Writes::Operand);
        self.build.pure(Class::Vector, |d| Inst::new(code, x, None, Operand::Reg(d)).with(1))
    }
}
