//! Where everything lies: state, inputs, outputs, and an arena whose buffers share room when their
//! lives do not overlap.

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

    /// Gives a home to what other kernels read, or what waits to become state. Its life runs from the
    /// kernel that stores it to the last task that reads it.
    fn place_scratch(&mut self, graph: &Graph, fusion: &Fusion, order: &[Task]) {
        let mut position = vec![0; fusion.kernels.len()];
        let mut commit: HashMap<NodeId, usize> = HashMap::new();
        for (at, task) in order.iter().enumerate() {
            match task {
                Task::Compute(kernel) => position[*kernel] = at,
                Task::Commit { node, .. } => drop(commit.insert(*node, at)),
            }
        }
        let mut lives = Vec::new();
        for id in graph.ids().filter(|id| !self.home.contains_key(id)).collect::<Vec<_>>() {
            let Some(kernel) = fusion.stored_in[id.index()] else { continue };
            if fusion.needs_buffer(id) || commit.contains_key(&id) {
                let readers = fusion.readers[id.index()].keys().map(|&reader| position[reader]);
                let end = readers.chain(commit.get(&id).copied()).max().unwrap_or(position[kernel]);
                let buffer =
                    self.buffer(&format!("%{}", id.index()), graph.ty(id), Place::Arena { offset: 0 });
                self.home.insert(id, buffer);
                self.store(fusion, id, buffer);
                lives.push(Life { buffer, start: position[kernel], end });
            }
        }
        self.pack(lives);
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

    /// Largest first, each at the lowest offset free during its whole life.
    fn pack(&mut self, mut lives: Vec<Life>) {
        let size = |program: &Program, life: &Life| {
            let buffer = &program.buffers[life.buffer.index()];
            (buffer.elements * buffer.dtype.size()).next_multiple_of(ALIGNMENT)
        };
        lives.sort_by_key(|life| (std::cmp::Reverse(size(&self.program, life)), life.start));
        let mut placed: Vec<(usize, usize, Life)> = Vec::new();
        for life in lives {
            let bytes = size(&self.program, &life);
            let overlapping =
                placed.iter().filter(|(.., other)| life.start <= other.end && other.start <= life.end);
            let mut taken: Vec<(usize, usize)> = overlapping.map(|&(from, to, _)| (from, to)).collect();
            taken.sort_unstable();
            let offset = taken.iter().fold(
                0,
                |offset, &(from, to)| {
                    if offset + bytes <= from { offset } else { offset.max(to) }
                },
            );
            self.program.buffers[life.buffer.index()].place = Place::Arena { offset };
            self.program.arena_bytes = self.program.arena_bytes.max(offset + bytes);
            placed.push((offset, offset + bytes, life));
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

    pub fn into_schedule(self, stored: Vec<Vec<NodeId>>) -> Schedule {
        Schedule {
            program: self.program,
            state: self.state,
            inputs: self.inputs,
            outputs: self.outputs,
            stored,
            state_bytes: self.state_bytes,
            output_bytes: self.output_bytes,
        }
    }
}

/// The tasks, by position, during which a scratch buffer holds a value.
struct Life {
    buffer: BufferId,
    start: usize,
    end: usize,
}

/// Reserves `bytes` and returns their offset.
fn advance(total: &mut usize, bytes: usize) -> usize {
    let offset = *total;
    *total += bytes.next_multiple_of(ALIGNMENT);
    offset
}
