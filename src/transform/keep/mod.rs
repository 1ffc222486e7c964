//! What a loop has computed is kept for loops that would compute it anew. The way back over a loop starts from the
//! history of its carries; where a turn is costly to do again, some of its values are stacked on the way there instead.

mod cost;
mod cut;
mod shared;

use std::panic::Location;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::bodies::{in_bodies, named_leaves};
use super::{prune, rebuild};
use crate::graph::NodeId;
use crate::ops::{Body, Graph, Op, Scan, Taken};
use shared::Shared;

/// Bytes that one loop may keep for another.
const MOST_BYTES: usize = 256 << 20;

/// The graph with such loops, and the bodies of loops; nothing, if there are no loops.
pub fn keep(graph: &Graph) -> Option<Graph> {
    let has_loops = graph.ids().any(|id| matches!(graph.node(id).op, Op::Scan(_)));
    has_loops.then(|| prune(&everywhere(graph)))
}

fn everywhere(graph: &Graph) -> Graph {
    let loops = Loops::of(graph);
    let kept = Plan::of(graph, &loops).apply(graph, &loops);
    in_bodies(&kept, everywhere).unwrap_or(kept)
}

/// The loops of a graph that are needed, in topological order.
struct Loops {
    /// Each with its operands.
    all: Vec<(Scan, Vec<NodeId>)>,
    /// By node: the loop that it is a result of.
    number: FxHashMap<NodeId, usize>,
    /// The nodes that are needed, in order.
    needed: Vec<NodeId>,
}

impl Loops {
    fn of(graph: &Graph) -> Loops {
        let results = graph.results().into_iter().map(|result| result.1);
        let needed = graph.reachable(results.chain(named_leaves(graph)));
        let needed = graph.ids().filter(|id| needed[id.index()]).collect();
        let mut loops = Loops { all: Vec::new(), number: FxHashMap::default(), needed };
        let mut known: FxHashMap<(Scan, Vec<NodeId>), usize> = FxHashMap::default();
        for &id in &loops.needed {
            if let Op::Scan(scan) = graph.op(id) {
                let key = (scan.whole(), graph.operands(id));
                let number = *known.entry(key).or_insert_with_key(|key| {
                    loops.all.push(key.clone());
                    loops.all.len() - 1
                });
                loops.number.insert(id, number);
            }
        }
        loops
    }
}

/// What is kept, and for whom.
struct Plan {
    /// By loop: the nodes of its body that are given to it, each with the loop that has computed it, and the node there.
    borrowed: FxHashMap<usize, Vec<(NodeId, usize, NodeId)>>,
    /// By loop: the nodes of its body that become further rows.
    lent: FxHashMap<usize, Vec<NodeId>>,
}

impl Plan {
    fn of(graph: &Graph, loops: &Loops) -> Plan {
        let mut plan = Plan { borrowed: FxHashMap::default(), lent: FxHashMap::default() };
        for (borrower, (scan, _)) in loops.all.iter().enumerate() {
            let found = (0..borrower).filter_map(|lender| {
                let shared = Shared::between(graph, loops, lender, borrower)?;
                let (saved, nodes) = cut::cheapest(&scan.body, &shared);
                (saved > 0 && bytes(scan, &nodes) <= MOST_BYTES).then_some((saved, lender, shared, nodes))
            });
            let Some((_, lender, shared, nodes)) = found.max_by_key(|found| found.0) else { continue };
            for node in nodes {
                let Some(lent) = shared.found[node.index()] else { continue };
                plan.borrowed.entry(borrower).or_default().push((node, lender, lent));
                let rows = plan.lent.entry(lender).or_default();
                if !rows.contains(&lent) {
                    rows.push(lent);
                }
            }
        }
        plan
    }

    fn apply(&self, source: &Graph, loops: &Loops) -> Graph {
        let bodies: Vec<Arc<Body>> = (0..loops.all.len()).map(|number| self.body(loops, number)).collect();
        // By loop: its operands in the new graph.
        let mut operands_of: FxHashMap<usize, Vec<NodeId>> = FxHashMap::default();
        let mut old = loops.needed.iter();
        rebuild(source, &source.results(), &named_leaves(source), |graph, op, operands, origin| {
            let number = old.next().and_then(|old| loops.number.get(old));
            let (Op::Scan(scan), Some(&number)) = (&op, number) else {
                return graph.insert(op, operands, Location::caller());
            };
            if !operands_of.contains_key(&number) {
                let mut all = operands.to_vec();
                let end = scan.body.carries + scan.body.sliced;
                let stacks = self.borrowed.get(&number).into_iter().flatten().map(|&(_, lender, lent)| {
                    let taken = self.row(loops, lender, lent);
                    let stack = Scan { body: bodies[lender].clone(), taken, ..loops.all[lender].0.clone() };
                    let origin = origin.clone().rewritten("keep");
                    graph.with_origin(origin, || {
                        graph.insert(Op::Scan(stack), &operands_of[&lender], Location::caller())
                    })
                });
                let stacks: Vec<NodeId> = stacks.collect();
                all.splice(end..end, stacks);
                operands_of.insert(number, all);
            }
            let scan = Scan { body: bodies[number].clone(), ..scan.clone() };
            graph.insert(Op::Scan(scan), &operands_of[&number], Location::caller())
        })
    }

    /// Where a loop that lends a value of its turns has it.
    fn row(&self, loops: &Loops, lender: usize, lent: NodeId) -> Taken {
        let row = self.lent.get(&lender).and_then(|rows| rows.iter().position(|&row| row == lent));
        Taken::Stack(loops.all[lender].0.body.rows() + row.unwrap_or_default())
    }

    /// The loop's body with what it borrows as further slices, and with what it lends as further rows.
    fn body(&self, loops: &Loops, number: usize) -> Arc<Body> {
        let body = &loops.all[number].0.body;
        match (self.borrowed.get(&number), self.lent.get(&number)) {
            (None, None) => body.clone(),
            (borrowed, lent) => {
                let borrowed: Vec<NodeId> = borrowed.into_iter().flatten().map(|found| found.0).collect();
                Arc::new(body.exchange(&borrowed, lent.map_or(&[], Vec::as_slice)))
            }
        }
    }
}

/// Bytes of these values of all turns.
fn bytes(scan: &Scan, nodes: &[NodeId]) -> usize {
    let bytes = nodes.iter().map(|node| scan.body.nodes[node.index()].ty.bytes());
    bytes.fold(0, usize::saturating_add).saturating_mul(scan.length)
}
