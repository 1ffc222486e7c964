//! From the tape to CLIF: a loop of steps that keeps the state in registers.

use cranelift::codegen::ir::BlockArg;
use cranelift::codegen::packed_option::ReservedValue;
use cranelift::prelude::{InstBuilder, IntCC, MemFlagsData, Value, types};

use super::cost::CARRIED;
use super::entry::Bases;
use super::scalar::{Emit, clif_type};
use super::tape::{Element, Op, Slot, Tape};
use crate::loops::Program;

/// Emits a loop of `count` steps, at least one.
pub(super) fn steps(tape: &Tape, program: &Program, emit: &mut Emit<'_, '_>, bases: &Bases, count: Value) {
    let [carried, outside] = tape.carried(program, CARRIED);
    let mut straight = Straight::new(tape, program, bases);
    straight.compute(emit, |at| !tape.varies[at]);
    let initial: Vec<Value> = carried.iter().map(|&(element, _)| straight.load(emit, element)).collect();
    let types: Vec<_> = initial.iter().map(|&value| emit.ty(value)).collect();

    let body = emit.builder.create_block();
    let done = emit.builder.create_block();
    let zero = emit.builder.ins().iconst(types::I64, 0);
    let i = emit.builder.append_block_param(body, types::I64);
    let params: Vec<Value> = types.iter().map(|&ty| emit.builder.append_block_param(body, ty)).collect();
    let last: Vec<Value> = types.iter().map(|&ty| emit.builder.append_block_param(done, ty)).collect();
    let arguments: Vec<BlockArg> = [zero].iter().chain(&initial).map(|&value| value.into()).collect();
    emit.builder.ins().jump(body, &arguments);

    emit.builder.switch_to_block(body);
    for (&(element, _), &param) in carried.iter().zip(&params) {
        straight.preset(element, param);
    }
    straight.compute(emit, |at| tape.varies[at]);
    straight.store(emit, &outside);
    let next = emit.builder.ins().iadd_imm_s(i, 1);
    let more = emit.builder.ins().icmp(IntCC::UnsignedLessThan, next, count);
    let updated: Vec<BlockArg> = carried.iter().map(|&(_, slot)| straight.value(slot).into()).collect();
    let again: Vec<BlockArg> = [next.into()].into_iter().chain(updated.iter().copied()).collect();
    emit.builder.ins().brif(more, body, &again, done, &updated);

    emit.builder.switch_to_block(done);
    for (&(element, _), value) in carried.iter().zip(last) {
        straight.store_value(emit, element, value);
    }
}

struct Straight<'t> {
    tape: &'t Tape,
    program: &'t Program,
    bases: &'t Bases,
    values: Vec<Option<Value>>,
}

impl<'t> Straight<'t> {
    fn new(tape: &'t Tape, program: &'t Program, bases: &'t Bases) -> Straight<'t> {
        Straight { tape, program, bases, values: vec![None; tape.ops.len()] }
    }

    fn value(&self, slot: Slot) -> Value {
        // Slots are computed in order, so operands are there; Cranelift refuses the reserved value.
        self.values[slot.0 as usize].unwrap_or(Value::reserved_value())
    }

    /// Gives a loaded element the value it has in a register.
    fn preset(&mut self, element: Element, value: Value) {
        if let Some(at) = self.tape.ops.iter().position(|(op, _)| *op == Op::Load(element)) {
            self.values[at] = Some(value);
        }
    }

    fn compute(&mut self, emit: &mut Emit<'_, '_>, wanted: impl Fn(usize) -> bool) {
        for at in 0..self.tape.ops.len() {
            if self.tape.needed[at] && self.values[at].is_none() && wanted(at) {
                self.values[at] = Some(self.op(emit, at));
            }
        }
    }

    fn op(&mut self, emit: &mut Emit<'_, '_>, at: usize) -> Value {
        let (op, dtype) = self.tape.ops[at];
        let of = |slot: Slot| self.tape.ops[slot.0 as usize].1;
        match op {
            Op::Load(element) => self.load(emit, element),
            Op::Constant(value) => emit.constant(value),
            Op::Unary(f, a) => emit.unary(f, self.value(a), dtype),
            Op::Binary(f, a, b) => emit.binary(f, self.value(a), self.value(b), dtype),
            Op::Compare(f, a, b) => emit.compare(f, self.value(a), self.value(b), of(a)),
            Op::Select(c, a, b) => emit.select(self.value(c), self.value(a), self.value(b)),
            Op::Cast(a) => emit.cast(self.value(a), of(a), dtype),
            Op::MulAdd(a, b, c) => emit.mul_add(self.value(a), self.value(b), self.value(c), dtype),
        }
    }

    fn load(&self, emit: &mut Emit<'_, '_>, (id, index): Element) -> Value {
        let buffer = &self.program.buffers[id.index()];
        let (base, offset) = self.bases.address(buffer.place);
        let offset = offset + index as i32 * buffer.dtype.size() as i32;
        let flags = MemFlagsData::new().with_notrap();
        emit.builder.ins().load(clif_type(buffer.dtype), flags, base, offset)
    }

    fn store(&self, emit: &mut Emit<'_, '_>, stores: &[(Element, Slot)]) {
        for &(element, slot) in stores {
            self.store_value(emit, element, self.value(slot));
        }
    }

    fn store_value(&self, emit: &mut Emit<'_, '_>, (id, index): Element, value: Value) {
        let buffer = &self.program.buffers[id.index()];
        let (base, offset) = self.bases.address(buffer.place);
        let offset = offset + index as i32 * buffer.dtype.size() as i32;
        emit.builder.ins().store(MemFlagsData::new().with_notrap(), value, base, offset);
    }
}
