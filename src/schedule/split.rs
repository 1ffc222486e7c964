//! Cuts loops where their guards change: what is loaded within a part of a loop alone, as paddings, concatenations and
//! overlaid cotangents do, becomes plain loads in a loop over that part.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::Range;

use super::cost::SPLIT_STATEMENTS;
use crate::loops::copy::{Copy, is_copyable, new_loop, new_value};
use crate::loops::partial::joined;
use crate::loops::{Affine, Instr, Kernel, LoopVar, Part, Program, Stmt, Var};

/// Cuts the loops of every kernel; returns whether there were some to be cut.
pub(super) fn split(program: &mut Program) -> bool {
    let mut is_cut = false;
    program.each_kernel_mut(|kernel| {
        if kernel.body.iter().any(has_guards) && is_copyable(&kernel.body) {
            let body = std::mem::take(&mut kernel.body);
            let mut splitter = Splitter { kernel, room: SPLIT_STATEMENTS };
            let body = splitter.body(body);
            is_cut |= splitter.room < SPLIT_STATEMENTS;
            kernel.body = body;
        }
    });
    is_cut
}

/// The conditions of a statement, if it has any.
fn guards(stmt: &Stmt) -> &[(Affine, i64)] {
    match stmt {
        Stmt::Let { instr: Instr::LoadWithin(_, ranges) | Instr::Within(ranges), .. } => ranges,
        _ => &[],
    }
}

fn has_guards(stmt: &Stmt) -> bool {
    stmt.any(&|stmt| !guards(stmt).is_empty())
}

struct Splitter<'k> {
    kernel: &'k mut Kernel,
    /// Statements that may still be added.
    room: usize,
}

impl Splitter<'_> {
    fn body(&mut self, body: Vec<Stmt>) -> Vec<Stmt> {
        body.into_iter().flat_map(|stmt| self.stmt(stmt)).collect()
    }

    fn stmt(&mut self, stmt: Stmt) -> Vec<Stmt> {
        match stmt {
            Stmt::For { var, body } => {
                let pieces = self.pieces(var, &body);
                if pieces.len() == 1 {
                    return vec![Stmt::For { var, body: self.body(body) }];
                }
                self.each_piece(pieces, |splitter, piece| splitter.cut_for(var, &body, piece)).concat()
            }
            Stmt::Reduce { var, body, parts } => {
                let pieces = self.pieces(var, &body);
                if pieces.len() == 1 {
                    return vec![Stmt::Reduce { var, body: self.body(body), parts }];
                }
                self.cut_reduce(var, &body, &parts, pieces)
            }
            Stmt::Recur { var, carry, initial, body, next } => {
                vec![Stmt::Recur { var, carry, initial, body: self.body(body), next }]
            }
            simple => vec![simple],
        }
    }

    /// The loop over a piece; of one iteration, that.
    fn cut_for(&mut self, var: LoopVar, body: &[Stmt], piece: Range<i64>) -> Vec<Stmt> {
        if piece.end - piece.start == 1 {
            let copy = Copy::of(self.kernel, body, var, &Affine::constant(piece.start));
            return self.body(copy.body);
        }
        let own = new_loop(self.kernel, (piece.end - piece.start) as usize);
        let copy = Copy::of(self.kernel, body, var, &moved(own, piece.start));
        vec![Stmt::For { var: own, body: self.body(copy.body) }]
    }

    /// The reductions over the pieces, and what puts them together.
    fn cut_reduce(
        &mut self,
        var: LoopVar,
        body: &[Stmt],
        parts: &[Part],
        pieces: Vec<Range<i64>>,
    ) -> Vec<Stmt> {
        let reductions = self.each_piece(pieces, |splitter, piece| {
            let own = new_loop(splitter.kernel, (piece.end - piece.start) as usize);
            let copy = Copy::of(splitter.kernel, body, var, &moved(own, piece.start));
            let own_part = |part: &Part| Part {
                dst: new_value(splitter.kernel, part.dst),
                value: copy.value(part.value),
                ..*part
            };
            let parts: Vec<Part> = parts.iter().map(own_part).collect();
            (Stmt::Reduce { var: own, body: splitter.body(copy.body), parts: parts.clone() }, parts)
        });
        let (mut done, parts_of_each): (Vec<Stmt>, Vec<Vec<Part>>) = reductions.into_iter().unzip();
        let dst = |parts: &Vec<Part>| parts.iter().map(|part| part.dst).collect();
        let sums: Vec<Vec<Var>> = parts_of_each.iter().map(dst).collect();
        done.extend(joined(self.kernel, parts, &sums));
        done
    }

    /// What is made of each piece. The longest comes first to the room that there is for cuts inside.
    fn each_piece<T>(
        &mut self,
        pieces: Vec<Range<i64>>,
        mut make: impl FnMut(&mut Self, Range<i64>) -> T,
    ) -> Vec<T> {
        let mut order: Vec<(usize, Range<i64>)> = pieces.into_iter().enumerate().collect();
        order.sort_by_key(|(_, piece)| Reverse(piece.end - piece.start));
        let mut made: Vec<(usize, T)> =
            order.into_iter().map(|(number, piece)| (number, make(self, piece))).collect();
        made.sort_by_key(|made| made.0);
        made.into_iter().map(|made| made.1).collect()
    }

    /// The pieces in which every guard that only the loop's variable moves holds or fails throughout.
    fn pieces(&mut self, var: LoopVar, body: &[Stmt]) -> Vec<Range<i64>> {
        let extent = self.kernel.extent(var) as i64;
        let mut cuts = BTreeSet::new();
        let mut collect = |stmt: &Stmt| {
            let ranges = guards(stmt);
            if !ranges.iter().any(|range| self.kernel.never_within(range)) {
                cuts.extend(ranges.iter().flat_map(|range| self.cuts(var, range)));
            }
        };
        body.iter().for_each(|stmt| stmt.each(&mut collect));
        cuts.retain(|cut| (1..extent).contains(cut));
        let added = cuts.len() * body.iter().map(Stmt::statements).sum::<usize>();
        if added > self.room {
            cuts.clear();
        } else {
            self.room -= added;
        }
        let ends: Vec<i64> = cuts.into_iter().chain([extent]).collect();
        let starts = [0].into_iter().chain(ends.iter().copied());
        starts.zip(&ends).map(|(start, &end)| start..end).collect()
    }

    /// Where a guard comes to hold or to fail, whatever the other variables are; none if it never holds so.
    fn cuts(&self, var: LoopVar, (index, bound): &(Affine, i64)) -> Vec<i64> {
        let step = index.coefficient(var);
        let (low, high) = self.kernel.range_of(&index.without(var));
        if step == 0 || high - low >= *bound {
            return vec![];
        }
        // `step · v + rest ≥ limit` changes at the first `v` beyond.
        let change = |rest: i64, limit: i64| match step > 0 {
            true => -(rest - limit).div_euclid(step),
            false => (rest - limit).div_euclid(-step) + 1,
        };
        vec![change(low, 0), change(high, 0), change(low, *bound), change(high, *bound)]
    }
}

/// A loop variable that starts elsewhere.
fn moved(var: LoopVar, start: i64) -> Affine {
    Affine::var(var).plus(&Affine::constant(start))
}
