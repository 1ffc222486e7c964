//! Contractions of few results over a long depth, as of the weights of a model of many rows: pieces of the depth give
//! partial sums, which a small kernel adds up. Threads share the pieces.

use super::cost::{DEEP, FEW_RESULTS, PIECES};
use crate::loops::copy::{moved, new_buffer, new_loop, new_value_of};
use crate::loops::partial::gathered;
use crate::loops::{
    Access, Affine, Binary, Buffer, BufferId, Combine, Contraction, Instr, Kernel, LoopVar, Part, Program,
    Stmt, Var, nested,
};

/// Cuts such contractions of every kernel that is not repeated.
pub(super) fn in_pieces(program: &mut Program) {
    program.replace_kernels(|kernel, buffers| match Deep::of(&kernel) {
        Some(deep) => deep.kernels(buffers),
        None => vec![kernel],
    });
}

/// A kernel that is one contraction, after some scalars.
struct Deep<'k> {
    kernel: &'k Kernel,
    contraction: &'k Contraction,
    /// The outermost variable of the depth, which is cut.
    cut: LoopVar,
}

impl<'k> Deep<'k> {
    fn of(kernel: &'k Kernel) -> Option<Deep<'k>> {
        let (Stmt::Contract(contraction), before) = kernel.body.split_last()? else { return None };
        let count = |vars: &[LoopVar]| vars.iter().map(|&var| kernel.extent(var)).product::<usize>();
        let cut = *contraction.depth.first()?;
        let is_deep = count(&contraction.depth) >= DEEP && kernel.extent(cut) >= PIECES;
        let has_few_results = count(&contraction.rows) * count(&contraction.columns) <= FEW_RESULTS;
        let pays = contraction.is_large(kernel) && is_deep && has_few_results;
        (pays && before.iter().all(Stmt::is_let)).then_some(Deep { kernel, contraction, cut })
    }

    fn kernels(&self, buffers: &mut Vec<Buffer>) -> Vec<Kernel> {
        let extent = self.kernel.extent(self.cut);
        let (height, rest) = (extent / PIECES, extent % PIECES);
        let pieces = PIECES + usize::from(rest > 0);
        let sums = new_buffer(buffers, "sums of pieces", self.contraction.dtype, pieces * self.results());
        let mut kernels = vec![self.pieces(sums, height)];
        if rest > 0 {
            kernels.push(self.rest(sums, height, rest));
        }
        let vars: Vec<LoopVar> = self.vars().collect();
        let at = |piece| self.sums(sums, piece);
        kernels.push(end(self.kernel, self.contraction, &vars, pieces, at));
        kernels
    }

    /// The variables of the results, outermost first.
    fn vars(&self) -> impl Iterator<Item = LoopVar> {
        [&self.contraction.rows, &self.contraction.columns].into_iter().flatten().copied()
    }

    fn results(&self) -> usize {
        self.vars().map(|var| self.kernel.extent(var)).product()
    }

    /// The sums of a piece, one beside the other.
    fn sums(&self, buffer: BufferId, piece: Affine) -> Access {
        let indices: Vec<Affine> = std::iter::once(piece).chain(self.vars().map(Affine::var)).collect();
        let results = self.vars().map(|var| self.kernel.extent(var));
        let extents: Vec<usize> = std::iter::once(PIECES).chain(results).collect();
        Access { buffer, index: Affine::linear(&indices, &extents) }
    }

    /// The contraction of some depths from `start` on, to partial sums.
    fn part(&self, kernel: &mut Kernel, (start, count): (&Affine, usize), out: Access) -> Vec<Stmt> {
        kernel.extents[self.cut.index()] = count;
        let call = Stmt::Contract(Contraction { out, scale: None, ..self.contraction.clone() });
        moved(&[call], self.cut, &start.plus(&Affine::var(self.cut)))
    }

    fn pieces(&self, sums: BufferId, height: usize) -> Kernel {
        let mut kernel = Kernel { name: format!("{}: pieces", self.kernel.name), ..self.kernel.clone() };
        let piece = new_loop(&mut kernel, PIECES);
        let start = Affine::var(piece).scaled(height as i64);
        let out = self.sums(sums, Affine::var(piece));
        let body = self.part(&mut kernel, (&start, height), out);
        kernel.body = vec![Stmt::For { var: piece, body }];
        kernel
    }

    fn rest(&self, sums: BufferId, height: usize, count: usize) -> Kernel {
        let mut kernel = Kernel { name: format!("{}: rest", self.kernel.name), ..self.kernel.clone() };
        let start = Affine::constant((PIECES * height) as i64);
        let out = self.sums(sums, Affine::constant(PIECES as i64));
        kernel.body = self.part(&mut kernel, (&start, count), out);
        kernel
    }
}

/// A contraction's sums, each of so many partial ones, and what becomes of them.
pub(super) fn end(
    kernel: &Kernel,
    contraction: &Contraction,
    vars: &[LoopVar],
    count: usize,
    at: impl Fn(Affine) -> Access,
) -> Kernel {
    let mut kernel = kernel.clone();
    let sum = new_value_of(&mut kernel, contraction.dtype);
    let parts = vec![Part { dst: sum, combine: Combine::Sum, value: sum }];
    let mut inside = vec![gathered(&mut kernel, parts, count, |_, part| at(part))];
    inside.extend(stored(&mut kernel, contraction, sum));
    kernel.body = [kernel.scalars(), &nested(vars, inside)].concat();
    kernel
}

/// What becomes of a contraction's sum.
fn stored(kernel: &mut Kernel, contraction: &Contraction, sum: Var) -> Vec<Stmt> {
    let Contraction { out, scale, dtype, .. } = contraction;
    let (mut body, mut result) = (Vec::new(), sum);
    if let Some(scale) = *scale {
        let mut push = |instr| {
            let dst = new_value_of(kernel, *dtype);
            body.push(Stmt::Let { dst, instr });
            dst
        };
        let (before, term) = (push(Instr::Load(out.clone())), push(Instr::Binary(Binary::Mul, sum, scale)));
        result = push(Instr::Binary(Binary::Add, before, term));
    }
    body.push(Stmt::Store { access: out.clone(), value: result });
    body
}
