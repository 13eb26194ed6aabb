//! What a stage's `model:` means on this machine: a card and its files, or a file alone.

use std::path::{Path, PathBuf};

use crate::cards::{self, Cache, Card, CardError, Located, Model};
use crate::config::{Fault, Faults, Source, Span};
use crate::media::Classes;
use crate::stage::ReadContext;

/// The role of a card's file that holds the one graph of a model.
pub const GRAPH_ROLE: &str = "model";

/// A model as a pipeline names it: a card with its files, or one file without a card.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    model: Model,
    /// `None`: this user has no cache folder. It matters only for a card's files.
    cache: Option<Cache>,
    /// The role of the file that the pipeline names by its path.
    named: Option<String>,
    /// What to type to fetch what this pipeline needs.
    setup: String,
    span: Span,
    source: Source,
}

impl ModelFiles {
    /// Finds what the stage's `model` key means. Fails with `unknown-model` where it is nothing.
    pub fn find(context: &ReadContext<'_>) -> Result<ModelFiles, Faults> {
        let place = context.model.unwrap_or(context.node);
        let fault = |message: String| Fault::error("unknown-model", message).at_node(place, context.source);
        let Some(text) = context.model.and_then(|node| node.as_str()) else {
            return Err(fault("this stage names no model".into()).expected("a card's name or a model file").into());
        };
        let base = &context.settings.base_dir;
        let model = cards::find(text, base).map_err(|error| fault(in_full(&error)))?;
        let cache = context.settings.cache.clone().map(Cache::at).or_else(|| Cache::from_env().ok());
        let named = match &model {
            Model::Card(card) => role_of(card, &base.join(text)),
            _ => None,
        };
        let file = context.source.name();
        let is_file = [".yaml", ".yml"].iter().any(|end| file.ends_with(end));
        let setup = if is_file { format!("percept setup {file}") } else { "percept setup".to_owned() };
        Ok(ModelFiles { model, cache, named, setup, span: place.span, source: place.source(context.source).clone() })
    }

    /// The card, if the model has one.
    pub fn card(&self) -> Option<&Card> {
        match &self.model {
            Model::Card(card) => Some(card),
            _ => None,
        }
    }

    /// The model's name in messages: its card's, or its file's.
    pub fn name(&self) -> String {
        match &self.model {
            Model::Card(card) => card.name().to_owned(),
            Model::File(path) => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
        }
    }

    /// The role of the graph for models that have one: that of the file which the pipeline names, else [`GRAPH_ROLE`].
    pub fn graph_role(&self) -> &str {
        self.named.as_deref().unwrap_or(GRAPH_ROLE)
    }

    /// Where the file of `role` is. A file without a card has only the role [`GRAPH_ROLE`].
    ///
    /// Codes: `not-fetched` where it has to be fetched first, `model-file` where the card lacks the role, or the file
    /// is not there or not the one that the card means.
    pub fn file(&self, role: &str) -> Result<PathBuf, Fault> {
        let card = match &self.model {
            Model::File(path) if role == GRAPH_ROLE => return Ok(path.clone()),
            Model::File(_) => {
                let message = format!("`{}` has no card, so it has no file of the role `{role}`", self.name());
                return Err(self
                    .fault("model-file", message)
                    .help("write a card.yaml that names the files of the model"));
            }
            Model::Card(card) => card,
        };
        let Some(cache) = &self.cache else {
            return Err(self.fault("model-file", CardError::NoCache.to_string()));
        };
        match card.locate(role, cache) {
            Ok(Located::Ready(path)) => Ok(path),
            Ok(Located::NotFetched(missing)) => {
                Err(self.fault("not-fetched", format!("`{}` is not on this machine yet", missing.card)).help(format!(
                    "type `{}` ({} MB to fetch), or `{}`",
                    self.setup,
                    missing.bytes.div_ceil(1_000_000),
                    missing.command
                )))
            }
            Err(error) => Err(self.fault("model-file", in_full(&error))),
        }
    }

    /// The names of the classes that the model tells apart, by the list that its card names; none without one.
    pub fn class_names(&self) -> Vec<String> {
        let list = self.card().and_then(|card| card.spec().labels.as_ref());
        let text =
            list.and_then(|labels| self.file(&labels.file).ok()).and_then(|path| std::fs::read_to_string(path).ok());
        let names = text.map(|text| Classes::from_text(&text));
        names.iter().flat_map(Classes::names).map(ToString::to_string).collect()
    }

    /// A fault at the stage's `model` key.
    pub fn fault(&self, code: &'static str, message: impl Into<String>) -> Fault {
        Fault::error(code, message).at(self.span, &self.source)
    }
}

/// The role of the file at `path` among those beside the card.
fn role_of(card: &Card, path: &Path) -> Option<String> {
    let folder = card.folder()?;
    let beside = |(_, file): &(&String, &cards::FileSpec)| file.from.is_none() && folder.join(&file.path) == path;
    card.spec().files.iter().find(beside).map(|(role, _)| role.clone())
}

/// The error and its causes, in one line.
fn in_full(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::testing::Bench;
    use super::*;

    #[test]
    fn what_a_model_key_may_name() {
        let bench = Bench::new();
        let card = "percept_card: 1\nname: own\nkind: onnx\nsummary: s\nlicence: MIT\nsource: {text: t}\n\
                    files: {model: {path: a.onnx}, second: {path: b.onnx}, gone: {path: c.onnx}}\n";
        bench.write("models/own/card.yaml", card);
        bench.write("models/own/a.onnx", "a");
        bench.write("models/own/b.onnx", "b");
        bench.write("bare.onnx", "x");
        for (model, name, role, file) in [
            ("own", "own", "model", "models/own/a.onnx"),
            ("models/own/b.onnx", "own", "second", "models/own/b.onnx"),
            ("bare.onnx", "bare.onnx", "model", "bare.onnx"),
        ] {
            let files = bench.files(model).unwrap();
            assert_eq!((files.name().as_str(), files.graph_role()), (name, role), "{model}");
            assert_eq!(files.file(role).unwrap(), bench.path(file), "{model}");
        }
        for (model, role, code, says) in [
            ("own", "gone", "model-file", "which is not there"),
            ("own", "words", "model-file", "it has: gone, model, second"),
            ("bare.onnx", "words", "model-file", "has no card"),
            ("moonshine-tiny", "encoder", "not-fetched", "type `percept setup test.yaml` (85 MB to fetch), or"),
        ] {
            let fault = bench.files(model).unwrap().file(role).unwrap_err();
            assert_eq!(fault.code, code, "{fault}");
            assert!(fault.to_string().contains(says), "{fault}");
            assert!(fault.to_string().starts_with("test.yaml:1:8: "), "{fault}");
        }
        let faults = bench.files("silero-vat").unwrap_err().to_string();
        assert!(faults.contains("did you mean `silero-vad`?") && faults.contains("[unknown-model]"), "{faults}");
    }

    #[test]
    fn a_built_in_card_is_written_out() {
        let bench = Bench::new();
        let path = bench.files("silero-vad").unwrap().file(GRAPH_ROLE).unwrap();
        assert!(path.starts_with(bench.path("cache")) && path.is_file(), "{}", path.display());
    }
}
