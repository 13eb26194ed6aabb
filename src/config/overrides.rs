//! `--set stage.key=value`: values of the command line in place of those of the file.

use super::node::join;
use super::parse::{MAX_DEPTH, load};
use super::source::quoted;
use super::{Fault, Faults, Key, Node, Source, Span, Value};

/// One `path=value`, read from the command line.
///
/// The value is YAML (`0.5`, `text`, `[1, 2]`; nothing is null). Its nodes point at the argument, so that a fault in it
/// says `--set path=value` instead of a line of the file.
#[derive(Clone, Debug)]
pub struct Override {
    source: Source,
    /// The words between the dots, and where each stands in the argument.
    path: Vec<(String, Span)>,
    value: Node,
}

const OPTION: &str = "--set ";

impl Override {
    /// Reads `path=value`. Faults: `bad-override` for a missing `=` or an empty word in the path, and those of
    /// [`parse`](super::parse()) for the value.
    pub fn parse(argument: &str) -> Result<Self, Faults> {
        let Some((path, value)) = argument.split_once('=') else {
            let source = Source::argument(format!("{OPTION}{argument}"));
            let fault = Fault::error("bad-override", "the value is missing")
                .expected("`path=value`, as in `vad.threshold=0.6`");
            return Err(fault.found(quoted(argument)).at(Span::new(OPTION.len(), source.text().len()), &source).into());
        };
        Override::new(path, value)
    }

    /// An override of the value at the dotted `path`. Faults as in [`Override::parse`].
    pub fn new(path: &str, value_text: &str) -> Result<Self, Faults> {
        let source = Source::argument(format!("{OPTION}{path}={value_text}"));
        let mut words = Vec::new();
        let mut start = OPTION.len();
        for word in path.split('.') {
            words.push((word.to_owned(), Span::new(start, start + word.len())));
            start += word.len() + 1;
        }
        if words.len() > MAX_DEPTH || words.iter().any(|(word, _)| word.trim().is_empty()) {
            let fault = Fault::error("bad-override", "this is not the path of a value")
                .expected("words joined with dots, as in `vad.threshold`")
                .found(quoted(path));
            return Err(fault.at(Span::new(OPTION.len(), OPTION.len() + path.len()), &source).into());
        }
        let value = load(&Source::new("", value_text)).map_err(|faults| moved(faults, start, &source))?;
        let mut value = value.unwrap_or_else(|| Node::new(Span::new(value_text.len(), value_text.len()), Value::Null));
        value.relocate(start, &source);
        Ok(Override { source, path: words, value })
    }

    /// The words of the path: `vad`, `threshold`.
    pub fn path(&self) -> impl ExactSizeIterator<Item = &str> {
        self.path.iter().map(|(word, _)| word.as_str())
    }

    /// The argument, for faults about it.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The place of a word of the path in [`source`](Override::source).
    pub fn word_span(&self, index: usize) -> Option<Span> {
        self.path.get(index).map(|(_, span)| *span)
    }

    /// Puts the value into `node`, following the words of the path from number `from` on (a caller that found the stage
    /// by the first word goes on from 1). Mappings are made where there is nothing yet; a number is the place of an
    /// item in a list. Fault `bad-override`: the path runs through something that has no keys, or past the end of a list.
    pub fn apply(&self, node: &mut Node, from: usize) -> Result<(), Faults> {
        let mut place = node;
        let mut walked = String::new();
        for (word, span) in self.path.iter().skip(from) {
            if place.is_null() {
                place.value = Value::Mapping(Vec::new());
                place.span = *span;
                place.origin = Some(self.source.clone());
                place.plain = false;
            }
            let kind = place.kind_name();
            place = match &mut place.value {
                Value::Mapping(entries) => {
                    let index = entries.iter().position(|(key, _)| key.name == *word).unwrap_or_else(|| {
                        let key = Key { name: word.clone(), span: *span, origin: Some(self.source.clone()) };
                        entries.push((key, Node::new(*span, Value::Null)));
                        entries.len() - 1
                    });
                    &mut entries[index].1
                }
                Value::Sequence(items) => {
                    let length = items.len();
                    match word.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                        Some(item) => item,
                        None => {
                            let fault = Fault::error(
                                "bad-override",
                                format!("{} has no item {}", quoted(&walked), quoted(word)),
                            )
                            .expected(format!("the number of one of its {length} items, counted from 0"));
                            return Err(self.fault_at(fault, *span));
                        }
                    }
                }
                _ => {
                    let fault = Fault::error("bad-override", format!("{} has no keys", quoted(&walked)))
                        .expected("a mapping")
                        .found(kind);
                    return Err(self.fault_at(fault, *span));
                }
            };
            walked = join(&walked, word);
        }
        *place = self.value.clone();
        Ok(())
    }

    fn fault_at(&self, fault: Fault, span: Span) -> Faults {
        fault.at(span, &self.source).into()
    }
}

/// Puts a value, as YAML text, at a dotted path below `node`. See [`Override`] for paths, values and faults.
pub fn set(node: &mut Node, path: &str, value_text: &str) -> Result<(), Faults> {
    Override::new(path, value_text)?.apply(node, 0)
}

/// Faults of the value's text, in the place that the text has in the argument.
fn moved(faults: Faults, by: usize, source: &Source) -> Faults {
    let moved = faults.into_iter().map(|mut fault| {
        fault.span = fault.span.map(|span| span.shifted(by));
        fault.source = Some(source.clone());
        fault.related.iter_mut().for_each(|(span, _)| *span = span.shifted(by));
        fault
    });
    moved.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{parse, to_json, validate};
    use super::*;

    fn node(yaml: &str) -> Node {
        parse(&Source::new("a.yaml", yaml)).unwrap()
    }

    #[test]
    fn values_are_set_and_created() {
        for (yaml, path, value, after) in [
            ("a: 1", "a", "2", json!({"a": 2})),
            ("a: 1", "b", "x", json!({"a": 1, "b": "x"})),
            ("a: {b: 1, c: 2}", "a.b", "[1, 2]", json!({"a": {"b": [1, 2], "c": 2}})),
            ("a:", "a.b.c", "true", json!({"a": {"b": {"c": true}}})),
            ("a: [1, {b: 2}]", "a.1.b", "3", json!({"a": [1, {"b": 3}]})),
            ("a: 1", "a", "", json!({"a": null})),
            ("a: 1", "a", "x=y", json!({"a": "x=y"})),
            ("a: 1", "a", "'*.wav'", json!({"a": "*.wav"})),
            ("a: 1", "a", "{b: c}", json!({"a": {"b": "c"}})),
        ] {
            let mut node = node(yaml);
            set(&mut node, path, value).unwrap();
            assert_eq!(to_json(&node), after, "{yaml} {path}={value}");
        }
    }

    #[test]
    fn paths_and_values_that_do_not_fit() {
        let deep = vec!["a"; MAX_DEPTH + 1].join(".");
        for (argument, code, place) in [
            ("a", "bad-override", "a"),
            ("=1", "bad-override", ""),
            ("a..b=1", "bad-override", "a..b"),
            (&format!("{deep}=1"), "bad-override", &deep),
            ("text.b=1", "bad-override", "b"),
            ("list.x=1", "bad-override", "x"),
            ("list.2=1", "bad-override", "2"),
            ("text=*.wav", "yaml-syntax", "*"),
            ("text=[1", "yaml-syntax", ""),
            ("text={a: 1, a: 2}", "duplicate-key", "a"),
        ] {
            let mut node = node("text: x\nlist: [1, 2]");
            let faults = Override::parse(argument).and_then(|given| given.apply(&mut node, 0)).unwrap_err();
            let fault = faults.iter().next().unwrap();
            assert_eq!(fault.code, code, "{argument}");
            assert_eq!(fault.source.as_ref().unwrap().slice(fault.span.unwrap()), Some(place), "{argument}");
            assert!(fault.to_string().starts_with("--set "), "{fault}");
        }
    }

    #[test]
    fn faults_point_at_the_argument() {
        let source = Source::new("a.yaml", "vad:\n  threshold: 0.5\n");
        let mut node = parse(&source).unwrap();
        let given = Override::parse("vad.threshold=high").unwrap();
        assert_eq!(given.path().collect::<Vec<_>>(), ["vad", "threshold"]);
        given.apply(node.get_mut("vad").unwrap(), 1).unwrap();
        Override::parse("vad.treshold=1").unwrap().apply(&mut node, 0).unwrap();
        let schema = json!({"properties": {"vad": {
            "properties": {"threshold": {"type": "number"}}, "additionalProperties": false
        }}});
        let text = validate(&node, &schema, &source).to_string();
        assert!(
            text.contains("--set vad.threshold=high: error: `vad.threshold` has a value of the wrong type"),
            "{text}"
        );
        assert!(text.contains("--set vad.treshold=1: error: the key `treshold` is not known here"), "{text}");
        assert!(!text.contains("a.yaml"), "{text}");
    }
}
