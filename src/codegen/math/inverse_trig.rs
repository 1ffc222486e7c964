//! Inverses of tangent, sine and cosine, after fdlibm's s_atan.c, e_asin.c and e_acos.c and their versions for f32.

use std::f64::consts::{FRAC_PI_2, FRAC_PI_4};

use super::lanes::{Mask, Real};

/// For one format.
struct Table {
    /// π/2 in two parts.
    half_pi: [f64; 2],
    /// Angles whose tangents are ½, 1 and 3/2, in two parts.
    angles: [[f64; 2]; 3],
    /// `(t − atan t)/t³` as a polynomial in t², for |t| ≤ 7/16.
    tangent: &'static [f64],
    /// `(asin s − s)/s³` as a quotient of polynomials in s², for |s| ≤ ½.
    sine: [&'static [f64]; 2],
    /// The bits of a number whose square is exact.
    upper_half: u64,
}

const F32: Table = Table {
    half_pi: [1.570_796_251_3, 7.549_789_415_9e-8],
    angles: [
        [4.636_476_039_9e-1, 5.012_158_244_0e-9],
        [7.853_981_256_5e-1, 3.774_894_707_9e-8],
        [9.827_936_887_7e-1, 3.447_321_717_0e-8],
    ],
    tangent: &[
        3.333_332_836_6e-1,
        -1.999_915_838_2e-1,
        1.425_363_570_5e-1,
        -1.064_801_737_7e-1,
        6.168_760_731_8e-2,
    ],
    sine: [&[1.666_658_669_7e-1, -4.274_342_209_1e-2, -8.656_363_003_0e-3], &[1.0, -7.066_296_339_0e-1]],
    upper_half: 0xffff_f000,
};

const F64: Table = Table {
    half_pi: [FRAC_PI_2, 6.123_233_995_736_766e-17],
    angles: [
        [4.636_476_090_008_061e-1, 2.269_877_745_296_168_7e-17],
        [FRAC_PI_4, 3.061_616_997_868_383e-17],
        [9.827_937_232_473_29e-1, 1.390_331_103_123_099_8e-17],
    ],
    tangent: &[
        3.333_333_333_333_293e-1,
        -1.999_999_999_987_648_3e-1,
        1.428_571_427_250_346_6e-1,
        -1.111_111_040_546_235_6e-1,
        9.090_887_133_436_507e-2,
        -7.691_876_205_044_83e-2,
        6.661_073_137_387_531e-2,
        -5.833_570_133_790_573_5e-2,
        4.976_877_994_615_932_4e-2,
        -3.653_157_274_421_691_6e-2,
        1.628_582_011_536_578_2e-2,
    ],
    sine: [
        &[
            1.666_666_666_666_666_6e-1,
            -3.255_658_186_224_009e-1,
            2.012_125_321_348_629_3e-1,
            -4.005_553_450_067_941e-2,
            7.915_349_942_898_145e-4,
            3.479_331_075_960_212e-5,
        ],
        &[
            1.0,
            -2.403_394_911_734_414,
            2.020_945_760_233_505_7,
            -6.882_839_716_054_533e-1,
            7.703_815_055_590_194e-2,
        ],
    ],
    upper_half: 0xffff_ffff_0000_0000,
};

fn table(x: Real<'_>) -> &'static Table {
    x.pick(&F32, &F64)
}

/// `atan` of a number that is not negative: that of its difference from the tangent of a known angle, which is added.
fn atan_of_magnitude(x: Real<'_>) -> Real<'_> {
    let Table { half_pi, angles, tangent, .. } = table(x);
    let [near_zero, near_half, near_one, near_three_halves] =
        [7.0, 11.0, 19.0, 39.0].map(|n| x.less(n / 16.0));
    // The number of the values for the interval that x is in, but for the last interval.
    let pick = |values: [f64; 4]| {
        let [zero, half, one, three_halves] = values.map(|value| x.constant(value));
        near_zero.select(zero, near_half.select(half, near_one.select(one, three_halves)))
    };
    let center = pick([0.0, 0.5, 1.0, 1.5]);
    let [high, low] = [0, 1].map(|part| {
        let [half, one, three_halves] = angles.map(|angle| angle[part]);
        near_three_halves.select(pick([0.0, half, one, three_halves]), x.constant(half_pi[part]))
    });
    let above = near_three_halves.select(x - center, x.constant(-1.0));
    let below = near_three_halves.select(center.mul_add(x, 1.0), x);
    let t = above / below;
    let square = t * t;
    high - ((t * (square * square.polynomial(tangent)) - low) - t)
}

/// The angle whose tangent is x, from −π/2 to π/2.
pub fn atan(x: Real<'_>) -> Real<'_> {
    atan_of_magnitude(x.abs()).flipped(x.sign())
}

/// The angle of the point (x, y) from −π to π, with signed zeros and infinities as in C: measured from the nearest half
/// axis, by the quotient of the smaller coordinate and the larger.
pub fn atan2<'l>(y: Real<'l>, x: Real<'l>) -> Real<'l> {
    let [half_pi, half_pi_low] = table(x).half_pi;
    let (zero, one) = (x.constant(0.0), x.constant(1.0));
    let (a, b) = (y.abs(), x.abs());
    let is_steep = b.less(a);
    let (smaller, larger) = (is_steep.select(b, a), is_steep.select(a, b));
    let quotient = smaller.equal(larger).select(one, smaller / larger); // infinities too
    let angle = atan_of_magnitude(larger.equal(zero).select(zero, quotient));
    let quarter_turns = is_steep.select(one, 1.0 - one.flipped(x.sign()));
    let sign = x.sign() ^ is_steep.select(x.constant(-0.0), zero).bits();
    let from_axis = angle.flipped(sign);
    let turned = quarter_turns * half_pi + (quarter_turns * half_pi_low + from_axis);
    let sum = a + b;
    sum.equal(sum).select(turned.flipped(y.sign()), sum)
}

/// An angle of at most π/6: that with the sine |x|, or for |x| ≥ ½ half that with the cosine |x|.
struct Angle<'l> {
    is_sine: Mask<'l>,
    /// Its sine in two parts.
    sine: [Real<'l>; 2],
    /// What it is more than its sine.
    excess: Real<'l>,
}

/// As fdlibm: for |x| ≥ ½ the sine is the root of (1 − |x|)/2, and its first part has an exact square.
fn angle(x: Real<'_>) -> Angle<'_> {
    let Table { sine: [above, below], upper_half, .. } = table(x);
    let a = x.abs();
    let is_sine = a.less(0.5);
    let square = is_sine.select(a * a, (1.0 - a) * 0.5);
    let root = square.sqrt();
    let high = (root.bits() & *upper_half).real();
    let low = (square - high * high) / (root + high).at_least(f64::from(f32::MIN_POSITIVE));
    let ratio = square * square.polynomial(above) / square.polynomial(below);
    let (sine, low) = (is_sine.select(a, root), is_sine.select(x.constant(0.0), low));
    Angle { is_sine, sine: [is_sine.select(a, high), low], excess: sine * ratio }
}

/// The angle with the sine x, from −π/2 to π/2.
pub fn asin(x: Real<'_>) -> Real<'_> {
    let [half_pi, half_pi_low] = table(x).half_pi;
    let Angle { is_sine, sine: [high, low], excess } = angle(x);
    // π/2 less twice the angle, by way of π/4.
    let rest = (excess * 2.0 - (half_pi_low - low * 2.0)) - (half_pi / 2.0 - high * 2.0);
    is_sine.select(high + excess, half_pi / 2.0 - rest).flipped(x.sign())
}

/// The angle with the cosine x, from 0 to π.
pub fn acos(x: Real<'_>) -> Real<'_> {
    let [half_pi, half_pi_low] = table(x).half_pi;
    let Angle { is_sine, sine: [high, low], excess } = angle(x);
    let beside = half_pi - (x - (half_pi_low - excess.flipped(x.sign())));
    let right = high + (low + excess);
    let left = half_pi - (high + ((low + excess) - half_pi_low));
    is_sine.select(beside, x.less(0.0).select(left, right) * 2.0)
}
