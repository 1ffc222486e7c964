//! Partial results in lanes: what is joined to them, and how all lanes become one.

use super::isa::Isa;
use super::lanes::{HALVES, Held, Lanes, MAXIMUM, MINIMUM, UNORDERED};
use super::machine::{Class, Code, Inst, Operand, Reg, Writes};
use crate::loops::{Binary, Combine};
use crate::types::DType;

impl Lanes {
    /// `sum += a · b` in the lanes of the mask.
    pub fn accumulate_product(&mut self, sum: Reg, a: Held, b: Held, mask: Option<Reg>) {
        let code = self.float("vfmadd231", 2, 0xb8).writing(Writes::RegUpdated);
        let (a, b) = if matches!(a, Held::Constant(_)) { (b, a) } else { (a, b) };
        let (a, b) = (self.register(a), self.operand(b));
        self.build.here(Inst::new(code, sum, a, b).masked(mask));
    }

    /// Joins a value to a partial result in the lanes of the mask.
    pub fn accumulate(&mut self, combine: Combine, sum: Reg, x: Held, mask: Option<Reg>, dtype: DType) {
        if dtype == DType::Bool || dtype == DType::I64 && self.width == 4 {
            self.is_unsupported = true;
            return;
        }
        match (combine, dtype.is_float()) {
            (Combine::Max, true) => return self.accumulate_extremum(sum, x, mask, MAXIMUM),
            (Combine::Min, true) => return self.accumulate_extremum(sum, x, mask, MINIMUM),
            _ => {}
        }
        let Some(code) = self.code(combine.join(), dtype.is_float()) else {
            self.is_unsupported = true;
            return;
        };
        let x = self.operand(x);
        self.build.here(Inst::new(code, sum, sum, x).masked(mask));
    }

    /// As [`Lanes::extremum`], where the code stands: the partial result changes.
    fn accumulate_extremum(&mut self, best: Reg, x: Held, mask: Option<Reg>, which: i32) {
        if self.begun.remove(&best) == Some(self.build.depth()) {
            // The first of all is the best.
            let first = Operand::Reg(self.register(x));
            let code = self.whole();
            self.build.here(Inst::new(code, best, None, first).masked(mask));
            return;
        }
        let x = self.operand(x);
        let (range, add, compare) =
            (self.float("vrange", 3, 0x50), self.float("vadd", 1, 0x58), self.comparison());
        let unordered = self.build.loaded(Class::Mask, |d| Inst::new(compare, d, best, x).with(UNORDERED));
        let better = self.build.loaded(Class::Vector, |d| Inst::new(range, d, best, x).with(which));
        self.build.here(Inst::new(add, better, best, x).masked(Some(unordered)));
        let code = self.whole();
        self.build.here(Inst::new(code, best, None, Operand::Reg(better)).masked(mask));
    }

    /// All lanes combined, in each of them: halves change places, then halves of halves.
    pub fn combine_lanes(&mut self, combine: Combine, x: Reg, dtype: DType) -> Reg {
        match (combine, dtype.is_float()) {
            (Combine::Max, true) => self.extremum_of_lanes(x, MAXIMUM),
            (Combine::Min, true) => self.extremum_of_lanes(x, MINIMUM),
            _ => self.fold_lanes(x, |lanes, a, b| {
                let joined = lanes.binary(combine.join(), Held::Lanes(a), Held::Lanes(b), dtype);
                lanes.register(joined)
            }),
        }
    }

    fn fold_lanes(&mut self, x: Reg, join: impl Fn(&mut Lanes, Reg, Reg) -> Reg) -> Reg {
        let is_narrow = self.width == 4;
        let halves = match self.isa {
            Isa::Avx512 if is_narrow => Code { suffix: "f32x4", ..self.float("vshuf", 3, 0x23) },
            Isa::Avx512 => Code { suffix: "f64x2", ..self.float("vshuf", 3, 0x23) },
            Isa::Avx2 | Isa::Avx2Short => HALVES,
        };
        let neighbours = self.float("vpermil", 3, if is_narrow { 4 } else { 5 });
        let of_halves: &[i32] = if self.isa == Isa::Avx512 { &[0x4e, 0xb1] } else { &[1] };
        let of_neighbours: &[i32] = if is_narrow { &[0x4e, 0xb1] } else { &[0x55] };
        let x = of_halves.iter().fold(x, |x, &order| {
            let swap = |d| Inst::new(halves, d, x, Operand::Reg(x)).with(order);
            let swapped = self.build.pure(Class::Vector, swap);
            join(self, x, swapped)
        });
        of_neighbours.iter().fold(x, |x, &order| {
            let swap = |d| Inst::new(neighbours, d, None, Operand::Reg(x)).with(order);
            let swapped = self.build.pure(Class::Vector, swap);
            join(self, x, swapped)
        })
    }

    /// The extremum of the numbers; NaN if any lane is.
    fn extremum_of_lanes(&mut self, x: Reg, which: i32) -> Reg {
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
        let spread = match self.isa {
            Isa::Avx512 => {
                let (suffix, byte) = if self.width == 4 { ("w2d", 0x3a) } else { ("b2q", 0x2a) };
                let code = Code { suffix, ..self.integer("vpbroadcastm", 2, byte).with_prefix(2) };
                self.build.pure(Class::Vector, |d| Inst::new(code, d, None, Operand::Reg(mask)))
            }
            Isa::Avx2 | Isa::Avx2Short => {
                let lanes = self.register(Held::Mask(mask));
                self.fold_lanes(lanes, |lanes, a, b| {
                    let either = lanes.arithmetic(Binary::Or, Held::Lanes(a), Held::Lanes(b), false);
                    lanes.register(either)
                })
            }
        };
        self.mask(Held::Lanes(spread))
    }
}
