//! Rules about parts of tensors: sections of sections are one.

use super::{Match, Rule, matched};
use crate::ops::{Op, Section, Tensor};
use crate::types::Axes;

pub(super) const RULES: &[Rule] = &[Rule { name: "merge sections", rewrite: merge_sections }];

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
