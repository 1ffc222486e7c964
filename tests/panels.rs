//! Parameters that contractions would pack at every call lie in panels; to their owner they are row by row.

mod common;

use std::collections::BTreeMap;

use common::{assert_compiles_right, distance, values};
use hitofude::ops::Role;
use hitofude::prelude::*;
use hitofude::{DType, Options, Scalar, Signature, State, TensorType};

/// A loss of rows `x`.
type Model = for<'g> fn(&'g Graph, Tensor<'g>) -> Tensor<'g>;

/// Models, and the parameters in panels: of rows and of columns.
const MODELS: &[(&str, Model, &[&str], &[&str])] = &[
    (
        "rows",
        |g, x| x.matmul(g.parameter("w", [48, 20], x.dtype()).transpose()).tanh().square().mean(..),
        &["w"],
        &[],
    ),
    ("columns", |g, x| x.matmul(g.parameter("w", [20, 48], x.dtype())).tanh().square().mean(..), &[], &["w"]),
    (
        "one panel, and a layer above",
        |g, x| {
            let (w, v) = (g.parameter("w", [16, 20], x.dtype()), g.parameter("v", [32, 16], x.dtype()));
            x.matmul(w.transpose()).relu().matmul(v.transpose()).square().mean(..)
        },
        &["w"],
        &[], // v's rows are summed up on the way back
    ),
    (
        "weights that decay",
        |g, x| {
            let w = g.parameter("w", [32, 20], x.dtype());
            x.matmul(w.transpose()).tanh().square().mean(..) + w.square().sum(..) * 0.01
        },
        &["w"],
        &[],
    ),
    // Rows of other lengths than panels.
    (
        "too few rows",
        |g, x| x.matmul(g.parameter("w", [20, 20], x.dtype()).transpose()).square().mean(..),
        &[],
        &[],
    ),
    (
        "sums of rows",
        |g, x| {
            let w = g.parameter("w", [32, 20], x.dtype());
            let length = w.square().sum(1).sqrt();
            x.matmul(w.transpose()).tanh().square().mean(..) + length.exp().sum(..) * 0.01
        },
        &[],
        &[],
    ),
    (
        "a part of the rows",
        |g, x| {
            let w = g.parameter("w", [32, 20], x.dtype());
            x.matmul(w.transpose()).tanh().square().mean(..) + w.slice(0, 3..9).exp().sum(..) * 0.01
        },
        &[],
        &[],
    ),
    (
        "beside other matrices",
        |g, x| {
            let w = g.parameter("w", [32, 20], x.dtype());
            let pull = g.input("pull", [32, 20], x.dtype());
            x.matmul(w.transpose()).tanh().square().mean(..) + (w * pull).sum(..) * 0.01
        },
        &[],
        &[],
    ),
    (
        "both ways",
        |g, x| {
            let w = g.parameter("w", [32, 32], x.dtype());
            let y = x.concat(&[x.slice(1, 0..12)], 1).matmul(w.transpose()).tanh();
            y.matmul(w).square().mean(..)
        },
        &[],
        &[],
    ),
];

/// A few steps of training: state is the interpreter's, however it is read.
#[test]
fn state_is_row_by_row_to_its_owner() {
    for (name, model, rows, columns) in MODELS {
        for (dtype, width, tolerance) in [(F32, 16, 2e-5), (F64, 8, 1e-12)] {
            let g = Graph::new();
            let step = g.training_step(model(&g, g.input("x", [40, 20], dtype)), Adam::new(0.01)).unwrap();
            let text = step.schedule().unwrap().program.to_string();
            for of in [(rows, "rows"), (columns, "columns")] {
                for parameter in *of.0 {
                    let slots = ["", ".m", ".v"].map(|slot| format!(": {parameter}{slot}, "));
                    let ending = format!("in panels of {width} {}", of.1);
                    let in_panels = |slot: &String| {
                        text.lines().any(|line| line.contains(slot) && line.ends_with(&ending))
                    };
                    assert!(slots.iter().all(in_panels), "{name}: {parameter} is not {ending}\n{text}");
                }
            }
            let expected = 3 * (rows.len() + columns.len());
            assert_eq!(text.matches("in panels").count(), expected, "{name}\n{text}");
            check(name, &step, tolerance);
        }
    }
}

/// Without a way back every layer is in panels, in loops too.
#[test]
fn predictions_are_the_interpreters() {
    for (dtype, tolerance) in [(F32, 1e-5), (F64, 1e-13)] {
        let g = Graph::new();
        let x = g.input("x", [20, 24], dtype);
        let [a, b, c] = [("a", [32, 24]), ("b", [32, 32]), ("c", [16, 32])]
            .map(|(name, shape)| g.parameter(name, shape, dtype));
        let h = x.matmul(a.transpose()).relu();
        let (turned, _) =
            g.repeat(3, &[h], |h| Ok((vec![h[0].matmul(b.transpose()).tanh()], vec![]))).unwrap();
        let outputs = [("h", h), ("y", turned[0].matmul(c.transpose()))];
        let function = outputs.iter().fold(g.function(), |function, (name, y)| function.output(name, *y));
        let text = function.schedule(&Options::default()).unwrap().program.to_string();
        assert!(["a", "c"].iter().all(|name| text.contains(&format!(": {name}, "))), "{text}");
        let leaves =
            [("x", x), ("a", a), ("b", b), ("c", c)].map(|(name, leaf)| (name, filled(leaf.ty(), 7)));
        assert_compiles_right(&g, &outputs, &leaves, tolerance);
    }
}

/// A parameter without elements takes no room: the next one lies in the same place.
#[test]
fn nothing_lies_in_the_place_of_panels() {
    let g = Graph::new();
    let x = g.input("x", [20, 24], F32);
    let (none, w) = (g.parameter("none", [0, 5], F32), g.parameter("w", [32, 24], F32));
    let outputs = [("y", x.matmul(w.transpose())), ("z", none * 2.0)];
    let empty = Value::from(Array2::<f32>::zeros((0, 5)));
    let leaves = [("x", filled(x.ty(), 1)), ("none", empty.clone()), ("w", filled(w.ty(), 3))];
    assert_compiles_right(&g, &outputs, &leaves, 1e-5);
    let mut state = g.compile(&outputs).unwrap().state();
    state.set("none", empty.clone()).unwrap();
    assert_eq!(state.get("none").unwrap(), empty);
    state.set("w", filled(w.ty(), 3)).unwrap();
    assert_eq!(state.view::<f32>("none").unwrap().shape(), [0, 5]);
    assert_eq!(Value::from(state.view::<f32>("w").unwrap()), filled(w.ty(), 3));
}

fn check(name: &str, step: &TrainingStep<'_>, tolerance: f64) {
    let reference = step.function().unwrap().graph().unwrap();
    let compiled = step.compile().unwrap();
    let (mut state, mut inputs, mut expected) = (compiled.state(), compiled.inputs(), BTreeMap::new());
    for (seed, entry) in inputs.signature().into_iter().enumerate() {
        inputs.set(&entry.name, filled(entry.ty, seed as u64)).unwrap();
        expected.insert(entry.name, filled(entry.ty, seed as u64));
    }
    for (seed, entry) in state.signature().into_iter().enumerate() {
        if entry.role == Some(Role::Parameter) {
            state.set(&entry.name, filled(entry.ty, seed as u64 + 10)).unwrap();
        }
        let value = state.get(&entry.name).unwrap();
        assert_eq!(seen(&state, &entry), value, "{name}: {} as it was set", entry.name);
        expected.insert(entry.name, value);
    }
    for steps in [1, 2] {
        (0..steps).for_each(|_| drop(reference.interpret_results(&mut expected).unwrap()));
        compiled.run_many(&mut state, &inputs, steps).unwrap();
        for entry in state.signature() {
            let actual = state.get(&entry.name).unwrap();
            let apart = distance(&expected[&entry.name], &actual);
            assert!(apart < tolerance, "{name}: {} is {apart:e} apart", entry.name);
            assert_eq!(seen(&state, &entry), actual, "{name}: {} as a view", entry.name);
            assert_eq!(seen(&state.clone(), &entry), actual, "{name}: {} in a copy", entry.name);
        }
    }
}

/// A piece of state by way of its view.
fn seen(state: &State, entry: &Signature) -> Value {
    match entry.ty.dtype {
        DType::F32 => state.view::<f32>(&entry.name).unwrap().into(),
        DType::F64 => state.view::<f64>(&entry.name).unwrap().into(),
        _ => state.view::<i64>(&entry.name).unwrap().into(),
    }
}

fn filled(ty: TensorType, seed: u64) -> Value {
    let numbers = values(seed, ty.shape.elements()).into_iter().map(|x| Scalar::F64(0.2 * x));
    Value::from_elements(TensorType { dtype: F64, ..ty }, numbers).cast(ty.dtype)
}
