//! `--dump-graph`, `--emit` and `--timings`: looking into a training step.

use std::io::Write;

use hitofude::{Executable, Listing, Options, TrainingStep, dump};

use super::{Failure, Form, Inspect, Stage};

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
            self.time(&step.compile()?, &mut std::io::stderr())?;
        }
        Ok(true)
    }

    /// Prints where compile time went, if asked for.
    pub fn time(&self, executable: &Executable, out: &mut dyn Write) -> Result<(), Failure> {
        if self.timings {
            writeln!(out, "{}", executable.compile_report())?;
        }
        Ok(())
    }
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
