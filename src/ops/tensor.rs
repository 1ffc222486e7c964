//! The handle users hold: a graph and a node's number.

use std::fmt;
use std::panic::Location;

use super::{Graph, Op};
use crate::error::{Error, Place, Result};
use crate::graph::{NodeId, Origin, Target};
use crate::types::{DType, Shape, TensorType};

/// A symbolic tensor: a node of a [`Graph`]. `Copy`, so expressions read as mathematics.
///
/// Operators broadcast as NumPy's do. A mistake in an expression does not panic: the graph keeps the
/// error with file and line, and `compile`, `grad` and `interpret` return it.
///
/// ```
/// use hitofude::prelude::*;
/// let g = Graph::new();
/// let x = g.input("x", [2, 3], F32);
/// let w = g.parameter("w", [3, 4], F32);
/// let b = g.parameter("b", [4], F32);
/// let y = (x.matmul(w) + b).relu();
/// assert_eq!(y.ty().to_string(), "f32[2,4]");
/// let _bad = x + w;
/// let message = g.check().unwrap_err().to_string();
/// assert!(message.contains("[2,3] and [3,4] do not broadcast"));
/// ```
#[derive(Clone, Copy)]
pub struct Tensor<'g> {
    pub(crate) graph: &'g Graph,
    pub(crate) id: NodeId,
}

impl<'g> Tensor<'g> {
    /// The node's number in its graph.
    pub fn id(self) -> NodeId {
        self.id
    }

    /// The graph the tensor belongs to.
    pub fn graph(self) -> &'g Graph {
        self.graph
    }

    /// Element type and shape.
    pub fn ty(self) -> TensorType {
        self.graph.ty(self.id)
    }

    /// The shape.
    pub fn shape(self) -> Shape {
        self.ty().shape
    }

    /// The element type.
    pub fn dtype(self) -> DType {
        self.ty().dtype
    }

    /// Where the user wrote the expression; for what was derived, the caller's place.
    #[track_caller]
    pub(crate) fn written_at(self) -> Place {
        match &self.graph.node(self.id).origin {
            Origin::User(place) => place.clone(),
            _ => self.graph.place(Location::caller()),
        }
    }

    /// Whether the expression is mistyped: its graph holds the error.
    pub fn is_poison(self) -> bool {
        self.graph.is_poison(self.id)
    }

    /// Inserts an operator over tensors of one graph.
    #[track_caller]
    pub(crate) fn apply(op: Op, operands: &[Tensor<'g>]) -> Tensor<'g> {
        let at = Location::caller();
        let graph = operands[0].graph;
        if operands.iter().any(|operand| !std::ptr::eq(operand.graph, graph)) {
            return graph.foreign(&op.to_string());
        }
        let ids: Vec<NodeId> = operands.iter().map(|operand| operand.id).collect();
        Tensor { graph, id: graph.insert(op, &ids, at) }
    }

    /// A poisoned tensor, with this error recorded unless an operand was poisoned already.
    #[track_caller]
    pub(crate) fn poison(self, op: &str, error: crate::error::TypeError) -> Tensor<'g> {
        if self.is_poison() {
            return self;
        }
        let at = self.graph.place(Location::caller());
        let (_, id) = self.graph.fail(Error::Type { op: op.into(), error, at });
        Tensor { graph: self.graph, id }
    }
}

impl Graph {
    /// Fails with the first error made while building, or if a tensor belongs to another graph.
    #[track_caller]
    pub(crate) fn check_own<'t>(
        &self,
        op: &str,
        tensors: impl IntoIterator<Item = Tensor<'t>>,
    ) -> Result<()> {
        self.check()?;
        if tensors.into_iter().all(|tensor| std::ptr::eq(tensor.graph, self)) {
            return Ok(());
        }
        Err(Error::ForeignTensor { op: op.into(), at: self.place(Location::caller()) })
    }

    /// The graph's results that are reported, by name, in order: of a graph that was read from its text, what to
    /// compile or evaluate.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::parse("%0 = input x f64[]\n%1 = square f64[] (%0)\noutput y = %1");
    /// assert!(g.is_err()); // `square` is no operator, but a product
    /// let g = Graph::parse("%0 = input x f64[]\n%1 = mul f64[] (%0, %0)\noutput y = %1")?;
    /// let (name, y) = &g.outputs()[0];
    /// assert_eq!(g.interpret(&[(name, *y)], &[("x", 3.0.into())])?["y"], Value::from(9.0));
    /// # Ok::<(), Error>(())
    /// ```
    pub fn outputs(&self) -> Vec<(String, Tensor<'_>)> {
        let reported = |(target, id)| match target {
            Target::Output(name) => Some((name, self.tensor(id))),
            Target::Update(_) => None,
        };
        self.results().into_iter().filter_map(reported).collect()
    }

    /// What stands for an expression over these tensors that cannot be built: one of them is poisoned already, or belongs
    /// to another graph, which is then the error.
    #[track_caller]
    pub(crate) fn unusable<'g>(&'g self, op: &str, tensors: &[Tensor<'g>]) -> Option<Tensor<'g>> {
        if tensors.iter().any(|tensor| !std::ptr::eq(tensor.graph, self)) {
            return Some(self.foreign(op));
        }
        tensors.iter().copied().find(|tensor| tensor.is_poison())
    }

    /// A poisoned tensor, with the error recorded that an operand belongs to another graph.
    #[track_caller]
    fn foreign(&self, op: &str) -> Tensor<'_> {
        let at = self.place(Location::caller());
        let (_, id) = self.fail(Error::ForeignTensor { op: op.into(), at });
        Tensor { graph: self, id }
    }

    /// The handle of a node of this graph.
    pub(crate) fn tensor(&self, id: NodeId) -> Tensor<'_> {
        Tensor { graph: self, id }
    }
}

impl fmt::Debug for Tensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "%{}: {}", self.id.index(), self.ty())
    }
}
