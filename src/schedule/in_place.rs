//! Updates in place: `out = out ± scale · term`, element by element, with a scale that is computed before all loops.

use crate::loops::copy::new_value;
use crate::loops::{Access, Binary, Instr, Kernel, Stmt, Unary, Var};

/// What is added to the elements that are there.
pub(super) struct InPlace {
    pub out: Access,
    scale: Var,
    subtracts: bool,
}

impl InPlace {
    /// The update that is all of a loop's body but for the statement that makes the term.
    pub fn of(body: &[Stmt], term: Var) -> Option<InPlace> {
        let Stmt::Store { access: out, value } = body.last()? else { return None };
        let find = |var: &Var| {
            body.iter().find_map(|stmt| match stmt {
                Stmt::Let { dst, instr } if dst == var => Some(instr),
                _ => None,
            })
        };
        let Instr::Binary(f @ (Binary::Add | Binary::Sub), old, product) = find(value)? else { return None };
        let is_old = matches!(find(old), Some(Instr::Load(from)) if from == out);
        let scale = match *find(product)? {
            Instr::Binary(Binary::Mul, a, b) if b == term => a,
            Instr::Binary(Binary::Mul, a, b) if a == term => b,
            _ => return None,
        };
        let is_all = is_old && body.len() == 5 && find(&scale).is_none();
        is_all.then(|| InPlace { out: out.clone(), scale, subtracts: *f == Binary::Sub })
    }

    /// What terms are multiplied with before they are added, given what the scale is called: it is negated if they are
    /// subtracted.
    pub fn factor(&self, named: impl Fn(Var) -> Var, kernel: &mut Kernel, before: &mut Vec<Stmt>) -> Var {
        let scale = named(self.scale);
        if !self.subtracts {
            return scale;
        }
        let dst = new_value(kernel, scale);
        before.push(Stmt::Let { dst, instr: Instr::Unary(Unary::Neg, scale) });
        dst
    }
}
