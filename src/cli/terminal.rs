//! What the standard output and error can show: colours and width.

use std::ffi::OsString;
use std::fmt;
use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use clap::builder::styling::{AnsiColor, Style};

use crate::config::RenderStyle;

/// Columns where the width is not known: in a file, or behind a pipe.
const DEFAULT_WIDTH: usize = 100;
/// Text wider than this is hard to read, however wide the terminal.
const MAX_WIDTH: usize = 120;

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Wish {
    /// On a terminal, unless NO_COLOR is set or TERM is `dumb`; elsewhere too if CLICOLOR_FORCE is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What `--color` says, read before the arguments are parsed: help and usage errors follow it too.
pub(super) fn wish(arguments: &[OsString]) -> Wish {
    let mut words = arguments.iter().skip(1).map(|word| word.to_string_lossy()).take_while(|word| word != "--");
    let mut wish = Wish::Auto;
    while let Some(word) = words.next() {
        let value = match word.strip_prefix("--color") {
            Some("") => words.next(),
            Some(value) => value.strip_prefix('=').map(|value| value.to_owned().into()),
            None => None,
        };
        // What is no wish is reported by the parser.
        wish = value.and_then(|value| Wish::from_str(&value, false).ok()).unwrap_or(wish);
    }
    wish
}

/// Where one of the standard streams goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terminal {
    /// Whether it shows colours.
    pub color: bool,
    /// Its columns.
    pub width: usize,
    /// Whether it is a terminal.
    pub interactive: bool,
}

impl Terminal {
    /// The standard output.
    pub fn stdout(wish: Wish) -> Terminal {
        let width = terminal_size::terminal_size_of(io::stdout());
        Self::of(wish, io::stdout().is_terminal(), width.map(|(width, _)| width.0.into()))
    }

    /// The standard error.
    pub fn stderr(wish: Wish) -> Terminal {
        let width = terminal_size::terminal_size_of(io::stderr());
        Self::of(wish, io::stderr().is_terminal(), width.map(|(width, _)| width.0.into()))
    }

    fn of(wish: Wish, interactive: bool, width: Option<usize>) -> Terminal {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let color =
            wants_color(wish, interactive, &|name| variable(name).map(|value| value.to_string_lossy().into_owned()));
        let width = width.or_else(|| variable("COLUMNS")?.to_str()?.parse().ok());
        Terminal { color, width: width.unwrap_or(DEFAULT_WIDTH).clamp(20, MAX_WIDTH), interactive }
    }

    /// How faults are drawn on it.
    pub fn style(&self) -> RenderStyle {
        RenderStyle { color: self.color, width: self.width }
    }

    /// Writes a line to the standard error. A reader that has gone is no reason to stop.
    pub fn line(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// The name of a thing.
    pub fn name<T: fmt::Display>(&self, text: T) -> Painted<T> {
        self.paint(Style::new().bold(), text)
    }

    /// A heading.
    pub fn heading<T: fmt::Display>(&self, text: T) -> Painted<T> {
        self.paint(Style::new().bold().underline(), text)
    }

    /// Something of less weight.
    pub fn faint<T: fmt::Display>(&self, text: T) -> Painted<T> {
        self.paint(Style::new().dimmed(), text)
    }

    /// Something that is well.
    pub fn good<T: fmt::Display>(&self, text: T) -> Painted<T> {
        self.paint(AnsiColor::Green.on_default(), text)
    }

    /// Something to be done.
    pub fn warning<T: fmt::Display>(&self, text: T) -> Painted<T> {
        self.paint(AnsiColor::Yellow.on_default(), text)
    }

    /// Something wrong.
    pub fn bad<T: fmt::Display>(&self, text: T) -> Painted<T> {
        self.paint(AnsiColor::Red.on_default().bold(), text)
    }

    fn paint<T>(&self, style: Style, text: T) -> Painted<T> {
        Painted { style: if self.color { style } else { Style::new() }, text }
    }
}

/// Text in a style.
pub(super) struct Painted<T> {
    style: Style,
    text: T,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", self.style.render(), self.text, self.style.render_reset())
    }
}

/// See <https://no-color.org> and <https://bixense.com/clicolors>.
fn wants_color(wish: Wish, terminal: bool, variable: &dyn Fn(&str) -> Option<String>) -> bool {
    match wish {
        Wish::Always => true,
        Wish::Never => false,
        Wish::Auto if variable("NO_COLOR").is_some() => false,
        Wish::Auto if variable("CLICOLOR_FORCE").is_some_and(|value| value != "0") => true,
        Wish::Auto if variable("CLICOLOR").is_some_and(|value| value == "0") => false,
        Wish::Auto => terminal && variable("TERM").is_none_or(|term| term != "dumb"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_decides_about_colours() {
        for (wish, terminal, variables, expected) in [
            (Wish::Auto, true, &[][..], true),
            (Wish::Auto, false, &[], false),
            (Wish::Auto, true, &[("NO_COLOR", "1")], false),
            (Wish::Auto, true, &[("TERM", "dumb")], false),
            (Wish::Auto, true, &[("CLICOLOR", "0")], false),
            (Wish::Auto, false, &[("CLICOLOR_FORCE", "1")], true),
            (Wish::Auto, false, &[("CLICOLOR_FORCE", "0")], false),
            (Wish::Auto, true, &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
            (Wish::Always, false, &[("NO_COLOR", "1")], true),
            (Wish::Never, true, &[("CLICOLOR_FORCE", "1")], false),
        ] {
            let variable = |name: &str| {
                variables.iter().find(|(known, _)| *known == name).map(|(_, value): &(&str, &str)| (*value).to_owned())
            };
            assert_eq!(wants_color(wish, terminal, &variable), expected, "{wish:?} {terminal} {variables:?}");
        }
    }

    #[test]
    fn the_wish_is_read_before_the_arguments() {
        for (line, expected) in [
            ("percept kinds", Wish::Auto),
            ("percept --color never kinds", Wish::Never),
            ("percept kinds --color=always", Wish::Always),
            ("percept kinds --color=never --color always", Wish::Always),
            ("percept kinds --color=sometimes", Wish::Auto),
            ("percept kinds --colors=never", Wish::Auto),
            ("percept kinds -- --color=never", Wish::Auto),
            ("percept kinds --color", Wish::Auto),
            ("", Wish::Auto),
        ] {
            let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
            assert_eq!(wish(&arguments), expected, "{line}");
        }
    }

    #[test]
    fn only_a_terminal_with_colours_gets_escapes() {
        let terminal = |color| Terminal { color, width: 80, interactive: true };
        assert_eq!(terminal(false).bad("x").to_string(), "x");
        assert_eq!(terminal(true).name("x").to_string(), "\u{1b}[1mx\u{1b}[0m");
    }
}
