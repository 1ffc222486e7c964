//! Loops of the graph as repeated tasks. The body is planned like a program of its own, whose state are the carries, in
//! the buffers of the program around it: slices and rows are sections of larger buffers, which move with the turn.

use rustc_hash::FxHashMap;

use super::fusion::Fusion;
use super::memory::{Home, Memory};
use super::{KernelId, lower, plan};
use crate::graph::{NodeId, Target};
use crate::loops::{Affine, LoopVar, Repeat, Task};
use crate::ops::{Direction, Exit, Graph, Op, Scan, Taken};
use crate::types::TensorType;

/// A loop in its graph.
pub(super) struct Loop<'s> {
    graph: &'s Graph,
    scan: Scan,
    operands: Vec<NodeId>,
    /// The nodes of the graph, by what they take of it.
    taken: FxHashMap<Taken, NodeId>,
}

impl<'s> Loop<'s> {
    /// The loop that a kernel of the fusion is, if it is one.
    pub fn of(graph: &'s Graph, fusion: &Fusion, kernel: KernelId) -> Option<Loop<'s>> {
        let nodes = &fusion.kernels[kernel].stored;
        let results = nodes.iter().filter_map(|&id| match graph.op(id) {
            Op::Scan(scan) => Some((scan, id)),
            _ => None,
        });
        let results: Vec<(Scan, NodeId)> = results.collect();
        let (scan, first) = results.first().cloned()?;
        let taken = results.into_iter().map(|(scan, id)| (scan.taken, id)).collect();
        Some(Loop { graph, scan, operands: graph.operands(first).into_vec(), taken })
    }

    /// The name in those of buffers: its first node.
    pub fn name(&self) -> String {
        self.taken.values().min().map_or(String::new(), |first| format!("%{}", first.index()))
    }

    /// Each carry's number and type, and the node that takes its last value.
    pub fn carries(&self) -> impl Iterator<Item = (usize, TensorType, Option<NodeId>)> + '_ {
        (0..self.scan.body.carries).map(|carry| {
            let last = Taken::Last(carry);
            (carry, self.scan.turn(last), self.taken.get(&last).copied())
        })
    }

    /// Plans the loop: the carries are set to what they start from, and the body is repeated.
    pub fn plan(&self, memory: &mut Memory, carries: &[Home]) -> Vec<Task> {
        let mut tasks = Vec::new();
        for (carry, (&start, home)) in self.operands.iter().zip(carries).enumerate() {
            let name = format!("start {} carry{carry}", self.name());
            let copy = lower::copy(self.graph, memory, name, start, home);
            tasks.push(Task::Run(copy));
        }
        if self.scan.length == 0 {
            return tasks;
        }
        let body = self.body();
        let mut inner = Memory {
            program: std::mem::take(&mut memory.program),
            repeats: [&memory.repeats[..], &[self.scan.length]].concat(),
            scope: format!("{}{}.", memory.scope, self.name()),
            ..Memory::default()
        };
        self.place_inputs(&body, carries, memory, &mut inner);
        for taken in self.rows() {
            let stack = self.taken.get(&taken).map(|&node| memory.home_of(node));
            let row = stack.map(|stack| self.at_turn(stack, self.scan.turn(taken), memory.repeats.len()));
            inner.outputs.extend(row.map(|row| (taken.to_string(), row)));
        }
        let body_tasks = plan(&body, &mut inner);
        memory.program = inner.program;
        let condition = (self.scan.exit == Exit::WhenFalse).then(|| carries[0].buffer);
        let mut sources: Vec<usize> = self.taken.values().map(|node| node.index()).collect();
        sources.sort_unstable();
        let turns = self.scan.length;
        tasks.push(Task::Repeat(Repeat { turns, condition, tasks: body_tasks, sources, is_parallel: false }));
        tasks
    }

    /// The body, with those rows as outputs that are taken.
    fn body(&self) -> Graph {
        let graph = self.scan.body.to_graph();
        let mut results = graph.results();
        results.retain(|(target, _)| match target {
            Target::Update(_) => true,
            Target::Output(name) => self.rows().any(|taken| taken.to_string() == *name),
        });
        for taken in self.rows() {
            if let Taken::History(carry) = taken
                && let Some(leaf) = graph.leaf(&Taken::Last(carry).to_string())
            {
                let copy = graph.tensor(leaf).stop_gradient();
                results.push((Target::Output(taken.to_string()), copy.id()));
            }
        }
        graph.set_results(results);
        graph
    }

    /// What is taken of every turn.
    fn rows(&self) -> impl Iterator<Item = Taken> + '_ {
        self.scan.results().filter(|taken| !matches!(taken, Taken::Last(_)) && self.taken.contains_key(taken))
    }

    fn place_inputs(&self, body: &Graph, carries: &[Home], memory: &Memory, inner: &mut Memory) {
        let sliced = carries.len() + self.scan.body.sliced;
        for (index, (id, &operand)) in body.ids().zip(&self.operands).enumerate() {
            let home = match index {
                index if index < carries.len() => carries[index].clone(),
                index if index < sliced => {
                    self.at_turn(memory.home_of(operand), body.ty(id), memory.repeats.len())
                }
                _ => memory.home_of(operand),
            };
            if index < carries.len() {
                inner.states.insert(Taken::Last(index).to_string().into(), home.clone());
            }
            inner.home.insert(id, home);
        }
    }

    /// The section of a stack that the turn of this loop, the `depth`-th around its body, works on.
    fn at_turn(&self, stack: Home, row: TensorType, depth: usize) -> Home {
        let turn = Affine::var(LoopVar(depth as u16));
        let position = match self.scan.direction {
            Direction::Forward => turn,
            Direction::Backward => Affine::constant(self.scan.length as i64 - 1).plus(&turn.scaled(-1)),
        };
        let start = stack.start.plus(&position.scaled(row.shape.elements() as i64));
        Home { start, ..stack }
    }
}
