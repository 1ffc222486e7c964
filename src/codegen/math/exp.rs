//! The exponential and what is made of it. `x = n·ln 2 + r`; a polynomial gives `eʳ − 1`, and `2ⁿ` is an integer moved
//! into the exponent.

use super::lanes::{Bits, Real};

/// For one format.
struct Table {
    /// ln 2 in two parts; the product of the first and an integer of the range is exact.
    ln2: [f64; 2],
    /// `(eʳ − 1 − r)/r²` for |r| ≤ 1.003·½·ln 2: minimax relative to r, by Remez' algorithm in 50 digits; the
    /// errors are 2⁻³² and 2⁻⁶².
    polynomial: &'static [f64],
    /// Results beyond this are ∞.
    highest: f64,
    /// From here down `eˣ − 1` is −1.
    lowest_expm1: f64,
    /// Up to here `eˣ − 1` is x.
    tiny: f64,
    /// Below the first of these the logistic function is 0, from the second on it is 1.
    saturated: [f64; 2],
    /// Minus the exponent of a power of two: with it as a factor, neither 1 nor any e⁻ˣ that counts is out of range.
    lowered: i64,
}

// The parts of ln 2 are those of Cephes' expf and fdlibm's e_exp.c.
const F32: Table = Table {
    ln2: [0.693_359_375, -2.121_944_4e-4],
    polynomial: &[
        0.5,
        0.166_666_671_633_720_4,
        0.041_666_351_258_754_73,
        0.008_333_272_300_660_61,
        0.001_394_130_988_046_527,
        0.000_199_147_107_196_040_45,
    ],
    highest: 89.5,
    lowest_expm1: -18.0,
    tiny: 1e-9,
    saturated: [-105.0, 18.0],
    lowered: 64,
};

const F64: Table = Table {
    ln2: [0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10],
    polynomial: &[
        0.5,
        0.166_666_666_666_666_77,
        0.041_666_666_666_666_706,
        0.008_333_333_333_321_341,
        0.001_388_888_888_886_616_7,
        0.000_198_412_698_869_448_64,
        2.480_158_736_184_212_2e-5,
        2.755_724_330_779_335_6e-6,
        2.755_724_168_791_155_3e-7,
        2.510_937_570_715_590_5e-8,
        2.092_476_759_337_347e-9,
    ],
    highest: 710.6,
    lowest_expm1: -38.0,
    tiny: 1e-18,
    saturated: [-746.0, 38.0],
    lowered: 512,
};

fn table(x: Real<'_>) -> &'static Table {
    x.pick(&F32, &F64)
}

/// `x = n·ln 2 + r`: the bits whose lowest are `n + raised`, and r.
fn reduce<'l>(x: Real<'l>, raised: u64) -> (Bits<'l>, Real<'l>) {
    let Table { ln2: [high, low], .. } = table(x);
    let step = x.format().integer_step() + raised as f64;
    let raised_n = x.mul_add(std::f64::consts::LOG2_E, step);
    let n = raised_n - step;
    (raised_n.bits(), n.mul_add(-low, n.mul_add(-high, x)))
}

/// `2ⁿ` for bits whose lowest are n plus the bias.
fn power_of_two(n: Bits<'_>, precision: u8) -> Real<'_> {
    (n << precision).real()
}

/// `eʳ − 1` for |r| ≤ ½·ln 2.
pub fn near_zero(r: Real<'_>) -> Real<'_> {
    (r * r).mul_add(r.polynomial(table(r).polynomial), r)
}

/// `eˣ`: 2ⁿ in two factors, since it may be out of range where the result is not. From `vanishing` down both are 0, and the
/// result is from about half of that on. To find so by multiplying other numbers takes Zen 3 several times as long, and masked
/// elements of a softmax all lie there.
pub fn exp(x: Real<'_>) -> Real<'_> {
    let raised = 2 * x.format().bias;
    let vanishing = -(raised as f64) * std::f64::consts::LN_2;
    let (n, r) = reduce(x.at_least(vanishing).at_most(table(x).highest), raised);
    scaled(near_zero(r) + 1.0, n)
}

/// `2ⁿ·x` for bits whose lowest are n plus twice the bias.
pub fn scaled<'l>(x: Real<'l>, n: Bits<'l>) -> Real<'l> {
    let (half, precision) = (n >> 1, x.format().precision);
    x * power_of_two(half, precision) * power_of_two(n - half, precision)
}

/// The nearest whole number n, and the bits that [`scaled`] takes.
pub fn whole(x: Real<'_>) -> (Real<'_>, Bits<'_>) {
    let step = x.format().integer_step() + (2 * x.format().bias) as f64;
    let n = x + step;
    (n - step, n.bits())
}

/// `2ˢ·eˣ` where 2ⁿ⁺ˢ is an ordinary number, in two factors: `eʳ − 1` and 2ⁿ⁺ˢ.
pub fn factors(x: Real<'_>, raised: i64) -> (Real<'_>, Real<'_>) {
    let format = x.format();
    let (n, r) = reduce(x, format.bias.wrapping_add_signed(raised));
    (near_zero(r), power_of_two(n, format.precision))
}

/// `eˣ` where the result is an ordinary number.
pub fn exp_within(x: Real<'_>) -> Real<'_> {
    let (q, scale) = factors(x, 0);
    (q + 1.0) * scale
}

/// `eˣ/4`, up to a little beyond where `eˣ` overflows.
pub fn quarter_of_exp(x: Real<'_>) -> Real<'_> {
    let (q, scale) = factors(x.at_most(table(x).highest), -2);
    (q + 1.0) * scale
}

/// `(eˣ − 1)/4`, up to a little beyond where `eˣ` overflows.
pub fn quarter_of_expm1(x: Real<'_>) -> Real<'_> {
    let (q, scale) = factors(x.at_most(table(x).highest), -2);
    q.mul_add(scale, scale - 0.25)
}

/// `eˣ − 1`; x itself, where a quarter of it would not be exact.
pub fn expm1(x: Real<'_>) -> Real<'_> {
    let Table { lowest_expm1, tiny, .. } = *table(x);
    let quarter = quarter_of_expm1(x.at_least(lowest_expm1));
    x.abs().less(tiny).select(x, quarter * 4.0)
}

/// `1/(1 + e⁻ˣ)`, both parts of the fraction times a power of two.
pub fn sigmoid(x: Real<'_>) -> Real<'_> {
    let Table { saturated: [lowest, highest], lowered, .. } = *table(x);
    let one = (-lowered as f64).exp2();
    let (q, scale) = factors(-x.at_least(lowest).at_most(highest), -lowered);
    one / (scale + q.mul_add(scale, one))
}
