//! Powers: `xʸ = 2^(y·log₂ x)`, the logarithm and the product as sums of two numbers. What a product loses by rounding is
//! a fused multiply-add; without one the library is faster. The polynomial is that of fdlibm's e_pow.c, and of FreeBSD's
//! e_powf.c.

use std::f64::consts::LN_2;

use super::lanes::{Real, Term};
use super::{exp, log};

/// For one format; numbers in two parts are rounded to it, and what is left is.
struct Table {
    log2_three_halves: [f64; 2],
    /// `(log t − 2s − ⅔s³)/(⅔s⁵)` as a polynomial in s², where s = (t − 1)/(t + 1).
    logarithm: &'static [f64],
    /// 2/(3·ln 2).
    two_thirds: [f64; 2],
    ln2: [f64; 2],
    /// Exponents beyond this are as good as it: but for 1, every base is far out of range.
    largest_exponent: f64,
    /// Two to the power of this is ∞, and of its negative 0.
    range: f64,
}

const F32: Table = Table {
    log2_three_halves: [0.584_962_487_220_764_2, 1.350_039_191_549_967_7e-8],
    logarithm: &[
        0.600_000_023_84,
        0.428_571_432_83,
        0.333_333_334_327,
        0.272_728_115_32,
        0.230_660_750_75,
        0.206_975_013_02,
    ],
    two_thirds: [0.961_796_700_954_437_3, -7.028_461_812_552_678e-9],
    ln2: [0.693_147_182_464_599_6, -1.904_654_212_125_933_6e-9],
    largest_exponent: (1u64 << 40) as f64,
    range: 160.0,
};

const F64: Table = Table {
    log2_three_halves: [0.584_962_500_721_156_2, -5.224_490_061_390_109e-18],
    logarithm: &[
        0.599_999_999_999_994_6,
        0.428_571_428_578_550_2,
        0.333_333_329_818_377_43,
        0.272_728_123_808_534,
        0.230_660_745_775_561_75,
        0.206_975_017_800_338_42,
    ],
    two_thirds: [0.961_796_693_925_975_6, 5.057_761_664_812_590_7e-17],
    ln2: [LN_2, 2.319_046_813_846_299_6e-17],
    largest_exponent: (1u128 << 80) as f64,
    range: 1100.0,
};

fn table(x: Real<'_>) -> &'static Table {
    x.pick(&F32, &F64)
}

/// A sum of two numbers, the second as small as the rounding error of the first.
type Parts<'l> = [Real<'l>; 2];

/// `a + b`, where a is 0 or the larger.
fn sum<'l>(a: Real<'l>, b: Real<'l>) -> Parts<'l> {
    let high = a + b;
    [high, b - (high - a)]
}

/// `a·(b + c)`.
fn product<'l>(a: Real<'l>, [b, c]: [impl Into<Term<'l>> + Copy; 2]) -> Parts<'l> {
    let high = a * b;
    [high, a.mul_add(b, -high) + a * c]
}

/// `log₂ x`, for x from the smallest number to the largest: `x = 2ⁿ·b·t`, where b is 1 or 3/2 and t near 1.
fn log2(x: Real<'_>) -> Parts<'_> {
    let Table { log2_three_halves, logarithm, two_thirds, .. } = table(x);
    let (n, m) = log::exponent_and_significand(x);
    let (is_small, is_medium) = (m.less(1.5f64.sqrt()), m.less(3f64.sqrt()));
    let (n, m) = (is_medium.select(n, n + 1.0), is_medium.select(m, m * 0.5));
    let pick = |one: f64, three_halves: f64| {
        let [one, three_halves] = [one, three_halves].map(|value| x.constant(value));
        is_small.select(one, is_medium.select(three_halves, one))
    };
    let base = pick(1.0, 1.5);
    let [log_base, log_base_low] = log2_three_halves.map(|part| pick(0.0, part));
    // s = (t − 1)/(t + 1)
    let (above, [below, below_low]) = (m - base, sum(base, m));
    let inverse = 1.0 / below;
    let s = above * inverse;
    let s_low = inverse * (below.mul_add(-s, above) - s * below_low);
    // ln t = ⅔·s·(3 + s² + …)
    let [square, square_low] = product(s, [s, s_low + s_low]);
    let [series, rest] = sum(x.constant(3.0), square);
    let rest = rest + (square * square).mul_add(square.polynomial(logarithm), square_low);
    let [ln, ln_low] = product(s, sum(series, rest));
    let [log, log_low] = product(ln, *two_thirds);
    let low = s_low.mul_add(series, ln_low).mul_add(two_thirds[0], log_low);
    let [of_significand, rest] = sum(log_base, log);
    let [high, more_rest] = sum(n, of_significand);
    [high, ((low + log_base_low) + rest) + more_rest]
}

/// `2^(high + low)`.
fn exp2<'l>([high, low]: Parts<'l>) -> Real<'l> {
    let Table { ln2, .. } = table(high);
    let (n, bits) = exp::whole(high + low);
    let [r, rest] = product(high - n, *ln2);
    let q = exp::near_zero(r);
    let rest = low.mul_add(ln2[0], rest);
    exp::scaled(rest.mul_add(q + 1.0, q) + 1.0, bits)
}

/// `xʸ`, with the limits of C's `pow`.
pub fn pow<'l>(x: Real<'l>, y: Real<'l>) -> Real<'l> {
    let Table { largest_exponent, range, .. } = *table(x);
    let (zero, one, magnitude) = (x.constant(0.0), x.constant(1.0), x.abs());
    let exponent = y.at_least(-largest_exponent).at_most(largest_exponent);
    let [high, low] = product(exponent, log2(magnitude));
    // The powers of 0 and ∞, and what is out of range, are two to the power of a bound.
    let limit = |bound: f64| x.constant(bound).flipped(y.sign());
    let limited = magnitude.equal(f64::INFINITY).select(limit(range), high);
    let limited = magnitude.equal(zero).select(limit(-range), limited).at_least(-range).at_most(range);
    let result = exp2([limited, limited.equal(high).select(low, zero)]);
    // Negative numbers have whole powers alone, of which those with odd exponents are negative.
    let half = y * 0.5;
    let (is_whole, is_even) = (y.round().equal(y), half.round().equal(half));
    let sign = is_whole.select(is_even.select(zero, x), zero).sign();
    let is_negative = magnitude.less(f64::INFINITY).select(x, zero).less(0.0);
    let result = is_whole.select(result.flipped(sign), is_negative.or_nan(result));
    let sum = magnitude + y.abs();
    let result = sum.equal(sum).select(result, sum);
    x.equal(1.0).select(one, y.equal(0.0).select(one, result))
}
