//! Algebraic simplification: a table of local rewrite rules, applied until none fires.
//!
//! Every rule keeps values to rounding, and keeps NaN, ±∞ and −0. Multiplications by constants move
//! past one another, which can differ only where an intermediate result leaves the range of the type.

mod arithmetic;
mod layout;
mod reduction;
mod section;
mod window;

use std::panic::Location;

use super::bodies::{in_bodies, named_leaves};
use super::rebuild;
use crate::graph::{NodeId, Origin};
use crate::loops::{Binary, Unary};
use crate::ops::{Dot, Elementwise, Graph, Layout, Op, Reduce, Section, Slide, Tensor, Window};
use crate::types::{Scalar, Shape};

/// A rewrite: for a node of a certain form, a tensor to stand in its place.
pub struct Rule {
    /// Shown in dumps as the origin of what the rule made.
    pub name: &'static str,
    rewrite: for<'g> fn(&Match<'g>) -> Option<Tensor<'g>>,
}

/// Every rule, in the order they are tried.
pub const RULES: &[&[Rule]] =
    &[arithmetic::RULES, layout::RULES, reduction::RULES, section::RULES, window::RULES];

/// Rules that undo one another would be a defect; this bounds its cost.
const MAX_PASSES: usize = 64;

/// The graph, and the bodies of its loops, in simplest form, by [`RULES`].
pub fn simplify(graph: &Graph) -> Graph {
    let mut current = match in_bodies(graph, simplify) {
        Some(graph) => pass(&graph),
        None => pass(graph),
    };
    for _ in 0..MAX_PASSES {
        match current {
            (graph, false) => return graph,
            (graph, true) => current = pass(&graph),
        }
    }
    current.0
}

/// One walk over the graph in topological order, and whether a rule fired.
fn pass(source: &Graph) -> (Graph, bool) {
    let mut fired = false;
    let graph = rebuild(source, &source.results(), &named_leaves(source), |graph, op, operands, origin| {
        let mut id = graph.insert(op, operands, Location::caller());
        for _ in 0..MAX_PASSES {
            let Some(simpler) = rewrite(graph, id, origin) else { break };
            fired = true;
            id = simpler;
        }
        id
    });
    (graph, fired)
}

/// The node that the first rule that fits puts in this one's place.
fn rewrite(graph: &Graph, id: NodeId, origin: &Origin) -> Option<NodeId> {
    let matched = Match::new(graph.tensor(id));
    RULES.iter().copied().flatten().find_map(|rule| {
        let origin = origin.clone().rewritten(rule.name);
        let simpler = graph.with_origin(origin, || (rule.rewrite)(&matched))?;
        (simpler.id != id).then_some(simpler.id)
    })
}

/// A node with what rules ask about it.
struct Match<'g> {
    node: Tensor<'g>,
    op: Op,
    operands: Vec<Tensor<'g>>,
}

impl<'g> Match<'g> {
    fn new(node: Tensor<'g>) -> Match<'g> {
        let graph = node.graph;
        let op = graph.op(node.id);
        let operands = graph.operands(node.id).into_iter().map(|id| graph.tensor(id)).collect();
        Match { node, op, operands }
    }

    fn unary(&self, f: Unary) -> Option<Tensor<'g>> {
        (self.op == Op::Elementwise(Elementwise::Unary(f))).then(|| self.operands[0])
    }

    fn binary(&self, f: Binary) -> Option<(Tensor<'g>, Tensor<'g>)> {
        (self.op == Op::Elementwise(Elementwise::Binary(f))).then(|| (self.operands[0], self.operands[1]))
    }

    fn reduce(&self) -> Option<(Reduce, Tensor<'g>)> {
        match self.op {
            Op::Reduce(reduce) => Some((reduce, self.operands[0])),
            _ => None,
        }
    }

    fn dot(&self) -> Option<(&Dot, Tensor<'g>, Tensor<'g>)> {
        match &self.op {
            Op::Dot(dot) => Some((dot, self.operands[0], self.operands[1])),
            _ => None,
        }
    }

    fn layout(&self) -> Option<(&Layout, Tensor<'g>)> {
        match &self.op {
            Op::Layout(layout) => Some((layout, self.operands[0])),
            _ => None,
        }
    }

    fn section(&self) -> Option<(&Section, Tensor<'g>)> {
        match &self.op {
            Op::Section(section) => Some((section, self.operands[0])),
            _ => None,
        }
    }

    fn windows(&self) -> Option<(&[Slide], Tensor<'g>)> {
        match &self.op {
            Op::Window(Window::Unfold(slides)) => Some((slides, self.operands[0])),
            _ => None,
        }
    }

    /// The slides and the result's shape of a fold.
    fn fold(&self) -> Option<(&[Slide], Shape, Tensor<'g>)> {
        match &self.op {
            Op::Window(Window::Fold(slides, shape)) => Some((slides, *shape, self.operands[0])),
            _ => None,
        }
    }

    /// The positive constant factor and the rest, where the node is their product.
    fn scaled(&self) -> Option<(Scalar, Tensor<'g>)> {
        let (factor, rest) = self.binary(Binary::Mul)?;
        let factor = factor.as_constant()?;
        is_safe_scale(factor).then_some((factor, rest))
    }
}

/// Whether multiplication by the constant may move past sums: it turns no finite number of ordinary
/// size into ±∞ or 0, and no +0 into −0.
fn is_safe_scale(factor: Scalar) -> bool {
    const MODERATE: f64 = (1u64 << 32) as f64;
    factor.dtype().is_float() && (1.0 / MODERATE..=MODERATE).contains(&factor.to_f64())
}

/// The node matched again, one level down.
fn matched<'g>(tensor: Tensor<'g>) -> Match<'g> {
    Match::new(tensor)
}

#[cfg(test)]
mod tests;
