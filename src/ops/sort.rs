//! Sorting along an axis. The order of the elements is an operator, an integer tensor; sorted values are picked by it, and
//! so have the derivatives of what picks.

use std::fmt;

use ndarray::{ArrayD, Axis};

use super::reduce::resolve_axis;
use super::{Mapped, Op, Reads, Rules, Site, Tensor, Types, Whole, Writer, expect_operands};
use crate::error::{Result, TypeError};
use crate::graph::OpText;
use crate::loops::{Affine, Order, Sorting};
use crate::types::{DType, Element, Shape, TensorType, Value, map_value};

/// For every row along the last axis the positions of its elements in order: equal elements in the order they stand in,
/// NaN as larger than every number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Argsort {
    pub order: Order,
    /// So many positions from the first on; otherwise all.
    pub first: Option<usize>,
}

impl Rules for Argsort {
    fn name(&self) -> &'static str {
        "argsort"
    }

    fn infer(&self, operands: &[TensorType]) -> Result<TensorType, TypeError> {
        let [x] = expect_operands(operands)?;
        let Some((&count, others)) = x.shape.extents().split_last() else {
            return Err(TypeError::Axis { axis: -1, ty: x });
        };
        let first = self.first.unwrap_or(count);
        if first > count {
            return Err(TypeError::Invalid(format!("the rows of {x} have fewer than {first} elements")));
        }
        let shape = Shape::of(&[others, &[first]].concat());
        Ok(TensorType { dtype: DType::I64, shape })
    }

    fn vjp<'g>(&self, _: &Site<'g>, _: usize, _: Tensor<'g>) -> Option<Tensor<'g>> {
        None
    }

    fn jvp<'g>(&self, _: &Site<'g>, _: &[Option<Tensor<'g>>]) -> Option<Tensor<'g>> {
        None
    }

    fn batch<'g>(&self, operands: &[Mapped<'g>]) -> Tensor<'g> {
        Tensor::apply(Op::Argsort(*self), &[operands[0].tensor])
    }

    fn evaluate(&self, operands: &[&Value], _: TensorType) -> Value {
        map_value!(operands[0], x => self.positions(x).into())
    }

    fn reads(&self, _: &Types, _: usize) -> Reads {
        Reads::Linear
    }

    fn whole(&self) -> Option<&dyn Whole> {
        Some(self)
    }
}

impl Whole for Argsort {
    fn write(&self, types: &Types, writer: &mut dyn Writer) {
        let (from, to) = (types.operands[0].shape, types.result.shape);
        let (Some((&count, others)), Some(&first)) = (from.extents().split_last(), to.extents().last())
        else {
            return;
        };
        writer.each(others, &mut |writer, row| {
            let row = [row, &[Affine::default()]].concat();
            let offsets = [from, to].map(|shape| Affine::linear(&row, shape.extents()));
            writer.sort(0, offsets, Sorting { count, first, order: self.order });
        });
    }
}

impl Argsort {
    fn positions<T: Element + PartialOrd>(&self, x: &ArrayD<T>) -> ArrayD<i64> {
        let last = Axis(x.ndim() - 1);
        let mut shape = x.raw_dim();
        shape[last.index()] = self.first.unwrap_or(shape[last.index()]);
        let mut positions = ArrayD::zeros(shape);
        for (keys, mut order) in x.lanes(last).into_iter().zip(positions.lanes_mut(last)) {
            let mut sorted: Vec<usize> = (0..keys.len()).collect();
            sorted.sort_by(|&a, &b| self.order.compare(&keys[a], &keys[b]));
            order.iter_mut().zip(sorted).for_each(|(to, from)| *to = from as i64);
        }
        positions
    }
}

impl fmt::Display for Argsort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first {
            None => write!(f, "argsort[{}]", self.order),
            Some(first) => write!(f, "argsort[{}, first {first}]", self.order),
        }
    }
}

impl Argsort {
    /// The operator that prints as this text.
    pub(super) fn parse(text: &OpText<'_>) -> Option<Argsort> {
        let attributes = Some(text.attributes).filter(|_| text.name == "argsort")?;
        let (name, first) = match attributes.split_once(", first ") {
            Some((name, first)) => (name, Some(first.parse().ok()?)),
            None => (attributes, None),
        };
        let order = Order::ALL.iter().copied().find(|order| order.name() == name)?;
        Some(Argsort { order, first })
    }
}

impl<'g> Tensor<'g> {
    /// The positions along an axis of the elements in order, as i64: `x.take_along_axis(axis, x.argsort(axis, order))` is
    /// sorted. Equal elements stay in the order they stand in; NaN is larger than every number, so that it comes last in
    /// ascending order and first in descending order, as in NumPy, JAX and PyTorch.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let x = g.input("x", [4], F32);
    /// let order = x.argsort(0, Order::Descending);
    /// let values = g.interpret(&[("order", order)], &[("x", array![1.0f32, 3.0, 2.0, 3.0].into())])?;
    /// assert_eq!(values["order"], array![1i64, 3, 2, 0].into());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn argsort(self, axis: isize, order: Order) -> Tensor<'g> {
        match resolve_axis(axis, self.ty()) {
            Ok(_) => self.positions_along(axis, Argsort { order, first: None }),
            Err(error) => self.poison("argsort", error),
        }
    }

    #[track_caller]
    fn positions_along(self, axis: isize, argsort: Argsort) -> Tensor<'g> {
        Tensor::apply(Op::Argsort(argsort), &[self.move_axis(axis, -1)]).move_axis(-1, axis)
    }

    /// The elements along an axis in order, by [`Tensor::argsort`]. Each cotangent goes to the element that came there.
    #[track_caller]
    pub fn sort(self, axis: isize, order: Order) -> Tensor<'g> {
        self.take_along_axis(axis, self.argsort(axis, order))
    }

    /// The `k` largest elements along an axis, the largest first, and their positions as i64: the first ones of
    /// [`Tensor::argsort`] in descending order. An error for more than there are.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let x = g.input("x", [4], F32);
    /// let (values, positions) = x.top_k(0, 2);
    /// let at = [("x", array![1.0f32, 4.0, 2.0, 3.0].into())];
    /// let found = g.interpret(&[("values", values), ("positions", positions)], &at)?;
    /// assert_eq!(found["values"], array![4.0f32, 3.0].into());
    /// assert_eq!(found["positions"], array![1i64, 3].into());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn top_k(self, axis: isize, k: usize) -> (Tensor<'g>, Tensor<'g>) {
        let extent = match resolve_axis(axis, self.ty()) {
            Ok(at) => self.shape().extents()[at],
            Err(error) => {
                let poisoned = self.poison("top_k", error);
                return (poisoned, poisoned);
            }
        };
        if k > extent {
            let message = format!("axis {axis} of {} has fewer than {k} elements", self.ty());
            let poisoned = self.poison("top_k", TypeError::Invalid(message));
            return (poisoned, poisoned);
        }
        // A few are found faster than the whole row is sorted.
        let is_few = k <= extent / 16 || (k < extent && extent <= 16);
        let argsort = Argsort { order: Order::Descending, first: Some(k).filter(|_| is_few) };
        let positions = self.positions_along(axis, argsort).slice(axis, 0..k);
        (self.take_along_axis(axis, positions), positions)
    }
}
