//! What operators compute with: matrix products, convolutions, and loops over floating-point numbers.

pub mod convolution;
pub mod float;
pub mod matrix;

pub use float::Float;
