//! Which input of a graph is filled by what, and what becomes of each output: found out and checked before anything runs.

use std::collections::{BTreeMap, BTreeSet};

use super::super::files::ModelFiles;
use super::super::graph::Graph;
use super::config::OnnxConfig;
use super::constant;
use super::windows::WindowSize;
use crate::cards::{Exactness, Preprocess};
use crate::config::{Fault, Faults, suggest};
use crate::inference::{Port, PortRole};
use crate::stage::{BatchPolicy, ReadContext};
use crate::tensor::{DType, Dim, Tensor};
use crate::units::{Rate, TimeSpan};

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
        };
        binding.batch = binder.batch(&binding);
        binder.faults.into_result(binding).map(|(binding, _)| binding)
    }
}

struct Binder<'a> {
    config: &'a OnnxConfig,
    graph: &'a Graph,
    files: &'a ModelFiles,
    context: &'a ReadContext<'a>,
    faults: Faults,
}

impl<'a> Binder<'a> {
    /// Puts the fault at the innermost of these keys that the stage has, or at its model.
    fn put(&mut self, path: &[&str], mut fault: Fault) {
        let mut place = None;
        for key in path {
            match place.unwrap_or(self.context.node).get(key) {
                Some(inner) => place = Some(inner),
                None => break,
            }
        }
        fault = match place {
            Some(node) => fault.at_node(node, self.context.source),
            None => {
                let at = self.files.fault(fault.code, "");
                Fault { span: at.span, source: at.source, ..fault }
            }
        };
        self.faults.push(fault.path(path.join(".")));
    }

    fn model(&self) -> &'a str {
        &self.graph.model
    }

    /// The port of this name, or a fault that lists those there are.
    fn find(&mut self, role: PortRole, name: &str, path: &[&str]) -> Option<Port> {
        let ports = match role {
            PortRole::Input => &self.graph.inputs,
            PortRole::Output => &self.graph.outputs,
        };
        if let Some(port) = ports.iter().find(|port| port.name == name) {
            return Some(port.clone());
        }
        let known: Vec<_> = ports.iter().map(|port| format!("`{}`", port.name)).collect();
        let code = match role {
            PortRole::Input => "unknown-input",
            PortRole::Output => "unknown-output",
        };
        let meant = suggest(name, ports.iter().map(|port| port.name.as_str()));
        let fault = Fault::error(code, format!("the model `{}` has no {role} `{name}`", self.model()))
            .expected(if known.is_empty() {
                "none: it has none".into()
            } else {
                format!("one of {}", known.join(", "))
            })
            .maybe_help(meant.map(|meant| format!("did you mean `{meant}`?")));
        self.put(path, fault);
        None
    }

    fn constants(&mut self) -> Vec<(String, Tensor)> {
        let mut constants = Vec::new();
        for (name, value) in &self.config.constants {
            let path = ["constants", name.as_str()];
            let Some(port) = self.find(PortRole::Input, name, &path) else {
                continue;
            };
            match constant::tensor(value, &port) {
                Ok(tensor) => constants.push((name.clone(), tensor)),
                Err(reason) => {
                    let fault = Fault::error("bad-constant", format!("input `{name}` cannot be this: {reason}"))
                        .expected(format!("{} {}", port.dtype, port.shape));
                    self.put(&path, fault);
                }
            }
        }
        constants
    }

    /// The pairs of state, as the stage or the card names them.
    fn state(&self) -> Option<&'a BTreeMap<String, String>> {
        self.config.state.as_ref().or(self.files.card().map(|card| &card.spec().state))
    }

    /// The state's input, its ports and its first value, for each pair.
    fn pairs(&mut self) -> Vec<(String, Port, Port, Tensor)> {
        let Some(state) = self.state() else { return Vec::new() };
        let mut pairs: Vec<(String, Port, Port, Tensor)> = Vec::new();
        for (input, output) in state {
            let path = ["state", input.as_str()];
            let found = self.find(PortRole::Input, input, &path);
            let next = self.find(PortRole::Output, output, &path);
            let (Some(found), Some(next)) = (found, next) else {
                continue;
            };
            if self.config.constants.contains_key(input) {
                let fault = Fault::error("bound-twice", format!("input `{input}` is both a state and a constant"));
                self.put(&path, fault.help("leave one of them out"));
                continue;
            }
            if let Some((other, ..)) = pairs.iter().find(|(_, _, port, _)| port.name == *output) {
                let message = format!("output `{output}` feeds both `{other}` and `{input}`");
                self.put(&path, Fault::error("bound-twice", message).expected("an output of its own for each state"));
                continue;
            }
            if found.dtype != next.dtype || found.shape.accepts(&next.shape).is_err() {
                let fault = Fault::error("state-mismatch", format!("output `{output}` cannot be the next `{input}`"))
                    .expected(format!("{} {}, as `{input}` is", found.dtype, found.shape))
                    .found(format!("{} {}", next.dtype, next.shape))
                    .help("pair each state's input with the output that gives its next value");
                self.put(&path, fault);
                continue;
            }
            let sizes = self.config.state_shape.get(input).map(Vec::as_slice);
            match constant::zeros(&found, sizes) {
                Ok(first) => pairs.push((input.clone(), found, next, first)),
                Err(reason) => {
                    let fault = Fault::error("state-shape", format!("no first state for `{input}`: {reason}"))
                        .help(format!("give its shape at a stream's start: `state_shape: {{{input}: […]}}`"));
                    let key = if sizes.is_some() { "state_shape" } else { "state" };
                    self.put(&[key, input], fault);
                }
            }
        }
        for name in self.config.state_shape.keys().filter(|name| !state.contains_key(*name)) {
            let fault = Fault::error("unknown-state", format!("`{name}` is no state")).maybe_help(
                suggest(name, state.keys().map(String::as_str)).map(|meant| format!("did you mean `{meant}`?")),
            );
            self.put(&["state_shape", name], fault);
        }
        pairs
    }

    /// Port name and graph input of everything that packets fill.
    fn inputs(&mut self, taken: &BTreeSet<&str>) -> Vec<(String, Port)> {
        let mut named: Vec<(&str, Port)> = Vec::new();
        // What a wrong name was to fill is not known, so nothing is said of inputs that nothing fills.
        let mut all_known = true;
        let asked =
            self.config.inputs.iter().map(|(port, input)| (port.as_str(), input.as_str(), ["inputs", port.as_str()]));
        let single = self.config.input.iter().map(|input| (input.as_str(), input.as_str(), ["input", ""]));
        for (name, input, path) in asked.chain(single) {
            let path = if path[1].is_empty() { &path[..1] } else { &path[..] };
            let Some(port) = self.find(PortRole::Input, input, path) else {
                all_known = false;
                continue;
            };
            let message = if taken.contains(input) {
                format!("input `{input}` is a state or a constant, so no packet fills it")
            } else if let Some((other, _)) = named.iter().find(|(_, known)| known.name == input) {
                if path.len() == 1 {
                    // `inputs` names its port; `input` only says again that packets fill it.
                    continue;
                }
                format!("input `{input}` is filled by both `{other}` and `{name}`")
            } else {
                named.push((name, port));
                continue;
            };
            self.put(path, Fault::error("bound-twice", message).help("bind each input once"));
        }
        let graph = self.graph;
        let free = || graph.inputs.iter().filter(|port| !taken.contains(port.name.as_str()));
        if free().next().is_none() {
            let message = format!("no input of `{}` is left for packets", self.model());
            self.put(
                &["constants"],
                Fault::error("no-input", message).help("leave one out of `constants` and `state`"),
            );
        }
        let all = self.config.input.is_none() && self.config.inputs.is_empty();
        let mut inputs: Vec<(String, Port)> = Vec::new();
        for port in free() {
            match named.iter().find(|(_, known)| known.name == port.name) {
                Some((name, _)) => inputs.push(((*name).to_owned(), port.clone())),
                None if all => inputs.push((port.name.clone(), port.clone())),
                None if !all_known => {}
                None => {
                    let fault = Fault::error("unbound-input", format!("nothing fills input `{}` ({} {})", port.name, port.dtype, port.shape))
                        .help(format!(
                            "add it to `inputs`, give it a value (`constants: {{{0}: …}}`), or name the output that gives its \
                             next value (`state: {{{0}: …}}`)",
                            port.name
                        ));
                    self.put(&["inputs"], fault);
                }
            }
        }
        inputs
    }

    fn outputs(&mut self, pairs: &[(String, Port, Port, Tensor)]) -> Vec<Port> {
        let mut outputs: Vec<Port> = Vec::new();
        if let Some(name) = &self.config.output {
            outputs.extend(self.find(PortRole::Output, name, &["output"]));
        }
        for name in &self.config.outputs {
            if let Some(port) = self.find(PortRole::Output, name, &["outputs"])
                && !outputs.iter().any(|known| known.name == port.name)
            {
                outputs.push(port);
            }
        }
        if self.config.outputs.is_empty() {
            let feeds = |port: &Port| pairs.iter().any(|(_, _, output, _)| output.name == port.name);
            let fresh = self.graph.outputs.iter().filter(|port| !feeds(port));
            let more: Vec<_> =
                fresh.filter(|port| !outputs.iter().any(|known| known.name == port.name)).cloned().collect();
            outputs.extend(more);
        }
        if outputs.is_empty() && self.config.output.is_none() && self.config.outputs.is_empty() {
            let message =
                format!("every output of `{}` feeds a state, so nothing comes out of the stage", self.model());
            self.put(&["state"], Fault::error("no-output", message).help("name the output to read: `output: …`"));
        }
        outputs
    }

    /// Names in `batch_axis` that no port has, and axes that it lacks.
    fn named_axes(&mut self) {
        for (name, axis) in &self.config.batch_axis {
            let path = ["batch_axis", name.as_str()];
            let port = self.graph.input(name).or(self.graph.output(name)).cloned();
            let Some(port) = port else {
                let known = self.graph.inputs.iter().chain(&self.graph.outputs).map(|port| port.name.as_str());
                let meant = suggest(name, known).map(|meant| format!("did you mean `{meant}`?"));
                let fault =
                    Fault::error("unknown-input", format!("`{}` has no input or output `{name}`", self.model()));
                self.put(&path, fault.maybe_help(meant));
                continue;
            };
            if let (Some(axis), Some(rank)) = (axis, port.shape.rank())
                && *axis >= rank
            {
                let fault = Fault::error("batch-axis", format!("`{name}` has no axis {axis}"))
                    .expected(format!("an axis of {}, counted from 0", port.shape));
                self.put(&path, fault);
            }
        }
    }

    fn dim<'p>(&self, port: &'p Port, axis: usize) -> Option<&'p Dim> {
        port.shape.dims()?.get(axis)
    }

    fn data_axis(&self, port: &Port) -> Option<usize> {
        match self.config.batch_axis.get(&port.name) {
            Some(axis) => axis.filter(|axis| self.dim(port, *axis).is_some()),
            None => self.first_axis(port),
        }
    }

    /// Axis 0, where its size is unknown or 1.
    fn first_axis(&self, port: &Port) -> Option<usize> {
        self.dim(port, 0)?.known().is_none_or(|size| size == 1).then_some(0)
    }

    fn symbol_axis(&self, port: &Port, symbol: Option<&str>) -> Option<usize> {
        let is_batch = |dim: &Dim| matches!((dim, symbol), (Dim::Symbol(name), Some(symbol)) if **name == *symbol);
        port.shape.dims()?.iter().position(is_batch)
    }

    fn output_axis(&self, port: &Port, symbol: Option<&str>) -> Option<usize> {
        match self.config.batch_axis.get(&port.name) {
            Some(axis) => *axis,
            None if port.shape.rank().is_none() => Some(0),
            None => self.symbol_axis(port, symbol).or_else(|| self.first_axis(port)),
        }
    }

    fn state_axis(&self, port: &Port, symbol: Option<&str>) -> Option<usize> {
        if let Some(axis) = self.config.batch_axis.get(&port.name) {
            return *axis;
        }
        let unknown = |dim: &Dim| dim.known().is_none();
        let dims = port.shape.dims()?;
        let lone = dims.iter().position(unknown).filter(|_| dims.iter().filter(|dim| unknown(dim)).count() == 1);
        self.symbol_axis(port, symbol).or(lone).or_else(|| self.first_axis(port))
    }

    fn constant_axis(&self, name: &str, symbol: Option<&str>) -> Option<usize> {
        match self.config.batch_axis.get(name) {
            Some(axis) => *axis,
            None => self.symbol_axis(self.graph.input(name)?, symbol),
        }
    }

    fn preprocess(&self) -> Option<&'a Preprocess> {
        self.files.card()?.spec().preprocess.as_ref()
    }

    fn rate(&self) -> Option<Rate> {
        let hz = self.config.sample_rate_hz.or(self.preprocess().and_then(|preprocess| preprocess.sample_rate_hz));
        hz.and_then(|hz| Rate::hz(hz).ok())
    }

    fn windows(&mut self, inputs: &[DataInput]) -> Option<WindowSize> {
        let preprocess = self.preprocess();
        let samples = |own: Option<u32>, card: Option<u64>| own.map(u64::from).or(card);
        let window = samples(self.config.window_samples, preprocess.and_then(|card| card.window_samples));
        let hop = samples(self.config.hop_samples, preprocess.and_then(|card| card.hop_samples));
        let context = samples(self.config.context_samples, preprocess.map(|card| card.context_samples)).unwrap_or(0);
        let Some(window) = window else {
            if self.config.hop_samples.is_some() || self.config.context_samples.is_some() {
                let path = if self.config.hop_samples.is_some() { "hop_samples" } else { "context_samples" };
                let fault = Fault::error("window", "there are no windows for this to apply to");
                self.put(&[path], fault.help("set `window_samples` as well"));
            }
            return None;
        };
        let hop = hop.unwrap_or(window);
        let path = ["window_samples"];
        let too_long = |samples: &u64| *samples > u64::from(super::config::MAX_SAMPLES);
        if window == 0 || hop == 0 || [window, hop, context].iter().any(too_long) {
            let fault = Fault::error("window", "windows of this size cannot be cut")
                .expected(format!("1 to {} samples", super::config::MAX_SAMPLES))
                .found(format!("window {window}, hop {hop}, context {context}"));
            self.put(&path, fault);
            return None;
        }
        let [input] = inputs else {
            if !inputs.is_empty() {
                let names: Vec<_> = inputs.iter().map(|input| format!("`{}`", input.port.name)).collect();
                let fault = Fault::error("window", "windows are cut for one input, and packets fill several")
                    .found(names.join(", "))
                    .help("name one as `input` and give the others as `constants` or `state`, or cut frames before the model");
                self.put(&path, fault);
            }
            return None;
        };
        if !input.takes_sound() {
            let fault = Fault::error("window", format!("sound cannot fill input `{}`", input.port.name))
                .expected("f32 of rank 1 to 3: samples, below batch, below batch and channels")
                .found(format!("{} {}", input.port.dtype, input.port.shape));
            self.put(&path, fault);
            return None;
        }
        let samples = input.port.shape.dims().and_then(|dims| dims.last()).and_then(Dim::known);
        if let Some(samples) = samples.filter(|samples| *samples as u64 != window + context) {
            let fault =
                Fault::error("window", format!("input `{}` takes {samples} samples at a time", input.port.name))
                    .expected(format!("`window_samples` and `context_samples` that make {samples}"))
                    .found(format!("{window} + {context} = {}", window + context));
            self.put(&path, fault);
        }
        let size = |samples: u64| usize::try_from(samples).ok();
        Some(WindowSize {
            window: size(window)?,
            hop: size(hop)?,
            context: size(context)?,
            pad_last: self.config.pad_last,
        })
    }

    /// Several streams in one call, where the model and its ports allow it.
    fn batch(&mut self, binding: &Binding) -> BatchPolicy {
        let Some(batch) = self.config.batch.filter(|batch| batch.max > 1) else {
            return BatchPolicy::ALONE;
        };
        let card = self.files.card();
        let exact = card.map_or(self.config.batch_exact, |card| card.spec().batch == Exactness::Exact);
        if !exact {
            let fault = Fault::error(
                "batch-never",
                format!("several streams in one call change what `{}` gives", self.model()),
            )
            .expected(if card.is_some() { "a model whose card says `batch: exact`" } else { "`batch_exact: true`" })
            .found(if card.is_some() { "`batch: never` in its card" } else { "a model without a card" });
            let fault = fault.help(if card.is_some() {
                "leave `batch` out"
            } else {
                "leave `batch` out, or set `batch_exact: true` if each stream's result does not depend on the others"
            });
            self.put(&["batch"], fault);
            return BatchPolicy::ALONE;
        }
        let data = binding.inputs.iter().map(|input| (&input.port, input.batch_axis));
        let carried = binding.states.iter().flat_map(|state| [&state.input, &state.output]).chain(&binding.outputs);
        for (port, axis) in data.chain(carried.map(|carried| (&carried.port, carried.batch_axis))) {
            let size = axis.and_then(|axis| self.dim(port, axis)).and_then(Dim::known);
            let fault = match (axis, size) {
                (None, _) => Fault::error("batch-axis", format!("`{}` has no batch axis", port.name))
                    .found(port.shape.to_string())
                    .help(format!("name it, if it has one: `batch_axis: {{{}: 0}}`", port.name)),
                (Some(axis), Some(size)) => Fault::error(
                    "batch-axis",
                    format!("axis {axis} of `{}` is always {size}, so there is no room for several streams", port.name),
                )
                .expected("an axis of unknown size")
                .found(port.shape.to_string())
                .help("leave `batch` out, or export the model with a dynamic batch axis"),
                _ => continue,
            };
            self.put(&["batch"], fault);
        }
        BatchPolicy { max: batch.max.into(), wait: TimeSpan::from_millis(batch.wait_ms.into()) }
    }

    /// The file of labels against the size that the card states, and that size against the first output.
    fn labels(&mut self, outputs: &[Carried]) {
        let Some(labels) = self.files.card().and_then(|card| card.spec().labels.clone()) else {
            return;
        };
        let file = match self.files.file(&labels.file) {
            Ok(file) => file,
            Err(fault) => return self.faults.push(fault),
        };
        // Lists of names are text; other files are read by who knows them.
        if let Ok(text) = std::fs::read_to_string(&file) {
            let found = text.lines().count() as u64;
            if found != labels.size {
                let fault = Fault::error("labels-size", format!("{} does not fit the model", file.display()))
                    .expected(format!("{} lines, as the card says", labels.size))
                    .found(found.to_string());
                self.put(&[], fault);
            }
        }
        let Some(output) = outputs.first() else { return };
        let classes = output.port.shape.dims().and_then(|dims| dims.last()).and_then(Dim::known);
        if let Some(classes) = classes.filter(|classes| *classes as u64 != labels.size) {
            let fault = Fault::error("labels-size", format!("the labels of `{}` do not fit its output", self.model()))
                .expected(format!("{classes} labels, as output `{}` has ({})", output.port.name, output.port.shape))
                .found(format!("{} in the card", labels.size));
            self.put(&[], fault);
        }
    }
}
