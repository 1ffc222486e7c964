//! Layers, as functions of their parameters.

use crate::error::TypeError;
use crate::ops::Tensor;

impl<'g> Tensor<'g> {
    /// The affine map `x · Wᵀ + b`: input `[…, k]`, weight `[m, k]`, bias `[m]`, result `[…, m]`. A single sample
    /// `[k]` gives `[m]`. The bias may be `None`.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let (x, w) = (g.input("x", [8, 3], F32), g.parameter("w", [5, 3], F32));
    /// assert_eq!(x.linear(w, g.parameter("b", [5], F32)).ty().to_string(), "f32[8,5]");
    /// assert_eq!(x.linear(w, None).ty().to_string(), "f32[8,5]");
    /// ```
    #[track_caller]
    pub fn linear(self, weight: Tensor<'g>, bias: impl Into<Option<Tensor<'g>>>) -> Tensor<'g> {
        let bias = bias.into();
        let (x, w) = (self.shape(), weight.shape());
        let fits = w.rank() == 2
            && x.rank() >= 1
            && x.extents().last() == w.extents().last()
            && bias.is_none_or(|bias| bias.shape().extents() == &w.extents()[..1]);
        if !fits {
            if let Some(poisoned) =
                [Some(self), Some(weight), bias].into_iter().flatten().find(|x| x.is_poison())
            {
                return poisoned;
            }
            let bias = bias.map_or(String::new(), |bias| format!("; the bias is {}", bias.ty()));
            let expected = format!("linear takes input […, k], weight [m, k] and bias [m]{bias}");
            return self.poison("linear", TypeError::Mismatch { lhs: self.ty(), rhs: weight.ty(), expected });
        }
        let labels: String = ('a'..).take(x.rank() - 1).collect();
        let product = self.einsum(&format!("{labels}y,zy->{labels}z"), weight);
        match bias {
            Some(bias) => product + bias,
            None => product,
        }
    }

    /// Scaled dot-product attention (Vaswani et al. 2017) of queries `[…, t, d]`, keys `[…, s, d]` and values
    /// `[…, s, e]`: `softmax(Q·Kᵀ/√d) · V`. Where `mask`, which broadcasts to `[…, t, s]`, is false, a key is not looked
    /// at; a query without keys looks at all alike, where PyTorch gives NaN.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let [q, k, v] = ["q", "k", "v"].map(|name| g.input(name, [8, 4, 32, 16], F32)); // 8 samples, 4 heads
    /// assert_eq!(q.attention(k, v, Some(g.causal_mask(32))).ty().to_string(), "f32[8,4,32,16]");
    /// ```
    #[track_caller]
    pub fn attention(self, keys: Tensor<'g>, values: Tensor<'g>, mask: Option<Tensor<'g>>) -> Tensor<'g> {
        let width = self.shape().extents().last().copied().unwrap_or(1);
        let scores = self.matmul(keys.transpose()) * (width as f64).sqrt().recip();
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
