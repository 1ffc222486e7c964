//! Floor 6: running compiled code. Owns the caller's memory (state, inputs, outputs, arena), checks every
//! value that enters it, and makes the one unsafe call.

mod contract;
mod executable;
mod inputs;
mod memory;
mod pace;
mod panels;
mod parallel;
mod profile;
mod report;
mod sort;
mod state;
mod team;

pub(crate) use contract::library;
pub use executable::{CompileReport, Executable, Found};
pub use inputs::Inputs;
pub(crate) use profile::TaskWork;
pub use profile::{Profile, Source, TaskProfile, Work};
pub use report::Report;
pub use state::State;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::schedule::{Entry, Role, Schedule};
use crate::types::{TensorType, Value};

/// The names, types and places of everything that a compiled program reads and writes.
#[derive(Debug)]
struct Layout {
    state: Vec<Entry>,
    inputs: Vec<Entry>,
    outputs: Vec<Entry>,
    state_bytes: usize,
    output_bytes: usize,
    arena_bytes: usize,
}

impl Layout {
    fn of(schedule: &Schedule) -> Arc<Layout> {
        Arc::new(Layout {
            state: schedule.state.clone(),
            inputs: schedule.inputs.clone(),
            outputs: schedule.outputs.clone(),
            state_bytes: schedule.state_bytes,
            output_bytes: schedule.output_bytes,
            arena_bytes: schedule.program.arena_bytes,
        })
    }
}

/// The entry of this name.
fn find<'e>(entries: &'e [Entry], kind: &'static str, name: &str) -> Result<&'e Entry> {
    entries.iter().find(|entry| *entry.name == *name).ok_or_else(|| {
        let known: Vec<String> =
            entries.iter().map(|entry| format!("`{}` ({})", entry.name, entry.ty)).collect();
        let known = if known.is_empty() { "none".into() } else { known.join(", ") };
        Error::UnknownName { kind, name: name.into(), known }
    })
}

/// Checks that a value is of the type its place wants.
fn check_type(kind: &'static str, entry: &Entry, given: TensorType) -> Result<()> {
    if given == entry.ty {
        return Ok(());
    }
    Err(Error::ValueType { kind, name: entry.name.to_string(), expected: entry.ty, given })
}

/// A named tensor of a program's signature.
#[derive(Clone, Debug, PartialEq)]
pub struct Signature {
    pub name: String,
    pub ty: TensorType,
    /// For state: what it is for.
    pub role: Option<Role>,
}

fn signatures(entries: &[Entry]) -> Vec<Signature> {
    let signature = |entry: &Entry| Signature {
        name: entry.name.to_string(),
        ty: entry.ty,
        role: entry.state.map(|(role, _)| role),
    };
    entries.iter().map(signature).collect()
}

fn initial_value(entry: &Entry) -> Option<Value> {
    entry.state.map(|(_, initial)| Value::splat(initial, entry.ty.shape))
}
