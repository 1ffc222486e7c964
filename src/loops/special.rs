//! Scalar functions that the standard library lacks: one definition for the interpreter and for native code.

use num_traits::Float;

/// A float type with the functions of this module.
pub(crate) trait Special: Float {
    /// The number whose error function this is, by the polynomials of Giles, "Approximating the erfinv function" (GPU
    /// Computing Gems, 2011), as XLA has them: ±∞ at ±1, NaN outside. Near ±1 the rounding of x² counts.
    fn erf_inv(self) -> Self;
}

impl Special for f32 {
    fn erf_inv(self) -> f32 {
        if self.abs() == 1.0 {
            return self * f32::INFINITY;
        }
        let w = -(-self * self).ln_1p();
        self * if w < 5.0 { horner(&NEAR_F32, w - 2.5) } else { horner(&FAR_F32, w.sqrt() - 3.0) }
    }
}

impl Special for f64 {
    fn erf_inv(self) -> f64 {
        if self.abs() == 1.0 {
            return self * f64::INFINITY;
        }
        let w = -(-self * self).ln_1p();
        let p = match w {
            w if w < 6.25 => horner(&NEAR_F64, w - 3.125),
            w if w < 16.0 => horner(&MIDDLE_F64, w.sqrt() - 3.25),
            w => horner(&FAR_F64, w.sqrt() - 5.0),
        };
        self * p
    }
}

/// The polynomial at `x`, its coefficients given from the highest power down.
fn horner<T: Float>(coefficients: &[T], x: T) -> T {
    coefficients.iter().fold(T::zero(), |sum, &c| sum * x + c)
}

/// In w − 2.5, where w = −ln(1 − x²) < 5.
const NEAR_F32: [f32; 9] = [
    2.8102264e-8,
    3.4327394e-7,
    -3.5233877e-6,
    -4.3915065e-6,
    0.00021858087,
    -0.001253725,
    -0.0041776816,
    0.24664073,
    1.5014094,
];

/// In √w − 3, elsewhere.
const FAR_F32: [f32; 9] = [
    -0.00020021426,
    0.00010095056,
    0.0013493432,
    -0.0036734284,
    0.0057395077,
    -0.0076224613,
    0.0094388705,
    1.001674,
    2.8329768,
];

/// In w − 3.125, where w < 6.25.
const NEAR_F64: [f64; 23] = [
    -3.64441206401782e-21,
    -1.6850591381820166e-19,
    1.28584807152564e-18,
    1.1157877678025181e-17,
    -1.333171662854621e-16,
    2.0972767875968562e-17,
    6.637638134358324e-15,
    -4.054566272975207e-14,
    -8.151934197605472e-14,
    2.6335093153082323e-12,
    -1.2975133253453532e-11,
    -5.415412054294628e-11,
    1.0512122733215323e-09,
    -4.112633980346984e-09,
    -2.9070369957882005e-08,
    4.2347877827932404e-07,
    -1.3654692000834679e-06,
    -1.3882523362786469e-05,
    0.00018673420803405714,
    -0.000740702534166267,
    -0.006033670871430149,
    0.24015818242558962,
    1.6536545626831027,
];

/// In √w − 3.25, where w < 16.
const MIDDLE_F64: [f64; 19] = [
    2.2137376921775787e-09,
    9.075656193888539e-08,
    -2.7517406297064545e-07,
    1.8239629214389228e-08,
    1.5027403968909828e-06,
    -4.013867526981546e-06,
    2.9234449089955446e-06,
    1.2475304481671779e-05,
    -4.7318229009055734e-05,
    6.828485145957318e-05,
    2.4031110387097894e-05,
    -0.0003550375203628475,
    0.0009532893797373805,
    -0.0016882755560235047,
    0.002491442096107851,
    -0.003751208507569241,
    0.005370914553590064,
    1.0052589676941592,
    3.0838856104922208,
];

/// In √w − 5, elsewhere.
const FAR_F64: [f64; 17] = [
    -2.7109920616438573e-11,
    -2.555641816996525e-10,
    1.5076572693500548e-09,
    -3.789465440126737e-09,
    7.61570120807834e-09,
    -1.496002662714924e-08,
    2.914795345090108e-08,
    -6.771199775845234e-08,
    2.2900482228026655e-07,
    -9.9298272942317e-07,
    4.526062597223154e-06,
    -1.968177810553167e-05,
    7.599527703001776e-05,
    -0.00021503011930044477,
    -0.00013871931833623122,
    1.0103004648645344,
    4.849906401408584,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erf_of_erf_inv_is_the_identity() {
        for i in -9_999..10_000 {
            let x = f64::from(i) / 10_000.0;
            assert!((libm::erf(x.erf_inv()) - x).abs() < 4e-16, "{x}");
            assert!((libm::erf(f64::from((x as f32).erf_inv())) - f64::from(x as f32)).abs() < 2e-7, "{x}");
        }
        // Where the complement is small, held against it; here the square is exact.
        for exponent in 5..27 {
            let rest = (-f64::from(exponent)).exp2();
            let y = (1.0 - rest).erf_inv();
            assert!((libm::erfc(y) / rest - 1.0).abs() < 1e-13, "1 - 2^-{exponent}: {y}");
            assert_eq!((rest - 1.0).erf_inv(), -y);
        }
        assert_eq!([1.0, -1.0, 0.0].map(f64::erf_inv), [f64::INFINITY, f64::NEG_INFINITY, 0.0]);
        assert!(
            (-0.0f32).erf_inv().is_sign_negative()
                && 1.5f64.erf_inv().is_nan()
                && f32::NAN.erf_inv().is_nan()
        );
    }
}
