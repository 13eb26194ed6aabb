//! Source text, and places in it.

use std::sync::Arc;

use super::{Fault, Faults};

/// The largest file that is read: 4 MiB.
pub const MAX_BYTES: usize = 4 << 20;

/// A range of bytes in a [`Source`]: `start` is the first byte, `end` the one after the last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset after the last byte.
    pub end: usize,
}

impl Span {
    /// The bytes from `start` up to, and without, `end`. An `end` before `start` gives an empty span at `start`.
    pub const fn new(start: usize, end: usize) -> Self {
        Span { start, end: if end < start { start } else { end } }
    }

    /// The number of bytes.
    pub const fn len(self) -> usize {
        self.end.saturating_sub(self.start)
    }

    /// Whether no byte is covered.
    pub const fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The same range `by` bytes further on.
    pub(super) const fn shifted(self, by: usize) -> Self {
        Span { start: self.start.saturating_add(by), end: self.end.saturating_add(by) }
    }
}

/// A line and a column, both counted from 1; columns count characters, as editors do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The character in the line, from 1.
    pub column: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    File,
    Argument,
}

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    name: String,
    text: String,
    kind: Kind,
}

/// A named text that faults point into: a file, or an argument of the command line. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source(Arc<Inner>);

impl Source {
    /// The text of a file. A byte order mark at its start is dropped; spans count without it.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let mut text = text.into();
        if text.starts_with('\u{feff}') {
            text.drain(..'\u{feff}'.len_utf8());
        }
        Source(Arc::new(Inner { name: name.into(), text, kind: Kind::File }))
    }

    /// The bytes of a file.
    ///
    /// Faults: `file-too-large` over [`MAX_BYTES`]; `not-text` for a NUL byte or another encoding than UTF-8.
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Result<Self, Faults> {
        let name = name.into();
        let fault = |fault: Fault| Faults::from(fault.in_source(&Source::new(name.clone(), "")));
        if bytes.len() > MAX_BYTES {
            return Err(fault(too_large(bytes.len())));
        }
        let not_text = |found: String, help: &str| {
            Fault::error("not-text", "this is not a text file").expected("text in UTF-8").found(found).help(help)
        };
        if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
            return Err(fault(not_text("UTF-16".into(), "save the file as UTF-8")));
        }
        if let Some(offset) = bytes.iter().position(|byte| *byte == 0) {
            let help = "give the YAML file, not a model or a recording";
            return Err(fault(not_text(format!("binary data: a zero at byte {offset}"), help)));
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Source::new(name, text)),
            Err(error) => {
                let offset = error.utf8_error().valid_up_to();
                let byte = error.as_bytes().get(offset).copied().unwrap_or_default();
                let found = format!("the byte 0x{byte:02x} at offset {offset}, which is not UTF-8");
                Err(fault(not_text(found, "save the file as UTF-8")))
            }
        }
    }

    /// An argument of the command line, such as `--set stage.key=value`, which is its name and its text.
    pub fn argument(text: impl Into<String>) -> Self {
        let text = text.into();
        Source(Arc::new(Inner { name: shorten(&text, 120), text, kind: Kind::Argument }))
    }

    /// The name to print: a path as the user gave it, or the argument itself.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Whether this is an argument of the command line rather than a file.
    pub fn is_argument(&self) -> bool {
        self.0.kind == Kind::Argument
    }

    /// The text under `span`; nothing when the span lies outside the text or splits a character.
    pub fn slice(&self, span: Span) -> Option<&str> {
        self.text().get(span.start..span.end)
    }

    /// The line and column of a byte offset; an offset past the end gives the end.
    pub fn position(&self, offset: usize) -> Position {
        let before = &self.text()[..floor_boundary(self.text(), offset)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position {
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    /// `name:line:column` of a span; the argument itself for one of the command line.
    pub fn locate(&self, span: Span) -> String {
        if self.is_argument() {
            return self.name().to_owned();
        }
        let Position { line, column } = self.position(span.start);
        format!("{}:{line}:{column}", self.name())
    }
}

/// The fault for a text over [`MAX_BYTES`].
pub(super) fn too_large(bytes: usize) -> Fault {
    Fault::error("file-too-large", "the file is too large to be a configuration")
        .expected(format!("at most {MAX_BYTES} bytes"))
        .found(format!("{bytes} bytes"))
}

/// The largest character boundary at or below `offset`.
pub(super) fn floor_boundary(text: &str, offset: usize) -> usize {
    let offset = offset.min(text.len());
    (0..=offset).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// At most `limit` characters of `text` on one line, control characters escaped, so that it is safe to print.
pub(super) fn shorten(text: &str, limit: usize) -> String {
    let mut short = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == limit {
            short.push('…');
            break;
        }
        if c.is_control() { short.extend(c.escape_default()) } else { short.push(c) }
    }
    short
}

/// The text in backquotes, shortened to 60 characters.
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", shorten(text, 60))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn positions_count_characters_from_one() {
        let source = Source::new("a.yaml", "a: 1\nπb: 2\n\nc");
        for (offset, line, column) in [(0, 1, 1), (3, 1, 4), (5, 2, 1), (7, 2, 2), (8, 2, 3), (13, 4, 1), (999, 4, 2)] {
            assert_eq!(source.position(offset), Position { line, column }, "offset {offset}");
        }
    }

    #[test]
    fn bytes_that_are_not_text() {
        for (bytes, code, found) in [
            (b"a: \0b".to_vec(), "not-text", "a zero at byte 3"),
            (b"a: \xff".to_vec(), "not-text", "0xff at offset 3"),
            (b"\xff\xfea\0".to_vec(), "not-text", "UTF-16"),
            (vec![b'a'; MAX_BYTES + 1], "file-too-large", "4194305 bytes"),
        ] {
            let faults = Source::from_bytes("a.yaml", bytes).unwrap_err();
            let fault = faults.iter().next().unwrap();
            assert_eq!(fault.code, code);
            assert!(fault.found.as_deref().unwrap().contains(found), "{fault}");
            assert!(fault.to_string().starts_with("a.yaml: error: "), "{fault}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_dropped() {
        let source = Source::from_bytes("a", b"\xef\xbb\xbfa: 1".to_vec()).unwrap();
        assert_eq!(source.text(), "a: 1");
    }

    #[test]
    fn shortened_text_is_safe_to_print() {
        assert_eq!(shorten("a\u{1b}[31m\n", 60), "a\\u{1b}[31m\\n");
        assert_eq!(shorten("ππππ", 2), "ππ…");
    }

    proptest! {
        #[test]
        fn no_offset_panics(text in ".{0,40}", offset in 0usize..200) {
            let source = Source::new("x", text);
            prop_assert!(source.position(offset).line >= 1);
            let _ = source.slice(Span::new(offset / 2, offset));
        }
    }
}
