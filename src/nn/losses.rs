//! Losses: means over all elements or samples. Their operands do not broadcast.

use crate::error::TypeError;
use crate::ops::Tensor;

impl<'g> Tensor<'g> {
    /// The mean of `(x − target)²`.
    #[track_caller]
    pub fn mse_loss(self, target: Tensor<'g>) -> Tensor<'g> {
        let x = self.beside("mse_loss", target);
        (x - target).square().mean(..)
    }

    /// The mean of `|x − target|`.
    #[track_caller]
    pub fn l1_loss(self, target: Tensor<'g>) -> Tensor<'g> {
        let x = self.beside("l1_loss", target);
        (x - target).abs().mean(..)
    }

    /// The mean of `½·d²` where `|d| ≤ delta`, else `delta·(|d| − ½·delta)`, with `d = x − target` (Huber 1964).
    #[track_caller]
    pub fn huber_loss(self, target: Tensor<'g>, delta: f64) -> Tensor<'g> {
        let d = self.beside("huber_loss", target) - target;
        d.abs().less_equal(delta).select(d.square() * 0.5, (d.abs() - 0.5 * delta) * delta).mean(..)
    }

    /// The mean of `−t·ln σ(x) − (1 − t)·ln(1 − σ(x))` for logits `x` and probabilities `t`, computed as
    /// `softplus(x) − x·t`.
    #[track_caller]
    pub fn bce_with_logits(self, target: Tensor<'g>) -> Tensor<'g> {
        let x = self.beside("bce_with_logits", target);
        (x.softplus() - x * target).mean(..)
    }

    /// The mean over samples of `−ln softmax(x)[target]`, for logits `[…, classes]` and integer targets `[…]`, computed
    /// as `logsumexp(x) − x[target]`. A target outside `0..classes` picks 0.
    #[track_caller]
    pub fn cross_entropy(self, target: Tensor<'g>) -> Tensor<'g> {
        let (x, t) = (self.shape(), target.shape());
        let fits = x.rank() == t.rank() + 1 && x.extents()[..t.rank()] == *t.extents();
        if !fits && !self.is_poison() && !target.is_poison() {
            let expected = "cross_entropy takes logits […, classes] and integer targets […]".into();
            let error = TypeError::Mismatch { lhs: self.ty(), rhs: target.ty(), expected };
            return self.poison("cross_entropy", error);
        }
        let classes = x.extents().last().copied().unwrap_or(0);
        let picked = target.one_hot(classes).select(self, 0.0).sum(-1);
        (self.logsumexp(-1) - picked).mean(..)
    }

    /// The prediction, poisoned if the target is of another type.
    #[track_caller]
    fn beside(self, loss: &str, target: Tensor<'g>) -> Tensor<'g> {
        if self.ty() == target.ty() || self.is_poison() || target.is_poison() {
            return self;
        }
        let expected =
            format!("prediction and target of {loss} must have the same type; losses do not broadcast");
        self.poison(loss, TypeError::Mismatch { lhs: self.ty(), rhs: target.ty(), expected })
    }
}
