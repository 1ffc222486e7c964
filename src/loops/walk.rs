//! Walks over statements, those inside loops included.

use std::collections::BTreeSet;

use smallvec::smallvec;

use super::{Access, Affine, BufferId, Contraction, Instr, LoopVar, Stmt, Var, Vars};

impl Stmt {
    /// The statements inside, if this is a loop.
    pub fn inner(&self) -> &[Stmt] {
        match self {
            Stmt::For { body, .. } | Stmt::Reduce { body, .. } | Stmt::Recur { body, .. } => body,
            Stmt::Let { .. } | Stmt::Store { .. } | Stmt::StoreRow { .. } => &[],
            Stmt::Contract(_) | Stmt::Sort { .. } => &[],
        }
    }

    /// Whether the statement computes a scalar.
    pub fn is_let(&self) -> bool {
        matches!(self, Stmt::Let { .. })
    }

    /// Whether the statement takes more than one scalar instruction.
    pub fn is_loop(&self) -> bool {
        match self {
            Stmt::For { .. } | Stmt::Reduce { .. } | Stmt::Recur { .. } => true,
            Stmt::Contract(_) | Stmt::Sort { .. } => true,
            Stmt::Let { .. } | Stmt::Store { .. } | Stmt::StoreRow { .. } => false,
        }
    }

    /// Whether the iterations of loops around the statement may meet at one element, and run in order.
    pub fn is_in_order(&self) -> bool {
        matches!(self, Stmt::StoreRow { .. })
    }

    /// The variable of a loop whose iterations may be shared out or summed up.
    pub fn loop_var(&self) -> Option<LoopVar> {
        match self {
            Stmt::For { var, .. } | Stmt::Reduce { var, .. } => Some(*var),
            Stmt::Let { .. } | Stmt::Store { .. } => None,
            Stmt::Recur { .. } | Stmt::StoreRow { .. } | Stmt::Contract(_) | Stmt::Sort { .. } => None,
        }
    }

    /// The number of statements, this one and all inside it.
    pub fn statements(&self) -> usize {
        1 + self.inner().iter().map(Stmt::statements).sum::<usize>()
    }

    /// Calls `f` with this statement and all inside it, outer ones first.
    pub fn each<'s>(&'s self, f: &mut impl FnMut(&'s Stmt)) {
        f(self);
        self.inner().iter().for_each(|stmt| stmt.each(f));
    }

    /// Whether this statement or any inside it is such a one.
    pub fn any(&self, is_such: &impl Fn(&Stmt) -> bool) -> bool {
        is_such(self) || self.inner().iter().any(|stmt| stmt.any(is_such))
    }

    /// Calls `f` with this statement and all inside it, inner ones first.
    pub fn each_mut(&mut self, f: &mut impl FnMut(&mut Stmt)) {
        if let Stmt::For { body, .. } | Stmt::Reduce { body, .. } | Stmt::Recur { body, .. } = self {
            body.iter_mut().for_each(|stmt| stmt.each_mut(f));
        }
        f(self);
    }

    /// The element that this statement itself reads, and how far beyond the index a computed row may be.
    pub fn read(&self) -> Option<(&Access, i64)> {
        match self {
            Stmt::Let { instr: Instr::Load(access) | Instr::LoadWithin(access, _), .. } => Some((access, 0)),
            Stmt::Let { instr: Instr::LoadRow { access, stride, bound, .. }, .. } => {
                Some((access, stride * (bound - 1)))
            }
            Stmt::StoreRow { adds: true, .. } => self.write(),
            Stmt::Sort { keys, sorting, .. } => Some((keys, sorting.count as i64 - 1)),
            _ => None,
        }
    }

    /// The element that this statement itself writes, and how far beyond the index a computed row may be.
    pub fn write(&self) -> Option<(&Access, i64)> {
        match self {
            Stmt::Store { access, .. } => Some((access, 0)),
            Stmt::StoreRow { access, stride, bound, .. } => Some((access, stride * (bound - 1))),
            Stmt::Sort { positions, sorting, .. } => Some((positions, sorting.first as i64 - 1)),
            _ => None,
        }
    }

    /// All accesses of this statement itself, and how far beyond the index each may be. A contraction's move with its
    /// own variables.
    pub fn accesses(&self) -> impl Iterator<Item = (&Access, i64)> {
        let of_contraction = match self {
            Stmt::Contract(Contraction { lhs, rhs, out, .. }) => {
                [lhs, rhs, out].map(|access| Some((access, 0)))
            }
            _ => [None; 3],
        };
        [self.read(), self.write()].into_iter().chain(of_contraction).flatten()
    }

    /// Replaces the buffers that this statement itself names.
    pub fn map_buffers(&mut self, f: impl Fn(BufferId) -> BufferId) {
        self.each_access_mut(|access| access.buffer = f(access.buffer));
    }

    /// Calls `f` with every element that this statement itself reads or writes.
    pub fn each_access_mut(&mut self, f: impl Fn(&mut Access)) {
        match self {
            Stmt::Let {
                instr: Instr::Load(access) | Instr::LoadWithin(access, _) | Instr::LoadRow { access, .. },
                ..
            }
            | Stmt::Store { access, .. }
            | Stmt::StoreRow { access, .. } => f(access),
            Stmt::Sort { keys, positions, .. } => [keys, positions].into_iter().for_each(f),
            Stmt::Contract(Contraction { lhs, rhs, out, .. }) => [lhs, rhs, out].into_iter().for_each(f),
            Stmt::Let { .. } | Stmt::For { .. } | Stmt::Reduce { .. } | Stmt::Recur { .. } => {}
        }
    }

    /// Replaces the affine expressions of this statement itself.
    pub fn map_affines(&mut self, f: impl Fn(&Affine) -> Affine) {
        match self {
            Stmt::Let { instr, .. } => *instr = instr.clone().map_affines(f),
            stmt => stmt.each_access_mut(|access| access.index = f(&access.index)),
        }
    }

    /// The scalar values that this statement itself uses.
    pub(crate) fn uses(&self) -> Vars {
        match self {
            Stmt::Let { instr, .. } => instr.operands(),
            Stmt::Store { value, .. } => smallvec![*value],
            Stmt::StoreRow { row, value, .. } => smallvec![*row, *value],
            Stmt::Recur { next, .. } => smallvec![*next],
            Stmt::Reduce { parts, .. } => parts.iter().map(|part| part.value).collect(),
            Stmt::Contract(contraction) => contraction.scale.into_iter().collect(),
            Stmt::For { .. } | Stmt::Sort { .. } => smallvec![],
        }
    }

    /// The scalar values that this statement itself makes.
    pub(crate) fn makes(&self) -> Vars {
        match self {
            Stmt::Let { dst, .. } => smallvec![*dst],
            Stmt::Reduce { parts, .. } => parts.iter().map(|part| part.dst).collect(),
            Stmt::Store { .. } | Stmt::StoreRow { .. } | Stmt::Contract(_) => smallvec![],
            Stmt::For { .. } | Stmt::Recur { .. } | Stmt::Sort { .. } => smallvec![],
        }
    }
}

/// The scalar values that these statements use, those inside included.
pub(crate) fn used(body: &[Stmt]) -> BTreeSet<Var> {
    let mut used = BTreeSet::new();
    body.iter().for_each(|stmt| stmt.each(&mut |stmt: &Stmt| used.extend(stmt.uses())));
    used
}

/// The scalar values that these statements store.
pub(crate) fn stored(body: &[Stmt]) -> BTreeSet<Var> {
    let mut stored = BTreeSet::new();
    let mut collect = |stmt: &Stmt| {
        if let Stmt::Store { value, .. } = stmt {
            stored.insert(*value);
        }
    };
    body.iter().for_each(|stmt| stmt.each(&mut collect));
    stored
}

/// Buffers read, and those written.
pub(crate) type Buffers = (BTreeSet<BufferId>, BTreeSet<BufferId>);

/// Whether one writes what the other reads or writes.
pub(crate) fn conflict((reads, writes): &Buffers, (later_reads, later_writes): &Buffers) -> bool {
    !writes.is_disjoint(later_reads) || !reads.is_disjoint(later_writes) || !writes.is_disjoint(later_writes)
}

/// The buffers that these statements read and those they write.
pub(crate) fn reads_and_writes(body: &[Stmt]) -> Buffers {
    let (mut reads, mut writes) = (BTreeSet::new(), BTreeSet::new());
    let mut collect = |stmt: &Stmt| match stmt {
        Stmt::Let { instr, .. } => reads.extend(instr.read()),
        Stmt::Store { access, .. } => drop(writes.insert(access.buffer)),
        Stmt::StoreRow { access, adds, .. } => {
            reads.extend(adds.then_some(access.buffer));
            writes.insert(access.buffer);
        }
        Stmt::Sort { keys, positions, .. } => {
            reads.insert(keys.buffer);
            writes.insert(positions.buffer);
        }
        Stmt::For { .. } | Stmt::Reduce { .. } | Stmt::Recur { .. } => {}
        Stmt::Contract(Contraction { lhs, rhs, out, scale, .. }) => {
            reads.extend([lhs.buffer, rhs.buffer]);
            reads.extend(scale.map(|_| out.buffer));
            writes.insert(out.buffer);
        }
    };
    body.iter().for_each(|stmt| stmt.each(&mut collect));
    (reads, writes)
}

/// Statements in a nest of loops over these variables, the outermost first.
pub(crate) fn nested(vars: &[LoopVar], body: Vec<Stmt>) -> Vec<Stmt> {
    vars.iter().rev().fold(body, |body, &var| vec![Stmt::For { var, body }])
}

/// The variables of loops that hold nothing but the next loop, and what the last one holds.
pub(crate) fn perfect_nest(stmt: &Stmt) -> (Vec<LoopVar>, &[Stmt]) {
    let (mut loops, mut body) = (Vec::new(), std::slice::from_ref(stmt));
    while let [Stmt::For { var, body: inner }] = body {
        loops.push(*var);
        body = inner;
    }
    (loops, body)
}
