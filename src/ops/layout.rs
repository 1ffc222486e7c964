//! Layout operators: the same elements at other indices.

use std::fmt;

use ndarray::IxDyn;

use super::reduce::resolve_axis;
use super::{Emitter, Mapped, Op, Reads, Rules, Site, Tensor, Types, expect_operands, with_leading};
use crate::error::{Result, TypeError};
use crate::graph::OpText;
use crate::loops::{Affine, Var};
use crate::types::{Axes, MAX_RANK, Shape, TensorType, Value, map_value};

/// A rearrangement of elements.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// The same elements in row-major order under another shape.
    Reshape(Shape),
    /// Axis `i` of the result is axis `permutation[i]` of the operand.
    Transpose(Vec<usize>),
    /// Axis `i` of the operand becomes axis `axes[i]` of the result (ascending), where an extent of 1
    /// stretches; the other axes repeat the operand.
    Broadcast { shape: Shape, axes: Vec<usize> },
}

impl Rules for Layout {
    fn name(&self) -> &'static str {
        match self {
            Layout::Reshape(_) => "reshape",
            Layout::Transpose(_) => "transpose",
            Layout::Broadcast { .. } => "broadcast",
        }
    }

    fn infer(&self, operands: &[TensorType]) -> Result<TensorType, TypeError> {
        let [x] = expect_operands(operands)?;
        let shape = match self {
            Layout::Reshape(shape) => {
                shape.check().map_err(|error| TypeError::Invalid(error.to_string()))?;
                if shape.elements() != x.shape.elements() {
                    let (have, want) = (x.shape.elements(), shape.elements());
                    let message =
                        format!("{x} has {have} elements and cannot become {shape}, which has {want}");
                    return Err(TypeError::Invalid(message));
                }
                *shape
            }
            Layout::Transpose(permutation) => {
                let mut sorted = permutation.clone();
                sorted.sort_unstable();
                if !sorted.into_iter().eq(0..x.shape.rank()) {
                    let message = format!("{permutation:?} is no permutation of the axes of {x}");
                    return Err(TypeError::Invalid(message));
                }
                let extents: Vec<usize> = permutation.iter().map(|&axis| x.shape.extents()[axis]).collect();
                Shape::of(&extents)
            }
            Layout::Broadcast { shape, axes } => {
                let fits = axes.len() == x.shape.rank()
                    && axes.windows(2).all(|pair| pair[0] < pair[1])
                    && axes.iter().zip(x.shape.extents()).all(|(&axis, &extent)| {
                        axis < shape.rank() && (extent == 1 || extent == shape.extents()[axis])
                    });
                if !fits {
                    let message = format!("{x} cannot be broadcast to {shape} along axes {axes:?}");
                    return Err(TypeError::Invalid(message));
                }
                *shape
            }
        };
        Ok(TensorType { dtype: x.dtype, shape })
    }

    fn vjp<'g>(&self, site: &Site<'g>, _: usize, dy: Tensor<'g>) -> Option<Tensor<'g>> {
        let x = site.operands[0].shape();
        Some(match self {
            Layout::Reshape(_) => dy.reshape(x),
            Layout::Transpose(permutation) => dy.permute(&inverse(permutation)),
            Layout::Broadcast { .. } => dy.sum_repeats(self.repeated(x)).reshape(x),
        })
    }

    fn jvp<'g>(&self, _: &Site<'g>, tangents: &[Option<Tensor<'g>>]) -> Option<Tensor<'g>> {
        Some(Tensor::apply(Op::Layout(self.clone()), &[tangents[0]?]))
    }

    fn batch<'g>(&self, operands: &[Mapped<'g>]) -> Tensor<'g> {
        let Mapped { tensor, samples } = operands[0];
        let samples = samples.unwrap_or(1);
        let shifted = |axes: &[usize]| [0].into_iter().chain(axes.iter().map(|axis| axis + 1)).collect();
        let batched = match self {
            Layout::Reshape(shape) => Layout::Reshape(with_leading(samples, *shape)),
            Layout::Transpose(permutation) => Layout::Transpose(shifted(permutation)),
            Layout::Broadcast { shape, axes } => {
                Layout::Broadcast { shape: with_leading(samples, *shape), axes: shifted(axes) }
            }
        };
        Tensor::apply(Op::Layout(batched), &[tensor])
    }

    fn evaluate(&self, operands: &[&Value], ty: TensorType) -> Value {
        map_value!(operands[0], x => match self {
            Layout::Reshape(shape) => {
                let elements = x.iter().copied().collect();
                match ndarray::ArrayD::from_shape_vec(IxDyn(shape.extents()), elements) {
                    Ok(array) => array.into(),
                    Err(_) => unreachable!("the type rule compares the counts"),
                }
            }
            Layout::Transpose(permutation) => x.view().permuted_axes(IxDyn(permutation)).into(),
            Layout::Broadcast { axes, .. } => {
                let strides: Vec<usize> = x.shape().to_vec();
                ndarray::ArrayD::from_shape_fn(IxDyn(ty.shape.extents()), |index| {
                    let source: Vec<usize> = axes
                        .iter()
                        .zip(&strides)
                        .map(|(&axis, &extent)| if extent == 1 { 0 } else { index[axis] })
                        .collect();
                    x[&source[..]]
                })
                .into()
            }
        })
    }

    fn lower(&self, types: &Types, index: &[Affine], emitter: &mut dyn Emitter) -> Var {
        let x = types.operands[0].shape;
        match self {
            Layout::Reshape(shape) => match merged_index(index, *shape, x) {
                Some(merged) => emitter.operand(0, &merged),
                None => emitter.linear(0, Affine::linear(index, shape.extents())),
            },
            Layout::Transpose(permutation) => {
                let source: Vec<Affine> =
                    inverse(permutation).into_iter().map(|axis| index[axis].clone()).collect();
                emitter.operand(0, &source)
            }
            Layout::Broadcast { axes, .. } => {
                let source: Vec<Affine> = axes
                    .iter()
                    .zip(x.extents())
                    .map(|(&axis, &extent)| if extent == 1 { Affine::default() } else { index[axis].clone() })
                    .collect();
                emitter.operand(0, &source)
            }
        }
    }

    fn reads(&self, types: &Types, _: usize) -> Reads {
        let x = types.operands[0].shape;
        match self {
            Layout::Reshape(shape) => {
                let index = vec![Affine::default(); shape.rank()];
                if merged_index(&index, *shape, x).is_some() { Reads::Once } else { Reads::Linear }
            }
            Layout::Transpose(_) => Reads::Once,
            Layout::Broadcast { shape, .. } if shape.elements() > x.elements() => Reads::Repeatedly,
            Layout::Broadcast { .. } => Reads::Once,
        }
    }
}

impl Layout {
    /// The axes of a broadcast's result along which the operand, of this shape, is repeated.
    pub(crate) fn repeated(&self, operand: Shape) -> Axes {
        let Layout::Broadcast { shape, axes } = self else { return Axes::default() };
        let source = |axis: usize| axes.iter().position(|&a| a == axis);
        let is_repeated = |&axis: &usize| match source(axis) {
            Some(from) => operand.extents()[from] != shape.extents()[axis],
            None => true,
        };
        (0..shape.rank()).filter(is_repeated).collect()
    }
}

/// The permutation that undoes this one.
pub(crate) fn inverse(permutation: &[usize]) -> Vec<usize> {
    let mut inverse = vec![0; permutation.len()];
    for (to, &from) in permutation.iter().enumerate() {
        inverse[from] = to;
    }
    inverse
}

/// The operand's index for an index of the reshaped result, where each axis of the operand is a run of
/// axes of the result. `None` where an axis of the result runs over several of the operand's.
fn merged_index(index: &[Affine], result: Shape, operand: Shape) -> Option<Vec<Affine>> {
    let mut at = 0;
    let mut merged = Vec::with_capacity(operand.rank());
    for &extent in operand.extents() {
        let (mut sum, mut covered) = (Affine::default(), 1);
        while covered < extent {
            let step = *result.extents().get(at)?;
            sum = if step == 1 { sum } else { sum.scaled(step as i64).plus(&index[at]) };
            covered *= step;
            at += 1;
        }
        if covered != extent {
            return None;
        }
        merged.push(sum);
    }
    result.extents()[at..].iter().all(|&extent| extent == 1).then_some(merged)
}

/// Whether each axis of one shape is a run of axes of the other, and some are several.
pub(crate) fn is_finer(fine: Shape, coarse: Shape) -> bool {
    let covers = |fine: Shape, coarse: Shape| {
        merged_index(&vec![Affine::default(); fine.rank()], fine, coarse).is_some()
    };
    covers(fine, coarse) && !covers(coarse, fine)
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Layout::Reshape(_) => write!(f, "reshape"),
            Layout::Transpose(permutation) => write!(f, "transpose{permutation:?}"),
            Layout::Broadcast { axes, .. } => write!(f, "broadcast{axes:?}"),
        }
    }
}

impl Layout {
    /// The operator that prints as this text.
    pub(super) fn parse(text: &OpText<'_>) -> Option<Layout> {
        let (axes, shape) = (text.numbers()?, text.ty.shape);
        match text.name {
            "reshape" => Some(Layout::Reshape(shape)),
            "transpose" => Some(Layout::Transpose(axes)),
            "broadcast" => Some(Layout::Broadcast { shape, axes }),
            _ => None,
        }
    }
}

/// A shape to be taken by a tensor: extents, one of which may be −1 for what the others leave of its elements.
#[derive(Clone, Debug)]
pub enum ShapeSpec {
    Exactly(Shape),
    Open(Vec<isize>),
}

impl From<Shape> for ShapeSpec {
    fn from(shape: Shape) -> ShapeSpec {
        ShapeSpec::Exactly(shape)
    }
}

impl<const N: usize> From<[usize; N]> for ShapeSpec {
    fn from(extents: [usize; N]) -> ShapeSpec {
        ShapeSpec::Exactly(extents.into())
    }
}

impl<const N: usize> From<[isize; N]> for ShapeSpec {
    fn from(extents: [isize; N]) -> ShapeSpec {
        ShapeSpec::Open(extents.to_vec())
    }
}

/// What literals such as `[2, -1]` are, where nothing says otherwise.
impl<const N: usize> From<[i32; N]> for ShapeSpec {
    fn from(extents: [i32; N]) -> ShapeSpec {
        ShapeSpec::Open(extents.map(|extent| extent as isize).to_vec())
    }
}

impl From<&[isize]> for ShapeSpec {
    fn from(extents: &[isize]) -> ShapeSpec {
        ShapeSpec::Open(extents.to_vec())
    }
}

impl ShapeSpec {
    /// The shape for a tensor of this type.
    fn resolve(&self, ty: TensorType) -> Result<Shape, TypeError> {
        let extents = match self {
            ShapeSpec::Exactly(shape) => return Ok(*shape),
            ShapeSpec::Open(extents) => extents,
        };
        let invalid = |what: &str| Err(TypeError::Invalid(format!("{ty} cannot become {extents:?}: {what}")));
        if extents.len() > MAX_RANK {
            return invalid("a tensor has at most 8 axes");
        }
        if extents.iter().any(|&extent| extent < -1) || extents.iter().filter(|&&e| e == -1).count() > 1 {
            return invalid("one extent may be -1, the others are counts");
        }
        let known = extents.iter().filter(|&&extent| extent != -1);
        let known = known.fold(1usize, |product, &extent| product.saturating_mul(extent as usize));
        let elements = ty.shape.elements();
        if extents.contains(&-1) && known == 0 {
            return invalid("beside an extent of 0, -1 could be anything");
        }
        if extents.contains(&-1) && !elements.is_multiple_of(known) {
            return invalid(&format!("its {elements} elements are no multiple of {known}"));
        }
        let left = elements.checked_div(known).unwrap_or(0);
        let extents: Vec<usize> =
            extents.iter().map(|&extent| if extent == -1 { left } else { extent as usize }).collect();
        Ok(Shape::of(&extents))
    }
}

impl<'g> Tensor<'g> {
    /// The same elements in row-major order under another shape of as many elements. One extent may be −1: it is what the
    /// others leave.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let x = g.input("x", [4, 3, 2], F32);
    /// assert_eq!(x.reshape([4, 6]).ty().to_string(), "f32[4,6]");
    /// assert_eq!(x.reshape([-1, 8]).ty().to_string(), "f32[3,8]");
    /// ```
    #[track_caller]
    pub fn reshape(self, shape: impl Into<ShapeSpec>) -> Tensor<'g> {
        match shape.into().resolve(self.ty()) {
            Ok(shape) if shape == self.shape() && !self.is_poison() => self,
            Ok(shape) => Tensor::apply(Op::Layout(Layout::Reshape(shape)), &[self]),
            Err(error) => self.poison("reshape", error),
        }
    }

    /// All elements in row-major order, along one axis.
    #[track_caller]
    pub fn flatten(self) -> Tensor<'g> {
        self.reshape([self.shape().elements()])
    }

    /// Axis `i` of the result is axis `permutation[i]` of this tensor.
    #[track_caller]
    pub fn permute(self, permutation: &[usize]) -> Tensor<'g> {
        Tensor::apply(Op::Layout(Layout::Transpose(permutation.to_vec())), &[self])
    }

    /// The last two axes exchanged; an error below rank 2.
    #[track_caller]
    pub fn transpose(self) -> Tensor<'g> {
        let rank = self.shape().rank();
        if rank < 2 {
            let message = format!("{} has fewer than two axes", self.ty());
            return self.poison("transpose", TypeError::Invalid(message));
        }
        let mut permutation: Vec<usize> = (0..rank).collect();
        permutation.swap(rank - 1, rank - 2);
        self.permute(&permutation)
    }

    /// Two axes exchanged.
    #[track_caller]
    pub fn swap_axes(self, first: isize, second: isize) -> Tensor<'g> {
        match (resolve_axis(first, self.ty()), resolve_axis(second, self.ty())) {
            (Ok(first), Ok(second)) => {
                let mut permutation: Vec<usize> = (0..self.shape().rank()).collect();
                permutation.swap(first, second);
                self.permute(&permutation)
            }
            (Err(error), _) | (_, Err(error)) => self.poison("swap_axes", error),
        }
    }

    /// One axis moved to another position, the others in their order: `numpy.moveaxis`.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let x = g.input("x", [4, 3, 2], F32);
    /// assert_eq!(x.move_axis(0, -1).ty().to_string(), "f32[3,2,4]");
    /// ```
    #[track_caller]
    pub fn move_axis(self, from: isize, to: isize) -> Tensor<'g> {
        match (resolve_axis(from, self.ty()), resolve_axis(to, self.ty())) {
            (Ok(from), Ok(to)) => {
                let mut permutation: Vec<usize> = (0..self.shape().rank()).collect();
                let axis = permutation.remove(from);
                permutation.insert(to, axis);
                self.permute(&permutation)
            }
            (Err(error), _) | (_, Err(error)) => self.poison("move_axis", error),
        }
    }

    /// The tensor repeated to `shape` by NumPy's rule.
    #[track_caller]
    pub fn broadcast_to(self, shape: impl Into<Shape>) -> Tensor<'g> {
        let shape = shape.into();
        let (rank, wide) = (self.shape().rank(), shape.rank());
        if rank > wide {
            let message = format!("{} has more axes than {shape}", self.ty());
            return self.poison("broadcast", TypeError::Invalid(message));
        }
        let axes: Vec<usize> = (wide - rank..wide).collect();
        self.broadcast_in(shape, &axes)
    }

    /// The tensor repeated to `shape`, its axis `i` becoming axis `axes[i]`.
    #[track_caller]
    pub(crate) fn broadcast_in(self, shape: Shape, axes: &[usize]) -> Tensor<'g> {
        if shape == self.shape() && !self.is_poison() {
            return self;
        }
        Tensor::apply(Op::Layout(Layout::Broadcast { shape, axes: axes.to_vec() }), &[self])
    }

    /// The tensor with a new axis of extent 1 before `axis` (negative: counted from the end of the
    /// result).
    #[track_caller]
    pub fn unsqueeze(self, axis: isize) -> Tensor<'g> {
        let rank = self.shape().rank() as isize;
        let at = if axis < 0 { axis + rank + 1 } else { axis };
        if !(0..=rank).contains(&at) || rank as usize == MAX_RANK {
            return self.poison("unsqueeze", TypeError::Axis { axis, ty: self.ty() });
        }
        let mut extents = self.shape().extents().to_vec();
        extents.insert(at as usize, 1);
        self.reshape(Shape::of(&extents))
    }

    /// The tensor without an axis of extent 1.
    #[track_caller]
    pub fn squeeze(self, axis: isize) -> Tensor<'g> {
        match resolve_axis(axis, self.ty()) {
            Ok(at) if self.shape().extents()[at] == 1 => {
                self.reshape(self.shape().without([at].into_iter().collect()))
            }
            Ok(at) => {
                let message = format!("axis {at} of {} is not of extent 1", self.ty());
                self.poison("squeeze", TypeError::Invalid(message))
            }
            Err(error) => self.poison("squeeze", error),
        }
    }

    /// The sum over these axes; the tensor itself if there are none.
    #[track_caller]
    pub(crate) fn sum_repeats(self, axes: Axes) -> Tensor<'g> {
        if axes.is_empty() {
            return self;
        }
        let axes: Vec<isize> = axes.iter().map(|axis| axis as isize).collect();
        self.sum(&axes[..])
    }
}
