//! Floor 8: optimisers, written with the public graph API. Rates and the like are settings in the state:
//! changing one does not recompile.

mod adam;
mod sgd;

pub use adam::Adam;
pub use sgd::Sgd;

use crate::ops::Tensor;

/// A rule that turns gradients into new parameter values.
pub trait Optimizer {
    /// The updates for one parameter: pairs of a piece of state (the parameter, its slots, what parameters share) and
    /// its new value.
    fn update<'g>(&self, parameter: Tensor<'g>, gradient: Tensor<'g>) -> Vec<(Tensor<'g>, Tensor<'g>)>;
}
