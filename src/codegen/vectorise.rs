//! Which loops run on vectors: those whose values that differ from lane to lane have one width. What has no vector
//! instruction is computed lane by lane, as long as that is the smaller part.

use crate::loops::{Affine, Binary, Compare, Instr, Kernel, LoopVar, Part, Stmt, Var};
use crate::types::DType;

/// How a loop runs on vectors.
pub(super) struct Plan {
    /// Bytes of a lane.
    pub width: usize,
    /// How each value of the kernel is held inside the loop.
    pub modes: Vec<Mode>,
}

/// How a value is held in a loop that runs on vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The same in every lane: a scalar.
    Fixed,
    /// In lanes, by vector instructions.
    Lanes,
    /// In lanes, computed one by one.
    OneByOne,
}

/// The plan for a loop over `var`, if it can run on vectors and it pays.
pub(super) fn plan(kernel: &Kernel, var: LoopVar, body: &[Stmt], parts: &[Part]) -> Option<Plan> {
    [4, 8].into_iter().find_map(|width| {
        let modes = vec![Mode::Fixed; kernel.dtypes.len()];
        let mut check = Check { kernel, var, width, modes, together: 0, one_by_one: 0, depth: 0 };
        check.body(body)?;
        for part in parts {
            check.modes[part.dst.0 as usize] = Mode::Lanes;
            check.fits(kernel.dtype(part.dst)).then_some(())?;
            check.together += 1;
        }
        (check.one_by_one < check.together).then_some(Plan { width, modes: check.modes })
    })
}

struct Check<'k> {
    kernel: &'k Kernel,
    var: LoopVar,
    width: usize,
    modes: Vec<Mode>,
    /// Instructions on vectors, and those that are several instructions on scalars.
    together: usize,
    one_by_one: usize,
    /// How many reductions are open.
    depth: usize,
}

impl Check<'_> {
    fn body(&mut self, body: &[Stmt]) -> Option<()> {
        body.iter().try_for_each(|stmt| match stmt {
            Stmt::For { .. } | Stmt::Contract(_) | Stmt::Sort { .. } => None,
            Stmt::Let { dst, instr } => self.instr(*dst, instr),
            Stmt::Store { access, value } => {
                self.fits(self.kernel.dtype(*value)).then_some(())?;
                match access.index.coefficient(self.var) {
                    0 => None,
                    1 => self.count(Mode::Lanes),
                    _ => self.count(Mode::OneByOne),
                }
            }
            // Lanes write elements of their own where they move along the row.
            Stmt::StoreRow { access, row, value, .. } => {
                let is_along = access.index.coefficient(self.var) == 1 && !self.varies(*row);
                (is_along && self.fits(self.kernel.dtype(*value))).then_some(())?;
                self.count(Mode::Lanes)
            }
            // A carry for each lane, though they may be equal.
            Stmt::Recur { carry, body, .. } => {
                self.modes[carry.0 as usize] = Mode::Lanes;
                self.fits(self.kernel.dtype(*carry)).then_some(())?;
                self.body(body)
            }
            Stmt::Reduce { body, parts, .. } => {
                self.depth += 1;
                self.body(body)?;
                self.depth -= 1;
                parts.iter().try_for_each(|part| {
                    let varies = self.varies(part.value);
                    self.modes[part.dst.0 as usize] = if varies { Mode::Lanes } else { Mode::Fixed };
                    (!varies || self.fits(self.kernel.dtype(part.dst))).then_some(())
                })
            }
        })
    }

    fn instr(&mut self, dst: Var, instr: &Instr) -> Option<()> {
        let moves = instr.affines().iter().any(|index| self.moves(index));
        let varies = moves || instr.operands().iter().any(|&var| self.varies(var));
        self.modes[dst.0 as usize] = Mode::Fixed;
        if !varies {
            return Some(());
        }
        // Indices are i64 whatever the lanes are, and may be converted.
        let operands_fit =
            instr.operands().iter().all(|&var| !self.varies(var) || self.fits(self.kernel.dtype(var)));
        (operands_fit || matches!(instr, Instr::Cast(_))).then_some(())?;
        (self.fits(self.kernel.dtype(dst)) || matches!(instr, Instr::Index(_))).then_some(())?;
        let mode = self.mode(dst, instr)?;
        self.modes[dst.0 as usize] = mode;
        self.count(mode)
    }

    /// How the instruction computes a value that differs from lane to lane, if it can.
    fn mode(&self, dst: Var, instr: &Instr) -> Option<Mode> {
        let along = |index: &Affine| index.coefficient(self.var) == 1;
        let together = match instr {
            Instr::Load(access) | Instr::LoadWithin(access, _) => along(&access.index),
            Instr::LoadRow { access, row, .. } => along(&access.index) && !self.varies(*row),
            Instr::Index(index) => {
                self.is_narrow(index).then_some(())?;
                true
            }
            Instr::Within(ranges) => ranges
                .iter()
                .all(|(index, bound)| self.width == 4 && self.is_narrow(index) && *bound <= i32::MAX.into()),
            Instr::Cast(a) => return self.cast(self.kernel.dtype(*a), self.kernel.dtype(dst)),
            Instr::Binary(Binary::Div | Binary::Rem, ..) => self.kernel.dtype(dst).is_float(),
            // By one amount for all lanes.
            Instr::Binary(f, _, bits) if f.is_shift() => !self.varies(*bits),
            Instr::Compare(f, a, _) => {
                self.kernel.dtype(*a) != DType::Bool || matches!(f, Compare::Eq | Compare::Ne)
            }
            Instr::Unary(..) | Instr::Binary(..) | Instr::Select(..) | Instr::Constant(_) => true,
        };
        Some(if together { Mode::Lanes } else { Mode::OneByOne })
    }

    /// The only values of another width are indices, which lanes of 32 bits hold as i32.
    fn cast(&self, from: DType, to: DType) -> Option<Mode> {
        match (from, to) {
            (DType::I64, DType::I32 | DType::F32 | DType::Bool) if self.width == 4 => Some(Mode::Lanes),
            (DType::F64, DType::I64) => Some(Mode::OneByOne),
            _ => self.fits(from).then_some(Mode::Lanes),
        }
    }

    fn count(&mut self, mode: Mode) -> Option<()> {
        match mode {
            // A reduction over elements that lie apart is better run along them.
            Mode::OneByOne if self.depth > 0 => return None,
            Mode::OneByOne => self.one_by_one += 1,
            Mode::Lanes | Mode::Fixed => self.together += 1,
        }
        Some(())
    }

    fn varies(&self, var: Var) -> bool {
        self.modes[var.0 as usize] != Mode::Fixed
    }

    fn moves(&self, index: &Affine) -> bool {
        index.coefficient(self.var) != 0
    }

    /// Whether lanes hold such values; bools are masks.
    fn fits(&self, dtype: DType) -> bool {
        dtype == DType::Bool || dtype.size() == self.width
    }

    /// Whether all values of the expression are numbers of a lane's width.
    fn is_narrow(&self, index: &Affine) -> bool {
        let (lowest, highest) = self.kernel.range_of(index);
        self.width == 8 || lowest >= i32::MIN.into() && highest <= i32::MAX.into()
    }
}
