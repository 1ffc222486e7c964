//! Straight-line code several times at once. A processor runs instructions as soon as it has what they need, but looks
//! only so far ahead: a long way to a result would have it wait, unless the next copy's instructions stand in between.

use rustc_hash::FxHashMap;

use super::isa::Isa;
use super::machine::{Class, Form, Item, Operand, Reg, Role};
use crate::codegen::cost::{AT_ONCE, LATENCY, LONG_TURN};

/// Code without loops.
pub struct Straight {
    pub items: Vec<Item>,
}

/// When a value is held, by the numbers of instructions.
struct Life {
    start: usize,
    end: usize,
    /// Whether the value is made here.
    is_own: bool,
}

impl Straight {
    /// How many copies are worth running at once: as many as find registers, but two at least. What lies in memory then are
    /// mostly constants, and loading them costs less than waiting: on Zen 3, with 16 registers, rows of a softmax over 32
    /// come down from 35 ns to 28, GELU from 9.2 ns a vector to 8.0.
    pub fn at_once(&self, isa: Isa) -> usize {
        if self.items.len() > LONG_TURN || self.latency() <= LATENCY {
            return 1;
        }
        let banks = [Class::Vector, Class::Mask].into_iter().filter(|&class| isa.bank(class) == class);
        let fitting = banks.map(|bank| self.fitting(bank, isa)).min();
        fitting.unwrap_or(1).clamp(2, AT_ONCE)
    }

    /// Cycles until the last result is there.
    fn latency(&self) -> usize {
        let mut ready: FxHashMap<Reg, usize> = FxHashMap::default();
        for item in &self.items {
            let mut start = 0;
            item.each_register(|reg, role| {
                if role != Role::Define {
                    start = start.max(ready.get(&reg).copied().unwrap_or(0));
                }
            });
            let end = start + cycles(item);
            item.each_register(|reg, role| {
                if role != Role::Use {
                    ready.insert(reg, end);
                }
            });
        }
        ready.into_values().max().unwrap_or(0)
    }

    /// How many copies find registers of a bank for what they hold, beside what they share.
    fn fitting(&self, bank: Class, isa: Isa) -> usize {
        let mut lives: FxHashMap<Reg, Life> = FxHashMap::default();
        for (at, item) in self.items.iter().enumerate() {
            item.each_register(|reg, role| {
                if isa.bank(reg.class) == bank {
                    let life = lives.entry(reg).or_insert(Life { start: at, end: at, is_own: true });
                    life.is_own &= life.start < at || role == Role::Define;
                    life.end = at;
                }
            });
        }
        let shared = lives.values().filter(|life| !life.is_own).count();
        let mut changes = vec![0isize; self.items.len() + 1];
        for life in lives.values().filter(|life| life.is_own) {
            changes[life.start] += 1;
            changes[life.end.max(life.start + 1)] -= 1;
        }
        let (mut held, mut most) = (0, 1);
        for change in changes {
            held += change;
            most = most.max(held);
        }
        isa.registers(bank).len().saturating_sub(shared) / most.unsigned_abs()
    }
}

/// So many codes at a time, one instruction of each in turn.
pub fn interleaved(codes: &[Straight], at_once: usize) -> impl Iterator<Item = Item> {
    codes.chunks(at_once.max(1)).flat_map(|group| {
        let longest = group.iter().map(|code| code.items.len()).max().unwrap_or(0);
        (0..longest).flat_map(move |at| group.iter().filter_map(move |code| code.items.get(at).copied()))
    })
}

/// From operands to result, roughly as measured on Zen 4 (uops.info). Most calls come to nothing.
fn cycles(item: &Item) -> usize {
    let Item::Inst(inst) = item else { return 0 };
    let computing = match inst.code.name {
        _ if inst.moved().is_some() => 0,
        "vdiv" | "vsqrt" => 12,
        "lea" | "mov" | "vpadd" | "vpsub" | "vpand" | "vpor" | "vpxor" => 1,
        _ => 4,
    };
    let is_loading = inst.code.form == Form::Vector && matches!(inst.operand, Operand::Memory(_));
    computing + if is_loading { 4 } else { 0 }
}
