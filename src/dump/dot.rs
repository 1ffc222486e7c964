//! A graph as Graphviz DOT: forward, gradient and update told apart by colour and frame.

use std::fmt::Write;

use super::bodies::bodies;
use super::escaped;
use crate::graph::{NodeId, Operator, Origin, Phase, Target};
use crate::ops::{Graph, Leaf, Op, Role};

/// The look of a phase.
struct Look {
    phase: Phase,
    title: &'static str,
    frame: &'static str,
    fill: &'static str,
}

const LOOKS: [Look; 3] = [
    Look { phase: Phase::Forward, title: "forward", frame: "#1d4ed8", fill: "#dbeafe" },
    Look { phase: Phase::Gradient, title: "gradient", frame: "#b45309", fill: "#fef3c7" },
    Look { phase: Phase::Update, title: "update", frame: "#15803d", fill: "#dcfce7" },
];

/// The graph in the DOT language. Edges carry types; nodes of the gradient name the rule and the node they come
/// from; a node's tooltip is its place in the user's program. Bodies of loops have frames of their own.
pub fn dot(graph: &Graph) -> String {
    let mut text = String::from("digraph hitofude {\n");
    text += "  graph [rankdir=TB, fontname=\"Helvetica\", fontsize=12, nodesep=0.3, ranksep=0.35, compound=true];\n";
    text += "  node [fontname=\"Helvetica\", fontsize=11, style=filled, shape=box, margin=\"0.12,0.05\"];\n";
    text += "  edge [fontname=\"Helvetica\", fontsize=9, color=\"#475569\", fontcolor=\"#475569\", arrowsize=0.7];\n";
    for look in &LOOKS {
        cluster(graph, look, &mut text);
    }
    for id in graph.ids() {
        for operand in graph.operands(id) {
            let _ = writeln!(
                text,
                "  n{} -> n{} [label=\"{}\"];",
                operand.index(),
                id.index(),
                graph.ty(operand)
            );
        }
    }
    bodies(graph, "n", &mut text);
    for (index, (target, id)) in graph.results().into_iter().enumerate() {
        result(index, &target, id, &mut text);
    }
    text + "}\n"
}

fn cluster(graph: &Graph, look: &Look, text: &mut String) {
    let members: Vec<NodeId> =
        graph.ids().filter(|&id| graph.node(id).origin.phase() == look.phase).collect();
    if members.is_empty() {
        return;
    }
    let Look { title, frame, fill, .. } = look;
    let _ = writeln!(text, "  subgraph cluster_{title} {{");
    let _ = writeln!(text, "    label=\"{title}\"; color=\"{frame}\"; fontcolor=\"{frame}\"; style=rounded;");
    for id in members {
        let node = graph.node(id);
        let (label, tooltip) = (label(id, &node.op, &node.origin), tooltip(&node.origin));
        let shape = shape(&node.op);
        let _ = writeln!(
            text,
            "    n{} [label=\"{label}\", fillcolor=\"{fill}\", color=\"{frame}\"{shape}, tooltip=\"{}\"];",
            id.index(),
            escaped(&tooltip)
        );
    }
    *text += "  }\n";
}

/// Operator and number; below, for what was derived, the rule and the node it comes from.
fn label(id: NodeId, op: &Op, origin: &Origin) -> String {
    let op = match op {
        Op::Custom(_) => op.name().to_string(), // The rule would fill the page.
        op => op.to_string(),
    };
    let head = format!("{}\\n%{}", escaped(&op), id.index());
    let source = match origin {
        Origin::Rewrite { of, .. } => of,
        origin => origin,
    };
    match source {
        Origin::User(_) => head,
        derived => format!("{head}  {}", escaped(&derived.to_string())),
    }
}

fn tooltip(origin: &Origin) -> String {
    match origin {
        Origin::User(place) => place.to_string(),
        derived => derived.to_string(),
    }
}

/// Inputs and state stand out.
fn shape(op: &Op) -> &'static str {
    match op {
        Op::Leaf(Leaf::Input { .. }) => ", shape=ellipse",
        Op::Leaf(Leaf::State { role: Role::Parameter, .. }) => ", shape=ellipse, penwidth=2.5",
        Op::Leaf(Leaf::State { .. }) => ", shape=ellipse, style=\"filled,dashed\"",
        Op::Leaf(_) => ", shape=plain",
        Op::Elementwise(_)
        | Op::Reduce(_)
        | Op::Dot(_)
        | Op::Layout(_)
        | Op::Section(_)
        | Op::Gather(_)
        | Op::ScatterAdd(_)
        | Op::Recurrence(_)
        | Op::Argsort(_)
        | Op::Window(_)
        | Op::Random(_)
        | Op::Custom(_) => "",
        Op::Scan(_) => ", shape=box3d",
    }
}

fn result(index: usize, target: &Target, id: NodeId, text: &mut String) {
    let (name, look) = match target {
        Target::Output(name) => (name, "color=\"#1d4ed8\", fontcolor=\"#1d4ed8\""),
        Target::Update(name) => (name, "color=\"#15803d\", fontcolor=\"#15803d\""),
    };
    let arrow = if matches!(target, Target::Update(_)) { "← " } else { "" };
    let _ = writeln!(text, "  r{index} [label=\"{arrow}{}\", shape=cds, style=\"\", {look}];", escaped(name));
    let _ = writeln!(text, "  n{} -> r{index} [style=bold, {look}];", id.index());
}
