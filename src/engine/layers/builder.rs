//! Building a graph in Rust.

use std::collections::HashMap;
use std::sync::Arc;

use rand_pcg::Pcg64;

use crate::engine::attributes::NodeReader;
use crate::engine::error::EngineError;
use crate::engine::init::{Initializer, STREAM};
use crate::engine::op::{Inputs, ValueType};
use crate::engine::ops;
use crate::onnx::{AttributeValue, Graph, Model, Node, ValueInfo};
use crate::tensor::{DType, Dim, SymbolicShape, Tensor};

/// The version of ONNX's operators that graphs are built in.
const OPSET: i64 = 21;

/// The most elements that the weights of a graph may have together: 2 GiB of f32, the bound of a protobuf file.
const MAX_ELEMENTS: usize = 1 << 29;

/// A value of a graph that is being built.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    name: Arc<str>,
    kind: ValueType,
}

impl Value {
    /// Its name in the graph.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its data type.
    pub fn dtype(&self) -> DType {
        self.kind.dtype
    }

    /// Its shape, as far as known.
    pub fn shape(&self) -> &SymbolicShape {
        &self.kind.shape
    }

    /// The size of dimension `index`, where it is known.
    pub fn size(&self, index: usize) -> Option<usize> {
        self.kind.dims()?.get(index)?.known()
    }
}

/// Builds a graph node by node. Types are inferred as it grows, so that a layer knows how many inputs it has, and a
/// mistake is an error where it is made.
///
/// ```
/// use percept::engine::{Attention, Builder, Dense, Embedding, Network};
/// use percept::onnx::AttributeValue;
/// use percept::tensor::{DType, Tensor};
///
/// let mut graph = Builder::new("sentences", 1);
/// let words = graph.input("x", DType::I64, &[None, None])?; // any number of sentences of any length
/// let words = Embedding::new("embedding", 1000, 16).apply(&mut graph, &words)?;
/// let seen = Attention::new("attention", 4).apply(&mut graph, &words)?;
/// let time = graph.integers(&[1])?;
/// let mean = graph.node("ReduceMean", &[&seen, &time], &[("keepdims", AttributeValue::Int(0))])?;
/// let y = Dense::new("out", 2).apply(&mut graph, &mean)?;
/// graph.output("y", &y)?;
///
/// let mut network = Network::new(&graph.finish())?;
/// let x = Tensor::new(vec![1, 4], vec![7i64, 2, 9, 900])?;
/// assert_eq!(network.run(&[("x", &x)])?[0].shape(), [1, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Builder {
    graph: Graph,
    float: DType,
    /// Elements of the weights so far.
    elements: usize,
    /// Weights are those that are there already.
    again: bool,
    random: Pcg64,
    counts: HashMap<String, usize>,
    /// What values are called since they have become outputs.
    renamed: HashMap<Arc<str>, String>,
}

impl Builder {
    /// An empty graph; `seed` decides the first values of its weights.
    pub fn new(name: &str, seed: u64) -> Self {
        Builder {
            graph: Graph::new(name),
            float: DType::F32,
            elements: 0,
            again: false,
            random: Pcg64::new(u128::from(seed), STREAM),
            counts: HashMap::new(),
            renamed: HashMap::new(),
        }
    }

    /// Makes weights, and the numbers that layers hold, of f64 from here on instead of f32. The first values of the
    /// weights are the same.
    pub fn in_f64(mut self) -> Self {
        self.float = DType::F64;
        self
    }

    /// The type of weights: f32, or f64.
    pub fn float(&self) -> DType {
        self.float
    }

    /// An input. Sizes that are not given are free; the first free one is called `batch`.
    pub fn input(&mut self, name: &str, dtype: DType, sizes: &[Option<usize>]) -> Result<Value, EngineError> {
        let name = self.fresh(name)?;
        let dims = sizes.iter().enumerate().map(|(index, size)| match (size, index) {
            (Some(size), _) => Dim::Known(*size),
            (None, 0) => Dim::Symbol("batch".into()),
            (None, index) => Dim::Symbol(format!("{name}_{index}").into()),
        });
        let kind = ValueType::ranked(dtype, dims.collect());
        self.graph.inputs.push(ValueInfo::tensor(name.to_string(), dtype, kind.shape.clone()));
        Ok(Value { name, kind })
    }

    /// A weight, filled by `initializer`: of f32 unless the graph is [in f64](Builder::in_f64).
    pub fn weight(&mut self, name: &str, shape: &[usize], initializer: Initializer) -> Result<Value, EngineError> {
        self.weight_with_fans(name, shape, initializer, None)
    }

    /// The same, where the fans do not follow from the shape.
    pub fn weight_with_fans(
        &mut self,
        name: &str,
        shape: &[usize],
        initializer: Initializer,
        fans: Option<(usize, usize)>,
    ) -> Result<Value, EngineError> {
        if self.again {
            return self.known_weight(name, shape);
        }
        let count = shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
        let elements = count.and_then(|count| self.elements.checked_add(count)).filter(|total| *total <= MAX_ELEMENTS);
        let Some(elements) = elements else {
            let so_far = self.elements;
            return Err(self.fault(format!(
                "weight `{name}` {shape:?}: expected weights of at most {MAX_ELEMENTS} elements, found {so_far} before it"
            )));
        };
        self.elements = elements;
        let values = initializer.fill(shape, fans, &mut self.random);
        let value = match self.float {
            DType::F64 => Tensor::new(shape.to_vec(), values.into_iter().map(f64::from).collect::<Vec<f64>>()),
            _ => Tensor::new(shape.to_vec(), values),
        };
        self.constant(name, value?)
    }

    /// Adds what `build` adds, with the weights that are there already: a weight that it asks for is the one of that name,
    /// which must have that shape. Towers that share their weights are built so, as in Bromley et al., *Signature
    /// verification using a "siamese" time delay neural network*, 1993: the first as usual, the others again.
    pub fn again<R>(&mut self, build: impl FnOnce(&mut Builder) -> Result<R, EngineError>) -> Result<R, EngineError> {
        let before = std::mem::replace(&mut self.again, true);
        let done = build(self);
        self.again = before;
        done
    }

    /// The weight `name`, which must be there with this shape.
    fn known_weight(&self, name: &str, shape: &[usize]) -> Result<Value, EngineError> {
        let known = self.graph.initializer(name);
        match known.filter(|known| known.shape() == shape && known.dtype() == self.float) {
            Some(known) => Ok(Value { name: name.into(), kind: ValueType::known(known.dtype(), shape) }),
            None => {
                let found =
                    known.map_or_else(|| "none".into(), |known| format!("{} {:?}", known.dtype(), known.shape()));
                let expected = format!("{} {shape:?}", self.float);
                Err(self.fault(format!("weight `{name}`, to be used again: expected {expected}, found {found}")))
            }
        }
    }

    /// Numbers that are not trained, of the type of the weights.
    pub fn numbers(&mut self, shape: &[usize], values: &[f64]) -> Result<Value, EngineError> {
        let value = match self.float {
            DType::F64 => Tensor::new(shape.to_vec(), values.to_vec()),
            _ => Tensor::new(shape.to_vec(), values.iter().map(|value| *value as f32).collect::<Vec<f32>>()),
        };
        self.node("Constant", &[], &[("value", AttributeValue::Tensor(value?))])
    }

    /// Whole numbers in a row: axes, sizes.
    pub fn integers(&mut self, values: &[i64]) -> Result<Value, EngineError> {
        self.node("Constant", &[], &[("value", AttributeValue::Tensor(Tensor::from_vec(values.to_vec())))])
    }

    /// An initializer with this value; of f32 or f64 it is a weight.
    pub fn constant(&mut self, name: &str, value: Tensor) -> Result<Value, EngineError> {
        let name = self.fresh(name)?;
        let mut kind = ValueType::constant(value.clone());
        if matches!(value.dtype(), DType::F32 | DType::F64) {
            kind.value = None;
        }
        self.graph.initializers.push((name.to_string(), value));
        Ok(Value { name, kind })
    }

    /// A node with one output, called after its operator.
    pub fn node(
        &mut self,
        op_type: &str,
        inputs: &[&Value],
        attributes: &[(&str, AttributeValue)],
    ) -> Result<Value, EngineError> {
        let inputs: Vec<Option<&Value>> = inputs.iter().copied().map(Some).collect();
        let mut outputs = self.nodes(op_type, &inputs, 1, attributes)?;
        outputs.pop().flatten().ok_or_else(|| self.fault(format!("{op_type} has no output")))
    }

    /// A node with `outputs` outputs; inputs may be left out.
    pub fn nodes(
        &mut self,
        op_type: &str,
        inputs: &[Option<&Value>],
        outputs: usize,
        attributes: &[(&str, AttributeValue)],
    ) -> Result<Vec<Option<Value>>, EngineError> {
        let names: Result<Vec<Arc<str>>, EngineError> =
            (0..outputs).map(|_| self.numbered(&op_type.to_lowercase())).collect();
        let names = names?;
        let input_names = inputs.iter().map(|input| input.map_or("", |input| self.name_of(input)).to_owned());
        let mut node = Node::new(op_type, input_names, names.iter().map(|name| name.to_string()));
        node.name = names.first().map_or_else(String::new, |name| name.to_string());
        for (name, value) in attributes {
            node = node.with(*name, value.clone());
        }
        let types: Vec<Option<ValueType>> = inputs.iter().map(|input| input.map(|input| input.kind.clone())).collect();
        let entry = ops::find("", op_type).ok_or_else(|| EngineError::UnknownOp {
            node: node.name.clone(),
            op_type: op_type.into(),
            domain: "ai.onnx".into(),
            opset: OPSET,
            hint: ops::suggestion(op_type),
        })?;
        let reader = NodeReader::new(&node, OPSET);
        let kinds = (entry.parse)(&reader)
            .and_then(|op| reader.finish().map(|()| op))
            .and_then(|op| op.infer(&Inputs::new(&types, outputs)));
        let kinds = kinds.map_err(|source| EngineError::Node {
            node: node.name.clone(),
            op_type: op_type.into(),
            opset: OPSET,
            inputs: format!(
                "; inputs {}",
                types.iter().flatten().map(ToString::to_string).collect::<Vec<_>>().join(", ")
            ),
            source,
        })?;
        self.graph.nodes.push(node);
        Ok(names.into_iter().zip(kinds).map(|(name, kind)| Some(Value { name, kind })).collect())
    }

    /// What `value` is called now.
    fn name_of<'a>(&'a self, value: &'a Value) -> &'a str {
        self.renamed.get(&value.name).map_or(&*value.name, String::as_str)
    }

    /// Makes `value` an output, called `name`. Layers may go on to read it.
    pub fn output(&mut self, name: &str, value: &Value) -> Result<(), EngineError> {
        let known =
            self.graph.nodes.iter_mut().rev().find(|node| node.outputs.iter().any(|output| **output == *value.name));
        let only_here = !self.counts.contains_key(name);
        match known {
            // The node writes it under that name, if nobody reads it yet.
            Some(node) if only_here && !self.graph.outputs.iter().any(|output| *output.name == *value.name) => {
                for output in node.outputs.iter_mut().filter(|output| **output == *value.name) {
                    *output = name.to_owned();
                }
                for input in self.graph.nodes.iter_mut().flat_map(|node| &mut node.inputs) {
                    if **input == *value.name {
                        *input = name.to_owned();
                    }
                }
                self.counts.insert(name.to_owned(), 0);
                self.renamed.insert(value.name.clone(), name.to_owned());
                self.graph.outputs.push(ValueInfo::tensor(name, value.kind.dtype, value.kind.shape.clone()));
                Ok(())
            }
            _ => Err(self.fault(format!(
                "output `{name}` cannot be `{}`: it is an input, a weight or an output already, or the name is taken",
                value.name
            ))),
        }
    }

    /// The model.
    pub fn finish(self) -> Model {
        Model::new(self.graph, OPSET)
    }

    /// Rectified: `max(x, 0)`.
    pub fn relu(&mut self, x: &Value) -> Result<Value, EngineError> {
        self.node("Relu", &[x], &[])
    }

    /// Hyperbolic tangent.
    pub fn tanh(&mut self, x: &Value) -> Result<Value, EngineError> {
        self.node("Tanh", &[x], &[])
    }

    /// Logistic sigmoid.
    pub fn sigmoid(&mut self, x: &Value) -> Result<Value, EngineError> {
        self.node("Sigmoid", &[x], &[])
    }

    /// Rows: the first dimension stays, all others become one.
    pub fn flatten(&mut self, x: &Value) -> Result<Value, EngineError> {
        self.node("Flatten", &[x], &[])
    }

    /// An error about this graph: `layer` does not fit `x`.
    pub(super) fn misfit(&self, layer: &str, expected: &str, x: &Value) -> EngineError {
        self.fault(format!("layer `{layer}`: expected {expected}, found {} {}", x.dtype(), x.shape()))
    }

    /// An error about this graph.
    pub(super) fn fault(&self, reason: impl Into<String>) -> EngineError {
        EngineError::Graph { graph: self.graph.name.clone(), reason: reason.into() }
    }

    fn fresh(&mut self, name: &str) -> Result<Arc<str>, EngineError> {
        if name.is_empty() || self.counts.contains_key(name) {
            return Err(self.fault(format!("there is a value `{name}` already: give each its own name")));
        }
        self.counts.insert(name.to_owned(), 0);
        Ok(name.into())
    }

    fn numbered(&mut self, stem: &str) -> Result<Arc<str>, EngineError> {
        loop {
            let count = self.counts.entry(stem.to_owned()).or_default();
            *count += 1;
            let name = format!("{stem}_{count}");
            if !self.counts.contains_key(&name) {
                return self.fresh(&name);
            }
        }
    }
}
