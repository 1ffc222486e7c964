//! Sums down the columns of arrays that no cache holds, in blocks of rows: each gives a row of partial sums, which a small
//! kernel puts together. Memory is read nearly in the order it lies in, and threads share the blocks.

use super::cost::{BLOCK, FAR, NEAR, ROWS_AT_ONCE, TALL, UNROLLED_STATEMENTS};
use super::forward::drop_unused;
use crate::loops::copy::{Copy, joined, moved, new_buffer, new_loop, new_value};
use crate::loops::{
    Access, Affine, Buffer, BufferId, Instr, Kernel, LoopVar, Part, Program, Stmt, Task, Var, around_loop,
};

/// Cuts such sums of every kernel that is not repeated.
pub(super) fn in_blocks(program: &mut Program) {
    let mut tasks = Vec::with_capacity(program.tasks.len());
    for task in std::mem::take(&mut program.tasks) {
        match task {
            Task::Run(kernel) => match Columns::of(&kernel, &program.buffers) {
                Some(columns) => {
                    let [blocks, end] = columns.kernels(&mut program.buffers);
                    tasks.extend([Task::Run(blocks), Task::Run(end)]);
                }
                None => tasks.push(Task::Run(kernel)),
            },
            repeat @ Task::Repeat(_) => tasks.push(repeat),
        }
    }
    program.tasks = tasks;
}

/// A kernel that is one loop over columns, each with one sum down the rows.
struct Columns<'k> {
    kernel: &'k Kernel,
    /// What comes before the loop.
    before: &'k [Stmt],
    column: LoopVar,
    /// What comes in the loop before the sum.
    head: &'k [Stmt],
    row: LoopVar,
    body: &'k [Stmt],
    parts: &'k [Part],
    tail: &'k [Stmt],
    /// Rows of a block.
    height: usize,
}

impl<'k> Columns<'k> {
    /// The columns of a kernel, if they are long, far from row to row, and can be cut in equal blocks.
    fn of(kernel: &'k Kernel, buffers: &[Buffer]) -> Option<Columns<'k>> {
        let Some((before, Stmt::For { var, body }, [])) = around_loop(&kernel.body) else { return None };
        let Some((head, Stmt::Reduce { var: row, body: inner, parts }, tail)) = around_loop(body) else {
            return None;
        };
        let (column, row) = (*var, *row);
        let are_lets = |stmts: &[Stmt]| stmts.iter().all(|stmt| matches!(stmt, Stmt::Let { .. }));
        if kernel.repeats > 0 || !are_lets(before) || !are_lets(head) || !are_lets(inner) {
            return None;
        }
        let rows = kernel.extent(row);
        let is_far = inner.iter().filter_map(|stmt| stmt.read()).any(|(access, _)| {
            let size = buffers[access.buffer.index()].dtype.size();
            let bytes = access.index.coefficient(row).unsigned_abs() as usize * size;
            access.index.coefficient(column) == 1 && bytes >= FAR && bytes * rows >= TALL
        });
        let height = (BLOCK..=2 * BLOCK).find(|&height| rows.is_multiple_of(height))?;
        is_far.then_some(Columns { kernel, before, column, head, row, body: inner, parts, tail, height })
    }

    fn kernels(&self, buffers: &mut Vec<Buffer>) -> [Kernel; 2] {
        let (columns, blocks) = (self.kernel.extent(self.column), self.kernel.extent(self.row) / self.height);
        let mut buffer = |part: &Part| {
            new_buffer(buffers, "sums of blocks", self.kernel.dtype(part.dst), columns * blocks)
        };
        let sums: Vec<BufferId> = self.parts.iter().map(&mut buffer).collect();
        [self.blocks(blocks, &sums), self.end(blocks, &sums)]
    }

    /// The sum of a block and a column.
    fn sum(&self, buffer: BufferId, block: LoopVar) -> Access {
        let columns = self.kernel.extent(self.column) as i64;
        Access { buffer, index: Affine::var(block).scaled(columns).plus(&Affine::var(self.column)) }
    }

    fn blocks(&self, count: usize, sums: &[BufferId]) -> Kernel {
        let mut kernel = Kernel { name: format!("{}: blocks", self.kernel.name), ..self.kernel.clone() };
        let block = new_loop(&mut kernel, count);
        let start = Affine::var(block).scaled(self.height as i64);
        let inside = match self.at_once() {
            1 => vec![self.down(&mut kernel, block, &start, sums)],
            rows => self.along(&mut kernel, block, &start, rows, sums),
        };
        kernel.body = self.before.to_vec();
        kernel.body.push(Stmt::For { var: block, body: inside });
        drop_unused(&mut kernel);
        kernel
    }

    /// How many rows to add at once, all along: a divisor of the height, 1 if the sums of a row do not stay in the first
    /// cache, or the body is long.
    fn at_once(&self) -> usize {
        let is_near = self.parts.len() * self.kernel.extent(self.column) <= NEAR;
        let fits = |&rows: &usize| {
            self.height.is_multiple_of(rows) && rows * self.body.len() <= UNROLLED_STATEMENTS && is_near
        };
        (2..=ROWS_AT_ONCE).rev().find(fits).unwrap_or(1)
    }

    /// Each column from the start of a block down to its end.
    fn down(&self, kernel: &mut Kernel, block: LoopVar, start: &Affine, sums: &[BufferId]) -> Stmt {
        kernel.extents[self.row.index()] = self.height;
        let body = moved(self.body, self.row, &start.plus(&Affine::var(self.row)));
        let mut inside = self.head.to_vec();
        inside.push(Stmt::Reduce { var: self.row, body, parts: self.parts.to_vec() });
        inside.extend(self.stores(self.parts, block, sums));
        Stmt::For { var: self.column, body: inside }
    }

    /// The first rows of a block, so many at once, and then the next ones, which are added to what is there.
    fn along(
        &self,
        kernel: &mut Kernel,
        block: LoopVar,
        start: &Affine,
        rows: usize,
        sums: &[BufferId],
    ) -> Vec<Stmt> {
        let first = self.rows(kernel, start, rows, vec![], (block, sums));
        let group = new_loop(kernel, self.height / rows - 1);
        let next = start.plus(&Affine::var(group).scaled(rows as i64)).plus(&Affine::constant(rows as i64));
        let (mut rest, known) = self.loads(kernel, block, sums);
        rest.extend(self.rows(kernel, &next, rows, vec![known], (block, sums)));
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
        first: &Affine,
        count: usize,
        mut terms: Vec<Vec<Var>>,
        (block, sums): (LoopVar, &[BufferId]),
    ) -> Vec<Stmt> {
        let mut body = self.head.to_vec();
        for row in 0..count {
            let at = first.plus(&Affine::constant(row as i64));
            let copy = Copy::of(kernel, self.body, self.row, &at);
            terms.push(self.parts.iter().map(|part| copy.value(part.value)).collect());
            body.extend(copy.body);
        }
        let parts = self.parts.iter().map(|part| Part { dst: new_value(kernel, part.dst), ..part.clone() });
        let parts: Vec<Part> = parts.collect();
        body.extend(joined(kernel, &parts, &terms));
        body.extend(self.stores(&parts, block, sums));
        body
    }

    /// The partial results of a block, as new values.
    fn loads(&self, kernel: &mut Kernel, block: LoopVar, sums: &[BufferId]) -> (Vec<Stmt>, Vec<Var>) {
        let values: Vec<Var> = self.parts.iter().map(|part| new_value(kernel, part.dst)).collect();
        let load = |(&dst, &buffer)| Stmt::Let { dst, instr: Instr::Load(self.sum(buffer, block)) };
        (values.iter().zip(sums).map(load).collect(), values)
    }

    fn stores(&self, parts: &[Part], block: LoopVar, sums: &[BufferId]) -> Vec<Stmt> {
        let store = |(part, &buffer): (&Part, &BufferId)| Stmt::Store {
            access: self.sum(buffer, block),
            value: part.dst,
        };
        parts.iter().zip(sums).map(store).collect()
    }

    fn end(&self, count: usize, sums: &[BufferId]) -> Kernel {
        let mut kernel = self.kernel.clone();
        let block = self.row;
        kernel.extents[block.index()] = count;
        let (body, values) = self.loads(&mut kernel, block, sums);
        let parts =
            self.parts.iter().zip(values).map(|(part, value)| Part { value, ..part.clone() }).collect();
        let mut inside = self.head.to_vec();
        inside.push(Stmt::Reduce { var: block, body, parts });
        inside.extend_from_slice(self.tail);
        kernel.body = self.before.to_vec();
        kernel.body.push(Stmt::For { var: self.column, body: inside });
        drop_unused(&mut kernel);
        kernel
    }
}
