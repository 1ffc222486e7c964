//! Copying the part of a graph that some results need: dead code elimination, and the frame of every
//! rewriting pass.

use std::panic::Location;

use crate::graph::{NodeId, Origin, Target};
use crate::ops::{Graph, Op};

/// The graph of what these results need, and nothing else.
pub fn extract(source: &Graph, results: &[(Target, NodeId)]) -> Graph {
    let needed = source.needed(results);
    copy(source, results, &needed, |graph, op, operands, _| graph.insert(op, operands, Location::caller()))
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
