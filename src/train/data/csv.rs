//! `csv`: a table of numbers with a target in one column (RFC 4180, or tab-separated).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rustc_hash::FxHashMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::classes::Classes;
use super::table::{Column, RowFault, Table, TableFormat, shown};
use super::{DataError, DataFormat, DataSet, FormatEntry, Known, Sample, expect_index};
use crate::tensor::Tensor;

/// What the target column holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CsvTarget {
    /// The name of a class: the target is its number, i64.
    #[default]
    Class,
    /// A number: the target is f32 `[1]`.
    Number,
}

/// A table, a row for each sample: input f32, target i64 or f32 `[1]`. The file may be gzip. It is held in memory.
///
/// A row with another number of fields, a field that is no finite number or a class that is not known is a bad sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Csv {
    /// The file.
    pub path: PathBuf,
    /// What stands between fields. Default: a tab when the file's name ends in .tsv or .tsv.gz, else a comma.
    #[serde(default)]
    pub delimiter: Option<char>,
    /// Whether the first row holds the names of the columns. Default: true.
    #[serde(default = "yes")]
    pub header: bool,
    /// The column of the target: its name, or its number counted from 0.
    pub target: Column,
    /// What the target is. Default: class.
    #[serde(default)]
    pub target_type: CsvTarget,
    /// The names of the classes in the order of their numbers. Default: those of the training data, or all that occur,
    /// in order (of value, where all are whole numbers).
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub classes: Option<Vec<String>>,
    /// The columns of the input, in this order. Default: all but the target.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub features: Option<Vec<Column>>,
    /// The shape of an input, whose product is the number of its columns. Default: `[columns]`.
    #[serde(default)]
    pub shape: Option<Vec<usize>>,
    /// What each input value is multiplied by. Default: 1.
    #[serde(default = "one")]
    pub scale: f32,
    /// What is added to it after that. Default: 0.
    #[serde(default)]
    pub offset: f32,
}

fn yes() -> bool {
    true
}

fn one() -> f32 {
    1.0
}

pub(super) const FORMAT: FormatEntry = FormatEntry::of::<Csv>(
    "csv",
    "a table of numbers, comma- or tab-separated, with a class or a number to predict",
    "path: digits.csv.gz\nheader: false\ntarget: 64\nshape: [1, 8, 8]\nscale: 0.0625\n",
);

impl Csv {
    /// The table at `path`, with a header, whose column `target` names classes.
    pub fn new(path: impl Into<PathBuf>, target: Column) -> Self {
        Csv {
            path: path.into(),
            delimiter: None,
            header: true,
            target,
            target_type: CsvTarget::Class,
            classes: None,
            features: None,
            shape: None,
            scale: 1.0,
            offset: 0.0,
        }
    }
}

impl DataFormat for Csv {
    fn open_with(&self, base_dir: &Path, known: &Known) -> Result<Box<dyn DataSet>, DataError> {
        let path = base_dir.join(&self.path);
        let delimiter = TableFormat::delimiter(self.delimiter, &path)?;
        let mut table = Table::open(&path, TableFormat { delimiter, header: self.header, quotes: true })?;
        let target = table.number_of(&self.target)?;
        let features = match &self.features {
            Some(columns) => columns.iter().map(|column| table.number_of(column)).collect::<Result<Vec<_>, _>>()?,
            None => (0..table.width()).filter(|column| *column != target).collect(),
        };
        if features.is_empty() {
            return Err(DataError::format(&path, "", "at least one column beside the target", "none"));
        }
        let shape = self.shape.clone().unwrap_or_else(|| vec![features.len()]);
        if shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size)) != Some(features.len()) {
            let expected = format!("a shape of {} values, one for each column of the input", features.len());
            return Err(DataError::setting("shape", expected, format!("{shape:?}")));
        }
        let mut rows = Rows { target, kind: self.target_type, features, ..Rows::default() };
        let mut count = 0;
        while let Some(row) = table.next()? {
            if let Err(fault) = rows.take(&row) {
                rows.values.resize((count + 1) * rows.features.len(), 0.0);
                rows.targets.resize(count + 1, Cell::Number(0.0));
                rows.bad.insert(count, fault);
            }
            count += 1;
        }
        if rows.bad.len() == count {
            return Err(match rows.bad.get(&0) {
                Some(fault) => fault.error(&path),
                None => DataError::format(&path, "", "rows", "a header alone"),
            });
        }
        rows.finish(self, path, shape, known)
    }
}

/// A target as it was read: a name that [`Rows::names`] holds, or a number.
#[derive(Clone, Copy, Debug)]
enum Cell {
    Name { line: u64, name: usize },
    Number(f32),
}

#[derive(Default)]
struct Rows {
    target: usize,
    kind: CsvTarget,
    features: Vec<usize>,
    values: Vec<f32>,
    targets: Vec<Cell>,
    names: Vec<String>,
    numbers: FxHashMap<String, usize>,
    bad: BTreeMap<usize, RowFault>,
}

impl Rows {
    fn take(&mut self, row: &super::table::Row) -> Result<(), RowFault> {
        row.expect_width()?;
        for column in &self.features {
            self.values.push(row.number(*column)?);
        }
        let target = match self.kind {
            CsvTarget::Number => Cell::Number(row.number(self.target)?),
            CsvTarget::Class => {
                let name = row.text(self.target)?.trim();
                if name.is_empty() {
                    return Err(row.fault(format!("a class in column {}", self.target), "nothing"));
                }
                let names = &mut self.names;
                let next = names.len();
                let name = *self.numbers.entry(name.to_owned()).or_insert_with(|| {
                    names.push(name.to_owned());
                    next
                });
                Cell::Name { line: row.line, name }
            }
        };
        self.targets.push(target);
        Ok(())
    }

    fn finish(
        mut self,
        csv: &Csv,
        path: PathBuf,
        shape: Vec<usize>,
        known: &Known,
    ) -> Result<Box<dyn DataSet>, DataError> {
        let classes = match self.kind {
            CsvTarget::Class => {
                let names = self.names.iter().map(String::as_str);
                Classes::choose(csv.classes.as_deref(), &known.labels, names)?
            }
            CsvTarget::Number => Classes::default(),
        };
        let of_name: Vec<Option<usize>> = self.names.iter().map(|name| classes.number(name)).collect();
        let mut targets = Vec::with_capacity(self.targets.len());
        for (index, cell) in self.targets.iter().enumerate() {
            targets.push(match cell {
                Cell::Number(number) => Target::Number(*number),
                Cell::Name { line, name } => Target::Class(of_name[*name].unwrap_or_else(|| {
                    self.bad.insert(index, RowFault::new(*line, classes.expected(), shown(&self.names[*name])));
                    0
                })),
            });
        }
        for value in &mut self.values {
            *value = *value * csv.scale + csv.offset;
        }
        let (values, bad, labels) = (self.values, self.bad, classes.names().to_vec());
        Ok(Box::new(Rectangle { path, shape, values, targets, labels, bad }))
    }
}

#[derive(Clone, Copy, Debug)]
enum Target {
    Class(usize),
    Number(f32),
}

struct Rectangle {
    path: PathBuf,
    shape: Vec<usize>,
    values: Vec<f32>,
    targets: Vec<Target>,
    labels: Vec<String>,
    bad: BTreeMap<usize, RowFault>,
}

impl DataSet for Rectangle {
    fn len(&self) -> usize {
        self.targets.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        let target = self.target(index)?;
        let width: usize = self.shape.iter().product();
        let input = Tensor::new(self.shape.clone(), self.values[index * width..(index + 1) * width].to_vec())?;
        Ok(Sample { input, target })
    }

    fn target(&self, index: usize) -> Result<Tensor, DataError> {
        expect_index(index, self.len())?;
        if let Some(fault) = self.bad.get(&index) {
            return Err(fault.error(&self.path));
        }
        Ok(match self.targets[index] {
            Target::Class(class) => Tensor::scalar(class as i64),
            Target::Number(number) => Tensor::from_vec(vec![number]),
        })
    }

    fn labels(&self) -> &[String] {
        &self.labels
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{complaint, floats, gzip, integers, open, read};
    use super::*;

    #[test]
    fn tables_read_as_they_should() {
        type Row<'a> = (&'a [f32], f32);
        // The table, the keys, the shape of an input, inputs and targets, labels.
        type Case<'a> = (&'a str, &'a str, &'a [usize], &'a [Row<'a>], &'a [&'a str]);
        let cases: &[Case] = &[
            ("a,b,y\n1,2,no\n3,4,yes\n", "target: y", &[2], &[(&[1.0, 2.0], 0.0), (&[3.0, 4.0], 1.0)], &["no", "yes"]),
            ("y,a\nx,1\n", "target: 0", &[1], &[(&[1.0], 0.0)], &["x"]),
            (
                "1,0,10\n2,0,9\n",
                "{header: false, target: 2}",
                &[2],
                &[(&[1.0, 0.0], 1.0), (&[2.0, 0.0], 0.0)],
                &["9", "10"],
            ),
            ("a,b,y\n1,2,q\n", "{target: y, classes: [p, q]}", &[2], &[(&[1.0, 2.0], 1.0)], &["p", "q"]),
            (
                "a,b,y\n1,2,5\n",
                "{target: y, features: [b, 0, b], shape: [3, 1]}",
                &[3, 1],
                &[(&[2.0, 1.0, 2.0], 0.0)],
                &["5"],
            ),
            ("a;y\n 1.5 ; -2 \n", "{target: y, target_type: number, delimiter: ';'}", &[1], &[(&[1.5], -2.0)], &[]),
            ("a\ty\n1\tk\n", "{target: y, delimiter: \"\\t\", scale: 0.5, offset: 1}", &[1], &[(&[1.5], 0.0)], &["k"]),
            ("a,y\n\"1\",\"a, \"\"b\"\"\"\n", "target: y", &[1], &[(&[1.0], 0.0)], &["a, \"b\""]),
        ];
        let folder = tempfile::tempdir().unwrap();
        for (text, keys, shape, rows, labels) in cases {
            for bytes in [text.as_bytes().to_vec(), gzip(text.as_bytes())] {
                std::fs::write(folder.path().join("t"), bytes).unwrap();
                let yaml = match keys.strip_prefix('{') {
                    Some(rest) => format!("{{path: t, {rest}"),
                    None => format!("path: t\n{keys}\n"),
                };
                let data = open(&FORMAT, &yaml, folder.path()).unwrap();
                assert_eq!(data.labels(), *labels, "{text}");
                assert_eq!(data.len(), rows.len(), "{text}");
                for (index, (input, target)) in rows.iter().enumerate() {
                    let sample = data.sample(index).unwrap();
                    assert_eq!((sample.input.shape(), &floats(&sample.input)[..]), (*shape, *input), "{text}");
                    assert_eq!(sample.target, data.target(index).unwrap());
                    if labels.is_empty() {
                        assert_eq!((sample.target.shape(), floats(&sample.target)), (&[1][..], vec![*target]));
                    } else {
                        assert_eq!(integers(&sample.target), [*target as i64], "{text}");
                    }
                }
            }
        }
    }

    #[test]
    fn classes_of_the_training_data_hold_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("t"), "a,y\n1,c\n2,z\n").unwrap();
        let known = Known { labels: vec!["a".into(), "b".into(), "c".into()], vocabulary: Vec::new() };
        let data = read(&FORMAT, "{path: t, target: y}").open_with(folder.path(), &known).unwrap();
        assert_eq!(data.target(0).unwrap(), Tensor::scalar(2i64));
        assert!(
            data.target(1)
                .unwrap_err()
                .to_string()
                .ends_with("t, line 3: expected one of the classes `a`, `b`, `c`, found `z`")
        );
        assert_eq!(Known::of(&*data), known);
    }

    #[test]
    fn bad_input() {
        let folder = tempfile::tempdir().unwrap();
        for (text, keys, expected) in [
            ("", "target: y", "t: expected a header and rows, found an empty file"),
            ("a,y\n", "target: y", "t: expected rows, found a header alone"),
            (
                "a,label\n1,2\n",
                "target: lable",
                "t: expected column `lable`, found the columns a, label; did you mean `label`?",
            ),
            ("a,y\n1,2\n", "target: 2", "t: expected column 2, found 2 columns, counted from 0"),
            (
                "1,2\n",
                "header: false\ntarget: y",
                "t: expected column `y`, found a table without a header: give the column's number",
            ),
            ("y\n1\n", "target: y", "t: expected at least one column beside the target, found none"),
            (
                "a,y\n1,2\n",
                "target: y\nshape: [2]",
                "shape: expected a shape of 1 values, one for each column of the input, found [2]",
            ),
            (
                "a,y\n1,2\n",
                "target: y\nshape: [9223372036854775807, 4]",
                "shape: expected a shape of 1 values, one for each column of the input, found [9223372036854775807, 4]",
            ),
            ("a,y\n1,2\nx,3\n", "target: y", "sample 1: t, line 3: expected a finite number in column 0, found `x`"),
            ("a,y\nx,3\n", "target: y", "t, line 2: expected a finite number in column 0, found `x`"),
            ("a,y\n1,2\n,3\n", "target: y", "sample 1: t, line 3: expected a finite number in column 0, found nothing"),
            (
                "a,y\n1,2\n1e999,3\n",
                "target: y",
                "sample 1: t, line 3: expected a finite number in column 0, found `1e999`",
            ),
            (
                "a,y\n1,2\nnan,3\n",
                "target: y",
                "sample 1: t, line 3: expected a finite number in column 0, found `nan`",
            ),
            ("a,y\n1,2\n1,2,3\n4,5\n", "target: y", "sample 1: t, line 3: expected 2 fields, found 3"),
            ("a,y\n1,2\n1\n", "target: y", "sample 1: t, line 3: expected 2 fields, found 1"),
            ("a,y\n1,2\n1, \n", "target: y", "sample 1: t, line 3: expected a class in column 1, found nothing"),
            (
                "a,y\n1,2\n1,k\n",
                "target: y\ntarget_type: number",
                "sample 1: t, line 3: expected a finite number in column 1, found `k`",
            ),
            (
                "a,y\n1,p\n1,q\n",
                "target: y\nclasses: [p]",
                "sample 1: t, line 3: expected one of the classes `p`, found `q`",
            ),
            (
                "a,y\n1,2\n",
                "target: y\nclasses: [p, p]",
                "classes: expected a list of names, each once and none empty, found `p` twice",
            ),
            (
                "a,y\n1,2\n",
                "target: y\ndelimiter: é",
                "delimiter: expected a tab or one printable ASCII character, no quote, found 'é'",
            ),
        ] {
            std::fs::write(folder.path().join("t"), text).unwrap();
            assert_eq!(complaint(&FORMAT, &format!("path: t\n{keys}\n"), folder.path()), expected, "{text:?}");
        }
        std::fs::write(folder.path().join("t"), b"a,y\n1,p\n1,\xff\n").unwrap();
        let found = complaint(&FORMAT, "path: t\ntarget: y\n", folder.path());
        assert_eq!(found, "sample 1: t, line 3: expected UTF-8 text in column 1, found a bad byte at 0 of it");
    }
}
