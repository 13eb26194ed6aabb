//! `percept eval`: measures a model on the data of a recipe.

use std::path::PathBuf;

use super::global::Global;
use super::train::note_bad;
use super::{CliError, Exit, output};
use crate::train::Recipe;
use crate::train::metrics::Confusion;

/// Most classes that the table of confusions is shown for.
const MAX_TABLE: usize = 40;

/// Measures a model on the test data of a recipe: loss, accuracy, confusion, error rates of texts
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The model: an ONNX file with the ports of the recipe's model
    model: PathBuf,

    /// The recipe, or the folder with `recipe.yaml`, whose test data and loss are used
    #[arg(long, value_name = "RECIPE")]
    data: PathBuf,

    /// Sets a key of the recipe, as in --set data.test=0.2
    #[arg(long, short, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// Prints JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    let recipe = Recipe::open(&args.data, &args.set)?;
    let evaluation = recipe.evaluate(&args.model)?;
    note_bad(&evaluation, "measured", global);
    let accuracy = evaluation.confusion.as_ref().map(|confusion| confusion.accuracy());
    let f1 = evaluation.confusion.as_ref().map(|confusion| confusion.f1());
    let top_k: Option<serde_json::Map<_, _>> = evaluation
        .confusion
        .as_ref()
        .map(|confusion| confusion.top_ks().map(|(k, share)| (k.to_string(), share.into())).collect());
    if args.json {
        let value = serde_json::json!({
            "samples": evaluation.samples,
            "bad_samples": evaluation.bad.len(),
            "loss": evaluation.loss,
            "accuracy": accuracy,
            "f1": f1,
            "top_k": top_k,
            "character_errors": evaluation.texts.map(|texts| texts.characters.rate()),
            "word_errors": evaluation.texts.map(|texts| texts.words.rate()),
        });
        output::print(&output::json(&value))?;
        return Ok(Exit::Done);
    }
    let mut text = format!("{evaluation}\n");
    let shown = |confusion: &&Confusion| !global.quiet && confusion.classes() <= MAX_TABLE;
    if let Some(confusion) = evaluation.confusion.as_ref().filter(shown) {
        text.push_str(&format!("{}\n", confusion.table(&evaluation.labels)));
    }
    output::print(&text)?;
    Ok(Exit::Done)
}
