//! Which iterations may run at the same time: those that write elements of their own, which no other reads.

use std::collections::BTreeMap;

use super::{Access, Affine, BufferId, Kernel, LoopVar, Stmt, reads_and_writes};

/// The elements that belong to one iteration of a loop, as far as an access tells: those whose index, modulo `period`,
/// lies in the iteration's section of `step` elements. A period is no shorter than all sections.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Section {
    period: i64,
    step: i64,
    /// The number of the section that the first iteration has.
    first: i64,
}

/// What comes before the only loop of a body, the loop, and what comes after.
pub(crate) fn around_loop(body: &[Stmt]) -> Option<(&[Stmt], &Stmt, &[Stmt])> {
    let at = body.iter().position(Stmt::is_loop)?;
    let (before, rest) = body.split_at(at);
    let (stmt, after) = rest.split_first()?;
    (!after.iter().any(Stmt::is_loop)).then_some((before, stmt, after))
}

impl Kernel {
    /// Whether it is one loop, whose iterations do not meet.
    pub(crate) fn may_be_parallel(&self) -> bool {
        match around_loop(&self.body) {
            Some((before, Stmt::For { var, body }, [])) => self.is_independent(before, *var, body),
            _ => false,
        }
    }

    /// Whether the iterations of a loop over `var` may run in any order, and at the same time, after what comes before.
    pub(crate) fn is_independent(&self, before: &[Stmt], var: LoopVar, body: &[Stmt]) -> bool {
        let written = reads_and_writes(body).1;
        // Every thread computes the scalars anew.
        let are_scalars = before.iter().all(Stmt::is_let);
        let mut is_apart = are_scalars && written.is_disjoint(&reads_and_writes(before).0);
        let mut sections: BTreeMap<BufferId, Option<Section>> = BTreeMap::new();
        let mut check = |stmt: &Stmt| {
            is_apart &= !matches!(stmt, Stmt::StoreRow { .. });
            for (access, beyond) in stmt.accesses() {
                if written.contains(&access.buffer) {
                    let section = self.section(access, beyond, var);
                    let known = sections.entry(access.buffer).or_insert(section);
                    is_apart &= section.is_some() && *known == section;
                }
            }
        };
        body.iter().for_each(|stmt| stmt.each(&mut check));
        is_apart
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
