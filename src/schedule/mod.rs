//! Floor 5: the schedule. Decides which nodes are computed together in one kernel (`fusion`), in which order
//! kernels run so that in-place updates come after every read (`order`), and where each buffer lies (`memory`);
//! lowers every kernel to loops (`lower`).

mod arena;
mod collapse;
mod contract;
mod cost;
mod forward;
mod fusion;
mod loop_fusion;
mod lower;
mod memory;
mod order;

use crate::error::{Error, Result};
use crate::graph::{Name, NodeId, Target};
use crate::loops::{BufferId, Kernel, Program};
pub use crate::ops::Role;

use crate::ops::{Graph, Leaf, Op};
use crate::types::{Scalar, TensorType};

pub use memory::ALIGNMENT;

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

/// A named tensor in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub name: Name,
    pub ty: TensorType,
    /// Where it lies: a byte offset, or an input's number.
    pub at: usize,
    /// For state: what it is for, and what each element starts as.
    pub state: Option<(Role, Scalar)>,
}

/// The number of a kernel while the schedule is made.
type KernelId = usize;

/// A buffer that a kernel writes a node's value to.
#[derive(Clone, Copy, Debug)]
struct Destination {
    node: NodeId,
    buffer: BufferId,
}

/// Plans the graph's results, none of which may be a leaf (see [`crate::transform::copy_leaf_results`]).
///
/// # Errors
/// Two results of one name; [`Error::Internal`] for a graph that breaks its own rules.
pub fn schedule(graph: &Graph) -> Result<Schedule> {
    check_results(graph)?;
    let fusion = fusion::fuse(graph);
    let order = order::order(graph, &fusion);
    let mut memory = memory::Memory::plan(graph, &fusion, &order);
    let lowered: Vec<Kernel> = (order.iter())
        .map(|task| match task {
            order::Task::Compute(kernel) => lower::kernel(graph, &fusion, &memory, *kernel),
            order::Task::Commit { state, node } => lower::copy(graph, &memory, state, *node),
        })
        .collect();
    memory.program.kernels = lowered;
    memory.program.verify()?; // the passes rely on it
    PASSES.iter().for_each(|pass| pass(&mut memory.program));
    memory.program.verify()?;
    Ok(memory.into_schedule())
}

/// What is done to the kernels after they are lowered, in order.
const PASSES: &[fn(&mut Program)] =
    &[contract::contract, loop_fusion::fuse, forward::forward, collapse::collapse, arena::pack];

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
