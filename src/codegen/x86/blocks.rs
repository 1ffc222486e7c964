//! Square blocks of memory whose columns are vectors ([`super::across`]): read row by row, and transposed in registers.

use std::collections::BTreeSet;

use rustc_hash::{FxHashMap, FxHashSet};

use super::isa::Isa;
use super::lanes::{HALVES, Held, Lanes};
use super::machine::{Address, Class, Code, Inst, Operand, Reg};
use super::nest::{Nest, Rest};
use crate::loops::{Access, Affine, BufferId, Instr, Stmt};

/// The blocks of one turn: where loads lie, but for what is the same in all, and the blocks read so far.
#[derive(Default)]
pub struct Blocks {
    offsets: FxHashMap<Place, BTreeSet<i64>>,
    read: FxHashMap<Place, Vec<Block>>,
}

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

impl Blocks {
    /// Of a body that writes none of what its blocks read.
    pub fn of(body: &[Stmt]) -> Blocks {
        let written: FxHashSet<BufferId> =
            body.iter().filter_map(|stmt| stmt.write()).map(|(access, _)| access.buffer).collect();
        let mut blocks = Blocks::default();
        for stmt in body {
            if let Stmt::Let { instr: Instr::Load(access), .. } = stmt
                && !written.contains(&access.buffer)
            {
                let (place, offset) = placed(access);
                blocks.offsets.entry(place).or_default().insert(offset);
            }
        }
        blocks
    }

    /// The column that a load is, if its block is read already.
    fn column(&self, place: &Place, offset: i64) -> Option<Reg> {
        let blocks = self.read.get(place)?;
        blocks
            .iter()
            .find_map(|block| block.columns.get(usize::try_from(offset - block.start).ok()?).copied())
    }

    /// Whether all columns of a block are read somewhere: no others need exist.
    fn is_whole(&self, place: &Place, start: i64, lanes: i64) -> bool {
        let offsets = self.offsets.get(place);
        offsets.is_some_and(|offsets| (start..start + lanes).all(|offset| offsets.contains(&offset)))
    }
}

impl Nest<'_> {
    /// Lanes that lie apart, if they are a column of a block.
    pub(super) fn load_of_block(&mut self, access: &Access) -> Option<Held> {
        self.vector.filter(|var| self.crossed.contains(var))?;
        let (step, lanes) = (self.step(access), self.lanes.count());
        let furthest = 2 * step * (lanes * self.lanes.width) as i64;
        if step < lanes as i64 || furthest > i32::MAX.into() || matches!(self.rest, Rest::Masked(_)) {
            return None;
        }
        let (place, start) = placed(access);
        if let Some(column) = self.blocks.column(&place, start) {
            return Some(Held::Lanes(column));
        }
        if !self.blocks.is_whole(&place, start, lanes as i64) {
            return None;
        }
        let address = self.address(access);
        let columns = self.block_at(address, step);
        let column = columns[0];
        self.blocks.read.entry(place).or_default().push(Block { start, columns });
        Some(Held::Lanes(column))
    }

    /// The columns of a block whose rows are so many elements apart. Rows that do not exist are read as the last one.
    fn block_at(&mut self, address: Address, step: i64) -> Vec<Reg> {
        let bytes = step as i32 * self.lanes.width as i32;
        let (lanes, code) = (self.lanes.count(), self.lanes.whole());
        let mut rows = Vec::with_capacity(lanes);
        for row in 0..self.rest.count(lanes) as i32 {
            let from = Operand::Memory(Address { offset: address.offset + row * bytes, ..address });
            rows.push(self.lanes.build.loaded(Class::Vector, |d| Inst::new(code, d, None, from)));
        }
        rows.extend(rows.last().copied().into_iter().cycle().take(lanes - rows.len()));
        self.lanes.transposed(rows)
    }
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
        if self.isa == Isa::Avx2 {
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
