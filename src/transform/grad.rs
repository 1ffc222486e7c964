//! Reverse mode: the gradient as further nodes of the same graph, so that gradients have gradients.

use rustc_hash::FxHashMap;

use crate::error::{Error, Result};
use crate::graph::{NodeId, Operator, Origin};
use crate::loops::Unary;
use crate::ops::{Elementwise, Graph, Op, Rules, Scan, Site, Taken, Tensor};

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
        let origin = Origin::Vjp { rule: "select", of: None, operand: 0 };
        let zeros = |(x, dx): (&Tensor<'g>, Option<Tensor<'g>>)| {
            dx.unwrap_or_else(|| self.with_origin(origin.clone(), || x.constant_like(0.0)))
        };
        let gradients = wrt.iter().zip(self.pull_back(&[(y, dy)], wrt)).map(zeros).collect();
        self.check().map(|()| gradients)
    }

    /// The cotangents of `wrt` for those of several results, given in pairs; `None` where one is zero whatever these are.
    pub(crate) fn pull_back<'g>(
        &'g self,
        results: &[(Tensor<'g>, Tensor<'g>)],
        wrt: &[Tensor<'g>],
    ) -> Vec<Option<Tensor<'g>>> {
        let count = results.iter().map(|(y, _)| y.id.index() + 1).max().unwrap_or(0);
        let mut walk = Walk {
            active: self.has_cotangent(wrt),
            cotangents: vec![None; count],
            loops: FxHashMap::default(),
        };
        for (y, dy) in results {
            walk.add(*y, Cotangent { value: *dy, gate: None });
        }
        for id in self.ids().take(count).collect::<Vec<_>>().into_iter().rev() {
            let dy = walk.cotangents[id.index()].filter(|_| walk.active[id.index()]);
            match self.op(id) {
                Op::Scan(scan) => walk.pull_back_loop(self.tensor(id), &scan, dy),
                op => dy.into_iter().for_each(|dy| walk.pull_back(self.tensor(id), &op, dy)),
            }
        }
        let gradient = |x: &Tensor<'g>| {
            let cotangent = walk.cotangents.get(x.id.index()).copied().flatten()?;
            let origin = Origin::Vjp { rule: "select", of: None, operand: 0 };
            Some(self.with_origin(origin, || cotangent.gated()))
        };
        wrt.iter().map(gradient).collect()
    }

    /// One flag a node: whether `wrt` gets a share of its cotangent.
    fn has_cotangent(&self, wrt: &[Tensor<'_>]) -> Vec<bool> {
        let mut active = vec![false; self.len()];
        for x in wrt {
            active[x.id.index()] = true;
        }
        for id in self.ids() {
            let passes = self.ty(id).dtype.is_float()
                && self.node(id).op != Op::Elementwise(Elementwise::StopGradient);
            active[id.index()] |= passes && self.operands(id).iter().any(|operand| active[operand.index()]);
        }
        active
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

/// The walk from results back to variables.
struct Walk<'g> {
    /// One flag a node: whether a cotangent of it is wanted.
    active: Vec<bool>,
    cotangents: Vec<Option<Cotangent<'g>>>,
    /// Of each loop whose first result is still to come, the cotangents of the results behind it.
    loops: FxHashMap<NodeId, Vec<(Taken, Tensor<'g>)>>,
}

impl<'g> Walk<'g> {
    fn add(&mut self, x: Tensor<'g>, share: Cotangent<'g>) {
        let sum = &mut self.cotangents[x.id.index()];
        *sum = Some(sum.map_or(share, |sum| sum.plus(share)));
    }

    fn is_wanted(&self, x: &Tensor<'g>) -> bool {
        self.active[x.id.index()] && x.dtype().is_float()
    }

    /// Adds one node's share to the cotangents of its operands.
    fn pull_back(&mut self, node: Tensor<'g>, op: &Op, dy: Cotangent<'g>) {
        let site = Site::of(node);
        for (index, operand) in site.operands.iter().enumerate() {
            if self.is_wanted(operand) {
                let origin = Origin::Vjp { rule: op.name(), of: Some(node.id), operand: index };
                node.graph.with_origin(origin, || {
                    if let Some(share) = dy.through(op, &site, index) {
                        self.add(*operand, share);
                    }
                });
            }
        }
    }

    /// Keeps the cotangent of one result of a loop, until that of its first is there: then all are pulled back at once.
    fn pull_back_loop(&mut self, node: Tensor<'g>, scan: &Scan, dy: Option<Cotangent<'g>>) {
        let (graph, site) = (node.graph, Site::of(node));
        let operands = graph.operands(node.id);
        let results = scan.results().map(|taken| Op::Scan(Scan { taken, ..scan.clone() }));
        let first = results.filter_map(|result| graph.find(result, &operands)).min().unwrap_or(node.id);
        if let Some(dy) = dy {
            self.loops.entry(first).or_default().push((scan.taken, dy.gated()));
        }
        let Some(cotangents) = self.loops.remove(&node.id) else { return };
        let wanted: Vec<bool> = site.operands.iter().map(|x| self.is_wanted(x)).collect();
        let origin = |operand| Origin::Vjp { rule: scan.name(), of: Some(node.id), operand };
        let pulled = graph.with_origin(origin(0), || scan.pull_back(&site, &cotangents, &wanted));
        for (index, &operand) in site.operands.iter().enumerate().filter(|(index, _)| wanted[*index]) {
            let share =
                graph.with_origin(origin(index), || pulled.as_ref().and_then(|pulled| pulled.of(index)));
            if let Some(value) = share {
                self.add(operand, Cotangent { value, gate: None });
            }
        }
    }
}

/// Whether `negated` is `!gate`.
fn is_negation(negated: Tensor<'_>, gate: Tensor<'_>) -> bool {
    let not = Op::Elementwise(Elementwise::Unary(Unary::Not));
    gate.graph.op(negated.id) == not && gate.graph.operands(negated.id)[..] == [gate.id]
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
