//! Rules about truth values and element types: comparisons, choices and conversions.

use super::{Match, Rule, matched};
use crate::loops::{Binary, Compare};
use crate::ops::{Elementwise, Op, Tensor};
use crate::types::{DType, Scalar};

pub(super) const RULES: &[Rule] = &[
    Rule { name: "logic with constant", rewrite: logic_with_constant },
    Rule { name: "compare with itself", rewrite: compare_with_itself },
    Rule { name: "decided select", rewrite: decided_select },
    Rule { name: "nested select", rewrite: nested_select },
    Rule { name: "select of truth", rewrite: select_of_truth },
    Rule { name: "mask of result", rewrite: mask_of_result },
    Rule { name: "cast twice", rewrite: cast_twice },
];

fn truth(x: Tensor<'_>) -> Option<bool> {
    match x.as_constant() {
        Some(Scalar::Bool(truth)) => Some(truth),
        _ => None,
    }
}

fn select<'g>(m: &Match<'g>) -> Option<(Tensor<'g>, Tensor<'g>, Tensor<'g>)> {
    (m.op == Op::Elementwise(Elementwise::Select)).then(|| (m.operands[0], m.operands[1], m.operands[2]))
}

/// `x & true` → `x`, `x & false` → `false`, `x | true` → `true`, `x | false` → `x`.
fn logic_with_constant<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let one_of = |(a, b): (Tensor<'g>, Tensor<'g>)| match (truth(a), truth(b)) {
        (Some(known), _) => Some((known, a, b)),
        (_, Some(known)) => Some((known, b, a)),
        _ => None,
    };
    if let Some((known, constant, x)) = m.binary(Binary::And).and_then(one_of) {
        return Some(if known { x } else { constant });
    }
    let (known, constant, x) = m.binary(Binary::Or).and_then(one_of)?;
    Some(if known { constant } else { x })
}

/// `x < x`, `x > x` → `false`; where there is no NaN, `x == x`, `x <= x`, `x >= x` → `true` and `x != x` → `false`.
fn compare_with_itself<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let Op::Elementwise(Elementwise::Compare(f)) = m.op else { return None };
    let (a, b) = (m.operands[0], m.operands[1]);
    let decided = match f {
        Compare::Lt | Compare::Gt => Some(false),
        _ if a.dtype().is_float() => None,
        Compare::Eq | Compare::Le | Compare::Ge => Some(true),
        Compare::Ne => Some(false),
    };
    decided.filter(|_| a.id == b.id).map(|truth| m.node.graph.literal(Scalar::Bool(truth), m.node.shape()))
}

/// `select(true, a, b)` → `a`, `select(false, a, b)` → `b`, `select(c, a, a)` → `a`, `select(!c, a, b)` →
/// `select(c, b, a)`.
fn decided_select<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (condition, a, b) = select(m)?;
    match truth(condition) {
        Some(condition) => Some(if condition { a } else { b }),
        None if a.id == b.id => Some(a),
        None => matched(condition).unary(crate::loops::Unary::Not).map(|condition| condition.select(b, a)),
    }
}

/// `select(c, select(c, a, _), b)` → `select(c, a, b)`, and so in the other branch.
fn nested_select<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (condition, a, b) = select(m)?;
    let same = |branch: Tensor<'g>| {
        let below = matched(branch);
        select(&below).filter(|inner| inner.0.id == condition.id)
    };
    if let Some((_, inner, _)) = same(a) {
        return Some(condition.select(inner, b));
    }
    same(b).map(|(_, _, inner)| condition.select(a, inner))
}

/// `select(c, true, false)` → `c`, `select(c, false, true)` → `!c`.
fn select_of_truth<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (condition, a, b) = select(m)?;
    match (truth(a)?, truth(b)?) {
        (true, false) => Some(condition),
        (false, true) => Some(!condition),
        _ => None,
    }
}

/// `select(x <= 0, 0, y)` → `select(r <= 0, 0, y)` where there is `r = select(x <= 0, 0, x)`, the rectified `x`: its
/// gradient needs the result alone, which then takes the place of `x` in memory.
fn mask_of_result<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (condition, zero, y) = select(m)?;
    let compared = matched(condition);
    let is_mask = compared.op == Op::Elementwise(Elementwise::Compare(Compare::Le));
    let &[x, bound] = &compared.operands[..] else { return None };
    let is_zero = zero.as_constant().is_some_and(|zero| zero.to_f64() == 0.0);
    if !is_mask || !is_zero || bound.id != zero.id || x.id == y.id {
        return None;
    }
    let graph = m.node.graph;
    let rectified = graph.find(Op::Elementwise(Elementwise::Select), &[condition.id, zero.id, x.id])?;
    Some(graph.tensor(rectified).less_equal(zero).select(zero, y))
}

/// `cast (cast x)` → `cast x`, where the type between holds every number of `x`'s.
fn cast_twice<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let cast = |m: &Match<'g>| match m.op {
        Op::Elementwise(Elementwise::Cast(_)) => Some(m.operands[0]),
        _ => None,
    };
    let between = cast(m)?;
    let x = cast(&matched(between))?;
    let holds_all = match (x.dtype(), between.dtype()) {
        (DType::Bool, _) => true,
        (DType::F32, wide) => wide == DType::F64,
        (DType::I32, wide) => matches!(wide, DType::I64 | DType::F64),
        (DType::F64 | DType::I64, _) => false,
    };
    holds_all.then(|| x.cast(m.node.dtype()))
}
