//! Floor 5: the schedule. Decides which nodes are computed together in one kernel (`fusion`), in which order
//! kernels run so that in-place updates come after every read (`order`), and where each buffer lies (`interface`,
//! `memory`); lowers every kernel to loops (`lower`), and plans the bodies of loops in the same way (`repeat`).

mod arena;
mod collapse;
mod contract;
mod cost;
mod depth;
mod forward;
mod fusion;
mod in_place;
mod interface;
mod loop_fusion;
mod lower;
mod memory;
mod order;
mod overwrite;
mod panels;
mod parallel;
mod repeat;
mod rows;
mod sparse;
mod split;
mod stages;
mod strips;
mod unroll;

use rustc_hash::FxHashMap;

use crate::error::{Error, Result};
use crate::graph::{Name, NodeId, Target};
use crate::loops::{Buffer, Panels, Place, Program, Task};
pub use crate::ops::Role;

use crate::ops::{Graph, Leaf, Op};
use crate::types::{Scalar, TensorType};

use cost::STRAIGHTENED;
use fusion::Fusion;
use interface::Interface;
pub use memory::ALIGNMENT;
use memory::{Home, Memory};
use order::Step;

/// What one call of a compiled graph does, and how its memory is laid out.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Kernels and buffers.
    pub program: Program,
    /// Parameters, slots, settings and keys. Each `at` is an offset in bytes.
    pub state: Vec<Entry>,
    /// Values given at every call. Each `at` is the input's number.
    pub inputs: Vec<Entry>,
    /// Values reported by every call. Each `at` is an offset in bytes.
    pub outputs: Vec<Entry>,
    pub state_bytes: usize,
    pub output_bytes: usize,
}

impl Schedule {
    /// The most scratch memory that is in use at one time, in bytes: no arena can be smaller.
    pub fn live_bytes(&self) -> usize {
        arena::live_bytes(&self.program)
    }
}

/// A named tensor in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: Name,
    pub ty: TensorType,
    /// Where it lies: a byte offset, or an input's number.
    pub at: usize,
    /// For state: what it is for, and what each element starts as.
    pub state: Option<(Role, Scalar)>,
    /// How a matrix of state lies in memory, if not row by row.
    pub panels: Option<Panels>,
}

/// The number of a kernel while the schedule is made.
type KernelId = usize;

/// A place that a kernel writes a node's value to.
#[derive(Clone, Debug)]
struct Destination {
    node: NodeId,
    home: Home,
}

/// Plans a graph that has been made ready (see [`crate::transform::ready`]).
///
/// # Errors
/// Two results of one name; [`Error::Internal`] for a graph that breaks its own rules.
pub fn schedule(graph: &Graph) -> Result<Schedule> {
    check_results(graph)?;
    let mut memory = Memory::default();
    let Interface { mut state, inputs, outputs, state_bytes, output_bytes } =
        Interface::place(graph, &mut memory);
    let tasks = plan(graph, &mut memory);
    let mut program = Program { tasks, ..memory.program };
    program.verify()?; // the passes rely on it
    PASSES.iter().for_each(|pass| pass(&mut program));
    program.verify()?;
    let in_panels = |buffer: &Buffer| match buffer.place {
        Place::State { offset } => buffer.panels.map(|panels| (offset, panels)),
        _ => None,
    };
    let in_panels: FxHashMap<usize, Panels> = program.buffers.iter().filter_map(in_panels).collect();
    // What has no elements takes no room, so that the next one lies in the same place.
    for entry in state.iter_mut().filter(|entry| entry.ty.shape.elements() > 0) {
        entry.panels = in_panels.get(&entry.at).copied();
    }
    Ok(Schedule { program, state, inputs, outputs, state_bytes, output_bytes })
}

/// Plans a graph whose leaves and outputs have their places.
fn plan(graph: &Graph, memory: &mut Memory) -> Vec<Task> {
    let (fusion, order) = ordered(graph);
    memory.place(graph, &fusion, &order);
    let mut tasks = Vec::new();
    for step in &order {
        match step {
            Step::Compute(kernel) => match memory.loops.remove(kernel) {
                Some(looped) => tasks.extend(looped),
                None => tasks.push(Task::Run(lower::kernel(graph, &fusion, memory, *kernel))),
            },
            Step::Commit { state, node } => {
                let home = memory.states.get(state).cloned().unwrap_or_else(|| memory.home_of(*node));
                tasks.push(Task::Run(lower::copy(graph, memory, format!("commit {state}"), *node, &home)));
            }
        }
    }
    tasks
}

/// Kernels and their order. A product that is added to a state in place, but kept aside in this order since it would run
/// before another that reads the old value, is computed apart: then both products come before either update.
fn ordered(graph: &Graph) -> (Fusion, Vec<Step>) {
    let fusion = fusion::fuse(graph, &[]);
    let order = order::order(graph, &fusion);
    let commits = order.iter().filter_map(|step| match step {
        Step::Commit { node, .. } => Some(*node),
        Step::Compute(_) => None,
    });
    let aside: Vec<NodeId> = commits.collect();
    if aside.is_empty() {
        return (fusion, order);
    }
    let fusion = fusion::fuse(graph, &aside);
    let order = order::order(graph, &fusion);
    (fusion, order)
}

/// What is done to the kernels after they are lowered, in order.
const PASSES: &[fn(&mut Program)] = &[
    contract::contract,
    sparse::sparse,
    loop_fusion::fuse,
    collapse::collapse,
    straighten,
    collapse::collapse,
    panels::in_panels,
    strips::in_strips,
    depth::in_pieces,
    rows::in_blocks,
    parallel::parallel,
    overwrite::overwrite,
    arena::pack,
];

/// Writes small loops out, cuts loops where guards change, and drops what that decides; which may leave loops that are
/// short enough now.
fn straighten(program: &mut Program) {
    for round in 0..STRAIGHTENED {
        let is_changed = unroll::unroll(program) | split::split(program);
        if round > 0 && !is_changed {
            break;
        }
        forward::forward(program);
    }
}

fn check_results(graph: &Graph) -> Result<()> {
    graph.validate()?;
    let results = graph.results();
    for (index, (target, _)) in results.iter().enumerate() {
        if results[..index].iter().any(|(earlier, _)| earlier == target) {
            let (Target::Output(name) | Target::Update(name)) = target;
            return Err(Error::Value(format!("two results are named `{name}`; give each its own name")));
        }
    }
    Ok(())
}

/// Whether the node's value lies in memory before the call.
fn is_memory_leaf(graph: &Graph, id: NodeId) -> bool {
    matches!(graph.node(id).op, Op::Leaf(Leaf::Input { .. } | Leaf::State { .. }))
}
