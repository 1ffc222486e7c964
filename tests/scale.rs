//! Large graphs: nothing recurses over them, and nothing is derived twice.

mod common;

use common::assert_compiles_right;
use hitofude::Options;
use hitofude::prelude::*;

fn chain<'g>(x: Tensor<'g>, length: usize) -> Tensor<'g> {
    (0..length).fold(x, |x, i| if i % 2 == 0 { x.sin() } else { x + 0.5 })
}

#[test]
fn a_chain_of_100_000_nodes_is_derived_simplified_and_evaluated() {
    let g = Graph::new();
    let x = g.input("x", [], F64);
    let y = chain(x, 100_000);
    let dx = g.grad(y, &[x]).unwrap()[0];
    let simplified = g.function().output("dx", dx).optimised(&Options::default()).unwrap();
    assert!(simplified.len() < 400_000);
    let value = g.interpret(&[("y", y)], &[("x", 0.3.into())]).unwrap();
    assert!(value["y"].to_f64()[0].is_finite());
}

#[test]
fn a_chain_of_2_000_nodes_compiles() {
    let g = Graph::new();
    let x = g.input("x", [50], F64);
    let y = chain(x, 2_000);
    let dx = g.grad(y.sum(..), &[x]).unwrap()[0];
    let leaves = [("x", Value::from(Array1::linspace(-1.0, 1.0, 50)))];
    assert_compiles_right(&g, &[("y", y), ("dx", dx)], &leaves, 1e-9);
}

#[test]
fn uses_beyond_counting_are_many() {
    // x ← sin(x·x), where no product is split up: 2⁸⁰ ways from x to y.
    let g = Graph::new();
    let x = g.input("x", [50], F64);
    let y = (0..80).fold(x, |x, _| (x * x).sin());
    let leaves = [("x", Value::from(Array1::linspace(-1.0, 1.0, 50)))];
    assert_compiles_right(&g, &[("y", y)], &leaves, 1e-12);
}

#[test]
fn doubling_stays_linear() {
    // x ← x·x + x: a tree of 2⁶⁰ leaves, a DAG of 120 nodes.
    let g = Graph::new();
    let x = g.input("x", [], F64);
    let y = (0..60).fold(x * 0.01, |x, _| (x * x + x) * 0.5);
    let dx = g.grad(y, &[x]).unwrap()[0];
    assert!(g.len() < 1_000, "{} nodes", g.len());
    assert_compiles_right(&g, &[("y", y), ("dx", dx)], &[("x", 0.7.into())], 1e-12);
}
