//! The operators: one file each, one line each in [`OPS`].

pub mod activation;
pub mod along_axis;
pub mod axis;
pub mod binary;
pub mod broadcast;
pub mod indexing;
pub mod permute;
pub mod rearrange;
pub mod recurrent;
pub mod reduce;
pub mod standardize;
pub mod unary;

mod abs;
mod acos;
mod acosh;
mod add;
mod asin;
mod asinh;
mod atan;
mod atanh;
mod batch_normalization;
mod ceil;
mod celu;
mod concat;
mod constant;
mod constant_of_shape;
mod cos;
mod cosh;
mod dropout;
mod einsum;
mod elu;
mod erf;
mod exp;
mod expand;
mod flatten;
mod floor;
mod gather;
mod gemm;
mod group_normalization;
mod gru;
mod hard_sigmoid;
mod hard_swish;
mod hardmax;
mod instance_normalization;
mod layer_normalization;
mod leaky_relu;
mod log;
mod log_softmax;
mod lp_normalization;
mod lrn;
mod lstm;
mod matmul;
mod mish;
mod neg;
mod pad;
mod range;
mod reciprocal;
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
mod rnn;
mod round;
mod selu;
mod shape;
mod sigmoid;
mod sign;
mod sin;
mod sinh;
mod size;
mod slice;
mod softmax;
mod softplus;
mod softsign;
mod split;
mod sqrt;
mod squeeze;
mod swish;
mod tan;
mod tanh;
mod thresholded_relu;
mod tile;
mod transpose;
mod unsqueeze;

use super::attributes::OpEntry;
use super::error::OpError;
use super::kernel::Kernel;
use super::op::{Inputs, Op, Signature, ValueType};

/// The domain of operators that ONNX does not have: the [losses](super::losses).
pub const DOMAIN: &str = "ai.percept";

/// Every operator that the engine covers, by domain and name.
#[rustfmt::skip]
pub const OPS: &[OpEntry] = &[
    abs::ENTRY,
    acos::ENTRY,
    acosh::ENTRY,
    add::ENTRY,
    asin::ENTRY,
    asinh::ENTRY,
    atan::ENTRY,
    atanh::ENTRY,
    batch_normalization::ENTRY,
    ceil::ENTRY,
    celu::ENTRY,
    concat::ENTRY,
    constant::ENTRY,
    constant_of_shape::ENTRY,
    cos::ENTRY,
    cosh::ENTRY,
    dropout::ENTRY,
    einsum::ENTRY,
    elu::ENTRY,
    erf::ENTRY,
    exp::ENTRY,
    expand::ENTRY,
    flatten::ENTRY,
    floor::ENTRY,
    gather::ENTRY,
    gemm::ENTRY,
    group_normalization::ENTRY,
    gru::ENTRY,
    hard_sigmoid::ENTRY,
    hard_swish::ENTRY,
    hardmax::ENTRY,
    instance_normalization::ENTRY,
    layer_normalization::ENTRY,
    leaky_relu::ENTRY,
    log::ENTRY,
    log_softmax::ENTRY,
    lp_normalization::ENTRY,
    lrn::ENTRY,
    lstm::ENTRY,
    matmul::ENTRY,
    mish::ENTRY,
    neg::ENTRY,
    pad::ENTRY,
    range::ENTRY,
    reciprocal::ENTRY,
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
    rnn::ENTRY,
    round::ENTRY,
    selu::ENTRY,
    shape::ENTRY,
    sigmoid::ENTRY,
    sign::ENTRY,
    sin::ENTRY,
    sinh::ENTRY,
    size::ENTRY,
    slice::ENTRY,
    softmax::ENTRY,
    softplus::ENTRY,
    softsign::ENTRY,
    split::ENTRY,
    sqrt::ENTRY,
    squeeze::ENTRY,
    swish::ENTRY,
    tan::ENTRY,
    tanh::ENTRY,
    thresholded_relu::ENTRY,
    tile::ENTRY,
    transpose::ENTRY,
    unsqueeze::ENTRY,
];

/// The operator of that domain and name.
pub(super) fn find(domain: &str, op_type: &str) -> Option<&'static OpEntry> {
    let losses = super::losses::LOSSES.iter().map(|loss| &loss.op);
    OPS.iter().chain(losses).find(|entry| entry.domain == domain && entry.op_type == op_type)
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
