//! From what a pipeline writes after `model:` to a card or a file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::config::suggest;

use super::builtin::{BUILT_IN, NOT_INCLUDED};
use super::card::{CARD_FILE, Card};
use super::error::CardError;

/// The folder beside a pipeline file where a user's own cards are.
pub const MODELS_FOLDER: &str = "models";

/// What a `model:` means.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Model {
    /// A model with a card.
    Card(Box<Card>),
    /// A model file without one.
    File(PathBuf),
}

/// What `model` means in a pipeline file that lies in `base`.
///
/// A text with a path separator or the extension of a model file is a path, relative to `base`: of a folder with a card, or of a
/// model file, whose card is the `card.yaml` beside it if that names the file. Any other is the name of a card: of one in
/// `base/models`, else of a built-in one.
pub fn find(model: &str, base: &Path) -> Result<Model, CardError> {
    if is_path(model) {
        return find_path(&base.join(model));
    }
    let own = base.join(MODELS_FOLDER).join(model);
    // The name of a folder that is not a card's, such as `models/x` with weights only, must not hide a built-in card.
    if !model.is_empty() && own.join(CARD_FILE).is_file() {
        return Card::open(&own).map(|card| Model::Card(Box::new(card)));
    }
    match Card::built_in(model) {
        Some(card) => card.map(|card| Model::Card(Box::new(card))),
        None if NOT_INCLUDED.contains(&model) => Err(CardError::NotIncluded { name: model.to_owned() }),
        None => {
            let mut known: Vec<String> = BUILT_IN.iter().map(|card| card.name.to_owned()).collect();
            known.extend(own_folders(base).into_keys());
            known.sort();
            known.dedup();
            let suggestion = suggest(model, known.iter().map(String::as_str));
            Err(CardError::Unknown { name: model.to_owned(), known, suggestion })
        }
    }
}

/// Every card there is for pipelines in `base`: the user's own in `base/models`, and the built-in ones that they don't replace, by
/// name. A card that is refused does not hide the others.
pub fn list(base: &Path) -> BTreeMap<String, Result<Card, CardError>> {
    let own = own_folders(base).into_iter().map(|(name, folder)| (name, Card::open(&folder)));
    let mut cards: BTreeMap<_, _> = own.collect();
    for card in BUILT_IN {
        if let Some(read) = Card::built_in(card.name) {
            cards.entry(card.name.to_owned()).or_insert(read);
        }
    }
    cards
}

/// The folders in `base/models` that hold a card, by their names.
fn own_folders(base: &Path) -> BTreeMap<String, PathBuf> {
    let Ok(entries) = fs::read_dir(base.join(MODELS_FOLDER)) else {
        return BTreeMap::new();
    };
    let folders = entries.flatten().filter(|entry| entry.path().join(CARD_FILE).is_file());
    folders.filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path()))).collect()
}

fn is_path(model: &str) -> bool {
    let model_file = [".onnx", ".ort"].iter().any(|end| model.to_ascii_lowercase().ends_with(end));
    model_file || model.contains(['/', '\\']) || matches!(model, "." | "..")
}

fn find_path(path: &Path) -> Result<Model, CardError> {
    if path.is_dir() {
        return Card::open(path).map(|card| Model::Card(Box::new(card)));
    }
    if !path.is_file() {
        return Err(CardError::NoFile { path: path.to_owned() });
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    if folder.join(CARD_FILE).is_file() {
        let card = Card::open(folder)?;
        let names_it = card.spec().files.values().any(|file| file.from.is_none() && folder.join(&file.path) == path);
        if names_it {
            return Ok(Model::Card(Box::new(card)));
        }
    }
    Ok(Model::File(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::cache::Located;
    use super::super::testing::Place;
    use super::*;

    #[test]
    fn what_model_may_mean() {
        let place = Place::new();
        let base = place.folder.path();
        fs::create_dir_all(base.join("models/own")).unwrap();
        let own = "percept_card: 1\nname: own\nkind: onnx\nsummary: s\nlicence: MIT\nsource: {text: t}\n\
                   files: {model: {path: own.onnx}}\nconfig: {threads: 2}\n";
        fs::write(base.join("models/own/card.yaml"), own).unwrap();
        fs::write(base.join("models/own/own.onnx"), "x").unwrap();
        fs::write(base.join("models/own/another.onnx"), "x").unwrap();
        fs::create_dir_all(base.join("models/silero-vad")).unwrap();

        let cases: [(&str, Result<&str, &str>); 13] = [
            ("own", Ok("card own")),
            ("models/own", Ok("card own")),
            ("./models/own/", Ok("card own")),
            ("models/own/own.onnx", Ok("card own")),
            ("models/own/another.onnx", Ok("file models/own/another.onnx")),
            ("small", Err("no model named `small`")),
            ("./small", Ok("card small")),
            ("silero-vad", Ok("card silero-vad")),
            ("silero-vat", Err("did you mean `silero-vad`?")),
            ("absent.onnx", Err("found nothing there")),
            ("efficientnet-lite0", Err("copy the folder models/efficientnet-lite0")),
            ("./cache-of-none", Err("found nothing there")),
            ("", Err("known: blazeface, moonshine-tiny")),
        ];
        for (model, expected) in cases {
            let found = match find(model, base) {
                Ok(Model::Card(card)) => Ok(format!("card {}", card.name())),
                Ok(Model::File(path)) => Ok(format!("file {}", path.strip_prefix(base).unwrap().display())),
                Err(error) => Err(error.to_string()),
            };
            match (&found, expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{model}"),
                (Err(error), Err(says)) => assert!(error.contains(says), "{model}: {error}"),
                _ => panic!("{model}: {found:?}"),
            }
        }
        let names: Vec<_> = list(base).into_keys().collect();
        assert_eq!(names, ["blazeface", "moonshine-tiny", "onnxruntime", "own", "selfie-segmentation", "silero-vad"]);

        let Model::Card(card) = find("own", base).unwrap() else { panic!("no card") };
        assert_eq!(card.config().and_then(|config| config.get("threads")).and_then(|node| node.as_i64()), Some(2));
        assert_eq!(card.locate("model", &place.cache).unwrap(), Located::Ready(base.join("models/own/own.onnx")));
        let message = card.locate("words", &place.cache).unwrap_err().to_string();
        assert!(message.contains("no file of the role `words`; it has: model"), "{message}");
        fs::remove_file(base.join("models/own/own.onnx")).unwrap();
        let message = card.locate("model", &place.cache).unwrap_err().to_string();
        assert!(message.contains("own.onnx, which is not there"), "{message}");
    }
}
