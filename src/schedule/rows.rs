//! Sums down columns, in blocks of rows: each gives a row of partial sums, which a small kernel puts together. Threads share
//! the blocks; columns that no cache holds are read nearly in the order they lie in.

use super::cost::{
    BLOCK, FAR, NEAR, PARALLEL, PIECE, PIECES, ROWS_AT_ONCE, TALL, UNROLLED_STATEMENTS, instructions,
};
use super::forward::drop_unused;
use super::stages::{first_dependent, in_stages};
use crate::loops::copy::{Copy, new_buffer, new_loop, new_value};
use crate::loops::partial::{fresh, gathered, joined, with_rest};
use crate::loops::{
    Access, Affine, Buffer, BufferId, Instr, Kernel, LoopVar, Part, Program, Stmt, Var, around_loop,
};

/// Cuts such sums of every kernel that is not repeated.
pub(super) fn in_blocks(program: &mut Program) {
    program.replace_kernels(|kernel, buffers| cut(&kernel, buffers).unwrap_or_else(|| vec![kernel]));
}

/// The kernel in blocks, or in stages of which each is in blocks.
fn cut(kernel: &Kernel, buffers: &mut Vec<Buffer>) -> Option<Vec<Kernel>> {
    if let Some(columns) = Columns::of(kernel, buffers) {
        return Some(columns.kernels(buffers).into());
    }
    let known = buffers.len();
    let stages = in_stages(kernel, buffers)?;
    let kernels: Option<Vec<Vec<Kernel>>> = stages.iter().map(|stage| cut(stage, buffers)).collect();
    if kernels.is_none() {
        buffers.truncate(known);
    }
    Some(kernels?.concat())
}

/// A kernel that is one loop over columns, each with sums down the rows.
struct Columns<'k> {
    kernel: &'k Kernel,
    /// What comes before the loop.
    before: &'k [Stmt],
    column: LoopVar,
    body: &'k [Stmt],
    blocks: Blocks,
}

/// How rows are cut.
#[derive(Clone, Copy)]
struct Blocks {
    count: usize,
    /// Rows of each.
    height: usize,
    /// Rows after the last.
    rest: usize,
    /// Whether rows are far apart.
    are_far: bool,
}

/// Sums down the rows.
#[derive(Clone, Copy)]
struct Sums<'k> {
    row: LoopVar,
    body: &'k [Stmt],
    parts: &'k [Part],
}

impl<'k> Sums<'k> {
    fn of(stmt: &'k Stmt) -> Option<Sums<'k>> {
        match stmt {
            Stmt::Reduce { var, body, parts } => Some(Sums { row: *var, body, parts }),
            _ => None,
        }
    }

    /// The sums of so many rows from the first on. Values inside are new ones.
    fn of_rows(self, kernel: &mut Kernel, first: &Affine, count: usize, parts: Vec<Part>) -> Stmt {
        let var = new_loop(kernel, count);
        let copy = Copy::of(kernel, self.body, self.row, &first.plus(&Affine::var(var)));
        let parts = parts.into_iter().map(|part| Part { value: copy.value(part.value), ..part }).collect();
        Stmt::Reduce { var, body: copy.body, parts }
    }

    /// The accesses of what is summed up, with bytes from row to row.
    fn reads(self, buffers: &'k [Buffer]) -> impl Iterator<Item = (&'k Access, usize)> {
        self.body.iter().filter_map(|stmt| stmt.read()).map(move |(access, _)| {
            let size = buffers[access.buffer.index()].dtype.size();
            (access, access.index.coefficient(self.row).unsigned_abs() as usize * size)
        })
    }
}

impl<'k> Columns<'k> {
    /// The columns of a kernel, if that pays: they are long and far from row to row, or so few that threads share the rows.
    fn of(kernel: &'k Kernel, buffers: &[Buffer]) -> Option<Columns<'k>> {
        let Some((before, Stmt::For { var, body }, [])) = around_loop(&kernel.body) else { return None };
        let sums: Vec<Sums<'_>> = body.iter().filter_map(Sums::of).collect();
        let is_simple =
            |stmt: &Stmt| matches!(stmt, Stmt::Let { .. } | Stmt::Store { .. } | Stmt::Reduce { .. });
        let is_flat = |sums: &Sums<'_>| sums.body.iter().all(Stmt::is_let);
        if !before.iter().all(Stmt::is_let)
            || !body.iter().all(is_simple)
            || !sums.iter().all(is_flat)
            || first_dependent(body).is_some()
        {
            return None;
        }
        let rows = kernel.extent(sums.first()?.row);
        if sums.iter().any(|sum| kernel.extent(sum.row) != rows) {
            return None;
        }
        let blocks = Blocks::of_far(*var, rows, &sums, buffers)
            .or_else(|| Blocks::of_narrow(kernel, *var, rows, &sums, buffers))?;
        Some(Columns { kernel, before, column: *var, body, blocks })
    }

    fn sums(&self) -> impl Iterator<Item = Sums<'k>> + use<'k> {
        self.body.iter().filter_map(Sums::of)
    }

    fn kernels(&self, buffers: &mut Vec<Buffer>) -> [Kernel; 2] {
        let elements = self.kernel.extent(self.column) * self.blocks.count;
        let mut buffer =
            |part: &Part| new_buffer(buffers, "sums of blocks", self.kernel.dtype(part.dst), elements);
        let homes: Vec<Vec<BufferId>> =
            self.sums().map(|sum| sum.parts.iter().map(&mut buffer).collect()).collect();
        [self.in_blocks(&homes), self.end(&homes)]
    }

    /// The scalars of a column. Those that depend on its sums are of no use in blocks, and dropped there.
    fn lets(&self) -> Vec<Stmt> {
        self.body.iter().filter(|stmt| stmt.is_let()).cloned().collect()
    }

    /// The sum of a block and a column.
    fn sum(&self, buffer: BufferId, block: Affine) -> Access {
        let columns = self.kernel.extent(self.column) as i64;
        Access { buffer, index: block.scaled(columns).plus(&Affine::var(self.column)) }
    }

    fn in_blocks(&self, homes: &[Vec<BufferId>]) -> Kernel {
        let mut kernel = Kernel { name: format!("{}: blocks", self.kernel.name), ..self.kernel.clone() };
        let block = new_loop(&mut kernel, self.blocks.count);
        let start = Affine::var(block).scaled(self.blocks.height as i64);
        let inside = match self.at_once() {
            Some((sum, rows)) => self.along(&mut kernel, sum, (block, &start), rows, &homes[0]),
            None => vec![self.down(&mut kernel, block, &start, homes)],
        };
        kernel.body = self.before.to_vec();
        kernel.body.push(Stmt::For { var: block, body: inside });
        drop_unused(&mut kernel);
        kernel
    }

    /// How many rows to add at once, all along, if there is one sum: a divisor of the height, as long as the sums of a row
    /// stay in the first cache, and the body is short.
    fn at_once(&self) -> Option<(Sums<'k>, usize)> {
        let sum = self.sums().next().filter(|_| self.blocks.are_far && self.sums().count() == 1)?;
        let is_near = sum.parts.len() * self.kernel.extent(self.column) <= NEAR;
        let fits = |&rows: &usize| {
            self.blocks.height.is_multiple_of(rows) && rows * sum.body.len() <= UNROLLED_STATEMENTS && is_near
        };
        Some((sum, (2..=ROWS_AT_ONCE).rev().find(fits)?))
    }

    /// Each column from the start of a block down to its end.
    fn down(&self, kernel: &mut Kernel, block: LoopVar, start: &Affine, homes: &[Vec<BufferId>]) -> Stmt {
        let mut inside = self.lets();
        for (sums, homes) in self.sums().zip(homes) {
            inside.push(sums.of_rows(kernel, start, self.blocks.height, sums.parts.to_vec()));
            inside.extend(self.stores(sums.parts, block, homes));
        }
        Stmt::For { var: self.column, body: inside }
    }

    /// The first rows of a block, so many at once, and then the next ones, which are added to what is there.
    fn along(
        &self,
        kernel: &mut Kernel,
        sums: Sums<'_>,
        (block, start): (LoopVar, &Affine),
        rows: usize,
        homes: &[BufferId],
    ) -> Vec<Stmt> {
        let first = self.rows(kernel, sums, (start, rows), vec![], (block, homes));
        let group = new_loop(kernel, self.blocks.height / rows - 1);
        let next = start.plus(&Affine::var(group).scaled(rows as i64)).plus(&Affine::constant(rows as i64));
        let (mut rest, known) = self.loads(kernel, sums.parts, block, homes);
        rest.extend(self.rows(kernel, sums, (&next, rows), vec![known], (block, homes)));
        // A loop inside counts behind those around it.
        let column = new_loop(kernel, kernel.extent(self.column));
        let rest = Copy::of(kernel, &rest, self.column, &Affine::var(column)).body;
        let rest = Stmt::For { var: group, body: vec![Stmt::For { var: column, body: rest }] };
        vec![Stmt::For { var: self.column, body: first }, rest]
    }

    /// The terms of so many rows from the first on, added to what is known, and stored.
    fn rows(
        &self,
        kernel: &mut Kernel,
        sums: Sums<'_>,
        (first, count): (&Affine, usize),
        mut terms: Vec<Vec<Var>>,
        (block, homes): (LoopVar, &[BufferId]),
    ) -> Vec<Stmt> {
        let mut body = self.lets();
        for row in 0..count {
            let at = first.plus(&Affine::constant(row as i64));
            let copy = Copy::of(kernel, sums.body, sums.row, &at);
            terms.push(sums.parts.iter().map(|part| copy.value(part.value)).collect());
            body.extend(copy.body);
        }
        let parts = fresh(kernel, sums.parts);
        body.extend(joined(kernel, &parts, &terms));
        body.extend(self.stores(&parts, block, homes));
        body
    }

    /// The partial results of a block, as new values.
    fn loads(
        &self,
        kernel: &mut Kernel,
        parts: &[Part],
        block: LoopVar,
        homes: &[BufferId],
    ) -> (Vec<Stmt>, Vec<Var>) {
        let values: Vec<Var> = parts.iter().map(|part| new_value(kernel, part.dst)).collect();
        let load =
            |(&dst, &buffer)| Stmt::Let { dst, instr: Instr::Load(self.sum(buffer, Affine::var(block))) };
        (values.iter().zip(homes).map(load).collect(), values)
    }

    fn stores(&self, parts: &[Part], block: LoopVar, homes: &[BufferId]) -> Vec<Stmt> {
        let store = |(part, &buffer): (&Part, &BufferId)| Stmt::Store {
            access: self.sum(buffer, Affine::var(block)),
            value: part.dst,
        };
        parts.iter().zip(homes).map(store).collect()
    }

    /// The sums of all blocks and of the rows after them, and what comes of these.
    fn end(&self, homes: &[Vec<BufferId>]) -> Kernel {
        let mut kernel = self.kernel.clone();
        let mut homes = homes.iter();
        let mut inside = Vec::new();
        for stmt in self.body {
            match Sums::of(stmt) {
                Some(sums) => inside
                    .extend(homes.next().into_iter().flat_map(|homes| self.all(&mut kernel, sums, homes))),
                None => inside.push(stmt.clone()),
            }
        }
        kernel.body = self.before.to_vec();
        kernel.body.push(Stmt::For { var: self.column, body: inside });
        drop_unused(&mut kernel);
        kernel
    }

    fn all(&self, kernel: &mut Kernel, sums: Sums<'_>, homes: &[BufferId]) -> Vec<Stmt> {
        let Blocks { count, height, rest, .. } = self.blocks;
        let of_blocks = |kernel: &mut Kernel, parts| {
            gathered(kernel, parts, count, |number, block| self.sum(homes[number], block))
        };
        if rest == 0 {
            return vec![of_blocks(kernel, sums.parts.to_vec())];
        }
        let start = Affine::constant((count * height) as i64);
        with_rest(kernel, sums.parts, of_blocks, |kernel, parts| sums.of_rows(kernel, &start, rest, parts))
    }
}

impl Blocks {
    /// Equal blocks for columns that are far from row to row and that no cache holds.
    fn of_far(column: LoopVar, rows: usize, sums: &[Sums<'_>], buffers: &[Buffer]) -> Option<Blocks> {
        let is_far = |(access, bytes): (&Access, usize)| {
            access.index.coefficient(column) == 1 && bytes >= FAR && bytes * rows >= TALL
        };
        if !sums.iter().any(|sums| sums.reads(buffers).any(is_far)) {
            return None;
        }
        let height = (BLOCK..=2 * BLOCK).find(|&height| rows.is_multiple_of(height))?;
        Some(Blocks { count: rows / height, height, rest: 0, are_far: true })
    }

    /// Pieces for threads, where there are too few columns to share out, or they lie side by side in short rows.
    fn of_narrow(
        kernel: &Kernel,
        column: LoopVar,
        rows: usize,
        sums: &[Sums<'_>],
        buffers: &[Buffer],
    ) -> Option<Blocks> {
        let reads: Vec<(&Access, usize)> = sums.iter().flat_map(|sums| sums.reads(buffers)).collect();
        let is_narrow = reads.iter().all(|&(_, bytes)| bytes < FAR)
            && (kernel.extent(column) < PIECE
                || reads.iter().any(|&(access, bytes)| access.index.coefficient(column) == 1 && bytes > 0));
        let pays = rows >= PIECES * BLOCK && kernel.work(&instructions) >= PARALLEL;
        let (height, rest) = (rows / PIECES, rows % PIECES);
        let blocks = Blocks { count: PIECES, height, rest, are_far: false };
        (is_narrow && pays).then_some(blocks)
    }
}
