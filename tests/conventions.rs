//! The conventions of `docs/architecture.md`, case by case.

mod common;

use common::{assert_compiles_right, run, value_for};
use hitofude::nn::{CrossEntropy, Pool};
use hitofude::ops::Slide;
use hitofude::prelude::*;
use hitofude::{FastMath, Options};

/// The gradient of the sum of `f(x)` at `at`, interpreted and compiled (which must agree).
fn gradient_at(at: &[f64], f: impl for<'g> Fn(Tensor<'g>) -> Tensor<'g>) -> Vec<f64> {
    let g = Graph::new();
    let x = g.input("x", [at.len()], F64);
    let dx = g.grad(f(x).sum(..), &[x]).unwrap()[0];
    let leaves = [("x", Value::from(Array1::from(at.to_vec())))];
    assert_compiles_right(&g, &[("dx", dx)], &leaves, 1e-14);
    g.interpret(&[("dx", dx)], &leaves).unwrap()["dx"].to_f64()
}

const NAN: f64 = f64::NAN;
const INF: f64 = f64::INFINITY;

#[test]
fn kinks_at_zero_have_derivative_zero() {
    assert_eq!(gradient_at(&[-1.0, 0.0, 2.0], |x| x.relu()), [0.0, 0.0, 1.0]);
    assert_eq!(gradient_at(&[-1.0, 0.0, 2.0], |x| x.abs()), [-1.0, 0.0, 1.0]);
    assert_eq!(gradient_at(&[-1.0, 0.0, 2.0], |x| x.sign()), [0.0, 0.0, 0.0]);
}

#[test]
fn relu_keeps_nan() {
    let g = Graph::new();
    let x = g.input("x", [5], F64);
    let leaves = [("x", Value::from(array![NAN, -INF, -0.0, INF, 2.0]))];
    let y = g.interpret(&[("y", x.relu())], &leaves).unwrap()["y"].to_f64();
    assert!(y[0].is_nan());
    assert_eq!(y[1..], [0.0, 0.0, INF, 2.0]);
    assert_compiles_right(&g, &[("y", x.relu())], &leaves, 0.0);
}

#[test]
fn elementwise_ties_share_half_and_half() {
    assert_eq!(gradient_at(&[0.0, 1.0, 2.0], |x| x.maximum(1.0)), [0.0, 0.5, 1.0]);
    assert_eq!(gradient_at(&[0.0, 1.0, 2.0], |x| x.minimum(1.0)), [1.0, 0.5, 0.0]);
}

#[test]
fn reduced_ties_share_equally() {
    assert_eq!(gradient_at(&[3.0, 1.0, 3.0, 3.0], |x| x.max(0)), [1.0 / 3.0, 0.0, 1.0 / 3.0, 1.0 / 3.0]);
    assert_eq!(gradient_at(&[3.0, 1.0, 1.0], |x| x.min(0)), [0.0, 0.5, 0.5]);
}

#[test]
fn no_nan_leaks_from_an_untaken_branch() {
    assert_eq!(gradient_at(&[-4.0, 4.0], |x| x.greater(0.0).select(x.sqrt(), 0.0)), [0.0, 0.25]);
    assert_eq!(gradient_at(&[-1.0, 1.0], |x| x.greater(0.0).select(x.log() * x, x)), [1.0, 1.0]);
    assert_eq!(gradient_at(&[0.0, 2.0], |x| x.equal(0.0).select(1.0, x.sin() / x))[0], 0.0);
    // Through a branch within a branch.
    let inner = |x: f64| {
        gradient_at(&[x], |x| x.greater(0.0).select(x.greater(1.0).select(x.log(), x.sqrt()), 0.0))[0]
    };
    assert_eq!([inner(-1.0), inner(0.25), inner(2.0)], [0.0, 1.0, 0.5]);
}

#[test]
fn products_with_zeros_have_finite_gradients() {
    assert_eq!(gradient_at(&[2.0, 3.0, 4.0], |x| x.prod(0)), [12.0, 8.0, 6.0]);
    assert_eq!(gradient_at(&[2.0, 0.0, 4.0], |x| x.prod(0)), [0.0, 8.0, 0.0]);
    assert_eq!(gradient_at(&[0.0, 0.0, 4.0], |x| x.prod(0)), [0.0, 0.0, 0.0]);
}

/// As of products: the derivative in an element is the sum, over the products it is in, of the others.
#[test]
fn running_products_with_zeros_have_finite_gradients() {
    assert_eq!(gradient_at(&[2.0, 3.0, 4.0], |x| x.cumprod(0)), [1.0 + 3.0 + 12.0, 2.0 + 8.0, 6.0]);
    assert_eq!(gradient_at(&[2.0, 0.0, 4.0], |x| x.cumprod(0)), [1.0, 2.0 + 8.0, 0.0]);
    assert_eq!(gradient_at(&[0.0, 0.0, 4.0], |x| x.cumprod(0)), [1.0, 0.0, 0.0]);
}

#[test]
fn powers_at_zero() {
    assert_eq!(gradient_at(&[0.0, 2.0], |x| x.pow(0.0)), [0.0, 0.0]);
    assert_eq!(gradient_at(&[0.0, 2.0], |x| x.pow(1.0)), [1.0, 1.0]);
    assert_eq!(gradient_at(&[0.0, -3.0], |x| x.pow(2.0)), [0.0, -6.0]);
    // In the exponent, at base 0.
    assert_eq!(gradient_at(&[2.0], |x| x.constant_like(0.0).pow(x)), [0.0]);
    assert_eq!(gradient_at(&[0.0], |x| x.sqrt()), [INF]);
}

#[test]
fn saturating_functions_stay_finite() {
    for x in [-1e4, -100.0, 100.0, 1e4] {
        assert_eq!(gradient_at(&[x], |x| x.tanh()), [0.0]);
    }
    assert_eq!(gradient_at(&[-1e4, 100.0, 1e4], |x| x.sigmoid()), [0.0; 3]);
    let small = gradient_at(&[-100.0], |x| x.sigmoid())[0];
    assert!((small / (-100f64).exp() - 1.0).abs() < 1e-15, "{small}");
}

/// In f32, far from 0, where `½ + ½·tanh(½x)` would round to nothing.
#[test]
fn activations_that_fade_away_keep_their_digits() {
    let values = |dtype: DType| {
        let g = Graph::new();
        let x = g.input("x", [3], dtype);
        let leaves = [("x", Value::from(array![-2.0, -4.0, -5.5]).cast(dtype))];
        let outputs = [("sigmoid", (x * 4.0).sigmoid()), ("silu", (x * 4.0).silu()), ("gelu", x.gelu_tanh())];
        let compiled = run(&g.compile(&outputs).unwrap(), &leaves);
        [g.interpret(&outputs, &leaves).unwrap(), compiled]
    };
    let ([exact, _], narrow) = (values(F64), values(F32));
    for (name, exact) in &exact {
        for (values, way) in narrow.iter().zip(["interpreted", "compiled"]) {
            for (x, exact) in values[name].to_f64().into_iter().zip(exact.to_f64()) {
                assert!((x / exact - 1.0).abs() < 1e-5, "{name}, {way}: {x} instead of {exact}");
            }
        }
    }
}

#[test]
fn hard_activations_at_their_bounds() {
    assert_eq!(gradient_at(&[-1.0, 0.0, 3.0, 6.0, 7.0], |x| x.relu6()), [0.0, 0.0, 1.0, 0.0, 0.0]);
    assert_eq!(gradient_at(&[-2.0, 2.0], |x| x.hard_tanh(-2.0, 2.0)), [0.0, 0.0]);
    assert_eq!(gradient_at(&[-2.0, 2.0], |x| x.clamp(-2.0, 2.0)), [1.0, 1.0]);
    assert_eq!(gradient_at(&[-4.0, -3.0, 3.0, 4.0], |x| x.hard_swish()), [0.0, 0.0, 1.0, 1.0]);
    assert_eq!(gradient_at(&[0.0], |x| x.leaky_relu(0.1)), [0.1]);
    assert_eq!(gradient_at(&[0.0], |x| x.elu(0.7)), [0.7]);
    assert_eq!(gradient_at(&[0.0], |x| x.softplus()), [0.5]);
    let nan = gradient_at(&[NAN], |x| x.relu6() * x);
    assert!(nan[0].is_nan());
}

#[test]
fn ties_in_a_pool_share_equally() {
    assert_eq!(gradient_at(&[3.0, 3.0, 1.0, 2.0], |x| x.max_pool1d(2)), [0.5, 0.5, 0.0, 1.0]);
    // Each window shares its own: the middle is in both.
    assert_eq!(gradient_at(&[3.0, 3.0, 3.0], |x| x.max_pool1d(Pool::new(2).stride(1))), [0.5, 1.0, 0.5]);
}

/// Padding is never the largest, whatever the elements are, and counts in averages unless told otherwise.
#[test]
fn padding_of_pools() {
    let g = Graph::new();
    let x = g.input("x", [3], F64);
    let pool = Pool::new(2).padding(1);
    let outputs = [
        ("largest", x.max_pool1d(pool)),
        ("mean", x.avg_pool1d(pool)),
        ("own mean", x.avg_pool1d(pool.without_counting_padding())),
    ];
    let leaves = [("x", Value::from(array![-3.0, -5.0, -4.0]))];
    let values = g.interpret(&outputs, &leaves).unwrap();
    assert_eq!(values["largest"], array![-3.0, -4.0].into());
    assert_eq!(values["mean"], array![-1.5, -4.5].into());
    assert_eq!(values["own mean"], array![-3.0, -4.5].into());
    assert_compiles_right(&g, &outputs, &leaves, 0.0);
    // Of integers too.
    let g = Graph::new();
    let n = g.input("n", [3], I32);
    let outputs = [("largest", n.max_pool1d(pool))];
    let leaves = [("n", Value::from(array![i32::MIN, -5, 7]))];
    assert_eq!(g.interpret(&outputs, &leaves).unwrap()["largest"], array![i32::MIN, 7].into());
    assert_compiles_right(&g, &outputs, &leaves, 0.0);
}

/// A fold of integers wraps, and keeps −0 and NaN where they are.
#[test]
fn folds_of_special_numbers() {
    let slide = [Slide { axis: 0, size: 2, stride: 1, dilation: 1 }];
    let g = Graph::new();
    let (n, x) = (g.input("n", [2, 2], I32), g.input("x", [2, 2], F64));
    let outputs = [("n", n.fold(&slide, [3])), ("x", x.fold(&slide, [3]))];
    let leaves = [
        ("n", Value::from(array![[1, i32::MAX], [2, -7]])),
        ("x", Value::from(array![[-0.0, INF], [-INF, NAN]])),
    ];
    let values = g.interpret(&outputs, &leaves).unwrap();
    assert_eq!(values["n"], array![1, i32::MIN + 1, -7].into());
    assert!(values["x"].to_f64()[0].is_sign_negative() && values["x"].to_f64()[1].is_nan());
    assert_compiles_right(&g, &outputs, &leaves, 0.0);
    // No samples, and windows of one place.
    let g = Graph::new();
    let (none, one) = (g.input("none", [0, 3, 2], F64), g.input("one", [3, 1], F64));
    let slide = |axis, size| [Slide { axis, size, stride: 1, dilation: 1 }];
    let outputs = [("none", none.fold(&slide(1, 2), [0, 4])), ("one", one.fold(&slide(0, 1), [3]))];
    let leaves = [("none", value_for(none, 1)), ("one", value_for(one, 2))];
    let values = g.interpret(&outputs, &leaves).unwrap();
    assert_eq!(values["one"].to_f64(), leaves[1].1.to_f64());
    assert_compiles_right(&g, &outputs, &leaves, 0.0);
}

#[test]
fn losses_at_their_edges() {
    // Where the target has no mass, its logarithm is not looked at.
    let slope = gradient_at(&[0.5, 1.5], |x| x.log_softmax(0).kl_div(x.graph().iota([2], 0, F64)));
    assert!(slope.iter().all(|d| d.is_finite()), "{slope:?}");
    // An ignored sample does not count, be it NaN.
    let g = Graph::new();
    let (x, t) = (g.input("x", [2, 2], F64), g.input("t", [2], I64));
    let loss = x.cross_entropy_with(t, CrossEntropy::new().ignore(-100));
    let dx = g.grad(loss, &[x]).unwrap()[0];
    let leaves = [("x", Value::from(array![[1.0, 1.0], [NAN, INF]])), ("t", Value::from(array![1i64, -100]))];
    let values = g.interpret(&[("loss", loss), ("dx", dx)], &leaves).unwrap();
    assert!((values["loss"].to_f64()[0] - 2f64.ln()).abs() < 1e-15);
    assert_eq!(values["dx"].to_f64()[..2], [0.5, -0.5]);
    assert_compiles_right(&g, &[("loss", loss), ("dx", dx)], &leaves, 1e-15);
}

/// What does not vary is normalised to the bias, with finite gradients.
#[test]
fn normalisation_of_what_does_not_vary() {
    let g = Graph::new();
    let (x, one, b) = (g.input("x", [2, 1, 3], F64), g.constant(1.0, [1], F64), g.constant(0.25, [1], F64));
    let y = x.batch_norm(one, b, 1e-5);
    let dx = g.grad(y.square().sum(..), &[x]).unwrap()[0];
    let values = g.interpret(&[("y", y), ("dx", dx)], &[("x", x_filled_with(7.0))]).unwrap();
    assert_eq!(values["y"].to_f64(), [0.25; 6]);
    assert_eq!(values["dx"].to_f64(), [0.0; 6]);
}

fn x_filled_with(number: f64) -> Value {
    Value::splat(Scalar::F64(number), [2, 1, 3].into())
}

#[test]
fn unreached_variables_have_zero_gradients() {
    let g = Graph::new();
    let (x, z) = (g.input("x", [2], F64), g.input("z", [3], F64));
    let gradients = g.grad(x.sum(..), &[x, z]).unwrap();
    let leaves = [("x", array![1.0, 2.0].into()), ("z", array![1.0, 2.0, 3.0].into())];
    let values = g.interpret(&[("dz", gradients[1])], &leaves).unwrap();
    assert_eq!(values["dz"], array![0.0, 0.0, 0.0].into());
}

/// Every scalar function on special values, in single elements and in vectors with remainders.
#[test]
fn special_values_survive_compilation() {
    let special = [NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 0.5, -2.5, 1e300, -1e-300, 1e4, -1e4];
    let pairs: Vec<(f64, f64)> = special.iter().flat_map(|&a| special.iter().map(move |&b| (a, b))).collect();
    for dtype in [F64, F32] {
        let g = Graph::new();
        let (a, b) = (g.input("a", [pairs.len()], dtype), g.input("b", [pairs.len()], dtype));
        let column = |values: Vec<f64>| Value::from(Array1::from(values)).cast(dtype);
        let leaves = [
            ("a", column(pairs.iter().map(|pair| pair.0).collect())),
            ("b", column(pairs.iter().map(|pair| pair.1).collect())),
        ];
        let outputs = [
            ("add", a + b),
            ("sub", a - b),
            ("mul", a * b),
            ("div", a / b),
            ("pow", a.pow(b)),
            ("max", a.maximum(b)),
            ("min", a.minimum(b)),
            ("neg", -a),
            ("abs", a.abs()),
            ("sign", a.sign()),
            ("exp", a.exp()),
            ("log", a.log()),
            ("sqrt", a.sqrt()),
            ("tanh", a.tanh()),
            ("sigmoid", a.sigmoid()),
            ("softplus", a.softplus()),
            ("erf_inv", a.erf_inv()),
            ("sin", a.sin()),
            ("cos", a.cos()),
            ("floor", a.floor()),
            ("ceil", a.ceil()),
            ("round", a.round()),
            ("eq", a.equal(b)),
            ("ne", a.not_equal(b)),
            ("lt", a.less(b)),
            ("le", a.less_equal(b)),
            ("gt", a.greater(b)),
            ("ge", a.greater_equal(b)),
            ("select", a.less(b).select(a, b)),
            ("logic", (a.less(b) | a.greater(1.0)) & !b.equal(0.0)),
            ("i32", a.cast(I32)),
            ("i64", a.cast(I64)),
            ("bool", a.cast(Bool)),
            ("same", a.less(b).cast(dtype)),
        ];
        assert_compiles_right(&g, &outputs, &leaves, 1e-6);
        assert_signs_of_zero_agree(&g, &outputs, &leaves);
    }
}

/// Extrema of rows and of columns of every length: zeros are ordered by their signs, and NaN wins wherever it stands.
#[test]
fn extrema_know_nan_and_the_signs_of_zeros() {
    let special = [-0.0, 0.0, -0.0, -0.0, -INF, -1.0, -0.0, 0.0, INF, -0.0, 1.0];
    for (dtype, width) in [F32, F64].into_iter().flat_map(|dtype| (1..=40).map(move |width| (dtype, width))) {
        let g = Graph::new();
        let x = g.input("x", [width + 3, width], dtype);
        // All zeros in one row of four; NaN goes from place to place in one of three.
        let element = |(row, column): (usize, usize)| match row % 4 {
            _ if row % 3 == 0 && column == row => NAN,
            0 => special[(row + column) % 4],
            step => special[(step * column + row) % special.len()],
        };
        let leaves =
            [("x", Value::from(ndarray::Array2::from_shape_fn([width + 3, width], element)).cast(dtype))];
        let outputs = [
            ("max", x.max(1)),
            ("min", x.min(1)),
            ("max of columns", x.max(0)),
            ("min of columns", x.min(0)),
            ("max of negated", (-x).max(1) + x.min(1)),
        ];
        assert_compiles_right(&g, &outputs, &leaves, 0.0);
        assert_signs_of_zero_agree(&g, &outputs, &leaves);
    }
}

/// Rewrites that lose NaN, ±∞ or −0 are made when they are asked for, and only then.
#[test]
fn fast_math_is_off_by_default() {
    let g = Graph::new();
    let x = g.input("x", [3], F64);
    let function = g.function().output("difference", x - x).output("ratio", x / x).output("sum", x + 0.0);
    let leaves = [("x", Value::from(array![INF, 0.0, -0.0]))];
    let values = |fast_math| {
        let options = Options { fast_math, ..Options::default() };
        let values = run(&function.compile_with(&options).unwrap(), &leaves);
        ["difference", "ratio", "sum"].map(|name| values[name].to_f64())
    };
    let [difference, ratio, sum] = values(FastMath::default());
    assert!(difference[0].is_nan() && ratio.iter().all(|x| x.is_nan()));
    assert!(sum[2] == 0.0 && sum[2].is_sign_positive());
    let [difference, ratio, sum] = values(FastMath::On);
    assert_eq!((difference, ratio), (vec![0.0; 3], vec![1.0; 3]));
    assert!(sum[2] == 0.0 && sum[2].is_sign_negative());
}

fn assert_signs_of_zero_agree(g: &Graph, outputs: &[(&str, Tensor<'_>)], leaves: &[(&str, Value)]) {
    let expected = g.interpret(outputs, leaves).unwrap();
    let actual = run(&g.compile(outputs).unwrap(), leaves);
    for (name, _) in outputs {
        for (e, a) in expected[*name].to_f64().into_iter().zip(actual[*name].to_f64()) {
            assert!(e != 0.0 || e.is_sign_negative() == a.is_sign_negative(), "{name}: {e:?} and {a:?}");
        }
    }
}

#[test]
fn integers_wrap_and_never_trap() {
    let numbers = [i32::MIN, -7, -1, 0, 1, 3, i32::MAX];
    let pairs: Vec<(i32, i32)> = numbers.iter().flat_map(|&a| numbers.iter().map(move |&b| (a, b))).collect();
    for dtype in [I32, I64] {
        let g = Graph::new();
        let (a, b) = (g.input("a", [pairs.len()], dtype), g.input("b", [pairs.len()], dtype));
        let column = |values: Vec<i32>| Value::from(Array1::from(values)).cast(dtype);
        let leaves = [
            ("a", column(pairs.iter().map(|pair| pair.0).collect())),
            ("b", column(pairs.iter().map(|pair| pair.1).collect())),
        ];
        let outputs = [
            ("add", a + b),
            ("sub", a - b),
            ("mul", a * b),
            ("div", a / b),
            ("max", a.maximum(b)),
            ("neg", -a),
            ("abs", a.abs()),
            ("sign", a.sign()),
            ("rem", a % b),
            ("and", a & b),
            ("or", a | b),
            ("xor", a ^ b),
            ("not", !a),
            ("left", a << b),
            ("right", a >> b),
            ("logical", a.shift_right_logical(b)),
            ("rotated", a.rotate_left(b)),
            ("sum", a.sum(..)),
            ("prod", b.prod(..)),
            ("least", a.min(..)),
            ("lt", a.less(b)),
            ("f32", a.cast(F32)),
            ("f64", a.cast(F64)),
            ("i64", a.cast(I64)),
            ("i32", a.cast(I32)),
            ("bool", a.cast(Bool)),
        ];
        assert_compiles_right(&g, &outputs, &leaves, 0.0);
    }
}

/// Amounts outside 0 to the width shift everything out, as in XLA; rotation counts modulo the width.
#[test]
fn bits_are_shifted_by_any_amount() {
    let g = Graph::new();
    let (a, bits) = (g.input("a", [5], I32), g.input("bits", [5], I32));
    let (flag, other) = (g.input("flag", [4], Bool), g.input("other", [4], Bool));
    let outputs = [
        ("left", a << bits),
        ("right", a >> bits),
        ("logical", a.shift_right_logical(bits)),
        ("rotated", a.rotate_left(bits)),
        ("by four", (a << 4) >> 4),
        ("either", flag ^ other),
        ("wide", (a.cast(I64) << 40) ^ !bits.cast(I64)),
    ];
    let leaves = [
        ("a", Value::from(array![-8, -8, 5, -8, 5])),
        ("bits", array![1, 31, 32, 40, -1].into()),
        ("flag", array![false, false, true, true].into()),
        ("other", array![false, true, false, true].into()),
    ];
    let values = g.interpret(&outputs, &leaves).unwrap();
    assert_eq!(values["left"], array![-16, 0, 0, 0, 0].into());
    assert_eq!(values["right"], array![-4, -1, 0, -1, 0].into());
    assert_eq!(values["logical"], array![0x7fff_fffc, 1, 0, 0, 0].into());
    assert_eq!(values["rotated"], array![-15, 0x7fff_fffc, 5, -8 << 8 | 0xff, i32::MIN | 2].into());
    assert_eq!(values["by four"], leaves[0].1);
    assert_eq!(values["either"], array![false, true, true, false].into());
    assert_compiles_right(&g, &outputs, &leaves, 0.0);
    let message = |build: fn(&Graph)| {
        let g = Graph::new();
        build(&g);
        g.check().unwrap_err().to_string()
    };
    let float = message(|g| drop(format!("{:?}", g.input("x", [], F32) << 1)));
    assert!(float.contains("shift_left: f32[] is not supported here; expected i32 or i64"), "{float}");
    let truth =
        message(|g| drop(format!("{:?}", g.input("x", [], Bool).rotate_left(g.input("y", [], Bool)))));
    assert!(truth.contains("expected i32 or i64"), "{truth}");
}

/// In lanes with remainders: by constants, by one amount known when the code runs, by an amount for each element.
#[test]
fn rows_are_shifted_in_lanes() {
    for dtype in [I32, I64] {
        for extent in [1, 2, 3, 4, 7, 70] {
            let g = Graph::new();
            let (a, bits) = (g.input("a", [extent], dtype), g.input("bits", [extent], dtype));
            let one = g.input("one", [], dtype);
            let amounts =
                [a.constant_like(0.0), a.constant_like(5.0), a.constant_like(64.0), one + a * 0.0, bits];
            let mut outputs = Vec::new();
            for amount in amounts {
                outputs.extend([
                    a << amount,
                    a >> amount,
                    a.shift_right_logical(amount),
                    a.rotate_left(amount),
                ]);
            }
            outputs.extend([a << one, a >> one, a.shift_right_logical(one), a.rotate_left(one)]);
            let names: Vec<String> = (0..outputs.len()).map(|number| number.to_string()).collect();
            let outputs: Vec<_> = names.iter().map(String::as_str).zip(outputs).collect();
            let column =
                |f: fn(i64) -> i64| Value::from(Array1::from_iter((0..extent as i64).map(f))).cast(dtype);
            for amount in [-1i64, 0, 3, 31, 32, 63, 64] {
                let leaves = [
                    ("a", column(|i| (i - 2) * 0x1234_5678_9abc)),
                    ("bits", column(|i| i * 7 - 20)),
                    ("one", Value::from(amount).cast(dtype)),
                ];
                assert_compiles_right(&g, &outputs, &leaves, 0.0);
            }
        }
    }
}

#[test]
fn empty_axes_sum_to_nothing() {
    let g = Graph::new();
    let x = g.input("x", [0, 3], F32);
    let outputs = [
        ("sum", x.sum(0)),
        ("all", x.sum(..)),
        ("prod", x.prod(0)),
        ("same", x * 2.0),
        ("dot", x.einsum("nk,nm->km", x)),
    ];
    assert_compiles_right(&g, &outputs, &[("x", Array2::<f32>::zeros((0, 3)).into())], 0.0);
}

/// Indices out of range pick the first and the last row, in value and in gradient; never other memory.
#[test]
fn rows_out_of_range_are_the_nearest() {
    let g = Graph::new();
    let x = g.input("x", [3, 2], F64);
    let rows = g.input("rows", [5], I64);
    let y = x.take(0, rows);
    let weights = g.input("weights", [5, 2], F64);
    let dx = g.grad((y * weights).sum(..), &[x]).unwrap()[0];
    let leaves = [
        ("x", Value::from(array![[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])),
        ("rows", array![i64::MIN, -1, 1, 3, i64::MAX].into()),
        ("weights", array![[1.0, 0.0], [2.0, 0.0], [4.0, 1.0], [8.0, 0.0], [16.0, 3.0]].into()),
    ];
    let outputs = [("y", y), ("dx", dx)];
    let values = g.interpret(&outputs, &leaves).unwrap();
    assert_eq!(values["y"], array![[1.0, 2.0], [1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [5.0, 6.0]].into());
    assert_eq!(values["dx"], array![[3.0, 0.0], [4.0, 1.0], [24.0, 3.0]].into());
    assert_compiles_right(&g, &outputs, &leaves, 0.0);
}

/// Rows are picked from memory: what is computed on the spot elsewhere must be stored for it.
#[test]
fn rows_of_constants_and_indices_are_picked() {
    let g = Graph::new();
    let (x, rows) = (g.input("x", [3], F64), g.input("rows", [4], I32));
    let outputs = [
        ("constant", x.constant_like(0.5).take(0, rows)),
        ("iota", g.iota([3], 0, F64).take(0, rows)),
        ("both", g.iota([2, 3], 1, I64).take(1, rows) + g.iota([3], 0, I64).take(0, rows)),
        ("reshaped", g.iota([6, 4], 1, F64).reshape([3, 8]).take(0, rows)),
        ("other", x.sin()),
    ];
    let leaves = [("x", Value::from(array![1.0, 2.0, 3.0])), ("rows", array![2, -1, 7, 0].into())];
    assert_compiles_right(&g, &outputs, &leaves, 1e-15);
}

/// A maximum that is the same for every row, counted beside a vector of rows.
#[test]
fn rows_at_a_fixed_index_share_their_ties() {
    let g = Graph::new();
    let (x, scale) = (g.input("x", [2, 2], F64), g.input("scale", [2], F64));
    let rows = g.iota([2], 0, I32) * 0.0;
    let largest = (-x.tanh().take(0, rows)).max(1);
    let dx = g.grad((largest * scale).sum(..), &[x]).unwrap()[0];
    let outputs = [("largest", largest), ("dx", dx)];
    let leaves = [("x", Value::from(array![[0.5, 0.5], [1.0, 2.0]])), ("scale", array![3.0, 4.0].into())];
    assert_compiles_right(&g, &outputs, &leaves, 1e-14);
}

#[test]
fn the_first_of_equals_is_found() {
    let g = Graph::new();
    let x = g.input("x", [3, 4], F32);
    let outputs = [
        ("most", x.argmax(1)),
        ("least", x.argmin(-1)),
        ("down", x.argmax(0)),
        ("any", x.greater(2.0).any(1)),
        ("all", x.greater(0.0).all(1)),
    ];
    let nan = f32::NAN;
    let leaves =
        [("x", Value::from(array![[1.0f32, 3.0, 3.0, 1.0], [0.5, nan, 7.0, 1.0], [2.0, 2.0, 2.0, 2.0]]))];
    let values = g.interpret(&outputs, &leaves).unwrap();
    assert_eq!(values["most"], array![1i64, 1, 0].into());
    assert_eq!(values["least"], array![0i64, 1, 0].into());
    assert_eq!(values["any"], array![true, true, false].into());
    assert_eq!(values["all"], array![true, false, true].into());
    assert_compiles_right(&g, &outputs, &leaves, 0.0);
}

/// Whole numbers beside tensors are exact, which f64 would not be, and of those too large the low bits count.
#[test]
fn whole_numbers_take_the_type_of_the_tensor() {
    let g = Graph::new();
    let (i, j) = (g.input("i", [2], I64), g.input("j", [2], I32));
    let large = (1i64 << 60) + 1;
    let outputs =
        [("sum", i + large), ("bits", j & 0xffff_ffffi64), ("least", j.minimum(-5)), ("half", 1 / i)];
    let given = [("i", array![1i64, -2].into()), ("j", array![-1, 7].into())];
    let values = g.interpret(&outputs, &given).unwrap();
    assert_eq!(values["sum"], array![large + 1, large - 2].into());
    assert_eq!(values["bits"], array![-1, 7].into());
    assert_eq!(values["least"], array![-5, -5].into());
    assert_eq!(values["half"], array![1i64, 0].into());
}
