//! A pipeline file in memory: read, changed by the command line, checked.

use std::path::Path;

use super::assemble::assemble;
use super::plan::Plan;
use super::spec;
use crate::config::{self, Fault, Faults, Key, Node, Override, Source, Span, Value};
use crate::stage::{Registry, Role, Settings};

/// The captures that read files from `path` and `folder`.
const FILE_READERS: [&str; 4] = ["file", "images", "replay", "video"];

/// A pipeline file as it was read: YAML, not yet checked as a pipeline.
///
/// The command line changes it before it is checked: [`set`](Self::set) a value, put other [`inputs`](Self::set_inputs)
/// in place of a capture, [`add_output`](Self::add_output).
#[derive(Clone, Debug)]
pub struct PipelineFile {
    source: Source,
    node: Node,
}

impl PipelineFile {
    /// Reads YAML text; `name` stands in messages.
    pub fn parse(name: impl Into<String>, text: impl Into<String>) -> Result<Self, Faults> {
        Self::of(Source::new(name, text))
    }

    /// Reads a file.
    pub fn open(path: &Path) -> Result<Self, Faults> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|error| {
            let fault = Fault::error("cannot-read", format!("the pipeline file `{name}` cannot be read: {error}"));
            let help = match error.kind() {
                std::io::ErrorKind::NotFound => "look at the path; `ls pipelines` shows those that come with percept",
                std::io::ErrorKind::IsADirectory => "this is a folder: name a file in it",
                _ => "look at the file's permissions",
            };
            Faults::from(fault.help(help))
        })?;
        Self::of(Source::from_bytes(name, bytes)?)
    }

    fn of(source: Source) -> Result<Self, Faults> {
        let mut node = config::parse(&source)?;
        let unset = config::substitute(&mut node, &source, &|name| std::env::var(name).ok());
        if unset.has_errors() {
            return Err(unset);
        }
        Ok(PipelineFile { source, node })
    }

    /// The text it was read from.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Applies `stage.key=value` (or `name=value`, `memory_mb=value` at the top).
    pub fn set(&mut self, argument: &str) -> Result<(), Faults> {
        let change = Override::parse(argument)?;
        let first = change.path().next().unwrap_or_default().to_owned();
        if change.path().len() == 1 {
            return change.apply(&mut self.node, 0);
        }
        let ids: Vec<String> = self.stages().map(stage_id).collect();
        let Some(stage) = self.stages_mut().find(|stage| stage_id(stage) == first) else {
            let meant =
                config::suggest(&first, ids.iter().map(String::as_str)).map(|meant| format!("did you mean `{meant}`?"));
            let names: Vec<_> = ids.iter().map(|id| format!("`{id}`")).collect();
            let mut fault = Fault::error("unknown-stage", format!("there is no stage `{first}`"))
                .expected(format!("one of {}", names.join(", ")))
                .maybe_help(meant);
            if let Some(span) = change.word_span(0) {
                fault = fault.at(span, change.source());
            }
            return Err(fault.into());
        };
        change.apply(stage, 1)
    }

    /// Puts files in place of the capture `id`, or of the only one. One that reads files keeps its kind and its other keys;
    /// a `camera` becomes a `video`, any other a `file`.
    pub fn set_inputs(&mut self, id: Option<&str>, paths: &[String]) -> Result<(), Faults> {
        let option = Source::argument(format!("--input {}", paths.join(" ")));
        let whole = Span::new(0, option.text().len());
        let captures: Vec<String> = self.stages().filter(|stage| is_capture(stage)).map(stage_id).collect();
        let fault = |code, message: String| Fault::error(code, message).at(whole, &option);
        let id = match (id, &captures[..]) {
            (Some(id), _) if captures.iter().any(|capture| capture == id) => id.to_owned(),
            (Some(id), _) => {
                let names: Vec<_> = captures.iter().map(|id| format!("`{id}`")).collect();
                let fault = fault("unknown-stage", format!("there is no capture `{id}`"));
                return Err(fault.expected(format!("one of {}", names.join(", "))).into());
            }
            (None, [only]) => only.clone(),
            (None, []) => {
                return Err(fault("no-capture", "this pipeline has no capture to put files in place of".into()).into());
            }
            (None, _) => {
                let names: Vec<_> = captures.iter().map(|id| format!("`--input {id}=PATH`")).collect();
                return Err(fault("which-capture", "this pipeline has several captures".into())
                    .expected(names.join(" and "))
                    .into());
            }
        };
        let text = |text: &str| argument(&option, Value::String(text.to_owned()));
        let key = |name: &str| Key { origin: Some(option.clone()), ..Key::new(name, whole) };
        // Paths as they were typed, since they name the streams; they start where the user stands.
        let list: Vec<Node> = paths.iter().map(|path| text(path)).collect();
        let here = std::env::current_dir().unwrap_or_default().display().to_string();
        let path = match <[Node; 1]>::try_from(list) {
            Ok([only]) => only,
            Err(list) => argument(&option, Value::Sequence(list)),
        };
        for stage in self.stages_mut().filter(|stage| is_capture(stage) && stage_id(stage) == id) {
            let kind = stage.get(Role::Capture.key()).and_then(Node::as_str);
            let instead = if kind == Some("camera") { "video" } else { "file" };
            let reads = kind.and_then(|kind| FILE_READERS.into_iter().find(|reader| *reader == kind));
            let mut entries = vec![
                (key(Role::Capture.key()), text(reads.unwrap_or(instead))),
                (key("id"), text(&id)),
                (key("path"), path.clone()),
                (key("folder"), text(&here)),
            ];
            if let (Some(_), Value::Mapping(own)) = (reads, &mut stage.value) {
                let replaced = |name: &str| entries.iter().any(|(key, _)| key.name == name);
                own.retain(|(key, _)| !replaced(&key.name));
                entries.append(own);
            }
            stage.value = Value::Mapping(entries);
        }
        Ok(())
    }

    /// Adds a `jsonl` sink that reads what the last writing stage writes.
    pub fn add_output(&mut self, path: &str) -> Result<(), Faults> {
        let option = Source::argument(format!("--output {path}"));
        let whole = Span::new(0, option.text().len());
        let text = |text: &str| argument(&option, Value::String(text.to_owned()));
        let key = |name: &str| Key { origin: Some(option.clone()), ..Key::new(name, whole) };
        let absolute = match path {
            "-" => path.to_owned(),
            _ => std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| path.display().to_string()),
        };
        let entries =
            vec![(key(Role::Sink.key()), text("jsonl")), (key("id"), text("output")), (key("path"), text(&absolute))];
        let sink = argument(&option, Value::Mapping(entries));
        match self.node.get_mut("stages").map(|stages| &mut stages.value) {
            Some(Value::Sequence(stages)) => {
                stages.push(sink);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Adds a `record` sink that writes these ports into the file `path`: each by a name of its own, and where it reads from
    /// (`stage` or `stage.port`).
    pub fn add_record(&mut self, path: &str, ports: &[(String, String)]) {
        let option = Source::argument(format!("--output {path}"));
        let whole = Span::new(0, option.text().len());
        let key = |name: &str| Key { origin: Some(option.clone()), ..Key::new(name, whole) };
        let text = |text: &str| argument(&option, Value::String(text.to_owned()));
        let absolute = std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| path.display().to_string());
        let read = |(name, from): &(String, String)| {
            let option = Source::argument(format!("--port {from}"));
            (key(name), argument(&option, Value::String(from.clone())))
        };
        let entries = vec![
            (key(Role::Sink.key()), text("record")),
            (key("id"), text("recording")),
            (key("from"), argument(&option, Value::Mapping(ports.iter().map(read).collect()))),
            (key("path"), text(&absolute)),
        ];
        if let Some(Value::Sequence(stages)) = self.node.get_mut("stages").map(|stages| &mut stages.value) {
            stages.push(argument(&option, Value::Mapping(entries)));
        }
    }

    /// The plan, with warnings; or every fault at once. Opens no device and starts nothing.
    pub fn check(&self, registry: &Registry, settings: &Settings) -> Result<(Plan, Faults), Faults> {
        let spec = spec::read(&self.node, &self.source, registry, settings);
        let memory = spec.memory_mb.map_or(Plan::DEFAULT_MEMORY_BYTES, |megabytes| (megabytes as usize) << 20);
        assemble(spec.name, memory, settings.clone(), spec.stages, spec.faults)
    }

    /// The cards' names and files that its `model` keys name, for `percept setup`.
    pub fn models(&self) -> Vec<String> {
        self.stages().filter_map(|stage| stage.get(Role::Model.key())?.as_str().map(str::to_owned)).collect()
    }

    /// Whether a stage asks for ONNX Runtime, as every model does that does not say `backend: engine`.
    pub fn asks_for_onnxruntime(&self) -> bool {
        let engine = |stage: &Node| stage.get("backend").and_then(Node::as_str) == Some("engine");
        self.stages().any(|stage| stage.get(Role::Model.key()).is_some() && !engine(stage))
    }

    pub(super) fn stages(&self) -> impl Iterator<Item = &Node> {
        self.node.get("stages").and_then(Node::as_sequence).unwrap_or_default().iter()
    }

    fn stages_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        let stages = self.node.get_mut("stages").map(|stages| &mut stages.value);
        let stages: &mut [Node] = match stages {
            Some(Value::Sequence(stages)) => stages,
            _ => &mut [],
        };
        stages.iter_mut()
    }
}

/// A value that comes from an option of the command line.
fn argument(option: &Source, value: Value) -> Node {
    let mut node = Node::new(Span::new(0, option.text().len()), value);
    node.origin = Some(option.clone());
    node
}

fn is_capture(stage: &Node) -> bool {
    stage.get(Role::Capture.key()).is_some()
}

/// The id of a stage as the file gives it, or as it will be given: the kind's name, or the card's.
fn stage_id(stage: &Node) -> String {
    if let Some(id) = stage.get("id").and_then(Node::as_str) {
        return id.to_owned();
    }
    let kind = Role::ALL.iter().find_map(|role| stage.get(role.key())?.as_str());
    spec::default_id(kind.unwrap_or_default())
}
