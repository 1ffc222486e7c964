//! The bodies of loops and rules, as frames beside the graph that they belong to.

use std::fmt::Write;

use super::escaped;
use crate::graph::Target;
use crate::ops::Graph;

/// Adds a frame for every body, with those inside it; nodes that share a body share its frame. `prefix` begins the names
/// of the graph's own nodes.
pub(super) fn bodies(graph: &Graph, prefix: &str, text: &mut String) {
    let mut last = String::new();
    for id in graph.ids() {
        let Some(body) = graph.op(id).rules().body() else { continue };
        let printed = body.to_string();
        if printed != last {
            frame(&body, &format!("{prefix}{}", id.index()), text);
            last = printed;
        }
    }
}

/// A dashed frame that points at the node of this name.
fn frame(body: &Graph, owner: &str, text: &mut String) {
    let prefix = format!("{owner}_");
    let _ = writeln!(text, "  subgraph cluster_body_{owner} {{");
    let _ =
        writeln!(text, "    label=\"body of {}\"; style=\"rounded,dashed\"; color=\"#64748b\";", &owner[1..]);
    for node in body.nodes() {
        let label = escaped(&node.op.to_string());
        let _ = writeln!(text, "    {prefix}{} [label=\"{label}\", fillcolor=\"#f1f5f9\"];", node.id.index());
    }
    for (index, (target, _)) in body.results().iter().enumerate() {
        let (Target::Output(name) | Target::Update(name)) = target;
        let _ = writeln!(text, "    {prefix}r{index} [label=\"{}\", shape=cds, style=\"\"];", escaped(name));
    }
    *text += "  }\n";
    for node in body.nodes() {
        for operand in &node.operands {
            let (from, to) = (operand.index(), node.id.index());
            let _ = writeln!(text, "  {prefix}{from} -> {prefix}{to} [label=\"{}\"];", body.ty(*operand));
        }
    }
    for (index, (_, id)) in body.results().iter().enumerate() {
        let _ = writeln!(text, "  {prefix}{} -> {prefix}r{index};", id.index());
        let _ = writeln!(text, "  {prefix}r{index} -> {owner} [style=dashed];");
    }
    bodies(body, &prefix, text);
}
