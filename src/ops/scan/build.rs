//! Building loops: what users call, and the frame that the rules build further loops with.

use std::panic::Location;
use std::sync::Arc;

use super::{Body, Call, Direction, Exit, Scan, Taken, check_carry};
use crate::error::{Error, Result, TypeError};
use crate::ops::body::{captured, placeholder};
use crate::ops::{Graph, Tensor};
use crate::types::{DType, Shape, TensorType};

/// What an input of a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Carry,
    Slice,
    Capture,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Carry => "carry of a loop's body",
            Kind::Slice => "slice of a loop's body",
            Kind::Capture => "operand of a loop's body",
        }
    }
}

impl Body {
    pub(super) fn kind(&self, input: usize) -> Kind {
        match input {
            input if input < self.carries => Kind::Carry,
            input if input < self.carries + self.sliced => Kind::Slice,
            _ => Kind::Capture,
        }
    }
}

/// A loop under construction. Its body is built in the graph `'b` over placeholders, each of which stands for an operand
/// of the graph `'g`.
pub(super) struct Loop<'b, 'g> {
    body: &'b Graph,
    inputs: Vec<(Kind, Tensor<'b>, Tensor<'g>)>,
}

impl<'b, 'g> Loop<'b, 'g> {
    pub fn over(body: &'b Graph) -> Loop<'b, 'g> {
        Loop { body, inputs: Vec::new() }
    }

    /// Adds an operand, and returns what stands for it in the body.
    #[track_caller]
    pub fn add(&mut self, kind: Kind, operand: Tensor<'g>) -> Tensor<'b> {
        let ty = operand.ty();
        let shape = if kind == Kind::Slice { Shape::of(&ty.shape.extents()[1..]) } else { ty.shape };
        let input = placeholder(self.body, kind.name(), TensorType { shape, ..ty });
        self.inputs.push((kind, input, operand));
        input
    }

    /// The loop whose body computes the next carries and the rows. Of `like` are its turns, order and end.
    pub fn close(mut self, next: &[Tensor<'b>], rows: &[Tensor<'b>], like: &Scan) -> Result<Call<'g>> {
        self.body.check()?;
        self.inputs.sort_by_key(|input| input.0 as usize);
        let count = |kind| self.inputs.iter().filter(|input| input.0 == kind).count();
        let inputs: Vec<Tensor<'b>> = self.inputs.iter().map(|input| input.1).collect();
        let body = Body::of(&inputs, &[next, rows].concat(), (count(Kind::Carry), count(Kind::Slice)));
        let scan = Scan { body: Arc::new(body), taken: Taken::Last(0), ..like.clone() };
        Ok(Call { scan, operands: self.inputs.iter().map(|input| input.2).collect() })
    }
}

impl<'g> Loop<'g, 'g> {
    /// Makes operands of the tensors that the body uses and that no turn changes.
    fn capture(&mut self, results: &[Tensor<'g>]) {
        let placeholders: Vec<Tensor<'g>> = self.inputs.iter().map(|input| input.1).collect();
        let free = captured(self.body, &placeholders, results);
        self.inputs.extend(free.into_iter().map(|tensor| (Kind::Capture, tensor, tensor)));
    }
}

/// What a turn gives: the next carries, and one row of each stack.
pub type Turn<'g> = (Vec<Tensor<'g>>, Vec<Tensor<'g>>);

impl Graph {
    /// Runs a body once for each slice of `xs` along their leading axis. Each turn gets the carries and the slices, and
    /// gives the next carries and rows; the result is the last carries, and the rows stacked along a new leading axis.
    ///
    /// The body is built once, compiled once, and run in a native loop. Other tensors of the graph that it uses are
    /// captured. Loops nest, and have derivatives of every kind and order: reverse mode keeps the carries of each turn
    /// and, up to 256 MB, what would be costly to compute anew; [`Tensor::checkpoint`] keeps less.
    ///
    /// # Errors
    /// The first error made while building; `xs` without a common length, or none (see [`Graph::repeat`]); another
    /// number of carries than was given, or a carry whose type changes.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let (xs, decay) = (g.input("xs", [4], F64), g.input("decay", [], F64));
    /// let start = g.constant(0.0, [], F64);
    /// let (last, ys) = g.scan(&[start], &[xs], |carry, x| {
    ///     let mean = decay * carry[0] + (1.0 - decay) * x[0];
    ///     Ok((vec![mean], vec![mean]))
    /// })?;
    /// let slope = g.grad(last[0], &[decay])?[0];
    /// let at = [("xs", array![8.0, 4.0, 2.0, 0.0].into()), ("decay", 0.5.into())];
    /// let values = g.interpret(&[("means", ys[0]), ("slope", slope)], &at)?;
    /// assert_eq!(values["means"], array![4.0, 4.0, 3.0, 1.5].into());
    /// assert_eq!(values["slope"], 3.0.into());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn scan<'g>(
        &'g self,
        carry: &[Tensor<'g>],
        xs: &[Tensor<'g>],
        body: impl FnOnce(&[Tensor<'g>], &[Tensor<'g>]) -> Result<Turn<'g>>,
    ) -> Result<Turn<'g>> {
        let length = self.common_length(xs)?;
        self.turns(length, Direction::Forward, carry, xs, body)
    }

    /// As [`Graph::scan`], from the last slice to the first. The rows lie where their slices lay.
    ///
    /// # Errors
    /// As [`Graph::scan`].
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let xs = g.input("xs", [3], I32);
    /// let (_, sums) = g.scan_backward(&[g.constant(0.0, [], I32)], &[xs], |carry, x| {
    ///     let sum = carry[0] + x[0];
    ///     Ok((vec![sum], vec![sum]))
    /// })?;
    /// let values = g.interpret(&[("sums", sums[0])], &[("xs", array![1, 2, 3].into())])?;
    /// assert_eq!(values["sums"], array![6, 5, 3].into());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn scan_backward<'g>(
        &'g self,
        carry: &[Tensor<'g>],
        xs: &[Tensor<'g>],
        body: impl FnOnce(&[Tensor<'g>], &[Tensor<'g>]) -> Result<Turn<'g>>,
    ) -> Result<Turn<'g>> {
        let length = self.common_length(xs)?;
        self.turns(length, Direction::Backward, carry, xs, body)
    }

    /// As [`Graph::scan`], a number of times instead of along something.
    ///
    /// # Errors
    /// As [`Graph::scan`].
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let x = g.input("x", [], F64);
    /// // Newton's method: each turn doubles the number of digits.
    /// let (root, _) = g.repeat(6, &[x], |y| Ok((vec![(y[0] + x / y[0]) * 0.5], vec![])))?;
    /// let slope = g.grad(root[0], &[x])?[0];
    /// let values = g.interpret(&[("root", root[0]), ("slope", slope)], &[("x", 4.0.into())])?;
    /// assert!((values["root"].to_f64()[0] - 2.0).abs() < 1e-15);
    /// assert!((values["slope"].to_f64()[0] - 0.25).abs() < 1e-12);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn repeat<'g>(
        &'g self,
        turns: usize,
        carry: &[Tensor<'g>],
        body: impl FnOnce(&[Tensor<'g>]) -> Result<Turn<'g>>,
    ) -> Result<Turn<'g>> {
        self.turns(turns, Direction::Forward, carry, &[], |carry, _| body(carry))
    }

    /// Runs a body for as long as the condition holds of the carries, and at most `limit` times; the result is the
    /// carries for which it failed first, or those after the last turn.
    ///
    /// Its derivative is to be had in forward mode only ([`Graph::jvp`]): reverse mode would have to know how often it
    /// ran. Mapped over samples ([`Graph::vmap`]), it runs until the condition fails for all, and keeps the carries of
    /// those that are done.
    ///
    /// # Errors
    /// As [`Graph::scan`]; a condition that is not a single bool.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let n = g.input("n", [], I64);
    /// // Collatz: the number of steps to 1.
    /// let end = g.while_loop(
    ///     1000,
    ///     &[n, n * 0.0],
    ///     |carry| Ok(carry[0].greater(1.0)),
    ///     |carry| {
    ///         let (n, steps) = (carry[0], carry[1]);
    ///         let next = (n % 2.0).equal(0.0).select(n / 2.0, n * 3.0 + 1.0);
    ///         Ok(vec![next, steps + 1.0])
    ///     },
    /// )?;
    /// let values = g.interpret(&[("steps", end[1])], &[("n", 27i64.into())])?;
    /// assert_eq!(values["steps"], 111i64.into());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn while_loop<'g>(
        &'g self,
        limit: usize,
        carry: &[Tensor<'g>],
        condition: impl Fn(&[Tensor<'g>]) -> Result<Tensor<'g>>,
        body: impl FnOnce(&[Tensor<'g>]) -> Result<Vec<Tensor<'g>>>,
    ) -> Result<Vec<Tensor<'g>>> {
        self.check_own("while_loop", carry.iter().copied())?;
        let goes = self.check_condition("while_loop", condition(carry)?)?;
        let mut inner = Loop::over(self);
        inner.add(Kind::Carry, goes);
        let mut inputs = Vec::with_capacity(carry.len());
        for &start in carry {
            inputs.push(inner.add(Kind::Carry, start));
        }
        let next = body(&inputs)?;
        self.check_own("while_loop", next.iter().copied())?;
        self.check_carries("while_loop", carry, &next)?;
        let goes = self.check_condition("while_loop", condition(&next)?)?;
        self.conditional(inner, limit, &[&[goes], &next[..]].concat())
    }

    /// One of two branches over the same operands: the first where `choice` is true. Only that one runs.
    ///
    /// What depends on none of the operands is computed in any case; for a choice between cheap expressions
    /// [`Tensor::select`] is faster.
    ///
    /// # Errors
    /// The first error made while building; a choice that is not a single bool; branches whose results differ in number
    /// or type.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let x = g.input("x", [2], F64);
    /// let y = g.cond(x.sum(..).greater(0.0), &[x], |x| Ok(vec![x[0].sqrt()]), |x| Ok(vec![-x[0]]))?;
    /// let values = g.interpret(&[("y", y[0])], &[("x", array![4.0, 9.0].into())])?;
    /// assert_eq!(values["y"], array![2.0, 3.0].into());
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn cond<'g>(
        &'g self,
        choice: Tensor<'g>,
        operands: &[Tensor<'g>],
        then: impl FnOnce(&[Tensor<'g>]) -> Result<Vec<Tensor<'g>>>,
        otherwise: impl FnOnce(&[Tensor<'g>]) -> Result<Vec<Tensor<'g>>>,
    ) -> Result<Vec<Tensor<'g>>> {
        self.check_own("cond", operands.iter().copied().chain([choice]))?;
        let choice = self.check_condition("cond", choice)?;
        // Two loops of at most one turn each. The first starts from nothing in particular.
        let (inner, results) = self.branch(choice, operands, then)?;
        let mut nothing = Vec::with_capacity(results.len());
        for result in &results {
            nothing.push(result.constant_like(0.0));
        }
        let first = self.taken_if(inner, &nothing, &results)?;
        let (inner, results) = self.branch(!choice, operands, otherwise)?;
        self.check_carries("cond", &first, &results)?;
        self.taken_if(inner, &first, &results)
    }

    /// A branch over the operands, in a loop that goes if `goes`.
    fn branch<'g>(
        &'g self,
        goes: Tensor<'g>,
        operands: &[Tensor<'g>],
        branch: impl FnOnce(&[Tensor<'g>]) -> Result<Vec<Tensor<'g>>>,
    ) -> Result<(Loop<'g, 'g>, Vec<Tensor<'g>>)> {
        let mut inner = Loop::over(self);
        inner.add(Kind::Carry, goes);
        let inputs: Vec<Tensor<'g>> =
            operands.iter().map(|&operand| inner.add(Kind::Capture, operand)).collect();
        let results = branch(&inputs)?;
        self.check_own("cond", results.iter().copied())?;
        Ok((inner, results))
    }

    /// The results of a branch if it is taken, else what was there before.
    #[track_caller]
    fn taken_if<'g>(
        &'g self,
        mut inner: Loop<'g, 'g>,
        before: &[Tensor<'g>],
        results: &[Tensor<'g>],
    ) -> Result<Vec<Tensor<'g>>> {
        for &before in before {
            inner.add(Kind::Carry, before);
        }
        let stops = self.literal(false.into(), Shape::SCALAR);
        self.conditional(inner, 1, &[&[stops], results].concat())
    }

    /// A loop whose first carry says whether to go on; the last values of the others.
    #[track_caller]
    fn conditional<'g>(
        &'g self,
        mut inner: Loop<'g, 'g>,
        limit: usize,
        next: &[Tensor<'g>],
    ) -> Result<Vec<Tensor<'g>>> {
        inner.capture(next);
        let call = inner.close(next, &[], &frame(limit, Direction::Forward, Exit::WhenFalse))?;
        let mut last = Vec::with_capacity(next.len());
        for carry in 1..next.len() {
            last.push(call.take(Taken::Last(carry)));
        }
        self.check().map(|()| last)
    }

    #[track_caller]
    fn turns<'g>(
        &'g self,
        length: usize,
        direction: Direction,
        carry: &[Tensor<'g>],
        xs: &[Tensor<'g>],
        body: impl FnOnce(&[Tensor<'g>], &[Tensor<'g>]) -> Result<Turn<'g>>,
    ) -> Result<Turn<'g>> {
        self.check_own("scan", carry.iter().copied().chain(xs.iter().copied()))?;
        let mut inner = Loop::over(self);
        let (mut carries, mut slices) = (Vec::with_capacity(carry.len()), Vec::with_capacity(xs.len()));
        for &start in carry {
            carries.push(inner.add(Kind::Carry, start));
        }
        for &x in xs {
            slices.push(inner.add(Kind::Slice, x));
        }
        let (next, rows) = body(&carries, &slices)?;
        self.check_own("scan", next.iter().copied().chain(rows.iter().copied()))?;
        self.check_carries("scan", carry, &next)?;
        inner.capture(&[&next[..], &rows[..]].concat());
        let call = inner.close(&next, &rows, &frame(length, direction, Exit::Never))?;
        let (mut last, mut stacks) = (Vec::with_capacity(next.len()), Vec::with_capacity(rows.len()));
        for carry in 0..next.len() {
            last.push(call.take(Taken::Last(carry)));
        }
        for row in 0..rows.len() {
            stacks.push(call.take(Taken::Stack(row)));
        }
        self.check().map(|()| (last, stacks))
    }

    #[track_caller]
    fn common_length(&self, xs: &[Tensor<'_>]) -> Result<usize> {
        self.check_own("scan", xs.iter().copied())?;
        let Some(first) = xs.first() else {
            return Err(
                self.refuse("scan", "there is nothing to walk along; give a number of turns to `repeat`")
            );
        };
        for (index, x) in xs.iter().enumerate() {
            match (x.shape().extents().first(), first.shape().extents().first()) {
                (None, _) => {
                    let message = format!("xs {index} is {}, without a leading axis to walk along", x.ty());
                    return Err(self.refuse("scan", message));
                }
                (extent, length) if extent != length => {
                    let (x, first) = (x.ty(), first.ty());
                    let message =
                        format!("xs 0 is {first} and xs {index} is {x}; their leading axes must agree");
                    return Err(self.refuse("scan", message));
                }
                _ => {}
            }
        }
        Ok(first.shape().extents()[0])
    }

    #[track_caller]
    fn check_carries(&self, op: &str, before: &[Tensor<'_>], after: &[Tensor<'_>]) -> Result<()> {
        if before.len() != after.len() {
            let (before, after) = (before.len(), after.len());
            let message = match op {
                "cond" => format!("one branch has {before} results and the other {after}"),
                _ => format!(
                    "the body was given {before} carries and returns {after}; it returns each one's next value"
                ),
            };
            return Err(self.refuse(op, message));
        }
        for (carry, (before, after)) in before.iter().zip(after).enumerate() {
            let (before, after) = (before.ty(), after.ty());
            if op == "cond" && before != after {
                let message = format!("result {carry} is {before} in one branch and {after} in the other");
                return Err(self.refuse(op, message));
            }
            if let Err(error) = check_carry(carry, before, after) {
                return Err(self.refuse(op, error.to_string()));
            }
        }
        Ok(())
    }

    #[track_caller]
    fn check_condition<'g>(&'g self, op: &str, condition: Tensor<'g>) -> Result<Tensor<'g>> {
        self.check_own(op, [condition])?;
        if condition.ty() == TensorType::new(DType::Bool, []) {
            return Ok(condition);
        }
        Err(self.refuse(op, format!("the condition is {}; it must be a single bool", condition.ty())))
    }

    /// Records the error with the caller's place.
    #[track_caller]
    fn refuse(&self, op: &str, message: impl Into<String>) -> Error {
        let at = self.place(Location::caller());
        self.fail(Error::Type { op: op.into(), error: TypeError::Invalid(message.into()), at }).0
    }
}

/// A loop without a body yet.
fn frame(length: usize, direction: Direction, exit: Exit) -> Scan {
    let body = Arc::new(Body::of(&[], &[], (0, 0)));
    Scan { body, length, direction, exit, taken: Taken::Last(0) }
}
