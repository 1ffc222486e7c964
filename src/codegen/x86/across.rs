//! Loops across the order of memory: where neighbours along the vectors lie far apart, and neighbours along a loop further
//! out side by side, as in a transpose. As many turns of that loop as a vector has lanes are taken at once, so that
//! what they read is square blocks ([`super::blocks`]).

use super::access::is_lane;
use super::plan::Loops;
use crate::loops::copy::{Copy, new_loop, new_value, rest_of};
use crate::loops::partial::joined;
use crate::loops::{Affine, Instr, Kernel, LoopVar, Part, Program, Stmt, Var, perfect_nest};

/// The longest body, in statements, that is written once for each lane.
const LONGEST: usize = 12;

/// The kernel with such loops cut, if it has some. The new loops are added to the others.
pub fn across(program: &Program, kernel: &Kernel, loops: &mut Loops, lanes: usize) -> Option<Kernel> {
    let is_apart = |&(var, step): &(LoopVar, i64)| step >= lanes as i64 && loops.vectors.contains(&var);
    let reads_apart = |stmt: &Stmt| stmt.read().is_some_and(|read| read.0.index.terms().iter().any(is_apart));
    // Rows that are picked at run time are written in order.
    let body = &kernel.body;
    if !body.iter().any(|stmt| stmt.any(&reads_apart)) || body.iter().any(|stmt| stmt.any(&Stmt::is_in_order))
    {
        return None;
    }
    let mut cutter = Cutter { program, kernel: kernel.clone(), loops, lanes };
    let body = kernel.body.iter().flat_map(|stmt| cutter.stmt(stmt, kernel.is_parallel)).collect();
    (!cutter.loops.crossed.is_empty()).then_some(Kernel { body, ..cutter.kernel })
}

struct Cutter<'c> {
    program: &'c Program,
    kernel: Kernel,
    loops: &'c mut Loops,
    lanes: usize,
}

impl Cutter<'_> {
    fn stmt(&mut self, stmt: &Stmt, is_shared: bool) -> Vec<Stmt> {
        let nest = perfect_nest(stmt);
        if self.takes_turns(&nest, is_shared) {
            if is_shared {
                self.loops.group = self.lanes;
            }
            return self.cut(stmt, &nest);
        }
        match stmt {
            Stmt::For { var, body } => {
                let body = body.iter().flat_map(|stmt| self.stmt(stmt, false)).collect();
                vec![Stmt::For { var: *var, body }]
            }
            Stmt::Reduce { var, body, parts } => {
                vec![self.sum(*var, body, parts).unwrap_or_else(|| stmt.clone())]
            }
            other => vec![other.clone()],
        }
    }

    /// A sum of sums, of which so many are taken at once, if the inner ones run across the outer.
    fn sum(&mut self, turns: LoopVar, body: &[Stmt], parts: &[Part]) -> Option<Stmt> {
        let [Stmt::Reduce { var: vector, body, parts: sums }] = body else { return None };
        let are_sums_of = parts.iter().zip(sums).all(|(a, b)| a.value == b.dst && a.combine == b.combine);
        let are_same = parts.len() == sums.len() && are_sums_of;
        let leaves_none = self.extent(turns).is_multiple_of(self.lanes);
        if !are_same || !leaves_none || !self.is_body_across(body, turns, *vector) {
            return None;
        }
        let (block, copies) = self.at_once(turns, body);
        let values = |copy: &Copy| sums.iter().map(|sum| copy.value(sum.value)).collect();
        let terms: Vec<Vec<Var>> = copies.iter().map(values).collect();
        let mut body: Vec<Stmt> = copies.into_iter().flat_map(|copy| copy.body).collect();
        let kernel = &mut self.kernel;
        let own: Vec<Part> =
            sums.iter().map(|sum| Part { dst: new_value(kernel, sum.value), ..sum.clone() }).collect();
        body.extend(joined(kernel, &own, &terms));
        let sums = sums.iter().zip(&own).map(|(sum, own)| Part { value: own.dst, ..sum.clone() }).collect();
        self.loops.crossed.insert(*vector);
        let inner = Stmt::Reduce { var: *vector, body, parts: sums };
        Some(Stmt::Reduce { var: block, body: vec![inner], parts: parts.to_vec() })
    }

    /// Whether to take several turns of the outermost loop at once: the innermost runs on vectors across it.
    fn takes_turns(&self, (vars, body): &(Vec<LoopVar>, &[Stmt]), is_shared: bool) -> bool {
        let [turns, .., vector] = vars[..] else { return false };
        // No thread is to begin in the middle of a block.
        let may_begin = !is_shared || self.extent(turns).is_multiple_of(self.lanes);
        may_begin && self.is_body_across(body, turns, vector)
    }

    /// Whether a body is short enough, and reads across the vectors' loop.
    fn is_body_across(&self, body: &[Stmt], turns: LoopVar, vector: LoopVar) -> bool {
        let is_short = body.len() <= LONGEST && !body.iter().any(Stmt::is_loop);
        let are_long = [turns, vector].iter().all(|&var| self.extent(var) >= self.lanes);
        let is_across = |stmt| self.is_across(stmt, turns, vector);
        is_short && are_long && self.loops.vectors.contains(&vector) && body.iter().any(is_across)
    }

    fn extent(&self, var: LoopVar) -> usize {
        self.kernel.extent(var)
    }

    fn is_across(&self, stmt: &Stmt, turns: LoopVar, vector: LoopVar) -> bool {
        let Stmt::Let { instr: Instr::Load(access), .. } = stmt else { return false };
        let dtype = self.program.buffers[access.buffer.index()].dtype;
        access.index.is_across(vector, self.lanes, turns) && is_lane(dtype)
    }

    /// The nest with so many turns of its outermost loop at once, and with the turns that are left.
    fn cut(&mut self, stmt: &Stmt, (vars, body): &(Vec<LoopVar>, &[Stmt])) -> Vec<Stmt> {
        let (turns, vector) = (vars[0], vars[vars.len() - 1]);
        let (extent, lanes) = (self.extent(turns), self.lanes);
        let (block, copies) = self.at_once(turns, body);
        let copies: Vec<Stmt> = copies.into_iter().flat_map(|copy| copy.body).collect();
        let around = |body, var: &LoopVar| vec![Stmt::For { var: *var, body }];
        let between = vars[1..vars.len() - 1].iter().rev();
        let body = between.fold(self.in_whole_vectors(&copies, vector), around);
        let mut stmts = vec![Stmt::For { var: block, body }];
        if !extent.is_multiple_of(lanes) {
            let start = extent / lanes * lanes;
            let (var, body) = rest_of(&mut self.kernel, turns, stmt.inner(), start);
            stmts.push(Stmt::For { var, body });
        }
        stmts
    }

    /// A loop over blocks of turns, and its body for each turn of a block.
    fn at_once(&mut self, turns: LoopVar, body: &[Stmt]) -> (LoopVar, Vec<Copy>) {
        let (kernel, lanes) = (&mut self.kernel, self.lanes);
        let block = new_loop(kernel, kernel.extent(turns) / lanes);
        let start = Affine::var(block).scaled(lanes as i64);
        let place = |turn: usize| start.plus(&Affine::constant(turn as i64));
        (block, (0..lanes).map(|turn| Copy::of(kernel, body, turns, &place(turn))).collect())
    }

    /// A body for whole vectors, and for the lanes that are left.
    fn in_whole_vectors(&mut self, body: &[Stmt], vector: LoopVar) -> Vec<Stmt> {
        let extent = self.extent(vector);
        let whole = extent / self.lanes * self.lanes;
        let parts = [(0, whole), (whole, extent - whole)];
        let mut loops = Vec::new();
        for (start, length) in parts.into_iter().filter(|part| part.1 > 0) {
            let own = new_loop(&mut self.kernel, length);
            let place = Affine::var(own).plus(&Affine::constant(start as i64));
            let body = Copy::of(&mut self.kernel, body, vector, &place).body;
            loops.push(Stmt::For { var: own, body });
            self.loops.vectors.insert(own);
            self.loops.crossed.insert(own);
        }
        loops
    }
}
