//! Activation functions.

use crate::ops::{AxisSpec, Tensor};
use crate::types::Shape;

impl<'g> Tensor<'g> {
    /// `max(x, 0)`, with derivative 0 at 0. NaN stays NaN, as in PyTorch.
    #[track_caller]
    pub fn relu(self) -> Tensor<'g> {
        self.less_equal(0.0).select(0.0, self)
    }

    /// `x` where positive, else `slope · x`.
    #[track_caller]
    pub fn leaky_relu(self, slope: f64) -> Tensor<'g> {
        self.greater(0.0).select(self, self * slope)
    }

    /// `x` where positive, else `alpha · (eˣ − 1)`.
    #[track_caller]
    pub fn elu(self, alpha: f64) -> Tensor<'g> {
        self.greater(0.0).select(self, self.expm1() * alpha)
    }

    /// `x · sigmoid(x)`.
    #[track_caller]
    pub fn silu(self) -> Tensor<'g> {
        self * self.sigmoid()
    }

    /// `x · Φ(x)`, with the normal distribution's Φ by the error function (Hendrycks & Gimpel 2016).
    #[track_caller]
    pub fn gelu(self) -> Tensor<'g> {
        self * 0.5 * (1.0 + (self * std::f64::consts::FRAC_1_SQRT_2).erf())
    }

    /// GELU by `½·x·(1 + tanh(z))` with `z = √(2/π)·(x + 0.044715·x³)`, PyTorch's `approximate="tanh"`; computed as
    /// `x · sigmoid(2z)`, which is the same and loses no digits where tanh is close to −1.
    #[track_caller]
    pub fn gelu_tanh(self) -> Tensor<'g> {
        let scale = 2.0 * (2.0 / std::f64::consts::PI).sqrt();
        self * (self * scale + self.pow(3.0) * (0.044715 * scale)).sigmoid()
    }

    /// `x` between 0 and 6: `min(max(x, 0), 6)`, with derivative 0 at both bounds.
    #[track_caller]
    pub fn relu6(self) -> Tensor<'g> {
        self.hard_tanh(0.0, 6.0)
    }

    /// `x` between the bounds: `min(max(x, low), high)`, with derivative 0 at the bounds, as PyTorch's `hardtanh`.
    /// ([`Tensor::clamp`] has derivative 1 there.)
    #[track_caller]
    pub fn hard_tanh(self, low: f64, high: f64) -> Tensor<'g> {
        self.less_equal(low).select(low, self.greater_equal(high).select(high, self))
    }

    /// `relu6(x + 3)/6`, as PyTorch's `hardsigmoid`.
    #[track_caller]
    pub fn hard_sigmoid(self) -> Tensor<'g> {
        (self + 3.0).relu6() / 6.0
    }

    /// `x · relu6(x + 3)/6` (Howard et al. 2019), with derivative 0 at −3 and 1 at 3.
    #[track_caller]
    pub fn hard_swish(self) -> Tensor<'g> {
        self * self.hard_sigmoid()
    }

    /// `x · tanh(softplus(x))` (Misra 2019).
    #[track_caller]
    pub fn mish(self) -> Tensor<'g> {
        self * self.softplus().tanh()
    }

    /// `ln sigmoid(x)`, computed as `−softplus(−x)`: finite for every finite input.
    #[track_caller]
    pub fn log_sigmoid(self) -> Tensor<'g> {
        -(-self).softplus()
    }

    /// `ln Σ eˣ` over the axes, which go. Computed with the largest element set apart: finite for every finite input;
    /// −∞, with a gradient of 0, where every element is −∞.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let x = g.input("x", [2], F32);
    /// let values = g.interpret(&[("y", x.logsumexp(..))], &[("x", array![1000f32, 1000.0].into())])?;
    /// assert_eq!(values["y"], Value::from(1000.0 + 2f32.ln()));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn logsumexp(self, axes: impl Into<AxisSpec>) -> Tensor<'g> {
        let axes = axes.into();
        let largest = self.max(axes.clone()).stop_gradient();
        let shift = largest.is_finite().select(largest, 0.0);
        let sum = (self - shift.keeping(self, &axes)).exp().sum(axes);
        // No gradient goes through ln 0.
        sum.greater(0.0).select(sum.log(), f64::NEG_INFINITY) + shift
    }

    /// `eˣ / Σ eˣ` over the axes, computed with the largest element set apart.
    #[track_caller]
    pub fn softmax(self, axes: impl Into<AxisSpec>) -> Tensor<'g> {
        let axes = axes.into();
        let exponentials = (self - self.max(axes.clone()).stop_gradient().keeping(self, &axes)).exp();
        exponentials * exponentials.sum(axes.clone()).keeping(self, &axes).recip()
    }

    /// `ln softmax(x)` over the axes, computed as `x − logsumexp(x)`.
    #[track_caller]
    pub fn log_softmax(self, axes: impl Into<AxisSpec>) -> Tensor<'g> {
        let axes = axes.into();
        // Of the cotangents, the sum is negated, and not each.
        self + (-self.logsumexp(axes.clone())).keeping(self, &axes)
    }

    /// Puts axes back, with extent 1, that a reduction of `original` took.
    #[track_caller]
    pub(super) fn keeping(self, original: Tensor<'g>, axes: &AxisSpec) -> Tensor<'g> {
        if self.is_poison() {
            return self;
        }
        let mut extents = original.shape().extents().to_vec();
        match axes {
            AxisSpec::Kept(axes) => return self.keeping(original, axes),
            AxisSpec::All => extents.fill(1),
            AxisSpec::Some(axes) => {
                let rank = extents.len() as isize;
                // They are in range, or the reduction would be poisoned.
                axes.iter().for_each(|axis| extents[axis.rem_euclid(rank) as usize] = 1);
            }
        }
        self.reshape(Shape::of(&extents))
    }
}
