//! Writes small loops out, as those over the places of a window are. What is left are long loops over straight lines,
//! which run on vectors, and several places share what they load.

use super::copy::{Copy, is_copyable, joined};
use super::cost::{UNROLLED, UNROLLED_STATEMENTS};
use super::loop_fusion::fuse_inside;
use crate::loops::{Affine, Instr, Kernel, LoopVar, Part, Program, Stmt, Var};

/// Writes out the small loops of every kernel; loops that come to stand side by side are fused.
pub(super) fn unroll(program: &mut Program) {
    program.each_kernel_mut(|kernel| {
        if !kernel.body.iter().any(|stmt| has_small(kernel, stmt)) || !is_copyable(&kernel.body) {
            return;
        }
        let body = std::mem::take(&mut kernel.body);
        let mut unroller = Unroller { kernel, depth: 0, unrolled: false };
        let body = unroller.body(body);
        let unrolled = unroller.unrolled;
        kernel.body = body;
        if unrolled {
            fuse_inside(kernel);
        }
    });
}

fn has_small(kernel: &Kernel, stmt: &Stmt) -> bool {
    let mut found = false;
    stmt.each(&mut |stmt| {
        if let Stmt::For { var, .. } | Stmt::Reduce { var, .. } = stmt {
            found |= is_small(kernel, *var);
        }
    });
    found
}

fn is_small(kernel: &Kernel, var: LoopVar) -> bool {
    (2..=UNROLLED).contains(&kernel.extent(var))
}

struct Unroller<'k> {
    kernel: &'k mut Kernel,
    /// Loops around.
    depth: usize,
    /// Whether any loop was written out.
    unrolled: bool,
}

impl Unroller<'_> {
    fn body(&mut self, body: Vec<Stmt>) -> Vec<Stmt> {
        body.into_iter().flat_map(|stmt| self.stmt(stmt)).collect()
    }

    fn inside(&mut self, body: Vec<Stmt>) -> Vec<Stmt> {
        self.depth += 1;
        let body = self.body(body);
        self.depth -= 1;
        body
    }

    fn stmt(&mut self, stmt: Stmt) -> Vec<Stmt> {
        match stmt {
            Stmt::For { var, body } => {
                let body = self.inside(body);
                self.unrolled_for(var, body)
            }
            Stmt::Reduce { var, body, parts } => {
                let body = self.inside(body);
                self.unrolled_reduce(var, body, parts)
            }
            Stmt::Recur { var, carry, initial, body, next } => {
                vec![Stmt::Recur { var, carry, initial, body: self.inside(body), next }]
            }
            simple => vec![simple],
        }
    }

    /// A small loop inside others written out. One around a long loop alone goes into that, if it shares loads there.
    fn unrolled_for(&mut self, var: LoopVar, body: Vec<Stmt>) -> Vec<Stmt> {
        if self.is_unrolled(var, &body) {
            return self.copies(var, &body).into_iter().flat_map(|copy| copy.body).collect();
        }
        if let [Stmt::For { var: long, body: inner }] = &body[..]
            && self.depth > 0
            && !is_small(self.kernel, *long)
            && self.fits(var, inner)
            && inner.iter().any(|stmt| is_shared_load(stmt, var))
        {
            let body = self.copies(var, inner).into_iter().flat_map(|copy| copy.body).collect();
            return vec![Stmt::For { var: *long, body }];
        }
        vec![Stmt::For { var, body }]
    }

    fn unrolled_reduce(&mut self, var: LoopVar, body: Vec<Stmt>, parts: Vec<Part>) -> Vec<Stmt> {
        if !self.is_unrolled(var, &body) {
            return vec![Stmt::Reduce { var, body, parts }];
        }
        let (mut done, mut terms) = (Vec::new(), Vec::new());
        for copy in self.copies(var, &body) {
            terms.push(parts.iter().map(|part| copy.value(part.value)).collect::<Vec<Var>>());
            done.extend(copy.body);
        }
        done.extend(joined(self.kernel, &parts, &terms));
        done
    }

    fn is_unrolled(&self, var: LoopVar, body: &[Stmt]) -> bool {
        self.depth > 0 && self.fits(var, body)
    }

    /// Whether a body, for every value of the variable, is short and straight.
    fn fits(&self, var: LoopVar, body: &[Stmt]) -> bool {
        is_small(self.kernel, var)
            && !body.iter().any(|stmt| stmt.is_loop() || matches!(stmt, Stmt::Accumulate { .. }))
            && body.len() * self.kernel.extent(var) <= UNROLLED_STATEMENTS
    }

    /// The body for each value of the variable.
    fn copies(&mut self, var: LoopVar, body: &[Stmt]) -> Vec<Copy> {
        self.unrolled = true;
        let extent = self.kernel.extent(var) as i64;
        (0..extent).map(|at| Copy::of(self.kernel, body, var, &Affine::constant(at))).collect()
    }
}

/// Whether the statement loads the same element whatever the variable is.
fn is_shared_load(stmt: &Stmt, var: LoopVar) -> bool {
    match stmt {
        Stmt::Let { instr: Instr::Load(access), .. } => access.index.coefficient(var) == 0,
        _ => false,
    }
}
