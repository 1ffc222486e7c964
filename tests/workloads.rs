//! The workloads of the benchmark: what their schedules are, and that their losses are those of the interpreter.

#[path = "../benches/workloads/mod.rs"]
mod workloads;

use hitofude::prelude::*;
use workloads::{WORKLOADS, gelu_chain, lenet, wide_mlp};

/// A lost fusion shows up as a changed snapshot.
#[test]
fn schedules_are_as_they_were() {
    let mut settings = insta::Settings::new();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for workload in WORKLOADS {
        let g = Graph::new();
        let program = (workload.build)(&g).unwrap().schedule().unwrap().program;
        settings
            .bind(|| insta::assert_snapshot!(format!("schedule_of_{}", workload.name), program.to_string()));
    }
}

/// Twenty steps, each from the state that its own evaluator left, on the noise of the benchmark. `wide_mlp`
/// (3 · 10⁹ operations a step), `gelu_chain` and `lenet` are the same code in a smaller size, for the interpreter's sake.
#[test]
fn loss_curves_are_those_of_the_interpreter() {
    for workload in WORKLOADS {
        let g = Graph::new();
        let step = match workload.name {
            "wide_mlp" => wide_mlp(&g, 32, 64),
            "gelu_chain" => gelu_chain(&g, 10_007),
            "lenet" => lenet(&g, 8),
            _ => (workload.build)(&g),
        };
        assert_same_curve(workload.name, &step.unwrap());
    }
}

/// Both compute in f32, and the interpreter rounds the sums of f64: twenty steps of half a unit in the last place each
/// are 1.2e-6, and a sum has several roundings. A cross-entropy near 0 is a difference of logits near 1 and has their
/// rounding, so losses below 1 are held by their difference.
fn assert_same_curve(name: &str, step: &TrainingStep<'_>) {
    const TOLERANCE: f64 = 1e-5;
    let reference = step.function().unwrap().graph().unwrap();
    let compiled = step.compile().unwrap();
    let (mut state, inputs, mut values) = workloads::start(&compiled).unwrap();
    let mut losses = Vec::new();
    for number in 0..20 {
        let expected = reference.interpret_results(&mut values).unwrap()["loss"].to_f64()[0];
        let actual = compiled.run(&mut state, &inputs).unwrap().loss();
        let apart = (expected - actual).abs() / expected.abs().max(1.0);
        assert!(apart <= TOLERANCE, "{name}, step {number}: interpreted {expected}, compiled {actual}");
        losses.push(actual);
    }
    assert!(losses[19] < losses[0], "{name} does not learn: {losses:?}");
}
