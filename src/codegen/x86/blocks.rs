//! Blocks of memory whose columns are vectors ([`super::across`], [`super::short_rows`]): read and written row by row, and
//! transposed in registers.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::successors;

use rustc_hash::{FxHashMap, FxHashSet};

use super::isa::Isa;
use super::lanes::{HALVES, Held, Lanes};
use super::machine::{Address, Class, Code, Inst, Operand, Reg};
use super::nest::{Nest, Rest};
use super::strided::is_nearby;
use crate::loops::{Access, Affine, BufferId, Instr, Stmt};

/// A block of fewer columns is read or written lane by lane, unless it is beside a whole one.
const FEW: i64 = 3;

/// The blocks of one turn: where loads and stores lie, but for what is the same in all, the blocks read so far, and the
/// columns still to be written.
#[derive(Default)]
pub struct Blocks {
    loads: Offsets,
    stores: Offsets,
    read: FxHashMap<Place, Vec<Block>>,
    unwritten: FxHashMap<Place, BTreeMap<i64, Reg>>,
}

type Offsets = FxHashMap<Place, BTreeSet<i64>>;

/// A block from this offset on, and its columns.
struct Block {
    start: i64,
    columns: Vec<Reg>,
}

type Place = (BufferId, Affine);

/// An access as a place, and its distance from it.
fn placed(access: &Access) -> (Place, i64) {
    let offset = access.index.offset();
    ((access.buffer, access.index.plus(&Affine::constant(-offset))), offset)
}

/// The offset where the block of an access begins, and how many of its columns are accessed: neighbours, a vector's at most.
/// And whether it is the first of its row.
fn extent(offsets: &Offsets, (place, offset): &(Place, i64), lanes: i64) -> Option<(i64, i64, bool)> {
    let offsets = offsets.get(place)?;
    let is_column = |offset: &i64| offsets.contains(offset);
    let first = successors(Some(*offset), |offset| Some(offset - 1)).take_while(is_column).last()?;
    let start = offset - (offset - first) % lanes;
    Some((start, (start..start + lanes).take_while(is_column).count() as i64, start == first))
}

impl Blocks {
    /// Of a body that writes none of what its blocks read.
    pub fn of(body: &[Stmt]) -> Blocks {
        let written: FxHashSet<BufferId> =
            body.iter().filter_map(|stmt| stmt.write()).map(|(access, _)| access.buffer).collect();
        let mut blocks = Blocks::default();
        for stmt in body {
            let (offsets, access) = match stmt {
                Stmt::Let { instr: Instr::Load(access), .. } if !written.contains(&access.buffer) => {
                    (&mut blocks.loads, access)
                }
                Stmt::Store { access, .. } => (&mut blocks.stores, access),
                _ => continue,
            };
            let (place, offset) = placed(access);
            offsets.entry(place).or_default().insert(offset);
        }
        blocks
    }

    /// Where the block of a load begins, and its columns, if it is faster than other ways to lanes so far apart.
    pub fn loaded(&self, access: &Access, step: i64, isa: Isa, lanes: usize) -> Option<(i64, i64)> {
        let (start, width, is_first) = extent(&self.loads, &placed(access), lanes as i64)?;
        // A block takes five instructions a lane, each column that is read with its neighbours twice as many as they are apart.
        let pays = match is_nearby(isa, step) {
            true => 2 * step * width > 5 * lanes as i64,
            false => width >= FEW || !is_first,
        };
        (step > 2 && pays).then_some((start, width))
    }

    /// The same of a store.
    pub fn stored(&self, access: &Access, step: i64, lanes: usize) -> Option<(i64, i64)> {
        let (start, width, is_first) = extent(&self.stores, &placed(access), lanes as i64)?;
        (step > 2 && (width >= FEW || !is_first)).then_some((start, width))
    }

    /// The column that a load is, if its block is read already.
    fn column(&self, place: &Place, offset: i64) -> Option<Reg> {
        let blocks = self.read.get(place)?;
        blocks
            .iter()
            .find_map(|block| block.columns.get(usize::try_from(offset - block.start).ok()?).copied())
    }
}

impl Nest<'_> {
    /// Lanes that lie apart, if they are a column of a block.
    pub(super) fn load_of_block(&mut self, access: &Access) -> Option<Held> {
        let step = self.step_of_block(access)?;
        let (place, offset) = placed(access);
        if let Some(column) = self.blocks.column(&place, offset) {
            return Some(Held::Lanes(column));
        }
        let (start, width) = self.blocks.loaded(access, step, self.lanes.isa, self.lanes.count())?;
        let mut columns = self.block_at(&at(&place, start), step, width as usize);
        columns.truncate(width as usize);
        let column = columns[(offset - start) as usize];
        self.blocks.read.entry(place).or_default().push(Block { start, columns });
        Some(Held::Lanes(column))
    }

    /// The distance of lanes that may be those of a block.
    fn step_of_block(&self, access: &Access) -> Option<i64> {
        self.vector.filter(|var| self.crossed.contains(var))?;
        let step = self.step(access);
        let furthest = 2 * step * (self.lanes.count() * self.lanes.width) as i64;
        (furthest <= i32::MAX.into() && !matches!(self.rest, Rest::Masked(_))).then_some(step)
    }

    /// The columns of a block whose rows are so many elements apart. Rows that do not exist are read as the last one.
    fn block_at(&mut self, access: &Access, step: i64, width: usize) -> Vec<Reg> {
        let address = self.address(access);
        let bytes = step as i32 * self.lanes.width as i32;
        let (lanes, code) = (self.lanes.count(), self.lanes.whole());
        let mut rows = Vec::with_capacity(lanes);
        for row in 0..self.rest.count(lanes) as i32 {
            let from = Address { offset: address.offset + row * bytes, ..address };
            let row = if width < lanes {
                self.fetch_ahead(access, from, true, 0);
                self.load_first(from, width)
            } else {
                self.load_by(code, from, None)
            };
            rows.push(self.lanes.register(row));
        }
        rows.extend(rows.last().copied().into_iter().cycle().take(lanes - rows.len()));
        self.lanes.transposed(rows)
    }

    /// Keeps lanes that lie apart, if they are a column of a block, and writes the block when they are the last one.
    pub(super) fn store_of_block(&mut self, access: &Access, value: Held) -> bool {
        let lanes = self.lanes.count();
        let found = self.step_of_block(access).and_then(|step| self.blocks.stored(access, step, lanes));
        let Some((start, width)) = found else { return false };
        let value = self.lanes.register(value);
        let (place, offset) = placed(access);
        let first = at(&place, start);
        let columns = self.blocks.unwritten.entry(place).or_default();
        columns.insert(offset, value);
        let columns: Vec<Reg> = columns.range(start..start + width).map(|column| *column.1).collect();
        if columns.len() == width as usize {
            self.store_block(&first, columns);
        }
        true
    }

    fn store_block(&mut self, first: &Access, mut columns: Vec<Reg>) {
        let (lanes, width) = (self.lanes.count(), columns.len());
        let bytes = (self.step(first) * self.lanes.width as i64) as i32;
        columns.extend(columns.last().copied().into_iter().cycle().take(lanes - width));
        let address = self.address(first);
        let rows = self.lanes.transposed(columns);
        for (row, &value) in rows[..self.rest.count(lanes)].iter().enumerate() {
            let to = Address { offset: address.offset + row as i32 * bytes, ..address };
            if width < lanes {
                self.fetch_ahead(first, to, true, 0);
                self.store_first(to, value, width);
            } else {
                self.store_whole(to, value, None);
            }
        }
    }
}

/// So far from a place.
fn at((buffer, index): &Place, offset: i64) -> Access {
    Access { buffer: *buffer, index: index.plus(&Affine::constant(offset)) }
}

impl Lanes {
    /// The columns of a square block, given its rows: neighbours change places within quarters of 128 bits, then quarters.
    fn transposed(&mut self, rows: Vec<Reg>) -> Vec<Reg> {
        let pairs = self.interleaved(rows, 1, self.width);
        let (quarters, group) = match self.width {
            4 => (self.interleaved(pairs, 2, 8), 4),
            _ => (pairs, 2),
        };
        let mut columns = quarters.clone();
        for column in 0..group {
            let of: Vec<Reg> = quarters.iter().copied().skip(column).step_by(group).collect();
            for (quarter, gathered) in self.gathered_quarters(&of).into_iter().enumerate() {
                columns[quarter * group + column] = gathered;
            }
        }
        columns
    }

    /// Each vector and the one `distance` further, in turn by elements of so many bytes: the lower half, and the upper.
    fn interleaved(&mut self, vectors: Vec<Reg>, distance: usize, bytes: usize) -> Vec<Reg> {
        let [low, high] =
            [("vunpckl", 0x14), ("vunpckh", 0x15)].map(|(name, byte)| Code::float(name, 1, byte, bytes));
        let mut result = Vec::with_capacity(vectors.len());
        for group in vectors.chunks(2 * distance) {
            for at in 0..distance {
                for code in [low, high] {
                    result.push(self.two_registers(code, group[at], group[at + distance], None));
                }
            }
        }
        result
    }

    /// The first quarters of all vectors, the second ones, and so on.
    fn gathered_quarters(&mut self, of: &[Reg]) -> Vec<Reg> {
        if !self.isa.has_masks() {
            return [0x20, 0x31].map(|which| self.two_registers(HALVES, of[0], of[1], Some(which))).to_vec();
        }
        let suffix = if self.width == 4 { "f32x4" } else { "f64x2" };
        let code = Code { suffix, ..self.float("vshuf", 3, 0x23) };
        let mut halves =
            |a: Reg, b: Reg, which: [i32; 2]| which.map(|which| self.two_registers(code, a, b, Some(which)));
        let ([a, b], [c, d]) = (halves(of[0], of[1], [0x44, 0xee]), halves(of[2], of[3], [0x44, 0xee]));
        [halves(a, c, [0x88, 0xdd]), halves(b, d, [0x88, 0xdd])].concat()
    }

    fn two_registers(&mut self, code: Code, a: Reg, b: Reg, immediate: Option<i32>) -> Reg {
        self.build.pure(Class::Vector, |d| Inst { immediate, ..Inst::new(code, d, a, Operand::Reg(b)) })
    }
}
