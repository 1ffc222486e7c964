//! Sliding windows: the view from which convolution and pooling are a contraction and a reduction.

use std::fmt;

use ndarray::{ArrayD, Dimension, IxDyn};

use super::{Emitter, Mapped, Op, Reads, Rules, Site, Tensor, Types, expect_operands};
use crate::error::{Result, TypeError};
use crate::graph::OpText;
use crate::loops::{Affine, Var};
use crate::types::{Element, MAX_RANK, Shape, TensorType, Value, map_value};

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
    fn span(&self) -> usize {
        (self.size.max(1) - 1).saturating_mul(self.dilation).saturating_add(1)
    }

    /// Windows that fit.
    fn positions(&self, extent: usize) -> usize {
        (extent - self.span()) / self.stride + 1
    }
}

/// The windows of an operand: the axes slid along hold the windows' positions, and for each of them, in order, an axis
/// behind all others holds the places in the window.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    slides: Vec<Slide>,
}

impl Rules for Window {
    fn name(&self) -> &'static str {
        "window"
    }

    fn infer(&self, operands: &[TensorType]) -> Result<TensorType, TypeError> {
        let [x] = expect_operands(operands)?;
        let mut extents = x.shape.extents().to_vec();
        for slide in &self.slides {
            if slide.axis >= x.shape.rank() {
                return Err(TypeError::Axis { axis: slide.axis as isize, ty: x });
            }
            if slide.size == 0 || slide.stride == 0 || slide.dilation == 0 {
                return Err(TypeError::Invalid(
                    "sizes, strides and dilations of windows are at least 1".into(),
                ));
            }
            let extent = extents[slide.axis];
            if slide.span() > extent {
                let message =
                    format!("a window that spans {} does not fit axis {} of {x}", slide.span(), slide.axis);
                return Err(TypeError::Invalid(message));
            }
            extents[slide.axis] = slide.positions(extent);
        }
        extents.extend(self.slides.iter().map(|slide| slide.size));
        if extents.len() > MAX_RANK {
            return Err(TypeError::Invalid(format!("the windows of {x} have more than 8 axes")));
        }
        Ok(TensorType { dtype: x.dtype, shape: Shape::of(&extents) })
    }

    /// Each place of the window gives its cotangents back to the elements it saw, a stride apart.
    fn vjp<'g>(&self, site: &Site<'g>, _: usize, dy: Tensor<'g>) -> Option<Tensor<'g>> {
        let x = site.operands[0].shape();
        let sizes: Vec<usize> = self.slides.iter().map(|slide| slide.size).collect();
        let places = ndarray::indices(IxDyn(&sizes)).into_iter().map(|place| place.as_array_view().to_vec());
        places.map(|place| self.place_back(dy, &place, x)).reduce(|sum, share| sum + share)
    }

    fn jvp<'g>(&self, _: &Site<'g>, tangents: &[Option<Tensor<'g>>]) -> Option<Tensor<'g>> {
        Some(Tensor::apply(Op::Window(self.clone()), &[tangents[0]?]))
    }

    fn batch<'g>(&self, operands: &[Mapped<'g>]) -> Tensor<'g> {
        let slides = self.slides.iter().map(|slide| Slide { axis: slide.axis + 1, ..*slide }).collect();
        Tensor::apply(Op::Window(Window { slides }), &[operands[0].tensor])
    }

    fn evaluate(&self, operands: &[&Value], ty: TensorType) -> Value {
        map_value!(operands[0], x => self.view(x, ty))
    }

    fn lower(&self, types: &Types, index: &[Affine], emitter: &mut dyn Emitter) -> Var {
        let rank = types.operands[0].shape.rank();
        let mut source = index[..rank].to_vec();
        for (slide, place) in self.slides.iter().zip(&index[rank..]) {
            let position = source[slide.axis].scaled(slide.stride as i64);
            source[slide.axis] = position.plus(&place.scaled(slide.dilation as i64));
        }
        emitter.operand(0, &source)
    }

    fn reads(&self, _: &Types, _: usize) -> Reads {
        let overlap = self.slides.iter().any(|slide| slide.span() > slide.stride);
        if overlap { Reads::Repeatedly } else { Reads::Once }
    }
}

impl Window {
    /// The cotangents of one place of the window, put where the operand's elements are.
    fn place_back<'g>(&self, dy: Tensor<'g>, place: &[usize], x: Shape) -> Tensor<'g> {
        let mut share = dy;
        for &at in place {
            share = share.index(x.rank() as isize, at);
        }
        for (slide, &at) in self.slides.iter().zip(place) {
            let axis = slide.axis as isize;
            let extent = x.extents()[slide.axis];
            let before = at * slide.dilation;
            // A stride apart: each element with zeros behind it, the last without.
            let spread = share.spread_apart(slide.axis, slide.stride);
            let covered = spread.shape().extents()[slide.axis];
            share = spread.pad(axis, before, extent - before - covered);
        }
        share
    }

    fn view<T: Element>(&self, x: &ArrayD<T>, ty: TensorType) -> Value {
        let rank = x.ndim();
        let array = ArrayD::from_shape_fn(IxDyn(ty.shape.extents()), |index| {
            let index = index.as_array_view();
            let mut source = index.to_vec()[..rank].to_vec();
            for (number, slide) in self.slides.iter().enumerate() {
                source[slide.axis] =
                    source[slide.axis] * slide.stride + index[rank + number] * slide.dilation;
            }
            x[&source[..]]
        });
        array.into()
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slide = |s: &Slide| format!("{}: {} by {} every {}", s.axis, s.size, s.dilation, s.stride);
        let slides: Vec<String> = self.slides.iter().map(slide).collect();
        write!(f, "window[{}]", slides.join("; "))
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
        let slides: Option<Vec<Slide>> = text.attributes.split(';').map(slide).collect();
        Some(Window { slides: slides.filter(|_| text.name == "window")? })
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
        Tensor::apply(Op::Window(Window { slides: slides.to_vec() }), &[self])
    }

    /// The elements with `stride - 1` zeros between neighbours along an axis.
    #[track_caller]
    fn spread_apart(self, axis: usize, stride: usize) -> Tensor<'g> {
        let extent = self.shape().extents()[axis];
        if stride == 1 {
            return self;
        }
        let mut extents = self.shape().extents().to_vec();
        extents[axis] = extent * stride;
        let rows = self.unsqueeze(axis as isize + 1).pad(axis as isize + 1, 0, stride - 1);
        rows.reshape(Shape::of(&extents)).slice(axis as isize, 0..(extent - 1) * stride + 1)
    }
}
