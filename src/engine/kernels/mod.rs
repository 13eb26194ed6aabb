//! What operators compute with: matrix products, and loops over floating-point numbers.

pub mod float;
pub mod matrix;
pub mod vector;

pub use float::Float;
