//! Floor 2: the graph. A petgraph DAG of hash-consed nodes with their origins, generic over the
//! operator vocabulary that floor 3 fills in. Owns insertion, naming, errors and consistency checks;
//! knows nothing of what an operator computes.

mod display;
mod origin;
mod parse;
mod structure;
mod validate;

use std::cell::{Ref, RefCell};
use std::fmt::{Debug, Display};
use std::hash::{Hash, Hasher};
use std::panic::Location;
use std::sync::Arc;

use hashbrown::HashTable;
use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use rustc_hash::{FxHashMap, FxHasher};
use smallvec::SmallVec;

pub(crate) use display::Named;
pub use origin::{Origin, Phase};
pub use parse::OpText;
pub(crate) use parse::read_name;
pub(crate) use structure::Part;

use crate::error::{Error, Place, Result, TypeError};
use crate::types::TensorType;

/// A node's number. Numbers grow in topological order: operands come before their users.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

impl NodeId {
    /// The number as an index into tables over nodes.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    fn petgraph(self) -> NodeIndex {
        NodeIndex::new(self.index())
    }
}

impl From<NodeIndex> for NodeId {
    fn from(index: NodeIndex) -> NodeId {
        NodeId(index.index() as u32)
    }
}

/// As many operands as all but a few operators have.
pub(crate) const FEW: usize = 4;

/// What the graph must know of an operator.
pub trait Operator: Clone + Eq + Hash + Debug + Display {
    /// The result's type, or why these operands do not suit.
    fn infer(&self, operands: &[TensorType]) -> Result<TensorType, TypeError>;
    /// The operator's name, without its attributes.
    fn name(&self) -> &'static str;
    /// The name of an input or of a piece of state; `None` for everything that is computed.
    fn leaf_name(&self) -> Option<&str>;
    /// The operator that prints as this text, and runs this body if it runs one; if there is one.
    fn parse(text: &OpText<'_>, body: Option<&Graph<Self>>) -> Option<Self>;
    /// The operator that stands for a mistyped expression.
    fn poison() -> Self;
    /// The graph that the operator runs, if it runs one.
    fn body(&self) -> Option<Graph<Self>>;
}

/// One value of the computation.
#[derive(Clone, Debug)]
pub(crate) struct Node<O> {
    pub op: O,
    pub ty: TensorType,
    pub origin: Origin,
}

/// One value of the computation, for a look at it.
#[derive(Clone, Debug)]
pub struct View<O> {
    pub id: NodeId,
    pub op: O,
    pub ty: TensorType,
    pub origin: Origin,
    pub operands: Vec<NodeId>,
}

/// An edge from a node to its user: which operand of the user it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Operand(pub u16);

/// What a result of a graph is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Reported to the caller under this name.
    Output(String),
    /// Becomes the new value of this piece of state.
    Update(String),
}

/// A symbolic computation: nodes, and the results wanted of them.
///
/// Handles to its nodes ([`crate::Tensor`]) are `Copy` and build further nodes through `&self`.
/// A mistyped expression does not panic: the first error is kept here with the user's file and line,
/// and whoever derives, compiles or evaluates the graph gets it as `Err`.
pub struct Graph<O> {
    inner: RefCell<Inner<O>>,
}

struct Inner<O> {
    dag: DiGraph<Node<O>, Operand>,
    /// Hash-consing: structurally equal nodes are one node. By the hash of operator and operands.
    nodes: HashTable<NodeId>,
    leaves: FxHashMap<String, NodeId>,
    results: Vec<(Target, NodeId)>,
    scope: Vec<String>,
    last_call: Option<&'static Location<'static>>,
    /// Replaces the user's place while a pass inserts nodes.
    origin: Option<Origin>,
    error: Option<Error>,
}

/// Whether a call is neither the standard library's, of a function it was given, nor that of a pointer to a function, which
/// is as if an operator called itself.
fn is_users(location: &Location<'_>) -> bool {
    let own = file!().strip_suffix("graph/mod.rs").and_then(|own| location.file().strip_prefix(own));
    let is_operator = own.is_some_and(|file| file.starts_with("ops") || file.starts_with("nn"));
    !is_operator && !location.file().ends_with("core/src/ops/function.rs")
}

/// A node to be, if there is none like it.
struct Candidate<'c, O> {
    op: O,
    operands: &'c [NodeId],
    hash: u64,
}

impl<'c, O: Operator> Candidate<'c, O> {
    fn new(op: O, operands: &'c [NodeId]) -> Candidate<'c, O> {
        let hash = hash_of(&op, operands.iter().copied());
        Candidate { op, operands, hash }
    }
}

fn hash_of(op: &impl Hash, operands: impl Iterator<Item = NodeId>) -> u64 {
    let mut hasher = FxHasher::default();
    op.hash(&mut hasher);
    operands.for_each(|operand| operand.hash(&mut hasher));
    hasher.finish()
}

/// The node's operands, in order.
fn operands_of<O>(dag: &DiGraph<Node<O>, Operand>, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
    dag.neighbors_directed(id.petgraph(), Direction::Incoming).map(NodeId::from)
}

impl<O: Operator> Inner<O> {
    fn find(&self, node: &Candidate<'_, O>) -> Option<NodeId> {
        let is_it = |&id: &NodeId| {
            self.dag[id.petgraph()].op == node.op
                && operands_of(&self.dag, id).eq(node.operands.iter().copied())
        };
        self.nodes.find(node.hash, is_it).copied()
    }

    fn add(&mut self, node: Candidate<'_, O>, ty: TensorType, origin: Origin) -> NodeId {
        let Candidate { op, operands, hash } = node;
        let name = op.leaf_name().map(String::from);
        let id: NodeId = self.dag.add_node(Node { op, ty, origin }).into();
        // Last operand first: petgraph lists a node's edges newest first.
        for (index, operand) in operands.iter().enumerate().rev() {
            self.dag.add_edge(operand.petgraph(), id.petgraph(), Operand(index as u16));
        }
        self.leaves.extend(name.map(|name| (name, id)));
        let dag = &self.dag;
        self.nodes.insert_unique(hash, id, |&id| hash_of(&dag[id.petgraph()].op, operands_of(dag, id)));
        id
    }
}

impl<O: Operator> Default for Graph<O> {
    fn default() -> Self {
        Graph::new()
    }
}

impl<O: Operator> Graph<O> {
    /// An empty graph.
    pub fn new() -> Graph<O> {
        Graph::with_capacity(0)
    }

    /// An empty graph with room for so many nodes.
    pub(crate) fn with_capacity(nodes: usize) -> Graph<O> {
        Graph {
            inner: RefCell::new(Inner {
                dag: DiGraph::with_capacity(nodes, 2 * nodes),
                nodes: HashTable::with_capacity(nodes),
                leaves: FxHashMap::default(),
                results: Vec::new(),
                scope: Vec::new(),
                last_call: None,
                origin: None,
                error: None,
            }),
        }
    }

    /// Adds the node, or finds its equal. Operands that do not suit give a poisoned node.
    pub(crate) fn insert(&self, op: O, operands: &[NodeId], at: &'static Location<'static>) -> NodeId {
        if operands.iter().any(|&id| self.is_poison(id)) {
            return self.poison(at);
        }
        let node = Candidate::new(op, operands);
        if let Some(known) = self.inner.borrow().find(&node) {
            return known;
        }
        let types: Vec<TensorType> = operands.iter().map(|&id| self.ty(id)).collect();
        match node.op.infer(&types).and_then(check_size) {
            Ok(ty) => self.add(node, ty, at),
            Err(error) => {
                let at = self.place(at);
                self.fail(Error::Type { op: node.op.name().into(), error, at }).1
            }
        }
    }

    /// The node that stands for mistyped expressions.
    fn poison(&self, at: &'static Location<'static>) -> NodeId {
        let node = Candidate::new(O::poison(), &[]);
        let known = self.inner.borrow().find(&node);
        known.unwrap_or_else(|| self.add(node, poison_type(), at))
    }

    /// Adds a node that is new.
    fn add(&self, node: Candidate<'_, O>, ty: TensorType, at: &'static Location<'static>) -> NodeId {
        let origin = self.inner.borrow().origin.clone();
        let origin = origin.unwrap_or_else(|| Origin::User(self.place(at)));
        self.inner.borrow_mut().add(node, ty, origin)
    }

    /// The node of this operator over these operands, if there is one.
    pub(crate) fn find(&self, op: O, operands: &[NodeId]) -> Option<NodeId> {
        self.inner.borrow().find(&Candidate::new(op, operands))
    }

    /// Adds an input or a piece of state, whose name must be new.
    pub(crate) fn declare(&self, leaf: O, at: &'static Location<'static>) -> NodeId {
        let name = leaf.leaf_name().unwrap_or_default().to_string();
        if let Some(taken) = self.leaf(&name) {
            let taken = format!("{} ({})", self.node(taken).op, self.ty(taken));
            return self.fail(Error::DuplicateName { name, taken, at: self.place(at) }).1;
        }
        self.insert(leaf, &[], at)
    }

    /// Keeps the first error; later ones are its consequences more often than not.
    pub(crate) fn fail(&self, error: Error) -> (Error, NodeId) {
        self.inner.borrow_mut().error.get_or_insert(error.clone());
        (error, self.poison(Location::caller()))
    }

    /// The place a user's call has: its location and the scope that is open. An operator that is passed on as a function,
    /// such as `Tensor::relu`, is not called by the user: the call before it is nearest then.
    pub(crate) fn place(&self, location: &'static Location<'static>) -> Place {
        let mut inner = self.inner.borrow_mut();
        let location = match inner.last_call {
            Some(last) if !is_users(location) => last,
            _ => location,
        };
        inner.last_call = Some(location);
        Place { location, scope: inner.scope.join("/").into() }
    }

    /// Runs `build` with every node it inserts marked as of this origin.
    pub(crate) fn with_origin<T>(&self, origin: Origin, build: impl FnOnce() -> T) -> T {
        let outer = self.inner.borrow_mut().origin.replace(origin);
        let built = build();
        self.inner.borrow_mut().origin = outer;
        built
    }

    /// Names the rule that made what is inserted from now on, where that is marked as rewritten.
    pub(crate) fn name_rule(&self, name: &'static str) {
        if let Some(Origin::Rewrite { rule, .. }) = &mut self.inner.borrow_mut().origin {
            *rule = name;
        }
    }

    /// Opens a named scope until the returned guard is dropped. Nodes, messages and dumps carry it.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let x = g.input("x", [3], F32);
    /// let y = { let _scope = g.scope("encoder"); x.tanh() };
    /// # let _ = y;
    /// ```
    pub fn scope(&self, name: impl Into<String>) -> Scope<'_, O> {
        self.inner.borrow_mut().scope.push(name.into());
        Scope { graph: self }
    }

    /// The first error made while building, if any.
    ///
    /// # Errors
    /// That error.
    pub fn check(&self) -> Result<()> {
        self.inner.borrow().error.clone().map_or(Ok(()), Err)
    }

    /// The number of nodes.
    pub fn len(&self) -> usize {
        self.inner.borrow().dag.node_count()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every node's number, in topological order.
    pub fn ids(&self) -> impl Iterator<Item = NodeId> + use<O> {
        (0..self.len() as u32).map(NodeId)
    }

    /// Every node with what there is to know of it, in topological order.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let y = g.input("x", [3], F32).tanh();
    /// let last = g.nodes().last().unwrap();
    /// assert_eq!((last.id, last.op.to_string()), (y.id(), "tanh".to_string()));
    /// ```
    pub fn nodes(&self) -> impl Iterator<Item = View<O>> + '_ {
        self.ids().map(|id| {
            let Node { op, ty, origin } = self.node(id).clone();
            View { id, op, ty, origin, operands: self.operands(id).into_vec() }
        })
    }

    /// The node's operator.
    pub(crate) fn op(&self, id: NodeId) -> O {
        self.node(id).op.clone()
    }

    /// The node in place. Nothing can be inserted while it is borrowed.
    pub(crate) fn node(&self, id: NodeId) -> Ref<'_, Node<O>> {
        Ref::map(self.inner.borrow(), |inner| &inner.dag[id.petgraph()])
    }

    /// The node's type.
    pub(crate) fn ty(&self, id: NodeId) -> TensorType {
        self.node(id).ty
    }

    /// The node's operands, in order.
    pub(crate) fn operands(&self, id: NodeId) -> SmallVec<[NodeId; FEW]> {
        operands_of(&self.inner.borrow().dag, id).collect()
    }

    /// The input or piece of state of this name.
    pub fn leaf(&self, name: &str) -> Option<NodeId> {
        self.inner.borrow().leaves.get(name).copied()
    }

    /// The results wanted of this graph, in order.
    pub fn results(&self) -> Vec<(Target, NodeId)> {
        self.inner.borrow().results.clone()
    }

    pub(crate) fn set_results(&self, results: Vec<(Target, NodeId)>) {
        self.inner.borrow_mut().results = results;
    }

    pub(crate) fn is_poison(&self, id: NodeId) -> bool {
        self.node(id).op == O::poison()
    }

    /// The nodes that `roots` depend on, themselves included: one flag a node.
    pub(crate) fn reachable(&self, roots: impl IntoIterator<Item = NodeId>) -> Vec<bool> {
        let mut reached = vec![false; self.len()];
        let mut stack: Vec<NodeId> = roots.into_iter().collect();
        while let Some(id) = stack.pop() {
            if !std::mem::replace(&mut reached[id.index()], true) {
                stack.extend(self.operands(id));
            }
        }
        reached
    }
}

fn poison_type() -> TensorType {
    TensorType::new(crate::types::DType::F32, [])
}

fn check_size(ty: TensorType) -> Result<TensorType, TypeError> {
    ty.shape.check().map(|()| ty).map_err(|error| TypeError::Invalid(error.to_string()))
}

/// An open scope of a graph; dropping it closes the scope.
#[must_use = "the scope closes when this is dropped"]
pub struct Scope<'g, O> {
    graph: &'g Graph<O>,
}

impl<O> Drop for Scope<'_, O> {
    fn drop(&mut self) {
        self.graph.inner.borrow_mut().scope.pop();
    }
}

/// The name of a piece of state or an input, shared by nodes, plans and messages.
pub type Name = Arc<str>;
