//! The training steps that are measured and whose schedules are kept as snapshots.

use std::collections::BTreeMap;

use hitofude::TensorType;
use hitofude::nn::Conv;
use hitofude::optim::Optimizer;
use hitofude::prelude::*;
use hitofude::schedule::Role;

/// A model to train: its step over a graph.
pub struct Workload {
    pub name: &'static str,
    pub build: for<'g> fn(&'g Graph) -> Result<TrainingStep<'g>>,
}

pub const WORKLOADS: &[Workload] = &[
    Workload { name: "seed", build: seed },
    Workload { name: "tiny_mlp", build: tiny_mlp },
    Workload { name: "mnist_mlp", build: |g| mnist_mlp(g, Sgd::new(0.01)) },
    Workload { name: "mnist_mlp_adam", build: |g| mnist_mlp(g, Adam::new(0.01)) },
    Workload { name: "wide_mlp", build: |g| wide_mlp(g, 256, 512) },
    Workload { name: "gelu_chain", build: |g| gelu_chain(g, 1 << 20) },
    Workload { name: "lenet", build: |g| lenet(g, 32) },
    Workload { name: "char_gpt", build: char_gpt },
    Workload { name: "lstm", build: lstm },
];

/// Linear 3→1 on one sample, mean squared error, SGD.
fn seed(g: &Graph) -> Result<TrainingStep<'_>> {
    let (x, target) = (g.input("x", [3], F32), g.input("y", [1], F32));
    let output = x.linear(g.parameter("weight", [1, 3], F32), g.parameter("bias", [1], F32));
    g.training_step(output.mse_loss(target), Sgd::new(0.01))
}

/// Dense layers of these widths, with an activation between.
fn dense<'g>(
    g: &'g Graph,
    x: Tensor<'g>,
    widths: &[usize],
    activation: impl Fn(Tensor<'g>) -> Tensor<'g>,
) -> Tensor<'g> {
    let layers = widths.len() - 1;
    (0..layers).fold(x, |x, layer| {
        let w = g.parameter(&format!("w{layer}"), [widths[layer + 1], widths[layer]], F32);
        let b = g.parameter(&format!("b{layer}"), [widths[layer + 1]], F32);
        let y = x.linear(w, b);
        if layer + 1 < layers { activation(y) } else { y }
    })
}

/// 2-16-16-1, tanh, mean squared error, batch 16, SGD.
fn tiny_mlp(g: &Graph) -> Result<TrainingStep<'_>> {
    let output = dense(g, g.input("x", [16, 2], F32), &[2, 16, 16, 1], Tensor::tanh);
    g.training_step(output.mse_loss(g.input("y", [16, 1], F32)), Sgd::new(0.01))
}

/// 784-128-10, ReLU, cross-entropy, batch 64.
fn mnist_mlp<'g>(g: &'g Graph, optimizer: impl Optimizer + 'g) -> Result<TrainingStep<'g>> {
    let output = dense(g, g.input("x", [64, 784], F32), &[784, 128, 10], Tensor::relu);
    g.training_step(output.cross_entropy(g.input("y", [64], I32)), optimizer)
}

/// From `width` to twice that, twice, and back; ReLU, mean squared error, SGD.
pub fn wide_mlp(g: &Graph, batch: usize, width: usize) -> Result<TrainingStep<'_>> {
    let x = g.input("x", [batch, width], F32);
    let output = dense(g, x, &[width, 2 * width, 2 * width, width], Tensor::relu);
    g.training_step(output.mse_loss(g.input("y", [batch, width], F32)), Sgd::new(0.001))
}

/// mean((gelu(w·x) − y)²) over the elements, SGD.
pub fn gelu_chain(g: &Graph, elements: usize) -> Result<TrainingStep<'_>> {
    let (x, y) = (g.input("x", [elements], F32), g.input("y", [elements], F32));
    let output = (g.parameter("w", [elements], F32) * x).gelu_tanh();
    g.training_step(output.mse_loss(y), Sgd::new(0.1))
}

/// Two convolutions with pooling and three dense layers on 1×28×28 images, cross-entropy, SGD.
pub fn lenet<'g>(g: &'g Graph, batch: usize) -> Result<TrainingStep<'g>> {
    let conv = |x: Tensor<'g>, name: &str, [from, to]: [usize; 2], padding: usize| {
        let w = g.parameter(&format!("{name}.w"), [to, from, 5, 5], F32);
        let b = g.parameter(&format!("{name}.b"), [to], F32);
        x.conv2d(w, b, Conv::new().padding(padding)).relu().max_pool2d(2)
    };
    let x = conv(g.input("x", [batch, 1, 28, 28], F32), "conv1", [1, 6], 2);
    let x = conv(x, "conv2", [6, 16], 0).reshape([batch, 400]);
    let output = dense(g, x, &[400, 120, 84, 10], Tensor::relu);
    g.training_step(output.cross_entropy(g.input("y", [batch], I32)), Sgd::new(0.01))
}

const BATCH: usize = 8;
const LENGTH: usize = 32;
const WIDTH: usize = 64;
const HEADS: usize = 4;
const CHARACTERS: usize = 65;

/// Two pre-norm blocks of width 64 with 4 heads over 32 characters of 65, batch 8, cross-entropy, Adam.
fn char_gpt(g: &Graph) -> Result<TrainingStep<'_>> {
    let (x, y) = (g.input("x", [BATCH, LENGTH], I32), g.input("y", [BATCH, LENGTH], I32));
    let tokens = g.parameter("tokens", [CHARACTERS, WIDTH], F32).embedding(x);
    let start = tokens + g.parameter("positions", [LENGTH, WIDTH], F32);
    let end = (0..2).fold(start, |h, layer| block(g, h, layer));
    let logits = linear(g, norm(g, end, "final"), "head", CHARACTERS);
    g.training_step(logits.cross_entropy(y), Adam::new(1e-3))
}

fn block<'g>(g: &'g Graph, h: Tensor<'g>, layer: usize) -> Tensor<'g> {
    let name = |part: &str| format!("block{layer}.{part}");
    let qkv = linear(g, norm(g, h, &name("norm1")), &name("qkv"), 3 * WIDTH);
    let heads = |part: Tensor<'g>| part.reshape([BATCH, LENGTH, HEADS, WIDTH / HEADS]).permute(&[0, 2, 1, 3]);
    let parts: Vec<Tensor<'g>> = qkv.split(-1, &[WIDTH; 3]).into_iter().map(heads).collect();
    let mixed = parts[0].attention(parts[1], parts[2], Some(g.causal_mask(LENGTH)));
    let mixed = mixed.permute(&[0, 2, 1, 3]).reshape([BATCH, LENGTH, WIDTH]);
    let h = h + linear(g, mixed, &name("out"), WIDTH);
    let wide = linear(g, norm(g, h, &name("norm2")), &name("up"), 4 * WIDTH).gelu_tanh();
    h + linear(g, wide, &name("down"), WIDTH)
}

fn linear<'g>(g: &'g Graph, x: Tensor<'g>, name: &str, width: usize) -> Tensor<'g> {
    let k = x.shape().extents()[2];
    x.linear(
        g.parameter(&format!("{name}.w"), [width, k], F32),
        g.parameter(&format!("{name}.b"), [width], F32),
    )
}

fn norm<'g>(g: &'g Graph, x: Tensor<'g>, name: &str) -> Tensor<'g> {
    let vector = |part: &str| g.parameter(&format!("{name}.{part}"), [WIDTH], F32);
    x.layer_norm(vector("scale"), vector("shift"), 1e-5)
}

/// 50 turns of a layer of 64 cells on 32 inputs, the last output by mean squared error, batch 16, Adam.
fn lstm(g: &Graph) -> Result<TrainingStep<'_>> {
    let (x, y) = (g.input("x", [50, 16, 32], F32), g.input("y", [16, 64], F32));
    let (w, u) = (g.parameter("w", [256, 32], F32), g.parameter("u", [256, 64], F32));
    let (bias, start) = (g.parameter("b", [256], F32), g.constant(0.0, [16, 64], F32));
    let (last, _) = g.scan(&[start, start], &[x], |carry, x| {
        let gates = x[0].linear(w, bias) + carry[0].matmul(u.transpose());
        let parts = gates.split(1, &[64; 4]);
        let cell = parts[1].sigmoid() * carry[1] + parts[0].sigmoid() * parts[2].tanh();
        Ok((vec![parts[3].sigmoid() * cell.tanh(), cell], vec![]))
    })?;
    g.training_step(last[0].mse_loss(y), Adam::new(1e-3))
}

/// What a step is run on: noise for every input and, divided by the root of the fan-in, for every parameter.
pub fn start(step: &Executable) -> Result<(State, Inputs, BTreeMap<String, Value>)> {
    let (mut state, mut inputs, mut values) = (step.state(), step.inputs(), BTreeMap::new());
    for (seed, input) in inputs.signature().into_iter().enumerate() {
        let value = noise(input.ty, 1.0, seed as u64 + 1);
        inputs.set(&input.name, value.clone())?;
        values.insert(input.name, value);
    }
    for (seed, entry) in state.signature().into_iter().enumerate() {
        if entry.role == Some(Role::Parameter) {
            let fan_in = entry.ty.shape.extents().last().map_or(1.0, |&k| k as f64);
            let value = noise(entry.ty, 1.0 / fan_in.sqrt(), seed as u64 + 100);
            state.set(&entry.name, value.clone())?;
            values.insert(entry.name, value);
        }
    }
    Ok((state, inputs, values))
}

/// Deterministic noise: about normal for floats, below 10 for integers.
fn noise(ty: TensorType, scale: f64, seed: u64) -> Value {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f64 / (1u64 << 24) as f64
    };
    let elements = (0..ty.shape.elements()).map(|_| match ty.dtype.is_float() {
        true => Scalar::from_f64(((0..4).map(|_| uniform()).sum::<f64>() - 2.0) * scale, ty.dtype),
        false => Scalar::from_f64((uniform() * 10.0).floor(), ty.dtype),
    });
    Value::from_elements(ty, elements)
}
