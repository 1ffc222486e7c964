//! Optimisers against their formulas, written out, on a model of two layers with tied and shared pieces.

use hitofude::optim::Optimizer;
use hitofude::prelude::*;

/// Trains `½·Σ a·(p − t)²` elementwise, whose gradient is `a·(p − t)`, and returns the parameters after each step.
fn trajectory(optimizer: impl Optimizer, steps: usize) -> Vec<Vec<f64>> {
    let g = Graph::new();
    let (a, t) = (g.input("a", [3], F64), g.input("t", [3], F64));
    let p = g.parameter("p", [3], F64);
    let q = g.parameter("q", [3], F64);
    // Two parameters of one model: what they share must be updated once.
    let loss = (a * ((p - t).square() + (q - t).square())).sum(..) * 0.5;
    let step = g.training_step(loss, optimizer).unwrap().compile().unwrap();
    let mut state = step.state();
    for name in ["p", "q"] {
        state.set(name, array![1.0, -2.0, 0.5]).unwrap();
    }
    let inputs =
        step.inputs().with("a", array![0.5, 1.5, 3.0]).unwrap().with("t", array![0.2, 0.4, -0.6]).unwrap();
    let mut path = Vec::new();
    for _ in 0..steps {
        step.run(&mut state, &inputs).unwrap();
        assert_eq!(state.get("p").unwrap(), state.get("q").unwrap());
        path.push(state.get("p").unwrap().to_f64());
    }
    path
}

/// The same, by a formula that maps (step from 1, gradient, parameter, memory) to the new parameter.
fn by_hand(steps: usize, mut update: impl FnMut(i32, f64, f64, &mut [f64; 2]) -> f64) -> Vec<Vec<f64>> {
    let (a, t) = ([0.5, 1.5, 3.0], [0.2, 0.4, -0.6]);
    let (mut p, mut memory) = (vec![1.0, -2.0, 0.5], [[0.0; 2]; 3]);
    let mut path = Vec::new();
    for step in 1..=steps {
        for i in 0..3 {
            p[i] = update(step as i32, a[i] * (p[i] - t[i]), p[i], &mut memory[i]);
        }
        path.push(p.clone());
    }
    path
}

fn assert_near(actual: &[Vec<f64>], expected: &[Vec<f64>]) {
    for (step, (actual, expected)) in actual.iter().zip(expected).enumerate() {
        for (a, e) in actual.iter().zip(expected) {
            assert!((a - e).abs() < 1e-13, "step {}: {a} and {e}", step + 1);
        }
    }
}

#[test]
fn plain_descent() {
    assert_near(&trajectory(Sgd::new(0.1), 20), &by_hand(20, |_, g, p, _| p - 0.1 * g));
}

#[test]
fn momentum() {
    let hand = by_hand(20, |_, g, p, memory| {
        memory[0] = 0.9 * memory[0] + g;
        p - 0.1 * memory[0]
    });
    assert_near(&trajectory(Sgd::new(0.1).momentum(0.9), 20), &hand);
}

#[test]
fn nesterov_with_weight_decay() {
    let hand = by_hand(20, |_, g, p, memory| {
        let g = g + 0.01 * p;
        memory[0] = 0.8 * memory[0] + g;
        p - 0.1 * (g + 0.8 * memory[0])
    });
    assert_near(&trajectory(Sgd::new(0.1).nesterov(0.8).weight_decay(0.01), 20), &hand);
}

fn adam_by_hand(decay: f64) -> Vec<Vec<f64>> {
    by_hand(20, |t, g, p, memory| {
        memory[0] = 0.9 * memory[0] + 0.1 * g;
        memory[1] = 0.95 * memory[1] + 0.05 * g * g;
        let p = p * (1.0 - 0.05 * decay);
        let (c1, c2) = (1.0 - 0.9f64.powi(t), 1.0 - 0.95f64.powi(t));
        p - 0.05 / c1 * memory[0] / (memory[1].sqrt() / c2.sqrt() + 1e-6)
    })
}

#[test]
fn adam() {
    assert_near(&trajectory(Adam::new(0.05).betas(0.9, 0.95).epsilon(1e-6), 20), &adam_by_hand(0.0));
}

#[test]
fn adam_with_decoupled_decay() {
    let adam = Adam::new(0.05).betas(0.9, 0.95).epsilon(1e-6).decoupled_weight_decay(0.02);
    assert_near(&trajectory(adam, 20), &adam_by_hand(0.02));
}

/// An earlier layer's backward pass reads a later layer's weight after that weight's gradient is known: the old
/// values must still be there. Tied weights are read by both.
#[test]
fn every_read_of_a_weight_comes_before_its_store() {
    for tied in [false, true] {
        let g = Graph::new();
        let x = g.input("x", [5, 4], F64);
        let t = g.input("t", [5, 4], F64);
        let first = g.parameter("first", [4, 4], F64);
        let second = if tied { first.transpose() } else { g.parameter("second", [4, 4], F64) };
        let y = x.matmul(first).tanh().matmul(second);
        let training = g.training_step(y.mse_loss(t), Sgd::new(0.3).momentum(0.5)).unwrap();
        let step = training.compile().unwrap();
        let wave =
            |phase: f64| Array2::from_shape_fn((5, 4), |(i, j)| (i as f64 * 1.7 + j as f64 + phase).sin());
        let square = |phase: f64| {
            Array2::from_shape_fn((4, 4), |(i, j)| (i as f64 * 2.3 + j as f64 * 0.9 + phase).cos())
        };

        let mut state = step.state();
        let reference = training.function().unwrap().graph().unwrap();
        let mut expected = std::collections::BTreeMap::new();
        expected.insert("x".to_string(), Value::from(wave(0.1)));
        expected.insert("t".to_string(), Value::from(wave(2.1)));
        for name in ["first", "second"].into_iter().filter(|name| reference.leaf(name).is_some()) {
            let value = square(name.len() as f64);
            state.set(name, &value).unwrap();
            expected.insert(name.to_string(), value.into());
        }
        let inputs = step.inputs().with("x", wave(0.1)).unwrap().with("t", wave(2.1)).unwrap();
        for _ in 0..10 {
            let loss = step.run(&mut state, &inputs).unwrap().loss();
            let outputs = reference.interpret_results(&mut expected).unwrap();
            assert!((loss - outputs["loss"].to_f64()[0]).abs() < 1e-12);
        }
        for name in ["first", "second"].into_iter().filter(|name| reference.leaf(name).is_some()) {
            let pairs = state.get(name).unwrap().to_f64().into_iter().zip(expected[name].to_f64());
            pairs.for_each(|(a, e)| assert!((a - e).abs() < 1e-12, "{name}: {a} and {e}, tied: {tied}"));
        }
    }
}

/// Updates whose new values read the old ones at other places.
#[test]
fn state_may_be_exchanged_and_turned() {
    let g = Graph::new();
    let (a, b) = (g.parameter("a", [40], F64), g.parameter("b", [40], F64));
    let m = g.parameter("m", [30, 30], F64);
    let step = g
        .function()
        .update(a, b)
        .update(b, a * 2.0)
        .update(m, m.transpose())
        .output("a", a)
        .compile()
        .unwrap();
    let mut state = step.state();
    let square = Array2::from_shape_fn((30, 30), |(i, j)| (30 * i + j) as f64);
    state.set("a", Array1::from_elem(40, 1.0)).unwrap();
    state.set("b", Array1::from_elem(40, 5.0)).unwrap();
    state.set("m", &square).unwrap();
    let inputs = step.inputs();
    let report = step.run_many(&mut state, &inputs, 3).unwrap();
    assert_eq!(report.view::<f64>("a").unwrap()[7], 2.0);
    assert_eq!(state.view::<f64>("a").unwrap()[7], 10.0);
    assert_eq!(state.view::<f64>("b").unwrap()[7], 4.0);
    assert_eq!(state.get("m").unwrap(), square.t().into());
}
