//! The text of kernels and programs: stable, one statement a line.

use std::fmt::{self, Display, Formatter};

use super::{Access, Affine, BufferId, Instr, Kernel, Part, Place, Program, Sorting, Stmt, Task, Var};

impl Display for Var {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

impl Display for BufferId {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "b{}", self.0)
    }
}

impl Display for Access {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.buffer, self.index)
    }
}

impl Display for Place {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Place::State { offset } => write!(f, "state+{offset}"),
            Place::Input { index } => write!(f, "input {index}"),
            Place::Output { offset } => write!(f, "output+{offset}"),
            Place::Arena { offset } => write!(f, "arena+{offset}"),
        }
    }
}

impl Display for Instr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Instr::Constant(scalar) => write!(f, "{scalar}"),
            Instr::Load(access) => write!(f, "load {access}"),
            Instr::LoadWithin(access, ranges) => write!(f, "load {access} where {}", conditions(ranges)),
            Instr::LoadRow { access, row, stride, bound } => {
                write!(f, "load {access} + {stride}·{row} (below {bound})")
            }
            Instr::Within(ranges) => write!(f, "{}", conditions(ranges)),
            Instr::Unary(op, a) => write!(f, "{op} {a}"),
            Instr::Binary(op, a, b) => write!(f, "{op} {a}, {b}"),
            Instr::Compare(op, a, b) => write!(f, "{op} {a}, {b}"),
            Instr::Select(c, a, b) => write!(f, "select {c}, {a}, {b}"),
            Instr::Cast(a) => write!(f, "cast {a}"),
            Instr::Index(index) => write!(f, "index {index}"),
        }
    }
}

fn conditions(ranges: &[(Affine, i64)]) -> String {
    let conditions: Vec<String> =
        ranges.iter().map(|(index, bound)| format!("0 ≤ {index} < {bound}")).collect();
    conditions.join(", ")
}

impl Display for Kernel {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}kernel {} {{", if self.is_parallel { "parallel " } else { "" }, self.name)?;
        self.fmt_body(&self.body, 1, f)?;
        writeln!(f, "}}")
    }
}

impl Kernel {
    fn fmt_body(&self, body: &[Stmt], depth: usize, f: &mut Formatter<'_>) -> fmt::Result {
        let indent = "  ".repeat(depth);
        for stmt in body {
            match stmt {
                Stmt::Let { dst, instr } => writeln!(f, "{indent}{dst}: {} = {instr}", self.dtype(*dst))?,
                Stmt::Store { access, value } => writeln!(f, "{indent}store {access} = {value}")?,
                Stmt::Contract(contraction) => writeln!(f, "{indent}contract {contraction}")?,
                Stmt::StoreRow { access, row, stride, bound, value, adds } => {
                    let (name, sign) = if *adds { ("add", "+=") } else { ("store", "=") };
                    writeln!(f, "{indent}{name} {access} + {stride}·{row} (below {bound}) {sign} {value}")?;
                }
                Stmt::Sort { keys, positions, sorting: Sorting { count, first, order } } => {
                    let first = if first == count { String::new() } else { format!("first {first} ") };
                    writeln!(
                        f,
                        "{indent}sort {positions} = {first}{order} positions of {count} from {keys}"
                    )?;
                }
                Stmt::For { var, body } => {
                    writeln!(f, "{indent}for i{} in 0..{} {{", var.0, self.extent(*var))?;
                    self.fmt_body(body, depth + 1, f)?;
                    writeln!(f, "{indent}}}")?;
                }
                Stmt::Recur { var, carry, initial, body, next } => {
                    let (index, extent, dtype) = (var.0, self.extent(*var), self.dtype(*carry));
                    writeln!(f, "{indent}recur i{index} in 0..{extent}, {carry}: {dtype} from {initial} {{")?;
                    self.fmt_body(body, depth + 1, f)?;
                    writeln!(f, "{indent}}} {carry} = {next}")?;
                }
                Stmt::Reduce { var, body, parts } => {
                    writeln!(f, "{indent}reduce i{} in 0..{} {{", var.0, self.extent(*var))?;
                    self.fmt_body(body, depth + 1, f)?;
                    let part = |Part { dst, combine, value }: &Part| {
                        format!("{dst}: {} = {combine} of {value}", self.dtype(*dst))
                    };
                    let parts: Vec<String> = parts.iter().map(part).collect();
                    writeln!(f, "{indent}}} {}", parts.join(", "))?;
                }
            }
        }
        Ok(())
    }
}

impl Display for Program {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, buffer) in self.buffers.iter().enumerate() {
            let (name, dtype, elements) = (&buffer.name, buffer.dtype, buffer.elements);
            write!(f, "b{index} = {dtype} × {elements} at {}: {name}", buffer.place)?;
            buffer.panels.iter().try_for_each(|panels| write!(f, ", {panels}"))?;
            writeln!(f)?;
        }
        writeln!(f, "arena {} bytes", self.arena_bytes)?;
        self.fmt_tasks(&self.tasks, 0, f)
    }
}

impl Program {
    fn fmt_tasks(&self, tasks: &[Task], depth: usize, f: &mut Formatter<'_>) -> fmt::Result {
        let indent = "  ".repeat(depth);
        for task in tasks {
            writeln!(f)?;
            match task {
                Task::Run(kernel) => {
                    let text = kernel.to_string();
                    text.lines().try_for_each(|line| writeln!(f, "{indent}{line}"))?;
                }
                Task::Repeat(repeat) => {
                    let parallel = if repeat.is_parallel { "parallel " } else { "" };
                    write!(f, "{indent}{parallel}repeat i{depth} in 0..{}", repeat.turns)?;
                    repeat.condition.map_or(Ok(()), |condition| write!(f, " while {condition}"))?;
                    writeln!(f, " {{")?;
                    self.fmt_tasks(&repeat.tasks, depth + 1, f)?;
                    writeln!(f, "{indent}}}")?;
                }
            }
        }
        Ok(())
    }
}
