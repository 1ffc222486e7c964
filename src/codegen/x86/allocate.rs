//! Registers for virtual registers. Where they run out, that value goes to the stack whose next use is furthest away (Belady
//! 1966), the next turn of a loop being near. Loops are well nested: what registers hold where a loop begins they hold
//! again where it ends. What gave way in a loop before it was needed is on the stack from its start in the next walk.

use rustc_hash::FxHashSet;

use super::isa::Isa;
use super::lives::{Distance, Lives, Span};
use super::machine::{ARGUMENTS, Address, Bound, Class, Inst, Item, Operand, Reg, Role, STACK, Writes};

/// Code with the processor's registers.
pub struct Allocated {
    pub items: Vec<Item>,
    /// Bytes on the stack.
    pub frame: u32,
    /// The registers that belong to the caller.
    pub saved: Vec<Reg>,
}

/// The most registers that one instruction or call mentions.
const MENTIONS: usize = 5;

/// Code of so many items is walked through twice, and three times if it is shorter: a third walk would take a tenth of the
/// time to compile a softmax and its gradient.
const LONG: usize = 400;

/// What is better off on the stack where a loop begins.
type Barred = FxHashSet<(Span, Reg)>;

pub fn allocate(items: Vec<Item>, isa: Isa) -> Allocated {
    let items = without_unused(items);
    let lives = Lives::of(&items);
    let mut barred = Barred::default();
    let walks = if items.len() < LONG { 3 } else { 2 };
    for _ in 1..walks {
        let mut allocator = Allocator::new(&items, &lives, isa, &barred);
        allocator.run();
        if allocator.evicted.is_empty() {
            return allocator.finish();
        }
        let evicted = allocator.evicted;
        barred.extend(evicted);
    }
    let mut last = Allocator::new(&items, &lives, isa, &barred);
    last.run();
    last.finish()
}

/// Drops instructions whose results nothing uses: formulas compute more than they need.
fn without_unused(mut items: Vec<Item>) -> Vec<Item> {
    let mut uses: Vec<usize> = Vec::new();
    for item in &items {
        item.each_register(|reg, role| {
            uses.resize(uses.len().max(reg.index() + 1), 0);
            uses[reg.index()] += usize::from(role != Role::Define);
        });
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

/// Where a value is.
#[derive(Clone, Copy, Default)]
struct Value {
    register: Option<u32>,
    /// Its place on the stack, and whether it is there.
    slot: Option<i32>,
    is_stored: bool,
    written: Written,
}

/// When a value got what it holds: after which item, what of the new code comes next, and in which register.
#[derive(Clone, Copy, Default)]
struct Written {
    by: usize,
    next: usize,
    register: u32,
}

/// The loop being walked through.
struct Open<'i> {
    span: Span,
    /// What registers hold where it begins.
    start: Vec<(Reg, u32)>,
    /// What it mentions of what was there before.
    through: &'i [Reg],
    /// The number of its first item in the new code.
    next: usize,
}

impl Open<'_> {
    /// The register that a value has where the loop begins.
    fn register(&self, reg: Reg) -> Option<u32> {
        self.start.iter().find(|start| start.0 == reg).map(|start| start.1)
    }
}

struct Allocator<'i> {
    code: &'i [Item],
    lives: &'i Lives,
    isa: Isa,
    barred: &'i Barred,
    /// What was in a register where a loop begins, and gave way before it was needed.
    evicted: Barred,
    values: Vec<Value>,
    /// By class: what each register holds, and the registers that are free, the next one last.
    held: [Vec<Option<Reg>>; 3],
    free: [Vec<u32>; 3],
    open: Vec<Open<'i>>,
    items: Vec<Item>,
    /// Stores to be put in before the items with these numbers.
    stores: Vec<(usize, Inst)>,
    frame: u32,
}

impl<'i> Allocator<'i> {
    fn new(code: &'i [Item], lives: &'i Lives, isa: Isa, barred: &'i Barred) -> Allocator<'i> {
        Allocator {
            code,
            lives,
            isa,
            barred,
            evicted: Barred::default(),
            values: vec![Value::default(); lives.count()],
            held: Class::ALL.map(|_| vec![None; 32]),
            free: Class::ALL.map(|class| isa.registers(class).iter().rev().copied().collect()),
            open: Vec::new(),
            items: Vec::with_capacity(code.len()),
            stores: Vec::new(),
            frame: 0,
        }
    }

    fn run(&mut self) {
        for (at, &item) in self.code.iter().enumerate() {
            match item {
                Item::Argument { reg, number } => {
                    let number = ARGUMENTS[number];
                    self.free[reg.class as usize].retain(|&free| free != number);
                    self.hold(reg, number);
                    self.note_written(reg, at);
                    self.let_go(reg, at);
                }
                Item::Begin => self.begin(at),
                Item::End { counter, step, to } => self.end(at, counter, step, to),
                Item::Inst(_) | Item::Call(_) => self.code(at, item),
            }
        }
    }

    fn finish(mut self) -> Allocated {
        self.stores.sort_by_key(|&(before, _)| before);
        let mut stores = self.stores.into_iter().peekable();
        let mut items = Vec::with_capacity(self.items.len() + stores.len());
        for (at, item) in self.items.into_iter().enumerate() {
            while let Some((_, store)) = stores.next_if(|store| store.0 <= at) {
                items.push(Item::Inst(store));
            }
            items.push(item);
        }
        items.extend(stores.map(|(_, store)| Item::Inst(store)));
        let callers = [3, 5, 12, 13, 14, 15].map(|number| Reg { class: Class::General, number });
        let mut is_used = [false; 32];
        for item in &items {
            item.each_register(|reg, _| is_used[reg.index()] |= reg.class == Class::General);
        }
        let saved = callers.into_iter().filter(|reg| is_used[reg.index()]).collect();
        Allocated { items, frame: self.frame, saved }
    }

    fn value(&mut self, reg: Reg) -> &mut Value {
        &mut self.values[reg.index()]
    }

    fn place(&self, reg: Reg) -> Option<Reg> {
        self.values[reg.index()].register.map(|number| Reg { number, ..reg })
    }

    fn hold(&mut self, reg: Reg, number: u32) {
        self.held[reg.class as usize][number as usize] = Some(reg);
        self.value(reg).register = Some(number);
    }

    fn release(&mut self, reg: Reg) {
        if let Some(number) = self.value(reg).register.take() {
            self.held[reg.class as usize][number as usize] = None;
            self.free[reg.class as usize].push(number);
        }
    }

    /// Frees the register of a value that nothing needs after `at`.
    fn let_go(&mut self, reg: Reg, at: usize) {
        if self.lives.end(reg) <= at {
            self.release(reg);
        }
    }

    fn note_written(&mut self, reg: Reg, at: usize) {
        let next = self.items.len();
        let value = self.value(reg);
        value.written = Written { by: at, next, register: value.register.unwrap_or_default() };
        value.is_stored = false;
    }

    fn slot(&mut self, reg: Reg) -> Address {
        let size = self.isa.size(reg.class);
        let offset = self.values[reg.index()].slot.unwrap_or_else(|| {
            self.frame = self.frame.next_multiple_of(size) + size;
            (self.frame - size) as i32
        });
        self.value(reg).slot = Some(offset);
        Address::at(STACK, offset)
    }

    /// Sees that a value is on the stack, too: from when it was written on. Where a loop writes it again it is another value
    /// in each turn, which is stored here, or before a loop inside that leaves it as it is.
    fn store(&mut self, reg: Reg) {
        let Value { is_stored, written, .. } = *self.value(reg);
        if is_stored {
            return;
        }
        let slot = self.slot(reg);
        let writes =
            |open: &Open<'_>| open.span.begin > written.by && self.lives.is_written_in(reg, open.span);
        let (before, number) = match self.open.iter().rposition(writes).map(|outer| self.open.get(outer + 1))
        {
            None => (written.next, Some(written.register)),
            Some(None) => (self.items.len(), self.values[reg.index()].register),
            Some(Some(inner)) => (inner.next, inner.register(reg)),
        };
        if let Some(number) = number {
            self.stores.push((before, Inst::store(Reg { number, ..reg }, slot)));
        }
        self.value(reg).is_stored = true;
    }

    fn evict(&mut self, reg: Reg, at: usize) {
        if !self.lives.is_replaced(reg, at, self.innermost()) {
            self.store(reg);
        }
        for open in &self.open {
            let is_needed = self.lives.goes_through(reg, open.span);
            if is_needed && open.register(reg).is_some() && self.lives.is_untouched(reg, open.span, at) {
                self.evicted.insert((open.span, reg));
            }
        }
        self.release(reg);
    }

    /// Leaves a value to the stack alone.
    fn put_away(&mut self, reg: Reg) {
        self.store(reg);
        self.release(reg);
    }

    fn distance(&self, reg: Reg, at: usize) -> Distance {
        self.lives.distance(reg, at, self.open.iter().map(|open| open.span))
    }

    /// The value to give way: that of the furthest next use.
    fn furthest(&self, class: Class, at: usize, busy: &[Option<Reg>]) -> Option<Reg> {
        let held = self.held[class as usize].iter().flatten().copied();
        held.filter(|reg| !busy.contains(&Some(*reg))).max_by_key(|&reg| {
            let (level, next) = self.distance(reg, at);
            // What changes from turn to turn is written each time, and waited for.
            (level, if self.lives.is_variable(reg) { at + (next - at) / 2 } else { next })
        })
    }

    /// Gives a value a register, the wanted one if it is free. Those of busy values are not taken.
    fn take(&mut self, reg: Reg, at: usize, wanted: Option<u32>, busy: &[Option<Reg>]) {
        let class = reg.class as usize;
        if self.free[class].is_empty()
            && let Some(furthest) = self.furthest(reg.class, at, busy)
        {
            self.evict(furthest, at);
        }
        let free = &mut self.free[class];
        let number = match wanted.and_then(|wanted| free.iter().position(|&number| number == wanted)) {
            Some(position) => Some(free.remove(position)),
            None => free.pop(),
        };
        if let Some(number) = number {
            self.hold(reg, number);
        }
    }

    /// Brings a value to a register.
    fn bring(&mut self, reg: Reg, at: usize, wanted: Option<u32>, busy: &[Option<Reg>]) {
        if self.value(reg).register.is_some() {
            return;
        }
        self.take(reg, at, wanted, busy);
        if let (Some(to), Some(_)) = (self.place(reg), self.value(reg).slot) {
            let slot = self.slot(reg);
            self.items.push(Item::Inst(Inst::load(to, Operand::Memory(slot))));
        }
    }

    /// An instruction or a call.
    fn code(&mut self, at: usize, item: Item) {
        let item = match item {
            Item::Inst(inst) => Item::Inst(self.with_operand_away(inst)),
            call => call,
        };
        let in_memory = if let Item::Inst(inst) = &item { self.read_in_place(inst, at) } else { None };
        let (mut mentions, mut count) = ([None; MENTIONS], 0);
        item.each_register(|reg, role| {
            if in_memory != Some(reg) {
                mentions[count] = Some((reg, role));
                count += 1;
            }
        });
        let busy = mentions.map(|mention| mention.map(|(reg, _)| reg));
        let mentions = || mentions.into_iter().flatten();
        for (reg, _) in mentions().filter(|mention| mention.1 != Role::Define) {
            self.bring(reg, at, None, &busy);
        }
        let mut places = busy.map(|reg| reg.and_then(|reg| self.place(reg)));
        let moved = if let Item::Inst(inst) = &item { inst.moved() } else { None };
        let copied = moved.and_then(|(_, from)| self.value(from).register);
        let is_written = |reg: Reg| mentions().any(|(other, role)| other == reg && role != Role::Use);
        mentions().filter(|&(reg, _)| !is_written(reg)).for_each(|(reg, _)| self.let_go(reg, at));
        for ((reg, role), place) in mentions().zip(&mut places) {
            if role == Role::Define && self.place(reg).is_none() {
                // Where the loop expects it at its end, or where it is copied from.
                let at_end = self.open.last().and_then(|open| open.register(reg));
                self.take(reg, at, at_end.or(copied), &busy);
            }
            *place = place.or(self.place(reg));
        }
        let place = |reg: Reg| {
            let known = mentions().zip(&places).find(|((other, _), _)| *other == reg);
            known.and_then(|(_, place)| *place).unwrap_or(reg)
        };
        let mut placed = item.map(place);
        if let (Item::Inst(inst), Some(reg)) = (&mut placed, in_memory) {
            inst.operand = Operand::Memory(self.slot(reg));
        }
        if !matches!(placed, Item::Inst(inst) if inst.moved().is_some_and(|(to, from)| to == from)) {
            self.items.push(placed);
        }
        for (reg, role) in mentions() {
            if role != Role::Use {
                self.note_written(reg, at);
            }
            self.let_go(reg, at);
        }
    }

    /// The instruction with what lies on the stack as its operand, if that may be in memory and another is not.
    fn with_operand_away(&self, inst: Inst) -> Inst {
        let is_away = |reg| self.place(reg).is_none();
        match (inst.second, inst.operand) {
            (Some(second), Operand::Reg(operand))
                if is_away(second) && !is_away(operand) && inst.is_commutative() =>
            {
                Inst { second: Some(operand), operand: Operand::Reg(second), ..inst }
            }
            _ => inst,
        }
    }

    /// The operand of an instruction that is read from the stack, where it lies, and where no register is kept for it.
    fn read_in_place(&self, inst: &Inst, at: usize) -> Option<Reg> {
        let Operand::Reg(reg) = inst.operand else { return None };
        let mut mentions = 0;
        inst.each_register(|other, _| mentions += usize::from(other == reg));
        if self.place(reg).is_some() || mentions > 1 || !inst.takes_memory() {
            return None;
        }
        let is_kept = inst.moved().is_none()
            && self.lives.is_next_within(reg, at, self.innermost())
            && (!self.free[reg.class as usize].is_empty()
                || self
                    .furthest(reg.class, at, &[])
                    .is_some_and(|other| self.distance(other, at) > self.distance(reg, at)));
        (!is_kept).then_some(reg)
    }

    fn innermost(&self) -> Option<Span> {
        self.open.last().map(|open| open.span)
    }

    fn begin(&mut self, at: usize) {
        let Some((span, through)) = self.lives.span(at) else { return };
        let mut needed = Vec::new();
        self.code[span.end].each_register(|reg, _| needed.push(Some(reg)));
        for &reg in through {
            if self.barred.contains(&(span, reg)) && !needed.contains(&Some(reg)) && self.place(reg).is_some()
            {
                self.evict(reg, at);
            }
        }
        for &reg in needed.iter().flatten() {
            self.bring(reg, at, None, &needed);
        }
        for &reg in through {
            let is_barred = self.barred.contains(&(span, reg));
            if !is_barred
                && (!self.free[reg.class as usize].is_empty() || self.makes_way(reg.class, span, at))
            {
                self.bring(reg, at, None, &[]);
            }
        }
        let mut start = Vec::new();
        for reg in self.held.iter().flatten().flatten() {
            start.extend(self.values[reg.index()].register.map(|number| (*reg, number)));
        }
        for &reg in through {
            if self.lives.is_written_in(reg, span) && self.place(reg).is_some() {
                self.value(reg).is_stored = false;
            }
        }
        self.open.push(Open { span, start, through, next: self.items.len() });
        self.items.push(Item::Begin);
    }

    /// Frees a register of what a loop does not mention.
    fn makes_way(&mut self, class: Class, span: Span, at: usize) -> bool {
        let idle =
            self.held[class as usize].iter().flatten().find(|&&reg| !self.lives.goes_through(reg, span));
        let Some(&idle) = idle else { return false };
        self.evict(idle, at);
        true
    }

    fn end(&mut self, at: usize, counter: Reg, step: i32, to: Bound) {
        let Some(Open { span, start, through, .. }) = self.open.pop() else { return };
        let is_needed = |&(reg, _): &(Reg, u32)| self.lives.goes_through(reg, span);
        let start: Vec<(Reg, u32)> = start.into_iter().filter(is_needed).collect();
        self.restore(&start, through, at);
        let place = |reg| self.place(reg).unwrap_or(reg);
        let to = match to {
            Bound::Reg(to) => Bound::Reg(place(to)),
            number => number,
        };
        let end = Item::End { counter: place(counter), step, to };
        self.items.push(end);
        for &reg in through {
            if self.lives.is_written_in(reg, span) && self.place(reg).is_some() {
                self.note_written(reg, at);
            }
            self.let_go(reg, at);
        }
    }

    /// Puts what goes through a loop where it was at the start: on the stack, or in registers.
    fn restore(&mut self, start: &[(Reg, u32)], through: &[Reg], at: usize) {
        for &reg in through {
            if start.iter().all(|start| start.0 != reg) && self.place(reg).is_some() {
                self.put_away(reg);
            }
        }
        let mut pending: Vec<(Reg, u32)> = start.to_vec();
        pending.retain(|&(reg, number)| self.values[reg.index()].register.is_some_and(|now| now != number));
        while !pending.is_empty() {
            let is_free = |&(reg, number): &(Reg, u32)| self.free[reg.class as usize].contains(&number);
            let Some(next) = pending.iter().position(is_free) else {
                // Each waits for another: one takes the way over the stack.
                let (reg, number) = pending[0];
                let other = self.held[reg.class as usize][number as usize].unwrap_or(reg);
                self.put_away(other);
                pending.retain(|waiting| waiting.0 != other);
                continue;
            };
            let (reg, number) = pending.swap_remove(next);
            let from = self.place(reg).unwrap_or(reg);
            self.release(reg);
            self.free[reg.class as usize].retain(|&free| free != number);
            self.hold(reg, number);
            self.items.push(Item::Inst(Inst::load(Reg { number, ..reg }, Operand::Reg(from))));
        }
        for &(reg, number) in start {
            if self.place(reg).is_none() {
                if let Some(other) = self.held[reg.class as usize][number as usize] {
                    self.put_away(other);
                }
                self.bring(reg, at, Some(number), &[]);
            }
        }
    }
}
