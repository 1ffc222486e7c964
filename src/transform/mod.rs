//! Floor 4: graph → graph. Differentiation adds nodes to the graph it reads; every other pass is a
//! function that reads one graph and returns another.

mod bodies;
mod extract;
mod grad;
mod jacobian;
mod jvp;
mod keep;
mod lift;
mod loops;
mod prune;
mod ready;
mod simplify;
mod vmap;

pub use extract::extract;
pub(crate) use extract::rebuild;
pub use keep::keep;
pub use lift::lift;
pub use prune::prune;
pub use ready::ready;
pub use simplify::{FAST_RULES, RULES, Rule, simplify, simplify_fast};
