//! Pieces of loops, and statements whose order counts: values handed from turn to turn, rows added at computed places, rows sorted.

use cranelift::prelude::{InstBuilder, IntCC, Value, types};
use rustc_hash::FxHashMap;

use super::{Nest, Position, Walk};
use crate::loops::{Access, Binary, LoopVar, Sorting, Stmt, Var};
use crate::types::Scalar;

impl Nest<'_, '_, '_> {
    /// The iterations of the outermost loop that a thread was given: one at least.
    pub(super) fn run_piece(&mut self, var: LoopVar, [from, to]: [Value; 2], body: &[Stmt]) {
        self.prepare_addresses(var, body);
        let (block, done) = (self.emit.builder.create_block(), self.emit.builder.create_block());
        let counter = self.emit.builder.append_block_param(block, types::I64);
        self.emit.builder.ins().jump(block, &[from.into()]);
        self.emit.builder.switch_to_block(block);
        self.addresses.push(FxHashMap::default());
        self.loops[var.index()] = Position { counter: Some(counter), offset: 0 };
        self.body(body);
        self.addresses.pop();
        let next = self.emit.builder.ins().iadd_imm_s(counter, 1);
        let more = self.emit.builder.ins().icmp(IntCC::UnsignedLessThan, next, to);
        self.emit.builder.ins().brif(more, block, &[next.into()], done, &[]);
        self.emit.builder.switch_to_block(done);
    }

    /// One value handed from turn to turn; in every lane, if the loop around runs on vectors.
    pub(super) fn run_recurrence(
        &mut self,
        var: LoopVar,
        (carry, initial): (Var, Scalar),
        body: &[Stmt],
        next: Var,
    ) {
        let dtype = initial.dtype();
        let initial = self.emit.constant(initial);
        let initial = self.widened(initial, dtype);
        let walk = Walk { var, from: 0, to: self.kernel.extent(var) as i64, step: 1 };
        self.counted(walk, body, &[initial], |nest, carried| {
            nest.vars[carry.0 as usize] = Some(carried[0]);
            nest.products[carry.0 as usize] = None;
            nest.body(body);
            let next = nest.value(next);
            vec![nest.widened(next, dtype)]
        });
    }

    /// Writes the element, or the sum of what is there and the value.
    pub(super) fn store_row(
        &mut self,
        access: &Access,
        (row, stride, bound): (Var, i64, i64),
        value: Var,
        adds: bool,
    ) {
        let dtype = self.kernel.dtype(value);
        let (row, value) = (self.value(row), self.value(value));
        let value = self.widened(value, dtype);
        let (address, offset) = self.row_address(access, row, stride * dtype.size() as i64, bound);
        let stored = if adds {
            let sum = self.load_at(access, address, offset, dtype);
            self.emit.binary(Binary::Add, sum, value, dtype)
        } else {
            value
        };
        self.emit.store(stored, dtype, address, offset);
    }

    /// A call of the library's function for a row.
    pub(super) fn sort(&mut self, keys: &Access, positions: &Access, sorting: Sorting) {
        let dtype = self.program.buffers[keys.buffer.index()].dtype;
        let function = (self.emit.library.sort)(dtype, sorting.order) as *const u8;
        let mut arguments = Vec::with_capacity(4);
        for access in [keys, positions] {
            let (address, offset) = self.address(access);
            arguments.push(self.emit.builder.ins().iadd_imm_s(address, i64::from(offset)));
        }
        for number in [sorting.count, sorting.first] {
            arguments.push(self.emit.builder.ins().iconst(types::I64, number as i64));
        }
        self.emit.call_library(function, &arguments);
    }
}
