//! Leaves: inputs, state (parameters, optimiser slots, settings, keys) and constants.

use std::fmt;
use std::panic::Location;

use ndarray::{ArrayD, IxDyn};

use super::{Emitter, Graph, Mapped, Op, Rules, Site, Tensor, Types};
use crate::error::{Result, TypeError};
use crate::graph::{Name, Named, OpText, read_name};
use crate::loops::{Affine, Instr, Var};
use crate::types::{DType, Scalar, Shape, TensorType, Value};

/// A node without operands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Leaf {
    /// Given anew at every call.
    Input { name: Name, ty: TensorType },
    /// Kept from call to call. Every element starts as `initial`.
    State { name: Name, ty: TensorType, role: Role, initial: Scalar },
    /// A tensor whose elements are all this number.
    Constant { value: Scalar, shape: Shape },
    /// Each element's index along one axis.
    Iota { ty: TensorType, axis: usize },
    /// What a mistyped expression becomes.
    Poison,
}

/// What a piece of state is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Trained, unless frozen.
    Parameter,
    /// An optimiser's memory of one parameter, such as its momentum.
    Slot,
    /// A hyper-parameter: a number that the caller may change between calls, such as the rate.
    Setting,
    /// What random numbers are drawn by; every step goes on to the next.
    Key,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Parameter => "parameter",
            Role::Slot => "slot",
            Role::Setting => "setting",
            Role::Key => "key",
        })
    }
}

impl Rules for Leaf {
    fn name(&self) -> &'static str {
        match self {
            Leaf::Input { .. } => "input",
            Leaf::State { .. } => "state",
            Leaf::Constant { .. } => "constant",
            Leaf::Iota { .. } => "iota",
            Leaf::Poison => "poison",
        }
    }

    fn infer(&self, _: &[TensorType]) -> Result<TensorType, TypeError> {
        Ok(match *self {
            Leaf::Input { ty, .. } | Leaf::State { ty, .. } => ty,
            Leaf::Iota { ty, axis } if axis >= ty.shape.rank() => {
                return Err(TypeError::Axis { axis: axis as isize, ty });
            }
            Leaf::Iota { ty, .. } if ty.dtype == DType::Bool => {
                return Err(TypeError::DType { ty, expected: "numbers" });
            }
            Leaf::Iota { ty, .. } => ty,
            Leaf::Constant { value, shape } => TensorType { dtype: value.dtype(), shape },
            Leaf::Poison => TensorType::new(DType::F32, []),
        })
    }

    fn vjp<'g>(&self, _: &Site<'g>, _: usize, _: Tensor<'g>) -> Option<Tensor<'g>> {
        None
    }

    fn jvp<'g>(&self, _: &Site<'g>, _: &[Option<Tensor<'g>>]) -> Option<Tensor<'g>> {
        None
    }

    /// A leaf has no operands to be mapped.
    fn batch<'g>(&self, operands: &[Mapped<'g>]) -> Tensor<'g> {
        operands[0].tensor
    }

    /// Constants; the values of inputs and state are the evaluator's.
    fn evaluate(&self, _: &[&Value], ty: TensorType) -> Value {
        match *self {
            Leaf::Constant { value, shape } => Value::splat(value, shape),
            Leaf::State { initial, .. } => Value::splat(initial, ty.shape),
            Leaf::Iota { axis, .. } => {
                let index = |index: IxDyn| index[axis] as i64;
                Value::I64(ArrayD::from_shape_fn(IxDyn(ty.shape.extents()), index)).cast(ty.dtype)
            }
            Leaf::Input { .. } | Leaf::Poison => Value::splat(Scalar::from_f64(0.0, ty.dtype), ty.shape),
        }
    }

    /// Constants; inputs and state lie in memory and are loaded by the schedule.
    fn lower(&self, types: &Types, index: &[Affine], emitter: &mut dyn Emitter) -> Var {
        if let Leaf::Iota { axis, ty } = *self {
            let position = emitter.emit(Instr::Index(index[axis].clone()), DType::I64);
            return match ty.dtype {
                DType::I64 => position,
                dtype => emitter.emit(Instr::Cast(position), dtype),
            };
        }
        let value = match *self {
            Leaf::Constant { value, .. } => value,
            _ => Scalar::from_f64(0.0, types.result.dtype),
        };
        emitter.emit(Instr::Constant(value), types.result.dtype)
    }
}

impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Leaf::Input { name, .. } => write!(f, "input {}", Named(name)),
            Leaf::State { name, role, initial, .. } if initial.bits() == 0 => {
                write!(f, "{role} {}", Named(name))
            }
            Leaf::State { name, role, initial, .. } => write!(f, "{role} {} from {initial}", Named(name)),
            Leaf::Constant { value, .. } => write!(f, "constant {value}"),
            Leaf::Iota { axis, .. } => write!(f, "iota[{axis}]"),
            Leaf::Poison => write!(f, "poison"),
        }
    }
}

impl Leaf {
    /// The leaf that prints as this text.
    pub(super) fn parse(text: &OpText<'_>) -> Option<Leaf> {
        let ty = text.ty;
        Some(match text.name {
            "input" => Leaf::Input { name: read_name(text.attributes).ok()?.into(), ty },
            "constant" => {
                Leaf::Constant { value: Scalar::parse(text.attributes, ty.dtype)?, shape: ty.shape }
            }
            "iota" => Leaf::Iota { ty, axis: text.attributes.parse().ok()? },
            role => {
                let role = [Role::Parameter, Role::Slot, Role::Setting, Role::Key]
                    .into_iter()
                    .find(|r| r.to_string() == role)?;
                let from = text.attributes.rsplit_once(" from ");
                let (name, initial) = from
                    .and_then(|(name, initial)| Some((name, Scalar::parse(initial, ty.dtype)?)))
                    .unwrap_or((text.attributes, Scalar::from_f64(0.0, ty.dtype)));
                Leaf::State { name: read_name(name).ok()?.into(), ty, role, initial }
            }
        })
    }
}

impl Graph {
    /// Declares a value that the caller gives at every call.
    ///
    /// A name already taken is an error that `compile` returns.
    #[track_caller]
    pub fn input(&self, name: &str, shape: impl Into<Shape>, dtype: DType) -> Tensor<'_> {
        let leaf = Leaf::Input { name: name.into(), ty: TensorType::new(dtype, shape) };
        Tensor { graph: self, id: self.declare(Op::Leaf(leaf), Location::caller()) }
    }

    /// Declares a trainable parameter. It is zero until the caller sets it in the state.
    #[track_caller]
    pub fn parameter(&self, name: &str, shape: impl Into<Shape>, dtype: DType) -> Tensor<'_> {
        let zero = Scalar::from_f64(0.0, dtype);
        let leaf = state(name, TensorType::new(dtype, shape), Role::Parameter, zero);
        self.tensor(self.declare(leaf, Location::caller()))
    }

    /// A tensor whose elements are all `value`, rounded to `dtype`.
    #[track_caller]
    pub fn constant(&self, value: f64, shape: impl Into<Shape>, dtype: DType) -> Tensor<'_> {
        self.literal(Scalar::from_f64(value, dtype), shape.into())
    }

    /// A tensor whose elements are all this literal.
    #[track_caller]
    pub fn literal(&self, value: Scalar, shape: Shape) -> Tensor<'_> {
        self.tensor(self.insert(Op::Leaf(Leaf::Constant { value, shape }), &[], Location::caller()))
    }

    /// The index of each element along `axis`, as numbers of `dtype`.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let columns = g.iota([2, 3], 1, I32);
    /// assert_eq!(g.interpret(&[("i", columns)], &[])?["i"], array![[0, 1, 2], [0, 1, 2]].into());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn iota(&self, shape: impl Into<Shape>, axis: usize, dtype: DType) -> Tensor<'_> {
        let leaf = Leaf::Iota { ty: TensorType::new(dtype, shape), axis };
        self.tensor(self.insert(Op::Leaf(leaf), &[], Location::caller()))
    }

    /// The parameters, in the order they were declared.
    pub fn parameters(&self) -> Vec<Tensor<'_>> {
        let is_parameter =
            |id: &_| matches!(self.node(*id).op, Op::Leaf(Leaf::State { role: Role::Parameter, .. }));
        self.ids().filter(is_parameter).map(|id| self.tensor(id)).collect()
    }
}

pub(super) fn state(name: &str, ty: TensorType, role: Role, initial: Scalar) -> Op {
    Op::Leaf(Leaf::State { name: name.into(), ty, role, initial })
}

impl<'g> Tensor<'g> {
    /// Declares an optimiser's memory of this parameter `p`: state of the same type, named `p.name`. Declared
    /// again, it is the same memory.
    #[track_caller]
    pub fn slot(self, name: &str, initial: f64) -> Tensor<'g> {
        let at = Location::caller();
        let name = format!("{}.{name}", self.leaf_name().unwrap_or_default());
        let leaf = state(&name, self.ty(), Role::Slot, Scalar::from_f64(initial, self.dtype()));
        let known = self.graph.leaf(&name).filter(|&id| self.graph.node(id).op == leaf);
        self.graph.tensor(known.unwrap_or_else(|| self.graph.declare(leaf, at)))
    }

    /// Declares a number that lives in the state, for expressions over this tensor: the caller may change it
    /// between calls without recompiling. Declared again, it is the same number.
    #[track_caller]
    pub fn setting(self, name: &str, initial: f64) -> Tensor<'g> {
        let at = Location::caller();
        let leaf =
            |dtype| state(name, TensorType::new(dtype, []), Role::Setting, Scalar::from_f64(initial, dtype));
        let known = self.graph.leaf(name).filter(|&id| {
            // One number serves parameters of either float type.
            let op = &self.graph.node(id).op;
            *op == leaf(DType::F32) || *op == leaf(DType::F64)
        });
        if known.is_none()
            && let Some(other) = self.graph.leaf(name)
            && let Op::Leaf(Leaf::State { role: Role::Setting, initial: start, .. }) = self.graph.op(other)
        {
            let message = format!(
                "it starts from {start} elsewhere in this graph, and from {initial} here; set it in the state, or \
                 build the other step on a graph of its own"
            );
            return self.poison(&format!("setting `{name}`"), TypeError::Invalid(message));
        }
        let id = known.unwrap_or_else(|| self.graph.declare(leaf(self.dtype()), at));
        self.graph.tensor(id).cast(self.dtype())
    }

    /// A constant of this tensor's type.
    #[track_caller]
    pub fn constant_like(self, value: f64) -> Tensor<'g> {
        self.graph.constant(value, self.shape(), self.dtype())
    }

    /// The element value, if the tensor is a constant.
    pub(crate) fn as_constant(self) -> Option<Scalar> {
        match self.graph.node(self.id).op {
            Op::Leaf(Leaf::Constant { value, .. }) => Some(value),
            _ => None,
        }
    }

    /// The name, if the tensor is an input or a piece of state.
    pub(crate) fn leaf_name(self) -> Option<Name> {
        match &self.graph.node(self.id).op {
            Op::Leaf(Leaf::Input { name, .. } | Leaf::State { name, .. }) => Some(name.clone()),
            _ => None,
        }
    }
}
