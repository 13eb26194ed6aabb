//! The operators: one file each, one line each in [`OPS`].

pub mod binary;
pub mod broadcast;
pub mod global_pool;
pub mod integer_conv;
pub mod integer_matmul;
pub mod integer_products;
pub mod lp_norm;
pub mod pooling;
pub mod quantized;
pub mod unary;
pub mod window;

mod add;
mod average_pool;
mod conv;
mod conv_integer;
mod conv_transpose;
mod dequantize_linear;
mod dynamic_quantize_linear;
mod gemm;
mod global_average_pool;
mod global_lp_pool;
mod global_max_pool;
mod lp_pool;
mod matmul_integer;
mod max_pool;
mod max_unpool;
mod qlinear_conv;
mod qlinear_matmul;
mod quantize_linear;
mod relu;
mod reshape;

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
    average_pool::ENTRY,
    conv::ENTRY,
    conv_integer::ENTRY,
    conv_transpose::ENTRY,
    dequantize_linear::ENTRY,
    dynamic_quantize_linear::ENTRY,
    gemm::ENTRY,
    global_average_pool::ENTRY,
    global_lp_pool::ENTRY,
    global_max_pool::ENTRY,
    lp_pool::ENTRY,
    matmul_integer::ENTRY,
    max_pool::ENTRY,
    max_unpool::ENTRY,
    qlinear_conv::ENTRY,
    qlinear_matmul::ENTRY,
    quantize_linear::ENTRY,
    relu::ENTRY,
    reshape::ENTRY,
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
