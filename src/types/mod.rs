//! Floor 0: what a value is. Element types, shapes and the rules of broadcasting, scalar literals,
//! and the host arrays that cross the public API. Imports nothing of ours but [`crate::error`].

mod dtype;
mod scalar;
mod shape;
mod value;

pub use dtype::{DType, Element};
pub use scalar::Scalar;
pub(crate) use shape::parse_numbers;
pub use shape::{Axes, MAX_RANK, Shape, TensorType};
pub use value::Value;
pub(crate) use value::map_value;
