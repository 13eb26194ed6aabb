//! `percept devices`: the devices that a `capture: microphone` can name.

use std::fmt::Write;

use super::error::CliError;
use super::exit::Exit;
use super::global::Global;
use super::output;
use super::terminal::Terminal;
use super::text::{self, pad};

/// List the devices that `capture: microphone` can record from
///
/// The name in the first column goes into the pipeline, as `device: NAME`. No device is opened.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// A device that can record.
struct Input {
    /// Its stable name, for `device:`.
    id: String,
    /// Its name for people.
    name: String,
    /// Whether it is taken when no device is named.
    default: bool,
}

pub(super) fn run(_: &Args, global: &Global) -> Result<Exit, CliError> {
    let inputs = inputs()?;
    if inputs.is_empty() {
        global.note("No device that can record was found.");
    }
    output::print(&list(&inputs, &global.stdout()))?;
    Ok(Exit::Done)
}

/// The devices of this machine.
fn inputs() -> Result<Vec<Input>, CliError> {
    if !cfg!(feature = "microphone") {
        return Err(CliError::missing("this build of percept has no microphone")
            .help("build percept with the feature `microphone` (on Linux it needs libasound2-dev)"));
    }
    Err(CliError::failed("this build of percept cannot list devices"))
}

fn list(inputs: &[Input], terminal: &Terminal) -> String {
    let column = inputs.iter().map(|input| text::width(&input.id)).max().unwrap_or_default();
    let mut page = String::new();
    for input in inputs {
        let default = if input.default { terminal.good("  (default)").to_string() } else { String::new() };
        // Writing to a string cannot fail.
        let _ = writeln!(page, "{}  {}{default}", terminal.name(pad(&input.id, column)), input.name);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_device() {
        let input = |id: &str, name: &str, default| Input { id: id.into(), name: name.into(), default };
        let terminal = Terminal { color: false, width: 80, interactive: false };
        let page = list(&[input("hw:CARD=1", "A microphone", true), input("null", "Nothing", false)], &terminal);
        assert_eq!(page, "hw:CARD=1  A microphone  (default)\nnull       Nothing\n");
    }
}
