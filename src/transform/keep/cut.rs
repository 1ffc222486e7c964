//! Which of the values that two loops share are kept: those that take least work and memory in all, found as the smallest
//! cut between what could be computed anew and what needs it. After the partitioner of PyTorch's AOTAutograd (Horace He,
//! "Min-cut optimal recomputation (i.e. activation checkpointing) with AOTAutograd", 2022).

use petgraph::Direction;
use petgraph::algo::dinics;
use petgraph::graph::{DiGraph, EdgeReference, NodeIndex};
use petgraph::visit::EdgeRef;

use super::Shared;
use super::cost;
use crate::graph::NodeId;
use crate::ops::Body;

/// More than all work and memory.
const NEVER: u64 = 1 << 62;

/// The most that a node counts, so that sums stay below.
const MOST: u64 = 1 << 40;

/// Of more nodes than this, those that take far more work than memory are kept: the cut would take longer than linear time.
const MANY: usize = 500;

/// What is saved, in scalar instructions a turn, if the borrower is given certain nodes, and which.
pub(super) fn cheapest(borrower: &Body, shared: &Shared) -> (u64, Vec<NodeId>) {
    let is_shared: Vec<bool> = (0..borrower.nodes.len())
        .map(|node| node >= borrower.inputs && shared.varies[node] && shared.found[node].is_some())
        .collect();
    match is_shared.iter().filter(|&&shared| shared).count() > MANY {
        true => costly(borrower, &is_shared),
        false => smallest(borrower, &is_shared),
    }
}

/// The nodes that take at least twice as much work as memory, each for itself: no functions of one number.
fn costly(borrower: &Body, is_shared: &[bool]) -> (u64, Vec<NodeId>) {
    let nodes = borrower.nodes.iter().zip(is_shared).filter(|(_, shared)| **shared);
    let costs = nodes.map(|(node, _)| (cost::work(borrower, node), cost::kept(node.ty), node.id));
    costs.filter(|(work, kept, _)| work / 2 >= *kept).fold(
        (0, vec![]),
        |(saved, mut nodes), (work, kept, node)| {
            nodes.push(node);
            (saved.saturating_add(work - kept), nodes)
        },
    )
}

/// The nodes at the smallest cut.
fn smallest(borrower: &Body, is_shared: &[bool]) -> (u64, Vec<NodeId>) {
    let mut network = DiGraph::<(), u64>::new();
    let (source, sink) = (network.add_node(()), network.add_node(()));
    // Each shared node is made anew, which takes work, or kept, which takes memory, or not needed.
    let ends: Vec<Option<[NodeIndex; 2]>> = is_shared
        .iter()
        .map(|&shared| shared.then(|| [network.add_node(()), network.add_node(())]))
        .collect();
    let mut work = 0u64;
    for (node, ends_of) in borrower.nodes.iter().zip(&ends) {
        let operands = node.operands.iter().filter_map(|operand| ends[operand.index()]);
        let Some([made, there]) = *ends_of else {
            for [_, there] in operands {
                network.add_edge(there, sink, NEVER);
            }
            continue;
        };
        let cost = cost::work(borrower, node).min(MOST);
        work = work.saturating_add(cost);
        network.add_edge(source, made, cost);
        network.add_edge(made, there, cost::kept(node.ty).min(MOST));
        for [_, there] in operands {
            network.add_edge(there, made, NEVER);
        }
    }
    for result in &borrower.results {
        if let Some([_, there]) = ends[result.index()] {
            network.add_edge(there, sink, NEVER);
        }
    }
    let (least, flow) = dinics(&network, source, sink);
    let is_before = before_the_cut(&network, source, &flow);
    let is_kept = |node: &usize| {
        ends[*node].is_some_and(|[made, there]| is_before[made.index()] && !is_before[there.index()])
    };
    let kept = (0..ends.len()).filter(is_kept).map(|node| borrower.nodes[node].id).collect();
    (work.saturating_sub(least), kept)
}

/// One flag a node: whether the source reaches it by edges that could take more, or that could give back.
fn before_the_cut(network: &DiGraph<(), u64>, source: NodeIndex, flow: &[u64]) -> Vec<bool> {
    let mut is_before = vec![false; network.node_count()];
    let mut next = vec![source];
    while let Some(node) = next.pop() {
        if std::mem::replace(&mut is_before[node.index()], true) {
            continue;
        }
        let free = |edge: &EdgeReference<'_, u64>| flow[edge.id().index()] < *edge.weight();
        let onwards = network.edges(node).filter(free).map(|edge| edge.target());
        let used = |edge: &EdgeReference<'_, u64>| flow[edge.id().index()] > 0;
        let back = network.edges_directed(node, Direction::Incoming).filter(used).map(|edge| edge.source());
        next.extend(onwards.chain(back));
    }
    is_before
}
