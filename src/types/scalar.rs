//! One literal element.

use std::fmt;
use std::hash::{Hash, Hasher};

use super::DType;

/// One element of some [`DType`]. Equality and hashing are by bit pattern, so that `-0.0` and `0.0`
/// stay different constants and NaN equals itself.
#[derive(Clone, Copy, Debug)]
pub enum Scalar {
    F32(f32),
    F64(f64),
    I32(i32),
    I64(i64),
    Bool(bool),
}

impl Scalar {
    /// `x` in the given type: rounded to nearest for floats, truncated towards zero and saturated
    /// for integers, `x != 0` for bool.
    pub fn from_f64(x: f64, dtype: DType) -> Scalar {
        match dtype {
            DType::F32 => Scalar::F32(x as f32),
            DType::F64 => Scalar::F64(x),
            DType::I32 => Scalar::I32(x as i32),
            DType::I64 => Scalar::I64(x as i64),
            DType::Bool => Scalar::Bool(x != 0.0),
        }
    }

    /// The whole number as this type: floats are rounded, and of an integer the low bits count, as in a cast.
    pub fn from_i64(x: i64, dtype: DType) -> Scalar {
        match dtype {
            DType::F32 => Scalar::F32(x as f32),
            DType::F64 => Scalar::F64(x as f64),
            DType::I32 => Scalar::I32(x as i32),
            DType::I64 => Scalar::I64(x),
            DType::Bool => Scalar::Bool(x != 0),
        }
    }

    /// The literal of this type that prints as this text.
    pub(crate) fn parse(text: &str, dtype: DType) -> Option<Scalar> {
        match dtype {
            DType::F32 => text.parse().ok().map(Scalar::F32),
            DType::F64 => text.parse().ok().map(Scalar::F64),
            DType::I32 => text.parse().ok().map(Scalar::I32),
            DType::I64 => text.parse().ok().map(Scalar::I64),
            DType::Bool => text.parse().ok().map(Scalar::Bool),
        }
    }

    /// The value as `f64` (exact for all but large `i64`).
    pub fn to_f64(self) -> f64 {
        match self {
            Scalar::F32(x) => x.into(),
            Scalar::F64(x) => x,
            Scalar::I32(x) => x.into(),
            Scalar::I64(x) => x as f64,
            Scalar::Bool(x) => x.into(),
        }
    }

    /// The element type.
    pub fn dtype(self) -> DType {
        match self {
            Scalar::F32(_) => DType::F32,
            Scalar::F64(_) => DType::F64,
            Scalar::I32(_) => DType::I32,
            Scalar::I64(_) => DType::I64,
            Scalar::Bool(_) => DType::Bool,
        }
    }

    /// The bit pattern, zero-extended.
    pub fn bits(self) -> u64 {
        match self {
            Scalar::F32(x) => x.to_bits().into(),
            Scalar::F64(x) => x.to_bits(),
            Scalar::I32(x) => x as u32 as u64,
            Scalar::I64(x) => x as u64,
            Scalar::Bool(x) => x.into(),
        }
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Scalar) -> bool {
        self.dtype() == other.dtype() && self.bits() == other.bits()
    }
}

impl Eq for Scalar {}

impl Hash for Scalar {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.dtype(), self.bits()).hash(state);
    }
}

impl fmt::Display for Scalar {
    /// The shortest decimal text that reads back as the same bits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scalar::F32(x) => write!(f, "{x:?}"),
            Scalar::F64(x) => write!(f, "{x:?}"),
            Scalar::I32(x) => write!(f, "{x}"),
            Scalar::I64(x) => write!(f, "{x}"),
            Scalar::Bool(x) => write!(f, "{x}"),
        }
    }
}
