//! The names of a model's outputs, symbols or classes, in the order of its columns.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::media::Classes;

/// The largest file that is read.
const MAX_BYTES: u64 = 16 << 20;

/// A name for each column of a model's output: a symbol that is spelt, or a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens(Arc<[Arc<str>]>);

/// Why a file of names cannot be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TokensError {
    /// It cannot be read.
    #[error("cannot read the list {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// It is far larger than a list of names.
    #[error("the list {} has {bytes} bytes, expected a name on each line, at most {MAX_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// It is not UTF-8.
    #[error("the list {} is not UTF-8 text at byte {offset}; save it as UTF-8, one name a line", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The first byte that is wrong.
        offset: usize,
    },
}

impl Tokens {
    /// A token for each character, in this order.
    pub fn from_alphabet(alphabet: &str) -> Self {
        Tokens(alphabet.chars().map(|character| character.to_string().into()).collect())
    }

    /// These tokens.
    pub fn from_names<T: AsRef<str>>(names: &[T]) -> Self {
        Tokens(names.iter().map(|name| Arc::from(name.as_ref())).collect())
    }

    /// The tokens of a text, one a line; a token may be empty or a space. When every line is `TOKEN NUMBER` and the
    /// numbers are 0, 1, 2, … in any order, as the Kaldi family of toolkits writes them, they say the place of the
    /// token.
    pub fn from_text(text: &str) -> Self {
        Tokens::from_names(Classes::from_text(text).names())
    }

    /// The tokens of a file, see [`Tokens::from_text`].
    pub fn read(path: &Path) -> Result<Self, TokensError> {
        let read = |error| TokensError::Read { path: path.to_owned(), error };
        let bytes = std::fs::metadata(path).map_err(read)?.len();
        if bytes > MAX_BYTES {
            return Err(TokensError::TooLarge { path: path.to_owned(), bytes });
        }
        let text = String::from_utf8(std::fs::read(path).map_err(read)?);
        let text = text.map_err(|error| TokensError::NotText {
            path: path.to_owned(),
            offset: error.utf8_error().valid_up_to(),
        })?;
        Ok(Tokens::from_text(&text))
    }

    /// The same tokens with a space for each `mark` in them.
    pub fn with_spaces(self, mark: &str) -> Self {
        if mark.is_empty() {
            return self;
        }
        Tokens(self.0.iter().map(|token| Arc::from(token.replace(mark, " "))).collect())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The token of a column.
    pub fn get(&self, column: usize) -> Option<&Arc<str>> {
        self.0.get(column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_lists() {
        for (text, expected) in [
            ("", &[][..]),
            ("<blank>\na\nb", &["<blank>", "a", "b"]),
            ("\u{feff}a\r\n \r\n\r\nb\r\n", &["a", " ", "", "b"]),
            ("<blk> 0\n▁the 2\nx\t1\n", &["<blk>", "x", "▁the"]),
            // Numbered in part, twice, or beyond the end: then the lines are tokens as they stand.
            ("a 0\nb", &["a 0", "b"]),
            ("a 0\nb 0", &["a 0", "b 0"]),
            ("a 0\nb 2", &["a 0", "b 2"]),
        ] {
            let tokens = Tokens::from_text(text);
            assert_eq!(tokens.0.iter().map(|token| &**token).collect::<Vec<_>>(), expected, "{text:?}");
        }
        let tokens = Tokens::from_alphabet("_äb|").with_spaces("|");
        assert_eq!(tokens.0.iter().map(|token| &**token).collect::<Vec<_>>(), ["_", "ä", "b", " "]);
        assert_eq!(Tokens::from_alphabet("a").with_spaces("").get(0).map(|token| &**token), Some("a"));
    }

    #[test]
    fn files_that_are_no_lists() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens.txt");
        assert!(matches!(Tokens::read(&path), Err(TokensError::Read { .. })));
        assert!(matches!(Tokens::read(folder.path()), Err(TokensError::Read { .. })));
        std::fs::write(&path, b"a\nb\xff").unwrap();
        assert!(matches!(Tokens::read(&path), Err(TokensError::NotText { offset: 3, .. })));
        std::fs::File::create(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
        assert!(matches!(Tokens::read(&path), Err(TokensError::TooLarge { .. })));
        std::fs::write(&path, "a\nb\n").unwrap();
        assert_eq!(Tokens::read(&path).unwrap().len(), 2);
    }
}
