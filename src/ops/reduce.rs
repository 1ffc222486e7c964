//! Reductions: axes combined away.

use std::fmt;
use std::ops::RangeFull;

use ndarray::{ArrayD, ArrayViewD, Axis};

use super::elementwise::binary;
use super::{Emitter, Mapped, Op, Rules, Site, Tensor, Types, expect_operands};
use crate::error::{Result, TypeError};
use crate::graph::OpText;
use crate::loops::{Affine, Combine, Var};
use crate::types::{Axes, DType, Scalar, Shape, TensorType, Value};

/// A reduction; the reduced axes leave the shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reduce {
    pub combine: Combine,
    pub axes: Axes,
}

impl Rules for Reduce {
    fn name(&self) -> &'static str {
        match self.combine {
            Combine::Sum => "sum",
            Combine::Prod => "prod",
            Combine::Max => "reduce_max",
            Combine::Min => "reduce_min",
        }
    }

    fn infer(&self, operands: &[TensorType]) -> Result<TensorType, TypeError> {
        let [x] = expect_operands(operands)?;
        if x.dtype == DType::Bool {
            return Err(TypeError::DType { ty: x, expected: "numbers" });
        }
        if let Some(axis) = self.axes.iter().find(|&axis| axis >= x.shape.rank()) {
            return Err(TypeError::Axis { axis: axis as isize, ty: x });
        }
        let empty = self.axes.iter().any(|axis| x.shape.extents()[axis] == 0);
        if empty && matches!(self.combine, Combine::Max | Combine::Min) {
            return Err(TypeError::Invalid(format!("{x} has no elements along axes {}", self.axes)));
        }
        Ok(TensorType { dtype: x.dtype, shape: x.shape.without(self.axes) })
    }

    fn vjp<'g>(&self, site: &Site<'g>, _: usize, dy: Tensor<'g>) -> Option<Tensor<'g>> {
        let (x, y) = (site.operands[0], site.result);
        let spread = |t: Tensor<'g>| t.spread(x.shape(), self.axes);
        Some(match self.combine {
            Combine::Sum => spread(dy),
            // Shared equally among the ties.
            Combine::Max | Combine::Min => {
                let tied = x.equal(spread(y));
                let share = dy / self.apply(tied.cast(x.dtype()), Combine::Sum);
                tied.select(spread(share), x.constant_like(0.0))
            }
            Combine::Prod => spread(dy) * self.product_of_others(x, y),
        })
    }

    fn jvp<'g>(&self, site: &Site<'g>, tangents: &[Option<Tensor<'g>>]) -> Option<Tensor<'g>> {
        let (x, y, dx) = (site.operands[0], site.result, tangents[0]?);
        Some(match self.combine {
            Combine::Sum => self.apply(dx, Combine::Sum),
            Combine::Max | Combine::Min => {
                let tied = x.equal(y.spread(x.shape(), self.axes));
                let ties = self.apply(tied.cast(x.dtype()), Combine::Sum);
                self.apply(tied.select(dx, x.constant_like(0.0)), Combine::Sum) / ties
            }
            Combine::Prod => self.apply(dx * self.product_of_others(x, y), Combine::Sum),
        })
    }

    fn batch<'g>(&self, operands: &[Mapped<'g>]) -> Tensor<'g> {
        let axes = self.axes.iter().map(|axis| axis + 1).collect();
        Tensor::apply(Op::Reduce(Reduce { axes, ..*self }), &[operands[0].tensor])
    }

    /// Sums and products of f32 are accumulated in f64 and rounded once.
    fn evaluate(&self, operands: &[&Value], ty: TensorType) -> Value {
        let exact = match operands[0] {
            Value::F32(_) if matches!(self.combine, Combine::Sum | Combine::Prod) => {
                operands[0].cast(DType::F64)
            }
            other => other.clone(),
        };
        let reduced = match &exact {
            Value::F32(x) => reduce_array(x, *self),
            Value::F64(x) => reduce_array(x, *self),
            Value::I32(x) => reduce_array(x, *self),
            Value::I64(x) => reduce_array(x, *self),
            Value::Bool(_) => unreachable!("refused by the type rule"),
        };
        reduced.cast(ty.dtype)
    }

    fn lower(&self, types: &Types, index: &[Affine], emitter: &mut dyn Emitter) -> Var {
        let shape = types.operands[0].shape;
        let extents: Vec<usize> = self.axes.iter().map(|axis| shape.extents()[axis]).collect();
        emitter.reduce(self.combine, types.result.dtype, &extents, &mut |emitter, reduced| {
            let (mut kept, mut reduced) = (index.iter(), reduced.iter());
            let full: Vec<Affine> = (0..shape.rank())
                .filter_map(|axis| if self.axes.contains(axis) { reduced.next() } else { kept.next() })
                .cloned()
                .collect();
            emitter.operand(0, &full)
        })
    }
}

impl Reduce {
    #[track_caller]
    fn apply<'g>(&self, x: Tensor<'g>, combine: Combine) -> Tensor<'g> {
        Tensor::apply(Op::Reduce(Reduce { combine, axes: self.axes }), &[x])
    }

    /// For each element the product of the others in its group: `y / x`, but right where zeros are.
    fn product_of_others<'g>(&self, x: Tensor<'g>, y: Tensor<'g>) -> Tensor<'g> {
        let spread = |t: Tensor<'g>| t.spread(x.shape(), self.axes);
        let (zero, one) = (x.constant_like(0.0), x.constant_like(1.0));
        let is_zero = x.equal(0.0);
        let zeros = spread(self.apply(is_zero.cast(x.dtype()), Combine::Sum));
        let nonzero = is_zero.select(one, x);
        let product = spread(self.apply(nonzero, Combine::Prod));
        // One zero: only its own slot sees a nonzero product. More: every slot sees a zero.
        let at_zero = zeros.equal(1.0).select(product, zero);
        let elsewhere = zeros.equal(0.0).select(spread(y) / nonzero, zero);
        is_zero.select(at_zero, elsewhere)
    }
}

fn reduce_array<T: crate::types::Element>(x: &ArrayD<T>, Reduce { combine, axes }: Reduce) -> Value {
    let mut axes: Vec<usize> = axes.iter().collect();
    let mut current = Value::from(x);
    while let Some(axis) = axes.pop() {
        let Some(array) = T::array(&current) else { unreachable!("the join keeps the type") };
        let mut kept = array.shape().to_vec();
        kept.remove(axis);
        let start = match array.len_of(Axis(axis)) {
            0 => combine.over_nothing(T::DTYPE),
            _ => combine.identity(T::DTYPE),
        };
        let start = Value::splat(start, Shape::of(&kept));
        let join = |sum: Value, slice: ArrayViewD<'_, T>| binary(combine.join(), &sum, &slice.into());
        current = array.axis_iter(Axis(axis)).fold(start, join);
    }
    current
}

impl fmt::Display for Reduce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.name(), self.axes)
    }
}

impl Reduce {
    /// The reduction that prints as this text.
    pub(super) fn parse(text: &OpText<'_>) -> Option<Reduce> {
        let axes = text.numbers()?.into_iter().collect();
        Combine::ALL.iter().map(|&combine| Reduce { combine, axes }).find(|reduce| reduce.name() == text.name)
    }
}

/// Which axes a reduction takes: `..` for all, one axis, or an array of axes. Negative axes count
/// from the last. The axes leave the shape, unless they are to be [kept](keep).
#[derive(Clone, Debug)]
pub enum AxisSpec {
    All,
    Some(Vec<isize>),
    /// These, which stay in the shape with extent 1.
    Kept(Box<AxisSpec>),
}

/// Axes that a reduction leaves in the shape, with extent 1, so that the result broadcasts against what was reduced.
///
/// ```
/// # use hitofude::prelude::*;
/// let g = Graph::new();
/// let x = g.input("x", [2, 3], F32);
/// let centred = x - x.mean(keep(-1));
/// assert_eq!(x.mean(keep(-1)).ty().to_string(), "f32[2,1]");
/// assert_eq!(x.max(keep(..)).ty().to_string(), "f32[1,1]");
/// # g.check()?;
/// # Ok::<(), Error>(())
/// ```
pub fn keep(axes: impl Into<AxisSpec>) -> AxisSpec {
    AxisSpec::Kept(Box::new(axes.into()))
}

impl From<RangeFull> for AxisSpec {
    fn from(_: RangeFull) -> AxisSpec {
        AxisSpec::All
    }
}

impl From<isize> for AxisSpec {
    fn from(axis: isize) -> AxisSpec {
        AxisSpec::Some(vec![axis])
    }
}

impl<const N: usize> From<[isize; N]> for AxisSpec {
    fn from(axes: [isize; N]) -> AxisSpec {
        AxisSpec::Some(axes.to_vec())
    }
}

impl From<&[isize]> for AxisSpec {
    fn from(axes: &[isize]) -> AxisSpec {
        AxisSpec::Some(axes.to_vec())
    }
}

impl From<Vec<isize>> for AxisSpec {
    fn from(axes: Vec<isize>) -> AxisSpec {
        AxisSpec::Some(axes)
    }
}

impl AxisSpec {
    /// The axes of a tensor of this type.
    pub(crate) fn resolve(&self, ty: TensorType) -> Result<Axes, TypeError> {
        let axes = match self {
            AxisSpec::All => return Ok(Axes::all(ty.shape.rank())),
            AxisSpec::Some(axes) => axes,
            AxisSpec::Kept(axes) => return axes.resolve(ty),
        };
        axes.iter().try_fold(Axes::default(), |set, &axis| {
            let axis = resolve_axis(axis, ty)?;
            if set.contains(axis) {
                return Err(TypeError::RepeatedAxis { axis });
            }
            Ok(set.iter().chain([axis]).collect())
        })
    }

    /// A tensor of `original` shape, reduced over the axes: with them, if they are to be kept.
    #[track_caller]
    pub(crate) fn arrange<'g>(&self, reduced: Tensor<'g>, original: Shape, axes: Axes) -> Tensor<'g> {
        if !matches!(self, AxisSpec::Kept(_)) || reduced.is_poison() {
            return reduced;
        }
        let mut extents = original.extents().to_vec();
        axes.iter().for_each(|axis| extents[axis] = 1);
        reduced.reshape(Shape::of(&extents))
    }
}

/// The axis counted from the front.
pub(super) fn resolve_axis(axis: isize, ty: TensorType) -> Result<usize, TypeError> {
    let rank = ty.shape.rank() as isize;
    let from_front = if axis < 0 { axis + rank } else { axis };
    if (0..rank).contains(&from_front) { Ok(from_front as usize) } else { Err(TypeError::Axis { axis, ty }) }
}

impl<'g> Tensor<'g> {
    /// The sum over the axes; 0 over no elements.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let x = g.input("x", [2, 3], F32);
    /// assert_eq!(x.sum(..).ty().to_string(), "f32[]");
    /// assert_eq!(x.sum(-1).ty().to_string(), "f32[2]");
    /// ```
    #[track_caller]
    pub fn sum(self, axes: impl Into<AxisSpec>) -> Tensor<'g> {
        self.reduce(Combine::Sum, axes.into())
    }

    /// The product over the axes; 1 over no elements. The derivative is right where elements are 0.
    #[track_caller]
    pub fn prod(self, axes: impl Into<AxisSpec>) -> Tensor<'g> {
        self.reduce(Combine::Prod, axes.into())
    }

    /// The largest element along the axes, NaN if one is; ties share the cotangent equally.
    /// An error over no elements.
    #[track_caller]
    pub fn max(self, axes: impl Into<AxisSpec>) -> Tensor<'g> {
        self.reduce(Combine::Max, axes.into())
    }

    /// The smallest element along the axes, NaN if one is; ties share the cotangent equally.
    /// An error over no elements.
    #[track_caller]
    pub fn min(self, axes: impl Into<AxisSpec>) -> Tensor<'g> {
        self.reduce(Combine::Min, axes.into())
    }

    /// The mean over the axes. An error over no elements.
    #[track_caller]
    pub fn mean(self, axes: impl Into<AxisSpec>) -> Tensor<'g> {
        let spec = axes.into();
        let axes = match spec.resolve(self.ty()) {
            Ok(axes) => axes,
            Err(error) => return self.poison("mean", error),
        };
        let count: usize = axes.iter().map(|axis| self.shape().extents()[axis]).product();
        if count == 0 {
            let message = format!("{} has no elements along axes {axes}", self.ty());
            return self.poison("mean", TypeError::Invalid(message));
        }
        if !self.dtype().is_float() {
            return self.poison("mean", TypeError::DType { ty: self.ty(), expected: "f32 or f64" });
        }
        spec.arrange(self.reduced(Combine::Sum, axes) / count as f64, self.shape(), axes)
    }

    /// The population variance over the axes: the mean of the squared distances from the mean.
    #[track_caller]
    pub fn variance(self, axes: impl Into<AxisSpec>) -> Tensor<'g> {
        let axes = axes.into();
        (self - self.mean(keep(axes.clone()))).square().mean(axes)
    }

    /// Whether any element along the axes of this bool tensor is true; false over no elements.
    #[track_caller]
    pub fn any(self, axes: impl Into<AxisSpec>) -> Tensor<'g> {
        self.cast(DType::I32).sum(axes).not_equal(0.0)
    }

    /// Whether all elements along the axes of this bool tensor are true; true over no elements.
    #[track_caller]
    pub fn all(self, axes: impl Into<AxisSpec>) -> Tensor<'g> {
        !(!self).any(axes)
    }

    /// The index along an axis of the first largest element, as i64; over several axes, the row-major index among them.
    /// An error over no elements.
    #[track_caller]
    pub fn argmax(self, axes: impl Into<AxisSpec>) -> Tensor<'g> {
        self.first_equal("argmax", Combine::Max, axes.into())
    }

    /// The index along an axis of the first smallest element, as i64; over several axes, the row-major index among them.
    /// An error over no elements.
    #[track_caller]
    pub fn argmin(self, axes: impl Into<AxisSpec>) -> Tensor<'g> {
        self.first_equal("argmin", Combine::Min, axes.into())
    }

    /// The first index along the axes at which an element equals the reduced one; that of the first NaN, if one is.
    #[track_caller]
    fn first_equal(self, op: &str, combine: Combine, spec: AxisSpec) -> Tensor<'g> {
        let axes = match spec.resolve(self.ty()) {
            Ok(axes) => axes,
            Err(error) => return self.poison(op, error),
        };
        let reduced = self.reduced(combine, axes);
        if reduced.is_poison() {
            return reduced;
        }
        let found = self.equal(reduced.spread(self.shape(), axes)) | self.is_nan();
        // Indices as wide as f32 run on as many lanes.
        let count =
            axes.iter().fold(1usize, |count, axis| count.saturating_mul(self.shape().extents()[axis]));
        let (dtype, beyond) = match i32::try_from(count) {
            Ok(_) => (DType::I32, i32::MAX as f64),
            Err(_) => (DType::I64, i64::MAX as f64),
        };
        let first = found.select(self.position(axes, dtype), beyond).reduced(Combine::Min, axes);
        spec.arrange(first.cast(DType::I64), self.shape(), axes)
    }

    /// Each element's row-major index among these axes.
    #[track_caller]
    fn position(self, axes: Axes, dtype: DType) -> Tensor<'g> {
        let mut position = None;
        for axis in axes.iter() {
            let along = self.graph.iota(self.shape(), axis, dtype);
            position = Some(match position {
                Some(outer) => outer * self.shape().extents()[axis] as f64 + along,
                None => along,
            });
        }
        position.unwrap_or(self.graph.constant(0.0, self.shape(), dtype))
    }

    #[track_caller]
    fn reduce(self, combine: Combine, spec: AxisSpec) -> Tensor<'g> {
        match spec.resolve(self.ty()) {
            Ok(axes) => spec.arrange(self.reduced(combine, axes), self.shape(), axes),
            Err(error) => self.poison(Reduce { combine, axes: Axes::default() }.name(), error),
        }
    }

    #[track_caller]
    fn reduced(self, combine: Combine, axes: Axes) -> Tensor<'g> {
        Tensor::apply(Op::Reduce(Reduce { combine, axes }), &[self])
    }

    /// Repeats a reduced tensor along the axes it lost, giving `shape` back.
    #[track_caller]
    pub(crate) fn spread(self, shape: Shape, lost: Axes) -> Tensor<'g> {
        let kept: Vec<usize> = (0..shape.rank()).filter(|&axis| !lost.contains(axis)).collect();
        self.broadcast_in(shape, &kept)
    }
}

impl Reduce {
    /// The literal combined with itself `count` times, where that is one rounding.
    pub(crate) fn repeat(self, value: Scalar, count: usize) -> Option<Scalar> {
        match self.combine {
            Combine::Sum => Some(Scalar::from_f64(value.to_f64() * count as f64, value.dtype())),
            Combine::Max | Combine::Min if count > 0 => Some(value),
            _ => None,
        }
    }
}
