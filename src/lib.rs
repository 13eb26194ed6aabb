//! percept: recognition on live streams.

pub mod cards;
#[cfg(feature = "cli")]
pub mod cli;
pub mod codec;
pub mod config;
pub mod dsp;
pub mod inference;
pub mod media;
pub mod onnx;
pub mod pipeline;
pub mod runtime;
pub mod stage;
pub mod stages;
pub mod tensor;
pub mod units;
