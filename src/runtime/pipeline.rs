//! The front door of the library: a pipeline that was found without fault.

use std::any::Any;
use std::path::Path;
use std::sync::Arc;

use super::running::{Running, StartError, StartOptions};
use crate::config::{Fault, Faults};
use crate::pipeline::{Builder, LinkSettings, PipelineFile, Plan, PlannedLink, PlannedStage};
use crate::stage::{Blueprint, Registry, Role, Settings};
use crate::stages::REGISTRY;
use crate::stages::capture::push::{PushHandle, PushInlet};
use crate::stages::model::onnx::LiveModel;
use crate::stages::sink::collect::{Collect, Collected, Hub};

/// A pipeline that was found without fault and can be started.
///
/// ```
/// use percept::Pipeline;
///
/// let faults = Pipeline::from_yaml("percept: 1\nstages:\n  - capture: microfone\n  - sink: jsonl\n    path: '-'\n").unwrap_err();
/// assert!(faults.to_string().contains("did you mean `microphone`?"));
/// ```
#[derive(Clone, Debug)]
pub struct Pipeline {
    plan: Plan,
    warnings: Faults,
}

impl Pipeline {
    /// Checks a pipeline written as YAML. Relative paths in it start at the working directory.
    pub fn from_yaml(yaml: &str) -> Result<Pipeline, Faults> {
        PipelineFile::parse("pipeline.yaml", yaml).and_then(|file| Self::from_file(&file, &REGISTRY, &defaults()))
    }

    /// Reads and checks a pipeline file. Relative paths in it start at its folder.
    pub fn open(path: impl AsRef<Path>) -> Result<Pipeline, Faults> {
        let path = path.as_ref();
        let base_dir = path.parent().map(Path::to_path_buf).unwrap_or_default();
        let settings = Settings { base_dir, ..defaults() };
        Self::from_file(&PipelineFile::open(path)?, &REGISTRY, &settings)
    }

    /// Checks a pipeline file that was read before, with kinds and settings of the caller's own.
    pub fn from_file(file: &PipelineFile, registry: &Registry, settings: &Settings) -> Result<Pipeline, Faults> {
        let (plan, warnings) = file.check(registry, settings)?;
        Ok(Pipeline { plan, warnings })
    }

    /// Builds a pipeline from typed stages, without YAML; end with [`Pipeline::build`].
    pub fn builder(name: &str) -> Builder {
        Builder::new(name).settings(defaults())
    }

    /// Checks what a builder was given.
    pub fn build(builder: Builder) -> Result<Pipeline, Faults> {
        let (plan, warnings) = builder.check()?;
        Ok(Pipeline { plan, warnings })
    }

    /// Its stages and links.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What is worth a look and stops nothing, such as a device that is not there now.
    pub fn warnings(&self) -> &Faults {
        &self.warnings
    }

    /// The way in: where the program pushes to the stage `id`, a `capture: push`.
    pub fn push(&self, id: &str) -> Result<PushHandle, Faults> {
        let stage = self.stage(id)?;
        let inlet = self.plan.stages[stage].blueprint.handle().and_then(downcast::<PushInlet>);
        inlet.map(|inlet| inlet.handle()).ok_or_else(|| {
            Fault::error("not-a-push", format!("stage `{id}` takes nothing from a program"))
                .expected("a `capture: push`")
                .found(format!("a {}: {}", self.plan.stages[stage].role, self.plan.stages[stage].kind))
                .into()
        })
    }

    /// The model of the stage `id`, a `model` of kind `onnx`: which version serves, and how another takes its place while
    /// the pipeline runs. It stays good after [`start`](Self::start).
    pub fn model(&self, id: &str) -> Result<Arc<LiveModel>, Faults> {
        let stage = self.stage(id)?;
        self.plan.stages[stage].blueprint.handle().and_then(downcast::<LiveModel>).ok_or_else(|| {
            Fault::error("not-a-live-model", format!("what stage `{id}` runs cannot be exchanged"))
                .expected("a `model` with one graph")
                .found(format!("a {}: {}", self.plan.stages[stage].role, self.plan.stages[stage].kind))
                .into()
        })
    }

    /// The way out: what comes to the `sink: collect` named `id`, or what another stage (or its port, as `stage.port`)
    /// writes. Up to `capacity` packets of each stream wait for the program; then the pipeline waits for it.
    pub fn subscribe(&mut self, id: &str, capacity: usize) -> Result<Collected, Faults> {
        let (stage, port) = match id.split_once('.') {
            Some((stage, port)) => (self.stage(stage)?, Some(port)),
            None => (self.stage(id)?, None),
        };
        if let Some(hub) = self.plan.stages[stage].blueprint.handle().and_then(downcast::<Hub>) {
            return Ok(hub.subscribe(capacity));
        }
        let outputs = &self.plan.stages[stage].contract.outputs;
        let found = match port {
            Some(port) => outputs.iter().position(|output| output.name == port),
            None => (!outputs.is_empty()).then_some(0),
        };
        let Some(port) = found else {
            let names: Vec<_> = outputs.iter().map(|output| format!("`{}`", output.name)).collect();
            let fault = Fault::error("unknown-port", format!("`{id}` writes nothing that could be read"));
            return Err(fault.expected(format!("one of its outputs: {}", names.join(", "))).into());
        };
        let (collect, received) = Collect::new(capacity);
        let count = self.plan.stages.iter().filter(|stage| stage.id.starts_with("subscriber_")).count();
        self.plan.stages.push(PlannedStage {
            id: format!("subscriber_{}", count + 1).into(),
            role: Role::Sink,
            kind: "collect".into(),
            contract: collect.contract(),
            blueprint: Arc::new(collect),
            owner: None,
        });
        let to = (self.plan.stages.len() - 1, 0);
        self.plan.links.push(PlannedLink { from: (stage, port), to, settings: LinkSettings::default() });
        Ok(received)
    }

    /// Starts it, with the system's clock.
    pub fn start(self) -> Result<Running, StartError> {
        self.start_with(StartOptions::default())
    }

    /// Starts it.
    pub fn start_with(self, options: StartOptions) -> Result<Running, StartError> {
        Running::start(self.plan, options)
    }

    fn stage(&self, id: &str) -> Result<usize, Faults> {
        self.plan.stages.iter().position(|stage| *stage.id == *id).ok_or_else(|| {
            let names: Vec<_> = self.plan.stages.iter().map(|stage| format!("`{}`", stage.id)).collect();
            Fault::error("unknown-stage", format!("there is no stage `{id}`"))
                .expected(format!("one of {}", names.join(", ")))
                .into()
        })
    }
}

fn downcast<T: Send + Sync + 'static>(handle: Arc<dyn Any + Send + Sync>) -> Option<Arc<T>> {
    handle.downcast().ok()
}

/// The settings of a pipeline that is given none.
fn defaults() -> Settings {
    Settings { samples: Some(crate::train::samples), ..Settings::default() }
}
