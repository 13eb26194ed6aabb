//! Mean: the mean of any number `n` of inputs, with broadcasting. Derivatives: `1/n`, summed over what was repeated.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Mean.html>.

use std::marker::PhantomData;

use super::binary::Integer;
use super::variadic::{Fold, Gradient, Variadic};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::Op;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Mean", since: 6, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Variadic(PhantomData::<Mean>)))
}

#[derive(Clone, Debug)]
struct Mean;

impl Fold for Mean {
    const INTEGERS: bool = false;
    const GRADIENT: Gradient = Gradient::Mean;

    #[inline(always)]
    fn float<T: Float>(sum: T, x: T) -> T {
        sum + x
    }

    fn integer<T: Integer>(sum: T, x: T) -> T {
        sum.add(x)
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        check(
            "Mean",
            &[
                Case::new()
                    .input(&[3], &[3.0, 2.0, 1.0])
                    .input(&[3], &[1.0, 4.0, 4.0])
                    .input(&[3], &[2.0, 5.0, 3.0])
                    .output(&[3], &[2.0, 3.6666666666666665, 2.6666666666666665]),
                Case::new().input(&[2], &[3.0, 2.0]).output(&[2], &[3.0, 2.0]),
                Case::new()
                    .input(&[2], &[3.0, f64::NAN])
                    .input(&[2], &[f64::NAN, 2.0])
                    .output(&[2], &[f64::NAN, f64::NAN])
                    .without_gradient(),
                Case::new().random_input(&[2, 3, 4]).random_input(&[3, 1]).random_input(&[]),
                Case::new().random_input(&[1, 4]).random_input(&[3, 1]),
                Case::new().random_input(&[0, 3]).random_input(&[3]),
                Case::new().random_input(&[]).random_input(&[]),
                Case::new().ints(&[1], &[1]).error("f32 or f64"),
                Case::new().random_input(&[2]).random_input(&[3]).error("cannot be broadcast"),
                Case::new().random_input(&[2]).ints(&[2], &[1, 2]).error("input 1: expected f"),
                Case::new().random_input(&[2]).left_out().random_input(&[2]).error("input 1 is missing"),
                Case::new().tensor(Tensor::from_vec(vec![true])).error("input 0: expected f32"),
            ],
        );
    }
}
