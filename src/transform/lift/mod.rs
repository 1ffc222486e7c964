//! Small products that a loop need not wait for are taken out of it: those of its slices are computed before it, for all
//! turns at once, and those that it only sums up or stacks after it. Many small contractions become a large one. Matrices
//! that few rows are multiplied with in each turn are captured as they are read.

mod plan;

use std::panic::Location;

use rustc_hash::FxHashMap;

use super::bodies::in_outer_bodies;
use super::loops::Loops;
use super::{prune, simplify};
use crate::graph::NodeId;
use crate::ops::{Graph, Leaf, Op, Scan, Taken};
use plan::{After, Plan, Source};

/// The graph with products lifted out of loops, and out of loops in their bodies; nothing, if it stays as it is.
pub fn lift(graph: &Graph) -> Option<Graph> {
    everywhere(graph).map(|graph| prune(&simplify(&graph)))
}

fn everywhere(graph: &Graph) -> Option<Graph> {
    let lifted = outermost(graph);
    in_outer_bodies(lifted.as_ref().unwrap_or(graph), everywhere).or(lifted)
}

fn outermost(source: &Graph) -> Option<Graph> {
    let loops = Loops::of(source);
    let mut taken: Vec<Vec<Taken>> = vec![Vec::new(); loops.all.len()];
    for (&id, &number) in &loops.number {
        if let Op::Scan(scan) = source.op(id) {
            taken[number].push(scan.taken);
        }
    }
    let plans: Vec<Option<Plan>> =
        loops.all.iter().zip(&taken).map(|((scan, _), taken)| Plan::of(scan, taken)).collect();
    plans.iter().find(|plan| plan.is_some())?;
    Some(apply(source, &loops, &plans))
}

fn apply(source: &Graph, loops: &Loops, plans: &[Option<Plan>]) -> Graph {
    let mut placed: FxHashMap<usize, Placed> = FxHashMap::default();
    loops.rebuild(source, |graph, number, scan, operands, origin| {
        let Some(plan) = &plans[number] else {
            return graph.insert(Op::Scan(scan.clone()), operands, Location::caller());
        };
        let lifted = origin.clone().rewritten("lift");
        let placed = placed.entry(number).or_insert_with(|| {
            graph.with_origin(lifted.clone(), || Placed::new(graph, scan, plan, operands))
        });
        match plan.after.iter().find(|after| after.taken == scan.taken) {
            Some(after) => graph.with_origin(lifted, || placed.after(graph, after)),
            None => placed.take(graph, scan.taken),
        }
    })
}

/// What is left of a loop, in the new graph.
struct Placed {
    scan: Scan,
    operands: Vec<NodeId>,
    /// The operands that the loop had.
    given: Vec<NodeId>,
    /// What was computed before it for all turns.
    section: Vec<NodeId>,
}

impl Placed {
    fn new(graph: &Graph, scan: &Scan, plan: &Plan, given: &[NodeId]) -> Placed {
        let (carries, end) = (scan.body.carries, scan.body.carries + scan.body.sliced);
        let free: Vec<_> = given[carries..].iter().map(|&id| graph.tensor(id)).collect();
        let section = plan.section.as_ref().map_or(vec![], |section| section.inline(graph, &free));
        let section: Vec<NodeId> = section.into_iter().map(|tensor| tensor.id()).collect();
        let mut operands = given.to_vec();
        for &operand in &plan.turned {
            operands[operand] = graph.tensor(operands[operand]).transpose().id();
        }
        operands.splice(end..end, section.iter().copied());
        let scan = Scan { body: plan.body.clone(), ..scan.clone() };
        Placed { scan, operands, given: given.to_vec(), section }
    }

    fn take(&self, graph: &Graph, taken: Taken) -> NodeId {
        graph.insert(Op::Scan(Scan { taken, ..self.scan.clone() }), &self.operands, Location::caller())
    }

    /// A result that is computed when all turns are done.
    fn after(&self, graph: &Graph, after: &After) -> NodeId {
        let found = after.operands.map(|source| match source {
            Source::Operand(number) => self.given[number],
            Source::Section(number) => self.section[number],
            Source::Taken(taken) => self.take(graph, taken),
        });
        let product = graph.tensor(graph.insert(Op::Dot(after.dot.clone()), &found, Location::caller()));
        let product = after.factor.map_or(product, |factor| {
            graph.constant(factor.to_f64(), product.shape(), product.dtype()) * product
        });
        match after.start.map(|carry| self.given[carry]) {
            // A sum begins at zero by itself.
            Some(start) if !is_zero(&graph.op(start)) => (graph.tensor(start) + product).id(),
            _ => product.id(),
        }
    }
}

fn is_zero(op: &Op) -> bool {
    matches!(op, Op::Leaf(Leaf::Constant { value, .. }) if value.to_f64() == 0.0)
}
