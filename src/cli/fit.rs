//! `hitofude fit DATA.csv --target COLUMN`: least squares on a user's table.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use hitofude::data::{Missing, Table};
use hitofude::train::{FitOptions, LinearFit, LinearProblem, Progress, Stopped};
use hitofude::{DType, Graph};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{Failure, Float, Inspect};

#[derive(Args)]
pub struct Arguments {
    /// A CSV file whose first line names the columns.
    data: PathBuf,
    /// The column to explain by all others.
    #[arg(long, value_name = "COLUMN")]
    target: String,
    /// A column to leave out; may be given several times.
    #[arg(long, value_name = "COLUMN")]
    ignore: Vec<String>,
    /// Leave out rows with missing values, which are refused otherwise.
    #[arg(long)]
    drop_missing: bool,
    /// Train on the numbers as they are, not scaled to mean 0 and deviation 1.
    #[arg(long)]
    no_standardize: bool,
    /// The element type to train in.
    #[arg(long, value_enum, default_value = "f64")]
    dtype: Float,
    /// The most training steps.
    #[arg(long, default_value_t = 100_000)]
    steps: u64,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    inspect: Inspect,
}

pub fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    let started = Instant::now();
    let (table, problem) = read(arguments)?;
    let graph = Graph::new();
    let step = problem.training_step(&graph)?;
    if arguments.inspect.show(&step, out)? {
        return Ok(());
    }
    let compiled = step.compile()?; // the one that the fit will find
    let mut display = Display::new(arguments, out)?;
    let fit = problem.fit(|progress| display.show(progress));
    display.finish()?;
    let (fit, time) = (fit.map_err(|error| named(arguments, &error))?, started.elapsed());
    let rows =
        Rows { used: table.rows(), dropped: table.dropped(), are_few: table.rows() <= problem.columns() };
    match arguments.json {
        true => print_json(&fit, &rows, time, out)?,
        false => print_text(&fit, &rows, &arguments.target, time, out)?,
    }
    arguments.inspect.profile(arguments.json, out, |steps| problem.profile(steps))?;
    arguments.inspect.time(&compiled, arguments.json, out)
}

/// Reads the table and makes it ready; what is wrong with it is told with the file's name.
fn read(arguments: &Arguments) -> Result<(Table, LinearProblem), Failure> {
    let missing = if arguments.drop_missing { Missing::DropRow } else { Missing::Refuse };
    let options = FitOptions {
        dtype: DType::from(arguments.dtype),
        standardize: !arguments.no_standardize,
        max_steps: arguments.steps,
        tolerance: None,
    };
    let table = Table::read_csv(&arguments.data, &arguments.ignore, missing)?;
    let problem = LinearProblem::new(&table, &arguments.target, &options);
    Ok((table, problem.map_err(|error| named(arguments, &error))?))
}

fn named(arguments: &Arguments, error: &hitofude::Error) -> Failure {
    Failure::Usage(format!("{}: {error}", arguments.data.display()))
}

/// What became of the rows of the file.
struct Rows {
    used: usize,
    dropped: usize,
    /// No more than coefficients: other fits are as good.
    are_few: bool,
}

/// Progress of training: lines ever further apart, and a bar on a terminal.
struct Display<'o, W: Write> {
    out: &'o mut W,
    json: bool,
    bar: Option<ProgressBar>,
    next: u64,
    failed: Option<std::io::Error>,
}

impl<'o, W: Write> Display<'o, W> {
    fn new(arguments: &Arguments, out: &'o mut W) -> Result<Self, Failure> {
        let bar = (std::io::stderr().is_terminal() && !arguments.json).then(|| {
            let style = ProgressStyle::with_template("{bar:30} step {pos}  {msg}");
            let bar = ProgressBar::new(arguments.steps);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        if !arguments.json {
            writeln!(out, "{:>8}  {:>14}  {:>10}", "step", "loss", "gradient")?;
        }
        Ok(Display { out, json: arguments.json, bar, next: 0, failed: None })
    }

    fn show(&mut self, Progress { step, loss, gradient }: Progress) {
        if let Some(bar) = self.bar.as_ref().filter(|_| step % 256 == 0) {
            bar.set_position(step);
            bar.set_message(format!("loss {loss:.6}"));
        }
        if step < self.next || self.failed.is_some() {
            return;
        }
        self.next = if step == 0 { 1 } else { step * 2 };
        let written = if self.json {
            writeln!(self.out, "{}", json!({ "step": step, "loss": loss, "gradient": gradient }))
        } else {
            let line = format!("{step:>8}  {loss:>14.6}  {gradient:>10.2e}");
            let out = &mut self.out;
            match &self.bar {
                Some(bar) => bar.suspend(|| writeln!(out, "{line}")),
                None => writeln!(out, "{line}"),
            }
        };
        self.failed = written.err();
    }

    fn finish(self) -> Result<(), Failure> {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
        self.failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

fn print_text(
    fit: &LinearFit,
    rows: &Rows,
    target: &str,
    time: Duration,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let reason = match fit.stopped {
        Stopped::GradientSmall => "the gradient is small: this is the least-squares solution",
        Stopped::Stalled => {
            "the gradient gets no smaller: rounding, or columns of very different size, allow no more"
        }
        Stopped::StepsExhausted => "the steps ran out: the fit may be some way off; raise --steps",
    };
    writeln!(out, "\nstopped after {} steps: {reason}\n\n{target} =", fit.steps)?;
    for (name, coefficient) in &fit.coefficients {
        let note = if fit.constant.contains(name) { "  (constant column)" } else { "" };
        writeln!(out, "  {:>18} · {name}{note}", number(*coefficient))?;
    }
    writeln!(out, "  {:>18}\n", number(fit.intercept))?;
    let (mse, ms) = (number(fit.mse), time.as_secs_f64() * 1e3);
    writeln!(out, "R² {:.6}, mean squared error {}, {} rows, {ms:.1} ms", fit.r2, &mse[1..], rows.used)?;
    if rows.dropped > 0 {
        writeln!(out, "{} rows with missing values were left out", rows.dropped)?;
    }
    if rows.are_few && fit.stopped == Stopped::GradientSmall {
        writeln!(out, "there are no more rows than coefficients: other coefficients fit as well")?;
    }
    Ok(())
}

/// A number with its sign, and nine digits or more.
fn number(x: f64) -> String {
    let is_handy = x == 0.0 || (1e-3..1e9).contains(&x.abs());
    if is_handy { format!("{x:+.8}") } else { format!("{x:+.8e}") }
}

fn print_json(fit: &LinearFit, rows: &Rows, time: Duration, out: &mut impl Write) -> Result<(), Failure> {
    let coefficients: serde_json::Map<String, serde_json::Value> =
        fit.coefficients.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let stopped = match fit.stopped {
        Stopped::GradientSmall => "gradient small",
        Stopped::Stalled => "stalled",
        Stopped::StepsExhausted => "steps exhausted",
    };
    let summary = json!({
        "coefficients": coefficients, "intercept": fit.intercept, "r2": fit.r2, "mse": fit.mse,
        "steps": fit.steps, "stopped": stopped, "rows": rows.used, "dropped_rows": rows.dropped,
        "unique": !rows.are_few, "constant_columns": fit.constant, "ms": time.as_secs_f64() * 1e3,
    });
    writeln!(out, "{summary}")?;
    Ok(())
}
