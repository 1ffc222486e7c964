//! Random programs over all operators and element types: compiled = interpreted, simplified = unsimplified, read =
//! printed, JVP = VJP, gradient = differences. A failure shrinks, and prints a text to be pasted into
//! `assert_text_compiles_right` (`tests/text.rs`). `HITOFUDE_PROGRAMS` sets how many programs each test runs.

mod common;

use common::programs::{EXACT, Extents, FLOATS, LOOPS, Line, OTHERS, Program, lines, total, write};
use common::{distance, leaf_values, run};
use hitofude::graph::Target;
use hitofude::prelude::*;
use hitofude::{Cpu, Options};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The last tensors of each kind, the scalar of all, and its gradient, as results of a graph of their own.
fn program(lines: &[Line], float: DType, extents: Extents) -> Graph {
    let g = Graph::new();
    let program = write(&g, lines, float, extents, &[FLOATS, OTHERS, LOOPS]);
    let y = total(&program);
    let (names, variables): (Vec<&str>, Vec<Tensor<'_>>) =
        program.inputs.iter().filter(|input| input.1.dtype().is_float()).copied().unzip();
    let gradients = g.grad(y, &variables).unwrap();
    g.validate().unwrap();
    let start = g.function().output("y", y);
    let last = program.pool.iter().rev().take(3).enumerate();
    let function = last.fold(start, |function, (at, x)| function.output(&format!("last{at}"), *x));
    let derivatives = names.iter().zip(gradients);
    let function = derivatives.fold(function, |function, (name, d)| function.output(&format!("d_{name}"), d));
    function.graph().unwrap()
}

/// A graph's results by the interpreter, on the values that its text would get.
fn interpreted(g: &Graph) -> std::collections::BTreeMap<String, Value> {
    g.interpret_results(&mut leaf_values(g).into_iter().collect()).unwrap()
}

/// Holds the compiled graph against the interpreted one.
fn check_compiled(lines: &[Line], float: DType, extents: Extents, tolerance: f64) {
    let g = program(lines, float, extents);
    let leaves = leaf_values(&g);
    let leaves: Vec<(&str, Value)> = leaves.iter().map(|(name, v)| (name.as_str(), v.clone())).collect();
    let outputs = g.outputs();
    let expected = interpreted(&g);
    let function = outputs.iter().fold(g.function(), |f, (name, y)| f.output(name, *y));
    let raw = Options { without: vec!["simplify"], cpu: Cpu::Baseline, ..Options::default() };
    let narrow = Options { cpu: Cpu::WithoutAvx512, ..Options::default() };
    for options in [Options::default(), narrow, raw] {
        let compiled = function.compile_with(&options);
        let compiled = compiled.unwrap_or_else(|error| panic!("{error} with {options:?}\n{g}"));
        let actual = run(&compiled, &leaves);
        for (name, expected) in &expected {
            let apart = distance(expected, &actual[name]);
            assert!(
                apart <= tolerance,
                "{name} is {apart:e} apart with {options:?}\n{expected:?}\n{:?}\n{}",
                actual[name],
                function.graph().unwrap()
            );
        }
    }
}

/// The graph simplified, and the graph read from its text, have the same values.
fn check_passes(lines: &[Line], extents: Extents) {
    let g = program(lines, F64, extents);
    let expected = interpreted(&g);
    let simplified = hitofude::transform::simplify(&g);
    simplified.validate().unwrap();
    let fast = hitofude::transform::simplify_fast(&g);
    fast.validate().unwrap();
    let read = Graph::parse(&g.to_string()).unwrap_or_else(|error| panic!("{error}\n{g}"));
    assert_eq!(read.outputs().len(), expected.len());
    // Read twice, for what is read has other origins.
    assert_eq!(Graph::parse(&read.to_string()).unwrap().to_string(), read.to_string());
    let others = [("simplified", &simplified, 1e-9), ("fast", &fast, 1e-8), ("read", &read, 0.0)];
    for (how, other, tolerance) in others {
        let actual = interpreted(other);
        for (name, expected) in &expected {
            let apart = distance(expected, &actual[name]);
            assert!(apart <= tolerance, "{name} is {apart:e} apart when {how}\n{g}\n{other}");
        }
    }
    let again = hitofude::transform::simplify(&simplified);
    assert_eq!(again.len(), simplified.len(), "simplified twice is simpler\n{simplified}\n{again}");
}

/// The simplifier keeps NaN, ±∞ and the sign of zero.
fn check_special(lines: &[Line], turn: usize) {
    const SPECIAL: [f64; 9] =
        [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -0.0, 1.5, -2.0, 0.75, -0.125];
    let g = Graph::new();
    let written = write(&g, lines, F64, (3, 3, 3), &[EXACT]);
    let last = written.pool.iter().rev().take(3).enumerate();
    let function = last.fold(g.function(), |f, (at, x)| f.output(&format!("last{at}"), *x));
    let g = function.graph().unwrap();
    let special = |(at, (name, value)): (usize, (String, Value))| {
        let element = |i: usize| SPECIAL[(i * (at + 1) + turn * (at + 3)) % SPECIAL.len()];
        let count = value.ty().shape.elements();
        (name, Value::from_elements(value.ty(), (0..count).map(|i| Scalar::F64(element(i)))))
    };
    let leaves: Vec<(String, Value)> = leaf_values(&g).into_iter().enumerate().map(special).collect();
    let values = |g: &Graph| g.interpret_results(&mut leaves.iter().cloned().collect()).unwrap();
    let simplified = hitofude::transform::simplify(&g);
    let (expected, actual) = (values(&g), values(&simplified));
    for (name, expected) in &expected {
        for (e, a) in expected.to_f64().into_iter().zip(actual[name].to_f64()) {
            let is_same = e.is_nan() && a.is_nan()
                || e == a && e.is_sign_negative() == a.is_sign_negative()
                || e != 0.0 && (e - a).abs() <= 1e-12 * e.abs();
            assert!(is_same, "{name}: {e:?} became {a:?} on {leaves:?}\n{g}\n{simplified}");
        }
    }
}

/// Derivatives: reverse mode against forward mode, and against differences where those agree with one another.
fn check_derivatives(lines: &[Line], extents: Extents) {
    let g = Graph::new();
    let Program { inputs, pool } = write(&g, lines, F64, extents, &[FLOATS, LOOPS]);
    let y = total(&Program { inputs: inputs.clone(), pool });
    let variables: Vec<(&str, Tensor<'_>)> = inputs.into_iter().filter(|x| x.1.dtype() == F64).collect();
    let tensors: Vec<Tensor<'_>> = variables.iter().map(|x| x.1).collect();
    let directions: Vec<(Tensor<'_>, Tensor<'_>)> =
        variables.iter().map(|(name, x)| (*x, g.input(&format!("moves {name}"), x.shape(), F64))).collect();
    let gradients = g.grad(y, &tensors).unwrap();
    let forward = g.jvp(y, &directions).unwrap();
    let products = gradients.iter().zip(&directions).map(|(d, (_, moves))| (*d * *moves).sum(..));
    let reverse = products.clone().reduce(|sum, term| sum + term).unwrap();
    let scale = products.map(Tensor::abs).reduce(|sum, term| sum + term).unwrap();

    let leaves = leaf_values(&g);
    let leaves: Vec<(&str, Value)> = leaves.iter().map(|(name, v)| (name.as_str(), v.clone())).collect();
    let values = g.interpret(&[("f", forward), ("r", reverse), ("scale", scale)], &leaves).unwrap();
    let [forward, reverse, scale] = ["f", "r", "scale"].map(|name| values[name].to_f64()[0]);
    assert!(
        (forward - reverse).abs() <= 1e-10 * scale.max(1.0),
        "JVP {forward}, VJP {reverse}\n{}",
        text(&g, y)
    );

    // Along the same direction: at two steps, so that kinks and curves show.
    let at = |step: f64| {
        let moved = leaves.iter().map(|(name, value)| {
            let along = leaves.iter().find(|other| other.0 == format!("moves {name}"));
            let Some((_, along)) = along else { return (*name, value.clone()) };
            let elements =
                value.to_f64().into_iter().zip(along.to_f64()).map(|(x, v)| Scalar::F64(x + step * v));
            (*name, Value::from_elements(value.ty(), elements))
        });
        g.interpret(&[("y", y)], &moved.collect::<Vec<_>>()).unwrap()["y"].to_f64()[0]
    };
    let slope = |h: f64| (8.0 * (at(h) - at(-h)) - (at(2.0 * h) - at(-2.0 * h))) / (12.0 * h);
    let (fine, coarse) = (slope(2e-5), slope(1e-4));
    let scale = scale.max(1.0);
    if (fine - coarse).abs() < 1e-7 * scale {
        assert!(
            (forward - fine).abs() < 1e-6 * scale,
            "derived {forward}, differences {fine}\n{}",
            text(&g, y)
        );
    }
}

fn text(g: &Graph, y: Tensor<'_>) -> Graph {
    hitofude::transform::extract(g, &[(Target::Output("y".into()), y.id())])
}

/// The same programs every time, unless a number of them is asked for.
fn config(fewer: u32) -> ProptestConfig {
    let count = std::env::var("HITOFUDE_PROGRAMS").ok().and_then(|count| count.parse().ok());
    let rng_seed = if count.is_some() { RngSeed::Random } else { RngSeed::Fixed(20_261_124) };
    ProptestConfig {
        cases: count.unwrap_or(500) / fewer,
        rng_seed,
        failure_persistence: None,
        ..Default::default()
    }
}

proptest! {
    #![proptest_config(config(1))]

    #[test]
    fn compiled_is_interpreted_in_f64(lines in lines(5..60), n in 1usize..6, k in 1usize..5, m in 1usize..10) {
        check_compiled(&lines, F64, (n, k, m), 1e-9);
    }

    #[test]
    fn compiled_is_interpreted_in_f32(lines in lines(5..16), n in 1usize..20, k in 1usize..10, m in 1usize..9) {
        check_compiled(&lines, F32, (n, k, m), 5e-3);
    }

    #[test]
    fn simplified_and_read_is_the_same(lines in lines(5..60), n in 1usize..5, k in 1usize..5, m in 1usize..5) {
        check_passes(&lines, (n, k, m));
    }

    #[test]
    fn simplified_keeps_special_values(lines in lines(1..14), turn in 0usize..9) {
        check_special(&lines, turn);
    }

    #[test]
    fn derivatives_are_differences(lines in lines(5..30), n in 1usize..4, k in 1usize..4, m in 1usize..4) {
        check_derivatives(&lines, (n, k, m));
    }
}

proptest! {
    #![proptest_config(config(5))]

    /// Extents at which contractions go to library kernels and loops have vectors and remainders.
    #[test]
    fn compiled_is_interpreted_in_large(lines in lines(5..16), n in 6usize..40, k in 6usize..40, m in 6usize..40) {
        check_compiled(&lines, F64, (n, k, m), 1e-9);
        check_compiled(&lines, F32, (n, k, m), 5e-3);
    }
}
