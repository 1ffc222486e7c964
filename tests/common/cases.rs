//! Operators to be tested, each over two tensors.

use std::collections::BTreeSet;

use hitofude::loops::{Binary, Combine, Compare, Unary};
use hitofude::ops::{Elementwise, Layout, Leaf, Op, Section, Slide, Window};
use hitofude::prelude::*;

use super::value_for;

/// An operator over `x` and `y`, which broadcast; smooth where [`tame`] puts them.
pub type Case = (&'static str, for<'g> fn(Tensor<'g>, Tensor<'g>) -> Tensor<'g>);

pub const ELEMENTWISE: &[Case] = &[
    ("neg", |x, _| -x),
    ("abs", |x, _| x.abs()),
    ("exp", |x, _| x.exp()),
    ("expm1", |x, _| x.expm1()),
    ("log", |x, _| x.log()),
    ("log1p", |x, _| x.log1p()),
    ("sqrt", |x, _| x.sqrt()),
    ("rsqrt", |x, _| x.rsqrt()),
    ("recip", |x, _| x.recip()),
    ("square", |x, _| x.square()),
    ("sin", |x, _| x.sin()),
    ("cos", |x, _| x.cos()),
    ("tan", |x, _| x.tan()),
    ("asin", |x, _| x.asin()),
    ("acos", |x, _| x.acos()),
    ("atan", |x, _| x.atan()),
    ("sinh", |x, _| x.sinh()),
    ("cosh", |x, _| x.cosh()),
    ("tanh", |x, _| x.tanh()),
    ("erf", |x, _| x.erf()),
    ("erf_inv", |x, _| x.erf_inv()),
    ("sigmoid", |x, _| x.sigmoid()),
    ("softplus", |x, _| x.softplus()),
    ("relu", |x, _| (x - 0.5).relu()),
    ("clamp", |x, _| x.clamp(0.4, 0.6)),
    ("sign", |x, y| x.sign() * y),
    ("floor", |x, y| (x * 0.9).floor() + y),
    ("ceil", |x, y| (x * 0.9).ceil() * y),
    ("round", |x, y| (x * 0.6).round() * y),
    ("trunc", |x, y| (x + 0.9).trunc() * y),
    ("stop_gradient", |x, y| x.stop_gradient() * y),
    ("comparisons", |x, y| {
        let truth = (x.less_equal(y) | x.greater(y * 1.01)) & !(x.equal(y) & x.not_equal(y + 1.0));
        truth.select(x.greater_equal(y).select(x, y), x * y)
    }),
    ("add", |x, y| x + y),
    ("sub", |x, y| x - y),
    ("mul", |x, y| x * y),
    ("div", |x, y| x / y),
    ("rem", |x, y| x % (y * 0.3)),
    ("pow", |x, y| x.pow(y)),
    ("power by a constant", |x, _| x.pow(2.5)),
    ("atan2", |x, y| x.atan2(y)),
    ("max", |x, y| x.maximum(y)),
    ("min", |x, y| x.minimum(y)),
    ("select", |x, y| x.less(y).select(x * x, y.exp())),
    ("cast", |x, _| x.cast(F32).cast(F64)),
    ("bits of integers", |x, _| {
        let n = (x * 8.0).cast(I32);
        let mixed = (n ^ n.rotate_left(n)) + (n << 2) + (n >> 1) + n.shift_right_logical(n);
        mixed.cast(F64) * x
    }),
];

/// Operators on tensors `x` and `y` of the same shape, of any rank.
pub const ANY_RANK: &[Case] = &[
    ("sum of all", |x, _| x.sin().sum(..)),
    ("product of all", |x, y| (x * y).prod(..)),
    ("largest of all", |x, y| (x - y).max(..)),
    ("smallest of all", |x, y| x.min(..) * y),
    ("mean of all", |x, y| x.mean(..) - y),
    ("variance of all", |x, _| x.variance(..)),
    ("flat", |x, _| x.reshape([x.shape().elements()]).exp()),
    ("new axes", |x, y| x.unsqueeze(0).unsqueeze(-1) * y.unsqueeze(-1)),
    ("repeated", |x, y| x.unsqueeze(0).tile(0, 3) * y),
    ("stacked", |x, y| x.stack(&[y.sin(), x * y], 0)),
    ("turned round", |x, y| {
        let axes: Vec<usize> = (0..x.shape().rank()).rev().collect();
        x.permute(&axes) * y.tanh().permute(&axes)
    }),
    ("inner product of all", |x, y| {
        let flat = |t: Tensor<'_>| t.shape().elements();
        x.reshape([flat(x)]).einsum("a,a->", y.reshape([flat(y)]))
    }),
];

/// Reductions, layouts and contractions of a matrix `x` and a matrix `y` of the same shape.
pub const STRUCTURAL: &[Case] = &[
    ("sum", |x, _| x.sum(0)),
    ("sum of all", |x, _| x.sum(..)),
    ("mean", |x, _| x.mean(1)),
    ("prod", |x, _| x.prod(1)),
    ("largest", |x, _| x.max(1)),
    ("smallest", |x, _| x.min(0)),
    ("reshape", |x, _| x.reshape([x.shape().elements()])),
    ("transpose", |x, _| x.transpose()),
    ("unsqueeze", |x, _| x.unsqueeze(1)),
    ("broadcast", |x, _| {
        x.unsqueeze(0).broadcast_to(
            [&[2], x.shape().extents()].concat()[..].try_into().map(|e: [usize; 3]| Shape::from(e)).unwrap(),
        )
    }),
    ("matrix product", |x, y| x.matmul(y.transpose())),
    ("outer product", |x, y| x.sum(1).einsum("a,b->ab", y.sum(0))),
    ("inner product", |x, y| x.einsum("ab,ab->", y)),
    ("row by row", |x, y| x.einsum("ab,ab->a", y)),
    ("slice", |x, _| x.slice(0, 0..x.shape().extents()[0].div_ceil(2))),
    ("slice with steps", |x, _| x.slice_step(1, 0..x.shape().extents()[1], 2)),
    ("index", |x, _| x.index(-1, 0)),
    ("pad", |x, _| x.exp().pad(0, 1, 2).pad(1, 0, 3)),
    ("pad of a sum", |x, _| x.sum(1).pad(0, 2, 1)),
    ("concat", |x, y| x.tanh().concat(&[y, x * y], 1)),
    ("stack", |x, y| x.stack(&[y], 1)),
    ("split", |x, _| {
        let columns = x.shape().extents()[1];
        let parts = x.split(1, &[columns / 2, columns - columns / 2]);
        parts[0].sum(..) * parts[1].exp().sum(..)
    }),
    ("reverse", |x, y| x.reverse(0) * y.reverse(1)),
    ("tile", |x, _| x.tile(1, 3)),
    ("differences", |x, _| {
        let rows = x.shape().extents()[0];
        x.slice(0, 1..rows) - x.slice(0, 0..rows - 1)
    }),
    ("variance", |x, _| x.variance(1)),
    ("take", |x, _| {
        let rows = x.shape().extents()[0] as f64;
        // Every other row, and the last again and again.
        x.take(0, x.graph().iota([2, 4], 1, I32) * 2.0).sin() * rows
    }),
    ("take columns, padded", |x, _| (x * 2.0).take(1, x.graph().iota([3], 0, I64)).pad(0, 1, 1)),
    ("take places of two axes", |x, _| x.sin().take(1, x.graph().iota([2, 3], 0, I32))),
    ("take along an axis", |x, y| x.take_along_axis(1, turning(x, 1, I64)) * y),
    ("take along the first axis", |x, _| x.exp().take_along_axis(0, turning(x, 1, I32))),
    ("diagonal", |x, y| x.matmul(y.transpose()).diagonal(0, 1).sin()),
    ("scatter rows", |x, y| {
        // All but the first row meet in the last.
        let rows = x.shape().extents()[0];
        x.square().scatter_add(0, x.graph().iota([rows], 0, I32) * (2.0 * rows as f64), y.sin())
    }),
    ("scatter columns", |x, y| {
        let (rows, columns) = (x.shape().extents()[0], x.shape().extents()[1]);
        let updates = y.unsqueeze(1).broadcast_to([rows, 2, columns]).sin();
        x.scatter_add(1, x.graph().iota([2, columns], 1, I64) * 2.0, updates * 0.5)
    }),
    ("scatter along an axis", |x, y| x.scatter_add_along_axis(1, turning(x, 0, I32), y.exp()).square()),
    ("kept axes", |x, y| (x - x.mean(keep(1))) * y.max(keep(0)) / x.sum(keep(..))),
    ("pad with a value", |x, y| x.exp().pad_with(0, 2, 1, -1.5) * y.sum(keep(0))),
    ("crop", |x, _| {
        let columns = x.shape().extents()[1] as isize;
        x.sin().pad_with(1, 1 - columns, 1, 0.5).pad_with(1, 0, -1, 0.0)
    }),
    ("roll", |x, y| x.roll(0, 2) * y.roll(-1, -1)),
    ("lower triangle", |x, y| x.exp().tril(0) * y.tril(1)),
    ("upper triangle", |x, y| (x * y).triu(1) + x.triu(-1).sin()),
    ("three operands", |x, y| x.graph().einsum("ij,kj,ki->k", &[x, y, y.matmul(x.transpose())])),
    ("trace", |x, y| x.graph().einsum("ii", &[x.matmul(y.transpose())]).sin()),
    ("axes moved", |x, y| (x.unsqueeze(1).move_axis(0, -1) * y.swap_axes(0, 1)).flatten()),
    ("general contraction", |x, y| x.dot_general(y, &[(1, 1)], &[(0, 0)])),
    ("recurrence", |x, y| x.linear_recurrence(0, y)),
    ("recurrence along rows", |x, y| x.sin().linear_recurrence(1, y.exp() - 1.0).square()),
    ("forgetting", |x, _| x.exp().linear_recurrence(-1, 0.9)),
    ("running sums", |x, y| x.cumsum(1) * y.reverse(0).cumsum(0).reverse(0)),
    ("running products", |x, y| x.cumprod(1) + (y - 0.5).cumprod(0)),
    ("sorted", |x, y| x.sort(1, Order::Ascending).exp() * (x * y).sort(0, Order::Descending)),
    ("largest of all", |x, y| {
        let (values, positions) = x.square().top_k(1, x.shape().extents()[1].div_ceil(2));
        values * y.take_along_axis(1, positions)
    }),
    ("windows", |x, _| {
        let size = x.shape().extents()[1].min(2);
        x.exp().windows(&[slide(1, size, 1, 1)])
    }),
    ("windows apart", |x, y| {
        let [rows, columns] = [x.shape().extents()[0], x.shape().extents()[1]];
        let apart = |axis, extent: usize| slide(axis, extent.div_ceil(3), 2, 2);
        (x * y).windows(&[apart(1, columns), apart(0, rows)]).sin()
    }),
    ("fold", |x, y| {
        let [rows, columns] = [x.shape().extents()[0], x.shape().extents()[1]];
        (x * y).exp().fold(&[slide(0, columns, 1, 1)], [rows + columns - 1])
    }),
    ("fold with gaps", |x, _| {
        let [rows, columns] = [x.shape().extents()[0], x.shape().extents()[1]];
        x.fold(&[slide(0, columns, 1, 2)], [rows + 2 * (columns - 1)]).sin()
    }),
    ("fold in phases", |x, _| {
        let [rows, columns] = [x.shape().extents()[0], x.shape().extents()[1]];
        x.fold(&[slide(0, columns, 2, 1)], [2 * (rows - 1) + columns + 1]).sin()
    }),
    ("fold in phases with gaps", |x, y| {
        let [rows, columns] = [x.shape().extents()[0], x.shape().extents()[1]];
        x.fold(&[slide(0, columns, 3, 2)], [3 * (rows - 1) + 2 * (columns - 1) + 1]).sin()
            * y.index(0, 0).sum(..)
    }),
    ("fold over two axes", |x, y| {
        let [rows, columns] = [x.shape().extents()[0], x.shape().extents()[1]];
        let product = (x * 2.0).unsqueeze(-1).unsqueeze(-1) * y.reshape([1, 1, rows, columns]);
        product.fold(
            &[slide(1, rows, 1, 1), slide(0, columns, 2, 1)],
            [2 * (rows - 1) + columns, columns + rows - 1],
        )
    }),
    ("fold of a product", |x, y| {
        let [rows, columns] = [x.shape().extents()[0], x.shape().extents()[1]];
        let product = x.einsum("po,ko->pk", y);
        let stride = columns.min(2);
        product.fold(&[slide(0, rows, stride, 1)], [stride * (rows - 1) + rows])
    }),
    ("fold of a product with gaps", |x, y| {
        let [rows, columns] = [x.shape().extents()[0], x.shape().extents()[1]];
        let (across, down) = (slide(1, rows, 1, 2), slide(0, columns, 2, 3));
        let shape = [2 * (rows - 1) + down.dilation * (columns - 1) + 1, columns + 2 * (rows - 1)];
        x.einsum("pq,kl->pqkl", y.transpose().exp()).fold(&[down, across], shape)
    }),
    ("batched", |x, y| x.unsqueeze(0).matmul(y.transpose().unsqueeze(0))),
];

fn slide(axis: usize, size: usize, stride: usize, dilation: usize) -> Slide {
    Slide { axis, size, stride, dilation }
}

/// Indices below the extent of an axis, each row's a place further than the last's; a few out of range.
fn turning<'g>(like: Tensor<'g>, axis: usize, dtype: DType) -> Tensor<'g> {
    let (g, shape) = (like.graph(), like.shape());
    let turned = g.iota(shape, 0, dtype) * 2.0 + g.iota(shape, 1, dtype);
    turned % (shape.extents()[axis] as f64 + 1.0)
}

/// Values between 0.3 and 0.7, where every function above is defined and smooth.
pub fn tame(tensor: Tensor<'_>, seed: u64) -> Value {
    let Value::F64(values) = value_for(tensor, seed) else { unreachable!("the tests use f64") };
    Value::F64(values.mapv(|x| 0.5 + 0.1 * x))
}

/// The name of each operator that must have tests. Exhaustive: a new operator must be thought of here.
pub fn name_of(op: &Op) -> &'static str {
    match op {
        Op::Leaf(Leaf::Input { .. } | Leaf::State { .. } | Leaf::Poison) => "",
        Op::Leaf(Leaf::Constant { .. }) => "constant",
        Op::Leaf(Leaf::Iota { .. }) => "iota",
        Op::Elementwise(Elementwise::Unary(f)) => f.name(),
        Op::Elementwise(Elementwise::Binary(f)) => f.name(),
        Op::Elementwise(Elementwise::Compare(f)) => f.name(),
        Op::Elementwise(Elementwise::Select) => "select",
        Op::Elementwise(Elementwise::Cast(_)) => "cast",
        Op::Elementwise(Elementwise::StopGradient) => "stop_gradient",
        Op::Reduce(reduce) => combine_name(reduce.combine),
        Op::Dot(_) => "dot",
        Op::Layout(Layout::Reshape(_)) => "reshape",
        Op::Layout(Layout::Transpose(_)) => "transpose",
        Op::Layout(Layout::Broadcast { .. }) => "broadcast",
        Op::Section(Section::Slice { .. }) => "slice",
        Op::Section(Section::Pad { .. }) => "pad",
        Op::Section(Section::Concat { .. }) => "concat",
        Op::Section(Section::Reverse { .. }) => "reverse",
        Op::Gather(_) => "gather",
        Op::ScatterAdd(_) => "scatter_add",
        Op::Recurrence(_) => "recurrence",
        Op::Argsort(_) => "argsort",
        Op::Window(Window::Unfold(_)) => "window",
        Op::Window(Window::Fold(..)) => "fold",
        // Draws have fixtures of their own, in `random.rs`.
        Op::Random(_) => "",
        // Held against their turns in `control.rs`, and in `loops_of_jax.rs`.
        Op::Scan(_) => "",
        // What they stand for is written out of the others.
        Op::Custom(_) | Op::Elementwise(Elementwise::Barrier) => "",
    }
}

fn combine_name(combine: Combine) -> &'static str {
    match combine {
        Combine::Sum => "sum",
        Combine::Prod => "prod",
        Combine::Max => "reduce_max",
        Combine::Min => "reduce_min",
    }
}

/// The operators without a vocabulary of their own in `loops`.
const OTHERS: [&str; 19] = [
    "constant",
    "iota",
    "select",
    "cast",
    "stop_gradient",
    "dot",
    "reshape",
    "transpose",
    "broadcast",
    "slice",
    "pad",
    "concat",
    "reverse",
    "gather",
    "scatter_add",
    "recurrence",
    "argsort",
    "window",
    "fold",
];

/// Every operator's name.
pub fn operator_names() -> BTreeSet<&'static str> {
    let mut names: BTreeSet<&str> = OTHERS.into_iter().collect();
    names.extend(Unary::ALL.iter().map(|f| f.name()));
    names.extend(Binary::ALL.iter().map(|f| f.name()));
    names.extend(Compare::ALL.iter().map(|f| f.name()));
    names.extend(Combine::ALL.iter().map(|&combine| combine_name(combine)));
    names
}
