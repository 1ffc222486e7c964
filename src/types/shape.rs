//! Shapes, sets of axes, tensor types and NumPy's broadcasting rule.

use std::fmt;

use super::DType;
use crate::error::{Error, Result};

/// The largest rank a tensor may have.
pub const MAX_RANK: usize = 8;

/// The extents of a tensor, outermost first; rank 0 (a scalar) to 8. Memory order is row-major.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    extents: [usize; MAX_RANK],
    rank: u8,
}

impl Shape {
    /// The shape of a scalar, `[]`.
    pub const SCALAR: Shape = Shape { extents: [0; MAX_RANK], rank: 0 };

    /// A shape from extents known at run time.
    ///
    /// # Errors
    /// More than 8 axes, or more elements than memory can address.
    ///
    /// ```
    /// # use hitofude::Shape;
    /// assert_eq!(Shape::new(&[2, 3])?.elements(), 6);
    /// assert!(Shape::new(&[1; 9]).is_err());
    /// # Ok::<(), hitofude::Error>(())
    /// ```
    pub fn new(extents: &[usize]) -> Result<Shape> {
        if extents.len() > MAX_RANK {
            return Err(Error::Shape(format!(
                "{extents:?} has {} axes; a tensor has at most {MAX_RANK}",
                extents.len()
            )));
        }
        let shape = Shape::of(extents);
        shape.check()?;
        Ok(shape)
    }

    /// The shape with these at most 8 extents.
    pub(crate) fn of(extents: &[usize]) -> Shape {
        let mut shape = Shape::SCALAR;
        shape.extents[..extents.len()].copy_from_slice(extents);
        shape.rank = extents.len() as u8;
        shape
    }

    /// Fails when the elements could not be addressed, were they 8 bytes each.
    pub(crate) fn check(&self) -> Result<()> {
        self.extents()
            .iter()
            .try_fold(8usize, |bytes, &extent| bytes.checked_mul(extent.max(1)))
            .filter(|&bytes| isize::try_from(bytes).is_ok())
            .map(|_| ())
            .ok_or_else(|| Error::Shape(format!("{self} has more elements than memory can hold")))
    }

    /// The extents, outermost axis first.
    pub fn extents(&self) -> &[usize] {
        &self.extents[..self.rank()]
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.rank.into()
    }

    /// The number of elements: 1 for a scalar, 0 where an axis is empty.
    pub fn elements(&self) -> usize {
        self.extents().iter().product()
    }

    /// The shape both operands broadcast to, by NumPy's rule: aligned at the last axis, an extent
    /// of 1 stretches.
    pub fn broadcast(self, other: Shape) -> Option<Shape> {
        let rank = self.rank().max(other.rank());
        let extent = |shape: &Shape, axis: usize| {
            (axis + shape.rank()).checked_sub(rank).map_or(1, |axis| shape.extents()[axis])
        };
        let mut result = Shape::of(&[1; MAX_RANK][..rank]);
        for axis in 0..rank {
            result.extents[axis] = match (extent(&self, axis), extent(&other, axis)) {
                (a, b) if a == b => a,
                (1, b) => b,
                (a, 1) => a,
                _ => return None,
            };
        }
        Some(result)
    }

    /// The shape without the given axes.
    pub(crate) fn without(&self, axes: Axes) -> Shape {
        let kept: Vec<usize> =
            (0..self.rank()).filter(|&axis| !axes.contains(axis)).map(|axis| self.extents[axis]).collect();
        Shape::of(&kept)
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(extents: [usize; N]) -> Shape {
        const { assert!(N <= MAX_RANK, "a tensor has at most 8 axes") };
        Shape::of(&extents)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let extents: Vec<String> = self.extents().iter().map(usize::to_string).collect();
        write!(f, "[{}]", extents.join(","))
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A set of axes of one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Axes(u8);

impl Axes {
    /// Every axis of a tensor of this rank.
    pub fn all(rank: usize) -> Axes {
        (0..rank).collect()
    }

    /// Whether `axis` belongs to the set.
    pub fn contains(self, axis: usize) -> bool {
        axis < MAX_RANK && self.0 & (1 << axis) != 0
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The axes in ascending order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_RANK).filter(move |&axis| self.contains(axis))
    }
}

impl FromIterator<usize> for Axes {
    /// Axes of 8 and more, which no tensor has, are left out.
    fn from_iter<I: IntoIterator<Item = usize>>(axes: I) -> Axes {
        Axes(axes.into_iter().filter(|&axis| axis < MAX_RANK).fold(0, |set, axis| set | 1 << axis))
    }
}

impl fmt::Display for Axes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let axes: Vec<String> = self.iter().map(|axis| axis.to_string()).collect();
        f.write_str(&axes.join(","))
    }
}

/// Element type and shape: all that is known of a tensor before it has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TensorType {
    pub dtype: DType,
    pub shape: Shape,
}

impl TensorType {
    /// A tensor of `dtype` elements in `shape`.
    pub fn new(dtype: DType, shape: impl Into<Shape>) -> TensorType {
        TensorType { dtype, shape: shape.into() }
    }

    /// The type that prints as this text, such as `f32[2,3]`.
    pub(crate) fn parse(text: &str) -> Option<TensorType> {
        let (dtype, extents) = text.strip_suffix(']')?.split_once('[')?;
        Some(TensorType { dtype: DType::parse(dtype)?, shape: Shape::new(&parse_numbers(extents)?).ok()? })
    }

    /// Bytes the tensor takes in memory.
    pub fn bytes(&self) -> usize {
        self.shape.elements() * self.dtype.size()
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.dtype, self.shape)
    }
}

/// Numbers with commas between them; none in an empty text.
pub(crate) fn parse_numbers(text: &str) -> Option<Vec<usize>> {
    match text.trim() {
        "" => Some(vec![]),
        list => list.split(',').map(|number| number.trim().parse().ok()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcast_follows_numpy() {
        let case = |a: &[usize], b: &[usize]| Shape::of(a).broadcast(Shape::of(b));
        assert_eq!(case(&[2, 1], &[3]), Some(Shape::of(&[2, 3])));
        assert_eq!(case(&[], &[4, 0]), Some(Shape::of(&[4, 0])));
        assert_eq!(case(&[1], &[0]), Some(Shape::of(&[0])));
        assert_eq!(case(&[2], &[3]), None);
    }

    #[test]
    fn unaddressable_shapes_are_refused() {
        assert!(Shape::new(&[usize::MAX, 2]).is_err());
        assert!(Shape::new(&[1 << 40, 1 << 30, 0]).is_err());
    }
}
