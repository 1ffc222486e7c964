//! Standardisation: columns of mean 0 and standard deviation 1.

use ndarray::{Array1, Array2, Axis};

/// A shift and a scale a column.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaling {
    /// Subtracted from each column.
    pub shift: Array1<f64>,
    /// Each column is divided by it; never 0.
    pub scale: Array1<f64>,
}

impl Scaling {
    /// The scaling that leaves columns as they are.
    pub fn none(columns: usize) -> Scaling {
        Scaling { shift: Array1::zeros(columns), scale: Array1::ones(columns) }
    }

    /// The scaling to mean 0 and population standard deviation 1. A constant column is only shifted.
    pub fn standard(values: &Array2<f64>) -> Scaling {
        let rows = values.nrows().max(1) as f64;
        let shift = values.sum_axis(Axis(0)) / rows;
        let centred = values - &shift;
        let deviation = (&centred * &centred).sum_axis(Axis(0)).mapv(|sum| (sum / rows).sqrt());
        let scale = deviation.mapv(|deviation| if deviation > 0.0 { deviation } else { 1.0 });
        Scaling { shift, scale }
    }

    /// The scaled values.
    pub fn apply(&self, values: &Array2<f64>) -> Array2<f64> {
        (values - &self.shift) / &self.scale
    }
}
