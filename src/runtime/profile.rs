//! Where the time of a step goes, task by task.

use std::fmt;
use std::time::{Duration, Instant};

use super::{Executable, Inputs, State};
use crate::codegen::StepFn;
use crate::error::{Error, Result};

/// What is known of a task when it is compiled: a kernel, a loop with its kernels, or a program that is small enough to
/// be straight-line code.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// The names of its kernels, in order: those of the buffers that they fill.
    pub kernels: Vec<String>,
    /// The operators whose results it stores.
    pub sources: Vec<Source>,
    /// Bytes read and written: distinct elements of each buffer, kernel by kernel.
    pub bytes: usize,
    /// Floating-point operations: one for a scalar function, whatever it is, 2·m·n·k for a contraction.
    pub flops: usize,
}

/// Where a piece of work comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The operator as graphs print it.
    pub operator: String,
    /// The caller's file and line, or the rule that derived it and for what.
    pub origin: String,
}

/// The share of one task in a step.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskProfile {
    pub work: Work,
    /// Seconds a step.
    pub seconds: f64,
    /// Of the seconds of all tasks: the shares sum to 1.
    pub share: f64,
}

/// Where the time of a step goes: what [`Executable::profile`] found.
///
/// [`fmt::Display`] shows it as a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The steps that were timed.
    pub steps: u64,
    /// The tasks in the order they run.
    pub tasks: Vec<TaskProfile>,
}

impl TaskProfile {
    /// Gigabytes a second; 0 where no time could be measured.
    pub fn gigabytes_per_second(&self) -> f64 {
        rate(self.work.bytes, self.seconds)
    }

    /// Billions of floating-point operations a second; 0 where no time could be measured.
    pub fn gigaflops_per_second(&self) -> f64 {
        rate(self.work.flops, self.seconds)
    }
}

fn rate(count: usize, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 * 1e-9 / seconds } else { 0.0 }
}

impl Profile {
    /// Seconds a step, of all tasks.
    pub fn seconds(&self) -> f64 {
        self.tasks.iter().map(|task| task.seconds).sum()
    }

    fn new(steps: u64, work: &[Work], seconds: Vec<f64>) -> Profile {
        let total: f64 = seconds.iter().sum();
        let share = |seconds: f64| if total > 0.0 { seconds / total } else { 1.0 / work.len() as f64 };
        let tasks = work.iter().zip(seconds).map(|(work, seconds)| TaskProfile {
            work: work.clone(),
            seconds,
            share: share(seconds),
        });
        Profile { steps, tasks: tasks.collect() }
    }
}

impl Executable {
    /// Runs the tasks of the program one by one, all of them `steps` times over, and tells where the time goes: for each
    /// its median time, less that of reading the clock. A loop is timed as one, and so is straight-line code.
    ///
    /// It works on a copy of the state: nothing is trained.
    ///
    /// # Errors
    /// As [`Executable::run`]; no steps.
    ///
    /// ```
    /// use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let (x, w) = (g.input("x", [32, 64], F32), g.parameter("w", [64, 16], F32));
    /// let f = g.compile(&[("y", x.matmul(w))])?;
    /// let inputs = f.inputs().with("x", Array2::<f32>::ones((32, 64)))?;
    /// let profile = f.profile(&f.state(), &inputs, 10)?;
    /// assert_eq!(profile.tasks[0].work.flops, 2 * 32 * 16 * 64);
    /// assert!(profile.tasks[0].work.sources[0].operator.starts_with("dot"));
    /// println!("{profile}");
    /// # Ok::<(), Error>(())
    /// ```
    pub fn profile(&self, state: &State, inputs: &Inputs, steps: u64) -> Result<Profile> {
        if steps == 0 {
            return Err(Error::Value(
                "profile takes the number of steps to time, at least 1; given 0".into(),
            ));
        }
        let pointers = self.check(state, inputs)?;
        let mut copy = state.clone();
        let (memory, outputs, arena) = (copy.memory.start(), copy.outputs.start(), copy.arena.start());
        let seconds = match self.code.tasks[..] {
            [] => {
                let started = Instant::now();
                self.steps(&mut copy, pointers, steps);
                vec![started.elapsed().as_secs_f64() / steps as f64]
            }
            ref tasks => medians(tasks, steps, |task| {
                self.clean_vectors();
                // SAFETY: as in `Executable::steps`; the copy is ours alone, and the tasks are the parts of a step and
                // run in its order.
                unsafe { task(memory, pointers, outputs, arena) };
            }),
        };
        Ok(Profile::new(steps, &self.work, seconds))
    }
}

/// The median time of each task in steps of them all, in seconds.
fn medians(tasks: &[StepFn], steps: u64, run: impl Fn(StepFn)) -> Vec<f64> {
    let clock = median((0..101).map(|_| Instant::now().elapsed()).collect());
    let mut times: Vec<Vec<Duration>> = vec![Vec::new(); tasks.len()];
    for _ in 0..steps {
        for (task, times) in tasks.iter().zip(&mut times) {
            let started = Instant::now();
            run(*task);
            times.push(started.elapsed());
        }
    }
    times.into_iter().map(|times| median(times).saturating_sub(clock).as_secs_f64()).collect()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

impl fmt::Display for Profile {
    /// A line a task, and below it a line for each operator it comes from.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  share         time         bytes     GB/s         flops  GFLOP/s  kernel")?;
        for task in &self.tasks {
            let (share, work) = (format!("{:.1} %", task.share * 100.0), &task.work);
            let (bytes, flops) = (task.gigabytes_per_second(), task.gigaflops_per_second());
            write!(f, "{share:>7}{:>10.3} µs", task.seconds * 1e6)?;
            write!(f, "{:>14}{bytes:>9.2}{:>14}{flops:>9.2}  ", work.bytes, work.flops)?;
            writeln!(f, "{}", work.kernels.join(" + "))?;
            for Source { operator, origin } in &work.sources {
                writeln!(f, "{:70}{operator}  {origin}", "")?;
            }
        }
        write!(f, "{:>7}{:>10.3} µs  a step, {} timed", "all", self.seconds() * 1e6, self.steps)
    }
}
