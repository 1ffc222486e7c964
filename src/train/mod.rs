//! Floor 8: training. A training step is derived from a loss and an optimiser and compiled into one function; a
//! linear model is fitted to a table with it.

mod linear;
mod step;

pub use linear::{FitOptions, LinearFit, LinearProblem, Progress, Stopped, fit_linear};
pub use step::TrainingStep;
