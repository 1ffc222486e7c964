//! Elements in memory: addresses, loads, stores, guards and computed rows.

use super::lanes::Held;
use super::machine::{Address, Base, Class, Code, Inst, Operand, Reg, Writes};
use super::nest::{Nest, Rest};
use super::strided::is_nearby;
use crate::codegen::cost::FEW_WHOLE;
use crate::loops::{Access, Affine, Binary};
use crate::types::DType;

/// Whether values of a type lie in memory as they do in lanes.
pub(super) fn is_lane(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F64 | DType::I32)
}

impl Nest<'_> {
    /// Where the element lies, or that of the first lane. What outer loops contribute is computed in them.
    pub(super) fn address(&mut self, access: &Access) -> Address {
        let buffer = &self.program.buffers[access.buffer.index()];
        let size = buffer.dtype.size() as i64;
        let (mut base, start) = self.lanes.build.place(buffer.place);
        let (mut terms, offset) = self.moving(&access.index);
        let last = terms.pop();
        for (counter, coefficient) in terms {
            let term = self.term(counter, coefficient * size);
            base = self.pointer(Address { base: Base::Reg(base), index: Some(term), offset: 0 });
        }
        let index = last.map(|(counter, coefficient)| self.term(counter, coefficient * size));
        Address { base: Base::Reg(base), index, offset: start + (offset * size) as i32 }
    }

    /// A register and a scale that make so many bytes for each count.
    fn term(&mut self, counter: Reg, bytes: i64) -> (Reg, u8) {
        match bytes {
            1 | 2 | 4 | 8 => (counter, bytes as u8),
            _ => (self.scaled(counter, bytes), 1),
        }
    }

    /// The address in one register.
    pub(super) fn pointer(&mut self, address: Address) -> Reg {
        match address {
            Address { base: Base::Reg(base), index: None, offset: 0 } => base,
            _ => self.lanes.build.pure(Class::General, |d| Inst::address(d, address)),
        }
    }

    pub(super) fn step(&self, access: &Access) -> i64 {
        self.vector.map_or(0, |var| access.index.coefficient(var))
    }

    /// The lanes that exist and have their guard, if not all do.
    pub(super) fn mask(&mut self, guard: Option<Reg>) -> Option<Reg> {
        let rest = match self.rest {
            Rest::Full => None,
            Rest::First(count) => Some(self.lanes.first(count)),
            Rest::Masked(mask) => Some(mask),
        };
        match (rest, guard) {
            (Some(rest), Some(guard)) => Some(self.lanes.both(rest, guard)),
            (rest, guard) => rest.or(guard),
        }
    }

    /// Loads the first lanes; the others are 0.
    pub(super) fn load_first(&mut self, address: Address, count: usize) -> Held {
        match self.lanes.of_first(count, 0x10) {
            Some(code) => self.load_by(code, address, None),
            None => {
                let (code, mask) = (self.lanes.whole(), self.lanes.first(count));
                self.load_by(code, address, Some(mask))
            }
        }
    }

    pub(super) fn store_first(&mut self, address: Address, value: Reg, count: usize) {
        match self.lanes.of_first(count, 0x11) {
            Some(code) => {
                let code = code.writing(Writes::NoRegister);
                self.lanes.build.here(Inst::new(code, value, None, Operand::Memory(address)));
            }
            None => {
                let mask = self.lanes.first(count);
                self.store_whole(address, value, Some(mask));
            }
        }
    }

    pub fn load(&mut self, access: &Access, guard: Option<Reg>, dtype: DType) -> Held {
        let is_plain = guard.is_none() && is_lane(dtype) && dtype.size() == self.lanes.width;
        if is_plain && let Some(column) = self.load_of_block(access) {
            return column;
        }
        let (address, step) = (self.address(access), self.step(access));
        if step == 1 {
            self.fetch_ahead(access, address, guard.is_some(), FEW_WHOLE);
        }
        self.load_from(address, step, guard, dtype)
    }

    fn load_from(&mut self, address: Address, step: i64, guard: Option<Reg>, dtype: DType) -> Held {
        match (step, dtype) {
            (0, DType::I64) if guard.is_none() => Held::Number(
                self.lanes.build.loaded(Class::General, |d| Inst::load(d, Operand::Memory(address))),
            ),
            (_, DType::I64) if self.lanes.width == 4 => self.lanes.unsupported(),
            (0, DType::Bool) if guard.is_some() => self.lanes.unsupported(),
            (0 | 1, DType::Bool) => self.load_bools(address, step, guard),
            (_, DType::Bool) => self.lanes.unsupported(),
            (0, _) if guard.is_some() && !self.lanes.isa.has_masks() => self.gather(address, 0, guard),
            (0, _) => {
                let code = self.lanes.broadcast();
                self.load_by(code, address, guard)
            }
            (1, _) => match (self.rest, guard) {
                (Rest::First(count), None) => self.load_first(address, count),
                _ => {
                    let (code, mask) = (self.lanes.whole(), self.mask(guard));
                    self.load_by(code, address, mask)
                }
            },
            (2, _) if guard.is_none() => self.load_every_second(address),
            (-1, _) if guard.is_none() && self.rest.is_full() => self.load_reversed(address),
            (3.., _) if guard.is_none() && is_nearby(self.lanes.isa, step) => {
                self.load_every_nth(address, step as usize)
            }
            _ => self.gather(address, step, guard),
        }
    }

    pub(super) fn load_by(&mut self, code: Code, address: Address, mask: Option<Reg>) -> Held {
        let inst = |d| Inst::new(code, d, None, Operand::Memory(address)).zeroing(mask);
        Held::Lanes(self.lanes.build.loaded(Class::Vector, inst))
    }

    pub(super) fn store_whole(&mut self, address: Address, value: Reg, mask: Option<Reg>) {
        let code = self.lanes.float("vmovu", 1, 0x11).writing(Writes::NoRegister);
        self.lanes.build.here(Inst::new(code, value, None, Operand::Memory(address)).masked(mask));
    }

    pub fn store(&mut self, access: &Access, value: Held, dtype: DType) {
        let address = self.address(access);
        let step = self.step(access);
        match (dtype, step) {
            (DType::I64, 0) if self.vector.is_none() => {
                let number = self.lanes.one_number(value);
                self.lanes.build.here(Inst::store(number, address));
            }
            (DType::I64, 1) if self.lanes.width == 4 && !matches!(self.rest, Rest::Masked(_)) => {
                self.store_wide(address, value);
            }
            (DType::I64, _) if self.lanes.width == 4 => {
                self.lanes.unsupported();
            }
            (DType::Bool, 0 | 1) => self.store_bools(address, value),
            (DType::Bool, _) => {
                self.lanes.unsupported();
            }
            _ => {
                if dtype.size() == self.lanes.width && self.store_of_block(access, value) {
                    return;
                }
                if step == 1 {
                    self.fetch_ahead(access, address, false, 0);
                }
                self.store_lanes(address, step, value);
            }
        }
    }

    /// Numbers of 64 bits from lanes of 32: those in the lanes fit them.
    fn store_wide(&mut self, address: Address, value: Held) {
        let halves = match value {
            Held::Lanes(x) => [x, self.lanes.upper_half(x)].map(|half| self.lanes.widened(half)),
            same => [self.lanes.in_wide_lanes(|lanes| lanes.register(same)); 2],
        };
        let (lanes, half) = (self.lanes.count(), self.lanes.count() / 2);
        for (number, value) in halves.into_iter().enumerate() {
            let taken = self.rest.count(lanes).saturating_sub(number * half).min(half);
            if taken > 0 {
                let mask = (taken < half).then(|| self.lanes.first(2 * taken));
                self.store_whole(self.vector_from(address, number as i32), value, mask);
            }
        }
    }

    fn store_lanes(&mut self, address: Address, step: i64, value: Held) {
        let value = self.lanes.register(value);
        match step {
            0 if self.vector.is_none() => self.lanes.store_first(address, value),
            0 => {
                self.lanes.unsupported();
            }
            1 => match self.rest {
                Rest::First(count) => self.store_first(address, value, count),
                _ => {
                    let mask = self.mask(None);
                    self.store_whole(address, value, mask);
                }
            },
            -1 if self.rest.is_full() => self.store_reversed(address, value),
            _ => self.store_apart(address, step, value),
        }
    }

    /// The value of an affine expression: a number, or lanes if it moves along them.
    pub fn index(&mut self, index: &Affine) -> Held {
        let coefficient = self.vector.map_or(0, |var| index.coefficient(var));
        let (lowest, highest) = self.kernel.range_of(index);
        if lowest < i32::MIN.into() || highest > i32::MAX.into() {
            return self.lanes.unsupported();
        }
        let (terms, offset) = self.moving(index);
        if terms.is_empty() && coefficient == 0 {
            return Held::Constant(offset as u64);
        }
        let mut sum: Option<Reg> = None;
        for (counter, coefficient) in terms {
            let term = self.scaled(counter, coefficient);
            sum = Some(match sum {
                None => term,
                Some(sum) => {
                    self.pointer(Address { base: Base::Reg(sum), index: Some((term, 1)), offset: 0 })
                }
            });
        }
        let number = match sum {
            Some(sum) => self.pointer(Address::at(sum, offset as i32)),
            None => self.lanes.build.pure(Class::General, |d| Inst::set(d, offset as i32)),
        };
        if coefficient == 0 {
            return Held::Number(number);
        }
        let (first, steps) = (
            self.lanes.register(Held::Number(number)),
            self.lanes.series(|lane| (coefficient * lane as i64) as u64),
        );
        let code = self.lanes.integer_add();
        Held::Lanes(self.lanes.build.pure(Class::Vector, |d| Inst::new(code, d, first, steps)))
    }

    /// Where every expression lies between 0 and its bound.
    pub fn within(&mut self, ranges: &[(Affine, i64)]) -> Reg {
        let mut inside = None;
        for (index, bound) in ranges {
            if self.lanes.width == 4 && *bound > i32::MAX.into() {
                self.lanes.unsupported();
            }
            let index = self.index(index);
            let test = self.lanes.below(index, *bound as u64);
            inside = Some(inside.map_or(test, |inside| self.lanes.both(inside, test)));
        }
        inside.unwrap_or_else(|| self.lanes.first(self.lanes.count()))
    }

    /// Holds the row inside its bounds, whatever its value.
    pub fn load_row(&mut self, access: &Access, row: Held, stride: i64, bound: i64, dtype: DType) -> Held {
        let row = match row {
            Held::Lanes(_) if self.vector.is_some() => return self.pick(access, row, [stride, bound], dtype),
            row => self.lanes.one_number(row),
        };
        let address = self.row_address(access, row, [stride, bound], dtype);
        self.load_from(address, self.step(access), None, dtype)
    }

    /// Lanes to a row, or added to what is there.
    pub fn store_row(
        &mut self,
        access: &Access,
        (row, [stride, bound]): (Held, [i64; 2]),
        (value, dtype): (Held, DType),
        adds: bool,
    ) {
        let is_along = self.step(access) == i64::from(self.vector.is_some());
        if !is_along || !is_lane(dtype) || self.vector.is_some() && matches!(row, Held::Lanes(_)) {
            self.lanes.unsupported();
            return;
        }
        let row = self.lanes.one_number(row);
        let address = self.row_address(access, row, [stride, bound], dtype);
        let stored = match adds {
            true => {
                let sum = self.load_from(address, self.step(access), None, dtype);
                self.lanes.binary(Binary::Add, sum, value, dtype)
            }
            false => value,
        };
        self.store_lanes(address, self.step(access), stored);
    }

    fn row_address(&mut self, access: &Access, row: Reg, [stride, bound]: [i64; 2], dtype: DType) -> Address {
        let row = self.lanes.held_between(row, bound - 1);
        let address = self.address(access);
        let base = self.pointer(address);
        let row = self.scaled(row, stride * dtype.size() as i64);
        Address { base: Base::Reg(base), index: Some((row, 1)), offset: 0 }
    }
}
