//! A pipeline from a program's own calls, checked like one from a file.

use std::sync::Arc;

use super::assemble::assemble;
use super::plan::{LinkSettings, Plan};
use super::spec::{self, LinkRequest, Place, StageSpec, is_id};
use crate::config::{self, Fault, Faults, Key, Source, Span};
use crate::stage::{Blueprint, Registry, Role, Settings};

/// Builds a [`Plan`] stage by stage, as a file would: a stage reads from the nearest one above that writes, unless
/// [`from`](Self::from) says otherwise.
#[derive(Clone, Debug)]
pub struct Builder {
    name: Arc<str>,
    settings: Settings,
    memory_bytes: usize,
    stages: Vec<StageSpec>,
    faults: Faults,
}

impl Builder {
    /// A pipeline without stages.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Builder {
            name: name.into(),
            settings: Settings::default(),
            memory_bytes: Plan::DEFAULT_MEMORY_BYTES,
            stages: Vec::new(),
            faults: Faults::new(),
        }
    }

    /// Settings of the process: where relative paths start, where ONNX Runtime lies.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Most bytes that may wait in all links together.
    #[must_use]
    pub fn memory_bytes(mut self, bytes: usize) -> Self {
        self.memory_bytes = bytes;
        self
    }

    /// Adds a stage. Its role follows from its ports.
    #[must_use]
    pub fn stage(self, id: &str, blueprint: impl Blueprint + 'static) -> Self {
        self.add(id, Arc::new(blueprint))
    }

    /// Adds a stage that is already shared.
    #[must_use]
    pub fn add(mut self, id: &str, blueprint: Arc<dyn Blueprint>) -> Self {
        if !is_id(id) {
            let fault = Fault::error("bad-id", format!("`{id}` cannot be the id of a stage"))
                .expected("letters, digits, `-` and `_`, beginning with a letter");
            self.faults.push(fault);
        }
        let contract = blueprint.contract();
        let role = match (contract.inputs.is_empty(), contract.outputs.is_empty()) {
            (true, _) => Role::Capture,
            (false, true) => Role::Sink,
            (false, false) => Role::Preprocess,
        };
        self.stages.push(StageSpec {
            id: id.into(),
            role,
            kind: role.key().to_owned(),
            blueprint: Some(blueprint),
            from: None,
            place: Place::default(),
            owner: None,
        });
        self
    }

    /// Adds a stage written as in a pipeline file, such as `model: silero-vad`, of a kind that `registry` knows. Relative
    /// paths in it start where the [settings](Self::settings) given before say.
    #[must_use]
    pub fn yaml(mut self, registry: &Registry, stage: &str) -> Self {
        let source = Source::new("stage", stage);
        match config::parse(&source) {
            Ok(node) => {
                let read = spec::read_stage(&node, &source, String::new(), registry, &self.settings, &mut self.faults);
                self.stages.extend(read);
            }
            Err(faults) => self.faults.extend(faults),
        }
        self
    }

    /// Lets the stage added last read from `stage` or `stage.port`.
    #[must_use]
    pub fn from(self, source: &str) -> Self {
        self.link(None, source, LinkSettings::default())
    }

    /// Lets input `port` of the stage added last read from `stage` or `stage.port`.
    #[must_use]
    pub fn from_port(self, port: &str, source: &str) -> Self {
        self.link(Some(port), source, LinkSettings::default())
    }

    /// Lets input `port` (or the only one) of the stage added last read from `source`, with bounds and a policy.
    #[must_use]
    pub fn link(mut self, port: Option<&str>, source: &str, settings: LinkSettings) -> Self {
        let (stage, output) = spec::split(source);
        if settings.queue == 0 || settings.queue_bytes == 0 {
            let fault = Fault::error("out-of-range", format!("the link from `{source}` has a bound of zero"));
            self.faults.push(fault.expected("at least one packet and one byte"));
        }
        let request = LinkRequest {
            port: port.map(|port| Key::new(port, Span::default())),
            stage,
            output,
            settings,
            place: Place::default(),
        };
        if let Some(last) = self.stages.last_mut() {
            last.from.get_or_insert_default().push(request);
        }
        self
    }

    /// The plan, with warnings; or every fault at once.
    pub fn check(self) -> Result<(Plan, Faults), Faults> {
        assemble(self.name, self.memory_bytes, self.settings, self.stages, self.faults)
    }
}
