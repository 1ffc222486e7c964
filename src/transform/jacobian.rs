//! Matrices of derivatives, by batching a derivative over unit vectors.

use crate::error::{Error, Result};
use crate::graph::NodeId;
use crate::ops::{Graph, Op, Tensor};
use crate::types::{DType, Shape};

impl Graph {
    /// The Jacobian of `y` with respect to `x`, of shape `[y's axes…, x's axes…]`: forward mode where `x` has fewer
    /// elements than `y` and no [`Tensor::custom_vjp`] forbids it, else reverse.
    ///
    /// # Errors
    /// The first error made while building; tensors not of floats; more than 8 axes together.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let x = g.input("x", [2], F64);
    /// let y = x.index(0, 0) * x;
    /// let values = g.interpret(&[("J", g.jacobian(y, x)?)], &[("x", array![3.0, 5.0].into())])?;
    /// assert_eq!(values["J"], array![[6.0, 0.0], [5.0, 3.0]].into());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn jacobian<'g>(&'g self, y: Tensor<'g>, x: Tensor<'g>) -> Result<Tensor<'g>> {
        self.check_own("jacobian", [x, y])?;
        let (rows, columns) = (y.shape(), x.shape());
        let shape = Shape::new(&[rows.extents(), columns.extents()].concat())?;
        if columns.elements() < rows.elements() && !self.is_reverse_only(y) {
            let tangent = self.placeholder(x);
            let dy = self.jvp(y, &[(x, tangent)])?;
            let unit = self.unit_vectors(columns, x.dtype())?;
            let matrix = self.vmap(dy, &[(tangent, unit)])?;
            let flat = matrix.reshape([columns.elements(), rows.elements()]);
            return Ok(flat.transpose().reshape(shape));
        }
        let cotangent = self.placeholder(y);
        let dx = self.vjp(y, &[x], cotangent)?[0];
        let unit = self.unit_vectors(rows, y.dtype())?;
        Ok(self.vmap(dx, &[(cotangent, unit)])?.reshape(shape))
    }

    /// The Hessian of the scalar `y` with respect to `x`, of shape `[x's axes…, x's axes…]`.
    ///
    /// # Errors
    /// As [`Graph::grad`] and [`Graph::jacobian`].
    #[track_caller]
    pub fn hessian<'g>(&'g self, y: Tensor<'g>, x: Tensor<'g>) -> Result<Tensor<'g>> {
        let gradient = self.grad(y, &[x])?[0];
        self.jacobian(gradient, x)
    }

    /// The product of the Hessian of the scalar `y` with a vector of `x`'s type, without the Hessian.
    ///
    /// # Errors
    /// As [`Graph::grad`]; a vector of another type than `x`.
    #[track_caller]
    pub fn hessian_vector_product<'g>(
        &'g self,
        y: Tensor<'g>,
        x: Tensor<'g>,
        v: Tensor<'g>,
    ) -> Result<Tensor<'g>> {
        self.check_own("hessian_vector_product", [x, y, v])?;
        if x.ty() != v.ty() {
            let (expected, given) = (x.ty(), v.ty());
            return Err(Error::ValueType { kind: "vector for", name: format!("{x:?}"), expected, given });
        }
        let gradient = self.grad(y, &[x])?[0];
        self.jvp(gradient, &[(x, v)])
    }

    /// Whether a rule on the way to `y` is for reverse mode only.
    fn is_reverse_only(&self, y: Tensor<'_>) -> bool {
        let needed = self.reachable([y.id()]);
        let is_reverse_only =
            |id: NodeId| matches!(&self.node(id).op, Op::Custom(op) if op.is_reverse_only());
        self.ids().any(|id| needed[id.index()] && is_reverse_only(id))
    }

    /// A tensor of this type that stands for what batching puts in its place.
    fn placeholder<'g>(&'g self, like: Tensor<'g>) -> Tensor<'g> {
        self.input(&format!("unit vector {}", self.len()), like.shape(), like.dtype())
    }

    /// All unit vectors of a shape, one after the other.
    fn unit_vectors(&self, shape: Shape, dtype: DType) -> Result<Tensor<'_>> {
        let count = shape.elements();
        let square = |axis| self.iota([count, count], axis, DType::I32);
        let unit = square(0).equal(square(1)).cast(dtype);
        Ok(unit.reshape(Shape::new(&[&[count], shape.extents()].concat())?))
    }
}
