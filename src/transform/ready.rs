//! The graph as it can be scheduled.

use std::panic::Location;

use super::bodies::{Bodies, named_leaves};
use super::extract::rebuild;
use crate::graph::{NodeId, Target};
use crate::ops::{Dot, Graph, Op, Scan};

/// A result that lies in runs of fewer elements is written an element at a time: vectors have up to sixteen.
const SHORT_RUN: usize = 16;

/// The graph with a kernel that computes every result, everything that a loop walks along or captures in memory, and products
/// whose results lie in runs.
pub fn ready(source: &Graph) -> Graph {
    let mut bodies = Bodies::through(ready);
    let graph =
        rebuild(source, &source.results(), &named_leaves(source), |graph, op, operands, _| match op {
            Op::Scan(scan) => in_memory(graph, bodies.apply(scan), operands),
            Op::Dot(dot) => in_runs(graph, dot, operands),
            op => graph.insert(op, operands, Location::caller()),
        });
    let copy = |(target, id): (Target, NodeId)| match graph.op(id) {
        Op::Leaf(_) | Op::Scan(_) => (target, graph.tensor(id).stop_gradient().id()),
        _ => (target, id),
    };
    graph.set_results(graph.results().into_iter().map(copy).collect());
    graph
}

/// A loop over copies of the leaves that are computed.
fn in_memory(graph: &Graph, scan: Scan, operands: &[NodeId]) -> NodeId {
    let mut operands = operands.to_vec();
    for operand in &mut operands[scan.body.carries..] {
        let tensor = graph.tensor(*operand);
        if matches!(graph.op(*operand), Op::Leaf(_)) && tensor.leaf_name().is_none() {
            *operand = tensor.stop_gradient().id();
        }
    }
    graph.insert(Op::Scan(scan), &operands, Location::caller())
}

/// A product; if the axes of its operands alternate in the result, down to a short run, that with those of each operand
/// together, and transposed: vectors write it, and whoever reads it puts the axes in order.
fn in_runs(graph: &Graph, dot: Dot, operands: &[NodeId]) -> NodeId {
    let [lhs, rhs] = [0, 1].map(|operand| graph.ty(operands[operand]).shape);
    match dot.without_alternation(lhs, rhs, SHORT_RUN) {
        Some(apart) => {
            let order: Vec<usize> =
                dot.out().iter().filter_map(|label| apart.out().iter().position(|l| l == label)).collect();
            let product = graph.insert(Op::Dot(apart), operands, Location::caller());
            graph.tensor(product).permute(&order).id()
        }
        None => graph.insert(Op::Dot(dot), operands, Location::caller()),
    }
}
