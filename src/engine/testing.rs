//! How operators are tested: a table of cases, each run through a graph of one node.
//!
//! Every case is run in f64 and in f32. Where outputs are given they are compared. Where they are not (and for every case
//! that does not say otherwise) the gradients with respect to all inputs that are differentiable are compared with
//! central differences, under a random cotangent.

use super::attributes::NodeReader;
use super::cell::{Scalar, Slice};
use super::network::Network;
use super::ops;
use super::random::mix;
use crate::onnx::{AttributeValue, Graph, Model, Node, ValueInfo};
use crate::tensor::{DType, SymbolicShape, Tensor};

/// One case: a node, its inputs, and what must come of it.
#[derive(Clone, Debug)]
pub struct Case {
    inputs: Vec<Option<(Tensor, bool)>>,
    attributes: Vec<(String, AttributeValue)>,
    outputs: Vec<Tensor>,
    output_names: usize,
    error: Option<&'static str>,
    gradient: bool,
    opset: i64,
    tolerance: f64,
    seed: u64,
}

impl Case {
    pub fn new() -> Self {
        Case {
            inputs: Vec::new(),
            attributes: Vec::new(),
            outputs: Vec::new(),
            output_names: 1,
            error: None,
            gradient: true,
            opset: 22,
            tolerance: 1e-6,
            seed: 1,
        }
    }

    /// An input of f64 (of f32 in the second run).
    pub fn input(self, shape: &[usize], values: &[f64]) -> Self {
        self.tensor(Tensor::new(shape.to_vec(), values.to_vec()).unwrap())
    }

    /// An input of random numbers between -1 and 1, none nearer to zero than 0.01.
    pub fn random_input(mut self, shape: &[usize]) -> Self {
        self.seed += 1;
        let values = random(shape, mix(self.seed, self.inputs.len() as u64));
        self.tensor(values)
    }

    /// An input of i64.
    pub fn ints(self, shape: &[usize], values: &[i64]) -> Self {
        self.tensor(Tensor::new(shape.to_vec(), values.to_vec()).unwrap())
    }

    /// An input of any type; f64 becomes f32 in the second run.
    pub fn tensor(mut self, tensor: Tensor) -> Self {
        self.inputs.push(Some((tensor, false)));
        self
    }

    /// An input that is an initializer.
    pub fn initializer(mut self, tensor: Tensor) -> Self {
        self.inputs.push(Some((tensor, true)));
        self
    }

    /// An initializer of i64: axes, shapes.
    pub fn constant_ints(self, values: &[i64]) -> Self {
        self.initializer(Tensor::from_vec(values.to_vec()))
    }

    /// An optional input that is left out.
    pub fn left_out(mut self) -> Self {
        self.inputs.push(None);
        self
    }

    pub fn int(self, name: &str, value: i64) -> Self {
        self.attribute(name, AttributeValue::Int(value))
    }

    pub fn ints_attribute(self, name: &str, values: &[i64]) -> Self {
        self.attribute(name, AttributeValue::Ints(values.to_vec()))
    }

    pub fn float(self, name: &str, value: f32) -> Self {
        self.attribute(name, AttributeValue::Float(value))
    }

    pub fn string(self, name: &str, value: &str) -> Self {
        self.attribute(name, AttributeValue::String(value.into()))
    }

    pub fn attribute(mut self, name: &str, value: AttributeValue) -> Self {
        self.attributes.push((name.into(), value));
        self
    }

    /// The next output, of f64.
    pub fn output(self, shape: &[usize], values: &[f64]) -> Self {
        self.output_tensor(Tensor::new(shape.to_vec(), values.to_vec()).unwrap())
    }

    /// The next output, of any type.
    pub fn output_tensor(mut self, tensor: Tensor) -> Self {
        self.outputs.push(tensor);
        self.output_names = self.output_names.max(self.outputs.len());
        self
    }

    /// How many outputs the node names (1 unless more are given).
    pub fn output_count(mut self, count: usize) -> Self {
        self.output_names = count;
        self
    }

    /// It must be refused, with this in the message.
    pub fn error(mut self, part: &'static str) -> Self {
        self.error = Some(part);
        self
    }

    /// The derivative is not checked (at a kink, or there is none).
    pub fn without_gradient(mut self) -> Self {
        self.gradient = false;
        self
    }

    pub fn opset(mut self, opset: i64) -> Self {
        self.opset = opset;
        self
    }

    /// How far a derivative in f64 may be from the central difference, of the largest (1e-6 unless said).
    pub fn tolerance(mut self, tolerance: f64) -> Self {
        self.tolerance = tolerance;
        self
    }

    fn model(&self, op_type: &str, domain: &str, dtype: DType) -> (Model, Vec<(String, Tensor)>) {
        let mut graph = Graph::new("case");
        let mut names = Vec::new();
        let mut given = Vec::new();
        for (index, input) in self.inputs.iter().enumerate() {
            let Some((tensor, initializer)) = input else {
                names.push(String::new());
                continue;
            };
            let tensor = if tensor.dtype() == DType::F64 { cast(tensor, dtype) } else { tensor.clone() };
            let name = format!("input{index}");
            match initializer {
                true => graph.initializers.push((name.clone(), tensor)),
                false => {
                    graph.inputs.push(ValueInfo::tensor(name.clone(), tensor.dtype(), tensor.symbolic_shape()));
                    given.push((name.clone(), tensor));
                }
            }
            names.push(name);
        }
        let outputs: Vec<String> = (0..self.output_names).map(|index| format!("output{index}")).collect();
        for name in &outputs {
            graph.outputs.push(ValueInfo::tensor(name.clone(), dtype, SymbolicShape::Unranked));
        }
        let mut node = Node::new(op_type, names, outputs);
        node.domain = domain.into();
        for (name, value) in &self.attributes {
            node = node.with(name.clone(), value.clone());
        }
        graph.nodes.push(node);
        let mut model = Model::new(graph, self.opset);
        if !domain.is_empty() {
            model.opset_imports.push(crate::onnx::OpsetImport::new(domain, 1));
        }
        (model, given)
    }
}

/// Random numbers between -1 and 1, none nearer to zero than 0.01, and no two alike.
pub fn random(shape: &[usize], seed: u64) -> Tensor {
    let count: usize = shape.iter().product();
    let values: Vec<f64> = (0..count)
        .map(|index| {
            let unit = (mix(seed, index as u64) >> 11) as f64 / (1u64 << 53) as f64;
            let sign = if unit < 0.5 { -1.0 } else { 1.0 };
            sign * (0.01 + 0.99 * (unit * 2.0).fract())
        })
        .collect();
    Tensor::new(shape.to_vec(), values).unwrap()
}

pub fn cast(tensor: &Tensor, dtype: DType) -> Tensor {
    match (tensor.dtype(), dtype) {
        (DType::F64, DType::F32) => {
            let values: Vec<f32> = tensor.as_slice::<f64>().unwrap().iter().map(|value| *value as f32).collect();
            Tensor::new(tensor.shape().to_vec(), values).unwrap()
        }
        _ => tensor.clone(),
    }
}

pub fn wide(tensor: &Tensor) -> Option<Vec<f64>> {
    match tensor.dtype() {
        DType::F32 => Some(tensor.as_slice::<f32>().unwrap().iter().map(|value| f64::from(*value)).collect()),
        DType::F64 => Some(tensor.as_slice::<f64>().unwrap().to_vec()),
        _ => None,
    }
}

/// What differs, if anything: numbers may be `tolerance` of the largest apart, everything else must be equal.
pub fn difference(found: &Tensor, expected: &Tensor, tolerance: f64) -> Option<String> {
    if found.shape() != expected.shape() {
        return Some(format!("expected shape {:?}, found {:?}", expected.shape(), found.shape()));
    }
    let (Some(x), Some(y)) = (wide(found), wide(expected)) else {
        return (found != expected).then(|| format!("expected {expected:?}, found {found:?}"));
    };
    let scale = y.iter().filter(|y| y.is_finite()).fold(1.0f64, |largest, y| largest.max(y.abs()));
    let differs = |(x, y): (&f64, &f64)| !(x == y || x.is_nan() && y.is_nan() || (x - y).abs() <= tolerance * scale);
    let at = x.iter().zip(&y).position(differs)?;
    Some(format!("element {at}: expected {}, found {}", y[at], x[at]))
}

/// Runs all cases of an operator of ONNX's own and reports every one that fails.
pub fn check(op_type: &str, cases: &[Case]) {
    check_in("", op_type, cases);
}

/// The same for an operator of any domain.
pub fn check_in(domain: &str, op_type: &str, cases: &[Case]) {
    let failures: Vec<String> = cases
        .iter()
        .enumerate()
        .filter_map(|(index, case)| run(domain, op_type, case).err().map(|error| format!("case {index}: {error}")))
        .collect();
    assert!(failures.is_empty(), "{op_type}\n{}", failures.join("\n"));
}

fn run(domain: &str, op_type: &str, case: &Case) -> Result<(), String> {
    for (dtype, tolerance) in [(DType::F64, 1e-9), (DType::F32, 1e-5)] {
        let (model, given) = case.model(op_type, domain, dtype);
        let inputs: Vec<(&str, &Tensor)> = given.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let result =
            Network::new(&model).and_then(|mut network| network.run(&inputs).map(|outputs| (network, outputs)));
        let (mut network, outputs) = match (result, case.error) {
            (Ok(_), Some(part)) => return Err(format!("expected an error with `{part}`, it was accepted")),
            (Err(error), Some(part)) if error.to_string().contains(part) => continue,
            (Err(error), _) => return Err(error.to_string()),
            (Ok(done), None) => done,
        };
        for (index, (found, expected)) in outputs.iter().zip(&case.outputs).enumerate() {
            if let Some(difference) = difference(found, expected, tolerance) {
                return Err(format!("{dtype}, output {index}: {difference}"));
            }
        }
        round_trip(&model)?;
        if case.gradient && dtype == DType::F64 {
            gradient(&mut network, &model, &given, &outputs, case.tolerance)?;
        }
    }
    Ok(())
}

/// Reading back the attributes that an operator writes gives the same operator.
fn round_trip(model: &Model) -> Result<(), String> {
    let node = &model.graph.nodes[0];
    let opset = model.opset(&node.domain).unwrap_or(1);
    let entry = ops::find(&node.domain, &node.op_type).ok_or("not in the table")?;
    let op = (entry.parse)(&NodeReader::new(node, opset)).map_err(|error| error.to_string())?;
    let mut again = node.clone();
    again.attributes.clear();
    for (name, value) in op.attributes() {
        again = again.with(name, value);
    }
    let reader = NodeReader::new(&again, opset);
    let read = (entry.parse)(&reader).and_then(|read| reader.finish().map(|()| read));
    let read = read.map_err(|error| format!("its own attributes are refused: {error}"))?;
    match format!("{op:?}") == format!("{read:?}") {
        true => Ok(()),
        false => Err(format!("its own attributes give another operator: {op:?}, {read:?}")),
    }
}

/// Compares the gradients with central differences.
fn gradient(
    network: &mut Network,
    model: &Model,
    given: &[(String, Tensor)],
    outputs: &[Tensor],
    tolerance: f64,
) -> Result<(), String> {
    let node = &model.graph.nodes[0];
    let entry = ops::find(&node.domain, &node.op_type).ok_or("not in the table")?;
    let op =
        (entry.parse)(&NodeReader::new(node, model.opset(&node.domain).unwrap_or(1))).map_err(|e| e.to_string())?;
    let position = |name: &String| node.inputs.iter().position(|input| input == name).unwrap();
    let initializers = model.graph.initializers.iter();
    let wrt: Vec<(String, Tensor)> = given
        .iter()
        .chain(initializers)
        .filter(|(name, tensor)| tensor.dtype() == DType::F64 && op.is_differentiable(position(name)))
        .cloned()
        .collect();
    let names: Vec<&str> = wrt.iter().map(|(name, _)| name.as_str()).collect();
    if names.is_empty() {
        return Ok(());
    }
    let cotangents: Vec<Tensor> = outputs.iter().enumerate().map(|(i, y)| random(y.shape(), 99 + i as u64)).collect();
    let inputs: Vec<(&str, &Tensor)> = given.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let (_, found) = network.gradients(&inputs, &cotangents, &names, 7).map_err(|error| error.to_string())?;
    // What is lent is what is copied.
    let same = network.gradients_with(&inputs, &cotangents, &names, 7, |lent, gradients| {
        let elements = |slice: &Option<Slice<'_>>| slice.and_then(f64::slice).map(<[f64]>::to_vec);
        let copied = |tensor: &Option<Tensor>| tensor.as_ref().map(|tensor| tensor.as_slice::<f64>().unwrap().to_vec());
        lent.len() == outputs.len() && gradients.iter().map(elements).eq(found.iter().map(copied))
    });
    match same {
        Ok(true) => {}
        Ok(false) => return Err("gradients that are lent are not those that are copied".into()),
        Err(error) => return Err(error.to_string()),
    }
    let expected = numerical_gradients(network, given, &cotangents, &wrt)?;
    for (((name, _), found), expected) in wrt.iter().zip(found).zip(expected) {
        let found = found.ok_or_else(|| format!("there is no gradient with respect to {name}"));
        // Nothing flows from an output without elements.
        let found = if outputs.iter().all(Tensor::is_empty) { found.unwrap_or(expected.clone()) } else { found? };
        if let Some(difference) = difference(&found, &expected, tolerance) {
            return Err(format!("gradient with respect to {name}: {difference}"));
        }
    }
    Ok(())
}

/// The gradients of the sum over all outputs of output times cotangent, in training mode, by central differences: with
/// respect to inputs, of which `given` holds all, and weights; both of f64.
pub fn numerical_gradients(
    network: &mut Network,
    given: &[(String, Tensor)],
    cotangents: &[Tensor],
    with_respect_to: &[(String, Tensor)],
) -> Result<Vec<Tensor>, String> {
    let loss = |network: &mut Network, given: &[(String, Tensor)]| -> Result<f64, String> {
        let inputs: Vec<(&str, &Tensor)> = given.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        let (outputs, _) = network.gradients(&inputs, cotangents, &[], 7).map_err(|error| error.to_string())?;
        let dot = |(y, c): (&Tensor, &Tensor)| -> f64 {
            let Some(y) = wide(y) else { return 0.0 };
            y.iter().zip(c.as_slice::<f64>().unwrap()).map(|(y, c)| y * c).sum()
        };
        Ok(outputs.iter().zip(cotangents).map(dot).sum())
    };
    let mut gradients = Vec::new();
    for (name, tensor) in with_respect_to {
        let is_weight = !given.iter().any(|(known, _)| known == name);
        let values = tensor.as_slice::<f64>().unwrap();
        let mut expected = Vec::with_capacity(values.len());
        for index in 0..values.len() {
            let step = 1e-5 * values[index].abs().max(1.0);
            let mut at = |sign: f64| -> Result<f64, String> {
                let mut moved = values.to_vec();
                moved[index] += sign * step;
                let moved = Tensor::new(tensor.shape().to_vec(), moved).unwrap();
                if is_weight {
                    network.set_weight(name, &moved).map_err(|error| error.to_string())?;
                    return loss(network, given);
                }
                let mut given = given.to_vec();
                given.iter_mut().find(|(known, _)| known == name).unwrap().1 = moved;
                loss(network, &given)
            };
            expected.push((at(1.0)? - at(-1.0)?) / (2.0 * step));
        }
        if is_weight {
            network.set_weight(name, tensor).map_err(|error| error.to_string())?;
        }
        gradients.push(Tensor::new(tensor.shape().to_vec(), expected).unwrap());
    }
    Ok(gradients)
}
