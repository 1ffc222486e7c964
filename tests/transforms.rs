//! Transforms that compose: batching against one sample at a time, Jacobians and Hessians against differences and
//! formulas.

mod common;

use common::cases::{ANY_RANK, Case, ELEMENTWISE, STRUCTURAL, tame};
use common::{assert_compiles_right, distance};
use hitofude::prelude::*;

const SAMPLES: usize = 3;

/// The operator over samples of `x`, and of `y` too or not, is the operator over each sample.
fn check_batch((name, build): &Case, shape: &[usize], y_is_mapped: bool) {
    let g = Graph::new();
    let shape = Shape::new(shape).unwrap();
    let many = Shape::new(&[&[SAMPLES], shape.extents()].concat()).unwrap();
    let (x, y) = (g.input("x", shape, F64), g.input("y", shape, F64));
    let (xs, ys) = (g.input("xs", many, F64), g.input("ys", many, F64));
    let one = build(x, y);
    let mapped = if y_is_mapped { vec![(x, xs), (y, ys)] } else { vec![(x, xs)] };
    let all = g.vmap(one, &mapped).unwrap_or_else(|error| panic!("{name}: {error}"));
    // A derivative of what is batched is the batch of the derivatives.
    let slope = g.grad(all.sum(..), &[xs]).unwrap()[0];
    let slope_of_one = g.grad(one.sum(..), &[x]).unwrap()[0];
    let leaves = [("x", tame(x, 1)), ("y", tame(y, 2)), ("xs", tame(xs, 3)), ("ys", tame(ys, 4))];
    let outputs = [("all", all), ("slope", slope)];
    let batch = g.interpret(&outputs, &leaves).unwrap();
    for sample in 0..SAMPLES {
        let row = |value: &Value| -> Value {
            value.array::<f64>().unwrap().index_axis(ndarray::Axis(0), sample).into()
        };
        let mut given = leaves.to_vec();
        given[0].1 = row(&leaves[2].1);
        if y_is_mapped {
            given[1].1 = row(&leaves[3].1);
        }
        let single = g.interpret(&[("one", one), ("slope", slope_of_one)], &given).unwrap();
        for (batched, alone) in [("all", "one"), ("slope", "slope")] {
            let apart = distance(&single[alone], &row(&batch[batched]));
            assert!(apart < 1e-13, "{name}, sample {sample}: {batched} is {apart:e} apart\n{g}");
        }
    }
    assert_compiles_right(&g, &outputs, &leaves, 1e-12);
}

#[test]
fn a_batch_is_each_sample() {
    for y_is_mapped in [true, false] {
        for case in ELEMENTWISE {
            check_batch(case, &[4], y_is_mapped);
            check_batch(case, &[], y_is_mapped);
        }
        for case in ANY_RANK {
            check_batch(case, &[2, 1, 3], y_is_mapped);
            check_batch(case, &[], y_is_mapped);
        }
        for case in STRUCTURAL {
            check_batch(case, &[3, 4], y_is_mapped);
            check_batch(case, &[1, 2], y_is_mapped);
        }
    }
}

#[test]
fn rows_are_picked_for_each_sample() {
    let g = Graph::new();
    let (x, rows) = (g.input("x", [2, 5, 3], F64), g.input("rows", [4], I32));
    let y = x.take(1, rows);
    let (xs, many) = (g.input("xs", [SAMPLES, 2, 5, 3], F64), g.input("many", [SAMPLES, 4], I32));
    let batches = [
        ("both", g.vmap(y, &[(x, xs), (rows, many)]).unwrap()),
        ("tables", g.vmap(y, &[(x, xs)]).unwrap()),
        ("places", g.vmap(y, &[(rows, many)]).unwrap()),
    ];
    let picks = Array2::from_shape_fn((SAMPLES, 4), |(sample, place)| ((sample * 7 + place * 3) % 5) as i32);
    let leaves = [
        ("x", tame(x, 1)),
        ("xs", tame(xs, 2)),
        ("rows", picks.row(0).into()),
        ("many", Value::from(&picks)),
    ];
    let all = g.interpret(&batches, &leaves).unwrap();
    for (name, _) in &batches {
        for sample in 0..SAMPLES {
            let mut given = leaves.to_vec();
            if *name != "places" {
                given[0].1 = leaves[1].1.array::<f64>().unwrap().index_axis(ndarray::Axis(0), sample).into();
            }
            if *name != "tables" {
                given[2].1 = picks.row(sample).into();
            }
            let one = g.interpret(&[("y", y)], &given).unwrap();
            let row: Value = all[*name].array::<f64>().unwrap().index_axis(ndarray::Axis(0), sample).into();
            assert_eq!(one["y"], row, "{name}, sample {sample}");
        }
    }
    assert_compiles_right(&g, &batches, &leaves, 0.0);
}

#[test]
fn jacobians_either_way() {
    let g = Graph::new();
    let (few, many) = (g.input("few", [2], F64), g.input("many", [5], F64));
    let wide = few.sin().einsum("a,b->ba", many.exp()).sum(1);
    let slim = few * many.square().sum(..);
    let outputs = [
        ("forward", g.jacobian(wide, few).unwrap()),  // [5, 2]
        ("reverse", g.jacobian(slim, many).unwrap()), // [2, 5]
    ];
    assert_eq!(outputs.map(|output| output.1.ty().to_string()), ["f64[5,2]", "f64[2,5]"]);
    let (f, m) = ([0.3f64, 1.1], [0.1f64, -0.4, 0.9, 0.2, -1.0]);
    let leaves = [("few", Value::from(Array1::from(f.to_vec()))), ("many", Array1::from(m.to_vec()).into())];
    let values = g.interpret(&outputs, &leaves).unwrap();
    let forward = Array2::from_shape_fn((5, 2), |(i, j)| f[j].cos() * m[i].exp());
    let reverse = Array2::from_shape_fn((2, 5), |(i, j)| f[i] * 2.0 * m[j]);
    assert!(distance(&forward.into(), &values["forward"]) < 1e-14);
    assert!(distance(&reverse.into(), &values["reverse"]) < 1e-14);
    assert_compiles_right(&g, &outputs, &leaves, 1e-13);
}

/// The Hessian of Rosenbrock's function, by its formula, and its product with a vector.
#[test]
fn hessian_of_rosenbrocks_function() {
    let g = Graph::new();
    let (x, v) = (g.input("x", [4], F64), g.input("v", [4], F64));
    let (now, next) = (x.slice(0, 0..3), x.slice(0, 1..4));
    let y = (100.0 * (next - now.square()).square() + (1.0 - now).square()).sum(..);
    let outputs =
        [("hessian", g.hessian(y, x).unwrap()), ("product", g.hessian_vector_product(y, x, v).unwrap())];
    let (at, along) = ([0.5, -1.2, 0.7, 2.0], array![1.0, 0.5, -2.0, 0.25]);
    let leaves = [("x", Value::from(Array1::from(at.to_vec()))), ("v", Value::from(&along))];
    let values = g.interpret(&outputs, &leaves).unwrap();
    let expected = Array2::from_shape_fn((4, 4), |(i, j)| {
        let own = if i < 3 { 1200.0 * at[i] * at[i] - 400.0 * at[i + 1] + 2.0 } else { 0.0 };
        match i.abs_diff(j) {
            0 => own + if i > 0 { 200.0 } else { 0.0 },
            1 => -400.0 * at[i.min(j)],
            _ => 0.0,
        }
    });
    assert!(distance(&Value::from(&expected), &values["hessian"]) < 1e-13);
    assert!(distance(&expected.dot(&along).into(), &values["product"]) < 1e-13);
    assert_compiles_right(&g, &outputs, &leaves, 1e-12);
}

#[test]
fn what_cannot_be_batched_is_told() {
    let g = Graph::new();
    let x = g.input("x", [3], F64);
    let message = |error: Error| error.to_string();
    assert!(message(g.vmap(x, &[]).unwrap_err()).contains("at least one tensor"));
    let short = g.input("short", [5, 2], F64);
    assert!(
        message(g.vmap(x, &[(x, short)]).unwrap_err()).contains("f64[5,3], but the value given is f64[5,2]")
    );
    let full = x.reshape([1, 1, 1, 1, 1, 1, 1, 3]);
    let xs = g.input("xs", [5, 3], F64);
    assert!(message(g.vmap(full, &[(x, xs)]).unwrap_err()).contains("no room for an axis"));
    let whole = g.input("whole", [1, 1, 1, 1, 1, 1, 1, 1], F64);
    assert!(g.jacobian(whole.sin(), whole).is_err());
}
