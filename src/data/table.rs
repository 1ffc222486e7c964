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
    /// row of another length; a cell that is not a finite number, with its row (counted from 1 below the header),
    /// line and column. Cells are separated by commas, or by what the header has instead: semicolons or tabs.
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
    /// assert!(error.to_string().contains("row 1 (line 2), column `b`: `x` is not a number"));
    /// # Ok::<(), hitofude::Error>(())
    /// ```
    pub fn parse_csv(text: &str, ignored: &[String], missing: Missing) -> Result<Table> {
        let text = text.trim_start_matches('\u{feff}');
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .delimiter(delimiter(text))
            .from_reader(text.as_bytes());
        let header: Vec<String> = reader.headers().map_err(csv_error)?.iter().map(str::to_string).collect();
        check_header(&header, ignored)?;
        let kept: Vec<usize> = (0..header.len()).filter(|&at| !ignored.contains(&header[at])).collect();
        let (mut values, mut rows, mut dropped) = (Vec::new(), 0, 0);
        for (row, record) in reader.records().enumerate() {
            let record = record.map_err(csv_error)?;
            let start = record.position().map_or(0, |position| position.byte() as usize);
            let place = Place { row: row + 1, text, start };
            let cells: Result<Vec<Option<f64>>> =
                kept.iter().map(|&at| cell(&record[at], &place, &header[at], missing)).collect();
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
    if header.iter().all(|name| name.parse::<f64>().is_ok()) {
        let message = "the first line must name the columns, but has numbers only; add a header line";
        return Err(Error::Data(message.into()));
    }
    ignored
        .iter()
        .find(|name| !header.contains(name))
        .map_or(Ok(()), |name| Err(unknown_column(name, header)))
}

/// Comma, unless the header has none and has semicolons or tabs.
fn delimiter(text: &str) -> u8 {
    let header = text.lines().next().unwrap_or_default();
    match b",;\t".iter().find(|&delimiter| header.as_bytes().contains(delimiter)) {
        Some(&delimiter) => delimiter,
        None => b',',
    }
}

/// A row of the table, counted from 1, and where the file goes on after the row before.
struct Place<'t> {
    row: usize,
    text: &'t str,
    start: usize,
}

impl Place<'_> {
    /// The line of the file the row begins at, counted from 1; blank lines are no rows.
    fn line(&self) -> usize {
        let rest = self.text.get(self.start..).unwrap_or_default();
        let blank = rest.len() - rest.trim_start_matches(['\r', '\n']).len();
        1 + self.text.bytes().take(self.start + blank).filter(|&byte| byte == b'\n').count()
    }
}

/// The word as a shell takes it.
fn shell_word(word: &str) -> String {
    let is_plain = word.chars().all(|c| c.is_alphanumeric() || "_-.".contains(c)) && !word.is_empty();
    if is_plain { word.into() } else { format!("{word:?}") }
}

/// Words that stand for a missing value, besides an empty cell.
const MISSING: [&str; 6] = ["nan", "-nan", "na", "n/a", "null", "none"];

/// A cell's number; `None` for a missing one that may be left out.
fn cell(text: &str, place: &Place<'_>, column: &str, missing: Missing) -> Result<Option<f64>> {
    let fault = |what: String| {
        let (row, line) = (place.row, place.line());
        Err(Error::Data(format!("row {row} (line {line}), column `{column}`: {what}")))
    };
    let is_missing = text.is_empty() || MISSING.iter().any(|word| text.eq_ignore_ascii_case(word));
    match (text.parse::<f64>(), missing) {
        _ if is_missing && missing == Missing::DropRow => Ok(None),
        _ if is_missing => fault(format!(
            "{text:?} is a missing value; fill it in, or leave such rows out with --drop-missing"
        )),
        (Ok(number), _) if number.is_finite() => Ok(Some(number)),
        (Ok(_), _) => fault(format!("`{text}` is not finite")),
        (Err(_), _) => fault(format!(
            "`{text}` is not a number; encode it as one, or leave the column out with --ignore {}",
            shell_word(column)
        )),
    }
}

fn csv_error(error: csv::Error) -> Error {
    match error.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let (row, line) = pos.as_ref().map_or((0, 0), |pos| (pos.record(), pos.line()));
            Error::Data(format!("row {row} (line {line}) has {len} cells, and the header {expected_len}"))
        }
        _ => Error::Data(error.to_string()),
    }
}
