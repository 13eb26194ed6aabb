//! The operators: one file each, one line each in [`OPS`].

pub mod binary;
pub mod broadcast;
pub mod compare;
pub mod convert;
pub mod logic;
pub mod unary;
pub mod variadic;

mod abs;
mod acos;
mod acosh;
mod add;
mod and;
mod asin;
mod asinh;
mod atan;
mod atanh;
mod bitwise_and;
mod bitwise_not;
mod bitwise_or;
mod bitwise_xor;
mod cast;
mod cast_like;
mod ceil;
mod celu;
mod clip;
mod cos;
mod cosh;
mod div;
mod elu;
mod equal;
mod erf;
mod exp;
mod floor;
mod gelu;
mod gemm;
mod greater;
mod greater_or_equal;
mod hard_sigmoid;
mod hard_swish;
mod identity;
mod is_inf;
mod is_nan;
mod leaky_relu;
mod less;
mod less_or_equal;
mod log;
mod max;
mod mean;
mod min;
mod mish;
mod modulo;
mod mul;
mod neg;
mod not;
mod or;
mod pow;
mod prelu;
mod reciprocal;
mod relu;
mod reshape;
mod round;
mod select;
mod selu;
mod sigmoid;
mod sign;
mod sin;
mod sinh;
mod softplus;
mod softsign;
mod sqrt;
mod sub;
mod sum;
mod swish;
mod tan;
mod tanh;
mod thresholded_relu;
mod xor;

use super::attributes::OpEntry;
use super::error::OpError;
use super::kernel::Kernel;
use super::op::{Inputs, Op, Signature, ValueType};

/// The domain of operators that ONNX does not have: losses, mostly.
pub const DOMAIN: &str = "ai.percept";

/// Every operator that the engine covers, by domain and name.
#[rustfmt::skip]
pub const OPS: &[OpEntry] = &[
    abs::ENTRY,
    acos::ENTRY,
    acosh::ENTRY,
    add::ENTRY,
    and::ENTRY,
    asin::ENTRY,
    asinh::ENTRY,
    atan::ENTRY,
    atanh::ENTRY,
    bitwise_and::ENTRY,
    bitwise_not::ENTRY,
    bitwise_or::ENTRY,
    bitwise_xor::ENTRY,
    cast::ENTRY,
    cast_like::ENTRY,
    ceil::ENTRY,
    celu::ENTRY,
    clip::ENTRY,
    cos::ENTRY,
    cosh::ENTRY,
    div::ENTRY,
    elu::ENTRY,
    equal::ENTRY,
    erf::ENTRY,
    exp::ENTRY,
    floor::ENTRY,
    gelu::ENTRY,
    gemm::ENTRY,
    greater::ENTRY,
    greater_or_equal::ENTRY,
    hard_sigmoid::ENTRY,
    hard_swish::ENTRY,
    identity::ENTRY,
    is_inf::ENTRY,
    is_nan::ENTRY,
    leaky_relu::ENTRY,
    less::ENTRY,
    less_or_equal::ENTRY,
    log::ENTRY,
    max::ENTRY,
    mean::ENTRY,
    min::ENTRY,
    mish::ENTRY,
    modulo::ENTRY,
    mul::ENTRY,
    neg::ENTRY,
    not::ENTRY,
    or::ENTRY,
    pow::ENTRY,
    prelu::ENTRY,
    reciprocal::ENTRY,
    relu::ENTRY,
    reshape::ENTRY,
    round::ENTRY,
    select::ENTRY,
    selu::ENTRY,
    sigmoid::ENTRY,
    sign::ENTRY,
    sin::ENTRY,
    sinh::ENTRY,
    softplus::ENTRY,
    softsign::ENTRY,
    sqrt::ENTRY,
    sub::ENTRY,
    sum::ENTRY,
    swish::ENTRY,
    tan::ENTRY,
    tanh::ENTRY,
    thresholded_relu::ENTRY,
    xor::ENTRY,
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
