//! Which loops run on vectors: those that make the kernel cheapest, by a rough count of instructions.

use rustc_hash::FxHashSet;

use super::isa::Isa;
use super::strided::is_nearby;
use crate::codegen::math;
use crate::loops::{Affine, Binary, Instr, Kernel, LoopVar, Stmt, Unary};

/// Instructions of reading or writing a lane that lies apart from the others, with AVX-512 and with AVX2; all that lie two
/// apart or the other way round; of reading what lies between those that are a few elements apart, for each of these.
const APART: f64 = 2.5;
const APART_AVX2: f64 = 5.0;
const NEAR: f64 = 3.0;
const BETWEEN: f64 = 4.0;
/// Instructions of reading a vector of a block that is transposed.
const OF_BLOCK: f64 = 6.0;
/// Instructions of a function that is written out, and what a division or a root costs.
const FUNCTION: f64 = 25.0;
const DIVISION: f64 = 10.0;
/// Instructions to combine the lanes of a vector.
const COMBINE: f64 = 10.0;
/// What a turn of a loop costs beside its body.
const TURN: f64 = 1.0;

/// How the loops of a kernel run.
#[derive(Clone)]
pub struct Loops {
    /// Those that run on vectors.
    pub vectors: FxHashSet<LoopVar>,
    /// Those of them whose bodies hold blocks ([`super::blocks`]).
    pub crossed: FxHashSet<LoopVar>,
    /// How many turns of the outermost one, as it was, are one now.
    pub group: usize,
}

/// The loops of the kernel that run on vectors, of so many lanes; none if none can. The loop that threads share is none.
pub fn plan(kernel: &Kernel, isa: Isa, lanes: usize) -> Loops {
    let planner = Planner { kernel, isa, lanes, turns: vec![] };
    let way = match kernel.body.last() {
        Some(Stmt::For { var, body }) if kernel.is_parallel => planner.inside(*var, body).body(body, None),
        _ => planner.body(&kernel.body, None),
    };
    Loops { vectors: way.vectors, crossed: FxHashSet::default(), group: 1 }
}

struct Planner<'k> {
    kernel: &'k Kernel,
    isa: Isa,
    lanes: usize,
    /// The loops around, as far as each holds nothing but the next, or the sum around.
    turns: Vec<LoopVar>,
}

/// A way to run statements.
#[derive(Default)]
struct Way {
    cost: f64,
    vectors: FxHashSet<LoopVar>,
}

impl Way {
    fn times(self, turns: usize, more: f64) -> Way {
        Way { cost: turns as f64 * (self.cost + TURN) + more, ..self }
    }

    fn along(mut self, var: LoopVar) -> Way {
        self.vectors.insert(var);
        self
    }

    fn or(self, other: Way) -> Way {
        if other.cost < self.cost { other } else { self }
    }
}

impl<'k> Planner<'k> {
    /// The planner for a loop's body.
    fn inside(&self, var: LoopVar, body: &[Stmt]) -> Planner<'k> {
        let turns = match body {
            [Stmt::For { .. }] => [&self.turns[..], &[var]].concat(),
            _ => vec![],
        };
        Planner { turns, ..*self }
    }

    /// The planner for what a loop sums up: sums of sums are taken in blocks, too ([`super::across`]).
    fn inside_sum(&self, var: LoopVar, body: &[Stmt]) -> Planner<'k> {
        let turns = match body {
            [Stmt::Reduce { .. }] if self.kernel.extent(var).is_multiple_of(self.lanes) => vec![var],
            _ => vec![],
        };
        Planner { turns, ..*self }
    }

    fn body(&self, body: &[Stmt], vector: Option<LoopVar>) -> Way {
        body.iter().fold(Way::default(), |mut sum, stmt| {
            let way = self.stmt(stmt, vector);
            sum.cost += way.cost;
            sum.vectors.extend(way.vectors);
            sum
        })
    }

    fn stmt(&self, stmt: &Stmt, vector: Option<LoopVar>) -> Way {
        match stmt {
            Stmt::Let { instr: Instr::Load(access), .. } if self.is_of_block(&access.index, vector) => {
                Way { cost: OF_BLOCK, ..Way::default() }
            }
            Stmt::Let { instr, .. } => Way { cost: self.instr(instr, vector), ..Way::default() },
            Stmt::Store { access, .. } => Way { cost: self.access(&access.index, vector), ..Way::default() },
            Stmt::For { var, body } => {
                let inside = self.inside(*var, body);
                let plain = inside.body(body, vector).times(self.kernel.extent(*var), 0.0);
                match vector.is_none() && can_run_along(body, *var) {
                    true => plain.or(self.along(*var, body, 0.0)),
                    false => plain,
                }
            }
            Stmt::Reduce { var, body, parts } => {
                let inside = self.inside_sum(*var, body);
                let plain = inside.body(body, vector).times(self.kernel.extent(*var), 0.0);
                match vector.is_none() && !body.iter().any(Stmt::is_loop) {
                    true => plain.or(self.along(*var, body, COMBINE * parts.len() as f64)),
                    false => plain,
                }
            }
            Stmt::StoreRow { access, .. } => {
                Way { cost: 2.0 * self.access(&access.index, vector), ..Way::default() }
            }
            Stmt::Contract(_) | Stmt::Sort { .. } | Stmt::Recur { .. } => Way::default(),
        }
    }

    /// Whether the element is of a block that is transposed in registers ([`super::blocks`]).
    fn is_of_block(&self, index: &Affine, vector: Option<LoopVar>) -> bool {
        let is_across = |vector, turns: LoopVar| {
            index.is_across(vector, self.lanes, turns) && self.kernel.extent(turns) >= self.lanes
        };
        vector.is_some_and(|vector| self.turns.iter().any(|&turns| is_across(vector, turns)))
    }

    fn along(&self, var: LoopVar, body: &[Stmt], more: f64) -> Way {
        let turns = self.kernel.extent(var).div_ceil(self.lanes);
        self.body(body, Some(var)).times(turns, more).along(var)
    }

    fn instr(&self, instr: &Instr, vector: Option<LoopVar>) -> f64 {
        match instr {
            Instr::Load(access) | Instr::LoadRow { access, .. } => self.read(&access.index, vector),
            Instr::LoadWithin(access, ranges) => {
                self.access(&access.index, vector) + 3.0 * ranges.len() as f64
            }
            Instr::Within(ranges) => 3.0 * ranges.len() as f64,
            Instr::Unary(Unary::Sqrt, _) | Instr::Binary(Binary::Div, ..) => DIVISION,
            instr if math::is_inline(instr, false) => FUNCTION,
            _ => 1.0,
        }
    }

    fn read(&self, index: &Affine, vector: Option<LoopVar>) -> f64 {
        match vector.map_or(0, |var| index.coefficient(var)) {
            step if is_nearby(self.isa, step) => BETWEEN * step as f64,
            _ => self.access(index, vector),
        }
    }

    fn access(&self, index: &Affine, vector: Option<LoopVar>) -> f64 {
        match vector.map_or(0, |var| index.coefficient(var)) {
            0 | 1 => 1.0,
            2 | -1 => NEAR,
            _ if !self.isa.has_masks() => APART_AVX2 * self.lanes as f64,
            _ => APART * self.lanes as f64,
        }
    }
}

/// Whether every iteration writes elements of its own, and no loop but reductions is inside.
fn can_run_along(body: &[Stmt], var: LoopVar) -> bool {
    body.iter().all(|stmt| match stmt {
        Stmt::Let { .. } => true,
        Stmt::Store { access, .. } => access.index.coefficient(var) != 0,
        // All in one row.
        Stmt::StoreRow { access, row, .. } => {
            let is_inside = |stmt: &Stmt| stmt.makes().contains(row);
            access.index.coefficient(var) == 1 && !body.iter().any(is_inside)
        }
        Stmt::Reduce { body, .. } => can_run_along(body, var),
        _ => false,
    })
}
