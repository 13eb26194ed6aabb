//! Binary cross-entropy of logits: the mean of `max(p, 0) − p·t + ln(1 + e^(−|p|))`, for targets between 0 and 1.
//! Derivatives: `σ(p) − t` and `−p`.

use super::pair::{Pair, PairLoss};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::Op;
use crate::engine::ops::DOMAIN;

pub(super) const ENTRY: OpEntry = OpEntry { domain: DOMAIN, op_type: "BinaryCrossEntropy", since: 1, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(PairLoss(BinaryCrossEntropy)))
}

#[derive(Clone, Debug)]
struct BinaryCrossEntropy;

impl Pair for BinaryCrossEntropy {
    fn value<T: Float>(&self, p: T, t: T) -> T {
        let positive = if p < T::zero() { T::zero() } else { p };
        positive - p * t + (-p.abs()).exp().ln_1p()
    }

    fn derivatives<T: Float>(&self, p: T, t: T) -> (T, T) {
        // Neither exponent can overflow.
        let small = (-p.abs()).exp();
        let sigmoid = if p >= T::zero() { T::one() / (T::one() + small) } else { small / (T::one() + small) };
        (sigmoid - t, -p)
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::ops::DOMAIN;
    use crate::engine::testing::{Case, check_in};

    #[test]
    fn cases() {
        let ln2 = std::f64::consts::LN_2;
        check_in(
            DOMAIN,
            "BinaryCrossEntropy",
            &[
                Case::new().input(&[2], &[0.0, 0.0]).input(&[2], &[0.0, 1.0]).output(&[], &[ln2]),
                Case::new()
                    .input(&[2], &[1000.0, -1000.0])
                    .input(&[2], &[1.0, 1.0])
                    .output(&[], &[500.0])
                    .tolerance(1e-4),
                Case::new().random_input(&[3, 2]).random_input(&[3, 2]),
            ],
        );
    }
}
