//! Random programs over all operators and element types: a list of lines, each a choice of operator and operands.

use hitofude::ops::Slide;
use hitofude::prelude::*;
use hitofude::types::MAX_RANK;
use proptest::prelude::*;

/// A choice of operator, and of operands among the tensors so far.
pub type Line = (u8, u8, u8, u8);

/// The extents of the inputs.
pub type Extents = (usize, usize, usize);

/// The tensors a line may use.
pub struct Pick<'p, 'g> {
    pool: &'p [Tensor<'g>],
    float: DType,
    line: Line,
    /// Elements that no tensor has more of.
    most: usize,
}

impl<'g> Pick<'_, 'g> {
    fn choose(&self, at: u8, suits: impl Fn(&Tensor<'g>) -> bool) -> Option<Tensor<'g>> {
        let suitable: Vec<Tensor<'g>> = self.pool.iter().copied().filter(|x| suits(x)).collect();
        suitable.get(at as usize % suitable.len().max(1)).copied()
    }

    /// A tensor of floats.
    fn x(&self) -> Option<Tensor<'g>> {
        self.choose(self.line.1, |x| x.dtype() == self.float)
    }

    /// A tensor of floats with axes.
    fn wide(&self) -> Option<Tensor<'g>> {
        self.choose(self.line.1, |x| x.dtype() == self.float && x.shape().rank() > 0)
    }

    /// A tensor of the same type that broadcasts with another.
    fn beside(&self, x: Tensor<'g>) -> Option<Tensor<'g>> {
        let fits = |shape: Shape| shape.elements() <= self.most;
        self.choose(self.line.2, |y| {
            y.dtype() == x.dtype() && x.shape().broadcast(y.shape()).is_some_and(fits)
        })
    }

    fn matrix(&self, at: u8, rows: Option<usize>) -> Option<Tensor<'g>> {
        let suits = |x: &Tensor<'g>| {
            x.dtype() == self.float
                && x.shape().rank() == 2
                && rows.is_none_or(|rows| x.shape().extents()[0] == rows)
        };
        self.choose(at, suits)
    }

    /// A tensor of integers, i32 or i64.
    fn n(&self) -> Option<Tensor<'g>> {
        self.choose(self.line.1, |x| matches!(x.dtype(), I32 | I64))
    }

    /// A tensor of truth values.
    fn p(&self) -> Option<Tensor<'g>> {
        self.choose(self.line.1, |x| x.dtype() == Bool)
    }

    fn axis(&self, x: Tensor<'g>) -> isize {
        (self.line.3 as usize % x.shape().rank().max(1)) as isize
    }

    fn extent(&self, x: Tensor<'g>) -> usize {
        x.shape().extents().get(self.axis(x) as usize).copied().unwrap_or(1)
    }
}

/// Two floats that broadcast, and a function of them.
fn both<'g>(p: &Pick<'_, 'g>, f: impl Fn(Tensor<'g>, Tensor<'g>) -> Tensor<'g>) -> Option<Tensor<'g>> {
    let x = p.x()?;
    Some(f(x, p.beside(x)?))
}

/// Two integers that broadcast, and a function of them.
fn integers<'g>(p: &Pick<'_, 'g>, f: impl Fn(Tensor<'g>, Tensor<'g>) -> Tensor<'g>) -> Option<Tensor<'g>> {
    let n = p.n()?;
    Some(f(n, p.beside(n)?))
}

/// The elements with different numbers added.
fn apart(x: Tensor<'_>) -> Tensor<'_> {
    let position = x.graph().iota([x.shape().elements()], 0, x.dtype());
    x + position.reshape(x.shape()) * 0.377
}

type Operator = for<'p, 'g> fn(&Pick<'p, 'g>) -> Option<Tensor<'g>>;

/// Operators on ranges where they are tame, so that differences mean something. What jumps is moved off the numbers
/// that come up by construction, such as 0 and 1, where rounding would decide on which side it lands.
pub const FLOATS: &[Operator] = &[
    |p| both(p, |x, y| x + y),
    |p| both(p, |x, y| x - y),
    |p| both(p, |x, y| (x * y).tanh()),
    |p| both(p, |x, y| x / (y * y + 1.5)),
    |p| both(p, |x, y| (x * x + 0.5).pow(y.tanh())),
    |p| both(p, |x, y| (x + 3.1).atan2(y * y + 0.7)),
    |p| both(p, |x, y| x.maximum(y * 0.9 + 0.037)),
    |p| both(p, |x, y| (x * 1.1 - 0.023).minimum(y)),
    |p| both(p, |x, y| x.greater(y * 0.97 + 0.0371).select(x * 2.0, y - 1.0)),
    |p| Some(p.x()?.tanh()),
    |p| Some((p.x()?.tanh() * 0.3).exp()),
    |p| Some(p.x()?.tanh().expm1()),
    |p| Some((p.x()?.square() + 0.5).log()),
    |p| Some(p.x()?.square().log1p()),
    |p| Some((p.x()?.square() + 0.5).sqrt()),
    |p| Some((p.x()?.square() + 0.5).rsqrt()),
    |p| Some(p.x()?.sin() * p.x()?.cos()),
    |p| Some(p.x()?.tanh().tan()),
    |p| Some((p.x()?.tanh() * 0.9).asin()),
    |p| Some((p.x()?.tanh() * 0.9).acos()),
    |p| Some(p.x()?.atan()),
    |p| Some(p.x()?.tanh().sinh()),
    |p| Some(p.x()?.tanh().cosh()),
    |p| Some(p.x()?.erf()),
    |p| Some((p.x()? + 0.0173).abs()),
    |p| Some((p.x()? - 0.0173).relu()),
    |p| Some(p.x()?.clamp(-0.713, 0.877)),
    |p| Some(p.x()?.sigmoid()),
    |p| Some(-p.x()?),
    |p| Some(p.x()? * 3.0),
    |p| Some(p.x()? / 4.0),
    |p| Some(p.x()? + 0.25),
    |p| Some(p.wide()?.sum(p.axis(p.wide()?)) * 0.5),
    |p| Some(p.wide()?.mean(p.axis(p.wide()?))),
    |p| Some(p.wide()?.tanh().prod(p.axis(p.wide()?))),
    |p| Some(p.wide()?.max(p.axis(p.wide()?))),
    |p| Some(p.wide()?.min(p.axis(p.wide()?))),
    |p| Some(p.wide()?.variance(p.axis(p.wide()?))),
    |p| Some(p.wide()?.softmax(p.axis(p.wide()?))),
    |p| Some(p.wide()?.logsumexp(p.axis(p.wide()?))),
    |p| Some(p.matrix(p.line.1, None)?.transpose()),
    |p| {
        let x = p.matrix(p.line.1, None)?;
        Some(x.matmul(p.matrix(p.line.2, Some(x.shape().extents()[1]))?).tanh())
    },
    |p| p.matrix(p.line.1, None).map(|x| x.einsum("ab,cb->ac", x).tanh()),
    |p| Some(p.wide()?.reshape([p.wide()?.shape().elements()])),
    |p| {
        let x = p.wide()?;
        (x.shape().elements() % 2 == 0).then(|| x.reshape([2, x.shape().elements() / 2]))
    },
    |p| {
        let x = p.x().filter(|x| x.shape().rank() < MAX_RANK - 4)?;
        Some(x.unsqueeze((p.line.3 as usize % (x.shape().rank() + 1)) as isize))
    },
    |p| {
        let x = p.wide().filter(|x| x.shape().elements() <= p.most / 3)?;
        Some(x.tile(p.axis(x), 3))
    },
    |p| Some(p.wide()?.pad(p.axis(p.wide()?), 1, p.line.2 as usize % 2)),
    |p| Some(p.wide()?.slice(p.axis(p.wide()?), p.extent(p.wide()?) / 2..p.extent(p.wide()?))),
    |p| Some(p.wide()?.slice_step(p.axis(p.wide()?), 0..p.extent(p.wide()?), 2)),
    |p| Some(p.wide()?.reverse(p.axis(p.wide()?))),
    |p| {
        let x = p.wide().filter(|x| x.shape().elements() <= p.most / 2)?;
        Some(x.concat(&[x.sin()], p.axis(x)))
    },
    |p| {
        let x = p.wide().filter(|x| x.shape().elements() <= p.most / 2)?;
        let rows = p.choose(p.line.2, |n| matches!(n.dtype(), I32 | I64) && n.shape().elements() <= 8)?;
        (x.shape().rank() + rows.shape().rank() <= MAX_RANK - 3).then(|| x.take(p.axis(x), rows))
    },
    |p| {
        let x = p.wide().filter(|x| x.shape().rank() < MAX_RANK - 3 && x.shape().elements() <= p.most / 2)?;
        let (axis, size) = (p.axis(x) as usize, p.extent(x).min(2));
        Some(x.windows(&[Slide { axis, size, stride: 1 + p.line.2 as usize % 2, dilation: 1 }]))
    },
    |p| Some(p.wide()?.cumsum(p.axis(p.wide()?)) * 0.2),
    // Products of thousands have no sine in f32.
    |p| Some((p.wide()? * 0.5).tanh().cumprod(p.axis(p.wide()?))),
    |p| Some(p.wide()?.tanh().linear_recurrence(p.axis(p.wide()?), p.wide()?.sin())),
    |p| Some(p.wide()? - p.wide()?.mean(keep(p.axis(p.wide()?)))),
    |p| Some(p.wide()?.roll(p.axis(p.wide()?), 2) * p.wide()?.pad_with(p.axis(p.wide()?), 1, -1, 0.5)),
    |p| p.wide().filter(|x| x.shape().rank() > 1).map(|x| x.tril(0) + x.triu(1) * 0.5),
    |p| {
        let (x, rank) = (p.wide()?, p.wide()?.shape().rank());
        let turned = x.graph().iota(x.shape(), rank - 1, I64) * 3.0 % p.extent(x) as f64;
        let picked = x.sin().take_along_axis(p.axis(x), turned);
        Some(x.scatter_add_along_axis(p.axis(x), turned, picked) * 0.3)
    },
    |p| {
        let rows = p.choose(p.line.2, |n| matches!(n.dtype(), I32 | I64) && n.shape().elements() <= 8)?;
        let x = p.wide().filter(|x| x.shape().elements() * rows.shape().elements() <= p.most)?;
        let fits = x.shape().rank() + rows.shape().rank() <= MAX_RANK - 3;
        fits.then(|| x.scatter_add(p.axis(x), rows, x.take(p.axis(x), rows).sin()) * 0.3)
    },
    // Apart, so that hardly any two are equal: there is no derivative at a tie.
    |p| Some(apart(p.wide()?).sort(p.axis(p.wide()?), Order::Ascending)),
    |p| Some(apart(p.wide()?).top_k(p.axis(p.wide()?), p.extent(p.wide()?).div_ceil(2)).0),
    |p| Some(p.n()?.cast(p.float) * 0.1),
    |p| Some(p.p()?.cast(p.float) - 0.5),
    |p| {
        let (x, condition) = (p.x()?, p.choose(p.line.2, |q| q.dtype() == Bool)?);
        let shape = x.shape().broadcast(condition.shape())?;
        (shape.elements() <= p.most).then(|| condition.select(x, x.sin()))
    },
    |p| {
        p.x()
            .filter(|x| x.shape().rank() == 1)
            .map(|x| x * x.graph().iota([x.shape().elements()], 0, x.dtype()) * 0.1)
    },
];

/// Loops, along the first axis or a few times.
pub const LOOPS: &[Operator] = &[
    |p| {
        let x = p.wide().filter(|x| x.shape().elements() > 0)?;
        let factor = p.x()?.mean(..);
        let (last, rows) = (x.graph())
            .scan(&[x.mean(0)], &[x], |c, x| {
                let next = (c[0] * 0.5 + x[0] * factor).sin();
                Ok((vec![next], vec![next * c[0]]))
            })
            .ok()?;
        Some(rows[0] + last[0])
    },
    |p| {
        let x = p.wide().filter(|x| x.shape().elements() > 0)?;
        let (last, rows) = (x.graph())
            .scan_backward(&[x.tanh(), x.sin()].map(|x| x.sum(0)), &[x], |c, x| {
                Ok((vec![c[0] * 0.7 + x[0], c[0]], vec![c[1], x[0].cos()]))
            })
            .ok()?;
        Some(rows[p.line.2 as usize % 2].tanh() * last[p.line.3 as usize % 2])
    },
    |p| {
        let x = p.matrix(p.line.1, None).filter(|x| x.shape().extents()[0] == x.shape().extents()[1])?;
        let turns = p.line.2 as usize % 4;
        let (last, _) = x.graph().repeat(turns, &[x], |c| Ok((vec![c[0].matmul(x).tanh()], vec![]))).ok()?;
        Some(last[0])
    },
    |p| {
        let (x, y) = (p.x()?, p.choose(p.line.2, |y| y.dtype() == p.float)?);
        let choice = (x.sum(..) * 1.3 + 0.0371).greater(y.sum(..));
        let taken =
            x.graph().cond(choice, &[x, y], |on| Ok(vec![on[0].sin()]), |on| Ok(vec![on[0] * on[1].sum(..)]));
        Some(taken.ok()?[0])
    },
    |p| {
        let n = p.n()?;
        let grown = n.graph().while_loop(
            5,
            &[n],
            |c| Ok(c[0].abs().cast(I32).sum(..).less(1000.0)),
            |c| Ok(vec![c[0] * 2.0 + 1.0]),
        );
        let grown = grown.ok()?;
        Some(grown[0])
    },
];

/// What jumps, what has no derivative by intent, and what is of integers and truth values.
pub const OTHERS: &[Operator] = &[
    |p| both(p, |x, y| (x * 0.7).sin() - y.stop_gradient()),
    |p| Some((p.x()? * 1.7 + 0.323).floor()),
    |p| Some((p.x()? * 1.7 + 0.323).ceil()),
    |p| Some((p.x()? * 1.7 + 0.323).round()),
    |p| Some((p.x()? * 1.7 + 0.323).trunc()),
    |p| Some((p.x()? + 0.0323).sign()),
    // Angles too large for formulas, beside others.
    |p| Some(((p.x()?.tanh() * 1.7 + 0.323).round() * 3e6).sin()),
    |p| both(p, |x, y| (x * 1.3 + 0.323) % (y * y + 1.57)),
    |p| both(p, |x, y| x.less(y + 0.0323)),
    |p| both(p, |x, y| x.greater_equal(y * 0.9 + 0.0323)),
    |p| both(p, |x, y| (x - 0.0323).less_equal(y) & y.not_equal(x + 0.0173)),
    |p| Some((p.x()?.tanh() * 7.3 + 0.323).cast(I32)),
    |p| Some((p.x()?.tanh() * 7.3 + 0.323).cast(I64)),
    |p| Some(p.x()?.is_finite()),
    |p| {
        // Tilted, so that rounding does not decide among elements that are about equal.
        let x = p.wide().filter(|x| x.shape().elements() > 0)?;
        let tilt = x.graph().iota(x.shape(), p.axis(x) as usize, x.dtype()) * 0.0371;
        Some((x * 1.1 + tilt).argmax(p.axis(x)))
    },
    |p| integers(p, |n, m| n + m),
    |p| integers(p, |n, m| n - m),
    |p| integers(p, |n, m| n * m),
    |p| integers(p, |n, m| n / m),
    |p| integers(p, |n, m| n % m),
    |p| integers(p, |n, m| n.maximum(m)),
    |p| integers(p, |n, m| n.minimum(m)),
    |p| integers(p, |n, m| n.less(m)),
    |p| integers(p, |n, m| n.equal(m)),
    |p| integers(p, |n, m| n.greater(0.0).select(n, m)),
    |p| integers(p, |n, m| (n & m) - (n | m) + (n ^ !m)),
    // Small again: floats of huge numbers have no sine.
    |p| integers(p, |n, m| (n << m) % 97.0),
    |p| integers(p, |n, m| (n >> m) + n.shift_right_logical(m) / 1024.0 % 64.0),
    |p| integers(p, |n, m| n / 7.0 - m % -3.0 + (n + m) / 8.0),
    |p| {
        let n = p.n()?.sum(..).cast(I64);
        let folded = (n * 3e9 + 1.0) % 1024.0 - (n >> n.constant_like(1.0));
        Some(p.n()?.cast(Bool) ^ folded.less(n) ^ p.n()?.less(folded.cast(p.n()?.dtype())))
    },
    |p| {
        let x = p.wide()?;
        let rows = p.choose(p.line.2, |n| matches!(n.dtype(), I32 | I64) && n.shape() == x.shape())?;
        Some(x.take_along_axis(p.axis(x), rows) - x.take_along_axis(p.axis(x), rows.abs() % 3.0))
    },
    |p| Some(-p.n()?),
    |p| Some(p.n()?.abs()),
    |p| Some(p.n()?.sign()),
    |p| Some(p.n()? * 3.0 + 1.0),
    |p| Some(p.n()?.cast(I64)),
    |p| Some(p.n()?.cast(I32)),
    |p| Some(p.n()?.cast(Bool)),
    |p| p.n().filter(|n| n.shape().rank() > 0).map(|n| n.sum(p.axis(n))),
    |p| p.n().filter(|n| n.shape().rank() > 0).map(|n| n.prod(p.axis(n))),
    |p| p.n().filter(|n| n.shape().rank() > 0).map(|n| n.max(p.axis(n))),
    |p| p.n().filter(|n| n.shape().rank() > 0).map(|n| n.reverse(p.axis(n))),
    |p| p.n().filter(|n| n.shape().rank() > 0).map(|n| n.cumsum(p.axis(n))),
    |p| p.n().filter(|n| n.shape().rank() > 0).map(|n| n.argsort(p.axis(n), Order::Descending)),
    |p| p.n().filter(|n| n.shape().rank() > 0).map(|n| n.scatter_add_along_axis(p.axis(n), n, n)),
    |p| p.p().filter(|a| a.shape().rank() > 0).map(|a| a.argsort(p.axis(a), Order::Ascending)),
    |p| p.n().filter(|n| n.shape().elements() <= 32 && n.shape().rank() < 4).map(|n| n.one_hot(4)),
    |p| p.n().filter(|n| n.shape().rank() == 1).map(|n| n.einsum("a,a->", n)),
    |p| Some(!p.p()?),
    |p| p.p().and_then(|a| Some(a & p.beside(a)?)),
    |p| p.p().and_then(|a| Some(a | p.beside(a)?)),
    |p| p.p().and_then(|a| Some(a ^ p.beside(a)?)),
    |p| Some(p.p()?.cast(I32)),
    |p| p.p().filter(|a| a.shape().rank() > 0).map(|a| a.any(p.axis(a))),
    |p| p.p().filter(|a| a.shape().rank() > 0).map(|a| a.all(p.axis(a)).cast(I64)),
    |p| p.p().filter(|a| a.shape().rank() > 1).map(|a| a.reshape([a.shape().elements()])),
];

/// Operators that keep their meaning at NaN, ±∞ and −0, with the constants that rewrites look for.
pub const EXACT: &[Operator] = &[
    |p| both(p, |x, y| x + y),
    |p| both(p, |x, y| x - y),
    |p| both(p, |x, y| x * y),
    |p| both(p, |x, y| x / y),
    |p| both(p, |x, y| x.maximum(y)),
    |p| both(p, |x, y| x.minimum(y)),
    |p| both(p, |x, y| x.less(y).select(x, y)),
    |p| both(p, |x, y| (!x.greater_equal(y)).select(-x, y)),
    |p| both(p, |x, y| x.equal(y).select(x, y.equal(y).select(x, -y))),
    |p| both(p, |x, y| x + (-y)),
    |p| both(p, |x, y| (2.0 * x) * y),
    |p| Some(-p.x()?),
    |p| Some(p.x()? + p.x()?),
    |p| Some(p.x()? + 0.0),
    |p| Some(p.x()? - 0.0),
    |p| Some(-0.0 + p.x()?),
    |p| Some(0.0 - p.x()?),
    |p| Some(p.x()? * 0.0),
    |p| Some(p.x()? * 1.0),
    |p| Some(p.x()? * 2.0),
    |p| Some(p.x()? * -0.5),
    |p| Some(p.x()? / 4.0),
    |p| Some(p.x()? / 3.0),
    |p| Some(1.0 / p.x()?),
    |p| Some(p.x()?.pow(0.0)),
    |p| Some(p.x()?.pow(1.0)),
    |p| Some(p.x()?.pow(2.0)),
    |p| Some(p.x()?.pow(-1.0)),
    |p| Some(p.x()?.abs()),
    |p| Some(p.x()?.sign()),
    |p| Some(p.x()?.floor()),
    |p| Some(p.x()?.sqrt()),
    |p| Some(p.x()?.relu()),
    |p| Some(p.x()?.cast(F32).cast(F64)),
    |p| Some(p.x()?.cast(I32).cast(F64)),
    |p| Some(p.x()?.is_nan().cast(F64)),
    |p| p.matrix(p.line.1, None).map(|x| x.transpose()),
    |p| p.matrix(p.line.1, None).map(|x| (x * 2.0).matmul(x.constant_like(0.5).transpose())),
    |p| Some(p.wide()?.reshape([p.wide()?.shape().elements()])),
    |p| p.x().filter(|x| x.shape().rank() < 4).map(|x| x.unsqueeze(0)),
    |p| {
        p.x()
            .filter(|x| x.shape().elements() <= p.most / 3 && x.shape().rank() < 4)
            .map(|x| x.broadcast_to(Shape::new(&[&[3], x.shape().extents()].concat()).expect("small")))
    },
    |p| Some(p.wide()?.sum(p.axis(p.wide()?))),
    |p| Some(p.wide()?.max(p.axis(p.wide()?))),
    |p| Some(p.wide()?.pad(p.axis(p.wide()?), 1, p.line.2 as usize % 2)),
    |p| Some(p.wide()?.slice(p.axis(p.wide()?), p.extent(p.wide()?) / 2..p.extent(p.wide()?))),
    |p| Some(p.wide()?.reverse(p.axis(p.wide()?))),
    |p| {
        let x = p.wide().filter(|x| x.shape().elements() <= p.most / 2)?;
        Some(x.concat(&[-x], p.axis(x)))
    },
];

/// A program: its graph, its inputs and everything it computes, in order.
pub struct Program<'g> {
    pub inputs: Vec<(&'static str, Tensor<'g>)>,
    pub pool: Vec<Tensor<'g>>,
}

/// Writes a program into the graph. Lines that do not suit the tensors so far become an addition.
pub fn write<'g>(
    g: &'g Graph,
    lines: &[Line],
    float: DType,
    (n, k, m): Extents,
    operators: &[&[Operator]],
) -> Program<'g> {
    let inputs = vec![
        ("a", g.input("a", [n, k], float)),
        ("b", g.input("b", [k, m], float)),
        ("c", g.input("c", [m], float)),
        ("p", g.parameter("p", [n, 1], float)),
        ("s", g.parameter("s", [], float)),
        ("i", g.input("i", [m], I32)),
        ("j", g.input("j", [n, 1], I64)),
        ("t", g.input("t", [n, k], Bool)),
    ];
    let most = 512.max(4 * n * k).max(4 * k * m);
    let mut pool: Vec<Tensor<'g>> = inputs.iter().map(|input| input.1).collect();
    let count: usize = operators.iter().map(|table| table.len()).sum();
    for &line in lines {
        let operator = operators.iter().copied().flatten().nth(line.0 as usize % count);
        let pick = Pick { pool: &pool, float, line, most };
        let next = operator.and_then(|operator| operator(&pick)).or_else(|| Some(pick.x()? + 0.125));
        pool.extend(next.filter(|x| x.shape().elements() <= most));
    }
    Program { inputs, pool }
}

pub fn lines(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Line>> {
    prop::collection::vec(any::<Line>(), length)
}

/// The last tensors of floats, as one scalar.
pub fn total<'g>(program: &Program<'g>) -> Tensor<'g> {
    let floats = program.pool.iter().rev().filter(|x| x.dtype().is_float() && x.shape().elements() > 0);
    let means = floats.take(4).map(|x| x.mean(..));
    means.reduce(|sum, term| sum + term).expect("the inputs are floats")
}
