//! Where: `y = x` where the condition holds, else `z`, of any type, with broadcasting.
//!
//! The gradient goes to the one that was chosen, summed over what was repeated.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Where.html>.

use std::marker::PhantomData;

use super::broadcast::{self, Walk};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::{with_any, with_float};
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::tensor::DType;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Where", since: 9, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Where))
}

#[derive(Clone, Debug)]
struct Where;

impl Op for Where {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(3..=3, 1..=1)?;
        let condition = inputs.of(0, "bool", |dtype| dtype == DType::Bool)?;
        let (x, z) = (inputs.required(1)?, inputs.required(2)?);
        inputs.same_dtype(2, x.dtype)?;
        let shape = broadcast::shapes(&broadcast::shapes(&condition.shape, &x.shape)?, &z.shape)?;
        Ok(vec![ValueType::new(x.dtype, shape)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (condition, x, z) = (signature.input(0)?, signature.input(1)?, signature.input(2)?);
        let walk = Walk::new(&signature.output(0)?.shape, [&condition.shape, &x.shape, &z.shape]);
        if matches!(x.dtype, DType::F32 | DType::F64) {
            return with_float!(x.dtype, T => Box::new(FloatKernel::<T>(walk, PhantomData)));
        }
        with_any!(x.dtype, T => Box::new(AnyKernel::<T>(walk, PhantomData)))
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index > 0
    }

    fn reads(&self) -> Reads {
        Reads::of(&[0], &[])
    }
}

/// For types that have no gradient.
struct AnyKernel<T>(Walk<3>, PhantomData<T>);

impl<T: Scalar> Kernel for AnyKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        forward::<T>(&self.0, io)
    }
}

struct FloatKernel<T>(Walk<3>, PhantomData<T>);

impl<T: Float> Kernel for FloatKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        forward::<T>(&self.0, io)
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let (condition, dy) = (io.input::<bool>(0)?, io.d_output::<T>(0)?);
        for (side, chosen) in [(1, true), (2, false)] {
            let Some(d) = io.d_input::<T>(side)? else { continue };
            d.fill(T::zero());
            self.0.runs(|result, starts, length, strides| {
                for (i, dy) in dy[result..result + length].iter().enumerate() {
                    if condition[starts[0] + i * strides[0]] == chosen {
                        d[starts[side] + i * strides[side]] += *dy;
                    }
                }
            });
        }
        Ok(())
    }
}

fn forward<T: Scalar>(walk: &Walk<3>, io: &mut Forward<'_>) -> Result<(), OpError> {
    let (condition, x, z) = (io.input::<bool>(0)?, io.input::<T>(1)?, io.input::<T>(2)?);
    let y = io.output::<T>(0)?;
    walk.runs(|result, starts, length, strides| {
        let y = &mut y[result..result + length];
        if strides == [1, 1, 1] {
            let (condition, x, z) =
                (&condition[starts[0]..][..length], &x[starts[1]..][..length], &z[starts[2]..][..length]);
            for (((y, condition), x), z) in y.iter_mut().zip(condition).zip(x).zip(z) {
                y.clone_from(if *condition { x } else { z });
            }
            return;
        }
        for (i, y) in y.iter_mut().enumerate() {
            let [condition_at, x_at, z_at] = [0, 1, 2].map(|side| starts[side] + i * strides[side]);
            y.clone_from(if condition[condition_at] { &x[x_at] } else { &z[z_at] });
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let flags = |shape: &[usize]| {
            let count: usize = shape.iter().product();
            Tensor::new(shape.to_vec(), (0..count).map(|i| i % 3 != 1).collect::<Vec<_>>()).unwrap()
        };
        let words = |words: &[&str]| Tensor::from_vec(words.iter().map(|word| word.to_string()).collect::<Vec<_>>());
        check(
            "Where",
            &[
                Case::new()
                    .tensor(flags(&[3]))
                    .input(&[3], &[1.0, 2.0, 3.0])
                    .input(&[], &[9.0])
                    .output(&[3], &[1.0, 9.0, 3.0]),
                Case::new()
                    .tensor(flags(&[2, 2]))
                    .input(&[2, 2], &[1.0, 2.0, 3.0, 4.0])
                    .input(&[2, 2], &[5.0, 6.0, 7.0, 8.0])
                    .output(&[2, 2], &[1.0, 6.0, 3.0, 4.0]),
                Case::new()
                    .tensor(flags(&[2]))
                    .tensor(words(&["a", "b"]))
                    .tensor(words(&["c"]))
                    .output_tensor(words(&["a", "c"])),
                Case::new()
                    .tensor(flags(&[2]))
                    .ints(&[2], &[1, 2])
                    .ints(&[1], &[7])
                    .output_tensor(Tensor::from_vec(vec![1i64, 7])),
                Case::new().tensor(flags(&[3, 1])).random_input(&[2, 1, 4]).random_input(&[4]),
                Case::new().tensor(flags(&[4])).random_input(&[]).random_input(&[3, 4]),
                Case::new().tensor(flags(&[0, 4])).random_input(&[4]).random_input(&[1]),
                Case::new().tensor(flags(&[])).random_input(&[]).random_input(&[]),
                Case::new().ints(&[1], &[1]).random_input(&[1]).random_input(&[1]).error("expected bool"),
                Case::new().tensor(flags(&[1])).random_input(&[1]).ints(&[1], &[1]).error("input 2: expected f"),
                Case::new().tensor(flags(&[2])).random_input(&[3]).random_input(&[3]).error("cannot be broadcast"),
                Case::new().tensor(flags(&[2])).random_input(&[2]).error("expected 3 inputs"),
            ],
        );
    }
}
