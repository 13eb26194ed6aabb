//! `${NAME}` and `${NAME:-default}` in the scalars of a file.

use super::node::join;
use super::scalar::resolve;
use super::source::{MAX_BYTES, quoted};
use super::{Fault, Faults, Node, Source, Span, Value};

/// How deeply defaults may hold substitutions of their own.
const MAX_NESTING: usize = 16;

/// Replaces variables in every text of the tree, in place; keys stay as they are.
///
/// `${NAME}` is what `lookup` says; `${NAME:-default}` is the default when that is nothing or empty, as in a shell, and
/// the default may hold braces in pairs and variables of its own. `$$` is a `$`; any other `$`, and braces without one
/// (`{stream}`), stay. A scalar without quotes that held a variable is typed anew: `${RATE}` can be a number. In
/// `[…]` and `{…}` YAML itself wants quotes around `${…}`, and then the value is text.
///
/// Faults: `unset-variable`, `bad-substitution`, `too-much-text`, `number-out-of-range`; a text with one stays as it was.
pub fn substitute(node: &mut Node, source: &Source, lookup: &dyn Fn(&str) -> Option<String>) -> Faults {
    let mut walk = Walk { source, lookup, faults: Faults::new(), budget: MAX_BYTES };
    walk.node(node, "");
    walk.faults
}

struct Walk<'a> {
    source: &'a Source,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    faults: Faults,
    /// How many more bytes the replaced texts may hold.
    budget: usize,
}

/// What is wrong with a text, and where in it.
struct Problem {
    at: Span,
    fault: Fault,
}

impl Walk<'_> {
    fn node(&mut self, node: &mut Node, path: &str) {
        let replaced = match &mut node.value {
            Value::Sequence(items) => {
                for (i, item) in items.iter_mut().enumerate() {
                    self.node(item, &format!("{path}[{i}]"));
                }
                return;
            }
            Value::Mapping(entries) => {
                for (key, value) in entries {
                    self.node(value, &join(path, &key.name));
                }
                return;
            }
            Value::String(text) if text.contains('$') => {
                let mut output = String::new();
                self.expand(text, 0, 0, &mut output).map(|variables| (output, variables))
            }
            _ => return,
        };
        let problem = match replaced {
            Ok((text, variables)) if node.plain && variables => match resolve(&text) {
                Ok(value) => {
                    node.value = value;
                    return;
                }
                Err(_) => Problem {
                    at: Span::new(0, usize::MAX),
                    fault: Fault::error("number-out-of-range", "the number does not fit into 64 bits")
                        .found(quoted(&text)),
                },
            },
            Ok((text, _)) => {
                node.value = Value::String(text);
                return;
            }
            Err(problem) => *problem,
        };
        let span = self.exact(node, problem.at).unwrap_or(node.span);
        self.faults.push(problem.fault.at(span, node.source(self.source)).path(path));
    }

    /// The place of a part of a text, when the text stands in its source as it is.
    fn exact(&self, node: &Node, part: Span) -> Option<Span> {
        let written = node.source(self.source).slice(node.span)?;
        let text = node.as_str()?;
        let start = node.span.start + written.find(text)?;
        (part.end <= text.len()).then(|| part.shifted(start))
    }

    /// Appends `text` with its variables replaced; `base` is where it stands in the whole scalar. Says whether there
    /// were any variables.
    fn expand(&mut self, text: &str, base: usize, depth: usize, output: &mut String) -> Result<bool, Box<Problem>> {
        let mut variables = false;
        let mut at = 0;
        while let Some(dollar) = text[at..].find('$').map(|offset| at + offset) {
            self.push(&text[at..dollar], base + at, output)?;
            let rest = &text[dollar + 1..];
            at = dollar + 1;
            if rest.starts_with('$') {
                self.push("$", base + dollar, output)?;
                at += 1;
            } else if rest.starts_with('{') {
                let Some(length) = braces(rest) else {
                    let fault =
                        Fault::error("bad-substitution", "a `${` is not closed").help("write `$${` for a plain `${`");
                    return Err(problem(base + dollar, text.len() - dollar, fault));
                };
                at += length;
                variables = true;
                self.variable(&rest[1..length - 1], base + dollar, depth, output)?;
            } else {
                self.push("$", base + dollar, output)?;
            }
        }
        self.push(&text[at..], base + at, output)?;
        Ok(variables)
    }

    /// Appends the value of `NAME` or `NAME:-default`; `start` is where the `$` stands.
    fn variable(&mut self, inside: &str, start: usize, depth: usize, output: &mut String) -> Result<(), Box<Problem>> {
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let length = inside.len() + 3;
        let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
        if !name.starts_with(letter) || !name.chars().all(|c| letter(c) || c.is_ascii_digit()) {
            let fault = Fault::error("bad-substitution", "this is not the name of a variable")
                .expected("letters, digits and `_`, as in `${NAME}` or `${NAME:-default}`")
                .found(quoted(name))
                .help("write `$${` for a plain `${`");
            return Err(problem(start, length, fault));
        }
        if depth >= MAX_NESTING {
            let fault = Fault::error("bad-substitution", "defaults are nested too deeply")
                .expected(format!("at most {MAX_NESTING} levels"));
            return Err(problem(start, length, fault));
        }
        match ((self.lookup)(name), default) {
            (Some(value), None) => self.push(&value, start, output),
            (Some(value), Some(_)) if !value.is_empty() => self.push(&value, start, output),
            (_, Some(default)) => self.expand(default, start + 2 + name.len() + 2, depth + 1, output).map(|_| ()),
            (None, None) => {
                let fault = Fault::error("unset-variable", format!("the variable {} is not set", quoted(name)))
                    .help(format!("set it in the environment, or give a default: `${{{name}:-…}}`"));
                Err(problem(start, length, fault))
            }
        }
    }

    fn push(&mut self, text: &str, at: usize, output: &mut String) -> Result<(), Box<Problem>> {
        let Some(budget) = self.budget.checked_sub(text.len()) else {
            let fault = Fault::error("too-much-text", "substitution makes too much text")
                .expected(format!("at most {MAX_BYTES} bytes in the whole file"));
            return Err(problem(at, 0, fault));
        };
        self.budget = budget;
        output.push_str(text);
        Ok(())
    }
}

fn problem(start: usize, length: usize, fault: Fault) -> Box<Problem> {
    Box::new(Problem { at: Span::new(start, start + length), fault })
}

/// The length of the text from its `{` to the `}` that closes it, both included.
fn braces(text: &str) -> Option<usize> {
    let mut open = 0usize;
    for (i, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' => {
                open -= 1;
                if open == 0 {
                    return Some(i + 1);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::super::{parse, to_json};
    use super::*;

    fn environment(name: &str) -> Option<String> {
        let value = match name {
            "RATE" => "16000",
            "NAME" => "speech",
            "EMPTY" => "",
            "YES" => "true",
            "TEXT" => "a: b",
            "HUGE" => "99999999999999999999",
            _ => return None,
        };
        Some(value.to_owned())
    }

    fn run(yaml: &str) -> (serde_json::Value, Faults, Source) {
        let source = Source::new("a.yaml", yaml);
        let mut node = parse(&source).unwrap();
        let faults = substitute(&mut node, &source, &environment);
        (to_json(&node), faults, source)
    }

    #[test]
    fn variables_and_what_is_none() {
        for (yaml, value) in [
            ("${RATE}", json!(16000)),
            ("\"${RATE}\"", json!("16000")),
            ("'${RATE}'", json!("16000")),
            ("${RATE}.5", json!(16000.5)),
            ("${YES}", json!(true)),
            ("${EMPTY}", json!(null)),
            ("${TEXT}", json!("a: b")),
            ("${NAME}-${RATE}.wav", json!("speech-16000.wav")),
            ("${NONE:-8000}", json!(8000)),
            ("${EMPTY:-8000}", json!(8000)),
            ("${RATE:-8000}", json!(16000)),
            ("${NONE:-}", json!(null)),
            ("${NONE:-{stream}.srt}", json!("{stream}.srt")),
            ("${NONE:-${NAME}}", json!("speech")),
            ("${NONE:-${NONE:-x}y}z", json!("xyz")),
            ("$$", json!("$")),
            ("$${NAME}", json!("${NAME}")),
            ("$$5", json!("$5")),
            ("$NAME costs 5$", json!("$NAME costs 5$")),
            ("\"{stream}.srt\"", json!("{stream}.srt")),
            ("[1, \"${RATE}\"]", json!([1, "16000"])),
            ("a: {b: '${NAME}'}", json!({"a": {"b": "speech"}})),
            ("\"${NAME}\": 1", json!({"${NAME}": 1})),
        ] {
            let (found, faults, _) = run(yaml);
            assert!(faults.is_empty(), "{yaml}: {faults}");
            assert_eq!(found, value, "{yaml}");
        }
    }

    #[test]
    fn what_cannot_be_replaced() {
        for (yaml, code, place) in [
            ("a: ${NONE}", "unset-variable", "${NONE}"),
            ("a: x-${NONE}-y", "unset-variable", "${NONE}"),
            ("a: 'π ${NONE}'", "unset-variable", "${NONE}"),
            ("a: \"\\t${NONE}\"", "unset-variable", "\"\\t${NONE}\""),
            ("a: ${RATE:-x}${NONE:-${ALSO}}", "unset-variable", "${ALSO}"),
            ("a: '${NAME'", "bad-substitution", "${NAME"),
            ("a: '${}'", "bad-substitution", "${}"),
            ("a: '${1A}'", "bad-substitution", "${1A}"),
            ("a: '${A B}'", "bad-substitution", "${A B}"),
            ("a: ${HUGE}", "number-out-of-range", "${HUGE}"),
        ] {
            let (_, faults, source) = run(yaml);
            assert_eq!(faults.len(), 1, "{yaml}: {faults}");
            let fault = faults.iter().next().unwrap();
            assert_eq!((fault.code, source.slice(fault.span.unwrap()).unwrap()), (code, place), "{yaml}");
            assert_eq!(fault.path, "a");
        }
    }

    #[test]
    fn text_and_nesting_are_bounded() {
        let source = Source::new("a", format!("'{}'", "${X}".repeat(10_000)));
        let mut node = parse(&source).unwrap();
        let faults = substitute(&mut node, &source, &|_| Some("x".repeat(100_000)));
        assert_eq!(faults.iter().next().unwrap().code, "too-much-text");
        let (_, faults, _) = run(&format!("'{}{}'", "${A:-".repeat(5000), "}".repeat(5000)));
        assert_eq!(faults.iter().next().unwrap().code, "bad-substitution");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[${}:A_\\-aπ ]{0,24}") {
            let source = Source::new("a", "");
            let mut node = Node::new(Span::default(), Value::String(text.clone()));
            let faults = substitute(&mut node, &source, &environment);
            if !text.contains('$') {
                prop_assert!(faults.is_empty());
                prop_assert_eq!(node.as_str(), Some(text.as_str()));
            }
        }
    }
}
