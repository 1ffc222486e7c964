//! Elements in memory: addresses, loads, stores, guards and computed rows.

use super::lanes::Held;
use super::machine::{Address, Base, Class, Code, Inst, Operand, Reg, Writes};
use super::nest::{Nest, Rest};
use crate::loops::{Access, Affine};
use crate::types::DType;

impl Nest<'_> {
    /// Where the element lies, or that of the first lane. What outer loops contribute is computed in them.
    fn address(&mut self, access: &Access) -> Address {
        let buffer = &self.program.buffers[access.buffer.index()];
        let size = buffer.dtype.size() as i64;
        let (mut base, start) = self.place(buffer.place);
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
    fn pointer(&mut self, address: Address) -> Reg {
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

    pub fn load(&mut self, access: &Access, guard: Option<Reg>, dtype: DType) -> Held {
        let address = self.address(access);
        self.load_from(address, self.step(access), guard, dtype)
    }

    fn load_from(&mut self, address: Address, step: i64, guard: Option<Reg>, dtype: DType) -> Held {
        match (step, dtype) {
            (0, DType::I64) if guard.is_none() => Held::Number(
                self.lanes.build.loaded(Class::General, |d| Inst::load(d, Operand::Memory(address))),
            ),
            (_, DType::I64) => self.lanes.unsupported(),
            (0 | 1, DType::Bool) => self.load_bools(address, step, guard),
            (_, DType::Bool) => self.lanes.unsupported(),
            (0, _) => {
                let code = self.lanes.broadcast();
                self.load_by(code, address, guard)
            }
            (1, _) => {
                let (code, mask) = (self.lanes.float("vmovu", 1, 0x10), self.mask(guard));
                self.load_by(code, address, mask)
            }
            (2, _) if guard.is_none() => self.load_every_second(address),
            _ => self.gather(address, step, guard),
        }
    }

    fn load_by(&mut self, code: Code, address: Address, mask: Option<Reg>) -> Held {
        let inst = |d| Inst::new(code, d, None, Operand::Memory(address)).zeroing(mask);
        Held::Lanes(self.lanes.build.loaded(Class::Vector, inst))
    }

    /// Bytes of 0 or 1.
    fn load_bools(&mut self, address: Address, step: i64, guard: Option<Reg>) -> Held {
        let bytes = self.lanes.count() as u8;
        let wide = self.lanes.width == 8;
        let (code, mask) = match step {
            0 => (
                Code { suffix: "b", is_wide: false, ..self.lanes.integer("vpbroadcast", 2, 0x78) }
                    .of_bytes(1),
                guard,
            ),
            _ => {
                let code = Code { is_wide: false, ..self.lanes.integer("vpmovzxb", 2, 0x31 + wide as u8) };
                (Code { suffix: if wide { "q" } else { "d" }, ..code }.of_bytes(bytes), self.mask(guard))
            }
        };
        // A broadcast of bytes would take its mask byte by byte.
        let (load_mask, mask) = if step == 0 { (None, mask) } else { (mask, None) };
        let loaded = self.load_by(code, address, load_mask);
        let truth = self.lanes.mask(loaded);
        Held::Mask(mask.map_or(truth, |mask| self.lanes.both(truth, mask)))
    }

    /// Lanes of two vectors in turn, as two neighbouring vectors: `offset` is that of the first from the access.
    pub(super) fn store_pair(&mut self, access: &Access, offset: i64, first: Held, second: Held) {
        let index = access.index.plus(&Affine::constant(offset));
        let address = self.address(&Access { buffer: access.buffer, index });
        let lanes = self.lanes.count();
        let elements = 2 * self.rest.count(lanes);
        let (first, second) = (self.lanes.register(first), self.lanes.register(second));
        let permute = Code { writes: Writes::RegUpdated, ..self.lanes.float("vpermi2", 2, 0x77) };
        for half in 0..2u64 {
            let taken = elements.saturating_sub(half as usize * lanes).min(lanes);
            if taken == 0 {
                continue;
            }
            let lanes = lanes as u64;
            let turns = self.lanes.series(|lane| half * lanes / 2 + lane / 2 + lane % 2 * lanes);
            let both = |d| Inst::new(permute, d, first, Operand::Reg(second));
            let both = self.lanes.build.updated(turns, Class::Vector, both);
            let mask = (taken < lanes as usize).then(|| self.lanes.first(taken));
            let address = Address { offset: address.offset + 64 * half as i32, ..address };
            self.store_whole(address, both, mask);
        }
    }

    /// Lanes to every second element: spread over two vectors, of which the elements between are left as they are.
    fn store_every_second(&mut self, address: Address, value: Reg) {
        let lanes = self.lanes.count() as u64;
        let elements = 2 * self.rest.count(lanes as usize);
        let permute = self.lanes.float("vperm", 2, 0x16);
        for half in 0..2u64 {
            let taken = elements.saturating_sub((half * lanes) as usize).min(lanes as usize);
            if taken == 0 {
                continue;
            }
            let spread = self.lanes.series(|lane| half * lanes / 2 + lane / 2);
            let spread = self.lanes.build.pure(Class::Vector, |d| Inst::load(d, spread));
            let inst = |d| Inst::new(permute, d, spread, Operand::Reg(value));
            let spread = self.lanes.build.pure(Class::Vector, inst);
            let mask = self.lanes.bits(0x5555 & ((1 << taken) - 1));
            self.store_whole(
                Address { offset: address.offset + 64 * half as i32, ..address },
                spread,
                Some(mask),
            );
        }
    }

    fn store_whole(&mut self, address: Address, value: Reg, mask: Option<Reg>) {
        let code = self.lanes.float("vmovu", 1, 0x11).writing(Writes::NoRegister);
        self.lanes.build.here(Inst::new(code, value, None, Operand::Memory(address)).masked(mask));
    }

    /// Two neighbouring vectors, of which every second lane is taken. Only what exists is read.
    fn load_every_second(&mut self, address: Address) -> Held {
        let lanes = self.lanes.count();
        let elements = 2 * self.rest.count(lanes) - 1;
        let code = self.lanes.float("vmovu", 1, 0x10);
        let first = (elements < lanes).then(|| self.lanes.first(elements));
        let low = self.load_by(code, address, first);
        let even = self.lanes.series(|lane| 2 * lane);
        let high = if elements <= lanes {
            low
        } else {
            let next = Address { offset: address.offset + 64, ..address };
            let mask = self.lanes.first(elements - lanes);
            self.load_by(code, next, Some(mask))
        };
        let permute = Code { writes: Writes::RegUpdated, ..self.lanes.float("vpermi2", 2, 0x77) };
        let (low, high) = (self.lanes.register(low), self.lanes.register(high));
        Held::Lanes(
            self.lanes.build.updated(even, Class::Vector, |d| Inst::new(permute, d, low, Operand::Reg(high))),
        )
    }

    /// Offsets of lanes that lie apart, the address they count from, and a mask that may be cleared.
    fn apart(&mut self, address: Address, step: i64, guard: Option<Reg>) -> (Address, Reg) {
        let base = self.pointer(address);
        let offsets = self.lanes.series(|lane| (step * lane as i64) as u64);
        let offsets = self.lanes.build.pure(Class::Vector, |d| Inst::load(d, offsets));
        let mask = match self.mask(guard) {
            Some(mask) => mask,
            None => self.lanes.first(self.lanes.count()),
        };
        const COPY: Code = Code::mask("kmovw", 0x90, false);
        let mask = self.lanes.build.loaded(Class::Mask, |d| Inst::new(COPY, d, None, Operand::Reg(mask)));
        let index = Some((offsets, self.lanes.width as u8));
        (Address { base: Base::Reg(base), index, offset: 0 }, mask)
    }

    fn gather(&mut self, address: Address, step: i64, guard: Option<Reg>) -> Held {
        let (address, mask) = self.apart(address, step, guard);
        let wide = self.lanes.width == 8;
        let code = self.lanes.float(if wide { "vgatherq" } else { "vgatherd" }, 2, 0x92 + wide as u8);
        let code = code.of_bytes(self.lanes.width as u8).writing(Writes::RegUpdated);
        let zero = self.lanes.register(Held::Constant(0));
        let result = self.lanes.build.variable(Class::Vector);
        self.lanes.build.here(Inst::load(result, Operand::Reg(zero)));
        self.lanes.build.here(Inst::new(code, result, None, Operand::Memory(address)).masked(Some(mask)));
        Held::Lanes(result)
    }

    pub fn store(&mut self, access: &Access, value: Held, dtype: DType) {
        let address = self.address(access);
        let step = self.step(access);
        match (dtype, step) {
            (DType::I64, 0) if self.vector.is_none() => {
                let Held::Number(number) = value else {
                    self.lanes.unsupported();
                    return;
                };
                self.lanes.build.here(Inst::store(number, address));
            }
            (DType::I64, _) => {
                self.lanes.unsupported();
            }
            (DType::Bool, 0 | 1) => self.store_bools(address, value),
            (DType::Bool, _) => {
                self.lanes.unsupported();
            }
            _ => self.store_lanes(address, step, value),
        }
    }

    fn store_lanes(&mut self, address: Address, step: i64, value: Held) {
        let wide = self.lanes.width == 8;
        let value = self.lanes.register(value);
        let (code, address, mask) = match step {
            0 if self.vector.is_none() => {
                let (suffix, prefix) = if wide { ("sd", 3) } else { ("ss", 2) };
                let code = Code { name: "vmov", suffix, prefix, ..self.lanes.float("vmovu", 1, 0x11) };
                (code.scalar(), address, None)
            }
            0 => {
                self.lanes.unsupported();
                return;
            }
            1 => {
                let mask = self.mask(None);
                return self.store_whole(address, value, mask);
            }
            2 => return self.store_every_second(address, value),
            _ => {
                let code =
                    self.lanes.float(if wide { "vscatterq" } else { "vscatterd" }, 2, 0xa2 + wide as u8);
                let (address, mask) = self.apart(address, step, None);
                (code, address, Some(mask))
            }
        };
        let code = code.of_bytes(self.lanes.width as u8).writing(Writes::NoRegister);
        self.lanes.build.here(Inst::new(code, value, None, Operand::Memory(address)).masked(mask));
    }

    /// As bytes of 0 or 1.
    fn store_bools(&mut self, address: Address, value: Held) {
        let wide = self.lanes.width == 8;
        let one = Held::Constant(1);
        let mask = self.lanes.mask(value);
        let ones = self.lanes.select(Held::Mask(mask), one, Held::Constant(0));
        let ones = self.lanes.register(ones);
        let lanes = match self.vector {
            Some(_) => self.mask(None),
            None => Some(self.lanes.first(1)),
        };
        let code =
            self.lanes.integer(if wide { "vpmovqb" } else { "vpmovdb" }, 2, 0x31 + wide as u8).with_prefix(2);
        let code = Code { suffix: "", is_wide: false, ..code }.of_bytes(self.lanes.count() as u8);
        let inst = Inst::new(code.writing(Writes::NoRegister), ones, None, Operand::Memory(address));
        self.lanes.build.here(inst.masked(lanes));
    }

    /// The value of an affine expression: a number, or lanes if it moves along them.
    pub fn index(&mut self, index: &Affine) -> Held {
        let coefficient = self.vector.map_or(0, |var| index.coefficient(var));
        let (lowest, highest) = self.kernel.range_of(index);
        if lowest < i32::MIN.into() || highest > i32::MAX.into() {
            return self.lanes.unsupported();
        }
        let (terms, offset) = self.moving(index);
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
        let Held::Number(row) = row else { return self.lanes.unsupported() };
        let row = self.lanes.held_between(row, bound - 1);
        let address = self.address(access);
        let base = self.pointer(address);
        let row = self.scaled(row, stride * dtype.size() as i64);
        let address = Address { base: Base::Reg(base), index: Some((row, 1)), offset: 0 };
        self.load_from(address, self.step(access), None, dtype)
    }
}
