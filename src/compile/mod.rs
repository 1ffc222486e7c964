//! Floor 7: the way through the house, from a graph's results to native code. The only module that knows
//! every stage.

mod cache;
mod function;
mod verify;
mod work;

pub use cache::clear_cache;
pub use function::Function;
pub use verify::Verification;

use std::time::{Duration, Instant};

use crate::codegen;
use crate::error::Result;
use crate::ops::Graph;
use crate::runtime::{CompileReport, Executable, Found, library};
use crate::schedule::schedule;
use crate::transform::{keep, lift, prune, ready, simplify, simplify_fast};

pub use crate::codegen::{Cpu, Listing};

/// A pass: graph in, graph out, with the results kept; nothing if it has nothing to do.
pub struct Pass {
    pub name: &'static str,
    pub run: fn(&Graph) -> Option<Graph>,
}

/// The passes between derivation and scheduling, in order.
pub const PASSES: &[Pass] = &[
    Pass { name: "simplify", run: |graph| Some(simplify(graph)) },
    Pass { name: "prune", run: |graph| Some(prune(graph)) },
    Pass { name: "keep", run: keep },
    Pass { name: "lift", run: lift },
];

/// The pass before all others under [`FastMath::On`].
pub const FAST_MATH: Pass = Pass { name: "fast_math", run: |graph| Some(simplify_fast(graph)) };

/// Whether arithmetic may be rewritten as if floats were real numbers: `x · 0` → `0`, `x / x` → `1`, `x / 3` →
/// `x · (1/3)` and the like ([`crate::transform::FAST_RULES`]). Results then differ where NaN, ±∞, −0 or the ends of the
/// range come up, and in the last bits elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FastMath {
    #[default]
    Off,
    On,
}

/// Whether a graph that was compiled before in this process, with the same options and from the same lines, is compiled
/// again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cache {
    /// It is not: both programs share their code, and work with each other's state and inputs. The last 64 programs are
    /// kept ([`clear_cache`]).
    #[default]
    Shared,
    /// It is, and not kept.
    Off,
}

/// How to compile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Names of [`PASSES`] to leave out.
    pub without: Vec<&'static str>,
    /// Whether rewrites may lose NaN, ±∞ and −0.
    pub fast_math: FastMath,
    /// The processors to generate code for.
    pub cpu: Cpu,
    /// Whether to keep CLIF and assembly.
    pub listing: Listing,
    /// Whether to look for the program among those compiled before.
    pub cache: Cache,
}

impl Options {
    /// Runs the passes that are not left out.
    pub fn optimise(&self, graph: Graph) -> Graph {
        self.passes().fold(graph, |graph, pass| (pass.run)(&graph).unwrap_or(graph))
    }

    fn passes(&self) -> impl Iterator<Item = &'static Pass> {
        let fast = (self.fast_math == FastMath::On).then_some(&FAST_MATH);
        fast.into_iter().chain(PASSES.iter().filter(|pass| !self.without.contains(&pass.name)))
    }
}

/// Times the stages of one compilation.
struct Stopwatch {
    stages: Vec<(&'static str, Duration)>,
}

impl Stopwatch {
    fn time<T>(&mut self, stage: &'static str, run: impl FnOnce() -> T) -> T {
        let _span = span(stage);
        let started = Instant::now();
        let result = run();
        self.stages.push((stage, started.elapsed()));
        result
    }
}

/// Marks a stage as under way, until what is returned is dropped: as a `tracing` span, if that feature is on.
#[cfg(feature = "tracing")]
pub(crate) fn span(stage: &'static str) -> impl Sized {
    tracing::info_span!("hitofude", stage).entered()
}

/// Marks a stage as under way; the feature `tracing` is off.
#[cfg(not(feature = "tracing"))]
pub(crate) fn span(_stage: &'static str) -> impl Sized {}

fn compile_anew(source: &Graph, options: &Options, mut watch: Stopwatch) -> Result<Executable> {
    let mut optimised: Option<Graph> = None;
    for pass in options.passes() {
        optimised = watch.time(pass.name, || (pass.run)(optimised.as_ref().unwrap_or(source))).or(optimised);
    }
    let graph = optimised.as_ref().unwrap_or(source);
    let ready = watch.time("ready", || ready(graph));
    let schedule = watch.time("schedule", || schedule(&ready))?;
    let code = {
        let _span = span("codegen");
        codegen::compile(&schedule.program, options.cpu, library(options.cpu), options.listing)?
    };
    watch.stages.extend([("lower", code.lowering), ("cranelift", code.cranelift)]);
    let report = CompileReport {
        stages: watch.stages,
        found: Found::Nowhere,
        nodes_before: source.len(),
        nodes_after: graph.len(),
        kernels: schedule.program.kernels().len(),
        arena_bytes: schedule.program.arena_bytes,
        live_bytes: schedule.live_bytes(),
        code_bytes: code.bytes,
    };
    let work = work::work(&ready, &schedule.program, code.tasks.is_empty());
    Ok(Executable::new(&schedule, code, work, report))
}
