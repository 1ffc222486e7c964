//! Tables of numbers, read from CSV files.

use std::path::Path;

use ndarray::{Array1, Array2, ArrayView1};

use crate::error::{Error, Result};

/// What to do with a row that has an empty cell or NaN.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Missing {
    /// Refuse the table, naming row and column.
    #[default]
    Refuse,
    /// Leave the row out.
    DropRow,
}

/// Named columns of numbers, of equal length.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    names: Vec<String>,
    /// One row a sample.
    values: Array2<f64>,
    dropped: usize,
}

impl Table {
    /// Reads a CSV file whose first line names the columns. Columns listed in `ignored` are not looked at.
    ///
    /// # Errors
    /// A file that cannot be read or is empty; two columns of one name; an ignored column that does not exist; a
    /// row of another length; a cell that is not a finite number, with its row (counted from 1 below the header)
    /// and column.
    pub fn read_csv(path: impl AsRef<Path>, ignored: &[String], missing: Missing) -> Result<Table> {
        let path = path.as_ref();
        let fault = |message: String| Error::File { path: path.display().to_string(), message };
        let text = std::fs::read(path).map_err(|error| fault(error.to_string()))?;
        let text = String::from_utf8(text)
            .map_err(|_| fault("is not UTF-8 text; save it as CSV in UTF-8".into()))?;
        Table::parse_csv(&text, ignored, missing).map_err(|error| fault(error.to_string()))
    }

    /// Reads a table from the text of a CSV file.
    ///
    /// # Errors
    /// As [`Table::read_csv`].
    ///
    /// ```
    /// # use hitofude::data::{Missing, Table};
    /// let table = Table::parse_csv("a,b\n1,2\n3,4\n", &[], Missing::Refuse)?;
    /// assert_eq!(table.rows(), 2);
    /// assert_eq!(table.column("b")?.to_vec(), [2.0, 4.0]);
    /// let error = Table::parse_csv("a,b\n1,x\n", &[], Missing::Refuse).unwrap_err();
    /// assert!(error.to_string().contains("row 1, column `b`: `x` is not a number"));
    /// # Ok::<(), hitofude::Error>(())
    /// ```
    pub fn parse_csv(text: &str, ignored: &[String], missing: Missing) -> Result<Table> {
        let text = text.trim_start_matches('\u{feff}');
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        let header: Vec<String> = reader.headers().map_err(csv_error)?.iter().map(str::to_string).collect();
        check_header(&header, ignored)?;
        let kept: Vec<usize> = (0..header.len()).filter(|&at| !ignored.contains(&header[at])).collect();
        let (mut values, mut rows, mut dropped) = (Vec::new(), 0, 0);
        for (row, record) in reader.records().enumerate() {
            let record = record.map_err(csv_error)?;
            let cells: Result<Vec<Option<f64>>> =
                kept.iter().map(|&at| cell(&record[at], row + 1, &header[at], missing)).collect();
            match cells?.into_iter().collect::<Option<Vec<f64>>>() {
                Some(cells) => {
                    values.extend(cells);
                    rows += 1;
                }
                None => dropped += 1,
            }
        }
        let names = kept.iter().map(|&at| header[at].clone()).collect();
        let values = Array2::from_shape_vec((rows, kept.len()), values)
            .map_err(|error| Error::Internal(format!("a table of unequal rows: {error}")))?;
        Ok(Table { names, values, dropped })
    }

    /// The names of the columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.values.nrows()
    }

    /// Rows left out because of missing cells.
    pub fn dropped(&self) -> usize {
        self.dropped
    }

    /// A column.
    ///
    /// # Errors
    /// There is no column of this name.
    pub fn column(&self, name: &str) -> Result<ArrayView1<'_, f64>> {
        self.position(name).map(|at| self.values.column(at))
    }

    /// The column of this name, and the table of all others.
    ///
    /// # Errors
    /// There is no column of this name.
    pub fn split(&self, target: &str) -> Result<(Array1<f64>, Table)> {
        let at = self.position(target)?;
        let others: Vec<usize> = (0..self.names.len()).filter(|&other| other != at).collect();
        Ok((self.values.column(at).to_owned(), self.select(&others)))
    }

    /// The table of the columns at these positions.
    pub(crate) fn select(&self, columns: &[usize]) -> Table {
        let names = columns.iter().map(|&at| self.names[at].clone()).collect();
        Table { names, values: self.values.select(ndarray::Axis(1), columns), dropped: self.dropped }
    }

    /// All values: one row a sample, one column a name.
    pub fn values(&self) -> &Array2<f64> {
        &self.values
    }

    fn position(&self, name: &str) -> Result<usize> {
        self.names.iter().position(|known| known == name).ok_or_else(|| unknown_column(name, &self.names))
    }
}

fn unknown_column(name: &str, known: &[String]) -> Error {
    let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    Error::UnknownName { kind: "column", name: name.into(), known: known.join(", ") }
}

fn check_header(header: &[String], ignored: &[String]) -> Result<()> {
    if header.iter().all(String::is_empty) {
        return Err(Error::Data("the file is empty; its first line must name the columns".into()));
    }
    if let Some(at) = (1..header.len()).find(|&at| header[..at].contains(&header[at])) {
        return Err(Error::Data(format!("two columns are named `{}`; give each its own name", header[at])));
    }
    if let Some(number) = header.iter().find(|name| name.parse::<f64>().is_ok()) {
        let message =
            format!("the first line must name the columns, but has the number {number}; add a header line");
        return Err(Error::Data(message));
    }
    ignored
        .iter()
        .find(|name| !header.contains(name))
        .map_or(Ok(()), |name| Err(unknown_column(name, header)))
}

/// A cell's number; `None` for a missing one that may be left out.
fn cell(text: &str, row: usize, column: &str, missing: Missing) -> Result<Option<f64>> {
    let fault = |what: String| Err(Error::Data(format!("row {row}, column `{column}`: {what}")));
    let is_missing = text.is_empty() || text.eq_ignore_ascii_case("nan") || text.eq_ignore_ascii_case("na");
    match (text.parse::<f64>(), missing) {
        _ if is_missing && missing == Missing::DropRow => Ok(None),
        _ if is_missing => fault(format!(
            "`{text}` is a missing value; fill it in, or leave such rows out with --drop-missing"
        )),
        (Ok(number), _) if number.is_finite() => Ok(Some(number)),
        (Ok(_), _) => fault(format!("`{text}` is not finite")),
        (Err(_), _) => fault(format!(
            "`{text}` is not a number; encode it as one, or leave the column out with --ignore {column}"
        )),
    }
}

fn csv_error(error: csv::Error) -> Error {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let row = pos.as_ref().map_or(0, |pos| pos.record());
            Error::Data(format!("row {row} has {len} cells, and the header {expected_len}"))
        }
        _ => Error::Data(error.to_string()),
    }
}
