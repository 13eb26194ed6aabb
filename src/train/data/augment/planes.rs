//! Inputs as planes of rows and columns.

use super::super::DataError;
use crate::tensor::Tensor;

/// An input of rank 1 to 3, seen as `count` planes of `height` rows and `width` columns.
pub(super) struct Planes<'a> {
    pub values: &'a [f32],
    pub rank: usize,
    pub count: usize,
    pub height: usize,
    pub width: usize,
}

impl<'a> Planes<'a> {
    /// Fails when the tensor is not f32, or its rank is not from `least` to 3.
    pub fn of(name: &'static str, tensor: &'a Tensor, least: usize) -> Result<Self, DataError> {
        let values = tensor.as_slice::<f32>()?;
        let (count, height, width) = match tensor.shape() {
            [width] if least <= 1 => (1, 1, *width),
            [height, width] if least <= 2 => (1, *height, *width),
            [count, height, width] => (*count, *height, *width),
            shape => {
                return Err(DataError::setting(
                    name,
                    format!("inputs of rank {least} to 3"),
                    format!("shape {shape:?}"),
                ));
            }
        };
        Ok(Planes { values, rank: tensor.shape().len(), count, height, width })
    }

    /// The element at a place of a plane; `None` outside of it.
    pub fn at(&self, plane: usize, y: i64, x: i64) -> Option<f32> {
        let y = usize::try_from(y).ok().filter(|y| *y < self.height)?;
        let x = usize::try_from(x).ok().filter(|x| *x < self.width)?;
        self.values.get((plane * self.height + y) * self.width + x).copied()
    }

    /// A tensor of the same rank with these rows and columns, each element from `value` (plane, row, column).
    pub fn map(
        &self,
        height: usize,
        width: usize,
        mut value: impl FnMut(usize, i64, i64) -> f32,
    ) -> Result<Tensor, DataError> {
        let mut values = Vec::with_capacity(self.count * height * width);
        for plane in 0..self.count {
            for y in 0..height {
                for x in 0..width {
                    values.push(value(plane, y as i64, x as i64));
                }
            }
        }
        let shape = [self.count, height, width][3 - self.rank..].to_vec();
        Ok(Tensor::new(shape, values)?)
    }
}
