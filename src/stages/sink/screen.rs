//! The lines of all streams on one terminal: settled ones stay, the newest unsettled one is rewritten in place.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use unicode_width::UnicodeWidthChar;

use super::SinkError;
use super::summary::printable;
use crate::media::StreamInfo;
use crate::units::Timestamp;

/// Back to the start of the line, and erase it (ECMA-48: CR, EL).
const ERASE: &str = "\r\x1b[K";
/// Faint, and normal again (ECMA-48: SGR).
const FAINT: (&str, &str) = ("\x1b[2m", "\x1b[0m");
/// The widest name of a stream, in columns.
const MAX_NAME: usize = 32;
/// The fewest columns for the text of an unsettled line; on a narrower terminal name and times give way.
const MIN_TEXT: usize = 12;

/// What the lines are written to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terminal {
    /// Whether it can rewrite a line.
    pub rewrites: bool,
    /// Whether it shows colours and styles.
    pub styled: bool,
    /// Its width now, in columns.
    pub width: fn() -> usize,
}

/// A stream on a screen, from one opening to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u64);

/// A line to show.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    /// From when to when; `None` is not shown.
    pub times: Option<(Timestamp, Timestamp)>,
    /// One line without control characters.
    pub text: String,
}

/// The lines of all streams on one terminal, or in one file or pipe, where only settled lines appear.
///
/// What is shown for one call is one write. After a write that failed nothing more is written: every call fails.
#[derive(Debug)]
pub(super) struct Screen<W: Write> {
    writer: W,
    terminal: Terminal,
    streams: Vec<Shown>,
    /// The streams with an unsettled line, the newest last.
    unsettled: Vec<(Place, Line)>,
    opened: u64,
    /// The name of the first stream ever, and whether there was another.
    first: Option<Arc<str>>,
    several: bool,
    /// Whether an unsettled line stands on the terminal.
    drawn: bool,
    failed: Option<io::ErrorKind>,
}

#[derive(Debug)]
struct Shown {
    place: Place,
    name: Arc<str>,
    label: String,
}

impl<W: Write> Screen<W> {
    pub(super) fn new(writer: W, terminal: Terminal) -> Self {
        Screen {
            writer,
            terminal,
            streams: Vec::new(),
            unsettled: Vec::new(),
            opened: 0,
            first: None,
            several: false,
            drawn: false,
            failed: None,
        }
    }

    /// A stream begins. From the second name on lines carry a name, or with `named` from now on.
    pub(super) fn open(&mut self, stream: &StreamInfo, named: bool) -> Place {
        // The same stream, opened anew.
        self.streams.retain(|shown| !Arc::ptr_eq(&shown.name, &stream.name));
        let first = self.first.get_or_insert_with(|| stream.name.clone());
        self.several |= named || *first != stream.name;
        let label = label(&stream.name, |label| self.streams.iter().any(|shown| shown.label == label));
        let place = Place(self.opened);
        self.opened += 1;
        self.streams.push(Shown { place, name: stream.name.clone(), label });
        place
    }

    /// Shows a line that the next one of the stream replaces.
    pub(super) fn unsettled(&mut self, stream: Place, line: Line) -> Result<(), SinkError> {
        if !self.terminal.rewrites {
            return Ok(());
        }
        self.unsettled.retain(|(place, _)| *place != stream);
        self.unsettled.push((stream, line));
        self.show(None)
    }

    /// Shows a line that stays, in place of the stream's unsettled one; `None` only takes that away.
    pub(super) fn settled(&mut self, stream: Place, line: Option<Line>) -> Result<(), SinkError> {
        let before = self.unsettled.len();
        self.unsettled.retain(|(place, _)| *place != stream);
        if line.is_none() && self.unsettled.len() == before {
            return Ok(());
        }
        self.show(line.map(|line| (stream, line)))
    }

    /// A stream ends; its unsettled line goes.
    pub(super) fn close(&mut self, stream: Place) -> Result<(), SinkError> {
        self.streams.retain(|shown| shown.place != stream);
        self.settled(stream, None)
    }

    /// Writes a line that stays, then the newest unsettled one.
    fn show(&mut self, settled: Option<(Place, Line)>) -> Result<(), SinkError> {
        let mut text = String::new();
        if self.drawn {
            text.push_str(ERASE);
        }
        if let Some((stream, line)) = &settled {
            text.push_str(&self.head(*stream, line, self.terminal.styled));
            text.push_str(&line.text);
            text.push('\n');
        }
        let newest = self.unsettled.last().map(|(stream, line)| self.fitted(*stream, line));
        text.push_str(newest.as_deref().unwrap_or_default());
        self.drawn = newest.is_some();
        let written = match self.failed {
            Some(kind) => Err(kind.into()),
            None => self.writer.write_all(text.as_bytes()).and_then(|()| self.writer.flush()),
        };
        written.map_err(|source| {
            self.failed = Some(source.kind());
            SinkError::Write { path: "standard output".into(), source }
        })
    }

    /// Name and times of a line, with a space behind each.
    fn head(&self, stream: Place, line: &Line, styled: bool) -> String {
        let mut head = String::new();
        if let Some(shown) = self.streams.iter().find(|shown| shown.place == stream).filter(|_| self.several) {
            head.push_str(&shown.label);
            head.push(' ');
        }
        if let Some((start, end)) = line.times {
            let (faint, normal) = if styled { FAINT } else { ("", "") };
            // Writing to a string cannot fail.
            let _ = write!(head, "{faint}[{} – {}]{normal} ", tenths(start), tenths(end));
        }
        head
    }

    /// The line as it fits the terminal, leaving the last column free, so that no terminal wraps it.
    fn fitted(&self, stream: Place, line: &Line) -> String {
        let room = (self.terminal.width)().saturating_sub(1);
        let taken = columns(&self.head(stream, line, false));
        let (head, room) = match room.checked_sub(taken).filter(|left| *left >= MIN_TEXT) {
            Some(left) => (self.head(stream, line, self.terminal.styled), left),
            None => (String::new(), room),
        };
        head + &tail(&line.text, room)
    }
}

impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        if self.drawn && self.failed.is_none() {
            // Nobody is left to be told when this fails.
            let _ = self.writer.write_all(ERASE.as_bytes()).and_then(|()| self.writer.flush());
        }
    }
}

/// The shortest end of a path that is not taken, from its last part up; at most [`MAX_NAME`] columns of it.
fn label(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let name = printable(name);
    let parts: Vec<&str> = Path::new(&name).iter().filter_map(|part| part.to_str()).collect();
    let ends = (1..=parts.len()).rev().map(|from| parts[from - 1..].join("/"));
    ends.map(|end| tail(&end, MAX_NAME)).find(|end| !taken(end)).unwrap_or_else(|| tail(&name, MAX_NAME))
}

/// `text`, or as much of its end as fits `room` columns, behind an ellipsis.
fn tail(text: &str, room: usize) -> String {
    if columns(text) <= room {
        return text.to_owned();
    }
    let mut left = room.saturating_sub(1);
    let mut from = text.len();
    for (at, c) in text.char_indices().rev() {
        let Some(rest) = left.checked_sub(c.width().unwrap_or(0)) else {
            break;
        };
        left = rest;
        from = at;
    }
    // A sign that combines with the one before it has lost that one.
    let end = text[from..].trim_start_matches(|c: char| c.width() == Some(0));
    if room == 0 { String::new() } else { format!("…{end}") }
}

/// Columns that a terminal gives `text` at most (Unicode UAX #11).
fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// `mm:ss.d`, with hours when there are any; rounded to the nearest tenth of a second.
fn tenths(time: Timestamp) -> String {
    let nanos = time.as_nanos();
    let tenths = (nanos.unsigned_abs() + 50_000_000) / 100_000_000;
    let sign = if nanos < 0 && tenths > 0 { "-" } else { "" };
    let (hours, minutes, seconds) = (tenths / 36_000, tenths / 600 % 60, tenths / 10 % 60);
    let hours = if hours > 0 { format!("{hours}:") } else { String::new() };
    format!("{sign}{hours}{minutes:02}:{seconds:02}.{}", tenths % 10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stages::sink::kit::stream;

    /// A terminal of which only what [`Screen`] uses is there: CR, LF, EL and SGR, wide characters, and the wrap that
    /// happens when a character comes after the last column.
    struct Vt {
        width: usize,
        rows: Vec<Vec<Option<String>>>,
        column: usize,
        wraps: usize,
    }

    impl Vt {
        fn show(width: usize, bytes: &[u8]) -> Vt {
            let mut vt = Vt { width, rows: vec![vec![Some(" ".into()); width]], column: 0, wraps: 0 };
            let text = std::str::from_utf8(bytes).unwrap();
            let mut chars = text.chars();
            while let Some(c) = chars.next() {
                match c {
                    '\r' => vt.column = 0,
                    '\n' => vt.line_feed(),
                    '\x1b' => {
                        let command: String = chars.by_ref().take_while(|c| !c.is_ascii_alphabetic()).collect();
                        // The letter itself was consumed: K erases, m styles; only EL has no number here.
                        if command == "[" {
                            let column = vt.column.min(width - 1);
                            vt.row()[column..].fill(Some(" ".into()));
                        }
                    }
                    c => vt.print(c),
                }
            }
            vt
        }

        fn row(&mut self) -> &mut Vec<Option<String>> {
            self.rows.last_mut().unwrap()
        }

        fn line_feed(&mut self) {
            self.rows.push(vec![Some(" ".into()); self.width]);
            self.column = 0;
        }

        fn print(&mut self, c: char) {
            let wide = c.width().unwrap_or(0);
            if wide == 0 {
                let column = self.column.saturating_sub(1);
                if let Some(cell) = self.row()[column].as_mut() {
                    cell.push(c);
                }
                return;
            }
            if self.column + wide > self.width {
                self.line_feed();
                self.wraps += 1;
            }
            let column = self.column;
            self.row()[column] = Some(c.into());
            if wide == 2 {
                self.row()[column + 1] = None;
            }
            self.column += wide;
        }

        fn lines(&self) -> Vec<String> {
            let row =
                |row: &Vec<Option<String>>| row.iter().flatten().cloned().collect::<String>().trim_end().to_owned();
            let mut lines: Vec<String> = self.rows.iter().map(row).collect();
            while lines.last().is_some_and(String::is_empty) {
                lines.pop();
            }
            lines
        }
    }

    fn terminal() -> Terminal {
        Terminal { rewrites: true, styled: false, width: || 30 }
    }

    fn line(text: &str) -> Line {
        Line { times: None, text: text.into() }
    }

    fn timed(start: i64, end: i64, text: &str) -> Line {
        let at = |tenths: i64| Timestamp::from_nanos(tenths * 100_000_000);
        Line { times: Some((at(start), at(end))), text: text.into() }
    }

    fn shown(screen: &Screen<Vec<u8>>) -> Vec<String> {
        Vt::show(30, &screen.writer).lines()
    }

    #[test]
    fn the_exact_bytes() {
        let play = |terminal| {
            let mut screen = Screen::new(Vec::new(), terminal);
            let id = screen.open(&stream(0, "mic"), false);
            screen.unsettled(id, timed(32, 50, "it w")).unwrap();
            screen.unsettled(id, timed(32, 64, "it was")).unwrap();
            screen.settled(id, Some(timed(32, 79, "It was."))).unwrap();
            screen.close(id).unwrap();
            String::from_utf8(screen.writer.clone()).unwrap()
        };
        let dumb = Terminal { rewrites: false, ..terminal() };
        let styled = Terminal { styled: true, ..terminal() };
        for (terminal, expected) in [
            (dumb, "[00:03.2 – 00:07.9] It was.\n"),
            (
                Terminal { width: || 80, ..terminal() },
                "[00:03.2 – 00:05.0] it w\r\x1b[K[00:03.2 – 00:06.4] it was\r\x1b[K[00:03.2 – 00:07.9] It was.\n",
            ),
            (
                Terminal { width: || 80, ..styled },
                "\x1b[2m[00:03.2 – 00:05.0]\x1b[0m it w\r\x1b[K\x1b[2m[00:03.2 – 00:06.4]\x1b[0m it was\
                 \r\x1b[K\x1b[2m[00:03.2 – 00:07.9]\x1b[0m It was.\n",
            ),
            // Too narrow for times and text: the text.
            (styled, "it w\r\x1b[Kit was\r\x1b[K\x1b[2m[00:03.2 – 00:07.9]\x1b[0m It was.\n"),
        ] {
            assert_eq!(play(terminal), expected);
        }
    }

    #[test]
    fn only_the_end_of_a_long_line_is_rewritten() {
        let mut screen = Screen::new(Vec::new(), terminal());
        let mic = screen.open(&stream(0, "mic"), false);
        for (text, expected) in [
            ("a line that is 29 columns wide", "…line that is 29 columns wide"),
            ("short", "short"),
            ("東京は日本の首都です。人口は約千四百万人です。", "…す。人口は約千四百万人です。"),
            ("e\u{301}cole e\u{301}te\u{301} and many many other words", "…te\u{301} and many many other words"),
            ("x", "x"),
        ] {
            screen.unsettled(mic, line(text)).unwrap();
            assert_eq!(shown(&screen), [expected]);
        }
        screen.settled(mic, Some(line(&"long ".repeat(12)))).unwrap();
        assert_eq!(shown(&screen), ["long long long long long long", "long long long long long long"]);
    }

    #[test]
    fn several_streams_take_turns_on_the_last_line() {
        let mut screen = Screen::new(Vec::new(), terminal());
        let a = screen.open(&stream(0, "in/a.wav"), false);
        screen.unsettled(a, line("one")).unwrap();
        assert_eq!(shown(&screen), ["one"]);
        let b = screen.open(&stream(1, "in/b.wav"), false);
        screen.unsettled(b, line("two")).unwrap();
        assert_eq!(shown(&screen), ["b.wav two"]);
        screen.settled(a, Some(line("One."))).unwrap();
        assert_eq!(shown(&screen), ["a.wav One.", "b.wav two"]);
        screen.unsettled(a, line("three")).unwrap();
        assert_eq!(shown(&screen), ["a.wav One.", "a.wav three"]);
        screen.close(a).unwrap();
        assert_eq!(shown(&screen), ["a.wav One.", "b.wav two"]);
        screen.settled(b, None).unwrap();
        assert_eq!(shown(&screen), ["a.wav One."]);
        let bytes = screen.writer.len();
        screen.close(b).unwrap();
        assert_eq!(screen.writer.len(), bytes, "nothing was left to erase");
    }

    #[test]
    fn names_are_as_short_as_they_can_be() {
        for (name, taken, expected) in [
            ("in/talk.wav", "", "talk.wav"),
            ("in/talk.wav", "talk.wav", "in/talk.wav"),
            ("a/in/talk.wav", "talk.wav", "in/talk.wav"),
            ("talk.wav", "talk.wav", "talk.wav"),
            ("hw:CARD=1,DEV=0", "", "hw:CARD=1,DEV=0"),
            ("", "", ""),
            ("bad\x1b[2Jname", "", "bad [2Jname"),
        ] {
            assert_eq!(label(name, |label| label == taken), expected, "{name}");
        }
        assert_eq!(columns(&label(&"x".repeat(99), |_| false)), MAX_NAME);
    }

    #[test]
    fn times_are_rounded_to_tenths() {
        for (millis, expected) in [
            (0, "00:00.0"),
            (3249, "00:03.2"),
            (3250, "00:03.3"),
            (59_960, "01:00.0"),
            (3_600_000, "1:00:00.0"),
            (-1500, "-00:01.5"),
            (-20, "00:00.0"),
        ] {
            assert_eq!(tenths(Timestamp::from_nanos(millis * 1_000_000)), expected, "{millis}");
        }
        assert!(tenths(Timestamp::MIN).starts_with('-'));
    }

    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_gone_fails_every_call() {
        let mut screen = Screen::new(Gone, terminal());
        for place in [0, 1, 0].map(Place) {
            let message = screen.settled(place, Some(line("x"))).unwrap_err().to_string();
            assert!(message.starts_with("standard output: cannot be written (the program that reads it has ended)"));
        }
    }

    proptest! {
        #[test]
        fn whatever_is_shown_only_settled_lines_stay(
            steps in proptest::collection::vec((0usize..3, any::<bool>(), "[a-z東京é\u{301} ]{0,50}"), 0..20),
        ) {
            let mut screen = Screen::new(Vec::new(), terminal());
            let places = [0, 1, 2].map(|id| screen.open(&stream(id, "same"), false));
            let mut expected: Vec<&str> = Vec::new();
            for (id, settled, text) in &steps {
                if *settled {
                    screen.settled(places[*id], Some(line(text))).unwrap();
                    expected.push(text);
                } else {
                    let before = Vt::show(30, &screen.writer).wraps;
                    screen.unsettled(places[*id], line(text)).unwrap();
                    prop_assert_eq!(Vt::show(30, &screen.writer).wraps, before, "an unsettled line never wraps");
                }
            }
            for place in places {
                screen.close(place).unwrap();
            }
            let plain: String = expected.iter().flat_map(|text| [*text, "\n"]).collect();
            prop_assert_eq!(Vt::show(30, &screen.writer).lines(), Vt::show(30, plain.as_bytes()).lines());
        }
    }
}
