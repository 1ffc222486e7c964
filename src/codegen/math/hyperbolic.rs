//! Hyperbolic functions, from `eˣ − 1`: one division each.

use super::exp;
use super::lanes::Real;

/// For one format.
struct Table {
    /// Up to here tanh is an odd polynomial.
    near: f64,
    /// `(tanh(x)/x − 1)/x²` as a polynomial in x²: minimax by Remez' algorithm in 50 digits.
    tanh: &'static [f64],
    /// From here on tanh is 1.
    saturated: f64,
    /// From here on `e^|x| + 1` is `e^|x|`.
    large: f64,
    /// `(sinh(x)/x − 1)/x²` as a polynomial in x², for |x| ≤ 1: Taylor's, to 2⁻³² and 2⁻⁵⁶.
    sinh: &'static [f64],
}

/// The error of the polynomial for tanh is 2⁻²⁶.
const F32: Table = Table {
    near: 0.3,
    tanh: &[-0.333_330_631_256_103_5, 0.133_149_087_429_046_63, -0.050_372_321_158_647_54],
    saturated: 9.05,
    large: 1e9,
    sinh: &[1.0 / 6.0, 1.0 / 120.0, 1.0 / 5_040.0, 1.0 / 362_880.0, 1.0 / 39_916_800.0],
};

/// The error of the polynomial for tanh is 2⁻⁶⁰.
const F64: Table = Table {
    near: 0.3,
    tanh: &[
        -0.333_333_333_333_332_65,
        0.133_333_333_333_074_6,
        -0.053_968_253_936_078_81,
        0.021_869_486_603_707_886,
        -0.008_863_171_288_043_111,
        0.003_590_880_543_563_140_5,
        -0.001_441_699_756_033_428_6,
        0.000_502_576_836_005_009_7,
    ],
    saturated: 19.1,
    large: 1e18,
    sinh: &[
        1.0 / 6.0,
        1.0 / 120.0,
        1.0 / 5_040.0,
        1.0 / 362_880.0,
        1.0 / 39_916_800.0,
        1.0 / 6_227_020_800.0,
        1.0 / 1_307_674_368_000.0,
        1.0 / 355_687_428_096_000.0,
    ],
};

fn table(x: Real<'_>) -> &'static Table {
    x.pick(&F32, &F64)
}

/// `x + x³·(c₀ + c₁x² + …)`.
fn odd<'l>(x: Real<'l>, coefficients: &[f64]) -> Real<'l> {
    let square = x * x;
    (square * square.polynomial(coefficients)).mul_add(x, x)
}

/// With `e = e^(2|x|) − 1`: `e/(e + 2)`; near 0, where that adds up roundings, a polynomial.
pub fn tanh(x: Real<'_>) -> Real<'_> {
    let Table { near, tanh, saturated, .. } = *table(x);
    let magnitude = x.abs();
    let bounded = magnitude.at_most(saturated);
    let (q, scale) = exp::factors(bounded + bounded, 0);
    let e = q.mul_add(scale, scale - 1.0);
    let far = e / (e + 2.0);
    let close = odd(magnitude, tanh);
    magnitude.less(near).select(close, far).flipped(x.sign())
}

/// With `h = (e^|x| − 1)/2`: `h + h/(2h + 1)`; up to 1, where that adds up roundings, a polynomial.
pub fn sinh(x: Real<'_>) -> Real<'_> {
    let magnitude = x.abs();
    let quarter = exp::quarter_of_expm1(magnitude);
    let h = quarter + quarter;
    let bounded = h.at_most(table(x).large);
    let far = h + bounded / (bounded + bounded + 1.0);
    let close = odd(magnitude, table(x).sinh);
    magnitude.less(1.0).select(close, far).flipped(x.sign())
}

/// With `h = e^|x|/2`: `h + ¼/h`.
pub fn cosh(x: Real<'_>) -> Real<'_> {
    let quarter = exp::quarter_of_exp(x.abs());
    let h = quarter + quarter;
    h + 0.25 / h
}
