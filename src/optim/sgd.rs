//! Stochastic gradient descent.

use super::Optimizer;
use crate::ops::Tensor;

/// Stochastic gradient descent, with PyTorch's formulas (`torch.optim.SGD`, no dampening):
///
/// - plain: `p ← p − lr·g`
/// - momentum: `v ← μ·v + g`, `p ← p − lr·v`, with `v` zero at first
/// - Nesterov: `v ← μ·v + g`, `p ← p − lr·(g + μ·v)`
///
/// With weight decay `λ`, `g + λ·p` takes the place of `g`.
///
/// `lr` is the setting `learning_rate`, `μ` the setting `momentum`, `λ` the setting `weight_decay`; the slot of
/// parameter `p` is `p.momentum`.
///
/// ```
/// use hitofude::prelude::*;
/// let g = Graph::new();
/// let w = g.parameter("w", [], F64);
/// let step = g.training_step((w - 3.0).square(), Sgd::new(0.1).momentum(0.5))?.compile()?;
/// let mut state = step.state();
/// state.set_number("learning_rate", 0.25)?;
/// let inputs = step.inputs();
/// step.run_many(&mut state, &inputs, 2)?;
/// // v = -6, p = 1.5; v = -3 - 3 = -6, p = 3.
/// assert_eq!(state.get("w")?, Value::from(3.0));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sgd {
    learning_rate: f64,
    momentum: Option<Momentum>,
    weight_decay: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Momentum {
    factor: f64,
    is_nesterov: bool,
}

impl Sgd {
    /// Plain gradient descent with this initial rate.
    pub fn new(learning_rate: f64) -> Sgd {
        Sgd { learning_rate, momentum: None, weight_decay: None }
    }

    /// With momentum.
    pub fn momentum(self, factor: f64) -> Sgd {
        Sgd { momentum: Some(Momentum { factor, is_nesterov: false }), ..self }
    }

    /// With weight decay, which is added to the gradient.
    pub fn weight_decay(self, factor: f64) -> Sgd {
        Sgd { weight_decay: Some(factor), ..self }
    }

    /// With Nesterov's momentum.
    pub fn nesterov(self, factor: f64) -> Sgd {
        Sgd { momentum: Some(Momentum { factor, is_nesterov: true }), ..self }
    }
}

impl Optimizer for Sgd {
    fn update<'g>(&self, parameter: Tensor<'g>, gradient: Tensor<'g>) -> Vec<(Tensor<'g>, Tensor<'g>)> {
        let setting = |name, value| parameter.setting(name, value);
        let rate = setting("learning_rate", self.learning_rate);
        let gradient = match self.weight_decay {
            Some(decay) => gradient + setting("weight_decay", decay) * parameter,
            None => gradient,
        };
        let Some(momentum) = self.momentum else {
            return vec![(parameter, parameter - rate * gradient)];
        };
        let factor = setting("momentum", momentum.factor);
        let velocity = parameter.slot("momentum", 0.0);
        let updated = factor * velocity + gradient;
        let direction = if momentum.is_nesterov { gradient + factor * updated } else { updated };
        vec![(velocity, updated), (parameter, parameter - rate * direction)]
    }
}
