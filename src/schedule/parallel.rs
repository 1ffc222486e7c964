//! Shares large kernels out among threads: their outermost loop, cut into pieces where it would run on vectors or sums
//! up. Every piece has sums of its own, which a small kernel adds up in order, so that results do not depend on threads.

use super::cost::{LANES, LONG_BODY, LONG_SUM, PARALLEL, PIECE, PIECES, WASTED, instructions};
use super::forward::drop_unused;
use crate::loops::copy::{moved, new_buffer, new_loop};
use crate::loops::partial::{gathered, with_rest};
use crate::loops::{
    Access, Affine, Buffer, BufferId, Kernel, LoopVar, Part, Program, Stmt, around_loop, perfect_nest,
};

/// Marks what may run in parallel, and cuts loops into pieces for it.
pub(super) fn parallel(program: &mut Program) {
    program.replace_kernels(shared_out);
}

/// The kernel, or what does the same in pieces.
fn shared_out(kernel: Kernel, buffers: &mut Vec<Buffer>) -> Vec<Kernel> {
    let work = kernel.work(&instructions);
    if work < PARALLEL {
        return vec![kernel];
    }
    let Some((before, stmt, after)) = around_loop(&kernel.body) else { return vec![kernel] };
    let (var, body, parts) = match stmt {
        Stmt::For { var, body } => (*var, body, &[][..]),
        Stmt::Reduce { var, body, parts } => (*var, body, &parts[..]),
        _ => return vec![kernel],
    };
    if !kernel.is_independent(before, var, body) {
        return vec![kernel];
    }
    // Few large contractions are each shared out.
    if kernel.extent(var) < PIECES && kernel.has_large_contraction() {
        return vec![kernel];
    }
    let has_loops = has_loops(var, body, work / kernel.extent(var));
    let is_in_blocks = is_across(stmt, var);
    let leaves_some = is_in_blocks && !kernel.extent(var).is_multiple_of(LANES);
    if has_loops && parts.is_empty() && after.is_empty() && !leaves_some {
        return vec![Kernel { is_parallel: true, ..kernel }];
    }
    // Whole vectors where the loop is the innermost, whole blocks where it is across them.
    let unit = match has_loops {
        true if is_in_blocks => LANES,
        true => 1,
        false => PIECE,
    };
    let Some(pieces) = Pieces::of(kernel.extent(var), unit) else { return vec![kernel] };
    let is_long = !body.iter().any(Stmt::is_loop) && work > LONG_BODY * kernel.extent(var);
    let even = Pieces::even(kernel.extent(var)).filter(|_| is_long && pieces.rest > 0);
    let pieces = even.unwrap_or(pieces);
    let known = buffers.len();
    let kernels = Cut { kernel: &kernel, before, var, body, parts, after, pieces }.kernels(buffers);
    if kernels[0].may_be_parallel() {
        return kernels;
    }
    buffers.truncate(known);
    vec![kernel]
}

/// Whether the innermost loop reads elements that lie far apart, of which those of the loop over `var` are neighbours.
fn is_across(stmt: &Stmt, var: LoopVar) -> bool {
    let (vars, body) = perfect_nest(stmt);
    let Some(&innermost) = vars.last() else { return false };
    let accesses = body.iter().filter_map(|stmt| stmt.read());
    accesses.map(|(access, _)| &access.index).any(|index| index.is_across(innermost, LANES, var))
}

/// Whether there are loops in the loop over `var` that make each iteration, of so many instructions, long by itself.
fn has_loops(var: LoopVar, body: &[Stmt], instructions: usize) -> bool {
    body.iter().any(|stmt| match stmt {
        Stmt::For { .. } | Stmt::Contract(_) | Stmt::Sort { .. } => true,
        Stmt::Reduce { .. } => instructions >= LONG_SUM && !is_down(stmt, var),
        _ => false,
    })
}

/// Whether a sum reads elements that lie apart, of which those of the loop around it over `var` are neighbours.
fn is_down(stmt: &Stmt, var: LoopVar) -> bool {
    let Stmt::Reduce { var: row, body, .. } = stmt else { return false };
    body.iter().any(|stmt| {
        let is_across = |(access, _): (&Access, i64)| access.index.is_across(*row, 2, var);
        stmt.read().is_some_and(is_across) || is_down(stmt, var)
    })
}

/// How a loop is cut.
#[derive(Clone, Copy)]
struct Pieces {
    count: usize,
    /// Iterations of each.
    length: usize,
    /// Iterations after the last.
    rest: usize,
}

impl Pieces {
    /// Each of a multiple of so many iterations.
    fn of(extent: usize, unit: usize) -> Option<Pieces> {
        let length = (extent / PIECES).max(1).next_multiple_of(unit);
        let count = extent / length;
        (count > 1).then_some(Pieces { count, length, rest: extent - count * length })
    }

    /// Pieces that leave nothing over, if there are some that nearly fill their vectors.
    fn even(extent: usize) -> Option<Pieces> {
        let is_full = |length: usize| length.next_multiple_of(LANES) - length <= length / WASTED;
        let counts = (PIECES / 4..=PIECES).rev();
        let count =
            counts.filter(|count| extent.is_multiple_of(*count)).find(|count| is_full(extent / count))?;
        Some(Pieces { count, length: extent / count, rest: 0 })
    }
}

/// A kernel to be cut at its only loop.
struct Cut<'k> {
    kernel: &'k Kernel,
    before: &'k [Stmt],
    var: LoopVar,
    body: &'k [Stmt],
    parts: &'k [Part],
    after: &'k [Stmt],
    pieces: Pieces,
}

impl Cut<'_> {
    fn kernels(&self, buffers: &mut Vec<Buffer>) -> Vec<Kernel> {
        let sums: Vec<BufferId> = self.parts.iter().map(|part| self.buffer(part, buffers)).collect();
        let needs_end = !self.parts.is_empty() || !self.after.is_empty() || self.pieces.rest > 0;
        [Some(self.in_pieces(&sums)), needs_end.then(|| self.end(&sums))].into_iter().flatten().collect()
    }

    /// One partial result a piece.
    fn buffer(&self, part: &Part, buffers: &mut Vec<Buffer>) -> BufferId {
        new_buffer(buffers, "sums of pieces", self.kernel.dtype(part.dst), self.pieces.count)
    }

    /// The loop's body for the iterations from `start` on.
    fn moved(&self, start: Affine) -> Vec<Stmt> {
        moved(self.body, self.var, &Affine::var(self.var).plus(&start))
    }

    /// A loop over some iterations, which sums up what the kernel does.
    fn looped(&self, body: Vec<Stmt>, parts: Vec<Part>) -> Stmt {
        match parts.is_empty() {
            true => Stmt::For { var: self.var, body },
            false => Stmt::Reduce { var: self.var, body, parts },
        }
    }

    fn in_pieces(&self, sums: &[BufferId]) -> Kernel {
        let mut kernel = Kernel { is_parallel: true, ..self.kernel.clone() };
        let piece = new_loop(&mut kernel, self.pieces.count);
        kernel.extents[self.var.index()] = self.pieces.length;
        let body = self.moved(Affine::var(piece).scaled(self.pieces.length as i64));
        let mut inside = vec![self.looped(body, self.parts.to_vec())];
        inside.extend(self.parts.iter().zip(sums).map(|(part, &buffer)| Stmt::Store {
            access: Access { buffer, index: Affine::var(piece) },
            value: part.dst,
        }));
        kernel.body = self.before.to_vec();
        kernel.body.push(Stmt::For { var: piece, body: inside });
        kernel
    }

    /// The iterations after the last piece, all sums, and what comes after the loop.
    fn end(&self, sums: &[BufferId]) -> Kernel {
        let mut kernel = Kernel { name: format!("{}: end", self.kernel.name), ..self.kernel.clone() };
        let Pieces { count, length, rest } = self.pieces;
        kernel.extents[self.var.index()] = rest;
        kernel.body = self.before.to_vec();
        let left = |parts| self.looped(self.moved(Affine::constant((count * length) as i64)), parts);
        match (self.parts, rest) {
            ([], 0) => {}
            ([], _) => kernel.body.push(left(vec![])),
            (parts, 0) => {
                let all = self.add_up(&mut kernel, parts.to_vec(), sums);
                kernel.body.push(all);
            }
            (parts, _) => {
                let all = |kernel: &mut Kernel, parts| self.add_up(kernel, parts, sums);
                let stmts = with_rest(&mut kernel, parts, all, |_, parts| left(parts));
                kernel.body.extend(stmts);
            }
        }
        kernel.body.extend_from_slice(self.after);
        drop_unused(&mut kernel);
        kernel
    }

    /// The sums of all pieces.
    fn add_up(&self, kernel: &mut Kernel, parts: Vec<Part>, sums: &[BufferId]) -> Stmt {
        gathered(kernel, parts, self.pieces.count, |number, index| Access { buffer: sums[number], index })
    }
}

#[cfg(test)]
mod tests {
    use super::Pieces;

    #[test]
    fn even_pieces_leave_nothing_over_and_nearly_fill_their_vectors() {
        let even = |extent| Pieces::even(extent).map(|pieces| (pieces.count, pieces.length, pieces.rest));
        assert_eq!(even(1000), Some((8, 125, 0)));
        assert_eq!(even(1024), Some((32, 32, 0)));
        assert_eq!(even(1009), None);
        assert_eq!(even(9 * 17), None);
    }
}
