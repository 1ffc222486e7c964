//! The loops of a graph.

use std::panic::Location;

use rustc_hash::FxHashMap;

use super::bodies::named_leaves;
use super::rebuild;
use crate::graph::{NodeId, Origin};
use crate::ops::{Graph, Op, Scan};

/// The loops of a graph that are needed, in topological order.
pub(super) struct Loops {
    /// Each with its operands.
    pub all: Vec<(Scan, Vec<NodeId>)>,
    /// By node: the loop that it is a result of.
    pub number: FxHashMap<NodeId, usize>,
    /// The nodes that are needed, in order.
    needed: Vec<NodeId>,
}

impl Loops {
    pub fn of(graph: &Graph) -> Loops {
        let results = graph.results().into_iter().map(|result| result.1);
        let needed = graph.reachable(results.chain(named_leaves(graph)));
        let needed = graph.ids().filter(|id| needed[id.index()]).collect();
        let mut loops = Loops { all: Vec::new(), number: FxHashMap::default(), needed };
        let mut known: FxHashMap<(Scan, Vec<NodeId>), usize> = FxHashMap::default();
        for &id in &loops.needed {
            if let Op::Scan(scan) = graph.op(id) {
                let key = (scan.whole(), graph.operands(id).into_vec());
                let number = *known.entry(key).or_insert_with_key(|key| {
                    loops.all.push(key.clone());
                    loops.all.len() - 1
                });
                loops.number.insert(id, number);
            }
        }
        loops
    }

    /// The graph that they are of, with each result of a loop by way of `insert`, which gets the loop and its number.
    pub fn rebuild(
        &self,
        source: &Graph,
        mut insert: impl FnMut(&Graph, usize, &Scan, &[NodeId], &Origin) -> NodeId,
    ) -> Graph {
        let mut old = self.needed.iter();
        rebuild(source, &source.results(), &named_leaves(source), |graph, op, operands, origin| {
            match (&op, old.next().and_then(|old| self.number.get(old))) {
                (Op::Scan(scan), Some(&number)) => insert(graph, number, scan, operands, origin),
                _ => graph.insert(op, operands, Location::caller()),
            }
        })
    }
}
