//! Scalar functions that the standard library lacks: one definition for the interpreter and for native code.

use num_traits::{AsPrimitive, Float};

/// A float type with the functions of this module.
pub(crate) trait Special: Float {
    /// The number whose error function this is: ±∞ at ±1, NaN outside. Near ±1 the rounding of x² counts.
    fn erf_inv(self) -> Self;
}

impl Special for f32 {
    fn erf_inv(self) -> f32 {
        erf_inv(self, ERF_INV_F32)
    }
}

impl Special for f64 {
    fn erf_inv(self) -> f64 {
        erf_inv(self, ERF_INV_F64)
    }
}

/// A part of `erf⁻¹(x)/x`, a function of `w = −ln(1 − x²)`.
pub(crate) struct Piece {
    /// It is for w below this, and not below that of the piece before.
    pub until: f64,
    /// Whether it is a polynomial in √w, not w,
    pub of_root: bool,
    /// less this.
    pub center: f64,
    /// From the lowest power up.
    pub coefficients: &'static [f64],
}

fn erf_inv<T: Float + 'static>(x: T, pieces: &[Piece]) -> T
where
    f64: AsPrimitive<T>,
{
    let w = -(-x * x).ln_1p();
    let piece = pieces.iter().find(|piece| w < piece.until.as_());
    x * piece.map_or(w, |piece| {
        let argument = if piece.of_root { w.sqrt() } else { w } - piece.center.as_();
        piece.coefficients.iter().rev().fold(T::zero(), |sum, &c| sum * argument + c.as_())
    })
}

/// Giles, "Approximating the erfinv function" (GPU Computing Gems, 2011), as XLA has it.
pub(crate) const ERF_INV_F32: &[Piece] = &[
    Piece {
        until: 5.0,
        of_root: false,
        center: 2.5,
        coefficients: &[
            1.5014094,
            0.24664073,
            -0.0041776816,
            -0.001253725,
            0.00021858087,
            -4.3915065e-6,
            -3.5233877e-6,
            3.4327394e-7,
            2.8102264e-8,
        ],
    },
    Piece {
        until: f64::INFINITY,
        of_root: true,
        center: 3.0,
        coefficients: &[
            2.8329768,
            1.001674,
            0.0094388705,
            -0.0076224613,
            0.0057395077,
            -0.0036734284,
            0.0013493432,
            0.00010095056,
            -0.00020021426,
        ],
    },
];

/// As above.
pub(crate) const ERF_INV_F64: &[Piece] = &[
    Piece {
        until: 6.25,
        of_root: false,
        center: 3.125,
        coefficients: &[
            1.6536545626831027,
            0.24015818242558962,
            -0.006033670871430149,
            -0.000740702534166267,
            0.00018673420803405714,
            -1.3882523362786469e-05,
            -1.3654692000834679e-06,
            4.2347877827932404e-07,
            -2.9070369957882005e-08,
            -4.112633980346984e-09,
            1.0512122733215323e-09,
            -5.415412054294628e-11,
            -1.2975133253453532e-11,
            2.6335093153082323e-12,
            -8.151934197605472e-14,
            -4.054566272975207e-14,
            6.637638134358324e-15,
            2.0972767875968562e-17,
            -1.333171662854621e-16,
            1.1157877678025181e-17,
            1.28584807152564e-18,
            -1.6850591381820166e-19,
            -3.64441206401782e-21,
        ],
    },
    Piece {
        until: 16.0,
        of_root: true,
        center: 3.25,
        coefficients: &[
            3.0838856104922208,
            1.0052589676941592,
            0.005370914553590064,
            -0.003751208507569241,
            0.002491442096107851,
            -0.0016882755560235047,
            0.0009532893797373805,
            -0.0003550375203628475,
            2.4031110387097894e-05,
            6.828485145957318e-05,
            -4.7318229009055734e-05,
            1.2475304481671779e-05,
            2.9234449089955446e-06,
            -4.013867526981546e-06,
            1.5027403968909828e-06,
            1.8239629214389228e-08,
            -2.7517406297064545e-07,
            9.075656193888539e-08,
            2.2137376921775787e-09,
        ],
    },
    Piece {
        until: f64::INFINITY,
        of_root: true,
        center: 5.0,
        coefficients: &[
            4.849906401408584,
            1.0103004648645344,
            -0.00013871931833623122,
            -0.00021503011930044477,
            7.599527703001776e-05,
            -1.968177810553167e-05,
            4.526062597223154e-06,
            -9.9298272942317e-07,
            2.2900482228026655e-07,
            -6.771199775845234e-08,
            2.914795345090108e-08,
            -1.496002662714924e-08,
            7.61570120807834e-09,
            -3.789465440126737e-09,
            1.5076572693500548e-09,
            -2.555641816996525e-10,
            -2.7109920616438573e-11,
        ],
    },
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
