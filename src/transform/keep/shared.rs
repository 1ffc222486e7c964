//! What two loops compute alike in each turn.

use rustc_hash::FxHashMap;

use crate::graph::NodeId;
use crate::ops::{Exit, Graph, Op, Taken};
use crate::transform::loops::Loops;

/// The values of a loop's turns that another loop computes as well.
pub(super) struct Shared {
    /// By node of the one body: the node of the other that has the same value in the turn at the same position.
    pub found: Vec<Option<NodeId>>,
    /// By node of the one body: whether it changes from turn to turn.
    pub varies: Vec<bool>,
}

impl Shared {
    /// What the borrower could take from the lender, which comes before it. Nothing, if their turns or operands differ.
    pub fn between(graph: &Graph, loops: &Loops, lender: usize, borrower: usize) -> Option<Shared> {
        let ((lender, given), (borrower, wanted)) = (&loops.all[lender], &loops.all[borrower]);
        let has_all_turns = lender.exit == Exit::Never && borrower.exit == Exit::Never;
        if !has_all_turns || lender.length != borrower.length {
            return None;
        }
        let (from, to) = (&lender.body, &borrower.body);
        let same_operand = |operand: NodeId, among: std::ops::Range<usize>| {
            among
                .clone()
                .zip(&given[among])
                .find(|(_, other)| **other == operand)
                .map(|found| from.nodes[found.0].id)
        };
        // What is stacked lies at the position of its turn.
        let input = |(index, &operand): (usize, &NodeId)| match graph.op(operand) {
            _ if index < to.carries => None,
            _ if index >= to.carries + to.sliced => {
                same_operand(operand, from.carries + from.sliced..from.inputs)
            }
            Op::Scan(scan) if scan.whole() == *lender && graph.operands(operand)[..] == given[..] => {
                match scan.taken {
                    Taken::History(carry) => Some(from.nodes[carry].id),
                    Taken::Stack(row) => Some(from.results[from.carries + row]),
                    Taken::Last(_) => None,
                }
            }
            _ => same_operand(operand, from.carries..from.carries + from.sliced),
        };
        let mut found: Vec<Option<NodeId>> = wanted.iter().enumerate().map(input).collect();
        if found.iter().all(Option::is_none) {
            return None;
        }
        let mut varies: Vec<bool> = (0..to.inputs).map(|index| index < to.carries + to.sliced).collect();
        let computed: FxHashMap<(&Op, &[NodeId]), NodeId> =
            from.nodes[from.inputs..].iter().map(|node| ((&node.op, &node.operands[..]), node.id)).collect();
        for node in &to.nodes[to.inputs..] {
            let operands: Option<Vec<NodeId>> =
                node.operands.iter().map(|operand| found[operand.index()]).collect();
            found.push(operands.and_then(|operands| computed.get(&(&node.op, &operands[..])).copied()));
            varies.push(node.operands.iter().any(|operand| varies[operand.index()]));
        }
        Some(Shared { found, varies })
    }
}
