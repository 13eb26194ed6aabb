//! Floor 4: the architectures of the classic lecture, built from layers. One file each.
//!
//! Each is a struct of arguments; `build(seed)` gives an ONNX model with random weights, ready to be trained.

mod lenet5;
mod mlp;
mod perceptron;

pub use lenet5::Lenet5;
pub use mlp::Mlp;
pub use perceptron::Perceptron;
