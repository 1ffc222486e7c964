//! The error function: an odd polynomial near 0, and `1 − e^(−g(|x|))` beyond; and its inverse.

use super::lanes::Real;
use super::{exp, log};
use crate::loops::{ERF_INV_F32, ERF_INV_F64};

/// For one format.
struct Table {
    /// Where the formulas meet.
    near: f64,
    /// `erf(x)/x − 1` as a polynomial in x².
    odd: &'static [f64],
    /// `g(t) = −ln erfc(t)`, minimax with the weight erfc(t).
    exponent: &'static [f64],
    /// From here on the result is 1.
    saturated: f64,
}

// Minimax by Remez' algorithm in 50 digits; the errors are 2⁻³¹ and 2⁻³⁵. The form is Norbert Juffa's.
const F32: Table = Table {
    near: 0.93,
    odd: &[
        0.128_379_166_126_251_22,
        -0.376_126_348_972_320_56,
        0.112_836_942_076_683_04,
        -0.026_859_270_408_749_58,
        0.005_200_634_710_490_704,
        -0.000_813_744_030_892_849,
        8.345_225_069_206_208e-5,
    ],
    exponent: &[
        -0.000_178_453_439_730_219_54,
        1.129_533_171_653_747_6,
        0.633_309_841_156_005_9,
        0.108_321_085_572_242_74,
        -0.025_146_087_631_583_214,
        0.004_181_244_410_574_436,
        -0.000_436_575_617_641_210_56,
        2.127_881_271_007_936_4e-5,
    ],
    saturated: 3.93,
};

// As above; the errors are 2⁻⁶³ and 2⁻⁵⁹.
const F64: Table = Table {
    near: 1.0,
    odd: &[
        0.128_379_167_095_512_6,
        -0.376_126_389_031_837_5,
        0.112_837_916_709_548_85,
        -0.026_866_170_645_077_875,
        0.005_223_977_624_828_431,
        -0.000_854_832_698_142_554_2,
        0.000_120_553_311_329_558_2,
        -1.492_559_577_218_090_6e-5,
        1.646_100_847_780_27e-6,
        -1.635_039_622_286_461_7e-7,
        1.466_032_872_274_226e-8,
        -1.137_495_573_607_015e-9,
        5.960_685_338_520_971e-11,
    ],
    exponent: &[
        1.844_312_872_841_277_8e-07,
        1.128_377_281_931_835_8,
        0.636_628_705_925_881_2,
        0.102_746_636_178_469_48,
        -0.019_076_942_327_229_757,
        -0.000_282_247_967_175_017_8,
        0.001_770_947_163_710_167,
        -0.000_642_852_695_366_825_7,
        4.596_902_806_602_904e-05,
        6.974_327_796_841_38e-05,
        -4.476_677_979_376_364e-05,
        1.642_038_217_860_462_2e-05,
        -4.301_473_013_325_498e-06,
        8.451_255_917_825_213e-07,
        -1.248_195_284_540_997_2e-07,
        1.352_082_031_339_450_6e-08,
        -1.016_925_463_386_841_1e-09,
        4.751_053_856_115_485_5e-11,
        -1.038_886_270_731_019_1e-12,
    ],
    saturated: 5.93,
};

/// `2/√π · ∫₀ˣ e^(−t²) dt`.
pub fn erf(x: Real<'_>) -> Real<'_> {
    let table = x.pick(&F32, &F64);
    let magnitude = x.abs();
    let inner = (x * x).polynomial(table.odd).mul_add(magnitude, magnitude);
    let t = magnitude.at_most(table.saturated);
    let outer = 1.0 - exp::exp_within(-t.polynomial(table.exponent));
    magnitude.less(table.near).select(inner, outer).flipped(x.sign())
}

/// The number whose error function is x, by the interpreter's polynomials.
pub fn erf_inv(x: Real<'_>) -> Real<'_> {
    let w = -log::log1p(-(x * x));
    let root = w.sqrt();
    let pieces = x.pick(ERF_INV_F32, ERF_INV_F64);
    // Beyond all pieces are ∞ and NaN.
    let factor = pieces.iter().rev().fold(w, |beyond, piece| {
        let argument = if piece.of_root { root } else { w } - piece.center;
        w.less(piece.until).select(argument.polynomial(piece.coefficients), beyond)
    });
    x * factor
}
