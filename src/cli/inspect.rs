//! `--dump-graph`, `--emit`, `--timings` and `--profile`: looking into a training step.

use std::io::Write;

use hitofude::{Executable, Listing, Options, Profile, TaskProfile, TrainingStep, dump};
use serde_json::{Value, json};

use super::{Failure, Form, Inspect, Stage};

/// Steps that a profile is the median of.
const PROFILED: u64 = 1000;

impl Inspect {
    /// Shows what was asked for, if it was something to show instead of training.
    pub fn show(&self, step: &TrainingStep<'_>, out: &mut impl Write) -> Result<bool, Failure> {
        let text = match (self.dump_graph, self.emit) {
            (Some(stage), _) => picture(step, stage)?,
            (None, Some(form)) => listing(step, form)?,
            (None, None) if self.output.is_some() => {
                return Err(Failure::Usage("--output goes with --dump-graph or --emit".into()));
            }
            (None, None) => return Ok(false),
        };
        match &self.output {
            None => out.write_all(text.as_bytes())?,
            Some(path) => std::fs::write(path, text)
                .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))?,
        }
        if self.timings {
            self.time(&step.compile()?, true, out)?;
        }
        Ok(true)
    }

    /// Prints where the time to compile a step went, if asked for: after the other output, or beside output that a program
    /// reads, to standard error.
    pub fn time(&self, compiled: &Executable, beside: bool, out: &mut impl Write) -> Result<(), Failure> {
        if !self.timings {
            return Ok(());
        }
        match beside {
            true => writeln!(std::io::stderr(), "{}", compiled.compile_report())?,
            false => writeln!(out, "\n{}", compiled.compile_report())?,
        }
        Ok(())
    }

    /// Prints where the time of a step goes, if asked for; `measure` takes the number of steps to time.
    pub fn profile(
        &self,
        json: bool,
        out: &mut impl Write,
        measure: impl FnOnce(u64) -> hitofude::Result<Profile>,
    ) -> Result<(), Failure> {
        if !self.profile {
            return Ok(());
        }
        let profile = measure(PROFILED)?;
        match json {
            true => writeln!(out, "{}", profile_json(&profile))?,
            false => writeln!(out, "\n{profile}")?,
        }
        Ok(())
    }
}

fn profile_json(profile: &Profile) -> Value {
    let tasks: Vec<Value> = profile.tasks.iter().map(task_json).collect();
    json!({ "profile": tasks, "us": profile.seconds() * 1e6, "steps": profile.steps })
}

fn task_json(task: &TaskProfile) -> Value {
    let sources: Vec<Value> = (task.work.sources.iter())
        .map(|source| json!({ "operator": source.operator, "origin": source.origin }))
        .collect();
    let parts: Vec<Value> = task.parts.iter().map(task_json).collect();
    json!({
        "kernels": task.work.kernels, "us": task.seconds * 1e6, "share": task.share,
        "bytes": task.work.bytes, "gb_per_s": task.gigabytes_per_second(),
        "flops": task.work.flops, "gflop_per_s": task.gigaflops_per_second(), "sources": sources,
        "runs": task.work.runs, "parts": parts,
    })
}

fn picture(step: &TrainingStep<'_>, stage: Stage) -> Result<String, Failure> {
    let options = Options::default();
    Ok(match stage {
        Stage::Forward => dump::dot(&step.forward().graph()?),
        Stage::Gradient => dump::dot(&step.gradient()?.optimised(&options)?),
        Stage::Step => dump::dot(&step.function()?.optimised(&options)?),
        Stage::Schedule => dump::schedule_dot(&step.schedule()?),
    })
}

fn listing(step: &TrainingStep<'_>, form: Form) -> Result<String, Failure> {
    let executable = step.compile_with(&Options { listing: Listing::Full, ..Options::default() })?;
    Ok(match form {
        Form::Clif => executable.clif().into(),
        Form::Asm => executable.asm().into(),
    })
}
