//! Bodies: small graphs as plain values, to be compared, printed, evaluated, and written out in any graph over tensors
//! of that graph. Loops run them, and rules of the user's are kept as such.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::Location;

use rustc_hash::FxHashMap;

use super::{Graph, Leaf, Op, Runs, Tensor};
use crate::graph::{NodeId, Target, View};

use crate::types::{Shape, TensorType, Value};

/// What some results are over some inputs, and nothing else. For one turn of a loop: from the carries, one slice of each
/// sliced tensor, and what it captures, the next carries and one row of each stack. Inputs come in that order, and so do
/// results.
#[derive(Clone, Debug)]
pub struct Body {
    /// The number of carries: the first inputs and results.
    pub carries: usize,
    /// The number of sliced tensors: the inputs behind the carries.
    pub sliced: usize,
    /// The number of inputs, which are the first nodes.
    pub inputs: usize,
    /// In topological order; numbers count from 0.
    pub nodes: Vec<View<Op>>,
    /// The next carries, then the rows.
    pub results: Vec<NodeId>,
    /// Of everything but origins, by which equality goes.
    hash: u64,
}

impl Body {
    /// The body that computes `results` of a graph from `inputs` of it.
    pub(crate) fn of(
        inputs: &[Tensor<'_>],
        results: &[Tensor<'_>],
        (carries, sliced): (usize, usize),
    ) -> Body {
        let graph = Graph::new();
        let mut copies: FxHashMap<NodeId, NodeId> = FxHashMap::default();
        for (index, input) in inputs.iter().enumerate() {
            let leaf = Leaf::Input { name: input_name(index, carries, sliced).into(), ty: input.ty() };
            let origin = input.graph.node(input.id).origin.renumbered(&|_| None);
            copies.insert(
                input.id,
                graph.with_origin(origin, || graph.declare(Op::Leaf(leaf), Location::caller())),
            );
        }
        if let Some(source) = results.first().map(|result| result.graph) {
            for id in needed(source, results, |id| copies.contains_key(&id)) {
                let node = source.node(id).clone();
                let operands: Vec<NodeId> =
                    source.operands(id).iter().filter_map(|operand| copies.get(operand).copied()).collect();
                let origin = node.origin.renumbered(&|of| copies.get(&of).copied());
                let copy = graph.with_origin(origin, || graph.insert(node.op, &operands, Location::caller()));
                copies.insert(id, copy);
            }
        }
        let results = results.iter().filter_map(|result| copies.get(&result.id).copied()).collect();
        Body::new(graph.nodes().collect(), results, inputs.len(), (carries, sliced))
    }

    fn new(
        nodes: Vec<View<Op>>,
        results: Vec<NodeId>,
        inputs: usize,
        (carries, sliced): (usize, usize),
    ) -> Body {
        let mut hasher = DefaultHasher::new();
        nodes.iter().for_each(|node| (&node.op, &node.operands).hash(&mut hasher));
        (&results, carries, sliced).hash(&mut hasher);
        Body { carries, sliced, inputs, nodes, results, hash: hasher.finish() }
    }

    /// The types of the inputs.
    pub(super) fn inputs(&self) -> Vec<TensorType> {
        (0..self.inputs).map(|index| self.input(index)).collect()
    }

    /// The type of an input.
    pub(crate) fn input(&self, index: usize) -> TensorType {
        self.nodes[index].ty
    }

    /// The type of a result.
    pub(crate) fn result(&self, index: usize) -> TensorType {
        self.nodes[self.results[index].index()].ty
    }

    /// The number of rows of stacks.
    pub(crate) fn rows(&self) -> usize {
        self.results.len() - self.carries
    }

    /// Tensors of a new graph to stand for the inputs.
    pub(crate) fn placeholders<'g>(&self, graph: &'g Graph) -> Vec<Tensor<'g>> {
        self.nodes[..self.inputs].iter().map(|node| stand_in(graph, node)).collect()
    }

    /// Writes the body out over these tensors, every node with its origin, and returns its results.
    pub(crate) fn inline<'g>(&self, graph: &'g Graph, inputs: &[Tensor<'g>]) -> Vec<Tensor<'g>> {
        self.nodes_in(graph, inputs, &self.results)
    }

    /// Writes the body out with its inputs and these nodes given, and returns where every node is.
    fn inline_all(
        &self,
        graph: &Graph,
        inputs: &[Tensor<'_>],
        given: &FxHashMap<NodeId, NodeId>,
    ) -> Vec<NodeId> {
        self.write(inputs, |node, operands, copies| {
            if let Some(&given) = given.get(&node.id) {
                return given;
            }
            let origin = node.origin.renumbered(&|of: NodeId| copies.get(of.index()).copied());
            graph.with_origin(origin, || graph.insert(node.op.clone(), operands, Location::caller()))
        })
    }

    /// Writes the body out over these tensors, as nodes made here and now, and returns its results.
    pub(super) fn over<'g>(&self, graph: &'g Graph, inputs: &[Tensor<'g>]) -> Vec<Tensor<'g>> {
        let copies = self
            .write(inputs, |node, operands, _| graph.insert(node.op.clone(), operands, Location::caller()));
        copies_of(&self.results, graph, &copies)
    }

    /// `insert` gets each node, its operands and the copies of all nodes before it.
    fn write(
        &self,
        inputs: &[Tensor<'_>],
        insert: impl Fn(&View<Op>, &[NodeId], &[NodeId]) -> NodeId,
    ) -> Vec<NodeId> {
        let mut copies: Vec<NodeId> = inputs.iter().map(|input| input.id).collect();
        for node in &self.nodes[self.inputs..] {
            let operands: Vec<NodeId> = node.operands.iter().map(|operand| copies[operand.index()]).collect();
            copies.push(insert(node, &operands, &copies));
        }
        copies
    }

    /// Writes the body out over these tensors, every node with its origin, and returns some of its nodes.
    pub(super) fn nodes_in<'g>(
        &self,
        graph: &'g Graph,
        inputs: &[Tensor<'g>],
        nodes: &[NodeId],
    ) -> Vec<Tensor<'g>> {
        let copies = self.inline_all(graph, inputs, &FxHashMap::default());
        copies_of(nodes, graph, &copies)
    }

    /// The body with the first nodes given to it as further slices, and with the others as further rows.
    pub(crate) fn exchange(&self, slices: &[NodeId], rows: &[NodeId]) -> Body {
        let graph = Graph::new();
        let mut inputs = self.placeholders(&graph);
        let given: Vec<Tensor<'_>> =
            slices.iter().map(|id| stand_in(&graph, &self.nodes[id.index()])).collect();
        let ids = slices.iter().copied().zip(given.iter().map(|tensor| tensor.id)).collect();
        let copies = self.inline_all(&graph, &inputs, &ids);
        let results = copies_of(&[&self.results, rows].concat(), &graph, &copies);
        let end = self.carries + self.sliced;
        inputs.splice(end..end, given);
        Body::of(&inputs, &results, (self.carries, self.sliced + slices.len()))
    }

    /// The body as a graph: carries are updated, rows are outputs.
    pub(crate) fn to_graph(&self) -> Graph {
        let graph = Graph::new();
        let mut inputs = Vec::with_capacity(self.inputs);
        for node in &self.nodes[..self.inputs] {
            let declare = || graph.declare(node.op.clone(), Location::caller());
            inputs.push(graph.tensor(graph.with_origin(node.origin.clone(), declare)));
        }
        let results = self.inline(&graph, &inputs);
        let target = |index: usize| match index < self.carries {
            true => Target::Update(input_name(index, self.carries, self.sliced)),
            false => Target::Output(format!("y{}", index - self.carries)),
        };
        graph.set_results(results.iter().enumerate().map(|(at, result)| (target(at), result.id)).collect());
        graph
    }

    /// The body that [`Body::to_graph`] makes this graph of.
    pub(super) fn of_graph(graph: &Graph) -> Body {
        let named = |prefix| (0..).map_while(move |at| graph.leaf(&format!("{prefix}{at}")));
        let tensors = |prefix| named(prefix).map(|id| graph.tensor(id)).collect::<Vec<_>>();
        let [carries, sliced, captured] = [CARRY, SLICE, CAPTURED].map(tensors);
        let results: Vec<Tensor<'_>> = graph.results().iter().map(|result| graph.tensor(result.1)).collect();
        Body::of(&[&carries[..], &sliced, &captured].concat(), &results, (carries.len(), sliced.len()))
    }

    /// The body with its graph replaced by what `pass` makes of it.
    pub(crate) fn through(&self, pass: impl FnOnce(&Graph) -> Graph) -> Body {
        Body::of_graph(&pass(&self.to_graph()))
    }

    /// As [`Body::through`]; nothing, if the pass has nothing to do.
    pub(crate) fn changed(&self, pass: impl FnOnce(&Graph) -> Option<Graph>) -> Option<Body> {
        pass(&self.to_graph()).as_ref().map(Body::of_graph)
    }

    /// The body with these inputs, which are matrices, transposed.
    pub(crate) fn transposed(&self, turned: &[usize]) -> Body {
        let graph = Graph::new();
        let mut inputs = self.placeholders(&graph);
        let mut used = inputs.clone();
        for &index in turned {
            let [rows, columns] = [0, 1].map(|axis| self.input(index).shape.extents()[axis]);
            let node = &self.nodes[index];
            let ty = TensorType { shape: Shape::of(&[columns, rows]), ..node.ty };
            inputs[index] = stand_in(&graph, &View { ty, ..node.clone() });
            used[index] = inputs[index].transpose();
        }
        let results = self.inline(&graph, &used);
        Body::of(&inputs, &results, (self.carries, self.sliced))
    }

    /// The reference evaluation of one turn.
    pub(super) fn evaluate(&self, inputs: &[Value]) -> Vec<Value> {
        let mut values: Vec<Value> = inputs.to_vec();
        let mut runs = Runs::default();
        for node in &self.nodes[self.inputs..] {
            let operands: Vec<&Value> =
                node.operands.iter().map(|operand| &values[operand.index()]).collect();
            values.push(runs.evaluate(&node.op, &node.operands, &operands, node.ty));
        }
        self.results.iter().map(|result| values[result.index()].clone()).collect()
    }
}

impl PartialEq for Body {
    fn eq(&self, other: &Body) -> bool {
        let same = |(a, b): (&View<Op>, &View<Op>)| a.op == b.op && a.operands == b.operands;
        self.hash == other.hash
            && (self.carries, self.sliced, &self.results) == (other.carries, other.sliced, &other.results)
            && self.nodes.len() == other.nodes.len()
            && self.nodes.iter().zip(&other.nodes).all(same)
    }
}

impl Eq for Body {}

impl Hash for Body {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// A tensor of this type that stands for an input of a body, and means nothing outside it.
#[track_caller]
pub(super) fn placeholder<'g>(graph: &'g Graph, what: &str, ty: TensorType) -> Tensor<'g> {
    graph.input(&format!("{what}, {}", graph.len()), ty.shape, ty.dtype)
}

/// Nodes of a body, by where every node of it was copied to.
fn copies_of<'g>(nodes: &[NodeId], graph: &'g Graph, copies: &[NodeId]) -> Vec<Tensor<'g>> {
    nodes.iter().map(|node| graph.tensor(copies[node.index()])).collect()
}

/// A placeholder for a node of another graph.
fn stand_in<'g>(graph: &'g Graph, node: &View<Op>) -> Tensor<'g> {
    let origin = node.origin.renumbered(&|_| None);
    graph.with_origin(origin, || placeholder(graph, "input of a body", node.ty))
}

/// The names of inputs, before their numbers.
const CARRY: &str = "carry";
const SLICE: &str = "x";
const CAPTURED: &str = "captured";

fn input_name(index: usize, carries: usize, sliced: usize) -> String {
    match index {
        index if index < carries => format!("{CARRY}{index}"),
        index if index < carries + sliced => format!("{SLICE}{}", index - carries),
        index => format!("{CAPTURED}{}", index - carries - sliced),
    }
}

/// The nodes that `results` need, operands first, down to those where `is_end` holds: the order is the same for the same
/// expression, whatever else is in the graph.
pub(super) fn needed(graph: &Graph, results: &[Tensor<'_>], is_end: impl Fn(NodeId) -> bool) -> Vec<NodeId> {
    let (mut seen, mut order) = (vec![false; graph.len()], Vec::new());
    // A node is met twice: before its operands and after them.
    let mut stack: Vec<(NodeId, bool)> = results.iter().rev().map(|result| (result.id, false)).collect();
    while let Some((id, has_operands)) = stack.pop() {
        if has_operands {
            order.push(id);
        } else if !is_end(id) && !std::mem::replace(&mut seen[id.index()], true) {
            stack.push((id, true));
            stack.extend(graph.operands(id).into_iter().rev().map(|operand| (operand, false)));
        }
    }
    order
}

/// The tensors that `results` use and that do not depend on `inputs`. Constants, and arrangements of other tensors, are
/// none of them: they are cheaper to have in the body than to keep in memory.
pub(super) fn captured<'g>(
    graph: &'g Graph,
    inputs: &[Tensor<'g>],
    results: &[Tensor<'g>],
) -> Vec<Tensor<'g>> {
    let depends = graph.depends_on(inputs);
    let is_input = |id: NodeId| inputs.iter().any(|input| input.id == id);
    let is_inside = |id: NodeId| {
        let is_constant = |op: &Op| matches!(op, Op::Leaf(Leaf::Constant { .. } | Leaf::Iota { .. }));
        let op = &graph.node(id).op;
        depends[id.index()] || is_constant(op) || matches!(op, Op::Layout(_))
    };
    let inside = needed(graph, results, |id| is_input(id) || !is_inside(id));
    let used = inside.into_iter().flat_map(|id| graph.operands(id));
    let mut free: Vec<NodeId> = used.chain(results.iter().map(|result| result.id)).collect();
    free.retain(|&id| !is_input(id) && !is_inside(id));
    free.sort_unstable();
    free.dedup();
    free.into_iter().map(|id| graph.tensor(id)).collect()
}
