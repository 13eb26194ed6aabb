//! Delimited text (RFC 4180), row by row.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

use csv::{ByteRecord, Reader, ReaderBuilder, Terminator};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DataError, input};
use crate::config::suggest;

/// A column of a table: its name in the header, or its number, counted from 0.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Column {
    /// Counted from 0.
    Number(usize),
    /// As the header has it.
    Name(String),
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Column::Number(number) => write!(f, "column {number}"),
            Column::Name(name) => write!(f, "column `{name}`"),
        }
    }
}

/// How a table is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableFormat {
    pub delimiter: u8,
    /// Whether the first row names the columns.
    pub header: bool,
    /// Whether `"` encloses fields.
    pub quotes: bool,
}

impl TableFormat {
    /// `setting`, or what the file's name says: tab for `.tsv` (also `.tsv.gz`), comma otherwise.
    pub fn delimiter(setting: Option<char>, path: &Path) -> Result<u8, DataError> {
        match setting {
            None => {
                let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
                Ok(if name.trim_end_matches(".gz").ends_with(".tsv") { b'\t' } else { b',' })
            }
            Some('\t') => Ok(b'\t'),
            Some(character) if character.is_ascii() && !character.is_ascii_control() && character != '"' => {
                Ok(character as u8)
            }
            Some(other) => {
                let expected = "a tab or one printable ASCII character, no quote";
                Err(DataError::setting("delimiter", expected, format!("{other:?}")))
            }
        }
    }
}

/// What is wrong with one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RowFault {
    line: u64,
    expected: String,
    found: String,
}

impl RowFault {
    pub fn new(line: u64, expected: impl Into<String>, found: impl Into<String>) -> Self {
        RowFault { line, expected: expected.into(), found: found.into() }
    }

    pub fn error(&self, path: &Path) -> DataError {
        DataError::format(path, &format!("line {}", self.line), self.expected.as_str(), self.found.as_str())
    }
}

/// One row.
pub(super) struct Row {
    /// Where it begins, from 1.
    pub line: u64,
    fields: ByteRecord,
    width: usize,
}

impl Row {
    pub fn fault(&self, expected: impl Into<String>, found: impl Into<String>) -> RowFault {
        RowFault::new(self.line, expected, found)
    }

    /// Fails unless the row is as wide as the header or the first row.
    pub fn expect_width(&self) -> Result<(), RowFault> {
        if self.fields.len() == self.width {
            return Ok(());
        }
        Err(self.fault(format!("{} fields", self.width), self.fields.len().to_string()))
    }

    /// The field of a column.
    pub fn text(&self, column: usize) -> Result<&str, RowFault> {
        self.expect_width()?;
        let bytes = self.fields.get(column).unwrap_or_default();
        std::str::from_utf8(bytes).map_err(|error| {
            self.fault(format!("UTF-8 text in column {column}"), format!("a bad byte at {} of it", error.valid_up_to()))
        })
    }

    /// The field of a column as a finite number.
    pub fn number(&self, column: usize) -> Result<f32, RowFault> {
        let text = self.text(column)?;
        text.trim()
            .parse::<f32>()
            .ok()
            .filter(|number| number.is_finite())
            .ok_or_else(|| self.fault(format!("a finite number in column {column}"), shown(text)))
    }
}

/// Text for a message: quoted, and cut when it is long.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 40;
    match text.char_indices().nth(LONGEST) {
        None if text.is_empty() => "nothing".into(),
        None => format!("`{text}`"),
        Some((end, _)) => format!("`{}…`", &text[..end]),
    }
}

/// An open table.
pub(super) struct Table {
    path: PathBuf,
    reader: Reader<Box<dyn Read + Send>>,
    header: Option<Vec<String>>,
    first: Option<(u64, ByteRecord)>,
    width: usize,
}

impl Table {
    /// Opens the file at `path` and reads its first row.
    pub fn open(path: &Path, format: TableFormat) -> Result<Self, DataError> {
        // Records end at line feeds alone, so that lines can be counted; `record` takes care of \r\n.
        let bytes: Box<dyn Read + Send> = Box::new(input::open(path)?.chain(END));
        let mut reader = ReaderBuilder::new()
            .delimiter(format.delimiter)
            .quoting(format.quotes)
            .terminator(Terminator::Any(b'\n'))
            .has_headers(false)
            .flexible(true)
            .from_reader(bytes);
        let Some((line, first)) = record(&mut reader, path)? else {
            let expected = if format.header { "a header and rows" } else { "rows" };
            return Err(DataError::format(path, "", expected, "an empty file"));
        };
        let width = first.len();
        let (header, first) = if format.header {
            let names = first.iter().map(|name| String::from_utf8_lossy(name).trim().to_owned());
            (Some(names.collect()), None)
        } else {
            (None, Some((line, first)))
        };
        Ok(Table { path: path.to_owned(), reader, header, first, width })
    }

    /// The number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The number of `column`, which must be there.
    pub fn number_of(&self, column: &Column) -> Result<usize, DataError> {
        let fail = |found: String| Err(DataError::format(&self.path, "", column.to_string(), found));
        match (column, &self.header) {
            (Column::Number(number), _) if *number < self.width => Ok(*number),
            (Column::Number(_), _) => fail(format!("{} columns, counted from 0", self.width)),
            (Column::Name(_), None) => fail("a table without a header: give the column's number".into()),
            (Column::Name(name), Some(header)) => match header.iter().position(|known| known == name) {
                Some(number) => Ok(number),
                None => {
                    let hint = suggest(name, header.iter().map(String::as_str));
                    let hint = hint.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
                    fail(format!("the columns {}{hint}", header.join(", ")))
                }
            },
        }
    }

    /// The next row. Empty lines are passed over.
    pub fn next(&mut self) -> Result<Option<Row>, DataError> {
        let record = match self.first.take() {
            Some(first) => Some(first),
            None => record(&mut self.reader, &self.path)?,
        };
        Ok(record.map(|(line, fields)| Row { line, fields, width: self.width }))
    }
}

/// What is read behind the end of a file: a line of its own, or, where a quote was never closed, the end of a field.
const END: &[u8] = b"\n\0\x01\0\n";

/// The next record that is not an empty line, and the line where it begins, from 1.
fn record(reader: &mut Reader<Box<dyn Read + Send>>, path: &Path) -> Result<Option<(u64, ByteRecord)>, DataError> {
    let end = END.trim_ascii_start();
    let end = end.strip_suffix(b"\n").unwrap_or(end);
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(|error| fault(path, error))? {
        if record.as_slice() == end {
            return Ok(None);
        }
        let inside = record.as_slice().iter().filter(|byte| **byte == b'\n').count() as u64;
        let next = reader.position().line().saturating_sub(inside);
        if record.as_slice().ends_with(END) {
            let place = format!("line {next}");
            return Err(DataError::format(path, &place, "a quote to close the field", "the end of the file"));
        }
        if record.as_slice().last() == Some(&b'\r') {
            let last = record.len() - 1;
            let trimmed = record
                .iter()
                .enumerate()
                .map(|(place, field)| if place == last { field.strip_suffix(b"\r").unwrap_or(field) } else { field });
            record = trimmed.collect();
        }
        if record.len() > 1 || !record.as_slice().is_empty() {
            return Ok(Some((next.saturating_sub(1), record)));
        }
    }
    Ok(None)
}

fn fault(path: &Path, error: csv::Error) -> DataError {
    match error.into_kind() {
        csv::ErrorKind::Io(source) => DataError::io(path, source),
        other => DataError::format(path, "", "delimited text", format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::gzip;
    use super::*;

    const COMMAS: TableFormat = TableFormat { delimiter: b',', header: false, quotes: true };

    fn rows(bytes: &[u8], format: TableFormat) -> Vec<(u64, Vec<String>)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table");
        std::fs::write(&path, bytes).unwrap();
        let mut table = Table::open(&path, format).unwrap();
        let mut rows = Vec::new();
        while let Some(row) = table.next().unwrap() {
            let fields = row.fields.iter().map(|field| String::from_utf8_lossy(field).into_owned());
            rows.push((row.line, fields.collect()));
        }
        rows
    }

    #[test]
    fn rows_and_their_lines() {
        let tabs = TableFormat { delimiter: b'\t', header: false, quotes: false };
        let compressed = gzip(b"a,b\n");
        for (bytes, format, expected) in [
            (&b"a,b\nc,d\n"[..], COMMAS, &[(1, &["a", "b"][..]), (2, &["c", "d"])][..]),
            (b"a,b\r\n\r\nc,\"d\"\r\ne,\r\n", COMMAS, &[(1, &["a", "b"]), (3, &["c", "d"]), (4, &["e", ""])]),
            (b"\n\n,\n\"\"\n\nc,d", COMMAS, &[(3, &["", ""]), (6, &["c", "d"])]),
            (b"a,\"b\n\"\n\"c\n\",d", COMMAS, &[(1, &["a", "b\n"]), (3, &["c\n", "d"])]),
            (b"\"a,\"\"x\"\"\ny\",b\nc,d\n", COMMAS, &[(1, &["a,\"x\"\ny", "b"]), (3, &["c", "d"])]),
            (b"a\t\"b\n\n'c\td\n", tabs, &[(1, &["a", "\"b"]), (3, &["'c", "d"])]),
            (b"\xef\xbb\xbfa,b\n", COMMAS, &[(1, &["a", "b"])]),
            (&compressed, COMMAS, &[(1, &["a", "b"])]),
        ] {
            let expected: Vec<(u64, Vec<String>)> =
                expected.iter().map(|(line, row)| (*line, row.iter().map(|f| (*f).to_owned()).collect())).collect();
            assert_eq!(rows(bytes, format), expected, "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_quote_that_is_not_closed_is_a_fault_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table");
        for (text, line) in [("a,b\n\nc,\"d\ne,f\n", 3), ("a\nb\n\"", 3), ("a\n\"\n\n\n", 2)] {
            std::fs::write(&path, text).unwrap();
            let mut table = Table::open(&path, COMMAS).unwrap();
            let error = std::iter::from_fn(|| table.next().transpose()).find_map(Result::err).unwrap();
            let expected = format!("line {line}: expected a quote to close the field, found the end of the file");
            assert!(error.to_string().ends_with(&expected), "{error}");
        }
    }

    #[test]
    fn delimiters() {
        for (setting, name, expected) in [
            (None, "a.csv", Some(b',')),
            (None, "a.tsv", Some(b'\t')),
            (None, "a.TSV.gz", Some(b'\t')),
            (None, "a", Some(b',')),
            (Some(';'), "a.tsv", Some(b';')),
            (Some('"'), "a", None),
            (Some('é'), "a", None),
            (Some('\n'), "a", None),
        ] {
            assert_eq!(TableFormat::delimiter(setting, Path::new(name)).ok(), expected, "{setting:?} {name}");
        }
    }

    #[test]
    fn long_text_is_cut_in_messages() {
        assert_eq!(shown(""), "nothing");
        assert_eq!(shown("é"), "`é`");
        assert_eq!(shown(&"é".repeat(50)), format!("`{}…`", "é".repeat(40)));
    }
}
