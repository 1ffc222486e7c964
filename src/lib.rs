//! Hitofude.
pub mod codegen;
pub mod compile;
pub mod data;
pub mod dump;
pub mod error;
pub mod graph;
mod interpret;
mod io;
pub mod loops;
mod nn;
pub mod ops;
pub mod optim;
pub mod runtime;
pub mod schedule;
pub mod train;
pub mod transform;
pub mod types;
pub use compile::{Function, Listing, Options};
pub use error::{Error, Result};
pub use ops::{Graph, Tensor};
pub use runtime::*;
pub use train::TrainingStep;
pub use types::*;
pub mod prelude {
    pub use crate::optim::Sgd;
    pub use crate::types::DType::{self, *};
    pub use crate::{Error, Graph, Result, Tensor, Value};
    pub use ndarray::{Array1, Array2, array};
}
