//! Constant: a value of the graph, in one of eight attributes. It has no derivative.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Constant.html>.

use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::kernels::float::with_any;
use crate::engine::op::{Inputs, Op, Signature, ValueType};
use crate::onnx::{AttributeValue, SparseTensor};
use crate::tensor::Tensor;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Constant", since: 1, parse };

#[derive(Clone, Debug)]
struct Constant {
    name: &'static str,
    attribute: AttributeValue,
    value: Tensor,
}

/// The attributes that may hold the value; exactly one does.
const NAMES: [&str; 8] = [
    "value",
    "sparse_value",
    "value_float",
    "value_floats",
    "value_int",
    "value_ints",
    "value_string",
    "value_strings",
];

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let given: Vec<_> = NAMES.into_iter().filter_map(|name| node.any(name).map(|value| (name, value))).collect();
    let [(name, attribute)] = given.as_slice() else {
        let expected = format!("exactly one of {}", NAMES.join(", "));
        return Err(OpError::Attribute { name: "value".into(), expected, found: given.len().to_string() });
    };
    let fail = |expected: &str| OpError::Attribute {
        name: (*name).into(),
        expected: expected.into(),
        found: format!("{:?}", attribute.kind()).to_lowercase(),
    };
    let text = |bytes: &Vec<u8>| String::from_utf8(bytes.clone()).map_err(|_| fail("UTF-8 text"));
    let value = match (*name, attribute) {
        ("value", AttributeValue::Tensor(value)) => value.clone(),
        ("sparse_value", AttributeValue::SparseTensor(_, value)) => dense(value)?,
        ("value_float", AttributeValue::Float(value)) => Tensor::scalar(*value),
        ("value_floats", AttributeValue::Floats(values)) => Tensor::from_vec(values.clone()),
        ("value_int", AttributeValue::Int(value)) => Tensor::scalar(*value),
        ("value_ints", AttributeValue::Ints(values)) => Tensor::from_vec(values.clone()),
        ("value_string", AttributeValue::String(value)) => Tensor::scalar(text(value)?),
        ("value_strings", AttributeValue::Strings(values)) => {
            Tensor::from_vec(values.iter().map(text).collect::<Result<Vec<_>, _>>()?)
        }
        _ => return Err(fail("a value of the type that its name says")),
    };
    Ok(Box::new(Constant { name, attribute: (*attribute).clone(), value }))
}

/// The most elements that a sparse constant may have when all of them are stored.
const MAX_DENSE: usize = 1 << 26;

fn dense(sparse: &SparseTensor) -> Result<Tensor, OpError> {
    let shape = sparse.shape();
    let too_large = || OpError::TooLarge { shape: format!("{shape:?}") };
    let len = shape.iter().try_fold(1usize, |len, size| len.checked_mul(*size));
    let len = len.filter(|len| *len <= MAX_DENSE).ok_or_else(too_large)?;
    let wrong = |_| OpError::Attribute {
        name: "sparse_value".into(),
        expected: "indices inside the shape".into(),
        found: "others".into(),
    };
    let indices = sparse.indices().as_slice::<i64>().map_err(wrong)?;
    let columns = sparse.indices().shape().get(1).copied();
    let place = |row: usize| -> Option<usize> {
        let index = |at: usize| usize::try_from(*indices.get(at)?).ok();
        match columns {
            None => index(row),
            Some(columns) => (0..columns).try_fold(0usize, |sum, column| {
                sum.checked_mul(*shape.get(column)?)?.checked_add(index(row * columns + column)?)
            }),
        }
    };
    let places: Vec<usize> = (0..sparse.values().len()).filter_map(place).collect();
    with_any!(sparse.values().dtype(), T => {
        let values = sparse.values().as_slice::<T>().map_err(wrong)?;
        Tensor::new(shape.to_vec(), spread(values, &places, len)).map_err(wrong)?
    })
}

/// `len` elements: the values at their places, and zeros.
fn spread<T: Scalar>(values: &[T], places: &[usize], len: usize) -> Vec<T> {
    let mut elements = vec![T::default(); len];
    for (value, place) in values.iter().zip(places) {
        if let Some(element) = elements.get_mut(*place) {
            *element = value.clone();
        }
    }
    elements
}

impl Op for Constant {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        vec![(self.name, self.attribute.clone())]
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(0..=0, 1..=1)?;
        Ok(vec![ValueType::constant(self.value.clone())])
    }

    fn build(&self, _: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        Err(OpError::Plan { what: "a constant has no kernel".into() })
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::onnx::{AttributeValue, SparseTensor};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let case = |name: &str, value: AttributeValue, expected: Tensor| {
            Case::new().attribute(name, value).output_tensor(expected)
        };
        let tensor = Tensor::new(vec![2, 1], vec![1.5f32, 2.5]).unwrap();
        let sparse = |indices: Tensor| {
            let values = Tensor::from_vec(vec![1i64, 2]);
            AttributeValue::SparseTensor("s".into(), SparseTensor::new(values, indices, vec![2, 3]).unwrap())
        };
        let dense = || Tensor::new(vec![2, 3], vec![0i64, 1, 0, 0, 0, 2]).unwrap();
        let coordinates = Tensor::new(vec![2, 2], vec![0i64, 1, 1, 2]).unwrap();
        check(
            "Constant",
            &[
                case("value", AttributeValue::Tensor(tensor.clone()), tensor.clone()),
                case("sparse_value", sparse(Tensor::from_vec(vec![1i64, 5])), dense()),
                case("sparse_value", sparse(coordinates), dense()),
                case("value_float", AttributeValue::Float(0.5), Tensor::scalar(0.5f32)),
                case("value_floats", AttributeValue::Floats(vec![0.5]), Tensor::from_vec(vec![0.5f32])),
                case("value_int", AttributeValue::Int(-3), Tensor::scalar(-3i64)),
                case("value_ints", AttributeValue::Ints(vec![]), Tensor::from_vec(Vec::<i64>::new())),
                case("value_string", AttributeValue::String(b"a".to_vec()), Tensor::scalar("a".to_string())),
                case(
                    "value_strings",
                    AttributeValue::Strings(vec![b"a".to_vec()]),
                    Tensor::from_vec(vec!["a".to_string()]),
                ),
                Case::new().error("exactly one of value"),
                Case::new().int("value_int", 1).float("value_float", 1.0).error("exactly one of value"),
                Case::new().float("value_int", 1.0).error("attribute `value_int`: expected a value of the type"),
                Case::new().attribute("value_string", AttributeValue::String(vec![0xff])).error("UTF-8"),
                Case::new().int("value_int", 1).int("axis", 1).error("attribute `axis`"),
                Case::new().random_input(&[1]).int("value_int", 1).error("expected 0 inputs"),
            ],
        );
    }
}
