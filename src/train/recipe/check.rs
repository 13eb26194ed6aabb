//! From the text of a recipe to a sound one: every fault at once, each with its place.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::{PartFormat, Recipe, RecipeOrigin, RecipeSettings, initial};
use crate::cards::Sha256;
use crate::config::{Fault, Faults, Key, Node, Override, Source, parse, suggest};
use crate::engine::losses::LOSSES;
use crate::engine::{Initializer, Loss, Network, matches};
use crate::media::Format;
use crate::onnx::Model;
use crate::pipeline::Chain;
use crate::stage::{Blueprint, Role, Settings};
use crate::stages::REGISTRY;
use crate::train::data::{DataFormat, FORMATS, format_named};
use crate::train::model_input::ModelInput;
use crate::train::trainer::fixed_batch;
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
        let data = node.get("data");
        let train = part(data.and_then(|data| data.get("train")), source);
        let mut aside = |name| match data.and_then(|data| data.get(name)).filter(|node| !node.is_null()) {
            Some(node) => kept(set_aside(name, node, source).map(Some), &mut faults).flatten(),
            None => None,
        };
        let (validation, test) = (aside("validation"), aside("test"));
        let model = model(&node, &settings, source, folder);
        let mut warnings = Faults::new();
        let chain = node.get("preprocess").filter(|_| !settings.preprocess.is_empty()).map(|list| {
            let paths = Settings { base_dir: folder.to_owned(), ..Settings::default() };
            let chain = Chain::read(list, source, "preprocess", Role::Preprocess, &REGISTRY, &paths);
            node.get("model").map_or(chain.clone(), |model| chain.read_at(model, source))
        });
        if let Some(chain) = &chain {
            let from = train.as_ref().map_or(Format::Any, |train| train.format());
            let input = model.as_ref().ok().and_then(ModelInput::of).map(|input| Arc::new(input) as Arc<dyn Blueprint>);
            if let Some((_, found)) = kept(chain.check(from, input), &mut faults) {
                warnings.extend(found);
            }
        }
        let train = kept(train, &mut faults);
        let model = kept(model, &mut faults);
        let loss = kept(loss(&node, source), &mut faults);
        faults.extend(values(&node, &settings, source));
        if let Some(model) = &model {
            faults.extend(fit(&node, &settings, model, source));
        }
        match (train, model, loss) {
            (Some(train), Some(model), Some(loss)) if faults.is_empty() => {
                let sum = Sha256::of(source.text().as_bytes());
                let origin = RecipeOrigin { name: source.name().to_owned(), sum, changes: changes.to_vec() };
                let (folder, source) = (folder.to_owned(), source.clone());
                Ok(Recipe {
                    settings,
                    origin,
                    folder,
                    train,
                    validation,
                    test,
                    model,
                    loss,
                    chain,
                    warnings,
                    node,
                    source,
                })
            }
            _ => Err(faults),
        }
    }
}

/// What there is, its faults kept.
fn kept<T>(result: Result<T, Faults>, faults: &mut Faults) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(found) => {
            faults.extend(found);
            None
        }
    }
}

/// A fault at the value of a key, where it is there.
fn at(fault: Fault, node: &Node, keys: &[&str], source: &Source) -> Fault {
    match keys.iter().try_fold(node, |node, key| node.get(key)) {
        Some(node) => fault.at_node(node, source),
        None => fault.in_source(source),
    }
}

/// What each value of the settings must be, beyond its type.
fn values(node: &Node, settings: &RecipeSettings, source: &Source) -> Faults {
    let mut faults = Faults::new();
    let has = |key: &str| node.get(key).is_some_and(|node| !node.is_null());
    if settings.clip.norm.is_some() && settings.clip.value.is_some() {
        let fault = Fault::error("bad-clip", "`clip` has both `norm` and `value`").expected("one of them");
        faults.push(at(fault, node, &["clip"], source));
    }
    for (key, bound) in [("norm", settings.clip.norm), ("value", settings.clip.value)] {
        if let Some(bound) = bound.filter(|bound| !(bound.is_finite() && *bound > 0.0)) {
            let fault = Fault::error("invalid-value", format!("`clip.{key}` is no bound")).expected("a number above 0");
            faults.push(at(fault.found(bound.to_string()), node, &["clip", key], source));
        }
    }
    for (pattern, rate) in &settings.rates {
        if !(rate.is_finite() && *rate >= 0.0) {
            let fault = Fault::error("invalid-value", format!("the rate of `{pattern}` is no factor"))
                .expected("a number that is not negative")
                .found(rate.to_string());
            faults.push(at(fault, node, &["rates", pattern], source));
        }
    }
    if let Some(Initializer::Uniform(spread) | Initializer::Normal(spread)) = settings.initializer
        && !(spread.is_finite() && spread >= 0.0)
    {
        let fault = Fault::error("invalid-value", "`initializer` spreads nothing")
            .expected("a number that is not negative")
            .found(spread.to_string());
        faults.push(at(fault, node, &["initializer"], source));
    }
    if settings.initializer.is_some() && settings.model.contains_key("onnx") {
        let fault = Fault::error("bad-initializer", "`initializer` beside a file, whose weights are there already")
            .help("leave it out, or name an architecture under `model`");
        faults.push(at(fault, node, &["initializer"], source));
    }
    if has("steps") && has("epochs") {
        let fault = Fault::error("bad-steps", "`steps` and `epochs` both say when the training ends")
            .expected("one of them")
            .help("`--set epochs=null` takes the other out");
        faults.push(at(fault, node, &["steps"], source));
    }
    if settings.patience.is_some() && settings.data.validation.is_none() {
        let fault = Fault::error("bad-patience", "`patience` without `data.validation` stops nothing")
            .expected("data by which models are compared while they train: `validation: 0.1` under `data`");
        faults.push(at(fault, node, &["patience"], source));
    }
    for (what, result) in [("optimizer", settings.optimizer.check()), ("schedule", settings.schedule.check())] {
        if let Err(error) = result {
            faults.push(at(Fault::error("invalid-value", error.to_string()), node, &[what], source));
        }
    }
    faults
}

/// What must fit the model: the size of minibatches, and the names of weights.
fn fit(node: &Node, settings: &RecipeSettings, model: &Model, source: &Source) -> Faults {
    let mut faults = Faults::new();
    let network = match Network::new(model) {
        Ok(network) => network,
        Err(error) => {
            faults.push(at(Fault::error("bad-model", error.to_string()), node, &["model"], source));
            return faults;
        }
    };
    let input = model.graph.free_inputs().next().map(|input| input.name.as_str()).unwrap_or_default();
    if let (Some(batch), Some(fixed)) = (settings.batch, fixed_batch(model, input))
        && batch != fixed
    {
        let fault = Fault::error("bad-batch", format!("the model's input `{input}` is fixed at another batch"))
            .expected(format!("`batch: {fixed}`, or none"))
            .found(batch.to_string());
        faults.push(at(fault, node, &["batch"], source));
    }
    let weights: Vec<&str> = network.weights().map(|(name, _)| name).collect();
    let mut expect = |pattern: &str, place: &dyn Fn(Fault) -> Fault| {
        if weights.iter().any(|name| matches(pattern, name)) {
            return;
        }
        let help = match suggest(pattern, weights.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => {
                let (shown, more) = (&weights[..weights.len().min(12)], weights.len().saturating_sub(12));
                let more = if more > 0 { format!(", and {more} more") } else { String::new() };
                format!("there is {}{more}", shown.join(", "))
            }
        };
        faults.push(place(Fault::error("unknown-weight", format!("no weight matches `{pattern}`")).help(help)));
    };
    for item in node.get("freeze").and_then(Node::as_sequence).unwrap_or_default() {
        if let Some(pattern) = item.as_str() {
            expect(pattern, &|fault| fault.at_node(item, source));
        }
    }
    for key in ["rates", "penalties"] {
        for (pattern, _) in node.get(key).and_then(Node::as_mapping).unwrap_or_default() {
            expect(&pattern.name, &|fault| fault.at_key(pattern, source));
        }
    }
    faults
}

/// A share of the training data, or data of its own.
fn set_aside(name: &str, node: &Node, source: &Source) -> Result<PartFormat, Faults> {
    match node.as_f64() {
        Some(share) if share > 0.0 && share < 1.0 => Ok(PartFormat::Share(share)),
        Some(_) => Err(Fault::error("bad-share", format!("`data.{name}` is no share of the training data"))
            .expected("a number above 0 and below 1")
            .found(node.describe())
            .at_node(node, source)
            .into()),
        None => part(Some(node), source).map(PartFormat::Own),
    }
}

/// The one entry of a mapping.
fn single<'n>(node: Option<&'n Node>, what: &str, source: &Source) -> Result<(&'n Key, &'n Node), Faults> {
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

/// The model that training starts from.
fn model(node: &Node, settings: &RecipeSettings, source: &Source, folder: &Path) -> Result<Model, Faults> {
    let (key, value) = single(node.get("model"), "model", source)?;
    let bad = |error: String| -> Faults { Fault::error("bad-model", error).at_node(value, source).into() };
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
        return Model::load(path).map_err(|error| bad(error.to_string()));
    }
    let Some(entry) = architecture_named(&key.name) else {
        let mut known: Vec<&str> = ZOO.iter().map(|entry| entry.name).collect();
        known.push("onnx");
        return Err(unknown("architecture", key, &known, source));
    };
    let mut model = (entry.read)(value, source)?.build(settings.seed).map_err(|error| bad(error.to_string()))?;
    if let Some(initializer) = settings.initializer {
        initial::fill(&mut model, initializer, settings.seed);
    }
    Ok(model)
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
