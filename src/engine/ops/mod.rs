//! The operators: one file each, one line each in [`OPS`].

pub mod along_axis;
pub mod arg_reduce;
pub mod axis;
pub mod binary;
pub mod broadcast;
pub mod reduce;
pub mod standardize;
pub mod unary;

mod add;
mod arg_max;
mod arg_min;
mod batch_normalization;
mod cum_sum;
mod dropout;
mod gemm;
mod group_normalization;
mod hardmax;
mod instance_normalization;
mod layer_normalization;
mod log_softmax;
mod lp_normalization;
mod lrn;
mod mean_variance_normalization;
mod one_hot;
mod reduce_l1;
mod reduce_l2;
mod reduce_log_sum;
mod reduce_log_sum_exp;
mod reduce_max;
mod reduce_mean;
mod reduce_min;
mod reduce_prod;
mod reduce_sum;
mod reduce_sum_square;
mod relu;
mod reshape;
mod rms_normalization;
mod softmax;
mod top_k;

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
    arg_max::ENTRY,
    arg_min::ENTRY,
    batch_normalization::ENTRY,
    cum_sum::ENTRY,
    dropout::ENTRY,
    gemm::ENTRY,
    group_normalization::ENTRY,
    hardmax::ENTRY,
    instance_normalization::ENTRY,
    layer_normalization::ENTRY,
    log_softmax::ENTRY,
    lp_normalization::ENTRY,
    lrn::ENTRY,
    mean_variance_normalization::ENTRY,
    one_hot::ENTRY,
    reduce_l1::ENTRY,
    reduce_l2::ENTRY,
    reduce_log_sum::ENTRY,
    reduce_log_sum_exp::ENTRY,
    reduce_max::ENTRY,
    reduce_mean::ENTRY,
    reduce_min::ENTRY,
    reduce_prod::ENTRY,
    reduce_sum::ENTRY,
    reduce_sum_square::ENTRY,
    relu::ENTRY,
    reshape::ENTRY,
    rms_normalization::ENTRY,
    softmax::ENTRY,
    top_k::ENTRY,
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
