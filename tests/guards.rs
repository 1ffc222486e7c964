//! Loops cut where guards change, and small loops written out: what is left of both in the schedule, and that values
//! are those of the interpreter to the bit, zeros of either sign included.

mod common;

use common::{assert_compiles_right, leaf_values, run};
use hitofude::Options;
use hitofude::nn::{Conv, Pool};
use hitofude::prelude::*;

type Body = for<'g> fn(Tensor<'g>, Tensor<'g>) -> Tensor<'g>;

/// Bodies over `x` `[5, 6, 40]` and `y` `[5, 6, 40]`, whose loops have no guards left.
const CUT: &[(&str, Body)] = &[
    ("padding", |x, _| x.pad(2, 3, 1)),
    ("padding with a number", |x, _| x.pad_with(2, 3, 1, -7.5).pad_with(1, 1, 0, 2.0)),
    ("padding on both axes", |x, y| x.pad(1, 2, 2).pad(2, 1, 9) - y.pad(1, 2, 2).pad(2, 5, 5)),
    ("padding by one", |x, _| x.pad(1, 1, 1).pad(2, 1, 1)),
    ("concatenation", |x, y| x.concat(&[y.sign(), x - y], 2)),
    ("overlaid sections", |x, y| x.pad(2, 80, 0) + y.pad(2, 40, 40) + (x - y).pad(2, 0, 80)),
    ("a roll", |x, y| x.roll(2, 7) - y.roll(1, -2)),
    ("reversed and padded", |x, y| x.reverse(2).pad(2, 4, 4).minimum(y.pad(2, 0, 8))),
    ("a sum over what is padded", |x, y| (x.pad(2, 5, 3).maximum(y.pad(2, 1, 7))).max(2)),
    ("padded windows", |x, _| x.max_pool2d(Pool::new(3).stride(1).padding(1))),
    ("strided padded windows", |x, _| x.max_pool2d(Pool::new(3).stride(2).padding(1))),
];

/// Some zeros of either sign among the numbers.
fn with_zeros(values: Vec<(String, Value)>) -> Vec<(String, Value)> {
    let zeros = |value: Value| {
        let numbers = value.to_f64().into_iter().enumerate();
        let changed: Vec<f64> = numbers
            .map(|(at, number)| match at % 7 {
                0 => 0.0,
                3 => -0.0,
                _ => number,
            })
            .collect();
        let shape = value.ty().shape.extents().to_vec();
        Value::from(ndarray::ArrayD::from_shape_vec(shape, changed).unwrap())
    };
    values.into_iter().map(|(name, value)| (name, zeros(value))).collect()
}

fn bits(value: &Value) -> Vec<u64> {
    value.to_f64().into_iter().map(f64::to_bits).collect()
}

/// The schedule's text, after values have been compared.
fn checked(name: &str, body: Body) -> String {
    let g = Graph::new();
    let (x, y) = (g.input("x", [5, 6, 40], F64), g.input("y", [5, 6, 40], F64));
    let z = body(x, y);
    let function = g.function().output("z", z);
    let leaves = with_zeros(leaf_values(&g));
    let leaves: Vec<(&str, Value)> = leaves.iter().map(|(name, value)| (&name[..], value.clone())).collect();
    let expected = &g.interpret(&[("z", z)], &leaves).unwrap()["z"];
    let actual = &run(&function.compile().unwrap(), &leaves)["z"];
    assert_eq!(bits(expected), bits(actual), "{name}");
    function.schedule(&Options::default()).unwrap().program.to_string()
}

#[test]
fn guards_are_decided_by_cutting_loops() {
    for (name, body) in CUT {
        let text = checked(name, *body);
        assert!(!text.contains('≤'), "{name}:\n{text}");
    }
}

/// The gradient in `x` of the pool's sum, weighted by elements of `y`.
fn cotangent<'g>(x: Tensor<'g>, y: Tensor<'g>, pool: Pool<2>) -> Tensor<'g> {
    let pooled = x.max_pool2d(pool);
    let shape = pooled.shape();
    let loss = (pooled * y.slice(1, 0..shape.extents()[1]).slice(2, 0..shape.extents()[2])).sum(..);
    x.graph().grad(loss, &[x]).unwrap()[0]
}

/// Holds the values against the interpreter's, which sums in another order, and the schedule against guards.
fn assert_unguarded(dx: Tensor<'_>, tolerance: f64) {
    let leaves = leaf_values(dx.graph());
    let leaves: Vec<(&str, Value)> = leaves.iter().map(|(name, value)| (&name[..], value.clone())).collect();
    assert_compiles_right(dx.graph(), &[("dx", dx)], &leaves, tolerance);
    let function = dx.graph().function().output("dx", dx);
    let text = function.schedule(&Options::default()).unwrap().program.to_string();
    assert!(!text.contains('≤'), "{}\n{text}", dx.graph());
}

/// The windows overlap: an element takes part in up to nine, in fewer at borders.
#[test]
fn the_cotangent_of_overlapping_windows_has_no_guards() {
    for stride in [1, 2] {
        let g = Graph::new();
        let (x, y) = (g.input("x", [5, 6, 40], F64), g.input("y", [5, 6, 40], F64));
        let dx = cotangent(x, y, Pool::new(3).stride(stride).padding(1));
        assert_unguarded(dx, 1e-15);
    }
}

/// The cotangent of a strided convolution's image in phases: with as many places each, filled up with zeros or apart where
/// they differ, and without any.
#[test]
fn the_cotangent_of_strided_windows_has_no_guards() {
    let strided = |stride: [usize; 2]| Conv::new().stride(stride).padding(1);
    let cases = [
        ([3, 3], 16, 1, strided([2, 2])),
        ([3, 3], 3, 1, strided([2, 2])),
        ([3, 3], 8, 8, strided([2, 2])),
        ([4, 5], 16, 1, strided([2, 3])),
        ([7, 2], 32, 1, strided([3, 3])),
        ([3, 3], 32, 1, strided([1, 2])),
        ([3, 3], 32, 1, strided([1 << 40, 2])),
        ([3, 4], 16, 1, strided([2, 3]).dilation(2)),
    ];
    for (window, channels, groups, conv) in cases {
        let g = Graph::new();
        let x = g.input("x", [2, channels, 11, 12], F64);
        let w = g.input("w", [8, channels / groups, window[0], window[1]], F64);
        let y = x.conv2d(w, None, conv.groups(groups));
        let dx = g.grad((y * g.input("dy", y.shape(), F64)).sum(..), &[x]).unwrap()[0];
        assert_unguarded(dx, 1e-14);
    }
}

#[test]
fn windows_are_written_out() {
    let text = checked("pooling", |x, _| x.max_pool2d(2));
    assert!(!text.contains("reduce"), "{text}");
    assert_eq!(text.matches("load").count(), 4, "{text}");
}

/// The cotangent of a pool, and what is computed element by element from it, is one loop over windows, in which each
/// element is loaded and stored once. One more loop sums it up.
#[test]
fn the_cotangent_of_a_pool_is_one_loop_over_windows() {
    let g = Graph::new();
    let x = g.input("x", [4, 12, 40], F32);
    let y = x.relu().max_pool2d(2).square().sum(..);
    let dx = g.grad(y, &[x]).unwrap()[0];
    let function = g.function().output("total", dx.sum(1));
    let text = function.schedule(&Options::default()).unwrap().program.to_string();
    let count = |word: &str| text.matches(word).count();
    assert_eq!([count("kernel"), count("for"), count("load"), count("store")], [1, 4, 5, 5], "{text}");
}

/// Sums over what is padded add its zeros: the sum of negative zeros alone is −0, with padding it is 0.
#[test]
fn sums_over_padding_keep_their_sign() {
    let g = Graph::new();
    let x = g.input("x", [40, 33], F64);
    let (bare, padded) = (x.sum(1), (x.pad(1, 3, 2) * 1.0).sum(1));
    let function = g.function().output("bare", bare).output("padded", padded);
    let zeros = Value::splat(hitofude::Scalar::F64(-0.0), x.shape());
    let values = run(&function.compile().unwrap(), &[("x", zeros)]);
    assert!(bits(&values["bare"]).into_iter().all(|bits| bits == (-0.0f64).to_bits()));
    assert!(bits(&values["padded"]).into_iter().all(|bits| bits == 0));
}

/// What would become too large stays guarded, and right.
#[test]
fn many_sections_stay_guarded() {
    let g = Graph::new();
    let x = g.input("x", [3, 64], F64);
    let parts: Vec<Tensor<'_>> = (0..40).map(|part| x.slice(1, part..part + 20)).collect();
    let joined = parts[0].concat(&parts[1..], 1);
    let function = g.function().output("joined", joined);
    let leaves = leaf_values(&g);
    let leaves: Vec<(&str, Value)> = leaves.iter().map(|(name, value)| (&name[..], value.clone())).collect();
    let expected = &g.interpret(&[("joined", joined)], &leaves).unwrap()["joined"];
    assert_eq!(&run(&function.compile().unwrap(), &leaves)["joined"], expected);
    assert!(function.schedule(&Options::default()).unwrap().program.to_string().contains('≤'));
}
