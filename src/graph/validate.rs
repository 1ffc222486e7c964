//! The graph's own rules, checked: run by tests after every pass, and by whoever doubts a graph.

use rustc_hash::FxHashSet;

use super::{Graph, Operator, Target};
use crate::error::{Error, Result};

impl<O: Operator> Graph<O> {
    /// Checks that operands come before users, that every node has the type its operator infers,
    /// that equal nodes are one, and that updates have the type of what they update.
    ///
    /// # Errors
    /// The first error of the user's, else [`Error::Internal`] naming the node.
    pub fn validate(&self) -> Result<()> {
        self.check()?;
        let mut seen = FxHashSet::default();
        for id in self.ids() {
            let node = self.node(id);
            let operands = self.operands(id);
            let fault =
                |what: &str| Err(Error::Internal(format!("node %{} ({}) {what}", id.index(), node.op)));
            if operands.iter().any(|&operand| operand >= id) {
                return fault("comes before one of its operands");
            }
            let types: Vec<_> = operands.iter().map(|&operand| self.ty(operand)).collect();
            if node.op.infer(&types) != Ok(node.ty) {
                return fault("does not have the type its operator infers");
            }
            if !seen.insert((node.op.clone(), operands)) {
                return fault("stands in the graph twice");
            }
        }
        self.verify_updates()
    }

    fn verify_updates(&self) -> Result<()> {
        for (target, id) in self.results() {
            let Target::Update(name) = target else { continue };
            match self.leaf(&name) {
                Some(leaf) if self.ty(leaf) == self.ty(id) => {}
                Some(leaf) => {
                    return Err(Error::ValueType {
                        kind: "state",
                        name,
                        expected: self.ty(leaf),
                        given: self.ty(id),
                    });
                }
                None => {
                    return Err(Error::Internal(format!("update of `{name}`, which is not in the graph")));
                }
            }
        }
        Ok(())
    }
}
