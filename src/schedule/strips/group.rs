//! Kernels that go over the same rows together: no strip of one waits for a later strip of another.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::super::cost::{CALL_BYTES, LANES, MANY_BYTES, RUN_BYTES, STRIP_BYTES};
use super::member::{Member, Sums, Way, in_turns};
use super::{STRIP, Strips, total};
use crate::loops::copy::{self, new_buffer};
use crate::loops::{
    Access, Affine, Buffer, BufferId, Buffers, Kernel, LoopVar, Place, Repeat, Sections, Stmt, Task, conflict,
};

/// The turns of the repeats around the kernels of a strip: over pieces, and over the strips of one.
const PIECE: LoopVar = LoopVar(0);
const STRIP_OF_PIECE: LoopVar = LoopVar(1);

/// Kernels in strips, with all that runs before and after them.
pub(super) struct Group<'t> {
    strips: Strips,
    members: Vec<Member>,
    /// The members in a single repeat over strips.
    kernels: Vec<Kernel>,
    used: Buffers,
    /// For each buffer, what every access of the members leaves to one strip, if that is the same.
    sections: Sections,
    before: Vec<Cow<'t, Task>>,
    later: Vec<Cow<'t, Task>>,
    used_later: Buffers,
    /// Those of the program, and new ones.
    buffers: Vec<Buffer>,
}

impl<'t> Group<'t> {
    /// Every kernel that can go along with those before it, of tasks with what they use.
    pub fn of(tasks: &'t [Task], used: &[Buffers], strips: Strips, buffers: &[Buffer]) -> Group<'t> {
        let mut group = Group {
            strips,
            members: vec![],
            kernels: vec![],
            used: Buffers::default(),
            sections: Sections::new(),
            before: vec![],
            later: vec![],
            used_later: Buffers::default(),
            buffers: buffers.to_vec(),
        };
        tasks.iter().zip(used).for_each(|(task, used)| group.place(task, used));
        group
    }

    fn place(&mut self, task: &'t Task, used: &Buffers) {
        if !conflict(&self.used_later, used) {
            if let Task::Run(kernel) = task
                && self.joins(kernel)
            {
                return;
            }
            if !conflict(&self.used, used) {
                self.before.push(Cow::Borrowed(task));
                return;
            }
        }
        self.put_later(Cow::Borrowed(task), used);
    }

    fn put_later(&mut self, task: Cow<'t, Task>, used: &Buffers) {
        add(&mut self.used_later, used);
        self.later.push(task);
    }

    /// Makes the kernel a member, if it can be one.
    fn joins(&mut self, kernel: &Kernel) -> bool {
        Way::all(kernel, self.strips.all_rows()).into_iter().any(|way| {
            let known = self.buffers.len();
            let member = Member::of(kernel, way, self.strips, &mut self.buffers);
            let kernel = member.in_strips(self.strips);
            let Some(sections) = self.sections_with(&kernel, &member) else {
                self.buffers.truncate(known);
                return false;
            };
            self.sections.extend(sections);
            add(&mut self.used, &kernel.reads_and_writes());
            if let Some(sums) = &member.sums {
                self.put_later(Cow::Owned(Task::Run(sums.end.clone())), &sums.end.reads_and_writes());
            }
            self.members.push(member);
            self.kernels.push(kernel);
            true
        })
    }

    /// The sections of the kernel's buffers, if no strip of it or a member writes what another touches, but for sums, and a
    /// strip is more than what it keeps from one to the next.
    fn sections_with(&self, kernel: &Kernel, member: &Member) -> Option<Sections> {
        let own = kernel.sections(&kernel.body, STRIP);
        let writes = kernel.reads_and_writes().1;
        let is_sum = |id| member.sums.iter().flat_map(Sums::homes).any(|home| home.0 == id);
        let is_apart = own.iter().all(|(id, section)| {
            let is_read = !writes.contains(id) && !self.used.1.contains(id);
            let is_alike = self.sections.get(id).is_none_or(|known| known == section);
            is_read || is_sum(*id) || section.is_some() && is_alike
        });
        let (moving, staying) = moving(std::slice::from_ref(kernel));
        let is_light = self.bytes(&staying).saturating_mul(self.strips.count()) <= self.bytes(&moving);
        (is_apart && is_light && self.is_in_long_runs(kernel)).then_some(own)
    }

    /// Whether a strip of every buffer lies in one part of memory, or in several long ones.
    fn is_in_long_runs(&self, kernel: &Kernel) -> bool {
        let is_long = |access: &Access| {
            let step = access.index.coefficient(STRIP).abs();
            let is_inside = |&(var, coefficient): &(LoopVar, i64)| var == STRIP || coefficient.abs() < step;
            let bytes = step as usize * self.buffers[access.buffer.index()].dtype.size();
            step == 0 || bytes >= RUN_BYTES || access.index.terms().iter().all(is_inside)
        };
        let are_long = |stmt: &Stmt| stmt.accesses().all(|(access, _)| is_long(access));
        !kernel.body.iter().any(|stmt| stmt.any(&|stmt: &Stmt| !are_long(stmt)))
    }

    fn bytes<'b>(&self, ids: impl IntoIterator<Item = &'b BufferId>) -> usize {
        total(ids.into_iter().map(|id| &self.buffers[id.index()]))
    }

    /// The bytes that need not come from far away: what members after the first touch once more.
    pub fn saved(&self) -> usize {
        let mut touches: BTreeMap<BufferId, usize> = BTreeMap::new();
        self.kernels.iter().flat_map(touched).for_each(|id| *touches.entry(id).or_default() += 1);
        let again = |id: &BufferId| touches.get(id).map_or(0, |count| count - 1);
        let moving = moving(&self.kernels).0.into_iter();
        moving.fold(0, |sum: usize, id| sum.saturating_add(self.bytes([&id]).saturating_mul(again(&id))))
    }

    /// Whether the members go over more bytes than caches hold, many of them in every call, and keep few from strip to strip.
    pub fn pays(&self) -> bool {
        let (moving, staying) = moving(&self.kernels);
        let (total, saved) = (self.bytes(&moving), self.saved());
        let calls = self.strips.count().saturating_mul(self.kernels.len());
        total >= MANY_BYTES
            && saved >= total.div_ceil(2)
            && total.saturating_add(saved) >= calls.saturating_mul(CALL_BYTES)
            && self.bytes(&staying) <= STRIP_BYTES
    }

    /// What is done up to the last strip, what is to be done after that, and the buffers of both.
    pub fn tasks(mut self) -> (Vec<Task>, Vec<Task>, Vec<Buffer>) {
        let Strips { pieces, in_piece, rest, .. } = self.strips;
        let [in_pieces, in_rest] = self.moves();
        let kernels: Vec<Kernel> =
            self.kernels.iter().map(|kernel| moved(self.in_pieces(kernel), &in_pieces)).collect();
        let sources: BTreeSet<usize> = kernels.iter().flat_map(|kernel| kernel.sources.clone()).collect();
        let sources: Vec<usize> = sources.into_iter().collect();
        let repeat = |turns, is_parallel, tasks| {
            Task::Repeat(Repeat { turns, condition: None, tasks, sources: sources.clone(), is_parallel })
        };
        let starts = || self.members.iter().filter_map(|member| Some(&member.sums.as_ref()?.start));
        let of_piece = |start: &Kernel| Task::Run(moved(in_turns(start, pieces), &in_pieces));
        let strips = repeat(in_piece, false, kernels.into_iter().map(Task::Run).collect());
        let mut tasks = owned(std::mem::take(&mut self.before));
        tasks.push(repeat(pieces, true, starts().map(of_piece).chain([strips]).collect()));
        if rest > 0 {
            let members = self.members.iter().map(|member| member.rest(self.strips));
            let of_rest = starts().cloned().chain(members);
            tasks.extend(of_rest.map(|kernel| Task::Run(moved(kernel, &in_rest))));
        }
        (tasks, owned(self.later), self.buffers)
    }

    /// Where buffers lie for the strips of pieces, and for the rows after the last strip: each piece has its own slot of the
    /// sums, and its own strip of what only the members use.
    fn moves(&mut self) -> [Moves; 2] {
        let (mut in_pieces, mut in_rest) = (Moves::new(), Moves::new());
        for (id, count) in self.members.iter().filter_map(|member| member.sums.as_ref()).flat_map(Sums::homes)
        {
            in_pieces.insert(id, (id, Affine::var(PIECE).scaled(count as i64)));
            in_rest.insert(id, (id, Affine::constant((count * self.strips.pieces) as i64)));
        }
        for (id, step) in self.scratch() {
            let (of_piece, of_rest) = self.shrunk(id, step);
            in_pieces.insert(id, (id, of_piece));
            in_rest.extend(of_rest.map(|place| (id, place)));
        }
        [in_pieces, in_rest]
    }

    /// The kernel in a repeat over pieces and one over the strips of each.
    fn in_pieces(&self, kernel: &Kernel) -> Kernel {
        let Strips { pieces, in_piece, .. } = self.strips;
        let mut kernel = in_turns(kernel, pieces);
        kernel.extents[STRIP_OF_PIECE.index()] = in_piece;
        let strip = Affine::var(PIECE).scaled(in_piece as i64).plus(&Affine::var(STRIP_OF_PIECE));
        kernel.body = copy::moved(&kernel.body, STRIP_OF_PIECE, &strip);
        kernel
    }

    /// Scratch buffers that only the members use, a strip after the other, with the elements of one.
    fn scratch(&self) -> Vec<(BufferId, i64)> {
        let mut others = Buffers::default();
        let outside = self.before.iter().chain(&self.later).map(|task| task.reads_and_writes());
        outside.for_each(|used| add(&mut others, &used));
        let is_own = |id: &&BufferId| {
            matches!(self.buffers[id.index()].place, Place::Arena { .. })
                && self.used.1.contains(id)
                && !others.0.contains(id)
                && !others.1.contains(id)
        };
        self.steps().into_iter().filter(|(id, _)| is_own(&id)).collect()
    }

    /// The elements of buffers from strip to strip, of those of which every strip has just these.
    fn steps(&self) -> BTreeMap<BufferId, i64> {
        let mut steps: BTreeMap<BufferId, i64> = BTreeMap::new();
        for kernel in &self.kernels {
            let mut note = |stmt: &Stmt| {
                for (access, beyond) in stmt.accesses() {
                    let step = access.index.coefficient(STRIP);
                    let (lowest, highest) = kernel.range_of(&access.index.without(STRIP));
                    let own = if lowest >= 0 && highest + beyond < step { step } else { 0 };
                    let known = steps.entry(access.buffer).or_insert(own);
                    if *known != own {
                        *known = 0;
                    }
                }
            };
            kernel.body.iter().for_each(|stmt| stmt.each(&mut note));
        }
        steps.retain(|_, step| *step > 0);
        steps
    }

    /// Gives a scratch buffer the elements of a strip for each piece, in lines of their own; returns how they lie. The rows
    /// after the last strip have a buffer of theirs, as the values of strips do not live on.
    fn shrunk(&mut self, id: BufferId, step: i64) -> (Affine, Option<(BufferId, Affine)>) {
        let Strips { pieces, in_piece, rows, rest } = self.strips;
        let room = (step as usize).next_multiple_of(LANES);
        let by_piece = Affine::var(PIECE).scaled(room as i64 - step * in_piece as i64);
        let of_piece = by_piece.plus(&Affine::var(STRIP_OF_PIECE).scaled(-step));
        self.buffers[id.index()].elements = room * pieces;
        let Buffer { name, dtype, .. } = self.buffers[id.index()].clone();
        let of_rest = (rest > 0).then(|| {
            let own = new_buffer(&mut self.buffers, &name, dtype, step as usize / rows * rest);
            (own, Affine::constant(-step * self.strips.count() as i64))
        });
        (of_piece, of_rest)
    }
}

/// For buffers that lie elsewhere: where, and what is added to indices.
type Moves = BTreeMap<BufferId, (BufferId, Affine)>;

/// The kernel with what it touches of some buffers elsewhere.
fn moved(mut kernel: Kernel, moves: &Moves) -> Kernel {
    let mut change = |stmt: &mut Stmt| {
        stmt.each_access_mut(|access| {
            if let Some((to, by)) = moves.get(&access.buffer) {
                *access = Access { buffer: *to, index: access.index.plus(by) };
            }
        });
    };
    kernel.body.iter_mut().for_each(|stmt| stmt.each_mut(&mut change));
    kernel
}

fn owned(tasks: Vec<Cow<'_, Task>>) -> Vec<Task> {
    tasks.into_iter().map(Cow::into_owned).collect()
}

fn add(buffers: &mut Buffers, (reads, writes): &Buffers) {
    buffers.0.extend(reads);
    buffers.1.extend(writes);
}

fn touched(kernel: &Kernel) -> BTreeSet<BufferId> {
    let (reads, writes) = kernel.reads_and_writes();
    reads.union(&writes).copied().collect()
}

/// The buffers of which every strip has its part, and all others.
fn moving(kernels: &[Kernel]) -> (BTreeSet<BufferId>, BTreeSet<BufferId>) {
    let mut moving = BTreeSet::new();
    let mut note = |stmt: &Stmt| {
        let along = stmt.accesses().filter(|(access, _)| access.index.coefficient(STRIP) != 0);
        moving.extend(along.map(|(access, _)| access.buffer));
    };
    kernels.iter().flat_map(|kernel| &kernel.body).for_each(|stmt| stmt.each(&mut note));
    let all: BTreeSet<BufferId> = kernels.iter().flat_map(touched).collect();
    let staying = all.difference(&moving).copied().collect();
    (moving, staying)
}
