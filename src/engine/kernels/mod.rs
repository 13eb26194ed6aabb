//! What operators compute with: matrix products, convolutions, and loops over floating-point numbers.

pub mod convolution;
pub mod direct;
pub mod float;
pub mod matrix;
pub mod simd;

pub use float::Float;
