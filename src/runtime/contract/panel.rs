//! The memory that operands are packed in, a panel at a time: every thread has its own.

use crate::runtime::memory::Block;

/// Bytes of a panel, which the second cache holds.
const BYTES: usize = 512 << 10;

thread_local! {
    static PANEL: Block = Block::new(BYTES);
}

/// Depths that are packed at once, for elements of this size: a tile's rows of the left operand, 2 KB each, stay in the
/// first cache.
pub(super) const fn depth(element_bytes: usize) -> usize {
    (2 << 10) / element_bytes
}

/// Elements that are packed at once.
pub(super) const fn elements<T>() -> usize {
    BYTES / size_of::<T>()
}

/// Where this thread's panel begins, for a contraction that it computes from beginning to end.
pub(super) fn start<T>() -> *mut T {
    PANEL.with(|panel| panel.start().cast())
}
