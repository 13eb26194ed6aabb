//! `console`: shows results on the terminal. For watching a pipeline at work.
//!
//! On a terminal a partial result stands on the last line and is rewritten as it changes; the final result takes its
//! place and stays: `[00:03.2 – 00:07.9] text`. In a file or a pipe there are only final results, on plain lines, so
//! `percept run … | grep …` works. As soon as there is more than one stream each line begins with the stream's name.
//! `NO_COLOR` and `TERM=dumb` are honoured.
//!
//! When the program that reads standard output has ended (`… | head`), every stream ends here with an error; other
//! stages go on.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use schemars::JsonSchema;
use serde::Deserialize;

use super::is_partial;
use super::screen::{Line, Place, Screen, Terminal};
use super::summary::summary;
use crate::media::{Format, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Input, Kind, Opened, Output, Role, Runnable, Stage, StageError,
};

/// The width of a terminal that does not tell it, in columns.
const DEFAULT_WIDTH: usize = 80;

/// Settings of `console`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Console {
    /// Whether partial results are shown, on a terminal. Default: true.
    #[serde(default = "yes")]
    pub partials: bool,
    /// Whether a line begins with its times. Default: true.
    #[serde(default = "yes")]
    pub times: bool,
    /// Whether every line begins with its stream's name. Default: false, only from the second stream on.
    #[serde(default)]
    pub names: bool,
    #[serde(skip)]
    screen: SharedScreen,
}

fn yes() -> bool {
    true
}

impl Console {
    /// Partial results and times are shown.
    pub fn new() -> Self {
        Console { partials: true, times: true, names: false, screen: SharedScreen::default() }
    }
}

impl Default for Console {
    fn default() -> Self {
        Self::new()
    }
}

/// A screen on whatever can be written.
type AnyScreen = Screen<Box<dyn Write + Send>>;

/// The screen, which outlives a stage that is restarted. Standard output, unless it was made with another.
#[derive(Clone, Default)]
struct SharedScreen(Arc<OnceLock<Mutex<AnyScreen>>>);

impl SharedScreen {
    fn lock(&self) -> MutexGuard<'_, AnyScreen> {
        let screen = self.0.get_or_init(|| Mutex::new(Screen::new(Box::new(io::stdout()), stdout_terminal())));
        // A screen is consistent between any two of its steps; at worst a line is left on the terminal.
        screen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SharedScreen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedScreen")
    }
}

/// What standard output is, by the system and the variables `TERM` and `NO_COLOR` (no-color.org: set and not empty).
fn stdout_terminal() -> Terminal {
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let rewrites = io::stdout().is_terminal() && !dumb;
    Terminal { rewrites, styled: rewrites && !plain, width: stdout_width }
}

fn stdout_width() -> usize {
    let size = terminal_size::terminal_size_of(io::stdout());
    size.map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0))
}

impl Blueprint for Console {
    fn contract(&self) -> Contract {
        // A line waits for the reader of a pipe, or for a stopped terminal, as long as it takes.
        Contract::new().input("in", Format::Any).deadline(None).supersede()
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(Vec::new())
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(ConsoleStage(self.clone())))
    }
}

/// An example.
pub const EXAMPLE: &str = "\
percept: 1
name: dictation
stages:
  - capture: microphone
  - preprocess: resample
    sample_rate_hz: 16000
  - model: silero-vad
    id: vad
  - decoder: endpoint
    from: {voice: vad, audio: resample}
  - model: moonshine-tiny
  - decoder: transcript
  - sink: console
";

/// The registry's entry.
pub const KIND: Kind = Kind::plain::<Console>(
    "console",
    Role::Sink,
    "shows results on the terminal, partial ones rewritten in place; plain lines of final ones in a pipe",
    EXAMPLE,
);

struct ConsoleStage(Console);

/// A stream on the screen.
struct OnScreen {
    place: Place,
    screen: SharedScreen,
}

impl Drop for OnScreen {
    fn drop(&mut self) {
        // A stream that ends well was closed by flush, which tells of errors; for any other there is an error already.
        let _ = self.screen.lock().close(self.place);
    }
}

impl Stage for ConsoleStage {
    type State = OnScreen;

    fn open(&mut self, stream: &StreamInfo, _: &[Format]) -> Result<Opened<OnScreen>, StageError> {
        let screen = self.0.screen.clone();
        let place = screen.lock().open(stream, self.0.names);
        Ok(Opened { state: OnScreen { place, screen }, outputs: Vec::new() })
    }

    fn process(&mut self, state: &mut OnScreen, input: Input, _: &mut Output) -> Result<(), StageError> {
        let packet = &input.packet;
        let text = summary(&packet.payload);
        let line = Line { times: self.0.times.then(|| (packet.start, packet.end())), text };
        let mut screen = state.screen.lock();
        match is_partial(packet) {
            true if self.0.partials => screen.unsettled(state.place, line)?,
            true => {}
            // An empty result takes the partial ones before it back.
            false if line.text.is_empty() => screen.settled(state.place, None)?,
            false => screen.settled(state.place, Some(line))?,
        }
        Ok(())
    }

    fn flush(&mut self, state: &mut OnScreen, _: &mut Output) -> Result<(), StageError> {
        Ok(state.screen.lock().close(state.place)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::Solo;
    use crate::stages::sink::kit::{packet, stream, transcript};
    use crate::tensor::Tensor;

    /// A writer whose bytes the test can see.
    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<u8>>>);

    impl Write for Seen {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Seen {
        fn take(&self) -> String {
            String::from_utf8(std::mem::take(&mut self.0.lock().unwrap())).unwrap()
        }
    }

    fn console(rewrites: bool, writer: impl Write + Send + 'static) -> Console {
        let terminal = Terminal { rewrites, styled: false, width: || 80 };
        let screen: Screen<Box<dyn Write + Send>> = Screen::new(Box::new(writer), terminal);
        let console = Console::new();
        assert!(console.screen.0.set(Mutex::new(screen)).is_ok());
        console
    }

    fn open(console: &Console, number: u32, name: &str) -> Solo {
        Solo::open(console, stream(number, name), vec![Format::Any]).unwrap()
    }

    #[test]
    fn partial_and_final_results() {
        let all = [
            transcript(0, 500, "he", false),
            transcript(0, 900, "hello", true),
            transcript(1000, 1500, "noise", false),
            transcript(1000, 1500, "", true),
            packet(2000, 2000, Tensor::scalar(1i64)),
        ];
        for (rewrites, partials, times, expected) in [
            (false, true, true, "[00:00.0 – 00:00.9] hello\n[00:02.0 – 00:02.0] tensor i64 [] 1\n"),
            (false, true, false, "hello\ntensor i64 [] 1\n"),
            (true, false, false, "hello\ntensor i64 [] 1\n"),
            (true, true, false, "he\r\x1b[Khello\nnoise\r\x1b[Ktensor i64 [] 1\n"),
        ] {
            let seen = Seen::default();
            let console = Console { partials, times, ..console(rewrites, seen.clone()) };
            let mut solo = open(&console, 0, "mic");
            for packet in &all {
                solo.push(0, packet.clone()).unwrap();
            }
            solo.flush().unwrap();
            assert_eq!(seen.take(), expected, "{console:?}");
        }
    }

    #[test]
    fn a_line_has_a_name_where_it_is_asked_for_or_needed() {
        for (names, expected) in [(false, "one\nb two\n"), (true, "a one\nb two\n")] {
            let seen = Seen::default();
            let console = Console { names, times: false, ..console(false, seen.clone()) };
            let mut a = open(&console, 0, "photos/a");
            a.push(0, transcript(0, 500, "one", true)).unwrap();
            a.flush().unwrap();
            let mut b = open(&console, 1, "photos/b");
            b.push(0, transcript(0, 500, "two", true)).unwrap();
            assert_eq!(seen.take(), expected, "{names}");
        }
    }

    #[test]
    fn a_stream_that_breaks_off_leaves_no_partial_line() {
        let seen = Seen::default();
        let console = console(true, seen.clone());
        let (mut a, b) = (open(&console, 0, "a"), open(&console, 1, "b"));
        a.push(0, transcript(0, 500, "he", false)).unwrap();
        assert_eq!(seen.take(), "a [00:00.0 – 00:00.5] he");
        drop(b);
        assert_eq!(seen.take(), "");
        drop(a);
        assert_eq!(seen.take(), "\r\x1b[K");
    }

    #[test]
    fn a_reader_that_has_gone_ends_each_stream() {
        let (reader, writer) = io::pipe().unwrap();
        let console = console(false, writer);
        let (mut a, mut b) = (open(&console, 0, "a"), open(&console, 1, "b"));
        a.push(0, transcript(0, 500, "one", true)).unwrap();
        drop(reader);
        for solo in [&mut a, &mut b] {
            let error = solo.push(0, transcript(500, 900, "two", true)).unwrap_err();
            assert!(matches!(&error, StageError::EndStream(_)), "{error:?}");
            assert!(error.to_string().contains("the program that reads it has ended"), "{error}");
        }
    }
}
