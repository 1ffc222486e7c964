//! Floor 3: the operators. **One file per family**; each states its operators' type rule, VJP, JVP,
//! reference evaluation and lowering side by side, and adds the methods users write to [`Tensor`].

mod body;
mod contraction;
mod custom;
mod einsum;
mod elementwise;
mod gather;
mod layout;
mod leaf;
mod random;
mod recurrence;
mod reduce;
mod scan;
mod section;
mod sort;
mod tensor;
mod triangle;
mod window;

use std::fmt;

pub use body::Body;
pub use contraction::Dot;
pub use custom::Custom;
pub use elementwise::{Elementwise, Operand};
pub use gather::{Gather, ScatterAdd};
pub use layout::{Layout, ShapeSpec};
pub(crate) use layout::{inverse, is_finer};
pub use leaf::{Leaf, Role};
pub use random::Random;
pub use recurrence::Recurrence;
pub use reduce::{AxisSpec, Reduce, keep};
pub(crate) use scan::Runs;
pub use scan::{Direction, Exit, Scan, Taken, Turn};
pub use section::Section;
pub use sort::Argsort;
pub use tensor::Tensor;
pub use window::{Slide, Window};

use crate::error::{Result, TypeError};
use crate::graph;
pub use crate::loops::Order;
use crate::loops::{Affine, Combine, Instr, Sorting, Var};
use crate::types::{DType, Scalar, Shape, TensorType, Value};

/// A graph over this crate's operators.
pub type Graph = graph::Graph<Op>;

/// An operator with its attributes: one variant a family.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Inputs, state and constants.
    Leaf(Leaf),
    /// One scalar function at every element.
    Elementwise(Elementwise),
    /// Axes combined away.
    Reduce(Reduce),
    /// Products summed over shared axes.
    Dot(Dot),
    /// The same elements, arranged otherwise.
    Layout(Layout),
    /// Parts of tensors.
    Section(Section),
    /// Rows picked by an integer tensor.
    Gather(Gather),
    /// Rows added where an integer tensor says.
    ScatterAdd(ScatterAdd),
    /// Linear recurrences along an axis.
    Recurrence(Recurrence),
    /// The positions of elements in order.
    Argsort(Argsort),
    /// Sliding windows, and windows laid over one another.
    Window(Window),
    /// Random bits by key and counter.
    Random(Random),
    /// Values with a reverse rule of their own.
    Custom(Custom),
    /// Loops.
    Scan(Scan),
}

/// What an operator family states about its operators.
pub(crate) trait Rules {
    /// The operator's name, without attributes.
    fn name(&self) -> &'static str;

    /// The type rule.
    fn infer(&self, operands: &[TensorType]) -> Result<TensorType, TypeError>;

    /// The reverse rule: the cotangent of one operand, given that of the result. `None` where it is
    /// zero for every cotangent.
    fn vjp<'g>(&self, site: &Site<'g>, operand: usize, dy: Tensor<'g>) -> Option<Tensor<'g>>;

    /// Where, if not everywhere, the operand has a say in the result at the same index. Elsewhere its cotangent is
    /// exactly zero, whatever the derivatives behind it are: a NaN in an untaken branch must not leak.
    fn gate<'g>(&self, _site: &Site<'g>, _operand: usize) -> Option<Tensor<'g>> {
        None
    }

    /// The forward rule: the tangent of the result, given those of the operands (`None` is zero).
    fn jvp<'g>(&self, site: &Site<'g>, tangents: &[Option<Tensor<'g>>]) -> Option<Tensor<'g>>;

    /// The batching rule: the result for every sample at once. Mapped operands have a new leading axis, and so has the
    /// result; at least one operand is mapped.
    fn batch<'g>(&self, operands: &[Mapped<'g>]) -> Tensor<'g>;

    /// The reference evaluation. `ty` is the result's type.
    fn evaluate(&self, operands: &[&Value], ty: TensorType) -> Value;

    /// The lowering: emits the computation of the result's element at `index`. An operator that is written whole has none:
    /// its elements are always loaded.
    fn lower(&self, types: &Types, _index: &[Affine], emitter: &mut dyn Emitter) -> Var {
        let dtype = types.result.dtype;
        emitter.emit(Instr::Constant(Scalar::from_f64(0.0, dtype)), dtype)
    }

    /// The lowering of an operator whose elements cannot be computed one by one, or not as fast.
    fn whole(&self) -> Option<&dyn Whole> {
        None
    }

    /// How the lowering reads this operand's elements.
    fn reads(&self, _types: &Types, _operand: usize) -> Reads {
        Reads::Once
    }

    /// The graph that the operator runs or derives by, if there is one.
    fn body(&self) -> Option<Graph> {
        None
    }
}

/// How often, and at which indices, an operator reads the elements of an operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// Each at most once: computing them in place costs nothing extra.
    Once,
    /// Each several times.
    Repeatedly,
    /// By row-major offset only: the operand must lie in memory.
    Linear,
}

/// The types around an operator: what its lowering needs to know.
pub(crate) struct Types {
    pub operands: Vec<TensorType>,
    pub result: TensorType,
}

/// The tensors around an operator: what its derivative rules are written with.
pub(crate) struct Site<'g> {
    pub operands: Vec<Tensor<'g>>,
    pub result: Tensor<'g>,
}

impl<'g> Site<'g> {
    /// Around a node.
    pub(crate) fn of(result: Tensor<'g>) -> Site<'g> {
        let operands =
            result.graph.operands(result.id).into_iter().map(|id| result.graph.tensor(id)).collect();
        Site { operands, result }
    }
}

/// An operand of a batched operator.
#[derive(Clone, Copy)]
pub(crate) struct Mapped<'g> {
    pub tensor: Tensor<'g>,
    /// The extent of the new leading axis, if the operand has it.
    pub samples: Option<usize>,
}

impl<'g> Mapped<'g> {
    /// The operand with the leading axis, repeated along it if it had none.
    fn with_axis(self, samples: usize) -> Tensor<'g> {
        match self.samples {
            Some(_) => self.tensor,
            None => {
                let extents = [&[samples], self.tensor.shape().extents()].concat();
                let axes: Vec<usize> = (1..extents.len()).collect();
                self.tensor.broadcast_in(Shape::of(&extents), &axes)
            }
        }
    }
}

/// All operands with the leading axis, for operators that want it of each.
fn with_axes<'g>(operands: &[Mapped<'g>]) -> Vec<Tensor<'g>> {
    let samples = operands.iter().find_map(|operand| operand.samples).unwrap_or(1);
    operands.iter().map(|operand| operand.with_axis(samples)).collect()
}

/// The shape with a leading axis.
fn with_leading(samples: usize, shape: Shape) -> Shape {
    Shape::of(&[&[samples], shape.extents()].concat())
}

/// Takes scalar code from an operator's lowering.
pub(crate) trait Emitter {
    /// The element of the operand at `index`, read or computed on the spot.
    fn operand(&mut self, operand: usize, index: &[Affine]) -> Var;

    /// The element at a row-major offset of an operand with [`Reads::Linear`].
    fn linear(&mut self, operand: usize, offset: Affine) -> Var;

    /// The element of an operand with [`Reads::Linear`] at `offset + row · stride`, `row` (an i64) being held between 0 and
    /// `bound - 1`.
    fn picked(&mut self, operand: usize, offset: Affine, row: Var, stride: i64, bound: i64) -> Var;

    /// The element of the operand at `index` where every expression of `ranges` lies between 0 and its bound;
    /// elsewhere some number, and nothing is read.
    fn guarded(&mut self, ranges: &[(Affine, i64)], operand: usize, index: &[Affine]) -> Var;

    /// One scalar instruction.
    fn emit(&mut self, instr: Instr, dtype: DType) -> Var;

    /// A reduction over all index tuples below `extents`.
    fn reduce(
        &mut self,
        combine: Combine,
        dtype: DType,
        extents: &[usize],
        body: &mut dyn FnMut(&mut dyn Emitter, &[Affine]) -> Var,
    ) -> Var;
}

/// The lowering of an operator that writes its whole result, in a kernel of its own.
pub(crate) trait Whole {
    /// Emits the kernel.
    fn write(&self, types: &Types, writer: &mut dyn Writer);
}

/// Takes the statements of a kernel that writes one operator's result, in the order in which they run.
pub(crate) trait Writer: Emitter {
    /// Statements for all index tuples below `extents`, in row-major order.
    fn each(&mut self, extents: &[usize], body: &mut dyn FnMut(&mut dyn Writer, &[Affine]));

    /// Statements for each number below `extent`, in order. The value that `body` gives is handed to the next turn; the
    /// first gets `initial`.
    fn recur(
        &mut self,
        extent: usize,
        initial: Scalar,
        body: &mut dyn FnMut(&mut dyn Writer, &Affine, Var) -> Var,
    );

    /// Writes, for a row of an operand with [`Reads::Linear`] from one row-major offset on, the positions of its elements
    /// in order from another one of the result on.
    fn sort(&mut self, operand: usize, offsets: [Affine; 2], sorting: Sorting);

    /// Writes the result's element at a row-major offset.
    fn store(&mut self, offset: Affine, value: Var);

    /// Adds to the result's element at `offset + row · stride`, `row` (an i64) being held between 0 and `bound - 1`.
    fn accumulate(&mut self, offset: Affine, row: Var, stride: i64, bound: i64, value: Var);
}

impl Op {
    /// The rules of the family the operator belongs to.
    pub(crate) fn rules(&self) -> &dyn Rules {
        match self {
            Op::Leaf(op) => op,
            Op::Elementwise(op) => op,
            Op::Reduce(op) => op,
            Op::Dot(op) => op,
            Op::Layout(op) => op,
            Op::Section(op) => op,
            Op::Gather(op) => op,
            Op::ScatterAdd(op) => op,
            Op::Recurrence(op) => op,
            Op::Argsort(op) => op,
            Op::Window(op) => op,
            Op::Random(op) => op,
            Op::Custom(op) => op,
            Op::Scan(op) => op,
        }
    }
}

/// Each family's reader of what it prints as.
const READERS: &[fn(&graph::OpText<'_>) -> Option<Op>] = &[
    |text| Leaf::parse(text).map(Op::Leaf),
    |text| Elementwise::parse(text).map(Op::Elementwise),
    |text| Reduce::parse(text).map(Op::Reduce),
    |text| Dot::parse(text).map(Op::Dot),
    |text| Layout::parse(text).map(Op::Layout),
    |text| Section::parse(text).map(Op::Section),
    |text| Gather::parse(text).map(Op::Gather),
    |text| ScatterAdd::parse(text).map(Op::ScatterAdd),
    |text| Recurrence::parse(text).map(Op::Recurrence),
    |text| Argsort::parse(text).map(Op::Argsort),
    |text| Window::parse(text).map(Op::Window),
    |text| Random::parse(text).map(Op::Random),
];

impl graph::Operator for Op {
    fn infer(&self, operands: &[TensorType]) -> Result<TensorType, TypeError> {
        self.rules().infer(operands)
    }

    fn name(&self) -> &'static str {
        self.rules().name()
    }

    fn leaf_name(&self) -> Option<&str> {
        match self {
            Op::Leaf(Leaf::Input { name, .. } | Leaf::State { name, .. }) => Some(name),
            _ => None,
        }
    }

    fn parse(text: &graph::OpText<'_>, body: Option<&Graph>) -> Option<Op> {
        let looped = || Scan::parse(text, body?).map(Op::Scan);
        let ruled = || Custom::parse(text, body?).map(Op::Custom);
        READERS.iter().find_map(|read| read(text)).or_else(looped).or_else(ruled)
    }

    fn poison() -> Op {
        Op::Leaf(Leaf::Poison)
    }

    fn body(&self) -> Option<Graph> {
        self.rules().body()
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Leaf(op) => op.fmt(f),
            Op::Elementwise(op) => op.fmt(f),
            Op::Reduce(op) => op.fmt(f),
            Op::Dot(op) => op.fmt(f),
            Op::Layout(op) => op.fmt(f),
            Op::Section(op) => op.fmt(f),
            Op::Gather(op) => op.fmt(f),
            Op::ScatterAdd(op) => op.fmt(f),
            Op::Recurrence(op) => op.fmt(f),
            Op::Argsort(op) => op.fmt(f),
            Op::Window(op) => op.fmt(f),
            Op::Random(op) => op.fmt(f),
            Op::Custom(op) => op.fmt(f),
            Op::Scan(op) => op.fmt(f),
        }
    }
}

/// Checks the number of operands, so that type rules may index them.
fn expect_operands<const N: usize>(operands: &[TensorType]) -> Result<[TensorType; N], TypeError> {
    operands
        .try_into()
        .map_err(|_| TypeError::Invalid(format!("takes {N} operands, and has {}", operands.len())))
}
