//! Kernels large enough for several threads: the same bits whatever their number, and the interpreter's values.

mod common;

use common::{distance, run, values};
use hitofude::Shape;
use hitofude::prelude::*;

type Body = for<'g> fn(Tensor<'g>, Tensor<'g>) -> Tensor<'g>;

/// Whole pieces and not, loops of one dimension and of two, sums with and without what comes after.
const CASES: &[(&str, &[usize], Body)] = &[
    ("elements", &[700_001], |x, y| (x * y).tanh() + y),
    ("sum", &[700_001], |x, y| (x * y).tanh().sum(0) * 2.0),
    ("several sums", &[640_000], |x, y| (x.tanh() - y).square().mean(0) + (x * y).tanh().max(0)),
    ("rows", &[700, 1001], |x, y| (x * y).softmax(1)),
    ("sums of rows", &[700, 1001], |x, y| (x * y).tanh().sum(1)),
    ("sums of columns", &[700, 1001], |x, y| (x * y).tanh().sum(0)),
    ("means of long columns", &[1600, 700], |x, y| (x * y).tanh().mean(0) + y.index(0, 3)),
    ("extrema of long columns", &[1600, 700], |x, y| x.max(0) - (x - y).min(0) + x.mean(0)),
    ("transposed", &[700, 1001], |x, y| (x.transpose() * 2.0).tanh() * y.transpose()),
    ("windows", &[1000, 700], |x, y| (x.pad(1, 1, 1).slice(1, 0..700) + y).tanh()),
    ("running sums", &[3000, 300], |x, y| (x * y).tanh().cumsum(1)),
    ("running sums of columns", &[200, 5000], |x, y| (x * y).tanh().cumsum(0)),
    ("few columns", &[70_001, 10], |x, y| (x * y).tanh().mean(0) + y.index(0, 3)),
    ("extrema of few columns", &[64_000, 37], |x, y| x.max(0) - (x - y).min(0)),
    ("places in few columns", &[64_010, 9], |x, y| (x * y).argmax(0).cast(F32)),
    ("products of few columns", &[6_400, 30], |x, y| (x * y * 0.001 + 1.0).prod(0)),
    ("normalised channels", &[12, 20, 30, 31], |x, y| {
        let means = y.mean(0).mean(2).mean(1);
        x.batch_norm(means, means * 0.5, 1e-5)
    }),
    ("few long rows", &[7, 100_003], |x, y| (x * y).tanh().mean(1)),
    ("several sums of few columns", &[64_010, 12], |x, y| (x.mean(0) + y.mean(0)) * y.max(0)),
    ("deviations of few columns", &[70_001, 10], |x, y| (x - x.mean(0)).square().mean(0).sqrt() * y.max(0)),
    ("deviations of long columns", &[1600, 700], |x, y| x / (x.variance(0) + 1.0) + y.index(0, 3)),
    ("moments of columns", &[64_000, 20], |x, _| {
        let apart = x - x.mean(0);
        let scaled = apart / (apart.square().mean(0) + 1.0).sqrt();
        (scaled * scaled * scaled).mean(0)
    }),
    ("products of tall arrays", &[40_010, 12], |x, y| (x * 0.01).transpose().matmul(y)),
    ("sorted rows", &[300, 501], |x, _| x.sort(1, Order::Descending)),
    ("largest of rows", &[20_000, 50], |x, y| (x * y).top_k(1, 4).0),
    ("batches of products", &[24, 2, 70, 41], |x, y| x.matmul(y.transpose())),
    ("batches of packed products", &[40, 64, 300], |x, y| x.transpose().matmul(y)),
    ("a few large products", &[3, 200, 300], |x, y| (x * 0.1).matmul(y.transpose())),
    ("running products of a middle axis", &[3, 200, 2000], |x, y| (x * y).tanh().cumprod(1)),
];

#[test]
fn results_do_not_depend_on_threads() {
    for &(name, shape, body) in CASES {
        let g = Graph::new();
        let (x, y) =
            (g.input("x", Shape::new(shape).unwrap(), F32), g.input("y", Shape::new(shape).unwrap(), F32));
        let z = body(x, y);
        let elements = shape.iter().product();
        let given = |seed| {
            Value::from_elements(x.ty(), values(seed, elements).into_iter().map(|x| (x as f32).into()))
        };
        let leaves = [("x", given(1)), ("y", given(2))];
        let expected = &g.interpret(&[("z", z)], &leaves).unwrap()["z"];
        let compiled = g.compile(&[("z", z)]).unwrap();
        let on_threads = |count| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap();
            pool.install(|| run(&compiled, &leaves)["z"].clone())
        };
        let alone = on_threads(1);
        let apart = distance(expected, &alone);
        // Sums down 700 rows have as few as two chains, each of which rounds 350 times by half a unit, 6e-8, at most.
        assert!(apart <= 2e-5, "{name}: {apart:e} from the interpreter's");
        for count in [2, 3, 7] {
            assert_eq!(on_threads(count), alone, "{name} on {count} threads");
        }
    }
}

fn is_shared(shape: &[usize], body: Body) -> bool {
    let g = Graph::new();
    let [x, y] = ["x", "y"].map(|name| g.input(name, Shape::new(shape).unwrap(), F32));
    let function = g.function().output("z", body(x, y));
    let schedule = function.schedule(&hitofude::Options::default()).unwrap();
    schedule.program.to_string().contains("parallel ")
}

/// The text of the schedule says which kernels and repeats threads share.
#[test]
fn small_kernels_stay_on_one_thread() {
    let cases: &[(Body, &[usize], &[usize])] = &[
        (|x, _| x.tanh(), &[1_000], &[700_001]),
        (|x, _| x.sum(0), &[1_000, 10], &[100_003, 10]),
        (|x, _| x.sum(1), &[7, 1_000], &[7, 100_003]),
        (|x, _| x.sort(1, Order::Ascending), &[10, 100], &[300, 501]),
        (|x, y| x.transpose().matmul(y), &[1_000, 12], &[40_000, 12]),
        (|x, y| x.matmul(y.transpose()), &[3, 20, 20], &[12, 100, 100]),
    ];
    for &(body, small, large) in cases {
        assert!(!is_shared(small, body), "{small:?}");
        assert!(is_shared(large, body), "{large:?}");
    }
}

/// Sums down a few columns fill vectors with these, which a share of a single column would not.
#[test]
fn columns_side_by_side_are_not_shared_out_one_by_one() {
    assert!(!is_shared(&[500, 500, 8], |x, y| (x * y).slice(1, 0..499).sum(1).sum(0)));
}
