//! Rounding to integers, for processors without an instruction for it.

use super::lanes::Real;

/// The nearest integer, halves to even.
pub fn round(x: Real<'_>) -> Real<'_> {
    x.round()
}

/// The largest integer not above.
pub fn floor(x: Real<'_>) -> Real<'_> {
    let nearest = x.round();
    let excess = x.less(nearest).select(x.constant(1.0), x.constant(0.0));
    nearest - excess
}

/// The smallest integer not below.
pub fn ceil(x: Real<'_>) -> Real<'_> {
    -floor(-x)
}
