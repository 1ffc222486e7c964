//! Each rule fires on its form and keeps the value: NaN, ±∞ and −0 included.

use super::*;
use crate::types::{DType::F64, Shape, Value};

/// Numbers that tell apart what only looks alike.
const SPECIAL: [f64; 9] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1.5, -2.0, 1e-200, 1e200];

/// A rule with an expression over `x` `[9]`, `y` `[9]`, `s` `[]` and `m` `[3, 3]` that it rewrites.
type Case = (&'static str, for<'g> fn(&Leaves<'g>) -> Tensor<'g>);

struct Leaves<'g> {
    x: Tensor<'g>,
    y: Tensor<'g>,
    s: Tensor<'g>,
    m: Tensor<'g>,
}

const CASES: &[Case] = &[
    ("derived already", |l| l.x.exp().custom_vjp(&[l.x], |_, _, dy| vec![dy])),
    ("fold constants", |l| l.x.constant_like(2.0) / l.x.constant_like(-0.0)),
    ("fold constants", |l| l.x.constant_like(2.0).less(l.x.constant_like(3.0))),
    ("constant first", |l| l.x + 2.0),
    ("constant first", |l| l.x * 2.0),
    ("identity", |l| -0.0 + l.x),
    ("identity", |l| 1.0 * l.x),
    ("identity", |l| l.x - 0.0),
    ("identity", |l| l.x / 1.0),
    ("identity", |l| l.x.pow(1.0)),
    ("double negation", |l| -(-l.x)),
    ("double negation", |l| !(!l.x.less(l.y))),
    ("add negated", |l| l.x + (-l.y)),
    ("add negated", |l| (-l.x) + l.y),
    ("add negated", |l| l.x - (-l.y)),
    ("add to itself", |l| l.x + l.x),
    ("negate factor", |l| -(2.0 * l.x)),
    ("merge factors", |l| 3.0 * (2.0 * l.x)),
    ("merge factors", |l| l.s * (2.0 * l.x)),
    ("factor first", |l| (2.0 * l.x) * l.y),
    ("scale the smaller", |l| 2.0 * (l.m.sum(0).broadcast_to([3, 3]) * l.m)),
    ("scale the smaller", |l| 3.0 * (l.x * l.s.broadcast_to([9]))),
    ("scale after select", |l| l.x.less(l.y).select(2.0 * l.x, 0.0)),
    ("scale after select", |l| l.x.less(l.y).select(0.0, 3.0 * l.y)),
    ("add again", |l| (l.x + l.y) + l.y),
    ("add again", |l| l.y + (l.y + l.x)),
    ("add multiples", |l| 2.0 * l.x + l.x),
    ("add multiples", |l| 2.0 * l.x + 4.0 * l.x),
    ("divide by power of two", |l| l.x / 4.0),
    ("decided select", |l| l.x.graph.literal(Scalar::Bool(true), l.x.shape()).select(l.x, l.y)),
    ("decided select", |l| l.x.less(l.y).select(l.x, l.x)),
    ("decided select", |l| (!l.x.less(l.y)).select(l.x, l.y)),
    ("arrange constant", |l| l.s.constant_like(2.0).broadcast_to([4])),
    ("arrange in place", |l| l.m.permute(&[0, 1])),
    ("merge layouts", |l| l.m.reshape([9, 1]).reshape([1, 9])),
    ("merge layouts", |l| l.m.transpose().transpose()),
    ("merge layouts", |l| l.s.broadcast_to([3]).broadcast_to([2, 3])),
    ("merge layouts", |l| l.x.reshape([9, 1]).broadcast_to([1, 9, 1])),
    ("merge layouts", |l| l.x.reshape([1, 9]).broadcast_to([2, 4, 9])),
    ("layout last", |l| l.s.broadcast_to([4]).exp()),
    ("layout last", |l| l.s.broadcast_to([4]) + 2.0),
    ("layout last", |l| l.m.transpose().exp()),
    ("layout last", |l| 1.0 + 2.0 * l.m.transpose()),
    ("layout last", |l| l.x.reshape([3, 3]) / (2.0 * l.y.reshape([3, 3]))),
    ("layout last", |l| l.x.less(l.y).reshape([9, 1]).select(l.x.reshape([9, 1]), 2.0)),
    ("scale after layout", |l| (2.0 * l.m).reshape([9])),
    ("scale after layout", |l| (2.0 * l.m).transpose()),
    ("absorb transpose", |l| l.m.transpose().matmul(l.m)),
    ("transpose product", |l| l.m.einsum("ab,bc->ac", l.m).transpose()),
    ("reduce one element", |l| l.x.reshape([9, 1]).sum(1)),
    ("reduce one element", |l| l.x.reshape([9, 1]).max(1)),
    ("reduce constant", |l| l.m.constant_like(2.0).sum(0)),
    ("reduce constant", |l| l.m.constant_like(2.0).max(..)),
    ("sum of repeats", |l| l.x.broadcast_to([4, 9]).sum(0)),
    ("sum of repeats", |l| l.x.reshape([9, 1]).broadcast_to([9, 3]).sum(1)),
    ("merge sums", |l| l.m.sum(1).sum(0)),
    ("merge sums", |l| l.m.max(0).max(0)),
    ("reduce rearranged", |l| l.m.reshape([9]).sum(..)),
    ("reduce rearranged", |l| l.m.transpose().max(..)),
    ("scale after sum", |l| (2.0 * l.m).sum(0)),
    ("scale after product", |l| (2.0 * l.m).matmul(l.m)),
    ("scale after product", |l| l.m.matmul(2.0 * l.m)),
    ("product with constant", |l| l.m.constant_like(2.0).matmul(l.m)),
    ("product with constant", |l| l.m.einsum("ab,bc->ca", l.m.constant_like(0.5))),
    ("merge sections", |l| l.x.slice(0, 1..8).slice(0, 2..4)),
    ("merge sections", |l| l.m.pad(0, 1, 0).pad(1, 2, 1)),
    ("merge sections", |l| l.m.reverse(0).reverse(1)),
    ("merge sections", |l| l.m.reverse(0).reverse(0)),
    ("merge sections", |l| l.x.pad(0, 0, 0)),
    ("slice of padded", |l| l.m.pad_with(0, 1, 2, 7.0).slice(0, 2..5)),
    ("slice of padded", |l| l.m.pad(0, 1, 2).pad(1, 3, 3).slice(1, 4..8)),
    ("slice of padded", |l| l.m.pad(0, 1, 3).slice(0, 5..6)),
    ("slice before windows", |l| {
        l.m.windows(&[slide(1, 2, 1)]).einsum("abc,dc->dab", l.m.slice(1, 0..2)).slice(2, 1..2)
    }),
    ("fold in phases", |l| l.m.fold(&[slide(0, 3, 2)], [7])),
    ("fold in phases", |l| l.m.fold(&[slide(0, 3, 3)], [10])),
    ("fold in phases", |l| l.m.reshape([1, 3, 1, 3]).fold(&[slide(0, 1, 2), slide(1, 3, 2)], [1, 7])),
    ("fold axis by axis", |l| l.m.reshape([1, 3, 1, 3]).fold(&[slide(0, 1, 2), slide(1, 3, 2)], [1, 7])),
];

fn slide(axis: usize, size: usize, stride: usize) -> Slide {
    Slide { axis, size, stride, dilation: 1 }
}

fn leaves(g: &Graph) -> Leaves<'_> {
    let input = |name, shape: &[usize]| g.input(name, Shape::of(shape), F64);
    Leaves { x: input("x", &[9]), y: input("y", &[9]), s: input("s", &[]), m: input("m", &[3, 3]) }
}

/// Values of the leaves: the special numbers in turn, so that each meets each.
fn values(turn: usize) -> Vec<(&'static str, Value)> {
    let x: Vec<f64> = SPECIAL.to_vec();
    let mut y = x.clone();
    y.rotate_left(turn);
    // Sums of special numbers overflow or cancel in an order of their own; one at a time is enough there.
    let mut m = vec![0.5, -1.25, 3.0, 2.0, -0.75, 1.0, 4.0, -2.5, 0.125];
    if SPECIAL[turn].abs() != 1e200 {
        m[turn] = SPECIAL[turn];
    }
    let array = |values: Vec<f64>| ndarray::Array1::from(values);
    let square = ndarray::Array2::from_shape_fn((3, 3), |(i, j)| m[3 * i + j]);
    vec![("x", array(x).into()), ("y", array(y).into()), ("s", SPECIAL[turn].into()), ("m", square.into())]
}

/// Equal in all but the last bits; NaN, infinities and the sign of zero exactly.
fn is_same(a: f64, b: f64) -> bool {
    let near = (a - b).abs() <= 1e-15 * a.abs();
    a.is_nan() && b.is_nan()
        || a == b && (a != 0.0 || a.is_sign_negative() == b.is_sign_negative())
        || near && a != 0.0
}

#[test]
fn every_rule_fires_and_keeps_the_value() {
    for (name, build) in CASES {
        let rule = RULES.iter().copied().flatten().find(|rule| rule.name == *name).expect(name);
        let g = Graph::new();
        let before = build(&leaves(&g));
        let after =
            (rule.rewrite)(&Match::new(before)).unwrap_or_else(|| panic!("{name} does not fire on\n{g}"));
        assert_ne!(before.id, after.id, "{name}");
        assert_eq!(before.ty(), after.ty(), "{name}");
        g.validate().unwrap();
        for turn in 0..SPECIAL.len() {
            let given = values(turn);
            let result = g.interpret(&[("before", before), ("after", after)], &given).unwrap();
            let pairs = result["before"].to_f64().into_iter().zip(result["after"].to_f64());
            for (expected, actual) in pairs {
                assert!(
                    is_same(expected, actual),
                    "{name}: {expected:?} became {actual:?} on turn {turn}\n{g}"
                );
            }
        }
    }
}

#[test]
fn every_rule_has_a_case() {
    for rule in RULES.iter().copied().flatten().filter(|rule| rule.name != "fold of product") {
        assert!(CASES.iter().any(|case| case.0 == rule.name), "no case for `{}`", rule.name);
    }
}

/// Windows over the border multiply by the zeros of the padding: that changes no number but the sign of a zero, unless a
/// weight is infinite or NaN. What was infinite or NaN is so afterwards.
#[test]
fn fold_of_product_keeps_numbers_and_hides_no_nan() {
    let rule = window::RULES.iter().find(|rule| rule.name == "fold of product").unwrap();
    let cases: [for<'g> fn(&Leaves<'g>) -> Tensor<'g>; 4] = [
        |l| l.m.einsum("pc,kc->pk", l.m).fold(&[slide(0, 3, 1)], [5]),
        |l| l.m.einsum("kc,pc->pk", l.m).fold(&[slide(0, 3, 2)], [8]),
        |l| l.m.einsum("pc,kc->pk", l.m).fold(&[Slide { dilation: 2, ..slide(0, 3, 1) }], [7]),
        |l| l.m.einsum("ap,bk->abpk", l.m).fold(&[Slide { dilation: 3, ..slide(2, 3, 2) }], [3, 3, 11]),
    ];
    for (case, build) in cases.into_iter().enumerate() {
        let g = Graph::new();
        let before = build(&leaves(&g));
        let after = (rule.rewrite)(&Match::new(before)).unwrap();
        assert_eq!(before.ty(), after.ty());
        assert!(
            g.reachable([after.id])
                .iter()
                .zip(g.ids())
                .all(|(needed, id)| !needed || !matches!(g.op(id), Op::Window(Window::Fold(..))))
        );
        g.validate().unwrap();
        for turn in 0..SPECIAL.len() {
            let given = values(turn);
            let result = g.interpret(&[("before", before), ("after", after)], &given).unwrap();
            let is_tame =
                given.iter().any(|(name, m)| *name == "m" && m.to_f64().iter().all(|x| x.is_finite()));
            for (expected, actual) in result["before"].to_f64().into_iter().zip(result["after"].to_f64()) {
                let near = (expected - actual).abs() <= 1e-15 * expected.abs();
                let is_kept = if is_tame { near } else { expected.is_finite() || !actual.is_finite() };
                assert!(is_kept, "case {case}: {expected:?} became {actual:?} on turn {turn}\n{g}");
            }
        }
    }
}

/// What looks like an identity and is none.
#[test]
fn unsafe_rewrites_are_not_made() {
    let g = Graph::new();
    let l = leaves(&g);
    let kept =
        [0.0 + l.x, 0.0 * l.x, l.x - l.x, l.x / l.x, (l.x * l.y) / l.y, l.x.sqrt() * l.x.sqrt(), l.x / 3.0];
    for tensor in kept {
        let simplified =
            simplify(&super::super::extract(&g, &[(crate::graph::Target::Output("kept".into()), tensor.id)]));
        let (_, result) = simplified.results()[0].clone();
        assert_eq!(simplified.op(result), g.op(tensor.id));
    }
}

#[test]
fn ten_thousand_nodes_reach_a_fixed_point() {
    let g = Graph::new();
    let l = leaves(&g);
    let y = (0..2_500).fold(l.x, |x, i| ((2.0 * x) * l.y + x).sin() / 2.0 + f64::from(i));
    let graph = super::super::extract(&g, &[(crate::graph::Target::Output("y".into()), y.id)]);
    let once = simplify(&graph);
    assert_eq!(once.to_string(), simplify(&once).to_string());
}
