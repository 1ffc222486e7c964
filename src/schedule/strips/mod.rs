//! Kernels over the rows of a batch that no cache holds, strip by strip: what one kernel writes of a strip is in the second
//! cache when the next reads it, and what no other strip needs takes the memory of one. Sums over rows are added up from
//! strip to strip. Threads share pieces of several strips; the sums of each are its own, and added up in order.

mod group;
mod member;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::cost::{FEWEST_ROWS, LANES, MANY_BYTES, ROW_COUNTS, STRIP_BYTES, STRIP_GROUPS, STRIP_PIECES};
use crate::loops::{Affine, Buffer, BufferId, Buffers, Kernel, LoopVar, Program, Stmt, Task};
use group::Group;
use member::Way;

/// The number of a strip, as long as kernels are in one repeat over all.
const STRIP: LoopVar = LoopVar(0);

/// Puts kernels over the same rows into repeats over strips, where that saves much traffic.
pub(super) fn in_strips(program: &mut Program) {
    let mut done = Vec::new();
    for _ in 0..STRIP_GROUPS {
        let Some(group) = best(&program.tasks, &program.buffers) else { break };
        let (tasks, later, buffers) = group.tasks();
        (program.tasks, program.buffers) = (later, buffers);
        done.extend(tasks);
    }
    done.append(&mut program.tasks);
    program.tasks = done;
}

/// The group of kernels that saves the most bytes, of those that are worth it.
fn best<'t>(tasks: &'t [Task], buffers: &[Buffer]) -> Option<Group<'t>> {
    if total(buffers) < MANY_BYTES {
        return None;
    }
    let used: Vec<Buffers> = tasks.iter().map(Task::reads_and_writes).collect();
    let groups = row_counts(tasks, buffers).into_iter().filter_map(|rows| {
        let strips = Strips::of(rows, row_bytes(tasks, buffers, rows))?;
        Some(Group::of(tasks, &used, strips, buffers)).filter(Group::pays)
    });
    groups.max_by_key(Group::saved)
}

fn bytes(buffer: &Buffer) -> usize {
    buffer.elements.saturating_mul(buffer.dtype.size())
}

fn total<'b>(buffers: impl IntoIterator<Item = &'b Buffer>) -> usize {
    buffers.into_iter().map(bytes).fold(0, usize::saturating_add)
}

fn kernels(tasks: &[Task]) -> impl Iterator<Item = &Kernel> {
    tasks.iter().filter_map(|task| match task {
        Task::Run(kernel) => Some(kernel),
        Task::Repeat(_) => None,
    })
}

/// The extents that loops and contractions over the most bytes have.
fn row_counts(tasks: &[Task], buffers: &[Buffer]) -> Vec<usize> {
    let mut weights: BTreeMap<usize, usize> = BTreeMap::new();
    for kernel in kernels(tasks) {
        let (reads, writes) = kernel.reads_and_writes();
        let touched = total(reads.union(&writes).map(|id| &buffers[id.index()]));
        for &extent in kernel.extents.iter().filter(|&&extent| extent >= FEWEST_ROWS) {
            let weight: &mut usize = weights.entry(extent).or_default();
            *weight = weight.saturating_add(touched);
        }
    }
    let mut counts: Vec<(usize, usize)> = weights.into_iter().collect();
    counts.sort_by_key(|&(_, weight)| Reverse(weight));
    counts.into_iter().map(|(extent, _)| extent).take(ROW_COUNTS).collect()
}

/// The bytes that kernels over so many rows touch of a row, about.
fn row_bytes(tasks: &[Task], buffers: &[Buffer], rows: usize) -> usize {
    let mut moving: BTreeMap<BufferId, usize> = BTreeMap::new();
    for kernel in kernels(tasks) {
        let vars = Way::all(kernel, rows).first().map_or(vec![], Way::vars);
        let is_along = |index: &Affine| vars.iter().any(|&var| index.coefficient(var) != 0);
        let mut note = |stmt: &Stmt| {
            let along = stmt.accesses().filter(|(access, _)| is_along(&access.index));
            moving.extend(along.map(|(access, _)| (access.buffer, bytes(&buffers[access.buffer.index()]))));
        };
        kernel.body.iter().for_each(|stmt| stmt.each(&mut note));
    }
    moving.into_values().fold(0, usize::saturating_add).div_ceil(rows)
}

/// Rows in strips, so many in each piece.
#[derive(Clone, Copy)]
struct Strips {
    pieces: usize,
    in_piece: usize,
    /// The rows of a strip.
    rows: usize,
    /// The rows after the last strip.
    rest: usize,
}

impl Strips {
    /// Strips of about as many bytes as the second cache holds beside others, if one is not enough; of the numbers of pieces
    /// the one that leaves the fewest rows over.
    fn of(rows: usize, row_bytes: usize) -> Option<Strips> {
        let most = (STRIP_BYTES / row_bytes.max(1)).max(1);
        let cut = |pieces: usize| {
            let in_piece = (rows / pieces).div_ceil(most);
            let height = rows / pieces / in_piece;
            // Vectors of rows are full.
            let height = if height >= 16 * LANES { height / LANES * LANES } else { height };
            Strips { pieces, in_piece, rows: height, rest: rows - pieces * in_piece * height }
        };
        if rows / 2 < most {
            return None;
        }
        let cuts = (2..=STRIP_PIECES.min(rows)).rev().map(cut);
        cuts.min_by_key(|strips| (strips.rest.saturating_mul(16) / rows, Reverse(strips.pieces)))
    }

    fn count(self) -> usize {
        self.pieces * self.in_piece
    }

    fn all_rows(self) -> usize {
        self.count() * self.rows + self.rest
    }

    /// How many times there are sums.
    fn slots(self) -> usize {
        self.pieces + usize::from(self.rest > 0)
    }
}
