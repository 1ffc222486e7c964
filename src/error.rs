//! Floor 0: everything that can go wrong, in words that say what, where, what was expected and what to do.

use std::fmt;
use std::panic::Location;
use std::sync::Arc;

use crate::types::{DType, TensorType};

/// The result of every fallible call of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Where in the user's program something was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// File, line and column of the call.
    pub location: &'static Location<'static>,
    /// The graph scope it was built in, such as `encoder/layer1`; empty at the top.
    pub scope: Arc<str>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.location)?;
        if !self.scope.is_empty() {
            write!(f, " (in {})", self.scope)?;
        }
        Ok(())
    }
}

/// Why operands do not suit an operator. The operator's name and the place are added by [`Error::Type`].
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TypeError {
    #[error("shapes {} and {} do not broadcast: aligned at the last axis, extents must agree or be 1", .lhs.shape, .rhs.shape)]
    Broadcast { lhs: TensorType, rhs: TensorType },
    #[error("{lhs} and {rhs} do not fit: {expected}")]
    Mismatch { lhs: TensorType, rhs: TensorType, expected: String },
    #[error("{lhs} and {rhs} differ in element type; convert one of them, as with `.cast({:?})`", .lhs.dtype)]
    DTypes { lhs: TensorType, rhs: TensorType },
    #[error("{ty} is not supported here; expected {expected} (`.cast(..)` converts)")]
    DType { ty: TensorType, expected: &'static str },
    #[error("axis {axis} does not exist in {ty}, which has {}", axes_of(.ty))]
    Axis { axis: isize, ty: TensorType },
    #[error("axis {axis} is named twice")]
    RepeatedAxis { axis: usize },
    #[error("{0}")]
    Invalid(String),
}

/// The axes that may be named, in words.
fn axes_of(ty: &TensorType) -> String {
    match ty.shape.rank() {
        0 => "no axes".into(),
        1 => "axis 0 only".into(),
        rank => format!("axes 0 to {}, or -{rank} to -1 from the end", rank - 1),
    }
}

/// An error of this crate.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An expression whose operands do not suit its operator.
    #[error("{op}: {error}\n  at {at}")]
    Type { op: String, error: TypeError, at: Place },
    /// A shape that cannot exist.
    #[error("shape {0}")]
    Shape(String),
    /// Two leaves of one graph with one name.
    #[error(
        "the name `{name}` is already taken by {taken}; leaves of a graph need distinct names\n  at {at}"
    )]
    DuplicateName { name: String, taken: String, at: Place },
    /// A tensor used with a graph it does not belong to.
    #[error("{op}: the operand belongs to another graph\n  at {at}")]
    ForeignTensor { op: String, at: Place },
    /// The derivative of something that is not a scalar.
    #[error(
        "{what} must be a scalar to be differentiated, and is {ty}; reduce it first, with `.mean(..)` or `.sum(..)`"
    )]
    NotScalar { what: &'static str, ty: TensorType },
    /// A gradient with respect to, or through, elements that have none.
    #[error("{what} is {ty}: only f32 and f64 tensors have a gradient")]
    NotDifferentiable { what: String, ty: TensorType },
    /// A trainable parameter without influence on the loss.
    #[error(
        "the loss does not depend on parameter `{name}` ({ty}); use it, remove it, or `.freeze(\"{name}\")` it"
    )]
    UnreachedParameter { name: String, ty: TensorType },
    /// A training step without anything to train.
    #[error("the graph has no trainable parameter; declare one with `graph.parameter(name, shape, dtype)`")]
    NothingToTrain,
    /// A name that the compiled program does not know.
    #[error("there is no {kind} `{name}`; known: {known}")]
    UnknownName { kind: &'static str, name: String, known: String },
    /// A value of the wrong type for its slot.
    #[error("{kind} `{name}` is {expected}, but the value given is {given}")]
    ValueType { kind: &'static str, name: String, expected: TensorType, given: TensorType },
    /// A call with an input that was never set.
    #[error("input `{name}` ({ty}) has no value; set it with `inputs.set(\"{name}\", …)`")]
    MissingInput { name: String, ty: TensorType },
    /// State, or inputs, of another compiled program.
    #[error("the {0} given came from another compiled program; make it with this one's `.{0}()`")]
    ForeignMemory(&'static str),
    /// A value read as what it is not.
    #[error("{0}")]
    Value(String),
    /// An element type other than the one a number was asked for as.
    #[error("`{name}` holds {dtype}, which does not represent {value}")]
    Scalar { name: String, dtype: DType, value: f64 },
    /// Two ways to the same value that differ by more than rounding.
    #[error("{what}: {left} differs from {right} by {by:.2e} of the scale")]
    Differs { what: String, left: String, right: String, by: f64 },
    /// A graph's text that cannot be read.
    #[error("line {line} of the graph's text: {message}")]
    Text { line: usize, message: String },
    /// A graph that breaks its own rules: a defect of this crate.
    #[error("internal error: {0}; please report it with the graph's text")]
    Internal(String),
    /// The code generator refused: an unsupported processor or a program too large for it.
    #[error("code generation failed: {0}")]
    Codegen(String),
    /// A file that cannot be read, written or understood.
    #[error("{path}: {message}")]
    File { path: String, message: String },
    /// A table that no model can be fitted to.
    #[error("{0}")]
    Data(String),
}
