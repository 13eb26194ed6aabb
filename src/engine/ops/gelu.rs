//! Gelu: `y = x·Φ(x)`, where Φ is the normal distribution; with `approximate = "tanh"` it is
//! `x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))`.
//!
//! Derivatives: `Φ(x) + x·φ(x)`, where φ is the normal density; with `t` the tanh and `u` its argument,
//! `(1 + t)/2 + x/2·(1 − t²)·u'`. ONNX: <https://onnx.ai/onnx/operators/onnx__Gelu.html>.

use super::unary::{Pointwise, Unary};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::{Op, Reads};
use crate::onnx::AttributeValue;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Gelu", since: 20, parse };

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    match node.string("approximate")? {
        None | Some("none") => Ok(Box::new(Pointwise(Gelu))),
        Some("tanh") => Ok(Box::new(Pointwise(TanhGelu))),
        Some(found) => {
            Err(OpError::Attribute { name: "approximate".into(), expected: "none or tanh".into(), found: found.into() })
        }
    }
}

#[derive(Clone, Debug)]
struct Gelu;

impl Unary for Gelu {
    const READS: Reads = Reads::INPUTS;
    const COST: usize = 1_200;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        T::of(0.5) * x * (T::one() + (x * T::of(std::f64::consts::FRAC_1_SQRT_2)).quick_erf())
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, _: T) -> T {
        let half = T::of(0.5);
        let normal = half * (T::one() + (x * T::of(std::f64::consts::FRAC_1_SQRT_2)).quick_erf());
        // 1/√(2π) is 2/√π / √8.
        let scale = T::of(std::f64::consts::FRAC_2_SQRT_PI / 8f64.sqrt());
        normal + x * scale * (-(half * x * x)).quick_exp()
    }
}

#[derive(Clone, Debug)]
struct TanhGelu;

/// How much of x³ is in the argument of the tanh.
const CUBE: f64 = 0.044_715;

/// √(2/π).
const SCALE: f64 = std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;

impl Unary for TanhGelu {
    const READS: Reads = Reads::INPUTS;
    const COST: usize = 1_200;

    #[inline(always)]
    fn value<T: Float>(&self, x: T) -> T {
        let t = (T::of(SCALE) * (x + T::of(CUBE) * x * x * x)).quick_tanh();
        T::of(0.5) * x * (T::one() + t)
    }

    #[inline(always)]
    fn derivative<T: Float>(&self, x: T, _: T) -> T {
        let half = T::of(0.5);
        let t = (T::of(SCALE) * (x + T::of(CUBE) * x * x * x)).quick_tanh();
        let slope = T::of(SCALE) * (T::one() + T::of(3.0 * CUBE) * x * x);
        half * (T::one() + t) + half * x * (T::one() - t * t) * slope
    }

    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        vec![("approximate", AttributeValue::String("tanh".into()))]
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        let exact = [
            -0.00404969409489031,
            -0.15865525393145707,
            -0.10032341857926907,
            0.0,
            0.34573123063700656,
            1.9544997361036416,
            40.0,
        ];
        let tanh = [
            -0.0036373920817729943,
            -0.15880800939172324,
            -0.100324649298315,
            0.0,
            0.34571400982514394,
            1.954597694087775,
            40.0,
        ];
        let x = [-3.0, -1.0, -0.25, 0.0, 0.5, 2.0, 40.0];
        check(
            "Gelu",
            &[
                Case::new().input(&[7], &x).output(&[7], &exact),
                Case::new().input(&[7], &x).string("approximate", "none").output(&[7], &exact),
                Case::new().input(&[7], &x).string("approximate", "tanh").output(&[7], &tanh),
                Case::new().random_input(&[2, 3, 5]),
                Case::new().random_input(&[2, 3, 5]).string("approximate", "tanh"),
                Case::new().random_input(&[0, 3]),
                Case::new().random_input(&[]),
                Case::new().random_input(&[2]).string("approximate", "sigmoid").error("none or tanh"),
                Case::new().ints(&[2], &[1, 2]).error("expected f32 or f64"),
                Case::new().random_input(&[2]).opset(19).error("not covered"),
            ],
        );
    }
}
