//! Linear recurrences along an axis, and on them running sums and products.
//!
//! `h[t] = a[t] · h[t−1] + b[t]`, from `h = 0`. Its derivative is a recurrence of the same factors: forward for tangents,
//! the other way round for cotangents. So nothing is divided, and products with zeros have the right derivative.

use std::fmt;

use ndarray::{ArrayD, Axis};

use super::elementwise::binary;
use super::reduce::resolve_axis;
use super::{
    Direction, Mapped, Op, Operand, Rules, Site, Tensor, Types, Whole, Writer, expect_operands, with_axes,
};
use crate::error::{Result, TypeError};
use crate::graph::OpText;
use crate::loops::{Affine, Binary, Combine, Instr};
use crate::types::{DType, Element, Shape, TensorType, Value};

/// The first operand holds the factors, the second what is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Recurrence {
    pub axis: usize,
    pub direction: Direction,
}

impl Rules for Recurrence {
    fn name(&self) -> &'static str {
        "recurrence"
    }

    fn infer(&self, operands: &[TensorType]) -> Result<TensorType, TypeError> {
        let [factors, terms] = expect_operands(operands)?;
        if terms.dtype == DType::Bool {
            return Err(TypeError::DType { ty: terms, expected: "numbers" });
        }
        if factors != terms {
            let expected = "factors and terms have one type".into();
            return Err(TypeError::Mismatch { lhs: factors, rhs: terms, expected });
        }
        if self.axis >= terms.shape.rank() {
            return Err(TypeError::Axis { axis: self.axis as isize, ty: terms });
        }
        Ok(terms)
    }

    /// `g[t] = dy[t] + a[t+1] · g[t+1]`, which is what each term gets; its factor gets `g[t] · h[t−1]`.
    fn vjp<'g>(&self, site: &Site<'g>, operand: usize, dy: Tensor<'g>) -> Option<Tensor<'g>> {
        let factors = match site.operands[0].as_constant() {
            Some(_) => site.operands[0],
            None => self.turned().previous(site.operands[0]),
        };
        let g = self.turned().apply(factors, dy);
        Some(if operand == 0 { g * self.previous(site.result) } else { g })
    }

    /// `dh[t] = a[t] · dh[t−1] + (da[t] · h[t−1] + db[t])`.
    fn jvp<'g>(&self, site: &Site<'g>, tangents: &[Option<Tensor<'g>>]) -> Option<Tensor<'g>> {
        let moved = tangents[0].map(|da| da * self.previous(site.result));
        let terms = [moved, tangents[1]].into_iter().flatten().reduce(|sum, term| sum + term)?;
        Some(self.apply(site.operands[0], terms))
    }

    fn batch<'g>(&self, operands: &[Mapped<'g>]) -> Tensor<'g> {
        let operands = with_axes(operands);
        Recurrence { axis: self.axis + 1, ..*self }.apply(operands[0], operands[1])
    }

    fn evaluate(&self, operands: &[&Value], _: TensorType) -> Value {
        match (operands[0], operands[1]) {
            (Value::F32(a), Value::F32(b)) => self.run(a, b),
            (Value::F64(a), Value::F64(b)) => self.run(a, b),
            (Value::I32(a), Value::I32(b)) => self.run(a, b),
            (Value::I64(a), Value::I64(b)) => self.run(a, b),
            _ => unreachable!("refused by the type rule"),
        }
    }

    fn whole(&self) -> Option<&dyn Whole> {
        Some(self)
    }
}

impl Whole for Recurrence {
    fn write(&self, types: &Types, writer: &mut dyn Writer) {
        let TensorType { dtype, shape } = types.result;
        let extent = shape.extents()[self.axis];
        let others = shape.without([self.axis].into_iter().collect());
        writer.each(others.extents(), &mut |writer, outer| {
            let initial = Combine::Sum.identity(dtype);
            writer.recur(extent, initial, &mut |writer, turn, carry| {
                let mut index = outer.to_vec();
                index.insert(self.axis, self.position(turn, extent));
                let (factor, term) = (writer.operand(0, &index), writer.operand(1, &index));
                let product = writer.emit(Instr::Binary(Binary::Mul, factor, carry), dtype);
                let next = writer.emit(Instr::Binary(Binary::Add, product, term), dtype);
                writer.store(Affine::linear(&index, shape.extents()), next);
                next
            });
        });
    }
}

impl Recurrence {
    #[track_caller]
    fn apply<'g>(self, factors: Tensor<'g>, terms: Tensor<'g>) -> Tensor<'g> {
        Tensor::apply(Op::Recurrence(self), &[factors, terms])
    }

    /// The recurrence from the other end.
    fn turned(self) -> Recurrence {
        let direction = match self.direction {
            Direction::Forward => Direction::Backward,
            Direction::Backward => Direction::Forward,
        };
        Recurrence { direction, ..self }
    }

    /// For each position the element that comes before it in this order; 0 for the first.
    #[track_caller]
    fn previous<'g>(&self, x: Tensor<'g>) -> Tensor<'g> {
        match self.direction {
            _ if x.shape().elements() == 0 => x,
            Direction::Forward => x.pad_with(self.axis as isize, 1, -1, 0.0),
            Direction::Backward => x.pad_with(self.axis as isize, -1, 1, 0.0),
        }
    }

    /// The position along the axis at a turn of the loop.
    fn position(&self, turn: &Affine, extent: usize) -> Affine {
        match self.direction {
            Direction::Forward => turn.clone(),
            Direction::Backward => Affine::constant(extent as i64 - 1).plus(&turn.scaled(-1)),
        }
    }

    fn run<T: Element>(&self, factors: &ArrayD<T>, terms: &ArrayD<T>) -> Value {
        let (axis, extent) = (Axis(self.axis), terms.len_of(Axis(self.axis)));
        let others = Shape::of(terms.shape()).without([self.axis].into_iter().collect());
        let mut carry = Value::splat(Combine::Sum.identity(T::DTYPE), others);
        let mut result = terms.clone();
        for turn in 0..extent {
            let at = if self.direction == Direction::Forward { turn } else { extent - 1 - turn };
            let row = |x: &ArrayD<T>| Value::from(x.index_axis(axis, at));
            carry = binary(Binary::Add, &binary(Binary::Mul, &row(factors), &carry), &row(terms));
            if let Some(carry) = T::array(&carry) {
                result.index_axis_mut(axis, at).assign(carry);
            }
        }
        result.into()
    }
}

impl fmt::Display for Recurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.direction {
            Direction::Forward => write!(f, "recurrence[{}]", self.axis),
            Direction::Backward => write!(f, "recurrence[{} backward]", self.axis),
        }
    }
}

impl Recurrence {
    /// The operator that prints as this text.
    pub(super) fn parse(text: &OpText<'_>) -> Option<Recurrence> {
        let axis = Some(text.attributes).filter(|_| text.name == "recurrence")?;
        let (axis, direction) = match axis.strip_suffix(" backward") {
            Some(axis) => (axis, Direction::Backward),
            None => (axis, Direction::Forward),
        };
        Some(Recurrence { axis: axis.parse().ok()?, direction })
    }
}

impl<'g> Tensor<'g> {
    /// The recurrence `h[t] = factors[t] · h[t−1] + x[t]` along an axis, from `h = 0`: with factors 0.9, an average that
    /// forgets; with the axis reversed, discounted returns. The factors broadcast to this tensor's shape.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let x = g.input("x", [3], F32);
    /// let h = x.linear_recurrence(0, 0.5);
    /// let values = g.interpret(&[("h", h)], &[("x", array![8.0f32, 2.0, 1.0].into())])?;
    /// assert_eq!(values["h"], array![8.0f32, 6.0, 4.0].into());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn linear_recurrence(self, axis: isize, factors: impl Into<Operand<'g>>) -> Tensor<'g> {
        let factors = factors.into().beside(self);
        match resolve_axis(axis, self.ty()) {
            Ok(axis) => {
                let recurrence = Recurrence { axis, direction: Direction::Forward };
                recurrence.apply(factors.broadcast_to(self.shape()), self)
            }
            Err(error) => self.poison("linear_recurrence", error),
        }
    }

    /// The sums of the elements up to each position of an axis, itself included, added in order.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let x = g.input("x", [3], F32);
    /// let outputs = [
    ///     ("up to each", x.cumsum(0)),
    ///     ("before each", x.pad_with(0, 1, -1, 0.0).cumsum(0)),
    ///     ("from each on", x.reverse(0).cumsum(0).reverse(0)),
    /// ];
    /// let values = g.interpret(&outputs, &[("x", array![1.0f32, 2.0, 3.0].into())])?;
    /// assert_eq!(values["up to each"], array![1.0f32, 3.0, 6.0].into());
    /// assert_eq!(values["before each"], array![0.0f32, 1.0, 3.0].into());
    /// assert_eq!(values["from each on"], array![6.0f32, 5.0, 3.0].into());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn cumsum(self, axis: isize) -> Tensor<'g> {
        self.linear_recurrence(axis, 1.0)
    }

    /// The products of the elements up to each position of an axis, itself included. The derivative is right where
    /// elements are 0.
    #[track_caller]
    pub fn cumprod(self, axis: isize) -> Tensor<'g> {
        let extent = match resolve_axis(axis, self.ty()) {
            Ok(at) => self.shape().extents()[at],
            Err(error) => return self.poison("cumprod", error),
        };
        if extent == 0 {
            return self;
        }
        // The first element comes in as a term, the others as factors; the other terms are −0, which keeps the sign of zeros.
        let first = self.slice(axis, 0..1).pad_with(axis, 0, extent as isize - 1, -0.0);
        first.linear_recurrence(axis, self.slice(axis, 1..extent).pad_with(axis, 1, 0, 1.0))
    }
}
