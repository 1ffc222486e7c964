//! Loops and branches: against the same turns written out in Rust, against differences, and compiled against
//! interpreted.

mod common;

use common::loops::{halved, named};
use common::{assert_compiles_right, assert_gradient_right, distance, value_for};
use hitofude::ops::{Leaf, Op, Turn};
use hitofude::prelude::*;

/// A loop to be tested: starts, slices and captured tensors by shape, and one turn.
struct Case {
    name: &'static str,
    starts: &'static [&'static [usize]],
    slices: &'static [&'static [usize]],
    captured: &'static [&'static [usize]],
    turn: for<'g> fn(&[Tensor<'g>], &[Tensor<'g>], &[Tensor<'g>]) -> Turn<'g>,
}

const CASES: &[Case] = &[
    Case {
        name: "running mean",
        starts: &[&[]],
        slices: &[&[]],
        captured: &[&[]],
        turn: |c, x, w| {
            let decay = w[0].sigmoid();
            let mean = decay * c[0] + (1.0 - decay) * x[0];
            (vec![mean], vec![mean])
        },
    },
    Case {
        name: "recurrent cell",
        starts: &[&[3]],
        slices: &[&[2]],
        captured: &[&[3, 3], &[3, 2], &[3]],
        turn: |c, x, w| {
            let h = (c[0].linear(w[0], w[2]) + x[0].matmul(w[1].transpose())).tanh();
            (vec![h], vec![h * 2.0])
        },
    },
    Case {
        name: "two carries of different types",
        starts: &[&[2, 2], &[2]],
        slices: &[],
        captured: &[&[2]],
        turn: |c, _, w| {
            let a = (c[0] * 0.5 + w[0].unsqueeze(0)).sin();
            (vec![a, a.sum(0) * c[1]], vec![a.exp(), c[1]])
        },
    },
    Case {
        name: "no carry",
        starts: &[],
        slices: &[&[2], &[2]],
        captured: &[&[]],
        turn: |_, x, w| (vec![], vec![(x[0] * x[1]).tanh() * w[0]]),
    },
    Case {
        name: "carries that change places",
        starts: &[&[2], &[2]],
        slices: &[&[]],
        captured: &[],
        turn: |c, x, _| (vec![c[1], c[0] * x[0]], vec![]),
    },
    Case {
        name: "results that no turn changes",
        starts: &[&[2], &[2]],
        slices: &[&[2]],
        captured: &[&[2]],
        turn: |c, x, w| (vec![c[0], w[0] * w[0]], vec![w[0], x[0], c[0] * c[1], c[1].constant_like(3.0)]),
    },
    Case {
        name: "a carry rotated",
        starts: &[&[4]],
        slices: &[&[4]],
        captured: &[],
        turn: |c, x, _| {
            let turned = c[0].slice(0, 1..4).concat(&[c[0].slice(0, 0..1)], 0);
            (vec![turned * x[0].cos()], vec![c[0].reverse(0)])
        },
    },
    Case {
        name: "a count beside a sum",
        starts: &[&[]],
        slices: &[&[3]],
        captured: &[&[3]],
        turn: |c, x, w| {
            let count = c[0].cast(I32) + 1.0;
            let share = (x[0] * w[0]).sum(..) / (count.cast(F64).abs() + 1.0);
            (vec![c[0] + share], vec![share, share.square()])
        },
    },
];

/// The same turns, one after the other.
fn written_out<'g>(
    case: &Case,
    length: usize,
    backward: bool,
    starts: &[Tensor<'g>],
    xs: &[Tensor<'g>],
    captured: &[Tensor<'g>],
) -> Turn<'g> {
    let (mut carries, mut rows) = (starts.to_vec(), vec![Vec::new(); length]);
    for turn in 0..length {
        let position = if backward { length - 1 - turn } else { turn };
        let slices: Vec<Tensor<'_>> = xs.iter().map(|x| x.index(0, position)).collect();
        let (next, given) = (case.turn)(&carries, &slices, captured);
        (carries, rows[position]) = (next, given);
    }
    let stack = |row: usize| rows[0][row].stack(&rows[1..].iter().map(|r| r[row]).collect::<Vec<_>>(), 0);
    let count = rows.first().map_or(0, Vec::len);
    (carries, (0..count).map(stack).collect())
}

fn shape(leading: Option<usize>, extents: &[usize]) -> Shape {
    Shape::new(&leading.into_iter().chain(extents.iter().copied()).collect::<Vec<_>>()).unwrap()
}

fn total_weights(g: &Graph, shape: Shape, index: usize) -> Tensor<'_> {
    (g.iota([shape.elements()], 0, F64) * 0.7 + index as f64).cos().reshape(shape)
}

/// A weighted sum of all results, so that no two elements' cotangents are alike.
fn total<'g>(g: &'g Graph, (carries, stacks): &Turn<'g>) -> Tensor<'g> {
    let weighted =
        |(index, result): (usize, &Tensor<'g>)| (*result * total_weights(g, result.shape(), index)).sum(..);
    carries.iter().chain(stacks).enumerate().map(weighted).reduce(|a, b| a + b).unwrap()
}

struct Built<'g> {
    leaves: Vec<(String, Tensor<'g>)>,
    scanned: Turn<'g>,
    written: Turn<'g>,
}

fn build<'g>(g: &'g Graph, case: &Case, length: usize, backward: bool) -> Built<'g> {
    let mut leaves = Vec::new();
    let mut declare = |kind: &str, leading: Option<usize>, shapes: &[&[usize]]| -> Vec<Tensor<'g>> {
        let input = |(index, extents): (usize, &&[usize])| {
            let name = format!("{kind}{index}");
            let tensor = g.input(&name, shape(leading, extents), F64);
            leaves.push((name, tensor));
            tensor
        };
        shapes.iter().enumerate().map(input).collect()
    };
    let starts = declare("start", None, case.starts);
    let xs = declare("xs", Some(length), case.slices);
    let captured = declare("captured", None, case.captured);
    let turn = |carry: &[Tensor<'g>], x: &[Tensor<'g>]| Ok((case.turn)(carry, x, &captured));
    let scanned = match (backward, xs.is_empty()) {
        (_, true) => g.repeat(length, &starts, |carry| turn(carry, &[])),
        (false, false) => g.scan(&starts, &xs, turn),
        (true, false) => g.scan_backward(&starts, &xs, turn),
    };
    let backward = backward && !xs.is_empty();
    Built {
        scanned: scanned.unwrap_or_else(|error| panic!("{}: {error}", case.name)),
        written: written_out(case, length, backward, &starts, &xs, &captured),
        leaves,
    }
}

/// The results, their weighted sum, its gradient, and derivatives of that in reverse and in forward mode.
fn derived<'g>(g: &'g Graph, turn: &Turn<'g>, wrt: &[Tensor<'g>]) -> Vec<(String, Tensor<'g>)> {
    let y = total(g, turn);
    let first = g.grad(y, wrt).unwrap();
    let slope = first.iter().map(|dx| dx.sin().sum(..)).reduce(|a, b| a + b).unwrap();
    let second = g.grad(slope, wrt).unwrap();
    let directions: Vec<_> = wrt.iter().map(|&x| (x, x.cos())).collect();
    let forward = [g.jvp(y, &directions).unwrap(), g.jvp(slope, &directions).unwrap()];
    let all = turn.0.iter().chain(&turn.1).copied().chain([y]).chain(first).chain(second).chain(forward);
    all.enumerate().map(|(index, x)| (format!("{index:03}"), x)).collect()
}

fn check(case: &Case, length: usize, backward: bool) {
    let g = Graph::new();
    let Built { leaves, scanned, written } = build(&g, case, length, backward);
    let given: Vec<(&str, Value)> =
        leaves.iter().enumerate().map(|(seed, (name, x))| (&**name, value_for(*x, seed as u64))).collect();
    let wrt: Vec<Tensor<'_>> = leaves.iter().map(|leaf| leaf.1).collect();
    let [scanned_results, written_results] = [&scanned, &written].map(|turn| derived(&g, turn, &wrt));
    let expected = g.interpret(&named(&written_results), &given).unwrap();
    let actual = g.interpret(&named(&scanned_results), &given).unwrap();
    for (name, expected) in &expected {
        let apart = distance(expected, &actual[name]);
        assert!(apart < 1e-12, "{}, {length} turns: result {name} is {apart:e} apart", case.name);
    }
    assert_gradient_right(&g, total(&g, &scanned), &named(&leaves), &given);
    assert_compiles_right(&g, &named(&scanned_results), &given, 1e-11);
}

#[test]
fn a_loop_is_its_turns() {
    for case in CASES {
        for (length, backward) in [(1, false), (2, true), (4, false), (3, true)] {
            check(case, length, backward);
        }
    }
}

/// Every node of a derived loop, as an output of its own.
#[test]
fn loops_can_be_verified() {
    let g = Graph::new();
    let Built { leaves, scanned, .. } = build(&g, &CASES[1], 3, true);
    let given: Vec<(&str, Value)> = leaves.iter().map(|(name, x)| (&**name, value_for(*x, 7))).collect();
    let wrt: Vec<Tensor<'_>> = leaves.iter().map(|leaf| leaf.1).collect();
    let found = g.verify(total(&g, &scanned), &wrt, &given).unwrap();
    assert!(found.native < 1e-13 && found.gradient < 1e-8 && found.derivatives == 27, "{found:?}");
}

#[test]
fn no_turn_at_all() {
    for case in CASES {
        let g = Graph::new();
        let Built { leaves, scanned, .. } = build(&g, case, 0, false);
        let wrt: Vec<Tensor<'_>> = leaves.iter().map(|leaf| leaf.1).collect();
        let given: Vec<(&str, Value)> = leaves.iter().map(|(name, x)| (&**name, value_for(*x, 1))).collect();
        let y = total(&g, &scanned);
        let gradients = g.grad(y, &wrt).unwrap();
        let outputs = scanned.0.iter().chain(&scanned.1).copied().chain(gradients);
        let outputs: Vec<(String, Tensor<'_>)> =
            outputs.enumerate().map(|(index, x)| (index.to_string(), x)).collect();
        for (carry, start) in scanned.0.iter().zip(&wrt) {
            assert_eq!(
                g.interpret(&[("c", *carry)], &given).unwrap(),
                g.interpret(&[("c", *start)], &given).unwrap()
            );
        }
        assert_compiles_right(&g, &named(&outputs), &given, 1e-13);
    }
}

fn row(value: &Value, sample: usize) -> Value {
    value.array::<f64>().unwrap().index_axis(ndarray::Axis(0), sample).into()
}

/// Holds a batch against each of its samples, in values and gradients; `mapped` are the leaves that differ.
fn assert_batch_is_each_sample<'g>(
    g: &'g Graph,
    what: &str,
    results: &[Tensor<'g>],
    leaves: &[(String, Tensor<'g>)],
    mapped: &[usize],
) {
    const SAMPLES: usize = 3;
    let many: Vec<Tensor<'g>> = (mapped.iter())
        .map(|&at| {
            g.input(
                &format!("{} of {what}", leaves[at].0),
                shape(Some(SAMPLES), leaves[at].1.shape().extents()),
                F64,
            )
        })
        .collect();
    let pairs: Vec<_> = mapped.iter().zip(&many).map(|(&at, &xs)| (leaves[at].1, xs)).collect();
    let one: Vec<Tensor<'g>> = pairs.iter().map(|pair| pair.0).collect();
    let slopes = g.grad(total(g, &(results.to_vec(), vec![])), &one).unwrap();
    let single: Vec<(String, Tensor<'g>)> =
        (results.iter().chain(&slopes).enumerate()).map(|(index, &x)| (index.to_string(), x)).collect();
    let batched: Vec<(String, Tensor<'g>)> = (single.iter())
        .map(|(name, x)| (name.clone(), g.vmap(*x, &pairs).unwrap_or_else(|error| panic!("{what}: {error}"))))
        .collect();
    // The gradient of all samples' sum is each sample's gradient.
    let sum = results.iter().map(|x| g.vmap(*x, &pairs).unwrap()).enumerate();
    let sum = sum.map(|(index, all)| {
        let weights = total_weights(g, results[index].shape(), index);
        (all * weights).sum(..)
    });
    let outer = g.grad(sum.reduce(|a, b| a + b).unwrap(), &many).unwrap();
    let given = |x: &Tensor<'g>, seed: usize| value_for(*x, seed as u64 + 5);
    let mut values: Vec<(&str, Value)> =
        leaves.iter().enumerate().map(|(seed, (name, x))| (&**name, given(x, seed))).collect();
    let names: Vec<String> = many.iter().map(|x| leaf_name(*x)).collect();
    let samples: Vec<(&str, Value)> =
        names.iter().zip(&many).enumerate().map(|(seed, (name, x))| (&**name, given(x, seed + 20))).collect();
    let all = [&values[..], &samples].concat();
    let outer: Vec<(String, Tensor<'g>)> =
        outer.into_iter().enumerate().map(|(index, x)| (format!("outer{index}"), x)).collect();
    let outputs = [&named(&batched)[..], &named(&outer)].concat();
    let together = g.interpret(&outputs, &all).unwrap();
    for sample in 0..SAMPLES {
        for (&at, (_, many)) in mapped.iter().zip(&samples) {
            values[at].1 = row(many, sample);
        }
        let alone = g.interpret(&named(&single), &values).unwrap();
        for (name, alone) in &alone {
            let apart = distance(alone, &row(&together[name], sample));
            assert!(apart < 1e-12, "{what}: result {name} of sample {sample} is {apart:e} apart\n{g}");
        }
        for index in 0..slopes.len() {
            let alone = &alone[&(results.len() + index).to_string()];
            let apart = distance(alone, &row(&together[&format!("outer{index}")], sample));
            assert!(apart < 1e-12, "{what}: gradient {index} of sample {sample} is {apart:e} apart");
        }
    }
    assert_compiles_right(g, &outputs, &all, 1e-11);
}

fn leaf_name(x: Tensor<'_>) -> String {
    match x.graph().nodes().nth(x.id().index()).unwrap().op {
        Op::Leaf(Leaf::Input { name, .. } | Leaf::State { name, .. }) => name.to_string(),
        op => panic!("{op} is no leaf"),
    }
}

#[test]
fn a_batch_of_loops_is_each_of_them() {
    for case in CASES {
        let g = Graph::new();
        let Built { leaves, scanned: (carries, stacks), .. } = build(&g, case, 3, true);
        let results = [carries, stacks].concat();
        assert_batch_is_each_sample(&g, case.name, &results, &leaves, &(0..leaves.len()).collect::<Vec<_>>());
        for at in 0..leaves.len() {
            assert_batch_is_each_sample(&g, &format!("{} by {at}", case.name), &results, &leaves, &[at]);
        }
    }
}

#[test]
fn loops_in_loops() {
    let g = Graph::new();
    let (x, w) = (g.input("x", [3, 2], F64), g.input("w", [2], F64));
    let leaves = [("x".to_string(), x), ("w".to_string(), w)];
    // Running sums of products of what is left of each row.
    let (last, sums) = g
        .scan(&[w.sum(..)], &[x], |outer, row| {
            let (inner, parts) = g.scan_backward(&[outer[0]], &[row[0], w], |carry, x| {
                let next = (carry[0] * x[0] + outer[0]).sin() * w.sum(..);
                Ok((vec![next], vec![next + x[1]]))
            })?;
            Ok((vec![inner[0]], vec![parts[0]]))
        })
        .unwrap();
    let written = {
        let (mut outer, mut rows) = (w.sum(..), vec![]);
        for i in 0..3 {
            let (mut carry, mut parts) = (outer, vec![outer; 2]);
            for j in [1, 0] {
                carry = (carry * x.index(0, i).index(0, j) + outer).sin() * w.sum(..);
                parts[j] = carry + w.index(0, j);
            }
            outer = carry;
            rows.push(parts[0].stack(&parts[1..], 0));
        }
        (vec![outer], vec![rows[0].stack(&rows[1..], 0)])
    };
    let given = [("x", value_for(x, 1)), ("w", value_for(w, 2))];
    let scanned = (last, sums);
    let [actual, expected] = [&scanned, &written].map(|turn| derived(&g, turn, &[x, w]));
    let values = [&actual, &expected].map(|results| g.interpret(&named(results), &given).unwrap());
    for (name, expected) in &values[1] {
        assert!(distance(expected, &values[0][name]) < 1e-12, "{name}");
    }
    assert_compiles_right(&g, &named(&actual), &given, 1e-11);
    let results = [&scanned.0[..], &scanned.1].concat();
    assert_batch_is_each_sample(&g, "nested", &results, &leaves, &[0]);
    assert_batch_is_each_sample(&g, "nested by weight", &results, &leaves, &[1]);
}

#[test]
fn integers_are_carried_along() {
    let g = Graph::new();
    let (xs, w) = (g.input("xs", [5], F64), g.input("w", [], F64));
    let count = g.constant(0.0, [2], I64);
    let (last, ys) = g
        .scan(&[count, w], &[xs, g.iota([5], 0, I32)], |carry, x| {
            let sign = (carry[0].index(0, 0) % 2.0).equal(0.0);
            let next = sign.select(carry[1] * x[0], carry[1] - x[0]);
            Ok((vec![carry[0] + x[1].cast(I64).unsqueeze(0), next], vec![carry[0], sign.select(next, -next)]))
        })
        .unwrap();
    let given = [("xs", value_for(xs, 1)), ("w", value_for(w, 2))];
    let y = last[1] + ys[1].square().sum(..);
    let slopes = g.grad(y, &[xs, w]).unwrap();
    let outputs = [("count", last[0]), ("counts", ys[0]), ("y", y), ("dxs", slopes[0]), ("dw", slopes[1])];
    assert_eq!(g.interpret(&outputs, &given).unwrap()["count"], array![10i64, 10].into());
    assert_compiles_right(&g, &outputs, &given, 1e-12);
    assert_gradient_right(&g, y, &[("xs", xs), ("w", w)], &given);
}

#[test]
fn a_while_loop_stops_when_its_condition_fails() {
    let g = Graph::new();
    let (start, factor) = (g.input("start", [2], F64), g.input("factor", [], F64));
    let end = halved(&g, start, factor, 100);
    let outputs = [("end", end[0]), ("turns", end[1])];
    for (start, turns) in [([8.0, -1.0], 5), ([0.1, 0.2], 0), ([0.31, 0.0], 1), ([f64::NAN, 5.0], 0)] {
        let given = [("start", array![start[0], start[1]].into()), ("factor", 0.5.into())];
        let values = g.interpret(&outputs, &given).unwrap();
        if !start[0].is_nan() {
            assert_eq!(values["turns"], turns.into());
        }
        assert_compiles_right(&g, &outputs, &given, 0.0);
    }
    let limited = halved(&g, start, factor, 3);
    let given = [("start", array![8.0, -1.0].into()), ("factor", 0.5.into())];
    let outputs = [("end", limited[0]), ("turns", limited[1])];
    assert_eq!(g.interpret(&outputs, &given).unwrap()["end"], array![1.0, -0.125].into());
    assert_compiles_right(&g, &outputs, &given, 0.0);
    let never = halved(&g, start, factor, 0);
    assert_compiles_right(&g, &[("end", never[0]), ("turns", never[1])], &given, 0.0);
}

#[test]
fn a_while_loop_has_forward_derivatives_only() {
    let g = Graph::new();
    let (start, factor) = (g.input("start", [2], F64), g.input("factor", [], F64));
    let end = halved(&g, start, factor, 100);
    let slope = g.jvp(end[0], &[(factor, g.constant(1.0, [], F64))]).unwrap();
    let given = [("start", array![8.0, -1.0].into()), ("factor", 0.5.into())];
    // 8 f⁵, of which the derivative is 40 f⁴.
    assert_eq!(g.interpret(&[("d", slope)], &given).unwrap()["d"], array![2.5, -0.3125].into());
    assert_compiles_right(&g, &[("d", slope)], &given, 1e-14);
    // What has no derivative, or is not to have one, is no obstacle.
    let fixed = halved(&g, start.stop_gradient(), factor.stop_gradient(), 100);
    let scaled = (end[1].cast(F64) * factor + fixed[0].sum(..)) * factor;
    let slope = g.grad(scaled, &[factor]).unwrap()[0];
    assert_eq!(g.interpret(&[("d", slope)], &given).unwrap()["d"], (5.0 + 0.25 - 0.03125).into());
    let message = g.grad(end[0].sum(..), &[factor]).unwrap_err().to_string();
    assert!(message.contains("while") && message.contains("`scan` or `repeat`"), "{message}");
}

#[test]
fn samples_stop_each_in_their_turn() {
    let g = Graph::new();
    let (start, factor) = (g.input("start", [2], F64), g.input("factor", [], F64));
    let end = halved(&g, start, factor, 100);
    let (starts, factors) = (g.input("starts", [4, 2], F64), g.input("factors", [4], F64));
    let all = array![[8.0, -1.0], [0.1, 0.2], [0.31, 0.0], [1e3, 7.0]];
    let values = [("starts", Value::from(&all)), ("factors", array![0.5, 0.25, 0.75, 0.5].into())];
    let batch = |x, pairs: &[_]| g.vmap(x, pairs).unwrap();
    let outputs = [
        ("ends", batch(end[0], &[(start, starts)])),
        ("turns", batch(end[1], &[(start, starts)])),
        ("both", batch(end[0], &[(start, starts), (factor, factors)])),
        ("factors", batch(end[1], &[(factor, factors)])),
    ];
    let given = [&values[..], &[("start", array![2.0, 1.0].into()), ("factor", 0.5.into())]].concat();
    let together = g.interpret(&outputs, &given).unwrap();
    for sample in 0..4 {
        let alone = [("start", all.row(sample).into()), ("factor", 0.5.into())];
        let alone = g.interpret(&[("end", end[0]), ("turns", end[1])], &alone).unwrap();
        assert_eq!(alone["end"], row(&together["ends"], sample));
        assert_eq!(alone["turns"].to_f64()[0], together["turns"].to_f64()[sample]);
    }
    assert_compiles_right(&g, &outputs, &given, 0.0);
}

#[test]
fn a_branch_is_taken() {
    let g = Graph::new();
    let (x, w) = (g.input("x", [3], F64), g.input("w", [], F64));
    let y = g
        .cond(
            w.greater(0.0),
            &[x, w],
            |on| Ok(vec![on[0].sqrt() * on[1], on[0].sum(..)]),
            |on| Ok(vec![on[0] * on[0], on[1] * 3.0]),
        )
        .unwrap();
    let sum = total(&g, &(y.clone(), vec![]));
    let first = g.grad(sum, &[x, w]).unwrap();
    let second = g.grad((first[0] * first[0]).sum(..) + first[1].sin(), &[x, w]).unwrap();
    let forward = g.jvp(sum, &[(x, x.cos()), (w, w.cos())]).unwrap();
    let outputs = [
        ("a", y[0]),
        ("b", y[1]),
        ("dx", first[0]),
        ("dw", first[1]),
        ("forward", forward),
        ("d2x", second[0]),
        ("d2w", second[1]),
    ];
    let leaves = [("x".to_string(), x), ("w".to_string(), w)];
    for w in [2.0, -2.0] {
        let given = [("x", array![0.5, 1.5, 2.0].into()), ("w", w.into())];
        assert_gradient_right(&g, sum, &named(&leaves), &given);
        assert_gradient_right(&g, first[1].sin() + first[0].sum(..), &named(&leaves), &given);
        assert_compiles_right(&g, &outputs, &given, 1e-13);
    }
    // The root of a negative number, on the branch that is not taken.
    let given = [("x", array![-1.0, 0.0, 2.0].into()), ("w", (-1.0).into())];
    let values = g.interpret(&outputs, &given).unwrap();
    assert!(values.values().all(|value| value.to_f64().iter().all(|x| x.is_finite())), "{values:?}");
    assert_compiles_right(&g, &outputs, &given, 1e-13);
    assert_batch_is_each_sample(&g, "cond", &[y[1], (y[0].square() + 1.0).log()], &leaves, &[1]);
    assert_batch_is_each_sample(&g, "cond by operand", &y[1..], &leaves, &[0]);
}

#[test]
fn a_branch_in_a_loop() {
    let g = Graph::new();
    let (xs, w) = (g.input("xs", [6], F64), g.input("w", [], F64));
    let (last, _) = g
        .scan(&[w], &[xs], |carry, x| {
            let next = g.cond(
                x[0].greater(0.0),
                &[carry[0], x[0]],
                |on| Ok(vec![on[0] * on[1].exp()]),
                |on| Ok(vec![on[0] - on[1] * w]),
            )?;
            Ok((next, vec![]))
        })
        .unwrap();
    let given = [("xs", value_for(xs, 1)), ("w", 0.7.into())];
    let slopes = g.grad(last[0], &[xs, w]).unwrap();
    assert_gradient_right(&g, last[0], &[("xs", xs), ("w", w)], &given);
    assert_compiles_right(&g, &[("y", last[0]), ("dxs", slopes[0]), ("dw", slopes[1])], &given, 1e-12);
}

/// One step of an LSTM: four gates of the input and the state.
fn lstm<'g>(carry: &[Tensor<'g>], x: Tensor<'g>, [w, u, b]: [Tensor<'g>; 3]) -> Turn<'g> {
    let (h, c) = (carry[0], carry[1]);
    let size = h.shape().extents()[1];
    let gates = (x.matmul(w) + h.matmul(u) + b).split(1, &[size; 4]);
    let c = gates[1].sigmoid() * c + gates[0].sigmoid() * gates[2].tanh();
    let h = gates[3].sigmoid() * c.tanh();
    (vec![h, c], vec![h])
}

/// A thousand steps cost no more graph, code and compile time than ten.
#[test]
fn a_long_recurrence_is_small() {
    let sizes = [10, 1000].map(|length| {
        let g = Graph::new();
        let xs = g.input("xs", [length, 4, 8], F32);
        let weights = [("w", vec![8, 64]), ("u", vec![16, 64]), ("b", vec![64])]
            .map(|(name, shape)| g.parameter(name, Shape::new(&shape).unwrap(), F32));
        let zero = g.constant(0.0, [4, 16], F32);
        let (last, _) = g.scan(&[zero, zero], &[xs], |carry, x| Ok(lstm(carry, x[0], weights))).unwrap();
        let step = g.training_step(last[0].square().mean(..), Sgd::new(0.1)).unwrap();
        let text = step.function().unwrap().optimised(&hitofude::Options::default()).unwrap().to_string();
        let compiled = step.compile().unwrap();
        println!("{}", compiled.compile_report());
        (text.lines().count(), compiled.compile_report().code_bytes)
    });
    assert_eq!(sizes[0].0, sizes[1].0);
    assert!(sizes[1].1 < 30_000 && sizes[1].0 < 250, "{sizes:?}");
}

/// Whether the ones so far are odd in number: what no network without memory can tell.
#[test]
fn a_recurrent_network_learns_parity() {
    let g = Graph::new();
    let (samples, length, size) = (16, 8, 12);
    let (xs, targets) =
        (g.input("xs", [length, samples, 1], F32), g.input("targets", [length, samples, 1], F32));
    let shapes = [("w", vec![1, 4 * size]), ("u", vec![size, 4 * size]), ("b", vec![4 * size])];
    let weights = shapes.map(|(name, shape)| g.parameter(name, Shape::new(&shape).unwrap(), F32));
    let out = g.parameter("out", [1, size], F32);
    let offset = g.parameter("offset", [1], F32);
    let zero = g.constant(0.0, [samples, size], F32);
    let (_, states) = g.scan(&[zero, zero], &[xs], |carry, x| Ok(lstm(carry, x[0], weights))).unwrap();
    let logits = states[0].linear(out, offset);
    let right = logits.greater(0.0).cast(F32).equal(targets).cast(F32).mean(..);
    let loss = logits.bce_with_logits(targets);
    let step = g.training_step(loss, Adam::new(0.02)).unwrap().output("right", right).compile().unwrap();
    let mut state = step.state();
    for (seed, parameter) in g.parameters().into_iter().enumerate() {
        let value = value_for(parameter, seed as u64 + 1);
        let scaled = value.array::<f32>().unwrap() * 0.3;
        state.set(&leaf_name(parameter), scaled).unwrap();
    }
    let bit = |t: usize, sample: usize| (sample * 37 + t * t * 5 + (sample >> (t % 4)) * 3 + t) % 2;
    let bits = ndarray::Array3::from_shape_fn((length, samples, 1), |(t, sample, _)| bit(t, sample) as f32);
    let parity = ndarray::Array3::from_shape_fn((length, samples, 1), |(t, sample, _)| {
        ((0..=t).map(|t| bit(t, sample)).sum::<usize>() % 2) as f32
    });
    let inputs = step.inputs().with("xs", bits).unwrap().with("targets", parity).unwrap();
    let before = step.run(&mut state, &inputs).unwrap().loss();
    let report = step.run_many(&mut state, &inputs, 1500).unwrap();
    assert!(before > 0.6 && report.loss() < 0.05, "{before} {}", report.loss());
    assert_eq!(report.number("right").unwrap(), 1.0);
}
