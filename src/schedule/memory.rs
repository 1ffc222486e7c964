//! Where everything lies: state, inputs, outputs, and scratch buffers still to be packed into an arena.

use std::collections::HashMap;

use super::fusion::Fusion;
use super::order::Task;
use super::{Destination, Entry, KernelId, Schedule};
use crate::graph::{Name, NodeId, Target};
use crate::loops::{Buffer, BufferId, Place, Program};
use crate::ops::{Graph, Leaf, Op};
use crate::types::TensorType;

/// Every buffer starts on a cache line, which is also the widest vector.
pub const ALIGNMENT: usize = 64;

/// The plan while kernels are lowered into its program.
pub(super) struct Memory {
    pub program: Program,
    state: Vec<Entry>,
    inputs: Vec<Entry>,
    outputs: Vec<Entry>,
    state_bytes: usize,
    output_bytes: usize,
    /// Where a node is read from, by kernels other than its own.
    pub home: HashMap<NodeId, BufferId>,
    /// What each kernel stores.
    pub stores: HashMap<KernelId, Vec<Destination>>,
    states: HashMap<Name, BufferId>,
}

impl Memory {
    pub fn plan(graph: &Graph, fusion: &Fusion, order: &[Task]) -> Memory {
        let mut memory = Memory {
            program: Program::default(),
            state: Vec::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            state_bytes: 0,
            output_bytes: 0,
            home: HashMap::new(),
            stores: HashMap::new(),
            states: HashMap::new(),
        };
        memory.place_leaves(graph);
        memory.place_outputs(graph, fusion);
        memory.place_scratch(graph, fusion, order);
        memory.place_updates(graph, fusion, order);
        memory
    }

    fn place_leaves(&mut self, graph: &Graph) {
        for id in graph.ids() {
            let node = graph.node(id);
            match &node.op {
                Op::Leaf(Leaf::Input { name, ty }) => {
                    let index = self.inputs.len();
                    self.inputs.push(Entry { name: name.clone(), ty: *ty, at: index, state: None });
                    let buffer = self.buffer(name, *ty, Place::Input { index });
                    self.home.insert(id, buffer);
                }
                Op::Leaf(Leaf::State { name, ty, role, initial }) => {
                    let offset = advance(&mut self.state_bytes, ty.bytes());
                    let state = Some((*role, *initial));
                    self.state.push(Entry { name: name.clone(), ty: *ty, at: offset, state });
                    let buffer = self.buffer(name, *ty, Place::State { offset });
                    self.home.insert(id, buffer);
                    self.states.insert(name.clone(), buffer);
                }
                _ => {}
            }
        }
    }

    fn place_outputs(&mut self, graph: &Graph, fusion: &Fusion) {
        for (target, id) in graph.results() {
            let Target::Output(name) = target else { continue };
            let ty = graph.ty(id);
            let offset = advance(&mut self.output_bytes, ty.bytes());
            self.outputs.push(Entry { name: name.as_str().into(), ty, at: offset, state: None });
            let buffer = self.buffer(&name, ty, Place::Output { offset });
            self.home.entry(id).or_insert(buffer);
            self.store(fusion, id, buffer);
        }
    }

    /// Gives a home, to be packed later, to what other kernels read, or what waits to become state.
    fn place_scratch(&mut self, graph: &Graph, fusion: &Fusion, order: &[Task]) {
        let waits =
            |id: NodeId| order.iter().any(|task| matches!(task, Task::Commit { node, .. } if *node == id));
        for id in graph.ids().filter(|id| !self.home.contains_key(id)).collect::<Vec<_>>() {
            if fusion.stored_in[id.index()].is_some() && (fusion.needs_buffer(id) || waits(id)) {
                let name = format!("%{}", id.index());
                let buffer = self.buffer(&name, graph.ty(id), Place::Arena { offset: 0 });
                self.home.insert(id, buffer);
                self.store(fusion, id, buffer);
            }
        }
    }

    /// Stores into the state itself, of updates that need not be kept aside.
    fn place_updates(&mut self, graph: &Graph, fusion: &Fusion, order: &[Task]) {
        for (target, id) in graph.results() {
            let Target::Update(name) = target else { continue };
            let staged =
                order.iter().any(|task| matches!(task, Task::Commit { state, .. } if **state == *name));
            if let Some(&buffer) = self.states.get(name.as_str()).filter(|_| !staged) {
                self.store(fusion, id, buffer);
            }
        }
    }

    fn buffer(&mut self, name: &str, ty: TensorType, place: Place) -> BufferId {
        let (dtype, elements) = (ty.dtype, ty.shape.elements());
        self.program.buffers.push(Buffer { name: name.into(), dtype, elements, place });
        BufferId(self.program.buffers.len() as u32 - 1)
    }

    fn store(&mut self, fusion: &Fusion, node: NodeId, buffer: BufferId) {
        if let Some(kernel) = fusion.stored_in[node.index()] {
            self.stores.entry(kernel).or_default().push(Destination { node, buffer });
        }
    }

    /// The buffer of a piece of state.
    pub fn state(&self, name: &str) -> Option<BufferId> {
        self.states.get(name).copied()
    }

    pub fn into_schedule(self) -> Schedule {
        Schedule {
            program: self.program,
            state: self.state,
            inputs: self.inputs,
            outputs: self.outputs,
            state_bytes: self.state_bytes,
            output_bytes: self.output_bytes,
        }
    }
}

/// Reserves `bytes` and returns their offset.
fn advance(total: &mut usize, bytes: usize) -> usize {
    let offset = *total;
    *total += bytes.next_multiple_of(ALIGNMENT);
    offset
}
