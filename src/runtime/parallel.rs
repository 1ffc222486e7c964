//! Work on several threads of rayon's pool. Who does what does not change what is computed.

use std::ops::Range;

use crate::codegen::PieceFn;

/// Runs a range in as many parts as given, the first here and the others on threads of the pool.
pub(super) fn share(range: Range<usize>, parts: usize, run: &(impl Fn(Range<usize>) + Sync)) {
    let part = range.len().div_ceil(parts.max(1)).max(1);
    if part >= range.len() {
        return run(range);
    }
    let first = range.start..range.start + part;
    rayon::in_place_scope(|scope| {
        for start in (first.end..range.end).step_by(part) {
            let end = (start + part).min(range.end);
            scope.spawn(move |_| run(start..end));
        }
        run(first);
    });
}

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
    share(0..iterations as usize, rayon::current_num_threads(), &|part| {
        let Memory { state, inputs, outputs, arena } = *memory;
        // SAFETY: generated code passes a kernel of its own, its caller's memory, and the number of its iterations.
        unsafe { piece(state, inputs, outputs, arena, part.start as u64, part.end as u64) }
    });
}
