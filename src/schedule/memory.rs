//! Buffers: where each stored node lies. Scratch buffers are still to be packed into an arena.

use rustc_hash::{FxHashMap, FxHashSet};

use super::fusion::Fusion;
use super::order::Step;
use super::repeat::Loop;
use super::{Destination, KernelId};
use crate::graph::{Name, NodeId, Target};
use crate::loops::{Affine, Buffer, BufferId, Place, Program, Task};
use crate::ops::Graph;
use crate::types::TensorType;

/// Every buffer starts on a cache line, which is also the widest vector.
pub const ALIGNMENT: usize = 64;

/// Where a node's value lies: in a buffer, from an element on that may differ from turn to turn of the loops around.
#[derive(Clone, Debug)]
pub(super) struct Home {
    pub buffer: BufferId,
    pub start: Affine,
}

impl Home {
    pub fn of(buffer: BufferId) -> Home {
        Home { buffer, start: Affine::default() }
    }
}

/// The memory of a graph while its kernels are lowered into the program.
#[derive(Default)]
pub(super) struct Memory {
    pub program: Program,
    /// The turns of each loop around, outermost first.
    pub repeats: Vec<usize>,
    /// The loops around, in names of buffers.
    pub scope: String,
    /// Where a node is read from, by kernels other than its own.
    pub home: FxHashMap<NodeId, Home>,
    /// What each kernel stores.
    pub stores: FxHashMap<KernelId, Vec<Destination>>,
    /// Where updates and outputs go, by name.
    pub states: FxHashMap<Name, Home>,
    pub outputs: FxHashMap<String, Home>,
    /// What is done for those kernels of the fusion that are loops.
    pub loops: FxHashMap<KernelId, Vec<Task>>,
}

/// What is copied into the state at the end, and from which node.
fn commits(order: &[Step]) -> impl Iterator<Item = (&Name, NodeId)> {
    order.iter().filter_map(|step| match step {
        Step::Commit { state, node } => Some((state, *node)),
        Step::Compute(_) => None,
    })
}

impl Memory {
    /// Gives a home to everything that a graph stores. Its leaves and outputs have one already; scratch buffers are
    /// packed later.
    pub fn place(&mut self, graph: &Graph, fusion: &Fusion, order: &[Step]) {
        self.place_outputs(graph, fusion);
        self.place_scratch(graph, fusion, order);
        self.place_updates(graph, fusion, order);
        for kernel in 0..fusion.kernels.len() {
            if let Some(looped) = Loop::of(graph, fusion, kernel) {
                let carries = self.place_carries(&looped);
                let tasks = looped.plan(self, &carries);
                self.loops.insert(kernel, tasks);
            }
        }
    }

    fn place_outputs(&mut self, graph: &Graph, fusion: &Fusion) {
        for (target, id) in graph.results() {
            let Target::Output(name) = target else { continue };
            if let Some(home) = self.outputs.get(&name).cloned() {
                self.home.entry(id).or_insert(home.clone());
                self.store(fusion, id, home);
            }
        }
    }

    /// Gives a home to what other kernels read, or what waits to become state.
    fn place_scratch(&mut self, graph: &Graph, fusion: &Fusion, order: &[Step]) {
        let waiting: FxHashSet<NodeId> = commits(order).map(|(_, node)| node).collect();
        for id in graph.ids().filter(|id| !self.home.contains_key(id)).collect::<Vec<_>>() {
            if fusion.stored_in[id.index()].is_some() && (fusion.needs_buffer(id) || waiting.contains(&id)) {
                let home = self.scratch(&format!("%{}", id.index()), graph.ty(id));
                self.home.insert(id, home.clone());
                self.store(fusion, id, home);
            }
        }
    }

    /// The carries of a loop lie where their last values are wanted, or else in buffers of their own.
    fn place_carries(&mut self, looped: &Loop<'_>) -> Vec<Home> {
        let mut carries = Vec::new();
        for (carry, ty, last) in looped.carries() {
            carries.push(match last {
                Some(node) => self.home_of(node),
                None => self.scratch(&format!("{} carry{carry}", looped.name()), ty),
            });
        }
        carries
    }

    /// Stores into the state itself, of updates that need not be kept aside.
    fn place_updates(&mut self, graph: &Graph, fusion: &Fusion, order: &[Step]) {
        let staged: FxHashSet<&str> = commits(order).map(|(state, _)| &**state).collect();
        for (target, id) in graph.results() {
            let Target::Update(name) = target else { continue };
            let home = self.states.get(name.as_str()).cloned();
            if let Some(home) = home.filter(|_| !staged.contains(name.as_str())) {
                self.store(fusion, id, home);
            }
        }
    }

    pub fn buffer(&mut self, name: &str, ty: TensorType, place: Place) -> BufferId {
        let (dtype, elements) = (ty.dtype, ty.shape.elements());
        self.program.buffers.push(Buffer { name: name.into(), dtype, elements, place, panels: None });
        BufferId(self.program.buffers.len() as u32 - 1)
    }

    fn scratch(&mut self, name: &str, ty: TensorType) -> Home {
        Home::of(self.buffer(&format!("{}{name}", self.scope), ty, Place::Arena { offset: 0 }))
    }

    fn store(&mut self, fusion: &Fusion, node: NodeId, home: Home) {
        if let Some(kernel) = fusion.stored_in[node.index()] {
            self.stores.entry(kernel).or_default().push(Destination { node, home });
        }
    }

    /// Where a stored node lies. A node without a home would be a defect, which the program's verification reports.
    pub fn home_of(&self, node: NodeId) -> Home {
        self.home.get(&node).cloned().unwrap_or(Home::of(BufferId::NONE))
    }
}
