//! What the formulas of elementary functions are made of, on lanes: the handles they work with stand for values
//! held in registers.

use cranelift::codegen::ir::Opcode;
use cranelift::prelude::{FloatCC, Type, Value, types};

use super::call::Call;
use super::lanes::{EQUAL, Held, LESS, LESS_OR_EQUAL, Lanes, UNORDERED};
use super::machine::{Class, Inst, Reg, Writes};
use crate::codegen::math::{self, Function, Shape, Target, Way};
use crate::loops::{Binary, Unary};
use crate::types::DType;

impl Lanes {
    pub(super) fn handle(&mut self, x: Held) -> Value {
        self.values.push(x);
        Value::from_u32(self.values.len() as u32 - 1)
    }

    pub(super) fn held(&self, x: Value) -> Held {
        self.values[x.as_u32() as usize]
    }

    /// A function that the processor lacks.
    pub(super) fn function<const N: usize>(&mut self, way: Way<N>, operands: [Held; N]) -> Held {
        match way {
            Way::Inline(formula) | Way::Fused(formula, _) => {
                let ty = if self.width == 4 { types::F32X4 } else { types::F64X2 };
                let operands = operands.map(|x| self.handle(x));
                let result = math::on_vectors(self, operands, ty, formula);
                self.held(result)
            }
            Way::Call(function) => self.called(function, [operands[0], operands[N - 1]], None),
            Way::Nothing => self.unsupported(),
        }
    }

    /// A function of the library, in the lanes of a mask, with the value of the others, or in all lanes.
    pub(super) fn called(
        &mut self,
        function: Function,
        operands: [Held; 2],
        elsewhere: Option<(Reg, Held)>,
    ) -> Held {
        let is_wide = self.width == 8;
        let (name, address) = function.on_lanes(is_wide);
        let function = self.build.constant(&(address as u64).to_le_bytes());
        let operands = operands.map(|x| self.register(x));
        let mask = elsewhere.map(|(mask, _)| mask);
        let otherwise = elsewhere.map(|(_, otherwise)| self.register(otherwise));
        let lanes = self.count();
        let call = |result| Call { name, function, operands, result, mask, lanes, is_wide };
        Held::Lanes(self.build.called(otherwise, call))
    }
}

impl Target for Lanes {
    fn unary(&mut self, opcode: Opcode, _: Type, x: Value) -> Value {
        let (x, dtype) = (self.held(x), if self.width == 4 { DType::F32 } else { DType::F64 });
        let result = match opcode {
            Opcode::Fneg => self.unary_float(Unary::Neg, x, dtype),
            Opcode::Nearest => self.round(x, 8),
            Opcode::Sqrt => self.unary_float(Unary::Sqrt, x, dtype),
            _ => self.inverted(x),
        };
        self.handle(result)
    }

    fn binary(&mut self, opcode: Opcode, _: Type, a: Value, b: Value) -> Value {
        let (a, b) = (self.held(a), self.held(b));
        let (f, is_float) = match opcode {
            Opcode::Fadd => (Binary::Add, true),
            Opcode::Fsub => (Binary::Sub, true),
            Opcode::Fmul => (Binary::Mul, true),
            Opcode::Fdiv => (Binary::Div, true),
            Opcode::Iadd => (Binary::Add, false),
            Opcode::Isub => (Binary::Sub, false),
            Opcode::Band => (Binary::And, false),
            Opcode::Bor => (Binary::Or, false),
            _ => (Binary::Xor, false),
        };
        let result = self.arithmetic(f, a, b, is_float);
        self.handle(result)
    }

    fn constant(&mut self, bits: u64, _: Type) -> Value {
        self.handle(Held::Constant(bits))
    }

    fn shift(&mut self, opcode: Opcode, x: Value, by: u8) -> Value {
        let is_left = opcode == Opcode::Ishl;
        let code = self.integer(
            if is_left { "vpsll" } else { "vpsrl" },
            1,
            if self.width == 8 { 0x73 } else { 0x72 },
        );
        let code = code.with_digit(if is_left { 6 } else { 2 }).writing(Writes::Second);
        let held = self.held(x);
        let x = self.operand(held);
        let result = self.build.pure(Class::Vector, |d| Inst::new(code, None, d, x).with(by.into()));
        self.handle(Held::Lanes(result))
    }

    fn compare(&mut self, condition: FloatCC, a: Value, b: Value) -> Value {
        let condition = match condition {
            FloatCC::LessThan => LESS,
            FloatCC::Equal => EQUAL,
            FloatCC::LessThanOrEqual => LESS_OR_EQUAL,
            _ => UNORDERED,
        };
        let (a, b) = (self.held(a), self.held(b));
        let result = self.compare_float(condition, a, b);
        self.handle(result)
    }

    fn equal_bits(&mut self, a: Value, b: Value) -> Value {
        let (a, b) = (self.held(a), self.held(b));
        let result = self.compare_integers(0, a, b);
        self.handle(result)
    }

    fn select(&mut self, mask: Value, a: Value, b: Value) -> Value {
        let (mask, a, b) = (self.held(mask), self.held(a), self.held(b));
        let result = Lanes::select(self, mask, a, b);
        self.handle(result)
    }

    fn mul_add(&mut self, a: Value, b: Value, c: Value) -> Value {
        let (a, b, c) = (self.held(a), self.held(b), self.held(c));
        let result = Lanes::mul_add(self, a, b, c, false);
        self.handle(result)
    }

    fn reinterpret(&mut self, x: Value, _: Type) -> Value {
        x
    }

    fn has_rounding(&self) -> bool {
        true
    }

    fn patch(&mut self, mask: Value, function: Function, x: Value, otherwise: Value, _: Shape) -> Value {
        let (mask, x, otherwise) = (self.held(mask), self.held(x), self.held(otherwise));
        let mask = self.mask(mask);
        let result = self.called(function, [x, x], Some((mask, otherwise)));
        self.handle(result)
    }
}
