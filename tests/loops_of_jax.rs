//! Loops against JAX's: values, gradients, second derivatives and tangents in f64 (`tests/fixtures/loops.py`).

mod common;

use common::{assert_compiles_right, distance};
use hitofude::prelude::*;
use safetensors::SafeTensors;

const FIXTURES: &[u8] = include_bytes!("fixtures/loops.safetensors");

/// A scalar function of named inputs.
type Case =
    (&'static str, &'static [&'static str], for<'g> fn(&'g Graph, &[Tensor<'g>]) -> Result<Tensor<'g>>);

const CASES: &[Case] = &[
    ("lstm", &["xs", "w", "u", "b", "h", "c"], lstm),
    ("cumulative_products", &["xs", "w"], |g, l| {
        let start = l[1].constant_like(1.0);
        let (_, rows) =
            g.scan_backward(&[start], &[l[0]], |p, x| Ok((vec![p[0] * x[0]], vec![p[0] * x[0]])))?;
        Ok((rows[0] * l[1]).sum(..))
    }),
    ("pendulum", &["theta", "length", "friction"], pendulum),
    ("branches", &["xs", "w"], branches),
    ("matrices", &["xs", "a"], |g, l| {
        let (xs, a) = (l[0], l[1]);
        let (last, sums) = g.scan(&[g.constant(0.0, [3], F64)], &[xs], |c, x| {
            let (y, _) = g.repeat(3, c, |y| Ok((vec![(a.matmul(y[0]) + x[0]).tanh()], vec![])))?;
            Ok((vec![y[0]], vec![y[0].sum(..)]))
        })?;
        Ok(last[0].sum(..) + sums[0].prod(..))
    }),
];

fn lstm<'g>(g: &'g Graph, l: &[Tensor<'g>]) -> Result<Tensor<'g>> {
    let [xs, w, u, b] = [l[0], l[1], l[2], l[3]];
    let (last, states) = g.scan(&[l[4], l[5]], &[xs], |carry, x| {
        let gates = (x[0].matmul(w) + carry[0].matmul(u) + b).split(1, &[4; 4]);
        let c = gates[1].sigmoid() * carry[1] + gates[0].sigmoid() * gates[2].tanh();
        let h = gates[3].sigmoid() * c.tanh();
        Ok((vec![h, c], vec![h]))
    })?;
    Ok(states[0].square().sum(..) + (last[0] * last[1]).sum(..))
}

/// Runge and Kutta's method of fourth order.
fn pendulum<'g>(g: &'g Graph, l: &[Tensor<'g>]) -> Result<Tensor<'g>> {
    let [theta, length, friction] = [l[0], l[1], l[2]];
    let slope =
        |angle: Tensor<'g>, speed: Tensor<'g>| [speed, -(angle.sin() * 9.81) / length - friction * speed];
    let h = 0.02;
    let (last, angles) = g.repeat(50, &[theta, theta * 0.0], |s| {
        let (x, v) = (s[0], s[1]);
        let a = slope(x, v);
        let b = slope(x + a[0] * (h / 2.0), v + a[1] * (h / 2.0));
        let c = slope(x + b[0] * (h / 2.0), v + b[1] * (h / 2.0));
        let d = slope(x + c[0] * h, v + c[1] * h);
        let step = |i: usize| (a[i] + b[i] * 2.0 + c[i] * 2.0 + d[i]) * (h / 6.0);
        let next = x + step(0);
        Ok((vec![next, v + step(1)], vec![next]))
    })?;
    Ok(angles[0].square().mean(..) + last[1])
}

fn branches<'g>(g: &'g Graph, l: &[Tensor<'g>]) -> Result<Tensor<'g>> {
    let (xs, growth, decay) = (l[0], l[1].index(0, 0), l[1].index(0, 1));
    let (last, rows) = g.scan(&[g.constant(1.0, [], F64)], &[xs], |carry, x| {
        let next = g.cond(
            x[0].greater(0.0),
            &[carry[0], x[0]],
            |on| Ok(vec![on[0] * (growth * on[1]).exp()]),
            |on| Ok(vec![on[0] - decay * on[1] * on[0].square()]),
        )?;
        Ok((next.clone(), next))
    })?;
    Ok(last[0] + rows[0].sin().sum(..))
}

fn fixture(file: &SafeTensors<'_>, name: &str) -> Value {
    let view = file.tensor(name).unwrap();
    let words = view.data().chunks_exact(8).map(|bytes| <[u8; 8]>::try_from(bytes).unwrap());
    let numbers: Vec<f64> = words.map(f64::from_le_bytes).collect();
    Value::F64(ndarray::ArrayD::from_shape_vec(view.shape(), numbers).unwrap())
}

#[test]
fn loops_are_those_of_jax() {
    let file = SafeTensors::deserialize(FIXTURES).unwrap();
    for (name, inputs, build) in CASES {
        let g = Graph::new();
        let value = |leaf: &str| fixture(&file, &format!("{name}.{leaf}"));
        let leaves: Vec<Tensor<'_>> =
            inputs.iter().map(|input| g.input(input, value(input).ty().shape, F64)).collect();
        let given: Vec<(&str, Value)> = inputs.iter().map(|input| (*input, value(input))).collect();
        let y = build(&g, &leaves).unwrap_or_else(|error| panic!("{name}: {error}"));
        let first = g.grad(y, &leaves).unwrap();
        let slope = first.iter().map(|d| d.sin().sum(..)).reduce(|a, b| a + b).unwrap();
        let second = g.grad(slope, &leaves).unwrap();
        let directions: Vec<_> = leaves.iter().map(|&x| (x, x.cos())).collect();
        let mut outputs = vec![("y".to_string(), y), ("forward".to_string(), g.jvp(y, &directions).unwrap())];
        for (index, input) in inputs.iter().enumerate() {
            outputs.push((format!("d_{input}"), first[index]));
            outputs.push((format!("d2_{input}"), second[index]));
        }
        let outputs: Vec<(&str, Tensor<'_>)> = outputs.iter().map(|(name, x)| (&**name, *x)).collect();
        for (output, actual) in g.interpret(&outputs, &given).unwrap() {
            let apart = distance(&value(&output), &actual);
            assert!(apart < 1e-11, "{name}: {output} is {apart:e} apart");
        }
        assert_compiles_right(&g, &outputs, &given, 1e-10);
    }
}
