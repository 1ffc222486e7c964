//! A compiled program and the calls of it.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::pace::Crew;
use super::{Inputs, Layout, Report, State, TaskWork, team};
use crate::codegen::Code;
use crate::error::{Error, Result};
use crate::schedule::Schedule;

/// A compiled program: native code for one call, and for many calls in a row.
///
/// It is `Send + Sync` and never changes; what a call works on are a [`State`] and [`Inputs`] made by it, or by another
/// that shares its code: a clone, or what an equal graph was compiled to ([`crate::Options::cache`]).
#[derive(Clone)]
pub struct Executable {
    pub(super) code: Arc<Code>,
    pub(super) layout: Arc<Layout>,
    /// What each task of the code does.
    pub(super) work: Arc<[TaskWork]>,
    report: CompileReport,
    /// Whether any of its kernels may be shared out among threads.
    uses_threads: bool,
    /// Whether vector registers have upper halves that may need cleaning.
    #[cfg(target_arch = "x86_64")]
    has_wide_vectors: bool,
}

/// Where a compiled program came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Found {
    /// It was compiled.
    #[default]
    Nowhere,
    /// An equal graph had been compiled before.
    InCache,
}

/// What compiling took, and what came out.
#[derive(Clone, Debug, Default)]
pub struct CompileReport {
    /// Each stage with the time it took, in order.
    pub stages: Vec<(&'static str, Duration)>,
    /// Whether the code was there already.
    pub found: Found,
    /// Nodes of the graph as built and derived, before simplification.
    pub nodes_before: usize,
    /// Nodes that are scheduled.
    pub nodes_after: usize,
    /// Fused loop nests.
    pub kernels: usize,
    /// Scratch memory of a call.
    pub arena_bytes: usize,
    /// The least that the arena could take: the most scratch memory in use at one time.
    pub live_bytes: usize,
    /// Machine code.
    pub code_bytes: usize,
}

impl CompileReport {
    /// The time of all stages.
    pub fn total(&self) -> Duration {
        self.stages.iter().map(|stage| stage.1).sum()
    }
}

impl fmt::Display for CompileReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (stage, time) in &self.stages {
            writeln!(f, "{stage:<12}{:>9.3} ms", time.as_secs_f64() * 1e3)?;
        }
        writeln!(f, "{:<12}{:>9.3} ms", "total", self.total().as_secs_f64() * 1e3)?;
        if self.found == Found::InCache {
            writeln!(f, "an equal graph had been compiled before")?;
        }
        let (before, after) = (self.nodes_before, self.nodes_after);
        writeln!(f, "{before} nodes, {after} after simplification; {} kernels", self.kernels)?;
        let (code, arena, live) = (self.code_bytes, self.arena_bytes, self.live_bytes);
        write!(f, "{code} bytes of code, {arena} bytes of arena, at most {live} of them in use at one time")
    }
}

impl Executable {
    pub(crate) fn new(
        schedule: &Schedule,
        code: Code,
        work: Vec<TaskWork>,
        report: CompileReport,
    ) -> Executable {
        #[cfg(target_arch = "x86_64")]
        let has_wide_vectors = is_x86_feature_detected!("avx");
        let (code, work) = (Arc::new(code), work.into());
        let (layout, uses_threads) = (Layout::of(schedule), schedule.program.uses_threads());
        Executable {
            code,
            layout,
            work,
            report,
            uses_threads,
            #[cfg(target_arch = "x86_64")]
            has_wide_vectors,
        }
    }

    /// The same program, which was looked for in these stages.
    pub(crate) fn found_again(mut self, stages: Vec<(&'static str, Duration)>) -> Executable {
        (self.report.stages, self.report.found) = (stages, Found::InCache);
        self
    }

    /// Fresh state: parameters and slots at their initial values.
    pub fn state(&self) -> State {
        State::new(&self.layout)
    }

    /// Inputs still to be set.
    pub fn inputs(&self) -> Inputs {
        Inputs::new(&self.layout)
    }

    /// Runs the program once. Allocates nothing, but what it takes to call threads of the pool for large kernels.
    ///
    /// # Errors
    /// An input without a value; state or inputs made by another program. Nothing has run then.
    #[inline]
    pub fn run<'s>(&self, state: &'s mut State, inputs: &Inputs) -> Result<Report<'s>> {
        self.run_many(state, inputs, 1)
    }

    /// Runs the program `count` times with the same inputs, in native code; reports the last run. With a
    /// count of 0, nothing runs and the outputs are those of the last call.
    ///
    /// # Errors
    /// As [`Executable::run`].
    #[inline]
    pub fn run_many<'s>(&self, state: &'s mut State, inputs: &Inputs, count: u64) -> Result<Report<'s>> {
        let pointers = self.check(state, inputs)?;
        if self.uses_threads && team::threads() > 1 {
            self.run_in_pace(state, pointers, count);
        } else if count > 0 {
            self.steps(state, pointers, count);
        }
        Ok(Report { state })
    }

    /// Runs the program by the crew that takes less time.
    fn run_in_pace(&self, state: &mut State, inputs: *const *const u8, count: u64) {
        let mut left = count;
        while left > 0 {
            let (crew, count) = state.pace.next(left);
            let started = Instant::now();
            match crew {
                Crew::Team => self.steps(state, inputs, count),
                Crew::Alone => team::alone(|| self.steps(state, inputs, count)),
            }
            state.pace.took(count, started.elapsed());
            left -= count;
        }
    }

    /// Runs the program at least once, with inputs that were checked.
    #[inline]
    pub(super) fn steps(&self, state: &mut State, inputs: *const *const u8, count: u64) {
        self.clean_vectors();
        state.forget_plain();
        let (memory, outputs, arena) = (state.memory.start(), state.outputs.start(), state.arena.start());
        // SAFETY: the code was generated for this layout, from a program whose accesses were verified to lie
        // inside the blocks; state and inputs have that layout, and the inputs are all set. `&mut State`
        // makes its blocks ours alone. The count is at least one.
        unsafe { (self.code.steps)(memory, inputs, outputs, arena, count) };
    }

    /// What compiling took, and what came out.
    pub fn compile_report(&self) -> &CompileReport {
        &self.report
    }

    /// The CLIF of every function, if compiled with [`crate::Listing::Full`].
    pub fn clif(&self) -> &str {
        &self.code.clif
    }

    /// The assembly of every function, if compiled with [`crate::Listing::Full`].
    pub fn asm(&self) -> &str {
        &self.code.asm
    }

    #[inline]
    pub(super) fn check(&self, state: &State, inputs: &Inputs) -> Result<*const *const u8> {
        if !Arc::ptr_eq(&self.layout, &state.layout) {
            return Err(Error::ForeignMemory("state"));
        }
        if !Arc::ptr_eq(&self.layout, &inputs.layout) {
            return Err(Error::ForeignMemory("inputs"));
        }
        inputs.pointers()
    }

    /// Cranelift mixes in legacy SSE moves, which crawl while upper halves of vector registers are dirty: a
    /// 6.5 ns step took 600 ns after a library call that had left them so.
    #[inline]
    pub(super) fn clean_vectors(&self) {
        #[cfg(target_arch = "x86_64")]
        if self.has_wide_vectors {
            // SAFETY: the processor has AVX, and every register a call may clobber is declared clobbered.
            unsafe { std::arch::asm!("vzeroupper", clobber_abi("C"), options(nomem, nostack)) };
        }
    }
}

impl fmt::Debug for Executable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executable").field("layout", &self.layout).field("report", &self.report).finish()
    }
}
