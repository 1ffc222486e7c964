//! Small contractions as a sequence of calls: which calls these are takes about as long to find as they take, and follows from
//! the tables.

use super::grid::{Grid, Start};
use super::kernels::GridFn;
use super::panel;
use super::plan::Way;
use super::share::{Panel, Share, ending, in_place, panels};
use super::tile::Tiles;
use super::{Arguments, Kernels, Operands, Prepared};

/// Where there are more calls, finding them takes little of the time.
const MOST_CALLS: usize = 32;

pub(super) struct Sequence<V: Kernels> {
    /// The right operand as it is packed first.
    panel: Option<Panel<V::Element>>,
    calls: Vec<Call<V>>,
}

struct Call<V: Kernels> {
    kernel: GridFn<V>,
    grid: Grid,
    /// Where it begins, in bytes from the operands and the result.
    start: [isize; 3],
}

impl<V: Kernels> Sequence<V> {
    /// The calls for a contraction that one thread computes, if all tiles lie evenly.
    pub(super) fn of(operands: &Operands<'_, V::Element>) -> Option<Self> {
        let share =
            Share { rows: 0..operands.rows.offsets.len(), columns: 0..operands.columns.offsets.len() };
        if operands.worth() >= 2 {
            return None;
        }
        let mut calls = Some(vec![]);
        let mut record = |tiles: &Tiles<'_, V::Element>, right: *const V::Element| {
            let call = Call::of(tiles, operands, right);
            match (&mut calls, call) {
                (Some(calls), Some(call)) if calls.len() < MOST_CALLS => calls.push(call),
                _ => calls = None,
            }
        };
        let panel = match operands.way {
            Way::InPlace => {
                in_place::<V>(operands, &share, &mut |tiles| record(tiles, operands.columns.operand));
                None
            }
            Way::Packed => {
                let mut panels = panels::<V>(operands, &share);
                let only = panels.next().filter(|panel| !panel.copies::<V>(&operands.rows))?;
                if panels.next().is_some() {
                    return None;
                }
                let record = &mut |tiles: &Tiles<'_, V::Element>| record(tiles, panel::start());
                // SAFETY: rows are not copied, so that nothing is read or written.
                unsafe { only.multiply::<V>(operands, &share.rows, record) };
                Some(only)
            }
            Way::Dots => return None,
        };
        Some(Sequence { panel, calls: calls? })
    }

    /// # Safety
    /// The processor has the vector's instructions; the arguments are good; the sequence is that of what was prepared.
    #[inline(always)]
    pub(super) unsafe fn run(&self, prepared: &Prepared<V>, arguments: &Arguments<V::Element>) {
        let (left, columns) = prepared.in_order(arguments.lhs, arguments.rhs);
        let right = match &self.panel {
            Some(panel) => {
                // SAFETY: the caller's promise.
                unsafe { panel.pack::<V>(&Operands::new(prepared, arguments)) };
                panel::start()
            }
            None => columns,
        };
        let ending = ending(prepared.scale(arguments), true);
        for Call { kernel, grid, start } in &self.calls {
            let start = Start {
                left: left.wrapping_byte_offset(start[0]),
                right: right.wrapping_byte_offset(start[1]),
                out: arguments.out.wrapping_byte_offset(start[2]),
            };
            // SAFETY: the caller's promise.
            unsafe { kernel(grid, &start, &ending) };
        }
    }
}

impl<V: Kernels> Call<V> {
    /// The call for tiles of all depths, with columns from there.
    fn of(
        tiles: &Tiles<'_, V::Element>,
        operands: &Operands<'_, V::Element>,
        right: *const V::Element,
    ) -> Option<Self> {
        let (grid, start) = Grid::of::<V>(tiles)?;
        let beyond = |to: usize, from: usize| to.wrapping_sub(from) as isize;
        let start = [
            beyond(start.left.addr(), operands.rows.operand.addr()),
            beyond(start.right.addr(), right.addr()),
            beyond(start.out.addr(), operands.out.addr()),
        ];
        let has_all_depths = tiles.right.len() == operands.rows.depth.len();
        has_all_depths.then_some(Call { kernel: tiles.grid_kernel::<V>()?, grid, start })
    }
}
