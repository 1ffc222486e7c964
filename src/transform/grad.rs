//! Reverse mode: the gradient as further nodes of the same graph, so that gradients have gradients.

use crate::error::{Error, Result};
use crate::graph::{NodeId, Operator, Origin};
use crate::loops::Unary;
use crate::ops::{Elementwise, Graph, Op, Site, Tensor};

/// A cotangent that is exactly zero wherever its gate is false. The gate is applied as late as it can be: after
/// the derivatives of the branch it guards, so that `0 · NaN` never comes up.
#[derive(Clone, Copy)]
struct Cotangent<'g> {
    value: Tensor<'g>,
    gate: Option<Tensor<'g>>,
}

impl<'g> Cotangent<'g> {
    /// With the zeros put in.
    fn gated(self) -> Tensor<'g> {
        self.gate.map_or(self.value, |gate| gate.select(self.value, self.value.constant_like(0.0)))
    }

    /// The operand's cotangent, given this one of the result. Elementwise operators keep the gate.
    fn through(self, op: &Op, site: &Site<'g>, operand: usize) -> Option<Cotangent<'g>> {
        if !matches!(op, Op::Elementwise(_)) {
            let value = op.rules().vjp(site, operand, self.gated())?;
            return Some(Cotangent { value, gate: None });
        }
        let value = op.rules().vjp(site, operand, self.value)?;
        let gate = match (self.gate, op.rules().gate(site, operand)) {
            (Some(outer), Some(inner)) => Some(outer & inner),
            (outer, inner) => outer.or(inner),
        };
        Some(Cotangent { value, gate })
    }

    fn plus(self, other: Cotangent<'g>) -> Cotangent<'g> {
        if self.gate.map(Tensor::id) == other.gate.map(Tensor::id) {
            return Cotangent { value: self.value + other.value, gate: self.gate };
        }
        // The two branches of one select come together again.
        let joined = match (self.gate, other.gate) {
            (Some(gate), Some(negated)) if is_negation(negated, gate) => gate.select(self.value, other.value),
            (Some(negated), Some(gate)) if is_negation(negated, gate) => gate.select(other.value, self.value),
            _ => self.gated() + other.gated(),
        };
        Cotangent { value: joined, gate: None }
    }
}

impl Graph {
    /// The gradient of the scalar `y` with respect to each of `wrt`, as tensors of the same graph.
    /// What `y` does not depend on has a gradient of zeros.
    ///
    /// # Errors
    /// The first error made while building; `y` not a scalar; `y` or a variable not of floats.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let x = g.input("x", [], F64);
    /// let y = x * x * x;
    /// let dy = g.grad(y, &[x])?[0];
    /// let d2y = g.grad(dy, &[x])?[0];
    /// let at = [("x", Value::from(2.0f64))];
    /// assert_eq!(g.interpret(&[("d2y", d2y)], &at)?["d2y"], Value::from(12.0f64));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn grad<'g>(&'g self, y: Tensor<'g>, wrt: &[Tensor<'g>]) -> Result<Vec<Tensor<'g>>> {
        self.check_own("grad", [y])?;
        if y.shape().rank() != 0 {
            return Err(Error::NotScalar { what: "the value to differentiate", ty: y.ty() });
        }
        let seed = Origin::Vjp { rule: "seed", of: Some(y.id), operand: 0 };
        let one = self.with_origin(seed, || y.constant_like(1.0));
        self.vjp(y, wrt, one)
    }

    /// The value `y` together with its gradient, as [`Graph::grad`].
    ///
    /// # Errors
    /// As [`Graph::grad`].
    #[track_caller]
    pub fn value_and_grad<'g>(
        &'g self,
        y: Tensor<'g>,
        wrt: &[Tensor<'g>],
    ) -> Result<(Tensor<'g>, Vec<Tensor<'g>>)> {
        self.grad(y, wrt).map(|gradient| (y, gradient))
    }

    /// The vector-Jacobian product: the cotangents of `wrt` for the cotangent `dy` of a tensor `y` of any shape.
    ///
    /// # Errors
    /// The first error made while building; a cotangent of another type than `y`; `y` or a variable not of floats.
    #[track_caller]
    pub fn vjp<'g>(&'g self, y: Tensor<'g>, wrt: &[Tensor<'g>], dy: Tensor<'g>) -> Result<Vec<Tensor<'g>>> {
        self.check_own("grad", wrt.iter().copied().chain([y, dy]))?;
        check_differentiable(y, wrt)?;
        if y.ty() != dy.ty() {
            let (name, expected, given) = (format!("{y:?}"), y.ty(), dy.ty());
            return Err(Error::ValueType { kind: "cotangent of", name, expected, given });
        }
        let active = self.depends_on(wrt);
        let mut cotangents: Vec<Option<Cotangent<'g>>> = vec![None; y.id.index() + 1];
        cotangents[y.id.index()] = Some(Cotangent { value: dy, gate: None });
        for id in self.ids().take(y.id.index() + 1).collect::<Vec<_>>().into_iter().rev() {
            if let Some(dy) = cotangents[id.index()].filter(|_| active[id.index()]) {
                self.pull_back(id, dy, &active, &mut cotangents);
            }
        }
        let gradient = |x: &Tensor<'g>| {
            let cotangent = cotangents.get(x.id.index()).copied().flatten();
            let origin = Origin::Vjp { rule: "select", of: None, operand: 0 };
            self.with_origin(origin, || cotangent.map_or_else(|| x.constant_like(0.0), Cotangent::gated))
        };
        let gradients = wrt.iter().map(gradient).collect();
        self.check().map(|()| gradients)
    }

    /// Adds one node's share to the cotangents of its operands.
    fn pull_back<'g>(
        &'g self,
        id: NodeId,
        dy: Cotangent<'g>,
        active: &[bool],
        cotangents: &mut [Option<Cotangent<'g>>],
    ) {
        let op = self.op(id);
        let operands: Vec<Tensor<'g>> = self.operands(id).into_iter().map(|id| self.tensor(id)).collect();
        let site = Site { operands, result: self.tensor(id) };
        for (index, operand) in site.operands.iter().enumerate() {
            if !active[operand.id.index()] || !operand.dtype().is_float() {
                continue;
            }
            let origin = Origin::Vjp { rule: op.name(), of: Some(id), operand: index };
            self.with_origin(origin, || {
                if let Some(share) = dy.through(&op, &site, index) {
                    let sum = &mut cotangents[operand.id.index()];
                    *sum = Some(sum.map_or(share, |sum| sum.plus(share)));
                }
            });
        }
    }

    /// One flag a node: whether a change of `wrt` could change it.
    pub(crate) fn depends_on(&self, wrt: &[Tensor<'_>]) -> Vec<bool> {
        let mut depends = vec![false; self.len()];
        for x in wrt {
            depends[x.id.index()] = true;
        }
        for id in self.ids() {
            depends[id.index()] |= self.operands(id).iter().any(|operand| depends[operand.index()]);
        }
        depends
    }
}

/// Whether `negated` is `!gate`.
fn is_negation(negated: Tensor<'_>, gate: Tensor<'_>) -> bool {
    let not = Op::Elementwise(Elementwise::Unary(Unary::Not));
    gate.graph.op(negated.id) == not && gate.graph.operands(negated.id) == [gate.id]
}

fn check_differentiable(y: Tensor<'_>, wrt: &[Tensor<'_>]) -> Result<()> {
    if !y.dtype().is_float() {
        return Err(Error::NotDifferentiable { what: "the value to differentiate".into(), ty: y.ty() });
    }
    match wrt.iter().find(|x| !x.dtype().is_float()) {
        Some(x) => {
            let op: Op = x.graph.op(x.id);
            Err(Error::NotDifferentiable { what: format!("the variable `{op}`"), ty: x.ty() })
        }
        None => Ok(()),
    }
}
