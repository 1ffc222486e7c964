//! The functions that processors lack: most as inline code, which works on vectors, with one file a family; the rest
//! as calls of the library. Errors are at most 2 units in the last place (`tests/accuracy.rs`).

mod error_function;
mod exp;
mod hyperbolic;
mod inverse_trig;
mod lanes;
mod library;
mod log;
mod power;
mod rounding;
mod trig;

use cranelift::prelude::Value;

pub(super) use lanes::{Real, Shape, Target, on_vectors};
pub(super) use library::{Function, place, register};

use super::scalar::Emit;
use crate::loops::{Binary, Instr, Unary};

/// How a function of so many numbers is computed.
pub(super) enum Way<const N: usize> {
    Inline(for<'l> fn([Real<'l>; N]) -> Real<'l>),
    /// Inline in loops where multiply-adds are fused; else by a call, which takes less time for a single number.
    Fused(for<'l> fn([Real<'l>; N]) -> Real<'l>, Function),
    Call(Function),
    /// By the processor, or not at all.
    Nothing,
}

pub(super) fn way(f: Unary) -> Way<1> {
    match f {
        Unary::Exp => Way::Inline(|[x]| exp::exp(x)),
        Unary::Expm1 => Way::Inline(|[x]| exp::expm1(x)),
        Unary::Tanh => Way::Inline(|[x]| hyperbolic::tanh(x)),
        Unary::Sigmoid => Way::Inline(|[x]| exp::sigmoid(x)),
        Unary::Softplus => Way::Inline(|[x]| log::softplus(x)),
        Unary::Sinh => Way::Inline(|[x]| hyperbolic::sinh(x)),
        Unary::Cosh => Way::Inline(|[x]| hyperbolic::cosh(x)),
        Unary::Log => Way::Inline(|[x]| log::log(x)),
        Unary::Log1p => Way::Inline(|[x]| log::log1p(x)),
        Unary::Sin => Way::Inline(|[x]| trig::sin(x)),
        Unary::Cos => Way::Inline(|[x]| trig::cos(x)),
        Unary::Tan => Way::Inline(|[x]| trig::tan(x)),
        Unary::Asin => Way::Inline(|[x]| inverse_trig::asin(x)),
        Unary::Acos => Way::Inline(|[x]| inverse_trig::acos(x)),
        Unary::Atan => Way::Inline(|[x]| inverse_trig::atan(x)),
        Unary::Erf => Way::Inline(|[x]| error_function::erf(x)),
        Unary::ErfInv => Way::Inline(|[x]| error_function::erf_inv(x)),
        Unary::Floor => Way::Inline(|[x]| rounding::floor(x)),
        Unary::Ceil => Way::Inline(|[x]| rounding::ceil(x)),
        Unary::Round => Way::Inline(|[x]| rounding::round(x)),
        Unary::Neg | Unary::Abs | Unary::Sign | Unary::Sqrt | Unary::Not => Way::Nothing,
    }
}

pub(super) fn way_of_two(f: Binary) -> Way<2> {
    match f {
        Binary::Atan2 => Way::Inline(|[y, x]| inverse_trig::atan2(y, x)),
        Binary::Pow => Way::Fused(|[x, y]| power::pow(x, y), Function::Pow),
        Binary::Rem => Way::Call(Function::Rem),
        _ => Way::Nothing,
    }
}

impl<const N: usize> Way<N> {
    fn is_inline(&self, is_straight: bool) -> bool {
        matches!(self, Way::Inline(_)) || matches!(self, Way::Fused(..)) && !is_straight
    }
}

/// Whether an instruction on floats is written out, in loops or in straight-line code.
pub(super) fn is_inline(instr: &Instr, is_straight: bool) -> bool {
    match instr {
        Instr::Unary(f, _) => way(*f).is_inline(is_straight),
        Instr::Binary(f, ..) => way_of_two(*f).is_inline(is_straight),
        _ => false,
    }
}

/// Emits a function of floats, on scalars or on all lanes of vectors.
pub(super) fn emit<const N: usize>(emit: &mut Emit<'_, '_>, way: Way<N>, operands: [Value; N]) -> Value {
    match way {
        Way::Fused(formula, _) if emit.features.fma && !emit.is_straight => {
            lanes::evaluate(emit, operands, formula)
        }
        Way::Inline(formula) => lanes::evaluate(emit, operands, formula),
        Way::Fused(_, function) | Way::Call(function) => library::call(emit, function, &operands),
        Way::Nothing => operands[0],
    }
}
