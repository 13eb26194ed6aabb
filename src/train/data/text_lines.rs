//! `text_lines`: lines of text with labels.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::classes::Classes;
use super::table::{Column, RowFault, Table, TableFormat, shown};
use super::vocabulary::fitted;
use super::{DataError, DataFormat, DataSet, FormatEntry, IGNORED, Known, Sample, Tokens, Vocabulary, expect_index};
use crate::tensor::Tensor;

/// What the label of a line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TextTarget {
    /// The name of a class: the target is its number, i64.
    #[default]
    Class,
    /// A tag for each token, cut as the text is: the target is i64 `[T]`, the number of each tag; −100, which losses
    /// ignore, beyond the end of the text.
    Tags,
}

/// A line for each sample, its text and its label in columns of a table: input i64 `[T]`, the numbers of its tokens;
/// target i64. The file may be gzip. It is held in memory.
///
/// Token 0 is padding, 1 an unknown token. A line without text or label, or with a class that is not known, is a bad
/// sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TextLines {
    /// The file, UTF-8.
    pub path: PathBuf,
    /// What stands between columns. Default: a tab.
    #[serde(default)]
    pub delimiter: Option<char>,
    /// Whether fields may be enclosed in double quotes, as CSV has it. Default: true, unless the delimiter is a tab.
    #[serde(default)]
    pub quotes: Option<bool>,
    /// Whether the first row holds the names of the columns. Default: false.
    #[serde(default)]
    pub header: bool,
    /// The column of the text: its name, or its number counted from 0. Default: 0.
    #[serde(default = "first")]
    pub text: Column,
    /// The column of the label. Default: 1.
    #[serde(default = "second")]
    pub label: Column,
    /// What the text is cut into. Default: characters.
    #[serde(default)]
    pub tokens: Tokens,
    /// Turns capital letters into small ones before the text is cut. Default: false.
    #[serde(default)]
    pub lowercase: bool,
    /// The tokens of each input: longer texts are cut, shorter ones filled with 0. Default: each text as long as it is.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub length: Option<usize>,
    /// What the label is. Default: class.
    #[serde(default)]
    pub target: TextTarget,
    /// The names of the classes (or tags) in the order of their numbers. Default: those of the training data, or all
    /// that occur, in order.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub classes: Option<Vec<String>>,
    /// A file of tokens, one a line, in the order of their numbers: `<pad>`, `<unk>`, then others. Default: the
    /// vocabulary of the training data, or one built from this file.
    #[serde(default)]
    pub vocabulary: Option<PathBuf>,
    /// How often a token must occur to get a number when the vocabulary is built. Default: 1.
    #[serde(default = "once")]
    pub min_count: usize,
    /// The most tokens of a vocabulary that is built, the most frequent ones. Default: no limit.
    #[serde(default)]
    pub max_tokens: Option<usize>,
}

fn first() -> Column {
    Column::Number(0)
}

fn second() -> Column {
    Column::Number(1)
}

fn once() -> usize {
    1
}

pub(super) const FORMAT: FormatEntry = FormatEntry::of::<TextLines>(
    "text_lines",
    "lines of text with a class, or with a tag for each token",
    "path: names.tsv\nlowercase: true\nlength: 16\n",
);

impl TextLines {
    /// Lines of text, a tab and a class, cut into characters.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        TextLines {
            path: path.into(),
            delimiter: None,
            quotes: None,
            header: false,
            text: first(),
            label: second(),
            tokens: Tokens::Characters,
            lowercase: false,
            length: None,
            target: TextTarget::Class,
            classes: None,
            vocabulary: None,
            min_count: 1,
            max_tokens: None,
        }
    }

    fn line(&self, row: &super::table::Row, columns: (usize, usize)) -> Result<Line, RowFault> {
        row.expect_width()?;
        let (text, label) = (row.text(columns.0)?, row.text(columns.1)?);
        let text = if self.lowercase { text.to_lowercase() } else { text.to_owned() };
        let count = self.tokens.of(&text).len();
        if count == 0 {
            return Err(row.fault(format!("text in column {}", columns.0), shown(&text)));
        }
        let label = match self.target {
            TextTarget::Class => label.trim(),
            TextTarget::Tags => label,
        };
        if label.is_empty() {
            return Err(row.fault(format!("a label in column {}", columns.1), "nothing"));
        }
        let tags = self.tokens.of(label).len();
        if self.target == TextTarget::Tags && tags != count {
            return Err(row.fault(format!("{count} tags, one for each token"), tags.to_string()));
        }
        Ok(Line { number: row.line, text, label: label.to_owned() })
    }
}

struct Line {
    number: u64,
    text: String,
    label: String,
}

impl DataFormat for TextLines {
    fn open_with(&self, base_dir: &Path, known: &Known) -> Result<Box<dyn DataSet>, DataError> {
        if self.length == Some(0) {
            return Err(DataError::setting("length", "at least 1 token", 0));
        }
        let path = base_dir.join(&self.path);
        let delimiter = TableFormat::delimiter(Some(self.delimiter.unwrap_or('\t')), &path)?;
        let quotes = self.quotes.unwrap_or(delimiter != b'\t');
        let mut table = Table::open(&path, TableFormat { delimiter, header: self.header, quotes })?;
        let columns = (table.number_of(&self.text)?, table.number_of(&self.label)?);
        let mut lines = Vec::new();
        while let Some(row) = table.next()? {
            lines.push(self.line(&row, columns));
        }
        let good = || lines.iter().flatten();
        if good().next().is_none() {
            return Err(match lines.iter().find_map(|line| line.as_ref().err()) {
                Some(fault) => fault.error(&path),
                None => DataError::format(&path, "", "lines", "a header alone"),
            });
        }
        let vocabulary = match &self.vocabulary {
            Some(file) => Vocabulary::load(&base_dir.join(file))?,
            None if !known.vocabulary.is_empty() => Vocabulary::from_tokens(known.vocabulary.clone())?,
            None => {
                let tokens = good().flat_map(|line| self.tokens.of(&line.text));
                Vocabulary::build(tokens, self.min_count, self.max_tokens)
            }
        };
        let labels = good().flat_map(|line| self.labels_of(line));
        let classes = Classes::choose(self.classes.as_deref(), &known.labels, labels)?;
        let samples = lines.iter().map(|line| self.sample(line.as_ref().map_err(Clone::clone)?, &vocabulary, &classes));
        Ok(Box::new(TextSet { samples: samples.collect(), path, vocabulary, labels: classes.names().to_vec() }))
    }
}

impl TextLines {
    fn labels_of<'a>(&self, line: &'a Line) -> Vec<&'a str> {
        match self.target {
            TextTarget::Class => vec![&line.label],
            TextTarget::Tags => self.tokens.of(&line.label),
        }
    }

    fn sample(&self, line: &Line, vocabulary: &Vocabulary, classes: &Classes) -> Result<Sample, RowFault> {
        let number = |label: &str| {
            let number = classes.number(label).map(|number| number as i64);
            number.ok_or_else(|| RowFault::new(line.number, classes.expected(), shown(label)))
        };
        let numbers = self.labels_of(line).into_iter().map(number).collect::<Result<Vec<i64>, _>>()?;
        let target = match self.target {
            TextTarget::Class => Tensor::scalar(numbers.first().copied().unwrap_or_default()),
            TextTarget::Tags => Tensor::from_vec(fitted(numbers.into_iter(), self.length, IGNORED)),
        };
        let input = Tensor::from_vec(vocabulary.encode(&self.tokens.of(&line.text), self.length));
        Ok(Sample { input, target })
    }
}

struct TextSet {
    path: PathBuf,
    samples: Vec<Result<Sample, RowFault>>,
    vocabulary: Vocabulary,
    labels: Vec<String>,
}

impl DataSet for TextSet {
    fn len(&self) -> usize {
        self.samples.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        expect_index(index, self.len())?;
        self.samples[index].clone().map_err(|fault| fault.error(&self.path))
    }

    fn labels(&self) -> &[String] {
        &self.labels
    }

    fn vocabulary(&self) -> &[String] {
        self.vocabulary.tokens()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{complaint, gzip, integers, open, read};
    use super::*;

    #[test]
    fn lines_read_as_they_should() {
        // The file, the keys, inputs, targets, labels.
        type Case<'a> = (&'a str, &'a str, &'a [&'a [i64]], &'a [&'a [i64]], &'a [&'a str]);
        let cases: &[Case] = &[
            ("aba\tx\nb\tw\n", "", &[&[2, 3, 2], &[3]], &[&[1], &[0]], &["w", "x"]),
            ("aBa\tx\nb\tw\n", "lowercase: true\nlength: 2", &[&[2, 3], &[3, 0]], &[&[1], &[0]], &["w", "x"]),
            ("the cat\tx\nthe\tx\n", "tokens: words\nlength: 3", &[&[2, 3, 0], &[2, 0, 0]], &[&[0], &[0]], &["x"]),
            ("the cat\tx\nthe\tx\n", "tokens: words\nmin_count: 2", &[&[2, 1], &[2]], &[&[0], &[0]], &["x"]),
            ("say \"hi\tx\n", "tokens: words", &[&[3, 2]], &[&[0]], &["x"]),
            ("l,t\n1,\"a,b\"\n", "delimiter: ','\nheader: true\ntext: t\nlabel: l", &[&[3, 2, 4]], &[&[0]], &["1"]),
            ("ab(\tLLP\n", "target: tags\nlength: 4", &[&[3, 4, 2, 0]], &[&[0, 0, 1, -100]], &["L", "P"]),
            ("a b c\tX Y X\n", "target: tags\ntokens: words\nlength: 2", &[&[2, 3]], &[&[0, 1]], &["X", "Y"]),
        ];
        let folder = tempfile::tempdir().unwrap();
        for (text, keys, inputs, targets, labels) in cases {
            for bytes in [text.as_bytes().to_vec(), gzip(text.as_bytes())] {
                std::fs::write(folder.path().join("t"), bytes).unwrap();
                let data = open(&FORMAT, &format!("path: t\n{keys}\n"), folder.path()).unwrap();
                let samples: Vec<Sample> = (0..data.len()).map(|index| data.sample(index).unwrap()).collect();
                let found: Vec<Vec<i64>> = samples.iter().map(|sample| integers(&sample.input)).collect();
                assert_eq!(found, *inputs, "{text:?} {keys}");
                let found: Vec<Vec<i64>> = samples.iter().map(|sample| integers(&sample.target)).collect();
                assert_eq!(found, *targets, "{text:?} {keys}");
                assert_eq!(data.labels(), *labels, "{text:?}");
                let scalar = !keys.contains("tags");
                assert!(samples.iter().all(|sample| sample.target.shape().is_empty() == scalar));
            }
        }
    }

    #[test]
    fn other_data_share_the_training_datas_numbers() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("train"), "abc\tx\nab\ty\n").unwrap();
        std::fs::write(folder.path().join("test"), "cz\ty\n").unwrap();
        let train = open(&FORMAT, "path: train", folder.path()).unwrap();
        assert_eq!(train.vocabulary(), ["<pad>", "<unk>", "a", "b", "c"]);
        let known = Known::of(&*train);
        let test = read(&FORMAT, "path: test").open_with(folder.path(), &known).unwrap();
        let expected = Sample { input: Tensor::from_vec(vec![4i64, 1]), target: Tensor::scalar(1i64) };
        assert_eq!(test.sample(0).unwrap(), expected);

        Vocabulary::from_tokens(known.vocabulary).unwrap().save(&folder.path().join("tokens.txt")).unwrap();
        let stored = open(&FORMAT, "{path: test, vocabulary: tokens.txt, classes: [x, y]}", folder.path()).unwrap();
        assert_eq!(stored.sample(0).unwrap(), expected);
    }

    #[test]
    fn bad_input() {
        let folder = tempfile::tempdir().unwrap();
        for (text, keys, expected) in [
            ("", "", "t: expected rows, found an empty file"),
            ("a\tb\n", "header: true", "t: expected lines, found a header alone"),
            ("just text\n", "", "t: expected column 1, found 1 columns, counted from 0"),
            ("a\tx\nb\n", "", "sample 1: t, line 2: expected 2 fields, found 1"),
            ("a\tx\n\ty\n", "", "sample 1: t, line 2: expected text in column 0, found nothing"),
            ("a\tx\n b \t\n", "", "sample 1: t, line 2: expected a label in column 1, found nothing"),
            (" \tx\n", "tokens: words", "t, line 1: expected text in column 0, found ` `"),
            ("ab\tx\n", "target: tags", "t, line 1: expected 2 tags, one for each token, found 1"),
            ("a\tx\na\ty\n", "classes: [x]", "sample 1: t, line 2: expected one of the classes `x`, found `y`"),
            ("a\tx\n", "vocabulary: t", "t: expected `<pad>` as token 0, found `a\tx`"),
        ] {
            std::fs::write(folder.path().join("t"), text).unwrap();
            assert_eq!(complaint(&FORMAT, &format!("path: t\n{keys}\n"), folder.path()), expected, "{text:?}");
        }
        let none = TextLines { length: Some(0), ..TextLines::new("t") };
        assert!(matches!(none.open(folder.path()), Err(DataError::Setting { setting: "length", .. })));
    }
}
