//! What operators compute with: matrix products, convolutions, and loops over floating-point numbers.

pub mod convolution;
pub mod float;
pub mod math;
pub mod matrix;
pub mod vector;
pub mod recurrent_simd;

pub use float::Float;
