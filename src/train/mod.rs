//! Floor 8: training. A training step is derived from a loss and an optimiser, and compiled into one function.

mod step;

pub use step::TrainingStep;
