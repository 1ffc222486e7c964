//! Loop nests: counted loops, lanes along one of them at a time, masks for what does not fill a vector, several
//! partial results in reductions.

use std::collections::BTreeSet;

use rustc_hash::FxHashSet;

use super::blocks::Blocks;
use super::lanes::{Held, Lanes};
use super::machine::{Address, Class, Code, Inst, Operand, Reg};
use super::plan::Loops;
use super::turns::Sums;
use crate::loops::{
    Access, Affine, Binary, Instr, Kernel, LoopVar, Part, Program, Stmt, Var, reads_and_writes, stored,
};
use crate::types::DType;

/// Writes one kernel.
pub struct Nest<'n> {
    pub program: &'n Program,
    pub kernel: &'n Kernel,
    pub lanes: Lanes,
    /// The loops to run on vectors.
    pub vectors: FxHashSet<LoopVar>,
    vars: Vec<Option<Held>>,
    /// The factors of values that are products, to be fused into sums.
    pub(super) products: Vec<Option<(Held, Held)>>,
    /// The values that lie in memory too: others load them, and are to see the same bits.
    stored: BTreeSet<Var>,
    pub loops: Vec<Position>,
    /// The loop whose consecutive values are the lanes.
    pub vector: Option<LoopVar>,
    pub rest: Rest,
    /// How many turns of the loop that threads share are counted as one.
    pub group: usize,
    /// Loops on vectors whose bodies hold blocks to be transposed, and the blocks of the turn that is being written.
    pub crossed: FxHashSet<LoopVar>,
    pub(super) blocks: Blocks,
    /// What was asked for already.
    pub(super) fetched: FxHashSet<Address>,
}

/// The lanes that exist.
#[derive(Clone, Copy)]
pub enum Rest {
    /// All of the vector.
    Full,
    /// So many first ones.
    First(usize),
    /// Those of a mask that is computed in each turn. Nothing is two elements apart then.
    Masked(Reg),
}

impl Rest {
    pub fn is_full(self) -> bool {
        matches!(self, Rest::Full)
    }

    /// How many there are, of so many in a vector, where the code depends on it.
    pub fn count(self, lanes: usize) -> usize {
        match self {
            Rest::First(count) => count,
            Rest::Full | Rest::Masked(_) => lanes,
        }
    }
}

/// The current value of a loop variable: an offset, and a counter times what one count stands for, if the loop is not
/// written out.
#[derive(Clone, Copy, Default)]
pub struct Position {
    pub counter: Option<(Reg, i64)>,
    pub offset: i64,
}

impl<'n> Nest<'n> {
    pub fn new(
        program: &'n Program,
        kernel: &'n Kernel,
        lanes: Lanes,
        Loops { vectors, crossed, .. }: Loops,
    ) -> Nest<'n> {
        let mut nest = Nest {
            program,
            kernel,
            lanes,
            vectors,
            vars: vec![None; kernel.dtypes.len()],
            products: vec![None; kernel.dtypes.len()],
            stored: stored(&kernel.body),
            loops: vec![Position::default(); kernel.extents.len()],
            vector: None,
            rest: Rest::Full,
            group: 1,
            crossed,
            blocks: Blocks::default(),
            fetched: FxHashSet::default(),
        };
        for turn in 0..kernel.repeats {
            nest.loops[turn].counter = Some((nest.lanes.build.argument(4 + turn), 1));
        }
        nest
    }

    pub fn body(&mut self, body: &[Stmt]) {
        for (at, stmt) in body.iter().enumerate() {
            if self.lanes.is_unsupported {
                return;
            }
            match stmt {
                Stmt::Let { dst, instr } => self.assign(*dst, instr),
                Stmt::Store { access, value } => match self.partner(body, at, access) {
                    Some((other, _, _)) if at < other => {} // stored together, there
                    Some((_, neighbour, offset)) => {
                        let (own, other) = (self.value(*value), self.value(neighbour));
                        let (first, second) = if offset > 0 { (own, other) } else { (other, own) };
                        self.store_pair(access, offset.min(0), first, second);
                    }
                    None => {
                        let held = self.value(*value);
                        self.store(access, held, self.kernel.dtype(*value));
                    }
                },
                Stmt::For { var, body } => self.run_for(*var, body),
                Stmt::Reduce { var, body, parts } => self.run_reduce(*var, body, parts),
                Stmt::StoreRow { access, row, stride, bound, value, adds } => {
                    let (row, value) = (self.value(*row), (self.value(*value), self.kernel.dtype(*value)));
                    self.store_row(access, (row, [*stride, *bound]), value, *adds);
                }
                Stmt::Contract(_) | Stmt::Sort { .. } | Stmt::Recur { .. } => {
                    self.lanes.unsupported();
                }
            }
        }
    }

    /// Another store that fills the gaps of one to every second element, its value, and how far its elements are: 1 or −1.
    fn partner(&self, body: &[Stmt], at: usize, access: &Access) -> Option<(usize, Var, i64)> {
        let is_float = |value: Var| self.kernel.dtype(value).is_float();
        if self.step(access) != 2 {
            return None;
        }
        body.iter().enumerate().find_map(|(other, stmt)| {
            let Stmt::Store { access: beside, value } = stmt else { return None };
            let offset = beside.index.offset() - access.index.offset();
            let moved = access.index.plus(&Affine::constant(offset));
            let is_beside = offset.abs() == 1 && beside.buffer == access.buffer && beside.index == moved;
            (is_beside && is_float(*value)).then_some(())?;
            let (reads, writes) = reads_and_writes(&body[at.min(other) + 1..at.max(other)]);
            let is_free = !reads.contains(&access.buffer) && !writes.contains(&access.buffer);
            is_free.then_some((other, *value, offset))
        })
    }

    pub(super) fn value(&self, var: Var) -> Held {
        self.vars[var.0 as usize].unwrap_or(Held::Constant(0))
    }

    fn run_for(&mut self, var: LoopVar, body: &[Stmt]) {
        if self.kernel.is_parallel && self.lanes.build.depth() == 0 {
            return self.run_share(var, body);
        }
        self.along(var, |nest| nest.run_turns(var, body, &Sums::default()));
    }

    /// With lanes along the loop, if it is one for vectors.
    fn along(&mut self, var: LoopVar, run: impl FnOnce(&mut Self)) {
        let around = self.vector;
        if self.vectors.contains(&var) {
            self.vector = Some(var);
        }
        run(self);
        self.vector = around;
    }

    /// Several chains, combined at the end.
    fn run_reduce(&mut self, var: LoopVar, body: &[Stmt], parts: &[Part]) {
        if self.kernel.extent(var) == 0 {
            return self.reduce_nothing(parts);
        }
        let chains = self.chains(body, parts.len(), self.whole_turns(var));
        let chain = |nest: &mut Self| parts.iter().map(|part| nest.identity(part)).collect();
        let sums = Sums { parts, chains: (0..chains).map(|_| chain(self)).collect() };
        self.along(var, |nest| nest.run_turns(var, body, &sums));
        self.finish(parts, sums.chains, self.vectors.contains(&var));
    }

    fn reduce_nothing(&mut self, parts: &[Part]) {
        for part in parts {
            let nothing = part.combine.over_nothing(self.kernel.dtype(part.dst));
            self.vars[part.dst.0 as usize] = Some(Held::Constant(nothing.bits()));
            self.products[part.dst.0 as usize] = None;
        }
    }

    fn identity(&mut self, part: &Part) -> Reg {
        let identity = Held::Constant(part.combine.identity(self.kernel.dtype(part.dst)).bits());
        let identity = self.lanes.register(identity);
        let sum = self.lanes.build.variable(Class::Vector);
        self.lanes.build.here(Inst::load(sum, Operand::Reg(identity)));
        self.lanes.begun.insert(sum, self.lanes.build.loops());
        sum
    }

    fn finish(&mut self, parts: &[Part], mut sums: Vec<Vec<Reg>>, is_own: bool) {
        while sums.len() > 1 {
            let upper = sums.split_off(sums.len().div_ceil(2));
            for (low, high) in sums.iter_mut().zip(upper) {
                for ((low, high), part) in low.iter_mut().zip(high).zip(parts) {
                    *low = self.join(part, *low, high);
                }
            }
        }
        for (part, &sum) in parts.iter().zip(&sums[0]) {
            let dtype = self.kernel.dtype(part.dst);
            let result = match is_own {
                true => Held::Lanes(self.lanes.combine_lanes(part.combine, sum, dtype)),
                false => Held::Lanes(sum),
            };
            self.vars[part.dst.0 as usize] = Some(result);
            self.products[part.dst.0 as usize] = None;
        }
    }

    fn join(&mut self, part: &Part, a: Reg, b: Reg) -> Reg {
        let dtype = self.kernel.dtype(part.dst);
        let joined = self.lanes.binary(part.combine.join(), Held::Lanes(a), Held::Lanes(b), dtype);
        self.lanes.register(joined)
    }

    fn assign(&mut self, dst: Var, instr: &Instr) {
        self.products[dst.0 as usize] = None;
        let held = self.compute(dst, instr);
        self.vars[dst.0 as usize] = Some(held);
    }

    fn compute(&mut self, dst: Var, instr: &Instr) -> Held {
        let dtype = self.kernel.dtype(dst);
        match instr {
            Instr::Constant(value) => Held::Constant(value.bits()),
            Instr::Load(access) => self.load(access, None, dtype),
            Instr::LoadWithin(access, ranges) => {
                // The verifier does not know what guards hold: the element is to exist, too.
                let elements = self.program.buffers[access.buffer.index()].elements as i64;
                let exists = (access.index.clone(), elements);
                let inside = self.within(&[&ranges[..], &[exists]].concat());
                self.load(access, Some(inside), dtype)
            }
            Instr::LoadRow { access, row, stride, bound } => {
                let row = self.value(*row);
                self.load_row(access, row, *stride, *bound, dtype)
            }
            Instr::Within(ranges) => Held::Mask(self.within(ranges)),
            Instr::Index(index) => self.index(index),
            Instr::Unary(f, a) => {
                let a = self.value(*a);
                self.lanes.unary(*f, a, dtype)
            }
            Instr::Binary(f, a, b) => self.binary(*f, *a, *b, dst, dtype),
            Instr::Compare(f, a, b) => {
                let (x, y) = (self.value(*a), self.value(*b));
                self.lanes.compare(*f, x, y, self.kernel.dtype(*a))
            }
            Instr::Select(a, b, c) => {
                let [a, b, c] = [a, b, c].map(|&var| self.value(var));
                self.lanes.choose(a, [b, c], dtype, self.vector.is_none())
            }
            Instr::Cast(a) => {
                let x = self.value(*a);
                self.lanes.cast(x, self.kernel.dtype(*a), dtype, self.vector.is_none())
            }
        }
    }

    /// Products that are not stored are remembered; a sum or difference with one becomes a multiply-add.
    fn binary(&mut self, f: Binary, a: Var, b: Var, dst: Var, dtype: DType) -> Held {
        let (x, y) = (self.value(a), self.value(b));
        if dtype.is_float() {
            let [of_a, of_b] = [a, b].map(|var| self.products[var.0 as usize]);
            match (f, of_a, of_b) {
                (Binary::Mul, _, _) if !self.stored.contains(&dst) => {
                    self.products[dst.0 as usize] = Some((x, y));
                }
                (Binary::Add, _, Some((p, q))) => return self.lanes.mul_add(p, q, x, false),
                (Binary::Add, Some((p, q)), None) => return self.lanes.mul_add(p, q, y, false),
                (Binary::Sub, _, Some((p, q))) => return self.lanes.mul_add(p, q, x, true),
                _ => {}
            }
        }
        self.lanes.binary(f, x, y, dtype)
    }

    /// The terms of an expression that have a counter, and the number that the others make.
    pub fn moving(&self, index: &Affine) -> (Vec<(Reg, i64)>, i64) {
        let mut offset = index.offset();
        let mut terms = Vec::new();
        for &(var, coefficient) in index.terms() {
            let position = self.loops[var.index()];
            offset += coefficient * position.offset;
            terms.extend(position.counter.map(|(counter, count)| (counter, count * coefficient)));
        }
        terms.sort_by_key(|&(counter, _)| self.lanes.build.home(counter));
        (terms, offset)
    }

    /// `reg · factor`.
    pub fn scaled(&mut self, reg: Reg, factor: i64) -> Reg {
        const MULTIPLY: Code = Code::plain("imul", 0x69);
        if factor == 1 {
            return reg;
        }
        self.lanes
            .build
            .pure(Class::General, |d| Inst::new(MULTIPLY, d, None, Operand::Reg(reg)).with(factor as i32))
    }
}
