//! The memory that the caller and the program share: state, inputs and outputs.

use super::Entry;
use super::memory::{ALIGNMENT, Home, Memory};
use crate::graph::Target;
use crate::loops::Place;
use crate::ops::{Graph, Leaf, Op};

/// The entries of each kind, and their extent in bytes.
#[derive(Default)]
pub(super) struct Interface {
    pub state: Vec<Entry>,
    pub inputs: Vec<Entry>,
    pub outputs: Vec<Entry>,
    pub state_bytes: usize,
    pub output_bytes: usize,
}

impl Interface {
    /// Places a graph's leaves and outputs.
    pub fn place(graph: &Graph, memory: &mut Memory) -> Interface {
        let mut interface = Interface::default();
        interface.place_leaves(graph, memory);
        for (target, id) in graph.results() {
            let Target::Output(name) = target else { continue };
            let ty = graph.ty(id);
            let offset = advance(&mut interface.output_bytes, ty.bytes());
            interface.outputs.push(Entry {
                name: name.as_str().into(),
                ty,
                at: offset,
                state: None,
                panels: None,
            });
            let buffer = memory.buffer(&name, ty, Place::Output { offset });
            memory.outputs.insert(name, Home::of(buffer));
        }
        interface
    }

    fn place_leaves(&mut self, graph: &Graph, memory: &mut Memory) {
        for id in graph.ids() {
            let node = graph.node(id);
            match &node.op {
                Op::Leaf(Leaf::Input { name, ty }) => {
                    let index = self.inputs.len();
                    self.inputs.push(Entry {
                        name: name.clone(),
                        ty: *ty,
                        at: index,
                        state: None,
                        panels: None,
                    });
                    let buffer = memory.buffer(name, *ty, Place::Input { index });
                    memory.home.insert(id, Home::of(buffer));
                }
                Op::Leaf(Leaf::State { name, ty, role, initial }) => {
                    let offset = advance(&mut self.state_bytes, ty.bytes());
                    let state = Some((*role, *initial));
                    self.state.push(Entry { name: name.clone(), ty: *ty, at: offset, state, panels: None });
                    let buffer = memory.buffer(name, *ty, Place::State { offset });
                    memory.home.insert(id, Home::of(buffer));
                    memory.states.insert(name.clone(), Home::of(buffer));
                }
                _ => {}
            }
        }
    }
}

/// Reserves `bytes` and returns their offset.
fn advance(total: &mut usize, bytes: usize) -> usize {
    let offset = *total;
    *total += bytes.next_multiple_of(ALIGNMENT);
    offset
}
