//! Graphs as values: equality of everything that is in them, and a hash that goes with it.

use std::hash::{Hash, Hasher};

use rustc_hash::FxHasher;

use super::{Graph, NodeId, Operator, Target};

/// The part of a graph that some results need, as the graph of its own that a copy of it would be.
pub(crate) struct Part<'g, O> {
    graph: &'g Graph<O>,
    /// In the order of the copy.
    nodes: Vec<NodeId>,
    /// The number of each of the graph's nodes in the copy.
    numbers: Vec<Option<NodeId>>,
    results: &'g [(Target, NodeId)],
}

impl<O: Operator> Graph<O> {
    /// What results need, and the state that they update.
    pub(crate) fn needed(&self, results: &[(Target, NodeId)]) -> Vec<bool> {
        let updated = results.iter().filter_map(|(target, _)| match target {
            Target::Update(name) => self.leaf(name),
            Target::Output(_) => None,
        });
        self.reachable(results.iter().map(|result| result.1).chain(updated))
    }
}

impl<'g, O: Operator> Part<'g, O> {
    pub fn new(graph: &'g Graph<O>, results: &'g [(Target, NodeId)]) -> Part<'g, O> {
        let needed = graph.needed(results);
        let nodes: Vec<NodeId> = graph.ids().filter(|id| needed[id.index()]).collect();
        let mut numbers = vec![None; graph.len()];
        for (number, id) in nodes.iter().enumerate() {
            numbers[id.index()] = Some(NodeId(number as u32));
        }
        Part { graph, nodes, numbers, results }
    }

    fn operands(&self, id: NodeId) -> impl Iterator<Item = Option<NodeId>> + '_ {
        self.graph.operands(id).into_iter().map(|operand| self.numbers[operand.index()])
    }

    fn results(&self) -> impl Iterator<Item = (&Target, Option<NodeId>)> {
        self.results.iter().map(|(target, id)| (target, self.numbers[id.index()]))
    }

    /// A hash of operators, operands and results. It is the same in every process.
    pub fn structure_hash(&self) -> u64 {
        let mut hasher = FxHasher::default();
        for &id in &self.nodes {
            self.graph.node(id).op.hash(&mut hasher);
            self.operands(id).for_each(|operand| operand.hash(&mut hasher));
        }
        self.results().for_each(|result| result.hash(&mut hasher));
        hasher.finish()
    }

    /// Whether the copy would have the same nodes, of the same origins, and the same results, as this graph.
    pub fn is_same(&self, copy: &Graph<O>) -> bool {
        let same_node = |(&id, other): (&NodeId, NodeId)| {
            let (one, another) = (self.graph.node(id), copy.node(other));
            one.op == another.op
                && self.operands(id).eq(copy.operands(other).into_iter().map(Some))
                && one.origin.renumbered(&|of: NodeId| self.numbers[of.index()]) == another.origin
        };
        let results = &copy.inner.borrow().results;
        self.nodes.len() == copy.len()
            && self.results().eq(results.iter().map(|(target, id)| (target, Some(*id))))
            && self.nodes.iter().zip(copy.ids()).all(same_node)
    }
}
