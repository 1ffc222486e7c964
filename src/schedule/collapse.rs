//! Merges perfectly nested loops that walk memory as one: fewer loops, longer rows for vectors.

use crate::loops::{Affine, LoopVar, Part, Program, Stmt};

/// Merges every pair of mergeable nested loops.
pub(super) fn collapse(program: &mut Program) {
    program.each_kernel_mut(|kernel| {
        let body = std::mem::take(&mut kernel.body);
        kernel.body = collapse_body(&mut kernel.extents, body);
    });
}

fn collapse_body(extents: &mut [usize], body: Vec<Stmt>) -> Vec<Stmt> {
    body.into_iter().map(|stmt| collapse_stmt(extents, stmt)).collect()
}

fn collapse_stmt(extents: &mut [usize], stmt: Stmt) -> Stmt {
    match stmt {
        Stmt::For { var, body } => {
            let mut body = collapse_body(extents, body);
            if let [Stmt::For { var: inner, body: innermost }] = &mut body[..]
                && walks_as_one(innermost, var, *inner, extents)
            {
                extents[inner.index()] *= extents[var.index()];
                let body = drop_var(std::mem::take(innermost), var);
                return Stmt::For { var: *inner, body };
            }
            Stmt::For { var, body }
        }
        Stmt::Reduce { var, body, parts } => {
            let mut body = collapse_body(extents, body);
            if let [Stmt::Reduce { var: inner, body: innermost, parts: inner_parts }] = &mut body[..]
                && let Some(parts) = as_one(&parts, inner_parts)
                && walks_as_one(innermost, var, *inner, extents)
            {
                extents[inner.index()] *= extents[var.index()];
                let body = drop_var(std::mem::take(innermost), var);
                return Stmt::Reduce { var: *inner, body, parts };
            }
            Stmt::Reduce { var, body, parts }
        }
        Stmt::Recur { var, carry, initial, body, next } => {
            Stmt::Recur { var, carry, initial, body: collapse_body(extents, body), next }
        }
        simple => simple,
    }
}

/// Sums of sums as single ones, if all are sums of the same kind and of nothing else.
fn as_one(outer: &[Part], inner: &[Part]) -> Option<Vec<Part>> {
    let merged = |outer: &Part| {
        let inner = inner.iter().find(|inner| inner.dst == outer.value && inner.combine == outer.combine)?;
        Some(Part { dst: outer.dst, ..inner.clone() })
    };
    (outer.len() == inner.len()).then(|| outer.iter().map(merged).collect())?
}

/// Whether one step of `outer` moves every access as far as all steps of `inner`.
fn walks_as_one(body: &[Stmt], outer: LoopVar, inner: LoopVar, extents: &[usize]) -> bool {
    let fits =
        |index: &Affine| index.coefficient(outer) == index.coefficient(inner) * extents[inner.index()] as i64;
    body.iter().all(|stmt| match stmt {
        Stmt::Let { instr, .. } => instr.affines().into_iter().all(fits),
        Stmt::Store { access, .. } | Stmt::StoreRow { access, .. } => fits(&access.index),
        Stmt::For { body, .. } | Stmt::Reduce { body, .. } | Stmt::Recur { body, .. } => {
            walks_as_one(body, outer, inner, extents)
        }
        Stmt::Contract(_) | Stmt::Sort { .. } => false,
    })
}

/// The body without the terms of a variable that another now covers.
fn drop_var(mut body: Vec<Stmt>, var: LoopVar) -> Vec<Stmt> {
    let without = |stmt: &mut Stmt| stmt.map_affines(|index| index.without(var));
    body.iter_mut().for_each(|stmt| stmt.each_mut(&mut { without }));
    body
}
