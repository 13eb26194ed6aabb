//! Huber: the mean of `d²/2` where `|d| ≤ δ`, else `δ·(|d| − δ/2)`, with `d = p − t`. Derivative: `d`, held to ±δ.
//!
//! Source: Huber, *Robust estimation of a location parameter*, 1964.

use super::pair::{Pair, PairLoss};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::Op;
use crate::engine::ops::DOMAIN;
use crate::onnx::AttributeValue;

pub(super) const ENTRY: OpEntry = OpEntry { domain: DOMAIN, op_type: "Huber", since: 1, parse };

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let delta = node.float("delta")?.unwrap_or(1.0);
    if !(delta.is_finite() && delta > 0.0) {
        let expected = "a number above 0".into();
        return Err(OpError::Attribute { name: "delta".into(), expected, found: delta.to_string() });
    }
    Ok(Box::new(PairLoss(Huber { delta })))
}

#[derive(Clone, Debug)]
struct Huber {
    /// δ, 1 unless given.
    delta: f32,
}

impl Pair for Huber {
    fn value<T: Float>(&self, p: T, t: T) -> T {
        let (d, delta, half) = ((p - t).abs(), T::of(f64::from(self.delta)), T::of(0.5));
        if d <= delta { half * d * d } else { delta * (d - half * delta) }
    }

    fn derivatives<T: Float>(&self, p: T, t: T) -> (T, T) {
        let delta = T::of(f64::from(self.delta));
        let d = (p - t).max(-delta).min(delta);
        (d, -d)
    }

    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        if self.delta == 1.0 { Vec::new() } else { vec![("delta", AttributeValue::Float(self.delta))] }
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::ops::DOMAIN;
    use crate::engine::testing::{Case, check_in};

    #[test]
    fn cases() {
        check_in(
            DOMAIN,
            "Huber",
            &[
                Case::new().input(&[2], &[1.0, 4.0]).input(&[2], &[0.5, 1.0]).output(&[], &[(0.125 + 2.5) / 2.0]),
                Case::new().random_input(&[3, 5]).random_input(&[3, 5]).float("delta", 0.5),
                Case::new()
                    .random_input(&[3])
                    .random_input(&[3])
                    .float("delta", 0.0)
                    .error("`delta`: expected a number above 0"),
            ],
        );
    }
}
