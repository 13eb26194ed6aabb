//! Mod: what remains of `a/b`, with broadcasting. With `fmod = 1` it has the sign of a (as in C), else that of b (as in
//! Python). An integer modulo zero is zero. Versions before 28 ask for `fmod = 1` with floating-point numbers; where it is
//! missing, they are read as the later ones are.
//!
//! Derivatives: 1, and `−trunc(a/b)` or `−⌊a/b⌋`. ONNX: <https://onnx.ai/onnx/operators/onnx__Mod.html>.

use super::binary::{Binary, Broadcast, Integer};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::kernels::Float;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Mod", since: 10, parse };

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Mod { truncated: node.flag("fmod", false)? }))
}

#[derive(Clone, Debug)]
struct Mod {
    truncated: bool,
}

impl Op for Mod {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        if self.truncated { vec![("fmod", AttributeValue::Int(1))] } else { Vec::new() }
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        Broadcast::<Truncated>::new().infer(inputs)
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        match self.truncated {
            true => Broadcast::<Truncated>::new().build(signature),
            false => Broadcast::<Floored>::new().build(signature),
        }
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        Truncated::READS
    }
}

#[derive(Clone, Debug)]
struct Truncated;

impl Binary for Truncated {
    const READS: Reads = Reads::INPUTS;

    fn integer<T: Integer>(a: T, b: T) -> T {
        Integer::rem(a, b)
    }

    fn value<T: Float>(a: T, b: T) -> T {
        a % b
    }

    fn derivatives<T: Float>(a: T, b: T, _: T) -> (T, T) {
        (T::one(), -(a / b).trunc())
    }
}

#[derive(Clone, Debug)]
struct Floored;

impl Binary for Floored {
    const READS: Reads = Reads::INPUTS;

    fn integer<T: Integer>(a: T, b: T) -> T {
        a.modulo(b)
    }

    fn value<T: Float>(a: T, b: T) -> T {
        let rest = a % b;
        if rest == T::zero() {
            // A zero has the sign of b too.
            if b < T::zero() { -T::zero() } else { T::zero() }
        } else if (rest < T::zero()) == (b < T::zero()) {
            rest
        } else {
            rest + b
        }
    }

    fn derivatives<T: Float>(a: T, b: T, _: T) -> (T, T) {
        (T::one(), -(a / b).floor())
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let signs = || Case::new().ints(&[5], &[-4, 7, 5, 4, -7]).ints(&[5], &[2, -3, 8, -2, 3]);
        check(
            "Mod",
            &[
                signs().output_tensor(Tensor::from_vec(vec![0i64, -2, 5, 0, 2])),
                signs().int("fmod", 1).output_tensor(Tensor::from_vec(vec![0i64, 1, 5, 0, -1])),
                Case::new()
                    .ints(&[2], &[7, i64::MIN])
                    .ints(&[2], &[0, -1])
                    .output_tensor(Tensor::from_vec(vec![0i64, 0])),
                Case::new()
                    .tensor(Tensor::from_vec(vec![7u8, 200]))
                    .tensor(Tensor::scalar(9u8))
                    .output_tensor(Tensor::from_vec(vec![7u8, 2])),
                Case::new().input(&[2], &[-4.5, 7.25]).input(&[], &[2.0]).int("fmod", 1).output(&[2], &[-0.5, 1.25]),
                Case::new().random_input(&[2, 3]).input(&[3], &[0.3, -0.4, 0.7]).int("fmod", 1),
                Case::new().random_input(&[0, 3]).random_input(&[3]).int("fmod", 1),
                Case::new()
                    .input(&[5], &[-4.5, 4.5, 7.25, -2.0, -1.0])
                    .input(&[5], &[2.0, -2.0, 2.0, 2.0, f64::INFINITY])
                    .output(&[5], &[1.5, -1.5, 1.25, 0.0, f64::INFINITY])
                    .without_gradient(),
                Case::new()
                    .input(&[3], &[1.0, f64::INFINITY, f64::NAN])
                    .input(&[3], &[0.0, 2.0, 2.0])
                    .output(&[3], &[f64::NAN; 3])
                    .without_gradient(),
                Case::new().random_input(&[2, 3]).input(&[3], &[0.3, -0.4, 0.7]),
                Case::new().random_input(&[2]).random_input(&[2]).int("fmod", 2).error("0 or 1"),
                Case::new().ints(&[2], &[1, 2]).ints(&[3], &[1, 2, 3]).error("cannot be broadcast"),
            ],
        );
    }
}
