//! What operators compute with: matrix products, and loops over floating-point numbers.

pub mod float;
pub mod math;
pub mod matrix;
<<<<<<< HEAD
pub mod vector;
=======
pub mod recurrent_simd;
>>>>>>> recurrent

pub use float::Float;
