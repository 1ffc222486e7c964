//! Statements with other numbers: for passes that put kernels together, cut loops in pieces, or write them out.

use rustc_hash::FxHashMap;

use super::{Affine, Buffer, BufferId, Contraction, Kernel, LoopVar, Place, Stmt, Var};
use crate::types::DType;

/// Replaces every scalar value and loop variable.
pub(crate) fn renumber(stmt: &mut Stmt, value: &impl Fn(Var) -> Var, variable: &impl Fn(LoopVar) -> LoopVar) {
    rewrite(stmt, value, variable, &|index| index.replaced(|var| Affine::var(variable(var))));
}

/// Replaces every scalar value, every variable of a loop inside, and every index.
fn rewrite(
    stmt: &mut Stmt,
    value: &impl Fn(Var) -> Var,
    variable: &impl Fn(LoopVar) -> LoopVar,
    index: &impl Fn(&Affine) -> Affine,
) {
    stmt.each_mut(&mut |stmt| {
        stmt.map_affines(index);
        renamed(stmt, value, variable);
    });
}

/// Replaces the scalar values and the loop variables of a statement itself.
fn renamed(stmt: &mut Stmt, value: &impl Fn(Var) -> Var, variable: &impl Fn(LoopVar) -> LoopVar) {
    match stmt {
        Stmt::Let { dst, instr } => {
            *dst = value(*dst);
            *instr = instr.clone().map_operands(value);
        }
        Stmt::Store { value: stored, .. } => *stored = value(*stored),
        Stmt::StoreRow { row, value: added, .. } => (*row, *added) = (value(*row), value(*added)),
        Stmt::For { var, .. } => *var = variable(*var),
        Stmt::Recur { var, carry, next, .. } => {
            *var = variable(*var);
            (*carry, *next) = (value(*carry), value(*next));
        }
        Stmt::Reduce { var, parts, .. } => {
            *var = variable(*var);
            for part in parts {
                (part.dst, part.value) = (value(part.dst), value(part.value));
            }
        }
        Stmt::Contract(Contraction { rows, columns, depth, scale, .. }) => {
            [rows, columns, depth].into_iter().flatten().for_each(|var| *var = variable(*var));
            *scale = scale.map(value);
        }
        Stmt::Sort { .. } => {}
    }
}

/// Whether statements can be copied: there is no library call among them.
pub(crate) fn is_copyable(body: &[Stmt]) -> bool {
    let is_call = |stmt: &Stmt| matches!(stmt, Stmt::Contract(_) | Stmt::Sort { .. });
    !body.iter().any(|stmt| stmt.any(&is_call))
}

/// Statements with another value of a variable that no loop of theirs counts.
pub(crate) fn moved(body: &[Stmt], var: LoopVar, at: &Affine) -> Vec<Stmt> {
    let by = |other| if other == var { at.clone() } else { Affine::var(other) };
    let mut body = body.to_vec();
    for stmt in &mut body {
        stmt.each_mut(&mut |stmt| stmt.map_affines(|index| index.replaced(by)));
    }
    body
}

/// The turns of a loop from `start` on: the variable of a loop of their own, and its body.
pub(crate) fn rest_of(
    kernel: &mut Kernel,
    var: LoopVar,
    body: &[Stmt],
    start: usize,
) -> (LoopVar, Vec<Stmt>) {
    let own = new_loop(kernel, kernel.extent(var) - start);
    (own, moved(body, var, &Affine::var(own).plus(&Affine::constant(start as i64))))
}

/// A copy of a loop's body.
pub(crate) struct Copy {
    pub body: Vec<Stmt>,
    /// The values of the body that the copy has its own of.
    values: FxHashMap<Var, Var>,
}

impl Copy {
    /// The body with the loop's variable at `at`. Values and loops inside are new ones of the kernel.
    pub fn of(kernel: &mut Kernel, body: &[Stmt], var: LoopVar, at: &Affine) -> Copy {
        Copy::placed(kernel, body, |other| (other == var).then(|| at.clone()))
    }

    /// The same statements once more, in the loops that they are in.
    pub fn again(kernel: &mut Kernel, body: &[Stmt]) -> Copy {
        Copy::placed(kernel, body, |_| None)
    }

    /// The body with some variables of loops around it elsewhere.
    fn placed(kernel: &mut Kernel, body: &[Stmt], at: impl Fn(LoopVar) -> Option<Affine>) -> Copy {
        let (mut values, mut loops) = (FxHashMap::default(), FxHashMap::default());
        let mut made = |stmt: &Stmt| {
            let carry = if let Stmt::Recur { carry, .. } = stmt { Some(*carry) } else { None };
            for old in stmt.makes().into_iter().chain(carry) {
                values.insert(old, new_value(kernel, old));
            }
            if let Stmt::For { var, .. } | Stmt::Reduce { var, .. } | Stmt::Recur { var, .. } = stmt {
                loops.insert(*var, new_loop(kernel, kernel.extent(*var)));
            }
        };
        body.iter().for_each(|stmt| stmt.each(&mut made));
        let variable = |var: LoopVar| loops.get(&var).copied().unwrap_or(var);
        let place =
            |index: &Affine| index.replaced(|var| at(var).unwrap_or_else(|| Affine::var(variable(var))));
        let value = |var: Var| values.get(&var).copied().unwrap_or(var);
        let mut body = body.to_vec();
        body.iter_mut().for_each(|stmt| rewrite(stmt, &value, &variable, &place));
        Copy { body, values }
    }

    /// The copy's value for one of the body.
    pub fn value(&self, var: Var) -> Var {
        self.values.get(&var).copied().unwrap_or(var)
    }
}

/// A value of the same type.
pub(crate) fn new_value(kernel: &mut Kernel, like: Var) -> Var {
    new_value_of(kernel, kernel.dtype(like))
}

/// A value of a type.
pub(crate) fn new_value_of(kernel: &mut Kernel, dtype: DType) -> Var {
    kernel.dtypes.push(dtype);
    Var(kernel.dtypes.len() as u32 - 1)
}

/// A loop variable, which counts behind all others: loops inside have larger numbers.
pub(crate) fn new_loop(kernel: &mut Kernel, extent: usize) -> LoopVar {
    kernel.extents.push(extent);
    LoopVar(kernel.extents.len() as u16 - 1)
}

/// Scratch memory.
pub(crate) fn new_buffer(buffers: &mut Vec<Buffer>, name: &str, dtype: DType, elements: usize) -> BufferId {
    buffers.push(Buffer {
        name: name.into(),
        dtype,
        elements,
        place: Place::Arena { offset: 0 },
        panels: None,
    });
    BufferId(buffers.len() as u32 - 1)
}
