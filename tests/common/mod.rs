//! One suite, many evaluators: a graph's outputs by the interpreter, compiled, compiled for a plain
//! processor, and compiled without passes.

// Not every test binary uses every helper.
#![allow(dead_code)]

pub mod cases;
pub mod jax;
pub mod loops;
pub mod programs;

use std::collections::BTreeMap;

use hitofude::compile::PASSES;
use hitofude::graph::View;
use hitofude::ops::{Leaf, Op};
use hitofude::prelude::*;
use hitofude::{Cpu, Executable, Options, TensorType};

/// Deterministic values between -2 and 2, none of them special.
pub fn values(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x1234_5678_9abc_def1);
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1u64 << 53) as f64 * 4.0 - 2.0
    };
    (0..count).map(next).collect()
}

/// A value of the tensor's type, from [`values`].
pub fn value_for(tensor: Tensor<'_>, seed: u64) -> Value {
    value_of_type(tensor.ty(), seed)
}

fn value_of_type(ty: TensorType, seed: u64) -> Value {
    let numbers = values(seed, ty.shape.elements());
    let wide = TensorType { dtype: DType::F64, shape: ty.shape };
    Value::from_elements(wide, numbers.into_iter().map(Scalar::F64)).cast(ty.dtype)
}

/// A value for every input and piece of state of a graph.
pub fn leaf_values(g: &Graph) -> Vec<(String, Value)> {
    let leaf = |node: View<Op>| match node.op {
        Op::Leaf(Leaf::Input { name, .. } | Leaf::State { name, .. }) => Some((name.to_string(), node.ty)),
        _ => None,
    };
    let leaves = g.nodes().filter_map(leaf).enumerate();
    leaves.map(|(number, (name, ty))| (name, value_of_type(ty, number as u64 + 1))).collect()
}

/// Holds what a graph's text reports, compiled, against the interpreter: where a failing program is pasted.
pub fn assert_text_compiles_right(text: &str, tolerance: f64) {
    let g = Graph::parse(text).unwrap_or_else(|error| panic!("{error}"));
    let (outputs, leaves) = (g.outputs(), leaf_values(&g));
    let outputs: Vec<(&str, Tensor<'_>)> = outputs.iter().map(|(name, y)| (name.as_str(), *y)).collect();
    let leaves: Vec<(&str, Value)> = leaves.iter().map(|(name, v)| (name.as_str(), v.clone())).collect();
    assert_compiles_right(&g, &outputs, &leaves, tolerance);
}

/// How far two values are apart, relative to the larger of 1 and the expected value; NaN equals NaN.
pub fn distance(expected: &Value, actual: &Value) -> f64 {
    assert_eq!(expected.ty(), actual.ty());
    if let (Value::I64(expected), Value::I64(actual)) = (expected, actual) {
        // f64 would lose their last bits.
        let apart = |(e, a): (&i64, &i64)| e.abs_diff(*a) as f64 / (*e as f64).abs().max(1.0);
        return expected.iter().zip(actual).map(apart).fold(0.0, f64::max);
    }
    let apart = |(e, a): (f64, f64)| match (e, a) {
        _ if e == a || e.is_nan() && a.is_nan() => 0.0,
        _ if e.is_finite() && a.is_finite() => (e - a).abs() / e.abs().max(1.0),
        _ => f64::INFINITY,
    };
    expected.to_f64().into_iter().zip(actual.to_f64()).map(apart).fold(0.0, f64::max)
}

/// Holds the compiled outputs, with all passes and without each, against the interpreter's.
pub fn assert_compiles_right(
    g: &Graph,
    outputs: &[(&str, Tensor<'_>)],
    leaves: &[(&str, Value)],
    tolerance: f64,
) {
    let expected = g.interpret(outputs, leaves).unwrap();
    let function =
        outputs.iter().fold(g.function(), |function, (name, tensor)| function.output(name, *tensor));
    let without = PASSES.iter().map(|pass| Options { without: vec![pass.name], ..Options::default() });
    let processors = [Cpu::Native, Cpu::WithoutAvx512, Cpu::Baseline];
    let on_each = processors.map(|cpu| Options { cpu, ..Options::default() });
    for options in on_each.into_iter().chain(without) {
        let compiled = function.compile_with(&options).unwrap();
        let actual = run(&compiled, leaves);
        for (name, expected) in &expected {
            let apart = distance(expected, &actual[name]);
            assert!(
                apart <= tolerance,
                "{name} is {apart:e} apart with {options:?}\nexpected {expected:?}\nactual {:?}\n{}\n{}",
                actual[name],
                function.optimised(&options).unwrap(),
                function.schedule(&options).unwrap().program,
            );
        }
    }
}

/// Runs a compiled function once on leaves by name.
pub fn run(compiled: &Executable, leaves: &[(&str, Value)]) -> BTreeMap<String, Value> {
    let (mut state, mut inputs) = (compiled.state(), compiled.inputs());
    let (inputs_known, states_known) = (inputs.signature(), state.signature());
    for (name, value) in leaves {
        if inputs_known.iter().any(|known| known.name == *name) {
            inputs.set(name, value.clone()).unwrap();
        } else if states_known.iter().any(|known| known.name == *name) {
            state.set(name, value.clone()).unwrap();
        }
    }
    let report = compiled.run(&mut state, &inputs).unwrap();
    report
        .signature()
        .into_iter()
        .map(|output| (output.name.clone(), report.output(&output.name).unwrap()))
        .collect()
}

/// Holds the gradient of a scalar of f64 against central differences of fourth order, in each of `wrt`.
pub fn assert_gradient_right(g: &Graph, y: Tensor<'_>, wrt: &[(&str, Tensor<'_>)], leaves: &[(&str, Value)]) {
    let tensors: Vec<Tensor<'_>> = wrt.iter().map(|x| x.1).collect();
    let gradients = g.grad(y, &tensors).unwrap();
    let named: Vec<(&str, Tensor<'_>)> = wrt.iter().map(|x| x.0).zip(gradients).collect();
    let analytic = g.interpret(&named, leaves).unwrap();
    for (name, _) in wrt {
        let at = leaves.iter().position(|leaf| leaf.0 == *name).unwrap();
        let ty = leaves[at].1.ty();
        let centre = leaves[at].1.to_f64();
        let eval = |element: usize, step: f64| {
            let mut moved = centre.clone();
            moved[element] += step;
            let mut leaves = leaves.to_vec();
            leaves[at].1 = Value::from_elements(ty, moved.into_iter().map(Scalar::F64));
            g.interpret(&[("y", y)], &leaves).unwrap()["y"].to_f64()[0]
        };
        for (element, derivative) in analytic[*name].to_f64().into_iter().enumerate() {
            // Fourth order: the error is h⁴ times the fifth derivative.
            let h = 1e-4;
            let difference = |h: f64| eval(element, h) - eval(element, -h);
            let numeric = (8.0 * difference(h) - difference(2.0 * h)) / (12.0 * h);
            let apart = (derivative - numeric).abs() / numeric.abs().max(1.0);
            assert!(apart < 1e-6, "d/d{name}[{element}]: derived {derivative}, differences {numeric}\n{g}");
        }
    }
}
