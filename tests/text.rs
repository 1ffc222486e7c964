//! Graphs as text: what prints can be pasted, and what cannot be read says why.

mod common;

use common::{assert_text_compiles_right, leaf_values};
use hitofude::ops::Slide;
use hitofude::prelude::*;

/// Without origins, which reading leaves out.
fn plain(text: &str) -> String {
    text.lines().map(|line| line.split(" ; ").next().unwrap_or(line)).collect::<Vec<_>>().join("\n")
}

fn assert_round_trip(g: &Graph) -> Graph {
    let text = g.to_string();
    let read = Graph::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(plain(&read.to_string()), plain(&text));
    read
}

/// A program as the random programs print it when they fail: copied here, it runs.
#[test]
fn a_pasted_program_runs() {
    let text = "
%0 = input a f64[2,3] ; user
%1 = input n i32[2] ; user
%2 = parameter p f64[3] ; user
%3 = broadcast[1] f64[2,3] (%2) ; user
%4 = mul f64[2,3] (%0, %3) ; user
%5 = reduce_max[1] f64[2] (%4) ; user
%6 = cast[f64] f64[2] (%1) ; user
%7 = lt bool[2] (%5, %6) ; user
%8 = select f64[2] (%7, %5, %6) ; user
%9 = slice[1] f64[1] (%8) ; user
%10 = pad[0] f64[2] (%9) ; user
%11 = dot[a,a->] f64[] (%8, %10) ; user
output y = %11
output most = %5
";
    assert_text_compiles_right(text, 1e-12);
}

/// A sum over rows beside a recurrence along them, which code for wide vectors leaves to others half-way.
#[test]
fn a_sum_beside_a_recurrence() {
    let text = "
%0 = input a f32[3,2]
%1 = constant 2.0 f32[3,2]
%2 = mul f32[3,2] (%1, %0)
%3 = reduce_max[1] f32[3] (%2)
%4 = broadcast[0] f32[3,2] (%3)
%5 = eq bool[3,2] (%2, %4)
%6 = iota[1] i32[3,2]
%7 = constant 2147483647 i32[3,2]
%8 = select i32[3,2] (%5, %6, %7)
%9 = reduce_min[1] i32[3] (%8)
%10 = cast[i64] i64[3] (%9)
%11 = sum[0] i64[] (%10)
%12 = tanh f32[3,2] (%0)
%13 = sin f32[3,2] (%0)
%14 = recurrence[1] f32[3,2] (%13, %12)
%15 = mul f32[3,2] (%12, %13)
output sum = %11
output last = %14
output best = %10
output product = %15
";
    assert_text_compiles_right(text, 1e-6);
}

#[test]
fn every_operator_is_read_as_it_prints() {
    let g = Graph::new();
    let (x, y) = (g.input("x", [4, 6], F64), g.input("a name; with \"quotes\" (%1)", [4, 6], F64));
    let (n, rows) = (g.input("n", [4, 6], I64), g.input("rows", [5], I32));
    let truth = x.less(y) & !x.equal(y) | x.greater_equal(0.0);
    let slide = |axis, size| Slide { axis, size, stride: 2, dilation: 1 };
    let tensors = [
        x.sin() + y.exp().pow(x) - x.atan2(y) % x,
        truth.select(x.max(1).unsqueeze(1), y.prod(0)),
        n.cast(F64).stop_gradient() + truth.cast(F64),
        x.matmul(y.transpose()).einsum("ab,cb->ca", x.slice(1, 1..5)),
        x.reshape([2, 12]).reverse(1).concat(&[y.reshape([2, 12])], 0).pad(1, 2, 0),
        x.take(1, rows).windows(&[slide(0, 3), slide(1, 2)]),
        g.iota([3, 2], 1, F32).cast(F64) + 0.1 + f64::NAN + f64::NEG_INFINITY + 1e-300,
        x.min(..).broadcast_to([2, 1, 3]) - -0.0,
        x.take_along_axis(1, n).sort(0, Order::Descending).cumsum(1).reverse(0),
        x.top_k(1, 2).0,
        g.grad(x.cumprod(0).take(1, rows).slice(1, 0..4).diagonal(0, 1).sum(..), &[x]).unwrap()[0]
            .sort(1, Order::Ascending),
        x.sum(&[][..]),
        x.pad_with(0, 1, 0, f64::NEG_INFINITY).max(..),
        x.reshape([4, 2, 3]).fold(&[slide(1, 3)], [4, 5]),
        n.random_bits([2], I32).cast(F64) + g.random_key("key", 42).uniform([4, 6, 2], F64),
        (n << 3 >> 1 ^ n.rotate_left(n) | !n).shift_right_logical(2.0).cast(F64) + x.erf_inv(),
        x.exp().custom_vjp(&[x, y], |x, y, dy| vec![dy * y.sum(0), x[1] * dy.slice(0, 1..3).max(..)]),
        x.tanh().checkpoint(&[x]).sin().checkpoint(&[x, y]),
    ];
    let names: Vec<String> = (0..tensors.len()).map(|number| format!("result {number}")).collect();
    let outputs: Vec<(&str, Tensor<'_>)> = names.iter().map(String::as_str).zip(tensors).collect();
    g.check().unwrap();
    let function = outputs.iter().fold(g.function(), |function, (name, y)| function.output(name, *y));
    let read = assert_round_trip(&function.graph().unwrap());
    assert_round_trip(&function.optimised(&hitofude::Options::default()).unwrap());

    let leaves = leaf_values(&read);
    let leaves: Vec<(&str, Value)> = leaves.iter().map(|(name, v)| (name.as_str(), v.clone())).collect();
    let results = read.outputs();
    let results: Vec<(&str, Tensor<'_>)> = results.iter().map(|(name, y)| (name.as_str(), *y)).collect();
    let expected = g.interpret(&outputs, &leaves).unwrap();
    let actual = read.interpret(&results, &leaves).unwrap();
    assert!(expected.iter().all(|(name, value)| common::distance(value, &actual[name]) == 0.0));
}

/// Parameters, slots, settings with what they start from, and updates.
#[test]
fn a_training_step_is_read_as_it_prints() {
    let g = Graph::new();
    let (x, t) = (g.input("x", [4, 3], F32), g.input("target", [4, 1], F32));
    let y = x.linear(g.parameter("layer/weight", [1, 3], F32), g.parameter("layer/bias", [1], F32));
    let step = g.training_step(y.mse_loss(t), Adam::new(0.001).decoupled_weight_decay(0.1)).unwrap();
    let graph = step.function().unwrap().graph().unwrap();
    let read = assert_round_trip(&graph);
    let mut leaves: std::collections::BTreeMap<String, Value> = leaf_values(&graph)
        .into_iter()
        .filter(|(name, _)| ["x", "target"].contains(&name.as_str()))
        .collect();
    let mut again = leaves.clone();
    for _ in 0..3 {
        let outputs = graph.interpret_results(&mut leaves).unwrap();
        assert_eq!(read.interpret_results(&mut again).unwrap(), outputs);
    }
    assert_eq!(leaves, again);
}

#[test]
fn what_cannot_be_read_is_told() {
    let cases = [
        (
            "x = 3",
            "line 1 of the graph's text: expected `output name` or `update name` before `=`, found `x`",
        ),
        ("hello", "line 1 of the graph's text: expected a node (`%0 = …`) or a result (`output y = %0`)"),
        (
            "%0 = input x f32[2]\n\n%1 = sun[0] f32[] (%0)",
            "line 3 of the graph's text: `sun[0]` is no operator as graphs print it, such as `add` or `sum[0]`",
        ),
        (
            "%0 = input x f32[2]\n%1 = sum[a] f32[] (%0)",
            "line 2 of the graph's text: `sum[a]` is no operator as graphs print it, such as `add` or `sum[0]`",
        ),
        (
            "%0 = input x f33[2]",
            "line 1 of the graph's text: expected a type such as `f32[2,3]` behind the operator, found `f33[2]`",
        ),
        (
            "%0 = input x",
            "line 1 of the graph's text: expected a type such as `f32[2,3]` behind the operator, found `x`",
        ),
        (
            "%0 = poison f32[]",
            "line 1 of the graph's text: `poison` is no operator as graphs print it, such as `add` or `sum[0]`",
        ),
        (
            "%0 = input a b f32[2]",
            "line 1 of the graph's text: `input a b` is no operator as graphs print it, such as `add` or `sum[0]`",
        ),
        (
            "%0 = input x f32[2]\n%1 = custom_vjp f32[2] (%0)",
            "line 2 of the graph's text: `custom_vjp` is no operator as graphs print it, such as `add` or `sum[0]`",
        ),
        (
            "%0 = input x f32[2]\n%1 = custom_vjp f32[2] (%0, %0)\n  | %0 = input captured0 f32[3]
            | %1 = input captured1 f32[2]\n| %2 = input captured2 f32[2]\n| output y0 = %2",
            "line 2 of the graph's text: `custom_vjp`: the rule is for operands of other types",
        ),
        (
            "%0 = input x f32[2]\n%1 = sin f32[2] (%7)",
            "line 2 of the graph's text: there is no node %7 above",
        ),
        (
            "%0 = input x f32[2]\n%0 = sin f32[2] (%0)",
            "line 2 of the graph's text: there is a node %0 already",
        ),
        (
            "%0 = input x f32[2]\n%1 = input x f32[3]",
            "line 2 of the graph's text: there is a leaf of the name of `input x` already",
        ),
        (
            "%0 = input x f32[2]\n%1 = cast[f32] f64[2] (%0)",
            "line 2 of the graph's text: expected `cast[f64]`, found `cast[f32]`",
        ),
        (
            "%0 = input x f32[2]\n%1 = sin f32[3] (%0)",
            "line 2 of the graph's text: `sin` gives f32[2] here, not f32[3]",
        ),
        (
            "%0 = input x i32[2]\n%1 = sin i32[2] (%0)",
            "line 2 of the graph's text: `sin`: i32[2] is not supported here; expected f32 or f64 (`.cast(..)` converts)",
        ),
        (
            "%0 = input x i32[2]\n%1 = add i32[2] (%0)",
            "line 2 of the graph's text: `add`: takes 2 operands, and has 1",
        ),
        (
            "%0 = input x f32[2]\n%1 = argsort[descending, first 3] i64[3] (%0)",
            "line 2 of the graph's text: `argsort[descending, first 3]`: the rows of f32[2] have fewer than 3 elements",
        ),
        (
            "%0 = input x f32[2]\noutput y = x",
            "line 2 of the graph's text: expected a node's number such as `%3`, found `x`",
        ),
        (
            "%0 = input x f32[2]\nupdate w = %0",
            "line 2 of the graph's text: there is no state `w` above to be updated",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(Graph::parse(text).unwrap_err().to_string(), expected);
    }
    let other_type = "%0 = parameter w f32[2]\n%1 = sum[0] f32[] (%0)\nupdate w = %1";
    assert!(Graph::parse(other_type).unwrap_err().to_string().contains("state `w` is f32[2]"));
}
