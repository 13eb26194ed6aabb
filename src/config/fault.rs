//! What is wrong, where, what was expected, what was found, and what to do.

use std::cmp::Ordering;
use std::error::Error;
use std::fmt;

use super::{Key, Node, Source, Span};

/// How many faults are printed; the rest is counted.
const MAX_PRINTED: usize = 100;

/// Whether a fault stops the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Severity {
    /// Nothing starts while there is one.
    Error,
    /// Worth a look; the work goes on.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

/// One thing that is wrong with a configuration.
///
/// `Display` is plain text. Its first line is `file:line:column: error: message [code]`, so that editors can jump to it;
/// the lines below are indented by two and say what was expected, found, and what to do.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Fault {
    /// Whether it stops the work.
    pub severity: Severity,
    /// A stable name of this sort of fault, such as `unknown-key`.
    pub code: &'static str,
    /// What is wrong, in a sentence without a full stop.
    pub message: String,
    /// What was expected.
    pub expected: Option<String>,
    /// What was found.
    pub found: Option<String>,
    /// What to do.
    pub help: Option<String>,
    /// The place.
    pub span: Option<Span>,
    /// The text that the span, and those of `related`, lie in.
    pub source: Option<Source>,
    /// Other places of the same source that matter, and why.
    pub related: Vec<(Span, String)>,
    /// The path of the value in the configuration, such as `stages[2].sample_rate_hz`; empty at the top.
    pub path: String,
}

impl Fault {
    /// A fault that stops the work.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Fault {
            severity: Severity::Error,
            code,
            message: message.into(),
            expected: None,
            found: None,
            help: None,
            span: None,
            source: None,
            related: Vec::new(),
            path: String::new(),
        }
    }

    /// A fault that does not.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Fault { severity: Severity::Warning, ..Fault::error(code, message) }
    }

    /// Says what was expected.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// Says what was found.
    #[must_use]
    pub fn found(mut self, found: impl Into<String>) -> Self {
        self.found = Some(found.into());
        self
    }

    /// Says what to do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Says what to do, when that is known.
    #[must_use]
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// Puts the fault at a place.
    #[must_use]
    pub fn at(mut self, span: Span, source: &Source) -> Self {
        self.span = Some(span);
        self.in_source(source)
    }

    /// Puts the fault at a value; `file` is the file being read, a value from elsewhere points there.
    #[must_use]
    pub fn at_node(self, node: &Node, file: &Source) -> Self {
        self.at(node.span, node.source(file))
    }

    /// Puts the fault at a key; `file` is the file being read, a key from elsewhere points there.
    #[must_use]
    pub fn at_key(self, key: &Key, file: &Source) -> Self {
        self.at(key.span, key.source(file))
    }

    /// Names the file of a fault that has no place in it.
    #[must_use]
    pub fn in_source(mut self, source: &Source) -> Self {
        self.source = Some(source.clone());
        self
    }

    /// Adds another place of the same source, and why it matters.
    #[must_use]
    pub fn related(mut self, span: Span, why: impl Into<String>) -> Self {
        self.related.push((span, why.into()));
        self
    }

    /// Says which value of the configuration it is about.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// `file:line:column`, as much of it as is known; empty without a source.
    pub fn place(&self) -> String {
        match (&self.source, self.span) {
            (Some(source), Some(span)) => source.locate(span),
            (Some(source), None) => source.name().to_owned(),
            (None, _) => String::new(),
        }
    }

    /// Files in the order of their names, arguments last, places from the top, faults without a place at the end.
    fn order(&self, other: &Fault) -> Ordering {
        fn key(fault: &Fault) -> (bool, bool, &str, bool, Span, Severity) {
            let source = fault.source.as_ref();
            (
                source.is_none(),
                source.is_some_and(Source::is_argument),
                source.map_or("", |source| source.name()),
                fault.span.is_none(),
                fault.span.unwrap_or_default(),
                fault.severity,
            )
        }
        key(self).cmp(&key(other))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place();
        if !place.is_empty() {
            write!(f, "{place}: ")?;
        }
        write!(f, "{}: {} [{}]", self.severity, self.message, self.code)?;
        if !self.path.is_empty() {
            write!(f, "\n  at: {}", super::source::shorten(&self.path, 200))?;
        }
        for (label, text) in [("expected", &self.expected), ("found", &self.found), ("help", &self.help)] {
            if let Some(text) = text {
                write!(f, "\n  {label}: {}", text.replace('\n', "\n    "))?;
            }
        }
        if let Some(source) = &self.source {
            for (span, why) in &self.related {
                write!(f, "\n  {}: {why}", source.locate(*span))?;
            }
        }
        Ok(())
    }
}

impl Error for Fault {}

/// Everything that is wrong with a configuration. `Display` prints a block for each fault, in the order of the places.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// None yet.
    pub fn new() -> Self {
        Faults::default()
    }

    /// Adds one.
    pub fn push(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// Whether there is none, not even a warning.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether any of them stops the work.
    pub fn has_errors(&self) -> bool {
        self.iter().any(|fault| fault.severity == Severity::Error)
    }

    /// The faults in the order in which they were found.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }

    /// `value` with the warnings, unless a fault stops the work.
    pub fn into_result<T>(self, value: T) -> Result<(T, Faults), Faults> {
        if self.has_errors() { Err(self) } else { Ok((value, self)) }
    }

    /// The faults in the order of their places, without repetitions (an alias repeats what its anchor did wrong), and
    /// how many more there are than are printed.
    pub(super) fn printed(&self) -> (Vec<&Fault>, usize) {
        let mut sorted: Vec<&Fault> = self.0.iter().collect();
        sorted.sort_by(|a, b| a.order(b));
        sorted.dedup_by(|a, b| a.span.is_some() && a.order(b).is_eq() && a.code == b.code && a.message == b.message);
        let more = sorted.len().saturating_sub(MAX_PRINTED);
        sorted.truncate(MAX_PRINTED);
        (sorted, more)
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Faults(vec![fault])
    }
}

impl FromIterator<Fault> for Faults {
    fn from_iter<I: IntoIterator<Item = Fault>>(faults: I) -> Self {
        Faults(faults.into_iter().collect())
    }
}

impl Extend<Fault> for Faults {
    fn extend<I: IntoIterator<Item = Fault>>(&mut self, faults: I) {
        self.0.extend(faults);
    }
}

impl IntoIterator for Faults {
    type Item = Fault;
    type IntoIter = std::vec::IntoIter<Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (faults, more) = self.printed();
        for (i, fault) in faults.into_iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{fault}")?;
        }
        if more > 0 {
            write!(f, "\nand {more} more faults")?;
        }
        Ok(())
    }
}

impl Error for Faults {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_in_plain_text() {
        let source = Source::new("speech.yaml", "percept: 1\nrate: 5\nrate: 6\n");
        let fault = Fault::error("duplicate-key", "the key `rate` occurs twice")
            .expected("each key once")
            .found("a second one")
            .help("remove one of them")
            .at(Span::new(19, 23), &source)
            .related(Span::new(11, 15), "first given here")
            .path("rate");
        assert_eq!(
            fault.to_string(),
            "speech.yaml:3:1: error: the key `rate` occurs twice [duplicate-key]\n  at: rate\n  expected: each key once\n  \
             found: a second one\n  help: remove one of them\n  speech.yaml:2:1: first given here"
        );
    }

    #[test]
    fn places_are_as_exact_as_they_can_be() {
        let file = Source::new("a.yaml", "a");
        let argument = Source::argument("--set a.b=c");
        for (fault, first) in [
            (Fault::warning("w", "m"), "warning: m [w]"),
            (Fault::error("e", "m").in_source(&file), "a.yaml: error: m [e]"),
            (Fault::error("e", "m").at(Span::new(0, 1), &file), "a.yaml:1:1: error: m [e]"),
            (Fault::error("e", "m").at(Span::new(10, 11), &argument), "--set a.b=c: error: m [e]"),
        ] {
            assert_eq!(fault.to_string(), first);
        }
    }

    #[test]
    fn printed_in_the_order_of_the_places() {
        let file = Source::new("a.yaml", "a\nb\nc\n");
        let at = |start: usize| Fault::error("e", format!("m{start}")).at(Span::new(start, start + 1), &file);
        let argument = Fault::error("e", "s").at(Span::new(0, 1), &Source::argument("--set x=1"));
        let faults: Faults = [argument, at(4), Fault::error("e", "none"), at(0), at(0), at(2)].into_iter().collect();
        assert_eq!(
            faults.to_string(),
            "a.yaml:1:1: error: m0 [e]\na.yaml:2:1: error: m2 [e]\na.yaml:3:1: error: m4 [e]\n\
             --set x=1: error: s [e]\nerror: none [e]"
        );
        assert_eq!(faults.len(), 6);
    }

    #[test]
    fn only_errors_stop_the_work() {
        let mut faults = Faults::new();
        assert!(faults.is_empty() && !faults.has_errors());
        faults.push(Fault::warning("w", "m"));
        assert!(!faults.has_errors() && faults.clone().into_result(1).is_ok());
        faults.extend([Fault::error("e", "m")]);
        assert!(faults.has_errors() && faults.into_result(1).is_err());
    }

    #[test]
    fn very_many_faults_are_counted() {
        let faults: Faults = (0..150).map(|i| Fault::error("e", format!("m{i}"))).collect();
        assert_eq!(faults.to_string().lines().count(), 101);
        assert!(faults.to_string().ends_with("and 50 more faults"));
    }
}
