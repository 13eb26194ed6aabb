//! Squared error: the mean of `(p − t)²`. Derivative: `2·(p − t)`.

use super::pair::{Pair, PairLoss};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernels::Float;
use crate::engine::op::Op;
use crate::engine::ops::DOMAIN;

pub(super) const ENTRY: OpEntry = OpEntry { domain: DOMAIN, op_type: "SquaredError", since: 1, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(PairLoss(SquaredError)))
}

#[derive(Clone, Debug)]
struct SquaredError;

impl Pair for SquaredError {
    fn value<T: Float>(&self, p: T, t: T) -> T {
        (p - t) * (p - t)
    }

    fn derivatives<T: Float>(&self, p: T, t: T) -> (T, T) {
        let d = T::of(2.0) * (p - t);
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
            "SquaredError",
            &[
                Case::new().input(&[2], &[1.0, 3.0]).input(&[2], &[0.0, 1.0]).output(&[], &[2.5]),
                Case::new().random_input(&[3, 2]).random_input(&[3, 2]),
                Case::new().random_input(&[0, 2]).random_input(&[0, 2]).output(&[], &[0.0]),
                Case::new().random_input(&[3]).random_input(&[2]).error("the shape of the prediction"),
                Case::new().random_input(&[3]).ints(&[3], &[1, 2, 3]).error("expected f32 or f64"),
                Case::new().random_input(&[3]).error("expected 2 to 3 inputs"),
            ],
        );
    }
}
