//! What the masks of time and frequency share (Park et al., *SpecAugment*, Interspeech 2019, section 2).

use super::super::DataError;
use super::super::random::Random;
use super::expect_within;
use crate::tensor::Tensor;

/// `count` stretches along one axis, each with a width drawn from 0 to `max_width` and a random place.
pub(super) struct Mask {
    pub name: &'static str,
    pub count: usize,
    pub max_width: usize,
    /// The most of the axis that one stretch covers, from 0 to 1.
    pub max_share: f64,
    pub value: f32,
    /// Counted from the front, or, when negative, from the back.
    pub axis: i64,
}

impl Mask {
    pub fn check(&self) -> Result<(), DataError> {
        expect_within(self.name, self.max_share, 0.0, 1.0)?;
        if self.count == 0 || self.count > 1000 || self.max_width == 0 {
            let found = format!("{} of 0 to {}", self.count, self.max_width);
            return Err(DataError::setting(self.name, "1 to 1000 masks of at least 1 element", found));
        }
        Ok(())
    }

    pub fn apply(&self, input: &Tensor, random: &mut Random) -> Result<Tensor, DataError> {
        let values = input.as_slice::<f32>()?;
        let shape = input.shape();
        let from_back = if self.axis < 0 { shape.len() as i64 } else { 0 };
        let axis = usize::try_from(self.axis.saturating_add(from_back)).ok().filter(|axis| *axis < shape.len());
        let Some(axis) = axis else {
            let expected = format!("inputs that have an axis {}", self.axis);
            return Err(DataError::setting(self.name, expected, format!("shape {shape:?}")));
        };
        let (length, inner) = (shape[axis], shape[axis + 1..].iter().product::<usize>());
        let widest = self.max_width.min((self.max_share * length as f64).floor() as usize).min(length);
        let mut values = values.to_vec();
        for _ in 0..self.count {
            let width = random.below(widest + 1);
            let start = random.below(length - width + 1);
            if width > 0 && inner > 0 {
                for row in values.chunks_exact_mut(length * inner) {
                    row[start * inner..(start + width) * inner].fill(self.value);
                }
            }
        }
        Ok(Tensor::new(shape.to_vec(), values)?)
    }
}
