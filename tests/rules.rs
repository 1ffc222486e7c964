//! Reverse rules of the caller's own, and sections that are computed anew in the backward pass.

mod common;

use common::{assert_compiles_right, assert_gradient_right, distance, value_for};
use hitofude::prelude::*;

/// ln(1 + eˣ) with the gradient that JAX's documentation gives it.
fn log1pexp(x: Tensor<'_>) -> Tensor<'_> {
    x.exp().log1p().custom_vjp(&[x], |x, _, dy| vec![dy * (1.0 - 1.0 / (1.0 + x[0].exp()))])
}

#[test]
fn a_given_rule_takes_the_place_of_the_derived_one() {
    let g = Graph::new();
    let x = g.input("x", [4], F64);
    let straight = (x * 3.0).round().custom_vjp(&[x], |_, _, dy| vec![dy]);
    // Not linear in the cotangent.
    let clipped = x.square().custom_vjp(&[x], |x, _, dy| vec![(dy * 2.0 * x[0]).clamp(-1.0, 1.0)]);
    // By the value, which is not the derivative's.
    let root = x.sqrt().custom_vjp(&[x], |_, y, dy| vec![dy * y]);
    let values = [("straight", straight), ("clipped", clipped), ("root", root)];
    let mut outputs = values.to_vec();
    for (name, y) in [("d_straight", straight), ("d_clipped", clipped), ("d_root", root)] {
        outputs.push((name, g.grad(y.sum(..), &[x]).unwrap()[0]));
    }
    let leaves = [("x", Value::from(array![0.04, 0.25, 1.0, 4.0]))];
    let results = g.interpret(&outputs, &leaves).unwrap();
    assert_eq!(results["straight"], array![0.0, 1.0, 3.0, 12.0].into());
    assert_eq!(results["d_straight"], array![1.0, 1.0, 1.0, 1.0].into());
    assert_eq!(results["clipped"], array![0.04 * 0.04, 0.0625, 1.0, 16.0].into());
    assert_eq!(results["d_clipped"], array![0.08, 0.5, 1.0, 1.0].into());
    assert_eq!(results["d_root"], array![0.2, 0.5, 1.0, 2.0].into());
    assert_compiles_right(&g, &outputs, &leaves, 1e-15);
}

#[test]
fn a_given_rule_is_derived_again() {
    let g = Graph::new();
    let x = g.input("x", [5], F64);
    let y = log1pexp(x);
    let first = g.grad(y.sum(..), &[x]).unwrap()[0];
    let second = g.grad(first.sum(..), &[x]).unwrap()[0];
    let leaves = [("x", Value::from(array![-3.0, 0.0, 1.5, 1000.0, -1000.0]))];
    let values = g.interpret(&[("first", first), ("second", second)], &leaves).unwrap();
    assert_eq!(values["first"].to_f64()[3..], [1.0, 0.0]); // ∞/∞ by the derived rule
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    for (at, x) in [-3.0, 0.0, 1.5].into_iter().enumerate() {
        assert!((values["first"].to_f64()[at] - sigmoid(x)).abs() < 1e-15);
        assert!((values["second"].to_f64()[at] - sigmoid(x) * sigmoid(-x)).abs() < 1e-15);
    }
    let tame = [("x", value_for(x, 1))];
    assert_gradient_right(&g, (y * y).sum(..), &[("x", x)], &tame);
    assert_gradient_right(&g, first.sin().sum(..), &[("x", x)], &tame);
    assert_compiles_right(&g, &[("y", y), ("first", first), ("second", second)], &tame, 1e-14);
}

/// Integer operands have no cotangent; tensors that the rule uses besides are captured, and derived in turn.
#[test]
fn rules_of_several_operands() {
    let g = Graph::new();
    let (a, b) = (g.input("a", [3], F64), g.input("b", [3], F64));
    let (n, scale) = (g.input("n", [3], I32), g.input("scale", [], F64));
    let y = (a * n.cast(F64) + b)
        .custom_vjp(&[a, n, b], |x, _, dy| vec![scale * dy * x[1].cast(F64), dy * scale.sin()]);
    let gradients = g.grad((y * y).sum(..), &[a, b]).unwrap();
    let by_scale = g.grad((gradients[0] + gradients[1]).sum(..), &[scale]).unwrap()[0];
    let leaves = [
        ("a", Value::from(array![1.0, 2.0, 3.0])),
        ("b", array![0.5, 0.25, 0.125].into()),
        ("n", array![2, 0, -1].into()),
        ("scale", 0.5.into()),
    ];
    let outputs = [("da", gradients[0]), ("db", gradients[1]), ("by_scale", by_scale)];
    let values = g.interpret(&outputs, &leaves).unwrap();
    let (y, sine, cosine) = ([2.5, 0.25, -2.875], 0.5f64.sin(), 0.5f64.cos());
    assert_eq!(values["da"], array![2.0 * y[0], 0.0, -y[2]].into());
    assert!(distance(&Array1::from(y.map(|y| 2.0 * y * sine).to_vec()).into(), &values["db"]) < 1e-15);
    let expected = 4.0 * y[0] - 2.0 * y[2] + 2.0 * (y[0] + y[1] + y[2]) * cosine;
    assert!((values["by_scale"].to_f64()[0] - expected).abs() < 1e-14);
    assert_compiles_right(&g, &outputs, &leaves, 1e-14);
}

/// The batch of a value with a rule is the value of each sample with the rule of each.
#[test]
fn rules_are_batched() {
    let g = Graph::new();
    let (x, w, scale) = (g.input("x", [3], F64), g.input("w", [3], F64), g.input("scale", [], F64));
    let y = (x * w).sum(..).custom_vjp(&[x, w], |x, y, dy| vec![dy * x[1] * scale, x[0] * dy * y]);
    let gradients = g.grad(y.sin(), &[x, w]).unwrap();
    let xs = g.input("xs", [4, 3], F64);
    let all = g.vmap(y, &[(x, xs)]).unwrap();
    let of_all = g.grad(all.sin().sum(..), &[xs, w]).unwrap();
    let batch_of = g.vmap(gradients[0], &[(x, xs)]).unwrap();
    let outputs = [("all", all), ("dxs", of_all[0]), ("dw", of_all[1]), ("batch_of", batch_of)];
    let leaves =
        [("xs", value_for(xs, 1)), ("w", value_for(w, 2)), ("scale", 3.0.into()), ("x", value_for(x, 3))];
    let values = g.interpret(&outputs, &leaves).unwrap();
    let mut dw = ndarray::ArrayD::<f64>::zeros(vec![3]);
    for sample in 0..4 {
        let mut given = leaves.to_vec();
        given[3].1 = leaves[0].1.array::<f64>().unwrap().index_axis(ndarray::Axis(0), sample).into();
        let one = g.interpret(&[("y", y), ("dx", gradients[0]), ("dw", gradients[1])], &given).unwrap();
        let row = |name: &str| -> Value {
            values[name].array::<f64>().unwrap().index_axis(ndarray::Axis(0), sample).into()
        };
        assert!(distance(&one["y"], &row("all")) < 1e-14);
        assert!(distance(&one["dx"], &row("dxs")) < 1e-14);
        assert!(distance(&one["dx"], &row("batch_of")) < 1e-14);
        dw += one["dw"].array::<f64>().unwrap();
    }
    assert!(distance(&dw.into(), &values["dw"]) < 1e-14);
    assert_compiles_right(&g, &outputs, &leaves, 1e-13);
}

/// Weights of whole numbers, learnt by letting the gradient pass through the rounding.
#[test]
fn rounded_weights_are_trained() {
    let g = Graph::new();
    let (x, t) = (g.input("x", [8, 3], F32), g.input("t", [8, 1], F32));
    let w = g.parameter("w", [1, 3], F32);
    let whole = w.round().custom_vjp(&[w], |_, _, dy| vec![dy]);
    let loss = x.einsum("nk,mk->nm", whole).mse_loss(t);
    let step = g.training_step(loss, Sgd::new(0.05)).unwrap().output("whole", whole).compile().unwrap();
    let inputs = Array2::from_shape_fn((8, 3), |(i, j)| if i >> j & 1 == 1 { 1.0f32 } else { -1.0 });
    let targets = inputs.dot(&array![[3.0f32], [-2.0], [1.0]]);
    let inputs = step.inputs().with("x", inputs).unwrap().with("t", targets).unwrap();
    let mut state = step.state();
    let report = step.run_many(&mut state, &inputs, 100).unwrap();
    assert_eq!(report.output("whole").unwrap(), array![[3.0f32, -2.0, 1.0]].into());
    assert_eq!(report.loss(), 0.0);
}

#[test]
fn equal_rules_are_one_node() {
    let g = Graph::new();
    let x = g.input("x", [2], F64);
    assert_eq!(log1pexp(x).id(), log1pexp(x).id());
    assert_ne!(log1pexp(x).id(), x.exp().log1p().custom_vjp(&[x], |_, _, dy| vec![dy]).id());
}

#[test]
fn mistakes_with_rules_are_told() {
    let message = |build: fn(&Graph)| {
        let g = Graph::new();
        build(&g);
        g.check().unwrap_err().to_string()
    };
    let count = message(|g| {
        let (x, w) = (g.input("x", [2], F64), g.input("w", [2], F64));
        (x * w).custom_vjp(&[x, w], |_, _, dy| vec![dy]);
    });
    assert!(count.contains("custom_vjp: the rule gives 1 cotangents, for 2 operands of floats"), "{count}");
    assert!(count.contains("tests/rules.rs:"), "{count}");
    let ty = message(|g| drop(format!("{:?}", log_sum(g.input("x", [2], F64)))));
    assert!(ty.contains("f64[] and f64[2] do not fit: the rule's cotangent 0 must have the type"), "{ty}");
    let beside = message(|g| {
        let (x, w) = (g.input("x", [2], F64), g.parameter("w", [2], F64));
        (x * w).custom_vjp(&[x], |_, _, dy| vec![dy]);
    });
    assert!(
        beside.contains("the value depends on %1: f64[2], for which the rule gives no cotangent"),
        "{beside}"
    );
    let inner = message(|g| {
        let x = g.input("x", [2], F64);
        x.custom_vjp(&[x], |_, _, dy| vec![dy.matmul(dy.unsqueeze(0))]);
    });
    assert!(inner.starts_with("dot") || inner.starts_with("matmul"), "{inner}");
    let whole = message(|g| {
        let x = g.input("x", [2], I32);
        x.custom_vjp(&[x], |_, _, _| vec![]);
    });
    assert!(whole.contains("custom_vjp: i32[2] is not supported here"), "{whole}");
    // What is stopped is meant to have no derivative.
    let g = Graph::new();
    let (x, w) = (g.input("x", [2], F64), g.parameter("w", [2], F64));
    (x * w.stop_gradient()).custom_vjp(&[x], |_, _, dy| vec![dy]);
    g.check().unwrap();
}

fn log_sum(x: Tensor<'_>) -> Tensor<'_> {
    x.exp().sum(..).log().custom_vjp(&[x], |_, _, dy| vec![dy])
}

#[test]
fn forward_mode_ends_at_a_given_rule() {
    let g = Graph::new();
    let (x, v) = (g.input("x", [], F64), g.input("v", [], F64));
    // The Jacobian of many in few is taken in reverse then.
    let y = log1pexp(x) * g.iota([3], 0, F64);
    let slopes = g.interpret(&[("J", g.jacobian(y, x).unwrap())], &[("x", 0.0.into())]).unwrap();
    assert_eq!(slopes["J"], array![0.0, 0.5, 1.0].into());
    let error = g.jvp(y, &[(x, v)]).unwrap_err().to_string();
    assert!(error.contains("custom_vjp: there is no forward rule; derive in reverse"), "{error}");
}

/// Layers with dropout, in sections, each of which is computed anew or not.
fn deep<'g>(
    g: &'g Graph,
    x: Tensor<'g>,
    sections: usize,
    checkpointed: bool,
) -> (Tensor<'g>, Vec<Tensor<'g>>) {
    let width = x.shape().extents()[1];
    let key = g.input("key", [], I64);
    let (mut h, mut weights) = (x, Vec::new());
    for section in 0..sections {
        let start = h;
        for layer in 0..4 {
            let w = g.parameter(&format!("w{section}_{layer}"), [width, width], x.dtype());
            h = h.matmul(w).tanh() + start;
            weights.push(w);
        }
        h = h.dropout(0.25, key.fold_in(section as f64));
        if checkpointed {
            h = h.checkpoint(&[start, key]);
        }
    }
    (h.square().mean(..), weights)
}

#[test]
fn what_is_computed_anew_is_the_same() {
    let (plain, saved) = (Graph::new(), Graph::new());
    let mut results = Vec::new();
    for (g, checkpointed) in [(&plain, false), (&saved, true)] {
        let x = g.input("x", [5, 6], F64);
        let (loss, weights) = deep(g, x, 2, checkpointed);
        let wrt = [&[x], &weights[..]].concat();
        let gradients = g.grad(loss, &wrt).unwrap();
        let slope = (gradients[0].sin()).sum(..) + gradients[3].sum(..);
        let second = g.grad(slope, &wrt[..3]).unwrap();
        let count = gradients.len();
        let order = |at| if at < count { "first" } else { "second" };
        let names: Vec<String> = (0..count + second.len()).map(|at| format!("{} {at}", order(at))).collect();
        let mut outputs = vec![("loss", loss)];
        outputs.extend(names.iter().map(String::as_str).zip(gradients.into_iter().chain(second)));
        let mut leaves = vec![("x", value_for(x, 1)), ("key", Value::from(3i64))];
        let weight_names: Vec<String> =
            (0..2).flat_map(|section| (0..4).map(move |layer| format!("w{section}_{layer}"))).collect();
        for (seed, (name, w)) in weight_names.iter().zip(&weights).enumerate() {
            leaves.push((name, value_for(*w, seed as u64 + 2)));
        }
        results.push(g.interpret(&outputs, &leaves).unwrap());
        assert_compiles_right(g, &outputs, &leaves, 1e-12);
    }
    for (name, value) in &results[0] {
        // Sums of second derivatives are grouped otherwise; all else is the same to the bit.
        let allowed = if name.starts_with("second") { 1e-14 } else { 0.0 };
        assert!(distance(value, &results[1][name]) <= allowed, "{name}");
    }
}

#[test]
fn sections_computed_anew_take_less_memory() {
    let arena = |checkpointed: bool| {
        let g = Graph::new();
        let x = g.input("x", [64, 32], F32);
        let (loss, _) = deep(&g, x, 8, checkpointed);
        g.training_step(loss, Sgd::new(0.1)).unwrap().compile().unwrap().compile_report().arena_bytes
    };
    let (kept, anew) = (arena(false), arena(true));
    // 32 results of 8 KiB each are kept; or those of 8 sections, and what one section needs.
    assert!(kept >= 32 * 8192, "{kept}");
    assert!(3 * anew <= kept, "{anew} of {kept} bytes");
}

#[test]
fn sections_compose_with_every_transform() {
    let g = Graph::new();
    let (x, w, v) = (g.input("x", [3], F64), g.input("w", [3, 3], F64), g.input("v", [3], F64));
    // One after the other, and one inside the other.
    let build = |sections: usize| {
        let inner = x.matmul(w).sin();
        let inner = if sections > 0 { inner.checkpoint(&[x]) } else { inner };
        let outer = (inner * x).exp().sum(..);
        match sections {
            0 => outer,
            1 => outer.checkpoint(&[inner, x]),
            _ => outer.checkpoint(&[x]),
        }
    };
    let xs = g.input("xs", [4, 3], F64);
    let mut pages = Vec::new();
    for y in [build(0), build(1), build(2)] {
        let slope = g.grad(y, &[x, w]).unwrap();
        let all = g.vmap(y, &[(x, xs)]).unwrap();
        let of_all = g.grad(all.sum(..), &[xs, w]).unwrap();
        let outputs = vec![
            ("y", y),
            ("dx", slope[0]),
            ("dw", slope[1]),
            ("along", g.jvp(y, &[(x, v)]).unwrap()),
            ("hessian", g.hessian(y, x).unwrap()),
            ("product", g.hessian_vector_product(y, x, v).unwrap()),
            ("all", all),
            ("dxs", of_all[0]),
            ("dws", of_all[1]),
        ];
        let leaves = [
            ("x", value_for(x, 1)),
            ("w", value_for(w, 2)),
            ("v", value_for(v, 3)),
            ("xs", value_for(xs, 4)),
        ];
        pages.push(g.interpret(&outputs, &leaves).unwrap());
        assert_compiles_right(&g, &outputs, &leaves, 1e-12);
    }
    for (name, value) in &pages[0] {
        for page in &pages[1..] {
            assert!(distance(value, &page[name]) < 1e-14, "{name}");
        }
    }
}
