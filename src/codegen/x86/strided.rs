//! Lanes that lie apart in memory: every second element, in pairs of vectors, any other distance, and rows by number.

use super::isa::Isa;
use super::lanes::{HALVES, Held};
use super::machine::{Address, Base, Class, Code, Inst, Operand, Reg, Writes};
use super::nest::Nest;
use crate::loops::{Access, Affine, Binary};
use crate::types::DType;

/// Lanes up to so many elements apart are read with all that lies between, with AVX-512 and with AVX2.
const NEARBY: i64 = 8;
const NEARBY_AVX2: i64 = 3;

/// Puts quarters of a vector of 256 bits in another order.
const QUARTERS: Code = Code::float("vperm", 3, 0x01, 8);

/// Whether lanes so far apart are read as neighbouring vectors.
pub fn is_nearby(isa: Isa, step: i64) -> bool {
    (3..=if isa.has_masks() { NEARBY } else { NEARBY_AVX2 }).contains(&step)
}

impl Nest<'_> {
    /// Lanes of two vectors in turn, as two neighbouring vectors: `offset` is that of the first from the access.
    pub(super) fn store_pair(&mut self, access: &Access, offset: i64, first: Held, second: Held) {
        let index = access.index.plus(&Affine::constant(offset));
        let address = self.address(&Access { buffer: access.buffer, index });
        let lanes = self.lanes.count();
        let elements = 2 * self.rest.count(lanes);
        let (first, second) = (self.lanes.register(first), self.lanes.register(second));
        for half in 0..2u64 {
            let taken = elements.saturating_sub(half as usize * lanes).min(lanes);
            if taken == 0 {
                continue;
            }
            let both = self.in_turn(first, second, half);
            let mask = (taken < lanes).then(|| self.lanes.first(taken));
            let address = self.vector_from(address, half as i32);
            self.store_whole(address, both, mask);
        }
    }

    /// Where the vector lies that is so many further on.
    pub(super) fn vector_from(&self, address: Address, number: i32) -> Address {
        Address { offset: address.offset + self.lanes.isa.bytes() as i32 * number, ..address }
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
            let address = self.vector_from(address, half as i32);
            self.store_whole(address, spread, Some(mask));
        }
    }

    /// Two neighbouring vectors, of which every second lane is taken. Only what exists is read.
    pub(super) fn load_every_second(&mut self, address: Address) -> Held {
        let lanes = self.lanes.count();
        let elements = 2 * self.rest.count(lanes) - 1;
        let code = self.lanes.whole();
        let first = (elements < lanes).then(|| self.lanes.first(elements));
        let low = self.load_by(code, address, first);
        let high = if elements <= lanes {
            low
        } else {
            let next = self.vector_from(address, 1);
            let mask = self.lanes.first(elements - lanes);
            self.load_by(code, next, Some(mask))
        };
        let (low, high) = (self.lanes.register(low), self.lanes.register(high));
        Held::Lanes(self.every_second(low, high))
    }

    /// Lanes a few elements apart, from as many neighbouring vectors. Only what exists is read.
    pub(super) fn load_every_nth(&mut self, address: Address, step: usize) -> Held {
        let (lanes, code) = (self.lanes.count(), self.lanes.whole());
        let elements = (self.rest.count(lanes) - 1) * step + 1;
        let mut vectors = Vec::with_capacity(step);
        for (number, start) in (0..elements).step_by(lanes).enumerate() {
            let mask = (elements - start < lanes).then(|| self.lanes.first(elements - start));
            let vector = self.load_by(code, self.vector_from(address, number as i32), mask);
            vectors.push(self.lanes.register(vector));
        }
        Held::Lanes(match self.lanes.isa.has_masks() {
            true => self.picked(&vectors, step),
            false => self.blended(&vectors, step),
        })
    }

    /// Every so many lanes of neighbouring vectors, one vector after the other.
    fn picked(&mut self, vectors: &[Reg], step: usize) -> Reg {
        let lanes = self.lanes.count();
        let mut found = vectors[0];
        for number in 1..vectors.len().max(2) {
            let next = vectors.get(number).copied().unwrap_or(found);
            // Lanes that are found stay; those of the first vector are still where they were read.
            let order = self.lanes.series(|lane| match (lane as usize * step).checked_sub(number * lanes) {
                Some(at) => ((lanes + at) % (2 * lanes)) as u64,
                None if number == 1 => lane * step as u64,
                None => lane,
            });
            found = self.permuted(order, found, next);
        }
        found
    }

    /// The same with AVX2, where lanes are an odd number of elements apart: no two vectors have one in the same lane.
    fn blended(&mut self, vectors: &[Reg], step: usize) -> Reg {
        let (lanes, is_narrow) = (self.lanes.count(), self.lanes.width == 4);
        let blend = self.lanes.float("vblend", 3, if is_narrow { 0x0c } else { 0x0d });
        let mut found = vectors[0];
        for (number, &vector) in vectors.iter().enumerate().skip(1) {
            let of_vector = (0..lanes).filter(|lane| lane * step / lanes == number);
            let taken = of_vector.map(|lane| 1 << (lane * step % lanes)).sum();
            let inst = |d| Inst::new(blend, d, found, Operand::Reg(vector)).with(taken);
            found = self.lanes.build.pure(Class::Vector, inst);
        }
        if !is_narrow {
            let order = (0..lanes).map(|lane| ((lane * step % lanes) << (2 * lane)) as i32).sum();
            let inst = |d| Inst::new(QUARTERS, d, None, Operand::Reg(found)).with(order);
            return self.lanes.build.pure(Class::Vector, inst);
        }
        let order = self.lanes.series(|lane| lane * step as u64 % lanes as u64);
        let order = self.lanes.build.pure(Class::Vector, |d| Inst::load(d, order));
        let permute = self.lanes.float("vperm", 2, 0x16);
        self.lanes.build.pure(Class::Vector, |d| Inst::new(permute, d, order, Operand::Reg(found)))
    }

    /// Every second lane of two vectors.
    fn every_second(&mut self, low: Reg, high: Reg) -> Reg {
        if self.lanes.isa == Isa::Avx512 {
            let lanes = self.lanes.series(|lane| 2 * lane);
            return self.permuted(lanes, low, high);
        }
        let both = match self.lanes.width {
            4 => Inst::new(self.lanes.float("vshuf", 1, 0xc6), None, low, Operand::Reg(high)).with(0x88),
            _ => Inst::new(self.lanes.float("vunpckl", 1, 0x14), None, low, Operand::Reg(high)),
        };
        let both = self.lanes.build.pure(Class::Vector, |d| Inst { reg: Some(d), ..both });
        // Quarters 0, 2, 1 and 3.
        let inst = |d| Inst::new(QUARTERS, d, None, Operand::Reg(both)).with(0xd8);
        self.lanes.build.pure(Class::Vector, inst)
    }

    /// Lanes of two vectors in turn: the lower half of what that makes, or the upper.
    fn in_turn(&mut self, first: Reg, second: Reg, half: u64) -> Reg {
        if self.lanes.isa == Isa::Avx512 {
            let lanes = self.lanes.count() as u64;
            let turns = self.lanes.series(|lane| half * lanes / 2 + lane / 2 + lane % 2 * lanes);
            return self.permuted(turns, first, second);
        }
        let [low, high] = [("vunpckl", 0x14), ("vunpckh", 0x15)].map(|(name, byte)| {
            let code = self.lanes.float(name, 1, byte);
            self.lanes.build.pure(Class::Vector, |d| Inst::new(code, d, first, Operand::Reg(second)))
        });
        let inst = |d| Inst::new(HALVES, d, low, Operand::Reg(high)).with([0x20, 0x31][half as usize]);
        self.lanes.build.pure(Class::Vector, inst)
    }

    /// Lanes of two vectors, by their numbers.
    fn permuted(&mut self, lanes: Operand, first: Reg, second: Reg) -> Reg {
        let permute = self.lanes.float("vpermi2", 2, 0x77).writing(Writes::RegUpdated);
        let both = |d| Inst::new(permute, d, first, Operand::Reg(second));
        self.lanes.build.updated(lanes, Class::Vector, both)
    }

    /// The neighbours that end with the address, the last first.
    pub(super) fn load_reversed(&mut self, address: Address) -> Held {
        let from = Operand::Memory(self.ending_with(address));
        let reversed = self.reversed(from);
        Held::Lanes(self.lanes.build.loaded(Class::Vector, |d| Inst { reg: Some(d), ..reversed }))
    }

    pub(super) fn store_reversed(&mut self, address: Address, value: Reg) {
        let reversed = self.reversed(Operand::Reg(value));
        let value = self.lanes.build.pure(Class::Vector, |d| Inst { reg: Some(d), ..reversed });
        let to = self.ending_with(address);
        self.store_whole(to, value, None);
    }

    /// Where a vector begins whose last lane lies there.
    fn ending_with(&self, address: Address) -> Address {
        let offset = address.offset - (self.lanes.isa.bytes() - self.lanes.width) as i32;
        Address { offset, ..address }
    }

    /// Lanes in the opposite order, still without a destination.
    fn reversed(&mut self, from: Operand) -> Inst {
        if !self.lanes.isa.has_masks() && self.lanes.width == 8 {
            return Inst::new(QUARTERS, None, None, from).with(0x1b);
        }
        let last = self.lanes.count() as u64 - 1;
        let order = self.lanes.series(|lane| last - lane);
        let order = self.lanes.build.pure(Class::Vector, |d| Inst::load(d, order));
        Inst::new(self.lanes.float("vperm", 2, 0x16), None, order, from)
    }

    /// The offsets of lanes that lie apart.
    fn offsets(&mut self, step: i64) -> Held {
        let offsets = self.lanes.series(|lane| (step * lane as i64) as u64);
        Held::Lanes(self.lanes.build.pure(Class::Vector, |d| Inst::load(d, offsets)))
    }

    /// Elements so far from an address, and a mask that may be cleared.
    fn apart(&mut self, address: Address, offsets: Held, guard: Option<Reg>) -> (Address, Reg) {
        let base = self.pointer(address);
        let mask = match self.mask(guard) {
            Some(mask) => mask,
            None => self.lanes.first(self.lanes.count()),
        };
        const COPY: Code = Code::mask("kmovw", 0x90, false);
        let mask = self.lanes.build.loaded(Class::Mask, |d| Inst::new(COPY, d, None, Operand::Reg(mask)));
        let index = Some((self.lanes.register(offsets), self.lanes.width as u8));
        (Address { base: Base::Reg(base), index, offset: 0 }, mask)
    }

    pub(super) fn gather(&mut self, address: Address, step: i64, guard: Option<Reg>) -> Held {
        let offsets = self.offsets(step);
        self.gather_at(address, offsets, guard)
    }

    fn gather_at(&mut self, address: Address, offsets: Held, guard: Option<Reg>) -> Held {
        let (address, mask) = self.apart(address, offsets, guard);
        let wide = self.lanes.width == 8;
        let code = self.lanes.float(if wide { "vgatherq" } else { "vgatherd" }, 2, 0x92 + wide as u8);
        let code = code.of_bytes(self.lanes.width as u8).writing(Writes::RegUpdated);
        let zero = self.lanes.register(Held::Constant(0));
        let result = self.lanes.build.variable(Class::Vector);
        self.lanes.build.here(Inst::load(result, Operand::Reg(zero)));
        self.lanes.build.here(Inst::new(code, result, None, Operand::Memory(address)).masked(Some(mask)));
        Held::Lanes(result)
    }

    /// An element of each lane's own row, `stride` elements long, of as many as `bound`.
    pub(super) fn pick(
        &mut self,
        access: &Access,
        row: Held,
        [stride, bound]: [i64; 2],
        dtype: DType,
    ) -> Held {
        let step = self.step(access);
        let furthest = (bound - 1) * stride.max(1) + step.abs() * self.lanes.count() as i64;
        if dtype.size() != self.lanes.width || furthest > i32::MAX.into() {
            return self.lanes.unsupported();
        }
        let row = self.lanes.between(row, bound - 1);
        let mut offsets = match stride {
            1 => row,
            _ => self.lanes.arithmetic(Binary::Mul, row, Held::Constant(stride as u64), false),
        };
        if step != 0 {
            let own = self.offsets(step);
            offsets = self.lanes.arithmetic(Binary::Add, offsets, own, false);
        }
        let address = self.address(access);
        self.gather_at(address, offsets, None)
    }

    pub(super) fn store_apart(&mut self, address: Address, step: i64, value: Reg) {
        match (self.lanes.isa, step) {
            (Isa::Avx2 | Isa::Avx2Short, _) => self.store_one_by_one(address, step, value),
            (Isa::Avx512, 2) => self.store_every_second(address, value),
            (Isa::Avx512, _) => self.scatter(address, step, value),
        }
    }

    fn scatter(&mut self, address: Address, step: i64, value: Reg) {
        let offsets = self.offsets(step);
        let (address, mask) = self.apart(address, offsets, None);
        let wide = self.lanes.width == 8;
        let code = self.lanes.float(if wide { "vscatterq" } else { "vscatterd" }, 2, 0xa2 + wide as u8);
        let code = code.of_bytes(self.lanes.width as u8).writing(Writes::NoRegister);
        self.lanes.build.here(Inst::new(code, value, None, Operand::Memory(address)).masked(Some(mask)));
    }

    fn store_one_by_one(&mut self, address: Address, step: i64, value: Reg) {
        const NARROW: Code = Code { suffix: "ps", ..Code::integer("vextract", 3, 0x17, 4) }.of_bytes(4);
        const WIDE: [Code; 2] =
            [Code::float("vmovl", 1, 0x13, 8).of_bytes(8), Code::float("vmovh", 1, 0x17, 8).of_bytes(8)];
        let bytes = step * self.lanes.width as i64;
        let upper = self.lanes.upper_half(value);
        for lane in 0..self.rest.count(self.lanes.count()) {
            let (half, lane_of_half) = (lane * self.lanes.width / 16, lane % (16 / self.lanes.width));
            let from = [value, upper][half];
            let to = Address { offset: address.offset + (bytes * lane as i64) as i32, ..address };
            let (code, immediate) = match self.lanes.width {
                4 => (NARROW, Some(lane_of_half as i32)),
                _ => (WIDE[lane_of_half], None),
            };
            let inst = Inst::new(code.scalar().writing(Writes::NoRegister), from, None, Operand::Memory(to));
            self.lanes.build.here(Inst { immediate, ..inst });
        }
    }
}
