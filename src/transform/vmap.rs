//! Batching: an expression for one sample, evaluated for many at once along a new leading axis.

use crate::error::{Error, Result};
use crate::graph::{NodeId, Operator, Origin};
use crate::ops::{Graph, Mapped, Op, Tensor};
use crate::types::{MAX_RANK, Shape};

impl Graph {
    /// What `y` is for every sample: each tensor `x` of `mapped` is replaced by its samples, which have `x`'s shape
    /// behind a leading axis, and so has the result behind `y`'s. What does not depend on a mapped tensor is the same
    /// for all.
    ///
    /// # Errors
    /// The first error made while building; nothing mapped; samples of another type or count; a result of more than 8
    /// axes.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let (x, w) = (g.input("x", [3], F64), g.parameter("w", [3], F64));
    /// let y = (x * w).sum(..).tanh();
    /// let xs = g.input("xs", [5, 3], F64);
    /// assert_eq!(g.vmap(y, &[(x, xs)])?.ty().to_string(), "f64[5]");
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn vmap<'g>(&'g self, y: Tensor<'g>, mapped: &[(Tensor<'g>, Tensor<'g>)]) -> Result<Tensor<'g>> {
        self.check_own("vmap", mapped.iter().flat_map(|&(x, samples)| [x, samples]).chain([y]))?;
        let samples = check_samples(mapped)?;
        let result = match self.batch(&[y], mapped, samples)?[0] {
            Some(result) => result,
            None => {
                let extents = [&[samples], y.shape().extents()].concat();
                let shape = Shape::new(&extents)?;
                let axes: Vec<usize> = (1..extents.len()).collect();
                y.broadcast_in(shape, &axes)
            }
        };
        self.check().map(|()| result)
    }

    /// Several results for every sample; `None` for one that is the same for all.
    pub(crate) fn batch<'g>(
        &'g self,
        results: &[Tensor<'g>],
        mapped: &[(Tensor<'g>, Tensor<'g>)],
        samples: usize,
    ) -> Result<Vec<Option<Tensor<'g>>>> {
        let mut batched: Vec<Option<Tensor<'g>>> = vec![None; self.len()];
        for (x, xs) in mapped {
            batched[x.id.index()] = Some(*xs);
        }
        let needed = self.reachable(results.iter().map(|result| result.id));
        for id in self.ids().take(needed.len()).filter(|id| needed[id.index()]).collect::<Vec<_>>() {
            let operands: Vec<Mapped<'g>> = (self.operands(id).into_iter())
                .map(|operand| match batched[operand.index()] {
                    Some(tensor) => Mapped { tensor, samples: Some(samples) },
                    None => Mapped { tensor: self.tensor(operand), samples: None },
                })
                .collect();
            if batched[id.index()].is_some() || operands.iter().all(|operand| operand.samples.is_none()) {
                continue;
            }
            let full = |id: &NodeId| self.ty(*id).shape.rank() == MAX_RANK;
            if let Some(full) = self.operands(id).iter().chain([&id]).find(|id| full(id)) {
                return Err(Error::Shape(format!(
                    "{} has no room for an axis of samples",
                    self.ty(*full).shape
                )));
            }
            let op: Op = self.op(id);
            let origin = Origin::Batch { rule: op.name(), of: Some(id) };
            batched[id.index()] = Some(self.with_origin(origin, || op.rules().batch(&operands)));
            self.check()?;
        }
        Ok(results.iter().map(|result| batched[result.id.index()]).collect())
    }
}

/// The number of samples that all mapped tensors agree on.
fn check_samples(mapped: &[(Tensor<'_>, Tensor<'_>)]) -> Result<usize> {
    let Some(samples) = mapped.first().and_then(|(_, xs)| xs.shape().extents().first().copied()) else {
        return Err(Error::Value("vmap maps at least one tensor to samples with a leading axis".into()));
    };
    for (x, xs) in mapped {
        let mut expected = x.ty();
        expected.shape = Shape::new(&[&[samples], x.shape().extents()].concat())?;
        if xs.ty() != expected {
            return Err(Error::ValueType {
                kind: "samples of",
                name: format!("{x:?}"),
                expected,
                given: xs.ty(),
            });
        }
    }
    Ok(samples)
}
