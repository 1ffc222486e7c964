//! Gathering: rows of a tensor picked by an integer tensor.

use std::fmt;

use ndarray::{ArrayD, Dimension, IxDyn};

use super::reduce::resolve_axis;
use super::{Dot, Emitter, Mapped, Op, Reads, Rules, Site, Tensor, Types, expect_operands};
use crate::error::{Result, TypeError};
use crate::graph::OpText;
use crate::loops::{Affine, Instr, Var};
use crate::types::{DType, Element, MAX_RANK, Shape, TensorType, Value, map_value};

/// Picks positions of one axis of the first operand by the second, an integer tensor whose axes take that axis's
/// place. Indices lie inside the axis: [`Tensor::take`] holds them there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gather {
    pub axis: usize,
}

impl Rules for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn infer(&self, operands: &[TensorType]) -> Result<TensorType, TypeError> {
        let [x, indices] = expect_operands(operands)?;
        if !matches!(indices.dtype, DType::I32 | DType::I64) {
            return Err(TypeError::DType { ty: indices, expected: "i32 or i64 indices" });
        }
        if self.axis >= x.shape.rank() {
            return Err(TypeError::Axis { axis: self.axis as isize, ty: x });
        }
        if x.shape.extents()[self.axis] == 0 && indices.shape.elements() > 0 {
            return Err(TypeError::Invalid(format!("axis {} of {x} has nothing to pick", self.axis)));
        }
        let mut extents = x.shape.extents().to_vec();
        extents.splice(self.axis..=self.axis, indices.shape.extents().iter().copied());
        if extents.len() > MAX_RANK {
            return Err(TypeError::Invalid(format!("{x} picked by {indices} has more than 8 axes")));
        }
        Ok(TensorType { dtype: x.dtype, shape: Shape::of(&extents) })
    }

    /// Each row's cotangent is the sum of those of the places it was picked for: a contraction with the one-hot
    /// indices, in an order that is always the same.
    fn vjp<'g>(&self, site: &Site<'g>, operand: usize, dy: Tensor<'g>) -> Option<Tensor<'g>> {
        let (x, indices) = (site.operands[0].shape(), site.operands[1]);
        if operand == 1 {
            return None;
        }
        let picked = indices.one_hot(x.extents()[self.axis]).cast(dy.dtype());
        let (rank, row) = (indices.shape().rank() as u8, b'Z');
        let places: Vec<u8> = (0..rank).collect();
        let kept: Vec<u8> = (0..x.rank() as u8).map(|label| label + rank).collect();
        let (before, after) = (&kept[..self.axis], &kept[self.axis + 1..]);
        let spread = [before, &places, after].concat();
        let result = [before, &[row], after].concat();
        let labels = Dot::new(&[&places[..], &[row]].concat(), &spread, &result).ok()?;
        Some(Tensor::apply(Op::Dot(labels), &[picked, dy]))
    }

    fn jvp<'g>(&self, site: &Site<'g>, tangents: &[Option<Tensor<'g>>]) -> Option<Tensor<'g>> {
        Some(Tensor::apply(Op::Gather(*self), &[tangents[0]?, site.operands[1]]))
    }

    fn batch<'g>(&self, operands: &[Mapped<'g>]) -> Tensor<'g> {
        let (x, indices) = (operands[0], operands[1]);
        match (x.samples, indices.samples) {
            (_, None) => {
                Tensor::apply(Op::Gather(Gather { axis: self.axis + 1 }), &[x.tensor, indices.tensor])
            }
            // The samples' axis comes among the places' and goes to the front.
            (None, Some(_)) => {
                let picked = Tensor::apply(Op::Gather(*self), &[x.tensor, indices.tensor]);
                let others = (0..picked.shape().rank()).filter(|&axis| axis != self.axis);
                let permutation: Vec<usize> = [self.axis].into_iter().chain(others).collect();
                picked.permute(&permutation)
            }
            (Some(_), Some(samples)) => self.batch_both(x.tensor, indices.tensor, samples),
        }
    }

    fn evaluate(&self, operands: &[&Value], ty: TensorType) -> Value {
        let indices = operands[1].elements();
        map_value!(operands[0], x => self.pick(x, operands[1].ty().shape, |at| indices[at].to_f64() as usize, ty))
    }

    fn lower(&self, types: &Types, index: &[Affine], emitter: &mut dyn Emitter) -> Var {
        let places = types.operands[1].shape.rank();
        let row = emitter.operand(1, &index[self.axis..self.axis + places]);
        let mut at = index.to_vec();
        at.splice(self.axis..self.axis + places, [Affine::default()]);
        let extents = types.operands[0].shape;
        let stride: usize = extents.extents()[self.axis + 1..].iter().product();
        let bound = extents.extents()[self.axis];
        let row = match types.operands[1].dtype {
            DType::I64 => row,
            _ => emitter.emit(Instr::Cast(row), DType::I64),
        };
        emitter.picked(0, Affine::linear(&at, extents.extents()), row, stride as i64, bound as i64)
    }

    fn reads(&self, _: &Types, operand: usize) -> Reads {
        if operand == 0 { Reads::Linear } else { Reads::Repeatedly }
    }
}

impl Gather {
    /// Each sample's rows lie one sample's rows further in one long table.
    fn batch_both<'g>(&self, x: Tensor<'g>, indices: Tensor<'g>, samples: usize) -> Tensor<'g> {
        let rank = x.shape().rank();
        // The gathered axis comes second, behind the samples'.
        let others: Vec<usize> = (1..rank).filter(|&axis| axis != self.axis + 1).collect();
        let front = x.permute(&[&[0, self.axis + 1], &others[..]].concat());
        let (rows, rest) = (front.shape().extents()[1], front.shape().extents()[2..].to_vec());
        let table = front.reshape(Shape::of(&[&[samples * rows], &rest[..]].concat()));
        let sample = x.graph.iota(indices.shape(), 0, indices.dtype());
        let picked = Tensor::apply(Op::Gather(Gather { axis: 0 }), &[table, indices + sample * rows as f64]);
        // [samples, places, others] → [samples, before, places, after]
        let places = indices.shape().rank() - 1;
        let before = 1 + places..1 + places + self.axis;
        let after = before.end..picked.shape().rank();
        let permutation: Vec<usize> =
            [0].into_iter().chain(before).chain(1..1 + places).chain(after).collect();
        picked.permute(&permutation)
    }

    fn pick<T: Element>(
        &self,
        x: &ArrayD<T>,
        places: Shape,
        row: impl Fn(usize) -> usize,
        ty: TensorType,
    ) -> Value {
        let array = ArrayD::from_shape_fn(IxDyn(ty.shape.extents()), |index| {
            let mut at: Vec<usize> = index.as_array_view().to_vec();
            let place: Vec<usize> = at.splice(self.axis..self.axis + places.rank(), [0]).collect();
            let flat = place.iter().zip(places.extents()).fold(0, |flat, (at, extent)| flat * extent + at);
            at[self.axis] = row(flat).min(x.shape()[self.axis] - 1);
            x[&at[..]]
        });
        array.into()
    }
}

impl fmt::Display for Gather {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gather[{}]", self.axis)
    }
}

impl Gather {
    /// The operator that prints as this text.
    pub(super) fn parse(text: &OpText<'_>) -> Option<Gather> {
        (text.name == "gather").then_some(Gather { axis: text.attributes.parse().ok()? })
    }
}

impl<'g> Tensor<'g> {
    /// The rows of an axis at these positions, as `numpy.take` with `mode="clip"`: an index below 0 picks the first
    /// row, one too large the last.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let x = g.input("x", [3, 2], F32);
    /// let rows = x.take(0, g.input("rows", [4], I32));
    /// let at = [("x", array![[1.0f32, 2.0], [3.0, 4.0], [5.0, 6.0]].into()), ("rows", array![2, 0, -7, 9].into())];
    /// let expected = array![[5.0f32, 6.0], [1.0, 2.0], [1.0, 2.0], [5.0, 6.0]];
    /// assert_eq!(g.interpret(&[("rows", rows)], &at)?["rows"], expected.into());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn take(self, axis: isize, indices: Tensor<'g>) -> Tensor<'g> {
        let axis = match resolve_axis(axis, self.ty()) {
            Ok(axis) => axis,
            Err(error) => return self.poison("take", error),
        };
        let last = self.shape().extents()[axis].saturating_sub(1);
        let held = match indices.dtype() {
            DType::I32 | DType::I64 => indices.maximum(0.0).minimum(last as f64),
            _ => indices,
        };
        Tensor::apply(Op::Gather(Gather { axis }), &[self, held])
    }

    /// The rows of this table `[n, d]` for integer indices `[…]`: `[…, d]`, as `torch.nn.functional.embedding`. Indices
    /// out of range are treated as by [`Tensor::take`].
    #[track_caller]
    pub fn embedding(self, indices: Tensor<'g>) -> Tensor<'g> {
        self.take(0, indices)
    }
}
