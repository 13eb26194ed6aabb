//! IsInf: whether x is infinite; `detect_positive` and `detect_negative` leave out one of the two infinities.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__IsInf.html>.

use super::is_nan::{Test, build, infer};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "IsInf", since: 10, parse };

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(IsInf { positive: node.flag("detect_positive", true)?, negative: node.flag("detect_negative", true)? }))
}

#[derive(Clone, Debug)]
struct IsInf {
    positive: bool,
    negative: bool,
}

impl Op for IsInf {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        [("detect_positive", self.positive), ("detect_negative", self.negative)]
            .into_iter()
            .filter(|(_, detect)| !detect)
            .map(|(name, _)| (name, AttributeValue::Int(0)))
            .collect()
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        infer(inputs)
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        build(signature, Test::Infinite { positive: self.positive, negative: self.negative })
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::{Tensor, f16};

    #[test]
    fn cases() {
        let inf = f64::INFINITY;
        let four = || Case::new().input(&[4], &[-inf, f64::NAN, 1.0, inf]);
        let expected = |flags: [bool; 4]| Tensor::from_vec(flags.to_vec());
        check(
            "IsInf",
            &[
                four().output_tensor(expected([true, false, false, true])),
                four().int("detect_negative", 0).output_tensor(expected([false, false, false, true])),
                four().int("detect_positive", 0).output_tensor(expected([true, false, false, false])),
                four().int("detect_positive", 0).int("detect_negative", 0).output_tensor(expected([false; 4])),
                Case::new()
                    .tensor(Tensor::from_vec(vec![f16::INFINITY, f16::ONE]))
                    .output_tensor(Tensor::from_vec(vec![true, false])),
                Case::new().random_input(&[0]).output_tensor(Tensor::new(vec![0], Vec::<bool>::new()).unwrap()),
                four().int("detect_positive", 2).error("0 or 1"),
                Case::new().ints(&[1], &[1]).error("a floating-point number"),
                Case::new().error("expected 1 inputs"),
            ],
        );
    }
}
