//! Trust, in one call: native code against the interpreter, node by node, and derived gradients against differences.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::graph::View;
use crate::ops::{Graph, Op, Tensor};
use crate::types::{DType, Scalar, Value};

/// What [`Graph::verify`] found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verification {
    /// Nodes whose native values were held against the interpreter's.
    pub nodes: usize,
    /// The largest difference of the two, relative to the largest element of the node (or 1).
    pub native: f64,
    /// Elements of gradients that were held against differences.
    pub derivatives: usize,
    /// The largest difference of the two, relative to the largest derivative (or 1).
    pub gradient: f64,
}

/// At most this many elements of each variable are held against differences, evenly spread.
const ELEMENTS: usize = 64;

impl Graph {
    /// Holds `y`, its gradient in the leaves `wrt`, and every node on the way against the reference: each node's native
    /// value against the interpreter's, and the derived gradient against central differences of fourth order, both at
    /// the values given.
    ///
    /// # Errors
    /// As [`Graph::grad`] and [`Graph::interpret`]; a variable that is no leaf with a value; [`Error::Differs`], naming
    /// the first node and the rule it comes from, or the variable and the element, that differ by more than rounding.
    ///
    /// ```
    /// use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let (x, w) = (g.input("x", [4, 3], F64), g.parameter("w", [3], F64));
    /// let y = x.matmul(w).tanh().square().mean(..);
    /// let at = [("x", Array2::from_elem((4, 3), 0.3).into()), ("w", array![0.1, -0.4, 0.7].into())];
    /// let found = g.verify(y, &[x, w], &at)?;
    /// assert_eq!(found.derivatives, 15);
    /// assert!(found.native < 1e-14 && found.gradient < 1e-8);
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn verify(
        &self,
        y: Tensor<'_>,
        wrt: &[Tensor<'_>],
        leaves: &[(&str, Value)],
    ) -> Result<Verification> {
        self.check_own("verify", wrt.iter().copied().chain([y]))?;
        let wrt: Vec<Tensor<'_>> = wrt.iter().map(|x| self.tensor(x.id())).collect();
        let gradients = self.grad(self.tensor(y.id()), &wrt)?;
        let (nodes, native) = self.verify_native(y, &gradients, leaves)?;
        let mut found = Verification { nodes, native, derivatives: 0, gradient: 0.0 };
        for (x, gradient) in wrt.iter().zip(gradients) {
            self.verify_gradient(y, *x, gradient, leaves, &mut found)?;
        }
        Ok(found)
    }

    /// Compiles every node as an output, and compares.
    fn verify_native(
        &self,
        y: Tensor<'_>,
        gradients: &[Tensor<'_>],
        leaves: &[(&str, Value)],
    ) -> Result<(usize, f64)> {
        let needed = self.reachable(gradients.iter().map(|gradient| gradient.id()).chain([y.id()]));
        let computed = |node: &View<Op>| needed[node.id.index()] && !matches!(node.op, Op::Leaf(_));
        let nodes: Vec<View<Op>> = self.nodes().filter(computed).collect();
        let names: Vec<String> = nodes.iter().map(|node| format!("%{}", node.id.index())).collect();
        let outputs: Vec<(&str, Tensor<'_>)> =
            names.iter().map(String::as_str).zip(nodes.iter().map(|node| self.tensor(node.id))).collect();
        let expected = self.interpret(&outputs, leaves)?;
        let actual = self.run_once(&outputs, leaves)?;
        let mut largest = 0.0f64;
        for (node, name) in nodes.iter().zip(&names) {
            let apart = difference(&expected[name], &actual[name]);
            let allowed = if node.ty.dtype == DType::F64 { 1e-10 } else { 1e-4 };
            if apart > allowed {
                let what = format!("node {name} = {} {}, of origin {}", node.op, node.ty, node.origin);
                return Err(differs(what, "native code", "the interpreter", apart));
            }
            largest = largest.max(apart);
        }
        Ok((nodes.len(), largest))
    }

    fn run_once(
        &self,
        outputs: &[(&str, Tensor<'_>)],
        leaves: &[(&str, Value)],
    ) -> Result<BTreeMap<String, Value>> {
        let compiled = self.compile(outputs)?;
        let (mut state, mut inputs) = (compiled.state(), compiled.inputs());
        let (wanted, kept) = (inputs.signature(), state.signature());
        for (name, value) in leaves {
            if wanted.iter().any(|known| known.name == *name) {
                inputs.set(name, value.clone())?;
            } else if kept.iter().any(|known| known.name == *name) {
                state.set(name, value.clone())?;
            }
        }
        let report = compiled.run(&mut state, &inputs)?;
        outputs.iter().map(|(name, _)| Ok((name.to_string(), report.output(name)?))).collect()
    }

    fn verify_gradient(
        &self,
        y: Tensor<'_>,
        x: Tensor<'_>,
        gradient: Tensor<'_>,
        leaves: &[(&str, Value)],
        found: &mut Verification,
    ) -> Result<()> {
        let name = x.leaf_name().unwrap_or_default();
        let Some(at) = leaves.iter().position(|leaf| *leaf.0 == *name) else {
            let message = format!("{x:?} is no leaf with a value; verify takes derivatives in named leaves");
            return Err(Error::Value(message));
        };
        let derived = self.interpret(&[("d", gradient)], leaves)?["d"].to_f64();
        let scale = derived.iter().fold(1.0f64, |scale, d| scale.max(d.abs()));
        // A step that balances the error of the formula, h⁴, with rounding, ε/h.
        let (step, allowed) = if x.dtype() == DType::F64 { (1e-3, 1e-6) } else { (3e-2, 2e-2) };
        let centre = leaves[at].1.to_f64();
        for element in (0..derived.len()).step_by(derived.len().div_ceil(ELEMENTS).max(1)) {
            let evaluate = |offset: f64| -> Result<f64> {
                let mut moved = centre.clone();
                moved[element] += offset;
                let mut leaves = leaves.to_vec();
                leaves[at].1 = Value::from_elements(x.ty(), moved.into_iter().map(Scalar::F64));
                Ok(self.interpret(&[("y", y)], &leaves)?["y"].to_f64()[0])
            };
            let slope = |h: f64| -> Result<f64> { Ok((evaluate(h)? - evaluate(-h)?) / (2.0 * h)) };
            let numeric = (4.0 * slope(step)? - slope(2.0 * step)?) / 3.0;
            let apart = (derived[element] - numeric).abs() / scale;
            if apart.is_nan() || apart > allowed {
                let what = format!("the derivative in element {element} of `{name}` ({})", derived[element]);
                return Err(differs(what, "derivation", &format!("differences ({numeric})"), apart));
            }
            found.derivatives += 1;
            found.gradient = found.gradient.max(apart);
        }
        Ok(())
    }
}

fn differs(what: String, left: &str, right: &str, by: f64) -> Error {
    Error::Differs { what, left: left.into(), right: right.into(), by }
}

/// The largest difference of elements, relative to the largest finite element (or 1). What is not finite must be equal.
fn difference(expected: &Value, actual: &Value) -> f64 {
    let (expected, actual) = (expected.to_f64(), actual.to_f64());
    let scale = expected.iter().filter(|x| x.is_finite()).fold(1.0f64, |scale, x| scale.max(x.abs()));
    let apart = |(e, a): (&f64, &f64)| match (e, a) {
        _ if e == a || e.is_nan() && a.is_nan() => 0.0,
        _ if e.is_finite() && a.is_finite() => (e - a).abs() / scale,
        _ => f64::INFINITY,
    };
    expected.iter().zip(&actual).map(apart).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_relative_to_the_largest_element() {
        let value = |x: [f64; 3]| Value::from(ndarray::Array1::from(x.to_vec()));
        assert_eq!(difference(&value([1.0, f64::NAN, 0.5]), &value([1.0, f64::NAN, 0.25])), 0.25);
        assert_eq!(difference(&value([1.0, 0.0, 100.0]), &value([1.0, 1.0, 100.0])), 0.01);
        assert_eq!(difference(&value([f64::INFINITY, 0.0, 0.0]), &value([1.0, 0.0, 0.0])), f64::INFINITY);
    }

    #[test]
    fn what_is_stopped_shows_as_a_difference() {
        let g = Graph::new();
        let x = g.input("x", [3], DType::F64);
        let y = (x * x.stop_gradient()).sum(..);
        let at = [("x", ndarray::array![1.0, 2.0, 3.0].into())];
        let message = g.verify(y, &[x], &at).unwrap_err().to_string();
        assert!(message.starts_with("the derivative in element 0 of `x` (1)"), "{message}");
        assert!(g.verify(y, &[y], &at).unwrap_err().to_string().contains("no leaf with a value"));
    }
}
