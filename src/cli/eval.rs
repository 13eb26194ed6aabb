//! `percept eval`: measures a model on the data of a recipe.

use std::path::PathBuf;

use super::global::Global;
use super::{CliError, Exit, output};
use crate::train::Recipe;

/// Measures a model on the test data of a recipe: loss, accuracy, confusion
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
    let accuracy = evaluation.confusion.as_ref().map(|confusion| confusion.accuracy());
    let f1 = evaluation.confusion.as_ref().map(|confusion| confusion.f1());
    if args.json {
        let value = serde_json::json!({
            "samples": evaluation.samples,
            "loss": evaluation.loss,
            "accuracy": accuracy,
            "f1": f1,
        });
        output::print(&output::json(&value))?;
        return Ok(Exit::Done);
    }
    let mut text = format!("{} samples, loss {:.4}", evaluation.samples, evaluation.loss);
    if let (Some(accuracy), Some(f1)) = (accuracy, f1) {
        text.push_str(&format!(", accuracy {:.2} %, F1 {f1:.4}", 100.0 * accuracy));
    }
    text.push('\n');
    if let Some(confusion) = evaluation.confusion.filter(|_| !global.quiet) {
        text.push_str(&format!("{confusion}\n"));
    }
    output::print(&text)?;
    Ok(Exit::Done)
}
