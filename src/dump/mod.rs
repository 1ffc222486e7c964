//! Floor 8: pictures of every stage, for people. The text form of a graph, a schedule and a kernel is their
//! `Display`; this is Graphviz.

mod bodies;
mod dot;
mod kernels;

pub use dot::dot;
pub use kernels::schedule_dot;

/// Escapes text for a double-quoted string of the DOT language.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
