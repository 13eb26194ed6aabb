//! The names of a config against those of a graph: what fills each input, and what becomes of each output.

use std::collections::{BTreeMap, BTreeSet};

use super::super::files::ModelFiles;
use super::super::graph::Graph;
use super::config::OnnxConfig;
use super::constant;
use crate::config::{Fault, Faults, suggest};
use crate::inference::{Port, PortRole};
use crate::stage::ReadContext;
use crate::tensor::Tensor;

/// A state's input by its name, the ports of input and output, and the first value.
pub type Pair = (String, Port, Port, Tensor);

/// What a binding is made from, and what was found wrong with it.
pub struct Binder<'a> {
    pub config: &'a OnnxConfig,
    pub graph: &'a Graph,
    pub files: &'a ModelFiles,
    pub context: &'a ReadContext<'a>,
    pub faults: Faults,
}

impl<'a> Binder<'a> {
    /// Puts the fault at the innermost of these keys that the stage has, or at its model.
    pub(super) fn put(&mut self, path: &[&str], mut fault: Fault) {
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

    pub(super) fn model(&self) -> &'a str {
        &self.graph.model
    }

    /// The port of this name, or a fault that lists those there are.
    pub(super) fn find(&mut self, role: PortRole, name: &str, path: &[&str]) -> Option<Port> {
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

    pub(super) fn constants(&mut self) -> Vec<(String, Tensor)> {
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
    pub(super) fn state(&self) -> Option<&'a BTreeMap<String, String>> {
        self.config.state.as_ref().or(self.files.card().map(|card| &card.spec().state))
    }

    /// The state's input, its ports and its first value, for each pair.
    pub(super) fn pairs(&mut self) -> Vec<Pair> {
        let Some(state) = self.state() else { return Vec::new() };
        let mut pairs: Vec<Pair> = Vec::new();
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
    pub(super) fn inputs(&mut self, taken: &BTreeSet<&str>) -> Vec<(String, Port)> {
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
                    let message = format!("nothing fills input `{}` ({} {})", port.name, port.dtype, port.shape);
                    let fault = Fault::error("unbound-input", message).help(format!(
                        "add it to `inputs`, give it a value (`constants: {{{0}: …}}`), or name the output that gives \
                         its next value (`state: {{{0}: …}}`)",
                        port.name
                    ));
                    self.put(&["inputs"], fault);
                }
            }
        }
        inputs
    }

    pub(super) fn outputs(&mut self, pairs: &[Pair]) -> Vec<Port> {
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
}
