//! Kinds of stages, and how one is read from a pipeline file.

use std::any::Any;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::{Capture, Contract, ContractFault, PortIndex, StageError, StageObject};
use crate::config::{Fault, Faults, Node, Source, Span};
use crate::media::Format;
use crate::tensor::Tensor;

/// The role of a stage: the key that names its kind in a pipeline file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Brings streams in.
    Capture,
    /// Changes what a stream carries before a model reads it.
    Preprocess,
    /// Runs a model.
    Model,
    /// Turns what a model says into results.
    Decoder,
    /// Takes results out.
    Sink,
}

impl Role {
    /// All roles, in the order of a pipeline.
    pub const ALL: [Role; 5] = [Role::Capture, Role::Preprocess, Role::Model, Role::Decoder, Role::Sink];

    /// The key in a pipeline file.
    pub const fn key(self) -> &'static str {
        match self {
            Role::Capture => "capture",
            Role::Preprocess => "preprocess",
            Role::Model => "model",
            Role::Decoder => "decoder",
            Role::Sink => "sink",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// Settings of the process and the pipeline that a stage may need to be read and built.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Relative paths in the pipeline start here: the folder of its file.
    pub base_dir: PathBuf,
    /// The ONNX Runtime library given by hand.
    pub onnxruntime: Option<PathBuf>,
    /// Threads of the pool that models share; `None`: one per core.
    pub model_threads: Option<usize>,
    /// The folder of fetched models and libraries; `None`: the user's cache.
    pub cache: Option<PathBuf>,
    /// Opens the samples of a recipe, for stages that learn; `None`: this program knows no recipes.
    pub samples: Option<OpenSamples>,
}

/// Opens one part of the samples of the recipe at a path. The error says what stands in the way.
pub type OpenSamples = fn(&Path, SamplesPart) -> Result<KnownSamples, String>;

/// A part of a recipe's samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SamplesPart {
    /// What it trains on.
    Train,
    /// What it compares models by while it trains.
    Validation,
}

/// Samples with what is right for each.
#[derive(Clone, Debug, Default)]
pub struct KnownSamples {
    /// Inputs as the model gets them, and targets.
    pub samples: Vec<(Tensor, Tensor)>,
    /// The names of the classes, where targets are their numbers.
    pub labels: Vec<String>,
}

impl Settings {
    /// `path` seen from the pipeline's folder.
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        self.base_dir.join(path)
    }
}

/// What a kind is given to read its config from.
#[derive(Clone, Copy, Debug)]
pub struct ReadContext<'a> {
    /// The stage's own keys: a mapping, without role, `id` and `from`.
    pub node: &'a Node,
    /// For a model stage: the value of its `model` key, a card's name or a path.
    pub model: Option<&'a Node>,
    /// The file that it stands in.
    pub source: &'a Source,
    /// Settings of the process.
    pub settings: &'a Settings,
}

impl ReadContext<'_> {
    /// A fault at the value of `key`, or at the stage when it has no such key.
    pub fn fault(&self, key: &str, code: &'static str, message: impl Into<String>) -> Fault {
        let node = self.node.get(key).unwrap_or(self.node);
        Fault::error(code, message).at_node(node, self.source)
    }
}

/// A stage as its config describes it: checked, not yet running. Built anew at each restart.
pub trait Blueprint: Send + Sync + fmt::Debug {
    /// Its ports and how it runs.
    fn contract(&self) -> Contract;

    /// The formats of its output ports when its input ports carry `inputs` (in the contract's order, unknowns included;
    /// [`Format::Any`] where nothing is connected). That each input is acceptable to its port by itself was checked.
    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>>;

    /// Builds the running stage.
    fn build(&self) -> Result<Runnable, StageError>;

    /// Faults that only the machine shows, without starting anything: a missing device is a warning, a missing library
    /// or a folder that cannot be written is an error. Places are added by the caller.
    fn probe(&self) -> Vec<Fault> {
        Vec::new()
    }

    /// For stages whose input ports are named by who uses them: the same stage with these ports, in this order. Called with
    /// the ports that `from` names, where it names some, before anything else is asked.
    fn with_inputs(&self, names: &[String]) -> Option<Arc<dyn Blueprint>> {
        let _ = names;
        None
    }

    /// The stage that runs beside this one and belongs to it, such as the learner of a model.
    fn companion(&self) -> Option<Companion> {
        None
    }

    /// For stages that a program talks to while they run: what it talks through, kept over restarts.
    fn handle(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }
}

/// A stage that runs beside another, its owner, and belongs to it: the pipeline adds it to the plan as `OWNER.NAME`.
///
/// It reads packets on links of their own that never hold a live stream up: a full one drops its oldest packet.
#[derive(Clone, Debug)]
pub struct Companion {
    /// Its name, behind the owner's id and a dot; its kind as well.
    pub name: &'static str,
    /// How to build it.
    pub blueprint: Arc<dyn Blueprint>,
    /// What its input ports read, by their place in its contract.
    pub reads: Vec<(PortIndex, CompanionSource)>,
    /// What it gives to its owner, in a word, for pictures of the pipeline.
    pub gives: &'static str,
}

/// What an input port of a companion reads.
#[derive(Clone, Debug)]
pub enum CompanionSource {
    /// What this input port of its owner reads.
    Input(PortIndex),
    /// What this output port of its owner writes.
    Output(PortIndex),
    /// The stage that the file names, as `stage` or `stage.port`, and where it does.
    Named(String, Option<(Source, Span)>),
}

/// A built stage, ready to run.
pub enum Runnable {
    /// It brings streams in.
    Capture(Box<dyn Capture>),
    /// It takes packets.
    Stage(StageObject),
}

impl Runnable {
    /// Wraps a stage.
    pub fn stage(stage: impl super::Stage) -> Self {
        Runnable::Stage(Box::new(stage))
    }

    /// Wraps a capture.
    pub fn capture(capture: impl Capture) -> Self {
        Runnable::Capture(Box::new(capture))
    }
}

impl fmt::Debug for Runnable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Runnable::Capture(_) => "Runnable::Capture",
            Runnable::Stage(_) => "Runnable::Stage",
        })
    }
}

/// A kind of stage: an entry of the registry.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Its name in a pipeline file.
    pub name: &'static str,
    /// Its role.
    pub role: Role,
    /// What it is for, in one line.
    pub summary: &'static str,
    /// A pipeline that uses it, as YAML that `percept check` accepts.
    pub example: &'static str,
    /// The JSON Schema of its keys, with their documentation and defaults.
    pub schema: fn() -> serde_json::Value,
    /// Reads its config; reports every fault at once.
    pub read: fn(&ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults>,
}

impl Kind {
    /// A kind whose config struct `C` is its blueprint and needs nothing but itself.
    pub const fn plain<C>(name: &'static str, role: Role, summary: &'static str, example: &'static str) -> Kind
    where
        C: Blueprint + DeserializeOwned + JsonSchema + 'static,
    {
        Kind { name, role, summary, example, schema: crate::config::schema_of::<C>, read: read_plain::<C> }
    }

    /// A kind whose config `C` becomes a blueprint by `resolve`, which may look at files and reports every fault at once.
    pub const fn resolved<C: Resolve>(
        name: &'static str,
        role: Role,
        summary: &'static str,
        example: &'static str,
    ) -> Kind {
        Kind { name, role, summary, example, schema: crate::config::schema_of::<C>, read: read_resolved::<C> }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.role, self.name)
    }
}

/// A config that needs more than itself to become a blueprint: files, model headers, the settings of the process.
pub trait Resolve: DeserializeOwned + JsonSchema + 'static {
    /// Checks the config against the world and makes the blueprint.
    fn resolve(self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults>;
}

fn read_plain<C>(context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults>
where
    C: Blueprint + DeserializeOwned + JsonSchema + 'static,
{
    Ok(Box::new(crate::config::read::<C>(context.node, context.source)?))
}

fn read_resolved<C: Resolve>(context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
    crate::config::read::<C>(context.node, context.source)?.resolve(context)
}
