//! Registers for virtual registers: linear scan (Poletto & Sarkar 1999), with whole lives on the stack for what finds
//! none. Loops are well nested, so lives are single intervals.

use rustc_hash::FxHashMap;

use super::encode;
use super::isa::Isa;
use super::machine::{ARGUMENTS, Address, Bound, Class, Inst, Item, Operand, Reg, Role, STACK, Writes};

/// Code with the processor's registers.
pub struct Allocated {
    pub items: Vec<Item>,
    /// Bytes on the stack.
    pub frame: u32,
    /// The registers that belong to the caller.
    pub saved: Vec<Reg>,
}

pub fn allocate(items: Vec<Item>, isa: Isa) -> Allocated {
    let count = count(&items);
    let items = without_unused(items, count);
    let lives = Life::all(&items, count);
    let mut places = Places { isa, of: vec![None; count], frame: 0 };
    for class in Class::ALL {
        places.scan(class, &lives);
    }
    let mut rewriting = Rewriting { places: &places, items: Vec::with_capacity(items.len()) };
    items.iter().for_each(|&item| rewriting.item(item));
    let saved = places.saved(&lives);
    Allocated { items: rewriting.items, frame: places.frame, saved }
}

/// One more than the highest number of a register: no two registers, of whatever class, have one number.
fn count(items: &[Item]) -> usize {
    let mut count = 0;
    items.iter().for_each(|item| item.each_register(|reg, _| count = count.max(reg.index() + 1)));
    count
}

/// Drops instructions whose results nothing uses: formulas compute more than they need.
fn without_unused(mut items: Vec<Item>, count: usize) -> Vec<Item> {
    let mut uses = vec![0; count];
    for item in &items {
        item.each_register(|reg, role| uses[reg.index()] += usize::from(role != Role::Define));
    }
    let mut is_kept = vec![true; items.len()];
    for (item, is_kept) in items.iter().zip(&mut is_kept).rev() {
        let mut is_unused = match item {
            Item::Inst(inst) => inst.code.writes != Writes::NoRegister,
            Item::Call(_) => true,
            _ => false,
        };
        item.each_register(|reg, role| {
            is_unused &= match role {
                Role::Define => uses[reg.index()] == 0,
                Role::Update => uses[reg.index()] == 1,
                Role::Use => true,
            };
        });
        if is_unused {
            *is_kept = false;
            item.each_register(|reg, role| uses[reg.index()] -= usize::from(role != Role::Define));
        }
    }
    let mut is_kept = is_kept.into_iter();
    items.retain(|_| is_kept.next() == Some(true));
    items
}

/// From the first to the last position where a register is mentioned, or the end of a loop that needs it again.
struct Life {
    reg: Reg,
    start: usize,
    end: usize,
    /// Mentions, those in inner loops counted several times.
    weight: f64,
    /// A good place: that of another register, or of an argument.
    hint: Hint,
}

#[derive(Clone, Copy)]
enum Hint {
    Nothing,
    With(Reg),
    Argument(u32),
}

impl Life {
    /// All lives, by their start.
    fn all(items: &[Item], count: usize) -> Vec<Life> {
        let ends = ends_of_loops(items);
        let mut known: Vec<Option<usize>> = vec![None; count];
        let mut lives: Vec<Life> = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        for (at, item) in items.iter().enumerate() {
            if matches!(item, Item::Begin) {
                open.push(at);
            }
            let weight = 8f64.powi(open.len() as i32);
            item.each_register(|reg, _| {
                let index = *known[reg.index()].get_or_insert_with(|| {
                    lives.push(Life { reg, start: at, end: at, weight: 0.0, hint: Hint::of(item) });
                    lives.len() - 1
                });
                let life = &mut lives[index];
                let again = open.iter().find(|&&begin| begin > life.start).map_or(at, |begin| ends[begin]);
                life.end = life.end.max(again);
                life.weight += weight;
            });
            if matches!(item, Item::End { .. }) {
                open.pop();
            }
        }
        lives
    }

    /// What it costs not to have a register, for each position that another can have it.
    fn density(&self) -> f64 {
        self.weight / (1 + self.end - self.start) as f64
    }
}

impl Hint {
    fn of(item: &Item) -> Hint {
        match item {
            Item::Argument { number, .. } => Hint::Argument(ARGUMENTS[*number]),
            Item::Inst(inst) => inst.moved().map_or(Hint::Nothing, |(_, from)| Hint::With(from)),
            _ => Hint::Nothing,
        }
    }
}

/// The end of each loop, by its start.
fn ends_of_loops(items: &[Item]) -> FxHashMap<usize, usize> {
    let (mut open, mut ends) = (Vec::new(), FxHashMap::default());
    for (at, item) in items.iter().enumerate() {
        match item {
            Item::Begin => open.push(at),
            Item::End { .. } => ends.extend(open.pop().map(|begin| (begin, at))),
            _ => {}
        }
    }
    ends
}

/// Where a value is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Register(u32),
    /// An offset from the stack pointer.
    Stack(i32),
}

struct Places {
    isa: Isa,
    /// By the number of the register.
    of: Vec<Option<Place>>,
    frame: u32,
}

impl Places {
    /// Gives every life of a class a register, or some of them the stack, for which others have to stand by.
    fn scan(&mut self, class: Class, lives: &[Life]) {
        let (all, standing_by) = self.isa.registers(class);
        let lives: Vec<&Life> = lives.iter().filter(|life| life.reg.class == class).collect();
        if self.try_scan(&lives, all) {
            return;
        }
        let fewer: Vec<u32> = all.iter().copied().filter(|number| !standing_by.contains(number)).collect();
        self.try_scan(&lives, &fewer);
        self.frame = self.frame.next_multiple_of(encode::size(class));
        for life in lives {
            self.of[life.reg.index()].get_or_insert_with(|| {
                self.frame += encode::size(class);
                Place::Stack((self.frame - encode::size(class)) as i32)
            });
        }
    }

    /// Whether registers suffice. Lives that find none have no place then.
    fn try_scan(&mut self, lives: &[&Life], registers: &[u32]) -> bool {
        let mut active: Vec<(&Life, u32)> = Vec::new();
        let mut free: Vec<u32> = registers.iter().rev().copied().collect();
        let mut is_enough = true;
        for &life in lives {
            active.retain(|&(other, number)| {
                let lives_on = other.end > life.start;
                if !lives_on {
                    free.push(number);
                }
                lives_on
            });
            if let Some(number) = self.take(&mut free, life.hint) {
                self.of[life.reg.index()] = Some(Place::Register(number));
                active.push((life, number));
                continue;
            }
            is_enough = false;
            let weakest = active.iter_mut().min_by(|(a, _), (b, _)| a.density().total_cmp(&b.density()));
            self.of[life.reg.index()] = None;
            if let Some(weakest) = weakest.filter(|(other, _)| other.density() < life.density()) {
                self.of[weakest.0.reg.index()] = None;
                self.of[life.reg.index()] = Some(Place::Register(weakest.1));
                weakest.0 = life;
            }
        }
        is_enough
    }

    fn take(&self, free: &mut Vec<u32>, hint: Hint) -> Option<u32> {
        let wanted = match hint {
            Hint::Nothing => None,
            Hint::Argument(number) => Some(number),
            Hint::With(reg) => match self.of[reg.index()] {
                Some(Place::Register(number)) => Some(number),
                _ => None,
            },
        };
        match wanted.and_then(|wanted| free.iter().position(|&number| number == wanted)) {
            Some(at) => Some(free.remove(at)),
            None => free.pop(),
        }
    }

    /// The registers in use that the caller expects to find again.
    fn saved(&self, lives: &[Life]) -> Vec<Reg> {
        let general = || lives.iter().filter(|life| life.reg.class == Class::General);
        let is_used =
            |number: u32| general().any(|life| self.of[life.reg.index()] == Some(Place::Register(number)));
        let callers = [3, 5, 12, 13, 14, 15].into_iter().filter(|&number| is_used(number));
        callers.map(|number| Reg { class: Class::General, number }).collect()
    }
}

/// Puts places for virtual registers.
struct Rewriting<'p> {
    places: &'p Places,
    items: Vec<Item>,
}

impl Rewriting<'_> {
    fn item(&mut self, item: Item) {
        match item {
            Item::Begin => self.items.push(Item::Begin),
            Item::Inst(_) | Item::Call(_) => self.code(item),
            Item::Argument { reg, number } => {
                let from = Reg { class: Class::General, number: ARGUMENTS[number] };
                match self.places.of[reg.index()] {
                    Some(Place::Stack(offset)) => self.put_aside(from, offset),
                    Some(Place::Register(number)) if number != from.number => {
                        self.items.push(Item::Inst(Inst::load(Reg { number, ..from }, Operand::Reg(from))));
                    }
                    _ => {}
                }
            }
            Item::End { counter, step, to } => self.end(counter, step, to),
        }
    }

    /// A counter or a bound on the stack is brought to a register.
    fn end(&mut self, counter: Reg, step: i32, to: Bound) {
        let standing_by = self.places.isa.registers(Class::General).1;
        let to = match to {
            Bound::Reg(to) => Bound::Reg(self.brought(to, standing_by[1])),
            number => number,
        };
        let at = self.brought(counter, standing_by[0]);
        let Some(Place::Stack(offset)) = self.places.of[counter.index()] else {
            return self.items.push(Item::End { counter: at, step, to });
        };
        self.items.push(Item::Inst(Inst::add(at, at, step)));
        self.put_aside(at, offset);
        self.items.push(Item::End { counter: at, step: 0, to });
    }

    /// The register of a value, which is loaded to the given one if it lies on the stack.
    fn brought(&mut self, reg: Reg, stand_in: u32) -> Reg {
        match self.places.of[reg.index()] {
            None => reg,
            Some(Place::Register(number)) => Reg { number, ..reg },
            Some(Place::Stack(offset)) => {
                let stand_in = Reg { number: stand_in, ..reg };
                self.items
                    .push(Item::Inst(Inst::load(stand_in, Operand::Memory(Address::at(STACK, offset)))));
                stand_in
            }
        }
    }

    fn put_aside(&mut self, reg: Reg, offset: i32) {
        self.items.push(Item::Inst(Inst::store(reg, Address::at(STACK, offset))));
    }

    /// An instruction or a call. Registers that are on the stack have others stand in for them.
    fn code(&mut self, item: Item) {
        let mut on_stack: Vec<(Reg, Role, i32)> = Vec::new();
        item.each_register(|reg, role| {
            if let Some(Place::Stack(offset)) = self.places.of[reg.index()] {
                on_stack.push((reg, role, offset));
            }
        });
        let mut standing_in: Vec<(Reg, Reg)> = Vec::new();
        let mut to_store = Vec::new();
        for &(reg, role, offset) in &on_stack {
            if standing_in.iter().any(|&(of, _)| of == reg) {
                continue;
            }
            let taken = standing_in.iter().filter(|(of, _)| of.class == reg.class).count();
            let stand_in = Reg { number: self.places.isa.registers(reg.class).1[taken], ..reg };
            standing_in.push((reg, stand_in));
            if role != Role::Define || on_stack.contains(&(reg, Role::Use, offset)) {
                self.items
                    .push(Item::Inst(Inst::load(stand_in, Operand::Memory(Address::at(STACK, offset)))));
            }
            if role != Role::Use {
                to_store.push((stand_in, offset));
            }
        }
        let item = item.map(|reg| match self.places.of[reg.index()] {
            Some(Place::Register(number)) => Reg { number, ..reg },
            Some(Place::Stack(_)) => standing_in.iter().find(|(of, _)| *of == reg).map_or(reg, |pair| pair.1),
            None => reg,
        });
        if !matches!(item, Item::Inst(inst) if inst.moved().is_some_and(|(to, from)| to == from)) {
            self.items.push(item);
        }
        to_store.into_iter().for_each(|(reg, offset)| self.put_aside(reg, offset));
    }
}
