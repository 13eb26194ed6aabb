//! Text to numbers.

use std::path::Path;

use rustc_hash::FxHashMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DataError, input};
use crate::files;

/// What text is cut into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Tokens {
    /// Each character (Unicode scalar value).
    #[default]
    Characters,
    /// What stands between white space.
    Words,
}

impl Tokens {
    /// The tokens of `text`, in order.
    pub fn of(self, text: &str) -> Vec<&str> {
        match self {
            Tokens::Characters => text.char_indices().map(|(at, c)| &text[at..at + c.len_utf8()]).collect(),
            Tokens::Words => text.split_whitespace().collect(),
        }
    }
}

/// Tokens and their numbers: 0 is padding (and the blank of CTC), 1 stands for every unknown token.
///
/// As a file it is UTF-8 text, a token a line in the order of their numbers, in which `\n`, `\r` and `\\` stand for a
/// line feed, a carriage return and a backslash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vocabulary {
    tokens: Vec<String>,
    numbers: FxHashMap<String, i64>,
}

impl Vocabulary {
    /// Token 0.
    pub const PADDING: &str = "<pad>";
    /// Token 1.
    pub const UNKNOWN: &str = "<unk>";

    /// The tokens that occur at least `min_count` times, the most frequent first (equally frequent ones in order of
    /// their code points), at most `max_tokens` of them.
    pub fn build<'a>(tokens: impl Iterator<Item = &'a str>, min_count: usize, max_tokens: Option<usize>) -> Self {
        let mut counts: FxHashMap<&str, usize> = FxHashMap::default();
        for token in tokens {
            *counts.entry(token).or_default() += 1;
        }
        for reserved in [Self::PADDING, Self::UNKNOWN] {
            counts.remove(reserved);
        }
        let mut kept: Vec<(&str, usize)> = counts.into_iter().filter(|(_, count)| *count >= min_count).collect();
        kept.sort_unstable_by(|(a, a_count), (b, b_count)| b_count.cmp(a_count).then(a.cmp(b)));
        kept.truncate(max_tokens.unwrap_or(usize::MAX));
        let reserved = [Self::PADDING, Self::UNKNOWN].into_iter();
        Self::numbered(reserved.chain(kept.into_iter().map(|(token, _)| token)).map(str::to_owned).collect())
    }

    /// The vocabulary of these tokens in the order of their numbers: [`PADDING`](Self::PADDING),
    /// [`UNKNOWN`](Self::UNKNOWN), then others, each once and none empty.
    pub fn from_tokens(tokens: Vec<String>) -> Result<Self, DataError> {
        let fail = |expected: String, found: String| Err(DataError::setting("vocabulary", expected, found));
        for (number, expected) in [Self::PADDING, Self::UNKNOWN].into_iter().enumerate() {
            match tokens.get(number) {
                Some(token) if token == expected => {}
                found => {
                    let found = found.map_or("the end".into(), |token| format!("`{token}`"));
                    return fail(format!("`{expected}` as token {number}"), found);
                }
            }
        }
        if let Some(empty) = tokens.iter().position(String::is_empty) {
            return fail("tokens that are not empty".into(), format!("an empty token {empty}"));
        }
        let vocabulary = Self::numbered(tokens);
        if vocabulary.numbers.len() < vocabulary.tokens.len() {
            let twice = vocabulary.tokens.iter().enumerate().find(|(n, token)| vocabulary.number(token) != *n as i64);
            let found = twice.map(|(_, token)| format!("`{token}` twice")).unwrap_or_default();
            return fail("each token once".into(), found);
        }
        Ok(vocabulary)
    }

    fn numbered(tokens: Vec<String>) -> Self {
        let numbers = tokens.iter().enumerate().map(|(number, token)| (token.clone(), number as i64)).collect();
        Vocabulary { tokens, numbers }
    }

    /// Reads the file at `path`, which may be gzip.
    pub fn load(path: &Path) -> Result<Self, DataError> {
        let text = std::io::read_to_string(input::open(path)?).map_err(|source| DataError::io(path, source))?;
        let mut tokens = Vec::new();
        for (line, token) in text.lines().enumerate() {
            tokens.push(unescaped(token).ok_or_else(|| {
                let found = super::table::shown(token);
                DataError::format(
                    path,
                    &format!("line {}", line + 1),
                    "`\\n`, `\\r` or `\\\\` after a backslash",
                    found,
                )
            })?);
        }
        Self::from_tokens(tokens).map_err(|error| match error {
            DataError::Setting { expected, found, .. } => DataError::format(path, "", expected, found),
            other => other,
        })
    }

    /// Writes the file at `path`.
    pub fn save(&self, path: &Path) -> Result<(), DataError> {
        let mut text = String::new();
        for token in &self.tokens {
            text.push_str(&token.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r"));
            text.push('\n');
        }
        files::replace(path, text.as_bytes()).map_err(|error| DataError::io(path, error.into_io()))
    }

    /// The tokens in the order of their numbers.
    pub fn tokens(&self) -> &[String] {
        &self.tokens
    }

    /// The number of `token`; 1 when it is unknown.
    pub fn number(&self, token: &str) -> i64 {
        self.numbers.get(token).copied().unwrap_or(1)
    }

    /// The numbers of tokens, cut or filled with 0 to `length` where that is given.
    pub fn encode(&self, tokens: &[&str], length: Option<usize>) -> Vec<i64> {
        fitted(tokens.iter().map(|token| self.number(token)), length, 0)
    }
}

/// The numbers, cut or filled with `padding` to `length` where that is given.
pub(super) fn fitted(numbers: impl Iterator<Item = i64>, length: Option<usize>, padding: i64) -> Vec<i64> {
    match length {
        None => numbers.collect(),
        Some(length) => numbers.chain(std::iter::repeat(padding)).take(length).collect(),
    }
}

fn unescaped(line: &str) -> Option<String> {
    let mut token = String::with_capacity(line.len());
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        token.push(match character {
            '\\' => match characters.next()? {
                'n' => '\n',
                'r' => '\r',
                '\\' => '\\',
                _ => return None,
            },
            other => other,
        });
    }
    Some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_into_tokens() {
        assert_eq!(Tokens::Characters.of("a é"), ["a", " ", "é"]);
        assert_eq!(Tokens::Words.of("  one\ttwo  three "), ["one", "two", "three"]);
        assert!(Tokens::Words.of(" ").is_empty());
    }

    #[test]
    fn frequent_tokens_come_first() {
        let text = "b a b c a b d <pad>";
        for (min_count, max_tokens, expected) in [
            (1, None, &["<pad>", "<unk>", "b", "a", "c", "d"][..]),
            (2, None, &["<pad>", "<unk>", "b", "a"]),
            (1, Some(3), &["<pad>", "<unk>", "b", "a", "c"]),
            (9, None, &["<pad>", "<unk>"]),
        ] {
            let vocabulary = Vocabulary::build(text.split(' '), min_count, max_tokens);
            assert_eq!(vocabulary.tokens(), expected);
        }
        let vocabulary = Vocabulary::build(text.split(' '), 2, None);
        for (length, expected) in [(None, &[3, 1, 2][..]), (Some(5), &[3, 1, 2, 0, 0]), (Some(1), &[3]), (Some(0), &[])]
        {
            assert_eq!(vocabulary.encode(&["a", "z", "b"], length), expected);
        }
    }

    #[test]
    fn a_vocabulary_survives_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.txt");
        let vocabulary = Vocabulary::build(["\n", "\r", "\\", " ", "\\n", "é", "\t"].into_iter(), 1, None);
        vocabulary.save(&path).unwrap();
        assert_eq!(Vocabulary::load(&path).unwrap(), vocabulary);
        assert_eq!(Vocabulary::from_tokens(vocabulary.tokens().to_vec()).unwrap(), vocabulary);
    }

    #[test]
    fn bad_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.txt");
        for (text, expected) in [
            ("", "expected `<pad>` as token 0, found the end"),
            ("a\nb\n", "expected `<pad>` as token 0, found `a`"),
            ("<pad>\n", "expected `<unk>` as token 1, found the end"),
            ("<pad>\n<unk>\n\n", "expected tokens that are not empty, found an empty token 2"),
            ("<pad>\n<unk>\na\nb\na\n", "expected each token once, found `a` twice"),
            ("<pad>\n<unk>\n\\x\n", "expected `\\n`, `\\r` or `\\\\` after a backslash, found `\\x`"),
            ("<pad>\n<unk>\n\\", "expected `\\n`, `\\r` or `\\\\` after a backslash, found `\\`"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Vocabulary::load(&path).unwrap_err().to_string();
            assert!(error.ends_with(expected), "{text:?}: {error}");
        }
        std::fs::write(&path, b"\xff").unwrap();
        assert!(matches!(Vocabulary::load(&path), Err(DataError::Io { .. })));
    }
}
