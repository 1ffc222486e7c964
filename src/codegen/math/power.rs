//! Powers of f32, computed in f64, so that the only error that counts is the last rounding: `xʸ = 2^(y·log₂|x|)`, with
//! C99's values for zeros, infinities and negative bases.

use super::lanes::Real;
use super::log;

/// `log₂((1 + s)/(1 − s))/s` as a polynomial in s², for |s| ≤ (√2 − 1)/(√2 + 1). Minimax by Remez' algorithm in 50 digits;
/// the relative error is 2⁻³⁷.
const LOG2: &[f64] = &[
    2.885_390_081_790_212,
    0.961_796_673_171_155_6,
    0.577_083_619_694_891_1,
    0.411_670_519_743_661_87,
    0.340_772_742_174_810_3,
];

/// `(2ʳ − 1)/r` for |r| ≤ ½, in the same way; the error is 2⁻²⁹.
const EXP2: &[f64] = &[
    0.693_147_206_550_753_3,
    0.240_226_513_572_808_78,
    0.055_503_271_312_383_04,
    0.009_618_002_510_175_774,
    0.001_340_053_560_435_316_1,
    0.000_154_766_852_172_101_82,
];

/// `xʸ` of f32.
pub fn pow<'l>(x: Real<'l>, y: Real<'l>) -> Real<'l> {
    let magnitude = x.abs();
    let power = magnitude.in_f64(y, of_magnitude);
    let is_one = magnitude.equal(1.0) & (x.equal(1.0) | y.abs().equal(f64::INFINITY)) | y.equal(0.0);
    let power = is_one.select(x.constant(1.0), power);
    // An integer y is odd if y/2 is none. Only from here on is the sign of x used.
    let half = y * 0.5;
    let is_integer = y.round().equal(y);
    let is_odd = is_integer & half.round().not_equal(half);
    let sign = is_odd.bits() & x.sign();
    let is_undefined = x.less(0.0) & magnitude.less(f64::INFINITY) & !is_integer;
    is_undefined.or_nan(power.flipped(sign))
}

/// For f64 lanes that hold f32 numbers, `x ≥ 0`.
fn of_magnitude<'l>(x: Real<'l>, y: Real<'l>) -> Real<'l> {
    let (k, m) = log::split(x);
    let s = (m - 1.0) / (m + 1.0);
    let log2 = s.mul_add((s * s).polynomial(LOG2), k);
    let log2 = x.equal(0.0).select(x.constant(f64::NEG_INFINITY), log2);
    let log2 = x.less(f64::INFINITY).select(log2, x);
    let format = x.format();
    let step = format.integer_step() + format.bias as f64;
    // Beyond the range of f32 all is 0 or ∞.
    let exponent = (y * log2).at_least(-200.0).at_most(200.0);
    let n = exponent + step;
    let r = exponent - (n - step);
    let scale = (n.bits() << format.precision).real();
    r.mul_add(r.polynomial(EXP2), 1.0) * scale
}
