//! Dead code in loops: carries, slices and rows that no result needs.

use std::collections::BTreeSet;
use std::panic::Location;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::bodies::{in_bodies, named_leaves};
use super::rebuild;
use crate::graph::NodeId;
use crate::ops::{Body, Exit, Graph, Op, Scan, Taken};

/// The graph with loops, and loops in their bodies, that compute nothing but what is needed of them.
pub fn prune(graph: &Graph) -> Graph {
    let graph = prune_outermost(graph);
    match in_bodies(&graph, prune) {
        // A loop inside may have needed more of its surroundings than it does now.
        Some(graph) => prune_outermost(&graph),
        None => graph,
    }
}

fn prune_outermost(source: &Graph) -> Graph {
    let needed = source.reachable(source.results().into_iter().map(|result| result.1));
    let mut taken: FxHashMap<Scan, BTreeSet<Taken>> = FxHashMap::default();
    for id in source.ids().filter(|id| needed[id.index()]) {
        if let Op::Scan(scan) = source.op(id) {
            taken.entry(scan.whole()).or_default().insert(scan.taken);
        }
    }
    let pruned: FxHashMap<Scan, Pruned> =
        taken.into_iter().map(|(scan, taken)| (scan.clone(), Pruned::of(&scan, &taken))).collect();
    rebuild(source, &source.results(), &named_leaves(source), |graph, op, operands, _| {
        let Op::Scan(scan) = op else { return graph.insert(op, operands, Location::caller()) };
        let Some(pruned) = pruned.get(&scan.whole()) else {
            return graph.insert(Op::Scan(scan), operands, Location::caller());
        };
        let (scan, operands) = pruned.apply(scan, operands);
        graph.insert(Op::Scan(scan), &operands, Location::caller())
    })
}

/// What is left of a loop.
struct Pruned {
    body: Arc<Body>,
    /// One flag an input of the old body, and one a row.
    inputs: Vec<bool>,
    rows: Vec<bool>,
}

impl Pruned {
    fn of(scan: &Scan, taken: &BTreeSet<Taken>) -> Pruned {
        let body = &scan.body;
        let rows: Vec<bool> = (0..body.rows()).map(|row| taken.contains(&Taken::Stack(row))).collect();
        let is_needed = |carry| {
            let says_whether_to_go_on = scan.exit == Exit::WhenFalse && carry == 0;
            says_whether_to_go_on
                || [Taken::Last(carry), Taken::History(carry)].iter().any(|it| taken.contains(it))
        };
        let mut inputs: Vec<bool> =
            (0..body.inputs).map(|input| input < body.carries && is_needed(input)).collect();
        // A carry that is needed needs what its next value is computed from.
        loop {
            let results = kept_results(body, &inputs, &rows);
            let reached = reached_inputs(body, &results);
            let before = inputs.clone();
            inputs.iter_mut().zip(reached).for_each(|(input, reached)| *input |= reached);
            if inputs == before {
                return Pruned { body: Arc::new(keep(body, &inputs, &results)), inputs, rows };
            }
        }
    }

    fn apply(&self, scan: Scan, operands: &[NodeId]) -> (Scan, Vec<NodeId>) {
        let rank = |flags: &[bool]| flags.iter().filter(|&&flag| flag).count();
        let taken = match scan.taken {
            Taken::Last(carry) => Taken::Last(rank(&self.inputs[..carry])),
            Taken::History(carry) => Taken::History(rank(&self.inputs[..carry])),
            Taken::Stack(row) => Taken::Stack(rank(&self.rows[..row])),
        };
        let operands = operands.iter().zip(&self.inputs).filter(|(_, kept)| **kept).map(|(id, _)| *id);
        (Scan { body: self.body.clone(), taken, ..scan }, operands.collect())
    }
}

/// The results, by number, of these carries and rows.
fn kept_results(body: &Body, inputs: &[bool], rows: &[bool]) -> Vec<usize> {
    let flags = inputs[..body.carries].iter().chain(rows).enumerate();
    flags.filter(|(_, kept)| **kept).map(|(result, _)| result).collect()
}

/// One flag an input: whether one of the results needs it.
fn reached_inputs(body: &Body, results: &[usize]) -> Vec<bool> {
    let mut reached = vec![false; body.nodes.len()];
    results.iter().for_each(|&result| reached[body.results[result].index()] = true);
    for (index, node) in body.nodes.iter().enumerate().rev() {
        if reached[index] {
            node.operands.iter().for_each(|operand| reached[operand.index()] = true);
        }
    }
    reached.truncate(body.inputs);
    reached
}

/// The body with these inputs and results only.
fn keep(body: &Body, inputs: &[bool], results: &[usize]) -> Body {
    let graph = Graph::new();
    let all = body.placeholders(&graph);
    let computed = body.inline(&graph, &all);
    let kept: Vec<_> =
        all.into_iter().zip(inputs).filter(|(_, kept)| **kept).map(|(input, _)| input).collect();
    let results: Vec<_> = results.iter().map(|&result| computed[result]).collect();
    let count = |flags: &[bool]| flags.iter().filter(|&&flag| flag).count();
    let (carries, sliced) = (body.carries, body.carries + body.sliced);
    Body::of(&kept, &results, (count(&inputs[..carries]), count(&inputs[carries..sliced])))
}
