//! Results in the place of operands: what a kernel reads for the last time, it may overwrite, element by element. That
//! saves memory, and the time to bring more of it into the caches.

use std::collections::{BTreeMap, BTreeSet};

use super::arena::{Life, lives, repeats};
use super::cost::{LANES, LONG_ROW};
use super::forward::{conditions, renumber};
use crate::loops::{Access, Buffer, BufferId, Kernel, LoopVar, Program, Stmt};

/// Lets results take the places of operands that die in their kernels.
pub(super) fn overwrite(program: &mut Program) {
    let mut ranges = Vec::new();
    repeats(&program.tasks, &mut 0, &mut ranges);
    let ranges = ranges.into_iter().map(|(_, first, last)| (first, last)).collect();
    let mut lives = lives(program);
    for condition in conditions(program) {
        lives.remove(&condition);
    }
    let mut places =
        Places { lives, ranges, buffers: std::mem::take(&mut program.buffers), taken: BTreeMap::new() };
    let mut numbers = 0..;
    program.each_kernel_mut(|kernel| places.visit(kernel, numbers.next().unwrap_or_default()));
    program.buffers = places.buffers;
    if !places.taken.is_empty() {
        renumber(program);
    }
}

struct Places {
    lives: BTreeMap<BufferId, Life>,
    /// The first and last kernels of repeats, inner ones first.
    ranges: Vec<(usize, usize)>,
    buffers: Vec<Buffer>,
    /// Whose place a result has taken.
    taken: BTreeMap<BufferId, BufferId>,
}

impl Places {
    fn visit(&mut self, kernel: &mut Kernel, number: usize) {
        kernel.map_buffers(|id| self.taken.get(&id).copied().unwrap_or(id));
        let (reads, writes) = kernel.reads_and_writes();
        for &result in &writes {
            let overwriting = |&operand: &BufferId| {
                let may_be = !writes.contains(&operand) && self.is_heir(operand, result, number);
                may_be.then(|| overwriting(kernel, operand, result)).flatten().map(|kernel| (operand, kernel))
            };
            if let Some((operand, changed)) = reads.iter().find_map(overwriting) {
                *kernel = changed;
                self.take_place(operand, result);
            }
        }
    }

    /// Whether the life of one buffer ends in the kernel in which that of another like it begins. In a repeat, both are to
    /// live in the same turn.
    fn is_heir(&self, operand: BufferId, result: BufferId, number: usize) -> bool {
        let [Some(old), Some(new)] = [operand, result].map(|id| self.lives.get(&id)) else { return false };
        let like = |id: BufferId| {
            let buffer = &self.buffers[id.index()];
            (buffer.elements, buffer.dtype)
        };
        let is_in_turn = match self.ranges.iter().find(|(first, last)| (*first..=*last).contains(&number)) {
            Some(&(first, last)) => first <= old.start && new.end <= last,
            None => true,
        };
        let meet = old.start < number && old.end == number && new.start == number;
        meet && is_in_turn && like(operand) == like(result)
    }

    fn take_place(&mut self, operand: BufferId, result: BufferId) {
        self.taken.insert(result, operand);
        let name = format!(", {}", self.buffers[result.index()].name);
        self.buffers[operand.index()].name += &name;
        if let (Some(new), Some(old)) = (self.lives.remove(&result), self.lives.get_mut(&operand)) {
            old.end = new.end;
        }
    }
}

/// The kernel with a result in the place of an operand, if it reads no element that it has overwritten.
fn overwriting(kernel: &Kernel, operand: BufferId, result: BufferId) -> Option<Kernel> {
    let mut changed = kernel.clone();
    changed.map_buffers(|id| if id == result { operand } else { id });
    let is_safe = moves_alike(kernel, operand, result)
        && reads_first(&changed, [&kernel.body, &changed.body], operand, result);
    (is_safe && (!kernel.is_parallel || changed.may_be_parallel())).then_some(changed)
}

/// Whether both buffers move alike with the turns of repeats: no turn reads what another has overwritten.
fn moves_alike(kernel: &Kernel, operand: BufferId, result: BufferId) -> bool {
    let mut steps: BTreeSet<Vec<i64>> = BTreeSet::new();
    let mut note = |stmt: &Stmt| {
        let theirs = stmt.accesses().filter(|(access, _)| [operand, result].contains(&access.buffer));
        steps.extend(theirs.map(|(access, _)| {
            (0..kernel.repeats as u16).map(|turn| access.index.coefficient(LoopVar(turn))).collect()
        }));
    };
    kernel.body.iter().for_each(|stmt| stmt.each(&mut note));
    steps.len() <= 1
}

/// Whether the operand's elements are read before the result's are written, and each iteration has elements of its own. The
/// second body has the result in the place of the operand.
fn reads_first(kernel: &Kernel, [body, changed]: [&[Stmt]; 2], operand: BufferId, result: BufferId) -> bool {
    let touches = |stmt: &Stmt, buffer| {
        stmt.any(&|stmt: &Stmt| stmt.accesses().any(|(access, _)| access.buffer == buffer))
    };
    let Some(at) = body.iter().position(|stmt| touches(stmt, result)) else { return true };
    if body[at + 1..].iter().any(|stmt| touches(stmt, operand)) {
        return false;
    }
    match (&body[at], &changed[at]) {
        (Stmt::Store { access, .. }, _) => fills_vectors(kernel, access),
        (
            Stmt::For { var, body } | Stmt::Reduce { var, body, .. },
            Stmt::For { body: changed, .. } | Stmt::Reduce { body: changed, .. },
        ) => {
            kernel.is_independent(&[], *var, changed) && reads_first(kernel, [body, changed], operand, result)
        }
        _ => false,
    }
}

/// Whether few vectors of the rows that are written are partly filled: what is read behind one of these, in the next row,
/// waits until it has left for the cache.
fn fills_vectors(kernel: &Kernel, access: &Access) -> bool {
    let fastest = access.index.terms().iter().min_by_key(|term| term.1.abs());
    let length = fastest.map_or(1, |&(var, _)| kernel.extent(var));
    length.is_multiple_of(LANES) || length >= LONG_ROW
}
