//! Compiled programs that are found again. One test: the cache belongs to the process.

use hitofude::compile::clear_cache;
use hitofude::prelude::*;
use hitofude::{Cache, Found, Options};

fn linear(g: &Graph, rate: f64, name: &str) -> Executable {
    linear_with(g, rate, name, &Options::default())
}

fn linear_with(g: &Graph, rate: f64, name: &str, options: &Options) -> Executable {
    let (x, w) = (g.input("x", [4, 3], F32), g.parameter(name, [3], F32));
    let loss = x.matmul(w).square().mean(..);
    g.training_step(loss, Sgd::new(rate)).unwrap().compile_with(options).unwrap()
}

fn found(executable: &Executable) -> Found {
    executable.compile_report().found
}

/// A chain of that many sums: a graph unlike those of other lengths.
fn chain(length: usize) -> Executable {
    let g = Graph::new();
    let x = g.input("x", [2], F32);
    let y = (0..length).fold(x, |y, _| (y * y).sin());
    g.compile(&[("y", y)]).unwrap()
}

#[test]
fn equal_graphs_share_their_code() {
    let first = linear(&Graph::new(), 0.1, "w");
    let second = linear(&Graph::new(), 0.1, "w");
    assert_eq!((found(&first), found(&second)), (Found::Nowhere, Found::InCache));
    assert!(second.compile_report().to_string().contains("compiled before"));
    assert_eq!(second.compile_report().kernels, first.compile_report().kernels);

    // State and inputs of one work with the other, and train alike.
    let x = Array2::from_shape_fn((4, 3), |(i, j)| (i + 2 * j) as f32);
    let inputs = first.inputs().with("x", x).unwrap();
    let mut state = first.state();
    state.set("w", array![1.0f32, -2.0, 3.0]).unwrap();
    let mut copy = state.clone();
    first.run(&mut state, &inputs).unwrap();
    second.run(&mut copy, &inputs).unwrap();
    assert_eq!(state.get("w").unwrap(), copy.get("w").unwrap());
    assert_ne!(state.get("w").unwrap(), Value::from(array![1.0f32, -2.0, 3.0]));

    // Anything else is another program: a name, a value to start from, an option.
    let others = [
        linear(&Graph::new(), 0.1, "v"),
        linear(&Graph::new(), 0.2, "w"),
        linear_with(&Graph::new(), 0.1, "w", &Options { without: vec!["simplify"], ..Options::default() }),
        linear_with(&Graph::new(), 0.1, "w", &Options { cache: Cache::Off, ..Options::default() }),
    ];
    for other in &others {
        assert_eq!(found(other), Found::Nowhere);
        assert!(other.run(&mut state, &inputs).is_err());
    }

    // A program outlives its place in the cache, which has an end.
    let early = chain(1);
    let lengths = 2..2 + 64;
    lengths.clone().for_each(|length| assert_eq!(found(&chain(length)), Found::Nowhere));
    assert_eq!(found(&chain(1)), Found::Nowhere);
    assert_eq!(found(&chain(lengths.end - 1)), Found::InCache);
    clear_cache();
    assert_eq!(found(&chain(lengths.end - 1)), Found::Nowhere);
    let inputs = early.inputs().with("x", array![0.5f32, 2.0]).unwrap();
    let (mut state, expected) = (early.state(), array![0.25f32.sin(), 4.0f32.sin()]);
    let y = early.run(&mut state, &inputs).unwrap().view::<f32>("y").unwrap().to_owned();
    assert!(y.iter().zip(&expected).all(|(y, expected)| (y - expected).abs() < 1e-6), "{y}");
}
