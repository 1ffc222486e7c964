//! Updates of few rows: a gradient that is zero but for rows picked at run time, which are added up in scratch memory. If all
//! that becomes of it is to be added to a state, times a number, then only these rows are read and written.

use super::cost::SPARSE;
use super::forward::drop_unused;
use super::in_place::InPlace;
use crate::loops::copy::{Copy, new_value, renumber};
use crate::loops::{
    Access, Affine, Binary, BufferId, Instr, Kernel, Place, Program, Stmt, Task, Var, perfect_nest,
    reads_and_writes,
};

/// Narrows such pairs of kernels down to the rows.
pub(super) fn sparse(program: &mut Program) {
    for at in 0..program.tasks.len() {
        if let Some((later, [sum, update])) = narrowed(program, at) {
            program.tasks[at] = Task::Run(sum);
            program.tasks[later] = Task::Run(update);
        }
    }
}

/// The later task that updates a state by the rows that this one adds up, and both, for these rows alone.
fn narrowed(program: &Program, at: usize) -> Option<(usize, [Kernel; 2])> {
    let Task::Run(kernel) = &program.tasks[at] else { return None };
    let sum = Sum::of(kernel)?;
    let (table, elements) = (sum.table, program.buffers[sum.table.index()].elements);
    let is_scratch = matches!(program.buffers[table.index()].place, Place::Arena { .. });
    if !is_scratch || SPARSE.saturating_mul(sum.additions(sum.adding)) > elements {
        return None;
    }
    let uses = |task: &Task| {
        let mut kernels = Vec::new();
        task.kernels(&mut kernels);
        kernels.into_iter().map(Kernel::reads_and_writes).collect::<Vec<_>>()
    };
    let later: Vec<_> = program.tasks[at + 1..].iter().map(uses).collect();
    let mut readers =
        (later.iter()).zip(at + 1..).filter(|(uses, _)| uses.iter().any(|used| used.0.contains(&table)));
    let (Some((_, reader)), None) = (readers.next(), readers.next()) else { return None };
    let Task::Run(update) = &program.tasks[reader] else { return None };
    let update = Update::of(update, table, elements)?;
    let state = update.in_place.out.buffer;
    if program.buffers[state.index()].elements != elements {
        return None;
    }
    let kernels = [sum.narrowed(), sum.updating(&update)];
    // The rows are looked up again: they must be the same.
    let looks_up = |id: BufferId| kernels[1].body.iter().any(|stmt| stmt.any(&|stmt| is_load(stmt, id)));
    let mut written = later[..reader - at - 1].iter().flatten().flat_map(|used| &used.1);
    let is_changed = written.any(|&id| looks_up(id)) || looks_up(state);
    (!is_changed).then_some((reader, kernels))
}

fn is_load(stmt: &Stmt, of: BufferId) -> bool {
    matches!(stmt, Stmt::Let { instr, .. } if instr.read() == Some(of))
}

/// A kernel that adds rows to a table of zeros.
struct Sum<'k> {
    kernel: &'k Kernel,
    table: BufferId,
    /// What comes before the loop that adds, but for the loop that writes zeros.
    before: Vec<Stmt>,
    zero: Var,
    adding: &'k Stmt,
}

impl<'k> Sum<'k> {
    fn of(kernel: &'k Kernel) -> Option<Sum<'k>> {
        let (adding, rest) = kernel.body.split_last()?;
        let (loops, before): (Vec<&Stmt>, Vec<&Stmt>) = rest.iter().partition(|stmt| stmt.is_loop());
        let [zeros] = loops[..] else { return None };
        let (_, innermost) = perfect_nest(zeros);
        let [Stmt::Store { access: Access { buffer: table, .. }, value: zero }] = *innermost else {
            return None;
        };
        let is_zero = |stmt: &&Stmt| match stmt {
            Stmt::Let { dst, instr: Instr::Constant(value) } => *dst == zero && value.to_f64() == 0.0,
            _ => false,
        };
        let adds =
            |stmt: &Stmt| matches!(stmt, Stmt::StoreRow { access, adds: true, .. } if access.buffer == table);
        let writes = reads_and_writes(std::slice::from_ref(adding)).1;
        let is_sum = kernel.repeats == 0
            && before.iter().any(is_zero)
            && adding.any(&adds)
            && writes.into_iter().eq([table]);
        let before = before.into_iter().cloned().collect();
        is_sum.then_some(Sum { kernel, table, before, zero, adding })
    }

    /// How many elements the statement adds to rows.
    fn additions(&self, stmt: &Stmt) -> usize {
        let inside = stmt.inner().iter().map(|stmt| self.additions(stmt)).sum::<usize>();
        match stmt {
            Stmt::For { var, .. } => inside.saturating_mul(self.kernel.extent(*var)),
            _ => usize::from(matches!(stmt, Stmt::StoreRow { .. })),
        }
    }

    /// The sum, of which only rows that are added to begin as zeros.
    fn narrowed(&self) -> Kernel {
        let mut kernel = self.kernel.clone();
        let zeros =
            self.in_place_of_sums(&mut kernel, &mut |_, row| vec![row.store(self.table, self.zero, false)]);
        kernel.body = [&self.before[..], &zeros, std::slice::from_ref(self.adding)].concat();
        drop_unused(&mut kernel);
        kernel
    }

    /// The update, row by row. A row that is named several times is updated the first time, and zero from then on.
    fn updating(&self, update: &Update<'_>) -> Kernel {
        let Kernel { name, sources, dtypes, .. } = update.kernel.clone();
        let mut kernel = Kernel { name, sources, ..self.kernel.clone() };
        let vars = kernel.dtypes.len() as u32;
        kernel.dtypes.extend(dtypes);
        let mut before = update.before.to_vec();
        let named = |value: Var| Var(value.0 + vars);
        before.iter_mut().for_each(|stmt| renumber(stmt, &named, &|var| var));
        let scale = update.in_place.factor(named, &mut kernel, &mut before);
        let updates = self.in_place_of_sums(&mut kernel, &mut |kernel, row| {
            let (sum, product) = (new_value(kernel, self.zero), new_value(kernel, self.zero));
            vec![
                Stmt::Let { dst: sum, instr: row.load(self.table) },
                Stmt::Let { dst: product, instr: Instr::Binary(Binary::Mul, scale, sum) },
                row.store(update.in_place.out.buffer, product, true),
                row.store(self.table, self.zero, false),
            ]
        });
        kernel.body = [&self.before[..], &before, &updates].concat();
        drop_unused(&mut kernel);
        kernel
    }

    /// A copy of the loop that adds, with other statements where it does.
    fn in_place_of_sums(
        &self,
        kernel: &mut Kernel,
        f: &mut impl FnMut(&mut Kernel, &Row) -> Vec<Stmt>,
    ) -> Vec<Stmt> {
        let copy = Copy::again(kernel, std::slice::from_ref(self.adding));
        replaced(kernel, copy.body, f)
    }
}

fn replaced(
    kernel: &mut Kernel,
    body: Vec<Stmt>,
    f: &mut impl FnMut(&mut Kernel, &Row) -> Vec<Stmt>,
) -> Vec<Stmt> {
    let mut done = Vec::with_capacity(body.len());
    for stmt in body {
        match stmt {
            Stmt::For { var, body } => done.push(Stmt::For { var, body: replaced(kernel, body, f) }),
            Stmt::StoreRow { access, row, stride, bound, .. } => {
                done.extend(f(kernel, &Row { index: access.index, row, stride, bound }));
            }
            other => done.push(other),
        }
    }
    done
}

/// An element of a row picked at run time, in tables of one shape.
struct Row {
    index: Affine,
    row: Var,
    stride: i64,
    bound: i64,
}

impl Row {
    fn load(&self, buffer: BufferId) -> Instr {
        let access = Access { buffer, index: self.index.clone() };
        Instr::LoadRow { access, row: self.row, stride: self.stride, bound: self.bound }
    }

    fn store(&self, buffer: BufferId, value: Var, adds: bool) -> Stmt {
        let access = Access { buffer, index: self.index.clone() };
        Stmt::StoreRow { access, row: self.row, stride: self.stride, bound: self.bound, value, adds }
    }
}

/// A kernel that adds all elements of a table to a state, times a number, or subtracts them.
struct Update<'k> {
    kernel: &'k Kernel,
    /// What comes before the loops.
    before: &'k [Stmt],
    in_place: InPlace,
}

impl<'k> Update<'k> {
    fn of(kernel: &'k Kernel, table: BufferId, elements: usize) -> Option<Update<'k>> {
        let (nest, before) = kernel.body.split_last()?;
        let (loops, body) = perfect_nest(nest);
        let extents: Vec<usize> = loops.iter().map(|&var| kernel.extent(var)).collect();
        let indices: Vec<Affine> = loops.into_iter().map(Affine::var).collect();
        let all = Access { buffer: table, index: Affine::linear(&indices, &extents) };
        let term = body.iter().find_map(|stmt| match stmt {
            Stmt::Let { dst, instr: Instr::Load(from) } if *from == all => Some(*dst),
            _ => None,
        })?;
        let in_place = InPlace::of(body, term)?;
        let is_update = kernel.repeats == 0
            && extents.iter().product::<usize>() == elements
            && in_place.out.index == all.index
            && before.iter().all(Stmt::is_let);
        is_update.then_some(Update { kernel, before, in_place })
    }
}
