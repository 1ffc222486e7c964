//! What is asked for ahead: rows that are read and written under masks.

use super::{Isa, kernel};
use crate::Options;
use crate::prelude::*;

/// The prefetches of a kernel over rows, for what it reads and writes in a turn.
fn fetches(columns: usize, f: fn(Tensor<'_>) -> Tensor<'_>) -> usize {
    let g = Graph::new();
    let y = f(g.input("x", [10_007, columns], F32));
    let program = g.function().output("y", y).schedule(&Options::default()).unwrap().program;
    let listing = kernel(&program, program.kernels()[0], Isa::Avx512).unwrap().listing();
    // Several rows may be read at once, each by one masked load.
    let turns = listing.matches("{z}, [r").count().max(1);
    assert_eq!(listing.matches("prefetcht0").count() % turns, 0, "{listing}");
    listing.matches("prefetcht0").count() / turns
}

fn sum(x: Tensor<'_>) -> Tensor<'_> {
    x.sum(1)
}

fn scaled(x: Tensor<'_>) -> Tensor<'_> {
    x * x.graph().iota([x.shape().extents()[1]], 0, F32)
}

#[test]
fn short_rows_are_fetched_ahead() {
    assert_eq!([9, 10, 15].map(|columns| fetches(columns, sum)), [1; 3]);
    assert_eq!([9, 10, 15].map(|columns| fetches(columns, scaled)), [2; 3]);
}

/// What follows whole vectors is read ahead by the processor; it is asked for where these are few, and written without.
#[test]
fn long_rows_are_not() {
    assert_eq!([16, 20, 45, 64, 100].map(|columns| fetches(columns, sum)), [0, 1, 1, 0, 0]);
    assert_eq!([20, 100].map(|columns| fetches(columns, scaled)), [1, 0]);
}
