//! From the tape to instructions: a loop over steps that keeps the state in registers. Every element is a vector of equal
//! lanes, so that the instructions, formulas and all, are those of loop nests.

use rustc_hash::FxHashMap;

use super::build::Constants;
use super::isa::Isa;
use super::lanes::{Held, Lanes};
use super::machine::{Address, Bound, Class, Inst, Item, Operand, Reg, Role};
use crate::codegen::math::{self, Way};
use crate::codegen::tape::{Element, Op, Slot, Tape};
use crate::loops::{Program, Unary};
use crate::types::DType;

/// The loop, and the constants behind it.
pub fn steps(tape: &Tape, program: &Program) -> Option<(Vec<Item>, Constants)> {
    let needed = || tape.ops.iter().zip(&tape.needed).filter(|op| *op.1).map(|(op, _)| *op);
    let width = super::width(|dtype| needed().any(|op| op.1 == dtype))?;
    let lanes = Lanes::new(Isa::Avx2Short, width);
    let load = |(at, (op, _)): (usize, &(Op, DType))| match *op {
        Op::Load(element) => Some((element, at)),
        _ => None,
    };
    let loads = tape.ops.iter().enumerate().filter_map(load).collect();
    let mut straight = Straight { tape, program, lanes, values: vec![None; tape.ops.len()], loads };
    straight.steps();
    (!straight.lanes.is_unsupported).then(|| straight.lanes.build.finish())
}

struct Straight<'t> {
    tape: &'t Tape,
    program: &'t Program,
    lanes: Lanes,
    values: Vec<Option<Held>>,
    /// Where each element is loaded.
    loads: FxHashMap<Element, usize>,
}

impl Straight<'_> {
    fn steps(&mut self) {
        // More would be loaded and stored all the same, and the stack is no better than the state itself.
        let most = self.lanes.isa.registers(Class::Vector).len();
        let [carried, outside] = self.tape.carried(self.program, most);
        (0..self.tape.ops.len()).filter(|&at| !self.tape.varies[at]).for_each(|at| self.compute(at));
        let state: Vec<Held> = carried.iter().map(|&(element, _)| self.load(element)).collect();
        let count = self.lanes.build.argument(4);
        self.lanes.build.open(Bound::Number(0));
        for (&(element, _), &held) in carried.iter().zip(&state) {
            if let Held::Lanes(reg) | Held::Number(reg) = held {
                self.lanes.build.changes(reg);
            }
            self.preset(element, held);
        }
        self.compute_and_store(&outside);
        self.advance(&carried, &state);
        self.lanes.build.close(1, Bound::Reg(count));
        for (&(element, _), &held) in carried.iter().zip(&state) {
            self.store(element, held);
        }
    }

    fn value(&self, slot: Slot) -> Held {
        // Slots are computed in order, so operands are there.
        self.values[slot.0 as usize].unwrap_or(Held::Constant(0))
    }

    /// Gives a loaded element the value it has in a register.
    fn preset(&mut self, element: Element, held: Held) {
        if let Some(&at) = self.loads.get(&element) {
            self.values[at] = Some(held);
        }
    }

    fn compute(&mut self, at: usize) {
        if self.tape.needed[at] && self.values[at].is_none() {
            self.values[at] = Some(self.op(at));
        }
    }

    /// Computes what varies, and stores each result as soon as nothing needs what was there.
    fn compute_and_store(&mut self, stores: &[(Element, Slot)]) {
        let due = |(element, slot): (Element, Slot)| {
            let loaded = self.loads.get(&element).filter(|&&at| self.tape.needed[at]);
            loaded.map_or(slot.0 as usize, |&loaded| loaded.max(slot.0 as usize))
        };
        let mut stores: Vec<(usize, Element, Slot)> =
            stores.iter().map(|&store| (due(store), store.0, store.1)).collect();
        stores.sort_unstable();
        let mut stores = stores.into_iter().peekable();
        for now in 0..self.tape.ops.len() {
            self.compute(now);
            while let Some((_, element, slot)) = stores.next_if(|store| store.0 <= now) {
                self.store(element, self.value(slot));
            }
        }
    }

    fn op(&mut self, at: usize) -> Held {
        let (op, dtype) = self.tape.ops[at];
        let of = |slot: Slot| self.tape.ops[slot.0 as usize].1;
        let is_called = dtype.is_float()
            && match op {
                Op::Unary(f, _) => is_called(&math::way(f)),
                Op::Binary(f, ..) => is_called(&math::way_of_two(f)),
                _ => false,
            };
        match op {
            // Calls are for all lanes.
            _ if is_called => self.lanes.unsupported(),
            Op::Load(element) => self.load(element),
            Op::Constant(value) => Held::Constant(value.bits()),
            Op::Unary(f, a) => self.lanes.unary(f, self.value(a), dtype),
            Op::Binary(f, a, b) => self.lanes.binary(f, self.value(a), self.value(b), dtype),
            Op::Compare(f, a, b) => self.lanes.compare(f, self.value(a), self.value(b), of(a)),
            Op::Select(c, a, b) => {
                self.lanes.choose(self.value(c), [self.value(a), self.value(b)], dtype, true)
            }
            Op::Cast(a) => self.lanes.cast(self.value(a), of(a), dtype, true),
            Op::MulAdd(a, b, c) => {
                let (negated, b, c) = (self.negated(a), self.value(b), self.value(c));
                let a = negated.unwrap_or(a);
                self.lanes.mul_add(self.value(a), b, c, negated.is_some())
            }
        }
    }

    /// What this is the negative of, if the code says so.
    fn negated(&self, slot: Slot) -> Option<Slot> {
        match self.tape.ops[slot.0 as usize].0 {
            Op::Unary(Unary::Neg, x) => Some(x),
            _ => None,
        }
    }

    fn address(&mut self, (id, index): Element) -> (Address, DType) {
        let buffer = &self.program.buffers[id.index()];
        let (base, offset) = self.lanes.build.place(buffer.place);
        (Address::at(base, offset + index as i32 * buffer.dtype.size() as i32), buffer.dtype)
    }

    fn load(&mut self, element: Element) -> Held {
        let (address, dtype) = self.address(element);
        let from = Operand::Memory(address);
        match dtype {
            DType::Bool => self.lanes.unsupported(),
            DType::I64 => Held::Number(self.lanes.build.loaded(Class::General, |d| Inst::load(d, from))),
            _ => {
                let code = self.lanes.broadcast();
                Held::Lanes(self.lanes.build.loaded(Class::Vector, |d| Inst::new(code, d, None, from)))
            }
        }
    }

    fn store(&mut self, element: Element, value: Held) {
        let (address, dtype) = self.address(element);
        match dtype {
            DType::Bool => {
                self.lanes.unsupported();
            }
            DType::I64 => {
                let number = self.lanes.one_number(value);
                self.lanes.build.here(Inst::store(number, address));
            }
            _ => {
                let value = self.lanes.register(value);
                self.lanes.store_first(address, value);
            }
        }
    }

    /// New values take the places of the old ones.
    fn advance(&mut self, carried: &[(Element, Slot)], state: &[Held]) {
        let mut moves = Vec::new();
        for (&(_, slot), &old) in carried.iter().zip(state) {
            let new = self.value(slot);
            let (to, from) = match old {
                Held::Number(to) => (to, self.lanes.one_number(new)),
                Held::Lanes(to) => (to, self.lanes.register(new)),
                _ => continue,
            };
            // An old value that goes elsewhere is not to be lost before.
            let is_old =
                state.iter().any(|&held| matches!(held, Held::Lanes(reg) | Held::Number(reg) if reg == from));
            let from = match is_old && from != to {
                true => self.lanes.build.loaded(from.class, |d| Inst::load(d, Operand::Reg(from))),
                false => from,
            };
            moves.push(Inst::load(to, Operand::Reg(from)));
        }
        moves.into_iter().for_each(|inst| self.lanes.build.here(inst));
    }
}

/// Writes new values where the old ones lie that nothing needs any more: the moves at the end of the loop become idle.
pub fn in_place(items: &mut [Item]) {
    let begin = items.iter().position(|item| *item == Item::Begin).unwrap_or(0);
    let end = items.iter().position(|item| matches!(item, Item::End { .. })).unwrap_or(0);
    let moved = |item: &Item| if let Item::Inst(inst) = item { inst.moved() } else { None };
    let moves: Vec<(Reg, Reg)> = items[begin..end].iter().rev().map_while(moved).collect();
    let (mut first, mut last) = (FxHashMap::default(), FxHashMap::default());
    for (at, item) in items[..end].iter().enumerate() {
        item.each_register(|reg, role| {
            first.entry(reg).or_insert(at);
            if role != Role::Define || at < end - moves.len() {
                last.insert(reg, at);
            }
        });
    }
    let mut renamed: FxHashMap<Reg, Reg> = FxHashMap::default();
    for (to, from) in moves {
        let made = first[&from];
        if made > begin && last.get(&to).is_none_or(|&last| last <= made) {
            renamed.entry(from).or_insert(to);
        }
    }
    for item in items {
        *item = item.map(|reg| renamed.get(&reg).copied().unwrap_or(reg));
    }
}

/// Whether it is a function of the library where a single number is computed.
fn is_called<const N: usize>(way: &Way<N>) -> bool {
    matches!(way, Way::Fused(..) | Way::Call(_))
}
