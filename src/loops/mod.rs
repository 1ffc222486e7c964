//! Floor 1: the loop IR. Between the schedule and machine code: kernels of nested loops over
//! buffers, with affine accesses, scalar instructions and reductions. Knows no tensor operator.

mod affine;
mod contraction;
pub(crate) mod copy;
mod display;
mod panels;
mod parallel;
pub(crate) mod partial;
mod scalar;
mod special;
mod task;
mod traffic;
mod verify;
mod walk;

pub use affine::{Affine, LoopVar};
pub use contraction::{Contraction, LARGE, Tables};
pub use panels::{PANEL, Panels, PanelsOf};
pub(crate) use parallel::{Sections, around_loop};
pub use scalar::{Binary, Combine, Compare, Order, Unary};
pub(crate) use special::{ERF_INV_F32, ERF_INV_F64, Special};
pub use task::{Program, Repeat, Task};
pub use traffic::{Passage, Traffic};
pub(crate) use walk::{Buffers, conflict, nested, perfect_nest, reads_and_writes, stored, used};

use std::collections::BTreeSet;

use smallvec::{SmallVec, smallvec};

use crate::types::{DType, Scalar};

/// A scalar value inside a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Var(pub u32);

/// Scalar values, of which there are seldom many.
pub(crate) type Vars = SmallVec<[Var; 4]>;

/// A buffer of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

impl BufferId {
    /// No buffer of any program.
    pub const NONE: BufferId = BufferId(u32::MAX);

    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A row of elements somewhere in memory.
#[derive(Clone, Debug)]
pub struct Buffer {
    pub name: String,
    pub dtype: DType,
    pub elements: usize,
    pub place: Place,
    /// How a matrix lies in it, if not row by row.
    pub panels: Option<Panels>,
}

/// The memory a buffer lies in. Offsets are bytes, multiples of 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The caller's state: survives the call.
    State { offset: usize },
    /// The caller's input of this number: read only.
    Input { index: usize },
    /// The caller's outputs: written once a call.
    Output { offset: usize },
    /// Scratch memory.
    Arena { offset: usize },
}

/// One fused nest of loops.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub name: String,
    /// The number of repeats around the kernel: the first loop variables are their turns, outermost first.
    pub repeats: usize,
    /// The extent of each loop variable.
    pub extents: Vec<usize>,
    /// The type of each scalar value.
    pub dtypes: Vec<DType>,
    pub body: Vec<Stmt>,
    /// What it stores, in the numbering of whoever made it.
    pub sources: Vec<usize>,
    /// Whether the iterations of its only outermost loop may be shared out among threads.
    pub is_parallel: bool,
}

/// A statement of a kernel.
#[derive(Clone, Debug)]
pub enum Stmt {
    /// Computes one scalar.
    Let { dst: Var, instr: Instr },
    /// Runs the body for each value of the variable; iterations are independent, unless they accumulate.
    For { var: LoopVar, body: Vec<Stmt> },
    /// Runs the body for each value of the variable and combines one value an iteration into each
    /// part, in an order that is fixed but not specified.
    Reduce { var: LoopVar, body: Vec<Stmt>, parts: Vec<Part> },
    /// Runs the body for each value of the variable, in order. `carry` holds `initial` at first, and then what `next` was
    /// in the iteration before.
    Recur { var: LoopVar, carry: Var, initial: Scalar, body: Vec<Stmt>, next: Var },
    /// Writes one element.
    Store { access: Access, value: Var },
    /// Computes a contraction by a library kernel.
    Contract(Contraction),
    /// Writes the element at the access plus `row · stride`, with `row` held between 0 and `bound - 1`, or adds to it. The
    /// iterations of loops around it may meet at one element, and run in order.
    StoreRow { access: Access, row: Var, stride: i64, bound: i64, value: Var, adds: bool },
    /// Writes, for the elements from `keys` on, their positions in order (i64) from `positions` on. Equal elements
    /// stay in the order they stand in.
    Sort { keys: Access, positions: Access, sorting: Sorting },
}

/// How a row is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sorting {
    /// The elements of the row.
    pub count: usize,
    /// The positions wanted, from the first in order on.
    pub first: usize,
    pub order: Order,
}

/// One result of a [`Stmt::Reduce`].
#[derive(Clone, Debug)]
pub struct Part {
    pub dst: Var,
    pub combine: Combine,
    pub value: Var,
}

/// A scalar computation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Instr {
    Constant(Scalar),
    Load(Access),
    /// The element where every expression lies between 0 and its bound; elsewhere 0, and nothing is read.
    LoadWithin(Access, Vec<(Affine, i64)>),
    /// The element at the access plus `row · stride`, with `row` held between 0 and `bound - 1`.
    LoadRow {
        access: Access,
        row: Var,
        stride: i64,
        bound: i64,
    },
    /// Whether every expression lies between 0 and its bound.
    Within(Vec<(Affine, i64)>),
    Unary(Unary, Var),
    Binary(Binary, Var, Var),
    Compare(Compare, Var, Var),
    /// The second value where the first is true, else the third.
    Select(Var, Var, Var),
    /// Conversion to the destination's type.
    Cast(Var),
    /// The value of an affine expression, as i64.
    Index(Affine),
}

impl Instr {
    /// The scalar values read.
    pub(crate) fn operands(&self) -> Vars {
        match *self {
            Instr::Constant(_) | Instr::Load(_) | Instr::Index(_) => smallvec![],
            Instr::LoadWithin(..) | Instr::Within(_) => smallvec![],
            Instr::Unary(_, a) | Instr::Cast(a) | Instr::LoadRow { row: a, .. } => smallvec![a],
            Instr::Binary(_, a, b) | Instr::Compare(_, a, b) => smallvec![a, b],
            Instr::Select(a, b, c) => smallvec![a, b, c],
        }
    }

    /// The instruction with each scalar value replaced.
    pub fn map_operands(self, f: impl Fn(Var) -> Var) -> Instr {
        match self {
            Instr::Unary(op, a) => Instr::Unary(op, f(a)),
            Instr::Binary(op, a, b) => Instr::Binary(op, f(a), f(b)),
            Instr::Compare(op, a, b) => Instr::Compare(op, f(a), f(b)),
            Instr::Select(a, b, c) => Instr::Select(f(a), f(b), f(c)),
            Instr::Cast(a) => Instr::Cast(f(a)),
            Instr::LoadRow { access, row, stride, bound } => {
                Instr::LoadRow { access, row: f(row), stride, bound }
            }
            plain @ (Instr::Constant(_)
            | Instr::Load(_)
            | Instr::LoadWithin(..)
            | Instr::Within(_)
            | Instr::Index(_)) => plain,
        }
    }

    /// The affine expressions: addresses, indices and conditions.
    pub fn affines(&self) -> Vec<&Affine> {
        match self {
            Instr::Load(access) | Instr::LoadRow { access, .. } => vec![&access.index],
            Instr::LoadWithin(access, ranges) => {
                ranges.iter().map(|range| &range.0).chain([&access.index]).collect()
            }
            Instr::Within(ranges) => ranges.iter().map(|range| &range.0).collect(),
            Instr::Index(index) => vec![index],
            _ => vec![],
        }
    }

    /// The instruction with each affine expression replaced.
    pub fn map_affines(self, f: impl Fn(&Affine) -> Affine) -> Instr {
        let access = |access: Access| Access { index: f(&access.index), ..access };
        let ranges =
            |ranges: Vec<(Affine, i64)>| ranges.iter().map(|(index, bound)| (f(index), *bound)).collect();
        match self {
            Instr::Load(from) => Instr::Load(access(from)),
            Instr::LoadRow { access: from, row, stride, bound } => {
                Instr::LoadRow { access: access(from), row, stride, bound }
            }
            Instr::LoadWithin(from, within) => Instr::LoadWithin(access(from), ranges(within)),
            Instr::Within(within) => Instr::Within(ranges(within)),
            Instr::Index(index) => Instr::Index(f(&index)),
            other => other,
        }
    }

    /// The buffer read, if one is.
    pub fn read(&self) -> Option<BufferId> {
        match self {
            Instr::Load(access) | Instr::LoadWithin(access, _) | Instr::LoadRow { access, .. } => {
                Some(access.buffer)
            }
            _ => None,
        }
    }
}

/// One element of a buffer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Access {
    pub buffer: BufferId,
    /// In elements from the buffer's start.
    pub index: Affine,
}

impl Kernel {
    pub(crate) fn extent(&self, var: LoopVar) -> usize {
        self.extents[var.index()]
    }

    pub(crate) fn dtype(&self, var: Var) -> DType {
        self.dtypes[var.0 as usize]
    }

    /// The scalars that are computed before all else.
    pub(crate) fn scalars(&self) -> &[Stmt] {
        let count = self.body.iter().take_while(|stmt| stmt.is_let()).count();
        &self.body[..count]
    }

    /// The buffers read and those written.
    pub fn reads_and_writes(&self) -> (BTreeSet<BufferId>, BTreeSet<BufferId>) {
        reads_and_writes(&self.body)
    }

    /// Replaces the buffers that its statements name.
    pub fn map_buffers(&mut self, f: impl Fn(BufferId) -> BufferId) {
        let mut change = |stmt: &mut Stmt| stmt.map_buffers(&f);
        self.body.iter_mut().for_each(|stmt| stmt.each_mut(&mut change));
    }

    /// The smallest and the largest value of an expression; meaningless in a loop without iterations.
    pub(crate) fn range_of(&self, index: &Affine) -> (i64, i64) {
        let (mut lowest, mut highest) = (index.offset(), index.offset());
        for &(var, coefficient) in index.terms() {
            let span = coefficient * (self.extent(var) as i64 - 1);
            lowest += span.min(0);
            highest += span.max(0);
        }
        (lowest, highest)
    }

    /// Whether an expression lies between 0 and its bound whatever the variables are.
    pub(crate) fn always_within(&self, (index, bound): &(Affine, i64)) -> bool {
        let (lowest, highest) = self.range_of(index);
        lowest >= 0 && highest < *bound
    }

    /// Whether an expression lies outside whatever the variables are.
    pub(crate) fn never_within(&self, (index, bound): &(Affine, i64)) -> bool {
        let (lowest, highest) = self.range_of(index);
        highest < 0 || lowest >= *bound
    }

    /// Whether every address is known when loops are written out.
    pub fn has_fixed_addresses(&self) -> bool {
        fn fixed(body: &[Stmt]) -> bool {
            body.iter().all(|stmt| match stmt {
                Stmt::Let { instr, .. } => !matches!(instr, Instr::LoadRow { .. }),
                Stmt::For { body, .. } | Stmt::Reduce { body, .. } | Stmt::Recur { body, .. } => fixed(body),
                Stmt::Store { .. } => true,
                Stmt::Contract(_) | Stmt::StoreRow { .. } | Stmt::Sort { .. } => false,
            })
        }
        fixed(&self.body)
    }

    /// What one run of the kernel costs: each scalar instruction as given, all else 1.
    pub fn work(&self, cost: &dyn Fn(&Instr) -> usize) -> usize {
        fn work(kernel: &Kernel, body: &[Stmt], cost: &dyn Fn(&Instr) -> usize) -> usize {
            body.iter().fold(0usize, |sum, stmt| {
                sum.saturating_add(match stmt {
                    Stmt::Let { instr, .. } => cost(instr),
                    Stmt::Store { .. } | Stmt::StoreRow { .. } => 1,
                    Stmt::Contract(contraction) => contraction.work(kernel),
                    Stmt::Sort { sorting: Sorting { count, first, .. }, .. } => {
                        count.saturating_mul(1 + first.ilog2() as usize)
                    }
                    Stmt::For { var, body } | Stmt::Recur { var, body, .. } => {
                        kernel.extent(*var).saturating_mul(work(kernel, body, cost))
                    }
                    Stmt::Reduce { var, body, parts } => kernel
                        .extent(*var)
                        .saturating_mul(work(kernel, body, cost).saturating_add(parts.len())),
                })
            })
        }
        work(self, &self.body, cost)
    }
}
