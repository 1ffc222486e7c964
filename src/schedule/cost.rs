//! The thresholds of scheduling, with the measurements that justify them.

/// Scalar instructions that are cheaper to run again than to store and load once more.
pub(super) const CHEAP: usize = 4;

/// A chain this long is computed in pieces, which bounds recursion and the size of kernels.
pub(super) const MAX_DEPTH: usize = 128;

/// Contractions of at least this many multiplications are calls of a library kernel.
pub(super) const CONTRACTION: usize = 1024;
