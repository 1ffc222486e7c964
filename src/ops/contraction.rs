//! General contraction: products of two operands, summed over shared axes.
//!
//! Each axis carries a label, as in `einsum`: `nk,mk->nm` multiplies `x[n,k]` by `w[m,k]` and sums
//! over `k`. Operand and result axes come in any order, so no transpose is ever needed beside it, and
//! the derivative of a contraction is a contraction with the labels moved.

use std::fmt;

use ndarray::{ArrayD, IxDyn};

use super::reduce::resolve_axis;
use super::{Emitter, Mapped, Op, Reads, Rules, Site, Tensor, Types, expect_operands};
use crate::error::{Result, TypeError};
use crate::graph::OpText;
use crate::loops::{Affine, Binary, Combine, Instr, Var};
use crate::types::{DType, Shape, TensorType, Value};

/// A contraction. Labels are small numbers, assigned in order of appearance.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Dot {
    lhs: Vec<u8>,
    rhs: Vec<u8>,
    out: Vec<u8>,
}

impl Dot {
    /// A contraction with these labels, renamed canonically.
    ///
    /// # Errors
    /// A label twice in one operand; a result label that no operand has; a label that is in one
    /// operand alone and not in the result (sum that operand first).
    pub fn new(lhs: &[u8], rhs: &[u8], out: &[u8]) -> Result<Dot, TypeError> {
        for labels in [lhs, rhs, out] {
            if (1..labels.len()).any(|i| labels[..i].contains(&labels[i])) {
                return Err(TypeError::Invalid(
                    "a label stands twice in one operand or in the result".into(),
                ));
            }
        }
        if out.iter().any(|label| !lhs.contains(label) && !rhs.contains(label)) {
            return Err(TypeError::Invalid("a label of the result is in neither operand".into()));
        }
        let alone =
            |mine: &[u8], other: &[u8]| mine.iter().copied().find(|l| !other.contains(l) && !out.contains(l));
        if let Some(label) = alone(lhs, rhs).or_else(|| alone(rhs, lhs)) {
            let label = label as char;
            let message = format!("`{label}` is summed in one operand only; sum that operand over it first");
            return Err(TypeError::Invalid(message));
        }
        let mut order: Vec<u8> = Vec::new();
        for &label in lhs.iter().chain(rhs) {
            if !order.contains(&label) {
                order.push(label);
            }
        }
        let rename = |labels: &[u8]| -> Vec<u8> {
            labels.iter().filter_map(|label| order.iter().position(|l| l == label)).map(|l| l as u8).collect()
        };
        Ok(Dot { lhs: rename(lhs), rhs: rename(rhs), out: rename(out) })
    }

    /// The labels of one operand.
    pub fn operand(&self, operand: usize) -> &[u8] {
        if operand == 0 { &self.lhs } else { &self.rhs }
    }

    /// The labels of the result.
    pub fn out(&self) -> &[u8] {
        &self.out
    }

    /// The labels summed over, in order of the left operand.
    pub fn summed(&self) -> Vec<u8> {
        self.lhs.iter().copied().filter(|label| !self.out.contains(label)).collect()
    }

    /// How many elements there are of the left operand's own axes, the right one's, and those summed over.
    pub(crate) fn sizes(&self, lhs: Shape, rhs: Shape) -> [usize; 3] {
        let own = |mine: &[u8], other: &[u8]| -> usize {
            let labels = mine.iter().filter(|label| !other.contains(label));
            labels.map(|&label| self.extent(label, lhs, rhs)).product()
        };
        let depth = self.summed().into_iter().map(|label| self.extent(label, lhs, rhs)).product();
        [own(&self.lhs, &self.rhs), own(&self.rhs, &self.lhs), depth]
    }

    /// The contraction with axes of the result that one operand alone has behind those that the other alone has, if they
    /// alternate now and fewer than so many elements are of the same operand's axes at the end: those of the other end it.
    pub(crate) fn without_alternation(&self, lhs: Shape, rhs: Shape, run: usize) -> Option<Dot> {
        let has = |label: &u8| [&self.lhs, &self.rhs].map(|labels| labels.contains(label));
        let extent = |label: &u8| self.extent(*label, lhs, rhs);
        let long = self.out.iter().filter(|label| extent(label) != 1);
        let last = has(long.clone().next_back()?);
        let end = long.clone().rev().take_while(|label| has(label) == last);
        let is_one_run = end.clone().count() == long.filter(|label| has(label) == last).count();
        if last == [true, true] || is_one_run || end.map(extent).product::<usize>() >= run {
            return None;
        }
        let of = |owners: [bool; 2]| self.out.iter().copied().filter(move |label| has(label) == owners);
        let out = of([true, true]).chain(of(last)).chain(of(last.map(|has| !has))).collect();
        Some(Dot { out, ..self.clone() })
    }

    /// The contraction of pairs of axes, one of each operand, with batch axes in front.
    fn general(
        [lhs, rhs]: [TensorType; 2],
        batch: &[(isize, isize)],
        contracting: &[(isize, isize)],
    ) -> Result<Dot, TypeError> {
        let axes = |pairs: &[(isize, isize)]| -> Result<Vec<(usize, usize)>, TypeError> {
            pairs.iter().map(|&(l, r)| Ok((resolve_axis(l, lhs)?, resolve_axis(r, rhs)?))).collect()
        };
        let (batch, contracting) = (axes(batch)?, axes(contracting)?);
        let left: Vec<u8> = (0..lhs.shape.rank() as u8).collect();
        let mut right: Vec<u8> = (left.len() as u8..).take(rhs.shape.rank()).collect();
        for &(l, r) in batch.iter().chain(&contracting) {
            if usize::from(right[r]) < left.len() {
                return Err(TypeError::RepeatedAxis { axis: r });
            }
            if right.contains(&left[l]) {
                return Err(TypeError::RepeatedAxis { axis: l });
            }
            right[r] = left[l];
        }
        let mut out: Vec<u8> = batch.iter().map(|pair| left[pair.0]).collect();
        let paired = |label: &u8| left.contains(label) && right.contains(label);
        out.extend(left.iter().chain(&right).filter(|label| !paired(label)));
        Dot::new(&left, &right, &out)
    }

    /// The extent of a label.
    fn extent(&self, label: u8, lhs: Shape, rhs: Shape) -> usize {
        match self.lhs.iter().position(|&l| l == label) {
            Some(axis) => lhs.extents()[axis],
            None => self.rhs.iter().position(|&l| l == label).map_or(1, |axis| rhs.extents()[axis]),
        }
    }

    fn name_of(&self, label: u8) -> char {
        (b'a' + label) as char
    }

    /// The contraction applied to two tensors.
    #[track_caller]
    pub(super) fn apply<'g>(labels: Result<Dot, TypeError>, lhs: Tensor<'g>, rhs: Tensor<'g>) -> Tensor<'g> {
        match labels {
            Ok(dot) => Tensor::apply(Op::Dot(dot), &[lhs, rhs]),
            Err(error) => lhs.poison("dot", error),
        }
    }
}

impl Rules for Dot {
    fn name(&self) -> &'static str {
        "dot"
    }

    fn infer(&self, operands: &[TensorType]) -> Result<TensorType, TypeError> {
        let [lhs, rhs] = expect_operands(operands)?;
        if lhs.dtype != rhs.dtype {
            return Err(TypeError::DTypes { lhs, rhs });
        }
        if lhs.dtype == DType::Bool {
            return Err(TypeError::DType { ty: lhs, expected: "numbers" });
        }
        for (ty, labels) in [(lhs, &self.lhs), (rhs, &self.rhs)] {
            if ty.shape.rank() != labels.len() {
                let message = format!("{ty} stands where `{self}` wants rank {}", labels.len());
                return Err(TypeError::Invalid(message));
            }
        }
        for (axis, label) in self.rhs.iter().enumerate() {
            if self.extent(*label, lhs.shape, rhs.shape) != rhs.shape.extents()[axis] {
                let expected = format!("axes labelled `{}` in `{self}` must agree", self.name_of(*label));
                return Err(TypeError::Mismatch { lhs, rhs, expected });
            }
        }
        let extents: Vec<usize> =
            self.out.iter().map(|&label| self.extent(label, lhs.shape, rhs.shape)).collect();
        if extents.len() > crate::types::MAX_RANK {
            return Err(TypeError::Invalid(format!("the result of `{self}` has more than 8 axes")));
        }
        Ok(TensorType { dtype: lhs.dtype, shape: Shape::of(&extents) })
    }

    /// The labels moved: the cotangent contracted with the other operand.
    fn vjp<'g>(&self, site: &Site<'g>, operand: usize, dy: Tensor<'g>) -> Option<Tensor<'g>> {
        let other = site.operands[1 - operand];
        let (mine, others) = (self.operand(operand), self.operand(1 - operand));
        Some(Dot::apply(Dot::new(&self.out, others, mine), dy, other))
    }

    fn jvp<'g>(&self, site: &Site<'g>, tangents: &[Option<Tensor<'g>>]) -> Option<Tensor<'g>> {
        let apply = |lhs, rhs| Tensor::apply(Op::Dot(self.clone()), &[lhs, rhs]);
        let left = tangents[0].map(|dx| apply(dx, site.operands[1]));
        let right = tangents[1].map(|dx| apply(site.operands[0], dx));
        [left, right].into_iter().flatten().reduce(|sum, term| sum + term)
    }

    /// One more label: in each operand that is mapped, and in the result.
    fn batch<'g>(&self, operands: &[Mapped<'g>]) -> Tensor<'g> {
        const SAMPLE: u8 = u8::MAX;
        let labels = |labels: &[u8], is_mapped: bool| [&[SAMPLE][..usize::from(is_mapped)], labels].concat();
        let lhs = labels(&self.lhs, operands[0].samples.is_some());
        let rhs = labels(&self.rhs, operands[1].samples.is_some());
        let dot = Dot::new(&lhs, &rhs, &labels(&self.out, true));
        Dot::apply(dot, operands[0].tensor, operands[1].tensor)
    }

    /// f32 is accumulated in f64 and rounded once; integers wrap.
    fn evaluate(&self, operands: &[&Value], ty: TensorType) -> Value {
        match (operands[0], operands[1]) {
            (Value::F32(a), Value::F32(b)) => {
                let wide = |x: &ArrayD<f32>| x.mapv(f64::from);
                Value::F64(self.contract(&wide(a), &wide(b), -0.0, |s, a, b| s + a * b)).cast(ty.dtype)
            }
            (Value::F64(a), Value::F64(b)) => Value::F64(self.contract(a, b, -0.0, |s, a, b| s + a * b)),
            (Value::I32(a), Value::I32(b)) => {
                Value::I32(self.contract(a, b, 0, |s, a, b| s.wrapping_add(a.wrapping_mul(b))))
            }
            (Value::I64(a), Value::I64(b)) => {
                Value::I64(self.contract(a, b, 0, |s, a, b| s.wrapping_add(a.wrapping_mul(b))))
            }
            _ => unreachable!("refused by the type rule"),
        }
    }

    fn lower(&self, types: &Types, index: &[Affine], emitter: &mut dyn Emitter) -> Var {
        let dtype = types.result.dtype;
        let summed = self.summed();
        let (lhs, rhs) = (types.operands[0].shape, types.operands[1].shape);
        let extents: Vec<usize> = summed.iter().map(|&label| self.extent(label, lhs, rhs)).collect();
        let mut product = |emitter: &mut dyn Emitter, reduced: &[Affine]| {
            let at = |label: &u8| match self.out.iter().position(|l| l == label) {
                Some(axis) => index[axis].clone(),
                None => {
                    summed.iter().position(|l| l == label).map(|i| reduced[i].clone()).unwrap_or_default()
                }
            };
            let lhs: Vec<Affine> = self.lhs.iter().map(at).collect();
            let rhs: Vec<Affine> = self.rhs.iter().map(at).collect();
            let (a, b) = (emitter.operand(0, &lhs), emitter.operand(1, &rhs));
            emitter.emit(Instr::Binary(Binary::Mul, a, b), dtype)
        };
        if summed.is_empty() {
            return product(emitter, &[]);
        }
        emitter.reduce(Combine::Sum, dtype, &extents, &mut product)
    }

    fn reads(&self, types: &Types, operand: usize) -> Reads {
        let (lhs, rhs) = (types.operands[0].shape, types.operands[1].shape);
        let mine = self.operand(operand);
        let repeats: usize = (self.operand(1 - operand).iter())
            .filter(|label| !mine.contains(label))
            .map(|&label| self.extent(label, lhs, rhs))
            .product();
        if repeats > 1 { Reads::Repeatedly } else { Reads::Once }
    }
}

impl Dot {
    /// Each element of the result is a row of one operand against a row of the other.
    fn contract<T: Copy + Default>(
        &self,
        a: &ArrayD<T>,
        b: &ArrayD<T>,
        identity: T,
        f: impl Fn(T, T, T) -> T,
    ) -> ArrayD<T> {
        let (lhs, rhs) = (Shape::of(a.shape()), Shape::of(b.shape()));
        let out: Vec<usize> = self.out.iter().map(|&label| self.extent(label, lhs, rhs)).collect();
        let (a, b) = (Rows::of(a, &self.lhs, self), Rows::of(b, &self.rhs, self));
        let start = if a.length == 0 { T::default() } else { identity };
        ArrayD::from_shape_fn(IxDyn(&out), |index| {
            a.at(&index).iter().zip(b.at(&index)).fold(start, |sum, (&a, &b)| f(sum, a, b))
        })
    }
}

/// An operand with its summed axes last, one row of them for each index of the others.
struct Rows<T> {
    elements: Vec<T>,
    /// For each of the other axes, in order, its axis in the result and its extent.
    axes: Vec<(usize, usize)>,
    length: usize,
}

impl<T: Copy> Rows<T> {
    fn of(x: &ArrayD<T>, labels: &[u8], dot: &Dot) -> Rows<T> {
        let axis_of = |label: &u8| labels.iter().position(|l| l == label);
        let summed: Vec<usize> = dot.summed().iter().filter_map(axis_of).collect();
        let others: Vec<usize> = (0..labels.len()).filter(|axis| !summed.contains(axis)).collect();
        let in_result = |axis: usize| dot.out.iter().position(|&label| label == labels[axis]);
        Rows {
            elements: x.view().permuted_axes([&others[..], &summed].concat()).iter().copied().collect(),
            axes: others.iter().filter_map(|&axis| Some((in_result(axis)?, x.shape()[axis]))).collect(),
            length: summed.iter().map(|&axis| x.shape()[axis]).product(),
        }
    }

    /// The row of an element of the result.
    fn at(&self, index: &IxDyn) -> &[T] {
        let row = self.axes.iter().fold(0, |row, &(axis, extent)| row * extent + index[axis]);
        &self.elements[row * self.length..][..self.length]
    }
}

impl fmt::Display for Dot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |labels: &[u8]| labels.iter().map(|&label| self.name_of(label)).collect::<String>();
        write!(f, "dot[{},{}->{}]", text(&self.lhs), text(&self.rhs), text(&self.out))
    }
}

impl Dot {
    /// The contraction that prints as this text.
    pub(super) fn parse(text: &OpText<'_>) -> Option<Dot> {
        let (inputs, out) = text.attributes.split_once("->").filter(|_| text.name == "dot")?;
        let (lhs, rhs) = inputs.split_once(',')?;
        Dot::new(lhs.as_bytes(), rhs.as_bytes(), out.as_bytes()).ok()
    }
}

impl<'g> Tensor<'g> {
    /// The general contraction: products summed over pairs of axes, one of each tensor, at equal indices along other
    /// pairs. The result has the batch axes, then this tensor's others, then the other's, as that of `jax.lax.dot_general`.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let (x, y) = (g.input("x", [7, 2, 3], F32), g.input("y", [3, 7, 5], F32));
    /// assert_eq!(x.dot_general(y, &[(0, 1)], &[(2, 0)]).ty().to_string(), "f32[7,2,5]");
    /// ```
    #[track_caller]
    pub fn dot_general(
        self,
        other: Tensor<'g>,
        batch: &[(isize, isize)],
        contracting: &[(isize, isize)],
    ) -> Tensor<'g> {
        match Dot::general([self.ty(), other.ty()], batch, contracting) {
            Ok(dot) => Tensor::apply(Op::Dot(dot), &[self, other]),
            Err(error) => self.poison("dot_general", error),
        }
    }

    /// The matrix product, by NumPy's rules: a vector is a row on the left and a column on the
    /// right; leading axes are batch axes and broadcast.
    #[track_caller]
    pub fn matmul(self, other: Tensor<'g>) -> Tensor<'g> {
        let (left, right) = (self.shape().rank(), other.shape().rank());
        if left == 0 || right == 0 {
            let expected = "matmul takes operands of rank 1 and more; use `*` to scale".into();
            return self.poison("matmul", TypeError::Mismatch { lhs: self.ty(), rhs: other.ty(), expected });
        }
        let inner = self.shape().extents()[left - 1];
        let summed = other.shape().extents()[right.saturating_sub(2)];
        if inner != summed {
            let axis = if right == 1 { "only axis" } else { "last axis but one" };
            let expected = format!(
                "the last axis of the first ({inner}) and the {axis} of the second ({summed}) must agree"
            );
            return self.poison("matmul", TypeError::Mismatch { lhs: self.ty(), rhs: other.ty(), expected });
        }
        if left <= 2 && right <= 2 {
            let lhs: &[u8] = if left == 2 { b"nk" } else { b"k" };
            let rhs: &[u8] = if right == 2 { b"km" } else { b"k" };
            let out: Vec<u8> = lhs.iter().chain(rhs).copied().filter(|&label| label != b'k').collect();
            return Dot::apply(Dot::new(lhs, rhs, &out), self, other);
        }
        self.batched_matmul(other)
    }

    #[track_caller]
    fn batched_matmul(self, other: Tensor<'g>) -> Tensor<'g> {
        let batch = |t: Tensor<'g>| Shape::of(&t.shape().extents()[..t.shape().rank().saturating_sub(2)]);
        let Some(shape) = batch(self).broadcast(batch(other)) else {
            let error = TypeError::Broadcast { lhs: self.ty(), rhs: other.ty() };
            return self.poison("matmul", error);
        };
        let labels: Vec<u8> = (b'A'..).take(shape.rank()).collect();
        let ((lhs, mut left), (rhs, mut right)) =
            (self.widened(shape, &labels), other.widened(shape, &labels));
        left.extend(if self.shape().rank() > 1 { &b"nk"[..] } else { b"k" });
        right.extend(if other.shape().rank() > 1 { &b"km"[..] } else { b"k" });
        let rows = left.iter().chain(&right).copied().filter(|label| b"nm".contains(label));
        let out: Vec<u8> = labels.iter().copied().chain(rows).collect();
        Dot::apply(Dot::new(&left, &right, &out), lhs, rhs)
    }

    /// A matrix operand with its batch axes broadcast to `batch`, and their labels; none where it has none.
    #[track_caller]
    fn widened(self, batch: Shape, labels: &[u8]) -> (Tensor<'g>, Vec<u8>) {
        let (rank, extents) = (self.shape().rank(), self.shape());
        if rank <= 2 {
            return (self, vec![]);
        }
        let full = [batch.extents(), &extents.extents()[rank - 2..]].concat();
        (self.broadcast_to(Shape::of(&full)), labels.to_vec())
    }
}
