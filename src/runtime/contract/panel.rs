//! The memory that parts of operands are packed in, and how large the parts are: every thread has its own.

use super::cache::LINE;
use super::vector::Vector;
use crate::runtime::memory::Block;

/// Tiles of rows of the left operand that are packed at once, at most.
pub(super) const MOST_TILES: usize = 8;

/// Bytes of the largest panel.
pub(super) const MOST_BYTES: usize = 2 << 20;

/// Bytes of a packed row or column: as deep as it goes.
const DEEP: usize = 2 << 10;

/// Bytes of all rows: the tallest tiles have as many elements a depth, rounded up to whole vectors, and a line in between.
pub(super) const ROWS_BYTES: usize = MOST_TILES * (16 * DEEP + LINE);

thread_local! {
    static PANEL: Block = Block::new(MOST_BYTES);
    static ROWS: Block = Block::new(ROWS_BYTES);
}

/// Depths that are packed at once, for elements of this size.
pub(super) const fn depth(element_bytes: usize) -> usize {
    DEEP / element_bytes
}

/// How much of either operand is packed at once.
pub(super) struct Sizes {
    /// Elements of the right operand: a panel.
    pub panel: usize,
    /// Tiles of rows of the left one.
    pub tiles: usize,
}

impl Sizes {
    /// Wide vectors: the second cache holds the panel, and the first one tile's rows while they meet all of it. Narrow
    /// ones: the third cache holds the panel, and the first a strip of it while it meets the rows of several tiles, which
    /// the second holds. Processors that have no wide vectors have smaller second caches, and strips are narrow.
    pub(super) const fn of<V: Vector>() -> Sizes {
        let (bytes, tiles) = if V::MASKS { (512 << 10, 1) } else { (MOST_BYTES, MOST_TILES) };
        Sizes { panel: bytes / size_of::<V::Element>(), tiles }
    }
}

/// Where this thread's panel begins, for a contraction that it computes from beginning to end.
pub(super) fn start<T>() -> *mut T {
    PANEL.with(|panel| panel.start().cast())
}

/// Where its rows of the left operand begin.
pub(super) fn rows<T>() -> *mut T {
    ROWS.with(|rows| rows.start().cast())
}
