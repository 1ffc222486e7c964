//! Parameters in panels: what contractions would otherwise pack at every call lies in memory as they read it.
//!
//! Kernels that go through whole tensors element by element do not care how the elements lie, as long as they lie in all
//! of them alike: an optimiser's slots follow their parameter, and so does a gradient on its way to an update.

use rustc_hash::{FxHashMap, FxHashSet};

use super::cost::PANEL_ROWS;
use crate::loops::copy::new_loop;
use crate::loops::{
    Access, Affine, BufferId, Contraction, Instr, Kernel, LoopVar, PANEL, Panels, PanelsOf, Place, Program,
    Stmt,
};
use crate::types::DType;

/// Lays out in panels what contractions read across, where nothing else minds.
pub(super) fn in_panels(program: &mut Program) {
    let chosen = Plan::of(program).chosen;
    if chosen.is_empty() {
        return;
    }
    for (id, panels) in &chosen {
        let buffer = &mut program.buffers[id.index()];
        buffer.panels = matches!(buffer.place, Place::State { .. }).then_some(*panels);
    }
    program.each_kernel_mut(|kernel| {
        let mut body = std::mem::take(&mut kernel.body);
        for stmt in &mut body {
            stmt.each_mut(&mut |stmt| {
                if let Stmt::Contract(contraction) = stmt {
                    for id in
                        [&contraction.lhs, &contraction.rhs, &contraction.out].map(|access| access.buffer)
                    {
                        chosen
                            .get(&id)
                            .into_iter()
                            .for_each(|&panels| split(kernel, contraction, id, panels));
                    }
                }
            });
        }
        kernel.body = body;
    });
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

/// What is to be laid out in panels, found so far.
struct Plan<'p> {
    program: &'p Program,
    kernels: Vec<&'p Kernel>,
    /// For each buffer the kernels and their parts that access it.
    uses: FxHashMap<BufferId, Vec<(usize, usize)>>,
    chosen: FxHashMap<BufferId, Panels>,
    /// Variables of kernels that are to be split.
    split: FxHashSet<(usize, LoopVar)>,
}

impl<'p> Plan<'p> {
    fn of(program: &'p Program) -> Plan<'p> {
        let kernels = program.kernels();
        let mut uses: FxHashMap<BufferId, Vec<(usize, usize)>> = FxHashMap::default();
        for (number, kernel) in kernels.iter().enumerate() {
            for (at, part) in kernel.body.iter().enumerate() {
                let buffers: FxHashSet<BufferId> = accesses(part).map(|access| access.buffer).collect();
                buffers.into_iter().for_each(|buffer| uses.entry(buffer).or_default().push((number, at)));
            }
        }
        let mut plan =
            Plan { program, kernels, uses, chosen: FxHashMap::default(), split: FxHashSet::default() };
        for kernel in plan.kernels.clone() {
            for contraction in kernel.body.iter().flat_map(contractions) {
                plan.choose(kernel, contraction);
            }
        }
        plan
    }

    /// Chooses the right operand of a contraction with all that is to lie alike, if nothing minds.
    fn choose(&mut self, kernel: &Kernel, contraction: &Contraction) {
        let wanted = wanted(self.program, kernel, contraction);
        let Some((first, panels)) = wanted.filter(|(first, _)| !self.chosen.contains_key(first)) else {
            return;
        };
        let Some(Group { buffers, lanes, .. }) = Group::around(self, first, panels) else { return };
        self.split.extend(lanes);
        self.chosen.extend(buffers.into_iter().map(|buffer| (buffer, panels)));
    }

    fn parts(&self, buffer: BufferId) -> impl Iterator<Item = (usize, &'p Stmt)> {
        let uses = self.uses.get(&buffer).into_iter().flatten();
        uses.map(|&(number, at)| (number, &self.kernels[number].body[at]))
    }
}

/// Buffers of one size that are to be laid out alike.
struct Group<'g> {
    plan: &'g Plan<'g>,
    buffers: FxHashSet<BufferId>,
    dtype: DType,
    panels: Panels,
    /// The variables of kernels that go along what is side by side in a panel.
    lanes: Vec<(usize, LoopVar)>,
}

impl<'g> Group<'g> {
    /// The buffer and all that share a part of a kernel with it, unless one of the parts minds.
    fn around(plan: &'g Plan<'g>, first: BufferId, panels: Panels) -> Option<Group<'g>> {
        let dtype = plan.program.buffers[first.index()].dtype;
        let mut group = Group { plan, buffers: FxHashSet::from_iter([first]), dtype, panels, lanes: vec![] };
        let mut next = vec![first];
        while let Some(buffer) = next.pop() {
            for (number, part) in plan.parts(buffer) {
                match contractions(part).next() {
                    Some(_) => group.go_along(number, part)?,
                    None => next.extend(group.go_beside(number, part)?),
                }
            }
        }
        Some(group)
    }

    fn has(&self, access: &Access) -> bool {
        self.buffers.contains(&access.buffer)
    }

    /// Adds the buffers that a part of a kernel reads and writes at the same elements as those of the group, and returns
    /// them; none, if it cannot go through them in another order.
    fn go_beside(&mut self, number: usize, part: &Stmt) -> Option<Vec<BufferId>> {
        let (index, elements) = by_element(self.plan.kernels[number], part)?;
        let mut added = Vec::new();
        for access in accesses(part) {
            let buffer = &self.plan.program.buffers[access.buffer.index()];
            let is_ours = matches!(buffer.place, Place::State { .. } | Place::Arena { .. });
            let is_alike =
                access.index == *index && buffer.elements == elements && buffer.dtype == self.dtype;
            if is_ours && is_alike {
                added.extend(self.buffers.insert(access.buffer).then_some(access.buffer));
            } else if self.has(access) || !access.index.terms().is_empty() {
                return None;
            }
        }
        Some(added)
    }

    /// Notes what is to be split, if contractions read matrices of the group along panels, or write them, and nothing else
    /// does.
    fn go_along(&mut self, number: usize, part: &Stmt) -> Option<()> {
        let mut others = accesses(part).filter(|access| self.has(access)).count();
        for contraction in contractions(part) {
            let Contraction { lhs, rhs, out, .. } = contraction;
            let ours: Vec<&Access> = [lhs, rhs, out].into_iter().filter(|access| self.has(access)).collect();
            match ours[..] {
                [] => {}
                [access] => self.lanes.push((number, self.lane(number, contraction, access)?)),
                _ => return None,
            }
            others -= ours.len();
        }
        (others == 0).then_some(())
    }

    /// The variable of what is side by side in a panel, if that suits the contraction.
    fn lane(&self, number: usize, contraction: &Contraction, access: &Access) -> Option<LoopVar> {
        let kernel = self.plan.kernels[number];
        let vars = matrix(kernel, access)?;
        let [lane, _] = self.panels.of.first(vars);
        let is_ours = vars.map(|var| kernel.extent(var)) == [self.panels.rows, self.panels.columns];
        // What is summed up across panels would have to be packed.
        let is_along = !contraction.depth.contains(&lane);
        let is_inside = vars.iter().all(|&var| contraction.vars().any(|inner| inner == var));
        let is_split = vars.iter().any(|&var| self.plan.split.contains(&(number, var)));
        (is_ours && is_along && is_inside && !is_split).then_some(lane)
    }
}

/// Splits the variable of what is in panels into the panel and the place in it.
fn split(kernel: &mut Kernel, contraction: &mut Contraction, id: BufferId, panels: Panels) {
    let Contraction { lhs, rhs, out, rows, columns, .. } = contraction;
    let accesses = [lhs, rhs, out];
    let ours = accesses.iter().find(|access| access.buffer == id);
    let Some(vars) = ours.and_then(|access| matrix(kernel, access)) else { return };
    let [lane, along] = panels.of.first(vars);
    let panel = new_loop(kernel, panels.count() / panels.width);
    let within = new_loop(kernel, panels.width);
    let sum = |terms: &[(LoopVar, i64)]| {
        terms.iter().fold(Affine::default(), |sum, &(var, step)| sum.plus(&Affine::var(var).scaled(step)))
    };
    let [of_panels, of_along, of_lanes] = panels.steps();
    for access in accesses {
        let step = access.index.coefficient(lane);
        access.index = match access.buffer == id {
            true => sum(&[(panel, of_panels), (along, of_along), (within, of_lanes)]),
            false => {
                let by_panel = step * panels.width as i64;
                access.index.without(lane).plus(&sum(&[(panel, by_panel), (within, step)]))
            }
        };
    }
    for vars in [rows, columns] {
        if let Some(at) = vars.iter().position(|&var| var == lane) {
            vars.splice(at..=at, [panel, within]);
        }
    }
    contraction.arrange();
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
