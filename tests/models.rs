//! Whole functions, as people write them, against JAX: values and gradients in f64.

mod common;

use common::jax::{Case, assert_like_jax};
use hitofude::nn::Conv;
use hitofude::prelude::*;

const CASES: &[Case] = &[
    ("mlp", &["x", "w1", "b1", "w2", "b2"], |g, l| {
        l[0].linear(l[1], l[2]).relu().linear(l[3], l[4]).cross_entropy(g.input("labels", [4], I64))
    }),
    ("logistic", &["x", "v", "p"], |_, l| {
        l[0].matmul(l[1]).bce_with_logits(l[2]) + l[1].square().sum(..) * 0.01
    }),
    ("pinn", &["x", "w1", "b1", "w2"], pinn),
    ("heat_residual", &["p", "w1", "b1", "w2"], heat_residual),
    ("rosenbrock_slope", &["v", "c"], |g, l| g.grad(rosenbrock(l[0]), &[l[0]]).unwrap()[0].matmul(l[1])),
    ("rosenbrock_hessian", &["v"], |g, l| g.hessian(rosenbrock(l[0]), l[0]).unwrap()),
    ("lstm", &["x", "h", "c", "wx", "wh", "b"], lstm),
    ("gru", &["x", "h", "wx", "wh", "bx", "bh"], gru),
    ("mixture", &["x", "logits", "means", "scales"], mixture),
    ("conv_net", &["x", "k1", "k2", "b2", "w"], conv_net),
    ("residual_block", &["x", "k1", "k2", "v", "c"], residual_block),
    ("auto_encoder", &["x", "k1", "k2", "b"], |_, l| {
        let strided = Conv::new().stride(2);
        let code = l[0].conv1d(l[1], None, strided).tanh();
        code.conv_transpose1d(l[2], l[3], strided, 0).mse_loss(l[0])
    }),
    ("transformer", &["x", "v", "c", "wqkv", "wo", "up", "down"], transformer),
    ("elbo", &["x", "e", "w1", "w2", "w3"], elbo),
    ("penalty", &["x", "w1", "b1", "w2"], penalty),
    ("pendulum", &["state", "length"], pendulum),
    ("contrast", &["x", "z"], contrast),
    ("kernel_regression", &["x", "centres", "heights", "width"], |_, l| {
        let distance = (l[0].unsqueeze(1) - l[1]).square().sum(-1);
        let kernel = (-distance / (2.0 * l[3].square())).exp();
        kernel.matmul(l[2]) / kernel.sum(-1)
    }),
    ("diffusion", &["u", "rate"], |_, l| {
        (0..5).fold(l[0], |u, _| {
            let bend = u.slice(0, 2..9) - 2.0 * u.slice(0, 1..8) + u.slice(0, 0..7);
            u + (l[1] * bend).pad(0, 1, 1)
        })
    }),
    ("siren", &["x", "w1", "b1", "w2"], |_, l| l[0].linear(3.0 * l[1], l[2]).sin().linear(l[3], None).sin()),
    ("factors", &["p", "q", "r", "m"], |_, l| {
        let apart = l[3] * (l[0].matmul(l[1].transpose()) - l[2]);
        let size = l[0].square().sum(..) + l[1].square().sum(..);
        apart.square().sum(..) / l[3].sum(..) + 0.1 * size
    }),
];

fn pinn<'g>(g: &'g Graph, l: &[Tensor<'g>]) -> Tensor<'g> {
    let x = l[0];
    let u = (x.unsqueeze(1) * l[1] + l[2]).tanh().matmul(l[3]);
    let du = g.grad(u.sum(..), &[x]).unwrap()[0];
    let d2u = g.grad(du.sum(..), &[x]).unwrap()[0];
    (d2u + u).square().mean(..)
}

fn heat_residual<'g>(g: &'g Graph, l: &[Tensor<'g>]) -> Tensor<'g> {
    let (t, x) = (l[0].index(1, 0), l[0].index(1, 1));
    let u = t.stack(&[x], 1).linear(l[1], l[2]).tanh().matmul(l[3]);
    let du = g.grad(u.sum(..), &[t, x]).unwrap();
    let d2u = g.grad(du[1].sum(..), &[x]).unwrap()[0];
    (du[0] - d2u).square().mean(..)
}

fn rosenbrock(v: Tensor<'_>) -> Tensor<'_> {
    let (now, next) = (v.slice(0, 0..4), v.slice(0, 1..5));
    (100.0 * (next - now.square()).square() + (1.0 - now).square()).sum(..)
}

fn lstm<'g>(_: &'g Graph, l: &[Tensor<'g>]) -> Tensor<'g> {
    let gates = l[0].linear(l[3], None) + l[1].linear(l[4], l[5]);
    let parts = gates.split(-1, &[3; 4]);
    let c = parts[1].sigmoid() * l[2] + parts[0].sigmoid() * parts[2].tanh();
    (parts[3].sigmoid() * c.tanh()).concat(&[c], -1)
}

fn gru<'g>(_: &'g Graph, l: &[Tensor<'g>]) -> Tensor<'g> {
    let (x, h) = (l[0].linear(l[2], l[4]).split(-1, &[3; 3]), l[1].linear(l[3], l[5]).split(-1, &[3; 3]));
    let (reset, update) = ((x[0] + h[0]).sigmoid(), (x[1] + h[1]).sigmoid());
    (1.0 - update) * (x[2] + reset * h[2]).tanh() + update * l[1]
}

fn mixture<'g>(_: &'g Graph, l: &[Tensor<'g>]) -> Tensor<'g> {
    let z = (l[0].unsqueeze(1) - l[2]) / l[3].exp();
    let constant = (2.0 * std::f64::consts::PI).ln() * 2.5;
    let parts = -0.5 * z.square().sum(-1) - l[3].sum(-1) - constant;
    -(l[1].log_softmax(0) + parts).logsumexp(-1).mean(..)
}

fn conv_net<'g>(g: &'g Graph, l: &[Tensor<'g>]) -> Tensor<'g> {
    let y = l[0].conv2d(l[1], None, Conv::new().padding(1)).relu().max_pool2d(2);
    let y = y.conv2d(l[2], l[3], Conv::new().stride(2).padding(1)).relu();
    y.global_avg_pool().linear(l[4], None).cross_entropy(g.input("labels", [4], I64).slice(0, 0..2))
}

fn residual_block<'g>(_: &'g Graph, l: &[Tensor<'g>]) -> Tensor<'g> {
    let layer =
        |x: Tensor<'g>, kernel| x.conv2d(kernel, None, Conv::new().padding(1)).batch_norm(l[3], l[4], 1e-5);
    (l[0] + layer(layer(l[0], l[1]).relu(), l[2])).relu()
}

fn transformer<'g>(g: &'g Graph, l: &[Tensor<'g>]) -> Tensor<'g> {
    let norm = |x: Tensor<'g>| x.layer_norm(l[1], l[2], 1e-5);
    let parts = norm(l[0]).linear(l[3], None).split(-1, &[4; 3]);
    let heads = |part: usize| parts[part].reshape([2, 6, 2, 2]).permute(&[0, 2, 1, 3]);
    let mixed = heads(0).attention(heads(1), heads(2), Some(g.causal_mask(6)));
    let x = l[0] + mixed.permute(&[0, 2, 1, 3]).reshape([2, 6, 4]).linear(l[4], None);
    x + norm(x).linear(l[5], None).gelu_tanh().linear(l[6], None)
}

fn elbo<'g>(_: &'g Graph, l: &[Tensor<'g>]) -> Tensor<'g> {
    let code = l[0].linear(l[2], None).split(-1, &[2, 2]);
    let (mean, log_scale) = (code[0], code[1]);
    let logits = (mean + log_scale.exp() * l[1]).linear(l[3], None).tanh().linear(l[4], None);
    let likelihood = logits.bce_with_logits(l[0].sigmoid()) * 5.0;
    let divergence = 0.5 * (mean.square() + (2.0 * log_scale).exp() - 1.0) - log_scale;
    likelihood + divergence.sum(-1).mean(..)
}

fn penalty<'g>(g: &'g Graph, l: &[Tensor<'g>]) -> Tensor<'g> {
    let critic = l[0].linear(l[1], l[2]).tanh().matmul(l[3]);
    let slope = g.grad(critic.sum(..), &[l[0]]).unwrap()[0];
    (slope.square().sum(-1).sqrt() - 1.0).square().mean(..)
}

fn pendulum<'g>(_: &'g Graph, l: &[Tensor<'g>]) -> Tensor<'g> {
    let f = |s: Tensor<'g>| s.index(0, 1).stack(&[-s.index(0, 0).sin() / l[1]], 0);
    (0..10).fold(l[0], |s, _| {
        let k1 = f(s);
        let k2 = f(s + 0.05 * k1);
        let k3 = f(s + 0.05 * k2);
        let k4 = f(s + 0.1 * k3);
        s + 0.1 / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
    })
}

fn contrast<'g>(g: &'g Graph, l: &[Tensor<'g>]) -> Tensor<'g> {
    let unit = |x: Tensor<'g>| x / x.square().sum(-1).sqrt().unsqueeze(-1);
    let scores = unit(l[0]).matmul(unit(l[1]).transpose()) / 0.1;
    let own = g.iota([4], 0, I64);
    0.5 * (scores.cross_entropy(own) + scores.transpose().cross_entropy(own))
}

#[test]
fn values_and_gradients_are_those_of_jax() {
    assert_like_jax(include_bytes!("fixtures/models.safetensors"), CASES, 1e-11);
}
