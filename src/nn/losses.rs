//! Losses: means over all elements or samples. Their operands do not broadcast.

use crate::error::TypeError;
use crate::ops::Tensor;

impl<'g> Tensor<'g> {
    /// The mean of `(x − target)²`.
    #[track_caller]
    pub fn mse_loss(self, target: Tensor<'g>) -> Tensor<'g> {
        self.mean_loss("mse_loss", target, |x, t| (x - t).square())
    }

    /// The mean of `|x − target|`.
    #[track_caller]
    pub fn l1_loss(self, target: Tensor<'g>) -> Tensor<'g> {
        self.mean_loss("l1_loss", target, |x, t| (x - t).abs())
    }

    /// The mean of `½·d²` where `|d| ≤ delta`, else `delta·(|d| − ½·delta)`, with `d = x − target` (Huber 1964).
    #[track_caller]
    pub fn huber_loss(self, target: Tensor<'g>, delta: f64) -> Tensor<'g> {
        self.mean_loss("huber_loss", target, |x, t| {
            let d = x - t;
            d.abs().less_equal(delta).select(d.square() * 0.5, (d.abs() - 0.5 * delta) * delta)
        })
    }

    /// The mean of `−t·ln σ(x) − (1 − t)·ln(1 − σ(x))` for logits `x` and probabilities `t`, computed as
    /// `softplus(x) − x·t`.
    #[track_caller]
    pub fn bce_with_logits(self, target: Tensor<'g>) -> Tensor<'g> {
        self.mean_loss("bce_with_logits", target, |x, t| x.softplus() - x * t)
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

    #[track_caller]
    fn mean_loss(
        self,
        name: &str,
        target: Tensor<'g>,
        loss: impl FnOnce(Tensor<'g>, Tensor<'g>) -> Tensor<'g>,
    ) -> Tensor<'g> {
        if self.ty() != target.ty() && !self.is_poison() && !target.is_poison() {
            let expected =
                format!("prediction and target of {name} must have the same type; losses do not broadcast");
            return self.poison(name, TypeError::Mismatch { lhs: self.ty(), rhs: target.ty(), expected });
        }
        loss(self, target).mean(..)
    }
}
