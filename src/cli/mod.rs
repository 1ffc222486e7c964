//! The commands, and what they have in common.

mod fit;
mod inspect;
mod memo;

use std::io::Write;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hitofude::DType;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Hitofude(#[from] hitofude::Error),
    #[error("cannot write: {0}")]
    Output(#[from] std::io::Error),
    #[error("{0}")]
    Usage(String),
}

/// Symbolic computation graphs, differentiated and compiled into one native training step.
///
/// Without a command: trains the smallest model, a linear layer on one sample, and shows how it goes.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    memo: memo::Arguments,
}

#[derive(Subcommand)]
enum Command {
    /// Fit a linear model to the columns of a CSV file.
    Fit(fit::Arguments),
}

/// The element type to train in.
#[derive(Clone, Copy, ValueEnum)]
enum Float {
    F32,
    F64,
}

impl From<Float> for DType {
    fn from(float: Float) -> DType {
        match float {
            Float::F32 => DType::F32,
            Float::F64 => DType::F64,
        }
    }
}

/// What to show instead of training.
#[derive(Args)]
struct Inspect {
    /// Print a stage of the graph in Graphviz' DOT language, and do not train.
    #[arg(long, value_name = "STAGE", num_args = 0..=1, require_equals = true, default_missing_value = "step")]
    dump_graph: Option<Stage>,
    /// Print the generated code, and do not train.
    #[arg(long, value_name = "FORM", conflicts_with = "dump_graph")]
    emit: Option<Form>,
    /// Write what --dump-graph or --emit prints to a file.
    #[arg(short, long, value_name = "FILE")]
    output: Option<std::path::PathBuf>,
    /// Print where compile time went, stage by stage.
    #[arg(long)]
    timings: bool,
    /// Print where the time of a step goes, kernel by kernel, after training.
    #[arg(long, conflicts_with_all = ["dump_graph", "emit"])]
    profile: bool,
}

/// A stage of compilation.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// The model as it was written.
    Forward,
    /// With the derived gradient, simplified.
    Gradient,
    /// The whole training step, simplified.
    Step,
    /// Kernels and buffers.
    Schedule,
}

/// A form of the generated code.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Cranelift's intermediate form.
    Clif,
    /// The processor's instructions.
    Asm,
}

/// Reads the arguments and does what they say.
pub fn run() -> Result<(), Failure> {
    let cli = Cli::parse();
    let mut out = std::io::stdout().lock();
    match cli.command {
        None => memo::run(&cli.memo, &mut out)?,
        Some(Command::Fit(arguments)) => fit::run(&arguments, &mut out)?,
    }
    out.flush()?;
    Ok(())
}

/// A number as the element type prints it: the shortest decimal that reads back the same.
fn shortest(x: f64, dtype: DType) -> serde_json::Value {
    let exact = match dtype {
        DType::F32 => (x as f32).to_string().parse().unwrap_or(x),
        _ => x,
    };
    serde_json::json!(exact)
}
