//! Loops whose later sums need earlier ones, as a deviation needs a mean, in stages: kernels of their own, each of which can
//! be cut by rows.

use std::collections::BTreeSet;

use crate::loops::copy::new_buffer;
use crate::loops::{Access, Affine, Buffer, Instr, Kernel, Stmt, Var, around_loop, reads_and_writes, used};

/// Where the first sum is that depends on another, or on what is stored.
pub(super) fn first_dependent(body: &[Stmt]) -> Option<usize> {
    let written = reads_and_writes(body).1;
    let mut late: BTreeSet<Var> = BTreeSet::new();
    body.iter().position(|stmt| {
        let depends = matches!(stmt, Stmt::Reduce { body, .. }
            if !used(body).is_disjoint(&late) || !reads_and_writes(body).0.is_disjoint(&written));
        if !stmt.is_let() || stmt.uses().iter().any(|var| late.contains(var)) {
            late.extend(stmt.makes());
        }
        depends
    })
}

/// The kernel up to the first sum that depends on another, and from there on. What the second stage needs of the first lies
/// in memory.
pub(super) fn in_stages(kernel: &Kernel, buffers: &mut Vec<Buffer>) -> Option<[Kernel; 2]> {
    let (before, Stmt::For { var, body }, []) = around_loop(&kernel.body)? else { return None };
    let (early, late) = body.split_at(first_dependent(body)?);
    if !early.iter().any(Stmt::is_loop) || !kernel.is_independent(before, *var, body) {
        return None;
    }
    let needed = used(late);
    let stays = |at: usize, access: &Access| !reads_and_writes(&body[at + 1..]).1.contains(&access.buffer);
    let (mut first, mut second) = (early.to_vec(), Vec::new());
    for value in early.iter().flat_map(Stmt::makes).filter(|value| needed.contains(value)) {
        let known = early.iter().enumerate().find_map(|(at, stmt)| match stmt {
            Stmt::Store { access, value: stored } if *stored == value && stays(at, access) => {
                Some(access.clone())
            }
            _ => None,
        });
        let access = known.unwrap_or_else(|| {
            let buffer = new_buffer(buffers, "of the first stage", kernel.dtype(value), kernel.extent(*var));
            let access = Access { buffer, index: Affine::var(*var) };
            first.push(Stmt::Store { access: access.clone(), value });
            access
        });
        second.push(Stmt::Let { dst: value, instr: Instr::Load(access) });
    }
    second.extend_from_slice(late);
    let stage = |name, body| {
        let mut stage = Kernel { name, ..kernel.clone() };
        stage.body = before.to_vec();
        stage.body.push(Stmt::For { var: *var, body });
        stage
    };
    Some([stage(format!("{}: first stage", kernel.name), first), stage(kernel.name.clone(), second)])
}
