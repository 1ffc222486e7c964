//! Matrices laid out as contractions read them.

use std::fmt;

/// Bytes that lie side by side in a panel: one line, which is the widest vector, or two that are half as wide.
pub const PANEL: usize = 64;

/// A matrix that is not laid out row by row, but in panels of so many rows: elements of one column lie side by side, column
/// after column. Or in panels of columns, likewise. Contractions that sum along the panels find their vectors there without
/// packing them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Panels {
    pub rows: usize,
    pub columns: usize,
    pub of: PanelsOf,
    /// How many of them are a panel: a divisor of all.
    pub width: usize,
}

/// What is side by side in a panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PanelsOf {
    Rows,
    Columns,
}

impl PanelsOf {
    /// What is side by side in a panel first, of what belongs to rows and to columns.
    pub fn first<T>(self, [rows, columns]: [T; 2]) -> [T; 2] {
        match self {
            PanelsOf::Rows => [rows, columns],
            PanelsOf::Columns => [columns, rows],
        }
    }
}

impl Panels {
    /// How far panels, what follows in a panel, and neighbours in it are apart.
    pub fn steps(&self) -> [i64; 3] {
        let [_, length] = self.of.first([self.rows, self.columns]);
        [(length * self.width) as i64, self.width as i64, 1]
    }

    /// How many rows or columns are in panels.
    pub fn count(&self) -> usize {
        self.of.first([self.rows, self.columns])[0]
    }
}

impl fmt::Display for Panels {
    /// `128 × 784 in panels of 16 rows`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = match self.of {
            PanelsOf::Rows => "rows",
            PanelsOf::Columns => "columns",
        };
        write!(f, "{} × {} in panels of {} {of}", self.rows, self.columns, self.width)
    }
}
