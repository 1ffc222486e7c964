//! Loop nests as CLIF: counted loops, vectors where the accesses allow, several partial results in
//! reductions. All extents are known, so remainders need no tests.

mod lanes;
mod whole;

use std::collections::BTreeSet;
use std::sync::Arc;

use cranelift::codegen::ir::BlockArg;
use cranelift::prelude::{InstBuilder, IntCC, MemFlagsData, Type, Value, types};
use rustc_hash::FxHashMap;

use super::cost::{CHAINS, UNROLL_BODY};
use super::entry::{Bases, Library};
use super::scalar::{Emit, clif_type};
use super::vectorise::{self, Mode};
use crate::loops::{
    Access, Affine, Binary, BufferId, Contraction, Instr, Kernel, LoopVar, Part, Program, Stmt, Unary, Var,
    stored,
};
use crate::types::{DType, Scalar};
use lanes::Vector;

/// Emits one kernel, in the given turn of each repeat around it; if it is parallel, the iterations of its outermost loop
/// from one number to below another, which follow the turns.
pub(super) fn kernel(
    program: &Program,
    kernel: &Kernel,
    emit: &mut Emit<'_, '_>,
    bases: &Bases,
    counts: &[Value],
) {
    let mut nest = Nest {
        program,
        kernel,
        bases,
        emit,
        vars: vec![None; kernel.dtypes.len()],
        products: vec![None; kernel.dtypes.len()],
        stored: stored(&kernel.body),
        loops: vec![Position::default(); kernel.extents.len()],
        vector: None,
        modes: vec![Mode::Fixed; kernel.dtypes.len()],
        splats: FxHashMap::default(),
        addresses: vec![FxHashMap::default()],
        piece: None,
    };
    let (turns, piece) = counts.split_at(kernel.repeats);
    for (position, &turn) in nest.loops.iter_mut().zip(turns) {
        position.counter = Some(turn);
    }
    nest.piece = piece.first_chunk().copied();
    nest.body(&kernel.body);
}

/// The current value of a loop variable: a counter, if the loop is not written out, plus an offset.
#[derive(Clone, Copy, Default)]
struct Position {
    counter: Option<Value>,
    offset: i64,
}

/// The values a loop gives its variable.
#[derive(Clone, Copy)]
struct Walk {
    var: LoopVar,
    from: i64,
    to: i64,
    step: i64,
}

/// The moving part of an address: a buffer and the terms that have a counter.
type Moving = (BufferId, Vec<(LoopVar, i64)>);

struct Nest<'n, 'e, 'f> {
    program: &'n Program,
    kernel: &'n Kernel,
    bases: &'n Bases,
    emit: &'n mut Emit<'e, 'f>,
    vars: Vec<Option<Value>>,
    /// The factors of values that are products, to be fused into sums.
    products: Vec<Option<(Value, Value)>>,
    /// The values that lie in memory too: others load them, and are to see the same bits.
    stored: BTreeSet<Var>,
    loops: Vec<Position>,
    vector: Option<Vector>,
    /// How each value is held in the loop that runs on vectors.
    modes: Vec<Mode>,
    /// Scalars that are in lanes already, in that loop.
    splats: FxHashMap<Value, Value>,
    /// Addresses computed, by the open loops they were computed in.
    addresses: Vec<FxHashMap<Moving, Value>>,
    /// The iterations of the outermost loop to run, if not all are.
    piece: Option<[Value; 2]>,
}

impl Nest<'_, '_, '_> {
    fn body(&mut self, body: &[Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::Let { dst, instr } => self.assign(*dst, instr),
                Stmt::Store { access, value } => self.store(access, *value),
                Stmt::Contract(contraction) => self.contract(contraction),
                Stmt::Sort { keys, positions, sorting } => self.sort(keys, positions, *sorting),
                Stmt::StoreRow { access, row, stride, bound, value, adds } => {
                    self.store_row(access, (*row, *stride, *bound), *value, *adds);
                }
                Stmt::For { var, body } => self.run_for(*var, body),
                Stmt::Reduce { var, body, parts } => self.run_reduce(*var, body, parts),
                Stmt::Recur { var, carry, initial, body, next } => {
                    self.run_recurrence(*var, (*carry, *initial), body, *next);
                }
            }
        }
    }

    /// Vectors for as long as they fit, then single elements.
    fn run_for(&mut self, var: LoopVar, body: &[Stmt]) {
        if let Some(piece) = self.piece.take() {
            return self.run_piece(var, piece, body);
        }
        let extent = self.kernel.extent(var) as i64;
        let mut from = 0;
        if let Some(vector) = self.enter_lanes(var, body, &[]) {
            let step = vector.lanes() as i64;
            from = extent / step * step;
            self.counted(Walk { var, from: 0, to: from, step }, body, &[], |nest, _| {
                nest.body(body);
                vec![]
            });
            self.leave_lanes();
        }
        self.counted(Walk { var, from, to: extent, step: 1 }, body, &[], |nest, _| {
            nest.body(body);
            vec![]
        });
    }

    /// Goes over to vectors along `var`, if the loop can run on them and is long enough for one.
    fn enter_lanes(&mut self, var: LoopVar, body: &[Stmt], parts: &[Part]) -> Option<Vector> {
        let plan = vectorise::plan(self.kernel, var, body, parts)?;
        let vector = Vector { var, width: plan.width };
        (self.kernel.extent(var) >= vector.lanes()).then_some(())?;
        self.vector = Some(vector);
        self.modes = plan.modes;
        self.prepare_splats(body);
        Some(vector)
    }

    fn leave_lanes(&mut self) {
        self.vector = None;
        self.splats.clear();
    }

    /// Several chains of vectors, a few single vectors, then single elements; combined at the end.
    fn run_reduce(&mut self, var: LoopVar, body: &[Stmt], parts: &[Part]) {
        let extent = self.kernel.extent(var) as i64;
        let is_innermost = !body.iter().any(Stmt::is_loop);
        let own =
            if self.vector.is_none() && is_innermost { self.enter_lanes(var, body, parts) } else { None };
        let mut at = 0;
        let mut partial: Vec<Vec<Value>> = Vec::new();
        if let Some(vector) = own {
            let walk = Walk { var, from: 0, to: extent, step: vector.lanes() as i64 };
            at = self.chains(walk, body, parts, &mut partial);
            self.leave_lanes();
            for chain in &mut partial {
                for (value, part) in chain.iter_mut().zip(parts) {
                    *value = self.emit.combine_lanes(part.combine, *value, self.kernel.dtype(part.dst));
                }
            }
        }
        self.chains(Walk { var, from: at, to: extent, step: 1 }, body, parts, &mut partial);
        self.finish(parts, partial);
    }

    /// Runs the body for the whole steps of the walk, in as many chains as pay; adds the chains' results
    /// to `partial` and returns where it stopped.
    fn chains(&mut self, walk: Walk, body: &[Stmt], parts: &[Part], partial: &mut Vec<Vec<Value>>) -> i64 {
        let Walk { var, from, to, step } = walk;
        let rounds = (to - from) / step;
        let is_small = body.len() <= UNROLL_BODY && !body.iter().any(Stmt::is_loop);
        let chains = if is_small { rounds.min(CHAINS as i64) } else { rounds.min(1) };
        if chains == 0 {
            return from;
        }
        let stride = chains * step;
        let whole = from + (to - from) / stride * stride;
        let identities: Vec<Value> = parts.iter().map(|part| self.identity(part)).collect();
        let initial: Vec<Value> = (0..chains).flat_map(|_| identities.iter().copied()).collect();
        let walk = Walk { var, from, to: whole, step: stride };
        let results = self.counted(walk, body, &initial, |nest, sums| {
            let position = nest.loops[var.index()];
            let mut next = Vec::with_capacity(sums.len());
            for (chain, sums) in sums.chunks(parts.len()).enumerate() {
                nest.loops[var.index()].offset = position.offset + chain as i64 * step;
                next.extend(nest.accumulate(body, parts, sums));
            }
            nest.loops[var.index()] = position;
            next
        });
        let mut sums: Vec<Vec<Value>> = results.chunks(parts.len()).map(<[Value]>::to_vec).collect();
        let stop = from + rounds * step;
        let count = sums.len();
        for (chain, at) in (whole..stop).step_by(step as usize).enumerate() {
            self.loops[var.index()] = Position { counter: None, offset: at };
            sums[chain % count] = self.accumulate(body, parts, &sums[chain % count].clone());
        }
        partial.extend(self.join_chains(sums, parts));
        stop
    }

    /// One iteration of a reduction, added to `sums`.
    fn accumulate(&mut self, body: &[Stmt], parts: &[Part], sums: &[Value]) -> Vec<Value> {
        self.body(body);
        let add = |(part, &sum): (&Part, &Value)| {
            let dtype = self.kernel.dtype(part.dst);
            let product = self.products[part.value.0 as usize].filter(|_| part.combine.join() == Binary::Add);
            match product {
                Some((a, b)) => {
                    let (a, b) = (self.beside(a, sum, dtype), self.beside(b, sum, dtype));
                    self.emit.mul_add(a, b, sum, dtype)
                }
                None => {
                    let value = self.value(part.value);
                    let value = self.beside(value, sum, dtype);
                    self.emit.binary(part.combine.join(), sum, value, dtype)
                }
            }
        };
        parts.iter().zip(sums).map(add).collect()
    }

    /// All chains joined into one, in pairs.
    fn join_chains(&mut self, mut sums: Vec<Vec<Value>>, parts: &[Part]) -> Option<Vec<Value>> {
        while sums.len() > 1 {
            let upper = sums.split_off(sums.len().div_ceil(2));
            for (low, high) in sums.iter_mut().zip(upper) {
                for ((low, high), part) in low.iter_mut().zip(high).zip(parts) {
                    *low = self.emit.binary(part.combine.join(), *low, high, self.kernel.dtype(part.dst));
                }
            }
        }
        sums.pop()
    }

    fn finish(&mut self, parts: &[Part], partial: Vec<Vec<Value>>) {
        let joined = self.join_chains(partial, parts);
        for (index, part) in parts.iter().enumerate() {
            let value = match &joined {
                Some(values) => values[index],
                None => self.emit.constant(part.combine.over_nothing(self.kernel.dtype(part.dst))),
            };
            self.vars[part.dst.0 as usize] = Some(value);
            self.products[part.dst.0 as usize] = None;
        }
    }

    /// What a part starts from: a vector where it differs from lane to lane.
    fn identity(&mut self, part: &Part) -> Value {
        let dtype = self.kernel.dtype(part.dst);
        let identity = part.combine.identity(dtype);
        match self.vector {
            Some(vector) if self.mode(part.dst) != Mode::Fixed => {
                self.emit.splat_constant(identity, vector.ty(dtype))
            }
            _ => self.emit.constant(identity),
        }
    }

    /// A loop that carries values; written out if it runs once. `body` tells which addresses to prepare.
    fn counted(
        &mut self,
        walk: Walk,
        body: &[Stmt],
        initial: &[Value],
        iteration: impl FnOnce(&mut Self, &[Value]) -> Vec<Value>,
    ) -> Vec<Value> {
        let Walk { var, from, to, step } = walk;
        if from >= to {
            return initial.to_vec();
        }
        if to - from == step {
            self.loops[var.index()] = Position { counter: None, offset: from };
            return iteration(self, initial);
        }
        self.prepare_addresses(var, body);
        let (block, done) = (self.emit.builder.create_block(), self.emit.builder.create_block());
        let counter = self.emit.builder.append_block_param(block, types::I64);
        let types: Vec<Type> = initial.iter().map(|&value| self.emit.ty(value)).collect();
        let carried: Vec<Value> =
            types.iter().map(|&ty| self.emit.builder.append_block_param(block, ty)).collect();
        let results: Vec<Value> =
            types.iter().map(|&ty| self.emit.builder.append_block_param(done, ty)).collect();
        let start = self.emit.builder.ins().iconst(types::I64, from);
        let arguments: Vec<BlockArg> = [start].iter().chain(initial).map(|&value| value.into()).collect();
        self.emit.builder.ins().jump(block, &arguments);

        self.emit.builder.switch_to_block(block);
        self.addresses.push(FxHashMap::default());
        self.loops[var.index()] = Position { counter: Some(counter), offset: 0 };
        let updated: Vec<BlockArg> = iteration(self, &carried).into_iter().map(BlockArg::from).collect();
        self.addresses.pop();
        let next = self.emit.builder.ins().iadd_imm_s(counter, step);
        let more = self.emit.builder.ins().icmp_imm_s(IntCC::SignedLessThan, next, to);
        let again: Vec<BlockArg> = [next.into()].into_iter().chain(updated.iter().copied()).collect();
        self.emit.builder.ins().brif(more, block, &again, done, &updated);
        self.emit.builder.switch_to_block(done);
        results
    }

    fn value(&mut self, var: Var) -> Value {
        match self.vars[var.0 as usize] {
            Some(value) => value,
            None => self.emit.constant(Scalar::from_f64(0.0, self.kernel.dtype(var))),
        }
    }

    /// The value beside another: in lanes, if the other is.
    fn beside(&mut self, value: Value, other: Value, dtype: DType) -> Value {
        if self.emit.ty(other).is_vector() { self.widened(value, dtype) } else { value }
    }

    /// The operands; all in lanes if one is.
    fn operands(&mut self, vars: &[Var]) -> Vec<Value> {
        let values: Vec<Value> = vars.iter().map(|&var| self.value(var)).collect();
        if !values.iter().any(|&value| self.emit.ty(value).is_vector()) {
            return values;
        }
        vars.iter().zip(values).map(|(&var, value)| self.widened(value, self.kernel.dtype(var))).collect()
    }

    fn assign(&mut self, dst: Var, instr: &Instr) {
        let x = self.operands(&instr.operands());
        self.products[dst.0 as usize] = None;
        let value = match self.mode(dst) {
            Mode::OneByOne => self.assign_one_by_one(dst, instr, &x),
            Mode::Fixed | Mode::Lanes => self.compute(dst, instr, &x),
        };
        self.vars[dst.0 as usize] = Some(value);
    }

    fn compute(&mut self, dst: Var, instr: &Instr, x: &[Value]) -> Value {
        let dtype = self.kernel.dtype(dst);
        let of = |var: Var| self.kernel.dtype(var);
        let vector = self.vector.filter(|_| self.mode(dst) == Mode::Lanes);
        match (instr, vector) {
            (Instr::Load(access), _) => self.load(access, dtype),
            (Instr::LoadWithin(access, ranges), Some(vector)) => {
                self.load_within_in_lanes(vector, access, ranges, dtype)
            }
            (Instr::LoadWithin(access, ranges), None) => self.load_within(access, ranges, dtype),
            (Instr::LoadRow { access, stride, bound, .. }, _) => {
                self.load_row(access, x[0], *stride, *bound, dtype)
            }
            (Instr::Within(ranges), Some(vector)) => self.within_in_lanes(vector, ranges),
            (Instr::Within(ranges), None) => self.within(ranges),
            (Instr::Constant(value), _) => self.emit.constant(*value),
            (Instr::Index(index), Some(vector)) => self.index_in_lanes(vector, index),
            (Instr::Index(index), None) => self.index(index),
            (Instr::Unary(f, _), _) => self.emit.unary(*f, x[0], dtype),
            (Instr::Binary(f, _, bits), Some(_)) if f.is_shift() => {
                let bits = self.value(*bits);
                self.emit.binary(*f, x[0], bits, dtype)
            }
            (Instr::Binary(f, a, b), _) => self.binary(*f, (*a, x[0]), (*b, x[1]), dst, dtype),
            (Instr::Compare(f, a, _), _) => self.emit.compare(*f, x[0], x[1], of(*a)),
            (Instr::Select(..), _) => self.emit.select(x[0], x[1], x[2]),
            (Instr::Cast(a), _) => self.emit.cast(x[0], of(*a), dtype),
        }
    }

    /// Products that are not stored are remembered; a sum or difference with one becomes a multiply-add.
    fn binary(&mut self, f: Binary, a: (Var, Value), b: (Var, Value), dst: Var, dtype: DType) -> Value {
        if dtype.is_float() {
            let product = |nest: &mut Self, var: Var, like: Value| {
                let (x, y) = nest.products[var.0 as usize]?;
                Some((nest.beside(x, like, dtype), nest.beside(y, like, dtype)))
            };
            match f {
                Binary::Mul if !self.stored.contains(&dst) => {
                    self.products[dst.0 as usize] = Some((a.1, b.1));
                }
                Binary::Add => {
                    if let Some((x, y)) = product(self, b.0, a.1) {
                        return self.emit.mul_add(x, y, a.1, dtype);
                    }
                    if let Some((x, y)) = product(self, a.0, b.1) {
                        return self.emit.mul_add(x, y, b.1, dtype);
                    }
                }
                Binary::Sub => {
                    if let Some((x, y)) = product(self, b.0, a.1) {
                        let x = self.emit.unary(Unary::Neg, x, dtype);
                        return self.emit.mul_add(x, y, a.1, dtype);
                    }
                }
                _ => {}
            }
        }
        self.emit.binary(f, a.1, b.1, dtype)
    }

    /// The value of an affine expression.
    fn index(&mut self, index: &Affine) -> Value {
        let mut offset = index.offset();
        let mut sum = None;
        for &(var, coefficient) in index.terms() {
            let position = self.loops[var.index()];
            offset += coefficient * position.offset;
            if let Some(counter) = position.counter {
                let term = self.emit.builder.ins().imul_imm_s(counter, coefficient);
                sum = Some(sum.map_or(term, |sum| self.emit.builder.ins().iadd(sum, term)));
            }
        }
        match sum {
            Some(sum) => self.emit.builder.ins().iadd_imm_s(sum, offset),
            None => self.emit.builder.ins().iconst(types::I64, offset),
        }
    }

    fn load(&mut self, access: &Access, dtype: DType) -> Value {
        let (address, offset) = self.address(access);
        self.load_at(access, address, offset, dtype)
    }

    fn load_row(&mut self, access: &Access, row: Value, stride: i64, bound: i64, dtype: DType) -> Value {
        let (address, offset) = self.row_address(access, row, stride * dtype.size() as i64, bound);
        self.load_at(access, address, offset, dtype)
    }

    /// Holds the row, of so many bytes, inside its bounds, whatever its value.
    fn row_address(&mut self, access: &Access, row: Value, bytes: i64, bound: i64) -> (Value, i32) {
        let zero = self.emit.builder.ins().iconst(types::I64, 0);
        let last = self.emit.builder.ins().iconst(types::I64, bound - 1);
        let row = self.emit.builder.ins().smax(row, zero);
        let row = self.emit.builder.ins().smin(row, last);
        let (address, offset) = self.address(access);
        let bytes = self.scaled(row, bytes);
        (self.emit.builder.ins().iadd(address, bytes), offset)
    }

    /// Whether an expression lies between 0 and a bound: one unsigned comparison.
    fn is_below(&mut self, index: &Affine, bound: i64) -> Value {
        let index = self.index(index);
        self.emit.builder.ins().icmp_imm_s(IntCC::UnsignedLessThan, index, bound)
    }

    /// Whether every expression lies between 0 and its bound.
    fn within(&mut self, ranges: &[(Affine, i64)]) -> Value {
        let mut inside = None;
        for (index, bound) in ranges {
            let test = self.is_below(index, *bound);
            inside = Some(inside.map_or(test, |inside| self.emit.builder.ins().band(inside, test)));
        }
        inside.unwrap_or_else(|| self.emit.constant(Scalar::Bool(true)))
    }

    /// Whether every expression lies between 0 and its bound and the buffer has the element.
    fn exists_within(&mut self, access: &Access, ranges: &[(Affine, i64)]) -> Value {
        let elements = self.program.buffers[access.buffer.index()].elements as i64;
        let (wanted, exists) = (self.within(ranges), self.is_below(&access.index, elements));
        self.emit.builder.ins().band(wanted, exists)
    }

    /// Reads the buffer's first element instead where the element is not inside, and makes it zero.
    fn load_within(&mut self, access: &Access, ranges: &[(Affine, i64)], dtype: DType) -> Value {
        let buffer = &self.program.buffers[access.buffer.index()];
        let (base, offset) = self.bases.address(buffer.place);
        let inside = self.exists_within(access, ranges);
        let (index, start) = (self.index(&access.index), self.emit.builder.ins().iconst(types::I64, 0));
        let index = self.emit.builder.ins().select(inside, index, start);
        let bytes = self.scaled(index, buffer.dtype.size() as i64);
        let address = self.emit.builder.ins().iadd(base, bytes);
        let flags = MemFlagsData::new().with_notrap();
        let value = self.emit.builder.ins().load(clif_type(dtype), flags, address, offset);
        let zero = self.emit.constant(Scalar::from_f64(0.0, dtype));
        self.emit.select(inside, value, zero)
    }

    fn store(&mut self, access: &Access, value: Var) {
        let dtype = self.kernel.dtype(value);
        let value = self.value(value);
        let value = self.widened(value, dtype);
        match self.vector {
            Some(vector) if access.index.coefficient(vector.var) != 1 => {
                self.store_one_by_one(vector, access, value, dtype);
            }
            _ => self.store_value(access, value, dtype),
        }
    }

    fn store_value(&mut self, access: &Access, value: Value, dtype: DType) {
        let (address, offset) = self.address(access);
        self.emit.store(value, dtype, address, offset);
    }

    /// A call of the library's kernel.
    fn contract(&mut self, contraction: &Contraction) {
        let Contraction { lhs, rhs, out, dtype, .. } = contraction;
        let Library { contract_f32, contract_f64, .. } = self.emit.library;
        let (prepare, function) = match dtype {
            DType::F32 => (contract_f32.prepare, contract_f32.call as *const u8),
            _ => (contract_f64.prepare, contract_f64.call as *const u8),
        };
        let prepared = prepare(contraction.tables(self.kernel));
        let address = Arc::as_ptr(&prepared).cast::<u8>();
        let prepared_address = self.emit.builder.ins().iconst(types::I64, address as i64);
        self.emit.contractions.push(prepared);
        let own: Vec<LoopVar> = contraction.vars().collect();
        let mut arguments = vec![prepared_address];
        for access in [lhs, rhs, out] {
            let index = own.iter().fold(access.index.clone(), |index, &var| index.without(var));
            let (address, offset) = self.address(&Access { buffer: access.buffer, index });
            arguments.push(self.emit.builder.ins().iadd_imm_s(address, i64::from(offset)));
        }
        arguments.push(match contraction.scale {
            Some(scale) => self.value(scale),
            None => self.emit.constant(Scalar::from_f64(1.0, *dtype)),
        });
        self.emit.call_library(function, &arguments);
    }

    /// An address and a constant offset in bytes. Terms of outer loops come first, so that their sum is
    /// shared.
    fn address(&mut self, access: &Access) -> (Value, i32) {
        let buffer = &self.program.buffers[access.buffer.index()];
        let size = buffer.dtype.size() as i64;
        let (mut address, base) = self.bases.address(buffer.place);
        let mut offset = access.index.offset();
        let mut moving: Moving = (access.buffer, Vec::new());
        for &(var, coefficient) in access.index.terms() {
            let position = self.loops[var.index()];
            offset += coefficient * position.offset;
            let Some(counter) = position.counter else { continue };
            moving.1.push((var, coefficient));
            address = match self.addresses.iter().rev().find_map(|known| known.get(&moving)) {
                Some(&known) => known,
                None => {
                    let term = self.scaled(counter, coefficient * size);
                    let moved = self.emit.builder.ins().iadd(address, term);
                    if let Some(known) = self.addresses.last_mut() {
                        known.insert(moving.clone(), moved);
                    }
                    moved
                }
            };
        }
        (address, base + (offset * size) as i32)
    }

    /// Powers of two are shifts, which addressing modes absorb.
    fn scaled(&mut self, counter: Value, factor: i64) -> Value {
        if factor > 0 && factor & (factor - 1) == 0 {
            self.emit.builder.ins().ishl_imm_u(counter, i64::from(factor.trailing_zeros()))
        } else {
            self.emit.builder.ins().imul_imm_s(counter, factor)
        }
    }

    /// Computes, before a loop, the parts of its addresses that the loop does not move.
    fn prepare_addresses(&mut self, var: LoopVar, body: &[Stmt]) {
        for stmt in body {
            match stmt {
                Stmt::Let { instr: Instr::Load(access) | Instr::LoadRow { access, .. }, .. }
                | Stmt::Store { access, .. }
                | Stmt::StoreRow { access, .. } => {
                    let terms = access.index.terms().iter();
                    let fixed = terms
                        .take_while(|term| term.0 < var)
                        .fold(Affine::default(), |sum, &(var, c)| sum.plus(&Affine::var(var).scaled(c)));
                    self.address(&Access { buffer: access.buffer, index: fixed });
                }
                Stmt::Let { .. } | Stmt::Contract(_) | Stmt::Sort { .. } => {}
                Stmt::For { body, .. } | Stmt::Reduce { body, .. } | Stmt::Recur { body, .. } => {
                    self.prepare_addresses(var, body)
                }
            }
        }
    }
}
