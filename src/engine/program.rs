//! From an ONNX model to a program: names resolved, operators read, functions expanded, nodes in order.

use std::collections::HashMap;
use std::sync::Arc;

use super::attributes::NodeReader;
use super::error::EngineError;
use super::op::{Op, ValueType};
use super::ops;
use crate::onnx::{Function, Model, Node};
use crate::tensor::{DType, Tensor};

/// A value of a program, by number.
pub(super) type ValueId = usize;

/// The newest version of ONNX's operators that the engine knows.
pub(super) const NEWEST_OPSET: i64 = 28;
/// The oldest one.
pub(super) const OLDEST_OPSET: i64 = 7;
/// How deep functions may call each other.
const MAX_CALL_DEPTH: usize = 16;

/// A model whose operators are read and whose names are resolved.
pub(super) struct Program {
    pub name: String,
    /// The name of each value, for errors.
    pub names: Vec<String>,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    /// Initializers of f32 and f64: what training may change.
    pub weights: Vec<Weight>,
    /// All other initializers.
    pub constants: Vec<(ValueId, Tensor)>,
    /// In an order in which each can be computed.
    pub nodes: Vec<ProgramNode>,
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
}

/// A node with its operator.
#[derive(Clone)]
pub(super) struct ProgramNode {
    /// Its name, or that of its first output.
    pub label: Arc<str>,
    pub op_type: Arc<str>,
    pub opset: i64,
    pub op: Arc<dyn Op>,
    pub inputs: Vec<Option<ValueId>>,
    pub outputs: Vec<Option<ValueId>>,
}

impl ProgramNode {
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
        let graph = &model.graph;
        let mut lowering = Lowering { model, names: Vec::new(), nodes: Vec::new(), fault: graph.name.clone() };
        let mut scope = Scope::default();
        if !graph.sparse_initializers.is_empty() {
            return Err(
                lowering.fault("it has sparse initializers, which the engine does not cover; store them densely")
            );
        }
        let mut weights = Vec::new();
        let mut constants = Vec::new();
        for (name, tensor) in &graph.initializers {
            let id = lowering.define(&mut scope, name)?;
            match tensor.dtype() {
                DType::F32 | DType::F64 => weights.push(Weight { name: name.clone(), id, initial: tensor.clone() }),
                _ => constants.push((id, tensor.clone())),
            }
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
            outputs.push(Port { name: output.name.clone(), id: *id, declared: declared(output) });
        }
        if outputs.is_empty() {
            return Err(lowering.fault("it has no output"));
        }
        let Lowering { names, nodes, .. } = lowering;
        Ok(Program { name: graph.name.clone(), names, inputs, outputs, weights, constants, nodes })
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

type Scope = HashMap<String, ValueId>;
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
    fault: String,
}

impl<'a> Lowering<'a> {
    fn fault(&self, reason: impl Into<String>) -> EngineError {
        EngineError::Graph { graph: self.fault.clone(), reason: reason.into() }
    }

    fn define(&mut self, scope: &mut Scope, name: &str) -> Result<ValueId, EngineError> {
        if name.is_empty() {
            return Err(self.fault("an input or initializer has no name"));
        }
        let id = self.names.len();
        if scope.insert(name.to_owned(), id).is_some() {
            return Err(self.fault(format!("value `{name}` is defined twice")));
        }
        self.names.push(name.to_owned());
        Ok(id)
    }

    /// Reads nodes into the program, in an order in which each can be computed.
    fn nodes(
        &mut self,
        nodes: &'a [Node],
        scope: &mut Scope,
        opsets: &Opsets,
        depth: usize,
    ) -> Result<(), EngineError> {
        // Nodes that wait for a value; each is looked at again when its last missing input is defined.
        let mut waiting: HashMap<&str, Vec<usize>> = HashMap::new();
        let mut missing: Vec<usize> = vec![0; nodes.len()];
        let mut ready: std::collections::BinaryHeap<std::cmp::Reverse<usize>> = std::collections::BinaryHeap::new();
        for (index, node) in nodes.iter().enumerate() {
            for input in node.inputs.iter().filter(|input| !input.is_empty()) {
                if !scope.contains_key(input.as_str()) {
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
            let input = node.inputs.iter().find(|input| !input.is_empty() && !scope.contains_key(input.as_str()));
            return Err(self.fault(format!(
                "node `{}` reads `{}`, which nothing defines, or only a node that itself waits for this one",
                label(node, index),
                input.map_or("", String::as_str),
            )));
        }
        Ok(())
    }

    fn node(&mut self, node: &'a Node, scope: &mut Scope, opsets: &Opsets, depth: usize) -> Result<(), EngineError> {
        let domain = plain(&node.domain);
        let inputs = node.inputs.iter().map(|name| scope.get(name.as_str()).copied()).collect();
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
        let Some(entry) = ops::find(domain, &node.op_type).filter(|entry| entry.since <= opset) else {
            let domain = if domain.is_empty() { "ai.onnx" } else { domain };
            let hint = ops::suggestion(&node.op_type);
            return Err(EngineError::UnknownOp {
                node: label.to_string(),
                op_type: node.op_type.clone(),
                domain: domain.into(),
                opset,
                hint,
            });
        };
        let reader = NodeReader::new(node, opset);
        let mut lowered = ProgramNode {
            label,
            op_type: entry.op_type.into(),
            opset,
            op: Arc::new(ops::Nothing),
            inputs,
            outputs: Vec::new(),
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

    /// Puts the nodes of a function in the place of the node that calls it.
    fn call(
        &mut self,
        node: &'a Node,
        function: &'a Function,
        inputs: Vec<Option<ValueId>>,
        scope: &mut Scope,
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
        if function.nodes.iter().any(has_reference) || !function.attributes.is_empty() {
            return Err(self.fault(format!(
                "node `{label}` calls function `{}`, which takes attributes; the engine does not cover that",
                function.name
            )));
        }
        let mut inner = Scope::default();
        for (name, id) in function.inputs.iter().zip(inputs) {
            if let Some(id) = id {
                inner.insert(name.clone(), id);
            }
        }
        let opsets = function.opset_imports.iter();
        let opsets = opsets.map(|import| (plain(&import.domain).to_owned(), import.version)).collect();
        self.nodes(&function.nodes, &mut inner, &opsets, depth + 1)?;
        for (outer, name) in node.outputs.iter().zip(&function.outputs).filter(|(outer, _)| !outer.is_empty()) {
            let Some(id) = inner.get(name) else {
                return Err(self.fault(format!("function `{}` does not compute its output `{name}`", function.name)));
            };
            if scope.insert(outer.clone(), *id).is_some() {
                return Err(self.fault(format!("value `{outer}` is defined twice")));
            }
        }
        Ok(())
    }
}

fn has_reference(node: &Node) -> bool {
    let is_reference =
        |value: &crate::onnx::AttributeValue| matches!(value, crate::onnx::AttributeValue::Reference { .. });
    node.attributes.iter().any(|attribute| is_reference(&attribute.value))
}

/// What a node is called in errors: its name, its first output, or its number.
fn label(node: &Node, index: usize) -> String {
    let named = [&node.name].into_iter().chain(&node.outputs).find(|name| !name.is_empty());
    named.cloned().unwrap_or_else(|| format!("number {index}"))
}
