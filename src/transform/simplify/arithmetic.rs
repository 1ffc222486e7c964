//! Rules about numbers: constants, identities, signs and factors.

use super::{Match, Rule, is_safe_scale, matched};
use crate::loops::{Binary, Unary};
use crate::ops::{Elementwise, Layout, Op, Tensor};
use crate::types::{DType, Scalar};

pub(super) const RULES: &[Rule] = &[
    Rule { name: "derived already", rewrite: derived_already },
    Rule { name: "fold constants", rewrite: fold_constants },
    Rule { name: "constant first", rewrite: constant_first },
    Rule { name: "identity", rewrite: identity },
    Rule { name: "double negation", rewrite: double_negation },
    Rule { name: "add negated", rewrite: add_negated },
    Rule { name: "add to itself", rewrite: add_to_itself },
    Rule { name: "negate factor", rewrite: negate_factor },
    Rule { name: "merge factors", rewrite: merge_factors },
    Rule { name: "factor first", rewrite: factor_first },
    Rule { name: "scale the smaller", rewrite: scale_the_smaller },
    Rule { name: "scale after select", rewrite: scale_after_select },
    Rule { name: "add multiples", rewrite: add_multiples },
    Rule { name: "add again", rewrite: add_again },
    Rule { name: "divide by power of two", rewrite: divide_by_power_of_two },
    Rule { name: "integer zero", rewrite: integer_zero },
    Rule { name: "small power", rewrite: small_power },
    Rule { name: "same operands", rewrite: same_operands },
    Rule { name: "done already", rewrite: done_already },
    Rule { name: "negated factors", rewrite: negated_factors },
];

/// A value with a reverse rule → the value: nothing is derived from a simplified graph.
fn derived_already<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    matches!(m.op, Op::Custom(_)).then(|| m.operands[0])
}

/// An elementwise operator over constants → the constant.
fn fold_constants<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let Op::Elementwise(op) = m.op else { return None };
    if op == Elementwise::Barrier {
        return None;
    }
    let operands: Option<Vec<Scalar>> = m.operands.iter().map(|x| x.as_constant()).collect();
    Some(constant(m.node, op.fold(&operands?)))
}

/// `x + c` → `c + x`, `x · c` → `c · x`: one form for the rules below.
fn constant_first<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let commutative = |f| m.binary(f).filter(|(a, b)| a.as_constant().is_none() && b.as_constant().is_some());
    if let Some((a, b)) = commutative(Binary::Add) {
        return Some(b + a);
    }
    commutative(Binary::Mul).map(|(a, b)| b * a)
}

/// `-0 + x`, `x - 0`, `1 · x`, `x / 1`, `x ^ 1` → `x`. (`0 + x` is no identity: it turns −0 into +0.)
fn identity<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let Op::Elementwise(Elementwise::Binary(f)) = m.op else { return None };
    let (a, b) = (m.operands[0], m.operands[1]);
    match f {
        Binary::Add => is_constant(a, -0.0).then_some(b),
        Binary::Mul => is_constant(a, 1.0).then_some(b),
        Binary::Sub => is_constant(b, 0.0).then_some(a),
        Binary::Div | Binary::Pow => is_constant(b, 1.0).then_some(a),
        Binary::Max | Binary::Min | Binary::Rem | Binary::Atan2 => None,
        Binary::And | Binary::Or | Binary::Xor | Binary::RotateLeft => None,
        Binary::ShiftLeft | Binary::ShiftRight | Binary::ShiftRightLogical => None,
    }
}

/// `-(-x)` → `x`, `!!x` → `x`.
fn double_negation<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let twice = |f| matched(m.unary(f)?).unary(f);
    twice(Unary::Neg).or_else(|| twice(Unary::Not))
}

/// `a + (-b)` → `a - b`, `(-a) + b` → `b - a`, `a - (-b)` → `a + b`.
fn add_negated<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let negated = |x: Tensor<'g>| matched(x).unary(Unary::Neg);
    if let Some((a, b)) = m.binary(Binary::Add) {
        return negated(b).map(|b| a - b).or_else(|| negated(a).map(|a| b - a));
    }
    let (a, b) = m.binary(Binary::Sub)?;
    negated(b).map(|b| a + b)
}

/// `x + x` → `2 · x`.
fn add_to_itself<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (a, b) = m.binary(Binary::Add)?;
    (a.id == b.id).then(|| a.constant_like(2.0) * a)
}

/// `-(c · x)` → `(-c) · x`.
fn negate_factor<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (factor, rest) = matched(m.unary(Unary::Neg)?).binary(Binary::Mul)?;
    let factor = factor.as_constant().filter(|factor| factor.dtype().is_float())?;
    Some(constant(m.node, Scalar::from_f64(-factor.to_f64(), factor.dtype())) * rest)
}

/// `a · (c · x)` → `(c · a) · x`, where `c` is a constant and `a` a constant or one repeated number:
/// one multiplication an element instead of two.
fn merge_factors<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (a, b) = m.binary(Binary::Mul)?;
    let merge = |factor: Tensor<'g>, product: Tensor<'g>| {
        let (inner, rest) = matched(product).binary(Binary::Mul)?;
        let inner = inner.as_constant().filter(|&c| is_safe_scale(magnitude(c)))?;
        if let Some(outer) = factor.as_constant().filter(|&c| is_safe_scale(magnitude(c))) {
            let merged = outer.to_f64() * inner.to_f64();
            return Some(constant(factor, Scalar::from_f64(merged, inner.dtype())) * rest);
        }
        let number = one_number(factor).filter(|_| one_number(rest).is_none())?;
        let merged = constant(number, inner) * number;
        Some(merged.broadcast_to(factor.shape()) * rest)
    };
    merge(a, b).or_else(|| merge(b, a))
}

/// `(c · a) · b` → `c · (a · b)`: factors gather in front, where the rules around find them.
fn factor_first<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (a, b) = m.binary(Binary::Mul)?;
    let pull = |product: Tensor<'g>, other: Tensor<'g>| {
        let (factor, rest) = matched(product).scaled()?;
        // A repeated number keeps its factor: together they are one number still.
        let is_one = [rest, other].iter().any(|&x| x.as_constant().is_some() || one_number(x).is_some());
        (!is_one).then(|| constant(rest, factor) * (rest * other))
    };
    pull(a, b).or_else(|| pull(b, a))
}

/// `c · x + x` → `(c + 1) · x`, `a · x + b · x` → `(a + b) · x`, for positive constants.
fn add_multiples<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (a, b) = m.binary(Binary::Add)?;
    let parts =
        |x: Tensor<'g>| matched(x).scaled().map_or((1.0, x), |(factor, rest)| (factor.to_f64(), rest));
    let ((first, x), (second, y)) = (parts(a), parts(b));
    let is_float = x.dtype().is_float();
    (x.id == y.id && is_float).then(|| constant(x, Scalar::from_f64(first + second, x.dtype())) * x)
}

/// `c · (broadcast a · x)` → `broadcast (c · a) · x`: one multiplication an element instead of two.
fn scale_the_smaller<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (factor, product) = m.scaled()?;
    let (a, b) = matched(product).binary(Binary::Mul)?;
    let scale = |small: Tensor<'g>, other: Tensor<'g>| {
        let below = matched(small);
        let (layout @ Layout::Broadcast { .. }, source) = below.layout()? else { return None };
        let is_smaller = source.shape().elements() < small.shape().elements();
        let scaled = is_smaller.then(|| constant(source, factor) * source)?;
        Some(Tensor::apply(Op::Layout(layout.clone()), &[scaled]) * other)
    };
    scale(a, b).or_else(|| scale(b, a))
}

/// `select(p, c · x, 0)` → `c · select(p, x, 0)`, and with the branches exchanged.
fn scale_after_select<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    if m.op != Op::Elementwise(Elementwise::Select) {
        return None;
    }
    let (condition, a, b) = (m.operands[0], m.operands[1], m.operands[2]);
    let zero = Scalar::from_f64(0.0, a.dtype());
    if b.as_constant() == Some(zero) {
        let (factor, rest) = matched(a).scaled()?;
        return Some(constant(a, factor) * condition.select(rest, b));
    }
    let (factor, rest) = matched(b).scaled().filter(|_| a.as_constant() == Some(zero))?;
    Some(constant(b, factor) * condition.select(a, rest))
}

/// `(a + b) + b` → `a + 2 · b`.
fn add_again<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (first, second) = m.binary(Binary::Add)?;
    let again = |sum: Tensor<'g>, b: Tensor<'g>| match matched(sum).binary(Binary::Add)? {
        (a, other) if other.id == b.id => Some(a + b.constant_like(2.0) * b),
        (other, a) if other.id == b.id => Some(a + b.constant_like(2.0) * b),
        _ => None,
    };
    again(first, second).or_else(|| again(second, first)).filter(|_| second.as_constant().is_none())
}

/// `x / c` → `(1/c) · x`, where the reciprocal is exact.
fn divide_by_power_of_two<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (x, divisor) = m.binary(Binary::Div)?;
    let divisor = divisor.as_constant()?;
    let is_exact = match divisor {
        Scalar::F32(c) => c.is_normal() && c.to_bits() << 9 == 0 && c.recip().is_normal(),
        Scalar::F64(c) => c.is_normal() && c.to_bits() << 12 == 0 && c.recip().is_normal(),
        _ => false,
    };
    let reciprocal = Scalar::from_f64(1.0 / divisor.to_f64(), divisor.dtype());
    is_exact.then(|| constant(x, reciprocal) * x)
}

/// In integers `0 · x` → `0` and `x - x` → `0`. (In floats NaN and ∞ would be lost.)
fn integer_zero<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    if m.node.dtype().is_float() {
        return None;
    }
    let is_zero = match (m.binary(Binary::Mul), m.binary(Binary::Sub)) {
        (Some((a, _)), _) => is_constant(a, 0.0),
        (_, Some((a, b))) => a.id == b.id,
        _ => false,
    };
    is_zero.then(|| m.node.constant_like(0.0))
}

/// `x ^ 0` → `1` (NaN's too, by IEEE 754), `x ^ 2` → `x · x`, `x ^ 3` → `x² · x`, `x ^ 4` → `x² · x²`, `x ^ -1` → `1 / x`.
fn small_power<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (x, exponent) = m.binary(Binary::Pow)?;
    match exponent.as_constant()?.to_f64() {
        0.0 => Some(m.node.constant_like(1.0)),
        2.0 => Some(x * x),
        3.0 => Some(x * x * x),
        4.0 => Some((x * x) * (x * x)),
        -1.0 => Some(x.recip()),
        _ => None,
    }
}

/// `max(x, x)`, `min(x, x)`, `a & a`, `a | a` → the operand.
fn same_operands<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let pairs = [Binary::Max, Binary::Min, Binary::And, Binary::Or];
    let (a, b) = pairs.iter().find_map(|&f| m.binary(f))?;
    (a.id == b.id).then_some(a)
}

/// `f (f x)` → `f x` for the functions that change nothing any more, `|-x|` → `|x|`.
fn done_already<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    const IDEMPOTENT: [Unary; 5] = [Unary::Abs, Unary::Sign, Unary::Floor, Unary::Ceil, Unary::Round];
    let again = |&f: &Unary| m.unary(f).filter(|&x| matched(x).unary(f).is_some());
    IDEMPOTENT.iter().find_map(again).or_else(|| Some(matched(m.unary(Unary::Abs)?).unary(Unary::Neg)?.abs()))
}

/// `(-x) · (-y)` → `x · y`, `(-x) / (-y)` → `x / y`.
fn negated_factors<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (a, b) =
        m.binary(Binary::Mul).or_else(|| m.binary(Binary::Div).filter(|_| m.node.dtype().is_float()))?;
    let (x, y) = (matched(a).unary(Unary::Neg)?, matched(b).unary(Unary::Neg)?);
    Some(Tensor::apply(m.op.clone(), &[x, y]))
}

/// The scalar that is repeated all over the tensor.
pub(super) fn one_number<'g>(x: Tensor<'g>) -> Option<Tensor<'g>> {
    if x.shape().rank() == 0 {
        return Some(x);
    }
    let (_, source) = matched(x).layout().map(|(layout, source)| (layout.clone(), source))?;
    (source.shape().rank() == 0).then_some(source)
}

/// Whether all elements are this number; −0 is not 0.
pub(super) fn is_constant(x: Tensor<'_>, value: f64) -> bool {
    x.as_constant() == Some(Scalar::from_f64(value, x.dtype()))
}

pub(super) fn constant<'g>(like: Tensor<'g>, value: Scalar) -> Tensor<'g> {
    like.graph.literal(value, like.shape())
}

fn magnitude(x: Scalar) -> Scalar {
    match x.dtype() {
        DType::F32 | DType::F64 => Scalar::from_f64(x.to_f64().abs(), x.dtype()),
        DType::I32 | DType::I64 | DType::Bool => x,
    }
}
