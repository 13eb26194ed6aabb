//! From a parsed file to stages that know their kind, and to the links that they ask for. Collects faults; never stops at
//! the first.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::plan::{LinkSettings, Overflow};
use crate::cards;
use crate::config::{self, Fault, Faults, Key, Node, Source, Span, Value};
use crate::stage::{Blueprint, Companion, CompanionSource, Kind, ReadContext, Registry, Role, Settings};

/// The version of the pipeline format that this build reads.
pub const FORMAT_VERSION: i64 = 1;

/// The top level of a pipeline file, without its stages.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Head {
    /// The version of the pipeline format; 1.
    #[allow(dead_code, reason = "checked before, with a message of its own")]
    percept: i64,
    /// The pipeline's name, in metrics and messages. Default: the file's name without its ending.
    pub name: Option<String>,
    /// Most megabytes that may wait in all links together. Default 512.
    #[schemars(range(min = 1, max = 1_048_576))]
    pub memory_mb: Option<u32>,
    /// The stages, in any order; each names its role and kind (`- preprocess: resample`).
    #[allow(dead_code, reason = "read one by one, each by its kind")]
    stages: Vec<serde_json::Value>,
}

/// Where an input port reads from, when written with settings: `{stage: resample, queue: 64}`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct LinkConfig {
    /// The stage that writes, or `stage.port`.
    #[allow(dead_code, reason = "read with its place by the caller")]
    stage: String,
    /// Most packets of a stream that wait on the link. Default 32.
    #[schemars(range(min = 1, max = 1_000_000))]
    queue: Option<usize>,
    /// Most bytes of a stream that wait on the link, in megabytes. Default 64.
    #[schemars(range(min = 1, max = 1_048_576))]
    queue_mb: Option<usize>,
    /// What happens to a packet that finds the link full. Default `block`.
    overflow: Option<Overflow>,
    /// Whether the link closes a cycle: it never blocks, carries no watermark and is not awaited at the end.
    #[serde(default)]
    feedback: bool,
}

/// A link that a stage asks for.
#[derive(Clone, Debug)]
pub(super) struct LinkRequest {
    /// The input port; `None` where the stage has only one, or the source says nothing of it.
    pub port: Option<Key>,
    /// The stage that writes.
    pub stage: String,
    /// Its output port; `None`: its first.
    pub output: Option<String>,
    pub settings: LinkSettings,
    /// Where it is written in the file.
    pub place: Place,
}

/// A place in the file, for faults; none for a pipeline built by a program.
#[derive(Clone, Debug, Default)]
pub(super) struct Place(Option<(Source, Span)>);

impl Place {
    pub fn of(node: &Node, file: &Source) -> Self {
        Place(Some((node.source(file).clone(), node.span)))
    }

    /// Puts a fault here.
    pub fn put(&self, fault: Fault) -> Fault {
        match &self.0 {
            Some((source, span)) => fault.at(*span, source),
            None => fault,
        }
    }

    pub fn span_in(&self, other: &Place) -> Option<Span> {
        match (&self.0, &other.0) {
            (Some((a, span)), Some((b, _))) if a == b => Some(*span),
            _ => None,
        }
    }
}

/// A stage that knows its kind, before it is wired.
#[derive(Clone, Debug)]
pub(super) struct StageSpec {
    pub id: Arc<str>,
    pub role: Role,
    pub kind: String,
    /// `None`: its own keys are at fault; it is wired all the same, so that further faults are found.
    pub blueprint: Option<Arc<dyn Blueprint>>,
    /// `None`: from the nearest stage above that writes.
    pub from: Option<Vec<LinkRequest>>,
    /// The value of its role key.
    pub place: Place,
    /// For a companion: its owner's place in the list.
    pub owner: Option<usize>,
}

impl StageSpec {
    /// Tells a stage whose input ports are named by who uses them how they are called.
    pub fn name_inputs(&mut self) {
        let requests = self.from.iter().flatten();
        let mut names: Vec<String> = Vec::new();
        for port in requests.filter_map(|request| request.port.as_ref()) {
            if !names.contains(&port.name) {
                names.push(port.name.clone());
            }
        }
        if let Some(blueprint) = self.blueprint.as_ref().filter(|_| !names.is_empty()) {
            self.blueprint = blueprint.with_inputs(&names).or_else(|| Some(blueprint.clone()));
        }
    }

    /// The stage that belongs to this one, which is number `index`.
    pub fn companion(&self, index: usize) -> Option<(StageSpec, Companion)> {
        let companion = self.blueprint.as_ref()?.companion()?;
        let named = companion.reads.iter().filter_map(|(port, source)| match source {
            CompanionSource::Named(stage, place) => {
                let name = companion.blueprint.contract().inputs.get(*port)?.name.clone();
                let (stage, output) = split(stage);
                Some(LinkRequest {
                    port: Some(Key::new(&name, Span::default())),
                    stage,
                    output,
                    settings: COMPANION_LINK,
                    place: Place(place.clone()),
                })
            }
            _ => None,
        });
        let spec = StageSpec {
            id: format!("{}.{}", self.id, companion.name).into(),
            role: self.role,
            kind: companion.name.to_owned(),
            blueprint: Some(companion.blueprint.clone()),
            from: Some(named.collect()),
            place: self.place.clone(),
            owner: Some(index),
        };
        Some((spec, companion))
    }
}

/// The links into a companion.
pub(super) const COMPANION_LINK: LinkSettings = LinkSettings {
    queue: 256,
    queue_bytes: LinkSettings::DEFAULT_QUEUE_BYTES,
    overflow: Overflow::Block,
    feedback: false,
};

/// `stage`, or `stage.port`.
pub(super) fn split(source: &str) -> (String, Option<String>) {
    match source.split_once('.') {
        Some((stage, output)) => (stage.to_owned(), Some(output.to_owned())),
        None => (source.to_owned(), None),
    }
}

/// A pipeline file as read, before it is wired.
#[derive(Debug)]
pub(super) struct Spec {
    pub name: Arc<str>,
    pub memory_mb: Option<u32>,
    pub stages: Vec<StageSpec>,
    pub faults: Faults,
}

/// Reads the whole tree.
pub(super) fn read(node: &Node, source: &Source, registry: &Registry, settings: &Settings) -> Spec {
    let mut faults = Faults::new();
    let stem = source.name().rsplit(['/', '\\']).next().unwrap_or_default().split('.').next().unwrap_or_default();
    let mut spec = Spec {
        name: if stem.is_empty() { "pipeline".into() } else { stem.into() },
        memory_mb: None,
        stages: Vec::new(),
        faults: Faults::new(),
    };
    if let Some(version) = node.get("percept")
        && version.as_i64() != Some(FORMAT_VERSION)
    {
        faults.push(
            Fault::error("format-version", "this build does not read that version of the pipeline format")
                .expected(format!("`percept: {FORMAT_VERSION}`"))
                .found(version.describe())
                .at_node(version, source),
        );
    }
    match config::read::<Head>(node, source) {
        Ok(head) => {
            if let Some(name) = head.name {
                spec.name = name.into();
            }
            spec.memory_mb = head.memory_mb;
        }
        Err(head) => faults.extend(head),
    }
    let stages = node.get("stages").and_then(Node::as_sequence).unwrap_or_default();
    if stages.is_empty() && node.get("stages").is_some_and(|stages| stages.as_sequence().is_some()) {
        let place = node.get("stages").unwrap_or(node);
        faults.push(
            Fault::error("no-stages", "a pipeline needs stages")
                .expected("at least a capture and a sink")
                .found("an empty list")
                .at_node(place, source),
        );
    }
    for (index, stage) in stages.iter().enumerate() {
        let mut reader =
            StageReader { source, registry, settings, path: format!("stages[{index}]"), faults: &mut faults };
        if let Some(stage) = reader.read(stage) {
            spec.stages.push(stage);
        }
    }
    spec.faults = faults;
    spec
}

/// Reads one stage by itself, for pipelines that a program builds and for chains; `path` says in faults where it stands.
pub(super) fn read_stage(
    node: &Node,
    source: &Source,
    path: String,
    registry: &Registry,
    settings: &Settings,
    faults: &mut Faults,
) -> Option<StageSpec> {
    StageReader { source, registry, settings, path, faults }.read(node)
}

/// Keys of a stage that belong to the pipeline and not to its kind.
const COMMON_KEYS: [&str; 2] = ["id", "from"];

struct StageReader<'a> {
    source: &'a Source,
    registry: &'a Registry,
    settings: &'a Settings,
    path: String,
    faults: &'a mut Faults,
}

impl StageReader<'_> {
    fn fault(&mut self, fault: Fault) {
        self.faults.push(fault.path(self.path.clone()));
    }

    fn read(&mut self, node: &Node) -> Option<StageSpec> {
        let Some(entries) = node.as_mapping() else {
            self.fault(
                Fault::error("not-a-stage", "this is not a stage")
                    .expected("a mapping that names a role and a kind, as in `- preprocess: resample`")
                    .found(node.describe())
                    .at_node(node, self.source),
            );
            return None;
        };
        let (role, key, name) = self.role(node, entries)?;
        let place = Place::of(name, self.source);
        let Some(kind_name) = name.as_str() else {
            let expected = if role == Role::Model { "a card's name or a file" } else { "the name of a kind" };
            self.fault(
                Fault::error("wrong-type", format!("`{role}` does not name a kind"))
                    .expected(expected)
                    .found(name.describe())
                    .at_node(name, self.source),
            );
            return None;
        };
        let own: Vec<(Key, Node)> = entries
            .iter()
            .filter(|(other, _)| other.name != key.name && !COMMON_KEYS.contains(&other.name.as_str()))
            .cloned()
            .collect();
        let mut keys = node.clone();
        keys.value = Value::Mapping(own);
        let mut own = keys;
        let known = match role {
            Role::Model => self.model(name, kind_name, &mut own),
            _ => self.kind(role, kind_name, &place).map(|kind| (kind, kind_name.to_owned())),
        };
        let id = self.id(node, known.as_ref().map_or_else(|| default_id(kind_name), |(_, id)| id.clone()));
        let from = node.get("from").map(|from| self.from(from));
        // A stage of an unknown kind is wired all the same, so that its neighbours get no faults of its making.
        let Some((kind, _)) = known else {
            return Some(StageSpec { id, role, kind: kind_name.to_owned(), blueprint: None, from, place, owner: None });
        };
        let context = ReadContext {
            node: &own,
            model: (role == Role::Model).then_some(name),
            source: self.source,
            settings: self.settings,
        };
        let blueprint = match (kind.read)(&context) {
            Ok(blueprint) => Some(Arc::from(blueprint)),
            Err(faults) => {
                for mut fault in faults {
                    fault.path =
                        if fault.path.is_empty() { self.path.clone() } else { format!("{}.{}", self.path, fault.path) };
                    if fault.span.is_none() {
                        fault = place.put(fault);
                    }
                    self.faults.push(fault);
                }
                None
            }
        };
        Some(StageSpec { id, role, kind: kind.name.to_owned(), blueprint, from, place, owner: None })
    }

    /// The one key that names the role.
    fn role<'n>(&mut self, node: &Node, entries: &'n [(Key, Node)]) -> Option<(Role, &'n Key, &'n Node)> {
        let named: Vec<_> = entries
            .iter()
            .filter_map(|(key, value)| {
                Role::ALL.into_iter().find(|role| role.key() == key.name).map(|role| (role, key, value))
            })
            .collect();
        match named[..] {
            [only] => Some(only),
            [] => {
                let meant = entries.iter().find_map(|(key, _)| {
                    let role = config::suggest(&key.name, Role::ALL.iter().map(|role| role.key()))?;
                    Some((key, role))
                });
                let fault = Fault::error("no-role", "this stage has no role")
                    .expected("one of the keys `capture`, `preprocess`, `model`, `decoder`, `sink`");
                let fault = match meant {
                    Some((key, role)) => fault
                        .at_key(key, self.source)
                        .found(format!("the key `{}`", key.name))
                        .help(format!("did you mean `{role}`?")),
                    None => fault.at_node(node, self.source),
                };
                self.fault(fault);
                None
            }
            [(first, ..), (second, key, _), ..] => {
                self.fault(
                    Fault::error("two-roles", format!("this stage is both a {first} and a {second}"))
                        .expected("one role for each stage")
                        .help("begin a new stage with `- `")
                        .at_key(key, self.source),
                );
                None
            }
        }
    }

    fn kind(&mut self, role: Role, name: &str, place: &Place) -> Option<Kind> {
        if let Some(kind) = self.registry.find(role, name) {
            return Some(*kind);
        }
        let fault = Fault::error("unknown-kind", format!("there is no {role} named `{name}`"));
        let fault = if let Some(feature) = self.registry.left_out(role, name) {
            Fault::error("left-out", format!("this build was made without the {role} `{name}`"))
                .help(format!("build percept with the feature `{feature}`"))
        } else if let Some(other) = Role::ALL.into_iter().find(|other| self.registry.find(*other, name).is_some()) {
            fault.help(format!("`{name}` is a {other}: write `- {other}: {name}`"))
        } else {
            let meant =
                config::suggest(name, self.registry.names(role)).map(|meant| format!("did you mean `{meant}`?"));
            let known: Vec<_> = self.registry.names(role).map(|name| format!("`{name}`")).collect();
            fault.expected(format!("one of {}", known.join(", "))).maybe_help(meant)
        };
        self.fault(place.put(fault));
        None
    }

    /// The kind of a model is its card's; the card's own keys come before those of the file.
    fn model(&mut self, node: &Node, name: &str, own: &mut Node) -> Option<(Kind, String)> {
        let place = Place::of(node, self.source);
        match cards::find(name, &self.settings.base_dir) {
            Ok(cards::Model::Card(card)) => {
                let kind = self.kind(Role::Model, card.kind(), &place)?;
                if let (Some(defaults), Value::Mapping(entries)) =
                    (card.config().and_then(Node::as_mapping), &mut own.value)
                {
                    for (key, value) in defaults {
                        if !entries.iter().any(|(known, _)| known.name == key.name) {
                            let (mut key, mut value) = (key.clone(), value.clone());
                            key.origin = key.origin.or_else(|| Some(card.source().clone()));
                            value.origin = value.origin.or_else(|| Some(card.source().clone()));
                            entries.push((key, value));
                        }
                    }
                }
                Some((kind, card.name().to_owned()))
            }
            Ok(cards::Model::File(path)) => {
                let kind = self.kind(Role::Model, "onnx", &place)?;
                let stem = path.file_stem().map_or_else(|| "model".into(), |stem| stem.to_string_lossy().into_owned());
                Some((kind, stem))
            }
            Err(error) => {
                let mut text = error.to_string();
                let mut cause = std::error::Error::source(&error);
                while let Some(error) = cause {
                    text = format!("{text}: {error}");
                    cause = error.source();
                }
                self.fault(place.put(Fault::error("unknown-model", text)));
                None
            }
        }
    }

    fn id(&mut self, node: &Node, default: String) -> Arc<str> {
        let Some(id) = node.get("id") else { return safe_id(&default).into() };
        match id.as_str() {
            Some(text) if is_id(text) => text.into(),
            _ => {
                self.fault(
                    Fault::error("bad-id", "this cannot be the id of a stage")
                        .expected("letters, digits, `-` and `_`, beginning with a letter")
                        .found(id.describe())
                        .at_node(id, self.source),
                );
                safe_id(&default).into()
            }
        }
    }

    /// `stage`, `stage.port`, a list of them, or a map of input port to one of these.
    fn from(&mut self, node: &Node) -> Vec<LinkRequest> {
        let mut links = Vec::new();
        match &node.value {
            Value::Mapping(entries) if node.get("stage").is_none() => {
                for (port, source) in entries {
                    self.sources(Some(port), source, &mut links);
                }
                if entries.is_empty() {
                    self.fault(
                        Fault::error("empty-from", "`from` names no stage")
                            .help("leave `from` out to read from the stage above")
                            .at_node(node, self.source),
                    );
                }
            }
            _ => self.sources(None, node, &mut links),
        }
        links
    }

    fn sources(&mut self, port: Option<&Key>, node: &Node, links: &mut Vec<LinkRequest>) {
        match &node.value {
            Value::Sequence(items) => {
                for item in items {
                    self.source(port, item, links);
                }
            }
            _ => self.source(port, node, links),
        }
    }

    fn source(&mut self, port: Option<&Key>, node: &Node, links: &mut Vec<LinkRequest>) {
        let (name, settings) = match &node.value {
            Value::String(_) => (node, LinkSettings::default()),
            Value::Mapping(_) => {
                let settings = match config::read::<LinkConfig>(node, self.source) {
                    Ok(config) => config.settings(),
                    Err(faults) => {
                        self.faults.extend(faults);
                        LinkSettings::default()
                    }
                };
                let Some(name) = node.get("stage").filter(|name| name.as_str().is_some()) else { return };
                (name, settings)
            }
            _ => {
                self.fault(
                    Fault::error("wrong-type", "this does not name a stage")
                        .expected("`stage`, `stage.port`, or `{stage: …, queue: …}`")
                        .found(node.describe())
                        .at_node(node, self.source),
                );
                return;
            }
        };
        let text = name.as_str().unwrap_or_default();
        let (stage, output) = split(text);
        links.push(LinkRequest { port: port.cloned(), stage, output, settings, place: Place::of(name, self.source) });
    }
}

impl LinkConfig {
    fn settings(&self) -> LinkSettings {
        let default = LinkSettings::default();
        LinkSettings {
            queue: self.queue.unwrap_or(default.queue),
            queue_bytes: self.queue_mb.map_or(default.queue_bytes, |megabytes| megabytes.saturating_mul(1 << 20)),
            overflow: self.overflow.unwrap_or_default(),
            feedback: self.feedback,
        }
    }
}

/// Whether a text can be the id of a stage.
pub(super) fn is_id(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic())
        && text.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
        && text.len() <= 100
}

/// The id of a stage that is given none, from what its role key says: a kind's name, a card's name, or a file.
pub(super) fn default_id(kind: &str) -> String {
    let path = std::path::Path::new(kind);
    match path.file_stem() {
        Some(stem) if kind.contains(['/', '\\', '.']) => safe_id(&stem.to_string_lossy()),
        _ => safe_id(kind),
    }
}

/// The JSON Schema of the top level of a pipeline file.
pub fn head_schema() -> serde_json::Value {
    config::schema_of::<Head>()
}

/// The JSON Schema of a link with settings.
pub fn link_schema() -> serde_json::Value {
    config::schema_of::<LinkConfig>()
}

/// A text made an id: what cannot stand in one becomes `_`.
fn safe_id(text: &str) -> String {
    let safe: String = text.chars().map(|c| if c.is_alphanumeric() || c == '-' { c } else { '_' }).take(100).collect();
    if safe.starts_with(|first: char| first.is_alphabetic()) { safe } else { format!("stage_{safe}") }
}
