//! What a model learns from: an input with its target.

use std::sync::Arc;

use crate::media::StreamId;
use crate::tensor::{Tensor, TensorData};
use crate::units::Timestamp;

/// What the answer to an input should have been.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Target {
    /// A class by its index in the model's output. Where the output has positions, it holds at each of them.
    Class(usize),
    /// A class by its name in the list of classes that the serving version has.
    Name(Arc<str>),
    /// Numbers of the output's own shape (what a teacher answered, the input itself), or class indices as i64.
    Tensor(Tensor),
}

impl Target {
    /// Bytes that it takes.
    pub fn byte_len(&self) -> usize {
        match self {
            Target::Class(_) => size_of::<usize>(),
            Target::Name(name) => name.len(),
            Target::Tensor(tensor) => tensor.byte_len(),
        }
    }

    /// Whether every number in it is finite, and there is one.
    pub fn is_sound(&self) -> bool {
        match self {
            Target::Class(_) => true,
            Target::Name(name) => !name.is_empty(),
            Target::Tensor(tensor) => is_sound(tensor),
        }
    }
}

/// An input of the model, the target that belongs to it, and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What the model is given: one sample, with or without a batch axis of size 1 in front.
    pub input: Tensor,
    /// What it should answer.
    pub target: Target,
    /// The stream it was heard or seen on.
    pub stream: StreamId,
    /// Where in that stream it starts.
    pub start: Timestamp,
}

/// What a sample takes besides its numbers.
const OVERHEAD: usize = size_of::<Sample>() + 4 * size_of::<usize>();

impl Sample {
    /// Bytes that it takes in a buffer.
    pub fn byte_len(&self) -> usize {
        bytes_of(&self.input, &self.target)
    }

    /// Whether all numbers of input and target are finite, and there are some.
    pub fn is_sound(&self) -> bool {
        is_sound(&self.input) && self.target.is_sound()
    }
}

/// Bytes that an input and a target take together in a buffer.
pub(super) fn bytes_of(input: &Tensor, target: &Target) -> usize {
    input.byte_len().saturating_add(target.byte_len()).saturating_add(OVERHEAD)
}

/// Whether a tensor has elements, and all of them are finite.
pub(super) fn is_sound(tensor: &Tensor) -> bool {
    let finite = match tensor.data() {
        TensorData::F16(values) => values.iter().all(|value| value.is_finite()),
        TensorData::BF16(values) => values.iter().all(|value| value.is_finite()),
        TensorData::F32(values) => values.iter().all(|value| value.is_finite()),
        TensorData::F64(values) => values.iter().all(|value| value.is_finite()),
        _ => true,
    };
    finite && !tensor.is_empty()
}

/// The numbers of a tensor as f64; nothing where they are no numbers.
pub(super) fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    Some(match tensor.data() {
        TensorData::F16(values) => values.iter().map(|value| value.to_f64()).collect(),
        TensorData::BF16(values) => values.iter().map(|value| value.to_f64()).collect(),
        TensorData::F32(values) => values.iter().map(|value| f64::from(*value)).collect(),
        TensorData::F64(values) => values.to_vec(),
        TensorData::I8(values) => values.iter().map(|value| f64::from(*value)).collect(),
        TensorData::I16(values) => values.iter().map(|value| f64::from(*value)).collect(),
        TensorData::I32(values) => values.iter().map(|value| f64::from(*value)).collect(),
        TensorData::I64(values) => values.iter().map(|value| *value as f64).collect(),
        TensorData::U8(values) => values.iter().map(|value| f64::from(*value)).collect(),
        TensorData::U16(values) => values.iter().map(|value| f64::from(*value)).collect(),
        TensorData::U32(values) => values.iter().map(|value| f64::from(*value)).collect(),
        TensorData::U64(values) => values.iter().map(|value| *value as f64).collect(),
        TensorData::Bool(values) => values.iter().map(|value| f64::from(u8::from(*value))).collect(),
        TensorData::String(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::f16;

    #[test]
    fn what_is_not_finite_or_empty_is_not_sound() {
        let float = |value: f32| Tensor::from_vec(vec![0.0, value]);
        for (target, sound) in [
            (Target::Class(3), true),
            (Target::Name("seven".into()), true),
            (Target::Name("".into()), false),
            (Target::Tensor(float(1.0)), true),
            (Target::Tensor(float(f32::NAN)), false),
            (Target::Tensor(float(f32::INFINITY)), false),
            (Target::Tensor(Tensor::from_vec(vec![f64::NEG_INFINITY])), false),
            (Target::Tensor(Tensor::from_vec(vec![f16::NAN])), false),
            (Target::Tensor(Tensor::from_vec(vec![1i64])), true),
            (Target::Tensor(Tensor::from_vec(Vec::<f32>::new())), false),
        ] {
            assert_eq!(target.is_sound(), sound, "{target:?}");
        }
    }
}
