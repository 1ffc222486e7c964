//! Single operators on large arrays, a call each, to find what takes longer than it should.
//!
//! `cargo bench --bench operators -- [--json] [--threads N] [NAME…]`. Floats are noise between −1 and 1, indices point
//! anywhere. Times are medians over repeated batches. `benches/peers/operators.py` runs JAX on the same.

use hitofude::prelude::*;
use timing::median;

mod timing;

type Build = for<'g> fn(&'g Graph) -> Tensor<'g>;

/// Names, and what is computed.
const CASES: &[(&str, Build)] = &[
    ("exp", |g| x(g, [1 << 20]).exp()),
    ("tanh", |g| x(g, [1 << 20]).tanh()),
    ("sin", |g| x(g, [1 << 20]).sin()),
    ("tan", |g| x(g, [1 << 20]).tan()),
    ("asin", |g| x(g, [1 << 20]).asin()),
    ("atan2", |g| x(g, [1 << 20]).atan2(y(g, [1 << 20]))),
    ("pow", |g| x(g, [1 << 20]).abs().pow(y(g, [1 << 20]))),
    ("erf_inv", |g| x(g, [1 << 20]).erf_inv()),
    ("normal", |g| g.random_key("key", 0).normal([1 << 20], F32)),
    ("dropout", |g| x(g, [1 << 20]).dropout(0.1, g.random_key("key", 0))),
    ("transpose", |g| x(g, [2048, 1024]).transpose() + y(g, [1024, 2048])),
    ("transpose_1000", |g| x(g, [1000, 1000]).transpose() * 2.0),
    ("permute", |g| x(g, [64, 128, 256]).permute(&[2, 1, 0]) * 2.0),
    ("channels_last", |g| x(g, [8, 64, 56, 56]).permute(&[0, 2, 3, 1]) * 2.0),
    ("channels_first", |g| x(g, [8, 224, 224, 3]).permute(&[0, 3, 1, 2]) * 2.0),
    ("heads", |g| x(g, [8, 128, 8, 64]).permute(&[0, 2, 1, 3]) * 2.0),
    ("roll", |g| {
        let x = x(g, [1024, 1024]);
        x.roll(0, 1) - x.roll(1, -1)
    }),
    ("sum_all", |g| x(g, [2048, 2048]).sum(..)),
    ("sum_rows", |g| x(g, [2048, 2048]).sum(1)),
    ("sum_columns", |g| x(g, [2048, 2048]).sum(0)),
    ("sum_short_rows", |g| x(g, [500_000, 8]).sum(1)),
    ("sum_across", |g| {
        let x = x(g, [1024, 1024]);
        (x * x.transpose()).sum(..)
    }),
    ("variance_columns", |g| x(g, [10_000, 100]).variance(0)),
    ("argmax_rows", |g| x(g, [1000, 1000]).argmax(1)),
    ("argmax_columns", |g| x(g, [2048, 2048]).argmax(0)),
    ("cumsum_rows", |g| x(g, [1000, 1000]).cumsum(1)),
    ("cumsum_columns", |g| x(g, [1000, 1000]).cumsum(0)),
    ("softmax", |g| x(g, [1024, 1024]).softmax(1)),
    ("softmax_short", |g| x(g, [200_000, 8]).softmax(1)),
    ("sort", |g| x(g, [1000, 1000]).sort(1, Order::Ascending)),
    ("top_k", |g| x(g, [1000, 1000]).top_k(1, 10).0),
    ("take", |g| x(g, [10_000, 64]).take(0, indices(g, [20_000]))),
    ("one_hot", |g| indices(g, [10_000]).one_hot(100)),
    ("pairwise", |g| (x(g, [1000, 1, 16]) - y(g, [1, 1000, 16])).square().sum(2)),
    ("matmul", |g| x(g, [1000, 1000]).matmul(y(g, [1000, 1000]))),
    ("matmul_short", |g| x(g, [4096, 8, 8]).matmul(y(g, [4096, 8, 8]))),
    ("matmul_heads", |g| x(g, [64, 128, 64]).matmul(y(g, [64, 64, 128]))),
    ("matrix_vector", |g| x(g, [4096, 4096]).matmul(y(g, [4096, 1]))),
    ("vector_matrix", |g| y(g, [1, 4096]).matmul(x(g, [4096, 4096]))),
];

fn x(g: &Graph, shape: impl Into<Shape>) -> Tensor<'_> {
    g.input("x", shape, F32)
}

fn y(g: &Graph, shape: impl Into<Shape>) -> Tensor<'_> {
    g.input("y", shape, F32)
}

fn indices(g: &Graph, shape: impl Into<Shape>) -> Tensor<'_> {
    g.input("indices", shape, I32)
}

/// Noise for an input.
fn noise(name: &str, shape: Shape) -> Result<Value> {
    let g = Graph::new();
    let key = g.random_key("key", name.len() as u64);
    let numbers = match name {
        "indices" => key.randint(0..10_000, shape),
        _ => key.uniform(shape, F32) * 2.0 - 1.0,
    };
    let program = g.compile(&[("noise", numbers)])?;
    let mut state = program.state();
    program.run(&mut state, &program.inputs())?.output("noise")
}

/// Microseconds a call.
fn measure(build: Build) -> Result<f64> {
    let g = Graph::new();
    let program = g.compile(&[("result", build(&g))])?;
    let (mut state, mut inputs) = (program.state(), program.inputs());
    for input in inputs.signature() {
        inputs.set(&input.name, noise(&input.name, input.ty.shape)?)?;
    }
    let seconds = median(1, 0.3, || {
        program.run(&mut state, &inputs).expect("state and inputs are the program's own");
    });
    Ok(seconds * 1e6)
}

fn main() -> Result<()> {
    let (mut json, mut threads, mut names) = (false, 1, Vec::new());
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match &argument[..] {
            "--bench" => {} // Cargo's own
            "--json" => json = true,
            "--threads" => threads = timing::threads(arguments.next())?,
            name if CASES.iter().any(|case| case.0 == name) => names.push(argument),
            other => return Err(Error::Value(format!("no operator `{other}`"))),
        }
    }
    timing::use_threads(threads)?;
    let is_wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    for (name, build) in CASES.iter().filter(|case| is_wanted(case.0)) {
        let us = measure(*build)?;
        match json {
            true => println!(r#"{{"work":"{name}","us":{us:.3}}}"#),
            false => println!("{name:<20}{us:>14.2} µs"),
        }
    }
    Ok(())
}
