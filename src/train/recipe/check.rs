//! From the text of a recipe to a sound one: every fault at once, each with its place.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::{ModelSource, PartFormat, Recipe, RecipeOrigin, RecipeSettings};
use crate::cards::Sha256;
use crate::config::{Fault, Faults, Key, Node, Override, Source, parse, suggest};
use crate::engine::Loss;
use crate::engine::losses::LOSSES;
use crate::media::Format;
use crate::onnx::Model;
use crate::pipeline::Chain;
use crate::stage::{Blueprint, Role, Settings};
use crate::stages::REGISTRY;
use crate::train::data::{DataFormat, FORMATS, format_named};
use crate::train::model_input::ModelInput;
use crate::zoo::{ZOO, architecture_named};

impl Recipe {
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
        if settings.patience.is_some() && settings.data.validation.is_none() {
            let fault = Fault::error("bad-patience", "`patience` without `data.validation` stops nothing")
                .expected("data by which models are compared while they train: `validation: 0.1` under `data`");
            let fault = node.get("patience").map_or(fault.clone(), |node| fault.at_node(node, source));
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
}

/// The model's input, as what reads the last stage of `preprocess`.
fn reader(model: Model) -> Option<Arc<dyn Blueprint>> {
    Some(Arc::new(ModelInput::of(&model)?))
}

/// The one entry of a mapping.
fn single<'n>(
    node: Option<&'n Node>,
    what: &str,
    source: &Source,
) -> Result<(&'n Key, &'n Node), Faults> {
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

fn unknown(what: &str, key: &Key, known: &[&str], source: &Source) -> Faults {
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
