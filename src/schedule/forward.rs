//! Inside kernels: equal computations are made once, guards that always or never hold are decided, elements just stored
//! are not loaded again, and what nothing needs goes, up to whole scratch buffers.

use std::collections::BTreeSet;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::loops::{
    Access, Binary, BufferId, Combine, Instr, Kernel, LoopVar, Place, Program, Stmt, Task, Var,
    reads_and_writes,
};
use crate::types::{DType, Scalar};

/// Cleans every kernel and drops the scratch buffers that nothing reads any more.
pub(super) fn forward(program: &mut Program) {
    let elements: Vec<usize> = program.buffers.iter().map(|buffer| buffer.elements).collect();
    program.each_kernel_mut(|kernel| {
        let mut body = std::mem::take(&mut kernel.body);
        Numbering::new(kernel, &elements).body(&mut body);
        kernel.body = without_invariants(kernel, body);
    });
    while drop_unread(program) {}
    renumber(program);
}

/// Local value numbering.
struct Numbering<'k> {
    kernel: &'k Kernel,
    /// Of each buffer.
    elements: &'k [usize],
    /// The value that stands for an equal one.
    same: FxHashMap<Var, Var>,
    /// The values of instructions; of loads too, until their buffer is stored to.
    known: FxHashMap<(Instr, DType), Var>,
    constants: FxHashMap<Var, Scalar>,
    /// What is never −0: constants that are not, and sums with a term that is not.
    unsigned: FxHashSet<Var>,
}

impl<'k> Numbering<'k> {
    fn new(kernel: &'k Kernel, elements: &'k [usize]) -> Numbering<'k> {
        let (same, known) = Default::default();
        let (constants, unsigned) = Default::default();
        Numbering { kernel, elements, same, known, constants, unsigned }
    }

    fn body(&mut self, body: &mut Vec<Stmt>) {
        body.retain_mut(|stmt| self.keeps(stmt));
    }

    /// Rewrites the statement; false if an earlier one does the same.
    fn keeps(&mut self, stmt: &mut Stmt) -> bool {
        let same = |var: &Var, same: &FxHashMap<Var, Var>| same.get(var).copied().unwrap_or(*var);
        match stmt {
            Stmt::Let { dst, instr } => {
                *instr = instr.clone().map_operands(|var| same(&var, &self.same));
                let dtype = self.kernel.dtype(*dst);
                self.decide(instr, dtype);
                let chosen = self.chosen(instr);
                self.learn(*dst, instr);
                let known =
                    chosen.unwrap_or_else(|| *self.known.entry((instr.clone(), dtype)).or_insert(*dst));
                if known != *dst {
                    self.same.insert(*dst, known);
                }
                return known == *dst;
            }
            Stmt::Store { access, value } => {
                *value = same(value, &self.same);
                self.forget_element(access);
                let dtype = self.kernel.dtype(*value);
                self.known.insert((Instr::Load(access.clone()), dtype), *value);
            }
            Stmt::StoreRow { access, row, value, .. } => {
                (*row, *value) = (same(row, &self.same), same(value, &self.same));
                self.forget(&BTreeSet::from([access.buffer]));
            }
            Stmt::For { body, .. } | Stmt::Reduce { body, .. } | Stmt::Recur { body, .. } => {
                // What another iteration stores is not known, neither inside nor behind the loop.
                self.forget(&reads_and_writes(body).1);
                let outside = self.known.clone();
                self.body(body);
                self.known = outside;
                match stmt {
                    Stmt::Reduce { parts, .. } => {
                        parts.iter_mut().for_each(|part| part.value = same(&part.value, &self.same));
                    }
                    Stmt::Recur { next, .. } => *next = same(next, &self.same),
                    _ => {}
                }
            }
            Stmt::Sort { positions, .. } => self.forget(&BTreeSet::from([positions.buffer])),
            Stmt::Contract(contraction) => {
                contraction.scale = contraction.scale.map(|scale| same(&scale, &self.same));
                self.forget(&BTreeSet::from([contraction.out.buffer]));
            }
        }
        true
    }

    /// Leaves out the conditions that always hold, and all that is done only where one never does.
    fn decide(&self, instr: &mut Instr, dtype: DType) {
        let (Instr::LoadWithin(_, ranges) | Instr::Within(ranges)) = instr else { return };
        let is_never = ranges.iter().any(|range| self.kernel.never_within(range));
        ranges.retain(|range| !self.kernel.always_within(range));
        let is_always = ranges.is_empty();
        match instr {
            Instr::Within(_) if is_never || is_always => {
                *instr = Instr::Constant(Scalar::Bool(!is_never));
            }
            Instr::LoadWithin(..) if is_never => *instr = Instr::Constant(Scalar::from_f64(0.0, dtype)),
            Instr::LoadWithin(access, _) if is_always => {
                let element = (access.index.clone(), self.elements[access.buffer.index()] as i64);
                if self.kernel.always_within(&element) {
                    *instr = Instr::Load(access.clone());
                }
            }
            _ => {}
        }
    }

    /// The value that a choice always takes, or that a sum with a zero is.
    fn chosen(&self, instr: &Instr) -> Option<Var> {
        match instr {
            Instr::Select(condition, yes, no) => match self.constants.get(condition)? {
                Scalar::Bool(true) => Some(*yes),
                _ => Some(*no),
            },
            Instr::Binary(Binary::Add, a, b) if self.adds_nothing(*b, *a) => Some(*a),
            Instr::Binary(Binary::Add, a, b) if self.adds_nothing(*a, *b) => Some(*b),
            _ => None,
        }
    }

    /// Whether a term is −0, or 0 beside one that is not −0.
    fn adds_nothing(&self, term: Var, other: Var) -> bool {
        let dtype = self.kernel.dtype(term);
        self.constants.get(&term).is_some_and(|constant| {
            *constant == Combine::Sum.identity(dtype)
                || *constant == Combine::Sum.over_nothing(dtype) && self.unsigned.contains(&other)
        })
    }

    fn learn(&mut self, dst: Var, instr: &Instr) {
        let is_unsigned = match instr {
            Instr::Constant(constant) => {
                self.constants.insert(dst, *constant);
                *constant != Combine::Sum.identity(self.kernel.dtype(dst))
            }
            Instr::Binary(Binary::Add, a, b) => self.unsigned.contains(a) || self.unsigned.contains(b),
            _ => false,
        };
        if is_unsigned {
            self.unsigned.insert(dst);
        }
    }

    /// Forgets what was loaded from where this may be.
    fn forget_element(&mut self, element: &Access) {
        self.known.retain(|(instr, _), _| match instr {
            Instr::Load(access) | Instr::LoadWithin(access, _) if access.buffer == element.buffer => {
                access.index.is_beside(&element.index)
            }
            _ => instr.read() != Some(element.buffer),
        });
    }

    fn forget(&mut self, buffers: &BTreeSet<BufferId>) {
        if !buffers.is_empty() {
            self.known.retain(|(instr, _), _| instr.read().is_none_or(|buffer| !buffers.contains(&buffer)));
        }
    }
}

/// The statements with what a loop computes alike in every iteration before it.
fn without_invariants(kernel: &Kernel, body: Vec<Stmt>) -> Vec<Stmt> {
    let mut done = Vec::with_capacity(body.len());
    for mut stmt in body {
        let carry = if let Stmt::Recur { carry, .. } = &stmt { Some(*carry) } else { None };
        if let Stmt::For { var, body } | Stmt::Reduce { var, body, .. } | Stmt::Recur { var, body, .. } =
            &mut stmt
            && kernel.extent(*var) > 0
        {
            let inside = without_invariants(kernel, std::mem::take(body));
            let written = reads_and_writes(&inside).1;
            let mut varying: BTreeSet<Var> = carry.into_iter().collect();
            for stmt in inside {
                let is_fixed = stmt.uses().iter().all(|used| !varying.contains(used))
                    && is_unmoved(&stmt, *var, &written);
                if is_fixed {
                    done.push(stmt);
                } else {
                    varying.extend(stmt.makes());
                    body.push(stmt);
                }
            }
        }
        done.push(stmt);
    }
    done
}

/// Whether the statement computes a value that depends neither on the loop variable nor on these buffers.
fn is_unmoved(stmt: &Stmt, var: LoopVar, written: &BTreeSet<BufferId>) -> bool {
    let Stmt::Let { instr, .. } = stmt else { return false };
    instr.affines().iter().all(|index| index.coefficient(var) == 0)
        && instr.read().is_none_or(|buffer| !written.contains(&buffer))
}

/// Drops stores to scratch buffers that nothing reads, and all that only they needed. Whether there was one.
fn drop_unread(program: &mut Program) -> bool {
    let kernels = program.kernels().into_iter().flat_map(|kernel| kernel.reads_and_writes().0);
    let read: BTreeSet<BufferId> = kernels.chain(conditions(program)).collect();
    let is_scratch: Vec<bool> =
        program.buffers.iter().map(|buffer| matches!(buffer.place, Place::Arena { .. })).collect();
    let mut dropped = false;
    program.each_kernel_mut(|kernel| {
        let is_unread = |stmt: &Stmt| match stmt {
            Stmt::Store { access, .. } => is_scratch[access.buffer.index()] && !read.contains(&access.buffer),
            _ => false,
        };
        dropped |= drop_where(&mut kernel.body, &is_unread);
        drop_unused(kernel);
    });
    drop_idle(&mut program.tasks);
    dropped
}

/// The buffers that say whether repeats go on.
pub(super) fn conditions(program: &Program) -> impl Iterator<Item = BufferId> {
    program.repeats().into_iter().filter_map(|repeat| repeat.condition)
}

/// Drops what does nothing.
fn drop_idle(tasks: &mut Vec<Task>) {
    tasks.retain_mut(|task| match task {
        Task::Run(kernel) => !kernel.body.is_empty(),
        Task::Repeat(repeat) => {
            drop_idle(&mut repeat.tasks);
            !repeat.tasks.is_empty()
        }
    });
}

fn drop_where(body: &mut Vec<Stmt>, is_unwanted: &impl Fn(&Stmt) -> bool) -> bool {
    let before = body.len();
    body.retain(|stmt| !is_unwanted(stmt));
    let mut dropped = body.len() < before;
    for stmt in body {
        if let Stmt::For { body, .. } | Stmt::Reduce { body, .. } | Stmt::Recur { body, .. } = stmt {
            dropped |= drop_where(body, is_unwanted);
        }
    }
    dropped
}

/// Drops values that nothing uses, and loops that do nothing.
pub(super) fn drop_unused(kernel: &mut Kernel) {
    fn sweep(body: &mut Vec<Stmt>, used: &mut [bool]) {
        let mut kept: Vec<Stmt> = Vec::with_capacity(body.len());
        for mut stmt in std::mem::take(body).into_iter().rev() {
            if let Stmt::Reduce { var, body, parts } = &mut stmt {
                parts.retain(|part| used[part.dst.0 as usize]);
                if parts.is_empty() {
                    stmt = Stmt::For { var: *var, body: std::mem::take(body) };
                }
            }
            if matches!(stmt, Stmt::Recur { .. })
                && reads_and_writes(std::slice::from_ref(&stmt)).1.is_empty()
            {
                continue;
            }
            stmt.uses().into_iter().for_each(|var| mark(&stmt, var, used));
            if let Stmt::For { body, .. } | Stmt::Reduce { body, .. } | Stmt::Recur { body, .. } = &mut stmt {
                sweep(body, used);
            }
            let is_wanted = match &stmt {
                Stmt::Let { dst, .. } => used[dst.0 as usize],
                Stmt::For { body, .. } => !body.is_empty(),
                Stmt::Reduce { .. } | Stmt::Recur { .. } | Stmt::Contract(_) => true,
                Stmt::Store { .. } | Stmt::StoreRow { .. } | Stmt::Sort { .. } => true,
            };
            if is_wanted {
                kept.push(stmt);
            }
        }
        kept.reverse();
        *body = kept;
    }
    /// A value that is itself unused uses nothing.
    fn mark(stmt: &Stmt, var: Var, used: &mut [bool]) {
        let is_unused = matches!(stmt, Stmt::Let { dst, .. } if !used[dst.0 as usize]);
        used[var.0 as usize] |= !is_unused;
    }
    let mut used = vec![false; kernel.dtypes.len()];
    sweep(&mut kernel.body, &mut used);
}

/// Takes scratch buffers that no task names out of the program.
pub(super) fn renumber(program: &mut Program) {
    let mut named: BTreeSet<BufferId> = conditions(program).collect();
    for kernel in program.kernels() {
        let (reads, writes) = kernel.reads_and_writes();
        named.extend(reads.union(&writes));
    }
    let (mut numbers, mut kept) = (FxHashMap::default(), Vec::new());
    for (number, buffer) in std::mem::take(&mut program.buffers).into_iter().enumerate() {
        let id = BufferId(number as u32);
        if named.contains(&id) || !matches!(buffer.place, Place::Arena { .. }) {
            numbers.insert(id, BufferId(kept.len() as u32));
            kept.push(buffer);
        }
    }
    program.buffers = kept;
    let number = |id: BufferId| numbers.get(&id).copied().unwrap_or(id);
    program.each_kernel_mut(|kernel| kernel.map_buffers(number));
    program.tasks.iter_mut().for_each(|task| renumber_conditions(task, &number));
}

fn renumber_conditions(task: &mut Task, number: &impl Fn(BufferId) -> BufferId) {
    if let Task::Repeat(repeat) = task {
        repeat.condition = repeat.condition.map(number);
        repeat.tasks.iter_mut().for_each(|task| renumber_conditions(task, number));
    }
}
