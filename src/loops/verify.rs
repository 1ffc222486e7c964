//! The loop IR's own rules, checked before code is generated: the code generator's accesses are as
//! safe as these hold.

use super::{Access, Buffer, Contraction, Instr, Kernel, Place, Program, Sorting, Stmt, Task, Var};
use crate::error::{Error, Result};
use crate::types::DType;

impl Program {
    /// Checks that every value is computed before it is used, that every access stays inside its buffer, and that
    /// every kernel is run in as many turns as it knows of.
    ///
    /// # Errors
    /// [`Error::Internal`] naming the kernel and the statement.
    pub fn verify(&self) -> Result<()> {
        self.verify_turns(&self.tasks, &mut vec![])?;
        self.kernels().into_iter().try_for_each(|kernel| {
            let mut checker = Checker { program: self, kernel, defined: vec![false; kernel.dtypes.len()] };
            checker.body(&kernel.body)?;
            checker.parallel()
        })
    }

    fn verify_turns(&self, tasks: &[Task], turns: &mut Vec<usize>) -> Result<()> {
        for task in tasks {
            match task {
                Task::Run(kernel) => {
                    if kernel.repeats != turns.len() || kernel.extents[..kernel.repeats] != turns[..] {
                        let name = &kernel.name;
                        return Err(Error::Internal(format!(
                            "kernel {name} does not know the turns {turns:?}"
                        )));
                    }
                }
                Task::Repeat(repeat) => {
                    if repeat.is_parallel && !(turns.is_empty() && repeat.is_independent()) {
                        return Err(Error::Internal("turns may meet that are to run in parallel".into()));
                    }
                    turns.push(repeat.turns);
                    self.verify_turns(&repeat.tasks, turns)?;
                    turns.pop();
                }
            }
        }
        Ok(())
    }
}

struct Checker<'p> {
    program: &'p Program,
    kernel: &'p Kernel,
    defined: Vec<bool>,
}

impl Checker<'_> {
    fn body(&mut self, body: &[Stmt]) -> Result<()> {
        body.iter().try_for_each(|stmt| match stmt {
            Stmt::Let { dst, instr } => {
                instr.operands().into_iter().try_for_each(|var| self.used(var))?;
                match instr {
                    Instr::Load(access) => self.access(access, 0)?,
                    Instr::LoadRow { access, stride, bound, .. } => {
                        self.access(access, stride * (bound - 1))?;
                    }
                    Instr::LoadWithin(access, _) => drop(self.buffer(access)?),
                    _ => {}
                }
                self.define(*dst);
                Ok(())
            }
            Stmt::Store { access, value } => {
                self.used(*value)?;
                if let Place::Input { .. } = self.program.buffers[access.buffer.index()].place {
                    return Err(self.fault(format!("{access} is an input, and stored to")));
                }
                self.access(access, 0)
            }
            Stmt::StoreRow { access, row, stride, bound, value, .. } => {
                self.used(*row)?;
                self.used(*value)?;
                self.access(access, stride * (bound - 1))
            }
            Stmt::Sort { keys, positions, sorting } => self.sort(keys, positions, *sorting),
            Stmt::For { body, .. } => self.body(body),
            Stmt::Contract(contraction) => self.contraction(contraction),
            Stmt::Recur { carry, body, next, .. } => {
                self.define(*carry);
                self.body(body)?;
                self.used(*next)
            }
            Stmt::Reduce { body, parts, .. } => {
                self.body(body)?;
                parts.iter().try_for_each(|part| self.used(part.value))?;
                parts.iter().for_each(|part| self.define(part.dst));
                Ok(())
            }
        })
    }

    fn parallel(&self) -> Result<()> {
        match !self.kernel.is_parallel || self.kernel.may_be_parallel() {
            true => Ok(()),
            false => Err(self.fault("its iterations may meet, and it is to run in parallel".into())),
        }
    }

    fn sort(&self, keys: &Access, positions: &Access, Sorting { count, first, .. }: Sorting) -> Result<()> {
        if !(1..=count).contains(&first) || keys.buffer == positions.buffer {
            return Err(self.fault(format!("{first} positions of {count} from {keys} go to {positions}")));
        }
        if self.program.buffers[positions.buffer.index()].dtype != DType::I64 {
            return Err(self.fault(format!("{positions} is not of i64")));
        }
        self.access(keys, count as i64 - 1)?;
        self.access(positions, first as i64 - 1)
    }

    fn contraction(&self, contraction: &Contraction) -> Result<()> {
        let Contraction { lhs, rhs, out, scale, dtype, .. } = contraction;
        scale.map_or(Ok(()), |var| self.used(var))?;
        for access in [lhs, rhs, out] {
            if self.buffer(access)?.dtype != *dtype {
                return Err(self.fault(format!("{access} is not of {dtype}")));
            }
            self.access(access, 0)?;
        }
        Ok(())
    }

    fn define(&mut self, var: Var) {
        self.defined[var.0 as usize] = true;
    }

    fn used(&self, var: Var) -> Result<()> {
        let defined = self.defined[var.0 as usize];
        if defined { Ok(()) } else { Err(self.fault(format!("{var} is used before it is computed"))) }
    }

    fn buffer(&self, access: &Access) -> Result<&Buffer> {
        let buffer = self.program.buffers.get(access.buffer.index());
        buffer.ok_or_else(|| self.fault("reads a node that is not in memory".into()))
    }

    /// `beyond` is how far past its index the access may reach.
    fn access(&self, access: &Access, beyond: i64) -> Result<()> {
        let elements = self.buffer(access)?.elements as i64;
        if access.index.terms().iter().any(|term| self.kernel.extent(term.0) == 0) {
            return Ok(()); // A loop without iterations accesses nothing.
        }
        let (lowest, highest) = self.kernel.range_of(&access.index);
        let highest = highest + beyond;
        if lowest >= 0 && highest < elements {
            return Ok(());
        }
        Err(self.fault(format!("{access} reaches {lowest}..={highest} of {elements} elements")))
    }

    fn fault(&self, what: String) -> Error {
        Error::Internal(format!("kernel {}: {what}", self.kernel.name))
    }
}
