//! Losses: means over all elements or samples. Their operands do not broadcast.

use crate::error::TypeError;
use crate::ops::Tensor;
use crate::types::Shape;

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

    /// The mean of `½·d²/beta` where `|d| < beta`, else `|d| − ½·beta`, with `d = x − target`: PyTorch's
    /// `smooth_l1_loss`. With `beta` 0 it is [`Tensor::l1_loss`].
    #[track_caller]
    pub fn smooth_l1_loss(self, target: Tensor<'g>, beta: f64) -> Tensor<'g> {
        let d = self.beside("smooth_l1_loss", target) - target;
        if beta == 0.0 {
            return d.abs().mean(..);
        }
        d.abs().less(beta).select(d.square() * (0.5 / beta), d.abs() - 0.5 * beta).mean(..)
    }

    /// The mean of `−t·ln σ(x) − (1 − t)·ln(1 − σ(x))` for logits `x` and probabilities `t`, computed as
    /// `softplus(x) − x·t`.
    #[track_caller]
    pub fn bce_with_logits(self, target: Tensor<'g>) -> Tensor<'g> {
        let x = self.beside("bce_with_logits", target);
        (x.softplus() - x * target).mean(..)
    }

    /// The Kullback–Leibler divergence of the distributions `target` from those whose logarithms are `x`, both along the
    /// last axis: the mean over samples of `Σ t·(ln t − x)`, where `t = 0` adds 0. PyTorch's `kl_div` with
    /// `reduction="batchmean"`, a sample being all but the last axis.
    #[track_caller]
    pub fn kl_div(self, target: Tensor<'g>) -> Tensor<'g> {
        let x = self.beside("kl_div", target);
        target.greater(0.0).select(target * (target.log() - x), 0.0).sum(-1).mean(..)
    }

    /// The mean over samples of `−x[target]`, for logarithms of probabilities `x` `[…, classes]` and integer targets
    /// `[…]`: PyTorch's `nll_loss`. A target outside `0..classes` picks 0.
    #[track_caller]
    pub fn nll_loss(self, target: Tensor<'g>) -> Tensor<'g> {
        match self.not_classes("nll_loss", target) {
            Some(mistake) => mistake,
            None => -self.picked(target).mean(..),
        }
    }

    /// The mean over samples of `−ln softmax(x)[target]`, for logits `[…, classes]` and integer targets `[…]`, computed
    /// as `logsumexp(x) − x[target]`. A target outside `0..classes` picks 0. (PyTorch's classes are along axis 1.)
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let (x, target) = (g.input("x", [1, 2], F64), g.input("target", [1], I64));
    /// let given = [("x", array![[0.0, 0.0]].into()), ("target", array![1i64].into())];
    /// let values = g.interpret(&[("loss", x.cross_entropy(target))], &given)?;
    /// assert_eq!(values["loss"], Value::from(2f64.ln()));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn cross_entropy(self, target: Tensor<'g>) -> Tensor<'g> {
        match self.not_classes("cross_entropy", target) {
            Some(mistake) => mistake,
            None => (self.logsumexp(-1) - self.picked(target)).mean(..),
        }
    }

    /// [`Tensor::cross_entropy`] with weights of classes, targets that do not count, or smoothed labels.
    ///
    /// ```
    /// # use hitofude::{nn::CrossEntropy, prelude::*};
    /// let g = Graph::new();
    /// let (x, target) = (g.input("x", [8, 20, 65], F32), g.input("target", [8, 20], I32));
    /// let loss = x.cross_entropy_with(target, CrossEntropy::new().ignore(-100).label_smoothing(0.1));
    /// assert_eq!(loss.ty().to_string(), "f32[]");
    /// ```
    #[track_caller]
    pub fn cross_entropy_with(self, target: Tensor<'g>, options: CrossEntropy<'g>) -> Tensor<'g> {
        if let Some(mistake) = self.not_classes("cross_entropy", target) {
            return mistake;
        }
        let classes = self.shape().extents()[target.shape().rank()];
        let CrossEntropy { weights, ignored, smoothing } = options;
        let logs = self.log_softmax(-1);
        let (weight, all) = match weights {
            None => (self.graph().constant(1.0, target.shape(), self.dtype()), logs.sum(-1)),
            Some(weights) if weights.is_poison() => return weights,
            Some(weights) if weights.shape() == Shape::from([classes]) => {
                (weights.broadcast_to(self.shape()).picked(target), (weights * logs).sum(-1))
            }
            Some(weights) => {
                let expected = format!("the weights of {classes} classes are [{classes}]");
                let error = TypeError::Mismatch { lhs: self.ty(), rhs: weights.ty(), expected };
                return self.poison("cross_entropy", error);
            }
        };
        let mut gains = weight * logs.picked(target) * (1.0 - smoothing);
        if smoothing != 0.0 {
            gains = gains + all * (smoothing / classes as f64);
        }
        let Some(ignored) = ignored else { return -gains.sum(..) / weight.sum(..) };
        let counts = target.not_equal(ignored as f64);
        -counts.select(gains, 0.0).sum(..) / counts.select(weight, 0.0).sum(..)
    }

    /// The mean over samples of `−Σ t·ln softmax(x)`, for logits `x` and probabilities `t`, both `[…, classes]`: PyTorch's
    /// `cross_entropy` with probabilities as target.
    #[track_caller]
    pub fn cross_entropy_of_probabilities(self, target: Tensor<'g>) -> Tensor<'g> {
        let x = self.beside("cross_entropy_of_probabilities", target);
        -(target * x.log_softmax(-1)).sum(-1).mean(..)
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

    /// The mistake, if these are not `[…, classes]` with targets `[…]`.
    #[track_caller]
    fn not_classes(self, loss: &str, target: Tensor<'g>) -> Option<Tensor<'g>> {
        let (x, t) = (self.shape(), target.shape());
        if self.is_poison() || target.is_poison() {
            return Some(if self.is_poison() { self } else { target });
        }
        if x.rank() == t.rank() + 1 && x.extents()[..t.rank()] == *t.extents() {
            return None;
        }
        let expected = format!("{loss} takes scores […, classes] and integer targets […]");
        Some(self.poison(loss, TypeError::Mismatch { lhs: self.ty(), rhs: target.ty(), expected }))
    }

    /// The element along the last axis that each target names.
    #[track_caller]
    fn picked(self, target: Tensor<'g>) -> Tensor<'g> {
        target.one_hot(self.shape().extents()[target.shape().rank()]).select(self, 0.0).sum(-1)
    }
}

/// How targets count in [`Tensor::cross_entropy_with`]: at first all alike.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy<'g> {
    weights: Option<Tensor<'g>>,
    ignored: Option<i64>,
    smoothing: f64,
}

impl Default for CrossEntropy<'_> {
    fn default() -> Self {
        CrossEntropy { weights: None, ignored: None, smoothing: 0.0 }
    }
}

impl<'g> CrossEntropy<'g> {
    /// Every target counts once, and is certain.
    pub fn new() -> CrossEntropy<'g> {
        CrossEntropy::default()
    }

    /// Each sample counts as much as its target's class in these weights `[classes]`: the mean is weighted.
    pub fn class_weights(self, weights: Tensor<'g>) -> CrossEntropy<'g> {
        CrossEntropy { weights: Some(weights), ..self }
    }

    /// Samples with this target do not count: PyTorch's `ignore_index`. Where none counts, the loss is NaN.
    pub fn ignore(self, target: i64) -> CrossEntropy<'g> {
        CrossEntropy { ignored: Some(target), ..self }
    }

    /// The target's class has probability `1 − smoothing`, and `smoothing` is shared equally by all classes (Szegedy et
    /// al. 2016).
    pub fn label_smoothing(self, smoothing: f64) -> CrossEntropy<'g> {
        CrossEntropy { smoothing, ..self }
    }
}
