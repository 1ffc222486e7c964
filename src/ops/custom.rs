//! Values with a reverse rule of their own: the caller's, or one that computes the value anew.

use std::fmt;
use std::sync::Arc;

use super::body::{captured, needed, placeholder};
use super::{
    Body, Elementwise, Emitter, Graph, Mapped, Op, Rules, Site, Tensor, Types, with_axes, with_leading,
};
use crate::error::{Result, TypeError};
use crate::graph::{NodeId, OpText};
use crate::loops::{Affine, Var};
use crate::types::{TensorType, Value};

/// The first operand, with a rule for the cotangents of the others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Custom {
    /// Over the operands behind the first, the value, and its cotangent: the cotangents of the first operands of
    /// floats, in order. The operands behind those are what the rule captured.
    rule: Arc<Body>,
    kind: Kind,
}

/// Where a rule comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// The caller, for reverse mode only.
    Given,
    /// Derived from the value, which is computed anew.
    Recomputed,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Given => "custom_vjp",
            Kind::Recomputed => "checkpoint",
        }
    }
}

impl Rules for Custom {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn infer(&self, operands: &[TensorType]) -> Result<TensorType, TypeError> {
        let [value, others @ ..] = operands else {
            return Err(TypeError::Invalid("there is no value".into()));
        };
        match self.rule.inputs().split_last_chunk() {
            Some((expected, [of_value, _])) if expected == others && of_value == value => Ok(*value),
            _ => Err(TypeError::Invalid("the rule is for operands of other types".into())),
        }
    }

    fn vjp<'g>(&self, site: &Site<'g>, operand: usize, dy: Tensor<'g>) -> Option<Tensor<'g>> {
        let before = site.operands.get(1..operand)?.iter().filter(|x| x.dtype().is_float()).count();
        let inputs = [&site.operands[1..], &[site.result, dy]].concat();
        self.rule.over(dy.graph, &inputs).get(before).copied()
    }

    fn jvp<'g>(&self, site: &Site<'g>, tangents: &[Option<Tensor<'g>>]) -> Option<Tensor<'g>> {
        if self.is_reverse_only() {
            let message = "there is no forward rule; derive in reverse, by `grad` or `vjp`";
            return Some(site.result.poison(self.name(), TypeError::Invalid(message.into())));
        }
        tangents[0]
    }

    fn batch<'g>(&self, operands: &[Mapped<'g>]) -> Tensor<'g> {
        let operands = with_axes(operands);
        match batched(&self.rule, operands[0].shape().extents()[0]) {
            Ok(rule) => Tensor::apply(Op::Custom(Custom { rule: Arc::new(rule), ..*self }), &operands),
            Err(error) => operands[0].graph.tensor(operands[0].graph.fail(error).1),
        }
    }

    fn evaluate(&self, operands: &[&Value], _: TensorType) -> Value {
        operands[0].clone()
    }

    fn lower(&self, _: &Types, index: &[Affine], emitter: &mut dyn Emitter) -> Var {
        emitter.operand(0, index)
    }

    fn body(&self) -> Option<Graph> {
        Some(self.rule.to_graph())
    }
}

impl Custom {
    /// Whether forward mode ends here.
    pub(crate) fn is_reverse_only(&self) -> bool {
        self.kind == Kind::Given
    }

    /// The operator that prints as this text, with this rule below it.
    pub(super) fn parse(text: &OpText<'_>, rule: &Graph) -> Option<Custom> {
        let kind = [Kind::Given, Kind::Recomputed].into_iter().find(|kind| kind.name() == text.name)?;
        Some(Custom { rule: Arc::new(Body::of_graph(rule)), kind })
    }
}

/// The body for every sample at once: inputs and results have a leading axis.
fn batched(body: &Body, samples: usize) -> Result<Body> {
    let graph = Graph::new();
    let one = body.placeholders(&graph);
    let wide = |x: &Tensor<'_>| TensorType { shape: with_leading(samples, x.shape()), dtype: x.dtype() };
    let all: Vec<Tensor<'_>> = one.iter().map(|x| placeholder(&graph, NAME, wide(x))).collect();
    let pairs: Vec<(Tensor<'_>, Tensor<'_>)> = one.iter().copied().zip(all.iter().copied()).collect();
    let results = body.inline(&graph, &one).into_iter().map(|result| graph.vmap(result, &pairs));
    Ok(Body::of(&all, &results.collect::<Result<Vec<Tensor<'_>>>>()?, (0, 0)))
}

/// What a rule is written over.
const NAME: &str = "placeholder of a rule";

impl fmt::Display for Custom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl<'g> Tensor<'g> {
    /// This value, an expression of `operands`, with a reverse rule in place of the derived one. The rule gets the
    /// operands, the value and the value's cotangent, and gives one cotangent for each operand of floats, in order. It is
    /// an expression as any other: it may use other tensors of the graph, and is itself derived for second derivatives.
    ///
    /// As JAX's `custom_vjp`: forward mode through it is an error. So is a value that depends on an input or on state in
    /// another way than through an operand, since that way would have no derivative; `stop_gradient` says that none is
    /// wanted.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// // ln(1 + eˣ), whose derived gradient is ∞/∞ for large x.
    /// let g = Graph::new();
    /// let x = g.input("x", [], F64);
    /// let y = x.exp().log1p().custom_vjp(&[x], |x, _, dy| vec![dy * (1.0 - 1.0 / (1.0 + x[0].exp()))]);
    /// let dx = g.grad(y, &[x])?[0];
    /// assert_eq!(g.interpret(&[("dx", dx)], &[("x", 1000.0.into())])?["dx"], 1.0.into());
    ///
    /// // A straight-through estimator, and a gradient held between bounds.
    /// let rounded = x.round().custom_vjp(&[x], |_, _, dy| vec![dy]);
    /// let clipped = x.custom_vjp(&[x], |_, _, dy| vec![dy.clamp(-1.0, 1.0)]);
    /// # let _ = (rounded, clipped);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn custom_vjp(
        self,
        operands: &[Tensor<'g>],
        rule: impl FnOnce(&[Tensor<'g>], Tensor<'g>, Tensor<'g>) -> Vec<Tensor<'g>>,
    ) -> Tensor<'g> {
        let graph = self.graph;
        if let Err(error) = graph.check_own("custom_vjp", operands.iter().copied().chain([self])) {
            return graph.tensor(graph.fail(error).1);
        }
        if let Some(leaf) = self.leaf_beside(operands) {
            let message = format!("the value depends on {leaf:?}, for which the rule gives no cotangent");
            let advice = "name it among the operands, or use its `.stop_gradient()`";
            return self.poison("custom_vjp", TypeError::Invalid(format!("{message}; {advice}")));
        }
        self.with_rule(Kind::Given, operands, rule)
    }

    /// This value, an expression of `inputs`, not kept for the backward pass: what depends on `inputs` is computed from
    /// them once more when the gradient needs it. Memory is paid with time, and values and gradients stay the same. As
    /// JAX's `checkpoint` and PyTorch's `torch.utils.checkpoint`.
    ///
    /// What does not depend on `inputs` is kept; to have a mask of [`Tensor::dropout`] computed anew, name its key.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let (x, w) = (g.input("x", [64, 32], F32), g.parameter("w", [32, 32], F32));
    /// // 16 layers, in 4 sections of which only the results are kept.
    /// let mut h = x;
    /// for _ in 0..4 {
    ///     let start = h;
    ///     for _ in 0..4 {
    ///         h = h.matmul(w).tanh();
    ///     }
    ///     h = h.checkpoint(&[start]);
    /// }
    /// let step = g.training_step(h.square().mean(..), Sgd::new(0.1))?.compile()?;
    /// # let _ = step;
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn checkpoint(self, inputs: &[Tensor<'g>]) -> Tensor<'g> {
        let graph = self.graph;
        if let Err(error) = graph.check_own("checkpoint", inputs.iter().copied().chain([self])) {
            return graph.tensor(graph.fail(error).1);
        }
        let operands = [inputs, &captured(graph, inputs, &[self])].concat();
        let section = Body::of(&operands, &[self], (0, 0));
        self.with_rule(Kind::Recomputed, &operands, |x, y, dy| {
            let mut fresh = x.to_vec();
            for x in &mut fresh[..inputs.len()] {
                *x = Tensor::apply(Op::Elementwise(Elementwise::Barrier), &[*x]);
            }
            let again = section.over(graph, &fresh)[0];
            let floats: Vec<Tensor<'g>> = fresh.into_iter().filter(|x| x.dtype().is_float()).collect();
            match graph.vjp(again, &floats, dy) {
                Ok(cotangents) => cotangents,
                Err(error) => vec![y.graph.tensor(graph.fail(error).1)],
            }
        })
    }

    /// The value with the rule written over placeholders; what else the rule uses becomes operands too.
    #[track_caller]
    fn with_rule(
        self,
        kind: Kind,
        operands: &[Tensor<'g>],
        rule: impl FnOnce(&[Tensor<'g>], Tensor<'g>, Tensor<'g>) -> Vec<Tensor<'g>>,
    ) -> Tensor<'g> {
        let (graph, name) = (self.graph, kind.name());
        if !self.dtype().is_float() {
            return self.poison(name, TypeError::DType { ty: self.ty(), expected: "f32 or f64" });
        }
        let inputs: Vec<Tensor<'g>> = operands.iter().map(|x| placeholder(graph, NAME, x.ty())).collect();
        let (value, dy) = (placeholder(graph, NAME, self.ty()), placeholder(graph, NAME, self.ty()));
        let cotangents = rule(&inputs, value, dy);
        if let Err(error) = graph.check_own(name, cotangents.iter().copied()) {
            return graph.tensor(graph.fail(error).1);
        }
        if let Err(error) = check_cotangents(operands, &cotangents) {
            return self.poison(name, error);
        }
        let around = [value, dy];
        let free = captured(graph, &[&inputs[..], &around].concat(), &cotangents);
        let rule = Body::of(&[&inputs[..], &free, &around].concat(), &cotangents, (0, 0));
        let op = Op::Custom(Custom { rule: Arc::new(rule), kind });
        Tensor::apply(op, &[&[self], operands, &free].concat())
    }

    /// An input or a piece of state of floats that this value depends on in another way than through `operands`.
    fn leaf_beside(self, operands: &[Tensor<'g>]) -> Option<Tensor<'g>> {
        let graph = self.graph;
        let is_end = |id: NodeId| {
            let is_stop = graph.node(id).op == Op::Elementwise(Elementwise::StopGradient);
            is_stop || operands.iter().any(|x| x.id == id)
        };
        let between = needed(graph, &[self], is_end).into_iter().map(|id| graph.tensor(id));
        between.into_iter().find(|x| x.leaf_name().is_some() && x.dtype().is_float())
    }
}

/// One cotangent for each operand of floats, of its type.
fn check_cotangents(operands: &[Tensor<'_>], cotangents: &[Tensor<'_>]) -> Result<(), TypeError> {
    let floats: Vec<TensorType> = operands.iter().map(|x| x.ty()).filter(|ty| ty.dtype.is_float()).collect();
    if floats.len() != cotangents.len() {
        let message = format!(
            "the rule gives {} cotangents, for {} operands of floats",
            cotangents.len(),
            floats.len()
        );
        return Err(TypeError::Invalid(message));
    }
    match floats.iter().zip(cotangents).position(|(ty, dx)| *ty != dx.ty()) {
        Some(at) => {
            let expected = format!("the rule's cotangent {at} must have the type of its operand");
            Err(TypeError::Mismatch { lhs: cotangents[at].ty(), rhs: floats[at], expected })
        }
        None => Ok(()),
    }
}
