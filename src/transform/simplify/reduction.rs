//! Rules about sums: of one element, of repeated elements, of scaled elements.

use super::{Match, Rule, is_safe_scale, matched};
use crate::loops::Combine;
use crate::ops::{Dot, Layout, Op, Reduce, Tensor};
use crate::types::{Axes, Scalar, Shape};

pub(super) const RULES: &[Rule] = &[
    Rule { name: "reduce one element", rewrite: reduce_one_element },
    Rule { name: "reduce constant", rewrite: reduce_constant },
    Rule { name: "sum of repeats", rewrite: sum_of_repeats },
    Rule { name: "merge sums", rewrite: merge_sums },
    Rule { name: "reduce rearranged", rewrite: reduce_rearranged },
    Rule { name: "scale after sum", rewrite: scale_after_sum },
    Rule { name: "scale after product", rewrite: scale_after_product },
    Rule { name: "product with constant", rewrite: product_with_constant },
    Rule { name: "product of repeats", rewrite: product_of_repeats },
];

/// A reduction over axes of extent 1 → a reshape.
fn reduce_one_element<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (reduce, x) = m.reduce()?;
    let ones: Axes = reduce.axes.iter().filter(|&axis| x.shape().extents()[axis] == 1).collect();
    if reduce.axes.is_empty() {
        return Some(x);
    }
    if ones == reduce.axes {
        return Some(x.reshape(m.node.shape()));
    }
    None
}

/// A reduction of a constant → a constant.
fn reduce_constant<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (reduce, x) = m.reduce()?;
    let count = reduce.axes.iter().map(|axis| x.shape().extents()[axis]).product();
    let value = reduce.repeat(x.as_constant()?, count)?;
    Some(m.node.graph.literal(value, m.node.shape()))
}

/// The sum of a broadcast over axes along which it only repeats → the count times the operand.
fn sum_of_repeats<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (Reduce { combine: Combine::Sum, axes }, x) = m.reduce()? else { return None };
    let below = matched(x);
    let (layout @ Layout::Broadcast { shape, axes: targets }, source) = below.layout()? else { return None };
    let repeated = layout.repeated(source.shape());
    if axes.is_empty() || !axes.iter().all(|axis| repeated.contains(axis)) || !x.dtype().is_float() {
        return None;
    }
    let count: usize = axes.iter().map(|axis| shape.extents()[axis]).product();
    let (source, kept) = without_axes(source, targets, axes);
    let scaled = source.constant_like(count as f64) * source;
    Some(scaled.broadcast_in(m.node.shape(), &kept))
}

/// The operand of a broadcast, and where its axes go, when the result loses some axes along which it only repeats: an
/// operand's own axis (of extent 1) goes with its target; the axes that stay close ranks.
fn without_axes<'g>(source: Tensor<'g>, targets: &[usize], axes: Axes) -> (Tensor<'g>, Vec<usize>) {
    let lost = targets.iter().enumerate().filter(|(_, target)| axes.contains(**target));
    let lost: Axes = lost.map(|(axis, _)| axis).collect();
    let stay = targets.iter().filter(|&&target| !axes.contains(target));
    let kept = stay.map(|&target| target - axes.iter().filter(|&axis| axis < target).count()).collect();
    (source.reshape(source.shape().without(lost)), kept)
}

/// `sum(sum x)` → `sum x` over both sets of axes.
fn merge_sums<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (Reduce { combine, axes: outer }, x) = m.reduce()?;
    let (Reduce { combine: below, axes: inner }, source) = matched(x).reduce()?;
    if below != combine {
        return None;
    }
    let remaining: Vec<usize> = (0..source.shape().rank()).filter(|&axis| !inner.contains(axis)).collect();
    let axes: Axes = inner.iter().chain(outer.iter().map(|axis| remaining[axis])).collect();
    Some(Tensor::apply(Op::Reduce(Reduce { combine, axes }), &[source]))
}

/// A reduction of all elements of a reshape or transpose → of all elements of its operand.
fn reduce_rearranged<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (Reduce { combine, axes }, x) = m.reduce()?;
    let below = matched(x);
    let (Layout::Reshape(_) | Layout::Transpose(_), source) = below.layout()? else { return None };
    let all = Reduce { combine, axes: Axes::all(source.shape().rank()) };
    (axes == Axes::all(x.shape().rank())).then(|| Tensor::apply(Op::Reduce(all), &[source]))
}

/// `sum(c · x)` → `c · sum(x)`: one multiplication a result, not one an element.
fn scale_after_sum<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (reduce @ Reduce { combine: Combine::Sum, .. }, x) = m.reduce()? else { return None };
    let (factor, rest) = matched(x).scaled()?;
    Some(scale(factor, Tensor::apply(Op::Reduce(reduce), &[rest])))
}

/// `dot(c · x, y)` → `c · dot(x, y)`: the factor reaches the parameter's update and joins the rate.
fn scale_after_product<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (dot, lhs, rhs) = m.dot()?;
    let product = |lhs, rhs| Tensor::apply(Op::Dot(dot.clone()), &[lhs, rhs]);
    if let Some((factor, lhs)) = matched(lhs).scaled() {
        return Some(scale(factor, product(lhs, rhs)));
    }
    let (factor, rhs) = matched(rhs).scaled()?;
    Some(scale(factor, product(lhs, rhs)))
}

/// `dot(c, x)` → `c · x`, summed over the shared labels and repeated along the constant's own.
fn product_with_constant<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (dot, lhs, rhs) = m.dot()?;
    let (factor, index, x) = match (lhs.as_constant(), rhs.as_constant()) {
        (Some(factor), _) => (factor, 1, rhs),
        (_, Some(factor)) => (factor, 0, lhs),
        _ => return None,
    };
    if !is_safe_scale(factor) {
        return None;
    }
    let labels = dot.operand(index);
    let summed: Axes = (0..labels.len()).filter(|&axis| !dot.out().contains(&labels[axis])).collect();
    let kept: Vec<u8> = labels.iter().copied().filter(|label| dot.out().contains(label)).collect();
    let placed: Vec<usize> = dot.out().iter().filter_map(|l| kept.iter().position(|k| k == l)).collect();
    let targets: Vec<usize> = (0..dot.out().len()).filter(|&axis| kept.contains(&dot.out()[axis])).collect();
    let sum = x.sum_repeats(summed).permute(&placed);
    Some(scale(factor, sum).broadcast_in(m.node.shape(), &targets))
}

/// `dot(x, broadcast y)` → `dot(x, y)`, where the broadcast repeats `y` along axes of the result: they are repeated there if
/// they are its own, and share one `y` if they are `x`'s too.
fn product_of_repeats<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (dot, lhs, rhs) = m.dot()?;
    let once = |x: Tensor<'g>, labels: &[u8]| {
        let below = matched(x);
        let (layout @ Layout::Broadcast { shape, axes: targets }, source) = below.layout()? else {
            return None;
        };
        let is_of_result = |&axis: &usize| dot.out().contains(&labels[axis]);
        let repeated: Axes = layout.repeated(source.shape()).iter().filter(is_of_result).collect();
        let (source, kept) = without_axes(source, targets, repeated);
        let stay = (0..labels.len()).filter(|&axis| !repeated.contains(axis)).map(|axis| labels[axis]);
        let x = source.broadcast_in(shape.without(repeated), &kept);
        (!repeated.is_empty()).then(|| (x, stay.collect::<Vec<u8>>()))
    };
    let whole = |x: Tensor<'g>, index: usize| (x, dot.operand(index).to_vec());
    let ((lhs, left), (rhs, right)) = match once(lhs, dot.operand(0)) {
        Some(left) => (left, whole(rhs, 1)),
        None => (whole(lhs, 0), once(rhs, dot.operand(1))?),
    };
    let is_there = |label: &u8| left.contains(label) || right.contains(label);
    let out: Vec<u8> = dot.out().iter().copied().filter(is_there).collect();
    let targets: Vec<usize> = (0..dot.out().len()).filter(|&axis| is_there(&dot.out()[axis])).collect();
    let dot = Dot::new(&left, &right, &out).ok()?;
    Some(Tensor::apply(Op::Dot(dot), &[lhs, rhs]).broadcast_in(m.node.shape(), &targets))
}

/// `c · x`.
pub(super) fn scale<'g>(factor: Scalar, x: Tensor<'g>) -> Tensor<'g> {
    let shape: Shape = x.shape();
    x.graph.literal(factor, shape) * x
}
