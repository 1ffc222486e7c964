//! Code on its way: instructions in nested loops, each in the outermost one where its operands exist, and the
//! constants behind them.

use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};

use super::call::Call;
use super::machine::{Address, Bound, Class, Inst, Item, Operand, Reg};
use crate::loops::Place;

/// A loop being written, or the function around all.
struct Level {
    items: Vec<Item>,
    counter: Option<Reg>,
    /// Whether it is one of several copies in the level around.
    is_copy: bool,
}

/// A value that was computed.
#[derive(Clone, Copy)]
struct Known {
    reg: Reg,
    /// Where its instructions are.
    level: usize,
    at: usize,
}

/// Writes instructions.
pub struct Builder {
    arguments: Vec<Item>,
    levels: Vec<Level>,
    /// The level where each register gets its value, by number; placeholders have number 0.
    homes: Vec<usize>,
    /// What was computed already, and is in a level still open, by the hash of what computes it.
    known: FxHashMap<u64, Known>,
    constants: Constants,
}

/// The bytes behind the code.
#[derive(Default)]
pub struct Constants {
    pub bytes: Vec<u8>,
    places: FxHashMap<Vec<u8>, i32>,
}

impl Constants {
    /// Where these bytes lie.
    pub fn place(&mut self, bytes: &[u8]) -> Address {
        if let Some(&place) = self.places.get(bytes) {
            return Address::constant(place);
        }
        self.bytes.resize(self.bytes.len().next_multiple_of(bytes.len().max(4)), 0);
        let place = self.bytes.len() as i32;
        self.bytes.extend(bytes);
        self.places.insert(bytes.to_vec(), place);
        Address::constant(place)
    }
}

impl Builder {
    pub fn new() -> Builder {
        Builder {
            arguments: vec![],
            levels: vec![Level { items: vec![], counter: None, is_copy: false }],
            homes: vec![0],
            known: FxHashMap::default(),
            constants: Constants::default(),
        }
    }

    /// All instructions in order, and the constants.
    pub fn finish(mut self) -> (Vec<Item>, Constants) {
        let mut items = self.levels.pop().map_or(vec![], |level| level.items);
        items.splice(..0, self.arguments);
        (items, self.constants)
    }

    /// The number of loops around.
    pub fn loops(&self) -> usize {
        self.levels.iter().filter(|level| level.counter.is_some()).count()
    }

    /// The number of loops and copies around.
    pub fn depth(&self) -> usize {
        self.levels.len() - 1
    }

    /// The number of loops around the instruction that gives a register its value.
    pub fn home(&self, reg: Reg) -> usize {
        self.homes[reg.index()]
    }

    fn fresh(&mut self, class: Class, level: usize) -> Reg {
        self.homes.push(level);
        Reg { class, number: self.homes.len() as u32 - 1 }
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
        self.computed(class, None, |d| Item::Inst(inst(d)))
    }

    /// The result of an instruction that updates a copy of `start`: as [`Builder::pure`].
    pub fn updated(&mut self, start: Operand, class: Class, update: impl Fn(Reg) -> Inst) -> Reg {
        self.computed(class, Some(start), |d| Item::Inst(update(d)))
    }

    /// The result of a call, which leaves a copy of `otherwise` where no bit of its mask is set: as [`Builder::pure`].
    pub fn called(&mut self, otherwise: Option<Reg>, call: impl Fn(Reg) -> Call) -> Reg {
        self.computed(Class::Vector, otherwise.map(Operand::Reg), |d| Item::Call(call(d)))
    }

    /// The result of what a copy, if it starts with one, and an item compute: known, or new.
    fn computed(&mut self, class: Class, start: Option<Operand>, item: impl Fn(Reg) -> Item) -> Reg {
        let copy = |to| start.map(|start| Item::Inst(Inst::load(to, start)));
        let items = |to| copy(to).into_iter().chain([item(to)]);
        let placeholder = Reg { class, number: 0 };
        let mut hasher = FxHasher::default();
        items(placeholder).for_each(|item| item.hash(&mut hasher));
        let key = hasher.finish();
        // Hashes may be equal by chance: then the second is not known.
        if let Some(&Known { reg, level, at }) = self.known.get(&key)
            && reg.class == class
            && items(reg).zip(at..).all(|(item, at)| self.levels[level].items.get(at) == Some(&item))
        {
            return reg;
        }
        let outermost = items(placeholder).map(|item| self.level_of(&item)).max().unwrap_or(0);
        let level = self.copied(class, outermost);
        let reg = self.fresh(class, level);
        self.known.insert(key, Known { reg, level, at: self.levels[level].items.len() });
        items(reg).for_each(|item| self.push(level, item));
        reg
    }

    /// The level where all operands have their values.
    fn level_of(&self, item: &Item) -> usize {
        let mut level = 0;
        item.each_register(|reg, _| level = level.max(self.homes[reg.index()]));
        level
    }

    /// Vectors and masks that follow a counter differ from copy to copy: they are not all to be there from the start.
    fn copied(&self, class: Class, level: usize) -> usize {
        let is_copied = self.levels.get(level + 1).is_some_and(|inner| inner.is_copy);
        let has_counter = self.levels[level].counter.is_some();
        if class != Class::General && is_copied && has_counter { level + 1 } else { level }
    }

    /// A load, which stays where it is.
    pub fn loaded(&mut self, class: Class, inst: impl Fn(Reg) -> Inst) -> Reg {
        let reg = self.fresh(class, self.depth());
        self.here(inst(reg));
        reg
    }

    /// An argument of the function.
    pub fn argument(&mut self, number: usize) -> Reg {
        let known = self.arguments.iter().find_map(|item| match *item {
            Item::Argument { reg, number: other } if other == number => Some(reg),
            _ => None,
        });
        known.unwrap_or_else(|| {
            let reg = self.fresh(Class::General, 0);
            self.arguments.push(Item::Argument { reg, number });
            reg
        })
    }

    /// Where a buffer begins: a base and an offset in bytes.
    pub fn place(&mut self, place: Place) -> (Reg, i32) {
        match place {
            Place::State { offset } => (self.argument(0), offset as i32),
            Place::Output { offset } => (self.argument(2), offset as i32),
            Place::Arena { offset } => (self.argument(3), offset as i32),
            Place::Input { index } => {
                let table = Operand::Memory(Address::at(self.argument(1), index as i32 * 8));
                (self.pure(Class::General, |d| Inst::load(d, table)), 0)
            }
        }
    }

    /// Opens a loop and returns its counter.
    pub fn open(&mut self, from: Bound) -> Reg {
        let counter = self.variable(Class::General);
        self.here(match from {
            Bound::Number(from) => Inst::set(counter, from),
            Bound::Reg(from) => Inst::load(counter, Operand::Reg(from)),
        });
        self.levels.push(Level { items: vec![], counter: Some(counter), is_copy: false });
        self.changes(counter);
        counter
    }

    /// A register that has a value changes in the loop being written, and what depends on it does too.
    pub fn changes(&mut self, reg: Reg) {
        self.homes[reg.index()] = self.depth();
    }

    /// Closes the innermost loop: its counter goes in steps to `to`.
    pub fn close(&mut self, step: i32, to: Bound) {
        let depth = self.depth();
        let Some(level) = self.levels.pop() else { return };
        self.known.retain(|_, known| known.level < depth);
        self.push(depth - 1, Item::Begin);
        self.levels[depth - 1].items.extend(level.items);
        if let Some(counter) = level.counter {
            self.push(depth - 1, Item::End { counter, step, to });
        }
    }

    /// Begins one of several copies of code, which share what does not depend on the copy.
    pub fn open_copy(&mut self) {
        self.levels.push(Level { items: vec![], counter: None, is_copy: true });
    }

    /// Ends a copy, and returns its instructions.
    pub fn close_copy(&mut self) -> Vec<Item> {
        let depth = self.depth();
        self.known.retain(|_, known| known.level < depth);
        self.levels.pop().map_or(vec![], |level| level.items)
    }

    /// Writes instructions where the code stands.
    pub fn extend(&mut self, items: impl IntoIterator<Item = Item>) {
        let depth = self.depth();
        self.levels[depth].items.extend(items);
    }

    /// A constant behind the code.
    pub fn constant(&mut self, bytes: &[u8]) -> Address {
        self.constants.place(bytes)
    }
}
