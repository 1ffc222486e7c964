//! Reductions in parts, whose results are put together: for passes that cut them.

use super::copy::{new_loop, new_value};
use super::{Access, Affine, Instr, Kernel, Part, Stmt, Var};

/// The same reductions with results of their own.
pub(crate) fn fresh(kernel: &mut Kernel, parts: &[Part]) -> Vec<Part> {
    parts.iter().map(|part| Part { dst: new_value(kernel, part.dst), ..part.clone() }).collect()
}

/// A loop over partial results, so many of each reduction, which lie where `at` says: the reduction's number, and theirs.
pub(crate) fn gathered(
    kernel: &mut Kernel,
    mut parts: Vec<Part>,
    count: usize,
    at: impl Fn(usize, Affine) -> Access,
) -> Stmt {
    let var = new_loop(kernel, count);
    let mut body = Vec::with_capacity(parts.len());
    for (number, part) in parts.iter_mut().enumerate() {
        part.value = new_value(kernel, part.dst);
        body.push(Stmt::Let { dst: part.value, instr: Instr::Load(at(number, Affine::var(var))) });
    }
    Stmt::Reduce { var, body, parts }
}

/// Reductions in two loops: the rest of the terms, and all others.
pub(crate) fn with_rest(
    kernel: &mut Kernel,
    parts: &[Part],
    others: impl FnOnce(&mut Kernel, Vec<Part>) -> Stmt,
    rest: impl FnOnce(&mut Kernel, Vec<Part>) -> Stmt,
) -> Vec<Stmt> {
    let (all, own) = (fresh(kernel, parts), fresh(kernel, parts));
    let results = [&all, &own].map(|parts| parts.iter().map(|part| part.dst).collect());
    let mut stmts = vec![rest(kernel, own), others(kernel, all)];
    stmts.extend(joined(kernel, parts, &results));
    stmts
}

/// Puts the results of several reductions together, part by part.
pub(crate) fn joined(kernel: &mut Kernel, parts: &[Part], sums: &[Vec<Var>]) -> Vec<Stmt> {
    let mut stmts = Vec::new();
    for (number, part) in parts.iter().enumerate() {
        let mut sum = sums[0][number];
        for (at, terms) in sums.iter().enumerate().skip(1) {
            let dst = if at + 1 == sums.len() { part.dst } else { new_value(kernel, part.dst) };
            let instr = Instr::Binary(part.combine.join(), sum, terms[number]);
            stmts.push(Stmt::Let { dst, instr });
            sum = dst;
        }
    }
    stmts
}
