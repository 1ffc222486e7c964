//! Loops across the order of memory: where neighbours along the vectors lie far apart, and neighbours along a loop further
//! out side by side, as in a transpose. As many turns of that loop as a vector has lanes are taken at once, so that
//! what they read is square blocks ([`super::blocks`]).

use std::collections::HashSet;

use super::access::is_lane;
use crate::loops::copy::{Copy, joined, new_loop, new_value};
use crate::loops::{Access, Affine, Instr, Kernel, LoopVar, Part, Program, Stmt, Var, perfect_nest};

/// The longest body, in statements, that is written once for each lane.
const LONGEST: usize = 12;

/// A kernel whose loops are cut, and how many turns of its outermost loop are one of the new one's.
pub struct Crossed {
    pub kernel: Kernel,
    pub group: usize,
    /// The loops on vectors whose bodies hold such blocks.
    pub loops: HashSet<LoopVar>,
}

/// The kernel with such loops cut, if it has some. The new loops are added to those that run on vectors.
pub fn across(
    program: &Program,
    kernel: &Kernel,
    vectors: &mut HashSet<LoopVar>,
    lanes: usize,
) -> Option<Crossed> {
    let is_apart = |&(var, step): &(LoopVar, i64)| step >= lanes as i64 && vectors.contains(&var);
    if !reads(&kernel.body, &|access| access.index.terms().iter().any(is_apart)) {
        return None;
    }
    let crossed = Crossed { kernel: kernel.clone(), group: 1, loops: HashSet::new() };
    let mut cutter = Cutter { program, crossed, vectors, lanes };
    let body = kernel.body.iter().flat_map(|stmt| cutter.stmt(stmt, kernel.is_parallel)).collect();
    let Crossed { kernel, group, loops } = cutter.crossed;
    (!loops.is_empty()).then_some(Crossed { kernel: Kernel { body, ..kernel }, group, loops })
}

/// Whether there is such a read.
fn reads(body: &[Stmt], is_such: &impl Fn(&Access) -> bool) -> bool {
    body.iter().any(|stmt| stmt.read().is_some_and(|read| is_such(read.0)) || reads(stmt.inner(), is_such))
}

struct Cutter<'c> {
    program: &'c Program,
    crossed: Crossed,
    vectors: &'c mut HashSet<LoopVar>,
    lanes: usize,
}

impl Cutter<'_> {
    fn stmt(&mut self, stmt: &Stmt, is_shared: bool) -> Vec<Stmt> {
        let nest = perfect_nest(stmt);
        if self.takes_turns(&nest, is_shared) {
            if is_shared {
                self.crossed.group = self.lanes;
            }
            return self.cut(stmt, &nest);
        }
        match stmt {
            Stmt::For { var, body } => {
                let body = body.iter().flat_map(|stmt| self.stmt(stmt, false)).collect();
                vec![Stmt::For { var: *var, body }]
            }
            Stmt::Reduce { var, body, parts } => {
                let cut = if let [Stmt::Reduce { .. }] = &body[..] {
                    self.sum(*var, &body[0], parts)
                } else {
                    None
                };
                vec![cut.unwrap_or_else(|| stmt.clone())]
            }
            other => vec![other.clone()],
        }
    }

    /// A sum of sums, of which so many are taken at once, if the inner ones run across the outer.
    fn sum(&mut self, turns: LoopVar, inner: &Stmt, parts: &[Part]) -> Option<Stmt> {
        let Stmt::Reduce { var: vector, body, parts: sums } = inner else { return None };
        let lanes = self.lanes;
        let are_sums_of = parts.iter().zip(sums).all(|(a, b)| a.value == b.dst && a.combine == b.combine);
        let are_same = parts.len() == sums.len() && are_sums_of;
        let leaves_none = self.extent(turns).is_multiple_of(lanes);
        if !are_same || !leaves_none || !self.is_body_across(body, turns, *vector) {
            return None;
        }
        let kernel = &mut self.crossed.kernel;
        let block = new_loop(kernel, kernel.extent(turns) / lanes);
        let start = Affine::var(block).scaled(lanes as i64);
        let (mut copies, mut terms) = (Vec::with_capacity(lanes * body.len()), Vec::with_capacity(lanes));
        for turn in 0..lanes {
            let copy = Copy::of(kernel, body, turns, &start.plus(&Affine::constant(turn as i64)));
            terms.push(sums.iter().map(|sum| copy.value(sum.value)).collect::<Vec<Var>>());
            copies.extend(copy.body);
        }
        let own: Vec<Part> =
            sums.iter().map(|sum| Part { dst: new_value(kernel, sum.value), ..sum.clone() }).collect();
        copies.extend(joined(kernel, &own, &terms));
        let sums = sums.iter().zip(&own).map(|(sum, own)| Part { value: own.dst, ..sum.clone() }).collect();
        self.crossed.loops.insert(*vector);
        let inner = Stmt::Reduce { var: *vector, body: copies, parts: sums };
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
        is_short && are_long && self.vectors.contains(&vector) && body.iter().any(is_across)
    }

    fn extent(&self, var: LoopVar) -> usize {
        self.crossed.kernel.extent(var)
    }

    fn is_across(&self, stmt: &Stmt, turns: LoopVar, vector: LoopVar) -> bool {
        let Stmt::Let { instr: Instr::Load(access), .. } = stmt else { return false };
        let dtype = self.program.buffers[access.buffer.index()].dtype;
        access.index.coefficient(turns) == 1
            && access.index.coefficient(vector) >= self.lanes as i64
            && is_lane(dtype)
    }

    /// The nest with so many turns of its outermost loop at once, and with the turns that are left.
    fn cut(&mut self, stmt: &Stmt, (vars, body): &(Vec<LoopVar>, &[Stmt])) -> Vec<Stmt> {
        let (turns, vector) = (vars[0], vars[vars.len() - 1]);
        let (extent, lanes) = (self.extent(turns), self.lanes);
        let kernel = &mut self.crossed.kernel;
        let block = new_loop(kernel, extent / lanes);
        let start = Affine::var(block).scaled(lanes as i64);
        let mut copies = Vec::with_capacity(lanes * body.len());
        for turn in 0..lanes {
            copies.extend(Copy::of(kernel, body, turns, &start.plus(&Affine::constant(turn as i64))).body);
        }
        let around = |body, var: &LoopVar| vec![Stmt::For { var: *var, body }];
        let between = vars[1..vars.len() - 1].iter().rev();
        let body = between.fold(self.in_whole_vectors(&copies, vector), around);
        let mut stmts = vec![Stmt::For { var: block, body }];
        if !extent.is_multiple_of(lanes) {
            stmts.push(self.rest(stmt, turns, extent / lanes * lanes));
        }
        stmts
    }

    /// A body for whole vectors, and for the lanes that are left.
    fn in_whole_vectors(&mut self, body: &[Stmt], vector: LoopVar) -> Vec<Stmt> {
        let extent = self.extent(vector);
        let whole = extent / self.lanes * self.lanes;
        let parts = [(0, whole), (whole, extent - whole)];
        let mut loops = Vec::new();
        for (start, length) in parts.into_iter().filter(|part| part.1 > 0) {
            let own = new_loop(&mut self.crossed.kernel, length);
            let place = Affine::var(own).plus(&Affine::constant(start as i64));
            let body = Copy::of(&mut self.crossed.kernel, body, vector, &place).body;
            loops.push(Stmt::For { var: own, body });
            self.vectors.insert(own);
            self.crossed.loops.insert(own);
        }
        loops
    }

    /// The nest for the turns from `start` on.
    fn rest(&mut self, stmt: &Stmt, turns: LoopVar, start: usize) -> Stmt {
        let kernel = &mut self.crossed.kernel;
        let own = new_loop(kernel, kernel.extent(turns) - start);
        let place = Affine::var(own).plus(&Affine::constant(start as i64));
        let mut stmt = stmt.clone();
        stmt.each_mut(&mut |stmt| {
            let by = |var| if var == turns { place.clone() } else { Affine::var(var) };
            stmt.map_affines(|index| index.replaced(by));
            match stmt {
                Stmt::For { var, .. } if *var == turns => *var = own,
                _ => {}
            }
        });
        stmt
    }
}
