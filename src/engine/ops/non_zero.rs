//! NonZero: the coordinates of all elements other than zero (false, the empty text), one column for each, in row-major
//! order. It has no derivative.
//!
//! How many there are depends on the input's value, so the graph is compiled anew for each that it takes.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__NonZero.html>.

use std::marker::PhantomData;

use super::rearrange::strides;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Forward, Kernel};
use crate::engine::kernels::float::with_any;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::tensor::{DType, Dim, Tensor};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "NonZero", since: 9, parse };

#[derive(Clone, Debug)]
struct NonZero;

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(NonZero))
}

fn count(tensor: &Tensor) -> Result<usize, OpError> {
    with_any!(tensor.dtype(), T => {
        let zero = T::default();
        tensor.as_slice::<T>().map_or(0, |values| values.iter().filter(|value| **value != zero).count())
    })
}

impl Op for NonZero {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=1, 1..=1)?;
        let x = inputs.required(0)?;
        let rank = x.dims().map_or(Dim::Any, |dims| Dim::Known(dims.len()));
        let count = match &x.value {
            Some(value) => Dim::Known(count(value)?),
            None => Dim::Any,
        };
        Ok(vec![ValueType::ranked(DType::I64, vec![rank, count])])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (x, y) = (signature.input(0)?, signature.output(0)?);
        let count = y.shape.get(1).copied().unwrap_or(0);
        let axes = strides(&x.shape).into_iter().zip(x.shape.iter().copied()).collect();
        with_any!(x.dtype, T => Box::new(NonZeroKernel::<T> { axes, count, kind: PhantomData }))
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[0]
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

struct NonZeroKernel<T> {
    /// The stride and the size of each axis.
    axes: Vec<(usize, usize)>,
    count: usize,
    kind: PhantomData<T>,
}

impl<T: Scalar> Kernel for NonZeroKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let x = io.input::<T>(0)?;
        let y = io.output::<i64>(0)?;
        let zero = T::default();
        let mut column = 0;
        for (place, _) in x.iter().enumerate().filter(|(_, x)| **x != zero) {
            if column < self.count {
                for (axis, (stride, size)) in self.axes.iter().enumerate() {
                    y[axis * self.count + column] = (place / stride % size) as i64;
                }
            }
            column += 1;
        }
        match column == self.count {
            true => Ok(()),
            false => Err(OpError::Plan { what: format!("{column} elements other than zero, not {}", self.count) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let is = |shape: &[usize], values: &[i64]| Tensor::new(shape.to_vec(), values.to_vec()).unwrap();
        check(
            "NonZero",
            &[
                Case::new().input(&[2, 2], &[1.0, 0.0, f64::NAN, -1.0]).output_tensor(is(&[2, 3], &[0, 1, 1, 0, 0, 1])),
                Case::new().input(&[2], &[0.0, -0.0]).output_tensor(is(&[1, 0], &[])),
                Case::new().initializer(Tensor::from_vec(vec![true, false, true])).output_tensor(is(&[1, 2], &[0, 2])),
                Case::new().ints(&[1, 2, 1], &[0, 5]).output_tensor(is(&[3, 1], &[0, 1, 0])),
                Case::new().tensor(Tensor::from_vec(vec![String::new(), "a".into()])).output_tensor(is(&[1, 1], &[1])),
                Case::new().ints(&[], &[3]).output_tensor(is(&[0, 1], &[])),
                Case::new().input(&[0, 2], &[]).output_tensor(is(&[2, 0], &[])),
                Case::new().error("expected 1 inputs"),
                Case::new().ints(&[1], &[1]).int("axis", 0).error("attribute `axis`"),
            ],
        );
    }
}
