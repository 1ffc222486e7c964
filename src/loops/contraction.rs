//! Contractions as one statement: what a library kernel computes in tiles.

use std::fmt;

use super::{Access, Affine, Kernel, LoopVar, Stmt, Var};
use crate::types::DType;

/// From so many multiplications on, several threads may compute a part each.
pub const LARGE: usize = 1 << 20;

/// `out[i, j] (+)= Σₖ lhs[i, k] · rhs[k, j]`, each index standing for the values of several loop variables.
#[derive(Clone, Debug)]
pub struct Contraction {
    pub lhs: Access,
    pub rhs: Access,
    pub out: Access,
    /// The variables of `i`, outermost first.
    pub rows: Vec<LoopVar>,
    /// Those of `j`.
    pub columns: Vec<LoopVar>,
    /// Those of `k`.
    pub depth: Vec<LoopVar>,
    pub dtype: DType,
    /// If set, what is there stays, and the sums are added to it, times this value.
    pub scale: Option<Var>,
}

/// The offsets, in elements, at which a contraction's operands and result lie for each value of its indices.
#[derive(Clone, Debug)]
pub struct Tables {
    pub row_lhs: Vec<i32>,
    pub row_out: Vec<i32>,
    pub column_rhs: Vec<i32>,
    pub column_out: Vec<i32>,
    pub depth_lhs: Vec<i32>,
    pub depth_rhs: Vec<i32>,
    pub is_scaled: bool,
    /// So many rows at a time lie side by side in both the left operand and the result.
    pub row_run: usize,
    /// So many columns do in both the right operand and the result.
    pub column_run: usize,
    /// How far apart such runs begin in the left operand, if all are evenly and the result has them side by side.
    pub row_run_step: Option<usize>,
    /// The same in the right one.
    pub column_run_step: Option<usize>,
    /// So many depths do in both operands.
    pub depth_run: usize,
    /// How far apart depths lie in the left operand and in the right one, if all are evenly apart.
    pub depth_steps: [Option<i32>; 2],
    /// How far apart rows lie in the left operand, and how far columns in the right one, if all are evenly apart.
    pub steps: [Option<i32>; 2],
    /// How far apart rows lie in the result, and how far columns, if all are evenly apart.
    pub out_steps: [Option<i32>; 2],
}

impl Contraction {
    /// The variables that the contraction itself runs over.
    pub fn vars(&self) -> impl Iterator<Item = LoopVar> {
        [&self.rows, &self.columns, &self.depth].into_iter().flatten().copied()
    }

    /// Has rows and columns change places if rows lie side by side in the result, and columns do not.
    pub fn arrange(&mut self) {
        let beside = |vars: &[LoopVar]| vars.iter().any(|&var| self.out.index.coefficient(var) == 1);
        if beside(&self.rows) && !beside(&self.columns) {
            std::mem::swap(&mut self.lhs, &mut self.rhs);
            std::mem::swap(&mut self.rows, &mut self.columns);
        }
    }

    /// Multiplications.
    pub fn work(&self, kernel: &Kernel) -> usize {
        self.vars().fold(1usize, |work, var| work.saturating_mul(kernel.extent(var)))
    }

    /// Whether several threads may compute a part each.
    pub fn is_large(&self, kernel: &Kernel) -> bool {
        self.work(kernel) >= LARGE
    }

    /// The offsets for each index.
    pub fn tables(&self, kernel: &Kernel) -> Tables {
        let offsets = |vars: &[LoopVar], access: &Access| offsets(kernel, vars, &access.index);
        Tables::new(
            [offsets(&self.rows, &self.lhs), offsets(&self.rows, &self.out)],
            [offsets(&self.columns, &self.rhs), offsets(&self.columns, &self.out)],
            [offsets(&self.depth, &self.lhs), offsets(&self.depth, &self.rhs)],
            self.scale.is_some(),
        )
    }
}

impl Kernel {
    /// Whether there is a contraction that several threads may compute a part each of.
    pub(crate) fn has_large_contraction(&self) -> bool {
        let is_large =
            |stmt: &Stmt| matches!(stmt, Stmt::Contract(contraction) if contraction.is_large(self));
        self.body.iter().any(|stmt| stmt.any(&is_large))
    }
}

impl Tables {
    /// Of the rows' offsets in the left operand and the result, the columns' in the right one and the result, and the
    /// depths' in the operands.
    pub fn new(rows: [Vec<i32>; 2], columns: [Vec<i32>; 2], depth: [Vec<i32>; 2], is_scaled: bool) -> Tables {
        let (row_run, column_run, depth_run) = (run(&rows), run(&columns), run(&depth));
        let row_run_step = run_step(&rows, row_run);
        let column_run_step = run_step(&columns, column_run);
        let depth_steps = [&depth[0], &depth[1]].map(|offsets| step(offsets));
        let steps = [&rows[0], &columns[0]].map(|offsets| step(offsets));
        let out_steps = [&rows[1], &columns[1]].map(|offsets| step(offsets));
        let ([row_lhs, row_out], [column_rhs, column_out]) = (rows, columns);
        let [depth_lhs, depth_rhs] = depth;
        Tables {
            row_lhs,
            row_out,
            column_rhs,
            column_out,
            depth_lhs,
            depth_rhs,
            is_scaled,
            row_run,
            column_run,
            row_run_step,
            column_run_step,
            depth_run,
            depth_steps,
            steps,
            out_steps,
        }
    }
}

/// How far apart offsets are, if all are evenly.
fn step(offsets: &[i32]) -> Option<i32> {
    let step = offsets.get(1).map_or(0, |second| second - offsets[0]);
    offsets.windows(2).all(|pair| pair[1] - pair[0] == step).then_some(step)
}

/// How far apart runs begin in the first, if all are evenly and follow one another in the second.
fn run_step([operand, out]: &[Vec<i32>; 2], run: usize) -> Option<usize> {
    let starts: Vec<i32> = operand.iter().copied().step_by(run).collect();
    step(&starts).filter(|_| step(out) == Some(1)).and_then(|step| step.try_into().ok())
}

/// The length of the runs that step by one in both, all equally long.
fn run([a, b]: &[Vec<i32>; 2]) -> usize {
    let is_step = |at: usize| a[at] - a[at - 1] == 1 && b[at] - b[at - 1] == 1;
    let first = (1..a.len()).find(|&at| !is_step(at)).unwrap_or(a.len()).max(1);
    let is_everywhere = a.len() % first == 0 && (1..a.len()).all(|at| at % first == 0 || is_step(at));
    if is_everywhere { first } else { 1 }
}

/// What the variables add to the index, for all their values, the last variable fastest.
fn offsets(kernel: &Kernel, vars: &[LoopVar], index: &Affine) -> Vec<i32> {
    vars.iter().fold(vec![0], |offsets, &var| {
        let step = index.coefficient(var) as i32;
        let along = |&start: &i32| (0..kernel.extent(var) as i32).map(move |at| start + step * at);
        offsets.iter().flat_map(along).collect()
    })
}

impl fmt::Display for Contraction {
    /// `b2[…] += v3 · Σ(i2) b0[…] · b1[…] over rows (i0), columns (i1)`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |vars: &[LoopVar]| {
            let names: Vec<String> = vars.iter().map(|var| format!("i{}", var.0)).collect();
            names.join(", ")
        };
        match self.scale {
            Some(scale) => write!(f, "{} += {scale} · ", self.out)?,
            None => write!(f, "{} = ", self.out)?,
        }
        write!(f, "Σ({}) {} · {}", names(&self.depth), self.lhs, self.rhs)?;
        write!(f, " over rows ({}), columns ({})", names(&self.rows), names(&self.columns))
    }
}
