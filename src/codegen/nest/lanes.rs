//! Values of loops that run on vectors: scalars put into lanes, accesses of several elements, and what has to be
//! computed lane by lane.

use cranelift::prelude::{InstBuilder, IntCC, MemFlagsData, Type, Value, types};
use rustc_hash::FxHashSet;

use super::{Nest, Position};
use crate::codegen::packing::lane_type;
use crate::codegen::scalar::clif_type;
use crate::codegen::vectorise::Mode;
use crate::loops::{Access, Affine, Instr, LoopVar, Stmt, Var};
use crate::types::DType;

/// The variable whose consecutive values are the lanes, and the bytes of one.
#[derive(Clone, Copy)]
pub(super) struct Vector {
    pub var: LoopVar,
    pub width: usize,
}

impl Vector {
    pub fn lanes(self) -> usize {
        16 / self.width
    }

    /// The type of a value of this element type.
    pub fn ty(self, dtype: DType) -> Type {
        lane_type(dtype, self.width)
    }
}

impl Nest<'_, '_, '_> {
    pub(super) fn mode(&self, var: Var) -> Mode {
        match self.vector {
            Some(_) => self.modes[var.0 as usize],
            None => Mode::Fixed,
        }
    }

    /// The value in every lane, if the loop runs on vectors.
    pub(super) fn widened(&mut self, value: Value, dtype: DType) -> Value {
        match self.vector {
            Some(vector) if !self.emit.ty(value).is_vector() => match self.splats.get(&value) {
                Some(&known) => known,
                None => self.emit.splat(value, vector.ty(dtype)),
            },
            _ => value,
        }
    }

    /// Puts what the loop needs in lanes, and does not change, into lanes before it.
    pub(super) fn prepare_splats(&mut self, body: &[Stmt]) {
        let mut defined = FxHashSet::default();
        self.splat_operands(body, &mut defined);
    }

    fn splat_operands(&mut self, body: &[Stmt], defined: &mut FxHashSet<Var>) {
        for stmt in body {
            match stmt {
                Stmt::Let { dst, instr } => {
                    defined.insert(*dst);
                    if self.mode(*dst) == Mode::Lanes && !matches!(instr, Instr::LoadRow { .. }) {
                        instr.operands().into_iter().for_each(|var| self.splat_fixed(var, defined));
                    }
                }
                Stmt::Store { value, .. } => self.splat_fixed(*value, defined),
                Stmt::Reduce { body, parts, .. } => {
                    self.splat_operands(body, defined);
                    defined.extend(parts.iter().map(|part| part.dst));
                }
                Stmt::StoreRow { value, .. } => self.splat_fixed(*value, defined),
                Stmt::Recur { carry, body, .. } => {
                    defined.insert(*carry);
                    self.splat_operands(body, defined);
                }
                Stmt::For { .. } | Stmt::Contract(_) | Stmt::Sort { .. } => {}
            }
        }
    }

    fn splat_fixed(&mut self, var: Var, defined: &FxHashSet<Var>) {
        if self.mode(var) == Mode::Fixed && !defined.contains(&var) {
            let value = self.value(var);
            let wide = self.widened(value, self.kernel.dtype(var));
            self.splats.insert(value, wide);
        }
    }

    /// Runs `scalar` for each lane, with the loop variable at the lane's element, and collects the results.
    pub(super) fn lane_by_lane(
        &mut self,
        dtype: DType,
        mut scalar: impl FnMut(&mut Self, u8) -> Value,
    ) -> Value {
        let Some(vector) = self.vector else { return scalar(self, 0) };
        let values: Vec<Value> = (0..vector.lanes() as u8)
            .map(|lane| self.at_lane(vector, lane, |nest| scalar(nest, lane)))
            .collect();
        self.emit.gather_lanes(&values, vector.ty(dtype))
    }

    fn at_lane<T>(&mut self, vector: Vector, lane: u8, run: impl FnOnce(&mut Self) -> T) -> T {
        let position = self.loops[vector.var.index()];
        self.loops[vector.var.index()] = Position { offset: position.offset + i64::from(lane), ..position };
        self.vector = None;
        let result = run(self);
        self.vector = Some(vector);
        self.loops[vector.var.index()] = position;
        result
    }

    /// An instruction without a vector form.
    pub(super) fn assign_one_by_one(&mut self, dst: Var, instr: &Instr, x: &[Value]) -> Value {
        let dtypes: Vec<DType> = instr.operands().iter().map(|&var| self.kernel.dtype(var)).collect();
        self.lane_by_lane(self.kernel.dtype(dst), |nest, lane| {
            let of_lane = |(&x, &dtype): (&Value, &DType)| nest.emit.lane(x, lane, dtype);
            let x: Vec<Value> = x.iter().zip(&dtypes).map(of_lane).collect();
            nest.compute(dst, instr, &x)
        })
    }

    pub(super) fn store_one_by_one(&mut self, vector: Vector, access: &Access, value: Value, dtype: DType) {
        for lane in 0..vector.lanes() as u8 {
            let element = self.emit.lane(value, lane, dtype);
            self.at_lane(vector, lane, |nest| nest.store_value(access, element, dtype));
        }
    }

    /// The values of an affine expression that moves along the lanes.
    pub(super) fn index_in_lanes(&mut self, vector: Vector, index: &Affine) -> Value {
        let first = self.index(index);
        let ty = vector.ty(DType::I64);
        let coefficient = index.coefficient(vector.var);
        let first =
            if vector.width == 4 { self.emit.builder.ins().ireduce(types::I32, first) } else { first };
        let steps: Vec<u64> = (0..vector.lanes() as i64).map(|lane| (coefficient * lane) as u64).collect();
        let (first, steps) = (self.emit.splat(first, ty), self.emit.lane_constants(&steps, ty));
        self.emit.builder.ins().iadd(first, steps)
    }

    /// Which lanes have every expression between 0 and its bound.
    pub(super) fn within_in_lanes(&mut self, vector: Vector, ranges: &[(Affine, i64)]) -> Value {
        let mut inside = self.emit.splat_bits(u64::MAX, vector.ty(DType::Bool));
        for (index, bound) in ranges {
            let test = if index.coefficient(vector.var) == 0 {
                let test = self.is_below(index, *bound);
                self.widened(test, DType::Bool)
            } else {
                let index = self.index_in_lanes(vector, index);
                let bound = self.emit.splat_bits(*bound as u64, vector.ty(DType::I64));
                self.emit.builder.ins().icmp(IntCC::UnsignedLessThan, index, bound)
            };
            inside = self.emit.builder.ins().band(inside, test);
        }
        inside
    }

    /// One load where the first and the last lane are inside, since all between are too; else lane by lane.
    pub(super) fn load_within_in_lanes(
        &mut self,
        vector: Vector,
        access: &Access,
        ranges: &[(Affine, i64)],
        dtype: DType,
    ) -> Value {
        let last = vector.lanes() as u8 - 1;
        let [first, last] =
            [0, last].map(|lane| self.at_lane(vector, lane, |nest| nest.exists_within(access, ranges)));
        let all = self.emit.builder.ins().band(first, last);
        let [inside, outside, done] = [(); 3].map(|()| self.emit.builder.create_block());
        let result = self.emit.builder.append_block_param(done, vector.ty(dtype));
        self.emit.builder.ins().brif(all, inside, &[], outside, &[]);

        self.emit.builder.switch_to_block(inside);
        let (address, offset) = self.indexed_address(access);
        let whole = self.emit.load_lanes(dtype, vector.width, address, offset);
        self.emit.builder.ins().jump(done, &[whole.into()]);

        self.emit.builder.switch_to_block(outside);
        let some = self.lane_by_lane(dtype, |nest, _| nest.load_within(access, ranges, dtype));
        self.emit.builder.ins().jump(done, &[some.into()]);
        self.emit.builder.switch_to_block(done);
        result
    }

    /// Where an element lies, by its index in full.
    pub(super) fn indexed_address(&mut self, access: &Access) -> (Value, i32) {
        let buffer = &self.program.buffers[access.buffer.index()];
        let (base, offset) = self.bases.address(buffer.place);
        let index = self.index(&access.index);
        let bytes = self.scaled(index, buffer.dtype.size() as i64);
        (self.emit.builder.ins().iadd(base, bytes), offset)
    }

    /// Loads the element, or the elements of the lanes if the access moves along them.
    pub(super) fn load_at(&mut self, access: &Access, address: Value, offset: i32, dtype: DType) -> Value {
        match self.vector {
            Some(vector) if access.index.coefficient(vector.var) != 0 => {
                self.emit.load_lanes(dtype, vector.width, address, offset)
            }
            _ => {
                let flags = MemFlagsData::new().with_notrap();
                self.emit.builder.ins().load(clif_type(dtype), flags, address, offset)
            }
        }
    }
}
