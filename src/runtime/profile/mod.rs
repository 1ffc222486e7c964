//! Where the time of a step goes, task by task, and kernel by kernel in those that are repeats.

mod measure;

use std::fmt;

use measure::Times;

/// What is known of a task when it is compiled: a kernel, a repeat of kernels, or a program that is small enough to be
/// straight-line code; or of one kernel of a repeat.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// The names of its kernels, in order: those of the buffers that they fill.
    pub kernels: Vec<String>,
    /// The operators whose results it stores.
    pub sources: Vec<Source>,
    /// How often it runs in a step: once, but for kernels of a repeat. The most, if the repeat has a condition.
    pub runs: usize,
    /// Bytes read and written in a step: distinct elements of each buffer, kernel by kernel and run by run.
    pub bytes: usize,
    /// Floating-point operations of a step: one for a scalar function, whatever it is, 2·m·n·k for a contraction.
    pub flops: usize,
}

/// The work of a task and, if it is a repeat, that of each of its kernels.
#[derive(Clone, Debug)]
pub(crate) struct TaskWork {
    pub whole: Work,
    pub parts: Vec<Work>,
}

/// Where a piece of work comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The operator as graphs print it.
    pub operator: String,
    /// The caller's file and line, or the rule that derived it and for what.
    pub origin: String,
}

/// The share of one task, or of one kernel of a repeat, in a step.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskProfile {
    pub work: Work,
    /// Seconds a step.
    pub seconds: f64,
    /// Of the seconds of all tasks: the shares of the tasks sum to 1.
    pub share: f64,
    /// If it is a repeat: its kernels. Their seconds sum to those of the repeat.
    pub parts: Vec<TaskProfile>,
}

/// Where the time of a step goes: what [`Executable::profile`](crate::Executable::profile) found.
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

    fn new(steps: u64, work: &[TaskWork], times: &[Times]) -> Profile {
        let total: f64 = times.iter().map(|times| times.whole).sum();
        let share = |seconds: f64| if total > 0.0 { seconds / total } else { 1.0 / work.len() as f64 };
        let task = |(work, times): (&TaskWork, &Times)| {
            let share = share(times.whole);
            let all: f64 = times.parts.iter().sum();
            let part = |(work, seconds): (&Work, &f64)| {
                let of_all = if all > 0.0 { seconds / all } else { 1.0 / times.parts.len() as f64 };
                let (seconds, share) = (of_all * times.whole, of_all * share);
                TaskProfile { work: work.clone(), seconds, share, parts: vec![] }
            };
            let parts = work.parts.iter().zip(&times.parts).map(part).collect();
            TaskProfile { work: work.whole.clone(), seconds: times.whole, share, parts }
        };
        Profile { steps, tasks: work.iter().zip(times).map(task).collect() }
    }
}

impl fmt::Display for Profile {
    /// A line a task, and below it a line for each operator it comes from, or the same for each kernel of a repeat.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  share         time         bytes     GB/s         flops  GFLOP/s  kernel")?;
        for task in &self.tasks {
            match &task.parts[..] {
                [] => task.fmt_lines(&task.work.kernels.join(" + "), "", f)?,
                [_] => task.fmt_line("a repeated kernel", f)?,
                parts => task.fmt_line(&format!("{} repeated kernels", parts.len()), f)?,
            }
            for part in &task.parts {
                let (kernel, runs) = (part.work.kernels.join(" + "), part.work.runs);
                part.fmt_lines(&format!("  {kernel}, {runs} times"), "  ", f)?;
            }
        }
        write!(f, "{:>7}{:>10.3} µs  a step, {} timed", "all", self.seconds() * 1e6, self.steps)
    }
}

impl TaskProfile {
    fn fmt_line(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (share, work) = (format!("{:.1} %", self.share * 100.0), &self.work);
        let (bytes, flops) = (self.gigabytes_per_second(), self.gigaflops_per_second());
        write!(f, "{share:>7}{:>10.3} µs", self.seconds * 1e6)?;
        writeln!(f, "{:>14}{bytes:>9.2}{:>14}{flops:>9.2}  {name}", work.bytes, work.flops)
    }

    /// The line, and the operators below it.
    fn fmt_lines(&self, name: &str, indent: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fmt_line(name, f)?;
        for Source { operator, origin } in &self.work.sources {
            writeln!(f, "{:70}{indent}{operator}  {origin}", "")?;
        }
        Ok(())
    }
}
