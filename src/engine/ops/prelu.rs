//! PRelu: `y = x` from zero on, below `slope·x`; the slope is repeated to the shape of x.
//!
//! Derivatives: 1 or slope, and 0 or x, the latter summed over what was repeated.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__PRelu.html>.

use super::binary::{Binary, Broadcast, Integer};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::kernels::Float;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "PRelu", since: 7, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(PRelu))
}

#[derive(Clone, Debug)]
struct PRelu;

impl Op for PRelu {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        let mut types = Broadcast::<Function>::new().infer(inputs)?;
        let (x, slope) = (inputs.required(0)?, inputs.required(1)?);
        if let (Some(dims), Some(slopes)) = (x.dims(), slope.dims()) {
            let fits = slopes.len() <= dims.len()
                && slopes.iter().rev().zip(dims.iter().rev()).all(|(slope, x)| match (slope.known(), x.known()) {
                    (Some(slope), Some(x)) => slope == 1 || slope == x,
                    _ => true,
                });
            if !fits {
                let expected = format!("a shape that is repeated to {}", x.shape);
                return Err(OpError::Shape { input: 1, expected, found: slope.shape.clone() });
            }
            for kind in &mut types {
                kind.shape = x.shape.clone();
            }
        }
        Ok(types)
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        Broadcast::<Function>::new().build(signature)
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        Function::READS
    }
}

#[derive(Clone, Debug)]
struct Function;

impl Binary for Function {
    const READS: Reads = Reads::INPUTS;

    fn integer<T: Integer>(x: T, slope: T) -> T {
        if x < T::default() { x.mul(slope) } else { x }
    }

    #[inline(always)]
    fn value<T: Float>(x: T, slope: T) -> T {
        if x < T::zero() { slope * x } else { x }
    }

    #[inline(always)]
    fn derivatives<T: Float>(x: T, slope: T, _: T) -> (T, T) {
        if x < T::zero() { (slope, x) } else { (T::one(), T::zero()) }
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        check(
            "PRelu",
            &[
                Case::new()
                    .input(&[2, 2], &[-1.0, 2.0, 3.0, -4.0])
                    .input(&[2], &[0.5, 0.25])
                    .output(&[2, 2], &[-0.5, 2.0, 3.0, -1.0]),
                Case::new().random_input(&[2, 3, 4, 5]).random_input(&[3, 1, 1]),
                Case::new().random_input(&[2, 3, 5]).random_input(&[1]),
                Case::new().random_input(&[2, 3, 5]).random_input(&[2, 3, 5]),
                Case::new().random_input(&[0, 3]).random_input(&[3]),
                Case::new().random_input(&[]).random_input(&[]),
                Case::new().ints(&[2], &[-2, 3]).ints(&[1], &[5]).output_tensor(Tensor::from_vec(vec![-10i64, 3])),
                Case::new().random_input(&[3]).random_input(&[2, 3]).error("a shape that is repeated to"),
                Case::new().random_input(&[1, 3]).random_input(&[2, 3]).error("a shape that is repeated to"),
                Case::new().random_input(&[2, 3]).random_input(&[2]).error("cannot be broadcast"),
                Case::new().random_input(&[2]).error("expected 2 inputs"),
            ],
        );
    }
}
