//! Kernels over rows that no cache holds go strip by strip: the results are those of the interpreter, for any number of
//! rows and on any number of threads.

mod common;

use common::{distance, leaf_values, run};
use hitofude::nn::Conv;
use hitofude::prelude::*;
use hitofude::{DType, Options};

/// A loss of rows `x` and targets `t`.
type Model = for<'g> fn(&'g Graph, Tensor<'g>, Tensor<'g>) -> Tensor<'g>;

fn layer<'g>(g: &'g Graph, x: Tensor<'g>, name: &str, outputs: usize) -> Tensor<'g> {
    let inputs = x.shape().extents()[1];
    let weight = g.parameter(&format!("{name}.weight"), [outputs, inputs], x.dtype());
    x.linear(weight, g.parameter(&format!("{name}.bias"), [outputs], x.dtype()))
}

const MODELS: &[(&str, Model, &[usize])] = &[
    ("layers", |g, x, t| layer(g, layer(g, x, "a", 32).relu(), "b", 1).mse_loss(t), &[8]),
    (
        "deep layers",
        |g, x, t| layer(g, layer(g, layer(g, x, "a", 20).tanh(), "b", 20).tanh(), "c", 1).mse_loss(t),
        &[8],
    ),
    (
        "normalised rows",
        |g, x, t| {
            let (scale, shift) =
                (g.parameter("scale", [40], x.dtype()), g.parameter("shift", [40], x.dtype()));
            (layer(g, layer(g, x.layer_norm(scale, shift, 1e-5), "a", 24).relu(), "b", 1) - t).abs().mean(..)
        },
        &[40],
    ),
    (
        "images",
        |g, x, t| {
            let image = x.reshape([x.shape().extents()[0], 1, 12, 12]);
            let kernel = g.parameter("kernel", [4, 1, 3, 3], x.dtype());
            let bias = g.parameter("kernel bias", [4], x.dtype());
            let y = image.conv2d(kernel, bias, Conv::new().padding(1)).relu().max_pool2d(2);
            layer(g, y.reshape([x.shape().extents()[0], 144]), "a", 1).mse_loss(t)
        },
        &[144],
    ),
];

/// A training step with the state after it as results, on values of the leaves.
fn check(name: &str, model: Model, columns: &[usize], rows: usize, dtype: DType) {
    let g = Graph::new();
    let x = g.input("x", [rows, columns[0]], dtype);
    let loss = model(&g, x, g.input("t", [rows, 1], dtype));
    let parameters = g.parameters();
    let gradients = g.grad(loss, &parameters).unwrap();
    let names: Vec<String> = (0..gradients.len()).map(|number| format!("gradient {number}")).collect();
    let mut outputs: Vec<(&str, Tensor<'_>)> = vec![("loss", loss)];
    outputs.extend(names.iter().map(String::as_str).zip(gradients));
    let leaves = leaf_values(&g);
    let leaves: Vec<(&str, Value)> =
        leaves.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    let function = outputs.iter().fold(g.function(), |f, (name, y)| f.output(name, *y));
    let program = function.schedule(&Options::default()).unwrap().program.to_string();
    assert!(program.contains("parallel repeat"), "{name} of {rows} rows\n{program}");
    let expected = g.interpret(&outputs, &leaves).unwrap();
    let compiled = function.compile().unwrap();
    let on_threads = |count| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap();
        pool.install(|| run(&compiled, &leaves))
    };
    let alone = on_threads(1);
    let tolerance = if dtype == F32 { 2e-4 } else { 1e-10 };
    for (output, expected) in &expected {
        let apart = distance(expected, &alone[output]);
        assert!(apart <= tolerance, "{output} of {name}, {rows} rows of {dtype}: {apart:e} apart");
    }
    for count in [2, 3, 7] {
        assert_eq!(on_threads(count), alone, "{name} on {count} threads");
    }
}

#[test]
fn results_are_the_interpreters_on_any_number_of_threads() {
    // Rows that strips divide, a prime number, and few large ones.
    let rows = [[40_000, 40_009], [40_000, 30_011], [20_480, 20_483], [2_048, 1_999]];
    for (&(name, model, columns), rows) in MODELS.iter().zip(rows) {
        check(name, model, columns, rows[0], F32);
        check(name, model, columns, rows[1], F64);
    }
}

/// What fits the caches is left as it is.
#[test]
fn small_batches_are_not_cut() {
    let g = Graph::new();
    let x = g.input("x", [1_000, 8], F32);
    let loss = layer(&g, layer(&g, x, "a", 32).relu(), "b", 1).mse_loss(g.input("t", [1_000, 1], F32));
    let program = g.training_step(loss, Sgd::new(0.1)).unwrap().schedule().unwrap().program.to_string();
    assert!(!program.contains("repeat"), "{program}");
}

/// More rows than any memory holds are counted without overflow, and refused.
#[test]
fn far_too_many_rows_are_an_error() {
    for (rows, columns) in [(1 << 30, 8), (1 << 45, 8), (1 << 30, 1 << 24)] {
        let g = Graph::new();
        let x = g.input("x", [rows, columns], F32);
        let loss = layer(&g, layer(&g, x, "a", 1024).relu(), "b", 1).mse_loss(g.input("t", [rows, 1], F32));
        let error = g.training_step(loss, Sgd::new(0.1)).unwrap().compile().unwrap_err().to_string();
        assert!(error.contains("memory"), "{error}");
    }
}
