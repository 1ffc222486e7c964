//! The thresholds of code generation, with the measurements that justify them.

use super::math;
use crate::loops::Instr;

/// Programs of at most this many instructions become straight-line code with tensors in registers.
/// Cranelift takes 0.5–0.9 µs for an instruction with short live ranges, twice (one step, many steps):
/// 512 stay under a millisecond.
pub const STRAIGHT_LINE: usize = 512;

/// The instructions of a function that is written out: 30 of `exp`, 50 of `tanh` and `log`, 90 of `sin`. A step of 8 tanh
/// neurons compiles in 0.7 ms as loops instead of 5 ms (dev profile), and runs in 84 ns instead of 91.
const FUNCTION: usize = 40;

/// The instructions that a scalar instruction becomes, in loops or in straight-line code.
pub fn instructions(instr: &Instr, is_straight: bool) -> usize {
    if math::is_inline(instr, is_straight) { FUNCTION } else { 1 }
}

/// The most state elements carried in registers from step to step. There are 16 vector registers; register
/// allocation is quadratic in values that live at once (1,000 of them take 5 ms).
pub const CARRIED: usize = 64;

/// How far ahead is asked for what is accessed under masks alone, in bytes: on Zen 5 rows of 10 floats from the third cache,
/// read without asking, take 4.7 ns each, and 1.2 with it.
pub const AHEAD: i64 = 2048;

/// Beside so many whole vectors of the same row, which the processor notices, asking still saves a sixth of the time. Stores
/// gain only where there are none.
pub const FEW_WHOLE: i64 = 2;

/// Independent partial results of a reduction: fused multiply-adds have a latency of 4 cycles and start
/// twice a cycle; more than 4 chains cost registers and remainders.
pub const CHAINS: usize = 4;

/// The largest loop body, in statements, that is written out several times.
pub const UNROLL_BODY: usize = 24;

/// Loops of at most this many turns, of a whole vector or one value each, are written out in code for wide vectors,
pub const FEW_TURNS: i64 = 4;

/// if they make no more scalar instructions than this.
pub const WRITTEN_OUT: usize = 400;

/// The most statements of a row's columns that are written out, for as many rows at once as vectors have lanes: those of a
/// cross entropy over 16 classes and its gradient are 350. On Zen 5 a row of 10 takes 1.1 ns instead of 3.0 for its largest
/// element's position, 3.8 instead of 7.3 for a softmax.
pub const ROW: usize = 400;

/// A processor hides this many cycles from a turn's first instruction to its last result by going on with the next turn.
/// Turns that take longer run several at once: on Zen 4, rows of a softmax over 32 (176 cycles) come down from 46 ns to 25,
/// GELU and its gradient (170) from 15 ns a vector to 13; a layer norm (98) gains nothing.
pub const LATENCY: usize = 100;

/// The most turns at once: six are no faster than four.
pub const AT_ONCE: usize = 4;

/// The most instructions of a turn that runs together with others: more would not stay in the cache of instructions.
pub const LONG_TURN: usize = 400;

/// The most scalar instructions of a loop body that is written once more for the lanes that are left. A longer one finds
/// out in each turn which of its lanes exist: it compiles in half the time, and runs as fast on Zen 4 (within 1 %) as it is
/// too long to run together with others anyway. Shorter ones, which are not, would take up to twice as long.
pub const WRITTEN_TWICE: usize = 600;
