//! Partial results in lanes: what is joined to them, and how all lanes become one.

use super::extrema::{MAXIMUM, MINIMUM};
use super::isa::Isa;
use super::lanes::{HALVES, Held, Lanes};
use super::machine::{Class, Code, Inst, Operand, Reg, Writes};
use crate::loops::Combine;
use crate::types::DType;

impl Lanes {
    /// `sum += a · b` in the lanes of the mask.
    pub fn accumulate_product(&mut self, sum: Reg, a: Held, b: Held, mask: Option<Reg>) {
        self.begun.remove(&sum);
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
        if self.begun.remove(&sum) == Some(self.build.loops()) {
            // The first of all is the result so far.
            let first = Operand::Reg(self.register(x));
            let code = self.whole();
            self.build.here(Inst::new(code, sum, None, first).masked(mask));
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

    pub(super) fn fold_lanes(&mut self, x: Reg, join: impl Fn(&mut Lanes, Reg, Reg) -> Reg) -> Reg {
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
}
