//! Scalars into lanes and out again, conversions between lanes of one width, and lanes in memory. A bool is an i8 of 0
//! or 1 in scalars and in memory, and a mask of all ones or zeros in lanes.

use cranelift::codegen::ir::{ConstantData, InstructionData};
use cranelift::prelude::{InstBuilder, IntCC, MemFlagsData, Type, Value, types};

use super::scalar::Emit;
use crate::loops::{Combine, Compare};
use crate::types::{DType, Scalar};

/// The type of lanes of this width. Lanes of 32 bits hold the low half of an i64, which suffices for indices.
pub(super) fn lane_type(dtype: DType, width: usize) -> Type {
    match (dtype, width) {
        (DType::F32, _) => types::F32X4,
        (DType::F64, _) => types::F64X2,
        (DType::I32, _) | (DType::I64 | DType::Bool, 4) => types::I32X4,
        (DType::I64 | DType::Bool, _) => types::I64X2,
    }
}

impl Emit<'_, '_> {
    /// The scalar in every lane.
    pub fn splat(&mut self, x: Value, vector: Type) -> Value {
        if self.ty(x) == types::I8 {
            let mask = self.builder.ins().bmask(vector.lane_type(), x);
            return self.builder.ins().splat(vector, mask);
        }
        match self.literal(x) {
            Some(literal) => self.splat_constant(literal, vector),
            None => self.builder.ins().splat(vector, x),
        }
    }

    /// What the value is, if it is a constant float.
    pub fn literal(&self, x: Value) -> Option<Scalar> {
        match self.defined_by(x)? {
            InstructionData::UnaryIeee32 { imm, .. } => Some(Scalar::F32(f32::from_bits(imm.bits()))),
            InstructionData::UnaryIeee64 { imm, .. } => Some(Scalar::F64(f64::from_bits(imm.bits()))),
            _ => None,
        }
    }

    /// The constant in every lane.
    pub fn splat_constant(&mut self, value: Scalar, vector: Type) -> Value {
        self.splat_bits(value.bits(), vector)
    }

    /// A constant in every lane, by its bits.
    pub fn splat_bits(&mut self, bits: u64, vector: Type) -> Value {
        self.lane_constants(&vec![bits; vector.lane_count() as usize], vector)
    }

    /// A constant in every lane, by its bits, as an operand of the next instruction.
    pub fn constant_operand(&mut self, bits: u64, vector: Type) -> Value {
        let width = vector.lane_type().bytes() as usize;
        let bytes = std::array::from_fn(|at| bits.to_le_bytes()[at % width]);
        self.constants.load(self.builder, self.constants_base, bytes, vector)
    }

    /// A constant for each lane, by its bits.
    pub fn lane_constants(&mut self, bits: &[u64], vector: Type) -> Value {
        let width = vector.lane_type().bytes() as usize;
        let bytes: Vec<u8> = bits.iter().flat_map(|bits| bits.to_le_bytes()[..width].to_vec()).collect();
        let data = self.builder.func.dfg.constants.insert(ConstantData::from(&bytes[..]));
        self.builder.ins().vconst(vector, data)
    }

    /// Scalars, one a lane.
    pub fn gather_lanes(&mut self, values: &[Value], vector: Type) -> Value {
        let mut result = None;
        for (lane, &value) in values.iter().enumerate() {
            let value = match self.ty(value) {
                types::I8 => self.builder.ins().bmask(vector.lane_type(), value),
                // An index in lanes of 32 bits.
                types::I64 if vector.lane_bits() == 32 => self.builder.ins().ireduce(types::I32, value),
                _ => value,
            };
            result = Some(match result {
                None => self.builder.ins().scalar_to_vector(vector, value),
                Some(result) => self.builder.ins().insertlane(result, value, lane as u8),
            });
        }
        result.unwrap_or_else(|| self.splat_bits(0, vector))
    }

    /// One lane as a scalar; a scalar is its own.
    pub fn lane(&mut self, x: Value, lane: u8, dtype: DType) -> Value {
        if !self.ty(x).is_vector() {
            return x;
        }
        let value = self.builder.ins().extractlane(x, lane);
        match (dtype, self.ty(value)) {
            (DType::Bool, _) => {
                let byte = self.builder.ins().ireduce(types::I8, value);
                self.builder.ins().band_imm_u(byte, 1)
            }
            (DType::I64, types::I32) => self.builder.ins().sextend(types::I64, value),
            _ => value,
        }
    }

    /// Neighbouring elements.
    pub fn load_lanes(&mut self, dtype: DType, width: usize, address: Value, offset: i32) -> Value {
        let flags = MemFlagsData::new().with_notrap();
        let ty = lane_type(dtype, width);
        if dtype != DType::Bool {
            return self.builder.ins().load(ty, flags, address, offset);
        }
        // Four or two bytes of 0 or 1 stretched to lanes.
        let (packed, wide) = if width == 4 { (types::I32, types::I32X4) } else { (types::I16, types::I16X8) };
        let bytes = self.builder.ins().load(packed, flags, address, offset);
        let mut x = self.builder.ins().scalar_to_vector(wide, bytes);
        x = self.cast_bits(x, types::I8X16);
        while self.ty(x) != ty {
            x = self.builder.ins().swiden_low(x);
        }
        self.builder.ins().ineg(x)
    }

    /// Stores a scalar, or the lanes as neighbouring elements.
    pub fn store(&mut self, x: Value, dtype: DType, address: Value, offset: i32) {
        let flags = MemFlagsData::new().with_notrap();
        let ty = self.ty(x);
        if dtype != DType::Bool || !ty.is_vector() {
            self.builder.ins().store(flags, x, address, offset);
            return;
        }
        if ty == types::I32X4 {
            let halves = self.builder.ins().snarrow(x, x);
            let bytes = self.builder.ins().snarrow(halves, halves);
            let packed = self.cast_bits(bytes, types::I32X4);
            let packed = self.builder.ins().extractlane(packed, 0);
            let ones = self.builder.ins().band_imm_u(packed, 0x0101_0101);
            self.builder.ins().store(flags, ones, address, offset);
            return;
        }
        for lane in 0..ty.lane_count() {
            let byte = self.lane(x, lane as u8, dtype);
            self.builder.ins().store(flags, byte, address, offset + lane as i32);
        }
    }

    /// Conversion of lanes to others of the same width.
    pub fn cast_lanes(&mut self, x: Value, from: DType, to: DType) -> Value {
        let vector = self.ty(x);
        match (from, to) {
            (DType::Bool, DType::F32 | DType::F64) => {
                let one = self.splat_constant(
                    Scalar::from_f64(1.0, to),
                    lane_type(to, vector.lane_type().bytes() as usize),
                );
                let mask = self.cast_bits(x, self.ty(one));
                self.builder.ins().band(mask, one)
            }
            (DType::Bool, DType::I32 | DType::I64) => self.builder.ins().ineg(x),
            (_, DType::Bool) => {
                let zero = self.splat_bits(0, vector);
                if from.is_float() {
                    return self.compare(Compare::Ne, x, zero, from);
                }
                self.builder.ins().icmp(IntCC::NotEqual, x, zero)
            }
            (DType::F32, DType::I32) => self.builder.ins().fcvt_to_sint_sat(types::I32X4, x),
            (DType::I32 | DType::I64, DType::F32) => self.builder.ins().fcvt_from_sint(types::F32X4, x),
            (DType::I32 | DType::I64, DType::F64) => self.builder.ins().fcvt_from_sint(types::F64X2, x),
            // Indices in lanes of 32 bits.
            _ => x,
        }
    }

    /// The lanes of a vector combined, neighbours first.
    pub fn combine_lanes(&mut self, combine: Combine, x: Value, dtype: DType) -> Value {
        let mut lanes: Vec<Value> =
            (0..self.ty(x).lane_count() as u8).map(|lane| self.lane(x, lane, dtype)).collect();
        while lanes.len() > 1 {
            lanes =
                lanes.chunks(2).map(|pair| self.binary(combine.join(), pair[0], pair[1], dtype)).collect();
        }
        lanes[0]
    }
}
