//! What is done for each request.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::protocol::{Code, Refusal, Request};
use crate::config::suggest;
use crate::learn::Target;
use crate::media::Classes;
use crate::runtime::{Pipeline, Running};
use crate::stages::model::onnx::LiveModel;
use crate::units::{TimeSpan, Timestamp};

/// How long a drained pipeline may take to finish what is under way.
const DRAIN: Duration = Duration::from_secs(15);

/// What came of a request.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Done {
    /// The answer's `result`.
    pub result: Value,
    /// Whether the run ends, and how, once the answer is on its way: see [`Control::end`].
    pub end: Option<End>,
}

/// How a run is ended by a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// The captures stop, what is under way is finished.
    Drain,
    /// What is under way is cancelled.
    Stop,
}

/// Carries requests out.
#[derive(Debug)]
pub struct Control {
    running: Arc<Running>,
    models: Models,
    hidden: Vec<Arc<str>>,
}

/// The stages of a pipeline, by their ids; with their models where those can be exchanged.
#[derive(Clone, Debug)]
pub struct Models(BTreeMap<String, Option<Arc<LiveModel>>>);

impl Models {
    /// Those of a pipeline, before it starts.
    pub fn of(pipeline: &Pipeline) -> Models {
        let stages = pipeline.plan().stages.iter();
        Models(stages.map(|stage| (stage.id.to_string(), pipeline.model(&stage.id).ok())).collect())
    }

    fn get(&self, stage: &str) -> Result<&Arc<LiveModel>, Refusal> {
        let Some(found) = self.0.get(stage) else {
            let known = self.0.keys().map(String::as_str);
            let help = match suggest(stage, known.clone()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("the stages are {}", known.collect::<Vec<_>>().join(", ")),
            };
            return Err(Refusal::new(Code::UnknownStage, format!("there is no stage `{stage}`; {help}")));
        };
        found.as_ref().ok_or_else(|| {
            let with: Vec<_> = self.0.iter().filter(|(_, model)| model.is_some()).map(|(id, _)| id.as_str()).collect();
            let which = if with.is_empty() { "none".to_owned() } else { with.join(", ") };
            let message = format!("stage `{stage}` runs no model that can be exchanged; these do: {which}");
            Refusal::new(Code::NoModel, message)
        })
    }
}

impl Control {
    /// For a pipeline that runs.
    pub fn new(running: Arc<Running>, models: Models) -> Control {
        Control { running, models, hidden: Vec::new() }
    }

    /// The same without these stages in the books: those that somebody has added to look into the pipeline.
    pub fn hiding(self, hidden: Vec<Arc<str>>) -> Control {
        Control { hidden, ..self }
    }

    /// Carries a request out, blocking the thread: a swap as long as it takes to open and try the model.
    pub fn carry_out(&self, request: &Request) -> Result<Done, Refusal> {
        let done = |result| Ok(Done { result, end: None });
        match request {
            Request::Stats => done(self.stats()),
            Request::Version { stage } => {
                let model = self.models.get(stage)?;
                let newest = model.newest();
                let file = newest.source.path().display().to_string();
                let (serving, newest) = (model.version(), newest.version);
                done(json!({"stage": stage, "serving": serving, "newest": newest, "file": file}))
            }
            Request::Swap { stage, file, classes } => {
                let model = self.models.get(stage)?;
                let names = |names: &Vec<String>| Classes::new(names.iter().map(|name| Arc::from(name.as_str())));
                let version = model
                    .swap(file.as_path(), classes.as_ref().map(names))
                    .map_err(|error| Refusal::new(Code::DoesNotFit, whole_message(&error)))?;
                tracing::info!(stage, version, file = %file.display(), "another model takes over");
                done(json!({"stage": stage, "version": version, "file": file.display().to_string()}))
            }
            Request::Rollback { stage, to } => {
                let model = self.models.get(stage)?;
                let version =
                    model.rollback(*to).map_err(|error| Refusal::new(Code::DoesNotFit, whole_message(&error)))?;
                let file = model.newest().source.path().display().to_string();
                tracing::info!(stage, version, file, "a version that served before serves again");
                done(json!({"stage": stage, "version": version, "file": file}))
            }
            Request::Label { stage, label, class, stream, at_s } => {
                let target = match (label, class) {
                    (Some(name), None) => Target::Name(name.as_str().into()),
                    (None, Some(class)) => Target::Class(*class),
                    _ => return Err(Refusal::new(Code::NotTaken, "expected a `label` or a `class`, one of both")),
                };
                let at = at_s.filter(|at| at.is_finite()).map(|at| Timestamp::ZERO + TimeSpan::from_seconds(at));
                let taken = self.models.get(stage)?.label(target, stream.as_deref(), at);
                let taken = taken.map_err(|error| Refusal::new(Code::NotTaken, error.to_string()))?;
                done(json!({"stage": stage, "stream": taken.stream, "at_s": taken.at.as_seconds()}))
            }
            Request::Drain => Ok(Done { result: json!({"within_s": DRAIN.as_secs()}), end: Some(End::Drain) }),
            Request::Stop => Ok(Done { result: json!({}), end: Some(End::Stop) }),
        }
    }

    /// Ends the run as a request asked for. Returns at once.
    pub fn end(&self, end: End) {
        match end {
            End::Drain => self.running.drain(DRAIN),
            End::Stop => self.running.stop(),
        }
    }

    fn stats(&self) -> Value {
        let models =
            self.models.0.iter().filter_map(|(id, model)| Some((id.clone(), model.as_ref()?.version().into())));
        let models: serde_json::Map<String, Value> = models.collect();
        let mut books = self.running.stats();
        books.without(&self.hidden);
        json!({"pipeline": self.running.name(), "books": books, "models": models})
    }
}

/// An error with its causes, each once.
fn whole_message(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.contains(&text) {
            message = format!("{message}: {text}");
        }
        cause = error.source();
    }
    message
}
