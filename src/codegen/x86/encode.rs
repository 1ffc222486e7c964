//! Bytes of instructions (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, chapter 2).

use super::call::{self, Call, FRAME};
use super::isa::Isa;
use super::machine::{Address, Base, Bound, Code, Form, Inst, Item, Operand, Reg, STACK};

const RETURN: u8 = 0xc3;

/// Machine code on its way.
pub struct Encoder {
    isa: Isa,
    bytes: Vec<u8>,
    /// The starts of open loops.
    loops: Vec<usize>,
    /// Where the distance to the constants is to be filled in, what is added to it, and where it counts from.
    fixups: Vec<(usize, i32, usize)>,
    /// Calls behind the function, and where the jumps to them end.
    rare: Vec<(Call, usize)>,
    /// Where calls of bridges end, and what the bridges call.
    bridged: Vec<(Address, usize)>,
}

/// The parts of an operand that are spread over prefix and body.
struct Place {
    /// High bits of the operand's registers: of a base or a register, and of an index or of a vector above 15.
    b: bool,
    x: bool,
    /// Bit 4 of a vector index.
    v: bool,
}

const fn high(number: u32) -> bool {
    number & 8 != 0
}

impl Encoder {
    pub fn new(isa: Isa) -> Encoder {
        Encoder { isa, bytes: vec![], loops: vec![], fixups: vec![], rare: vec![], bridged: vec![] }
    }

    /// The code of a whole function, with the constants behind it.
    pub fn function(isa: Isa, items: &[Item], frame: u32, saved: &[Reg], constants: &[u8]) -> Vec<u8> {
        let mut encoder = Encoder::new(isa);
        for &reg in saved {
            encoder.push_or_pop(0x50, reg);
        }
        encoder.move_stack(-(frame as i32));
        items.iter().for_each(|item| encoder.item(item));
        encoder.move_stack(frame as i32);
        for &reg in saved.iter().rev() {
            encoder.push_or_pop(0x58, reg);
        }
        encoder.clean();
        encoder.bytes.push(RETURN);
        encoder.rare_calls();
        encoder.bridges(items);
        encoder.with_constants(constants)
    }

    /// vzeroupper: what is called and returned to uses legacy SSE, which crawls with dirty upper halves. Short vectors have
    /// none: writing them clears what is above.
    fn clean(&mut self) {
        if self.isa != Isa::Avx2Short {
            self.bytes.extend([0xc5, 0xf8, 0x77]);
        }
    }

    /// What has been encoded.
    #[cfg(test)]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn with_constants(mut self, constants: &[u8]) -> Vec<u8> {
        self.bytes.resize(self.bytes.len().next_multiple_of(64), 0xcc);
        let start = self.bytes.len() as i32;
        for (at, offset, from) in self.fixups {
            self.bytes[at..at + 4].copy_from_slice(&(start + offset - from as i32).to_le_bytes());
        }
        self.bytes.extend(constants);
        self.bytes
    }

    fn push_or_pop(&mut self, byte: u8, reg: Reg) {
        if high(reg.number) {
            self.bytes.push(0x41);
        }
        self.bytes.push(byte + (reg.number & 7) as u8);
    }

    fn move_stack(&mut self, by: i32) {
        if by != 0 {
            self.inst(&Inst::add(STACK, STACK, by));
        }
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Inst(inst) => self.inst(inst),
            Item::Begin => self.loops.push(self.bytes.len()),
            Item::End { counter, step, to } => {
                const ADD: Code = Code::plain("add", 0x81);
                const COMPARE: Code = Code::plain("cmp", 0x81).with_digit(7);
                const COMPARE_BOTH: Code = Code::plain("cmp", 0x3b);
                self.inst(&Inst::new(ADD, None, None, Operand::Reg(*counter)).with(*step));
                self.inst(&match *to {
                    Bound::Number(to) => Inst::new(COMPARE, None, None, Operand::Reg(*counter)).with(to),
                    Bound::Reg(to) => Inst::new(COMPARE_BOTH, *counter, None, Operand::Reg(to)),
                });
                let start = self.loops.pop().unwrap_or(0);
                self.bytes.extend([0x0f, 0x8c]);
                self.back_to(start);
            }
            Item::Call(call) => self.call(call),
            Item::Argument { .. } => {}
        }
    }

    /// The distance of a jump back.
    fn back_to(&mut self, start: usize) {
        let distance = start as i64 - (self.bytes.len() as i64 + 4);
        self.bytes.extend((distance as i32).to_le_bytes());
    }

    /// Fills in the distance of a jump that ends there and goes to what comes next.
    fn land(&mut self, jump: usize) {
        let distance = (self.bytes.len() - jump) as i32;
        self.bytes[jump - 4..jump].copy_from_slice(&distance.to_le_bytes());
    }

    /// In place, or behind the function if it is rare.
    fn call(&mut self, call: &Call) {
        let Some(mask) = call.mask else { return self.call_bridge(call) };
        self.inst(&Call::test(mask));
        self.bytes.extend([0x0f, 0x85, 0, 0, 0, 0]);
        self.rare.push((*call, self.bytes.len()));
    }

    fn call_bridge(&mut self, call: &Call) {
        let [before, after] = call.around();
        before.iter().for_each(|inst| self.inst(inst));
        self.bytes.extend([0xe8, 0, 0, 0, 0]);
        self.bridged.push((call.function, self.bytes.len()));
        after.iter().for_each(|inst| self.inst(inst));
    }

    fn rare_calls(&mut self) {
        for (call, jump) in std::mem::take(&mut self.rare) {
            self.land(jump);
            self.call_bridge(&call);
            self.bytes.push(0xe9);
            self.back_to(jump);
        }
    }

    /// One for each function called.
    fn bridges(&mut self, items: &[Item]) {
        if self.bridged.is_empty() {
            return;
        }
        let registers = call::to_put_aside(items);
        while let Some(&(function, _)) = self.bridged.first() {
            let (these, others) =
                std::mem::take(&mut self.bridged).into_iter().partition(|call| call.0 == function);
            self.bridged = others;
            let these: Vec<(Address, usize)> = these;
            these.into_iter().for_each(|(_, jump)| self.land(jump));
            let [before, after] = call::bridge(self.isa, function, &registers);
            self.push_or_pop(0x50, FRAME);
            before.iter().for_each(|inst| self.inst(inst));
            self.clean();
            after.iter().for_each(|inst| self.inst(inst));
            self.push_or_pop(0x58, FRAME);
            self.bytes.push(RETURN);
        }
    }

    pub fn inst(&mut self, inst: &Inst) {
        let place = match inst.operand {
            Operand::Reg(reg) => Place { b: high(reg.number), x: reg.number & 16 != 0, v: false },
            Operand::Memory(address) | Operand::Broadcast(address) => Place {
                b: matches!(address.base, Base::Reg(reg) if high(reg.number)),
                x: address.index.is_some_and(|(reg, _)| high(reg.number)),
                v: address.index.is_some_and(|(reg, _)| reg.number & 16 != 0),
            },
        };
        match inst.code.form {
            Form::Vector if self.isa.has_masks() => self.evex(inst, &place),
            Form::Vector => self.vex(inst, &place, self.isa == Isa::Avx2 && !inst.code.is_scalar),
            Form::Mask { is_binary } => self.vex(inst, &place, is_binary),
            Form::Plain => self.rex(inst, &place),
        }
        self.bytes.push(inst.code.byte);
        self.body(inst);
    }

    fn evex(&mut self, inst: &Inst, place: &Place) {
        let Code { map, prefix, is_wide, digit, is_scalar, .. } = inst.code;
        let reg = inst.reg.map_or(digit.into(), |reg| reg.number);
        let second = inst.second.map_or(0, |reg| reg.number);
        let is_broadcast = matches!(inst.operand, Operand::Broadcast(_));
        let bit = |set: bool, at: u8| u8::from(set) << at;
        self.bytes.extend([
            0x62,
            bit(!high(reg), 7) | bit(!place.x, 6) | bit(!place.b, 5) | bit(reg & 16 == 0, 4) | map,
            bit(is_wide, 7) | (!second as u8 & 15) << 3 | 4 | prefix,
            bit(inst.zeroes, 7)
                | if is_scalar { 0 } else { 0x40 }
                | bit(is_broadcast, 4)
                | bit(second & 16 == 0 && !place.v, 3)
                | inst.mask.map_or(0, |mask| mask.number as u8),
        ]);
    }

    fn vex(&mut self, inst: &Inst, place: &Place, is_long: bool) {
        let Code { map, prefix, is_wide, digit, .. } = inst.code;
        let reg = inst.reg.map_or(digit.into(), |reg| reg.number);
        let second = inst.second.map_or(0, |reg| reg.number);
        let bit = |set: bool, at: u8| u8::from(set) << at;
        self.bytes.extend([
            0xc4,
            bit(!high(reg), 7) | bit(!place.x, 6) | bit(!place.b, 5) | map,
            bit(is_wide, 7) | (!second as u8 & 15) << 3 | bit(is_long, 2) | prefix,
        ]);
    }

    fn rex(&mut self, inst: &Inst, place: &Place) {
        let bit = |set: bool, at: u8| u8::from(set) << at;
        let reg = inst.reg.is_some_and(|reg| high(reg.number));
        self.bytes.push(0x40 | bit(inst.code.is_wide, 3) | bit(reg, 2) | bit(place.x, 1) | bit(place.b, 0));
        if inst.code.map == 1 {
            self.bytes.push(0x0f);
        }
    }

    /// The bytes that follow the opcode.
    fn body(&mut self, inst: &Inst) {
        let reg = inst.reg.map_or(inst.code.digit, |reg| reg.number as u8) & 7;
        let immediate = self.immediate(inst);
        match inst.operand {
            Operand::Reg(operand) => self.bytes.push(0xc0 | reg << 3 | (operand.number & 7) as u8),
            Operand::Memory(address) => {
                let unit = self.unit(inst, inst.code.bytes);
                self.address(reg, address, unit, immediate.len());
            }
            Operand::Broadcast(address) => {
                let unit = self.unit(inst, if inst.code.is_wide { 8 } else { 4 });
                self.address(reg, address, unit, immediate.len());
            }
        }
        self.bytes.extend(immediate);
    }

    /// What follows the operands: a number, or the register of a mask.
    fn immediate(&self, inst: &Inst) -> Vec<u8> {
        match (inst.immediate, inst.mask) {
            (Some(immediate), _) if inst.code.form == Form::Plain => immediate.to_le_bytes().to_vec(),
            (Some(immediate), _) => vec![immediate as u8],
            (None, Some(mask)) if !self.isa.has_masks() => vec![(mask.number as u8) << 4],
            (None, _) => vec![],
        }
    }

    /// In EVEX instructions a short offset counts in units of what is accessed.
    fn unit(&self, inst: &Inst, bytes: u8) -> i32 {
        if inst.code.form == Form::Vector && self.isa.has_masks() { bytes.into() } else { 1 }
    }

    fn address(&mut self, reg: u8, address: Address, unit: i32, immediate_bytes: usize) {
        let Base::Reg(base) = address.base else {
            self.bytes.push(reg << 3 | 5);
            self.fixups.push((self.bytes.len(), address.offset, self.bytes.len() + 4 + immediate_bytes));
            self.bytes.extend([0; 4]);
            return;
        };
        let short = (address.offset % unit == 0).then(|| i8::try_from(address.offset / unit).ok()).flatten();
        let low = (base.number & 7) as u8;
        let mode = match short {
            Some(0) if low != 5 => 0,
            Some(_) => 1,
            None => 2,
        };
        match address.index {
            None if low != 4 => self.bytes.push(mode << 6 | reg << 3 | low),
            index => {
                let (index, scale) = index.unwrap_or((STACK, 1));
                let index = (index.number & 7) as u8;
                self.bytes.extend([
                    mode << 6 | reg << 3 | 4,
                    (scale.trailing_zeros() as u8) << 6 | index << 3 | low,
                ]);
            }
        }
        match (mode, short) {
            (1, Some(short)) => self.bytes.push(short as u8),
            (2, _) => self.bytes.extend(address.offset.to_le_bytes()),
            _ => {}
        }
    }
}
