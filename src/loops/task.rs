//! What a program does: kernels one after the other, some of them again and again.

use super::{Buffer, BufferId, Buffers, Instr, Kernel};

/// Everything one call does: tasks, run in order, over buffers.
#[derive(Clone, Debug, Default)]
pub struct Program {
    pub buffers: Vec<Buffer>,
    pub tasks: Vec<Task>,
    /// Bytes of scratch memory a call needs.
    pub arena_bytes: usize,
}

/// One thing to do.
#[derive(Clone, Debug)]
pub enum Task {
    /// Runs a kernel.
    Run(Kernel),
    /// Does other tasks a number of times.
    Repeat(Repeat),
}

/// Tasks done again and again. Their kernels know the turn as a loop variable.
#[derive(Clone, Debug)]
pub struct Repeat {
    /// The number of turns; the most, if there is a condition.
    pub turns: usize,
    /// A bool that is looked at before each turn: where it is false, no further turn is done.
    pub condition: Option<BufferId>,
    pub tasks: Vec<Task>,
    /// What the repeat computes, in the numbering of whoever made it.
    pub sources: Vec<usize>,
    /// Whether the turns may be shared out among threads: each touches elements of its own. Only outside other repeats.
    pub is_parallel: bool,
}

impl Program {
    /// Every kernel, in the order of the tasks.
    pub fn kernels(&self) -> Vec<&Kernel> {
        let mut found = Vec::new();
        self.tasks.iter().for_each(|task| task.kernels(&mut found));
        found
    }

    /// Whether any task may be shared out among threads, as a whole or by the contraction in it.
    pub fn uses_threads(&self) -> bool {
        self.kernels().into_iter().any(|kernel| kernel.is_parallel || kernel.has_large_contraction())
            || self.repeats().into_iter().any(|repeat| repeat.is_parallel)
    }

    /// The repeats, outer ones first.
    pub fn repeats(&self) -> Vec<&Repeat> {
        let mut found = Vec::new();
        self.tasks.iter().for_each(|task| task.repeats(&mut found));
        found
    }

    /// Puts what `f` makes of each kernel that is not repeated in its place; it may add buffers.
    pub(crate) fn replace_kernels(&mut self, f: impl Fn(Kernel, &mut Vec<Buffer>) -> Vec<Kernel>) {
        let mut tasks = Vec::with_capacity(self.tasks.len());
        for task in std::mem::take(&mut self.tasks) {
            match task {
                Task::Run(kernel) => tasks.extend(f(kernel, &mut self.buffers).into_iter().map(Task::Run)),
                repeat @ Task::Repeat(_) => tasks.push(repeat),
            }
        }
        self.tasks = tasks;
    }

    /// Calls `f` with every kernel, in the order of the tasks.
    pub fn each_kernel_mut(&mut self, mut f: impl FnMut(&mut Kernel)) {
        self.tasks.iter_mut().for_each(|task| task.each_kernel_mut(&mut f));
    }

    /// What one call costs, at most: each scalar instruction as given.
    pub fn work(&self, cost: &dyn Fn(&Instr) -> usize) -> usize {
        self.tasks.iter().map(|task| task.work(cost)).fold(0, usize::saturating_add)
    }

    /// Whether every address is known when loops are written out, and every call does the same.
    pub fn is_fixed(&self) -> bool {
        self.kernels().into_iter().all(Kernel::has_fixed_addresses)
            && self.repeats().into_iter().all(|repeat| repeat.condition.is_none())
    }
}

impl Task {
    /// Adds the kernels of the task to those found.
    pub fn kernels<'t>(&'t self, found: &mut Vec<&'t Kernel>) {
        match self {
            Task::Run(kernel) => found.push(kernel),
            Task::Repeat(repeat) => repeat.tasks.iter().for_each(|task| task.kernels(found)),
        }
    }

    /// The buffers that its kernels read and those they write.
    pub(crate) fn reads_and_writes(&self) -> Buffers {
        let (mut kernels, mut repeats) = (Vec::new(), Vec::new());
        self.kernels(&mut kernels);
        self.repeats(&mut repeats);
        let mut buffers = Buffers::default();
        buffers.0.extend(repeats.into_iter().filter_map(|repeat| repeat.condition));
        for (reads, writes) in kernels.into_iter().map(Kernel::reads_and_writes) {
            buffers.0.extend(reads);
            buffers.1.extend(writes);
        }
        buffers
    }

    /// What the task computes, in the numbering of whoever made it.
    pub fn sources(&self) -> &[usize] {
        match self {
            Task::Run(kernel) => &kernel.sources,
            Task::Repeat(repeat) => &repeat.sources,
        }
    }

    fn repeats<'t>(&'t self, found: &mut Vec<&'t Repeat>) {
        if let Task::Repeat(repeat) = self {
            found.push(repeat);
            repeat.tasks.iter().for_each(|task| task.repeats(found));
        }
    }

    fn each_kernel_mut(&mut self, f: &mut impl FnMut(&mut Kernel)) {
        match self {
            Task::Run(kernel) => f(kernel),
            Task::Repeat(repeat) => repeat.tasks.iter_mut().for_each(|task| task.each_kernel_mut(f)),
        }
    }

    fn work(&self, cost: &dyn Fn(&Instr) -> usize) -> usize {
        match self {
            Task::Run(kernel) => kernel.work(cost),
            Task::Repeat(repeat) => {
                let turn = repeat.tasks.iter().map(|task| task.work(cost)).fold(0, usize::saturating_add);
                repeat.turns.saturating_mul(turn)
            }
        }
    }
}
