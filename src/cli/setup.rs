//! `percept setup`: fetch what a pipeline needs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::error::CliError;
use super::exit::Exit;
use super::fetching::fetch;
use super::global::{Global, folder_of};
use crate::cards::{self, Cache, Card, Located, Model};
use crate::config::{Fault, Faults};
use crate::inference::InferenceError;
use crate::inference::ort::{Found, Origin, OrtConfig, Search, initialize, locate};
use crate::pipeline::PipelineFile;

/// The built-in card of ONNX Runtime, and the role of the library in it.
const RUNTIME: (&str, &str) = ("onnxruntime", "library");

/// Fetch what a pipeline needs: ONNX Runtime and its models; without a pipeline, ONNX Runtime
///
/// Everything is checked byte by byte and kept in the user's cache (PERCEPT_CACHE names another folder). What is there is
/// not fetched again. Packages are fetched with pip, which uses the index and the proxy it is configured for.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The pipeline file
    #[arg(value_name = "PIPELINE")]
    pipeline: Option<PathBuf>,
    /// Fetch ONNX Runtime even if this machine has one
    #[arg(long)]
    runtime: bool,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    let cache = global.cache()?;
    // A wrong name is told before anything is fetched.
    let (cards, asks) = match &args.pipeline {
        Some(file) => models(file)?,
        None => (Vec::new(), true),
    };
    let mut fetched = false;
    if args.runtime || asks {
        fetched |= runtime(args.runtime, &cache, global)?;
    }
    for card in cards.iter().flatten() {
        fetched |= fetch(card, &cache, global)?;
    }
    global.note(if fetched { "Everything is there now." } else { "Everything is there; nothing was fetched." });
    Ok(Exit::Done)
}

/// The models of a pipeline, each once: its card, or `None` for a file without one, which needs no fetching; and whether
/// one of them asks for ONNX Runtime.
fn models(file: &Path) -> Result<(Vec<Option<Card>>, bool), CliError> {
    let pipeline = PipelineFile::open(file)?;
    let mut faults = Faults::new();
    let mut found = Vec::new();
    for name in pipeline.models().into_iter().collect::<BTreeSet<_>>() {
        match cards::find(&name, folder_of(file)) {
            Ok(Model::Card(card)) => found.push(Some(*card)),
            Ok(Model::File(_)) => found.push(None),
            Err(error) => faults.push(Fault::error("unknown-model", error.to_string()).in_source(pipeline.source())),
        }
    }
    if faults.is_empty() { Ok((found, pipeline.asks_for_onnxruntime())) } else { Err(faults.into()) }
}

/// Sees to it that there is an ONNX Runtime that loads. Whether it was fetched.
fn runtime(wanted: bool, cache: &Cache, global: &Global) -> Result<bool, CliError> {
    if !cfg!(feature = "onnxruntime") {
        global.note(
            "This build of percept does not run models on ONNX Runtime (feature `onnxruntime`), so it is not fetched.",
        );
        return Ok(false);
    }
    let card =
        Card::built_in(RUNTIME.0).ok_or_else(|| CliError::failed("this build has no card of ONNX Runtime"))??;
    if !wanted && let Some(found) = usable(&card, cache, global)? {
        global.note(format!("onnxruntime: already there, {} ({})", found.library.display(), found.origin));
        return Ok(false);
    }
    let fetched = fetch(&card, cache, global)?;
    if let Located::Ready(library) = card.locate(RUNTIME.1, cache)? {
        // Better a word now than at the first run. One that is loaded already stays.
        initialize(&OrtConfig::new(library))?;
    }
    Ok(fetched)
}

/// The library that a run would use, if it loads. One that the user named and that does not is an error; another one is passed
/// over, since what is fetched goes before it.
fn usable(card: &Card, cache: &Cache, global: &Global) -> Result<Option<Found>, CliError> {
    let fetched = match card.locate(RUNTIME.1, cache) {
        Ok(Located::Ready(library)) => library.parent().map(Path::to_owned),
        _ => None,
    };
    let found = match locate(&Search::new(global.onnxruntime.clone(), fetched)) {
        Ok(found) => found,
        Err(missing) => {
            let named = missing.attempts.iter().any(|attempt| is_wish(&attempt.origin, &attempt.outcome));
            return if named { Err(missing.into()) } else { Ok(None) };
        }
    };
    match initialize(&OrtConfig::new(&found.library)) {
        Ok(_) => Ok(Some(found)),
        Err(error @ (InferenceError::RuntimeTooOld { .. } | InferenceError::RuntimeUnusable { .. }))
            if !matches!(found.origin, Origin::Explicit | Origin::Variable) =>
        {
            global.note(format!("onnxruntime: {} ({}) is passed over: {error}", found.library.display(), found.origin));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether a place that was looked at in vain is one that the user named.
fn is_wish(origin: &Origin, outcome: &str) -> bool {
    match origin {
        Origin::Explicit => true,
        Origin::Variable => outcome != "not set",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_models_of_a_pipeline_each_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        std::fs::write(folder.path().join("mine.onnx"), "").unwrap();
        std::fs::write(&file, "percept: 1\nstages:\n- model: silero-vad\n- model: silero-vad\n- model: ./mine.onnx\n")
            .unwrap();
        let (cards, asks) = models(&file).unwrap();
        let names: Vec<_> = cards.iter().map(|card| card.as_ref().map(|card| card.name().to_owned())).collect();
        assert_eq!(names, [None, Some("silero-vad".to_owned())]);
        assert!(asks);

        std::fs::write(&file, "percept: 1\nstages:\n- model: silero-vad\n  backend: engine\n").unwrap();
        assert!(!models(&file).unwrap().1);

        std::fs::write(&file, "percept: 1\nstages:\n- model: silero-vat\n- model: moonshine-tinny\n").unwrap();
        let message = models(&file).unwrap_err().to_string();
        for part in ["did you mean `silero-vad`?", "did you mean `moonshine-tiny`?", "a.yaml"] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn what_the_user_named_must_work() {
        for (origin, outcome, wish) in [
            (Origin::Explicit, "no such file", true),
            (Origin::Variable, "no such file", true),
            (Origin::Variable, "not set", false),
            (Origin::System, "no such file", false),
        ] {
            assert_eq!(is_wish(&origin, outcome), wish, "{origin}: {outcome}");
        }
    }
}
