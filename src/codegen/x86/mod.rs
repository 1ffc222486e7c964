//! Kernels for x86-64 processors with vectors wider than the 128 bits of Cranelift: 512 bits with AVX-512, 256 with AVX2.
//! Masks stand for remainders, guards and branches. Sums are of the cheapest kind ([`extrema`]), loops are chosen to run on
//! vectors ([`plan`]) and cut where memory wants another order ([`side_by_side`], [`across`], [`blocks`]). Statements become
//! instructions with virtual registers ([`nest`], [`access`], [`ahead`], [`lanes`], [`integers`], [`formula`], by way of
//! [`build`]), those of several iterations in turn ([`turns`], [`interleave`]), and, where there is no AVX-512, those of AVX2
//! ([`avx2`]). They are given registers ([`lives`], [`allocate`]) and written as bytes ([`encode`]); functions of the library
//! are called ([`call`]). Programs that are written out come by way of [`straight`]. What is not done here stays Cranelift's.

mod access;
mod across;
mod ahead;
mod allocate;
mod avx2;
mod blocks;
mod bools;
mod build;
mod call;
mod encode;
mod extrema;
mod formula;
mod integers;
mod interleave;
mod isa;
mod lanes;
mod lives;
mod machine;
mod nest;
mod plan;
mod reductions;
mod short_rows;
mod side_by_side;
mod straight;
mod strided;
mod turns;

use super::math;
use super::tape::Tape;
use crate::loops::{Kernel, Program, Stmt};
use crate::types::DType;
use allocate::Allocated;
use build::Constants;
pub use isa::Isa;
use lanes::Lanes;
use machine::{ARGUMENTS, Item};
use nest::Nest;
use plan::Loops;

/// A kernel as machine code, which may lie at any address that is a multiple of 64.
pub struct Assembly {
    pub bytes: Vec<u8>,
    /// How many iterations of the loop that threads share are counted as one.
    pub group: usize,
    pub isa: Isa,
    items: Vec<Item>,
}

/// The code of a kernel, if it is one for vectors and all it does is done here.
pub fn kernel(program: &Program, kernel: &Kernel, isa: Isa) -> Option<Assembly> {
    let width =
        width(|dtype| kernel.dtypes.contains(&dtype)).filter(|_| kernel.repeats + 4 <= ARGUMENTS.len())?;
    let lanes = isa.bytes() / width;
    let minima = if isa.has_masks() { None } else { extrema::as_minima(kernel) };
    let kernel = minima.as_ref().unwrap_or(kernel);
    let mut loops = plan::plan(kernel, isa, lanes);
    let rows = short_rows::short_rows(program, kernel, &loops, (isa, lanes));
    let written = |(rows, loops)| assembly(program, &rows, loops, Lanes::new(isa, width));
    if let Some(assembly) = rows.and_then(written) {
        return Some(assembly);
    }
    // What formulas there are for one element are written faster here, too.
    if loops.vectors.is_empty() && !kernel.body.iter().any(|stmt| stmt.any(&is_formula)) {
        return None;
    }
    let cut = side_by_side::side_by_side(kernel, &mut loops, lanes);
    let kernel = cut.as_ref().unwrap_or(kernel);
    let crossed = across::across(program, kernel, &mut loops, lanes);
    assembly(program, crossed.as_ref().unwrap_or(kernel), loops, Lanes::new(isa, width))
}

fn is_formula(stmt: &Stmt) -> bool {
    matches!(stmt, Stmt::Let { instr, .. } if math::is_inline(instr, false))
}

/// The code of a kernel whose loops were cut, if all it does is done here.
fn assembly(program: &Program, kernel: &Kernel, loops: Loops, lanes: Lanes) -> Option<Assembly> {
    let (isa, group) = (lanes.isa, loops.group);
    let mut nest = Nest::new(program, kernel, lanes, loops);
    nest.body(&kernel.body);
    if nest.lanes.is_unsupported {
        return None;
    }
    let group = nest.group * group;
    let (mut items, mut constants) = nest.lanes.build.finish();
    if !isa.has_masks() {
        items = avx2::rewritten(items, &mut constants, isa)?;
    }
    Some(Assembly { group, ..encoded(items, &constants, isa) })
}

/// Code in virtual registers as bytes.
fn encoded(items: Vec<Item>, constants: &Constants, isa: Isa) -> Assembly {
    let Allocated { items, frame, saved } = allocate::allocate(items, isa);
    let bytes = encode::Encoder::function(isa, &items, frame, &saved, &constants.bytes);
    Assembly { bytes, isa, group: 1, items }
}

/// The loop over steps of a program that is written out, if all it does is done here. It is the same with AVX-512, whose
/// longer vectors and masks have nothing to do here.
pub fn steps(tape: &Tape, program: &Program) -> Option<Assembly> {
    let (items, mut constants) = straight::steps(tape, program)?;
    let mut items = avx2::rewritten(items, &mut constants, Isa::Avx2Short)?;
    straight::in_place(&mut items);
    Some(encoded(items, &constants, Isa::Avx2Short))
}

/// The bytes of a lane: values of one width, beside truth values and, where lanes have 32 bits, what i64 need not lie in
/// lanes or fits them.
fn width(has: impl Fn(DType) -> bool) -> Option<usize> {
    match (has(DType::F32) || has(DType::I32), has(DType::F64)) {
        (true, false) => Some(4),
        (false, is_wide) if is_wide || has(DType::I64) => Some(8),
        _ => None,
    }
}

impl Assembly {
    /// The instructions, one a line.
    pub fn listing(&self) -> String {
        let mut text = String::new();
        let mut open = Vec::new();
        let mut loops = 0..;
        for item in &self.items {
            match item {
                Item::Inst(inst) => text += &format!("  {inst}\n"),
                Item::Call(call) => text += &format!("  {call}\n"),
                Item::Begin => {
                    let number: i32 = loops.next().unwrap_or_default();
                    text += &format!("loop{number}:\n");
                    open.push(number);
                }
                Item::End { counter, step, to } => {
                    let number = open.pop().unwrap_or_default();
                    text += &format!("  add {counter}, {step}\n  cmp {counter}, {to}\n  jl loop{number}\n");
                }
                Item::Argument { .. } => {}
            }
        }
        text += "  ret\n";
        text.replace("zmm", self.isa.vector())
    }
}

#[cfg(test)]
mod tests;
