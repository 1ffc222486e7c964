//! Copying the part of a graph that some results need: dead code elimination, and the frame of every
//! rewriting pass.

use std::panic::Location;

use super::bodies::{Bodies, named_leaves};
use crate::graph::{NodeId, Origin, Target};
use crate::ops::{Graph, Op};

/// The graph of what these results need, and nothing else.
pub fn extract(source: &Graph, results: &[(Target, NodeId)]) -> Graph {
    let needed = source.needed(results);
    copy(source, results, &needed, |graph, op, operands, _| graph.insert(op, operands, Location::caller()))
}

/// The graph as it can be scheduled: a kernel computes every result, and everything that a loop walks along or captures
/// lies in memory.
pub fn ready(source: &Graph) -> Graph {
    let mut bodies = Bodies::through(ready);
    let graph = rebuild(source, &source.results(), &named_leaves(source), |graph, op, operands, _| {
        let Op::Scan(scan) = op else { return graph.insert(op, operands, Location::caller()) };
        let mut operands = operands.to_vec();
        for operand in &mut operands[scan.body.carries..] {
            let tensor = graph.tensor(*operand);
            if matches!(graph.op(*operand), Op::Leaf(_)) && tensor.leaf_name().is_none() {
                *operand = tensor.stop_gradient().id();
            }
        }
        graph.insert(Op::Scan(bodies.apply(scan)), &operands, Location::caller())
    });
    let copy = |(target, id): (Target, NodeId)| match graph.op(id) {
        Op::Leaf(_) | Op::Scan(_) => (target, graph.tensor(id).stop_gradient().id()),
        _ => (target, id),
    };
    graph.set_results(graph.results().into_iter().map(copy).collect());
    graph
}

/// Copies what `results` need, and the nodes `kept` in any case, into a new graph, each node by way of `insert`,
/// which gets the operands' numbers in the new graph and the node's origin.
pub(crate) fn rebuild(
    source: &Graph,
    results: &[(Target, NodeId)],
    kept: &[NodeId],
    insert: impl FnMut(&Graph, Op, &[NodeId], &Origin) -> NodeId,
) -> Graph {
    let needed = source.reachable(results.iter().map(|result| result.1).chain(kept.iter().copied()));
    copy(source, results, &needed, insert)
}

fn copy(
    source: &Graph,
    results: &[(Target, NodeId)],
    needed: &[bool],
    mut insert: impl FnMut(&Graph, Op, &[NodeId], &Origin) -> NodeId,
) -> Graph {
    let graph = Graph::with_capacity(needed.iter().filter(|&&needed| needed).count());
    let mut copies: Vec<Option<NodeId>> = vec![None; source.len()];
    for id in source.ids().filter(|id| needed[id.index()]) {
        let op = source.op(id);
        let operands: Vec<NodeId> =
            source.operands(id).into_iter().filter_map(|operand| copies[operand.index()]).collect();
        let origin = source.node(id).origin.renumbered(&|of: NodeId| copies[of.index()]);
        let copy = graph.with_origin(origin.clone(), || insert(&graph, op, &operands, &origin));
        copies[id.index()] = Some(copy);
    }
    let renumbered = results.iter().filter_map(|(target, id)| Some((target.clone(), copies[id.index()]?)));
    graph.set_results(renumbered.collect());
    graph
}
