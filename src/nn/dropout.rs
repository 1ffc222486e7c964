//! Dropout.

use crate::error::TypeError;
use crate::ops::Tensor;

impl<'g> Tensor<'g> {
    /// Dropout (Srivastava et al. 2014), as `torch.nn.functional.dropout` in training: each element is 0 with
    /// probability `rate`, else `x/(1 − rate)`; at a rate of 1 all are 0. `key` chooses which: one of
    /// [`crate::Graph::random_key`] chooses anew at each step, and [`Tensor::fold_in`] tells layers apart. To evaluate a
    /// model, build it without.
    ///
    /// The elements kept are `jax.random.bernoulli(key, jnp.float32(1 - rate), x.shape)`.
    ///
    /// ```
    /// use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let (x, target) = (g.input("x", [8, 16], F32), g.input("target", [8, 1], F32));
    /// let key = g.random_key("dropout", 7);
    /// let hidden = x.linear(g.parameter("w1", [32, 16], F32), g.parameter("b1", [32], F32)).relu();
    /// let output = hidden.dropout(0.5, key).linear(g.parameter("w2", [1, 32], F32), g.parameter("b2", [1], F32));
    /// let step = g.training_step(output.mse_loss(target), Sgd::new(0.1))?.compile()?;
    /// assert!(step.state().get("dropout")? == Value::from(7i64));
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn dropout(self, rate: f64, key: Tensor<'g>) -> Tensor<'g> {
        if !(0.0..=1.0).contains(&rate) {
            let message = format!("a rate of {rate} is no probability");
            return self.poison("dropout", TypeError::Invalid(message));
        }
        if !self.dtype().is_float() {
            return self.poison("dropout", TypeError::DType { ty: self.ty(), expected: "f32 or f64" });
        }
        if rate == 0.0 {
            return self;
        }
        let kept = key.bernoulli(1.0 - rate, self.shape());
        kept.select(self * (1.0 / (1.0 - rate)), 0.0)
    }
}
