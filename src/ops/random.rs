//! Random numbers: bits that are a function of a key and a counter, so that they can be drawn in any order, again, and
//! in parallel; and what is made of bits.
//!
//! Values are those of `jax.random` with its default generator (`threefry2x32`, `jax_threefry_partitionable=True`,
//! held against JAX 0.10.2). A key here is an i64 whose two halves are the two words of JAX's: key 42 is
//! `jax.random.key(42)`. Bits, derived keys, uniform and Bernoulli numbers and integers agree bit by bit; normal numbers
//! to rounding.

use std::fmt;
use std::ops::Range;
use std::panic::Location;

use ndarray::Zip;

use super::leaf::state;
use super::{
    Emitter, Graph, Mapped, Op, Operand, Role, Rules, Site, Tensor, Types, expect_operands, with_axes,
};
use crate::error::{Result, TypeError};
use crate::graph::OpText;
use crate::loops::{Affine, Binary, Instr, Var};
use crate::types::{DType, Scalar, Shape, TensorType, Value};

/// Random bits at every element: Threefry-2x32 with 20 rounds (Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as
/// easy as 1, 2, 3", 2011) of an i64 key and an i32 counter, the counter's high word being zero. The two words that come
/// out are the halves of an i64, or an i32 by exclusive or.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Random {
    /// I32 or I64.
    pub bits: DType,
}

/// By how much a round rotates; a subkey is added after every four.
const ROTATIONS: [[u32; 4]; 2] = [[13, 15, 26, 6], [17, 29, 16, 24]];

/// The parity of the key schedule.
const PARITY: u32 = 0x1bd1_1bda;

impl Rules for Random {
    fn name(&self) -> &'static str {
        "random"
    }

    fn infer(&self, operands: &[TensorType]) -> Result<TensorType, TypeError> {
        let [key, counter] = expect_operands(operands)?;
        if key.dtype != DType::I64 {
            return Err(TypeError::DType { ty: key, expected: "an i64 key" });
        }
        if counter.dtype != DType::I32 {
            return Err(TypeError::DType { ty: counter, expected: "an i32 counter" });
        }
        if key.shape != counter.shape {
            return Err(TypeError::Broadcast { lhs: key, rhs: counter });
        }
        let ty = TensorType { dtype: self.bits, shape: key.shape };
        if self.bits.is_integer() {
            Ok(ty)
        } else {
            Err(TypeError::DType { ty, expected: "i32 or i64 bits" })
        }
    }

    fn vjp<'g>(&self, _: &Site<'g>, _: usize, _: Tensor<'g>) -> Option<Tensor<'g>> {
        None
    }

    fn jvp<'g>(&self, _: &Site<'g>, _: &[Option<Tensor<'g>>]) -> Option<Tensor<'g>> {
        None
    }

    fn batch<'g>(&self, operands: &[Mapped<'g>]) -> Tensor<'g> {
        Tensor::apply(Op::Random(*self), &with_axes(operands))
    }

    fn evaluate(&self, operands: &[&Value], ty: TensorType) -> Value {
        let (Value::I64(keys), Value::I32(counters)) = (operands[0], operands[1]) else {
            unreachable!("the type rule wants i64 keys and i32 counters")
        };
        let block =
            |&key: &i64, &counter: &i32| threefry([(key >> 32) as u32, key as u32], [0, counter as u32]);
        let blocks = Zip::from(keys).and(counters).map_collect(block);
        match ty.dtype {
            DType::I64 => {
                Value::I64(blocks.mapv(|[high, low]| (u64::from(high) << 32 | u64::from(low)) as i64))
            }
            _ => Value::I32(blocks.mapv(|[high, low]| (high ^ low) as i32)),
        }
    }

    fn lower(&self, _: &Types, index: &[Affine], emitter: &mut dyn Emitter) -> Var {
        let (key, counter) = (emitter.operand(0, index), emitter.operand(1, index));
        let mut words = Words { emitter };
        let [high, low] = words.threefry(key, counter);
        match self.bits {
            DType::I64 => words.join(high, low),
            _ => words.binary(Binary::Xor, high, low),
        }
    }
}

/// The block of a key and a counter, as published.
fn threefry(key: [u32; 2], counter: [u32; 2]) -> [u32; 2] {
    let schedule = [key[0], key[1], key[0] ^ key[1] ^ PARITY];
    let mut x = [counter[0].wrapping_add(key[0]), counter[1].wrapping_add(key[1])];
    for turn in 1..=5u32 {
        for rotation in ROTATIONS[(turn as usize + 1) % 2] {
            x[0] = x[0].wrapping_add(x[1]);
            x[1] = x[1].rotate_left(rotation) ^ x[0];
        }
        let subkey = |at: u32| schedule[at as usize % 3];
        x = [x[0].wrapping_add(subkey(turn)), x[1].wrapping_add(subkey(turn + 1)).wrapping_add(turn)];
    }
    x
}

/// Emits the same, in i32.
struct Words<'e> {
    emitter: &'e mut dyn Emitter,
}

impl Words<'_> {
    fn threefry(&mut self, key: Var, counter: Var) -> [Var; 2] {
        let [high, low] = self.split(key);
        let mixed = self.binary(Binary::Xor, high, low);
        let parity = self.constant(PARITY);
        let schedule = [high, low, self.binary(Binary::Xor, mixed, parity)];
        let mut x = [high, self.binary(Binary::Add, counter, low)];
        for turn in 1..=5u32 {
            for rotation in ROTATIONS[(turn as usize + 1) % 2] {
                x[0] = self.binary(Binary::Add, x[0], x[1]);
                let rotation = self.constant(rotation);
                let rotated = self.binary(Binary::RotateLeft, x[1], rotation);
                x[1] = self.binary(Binary::Xor, rotated, x[0]);
            }
            let subkey = |at: u32| schedule[at as usize % 3];
            // Together they are the same for all counters.
            let turn_word = self.constant(turn);
            let last = self.binary(Binary::Add, subkey(turn + 1), turn_word);
            x = [self.binary(Binary::Add, x[0], subkey(turn)), self.binary(Binary::Add, x[1], last)];
        }
        x
    }

    fn binary(&mut self, f: Binary, a: Var, b: Var) -> Var {
        self.emitter.emit(Instr::Binary(f, a, b), DType::I32)
    }

    fn wide(&mut self, f: Binary, a: Var, b: i64) -> Var {
        let b = self.emitter.emit(Instr::Constant(Scalar::I64(b)), DType::I64);
        self.emitter.emit(Instr::Binary(f, a, b), DType::I64)
    }

    fn constant(&mut self, word: u32) -> Var {
        self.emitter.emit(Instr::Constant(Scalar::I32(word as i32)), DType::I32)
    }

    /// The halves of an i64.
    fn split(&mut self, key: Var) -> [Var; 2] {
        let high = self.wide(Binary::ShiftRightLogical, key, 32);
        [high, key].map(|half| self.emitter.emit(Instr::Cast(half), DType::I32))
    }

    /// The i64 of these halves.
    fn join(&mut self, high: Var, low: Var) -> Var {
        let [high, low] = [high, low].map(|half| self.emitter.emit(Instr::Cast(half), DType::I64));
        let high = self.wide(Binary::ShiftLeft, high, 32);
        let low = self.wide(Binary::And, low, 0xffff_ffff);
        self.emitter.emit(Instr::Binary(Binary::Or, high, low), DType::I64)
    }
}

impl fmt::Display for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "random[{}]", self.bits)
    }
}

impl Random {
    /// The operator that prints as this text.
    pub(super) fn parse(text: &OpText<'_>) -> Option<Random> {
        (text.name == "random").then_some(Random { bits: text.ty.dtype })
    }
}

impl Graph {
    /// Declares a random key that lives in the state, and gives the key for one step: `subkey` of JAX's
    /// `key, subkey = jax.random.split(key)`. A training step goes on to the next `key` by itself, a function by
    /// [`crate::Function::advance_keys`]; to repeat a run, set the state to the same key again.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let key = g.random_key("noise", 42);
    /// let sum = key.fold_in(0.0).uniform([8], F64).sum(..) + key.fold_in(1.0).normal([8], F64).sum(..);
    /// let draw = g.function().output("sum", sum).advance_keys().compile()?;
    /// let (mut state, inputs) = (draw.state(), draw.inputs());
    /// let first = draw.run(&mut state, &inputs)?.number("sum")?;
    /// assert_ne!(draw.run(&mut state, &inputs)?.number("sum")?, first);
    /// state.set_number("noise", 42.0)?;
    /// assert_eq!(draw.run(&mut state, &inputs)?.number("sum")?, first);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn random_key(&self, name: &str, seed: u64) -> Tensor<'_> {
        let leaf = state(name, TensorType::new(DType::I64, []), Role::Key, Scalar::I64(seed as i64));
        self.tensor(self.declare(leaf, Location::caller())).fold_in(1.0)
    }
}

/// Random numbers by a key: an i64 tensor. Several keys give numbers each, on leading axes. One key is for one purpose:
/// asked for the same again, it gives the same. [`Tensor::fold_in`] and [`Tensor::split_keys`] make further keys.
impl<'g> Tensor<'g> {
    /// The key for this purpose, number or case: `jax.random.fold_in`. Of `data`, integers, the low 32 bits count.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let key = g.constant(42.0, [], I64).fold_in(3); // jax.random.fold_in(jax.random.key(42), 3)
    /// let bits = g.interpret(&[("bits", key.random_bits([2], I32))], &[])?;
    /// assert_eq!(bits["bits"].to_f64().len(), 2);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn fold_in(self, data: impl Into<Operand<'g>>) -> Tensor<'g> {
        let counter = match data.into() {
            Operand::Tensor(data) if data.dtype().is_integer() => data.cast(DType::I32),
            Operand::Tensor(data) => data, // The type rule reports it.
            Operand::Number(data) => self.graph.literal(Scalar::I32(data as i64 as i32), Shape::SCALAR),
            Operand::Integer(data) => self.graph.literal(Scalar::I32(data as i32), Shape::SCALAR),
        };
        match self.shape().broadcast(counter.shape()) {
            Some(shape) => random(DType::I64, self.broadcast_to(shape), counter.broadcast_to(shape)),
            None => random(DType::I64, self, counter),
        }
    }

    /// As many further keys, on a last axis: `jax.random.split`.
    #[track_caller]
    pub fn split_keys(self, count: usize) -> Tensor<'g> {
        self.random_bits([count], DType::I64)
    }

    /// Random integers of `dtype`, i32 or i64, every one as likely: the bit patterns of `jax.random.bits`.
    #[track_caller]
    pub fn random_bits(self, shape: impl Into<Shape>, dtype: DType) -> Tensor<'g> {
        let (keys, shape) = (self.shape(), shape.into());
        let whole = match Shape::new(&[keys.extents(), shape.extents()].concat()) {
            Ok(whole) if shape.elements() as u64 <= 1 << 32 => whole,
            Ok(_) => {
                let message = format!("a key has 2³² numbers, too few for {shape}; fold in further keys");
                return self.poison("random", TypeError::Invalid(message));
            }
            Err(error) => return self.poison("random", TypeError::Invalid(error.to_string())),
        };
        let axes: Vec<usize> = (0..whole.rank()).collect();
        let (of_keys, of_shape) = axes.split_at(keys.rank());
        let counter = self.graph.iota([shape.elements()], 0, DType::I32).reshape(shape);
        random(dtype, self.broadcast_in(whole, of_keys), counter.broadcast_in(whole, of_shape))
    }

    /// Random numbers of `dtype`, f32 or f64, evenly spread over [0, 1): `jax.random.uniform`. They are multiples of
    /// 2⁻²³ or 2⁻⁵².
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let u = g.constant(42.0, [], I64).uniform([2], F32);
    /// // jax.random.uniform(jax.random.key(42), (2,))
    /// assert_eq!(g.interpret(&[("u", u)], &[])?["u"], array![0.48870957f32, 0.6797972].into());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn uniform(self, shape: impl Into<Shape>, dtype: DType) -> Tensor<'g> {
        let shape = shape.into();
        // A word's high bits are the digits; the low ones go.
        let (bits, digits) = match dtype {
            DType::F32 => (self.random_bits(shape, DType::I32), 23),
            DType::F64 => (self.random_bits(shape, DType::I64), 52),
            _ => {
                let ty = TensorType { dtype, shape };
                return self.poison("uniform", TypeError::DType { ty, expected: "f32 or f64" });
            }
        };
        let width = bits.dtype().size() as i32 * 8;
        bits.shift_right_logical(f64::from(width - digits)).cast(dtype) * (-f64::from(digits)).exp2()
    }

    /// Random numbers of `dtype`, f32 or f64, of mean 0 and variance 1: `jax.random.normal`, by √2·erf⁻¹ of numbers
    /// evenly spread over (−1, 1).
    #[track_caller]
    pub fn normal(self, shape: impl Into<Shape>, dtype: DType) -> Tensor<'g> {
        let above = if dtype == DType::F32 { f64::from((-1f32).next_up()) } else { (-1f64).next_up() };
        (self.uniform(shape, dtype) * 2.0 + above).erf_inv() * std::f64::consts::SQRT_2
    }

    /// Truth values, true with probability `p`: `jax.random.bernoulli`. A number is taken as an f32; a tensor must
    /// broadcast to the result.
    #[track_caller]
    pub fn bernoulli(self, p: impl Into<Operand<'g>>, shape: impl Into<Shape>) -> Tensor<'g> {
        let p = p.into();
        let dtype = if let Operand::Tensor(p) = p { p.dtype() } else { DType::F32 };
        self.uniform(shape, dtype).less(p)
    }

    /// Random i32 of a range: `jax.random.randint`. As there, the numbers of a range whose length is no power of two
    /// are very nearly as likely.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// // A minibatch of 4 of 100 rows, drawn anew at each step.
    /// let g = Graph::new();
    /// let rows = g.random_key("batch", 0).randint(0..100, [4]);
    /// let batch = g.input("x", [100, 3], F32).take(0, rows);
    /// assert_eq!(batch.ty().to_string(), "f32[4,3]");
    /// ```
    #[track_caller]
    pub fn randint(self, range: Range<i32>, shape: impl Into<Shape>) -> Tensor<'g> {
        let (span, shape) = (i64::from(range.end) - i64::from(range.start), shape.into());
        if span <= 0 {
            let message = format!("there is no integer in {}..{}", range.start, range.end);
            return self.poison("randint", TypeError::Invalid(message));
        }
        // The rest of 2³², in JAX's u32 arithmetic.
        let rest = (1u32 << 16) % span as u32;
        let rest = rest.wrapping_mul(rest) % span as u32;
        let span = span as f64;
        let low = self.fold_in(1.0).random_words(shape) % span;
        let offset = match rest {
            0 => low,
            rest => (self.fold_in(0.0).random_words(shape) % span * f64::from(rest) + low) % span,
        };
        (offset + f64::from(range.start)).cast(DType::I32)
    }

    /// Bits as numbers from 0 to 2³² − 1.
    #[track_caller]
    fn random_words(self, shape: Shape) -> Tensor<'g> {
        let word = self.random_bits(shape, DType::I32).cast(DType::I64);
        word & word.graph.literal(Scalar::I64(0xffff_ffff), word.shape())
    }
}

#[track_caller]
fn random<'g>(bits: DType, key: Tensor<'g>, counter: Tensor<'g>) -> Tensor<'g> {
    Tensor::apply(Op::Random(Random { bits }), &[key, counter])
}

#[cfg(test)]
mod tests {
    use super::threefry;

    /// The known answers of the Random123 library.
    #[test]
    fn threefry_is_the_published_function() {
        assert_eq!(threefry([0, 0], [0, 0]), [0x6b20_0159, 0x99ba_4efe]);
        assert_eq!(threefry([!0, !0], [!0, !0]), [0x1cb9_96fc, 0xbb00_2be7]);
        assert_eq!(
            threefry([0x1319_8a2e, 0x0370_7344], [0x243f_6a88, 0x85a3_08d3]),
            [0xc492_3a9c, 0x483d_f7a0]
        );
    }
}
