//! The vocabulary of scalar instructions: what one lane computes. Elementwise operators are these
//! functions applied to whole tensors.

use std::cmp::Ordering;
use std::fmt;

use crate::types::{DType, Scalar};

macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant),* }

        impl $name {
            /// Every member, in order.
            pub const ALL: &[$name] = &[$($name::$variant),*];

            /// The name in dumps and messages.
            pub const fn name(self) -> &'static str {
                match self { $($name::$variant => $text),* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

vocabulary! {
    /// Functions of one value.
    Unary {
        Neg = "neg",
        Abs = "abs",
        /// -1, 0 or 1; keeps NaN and the sign of zero.
        Sign = "sign",
        Exp = "exp",
        /// eˣ − 1, accurate near 0.
        Expm1 = "expm1",
        Log = "log",
        /// ln(1 + x), accurate near 0.
        Log1p = "log1p",
        Sqrt = "sqrt",
        Sin = "sin",
        Cos = "cos",
        Tan = "tan",
        Asin = "asin",
        Acos = "acos",
        Atan = "atan",
        Sinh = "sinh",
        Cosh = "cosh",
        Tanh = "tanh",
        /// 1 / (1 + e⁻ˣ).
        Sigmoid = "sigmoid",
        /// ln(1 + eˣ).
        Softplus = "softplus",
        /// 2/√π · ∫₀ˣ e^(−t²) dt.
        Erf = "erf",
        /// The number whose error function this is.
        ErfInv = "erf_inv",
        Floor = "floor",
        Ceil = "ceil",
        /// To the nearest integer, halves to even.
        Round = "round",
        /// Negation of a truth value, or of every bit of an integer.
        Not = "not",
    }
}

vocabulary! {
    /// Functions of two values.
    Binary {
        Add = "add",
        Sub = "sub",
        Mul = "mul",
        /// Integers truncate; division by zero gives 0.
        Div = "div",
        /// What division that truncates leaves over, with the sign of the dividend; integers: 0 for divisor 0.
        Rem = "rem",
        Pow = "pow",
        /// The angle of the point (b, a), in −π to π.
        Atan2 = "atan2",
        /// NaN if either is.
        Max = "max",
        /// NaN if either is.
        Min = "min",
        /// Of truth values, or bit by bit of integers; so are `or` and `xor`.
        And = "and",
        Or = "or",
        Xor = "xor",
        /// Zeros come in; 0 for amounts outside 0 to the width in bits.
        ShiftLeft = "shift_left",
        /// Copies of the sign bit come in, and nothing else for amounts outside 0 to the width in bits.
        ShiftRight = "shift_right",
        /// Zeros come in; 0 for amounts outside 0 to the width in bits.
        ShiftRightLogical = "shift_right_logical",
        /// The bits that go out on the left come in on the right; the amount counts modulo the width in bits.
        RotateLeft = "rotate_left",
    }
}

impl Binary {
    /// Whether the second value is a number of bits to move the first one's by.
    pub const fn is_shift(self) -> bool {
        use Binary::{RotateLeft, ShiftLeft, ShiftRight, ShiftRightLogical};
        matches!(self, ShiftLeft | ShiftRight | ShiftRightLogical | RotateLeft)
    }
}

vocabulary! {
    /// Comparisons of two values; all but `ne` are false for NaN.
    Compare {
        Eq = "eq",
        Ne = "ne",
        Lt = "lt",
        Le = "le",
        Gt = "gt",
        Ge = "ge",
    }
}

vocabulary! {
    /// How a reduction puts values together.
    Combine {
        Sum = "sum",
        Prod = "prod",
        Max = "max",
        Min = "min",
    }
}

vocabulary! {
    /// Which way round a row is sorted.
    Order {
        Ascending = "ascending",
        Descending = "descending",
    }
}

impl Order {
    /// Which of two elements comes first. NaN, which alone cannot be compared with itself, is larger than every number.
    pub fn compare<T: PartialOrd>(self, a: &T, b: &T) -> Ordering {
        let is_nan = |x: &T| x.partial_cmp(x).is_none();
        let ascending = a.partial_cmp(b).unwrap_or_else(|| is_nan(a).cmp(&is_nan(b)));
        match self {
            Order::Ascending => ascending,
            Order::Descending => ascending.reverse(),
        }
    }
}

impl Combine {
    /// The binary function that joins two partial results.
    pub const fn join(self) -> Binary {
        match self {
            Combine::Sum => Binary::Add,
            Combine::Prod => Binary::Mul,
            Combine::Max => Binary::Max,
            Combine::Min => Binary::Min,
        }
    }

    /// The result over no values.
    pub fn over_nothing(self, dtype: DType) -> Scalar {
        match self {
            Combine::Sum => Scalar::from_f64(0.0, dtype),
            Combine::Prod | Combine::Max | Combine::Min => self.identity(dtype),
        }
    }

    /// What changes no value it is joined with: for sums −0, since 0 + −0 is 0.
    pub fn identity(self, dtype: DType) -> Scalar {
        match (self, dtype) {
            (Combine::Sum, _) => Scalar::from_f64(-0.0, dtype),
            (Combine::Prod, _) => Scalar::from_f64(1.0, dtype),
            // i64's bounds are not f64 numbers, but the conversion saturates to them.
            (Combine::Max, _) => Scalar::from_f64(f64::NEG_INFINITY, dtype),
            (Combine::Min, _) => Scalar::from_f64(f64::INFINITY, dtype),
        }
    }
}
