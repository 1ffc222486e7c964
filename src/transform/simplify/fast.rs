//! Rules for [`FastMath::On`](crate::compile::FastMath): right for real numbers, but not for NaN, ±∞, −0, or numbers near
//! the ends of the range. None of them is tried unless it is asked for.

use super::arithmetic::{constant, is_constant, one_number};
use super::{Match, Rule, matched};
use crate::loops::{Binary, Unary};
use crate::ops::Tensor;
use crate::types::Scalar;

pub(super) const RULES: &[Rule] = &[
    Rule { name: "fast: add zero", rewrite: add_zero },
    Rule { name: "fast: factor zero", rewrite: factor_zero },
    Rule { name: "fast: cancel terms", rewrite: cancel_terms },
    Rule { name: "fast: cancel factors", rewrite: cancel_factors },
    Rule { name: "fast: negated difference", rewrite: negated_difference },
    Rule { name: "fast: divide by constant", rewrite: divide_by_constant },
    Rule { name: "fast: divide by number", rewrite: divide_by_number },
    Rule { name: "fast: power of one half", rewrite: power_of_one_half },
    Rule { name: "fast: inverse functions", rewrite: inverse_functions },
    Rule { name: "fast: square of root", rewrite: square_of_root },
    Rule { name: "fast: product of exponentials", rewrite: product_of_exponentials },
];

/// `0 + x` → `x`, which loses that −0 becomes +0.
fn add_zero<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (a, b) = m.binary(Binary::Add)?;
    is_constant(a, 0.0).then_some(b)
}

/// `0 · x` → `0`.
fn factor_zero<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (a, _) = m.binary(Binary::Mul)?;
    (is_constant(a, 0.0) || is_constant(a, -0.0)).then(|| m.node.constant_like(0.0))
}

/// `x - x` → `0`, `(x + y) - y` → `x`, `(x - y) + y` → `x`.
fn cancel_terms<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    if let Some((a, b)) = m.binary(Binary::Sub) {
        if a.id == b.id {
            return Some(m.node.constant_like(0.0));
        }
        let (x, y) = matched(a).binary(Binary::Add)?;
        return other(x, y, b);
    }
    let (a, b) = m.binary(Binary::Add)?;
    let cancel = |difference: Tensor<'g>, term: Tensor<'g>| {
        let (x, y) = matched(difference).binary(Binary::Sub)?;
        (y.id == term.id).then_some(x)
    };
    cancel(a, b).or_else(|| cancel(b, a))
}

/// `x / x` → `1`, `(x · y) / y` → `x`, `(x / y) · y` → `x`.
fn cancel_factors<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    if !m.node.dtype().is_float() {
        return None;
    }
    if let Some((a, b)) = m.binary(Binary::Div) {
        if a.id == b.id {
            return Some(m.node.constant_like(1.0));
        }
        let (x, y) = matched(a).binary(Binary::Mul)?;
        return other(x, y, b);
    }
    let (a, b) = m.binary(Binary::Mul)?;
    let cancel = |quotient: Tensor<'g>, factor: Tensor<'g>| {
        let (x, y) = matched(quotient).binary(Binary::Div)?;
        (y.id == factor.id).then_some(x)
    };
    cancel(a, b).or_else(|| cancel(b, a))
}

/// The one of two operands that is not this one, if the other is.
fn other<'g>(x: Tensor<'g>, y: Tensor<'g>, this: Tensor<'g>) -> Option<Tensor<'g>> {
    if y.id == this.id { Some(x) } else { (x.id == this.id).then_some(y) }
}

/// `-(x - y)` → `y - x`, which loses the sign of a zero.
fn negated_difference<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (x, y) = matched(m.unary(Unary::Neg)?).binary(Binary::Sub)?;
    Some(y - x)
}

/// `x / c` → `(1/c) · x`.
fn divide_by_constant<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (x, divisor) = m.binary(Binary::Div)?;
    let divisor = divisor.as_constant().filter(|c| c.dtype().is_float() && x.as_constant().is_none())?;
    let reciprocal = Scalar::from_f64(1.0 / divisor.to_f64(), divisor.dtype());
    Some(constant(x, reciprocal) * x)
}

/// `x / y` → `x · (1/y)`, where `y` is one number repeated: one division instead of one an element.
fn divide_by_number<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (x, divisor) = m.binary(Binary::Div)?;
    let number = one_number(divisor).filter(|number| number.dtype().is_float())?;
    let repeats = m.node.shape().elements() > 1 && one_number(x).is_none() && x.as_constant().is_none();
    repeats.then(|| x * number.recip().broadcast_to(m.node.shape()))
}

/// `x ^ 0.5` → `sqrt x`, `x ^ -0.5` → `1 / sqrt x`: not so at −0 and −∞.
fn power_of_one_half<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (x, exponent) = m.binary(Binary::Pow)?;
    if is_constant(exponent, 0.5) {
        return Some(x.sqrt());
    }
    is_constant(exponent, -0.5).then(|| x.rsqrt())
}

/// `log (exp x)` → `x`, `exp (log x)` → `x`.
fn inverse_functions<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    const PAIRS: [(Unary, Unary); 4] = [
        (Unary::Log, Unary::Exp),
        (Unary::Exp, Unary::Log),
        (Unary::Log1p, Unary::Expm1),
        (Unary::Expm1, Unary::Log1p),
    ];
    PAIRS.iter().find_map(|&(outer, inner)| matched(m.unary(outer)?).unary(inner))
}

/// `sqrt x · sqrt x` → `x`, `sqrt (x · x)` → `|x|`.
fn square_of_root<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    if let Some((a, b)) = m.binary(Binary::Mul) {
        return matched(a).unary(Unary::Sqrt).filter(|_| a.id == b.id);
    }
    let (a, b) = matched(m.unary(Unary::Sqrt)?).binary(Binary::Mul)?;
    (a.id == b.id).then(|| a.abs())
}

/// `exp x · exp y` → `exp (x + y)`.
fn product_of_exponentials<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (a, b) = m.binary(Binary::Mul)?;
    let exponent = |x: Tensor<'g>| matched(x).unary(Unary::Exp);
    Some((exponent(a)? + exponent(b)?).exp())
}
