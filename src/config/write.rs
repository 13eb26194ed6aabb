//! Values written as YAML.

use serde_json::Value as Json;

use super::Value;
use super::scalar::resolve;

/// `value` as a YAML text that [`parse`](super::parse()) reads back as the same value: a line for each entry, lists of
/// scalars on one line. Numbers must be finite and fit 64 bits with a sign, as all that was read from YAML do.
pub fn to_yaml(value: &Json) -> String {
    let mut text = String::new();
    match value {
        Json::Object(entries) if !entries.is_empty() => block(value, 0, &mut text),
        Json::Array(items) if !is_flat(items) => block(value, 0, &mut text),
        _ => {
            text.push_str(&flow(value));
            text.push('\n');
        }
    }
    text
}

/// Whether a list goes on one line.
fn is_flat(items: &[Json]) -> bool {
    items.iter().all(|item| match item {
        Json::Array(items) => items.is_empty(),
        Json::Object(entries) => entries.is_empty(),
        _ => true,
    })
}

/// Whether a value goes on the line of its key.
fn is_short(value: &Json) -> bool {
    match value {
        Json::Array(items) => is_flat(items),
        Json::Object(entries) => entries.is_empty(),
        _ => true,
    }
}

/// The lines of a mapping or a list that does not go on one line. The first line is taken to be indented already.
fn block(value: &Json, indent: usize, text: &mut String) {
    let mut first = true;
    let mut begin = |text: &mut String| {
        if !std::mem::take(&mut first) {
            text.push_str(&" ".repeat(indent));
        }
    };
    match value {
        Json::Object(entries) => {
            for (key, value) in entries {
                begin(text);
                text.push_str(&scalar(key));
                text.push(':');
                if is_short(value) {
                    text.push(' ');
                    text.push_str(&flow(value));
                    text.push('\n');
                } else {
                    text.push('\n');
                    text.push_str(&" ".repeat(indent + 2));
                    block(value, indent + 2, text);
                }
            }
        }
        Json::Array(items) => {
            for item in items {
                begin(text);
                text.push_str("- ");
                if is_short(item) {
                    text.push_str(&flow(item));
                    text.push('\n');
                } else {
                    block(item, indent + 2, text);
                }
            }
        }
        _ => {}
    }
}

/// A scalar, an empty mapping, or a list of such.
fn flow(value: &Json) -> String {
    match value {
        Json::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Json::Object(_) => "{}".into(),
        Json::String(text) => scalar(text),
        other => other.to_string(),
    }
}

/// Text without quotes where nothing in it has another meaning, else in double quotes.
fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | ' ');
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let is_text = matches!(resolve(text), Ok(Value::String(_)));
    if starts && is_text && !text.ends_with(' ') && text.chars().all(plain) {
        return text.to_owned();
    }
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            // What YAML does not take as it is, or takes for the end of a line.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}') => {
                quoted.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::{Source, parse, to_json};
    use super::*;

    fn read_back(text: &str) -> Json {
        to_json(&parse(&Source::new("written", text)).unwrap_or_else(|faults| panic!("{text}\n{faults}")))
    }

    #[test]
    fn what_is_written_looks_as_people_write_it() {
        let value = json!({
            "name": "digits",
            "note": "a: b",
            "stages": [{"preprocess": "mono"}, {"preprocess": "log_mel", "bands": 40, "floor": 1e-7}],
            "sizes": ["batch", 2, true, null],
            "none": {},
            "nested": [[1, [2]], []],
        });
        let text = to_yaml(&value);
        let expected = "name: digits\nnote: \"a: b\"\nstages:\n  - preprocess: mono\n  - preprocess: log_mel\n    bands: \
                        40\n    floor: 1e-7\nsizes: [batch, 2, true, null]\nnone: {}\nnested:\n  - - 1\n    - [2]\n  - []\n";
        assert_eq!(text, expected);
        assert_eq!(read_back(&text), value);
    }

    #[test]
    fn texts_that_look_like_something_else_are_quoted() {
        for text in
            ["", " a", "a ", "true", "null", "~", "12", "1e5", "-", "- a", "a: b", "a #b", "?", "*x", "\u{85}", "\0"]
        {
            let written = to_yaml(&json!({"key": text}));
            assert_eq!(read_back(&written), json!({"key": text}), "{written}");
        }
        for scalar in [json!("x"), json!(5), json!([]), json!({}), json!(["a"])] {
            assert_eq!(read_back(&to_yaml(&scalar)), scalar);
        }
    }

    fn anything() -> impl Strategy<Value = Json> {
        let leaf = prop_oneof![
            Just(Json::Null),
            any::<bool>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            any::<f64>().prop_filter("finite", |number| number.is_finite()).prop_map(Json::from),
            any::<String>().prop_map(Json::from),
            "[a-z0-9 .:#-]{0,6}".prop_map(Json::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
                prop::collection::btree_map("[a-z0-9 :-]{1,5}", inner, 0..4)
                    .prop_map(|entries| Json::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in anything()) {
            prop_assert_eq!(read_back(&to_yaml(&value)), value);
        }
    }
}
