//! How far the functions of generated code are from the correctly rounded result, in units in the last place: in f32
//! and f64, on vectors and scalars, on this processor and on a baseline one. The reference for f32 is f64; that for
//! f64 is pxfm, whose functions round correctly.
//!
//! `HITOFUDE_SWEEP=full cargo test --release --test accuracy -- --nocapture` sweeps every f32 and 10⁸ f64, of one
//! function only with `HITOFUDE_SWEEP_ONLY=exp`.

use hitofude::prelude::*;
use hitofude::{Cpu, Executable, Options};
use ndarray::Array1;

/// A function, its exact values for f32 arguments, its rounded values for f64 arguments, and the bound.
struct Case {
    name: &'static str,
    build: for<'g> fn(Tensor<'g>, Tensor<'g>) -> Tensor<'g>,
    narrow: fn(f64, f64) -> f64,
    wide: fn(f64, f64) -> f64,
    bound: f64,
}

macro_rules! cases {
    ($($name:ident($x:ident $(, $y:ident)?) = $narrow:expr, $wide:expr, $bound:expr;)*) => {
        &[$(Case {
            name: stringify!($name),
            build: |$x, _y| { $(let $y = _y;)? $x.$name($($y)?) },
            narrow: |$x, _y| { $(let $y = _y;)? $narrow($x $(, $y)?) },
            wide: |$x, _y| { $(let $y = _y;)? $wide($x $(, $y)?) },
            bound: $bound,
        }),*]
    };
}

const CASES: &[Case] = cases! {
    exp(x) = f64::exp, pxfm::f_exp, 2.0;
    expm1(x) = f64::exp_m1, pxfm::f_expm1, 2.0;
    log(x) = f64::ln, pxfm::f_log, 2.0;
    log1p(x) = f64::ln_1p, pxfm::f_log1p, 2.0;
    sin(x) = f64::sin, pxfm::f_sin, 2.0;
    cos(x) = f64::cos, pxfm::f_cos, 2.0;
    tan(x) = f64::tan, pxfm::f_tan, 2.0;
    asin(x) = f64::asin, pxfm::f_asin, 2.0;
    acos(x) = f64::acos, pxfm::f_acos, 2.0;
    atan(x) = f64::atan, pxfm::f_atan, 2.0;
    sinh(x) = f64::sinh, pxfm::f_sinh, 2.0;
    cosh(x) = f64::cosh, pxfm::f_cosh, 2.0;
    tanh(x) = f64::tanh, pxfm::f_tanh, 2.0;
    sigmoid(x) = logistic, logistic, 2.0;
    softplus(x) = softplus, softplus, 2.0;
    erf(x) = pxfm::f_erf, pxfm::f_erf, 2.0;
    floor(x) = f64::floor, f64::floor, 0.0;
    ceil(x) = f64::ceil, f64::ceil, 0.0;
    round(x) = f64::round_ties_even, f64::round_ties_even, 0.0;
    // In f64 these two are the library's; pxfm loses results that underflow.
    atan2(x, y) = f64::atan2, f64::atan2, 2.0;
    pow(x, y) = f64::powf, f64::powf, 2.0;
};

/// pxfm's, which loses results that underflow: from −40 on down it is eˣ, as far as f64 goes.
fn logistic(x: f64) -> f64 {
    if x < -40.0 { x.exp() } else { pxfm::f_logistic(x) }
}

/// Two roundings of numbers from 0 to 1, and one more above 0.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + pxfm::f_log1p((-x.abs()).exp())
}

/// Arguments where the functions have limits, turn or round in a special way.
const SPECIAL: &[f64] = &[
    0.0,
    -0.0,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
    1.0,
    -1.0,
    0.5,
    -0.5,
    2.0,
    3.0,
    -3.0,
    16_777_215.0,
    -16_777_217.0,
    1e-45,
    -1e-45,
    1e-39,
    f32::MIN_POSITIVE as f64,
    f32::MAX as f64,
    f32::MIN as f64,
    5e-324,
    f64::MIN_POSITIVE,
    f64::MAX,
    f64::MIN,
    88.72,
    89.4,
    710.4,
    -104.0,
    -745.13,
    7.0e5,
    1e22,
];

/// Elements of one call: a few left over after whole vectors.
const CHUNK: usize = 4099;

/// Elements of a program small enough to become straight-line code.
const FEW: usize = 5;

fn is_full() -> bool {
    std::env::var("HITOFUDE_SWEEP").is_ok_and(|sweep| sweep == "full")
}

/// The case compiled over this many elements for each kind of processor.
fn compile(case: &Case, dtype: DType, elements: usize) -> [Executable; 3] {
    let g = Graph::new();
    let (x, y) = (g.input("x", [elements], dtype), g.input("y", [elements], dtype));
    // Inputs that nothing reads are no inputs.
    let used = g.function().output("z", (case.build)(x, y)).output("y", y);
    [Cpu::Native, Cpu::WithoutAvx512, Cpu::Baseline]
        .map(|cpu| used.compile_with(&Options { cpu, ..Options::default() }).unwrap())
}

/// A number between 2⁻⁷ and 2⁷ with either sign: of two such, most functions are ordinary numbers.
fn moderate<T: Number>(i: u64) -> T {
    let unit = |i: u64| scrambled(i) as f64 / u64::MAX as f64;
    T::from_f64((unit(i) * 14.0 - 7.0).exp2().copysign(unit(!i) - 0.3))
}

/// The floating-point types under test.
trait Number: hitofude::Element {
    /// The argument number `i` of `count`.
    fn sample(i: u64, count: u64) -> Self;
    fn from_f64(x: f64) -> Self;
    fn to_f64(self) -> f64;
    fn bits(self) -> u64;
    /// The distance to the result for these arguments, in units of the result's last place.
    fn error(self, case: &Case, x: Self, y: Self) -> f64;
}

/// A sequence that looks random, of 64 bits.
fn scrambled(i: u64) -> u64 {
    let mut x = i.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Number for f32 {
    /// All bit patterns, or one at random of every so many.
    fn sample(i: u64, count: u64) -> f32 {
        let step = (1 << 32) / count;
        f32::from_bits((i * step + scrambled(i) % step) as u32)
    }

    fn from_f64(x: f64) -> f32 {
        x as f32
    }

    fn to_f64(self) -> f64 {
        self.into()
    }

    fn bits(self) -> u64 {
        self.to_bits().into()
    }

    fn error(self, case: &Case, x: f32, y: f32) -> f64 {
        let exact = (case.narrow)(x.into(), y.into());
        if exact.is_nan() || self.is_nan() {
            return if exact.is_nan() && self.is_nan() { 0.0 } else { f64::INFINITY };
        }
        if exact.is_sign_negative() != self.is_sign_negative() {
            return f64::INFINITY;
        }
        // What overflows lies at 2¹²⁸.
        let top = 2f64.powi(128);
        let (exact, actual) = (exact.clamp(-top, top), f64::from(self).clamp(-top, top));
        let exponent = (exact.abs().max(f64::from(f32::MIN_POSITIVE)).to_bits() >> 52) as i32 - 1023;
        (actual - exact).abs() / 2f64.powi(exponent.min(127) - 23)
    }
}

impl Number for f64 {
    /// A quarter any bit pattern, the rest with exponents from -60 to 12, where the functions are not constant.
    fn sample(i: u64, _: u64) -> f64 {
        let bits = scrambled(i);
        if i.is_multiple_of(4) {
            return f64::from_bits(bits);
        }
        let exponent = 1023 - 60 + scrambled(!i) % 73;
        f64::from_bits(bits & (1 << 63 | ((1 << 52) - 1)) | exponent << 52)
    }

    fn from_f64(x: f64) -> f64 {
        x
    }

    fn to_f64(self) -> f64 {
        self
    }

    fn bits(self) -> u64 {
        self.to_bits()
    }

    fn error(self, case: &Case, x: f64, y: f64) -> f64 {
        // The library, a few units off at most, knows better where pxfm fails: sinh of −0, NaN to the power of 0, and
        // some e^x that are subnormal.
        let (known, rounded) = ((case.narrow)(x, y), (case.wide)(x, y));
        let expected = if distance(known, rounded) > 4.0 { known } else { rounded };
        distance(expected, self)
    }
}

/// How many numbers apart: infinitely many, if one is NaN or negative and the other is not.
fn distance(a: f64, b: f64) -> f64 {
    match a.is_nan() || b.is_nan() {
        true if a.is_nan() && b.is_nan() => 0.0,
        false if a.is_sign_negative() == b.is_sign_negative() => {
            a.abs().to_bits().abs_diff(b.abs().to_bits()) as f64
        }
        _ => f64::INFINITY,
    }
}

fn run<T: Number>(code: &Executable, x: &[T], y: &[T]) -> Vec<T>
where
    Value: From<ndarray::ArrayD<T>>,
{
    let array = |x: &[T]| Value::from(Array1::from(x.to_vec()).into_dyn());
    let inputs = code.inputs().with("x", array(x)).unwrap().with("y", array(y)).unwrap();
    let mut state = code.state();
    let report = code.run(&mut state, &inputs).unwrap();
    report.view::<T>("z").unwrap().iter().copied().collect()
}

/// The worst error of a case on each kind of processor, and where.
fn sweep<T: Number>(case: &Case, count: u64) -> [(f64, f64); 3]
where
    Value: From<ndarray::ArrayD<T>>,
{
    let vectors = compile(case, T::DTYPE, CHUNK);
    let scalars = compile(case, T::DTYPE, FEW);
    let mut worst = [(0.0, 0.0); 3];
    let pairs = SPECIAL.iter().flat_map(|x| SPECIAL.iter().map(move |y| (T::from_f64(*x), T::from_f64(*y))));
    let at = |i: u64| T::sample(i % count, count);
    let arguments = pairs.chain((0..count).map(|i| (at(i), at(scrambled(i + 1)))));
    let arguments = arguments.chain((0..count / 4).map(|i| (moderate(i), moderate(!i))));
    let mut arguments = arguments.chain(std::iter::repeat((T::from_f64(1.5), T::from_f64(2.5))));
    let total = (count + count / 4) as usize + SPECIAL.len() * SPECIAL.len();
    for _ in 0..total.div_ceil(CHUNK) {
        let (x, y): (Vec<T>, Vec<T>) = arguments.by_ref().take(CHUNK).unzip();
        let results: [Vec<T>; 3] = std::array::from_fn(|cpu| run(&vectors[cpu], &x, &y));
        assert!(
            results[0].iter().zip(&results[1]).all(|(a, b)| a.bits() == b.bits() || a.to_f64().is_nan()),
            "{}: wide vectors differ from narrow ones near {:e}",
            case.name,
            x[0].to_f64()
        );
        for (cpu, z) in results.into_iter().enumerate() {
            let few = run(&scalars[cpu], &x[..FEW], &y[..FEW]);
            // Powers of single numbers are the library's.
            assert!(
                case.name == "pow"
                    || few.iter().zip(&z).all(|(a, b)| a.bits() == b.bits() || a.to_f64().is_nan()),
                "{}: a scalar differs from a lane near {:e}",
                case.name,
                x[0].to_f64()
            );
            let all = x.iter().zip(&y).zip(z).chain(x.iter().zip(&y).zip(few));
            for ((&x, &y), z) in all {
                let error = z.error(case, x, y);
                if error > worst[cpu].0 {
                    worst[cpu] = (error, x.to_f64());
                }
            }
        }
    }
    worst
}

#[test]
fn errors_are_a_few_units_in_the_last_place() {
    let (narrow, wide) = if is_full() { (1 << 32, 100_000_000) } else { (1 << 20, 1_000_000) };
    let only = std::env::var("HITOFUDE_SWEEP_ONLY").ok();
    let mut wrong = Vec::new();
    let columns = ["f32", "f64"]
        .map(|ty| ["", ", without AVX-512", ", baseline"].map(|cpu| format!("{:>28}", format!("{ty}{cpu}"))));
    println!("{:>6} {}", "", columns.concat().join(" "));
    for case in CASES.iter().filter(|case| only.as_deref().is_none_or(|only| only == case.name)) {
        let worst = [sweep::<f32>(case, narrow), sweep::<f64>(case, wide)].concat();
        let cells: Vec<String> =
            worst.iter().map(|(error, at)| format!("{error:>8.3} at {at:<16.8e}")).collect();
        println!("{:>6} {}", case.name, cells.join(" "));
        if worst.iter().any(|worst| worst.0 > case.bound) {
            wrong.push(case.name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:?} are not within their bounds");
}
