//! What a turn's values cost, in scalar instructions on vectors.

use crate::graph::View;
use crate::ops::{Body, Op};
use crate::types::TensorType;

/// A function such as exp.
const FUNCTION: u64 = 10;

/// Something that does not run on vectors.
const SLOW: u64 = 20;

/// A byte that is written in one loop and read in another.
const KEPT_BYTE: u64 = 2;

/// To keep a value and to load it again.
pub(super) fn kept(ty: TensorType) -> u64 {
    (ty.bytes() as u64).saturating_mul(KEPT_BYTE)
}

/// To compute a node of a body.
pub(super) fn work(body: &Body, node: &View<Op>) -> u64 {
    let operand = |number: usize| body.nodes[node.operands[number].index()].ty.shape;
    let elements = node.ty.shape.elements() as u64;
    let each = |cost: u64| elements.saturating_mul(cost);
    match &node.op {
        Op::Leaf(_) | Op::Layout(_) | Op::Section(_) | Op::Window(_) => 0,
        Op::Dot(dot) => each(dot.sizes(operand(0), operand(1))[2] as u64),
        Op::Reduce(_) => operand(0).elements() as u64,
        Op::Elementwise(op) => each(if op.is_function() { FUNCTION } else { 1 }),
        Op::Random(_)
        | Op::Gather(_)
        | Op::ScatterAdd(_)
        | Op::Recurrence(_)
        | Op::Argsort(_)
        | Op::Custom(_) => each(SLOW),
        Op::Scan(scan) => {
            let turn = scan.body.nodes.iter().map(|node| work(&scan.body, node));
            turn.fold(0, u64::saturating_add).saturating_mul(scan.length as u64)
        }
    }
}
