//! Rules about parts of tensors: sections of sections are merged.

use super::reduction::scale;
use super::{Match, Rule, matched};
use crate::ops::{Op, Section, Tensor};
use crate::types::{Axes, Shape};

pub(super) const RULES: &[Rule] = &[
    Rule { name: "merge sections", rewrite: merge_sections },
    Rule { name: "slice of padded", rewrite: slice_of_padded },
    Rule { name: "scale after slice", rewrite: scale_after_slice },
    Rule { name: "section of constant", rewrite: section_of_constant },
    Rule { name: "slice of concatenation", rewrite: slice_of_concatenation },
];

/// Two slices, two pads with the same number, or two reversals → one; a pad of nothing, a slice of everything, a reversal
/// of extents of 1 → the operand.
fn merge_sections<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (outer, x) = m.section()?;
    let unchanged = match outer {
        Section::Slice { .. } | Section::Pad { .. } => x.shape() == m.node.shape(),
        Section::Concat { .. } => m.operands.len() == 1,
        Section::Reverse { axes } => axes.iter().all(|axis| x.shape().extents()[axis] == 1),
    };
    if unchanged {
        return Some(x);
    }
    let below = matched(x);
    let (inner, source) = below.section()?;
    let sum = |a: &[usize], b: &[usize]| a.iter().zip(b).map(|(a, b)| a + b).collect();
    let merged = match (outer, inner) {
        (Section::Slice { start: outer, shape }, Section::Slice { start: inner, .. }) => {
            Section::Slice { start: sum(outer, inner), shape: *shape }
        }
        (Section::Pad { start: outer, shape, value }, Section::Pad { start: inner, value: below, .. })
            if value == below =>
        {
            Section::Pad { start: sum(outer, inner), shape: *shape, value: *value }
        }
        (Section::Reverse { axes: outer }, Section::Reverse { axes: inner }) => {
            let once = |axis: &usize| outer.contains(*axis) != inner.contains(*axis);
            Section::Reverse { axes: (0..x.shape().rank()).filter(once).collect::<Axes>() }
        }
        _ => return None,
    };
    Some(Tensor::apply(Op::Section(merged), &[source]))
}

/// `slice(c · x)` → `c · slice(x)`: factors move towards the results, and fewer elements are multiplied.
fn scale_after_slice<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (Section::Slice { .. }, x) = m.section()? else { return None };
    let (factor, rest) = matched(x).scaled()?;
    Some(scale(factor, Tensor::apply(m.op.clone(), &[rest])))
}

/// `slice(pad x)` → `pad(slice x)`: no more is padded than is looked at. A constant, where only padding is.
fn slice_of_padded<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (Section::Slice { start: from, shape }, padded) = m.section()? else { return None };
    let below = matched(padded);
    let (Section::Pad { start: at, value, .. }, x) = below.section()? else { return None };
    let (mut start, mut inner, mut extents) = (Vec::new(), Vec::new(), Vec::new());
    for (axis, &extent) in x.shape().extents().iter().enumerate() {
        let low = from[axis].max(at[axis]);
        let high = (from[axis] + shape.extents()[axis]).min(at[axis] + extent);
        if low >= high {
            return Some(m.node.graph.literal(*value, *shape));
        }
        start.push(low - from[axis]);
        inner.push(low - at[axis]);
        extents.push(high - low);
    }
    let x = Tensor::apply(Op::Section(Section::Slice { start: inner, shape: Shape::of(&extents) }), &[x]);
    Some(Tensor::apply(Op::Section(Section::Pad { start, shape: *shape, value: *value }), &[x]))
}

/// A section of a constant, padded with the same number if at all → a constant.
fn section_of_constant<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (section, x) = m.section()?;
    let constant = x.as_constant()?;
    let stays = match section {
        Section::Slice { .. } | Section::Reverse { .. } => true,
        Section::Pad { value, .. } => constant == *value,
        Section::Concat { .. } => m.operands.iter().all(|part| part.as_constant() == Some(constant)),
    };
    stays.then(|| m.node.graph.literal(constant, m.node.shape()))
}

/// A slice of a concatenation that lies in one part → a slice of that part.
fn slice_of_concatenation<'g>(m: &Match<'g>) -> Option<Tensor<'g>> {
    let (Section::Slice { start, shape }, joined) = m.section()? else { return None };
    let below = matched(joined);
    let (Section::Concat { axis }, _) = below.section()? else { return None };
    let (from, to) = (start[*axis], start[*axis] + shape.extents()[*axis]);
    let mut begin = 0;
    for part in &below.operands {
        let end = begin + part.shape().extents()[*axis];
        if from >= begin && to <= end {
            let mut start = start.clone();
            start[*axis] -= begin;
            return Some(Tensor::apply(Op::Section(Section::Slice { start, shape: *shape }), &[*part]));
        }
        begin = end;
    }
    None
}
