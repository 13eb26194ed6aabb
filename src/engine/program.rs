//! From an ONNX model to a program: names resolved, operators read, functions expanded, nodes in order.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::attributes::NodeReader;
use super::budget::{self, MAX_CALL_DEPTH};
use super::control::{self, Body, Control, Unexpanded};
use super::error::EngineError;
use super::op::{Activation, Op, Reads, ValueType};
use super::ops;
use crate::onnx::{Attribute, AttributeValue, Function, Graph, Model, Node};
use crate::tensor::{DType, Tensor};

pub(super) type ValueId = usize;

/// The newest version of ONNX's operators that the engine knows.
pub(super) const NEWEST_OPSET: i64 = 28;
/// The oldest one.
pub(super) const OLDEST_OPSET: i64 = 7;

/// A model whose operators are read and whose names are resolved.
pub(super) struct Program {
    pub name: String,
    /// The name of each value, for errors.
    pub names: Vec<String>,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    /// Initializers of f32 and f64, those of bodies included: what training may change.
    pub weights: Vec<Weight>,
    /// All other initializers.
    pub constants: Vec<(ValueId, Tensor)>,
    /// In an order in which each can be computed.
    pub nodes: Vec<ProgramNode>,
    /// The values of the graph itself by name, without those inside of functions and bodies.
    pub values: HashMap<String, ValueId>,
}

/// An input or output of the whole.
#[derive(Clone)]
pub(super) struct Port {
    pub name: String,
    pub id: ValueId,
    /// What the model declares; `None` where it says nothing.
    pub declared: Option<ValueType>,
}

/// An initializer that training may change.
pub(super) struct Weight {
    pub name: String,
    pub id: ValueId,
    pub initial: Tensor,
    /// Its name in the graph that holds it.
    own_name: String,
    /// The graph that holds it: from the model's own graph on, an output of a node and the attribute that is the next one.
    path: Vec<(String, String)>,
}

impl Weight {
    /// Where `model` holds it.
    pub fn stored<'m>(&self, model: &'m mut Model) -> Option<&'m mut Tensor> {
        let mut graph = &mut model.graph;
        for (output, attribute) in &self.path {
            let node = graph.nodes.iter_mut().find(|node| node.outputs.contains(output))?;
            let attribute = node.attributes.iter_mut().find(|known| known.name == *attribute)?;
            let AttributeValue::Graph(inner) = &mut attribute.value else { return None };
            graph = inner;
        }
        graph.initializers.iter_mut().find(|(name, _)| *name == self.own_name).map(|(_, tensor)| tensor)
    }
}

/// A node with its operator.
#[derive(Clone, Debug)]
pub(super) struct ProgramNode {
    /// Its name, or that of its first output.
    pub label: Arc<str>,
    pub op_type: Arc<str>,
    pub opset: i64,
    pub op: Arc<dyn Op>,
    /// What is applied to output 0, of a node that took over the one after it.
    pub activation: Option<Arc<dyn Activation>>,
    pub inputs: Vec<Option<ValueId>>,
    pub outputs: Vec<Option<ValueId>>,
    /// Of If, Loop and Scan: what is put in their place before anything is compiled.
    pub control: Option<Arc<Control>>,
}

impl ProgramNode {
    /// What its backward pass reads of the forward pass.
    pub fn reads(&self) -> Reads {
        match self.activation {
            None => self.op.reads(),
            Some(_) => self.op.reads().with_result(),
        }
    }

    /// An error of this node; `types` are those of its inputs as far as known.
    pub fn error(&self, types: &[Option<ValueType>], source: super::OpError) -> EngineError {
        let known: Vec<String> =
            types.iter().map(|known| known.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string)).collect();
        EngineError::Node {
            node: self.label.to_string(),
            op_type: self.op_type.to_string(),
            opset: self.opset,
            inputs: if known.is_empty() { String::new() } else { format!("; inputs {}", known.join(", ")) },
            source,
        }
    }
}

impl Program {
    /// Reads a model.
    pub fn new(model: &Model) -> Result<Self, EngineError> {
        budget::check(model)?;
        let graph = &model.graph;
        let fault = graph.name.clone();
        let mut lowering = Lowering {
            model,
            names: Vec::new(),
            nodes: Vec::new(),
            constants: Vec::new(),
            weights: Vec::new(),
            weight_names: HashSet::new(),
            path: Some(Vec::new()),
            fault,
        };
        let mut scope = Scope::default();
        if !graph.sparse_initializers.is_empty() {
            return Err(
                lowering.fault("it has sparse initializers, which the engine does not cover; store them densely")
            );
        }
        for (name, tensor) in &graph.initializers {
            let id = lowering.define(&mut scope, name)?;
            lowering.initializer(name, "", id, tensor);
        }
        let mut inputs = Vec::new();
        for input in graph.free_inputs() {
            let id = lowering.define(&mut scope, &input.name)?;
            inputs.push(Port { name: input.name.clone(), id, declared: declared(input) });
        }
        lowering.nodes(&graph.nodes, &mut scope, &model.opset_imports_map(), 0)?;
        let mut outputs = Vec::new();
        for output in &graph.outputs {
            let Some(id) = scope.get(&output.name) else {
                return Err(lowering.fault(format!("output `{}` is computed by no node", output.name)));
            };
            outputs.push(Port { name: output.name.clone(), id, declared: declared(output) });
        }
        if outputs.is_empty() {
            return Err(lowering.fault("it has no output"));
        }
        let Lowering { names, nodes, constants, weights, .. } = lowering;
        let name = graph.name.clone();
        Ok(Program { name, names, inputs, outputs, weights, constants, nodes, values: scope.own })
    }
}

impl Program {
    /// The nodes that `outputs` depend on, in order, and for every value whether it is among those.
    pub fn needed(&self, outputs: &[ValueId]) -> (Vec<usize>, Vec<bool>) {
        let mut needed = vec![false; self.names.len()];
        for id in outputs {
            needed[*id] = true;
        }
        let mut nodes = Vec::new();
        for (index, node) in self.nodes.iter().enumerate().rev() {
            if node.outputs.iter().flatten().any(|id| needed[*id]) {
                nodes.push(index);
                for id in node.inputs.iter().chain(&node.outputs).flatten() {
                    needed[*id] = true;
                }
            }
        }
        nodes.reverse();
        (nodes, needed)
    }
}

/// The values that nodes can read, by name.
#[derive(Default)]
struct Scope<'a> {
    /// Those of the graph itself.
    own: HashMap<String, ValueId>,
    /// Those of the graphs around it.
    outer: Option<&'a Scope<'a>>,
    /// Names that the graph defines somewhere, so that they never mean what they mean outside.
    hidden: HashSet<String>,
}

impl Scope<'_> {
    fn get(&self, name: &str) -> Option<ValueId> {
        let outer = || self.outer.filter(|_| !self.hidden.contains(name))?.get(name);
        self.own.get(name).copied().or_else(outer)
    }

    /// Whether the name was free.
    fn insert(&mut self, name: &str, id: ValueId) -> bool {
        self.own.insert(name.to_owned(), id).is_none()
    }
}

type Opsets = HashMap<String, i64>;

impl Model {
    fn opset_imports_map(&self) -> Opsets {
        self.opset_imports.iter().map(|import| (plain(&import.domain).to_owned(), import.version)).collect()
    }
}

fn plain(domain: &str) -> &str {
    if domain == "ai.onnx" { "" } else { domain }
}

fn declared(value: &crate::onnx::ValueInfo) -> Option<ValueType> {
    value.dtype.map(|dtype| ValueType::new(dtype, value.shape.clone()))
}

struct Lowering<'a> {
    model: &'a Model,
    names: Vec<String>,
    nodes: Vec<ProgramNode>,
    constants: Vec<(ValueId, Tensor)>,
    weights: Vec<Weight>,
    weight_names: HashSet<String>,
    /// Where the graph lies that is being read; `None` inside of functions, which several nodes may share.
    path: Option<Vec<(String, String)>>,
    fault: String,
}

impl<'a> Lowering<'a> {
    fn fault(&self, reason: impl Into<String>) -> EngineError {
        EngineError::Graph { graph: self.fault.clone(), reason: reason.into() }
    }

    fn define(&mut self, scope: &mut Scope<'_>, name: &str) -> Result<ValueId, EngineError> {
        if name.is_empty() {
            return Err(self.fault("an input or initializer has no name"));
        }
        let id = self.names.len();
        if !scope.insert(name, id) {
            return Err(self.fault(format!("value `{name}` is defined twice")));
        }
        self.names.push(name.to_owned());
        Ok(id)
    }

    /// Takes over an initializer of the graph that is being read, which is a body of node `label` unless that is empty.
    fn initializer(&mut self, own_name: &str, label: &str, id: ValueId, tensor: &Tensor) {
        let Some(path) = self.path.clone().filter(|_| matches!(tensor.dtype(), DType::F32 | DType::F64)) else {
            self.constants.push((id, tensor.clone()));
            return;
        };
        let mut name = own_name.to_owned();
        while !self.weight_names.insert(name.clone()) {
            name = format!("{label}/{name}");
        }
        self.weights.push(Weight { name, id, initial: tensor.clone(), own_name: own_name.to_owned(), path });
    }

    /// Reads nodes into the program, in an order in which each can be computed.
    fn nodes(
        &mut self,
        nodes: &[Node],
        scope: &mut Scope<'_>,
        opsets: &Opsets,
        depth: usize,
    ) -> Result<(), EngineError> {
        // Nodes that wait for a value; each is looked at again when its last missing input is defined.
        let mut waiting: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut missing: Vec<usize> = vec![0; nodes.len()];
        let mut ready: std::collections::BinaryHeap<std::cmp::Reverse<usize>> = std::collections::BinaryHeap::new();
        for (index, node) in nodes.iter().enumerate() {
            for input in control::names_read(node) {
                if scope.get(input).is_none() {
                    missing[index] += 1;
                    waiting.entry(input).or_default().push(index);
                }
            }
            if missing[index] == 0 {
                ready.push(std::cmp::Reverse(index));
            }
        }
        let mut done = 0;
        while let Some(std::cmp::Reverse(index)) = ready.pop() {
            let node = &nodes[index];
            self.node(node, scope, opsets, depth)?;
            done += 1;
            for output in &node.outputs {
                for index in waiting.remove(output.as_str()).unwrap_or_default() {
                    missing[index] -= 1;
                    if missing[index] == 0 {
                        ready.push(std::cmp::Reverse(index));
                    }
                }
            }
        }
        if done < nodes.len() {
            let (index, node) = nodes
                .iter()
                .enumerate()
                .find(|(index, _)| missing[*index] > 0)
                .map_or((0, &nodes[0]), |(index, node)| (index, node));
            let input = control::names_read(node).into_iter().find(|input| scope.get(input).is_none());
            return Err(self.fault(format!(
                "node `{}` reads `{}`, which nothing defines, or only a node that itself waits for this one",
                label(node, index),
                input.unwrap_or_default(),
            )));
        }
        Ok(())
    }

    fn node(&mut self, node: &Node, scope: &mut Scope<'_>, opsets: &Opsets, depth: usize) -> Result<(), EngineError> {
        let domain = plain(&node.domain);
        let inputs = node.inputs.iter().map(|name| scope.get(name)).collect();
        if let Some(function) = self.function(node) {
            return self.call(node, function, inputs, scope, depth);
        }
        let label: Arc<str> = label(node, self.nodes.len()).into();
        let opset = opsets.get(domain).copied().or_else(|| (domain == ops::DOMAIN).then_some(1));
        let Some(opset) = opset else {
            return Err(self.fault(format!("node `{label}` is of domain `{domain}`, which the model does not import")));
        };
        if domain.is_empty() && !(OLDEST_OPSET..=NEWEST_OPSET).contains(&opset) {
            let expected = format!("{OLDEST_OPSET} to {NEWEST_OPSET}");
            return Err(EngineError::Opset { domain: "ai.onnx".into(), expected, found: opset });
        }
        let mut lowered = ProgramNode {
            label,
            op_type: node.op_type.as_str().into(),
            opset,
            op: Arc::new(ops::Nothing),
            activation: None,
            inputs,
            outputs: Vec::new(),
            control: None,
        };
        let reader = NodeReader::new(node, opset);
        if let Some((kind, graphs)) = control::read(domain, &reader).map_err(|source| lowered.error(&[], source))? {
            lowered.op = Arc::new(Unexpanded(kind.clone()));
            let explicit = lowered.inputs.len();
            let mut captured: Vec<ValueId> = Vec::new();
            for name in graphs.iter().flat_map(|(_, graph)| control::names_captured(graph)) {
                // A name that nothing defines is reported when the body is read.
                captured.extend(scope.get(name).filter(|id| !captured.contains(id)).as_slice());
            }
            let mut bodies = Vec::with_capacity(graphs.len());
            for (attribute, graph) in graphs {
                let output = node.outputs.iter().find(|output| !output.is_empty());
                let outside = self.path.clone();
                self.path = outside.clone().zip(output).map(|(mut path, output)| {
                    path.push((output.clone(), attribute.to_owned()));
                    path
                });
                let label = lowered.label.clone();
                let body = self.body(graph, &label, scope, opsets, depth);
                self.path = outside;
                bodies.push(body?);
            }
            lowered.inputs.extend(captured.iter().copied().map(Some));
            lowered.control = Some(Arc::new(Control { kind, explicit, captured, bodies }));
            for name in &node.outputs {
                lowered.outputs.push(if name.is_empty() { None } else { Some(self.define(scope, name)?) });
            }
            self.nodes.push(lowered);
            return Ok(());
        }
        let Some(entry) = ops::find(domain, &node.op_type).filter(|entry| entry.since <= opset) else {
            let domain = if domain.is_empty() { "ai.onnx" } else { domain };
            let hint = ops::suggestion(&node.op_type);
            return Err(EngineError::UnknownOp {
                node: lowered.label.to_string(),
                op_type: node.op_type.clone(),
                domain: domain.into(),
                opset,
                hint,
            });
        };
        let op = (entry.parse)(&reader).and_then(|op| reader.finish().map(|()| op));
        lowered.op = op.map_err(|source| lowered.error(&[], source))?.into();
        for name in &node.outputs {
            lowered.outputs.push(if name.is_empty() { None } else { Some(self.define(scope, name)?) });
        }
        self.nodes.push(lowered);
        Ok(())
    }

    fn function(&self, node: &Node) -> Option<&'a Function> {
        let model = self.model;
        model.functions.iter().find(|function| {
            function.name == node.op_type
                && plain(&function.domain) == plain(&node.domain)
                && function.overload == node.overload
        })
    }

    /// The nodes of a function with the attributes that a node calls it with.
    fn resolve(
        &self,
        node: &Node,
        function: &Function,
        label: &str,
        inputs: &[Option<ValueId>],
    ) -> Result<Vec<Node>, EngineError> {
        let declared = |name: &String| {
            function.attributes.contains(name) || function.attribute_defaults.iter().any(|known| known.name == *name)
        };
        if let Some(unknown) = node.attributes.iter().find(|attribute| !declared(&attribute.name)) {
            let reason = "which does not take attribute";
            return Err(
                self.fault(format!("node `{label}` calls function `{}`, {reason} `{}`", function.name, unknown.name))
            );
        }
        if let Some(missing) = function.attributes.iter().find(|name| node.attribute(name).is_none()) {
            let reason = "which needs attribute";
            return Err(self.fault(format!("node `{label}` calls function `{}`, {reason} `{missing}`", function.name)));
        }
        fn pair(attribute: &Attribute) -> (&str, &AttributeValue) {
            (attribute.name.as_str(), &attribute.value)
        }
        let mut given: HashMap<&str, &AttributeValue> = function.attribute_defaults.iter().map(pair).collect();
        given.extend(node.attributes.iter().map(pair));
        let given_inputs = inputs.iter().copied().chain(std::iter::repeat(None));
        let absent = function.inputs.iter().zip(given_inputs).filter(|(_, id)| id.is_none());
        let absent = absent.map(|(name, _)| name.as_str()).collect();
        resolved(&function.nodes, &given, &absent)
            .map_err(|reason| self.fault(format!("node `{label}` calls function `{}`: {reason}", function.name)))
    }

    /// Reads the graph inside a node. Names that it does not define are those of the graphs around it.
    fn body(
        &mut self,
        graph: &Graph,
        label: &str,
        outer: &Scope<'_>,
        opsets: &Opsets,
        depth: usize,
    ) -> Result<Body, EngineError> {
        if depth >= MAX_CALL_DEPTH {
            return Err(self.fault(format!("body `{}` lies more than {MAX_CALL_DEPTH} deep", graph.name)));
        }
        if !graph.sparse_initializers.is_empty() {
            return Err(
                self.fault("a body has sparse initializers, which the engine does not cover; store them densely")
            );
        }
        let hidden = control::names_defined(graph).map(str::to_owned).collect();
        let mut scope = Scope { own: HashMap::new(), outer: Some(outer), hidden };
        for (name, tensor) in &graph.initializers {
            let id = self.define(&mut scope, name)?;
            self.initializer(name, label, id, tensor);
        }
        let inputs: Result<Vec<ValueId>, EngineError> =
            graph.free_inputs().map(|input| self.define(&mut scope, &input.name)).collect();
        let outside = std::mem::take(&mut self.nodes);
        let read = self.nodes(&graph.nodes, &mut scope, opsets, depth + 1);
        let nodes = std::mem::replace(&mut self.nodes, outside);
        read?;
        let mut outputs = Vec::with_capacity(graph.outputs.len());
        for output in &graph.outputs {
            let id = scope.get(&output.name);
            outputs.push(id.ok_or_else(|| {
                self.fault(format!("output `{}` of body `{}` is computed by no node", output.name, graph.name))
            })?);
        }
        Ok(Body { inputs: inputs?, outputs, declared: graph.outputs.iter().map(declared).collect(), nodes })
    }

    /// Puts the nodes of a function in the place of the node that calls it.
    fn call(
        &mut self,
        node: &Node,
        function: &Function,
        inputs: Vec<Option<ValueId>>,
        scope: &mut Scope<'_>,
        depth: usize,
    ) -> Result<(), EngineError> {
        let label = label(node, self.nodes.len());
        if depth >= MAX_CALL_DEPTH {
            return Err(self.fault(format!("node `{label}` calls functions more than {MAX_CALL_DEPTH} deep")));
        }
        if inputs.len() > function.inputs.len() || node.outputs.len() > function.outputs.len() {
            return Err(self.fault(format!(
                "node `{label}` calls function `{}` with {} inputs and {} outputs, it has {} and {}",
                function.name,
                inputs.len(),
                node.outputs.len(),
                function.inputs.len(),
                function.outputs.len(),
            )));
        }
        let nodes = self.resolve(node, function, &label, &inputs)?;
        let mut inner = Scope::default();
        for (name, id) in function.inputs.iter().zip(inputs) {
            if let Some(id) = id {
                inner.insert(name, id);
            }
        }
        let opsets = function.opset_imports.iter();
        let opsets = opsets.map(|import| (plain(&import.domain).to_owned(), import.version)).collect();
        let outside = self.path.take();
        let read = self.nodes(&nodes, &mut inner, &opsets, depth + 1);
        self.path = outside;
        read?;
        for (outer, name) in node.outputs.iter().zip(&function.outputs).filter(|(outer, _)| !outer.is_empty()) {
            let Some(id) = inner.get(name) else {
                return Err(self.fault(format!("function `{}` does not compute its output `{name}`", function.name)));
            };
            if !scope.insert(outer, id) {
                return Err(self.fault(format!("value `{outer}` is defined twice")));
            }
        }
        Ok(())
    }
}

/// Replaces references to attributes of the calling node by what it gives (an attribute that it does not give is left
/// out), and the names of inputs that it leaves out by nothing.
fn resolved(
    nodes: &[Node],
    given: &HashMap<&str, &AttributeValue>,
    absent: &HashSet<&str>,
) -> Result<Vec<Node>, String> {
    let one = |node: &Node| {
        let mut node = node.clone();
        for input in node.inputs.iter_mut().filter(|input| absent.contains(input.as_str())) {
            input.clear();
        }
        let mut attributes = Vec::with_capacity(node.attributes.len());
        for mut attribute in std::mem::take(&mut node.attributes) {
            match &mut attribute.value {
                AttributeValue::Reference { name, kind } => match given.get(name.as_str()) {
                    Some(value) if value.kind() != *kind => {
                        return Err(format!("attribute `{name}` is not of the type that it asks for"));
                    }
                    Some(value) => attribute.value = (*value).clone(),
                    None => continue,
                },
                AttributeValue::Graph(graph) => graph.nodes = resolved(&graph.nodes, given, absent)?,
                AttributeValue::Graphs(graphs) => {
                    for graph in graphs {
                        graph.nodes = resolved(&graph.nodes, given, absent)?;
                    }
                }
                _ => {}
            }
            attributes.push(attribute);
        }
        node.attributes = attributes;
        Ok(node)
    };
    nodes.iter().map(one).collect()
}

/// What a node is called in errors: its name, its first output, or its number.
fn label(node: &Node, index: usize) -> String {
    let named = [&node.name].into_iter().chain(&node.outputs).find(|name| !name.is_empty());
    named.cloned().unwrap_or_else(|| format!("number {index}"))
}
