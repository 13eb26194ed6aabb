//! The operators: one file each, one line each in [`OPS`].

pub mod binary;
pub mod broadcast;
pub mod indexing;
pub mod interpolate;
pub mod permute;
pub mod places;
pub mod rearrange;
pub mod unary;

mod add;
mod center_crop_pad;
mod compress;
mod concat;
mod constant;
mod constant_of_shape;
mod depth_to_space;
mod expand;
mod eye_like;
mod flatten;
mod gather;
mod gather_elements;
mod gather_nd;
mod gemm;
mod non_zero;
mod pad;
mod range;
mod relu;
mod reshape;
mod resize;
mod reverse_sequence;
mod scatter_elements;
mod scatter_nd;
mod shape;
mod size;
mod slice;
mod space_to_depth;
mod split;
mod squeeze;
mod tile;
mod transpose;
mod trilu;
mod unsqueeze;
mod upsample;

use super::attributes::OpEntry;
use super::error::OpError;
use super::kernel::Kernel;
use super::op::{Inputs, Op, Signature, ValueType};

/// The domain of operators that ONNX does not have: losses, mostly.
pub const DOMAIN: &str = "ai.percept";

/// Every operator that the engine covers, by domain and name.
#[rustfmt::skip]
pub const OPS: &[OpEntry] = &[
    add::ENTRY,
    center_crop_pad::ENTRY,
    compress::ENTRY,
    concat::ENTRY,
    constant::ENTRY,
    constant_of_shape::ENTRY,
    depth_to_space::ENTRY,
    expand::ENTRY,
    eye_like::ENTRY,
    flatten::ENTRY,
    gather::ENTRY,
    gather_elements::ENTRY,
    gather_nd::ENTRY,
    gemm::ENTRY,
    non_zero::ENTRY,
    pad::ENTRY,
    range::ENTRY,
    relu::ENTRY,
    reshape::ENTRY,
    resize::ENTRY,
    reverse_sequence::ENTRY,
    scatter_elements::ENTRY,
    scatter_elements::SCATTER,
    scatter_nd::ENTRY,
    shape::ENTRY,
    size::ENTRY,
    slice::ENTRY,
    space_to_depth::ENTRY,
    split::ENTRY,
    squeeze::ENTRY,
    tile::ENTRY,
    transpose::ENTRY,
    trilu::ENTRY,
    unsqueeze::ENTRY,
    upsample::ENTRY,
];

/// The operator of that domain and name.
pub(super) fn find(domain: &str, op_type: &str) -> Option<&'static OpEntry> {
    OPS.iter().find(|entry| entry.domain == domain && entry.op_type == op_type)
}

/// The operator whose name is nearest, as the end of an error message.
pub(super) fn suggestion(op_type: &str) -> String {
    let near = OPS.iter().map(|entry| (strsim::jaro_winkler(entry.op_type, op_type), entry.op_type));
    match near.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((nearness, name)) if nearness > 0.85 && name != op_type => format!("; did you mean {name}?"),
        _ => String::new(),
    }
}

/// Stands where an operator is about to be read.
#[derive(Debug)]
pub(super) struct Nothing;

impl Op for Nothing {
    fn infer(&self, _: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        Err(OpError::Plan { what: "the operator was never read".into() })
    }

    fn build(&self, _: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        Err(OpError::Plan { what: "the operator was never read".into() })
    }
}
