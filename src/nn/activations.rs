//! Activation functions.

use crate::ops::Tensor;

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

    /// The logistic function `1 / (1 + e⁻ˣ)`, computed as `½·tanh(½·x) + ½`: finite, with a finite derivative, for
    /// every input.
    #[track_caller]
    pub fn sigmoid(self) -> Tensor<'g> {
        (self * 0.5).tanh() * 0.5 + 0.5
    }

    /// `ln(1 + eˣ)`, computed as `max(x, 0) + ln(1 + e^(−|x|))`: finite for every finite input.
    #[track_caller]
    pub fn softplus(self) -> Tensor<'g> {
        self.maximum(0.0) + (-self.abs()).exp().log1p()
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

    /// GELU by `½·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))`, PyTorch's `approximate="tanh"`.
    #[track_caller]
    pub fn gelu_tanh(self) -> Tensor<'g> {
        let root = (2.0 / std::f64::consts::PI).sqrt();
        self * 0.5 * (1.0 + ((self + self.square() * self * 0.044715) * root).tanh())
    }

    /// `ln Σ eˣ` along an axis, which goes. Computed with the largest element set apart: finite for every finite
    /// input; −∞, with a gradient of 0, where every element is −∞.
    #[track_caller]
    pub fn logsumexp(self, axis: isize) -> Tensor<'g> {
        let largest = self.max(axis).stop_gradient();
        let shift = largest.is_finite().select(largest, 0.0);
        let sum = (self - shift.unsqueeze_reduced(self, axis)).exp().sum(axis);
        // No gradient goes through ln 0.
        sum.greater(0.0).select(sum.log(), f64::NEG_INFINITY) + shift
    }

    /// `eˣ / Σ eˣ` along an axis, computed with the largest element set apart.
    #[track_caller]
    pub fn softmax(self, axis: isize) -> Tensor<'g> {
        let largest = self.max(axis).stop_gradient().unsqueeze_reduced(self, axis);
        let exponentials = (self - largest).exp();
        exponentials / exponentials.sum(axis).unsqueeze_reduced(self, axis)
    }

    /// `ln softmax(x)` along an axis, computed as `x − logsumexp(x)`.
    #[track_caller]
    pub fn log_softmax(self, axis: isize) -> Tensor<'g> {
        self - self.logsumexp(axis).unsqueeze_reduced(self, axis)
    }

    /// Puts the axis back, with extent 1, that a reduction of `original` took.
    #[track_caller]
    fn unsqueeze_reduced(self, original: Tensor<'g>, axis: isize) -> Tensor<'g> {
        let rank = original.shape().rank() as isize;
        self.unsqueeze(if axis < 0 { axis + rank } else { axis })
    }
}
