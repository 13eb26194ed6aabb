//! Control flow: If, Loop and Scan.
//!
//! Their bodies are read with the graph, once, as templates. When the graph is compiled, the body's nodes are put in the
//! place of the node: the branch that the condition chooses, or one copy for each iteration. So the condition and the
//! trip count have to be known then; where they are computed from inputs, a plan holds for those inputs' values.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__If.html>, <https://onnx.ai/onnx/operators/onnx__Loop.html>,
//! <https://onnx.ai/onnx/operators/onnx__Scan.html>.

mod stack;
#[cfg(test)]
mod tests;

pub(super) use stack::{Alias, Stack, Unstack, dimension};

use std::collections::BTreeSet;

use super::attributes::NodeReader;
use super::error::OpError;
use super::kernel::Kernel;
use super::op::{Inputs, Op, Signature, ValueType};
use super::program::{ProgramNode, ValueId};
use crate::onnx::{AttributeValue, Graph, Node};

/// The most copies of bodies that one graph may be expanded to.
pub(super) const MAX_COPIES: usize = 10_000;

/// A control flow node: its bodies, and what it says of them.
#[derive(Debug)]
pub(super) struct Control {
    pub kind: Kind,
    /// How many of the node's inputs it names itself; those after are `captured`.
    pub explicit: usize,
    /// The values of outer graphs that the bodies read.
    pub captured: Vec<ValueId>,
    /// Both branches of If (`then_branch` first), or the one body.
    pub bodies: Vec<Body>,
}

/// Which operator.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    If,
    Loop,
    Scan(Scan),
}

/// The attributes of Scan.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    /// How many inputs are cut, the last ones.
    pub inputs: usize,
    input_axes: Vec<i64>,
    input_directions: Vec<i64>,
    output_axes: Vec<i64>,
    output_directions: Vec<i64>,
}

impl Scan {
    /// Along which dimension scan input `index` is cut, and whether from the end.
    pub fn input(&self, index: usize) -> (i64, bool) {
        let at = |values: &[i64]| values.get(index).copied().unwrap_or(0);
        (at(&self.input_axes), at(&self.input_directions) != 0)
    }

    /// Along which dimension scan output `index` is laid, and whether each step goes before those before it.
    pub fn output(&self, index: usize) -> (i64, bool) {
        let at = |values: &[i64]| values.get(index).copied().unwrap_or(0);
        (at(&self.output_axes), at(&self.output_directions) != 0)
    }
}

/// A graph inside a node.
#[derive(Debug)]
pub(super) struct Body {
    pub inputs: Vec<ValueId>,
    pub outputs: Vec<ValueId>,
    /// What the graph declares of its outputs.
    pub declared: Vec<Option<ValueType>>,
    pub nodes: Vec<ProgramNode>,
}

/// What a control flow node is, and its bodies by the attributes that hold them.
type Read<'n> = (Kind, Vec<(&'static str, &'n Graph)>);

/// Reads a control flow node. `None` for all other nodes.
pub(super) fn read<'n>(domain: &str, reader: &NodeReader<'n>) -> Result<Option<Read<'n>>, OpError> {
    let node = reader.node();
    let graph = |name: &'static str| match reader.any(name) {
        Some(AttributeValue::Graph(graph)) => Ok((name, graph)),
        found => Err(OpError::Attribute {
            name: name.into(),
            expected: "a graph".into(),
            found: found.map_or("nothing".into(), |value| format!("{:?}", value.kind()).to_lowercase()),
        }),
    };
    let (kind, bodies) = match (domain, node.op_type.as_str()) {
        ("", "If") => (Kind::If, vec![graph("then_branch")?, graph("else_branch")?]),
        ("", "Loop") => (Kind::Loop, vec![graph("body")?]),
        ("", "Scan") => {
            if reader.opset() < 9 {
                return Err(OpError::NotCovered { what: "Scan before version 9".into() });
            }
            let inputs = reader.int("num_scan_inputs")?.unwrap_or(0);
            let inputs = usize::try_from(inputs).ok().filter(|count| (1..=node.inputs.len()).contains(count));
            let inputs = inputs.ok_or_else(|| OpError::Attribute {
                name: "num_scan_inputs".into(),
                expected: format!("1 to {}", node.inputs.len()),
                found: reader.int("num_scan_inputs").ok().flatten().unwrap_or(0).to_string(),
            })?;
            let body = graph("body")?;
            let outputs = (body.1.outputs.len() + inputs).saturating_sub(node.inputs.len());
            let list = |name: &'static str, count: usize| -> Result<Vec<i64>, OpError> {
                match reader.ints(name)? {
                    Some(values) if values.len() != count => Err(OpError::Attribute {
                        name: name.into(),
                        expected: format!("{count} numbers"),
                        found: values.len().to_string(),
                    }),
                    values => Ok(values.unwrap_or_default()),
                }
            };
            let scan = Scan {
                inputs,
                input_axes: list("scan_input_axes", inputs)?,
                input_directions: list("scan_input_directions", inputs)?,
                output_axes: list("scan_output_axes", outputs)?,
                output_directions: list("scan_output_directions", outputs)?,
            };
            (Kind::Scan(scan), vec![body])
        }
        _ => return Ok(None),
    };
    reader.finish()?;
    check(&kind, node, &bodies)?;
    Ok(Some((kind, bodies)))
}

/// Refuses bodies that have another number of inputs or outputs than the node says.
fn check(kind: &Kind, node: &Node, bodies: &[(&'static str, &Graph)]) -> Result<(), OpError> {
    let (inputs, least, most) = match kind {
        Kind::If => (0, node.outputs.len(), usize::MAX),
        Kind::Loop => (node.inputs.len().max(2), 1 + node.outputs.len(), usize::MAX),
        Kind::Scan(_) => (node.inputs.len(), node.outputs.len(), usize::MAX),
    };
    let carried = match kind {
        Kind::If => 0,
        Kind::Loop => node.inputs.len().max(2) - 1,
        Kind::Scan(scan) => node.inputs.len() - scan.inputs,
    };
    let wrong = |what: &'static str, expected: String, found: usize| OpError::Arity { what, expected, found };
    if matches!(kind, Kind::If) && node.inputs.len() != 1 {
        return Err(wrong("inputs", "1".into(), node.inputs.len()));
    }
    for (_, body) in bodies {
        if body.free_inputs().count() != inputs {
            return Err(wrong("inputs of the body", inputs.to_string(), body.free_inputs().count()));
        }
        let least = least.max(carried);
        if !(least..=most).contains(&body.outputs.len()) {
            return Err(wrong("outputs of the body", format!("at least {least}"), body.outputs.len()));
        }
    }
    Ok(())
}

/// The values that a node reads by name: its inputs, and what its bodies read from outside of them.
pub(super) fn names_read(node: &Node) -> BTreeSet<&str> {
    let mut names: BTreeSet<&str> = node.inputs.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
    for graph in graphs(node) {
        names.extend(names_captured(graph));
    }
    names
}

/// The values that a body reads from outside of it.
pub(super) fn names_captured(graph: &Graph) -> BTreeSet<&str> {
    let mut names: BTreeSet<&str> = graph.nodes.iter().flat_map(names_read).collect();
    names.extend(graph.outputs.iter().map(|output| output.name.as_str()));
    for name in names_defined(graph) {
        names.remove(name);
    }
    names
}

/// The values that a graph defines itself.
pub(super) fn names_defined(graph: &Graph) -> impl Iterator<Item = &str> {
    let inputs = graph.inputs.iter().map(|input| input.name.as_str());
    let initializers = graph.initializers.iter().map(|(name, _)| name.as_str());
    let computed = graph.nodes.iter().flat_map(|node| node.outputs.iter().map(String::as_str));
    inputs.chain(initializers).chain(computed)
}

/// The graphs inside a node.
pub(super) fn graphs(node: &Node) -> impl Iterator<Item = &Graph> {
    node.attributes.iter().flat_map(|attribute| match &attribute.value {
        AttributeValue::Graph(graph) => std::slice::from_ref(graph),
        AttributeValue::Graphs(graphs) => graphs.as_slice(),
        _ => &[],
    })
}

/// Stands for a control flow node until it is expanded.
#[derive(Debug)]
pub(super) struct Unexpanded(pub Kind);

impl Op for Unexpanded {
    fn infer(&self, _: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        Err(OpError::Plan { what: "control flow was not expanded".into() })
    }

    fn build(&self, _: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        Err(OpError::Plan { what: "control flow was not expanded".into() })
    }

    fn shape_inputs(&self) -> &'static [usize] {
        match self.0 {
            Kind::If => &[0],
            Kind::Loop => &[0, 1],
            Kind::Scan(_) => &[],
        }
    }
}
