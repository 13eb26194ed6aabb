//! Hinge: the mean of `max(0, 1 − t·p)`, for targets −1 and 1. Derivative: `−t` where `t·p < 1`, else 0.
//!
//! Source: Cortes and Vapnik, *Support-vector networks*, 1995.

use super::pair::{Pair, PairLoss};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::Op;
use crate::engine::ops::DOMAIN;

pub(super) const ENTRY: OpEntry = OpEntry { domain: DOMAIN, op_type: "Hinge", since: 1, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(PairLoss(Hinge)))
}

#[derive(Clone, Debug)]
struct Hinge;

impl Pair for Hinge {
    fn value<T: Float>(&self, p: T, t: T) -> T {
        let margin = T::one() - t * p;
        if margin < T::zero() { T::zero() } else { margin }
    }

    fn derivatives<T: Float>(&self, p: T, t: T) -> (T, T) {
        if t * p < T::one() { (-t, -p) } else { (T::zero(), T::zero()) }
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
            "Hinge",
            &[
                Case::new().input(&[3], &[0.5, -0.5, 3.0]).input(&[3], &[1.0, 1.0, 1.0]).output(&[], &[2.0 / 3.0]),
                Case::new().random_input(&[3, 2]).random_input(&[3, 2]),
                Case::new().input(&[2], &[2.0, -3.0]).input(&[2], &[1.0, 1.0]),
            ],
        );
    }
}
