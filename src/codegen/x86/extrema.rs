//! Maxima and minima of floats as IEEE 754-2019 has them: NaN if one is, and -0 below +0.

use super::build::Builder;
use super::lanes::{Held, Lanes, UNORDERED};
use super::machine::{Class, Code, Inst, Operand, Reg};
use crate::loops::copy::new_value;
use crate::loops::{Combine, Instr, Kernel, Part, Stmt, Unary};

/// Which of two `vrange` takes; of zeros, by their sign.
pub(super) const MINIMUM: i32 = 4;
pub(super) const MAXIMUM: i32 = 5;

/// The kernel with largest elements found as the smallest of what is negated: with AVX2 a minimum takes three
/// instructions, a maximum five.
pub(super) fn as_minima(kernel: &Kernel) -> Option<Kernel> {
    let has_maximum = |stmt: &Stmt| match stmt {
        Stmt::Reduce { parts, .. } => parts.iter().any(|part| is_maximum(kernel, part)),
        _ => false,
    };
    kernel.body.iter().any(|stmt| stmt.any(&has_maximum)).then(|| {
        let mut negated = kernel.clone();
        let body = std::mem::take(&mut negated.body);
        negated.body = with_minima(&mut negated, body);
        negated
    })
}

fn is_maximum(kernel: &Kernel, part: &Part) -> bool {
    part.combine == Combine::Max && kernel.dtype(part.dst).is_float()
}

fn with_minima(kernel: &mut Kernel, body: Vec<Stmt>) -> Vec<Stmt> {
    let mut stmts = Vec::with_capacity(body.len());
    for mut stmt in body {
        if let Stmt::For { body, .. } | Stmt::Reduce { body, .. } | Stmt::Recur { body, .. } = &mut stmt {
            *body = with_minima(kernel, std::mem::take(body));
        }
        let mut results = Vec::new();
        if let Stmt::Reduce { body, parts, .. } = &mut stmt {
            for part in parts {
                if !is_maximum(kernel, part) {
                    continue;
                }
                let [value, dst] = [part.value, part.dst].map(|var| new_value(kernel, var));
                body.push(Stmt::Let { dst: value, instr: Instr::Unary(Unary::Neg, part.value) });
                results.push(Stmt::Let { dst: part.dst, instr: Instr::Unary(Unary::Neg, dst) });
                *part = Part { dst, value, combine: Combine::Min };
            }
        }
        stmts.push(stmt);
        stmts.extend(results);
    }
    stmts
}

impl Lanes {
    /// The larger or the smaller of two, in each lane.
    pub(super) fn extremum(&mut self, a: Held, b: Held, which: i32) -> Held {
        let (a, b) = if matches!(a, Held::Constant(_)) { (b, a) } else { (a, b) };
        let a = self.register(a);
        if !self.isa.has_masks() {
            let b = self.register(b);
            return Held::Lanes(self.of_both_ways([a, b], which, |build, code, a, b| {
                build.pure(Class::Vector, |d| Inst::new(code, d, a, Operand::Reg(b)))
            }));
        }
        let range = self.float("vrange", 3, 0x50);
        let (add, compare) = (self.float("vadd", 1, 0x58), self.comparison());
        let b = self.operand(b);
        let unordered = self.build.pure(Class::Mask, |d| Inst::new(compare, d, a, b).with(UNORDERED));
        let best = self.build.pure(Class::Vector, |d| Inst::new(range, d, a, b).with(which));
        let sum = |d| Inst::new(add, d, a, b).masked(Some(unordered));
        Held::Lanes(self.build.updated(Operand::Reg(best), Class::Vector, sum))
    }

    /// As [`Lanes::extremum`], where the code stands: the partial result changes.
    pub(super) fn accumulate_extremum(&mut self, best: Reg, x: Held, mask: Option<Reg>, which: i32) {
        let better = match self.isa.has_masks() {
            true => self.better_in_range(best, x, which),
            false => {
                let x = self.register(x);
                self.of_both_ways([best, x], which, |build, code, a, b| {
                    build.loaded(Class::Vector, |d| Inst::new(code, d, a, Operand::Reg(b)))
                })
            }
        };
        let code = self.whole();
        self.build.here(Inst::new(code, best, None, Operand::Reg(better)).masked(mask));
    }

    /// The processor's instruction orders zeros, and leaves NaN to be put in.
    fn better_in_range(&mut self, best: Reg, x: Held, which: i32) -> Reg {
        let x = self.operand(x);
        let (range, add, compare) =
            (self.float("vrange", 3, 0x50), self.float("vadd", 1, 0x58), self.comparison());
        let unordered = self.build.loaded(Class::Mask, |d| Inst::new(compare, d, best, x).with(UNORDERED));
        let better = self.build.loaded(Class::Vector, |d| Inst::new(range, d, best, x).with(which));
        self.build.here(Inst::new(add, better, best, x).masked(Some(unordered)));
        better
    }

    /// Without such an instruction: the others take the second of two zeros, and of two where one is NaN. Both ways round
    /// differ in nothing else, so that either one with the other's bits is a minimum. A maximum of zeros has a sign too many
    /// then, which the difference of bits takes away: it is −0 for them, NaN beside NaN, and else 0.
    fn of_both_ways(
        &mut self,
        [a, b]: [Reg; 2],
        which: i32,
        compute: impl Fn(&mut Builder, Code, Reg, Reg) -> Reg,
    ) -> Reg {
        let bits = |name, byte| Code::float(name, 1, byte, 4);
        let (or, xor, subtract) = (bits("vor", 0x56), bits("vxor", 0x57), self.float("vsub", 1, 0x5c));
        let is_minimum = which == MINIMUM;
        let code = if is_minimum { self.float("vmin", 1, 0x5d) } else { self.float("vmax", 1, 0x5f) };
        let mut compute = |code, a, b| compute(&mut self.build, code, a, b);
        let (one, other) = (compute(code, a, b), compute(code, b, a));
        if is_minimum {
            return compute(or, one, other);
        }
        let difference = compute(xor, one, other);
        let either = compute(or, one, difference);
        compute(subtract, either, difference)
    }

    /// The extremum of all lanes, in each of them.
    pub(super) fn extremum_of_lanes(&mut self, x: Reg, which: i32) -> Reg {
        if !self.isa.has_masks() {
            return self.fold_lanes(x, |lanes, a, b| {
                let best = lanes.extremum(Held::Lanes(a), Held::Lanes(b), which);
                lanes.register(best)
            });
        }
        let range = self.float("vrange", 3, 0x50);
        let best = self.fold_lanes(x, |lanes, a, b| {
            lanes.build.pure(Class::Vector, |d| Inst::new(range, d, a, Operand::Reg(b)).with(which))
        });
        let compare = self.comparison();
        let unordered = |d| Inst::new(compare, d, x, Operand::Reg(x)).with(UNORDERED);
        let unordered = self.build.pure(Class::Mask, unordered);
        let is_any = self.any(unordered);
        let nan = if self.width == 4 { f32::NAN.to_bits().into() } else { f64::NAN.to_bits() };
        let result = self.select(Held::Mask(is_any), Held::Constant(nan), Held::Lanes(best));
        self.register(result)
    }

    /// Whether a mask has any lane, in all lanes.
    fn any(&mut self, mask: Reg) -> Reg {
        let (suffix, byte) = if self.width == 4 { ("w2d", 0x3a) } else { ("b2q", 0x2a) };
        let code = Code { suffix, ..self.integer("vpbroadcastm", 2, byte).with_prefix(2) };
        let spread = self.build.pure(Class::Vector, |d| Inst::new(code, d, None, Operand::Reg(mask)));
        self.mask(Held::Lanes(spread))
    }
}
