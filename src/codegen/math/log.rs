//! Logarithms. `x = 2ᵏ·(1 + f)`, with 1 + f between √½ and √2; `ln(1 + f)` is a series in `s = f/(2 + f)`.

use super::exp;
use super::lanes::{Bits, Real};

/// For one format.
struct Table {
    /// ln 2 in two parts; the product of the first and an exponent is exact.
    ln2: [f64; 2],
    /// `ln((1 + s)/(1 − s)) = 2s + s·R(s²)`: R(z)/z.
    series: &'static [f64],
    /// The bits of √½, rounded down to few bits as in the sources.
    least_significand: u64,
    smallest_normal: f64,
    /// From here on the rounding error of 1 + x does not matter.
    large: f64,
}

// FreeBSD's e_logf.c, by way of musl.
const F32: Table = Table {
    ln2: [6.931_381_225_6e-1, 9.058_000_614_5e-6],
    series: &[0.666_666_626_93, 0.400_009_721_52, 0.284_987_866_88, 0.242_790_788_41],
    least_significand: 0x3f35_04f3,
    smallest_normal: f32::MIN_POSITIVE as f64,
    large: 1e12,
};

// fdlibm's e_log.c.
const F64: Table = Table {
    ln2: [0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10],
    series: &[
        0.666_666_666_666_673_5,
        0.399_999_999_994_094_2,
        0.285_714_287_436_623_9,
        0.222_221_984_321_497_84,
        0.181_835_721_616_180_5,
        0.153_138_376_992_093_73,
        0.147_981_986_051_165_86,
    ],
    least_significand: 0x3fe6_a09e_0000_0000,
    smallest_normal: f64::MIN_POSITIVE,
    large: 1e30,
};

fn table(x: Real<'_>) -> &'static Table {
    x.pick(&F32, &F64)
}

/// `x = 2ᵏ·m` with m from √½ to √2, for positive normal numbers: k, and m.
fn split(x: Real<'_>) -> (Real<'_>, Real<'_>) {
    let (format, least) = (x.format(), table(x).least_significand);
    let one = format.bias << format.precision;
    let shifted = x.bits() + (one - least);
    let k = exponent(shifted, x);
    let m = (shifted & ((1 << format.precision) - 1)) + least;
    (k, m.real())
}

/// The exponent field as a number, less the bias: the field, put into the low bits of 2^precision, counts ones.
fn exponent<'l>(bits: Bits<'l>, like: Real<'l>) -> Real<'l> {
    let format = like.format();
    let base = (1u64 << format.precision) as f64;
    let field = (bits >> format.precision) | like.constant(base).bits();
    field.real() - (base + format.bias as f64)
}

/// `k·ln 2 + ln(1 + f)`.
fn of_split<'l>(k: Real<'l>, f: Real<'l>) -> Real<'l> {
    let Table { ln2: [high, low], series, .. } = table(f);
    let s = f / (f + 2.0);
    let z = s * s;
    let rest = z * z.polynomial(series);
    let half_square = f * f * 0.5;
    let tail = s.mul_add(half_square + rest, k * *low) - half_square;
    k.mul_add(*high, tail + f)
}

/// The limits: −∞ at 0, NaN below; ∞ and NaN are their own.
fn at_limits<'l>(x: Real<'l>, distance_from_pole: Real<'l>, result: Real<'l>) -> Real<'l> {
    let result = x.less(f64::INFINITY).select(result, x);
    let result = distance_from_pole.less(0.0).or_nan(result);
    distance_from_pole.equal(0.0).select(x.constant(f64::NEG_INFINITY), result)
}

/// A normal number: x, where it is subnormal times a power of two; and the exponent of that.
fn normal(x: Real<'_>) -> (Real<'_>, Real<'_>) {
    let precision = x.format().precision;
    let is_small = x.less(table(x).smallest_normal);
    let scaled = is_small.select(x * (1u64 << precision) as f64, x);
    (scaled, is_small.select(x.constant(precision.into()), x.constant(0.0)))
}

/// `x = 2ⁿ·m` with m from 1 to 2, for positive numbers: n, and m.
pub fn exponent_and_significand(x: Real<'_>) -> (Real<'_>, Real<'_>) {
    let format = x.format();
    let (x, scale) = normal(x);
    let significand = x.bits() & ((1 << format.precision) - 1);
    (exponent(x.bits(), x) - scale, (significand | (format.bias << format.precision)).real())
}

/// `ln x`.
pub fn log(x: Real<'_>) -> Real<'_> {
    let (normal, scale) = normal(x);
    let (k, m) = split(normal);
    at_limits(x, x, of_split(k - scale, m - 1.0))
}

/// `ln(1 + x)`: the rounding error of 1 + x is added to f.
pub fn log1p(x: Real<'_>) -> Real<'_> {
    let u = x + 1.0;
    let (k, f, rounded_off) = split_sum(x, u);
    let correction = x.less(table(x).large).select(rounded_off, x.constant(0.0));
    let result = at_limits(x, u, of_split(k, f + correction));
    (result.bits() | x.sign()).real() // −0 stays
}

/// `ln(1 + eˣ) = max(x, 0) + ln(1 + e^(−|x|))`.
pub fn softplus(x: Real<'_>) -> Real<'_> {
    let power = exp::exp(-x.abs());
    let (k, f, rounded_off) = split_sum(power, power + 1.0);
    x.at_least(0.0) + of_split(k, f + rounded_off)
}

/// `u = 2ᵏ·(1 + f)` for `u = 1 + x`, rounded: k, f, and what is to be added to f, unless x is large.
fn split_sum<'l>(x: Real<'l>, u: Real<'l>) -> (Real<'l>, Real<'l>, Real<'l>) {
    let format = x.format();
    let rounded_off = {
        let one = u - x;
        (1.0 - one) + (x - (u - one))
    };
    let (k, m) = split(u);
    // 2⁻ᵏ is m/u, which the difference of their bits gives exactly.
    let scale = (m.bits() - u.bits() + (format.bias << format.precision)).real();
    (k, m - 1.0, rounded_off * scale)
}
