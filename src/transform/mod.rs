//! Floor 4: graph → graph. Differentiation adds nodes to the graph it reads; every other pass is a
//! function that reads one graph and returns another.

mod extract;
mod grad;
mod jacobian;
mod jvp;
mod simplify;
mod vmap;

pub(crate) use extract::rebuild;
pub use extract::{copy_leaf_results, extract};
pub use simplify::{FAST_RULES, RULES, Rule, simplify, simplify_fast};
