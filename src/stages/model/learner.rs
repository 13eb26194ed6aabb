//! The learner of a model: `learn:` in a model stage. It runs beside the model as the stage `ID.learner`, on a thread of
//! its own, and never holds the stream up.
//!
//! # What it reads
//!
//! `samples` is what the model reads, and `scores` what the model says. `labels` is what `labels.from` names: labels, a
//! text or a transcript is a class by its name, an integer a class by its number, and a tensor of floats is what the
//! model should have said (a teacher's answer). A label belongs to the input of its stream in whose span it starts; see
//! [`Joiner`](crate::learn::Joiner). A person may tell labels too, by `percept live label`, or a program by
//! [`LiveModel::label`].
//!
//! # What it does
//!
//! Each labelled sample is kept to learn from, or held out. The engine trains a copy of the model, the shadow, on what is
//! kept; from time to time of the stream shadow and serving version are compared on what is held out, and a better one is
//! [adopted](LiveModel::swap) between two packets. One that turns out worse is taken back. What it thinks of them is
//! written to its port `reports` as JSON (`from: ID.learner`), and an adoption or a step back is an event too.
//!
//! Of a live stream the oldest samples are dropped when there is more than it can learn from, and it computes no more than
//! `budget.max_cpu` of the time. Files wait for it, so that the same files, seed and number of threads give the same
//! weights bit for bit.
//!
//! # When it fails
//!
//! It is rebuilt and begins with the version that serves; what it had kept is lost. After too many failures it is given
//! up, and the model goes on as it is.

mod saved;
mod stage;
mod targets;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use self::saved::Saved;
use self::stage::LearnerStage;
use super::onnx::LiveModel;
use crate::config::{Fault, Faults, Source, Span};
use crate::inference::{ModelSource, Snapshot};
use crate::learn::{Guard, LearnConfig, LearnError, Learner, Sample, Supervision};
use crate::media::Format;
use crate::onnx::{Model, OnnxError};
use crate::stage::{
    Blueprint, Companion, CompanionSource, Contract, ContractFault, OpenSamples, PortIndex, ReadContext, Runnable,
    SamplesPart, StageError,
};
use crate::units::TimeSpan;

/// Its name behind the owner's, and its kind.
pub const NAME: &str = "learner";

const SAMPLES: PortIndex = 0;
const SCORES: PortIndex = 1;
const LABELS: PortIndex = 2;
/// How often it looks at the clock, for labels that do not come.
const TICK: TimeSpan = TimeSpan::from_millis(1000);

/// Why a model cannot learn.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LearnerError {
    /// The model cannot be read.
    #[error(transparent)]
    Model(#[from] OnnxError),
    /// The samples of a recipe cannot be read.
    #[error("the samples of the recipe {}: {reason}", path.display())]
    Recipe {
        /// The recipe.
        path: PathBuf,
        /// What stands in the way.
        reason: String,
    },
    /// It cannot be learned.
    #[error(transparent)]
    Learn(#[from] LearnError),
}

/// The learner of one model, as its file describes it.
#[derive(Clone)]
pub(super) struct Learning {
    live: Arc<LiveModel>,
    config: Arc<LearnConfig>,
    /// The graph's input that samples fill.
    input: Arc<str>,
    /// The names of the classes that the model's own file tells apart.
    names: Arc<[String]>,
    /// Where `labels.from` is written.
    place: Option<(Source, Span)>,
    /// Opens the samples of recipes.
    recipes: Option<OpenSamples>,
    warnings: Vec<Fault>,
}

impl fmt::Debug for Learning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Learning")
            .field("model", &self.live.name())
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Learning {
    /// The learner of `live`, whose stage is being read. Reports what of `learn` cannot be.
    pub(super) fn read(
        config: &LearnConfig,
        live: &Arc<LiveModel>,
        names: Vec<String>,
        context: &ReadContext<'_>,
    ) -> Result<Learning, Faults> {
        let mut config = config.clone();
        for path in [&mut config.guard.reference, &mut config.replay.seed_from, &mut config.save].into_iter().flatten()
        {
            *path = context.settings.resolve(&*path);
        }
        let mut faults = Faults::new();
        for (key, message) in config.check() {
            faults.push(fault(context, key, "invalid-value", format!("`learn.{key}` {message}")));
        }
        let input = match live.only_input() {
            Ok(input) => input,
            Err(found) => {
                let text = "this model cannot learn from a stream";
                let fault = fault(context, "", "cannot-learn", text)
                    .expected("a graph with one input that packets fill, without states and windows")
                    .found(found);
                faults.push(fault);
                return Err(faults);
            }
        };
        live.remember(config.keep_versions.saturating_sub(1));
        if let Some(folder) = &config.save {
            live.saved_in(folder);
        }
        let place = node(context, "labels.from").map(|node| (node.source(context.source).clone(), node.span));
        let mut warnings = Vec::new();
        if config.guard.reference.is_none() {
            let text =
                "without trusted samples, labels that are wrong in a consistent way are learned as if they were right";
            warnings.push(
                Fault::warning("no-guard", text)
                    .help("give some samples that you trust: `guard: {reference: FILE.npz}` under `learn`"),
            );
        }
        let learning = Learning {
            live: live.clone(),
            config: Arc::new(config),
            input: input.into(),
            names: names.into(),
            place,
            recipes: context.settings.samples,
            warnings: warnings.into_iter().map(|warning| at(context, "", warning)).collect(),
        };
        if faults.is_empty()
            && let Err(error) = learning.learner()
        {
            faults.push(fault(context, "", "cannot-learn", error.to_string()));
        }
        faults.into_result(learning).map(|(learning, _)| learning)
    }

    /// The companion of the model stage.
    pub(super) fn companion(&self) -> Companion {
        let mut reads = vec![(SAMPLES, CompanionSource::Input(0)), (SCORES, CompanionSource::Output(0))];
        if let Some(from) = self.config.labels.port().filter(|_| self.config.supervision == Supervision::Labels) {
            reads.push((LABELS, CompanionSource::Named(from.to_owned(), self.place.clone())));
        }
        Companion { name: NAME, blueprint: Arc::new(self.clone()), reads, gives: "weights" }
    }

    /// A learner that begins with the file that the pipeline names.
    fn learner(&self) -> Result<Learner, LearnerError> {
        let first = self.live.first();
        Ok(Learner::new(&load(&first)?, &self.config, &self.input, self.names(&first))?)
    }

    /// The same with what recipes give, the old samples and the trusted ones, and going on from what serves now. However
    /// many versions there were, the trusted samples compare each with the first.
    fn prepared(&self) -> Result<Learner, LearnerError> {
        let mut learner = self.learner()?;
        if let Some(samples) = self.of_recipe(self.config.guard.reference.as_deref(), SamplesPart::Validation)? {
            learner = learner.with_guard(Guard::new(samples))?;
        }
        if let Some(samples) = self.of_recipe(self.config.replay.seed_from.as_deref(), SamplesPart::Train)? {
            learner.seed(samples);
        }
        // Whichever of the two is built first, the stage or its learner.
        self.live.restore();
        let newest = self.live.newest();
        if newest.version > 0 {
            learner.replaced(newest.version.into(), &load(&newest)?, self.names(&newest))?;
        }
        Ok(learner)
    }

    /// Samples of the recipe at `path`; `None` where that is none.
    fn of_recipe(&self, path: Option<&Path>, part: SamplesPart) -> Result<Option<Vec<Sample>>, LearnerError> {
        let Some(path) = path.filter(|path| path.extension().is_none_or(|ending| ending != "npz")) else {
            return Ok(None);
        };
        let samples = match self.recipes {
            Some(open) => open(path, part),
            None => Err("this program reads no recipes; give an .npz file".to_owned()),
        };
        match samples {
            Ok(samples) => Ok(Some(targets::of_recipe(samples))),
            Err(reason) => Err(LearnerError::Recipe { path: path.to_owned(), reason }),
        }
    }

    /// The names of a version's classes: those that came with it, or those of the model's own file.
    fn names(&self, snapshot: &Snapshot) -> Vec<String> {
        match &snapshot.classes {
            Some(classes) => classes.names().iter().map(ToString::to_string).collect(),
            None => self.names.to_vec(),
        }
    }
}

/// The model of a version.
fn load(snapshot: &Snapshot) -> Result<Model, OnnxError> {
    match &snapshot.source {
        ModelSource::Memory { bytes, .. } => Model::decode(bytes, None),
        source => Model::load(source.path()),
    }
}

/// The value of a key below `learn`, written as a path; the nearest one above it that is written.
fn node<'a>(context: &ReadContext<'a>, key: &str) -> Option<&'a crate::config::Node> {
    let mut node = context.node.get("learn")?;
    for part in key.split('.').filter(|part| !part.is_empty()) {
        node = node.get(part)?;
    }
    Some(node)
}

fn at(context: &ReadContext<'_>, key: &str, fault: Fault) -> Fault {
    let place = node(context, key).or_else(|| node(context, "")).unwrap_or(context.node);
    fault.at_node(place, context.source)
}

fn fault(context: &ReadContext<'_>, key: &str, code: &'static str, message: impl Into<String>) -> Fault {
    at(context, key, Fault::error(code, message))
}

impl Blueprint for Learning {
    fn contract(&self) -> Contract {
        let mut contract = Contract::new()
            .input("samples", Format::Any)
            .input("scores", Format::Any)
            .input("labels", Format::Any)
            .optional_output("reports")
            .in_order()
            .tick(TICK);
        for port in &mut contract.inputs {
            port.optional = true;
        }
        contract
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        let says = |format: &Format| {
            matches!(format, Format::Any | Format::Labels | Format::Text | Format::Transcript | Format::Tensor { .. })
        };
        match inputs.get(LABELS).filter(|labels| !says(labels)) {
            None => Ok(vec![Format::Text]),
            Some(found) => Err(vec![ContractFault {
                port: "labels".to_owned(),
                expected: "labels, text, transcript, or a tensor: a class, or what the model should have said"
                    .to_owned(),
                found: found.to_string(),
                help: Some("name a stage that tells what is right: `learn: {labels: {from: STAGE}}`".to_owned()),
            }]),
        }
    }

    fn build(&self) -> Result<Runnable, StageError> {
        let learner = self.prepared().map_err(StageError::fatal)?;
        let saved = Saved::open(self).map_err(StageError::fatal)?;
        Ok(Runnable::stage(LearnerStage::new(self.clone(), learner, saved)))
    }

    fn probe(&self) -> Vec<Fault> {
        self.warnings.clone()
    }
}
