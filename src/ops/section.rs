//! Sections: parts of tensors cut out, put into larger ones, put together, and turned round.

use std::fmt;
use std::ops::Range;

use ndarray::{ArrayD, Axis, Slice};

use super::reduce::resolve_axis;
use super::{Emitter, Mapped, Op, Rules, Site, Tensor, Types, expect_operands, with_axes, with_leading};
use crate::error::{Result, TypeError};
use crate::graph::OpText;
use crate::loops::{Affine, Instr, Var};
use crate::types::{Axes, DType, Element, Scalar, Shape, TensorType, Value, map_value, parse_numbers};

/// A section of one tensor, or several sections joined.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Section {
    /// The elements from `start`, as many as `shape`.
    Slice { start: Vec<usize>, shape: Shape },
    /// The operand at `start` in a tensor that is filled with this number.
    Pad { start: Vec<usize>, shape: Shape, value: Scalar },
    /// The operands one after the other along an axis.
    Concat { axis: usize },
    /// The elements in opposite order along these axes.
    Reverse { axes: Axes },
}

impl Rules for Section {
    fn name(&self) -> &'static str {
        match self {
            Section::Slice { .. } => "slice",
            Section::Pad { .. } => "pad",
            Section::Concat { .. } => "concat",
            Section::Reverse { .. } => "reverse",
        }
    }

    fn infer(&self, operands: &[TensorType]) -> Result<TensorType, TypeError> {
        let inside = |start: &[usize], small: Shape, large: Shape| {
            start.len() == small.rank()
                && small.rank() == large.rank()
                && (0..small.rank()).all(|axis| {
                    start[axis]
                        .checked_add(small.extents()[axis])
                        .is_some_and(|end| end <= large.extents()[axis])
                })
        };
        match self {
            Section::Slice { start, shape } => match expect_operands(operands)? {
                [x] if inside(start, *shape, x.shape) => Ok(TensorType { shape: *shape, ..x }),
                [x] => Err(TypeError::Invalid(format!("{x} has no section of shape {shape} from {start:?}"))),
            },
            Section::Pad { start, shape, value } => match expect_operands(operands)? {
                [x] if value.dtype() != x.dtype => {
                    Err(TypeError::Invalid(format!("{x} cannot be filled up with {value} {}", value.dtype())))
                }
                [x] if inside(start, x.shape, *shape) => Ok(TensorType { shape: *shape, ..x }),
                [x] => Err(TypeError::Invalid(format!("{x} does not fit into {shape} at {start:?}"))),
            },
            Section::Concat { axis } => infer_concat(*axis, operands),
            Section::Reverse { axes } => {
                let [x] = expect_operands(operands)?;
                let outside = axes.iter().find(|&axis| axis >= x.shape.rank());
                outside.map_or(Ok(x), |axis| Err(TypeError::Axis { axis: axis as isize, ty: x }))
            }
        }
    }

    fn vjp<'g>(&self, site: &Site<'g>, operand: usize, dy: Tensor<'g>) -> Option<Tensor<'g>> {
        let x = site.operands[operand].shape();
        Some(match self {
            Section::Slice { start, .. } => dy.pad_to(start.clone(), x, 0.0),
            Section::Pad { start, .. } => apply(Section::Slice { start: start.clone(), shape: x }, &[dy]),
            Section::Concat { axis } => {
                let mut start = vec![0; x.rank()];
                start[*axis] = site.operands[..operand].iter().map(|x| x.shape().extents()[*axis]).sum();
                apply(Section::Slice { start, shape: x }, &[dy])
            }
            Section::Reverse { .. } => apply(self.clone(), &[dy]),
        })
    }

    fn jvp<'g>(&self, site: &Site<'g>, tangents: &[Option<Tensor<'g>>]) -> Option<Tensor<'g>> {
        let moved = |(x, dx): (&Tensor<'g>, &Option<Tensor<'g>>)| dx.unwrap_or_else(|| x.constant_like(0.0));
        let tangents: Vec<Tensor<'g>> = site.operands.iter().zip(tangents).map(moved).collect();
        Some(match self {
            Section::Pad { start, shape, .. } => tangents[0].pad_to(start.clone(), *shape, 0.0),
            Section::Slice { .. } | Section::Concat { .. } | Section::Reverse { .. } => {
                apply(self.clone(), &tangents)
            }
        })
    }

    fn batch<'g>(&self, operands: &[Mapped<'g>]) -> Tensor<'g> {
        let samples = operands.iter().find_map(|operand| operand.samples).unwrap_or(1);
        let from = |start: &[usize]| [&[0], start].concat();
        let batched = match self {
            Section::Slice { start, shape } => {
                Section::Slice { start: from(start), shape: with_leading(samples, *shape) }
            }
            Section::Pad { start, shape, value } => {
                Section::Pad { start: from(start), shape: with_leading(samples, *shape), value: *value }
            }
            Section::Concat { axis } => Section::Concat { axis: axis + 1 },
            Section::Reverse { axes } => {
                Section::Reverse { axes: axes.iter().map(|axis| axis + 1).collect() }
            }
        };
        apply(batched, &with_axes(operands))
    }

    fn evaluate(&self, operands: &[&Value], ty: TensorType) -> Value {
        map_value!(operands[0], x => self.evaluate_array(x, operands, ty))
    }

    fn lower(&self, types: &Types, index: &[Affine], emitter: &mut dyn Emitter) -> Var {
        match self {
            Section::Slice { start, .. } => emitter.operand(0, &moved(index, start, 1)),
            Section::Pad { start, value, .. } => {
                let outside = emitter.emit(Instr::Constant(*value), types.result.dtype);
                within(emitter, 0, &moved(index, start, -1), types, outside)
            }
            Section::Concat { axis } => lower_concat(*axis, types, index, emitter),
            Section::Reverse { axes } => {
                let turned = |(axis, index): (usize, &Affine)| match axes.contains(axis) {
                    true => Affine::constant(types.result.shape.extents()[axis] as i64 - 1)
                        .plus(&index.scaled(-1)),
                    false => index.clone(),
                };
                let turned: Vec<Affine> = index.iter().enumerate().map(turned).collect();
                emitter.operand(0, &turned)
            }
        }
    }
}

impl Section {
    fn evaluate_array<T: Element + Default>(
        &self,
        x: &ArrayD<T>,
        operands: &[&Value],
        ty: TensorType,
    ) -> Value {
        let window = |start: &[usize], shape: Shape, axis: Axis| {
            let from = start[axis.index()];
            Slice::from(from..from + shape.extents()[axis.index()])
        };
        match self {
            Section::Slice { start, shape } => {
                x.slice_each_axis(|axis| window(start, *shape, axis.axis)).into()
            }
            Section::Pad { start, value, .. } => {
                let filled = Value::splat(*value, ty.shape);
                let Some(mut padded) = T::array(&filled).cloned() else {
                    unreachable!("the type rule compares the types")
                };
                padded.slice_each_axis_mut(|axis| window(start, Shape::of(x.shape()), axis.axis)).assign(x);
                padded.into()
            }
            Section::Concat { axis } => {
                let parts: Vec<_> =
                    operands.iter().filter_map(|part| T::array(part)).map(|part| part.view()).collect();
                ndarray::concatenate(Axis(*axis), &parts).map_or_else(|_| x.into(), Value::from)
            }
            Section::Reverse { axes } => {
                let mut turned = x.view();
                axes.iter().for_each(|axis| turned.invert_axis(Axis(axis)));
                turned.into()
            }
        }
    }
}

fn infer_concat(axis: usize, operands: &[TensorType]) -> Result<TensorType, TypeError> {
    let Some(&first) = operands.first() else {
        return Err(TypeError::Invalid("there is nothing to put together".into()));
    };
    if axis >= first.shape.rank() {
        return Err(TypeError::Axis { axis: axis as isize, ty: first });
    }
    let mut extents = first.shape.extents().to_vec();
    for &other in &operands[1..] {
        if other.dtype != first.dtype {
            return Err(TypeError::DTypes { lhs: first, rhs: other });
        }
        let elsewhere = |ty: TensorType| ty.shape.without([axis].into_iter().collect());
        if other.shape.rank() != first.shape.rank() || elsewhere(other) != elsewhere(first) {
            let expected = format!("they may differ along axis {axis} only");
            return Err(TypeError::Mismatch { lhs: first, rhs: other, expected });
        }
        extents[axis] += other.shape.extents()[axis];
    }
    Ok(TensorType { dtype: first.dtype, shape: Shape::of(&extents) })
}

/// The index moved by `sign · start`.
fn moved(index: &[Affine], start: &[usize], sign: i64) -> Vec<Affine> {
    index
        .iter()
        .zip(start)
        .map(|(index, &start)| index.plus(&Affine::constant(sign * start as i64)))
        .collect()
}

/// The operand's element where the index is inside it, else `outside`.
fn within(emitter: &mut dyn Emitter, operand: usize, index: &[Affine], types: &Types, outside: Var) -> Var {
    let (part, whole) = (types.operands[operand].shape, types.result.shape);
    // Along an axis that is whole every index is inside.
    let ranges: Vec<(Affine, i64)> = (0..index.len())
        .filter(|&axis| part.extents()[axis] != whole.extents()[axis])
        .map(|axis| (index[axis].clone(), part.extents()[axis] as i64))
        .collect();
    if ranges.is_empty() {
        return emitter.operand(operand, index);
    }
    let inside = emitter.emit(Instr::Within(ranges.clone()), DType::Bool);
    let value = emitter.guarded(&ranges, operand, index);
    emitter.emit(Instr::Select(inside, value, outside), types.result.dtype)
}

/// A chain of choices, the last operand first.
fn lower_concat(axis: usize, types: &Types, index: &[Affine], emitter: &mut dyn Emitter) -> Var {
    let zero = Scalar::from_f64(0.0, types.result.dtype);
    let mut value = emitter.emit(Instr::Constant(zero), types.result.dtype);
    let mut begin = 0;
    for (operand, ty) in types.operands.iter().enumerate() {
        let mut start = vec![0; index.len()];
        start[axis] = begin;
        value = within(emitter, operand, &moved(index, &start, -1), types, value);
        begin += ty.shape.extents()[axis];
    }
    value
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Section::Pad { start, value, .. } if value.bits() != 0 => write!(f, "pad{start:?} with {value}"),
            Section::Slice { start, .. } | Section::Pad { start, .. } => {
                write!(f, "{}{start:?}", self.name())
            }
            Section::Concat { axis } => write!(f, "concat[{axis}]"),
            Section::Reverse { axes } => write!(f, "reverse[{axes}]"),
        }
    }
}

impl Section {
    /// The operator that prints as this text.
    pub(super) fn parse(text: &OpText<'_>) -> Option<Section> {
        let shape = text.ty.shape;
        if let ("pad", Some((start, value))) = (text.name, text.attributes.split_once(" with ")) {
            let start = parse_numbers(start.strip_prefix('[')?.strip_suffix(']')?)?;
            return Some(Section::Pad { start, shape, value: Scalar::parse(value, text.ty.dtype)? });
        }
        let numbers = text.numbers()?;
        match text.name {
            "slice" => Some(Section::Slice { start: numbers, shape }),
            "pad" => {
                Some(Section::Pad { start: numbers, shape, value: Scalar::from_f64(0.0, text.ty.dtype) })
            }
            "concat" => Some(Section::Concat { axis: *numbers.first()? }),
            "reverse" => Some(Section::Reverse { axes: numbers.into_iter().collect() }),
            _ => None,
        }
    }
}

#[track_caller]
fn apply<'g>(section: Section, operands: &[Tensor<'g>]) -> Tensor<'g> {
    Tensor::apply(Op::Section(section), operands)
}

impl<'g> Tensor<'g> {
    /// The elements at these positions of an axis.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let x = g.input("x", [5, 3], F32);
    /// assert_eq!(x.slice(0, 1..4).ty().to_string(), "f32[3,3]");
    /// ```
    #[track_caller]
    pub fn slice(self, axis: isize, positions: Range<usize>) -> Tensor<'g> {
        let at = match resolve_axis(axis, self.ty()) {
            Ok(at) => at,
            Err(error) => return self.poison("slice", error),
        };
        let (mut start, mut extents) = (vec![0; self.shape().rank()], self.shape().extents().to_vec());
        start[at] = positions.start;
        extents[at] = positions.end.saturating_sub(positions.start);
        apply(Section::Slice { start, shape: Shape::of(&extents) }, &[self])
    }

    /// Every `step`-th of the elements at these positions of an axis; an error for a step of 0.
    #[track_caller]
    pub fn slice_step(self, axis: isize, positions: Range<usize>, step: usize) -> Tensor<'g> {
        if step == 0 {
            return self.poison("slice_step", TypeError::Invalid("a step of 0 leads nowhere".into()));
        }
        let section = self.slice(axis, positions);
        let (Ok(at), false) = (resolve_axis(axis, section.ty()), section.is_poison()) else { return section };
        let count = section.shape().extents()[at].div_ceil(step);
        // In rows of `step`, the first column.
        let short = count * step - section.shape().extents()[at];
        let mut extents = section.shape().extents().to_vec();
        extents.splice(at..=at, [count, step]);
        let rows = section.pad(axis, 0, short).reshape(Shape::of(&extents));
        rows.slice(at as isize + 1, 0..1).squeeze(at as isize + 1)
    }

    /// The elements at one position of an axis, which goes.
    #[track_caller]
    pub fn index(self, axis: isize, position: usize) -> Tensor<'g> {
        let section = self.slice(axis, position..position.saturating_add(1));
        if section.is_poison() { section } else { section.squeeze(axis) }
    }

    /// The tensor with zeros before and after along an axis. See [`Tensor::pad_with`] for other values, and for cropping.
    #[track_caller]
    pub fn pad(self, axis: isize, before: usize, after: usize) -> Tensor<'g> {
        match resolve_axis(axis, self.ty()) {
            Ok(at) => self.pad_by(at, [before, after], 0.0),
            Err(error) => self.poison("pad", error),
        }
    }

    /// The tensor with this number, as one of its own type, before and after along an axis; negative amounts crop.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let x = g.input("x", [3], F32);
    /// // Moved on by one: the first element is new, the last is lost.
    /// let moved = x.pad_with(0, 1, -1, f64::NEG_INFINITY);
    /// let values = g.interpret(&[("moved", moved)], &[("x", array![1.0f32, 2.0, 3.0].into())])?;
    /// assert_eq!(values["moved"], array![f32::NEG_INFINITY, 1.0, 2.0].into());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn pad_with(self, axis: isize, before: isize, after: isize, value: f64) -> Tensor<'g> {
        let at = match resolve_axis(axis, self.ty()) {
            Ok(at) => at,
            Err(error) => return self.poison("pad", error),
        };
        let extent = self.shape().extents()[at];
        let [cropped, added] = [-1, 1]
            .map(|sign| [before, after].map(|amount| amount.saturating_mul(sign).max(0).unsigned_abs()));
        let Some(end) = extent.checked_sub(cropped[1]).filter(|&end| end >= cropped[0]) else {
            let message =
                format!("{before} before and {after} after crop more than axis {at} of {} has", self.ty());
            return self.poison("pad", TypeError::Invalid(message));
        };
        let inner = if end - cropped[0] < extent { self.slice(axis, cropped[0]..end) } else { self };
        if added == [0, 0] { inner } else { inner.pad_by(at, added, value) }
    }

    #[track_caller]
    fn pad_by(self, axis: usize, [before, after]: [usize; 2], value: f64) -> Tensor<'g> {
        if self.is_poison() {
            return self;
        }
        let (mut start, mut extents) = (vec![0; self.shape().rank()], self.shape().extents().to_vec());
        start[axis] = before;
        extents[axis] = extents[axis].saturating_add(before).saturating_add(after);
        self.pad_to(start, Shape::of(&extents), value)
    }

    /// The tensor at `start` in one of this shape that is filled with `value`.
    #[track_caller]
    pub(crate) fn pad_to(self, start: Vec<usize>, shape: Shape, value: f64) -> Tensor<'g> {
        let value = Scalar::from_f64(value, self.dtype());
        apply(Section::Pad { start, shape, value }, &[self])
    }

    /// The elements moved on along an axis, those that leave at the end coming in at the front: `numpy.roll`.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let rolled = g.iota([4], 0, I32).roll(0, 1);
    /// assert_eq!(g.interpret(&[("rolled", rolled)], &[])?["rolled"], array![3, 0, 1, 2].into());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn roll(self, axis: isize, by: isize) -> Tensor<'g> {
        let at = match resolve_axis(axis, self.ty()) {
            Ok(at) => at,
            Err(error) => return self.poison("roll", error),
        };
        let extent = self.shape().extents()[at];
        let by = by.checked_rem_euclid(extent as isize).unwrap_or(0).unsigned_abs();
        if by == 0 {
            return self;
        }
        self.slice(axis, extent - by..extent).concat(&[self.slice(axis, 0..extent - by)], axis)
    }

    /// This tensor and the others one after the other along an axis.
    #[track_caller]
    pub fn concat(self, others: &[Tensor<'g>], axis: isize) -> Tensor<'g> {
        match resolve_axis(axis, self.ty()) {
            Ok(axis) => apply(Section::Concat { axis }, &[&[self], others].concat()),
            Err(error) => self.poison("concat", error),
        }
    }

    /// This tensor and the others, of one shape, along a new axis.
    #[track_caller]
    pub fn stack(self, others: &[Tensor<'g>], axis: isize) -> Tensor<'g> {
        // Loops, not closures: nodes are to carry the caller's line.
        let mut rows = Vec::with_capacity(others.len());
        for other in others {
            rows.push(other.unsqueeze(axis));
        }
        self.unsqueeze(axis).concat(&rows, axis)
    }

    /// The tensor in sections of these extents along an axis. The extents must sum up to the axis's.
    #[track_caller]
    pub fn split(self, axis: isize, extents: &[usize]) -> Vec<Tensor<'g>> {
        let whole = resolve_axis(axis, self.ty()).map_or(0, |at| self.shape().extents()[at]);
        if extents.iter().sum::<usize>() != whole {
            let message = format!("sections of {extents:?} do not sum up to axis {axis} of {}", self.ty());
            return vec![self.poison("split", TypeError::Invalid(message)); extents.len()];
        }
        let (mut sections, mut start) = (Vec::with_capacity(extents.len()), 0);
        for extent in extents {
            sections.push(self.slice(axis, start..start + extent));
            start += extent;
        }
        sections
    }

    /// The elements in opposite order along an axis.
    #[track_caller]
    pub fn reverse(self, axis: isize) -> Tensor<'g> {
        match resolve_axis(axis, self.ty()) {
            Ok(axis) => apply(Section::Reverse { axes: [axis].into_iter().collect() }, &[self]),
            Err(error) => self.poison("reverse", error),
        }
    }

    /// The tensor `times` times, one after the other, along an axis.
    #[track_caller]
    pub fn tile(self, axis: isize, times: usize) -> Tensor<'g> {
        let at = match resolve_axis(axis, self.ty()) {
            Ok(at) => at,
            Err(error) => return self.poison("tile", error),
        };
        let mut extents = self.shape().extents().to_vec();
        extents[at] = extents[at].saturating_mul(times);
        let row = self.unsqueeze(at as isize);
        let mut repeated = row.shape().extents().to_vec();
        if row.is_poison() {
            return row;
        }
        repeated[at] = times;
        row.broadcast_to(Shape::of(&repeated)).reshape(Shape::of(&extents))
    }
}
