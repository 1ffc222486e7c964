//! Triangles of matrices, composed of positions and comparisons.

use super::{Graph, Tensor};
use crate::error::TypeError;
use crate::types::DType;

impl Graph {
    /// The mask of shape `[rows, columns]` that is true at and below a diagonal: where `column ≤ row + diagonal`, as
    /// `numpy.tri`.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let mask = g.tri(2, 3, 0);
    /// let expected = array![[true, false, false], [true, true, false]];
    /// assert_eq!(g.interpret(&[("mask", mask)], &[])?["mask"], expected.into());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn tri(&self, rows: usize, columns: usize, diagonal: isize) -> Tensor<'_> {
        let row = self.iota([rows, columns], 0, DType::I64);
        let column = self.iota([rows, columns], 1, DType::I64);
        column.less_equal(row + diagonal as f64)
    }
}

impl<'g> Tensor<'g> {
    /// The matrices of the last two axes with zeros above a diagonal: `numpy.tril`. The main diagonal is 0, those above it
    /// are positive.
    #[track_caller]
    pub fn tril(self, diagonal: isize) -> Tensor<'g> {
        match self.matrices("tril") {
            Ok((rows, columns)) => self.graph.tri(rows, columns, diagonal).select(self, 0.0),
            Err(poisoned) => poisoned,
        }
    }

    /// The matrices of the last two axes with zeros below a diagonal: `numpy.triu`. The main diagonal is 0, those above it
    /// are positive.
    #[track_caller]
    pub fn triu(self, diagonal: isize) -> Tensor<'g> {
        match self.matrices("triu") {
            Ok((rows, columns)) => {
                let below = self.graph.tri(rows, columns, diagonal.saturating_sub(1));
                below.select(self.constant_like(0.0), self)
            }
            Err(poisoned) => poisoned,
        }
    }

    /// The last two extents, or this tensor poisoned.
    #[track_caller]
    fn matrices(self, op: &str) -> Result<(usize, usize), Tensor<'g>> {
        match self.shape().extents() {
            [.., rows, columns] if !self.is_poison() => Ok((*rows, *columns)),
            _ => {
                let message = format!("{} has fewer than two axes", self.ty());
                Err(self.poison(op, TypeError::Invalid(message)))
            }
        }
    }
}
