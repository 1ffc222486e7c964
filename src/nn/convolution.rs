//! Convolution and pooling over images `[samples, channels, height, width]`.

use crate::error::TypeError;
use crate::ops::{Slide, Tensor};

/// How a window goes over an image; the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stencil {
    /// Elements from one window to the next.
    pub stride: usize,
    /// Zeros put around the image, on each side.
    pub padding: usize,
    /// Elements from one place in the window to the next.
    pub dilation: usize,
}

impl Default for Stencil {
    /// Every position, no padding, no gaps.
    fn default() -> Stencil {
        Stencil { stride: 1, padding: 0, dilation: 1 }
    }
}

impl Stencil {
    fn slides(self, [height, width]: [usize; 2]) -> [Slide; 2] {
        let slide = |axis, size| Slide { axis, size, stride: self.stride, dilation: self.dilation };
        [slide(2, height), slide(3, width)]
    }
}

impl<'g> Tensor<'g> {
    /// The cross-correlation of `torch.nn.functional.conv2d`, without groups: input `[n, c, h, w]`, weight
    /// `[o, c, kh, kw]`, bias `[o]`, result `[n, o, h', w']`. The image's windows are read in place, never copied out.
    #[track_caller]
    pub fn conv2d(self, weight: Tensor<'g>, bias: Tensor<'g>, stencil: Stencil) -> Tensor<'g> {
        let (x, w, b) = (self.shape(), weight.shape(), bias.shape());
        let fits = x.rank() == 4
            && w.rank() == 4
            && x.extents()[1] == w.extents()[1]
            && b.extents() == &w.extents()[..1];
        if !fits {
            if let Some(poisoned) = [self, weight, bias].into_iter().find(|tensor| tensor.is_poison()) {
                return poisoned;
            }
            let bias = bias.ty();
            let expected = format!(
                "conv2d takes input [n, c, h, w], weight [o, c, kh, kw] and bias [o]; the bias is {bias}"
            );
            return self.poison("conv2d", TypeError::Mismatch { lhs: self.ty(), rhs: weight.ty(), expected });
        }
        let pad = stencil.padding;
        let padded = if pad > 0 { self.pad(2, pad, pad).pad(3, pad, pad) } else { self };
        let windows = padded.windows(&stencil.slides([w.extents()[2], w.extents()[3]]));
        windows.einsum("nchwij,ocij->nohw", weight) + bias.reshape([b.extents()[0], 1, 1])
    }

    /// The largest element of each window of `[n, c, h, w]`; padding is not supported, and ties share the cotangent.
    #[track_caller]
    pub fn max_pool2d(self, size: [usize; 2], stride: usize) -> Tensor<'g> {
        self.pools(size, stride).max([-2, -1])
    }

    /// The mean of each window of `[n, c, h, w]`.
    #[track_caller]
    pub fn avg_pool2d(self, size: [usize; 2], stride: usize) -> Tensor<'g> {
        self.pools(size, stride).mean([-2, -1])
    }

    #[track_caller]
    fn pools(self, size: [usize; 2], stride: usize) -> Tensor<'g> {
        if self.shape().rank() != 4 && !self.is_poison() {
            let message = format!("pooling takes [n, c, h, w], and not {}", self.ty());
            return self.poison("pool", TypeError::Invalid(message));
        }
        self.windows(&Stencil { stride, ..Stencil::default() }.slides(size))
    }
}
