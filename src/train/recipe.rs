//! Recipes: a training as a YAML file.
//!
//! ```yaml
//! percept_recipe: 1
//! name: fashion-lenet5
//! data:
//!   train: {idx: {images: train-images.gz, labels: train-labels.gz}}
//!   validation: 0.1                  # a share of the training data, or data of its own
//!   test: {idx: {images: test-images.gz, labels: test-labels.gz}}
//! preprocess:                        # stages as in a pipeline, where samples are not yet what the model takes
//!   - preprocess: normalize
//!     offset: -0.5
//! model: {lenet5: {classes: 10}}     # an architecture, or {onnx: FILE}
//! loss: cross_entropy                # or {kind: cross_entropy, label_smoothing: 0.1}
//! optimizer: {kind: adam, learning_rate: 0.001}
//! epochs: 10
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::data::augment::{Augmentation, Augmenter};
use super::data::{Buckets, DataError, DataFormat, DataSet, FORMATS, Known, Preprocessed, Split, Subset, format_named};
use super::error::TrainError;
use super::lengths::LengthInputs;
use super::metrics::Spelling;
use super::model_input::ModelInput;
use super::trainer::{Evaluation, Trainer, TrainerOptions};
use crate::cards::Sha256;
use crate::codec::CodecError;
use crate::config::{Fault, Faults, Node, Override, Source, parse, suggest};
use crate::engine::losses::LOSSES;
use crate::engine::{Clip, Loss, Optimizer, Penalty, Schedule, Training, TrainingOptions};
use crate::media::Format;
use crate::onnx::Model;
use crate::pipeline::Chain;
use crate::stage::{Blueprint, Role, Settings};
use crate::stages::REGISTRY;
use crate::tensor::Tensor;
use crate::zoo::{Architecture, ZOO, architecture_named};

/// A training: data, model, loss, and how to go about it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecipeSettings {
    /// The version of this format: 1.
    #[schemars(range(min = 1, max = 1))]
    pub percept_recipe: u32,
    /// What the model is called.
    #[schemars(length(min = 1))]
    pub name: String,
    /// What it is for, in a line or two.
    #[serde(default)]
    pub summary: String,
    /// What to learn from.
    pub data: DataSettings,
    /// The licence of what comes out, as an SPDX expression (`MIT`). Default: NOASSERTION, SPDX's word for none stated.
    #[serde(default = "default_licence")]
    #[schemars(length(min = 1))]
    pub licence: String,
    /// What is done to each sample before the model sees it: stages as in a pipeline, of the role `preprocess`, each
    /// reading from the one above. The card of the trained model lists them. Default: nothing.
    #[serde(default)]
    pub preprocess: Vec<Map<String, Json>>,
    /// Changes of training samples, at random, in this order. Default: none.
    #[serde(default)]
    pub augment: Vec<Augmentation>,
    /// An architecture with its arguments, `{lenet5: {classes: 10}}`, or a file, `{onnx: FILE}`.
    pub model: Map<String, Json>,
    /// Weights that stay as they are, by name; `*` is anything. Default: none.
    #[serde(default)]
    pub freeze: Vec<String>,
    /// A loss by name, or with its settings: `{kind: cross_entropy, label_smoothing: 0.1}`.
    pub loss: LossSettings,
    /// A penalty on large weights. Default: none.
    #[serde(default)]
    pub penalty: PenaltySettings,
    /// The rule of descent. Default: adam.
    #[serde(default = "adam")]
    pub optimizer: Optimizer,
    /// How the learning rate changes, by steps. Default: it does not.
    #[serde(default)]
    pub schedule: Schedule,
    /// Holds gradients in bounds. Default: not.
    #[serde(default)]
    pub clip: ClipSettings,
    /// Samples in a minibatch: 1 for one at a time, 0 for all at once. Default: 64.
    #[serde(default = "default_batch")]
    pub batch: usize,
    /// For samples of varying lengths: puts those of similar length together and fills them up to a bound; what they are
    /// filled with counts nothing. The model must have an input `lengths`. Default: all samples have one shape.
    #[serde(default)]
    pub buckets: Option<Buckets>,
    /// How many times all samples are seen. Default: 10.
    #[serde(default = "default_epochs")]
    #[schemars(range(min = 1))]
    pub epochs: u64,
    /// Stops when the validation loss has not fallen for so many epochs, and keeps the best. Default: goes on.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub patience: Option<u64>,
    /// Samples that may be bad. Default: 0.
    #[serde(default)]
    pub max_bad: usize,
    /// Where all random numbers begin. Default: 0.
    #[serde(default)]
    pub seed: u64,
    /// Threads; 0 is one for each core. Default: 0.
    #[serde(default)]
    pub threads: usize,
    /// The folder for what comes out, from the recipe's folder. Default: `trained`.
    #[serde(default = "default_output")]
    pub output: PathBuf,
}

/// What to learn from.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DataSettings {
    /// A format with its settings: `{idx: {images: FILE, labels: FILE}}`.
    pub train: Map<String, Json>,
    /// By what models are compared while they train: a share of the training data (0.1), or data of its own. Default:
    /// nothing.
    #[serde(default)]
    pub validation: Option<Part>,
    /// What is read once, at the end: a share of the training data, or data of its own. Default: nothing.
    #[serde(default)]
    pub test: Option<Part>,
    /// How to get the data, shown when they cannot be read: a command, a place. Default: nothing.
    #[serde(default)]
    pub get: Option<String>,
}

/// A share of the training data, or data of its own.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Part {
    /// A share, above 0 and below 1.
    Share(f64),
    /// A format with its settings.
    Own(Map<String, Json>),
}

/// A loss by name, or with its settings.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LossSettings {
    /// A name.
    Name(String),
    /// `kind` and settings.
    Settings(Map<String, Json>),
}

/// A penalty on large weights; biases and other weights of rank 1 are spared.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PenaltySettings {
    /// λ of λ·Σ|w|. Default: 0.
    #[schemars(range(min = 0))]
    pub l1: f64,
    /// λ of λ/2·Σw². Default: 0.
    #[schemars(range(min = 0))]
    pub l2: f64,
}

/// Holds gradients in bounds: one of both.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClipSettings {
    /// The largest Euclidean norm over all weights together. Default: any.
    pub norm: Option<f64>,
    /// The largest size of a number. Default: any.
    pub value: Option<f64>,
}

fn adam() -> Optimizer {
    Optimizer::Adam(crate::engine::optimizers::Adam::default())
}

fn default_batch() -> usize {
    64
}

fn default_epochs() -> u64 {
    10
}

fn default_licence() -> String {
    "NOASSERTION".into()
}

fn default_output() -> PathBuf {
    "trained".into()
}

/// The version of the recipe format.
pub const RECIPE_VERSION: u32 = 1;

/// A recipe whose every part is known to be sound; nothing is opened yet.
#[derive(Debug)]
pub struct Recipe {
    /// The settings.
    pub settings: RecipeSettings,
    /// Where it comes from.
    pub(super) origin: RecipeOrigin,
    folder: PathBuf,
    train: Box<dyn DataFormat>,
    validation: Option<PartFormat>,
    test: Option<PartFormat>,
    model: ModelSource,
    loss: Loss,
    /// What prepares samples, where the recipe lists anything.
    chain: Option<Chain>,
    warnings: Faults,
}

/// Where a recipe comes from: for the card of what it made.
#[derive(Clone, Debug)]
pub(super) struct RecipeOrigin {
    /// The name of its file.
    pub name: String,
    /// The sum of its text.
    pub sum: Sha256,
    /// What was changed in it.
    pub changes: Vec<String>,
}

#[derive(Debug)]
enum PartFormat {
    Share(f64),
    Own(Box<dyn DataFormat>),
}

#[derive(Debug)]
enum ModelSource {
    Architecture(Box<dyn Architecture>),
    File(PathBuf),
}

/// A training that is ready to run.
pub struct Prepared {
    /// The trainer.
    pub trainer: Trainer,
    /// What is read once, at the end.
    pub test: Option<Arc<dyn DataSet>>,
    /// The names of the classes, where known.
    pub labels: Vec<String>,
    /// The tokens that texts were turned into numbers by, where there are texts.
    pub vocabulary: Vec<String>,
    /// What samples are when they reach the model, as far as it is known.
    pub format: Format,
    /// How many samples there are to train on and to compare by.
    pub samples: (usize, usize),
}

impl Recipe {
    /// Reads the recipe at `path` (a file, or a folder with `recipe.yaml`), with changes (`epochs=3`). Reports every
    /// fault at once.
    pub fn open(path: &Path, changes: &[String]) -> Result<Self, TrainError> {
        let path = if path.is_dir() { path.join("recipe.yaml") } else { path.to_owned() };
        let text = std::fs::read_to_string(&path).map_err(|error| TrainError::Output {
            path: path.display().to_string(),
            reason: format!("it cannot be read: {error}"),
        })?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Recipe::parse(&Source::new(path.display().to_string(), text), &folder, changes)?)
    }

    /// Reads a recipe; relative paths in it start at `folder`.
    pub fn parse(source: &Source, folder: &Path, changes: &[String]) -> Result<Self, Faults> {
        let mut node = parse(source)?;
        for change in changes {
            Override::parse(change)?.apply(&mut node, 0)?;
        }
        let settings: RecipeSettings = crate::config::read(&node, source)?;
        let mut faults = Faults::new();
        let mut keep = |result: Result<(), Faults>| {
            if let Err(found) = result {
                found.iter().for_each(|fault| faults.push(fault.clone()));
            }
        };
        let data = node.get("data");
        let train = part(data.and_then(|data| data.get("train")), source);
        let (mut validation, mut test) = (None, None);
        for (name, to) in [("validation", &mut validation), ("test", &mut test)] {
            let Some(node) = data.and_then(|data| data.get(name)) else { continue };
            match node.as_f64() {
                Some(share) if share > 0.0 && share < 1.0 => *to = Some(PartFormat::Share(share)),
                Some(_) => {
                    keep(Err(Fault::error("bad-share", format!("`data.{name}` is no share of the training data"))
                        .expected("a number above 0 and below 1")
                        .found(node.describe())
                        .at_node(node, source)
                        .into()))
                }
                None => match part(Some(node), source) {
                    Ok(format) => *to = Some(PartFormat::Own(format)),
                    Err(found) => keep(Err(found)),
                },
            }
        }
        let model = model_source(&node, source, folder);
        let loss = loss(&node, source);
        let mut warnings = Faults::new();
        let chain = node.get("preprocess").filter(|_| !settings.preprocess.is_empty()).map(|list| {
            let paths = Settings { base_dir: folder.to_owned(), ..Settings::default() };
            let chain = Chain::read(list, source, "preprocess", Role::Preprocess, &REGISTRY, &paths);
            node.get("model").map_or(chain.clone(), |model| chain.read_at(model, source))
        });
        if let Some(chain) = &chain {
            let from = train.as_ref().map_or(Format::Any, |train| train.format());
            let input = model.as_ref().ok().and_then(|model| model.build(settings.seed).ok()).and_then(reader);
            keep(chain.check(from, input).map(|(_, found)| warnings.extend(found)));
        }
        keep(train.as_ref().map(|_| ()).map_err(Clone::clone));
        keep(model.as_ref().map(|_| ()).map_err(Clone::clone));
        keep(loss.as_ref().map(|_| ()).map_err(Clone::clone));
        if settings.clip.norm.is_some() && settings.clip.value.is_some() {
            let fault = Fault::error("bad-clip", "`clip` has both `norm` and `value`").expected("one of them");
            let fault = node.get("clip").map_or(fault.clone(), |node| fault.at_node(node, source));
            keep(Err(fault.into()));
        }
        for (what, result) in [("optimizer", settings.optimizer.check()), ("schedule", settings.schedule.check())] {
            if let Err(error) = result {
                let fault = Fault::error("invalid-value", error.to_string());
                let fault = node.get(what).map_or(fault.clone(), |node| fault.at_node(node, source));
                keep(Err(fault.into()));
            }
        }
        match (train, model, loss) {
            (Ok(train), Ok(model), Ok(loss)) if faults.is_empty() => {
                let sum = Sha256::of(source.text().as_bytes());
                let origin = RecipeOrigin { name: source.name().to_owned(), sum, changes: changes.to_vec() };
                let folder = folder.to_owned();
                Ok(Recipe { settings, origin, folder, train, validation, test, model, loss, chain, warnings })
            }
            _ => Err(faults),
        }
    }

    /// The folder for what comes out.
    pub fn output(&self) -> PathBuf {
        self.folder.join(&self.settings.output)
    }

    /// The model that training starts from.
    pub fn model(&self) -> Result<Model, TrainError> {
        self.model.build(self.settings.seed)
    }

    /// What is doubtful in it, though it can be run.
    pub fn warnings(&self) -> &Faults {
        &self.warnings
    }

    /// Whether all inputs have one length by the settings of the training data.
    pub(super) fn is_fixed_length(&self) -> bool {
        self.train.is_fixed_length()
    }

    /// The training data as the model sees them: all samples, prepared, before any are set aside.
    pub fn train_data(&self) -> Result<Arc<dyn DataSet>, TrainError> {
        let data = Arc::from(self.train.open(&self.folder)?);
        Ok(self.preprocessed(data, &self.model()?)?.0)
    }

    /// `data` behind the recipe's stages, and what the model then gets. Formats that do not fit are faults of the recipe.
    fn preprocessed(&self, data: Arc<dyn DataSet>, model: &Model) -> Result<(Arc<dyn DataSet>, Format), TrainError> {
        let Some(chain) = &self.chain else { return Ok((data, self.train.input())) };
        let from = match data.raw(0) {
            Ok(raw) => raw.payload.format(),
            Err(error @ DataError::Setting { .. }) => return Err(error.into()),
            Err(error @ DataError::Sound(CodecError::Missing { .. })) if self.settings.max_bad == 0 => {
                return Err(error.into());
            }
            // A bad sample is counted, and may be passed over, where samples are read.
            Err(_) => self.train.format(),
        };
        let input = ModelInput::of(model);
        let channel_axis = input.as_ref().is_some_and(ModelInput::channel_axis);
        let (format, _) = chain.check(from, input.map(|input| Arc::new(input) as Arc<dyn Blueprint>))?;
        Ok((Arc::new(Preprocessed::new(data, chain.clone(), channel_axis)), format))
    }

    /// Opens the data and builds the model.
    pub fn prepare(&self) -> Result<Prepared, TrainError> {
        self.prepare_with(&self.model()?)
    }

    fn prepare_with(&self, model: &Model) -> Result<Prepared, TrainError> {
        self.open_with(model).map_err(|error| match (error, &self.settings.data.get) {
            (
                TrainError::Data(source @ (DataError::Io { .. } | DataError::Sound(CodecError::Missing { .. }))),
                Some(get),
            ) => TrainError::NoData { source, get: get.clone() },
            (error, _) => error,
        })
    }

    fn open_with(&self, model: &Model) -> Result<Prepared, TrainError> {
        let settings = &self.settings;
        let (all, format) = self.preprocessed(Arc::from(self.train.open(&self.folder)?), model)?;
        let known = Known::of(&all);
        let share = |part: &Option<PartFormat>| match part {
            Some(PartFormat::Share(share)) => *share,
            _ => 0.0,
        };
        let own = |part: &Option<PartFormat>| -> Result<Option<Arc<dyn DataSet>>, TrainError> {
            match part {
                Some(PartFormat::Own(format)) => {
                    let data = Arc::from(format.open_with(&self.folder, &known)?);
                    Ok(Some(self.preprocessed(data, model)?.0))
                }
                _ => Ok(None),
            }
        };
        let (mut validation, mut test) = (own(&self.validation)?, own(&self.test)?);
        let shares = (share(&self.validation), share(&self.test));
        let mut train = all.clone();
        if shares != (0.0, 0.0) {
            let split = Split { validation: shares.0, test: shares.1, seed: settings.seed, stratified: true };
            let parts = split.divide(&all)?;
            let subset = |indices: Vec<usize>| -> Result<Arc<dyn DataSet>, TrainError> {
                Ok(Arc::new(Subset::new(all.clone(), indices)?))
            };
            train = subset(parts.train)?;
            if shares.0 > 0.0 {
                validation = Some(subset(parts.validation)?);
            }
            if shares.1 > 0.0 {
                test = Some(subset(parts.test)?);
            }
        }
        let (labels, vocabulary) = (all.labels().to_vec(), all.vocabulary().to_vec());
        let clip = match (settings.clip.norm, settings.clip.value) {
            (Some(bound), _) => Clip::Norm(bound),
            (None, Some(bound)) => Clip::Value(bound),
            (None, None) => Clip::None,
        };
        let (loss, lengths) = match &settings.buckets {
            Some(buckets) => {
                let target = (0..all.len()).find_map(|index| all.target(index).ok());
                LengthInputs::of(model, self.loss.clone(), buckets, &target.unwrap_or(Tensor::scalar(0i64)))?
            }
            None => (self.loss.clone(), LengthInputs::default()),
        };
        let mut options = TrainingOptions::new(loss, settings.optimizer.clone())
            .schedule(settings.schedule.clone())
            .clip(clip)
            .penalty(Penalty { l1: settings.penalty.l1, l2: settings.penalty.l2 })
            .threads(settings.threads)
            .seed(settings.seed);
        for pattern in &settings.freeze {
            options = options.freeze(pattern);
        }
        let training = Training::new(model, options)?;
        let input = model.graph.free_inputs().next().map(|input| input.name.clone()).unwrap_or_default();
        let spelling = match (self.loss.blank(), all.tokens()) {
            (Some(blank), Some(cut)) => {
                expect_symbols(model, vocabulary.len())?;
                Some(Spelling { blank, tokens: vocabulary.clone(), cut })
            }
            _ => None,
        };
        let classes = self.loss.blank().is_none().then(|| classes(&all, &labels)).flatten();
        let augmenter = match settings.augment.is_empty() {
            true => None,
            false => {
                let steps = settings.augment.clone();
                Some(Arc::new(Augmenter::new(steps, settings.seed, classes.unwrap_or(0))?))
            }
        };
        let samples = (train.len(), validation.as_ref().map_or(0, |data| data.len()));
        let options = TrainerOptions {
            batch: (settings.batch > 0).then_some(settings.batch),
            seed: settings.seed,
            patience: settings.patience,
            max_bad: settings.max_bad,
            checkpoint: Some(self.output().join("checkpoint.safetensors")),
            classes,
            spelling,
            augmenter,
            buckets: settings.buckets.clone().map(Arc::new),
            lengths,
            ..TrainerOptions::new(&input, settings.batch, settings.epochs)
        };
        let trainer = Trainer::new(training, train, validation, options)?;
        Ok(Prepared { trainer, test, labels, vocabulary, format, samples })
    }

    /// Measures the model at `path` with this recipe's loss, on its test data; without, on those it is compared by, else
    /// on those it is trained on.
    pub fn evaluate(&self, path: &Path) -> Result<Evaluation, TrainError> {
        let model = Model::load(path).map_err(crate::engine::EngineError::from)?;
        let prepared = self.prepare_with(&model)?;
        let Prepared { mut trainer, test, .. } = prepared;
        let data = test.unwrap_or_else(|| trainer.comparison_data());
        trainer.evaluate(data)
    }

    /// The loss.
    pub fn loss(&self) -> &Loss {
        &self.loss
    }
}

/// Fails when the model's scores are known to be fewer than the tokens that texts are spelled with.
fn expect_symbols(model: &Model, tokens: usize) -> Result<(), TrainError> {
    let last = model.graph.outputs.first().and_then(|output| output.shape.dims()?.last()?.known());
    match last {
        Some(symbols) if symbols < tokens => Err(TrainError::Setting {
            what: "the model's symbols",
            expected: format!("at least {tokens}, as the texts have tokens (the blank and the unknown one included)"),
            found: symbols.to_string(),
        }),
        _ => Ok(()),
    }
}

/// The model's input, as what reads the last stage of `preprocess`.
fn reader(model: Model) -> Option<Arc<dyn Blueprint>> {
    Some(Arc::new(ModelInput::of(&model)?))
}

impl ModelSource {
    fn build(&self, seed: u64) -> Result<Model, TrainError> {
        match self {
            ModelSource::Architecture(architecture) => Ok(architecture.build(seed)?),
            ModelSource::File(path) => Ok(Model::load(path).map_err(crate::engine::EngineError::from)?),
        }
    }
}

/// How many classes there are, where targets are class indices.
fn classes(data: &Arc<dyn DataSet>, labels: &[String]) -> Option<usize> {
    let target: Tensor = data.target(0).ok()?;
    let highest = |target: &Tensor| target.as_slice::<i64>().ok().and_then(|classes| classes.iter().max().copied());
    highest(&target)?;
    if !labels.is_empty() {
        return Some(labels.len());
    }
    let most = (0..data.len()).filter_map(|index| data.target(index).ok().as_ref().and_then(highest)).max()?;
    usize::try_from(most).ok().map(|most| most + 1)
}

/// The one entry of a mapping.
fn single<'n>(
    node: Option<&'n Node>,
    what: &str,
    source: &Source,
) -> Result<(&'n crate::config::Key, &'n Node), Faults> {
    let Some(node) = node else {
        return Err(Fault::error("missing-key", format!("`{what}` is missing")).into());
    };
    match node.as_mapping() {
        Some([(key, value)]) => Ok((key, value)),
        _ => Err(Fault::error("invalid-value", format!("`{what}` names no single thing"))
            .expected("a mapping with one key, as in `{idx: {images: FILE, labels: FILE}}`")
            .found(node.describe())
            .at_node(node, source)
            .into()),
    }
}

fn unknown(what: &str, key: &crate::config::Key, known: &[&str], source: &Source) -> Faults {
    let help = match suggest(&key.name, known.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("there is {}", known.join(", ")),
    };
    Fault::error("unknown-kind", format!("there is no {what} `{}`", key.name)).help(help).at_key(key, source).into()
}

fn part(node: Option<&Node>, source: &Source) -> Result<Box<dyn DataFormat>, Faults> {
    let (key, value) = single(node, "data", source)?;
    match format_named(&key.name) {
        Some(format) => (format.read)(value, source),
        None => Err(unknown("data format", key, &FORMATS.iter().map(|format| format.name).collect::<Vec<_>>(), source)),
    }
}

fn model_source(node: &Node, source: &Source, folder: &Path) -> Result<ModelSource, Faults> {
    let (key, value) = single(node.get("model"), "model", source)?;
    if key.name == "onnx" {
        let Some(path) = value.as_str() else {
            let fault =
                Fault::error("invalid-value", "`model.onnx` is no path").expected("a path").found(value.describe());
            return Err(fault.at_node(value, source).into());
        };
        let path = folder.join(path);
        if !path.is_file() {
            let fault = Fault::error("missing-file", format!("there is no file {}", path.display()));
            return Err(fault.at_node(value, source).into());
        }
        return Ok(ModelSource::File(path));
    }
    match architecture_named(&key.name) {
        Some(entry) => Ok(ModelSource::Architecture((entry.read)(value, source)?)),
        None => {
            let mut known: Vec<&str> = ZOO.iter().map(|entry| entry.name).collect();
            known.push("onnx");
            Err(unknown("architecture", key, &known, source))
        }
    }
}

fn loss(node: &Node, source: &Source) -> Result<Loss, Faults> {
    let Some(node) = node.get("loss") else {
        return Err(Fault::error("missing-key", "`loss` is missing").into());
    };
    let mut settings = match crate::config::to_json(node) {
        Json::String(name) => [("kind".to_owned(), Json::String(name))].into_iter().collect(),
        Json::Object(settings) => settings,
        _ => Map::new(),
    };
    let names: Vec<&str> = LOSSES.iter().map(|loss| loss.name).collect();
    let name = settings.remove("kind");
    let Some(name) = name.as_ref().and_then(Json::as_str) else {
        let fault =
            Fault::error("missing-key", "`loss` has no `kind`").expected(format!("one of {}", names.join(", ")));
        return Err(fault.at_node(node, source).into());
    };
    let loss = Loss::new(name).and_then(|loss| loss.with_settings(&settings));
    loss.map_err(|error| {
        let fault = Fault::error("invalid-value", error.to_string()).at_node(node, source);
        match suggest(name, names.iter().copied()) {
            Some(meant) if meant != name => fault.help(format!("did you mean `{meant}`?")).into(),
            _ => fault.into(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Then;

    const XOR: &str = "percept_recipe: 1\nname: xor\ndata:\n  train: {csv: {path: xor.csv, target: class}}\n\
        model: {mlp: {inputs: [2], hidden: [8], outputs: 2}}\nloss: cross_entropy\n\
        optimizer: {kind: adam, learning_rate: 0.05}\nbatch: 0\nepochs: 300\nthreads: 1\n";

    fn faults(text: &str, changes: &[&str]) -> String {
        let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
        match Recipe::parse(&Source::new("recipe.yaml", text), Path::new("/nowhere"), &changes) {
            Ok(_) => String::new(),
            Err(faults) => faults.iter().map(|fault| format!("{}: {fault}\n", fault.place())).collect(),
        }
    }

    #[test]
    fn a_recipe_trains() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("xor.csv"), "a,b,class\n0,0,0\n0,1,1\n1,0,1\n1,1,0\n").unwrap();
        std::fs::write(folder.path().join("recipe.yaml"), XOR).unwrap();
        std::fs::create_dir(folder.path().join("trained")).unwrap();
        let recipe = Recipe::open(folder.path(), &["seed=3".into()]).unwrap();
        let mut prepared = recipe.prepare().unwrap();
        assert_eq!(prepared.samples, (4, 0));
        prepared.trainer.run(|_| Then::Continue).unwrap();
        let path = folder.path().join("model.onnx");
        prepared.trainer.training().model().save(&path).unwrap();
        let evaluation = recipe.evaluate(&path).unwrap();
        assert_eq!((evaluation.samples, evaluation.confusion.unwrap().accuracy()), (4, 1.0));
    }

    /// Two recordings at 8 kHz on two channels, and a recipe without its `preprocess`.
    fn recordings(folder: &Path) -> String {
        use crate::codec::{WavSampleFormat, WavWriter};
        for (class, hz) in [("low", 200.0), ("high", 1500.0)] {
            std::fs::create_dir(folder.join(class)).unwrap();
            let rate = crate::units::Rate::hz(8000).unwrap();
            let path = folder.join(class).join("tone.wav");
            let mut writer = WavWriter::create(&path, rate, 2, WavSampleFormat::S16).unwrap();
            let sample = |k: usize| (k as f32 / 8000.0 * hz * std::f32::consts::TAU).sin() * 0.5;
            writer.write(&(0..2400).flat_map(|k| [sample(k), 0.0]).collect::<Vec<_>>()).unwrap();
            writer.finalize().unwrap();
        }
        "percept_recipe: 1\nname: tones\ndata:\n  train: {wav_folder: {path: .}}\nmodel: {mlp: {inputs: [30, 20], hidden: \
         [4], outputs: 2}}\nloss: cross_entropy\nepochs: 1\n"
            .to_owned()
    }

    #[test]
    fn preprocess_is_checked_as_in_a_pipeline() {
        let folder = tempfile::tempdir().unwrap();
        let recipe = recordings(folder.path());
        let (mono, resample) = ("  - preprocess: mono\n", "  - preprocess: resample\n    sample_rate_hz: 16000\n");
        let features = "  - preprocess: log_mel\n    preset: kaldi\n    bands: 20\n    frames: 30\n";
        let wide = features.replace("bands: 20", "bands: 21");
        // The stages, whether the fault shows before the data are opened, what is said, and where.
        for (stages, early, says, place) in [
            (&[mono, resample, &wide][..], true, "expected: tensor f32 [30, 20] for each sample", "{mlp"),
            (&[mono, resample], true, "insert `- preprocess: log_mel` with `frames: 30` and `bands: 20`", "{mlp"),
            (&[resample, features], false, "insert `- preprocess: mono`", "log_mel"),
            (&[mono, features], false, "insert `- preprocess: resample` with `sample_rate_hz: 16000`", "log_mel"),
            (&["  - preprocess: monno\n"], true, "did you mean `mono`?", "monno"),
        ] {
            let source = Source::new("recipe.yaml", format!("{recipe}preprocess:\n{}", stages.concat()));
            let faults = match Recipe::parse(&source, folder.path(), &[]) {
                Err(faults) => {
                    assert!(early, "{stages:?}: {faults}");
                    faults
                }
                Ok(recipe) => match recipe.prepare().err() {
                    Some(TrainError::Faults(faults)) if !early => faults,
                    other => panic!("{stages:?}: {other:?}"),
                },
            };
            let fault = faults.iter().find(|fault| fault.to_string().contains(says));
            let fault = fault.unwrap_or_else(|| panic!("{stages:?}: {faults}"));
            let slice = fault.source.as_ref().unwrap().slice(fault.span.unwrap()).unwrap();
            assert!(slice.starts_with(place), "{slice}: {fault}");
        }
        let whole = format!("{recipe}preprocess:\n{mono}{resample}{features}");
        let good = Recipe::parse(&Source::new("r", whole.clone()), folder.path(), &[]).unwrap();
        assert_eq!(good.train_data().unwrap().sample(1).unwrap().input.shape(), [30, 20]);
        std::fs::create_dir(folder.path().join("trained")).unwrap();
        let mut prepared = good.prepare().unwrap();
        prepared.trainer.run(|_| Then::Continue).unwrap();
        // A rate of the loader's own would be a second way to resample.
        let changes = ["data.train.wav_folder.sample_rate_hz=8000".to_owned()];
        let twice = Recipe::parse(&Source::new("r", whole), folder.path(), &changes).unwrap();
        let error = twice.prepare().err().unwrap().to_string();
        assert!(error.contains("sample_rate_hz: expected none beside `preprocess`"), "{error}");
    }

    const WORDS: &str = "percept_recipe: 1\nname: words\ndata:\n  train: {text_lines: {path: words.tsv}}\n  \
        validation: 0.2\nmodel: {recurrent_classifier: {vocabulary: 4, classes: 2, hidden: 8, lengths: true}}\n\
        loss: cross_entropy\noptimizer: {kind: adam, learning_rate: 0.02}\nbuckets: {lengths: [3, 6, 9]}\nbatch: 8\n\
        epochs: 15\nthreads: 1\n";

    /// Lines of one to nine letters, of the class of their last letter.
    #[test]
    fn a_recipe_trains_on_texts_of_varying_lengths() {
        let folder = tempfile::tempdir().unwrap();
        let line = |i: usize| {
            let text: String = (0..1 + i % 9).map(|k| if (i >> k) & 1 == 1 { 'a' } else { 'b' }).collect();
            format!("{text}\t{}\n", if text.ends_with('a') { "A" } else { "B" })
        };
        std::fs::write(folder.path().join("words.tsv"), (1..150).map(line).collect::<String>()).unwrap();
        let recipe = |changes: &[String]| {
            Recipe::parse(&Source::new("recipe.yaml", WORDS), folder.path(), changes).unwrap().prepare()
        };
        std::fs::create_dir(folder.path().join("trained")).unwrap();
        let mut prepared = recipe(&[]).unwrap();
        prepared.trainer.run(|_| Then::Continue).unwrap();
        let last = prepared.trainer.history().last().unwrap().clone();
        assert!(last.validation_accuracy.unwrap() > 0.95, "{last:?}");
        for (change, expected) in [
            ("model.recurrent_classifier.lengths=false", "expected a model with an input `lengths`"),
            ("buckets.lengths=[3, 2]", "buckets.lengths: expected ascending bounds"),
        ] {
            let error = recipe(&[change.into()]).err().unwrap().to_string();
            assert!(error.contains(expected), "{change}: {error}");
        }
    }

    #[test]
    fn every_fault_is_reported_at_once_with_its_place() {
        assert_eq!(faults(XOR, &[]), "");
        let bad = XOR.replace("csv:", "cvs:").replace("mlp:", "mpl:").replace("cross_entropy", "cross_entrpy");
        let found = faults(&bad, &[]);
        for part in ["did you mean `csv`", "did you mean `mlp`", "did you mean `cross_entropy`"] {
            assert!(found.contains(part) || found.contains("cross_entrpy"), "{part}: {found}");
        }
        assert_eq!(found.lines().filter(|line| line.starts_with("recipe.yaml")).count(), 3, "{found}");
        for (change, part) in [
            ("epoch=3", "epoch"),
            ("optimizer.kind=adm", "adm"),
            ("optimizer.learning_rate=0", "learning_rate: expected a number above 0"),
            ("data.validation=1.5", "no share"),
            ("batch=-1", "batch"),
            ("percept_recipe=2", "percept_recipe"),
            ("model.mlp.hiden=[3]", "hiden"),
            ("preprocess=[{preprocess: mono}]", "`mono` cannot read this"),
            ("preprocess=[{preprocess: normalise}]", "did you mean `normalize`?"),
            ("preprocess=[{sink: jsonl}]", "a sink cannot stand in `preprocess`"),
            ("preprocess=3", "preprocess"),
        ] {
            let found = faults(XOR, &[change]);
            assert!(found.contains(part), "{change}: {found}");
        }
    }
}
