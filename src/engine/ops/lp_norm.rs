//! The `p`-norm `y = (Σ |x|ᵖ)^(1/p)` of a few elements, for pooling. `∂y/∂x = sign(x)·(|x|/y)^(p−1)`, 0 where `y` is 0.

use crate::engine::attributes::NodeReader;
use crate::engine::error::OpError;
use crate::engine::kernels::Float;

/// The attribute `p`: 2 unless given.
pub fn order(node: &NodeReader<'_>) -> Result<u16, OpError> {
    match node.int("p")? {
        None => Ok(2),
        Some(p) if (1..=i64::from(u16::MAX)).contains(&p) => Ok(p as u16),
        Some(found) => Err(OpError::Attribute {
            name: "p".into(),
            expected: format!("an integer from 1 to {}", u16::MAX),
            found: found.to_string(),
        }),
    }
}

/// `|x|ᵖ`.
pub fn power<T: Float>(x: T, p: u16) -> T {
    match p {
        1 => x.abs(),
        2 => x * x,
        p => x.abs().powi(i32::from(p)),
    }
}

/// `sum^(1/p)`.
pub fn root<T: Float>(sum: T, p: u16) -> T {
    match p {
        1 => sum,
        2 => sum.sqrt(),
        p => sum.powf(T::of(1.0 / f64::from(p))),
    }
}

/// `∂y/∂x`.
pub fn derivative<T: Float>(x: T, y: T, p: u16) -> T {
    if y == T::zero() || x == T::zero() {
        return T::zero();
    }
    (x.abs() / y).powi(i32::from(p) - 1) * x.signum()
}
