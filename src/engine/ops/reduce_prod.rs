//! ReduceProd: `y = Π x` over the axes.
//!
//! `dx` is `dy` times the product of the other elements, also where one of them is zero.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__ReduceProd.html>.

use super::reduce::{Reduce, Reduction};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "ReduceProd", since: 1, parse };

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Reduce::<ReduceProd>::read(node)?))
}

#[derive(Clone, Debug)]
struct ReduceProd;

impl Reduction for ReduceProd {
    const READS: Reads = Reads::INPUTS;
    const NOTES: Option<[f64; 2]> = Some([1.0, 0.0]);

    fn start<T: Float>() -> T {
        T::one()
    }

    fn join<T: Float>(a: T, b: T) -> T {
        a * b
    }

    /// The notes are the product of those that are not zero, and how many are.
    fn slope<T: Float>(x: T, _: T, [product, zeros]: [T; 2], _: usize) -> T {
        match (zeros == T::zero(), x == T::zero()) {
            (true, _) => product / x,
            (false, true) if zeros == T::one() => product,
            (false, _) => T::zero(),
        }
    }

    fn note<T: Float>([product, zeros]: &mut [T; 2], x: T, _: T) {
        if x == T::zero() {
            *zeros += T::one();
        } else {
            *product *= x;
        }
    }

    fn integer_start(_: i128, _: i128) -> i128 {
        1
    }

    fn integer_join(a: i128, b: i128) -> i128 {
        a.wrapping_mul(b)
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let six = || Case::new().input(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        check(
            "ReduceProd",
            &[
                six().output(&[1, 1], &[720.0]),
                six().constant_ints(&[1]).output(&[2, 1], &[6.0, 120.0]),
                six().ints_attribute("axes", &[0]).opset(11).int("keepdims", 0).output(&[3], &[4.0, 10.0, 18.0]),
                Case::new().input(&[2, 0], &[]).constant_ints(&[1]).output(&[2, 1], &[1.0, 1.0]),
                Case::new().ints(&[2], &[1 << 62, 6]).output_tensor(Tensor::from_vec(vec![i64::MIN])),
                // One zero among the factors, and two.
                Case::new().input(&[2, 3], &[2.0, 0.0, 3.0, 0.0, 4.0, 0.0]).constant_ints(&[1]),
                Case::new().random_input(&[2, 3, 4, 5]).constant_ints(&[1, 3]),
                Case::new().random_input(&[3, 35]).constant_ints(&[-1]).int("keepdims", 0),
                Case::new().random_input(&[3, 4, 2]).constant_ints(&[0]),
                Case::new().random_input(&[2, 2]),
                Case::new().random_input(&[]),
                Case::new().random_input(&[0, 3]).constant_ints(&[1]),
                Case::new().random_input(&[2, 3]).constant_ints(&[]).int("noop_with_empty_axes", 1),
                six().constant_ints(&[2]).error("axes of -2 to 1, found 2"),
            ],
        );
    }
}
