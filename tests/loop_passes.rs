//! What a loop has computed is kept for its gradient where that takes less than computing it anew, small products are
//! taken out of loops, and nothing else changes.

mod common;

use std::sync::Arc;

use common::{assert_compiles_right, assert_gradient_right, leaf_values};
use hitofude::Options;
use hitofude::ops::{Body, Op};
use hitofude::prelude::*;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

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

/// The contractions in the bodies of loops, those of each body once.
fn contractions(function: &Function<'_>, options: &Options) -> usize {
    let mut bodies: Vec<Arc<Body>> = Vec::new();
    let mut nodes: Vec<Op> = function.optimised(options).unwrap().nodes().map(|node| node.op).collect();
    while let Some(op) = nodes.pop() {
        if let Op::Scan(scan) = op
            && !bodies.contains(&scan.body)
        {
            nodes.extend(scan.body.nodes.iter().map(|node| node.op.clone()));
            bodies.push(scan.body);
        }
    }
    bodies.iter().flat_map(|body| &body.nodes).filter(|node| matches!(node.op, Op::Dot(_))).count()
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

fn without(passes: &[&'static str]) -> Options {
    Options { without: passes.to_vec(), ..Options::default() }
}

/// Contractions in the bodies of loops: as derived, with nothing computed twice, and with the small ones taken out.
#[test]
fn the_way_back_repeats_no_product_and_small_ones_are_taken_out() {
    let expected = [[8, 6, 2], [8, 6, 2], [8, 6, 3], [8, 6, 2], [15, 11, 6], [12, 10, 7]];
    for ((name, model), expected) in MODELS.iter().zip(expected) {
        let g = Graph::new();
        let l = leaves(&g, [40, 8, 64, 64]);
        let step = step(&g, model(&g, &l).unwrap(), &l);
        let options = [without(&["keep", "lift"]), without(&["lift"]), Options::default()];
        let found = options.map(|options| contractions(&step, &options));
        assert_eq!(found, expected, "{name}\n{}", step.optimised(&Options::default()).unwrap());
    }
}

/// Large products stay where their operands are in the cache.
#[test]
fn large_products_stay_in_the_loop() {
    let g = Graph::new();
    let l = leaves(&g, [40, 64, 128, 128]);
    let step = step(&g, MODELS[0].1(&g, &l).unwrap(), &l);
    assert_eq!(contractions(&step, &Options::default()), contractions(&step, &without(&["lift"])));
}

fn chain<'g>(y: Tensor<'g>, u: Tensor<'g>) -> Tensor<'g> {
    (0..40).fold(y.matmul(u) * 0.1, |y, _| (y * 1.01).sin())
}

/// A body that is too large for a cut in good time.
#[test]
fn long_bodies_repeat_no_product_either() {
    let g = Graph::new();
    let l = leaves(&g, [10, 64, 80, 80]);
    let (last, _) =
        g.repeat(10, &[l.h], |h| Ok((vec![(0..8).fold(h[0], |y, _| chain(y, l.u))], vec![]))).unwrap();
    let gradient = g.grad(last[0].square().mean(..), &[l.u]).unwrap()[0];
    let f = g.function().output("gradient", gradient);
    // There and back, and for the weights.
    assert_eq!(contractions(&f, &Options::default()), 3 * 8);
    assert_eq!(contractions(&f, &without(&["keep"])), 4 * 8);
}

/// A vector of columns is read as it lies, in each turn.
#[test]
fn matrices_that_few_rows_meet_are_captured_transposed() {
    for (rows, turns, is_transposed) in [(1, 20, true), (24, 20, true), (25, 20, false), (1, 7, false)] {
        let g = Graph::new();
        let (h, u) = (g.input("h", [rows, 64], F64), g.input("u", [64, 64], F64));
        let (last, _) =
            g.repeat(turns, &[h], |h| Ok((vec![h[0].matmul(u.transpose()).tanh()], vec![]))).unwrap();
        let text = g.function().output("y", last[0]).optimised(&Options::default()).unwrap().to_string();
        let dot = if is_transposed { "dot[ab,bc->ac]" } else { "dot[ab,cb->ac]" };
        assert!(text.contains(dot), "{rows} rows, {turns} turns\n{text}");
    }
}

#[test]
fn cheap_turns_are_done_again() {
    for (dtype, has_sign) in [(F64, true), (F64, false), (F32, false)] {
        let g = Graph::new();
        let (xs, decay) = (g.input("xs", [100, 64], dtype), g.input("decay", [], dtype));
        let (last, _) = g
            .scan(&[g.constant(0.0, [64], dtype)], &[xs], |mean, x| {
                let next = decay * mean[0] + (1.0 - decay) * x[0];
                Ok((vec![if has_sign { next } else { next.abs() }.square()], vec![]))
            })
            .unwrap();
        let gradient = g.grad(last[0].sum(..), &[decay]).unwrap()[0];
        let f = g.function().output("gradient", gradient);
        let [kept, anew] = [Options::default(), without(&["keep"])]
            .map(|options| f.optimised(&options).unwrap().to_string());
        assert_eq!(kept, anew);
    }
}

/// A turn of which more would be kept than is allowed, and one that is to be computed anew.
#[test]
fn memory_that_is_to_be_saved_is_not_used() {
    let g = Graph::new();
    let l = leaves(&g, [1000, 64, 640, 640]);
    let long = step(&g, MODELS[0].1(&g, &l).unwrap(), &l);
    assert_eq!(contractions(&long, &without(&["keep"])), contractions(&long, &Options::default()));
    let g = Graph::new();
    let l = leaves(&g, [40, 8, 64, 64]);
    let (last, _) = g
        .scan(&[l.h], &[l.xs], |h, x| {
            let next = recurrent(&g, &l, h[0], x[0]).checkpoint(&[h[0], x[0]]);
            Ok((vec![next], vec![]))
        })
        .unwrap();
    let again = step(&g, last[0].square().mean(..), &l);
    assert_eq!(contractions(&again, &without(&["keep"])), contractions(&again, &Options::default()));
}

/// A body of operators drawn by `draws`, over a carry and a slice of `[rows, n]` and a weight of `[n, n]`.
fn drawn<'g>(draws: &[u8], h: Tensor<'g>, x: Tensor<'g>, w: Tensor<'g>) -> (Tensor<'g>, Tensor<'g>) {
    let mut pool = vec![h, x];
    let mut weights = vec![w];
    for draw in draws.chunks_exact(3) {
        let (a, b) = (pool[draw[1] as usize % pool.len()], pool[draw[2] as usize % pool.len()]);
        let v = weights[draw[2] as usize % weights.len()];
        match draw[0] % 10 {
            0 | 1 => pool.push(a.matmul(v) * 0.3),
            2 => pool.push(a.tanh()),
            3 => pool.push(a + b),
            4 => pool.push(a * b.sigmoid()),
            5 => pool.push((a.matmul(b.transpose()) * 0.1).matmul(x)),
            6 => pool.push(a - a.mean(0)),
            7 => weights.push((a.transpose().matmul(b) * 0.1 + v).sin()),
            8 => weights.push(v.matmul(w) * 0.2),
            _ => pool.push(a.abs().maximum(b)),
        }
    }
    let last = pool[pool.len() - 1];
    ((last + h).tanh(), pool[pool.len() / 2])
}

/// The same bodies every time, unless a number of them is asked for.
fn config() -> ProptestConfig {
    let count = std::env::var("HITOFUDE_PROGRAMS").ok().and_then(|count| count.parse().ok());
    let rng_seed = if count.is_some() { RngSeed::Random } else { RngSeed::Fixed(20_261_129) };
    ProptestConfig { cases: count.unwrap_or(60), rng_seed, failure_persistence: None, ..Default::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn drawn_bodies_are_right(
        draws in proptest::collection::vec(any::<u8>(), 6..40), turns in 1usize..12, rows in 1usize..4, n in 1usize..9,
    ) {
        let g = Graph::new();
        let l = leaves(&g, [turns, rows, n, n]);
        let (last, stacks) = g
            .scan(&[l.h], &[l.xs], |carry, x| {
                let (next, row) = drawn(&draws, carry[0], x[0], l.w);
                Ok((vec![next], vec![row]))
            })
            .unwrap();
        let loss = last[0].square().mean(..) + (stacks[0] * l.u.sum(..)).tanh().mean(..);
        let gradients = g.grad(loss, &[l.w, l.u, l.h, l.xs]).unwrap();
        let values = leaf_values(&g);
        let values: Vec<(&str, Value)> = values.iter().map(|(name, v)| (name.as_str(), v.clone())).collect();
        let outputs: Vec<(&str, Tensor<'_>)> = ["dw", "du", "dh", "dxs"].into_iter().zip(gradients).collect();
        assert_compiles_right(&g, &outputs, &values, 1e-9);
    }
}
