//! The perceptron's criterion: the mean of `max(0, −t·p)`, for targets −1 and 1. Derivative: `−t` where `t·p ≤ 0`, else
//! 0, so that gradient descent on one sample at learning rate 1 is Rosenblatt's rule: `w ← w + t·x` on a mistake.
//!
//! Source: Rosenblatt, *The perceptron*, 1958; the criterion: Bishop, *Pattern Recognition and Machine Learning*, 4.1.7.

use super::pair::{Pair, PairLoss};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::Op;
use crate::engine::ops::DOMAIN;

pub(super) const ENTRY: OpEntry = OpEntry { domain: DOMAIN, op_type: "PerceptronCriterion", since: 1, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(PairLoss(PerceptronCriterion)))
}

#[derive(Clone, Debug)]
struct PerceptronCriterion;

impl Pair for PerceptronCriterion {
    fn value<T: Float>(&self, p: T, t: T) -> T {
        let margin = -(t * p);
        if margin < T::zero() { T::zero() } else { margin }
    }

    fn derivatives<T: Float>(&self, p: T, t: T) -> (T, T) {
        if t * p <= T::zero() { (-t, -p) } else { (T::zero(), T::zero()) }
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
            "PerceptronCriterion",
            &[
                Case::new().input(&[2], &[0.5, -0.5]).input(&[2], &[1.0, 1.0]).output(&[], &[0.25]),
                Case::new().random_input(&[3, 2]).random_input(&[3, 2]),
            ],
        );
    }
}
