//! What each task of a program is for, in the words of the graph it comes from.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{NodeId, Origin, View};
use crate::loops::{BufferId, Place, Program, Repeat, Task, Traffic};
use crate::ops::{Graph, Op};
use crate::runtime::{Source, TaskWork, Work};

/// The work of each task, or of all together where they are one piece of straight-line code.
pub(super) fn work(graph: &Graph, program: &Program, is_straight: bool) -> Vec<TaskWork> {
    let nodes: Vec<View<Op>> = graph.nodes().collect();
    if is_straight {
        let whole = of(&nodes, program, &program.tasks, outside(program), 1);
        return vec![TaskWork { whole, parts: vec![] }];
    }
    let task = |task: &Task| {
        let mut parts = Vec::new();
        if let Task::Repeat(repeat) = task {
            add_parts(repeat, &nodes, program, 1, &mut parts);
        }
        TaskWork { whole: of_task(&nodes, program, task, 1), parts }
    };
    program.tasks.iter().map(task).collect()
}

/// The work of a task that runs so often.
fn of_task(nodes: &[View<Op>], program: &Program, task: &Task, runs: usize) -> Work {
    of(nodes, program, std::slice::from_ref(task), task.traffic(&program.buffers), runs)
}

/// The work of tasks that read and write so much each time, and run so often.
fn of(nodes: &[View<Op>], program: &Program, tasks: &[Task], traffic: Traffic, runs: usize) -> Work {
    let size = |id: BufferId| program.buffers[id.index()].dtype.size();
    let bytes = traffic.into_iter().map(|((id, _), elements)| elements.saturating_mul(size(id)));
    Work {
        kernels: tasks.iter().flat_map(kernels).collect(),
        sources: sources(nodes, tasks),
        runs,
        bytes: bytes.fold(0, usize::saturating_add).saturating_mul(runs),
        flops: tasks.iter().map(Task::flops).fold(0, usize::saturating_add).saturating_mul(runs),
    }
}

/// Adds the work of each kernel in a repeat. Its sources are nodes of the same graph or, if it is a loop of that, of the
/// loop's body.
fn add_parts(repeat: &Repeat, nodes: &[View<Op>], program: &Program, runs: usize, parts: &mut Vec<Work>) {
    let made_for = repeat.sources.first().and_then(|&number| nodes.get(number));
    let nodes = match made_for.map(|node| &node.op) {
        Some(Op::Scan(scan)) => &scan.body.nodes,
        _ => nodes,
    };
    let runs = runs.saturating_mul(repeat.turns);
    for task in &repeat.tasks {
        match task {
            Task::Run(_) => parts.push(of_task(nodes, program, task, runs)),
            Task::Repeat(inner) => add_parts(inner, nodes, program, runs, parts),
        }
    }
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
