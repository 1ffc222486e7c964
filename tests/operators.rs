//! Every operator against JAX: value, VJP and JVP, in f64 and in f32, interpreted and compiled (`fixtures/operators.py`).

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::cases::{name_of, operator_names};
use common::run;
use hitofude::TensorType;
use hitofude::ops::Slide;
use hitofude::prelude::*;
use safetensors::{Dtype, SafeTensors};

const FIXTURES: &[u8] = include_bytes!("fixtures/operators.safetensors");

/// In f64, of the largest element of a result.
const TOLERANCE: f64 = 1e-12;

/// A name, the inputs, how many units in the last place of its largest element a result in f32 may be off (value, VJP
/// and JVP alike), and the operator.
type Row = (&'static str, &'static str, f64, for<'g> fn(&'g Graph, &[Tensor<'g>]) -> Tensor<'g>);

const ROWS: &[Row] = &[
    ("neg", "wide", 0.0, |_, l| -l[0]),
    ("abs", "wide", 0.0, |_, l| l[0].abs()),
    ("sign", "wide", 0.0, |_, l| l[0].sign()),
    ("exp", "wide", 1.0, |_, l| l[0].exp()),
    ("expm1", "wide", 1.0, |_, l| l[0].expm1()),
    ("log", "positive", 1.0, |_, l| l[0].log()),
    ("log1p", "unit", 1.0, |_, l| l[0].log1p()),
    ("sqrt", "positive", 1.0, |_, l| l[0].sqrt()),
    ("sin", "wide", 1.0, |_, l| l[0].sin()),
    ("cos", "wide", 1.0, |_, l| l[0].cos()),
    ("tan", "unit", 2.0, |_, l| l[0].tan()),
    ("asin", "unit", 2.0, |_, l| l[0].asin()),
    ("acos", "unit", 2.0, |_, l| l[0].acos()),
    ("atan", "wide", 1.0, |_, l| l[0].atan()),
    ("sinh", "wide", 1.0, |_, l| l[0].sinh()),
    ("cosh", "wide", 1.0, |_, l| l[0].cosh()),
    ("tanh", "wide", 1.0, |_, l| l[0].tanh()),
    ("sigmoid", "wide", 1.0, |_, l| l[0].sigmoid()),
    ("softplus", "wide", 1.0, |_, l| l[0].softplus()),
    ("erf", "wide", 2.0, |_, l| l[0].erf()),
    ("floor", "wide", 0.0, |_, l| l[0].floor()),
    ("ceil", "wide", 0.0, |_, l| l[0].ceil()),
    ("round", "wide", 0.0, |_, l| l[0].round()),
    ("not", "flags", 0.0, |_, l| !l[0]),
    ("erf_inv", "unit", 4.0, |_, l| l[0].erf_inv()),
    ("xor", "counts counts2", 0.0, |_, l| l[0] ^ l[1]),
    ("shift_left", "counts amounts", 0.0, |_, l| l[0] << l[1]),
    ("shift_right", "counts amounts", 0.0, |_, l| l[0] >> l[1]),
    ("shift_right_logical", "counts amounts", 0.0, |_, l| l[0].shift_right_logical(l[1])),
    ("rotate_left", "counts amounts", 0.0, |_, l| l[0].rotate_left(l[1])),
    ("add", "wide other", 0.0, |_, l| l[0] + l[1]),
    ("sub", "wide other", 0.0, |_, l| l[0] - l[1]),
    ("mul", "wide other", 1.0, |_, l| l[0] * l[1]),
    ("div", "wide positive", 2.0, |_, l| l[0] / l[1]),
    ("rem", "wide positive", 1.0, |_, l| l[0] % l[1]),
    ("pow", "positive other", 3.0, |_, l| l[0].pow(l[1])),
    ("atan2", "wide other", 2.0, |_, l| l[0].atan2(l[1])),
    ("max", "wide other", 0.0, |_, l| l[0].maximum(l[1])),
    ("min", "wide other", 0.0, |_, l| l[0].minimum(l[1])),
    ("and", "flags flags2", 0.0, |_, l| l[0] & l[1]),
    ("or", "flags flags2", 0.0, |_, l| l[0] | l[1]),
    ("add a row", "wide row", 0.0, |_, l| l[0] + l[1]),
    ("mul by a scalar", "scalar wide", 2.0, |_, l| l[0] * l[1]),
    ("eq", "counts counts", 0.0, |_, l| l[0].equal(l[1])),
    ("ne", "wide other", 0.0, |_, l| l[0].not_equal(l[1])),
    ("lt", "wide other", 0.0, |_, l| l[0].less(l[1])),
    ("le", "wide other", 0.0, |_, l| l[0].less_equal(l[1])),
    ("gt", "wide other", 0.0, |_, l| l[0].greater(l[1])),
    ("ge", "wide other", 0.0, |_, l| l[0].greater_equal(l[1])),
    ("select", "flags wide other", 0.0, |_, l| l[0].select(l[1], l[2])),
    ("stop_gradient", "wide", 0.0, |_, l| l[0].stop_gradient()),
    ("cast", "wide", 0.0, |_, l| l[0].cast(I64)),
    ("cast from integers", "counts wide", 1.0, |_, l| l[0].cast(l[1].dtype()) * l[1]),
    ("sum", "wide", 1.0, |_, l| l[0].sum(1)),
    ("sum of all", "cube", 2.0, |_, l| l[0].sum(..)),
    ("sum of nothing", "empty", 0.0, |_, l| l[0].sum(0)),
    ("prod", "wide", 3.0, |_, l| l[0].prod(1)),
    ("prod of all", "positive", 6.0, |_, l| l[0].prod(..)),
    ("reduce_max", "wide", 0.0, |_, l| l[0].max(0)),
    ("reduce_min", "cube", 0.0, |_, l| l[0].min([0, 2])),
    ("dot", "wide matrix", 2.0, |_, l| l[0].einsum("nk,km->mn", l[1])),
    ("dot of vectors", "row row", 2.0, |_, l| l[0].matmul(l[1])),
    ("dot, batched", "cube cube2", 2.0, |_, l| l[0].matmul(l[1])),
    ("dot, outer", "row row", 1.0, |_, l| l[0].einsum("a,b->ab", l[1])),
    ("dot, row by row", "wide other", 2.0, |_, l| l[0].einsum("ab,ab->a", l[1])),
    ("reshape", "wide", 0.0, |_, l| l[0].reshape([4, 3])),
    ("transpose", "cube", 0.0, |_, l| l[0].permute(&[2, 0, 1])),
    ("broadcast", "row", 1.0, |_, l| l[0].broadcast_to([2, 3, 4])),
    ("slice", "wide", 0.0, |_, l| l[0].slice(1, 1..3)),
    ("slice with steps", "line", 0.0, |_, l| l[0].slice_step(1, 1..11, 3)),
    ("pad", "wide", 0.0, |_, l| l[0].pad(1, 1, 2)),
    ("concat", "wide other", 0.0, |_, l| l[0].concat(&[l[1]], 1)),
    ("reverse", "wide", 0.0, |_, l| l[0].reverse(0)),
    ("gather", "wide rows", 1.0, |_, l| l[0].take(0, l[1])),
    ("gather columns", "matrix rows", 1.0, |_, l| l[0].take(1, l[1])),
    ("pad with a number", "wide", 0.0, |_, l| l[0].pad_with(0, 0, 1, 1.5).pad_with(1, 2, 0, 1.5)),
    ("fold", "frames", 1.0, |_, l| l[0].fold(&[Slide { axis: 1, size: 3, stride: 2, dilation: 2 }], [2, 11])),
    ("gather along an axis", "wide places", 1.0, |_, l| l[0].take_along_axis(1, l[1])),
    ("scatter_add", "wide rows cube", 2.0, |_, l| l[0].scatter_add(0, l[1], l[2])),
    ("scatter_add along an axis", "wide places other", 2.0, |_, l| {
        l[0].scatter_add_along_axis(1, l[1], l[2].slice(1, 0..2))
    }),
    ("diagonal", "cube", 0.0, |_, l| l[0].slice(2, 0..2).diagonal(0, 2)),
    ("recurrence", "wide", 2.0, |_, l| l[0].cumsum(1)),
    ("recurrence, products", "wide", 4.0, |_, l| l[0].cumprod(0)),
    ("recurrence with factors", "wide unit", 4.0, |_, l| l[0].linear_recurrence(1, l[1])),
    ("argsort", "tied", 0.0, |_, l| l[0].argsort(1, Order::Descending)),
    ("sort", "wide", 0.0, |_, l| l[0].sort(0, Order::Ascending)),
    ("top_k", "wide", 0.0, |_, l| l[0].top_k(1, 2).0),
    ("einsum of three", "wide matrix line5", 4.0, |g, l| g.einsum("ij,jk,lk->li", &[l[0], l[1], l[2]])),
    ("einsum with a diagonal", "cube cube2", 4.0, |g, l| g.einsum("aij,aji->a", &[l[0], l[1]])),
    ("tril", "wide", 0.0, |_, l| l[0].tril(-1)),
    ("triu", "wide", 0.0, |_, l| l[0].triu(1)),
    ("roll", "wide", 0.0, |_, l| l[0].roll(1, -3)),
    ("window", "line", 1.0, |_, l| l[0].windows(&[Slide { axis: 1, size: 3, stride: 2, dilation: 2 }])),
    ("window of two axes", "wide", 1.0, |_, l| {
        let slide = |axis, size| Slide { axis, size, stride: 1, dilation: 1 };
        l[0].windows(&[slide(0, 2), slide(1, 3)])
    }),
    ("iota", "", 0.0, |g, _| g.iota([3, 4], 1, I64)),
    ("constant", "", 0.0, |g, _| g.constant(0.1, [2], F64)),
    ("recip", "positive", 2.0, |_, l| l[0].recip()),
    ("rsqrt", "positive", 3.0, |_, l| l[0].rsqrt()),
    ("square", "wide", 1.0, |_, l| l[0].square()),
    ("trunc", "wide", 0.0, |_, l| l[0].trunc()),
    ("clamp", "wide", 0.0, |_, l| l[0].clamp(-1.0, 1.5)),
    ("mean", "cube", 1.0, |_, l| l[0].mean(0)),
    ("variance", "cube", 2.0, |_, l| l[0].variance(-1)),
    ("any", "flags", 0.0, |_, l| l[0].any(0)),
    ("all", "flags", 0.0, |_, l| l[0].all(0)),
    ("argmax", "wide", 0.0, |_, l| l[0].argmax(1)),
    ("argmin", "tied", 0.0, |_, l| l[0].argmin(0)),
    ("one_hot", "rows", 0.0, |_, l| l[0].one_hot(3)),
    ("tile", "wide", 1.0, |_, l| l[0].tile(1, 2)),
    ("stack", "wide other", 0.0, |_, l| l[0].stack(&[l[1]], 1)),
    // At 0, −0, ±∞ and NaN, and at ties, where JAX's conventions are ours.
    ("special neg", "special", 0.0, |_, l| -l[0]),
    ("special sign", "special", 0.0, |_, l| l[0].sign()),
    ("special exp", "special", 1.0, |_, l| l[0].exp()),
    ("special expm1", "special", 1.0, |_, l| l[0].expm1()),
    ("special log", "special", 1.0, |_, l| l[0].log()),
    ("special sin", "special", 1.0, |_, l| l[0].sin()),
    ("special cos", "special", 1.0, |_, l| l[0].cos()),
    ("special atan", "special", 1.0, |_, l| l[0].atan()),
    ("special tanh", "special", 1.0, |_, l| l[0].tanh()),
    ("special sigmoid", "special", 1.0, |_, l| l[0].sigmoid()),
    ("special softplus", "special", 1.0, |_, l| l[0].softplus()),
    ("special erf", "special", 1.0, |_, l| l[0].erf()),
    ("special floor", "special", 0.0, |_, l| l[0].floor()),
    ("special ceil", "special", 0.0, |_, l| l[0].ceil()),
    ("special round", "special", 0.0, |_, l| l[0].round()),
    ("special square", "special", 1.0, |_, l| l[0].square()),
    ("special add", "left right", 0.0, |_, l| l[0] + l[1]),
    ("special sub", "left right", 0.0, |_, l| l[0] - l[1]),
    ("special mul", "left right", 1.0, |_, l| l[0] * l[1]),
    ("special eq", "left right", 0.0, |_, l| l[0].equal(l[1])),
    ("special ne", "left right", 0.0, |_, l| l[0].not_equal(l[1])),
    ("special lt", "left right", 0.0, |_, l| l[0].less(l[1])),
    ("special le", "left right", 0.0, |_, l| l[0].less_equal(l[1])),
    ("special gt", "left right", 0.0, |_, l| l[0].greater(l[1])),
    ("special ge", "left right", 0.0, |_, l| l[0].greater_equal(l[1])),
    ("tied max", "tied tied2", 0.0, |_, l| l[0].maximum(l[1])),
    ("tied min", "tied tied2", 0.0, |_, l| l[0].minimum(l[1])),
    ("tied reduce_max", "tied", 1.0, |_, l| l[0].max(1)),
    ("tied reduce_min", "tied", 1.0, |_, l| l[0].min(1)),
    ("special argsort", "special", 0.0, |_, l| l[0].argsort(0, Order::Ascending)),
    ("special argsort down", "special", 0.0, |_, l| l[0].argsort(0, Order::Descending)),
    ("cumprod with zeros", "zeros", 1.0, |_, l| l[0].cumprod(1)),
    ("prod with zeros", "zeros", 1.0, |_, l| l[0].prod(1)),
];

/// Where our convention is another than JAX's: a name, the inputs, the operator, what differs (the value `y`, or the
/// VJP `d0`), ours in row-major order, and why.
type Different = (
    &'static str,
    &'static str,
    for<'g> fn(&'g Graph, &[Tensor<'g>]) -> Tensor<'g>,
    &'static str,
    &'static [f64],
    &'static str,
);

const NAN: f64 = f64::NAN;

const DIFFERENT: &[Different] = &[
    (
        "abs at 0",
        "origin",
        |_, l| l[0].abs(),
        "d0",
        &[0.0, 0.0, NAN],
        "PyTorch: the sign of x; JAX: 1 at 0, -1 at NaN",
    ),
    (
        "relu of NaN",
        "origin",
        |_, l| l[0].relu(),
        "d0",
        &[0.0, 0.0, 1.125],
        "PyTorch: the cotangent passes at NaN",
    ),
    (
        "clamp at its bounds",
        "bounds",
        |_, l| l[0].clamp(-1.0, 1.5),
        "d0",
        &[-0.875, 0.125],
        "PyTorch: the cotangent passes",
    ),
    (
        "pow 0 at 0",
        "base exponent",
        |_, l| l[0].pow(l[1]),
        "d0",
        &[0.0, 0.0, 0.0],
        "PyTorch: x^0 is constant",
    ),
    (
        "root not taken",
        "roots",
        |_, l| l[0].greater(0.0).select(l[0].sqrt(), 0.0),
        "d0",
        &[0.0, 0.0, 0.28125],
        "the branch not taken gets 0",
    ),
    (
        "logsumexp of nothing",
        "unlikely",
        |_, l| l[0].logsumexp(0),
        "d0",
        &[0.0, 0.0],
        "no gradient where no element counts",
    ),
    (
        "rows out of range",
        "base outside",
        |_, l| l[0].take(0, l[1]),
        "y",
        &[2.0, 0.0, 0.0],
        "NumPy's mode=\"clip\"; JAX: NaN",
    ),
    (
        "division by 0",
        "number nought",
        |_, l| l[0] / l[1],
        "y",
        &[0.0, 0.0],
        "integer arithmetic never traps; JAX: -1",
    ),
    (
        "remainder by 0",
        "number nought",
        |_, l| l[0] % l[1],
        "y",
        &[0.0, 0.0],
        "integer arithmetic never traps; JAX: x",
    ),
];

fn fixture(file: &SafeTensors<'_>, name: &str) -> Option<Value> {
    let view = file.tensor(name).ok()?;
    let shape = Shape::new(view.shape()).unwrap();
    let words = |size| view.data().chunks_exact(size);
    let (dtype, scalars): (DType, Vec<Scalar>) = match view.dtype() {
        Dtype::F64 => {
            (F64, words(8).map(|w| f64::from_le_bytes(w.try_into().unwrap())).map(Scalar::F64).collect())
        }
        Dtype::I64 => {
            (I64, words(8).map(|w| i64::from_le_bytes(w.try_into().unwrap())).map(Scalar::I64).collect())
        }
        Dtype::I32 => {
            (I32, words(4).map(|w| i32::from_le_bytes(w.try_into().unwrap())).map(Scalar::I32).collect())
        }
        _ => (Bool, view.data().iter().map(|&byte| Scalar::Bool(byte != 0)).collect()),
    };
    Some(Value::from_elements(TensorType::new(dtype, shape), scalars))
}

/// The cotangents and tangents of the fixture: numbers that both sides can make.
fn spread(ty: TensorType, step: usize, modulus: usize, scale: f64) -> Value {
    let number = |i: usize| ((i * step % modulus) as f64 - (modulus / 2) as f64) / scale + 0.125;
    let wide = TensorType { dtype: F64, ..ty };
    Value::from_elements(wide, (0..ty.shape.elements()).map(|i| Scalar::F64(number(i)))).cast(ty.dtype)
}

/// How far apart, relative to the largest finite element; NaN, infinities and the signs of zero are to be the same.
fn apart(expected: &Value, actual: &Value, signs_of_zero: bool) -> f64 {
    assert_eq!(expected.ty().shape, actual.ty().shape);
    let (expected, actual) = (expected.to_f64(), actual.to_f64());
    let scale = expected.iter().filter(|e| e.is_finite()).fold(f64::MIN_POSITIVE, |s, e| s.max(e.abs()));
    let apart = |(&e, &a): (&f64, &f64)| match (e, a) {
        _ if e.is_nan() && a.is_nan() => 0.0,
        _ if e == 0.0 && a == 0.0 && signs_of_zero && e.is_sign_negative() != a.is_sign_negative() => 1.0,
        _ if e == a => 0.0,
        _ if e.is_finite() && a.is_finite() => (e - a).abs() / scale,
        _ => f64::INFINITY,
    };
    expected.iter().zip(&actual).map(apart).fold(0.0, f64::max)
}

/// A row's value, VJPs and JVP by output name, interpreted and compiled, and the names of the operators in them.
struct Computed {
    interpreted: BTreeMap<String, Value>,
    compiled: BTreeMap<String, Value>,
    operators: BTreeSet<&'static str>,
}

fn compute(
    file: &SafeTensors<'_>,
    name: &str,
    inputs: &str,
    build: for<'g> fn(&'g Graph, &[Tensor<'g>]) -> Tensor<'g>,
    float: DType,
) -> Computed {
    let g = Graph::new();
    let names = ["0", "1", "2"];
    let values: Vec<Value> = (inputs.split_whitespace())
        .map(|input| fixture(file, &format!("input.{input}")).expect(input))
        .map(|value| if value.dtype() == F64 { value.cast(float) } else { value })
        .collect();
    let leaves: Vec<Tensor<'_>> = names
        .iter()
        .zip(&values)
        .map(|(name, value)| g.input(name, value.ty().shape, value.dtype()))
        .collect();
    let y = build(&g, &leaves);
    g.check().unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut outputs = vec![("y".to_string(), y)];
    let mut given: Vec<(&str, Value)> = names.iter().copied().zip(values).collect();
    if file.tensor(&format!("{name}.jvp")).is_ok() {
        let dy = g.input("dy", y.shape(), float);
        let moving: Vec<usize> = (0..leaves.len()).filter(|&i| leaves[i].dtype().is_float()).collect();
        let wrt: Vec<Tensor<'_>> = moving.iter().map(|&i| leaves[i]).collect();
        let tangents = ["t0", "t1", "t2"];
        let directions: Vec<_> =
            moving.iter().map(|&i| (leaves[i], g.input(tangents[i], leaves[i].shape(), float))).collect();
        given.push(("dy", spread(dy.ty(), 7, 5, 2.0)));
        given.extend(moving.iter().map(|&i| (tangents[i], spread(leaves[i].ty(), 5, 7, 4.0))));
        outputs.push(("jvp".to_string(), g.jvp(y, &directions).unwrap()));
        let cotangents = g.vjp(y, &wrt, dy).unwrap();
        outputs.extend(moving.iter().map(|i| format!("d{i}")).zip(cotangents));
    }
    let outputs: Vec<(&str, Tensor<'_>)> = outputs.iter().map(|(name, t)| (name.as_str(), *t)).collect();
    let needed = g.nodes().filter(|node| node.id <= y.id());
    Computed {
        interpreted: g.interpret(&outputs, &given).unwrap(),
        compiled: run(&g.compile(&outputs).unwrap(), &given),
        operators: needed.map(|node| name_of(&node.op)).collect(),
    }
}

/// Holds one row against the fixture in one precision; returns what is wrong.
fn check(file: &SafeTensors<'_>, (name, inputs, ulps, build): &Row, float: DType) -> Vec<String> {
    let computed = compute(file, name, inputs, *build, float);
    let tolerance = if float == F64 { TOLERANCE } else { ulps * f64::from(f32::EPSILON) };
    let mut wrong = Vec::new();
    for (how, values) in [("interpreted", &computed.interpreted), ("compiled", &computed.compiled)] {
        for (output, actual) in values {
            let expected = fixture(file, &format!("{name}.{output}")).unwrap();
            if *output == "y" && !expected.dtype().is_float() {
                assert_eq!(expected.dtype(), actual.dtype(), "{name}");
            }
            let by = apart(&expected, actual, *output == "y" && name.starts_with("special"));
            if by > tolerance {
                let ulps = by / f64::from(f32::EPSILON);
                let (expected, actual) = (expected.to_f64(), actual.to_f64());
                wrong.push(format!(
                    "{name}.{output}, {how} in {float}: {by:e} ({ulps:.1} ulp of f32) from JAX\n  {expected:?}\n  {actual:?}"
                ));
            }
        }
    }
    wrong
}

#[test]
fn values_vjps_and_jvps_are_those_of_jax() {
    let file = SafeTensors::deserialize(FIXTURES).unwrap();
    let mut wrong = Vec::new();
    for row in ROWS {
        for float in [F64, F32] {
            wrong.extend(check(&file, row, float));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn where_jax_differs_the_convention_is_ours() {
    let file = SafeTensors::deserialize(FIXTURES).unwrap();
    for (name, inputs, build, output, ours, why) in DIFFERENT {
        let computed = compute(&file, name, inputs, *build, F64);
        let jax = fixture(&file, &format!("{name}.{output}")).unwrap();
        for actual in [&computed.interpreted[*output], &computed.compiled[*output]] {
            assert!(apart(&jax, actual, false) > TOLERANCE, "{name}: JAX agrees by now");
            let ours = Value::from(Array1::from(ours.to_vec()));
            assert_eq!(apart(&ours, actual, false), 0.0, "{name} ({why}): {actual:?}");
        }
    }
}

#[test]
fn every_operator_has_a_row_here_and_in_the_fixture() {
    let file = SafeTensors::deserialize(FIXTURES).unwrap();
    let fixtures: BTreeSet<&str> =
        file.names().into_iter().filter_map(|name| name.strip_suffix(".y")).collect();
    let rows = ROWS.iter().map(|row| row.0).chain(DIFFERENT.iter().map(|row| row.0));
    assert_eq!(fixtures, rows.collect());

    for name in operator_names() {
        let row = ROWS.iter().find(|row| row.0 == name).unwrap_or_else(|| panic!("no row for `{name}`"));
        let computed = compute(&file, row.0, row.1, row.3, F64);
        assert!(computed.operators.contains(name), "the row `{name}` is without that operator");
    }
}
