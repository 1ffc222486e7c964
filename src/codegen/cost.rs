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

/// The instructions that a scalar instruction becomes.
pub fn instructions(instr: &Instr) -> usize {
    match instr {
        Instr::Unary(f, _) if math::is_inline(*f) => FUNCTION,
        _ => 1,
    }
}

/// The most state elements carried in registers from step to step. There are 16 vector registers; register
/// allocation is quadratic in values that live at once (1,000 of them take 5 ms).
pub const CARRIED: usize = 64;

/// Independent partial results of a reduction: fused multiply-adds have a latency of 4 cycles and start
/// twice a cycle; more than 4 chains cost registers and remainders.
pub const CHAINS: usize = 4;

/// The largest loop body, in statements, that is written out several times.
pub const UNROLL_BODY: usize = 24;
