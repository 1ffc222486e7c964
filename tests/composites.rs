//! Activations, layers, losses and whole functions against JAX: values and gradients in f64 (`tests/fixtures/make.py`).

mod common;

use common::{assert_compiles_right, distance};
use hitofude::TensorType;
use hitofude::nn::{Conv, Pool};
use hitofude::prelude::*;
use safetensors::SafeTensors;

const FIXTURES: &[u8] = include_bytes!("fixtures/composites.safetensors");

/// A composite: its name, its inputs, and itself.
type Case = (&'static str, &'static [&'static str], for<'g> fn(&'g Graph, &[Tensor<'g>]) -> Tensor<'g>);

const CASES: &[Case] = &[
    ("relu", &["x"], |_, l| l[0].relu()),
    ("leaky_relu", &["x"], |_, l| l[0].leaky_relu(0.1)),
    ("elu", &["x"], |_, l| l[0].elu(0.8)),
    ("sigmoid", &["x"], |_, l| l[0].sigmoid()),
    ("softplus", &["x"], |_, l| l[0].softplus()),
    ("silu", &["x"], |_, l| l[0].silu()),
    ("gelu", &["x"], |_, l| l[0].gelu()),
    ("gelu_tanh", &["x"], |_, l| l[0].gelu_tanh()),
    ("erf", &["x"], |_, l| l[0].erf()),
    ("logsumexp", &["x"], |_, l| l[0].logsumexp(0)),
    ("softmax", &["x"], |_, l| l[0].softmax(-1)),
    ("log_softmax", &["x"], |_, l| l[0].log_softmax(0)),
    ("linear", &["x", "w", "b"], |_, l| l[0].linear(l[1], l[2])),
    ("layer_norm", &["x", "v", "c"], |_, l| l[0].layer_norm(l[1], l[2], 1e-5)),
    ("rms_norm", &["x", "v"], |_, l| l[0].rms_norm(l[1], 1e-6)),
    ("attention", &["q", "k", "u"], |g, l| l[0].attention(l[1], l[2], Some(g.causal_mask(6)))),
    ("mse_loss", &["x", "t"], |_, l| l[0].mse_loss(l[1])),
    ("l1_loss", &["x", "t"], |_, l| l[0].l1_loss(l[1])),
    ("huber_loss", &["x", "t"], |_, l| l[0].huber_loss(l[1], 0.7)),
    ("bce_with_logits", &["x", "p"], |_, l| l[0].bce_with_logits(l[1])),
    ("conv1d", &["x", "w", "b"], |_, l| {
        l[0].conv1d(l[1], l[2], Conv::new().stride(3).padding(2).dilation(2))
    }),
    ("conv1d_groups", &["x", "w"], |_, l| {
        l[0].conv1d(l[1], None, Conv::new().stride(2).padding(1).groups(2))
    }),
    ("conv2d", &["x", "w", "b"], |_, l| l[0].conv2d(l[1], l[2], Conv::new())),
    ("conv2d_far", &["x", "w", "b"], |_, l| {
        l[0].conv2d(l[1], l[2], Conv::new().stride(2).padding(1).dilation(2))
    }),
    ("conv2d_axes", &["x", "w", "b"], |_, l| {
        l[0].conv2d(l[1], l[2], Conv::new().stride([1, 2]).padding([2, 1]).dilation([2, 1]))
    }),
    ("conv2d_same", &["x", "w", "b"], |_, l| l[0].conv2d(l[1], l[2], Conv::new().same_padding().dilation(2))),
    ("conv2d_groups", &["x", "w", "b"], |_, l| {
        l[0].conv2d(l[1], l[2], Conv::new().stride(2).padding(1).groups(2))
    }),
    ("conv2d_depthwise", &["x", "w", "b"], |_, l| l[0].conv2d(l[1], l[2], Conv::new().padding(1).groups(4))),
    ("conv2d_pointwise", &["x", "w", "b"], |_, l| l[0].conv2d(l[1], l[2], Conv::new().stride(2))),
    ("conv_transpose1d", &["x", "w", "b"], |_, l| {
        l[0].conv_transpose1d(l[1], l[2], Conv::new().stride(2).padding(1).dilation(2), 0)
    }),
    ("conv_transpose2d", &["x", "w", "b"], |_, l| l[0].conv_transpose2d(l[1], l[2], Conv::new(), 0)),
    ("conv_transpose2d_far", &["x", "w", "b"], |_, l| {
        l[0].conv_transpose2d(l[1], l[2], Conv::new().stride([2, 3]).padding(1).dilation([1, 2]), [1, 0])
    }),
    ("conv_transpose2d_groups", &["x", "w", "b"], |_, l| {
        l[0].conv_transpose2d(l[1], l[2], Conv::new().stride([3, 2]).groups(2), 0)
    }),
    ("max_pool2d", &["x"], |_, l| l[0].max_pool2d(Pool::new([3, 2]).stride(2))),
    ("max_pool2d_padded", &["x"], |_, l| l[0].max_pool2d(Pool::new(3).stride([2, 1]).padding(1))),
    ("max_pool2d_far", &["x"], |_, l| {
        l[0].max_pool2d(Pool::new([2, 3]).stride([3, 2]).padding([1, 2]).dilation(2))
    }),
    ("avg_pool2d", &["x"], |_, l| l[0].avg_pool2d(Pool::new([3, 2]).stride(2))),
    ("avg_pool2d_padded", &["x"], |_, l| l[0].avg_pool2d(Pool::new(3).stride(2).padding(1))),
    ("avg_pool2d_counted", &["x"], |_, l| {
        l[0].avg_pool2d(Pool::new([3, 2]).stride(2).padding([1, 0]).without_counting_padding())
    }),
    ("avg_pool1d", &["x"], |_, l| l[0].avg_pool1d(2)),
    ("global_pools", &["x"], |_, l| l[0].global_max_pool() * l[0].global_avg_pool()),
    ("cross_entropy", &["x"], |g, l| l[0].cross_entropy(g.input("labels", [4], I64))),
    ("mlp", &["x", "w1", "b1", "w2", "b2"], |g, l| {
        l[0].linear(l[1], l[2]).relu().linear(l[3], l[4]).cross_entropy(g.input("labels", [4], I64))
    }),
    ("pinn", &["x", "w1", "b1"], pinn),
    ("rosenbrock_slope", &["v", "c"], rosenbrock_slope),
];

/// The column of a matrix: its product with a unit vector.
fn column<'g>(g: &'g Graph, matrix: Tensor<'g>, at: f64) -> Tensor<'g> {
    let unit = g.iota([5], 0, F64).equal(at).cast(F64);
    matrix.einsum("ab,b->a", unit)
}

fn pinn<'g>(g: &'g Graph, l: &[Tensor<'g>]) -> Tensor<'g> {
    let s = column(g, l[0], 0.0);
    let (inner, outer) = (column(g, l[1], 0.0), column(g, l[1], 1.0));
    let u = (s.einsum("a,b->ab", inner) + l[2]).tanh().einsum("ab,b->a", outer);
    let du = g.grad(u.sum(..), &[s]).unwrap()[0];
    let d2u = g.grad(du.sum(..), &[s]).unwrap()[0];
    (d2u + u).square().mean(..)
}

fn rosenbrock_slope<'g>(g: &'g Graph, l: &[Tensor<'g>]) -> Tensor<'g> {
    let v = l[0];
    // Without slices: products with matrices that pick all but the last, and all but the first.
    let pick = |offset: f64| {
        let (row, column) = (g.iota([4, 5], 0, F64), g.iota([4, 5], 1, F64));
        (row + offset).equal(column).cast(F64).einsum("ab,b->a", v)
    };
    let (now, next) = (pick(0.0), pick(1.0));
    let y = ((next - now.square()).square() * 100.0 + (1.0 - now).square()).sum(..);
    (g.grad(y, &[v]).unwrap()[0] * l[1]).sum(..)
}

fn fixture(file: &SafeTensors<'_>, name: &str) -> Value {
    let view = file.tensor(name).unwrap();
    let shape = Shape::new(view.shape()).unwrap();
    let words = view.data().chunks_exact(8).map(|bytes| <[u8; 8]>::try_from(bytes).unwrap());
    match name {
        "labels" => Value::from_elements(
            TensorType::new(I64, shape),
            words.map(|word| Scalar::I64(i64::from_le_bytes(word))),
        ),
        _ => Value::from_elements(
            TensorType::new(F64, shape),
            words.map(|word| Scalar::F64(f64::from_le_bytes(word))),
        ),
    }
}

#[test]
fn values_and_gradients_are_those_of_jax() {
    let file = SafeTensors::deserialize(FIXTURES).unwrap();
    for (name, inputs, build) in CASES {
        let g = Graph::new();
        let value = |leaf: &str| fixture(&file, &format!("{name}.{leaf}"));
        let leaves: Vec<Tensor<'_>> =
            inputs.iter().map(|leaf| g.input(leaf, value(leaf).ty().shape, F64)).collect();
        let y = build(&g, &leaves);
        let weights = g.input("weights", y.shape(), F64);
        let gradients =
            g.grad((y * weights).sum(..), &leaves).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut given: Vec<(&str, Value)> = inputs.iter().map(|leaf| (*leaf, value(leaf))).collect();
        given.push(("weights", value("weights")));
        if g.leaf("labels").is_some() {
            given.push(("labels", fixture(&file, "labels")));
        }
        let names: Vec<String> = inputs.iter().map(|leaf| format!("d{leaf}")).collect();
        let mut outputs = vec![("y", y)];
        outputs.extend(names.iter().map(String::as_str).zip(gradients));
        let values = g.interpret(&outputs, &given).unwrap();
        for (output, _) in &outputs {
            let apart = distance(&value(output), &values[*output]);
            assert!(
                apart < 1e-12,
                "{name}.{output}: {apart:e} from JAX\n{:?}\n{:?}",
                value(output),
                values[*output]
            );
        }
        assert_compiles_right(&g, &outputs, &given, 1e-12);
    }
}

/// Stable functions stay finite, with finite gradients, at ±10⁴ in f32.
#[test]
fn stable_functions_are_finite_far_out() {
    type Function = for<'g> fn(Tensor<'g>) -> Tensor<'g>;
    let functions: [(&str, Function); 8] = [
        ("softmax", |x| x.softmax(0)),
        ("log_softmax", |x| x.log_softmax(0)),
        ("logsumexp", |x| x.logsumexp(0)),
        ("softplus", |x| x.softplus()),
        ("sigmoid", |x| x.sigmoid()),
        ("silu", |x| x.silu()),
        ("gelu", |x| x.gelu()),
        ("bce", |x| x.bce_with_logits(x.constant_like(0.3))),
    ];
    for (name, function) in functions {
        let g = Graph::new();
        let x = g.input("x", [4], F32);
        let y = function(x);
        let dx = g.grad(y.sum(..), &[x]).unwrap()[0];
        let leaves = [("x", Value::from(array![-1e4f32, 1e4, 0.0, 9999.0]))];
        let values = g.interpret(&[("y", y), ("dx", dx)], &leaves).unwrap();
        for (output, value) in &values {
            assert!(value.to_f64().iter().all(|x| x.is_finite()), "{name}: {output} is {value:?}");
        }
        assert_compiles_right(&g, &[("y", y), ("dx", dx)], &leaves, 1e-6);
    }
}

#[test]
fn logsumexp_of_nothing_likely_is_minus_infinity_without_gradient() {
    let g = Graph::new();
    let x = g.input("x", [2, 2], F64);
    let y = x.logsumexp(1);
    let dx = g.grad(y.sum(..), &[x]).unwrap()[0];
    let infinite = f64::NEG_INFINITY;
    let leaves = [("x", Value::from(array![[infinite, infinite], [infinite, 3.0]]))];
    let outputs = [("y", y), ("dx", dx)];
    let values = g.interpret(&outputs, &leaves).unwrap();
    assert_eq!(values["y"], array![infinite, 3.0].into());
    assert_eq!(values["dx"], array![[0.0, 0.0], [0.0, 1.0]].into());
    assert_compiles_right(&g, &outputs, &leaves, 0.0);
}
