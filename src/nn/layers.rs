//! Layers, as functions of their parameters.

use crate::error::TypeError;
use crate::ops::Tensor;

impl<'g> Tensor<'g> {
    /// The affine map `x · Wᵀ + b`: input `[…, k]`, weight `[m, k]`, bias `[m]`, result `[…, m]`. A single sample
    /// `[k]` gives `[m]`.
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

    /// Layer normalisation over the last axis (Ba, Kiros & Hinton 2016): `(x − mean)/√(variance + ε) · weight + bias`,
    /// with the population variance; weight and bias `[k]`.
    #[track_caller]
    pub fn layer_norm(self, weight: Tensor<'g>, bias: Tensor<'g>, epsilon: f64) -> Tensor<'g> {
        let centred = self - self.mean(-1).unsqueeze(-1);
        let variance = centred.square().mean(-1).unsqueeze(-1);
        centred / (variance + epsilon).sqrt() * weight + bias
    }

    /// Root-mean-square normalisation over the last axis (Zhang & Sennrich 2019): `x/√(mean x² + ε) · weight`.
    #[track_caller]
    pub fn rms_norm(self, weight: Tensor<'g>, epsilon: f64) -> Tensor<'g> {
        self / (self.square().mean(-1).unsqueeze(-1) + epsilon).sqrt() * weight
    }

    /// Scaled dot-product attention (Vaswani et al. 2017) of queries `[…, t, d]`, keys `[…, s, d]` and values
    /// `[…, s, e]`: `softmax(Q·Kᵀ/√d) · V`. Where `mask`, which broadcasts to `[…, t, s]`, is false, a key is not looked
    /// at.
    #[track_caller]
    pub fn attention(self, keys: Tensor<'g>, values: Tensor<'g>, mask: Option<Tensor<'g>>) -> Tensor<'g> {
        let width = self.shape().extents().last().copied().unwrap_or(1);
        let scores = self.matmul(keys.transpose()) / (width as f64).sqrt();
        let scores = match mask {
            Some(mask) => mask.select(scores, -1e30),
            None => scores,
        };
        scores.softmax(-1).matmul(values)
    }
}

impl crate::Graph {
    /// The `[length, length]` mask that lets position `t` look at positions up to `t`.
    #[track_caller]
    pub fn causal_mask(&self, length: usize) -> Tensor<'_> {
        let position = |axis| self.iota([length, length], axis, crate::DType::I32);
        position(0).greater_equal(position(1))
    }
}
