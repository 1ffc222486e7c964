//! The text of a graph: one node a line, in topological order; exact and free of file names, so that the same
//! graph always gives the same text.

use std::fmt;

use super::parse::is_plain;
use super::{Graph, NodeId, Operator, Target};

impl<O: Operator> fmt::Display for Graph<O> {
    /// `%id = operator type (operands) ; origin`, below it the body that the operator runs; at the end the results.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |id: &NodeId| format!("%{}", id.index());
        let mut last_body = String::new();
        for id in self.ids() {
            let node = self.node(id);
            write!(f, "{} = {} {}", number(&id), node.op, node.ty)?;
            let operands: Vec<String> = self.operands(id).iter().map(number).collect();
            if !operands.is_empty() {
                write!(f, " ({})", operands.join(", "))?;
            }
            writeln!(f, " ; {}", node.origin)?;
            // Nodes that share a body follow one another: it is shown once.
            let body = node.op.body().map_or(String::new(), |body| body.to_string());
            if !body.is_empty() && body != last_body {
                body.lines().try_for_each(|line| writeln!(f, "  | {line}"))?;
                last_body = body;
            }
        }
        self.results().iter().try_for_each(|(target, id)| writeln!(f, "{target} = {}", number(id)))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Output(name) => write!(f, "output {}", Named(name)),
            Target::Update(name) => write!(f, "update {}", Named(name)),
        }
    }
}

/// A name as it prints: in quotes, unless it is a word.
pub(crate) struct Named<'n>(pub &'n str);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_plain(self.0) { f.write_str(self.0) } else { write!(f, "{:?}", self.0) }
    }
}

impl<O: Operator> fmt::Debug for Graph<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
