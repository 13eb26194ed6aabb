//! The operators: one file each, one line each in [`OPS`].

pub mod activation;
pub mod along_axis;
pub mod arg_reduce;
pub mod axis;
pub mod binary;
pub mod broadcast;
pub mod compare;
pub mod convert;
pub mod global_pool;
pub mod indexing;
pub mod integer_conv;
pub mod integer_matmul;
pub mod integer_products;
pub mod interpolate;
pub mod logic;
pub mod lp_norm;
pub mod permute;
pub mod places;
pub mod pooling;
pub mod quantized;
pub mod rearrange;
pub mod recurrent;
pub mod reduce;
pub mod standardize;
pub mod unary;
pub mod variadic;
pub mod window;

mod abs;
mod acos;
mod acosh;
mod add;
mod and;
mod arg_max;
mod arg_min;
mod asin;
mod asinh;
mod atan;
mod atanh;
mod average_pool;
mod batch_normalization;
mod bitwise_and;
mod bitwise_not;
mod bitwise_or;
mod bitwise_xor;
mod cast;
mod cast_like;
mod ceil;
mod celu;
mod center_crop_pad;
mod clip;
mod compress;
mod concat;
mod constant;
mod constant_of_shape;
mod conv;
mod conv_integer;
mod conv_transpose;
mod cos;
mod cosh;
mod cum_sum;
mod depth_to_space;
mod dequantize_linear;
mod div;
mod dropout;
mod dynamic_quantize_linear;
mod einsum;
mod elu;
mod equal;
mod erf;
mod exp;
mod expand;
mod eye_like;
mod flatten;
mod floor;
mod gather;
mod gather_elements;
mod gather_nd;
mod gelu;
mod gemm;
mod global_average_pool;
mod global_lp_pool;
mod global_max_pool;
mod greater;
mod greater_or_equal;
mod group_normalization;
mod gru;
mod hard_sigmoid;
mod hard_swish;
mod hardmax;
mod identity;
mod instance_normalization;
mod is_inf;
mod is_nan;
mod layer_normalization;
mod leaky_relu;
mod less;
mod less_or_equal;
mod log;
mod log_softmax;
mod lp_normalization;
mod lp_pool;
mod lrn;
mod lstm;
mod matmul;
mod matmul_integer;
mod max;
mod max_pool;
mod max_unpool;
mod mean;
mod mean_variance_normalization;
mod min;
mod mish;
mod modulo;
mod mul;
mod neg;
mod non_zero;
mod not;
mod one_hot;
mod or;
mod pad;
mod pow;
mod prelu;
mod qlinear_conv;
mod qlinear_matmul;
mod quantize_linear;
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
mod resize;
mod reverse_sequence;
mod rms_normalization;
mod rnn;
mod round;
mod scatter_elements;
mod scatter_nd;
mod select;
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
mod space_to_depth;
mod split;
mod sqrt;
mod squeeze;
mod sub;
mod sum;
mod swish;
mod tan;
mod tanh;
mod thresholded_relu;
mod tile;
mod top_k;
mod transpose;
mod trilu;
mod unsqueeze;
mod upsample;
mod xor;

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
    and::ENTRY,
    arg_max::ENTRY,
    arg_min::ENTRY,
    asin::ENTRY,
    asinh::ENTRY,
    atan::ENTRY,
    atanh::ENTRY,
    average_pool::ENTRY,
    batch_normalization::ENTRY,
    bitwise_and::ENTRY,
    bitwise_not::ENTRY,
    bitwise_or::ENTRY,
    bitwise_xor::ENTRY,
    cast::ENTRY,
    cast_like::ENTRY,
    ceil::ENTRY,
    celu::ENTRY,
    center_crop_pad::ENTRY,
    clip::ENTRY,
    compress::ENTRY,
    concat::ENTRY,
    constant::ENTRY,
    constant_of_shape::ENTRY,
    conv::ENTRY,
    conv_integer::ENTRY,
    conv_transpose::ENTRY,
    cos::ENTRY,
    cosh::ENTRY,
    cum_sum::ENTRY,
    depth_to_space::ENTRY,
    dequantize_linear::ENTRY,
    div::ENTRY,
    dropout::ENTRY,
    dynamic_quantize_linear::ENTRY,
    einsum::ENTRY,
    elu::ENTRY,
    equal::ENTRY,
    erf::ENTRY,
    exp::ENTRY,
    expand::ENTRY,
    eye_like::ENTRY,
    flatten::ENTRY,
    floor::ENTRY,
    gather::ENTRY,
    gather_elements::ENTRY,
    gather_nd::ENTRY,
    gelu::ENTRY,
    gemm::ENTRY,
    global_average_pool::ENTRY,
    global_lp_pool::ENTRY,
    global_max_pool::ENTRY,
    greater::ENTRY,
    greater_or_equal::ENTRY,
    group_normalization::ENTRY,
    gru::ENTRY,
    hard_sigmoid::ENTRY,
    hard_swish::ENTRY,
    hardmax::ENTRY,
    identity::ENTRY,
    instance_normalization::ENTRY,
    is_inf::ENTRY,
    is_nan::ENTRY,
    layer_normalization::ENTRY,
    leaky_relu::ENTRY,
    less::ENTRY,
    less_or_equal::ENTRY,
    log::ENTRY,
    log_softmax::ENTRY,
    lp_normalization::ENTRY,
    lp_pool::ENTRY,
    lrn::ENTRY,
    lstm::ENTRY,
    matmul::ENTRY,
    matmul_integer::ENTRY,
    max::ENTRY,
    max_pool::ENTRY,
    max_unpool::ENTRY,
    mean::ENTRY,
    mean_variance_normalization::ENTRY,
    min::ENTRY,
    mish::ENTRY,
    modulo::ENTRY,
    mul::ENTRY,
    neg::ENTRY,
    non_zero::ENTRY,
    not::ENTRY,
    one_hot::ENTRY,
    or::ENTRY,
    pad::ENTRY,
    pow::ENTRY,
    prelu::ENTRY,
    qlinear_conv::ENTRY,
    qlinear_matmul::ENTRY,
    quantize_linear::ENTRY,
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
    resize::ENTRY,
    reverse_sequence::ENTRY,
    rms_normalization::ENTRY,
    rnn::ENTRY,
    round::ENTRY,
    scatter_elements::ENTRY,
    scatter_nd::ENTRY,
    select::ENTRY,
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
    space_to_depth::ENTRY,
    split::ENTRY,
    sqrt::ENTRY,
    squeeze::ENTRY,
    sub::ENTRY,
    sum::ENTRY,
    swish::ENTRY,
    tan::ENTRY,
    tanh::ENTRY,
    thresholded_relu::ENTRY,
    tile::ENTRY,
    top_k::ENTRY,
    transpose::ENTRY,
    trilu::ENTRY,
    unsqueeze::ENTRY,
    upsample::ENTRY,
    xor::ENTRY,
    scatter_elements::SCATTER,
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
