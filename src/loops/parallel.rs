//! Which iterations may run at the same time: those that write elements of their own, which no other reads.

use std::collections::{BTreeMap, BTreeSet};

use super::{Access, Affine, BufferId, Kernel, LoopVar, Repeat, Stmt, reads_and_writes};

/// The elements that belong to one iteration of a loop, as far as an access tells: those whose index, modulo `period`,
/// lies in the iteration's section of `step` elements. A period is no shorter than all sections.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Section {
    period: i64,
    step: i64,
    /// The number of the section that the first iteration has.
    first: i64,
}

/// Of each buffer the section that every access leaves to an iteration, if that is the same.
pub(crate) type Sections = BTreeMap<BufferId, Option<Section>>;

fn note(sections: &mut Sections, id: BufferId, section: Option<Section>) {
    let known = sections.entry(id).or_insert(section);
    if *known != section {
        *known = None;
    }
}

/// What comes before the only loop of a body, the loop, and what comes after.
pub(crate) fn around_loop(body: &[Stmt]) -> Option<(&[Stmt], &Stmt, &[Stmt])> {
    let at = body.iter().position(Stmt::is_loop)?;
    let (before, rest) = body.split_at(at);
    let (stmt, after) = rest.split_first()?;
    (!after.iter().any(Stmt::is_loop)).then_some((before, stmt, after))
}

impl Repeat {
    /// Whether the turns, those of a repeat that is in no other, may be done in any order, and at the same time.
    pub(crate) fn is_independent(&self) -> bool {
        let mut kernels = Vec::new();
        self.tasks.iter().for_each(|task| task.kernels(&mut kernels));
        let written: BTreeSet<BufferId> =
            kernels.iter().flat_map(|kernel| kernel.reads_and_writes().1).collect();
        let mut sections = Sections::new();
        let of_kernels = kernels.iter().flat_map(|kernel| kernel.sections(&kernel.body, LoopVar(0)));
        of_kernels.for_each(|(id, section)| note(&mut sections, id, section));
        let has_rows_in_order =
            kernels.iter().any(|kernel| kernel.body.iter().any(|stmt| stmt.any(&Stmt::is_in_order)));
        let is_apart = written.iter().all(|id| sections.get(id).is_some_and(Option::is_some));
        is_apart && !has_rows_in_order && self.condition.is_none()
    }
}

impl Kernel {
    /// Whether it is one loop, whose iterations do not meet, and in no repeat.
    pub(crate) fn may_be_parallel(&self) -> bool {
        match around_loop(&self.body) {
            Some((before, Stmt::For { var, body }, [])) if self.repeats == 0 => {
                self.is_independent(before, *var, body)
            }
            _ => false,
        }
    }

    /// Whether the iterations of a loop over `var` may run in any order, and at the same time, after what comes before.
    pub(crate) fn is_independent(&self, before: &[Stmt], var: LoopVar, body: &[Stmt]) -> bool {
        let written = reads_and_writes(body).1;
        // Every thread computes the scalars anew.
        let are_scalars = before.iter().all(Stmt::is_let);
        let has_rows_in_order = body.iter().any(|stmt| stmt.any(&Stmt::is_in_order));
        let sections = self.sections(body, var);
        are_scalars
            && !has_rows_in_order
            && written.is_disjoint(&reads_and_writes(before).0)
            && written.iter().all(|id| sections.get(id).is_some_and(Option::is_some))
    }

    /// The sections that statements in a loop leave to each iteration.
    pub(crate) fn sections(&self, body: &[Stmt], var: LoopVar) -> Sections {
        let mut sections = Sections::new();
        let mut visit = |stmt: &Stmt| {
            for (access, beyond) in stmt.accesses() {
                note(&mut sections, access.buffer, self.section(access, beyond, var));
            }
        };
        body.iter().for_each(|stmt| stmt.each(&mut visit));
        sections
    }

    /// The section of each iteration, if the access stays in one, and so many elements beyond.
    fn section(&self, access: &Access, beyond: i64, var: LoopVar) -> Option<Section> {
        let step = access.index.coefficient(var);
        if step <= 0 {
            return None;
        }
        let sections = step * self.extent(var) as i64;
        let others = || access.index.terms().iter().filter(|term| term.0 != var);
        // What moves by whole periods leaves the section as it is.
        let far = others().map(|term| term.1).filter(|coefficient| coefficient.abs() >= sections);
        let period = match far.clone().all(|coefficient| coefficient % sections == 0) {
            true => sections,
            false => far.fold(0, gcd),
        };
        let start = Affine::constant(access.index.offset().rem_euclid(period));
        let inner = (others().filter(|term| term.1 % period != 0))
            .fold(start, |sum, &(other, coefficient)| sum.plus(&Affine::var(other).scaled(coefficient)));
        let (lowest, highest) = self.range_of(&inner);
        let first = lowest.div_euclid(step);
        let is_one = period >= sections && first == (highest + beyond).div_euclid(step);
        is_one.then_some(Section { period, step, first })
    }
}

/// The greatest common divisor of two numbers, one of which may be 0.
fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a.abs() } else { gcd(b, a % b) }
}
