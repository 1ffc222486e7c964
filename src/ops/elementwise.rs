//! Elementwise operators: a scalar function at every element of operands of one shape.

use std::fmt;
use std::ops::{Neg, Not};

use super::{Emitter, Mapped, Op, Rules, Site, Tensor, Types, expect_operands, with_axes};
use crate::error::{Result, TypeError};
use crate::graph::OpText;
use crate::loops::{Affine, Binary, Compare, Instr, Unary, Var};
use crate::types::{DType, Scalar, Shape, TensorType, Value};

mod evaluate;
mod operand;

pub(super) use evaluate::binary;
pub use operand::Operand;

/// A scalar function applied to whole tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Elementwise {
    Unary(Unary),
    Binary(Binary),
    Compare(Compare),
    /// The second operand where the first is true, else the third.
    Select,
    /// Conversion of the element type.
    Cast(DType),
    /// The identity, whose derivative is zero.
    StopGradient,
    /// The identity, which no pass sees through: what is computed from it is computed anew.
    Barrier,
}

impl Elementwise {
    /// Whether it takes a formula of many instructions, as exp does.
    pub(crate) fn is_function(self) -> bool {
        match self {
            Elementwise::Unary(f) => !matches!(
                f,
                Unary::Neg
                    | Unary::Abs
                    | Unary::Sign
                    | Unary::Floor
                    | Unary::Ceil
                    | Unary::Round
                    | Unary::Not
                    | Unary::Sqrt
            ),
            Elementwise::Binary(f) => matches!(f, Binary::Pow | Binary::Atan2 | Binary::Rem),
            _ => false,
        }
    }
}

impl Rules for Elementwise {
    fn name(&self) -> &'static str {
        match self {
            Elementwise::Unary(f) => f.name(),
            Elementwise::Binary(f) => f.name(),
            Elementwise::Compare(f) => f.name(),
            Elementwise::Select => "select",
            Elementwise::Cast(_) => "cast",
            Elementwise::StopGradient => "stop_gradient",
            Elementwise::Barrier => "barrier",
        }
    }

    fn infer(&self, operands: &[TensorType]) -> Result<TensorType, TypeError> {
        match *self {
            Elementwise::Unary(f) => infer_unary(f, expect_operands(operands)?),
            Elementwise::Binary(f) => infer_binary(f, expect_operands(operands)?),
            Elementwise::Compare(_) => {
                let [a, b] = expect_operands(operands)?;
                same_type(a, b).map(|ty| TensorType { dtype: DType::Bool, ..ty })
            }
            Elementwise::Select => {
                let [condition, a, b] = expect_operands(operands)?;
                if condition.dtype != DType::Bool {
                    return Err(TypeError::DType { ty: condition, expected: "a bool condition" });
                }
                same_shape(condition, a)?;
                same_type(a, b)
            }
            Elementwise::Cast(dtype) => expect_operands(operands).map(|[x]| TensorType { dtype, ..x }),
            Elementwise::StopGradient | Elementwise::Barrier => expect_operands(operands).map(|[x]| x),
        }
    }

    fn vjp<'g>(&self, site: &Site<'g>, operand: usize, dy: Tensor<'g>) -> Option<Tensor<'g>> {
        let (x, y) = (&site.operands, site.result);
        match *self {
            Elementwise::Unary(f) => unary_derivative(f, x[0], y, dy),
            Elementwise::Binary(f) => binary_derivative(f, x[0], x[1], y, operand, dy),
            Elementwise::Select => (operand > 0).then_some(dy), // and the gate
            Elementwise::Cast(_) => x[0].dtype().is_float().then(|| dy.cast(x[0].dtype())),
            Elementwise::Barrier => Some(dy),
            Elementwise::Compare(_) | Elementwise::StopGradient => None,
        }
    }

    fn gate<'g>(&self, site: &Site<'g>, operand: usize) -> Option<Tensor<'g>> {
        match (self, operand) {
            (Elementwise::Select, 1) => Some(site.operands[0]),
            (Elementwise::Select, 2) => Some(!site.operands[0]),
            _ => None,
        }
    }

    fn jvp<'g>(&self, site: &Site<'g>, tangents: &[Option<Tensor<'g>>]) -> Option<Tensor<'g>> {
        let (x, y) = (&site.operands, site.result);
        let terms = tangents.iter().enumerate().filter_map(|(operand, dx)| match *self {
            Elementwise::Unary(f) => unary_derivative(f, x[0], y, (*dx)?),
            Elementwise::Binary(f) => binary_derivative(f, x[0], x[1], y, operand, (*dx)?),
            Elementwise::Select => {
                let zero = y.constant_like(0.0);
                match operand {
                    1 => Some(x[0].select((*dx)?, zero)),
                    2 => Some(x[0].select(zero, (*dx)?)),
                    _ => None,
                }
            }
            Elementwise::Cast(dtype) => dtype.is_float().then_some((*dx)?.cast(dtype)),
            Elementwise::Barrier => *dx,
            Elementwise::Compare(_) | Elementwise::StopGradient => None,
        });
        terms.reduce(|sum, term| sum + term)
    }

    fn batch<'g>(&self, operands: &[Mapped<'g>]) -> Tensor<'g> {
        Tensor::apply(Op::Elementwise(*self), &with_axes(operands))
    }

    fn evaluate(&self, operands: &[&Value], _: TensorType) -> Value {
        evaluate::elementwise(*self, operands)
    }

    fn lower(&self, types: &Types, index: &[Affine], emitter: &mut dyn Emitter) -> Var {
        let x: Vec<Var> = (0..types.operands.len()).map(|i| emitter.operand(i, index)).collect();
        let instr = match *self {
            Elementwise::Unary(f) => Instr::Unary(f, x[0]),
            Elementwise::Binary(f) => Instr::Binary(f, x[0], x[1]),
            Elementwise::Compare(f) => Instr::Compare(f, x[0], x[1]),
            Elementwise::Select => Instr::Select(x[0], x[1], x[2]),
            Elementwise::Cast(_) => Instr::Cast(x[0]),
            Elementwise::StopGradient | Elementwise::Barrier => return x[0],
        };
        emitter.emit(instr, types.result.dtype)
    }
}

/// `dy` times the derivative at `x`, where `y = f(x)`: the VJP and the JVP alike.
fn unary_derivative<'g>(f: Unary, x: Tensor<'g>, y: Tensor<'g>, dy: Tensor<'g>) -> Option<Tensor<'g>> {
    Some(match f {
        Unary::Neg => -dy,
        Unary::Abs => dy * x.sign(), // 0 at 0, as PyTorch
        Unary::Exp => dy * y,
        Unary::Expm1 => dy * (y + 1.0),
        Unary::Log => dy / x,
        Unary::Log1p => dy / (x + 1.0),
        Unary::Sqrt => dy / (2.0 * y), // ∞ at 0, as PyTorch
        Unary::Sin => dy * x.cos(),
        Unary::Cos => -(dy * x.sin()),
        Unary::Tan => dy * (1.0 + y * y),
        Unary::Asin => dy / (1.0 - x * x).sqrt(),
        Unary::Acos => -(dy / (1.0 - x * x).sqrt()),
        Unary::Atan => dy / (1.0 + x * x),
        Unary::Sinh => dy * x.cosh(),
        Unary::Cosh => dy * x.sinh(),
        Unary::Tanh => dy * (1.0 - y * y),
        Unary::Sigmoid => dy * (y - y * y),
        Unary::Softplus => dy * x.sigmoid(),
        Unary::Erf => dy * (std::f64::consts::FRAC_2_SQRT_PI * (-(x * x)).exp()),
        Unary::ErfInv => dy * (0.5 * std::f64::consts::PI.sqrt() * (y * y).exp()),
        Unary::Sign | Unary::Floor | Unary::Ceil | Unary::Round | Unary::Not => return None,
    })
}

/// `d` times the partial derivative of `y = f(a, b)` in one operand: the VJP and the JVP alike.
fn binary_derivative<'g>(
    f: Binary,
    a: Tensor<'g>,
    b: Tensor<'g>,
    y: Tensor<'g>,
    operand: usize,
    d: Tensor<'g>,
) -> Option<Tensor<'g>> {
    Some(match (f, operand) {
        (Binary::Add, _) | (Binary::Sub, 0) => d,
        (Binary::Sub, _) => -d,
        (Binary::Mul, 0) => d * b,
        (Binary::Mul, _) => d * a,
        (Binary::Div, 0) => d / b,
        (Binary::Div, _) => -(d * y / b),
        (Binary::Rem, 0) => d,
        (Binary::Rem, _) => -(d * (a / b).trunc()),
        (Binary::Atan2, 0) => d * b / (a * a + b * b),
        (Binary::Atan2, _) => -(d * a / (a * a + b * b)),
        // 0 for the exponent 0, whatever the base: x⁰ is constant.
        (Binary::Pow, 0) => b.equal(0.0).select(d.constant_like(0.0), d * b * a.pow(b - 1.0)),
        // 0 at the base 0: the limit from above for positive exponents.
        (Binary::Pow, _) => a.equal(0.0).select(d.constant_like(0.0), d * y * a.log()),
        // Half to each at a tie, as PyTorch and JAX.
        (Binary::Max, 0) => a.greater(b).select(d, tie(a, b, d)),
        (Binary::Max, _) => b.greater(a).select(d, tie(a, b, d)),
        (Binary::Min, 0) => a.less(b).select(d, tie(a, b, d)),
        (Binary::Min, _) => b.less(a).select(d, tie(a, b, d)),
        (Binary::And | Binary::Or | Binary::Xor | Binary::RotateLeft, _) => return None,
        (Binary::ShiftLeft | Binary::ShiftRight | Binary::ShiftRightLogical, _) => return None,
    })
}

fn tie<'g>(a: Tensor<'g>, b: Tensor<'g>, d: Tensor<'g>) -> Tensor<'g> {
    a.equal(b).select(0.5 * d, d.constant_like(0.0))
}

fn infer_unary(f: Unary, [x]: [TensorType; 1]) -> Result<TensorType, TypeError> {
    let expected = match f {
        Unary::Not => x.dtype.is_float().then_some("bool, i32 or i64"),
        Unary::Neg | Unary::Abs | Unary::Sign => (x.dtype == DType::Bool).then_some("a number"),
        _ => (!x.dtype.is_float()).then_some("f32 or f64"),
    };
    expected.map_or(Ok(x), |expected| Err(TypeError::DType { ty: x, expected }))
}

fn infer_binary(f: Binary, [a, b]: [TensorType; 2]) -> Result<TensorType, TypeError> {
    let ty = same_type(a, b)?;
    let expected = match f {
        Binary::And | Binary::Or | Binary::Xor => ty.dtype.is_float().then_some("bool, i32 or i64"),
        Binary::ShiftLeft | Binary::ShiftRight | Binary::ShiftRightLogical | Binary::RotateLeft => {
            (!ty.dtype.is_integer()).then_some("i32 or i64")
        }
        Binary::Pow | Binary::Atan2 => (!ty.dtype.is_float()).then_some("f32 or f64"),
        _ => (ty.dtype == DType::Bool).then_some("numbers"),
    };
    expected.map_or(Ok(ty), |expected| Err(TypeError::DType { ty, expected }))
}

fn same_type(lhs: TensorType, rhs: TensorType) -> Result<TensorType, TypeError> {
    if lhs.dtype != rhs.dtype {
        return Err(TypeError::DTypes { lhs, rhs });
    }
    same_shape(lhs, rhs).map(|()| lhs)
}

fn same_shape(lhs: TensorType, rhs: TensorType) -> Result<(), TypeError> {
    if lhs.shape == rhs.shape { Ok(()) } else { Err(TypeError::Broadcast { lhs, rhs }) }
}

impl fmt::Display for Elementwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Elementwise::Cast(dtype) => write!(f, "cast[{dtype}]"),
            other => f.write_str(other.name()),
        }
    }
}

impl Elementwise {
    /// The operator that prints as this text.
    pub(super) fn parse(text: &OpText<'_>) -> Option<Elementwise> {
        let functions = (Unary::ALL.iter().copied().map(Elementwise::Unary))
            .chain(Binary::ALL.iter().copied().map(Elementwise::Binary))
            .chain(Compare::ALL.iter().copied().map(Elementwise::Compare))
            .chain([Elementwise::Select, Elementwise::Cast(text.ty.dtype)])
            .chain([Elementwise::StopGradient, Elementwise::Barrier]);
        functions.into_iter().find(|f| f.name() == text.name)
    }
}

#[track_caller]
fn unary(f: Unary, x: Tensor<'_>) -> Tensor<'_> {
    Tensor::apply(Op::Elementwise(Elementwise::Unary(f)), &[x])
}

/// Broadcasts both operands to one shape, then applies the operator.
#[track_caller]
fn broadcasting<'g>(op: Elementwise, a: Tensor<'g>, b: Tensor<'g>) -> Tensor<'g> {
    match a.shape().broadcast(b.shape()) {
        Some(shape) if !a.is_poison() && !b.is_poison() => {
            Tensor::apply(Op::Elementwise(op), &[a.broadcast_to(shape), b.broadcast_to(shape)])
        }
        // The type rule reports the mismatch.
        _ => Tensor::apply(Op::Elementwise(op), &[a, b]),
    }
}

macro_rules! unary_methods {
    ($($(#[$doc:meta])* $method:ident => $function:ident;)*) => {
        impl<'g> Tensor<'g> {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $method(self) -> Tensor<'g> {
                unary(Unary::$function, self)
            }
        )*}
    };
}

unary_methods! {
    /// Absolute value. Derivative 0 at 0.
    abs => Abs;
    /// -1, 0 or 1. Derivative 0.
    sign => Sign;
    /// eˣ.
    exp => Exp;
    /// eˣ − 1, accurate near 0.
    expm1 => Expm1;
    /// Natural logarithm.
    log => Log;
    /// ln(1 + x), accurate near 0.
    log1p => Log1p;
    /// Square root. Derivative ∞ at 0.
    sqrt => Sqrt;
    /// Sine of radians.
    sin => Sin;
    /// Cosine of radians.
    cos => Cos;
    /// Tangent of radians.
    tan => Tan;
    /// The angle in −π/2 to π/2 whose sine this is.
    asin => Asin;
    /// The angle in 0 to π whose cosine this is.
    acos => Acos;
    /// The angle in −π/2 to π/2 whose tangent this is.
    atan => Atan;
    /// Hyperbolic sine.
    sinh => Sinh;
    /// Hyperbolic cosine.
    cosh => Cosh;
    /// The error function `2/√π · ∫₀ˣ e^(−t²) dt`.
    erf => Erf;
    /// The number whose error function this is; ±∞ at ±1, NaN outside. By the polynomials of Giles, "Approximating the
    /// erfinv function" (2011), as in XLA: close to ±1 right to 5 digits in f32 and 10 in f64, elsewhere to rounding.
    erf_inv => ErfInv;
    /// Hyperbolic tangent.
    tanh => Tanh;
    /// The logistic function `1 / (1 + e⁻ˣ)`, accurate however small: e⁻²⁰ at −20. Derivative `y·(1 − y)`.
    sigmoid => Sigmoid;
    /// `ln(1 + eˣ)`, by `max(x, 0) + ln(1 + e^(−|x|))`: finite for every finite input, accurate however small. Derivative
    /// `sigmoid(x)`.
    softplus => Softplus;
    /// The largest integer not above. Derivative 0.
    floor => Floor;
    /// The smallest integer not below. Derivative 0.
    ceil => Ceil;
    /// The nearest integer, halves to even. Derivative 0.
    round => Round;
}

macro_rules! binary_methods {
    ($($(#[$doc:meta])* $method:ident => $kind:ident $function:ident;)*) => {
        impl<'g> Tensor<'g> {$(
            $(#[$doc])*
            #[track_caller]
            pub fn $method(self, other: impl Into<Operand<'g>>) -> Tensor<'g> {
                let other = other.into().beside(self);
                broadcasting(Elementwise::$kind($kind::$function), self, other)
            }
        )*}
    };
}

binary_methods! {
    /// `self` to the power of `other`. The derivative in the base is 0 for exponent 0; that in the
    /// exponent is 0 for base 0.
    pow => Binary Pow;
    /// The angle of the point (`other`, `self`), in −π to π.
    atan2 => Binary Atan2;
    /// The larger; NaN if either is. At a tie, half of the cotangent goes to each.
    maximum => Binary Max;
    /// The smaller; NaN if either is. At a tie, half of the cotangent goes to each.
    minimum => Binary Min;
    /// The bits of an integer moved right, zeros coming in; 0 for amounts outside 0 to the width in bits. (`>>` copies
    /// the sign bit instead.)
    shift_right_logical => Binary ShiftRightLogical;
    /// The bits of an integer moved left, those that go out coming in on the right; the amount counts modulo the width
    /// in bits.
    rotate_left => Binary RotateLeft;
    /// Where `self == other`.
    equal => Compare Eq;
    /// Where `self != other`.
    not_equal => Compare Ne;
    /// Where `self < other`.
    less => Compare Lt;
    /// Where `self <= other`.
    less_equal => Compare Le;
    /// Where `self > other`.
    greater => Compare Gt;
    /// Where `self >= other`.
    greater_equal => Compare Ge;
}

impl<'g> Tensor<'g> {
    /// `a` where this bool tensor is true, else `b`; the three broadcast together.
    /// The branch not taken gets a cotangent of exactly 0.
    #[track_caller]
    pub fn select(self, a: impl Into<Operand<'g>>, b: impl Into<Operand<'g>>) -> Tensor<'g> {
        let (a, b) = match (a.into(), b.into()) {
            (Operand::Tensor(a), b) => (a, b.beside(a)),
            (a, Operand::Tensor(b)) => (a.beside(b), b),
            (a, b) => {
                let like = self.graph.constant(0.0, self.shape(), DType::F64);
                (a.beside(like), b.beside(like))
            }
        };
        let shapes = [self, a, b].map(|x| x.shape());
        let shape = shapes[0].broadcast(shapes[1]).and_then(|shape: Shape| shape.broadcast(shapes[2]));
        let operands = match shape {
            // Written out: a closure would not know the caller's line.
            Some(shape) if ![self, a, b].iter().any(|x| x.is_poison()) => {
                [self.broadcast_to(shape), a.broadcast_to(shape), b.broadcast_to(shape)]
            }
            _ => [self, a, b],
        };
        Tensor::apply(Op::Elementwise(Elementwise::Select), &operands)
    }

    /// The elements converted to `dtype`: floats to integers towards zero and saturating, anything
    /// to bool by `≠ 0`.
    #[track_caller]
    pub fn cast(self, dtype: DType) -> Tensor<'g> {
        if self.dtype() == dtype {
            return self;
        }
        Tensor::apply(Op::Elementwise(Elementwise::Cast(dtype)), &[self])
    }

    /// The same value, treated as a constant by differentiation.
    #[track_caller]
    pub fn stop_gradient(self) -> Tensor<'g> {
        Tensor::apply(Op::Elementwise(Elementwise::StopGradient), &[self])
    }

    /// Where the index along a new last axis of `classes` positions equals this integer tensor's element: one true
    /// element a row, and none for an element outside `0..classes`.
    #[track_caller]
    pub fn one_hot(self, classes: usize) -> Tensor<'g> {
        if self.dtype().is_float() || self.dtype() == DType::Bool {
            return self.poison("one_hot", TypeError::DType { ty: self.ty(), expected: "i32 or i64" });
        }
        let rank = self.shape().rank();
        let column = self.unsqueeze(-1);
        if column.is_poison() {
            return column;
        }
        let mut extents = column.shape().extents().to_vec();
        extents[rank] = classes;
        column.equal(self.graph.iota(Shape::of(&extents), rank, self.dtype()))
    }

    /// `1/x`.
    #[track_caller]
    pub fn recip(self) -> Tensor<'g> {
        1.0 / self
    }

    /// `1/√x`.
    #[track_caller]
    pub fn rsqrt(self) -> Tensor<'g> {
        1.0 / self.sqrt()
    }

    /// The integer part. Derivative 0.
    #[track_caller]
    pub fn trunc(self) -> Tensor<'g> {
        self.less(0.0).select(self.ceil(), self.floor())
    }

    /// The value held between two bounds. At a bound the cotangent passes, as in PyTorch.
    #[track_caller]
    pub fn clamp(self, low: impl Into<Operand<'g>>, high: impl Into<Operand<'g>>) -> Tensor<'g> {
        let (low, high) = (low.into().beside(self), high.into().beside(self));
        self.less(low).select(low, self.greater(high).select(high, self))
    }

    /// Where the value is NaN.
    #[track_caller]
    pub fn is_nan(self) -> Tensor<'g> {
        self.not_equal(self)
    }

    /// Where the value is neither NaN nor infinite.
    #[track_caller]
    pub fn is_finite(self) -> Tensor<'g> {
        self.abs().less(f64::INFINITY)
    }

    /// `x²`.
    #[track_caller]
    pub fn square(self) -> Tensor<'g> {
        self * self
    }
}

impl<'g> Neg for Tensor<'g> {
    type Output = Tensor<'g>;
    #[track_caller]
    fn neg(self) -> Tensor<'g> {
        unary(Unary::Neg, self)
    }
}

impl<'g> Not for Tensor<'g> {
    type Output = Tensor<'g>;
    #[track_caller]
    fn not(self) -> Tensor<'g> {
        unary(Unary::Not, self)
    }
}

impl Elementwise {
    /// The function's value on literals.
    pub(crate) fn fold(self, operands: &[Scalar]) -> Scalar {
        let values: Vec<Value> = operands.iter().map(|&x| Value::splat(x, Shape::SCALAR)).collect();
        let values: Vec<&Value> = values.iter().collect();
        evaluate::elementwise(self, &values).elements()[0]
    }
}
