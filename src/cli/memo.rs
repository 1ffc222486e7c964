//! `hitofude`: the memo's model. A linear layer on input [0.1, 0.2, 0.3] with weight [[0.4, 0.5, 0.6]] and bias
//! [0.1], trained towards [1.0].

use std::io::Write;
use std::time::{Duration, Instant};

use clap::Args;
use hitofude::prelude::*;
use hitofude::{Executable, Inputs, State, TrainingStep};
use serde_json::json;

use super::{Failure, Float, Inspect, shortest};

/// The steps that are shown, with the last.
const SHOWN: [u64; 8] = [0, 1, 2, 9, 99, 199, 499, 999];

#[derive(Args)]
pub struct Arguments {
    /// The element type.
    #[arg(long, value_enum, default_value = "f32")]
    dtype: Float,
    /// Training steps.
    #[arg(long, default_value_t = 1000)]
    steps: u64,
    /// Learning rate.
    #[arg(long, default_value_t = 0.01, allow_negative_numbers = true)]
    lr: f64,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    inspect: Inspect,
}

pub fn run(arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    if !arguments.lr.is_finite() {
        return Err(Failure::Usage(format!("--lr {} is not a finite number", arguments.lr)));
    }
    let dtype: DType = arguments.dtype.into();
    let graph = Graph::new();
    let training = training_step(&graph, dtype, arguments.lr)?;
    if arguments.inspect.show(&training, out)? {
        return Ok(());
    }
    let started = Instant::now();
    let step = training.compile()?;
    let compile_time = started.elapsed();
    let mut run = Run { state: step.state(), inputs: step.inputs(), step, dtype };
    run.fill()?;
    train(&mut run, arguments, out)?;
    run.summary(arguments, compile_time, out)?;
    let profile = |steps| run.step.profile(&run.state, &run.inputs, steps);
    arguments.inspect.profile(arguments.json, out, profile)?;
    arguments.inspect.time(&run.step, arguments.json, out)
}

fn training_step(graph: &Graph, dtype: DType, rate: f64) -> Result<TrainingStep<'_>> {
    let x = graph.input("x", [3], dtype);
    let target = graph.input("target", [1], dtype);
    let weight = graph.parameter("weight", [1, 3], dtype);
    let bias = graph.parameter("bias", [1], dtype);
    let output = x.linear(weight, bias);
    let loss = output.mse_loss(target);
    Ok(graph.training_step(loss, Sgd::new(rate))?.output("output", output))
}

struct Run {
    step: Executable,
    state: State,
    inputs: Inputs,
    dtype: DType,
}

fn train(run: &mut Run, arguments: &Arguments, out: &mut impl Write) -> Result<(), Failure> {
    if !arguments.json {
        writeln!(out, "{:>6}  {:>8}  {:>10}", "step", "output", "loss")?;
    }
    let steps = arguments.steps;
    let mut done = 0;
    for shown in SHOWN.into_iter().filter(|&step| step < steps).chain((steps > 0).then(|| steps - 1)) {
        if shown < done {
            continue; // The last step, shown already.
        }
        run.step.run_many(&mut run.state, &run.inputs, shown - done)?;
        let report = run.step.run(&mut run.state, &run.inputs)?;
        done = shown + 1;
        let (output, loss) = (report.number("output")?, report.loss());
        if arguments.json {
            let (output, loss) = (shortest(output, run.dtype), shortest(loss, run.dtype));
            writeln!(out, "{}", json!({ "step": shown, "output": output, "loss": loss }))?;
        } else {
            writeln!(out, "{shown:>6}  {output:>8.5}  {:>10}", scientific(loss))?;
        }
    }
    Ok(())
}

impl Run {
    fn fill(&mut self) -> Result<()> {
        let dtype = self.dtype;
        let value = |value: Value| value.cast(dtype);
        self.state.set("weight", value(array![[0.4, 0.5, 0.6]].into()))?;
        self.state.set("bias", value(array![0.1].into()))?;
        self.inputs.set("x", value(array![0.1, 0.2, 0.3].into()))?;
        self.inputs.set("target", value(array![1.0].into()))
    }

    fn summary(
        &mut self,
        arguments: &Arguments,
        compile_time: Duration,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        let (weight, bias) = (self.state.get("weight")?.to_f64(), self.state.get("bias")?.to_f64());
        let ns = self.nanoseconds_a_step()?;
        let compile_ms = compile_time.as_secs_f64() * 1e3;
        if arguments.json {
            let numbers =
                |values: &[f64]| values.iter().map(|&x| shortest(x, self.dtype)).collect::<Vec<_>>();
            let (weight, bias) = (numbers(&weight), numbers(&bias));
            let last =
                json!({ "weight": [weight], "bias": bias, "compile_ms": compile_ms, "ns_per_step": ns });
            writeln!(out, "{last}")?;
        } else {
            let list =
                |values: &[f64]| values.iter().map(|x| format!("{x:.8}")).collect::<Vec<_>>().join(", ");
            writeln!(out, "\nweight  [[{}]]\nbias    [{}]", list(&weight), list(&bias))?;
            writeln!(out, "compiled in {compile_ms:.3} ms; {ns:.1} ns a step")?;
        }
        if !weight.iter().chain(&bias).all(|x| x.is_finite()) {
            eprintln!("the parameters are not finite: the rate {} is too large for this model", arguments.lr);
        }
        Ok(())
    }

    /// The time of one call, on a copy of the state: the median of several thousand calls in a row.
    fn nanoseconds_a_step(&self) -> Result<f64> {
        const CALLS: u32 = 10_000;
        const ROUNDS: usize = 21;
        let mut state = self.state.clone();
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            let started = Instant::now();
            for _ in 0..CALLS {
                self.step.run(&mut state, &self.inputs)?;
            }
            times.push(started.elapsed().as_secs_f64() * 1e9 / f64::from(CALLS));
        }
        times.sort_by(f64::total_cmp);
        Ok(times[ROUNDS / 2])
    }
}

/// Four significant digits and an exponent of two, as C's `%.3e`.
fn scientific(x: f64) -> String {
    let text = format!("{x:.3e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let (sign, exponent) = match exponent.strip_prefix('-') {
        Some(exponent) => ('-', exponent),
        None => ('+', exponent),
    };
    format!("{digits}e{sign}{exponent:0>2}")
}
