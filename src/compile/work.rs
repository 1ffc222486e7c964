//! What each task of a program is for, in the words of the graph it comes from.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{NodeId, Origin, View};
use crate::loops::{Place, Program, Task, Traffic};
use crate::ops::{Graph, Op};
use crate::runtime::{Source, Work};

/// The work of each task, or of all together where they are one piece of straight-line code.
pub(super) fn work(graph: &Graph, program: &Program, is_straight: bool) -> Vec<Work> {
    let nodes: Vec<View<Op>> = graph.nodes().collect();
    let of = |tasks: &[Task], traffic: Traffic| Work {
        kernels: tasks.iter().flat_map(kernels).collect(),
        sources: sources(&nodes, tasks),
        bytes: traffic.iter().map(|((id, _), n)| n * program.buffers[id.index()].dtype.size()).sum(),
        flops: tasks.iter().map(Task::flops).fold(0, usize::saturating_add),
    };
    if is_straight {
        return vec![of(&program.tasks, outside(program))];
    }
    program.tasks.iter().map(|task| of(std::slice::from_ref(task), task.traffic(&program.buffers))).collect()
}

fn kernels(task: &Task) -> Vec<String> {
    let mut found = Vec::new();
    task.kernels(&mut found);
    found.into_iter().map(|kernel| kernel.name.clone()).collect()
}

/// What straight-line code reads and writes: scratch buffers are registers, and nothing is read twice.
fn outside(program: &Program) -> Traffic {
    let mut traffic = BTreeMap::new();
    for (key, elements) in program.tasks.iter().flat_map(|task| task.traffic(&program.buffers)) {
        if !matches!(program.buffers[key.0.index()].place, Place::Arena { .. }) {
            let most: &mut usize = traffic.entry(key).or_default();
            *most = elements.max(*most);
        }
    }
    traffic
}

fn sources(nodes: &[View<Op>], tasks: &[Task]) -> Vec<Source> {
    let numbers: BTreeSet<usize> = tasks.iter().flat_map(Task::sources).copied().collect();
    let source =
        |node: &View<Op>| Source { operator: node.op.to_string(), origin: describe(&node.origin, nodes) };
    numbers.into_iter().filter_map(|number| nodes.get(number)).map(source).collect()
}

/// The origin, with the caller's file and line of what it was derived from.
fn describe(origin: &Origin, nodes: &[View<Op>]) -> String {
    let made_for = |rule: String, of: &Option<NodeId>| match of.and_then(|of| nodes.get(of.index())) {
        Some(View { origin: Origin::User(place), .. }) => format!("{rule} of {place}"),
        Some(node) => format!("{rule} of {}", node.op),
        None => rule,
    };
    match origin {
        Origin::User(place) => place.to_string(),
        Origin::Vjp { rule, of, operand } => made_for(format!("vjp {rule} operand {operand}"), of),
        Origin::Jvp { rule, of } => made_for(format!("jvp {rule}"), of),
        Origin::Batch { rule, of } => made_for(format!("batch {rule}"), of),
        Origin::Update { .. } => origin.to_string(),
        Origin::Rewrite { rule, of } => format!("{}, by {rule}", describe(of, nodes)),
    }
}
