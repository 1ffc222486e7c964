//! Which loops run on vectors: those whose accesses stand still or move by one element, with values of one
//! lane width.

use crate::loops::{Instr, Kernel, LoopVar, Stmt, Var};
use crate::types::DType;

/// The element type whose vectors a loop over `var` can run on, if it can.
pub(super) fn lanes(kernel: &Kernel, var: LoopVar, body: &[Stmt]) -> Option<DType> {
    let mut check = Check { kernel, var, varying: vec![false; kernel.dtypes.len()], dtype: None };
    check.body(body)?;
    check.dtype
}

struct Check<'k> {
    kernel: &'k Kernel,
    var: LoopVar,
    /// Values that differ from lane to lane.
    varying: Vec<bool>,
    dtype: Option<DType>,
}

impl Check<'_> {
    fn body(&mut self, body: &[Stmt]) -> Option<()> {
        body.iter().try_for_each(|stmt| match stmt {
            Stmt::For { .. } | Stmt::Contract(_) => None,
            Stmt::Let { dst, instr } => self.instr(*dst, instr),
            Stmt::Store { access, value } => {
                // A bool would have to be narrowed from its mask.
                (access.index.coefficient(self.var) == 1 && self.kernel.dtype(*value) != DType::Bool)
                    .then_some(())?;
                self.unify(self.kernel.dtype(*value))
            }
            Stmt::Reduce { body, parts, .. } => {
                self.body(body)?;
                for part in parts {
                    self.varying[part.dst.0 as usize] = self.varying[part.value.0 as usize];
                }
                Some(())
            }
        })
    }

    fn instr(&mut self, dst: Var, instr: &Instr) -> Option<()> {
        let moves = instr.affines().iter().any(|index| index.coefficient(self.var) != 0);
        let varies = moves || instr.operands().iter().any(|var| self.varying[var.0 as usize]);
        if !varies {
            return Some(());
        }
        self.varying[dst.0 as usize] = true;
        match instr {
            Instr::Load(access) if access.index.coefficient(self.var) == 1 => {
                self.unify(self.kernel.dtype(dst))
            }
            Instr::LoadRow { access, row, .. }
                if access.index.coefficient(self.var) == 1 && !self.varying[row.0 as usize] =>
            {
                self.unify(self.kernel.dtype(dst))
            }
            Instr::Load(_)
            | Instr::LoadRow { .. }
            | Instr::LoadWithin(..)
            | Instr::Within(_)
            | Instr::Index(_)
            | Instr::Cast(_) => None,
            // A mask; the operands' type was seen where they were made.
            _ if self.kernel.dtype(dst) == DType::Bool => Some(()),
            _ => self.unify(self.kernel.dtype(dst)),
        }
    }

    fn unify(&mut self, dtype: DType) -> Option<()> {
        (dtype.is_float() && self.dtype.is_none_or(|known| known == dtype)).then(|| self.dtype = Some(dtype))
    }
}
