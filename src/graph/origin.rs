//! Where a node comes from: shown by dumps, used by error messages.

use std::fmt;
use std::sync::Arc;

use super::{Name, NodeId};
use crate::error::Place;

/// Why a node is in the graph.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// The user wrote it.
    User(Place),
    /// The reverse rule of operator `rule` made it, for the cotangent of that node's operand.
    Vjp { rule: &'static str, of: Option<NodeId>, operand: usize },
    /// The forward rule of operator `rule` made it.
    Jvp { rule: &'static str, of: Option<NodeId> },
    /// The batching rule of operator `rule` made it.
    Batch { rule: &'static str, of: Option<NodeId> },
    /// The optimiser made it to update this parameter.
    Update { parameter: Name },
    /// A simplifier rule made it from something of this origin.
    Rewrite { rule: &'static str, of: Arc<Origin> },
}

/// The part of a training step a node belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Forward,
    Gradient,
    Update,
}

impl Origin {
    /// Forward, gradient or update.
    pub fn phase(&self) -> Phase {
        match self {
            Origin::User(_) | Origin::Jvp { .. } | Origin::Batch { .. } => Phase::Forward,
            Origin::Vjp { .. } => Phase::Gradient,
            Origin::Update { .. } => Phase::Update,
            Origin::Rewrite { of, .. } => of.phase(),
        }
    }

    /// The origin of a node that `rule` puts in the place of one of this origin.
    pub(crate) fn rewritten(self, rule: &'static str) -> Origin {
        let of = match self {
            Origin::Rewrite { of, .. } => of,
            original => Arc::new(original),
        };
        Origin::Rewrite { rule, of }
    }

    /// The origin with node numbers of one graph translated into those of another.
    pub(crate) fn renumbered(&self, new_id: &impl Fn(NodeId) -> Option<NodeId>) -> Origin {
        match self.clone() {
            Origin::Vjp { rule, of, operand } => Origin::Vjp { rule, of: of.and_then(new_id), operand },
            Origin::Jvp { rule, of } => Origin::Jvp { rule, of: of.and_then(new_id) },
            Origin::Batch { rule, of } => Origin::Batch { rule, of: of.and_then(new_id) },
            Origin::Rewrite { rule, of } => Origin::Rewrite { rule, of: Arc::new(of.renumbered(new_id)) },
            same => same,
        }
    }
}

impl fmt::Display for Origin {
    /// Free of file names and lines, so that it is stable in snapshots.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let node = |of: &Option<NodeId>| of.map_or(String::new(), |id| format!(" %{}", id.index()));
        match self {
            Origin::User(place) if place.scope.is_empty() => f.write_str("user"),
            Origin::User(place) => write!(f, "user {}", place.scope),
            Origin::Vjp { rule, of, operand } => write!(f, "vjp {rule}{} operand {operand}", node(of)),
            Origin::Jvp { rule, of } => write!(f, "jvp {rule}{}", node(of)),
            Origin::Batch { rule, of } => write!(f, "batch {rule}{}", node(of)),
            Origin::Update { parameter } => write!(f, "update {parameter}"),
            Origin::Rewrite { rule, of } => write!(f, "{of}, by {rule}"),
        }
    }
}
