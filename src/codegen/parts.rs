//! What a step is made of, to be run task by task and kernel by kernel from outside.

use std::iter::Enumerate;
use std::slice::Iter;

use super::entry::{ParallelFn, PieceFn, StepFn};
use super::{Compiler, Function};
use crate::loops::{Place, Repeat, Task};

/// The code of one task.
pub struct TaskCode {
    pub(super) entry: TaskEntry,
    /// If it is a repeat: what it does again and again. None if repeats lie in it too deep to be run from outside.
    pub turns: Option<Turns>,
}

/// How a task is called.
pub(super) enum TaskEntry {
    Whole(StepFn),
    /// Threads take ranges of so many iterations.
    Shared {
        run: ParallelFn,
        piece: PieceFn,
        iterations: u64,
    },
}

/// Parts that are done in order, again and again.
pub struct Turns {
    /// The most turns.
    pub count: usize,
    /// A bool that is looked at before each turn.
    pub condition: Option<Place>,
    pub parts: Vec<Part>,
}

/// One part of a turn.
pub enum Part {
    /// A kernel, and its number among those of the task.
    Kernel(KernelFn, usize),
    Repeat(Turns),
}

/// A kernel in repeats.
#[derive(Clone, Copy)]
pub struct KernelFn {
    address: *const u8,
    /// The number of repeats around it.
    repeats: usize,
}

/// What a call works on: as [`StepFn`] takes it.
#[derive(Clone, Copy)]
pub struct Memory {
    pub state: *mut u8,
    pub inputs: *const *const u8,
    pub outputs: *mut u8,
    pub arena: *mut u8,
}

/// So many repeats, one in the other, can be run from outside.
const DEEPEST: usize = 3;

impl TaskCode {
    /// Runs the task as a step does.
    ///
    /// # Safety
    /// As for [`StepFn`].
    pub unsafe fn run(&self, memory: Memory) {
        let Memory { state, inputs, outputs, arena } = memory;
        // SAFETY: the caller's promise.
        unsafe {
            match self.entry {
                TaskEntry::Whole(run) => run(state, inputs, outputs, arena),
                TaskEntry::Shared { run, piece, iterations } => {
                    run(piece, state, inputs, outputs, arena, iterations);
                }
            }
        }
    }
}

impl KernelFn {
    /// Runs the kernel in these turns of the repeats around it, at most [`DEEPEST`].
    ///
    /// # Safety
    /// As for [`StepFn`]; each turn is one of its repeat.
    pub unsafe fn call(self, memory: Memory, turns: &[u64]) {
        let Memory { state, inputs, outputs, arena } = memory;
        macro_rules! call {
            ($($turn:ident: $count:ty),*) => {{
                type Function =
                    unsafe extern "C" fn(*mut u8, *const *const u8, *mut u8, *mut u8, $($count),*);
                // SAFETY: the function was defined with this signature, and the rest is the caller's promise.
                unsafe {
                    let function = std::mem::transmute::<*const u8, Function>(self.address);
                    function(state, inputs, outputs, arena, $($turn),*);
                }
            }};
        }
        assert_eq!(turns.len(), self.repeats, "a turn for each repeat");
        match *turns {
            [a] => call!(a: u64),
            [a, b] => call!(a: u64, b: u64),
            [a, b, c] => call!(a: u64, b: u64, c: u64),
            _ => {}
        }
    }
}

impl Turns {
    /// The number of kernels.
    pub fn kernels(&self) -> usize {
        let kernels = |part: &Part| match part {
            Part::Kernel(..) => 1,
            Part::Repeat(turns) => turns.kernels(),
        };
        self.parts.iter().map(kernels).sum()
    }

    /// How many repeats lie in each other, this one included.
    fn depth(&self) -> usize {
        let inner = self.parts.iter().map(|part| match part {
            Part::Kernel(..) => 0,
            Part::Repeat(turns) => turns.depth(),
        });
        1 + inner.max().unwrap_or(0)
    }
}

impl Compiler<'_> {
    /// What is done in the turns of a repeat of these kernels, which are finished, unless others lie too deep in it.
    pub(super) fn turns(&self, repeat: &Repeat, kernels: &[Function]) -> Option<Turns> {
        Some(self.turns_of(repeat, &mut kernels.iter().enumerate())).filter(|turns| turns.depth() <= DEEPEST)
    }

    fn turns_of(&self, repeat: &Repeat, kernels: &mut Enumerate<Iter<'_, Function>>) -> Turns {
        let mut parts = Vec::with_capacity(repeat.tasks.len());
        for task in &repeat.tasks {
            match task {
                Task::Run(kernel) => parts.extend(kernels.next().map(|(number, &function)| {
                    let address = self.module.get_finalized_function(function.id);
                    Part::Kernel(KernelFn { address, repeats: kernel.repeats }, number)
                })),
                Task::Repeat(inner) => parts.push(Part::Repeat(self.turns_of(inner, kernels))),
            }
        }
        let condition = repeat.condition.map(|buffer| self.program.buffers[buffer.index()].place);
        Turns { count: repeat.turns, condition, parts }
    }
}
