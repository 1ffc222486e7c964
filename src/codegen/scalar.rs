//! One scalar instruction of the loop IR as CLIF: on scalars, or on all lanes of 128-bit vectors.

use cranelift::codegen::ir::{Endianness, InstructionData, Opcode};
use cranelift::prelude::{
    AbiParam, FloatCC, FunctionBuilder, InstBuilder, IntCC, MemFlagsData, Signature, Type, Value, types,
};
use cranelift_jit::JITModule;
use cranelift_module::{Module, ModuleError};

use super::constants::Constants;
use super::entry::{Library, Prepared};
use super::host::Features;
use super::math;
use crate::loops::{Binary, Compare, Unary};
use crate::types::{DType, Scalar};

/// What emitting instructions takes.
pub(super) struct Emit<'e, 'f> {
    pub builder: &'e mut FunctionBuilder<'f>,
    pub module: &'e mut JITModule,
    pub features: Features,
    pub constants: &'e mut Constants,
    /// Their address in this function.
    pub constants_base: Value,
    pub library: Library,
    /// Whether all code is of single numbers, without loops over elements.
    pub is_straight: bool,
    /// What calls of library kernels refer to by address: each behind a pointer of its own, so that it stays there.
    pub contractions: &'e mut Vec<Prepared>,
    /// The first failure; code emitted after it is not used.
    pub error: Option<ModuleError>,
}

/// The CLIF type of one element.
pub(super) fn clif_type(dtype: DType) -> Type {
    match dtype {
        DType::F32 => types::F32,
        DType::F64 => types::F64,
        DType::I32 => types::I32,
        DType::I64 => types::I64,
        DType::Bool => types::I8,
    }
}

impl Emit<'_, '_> {
    /// A call of a library function without a result.
    pub fn call_library(&mut self, function: *const u8, arguments: &[Value]) {
        let function = self.builder.ins().iconst(types::I64, function as i64);
        let mut signature = Signature::new(self.module.target_config().default_call_conv);
        signature.params.extend(arguments.iter().map(|&argument| AbiParam::new(self.ty(argument))));
        let signature = self.builder.import_signature(signature);
        self.builder.ins().call_indirect(signature, function, arguments);
    }

    pub fn ty(&self, x: Value) -> Type {
        self.builder.func.dfg.value_type(x)
    }

    pub fn constant(&mut self, value: Scalar) -> Value {
        match value {
            Scalar::F32(x) => self.builder.ins().f32const(x),
            Scalar::F64(x) => self.builder.ins().f64const(x),
            other => {
                let bits = other.bits() as i64;
                let bits = if let Scalar::I32(x) = other { x.into() } else { bits };
                self.builder.ins().iconst(clif_type(other.dtype()), bits)
            }
        }
    }

    fn number(&mut self, value: f64, like: Value, dtype: DType) -> Value {
        let (value, ty) = (Scalar::from_f64(value, dtype), self.ty(like));
        if ty.is_vector() { self.splat_constant(value, ty) } else { self.constant(value) }
    }

    pub fn unary(&mut self, f: Unary, x: Value, dtype: DType) -> Value {
        if dtype.is_float() { self.unary_float(f, x, dtype) } else { self.unary_integer(f, x, dtype) }
    }

    fn unary_float(&mut self, f: Unary, x: Value, dtype: DType) -> Value {
        match f {
            Unary::Neg => self.builder.ins().fneg(x),
            Unary::Abs => self.builder.ins().fabs(x),
            Unary::Sqrt => self.builder.ins().sqrt(x),
            Unary::Floor if self.features.rounding => self.builder.ins().floor(x),
            Unary::Ceil if self.features.rounding => self.builder.ins().ceil(x),
            Unary::Round if self.features.rounding => self.builder.ins().nearest(x),
            Unary::Sign => self.sign(x, dtype),
            f => math::emit(self, math::way(f), [x]),
        }
    }

    fn unary_integer(&mut self, f: Unary, x: Value, dtype: DType) -> Value {
        match f {
            Unary::Neg => self.builder.ins().ineg(x),
            Unary::Abs => self.builder.ins().iabs(x),
            Unary::Sign => self.sign(x, dtype),
            Unary::Not if dtype == DType::Bool && !self.ty(x).is_vector() => {
                self.builder.ins().bxor_imm_u(x, 1)
            }
            Unary::Not => self.builder.ins().bnot(x),
            _ => x, // refused by the type rule
        }
    }

    /// `x > 0 ? 1 : x < 0 ? -1 : x`, which keeps NaN and the sign of zero.
    fn sign(&mut self, x: Value, dtype: DType) -> Value {
        let (zero, one, minus) =
            (self.number(0.0, x, dtype), self.number(1.0, x, dtype), self.number(-1.0, x, dtype));
        let below = self.compare(Compare::Lt, x, zero, dtype);
        let above = self.compare(Compare::Gt, x, zero, dtype);
        let rest = self.select(below, minus, x);
        self.select(above, one, rest)
    }

    pub fn binary(&mut self, f: Binary, a: Value, b: Value, dtype: DType) -> Value {
        if !dtype.is_float() {
            return self.binary_integer(f, a, b, dtype);
        }
        match f {
            Binary::Add => self.builder.ins().fadd(a, b),
            Binary::Sub => self.builder.ins().fsub(a, b),
            Binary::Mul => self.builder.ins().fmul(a, b),
            Binary::Div => self.builder.ins().fdiv(a, b),
            Binary::Max | Binary::Min => self.extremum(f, a, b),
            f => math::emit(self, math::way_of_two(f), [a, b]),
        }
    }

    /// `a` where the comparison holds, else `b`.
    fn chosen(&mut self, f: Compare, a: Value, b: Value, dtype: DType) -> Value {
        let condition = self.compare(f, a, b, dtype);
        self.select(condition, a, b)
    }

    /// IEEE 754-2019's maximum or minimum: NaN if either is, and +0 is larger than −0. The processor's gives the second
    /// operand for NaN and for two zeros; taken both ways round, the two results differ only there. Or-ed they are
    /// NaN and −0, which is the minimum; and-ed they are +0.
    fn extremum(&mut self, f: Binary, a: Value, b: Value) -> Value {
        let ty = self.ty(a);
        if !ty.is_vector() {
            let [a, b] = [a, b].map(|x| self.in_lane(x));
            let result = self.extremum(f, a, b);
            return self.builder.ins().extractlane(result, 0);
        }
        let (a, b) = (self.loaded(a), self.loaded(b));
        let [one, other] = [(a, b), (b, a)].map(|(a, b)| {
            let (low, high) = if f == Binary::Max { (b, a) } else { (a, b) };
            let condition = self.builder.ins().fcmp(FloatCC::LessThan, low, high);
            self.select(condition, a, b)
        });
        if f == Binary::Min {
            return self.builder.ins().bor(one, other);
        }
        let common = self.builder.ins().band(one, other);
        let is_nan = self.builder.ins().fcmp(FloatCC::Unordered, a, b);
        let is_nan = self.cast_bits(is_nan, ty);
        self.builder.ins().bor(common, is_nan)
    }

    /// A float in the lowest lane of a vector; the other lanes do not matter.
    fn in_lane(&mut self, x: Value) -> Value {
        let vector = if self.ty(x) == types::F32 { types::F32X4 } else { types::F64X2 };
        self.builder.ins().scalar_to_vector(vector, x)
    }

    fn binary_integer(&mut self, f: Binary, a: Value, b: Value, dtype: DType) -> Value {
        match f {
            Binary::Add => self.builder.ins().iadd(a, b),
            Binary::Sub => self.builder.ins().isub(a, b),
            Binary::Mul => self.builder.ins().imul(a, b),
            Binary::Max if self.ty(a) == types::I64X2 => self.chosen(Compare::Gt, a, b, dtype),
            Binary::Min if self.ty(a) == types::I64X2 => self.chosen(Compare::Lt, a, b, dtype),
            Binary::Max => self.builder.ins().smax(a, b),
            Binary::Min => self.builder.ins().smin(a, b),
            Binary::Div => self.divide_integer(a, b, dtype),
            Binary::Rem => self.remainder_integer(a, b, dtype),
            Binary::And => self.builder.ins().band(a, b),
            Binary::Or => self.builder.ins().bor(a, b),
            Binary::Xor => self.builder.ins().bxor(a, b),
            Binary::ShiftLeft | Binary::ShiftRight | Binary::ShiftRightLogical => self.shift(f, a, b, dtype),
            Binary::RotateLeft => self.rotate_left(a, b, dtype),
            Binary::Pow | Binary::Atan2 => a, // refused by the type rule
        }
    }

    /// A shift by a scalar amount. The processor takes it modulo the width; larger ones shift everything out.
    fn shift(&mut self, f: Binary, a: Value, bits: Value, dtype: DType) -> Value {
        let last = dtype.size() as i64 * 8 - 1;
        let is_known = self.known(bits).is_some_and(|bits| (0..=last).contains(&bits));
        if f == Binary::ShiftRight {
            let most = self.builder.ins().iconst(clif_type(dtype), last);
            let held = if is_known { bits } else { self.builder.ins().umin(bits, most) };
            return self.builder.ins().sshr(a, held);
        }
        let ins = self.builder.ins();
        let shifted = if f == Binary::ShiftLeft { ins.ishl(a, bits) } else { ins.ushr(a, bits) };
        if is_known {
            return shifted;
        }
        let fits = self.builder.ins().icmp_imm_s(IntCC::UnsignedLessThanOrEqual, bits, last);
        let mask = self.builder.ins().bmask(clif_type(dtype), fits);
        let ty = self.ty(a);
        let mask = if ty.is_vector() { self.builder.ins().splat(ty, mask) } else { mask };
        self.builder.ins().band(shifted, mask)
    }

    /// A rotation by a scalar amount; on vectors, which have none, by two shifts.
    fn rotate_left(&mut self, a: Value, bits: Value, dtype: DType) -> Value {
        if !self.ty(a).is_vector() {
            return self.builder.ins().rotl(a, bits);
        }
        let back = match self.known(bits) {
            Some(bits) => self.builder.ins().iconst(clif_type(dtype), -bits & (dtype.size() as i64 * 8 - 1)),
            None => self.builder.ins().ineg(bits),
        };
        let (left, right) = (self.builder.ins().ishl(a, bits), self.builder.ins().ushr(a, back));
        self.builder.ins().bor(left, right)
    }

    /// The number, if the value is an integer constant.
    fn known(&self, x: Value) -> Option<i64> {
        let inst = self.builder.func.dfg.value_def(x).inst()?;
        match self.builder.func.dfg.insts[inst] {
            InstructionData::UnaryImm { opcode: Opcode::Iconst, imm } => Some(imm.bits()),
            _ => None,
        }
    }

    /// The remainder that never traps: 0 for the divisors 0 and -1.
    fn remainder_integer(&mut self, a: Value, b: Value, dtype: DType) -> Value {
        let (zero, one) = (self.number(0.0, a, dtype), self.number(1.0, a, dtype));
        let by_zero = self.builder.ins().icmp_imm_s(IntCC::Equal, b, 0);
        let by_minus_one = self.builder.ins().icmp_imm_s(IntCC::Equal, b, -1);
        let special = self.builder.ins().bor(by_zero, by_minus_one);
        let divisor = self.builder.ins().select(special, one, b);
        let remainder = self.builder.ins().srem(a, divisor);
        self.builder.ins().select(special, zero, remainder)
    }

    /// Division that never traps: 0 for the divisor 0, and wrapping for -1.
    fn divide_integer(&mut self, a: Value, b: Value, dtype: DType) -> Value {
        let (zero, one) = (self.number(0.0, a, dtype), self.number(1.0, a, dtype));
        let by_zero = self.builder.ins().icmp_imm_s(IntCC::Equal, b, 0);
        let by_minus_one = self.builder.ins().icmp_imm_s(IntCC::Equal, b, -1);
        let special = self.builder.ins().bor(by_zero, by_minus_one);
        let divisor = self.builder.ins().select(special, one, b);
        let quotient = self.builder.ins().sdiv(a, divisor);
        let negated = self.builder.ins().ineg(a);
        let wrapped = self.builder.ins().select(by_minus_one, negated, quotient);
        self.builder.ins().select(by_zero, zero, wrapped)
    }

    /// `dtype` is that of the operands.
    pub fn compare(&mut self, f: Compare, a: Value, b: Value, dtype: DType) -> Value {
        if dtype.is_float() {
            let condition = match f {
                Compare::Eq => FloatCC::Equal,
                Compare::Ne => FloatCC::NotEqual,
                Compare::Lt => FloatCC::LessThan,
                Compare::Le => FloatCC::LessThanOrEqual,
                // Turned around: `select(x > 0, x, 0)` becomes one instruction only as `0 < x`.
                Compare::Gt => return self.compare(Compare::Lt, b, a, dtype),
                Compare::Ge => return self.compare(Compare::Le, b, a, dtype),
            };
            let (a, b) = (self.loaded(a), self.loaded(b));
            return self.builder.ins().fcmp(condition, a, b);
        }
        let condition = match f {
            Compare::Eq => IntCC::Equal,
            Compare::Ne => IntCC::NotEqual,
            Compare::Lt => IntCC::SignedLessThan,
            Compare::Le => IntCC::SignedLessThanOrEqual,
            Compare::Gt => IntCC::SignedGreaterThan,
            Compare::Ge => IntCC::SignedGreaterThanOrEqual,
        };
        self.builder.ins().icmp(condition, a, b)
    }

    /// The value as a register operand. Cranelift sinks loads into vector comparisons, which fault on unaligned
    /// addresses before AVX; a load used twice is not sunk.
    fn loaded(&mut self, x: Value) -> Value {
        let may_fault = self.ty(x).is_vector() && !self.features.unaligned_operands;
        if may_fault { self.builder.ins().bor(x, x) } else { x }
    }

    /// `a` where the condition holds, else `b`. Floats are selected by masks: of scalars Cranelift makes a branch.
    pub fn select(&mut self, condition: Value, a: Value, b: Value) -> Value {
        let ty = self.ty(a);
        if ty.is_vector() {
            return self.select_lanes(condition, a, b);
        }
        let Some((test, [x, y])) = self.float_comparison(condition).filter(|(_, [x, _])| self.ty(*x) == ty)
        else {
            return self.builder.ins().select(condition, a, b);
        };
        let (x_lane, y_lane) = (self.in_lane(x), self.in_lane(y));
        // One value stays one: maxima and minima are known by that.
        let [a, b] = [a, b].map(|value| match value {
            _ if value == x => x_lane,
            _ if value == y => y_lane,
            _ => self.in_lane(value),
        });
        let mask = self.builder.ins().fcmp(test, x_lane, y_lane);
        let result = self.select_lanes(mask, a, b);
        self.builder.ins().extractlane(result, 0)
    }

    fn select_lanes(&mut self, condition: Value, a: Value, b: Value) -> Value {
        let mask = self.cast_bits(condition, self.ty(a));
        let is_maximum =
            self.float_comparison(condition).is_some_and(|(_, [low, high])| [high, low] == [a, b]);
        if self.is_zero(b) && !is_maximum {
            return self.builder.ins().band(a, mask);
        }
        self.builder.ins().bitselect(mask, a, b)
    }

    /// The comparison of floats that gave a condition.
    fn float_comparison(&self, condition: Value) -> Option<(FloatCC, [Value; 2])> {
        match self.defined_by(condition)? {
            InstructionData::FloatCompare { args, cond, .. } => Some((*cond, *args)),
            _ => None,
        }
    }

    /// Whether this is a vector of zeros, and known to be.
    fn is_zero(&self, x: Value) -> bool {
        let dfg = &self.builder.func.dfg;
        match self.defined_by(x) {
            Some(InstructionData::UnaryConst { constant_handle, .. }) => {
                dfg.constants.get(*constant_handle).iter().all(|&byte| byte == 0)
            }
            Some(InstructionData::Unary { opcode: Opcode::ScalarToVector, arg }) => {
                self.literal(*arg).is_some_and(|literal| literal.bits() == 0)
            }
            _ => false,
        }
    }

    /// The instruction whose result this is.
    pub fn defined_by(&self, x: Value) -> Option<&InstructionData> {
        let dfg = &self.builder.func.dfg;
        dfg.value_def(x).inst().map(|inst| &dfg.insts[inst])
    }

    pub fn cast_bits(&mut self, x: Value, ty: Type) -> Value {
        if self.ty(x) == ty {
            return x;
        }
        let flags = MemFlagsData::new().with_endianness(Endianness::Little);
        self.builder.ins().bitcast(ty, flags, x)
    }

    /// `a·b + c`.
    pub fn mul_add(&mut self, a: Value, b: Value, c: Value, dtype: DType) -> Value {
        if dtype.is_float() && self.features.fma {
            return self.builder.ins().fma(a, b, c);
        }
        let product = self.binary(Binary::Mul, a, b, dtype);
        self.binary(Binary::Add, product, c, dtype)
    }

    /// Conversion of a scalar or of lanes.
    pub fn cast(&mut self, x: Value, from: DType, to: DType) -> Value {
        if self.ty(x).is_vector() {
            return self.cast_lanes(x, from, to);
        }
        let (ty, ins) = (clif_type(to), self.builder.ins());
        match (from, to) {
            (DType::F32, DType::F64) => ins.fpromote(ty, x),
            (DType::F64, DType::F32) => ins.fdemote(ty, x),
            (DType::F32 | DType::F64, DType::I32 | DType::I64) => ins.fcvt_to_sint_sat(ty, x),
            (DType::I32 | DType::I64, DType::F32 | DType::F64) => ins.fcvt_from_sint(ty, x),
            (DType::I32, DType::I64) => ins.sextend(ty, x),
            (DType::I64, DType::I32) => ins.ireduce(ty, x),
            (DType::Bool, DType::I32 | DType::I64) => ins.uextend(ty, x),
            (DType::Bool, DType::F32 | DType::F64) => {
                let wide = ins.uextend(types::I32, x);
                self.builder.ins().fcvt_from_sint(ty, wide)
            }
            (_, DType::Bool) => {
                let zero = self.constant(Scalar::from_f64(0.0, from));
                self.compare(Compare::Ne, x, zero, from)
            }
            (DType::F32, DType::F32) | (DType::F64, DType::F64) => x,
            (DType::I32, DType::I32) | (DType::I64, DType::I64) => x,
        }
    }
}

/// The type of masks for vectors of this type: integers of the same width.
pub(super) fn mask_type(vector: Type) -> Type {
    if vector.lane_bits() == 32 { types::I32X4 } else { types::I64X2 }
}
