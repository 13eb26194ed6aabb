//! Preprocessing: what changes a stream before a model reads it.

use crate::stage::Kind;

pub mod crop;
pub mod crop_regions;
pub mod frame;
pub mod grayscale;
pub mod log_mel;
pub mod mono;
pub mod normalize;
pub mod resample;
pub mod resize;
pub mod rotate;
pub mod to_tensor;

mod error;
mod picture;
mod scaling;
mod sound;
#[cfg(test)]
mod trial;

pub use crop::Crop;
pub use crop_regions::CropRegions;
pub use error::PreprocessError;
pub use frame::Frame;
pub use grayscale::Grayscale;
pub use log_mel::LogMel;
pub use mono::Mono;
pub use normalize::Normalize;
pub use resample::Resample;
pub use resize::Resize;
pub use rotate::Rotate;
pub use scaling::{Scaling, TargetSize};
pub use to_tensor::ToTensor;

/// The kinds of this role.
pub const KINDS: &[Kind] = &[
    mono::KIND,
    resample::KIND,
    frame::KIND,
    normalize::KIND,
    log_mel::KIND,
    resize::KIND,
    crop::KIND,
    crop_regions::KIND,
    grayscale::KIND,
    rotate::KIND,
    to_tensor::KIND,
];
