//! Host arrays: what users pass in, what `interpret` computes with, what comes out.

use ndarray::{Array, ArrayD, ArrayView, Dimension, IxDyn};

use super::{DType, Element, Scalar, Shape, TensorType};
use crate::error::{Error, Result};

/// A tensor's value on the host: an `ndarray` array of one of the element types.
///
/// Every `ndarray` array of those types converts into it, and so does a single number:
///
/// ```
/// use hitofude::Value;
/// use ndarray::array;
/// let row = Value::from(array![[0.4f32, 0.5, 0.6]]);
/// assert_eq!(row.ty().to_string(), "f32[1,3]");
/// assert_eq!(Value::from(2.5f64).ty().to_string(), "f64[]");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    F32(ArrayD<f32>),
    F64(ArrayD<f64>),
    I32(ArrayD<i32>),
    I64(ArrayD<i64>),
    Bool(ArrayD<bool>),
}

/// Runs `$body` with `$array` bound to the array inside, whatever its type.
macro_rules! map_value {
    ($value:expr, $array:ident => $body:expr) => {
        match $value {
            $crate::types::Value::F32($array) => $body,
            $crate::types::Value::F64($array) => $body,
            $crate::types::Value::I32($array) => $body,
            $crate::types::Value::I64($array) => $body,
            $crate::types::Value::Bool($array) => $body,
        }
    };
}
pub(crate) use map_value;

impl Value {
    /// A tensor whose elements all are `scalar`.
    pub fn splat(scalar: Scalar, shape: Shape) -> Value {
        let extents = IxDyn(shape.extents());
        match scalar {
            Scalar::F32(x) => Value::F32(Array::from_elem(extents, x)),
            Scalar::F64(x) => Value::F64(Array::from_elem(extents, x)),
            Scalar::I32(x) => Value::I32(Array::from_elem(extents, x)),
            Scalar::I64(x) => Value::I64(Array::from_elem(extents, x)),
            Scalar::Bool(x) => Value::Bool(Array::from_elem(extents, x)),
        }
    }

    /// A tensor of the given elements, in row-major order; missing ones are 0, those of another type are
    /// converted.
    pub fn from_elements(ty: TensorType, elements: impl IntoIterator<Item = Scalar>) -> Value {
        let mut value = Value::splat(Scalar::from_f64(0.0, ty.dtype), ty.shape);
        macro_rules! fill {
            ($array:expr, $variant:ident) => {
                for (slot, x) in $array.iter_mut().zip(elements) {
                    *slot = match x {
                        Scalar::$variant(x) => x,
                        other => match Scalar::from_f64(other.to_f64(), ty.dtype) {
                            Scalar::$variant(x) => x,
                            _ => continue,
                        },
                    };
                }
            };
        }
        match &mut value {
            Value::F32(array) => fill!(array, F32),
            Value::F64(array) => fill!(array, F64),
            Value::I32(array) => fill!(array, I32),
            Value::I64(array) => fill!(array, I64),
            Value::Bool(array) => fill!(array, Bool),
        }
        value
    }

    /// Element type and shape.
    pub fn ty(&self) -> TensorType {
        TensorType { dtype: self.dtype(), shape: map_value!(self, a => Shape::of(a.shape())) }
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        match self {
            Value::F32(_) => DType::F32,
            Value::F64(_) => DType::F64,
            Value::I32(_) => DType::I32,
            Value::I64(_) => DType::I64,
            Value::Bool(_) => DType::Bool,
        }
    }

    /// The array, if its elements are `T`.
    ///
    /// # Errors
    /// The elements are of another type.
    pub fn array<T: Element>(&self) -> Result<&ArrayD<T>> {
        T::array(self)
            .ok_or_else(|| Error::Value(format!("the value is {}, asked for as {}", self.ty(), T::DTYPE)))
    }

    /// The elements in row-major order.
    pub fn elements(&self) -> Vec<Scalar> {
        map_value!(self, a => a.iter().map(|&x| x.into()).collect())
    }

    /// The elements as `f64`, in row-major order.
    pub fn to_f64(&self) -> Vec<f64> {
        self.elements().into_iter().map(Scalar::to_f64).collect()
    }

    /// The value with its elements converted as [`Scalar::from_f64`] does (integers pass exactly).
    pub fn cast(&self, dtype: DType) -> Value {
        fn convert<T: Copy + Into<Scalar>>(array: &ArrayD<T>, dtype: DType) -> Value {
            let scalars = array.mapv(|x| -> Scalar { x.into() });
            match dtype {
                DType::F32 => Value::F32(scalars.mapv(|x| match x {
                    Scalar::I64(x) => x as f32,
                    x => x.to_f64() as f32,
                })),
                DType::F64 => Value::F64(scalars.mapv(Scalar::to_f64)),
                DType::I32 => Value::I32(scalars.mapv(|x| match x {
                    Scalar::I64(x) => x as i32,
                    x => x.to_f64() as i32,
                })),
                DType::I64 => Value::I64(scalars.mapv(|x| match x {
                    Scalar::I64(x) => x,
                    x => x.to_f64() as i64,
                })),
                DType::Bool => Value::Bool(scalars.mapv(|x| x.to_f64() != 0.0)),
            }
        }
        map_value!(self, a => convert(a, dtype))
    }
}

impl<T: Element, D: Dimension> From<Array<T, D>> for Value {
    fn from(array: Array<T, D>) -> Value {
        T::value(array.into_dyn())
    }
}

impl<T: Element, D: Dimension> From<&Array<T, D>> for Value {
    fn from(array: &Array<T, D>) -> Value {
        T::value(array.to_owned().into_dyn())
    }
}

impl<T: Element, D: Dimension> From<ArrayView<'_, T, D>> for Value {
    fn from(view: ArrayView<'_, T, D>) -> Value {
        T::value(view.to_owned().into_dyn())
    }
}

impl<T: Element> From<T> for Value {
    fn from(x: T) -> Value {
        Value::splat(x.into(), Shape::SCALAR)
    }
}
