//! Algebraic simplification: a table of local rewrite rules, applied until none fires.
//!
//! Every rule keeps values to rounding, and keeps NaN, ±∞ and −0. Multiplications by constants move
//! past one another, which can differ only where an intermediate result leaves the range of the type.

mod arithmetic;
mod fast;
mod layout;
mod logic;
mod reduction;
mod section;
mod window;

use std::panic::Location;

use smallvec::SmallVec;

use super::bodies::{in_bodies, named_leaves};
use super::rebuild;
use crate::graph::{FEW, NodeId, Origin};
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
    &[arithmetic::RULES, logic::RULES, layout::RULES, section::RULES, window::RULES, reduction::RULES];
/// Rules that do not keep NaN, ±∞ and −0, tried by [`simplify_fast`] only.
pub const FAST_RULES: &[&[Rule]] = &[fast::RULES];

/// Rules that undo one another would be a defect; this bounds its cost.
const MAX_PASSES: usize = 8;
/// How many rewrites may follow from one another before the rest is left to the next pass.
const MAX_DEPTH: usize = 64;

/// The graph, and the bodies of its loops, in simplest form, by [`RULES`].
pub fn simplify(graph: &Graph) -> Graph {
    match in_bodies(graph, simplify) {
        Some(graph) => to_fixed_point(&graph, RULES).0,
        None => to_fixed_point(graph, RULES).0,
    }
}

/// The graph in simplest form, by [`RULES`] and [`FAST_RULES`].
pub fn simplify_fast(graph: &Graph) -> Graph {
    let tables = [RULES, FAST_RULES].concat();
    match in_bodies(graph, simplify_fast) {
        Some(graph) => to_fixed_point(&graph, &tables).0,
        None => to_fixed_point(graph, &tables).0,
    }
}

/// What it took to simplify a graph.
#[derive(Debug)]
struct Effort {
    passes: usize,
    /// Nodes that the rules were tried on.
    attempts: usize,
}

fn to_fixed_point(source: &Graph, tables: &[&[Rule]]) -> (Graph, Effort) {
    let mut effort = Effort { passes: 0, attempts: 0 };
    let mut current = None;
    loop {
        let graph = current.as_ref().unwrap_or(source);
        let mut pass = Pass { tables, simplest: Vec::new(), attempts: 0, is_cut_short: false };
        let simpler = rebuild_with_leaves(graph, |graph, op, operands, origin| {
            pass.insert(graph, op, operands, origin)
        });
        // What was replaced on the way goes.
        let simpler = rebuild_with_leaves(&simpler, |graph, op, operands, _| {
            graph.insert(op, operands, Location::caller())
        });
        effort = Effort { passes: effort.passes + 1, attempts: effort.attempts + pass.attempts };
        if !pass.is_cut_short || effort.passes == MAX_PASSES {
            return (simpler, effort);
        }
        current = Some(simpler);
    }
}

/// The signature stays: inputs and state are kept even if nothing needs them any more.
fn rebuild_with_leaves(
    source: &Graph,
    insert: impl FnMut(&Graph, Op, &[NodeId], &Origin) -> NodeId,
) -> Graph {
    rebuild(source, &source.results(), &named_leaves(source), insert)
}

/// One walk over a graph in topological order. Rules look at operands only, so that a node whose operands are simple,
/// and that no rule fits, stays so: one walk is enough.
struct Pass<'t> {
    tables: &'t [&'t [Rule]],
    /// By node of the new graph: its simplest form, where that is known.
    simplest: Vec<Option<NodeId>>,
    attempts: usize,
    is_cut_short: bool,
}

impl Pass<'_> {
    fn insert(&mut self, graph: &Graph, op: Op, operands: &[NodeId], origin: &Origin) -> NodeId {
        let id = graph.insert(op, operands, Location::caller());
        self.simplest(graph, id, &origin.clone().rewritten("no rule"), 0)
    }

    /// The node's simplest form. What a rule made on the way to it, of this origin, is simplified before it.
    fn simplest(&mut self, graph: &Graph, id: NodeId, origin: &Origin, depth: usize) -> NodeId {
        if let Some(known) = self.simplest.get(id.index()).copied().flatten() {
            return known;
        }
        if depth == MAX_DEPTH {
            self.is_cut_short = true;
            return id;
        }
        let operands = graph.operands(id);
        let simple: SmallVec<[NodeId; FEW]> =
            operands.iter().map(|&operand| self.simplest(graph, operand, origin, depth + 1)).collect();
        let result = if simple != operands {
            let made = graph.node(id).origin.clone();
            let op = graph.op(id);
            let id = graph.with_origin(made, || graph.insert(op, &simple, Location::caller()));
            self.simplest(graph, id, origin, depth + 1)
        } else {
            let simpler = self.rewrite(graph, id, origin);
            simpler.map_or(id, |simpler| self.simplest(graph, simpler, origin, depth + 1))
        };
        self.simplest.resize(graph.len(), None);
        self.simplest[id.index()] = Some(result);
        self.simplest[result.index()] = Some(result);
        result
    }

    /// The node that the first rule that fits puts in this one's place.
    fn rewrite(&mut self, graph: &Graph, id: NodeId, origin: &Origin) -> Option<NodeId> {
        self.attempts += 1;
        let matched = Match::new(graph.tensor(id));
        graph.with_origin(origin.clone(), || {
            self.tables.iter().copied().flatten().find_map(|rule| {
                graph.name_rule(rule.name);
                let simpler = (rule.rewrite)(&matched)?;
                (simpler.id != id).then_some(simpler.id)
            })
        })
    }
}

/// A node with what rules ask about it.
struct Match<'g> {
    node: Tensor<'g>,
    op: Op,
    operands: SmallVec<[Tensor<'g>; FEW]>,
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
