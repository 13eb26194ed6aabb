//! `percept live`: asks and changes a pipeline while it runs.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::Value;

use super::error::CliError;
use super::exit::Exit;
use super::global::Global;
use super::output;
use crate::serve::control::{Client, ClientError, Code, ControlAddress, Request};
use crate::stages::decoder::Tokens;

/// Where the socket is, and the token, when no option says so.
const ADDRESS: &str = "PERCEPT_CONTROL";
const TOKEN: &str = "PERCEPT_TOKEN";

/// Ask and change a pipeline while it runs
///
/// The pipeline must have been started with `percept run … --control PATH|ADDRESS`. Exit codes: 0 carried out, 1 no
/// pipeline answers there or it went away, 2 refused: a wrong command line, no such stage, or a file that does not fit;
/// then the pipeline goes on as before.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
    /// The socket that the pipeline was started with [default: PERCEPT_CONTROL]
    #[arg(long, global = true, value_name = "PATH|ADDRESS")]
    control: Option<ControlAddress>,
    /// The token, where the socket wants one [default: PERCEPT_TOKEN]
    #[arg(long, global = true, value_name = "TOKEN")]
    token: Option<String>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Let another model take the place of the one that a stage serves with
    ///
    /// The file is opened, compared and tried beside the stream; the stage takes it between two packets and keeps the
    /// states of its streams. Prints the version that the packets carry from then on.
    Swap {
        /// The model stage
        stage: String,
        /// The ONNX file; it must take and give the same tensors
        file: PathBuf,
        /// The names of its classes, one a line, where they are others than before
        #[arg(long, value_name = "FILE")]
        labels: Option<PathBuf>,
    },
    /// Show the books as they stand
    Stats {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Go back to a version that served before
    ///
    /// It serves as a version of its own, with a new number. A learner goes on from it.
    Rollback {
        /// The stage, as the pipeline names it
        stage: String,
        /// Which version [default: the last one before the newest]
        #[arg(long, value_name = "N")]
        to: Option<u32>,
    },
    /// Tell the learner of a stage what is right
    ///
    /// The label is for the newest packet that the model was given, or for the one at a time. It counts as any label:
    /// what it is worth is seen on held-out samples.
    Label {
        /// The model stage, which has `learn: {labels: {from: control}}` or another source of labels
        stage: String,
        /// The class by its name
        #[arg(required_unless_present = "class")]
        label: Option<String>,
        /// The class by its number
        #[arg(long, value_name = "N", conflicts_with = "label")]
        class: Option<usize>,
        /// The stream [default: the only one]
        #[arg(long, value_name = "NAME")]
        stream: Option<String>,
        /// The time in the stream, in seconds [default: that of the newest packet]
        #[arg(long, value_name = "SECONDS")]
        at: Option<f64>,
    },
    /// Show which version of its model a stage serves with
    Version {
        /// The model stage
        stage: String,
    },
    /// End the run: the captures stop, what is under way is finished
    Stop {
        /// Cancel what is under way; the run then ends with exit code 3
        #[arg(long)]
        now: bool,
    },
}

pub(super) fn run(args: &Args, _: &Global) -> Result<Exit, CliError> {
    let (address, token) = (address(args)?, args.token.clone().or_else(|| std::env::var(TOKEN).ok()));
    let request = request(&args.what)?;
    let result = Client::connect(&address, token.as_deref()).and_then(|mut client| client.ask(&request));
    let result = result.map_err(|error| match &error {
        ClientError::Refused(refusal) if refusal.code == Code::Token => CliError::usage(error.to_string())
            .help(format!("give the one that the run printed: --token TOKEN, or {TOKEN}")),
        ClientError::Refused(_) => CliError::usage(error.to_string()),
        ClientError::Connect { .. } => CliError::failed(error.to_string())
            .help("start the pipeline with `percept run … --control PATH`, and name the same path here"),
        _ => CliError::failed(error.to_string()),
    })?;
    output::print(&text(&args.what, &result))?;
    Ok(Exit::Done)
}

fn address(args: &Args) -> Result<ControlAddress, CliError> {
    if let Some(address) = &args.control {
        return Ok(address.clone());
    }
    let Some(named) = std::env::var(ADDRESS).ok().filter(|named| !named.is_empty()) else {
        return Err(CliError::usage("expected the control socket of a pipeline, found none")
            .help(format!("name it with --control PATH, or set {ADDRESS}")));
    };
    Ok(named.parse::<ControlAddress>()?)
}

fn request(what: &What) -> Result<Request, CliError> {
    Ok(match what {
        What::Swap { stage, file, labels } => {
            // The pipeline's process may run in another folder.
            let file = absolute(file)?;
            let classes = labels.as_deref().map(Tokens::read).transpose();
            let classes = classes.map_err(|error| CliError::usage(error.to_string()))?;
            let names =
                |classes: Tokens| (0..classes.len()).filter_map(|at| Some(classes.get(at)?.to_string())).collect();
            Request::Swap { stage: stage.clone(), file, classes: classes.map(names) }
        }
        What::Stats { .. } => Request::Stats,
        What::Rollback { stage, to } => Request::Rollback { stage: stage.clone(), to: *to },
        What::Label { stage, label, class, stream, at } => Request::Label {
            stage: stage.clone(),
            label: label.clone(),
            class: *class,
            stream: stream.clone(),
            at_s: *at,
        },
        What::Version { stage } => Request::Version { stage: stage.clone() },
        What::Stop { now: false } => Request::Drain,
        What::Stop { now: true } => Request::Stop,
    })
}

fn absolute(file: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(file).map_err(|error| CliError::usage(format!("{}: {error}", file.display())))
}

/// What came of it, for people and scripts.
fn text(what: &What, result: &Value) -> String {
    let word = |key: &str| match &result[key] {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    match what {
        What::Swap { .. } | What::Rollback { .. } => {
            format!("{}: version {} from {}\n", word("stage"), word("version"), word("file"))
        }
        What::Label { label, class, .. } => {
            let what = label.clone().unwrap_or_else(|| format!("class {}", class.unwrap_or_default()));
            let at = result["at_s"].as_f64().unwrap_or_default();
            format!("{}: {what} at {at:.3} s of {}\n", word("stage"), word("stream"))
        }
        What::Stats { json: true } => output::json(result),
        What::Stats { json: false } => stats(result),
        What::Version { .. } if result["serving"] == result["newest"] => {
            format!("{}: version {} from {}\n", word("stage"), word("serving"), word("file"))
        }
        What::Version { .. } => format!(
            "{}: version {}; before its next packet it takes version {} from {}\n",
            word("stage"),
            word("serving"),
            word("newest"),
            word("file")
        ),
        What::Stop { now: false } => "finishing what is under way\n".to_owned(),
        What::Stop { now: true } => "stopping\n".to_owned(),
    }
}

/// The books as a table: a line a stage.
fn stats(result: &Value) -> String {
    let none = Vec::new();
    let stages = result["books"]["stages"].as_array().unwrap_or(&none);
    let count =
        |stage: &Value, keys: &[&str]| keys.iter().filter_map(|key| stage[key].as_u64()).sum::<u64>().to_string();
    let mut rows = vec![["stage", "in", "out", "skipped", "lost", "version"].map(str::to_owned)];
    rows.extend(stages.iter().map(|stage| {
        let id = stage["id"].as_str().unwrap_or_default().to_owned();
        let version = result["models"][&id].as_u64().map(|version| version.to_string()).unwrap_or_default();
        let skipped = count(stage, &["skipped", "refused"]);
        let lost = count(stage, &["lost", "cancelled", "samples_overrun", "blocks_damaged"]);
        [id, count(stage, &["entered"]), count(stage, &["written"]), skipped, lost, version]
    }));
    let width = rows.iter().map(|row| row[0].chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for [id, cells @ ..] in rows {
        let line = cells.iter().fold(format!("{id:<width$}"), |line, cell| format!("{line}  {cell:>9}"));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_person_reads() {
        let swapped = json!({"stage": "m", "version": 3, "file": "/x.onnx"});
        let what = What::Swap { stage: "m".into(), file: "x.onnx".into(), labels: None };
        assert_eq!(text(&what, &swapped), "m: version 3 from /x.onnx\n");
        let version = |serving, newest| {
            let result = json!({"stage": "m", "serving": serving, "newest": newest, "file": "/x.onnx"});
            text(&What::Version { stage: "m".into() }, &result)
        };
        assert_eq!(version(2, 2), "m: version 2 from /x.onnx\n");
        assert_eq!(version(1, 2), "m: version 1; before its next packet it takes version 2 from /x.onnx\n");
        let books = json!({"stages": [{"id": "m", "entered": 7, "written": 6, "skipped": 1, "refused": 1, "lost": 0}]});
        let table = text(&What::Stats { json: false }, &json!({"books": books, "models": {"m": 2}}));
        let cells: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(cells[1], ["m", "7", "6", "2", "0", "2"]);
    }

    #[test]
    fn a_path_is_sent_whole() {
        let what = What::Swap { stage: "m".into(), file: "x.onnx".into(), labels: None };
        let Request::Swap { file, .. } = request(&what).unwrap() else { panic!() };
        assert!(file.is_absolute());
        let what = What::Swap { stage: "m".into(), file: "x.onnx".into(), labels: Some("none.txt".into()) };
        assert_eq!(request(&what).unwrap_err().exit(), Exit::Refused);
    }
}
