//! The functions that processors lack: most as inline code, which works on vectors, with one file a family; the rest
//! as calls of the library. Errors are at most 2 units in the last place (`tests/accuracy.rs`).

mod error_function;
mod exp;
mod hyperbolic;
mod lanes;
mod library;
mod log;
mod rounding;
mod trig;

use cranelift::prelude::{Type, Value};

pub(super) use lanes::{Shape, Target};
pub(super) use library::{Function, place, register};

use super::scalar::Emit;
use crate::loops::{Binary, Unary};
use lanes::Real;

/// How a function is computed.
enum Way {
    Inline(for<'l> fn(Real<'l>) -> Real<'l>),
    Call(Function),
    /// By the processor, or not at all.
    Nothing,
}

fn way(f: Unary) -> Way {
    match f {
        Unary::Exp => Way::Inline(exp::exp),
        Unary::Expm1 => Way::Inline(exp::expm1),
        Unary::Tanh => Way::Inline(hyperbolic::tanh),
        Unary::Sinh => Way::Inline(hyperbolic::sinh),
        Unary::Cosh => Way::Inline(hyperbolic::cosh),
        Unary::Log => Way::Inline(log::log),
        Unary::Log1p => Way::Inline(log::log1p),
        Unary::Sin => Way::Inline(trig::sin),
        Unary::Cos => Way::Inline(trig::cos),
        Unary::Erf => Way::Inline(error_function::erf),
        Unary::Floor => Way::Inline(rounding::floor),
        Unary::Ceil => Way::Inline(rounding::ceil),
        Unary::Round => Way::Inline(rounding::round),
        Unary::Tan => Way::Call(Function::Tan),
        Unary::Asin => Way::Call(Function::Asin),
        Unary::Acos => Way::Call(Function::Acos),
        Unary::Atan => Way::Call(Function::Atan),
        Unary::ErfInv => Way::Call(Function::ErfInv),
        Unary::Neg | Unary::Abs | Unary::Sign | Unary::Sqrt | Unary::Not => Way::Nothing,
    }
}

/// Whether a function of floats is written out.
pub(super) fn is_inline(f: Unary) -> bool {
    matches!(way(f), Way::Inline(_))
}

/// Emits a function of floats, on a scalar or on all lanes of a vector.
pub(super) fn unary(emit: &mut Emit<'_, '_>, f: Unary, x: Value) -> Value {
    match way(f) {
        Way::Inline(formula) => lanes::evaluate(emit, [x], |[x]| formula(x)),
        Way::Call(function) => library::call(emit, function, &[x]),
        Way::Nothing => x,
    }
}

/// As [`unary`], on vectors of whoever takes the instructions; nothing if the function is not written out.
pub(super) fn unary_inline(target: &mut dyn Target, f: Unary, x: Value, ty: Type) -> Option<Value> {
    match way(f) {
        Way::Inline(formula) => Some(lanes::on_vectors(target, x, ty, formula)),
        Way::Call(_) | Way::Nothing => None,
    }
}

/// As [`unary`], for functions of two numbers.
pub(super) fn binary(emit: &mut Emit<'_, '_>, f: Binary, a: Value, b: Value) -> Value {
    called_with_two(f).map_or(a, |function| library::call(emit, function, &[a, b]))
}

/// The function of the library that computes a function of one number, if it is not written out.
pub(super) fn called(f: Unary) -> Option<Function> {
    match way(f) {
        Way::Call(function) => Some(function),
        Way::Inline(_) | Way::Nothing => None,
    }
}

/// As [`called`], for functions of two numbers. Powers inline, in f64 for f32, were slower than the library's.
pub(super) fn called_with_two(f: Binary) -> Option<Function> {
    match f {
        Binary::Rem => Some(Function::Rem),
        Binary::Atan2 => Some(Function::Atan2),
        Binary::Pow => Some(Function::Pow),
        _ => None,
    }
}
