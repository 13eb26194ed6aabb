//! Faults drawn for a terminal, with the lines of the source that they are about.

use std::fmt;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, SourceCode,
    SourceSpan, SpanContents,
};

use super::source::floor_boundary;
use super::{Fault, Faults, Severity, Source, Span};

/// Lines shown before and after the one that a fault is about.
const CONTEXT_LINES: usize = 1;
/// Of a line longer than this only the surroundings of the fault are shown, in bytes.
const LONG_LINE: usize = 160;
/// An expectation longer than this stands below the snippet instead of beside the mark.
const LONG_LABEL: usize = 60;

/// How faults are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenderStyle {
    /// Whether to use terminal colours.
    pub color: bool,
    /// Columns to wrap text to, at least 20.
    pub width: usize,
}

impl Default for RenderStyle {
    /// No colours, 80 columns.
    fn default() -> Self {
        RenderStyle { color: false, width: 80 }
    }
}

impl Faults {
    /// The faults in the order of their places, each with the lines that it is about, a mark and what to do.
    pub fn render(&self, style: RenderStyle) -> String {
        let theme = if style.color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(style.width.max(20))
            .with_context_lines(CONTEXT_LINES)
            .with_links(false);
        let (faults, more) = self.printed();
        let mut text = String::new();
        for fault in faults {
            let before = text.len();
            if handler.render_report(&mut text, &Graphical::new(fault)).is_err() {
                // A place outside its source cannot be drawn, but the fault must not get lost.
                text.truncate(before);
                text.push_str(&format!("{fault}\n"));
            }
            text.push('\n');
        }
        if more > 0 {
            text.push_str(&format!("and {more} more faults\n"));
        }
        text
    }
}

/// A fault as miette wants it.
#[derive(Debug)]
struct Graphical<'a> {
    fault: &'a Fault,
    snippet: Option<Snippet>,
    help: Vec<String>,
    labels: Vec<LabeledSpan>,
}

impl<'a> Graphical<'a> {
    fn new(fault: &'a Fault) -> Self {
        let mut drawn = Graphical { fault, snippet: None, help: Vec::new(), labels: Vec::new() };
        let place = fault.source.as_ref().zip(fault.span).filter(|(source, span)| source.slice(*span).is_some());
        let mut expected = fault.expected.clone();
        if place.is_none() || expected.as_ref().is_some_and(|text| text.chars().count() > LONG_LABEL) {
            drawn.help.extend(expected.take().map(|expected| format!("expected {expected}")));
        }
        let mut found = fault.found.clone();
        if place.is_none() {
            let name = Some(fault.place()).filter(|name| !name.is_empty());
            drawn.help.extend(found.take().map(|found| format!("found {found}")));
            drawn.help.extend(name.map(|name| format!("in {name}")));
        }
        if let Some((source, span)) = place {
            let label = match (expected, found) {
                (Some(expected), Some(found)) => format!("expected {expected}, found {found}"),
                (Some(expected), None) => format!("expected {expected}"),
                (None, Some(found)) => format!("found {found}"),
                (None, None) => "here".to_owned(),
            };
            let span = on_one_line(source, span);
            drawn.labels.push(LabeledSpan::new_primary_with_span(Some(label), (span.start, span.len())));
            for (other, why) in &fault.related {
                if source.slice(*other).is_some() && drawable_together(source, span, *other) {
                    let other = on_one_line(source, *other);
                    drawn.labels.push(LabeledSpan::new_with_span(Some(why.clone()), (other.start, other.len())));
                } else {
                    drawn.help.push(format!("{why}: {}", source.locate(*other)));
                }
            }
            drawn.snippet = Some(Snippet(source.clone()));
        }
        drawn.help.extend(fault.help.clone());
        drawn
    }
}

impl fmt::Display for Graphical<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.fault.message)
    }
}

impl std::error::Error for Graphical<'_> {}

impl Diagnostic for Graphical<'_> {
    fn code(&self) -> Option<Box<dyn fmt::Display + '_>> {
        Some(Box::new(self.fault.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.fault.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help(&self) -> Option<Box<dyn fmt::Display + '_>> {
        (!self.help.is_empty()).then(|| Box::new(self.help.join("\n")) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.snippet.as_ref().map(|snippet| snippet as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(self.labels.iter().cloned()))
    }
}

/// The first line of a span, and of that no more than a long line.
fn on_one_line(source: &Source, span: Span) -> Span {
    let first = source.slice(span).and_then(|text| text.lines().next()).unwrap_or_default();
    Span::new(span.start, span.start + floor_boundary(first, LONG_LINE))
}

/// Whether two places may stand in one snippet: near each other, or both in lines that are shown whole.
fn drawable_together(source: &Source, a: Span, b: Span) -> bool {
    let whole = |span: Span| {
        let text = source.text();
        let end = text[span.start..].find('\n').map_or(text.len(), |at| span.start + at);
        end - line_start(text, span.start) <= LONG_LINE
    };
    a.start.abs_diff(b.start) <= LONG_LINE || (whole(a) && whole(b))
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |newline| newline + 1)
}

/// A source that shows parts of long lines only.
#[derive(Debug)]
struct Snippet(Source);

impl Snippet {
    /// The bytes to show around a span.
    fn window(&self, span: Span, before: usize, after: usize) -> Span {
        let text = self.0.text();
        let mut start = span.start;
        if before > 0 {
            start = line_start(text, span.start);
            if span.start - start > LONG_LINE {
                start = floor_boundary(text, span.start - LONG_LINE / 2);
            } else {
                for _ in 0..before {
                    let previous = line_start(text, start.saturating_sub(1));
                    if start == 0 || start - previous > LONG_LINE {
                        break;
                    }
                    start = previous;
                }
            }
        }
        let line_end = |at: usize| text[at..].find('\n').map_or(text.len(), |newline| at + newline);
        let mut end = line_end(span.end);
        if end - span.end > LONG_LINE {
            end = floor_boundary(text, span.end + LONG_LINE);
        } else {
            for _ in 0..after {
                let next = line_end((end + 1).min(text.len()));
                if end == text.len() || next - end > LONG_LINE {
                    break;
                }
                end = next;
            }
        }
        Span::new(start, end)
    }
}

impl SourceCode for Snippet {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let span = Span::new(span.offset(), span.offset().saturating_add(span.len()));
        self.0.slice(span).ok_or(MietteError::OutOfBounds)?;
        let window = self.window(span, before, after);
        let shown = self.0.slice(window).ok_or(MietteError::OutOfBounds)?;
        let position = self.0.position(window.start);
        let name = if self.0.is_argument() { "command line" } else { self.0.name() };
        Ok(Box::new(MietteSpanContents::new_named(
            name.to_owned(),
            shown.as_bytes(),
            (window.start, window.len()).into(),
            position.line - 1,
            position.column - 1,
            shown.lines().count().max(1),
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{parse, validate};
    use super::*;

    #[test]
    fn a_fault_with_its_lines() {
        let source = Source::new(
            "speech.yaml",
            "stages:\n  - preprocess: resample\n    sample_rate: 16000\n  - sink: console\n",
        );
        let start = source.text().find("sample_rate").unwrap();
        let fault = Fault::error("unknown-key", "the key `sample_rate` is not known here")
            .expected("`channels` or `sample_rate_hz`")
            .help("did you mean `sample_rate_hz`?")
            .at(Span::new(start, start + 11), &source);
        assert_eq!(
            Faults::from(fault).render(RenderStyle::default()),
            "unknown-key

  × the key `sample_rate` is not known here
   ╭─[speech.yaml:3:5]
 2 │   - preprocess: resample
 3 │     sample_rate: 16000
   ·     ─────┬─────
   ·          ╰── expected `channels` or `sample_rate_hz`
 4 │   - sink: console
   ╰────
  help: did you mean `sample_rate_hz`?

"
        );
    }

    #[test]
    fn two_places_of_one_fault() {
        let source = Source::new("a.yaml", "rate: 5\nb: 1\nrate: 6\n");
        let text = parse(&source).unwrap_err().render(RenderStyle::default());
        for part in ["[a.yaml:3:1]", "1 │ rate: 5", "first given here", "3 │ rate: 6", "help: remove one of the two"]
        {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn a_fault_without_a_place_says_everything() {
        let fault = Fault::error("empty-file", "the file is empty").expected("a YAML document").found("nothing");
        let text = Faults::from(fault.in_source(&Source::new("a.yaml", ""))).render(RenderStyle::default());
        for part in ["× the file is empty", "expected a YAML document", "found nothing", "in a.yaml"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn long_lines_and_wrong_places_stay_small() {
        let long = format!("a: [{}1x{}]\nb: 2\n", "1, ".repeat(100_000), ", 1".repeat(100_000));
        let source = Source::new("a.yaml", long.as_str());
        let at = source.text().find("1x").unwrap();
        for span in [Span::new(at, at + 2), Span::new(0, long.len()), Span::new(long.len(), long.len())] {
            let faults = Faults::from(Fault::error("e", "m").at(span, &source).related(Span::new(0, 1), "there"));
            let text = faults.render(RenderStyle { color: true, width: 0 });
            assert!(text.contains('m') && text.len() < 4000, "{} bytes\n{text}", text.len());
        }
        let outside = Faults::from(Fault::error("e", "m").at(Span::new(1 << 40, 1 << 41), &source));
        assert!(outside.render(RenderStyle::default()).contains('m'));
    }

    #[test]
    fn an_argument_is_shown_as_it_was_typed() {
        let source = Source::new("a.yaml", "a: 1");
        let mut node = parse(&source).unwrap();
        super::super::set(&mut node, "a", "x").unwrap();
        let schema = serde_json::json!({"properties": {"a": {"type": "integer"}}});
        let text = validate(&node, &schema, &source).render(RenderStyle::default());
        assert!(text.contains("command line") && text.contains("--set a=x"), "{text}");
    }
}
