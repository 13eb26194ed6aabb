//! Floor 4: the architectures of the classic lecture, built from layers. One file each, one line each in [`ZOO`].
//!
//! Each is a struct of arguments; `build(seed)` gives an ONNX model with random weights, ready to be trained.

mod autoencoder;
mod ctc;
mod lenet5;
mod mlp;
mod perceptron;
mod recurrent;
mod regression;
mod resnet;
mod tdnn;
mod unet;

use std::fmt;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

pub use autoencoder::Autoencoder;
pub use ctc::Ctc;
pub use lenet5::Lenet5;
pub use mlp::Mlp;
pub use perceptron::Perceptron;
pub use recurrent::{Cell, RecurrentClassifier, RecurrentTagger};
pub use regression::{LinearRegression, LogisticRegression};
pub use resnet::{Resnet, Stem};
pub use tdnn::Tdnn;
pub use unet::Unet;

use crate::config::{Faults, Node, Source};
use crate::engine::EngineError;
use crate::onnx::Model;

/// Arguments from which a model is built.
pub trait Architecture: Send + Sync + fmt::Debug {
    /// The model, its weights filled by `seed`.
    fn build(&self, seed: u64) -> Result<Model, EngineError>;
}

/// Reads the arguments of an architecture from a mapping; reports every fault at once.
pub type ReadArchitecture = fn(&Node, &Source) -> Result<Box<dyn Architecture>, Faults>;

/// A line of [`ZOO`].
#[derive(Clone, Copy)]
pub struct ZooEntry {
    /// The name by which a recipe asks for it.
    pub name: &'static str,
    /// What it is, in one line.
    pub summary: &'static str,
    /// Arguments that build it, as YAML.
    pub example: &'static str,
    /// The JSON Schema of its arguments, with their documentation and defaults.
    pub schema: fn() -> serde_json::Value,
    /// Reads its arguments from a mapping; reports every fault at once.
    pub read: ReadArchitecture,
}

impl ZooEntry {
    const fn of<A>(name: &'static str, summary: &'static str, example: &'static str) -> Self
    where
        A: Architecture + DeserializeOwned + JsonSchema + 'static,
    {
        ZooEntry { name, summary, example, schema: crate::config::schema_of::<A>, read: read::<A> }
    }
}

impl fmt::Debug for ZooEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "architecture {}", self.name)
    }
}

fn read<A>(node: &Node, source: &Source) -> Result<Box<dyn Architecture>, Faults>
where
    A: Architecture + DeserializeOwned + JsonSchema + 'static,
{
    Ok(Box::new(crate::config::read::<A>(node, source)?))
}

/// Every architecture.
#[rustfmt::skip]
pub const ZOO: &[ZooEntry] = &[
    ZooEntry::of::<Autoencoder>("autoencoder", "a bottleneck that learns to reproduce its input", "inputs: [784]\nhidden: [128, 32]\n"),
    ZooEntry::of::<Ctc>("ctc", "acoustic model for CTC: time-delay layers, then a recurrent one in both directions", "features: 40\nsymbols: 30\n"),
    ZooEntry::of::<Lenet5>("lenet5", "LeNet-5: two convolutions, two pools, three dense layers", "classes: 10\n"),
    ZooEntry::of::<LinearRegression>("linear_regression", "a weighted sum of features that predicts a number", "inputs: 3\n"),
    ZooEntry::of::<LogisticRegression>("logistic_regression", "a weighted sum of features for each class", "inputs: 4\nclasses: 3\n"),
    ZooEntry::of::<Mlp>("mlp", "multilayer perceptron", "inputs: [784]\nhidden: [256]\noutputs: 10\n"),
    ZooEntry::of::<Perceptron>("perceptron", "Rosenblatt's: one layer of weights", "inputs: 2\noutputs: 1\n"),
    ZooEntry::of::<RecurrentClassifier>("recurrent_classifier", "Elman, GRU or LSTM network that names a whole sequence", "vocabulary: 30\nclasses: 2\n"),
    ZooEntry::of::<RecurrentTagger>("recurrent_tagger", "Elman, GRU or LSTM network that names each step", "vocabulary: 12\nclasses: 10\n"),
    ZooEntry::of::<Resnet>("resnet", "residual network, ResNet-18 unless said, for pictures", "stem: small\nwidth: 4\nblocks: [1, 1]\n"),
    ZooEntry::of::<Tdnn>("tdnn", "time-delay neural network over frames of features", "features: 40\nclasses: 10\n"),
    ZooEntry::of::<Unet>("unet", "U-Net: a class for each pixel", "classes: 3\ndepth: 2\nwidth: 4\n"),
];

/// The architecture of that name.
pub fn architecture_named(name: &str) -> Option<&'static ZooEntry> {
    ZOO.iter().find(|entry| entry.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::engine::optimizers::Adam;
    use crate::engine::{Loss, Network, Optimizer, Training, TrainingOptions};
    use crate::tensor::{DType, Tensor};

    #[test]
    fn every_architecture_builds_from_its_example_and_runs() {
        assert!(ZOO.is_sorted_by_key(|entry| entry.name));
        for entry in ZOO {
            let source = Source::new("example", entry.example);
            let node = parse(&source).unwrap();
            let model = (entry.read)(&node, &source).unwrap().build(1).unwrap();
            assert_eq!(
                model,
                (entry.read)(&node, &source).unwrap().build(1).unwrap(),
                "{entry:?}: one seed, one model"
            );
            let read_back = Model::decode(&model.encode(), None).unwrap();
            let mut network = Network::new(&read_back).unwrap();
            for batch in [1, 3] {
                let outputs = network.run(&[("x", &input(&model, batch))]);
                let outputs = outputs.unwrap_or_else(|error| panic!("{entry:?}: {error}"));
                assert_eq!(outputs[0].shape()[0], batch, "{entry:?}");
            }
            let schema = (entry.schema)();
            for (name, property) in schema["properties"].as_object().unwrap() {
                assert!(property["description"].is_string(), "{entry:?}: {name} is not documented");
            }
        }
    }

    /// A minibatch for a model; sizes that are free are 12.
    fn input(model: &Model, batch: usize) -> Tensor {
        let input = &model.graph.inputs[0];
        let dims = input.shape.dims().unwrap().iter().skip(1).map(|dim| dim.known().unwrap_or(12));
        let shape: Vec<usize> = [batch].into_iter().chain(dims).collect();
        match input.dtype.unwrap() {
            DType::I64 => Tensor::new(
                shape.clone(),
                (0..shape.iter().product::<usize>() as i64).map(|i| i % 7).collect::<Vec<_>>(),
            ),
            _ => Tensor::new(shape.clone(), wave(shape.iter().product(), 0.37)),
        }
        .unwrap()
    }

    fn wave(count: usize, step: f32) -> Vec<f32> {
        (0..count).map(|at| (at as f32 * step).sin()).collect()
    }

    #[test]
    fn every_architecture_learns() {
        for entry in ZOO {
            let source = Source::new("example", entry.example);
            let model = (entry.read)(&parse(&source).unwrap(), &source).unwrap().build(1).unwrap();
            let x = input(&model, 4);
            let optimizer = Optimizer::Adam(Adam { learning_rate: 0.01, ..Adam::default() });
            let options = TrainingOptions::new(Loss::new("squared").unwrap(), optimizer);
            let mut training = Training::new(&model, options).unwrap();
            let shape = training.run(&[("x", &x)]).unwrap()[0].shape().to_vec();
            let target = Tensor::new(shape.clone(), wave(shape.iter().product(), 0.61)).unwrap();
            let mut step = || training.step(&[("x", &x), ("target", &target)]).unwrap();
            let first = step();
            let last = (0..20).fold(first, |_, _| step());
            assert!(last < 0.9 * first, "{entry:?}: {first} {last}");
            // What was learned survives a file.
            let expected = training.run(&[("x", &x)]).unwrap();
            let read = Model::decode(&training.model().encode(), None).unwrap();
            assert_eq!(Network::new(&read).unwrap().run(&[("x", &x)]).unwrap(), expected, "{entry:?}");
        }
    }
}
