//! Forward mode: directional derivatives as further nodes of the same graph.

use crate::error::{Error, Result};
use crate::graph::{Operator, Origin};
use crate::ops::{Graph, Site, Tensor};

impl Graph {
    /// The derivative of `y` when each tensor of `directions` moves along its tangent.
    ///
    /// # Errors
    /// The first error made while building; a tangent of another type than its tensor; tensors that
    /// are not of floats.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let x = g.input("x", [2], F64);
    /// let v = g.input("v", [2], F64);
    /// let dy = g.jvp(x * x, &[(x, v)])?;
    /// let at = [("x", array![3.0, 4.0].into()), ("v", array![1.0, 0.5].into())];
    /// assert_eq!(g.interpret(&[("dy", dy)], &at)?["dy"], array![6.0, 4.0].into());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn jvp<'g>(&'g self, y: Tensor<'g>, directions: &[(Tensor<'g>, Tensor<'g>)]) -> Result<Tensor<'g>> {
        self.check_own("jvp", directions.iter().flat_map(|&(x, tangent)| [x, tangent]).chain([y]))?;
        for (x, tangent) in directions {
            if !x.dtype().is_float() {
                return Err(Error::NotDifferentiable { what: "a variable of jvp".into(), ty: x.ty() });
            }
            if x.ty() != tangent.ty() {
                let (expected, given) = (x.ty(), tangent.ty());
                return Err(Error::ValueType { kind: "tangent of", name: format!("{x:?}"), expected, given });
            }
        }
        let dy = self.push_forward(&[y], directions)[0];
        let dy = dy.unwrap_or_else(|| y.constant_like(0.0));
        self.check().map(|()| dy)
    }

    /// The tangents of several results; `None` where one is zero.
    pub(crate) fn push_forward<'g>(
        &'g self,
        results: &[Tensor<'g>],
        directions: &[(Tensor<'g>, Tensor<'g>)],
    ) -> Vec<Option<Tensor<'g>>> {
        let mut tangents: Vec<Option<Tensor<'g>>> = vec![None; self.len()];
        for (x, tangent) in directions {
            tangents[x.id.index()] = Some(*tangent);
        }
        let needed = self.reachable(results.iter().map(|result| result.id));
        for id in self.ids().take(needed.len()).filter(|id| needed[id.index()]).collect::<Vec<_>>() {
            let site = Site::of(self.tensor(id));
            let dx: Vec<Option<Tensor<'g>>> = site.operands.iter().map(|x| tangents[x.id.index()]).collect();
            if tangents[id.index()].is_some() || dx.iter().all(Option::is_none) {
                continue;
            }
            let op = self.op(id);
            let origin = Origin::Jvp { rule: op.name(), of: Some(id) };
            tangents[id.index()] = self.with_origin(origin, || op.rules().jvp(&site, &dx));
        }
        results.iter().map(|result| tangents[result.id.index()]).collect()
    }
}
