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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;
    use serde_json::json;

    use super::super::{Value, to_json};
    use super::*;

    fn read(text: &str) -> Result<Node, Faults> {
        parse(&Source::new("a.yaml", text))
    }

    fn code(text: &str) -> &'static str {
        read(text).map_or_else(|faults| faults.iter().last().unwrap().code, |_| "none")
    }

    #[test]
    fn documents_and_their_values() {
        for (yaml, value) in [
            ("a: 1\nb: [x, 2.5, ~]\n", json!({"a": 1, "b": ["x", 2.5, null]})),
            ("- a: {b: 'c'}\n- \"1\"\n- '~'", json!([{"a": {"b": "c"}}, "1", "~"])),
            ("a: no\nb: true\nc: 0x10\n", json!({"a": "no", "b": true, "c": 16})),
            ("a: |\n  x\n  y\nb: >-\n  x\n  y\n", json!({"a": "x\ny\n", "b": "x y"})),
            ("a: |\n  5\n", json!({"a": "5\n"})),
            ("a:\n-\nb:\n", json!({"a": [null], "b": null})),
            ("1: x\ntrue: y\n", json!({"1": "x", "true": "y"})),
            ("a: &x [1]\nb: *x\n", json!({"a": [1], "b": [1]})),
            ("a: !!str 5\nb: !!float 5\nc: !!int '5'\nd: ! 5", json!({"a": "5", "b": 5.0, "c": 5, "d": "5"})),
            ("--- # comment\na: 1\n...\n", json!({"a": 1})),
            ("\u{feff}a: 1", json!({"a": 1})),
            ("path: \"{stream}.srt\"", json!({"path": "{stream}.srt"})),
            ("null", json!(null)),
            ("'<<': 1", json!({"<<": 1})),
        ] {
            let node = read(yaml).unwrap_or_else(|faults| panic!("{yaml}\n{faults}"));
            assert_eq!(to_json(&node), value, "{yaml}");
        }
    }

    #[test]
    fn spans_are_bytes() {
        let text = "# ü\r\nπ: 'ä'\r\nlist:\r\n  - ∑: 1  # c\r\n    e:\r\n  -\r\nflow: {a: [1, 2]} \r\nt: |\r\n  x\r\n\r\nend: 2\r\n";
        let source = Source::new("a.yaml", text);
        let node = parse(&source).unwrap();
        let slice = |node: &Node| source.slice(node.span).unwrap().to_owned();
        let item = |index: usize| node.get("list").unwrap().as_sequence().unwrap()[index].clone();
        assert_eq!(slice(node.get("π").unwrap()), "'ä'");
        assert_eq!(source.slice(node.key("π").unwrap().span), Some("π"));
        assert_eq!(slice(item(0).get("∑").unwrap()), "1");
        assert_eq!(slice(item(0).get("e").unwrap()), "e");
        assert_eq!(slice(&item(1)), "-");
        assert_eq!(slice(node.get("flow").unwrap()), "{a: [1, 2]}");
        assert_eq!(slice(node.get("flow").unwrap().get("a").unwrap()), "[1, 2]");
        assert_eq!(slice(node.get("t").unwrap()), "x");
        assert!(slice(&node).ends_with("end: 2"));
    }

    #[test]
    fn an_alias_points_at_itself_and_into_its_anchor() {
        let source = Source::new("a.yaml", "a: &x\n  b: 1\nc: *x\n");
        let node = parse(&source).unwrap();
        let alias = node.get("c").unwrap();
        assert_eq!(source.slice(alias.span), Some("*x"));
        assert_eq!(source.slice(alias.get("b").unwrap().span), Some("1"));
    }

    #[test]
    fn files_that_are_refused() {
        let deep_flow = "[".repeat(100_000);
        let deep_block = "- ".repeat(100_000);
        let deep_alias =
            format!("a: &a {}{}\nb: {}*a{}\n", "[".repeat(40), "]".repeat(40), "[".repeat(40), "]".repeat(40));
        let huge = format!("a: &a '{}'\nb: [{}*a]", "x".repeat(1 << 20), "*a, ".repeat(64));
        let long_explicit = format!("? {}\n: 1", "k".repeat(5000));
        let long_quoted = format!("{{\"{}\": 1}}", "k".repeat(1 << 20));
        for (yaml, expected) in [
            ("", "empty-file"),
            ("# only a comment\n", "empty-file"),
            ("---\n...\n", "empty-file"),
            ("a: 1\n---\nb: 2\n", "several-documents"),
            ("a: 1\nb: 2\na: 3\n", "duplicate-key"),
            ("{a: 1, 'a': 3}", "duplicate-key"),
            ("a: b: c", "yaml-syntax"),
            ("a: [1, 2", "yaml-syntax"),
            ("a: \"x", "yaml-syntax"),
            ("a:\n\tb: 1", "yaml-syntax"),
            ("a: *x", "yaml-syntax"),
            ("path: *.wav", "yaml-syntax"),
            ("a: @x", "yaml-syntax"),
            ("a: &x [*x]", "recursive-alias"),
            ("[a]: 1", "key-not-text"),
            ("? {a: 1}\n: 1", "key-not-text"),
            (": 1", "key-not-text"),
            ("a: &x b\n*x : 1", "key-not-text"),
            ("a: &x {b: 1}\nc:\n  <<: *x", "merge-key"),
            ("a: 99999999999999999999", "number-out-of-range"),
            ("a: !x 1", "bad-tag"),
            ("a: !!int x", "bad-tag"),
            ("a: !!map []", "bad-tag"),
            ("a: \u{1b}[31m", "control-character"),
            ("a: \0", "control-character"),
            (&deep_flow, "too-deep"),
            (&deep_block, "too-deep"),
            (&deep_alias, "too-deep"),
            (&huge, "too-much-text"),
            (&long_explicit, "key-too-long"),
            (&long_quoted, "key-too-long"),
        ] {
            assert_eq!(code(yaml), expected, "{}", yaml.chars().take(60).collect::<String>());
            let faults = read(yaml).unwrap_err();
            assert!(!faults.render(Default::default()).contains('\u{1b}'));
        }
    }

    #[test]
    fn all_duplicates_are_found_with_both_places() {
        let faults = read("a: 1\nb:\n  c: 1\n  c: 2\na: 2\n").unwrap_err();
        let text = faults.to_string();
        assert!(
            text.contains("a.yaml:4:3: error: the key `c` occurs twice in one mapping [duplicate-key]\n  at: b.c"),
            "{text}"
        );
        assert!(
            text.contains("a.yaml:3:3: first given here") && text.contains("a.yaml:1:1: first given here"),
            "{text}"
        );
    }

    #[test]
    fn hostile_files_are_refused_at_once() {
        let level = |i: usize| format!("a{i}: &a{i} [{}]\n", vec![format!("*a{}", i - 1); 9].join(", "));
        let bomb = (1..10).fold("a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, i| text + &level(i));
        let long_key = format!("{}: 1\n", "k".repeat(1 << 20));
        let later_long_key = format!("a: 1\n{}: 1\n", "k".repeat(1 << 20));
        let many = "- 1\n".repeat(1 << 20);
        for (what, text, expected) in [
            ("bomb", &bomb, "too-many-nodes"),
            ("1 MB key", &long_key, "key-too-long"),
            ("1 MB key later", &later_long_key, "key-too-long"),
            ("too many values", &many, "too-many-nodes"),
        ] {
            let start = Instant::now();
            let faults = read(text).unwrap_err();
            let printed = format!("{faults}{}", faults.render(Default::default()));
            let took = start.elapsed();
            assert_eq!(faults.iter().last().unwrap().code, expected, "{what}");
            assert!(printed.len() < 5000, "{what}: {} bytes", printed.len());
            // Generous, because tests share the machine; an attack that works takes minutes.
            assert!(took < Duration::from_secs(2), "{what} took {took:?}");
        }
    }

    /// Pieces that make the parser work: indicators, indentation, anchors, quotes.
    fn yaml_like() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "a",
            "b: ",
            ": ",
            "- ",
            "? ",
            "\n",
            "\n  ",
            "\n    ",
            "[",
            "]",
            "{",
            "}",
            ", ",
            "&x ",
            "*x",
            "'",
            "\"",
            "|\n",
            ">-\n",
            "# c",
            "!!str ",
            "!t ",
            "---",
            "...",
            "%YAML 1.2\n",
            "\t",
            "~",
            "1",
            "0x1",
            "\\",
            "π",
            "\u{feff}",
            "\r\n",
            "\u{85}",
            "<<",
            "\u{2028}",
        ]);
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    /// Every span lies in the text and splits no character; plain scalars on one line are found where they are said to be.
    fn check_spans(node: &Node, source: &Source) {
        let written = source.slice(node.span).unwrap();
        match &node.value {
            Value::String(text) if node.plain && !text.contains(char::is_whitespace) => {
                // An anchor before the value belongs to it.
                assert!(written.ends_with(text.as_str()), "{text:?} is not at the end of {written:?}");
            }
            Value::Sequence(items) => items.iter().for_each(|item| check_spans(item, source)),
            Value::Mapping(entries) => {
                for (key, value) in entries {
                    assert!(source.slice(key.span).is_some());
                    check_spans(value, source);
                }
            }
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(source) = Source::from_bytes("a", bytes) {
                let _ = parse(&source).map_err(|faults| faults.render(Default::default()));
            }
        }

        #[test]
        fn anything_like_yaml_gives_a_tree_or_a_fault(text in yaml_like()) {
            let source = Source::new("a", text);
            match parse(&source) {
                Ok(node) => check_spans(&node, &source),
                Err(faults) => {
                    prop_assert!(faults.has_errors());
                    for fault in &faults {
                        let place = fault.source.as_ref().zip(fault.span);
                        prop_assert!(place.is_none_or(|(source, span)| source.slice(span).is_some()), "{}", fault);
                    }
                    faults.render(Default::default());
                }
            }
        }

        #[test]
        fn json_is_read_as_it_is(texts in prop::collection::vec("[a-z\\\\\"\nπ: #-]{0,8}", 0..5), number in any::<i64>()) {
            let value = json!({"texts": texts, "number": number, "more": [{"x": null}, true]});
            let node = parse(&Source::new("a", value.to_string())).unwrap();
            prop_assert_eq!(to_json(&node), value);
        }
    }
}
