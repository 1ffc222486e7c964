//! Sine, cosine and tangent: `x = n·π/2 + r` with r as a sum of two numbers, a polynomial in each quadrant, and the
//! library for the huge angles that the reduction would not be exact for.

use super::lanes::{Bits, Real};
use super::library::Function;

/// For one format.
struct Table {
    /// π/2 in parts: n times each but the last is exact.
    half_pi: [f64; 4],
    /// Angles of at least this size are the library's.
    huge: f64,
    /// `(sin(r)/r − 1)/r²` and `(cos(r) − 1 + r²/2)/r⁴` as polynomials in r².
    sine: &'static [f64],
    cosine: &'static [f64],
}

// Parts of 11 bits. Minimax by Remez' algorithm in 50 digits for |r| ≤ 1.002·π/4; the errors are 2⁻³⁷ and 2⁻³³.
const F32: Table = Table {
    half_pi: [1.570_312_5, 4.837_512_969_970_703e-4, 7.549_533_620_476_723e-8, 2.563_344_068_257_089_6e-12],
    huge: 8192.0,
    sine: &[
        -0.166_666_671_633_720_4,
        0.008_333_329_111_337_662,
        -0.000_198_393_187_019_974,
        2.718_162_477_322_039e-6,
    ],
    cosine: &[0.041_666_645_556_688_31, -0.001_388_735_487_125_814, 2.443_700_941_512_361e-5],
};

// fdlibm's e_rem_pio2.c, k_sin.c and k_cos.c.
const F64: Table = Table {
    half_pi: [
        1.570_796_326_734_125_6,
        6.077_100_506_303_966e-11,
        2.022_266_248_711_166_5e-21,
        8.478_427_660_368_9e-32,
    ],
    huge: 1e6,
    sine: &[
        -0.166_666_666_666_666_32,
        0.008_333_333_333_322_49,
        -0.000_198_412_698_298_579_5,
        2.755_731_370_707_006_8e-6,
        -2.505_076_025_340_686_3e-8,
        1.589_690_995_211_55e-10,
    ],
    cosine: &[
        0.041_666_666_666_666_6,
        -0.001_388_888_888_887_411,
        2.480_158_728_947_673e-5,
        -2.755_731_435_139_066_3e-7,
        2.087_572_321_298_175e-9,
        -1.135_964_755_778_819_5e-11,
    ],
};

fn table(x: Real<'_>) -> &'static Table {
    x.pick(&F32, &F64)
}

/// An angle between −π/4 and π/4, as the sum of two numbers, and the quadrants taken off, in the low bits.
struct Reduced<'l> {
    high: Real<'l>,
    low: Real<'l>,
    quadrant: Bits<'l>,
}

/// `a − b` and its rounding error, in six operations (Knuth).
fn difference<'l>(a: Real<'l>, b: Real<'l>) -> (Real<'l>, Real<'l>) {
    let d = a - b;
    let b_used = a - d;
    let a_used = d + b_used;
    (d, (a - a_used) - (b - b_used))
}

fn reduce(x: Real<'_>) -> Reduced<'_> {
    let [p0, p1, p2, p3] = table(x).half_pi;
    let step = x.format().integer_step();
    let n = x.mul_add(std::f64::consts::FRAC_2_PI, step);
    let quadrant = n.bits();
    let n = n - step;
    let first = x - n * p0; // exact: the two are close, or n is 0
    let (second, error) = difference(first, n * p1);
    let (third, more_error) = difference(second, n * p2);
    let low = (error + more_error) - n * p3;
    let high = third + low;
    Reduced { high, low: (third - high) + low, quadrant }
}

impl<'l> Reduced<'l> {
    /// fdlibm's k_sin.c: a number less a smaller one.
    fn sine(&self) -> [Real<'l>; 2] {
        let (r, low) = (self.high, self.low);
        let z = r * r;
        let v = z * r;
        let series = table(r).sine;
        let rest = z.polynomial(&series[1..]);
        [r, z.mul_add(low * 0.5 - v * rest, -low) - v * series[0]]
    }

    /// fdlibm's k_cos.c: as above.
    fn cosine(&self) -> [Real<'l>; 2] {
        let (r, low) = (self.high, self.low);
        let z = r * r;
        let half = z * 0.5;
        let w = 1.0 - half;
        [w, (r * low - z * z.polynomial(table(r).cosine) * z) - ((1.0 - w) - half)]
    }

    /// The value in each quadrant: `even` in quadrants 0 and 2 and `odd` in the others, negative in the second pair.
    fn by_quadrant(&self, quadrant: Bits<'l>, even: Real<'l>, odd: Real<'l>) -> Real<'l> {
        quadrant.is_even().select(even, odd).flipped((quadrant >> 1).lowest_as_sign())
    }
}

fn with_library<'l>(x: Real<'l>, function: Function, result: Real<'l>) -> Real<'l> {
    let is_huge = x.constant(table(x).huge).less(x.abs());
    result.patched(is_huge, function, x)
}

/// The number that two stand for.
fn joined<'l>([a, b]: [Real<'l>; 2]) -> Real<'l> {
    a - b
}

/// `sin x`.
pub fn sin(x: Real<'_>) -> Real<'_> {
    let r = reduce(x);
    with_library(x, Function::Sin, r.by_quadrant(r.quadrant, joined(r.sine()), joined(r.cosine())))
}

/// `cos x`: the sine one quadrant further.
pub fn cos(x: Real<'_>) -> Real<'_> {
    let r = reduce(x);
    with_library(x, Function::Cos, r.by_quadrant(r.quadrant + 1, joined(r.sine()), joined(r.cosine())))
}

/// `tan x`: sine by cosine, or minus cosine by sine, and what the quotient leaves of them.
pub fn tan(x: Real<'_>) -> Real<'_> {
    let r = reduce(x);
    let is_even = r.quadrant.is_even();
    let [sine, cosine] = [r.sine(), r.cosine()].map(|[a, b]| {
        let high = a - b;
        [high, (a - high) - b]
    });
    let above: [_; 2] = std::array::from_fn(|part| is_even.select(sine[part], -cosine[part]));
    let below: [_; 2] = std::array::from_fn(|part| is_even.select(cosine[part], sine[part]));
    let inverse = 1.0 / below[0];
    let quotient = above[0] * inverse;
    let excess = quotient.mul_add(below[0], -above[0]) + (quotient * below[1] - above[1]);
    with_library(x, Function::Tan, quotient - excess * inverse)
}
