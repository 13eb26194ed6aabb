//! Measuring a model by a recipe: it takes the data it is measured on, and nothing else of the training.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::prepare::is_missing;
use super::{PartFormat, Recipe};
use crate::engine::optimizers::Sgd;
use crate::engine::{EngineError, Optimizer, Training, TrainingOptions};
use crate::onnx::Model;
use crate::stages::decoder::Tokens;
use crate::train::data::{DataError, DataSet, Known, Vocabulary};
use crate::train::trainer::{Evaluation, TrainerOptions, evaluate};
use crate::train::{LABELS_FILE, TOKENS_FILE, TrainError};

impl Recipe {
    /// Measures the model at `path` with this recipe's loss, on its test data; without, on those it is compared by, else
    /// on those it is trained on.
    ///
    /// Where these are data of their own, the training data may be missing. Classes and tokens are numbered as in
    /// `labels.txt` and `tokens.txt` beside the model, which [`export`](Self::export) writes; where one of them is not
    /// there, the training data must be.
    pub fn evaluate(&self, path: &Path) -> Result<Evaluation, TrainError> {
        let model = Model::load(path).map_err(EngineError::from)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        self.measure(&model, folder).map_err(|error| self.with_the_way(error))
    }

    fn measure(&self, model: &Model, folder: &Path) -> Result<Evaluation, TrainError> {
        let data = self.data_to_measure_on(model, folder)?;
        let (loss, lengths) = self.loss_of(model, &data)?;
        // Nothing is trained: what the recipe says of weights by name may be meant for another model.
        let options = TrainingOptions::new(loss, Optimizer::Sgd(Sgd::default())).threads(self.settings.threads);
        let mut training = Training::new(model, options)?;
        self.bound(&mut training);
        // The model may know of more classes than occur in the data.
        let scores = model.graph.outputs.first().and_then(|output| output.shape.dims()?.get(1)?.known());
        let classes = self.classes(&data).map(|classes| match data.labels().is_empty() {
            true => classes.max(scores.unwrap_or(0)),
            false => classes,
        });
        let options = TrainerOptions { classes, ..self.trainer_options(model, &data, lengths)? };
        evaluate(&mut training, &options, data)
    }

    fn data_to_measure_on(&self, model: &Model, folder: &Path) -> Result<Arc<dyn DataSet>, TrainError> {
        let Some(PartFormat::Own(format)) = self.test.as_ref().or(self.validation.as_ref()) else {
            let opened = self.open_data(model)?;
            return Ok(opened.test.or(opened.validation).unwrap_or(opened.train));
        };
        let (mut known, missing) = match self.train.open(&self.folder) {
            Ok(data) => (Known::of(&data), None),
            Err(error) if is_missing(&error) => (Known::default(), Some(error)),
            Err(error) => return Err(error.into()),
        };
        let (labels, tokens) = (folder.join(LABELS_FILE), folder.join(TOKENS_FILE));
        if labels.is_file() {
            let text = fs::read_to_string(&labels).map_err(|error| DataError::io(&labels, error))?;
            let names = Tokens::from_text(&text);
            known.labels = (0..names.len()).filter_map(|at| Some(names.get(at)?.to_string())).collect();
        }
        if tokens.is_file() {
            known.vocabulary = Vocabulary::load(&tokens)?.tokens().to_vec();
        }
        let data: Arc<dyn DataSet> = Arc::from(format.open_with(&self.folder, &known)?);
        let numbered = |own: &[String], known: &[String]| own.is_empty() || !known.is_empty();
        match missing {
            // Numbers of the data's own would be others than the model's.
            Some(missing)
                if !numbered(data.labels(), &known.labels) || !numbered(data.vocabulary(), &known.vocabulary) =>
            {
                Err(missing.into())
            }
            _ => Ok(self.preprocessed(data, model)?.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Then;

    const LETTERS: &str = "percept_recipe: 1\nname: letters\ndata:\n  train: {csv: {path: train.csv, target: class}}\n  \
        validation: {csv: {path: test.csv, target: class}}\n  test: {csv: {path: test.csv, target: class}}\n\
        model: {mlp: {inputs: [2], hidden: [8], outputs: 3}}\nloss: cross_entropy\n\
        optimizer: {kind: adam, learning_rate: 0.05}\nbatch: 0\nepochs: 100\nthreads: 1\n";

    /// Training data of the classes a, b and c, test data without a.
    fn letters() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("train.csv", "x,y,class\n1,0,a\n0,1,b\n0,0,c\n");
        write("test.csv", "x,y,class\n0,1,b\n0,0,c\n0,0.9,b\n");
        write("recipe.yaml", LETTERS);
        std::fs::create_dir(folder.path().join("trained")).unwrap();
        folder
    }

    #[test]
    fn evaluation_needs_the_test_data_alone() {
        let folder = letters();
        let recipe = Recipe::open(folder.path(), &["freeze=[hidden1.bias]".into()]).unwrap();
        let mut prepared = recipe.prepare().unwrap();
        prepared.trainer.run(|_| Then::Continue).unwrap();
        let path = recipe.export(&mut prepared, None).unwrap().model;
        let accuracy = |path: &Path| {
            let found = recipe.evaluate(path).unwrap();
            (found.samples, found.labels.clone(), found.confusion.unwrap().accuracy())
        };
        let all = (3, vec!["a".to_owned(), "b".into(), "c".into()], 1.0);
        assert_eq!(accuracy(&path), all);
        // Another model, whose weights have other names, where no names of classes lie beside it.
        let bare = folder.path().join("bare.onnx");
        let mut model = prepared.trainer.training().model();
        for name in ["hidden1.bias", "hidden1.weight"] {
            let other = name.replace("hidden1", "other");
            model
                .graph
                .initializers
                .iter_mut()
                .filter(|(known, _)| known == name)
                .for_each(|(known, _)| *known = other.clone());
            let inputs = model.graph.nodes.iter_mut().flat_map(|node| &mut node.inputs);
            inputs.filter(|input| **input == *name).for_each(|input| *input = other.clone());
        }
        model.save(&bare).unwrap();
        assert_eq!(accuracy(&bare), all);
        // Without the training data the names beside the model number the classes.
        std::fs::remove_file(folder.path().join("train.csv")).unwrap();
        assert_eq!(accuracy(&path), all);
        // Without those nothing does.
        let error = recipe.evaluate(&bare).unwrap_err().to_string();
        assert!(error.contains("train.csv"), "{error}");
        std::fs::remove_file(folder.path().join("test.csv")).unwrap();
        let error = recipe.evaluate(&path).unwrap_err().to_string();
        assert!(error.contains("test.csv"), "{error}");
    }

    #[test]
    fn a_bad_first_sample_hides_no_accuracy() {
        let folder = letters();
        std::fs::write(folder.path().join("train.csv"), "x,y,class\n1,?,a\n1,0,a\n0,1,b\n0,0,c\n").unwrap();
        let mut prepared = Recipe::open(folder.path(), &["max_bad=1".into()]).unwrap().prepare().unwrap();
        prepared.trainer.run(|_| Then::Continue).unwrap();
        assert_eq!(prepared.trainer.history().last().unwrap().validation_accuracy, Some(1.0));
    }

    const WORDS: &str = "percept_recipe: 1\nname: words\ndata:\n  train: {text_lines: {path: train.tsv, length: 3}}\n  \
        test: {text_lines: {path: test.tsv, length: 3}}\n\
        model: {recurrent_classifier: {vocabulary: 5, classes: 2, hidden: 8}}\nloss: cross_entropy\nepochs: 3\n";

    #[test]
    fn tokens_keep_their_numbers_without_the_training_data() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("train.tsv", "aab\tyes\nabc\tno\naba\tyes\n");
        write("test.tsv", "ccb\tno\ncba\tyes\n");
        write("recipe.yaml", WORDS);
        std::fs::create_dir(folder.path().join("trained")).unwrap();
        let recipe = Recipe::open(folder.path(), &[]).unwrap();
        let mut prepared = recipe.prepare().unwrap();
        prepared.trainer.run(|_| Then::Continue).unwrap();
        let path = recipe.export(&mut prepared, None).unwrap().model;
        let before = prepared.trainer.evaluate(prepared.test.clone().unwrap()).unwrap();
        std::fs::remove_file(folder.path().join("train.tsv")).unwrap();
        assert_eq!(recipe.evaluate(&path).unwrap(), before);
    }
}
