//! Parallel kernels: ranges of iterations of one loop, shared out among threads. Who does what does not change what is
//! computed.

use super::team;
use crate::codegen::PieceFn;

/// Ranges a thread: several, so that one that comes late takes fewer.
const RANGES: usize = 4;

/// The most ranges.
const MOST: usize = 1 << 12;

/// Where a step's memory lies.
struct Memory {
    state: *mut u8,
    inputs: *const *const u8,
    outputs: *mut u8,
    arena: *mut u8,
}

// SAFETY: iterations of a parallel kernel write elements of their own, as the loop IR's verifier found.
unsafe impl Sync for Memory {}

/// Runs all iterations of a parallel kernel.
pub(super) unsafe extern "C" fn parallel(
    piece: PieceFn,
    state: *mut u8,
    inputs: *const *const u8,
    outputs: *mut u8,
    arena: *mut u8,
    iterations: u64,
) {
    let memory = &Memory { state, inputs, outputs, arena };
    let threads = team::threads();
    let ranges = if threads == 1 { 1 } else { (threads * RANGES).min(MOST).min(iterations as usize) };
    team::share(ranges as u16, &|number| {
        let Memory { state, inputs, outputs, arena } = *memory;
        let bound = |number: u64| iterations * number / ranges as u64;
        let (from, to) = (bound(number as u64), bound(number as u64 + 1));
        // SAFETY: generated code passes a kernel of its own, its caller's memory, and the number of its iterations, of which
        // every range has one at least.
        unsafe { piece(state, inputs, outputs, arena, from, to) }
    });
}
