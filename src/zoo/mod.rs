//! Floor 4: the architectures of the classic lecture, built from layers. One file each, one line each in [`ZOO`].
//!
//! Each is a struct of arguments; `build(seed)` gives an ONNX model with random weights, ready to be trained.

mod autoencoder;
mod ctc;
mod lenet5;
mod mlp;
mod perceptron;
mod recurrent;
mod tdnn;

use std::fmt;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

pub use autoencoder::Autoencoder;
pub use ctc::Ctc;
pub use lenet5::Lenet5;
pub use mlp::Mlp;
pub use perceptron::Perceptron;
pub use recurrent::{Cell, RecurrentClassifier, RecurrentTagger};
pub use tdnn::Tdnn;

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
    ZooEntry::of::<Mlp>("mlp", "multilayer perceptron", "inputs: [784]\nhidden: [256]\noutputs: 10\n"),
    ZooEntry::of::<Perceptron>("perceptron", "one layer: perceptron, linear and logistic regression", "inputs: 2\noutputs: 1\n"),
    ZooEntry::of::<RecurrentClassifier>("recurrent_classifier", "Elman, GRU or LSTM network that names a whole sequence", "vocabulary: 30\nclasses: 2\n"),
    ZooEntry::of::<RecurrentTagger>("recurrent_tagger", "Elman, GRU or LSTM network that names each step", "vocabulary: 12\nclasses: 10\n"),
    ZooEntry::of::<Tdnn>("tdnn", "time-delay neural network over frames of features", "features: 40\nclasses: 10\n"),
];

/// The architecture of that name.
pub fn architecture_named(name: &str) -> Option<&'static ZooEntry> {
    ZOO.iter().find(|entry| entry.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;
    use crate::engine::Network;

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
            let input = &model.graph.inputs[0];
            for batch in [1, 3] {
                let dims = input.shape.dims().unwrap().iter().enumerate();
                let shape: Vec<usize> =
                    dims.map(|(i, dim)| if i == 0 { batch } else { dim.known().unwrap_or(12) }).collect();
                let x = crate::tensor::Tensor::zeros(input.dtype.unwrap(), shape).unwrap();
                let outputs = network.run(&[("x", &x)]).unwrap_or_else(|error| panic!("{entry:?}: {error}"));
                assert_eq!(outputs[0].shape()[0], batch, "{entry:?}");
            }
            let schema = (entry.schema)();
            for (name, property) in schema["properties"].as_object().unwrap() {
                assert!(property["description"].is_string(), "{entry:?}: {name} is not documented");
            }
        }
    }
}
