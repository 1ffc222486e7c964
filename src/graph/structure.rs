//! Graphs as values: equality of everything that is in them, and a hash that goes with it.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::{Graph, Operator};

impl<O: Operator> Graph<O> {
    /// A hash of operators, operands and results. It is the same in every process.
    pub(crate) fn structure_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for id in self.ids() {
            self.node(id).op.hash(&mut hasher);
            self.operands(id).hash(&mut hasher);
        }
        self.inner.borrow().results.hash(&mut hasher);
        hasher.finish()
    }

    /// Whether both graphs have the same nodes, of the same origins, and the same results.
    pub(crate) fn is_same(&self, other: &Graph<O>) -> bool {
        let same_node = |id| {
            let (one, another) = (self.node(id), other.node(id));
            one.op == another.op && one.origin == another.origin && self.operands(id) == other.operands(id)
        };
        self.len() == other.len()
            && self.inner.borrow().results == other.inner.borrow().results
            && self.ids().all(same_node)
    }
}
