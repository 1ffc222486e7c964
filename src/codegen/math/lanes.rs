//! The words formulas are written in: floating-point lanes, their bits, and masks. Handles are `Copy` and overload
//! the operators, so that a formula reads as mathematics. A scalar runs as a vector of equal lanes: the same bits
//! as in a vectorised loop, and no branches.

use std::cell::RefCell;
use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Neg, Not, Shl, Shr, Sub};

use cranelift::codegen::ir::Opcode;
use cranelift::prelude::{FloatCC, InstBuilder, IntCC, Type, Value, types};
use rustc_hash::FxHashMap;

use super::library::{self, Function};
use crate::codegen::scalar::{Emit, mask_type};
use crate::types::Scalar;

/// What takes the instructions. A trait object, so that handles have one lifetime.
pub trait Target {
    fn unary(&mut self, opcode: Opcode, ty: Type, x: Value) -> Value;
    fn binary(&mut self, opcode: Opcode, ty: Type, a: Value, b: Value) -> Value;
    fn constant(&mut self, bits: u64, ty: Type) -> Value;
    fn shift(&mut self, opcode: Opcode, x: Value, by: u8) -> Value;
    fn compare(&mut self, condition: FloatCC, a: Value, b: Value) -> Value;
    fn equal_bits(&mut self, a: Value, b: Value) -> Value;
    fn select(&mut self, mask: Value, a: Value, b: Value) -> Value;
    fn mul_add(&mut self, a: Value, b: Value, c: Value) -> Value;
    fn reinterpret(&mut self, x: Value, ty: Type) -> Value;
    fn has_rounding(&self) -> bool;
    fn patch(&mut self, mask: Value, function: Function, x: Value, otherwise: Value, shape: Shape) -> Value;
}

/// Whether every lane has its own value, or all the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Scalar,
    Vector,
}

/// Where a formula is being emitted, and the type of its lanes.
pub struct Lanes<'l> {
    target: RefCell<&'l mut dyn Target>,
    ty: Type,
    shape: Shape,
    /// Results computed already, by operation and operands: formulas need not say what they share.
    known: RefCell<FxHashMap<(Opcode, Value, Value), Value>>,
}

/// Emits a formula on vectors.
pub fn on_vectors<const N: usize>(
    target: &mut dyn Target,
    operands: [Value; N],
    ty: Type,
    formula: impl for<'l> FnOnce([Real<'l>; N]) -> Real<'l>,
) -> Value {
    let lanes = Lanes { target: RefCell::new(target), ty, shape: Shape::Vector, known: RefCell::default() };
    formula(operands.map(|value| Real { lanes: &lanes, value })).value
}

/// Emits a formula on scalars or on vectors.
pub(super) fn evaluate<const N: usize>(
    emit: &mut Emit<'_, '_>,
    operands: [Value; N],
    formula: impl for<'l> FnOnce([Real<'l>; N]) -> Real<'l>,
) -> Value {
    let ty = emit.ty(operands[0]);
    let (shape, ty) = match ty {
        types::F32 => (Shape::Scalar, types::F32X4),
        types::F64 => (Shape::Scalar, types::F64X2),
        vector => (Shape::Vector, vector),
    };
    let operands = operands.map(|x| if shape == Shape::Scalar { emit.splat(x, ty) } else { x });
    let lanes = Lanes { target: RefCell::new(emit), ty, shape, known: RefCell::default() };
    let result = formula(operands.map(|value| Real { lanes: &lanes, value })).value;
    match shape {
        Shape::Scalar => emit.builder.ins().extractlane(result, 0),
        Shape::Vector => result,
    }
}

/// Floating-point lanes.
#[derive(Clone, Copy)]
pub struct Real<'l> {
    lanes: &'l Lanes<'l>,
    value: Value,
}

/// Lanes as integers of the same width. Shifts to the right are logical.
#[derive(Clone, Copy)]
pub struct Bits<'l> {
    lanes: &'l Lanes<'l>,
    value: Value,
}

/// All ones or all zeros in each lane.
#[derive(Clone, Copy)]
pub struct Mask<'l> {
    lanes: &'l Lanes<'l>,
    value: Value,
}

/// The layout of a floating-point type.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// Bits of the significand that are stored.
    pub precision: u8,
    /// Of the exponent.
    pub bias: u64,
}

impl Format {
    /// One unit in the last place of this number is 1: adding it rounds to an integer, which stands in the low bits.
    pub fn integer_step(self) -> f64 {
        1.5 * (1u64 << self.precision) as f64
    }
}

impl<'l> Lanes<'l> {
    fn is_narrow(&self) -> bool {
        self.ty.lane_bits() == 32
    }

    fn integers(&self) -> Type {
        mask_type(self.ty)
    }

    fn unary(&self, opcode: Opcode, ty: Type, x: Value) -> Value {
        self.target.borrow_mut().unary(opcode, ty, x)
    }

    fn binary(&self, opcode: Opcode, ty: Type, a: Value, b: Value) -> Value {
        let compute = || self.target.borrow_mut().binary(opcode, ty, a, b);
        *self.known.borrow_mut().entry((opcode, a, b)).or_insert_with(compute)
    }
}

impl<'l> Real<'l> {
    /// The table for f32 or for f64.
    pub fn pick<T>(self, narrow: T, wide: T) -> T {
        if self.lanes.is_narrow() { narrow } else { wide }
    }

    pub fn format(self) -> Format {
        self.pick(Format { precision: 23, bias: 127 }, Format { precision: 52, bias: 1023 })
    }

    pub fn constant(self, x: f64) -> Real<'l> {
        let bits = if self.lanes.is_narrow() { Scalar::F32(x as f32) } else { Scalar::F64(x) }.bits();
        let value = self.lanes.target.borrow_mut().constant(bits, self.lanes.ty);
        Real { lanes: self.lanes, value }
    }

    pub fn bits(self) -> Bits<'l> {
        let value = self.lanes.target.borrow_mut().reinterpret(self.value, self.lanes.integers());
        Bits { lanes: self.lanes, value }
    }

    /// `self·b + c`, rounded once where the processor can.
    pub fn mul_add(self, b: impl Into<Term<'l>>, c: impl Into<Term<'l>>) -> Real<'l> {
        let (b, c) = (b.into().beside(self), c.into().beside(self));
        let value = self.lanes.target.borrow_mut().mul_add(self.value, b.value, c.value);
        Real { lanes: self.lanes, value }
    }

    /// `c₀ + c₁x + c₂x² + …`, by Horner's scheme.
    pub fn horner(self, coefficients: &[f64]) -> Real<'l> {
        let mut highest_first = coefficients.iter().rev();
        let first = self.constant(*highest_first.next().unwrap_or(&0.0));
        highest_first.fold(first, |sum, &c| sum.mul_add(self, c))
    }

    /// The same polynomial as even and odd powers apart: half the latency.
    pub fn polynomial(self, coefficients: &[f64]) -> Real<'l> {
        let even: Vec<f64> = coefficients.iter().copied().step_by(2).collect();
        let odd: Vec<f64> = coefficients.iter().copied().skip(1).step_by(2).collect();
        let square = self * self;
        square.horner(&odd).mul_add(self, square.horner(&even))
    }

    pub fn sqrt(self) -> Real<'l> {
        Real { value: self.lanes.unary(Opcode::Sqrt, self.lanes.ty, self.value), ..self }
    }

    pub fn abs(self) -> Real<'l> {
        (self.bits() & !self.sign_bit()).real()
    }

    fn sign_bit(self) -> Bits<'l> {
        self.constant(-0.0).bits()
    }

    /// The sign, all else zero.
    pub fn sign(self) -> Bits<'l> {
        self.bits() & self.sign_bit()
    }

    /// Negated where the sign is set.
    pub fn flipped(self, sign: Bits<'l>) -> Real<'l> {
        (self.bits() ^ sign).real()
    }

    pub fn less(self, other: impl Into<Term<'l>>) -> Mask<'l> {
        self.compare(FloatCC::LessThan, other)
    }

    pub fn equal(self, other: impl Into<Term<'l>>) -> Mask<'l> {
        self.compare(FloatCC::Equal, other)
    }

    fn compare(self, condition: FloatCC, other: impl Into<Term<'l>>) -> Mask<'l> {
        let other = other.into().beside(self);
        let value = self.lanes.target.borrow_mut().compare(condition, self.value, other.value);
        Mask { lanes: self.lanes, value }
    }

    /// At most the bound; NaN stays.
    pub fn at_most(self, bound: f64) -> Real<'l> {
        let bound = self.constant(bound);
        bound.less(self).select(bound, self)
    }

    /// At least the bound; NaN stays.
    pub fn at_least(self, bound: f64) -> Real<'l> {
        let bound = self.constant(bound);
        self.less(bound).select(bound, self)
    }

    /// The nearest integer, halves to even.
    pub fn round(self) -> Real<'l> {
        if self.lanes.target.borrow().has_rounding() {
            return Real { value: self.lanes.unary(Opcode::Nearest, self.lanes.ty, self.value), ..self };
        }
        let step = (1u64 << self.format().precision) as f64;
        let (magnitude, sign) = (self.abs(), self.sign());
        let rounded = (((magnitude + step) - step).bits() | sign).real();
        magnitude.less(step).select(rounded, self)
    }

    /// The library's value where the mask is set, computed lane by lane and only if it is set anywhere.
    pub fn patched(self, mask: Mask<'l>, function: Function, x: Real<'l>) -> Real<'l> {
        let lanes = self.lanes;
        let value = lanes.target.borrow_mut().patch(mask.value, function, x.value, self.value, lanes.shape);
        Real { lanes, value }
    }
}

impl<'l> Bits<'l> {
    pub fn real(self) -> Real<'l> {
        let value = self.lanes.target.borrow_mut().reinterpret(self.value, self.lanes.ty);
        Real { lanes: self.lanes, value }
    }

    fn constant(self, x: u64) -> Bits<'l> {
        let value = self.lanes.target.borrow_mut().constant(x, self.lanes.integers());
        Bits { lanes: self.lanes, value }
    }

    fn shift(self, opcode: Opcode, by: u8) -> Bits<'l> {
        Bits { lanes: self.lanes, value: self.lanes.target.borrow_mut().shift(opcode, self.value, by) }
    }

    /// The lowest bit, moved to the sign.
    pub fn lowest_as_sign(self) -> Bits<'l> {
        self << (self.lanes.ty.lane_bits() - 1) as u8
    }

    /// Where the lowest bit is not set.
    pub fn is_even(self) -> Mask<'l> {
        let (lowest, zero) = (self & 1, self.constant(0));
        let value = self.lanes.target.borrow_mut().equal_bits(lowest.value, zero.value);
        Mask { lanes: self.lanes, value }
    }
}

impl<'l> Mask<'l> {
    pub fn select(self, a: Real<'l>, b: Real<'l>) -> Real<'l> {
        let value = self.lanes.target.borrow_mut().select(self.value, a.value, b.value);
        Real { lanes: self.lanes, value }
    }

    /// All ones, which is a NaN, where the mask is set.
    pub fn or_nan(self, x: Real<'l>) -> Real<'l> {
        (self.bits() | x.bits()).real()
    }

    pub fn bits(self) -> Bits<'l> {
        Bits { lanes: self.lanes, value: self.value }
    }
}

/// A second operand: lanes, or a constant.
pub enum Term<'l> {
    Real(Real<'l>),
    Constant(f64),
}

impl<'l> Term<'l> {
    fn beside(self, other: Real<'l>) -> Real<'l> {
        match self {
            Term::Real(x) => x,
            Term::Constant(x) => other.constant(x),
        }
    }
}

impl<'l> From<Real<'l>> for Term<'l> {
    fn from(x: Real<'l>) -> Self {
        Term::Real(x)
    }
}

impl From<f64> for Term<'_> {
    fn from(x: f64) -> Self {
        Term::Constant(x)
    }
}

macro_rules! real_operators {
    ($($trait:ident $method:ident $opcode:ident;)*) => {$(
        impl<'l, T: Into<Term<'l>>> $trait<T> for Real<'l> {
            type Output = Real<'l>;
            fn $method(self, other: T) -> Real<'l> {
                let other = other.into().beside(self);
                let value = self.lanes.binary(Opcode::$opcode, self.lanes.ty, self.value, other.value);
                Real { value, ..self }
            }
        }
        impl<'l> $trait<Real<'l>> for f64 {
            type Output = Real<'l>;
            fn $method(self, other: Real<'l>) -> Real<'l> {
                other.constant(self).$method(other)
            }
        }
    )*};
}
real_operators! {
    Add add Fadd;
    Sub sub Fsub;
    Mul mul Fmul;
    Div div Fdiv;
}

impl<'l> Neg for Real<'l> {
    type Output = Real<'l>;
    fn neg(self) -> Real<'l> {
        Real { value: self.lanes.unary(Opcode::Fneg, self.lanes.ty, self.value), ..self }
    }
}

macro_rules! bits_operators {
    ($($trait:ident $method:ident $opcode:ident;)*) => {$(
        impl<'l> $trait for Bits<'l> {
            type Output = Bits<'l>;
            fn $method(self, other: Bits<'l>) -> Bits<'l> {
                let ty = self.lanes.integers();
                Bits { value: self.lanes.binary(Opcode::$opcode, ty, self.value, other.value), ..self }
            }
        }
        impl<'l> $trait<u64> for Bits<'l> {
            type Output = Bits<'l>;
            fn $method(self, other: u64) -> Bits<'l> {
                self.$method(self.constant(other))
            }
        }
    )*};
}
bits_operators! {
    Add add Iadd;
    Sub sub Isub;
    BitAnd bitand Band;
    BitOr bitor Bor;
    BitXor bitxor Bxor;
}

impl<'l> Not for Bits<'l> {
    type Output = Bits<'l>;
    fn not(self) -> Bits<'l> {
        Bits { value: self.lanes.unary(Opcode::Bnot, self.lanes.integers(), self.value), ..self }
    }
}

impl<'l> Shl<u8> for Bits<'l> {
    type Output = Bits<'l>;
    fn shl(self, by: u8) -> Bits<'l> {
        self.shift(Opcode::Ishl, by)
    }
}

impl<'l> Shr<u8> for Bits<'l> {
    type Output = Bits<'l>;
    fn shr(self, by: u8) -> Bits<'l> {
        self.shift(Opcode::Ushr, by)
    }
}

impl Target for Emit<'_, '_> {
    fn unary(&mut self, opcode: Opcode, ty: Type, x: Value) -> Value {
        let (inst, dfg) = self.builder.ins().Unary(opcode, ty, x);
        dfg.first_result(inst)
    }

    fn binary(&mut self, opcode: Opcode, ty: Type, a: Value, b: Value) -> Value {
        let (inst, dfg) = self.builder.ins().Binary(opcode, ty, a, b);
        dfg.first_result(inst)
    }

    fn constant(&mut self, bits: u64, ty: Type) -> Value {
        self.constant_operand(bits, ty)
    }

    fn shift(&mut self, opcode: Opcode, x: Value, by: u8) -> Value {
        match opcode {
            Opcode::Ishl => self.builder.ins().ishl_imm_u(x, i64::from(by)),
            _ => self.builder.ins().ushr_imm_u(x, i64::from(by)),
        }
    }

    fn compare(&mut self, condition: FloatCC, a: Value, b: Value) -> Value {
        self.builder.ins().fcmp(condition, a, b)
    }

    fn equal_bits(&mut self, a: Value, b: Value) -> Value {
        self.builder.ins().icmp(IntCC::Equal, a, b)
    }

    fn select(&mut self, mask: Value, a: Value, b: Value) -> Value {
        Emit::select(self, mask, a, b)
    }

    fn mul_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        if self.features.fma {
            return self.builder.ins().fma(a, b, c);
        }
        let product = self.builder.ins().fmul(a, b);
        self.builder.ins().fadd(product, c)
    }

    fn reinterpret(&mut self, x: Value, ty: Type) -> Value {
        self.cast_bits(x, ty)
    }

    fn has_rounding(&self) -> bool {
        self.features.rounding
    }

    fn patch(&mut self, mask: Value, function: Function, x: Value, otherwise: Value, shape: Shape) -> Value {
        library::patch(self, mask, function, x, otherwise, shape)
    }
}
