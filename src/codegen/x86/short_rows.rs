//! Loops over rows too short to fill a vector. As many rows as a vector has lanes are taken at once, their columns written
//! out one by one: what is read and written are blocks that are transposed in registers ([`super::blocks`]).

use std::collections::BTreeSet;

use rustc_hash::{FxHashMap, FxHashSet};

use super::blocks::Blocks;
use super::isa::Isa;
use super::plan::Loops;
use crate::codegen::cost::ROW;
use crate::loops::copy::{Copy, new_loop, renumber, rest_of};
use crate::loops::partial::{fresh, joined, with_rest};
use crate::loops::{
    Access, Affine, BufferId, Instr, Kernel, LoopVar, Part, Place, Program, Stmt, Var, reads_and_writes,
};

/// The kernel with such loops written out, if it has some, and how its loops run.
pub fn short_rows(
    program: &Program,
    kernel: &Kernel,
    loops: &Loops,
    (isa, lanes): (Isa, usize),
) -> Option<(Kernel, Loops)> {
    let is_short =
        |stmt: &Stmt| matches!(stmt, Stmt::Reduce { var, .. } if kernel.extent(*var) <= longest(isa, lanes));
    if !kernel.body.iter().any(|stmt| stmt.any(&is_short)) {
        return None;
    }
    let mut writer = Writer { program, kernel: kernel.clone(), loops: loops.clone(), isa, lanes };
    let body = kernel.body.iter().flat_map(|stmt| writer.stmt(stmt, kernel.is_parallel)).collect();
    let Writer { kernel, loops, .. } = writer;
    (!loops.crossed.is_empty()).then_some((Kernel { body, ..kernel }, loops))
}

/// The columns of the longest rows: two blocks of narrow vectors, as one more vector a row would be half empty.
fn longest(isa: Isa, lanes: usize) -> usize {
    if isa.has_masks() { lanes } else { 2 * lanes }
}

struct Writer<'w> {
    program: &'w Program,
    kernel: Kernel,
    loops: Loops,
    isa: Isa,
    lanes: usize,
}

/// Rows that fill vectors, their columns written out.
struct Rows {
    var: LoopVar,
    body: Vec<Stmt>,
    copy: Copy,
    /// What values are that were loaded from where they were just stored.
    known: FxHashMap<Var, Var>,
}

impl Rows {
    /// The value for one of the loop they come from.
    fn value(&self, var: Var) -> Var {
        let value = self.copy.value(var);
        self.known.get(&value).copied().unwrap_or(value)
    }
}

impl Writer<'_> {
    fn stmt(&mut self, stmt: &Stmt, is_shared: bool) -> Vec<Stmt> {
        let Some(var) = stmt.loop_var() else { return vec![stmt.clone()] };
        let rows = match stmt {
            Stmt::Reduce { body, parts, .. } => self.sum(var, body, parts),
            _ if is_shared => self.shared(var, stmt.inner()),
            _ => self.each(var, stmt.inner()),
        };
        match (rows, stmt) {
            (Some(rows), _) => rows,
            (None, Stmt::For { body, .. }) if !self.loops.vectors.contains(&var) => {
                let body = body.iter().flat_map(|stmt| self.stmt(stmt, false)).collect();
                vec![Stmt::For { var, body }]
            }
            _ => vec![stmt.clone()],
        }
    }

    /// A loop that threads share, over blocks of rows. No thread is to begin in the middle of one.
    fn shared(&mut self, var: LoopVar, body: &[Stmt]) -> Option<Vec<Stmt>> {
        let (kernel, lanes) = (&mut self.kernel, self.lanes);
        let extent = kernel.extent(var);
        if !extent.is_multiple_of(lanes) {
            return None;
        }
        let block = new_loop(kernel, extent / lanes);
        let own = new_loop(kernel, lanes);
        let place = Affine::var(block).scaled(lanes as i64).plus(&Affine::var(own));
        let Rows { body, .. } = self.rows(var, body, (own, place))?;
        self.loops.group = lanes;
        Some(vec![Stmt::For { var: block, body: vec![Stmt::For { var: own, body }] }])
    }

    /// A loop over the rows that fill vectors, and one over those that are left.
    fn each(&mut self, var: LoopVar, body: &[Stmt]) -> Option<Vec<Stmt>> {
        let rows = self.whole_rows(var, body)?;
        let rest = self.rest(var, body);
        let loops = [Some((rows.var, rows.body)), rest].into_iter().flatten();
        Some(loops.map(|(var, body)| Stmt::For { var, body }).collect())
    }

    /// The same of sums over rows.
    fn sum(&mut self, var: LoopVar, body: &[Stmt], parts: &[Part]) -> Option<Vec<Stmt>> {
        let rows = self.whole_rows(var, body)?;
        let whole = |parts: Vec<Part>| {
            let parts =
                parts.into_iter().map(|part| Part { value: rows.value(part.value), ..part }).collect();
            Stmt::Reduce { var: rows.var, body: rows.body.clone(), parts }
        };
        Some(match self.rest(var, body) {
            None => vec![whole(parts.to_vec())],
            Some((var, body)) => {
                let rest = |_: &mut Kernel, parts| Stmt::Reduce { var, body, parts };
                with_rest(&mut self.kernel, parts, |_, parts| whole(parts), rest)
            }
        })
    }

    /// The rows that fill no vector, as they were.
    fn rest(&mut self, var: LoopVar, body: &[Stmt]) -> Option<(LoopVar, Vec<Stmt>)> {
        let extent = self.kernel.extent(var);
        let whole = extent / self.lanes * self.lanes;
        (extent > whole).then(|| rest_of(&mut self.kernel, var, body, whole))
    }

    /// The rows that fill vectors.
    fn whole_rows(&mut self, var: LoopVar, body: &[Stmt]) -> Option<Rows> {
        let kernel = &mut self.kernel;
        let own = new_loop(kernel, kernel.extent(var) / self.lanes * self.lanes);
        self.rows(var, body, (own, Affine::var(own)))
    }

    /// The rows of a new loop, if there are some, they are short, and what they access are blocks.
    fn rows(&mut self, var: LoopVar, body: &[Stmt], (own, place): (LoopVar, Affine)) -> Option<Rows> {
        let kernel = &self.kernel;
        if kernel.extent(own) == 0 || !self.are_short(body) || !kernel.is_independent(&[], var, body) {
            return None;
        }
        let copy = Copy::of(&mut self.kernel, body, var, &place);
        let mut rows = copy.body.iter().flat_map(|stmt| self.columns(stmt)).collect();
        let known = forwarded(&mut rows);
        self.drop_unread(&mut rows, body);
        if !self.are_blocks(&rows, own) || !self.pays(body, &rows, own) {
            return None;
        }
        self.loops.vectors.insert(own);
        self.loops.crossed.insert(own);
        Some(Rows { var: own, body: rows, copy, known })
    }

    /// Whether the loops inside fill at most a vector each, and are few statements when written out.
    fn are_short(&self, body: &[Stmt]) -> bool {
        let is_short = |stmt: &Stmt| match stmt {
            Stmt::Let { .. } | Stmt::Store { .. } => true,
            Stmt::For { var, body } | Stmt::Reduce { var, body, .. } => {
                (2..=longest(self.isa, self.lanes)).contains(&self.kernel.extent(*var))
                    && !body.iter().any(Stmt::is_loop)
            }
            Stmt::Recur { .. } | Stmt::StoreRow { .. } | Stmt::Contract(_) | Stmt::Sort { .. } => false,
        };
        let statements = |stmt: &Stmt| match stmt.loop_var() {
            Some(var) => self.kernel.extent(var) * stmt.statements(),
            None => 1,
        };
        // Without sums, rows one by one need no more instructions.
        body.iter().any(|stmt| matches!(stmt, Stmt::Reduce { .. }))
            && body.iter().all(is_short)
            && body.iter().map(statements).sum::<usize>() <= ROW
    }

    /// Rows that fill vectors themselves are worth it where they have more sums than are stored.
    fn pays(&self, body: &[Stmt], rows: &[Stmt], var: LoopVar) -> bool {
        let columns = body.iter().filter_map(Stmt::loop_var).map(|var| self.kernel.extent(var)).max();
        let sums = |stmt: &Stmt| if let Stmt::Reduce { parts, .. } = stmt { parts.len() } else { 0 };
        let is_stored = |stmt: &&Stmt| stmt.write().is_some_and(|write| write.0.index.coefficient(var) > 1);
        let stored = rows.iter().filter(is_stored).count();
        columns < Some(self.lanes) || body.iter().map(sums).sum::<usize>() * self.lanes > stored
    }

    /// A statement, or all turns of a loop. What they sum up is joined in pairs as soon as it is there: few partial results
    /// are to be held, and none to be waited for long.
    fn columns(&mut self, stmt: &Stmt) -> Vec<Stmt> {
        let Some(var) = stmt.loop_var() else { return vec![stmt.clone()] };
        let kernel = &mut self.kernel;
        let parts = if let Stmt::Reduce { parts, .. } = stmt { &parts[..] } else { &[] };
        let turns = kernel.extent(var);
        let mut partial: Vec<(usize, Vec<Var>)> = Vec::new();
        let mut body = Vec::new();
        for turn in 0..turns {
            let copy = Copy::of(kernel, stmt.inner(), var, &Affine::constant(turn as i64));
            let mut sums: Vec<Var> = parts.iter().map(|part| copy.value(part.value)).collect();
            body.extend(copy.body);
            let mut terms = 1;
            while let Some((_, earlier)) = partial.pop_if(|earlier| earlier.0 == terms || turn + 1 == turns) {
                let is_last = turn + 1 == turns && partial.is_empty();
                let own = if is_last { parts.to_vec() } else { fresh(kernel, parts) };
                body.extend(joined(kernel, &own, &[earlier, sums]));
                sums = own.iter().map(|part| part.dst).collect();
                terms *= 2;
            }
            partial.push((terms, sums));
        }
        body
    }

    /// Drops stores to elements that are written again, and to scratch memory, where nothing reads them: neither the rows nor
    /// what is beside the loop they come from.
    fn drop_unread(&self, rows: &mut Vec<Stmt>, original: &[Stmt]) {
        let reads = |body: &[Stmt], buffer: BufferId| -> usize {
            let mut count = 0;
            let mut each = |stmt: &Stmt| {
                let is_read = || reads_and_writes(std::slice::from_ref(stmt)).0.contains(&buffer);
                count += usize::from(stmt.inner().is_empty() && is_read());
            };
            body.iter().for_each(|stmt| stmt.each(&mut each));
            count
        };
        let (read, written) = reads_and_writes(rows);
        let unread: BTreeSet<BufferId> = written.difference(&read).copied().collect();
        let is_idle = |buffer: &BufferId| {
            let is_scratch = matches!(self.program.buffers[buffer.index()].place, Place::Arena { .. });
            let reads_of = |kernel: &Kernel| reads(&kernel.body, *buffer);
            is_scratch
                && reads(original, *buffer) == self.program.kernels().into_iter().map(reads_of).sum::<usize>()
        };
        let idle: BTreeSet<BufferId> = unread.iter().copied().filter(is_idle).collect();
        let mut written: FxHashSet<Access> = FxHashSet::default();
        let is_needed = |stmt: &Stmt| match stmt {
            Stmt::Store { access, .. } if unread.contains(&access.buffer) => {
                written.insert(access.clone()) && !idle.contains(&access.buffer)
            }
            _ => true,
        };
        let mut is_kept: Vec<bool> = rows.iter().rev().map(is_needed).collect();
        rows.retain(|_| is_kept.pop() == Some(true));
    }

    /// Whether rows are read and written as blocks, or as vectors across them, and some as blocks.
    fn are_blocks(&self, body: &[Stmt], rows: LoopVar) -> bool {
        let blocks = Blocks::of(body);
        let mut has_block = false;
        let mut is_good = |access: &Access, is_store: bool| match access.index.coefficient(rows) {
            0 | 1 => true,
            step => {
                let is_block = match is_store {
                    true => blocks.stored(access, step, self.lanes),
                    false => blocks.loaded(access, step, self.isa, self.lanes),
                }
                .is_some();
                has_block |= is_block;
                is_block
            }
        };
        let are_good = body.iter().all(|stmt| match stmt {
            Stmt::Let { instr: Instr::Load(access), .. } => is_good(access, false),
            Stmt::Let { instr, .. } => !matches!(instr, Instr::LoadRow { .. } | Instr::LoadWithin(..)),
            Stmt::Store { access, .. } => is_good(access, true),
            _ => false,
        });
        are_good && has_block
    }
}

/// Has values that were just stored taken from there, not from memory; returns what they replace.
fn forwarded(body: &mut Vec<Stmt>) -> FxHashMap<Var, Var> {
    let mut stored: Vec<(Access, Var)> = Vec::new();
    let mut known: FxHashMap<Var, Var> = FxHashMap::default();
    body.retain_mut(|stmt| {
        renumber(stmt, &|var| known.get(&var).copied().unwrap_or(var), &|var| var);
        match stmt {
            Stmt::Let { dst, instr: Instr::Load(access) } => {
                let value = stored.iter().find(|(place, _)| place == access);
                value.map(|&(_, value)| known.insert(*dst, value)).is_none()
            }
            Stmt::Store { access, value } => {
                let is_apart = |other: &Access| other.index.is_beside(&access.index);
                stored.retain(|(other, _)| other.buffer != access.buffer || is_apart(other));
                stored.push((access.clone(), *value));
                true
            }
            _ => true,
        }
    });
    known
}
