//! The memo's model against its closed form: after k updates the error is `0.58·(1 − 0.02·1.14)^k`.

use hitofude::prelude::*;

struct Memo {
    step: Executable,
    state: State,
    inputs: Inputs,
}

impl Memo {
    fn new(dtype: DType) -> Memo {
        let g = Graph::new();
        let x = g.input("x", [3], dtype);
        let target = g.input("target", [1], dtype);
        let output = x.linear(g.parameter("weight", [1, 3], dtype), g.parameter("bias", [1], dtype));
        let step = g.training_step(output.mse_loss(target), Sgd::new(0.01)).unwrap();
        let step = step.output("output", output).compile().unwrap();
        let (mut state, mut inputs) = (step.state(), step.inputs());
        let value = |value: Value| value.cast(dtype);
        state.set("weight", value(array![[0.4, 0.5, 0.6]].into())).unwrap();
        state.set("bias", value(array![0.1].into())).unwrap();
        inputs.set("x", value(array![0.1, 0.2, 0.3].into())).unwrap();
        inputs.set("target", value(array![1.0].into())).unwrap();
        Memo { step, state, inputs }
    }

    fn run(&mut self) -> (f64, f64) {
        let report = self.step.run(&mut self.state, &self.inputs).unwrap();
        (report.number("output").unwrap(), report.loss())
    }
}

/// The error before update `k`: each update scales it by `1 − 2·lr·(|x|² + 1)`, and it is 0.42 − 1 at first.
fn error(k: i32) -> f64 {
    -0.58 * (1.0 - 0.02 * 1.14f64).powi(k)
}

#[test]
fn f64_error_stays_on_the_closed_form() {
    let mut memo = Memo::new(F64);
    for k in 0..1000 {
        let (output, loss) = memo.run();
        let apart = (output - 1.0 - error(k)).abs();
        assert!(apart < 5e-15, "step {k}: {apart:e}");
        assert!((loss - (output - 1.0).powi(2)).abs() <= 1e-15 * loss.max(1e-15), "step {k}");
    }
}

#[test]
fn f32_stalls_where_its_arithmetic_does() {
    let mut memo = Memo::new(F32);
    let losses: Vec<f64> = (0..1000).map(|_| memo.run().1).collect();
    for k in [0, 1, 2, 9, 99, 199] {
        let expected = error(k).powi(2);
        assert!(
            (losses[k as usize] - expected).abs() < 1e-3 * expected,
            "step {k}: {:e}",
            losses[k as usize]
        );
    }
    // One ulp below 1 is 6e-8: the error is a small multiple of it, and the loss its square.
    assert!((losses[499].sqrt() - 3.412e-11f64.sqrt()).abs() < 2.0 * 6e-8);
    assert!((losses[999].sqrt() - 2.220e-12f64.sqrt()).abs() < 2.0 * 6e-8);
    // PyTorch's results.
    let weight = memo.state.get("weight").unwrap().to_f64();
    for (weight, expected) in weight.iter().zip([0.45087668, 0.60175341, 0.75263059]) {
        assert!((weight - expected).abs() < 1e-6);
    }
    assert!((memo.state.get("bias").unwrap().to_f64()[0] - 0.60877097).abs() < 1e-6);
}

#[test]
fn many_steps_inside_are_the_same_bits_as_calls() {
    for dtype in [F32, F64] {
        let (mut called, mut looped) = (Memo::new(dtype), Memo::new(dtype));
        (0..1000).for_each(|_| {
            called.run();
        });
        let report = looped.step.run_many(&mut looped.state, &looped.inputs, 1000).unwrap();
        let loss = report.loss();
        for name in ["weight", "bias"] {
            assert_eq!(called.state.get(name).unwrap(), looped.state.get(name).unwrap());
        }
        assert!(loss < 1e-11);
    }
}

#[test]
fn the_rate_is_a_setting() {
    let mut memo = Memo::new(F64);
    memo.state.set_number("learning_rate", 0.0).unwrap();
    assert_eq!(memo.run(), memo.run());
    memo.state.set_number("learning_rate", 0.5 / 1.14).unwrap();
    memo.run();
    let (output, _) = memo.run();
    assert!((output - 1.0).abs() < 1e-15, "the right rate solves it in one step, but gave {output}");
}

/// A batch's step equals the hand-written one: `W ← W − (2·lr/n)·eᵀx`, `b ← b − (2·lr/n)·Σe`.
#[test]
fn batches_of_every_size_follow_the_hand_derivation() {
    for n in [1, 2, 3, 5, 8, 33] {
        for (k, m) in [(1, 1), (3, 1), (4, 2), (7, 5), (16, 9)] {
            let g = Graph::new();
            let (x, t) = (g.input("x", [n, k], F64), g.input("t", [n, m], F64));
            let (w, b) = (g.parameter("w", [m, k], F64), g.parameter("b", [m], F64));
            let step = g.training_step(x.linear(w, b).mse_loss(t), Sgd::new(0.1)).unwrap().compile().unwrap();
            let wave = |rows: usize, columns: usize, phase: f64| {
                Array2::from_shape_fn((rows, columns), |(i, j)| {
                    (i as f64 * 1.3 + j as f64 * 0.7 + phase).sin()
                })
            };
            let (xv, tv, wv, bv) = (wave(n, k, 0.1), wave(n, m, 0.5), wave(m, k, 0.9), wave(1, m, 2.0));
            let mut state = step.state();
            state.set("w", &wv).unwrap();
            state.set("b", bv.row(0)).unwrap();
            let inputs = step.inputs().with("x", &xv).unwrap().with("t", &tv).unwrap();
            let loss = step.run(&mut state, &inputs).unwrap().loss();

            let e = xv.dot(&wv.t()) + &bv - &tv;
            let scale = 2.0 * 0.1 / (n * m) as f64;
            let w_next = &wv - &(e.t().dot(&xv) * scale);
            let b_next = &bv.row(0) - &(e.sum_axis(ndarray::Axis(0)) * scale);
            let by_hand = e.mapv(|e| e * e).mean().unwrap();
            assert!((loss / by_hand - 1.0).abs() < 1e-14, "{loss}, not {by_hand}, for n={n} k={k} m={m}");
            let near = |a: &Value, b: Vec<f64>| a.to_f64().iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-14);
            assert!(near(&state.get("w").unwrap(), w_next.into_iter().collect()), "w for n={n} k={k} m={m}");
            assert!(near(&state.get("b").unwrap(), b_next.to_vec()), "b for n={n} k={k} m={m}");
        }
    }
}
