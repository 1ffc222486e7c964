//! Kernels for processors with AVX-512, written without Cranelift, whose vectors end at 128 bits: lanes of 512 bits,
//! masks instead of remainders, guards and branches. Statements become instructions with virtual registers ([`nest`],
//! [`access`], [`lanes`], [`formula`], by way of [`build`]), those of several iterations in turn ([`turns`],
//! [`interleave`]), which are given registers ([`allocate`]) and written as bytes ([`encode`]); functions of the library are
//! called ([`call`]). What is not done here stays Cranelift's.

mod access;
mod allocate;
mod build;
mod call;
mod encode;
mod formula;
mod interleave;
mod lanes;
mod machine;
mod nest;
mod plan;
mod turns;

use crate::loops::{Kernel, Program};
use crate::types::DType;
use lanes::Lanes;
use machine::{ARGUMENTS, Item};
use nest::Nest;

/// A kernel as machine code, which may lie at any address that is a multiple of 64.
pub struct Assembly {
    pub bytes: Vec<u8>,
    /// How many iterations of the loop that threads share are counted as one.
    pub group: usize,
    items: Vec<Item>,
}

/// Whether this processor runs such code.
pub fn is_available() -> bool {
    #[cfg(all(target_arch = "x86_64", unix))]
    return is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512cd")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl");
    #[cfg(not(all(target_arch = "x86_64", unix)))]
    false
}

/// The code of a kernel, if it is one for vectors and all it does is done here.
pub fn kernel(program: &Program, kernel: &Kernel) -> Option<Assembly> {
    let width = width(kernel)?;
    let vectors = plan::plan(kernel, 64 / width);
    if vectors.is_empty() || kernel.repeats + 4 > ARGUMENTS.len() {
        return None;
    }
    let mut nest = Nest::new(program, kernel, Lanes::new(width), vectors);
    nest.body(&kernel.body);
    if nest.lanes.is_unsupported {
        return None;
    }
    let group = nest.group;
    let (items, constants) = nest.lanes.build.finish();
    let allocated = allocate::allocate(items);
    let bytes = encode::Encoder::function(&allocated.items, allocated.frame, &allocated.saved, &constants);
    Some(Assembly { bytes, group, items: allocated.items })
}

/// The bytes of a lane: values of one width, beside truth values and indices.
fn width(kernel: &Kernel) -> Option<usize> {
    let has = |dtype| kernel.dtypes.contains(&dtype);
    match (has(DType::F32) || has(DType::I32), has(DType::F64)) {
        (true, false) => Some(4),
        (false, true) => Some(8),
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
        text
    }
}

#[cfg(test)]
mod tests;
