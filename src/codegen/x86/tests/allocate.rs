//! Code computes the same with the processor's registers as with as many as it likes: both run on a machine of symbols.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::{Address, Base, Bound, Class, Code, Inst, Isa, Item, Operand, Reg, Writes};
use crate::codegen::x86::allocate::allocate;
use crate::codegen::x86::machine::{ARGUMENTS, Role, STACK};

const TURNS: usize = 3;

/// Values are hashes of how they were computed.
#[derive(Default)]
struct Machine {
    registers: HashMap<Reg, u64>,
    memory: HashMap<(u64, i32), u64>,
    /// What was stored outside the stack, in order.
    stored: Vec<(i32, u64)>,
}

fn hash(of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

impl Machine {
    fn run(items: &[Item]) -> Vec<(i32, u64)> {
        let arguments = ARGUMENTS.into_iter().zip(0..);
        let arguments = arguments.map(|(number, value)| (Reg { class: Class::General, number }, value));
        let mut machine = Machine { registers: arguments.collect(), ..Machine::default() };
        let mut open: Vec<(usize, usize)> = Vec::new();
        let mut at = 0;
        while let Some(item) = items.get(at) {
            match item {
                Item::Argument { number, .. } => {
                    item.each_register(|reg, _| {
                        machine.registers.insert(reg, *number as u64);
                    });
                }
                Item::Begin => open.push((at, 1)),
                Item::End { counter, to, .. } => {
                    let bound = if let Bound::Reg(to) = to { machine.registers[to] } else { 0 };
                    let next = hash((machine.registers[counter], bound));
                    machine.registers.insert(*counter, next);
                    let (begin, turn) = open.pop().unwrap();
                    if turn < TURNS {
                        open.push((begin, turn + 1));
                        at = begin;
                    }
                }
                Item::Inst(inst) => machine.inst(inst),
                Item::Call(_) => unreachable!(),
            }
            at += 1;
        }
        machine.stored
    }

    fn address(&self, address: Address) -> (u64, i32) {
        let Base::Reg(base) = address.base else { unreachable!() };
        (if base == STACK { u64::MAX } else { self.registers[&base] }, address.offset)
    }

    fn operand(&self, operand: Operand) -> u64 {
        match operand {
            Operand::Reg(reg) => self.registers.get(&reg).copied().unwrap_or(0),
            Operand::Memory(address) | Operand::Broadcast(address) => {
                let place = self.address(address);
                self.memory.get(&place).copied().unwrap_or_else(|| hash(place))
            }
        }
    }

    fn inst(&mut self, inst: &Inst) {
        let to = inst.reg.unwrap_or_else(|| match inst.operand {
            Operand::Reg(to) => to,
            _ => unreachable!(),
        });
        if let (Writes::NoRegister, Operand::Memory(address)) = (inst.code.writes, inst.operand) {
            let (place, value) = (self.address(address), self.registers[&to]);
            self.memory.insert(place, value);
            if place.0 != u64::MAX {
                self.stored.push((address.offset, value));
            }
            return;
        }
        let is_copy = *inst == Inst::load(to, inst.operand);
        let value = match (is_copy, inst.immediate) {
            (true, _) => self.operand(inst.operand),
            (_, Some(number)) => hash(number),
            _ => {
                let mut old = None;
                inst.each_register(|reg, role| {
                    old = old.or((role == Role::Update).then(|| self.registers[&reg]));
                });
                let mut operands =
                    [inst.second.map(|reg| self.registers[&reg]), Some(self.operand(inst.operand))];
                if inst.is_commutative() {
                    operands.sort_unstable();
                }
                hash((inst.code, old, operands))
            }
        };
        self.registers.insert(to, value);
    }
}

/// Random code with loops.
struct Random {
    state: u64,
    class: Class,
    count: u32,
    items: Vec<Item>,
    known: Vec<Reg>,
    variables: Vec<Reg>,
}

const POINTER: Reg = Reg { class: Class::General, number: 1 };

impl Random {
    fn code(seed: u64, class: Class, length: usize) -> Vec<Item> {
        let mut random =
            Random { state: seed, class, count: 1, items: vec![], known: vec![], variables: vec![] };
        random.items.push(Item::Argument { reg: POINTER, number: 0 });
        for _ in 0..20 {
            let variable = random.fresh(class);
            random.load(variable);
            random.variables.push(variable);
        }
        random.known = random.variables.clone();
        random.body(length, 0);
        for number in 0..random.known.len() {
            let known = random.known[number];
            random.push(Inst::store(known, Address::at(POINTER, number as i32)));
        }
        random.items
    }

    fn below(&mut self, bound: usize) -> usize {
        // Knuth's constants (MMIX).
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) as usize % bound
    }

    fn fresh(&mut self, class: Class) -> Reg {
        self.count += 1;
        Reg { class, number: self.count }
    }

    fn push(&mut self, inst: Inst) {
        self.items.push(Item::Inst(inst));
    }

    fn load(&mut self, to: Reg) {
        let offset = 64 * self.below(100) as i32;
        self.push(Inst::load(to, Operand::Memory(Address::at(POINTER, offset))));
    }

    /// Mostly one of the last values.
    fn any(&mut self) -> Reg {
        let among = if self.below(4) == 0 { self.known.len() } else { self.known.len().min(12) };
        let back = 1 + self.below(among);
        self.known[self.known.len() - back]
    }

    fn body(&mut self, length: usize, depth: usize) {
        let (add, fused) = match self.class {
            Class::General => (Code::plain("add", 0x03), Code::plain("add", 0x03)),
            Class::Vector => (Code::float("vadd", 1, 0x58, 4), Code::float("vfmadd231", 2, 0xb8, 4)),
            Class::Mask => (Code::mask("kandw", 0x41, true), Code::mask("kandw", 0x41, true)),
        };
        let fused = fused.writing(Writes::RegUpdated);
        for _ in 0..length {
            let [a, b, c] = [(); 3].map(|()| self.any());
            let (new, at) = (self.fresh(self.class), self.below(self.variables.len()));
            let variable = self.variables[at];
            match self.below(12) {
                0 => self.load(new),
                1..4 => self.push(Inst::new(add, new, a, Operand::Reg(b))),
                4 => {
                    self.push(Inst::load(new, Operand::Reg(c)));
                    self.push(Inst::new(fused, new, a, Operand::Reg(b)));
                }
                5 => self.push(Inst::load(new, Operand::Reg(a))),
                6 => self.push(Inst::new(fused, variable, a, Operand::Reg(b))),
                7 => self.push(Inst::new(add, variable, a, Operand::Reg(b))),
                8 => self.push(Inst::load(variable, Operand::Reg(a))),
                9 => self.push(Inst::store(a, Address::at(POINTER, 64 * at as i32))),
                10 if depth < 3 => self.inner(length / 2, depth + 1),
                _ => self.push(Inst::new(add, new, variable, Operand::Reg(a))),
            }
            let is_made = self
                .items
                .last()
                .is_some_and(|item| matches!(item, Item::Inst(inst) if inst.reg == Some(new)));
            if is_made {
                self.known.push(new);
            }
        }
    }

    fn inner(&mut self, length: usize, depth: usize) {
        let [counter, bound] = [(); 2].map(|()| self.fresh(Class::General));
        self.push(Inst::set(counter, 0));
        self.push(Inst::set(bound, depth as i32));
        self.items.push(Item::Begin);
        self.body(length, depth);
        self.items.push(Item::End { counter, step: 1, to: Bound::Reg(bound) });
    }
}

#[test]
fn nothing_is_lost_where_registers_run_out() {
    let kinds = Isa::ALL.into_iter().flat_map(|isa| {
        let classes = Class::ALL.into_iter().filter(move |&class| isa.bank(class) == class);
        classes.map(move |class| (isa, class))
    });
    for (isa, class) in kinds {
        let mut on_stack = 0;
        for seed in 0..100 {
            let code = Random::code(seed, class, 20 + seed as usize % 60);
            let allocated = allocate(code.clone(), isa);
            assert_eq!(
                Machine::run(&allocated.items),
                Machine::run(&code),
                "{isa:?}, {class:?}, code {seed}"
            );
            on_stack += usize::from(allocated.frame > 0);
            let limit = isa.registers(class).iter().max().unwrap() + 1;
            for item in &allocated.items {
                item.each_register(|reg, _| assert!(reg.class != class || reg.number < limit, "{item:?}"));
            }
        }
        assert!(on_stack > 50, "{isa:?}, {class:?}: {on_stack} codes use the stack");
    }
}
