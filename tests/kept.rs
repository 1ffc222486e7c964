//! What a loop has computed is kept for its gradient where that takes less than computing it anew, and nothing else changes.

mod common;

use common::{assert_compiles_right, assert_gradient_right, leaf_values};
use hitofude::Options;
use hitofude::ops::{Op, Scan};
use hitofude::prelude::*;

/// A loss of a sequence `xs`, a state `h` and weights `w` and `u`.
type Model = for<'g> fn(&'g Graph, &Leaves<'g>) -> Result<Tensor<'g>>;

struct Leaves<'g> {
    xs: Tensor<'g>,
    h: Tensor<'g>,
    w: Tensor<'g>,
    u: Tensor<'g>,
}

fn recurrent<'g>(_: &'g Graph, l: &Leaves<'g>, h: Tensor<'g>, x: Tensor<'g>) -> Tensor<'g> {
    ((x.matmul(l.w) + h.matmul(l.u)) * 0.3).tanh()
}

const MODELS: &[(&str, Model)] = &[
    ("last state", |g, l| {
        let (last, _) = g.scan(&[l.h], &[l.xs], |h, x| Ok((vec![recurrent(g, l, h[0], x[0])], vec![])))?;
        Ok(last[0].square().mean(..))
    }),
    ("all states", |g, l| {
        let (_, rows) = g.scan(&[l.h], &[l.xs], |h, x| {
            let next = recurrent(g, l, h[0], x[0]);
            Ok((vec![next], vec![next.sigmoid()]))
        })?;
        Ok(rows[0].square().mean(..))
    }),
    ("from behind", |g, l| {
        let (last, rows) = g.scan_backward(&[l.h], &[l.xs], |h, x| {
            let next = recurrent(g, l, h[0], x[0]);
            Ok((vec![next], vec![next * x[0].sum(..)]))
        })?;
        Ok(last[0].sum(..) + rows[0].square().mean(..))
    }),
    ("gates", |g, l| {
        let (last, _) = g.scan(&[l.h, l.h], &[l.xs], |carry, x| {
            let z = (x[0].matmul(l.w) + carry[0].matmul(l.u)) * 0.3;
            let c = z.sigmoid() * carry[1] + (z * 0.5).tanh();
            Ok((vec![z.cos() * c.tanh(), c], vec![]))
        })?;
        Ok((last[0] * last[1]).mean(..))
    }),
    ("one loop after another", |g, l| {
        let (_, rows) = g.scan(&[l.h], &[l.xs], |h, x| {
            let next = recurrent(g, l, h[0], x[0]);
            Ok((vec![next], vec![next]))
        })?;
        let (last, _) = g.scan(&[l.h], &[rows[0]], |h, x| {
            Ok((vec![(x[0].matmul(l.u) + h[0].matmul(l.u)).tanh()], vec![]))
        })?;
        Ok(last[0].square().mean(..))
    }),
    ("a loop in a loop", |g, l| {
        let (last, _) = g.scan(&[l.h], &[l.xs], |h, x| {
            let start = recurrent(g, l, h[0], x[0]);
            let (inner, _) =
                g.repeat(2, &[start], |h| Ok((vec![(h[0].matmul(l.u) * 0.3 + start).sin()], vec![])))?;
            Ok((inner, vec![]))
        })?;
        Ok(last[0].square().mean(..))
    }),
];

fn leaves(g: &Graph, [turns, rows, inputs, units]: [usize; 4]) -> Leaves<'_> {
    Leaves {
        xs: g.input("xs", [turns, rows, inputs], F64),
        h: g.input("h", [rows, units], F64),
        w: g.input("w", [inputs, units], F64),
        u: g.input("u", [units, units], F64),
    }
}

/// The contractions in the bodies of loops.
fn contractions(function: &Function<'_>, options: &Options) -> usize {
    fn of_body(scan: &Scan) -> usize {
        let count = scan.body.nodes.iter().map(|node| match &node.op {
            Op::Dot(_) => 1,
            Op::Scan(inner) => of_body(inner),
            _ => 0,
        });
        count.sum()
    }
    let mut bodies: Vec<Scan> = Vec::new();
    for node in function.optimised(options).unwrap().nodes() {
        if let Op::Scan(scan) = node.op
            && !bodies.iter().any(|known| known.body == scan.body)
        {
            bodies.push(scan);
        }
    }
    bodies.iter().map(of_body).sum()
}

/// The loss and its gradients as a function.
fn step<'g>(g: &'g Graph, loss: Tensor<'g>, l: &Leaves<'g>) -> Function<'g> {
    let gradients = g.grad(loss, &[l.w, l.u, l.h, l.xs]).unwrap();
    let names = ["dw", "du", "dh", "dxs"];
    names.iter().zip(gradients).fold(g.function().output("loss", loss), |f, (name, dx)| f.output(name, dx))
}

#[test]
fn gradients_are_those_of_the_interpreter_and_of_differences() {
    for (name, model) in MODELS {
        for sizes in [[4, 3, 5, 5], [7, 1, 2, 2], [1, 2, 3, 3]] {
            println!("{name} of {sizes:?}");
            let g = Graph::new();
            let l = leaves(&g, sizes);
            let loss = model(&g, &l).unwrap();
            let wrt = [("w", l.w), ("u", l.u), ("h", l.h), ("xs", l.xs)];
            let values = leaf_values(&g);
            let values: Vec<(&str, Value)> =
                values.iter().map(|(name, v)| (name.as_str(), v.clone())).collect();
            assert_gradient_right(&g, loss, &wrt, &values);
            let gradients = g.grad(loss, &wrt.map(|x| x.1)).unwrap();
            let outputs: Vec<(&str, Tensor<'_>)> = wrt.iter().map(|x| x.0).zip(gradients).collect();
            assert_compiles_right(&g, &outputs, &values, 1e-11);
        }
    }
}

#[test]
fn second_derivatives_tangents_and_batches_are_right() {
    for (name, model) in MODELS {
        println!("{name}");
        let g = Graph::new();
        let l = leaves(&g, [3, 2, 3, 3]);
        let loss = model(&g, &l).unwrap();
        let gradient = g.grad(loss, &[l.w]).unwrap()[0];
        let second = g.grad((gradient * l.w).sum(..), &[l.u]).unwrap()[0];
        let moved = g.jvp(gradient, &[(l.u, l.u)]).unwrap();
        let samples = g.input("samples", [4, 2, 3], F64);
        let each = g.vmap(gradient, &[(l.h, samples)]).unwrap();
        let values = leaf_values(&g);
        let values: Vec<(&str, Value)> = values.iter().map(|(name, v)| (name.as_str(), v.clone())).collect();
        let outputs = [("second", second), ("moved", moved), ("each", each)];
        assert_compiles_right(&g, &outputs, &values, 1e-10);
    }
}

#[test]
fn the_way_back_repeats_no_product() {
    let without = Options { without: vec!["keep"], ..Options::default() };
    for ((name, model), anew) in MODELS.iter().zip([2, 2, 2, 2, 4, 4]) {
        let g = Graph::new();
        let l = leaves(&g, [40, 8, 64, 64]);
        let step = step(&g, model(&g, &l).unwrap(), &l);
        let (before, now) = (contractions(&step, &without), contractions(&step, &Options::default()));
        assert_eq!(before - now, anew, "{name}\n{}", step.optimised(&Options::default()).unwrap());
    }
}

#[test]
fn cheap_turns_are_done_again() {
    let g = Graph::new();
    let (xs, decay) = (g.input("xs", [100, 64], F64), g.input("decay", [], F64));
    let (last, _) = g
        .scan(&[g.constant(0.0, [64], F64)], &[xs], |mean, x| {
            Ok((vec![(decay * mean[0] + (1.0 - decay) * x[0]).square()], vec![]))
        })
        .unwrap();
    let gradient = g.grad(last[0].sum(..), &[decay]).unwrap()[0];
    let f = g.function().output("gradient", gradient);
    let without = Options { without: vec!["keep"], ..Options::default() };
    let [kept, anew] =
        [&Options::default(), &without].map(|options| f.optimised(options).unwrap().to_string());
    assert_eq!(kept, anew);
}

/// A turn of which more would be kept than is allowed, and one that is to be computed anew.
#[test]
fn memory_that_is_to_be_saved_is_not_used() {
    let without = Options { without: vec!["keep"], ..Options::default() };
    let g = Graph::new();
    let l = leaves(&g, [1000, 64, 640, 640]);
    let long = step(&g, MODELS[0].1(&g, &l).unwrap(), &l);
    assert_eq!(contractions(&long, &without), contractions(&long, &Options::default()));
    let g = Graph::new();
    let l = leaves(&g, [40, 8, 64, 64]);
    let (last, _) = g
        .scan(&[l.h], &[l.xs], |h, x| {
            let next = recurrent(&g, &l, h[0], x[0]).checkpoint(&[h[0], x[0]]);
            Ok((vec![next], vec![]))
        })
        .unwrap();
    let again = step(&g, last[0].square().mean(..), &l);
    assert_eq!(contractions(&again, &without), contractions(&again, &Options::default()));
}
