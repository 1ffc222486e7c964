//! Which nodes are computed on the spot inside their users' kernels, and which are stored.
//!
//! Nodes are visited from the results back. A node that every user reads at its own index, in one
//! kernel, becomes part of that kernel: elementwise chains, the prologue and epilogue of sums and
//! products, and all that an optimiser updates at one index. A node is stored if it is costly and would be
//! computed more than once.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::cost::{CHEAP, CONTRACTION, FUNCTION, LANES, MAX_DEPTH, RANDOM, SHORT_SUM, STORED, UNROLLED};
use super::{KernelId, is_memory_leaf};
use crate::graph::{NodeId, Target};
use crate::loops::{Binary, Unary};
use crate::ops::{Elementwise, Graph, Leaf, Op, Reads, Scan, Section, Types, Window};
use crate::types::Shape;

/// The plan of kernels.
pub(super) struct Fusion {
    pub kernels: Vec<Group>,
    /// For each node the kernel that stores it, if one does.
    pub stored_in: Vec<Option<KernelId>>,
    /// For each node the kernels that read it, and how.
    pub readers: Vec<Readers>,
    /// For each node the results it is wanted for.
    pub targets: Vec<Vec<Target>>,
}

/// Nodes of one shape stored by one kernel.
pub(super) struct Group {
    pub space: Shape,
    /// In topological order.
    pub stored: Vec<NodeId>,
}

/// Kernels that read a node.
pub(super) type Readers = BTreeMap<KernelId, Path>;

/// How the value of a node gets into the loop of a kernel that reads it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    /// Always at the index at which the kernel stores.
    pub identity: bool,
    /// Some element more than once.
    pub repeated: bool,
    /// By row-major offset.
    pub linear: bool,
    /// By a library kernel, which wants it in memory.
    contracted: bool,
    /// At indices outside the node too, where loads are not to be made.
    guarded: bool,
    /// By a function that is written out, at some node in between.
    function: bool,
    /// Nodes between this one and the stored one, at most.
    depth: usize,
    /// Uses, counted along different ways.
    uses: usize,
}

impl Path {
    fn join(self, other: Path) -> Path {
        Path {
            identity: self.identity && other.identity,
            repeated: self.repeated || other.repeated,
            linear: self.linear || other.linear,
            contracted: self.contracted || other.contracted,
            guarded: self.guarded || other.guarded,
            function: self.function || other.function,
            depth: self.depth.max(other.depth),
            uses: self.uses.saturating_add(other.uses),
        }
    }
}

/// Plans the kernels of a graph's results. To those in `aside`, no product is added in place.
pub(super) fn fuse(graph: &Graph, aside: &[NodeId]) -> Fusion {
    // The first plan takes every node for inlined when it counts costs; the second knows what the
    // first stored.
    let first = Planner::new(graph, &vec![None; graph.len()], aside).plan();
    Planner::new(graph, &first.stored_in, aside).plan()
}

struct Planner<'g> {
    graph: &'g Graph,
    aside: &'g [NodeId],
    users: Vec<Vec<(NodeId, usize)>>,
    /// Scalar instructions for one element, from what is in memory.
    cost: Vec<usize>,
    /// The kernel of each loop, by what its results have in common.
    loops: FxHashMap<(Scan, Vec<NodeId>), KernelId>,
    fusion: Fusion,
}

impl<'g> Planner<'g> {
    fn new(graph: &'g Graph, stored: &[Option<KernelId>], aside: &'g [NodeId]) -> Planner<'g> {
        let mut users = vec![Vec::new(); graph.len()];
        let mut cost = vec![0usize; graph.len()];
        for id in graph.ids() {
            for (index, operand) in graph.operands(id).into_iter().enumerate() {
                users[operand.index()].push((id, index));
                let below = if stored[operand.index()].is_some() { 1 } else { cost[operand.index()] };
                cost[id.index()] = cost[id.index()].saturating_add(below);
            }
            cost[id.index()] = own_cost(graph, id, cost[id.index()]);
        }
        let mut targets = vec![Vec::new(); graph.len()];
        for (target, id) in graph.results() {
            targets[id.index()].push(target);
        }
        let fusion = Fusion {
            kernels: Vec::new(),
            stored_in: vec![None; graph.len()],
            readers: vec![Readers::new(); graph.len()],
            targets,
        };
        Planner { graph, aside, users, cost, loops: FxHashMap::default(), fusion }
    }

    fn plan(mut self) -> Fusion {
        for id in self.graph.ids().collect::<Vec<_>>().into_iter().rev() {
            let readers = self.readers(id);
            if !self.fusion.targets[id.index()].is_empty() || self.must_store(id, &readers) {
                let kernel = self.store(id, &readers);
                self.fusion.stored_in[id.index()] = Some(kernel);
            }
            self.fusion.readers[id.index()] = readers;
        }
        self.fusion.kernels.iter_mut().for_each(|group| group.stored.sort());
        self.fusion
    }

    /// The kernels that read the node, through users that are not stored themselves.
    fn readers(&self, id: NodeId) -> Readers {
        let mut readers = Readers::new();
        let mut add = |kernel: KernelId, path: Path| {
            readers.entry(kernel).and_modify(|known: &mut Path| *known = known.join(path)).or_insert(path);
        };
        for &(user, operand) in &self.users[id.index()] {
            let step = self.step(user, operand);
            match self.fusion.stored_in[user.index()] {
                Some(kernel) => add(kernel, step),
                None => {
                    for (&kernel, path) in &self.fusion.readers[user.index()] {
                        add(kernel, Path { depth: path.depth + 1, uses: path.uses, ..path.join(step) });
                    }
                }
            }
        }
        readers
    }

    fn step(&self, user: NodeId, operand: usize) -> Path {
        let node = self.graph.node(user);
        let operands = self.graph.operands(user).into_iter().map(|id| self.graph.ty(id)).collect();
        let reads = node.op.rules().reads(&Types { operands, result: node.ty }, operand);
        Path {
            identity: matches!(node.op, Op::Elementwise(_) | Op::Random(_) | Op::Custom(_)),
            repeated: reads == Reads::Repeatedly,
            linear: reads == Reads::Linear,
            contracted: is_contraction(self.graph, user),
            guarded: matches!(
                node.op,
                Op::Section(Section::Pad { .. } | Section::Concat { .. }) | Op::Window(Window::Fold(..))
            ),
            function: matches!(node.op, Op::Elementwise(op) if op.is_function()),
            depth: 0,
            uses: 1,
        }
    }

    fn must_store(&self, id: NodeId, readers: &Readers) -> bool {
        if is_memory_leaf(self.graph, id) {
            return false;
        }
        if matches!(self.graph.node(id).op, Op::Scan(_)) {
            return !readers.is_empty();
        }
        if matches!(self.graph.node(id).op, Op::Leaf(_)) {
            return readers.values().any(|path| path.linear);
        }
        // The address of a picked row cannot be guarded.
        let is_picked = matches!(self.graph.node(id).op, Op::Gather(_));
        if is_picked && readers.values().any(|path| path.guarded) {
            return true;
        }
        if is_whole(self.graph, id) || readers.values().any(|path| path.linear || path.depth >= MAX_DEPTH) {
            return true;
        }
        if readers.values().any(|path| path.contracted) && !is_view(self.graph, id) {
            return true;
        }
        if is_contraction(self.graph, id) {
            return !self.is_added_to_state(id);
        }
        if self.is_argument(id, readers) {
            return true;
        }
        let once = match readers.values().next() {
            Some(path) if readers.len() == 1 => !path.repeated && (path.identity || path.uses == 1),
            _ => readers.is_empty(),
        };
        !once && self.cost[id.index()] > CHEAP
    }

    /// Whether functions of the node, element by element, are better computed apart from its own short sums.
    fn is_argument(&self, id: NodeId, readers: &Readers) -> bool {
        is_short_sum(self.graph, id) && readers.values().any(|path| path.identity && path.function)
    }

    /// Whether the node times a number, added to a piece of state, is all that becomes of it: a library kernel then adds
    /// to the state in place.
    fn is_added_to_state(&self, id: NodeId) -> bool {
        let only_user = |id: NodeId| match self.users[id.index()][..] {
            [(user, operand)] if self.fusion.targets[id.index()].is_empty() => Some((user, operand)),
            _ => None,
        };
        let is = |id: NodeId, f: Binary| self.graph.node(id).op == Op::Elementwise(Elementwise::Binary(f));
        let Some((scaled, operand)) = only_user(id).filter(|&(user, _)| is(user, Binary::Mul)) else {
            return false;
        };
        let factor = self.graph.operands(scaled)[1 - operand];
        let Some((sum, 1)) =
            only_user(scaled).filter(|&(user, _)| is(user, Binary::Add) || is(user, Binary::Sub))
        else {
            return false;
        };
        let state = self.graph.operands(sum)[0];
        let is_update = match (&self.graph.node(state).op, &self.fusion.targets[sum.index()][..]) {
            (Op::Leaf(Leaf::State { name, .. }), [Target::Update(updated)]) => **name == **updated,
            _ => false,
        };
        let is_in_place = is_update && !self.aside.contains(&sum);
        is_in_place && self.users[sum.index()].is_empty() && self.is_one_number(factor)
    }

    /// Whether all elements of the node are one number.
    fn is_one_number(&self, id: NodeId) -> bool {
        match self.graph.node(id).op {
            Op::Leaf(Leaf::Constant { .. }) => true,
            Op::Layout(_) => self.graph.ty(self.graph.operands(id)[0]).shape.elements() == 1,
            _ => false,
        }
    }

    /// The kernel to store the node in: its only reader's, if that reads it at its own index; that of the other results,
    /// if it is one of a loop. What is written whole has a kernel of its own.
    fn store(&mut self, id: NodeId, readers: &Readers) -> KernelId {
        let space = self.graph.ty(id).shape;
        if let Op::Scan(scan) = self.graph.op(id) {
            let next = self.fusion.kernels.len();
            let kernel =
                *self.loops.entry((scan.whole(), self.graph.operands(id).into_vec())).or_insert(next);
            if kernel == next {
                self.fusion.kernels.push(Group { space, stored: vec![] });
            }
            self.fusion.kernels[kernel].stored.push(id);
            return kernel;
        }
        if let Some((&kernel, path)) = readers.first_key_value()
            && readers.len() == 1
            && !is_contraction(self.graph, id)
            && !self.is_argument(id, readers)
            && path.identity
            && !is_whole(self.graph, id)
            && self.fusion.kernels[kernel].stored.len() < STORED
            && self.fusion.kernels[kernel].space == space
        {
            self.fusion.kernels[kernel].stored.push(id);
            return kernel;
        }
        self.fusion.kernels.push(Group { space, stored: vec![id] });
        self.fusion.kernels.len() - 1
    }
}

/// Whether a library kernel is to compute the node.
fn is_contraction(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    let Op::Dot(dot) = &node.op else { return false };
    let operands: Vec<Shape> = graph.operands(id).into_iter().map(|id| graph.ty(id).shape).collect();
    let [rows, columns, depth] = dot.sizes(operands[0], operands[1]);
    let work = rows.saturating_mul(columns).saturating_mul(depth);
    node.ty.dtype.is_float() && rows > 1 && columns > 1 && !dot.summed().is_empty() && work >= CONTRACTION
}

/// Whether each of many elements is a sum of so few terms that a function of it costs more: apart, functions run on vectors
/// of sums, whatever the sums run along. Fewer still are written out, and run along with the function.
fn is_short_sum(graph: &Graph, id: NodeId) -> bool {
    let shapes: Vec<Shape> = graph.operands(id).into_iter().map(|id| graph.ty(id).shape).collect();
    let elements = graph.ty(id).shape.elements();
    let terms = match &graph.node(id).op {
        Op::Dot(dot) => dot.sizes(shapes[0], shapes[1])[2],
        Op::Reduce(_) => shapes[0].elements() / elements.max(1),
        _ => return false,
    };
    elements >= LANES && (UNROLLED + 1..=SHORT_SUM).contains(&terms)
}

/// Whether the node's elements are its operand's, at indices that are sums of multiples of its own.
fn is_view(graph: &Graph, id: NodeId) -> bool {
    let section = |op: &Section| matches!(op, Section::Slice { .. } | Section::Reverse { .. });
    match &graph.node(id).op {
        Op::Layout(_) | Op::Window(Window::Unfold(_)) | Op::Elementwise(Elementwise::Barrier) => true,
        Op::Section(op) => section(op),
        _ => false,
    }
}

fn is_whole(graph: &Graph, id: NodeId) -> bool {
    graph.node(id).op.rules().whole().is_some()
}

/// The cost of one element of the node, whose operands cost `below` together.
fn own_cost(graph: &Graph, id: NodeId, below: usize) -> usize {
    let node = graph.node(id);
    match &node.op {
        Op::Leaf(Leaf::Constant { .. } | Leaf::Iota { .. } | Leaf::Poison) => 0,
        Op::Leaf(Leaf::Input { .. } | Leaf::State { .. }) => 1,
        Op::Layout(_)
        | Op::Window(Window::Unfold(_))
        | Op::Section(Section::Slice { .. } | Section::Reverse { .. }) => below,
        // Two comparisons an axis and a choice, an element: what is read often is put in memory.
        Op::Section(Section::Pad { .. }) => below.saturating_add(4),
        Op::Section(_) | Op::Gather(_) => below.saturating_add(2),
        Op::ScatterAdd(_) | Op::Recurrence(_) | Op::Argsort(_) => below.saturating_add(2),
        Op::Window(Window::Fold(slides, _)) => {
            below.saturating_add(4).saturating_mul(slides.iter().map(|slide| slide.size).product())
        }
        Op::Elementwise(op) => below.saturating_add(elementwise_cost(*op)),
        Op::Random(_) => below.saturating_add(RANDOM),
        Op::Custom(_) => below,
        Op::Scan(_) => usize::MAX,
        Op::Reduce(_) | Op::Dot(_) => {
            let operands: usize = graph.operands(id).iter().map(|&x| graph.ty(x).shape.elements()).sum();
            let terms = operands.div_ceil(node.ty.shape.elements().max(1));
            below.saturating_add(1).saturating_mul(terms.max(1))
        }
    }
}

fn elementwise_cost(op: Elementwise) -> usize {
    match op {
        Elementwise::Barrier => 0,
        Elementwise::Unary(Unary::Sqrt) | Elementwise::Binary(Binary::Div) => 4,
        op if op.is_function() => FUNCTION,
        _ => 1,
    }
}

impl Fusion {
    /// Whether the node, stored by its kernel, is read from memory by others.
    pub fn needs_buffer(&self, id: NodeId) -> bool {
        self.readers[id.index()].keys().any(|&reader| Some(reader) != self.stored_in[id.index()])
    }

    /// Whether a kernel takes the node from memory.
    pub fn is_loaded(&self, graph: &Graph, id: NodeId, kernel: KernelId) -> bool {
        is_memory_leaf(graph, id) || self.stored_in[id.index()].is_some_and(|home| home != kernel)
    }
}
