//! `percept record`: runs a pipeline and keeps what some of its ports carry.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::global::Global;
use super::load::{self, Edits, is_word};
use super::run::{Attention, drive};
use super::{CliError, Exit};

/// Runs a pipeline file and keeps the packets of some of its ports in a record
///
/// The record is lossless: `capture: replay` gives the same packets again, as fast as it goes or in real time, so that a run
/// can be repeated bit for bit. It is an MCAP file, which Foxglove opens too. Everything else is as with `percept run`: the
/// pipeline's own sinks, the books, the exit codes.
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// The pipeline file
    file: PathBuf,

    /// Ports to keep: a stage, or STAGE.PORT where it has several; with a name in front, which a replay knows it by
    /// [default name: STAGE or STAGE_PORT]
    #[arg(long, short, value_name = "[NAME=]STAGE[.PORT]", num_args = 1.., required = true)]
    port: Vec<String>,

    /// The record to write, such as run.mcap; with {stream} in it each stream has its own
    #[arg(long, short, value_name = "PATH", required = true)]
    output: String,

    #[command(flatten)]
    edits: Edits,

    #[command(flatten)]
    attention: Attention,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    let ports = ports(&args.port)?;
    let mut file = args.edits.open(&args.file)?;
    file.add_record(&args.output, &ports);
    drive(&load::check(&file, &args.file, global)?, &args.attention, global)
}

/// The ports to keep by their names, each with where it is read.
fn ports(given: &[String]) -> Result<Vec<(String, String)>, CliError> {
    let mut ports: Vec<(String, String)> = Vec::new();
    for port in given {
        let (name, from) = match port.split_once('=') {
            Some((name, from)) => (name.to_owned(), from),
            None => (port.replace('.', "_"), port.as_str()),
        };
        if !is_word(&name) || from.is_empty() {
            let error = CliError::usage(format!("--port {port} names no port"));
            return Err(error.help("write --port STAGE, --port STAGE.PORT or --port NAME=STAGE.PORT"));
        }
        if ports.iter().any(|(known, _)| *known == name) {
            let error = CliError::usage(format!("two ports of the record would be called `{name}`"));
            return Err(error.help(format!("give one another name: --port NAME={from}")));
        }
        ports.push((name, from.to_owned()));
    }
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_have_names() {
        let given = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let found = ports(&given(&["vad", "digits.scores", "audio=microphone", "x=a.b"])).unwrap();
        let pairs: Vec<_> = found.iter().map(|(name, from)| (name.as_str(), from.as_str())).collect();
        assert_eq!(pairs, [("vad", "vad"), ("digits_scores", "digits.scores"), ("audio", "microphone"), ("x", "a.b")]);
        for (list, says) in [
            (&["vad", "vad"][..], "would be called `vad`"),
            (&["a.b", "a_b=c"], "would be called `a_b`"),
            (&["=vad"], "names no port"),
            (&["x="], "names no port"),
            (&[""], "names no port"),
            (&["a b=c"], "names no port"),
        ] {
            let error = ports(&given(list)).unwrap_err();
            assert!(error.to_string().contains(says), "{list:?}: {error}");
            assert_eq!(error.exit(), Exit::Refused);
        }
    }
}
