//! Min: the least of any number of inputs, with broadcasting; what is not a number wins. The gradient goes to the inputs
//! that are the least, in equal parts, summed over what was repeated.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Min.html>.

use std::marker::PhantomData;

use super::binary::Integer;
use super::variadic::{Fold, Gradient, Variadic};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::Op;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Min", since: 6, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Variadic(PhantomData::<Min>)))
}

#[derive(Clone, Debug)]
struct Min;

impl Fold for Min {
    const INTEGERS: bool = true;
    const GRADIENT: Gradient = Gradient::Chosen;

    #[inline(always)]
    fn float<T: Float>(sum: T, x: T) -> T {
        if sum.is_nan() || sum < x { sum } else { x }
    }

    fn integer<T: Integer>(sum: T, x: T) -> T {
        sum.min(x)
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        check(
            "Min",
            &[
                Case::new()
                    .input(&[3], &[3.0, 2.0, 1.0])
                    .input(&[3], &[1.0, 4.0, 4.0])
                    .input(&[3], &[2.0, 5.0, 3.0])
                    .output(&[3], &[1.0, 2.0, 1.0]),
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
                Case::new().ints(&[3], &[1, -5, i64::MIN]).ints(&[], &[0]).output_tensor(Tensor::from_vec(vec![
                    0,
                    -5,
                    i64::MIN,
                ])),
                Case::new()
                    .tensor(Tensor::from_vec(vec![200u8, 3]))
                    .tensor(Tensor::from_vec(vec![7u8, 9]))
                    .output_tensor(Tensor::from_vec(vec![7u8, 3])),
                // Equals share the gradient; a central difference gives the same halves.
                Case::new().input(&[2], &[1.0, 2.0]).input(&[2], &[1.0, 3.0]),
                Case::new().random_input(&[2]).random_input(&[3]).error("cannot be broadcast"),
                Case::new().random_input(&[2]).ints(&[2], &[1, 2]).error("input 1: expected f"),
                Case::new().random_input(&[2]).left_out().random_input(&[2]).error("input 1 is missing"),
                Case::new().tensor(Tensor::from_vec(vec![true])).error("input 0: expected f32"),
            ],
        );
    }
}
