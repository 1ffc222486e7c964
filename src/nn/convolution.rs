//! Convolution and its transpose: contractions over windows, which are read in place and never copied out.

use super::sliding::{Conv, PerAxis};
use crate::error::TypeError;
use crate::ops::Tensor;
use crate::types::Shape;

/// Labels of image axes and of kernel axes.
const SPACE: &str = "xyz";
const PLACES: &str = "ijk";

impl<'g> Tensor<'g> {
    /// The cross-correlation of `torch.nn.functional.conv1d`: input `[n, c, l]`, weight `[o, c/groups, k]`, bias `[o]` or
    /// `None`, result `[n, o, l']` with `l' = (l + 2·padding − dilation·(k − 1) − 1)/stride + 1`, rounded down.
    ///
    /// ```
    /// # use hitofude::{nn::Conv, prelude::*};
    /// let g = Graph::new();
    /// let (x, w) = (g.input("x", [1, 1, 4], F64), g.input("w", [1, 1, 2], F64));
    /// let differences = x.conv1d(w, None, Conv::new());
    /// let x = Value::from(array![1.0, 4.0, 9.0, 16.0].into_shape_with_order((1, 1, 4)).unwrap());
    /// let w = Value::from(array![-1.0, 1.0].into_shape_with_order((1, 1, 2)).unwrap());
    /// let values = g.interpret(&[("y", differences)], &[("x", x), ("w", w)])?;
    /// assert_eq!(values["y"].to_f64(), [3.0, 5.0, 7.0]);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn conv1d(
        self,
        weight: Tensor<'g>,
        bias: impl Into<Option<Tensor<'g>>>,
        conv: Conv<1>,
    ) -> Tensor<'g> {
        self.convolve("conv1d", weight, bias.into(), conv)
    }

    /// The cross-correlation of `torch.nn.functional.conv2d`: input `[n, c, h, w]`, weight `[o, c/groups, kh, kw]`, bias
    /// `[o]` or `None`, result `[n, o, h', w']`, each extent as that of [`Tensor::conv1d`].
    #[track_caller]
    pub fn conv2d(
        self,
        weight: Tensor<'g>,
        bias: impl Into<Option<Tensor<'g>>>,
        conv: Conv<2>,
    ) -> Tensor<'g> {
        self.convolve("conv2d", weight, bias.into(), conv)
    }

    /// The transpose of [`Tensor::conv1d`] with the same options, as `torch.nn.functional.conv_transpose1d`: input
    /// `[n, c, l]`, weight `[c, o/groups, k]`, bias `[o]` or `None`, result `[n, o, l']` with
    /// `l' = (l − 1)·stride − 2·padding + dilation·(k − 1) + 1 + output_padding`.
    ///
    /// The output padding, smaller than the stride or the dilation, chooses among the lengths that the convolution maps
    /// to `l`.
    #[track_caller]
    pub fn conv_transpose1d(
        self,
        weight: Tensor<'g>,
        bias: impl Into<Option<Tensor<'g>>>,
        conv: Conv<1>,
        output_padding: usize,
    ) -> Tensor<'g> {
        self.convolve_transposed("conv_transpose1d", weight, bias.into(), conv, [output_padding])
    }

    /// The transpose of [`Tensor::conv2d`] with the same options, as `torch.nn.functional.conv_transpose2d`: input
    /// `[n, c, h, w]`, weight `[c, o/groups, kh, kw]`, bias `[o]` or `None`, result `[n, o, h', w']`, each extent as that of
    /// [`Tensor::conv_transpose1d`].
    ///
    /// ```
    /// # use hitofude::{nn::Conv, prelude::*};
    /// let g = Graph::new();
    /// let x = g.input("x", [8, 16, 7, 7], F32);
    /// let w = g.parameter("w", [16, 6, 3, 3], F32);
    /// let y = x.conv_transpose2d(w, None, Conv::new().stride(2).padding(1), 1);
    /// assert_eq!(y.ty().to_string(), "f32[8,6,14,14]");
    /// ```
    #[track_caller]
    pub fn conv_transpose2d(
        self,
        weight: Tensor<'g>,
        bias: impl Into<Option<Tensor<'g>>>,
        conv: Conv<2>,
        output_padding: impl PerAxis<2>,
    ) -> Tensor<'g> {
        self.convolve_transposed("conv_transpose2d", weight, bias.into(), conv, output_padding.per_axis())
    }

    #[track_caller]
    fn convolve<const N: usize>(
        self,
        name: &str,
        weight: Tensor<'g>,
        bias: Option<Tensor<'g>>,
        conv: Conv<N>,
    ) -> Tensor<'g> {
        let (x, w) = (self.shape(), weight.shape());
        let fits = x.rank() == N + 2
            && w.rank() == N + 2
            && w.extents()[1].checked_mul(conv.groups) == Some(x.extents()[1])
            && w.extents()[0].is_multiple_of(conv.groups.max(1))
            && bias.is_none_or(|bias| bias.shape().extents() == &w.extents()[..1]);
        if let Some(mistake) = self.cannot_convolve(name, weight, bias, conv, fits, ["o", "c/groups"]) {
            return mistake;
        }
        let kernel = &w.extents()[2..];
        let mut image = self;
        for (axis, (before, after)) in conv.around(kernel).into_iter().enumerate() {
            if before.max(after) > 0 {
                image = image.pad(axis as isize + 2, before, after);
            }
        }
        if image.is_poison() {
            return image;
        }
        let (group, image) = image.in_groups(1, conv.groups);
        let (_, weight) = weight.in_groups(0, conv.groups);
        let windows = image.windows(&conv.slides(kernel, image.shape().rank() - N));
        let (space, places) = (&SPACE[..N], &PLACES[..N]);
        let spec = format!("n{group}c{space}{places},{group}oc{places}->n{group}o{space}");
        windows.einsum(&spec, weight).out_of_groups(group).plus_channels(bias)
    }

    #[track_caller]
    fn convolve_transposed<const N: usize>(
        self,
        name: &str,
        weight: Tensor<'g>,
        bias: Option<Tensor<'g>>,
        conv: Conv<N>,
        output_padding: [usize; N],
    ) -> Tensor<'g> {
        let (x, w) = (self.shape(), weight.shape());
        let fits = x.rank() == N + 2
            && w.rank() == N + 2
            && w.extents()[0] == x.extents()[1]
            && w.extents()[0].is_multiple_of(conv.groups.max(1))
            && bias.is_none_or(|b| b.shape().extents() == [w.extents()[1].saturating_mul(conv.groups)]);
        if let Some(mistake) = self.cannot_convolve(name, weight, bias, conv, fits, ["c", "o/groups"]) {
            return mistake;
        }
        let kernel = &w.extents()[2..];
        let (group, image) = self.in_groups(1, conv.groups);
        let (_, weight) = weight.in_groups(0, conv.groups);
        let (space, places) = (&SPACE[..N], &PLACES[..N]);
        let spec = format!("n{group}c{space},{group}co{places}->n{group}o{space}{places}");
        let windows = image.einsum(&spec, weight);
        if windows.is_poison() {
            return windows;
        }
        let slides = conv.slides(kernel, windows.shape().rank() - 2 * N);
        let mut extents = windows.shape().extents()[..windows.shape().rank() - N].to_vec();
        for slide in &slides {
            let steps = extents[slide.axis].saturating_sub(1).saturating_mul(slide.stride);
            extents[slide.axis] = steps.saturating_add(slide.span());
        }
        let mut image = windows.fold(&slides, Shape::of(&extents)).out_of_groups(group);
        for (i, (before, after)) in conv.around(kernel).into_iter().enumerate() {
            if output_padding[i] >= conv.stride[i].max(conv.dilation[i]) {
                let message =
                    format!("an output padding of {output_padding:?} reaches the stride or dilation");
                return self.poison(name, TypeError::Invalid(message));
            }
            image = image.cut(name, i + 2, [before, after], output_padding[i]);
        }
        image.plus_channels(bias)
    }

    /// The mistake, if operands and options do not suit a convolution; `channels` are the names of the weight's first
    /// two axes.
    #[track_caller]
    fn cannot_convolve<const N: usize>(
        self,
        name: &str,
        weight: Tensor<'g>,
        bias: Option<Tensor<'g>>,
        conv: Conv<N>,
        fits: bool,
        channels: [&str; 2],
    ) -> Option<Tensor<'g>> {
        if let Some(poisoned) = [Some(self), Some(weight), bias].into_iter().flatten().find(|x| x.is_poison())
        {
            return Some(poisoned);
        }
        if let Some(mistake) = conv.mistake() {
            return Some(self.poison(name, TypeError::Invalid(mistake.into())));
        }
        if fits {
            return None;
        }
        let (space, kernel) = (["l", "h, w"][N - 1], ["k", "kh, kw"][N - 1]);
        let [first, second] = channels;
        let bias = bias.map_or(String::new(), |bias| format!("; the bias is {}", bias.ty()));
        let expected = format!(
            "{name} with groups {} takes input [n, c, {space}], weight [{first}, {second}, {kernel}] and bias [o]{bias}",
            conv.groups
        );
        Some(self.poison(name, TypeError::Mismatch { lhs: self.ty(), rhs: weight.ty(), expected }))
    }

    /// An axis of channels as two, groups and channels of a group, and the groups' label; unchanged for one group.
    #[track_caller]
    fn in_groups(self, axis: usize, groups: usize) -> (&'static str, Tensor<'g>) {
        if groups == 1 {
            return ("", self);
        }
        let mut extents = self.shape().extents().to_vec();
        let channels = extents[axis] / groups;
        extents.splice(axis..=axis, [groups, channels]);
        ("g", self.reshape(Shape::of(&extents)))
    }

    /// Groups and channels of a group, axes 1 and 2, as one axis again, where there are groups.
    #[track_caller]
    fn out_of_groups(self, group: &str) -> Tensor<'g> {
        if group.is_empty() || self.is_poison() {
            return self;
        }
        let mut extents = self.shape().extents().to_vec();
        let channels = extents[1] * extents[2];
        extents.splice(1..=2, [channels]);
        self.reshape(Shape::of(&extents))
    }

    /// An axis lengthened by zeros at its end, and then cut on both sides.
    #[track_caller]
    fn cut(self, name: &str, axis: usize, [before, after]: [usize; 2], longer: usize) -> Tensor<'g> {
        if self.is_poison() || before.max(after).max(longer) == 0 {
            return self;
        }
        let extent = self.shape().extents()[axis] + longer;
        if before.saturating_add(after) >= extent {
            let message =
                format!("the padding, {before} and {after}, takes all {extent} elements of axis {axis}");
            return self.poison(name, TypeError::Invalid(message));
        }
        let longer = if longer > 0 { self.pad(axis as isize, 0, longer) } else { self };
        longer.slice(axis as isize, before..extent - after)
    }

    /// The sum of images and a number a channel.
    #[track_caller]
    fn plus_channels(self, bias: Option<Tensor<'g>>) -> Tensor<'g> {
        match bias {
            Some(bias) if !self.is_poison() => {
                let mut extents = [1; 3];
                extents[0] = bias.shape().elements();
                self + bias.reshape(Shape::of(&extents[..self.shape().rank() - 1]))
            }
            _ => self,
        }
    }
}
