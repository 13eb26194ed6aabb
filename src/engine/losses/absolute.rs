//! Absolute error: the mean of `|p − t|`. Derivative: the sign of `p − t`, 0 where they are equal.

use super::pair::{Pair, PairLoss};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::Op;
use crate::engine::ops::DOMAIN;

pub(super) const ENTRY: OpEntry = OpEntry { domain: DOMAIN, op_type: "AbsoluteError", since: 1, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(PairLoss(AbsoluteError)))
}

#[derive(Clone, Debug)]
struct AbsoluteError;

impl Pair for AbsoluteError {
    fn value<T: Float>(&self, p: T, t: T) -> T {
        (p - t).abs()
    }

    fn derivatives<T: Float>(&self, p: T, t: T) -> (T, T) {
        let d = if p == t { T::zero() } else { (p - t).signum() };
        (d, -d)
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
            "AbsoluteError",
            &[
                Case::new().input(&[2], &[1.0, 3.0]).input(&[2], &[2.0, 1.0]).output(&[], &[1.5]),
                Case::new().random_input(&[3, 2]).random_input(&[3, 2]),
            ],
        );
    }
}
