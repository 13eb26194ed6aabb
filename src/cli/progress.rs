//! How far a fetch is, on the standard error: a bar on a terminal, plain lines elsewhere, nothing when quiet.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::global::Global;
use super::terminal::Terminal;
use super::text;
use crate::cards::{Phase, Progress};

/// Work on fewer bytes than this is over before a line about it is read.
const WORTH_A_LINE: u64 = 5_000_000;

/// Shows a fetch to the user.
pub(super) struct Display {
    terminal: Terminal,
    manner: Manner,
    /// What is shown now, and its bar.
    current: Option<(Phase, String, Option<ProgressBar>)>,
    /// What lines have been written, for tests.
    #[cfg(test)]
    lines: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Silent,
    Lines,
    Bars,
}

impl Display {
    pub fn new(global: &Global) -> Display {
        let terminal = global.stderr();
        let manner = match (global.quiet, terminal.interactive) {
            (true, _) => Manner::Silent,
            (false, true) => Manner::Bars,
            (false, false) => Manner::Lines,
        };
        Display {
            terminal,
            manner,
            current: None,
            #[cfg(test)]
            lines: Vec::new(),
        }
    }

    /// Takes the bar away, so that text can be written.
    pub fn clear(&mut self) {
        if let Some((_, _, Some(bar))) = self.current.take() {
            bar.finish_and_clear();
        }
    }

    fn line(&mut self, text: String) {
        #[cfg(test)]
        self.lines.push(text.clone());
        self.terminal.line(&text);
    }

    fn begin(&mut self, phase: Phase, what: &str, total: u64) {
        self.clear();
        let bar = (self.manner == Manner::Bars).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            bar.set_style(style(phase, self.terminal.color));
            bar.set_prefix(phase.to_string());
            // A wheel's name is longer than what is said of it.
            bar.set_message(shorten(what, self.terminal.width.saturating_sub(76).max(16)));
            bar
        });
        if self.manner == Manner::Lines {
            match phase {
                Phase::Downloading => self.line(format!("{phase} {what} ({})", text::bytes(total))),
                Phase::Waiting => self.line(format!("{phase} another process that fetches {what}")),
                _ if total >= WORTH_A_LINE => self.line(format!("{phase} {what} ({})", text::bytes(total))),
                _ => {}
            }
        }
        self.current = Some((phase, what.to_owned(), bar));
    }
}

impl Progress for Display {
    fn update(&mut self, phase: Phase, what: &str, done: u64, total: u64) {
        if self.manner == Manner::Silent {
            return;
        }
        let same = matches!(&self.current, Some((now, of, _)) if *now == phase && of == what);
        if !same {
            self.begin(phase, what, total);
        }
        if let Some((_, _, Some(bar))) = &self.current {
            bar.set_length(total);
            bar.set_position(done);
            if phase == Phase::Waiting {
                bar.tick();
            }
        }
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        self.clear();
    }
}

fn template(phase: Phase, color: bool) -> &'static str {
    match (phase, color) {
        (Phase::Waiting, _) => "{spinner} {prefix} another process that fetches {msg}",
        (_, true) => {
            "{prefix:>11} {msg} {bar:20.green} {decimal_bytes:>9} of {decimal_total_bytes:<9} {decimal_bytes_per_sec:>11} {eta:>4}"
        }
        (_, false) => {
            "{prefix:>11} {msg} {bar:20} {decimal_bytes:>9} of {decimal_total_bytes:<9} {decimal_bytes_per_sec:>11} {eta:>4}"
        }
    }
}

fn style(phase: Phase, color: bool) -> ProgressStyle {
    let style = ProgressStyle::with_template(template(phase, color)).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("━╸─")
}

/// The beginning of a name, with a mark where more would follow.
fn shorten(name: &str, columns: usize) -> String {
    if name.chars().count() <= columns {
        return name.to_owned();
    }
    let start: String = name.chars().take(columns.saturating_sub(1)).collect();
    format!("{start}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn display(manner: Manner) -> Display {
        let terminal = Terminal { color: false, width: 80, interactive: false };
        Display { terminal, manner, current: None, lines: Vec::new() }
    }

    #[test]
    fn one_line_for_each_thing_that_takes_time() {
        let mut shown = display(Manner::Lines);
        for (phase, what, done, total) in [
            (Phase::Waiting, "small", 0, 0),
            (Phase::Waiting, "small", 0, 0),
            (Phase::Downloading, "a.whl", 0, 27_780_211),
            (Phase::Downloading, "a.whl", 1, 27_780_211),
            (Phase::Checking, "a.whl", 0, 27_780_211),
            (Phase::Unpacking, "LICENSE", 0, 1000),
            (Phase::Downloading, "b.whl", 0, 10),
        ] {
            shown.update(phase, what, done, total);
        }
        assert_eq!(
            shown.lines,
            [
                "waiting for another process that fetches small",
                "downloading a.whl (27.8 MB)",
                "checking a.whl (27.8 MB)",
                "downloading b.whl (10 B)",
            ]
        );
    }

    #[test]
    fn quiet_is_quiet() {
        let mut shown = display(Manner::Silent);
        shown.update(Phase::Downloading, "a.whl", 0, 1 << 30);
        assert!(shown.lines.is_empty() && shown.current.is_none());
    }

    #[test]
    fn the_bars_are_sound_and_follow_the_bytes() {
        for phase in [Phase::Waiting, Phase::Downloading, Phase::Checking, Phase::Unpacking] {
            for color in [true, false] {
                let bar = ProgressBar::hidden();
                assert!(ProgressStyle::with_template(template(phase, color)).is_ok(), "{phase} {color}");
                bar.set_style(style(phase, color));
            }
        }
        let mut shown = display(Manner::Bars);
        shown.update(Phase::Downloading, "a.whl", 0, 100);
        shown.update(Phase::Downloading, "a.whl", 40, 100);
        let Some((_, _, Some(bar))) = &shown.current else { panic!("no bar") };
        assert_eq!((bar.position(), bar.length()), (40, Some(100)));
    }

    #[test]
    fn long_names_are_shortened() {
        assert_eq!(shorten("onnxruntime", 11), "onnxruntime");
        assert_eq!(shorten("onnxruntime", 5), "onnx…");
    }
}
