//! Activations, layers and losses against JAX: values and gradients in f64.

mod common;

use common::assert_compiles_right;
use common::jax::{Case, assert_like_jax};
use hitofude::nn::{Conv, CrossEntropy, Pool};
use hitofude::prelude::*;

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
    ("relu6", &["x"], |_, l| l[0].relu6()),
    ("hard_tanh", &["x"], |_, l| l[0].hard_tanh(-0.5, 2.0)),
    ("hard_sigmoid", &["x"], |_, l| l[0].hard_sigmoid()),
    ("hard_swish", &["x"], |_, l| l[0].hard_swish()),
    ("mish", &["x"], |_, l| l[0].mish()),
    ("log_sigmoid", &["x"], |_, l| l[0].log_sigmoid()),
    ("logsumexp", &["x"], |_, l| l[0].logsumexp(0)),
    ("logsumexp_axes", &["x"], |_, l| l[0].logsumexp([1, -1])),
    ("softmax_axes", &["x"], |_, l| l[0].softmax([-2, 3])),
    ("softmax", &["x"], |_, l| l[0].softmax(-1)),
    ("log_softmax", &["x"], |_, l| l[0].log_softmax(0)),
    ("linear", &["x", "w", "b"], |_, l| l[0].linear(l[1], l[2])),
    ("layer_norm", &["x", "v", "c"], |_, l| l[0].layer_norm(l[1], l[2], 1e-5)),
    ("layer_norm_axes", &["x", "v", "c"], |_, l| l[0].layer_norm(l[1], l[2], 1e-5)),
    ("batch_norm", &["x", "v", "c"], |_, l| l[0].batch_norm(l[1], l[2], 1e-5)),
    ("batch_norm_flat", &["x", "v", "c"], |_, l| l[0].batch_norm(l[1], l[2], 1e-5)),
    ("batch_norm_with", &["x", "m", "s", "v", "c"], |_, l| {
        l[0].batch_norm_with(l[1], l[2], l[3], l[4], 1e-5)
    }),
    ("group_norm", &["x", "v", "c"], |_, l| l[0].group_norm(2, l[1], l[2], 1e-5)),
    ("instance_norm", &["x", "v", "c"], |_, l| l[0].instance_norm(l[1], l[2], 1e-5)),
    ("rms_norm", &["x", "v"], |_, l| l[0].rms_norm(l[1], 1e-6)),
    ("attention", &["q", "k", "u"], |g, l| l[0].attention(l[1], l[2], Some(g.causal_mask(6)))),
    ("mse_loss", &["x", "t"], |_, l| l[0].mse_loss(l[1])),
    ("l1_loss", &["x", "t"], |_, l| l[0].l1_loss(l[1])),
    ("huber_loss", &["x", "t"], |_, l| l[0].huber_loss(l[1], 0.7)),
    ("smooth_l1_loss", &["x", "t"], |_, l| l[0].smooth_l1_loss(l[1], 0.7)),
    ("kl_div", &["x", "p"], |_, l| l[0].kl_div(l[1])),
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
        l[0].max_pool2d(Pool::new([2, 3]).stride([3, 2]).padding(1).dilation(2))
    }),
    ("avg_pool2d", &["x"], |_, l| l[0].avg_pool2d(Pool::new([3, 2]).stride(2))),
    ("avg_pool2d_padded", &["x"], |_, l| l[0].avg_pool2d(Pool::new(3).stride(2).padding(1))),
    ("avg_pool2d_counted", &["x"], |_, l| {
        l[0].avg_pool2d(Pool::new([3, 2]).stride(2).padding([1, 0]).without_counting_padding())
    }),
    ("avg_pool1d", &["x"], |_, l| l[0].avg_pool1d(2)),
    ("global_pools", &["x"], |_, l| l[0].global_max_pool() * l[0].global_avg_pool()),
    ("cross_entropy", &["x"], |g, l| l[0].cross_entropy(g.input("labels", [4], I64))),
    ("nll_loss", &["x"], |g, l| l[0].nll_loss(g.input("labels", [4], I64))),
    ("cross_entropy_smooth", &["x"], |g, l| {
        l[0].cross_entropy_with(g.input("labels", [4], I64), CrossEntropy::new().label_smoothing(0.2))
    }),
    ("cross_entropy_weighted", &["x", "v"], |g, l| {
        l[0].cross_entropy_with(g.input("labels", [4], I64), CrossEntropy::new().class_weights(l[1]))
    }),
    ("cross_entropy_with_all", &["x", "v"], |g, l| {
        let options = CrossEntropy::new().class_weights(l[1]).ignore(2).label_smoothing(0.1);
        l[0].cross_entropy_with(g.input("labels", [4], I64), options)
    }),
    ("cross_entropy_of_probabilities", &["x", "p"], |_, l| l[0].cross_entropy_of_probabilities(l[1])),
];

#[test]
fn values_and_gradients_are_those_of_jax() {
    assert_like_jax(include_bytes!("fixtures/composites.safetensors"), CASES, 1e-12);
}

/// Stable functions stay finite, with finite gradients, at ±10⁴ in f32.
#[test]
fn stable_functions_are_finite_far_out() {
    type Function = for<'g> fn(Tensor<'g>) -> Tensor<'g>;
    let functions: [(&str, Function); 13] = [
        ("softmax", |x| x.softmax(0)),
        ("log_softmax", |x| x.log_softmax(0)),
        ("logsumexp", |x| x.logsumexp(0)),
        ("softplus", |x| x.softplus()),
        ("sigmoid", |x| x.sigmoid()),
        ("silu", |x| x.silu()),
        ("gelu", |x| x.gelu()),
        ("mish", |x| x.mish()),
        ("log_sigmoid", |x| x.log_sigmoid()),
        ("hard_swish", |x| x.hard_swish()),
        ("layer_norm", |x| x.layer_norm(x.constant_like(1.0), x.constant_like(0.0), 1e-5)),
        ("rms_norm", |x| x.rms_norm(x.constant_like(1.0), 1e-5)),
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
