//! Loop fusion: kernels that go over the same elements become one, and so do neighbouring loops inside it, so that
//! every element is brought from memory once. Sums join in: a loop that stores and a loop that sums are one loop.

use std::collections::BTreeSet;

use super::cost::{FEW_STATEMENTS, FUSED_STATEMENTS, FUSION_WINDOW, LANES, instructions};
use crate::loops::copy::renumber;
use crate::loops::{
    Access, BufferId, Buffers, Instr, Kernel, LoopVar, Part, Program, Repeat, Stmt, Task, Unary, Var,
    around_loop, conflict, reads_and_writes, used,
};

/// Fuses every kernel with the nearest earlier one that it can join.
pub(super) fn fuse(program: &mut Program) {
    program.tasks = fused_tasks(std::mem::take(&mut program.tasks));
}

fn fused_tasks(tasks: Vec<Task>) -> Vec<Task> {
    let mut done: Vec<Placed> = Vec::new();
    for task in tasks {
        match task {
            Task::Repeat(repeat) => {
                let task = Task::Repeat(Repeat { tasks: fused_tasks(repeat.tasks), ..repeat });
                done.push(Placed::of(task));
            }
            Task::Run(mut kernel) => {
                fuse_inside(&mut kernel);
                let kernel = Placed::of(Task::Run(kernel));
                match partner(&done, &kernel) {
                    Some((at, fused)) => done[at] = Placed::of(Task::Run(fused)),
                    None => done.push(kernel),
                }
            }
        }
    }
    done.into_iter().map(|placed| placed.task).collect()
}

/// A task with the buffers that it reads and writes.
struct Placed {
    task: Task,
    buffers: Buffers,
}

impl Placed {
    fn of(task: Task) -> Placed {
        let buffers = task.reads_and_writes();
        Placed { task, buffers }
    }

    /// Whether both use some buffer.
    fn meets(&self, other: &Placed) -> bool {
        let both = |a: &BTreeSet<BufferId>, b: &BTreeSet<BufferId>| !a.is_disjoint(b);
        both(&self.buffers.0, &other.buffers.0) || conflict(&self.buffers, &other.buffers)
    }
}

/// The earlier kernel to join, and the two as one. The tasks between must not mind that this one moves up.
fn partner(tasks: &[Placed], second: &Placed) -> Option<(usize, Kernel)> {
    let Task::Run(kernel) = &second.task else { return None };
    for (at, first) in tasks.iter().enumerate().rev().take(FUSION_WINDOW) {
        if let Task::Run(earlier) = &first.task
            && first.meets(second)
            && let Some(fused) = joined(earlier, kernel)
        {
            return Some((at, fused));
        }
        if conflict(&first.buffers, &second.buffers) {
            return None;
        }
    }
    None
}

/// Fuses the loops inside each loop of a kernel that can be.
pub(super) fn fuse_inside(kernel: &mut Kernel) {
    let body = std::mem::take(&mut kernel.body);
    let around = (0..kernel.repeats as u16).map(LoopVar).collect();
    kernel.body = Fuser { extents: &kernel.extents, around }.fused_inside(body);
}

/// A kernel's body: what comes before its only loop, the loop, and what comes after.
fn split(body: &[Stmt]) -> Option<(&[Stmt], &Stmt, &[Stmt])> {
    around_loop(body).filter(|(_, stmt, _)| !is_apart(stmt))
}

/// Whether the statement holds what stays a loop of its own: library calls, or rows added in order.
fn is_apart(stmt: &Stmt) -> bool {
    stmt.any(&|stmt| matches!(stmt, Stmt::Contract(_) | Stmt::StoreRow { .. } | Stmt::Sort { .. }))
}

/// Both kernels as one, if their loops can be one loop.
fn joined(first: &Kernel, second: &Kernel) -> Option<Kernel> {
    let (before, first_loop, after) = split(&first.body)?;
    let (second_before, second_loop, _) = split(&second.body)?;
    let is_alike = first.extent(first_loop.loop_var()?) == second.extent(second_loop.loop_var()?);
    if !is_alike || !is_worthwhile(first_loop, second_loop) {
        return None;
    }
    if clashes(after, second_before) || clashes(after, std::slice::from_ref(second_loop)) {
        return None;
    }
    if clashes(std::slice::from_ref(first_loop), second_before) {
        return None;
    }
    // One numbering for both, but for the turns of the repeats around them.
    let (vars, own) = (first.dtypes.len() as u32, (first.extents.len() - first.repeats) as u16);
    let moved_var = |var: LoopVar| if var.index() < first.repeats { var } else { LoopVar(var.0 + own) };
    let mut moved = second.body.clone();
    moved.iter_mut().for_each(|stmt| renumber(stmt, &|var| Var(var.0 + vars), &moved_var));
    let (second_before, second_loop, second_after) = split(&moved)?;
    let mut kernel = Kernel {
        name: format!("{}, {}", first.name, second.name),
        repeats: first.repeats,
        extents: [&first.extents[..], &second.extents[first.repeats..]].concat(),
        dtypes: [&first.dtypes[..], &second.dtypes].concat(),
        sources: [&first.sources[..], &second.sources].concat(),
        body: vec![],
        is_parallel: false,
    };
    let around = (0..kernel.repeats as u16).map(LoopVar).collect();
    let fused = Fuser { extents: &kernel.extents, around }.fused(first_loop, second_loop)?;
    kernel.body = [before, second_before, &[fused], after, second_after].concat();
    Some(kernel)
}

/// Whether some of the second statements use memory that the first write, or write what they use.
fn clashes(first: &[Stmt], second: &[Stmt]) -> bool {
    conflict(&reads_and_writes(first), &reads_and_writes(second))
}

/// Whether fusing two loops saves memory traffic, as both walk along one buffer at least, and leaves a loop of a moderate size.
fn is_worthwhile(first: &Stmt, second: &Stmt) -> bool {
    first.statements() + second.statements() <= FUSED_STATEMENTS
        && !walked(first).is_disjoint(&walked(second))
}

/// The buffers that a loop walks along.
fn walked(stmt: &Stmt) -> BTreeSet<BufferId> {
    let mut found = BTreeSet::new();
    let Some(var) = stmt.loop_var() else { return found };
    stmt.each(&mut |stmt| {
        let accesses = stmt.read().into_iter().chain(stmt.write()).map(|(access, _)| access);
        let along = accesses.filter(|access| access.index.coefficient(var) != 0);
        found.extend(along.map(|access| access.buffer));
    });
    found
}

/// Fuses loops of one kernel.
struct Fuser<'k> {
    extents: &'k [usize],
    /// The loops around, which both loops to be fused are in, and the repeats.
    around: Vec<LoopVar>,
}

impl Fuser<'_> {
    /// The two loops, of one extent and worth fusing, as one.
    fn fused(&self, first: &Stmt, second: &Stmt) -> Option<Stmt> {
        let (var, other) = (first.loop_var()?, second.loop_var()?);
        let mut second = second.clone();
        renumber(&mut second, &|value| value, &|v| if v == other { var } else { v });
        if !self.keeps_vectors(first, &second, var) || !self.keeps_order(first, &second, var) {
            return None;
        }
        let inside = Fuser { extents: self.extents, around: [&self.around[..], &[var]].concat() };
        let body = inside.fused_body([first.inner(), second.inner()].concat());
        let parts = |stmt: &Stmt| match stmt {
            Stmt::Reduce { parts, .. } => parts.clone(),
            _ => vec![],
        };
        let parts: Vec<Part> = [parts(first), parts(&second)].concat();
        Some(if parts.is_empty() { Stmt::For { var, body } } else { Stmt::Reduce { var, body, parts } })
    }

    /// The statements with every loop fused into an earlier one that it can join.
    fn fused_body(&self, body: Vec<Stmt>) -> Vec<Stmt> {
        let mut done: Vec<Stmt> = Vec::with_capacity(body.len());
        for stmt in body {
            if !stmt.is_loop() || !self.join_earlier(&mut done, &stmt) {
                done.push(stmt);
            }
        }
        done
    }

    /// The statements with the loops inside each loop fused, and those inside these.
    fn fused_inside(&self, mut body: Vec<Stmt>) -> Vec<Stmt> {
        for stmt in &mut body {
            if let Stmt::For { var, body } | Stmt::Reduce { var, body, .. } = stmt {
                let inside = Fuser { extents: self.extents, around: [&self.around[..], &[*var]].concat() };
                *body = inside.fused_inside(inside.fused_body(std::mem::take(body)));
            }
        }
        body
    }

    /// Fuses the loop into an earlier one, with what it needs moved up before that.
    fn join_earlier(&self, done: &mut Vec<Stmt>, stmt: &Stmt) -> bool {
        for at in (0..done.len()).rev() {
            let (earlier, between) = (&done[at], &done[at + 1..]);
            let extents = [earlier, stmt].map(|stmt| stmt.loop_var().map(|var| self.extents[var.index()]));
            if extents[0] == extents[1]
                && extents[0].is_some()
                && is_worthwhile(earlier, stmt)
                && let Some((needed, rest)) = self.movable(earlier, between, stmt)
                && let Some(fused) = self.fused(earlier, stmt)
            {
                done.truncate(at);
                done.extend(needed.into_iter().chain([fused]).chain(rest));
                return true;
            }
        }
        false
    }

    /// The statements between two loops: those that the second needs, which must not need the first, and the others.
    fn movable(&self, first: &Stmt, between: &[Stmt], second: &Stmt) -> Option<(Vec<Stmt>, Vec<Stmt>)> {
        let mut wanted = used(std::slice::from_ref(second));
        let (mut needed, mut rest) = (Vec::new(), Vec::new());
        for stmt in between.iter().rev() {
            if stmt.makes().iter().any(|var| wanted.contains(var)) {
                wanted.extend(used(std::slice::from_ref(stmt)));
                needed.push(stmt.clone());
            } else {
                rest.push(stmt.clone());
            }
        }
        needed.reverse();
        rest.reverse();
        let needs_first = first.makes().iter().any(|var| wanted.contains(var));
        let moves_up = std::slice::from_ref(second);
        let is_free = !needs_first
            && !needed.iter().any(Stmt::is_loop)
            && !clashes(std::slice::from_ref(first), &needed)
            && !clashes(&rest, &needed)
            && !clashes(&rest, moves_up);
        is_free.then_some((needed, rest))
    }

    /// Whether loops that run on vectors still do.
    fn keeps_vectors(&self, first: &Stmt, second: &Stmt, var: LoopVar) -> bool {
        let (a, b) = (Lanes::of(first, var), Lanes::of(second, var));
        let beside = |few: &Stmt, nest: &Stmt, lanes: Lanes| {
            lanes == Lanes::Inner && is_short(few) && functions(few) <= self.on_vectors(nest.inner())
        };
        // A loop that sums runs on vectors only where it has no loops inside.
        let is_nest =
            |stmt: &Stmt| matches!(stmt, Stmt::For { .. }) && stmt.inner().iter().any(Stmt::is_loop);
        let is_lost = |nest: &Stmt, sum: &Stmt| is_nest(nest) && matches!(sum, Stmt::Reduce { .. });
        match (a, b) {
            (Lanes::Own, Lanes::Own) => !is_lost(first, second) && !is_lost(second, first),
            _ => a == b || beside(first, second, b) || beside(second, first, a),
        }
    }

    /// About how many vector instructions the statements are, with the innermost loops on vectors.
    fn on_vectors(&self, body: &[Stmt]) -> usize {
        body.iter().fold(0, |sum, stmt| {
            let own = match (stmt, stmt.loop_var()) {
                (Stmt::Let { instr, .. }, _) => instructions(instr),
                (_, None) => 1,
                (_, Some(var)) => {
                    let is_nest = stmt.inner().iter().any(Stmt::is_loop);
                    let turns = self.extents[var.index()].div_ceil(if is_nest { 1 } else { LANES });
                    turns.saturating_mul(self.on_vectors(stmt.inner()))
                }
            };
            sum.saturating_add(own)
        })
    }

    /// Whether nothing of the second loop's iteration must wait for a later one of the first loop.
    fn keeps_order(&self, first: &Stmt, second: &Stmt, var: LoopVar) -> bool {
        let (earlier, later) = (touches(first), touches(second));
        earlier.iter().all(|a| {
            let conflicts =
                later.iter().filter(|b| a.access.buffer == b.access.buffer && (a.writes || b.writes));
            conflicts.into_iter().all(|b| self.in_order(a, b, var))
        })
    }

    /// Whether the later access of an iteration touches no element that the earlier one touches in a later iteration.
    fn in_order(&self, a: &Touch<'_>, b: &Touch<'_>, var: LoopVar) -> bool {
        let (first, second) = (&a.access.index, &b.access.index);
        let is_same = |var: &LoopVar| first.coefficient(*var) == second.coefficient(*var);
        let stride = first.coefficient(var);
        if !is_same(&var) || !self.around.iter().all(is_same) || stride < 0 {
            return false;
        }
        let ((low, high), (later_low, later_high)) = (self.span(a, var), self.span(b, var));
        if stride == 0 { later_high < low || high < later_low } else { later_high - low < stride }
    }

    /// The least and the greatest index, with this variable and those around at 0.
    fn span(&self, touch: &Touch<'_>, var: LoopVar) -> (i64, i64) {
        let index = &touch.access.index;
        let (mut low, mut high) =
            (index.offset() + touch.beyond.min(0), index.offset() + touch.beyond.max(0));
        for &(inner, coefficient) in index.terms() {
            if inner != var && !self.around.contains(&inner) {
                let span = coefficient * (self.extents[inner.index()] as i64 - 1);
                low += span.min(0);
                high += span.max(0);
            }
        }
        (low, high)
    }
}

/// An access inside a loop.
struct Touch<'s> {
    access: &'s Access,
    beyond: i64,
    writes: bool,
}

fn touches(stmt: &Stmt) -> Vec<Touch<'_>> {
    let mut found = Vec::new();
    stmt.each(&mut |stmt| {
        found.extend(stmt.read().map(|(access, beyond)| Touch { access, beyond, writes: false }));
        found.extend(stmt.write().map(|(access, beyond)| Touch { access, beyond, writes: true }));
    });
    found
}

/// Whether the loop is little work beside loops inside another one.
fn is_short(stmt: &Stmt) -> bool {
    stmt.statements() <= FEW_STATEMENTS && !stmt.inner().iter().any(Stmt::is_loop)
}

/// The instructions of functions that are written out, which are as many for one element as for a vector.
fn functions(stmt: &Stmt) -> usize {
    let mut sum = 0;
    stmt.each(&mut |stmt| {
        if let Stmt::Let { instr, .. } = stmt
            && instructions(instr) > 1
            && !matches!(instr, Instr::Unary(Unary::Sqrt, _))
        {
            sum += instructions(instr);
        }
    });
    sum
}

/// Which loop of a nest can run on vectors.
#[derive(Clone, Copy, PartialEq)]
enum Lanes {
    /// This one: it moves every access by one element or not at all.
    Own,
    /// Loops inside it.
    Inner,
    None,
}

impl Lanes {
    fn of(stmt: &Stmt, var: LoopVar) -> Lanes {
        let is_unit = touches(stmt).iter().all(|touch| matches!(touch.access.index.coefficient(var), 0 | 1));
        let has_loops = stmt.inner().iter().any(Stmt::is_loop);
        match (is_unit, has_loops) {
            (true, _) => Lanes::Own,
            (false, true) => Lanes::Inner,
            (false, false) => Lanes::None,
        }
    }
}
