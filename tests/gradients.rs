//! Every differentiable operator: its gradient and its second derivative against central differences, JVP and VJP
//! against each other, and compiled code against the interpreter, at several shapes.

mod common;

use common::cases::{ANY_RANK, Case, ELEMENTWISE, STRUCTURAL, name_of, operator_names, tame};
use common::{assert_compiles_right, assert_gradient_right, value_for};
use hitofude::prelude::*;

fn check((name, build): &Case, x_shape: &[usize], y_shape: &[usize]) {
    let g = Graph::new();
    let x = g.input("x", Shape::new(x_shape).unwrap(), F64);
    let y = g.input("y", Shape::new(y_shape).unwrap(), F64);
    let z = build(x, y);
    g.check().unwrap_or_else(|error| panic!("{name}: {error}"));
    let leaves = [("x", tame(x, 3)), ("y", tame(y, 4))];
    // A weighted sum, so that no two elements' cotangents are alike.
    let weights = g.input("weights", z.shape(), F64);
    let with_weights = [&leaves[..], &[("weights", value_for(weights, 5))]].concat();
    let total = (z * weights).sum(..);
    let wrt = [("x", x), ("y", y)];
    // Rounding to f32 hides small differences; what is stopped has some, and no derivative.
    if !["cast", "stop_gradient"].contains(name) {
        assert_gradient_right(&g, total, &wrt, &with_weights);
        let first = g.grad(total, &[x, y]).unwrap();
        let slope = (first[0].sin()).sum(..) + (first[1].sin()).sum(..);
        assert_gradient_right(&g, slope, &wrt, &with_weights);
    }
    assert_adjoint(&g, name, z, [x, y], weights, &with_weights);
}

/// ⟨w, J·v⟩ = ⟨Jᵀ·w, v⟩, and compiled as interpreted.
fn assert_adjoint<'g>(
    g: &'g Graph,
    name: &str,
    z: Tensor<'g>,
    [x, y]: [Tensor<'g>; 2],
    weights: Tensor<'g>,
    leaves: &[(&str, Value)],
) {
    let (dx, dy) = (g.input("dx", x.shape(), F64), g.input("dy", y.shape(), F64));
    let tangent = g.jvp(z, &[(x, dx), (y, dy)]).unwrap();
    let cotangents = g.grad((z * weights).sum(..), &[x, y]).unwrap();
    let forward = (tangent * weights).sum(..);
    let reverse = (cotangents[0] * dx).sum(..) + (cotangents[1] * dy).sum(..);
    let leaves = [leaves, &[("dx", value_for(dx, 6)), ("dy", value_for(dy, 7))]].concat();
    let outputs =
        [("z", z), ("forward", forward), ("reverse", reverse), ("gx", cotangents[0]), ("gy", cotangents[1])];
    let values = g.interpret(&outputs, &leaves).unwrap();
    let [forward, reverse] = ["forward", "reverse"].map(|name| values[name].to_f64()[0]);
    let tolerance = if name == "cast" { 1e-6 } else { 1e-12 };
    assert!(
        (forward - reverse).abs() <= tolerance * forward.abs().max(1.0),
        "{name}: {forward} and {reverse}\n{g}"
    );
    assert_compiles_right(g, &outputs, &leaves, tolerance);
}

#[test]
fn elementwise_operators() {
    // Scalars, an axis of one element, a prime number of elements, and broadcasting on either side and on both.
    let shapes: [(&[usize], &[usize]); 9] = [
        (&[], &[]),
        (&[1], &[1]),
        (&[7], &[7]),
        (&[], &[5]),
        (&[5], &[]),
        (&[2, 1], &[3]),
        (&[3, 4], &[1, 4]),
        (&[1, 2], &[3, 2]),
        (&[2, 1, 3], &[5, 1]),
    ];
    for case in ELEMENTWISE {
        shapes.iter().for_each(|(x, y)| check(case, x, y));
    }
}

#[test]
fn structural_operators() {
    for case in STRUCTURAL {
        for shape in [[1, 1], [1, 5], [5, 1], [2, 3], [7, 4]] {
            check(case, &shape, &shape);
        }
    }
}

#[test]
fn operators_at_any_rank() {
    for case in ANY_RANK {
        for shape in [&[][..], &[1], &[7], &[2, 3, 5], &[1, 1, 2, 1]] {
            check(case, shape, shape);
        }
    }
}

#[test]
fn every_operator_is_among_them() {
    let g = Graph::new();
    let (x, y) = (g.input("x", [3, 4], F64), g.input("y", [3, 4], F64));
    for (_, build) in [ELEMENTWISE, ANY_RANK, STRUCTURAL].into_iter().flatten() {
        build(x, y);
    }
    g.check().unwrap();
    let found: std::collections::BTreeSet<&str> = g.nodes().map(|node| name_of(&node.op)).collect();
    let missing: Vec<&str> = operator_names().into_iter().filter(|name| !found.contains(name)).collect();
    assert!(missing.is_empty(), "without a test of their derivatives: {missing:?}");
}
