//! How large a graph may become: functions and loops let a small file stand for any number of nodes.

use std::collections::HashMap;

use super::control;
use super::error::EngineError;
use crate::onnx::{Function, Model, Node};

/// The most nodes that a graph may have once functions and loops are expanded.
pub(super) const MAX_NODES: usize = 500_000;
/// How deep functions may call each other.
pub(super) const MAX_CALL_DEPTH: usize = 16;
/// Bytes of names, inputs and outputs that count as a further node.
const NODE_BYTES: usize = 256;

/// What a graph may still be expanded by.
pub(super) struct Budget {
    left: usize,
}

impl Budget {
    /// All of it.
    pub fn new() -> Self {
        Budget { left: MAX_NODES }
    }

    /// Takes one node that has `bytes` bytes of names, inputs and outputs; says whether there was room for it.
    pub fn take(&mut self, bytes: usize) -> bool {
        let left = self.left.checked_sub(cost(bytes));
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    /// Whether there is room for `count` nodes.
    pub fn has(&self, count: usize) -> bool {
        count <= self.left
    }
}

/// What a node with `bytes` bytes of names, inputs and outputs counts.
fn cost(bytes: usize) -> usize {
    1 + bytes / NODE_BYTES
}

/// Refuses a model that has too many nodes once its functions are expanded, before any is. Loops count once.
pub(super) fn check(model: &Model) -> Result<(), EngineError> {
    // Of two of one name, the first counts.
    let functions = model.functions.iter().rev();
    let functions = functions.map(|f| (name(&f.domain, &f.name, &f.overload), f)).collect();
    let mut counting = Counting { functions, known: HashMap::new() };
    let fault = |reason| EngineError::Graph { graph: model.graph.name.clone(), reason };
    let size = counting.nodes(&model.graph.nodes, 0).map_err(fault)?.count;
    match size <= MAX_NODES {
        true => Ok(()),
        false => Err(fault(format!("it has {}", too_many(size)))),
    }
}

fn too_many(size: usize) -> String {
    let size = if size == usize::MAX { "countless".to_owned() } else { size.to_string() };
    format!(
        "{size} nodes once functions are expanded (long names and lists count as nodes); \
         more than {MAX_NODES} nodes are not covered by the engine"
    )
}

/// Domain, name and overload.
type Name<'a> = (&'a str, &'a str, &'a str);

fn name<'a>(domain: &'a str, name: &'a str, overload: &'a str) -> Name<'a> {
    (if domain == "ai.onnx" { "" } else { domain }, name, overload)
}

/// How large something is when expanded.
#[derive(Clone, Copy, Default)]
struct Size {
    count: usize,
    /// How many functions deep it is.
    height: usize,
}

struct Counting<'a> {
    functions: HashMap<Name<'a>, &'a Function>,
    known: HashMap<Name<'a>, Size>,
}

impl<'a> Counting<'a> {
    fn nodes(&mut self, nodes: &'a [Node], depth: usize) -> Result<Size, String> {
        let mut size = Size::default();
        for node in nodes {
            let names = node.inputs.iter().chain(&node.outputs).map(|name| name.len() + size_of::<Option<usize>>());
            let own = cost(names.fold(node.name.len() + node.op_type.len(), usize::saturating_add));
            let mut parts = vec![Size { count: own, height: 0 }];
            for graph in control::graphs(node) {
                parts.push(self.nodes(&graph.nodes, depth)?);
            }
            parts.push(self.call(node, depth)?);
            for part in parts {
                size.count = size.count.saturating_add(part.count);
                size.height = size.height.max(part.height);
            }
        }
        Ok(size)
    }

    /// What a node adds that calls a function; nothing for other nodes.
    fn call(&mut self, node: &'a Node, depth: usize) -> Result<Size, String> {
        let key = name(&node.domain, &node.op_type, &node.overload);
        let Some(function) = self.functions.get(&key).copied() else { return Ok(Size::default()) };
        let too_deep = || format!("function `{}` is called more than {MAX_CALL_DEPTH} deep", function.name);
        if depth >= MAX_CALL_DEPTH {
            return Err(too_deep());
        }
        let size = match self.known.get(&key) {
            Some(size) => *size,
            None => {
                let Size { count, height } = self.nodes(&function.nodes, depth + 1)?;
                if count > MAX_NODES {
                    return Err(format!("function `{}` has {}", function.name, too_many(count)));
                }
                let size = Size { count, height: height + 1 };
                self.known.insert(key, size);
                size
            }
        };
        if depth + size.height > MAX_CALL_DEPTH {
            return Err(too_deep());
        }
        Ok(size)
    }
}
