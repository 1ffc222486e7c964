//! Parameters in panels: what contractions would otherwise pack at every call lies in memory as they read it.
//!
//! Kernels that go through whole tensors element by element do not care how the elements lie, as long as they lie in all
//! of them alike: an optimiser's slots follow their parameter, and so does a gradient on its way to an update.

use std::collections::BTreeSet;

use super::cost::PANEL_ROWS;
use crate::loops::copy::new_loop;
use crate::loops::{
    Access, Affine, BufferId, Contraction, Instr, Kernel, LoopVar, PANEL, Panels, PanelsOf, Place, Program,
    Stmt,
};
use crate::types::DType;

/// Lays out in panels what contractions read across, where nothing else minds.
pub(super) fn in_panels(program: &mut Program) {
    let wanted: Vec<(BufferId, Panels)> = program
        .kernels()
        .into_iter()
        .flat_map(|kernel| kernel.body.iter().flat_map(contractions).map(move |found| (kernel, found)))
        .filter_map(|(kernel, contraction)| wanted(program, kernel, contraction))
        .collect();
    for (buffer, panels) in wanted {
        if let Some(group) = Group::around(program, buffer, panels) {
            group.lay_out(program);
        }
    }
}

/// A statement and all inside it.
fn statements(stmt: &Stmt) -> Vec<&Stmt> {
    let mut found = Vec::new();
    stmt.each(&mut |stmt| found.push(stmt));
    found
}

fn accesses(stmt: &Stmt) -> impl Iterator<Item = &Access> {
    statements(stmt).into_iter().flat_map(|stmt| stmt.accesses().map(|access| access.0))
}

fn contractions(stmt: &Stmt) -> impl Iterator<Item = &Contraction> {
    statements(stmt).into_iter().filter_map(|stmt| match stmt {
        Stmt::Contract(contraction) => Some(contraction),
        _ => None,
    })
}

/// The panels in which a contraction's right operand, a matrix of state, is best laid out.
fn wanted(program: &Program, kernel: &Kernel, contraction: &Contraction) -> Option<(BufferId, Panels)> {
    let id = contraction.rhs.buffer;
    let buffer = &program.buffers[id.index()];
    let [row, column] = matrix(kernel, &contraction.rhs)?;
    let is_lane = |var: LoopVar| contraction.columns.contains(&var);
    let of = match (is_lane(row), is_lane(column)) {
        (true, false) => PanelsOf::Rows,
        (false, true) => PanelsOf::Columns,
        _ => return None,
    };
    let (rows, columns, width) = (kernel.extent(row), kernel.extent(column), PANEL / buffer.dtype.size());
    let panels = Panels { rows, columns, of, width };
    let beside: usize = contraction.rows.iter().map(|&var| kernel.extent(var)).product();
    let is_whole = rows * columns == buffer.elements && matches!(buffer.place, Place::State { .. });
    (is_whole && beside >= PANEL_ROWS && panels.count().is_multiple_of(width)).then_some((id, panels))
}

/// The variables of the rows and the columns of a matrix that an access goes through row by row.
fn matrix(kernel: &Kernel, access: &Access) -> Option<[LoopVar; 2]> {
    let &[first, second] = access.index.terms() else { return None };
    let (row, column) = if first.1 > second.1 { (first, second) } else { (second, first) };
    let is_matrix = column.1 == 1 && row.1 > 1 && row.1 as usize == kernel.extent(column.0);
    (is_matrix && access.index.offset() == 0).then_some([row.0, column.0])
}

/// Buffers of one size that are to be laid out alike.
struct Group {
    buffers: BTreeSet<BufferId>,
    dtype: DType,
    panels: Panels,
}

impl Group {
    /// The buffer and all that share a kernel with it, unless one of the kernels minds.
    fn around(program: &Program, first: BufferId, panels: Panels) -> Option<Group> {
        let dtype = program.buffers[first.index()].dtype;
        let mut group = Group { buffers: BTreeSet::from([first]), dtype, panels };
        let mut known = 0;
        while known < group.buffers.len() {
            known = group.buffers.len();
            for kernel in program.kernels() {
                kernel.body.iter().try_for_each(|part| group.take_in(program, kernel, part))?;
            }
        }
        Some(group)
    }

    fn has(&self, access: &Access) -> bool {
        self.buffers.contains(&access.buffer)
    }

    /// Adds the buffers that a part of a kernel reads and writes at the same elements as those of the group; none, if it
    /// cannot go through them in another order.
    fn take_in(&mut self, program: &Program, kernel: &Kernel, part: &Stmt) -> Option<()> {
        if !accesses(part).any(|access| self.has(access)) {
            return Some(());
        }
        if contractions(part).next().is_some() {
            return self.goes_along(kernel, part).then_some(());
        }
        let (index, elements) = by_element(kernel, part)?;
        for access in accesses(part) {
            let buffer = &program.buffers[access.buffer.index()];
            let is_ours = matches!(buffer.place, Place::State { .. } | Place::Arena { .. });
            let is_alike =
                access.index == *index && buffer.elements == elements && buffer.dtype == self.dtype;
            if is_ours && is_alike {
                self.buffers.insert(access.buffer);
            } else if self.has(access) || !access.index.terms().is_empty() {
                return None;
            }
        }
        Some(())
    }

    /// Whether contractions read matrices of the group along panels, or write them, and nothing else does.
    fn goes_along(&self, kernel: &Kernel, part: &Stmt) -> bool {
        let all = accesses(part).filter(|access| self.has(access)).count();
        let theirs: usize = contractions(part).map(|contraction| self.accesses(contraction).count()).sum();
        all == theirs && contractions(part).all(|contraction| self.suits(kernel, contraction))
    }

    fn accesses<'c>(&self, contraction: &'c Contraction) -> impl Iterator<Item = &'c Access> {
        let Contraction { lhs, rhs, out, .. } = contraction;
        [lhs, rhs, out].into_iter().filter(|access| self.has(access))
    }

    fn suits(&self, kernel: &Kernel, contraction: &Contraction) -> bool {
        let mut accesses = self.accesses(contraction);
        let Some(access) = accesses.next() else { return true };
        let Some(vars @ [row, column]) = matrix(kernel, access) else { return false };
        let is_ours = [kernel.extent(row), kernel.extent(column)] == [self.panels.rows, self.panels.columns];
        // What is summed up across panels would have to be packed.
        let is_along = !contraction.depth.contains(&self.lane(vars));
        let is_inside = vars.iter().all(|&var| contraction.vars().any(|inner| inner == var));
        is_ours && is_along && is_inside && accesses.next().is_none()
    }

    /// The variable of what is side by side in a panel.
    fn lane(&self, [row, column]: [LoopVar; 2]) -> LoopVar {
        match self.panels.of {
            PanelsOf::Rows => row,
            PanelsOf::Columns => column,
        }
    }

    /// Lays the group's buffers out in panels, and has contractions find their elements there.
    fn lay_out(&self, program: &mut Program) {
        for id in &self.buffers {
            let buffer = &mut program.buffers[id.index()];
            buffer.panels = matches!(buffer.place, Place::State { .. }).then_some(self.panels);
        }
        program.each_kernel_mut(|kernel| {
            let mut body = std::mem::take(&mut kernel.body);
            for stmt in &mut body {
                stmt.each_mut(&mut |stmt| {
                    if let Stmt::Contract(contraction) = stmt {
                        self.split(kernel, contraction);
                    }
                });
            }
            kernel.body = body;
        });
    }

    /// Splits the variable of what is in panels into the panel and the place in it.
    fn split(&self, kernel: &mut Kernel, contraction: &mut Contraction) {
        let Some(vars) = self.accesses(contraction).find_map(|access| matrix(kernel, access)) else { return };
        let lane = self.lane(vars);
        let along = if vars[0] == lane { vars[1] } else { vars[0] };
        let panel = new_loop(kernel, self.panels.count() / self.panels.width);
        let within = new_loop(kernel, self.panels.width);
        let sum = |terms: &[(LoopVar, i64)]| {
            terms.iter().fold(Affine::default(), |sum, &(var, step)| sum.plus(&Affine::var(var).scaled(step)))
        };
        let [of_panels, of_along, of_lanes] = self.panels.steps();
        let Contraction { lhs, rhs, out, .. } = contraction;
        for access in [lhs, rhs, out] {
            let step = access.index.coefficient(lane);
            access.index = match self.has(access) {
                true => sum(&[(panel, of_panels), (along, of_along), (within, of_lanes)]),
                false => {
                    let by_panel = step * self.panels.width as i64;
                    access.index.without(lane).plus(&sum(&[(panel, by_panel), (within, step)]))
                }
            };
        }
        for vars in [&mut contraction.rows, &mut contraction.columns] {
            if let Some(at) = vars.iter().position(|&var| var == lane) {
                vars.splice(at..=at, [panel, within]);
            }
        }
        if self.has(&contraction.out) && contraction.rows.contains(&within) {
            contraction.swap(); // columns are to lie side by side in the result
        }
    }
}

/// The index at which a part of a kernel does the same for each of so many elements, in any order.
fn by_element<'p>(kernel: &Kernel, part: &'p Stmt) -> Option<(&'p Affine, usize)> {
    // A sum over some of the elements would be one over others.
    let sums = |body: &[Stmt]| body.iter().any(|stmt| stmt.any(&|stmt| matches!(stmt, Stmt::Reduce { .. })));
    let is_plain = |stmt: &&Stmt| match stmt {
        Stmt::Let { instr, .. } => !matches!(
            instr,
            Instr::LoadWithin(..) | Instr::LoadRow { .. } | Instr::Within(_) | Instr::Index(_)
        ),
        Stmt::Store { .. } => true,
        Stmt::For { body, .. } => !sums(body),
        Stmt::Reduce { body, .. } => !body.iter().any(Stmt::is_loop),
        Stmt::Recur { .. } | Stmt::StoreRow { .. } | Stmt::Sort { .. } | Stmt::Contract(_) => false,
    };
    let index = accesses(part).map(|access| &access.index).find(|index| !index.terms().is_empty())?;
    let mut terms = index.terms().to_vec();
    terms.sort_by_key(|term| term.1);
    let elements = terms.iter().try_fold(1, |elements, &(var, step)| {
        // A turn of a repeat goes through a part.
        let is_next = step == elements as i64 && var.index() >= kernel.repeats;
        is_next.then(|| elements * kernel.extent(var))
    })?;
    (index.offset() == 0 && statements(part).iter().all(is_plain)).then_some((index, elements))
}
