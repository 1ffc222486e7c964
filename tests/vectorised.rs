//! Loops that run on vectors against the interpreter: every kind of value in lanes, accesses that do not move by one,
//! conditions on indices, and every number of elements left over.

mod common;

use common::{assert_compiles_right, values};
use hitofude::ops::Slide;
use hitofude::prelude::*;
use hitofude::{Cpu, Listing, Options, Scalar, TensorType};

/// A body over tensors of floats `x`, `y` and integers `i`, `j` of one width.
type Body = for<'g> fn(Operands<'g>) -> Tensor<'g>;

#[derive(Clone, Copy)]
struct Operands<'g> {
    x: Tensor<'g>,
    y: Tensor<'g>,
    i: Tensor<'g>,
    j: Tensor<'g>,
    /// Of one dimension, to be broadcast along the rows.
    row: Tensor<'g>,
    /// One element a row.
    column: Tensor<'g>,
}

const BODIES: &[(&str, Body)] = &[
    ("floats", |o| (o.x * o.y + o.x).tanh() - o.y.exp()),
    ("integers", |o| o.i * o.j - (o.i + 3.0) * 2.0),
    ("negative integers", |o| -o.i.abs() + o.j.sign()),
    ("extrema of integers", |o| o.i.maximum(o.j) - o.i.minimum(3.0)),
    ("extrema of floats", |o| o.x.maximum(o.y) * o.x.minimum(0.0)),
    ("division of integers", |o| (o.i * 3.0) / o.j + (o.i % o.j) * o.i - o.j + 1.0),
    ("division by constants", |o| (o.i * 1000.0) / 7.0 + o.j % -3.0 - o.i / 8.0 + (o.j - o.i) % 16.0),
    ("shifts", |o| (o.i << o.j) + (o.i >> o.i.constant_like(2.0)) - o.i.shift_right_logical(o.j)),
    ("numbers of rows", |o| {
        let n = o.j.slice(1, 0..1).cast(I64) * 3e9 + 7.0;
        let folded = ((n >> n.constant_like(5.0)) ^ (n % 16.0)) & -n.abs();
        let chosen = n.less(folded).select(n - 1.0, !folded.maximum(n.sign()));
        n.less(1e10).select(o.x, o.y) + chosen.cast(I32).cast(o.x.dtype()) * o.x
    }),
    ("numbers that fit", |o| {
        let (i, j) = (o.i.cast(I32).cast(I64), (o.i * o.j).cast(I32).cast(I64));
        let chosen = i.less(j).select(i.maximum(3.0), !j & i);
        (chosen.cast(Bool) ^ j.sign().equal(-1.0)).select(chosen.cast(I32).cast(o.x.dtype()), o.x)
    }),
    ("every third to every eighth", |o| {
        let product = every(o.x, 3) * every(o.y, 8) - every(o.x, 4) * every(o.y, 6) * every(o.x, 7);
        product + every(o.i, 5).cast(o.x.dtype())
    }),
    ("positions of extrema in columns", |o| o.x.argmax(0)),
    ("numbers that fit, stored", |o| {
        let (i, j) = (o.i.cast(I32), o.j.cast(I32));
        o.x.less(o.y).select(i, i.maximum(j)).cast(I64)
    }),
    ("numbers that are the same, stored", |o| o.x.less(o.y).select(o.x, 0.0).cast(Bool).cast(I64)),
    ("random numbers", |o| o.x + o.x.graph().random_key("key", 3).uniform(o.x.shape(), o.x.dtype())),
    ("comparison of integers", |o| o.i.less(o.j).select(o.i + 1.0, o.j - 1.0)),
    ("comparison into bools", |o| o.i.greater_equal(o.j)),
    ("bools", |o| (o.x.less(o.y) & o.i.not_equal(o.j)) | !o.x.greater(0.5)),
    ("exclusive or", |o| o.x.less(o.y) ^ o.i.less(o.j)),
    ("bools to floats", |o| o.x.less(o.y).cast(o.x.dtype()) * o.x),
    ("bools to integers", |o| o.x.less(o.y).cast(o.i.dtype()) + o.i),
    ("floats to bools", |o| (o.x * o.i.cast(o.x.dtype())).cast(Bool)),
    ("integers to bools", |o| o.i.cast(Bool)),
    ("floats to integers", |o| (o.x * 7.5 + o.y).cast(o.i.dtype()) + o.j),
    ("integers to floats", |o| (o.i * 3.0 + o.j).cast(o.x.dtype()) * o.x),
    ("select of floats by integers", |o| o.i.equal(o.j).select(o.x, -o.y)),
    ("select of zero", |o| o.x.greater(o.y).select(o.x, 0.0) + o.x.less(0.0).select(0.0, o.y)),
    ("indices", |o| {
        let (shape, graph) = (o.x.shape(), o.x.graph());
        (graph.iota(shape, 1, o.x.dtype()) * 2.0 + o.x) * graph.iota(shape, 0, o.x.dtype())
    }),
    ("integer indices", |o| o.x.graph().iota(o.x.shape(), 1, o.i.dtype()) * 3.0 - o.i),
    ("compared indices", |o| o.x.graph().iota(o.x.shape(), 1, I32).less(2.0).select(o.x, o.y)),
    ("rows and columns", |o| o.x * o.row + o.column),
    ("reversed rows", |o| o.x.reverse(1) * o.y + o.x),
    ("reversed columns", |o| o.x.reverse(0) * o.y + o.x),
    ("transposed", |o| (o.x.transpose() + 1.0).exp() * o.y.transpose()),
    ("every other", |o| {
        let columns = o.x.shape().extents()[1];
        o.x.slice_step(1, 0..columns, 2).exp() + 1.0
    }),
    ("padded", |o| o.x.pad(1, 2, 1) * 2.0 + o.y.pad(1, 1, 2)),
    ("padded rows", |o| o.x.pad(0, 1, 1).exp() + o.y.pad(0, 2, 0)),
    ("padded integers", |o| o.i.pad(1, 1, 3) + o.j.pad(1, 4, 0)),
    ("padded bools", |o| o.x.less(o.y).pad(1, 2, 3)),
    ("joined", |o| o.x.exp().concat(&[o.y, o.x * o.y], 1) + 1.0),
    ("joined reversed", |o| o.x.reverse(1).concat(&[o.y], 1) * 2.0),
    ("interleaved", |o| o.x.exp().stack(&[o.y], 2) * 2.0),
    ("windows", |o| {
        let size = o.x.shape().extents()[1].min(3);
        o.x.windows(&[Slide { axis: 1, size, stride: 1, dilation: 1 }]).sum(-1)
    }),
    ("padded windows", |o| {
        o.x.pad(1, 1, 1).windows(&[Slide { axis: 1, size: 3, stride: 1, dilation: 1 }]).max(-1)
    }),
    ("picked rows", |o| o.x.take(0, o.x.graph().iota([5], 0, I32) * 2.0 - 1.0) * o.row),
    ("picked columns", |o| o.x.take(1, o.x.graph().iota([7], 0, o.i.dtype()) - 1.0) + 1.0),
    ("picked by others", |o| o.x.take_along_axis(1, o.i) * o.y),
    ("picked from columns", |o| o.x.take_along_axis(0, o.j) + o.row),
    ("picked integers", |o| o.i.take_along_axis(1, o.j) - o.i),
    ("sums of picked", |o| o.x.take_along_axis(1, o.i).sum(1)),
    ("one hot", |o| o.i.one_hot(o.x.shape().extents()[1]).cast(o.x.dtype()) * 0.5),
    ("sums", |o| (o.x * o.y).sum(1)),
    ("sums of integers", |o| (o.i * o.j).sum(1)),
    ("products of integers", |o| (o.i * 2.0 + 1.0).prod(1)),
    ("largest integers", |o| (o.i - o.j).max(1)),
    ("largest floats", |o| (o.x - o.y).max(1) - (o.x * o.y).min(1)),
    ("sums of columns", |o| (o.x * o.y).sum(0)),
    ("sums of integer columns", |o| (o.i * o.j).sum(0)),
    ("counts", |o| o.x.less(o.y).cast(o.i.dtype()).sum(1)),
    ("sums over reversed", |o| (o.x.reverse(1) * o.y).sum(1)),
    ("sums over padded", |o| (o.x.pad(1, 2, 3).exp() - 1.0).sum(1)),
    ("argmax", |o| o.x.argmax(1)),
    ("angles", |o| (o.x * 3.0).sin() * o.y.cos() + o.row.sin()),
    ("library", |o| (o.x * 0.4).tan() + (o.x * 0.45).asin() * (o.y * 0.45).acos() - o.row.atan()),
    ("library of two", |o| o.x.atan2(o.y) + (o.x * o.x + 0.5).pow(o.y) - o.column % (o.y * o.y + 1.3)),
    ("library on padded", |o| o.x.pad(1, 2, 3).atan() + o.y.pad(1, 3, 2).cos()),
    ("sums of the library", |o| o.x.atan().sum(1) + o.y.sin().sum(1)),
    ("largest of the library", |o| (o.x.atan() * o.row).max(0)),
];

/// As many elements so far apart as rows are long.
fn every(x: Tensor<'_>, step: usize) -> Tensor<'_> {
    let columns = x.shape().extents()[1];
    x.tile(1, 8).slice_step(1, 1..(columns - 1) * step + 2, step)
}

/// Whole numbers, of noise so many times as large.
fn whole_numbers(x: Tensor<'_>, scale: f64, seed: u64) -> Value {
    let ty = x.ty();
    let whole = values(seed, ty.shape.elements()).into_iter().map(|x| (x * scale).round());
    Value::from_elements(ty, whole.map(|x| Scalar::from_f64(x, ty.dtype)))
}

/// Floats from -2 to 2, integers from -20 to 20.
fn spread(tensor: Tensor<'_>, seed: u64) -> Value {
    let ty = tensor.ty();
    let scale = if ty.dtype.is_float() { 1.0 } else { 10.0 };
    let numbers = values(seed, ty.shape.elements()).into_iter().map(|x| Scalar::F64(x * scale));
    Value::from_elements(TensorType { dtype: F64, ..ty }, numbers).cast(ty.dtype)
}

fn check(floats: DType, integers: DType, rows: usize, columns: usize, bodies: &[(&str, Body)]) {
    for (name, body) in bodies {
        let g = Graph::new();
        let shape = [rows, columns];
        let (x, y) = (g.input("x", shape, floats), g.input("y", shape, floats));
        let (i, j) = (g.input("i", shape, integers), g.input("j", shape, integers));
        let (row, column) = (g.input("row", [columns], floats), g.input("column", [rows, 1], floats));
        let z = body(Operands { x, y, i, j, row, column });
        let named = [("x", x), ("y", y), ("i", i), ("j", j), ("row", row), ("column", column)];
        let given: Vec<(&str, Value)> = named
            .iter()
            .enumerate()
            .map(|(seed, (name, tensor))| (*name, spread(*tensor, seed as u64 + 1)))
            .collect();
        // Elementary functions differ from the interpreter's by a few units in the last place.
        let tolerance = if floats == F32 { 2e-6 } else { 1e-14 };
        assert_compiles_right(&g, &[(name, z)], &given, tolerance);
    }
}

#[test]
fn rows_of_every_length_up_to_nine() {
    for columns in 1..=9 {
        check(F32, I32, 40, columns, BODIES);
        check(F64, I64, 40, columns, BODIES);
    }
}

#[test]
fn long_rows_and_widths_that_differ() {
    for (floats, integers) in [(F32, I32), (F64, I64), (F32, I64), (F64, I32)] {
        check(floats, integers, 3, 67, BODIES);
        check(floats, integers, 1, 258, BODIES);
    }
}

/// What is done to rows that fill no vector, many at a time.
const ROWS: &[(&str, Body)] = &[
    ("softmax", |o| o.x.softmax(1)),
    ("centred", |o| o.x - o.x.mean(1).unsqueeze(1)),
    ("standardised", |o| o.x.layer_norm(o.row, o.row, 1e-3)),
    ("joined", |o| o.x.softmax(1).concat(&[o.y * o.column, o.x], 1)),
    ("positions", |o| o.x.argmax(1) + o.y.argmin(1)),
    ("products", |o| o.x.prod(1) * o.y.max(1)),
    ("integers", |o| o.i - o.i.max(1).unsqueeze(1) * o.j.sum(1).unsqueeze(1)),
    ("bools", |o| o.x.less(o.x.mean(1).unsqueeze(1))),
    ("truths", |o| o.x.less(o.y).any(1).unsqueeze(1).select(o.x, o.y)),
    ("parts of rows", |o| {
        let columns = o.x.shape().extents()[1];
        o.x.slice(1, 0..columns - 1).sum(1) + o.x.slice(1, columns / 2..columns).max(1)
    }),
    ("windows", |o| o.x.pad(1, 1, 1).windows(&[Slide { axis: 1, size: 3, stride: 1, dilation: 1 }]).sum(-1)),
    ("transposed", |o| o.x.transpose().softmax(1) * o.y.transpose()),
    ("with other rows", |o| o.x.softmax(1) + o.x.reverse(0).sum(1).unsqueeze(1)),
    ("one at a time", |o| o.x.cumsum(1).max(1)),
    ("cross entropy", |o| o.x.cross_entropy(labels(o))),
    ("its gradient", |o| o.x.graph().grad(o.x.cross_entropy(labels(o)), &[o.x]).unwrap()[0]),
];

/// A class for each row, some of which do not count.
fn labels(o: Operands<'_>) -> Tensor<'_> {
    let [rows, columns] = o.i.shape().extents()[..] else { panic!("rows and columns") };
    o.i.slice(1, 0..1).reshape([rows]) % columns as f64
}

#[test]
fn short_rows_many_at_a_time() {
    for columns in 2..=18 {
        check(F32, I32, 37, columns, ROWS);
        check(F64, I64, 37, columns, ROWS);
    }
    check(F32, I64, 32, 10, ROWS);
    check(F32, I32, 16, 10, ROWS);
}

/// As many as threads share, in blocks of which none is left over, and in others.
#[test]
fn short_rows_shared_by_threads() {
    for rows in [16_000, 16_007] {
        check(F32, I32, rows, 10, ROWS);
        check(F64, I64, rows, 7, ROWS);
    }
}

/// The bodies whose listing for this processor lacks a text.
fn bodies_without(cpu: Cpu, text: &str) -> Vec<&'static str> {
    let lacks_it = |body: &Body| {
        let g = Graph::new();
        let shape = [40, 16];
        let (x, y) = (g.input("x", shape, F32), g.input("y", shape, F32));
        let (i, j) = (g.input("i", shape, I32), g.input("j", shape, I32));
        let (row, column) = (g.input("row", [16], F32), g.input("column", [40, 1], F32));
        let z = body(Operands { x, y, i, j, row, column });
        let options = Options { listing: Listing::Full, cpu, ..Options::default() };
        !g.function().output("z", z).compile_with(&options).unwrap().clif().contains(text)
    };
    BODIES.iter().filter(|(_, body)| lacks_it(body)).map(|(name, _)| *name).collect()
}

#[test]
fn all_but_scattered_rows_and_mixed_widths_run_on_vectors() {
    let picked =
        ["picked columns", "picked by others", "picked from columns", "picked integers", "sums of picked"];
    let scattered = [&["numbers that fit", "numbers that fit, stored"], &picked[..]].concat();
    assert_eq!(bodies_without(Cpu::Baseline, "x4"), scattered);
}

/// What the generators for AVX2 and AVX-512 leave to Cranelift.
#[test]
fn all_but_a_few_run_on_wide_vectors() {
    for (cpu, name) in [(Cpu::Native, "AVX-512"), (Cpu::WithoutAvx512, "AVX2")] {
        let wide = bodies_without(cpu, name);
        if wide.len() < BODIES.len() {
            assert_eq!(wide, [""; 0], "{name}");
        }
    }
}

/// Every pair of values that arithmetic, comparisons and conversions treat in a special way.
#[test]
fn special_values_in_lanes() {
    let special = [0.0, -0.0, 1.0, -1.5, 1e-40, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 3e9, -3e18];
    let bodies: [Body; 10] = [
        |o| 1.0 / o.x.maximum(o.y),
        |o| 1.0 / o.x.minimum(o.y),
        |o| 1.0 / o.x.relu(),
        |o| o.x.less(o.y).select(o.x, 0.0),
        |o| o.x.greater(o.y).select(0.0, o.y),
        |o| 1.0 / o.x.clamp(-1.0, 0.0),
        |o| o.x.cast(I32),
        |o| o.x.cast(Bool) ^ o.x.greater_equal(o.y),
        |o| o.x.max(1),
        |o| o.x.min(0),
    ];
    for dtype in [F32, F64] {
        for body in bodies {
            let g = Graph::new();
            let shape = [50, 10];
            let (x, y) = (g.input("x", shape, dtype), g.input("y", shape, dtype));
            let z = body(Operands { x, y, i: x, j: x, row: x, column: x });
            let pick = |f: fn(usize) -> usize| {
                Value::from(ndarray::Array2::from_shape_fn((50, 10), |(a, b)| special[f(a * 10 + b) % 10]))
                    .cast(dtype)
            };
            let given = [("x", pick(|k| k)), ("y", pick(|k| k / 10 + k))];
            assert_compiles_right(&g, &[("z", z), ("both", x + y)], &given, 0.0);
        }
    }
}

/// Every pair of integers that wrap, divisors that are special, and amounts that shift everything out: with another tensor,
/// and with constants.
#[test]
fn special_integers_in_lanes() {
    let special = |dtype| -> Vec<i64> {
        let (least, most) =
            if dtype == I32 { (i32::MIN.into(), i32::MAX.into()) } else { (i64::MIN, i64::MAX) };
        let middle = [-100, -33, -32, -7, -3, -2, -1, 0, 1, 2, 3, 5, 7, 31, 32, 33, 63, 64, 65, 1 << 20];
        [&[least, least + 1, least + 2, least / 3][..], &middle, &[most / 7, most - 1, most]].concat()
    };
    let bodies: [Body; 11] = [
        |o| o.i / o.j,
        |o| o.i % o.j,
        |o| o.i + o.j,
        |o| o.i * o.j - o.j,
        |o| o.i << o.j,
        |o| o.i >> o.j,
        |o| o.i.shift_right_logical(o.j),
        |o| o.i.maximum(o.j) ^ o.i.minimum(-o.j) ^ o.i.abs() ^ o.j.sign(),
        |o| o.i.less(o.j) ^ o.i.greater_equal(o.j - 1.0) ^ o.i.cast(Bool),
        |o| (!o.i & o.j) | o.i,
        |o| o.i.max(1) + o.j.min(1) - o.i.prod(1),
    ];
    for dtype in [I32, I64] {
        let special = special(dtype);
        let count = special.len();
        let g = Graph::new();
        let (i, j) = (g.input("i", [count, count], dtype), g.input("j", [count, count], dtype));
        let pick = |f: fn((usize, usize)) -> usize| {
            Value::from(ndarray::Array2::from_shape_fn((count, count), |at| special[f(at)])).cast(dtype)
        };
        let given = [("i", pick(|at| at.0)), ("j", pick(|at| at.1))];
        for body in bodies {
            let z = body(Operands { x: i, y: j, i, j, row: i, column: i });
            assert_compiles_right(&g, &[("z", z), ("both", i - j)], &given, 0.0);
        }
        for &number in &special {
            let c = if dtype == I32 { Scalar::I32(number as i32) } else { Scalar::I64(number) };
            let c = g.literal(c, Shape::SCALAR);
            let results = [("div", i / c), ("rem", i % c), ("shifted", i >> c)];
            assert_compiles_right(&g, &results, &given, 0.0);
        }
    }
}

/// Every pair of such values for functions that are the library's, some for huge angles: the interpreter's bits, with
/// lanes that lack the call beside lanes that need it, lanes left over, guards and reductions.
#[test]
fn special_values_of_the_library() {
    let special = [
        0.0,
        -0.0,
        1.0,
        -1.5,
        0.25,
        1e-40,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        3e9,
        -3e18,
        -7.3e6,
        1e7,
    ];
    /// A function of huge angles, and of what no formula can get wrong.
    fn huge<'g>(x: Tensor<'g>, f: fn(Tensor<'g>) -> Tensor<'g>) -> Tensor<'g> {
        let is_ordinary = x.abs().less(1e6) & x.abs().greater(1e-6);
        is_ordinary.select(x, f(x))
    }
    let bodies: [Body; 9] = [
        |o| huge(o.x, |x| x.sin()),
        |o| huge(o.x, |x| x.cos()) + huge(o.y, |x| x.sin()),
        |o| huge(o.x.pad(1, 2, 3), |x| x.cos()),
        |o| huge(o.x, |x| x.sin()).max(1),
        |o| huge(o.x.reverse(1), |x| x.sin()).min(0),
        |o| huge(o.x, |x| x.tan()),
        |o| o.x % o.y,
        |o| (o.y % o.x).max(1),
        |o| (o.x.slice(1, 0..1) % 0.7) * o.y,
    ];
    for (dtype, columns) in [(F32, 10), (F32, 45), (F64, 10), (F64, 45)] {
        for body in bodies {
            let g = Graph::new();
            let shape = [50, columns];
            let (x, y) = (g.input("x", shape, dtype), g.input("y", shape, dtype));
            let z = body(Operands { x, y, i: x, j: x, row: x, column: x });
            let pick = |f: fn(usize) -> usize| {
                let at = |(a, b)| special[f(a * columns + b) % special.len()];
                Value::from(ndarray::Array2::from_shape_fn((50, columns), at)).cast(dtype)
            };
            let given = [("x", pick(|k| k)), ("y", pick(|k| k / 13 + k))];
            assert_compiles_right(&g, &[("z", z), ("both", x + y)], &given, 0.0);
        }
    }
}

/// Long columns, of which several vectors are summed in one pass: whole blocks of them, some left over, and too few; sums
/// beside each other, values that columns share, and what becomes of the sums. Whole numbers, so that nothing is rounded.
#[test]
fn columns_are_summed_side_by_side() {
    let bodies: [for<'g> fn(Tensor<'g>, Tensor<'g>) -> Tensor<'g>; 5] = [
        |x, _| x.sum(0),
        |x, y| x.sum(0) * y.sum(0) + x.max(0),
        |x, y| (x * y.slice(1, 0..1)).sum(0) - y.index(0, 3),
        |x, _| x.slice(0, 1..200).min(0),
        |x, y| (x.reverse(1) * y).sum(0),
    ];
    for (dtype, columns) in [(F32, 128), (F32, 77), (F32, 20), (F64, 77), (F64, 64)] {
        for body in bodies {
            let g = Graph::new();
            let shape = [260, columns];
            let (x, y) = (g.input("x", shape, dtype), g.input("y", shape, dtype));
            let z = body(x, y);
            let given = |seed| whole_numbers(x, 4.0, seed);
            assert_compiles_right(&g, &[("z", z)], &[("x", given(1)), ("y", given(2))], 0.0);
        }
    }
}

/// Sums along rows, of four at a time: some left over, fewer, and enough of them for threads; products with a column that all
/// rows share, what comes before and after, and parts of vectors at the ends. Whole numbers, so that nothing is rounded.
#[test]
fn rows_are_summed_some_at_a_time() {
    let bodies: [for<'g> fn(Tensor<'g>, Tensor<'g>) -> Tensor<'g>; 5] = [
        |x, y| x.matmul(y.slice(0, 0..1).transpose()),
        |x, y| (x.matmul(y.slice(0, 0..1).transpose()) + x.slice(1, 0..1)).maximum(3.0),
        |x, _| x.sum(1) + 1.0,
        |x, y| (x * y.slice(0, 0..1)).sum(1) * y.min(1),
        |x, y| y.slice(0, 0..1).matmul(x.reverse(1).transpose()),
    ];
    let shapes = [(1, 300), (3, 130), (4, 64), (9, 128), (10, 200), (1024, 260), (1022, 260)];
    for (dtype, (rows, columns)) in
        [F32, F64].into_iter().flat_map(|dtype| shapes.map(|shape| (dtype, shape)))
    {
        for body in bodies {
            let g = Graph::new();
            let (x, y) = (g.input("x", [rows, columns], dtype), g.input("y", [rows, columns], dtype));
            let z = body(x, y);
            let given = |seed| whole_numbers(x, 4.0, seed);
            assert_compiles_right(&g, &[("z", z)], &[("x", given(1)), ("y", given(2))], 0.0);
        }
    }
}

/// Columns of large arrays, which are summed in blocks of rows: eight, seven or two rows at once, or column by column where a
/// block's rows have no divisor; several sums, and what comes before and after them.
#[test]
fn large_columns_are_summed_in_blocks() {
    let bodies: [for<'g> fn(Tensor<'g>, Tensor<'g>) -> Tensor<'g>; 5] = [
        |x, _| x.sum(0) * 2.0,
        |x, y| (x * y - y).sum(0),
        |x, _| x.sum(0) - (x * x).sum(0),
        |x, _| x.max(0) - x.min(0),
        |x, y| (x - y.index(0, 0)).maximum(0.0).sum(0),
    ];
    for (shape, dtype) in [([2048, 520], F32), ([2050, 515], F32), ([1050, 512], F64), ([2117, 513], F32)] {
        for body in bodies {
            let g = Graph::new();
            let (x, y) = (g.input("x", shape, dtype), g.input("y", shape, dtype));
            let z = body(x, y);
            let schedule = g.function().output("z", z).schedule(&Options::default()).unwrap();
            assert!(schedule.program.to_string().contains(": blocks {"), "{shape:?} {}", schedule.program);
            let given = |seed| whole_numbers(x, 4.0, seed);
            assert_compiles_right(&g, &[("z", z)], &[("x", given(1)), ("y", given(2))], 0.0);
        }
    }
}

/// Transposes, which are read in square blocks: whole ones, some rows or columns left over, loops between, several
/// operands across, neighbours of neighbours, sums, and on threads.
#[test]
fn transposes_are_read_in_blocks() {
    let bodies: [for<'g> fn(Tensor<'g>, Tensor<'g>) -> Tensor<'g>; 9] = [
        |x, _| x.permute(&[2, 1, 0]) * 2.0,
        |x, y| x.permute(&[0, 2, 1]) + y.permute(&[0, 2, 1]),
        |x, y| x.permute(&[2, 0, 1]) * y.permute(&[2, 0, 1]).slice(1, 0..1),
        |x, _| {
            let z = x.permute(&[0, 2, 1]);
            let last = z.shape().extents()[1];
            z.slice(1, 1..last) - z.slice(1, 0..last - 1)
        },
        |x, y| x.permute(&[2, 1, 0]).less(y.permute(&[2, 1, 0])).select(1.0, x.permute(&[2, 1, 0])),
        |x, y| (x.permute(&[1, 2, 0]) - y.index(0, 0).unsqueeze(2)).maximum(0.0),
        |x, y| {
            let y = y.permute(&[0, 2, 1]);
            (x.reshape(y.shape()) * y).clamp(-1.0, 1.0).sum(..)
        },
        |x, y| {
            let y = y.permute(&[2, 1, 0]);
            let x = x.reshape(y.shape());
            (x * y).max(..) - (x + y).min(..)
        },
        |x, y| {
            let y = y.permute(&[0, 2, 1]);
            (x.reshape(y.shape()) - y).max([1, 2])
        },
    ];
    for shape in [[3, 32, 48], [2, 37, 53], [17, 5, 40], [64, 3, 16], [2, 300, 1000]] {
        for dtype in [F32, F64, I32] {
            for body in bodies {
                let g = Graph::new();
                let (x, y) = (g.input("x", shape, dtype), g.input("y", shape, dtype));
                let z = body(x, y);
                let given = |seed| whole_numbers(x, 9.0, seed);
                assert_compiles_right(&g, &[("z", z)], &[("x", given(1)), ("y", given(2))], 0.0);
            }
        }
    }
}

/// A product that one kernel adds to something, and stores for another that does the same, is rounded in both: else the
/// largest element is not found again, and its gradient is lost.
#[test]
fn stored_products_are_rounded_wherever_they_are_added() {
    for dtype in [F32, F64] {
        let g = Graph::new();
        let (x, s) = (g.input("x", [3, 300], dtype), g.input("s", [300], dtype));
        let terms = x + (s.tanh() + 7.3) * 0.1;
        let top = terms.max(0);
        let dx = g.grad((top * top.sum(..)).sum(..), &[x]).unwrap()[0];
        let shares = dx.sum(0) / (2.0 * top.sum(..));
        let given = |seed, of: Tensor<'_>, scale: f64| {
            let elements = values(seed, of.ty().shape.elements());
            let scaled = elements.into_iter().map(|x| Scalar::from_f64(x * scale, dtype));
            Value::from_elements(of.ty(), scaled)
        };
        let leaves = [("x", given(1, x, 1.0)), ("s", given(2, s, 9.0))];
        assert_compiles_right(&g, &[("shares", shares)], &leaves, 1e-5);
    }
}
