//! Passes inside the bodies of loops.

use std::panic::Location;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::rebuild;
use crate::graph::NodeId;
use crate::ops::{Body, Graph, Op, Scan};

/// Runs a pass on bodies, once on each.
pub(super) struct Bodies {
    pass: fn(&Graph) -> Graph,
    known: FxHashMap<Arc<Body>, Arc<Body>>,
}

impl Bodies {
    pub fn through(pass: fn(&Graph) -> Graph) -> Bodies {
        Bodies { pass, known: FxHashMap::default() }
    }

    /// The loop over the body that the pass makes of its own.
    pub fn apply(&mut self, scan: Scan) -> Scan {
        let pass = self.pass;
        let body = self.known.entry(scan.body.clone()).or_insert_with(|| Arc::new(scan.body.through(pass)));
        Scan { body: body.clone(), ..scan }
    }
}

/// The graph with the pass run on every body; nothing, if there is none.
pub(super) fn in_bodies(graph: &Graph, pass: fn(&Graph) -> Graph) -> Option<Graph> {
    graph.ids().find(|&id| matches!(graph.node(id).op, Op::Scan(_)))?;
    let mut bodies = Bodies::through(pass);
    Some(with_loops(graph, |scan| bodies.apply(scan)))
}

/// The graph with other loops in the place of its own.
fn with_loops(graph: &Graph, mut change: impl FnMut(Scan) -> Scan) -> Graph {
    rebuild(graph, &graph.results(), &named_leaves(graph), |graph, op, operands, _| {
        let op = match op {
            Op::Scan(scan) => Op::Scan(change(scan)),
            op => op,
        };
        graph.insert(op, operands, Location::caller())
    })
}

/// The graph with a pass run on every body that has loops itself; nothing, if there is none or the pass has nothing to do.
pub(super) fn in_outer_bodies(graph: &Graph, pass: fn(&Graph) -> Option<Graph>) -> Option<Graph> {
    let mut changed: FxHashMap<Arc<Body>, Option<Arc<Body>>> = FxHashMap::default();
    for id in graph.ids() {
        if let Op::Scan(scan) = graph.op(id)
            && scan.body.nodes.iter().any(|node| matches!(node.op, Op::Scan(_)))
        {
            changed.entry(scan.body.clone()).or_insert_with(|| scan.body.changed(pass).map(Arc::new));
        }
    }
    changed.values().find(|body| body.is_some())?;
    Some(with_loops(graph, |scan| match changed.get(&scan.body) {
        Some(Some(body)) => Scan { body: body.clone(), ..scan },
        _ => scan,
    }))
}

/// Inputs and state: the signature, which stays even if nothing needs them any more.
pub(super) fn named_leaves(graph: &Graph) -> Vec<NodeId> {
    graph.ids().filter(|&id| graph.tensor(id).leaf_name().is_some()).collect()
}
