//! Calls of the library's functions, on all lanes of vectors. Code runs around a call without losing a register: what the
//! kernel uses and the callee may change is put aside by a *bridge*, one for each function, behind the kernel.

use std::fmt;

use super::isa::Isa;
use super::machine::{Address, Class, Code, Inst, Item, Operand, Reg, Role, STACK, Writes};
use crate::codegen::math::place;

/// `result = function(operands)` in the lanes of the mask, or in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    pub name: &'static str,
    /// Where its address lies.
    pub function: Address,
    pub operands: [Reg; 2],
    pub result: Reg,
    /// Where no bit is set there is no call.
    pub mask: Option<Reg>,
    /// How many lanes there are, and whether of 64 bits.
    pub lanes: usize,
    pub is_wide: bool,
}

const POINTER: Reg = Reg { class: Class::General, number: 7 };
pub const FRAME: Reg = Reg { class: Class::General, number: 5 };
/// General registers that a callee may change, by the System V convention.
const CHANGED: [u32; 9] = [0, 1, 2, 6, 7, 8, 9, 10, 11];

impl Call {
    pub fn each_register(&self, mut f: impl FnMut(Reg, Role)) {
        self.operands.into_iter().chain(self.mask).for_each(|reg| f(reg, Role::Use));
        f(self.result, if self.mask.is_some() { Role::Update } else { Role::Define });
    }

    /// The call with each register replaced.
    pub fn map(self, mut f: impl FnMut(Reg) -> Reg) -> Call {
        Call {
            operands: self.operands.map(&mut f),
            result: f(self.result),
            mask: self.mask.map(&mut f),
            ..self
        }
    }

    /// Sets flags: zero if no lane needs the call.
    pub fn test(mask: Reg) -> Inst {
        const BITS: Code = Code::mask("kortestw", 0x98, false).writing(Writes::NoRegister);
        const SIGNS: Code =
            Code { suffix: "ps", ..Code::integer("vtest", 2, 0x0e, 4) }.writing(Writes::NoRegister);
        let code = if mask.class == Class::Mask { BITS } else { SIGNS };
        Inst::new(code, mask, None, Operand::Reg(mask))
    }

    /// What comes before the call of the bridge, and after it: the operands go by way of the stack.
    pub fn around(&self) -> [Vec<Inst>; 2] {
        const SET: Code = Code::plain("mov", 0xc7).writing(Writes::NoRegister);
        let mut before = vec![Inst::add(STACK, STACK, -place::SIZE)];
        before.extend(self.operands.iter().zip(place::OPERANDS).map(|(&x, to)| Inst::store(x, at(to))));
        match self.mask {
            Some(mask) => {
                before.push(Inst::store(self.result, at(place::RESULT)));
                before.extend(self.mask_to_memory(mask));
            }
            None => {
                let all = (1 << self.lanes) - 1;
                before.push(Inst::new(SET, None, None, Operand::Memory(at(place::MASK))).with(all));
            }
        }
        let result = Inst::load(self.result, Operand::Memory(at(place::RESULT)));
        [before, vec![result, Inst::add(STACK, STACK, place::SIZE)]]
    }

    /// A mask in a vector is the signs of its lanes. They go by way of a register, which is put where its value goes next.
    fn mask_to_memory(&self, mask: Reg) -> Vec<Inst> {
        if mask.class == Class::Mask {
            return vec![Inst::store(mask, at(place::MASK))];
        }
        const SIGNS: Code = Code::float("vmovmsk", 1, 0x50, 4);
        const WIDE_SIGNS: Code = Code::float("vmovmsk", 1, 0x50, 8);
        const EXCHANGE: Code = Code::plain("xchg", 0x87).writing(Writes::NoRegister);
        let signs = if self.is_wide { WIDE_SIGNS } else { SIGNS };
        let bits = Reg { class: Class::General, number: 0 };
        let swap = Inst::new(EXCHANGE, bits, None, Operand::Memory(at(place::MASK)));
        vec![Inst::store(bits, at(place::MASK)), Inst::new(signs, bits, None, Operand::Reg(mask)), swap]
    }
}

fn at(offset: i32) -> Address {
    Address::at(STACK, offset)
}

/// A bridge, between putting the frame pointer aside and returning, in two halves with clean vectors between them: it
/// puts these registers aside and calls the function whose address lies there.
pub fn bridge(isa: Isa, function: Address, registers: &[Reg]) -> [Vec<Inst>; 2] {
    const AND: Code = Code::plain("and", 0x81).with_digit(4).writing(Writes::Operand);
    const CALL: Code = Code::plain("call", 0xff).with_digit(2).writing(Writes::NoRegister);
    let mut size = 0u32;
    let mut aside = Vec::new();
    // The largest first, so that each lies at a multiple of its size.
    for class in [Class::Vector, Class::Mask, Class::General] {
        for &reg in registers.iter().filter(|reg| reg.class == class) {
            aside.push((reg, Address::at(STACK, size as i32)));
            size += isa.size(class);
        }
    }
    let mut before = vec![
        Inst::load(FRAME, Operand::Reg(STACK)),
        Inst::new(AND, None, None, Operand::Reg(STACK)).with(-64),
        Inst::add(STACK, STACK, -(size.next_multiple_of(64) as i32)),
    ];
    before.extend(aside.iter().map(|&(reg, at)| Inst::store(reg, at)));
    // Above the old frame pointer and the return address.
    before.push(Inst::address(POINTER, Address::at(FRAME, 16)));
    let mut after = vec![Inst::new(CALL, None, None, Operand::Memory(function))];
    after.extend(aside.iter().map(|&(reg, at)| Inst::load(reg, Operand::Memory(at))));
    after.push(Inst::load(STACK, Operand::Reg(FRAME)));
    [before, after]
}

/// The registers in use that a callee may change.
pub fn to_put_aside(items: &[Item]) -> Vec<Reg> {
    let mut is_used = [[false; 32]; 3];
    items.iter().for_each(|item| {
        item.each_register(|reg, _| is_used[reg.class as usize][reg.index()] = true);
    });
    let all = Class::ALL.into_iter().flat_map(|class| (0..32).map(move |number| Reg { class, number }));
    let used = all.filter(|reg| is_used[reg.class as usize][reg.index()]);
    used.filter(|reg| reg.class != Class::General || CHANGED.contains(&reg.number)).collect()
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.operands;
        let mask = self.mask.map_or(String::new(), |mask| format!("{{{mask}}}"));
        write!(f, "call {}{mask} {}, {first}, {second}", self.name, self.result)
    }
}
