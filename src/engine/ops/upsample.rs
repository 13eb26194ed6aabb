//! Upsample: what Resize was called before version 10: `nearest` or `linear`, by scales alone.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Upsample.html>.

use super::resize::{Layout, simple};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::op::Op;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Upsample", since: 7, parse };

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let inputs = if node.opset() < 9 {
        let missing =
            || OpError::Attribute { name: "scales".into(), expected: "numbers".into(), found: "nothing".into() };
        Layout::Attribute(node.floats("scales")?.ok_or_else(missing)?)
    } else {
        Layout::Scales
    };
    Ok(Box::new(simple(node, inputs)?))
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::onnx::AttributeValue;
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let x = || Case::new().opset(9).input(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
        let scales = |values: &[f32]| Tensor::from_vec(values.to_vec());
        let old = |values: &[f32]| AttributeValue::Floats(values.to_vec());
        check(
            "Upsample",
            &[
                x().initializer(scales(&[1.0, 2.0])).output(&[2, 4], &[1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0]),
                x().tensor(scales(&[2.0, 1.0]))
                    .string("mode", "linear")
                    .output(&[4, 2], &[1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 3.0, 4.0]),
                x().opset(7)
                    .attribute("scales", old(&[1.0, 2.0]))
                    .output(&[2, 4], &[1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0]),
                Case::new()
                    .opset(9)
                    .random_input(&[1, 2, 3, 2])
                    .initializer(scales(&[1.0, 1.0, 2.0, 3.0]))
                    .string("mode", "linear"),
                x().opset(7).error("attribute `scales`"),
                x().opset(7).attribute("scales", old(&[1.0])).error("expected 2 values, found 1"),
                x().error("expected 2 inputs, found 1"),
                x().initializer(scales(&[1.0, 2.0])).string("mode", "cubic").error("one of nearest, linear"),
                x().constant_ints(&[1, 2]).error("input 1: expected f32"),
            ],
        );
    }
}
