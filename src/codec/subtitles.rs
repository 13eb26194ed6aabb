//! Writing subtitles: SubRip (SRT, a format by custom) and WebVTT (W3C, *WebVTT: The Web Video Text Tracks Format*).

use std::fmt::Write as _;
use std::io::Write;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::CodecError;
use super::subtitle_layout::{columns, cues};
use crate::units::Timestamp;

/// A file format of subtitles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum SubtitleFormat {
    /// SubRip, `.srt`: read by every player.
    Srt,
    /// WebVTT, `.vtt`: the format of browsers.
    Vtt,
}

impl SubtitleFormat {
    /// The format that a file's extension names, in any case.
    pub fn from_extension(extension: &str) -> Option<SubtitleFormat> {
        match extension.to_ascii_lowercase().as_str() {
            "srt" => Some(SubtitleFormat::Srt),
            "vtt" => Some(SubtitleFormat::Vtt),
            _ => None,
        }
    }
}

/// How long text is shown that comes when its time has passed already.
const LATE_CUE_MS: u64 = 500;

/// Writes subtitles one cue at a time, each flushed, so that the file is whole after every cue.
///
/// Cues never overlap and never go back: one that starts before the last has ended is cut at its start, and one whose
/// time has passed altogether is shown for half a second after it.
#[derive(Debug)]
pub struct SubtitleWriter<W: Write> {
    writer: W,
    format: SubtitleFormat,
    cues: u64,
    end_ms: u64,
}

impl<W: Write> SubtitleWriter<W> {
    /// Writes the header, if the format has one.
    pub fn new(mut writer: W, format: SubtitleFormat) -> Result<Self, CodecError> {
        let header: &[u8] = match format {
            SubtitleFormat::Srt => b"",
            SubtitleFormat::Vtt => b"WEBVTT\n\n",
        };
        let written = writer.write_all(header).and_then(|()| writer.flush());
        written.map_err(|source| CodecError::Subtitle { cue: 0, source })?;
        Ok(SubtitleWriter { writer, format, cues: 0, end_ms: 0 })
    }

    /// Writes what was said between two times, and gives the number of cues that it took.
    ///
    /// Text is set in at most two lines of at most 42 columns (a wide East Asian character takes two); longer text
    /// becomes several cues that share the time by their length. White space, line breaks too, counts as one space, so
    /// no empty line ends a cue early. Blank text writes nothing. Times before 0 count as 0, and the end as the start if
    /// it is earlier.
    pub fn cue(&mut self, start: Timestamp, end: Timestamp, text: &str) -> Result<usize, CodecError> {
        let text = match self.format {
            // SRT has no way of writing these literally.
            SubtitleFormat::Srt => defuse_srt(text),
            SubtitleFormat::Vtt => text.to_owned(),
        };
        let cues = cues(&text);
        let lengths: Vec<u64> =
            cues.iter().map(|lines| lines.iter().map(|line| columns(line).max(1) as u64).sum()).collect();
        let total: u64 = lengths.iter().sum();
        let first_ms = millis(start).max(self.end_ms);
        // At least a millisecond for each cue.
        let span_ms = match millis(end).saturating_sub(first_ms) {
            0 => LATE_CUE_MS,
            span => span,
        }
        .max(cues.len() as u64);
        let mut shown = 0;
        for (position, (lines, length)) in cues.iter().zip(&lengths).enumerate() {
            shown += length;
            let share = u128::from(span_ms) * u128::from(shown) / u128::from(total.max(1));
            let still_to_come = (cues.len() - position - 1) as u64;
            let end_ms = first_ms.saturating_add(u64::try_from(share).unwrap_or(u64::MAX));
            let end_ms =
                end_ms.min(first_ms.saturating_add(span_ms - still_to_come)).max(self.end_ms.max(first_ms) + 1);
            self.write(if position == 0 { first_ms } else { self.end_ms }, end_ms, lines)?;
            self.end_ms = end_ms;
        }
        Ok(cues.len())
    }

    /// Cues written so far.
    pub fn cues(&self) -> u64 {
        self.cues
    }

    /// The writer, behind the last cue.
    pub fn into_inner(self) -> W {
        self.writer
    }

    fn write(&mut self, start_ms: u64, end_ms: u64, lines: &[String]) -> Result<(), CodecError> {
        let cue = self.cues + 1;
        let mut block = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(block, "{cue}\n{} --> {}", self.time(start_ms), self.time(end_ms));
        for line in lines {
            match self.format {
                SubtitleFormat::Srt => block.push_str(line),
                SubtitleFormat::Vtt => block.push_str(&escape_vtt(line)),
            }
            block.push('\n');
        }
        block.push('\n');
        let written = self.writer.write_all(block.as_bytes()).and_then(|()| self.writer.flush());
        written.map_err(|source| CodecError::Subtitle { cue, source })?;
        self.cues = cue;
        Ok(())
    }

    /// `00:00:01,234` in SRT, `00:00:01.234` in WebVTT; hours take more digits when they need them.
    fn time(&self, millis: u64) -> String {
        let point = match self.format {
            SubtitleFormat::Srt => ',',
            SubtitleFormat::Vtt => '.',
        };
        let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
        format!("{hours:02}:{minutes:02}:{:02}{point}{:03}", millis / 1000 % 60, millis % 1000)
    }
}

/// Whole milliseconds, rounded; 0 before the stream.
fn millis(time: Timestamp) -> u64 {
    (time.as_nanos().max(0).unsigned_abs() + 500_000) / 1_000_000
}

/// WebVTT 4.2.2: `&` and `<` start an escape and a tag, and `-->` may not appear in text.
fn escape_vtt(line: &str) -> String {
    line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Replaces what players of SRT take for more than text, by signs that look alike: `-->` marks times, `<i>` and
/// `{\an8}` are styles.
fn defuse_srt(text: &str) -> String {
    let text = text.replace("-->", "→").replace("{\\", "{ \\");
    let mut out = String::with_capacity(text.len());
    let mut in_tag = false;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let opens = c == '<' && rest.peek().is_some_and(|next| next.is_ascii_alphabetic() || *next == '/');
        let closes = c == '>' && in_tag;
        in_tag = opens || (in_tag && !closes);
        out.push(match c {
            '<' if opens => '‹',
            '>' if closes => '›',
            other => other,
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use std::io;

    use proptest::prelude::*;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_nanos(millis * 1_000_000)
    }

    fn written(format: SubtitleFormat, cues: &[(i64, i64, &str)]) -> String {
        let mut writer = SubtitleWriter::new(Vec::new(), format).unwrap();
        for (start, end, text) in cues {
            writer.cue(at(*start), at(*end), text).unwrap();
        }
        String::from_utf8(writer.into_inner()).unwrap()
    }

    #[test]
    fn whole_files() {
        let cues = [(1234, 2500, "Hello there."), (3_723_004, 3_725_000, "An hour & more: <b>\nsecond line")];
        assert_eq!(
            written(SubtitleFormat::Srt, &cues),
            "1\n00:00:01,234 --> 00:00:02,500\nHello there.\n\n\
             2\n01:02:03,004 --> 01:02:05,000\nAn hour & more: ‹b› second line\n\n"
        );
        assert_eq!(
            written(SubtitleFormat::Vtt, &cues),
            "WEBVTT\n\n1\n00:00:01.234 --> 00:00:02.500\nHello there.\n\n\
             2\n01:02:03.004 --> 01:02:05.000\nAn hour &amp; more: &lt;b&gt; second line\n\n"
        );
        assert_eq!(written(SubtitleFormat::Srt, &[]), "");
        assert_eq!(written(SubtitleFormat::Vtt, &[(0, 1, " \n ")]), "WEBVTT\n\n");
    }

    #[test]
    fn text_that_looks_like_syntax() {
        for (text, srt, vtt) in [
            ("a --> b", "a → b", "a --&gt; b"),
            ("a\n\nb", "a b", "a b"),
            ("1 < 2 > 1", "1 < 2 > 1", "1 &lt; 2 &gt; 1"),
            ("<i>no</i> tag", "‹i›no‹/i› tag", "&lt;i&gt;no&lt;/i&gt; tag"),
            ("{\\an8}up", "{ \\an8}up", "{\\an8}up"),
            ("&amp;", "&amp;", "&amp;amp;"),
            ("NOTE well", "NOTE well", "NOTE well"),
        ] {
            let body = |format| written(format, &[(0, 1000, text)]).trim_end().rsplit('\n').next().unwrap().to_owned();
            assert_eq!(body(SubtitleFormat::Srt), srt, "{text:?}");
            assert_eq!(body(SubtitleFormat::Vtt), vtt, "{text:?}");
        }
    }

    #[test]
    fn long_text_shares_its_time() {
        let text = "It was the best of times, it was the worst of times, it was the age of wisdom, \
                    it was the age of foolishness, it was the epoch of belief.";
        assert_eq!(
            written(SubtitleFormat::Srt, &[(0, 10_000, text)]),
            "1\n00:00:00,000 --> 00:00:05,746\nIt was the best of times, it was the\nworst of times, it was the age of wisdom,\n\n\
             2\n00:00:05,746 --> 00:00:10,000\nit was the age of foolishness,\nit was the epoch of belief.\n\n"
        );
    }

    #[test]
    fn cues_never_overlap() {
        assert_eq!(
            written(SubtitleFormat::Srt, &[(-5, 2000, "a"), (1000, 3000, "b"), (500, 600, "c"), (9000, 1, "d")]),
            "1\n00:00:00,000 --> 00:00:02,000\na\n\n2\n00:00:02,000 --> 00:00:03,000\nb\n\n\
             3\n00:00:03,000 --> 00:00:03,500\nc\n\n4\n00:00:09,000 --> 00:00:09,500\nd\n\n"
        );
    }

    #[test]
    fn extensions() {
        assert_eq!(SubtitleFormat::from_extension("SRT"), Some(SubtitleFormat::Srt));
        assert_eq!(SubtitleFormat::from_extension("vtt"), Some(SubtitleFormat::Vtt));
        assert_eq!(SubtitleFormat::from_extension("ass"), None);
    }

    struct Failing(io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if bytes.starts_with(b"WEBVTT") { Ok(bytes.len()) } else { Err(self.0.into()) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_writer_that_fails_names_the_cue() {
        for (kind, expected) in [
            (io::ErrorKind::StorageFull, "free some space"),
            (io::ErrorKind::BrokenPipe, "the program that reads it has ended"),
        ] {
            let mut writer = SubtitleWriter::new(Failing(kind), SubtitleFormat::Vtt).unwrap();
            let message = writer.cue(at(0), at(1), "a").unwrap_err().to_string();
            assert!(message.starts_with("subtitle 1 ") && message.contains(expected), "{message}");
            assert_eq!(writer.cues(), 0);
        }
    }

    /// Reads `HH:MM:SS,mmm`.
    fn parse(time: &str) -> u64 {
        let numbers: Vec<u64> = time.split([':', ',', '.']).map(|number| number.parse().unwrap()).collect();
        ((numbers[0] * 60 + numbers[1]) * 60 + numbers[2]) * 1000 + numbers[3]
    }

    proptest! {
        #[test]
        fn any_cues_make_a_file_that_parses(
            cues in proptest::collection::vec((any::<i64>(), any::<i64>(), ".{0,300}"), 0..8),
            vtt in any::<bool>(),
        ) {
            let format = if vtt { SubtitleFormat::Vtt } else { SubtitleFormat::Srt };
            let mut writer = SubtitleWriter::new(Vec::new(), format).unwrap();
            for (start, end, text) in &cues {
                writer.cue(Timestamp::from_nanos(*start), Timestamp::from_nanos(*end), text).unwrap();
            }
            let count = writer.cues();
            let text = String::from_utf8(writer.into_inner()).unwrap();
            let body = text.strip_prefix("WEBVTT\n\n").unwrap_or(&text);
            let (mut last, mut number) = (0, 0);
            for block in body.split_terminator("\n\n") {
                let mut lines = block.split('\n');
                number += 1;
                prop_assert_eq!(lines.next().unwrap(), number.to_string());
                let (start, end) = lines.next().unwrap().split_once(" --> ").unwrap();
                prop_assert!(last <= parse(start) && parse(start) < parse(end), "{}", block);
                last = parse(end);
                let lines: Vec<&str> = lines.collect();
                prop_assert!((1..=2).contains(&lines.len()));
                prop_assert!(lines.iter().all(|line| !line.is_empty() && !line.contains("-->")));
            }
            prop_assert_eq!(number, count);
        }
    }
}
