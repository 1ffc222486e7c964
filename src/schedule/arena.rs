//! The arena: scratch buffers packed so that those whose lives do not overlap share room.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::ALIGNMENT;
use crate::loops::{BufferId, Place, Program, Repeat, Task};

/// The kernels, by number, during which a scratch buffer holds a value.
#[derive(Clone, Copy)]
pub(super) struct Life {
    buffer: BufferId,
    pub start: usize,
    pub end: usize,
}

/// Gives every scratch buffer its place: largest first, each at the lowest offset free during its whole life.
pub(super) fn pack(program: &mut Program) {
    let mut lives: Vec<Life> = held(program).into_values().collect();
    lives.sort_by_key(|life| (Reverse(size(program, life)), life.start));
    let mut placed: Vec<(usize, usize, Life)> = Vec::new();
    for life in lives {
        let bytes = size(program, &life);
        let overlapping =
            placed.iter().filter(|(.., other)| life.start <= other.end && other.start <= life.end);
        let mut taken: Vec<(usize, usize)> = overlapping.map(|&(from, to, _)| (from, to)).collect();
        taken.sort_unstable();
        let fits = |offset: usize, &(from, to): &(usize, usize)| {
            if offset + bytes <= from { offset } else { offset.max(to) }
        };
        let offset = taken.iter().fold(0, fits);
        program.buffers[life.buffer.index()].place = Place::Arena { offset };
        program.arena_bytes = program.arena_bytes.max(offset + bytes);
        placed.push((offset, offset + bytes, life));
    }
}

/// The largest sum of sizes of scratch buffers whose lives share a kernel.
pub(super) fn live_bytes(program: &Program) -> usize {
    let lives = held(program);
    let mut taken = vec![0; program.kernels().len()];
    for life in lives.values() {
        taken[life.start..=life.end].iter_mut().for_each(|bytes| *bytes += size(program, life));
    }
    taken.into_iter().max().unwrap_or(0)
}

/// The bytes of a scratch buffer, in whole lines.
fn size(program: &Program, life: &Life) -> usize {
    let buffer = &program.buffers[life.buffer.index()];
    (buffer.elements * buffer.dtype.size()).next_multiple_of(ALIGNMENT)
}

/// The lives of scratch buffers, those in a repeat whose turns threads share as long as all of it: one turn may be at its
/// last kernel when another is at its first.
fn held(program: &Program) -> BTreeMap<BufferId, Life> {
    let mut lives = lives(program);
    let mut ranges = Vec::new();
    repeats(&program.tasks, &mut 0, &mut ranges);
    for (_, first, last) in ranges.into_iter().filter(|(repeat, ..)| repeat.is_parallel) {
        for life in lives.values_mut().filter(|life| life.start <= last && first <= life.end) {
            (life.start, life.end) = (life.start.min(first), life.end.max(last));
        }
    }
    lives
}

pub(super) fn lives(program: &Program) -> BTreeMap<BufferId, Life> {
    let mut lives: BTreeMap<BufferId, Life> = BTreeMap::new();
    let mut touch = |buffer: BufferId, at: usize| {
        if let Place::Arena { .. } = program.buffers[buffer.index()].place {
            lives.entry(buffer).or_insert(Life { buffer, start: at, end: at }).end = at;
        }
    };
    for (number, kernel) in program.kernels().into_iter().enumerate() {
        let (reads, writes) = kernel.reads_and_writes();
        reads.union(&writes).for_each(|&buffer| touch(buffer, number));
    }
    let mut ranges = Vec::new();
    repeats(&program.tasks, &mut 0, &mut ranges);
    for (repeat, first, last) in ranges {
        if let Some(life) = repeat.condition.and_then(|goes| lives.get_mut(&goes)) {
            life.end = life.end.max(last);
        }
        // What is used inside and outside keeps its value from turn to turn.
        for life in lives.values_mut() {
            let is_inside = first <= life.start && life.end <= last;
            let is_outside = life.end < first || last < life.start;
            if !is_inside && !is_outside {
                (life.start, life.end) = (life.start.min(first), life.end.max(last));
            }
        }
    }
    lives
}

/// The repeats, inner ones first, each with the numbers of its first and last kernel.
pub(super) fn repeats<'p>(tasks: &'p [Task], next: &mut usize, found: &mut Vec<(&'p Repeat, usize, usize)>) {
    for task in tasks {
        match task {
            Task::Run(_) => *next += 1,
            Task::Repeat(repeat) => {
                let first = *next;
                repeats(&repeat.tasks, next, found);
                found.extend(next.checked_sub(1).map(|last| (repeat, first, last)));
            }
        }
    }
}
