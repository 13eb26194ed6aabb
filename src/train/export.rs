//! What a training leaves behind: the model, its names, and the card by which a pipeline runs it.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json, json};

use super::data::{Sample, Vocabulary, collate};
use super::{Evaluation, Prepared, Recipe, TrainError};
use crate::cards::{CARD_FILE, Exactness, Sha256, VERSION};
use crate::config::to_yaml;
use crate::engine::EngineError;
use crate::files;
use crate::media::Format;
use crate::onnx::{Model, ValueInfo};
use crate::stages::decoder::Tokens;
use crate::tensor::{DType, Dim, Tensor};

/// The files that [`Recipe::export`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// The model, `model.onnx`.
    pub model: PathBuf,
    /// Its card, `card.yaml`: with it a pipeline names the folder, `model: FOLDER`.
    pub card: PathBuf,
    /// The names of the classes, one a line, `labels.txt`; without such the tokens of texts, `tokens.txt`, which is also
    /// there where there are both.
    pub names: Option<PathBuf>,
}

/// The model that a training made, in the output folder of its recipe.
pub const MODEL_FILE: &str = "model.onnx";
/// The names of the classes beside a model, one a line.
pub(super) const LABELS_FILE: &str = "labels.txt";
/// The tokens of texts beside a model, one a line.
pub(super) const TOKENS_FILE: &str = "tokens.txt";

/// Most that batched results may differ from those alone, in parts of the largest magnitude; at least 1 counts.
const EXACT: f64 = 1e-5;
/// Samples that are tried in one batch and alone.
const TRIED: usize = 3;

impl Recipe {
    /// Writes the model as it is now to the recipe's [`output`](Self::output) folder, which must be there, with the
    /// names of its classes or tokens and with its card. The card says what trained it, in words with `result`, which
    /// stages prepared its samples, and what they were like. `batch: exact` stands in it when samples that are run
    /// together gave what each gives alone. Each file is written whole or not at all, the card last.
    pub fn export(&self, prepared: &mut Prepared, result: Option<&Evaluation>) -> Result<Exported, TrainError> {
        let folder = self.output();
        let mut model = prepared.trainer.training().model();
        model.doc_string.clone_from(&self.settings.summary);
        let path = folder.join(MODEL_FILE);
        model.save(&path).map_err(EngineError::from)?;
        let mut files = Map::new();
        files.insert("model".into(), file(&path)?);

        let (role, names, count) = match (prepared.labels.as_slice(), prepared.vocabulary.as_slice()) {
            ([], []) => ("", None, 0),
            ([], tokens) => {
                let path = folder.join(TOKENS_FILE);
                Vocabulary::from_tokens(tokens.to_vec())?.save(&path)?;
                ("tokens", Some(path), tokens.len())
            }
            (labels, tokens) => {
                if !tokens.is_empty() {
                    let path = folder.join(TOKENS_FILE);
                    Vocabulary::from_tokens(tokens.to_vec())?.save(&path)?;
                    files.insert("tokens".into(), file(&path)?);
                }
                let path = folder.join(LABELS_FILE);
                write(&path, &listed(labels, &path)?)?;
                ("labels", Some(path), labels.len())
            }
        };
        if let Some(names) = &names {
            files.insert(role.into(), file(names)?);
        }

        let samples = samples(prepared);
        let mut card = Map::new();
        let mut put = |key: &str, value: Json| {
            card.insert(key.into(), value);
        };
        put("percept_card", json!(VERSION));
        put("name", json!(card_name(&self.settings.name)));
        put("kind", json!("onnx"));
        put("summary", json!(self.card_summary()));
        put("licence", json!(self.settings.licence));
        put("source", json!({"text": self.made_by(prepared, result)}));
        put("files", Json::Object(files));
        put("ports", json!({"model": ports(&model)}));
        put("batch", json!(batch(prepared, &samples).to_string()));
        // Nothing was tried with padded inputs, so nothing is promised of them.
        put("padding", json!(Exactness::Never.to_string()));
        if names.is_some() && names_outputs(&model, count) {
            put("labels", json!({"file": role, "size": count}));
        }
        let facts = self.facts(prepared, &samples);
        if !facts.is_empty() {
            put("preprocess", Json::Object(facts));
        }
        let path_of_card = folder.join(CARD_FILE);
        write(&path_of_card, &to_yaml(&Json::Object(card)))?;
        Ok(Exported { model: path, card: path_of_card, names })
    }

    fn card_summary(&self) -> String {
        match self.settings.summary.trim() {
            "" => format!("What the recipe {} trained.", self.settings.name),
            summary => summary.to_owned(),
        }
    }

    /// What made the model, so that it can be made again.
    fn made_by(&self, prepared: &Prepared, result: Option<&Evaluation>) -> String {
        let origin = &self.origin;
        let file = Path::new(&origin.name).file_name().map_or("recipe.yaml".into(), |name| name.to_string_lossy());
        let history = prepared.trainer.history();
        let steps = history.last().map_or(0, |epoch| epoch.steps);
        let mut text = format!(
            "Trained by percept {} with the recipe {} ({file}, SHA-256 {}), seed {}: {} epochs, {steps} steps.",
            env!("CARGO_PKG_VERSION"),
            self.settings.name,
            origin.sum,
            self.settings.seed,
            history.len(),
        );
        if !origin.changes.is_empty() {
            text.push_str(&format!(" Changed: {}.", origin.changes.join(", ")));
        }
        if let Some(result) = result {
            text.push_str(&format!(" Test data: {result}."));
        }
        text
    }

    /// What the model expects of its input.
    fn facts(&self, prepared: &Prepared, samples: &[Sample]) -> Map<String, Json> {
        let mut facts = Map::new();
        if let Format::Audio { sample_rate, channels } = &prepared.format {
            if let Some(hz) = sample_rate.map(|rate| rate.as_hz()).filter(|hz| hz.fract() == 0.0) {
                facts.insert("sample_rate_hz".into(), json!(hz as u64));
            }
            facts.extend(channels.map(|channels| ("channels".to_owned(), json!(channels))));
            let length = samples.first().and_then(|sample| sample.input.shape().last().copied());
            if let Some(length) = length.filter(|_| self.is_fixed_length()) {
                facts.insert("window_samples".into(), json!(length));
            }
        }
        if !self.settings.preprocess.is_empty() {
            facts.insert("stages".into(), json!(self.settings.preprocess));
        }
        facts
    }
}

/// A few samples that can be run together.
fn samples(prepared: &Prepared) -> Vec<Sample> {
    let data = prepared.trainer.comparison_data();
    let mut found: Vec<Sample> = Vec::new();
    // Bad samples and such of another length are passed over; far into the data nobody looks for better ones.
    for sample in (0..data.len().min(8 * TRIED)).filter_map(|index| data.sample(index).ok()) {
        let joins = |first: &Sample| {
            (first.input.shape(), first.target.shape()) == (sample.input.shape(), sample.target.shape())
        };
        if found.first().is_none_or(joins) {
            found.push(sample);
        }
        if found.len() == TRIED {
            break;
        }
    }
    found
}

/// Whether samples in one run give what each gives alone.
fn batch(prepared: &mut Prepared, samples: &[Sample]) -> Exactness {
    if samples.len() < 2 {
        return Exactness::Never;
    }
    let input = prepared.trainer.input().to_owned();
    let training = prepared.trainer.training();
    let mut run = |samples: &[Sample]| -> Option<Vec<Tensor>> {
        let (inputs, _) = collate(samples).ok()?;
        training.run(&[(input.as_str(), &inputs)]).ok()
    };
    let together = run(samples);
    let alone: Option<Vec<Vec<Tensor>>> = samples.iter().map(|sample| run(std::slice::from_ref(sample))).collect();
    let (Some(together), Some(alone)) = (together, alone) else { return Exactness::Never };
    let equal = together.iter().enumerate().all(|(output, together)| {
        let parts: Option<Vec<&Tensor>> = alone.iter().map(|outputs| outputs.get(output)).collect();
        let joined = parts.map(|parts| parts.into_iter().cloned().collect::<Vec<_>>());
        joined.and_then(|parts| Tensor::concat(&parts, 0).ok()).is_some_and(|alone| is_near(together, &alone))
    });
    if equal { Exactness::Exact } else { Exactness::Never }
}

/// Whether all numbers are as good as equal.
fn is_near(a: &Tensor, b: &Tensor) -> bool {
    let wide = |tensor: &Tensor| -> Option<Vec<f64>> {
        match tensor.dtype() {
            DType::F32 => Some(tensor.as_slice::<f32>().ok()?.iter().map(|value| f64::from(*value)).collect()),
            DType::F64 => Some(tensor.as_slice::<f64>().ok()?.to_vec()),
            _ => None,
        }
    };
    if a.shape() != b.shape() || a.dtype() != b.dtype() {
        return false;
    }
    let (Some(a_wide), Some(b_wide)) = (wide(a), wide(b)) else { return a == b };
    let largest = b_wide.iter().fold(1.0, |largest: f64, value| largest.max(value.abs()));
    a_wide.iter().zip(&b_wide).all(|(a, b)| (a - b).abs() <= EXACT * largest)
}

/// The ports as a card has them.
fn ports(model: &Model) -> Json {
    let all = |values: &[&ValueInfo]| -> Vec<Json> { values.iter().filter_map(|value| port(value)).collect() };
    let inputs: Vec<&ValueInfo> = model.graph.free_inputs().collect();
    let outputs: Vec<&ValueInfo> = model.graph.outputs.iter().collect();
    json!({"inputs": all(&inputs), "outputs": all(&outputs)})
}

fn port(value: &ValueInfo) -> Option<Json> {
    let mut port = Map::new();
    port.insert("name".into(), json!(value.name));
    port.insert("dtype".into(), json!(value.dtype?.name()));
    if let Some(dims) = value.shape.dims() {
        let dim = |dim: &Dim| match dim {
            Dim::Known(size) => json!(size),
            Dim::Symbol(name) => json!(&**name),
            Dim::Any => json!("?"),
        };
        port.insert("shape".into(), dims.iter().map(dim).collect());
    }
    Some(Json::Object(port))
}

/// Whether so many names can be those of the first output's last axis.
fn names_outputs(model: &Model, count: usize) -> bool {
    let last = model.graph.outputs.first().and_then(|output| output.shape.dims()?.last());
    count > 0 && last.is_some_and(|last| last.known().is_none_or(|size| size == count))
}

/// A name that a card may have: small letters, digits, `-`, `_` and `.`.
fn card_name(name: &str) -> String {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.');
    let name = name.to_lowercase().replace(|c: char| !allowed(c), "-");
    match name.trim_start_matches(['.', '-']) {
        "" => "model".into(),
        name => name.chars().take(100).collect(),
    }
}

/// A file of the card, with its sum and size.
fn file(path: &Path) -> Result<Json, TrainError> {
    let (sum, bytes) = Sha256::of_file(path, &mut |_| true).map_err(|error| fault(path, &error))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(json!({"path": name, "sha256": sum.to_string(), "bytes": bytes}))
}

/// Names as the pipeline's decoders read them: one a line, and its number behind it where the names alone would pass for
/// numbered ones (`cat 1`, `dog 0`).
fn listed(names: &[String], path: &Path) -> Result<String, TrainError> {
    let is_read_back = |text: &str| {
        let read = Tokens::from_text(text);
        read.len() == names.len()
            && (0..).zip(names).all(|(at, name)| read.get(at).is_some_and(|read| **read == **name))
    };
    let plain = format!("{}\n", names.join("\n"));
    if is_read_back(&plain) {
        return Ok(plain);
    }
    let numbered: String = names.iter().enumerate().map(|(number, name)| format!("{name} {number}\n")).collect();
    if is_read_back(&numbered) {
        return Ok(numbered);
    }
    let reason = "a name of a class has a line break in it; give the classes names of one line".to_owned();
    Err(TrainError::Output { path: path.display().to_string(), reason })
}

fn write(path: &Path, text: &str) -> Result<(), TrainError> {
    Ok(files::replace(path, text.as_bytes())?)
}

fn fault(path: &Path, error: &std::io::Error) -> TrainError {
    TrainError::Output { path: path.display().to_string(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model whose result depends on what else is in its batch, if `mixes`.
    fn model(mixes: bool) -> Model {
        use crate::engine::{Builder, Dense};
        let mut graph = Builder::new("centred", 1);
        let x = graph.input("x", DType::F32, &[None, Some(2)]).unwrap();
        let axes = graph.constant("axes", Tensor::from_vec(vec![if mixes { 0i64 } else { 1 }])).unwrap();
        let mean = graph.node("ReduceMean", &[&x, &axes], &[]).unwrap();
        let centred = graph.node("Sub", &[&x, &mean], &[]).unwrap();
        let y = Dense::new("out", 2).apply(&mut graph, &centred).unwrap();
        graph.output("y", &y).unwrap();
        graph.finish()
    }

    #[test]
    fn names_are_read_back_as_they_are() {
        let listed = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            listed(&names, Path::new("labels.txt"))
        };
        for (names, text) in [
            (&["cat", "dog"][..], "cat\ndog\n"),
            (&["digit 0", "digit 1"], "digit 0 0\ndigit 1 1\n"),
            (&["cat 1", "dog 0"], "cat 1 0\ndog 0 1\n"),
            (&["take 3", "dog 0"], "take 3\ndog 0\n"),
            (&["", "a b"], "\na b\n"),
        ] {
            assert_eq!(listed(names).unwrap(), text, "{names:?}");
        }
        assert!(listed(&["a\nb", "c"]).unwrap_err().to_string().contains("line break"));
    }

    #[test]
    fn a_card_promises_only_what_was_tried() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("t.csv"), "a,b,class\n0,0,no\n0,1,yes\n1,0,yes\n").unwrap();
        std::fs::create_dir(folder.path().join("trained")).unwrap();
        for (mixes, expected) in [(false, Exactness::Exact), (true, Exactness::Never)] {
            model(mixes).save(folder.path().join("model.onnx")).unwrap();
            let text = "percept_recipe: 1\nname: centred\ndata: {train: {csv: {path: t.csv, target: class}}}\nmodel: \
                        {onnx: model.onnx}\nloss: cross_entropy\nthreads: 1\n";
            std::fs::write(folder.path().join("recipe.yaml"), text).unwrap();
            let recipe = Recipe::open(folder.path(), &[]).unwrap();
            let exported = recipe.export(&mut recipe.prepare().unwrap(), None).unwrap();
            assert_eq!(exported.names, Some(folder.path().join("trained/labels.txt")));
            let card = crate::cards::Card::open(&folder.path().join("trained")).unwrap();
            let spec = card.spec();
            assert_eq!((spec.batch, spec.licence.as_str()), (expected, "NOASSERTION"), "mixes: {mixes}");
            assert_eq!(spec.summary, "What the recipe centred trained.");
            assert!(spec.preprocess.is_none() && spec.labels.as_ref().is_some_and(|labels| labels.size == 2));
            let sum = spec.files["model"].sha256.unwrap();
            assert_eq!(sum, Sha256::of(&std::fs::read(exported.model).unwrap()));
        }
    }

    #[test]
    fn names_of_cards() {
        for (name, expected) in
            [("digits", "digits"), ("My Model 2", "my-model-2"), ("", "model"), ("..", "model"), ("Ünï", "n-")]
        {
            let found = card_name(name);
            assert_eq!(found, expected, "{name}");
        }
        assert_eq!(card_name(&"a".repeat(300)).len(), 100);
    }

    #[test]
    fn numbers_that_are_as_good_as_equal() {
        let tensor = |values: &[f32]| Tensor::from_vec(values.to_vec());
        for (a, b, near) in [
            (tensor(&[1.0, 100.0]), tensor(&[1.0005, 100.0]), true),
            (tensor(&[1.0, 100.0]), tensor(&[1.01, 100.0]), false),
            (tensor(&[0.0]), tensor(&[0.00001]), true),
            (tensor(&[f32::NAN]), tensor(&[f32::NAN]), false),
            (tensor(&[1.0]), tensor(&[1.0, 2.0]), false),
            (Tensor::from_vec(vec![1i64]), Tensor::from_vec(vec![1i64]), true),
            (Tensor::from_vec(vec![1i64]), Tensor::from_vec(vec![2i64]), false),
        ] {
            assert_eq!(is_near(&a, &b), near, "{a:?} {b:?}");
        }
    }
}
