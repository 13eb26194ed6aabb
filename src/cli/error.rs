//! What can end a verb, and with which exit code.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::exit::Exit;
use super::global::Global;
use super::text;
use crate::cards::CardError;
use crate::config::{Faults, Severity};
use crate::files::FileError;
use crate::inference::InferenceError;
use crate::inference::ort::NotFound;
use crate::train::TrainError;

/// What can end a verb.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CliError {
    /// A pipeline has faults.
    #[error("{0}")]
    Faults(#[from] Faults),
    /// The command line asks for something that there is not.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// What to do.
        help: Option<String>,
    },
    /// A card, or the fetching of its files.
    #[error(transparent)]
    Card(#[from] CardError),
    /// ONNX Runtime is nowhere.
    #[error(transparent)]
    NoRuntime(#[from] NotFound),
    /// ONNX Runtime, or a model on it.
    #[error(transparent)]
    Inference(#[from] InferenceError),
    /// A training.
    #[error(transparent)]
    Train(TrainError),
    /// The work failed.
    #[error("{message}")]
    Failed {
        /// What failed, and why.
        message: String,
        /// What to do.
        help: Option<String>,
    },
    /// A file could not be written.
    #[error("{} could not be written: {source}", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be replaced.
    #[error(transparent)]
    Save(#[from] FileError),
    /// The standard output could not be written.
    #[error("the standard output could not be written: {0}")]
    Output(io::Error),
}

impl From<TrainError> for CliError {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Faults(faults) => CliError::Faults(faults),
            error => CliError::Train(error),
        }
    }
}

impl CliError {
    /// A wish that cannot be met.
    pub(super) fn usage(message: impl Into<String>) -> CliError {
        CliError::Usage { message: message.into(), help: None }
    }

    /// A failure.
    pub(super) fn failed(message: impl Into<String>) -> CliError {
        CliError::Failed { message: message.into(), help: None }
    }

    /// Says what to do.
    pub(super) fn help(mut self, text: impl Into<String>) -> CliError {
        match &mut self {
            CliError::Usage { help, .. } | CliError::Failed { help, .. } => {
                *help = Some(text.into());
            }
            _ => {}
        }
        self
    }

    /// A name that is not known: the nearest of those that are, and how to see them all.
    pub(super) fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>, list: &str) -> CliError {
        let error = CliError::usage(format!("there is no {what} named `{name}`"));
        match crate::config::suggest(name, known) {
            Some(meant) => error.help(format!("did you mean `{meant}`? {list} lists them all")),
            None => error.help(format!("{list} lists them all")),
        }
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        match self {
            CliError::Faults(faults) => of_faults(faults),
            CliError::Usage { .. } => Exit::Refused,
            CliError::Card(error) => match error {
                CardError::Refused(_)
                | CardError::Unknown { .. }
                | CardError::NoFile { .. }
                | CardError::NoCard { .. }
                | CardError::NoRole { .. } => Exit::Refused,
                CardError::NoPython { .. } | CardError::NoProgram { .. } | CardError::Platform { .. } => Exit::Missing,
                _ => Exit::Failed,
            },
            CliError::NoRuntime(_) => Exit::Missing,
            CliError::Inference(error) => match error {
                InferenceError::RuntimeTooOld { .. }
                | InferenceError::RuntimeUnusable { .. }
                | InferenceError::FeatureMissing { .. } => Exit::Missing,
                _ => Exit::Failed,
            },
            // `percept kinds | head -1`: the reader has all it wanted.
            CliError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
            CliError::Failed { .. }
            | CliError::Train(_)
            | CliError::Save(_)
            | CliError::Write { .. }
            | CliError::Output(_) => Exit::Failed,
        }
    }

    /// Tells the user, on the standard error.
    pub(super) fn print(&self, global: &Global) {
        let terminal = global.stderr();
        match self {
            CliError::Faults(faults) | CliError::Card(CardError::Refused(faults)) => {
                terminal.line(faults.render(terminal.style()).trim_end());
            }
            CliError::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            other => {
                let mut message = other.to_string();
                let mut cause = std::error::Error::source(other);
                while let Some(error) = cause {
                    let text = error.to_string();
                    // Some messages end with their cause already.
                    if !message.contains(&text) {
                        message = format!("{message}: {text}");
                    }
                    cause = error.source();
                }
                let lines = text::wrap(&message, terminal.width.saturating_sub(7));
                terminal.line(&format!("{}: {}", terminal.bad("error"), lines.join("\n       ")));
                if let CliError::Usage { help: Some(help), .. } | CliError::Failed { help: Some(help), .. } = other {
                    let lines = text::wrap(help, terminal.width.saturating_sub(8));
                    terminal.line(&format!("{}: {}", terminal.name(" help"), lines.join("\n       ")));
                }
            }
        }
    }
}

/// The codes of faults that `percept setup` mends: nothing is wrong with the file.
const TO_FETCH: [&str; 2] = ["not-fetched", "no-onnxruntime"];

/// The exit code of a pipeline that was refused.
fn of_faults(faults: &Faults) -> Exit {
    let mut errors = faults.iter().filter(|fault| fault.severity == Severity::Error).peekable();
    if errors.peek().is_some() && errors.all(|fault| TO_FETCH.contains(&fault.code)) {
        Exit::Missing
    } else {
        Exit::Refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Fault;

    #[test]
    fn exit_codes_by_error() {
        let unknown = CardError::Unknown { name: "x".into(), known: vec![], suggestion: None };
        for (error, exit) in [
            (CliError::from(Faults::from(Fault::error("e", "m"))), Exit::Refused),
            (CliError::usage("m"), Exit::Refused),
            (unknown.into(), Exit::Refused),
            (CardError::NoCache.into(), Exit::Failed),
            (CardError::NoPython { package: "x".into(), tried: vec![] }.into(), Exit::Missing),
            (NotFound { attempts: vec![] }.into(), Exit::Missing),
            (InferenceError::FeatureMissing { feature: "onnxruntime" }.into(), Exit::Missing),
            (CliError::failed("m"), Exit::Failed),
            (CliError::Output(io::ErrorKind::BrokenPipe.into()), Exit::Done),
            (CliError::Output(io::ErrorKind::StorageFull.into()), Exit::Failed),
        ] {
            assert_eq!(error.exit(), exit, "{error}");
        }
    }

    #[test]
    fn only_what_must_be_fetched_is_missing() {
        let error = |code| Fault::error(code, "m");
        for (faults, exit) in [
            (vec![error("not-fetched"), error("no-onnxruntime"), Fault::warning("w", "m")], Exit::Missing),
            (vec![error("not-fetched"), error("unknown-key")], Exit::Refused),
            (vec![], Exit::Refused),
        ] {
            assert_eq!(CliError::from(faults.into_iter().collect::<Faults>()).exit(), exit);
        }
    }

    #[test]
    fn an_unknown_name_has_a_remedy() {
        let error = CliError::unknown("kind", "resampel", ["mono", "resample"].into_iter(), "`percept kinds`");
        let CliError::Usage { help: Some(help), .. } = error else { panic!("{error:?}") };
        assert_eq!(help, "did you mean `resample`? `percept kinds` lists them all");
    }
}
