//! Sums down long columns, several vectors of columns in one pass: a row gives some neighbouring lines of memory at a
//! time instead of one that the next row is far from.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::loops::copy::{Copy, new_loop, renumber};
use crate::loops::{Affine, Instr, Kernel, LoopVar, Part, Stmt, Var, around_loop};

/// The most sums at once: each with fewer chains, which are to be short then.
const SUMS: usize = 4;
const SHORT_SUMS: usize = 8;
const SHORT: usize = 128;

/// A pass down fewer rows leaves the lines it reads in the first cache, where the next one finds the rest of them.
const LONG: usize = 64;

/// The kernel with such loops cut, or nothing if it has none. The new loops are added to those that run on vectors.
pub fn side_by_side(kernel: &Kernel, vectors: &mut FxHashSet<LoopVar>, lanes: usize) -> Option<Kernel> {
    let is_long_sum = |stmt: &Stmt| matches!(stmt, Stmt::Reduce { var, .. } if kernel.extent(*var) >= LONG);
    if !kernel.body.iter().any(|stmt| stmt.any(&is_long_sum)) {
        return None;
    }
    let mut cutter = Cutter { kernel: kernel.clone(), vectors, lanes, is_any: false };
    let body = kernel.body.iter().flat_map(|stmt| cutter.stmt(stmt)).collect();
    cutter.is_any.then_some(Kernel { body, ..cutter.kernel })
}

struct Cutter<'v> {
    kernel: Kernel,
    vectors: &'v mut FxHashSet<LoopVar>,
    lanes: usize,
    is_any: bool,
}

/// A loop's body: what comes before its only sum, and the sum.
struct Column<'s> {
    before: &'s [Stmt],
    var: LoopVar,
    body: &'s [Stmt],
    parts: &'s [Part],
}

impl<'s> Column<'s> {
    fn of(body: &'s [Stmt]) -> Option<Column<'s>> {
        let Some((before, Stmt::Reduce { var, body, parts }, _)) = around_loop(body) else { return None };
        let is_innermost = !body.iter().any(Stmt::is_loop);
        is_innermost.then_some(Column { before, var: *var, body, parts })
    }
}

impl Cutter<'_> {
    fn stmt(&mut self, stmt: &Stmt) -> Vec<Stmt> {
        let Stmt::For { var, body } = stmt else { return vec![stmt.clone()] };
        let column = Column::of(body).filter(|_| self.vectors.contains(var));
        let count = column.as_ref().map_or(1, |column| self.count(*var, column));
        match column.filter(|_| count > 1) {
            Some(column) => self.cut(*var, body, &column, count),
            None => {
                vec![Stmt::For { var: *var, body: body.iter().flat_map(|stmt| self.stmt(stmt)).collect() }]
            }
        }
    }

    /// How many vectors of columns go side by side.
    fn count(&self, var: LoopVar, column: &Column<'_>) -> usize {
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
    fn cut(&mut self, var: LoopVar, body: &[Stmt], column: &Column<'_>, count: usize) -> Vec<Stmt> {
        self.is_any = true;
        let (extent, width) = (self.kernel.extent(var), count * self.lanes);
        let (block, own) =
            (new_loop(&mut self.kernel, extent / width), new_loop(&mut self.kernel, self.lanes));
        let start = Affine::var(block).scaled(width as i64).plus(&Affine::var(own));
        let at = |number: usize| start.plus(&Affine::constant((number * self.lanes) as i64));
        let places: Vec<Affine> = (0..count).map(at).collect();
        let merged = self.merged(var, body, column, &places);
        let mut loops = vec![Stmt::For { var: block, body: vec![Stmt::For { var: own, body: merged }] }];
        self.vectors.insert(own);
        if !extent.is_multiple_of(width) {
            let rest = new_loop(&mut self.kernel, extent % width);
            let start = Affine::constant((extent - extent % width) as i64).plus(&Affine::var(rest));
            loops.push(Stmt::For { var: rest, body: Copy::of(&mut self.kernel, body, var, &start).body });
            self.vectors.insert(rest);
        }
        loops
    }

    /// The body for several columns, their sums as one.
    fn merged(&mut self, var: LoopVar, body: &[Stmt], column: &Column<'_>, places: &[Affine]) -> Vec<Stmt> {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        let (mut rows, mut parts) = (Rows::new(column.var), Vec::new());
        for place in places {
            let mut copy = Copy::of(&mut self.kernel, body, var, place).body;
            after.push(copy.split_off(column.before.len() + 1));
            if let Some(Stmt::Reduce { var, body, parts: sums }) = copy.pop() {
                body.into_iter().for_each(|stmt| rows.push(stmt, var));
                parts.extend(sums.into_iter().map(|part| Part { value: rows.value(part.value), ..part }));
            }
            before.extend(copy);
        }
        before.push(Stmt::Reduce { var: column.var, body: rows.body, parts });
        before.extend(after.into_iter().flatten());
        before
    }
}

/// What several columns take from a row, each value once.
struct Rows {
    var: LoopVar,
    body: Vec<Stmt>,
    known: FxHashMap<Instr, Var>,
    same: FxHashMap<Var, Var>,
}

impl Rows {
    fn new(var: LoopVar) -> Rows {
        Rows { var, body: Vec::new(), known: FxHashMap::default(), same: FxHashMap::default() }
    }

    fn value(&self, var: Var) -> Var {
        self.same.get(&var).copied().unwrap_or(var)
    }

    /// Adds a statement of a sum over another variable.
    fn push(&mut self, mut stmt: Stmt, of: LoopVar) {
        renumber(&mut stmt, &|value| self.value(value), &|var| if var == of { self.var } else { var });
        if let Stmt::Let { dst, instr } = &stmt {
            let known = *self.known.entry(instr.clone()).or_insert(*dst);
            if known != *dst {
                self.same.insert(*dst, known);
                return;
            }
        }
        self.body.push(stmt);
    }
}
