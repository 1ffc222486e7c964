//! Sliding windows, from which convolution is a contraction and pooling a reduction, and their transpose, which lays
//! windows over one another and adds up.

use std::fmt;

use ndarray::{ArrayD, AxisDescription, Dimension, IxDyn, Slice};

use super::{Emitter, Mapped, Op, Reads, Rules, Site, Tensor, Types, expect_operands, with_leading};
use crate::error::{Result, TypeError};
use crate::graph::OpText;
use crate::loops::{Affine, Combine, Instr, Var};
use crate::types::{DType, Element, MAX_RANK, Shape, TensorType, Value, map_value};

/// How a window slides along one axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Slide {
    /// The axis of the operand.
    pub axis: usize,
    /// Elements in the window.
    pub size: usize,
    /// Elements from one window to the next.
    pub stride: usize,
    /// Elements from one place in the window to the next.
    pub dilation: usize,
}

impl Slide {
    /// Elements from the first place of the window to the last, both included.
    pub(crate) fn span(&self) -> usize {
        (self.size.max(1) - 1).saturating_mul(self.dilation).saturating_add(1)
    }

    /// Windows that fit.
    fn positions(&self, extent: usize) -> usize {
        (extent - self.span()) / self.stride + 1
    }

    /// The index of a place of a window.
    fn index(&self, position: &Affine, place: &Affine) -> Affine {
        position.scaled(self.stride as i64).plus(&place.scaled(self.dilation as i64))
    }
}

/// Windows of a tensor. The axes slid along hold the windows' positions, and for each of them, in order, an axis behind
/// all others holds the places in the window.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Window {
    /// The windows of the operand.
    Unfold(Vec<Slide>),
    /// The transpose: each element of a result of this shape is the sum of the places, of the operand's windows, that
    /// lie on it.
    Fold(Vec<Slide>, Shape),
}

impl Rules for Window {
    fn name(&self) -> &'static str {
        match self {
            Window::Unfold(_) => "window",
            Window::Fold(..) => "fold",
        }
    }

    fn infer(&self, operands: &[TensorType]) -> Result<TensorType, TypeError> {
        let [x] = expect_operands(operands)?;
        match self {
            Window::Unfold(slides) => unfolded(slides, x),
            Window::Fold(..) if x.dtype == DType::Bool => {
                Err(TypeError::DType { ty: x, expected: "numbers" })
            }
            Window::Fold(slides, shape) => {
                shape.check().map_err(|error| TypeError::Invalid(error.to_string()))?;
                let folded = TensorType { shape: *shape, ..x };
                let windows = unfolded(slides, folded)?;
                if windows != x {
                    let message = format!("{x} cannot be folded to {folded}, whose windows are {windows}");
                    return Err(TypeError::Invalid(message));
                }
                Ok(folded)
            }
        }
    }

    fn vjp<'g>(&self, site: &Site<'g>, _: usize, dy: Tensor<'g>) -> Option<Tensor<'g>> {
        Some(match self {
            Window::Unfold(slides) => dy.fold(slides, site.operands[0].shape()),
            Window::Fold(slides, _) => dy.windows(slides),
        })
    }

    fn jvp<'g>(&self, _: &Site<'g>, tangents: &[Option<Tensor<'g>>]) -> Option<Tensor<'g>> {
        Some(Tensor::apply(Op::Window(self.clone()), &[tangents[0]?]))
    }

    fn batch<'g>(&self, operands: &[Mapped<'g>]) -> Tensor<'g> {
        let Mapped { tensor, samples } = operands[0];
        let behind = |slides: &[Slide]| -> Vec<Slide> {
            slides.iter().map(|slide| Slide { axis: slide.axis + 1, ..*slide }).collect()
        };
        match self {
            Window::Unfold(slides) => tensor.windows(&behind(slides)),
            Window::Fold(slides, shape) => {
                tensor.fold(&behind(slides), with_leading(samples.unwrap_or(1), *shape))
            }
        }
    }

    /// Folds of f32 are accumulated in f64 and rounded once; integers wrap.
    fn evaluate(&self, operands: &[&Value], ty: TensorType) -> Value {
        let shape = ty.shape;
        match (self, operands[0]) {
            (Window::Unfold(slides), x) => map_value!(x, x => view(slides, x, shape)),
            (Window::Fold(slides, _), Value::F32(y)) => {
                overlap(slides, &y.mapv(f64::from), shape, |a, b| a + b).cast(ty.dtype)
            }
            (Window::Fold(slides, _), Value::F64(y)) => overlap(slides, y, shape, |a, b| a + b),
            (Window::Fold(slides, _), Value::I32(y)) => overlap(slides, y, shape, i32::wrapping_add),
            (Window::Fold(slides, _), Value::I64(y)) => overlap(slides, y, shape, i64::wrapping_add),
            (Window::Fold(..), Value::Bool(_)) => unreachable!("refused by the type rule"),
        }
    }

    fn lower(&self, types: &Types, index: &[Affine], emitter: &mut dyn Emitter) -> Var {
        match self {
            Window::Unfold(slides) => {
                let (positions, places) = index.split_at(types.operands[0].shape.rank());
                let mut source = positions.to_vec();
                for (slide, place) in slides.iter().zip(places) {
                    source[slide.axis] = slide.index(&positions[slide.axis], place);
                }
                emitter.operand(0, &source)
            }
            Window::Fold(slides, _) => lower_fold(slides, types, index, emitter),
        }
    }

    fn reads(&self, _: &Types, _: usize) -> Reads {
        let repeats = match self {
            Window::Unfold(slides) => slides.iter().any(|slide| slide.span() > slide.stride),
            // The search among positions passes each element by often.
            Window::Fold(slides, _) => slides.iter().any(|slide| slide.stride > 1),
        };
        if repeats { Reads::Repeatedly } else { Reads::Once }
    }
}

fn unfolded(slides: &[Slide], x: TensorType) -> Result<TensorType, TypeError> {
    let mut extents = x.shape.extents().to_vec();
    for (number, slide) in slides.iter().enumerate() {
        if slide.axis >= x.shape.rank() {
            return Err(TypeError::Axis { axis: slide.axis as isize, ty: x });
        }
        if slides[..number].iter().any(|earlier| earlier.axis == slide.axis) {
            return Err(TypeError::RepeatedAxis { axis: slide.axis });
        }
        if slide.size == 0 || slide.stride == 0 || slide.dilation == 0 {
            return Err(TypeError::Invalid("sizes, strides and dilations of windows are at least 1".into()));
        }
        let extent = extents[slide.axis];
        if slide.span() > extent {
            let message =
                format!("a window that spans {} does not fit axis {} of {x}", slide.span(), slide.axis);
            return Err(TypeError::Invalid(message));
        }
        extents[slide.axis] = slide.positions(extent);
    }
    extents.extend(slides.iter().map(|slide| slide.size));
    if extents.len() > MAX_RANK {
        return Err(TypeError::Invalid(format!("the windows of {x} have more than 8 axes")));
    }
    Ok(TensorType { dtype: x.dtype, shape: Shape::of(&extents) })
}

/// Every choice of one place along each slide.
fn all_places(slides: &[Slide]) -> Vec<Vec<usize>> {
    let sizes: Vec<usize> = slides.iter().map(|slide| slide.size).collect();
    ndarray::indices(IxDyn(&sizes)).into_iter().map(|places| places.as_array_view().to_vec()).collect()
}

/// Along an axis of the windowed tensor, the elements that stand at these places of the windows, one a window.
fn standing_at(slides: &[Slide], places: &[usize], axis: AxisDescription) -> Slice {
    let slid = slides.iter().zip(places).find(|(slide, _)| slide.axis == axis.axis.index());
    slid.map_or(Slice::from(..), |(slide, place)| {
        let first = place * slide.dilation;
        let last = first + (slide.positions(axis.len) - 1) * slide.stride;
        Slice { start: first as isize, end: Some(last as isize + 1), step: slide.stride as isize }
    })
}

/// The axes of windows that hold the places, at these places; the others in full.
fn taken_at(places: &[usize], rank: usize, axis: usize) -> Slice {
    axis.checked_sub(rank).map_or(Slice::from(..), |number| Slice::from(places[number]..=places[number]))
}

fn view<T: Element + Default>(slides: &[Slide], x: &ArrayD<T>, shape: Shape) -> Value {
    let mut windows = ArrayD::<T>::default(IxDyn(shape.extents()));
    for places in all_places(slides) {
        let mut at_places = windows.view_mut();
        at_places.slice_each_axis_inplace(|axis| taken_at(&places, x.ndim(), axis.axis.index()));
        let source = x.slice_each_axis(|axis| standing_at(slides, &places, axis));
        at_places.iter_mut().zip(source).for_each(|(to, &from)| *to = from);
    }
    windows.into()
}

/// The sum of what lies on each element; 0 where nothing does.
fn overlap<T: Element + Default>(
    slides: &[Slide],
    y: &ArrayD<T>,
    shape: Shape,
    add: impl Fn(T, T) -> T,
) -> Value {
    let mut sums = ArrayD::<Option<T>>::from_elem(IxDyn(shape.extents()), None);
    for places in all_places(slides) {
        let terms = y.slice_each_axis(|axis| taken_at(&places, shape.rank(), axis.axis.index()));
        let below = sums.slice_each_axis_mut(|axis| standing_at(slides, &places, axis));
        for (sum, &term) in below.into_iter().zip(&terms) {
            *sum = Some(sum.map_or(term, |sum| add(sum, term)));
        }
    }
    sums.mapv(Option::unwrap_or_default).into()
}

/// With a stride of 1, the window that has its place `k` on element `i` is that at `i − k·dilation`. With larger
/// strides there may be none: the position is searched for. (The simplifier leaves no such fold.)
fn lower_fold(slides: &[Slide], types: &Types, index: &[Affine], emitter: &mut dyn Emitter) -> Var {
    let dtype = types.result.dtype;
    let positions = |slide: &Slide| types.operands[0].shape.extents()[slide.axis];
    let places = slides.iter().map(|slide| slide.size);
    let searched = slides.iter().filter(|slide| slide.stride > 1);
    let extents: Vec<usize> = places.chain(searched.map(positions)).collect();
    emitter.reduce(Combine::Sum, dtype, &extents, &mut |emitter, reduced| {
        let (places, mut searched) = (&reduced[..slides.len()], reduced[slides.len()..].iter());
        let (mut at, mut ranges) = (index.to_vec(), Vec::new());
        for (slide, place) in slides.iter().zip(places) {
            let apart = |other: &Affine| index[slide.axis].plus(&other.scaled(-1));
            let position = if slide.stride > 1 { searched.next() } else { None };
            if let Some(position) = position {
                at[slide.axis] = position.clone();
                ranges.push((apart(&slide.index(position, place)), 1));
            } else {
                at[slide.axis] = apart(&place.scaled(slide.dilation as i64));
                ranges.push((at[slide.axis].clone(), positions(slide) as i64));
            }
        }
        at.extend_from_slice(places);
        let inside = emitter.emit(Instr::Within(ranges.clone()), DType::Bool);
        let term = emitter.guarded(&ranges, 0, &at);
        let nothing = emitter.emit(Instr::Constant(Combine::Sum.identity(dtype)), dtype);
        emitter.emit(Instr::Select(inside, term, nothing), dtype)
    })
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slide = |s: &Slide| format!("{}: {} by {} every {}", s.axis, s.size, s.dilation, s.stride);
        let (Window::Unfold(slides) | Window::Fold(slides, _)) = self;
        let slides: Vec<String> = slides.iter().map(slide).collect();
        write!(f, "{}[{}]", self.name(), slides.join("; "))
    }
}

impl Window {
    /// The operator that prints as this text.
    pub(super) fn parse(text: &OpText<'_>) -> Option<Window> {
        let slide = |text: &str| {
            let (axis, rest) = text.split_once(':')?;
            let (size, rest) = rest.split_once(" by ")?;
            let (dilation, stride) = rest.split_once(" every ")?;
            let number = |text: &str| text.trim().parse().ok();
            Some(Slide {
                axis: number(axis)?,
                size: number(size)?,
                stride: number(stride)?,
                dilation: number(dilation)?,
            })
        };
        let slides = text.attributes.split(';').map(slide).collect::<Option<Vec<Slide>>>()?;
        match text.name {
            "window" => Some(Window::Unfold(slides)),
            "fold" => Some(Window::Fold(slides, text.ty.shape)),
            _ => None,
        }
    }
}

impl<'g> Tensor<'g> {
    /// The windows that slide along some axes: those axes then hold the windows' positions, and for each slide, in order,
    /// an axis behind all others holds the places in the window.
    ///
    /// ```
    /// # use hitofude::{ops::Slide, prelude::*};
    /// let g = Graph::new();
    /// let x = g.input("x", [2, 10], F32);
    /// let pairs = x.windows(&[Slide { axis: 1, size: 2, stride: 3, dilation: 1 }]);
    /// assert_eq!(pairs.ty().to_string(), "f32[2,3,2]");
    /// ```
    #[track_caller]
    pub fn windows(self, slides: &[Slide]) -> Tensor<'g> {
        Tensor::apply(Op::Window(Window::Unfold(slides.to_vec())), &[self])
    }

    /// The transpose of [`Tensor::windows`]: windows laid over one another in a tensor of this shape. Each element is the
    /// sum of the places that lie on it, and a zero of either sign where none does. The shape of this tensor must be that
    /// of the windows of the result.
    ///
    /// ```
    /// # use hitofude::{ops::Slide, prelude::*};
    /// let g = Graph::new();
    /// let pairs = g.input("pairs", [3, 2], F64);
    /// let folded = pairs.fold(&[Slide { axis: 0, size: 2, stride: 1, dilation: 1 }], [4]);
    /// let values = g.interpret(&[("y", folded)], &[("pairs", array![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]].into())])?;
    /// assert_eq!(values["y"], array![1.0, 5.0, 9.0, 6.0].into());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn fold(self, slides: &[Slide], shape: impl Into<Shape>) -> Tensor<'g> {
        Tensor::apply(Op::Window(Window::Fold(slides.to_vec(), shape.into())), &[self])
    }

    /// The elements with `step - 1` negative zeros, which change no sum, between neighbours along an axis.
    #[track_caller]
    pub(crate) fn spread_apart(self, axis: usize, step: usize) -> Tensor<'g> {
        let extent = self.shape().extents()[axis];
        if step == 1 || extent == 0 {
            return self;
        }
        let mut extents = self.shape().extents().to_vec();
        extents[axis] = extent * step;
        let rows = self.unsqueeze(axis as isize + 1).pad_with(axis as isize + 1, 0, step as isize - 1, -0.0);
        rows.reshape(Shape::of(&extents)).slice(axis as isize, 0..(extent - 1) * step + 1)
    }
}
