//! The standard output: what a verb finds, written at once.

use std::io::{self, Write};
use std::path::Path;

use super::error::CliError;

/// Writes a text to the standard output.
pub(super) fn print(text: &str) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(CliError::Output)
}

/// Writes a text to a file, or to the standard output where none is named, or `-`.
pub(super) fn write(file: Option<&Path>, text: &str) -> Result<(), CliError> {
    match file {
        Some(path) if path != Path::new("-") => {
            std::fs::write(path, text).map_err(|source| CliError::Write { path: path.to_owned(), source })
        }
        _ => print(text),
    }
}

/// A JSON value, indented, with a line end.
pub(super) fn json(value: &serde_json::Value) -> String {
    format!("{value:#}\n")
}
