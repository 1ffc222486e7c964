//! State that lies in panels, row by row for its owner.

use ndarray::ArrayD;

use crate::loops::{Panels, PanelsOf};
use crate::types::{Value, map_value};

/// A matrix with its elements in the order in which they lie in panels.
pub(super) fn packed(value: &Value, panels: Panels) -> Option<Value> {
    let Panels { rows, columns, width, of } = panels;
    let (extents, axes) = match of {
        PanelsOf::Rows => ([rows / width, width, columns], [0, 2, 1]),
        PanelsOf::Columns => ([rows, columns / width, width], [1, 0, 2]),
    };
    map_value!(value, array => reordered(array, extents, axes).map(Value::from))
}

/// A matrix whose elements are in the order of panels, row by row.
pub(super) fn unpacked(value: &Value, panels: Panels) -> Option<Value> {
    let Panels { rows, columns, width, of } = panels;
    let (extents, axes) = match of {
        PanelsOf::Rows => ([rows / width, columns, width], [0, 2, 1]),
        PanelsOf::Columns => ([columns / width, rows, width], [1, 0, 2]),
    };
    map_value!(value, array => reordered(array, extents, axes).map(Value::from))
}

/// The elements as if three axes were in another order.
fn reordered<T: Copy>(array: &ArrayD<T>, extents: [usize; 3], axes: [usize; 3]) -> Option<ArrayD<T>> {
    let standard = array.as_standard_layout();
    let parts = standard.view().into_shape_with_order(extents).ok()?;
    let elements = parts.permuted_axes(axes).iter().copied().collect();
    ArrayD::from_shape_vec(array.raw_dim(), elements).ok()
}
