//! Each rule fires on its form and keeps the value: NaN, ±∞ and −0 included.

use super::*;
use crate::graph::Target;
use crate::types::DType::{Bool, F32, F64, I32, I64};
use crate::types::{Shape, Value};

/// Numbers that tell apart what only looks alike.
const SPECIAL: [f64; 9] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1.5, -2.0, 1e-200, 1e200];

/// A rule with an expression over `x` `[9]`, `y` `[9]`, `s` `[]` and `m` `[3, 3]`, the f32 `f` `[9]`, the i64 `n` `[9]`
/// and the bool `p` `[9]`, that it rewrites.
type Case = (&'static str, for<'g> fn(&Leaves<'g>) -> Tensor<'g>);

struct Leaves<'g> {
    x: Tensor<'g>,
    y: Tensor<'g>,
    s: Tensor<'g>,
    m: Tensor<'g>,
    f: Tensor<'g>,
    n: Tensor<'g>,
    p: Tensor<'g>,
}

fn truth<'g>(l: &Leaves<'g>, truth: bool) -> Tensor<'g> {
    l.p.graph.literal(Scalar::Bool(truth), l.p.shape())
}

#[expect(clippy::eq_op, reason = "the same operand twice is what some rules look for")]
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
    ("mask of result", |l| {
        l.x.relu();
        l.x.less_equal(0.0).select(0.0, l.y)
    }),
    ("integer zero", |l| 0.0 * l.n),
    ("integer zero", |l| l.n - l.n),
    ("small power", |l| l.x.pow(0.0)),
    ("small power", |l| l.x.pow(2.0)),
    ("small power", |l| l.x.pow(3.0)),
    ("small power", |l| l.x.pow(4.0)),
    ("small power", |l| l.x.pow(-1.0)),
    ("same operands", |l| l.x.maximum(l.x)),
    ("same operands", |l| l.n.minimum(l.n)),
    ("same operands", |l| l.p | l.p),
    ("done already", |l| l.x.abs().abs()),
    ("done already", |l| (-l.x).abs()),
    ("done already", |l| l.x.sign().sign()),
    ("done already", |l| l.x.floor().floor()),
    ("done already", |l| l.x.round().round()),
    ("negated factors", |l| (-l.x) * (-l.y)),
    ("negated factors", |l| (-l.x) / (-l.y)),
    ("negated factors", |l| (-l.n) * (-l.n)),
    ("logic with constant", |l| l.p & truth(l, true)),
    ("logic with constant", |l| truth(l, false) & l.p),
    ("logic with constant", |l| l.p | truth(l, true)),
    ("logic with constant", |l| l.p | truth(l, false)),
    ("compare with itself", |l| l.x.less(l.x)),
    ("compare with itself", |l| l.x.greater(l.x)),
    ("compare with itself", |l| l.n.equal(l.n)),
    ("compare with itself", |l| l.n.not_equal(l.n)),
    ("compare with itself", |l| l.n.less_equal(l.n)),
    ("nested select", |l| l.p.select(l.p.select(l.x, l.y), -l.x)),
    ("nested select", |l| l.p.select(-l.x, l.p.select(l.x, l.y))),
    ("select of truth", |l| l.p.select(truth(l, true), truth(l, false))),
    ("select of truth", |l| l.p.select(truth(l, false), truth(l, true))),
    ("cast twice", |l| l.f.cast(F64).cast(F32)),
    ("cast twice", |l| l.f.cast(F64).cast(I32)),
    ("cast twice", |l| l.p.cast(I32).cast(F64)),
    ("cast twice", |l| l.x.cast(I32).cast(F64).cast(F32)),
    ("merge sections", |l| l.x.slice(0, 0..9)),
    ("merge sections", |l| l.x.pad(0, 0, 0)),
    ("merge sections", |l| l.x.concat(&[], 0)),
    ("merge sections", |l| l.x.reshape([1, 9]).reverse(0)),
    ("section of constant", |l| l.x.constant_like(3.0).slice(0, 2..5)),
    ("section of constant", |l| l.x.constant_like(3.0).reverse(0)),
    ("section of constant", |l| l.x.constant_like(0.0).pad(0, 1, 2)),
    ("section of constant", |l| l.x.constant_like(-0.0).concat(&[l.x.constant_like(-0.0)], 0)),
    ("merge sections", |l| l.x.slice(0, 2..8).slice(0, 1..4)),
    ("merge sections", |l| l.m.pad(0, 1, 0).pad(1, 2, 1)),
    ("merge sections", |l| l.m.reverse(0).reverse(0)),
    ("merge sections", |l| l.m.reverse(0).reverse(1)),
    ("slice of padded", |l| l.x.pad(0, 2, 3).slice(0, 3..6)),
    ("slice of padded", |l| l.x.pad(0, 2, 3).slice(0, 0..2)),
    ("slice of padded", |l| l.x.pad(0, 2, 3).slice(0, 11..14)),
    ("slice of concatenation", |l| l.x.concat(&[l.y], 0).slice(0, 2..9)),
    ("slice of concatenation", |l| l.x.concat(&[l.y], 0).slice(0, 9..11)),
    ("arrange constant", |l| l.s.constant_like(2.0).broadcast_to([4])),
    ("arrange constant", |l| l.x.constant_like(2.0).take(0, l.x.graph.iota([2, 2], 1, crate::DType::I64))),
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
    ("merge axes last", |l| l.m.exp().reshape([9]) + l.x),
    ("merge axes last", |l| l.m.exp().reshape([1, 9]) * l.x.reshape([1, 9])),
    ("merge axes last", |l| l.p.select(l.x, l.m.exp().transpose().reshape([9]))),
    ("merge axes last", |l| l.x.slice(0, 0..3).broadcast_in(Shape::of(&[3, 3]), &[0]).reshape([9]) - l.y),
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
    ("product of repeats", |l| l.m.matmul(l.x.slice(0, 3..6).reshape([3, 1]).broadcast_to([3, 4]))),
    ("product of repeats", |l| l.x.slice(0, 3..6).broadcast_to([4, 3]).einsum("ab,cb->ca", l.m)),
    ("product of repeats", |l| l.x.reshape([3, 1, 3]).einsum("abc,acd->dab", l.m.broadcast_to([3, 3, 3]))),
    ("slice of padded", |l| l.m.pad_with(0, 1, 2, 7.0).slice(0, 2..5)),
    ("slice of padded", |l| l.m.pad(0, 1, 2).pad(1, 3, 3).slice(1, 4..8)),
    ("slice of padded", |l| l.m.pad(0, 1, 3).slice(0, 5..6)),
    ("scale after slice", |l| (2.0 * l.m).slice(1, 1..3)),
    ("scale after fold", |l| (2.0 * l.m).fold(&[slide(0, 3, 1)], [5])),
    ("scale after fold", |l| (0.5 * l.m.exp()).fold(&[slide(0, 3, 2)], [7])),
    ("slice before windows", |l| {
        l.m.windows(&[slide(1, 2, 1)]).einsum("abc,dc->dab", l.m.slice(1, 0..2)).slice(2, 1..2)
    }),
    ("stride of one window", |l| l.m.slice(0, 0..1).fold(&[slide(0, 3, 7)], [5])),
    ("fold in phases", |l| l.m.fold(&[slide(0, 3, 2)], [7])),
    ("fold in phases", |l| l.m.fold(&[slide(0, 3, 3)], [10])),
    ("fold in phases", |l| l.m.reshape([1, 3, 1, 3]).fold(&[slide(0, 1, 2), slide(1, 3, 2)], [1, 7])),
    ("fold axis by axis", |l| l.m.reshape([1, 3, 1, 3]).fold(&[slide(0, 1, 2), slide(1, 3, 2)], [1, 7])),
];

fn slide(axis: usize, size: usize, stride: usize) -> Slide {
    Slide { axis, size, stride, dilation: 1 }
}

fn leaves(g: &Graph) -> Leaves<'_> {
    let input = |name, shape: &[usize], dtype| g.input(name, Shape::of(shape), dtype);
    Leaves {
        x: input("x", &[9], F64),
        y: input("y", &[9], F64),
        s: input("s", &[], F64),
        m: input("m", &[3, 3], F64),
        f: input("f", &[9], F32),
        n: input("n", &[9], I64),
        p: input("p", &[9], Bool),
    }
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
    let x = Value::from(array(x));
    let n = ndarray::array![i64::MIN, -7, -1, 0, 1, 3, 1 << 40, i64::MAX, turn as i64];
    vec![
        ("f", x.cast(F32)),
        ("p", Value::from(n.mapv(|n| n % 2 != 0))),
        ("n", n.into()),
        ("x", x),
        ("y", array(y).into()),
        ("s", SPECIAL[turn].into()),
        ("m", square.into()),
    ]
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
    let cases: [for<'g> fn(&Leaves<'g>) -> Tensor<'g>; 6] = [
        |l| l.m.einsum("pc,kc->pk", l.m).fold(&[slide(0, 3, 1)], [5]),
        |l| l.m.einsum("kc,pc->pk", l.m).fold(&[slide(0, 3, 2)], [8]),
        |l| l.m.einsum("pc,kc->pk", l.m).fold(&[Slide { dilation: 2, ..slide(0, 3, 1) }], [7]),
        |l| l.m.einsum("ap,bk->abpk", l.m).fold(&[Slide { dilation: 3, ..slide(2, 3, 2) }], [3, 3, 11]),
        |l| l.m.einsum("pq,kl->pqkl", l.m).fold(&[slide(0, 3, 2), slide(1, 3, 2)], [7, 8]),
        |l| l.m.einsum("pq,kl->pqkl", l.m).fold(&[slide(0, 3, 2), slide(1, 3, 4)], [7, 11]),
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

/// A fast rule with an expression that it rewrites, which default rules must leave as it is.
#[expect(clippy::eq_op, reason = "the same operand twice is what some rules look for")]
const FAST_CASES: &[Case] = &[
    ("fast: add zero", |l| 0.0 + l.x),
    ("fast: factor zero", |l| 0.0 * l.x),
    ("fast: factor zero", |l| -0.0 * l.x),
    ("fast: cancel terms", |l| l.x - l.x),
    ("fast: cancel terms", |l| (l.x + l.y) - l.y),
    ("fast: cancel terms", |l| (l.y + l.x) - l.y),
    ("fast: cancel terms", |l| (l.x - l.y) + l.y),
    ("fast: cancel factors", |l| l.x / l.x),
    ("fast: cancel factors", |l| (l.x * l.y) / l.y),
    ("fast: cancel factors", |l| (l.y * l.x) / l.y),
    ("fast: cancel factors", |l| (l.x / l.y) * l.y),
    ("fast: negated difference", |l| -(l.x - l.y)),
    ("fast: divide by constant", |l| l.x / 3.0),
    ("fast: divide by number", |l| l.x / l.s),
    ("fast: power of one half", |l| l.x.pow(0.5)),
    ("fast: power of one half", |l| l.x.pow(-0.5)),
    ("fast: inverse functions", |l| l.x.exp().log()),
    ("fast: inverse functions", |l| l.x.log().exp()),
    ("fast: inverse functions", |l| l.x.expm1().log1p()),
    ("fast: inverse functions", |l| l.x.log1p().expm1()),
    ("fast: square of root", |l| l.x.sqrt() * l.x.sqrt()),
    ("fast: square of root", |l| (l.x * l.x).sqrt()),
    ("fast: product of exponentials", |l| l.x.exp() * l.y.exp()),
];

fn graph_of(y: Tensor<'_>) -> Graph {
    super::super::extract(y.graph, &[(Target::Output("y".into()), y.id)])
}

fn result_of(graph: &Graph) -> Op {
    graph.op(graph.results()[0].1)
}

#[test]
fn fast_rules_fire_only_when_asked_for() {
    for (name, build) in FAST_CASES {
        let rule = FAST_RULES.iter().copied().flatten().find(|rule| rule.name == *name).expect(name);
        let g = Graph::new();
        let l = leaves(&g);
        let y = build(&l);
        let graph = graph_of(y);
        assert_eq!(result_of(&simplify(&graph)), g.op(y.id), "{name} without being asked for");
        assert!((rule.rewrite)(&Match::new(y)).is_some(), "{name} does not fire on\n{g}");
        let fast = simplify_fast(&graph);
        fast.validate().unwrap();
        assert!(fast.to_string() != simplify(&graph).to_string(), "{name}");
        // Right for ordinary numbers.
        let ordinary =
            |seed: f64| Value::from(ndarray::Array1::from_shape_fn(9, |i| 0.5 + (i as f64 * seed) % 1.0));
        let given = [("x", ordinary(0.37)), ("y", ordinary(0.61)), ("s", Value::from(1.75))];
        let used = |graph: &Graph| {
            let leaves = given.iter().filter(|leaf| graph.leaf(leaf.0).is_some());
            let mut leaves = leaves.map(|(name, value)| (name.to_string(), value.clone())).collect();
            graph.interpret_results(&mut leaves).unwrap()["y"].to_f64()
        };
        for (e, a) in used(&graph).into_iter().zip(used(&fast)) {
            assert!((e - a).abs() <= 1e-14 * e.abs().max(1.0), "{name}: {e} became {a}");
        }
    }
    let has_case = |rule: &&Rule| FAST_CASES.iter().any(|case| case.0 == rule.name);
    assert!(FAST_RULES.iter().copied().flatten().all(|rule| has_case(&rule)));
}

/// One walk is enough, whatever the rules make on their way: the work is linear in the size of the graph.
#[test]
fn the_effort_is_linear() {
    type Step = for<'g> fn(Tensor<'g>, &Leaves<'g>, usize) -> Tensor<'g>;
    const CHAINS: [(&str, Step); 7] = [
        ("negations", |y, _, _| -y),
        ("transposes", |y, _, _| y.transpose()),
        ("negations and transposes", |y, _, i| if i % 2 == 0 { -y } else { y.transpose() }),
        ("factors and transposes", |y, _, i| if i % 2 == 0 { 1.25 * y } else { y.transpose() }),
        ("reshapes and sums", |y, l, i| if i % 2 == 0 { y.reshape([9]).reshape([3, 3]) } else { y + l.m }),
        ("products of transposes", |y, l, i| {
            if i % 8 == 0 { (2.0 * y).transpose().matmul(l.m) } else { y.transpose() }
        }),
        ("arithmetic", |y, l, i| match i % 4 {
            0 => 2.0 * y,
            1 => y * l.m + y,
            2 => y.sin() / 2.0,
            _ => y + i as f64,
        }),
    ];
    for (name, step) in CHAINS {
        for length in [1_000, 10_000] {
            let g = Graph::new();
            let l = leaves(&g);
            let graph = graph_of((0..length).fold(l.m, |y, i| step(y, &l, i)));
            let started = std::time::Instant::now();
            let (simple, effort) = to_fixed_point(&graph, RULES);
            let spent = started.elapsed();
            println!("{name}: {} nodes, {} in the end, {effort:?}, {spent:?}", graph.len(), simple.len());
            assert_eq!(effort.passes, 1, "{name}");
            assert!(effort.attempts < 6 * graph.len() + 100, "{name}: {effort:?} for {} nodes", graph.len());
            let again = to_fixed_point(&simple, RULES).0;
            assert_eq!(simple.to_string(), again.to_string(), "{name}");
        }
    }
}

#[test]
fn a_derived_gradient_takes_one_walk() {
    let g = Graph::new();
    let l = leaves(&g);
    let y = (0..50).fold(l.m, |y, i| (y.matmul(l.m).tanh() * 0.5 + y).permute(&[1, 0]) / f64::from(i + 1));
    let loss = y.square().mean(..);
    let gradient = g.grad(loss, &[l.m]).unwrap()[0];
    let (simple, effort) = to_fixed_point(&graph_of(gradient), RULES);
    assert_eq!(effort.passes, 1, "{effort:?}");
    assert_eq!(simple.to_string(), simplify(&simple).to_string());
}
