//! Loops: a body compiled once and run a number of times.
//!
//! A loop has several results, and each is a node of its own: all of them have the same operands and the same [`Scan`]
//! but for what they take of it. Whoever evaluates or schedules the graph runs the loop once for all.
//!
//! The rules of a loop are the transforms of its body. They reach them through the methods of [`Graph`], as recursion
//! on a smaller graph.

mod batch;
mod build;
mod derivative;

use std::fmt;
use std::sync::Arc;

use ndarray::Axis;
use rustc_hash::FxHashMap;

use super::{Body, Emitter, Graph, Mapped, Op, Reads, Rules, Site, Tensor, Types};
use crate::error::{Result, TypeError};
use crate::graph::{NodeId, OpText};
use crate::loops::{Affine, Instr, Var};
use crate::types::{DType, Scalar, Shape, TensorType, Value, map_value};

pub use build::Turn;

/// One result of a loop. Its operands are the first carries, the sliced tensors, and what the body captures.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scan {
    pub body: Arc<Body>,
    /// The number of turns; the most, if the loop may stop before.
    pub length: usize,
    pub direction: Direction,
    pub exit: Exit,
    pub taken: Taken,
}

/// The order in which slices are taken and rows are stacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    Forward,
    Backward,
}

/// When a loop ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// After all turns.
    Never,
    /// Before a turn in which the first carry, a bool, is false. Such a loop slices and stacks nothing.
    WhenFalse,
}

impl Exit {
    fn name(self) -> &'static str {
        match self {
            Exit::Never => "scan",
            Exit::WhenFalse => "while",
        }
    }
}

/// What a node takes of its loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Taken {
    /// The last value of a carry.
    Last(usize),
    /// The rows that the turns gave, along a new leading axis.
    Stack(usize),
    /// The values of a carry before each turn, along a new leading axis.
    History(usize),
}

/// A loop over tensors, of which nodes can be taken.
struct Call<'g> {
    scan: Scan,
    operands: Vec<Tensor<'g>>,
}

impl<'g> Call<'g> {
    #[track_caller]
    fn take(&self, taken: Taken) -> Tensor<'g> {
        Tensor::apply(Op::Scan(Scan { taken, ..self.scan.clone() }), &self.operands)
    }
}

impl Scan {
    /// Everything that can be taken of the loop.
    pub(crate) fn results(&self) -> impl Iterator<Item = Taken> + use<> {
        let (carries, rows) = (self.body.carries, self.body.rows());
        let last = (0..carries).map(Taken::Last);
        last.chain((0..rows).map(Taken::Stack)).chain((0..carries).map(Taken::History))
    }

    /// The same loop, whatever is taken of it.
    pub(crate) fn whole(&self) -> Scan {
        Scan { taken: Taken::Last(0), ..self.clone() }
    }

    /// The type of one turn's share in what is taken.
    pub(crate) fn turn(&self, taken: Taken) -> TensorType {
        match taken {
            Taken::Last(carry) | Taken::History(carry) => self.body.input(carry),
            Taken::Stack(row) => self.body.result(self.body.carries + row),
        }
    }

    /// The operand's type for an input of the body.
    fn operand(&self, index: usize) -> Result<TensorType, TypeError> {
        let slice = self.body.input(index);
        let is_sliced = (self.body.carries..self.body.carries + self.body.sliced).contains(&index);
        if is_sliced { stacked(self.length, slice) } else { Ok(slice) }
    }

    /// The slice that a turn takes and the row that it gives.
    pub(crate) fn position(&self, turn: usize) -> usize {
        match self.direction {
            Direction::Forward => turn,
            Direction::Backward => self.length - 1 - turn,
        }
    }

    /// The reference evaluation: turn by turn.
    fn run(&self, operands: &[&Value]) -> Run {
        let (carries, sliced) = (self.body.carries, self.body.sliced);
        let mut inputs: Vec<Value> = operands.iter().map(|&value| value.clone()).collect();
        let mut rows = vec![FxHashMap::default(); carries + self.body.rows()];
        for turn in 0..self.length {
            if self.exit == Exit::WhenFalse && inputs[0] == Value::from(false) {
                break;
            }
            let position = self.position(turn);
            for index in carries..carries + sliced {
                inputs[index] = slice(operands[index], position);
            }
            let mut results = self.body.evaluate(&inputs);
            let given = results.split_off(carries);
            for (rows, row) in rows.iter_mut().zip(inputs[..carries].iter().cloned().chain(given)) {
                rows.insert(position, row);
            }
            inputs.splice(..carries, results);
        }
        inputs.truncate(carries);
        Run { last: inputs, rows }
    }
}

/// The results of one evaluation of a loop.
struct Run {
    last: Vec<Value>,
    /// By position: the history of each carry, then what each stack is made of.
    rows: Vec<FxHashMap<usize, Value>>,
}

impl Run {
    fn take(&self, taken: Taken, ty: TensorType) -> Value {
        let stack = match taken {
            Taken::Last(carry) => return self.last[carry].clone(),
            Taken::History(carry) => carry,
            Taken::Stack(row) => self.last.len() + row,
        };
        let rows = (0..self.rows[stack].len()).filter_map(|position| self.rows[stack].get(&position));
        Value::from_elements(ty, rows.flat_map(Value::elements))
    }
}

/// Evaluates operators by their reference rules, each loop once for all that is taken of it.
#[derive(Default)]
pub(crate) struct Runs {
    runs: FxHashMap<(Scan, Vec<NodeId>), Run>,
}

impl Runs {
    pub fn evaluate(&mut self, op: &Op, ids: &[NodeId], operands: &[&Value], ty: TensorType) -> Value {
        let Op::Scan(scan) = op else { return op.rules().evaluate(operands, ty) };
        let run = self.runs.entry((scan.whole(), ids.to_vec())).or_insert_with(|| scan.run(operands));
        run.take(scan.taken, ty)
    }
}

impl Rules for Scan {
    fn name(&self) -> &'static str {
        self.exit.name()
    }

    fn infer(&self, operands: &[TensorType]) -> Result<TensorType, TypeError> {
        let body = &self.body;
        if operands.len() != body.inputs {
            let message = format!("takes {} operands, and has {}", body.inputs, operands.len());
            return Err(TypeError::Invalid(message));
        }
        for (index, &given) in operands.iter().enumerate() {
            let wanted = self.operand(index)?;
            if given != wanted {
                let expected = format!("operand {index} of the loop is the second");
                return Err(TypeError::Mismatch { lhs: given, rhs: wanted, expected });
            }
        }
        for carry in 0..body.carries {
            check_carry(carry, body.input(carry), body.result(carry))?;
        }
        match self.exit {
            Exit::WhenFalse if body.sliced + body.rows() > 0 || self.takes_history() => {
                Err(TypeError::Invalid("a loop that may stop early slices and stacks nothing".into()))
            }
            Exit::WhenFalse if body.input(0) != TensorType::new(DType::Bool, []) => {
                Err(TypeError::DType { ty: body.input(0), expected: "bool[], whether to go on" })
            }
            _ => match self.taken {
                Taken::Last(carry) => Ok(body.input(carry)),
                taken => stacked(self.length, self.turn(taken)),
            },
        }
    }

    /// The rule for one result alone; `grad` gives all cotangents at once to `Scan::pull_back`.
    fn vjp<'g>(&self, site: &Site<'g>, operand: usize, dy: Tensor<'g>) -> Option<Tensor<'g>> {
        let mut wanted = vec![false; site.operands.len()];
        wanted[operand] = true;
        self.pull_back(site, &[(self.taken, dy)], &wanted)?.of(operand)
    }

    fn jvp<'g>(&self, site: &Site<'g>, tangents: &[Option<Tensor<'g>>]) -> Option<Tensor<'g>> {
        self.push_forward(site, tangents)
    }

    fn batch<'g>(&self, operands: &[Mapped<'g>]) -> Tensor<'g> {
        self.batched(operands)
    }

    fn evaluate(&self, operands: &[&Value], ty: TensorType) -> Value {
        self.run(operands).take(self.taken, ty)
    }

    /// A loop is a task of its own: its results are always loaded, and this is a number that nobody reads.
    fn lower(&self, types: &Types, _: &[Affine], emitter: &mut dyn Emitter) -> Var {
        let dtype = types.result.dtype;
        emitter.emit(Instr::Constant(Scalar::from_f64(0.0, dtype)), dtype)
    }

    fn reads(&self, _: &Types, _: usize) -> Reads {
        Reads::Linear
    }

    fn body(&self) -> Option<Graph> {
        Some(self.body.to_graph())
    }
}

impl Scan {
    fn takes_history(&self) -> bool {
        matches!(self.taken, Taken::History(_))
    }
}

/// The type behind a leading axis.
fn stacked(length: usize, ty: TensorType) -> Result<TensorType, TypeError> {
    let extents = [&[length], ty.shape.extents()].concat();
    let shape = Shape::new(&extents).map_err(|error| TypeError::Invalid(error.to_string()))?;
    Ok(TensorType { shape, ..ty })
}

/// Whether a carry keeps its type from turn to turn.
fn check_carry(carry: usize, before: TensorType, after: TensorType) -> Result<(), TypeError> {
    if before == after {
        return Ok(());
    }
    let advice =
        if before.shape != after.shape { "give it one shape" } else { "convert it with `.cast(..)`" };
    let message = format!("carry {carry} enters the body as {before} and leaves it as {after}; {advice}");
    Err(TypeError::Invalid(message))
}

fn slice(value: &Value, position: usize) -> Value {
    map_value!(value, array => array.index_axis(Axis(0), position).into())
}

impl fmt::Display for Scan {
    /// Such as `scan[7, backward] y0`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}", self.name(), self.length)?;
        if self.direction == Direction::Backward {
            write!(f, ", backward")?;
        }
        write!(f, "] {}", self.taken)
    }
}

impl Scan {
    /// The loop that prints as this text, with this body below it.
    pub(super) fn parse(text: &OpText<'_>, body: &Graph) -> Option<Scan> {
        let exit = [Exit::Never, Exit::WhenFalse].into_iter().find(|exit| exit.name() == text.name)?;
        let (turns, taken) = text.attributes.strip_prefix('[')?.split_once("] ")?;
        let (length, direction) = match turns.split_once(',') {
            Some((length, order)) => (length, (order.trim() == "backward").then_some(Direction::Backward)?),
            None => (turns, Direction::Forward),
        };
        let length = length.trim().parse().ok()?;
        let body = Arc::new(Body::of_graph(body));
        let scan = Scan { body, length, direction, exit, taken: Taken::Last(0) };
        let taken = scan.results().find(|result| result.to_string() == taken)?;
        Some(Scan { taken, ..scan })
    }
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Taken::Last(carry) => write!(f, "carry{carry}"),
            Taken::Stack(row) => write!(f, "y{row}"),
            Taken::History(carry) => write!(f, "history{carry}"),
        }
    }
}
