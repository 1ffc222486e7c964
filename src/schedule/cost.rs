//! The thresholds of scheduling, with the measurements that justify them.

use crate::loops::{Instr, Unary};

/// Scalar instructions that are cheaper to run again than to store and load once more.
pub(super) const CHEAP: usize = 4;

/// Scalar instructions of a function that is written out, at least.
pub(super) const FUNCTION: usize = 20;

/// Sums of at most this many terms are short beside a function of them: some vectors to add, and their lanes.
pub(super) const SHORT_SUM: usize = 128;

/// Scalar instructions for the bits of one counter: 20 rounds of three, and what the key adds.
pub(super) const RANDOM: usize = 72;

/// A chain this long is computed in pieces, which bounds recursion and the size of kernels.
pub(super) const MAX_DEPTH: usize = 128;

/// Contractions of at least this many multiplications are calls of a library kernel.
pub(super) const CONTRACTION: usize = 1024;

/// Beside so many rows, columns are packed; fewer are multiplied along the depth, where rows are to lie.
pub(super) const PANEL_ROWS: usize = 13;

/// Loops are fused up to this many statements: beyond it values no longer fit in registers.
pub(super) const FUSED_STATEMENTS: usize = 160;

/// So many kernels back a kernel looks for one to join, which keeps scheduling linear.
pub(super) const FUSION_WINDOW: usize = 16;

/// A body of at most this many statements may run on single elements beside loops that run on vectors.
pub(super) const FEW_STATEMENTS: usize = 16;

/// Elements of the widest vectors, by which scheduling counts what a loop costs.
pub(super) const LANES: usize = 16;

/// In rows of at least this many elements, the last vector counts for little.
pub(super) const LONG_ROW: usize = 256;

/// So many nodes are stored by one kernel, or cut off at [`MAX_DEPTH`]: a function of a few thousand instructions, which
/// is as far as register allocation is linear.
pub(super) const STORED: usize = 8;

/// Scalar instructions that are worth a second thread. Vectors do 20 to 70 a nanosecond; handing a part over takes about a
/// microsecond.
pub(super) const PARALLEL: usize = 1 << 17;

/// The scalar instructions that one becomes when functions are written out.
pub(super) fn instructions(instr: &Instr) -> usize {
    match instr {
        Instr::Unary(Unary::Neg | Unary::Abs | Unary::Not, _) => 1,
        Instr::Unary(..) => 25,
        _ => 1,
    }
}

/// The most pieces that a loop is cut into: enough for any number of cores, and few sums to add up.
pub(super) const PIECES: usize = 32;

/// Scalar instructions of an iteration that sums up along memory, at least, to be a share of its own: it fills vectors by
/// itself.
pub(super) const LONG_SUM: usize = 1 << 12;

/// A contraction of at most so many results over a depth of at least so many is cut into pieces of the depth: it has too few
/// results to share out, and partial sums are few beside the products: of 30 × 30 over 20,640 they take 1.5 µs of 350.
pub(super) const FEW_RESULTS: usize = 64 * 64;
pub(super) const DEEP: usize = 1 << 14;

/// Iterations of a loop without others in it, of which a piece is a multiple: several chains of the widest vectors.
pub(super) const PIECE: usize = 64;

/// Columns are summed in blocks of so many rows or up to twice as many, where rows are so many bytes apart, pages or nearly,
/// and there are as many bytes of rows as no second cache holds.
pub(super) const BLOCK: usize = 64;
pub(super) const FAR: usize = 2 << 10;
pub(super) const TALL: usize = 4 << 20;

/// Of such blocks so many rows are added at once, all along, as memory lies: four or eight are as fast, and a third faster
/// than columns that are summed down a block of 4096² floats; while the sums of a row, so many at most, are in the first cache.
pub(super) const ROWS_AT_ONCE: usize = 8;
pub(super) const NEAR: usize = 8 << 10;

/// Rows are updated one by one if they have so many times fewer elements than the table: looking at an element twice more
/// takes 0.26 ns, and three of the table that are not looked at would take as long (Zen 5, tables in the third cache).
pub(super) const SPARSE: usize = 4;

/// A body of more scalar instructions is not to be compiled once more for the iterations after the last piece: pieces have
/// one length then, if those that do leave no more than one in so many lanes of the widest vectors empty.
pub(super) const LONG_BODY: usize = 512;
pub(super) const WASTED: usize = 32;

/// Loops are written out and cut in so many rounds at most: an overlapping window with a stride takes three.
pub(super) const STRAIGHTENED: usize = 3;

/// A kernel grows by at most this many statements in a round in which its loops are cut in pieces, before what a piece
/// leaves out is gone: some 100 µs of compilation.
pub(super) const SPLIT_STATEMENTS: usize = 256;

/// Loops of at most this many iterations are written out: the places of the common windows along an axis.
pub(super) const UNROLLED: usize = 4;

/// What is written out has at most this many statements.
pub(super) const UNROLLED_STATEMENTS: usize = 64;

/// Kernels over the same rows go strip by strip where they touch at least so many bytes of them, of which a strip has about
/// so many: twice and half of what the second cache holds. Every call of a kernel goes over so many bytes at least.
pub(super) const MANY_BYTES: usize = 2 << 20;
pub(super) const STRIP_BYTES: usize = 512 << 10;
pub(super) const CALL_BYTES: usize = 32 << 10;

/// A strip that does not lie in one part of memory lies in runs of so many bytes at least.
pub(super) const RUN_BYTES: usize = 1 << 10;

/// Strips are shared out in so many pieces at most: their scratch memory is no cache's when a piece begins.
pub(super) const STRIP_PIECES: usize = 8;

/// So many numbers of rows are tried, of at least so many rows, for so many groups of kernels.
pub(super) const ROW_COUNTS: usize = 4;
pub(super) const FEWEST_ROWS: usize = 4;
pub(super) const STRIP_GROUPS: usize = 4;
