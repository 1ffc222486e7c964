//! Layers, activations and losses as methods of [`Tensor`]. Formulas and conventions are PyTorch's.

use crate::error::TypeError;
use crate::ops::Tensor;

impl<'g> Tensor<'g> {
    /// The affine map `x · Wᵀ + b` of `torch.nn.functional.linear`: input `[…, k]`, weight `[m, k]`, bias
    /// `[m]`, result `[…, m]`. A single sample `[k]` gives `[m]`.
    #[track_caller]
    pub fn linear(self, weight: Tensor<'g>, bias: Tensor<'g>) -> Tensor<'g> {
        let (x, w, b) = (self.shape(), weight.shape(), bias.shape());
        let fits = w.rank() == 2
            && x.rank() >= 1
            && x.extents().last() == w.extents().last()
            && b.extents() == &w.extents()[..1];
        if !fits && ![self, weight, bias].iter().any(|tensor| tensor.is_poison()) {
            let expected =
                format!("linear takes input […, k], weight [m, k] and bias [m]; the bias is {}", bias.ty());
            return self.poison("linear", TypeError::Mismatch { lhs: self.ty(), rhs: weight.ty(), expected });
        }
        let labels: String = ('a'..).take(x.rank().saturating_sub(1)).collect();
        self.einsum(&format!("{labels}y,zy->{labels}z"), weight) + bias
    }

    /// `max(x, 0)`, with derivative 0 at 0.
    #[track_caller]
    pub fn relu(self) -> Tensor<'g> {
        self.greater(0.0).select(self, self.constant_like(0.0))
    }

    /// The logistic function `1 / (1 + e⁻ˣ)`, computed as `½·tanh(½·x) + ½`: finite, with a finite derivative,
    /// for every input.
    #[track_caller]
    pub fn sigmoid(self) -> Tensor<'g> {
        (self * 0.5).tanh() * 0.5 + 0.5
    }

    /// The mean over all elements of `(x − target)²`, as `torch.nn.functional.mse_loss`. Losses do not
    /// broadcast: other shapes than the target's are an error.
    #[track_caller]
    pub fn mse_loss(self, target: Tensor<'g>) -> Tensor<'g> {
        if self.ty() != target.ty() && !self.is_poison() && !target.is_poison() {
            let expected =
                "prediction and target of mse_loss must have the same type; losses do not broadcast".into();
            return self
                .poison("mse_loss", TypeError::Mismatch { lhs: self.ty(), rhs: target.ty(), expected });
        }
        (self - target).square().mean(..)
    }
}
