//! From a kernel's nodes to its loops: each stored node is pulled, element by element, through the
//! lowering of every operator that is computed on the spot. Every statement goes to the outermost loop
//! it can, and equal statements are one.

use rustc_hash::FxHashMap;

use super::fusion::Fusion;
use super::memory::{Home, Memory};
use super::{Destination, KernelId};
use crate::graph::NodeId;
use crate::loops::{Access, Affine, Combine, Instr, Kernel, LoopVar, Part, Sorting, Stmt, Var};
use crate::ops::{Emitter, Graph, Types, Whole, Writer};
use crate::types::{DType, Scalar, Shape};

/// Lowers one kernel of the fusion.
pub(super) fn kernel(graph: &Graph, fusion: &Fusion, memory: &Memory, id: KernelId) -> Kernel {
    let group = &fusion.kernels[id];
    let stores = memory.stores.get(&id).map_or(&[][..], Vec::as_slice);
    let names: Vec<&str> =
        stores.iter().map(|store| memory.program.buffers[store.home.buffer.index()].name.as_str()).collect();
    let mut lowering = Lowering::new(graph, memory, names.join(", "));
    lowering.kernel.sources = group.stored.iter().map(|node| node.index()).collect();
    lowering.loaded = Box::new(move |node| fusion.is_loaded(graph, node, id));
    if let [node] = group.stored[..]
        && let Some(whole) = graph.op(node).rules().whole()
    {
        return lowering.write(whole, node, stores);
    }
    lowering.store(group.space, &group.stored, stores)
}

/// Lowers the copy of a node's value, which is stored or constant, to another place.
pub(super) fn copy(graph: &Graph, memory: &Memory, name: String, node: NodeId, to: &Home) -> Kernel {
    let mut lowering = Lowering::new(graph, memory, name);
    lowering.kernel.sources = vec![node.index()];
    lowering.store(graph.ty(node).shape, &[], &[Destination { node, home: to.clone() }])
}

/// A kernel under construction.
struct Lowering<'a> {
    graph: &'a Graph,
    memory: &'a Memory,
    loaded: Box<dyn Fn(NodeId) -> bool + 'a>,
    kernel: Kernel,
    /// The open loops, outermost first; level 0 is outside all loops.
    levels: Vec<Level>,
    /// The level that introduces each loop variable.
    loop_level: Vec<usize>,
    /// The level each scalar value is computed at.
    var_level: Vec<usize>,
    /// Where what is being computed is needed: loads elsewhere are not made.
    guards: Vec<Range>,
}

/// An expression that must lie between 0 and its bound.
type Range = (Affine, i64);

#[derive(Default)]
struct Level {
    body: Vec<Stmt>,
    elements: FxHashMap<(NodeId, Vec<Affine>, Vec<Range>), Var>,
    instrs: FxHashMap<(Instr, DType), Var>,
}

impl<'a> Lowering<'a> {
    fn new(graph: &'a Graph, memory: &'a Memory, name: String) -> Lowering<'a> {
        Lowering {
            graph,
            memory,
            loaded: Box::new(|node| memory.home.contains_key(&node)),
            kernel: Kernel {
                name,
                repeats: memory.repeats.len(),
                extents: memory.repeats.clone(),
                dtypes: vec![],
                body: vec![],
                sources: vec![],
                is_parallel: false,
            },
            levels: vec![Level::default()],
            loop_level: vec![0; memory.repeats.len()],
            var_level: vec![],
            guards: vec![],
        }
    }

    /// Loops over the space and stores each destination's node. Some nodes are computed before others, each from those
    /// before it: that bounds the recursion.
    fn store(mut self, space: Shape, first: &[NodeId], destinations: &[Destination]) -> Kernel {
        if space.elements() == 0 {
            return self.kernel;
        }
        let index: Vec<Affine> = (space.extents().iter())
            .map(|&extent| if extent == 1 { Affine::default() } else { Affine::var(self.open(extent)) })
            .collect();
        for &node in first {
            self.element(node, &index);
        }
        let values: Vec<Var> = destinations.iter().map(|store| self.element(store.node, &index)).collect();
        let offset = Affine::linear(&index, space.extents());
        for (destination, value) in destinations.iter().zip(values) {
            let Home { buffer, start } = &destination.home;
            let access = Access { buffer: *buffer, index: start.plus(&offset) };
            self.levels
                .last_mut()
                .into_iter()
                .for_each(|level| level.body.push(Stmt::Store { access: access.clone(), value }));
        }
        for depth in (0..self.levels.len() - 1).rev() {
            let body = self.close();
            self.push(Stmt::For { var: LoopVar((self.kernel.repeats + depth) as u16), body });
        }
        self.kernel.body = self.close();
        self.kernel
    }

    /// Lets a node's operator write its result to each destination.
    fn write(mut self, whole: &dyn Whole, node: NodeId, destinations: &[Destination]) -> Kernel {
        let operands = self.graph.operands(node);
        let types = self.types(node, &operands);
        let destinations: Vec<Home> = destinations.iter().map(|store| store.home.clone()).collect();
        let at = At { lowering: &mut self, operands: &operands, destinations: &destinations };
        whole.write(&types, &mut { at });
        self.kernel.body = self.close();
        self.kernel
    }

    fn types(&self, node: NodeId, operands: &[NodeId]) -> Types {
        let operands = operands.iter().map(|&id| self.graph.ty(id)).collect();
        Types { operands, result: self.graph.ty(node) }
    }

    fn open(&mut self, extent: usize) -> LoopVar {
        self.kernel.extents.push(extent);
        self.loop_level.push(self.levels.len());
        self.levels.push(Level::default());
        LoopVar(self.kernel.extents.len() as u16 - 1)
    }

    fn close(&mut self) -> Vec<Stmt> {
        self.levels.pop().map(|level| level.body).unwrap_or_default()
    }

    fn push(&mut self, stmt: Stmt) {
        if let Some(level) = self.levels.last_mut() {
            level.body.push(stmt);
        }
    }

    fn level_of<'i>(&self, indices: impl IntoIterator<Item = &'i Affine>) -> usize {
        let vars =
            indices.into_iter().flat_map(|index| index.terms()).map(|term| self.loop_level[term.0.index()]);
        vars.max().unwrap_or(0)
    }

    /// The element of a node at an index: loaded, or computed by the node's own lowering.
    fn element(&mut self, node: NodeId, index: &[Affine]) -> Var {
        let ty = self.graph.ty(node);
        if ty.shape.elements() == 0 {
            // Never read: some loop around has no iterations.
            return self.instr(Instr::Constant(Scalar::from_f64(0.0, ty.dtype)), ty.dtype);
        }
        if (self.loaded)(node) {
            return self.load(node, Affine::linear(index, ty.shape.extents()));
        }
        let level = self.level_of(index.iter().chain(self.guards.iter().map(|guard| &guard.0)));
        let key = (node, index.to_vec(), self.guards.clone());
        if let Some(&var) = self.levels[level].elements.get(&key) {
            return var;
        }
        let deeper = self.levels.split_off(level + 1);
        let op = self.graph.op(node);
        let operands = self.graph.operands(node);
        let types = self.types(node, &operands);
        let at = At { lowering: self, operands: &operands, destinations: &[] };
        let var = op.rules().lower(&types, index, &mut { at });
        self.levels[level].elements.insert(key, var);
        self.levels.extend(deeper);
        var
    }

    fn load(&mut self, node: NodeId, index: Affine) -> Var {
        let dtype = self.graph.ty(node).dtype;
        let Home { buffer, start } = self.memory.home_of(node);
        let access = Access { buffer, index: start.plus(&index) };
        match self.guards.is_empty() {
            true => self.instr(Instr::Load(access), dtype),
            false => self.instr(Instr::LoadWithin(access, self.guards.clone()), dtype),
        }
    }

    /// Emits the instruction at the outermost level that has its operands, or finds its equal there.
    fn instr(&mut self, instr: Instr, dtype: DType) -> Var {
        let operands = instr.operands().into_iter().map(|var| self.var_level[var.0 as usize]);
        let level = operands.max().unwrap_or(0).max(self.level_of(instr.affines()));
        let key = (instr, dtype);
        if let Some(&var) = self.levels[level].instrs.get(&key) {
            return var;
        }
        let dst = self.var(dtype, level);
        self.levels[level].body.push(Stmt::Let { dst, instr: key.0.clone() });
        self.levels[level].instrs.insert(key, dst);
        dst
    }

    fn var(&mut self, dtype: DType, level: usize) -> Var {
        self.kernel.dtypes.push(dtype);
        self.var_level.push(level);
        Var(self.kernel.dtypes.len() as u32 - 1)
    }
}

/// The lowering at one node: what its operator's rule talks to.
struct At<'l, 'a> {
    lowering: &'l mut Lowering<'a>,
    operands: &'l [NodeId],
    /// Where the node is written, if it is written whole.
    destinations: &'l [Home],
}

impl Emitter for At<'_, '_> {
    fn operand(&mut self, operand: usize, index: &[Affine]) -> Var {
        self.lowering.element(self.operands[operand], index)
    }

    fn linear(&mut self, operand: usize, offset: Affine) -> Var {
        self.lowering.load(self.operands[operand], offset)
    }

    fn picked(&mut self, operand: usize, offset: Affine, row: Var, stride: i64, bound: i64) -> Var {
        let node = self.operands[operand];
        let Home { buffer, start } = self.lowering.memory.home_of(node);
        let access = Access { buffer, index: start.plus(&offset) };
        let dtype = self.lowering.graph.ty(node).dtype;
        self.lowering.instr(Instr::LoadRow { access, row, stride, bound }, dtype)
    }

    fn guarded(&mut self, ranges: &[Range], operand: usize, index: &[Affine]) -> Var {
        let outer = self.lowering.guards.len();
        self.lowering.guards.extend_from_slice(ranges);
        let value = self.lowering.element(self.operands[operand], index);
        self.lowering.guards.truncate(outer);
        value
    }

    fn emit(&mut self, instr: Instr, dtype: DType) -> Var {
        self.lowering.instr(instr, dtype)
    }

    fn reduce(
        &mut self,
        combine: Combine,
        dtype: DType,
        extents: &[usize],
        body: &mut dyn FnMut(&mut dyn Emitter, &[Affine]) -> Var,
    ) -> Var {
        let vars: Vec<Option<LoopVar>> =
            extents.iter().map(|&extent| (extent != 1).then(|| self.lowering.open(extent))).collect();
        let index: Vec<Affine> = vars.iter().map(|var| var.map(Affine::var).unwrap_or_default()).collect();
        let mut value = body(self, &index);
        for var in vars.into_iter().flatten().rev() {
            let body = self.lowering.close();
            let dst = self.lowering.var(dtype, self.lowering.levels.len() - 1);
            self.lowering.push(Stmt::Reduce { var, body, parts: vec![Part { dst, combine, value }] });
            value = dst;
        }
        value
    }
}

impl Writer for At<'_, '_> {
    fn each(&mut self, extents: &[usize], body: &mut dyn FnMut(&mut dyn Writer, &[Affine])) {
        if extents.contains(&0) {
            return;
        }
        let vars: Vec<Option<LoopVar>> =
            extents.iter().map(|&extent| (extent != 1).then(|| self.lowering.open(extent))).collect();
        let index: Vec<Affine> = vars.iter().map(|var| var.map(Affine::var).unwrap_or_default()).collect();
        body(self, &index);
        for var in vars.into_iter().flatten().rev() {
            let body = self.lowering.close();
            self.lowering.push(Stmt::For { var, body });
        }
    }

    fn recur(
        &mut self,
        extent: usize,
        initial: Scalar,
        body: &mut dyn FnMut(&mut dyn Writer, &Affine, Var) -> Var,
    ) {
        if extent == 1 {
            let carry = self.emit(Instr::Constant(initial), initial.dtype());
            body(self, &Affine::default(), carry);
        } else if extent > 1 {
            let var = self.lowering.open(extent);
            let carry = self.lowering.var(initial.dtype(), self.lowering.levels.len() - 1);
            let next = body(self, &Affine::var(var), carry);
            let body = self.lowering.close();
            self.lowering.push(Stmt::Recur { var, carry, initial, body, next });
        }
    }

    fn store(&mut self, offset: Affine, value: Var) {
        for Home { buffer, start } in self.destinations {
            let access = Access { buffer: *buffer, index: start.plus(&offset) };
            self.lowering.push(Stmt::Store { access, value });
        }
    }

    fn accumulate(&mut self, offset: Affine, row: Var, stride: i64, bound: i64, value: Var) {
        for Home { buffer, start } in self.destinations {
            let access = Access { buffer: *buffer, index: start.plus(&offset) };
            self.lowering.push(Stmt::StoreRow { access, row, stride, bound, value, adds: true });
        }
    }

    fn sort(&mut self, operand: usize, [from, to]: [Affine; 2], sorting: Sorting) {
        let node = self.operands[operand];
        let Home { buffer, start } = self.lowering.memory.home_of(node);
        let keys = Access { buffer, index: start.plus(&from) };
        for Home { buffer, start } in self.destinations.iter().filter(|_| sorting.first > 0) {
            let positions = Access { buffer: *buffer, index: start.plus(&to) };
            self.lowering.push(Stmt::Sort { keys: keys.clone(), positions, sorting });
        }
    }
}
