//! How windows go over images: the options of convolution and pooling.

use crate::ops::Slide;

/// A number for each of `N` axes, given as an array or as one number for all.
pub trait PerAxis<const N: usize> {
    /// The number of each axis.
    fn per_axis(self) -> [usize; N];
}

impl<const N: usize> PerAxis<N> for usize {
    fn per_axis(self) -> [usize; N] {
        [self; N]
    }
}

impl<const N: usize> PerAxis<N> for [usize; N] {
    fn per_axis(self) -> [usize; N] {
        self
    }
}

/// How a convolution's kernel goes over `N` axes: at first everywhere, without padding, gaps and groups.
///
/// ```
/// # use hitofude::{nn::Conv, prelude::*};
/// let g = Graph::new();
/// let x = g.input("x", [8, 3, 32, 32], F32);
/// let (w, b) = (g.parameter("w", [16, 3, 5, 3], F32), g.parameter("b", [16], F32));
/// let y = x.conv2d(w, b, Conv::new().stride(2).padding([2, 1]));
/// assert_eq!(y.ty().to_string(), "f32[8,16,16,16]");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv<const N: usize> {
    pub(super) stride: [usize; N],
    padding: Padding<N>,
    pub(super) dilation: [usize; N],
    pub(super) groups: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Padding<const N: usize> {
    Zeros([usize; N]),
    Same,
}

impl<const N: usize> Default for Conv<N> {
    fn default() -> Conv<N> {
        Conv::new()
    }
}

impl<const N: usize> Conv<N> {
    /// Every position, no padding, no gaps, one group.
    pub fn new() -> Conv<N> {
        Conv { stride: [1; N], padding: Padding::Zeros([0; N]), dilation: [1; N], groups: 1 }
    }

    /// Elements from one position of the kernel to the next.
    pub fn stride(self, stride: impl PerAxis<N>) -> Conv<N> {
        Conv { stride: stride.per_axis(), ..self }
    }

    /// Zeros put around the image, on both sides of each axis.
    pub fn padding(self, zeros: impl PerAxis<N>) -> Conv<N> {
        Conv { padding: Padding::Zeros(zeros.per_axis()), ..self }
    }

    /// As many zeros as keep the image's size, for a stride of 1; an odd one stands behind, as in PyTorch.
    pub fn same_padding(self) -> Conv<N> {
        Conv { padding: Padding::Same, ..self }
    }

    /// Elements of the image from one place of the kernel to the next.
    pub fn dilation(self, dilation: impl PerAxis<N>) -> Conv<N> {
        Conv { dilation: dilation.per_axis(), ..self }
    }

    /// Channels fall into this many groups, each convolved for itself. As many groups as input channels make the
    /// convolution depthwise.
    pub fn groups(self, groups: usize) -> Conv<N> {
        Conv { groups, ..self }
    }

    /// What is wrong with the options by themselves.
    pub(super) fn mistake(&self) -> Option<&'static str> {
        if self.groups == 0 || self.stride.contains(&0) || self.dilation.contains(&0) {
            return Some("strides, dilations and groups are at least 1");
        }
        let strided = self.padding == Padding::Same && self.stride != [1; N];
        strided.then_some("the image keeps its size by same padding for a stride of 1 only")
    }

    /// How a kernel of these extents slides over the axes from `first`.
    pub(super) fn slides(&self, kernel: &[usize], first: usize) -> Vec<Slide> {
        let slide = |(i, &size): (usize, &usize)| Slide {
            axis: first + i,
            size,
            stride: self.stride[i],
            dilation: self.dilation[i],
        };
        kernel.iter().enumerate().map(slide).collect()
    }

    /// The zeros before and after the image, for each axis.
    pub(super) fn around(&self, kernel: &[usize]) -> Vec<(usize, usize)> {
        let around = |slide: Slide| match self.padding {
            Padding::Zeros(zeros) => (zeros[slide.axis], zeros[slide.axis]),
            Padding::Same => ((slide.span() - 1) / 2, (slide.span() - 1).div_ceil(2)),
        };
        self.slides(kernel, 0).into_iter().map(around).collect()
    }
}

/// How a pool's window goes over `N` axes: of this size, at first a window beside the other, without padding and gaps. A
/// size alone stands for such a pool.
///
/// ```
/// # use hitofude::{nn::Pool, prelude::*};
/// let g = Graph::new();
/// let x = g.input("x", [8, 16, 32, 32], F32);
/// assert_eq!(x.max_pool2d(2).ty().to_string(), "f32[8,16,16,16]");
/// assert_eq!(x.max_pool2d([2, 4]).ty().to_string(), "f32[8,16,16,8]");
/// assert_eq!(x.avg_pool2d(Pool::new(3).stride(2).padding(1)).ty().to_string(), "f32[8,16,16,16]");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool<const N: usize> {
    size: [usize; N],
    stride: [usize; N],
    pub(super) padding: [usize; N],
    dilation: [usize; N],
    pub(super) counted: Counted,
}

/// What an average is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    Places,
    Elements,
}

impl<const N: usize> Pool<N> {
    /// Windows of this size, one beside the other.
    pub fn new(size: impl PerAxis<N>) -> Pool<N> {
        let size = size.per_axis();
        Pool { size, stride: size, padding: [0; N], dilation: [1; N], counted: Counted::Places }
    }

    /// Elements from one window to the next.
    pub fn stride(self, stride: impl PerAxis<N>) -> Pool<N> {
        Pool { stride: stride.per_axis(), ..self }
    }

    /// Places put around the image, on both sides of each axis, at most half a window: zeros where averages are taken, −∞
    /// where the largest is.
    pub fn padding(self, places: impl PerAxis<N>) -> Pool<N> {
        Pool { padding: places.per_axis(), ..self }
    }

    /// Elements of the image from one place of the window to the next.
    pub fn dilation(self, dilation: impl PerAxis<N>) -> Pool<N> {
        Pool { dilation: dilation.per_axis(), ..self }
    }

    /// Averages are over the elements in a window, and not over all its places: PyTorch's `count_include_pad=False`.
    pub fn without_counting_padding(self) -> Pool<N> {
        Pool { counted: Counted::Elements, ..self }
    }

    /// How the window slides over the axes from `first`.
    pub(super) fn slides(&self, first: usize) -> Vec<Slide> {
        let slide = |i| Slide {
            axis: first + i,
            size: self.size[i],
            stride: self.stride[i],
            dilation: self.dilation[i],
        };
        (0..N).map(slide).collect()
    }
}

impl<const N: usize> From<usize> for Pool<N> {
    fn from(size: usize) -> Pool<N> {
        Pool::new(size)
    }
}

impl<const N: usize> From<[usize; N]> for Pool<N> {
    fn from(size: [usize; N]) -> Pool<N> {
        Pool::new(size)
    }
}
