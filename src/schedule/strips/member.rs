//! A kernel that goes over the rows of a batch, and what it does for a strip of them. A row's own results are computed as
//! before; sums over rows are kept in scratch memory from strip to strip, and what comes of them is a kernel after the last.

use std::collections::BTreeSet;

use super::super::depth;
use super::super::forward::drop_unused;
use crate::loops::copy::{moved, new_buffer, new_value_of, renumber};
use crate::loops::partial::{fresh, gathered, joined};
use crate::loops::{
    Access, Affine, Buffer, BufferId, Combine, Contraction, Instr, Kernel, LoopVar, Part, Stmt, Var,
    around_loop, nested, perfect_nest, reads_and_writes, used,
};
use crate::types::Scalar;

use super::{STRIP, Strips};

/// A way in which a kernel goes over rows.
pub(super) enum Way<'k> {
    /// By a loop, or an index of a contraction, whose iterations have results of their own.
    Own(LoopVar),
    /// By loops that sum up, inside loops over what has such sums.
    Sums { path: Vec<LoopVar>, body: &'k [Stmt] },
    /// By the depth of a contraction, inside loops over batches.
    Depth { path: Vec<LoopVar>, contraction: &'k Contraction, var: LoopVar },
}

impl<'k> Way<'k> {
    /// The ways in which the kernel goes over so many rows.
    pub fn all(kernel: &'k Kernel, rows: usize) -> Vec<Way<'k>> {
        let Some((before, stmt, after)) = around_loop(&kernel.body) else { return vec![] };
        if !before.iter().all(Stmt::is_let) || stmt.any(&Stmt::is_in_order) || kernel.repeats > 0 {
            return vec![];
        }
        let is_over = |var: LoopVar| kernel.extent(var) == rows;
        // Loops that were merged into one.
        let is_over_all = |var: LoopVar| kernel.extent(var).is_multiple_of(rows);
        let (path, body) = perfect_nest(stmt);
        let summing = &kernel.body[before.len()..];
        if path.is_empty() && !matches!(stmt, Stmt::Contract(_)) {
            return Way::sums(path, summing, is_over_all).into_iter().collect();
        }
        if !after.is_empty() {
            return vec![];
        }
        let outermost = path.first().copied().filter(|&var| is_over_all(var));
        let inner = path.iter().copied().skip(1).filter(|&var| is_over(var));
        let mut ways: Vec<Way<'k>> = outermost.into_iter().chain(inner).map(Way::Own).collect();
        match body {
            [Stmt::Contract(contraction)] => {
                let Contraction { rows, columns, depth, .. } = contraction;
                let over = |vars: &'k [LoopVar]| vars.iter().copied().filter(|&var| is_over(var));
                ways.extend(over(rows).chain(over(columns)).map(Way::Own));
                ways.extend(over(depth).map(|var| Way::Depth { path: path.clone(), contraction, var }));
            }
            _ => ways.extend(Way::sums(path, body, is_over)),
        }
        ways
    }

    /// The way by sums over rows among scalars, none of which needs another, if what comes of the sums is scalars and stores.
    fn sums(path: Vec<LoopVar>, body: &'k [Stmt], is_over: impl Fn(LoopVar) -> bool) -> Option<Way<'k>> {
        let last = body.iter().rposition(is_sum)?;
        let is_early = |stmt: &Stmt| match stmt {
            Stmt::Reduce { var, .. } => is_over(*var),
            stmt => stmt.is_let(),
        };
        let is_late = |stmt: &Stmt| matches!(stmt, Stmt::Let { .. } | Stmt::Store { .. });
        let is_plain = body[..=last].iter().all(is_early) && body[last + 1..].iter().all(is_late);
        let stores = !reads_and_writes(&body[..last]).1.is_empty();
        let made: BTreeSet<Var> = body.iter().filter(|stmt| is_sum(stmt)).flat_map(Stmt::makes).collect();
        let is_free = used(&body[..=last]).is_disjoint(&made);
        (is_plain && is_free && !stores).then_some(Way::Sums { path, body })
    }

    /// The loops over rows.
    pub fn vars(&self) -> Vec<LoopVar> {
        match self {
            Way::Own(var) | Way::Depth { var, .. } => vec![*var],
            Way::Sums { body, .. } => {
                body.iter().filter(|stmt| is_sum(stmt)).filter_map(Stmt::loop_var).collect()
            }
        }
    }
}

fn is_sum(stmt: &Stmt) -> bool {
    matches!(stmt, Stmt::Reduce { .. })
}

/// A kernel in a form that can be cut into strips.
pub(super) struct Member {
    kernel: Kernel,
    /// The loops over rows.
    vars: Vec<LoopVar>,
    /// If it sums up over rows.
    pub sums: Option<Sums>,
}

/// What a kernel sums up over rows, in memory: once for each piece, and once for the rows after the last.
pub(super) struct Sums {
    /// The buffers, with the elements that each piece has.
    homes: Vec<(BufferId, usize)>,
    /// Sets those of the first piece to the sums of nothing.
    pub start: Kernel,
    /// Does what is to be done with the sums of all rows.
    pub end: Kernel,
}

impl Sums {
    /// Buffers, and the elements that each piece has of them.
    pub fn homes(&self) -> impl Iterator<Item = (BufferId, usize)> {
        self.homes.iter().copied()
    }
}

impl Member {
    /// The kernel in strips; it may need buffers.
    pub fn of(kernel: &Kernel, way: Way<'_>, strips: Strips, buffers: &mut Vec<Buffer>) -> Member {
        let vars = way.vars();
        let (kernel, sums) = match way {
            Way::Own(_) => (kernel.clone(), None),
            Way::Sums { path, body } => {
                let (kernel, sums) = Summing { kernel, path, body }.kernels(strips.slots(), buffers);
                (kernel, Some(sums))
            }
            Way::Depth { path, contraction, .. } => {
                let (kernel, sums) = deep(kernel, &path, contraction, strips.slots(), buffers);
                (kernel, Some(sums))
            }
        };
        Member { kernel, vars, sums }
    }

    /// What the kernel does in every strip, by the number of the strip as the turn of a repeat.
    pub fn in_strips(&self, strips: Strips) -> Kernel {
        let mut kernel = in_turns(&self.kernel, strips.count());
        let first = Affine::var(STRIP).scaled(strips.rows as i64);
        let vars = self.vars.iter().map(|var| LoopVar(var.0 + 1));
        vars.for_each(|var| narrow(&mut kernel, var, (&first, strips.rows), strips));
        kernel
    }

    /// What it does for the rows after the last strip.
    pub fn rest(&self, strips: Strips) -> Kernel {
        let mut kernel = Kernel { name: format!("{}: rest", self.kernel.name), ..self.kernel.clone() };
        let first = Affine::constant((strips.count() * strips.rows) as i64);
        self.vars.iter().for_each(|&var| narrow(&mut kernel, var, (&first, strips.rest), strips));
        kernel
    }
}

/// The kernel in one more repeat around all others, of so many turns.
pub(super) fn in_turns(kernel: &Kernel, turns: usize) -> Kernel {
    let mut kernel = Kernel { repeats: kernel.repeats + 1, ..kernel.clone() };
    kernel.extents.insert(0, turns);
    let behind = |var: LoopVar| LoopVar(var.0 + 1);
    kernel.body.iter_mut().for_each(|stmt| renumber(stmt, &|value| value, &behind));
    kernel
}

/// Makes a loop over all rows one over so many from the first on.
fn narrow(kernel: &mut Kernel, var: LoopVar, (first, count): (&Affine, usize), strips: Strips) {
    let elements = kernel.extent(var) / strips.all_rows();
    kernel.extents[var.index()] = elements * count;
    kernel.body = moved(&kernel.body, var, &first.scaled(elements as i64).plus(&Affine::var(var)));
}

/// Scratch memory with an element for all values of the variables, so many times; where the first of these lie.
fn home(
    kernel: &Kernel,
    like: Var,
    vars: &[LoopVar],
    slots: usize,
    buffers: &mut Vec<Buffer>,
) -> (Access, usize) {
    let extents: Vec<usize> = vars.iter().map(|&var| kernel.extent(var)).collect();
    let count = extents.iter().product();
    let buffer = new_buffer(buffers, "sums of strips", kernel.dtype(like), count * slots);
    let indices: Vec<Affine> = vars.iter().copied().map(Affine::var).collect();
    (Access { buffer, index: Affine::linear(&indices, &extents) }, count)
}

/// The same element in another slot.
fn in_slot((home, count): &(Access, usize), slot: Affine) -> Access {
    Access { index: home.index.plus(&slot.scaled(*count as i64)), ..home.clone() }
}

/// Statements that store what changes no sum.
fn nothing(kernel: &mut Kernel, part: &Part, home: &Access) -> [Stmt; 2] {
    let dtype = kernel.dtype(part.dst);
    let value = new_value_of(kernel, dtype);
    let identity = Instr::Constant(part.combine.identity(dtype));
    [Stmt::Let { dst: value, instr: identity }, Stmt::Store { access: home.clone(), value }]
}

/// A kernel with sums over rows.
struct Summing<'k> {
    kernel: &'k Kernel,
    path: Vec<LoopVar>,
    body: &'k [Stmt],
}

impl Summing<'_> {
    /// The kernel that adds to the sums, and what is done before and after.
    fn kernels(&self, slots: usize, buffers: &mut Vec<Buffer>) -> (Kernel, Sums) {
        let mut home = |part: &Part| home(self.kernel, part.dst, &self.path, slots, buffers);
        let homes: Vec<Vec<(Access, usize)>> =
            self.reductions().map(|parts| parts.iter().map(&mut home).collect()).collect();
        let sums = Sums {
            homes: homes.iter().flatten().map(|(home, count)| (home.buffer, *count)).collect(),
            start: self.start(&homes),
            end: self.end(&homes, slots),
        };
        (self.adding(&homes), sums)
    }

    fn reductions(&self) -> impl Iterator<Item = &[Part]> {
        self.body.iter().filter_map(|stmt| match stmt {
            Stmt::Reduce { parts, .. } => Some(&parts[..]),
            _ => None,
        })
    }

    /// The kernel with its loops around another body.
    fn with(&self, mut kernel: Kernel, body: Vec<Stmt>) -> Kernel {
        kernel.body = [self.kernel.scalars(), &nested(&self.path, body)].concat();
        drop_unused(&mut kernel);
        kernel
    }

    /// The sums, added to those that are there.
    fn adding(&self, homes: &[Vec<(Access, usize)>]) -> Kernel {
        let mut kernel = self.kernel.clone();
        let mut body = Vec::new();
        let mut homes = homes.iter();
        for stmt in self.body {
            match stmt {
                Stmt::Reduce { var, body: inner, parts } => {
                    let (known, own) = (fresh(&mut kernel, parts), fresh(&mut kernel, parts));
                    let terms = [&known, &own].map(|parts| parts.iter().map(|part| part.dst).collect());
                    body.push(Stmt::Reduce { var: *var, body: inner.clone(), parts: own });
                    let homes: Vec<&Access> =
                        homes.next().into_iter().flatten().map(|home| &home.0).collect();
                    body.extend(
                        known.iter().zip(&homes).map(|(part, &home)| Stmt::Let {
                            dst: part.dst,
                            instr: Instr::Load(home.clone()),
                        }),
                    );
                    body.extend(joined(&mut kernel, parts, &terms));
                    body.extend(
                        parts
                            .iter()
                            .zip(homes)
                            .map(|(part, home)| Stmt::Store { access: home.clone(), value: part.dst }),
                    );
                }
                stmt if stmt.is_let() => body.push(stmt.clone()),
                _ => {}
            }
        }
        self.with(kernel, body)
    }

    fn start(&self, homes: &[Vec<(Access, usize)>]) -> Kernel {
        let mut kernel = Kernel { name: format!("{}: start", self.kernel.name), ..self.kernel.clone() };
        let parts = self.reductions().flatten().zip(homes.iter().flatten());
        let body = parts.flat_map(|(part, (home, _))| nothing(&mut kernel, part, home)).collect();
        self.with(kernel, body)
    }

    fn end(&self, homes: &[Vec<(Access, usize)>], slots: usize) -> Kernel {
        let mut kernel = Kernel { name: format!("{}: end", self.kernel.name), ..self.kernel.clone() };
        let mut homes = homes.iter();
        let mut body = Vec::new();
        for stmt in self.body {
            match stmt {
                Stmt::Reduce { parts, .. } => body.extend(homes.next().map(|homes| {
                    gathered(&mut kernel, parts.clone(), slots, |number, slot| in_slot(&homes[number], slot))
                })),
                stmt => body.push(stmt.clone()),
            }
        }
        self.with(kernel, body)
    }
}

/// A contraction over rows adds to sums aside.
fn deep(
    kernel: &Kernel,
    path: &[LoopVar],
    contraction: &Contraction,
    slots: usize,
    buffers: &mut Vec<Buffer>,
) -> (Kernel, Sums) {
    let mut vars = [path, &contraction.rows, &contraction.columns].concat();
    vars.sort_unstable(); // as the loops were, inner ones last
    let mut adding = kernel.clone();
    let one = new_value_of(&mut adding, contraction.dtype);
    let home = home(&adding, one, &vars, slots, buffers);
    let call = Contraction { out: home.0.clone(), scale: Some(one), ..contraction.clone() };
    let unit = Instr::Constant(Scalar::from_f64(1.0, contraction.dtype));
    adding.body = vec![Stmt::Let { dst: one, instr: unit }];
    adding.body.extend(nested(path, vec![Stmt::Contract(call)]));

    let mut start = Kernel { name: format!("{}: start", kernel.name), ..kernel.clone() };
    let sum = new_value_of(&mut start, contraction.dtype);
    let part = Part { dst: sum, combine: Combine::Sum, value: sum };
    let body = nothing(&mut start, &part, &home.0);
    start.body = nested(&vars, body.into());

    let named = Kernel { name: format!("{}: end", kernel.name), ..kernel.clone() };
    let end = depth::end(&named, contraction, &vars, slots, |slot| in_slot(&home, slot));
    let homes = vec![(home.0.buffer, home.1)];
    (adding, Sums { homes, start, end })
}
