//! The element types.

use std::fmt;

use super::{Scalar, Value};

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary64.
    F64,
    /// 32-bit two's complement; arithmetic wraps.
    I32,
    /// 64-bit two's complement; arithmetic wraps.
    I64,
    /// A truth value, stored as one byte, 0 or 1.
    Bool,
}

impl DType {
    /// Bytes one element takes in memory.
    pub const fn size(self) -> usize {
        match self {
            DType::Bool => 1,
            DType::F32 | DType::I32 => 4,
            DType::F64 | DType::I64 => 8,
        }
    }

    /// Whether gradients exist for this type.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64)
    }

    /// Whether elements are integers, and not truth values.
    pub const fn is_integer(self) -> bool {
        matches!(self, DType::I32 | DType::I64)
    }

    /// The name used in messages and dumps: `f32`, `f64`, `i32`, `i64`, `bool`.
    pub const fn name(self) -> &'static str {
        match self {
            DType::F32 => "f32",
            DType::F64 => "f64",
            DType::I32 => "i32",
            DType::I64 => "i64",
            DType::Bool => "bool",
        }
    }

    /// The type of this name.
    pub(crate) fn parse(name: &str) -> Option<DType> {
        [DType::F32, DType::F64, DType::I32, DType::I64, DType::Bool]
            .into_iter()
            .find(|dtype| dtype.name() == name)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

mod sealed {
    pub trait Sealed {}
}

/// A Rust type that can be an element of a tensor: `f32`, `f64`, `i32`, `i64` or `bool`.
pub trait Element: sealed::Sealed + Copy + Into<Scalar> + 'static {
    /// The corresponding element type.
    const DTYPE: DType;
    /// The array inside `value`, if it holds elements of this type.
    fn array(value: &Value) -> Option<&ndarray::ArrayD<Self>>;
    /// Wraps an array of this type.
    fn value(array: ndarray::ArrayD<Self>) -> Value;
}

macro_rules! element {
    ($($rust:ty => $variant:ident),*) => {$(
        impl sealed::Sealed for $rust {}
        impl Element for $rust {
            const DTYPE: DType = DType::$variant;
            fn array(value: &Value) -> Option<&ndarray::ArrayD<Self>> {
                match value { Value::$variant(array) => Some(array), _ => None }
            }
            fn value(array: ndarray::ArrayD<Self>) -> Value {
                Value::$variant(array)
            }
        }
        impl From<$rust> for Scalar {
            fn from(x: $rust) -> Scalar { Scalar::$variant(x) }
        }
    )*};
}
element!(f32 => F32, f64 => F64, i32 => I32, i64 => I64, bool => Bool);
