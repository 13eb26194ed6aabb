//! From text to a tree: events of the YAML parser, with spans, limits and duplicate keys as faults.

use saphyr_parser::{Parser, ScanError};

use super::loader::Loader;
use super::source::too_large;
use super::{Fault, Faults, MAX_BYTES, Node, Source, Span};

/// The most nodes that a file may hold, aliases expanded; an anchored value counts twice.
pub const MAX_NODES: usize = 100_000;
/// The deepest nesting of lists and mappings.
pub const MAX_DEPTH: usize = 64;
/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 4 << 10;
/// The most text that the scalars of a file may hold together, aliases expanded.
pub const MAX_EXPANDED_BYTES: usize = 4 * MAX_BYTES;

/// After so many faults the rest of the file is not looked at.
pub(super) const MAX_FAULTS: usize = 1000;
/// The longest key that YAML allows without a `?` before it, in characters (YAML 1.2.2, section 7.4.2).
pub(super) const MAX_IMPLICIT_KEY: usize = 1024;

/// Reads one YAML 1.2 document; plain scalars have the types of the core schema, quoted ones are text.
///
/// Anchors and aliases are expanded; the spans inside an alias point at the anchored value, that of the alias itself at
/// the alias. Core tags (`!!str`, `!!int`, …) are honoured.
///
/// Faults: `yaml-syntax`, `empty-file`, `several-documents`, `duplicate-key`, `key-too-long`, `key-not-text`, `merge-key`,
/// `number-out-of-range`, `bad-tag`, `control-character`, `recursive-alias`, `too-many-nodes`, `too-deep`,
/// `too-much-text`, `file-too-large`. It never panics, and its time and memory are bounded by the limits of this module.
pub fn parse(source: &Source) -> Result<Node, Faults> {
    match load(source)? {
        Some(node) => Ok(node),
        None => {
            Err(Fault::error("empty-file", "the file is empty").expected("a YAML document").in_source(source).into())
        }
    }
}

/// [`parse`], with nothing for a text that holds no document.
pub(super) fn load(source: &Source) -> Result<Option<Node>, Faults> {
    if source.text().len() > MAX_BYTES {
        return Err(too_large(source.text().len()).in_source(source).into());
    }
    refuse_control_characters(source)?;
    let mut loader = Loader::new(source);
    let mut parser = Parser::new_from_str(source.text());
    while let Some(event) = parser.next_event() {
        let step = match event {
            Ok((event, span)) => loader.event(event, &span),
            Err(error) => Err(Box::new(explain(&error, &loader))),
        };
        if let Err(fault) = step {
            loader.faults.push(*fault);
            return Err(loader.faults);
        }
        if loader.faults.len() >= MAX_FAULTS {
            return Err(loader.faults);
        }
    }
    loader.faults.into_result(loader.root).map(|(root, _)| root)
}

/// YAML allows no control characters but tab and line breaks (YAML 1.2.2, section 5.1).
fn refuse_control_characters(source: &Source) -> Result<(), Faults> {
    let forbidden = |c: char| (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')) || c == '\u{fffe}';
    let Some((start, c)) = source.text().char_indices().find(|(_, c)| forbidden(*c)) else {
        return Ok(());
    };
    let printable = |c: char| {
        if forbidden(c) { "?".repeat(c.len_utf8()) } else { c.to_string() }
    };
    let shown = Source::new(source.name(), source.text().chars().map(printable).collect::<String>());
    Err(Fault::error("control-character", "the file holds a character that YAML does not allow")
        .expected("printable text")
        .found(format!("the character U+{:04X}", u32::from(c)))
        .help("is this a YAML file? In double quotes such a character is written as an escape, like \"\\u001b\"")
        .at(Span::new(start, start + c.len_utf8()), &shown)
        .into())
}

/// Byte offsets of characters: the parser's marks count characters.
pub(super) struct Offsets {
    length: usize,
    /// Empty for ASCII, where both are the same.
    table: Vec<u32>,
}

impl Offsets {
    pub fn new(text: &str) -> Self {
        let table = if text.is_ascii() {
            Vec::new()
        } else {
            text.char_indices().map(|(at, _)| u32::try_from(at).unwrap_or(u32::MAX)).collect()
        };
        Offsets { length: text.len(), table }
    }

    pub fn byte(&self, character: usize) -> usize {
        if self.table.is_empty() {
            return character.min(self.length);
        }
        self.table.get(character).map_or(self.length, |at| *at as usize)
    }

    pub fn span(&self, span: &saphyr_parser::Span) -> Span {
        Span::new(self.byte(span.start.index()), self.byte(span.end.index()))
    }
}

/// The parser's error in words that say what to do.
fn explain(error: &ScanError, loader: &Loader<'_>) -> Fault {
    let source = loader.source;
    let start = loader.offsets.byte(error.marker().index());
    let here = source.text()[start..].chars().next();
    let span = Span::new(start, start + here.filter(|c| *c != '\n').map_or(0, char::len_utf8));
    let info = error.info();
    if info.contains("recursion limit") {
        return *loader.too_deep(span);
    }
    if info.contains("mapping values") || info.contains("simple key") {
        let line = source.text()[..start].rfind('\n').map_or(0, |newline| newline + 1);
        if start - line > MAX_IMPLICIT_KEY {
            return *loader.long_key(Span::new(line, start));
        }
    }
    let help = if info.contains("tab") || here == Some('\t') {
        Some("indent with spaces, not with tabs")
    } else if info.contains("mapping values") {
        Some("text that holds `: ` is put in quotes; or is the line indented too far?")
    } else if info.contains("unknown anchor") || here == Some('*') {
        Some("text that begins with `*` is put in quotes")
    } else if matches!(here, Some('@' | '`' | '%' | '&')) {
        Some("text that begins with this character is put in quotes")
    } else if info.contains("simple key") {
        Some("is a `:` missing after the key?")
    } else if info.contains("unclosed") || info.contains("unexpected end") || info.contains("EOF") {
        Some("close the bracket or the quote")
    } else if info.contains("block mapping") || info.contains("did not find expected key") {
        Some("keys of one mapping begin in the same column")
    } else {
        None
    };
    let fault = Fault::error("yaml-syntax", format!("this is not YAML: {info}")).at(span, source);
    fault.maybe_help(help.map(str::to_owned)).path(loader.path())
}
