//! Writes small loops out, as those over the places of a window or over a few columns are. What is left are long loops over
//! straight lines, which run on vectors, and several places share what they load.

use super::cost::{UNROLLED, UNROLLED_STATEMENTS};
use super::loop_fusion::fuse_inside;
use crate::loops::copy::{Copy, is_copyable};
use crate::loops::partial::joined;
use crate::loops::{Affine, Instr, Kernel, LoopVar, Program, Stmt, Var};

/// Writes out the small loops of every kernel; loops that come to stand side by side are fused. Returns whether there
/// were some.
pub(super) fn unroll(program: &mut Program) -> bool {
    let mut is_any = false;
    program.each_kernel_mut(|kernel| {
        if !kernel.body.iter().any(|stmt| has_small(kernel, stmt)) || !is_copyable(&kernel.body) {
            return;
        }
        let body = std::mem::take(&mut kernel.body);
        let mut unroller = Unroller { kernel, unrolled: false };
        let body = body.into_iter().map(|stmt| unroller.stmt(stmt)).collect();
        let unrolled = unroller.unrolled;
        kernel.body = body;
        is_any |= unrolled;
        if unrolled {
            fuse_inside(kernel);
        }
    });
    is_any
}

fn has_small(kernel: &Kernel, stmt: &Stmt) -> bool {
    stmt.any(&|stmt| stmt.loop_var().is_some_and(|var| is_small(kernel, var)))
}

fn is_small(kernel: &Kernel, var: LoopVar) -> bool {
    (2..=UNROLLED).contains(&kernel.extent(var))
}

struct Unroller<'k> {
    kernel: &'k mut Kernel,
    /// Whether any loop was written out.
    unrolled: bool,
}

impl Unroller<'_> {
    /// The statement with what is inside loops written out.
    fn stmt(&mut self, stmt: Stmt) -> Stmt {
        match stmt {
            Stmt::For { var, body } => {
                let body = self.inside(body);
                self.exchanged(var, body)
            }
            Stmt::Reduce { var, body, parts } => Stmt::Reduce { var, body: self.inside(body), parts },
            Stmt::Recur { var, carry, initial, body, next } => {
                Stmt::Recur { var, carry, initial, body: self.inside(body), next }
            }
            simple => simple,
        }
    }

    /// A loop's body: small reductions are written out; small loops if no others are beside them, so that the loop around
    /// becomes the innermost.
    fn inside(&mut self, body: Vec<Stmt>) -> Vec<Stmt> {
        let body: Vec<Stmt> = body.into_iter().map(|stmt| self.stmt(stmt)).collect();
        let body: Vec<Stmt> = body.into_iter().flat_map(|stmt| self.unrolled_reduce(stmt)).collect();
        let fits = |stmt: &Stmt| match stmt {
            Stmt::For { var, body } => self.fits_with_sums(*var, body),
            stmt => !stmt.is_loop(),
        };
        if !body.iter().all(fits) {
            return body;
        }
        body.into_iter().flat_map(|stmt| self.unrolled_for(stmt)).collect()
    }

    fn unrolled_for(&mut self, stmt: Stmt) -> Vec<Stmt> {
        match stmt {
            Stmt::For { var, body } => {
                self.copies(var, &body).into_iter().flat_map(|copy| copy.body).collect()
            }
            simple => vec![simple],
        }
    }

    fn unrolled_reduce(&mut self, stmt: Stmt) -> Vec<Stmt> {
        let (var, body, parts) = match stmt {
            Stmt::Reduce { var, body, parts } if self.fits(var, &body) => (var, body, parts),
            other => return vec![other],
        };
        let (mut done, mut terms) = (Vec::new(), Vec::new());
        for copy in self.copies(var, &body) {
            terms.push(parts.iter().map(|part| copy.value(part.value)).collect::<Vec<Var>>());
            done.extend(copy.body);
        }
        done.extend(joined(self.kernel, &parts, &terms));
        done
    }

    /// A small loop around a long one alone goes into that, written out, if it shares loads there.
    fn exchanged(&mut self, var: LoopVar, body: Vec<Stmt>) -> Stmt {
        if let [Stmt::For { var: long, body: inner }] = &body[..]
            && !is_small(self.kernel, *long)
            && self.fits(var, inner)
            && inner.iter().any(|stmt| is_shared_load(stmt, var))
        {
            let body = self.copies(var, inner).into_iter().flat_map(|copy| copy.body).collect();
            return Stmt::For { var: *long, body };
        }
        Stmt::For { var, body }
    }

    /// Whether a body, for every value of the variable, is short and straight.
    fn fits(&self, var: LoopVar, body: &[Stmt]) -> bool {
        body.iter().all(is_straight) && self.fits_with_sums(var, body)
    }

    /// Whether it is short, and straight but for sums that share what they read.
    fn fits_with_sums(&self, var: LoopVar, body: &[Stmt]) -> bool {
        let is_good = |stmt: &Stmt| match stmt {
            Stmt::Reduce { body, .. } => {
                body.iter().all(is_straight) && body.iter().any(|stmt| is_shared_load(stmt, var))
            }
            stmt => is_straight(stmt),
        };
        let statements: usize = body.iter().map(Stmt::statements).sum();
        is_small(self.kernel, var)
            && body.iter().all(is_good)
            && statements * self.kernel.extent(var) <= UNROLLED_STATEMENTS
    }

    /// The body for each value of the variable.
    fn copies(&mut self, var: LoopVar, body: &[Stmt]) -> Vec<Copy> {
        self.unrolled = true;
        let extent = self.kernel.extent(var) as i64;
        (0..extent).map(|at| Copy::of(self.kernel, body, var, &Affine::constant(at))).collect()
    }
}

fn is_straight(stmt: &Stmt) -> bool {
    !stmt.is_loop() && !stmt.is_in_order()
}

/// Whether the statement loads the same element whatever the variable is.
fn is_shared_load(stmt: &Stmt, var: LoopVar) -> bool {
    match stmt {
        Stmt::Let { instr: Instr::Load(access) | Instr::LoadWithin(access, _), .. } => {
            access.index.coefficient(var) == 0
        }
        _ => false,
    }
}
