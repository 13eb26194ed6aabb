//! Which input of a graph is filled by what, and what becomes of each output: found out and checked before anything
//! runs.

use std::collections::{BTreeMap, BTreeSet};

use super::super::files::ModelFiles;
use super::super::graph::Graph;
use super::binder::Binder;
use super::config::OnnxConfig;
use super::windows::WindowSize;
use crate::config::Faults;
use crate::inference::Port;
use crate::stage::{BatchPolicy, ReadContext};
use crate::tensor::{DType, Dim, Tensor};
use crate::units::Rate;

/// A graph bound to the packets of a stage.
#[derive(Clone, Debug)]
pub struct Binding {
    /// The model's name in messages.
    pub model: String,
    /// What packets fill, in the graph's order.
    pub inputs: Vec<DataInput>,
    /// What becomes packets, in the order of the stage's ports.
    pub outputs: Vec<Carried>,
    /// What is carried from run to run.
    pub states: Vec<State>,
    /// What is always the same.
    pub constants: Vec<Constant>,
    /// How sound is cut. Then there is one data input, of f32.
    pub windows: Option<WindowSize>,
    /// The sample rate that the model wants of sound.
    pub rate: Option<Rate>,
    /// The number of channels that its card states.
    pub channels: Option<u16>,
    /// Several streams in one call.
    pub batch: BatchPolicy,
    /// Whether another version may have another number of classes, the last size of every output.
    pub open_classes: bool,
}

/// An input of the graph that packets fill.
#[derive(Clone, Debug)]
pub struct DataInput {
    /// The name of the stage's port.
    pub name: String,
    /// The graph's input.
    pub port: Port,
    /// The axis along which items are put together; it is added to what lacks it.
    pub batch_axis: Option<usize>,
}

impl DataInput {
    /// Whether sound can go in as it is: samples of f32, alone, below a batch axis, or below that and channels.
    pub fn takes_sound(&self) -> bool {
        self.port.dtype == DType::F32 && self.port.shape.rank().is_some_and(|rank| (1..=3).contains(&rank))
    }
}

/// A tensor of the graph that holds an item for each stream of a call.
#[derive(Clone, Debug)]
pub struct Carried {
    /// The graph's port.
    pub port: Port,
    /// Its batch axis.
    pub batch_axis: Option<usize>,
}

/// A pair of input and output that carries a state.
#[derive(Clone, Debug)]
pub struct State {
    /// The graph's input.
    pub input: Carried,
    /// The graph's output that gives the next one.
    pub output: Carried,
    /// The state at a stream's start.
    pub first: Tensor,
}

/// An input that is always the same.
#[derive(Clone, Debug)]
pub struct Constant {
    /// The graph's input.
    pub input: String,
    /// Its value for one item.
    pub value: Tensor,
    /// The axis along which it is repeated for several items.
    pub batch_axis: Option<usize>,
}

impl Binding {
    /// Binds `graph` as the config and the card say. Reports everything that does not fit, each at its place.
    pub fn new(
        config: &OnnxConfig,
        graph: &Graph,
        files: &ModelFiles,
        context: &ReadContext<'_>,
    ) -> Result<Binding, Faults> {
        let mut binder = Binder { config, graph, files, context, faults: Faults::new() };
        let constants = binder.constants();
        let pairs = binder.pairs();
        let taken: BTreeSet<&str> = config
            .constants
            .keys()
            .chain(binder.state().into_iter().flat_map(BTreeMap::keys))
            .map(String::as_str)
            .collect();
        let inputs = binder.inputs(&taken);
        let outputs = binder.outputs(&pairs);
        binder.named_axes();
        let symbol = inputs.iter().find_map(|(_, port)| match binder.dim(port, binder.data_axis(port)?) {
            Some(Dim::Symbol(name)) => Some(name.clone()),
            _ => None,
        });
        let symbol = symbol.as_deref();
        let inputs: Vec<_> = inputs
            .into_iter()
            .map(|(name, port)| DataInput { name, batch_axis: binder.data_axis(&port), port })
            .collect();
        let outputs: Vec<_> =
            outputs.into_iter().map(|port| Carried { batch_axis: binder.output_axis(&port, symbol), port }).collect();
        let states: Vec<_> = pairs
            .into_iter()
            .map(|(_, input, output, first)| State {
                input: Carried { batch_axis: binder.state_axis(&input, symbol), port: input },
                output: Carried { batch_axis: binder.state_axis(&output, symbol), port: output },
                first,
            })
            .collect();
        let constants: Vec<_> = constants
            .into_iter()
            .map(|(input, value)| Constant { batch_axis: binder.constant_axis(&input, symbol), input, value })
            .collect();
        let windows = binder.windows(&inputs);
        let rate = binder.rate();
        let channels = binder.preprocess().and_then(|preprocess| preprocess.channels);
        binder.labels(&outputs);
        let mut binding = Binding {
            model: graph.model.clone(),
            inputs,
            outputs,
            states,
            constants,
            windows,
            rate,
            channels,
            batch: BatchPolicy::ALONE,
            open_classes: config.open_classes || config.learn.as_ref().is_some_and(|learn| learn.new_classes > 0),
        };
        binding.batch = binder.batch(&binding);
        binder.faults.into_result(binding).map(|(binding, _)| binding)
    }
}
