//! With the feature `tracing`, every stage of compilation is a span.
#![cfg(feature = "tracing")]

use std::fmt::Debug;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use hitofude::prelude::*;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

static STAGES: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Keeps the stages of all spans.
struct Recorder(AtomicU64);

struct Stage;

impl Visit for Stage {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "stage" {
            STAGES.lock().unwrap().push(format!("{value:?}").trim_matches('"').to_string());
        }
    }
}

impl Subscriber for Recorder {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.name() == "hitofude"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        span.record(&mut Stage);
        Id::from_u64(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[test]
fn every_stage_is_a_span() {
    tracing::dispatcher::set_global_default(tracing::Dispatch::new(Recorder(AtomicU64::new(0)))).unwrap();
    let g = Graph::new();
    let (x, w) = (g.input("x", [3], F32), g.parameter("w", [3], F32));
    g.training_step((x * w).square().sum(..), Sgd::new(0.1)).unwrap().compile().unwrap();
    let expected =
        ["derive", "hash", "look up", "extract", "simplify", "prune", "ready", "schedule", "codegen"];
    assert_eq!(*STAGES.lock().unwrap(), expected);
}
