//! The turns of a loop: written out if they are few, and several at once where each would wait for its own results.

use super::blocks::Blocks;
use super::interleave::{Straight, interleaved};
use super::isa::Isa;
use super::lanes::Held;
use super::machine::{Bound, Class, Reg};
use super::nest::{Nest, Position, Rest};
use super::strided::is_nearby;
use crate::codegen::cost::{self, CHAINS, FEW_TURNS, UNROLL_BODY, WRITTEN_OUT, WRITTEN_TWICE};
use crate::loops::{Access, Affine, Binary, LoopVar, Part, Stmt};
use crate::types::DType;

/// The turns of a loop, each a step of its variable.
struct Turns<'t> {
    var: LoopVar,
    body: &'t [Stmt],
    step: i64,
    sums: &'t Sums<'t>,
    /// Whether what one turn does may come before what an earlier one does.
    may_pass: bool,
}

/// What a loop sums up: partial results of each part, in chains that the turns take in order.
#[derive(Default)]
pub(super) struct Sums<'s> {
    pub parts: &'s [Part],
    pub chains: Vec<Vec<Reg>>,
}

/// The code of one turn, and what is still to be added to the sums.
struct Turn {
    code: Straight,
    terms: Vec<Term>,
    mask: Option<Reg>,
}

enum Term {
    Value(Held),
    Product(Held, Held),
}

impl Nest<'_> {
    /// A loop over all values of a variable; the last turn has the lanes that are left.
    pub(super) fn run_turns(&mut self, var: LoopVar, body: &[Stmt], sums: &Sums<'_>) {
        let (whole, rest, step) = (self.whole_turns(var), self.rest_of(var), self.step_of(var));
        let is_straight = self.is_straight(body);
        let may_pass = is_straight && self.kernel.is_independent(&[], var, body);
        let turns = Turns { var, body, step, sums, may_pass };
        if self.is_masked(var, body) {
            return self.run_masked(&turns);
        }
        let first = match self.is_written_out(var, body, sums.chains.len().max(1) as i64, is_straight) {
            true => 0,
            false => self.run_again_and_again(&turns, whole),
        };
        let mut left: Vec<Turn> = (first..whole).map(|turn| self.turn(&turns, None, turn)).collect();
        if rest > 0 {
            self.rest = Rest::First(rest as usize);
            left.push(self.turn(&turns, None, whole));
            self.rest = Rest::Full;
        }
        let at_once = self.at_once(&turns, &left, left.len() as i64);
        self.write(left, &turns, at_once);
    }

    /// All turns by one code, the last with the lanes that are left: each finds out which of its lanes exist.
    fn run_masked(&mut self, turns: &Turns<'_>) {
        let extent = self.kernel.extent(turns.var) as i64;
        let counter = self.lanes.build.open(Bound::Number(0));
        self.loops[turns.var.index()] = Position { counter: Some((counter, 1)), offset: 0 };
        self.rest = Rest::Masked(self.within(&[(Affine::var(turns.var), extent)]));
        let written = vec![self.turn(turns, Some((counter, 1)), 0)];
        self.rest = Rest::Full;
        self.write(written, turns, 1);
        self.lanes.build.close(turns.step as i32, Bound::Number(extent as i32));
    }

    /// As many turns at once as pay, again and again; returns the first that is left.
    fn run_again_and_again(&mut self, turns: &Turns<'_>, whole: i64) -> i64 {
        let counter = self.lanes.build.open(Bound::Number(0));
        let mut written = vec![self.turn(turns, Some((counter, 1)), 0)];
        let chains = Some(turns.sums.chains.len() as i64).filter(|&chains| chains > 1);
        let at_once = self.at_once(turns, &written, chains.unwrap_or(whole));
        let count = chains.unwrap_or(at_once);
        written.extend((1..count).map(|turn| self.turn(turns, Some((counter, 1)), turn)));
        self.write(written, turns, at_once);
        let end = whole / count * count;
        self.lanes.build.close((count * turns.step) as i32, Bound::Number((end * turns.step) as i32));
        end
    }

    /// The turns of the outermost loop that a thread was given, one at least. Groups of them are counted as one where that
    /// leaves none over.
    pub(super) fn run_share(&mut self, var: LoopVar, body: &[Stmt]) {
        let [from, to] = [4, 5].map(|number| self.lanes.build.argument(number));
        let counter = self.lanes.build.open(Bound::Reg(from));
        let (extent, sums) = (self.kernel.extent(var) as i64, Sums::default());
        // The verifier has found that threads may run these turns at the same time.
        let may_pass = self.is_straight(body);
        let turns = Turns { var, body, step: 1, sums: &sums, may_pass };
        let mut written = vec![self.turn(&turns, Some((counter, 1)), 0)];
        let at_once = self.at_once(&turns, &written, extent);
        if at_once > 1 && extent % at_once == 0 {
            self.group = at_once as usize;
            written = (0..at_once).map(|turn| self.turn(&turns, Some((counter, at_once)), turn)).collect();
        }
        self.write(written, &turns, at_once);
        self.lanes.build.close(1, Bound::Reg(to));
    }

    /// One turn, as a copy of its own. It adds to its chain, if that is not that of the next turn, too.
    fn turn(&mut self, turns: &Turns<'_>, counter: Option<(Reg, i64)>, number: i64) -> Turn {
        self.loops[turns.var.index()] = Position { counter, offset: number * turns.step };
        self.lanes.build.open_copy();
        if self.crossed.contains(&turns.var) {
            self.blocks = Blocks::of(turns.body);
        }
        self.body(turns.body);
        // A body that was left half-way has no values.
        let parts = if self.lanes.is_unsupported { &[] } else { turns.sums.parts };
        let mut terms: Vec<Term> = parts.iter().map(|part| self.summand(part)).collect();
        let mask = self.mask(None);
        if let chains @ [_, _, ..] = &turns.sums.chains[..] {
            let chain = &chains[number as usize % chains.len()];
            self.add(std::mem::take(&mut terms), turns.sums.parts, chain, mask);
        }
        Turn { code: Straight { items: self.lanes.build.close_copy() }, terms, mask }
    }

    /// Writes turns, so many at once, and adds what they have to the only chain, in their order.
    fn write(&mut self, written: Vec<Turn>, turns: &Turns<'_>, at_once: i64) {
        let (codes, results): (Vec<_>, Vec<_>) =
            written.into_iter().map(|turn| (turn.code, (turn.terms, turn.mask))).unzip();
        self.lanes.build.extend(interleaved(&codes, at_once as usize));
        if let [chain] = &turns.sums.chains[..] {
            for (terms, mask) in results {
                self.add(terms, turns.sums.parts, chain, mask);
            }
        }
    }

    fn summand(&mut self, part: &Part) -> Term {
        let product = self.products[part.value.0 as usize].filter(|_| part.combine.join() == Binary::Add);
        match product {
            Some((a, b)) => Term::Product(self.in_lanes(a), self.in_lanes(b)),
            None => {
                let value = self.value(part.value);
                Term::Value(self.in_lanes(value))
            }
        }
    }

    /// The value in a register, unless it is a constant.
    fn in_lanes(&mut self, x: Held) -> Held {
        match x {
            Held::Constant(_) => x,
            _ => Held::Lanes(self.lanes.register(x)),
        }
    }

    fn add(&mut self, terms: Vec<Term>, parts: &[Part], chain: &[Reg], mask: Option<Reg>) {
        for ((term, part), &sum) in terms.into_iter().zip(parts).zip(chain) {
            match term {
                Term::Product(a, b) => self.lanes.accumulate_product(sum, a, b, mask),
                Term::Value(x) => {
                    self.lanes.accumulate(part.combine, sum, x, mask, self.kernel.dtype(part.dst))
                }
            }
        }
    }

    /// How many of so many turns to run at once, going by the first; if none is left then, all the better. What they add
    /// to their chains is among their instructions, so no two of them may have one chain.
    fn at_once(&self, turns: &Turns<'_>, written: &[Turn], of: i64) -> i64 {
        // A block fills the registers.
        let is_crossed = |var: LoopVar| self.crossed.contains(&var);
        let has_block = |stmt: &Stmt| stmt.any(&|stmt: &Stmt| stmt.loop_var().is_some_and(is_crossed));
        let may_pass = turns.may_pass && !is_crossed(turns.var) && !turns.body.iter().any(has_block);
        let Some(first) = written.first().filter(|_| may_pass && of > 1) else { return 1 };
        let chains = Some(turns.sums.chains.len() as i64).filter(|&chains| chains > 1).unwrap_or(of);
        let most = of.min(first.code.at_once(self.lanes.isa) as i64).min(chains);
        (2..=most).rev().find(|at_once| of % at_once == 0).unwrap_or(most)
    }

    /// How far the variable goes in a turn: lanes, or one value.
    fn step_of(&self, var: LoopVar) -> i64 {
        if self.vectors.contains(&var) { self.lanes.count() as i64 } else { 1 }
    }

    /// The turns with all lanes.
    pub(super) fn whole_turns(&self, var: LoopVar) -> i64 {
        self.kernel.extent(var) as i64 / self.step_of(var)
    }

    /// The values that are left then.
    fn rest_of(&self, var: LoopVar) -> i64 {
        self.kernel.extent(var) as i64 % self.step_of(var)
    }

    /// Whether a body is too long to be written once more for the values that are left.
    fn is_masked(&self, var: LoopVar, body: &[Stmt]) -> bool {
        if self.whole_turns(var) == 0 || self.rest_of(var) == 0 || !is_long(body) {
            return false;
        }
        let is_counted = |stmt: &Stmt| {
            stmt.read().is_some_and(|(access, _)| self.counts_lanes(access, var, false))
                || stmt.write().is_some_and(|(access, _)| self.counts_lanes(access, var, true))
        };
        !body.iter().any(|stmt| stmt.any(&is_counted))
    }

    /// Whether the code of an access depends on how many lanes there are: AVX2 has few masks.
    fn counts_lanes(&self, access: &Access, var: LoopVar, is_store: bool) -> bool {
        let step = access.index.coefficient(var);
        let is_bool = self.program.buffers[access.buffer.index()].dtype == DType::Bool;
        let has_mask = self.lanes.isa == Isa::Avx512 || step == 0 || !is_bool && (step == 1 || !is_store);
        step == 2 || !is_store && is_nearby(self.lanes.isa, step) || !has_mask
    }

    /// How many partial results of each part there are: half the registers at most.
    pub(super) fn chains(&self, body: &[Stmt], parts: usize, turns: i64) -> i64 {
        let is_small = body.len() <= UNROLL_BODY && !body.iter().any(Stmt::is_loop) && !is_long(body);
        let registers = self.lanes.isa.registers(Class::Vector).len();
        let most = CHAINS.min(registers / 2 / parts.max(1)).max(1);
        if is_small { turns.clamp(1, most as i64) } else { 1 }
    }

    /// Whether no loop is left in the code of a body.
    fn is_straight(&self, body: &[Stmt]) -> bool {
        body.iter().all(|stmt| match stmt.loop_var() {
            Some(var) => {
                let chains = match stmt {
                    Stmt::Reduce { body, parts, .. } => self.chains(body, parts.len(), self.whole_turns(var)),
                    _ => 1,
                };
                self.is_straight(stmt.inner()) && self.is_written_out(var, stmt.inner(), chains, true)
            }
            None => true,
        })
    }

    /// Whether the turns are written out: as few as leave no loop, or few and simple enough.
    fn is_written_out(&self, var: LoopVar, body: &[Stmt], chains: i64, is_straight: bool) -> bool {
        let whole = self.whole_turns(var);
        let is_short = || whole <= FEW_TURNS && whole as usize * instructions(body) <= WRITTEN_OUT;
        (whole < 2 * chains || is_straight && is_short()) && !self.is_masked(var, body)
    }
}

/// Whether a body is better written once than twice.
fn is_long(body: &[Stmt]) -> bool {
    instructions(body) > WRITTEN_TWICE
}

/// How many instructions the statements are, those in loops counted once.
fn instructions(body: &[Stmt]) -> usize {
    let mut sum = 0;
    let mut each = |stmt: &Stmt| {
        sum += match stmt {
            Stmt::Let { instr, .. } => cost::instructions(instr, false),
            _ => 1,
        };
    };
    body.iter().for_each(|stmt| stmt.each(&mut each));
    sum
}
