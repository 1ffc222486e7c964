//! Standardisation: columns of mean 0 and standard deviation 1.

use ndarray::{Array1, Array2, ArrayView1, Axis};

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
        // Divided before they are added or squared: neither overflows nor underflows.
        let shift = (values / rows).sum_axis(Axis(0));
        let centred = values - &shift;
        let scale = centred.map_axis(Axis(0), |column| match root_mean_square(column) {
            deviation if deviation > 0.0 => deviation,
            _ => 1.0,
        });
        Scaling { shift, scale }
    }

    /// The scaled values.
    pub fn apply(&self, values: &Array2<f64>) -> Array2<f64> {
        (values - &self.shift) / &self.scale
    }
}

/// The root of the mean of the squares, computed without overflow or underflow; 0 for no values.
pub(crate) fn root_mean_square(values: ArrayView1<'_, f64>) -> f64 {
    let largest = values.iter().fold(0.0, |largest: f64, value| largest.max(value.abs()));
    if largest == 0.0 {
        return 0.0;
    }
    let sum: f64 = values.iter().map(|value| (value / largest).powi(2)).sum();
    largest * (sum / values.len() as f64).sqrt()
}
