//! `percept devices`: the devices that a `capture: microphone` can name.

use super::error::CliError;
use super::exit::Exit;
use super::global::Global;
#[cfg(feature = "microphone")]
use super::output;
#[cfg(any(feature = "microphone", test))]
use super::terminal::Terminal;
#[cfg(feature = "microphone")]
use crate::stages::capture::microphone;

/// List the devices that `capture: microphone` can record from
///
/// The name in the first column goes into the pipeline, as `device: NAME`. No device is opened.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

#[cfg(feature = "microphone")]
pub(super) fn run(_: &Args, global: &Global) -> Result<Exit, CliError> {
    let devices = microphone::list();
    if devices.is_empty() {
        global.note("No device that can record was found.");
    }
    let rows: Vec<_> = devices.iter().map(|device| (&*device.id, &*device.name, device.default)).collect();
    output::print(&list(&rows, &global.stdout()))?;
    Ok(Exit::Done)
}

#[cfg(not(feature = "microphone"))]
pub(super) fn run(_: &Args, _: &Global) -> Result<Exit, CliError> {
    Err(CliError::missing("this build of percept has no microphone")
        .help("build percept with the feature `microphone` (on Linux it needs libasound2-dev)"))
}

/// A line for each device: its stable name, its name for people, whether it is the default.
#[cfg(any(feature = "microphone", test))]
fn list(devices: &[(&str, &str, bool)], terminal: &Terminal) -> String {
    use std::fmt::Write;

    use super::text::{pad, width};

    let column = devices.iter().map(|(id, ..)| width(id)).max().unwrap_or_default();
    let mut page = String::new();
    for (id, name, default) in devices {
        let default = if *default { terminal.good("  (default)").to_string() } else { String::new() };
        // Writing to a string cannot fail.
        let _ = writeln!(page, "{}  {}{default}", terminal.name(pad(id, column)), name);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_each_device() {
        let terminal = Terminal { color: false, width: 80, interactive: false };
        let page = list(&[("hw:CARD=1", "A microphone", true), ("null", "Nothing", false)], &terminal);
        assert_eq!(page, "hw:CARD=1  A microphone  (default)\nnull       Nothing\n");
    }
}
