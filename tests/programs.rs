//! Random programs: compiled = interpreted, simplified = unsimplified, gradient = finite differences.

mod common;

use common::{assert_compiles_right, assert_gradient_right, value_for};
use hitofude::prelude::*;
use hitofude::types::MAX_RANK;
use proptest::prelude::*;

/// One line of a random program: a choice of operator and of operands among the tensors so far.
type Line = (u8, u8, u8, u8);

/// Applies the line to the tensors so far. Smooth operators only, on ranges where they are tame, so that finite
/// differences mean something.
fn apply<'g>((op, a, b, c): Line, pool: &[Tensor<'g>]) -> Tensor<'g> {
    let pick = |at: u8| pool[at as usize % pool.len()];
    let (x, y) = (pick(a), pick(b));
    let axis = |rank: usize| (c as usize % rank.max(1)) as isize;
    let shapes_fit = x.shape().broadcast(y.shape()).is_some_and(|shape| shape.elements() <= 4096);
    let rank = x.shape().rank();
    match op % 30 {
        0 if shapes_fit => x + y,
        1 if shapes_fit => x - y,
        2 if shapes_fit => (x * y).tanh(),
        3 if shapes_fit => x / (y * y + 1.5),
        4 if shapes_fit => x.greater(y).select(x * 2.0, y - 1.0),
        5 if shapes_fit => x.maximum(y),
        6 => x.tanh(),
        7 => (x * 0.3).exp(),
        8 => (x * x + 0.5).log(),
        9 => (x * x + 0.5).sqrt(),
        10 => x.sin() * x.cos(),
        11 => -x,
        12 => x * 3.0,
        13 if rank > 0 => x.sum(axis(rank)) * 0.5,
        14 if rank > 0 => x.mean(axis(rank)),
        15 if rank > 0 => x.max(axis(rank)),
        16 if rank > 1 => x.transpose(),
        17 if rank < MAX_RANK - 4 => x.unsqueeze(axis(rank + 1)),
        18 if rank > 0 => x.reshape([x.shape().elements()]),
        19 if rank > 1 && x.shape().elements() % 2 == 0 => x.reshape([2, x.shape().elements() / 2]),
        20 if rank == 2 && y.shape().rank() == 2 && x.shape().extents()[1] == y.shape().extents()[0] => {
            x.matmul(y).tanh()
        }
        21 if rank == 2 => x.einsum("ab,cb->ac", x).tanh(),
        22 if rank > 0 => x.pad(axis(rank), 1, 0),
        23 if rank > 0 && x.shape().extents()[axis(rank) as usize] > 1 => {
            x.slice(axis(rank), 1..x.shape().extents()[axis(rank) as usize])
        }
        24 if rank > 0 => x.reverse(axis(rank)),
        25 if rank > 0 && x.shape().elements() <= 1024 => x.concat(&[x.sin()], axis(rank)),
        26 if rank > 0 => x.softmax(axis(rank)),
        28 if rank > 0 => x.take(axis(rank), x.graph().iota([3], 0, I32) * 2.0 - 1.0),
        29 if rank > 1 => x.variance(axis(rank)),
        27 if rank > 0 => x.cos().slice_step(axis(rank), 0..x.shape().extents()[axis(rank) as usize], 2),
        _ => x + 0.25,
    }
}

/// The program's value: a scalar of everything it computed.
fn total<'g>(pool: &[Tensor<'g>]) -> Tensor<'g> {
    let last = pool.len().saturating_sub(4);
    pool[last..].iter().map(|tensor| tensor.mean(..)).reduce(|sum, term| sum + term).unwrap()
}

fn check(lines: &[Line], dtype: DType, extents: (usize, usize, usize), tolerance: f64, with_gradient: bool) {
    let g = Graph::new();
    let (n, k, m) = extents;
    let mut pool = vec![
        g.input("a", [n, k], dtype),
        g.input("b", [k, m], dtype),
        g.input("c", [m], dtype),
        g.parameter("p", [n, 1], dtype),
        g.parameter("s", [], dtype),
    ];
    let leaves: Vec<(&str, Tensor<'_>)> = ["a", "b", "c", "p", "s"].into_iter().zip(pool.clone()).collect();
    let given: Vec<(&str, Value)> = leaves
        .iter()
        .enumerate()
        .map(|(seed, (name, tensor))| (*name, value_for(*tensor, seed as u64 + 1)))
        .collect();
    for &line in lines {
        let next = apply(line, &pool);
        pool.push(next);
    }
    let y = total(&pool);
    // Kinks and chains of squares make differences meaningless for some programs.
    let wrt: Vec<Tensor<'_>> = leaves.iter().map(|leaf| leaf.1).collect();
    let gradients = g.grad(y, &wrt).unwrap();
    g.validate().unwrap();
    let mut outputs = vec![("y", y), ("last", *pool.last().unwrap())];
    outputs.extend(["da", "db", "dc", "dp", "ds"].into_iter().zip(gradients));
    assert_compiles_right(&g, &outputs, &given, tolerance);
    if with_gradient {
        assert_gradient_right(&g, y, &leaves, &given);
    }
}

fn cases() -> u32 {
    std::env::var("HITOFUDE_PROGRAMS").ok().and_then(|count| count.parse().ok()).unwrap_or(300)
}

fn program(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Line>> {
    prop::collection::vec(any::<Line>(), length)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn compiled_is_interpreted_in_f64(lines in program(1..40), n in 1usize..7, k in 1usize..6, m in 1usize..12) {
        check(&lines, DType::F64, (n, k, m), 1e-9, false);
    }

    #[test]
    fn compiled_is_interpreted_in_f32(lines in program(1..12), n in 1usize..40, k in 1usize..20, m in 1usize..9) {
        check(&lines, DType::F32, (n, k, m), 2e-3, false);
    }

    #[test]
    fn gradient_is_finite_differences(lines in program(1..10), n in 1usize..4, k in 1usize..4, m in 1usize..4) {
        check(&lines, DType::F64, (n, k, m), 1e-9, true);
    }
}
