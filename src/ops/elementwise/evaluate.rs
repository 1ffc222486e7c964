//! The reference evaluation of the scalar functions on host arrays.

use ndarray::{ArrayD, Zip};
use num_traits::Float;

use super::Elementwise;
use crate::loops::{Binary, Compare, Special, Unary};
use crate::types::{Element, Value, map_value};

/// Applies a well-typed operator.
pub(super) fn elementwise(op: Elementwise, operands: &[&Value]) -> Value {
    match op {
        Elementwise::Unary(f) => unary(f, operands[0]),
        Elementwise::Binary(f) => binary(f, operands[0], operands[1]),
        Elementwise::Compare(f) => compare(f, operands[0], operands[1]),
        Elementwise::Select => select(operands[0], operands[1], operands[2]),
        Elementwise::Cast(dtype) => operands[0].cast(dtype),
        Elementwise::StopGradient | Elementwise::Barrier => operands[0].clone(),
    }
}

fn unary(f: Unary, x: &Value) -> Value {
    match x {
        Value::F32(x) => Value::F32(x.mapv(|x| unary_float(f, x))),
        Value::F64(x) => Value::F64(x.mapv(|x| unary_float(f, x))),
        Value::I32(x) => Value::I32(x.mapv(|x| match f {
            Unary::Neg => x.wrapping_neg(),
            Unary::Abs => x.wrapping_abs(),
            Unary::Not => !x,
            _ => x.signum(),
        })),
        Value::I64(x) => Value::I64(x.mapv(|x| match f {
            Unary::Neg => x.wrapping_neg(),
            Unary::Abs => x.wrapping_abs(),
            Unary::Not => !x,
            _ => x.signum(),
        })),
        Value::Bool(x) => Value::Bool(x.mapv(|x| !x)),
    }
}

fn unary_float<T: Special>(f: Unary, x: T) -> T {
    match f {
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Sign if x == T::zero() || x.is_nan() => x,
        Unary::Sign => x.signum(),
        Unary::Exp => x.exp(),
        Unary::Expm1 => x.exp_m1(),
        Unary::Log => x.ln(),
        Unary::Log1p => x.ln_1p(),
        Unary::Sqrt => x.sqrt(),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Tan => x.tan(),
        Unary::Asin => x.asin(),
        Unary::Acos => x.acos(),
        Unary::Atan => x.atan(),
        Unary::Sinh => x.sinh(),
        Unary::Cosh => x.cosh(),
        Unary::Tanh => x.tanh(),
        Unary::Sigmoid => sigmoid(x),
        Unary::Softplus => x.max(T::zero()) + (-x.abs()).exp().ln_1p(),
        Unary::Erf => erf(x),
        Unary::ErfInv => x.erf_inv(),
        Unary::Floor => x.floor(),
        Unary::Ceil => x.ceil(),
        Unary::Round => round_half_even(x),
        Unary::Not => unreachable!("the type rule admits bool and integers only"),
    }
}

/// Of the two forms the one whose power is not above 1, so that none overflows.
fn sigmoid<T: Float>(x: T) -> T {
    let power = (-x.abs()).exp();
    let numerator = if x.is_sign_negative() { power } else { T::one() };
    numerator / (power + T::one())
}

/// Computed in f64 and rounded.
fn erf<T: Float>(x: T) -> T {
    x.to_f64().and_then(|x| T::from(libm::erf(x))).unwrap_or(x)
}

fn round_half_even<T: Float>(x: T) -> T {
    let two = T::one() + T::one();
    let nearest = x.round(); // halves away from zero
    let is_half = (x - x.trunc()).abs() * two == T::one();
    if is_half { (x / two).round() * two } else { nearest }
}

/// Applies a binary function to two arrays of one type.
pub(crate) fn binary(f: Binary, a: &Value, b: &Value) -> Value {
    macro_rules! integers {
        ($variant:ident, $unsigned:ty, $a:ident, $b:ident) => {
            Value::$variant(zip($a, $b, |a, b| match f {
                Binary::Add => a.wrapping_add(b),
                Binary::Sub => a.wrapping_sub(b),
                Binary::Mul => a.wrapping_mul(b),
                Binary::Div if b == 0 => 0,
                Binary::Div => a.wrapping_div(b),
                Binary::Rem if b == 0 => 0,
                Binary::Rem => a.wrapping_rem(b),
                Binary::Max => a.max(b),
                Binary::Min => a.min(b),
                Binary::And => a & b,
                Binary::Or => a | b,
                Binary::Xor => a ^ b,
                Binary::ShiftLeft => bits_of(b).and_then(|bits| a.checked_shl(bits)).unwrap_or(0),
                Binary::ShiftRight => {
                    bits_of(b).and_then(|bits| a.checked_shr(bits)).unwrap_or(a.signum().min(0))
                }
                Binary::ShiftRightLogical => {
                    bits_of(b).and_then(|bits| (a as $unsigned).checked_shr(bits)).unwrap_or(0) as _
                }
                Binary::RotateLeft => a.rotate_left(b as u32 % <$unsigned>::BITS),
                Binary::Pow | Binary::Atan2 => unreachable!("refused by the type rule"),
            }))
        };
    }
    match (a, b) {
        (Value::F32(a), Value::F32(b)) => Value::F32(zip(a, b, |a, b| binary_float(f, a, b))),
        (Value::F64(a), Value::F64(b)) => Value::F64(zip(a, b, |a, b| binary_float(f, a, b))),
        (Value::I32(a), Value::I32(b)) => integers!(I32, u32, a, b),
        (Value::I64(a), Value::I64(b)) => integers!(I64, u64, a, b),
        (Value::Bool(a), Value::Bool(b)) => Value::Bool(zip(a, b, |a, b| match f {
            Binary::And => a && b,
            Binary::Or => a || b,
            _ => a != b,
        })),
        _ => unreachable!("the type rule wants equal types"),
    }
}

fn binary_float<T: Float>(f: Binary, a: T, b: T) -> T {
    match f {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
        Binary::Rem => a % b,
        Binary::Pow => a.powf(b),
        Binary::Atan2 => a.atan2(b),
        Binary::Max | Binary::Min if a.is_nan() || b.is_nan() => T::nan(),
        // IEEE 754-2019: +0 is larger than −0.
        Binary::Max if a > b || a == b && a.is_sign_positive() => a,
        Binary::Min if a < b || a == b && a.is_sign_negative() => a,
        Binary::Max | Binary::Min => b,
        Binary::And | Binary::Or | Binary::Xor | Binary::RotateLeft => {
            unreachable!("refused by the type rule")
        }
        Binary::ShiftLeft | Binary::ShiftRight | Binary::ShiftRightLogical => {
            unreachable!("refused by the type rule")
        }
    }
}

/// An amount to shift by, if it is one.
fn bits_of(amount: impl TryInto<u32>) -> Option<u32> {
    amount.try_into().ok()
}

fn compare(f: Compare, a: &Value, b: &Value) -> Value {
    fn test<T: PartialOrd>(f: Compare, a: T, b: T) -> bool {
        match f {
            Compare::Eq => a == b,
            Compare::Ne => a != b,
            Compare::Lt => a < b,
            Compare::Le => a <= b,
            Compare::Gt => a > b,
            Compare::Ge => a >= b,
        }
    }
    macro_rules! by_type {
        ($($variant:ident),*) => {
            match (a, b) {
                $((Value::$variant(a), Value::$variant(b)) => Value::Bool(zip(a, b, |a, b| test(f, a, b))),)*
                _ => unreachable!("the type rule wants equal types"),
            }
        };
    }
    by_type!(F32, F64, I32, I64, Bool)
}

fn select(condition: &Value, a: &Value, b: &Value) -> Value {
    fn pick<T: Element>(condition: &ArrayD<bool>, a: &ArrayD<T>, b: &Value) -> ArrayD<T> {
        let mut result = a.clone();
        if let Some(b) = T::array(b) {
            Zip::from(&mut result).and(condition).and(b).for_each(|x, &taken, &b| {
                if !taken {
                    *x = b;
                }
            });
        }
        result
    }
    let Value::Bool(condition) = condition else { unreachable!("the type rule wants a bool condition") };
    map_value!(a, a => pick(condition, a, b).into())
}

fn zip<T: Copy, U>(a: &ArrayD<T>, b: &ArrayD<T>, f: impl Fn(T, T) -> U) -> ArrayD<U> {
    Zip::from(a).and(b).map_collect(|&a, &b| f(a, b))
}
