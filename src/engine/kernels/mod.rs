//! What operators compute with: matrix products, convolutions, and loops over floating-point numbers.

pub mod convolution;
pub mod direct;
pub mod float;
pub mod math;
pub mod matrix;
pub mod patches;
pub mod recurrent_simd;
pub mod simd;
pub mod winograd;

pub use float::Float;
