//! Affine expressions of loop variables: every address and index a kernel computes.

use std::fmt;

/// A loop variable of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LoopVar(pub u16);

impl LoopVar {
    pub fn index(self) -> usize {
        self.0.into()
    }
}

/// `constant + Σ coefficient · variable`, in canonical form: variables ascending, no zero coefficient.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Affine {
    constant: i64,
    terms: Vec<(LoopVar, i64)>,
}

impl Affine {
    pub fn constant(constant: i64) -> Affine {
        Affine { constant, terms: Vec::new() }
    }

    pub fn var(var: LoopVar) -> Affine {
        Affine { constant: 0, terms: vec![(var, 1)] }
    }

    /// The part that no variable moves.
    pub fn offset(&self) -> i64 {
        self.constant
    }

    pub fn terms(&self) -> &[(LoopVar, i64)] {
        &self.terms
    }

    pub fn coefficient(&self, var: LoopVar) -> i64 {
        self.terms.iter().find(|term| term.0 == var).map_or(0, |term| term.1)
    }

    /// Whether the two always differ by the same number, which is not 0.
    pub fn is_beside(&self, other: &Affine) -> bool {
        self.terms == other.terms && self.constant != other.constant
    }

    /// The expression with this variable at 0.
    pub fn without(&self, var: LoopVar) -> Affine {
        let others = self.terms.iter().copied().filter(|term| term.0 != var);
        Affine { constant: self.constant, terms: others.collect() }
    }

    /// The expression with each variable replaced by another expression.
    pub fn replaced(&self, by: impl Fn(LoopVar) -> Affine) -> Affine {
        let mut sum = Affine::constant(self.constant);
        self.terms.iter().for_each(|&(var, coefficient)| sum.add(&by(var), coefficient));
        sum
    }

    /// Whether elements that are neighbours along `vector` lie so far apart or further, and those along `turns` side by side.
    pub(crate) fn is_across(&self, vector: LoopVar, apart: usize, turns: LoopVar) -> bool {
        self.coefficient(turns) == 1 && self.coefficient(vector) >= apart as i64
    }

    pub fn scaled(&self, factor: i64) -> Affine {
        if factor == 0 {
            return Affine::default();
        }
        Affine {
            constant: self.constant * factor,
            terms: self.terms.iter().map(|&(var, c)| (var, c * factor)).collect(),
        }
    }

    pub fn plus(&self, other: &Affine) -> Affine {
        let mut sum = self.clone();
        sum.add(other, 1);
        sum
    }

    /// Adds so many times the other expression.
    fn add(&mut self, other: &Affine, times: i64) {
        self.constant += other.constant * times;
        for &(var, coefficient) in &other.terms {
            match self.terms.binary_search_by_key(&var, |term| term.0) {
                Ok(at) => self.terms[at].1 += coefficient * times,
                Err(at) => self.terms.insert(at, (var, coefficient * times)),
            }
        }
        self.terms.retain(|term| term.1 != 0);
    }

    /// The row-major offset of `index` in a tensor with these extents.
    pub fn linear(index: &[Affine], extents: &[usize]) -> Affine {
        let mut sum = Affine::default();
        let mut step = 1;
        for (index, &extent) in index.iter().zip(extents).rev() {
            // The only index into an extent of 1 is 0: leave the variable out.
            if extent != 1 {
                sum.add(index, step);
            }
            step *= extent as i64;
        }
        sum
    }

    /// The value for given values of the variables.
    pub fn evaluate(&self, value: impl Fn(LoopVar) -> i64) -> i64 {
        self.terms.iter().fold(self.constant, |sum, &(var, c)| sum + c * value(var))
    }
}

impl fmt::Display for Affine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = self
            .terms
            .iter()
            .map(|&(var, c)| if c == 1 { format!("i{}", var.0) } else { format!("{c}·i{}", var.0) })
            .collect();
        if self.constant != 0 || parts.is_empty() {
            parts.push(self.constant.to_string());
        }
        f.write_str(&parts.join(" + "))
    }
}
