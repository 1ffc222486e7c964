//! Recognises contractions among loops: kernels that sum products of two loads become one statement, which a library
//! kernel computes in tiles.

use super::cost::CONTRACTION;
use super::in_place::InPlace;
use crate::loops::{
    Access, Binary, Combine, Contraction, Instr, Kernel, LoopVar, Part, Program, Stmt, Var, nested,
    perfect_nest,
};
use crate::types::DType;

/// Puts a contraction in the place of every kernel that is one.
pub(super) fn contract(program: &mut Program) {
    program.each_kernel_mut(|kernel| {
        if let Some(contracted) = recognised(kernel) {
            *kernel = contracted;
        }
    });
}

/// The kernel with its loops as a contraction, if they are one.
fn recognised(kernel: &Kernel) -> Option<Kernel> {
    let (prologue, nest) = kernel.body.split_at(kernel.body.len().checked_sub(1)?);
    let (loops, innermost) = perfect_nest(&nest[0]);
    let sum = Sum::of(innermost)?;
    let dtype = kernel.dtype(sum.value);
    if !dtype.is_float() {
        return None;
    }
    let mut kernel = kernel.clone();
    let mut body = prologue.to_vec();
    let ending = Ending::of(innermost, &sum, &mut kernel, &mut body)?;
    let roles = Roles::assign(&loops, &sum)?;
    let contraction = roles.contraction(sum, ending, dtype);
    let count = |vars: &[LoopVar]| vars.iter().map(|&var| kernel.extent(var)).product::<usize>();
    let is_matrix = count(&contraction.rows) > 1 && count(&contraction.columns) > 1;
    if !is_matrix || contraction.work(&kernel) < CONTRACTION {
        return None;
    }
    body.extend(nested(&roles.batch, vec![Stmt::Contract(contraction)]));
    Some(Kernel { body, ..kernel })
}

/// A sum of products of two loads.
struct Sum {
    depth: Vec<LoopVar>,
    lhs: Access,
    rhs: Access,
    value: Var,
}

impl Sum {
    /// The sum in a loop's body.
    fn of(body: &[Stmt]) -> Option<Sum> {
        let mut depth = Vec::new();
        let mut stmt = body.iter().find(|stmt| matches!(stmt, Stmt::Reduce { .. }))?;
        let Stmt::Reduce { parts: outermost, .. } = stmt else { return None };
        let [Part { dst: value, .. }] = outermost[..] else { return None };
        let mut expected = value;
        loop {
            let Stmt::Reduce { var, body, parts } = stmt else { return None };
            let [Part { dst, combine: Combine::Sum, value: inner }] = parts[..] else { return None };
            if dst != expected {
                return None;
            }
            depth.push(*var);
            if let [next @ Stmt::Reduce { .. }] = &body[..] {
                (stmt, expected) = (next, inner);
                continue;
            }
            let (lhs, rhs) = product(body, inner)?;
            return Some(Sum { depth, lhs, rhs, value });
        }
    }
}

/// The two loads whose product is `value`.
fn product(body: &[Stmt], value: Var) -> Option<(Access, Access)> {
    let [Stmt::Let { dst: a, instr: Instr::Load(first) }, rest @ ..] = body else { return None };
    let (b, second, last) = match rest {
        [Stmt::Let { dst: b, instr: Instr::Load(second) }, last] => (b, second, last),
        [last] => (a, first, last), // a square
        _ => return None,
    };
    let Stmt::Let { dst, instr: Instr::Binary(Binary::Mul, x, y) } = last else { return None };
    let is_theirs = (x, y) == (a, b) || (x, y) == (b, a);
    (*dst == value && is_theirs).then(|| (first.clone(), second.clone()))
}

/// What becomes of the sum.
struct Ending {
    out: Access,
    /// Added to what is there, times this.
    scale: Option<Var>,
}

impl Ending {
    /// `store out = sum`, or `store out = (load out) ± scale · sum` with a scale that is computed before all loops.
    fn of(body: &[Stmt], sum: &Sum, kernel: &mut Kernel, prologue: &mut Vec<Stmt>) -> Option<Ending> {
        let Stmt::Store { access: out, value } = body.last()? else { return None };
        if body.len() == 2 && *value == sum.value {
            return Some(Ending { out: out.clone(), scale: None });
        }
        let update = InPlace::of(body, sum.value)?;
        let scale = update.factor(|var| var, kernel, prologue);
        Some(Ending { out: update.out, scale: Some(scale) })
    }
}

/// Which loop runs over what.
struct Roles {
    batch: Vec<LoopVar>,
    rows: Vec<LoopVar>,
    columns: Vec<LoopVar>,
}

impl Roles {
    /// Loops of the left operand alone are rows, those of the right one alone are columns.
    fn assign(loops: &[LoopVar], sum: &Sum) -> Option<Roles> {
        let mut roles = Roles { batch: vec![], rows: vec![], columns: vec![] };
        let moves = |access: &Access, var: LoopVar| access.index.coefficient(var) != 0;
        for &var in loops {
            match (moves(&sum.lhs, var), moves(&sum.rhs, var)) {
                (true, true) => roles.batch.push(var),
                (true, false) => roles.rows.push(var),
                (false, true) => roles.columns.push(var),
                (false, false) => return None,
            }
        }
        if sum.depth.iter().any(|&var| !moves(&sum.lhs, var) || !moves(&sum.rhs, var)) {
            return None;
        }
        Some(roles)
    }

    fn contraction(&self, sum: Sum, ending: Ending, dtype: DType) -> Contraction {
        let Sum { depth, lhs, rhs, .. } = sum;
        let outermost_first = |vars: &[LoopVar], access: &Access| {
            let mut vars = vars.to_vec();
            vars.sort_by_key(|&var| std::cmp::Reverse(access.index.coefficient(var).abs()));
            vars
        };
        let mut contraction = Contraction {
            rows: outermost_first(&self.rows, &ending.out),
            columns: outermost_first(&self.columns, &ending.out),
            depth: vec![],
            lhs,
            rhs,
            out: ending.out,
            dtype,
            scale: ending.scale,
        };
        contraction.arrange();
        contraction.depth = outermost_first(&depth, &contraction.rhs);
        contraction
    }
}
