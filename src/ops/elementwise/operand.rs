//! What stands beside tensors, in operators and as an argument of methods: tensors and numbers.

use std::ops::{Add, BitAnd, BitOr, BitXor, Div, Mul, Rem, Shl, Shr, Sub};

use super::{Elementwise, broadcasting};
use crate::loops::Binary;
use crate::ops::Tensor;
use crate::types::Scalar;

/// What may stand beside a tensor in an expression: a tensor, or a number that takes the tensor's type and shape, as by
/// [`Tensor::cast`].
///
/// ```
/// # use hitofude::prelude::*;
/// let g = Graph::new();
/// let (x, i) = (g.input("x", [3], F32), g.input("i", [3], I32));
/// let (y, j) = (2 * x - 0.5, (i * 31 + 7) & 255);
/// let values = [("x", ndarray::array![1.0f32, 2.0, 3.0].into()), ("i", ndarray::array![-1, 0, 100].into())];
/// let results = g.interpret(&[("y", y), ("j", j)], &values)?;
/// assert_eq!(results["y"].to_f64(), [1.5, 3.5, 5.5]);
/// assert_eq!(results["j"].to_f64(), [232.0, 7.0, 35.0]);
/// # Ok::<(), hitofude::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub enum Operand<'g> {
    Tensor(Tensor<'g>),
    Number(f64),
    Integer(i64),
}

impl<'g> From<Tensor<'g>> for Operand<'g> {
    fn from(tensor: Tensor<'g>) -> Self {
        Operand::Tensor(tensor)
    }
}

impl From<f64> for Operand<'_> {
    fn from(number: f64) -> Self {
        Operand::Number(number)
    }
}

impl From<i64> for Operand<'_> {
    fn from(number: i64) -> Self {
        Operand::Integer(number)
    }
}

impl From<i32> for Operand<'_> {
    fn from(number: i32) -> Self {
        Operand::Integer(number.into())
    }
}

impl<'g> Operand<'g> {
    #[track_caller]
    pub(in crate::ops) fn beside(self, other: Tensor<'g>) -> Tensor<'g> {
        match self {
            Operand::Tensor(tensor) => tensor,
            Operand::Number(number) => other.constant_like(number),
            Operand::Integer(number) => {
                other.graph.literal(Scalar::from_i64(number, other.dtype()), other.shape())
            }
        }
    }
}

/// Operators of a tensor and what stands behind it.
macro_rules! after {
    ($other:ty: $($trait:ident $method:ident $function:ident;)*) => {$(
        impl<'g> $trait<$other> for Tensor<'g> {
            type Output = Tensor<'g>;
            #[track_caller]
            fn $method(self, other: $other) -> Tensor<'g> {
                let other = Operand::from(other).beside(self);
                broadcasting(Elementwise::Binary(Binary::$function), self, other)
            }
        }
    )*};
}

/// Operators of a number and the tensor behind it.
macro_rules! before {
    ($number:ty: $($trait:ident $method:ident $function:ident;)*) => {$(
        impl<'g> $trait<Tensor<'g>> for $number {
            type Output = Tensor<'g>;
            #[track_caller]
            fn $method(self, other: Tensor<'g>) -> Tensor<'g> {
                let number = Operand::from(self).beside(other);
                broadcasting(Elementwise::Binary(Binary::$function), number, other)
            }
        }
    )*};
}

macro_rules! arithmetic {
    ($($place:ident $other:ty;)*) => {$(
        $place! { $other: Add add Add; Sub sub Sub; Mul mul Mul; Div div Div; Rem rem Rem; }
    )*};
}
macro_rules! bitwise {
    ($($place:ident $other:ty;)*) => {$(
        $place! { $other: BitAnd bitand And; BitOr bitor Or; BitXor bitxor Xor; }
    )*};
}
arithmetic! { after Tensor<'g>; after f64; before f64; after i32; before i32; after i64; before i64; }
bitwise! { after Tensor<'g>; after i32; before i32; after i64; before i64; }
after! { Tensor<'g>: Shl shl ShiftLeft; Shr shr ShiftRight; }

macro_rules! shift_traits {
    ($($trait:ident $method:ident;)*) => {$(
        impl<'g> $trait<u32> for Tensor<'g> {
            type Output = Tensor<'g>;
            #[track_caller]
            fn $method(self, bits: u32) -> Tensor<'g> {
                self.$method(self.constant_like(bits.into()))
            }
        }
    )*};
}
shift_traits! { Shl shl; Shr shr; }
