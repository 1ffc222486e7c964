//! Programs that are written out: which are, and what becomes of them.

use super::{Isa, Tape, steps};
use crate::loops::Program;
use crate::prelude::*;
use crate::{Options, TrainingStep};

fn program(step: &TrainingStep<'_>) -> Program {
    step.function().unwrap().schedule(&Options::default()).unwrap().program
}

/// A layer on one sample.
fn linear<'g>(g: &'g Graph, [inputs, outputs]: [usize; 2], dtype: DType) -> Tensor<'g> {
    let weight = g.parameter("weight", [outputs, inputs], dtype);
    g.input("x", [inputs], dtype).linear(weight, g.parameter("bias", [outputs], dtype))
}

/// Programs that between them need most instructions.
pub fn programs() -> Vec<Program> {
    let of = |dtype: DType| {
        let g = Graph::new();
        let y = linear(&g, [2, 6], dtype);
        let results = [
            y.tanh() / (y.abs() + 1.0).sqrt() - y.exp() * y.erf() + y.log(),
            y.maximum(1.0) + y.minimum(y.reverse(0)).floor() + y.ceil() * y.round() + y.sign(),
            y.less(0.5).select(y, 2.0) * (y.less(0.5) & !y.equal(1.0) | y.not_equal(y)).cast(dtype),
            y.sin() + y.atan2(y.cos()) - y.expm1() + g.iota([6], 0, dtype),
        ];
        let losses = results.map(|result| result.mean(..));
        let loss = losses.into_iter().reduce(|sum, loss| sum + loss).unwrap();
        program(&g.training_step(loss, Sgd::new(0.01).momentum(0.9)).unwrap())
    };
    vec![of(F32), of(F64)]
}

/// What a person would write: what stays is loaded once, and what changes is updated in its register.
#[test]
fn state_stays_where_it_is() {
    let g = Graph::new();
    let loss = linear(&g, [3, 1], F32).mse_loss(g.input("target", [1], F32));
    let program = program(&g.training_step(loss, Sgd::new(0.01)).unwrap());
    let listing = steps(&Tape::of(&program), &program).unwrap().listing();
    let (before, turn) = listing.split_once("loop0:").unwrap();
    assert_eq!(before.matches("vbroadcastss").count(), 9, "inputs, learning rate and state in:\n{listing}");
    assert_eq!(turn.matches("vfnmadd231ps").count(), 4, "updates in:\n{listing}");
    for other in ["vmovups", "rsp", "vbroadcast"] {
        assert!(!turn.contains(other), "{other} in:\n{listing}");
    }
}

#[test]
fn what_needs_calls_of_all_lanes_is_left() {
    let is_written = |make: for<'g> fn(Tensor<'g>) -> Tensor<'g>, dtype| {
        let g = Graph::new();
        let y = make(g.parameter("x", [2], dtype));
        let program = g.function().output("y", y).schedule(&Options::default()).unwrap().program;
        steps(&Tape::of(&program), &program).is_some()
    };
    assert!(is_written(|x| x.pow(2.0) + 1.0, F32), "a power that is a product");
    assert!(!is_written(|x| x.pow(x), F32));
    assert!(!is_written(|x| x % 3.0, F64));
    assert!(is_written(|x| x * x, I32) && !is_written(|x| x / 3.0, I32));
    assert!(is_written(|x| x / 4.0 + x % 8.0, I32), "quotients by powers of two are shifts");
    assert!(!is_written(|x| x.less(0.5), F32), "truth values in memory");
}

/// Lanes that hold the same are as long as the shortest vector.
#[test]
fn vectors_are_short() {
    for program in programs() {
        let assembly = steps(&Tape::of(&program), &program).unwrap();
        assert_eq!(assembly.isa, Isa::Avx2Short);
        assert!(assembly.listing().contains("xmm") && !assembly.listing().contains("ymm"));
    }
}
