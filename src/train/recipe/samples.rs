//! A recipe's samples for others: a model that goes on learning in a pipeline rehearses them.

use std::path::Path;

use super::Recipe;
use crate::stage::{KnownSamples, SamplesPart};
use crate::train::TrainError;

/// Reads one part of the samples of the recipe at `path` (a file, or a folder with `recipe.yaml`), prepared as the recipe
/// says. Samples that cannot be read are left out, up to the recipe's `max_bad`. For
/// [`Settings::samples`](crate::stage::Settings::samples).
pub fn samples(path: &Path, part: SamplesPart) -> Result<KnownSamples, String> {
    let words = |error: TrainError| error.to_string();
    let recipe = Recipe::open(path, &[]).map_err(words)?;
    let opened = recipe.open_data(recipe.model()).map_err(|error| words(recipe.with_the_way(error)))?;
    let data = match part {
        SamplesPart::Train => opened.train,
        SamplesPart::Validation => {
            opened.validation.ok_or("it sets no validation data aside: `validation: 0.1` under `data`")?
        }
    };
    let mut bad = 0;
    let mut samples = Vec::with_capacity(data.len());
    for index in 0..data.len() {
        match data.sample(index) {
            Ok(sample) => samples.push((sample.input, sample.target)),
            Err(_) if bad < recipe.settings.max_bad => bad += 1,
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(KnownSamples { samples, labels: opened.all.labels().to_vec() })
}
