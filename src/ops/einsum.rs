//! `einsum`: any number of operands summed over labelled axes, composed of diagonals, sums and contractions.

use std::collections::BTreeSet;

use super::{Dot, Graph, Tensor};
use crate::error::TypeError;
use crate::types::{Axes, DType};

/// The labels of axes that an ellipsis stands for count from here, the last axis first; letters are themselves.
const ELLIPSIS: u8 = 128;

/// Labels of every operand's axes and of the result's.
struct Spec {
    operands: Vec<Vec<u8>>,
    out: Vec<u8>,
}

/// An operand on the way: a tensor and its axes' labels.
#[derive(Clone)]
struct Labelled<'g> {
    tensor: Tensor<'g>,
    labels: Vec<u8>,
}

impl Spec {
    fn parse(text: &str, operands: &[Tensor<'_>]) -> Result<Spec, TypeError> {
        let text: String = text.split_whitespace().collect();
        let (inputs, out) = match text.split_once("->") {
            Some((inputs, out)) => (inputs, Some(out)),
            None => (&text[..], None),
        };
        let terms: Vec<&str> = inputs.split(',').collect();
        if terms.len() != operands.len() {
            let (named, given) = (terms.len(), operands.len());
            let message = format!(
                "`{text}` lists the axes of {named} of {given} operands; separate them by commas, as in \"nk,km->nm\""
            );
            return Err(TypeError::Invalid(message));
        }
        let labels = |(term, operand): (&&str, &Tensor<'_>)| Spec::term(term, *operand);
        let operands: Vec<Vec<u8>> = terms.iter().zip(operands).map(labels).collect::<Result<_, _>>()?;
        let out = match out {
            Some(out) => Spec::explicit(out, &operands)?,
            None => Spec::implicit(&operands),
        };
        Ok(Spec { operands, out })
    }

    /// The labels of one operand, of its rank.
    fn term(term: &str, operand: Tensor<'_>) -> Result<Vec<u8>, TypeError> {
        let rank = operand.shape().rank();
        let (before, after) = term.split_once("...").unwrap_or((term, ""));
        let named = letters(before)?.len() + letters(after)?.len();
        let has_ellipsis = term.len() > named;
        if named > rank || named < rank && !has_ellipsis {
            let message = format!("`{term}` names {named} axes of {}, which has {rank}", operand.ty());
            return Err(TypeError::Invalid(message));
        }
        let rest = ellipsis(rank - named);
        Ok([before.as_bytes(), &rest, after.as_bytes()].concat())
    }

    fn explicit(text: &str, operands: &[Vec<u8>]) -> Result<Vec<u8>, TypeError> {
        let (before, after) = text.split_once("...").unwrap_or((text, ""));
        let rest = if text.contains("...") { widest(operands) } else { vec![] };
        let out = [letters(before)?, &rest, letters(after)?].concat();
        for (at, label) in out.iter().enumerate() {
            let name = char::from(*label);
            if out[..at].contains(label) {
                return Err(TypeError::Invalid(format!("`{name}` stands twice in the result")));
            }
            if !operands.iter().any(|labels| labels.contains(label)) {
                return Err(TypeError::Invalid(format!("`{name}` of the result is in no operand")));
            }
        }
        Ok(out)
    }

    /// What an ellipsis stands for, then the labels that stand once, in the alphabet's order.
    fn implicit(operands: &[Vec<u8>]) -> Vec<u8> {
        let count = |label: u8| operands.iter().flatten().filter(|&&other| other == label).count();
        let once = (0..ELLIPSIS).filter(|&label| count(label) == 1);
        widest(operands).into_iter().chain(once).collect()
    }
}

fn letters(text: &str) -> Result<&[u8], TypeError> {
    match text.chars().find(|c| !c.is_ascii_alphabetic()) {
        None => Ok(text.as_bytes()),
        Some(other) => {
            let message = format!("`{other}` is no label; write letters, as in \"nk,km->nm\", and `...`");
            Err(TypeError::Invalid(message))
        }
    }
}

/// The labels of as many axes as an ellipsis stands for.
fn ellipsis(axes: usize) -> Vec<u8> {
    (0..axes as u8).rev().map(|axis| ELLIPSIS + axis).collect()
}

/// The labels of the longest ellipsis.
fn widest(operands: &[Vec<u8>]) -> Vec<u8> {
    let axes = |labels: &Vec<u8>| labels.iter().filter(|&&label| label >= ELLIPSIS).count();
    ellipsis(operands.iter().map(axes).max().unwrap_or(0))
}

impl<'g> Labelled<'g> {
    fn extent(&self, label: u8) -> Option<usize> {
        let axis = self.labels.iter().position(|&other| other == label)?;
        Some(self.tensor.shape().extents()[axis])
    }

    /// Without the axes of these labels, over which the tensor is summed.
    #[track_caller]
    fn summed(self, is_summed: impl Fn(u8) -> bool) -> Labelled<'g> {
        let (labels, gone): (Vec<u8>, Vec<u8>) = self.labels.iter().partition(|&&label| !is_summed(label));
        let axes: Axes = (0..self.labels.len()).filter(|&axis| gone.contains(&self.labels[axis])).collect();
        Labelled { tensor: self.tensor.sum_repeats(axes), labels }
    }

    /// With one axis a label.
    #[track_caller]
    fn diagonals(mut self) -> Labelled<'g> {
        while let Some((first, second)) = repeated(&self.labels) {
            self.tensor = self.tensor.diagonal(first as isize, second as isize);
            self.labels.remove(second);
            let label = self.labels.remove(first);
            self.labels.push(label);
        }
        self
    }

    /// Without the axes of extent 1 that stretch to another operand's, under an ellipsis.
    #[track_caller]
    fn unstretched(mut self, all: &[Labelled<'g>]) -> Labelled<'g> {
        for axis in (0..self.labels.len()).rev() {
            let label = self.labels[axis];
            let stretches = all.iter().filter_map(|other| other.extent(label)).any(|extent| extent != 1);
            if label >= ELLIPSIS && self.tensor.shape().extents()[axis] == 1 && stretches {
                self.tensor = self.tensor.squeeze(axis as isize);
                self.labels.remove(axis);
            }
        }
        self
    }

    /// The number of elements of a tensor with these labels, of which this pair has the extents.
    fn elements(&self, other: &Labelled<'g>, labels: &[u8]) -> i128 {
        let extent = |&label: &u8| self.extent(label).or(other.extent(label)).unwrap_or(1);
        labels.iter().map(|label| extent(label) as i128).product()
    }
}

/// The first two axes of one label.
fn repeated(labels: &[u8]) -> Option<(usize, usize)> {
    (0..labels.len()).find_map(|second| {
        let first = labels[..second].iter().position(|label| *label == labels[second])?;
        Some((first, second))
    })
}

/// Fails where axes of one label differ in extent.
fn check_extents(operands: &[Labelled<'_>]) -> Result<(), TypeError> {
    let axes = || {
        operands.iter().flat_map(|x| {
            let ty = x.tensor.ty();
            x.labels.iter().zip(0..).map(move |(&label, axis)| (label, ty, ty.shape.extents()[axis as usize]))
        })
    };
    for (label, lhs, extent) in axes() {
        let differs = |other: &(u8, _, usize)| {
            let stretches = label >= ELLIPSIS && (extent == 1 || other.2 == 1);
            other.0 == label && other.2 != extent && !stretches
        };
        if let Some((_, rhs, other)) = axes().find(differs) {
            let name = if label >= ELLIPSIS { "...".into() } else { char::from(label).to_string() };
            let expected = format!("axes labelled `{name}` have extents {extent} and {other}");
            return Err(TypeError::Mismatch { lhs, rhs, expected });
        }
    }
    Ok(())
}

/// The labels of a pair's product: those that the result or another operand has.
fn kept(pair: [&Labelled<'_>; 2], rest: &[&Labelled<'_>], out: &[u8]) -> Vec<u8> {
    let wanted = |label: &u8| out.contains(label) || rest.iter().any(|other| other.labels.contains(label));
    if rest.is_empty() {
        return out.to_vec();
    }
    let mut labels: Vec<u8> = pair[0].labels.iter().copied().filter(wanted).collect();
    labels.extend(pair[1].labels.iter().copied().filter(|l| wanted(l) && !pair[0].labels.contains(l)));
    labels
}

/// The two operands to be contracted next: such as share a label, if there are any, and whose product makes the least
/// memory of what they take (the greedy order of opt_einsum, Smith & Gray 2018); at a tie, that with the least arithmetic.
fn cheapest_pair(operands: &[Labelled<'_>], out: &[u8]) -> (usize, usize) {
    let pairs = (0..operands.len()).flat_map(|j| (0..j).map(move |i| (i, j)));
    let cost = |&(i, j): &(usize, usize)| {
        let (a, b) = (&operands[i], &operands[j]);
        let rest: Vec<&Labelled<'_>> = others(operands, (i, j)).collect();
        let is_outer = !a.labels.iter().any(|label| b.labels.contains(label));
        let product = kept([a, b], &rest, out);
        let grown = a.elements(b, &product) - a.elements(b, &a.labels) - a.elements(b, &b.labels);
        let all: Vec<u8> =
            a.labels.iter().chain(&b.labels).copied().collect::<BTreeSet<u8>>().into_iter().collect();
        (is_outer, grown, a.elements(b, &all))
    };
    pairs.min_by_key(cost).unwrap_or((0, 1))
}

fn others<'a, 'g>(
    operands: &'a [Labelled<'g>],
    (i, j): (usize, usize),
) -> impl Iterator<Item = &'a Labelled<'g>> {
    operands.iter().enumerate().filter(move |(at, _)| ![i, j].contains(at)).map(|(_, operand)| operand)
}

impl Graph {
    /// Products of any number of tensors, summed over labelled axes, by the rules of NumPy's `einsum`: a label that is not
    /// in the result is summed over; twice in one operand, it takes the diagonal; `...` stands for axes that broadcast.
    /// Without `->`, the result has the axes under `...` and then the labels that stand once, in the alphabet's order.
    /// Operands are contracted in pairs, those first whose product is smallest for what it replaces.
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let (a, b) = (g.input("a", [8, 100], F32), g.input("b", [100, 4], F32));
    /// let (c, s) = (g.input("c", [4, 5], F32), g.input("s", [3, 4, 4], F32));
    /// assert_eq!(g.einsum("ij,jk,kl->il", &[a, b, c]).ty().to_string(), "f32[8,5]");
    /// assert_eq!(g.einsum("...ii", &[s]).ty().to_string(), "f32[3]");
    /// assert_eq!(g.einsum("...ii->...i", &[s]).ty().to_string(), "f32[3,4]");
    /// # g.check()?;
    /// # Ok::<(), Error>(())
    /// ```
    #[track_caller]
    pub fn einsum<'g>(&'g self, spec: &str, operands: &[Tensor<'g>]) -> Tensor<'g> {
        let Some(&first) = operands.first() else {
            let nothing = self.constant(0.0, [], DType::F32);
            return nothing.poison("einsum", TypeError::Invalid("there are no operands".into()));
        };
        if let Some(poisoned) = self.unusable("einsum", operands) {
            return poisoned;
        }
        let parsed = Spec::parse(spec, operands).and_then(|spec| {
            let labelled = operands.iter().zip(&spec.operands);
            let labelled: Vec<Labelled<'g>> =
                labelled.map(|(&tensor, labels)| Labelled { tensor, labels: labels.clone() }).collect();
            check_extents(&labelled).map(|()| (labelled, spec.out))
        });
        match parsed {
            Ok((operands, out)) => contract(operands, &out),
            Err(error) => first.poison("einsum", error),
        }
    }
}

/// Contracts the operands in pairs until one is left.
#[track_caller]
fn contract<'g>(operands: Vec<Labelled<'g>>, out: &[u8]) -> Tensor<'g> {
    let mut waiting = Vec::with_capacity(operands.len());
    for operand in &operands {
        waiting.push(operand.clone().unstretched(&operands).diagonals());
    }
    // What one operand alone has is summed before it is multiplied.
    for at in 0..waiting.len() {
        let rest: Vec<u8> = others(&waiting, (at, at)).flat_map(|other| other.labels.clone()).collect();
        waiting[at] = waiting[at].clone().summed(|label| !out.contains(&label) && !rest.contains(&label));
    }
    while waiting.len() > 1 {
        let (i, j) = cheapest_pair(&waiting, out);
        let (b, a) = (waiting.remove(j), waiting.remove(i));
        let rest: Vec<&Labelled<'g>> = waiting.iter().collect();
        let labels = kept([&a, &b], &rest, out);
        let tensor = Dot::apply(Dot::new(&a.labels, &b.labels, &labels), a.tensor, b.tensor);
        waiting.push(Labelled { tensor, labels });
    }
    let last = waiting.remove(0);
    let order: Vec<usize> =
        out.iter().filter_map(|label| last.labels.iter().position(|other| other == label)).collect();
    if last.labels == out || last.tensor.is_poison() { last.tensor } else { last.tensor.permute(&order) }
}

impl<'g> Tensor<'g> {
    /// A contraction of two tensors, as [`Graph::einsum`].
    ///
    /// ```
    /// # use hitofude::prelude::*;
    /// let g = Graph::new();
    /// let (x, w) = (g.input("x", [8, 3], F32), g.parameter("w", [5, 3], F32));
    /// assert_eq!(x.einsum("nk,mk->nm", w).ty().to_string(), "f32[8,5]");
    /// ```
    #[track_caller]
    pub fn einsum(self, spec: &str, other: Tensor<'g>) -> Tensor<'g> {
        self.graph.einsum(spec, &[self, other])
    }
}
