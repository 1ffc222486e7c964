//! Adam and AdamW.

use super::Optimizer;
use crate::ops::Tensor;

/// Adam (Kingma & Ba 2015) and AdamW (Loshchilov & Hutter 2019), with PyTorch's formulas (`torch.optim.Adam`,
/// `torch.optim.AdamW`), `t` counting steps from 1:
///
/// - `m ← β₁·m + (1 − β₁)·g`, `v ← β₂·v + (1 − β₂)·g²`
/// - `p ← p − lr/(1 − β₁ᵗ) · m / (√v/√(1 − β₂ᵗ) + ε)`
/// - computed in the order of the paper's section 2, with one division an element: `lr·√(1 − β₂ᵗ)/(1 − β₁ᵗ) · m /
///   (√v + ε·√(1 − β₂ᵗ))`
/// - AdamW first scales `p` by `1 − lr·λ`
///
/// Settings: `learning_rate`, `beta1`, `beta2`, `epsilon`, `weight_decay`, and `step`, the number of steps taken. The slots
/// of parameter `p` are `p.m` and `p.v`, zero at first.
///
/// ```
/// use hitofude::prelude::*;
/// let g = Graph::new();
/// let w = g.parameter("w", [], F64);
/// let step = g.training_step((w - 3.0).square(), Adam::new(0.1))?.compile()?;
/// let mut state = step.state();
/// let inputs = step.inputs();
/// step.run(&mut state, &inputs)?;
/// assert!((state.get("w")?.to_f64()[0] - 0.1).abs() < 1e-9); // the first step is lr long
/// step.run_many(&mut state, &inputs, 499)?;
/// assert!((state.get("w")?.to_f64()[0] - 3.0).abs() < 1e-3);
/// assert_eq!(state.get("step")?, Value::from(500.0));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adam {
    learning_rate: f64,
    betas: (f64, f64),
    epsilon: f64,
    weight_decay: Option<f64>,
}

impl Adam {
    /// Adam with this initial rate, betas of 0.9 and 0.999, and an epsilon of 1e-8.
    pub fn new(learning_rate: f64) -> Adam {
        Adam { learning_rate, betas: (0.9, 0.999), epsilon: 1e-8, weight_decay: None }
    }

    /// With other betas.
    pub fn betas(self, beta1: f64, beta2: f64) -> Adam {
        Adam { betas: (beta1, beta2), ..self }
    }

    /// With another epsilon.
    pub fn epsilon(self, epsilon: f64) -> Adam {
        Adam { epsilon, ..self }
    }

    /// AdamW: with decay of the parameters themselves, apart from the gradient.
    pub fn decoupled_weight_decay(self, factor: f64) -> Adam {
        Adam { weight_decay: Some(factor), ..self }
    }
}

impl Optimizer for Adam {
    fn update<'g>(&self, parameter: Tensor<'g>, gradient: Tensor<'g>) -> Vec<(Tensor<'g>, Tensor<'g>)> {
        let setting = |name, value| parameter.setting(name, value);
        let rate = setting("learning_rate", self.learning_rate);
        let (beta1, beta2) = (setting("beta1", self.betas.0), setting("beta2", self.betas.1));
        let step = setting("step", 0.0);
        let count = step + 1.0;
        let (m, v) = (parameter.slot("m", 0.0), parameter.slot("v", 0.0));

        let mean = beta1 * m + (1.0 - beta1) * gradient;
        let square = beta2 * v + (1.0 - beta2) * gradient.square();
        let unbiased = (1.0 - beta2.pow(count)).sqrt();
        let root = square.sqrt() + unbiased * setting("epsilon", self.epsilon);
        let decayed = match self.weight_decay {
            Some(decay) => parameter * (1.0 - rate * setting("weight_decay", decay)),
            None => parameter,
        };
        let updated = decayed - rate * unbiased / (1.0 - beta1.pow(count)) * mean / root;
        vec![(m, mean), (v, square), (parameter, updated), (step, count)]
    }
}
