//! Kullback–Leibler divergence of the target from the prediction: the sum of `t·(ln t − p)`, divided by the number of
//! rows, where `p` are *log*-probabilities and `t` probabilities; `0·ln 0 = 0`. Derivatives: `−t` and `ln t + 1 − p`.
//!
//! Source: Kullback and Leibler, *On information and sufficiency*, 1951.

use super::pair::{Pair, PairLoss};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::Op;
use crate::engine::ops::DOMAIN;

pub(super) const ENTRY: OpEntry = OpEntry { domain: DOMAIN, op_type: "KullbackLeibler", since: 1, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(PairLoss(KullbackLeibler)))
}

#[derive(Clone, Debug)]
struct KullbackLeibler;

impl Pair for KullbackLeibler {
    const PER_ROW: bool = true;

    fn value<T: Float>(&self, p: T, t: T) -> T {
        if t == T::zero() { T::zero() } else { t * (t.ln() - p) }
    }

    fn derivatives<T: Float>(&self, p: T, t: T) -> (T, T) {
        (-t, if t == T::zero() { T::zero() } else { t.ln() + T::one() - p })
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::ops::DOMAIN;
    use crate::engine::testing::{Case, check_in};

    #[test]
    fn cases() {
        let half = 0.5f64.ln();
        check_in(
            DOMAIN,
            "KullbackLeibler",
            &[
                Case::new()
                    .input(&[1, 2], &[half, half])
                    .input(&[1, 2], &[0.0, 1.0])
                    .output(&[], &[-half])
                    .without_gradient(),
                Case::new().random_input(&[2, 3]).input(&[2, 3], &[0.2, 0.3, 0.5, 0.1, 0.1, 0.8]),
            ],
        );
    }
}
