//! What a loop has computed is kept for loops that would compute it anew. The way back over a loop starts from the
//! history of its carries; where a turn is costly to do again, some of its values are stacked on the way there instead.

mod cost;
mod cut;
mod shared;

use std::panic::Location;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::bodies::in_outer_bodies;
use super::loops::Loops;
use super::prune;
use crate::graph::NodeId;
use crate::ops::{Body, Graph, Op, Scan, Taken};
use shared::Shared;

/// Bytes that the loops of a graph may keep for each other.
const MOST_BYTES: usize = 256 << 20;

/// The graph with such loops, and the bodies of loops; nothing, if it stays as it is.
pub fn keep(graph: &Graph) -> Option<Graph> {
    everywhere(graph).map(|graph| prune(&graph))
}

fn everywhere(graph: &Graph) -> Option<Graph> {
    let loops = Loops::of(graph);
    let plan = Plan::of(graph, &loops);
    let kept = (!plan.borrowed.is_empty()).then(|| plan.apply(graph, &loops));
    in_outer_bodies(kept.as_ref().unwrap_or(graph), everywhere).or(kept)
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
        let mut room = MOST_BYTES;
        for (borrower, (scan, _)) in loops.all.iter().enumerate() {
            let found = (0..borrower).filter_map(|lender| {
                let shared = Shared::between(graph, loops, lender, borrower)?;
                let (saved, nodes) = cut::cheapest(&scan.body, &shared);
                (saved > 0 && bytes(scan, &nodes) <= room).then_some((saved, lender, shared, nodes))
            });
            let Some((_, lender, shared, nodes)) = found.max_by_key(|found| found.0) else { continue };
            room -= bytes(scan, &nodes);
            for node in nodes {
                let Some(lent) = shared.found[node.index()] else { continue };
                plan.borrowed.entry(borrower).or_default().push((node, lender, lent));
                let rows = plan.lent.entry(lender).or_default();
                if !stacked(loops, lender).contains(&lent) && !rows.contains(&lent) {
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
        loops.rebuild(source, |graph, number, scan, operands, origin| {
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
        let further = self.lent.get(&lender).into_iter().flatten();
        let row = stacked(loops, lender).iter().chain(further).position(|&row| row == lent);
        Taken::Stack(row.unwrap_or_default())
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

/// The nodes of a loop's body that it stacks in any case.
fn stacked(loops: &Loops, number: usize) -> &[NodeId] {
    let body = &loops.all[number].0.body;
    &body.results[body.carries..]
}

/// Bytes of these values of all turns.
fn bytes(scan: &Scan, nodes: &[NodeId]) -> usize {
    let bytes = nodes.iter().map(|node| scan.body.nodes[node.index()].ty.bytes());
    bytes.fold(0, usize::saturating_add).saturating_mul(scan.length)
}
