//! Gathering, adding rows, running sums and sorting, at their edges.

mod common;

use common::{assert_compiles_right, run, value_for};
use hitofude::prelude::*;

/// One operator's outputs, interpreted and compiled, which must agree bit by bit.
fn outputs(g: &Graph, outputs: &[(&str, Tensor<'_>)], leaves: &[(&str, Value)]) -> Vec<Value> {
    assert_compiles_right(g, outputs, leaves, 0.0);
    let values = g.interpret(outputs, leaves).unwrap();
    outputs.iter().map(|(name, _)| values[*name].clone()).collect()
}

#[test]
fn updates_that_meet_are_all_added_in_order() {
    let g = Graph::new();
    let (rows, updates) = (g.input("rows", [4], I64), g.input("updates", [4], F32));
    let sums = g.constant(0.0, [3], F32).scatter_add(0, rows, updates);
    let leaves = [
        ("rows", Value::from(array![1i64, 1, 1, i64::MIN])),
        // In another order the sum would be 1: 1e8 swallows it.
        ("updates", array![1e8f32, 1.0, -1e8, f32::NAN].into()),
    ];
    let [sums] = &outputs(&g, &[("sums", sums)], &leaves)[..] else { unreachable!() };
    let Value::F32(sums) = sums else { unreachable!() };
    assert!(sums[0].is_nan());
    assert_eq!((sums[1], sums[2]), (0.0, 0.0));
}

#[test]
fn added_integers_wrap() {
    let g = Graph::new();
    let (x, rows) = (g.input("x", [2], I32), g.input("rows", [3], I32));
    let y = x.scatter_add(0, rows, x.constant_like(1.0).slice(0, 0..1).broadcast_to([3]));
    let leaves = [("x", Value::from(array![i32::MAX, 5])), ("rows", array![0, 0, 7].into())];
    assert_eq!(outputs(&g, &[("y", y)], &leaves), [array![i32::MIN + 1, 6].into()]);
}

#[test]
fn nothing_is_picked_from_nothing() {
    let g = Graph::new();
    let (x, rows) = (g.input("x", [0, 2], F64), g.input("rows", [0], I64));
    let table = g.input("table", [3, 2], F64);
    let picked = x.take(0, rows);
    let untouched = table.scatter_add(0, rows, picked);
    let leaves = [
        ("x", Value::from(Array2::<f64>::zeros((0, 2)))),
        ("rows", Array1::<i64>::zeros(0).into()),
        ("table", value_for(table, 1)),
    ];
    let values = outputs(&g, &[("picked", picked), ("untouched", untouched)], &leaves);
    assert_eq!(values, [leaves[0].1.clone(), leaves[2].1.clone()]);
    let some = g.input("some", [1], I64);
    assert!(x.take(0, some).is_poison());
    assert!(g.check().unwrap_err().to_string().contains("nothing to pick"));
}

/// Numbers that the program holds are tables as well as any.
#[test]
fn rows_are_picked_from_constants() {
    let g = Graph::new();
    let rows = g.input("rows", [3], I32);
    let positions = g.iota([4, 2], 0, F64);
    let all = [
        ("picked", positions.take(0, rows)),
        ("sevens", g.constant(7.0, [4], F64).take(0, rows)),
        ("arranged", positions.reshape([2, 4]).take(1, rows)),
    ];
    let values = outputs(&g, &all, &[("rows", array![3, -5, 1].into())]);
    assert_eq!(values[0], array![[3.0, 3.0], [0.0, 0.0], [1.0, 1.0]].into());
    assert_eq!(values[1], array![7.0, 7.0, 7.0].into());
    assert_eq!(values[2], array![[1.0, 0.0, 0.0], [3.0, 2.0, 2.0]].into());
}

/// The gradient of an embedding is added to the rows that were looked up, and the table is updated in place.
#[test]
fn an_embedding_learns_the_rows_it_looks_up() {
    let g = Graph::new();
    let table = g.parameter("table", [50, 3], F32);
    let (words, target) = (g.input("words", [4, 2], I32), g.input("target", [4, 2, 3], F32));
    let loss = table.embedding(words).mse_loss(target);
    let step = g.training_step(loss, Sgd::new(1.0)).unwrap().compile().unwrap();
    let mut state = step.state();
    let given = array![[3, 7], [7, 7], [49, 0], [3, 3]];
    let inputs = step.inputs().with("words", given.clone()).unwrap();
    let inputs = inputs.with("target", ndarray::Array3::<f32>::ones((4, 2, 3))).unwrap();
    step.run(&mut state, &inputs).unwrap();
    let learnt = state.view::<f32>("table").unwrap();
    for row in 0..50 {
        let times = given.iter().filter(|&&word| word == row as i32).count() as f32;
        // The derivative of the mean of (0 − 1)² over 24 elements, for each time it was looked up.
        let expected = times * 2.0 / 24.0;
        assert!((0..3).all(|column| (learnt[[row, column]] - expected).abs() < 1e-7), "row {row}");
    }
}

/// A result that is reported and kept is written to both places; state that is read is not overwritten too early.
#[test]
fn sums_go_to_every_destination() {
    let g = Graph::new();
    let counts = g.parameter("counts", [4], F64);
    let rows = g.input("rows", [5], I64);
    // Each row counts itself with what the place it points to held before.
    let sums = g.constant(0.0, [4], F64).scatter_add(0, rows, counts.take(0, rows) + 1.0);
    let f = g.function().output("sums", sums).update(counts, sums).compile().unwrap();
    let mut state = f.state();
    state.set("counts", array![10.0, 20.0, 30.0, 40.0]).unwrap();
    let inputs = f.inputs().with("rows", array![3i64, 0, 3, 3, -1]).unwrap();
    f.run(&mut state, &inputs).unwrap();
    let expected = Value::from(array![22.0, 0.0, 0.0, 123.0]);
    assert_eq!(state.get("counts").unwrap(), expected);
    assert_eq!(
        run(
            &f,
            &[("counts", array![10.0, 20.0, 30.0, 40.0].into()), ("rows", array![3i64, 0, 3, 3, -1].into())]
        )["sums"],
        expected
    );
}

#[test]
fn running_sums_meet_special_values() {
    let g = Graph::new();
    let x = g.input("x", [6], F32);
    let leaves = [("x", Value::from(array![-0.0f32, 1.0, f32::INFINITY, -1.0, f32::NEG_INFINITY, 2.0]))];
    let values = outputs(&g, &[("sums", x.cumsum(0)), ("products", x.cumprod(0))], &leaves);
    let bits =
        |value: &Value| value.array::<f32>().unwrap().mapv(|x| if x.is_nan() { 0 } else { x.to_bits() });
    let expected = [
        array![-0.0f32, 1.0, f32::INFINITY, f32::INFINITY, f32::NAN, f32::NAN],
        array![-0.0f32, -0.0, f32::NAN, f32::NAN, f32::NAN, f32::NAN],
    ];
    for (value, expected) in values.iter().zip(expected) {
        assert_eq!(bits(value), bits(&expected.into()));
    }
    let compiled = run(&g.compile(&[("sums", x.cumsum(0)), ("products", x.cumprod(0))]).unwrap(), &leaves);
    assert_eq!(
        ["sums", "products"].map(|name| bits(&compiled[name])).to_vec(),
        values.iter().map(bits).collect::<Vec<_>>()
    );
}

#[test]
fn running_sums_of_integers_wrap_and_those_of_nothing_are_nothing() {
    let g = Graph::new();
    let (x, empty) = (g.input("x", [2, 3], I32), g.input("empty", [0, 3], F64));
    let total =
        empty.cumprod(0).sum(..) + empty.cumsum(0).sum(..) + empty.linear_recurrence(0, empty.exp()).sum(..);
    let slope = g.grad(total, &[empty]).unwrap()[0];
    let leaves = [
        ("x", Value::from(array![[i32::MAX, 1, 5], [2, 3, -4]])),
        ("empty", Array2::<f64>::zeros((0, 3)).into()),
    ];
    let all = [("along", x.cumsum(1)), ("down", x.cumprod(0)), ("total", total), ("slope", slope)];
    let values = outputs(&g, &all, &leaves);
    assert_eq!(values[0], array![[i32::MAX, i32::MIN, i32::MIN + 5], [2, 5, 1]].into());
    assert_eq!(values[1], array![[i32::MAX, 1, 5], [i32::MAX.wrapping_mul(2), 3, -20]].into());
    assert_eq!((&values[2], &values[3]), (&0.0.into(), &leaves[1].1));
}

/// Long axes, in lanes and alone, with what feeds the sums computed on the spot.
#[test]
fn long_running_sums() {
    let g = Graph::new();
    let (x, decay) = (g.input("x", [300, 17], F32), g.input("decay", [17], F32));
    let down = (x * 2.0).linear_recurrence(0, decay.tanh());
    let along = x.reverse(1).cumsum(1).square();
    let slope = g.grad(down.square().mean(..) + along.mean(..), &[x, decay]).unwrap();
    let leaves = [("x", value_for(x, 1)), ("decay", value_for(decay, 2))];
    let all = [("down", down), ("along", along), ("dx", slope[0]), ("ddecay", slope[1])];
    assert_compiles_right(&g, &all, &leaves, 1e-5);
}

#[test]
fn an_index_of_the_largest_among_several_axes() {
    let g = Graph::new();
    let x = g.input("x", [2, 2, 3], F64);
    let outputs_of = [
        ("flat", x.argmax(..)),
        ("two", x.argmin([1, 2])),
        ("kept", x.argmax(keep(1))),
        ("any", x.greater(4.0).any(keep([0, -1]))),
        ("single", x.sum(..).argmax(..)),
    ];
    let x_at = array![[[1.0, 5.0, 2.0], [0.0, 5.0, -1.0]], [[3.0, 2.0, 1.0], [4.0, 0.5, 0.75]]];
    let values = outputs(&g, &outputs_of, &[("x", x_at.into())]);
    assert_eq!(values[0], 1i64.into());
    assert_eq!(values[1], array![5i64, 4].into());
    assert_eq!(values[2], array![[[0i64, 0, 0]], [[1, 0, 0]]].into());
    assert_eq!(values[3], array![[[true], [true]]].into());
    assert_eq!(values[4], 0i64.into());
}

#[test]
fn shapes_with_one_extent_left_open() {
    let g = Graph::new();
    let x = g.input("x", [4, 3, 2], F32);
    let shape = |x: Tensor<'_>| x.shape().extents().to_vec();
    assert_eq!(shape(x.reshape([-1])), [24]);
    assert_eq!(shape(x.reshape([2, -1, 3])), [2, 4, 3]);
    assert_eq!(shape(x.reshape([4usize, 6])), [4, 6]);
    assert_eq!(shape(x.reshape(&[6isize, -1][..])), [6, 4]);
    assert_eq!(shape(g.input("empty", [0, 3], F32).reshape([-1, 3])), [0, 3]);
    assert_eq!(shape(g.input("one", [], F32).reshape([1, -1])), [1, 1]);
    g.check().unwrap();
}

#[test]
fn triangles_and_padding_meet_special_values() {
    let g = Graph::new();
    let (x, b) = (g.input("x", [2, 3], F32), g.input("b", [2, 3], Bool));
    let nan = f32::NAN;
    let leaves = [
        ("x", Value::from(array![[1.0f32, nan, 3.0], [nan, 5.0, f32::INFINITY]])),
        ("b", array![[true, true, true], [true, true, true]].into()),
    ];
    let all = [
        ("lower", x.tril(-1)),
        ("upper", b.triu(1)),
        ("padded", b.pad_with(1, -2, 1, 1.0)),
        ("negative zero", x.slice(1, 0..1).pad_with(0, -1, 1, -0.0)),
    ];
    let values = outputs(&g, &all, &leaves);
    let lower = values[0].array::<f32>().unwrap();
    assert!(lower[[1, 0]].is_nan() && lower.iter().filter(|&&x| x == 0.0).count() == 5);
    assert_eq!(values[1], array![[false, true, true], [false, false, true]].into());
    assert_eq!(values[2], array![[true, true], [true, true]].into());
    assert!(values[3].array::<f32>().unwrap()[[1, 0]].is_sign_negative());
}

#[test]
fn sorting_meets_special_values_and_is_stable() {
    let g = Graph::new();
    let x = g.input("x", [8], F64);
    let x_at = array![1.0, f64::NAN, f64::NEG_INFINITY, 0.0, -0.0, 3.0, f64::NAN, f64::INFINITY];
    let all = [
        ("up", x.argsort(0, Order::Ascending)),
        ("down", x.argsort(0, Order::Descending)),
        ("top", x.top_k(0, 3).1),
        ("none", x.top_k(0, 0).1),
        ("truths", x.greater(0.0).argsort(0, Order::Descending)),
        ("numbers", (x.cast(I32) % 2.0).argsort(0, Order::Ascending)),
    ];
    let values = outputs(&g, &all, &[("x", x_at.into())]);
    // What `jax.numpy.argsort` gives.
    assert_eq!(values[0], array![2i64, 3, 4, 0, 5, 7, 1, 6].into());
    assert_eq!(values[1], array![1i64, 6, 7, 5, 0, 3, 4, 2].into());
    assert_eq!(values[2], array![1i64, 6, 7].into());
    assert_eq!(values[3], Array1::<i64>::zeros(0).into());
    assert_eq!(values[4], array![0i64, 5, 7, 1, 2, 3, 4, 6].into());
    // Saturated: −2³¹ and 2³¹ − 1.
    assert_eq!(values[5], array![1i64, 2, 3, 4, 6, 0, 5, 7].into());
}

/// The cotangent of each place goes to the element that came there, at ties in the order they stand in.
#[test]
fn sorted_values_have_derivatives() {
    let g = Graph::new();
    let (x, weights) = (g.input("x", [2, 3], F64), g.input("weights", [2, 3], F64));
    let sorted = x.sort(1, Order::Ascending);
    let slope = g.grad((sorted * weights).sum(..), &[x]).unwrap()[0];
    let leaves = [
        ("x", Value::from(array![[3.0, 1.0, 2.0], [5.0, 4.0, 5.0]])),
        ("weights", array![[10.0, 20.0, 30.0], [40.0, 50.0, 60.0]].into()),
    ];
    let values = outputs(&g, &[("sorted", sorted), ("slope", slope)], &leaves);
    assert_eq!(values[0], array![[1.0, 2.0, 3.0], [4.0, 5.0, 5.0]].into());
    assert_eq!(values[1], array![[30.0, 10.0, 20.0], [50.0, 40.0, 60.0]].into());
}

/// Long rows of every type, along an axis in the middle, many of them equal; one row, and rows of one.
#[test]
fn long_rows_are_sorted() {
    let g = Graph::new();
    let x = g.input("x", [2, 700, 3], F32);
    let coarse = (x * 40.0).floor();
    let all = [
        ("floats", coarse.argsort(1, Order::Ascending)),
        ("doubles", x.cast(F64).argsort(1, Order::Descending)),
        ("integers", coarse.cast(I64).argsort(1, Order::Descending)),
        ("rows of one", x.slice(1, 0..1).argsort(1, Order::Ascending)),
        ("sorted", coarse.sort(1, Order::Ascending)),
    ];
    outputs(&g, &all, &[("x", value_for(x, 1))]);
}

/// Pairs of tensors that are to be the same.
fn assert_same(g: &Graph, pairs: &[(Tensor<'_>, Tensor<'_>)], leaves: &[(&str, Value)]) {
    let names: Vec<String> = (0..2 * pairs.len()).map(|at| format!("y{at}")).collect();
    let tensors = pairs.iter().flat_map(|&(a, b)| [a, b]);
    let all: Vec<(&str, Tensor<'_>)> = names.iter().map(String::as_str).zip(tensors).collect();
    for (pair, values) in pairs.iter().zip(outputs(g, &all, leaves).chunks(2)) {
        assert_eq!(values[0], values[1], "{pair:?}");
    }
}

/// The first of a row are those of the whole row in order: of every type, many equal, NaN and zeros of both signs among
/// them, for none, some and all of them.
#[test]
fn the_first_are_those_of_the_whole_row() {
    let g = Graph::new();
    let x = g.input("x", [3, 300], F32);
    let special = [f32::NAN, 0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, -f32::NAN, 1.0, -1.0];
    let x_at = Array2::from_shape_fn((3, 300), |(row, at)| {
        let random = (row * 300 + at).wrapping_mul(2_654_435_761) >> 7;
        if random % 3 == 0 { special[random % 8] } else { (random % 41) as f32 - 20.0 }
    });
    let mut pairs = vec![];
    let short = [x.slice(1, 0..1), x.slice(1, 0..0), x.slice(0, 0..0)];
    let keys = [x, x.cast(F64), x.cast(I32), x.cast(I64), x.greater(0.0)].into_iter().chain(short);
    for key in keys {
        let (extent, sorted) = (key.shape().extents()[1], key.argsort(1, Order::Descending));
        for k in [0, 1, 2, 10, 150, 299, 300].into_iter().filter(|&k| k <= extent) {
            pairs.push((key.top_k(1, k).1, sorted.slice(1, 0..k)));
        }
    }
    assert_same(&g, &pairs, &[("x", x_at.into())]);
}

/// `top_k` along every axis, its gradient, and over a batch: what whole rows in order give.
#[test]
fn the_first_have_derivatives_and_batches() -> Result<()> {
    let g = Graph::new();
    let (x, one) = (g.input("x", [4, 5, 6], F64), g.input("one", [5, 6], F64));
    let mut pairs = vec![];
    for axis in 0..3 {
        let (first, _) = x.top_k(axis, 3);
        let whole = x.sort(axis, Order::Descending).slice(axis, 0..3);
        let slopes = [first, whole].map(|y| g.grad(y.square().sum(..), &[x]).unwrap()[0]);
        pairs.extend([(first, whole), (slopes[0], slopes[1])]);
    }
    let batched = g.vmap(one.top_k(0, 2).1, &[(one, x)])?;
    pairs.push((batched, x.argsort(1, Order::Descending).slice(1, 0..2)));
    assert_same(&g, &pairs, &[("x", value_for(x, 1))]);
    Ok(())
}
