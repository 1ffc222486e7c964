//! Expressions as plain values, apart from any graph: what an operator carries along to be written out later.

use std::fmt;
use std::panic::Location;

use super::{Graph, Leaf, Op, Tensor, with_leading};
use crate::error::Result;
use crate::graph::{NodeId, read_operator};
use crate::types::TensorType;

/// An expression over inputs as a plain value, to be compared, and to be written out over any tensors.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Expression {
    inputs: Vec<TensorType>,
    /// In topological order.
    nodes: Vec<Node>,
    results: Vec<usize>,
}

/// One value of an expression. Operands are numbered through: first the inputs, then the nodes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    op: Op,
    ty: TensorType,
    operands: Vec<usize>,
}

impl Expression {
    /// The types of the inputs.
    pub fn inputs(&self) -> &[TensorType] {
        &self.inputs
    }

    /// What `results` are over `inputs`. All else that they need must be constants: see [`captured`].
    pub fn of(inputs: &[Tensor<'_>], results: &[Tensor<'_>]) -> Expression {
        let mut expression =
            Expression { inputs: inputs.iter().map(|x| x.ty()).collect(), nodes: vec![], results: vec![] };
        let Some(graph) = results.first().map(|result| result.graph) else { return expression };
        let mut numbers: Vec<Option<usize>> = vec![None; graph.len()];
        for (number, input) in inputs.iter().enumerate() {
            numbers[input.id.index()] = Some(number);
        }
        for id in needed(graph, results, |id| numbers[id.index()].is_some()) {
            let operands = graph.operands(id);
            let operands = operands.iter().filter_map(|operand| numbers[operand.index()]).collect();
            numbers[id.index()] = Some(inputs.len() + expression.nodes.len());
            expression.nodes.push(Node { op: graph.op(id), ty: graph.ty(id), operands });
        }
        expression.results = results.iter().filter_map(|result| numbers[result.id.index()]).collect();
        expression
    }

    /// The results over these tensors.
    pub fn over<'g>(&self, graph: &'g Graph, inputs: &[Tensor<'g>]) -> Vec<Tensor<'g>> {
        let mut ids: Vec<NodeId> = inputs.iter().map(|input| input.id).collect();
        for node in &self.nodes {
            let operands: Vec<NodeId> = node.operands.iter().map(|&operand| ids[operand]).collect();
            ids.push(graph.insert(node.op.clone(), &operands, Location::caller()));
        }
        self.results.iter().map(|&result| graph.tensor(ids[result])).collect()
    }

    /// The expression for every sample at once: inputs and results have a leading axis.
    pub fn batched(&self, samples: usize) -> Result<Expression> {
        let graph = Graph::new();
        let one: Vec<Tensor<'_>> = self.inputs.iter().map(|&ty| placeholder(&graph, ty)).collect();
        let wide = |ty: &TensorType| TensorType { shape: with_leading(samples, ty.shape), ..*ty };
        let all: Vec<Tensor<'_>> = self.inputs.iter().map(|ty| placeholder(&graph, wide(ty))).collect();
        let pairs: Vec<(Tensor<'_>, Tensor<'_>)> = one.iter().copied().zip(all.iter().copied()).collect();
        let results = self.over(&graph, &one).into_iter().map(|result| graph.vmap(result, &pairs));
        let results = results.collect::<Result<Vec<Tensor<'_>>>>()?;
        Ok(Expression::of(&all, &results))
    }
}

impl fmt::Display for Expression {
    /// `$0 f64[2], $1 f64[2]; $2 = mul f64[2] ($0, $1); $2`: inputs, nodes, results.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |numbers: &[usize]| {
            numbers.iter().map(|number| format!("${number}")).collect::<Vec<_>>().join(", ")
        };
        let inputs = self.inputs.iter().enumerate().map(|(number, ty)| format!("${number} {ty}"));
        f.write_str(&inputs.collect::<Vec<_>>().join(", "))?;
        for (number, node) in (self.inputs.len()..).zip(&self.nodes) {
            write!(f, "; ${number} = {} {}", node.op, node.ty)?;
            if !node.operands.is_empty() {
                write!(f, " ({})", list(&node.operands))?;
            }
        }
        write!(f, "; {}", list(&self.results))
    }
}

impl Expression {
    /// The expression that prints as this text.
    pub fn parse(text: &str) -> Option<Expression> {
        let [inputs, nodes @ .., results] = &split_outside(text, "; ")[..] else { return None };
        let inputs = split_outside(inputs, ", ").into_iter().enumerate().map(|(number, input)| {
            let (name, ty) = input.split_once(' ')?;
            (name == format!("${number}")).then(|| TensorType::parse(ty)).flatten()
        });
        let inputs: Vec<TensorType> = inputs.collect::<Option<_>>()?;
        let mut expression = Expression { inputs, nodes: vec![], results: vec![] };
        for node in nodes {
            let number = expression.inputs.len() + expression.nodes.len();
            let node = node.strip_prefix(&format!("${number} = "))?;
            expression.nodes.push(read_node(node, number)?);
        }
        expression.results = read_numbers(results, expression.inputs.len() + expression.nodes.len())?;
        Some(expression)
    }
}

/// `operator type ($operands)`, of operands below `number`.
fn read_node(text: &str, number: usize) -> Option<Node> {
    let (head, operands) = match text.strip_suffix(')').and_then(|text| text.rsplit_once(" (")) {
        Some((head, operands)) => (head, read_numbers(operands, number)?),
        None => (text, vec![]),
    };
    let (op, ty) = head.rsplit_once(' ')?;
    let ty = TensorType::parse(ty)?;
    Some(Node { op: read_operator(op, ty, None).ok()?, ty, operands })
}

/// `$0, $3`, each below `end`.
fn read_numbers(text: &str, end: usize) -> Option<Vec<usize>> {
    let number = |text: &str| text.strip_prefix('$')?.parse().ok().filter(|&number| number < end);
    text.split(", ").map(number).collect()
}

/// The text cut at each separator that is not inside brackets.
fn split_outside<'t>(text: &'t str, separator: &str) -> Vec<&'t str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0usize);
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ if depth == 0 && text[at..].starts_with(separator) => {
                parts.push(&text[start..at]);
                start = at + separator.len();
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
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

/// What `results` use that does not depend on `inputs` and is no constant.
pub(super) fn captured<'g>(
    graph: &'g Graph,
    inputs: &[Tensor<'g>],
    results: &[Tensor<'g>],
) -> Vec<Tensor<'g>> {
    let depends = graph.depends_on(inputs);
    let is_constant =
        |id: NodeId| matches!(graph.node(id).op, Op::Leaf(Leaf::Constant { .. } | Leaf::Iota { .. }));
    let inside = needed(graph, results, |id| !depends[id.index()] || inputs.iter().any(|x| x.id == id));
    let used = inside.into_iter().flat_map(|id| graph.operands(id));
    let mut free: Vec<NodeId> = used.chain(results.iter().map(|result| result.id)).collect();
    free.retain(|&id| !depends[id.index()] && !is_constant(id));
    free.sort_unstable();
    free.dedup();
    free.into_iter().map(|id| graph.tensor(id)).collect()
}

/// A tensor of this type for a rule to be written over.
pub(super) fn placeholder(graph: &Graph, ty: TensorType) -> Tensor<'_> {
    graph.input(&format!("placeholder {}", graph.len()), ty.shape, ty.dtype)
}
