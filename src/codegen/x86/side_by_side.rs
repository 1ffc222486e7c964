//! Long sums, several in one pass. Down columns, for several vectors of them: a row gives some neighbouring lines of memory at
//! a time instead of one that the next row is far from. Along rows, for several of them: what all are multiplied with is read
//! once, and memory is asked for several lines at a time.

use rustc_hash::FxHashMap;

use super::is_formula;
use super::plan::Loops;
use crate::loops::copy::{Copy, new_loop, renumber, rest_of};
use crate::loops::{Affine, Instr, Kernel, LoopVar, Part, Stmt, Var, around_loop};

/// The most sums at once: each with fewer chains, which are to be short then.
const SUMS: usize = 4;
const SHORT_SUMS: usize = 8;
const SHORT: usize = 128;

/// A pass down fewer rows leaves the lines it reads in the first cache, where the next one finds the rest of them.
const LONG: usize = 64;

/// Rows at once, along so many vectors at least, and the most statements of their sum.
const ROWS: usize = 4;
const LONG_ROW: usize = 8;
const SIMPLE: usize = 4;

/// Rows that have nothing in common are better read one after the other, if they are longer than so many vectors.
const SHORT_ROW: usize = 32;

/// The kernel with such loops cut, or nothing if it has none. The new loops are added to those that run on vectors.
pub fn side_by_side(kernel: &Kernel, loops: &mut Loops, lanes: usize) -> Option<Kernel> {
    let is_long_sum = |stmt: &Stmt| matches!(stmt, Stmt::Reduce { var, .. } if kernel.extent(*var) >= LONG);
    if !kernel.body.iter().any(|stmt| stmt.any(&is_long_sum)) {
        return None;
    }
    let mut cutter = Cutter { kernel: kernel.clone(), loops, lanes, is_any: false };
    let body = kernel.body.iter().flat_map(|stmt| cutter.stmt(stmt, kernel.is_parallel)).collect();
    cutter.is_any.then_some(Kernel { body, ..cutter.kernel })
}

struct Cutter<'v> {
    kernel: Kernel,
    loops: &'v mut Loops,
    lanes: usize,
    is_any: bool,
}

/// A loop's body: what comes before its only sum, and the sum.
struct Sum<'s> {
    before: &'s [Stmt],
    var: LoopVar,
    body: &'s [Stmt],
    parts: &'s [Part],
}

impl<'s> Sum<'s> {
    fn of(body: &'s [Stmt]) -> Option<Sum<'s>> {
        let Some((before, Stmt::Reduce { var, body, parts }, _)) = around_loop(body) else { return None };
        let is_innermost = !body.iter().any(Stmt::is_loop);
        is_innermost.then_some(Sum { before, var: *var, body, parts })
    }
}

impl Cutter<'_> {
    fn stmt(&mut self, stmt: &Stmt, is_shared: bool) -> Vec<Stmt> {
        let Stmt::For { var, body } = stmt else { return vec![stmt.clone()] };
        if let Some(sum) = Sum::of(body) {
            let count = if self.loops.vectors.contains(var) { self.count(*var, &sum) } else { 1 };
            if count > 1 {
                return self.cut(*var, body, &sum, count);
            }
            if self.are_rows(*var, body, &sum, is_shared) {
                return self.cut_rows(*var, body, &sum, is_shared);
            }
        }
        vec![Stmt::For { var: *var, body: body.iter().flat_map(|stmt| self.stmt(stmt, false)).collect() }]
    }

    /// Whether the sums go along rows that are long, and take several at once. No thread is to begin between these.
    fn are_rows(&self, var: LoopVar, body: &[Stmt], row: &Sum<'_>, is_shared: bool) -> bool {
        let (extent, length) = (self.kernel.extent(var), self.kernel.extent(row.var) / self.lanes);
        let is_common =
            |stmt: &Stmt| stmt.read().is_some_and(|(access, _)| access.index.coefficient(var) == 0);
        !self.loops.vectors.contains(&var)
            && self.loops.vectors.contains(&row.var)
            && length >= LONG_ROW
            && (length <= SHORT_ROW || row.body.iter().any(is_common))
            && extent >= ROWS
            && (!is_shared || extent.is_multiple_of(ROWS))
            && row.parts.len() == 1
            && row.body.len() <= SIMPLE
            && !row.body.iter().any(is_formula)
            && self.kernel.is_independent(&[], var, body)
    }

    /// The loop for some rows at a time, and that for what is left.
    fn cut_rows(&mut self, var: LoopVar, body: &[Stmt], row: &Sum<'_>, is_shared: bool) -> Vec<Stmt> {
        self.is_any = true;
        let extent = self.kernel.extent(var);
        let block = new_loop(&mut self.kernel, extent / ROWS);
        let at =
            |number: usize| Affine::var(block).scaled(ROWS as i64).plus(&Affine::constant(number as i64));
        let places: Vec<Affine> = (0..ROWS).map(at).collect();
        let mut loops = vec![Stmt::For { var: block, body: self.merged(var, body, row, &places) }];
        if is_shared {
            self.loops.group = ROWS;
        }
        if !extent.is_multiple_of(ROWS) {
            let (rest, body) = rest_of(&mut self.kernel, var, body, extent / ROWS * ROWS);
            loops.push(Stmt::For { var: rest, body });
        }
        loops
    }

    /// How many vectors of columns go side by side.
    fn count(&self, var: LoopVar, column: &Sum<'_>) -> usize {
        let rows = self.kernel.extent(column.var);
        let most = if rows <= SHORT { SHORT_SUMS } else { SUMS };
        let count = (most / column.parts.len().max(1)).min(self.kernel.extent(var) / self.lanes);
        let is_far = column.body.iter().filter_map(|stmt| stmt.read()).any(|(access, _)| {
            let step = |var| access.index.coefficient(var);
            step(var) == 1 && step(column.var) >= (count * self.lanes) as i64
        });
        if is_far && rows >= LONG { count } else { 1 }
    }

    /// The loop for so many vectors at a time, and that for what is left.
    fn cut(&mut self, var: LoopVar, body: &[Stmt], column: &Sum<'_>, count: usize) -> Vec<Stmt> {
        self.is_any = true;
        let (extent, width) = (self.kernel.extent(var), count * self.lanes);
        let (block, own) =
            (new_loop(&mut self.kernel, extent / width), new_loop(&mut self.kernel, self.lanes));
        let start = Affine::var(block).scaled(width as i64).plus(&Affine::var(own));
        let at = |number: usize| start.plus(&Affine::constant((number * self.lanes) as i64));
        let places: Vec<Affine> = (0..count).map(at).collect();
        let merged = self.merged(var, body, column, &places);
        let mut loops = vec![Stmt::For { var: block, body: vec![Stmt::For { var: own, body: merged }] }];
        self.loops.vectors.insert(own);
        if !extent.is_multiple_of(width) {
            let (rest, body) = rest_of(&mut self.kernel, var, body, extent / width * width);
            loops.push(Stmt::For { var: rest, body });
            self.loops.vectors.insert(rest);
        }
        loops
    }

    /// The body for several columns or rows, their sums as one.
    fn merged(&mut self, var: LoopVar, body: &[Stmt], sum: &Sum<'_>, places: &[Affine]) -> Vec<Stmt> {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let (mut together, mut parts) = (Together::new(sum.var), Vec::new());
        for place in places {
            let mut copy = Copy::of(&mut self.kernel, body, var, place).body;
            after.push(copy.split_off(sum.before.len() + 1));
            if let Some(Stmt::Reduce { var, body, parts: sums }) = copy.pop() {
                body.into_iter().for_each(|stmt| together.push(stmt, var));
                parts.extend(sums.into_iter().map(|part| Part { value: together.value(part.value), ..part }));
            }
            before.extend(copy);
        }
        before.push(Stmt::Reduce { var: sum.var, body: together.body, parts });
        before.extend(after.into_iter().flatten());
        before
    }
}

/// What several sums take from a turn, each value once.
struct Together {
    var: LoopVar,
    body: Vec<Stmt>,
    known: FxHashMap<Instr, Var>,
    same: FxHashMap<Var, Var>,
}

impl Together {
    fn new(var: LoopVar) -> Together {
        Together { var, body: Vec::new(), known: FxHashMap::default(), same: FxHashMap::default() }
    }

    fn value(&self, var: Var) -> Var {
        self.same.get(&var).copied().unwrap_or(var)
    }

    /// Adds a statement of a sum over another variable.
    fn push(&mut self, mut stmt: Stmt, of: LoopVar) {
        renumber(&mut stmt, &|value| self.value(value), &|var| if var == of { self.var } else { var });
        match &stmt {
            Stmt::Let { dst, instr } => {
                let known = *self.known.entry(instr.clone()).or_insert(*dst);
                if known != *dst {
                    self.same.insert(*dst, known);
                    return;
                }
            }
            // What was loaded may have changed.
            _ => self.known.clear(),
        }
        self.body.push(stmt);
    }
}
