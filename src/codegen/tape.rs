//! Tiny programs as straight-line code: every loop written out, every element of every tensor a value.
//! What does not change from step to step is told apart, to be computed once before the loop over steps.

use rustc_hash::{FxHashMap, FxHashSet};

use super::cost::CHAINS;
use crate::loops::{
    Access, Affine, Binary, Buffer, BufferId, Combine, Instr, Kernel, Place, Program, Stmt, Task, Unary, Var,
};
use crate::types::{DType, Scalar};

/// A value of the tape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Slot(pub u32);

/// An element of a buffer.
pub(super) type Element = (BufferId, i64);

/// An instruction of the tape: a scalar instruction over slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Op {
    /// What the element holds when the step begins.
    Load(Element),
    Constant(Scalar),
    Unary(Unary, Slot),
    Binary(Binary, Slot, Slot),
    Compare(crate::loops::Compare, Slot, Slot),
    Select(Slot, Slot, Slot),
    Cast(Slot),
    MulAdd(Slot, Slot, Slot),
}

impl Op {
    pub fn operands(&self) -> Vec<Slot> {
        match *self {
            Op::Load(_) | Op::Constant(_) => vec![],
            Op::Unary(_, a) | Op::Cast(a) => vec![a],
            Op::Binary(_, a, b) | Op::Compare(_, a, b) => vec![a, b],
            Op::Select(a, b, c) | Op::MulAdd(a, b, c) => vec![a, b, c],
        }
    }
}

/// Straight-line code for one step.
pub(super) struct Tape {
    pub ops: Vec<(Op, DType)>,
    /// Elements of state and outputs, with their values at the end of the step; ascending.
    pub stores: Vec<(Element, Slot)>,
    /// For each op, whether it is needed and whether its value differs from step to step.
    pub needed: Vec<bool>,
    pub varies: Vec<bool>,
}

impl Tape {
    /// Writes a program out.
    pub fn of(program: &Program) -> Tape {
        let mut recorder = Recorder {
            buffers: &program.buffers,
            ops: Vec::new(),
            varies: Vec::new(),
            stored: program.kernels().into_iter().flat_map(|kernel| kernel.reads_and_writes().1).collect(),
            known: FxHashMap::default(),
            memory: FxHashMap::default(),
        };
        recorder.tasks(&program.tasks, &mut vec![]);
        let survives = |element: &Element| {
            matches!(program.buffers[element.0.index()].place, Place::State { .. } | Place::Output { .. })
        };
        let mut stores: Vec<(Element, Slot)> =
            recorder.memory.into_iter().filter(|(element, _)| survives(element)).collect();
        stores.sort_unstable();
        let mut tape = Tape {
            needed: vec![false; recorder.ops.len()],
            ops: recorder.ops,
            stores,
            varies: recorder.varies,
        };
        tape.mark_needed();
        tape
    }

    /// What is stored, in two parts: the elements of state that a loop over steps carries in registers, if they are no more
    /// than `most`, and the others.
    pub fn carried(&self, program: &Program, most: usize) -> [Vec<(Element, Slot)>; 2] {
        let is_state = |(element, _): &(Element, Slot)| {
            matches!(program.buffers[element.0.index()].place, Place::State { .. })
        };
        let (carried, outside): (Vec<_>, Vec<_>) = self.stores.iter().copied().partition(is_state);
        match carried.len() <= most {
            true => [carried, outside],
            false => [vec![], self.stores.clone()],
        }
    }

    fn mark_needed(&mut self) {
        let mut stack: Vec<Slot> = self.stores.iter().map(|store| store.1).collect();
        while let Some(slot) = stack.pop() {
            if !std::mem::replace(&mut self.needed[slot.0 as usize], true) {
                stack.extend(self.ops[slot.0 as usize].0.operands());
            }
        }
    }
}

/// Runs kernels symbolically.
struct Recorder<'p> {
    buffers: &'p [Buffer],
    ops: Vec<(Op, DType)>,
    /// For each op, whether its value differs from step to step.
    varies: Vec<bool>,
    stored: FxHashSet<BufferId>,
    /// Value numbering.
    known: FxHashMap<(Op, DType), Slot>,
    /// What has been stored so far.
    memory: FxHashMap<Element, Slot>,
}

/// One kernel being run: the current values of its loop variables and scalars.
struct Frame<'p> {
    kernel: &'p Kernel,
    loops: Vec<i64>,
    vars: Vec<Slot>,
}

impl Frame<'_> {
    fn slot(&self, var: Var) -> Slot {
        self.vars[var.0 as usize]
    }

    fn is_within(&self, ranges: &[(Affine, i64)]) -> bool {
        let value = |index: &Affine| index.evaluate(|var| self.loops[var.index()]);
        ranges.iter().all(|(index, bound)| (0..*bound).contains(&value(index)))
    }

    fn element(&self, access: &Access) -> Element {
        (access.buffer, access.index.evaluate(|var| self.loops[var.index()]))
    }
}

impl Recorder<'_> {
    /// Runs tasks in a given turn of each repeat around them.
    fn tasks(&mut self, tasks: &[Task], turns: &mut Vec<i64>) {
        for task in tasks {
            match task {
                Task::Run(kernel) => self.kernel(kernel, turns),
                Task::Repeat(repeat) => {
                    for turn in 0..repeat.turns {
                        turns.push(turn as i64);
                        self.tasks(&repeat.tasks, turns);
                        turns.pop();
                    }
                }
            }
        }
    }

    fn kernel(&mut self, kernel: &Kernel, turns: &[i64]) {
        let mut loops = vec![0; kernel.extents.len()];
        loops[..turns.len()].copy_from_slice(turns);
        let mut frame = Frame { kernel, loops, vars: vec![Slot(0); kernel.dtypes.len()] };
        self.body(&kernel.body, &mut frame);
    }

    fn body(&mut self, body: &[Stmt], frame: &mut Frame<'_>) {
        for stmt in body {
            match stmt {
                Stmt::Let { dst, instr } => frame.vars[dst.0 as usize] = self.instr(instr, *dst, frame),
                Stmt::Store { access, value } => {
                    self.memory.insert(frame.element(access), frame.slot(*value));
                }
                // Too large to be written out.
                Stmt::Contract(_) => {}
                // No program that is written out has rows picked at run time.
                Stmt::StoreRow { .. } | Stmt::Sort { .. } => {}
                Stmt::For { var, body } => {
                    for i in 0..frame.kernel.extent(*var) {
                        frame.loops[var.index()] = i as i64;
                        self.body(body, frame);
                    }
                }
                Stmt::Recur { var, carry, initial, body, next } => {
                    let mut value = self.op(Op::Constant(*initial), initial.dtype());
                    for i in 0..frame.kernel.extent(*var) {
                        frame.loops[var.index()] = i as i64;
                        frame.vars[carry.0 as usize] = value;
                        self.body(body, frame);
                        value = frame.slot(*next);
                    }
                }
                Stmt::Reduce { var, body, parts } => {
                    let mut terms = vec![Vec::new(); parts.len()];
                    for i in 0..frame.kernel.extent(*var) {
                        frame.loops[var.index()] = i as i64;
                        self.body(body, frame);
                        parts
                            .iter()
                            .zip(&mut terms)
                            .for_each(|(part, terms)| terms.push(frame.slot(part.value)));
                    }
                    for (part, terms) in parts.iter().zip(terms) {
                        let dtype = frame.kernel.dtype(part.dst);
                        frame.vars[part.dst.0 as usize] = self.combine(part.combine, dtype, &terms);
                    }
                }
            }
        }
    }

    fn exists(&self, (buffer, index): Element) -> bool {
        (0..self.buffers[buffer.index()].elements as i64).contains(&index)
    }

    fn instr(&mut self, instr: &Instr, dst: Var, frame: &Frame<'_>) -> Slot {
        let slot = |var: Var| frame.slot(var);
        let dtype = frame.kernel.dtype(dst);
        let op = match instr {
            Instr::Load(access) => {
                let element = frame.element(access);
                match self.memory.get(&element) {
                    Some(&stored) => return stored,
                    None => Op::Load(element),
                }
            }
            // The verifier does not know what guards hold: the element is to exist, too.
            Instr::LoadWithin(access, ranges)
                if frame.is_within(ranges) && self.exists(frame.element(access)) =>
            {
                return self.instr(&Instr::Load(access.clone()), dst, frame);
            }
            // No program that is written out has rows picked at run time.
            Instr::LoadRow { .. } | Instr::LoadWithin(..) => Op::Constant(Scalar::from_f64(0.0, dtype)),
            Instr::Within(ranges) => Op::Constant(Scalar::Bool(frame.is_within(ranges))),
            Instr::Index(index) => Op::Constant(Scalar::I64(index.evaluate(|var| frame.loops[var.index()]))),
            Instr::Constant(value) => Op::Constant(*value),
            Instr::Unary(f, a) => Op::Unary(*f, slot(*a)),
            Instr::Binary(f, a, b) => return self.binary(*f, slot(*a), slot(*b), dtype),
            Instr::Compare(f, a, b) => Op::Compare(*f, slot(*a), slot(*b)),
            Instr::Select(c, a, b) => Op::Select(slot(*c), slot(*a), slot(*b)),
            Instr::Cast(a) => match self.ops[slot(*a).0 as usize].0 {
                Op::Constant(Scalar::I64(index)) => Op::Constant(Scalar::from_i64(index, dtype)),
                _ => Op::Cast(slot(*a)),
            },
        };
        self.op(op, dtype)
    }

    fn op(&mut self, op: Op, dtype: DType) -> Slot {
        let next = Slot(self.ops.len() as u32);
        let slot = *self.known.entry((op, dtype)).or_insert(next);
        if slot == next {
            self.varies.push(match op {
                Op::Load((buffer, _)) => self.stored.contains(&buffer),
                op => op.operands().into_iter().any(|slot| self.varies(slot)),
            });
            self.ops.push((op, dtype));
        }
        slot
    }

    fn varies(&self, slot: Slot) -> bool {
        self.varies[slot.0 as usize]
    }

    /// Sums of a product become one multiply-add: `a·b + c`, `c - a·b`, `a·b - c`; and factors that stay the
    /// same from step to step come together: `s·(e·x)` becomes `(s·x)·e`.
    fn binary(&mut self, f: Binary, a: Slot, b: Slot, dtype: DType) -> Slot {
        if dtype.is_float() {
            match (f, self.product(a), self.product(b)) {
                (Binary::Mul, _, Some((x, y))) if !self.varies(a) && !self.varies(x) && self.varies(y) => {
                    let fixed = self.op(Op::Binary(Binary::Mul, a, x), dtype);
                    return self.op(Op::Binary(Binary::Mul, fixed, y), dtype);
                }
                (Binary::Add, _, Some((x, y))) => return self.op(Op::MulAdd(x, y, a), dtype),
                (Binary::Add, Some((x, y)), None) => return self.op(Op::MulAdd(x, y, b), dtype),
                (Binary::Sub, _, Some((x, y))) => {
                    let x = self.op(Op::Unary(Unary::Neg, x), dtype);
                    return self.op(Op::MulAdd(x, y, a), dtype);
                }
                (Binary::Sub, Some((x, y)), None) => {
                    let c = self.op(Op::Unary(Unary::Neg, b), dtype);
                    return self.op(Op::MulAdd(x, y, c), dtype);
                }
                _ => {}
            }
        }
        self.op(Op::Binary(f, a, b), dtype)
    }

    /// The factors of a product, one that stays the same first.
    fn product(&self, slot: Slot) -> Option<(Slot, Slot)> {
        match self.ops[slot.0 as usize].0 {
            Op::Binary(Binary::Mul, x, y) if self.varies(x) && !self.varies(y) => Some((y, x)),
            Op::Binary(Binary::Mul, x, y) => Some((x, y)),
            _ => None,
        }
    }

    /// A few chains, then their results in pairs: short latency, and products fused into the chains.
    fn combine(&mut self, combine: Combine, dtype: DType, terms: &[Slot]) -> Slot {
        if terms.is_empty() {
            return self.op(Op::Constant(combine.over_nothing(dtype)), dtype);
        }
        let chains = terms.len().div_ceil(2).min(CHAINS);
        let mut partial = Vec::with_capacity(chains);
        for run in terms.chunks(terms.len().div_ceil(chains)) {
            let rest = run[1..].iter();
            partial.push(rest.fold(run[0], |sum, &term| self.binary(combine.join(), sum, term, dtype)));
        }
        while partial.len() > 1 {
            partial = partial
                .chunks(2)
                .map(|pair| match pair {
                    [a, b] => self.op(Op::Binary(combine.join(), *a, *b), dtype),
                    rest => rest[0],
                })
                .collect();
        }
        partial[0]
    }
}
