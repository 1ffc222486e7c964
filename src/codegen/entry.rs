//! The entry functions: their signatures, and the base addresses generated code works from.

use std::any::Any;
use std::sync::Arc;

use cranelift::codegen::isa::CallConv;
use cranelift::prelude::{AbiParam, FunctionBuilder, InstBuilder, MemFlagsData, Signature, Value, types};
use rustc_hash::FxHashMap;

use crate::loops::{Order, Place, Tables};
use crate::types::DType;

/// Runs one step: (state, inputs, outputs, arena). `inputs` is a table of one pointer an input.
pub type StepFn = unsafe extern "C" fn(*mut u8, *const *const u8, *mut u8, *mut u8);

/// Runs the given number of steps, at least one, with the same inputs.
pub type StepsFn = unsafe extern "C" fn(*mut u8, *const *const u8, *mut u8, *mut u8, u64);

/// Runs the iterations of a parallel kernel's loop from one number to below another, as [`StepFn`] otherwise.
pub type PieceFn = unsafe extern "C" fn(*mut u8, *const *const u8, *mut u8, *mut u8, u64, u64);

/// Runs all iterations, so many, of a kernel given its memory, on as many threads as there are.
pub type ParallelFn = unsafe extern "C" fn(PieceFn, *mut u8, *const *const u8, *mut u8, *mut u8, u64);

/// Computes a contraction of this element type: (what it was prepared as, left operand, right operand, result, scale).
pub type ContractFn<T> = unsafe extern "C" fn(*const u8, *const T, *const T, *mut T, T);

/// How the library computes a contraction: what follows from its tables alone is decided once. It lives as long as the code.
pub type Prepared = Arc<dyn Any + Send + Sync>;

/// The library's contractions of an element type.
#[derive(Clone, Copy, Debug)]
pub struct Contract<T> {
    pub prepare: fn(Tables) -> Prepared,
    pub call: ContractFn<T>,
}

/// Writes the positions of the first keys of a row in order: (keys, positions, keys, positions wanted).
pub type SortFn = unsafe extern "C" fn(*const u8, *mut i64, usize, usize);

/// Functions that generated code calls, for the processors it is generated for.
#[derive(Clone, Copy, Debug)]
pub struct Library {
    pub contract_f32: Contract<f32>,
    pub contract_f64: Contract<f64>,
    pub parallel: ParallelFn,
    /// For keys of a type.
    pub sort: fn(DType, Order) -> SortFn,
}

/// The signature of [`StepFn`] for no counts, of [`StepsFn`] for one; that of kernels has their turns as counts,
/// and that of parallel ones the iterations to run.
pub(super) fn signature(convention: CallConv, counts: usize) -> Signature {
    let mut signature = Signature::new(convention);
    signature.params.extend((0..4 + counts).map(|_| AbiParam::new(types::I64)));
    signature
}

/// Base addresses, as values of the function being built.
pub(super) struct Bases {
    state: Value,
    outputs: Value,
    arena: Value,
    /// By number, of those inputs that are used.
    inputs: FxHashMap<usize, Value>,
}

impl Bases {
    /// Reads the parameters of the entry block, and the addresses of the inputs among `places`.
    pub fn of(
        builder: &mut FunctionBuilder<'_>,
        params: &[Value],
        places: impl Iterator<Item = Place>,
    ) -> Bases {
        let flags = MemFlagsData::trusted();
        let mut inputs = FxHashMap::default();
        for place in places {
            if let Place::Input { index } = place {
                inputs
                    .entry(index)
                    .or_insert_with(|| builder.ins().load(types::I64, flags, params[1], index as i32 * 8));
            }
        }
        Bases { state: params[0], outputs: params[2], arena: params[3], inputs }
    }

    /// Where a buffer begins: a base and an offset in bytes.
    pub fn address(&self, place: Place) -> (Value, i32) {
        match place {
            Place::State { offset } => (self.state, offset as i32),
            Place::Output { offset } => (self.outputs, offset as i32),
            Place::Arena { offset } => (self.arena, offset as i32),
            Place::Input { index } => (self.inputs[&index], 0),
        }
    }
}
