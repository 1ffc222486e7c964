//! Truth values in memory: bytes of 0 or 1.

use super::lanes::Held;
use super::machine::{Address, Class, Code, Inst, Operand, Reg, Writes};
use super::nest::{Nest, Rest};

impl Nest<'_> {
    /// All the same, without a guard, or neighbours.
    pub(super) fn load_bools(&mut self, address: Address, step: i64, guard: Option<Reg>) -> Held {
        if !self.lanes.isa.has_masks() && step == 1 && (!self.rest.is_full() || guard.is_some()) {
            return self.load_bytes(address, guard);
        }
        let loaded = match step {
            0 => {
                let code = Code { suffix: "b", ..self.lanes.integer("vpbroadcast", 2, 0x78) };
                self.load_by(Code { is_wide: false, ..code }.of_bytes(1), address, None)
            }
            _ => {
                let (code, mask) = (self.bytes_to_lanes(), self.mask(guard));
                self.load_by(code, address, mask)
            }
        };
        Held::Mask(self.lanes.mask(loaded))
    }

    /// Bytes to lanes.
    fn bytes_to_lanes(&self) -> Code {
        let (suffix, byte) = if self.lanes.width == 8 { ("q", 0x32) } else { ("d", 0x31) };
        Code { suffix, is_wide: false, ..self.lanes.integer("vpmovzxb", 2, byte) }
            .of_bytes(self.lanes.count() as u8)
    }

    /// As bytes of 0 or 1.
    pub(super) fn store_bools(&mut self, address: Address, value: Held) {
        let wide = self.lanes.width == 8;
        let one = Held::Constant(1);
        let mask = self.lanes.mask(value);
        let ones = self.lanes.select(Held::Mask(mask), one, Held::Constant(0));
        let ones = self.lanes.register(ones);
        if !self.lanes.isa.has_masks() {
            return self.store_bytes(address, ones);
        }
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

    /// The bytes that are left, one by one: AVX2 has no masks for bytes.
    fn load_bytes(&mut self, address: Address, guard: Option<Reg>) -> Held {
        const INSERT: Code = Code { suffix: "b", ..Code::integer("vpinsr", 3, 0x20, 4) }.scalar().of_bytes(1);
        let (Rest::First(count), None) = (self.rest, guard) else { return self.lanes.unsupported() };
        let mut bytes = self.lanes.register(Held::Constant(0));
        for at in 0..count as i32 {
            let from = Operand::Memory(Address { offset: address.offset + at, ..address });
            let inst = |d| Inst::new(INSERT, d, bytes, from).with(at);
            bytes = self.lanes.build.loaded(Class::Vector, inst);
        }
        let code = self.bytes_to_lanes();
        let lanes = self.lanes.build.pure(Class::Vector, |d| Inst::new(code, d, None, Operand::Reg(bytes)));
        Held::Mask(self.lanes.mask(Held::Lanes(lanes)))
    }

    /// Lanes of 0 or 1 as bytes.
    fn store_bytes(&mut self, address: Address, ones: Reg) {
        const PACK: Code = Code { suffix: "", ..Code::integer("vpackssdw", 1, 0x6b, 4) }.scalar();
        const PACK_AGAIN: Code = Code { name: "vpacksswb", byte: 0x63, ..PACK };
        const EXTRACT: Code = Code { suffix: "b", ..Code::integer("vpextr", 3, 0x14, 4) }.scalar();
        let upper = self.lanes.upper_half(ones);
        let is_wide = self.lanes.width == 8;
        let low_halves = self.lanes.float("vshuf", 1, 0xc6);
        let low_halves = Code { suffix: "ps", prefix: 0, is_wide: false, ..low_halves }.scalar();
        let mut bytes = if is_wide {
            let inst = |d| Inst::new(low_halves, d, ones, Operand::Reg(upper)).with(0x88);
            let narrow = self.lanes.build.pure(Class::Vector, inst);
            self.lanes.build.pure(Class::Vector, |d| Inst::new(PACK, d, narrow, Operand::Reg(narrow)))
        } else {
            self.lanes.build.pure(Class::Vector, |d| Inst::new(PACK, d, ones, Operand::Reg(upper)))
        };
        bytes =
            self.lanes.build.pure(Class::Vector, |d| Inst::new(PACK_AGAIN, d, bytes, Operand::Reg(bytes)));
        let lanes = self.lanes.count();
        let count = if self.vector.is_some() { self.rest.count(lanes) } else { 1 };
        if count == lanes {
            let all = Code::integer("vmov", 1, 0x7e, lanes).scalar().of_bytes(lanes as u8);
            let inst = Inst::new(all.writing(Writes::NoRegister), bytes, None, Operand::Memory(address));
            return self.lanes.build.here(inst);
        }
        for at in 0..count as i32 {
            let to = Operand::Memory(Address { offset: address.offset + at, ..address });
            let code = EXTRACT.of_bytes(1).writing(Writes::NoRegister);
            self.lanes.build.here(Inst::new(code, bytes, None, to).with(at));
        }
    }
}
