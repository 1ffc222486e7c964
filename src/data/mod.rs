//! Floor 8: real data. Tables of numbers from CSV files, and the scaling that training wants.

mod scaling;
mod table;

pub use scaling::Scaling;
pub(crate) use scaling::root_mean_square;
pub use table::{Missing, Table};
