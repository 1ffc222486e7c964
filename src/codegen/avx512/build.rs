//! Code on its way: instructions in nested loops, each in the outermost one where its operands exist, and the
//! constants behind them.

use std::collections::HashMap;

use super::machine::{Address, Bound, Class, Inst, Item, Operand, Reg, Role};

/// A loop being written, or the function around all.
struct Level {
    items: Vec<Item>,
    counter: Option<Reg>,
}

/// Writes instructions.
pub struct Builder {
    levels: Vec<Level>,
    /// The level where each register gets its value, by class and number.
    homes: HashMap<Reg, usize>,
    /// What was computed already, and is in a level still open.
    known: HashMap<Inst, Reg>,
    constants: Vec<u8>,
    places: HashMap<Vec<u8>, i32>,
    next: u32,
}

impl Builder {
    pub fn new() -> Builder {
        Builder {
            levels: vec![Level { items: vec![], counter: None }],
            homes: HashMap::new(),
            known: HashMap::new(),
            constants: vec![],
            places: HashMap::new(),
            next: 0,
        }
    }

    /// All instructions in order, and the constants.
    pub fn finish(mut self) -> (Vec<Item>, Vec<u8>) {
        (self.levels.pop().map_or(vec![], |level| level.items), self.constants)
    }

    /// The number of loops around.
    pub fn depth(&self) -> usize {
        self.levels.len() - 1
    }

    /// The number of loops around the instruction that gives a register its value.
    pub fn home(&self, reg: Reg) -> usize {
        self.homes[&reg]
    }

    fn fresh(&mut self, class: Class, level: usize) -> Reg {
        self.next += 1;
        let reg = Reg { class, number: self.next };
        self.homes.insert(reg, level);
        reg
    }

    /// A register that is written more than once, in the loop being written and those inside it.
    pub fn variable(&mut self, class: Class) -> Reg {
        self.fresh(class, self.depth())
    }

    /// Writes an instruction where the code stands.
    pub fn here(&mut self, inst: Inst) {
        self.push(self.depth(), Item::Inst(inst));
    }

    fn push(&mut self, level: usize, item: Item) {
        self.levels[level].items.push(item);
    }

    /// The result of an instruction that depends on nothing but its operands, computed as far out as they allow, and
    /// once. Its destination is a placeholder.
    pub fn pure(&mut self, class: Class, inst: impl Fn(Reg) -> Inst) -> Reg {
        let key = inst(Reg { class, number: 0 });
        if let Some(&known) = self.known.get(&key) {
            return known;
        }
        let operands = key.registers().filter(|(reg, role)| *role == Role::Use && reg.number != 0);
        let level = operands.map(|(reg, _)| self.homes[&reg]).max().unwrap_or(0);
        let reg = self.fresh(class, level);
        self.push(level, Item::Inst(inst(reg)));
        self.known.insert(key, reg);
        reg
    }

    /// The result of instructions that update what the first copies: as [`Builder::pure`], where they stand.
    pub fn updated(&mut self, start: Operand, class: Class, update: impl Fn(Reg) -> Inst) -> Reg {
        let used = |inst: &Inst| {
            let registers: Vec<Reg> =
                inst.registers().map(|(reg, _)| reg).filter(|reg| reg.number != 0).collect();
            registers
        };
        let placeholder = Reg { class, number: 0 };
        let (copy, change) = (Inst::load(placeholder, start), update(placeholder));
        let level =
            used(&copy).into_iter().chain(used(&change)).map(|reg| self.homes[&reg]).max().unwrap_or(0);
        let reg = self.fresh(class, level);
        self.push(level, Item::Inst(Inst::load(reg, start)));
        self.push(level, Item::Inst(update(reg)));
        reg
    }

    /// A load, which stays where it is.
    pub fn loaded(&mut self, class: Class, inst: impl Fn(Reg) -> Inst) -> Reg {
        let reg = self.fresh(class, self.depth());
        self.here(inst(reg));
        reg
    }

    /// An argument of the function.
    pub fn argument(&mut self, number: usize) -> Reg {
        let reg = self.fresh(Class::General, 0);
        let arguments =
            self.levels[0].items.iter().take_while(|item| matches!(item, Item::Argument { .. })).count();
        self.levels[0].items.insert(arguments, Item::Argument { reg, number });
        reg
    }

    /// Opens a loop and returns its counter.
    pub fn open(&mut self, from: Bound) -> Reg {
        let counter = self.variable(Class::General);
        self.here(match from {
            Bound::Number(from) => Inst::set(counter, from),
            Bound::Reg(from) => Inst::load(counter, Operand::Reg(from)),
        });
        self.levels.push(Level { items: vec![], counter: Some(counter) });
        // What depends on the counter changes with it.
        self.homes.insert(counter, self.depth());
        counter
    }

    /// Closes the innermost loop: its counter goes in steps to `to`.
    pub fn close(&mut self, step: i32, to: Bound) {
        let depth = self.depth();
        let Some(level) = self.levels.pop() else { return };
        self.known.retain(|_, reg| self.homes[reg] < depth);
        self.push(depth - 1, Item::Begin);
        self.levels[depth - 1].items.extend(level.items);
        if let Some(counter) = level.counter {
            self.push(depth - 1, Item::End { counter, step, to });
        }
    }

    /// Constants behind the code.
    pub fn constant(&mut self, bytes: &[u8]) -> Address {
        if let Some(&place) = self.places.get(bytes) {
            return Address::constant(place);
        }
        self.constants.resize(self.constants.len().next_multiple_of(bytes.len().max(4)), 0);
        let place = self.constants.len() as i32;
        self.constants.extend(bytes);
        self.places.insert(bytes.to_vec(), place);
        Address::constant(place)
    }
}
