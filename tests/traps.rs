//! The traps that frameworks of this kind fall into, one test each, numbered as in our list of them.
//!
//! One has no test here: 31, debug builds blamed on the library. The native code is the same in both, and how fast a
//! compiler built without optimisation runs is no behaviour.

mod common;

use std::collections::BTreeMap;

use common::{assert_compiles_right, distance, value_for};
use hitofude::ops::{Layout, Op};
use hitofude::prelude::*;
use hitofude::{Options, TensorType};

const NAN: f64 = f64::NAN;
const INF: f64 = f64::INFINITY;

/// The gradient of the sum of `f(x)`, interpreted and compiled (which must agree).
fn gradient(x: impl Into<Value>, f: impl for<'g> Fn(Tensor<'g>) -> Tensor<'g>) -> Value {
    let g = Graph::new();
    let at = x.into();
    let x = g.input("x", at.ty().shape, at.dtype());
    let dx = g.grad(f(x).sum(..), &[x]).unwrap()[0];
    let leaves = [("x", at)];
    assert_compiles_right(&g, &[("dx", dx)], &leaves, 1e-14);
    g.interpret(&[("dx", dx)], &leaves).unwrap().remove("dx").unwrap()
}

/// The message of the first error made while building.
fn mistake(build: impl FnOnce(&Graph)) -> String {
    let g = Graph::new();
    build(&g);
    g.check().unwrap_err().to_string()
}

#[test]
fn trap_01_unbroadcast() {
    let g = Graph::new();
    let x = g.input("x", [2, 3], F64);
    let leaves = [("row", vec![3]), ("column", vec![2, 1]), ("both", vec![1, 1, 1]), ("scalar", vec![])]
        .map(|(name, shape)| (name, g.input(name, Shape::new(&shape).unwrap(), F64)));
    let condition = x.greater(0.0);
    let mut outputs = Vec::new();
    let mut given = vec![("x", value_for(x, 1))];
    for (name, leaf) in leaves {
        // By sum, by product, and as a branch.
        let y = (x + leaf).sum(..) + (x * leaf).sum(..) + condition.select(leaf, x).sum(..);
        let d = g.grad(y, &[leaf]).unwrap()[0];
        assert_eq!(d.ty(), leaf.ty(), "the cotangent of {name}");
        outputs.push((name, d));
        given.push((name, value_for(leaf, 2)));
    }
    let values = g.interpret(&outputs, &given).unwrap();
    let share = |x: f64| 1.0 + x + if x > 0.0 { 1.0 } else { 0.0 };
    let x = given[0].1.to_f64();
    let sum = |indices: &[usize]| indices.iter().map(|&i| share(x[i])).sum::<f64>();
    let near = |name: &str, expected: &[f64]| {
        let actual = values[name].to_f64();
        assert!(actual.iter().zip(expected).all(|(a, e)| (a - e).abs() < 1e-12), "{name}: {actual:?}");
    };
    near("row", &[sum(&[0, 3]), sum(&[1, 4]), sum(&[2, 5])]);
    near("column", &[sum(&[0, 1, 2]), sum(&[3, 4, 5])]);
    near("both", &[sum(&[0, 1, 2, 3, 4, 5])]);
    near("scalar", &[sum(&[0, 1, 2, 3, 4, 5])]);
    assert_compiles_right(&g, &outputs, &given, 1e-12);
}

#[test]
fn trap_02_loss_of_column_against_vector() {
    let losses: [for<'g> fn(Tensor<'g>, Tensor<'g>) -> Tensor<'g>; 4] =
        [|y, t| y.mse_loss(t), |y, t| y.l1_loss(t), |y, t| y.huber_loss(t, 1.0), |y, t| y.bce_with_logits(t)];
    for loss in losses {
        let message = mistake(|g| {
            let _ = loss(g.input("y", [8, 1], F32), g.input("t", [8], F32));
        });
        assert!(message.contains("f32[8,1] and f32[8]") && message.contains("traps.rs:"), "{message}");
    }
}

#[test]
fn trap_03_scale_of_the_squared_error() {
    let target = array![[0.0, 1.0, 0.0], [2.0, 0.0, 0.0]];
    let x = array![[1.0, 1.0, 3.0], [0.0, -3.0, 6.0]];
    let g = Graph::new();
    let (y, t) = (g.input("y", [2, 3], F64), g.input("t", [2, 3], F64));
    let dy = g.grad(y.mse_loss(t), &[y]).unwrap()[0];
    let leaves = [("y", Value::from(&x)), ("t", Value::from(&target))];
    assert_compiles_right(&g, &[("dy", dy)], &leaves, 1e-15);
    let values = g.interpret(&[("dy", dy)], &leaves).unwrap();
    assert!(distance(&Value::from((x - target) * (2.0 / 6.0)), &values["dy"]) < 1e-15);
}

#[test]
fn trap_04_relu_at_zero() {
    assert_eq!(gradient(array![-1.0, -0.0, 0.0, 2.0], |x| x.relu()), array![0.0, 0.0, 0.0, 1.0].into());
}

#[test]
fn trap_05_maximum_at_a_tie() {
    assert_eq!(gradient(array![0.0, 1.0, 2.0], |x| x.maximum(1.0)), array![0.0, 0.5, 1.0].into());
    assert_eq!(gradient(array![0.0, 1.0, 2.0], |x| x.minimum(1.0)), array![1.0, 0.5, 0.0].into());
}

#[test]
fn trap_06_clamp_at_its_bounds() {
    let at = array![-1.0, 0.0, 0.5, 1.0, 2.0];
    assert_eq!(gradient(at, |x| x.clamp(0.0, 1.0)), array![0.0, 1.0, 1.0, 1.0, 0.0].into());
    // Numbers below the normal ones are no zeros: there is no tie.
    assert_eq!(gradient(array![1e-310, -1e-310], |x| x.maximum(0.0)), array![1.0, 0.0].into());
    assert_eq!(gradient(array![1e-40f32, -1e-40], |x| x.maximum(0.0)), array![1.0f32, 0.0].into());
}

#[test]
fn trap_07_ties_of_a_reduced_maximum() {
    let at = array![[3.0, 1.0, 3.0, 3.0], [2.0, 2.0, 2.0, 2.0]];
    let third = 1.0 / 3.0;
    assert_eq!(
        gradient(&at, |x| x.max(1)),
        array![[third, 0.0, third, third], [0.25, 0.25, 0.25, 0.25]].into()
    );
    assert_eq!(gradient(&at, |x| x.min(1)), array![[0.0, 1.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25]].into());
}

#[test]
fn trap_08_abs_and_sign_at_zero() {
    assert_eq!(gradient(array![-2.0, 0.0, 2.0], |x| x.abs()), array![-1.0, 0.0, 1.0].into());
    assert_eq!(gradient(array![-2.0, 0.0, 2.0], |x| x.sign()), array![0.0, 0.0, 0.0].into());
}

#[test]
fn trap_09_nan_of_the_branch_not_taken() {
    assert_eq!(
        gradient(array![-4.0, 0.0, 4.0], |x| x.greater(0.0).select(x.sqrt(), 0.0)),
        array![0.0, 0.0, 0.25].into()
    );
    // Deep in the branch.
    assert_eq!(
        gradient(array![-1.0, 0.0], |x| x.greater(0.0).select(x.log().sqrt().recip() * x, x * 3.0)),
        array![3.0, 3.0].into()
    );
}

#[test]
fn trap_10_zero_under_roots_logarithms_and_powers() {
    assert_eq!(gradient(array![0.0, 4.0], |x| x.sqrt()), array![INF, 0.25].into());
    assert_eq!(gradient(array![0.0, 2.0], |x| x.log()), array![INF, 0.5].into());
    assert_eq!(gradient(array![0.0, 3.0], |x| x.pow(2.0)), array![0.0, 6.0].into());
    assert_eq!(gradient(array![0.0, 3.0], |x| x.pow(0.0)), array![0.0, 0.0].into());
    assert_eq!(gradient(array![0.0, 2.0], |e| e.constant_like(0.0).pow(e)), array![0.0, 0.0].into());
    // The norm at the origin: guarded, it has the subgradient 0.
    fn norm(x: Tensor<'_>) -> Tensor<'_> {
        let square = x.square().sum(..);
        square.greater(0.0).select(square.sqrt(), 0.0)
    }
    assert_eq!(gradient(array![0.0, 0.0], norm), array![0.0, 0.0].into());
    assert!(distance(&array![0.6, 0.8].into(), &gradient(array![3.0, 4.0], norm)) < 1e-15);
}

#[test]
fn trap_11_products_with_zeros() {
    let at = array![[2.0, 3.0, 4.0], [2.0, 0.0, 4.0], [0.0, 0.0, 4.0]];
    let expected = array![[12.0, 8.0, 6.0], [0.0, 8.0, 0.0], [0.0, 0.0, 0.0]];
    assert_eq!(gradient(at, |x| x.prod(1)), expected.into());
}

#[test]
fn trap_12_logarithm_of_a_sum_of_exponentials() {
    let at = array![[1e4, 1e4], [-1e4, -1e4], [-INF, -INF], [-INF, 3.0]];
    let expected = array![[0.5, 0.5], [0.5, 0.5], [0.0, 0.0], [0.0, 1.0]];
    assert_eq!(gradient(&at, |x| x.logsumexp(1)), expected.into());
    let far = array![[1e4f32, -1e4]];
    assert_eq!(gradient(&far, |x| x.softplus()), array![[1.0f32, 0.0]].into());
    assert_eq!(gradient(&far, |x| x.log_softmax(1)), array![[-1.0f32, 1.0]].into());
}

#[test]
fn trap_13_integers_have_no_gradient() {
    let g = Graph::new();
    let (x, labels) = (g.input("x", [4, 3], F64), g.input("labels", [4], I64));
    let loss = x.cross_entropy(labels);
    let message = g.grad(loss, &[labels]).unwrap_err().to_string();
    assert!(
        message.contains("`input labels` is i64[4]") && message.contains("only f32 and f64"),
        "{message}"
    );
    assert!(g.grad(labels.sum(..), &[x]).unwrap_err().to_string().contains("i64[]"));
    assert!(g.jvp(loss, &[(labels, labels)]).is_err());
    // Through integers there is no way for a change: zeros, and of the right type.
    let through = g.grad(x.cast(I32).cast(F64).sum(..), &[x]).unwrap()[0];
    let values = g.interpret(&[("d", through)], &[("x", value_for(x, 1))]).unwrap();
    assert_eq!(values["d"], Array2::<f64>::zeros((4, 3)).into());
}

#[test]
fn trap_14_parameter_that_the_loss_does_not_reach() {
    let g = Graph::new();
    let (used, idle) = (g.parameter("used", [2], F64), g.parameter("idle", [3], F64));
    let loss = used.square().sum(..);
    let step = |step: hitofude::TrainingStep<'_>| step.compile();
    let message = step(g.training_step(loss, Sgd::new(0.1)).unwrap()).unwrap_err().to_string();
    assert!(message.contains("parameter `idle` (f64[3])") && message.contains("freeze"), "{message}");
    assert!(step(g.training_step(loss, Sgd::new(0.1)).unwrap().freeze("idle")).is_ok());
    let d = g.grad(loss, &[idle]).unwrap()[0];
    assert_eq!(g.interpret(&[("d", d)], &[]).unwrap()["d"], array![0.0, 0.0, 0.0].into());
}

#[test]
fn trap_15_loss_that_is_no_scalar() {
    let g = Graph::new();
    let w = g.parameter("w", [2, 3], F32);
    for error in [g.grad(w * w, &[w]).unwrap_err(), g.training_step(w * w, Sgd::new(0.1)).err().unwrap()] {
        assert!(error.to_string().contains("f32[2,3]"), "{error}");
    }
}

#[test]
fn trap_16_fan_out_is_summed_in_one_order() {
    let build = || {
        let g = Graph::new();
        let x = g.input("x", [3], F64);
        let y = (x * x + x.sin() * x + x / (x.exp() + 1.0)).sum(..);
        let dx = g.grad(y, &[x]).unwrap()[0];
        let text = g.function().output("dx", dx).optimised(&Options::default()).unwrap().to_string();
        let value = g.interpret(&[("dx", dx)], &[("x", array![0.3, -1.2, 2.5].into())]).unwrap();
        (text, value["dx"].clone())
    };
    let (text, value) = build();
    for _ in 0..5 {
        assert_eq!(build(), (text.clone(), value.clone()));
    }
    let formula = |x: f64| {
        let e = x.exp() + 1.0;
        2.0 * x + x.sin() + x * x.cos() + 1.0 / e - x * x.exp() / (e * e)
    };
    let expected = Value::from(array![formula(0.3), formula(-1.2), formula(2.5)]);
    assert!(distance(&expected, &value) < 1e-15);
}

/// A net of two layers, whose weights may be one, with its step compiled, and the graph that defines it.
fn two_layers(tied: bool, optimizer: impl hitofude::optim::Optimizer) -> (Executable, Graph) {
    let g = Graph::new();
    let (x, t) = (g.input("x", [6, 5], F64), g.input("t", [6, 5], F64));
    let first = g.parameter("first", [5, 5], F64);
    let second = if tied { first.transpose() } else { g.parameter("second", [5, 5], F64) };
    let bias = g.parameter("bias", [5], F64);
    let y = (x.matmul(first) + bias).tanh().matmul(second);
    let step = g.training_step(y.mse_loss(t), optimizer).unwrap();
    (step.compile().unwrap(), step.function().unwrap().graph().unwrap())
}

/// Values for whatever of its leaves a graph declares.
fn leaves(g: &Graph) -> BTreeMap<String, Value> {
    let leaf = |name: &&str| g.leaf(name).is_some();
    let ty = |name: &str| g.nodes().find(|node| Some(node.id) == g.leaf(name)).unwrap().ty;
    let value = |name: &str| {
        let numbers = common::values(name.len() as u64, ty(name).shape.elements());
        Value::from_elements(ty(name), numbers.into_iter().map(Scalar::F64))
    };
    ["x", "t", "first", "second", "bias"]
        .into_iter()
        .filter(leaf)
        .map(|name| (name.to_string(), value(name)))
        .collect()
}

fn start(step: &Executable, leaves: &BTreeMap<String, Value>) -> (State, Inputs) {
    let (mut state, mut inputs) = (step.state(), step.inputs());
    for (name, value) in leaves {
        match name.as_str() {
            "x" | "t" => inputs.set(name, value.clone()).unwrap(),
            _ => state.set(name, value.clone()).unwrap(),
        }
    }
    (state, inputs)
}

#[test]
fn trap_17_weights_are_read_before_they_are_overwritten() {
    for tied in [false, true] {
        let (step, reference) = two_layers(tied, Sgd::new(0.2).momentum(0.7));
        let mut expected = leaves(&reference);
        let (mut state, inputs) = start(&step, &expected);
        for number in 0..20 {
            let loss = step.run(&mut state, &inputs).unwrap().loss();
            let outputs = reference.interpret_results(&mut expected).unwrap();
            assert!((loss - outputs["loss"].to_f64()[0]).abs() < 1e-11, "step {number}, tied: {tied}");
            for (name, value) in expected.iter().filter(|(name, _)| !["x", "t"].contains(&name.as_str())) {
                let apart = distance(value, &state.get(name).unwrap());
                assert!(apart < 1e-11, "{name} after step {number}, tied: {tied}: {apart:e}");
            }
        }
    }
}

#[test]
fn trap_18_updates_happen_in_place() {
    let (step, reference) = two_layers(false, Adam::new(0.1));
    let (mut state, inputs) = start(&step, &leaves(&reference));
    let names: Vec<String> = state.signature().into_iter().map(|known| known.name).collect();
    let addresses = |state: &State| -> Vec<*const f64> {
        names.iter().map(|name| state.view::<f64>(name).unwrap().as_ptr()).collect()
    };
    let (before, weight) = (addresses(&state), state.get("first").unwrap());
    step.run(&mut state, &inputs).unwrap();
    step.run_many(&mut state, &inputs, 7).unwrap();
    assert_eq!(addresses(&state), before);
    assert_ne!(state.get("first").unwrap(), weight);
}

#[test]
fn trap_19_simplification_keeps_nan_infinity_and_the_sign_of_zero() {
    let g = Graph::new();
    let (x, y) = (g.input("x", [7], F64), g.input("y", [7], F64));
    let outputs = [
        ("x·0", x * 0.0),
        ("x-x", x - x),
        ("x/x", x / x),
        ("(x·y)/y", (x * y) / y),
        ("0+x", 0.0 + x),
        ("root", x.sqrt() * x.sqrt()),
        ("--x", -(-x)),
    ];
    let leaves = [
        ("x", Value::from(array![NAN, INF, -INF, 0.0, -0.0, 1e200, -3.0])),
        ("y", array![1.0, INF, 0.0, 0.0, 2.0, 1e200, NAN].into()),
    ];
    let values = g.interpret(&outputs, &leaves).unwrap();
    assert!(values["x·0"].to_f64()[..3].iter().all(|x| x.is_nan()));
    assert!(values["0+x"].to_f64()[4].is_sign_positive());
    assert_eq!(values["(x·y)/y"].to_f64()[5], INF);
    assert_compiles_right(&g, &outputs, &leaves, 0.0);
}

#[test]
fn trap_20_results_have_the_same_bits_again() {
    let (step, reference) = two_layers(true, Adam::new(0.1));
    let leaves = leaves(&reference);
    let bits = |state: &State| state.get("first").unwrap().elements();
    let one_by_one = || {
        let (mut state, inputs) = start(&step, &leaves);
        (0..15).for_each(|_| assert!(step.run(&mut state, &inputs).unwrap().loss() >= 0.0));
        bits(&state)
    };
    let together = || {
        let (mut state, inputs) = start(&step, &leaves);
        step.run_many(&mut state, &inputs, 15).unwrap();
        bits(&state)
    };
    let expected = one_by_one();
    assert_eq!(expected, together());
    let threads: Vec<_> = std::thread::scope(|scope| {
        let running: Vec<_> = (0..4).map(|_| scope.spawn(one_by_one)).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(threads.iter().all(|bits| *bits == expected));
    let (again, _) = two_layers(true, Adam::new(0.1));
    let (mut state, inputs) = start(&again, &leaves);
    again.run_many(&mut state, &inputs, 15).unwrap();
    assert_eq!(bits(&state), expected);
}

#[test]
fn trap_21_no_transpose_is_made_for_a_gradient() {
    let g = Graph::new();
    let (x, w) = (g.input("x", [8, 5], F64), g.parameter("w", [4, 5], F64));
    let y = x.matmul(w.transpose()).tanh().sum(..);
    let gradients = g.grad(y, &[x, w]).unwrap();
    let function = g.function().output("dx", gradients[0]).output("dw", gradients[1]);
    let graph = function.optimised(&Options::default()).unwrap();
    let transposes = graph.nodes().filter(|node| matches!(node.op, Op::Layout(Layout::Transpose(_))));
    assert_eq!(transposes.count(), 0, "{graph}");
}

#[test]
fn trap_22_another_rate_needs_no_other_program() {
    let g = Graph::new();
    let w = g.parameter("w", [2], F64);
    let step = g.training_step(w.square().sum(..) * 0.5, Sgd::new(0.1)).unwrap().compile().unwrap();
    let mut state = step.state();
    state.set("w", array![1.0, -2.0]).unwrap();
    for rate in [0.1, 0.5, 0.0, 2.0] {
        let before = state.get("w").unwrap().to_f64();
        state.set_number("learning_rate", rate).unwrap();
        step.run(&mut state, &step.inputs()).unwrap();
        let after = state.get("w").unwrap().to_f64();
        before.iter().zip(after).for_each(|(b, a)| assert!((a - b * (1.0 - rate)).abs() < 1e-15));
    }
}

#[test]
fn trap_23_slots_exist_from_the_start() {
    let (step, reference) = two_layers(false, Adam::new(0.1));
    let (mut state, inputs) = start(&step, &leaves(&reference));
    let before = state.signature();
    assert!(before.iter().any(|known| known.name == "first.m"));
    assert_eq!(state.get("first.m").unwrap(), Array2::<f64>::zeros((5, 5)).into());
    step.run(&mut state, &inputs).unwrap();
    let names = |signature: Vec<hitofude::Signature>| -> Vec<(String, TensorType)> {
        signature.into_iter().map(|known| (known.name, known.ty)).collect()
    };
    assert_eq!(names(state.signature()), names(before));
}

/// The first steps, where the conventions differ; `tests/optimizers.rs` has twenty steps of each formula.
#[test]
fn trap_24_first_steps_of_the_optimisers() {
    fn near(optimizer: impl hitofude::optim::Optimizer, expected: f64) {
        let g = Graph::new();
        let w = g.parameter("w", [1], F64);
        let step = g.training_step((w * 3.0).sum(..), optimizer).unwrap().compile().unwrap();
        let mut state = step.state();
        state.set("w", array![2.0]).unwrap();
        step.run(&mut state, &step.inputs()).unwrap();
        let actual = state.get("w").unwrap().to_f64()[0];
        assert!((actual - expected).abs() < 1e-9, "{actual} and {expected}");
    }
    // The first velocity is the gradient, undampened; Nesterov looks ahead at once.
    near(Sgd::new(0.1).momentum(0.9), 2.0 - 0.1 * 3.0);
    near(Sgd::new(0.1).nesterov(0.9), 2.0 - 0.1 * (3.0 + 0.9 * 3.0));
    // Coupled decay is part of the gradient.
    near(Sgd::new(0.1).weight_decay(0.5), 2.0 - 0.1 * (3.0 + 0.5 * 2.0));
    // Corrected for the bias, Adam's first step is the rate; ε is outside the root.
    near(Adam::new(0.1).epsilon(1.0), 2.0 - 0.1 * 3.0 / (3.0 + 1.0));
    // Decoupled decay scales the parameter.
    near(Adam::new(0.1).decoupled_weight_decay(0.5), 2.0 * (1.0 - 0.1 * 0.5) - 0.1 * 3.0 / (3.0 + 1e-8));
}

/// On a thread with a small stack: nothing may recurse over the graph.
#[test]
fn trap_25_deep_graphs_do_not_overflow_the_stack() {
    let work = || {
        let g = Graph::new();
        let x = g.input("x", [], F64);
        let y = (0..100_000).fold(x, |x, i| if i % 2 == 0 { x.sin() } else { x + 0.5 });
        let dx = g.grad(y, &[x]).unwrap()[0];
        let function = g.function().output("y", y).output("dx", dx);
        let simplified = function.optimised(&Options::default()).unwrap();
        simplified.validate().unwrap();
        assert!(simplified.to_string().lines().count() > 200_000);
        assert!(g.jvp(y, &[(x, x)]).is_ok());
        drop(simplified);
    };
    let thread = std::thread::Builder::new().stack_size(256 << 10).spawn(work).unwrap();
    thread.join().unwrap();
}

#[test]
fn trap_26_shared_expressions_are_derived_once() {
    // x ← x·sin(x): a tree of 2^40 leaves.
    let g = Graph::new();
    let x = g.input("x", [], F64);
    let y = (0..40).fold(x, |x, _| x * x.sin());
    let first = g.grad(y, &[x]).unwrap()[0];
    let (once, _) = (g.len(), g.grad(first, &[x]).unwrap());
    assert!(once < 500 && g.len() < 5_000, "{once} nodes, then {}", g.len());
}

/// Widths that do not fill vectors, in every element type.
#[test]
fn trap_27_vectors_with_remainders() {
    for dtype in [F32, F64, I32, I64] {
        for extent in [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31] {
            let g = Graph::new();
            let (x, y) = (g.input("x", [3, extent], dtype), g.input("y", [extent], dtype));
            let float = if dtype.is_float() { dtype } else { F32 };
            let outputs = [
                ("sum", (x * y + x).sum(1)),
                ("chosen", x.less(y).select(x, y)),
                ("counted", x.greater(0.0).cast(I32).sum(0)),
                ("curved", x.cast(float).exp().tanh()),
            ];
            let leaves = [("x", value_for(x, 1)), ("y", value_for(y, 2))];
            assert_compiles_right(&g, &outputs, &leaves, if dtype == F64 { 1e-13 } else { 1e-5 });
        }
    }
}

#[test]
fn trap_28_code_lives_as_long_as_it_is_used_and_does_not_grow_with_the_data() {
    let compile = |extent: usize| {
        let g = Graph::new();
        let x = g.input("x", [extent], F64);
        g.compile(&[("y", (x.exp() * x).tanh())]).unwrap()
    };
    let kept = compile(10);
    let shared = std::sync::Arc::new(kept);
    let other = shared.clone();
    drop(shared);
    (0..50).for_each(|extent| drop(compile(extent + 1)));
    let inputs = other.inputs().with("x", Array1::<f64>::zeros(10)).unwrap();
    assert_eq!(other.run(&mut other.state(), &inputs).unwrap().output("y").unwrap().to_f64(), [0.0; 10]);
    let size = |extent| compile(extent).compile_report().code_bytes;
    // On one thread, and in pieces for several.
    for (small, large) in [(100, 2_000), (1_000_000, 8_000_000)] {
        assert!(size(large) <= size(small) + 64, "{} and {} bytes", size(large), size(small));
    }
}

#[test]
fn trap_29_equal_programs_have_equal_text() {
    // What is not part of the program is not part of its text: nodes nobody needs, and the order they were written in.
    let text = |detour: bool| {
        let g = Graph::new();
        let x = g.input("x", [4], F64);
        if detour {
            let _ = (x * 3.0).sin() + 7.0;
        }
        let y = (x.tanh() * 2.0).sum(..);
        let dx = g.grad(y, &[x]).unwrap()[0];
        let function = g.function().output("y", y).output("dx", dx);
        let schedule = function.schedule(&Options::default()).unwrap().program.to_string();
        (function.optimised(&Options::default()).unwrap().to_string(), schedule)
    };
    assert_eq!(text(false), text(true));
}

#[test]
fn trap_30_dumps_do_not_depend_on_hashing() {
    let dump = || {
        let (_, graph) = two_layers(true, Adam::new(0.1));
        graph.to_string()
    };
    let first = dump();
    // Each graph's tables hash with keys of their own.
    assert!((0..10).all(|_| dump() == first));
    let numbers: Vec<&str> =
        first.lines().filter_map(|line| line.split_once(" = ")).map(|line| line.0).collect();
    let nodes = numbers.iter().filter(|number| number.starts_with('%'));
    assert!(nodes.enumerate().all(|(at, number)| *number == format!("%{at}")));
}

#[test]
fn trap_32_dropout_is_in_the_state() {
    let g = Graph::new();
    let (x, w) = (g.input("x", [64], F64), g.parameter("w", [64], F64));
    let loss = (x * w).dropout(0.5, g.random_key("dropout", 7)).square().mean(..);
    let step = g.training_step(loss, Sgd::new(0.0)).unwrap().compile().unwrap();
    let inputs = step.inputs().with("x", Array1::<f64>::ones(64)).unwrap();
    let mut state = step.state();
    state.set("w", Array1::<f64>::ones(64)).unwrap();
    let mut copy = state.clone();
    let first: Vec<f64> = (0..6).map(|_| step.run(&mut state, &inputs).unwrap().loss()).collect();
    assert!(first.iter().any(|&loss| loss != first[0]), "one mask for all steps: {first:?}");
    // The same from the same key, in one call of many steps too.
    assert_eq!(step.run_many(&mut copy, &inputs, 6).unwrap().loss(), first[5]);
    state.set_number("dropout", 7.0).unwrap();
    assert_eq!(step.run(&mut state, &inputs).unwrap().loss(), first[0]);
}

#[test]
fn trap_32_what_a_step_counts_is_in_its_state() {
    let g = Graph::new();
    let w = g.parameter("w", [], F64);
    let count = w.setting("count", 0.0);
    let noise = (count * 12.9898).sin() * 43758.5453;
    let noise = noise - noise.trunc();
    let draw = g.function().output("noise", noise).update(count, count + 1.0).compile().unwrap();
    let mut state = draw.state();
    let inputs = draw.inputs();
    let run = |state: &mut State| draw.run(state, &inputs).unwrap().number("noise").unwrap();
    let first: Vec<f64> = (0..5).map(|_| run(&mut state)).collect();
    assert!(first.windows(2).all(|pair| pair[0] != pair[1]), "{first:?}");
    // Set back, it draws the same again; a copy goes on by itself.
    state.set_number("count", 0.0).unwrap();
    let mut copy = state.clone();
    assert_eq!((0..5).map(|_| run(&mut state)).collect::<Vec<f64>>(), first);
    assert_eq!((0..5).map(|_| run(&mut copy)).collect::<Vec<f64>>(), first);
}
