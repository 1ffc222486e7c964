//! Registers for virtual registers: linear scan (Poletto & Sarkar 1999), with whole lives on the stack for what finds
//! none. Loops are well nested, so lives are single intervals.

use std::collections::HashMap;

use super::encode;
use super::machine::{ARGUMENTS, Address, Bound, Class, Inst, Item, Operand, Reg, Role, STACK, Writes};

/// Code with the processor's registers.
pub struct Allocated {
    pub items: Vec<Item>,
    /// Bytes on the stack.
    pub frame: u32,
    /// The registers that belong to the caller.
    pub saved: Vec<Reg>,
}

pub fn allocate(items: Vec<Item>) -> Allocated {
    let items = without_unused(items);
    let lives = Life::all(&items);
    let mut places = Places::default();
    for class in Class::ALL {
        places.scan(class, &lives);
    }
    let mut rewriting = Rewriting { places: &places, items: Vec::with_capacity(items.len()) };
    items.iter().for_each(|&item| rewriting.item(item));
    let saved = places.saved();
    Allocated { items: rewriting.items, frame: places.frame, saved }
}

/// Drops instructions whose results nothing uses: formulas compute more than they need.
fn without_unused(items: Vec<Item>) -> Vec<Item> {
    let mut uses: HashMap<Reg, usize> = HashMap::new();
    for item in &items {
        each_register(item, |reg, role| *uses.entry(reg).or_default() += usize::from(role != Role::Define));
    }
    let mut kept = Vec::with_capacity(items.len());
    for item in items.into_iter().rev() {
        let is_unused = match &item {
            Item::Inst(inst) => {
                inst.code.writes != Writes::NoRegister
                    && inst.registers().all(|(reg, role)| match role {
                        Role::Define => uses[&reg] == 0,
                        Role::Update => uses[&reg] == 1,
                        Role::Use => true,
                    })
            }
            _ => false,
        };
        match is_unused {
            true => each_register(&item, |reg, role| {
                if role != Role::Define {
                    uses.entry(reg).and_modify(|count| *count -= 1);
                }
            }),
            false => kept.push(item),
        }
    }
    kept.reverse();
    kept
}

fn each_register(item: &Item, mut f: impl FnMut(Reg, Role)) {
    match item {
        Item::Inst(inst) => inst.registers().for_each(|(reg, role)| f(reg, role)),
        Item::Begin => {}
        Item::End { counter, to, .. } => {
            f(*counter, Role::Update);
            if let Bound::Reg(to) = to {
                f(*to, Role::Use);
            }
        }
        Item::Argument { reg, .. } => f(*reg, Role::Define),
    }
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
    fn all(items: &[Item]) -> Vec<Life> {
        let ends = ends_of_loops(items);
        let mut known: HashMap<Reg, usize> = HashMap::new();
        let mut lives: Vec<Life> = Vec::new();
        let mut open: Vec<usize> = Vec::new();
        for (at, item) in items.iter().enumerate() {
            if matches!(item, Item::Begin) {
                open.push(at);
            }
            each_register(item, |reg, _| {
                let index = *known.entry(reg).or_insert_with(|| {
                    lives.push(Life { reg, start: at, end: at, weight: 0.0, hint: Hint::of(item) });
                    lives.len() - 1
                });
                let life = &mut lives[index];
                let again = open.iter().find(|&&begin| begin > life.start).map_or(at, |begin| ends[begin]);
                life.end = life.end.max(again);
                life.weight += 8f64.powi(open.len() as i32);
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
fn ends_of_loops(items: &[Item]) -> HashMap<usize, usize> {
    let (mut open, mut ends) = (Vec::new(), HashMap::new());
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

#[derive(Default)]
struct Places {
    of: HashMap<Reg, Place>,
    frame: u32,
}

/// The registers to hand out, those of the caller last; and those that stand in for values on the stack.
fn registers(class: Class) -> (&'static [u32], [u32; 3]) {
    match class {
        Class::General => (&[0, 10, 11, 9, 8, 1, 2, 6, 7, 3, 5, 12, 13, 14, 15], [0, 10, 11]),
        Class::Vector => {
            const ALL: [u32; 32] = {
                let mut all = [0; 32];
                let mut number = 0;
                while number < 32 {
                    all[number] = 31 - number as u32;
                    number += 1;
                }
                all
            };
            (&ALL, [31, 30, 29])
        }
        Class::Mask => (&[1, 2, 3, 4, 5, 6, 7], [1, 2, 3]),
    }
}

impl Places {
    /// Gives every life of a class a register, or some of them the stack, for which three registers have to stand by.
    fn scan(&mut self, class: Class, lives: &[Life]) {
        let (all, standing_by) = registers(class);
        let lives: Vec<&Life> = lives.iter().filter(|life| life.reg.class == class).collect();
        if self.try_scan(&lives, all) {
            return;
        }
        let fewer: Vec<u32> = all.iter().copied().filter(|number| !standing_by.contains(number)).collect();
        self.try_scan(&lives, &fewer);
        self.frame = self.frame.next_multiple_of(encode::size(class));
        for life in lives {
            self.of.entry(life.reg).or_insert_with(|| {
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
                self.of.insert(life.reg, Place::Register(number));
                active.push((life, number));
                continue;
            }
            is_enough = false;
            let weakest = active.iter_mut().min_by(|(a, _), (b, _)| a.density().total_cmp(&b.density()));
            self.of.remove(&life.reg);
            if let Some(weakest) = weakest.filter(|(other, _)| other.density() < life.density()) {
                self.of.remove(&weakest.0.reg);
                self.of.insert(life.reg, Place::Register(weakest.1));
                weakest.0 = life;
            }
        }
        is_enough
    }

    fn take(&self, free: &mut Vec<u32>, hint: Hint) -> Option<u32> {
        let wanted = match hint {
            Hint::Nothing => None,
            Hint::Argument(number) => Some(number),
            Hint::With(reg) => match self.of.get(&reg) {
                Some(&Place::Register(number)) => Some(number),
                _ => None,
            },
        };
        match wanted.and_then(|wanted| free.iter().position(|&number| number == wanted)) {
            Some(at) => Some(free.remove(at)),
            None => free.pop(),
        }
    }

    /// The registers in use that the caller expects to find again.
    fn saved(&self) -> Vec<Reg> {
        let is_used = |number: u32| {
            self.of
                .iter()
                .any(|(reg, &place)| reg.class == Class::General && place == Place::Register(number))
        };
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
            Item::Inst(inst) => self.inst(inst),
            Item::Argument { reg, number } => {
                let from = Reg { class: Class::General, number: ARGUMENTS[number] };
                match self.places.of[&reg] {
                    Place::Stack(offset) => self.put_aside(from, offset),
                    Place::Register(number) if number == from.number => {}
                    Place::Register(number) => {
                        self.items.push(Item::Inst(Inst::load(Reg { number, ..from }, Operand::Reg(from))));
                    }
                }
            }
            Item::End { counter, step, to } => self.end(counter, step, to),
        }
    }

    /// A counter or a bound on the stack is brought to a register.
    fn end(&mut self, counter: Reg, step: i32, to: Bound) {
        let [first, second, _] = registers(Class::General).1;
        let to = match to {
            Bound::Reg(to) => Bound::Reg(self.brought(to, second)),
            number => number,
        };
        let at = self.brought(counter, first);
        match self.places.of[&counter] {
            Place::Register(_) => self.items.push(Item::End { counter: at, step, to }),
            Place::Stack(offset) => {
                self.items.push(Item::Inst(Inst::add(at, at, step)));
                self.put_aside(at, offset);
                self.items.push(Item::End { counter: at, step: 0, to });
            }
        }
    }

    /// The register of a value, which is loaded to the given one if it lies on the stack.
    fn brought(&mut self, reg: Reg, stand_in: u32) -> Reg {
        match self.places.of[&reg] {
            Place::Register(number) => Reg { number, ..reg },
            Place::Stack(offset) => {
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

    fn inst(&mut self, inst: Inst) {
        let mut standing_in: Vec<(Reg, Reg)> = Vec::new();
        let mut to_store = Vec::new();
        for (reg, role) in inst.registers() {
            let Some(&Place::Stack(offset)) = self.places.of.get(&reg) else { continue };
            if standing_in.iter().any(|&(of, _)| of == reg) {
                continue;
            }
            let taken = standing_in.iter().filter(|(of, _)| of.class == reg.class).count();
            let stand_in = Reg { number: registers(reg.class).1[taken], ..reg };
            standing_in.push((reg, stand_in));
            if role != Role::Define || inst.registers().any(|other| other == (reg, Role::Use)) {
                self.items
                    .push(Item::Inst(Inst::load(stand_in, Operand::Memory(Address::at(STACK, offset)))));
            }
            if role != Role::Use {
                to_store.push((stand_in, offset));
            }
        }
        let inst = inst.map(|reg| match self.places.of.get(&reg) {
            Some(&Place::Register(number)) => Reg { number, ..reg },
            Some(Place::Stack(_)) => standing_in.iter().find(|(of, _)| *of == reg).map_or(reg, |pair| pair.1),
            None => reg,
        });
        if inst.moved().is_none_or(|(to, from)| to != from) {
            self.items.push(Item::Inst(inst));
        }
        to_store.into_iter().for_each(|(reg, offset)| self.put_aside(reg, offset));
    }
}
