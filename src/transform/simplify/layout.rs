//! Rules about arrangement: layout operators merged, moved and absorbed.

use super::arithmetic::one_number;
use super::{Match, Rule, matched};
use crate::ops::{Dot, Elementwise, Layout, Op, Tensor, is_finer};

pub(super) const RULES: &[Rule] = &[
    Rule { name: "arrange constant", rewrite: arrange_constant },
    Rule { name: "arrange in place", rewrite: arrange_in_place },
    Rule { name: "merge layouts", rewrite: merge_layouts },
    Rule { name: "layout last", rewrite: layout_last },
    Rule { name: "merge axes last", rewrite: merge_axes_last },
    Rule { name: "scale after layout", rewrite: scale_after_layout },
    Rule { name: "absorb transpose", rewrite: absorb_transpose },
    Rule { name: "transpose product", rewrite: transpose_product },
];

/// A layout of a constant, or rows picked from one → a constant of the new shape.
fn arrange_constant<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (Op::Layout(_) | Op::Gather(_)) = m.op else { return None };
    let x = m.operands[0];
    Some(m.node.graph.literal(x.as_constant()?, m.node.shape()))
}

/// A layout operator that changes nothing → its operand.
fn arrange_in_place<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (layout, x) = m.layout()?;
    let unchanged = match layout {
        Layout::Reshape(_) | Layout::Broadcast { .. } => x.shape() == m.node.shape(),
        Layout::Transpose(permutation) => permutation.iter().copied().eq(0..permutation.len()),
    };
    unchanged.then_some(x)
}

/// Two layout operators of a kind → one; a broadcast that repeats nothing → a reshape; a reshape that
/// only inserts or removes axes of extent 1 goes into the broadcast around it.
fn merge_layouts<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (outer, x) = m.layout()?;
    if let Layout::Broadcast { shape, .. } = outer
        && shape.elements() == x.shape().elements()
        && outer.repeated(x.shape()).iter().all(|axis| shape.extents()[axis] == 1)
    {
        return Some(x.reshape(*shape));
    }
    let below = matched(x);
    let (inner, source) = below.layout()?;
    match (outer, inner) {
        (Layout::Reshape(shape), Layout::Reshape(_)) => Some(source.reshape(*shape)),
        (Layout::Transpose(outer), Layout::Transpose(inner)) => {
            let both: Vec<usize> = outer.iter().map(|&axis| inner[axis]).collect();
            Some(source.permute(&both))
        }
        (Layout::Broadcast { shape, axes: outer }, Layout::Broadcast { axes: inner, .. }) => {
            let both: Vec<usize> = inner.iter().map(|&axis| outer[axis]).collect();
            Some(source.broadcast_in(*shape, &both))
        }
        (Layout::Broadcast { shape, axes }, Layout::Reshape(_)) => {
            let axes = axes_without_ones(source, x, axes)?;
            Some(source.broadcast_in(*shape, &axes))
        }
        _ => None,
    }
}

/// Where the axes of `source` go, when `reshaped` differs from it in axes of extent 1 only and its own
/// axes go to `axes`. `None` if an axis of extent 1 has no place to go.
fn axes_without_ones(source: Tensor<'_>, reshaped: Tensor<'_>, axes: &[usize]) -> Option<Vec<usize>> {
    let (from, to) = (source.shape(), reshaped.shape());
    let mut targets = axes.iter().zip(to.extents());
    let mut mapped = Vec::new();
    for &extent in from.extents() {
        if extent == 1 {
            return None; // It would need an axis of its own between its neighbours'.
        }
        mapped.push(*targets.find(|(_, wide)| **wide != 1).filter(|(_, wide)| **wide == extent)?.0);
    }
    targets.all(|(_, wide)| *wide == 1).then_some(mapped)
}

/// `f(broadcast x, broadcast y)` → `broadcast f(x, y)`, where all operands are repeated alike or are constants: the work
/// shrinks to the smaller shape. So too for reshapes and transposes, which meet others further on.
fn layout_last<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let Op::Elementwise(op) = m.op else { return None };
    let behind_factor = |x: Tensor<'g>| matched(x).scaled().map_or(x, |(_, rest)| rest);
    let arranged: Vec<Match<'g>> = m.operands.iter().map(|&x| matched(behind_factor(x))).collect();
    let (layout, small) =
        arranged.iter().find_map(Match::layout).map(|(layout, x)| (layout.clone(), x.shape()))?;
    // Factors are the only ones to go first.
    let is_factor = m.scaled().is_some() && !matches!(layout, Layout::Broadcast { .. });
    if is_factor || matches!(op, Elementwise::StopGradient | Elementwise::Barrier) {
        return None;
    }
    let below = |x: Tensor<'g>| match matched(x).layout() {
        Some((other, source)) if *other == layout && source.shape() == small => Some(source),
        _ => x.as_constant().map(|value| x.graph.literal(value, small)),
    };
    let inner = |&x: &Tensor<'g>| match matched(x).scaled() {
        Some((factor, rest)) => Some(x.graph.literal(factor, small) * below(rest)?),
        None => below(x),
    };
    let inner: Option<Vec<Tensor<'g>>> = m.operands.iter().map(inner).collect();
    let inner = Tensor::apply(m.op.clone(), &inner?);
    Some(Tensor::apply(Op::Layout(layout), &[inner]))
}

/// `f(reshape x, y)` → `reshape f(x, reshape y)`, where the reshape merges axes of what is computed element by element, or
/// repeated: an element of `y` can be found from axes apart, but one of `x` not from merged ones, and `x` would have to be in memory.
///
/// Not where rows stay rows of the same order, as in a batch that is flattened: their sums would then need the memory.
fn merge_axes_last<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let Op::Elementwise(op) = m.op else { return None };
    if m.scaled().is_some() || matches!(op, Elementwise::StopGradient | Elementwise::Barrier) {
        return None;
    }
    let merged = |&x: &Tensor<'g>| {
        let below = matched(x);
        let (Layout::Reshape(coarse), x) = below.layout()? else { return None };
        let source = matched(x);
        let (computed, keeps_rows) = match source.layout() {
            Some((Layout::Transpose(_), x)) => (matched(x).op, false),
            _ => (source.op, x.shape().extents().last() == coarse.extents().last()),
        };
        let is_computed =
            matches!(computed, Op::Elementwise(_) | Op::Layout(Layout::Broadcast { .. })) && !keeps_rows;
        (is_computed && is_finer(x.shape(), *coarse)).then(|| x.shape())
    };
    let fine = m.operands.iter().find_map(merged)?;
    let apart: Vec<Tensor<'g>> = m.operands.iter().map(|x| x.reshape(fine)).collect();
    Some(Tensor::apply(m.op.clone(), &apart).reshape(m.node.shape()))
}

/// `reshape (c · x)` → `c · reshape x`, and so for a transpose: factors move towards the results.
fn scale_after_layout<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (layout, x) = m.layout()?;
    if matches!(layout, Layout::Broadcast { .. }) {
        return None; // The other way round: the smaller product comes first.
    }
    let (factor, rest) = matched(x).scaled().filter(|(_, rest)| one_number(*rest).is_none())?;
    let arranged = Tensor::apply(m.op.clone(), &[rest]);
    Some(m.node.graph.literal(factor, m.node.shape()) * arranged)
}

/// `dot(transpose x, y)` → `dot(x, y)` with the labels permuted.
fn absorb_transpose<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (dot, lhs, rhs) = m.dot()?;
    let transposed = |x: Tensor<'g>, labels: &[u8]| {
        let below = matched(x);
        let (Layout::Transpose(permutation), source) = below.layout()? else { return None };
        let moved = crate::ops::inverse(permutation).iter().map(|&axis| labels[axis]).collect::<Vec<u8>>();
        Some((source, moved))
    };
    let left = transposed(lhs, dot.operand(0));
    let right = transposed(rhs, dot.operand(1));
    if left.is_none() && right.is_none() {
        return None;
    }
    let (lhs, left) = left.unwrap_or_else(|| (lhs, dot.operand(0).to_vec()));
    let (rhs, right) = right.unwrap_or_else(|| (rhs, dot.operand(1).to_vec()));
    let dot = Dot::new(&left, &right, dot.out()).ok()?;
    Some(Tensor::apply(Op::Dot(dot), &[lhs, rhs]))
}

/// `transpose dot(x, y)` → `dot(x, y)` with the result's labels permuted.
fn transpose_product<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (Layout::Transpose(permutation), x) = m.layout()? else { return None };
    let below = matched(x);
    let (dot, lhs, rhs) = below.dot()?;
    let out: Vec<u8> = permutation.iter().map(|&axis| dot.out()[axis]).collect();
    let dot = Dot::new(dot.operand(0), dot.operand(1), &out).ok()?;
    Some(Tensor::apply(Op::Dot(dot), &[lhs, rhs]))
}
