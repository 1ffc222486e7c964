//! What a program costs, counted before it runs: arithmetic, and elements that pass between memory and processor.

use std::collections::BTreeMap;

use super::{Access, Buffer, BufferId, Contraction, Instr, Kernel, LoopVar, Sorting, Stmt, Task};

/// Whether a buffer is read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Passage {
    Read,
    Write,
}

/// Distinct elements of each buffer that are read and written, at most.
pub type Traffic = BTreeMap<(BufferId, Passage), usize>;

impl Kernel {
    /// Floating-point operations of one run: a function of one or two values counts one, whatever it is, and so does what
    /// a reduction adds; conversions, comparisons and selections count none.
    pub fn flops(&self) -> usize {
        self.flops_of(&self.body)
    }

    fn flops_of(&self, body: &[Stmt]) -> usize {
        let flops = body.iter().map(|stmt| match stmt {
            Stmt::Let { dst, instr: Instr::Unary(..) | Instr::Binary(..) } => {
                usize::from(self.dtype(*dst).is_float())
            }
            Stmt::StoreRow { value, adds, .. } => usize::from(*adds && self.dtype(*value).is_float()),
            Stmt::Let { .. } | Stmt::Store { .. } | Stmt::Sort { .. } => 0,
            Stmt::For { var, body } | Stmt::Recur { var, body, .. } => {
                self.extent(*var).saturating_mul(self.flops_of(body))
            }
            Stmt::Reduce { var, body, parts } => {
                let sums = parts.iter().filter(|part| self.dtype(part.dst).is_float()).count();
                self.extent(*var).saturating_mul(self.flops_of(body).saturating_add(sums))
            }
            Stmt::Contract(contraction) => contraction.flops(self),
        });
        flops.fold(0, usize::saturating_add)
    }

    /// Adds what one run reads and writes to the traffic of others that keep nothing of it.
    fn add_traffic(&self, buffers: &[Buffer], turns: usize, traffic: &mut Traffic) {
        let mut own = Traffic::new();
        let around: Vec<LoopVar> = (0..self.repeats as u16).map(LoopVar).collect();
        self.body.iter().for_each(|stmt| self.touch(stmt, buffers, &around, &mut own));
        for (key, elements) in own {
            let total = traffic.entry(key).or_default();
            *total = total.saturating_add(elements.saturating_mul(turns));
        }
    }

    fn touch(&self, stmt: &Stmt, buffers: &[Buffer], around: &[LoopVar], traffic: &mut Traffic) {
        let mut add = |access: &Access, passage: Passage, elements: usize| {
            let held = buffers.get(access.buffer.index()).map_or(0, |buffer| buffer.elements);
            let total = traffic.entry((access.buffer, passage)).or_default();
            *total = total.saturating_add(elements).min(held);
        };
        match stmt {
            Stmt::Let { instr: Instr::Load(access) | Instr::LoadWithin(access, _), .. } => {
                add(access, Passage::Read, self.distinct(access, around));
            }
            Stmt::Let { instr: Instr::LoadRow { access, .. }, .. } => {
                add(access, Passage::Read, self.iterations(&around[self.repeats..]));
            }
            Stmt::Store { access, .. } => add(access, Passage::Write, self.distinct(access, around)),
            Stmt::Contract(Contraction { lhs, rhs, out, rows, columns, depth, scale, .. }) => {
                let within = [around, rows, columns, depth].concat();
                add(lhs, Passage::Read, self.distinct(lhs, &within));
                add(rhs, Passage::Read, self.distinct(rhs, &within));
                add(out, Passage::Write, self.distinct(out, &within));
                if scale.is_some() {
                    add(out, Passage::Read, self.distinct(out, &within));
                }
            }
            Stmt::StoreRow { access, adds, .. } => {
                let elements = self.iterations(&around[self.repeats..]);
                if *adds {
                    add(access, Passage::Read, elements);
                }
                add(access, Passage::Write, elements);
            }
            Stmt::Sort { keys, positions, sorting: Sorting { count, first, .. } } => {
                add(keys, Passage::Read, count.saturating_mul(self.distinct(keys, around)));
                add(positions, Passage::Write, first.saturating_mul(self.distinct(positions, around)));
            }
            Stmt::For { var, body } | Stmt::Reduce { var, body, .. } | Stmt::Recur { var, body, .. } => {
                let within = [around, &[*var]].concat();
                body.iter().for_each(|stmt| self.touch(stmt, buffers, &within, traffic));
            }
            Stmt::Let { .. } => {}
        }
    }

    fn iterations(&self, vars: &[LoopVar]) -> usize {
        vars.iter().fold(1usize, |product, &var| product.saturating_mul(self.extent(var)))
    }

    /// The elements of one run that an access reaches: no more than its variables have values, nor than lie in its range.
    fn distinct(&self, access: &Access, around: &[LoopVar]) -> usize {
        let (repeats, loops) = around.split_at(self.repeats);
        if self.iterations(loops) == 0 {
            return 0;
        }
        let moving = |var: &&LoopVar| access.index.coefficient(**var) != 0;
        let vars: Vec<LoopVar> = loops.iter().filter(moving).copied().collect();
        // Within one run the turn stays the same.
        let index = repeats.iter().fold(access.index.clone(), |index, &turn| index.without(turn));
        let (lowest, highest) = self.range_of(&index);
        self.iterations(&vars).min((highest - lowest + 1).max(0) as usize)
    }
}

impl Contraction {
    /// A multiplication and an addition for each product, and for each sum that is scaled and added to what is there.
    fn flops(&self, kernel: &Kernel) -> usize {
        let sums = kernel.iterations(&[&self.rows[..], &self.columns].concat());
        let added = self.scale.map_or(0, |_| sums);
        self.work(kernel).saturating_add(added).saturating_mul(2)
    }
}

impl Task {
    /// Floating-point operations of one run, as [`Kernel::flops`]; of a repeat with a condition the most.
    pub fn flops(&self) -> usize {
        match self {
            Task::Run(kernel) => kernel.flops(),
            Task::Repeat(repeat) => {
                let turn = repeat.tasks.iter().map(Task::flops).fold(0, usize::saturating_add);
                turn.saturating_mul(repeat.turns)
            }
        }
    }

    /// What the kernels of the task read and write, each from and to memory, in all turns; the most, if there is a
    /// condition. Packed operands of contractions, which stay in the caches, count nothing.
    pub fn traffic(&self, buffers: &[Buffer]) -> Traffic {
        let mut traffic = Traffic::new();
        self.add_traffic(buffers, 1, &mut traffic);
        traffic
    }

    fn add_traffic(&self, buffers: &[Buffer], turns: usize, traffic: &mut Traffic) {
        match self {
            Task::Run(kernel) => kernel.add_traffic(buffers, turns, traffic),
            Task::Repeat(repeat) => {
                let turns = turns.saturating_mul(repeat.turns);
                repeat.tasks.iter().for_each(|task| task.add_traffic(buffers, turns, traffic));
            }
        }
    }
}
