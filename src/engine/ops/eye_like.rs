//! EyeLike: a matrix of the input's shape with ones on diagonal `k`, zeros elsewhere. It has no derivative.
//!
//! ONNX: <https://onnx.ai/onnx/operators/onnx__EyeLike.html>.

use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Forward, Kernel};
use crate::engine::kernels::float::with_number;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{DType, bf16, f16};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "EyeLike", since: 9, parse };

#[derive(Clone, Debug)]
struct EyeLike {
    /// The input's, unless given.
    dtype: Option<DType>,
    k: i64,
}

/// The data types by the codes that ONNX's `TensorProto` gives them.
const CODES: [(i64, DType); 13] = [
    (1, DType::F32),
    (2, DType::U8),
    (3, DType::I8),
    (4, DType::U16),
    (5, DType::I16),
    (6, DType::I32),
    (7, DType::I64),
    (9, DType::Bool),
    (10, DType::F16),
    (11, DType::F64),
    (12, DType::U32),
    (13, DType::U64),
    (16, DType::BF16),
];

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let known = |code: i64| {
        let found = CODES.iter().find(|(known, _)| *known == code).map(|(_, dtype)| *dtype);
        found.ok_or_else(|| OpError::Attribute {
            name: "dtype".into(),
            expected: "the code of a number type or of bool".into(),
            found: code.to_string(),
        })
    };
    Ok(Box::new(EyeLike { dtype: node.int("dtype")?.map(known).transpose()?, k: node.int("k")?.unwrap_or(0) }))
}

impl Op for EyeLike {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let code = self.dtype.and_then(|dtype| CODES.iter().find(|(_, known)| *known == dtype));
        let dtype = code.map(|(code, _)| ("dtype", AttributeValue::Int(*code)));
        dtype.into_iter().chain((self.k != 0).then_some(("k", AttributeValue::Int(self.k)))).collect()
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(1..=1, 1..=1)?;
        inputs.dims(0, 2..=2)?;
        let x = inputs.of(0, "a number or bool", |dtype| self.dtype.is_some() || dtype != DType::String)?;
        Ok(vec![ValueType::new(self.dtype.unwrap_or(x.dtype), x.shape.clone())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let y = signature.output(0)?;
        let &[rows, columns] = y.shape.as_slice() else {
            return Err(OpError::Plan { what: "an input of another rank than 2".into() });
        };
        // The first one, and how many there are.
        let (row, column) = match usize::try_from(self.k) {
            Ok(column) => (0, column),
            Err(_) => (usize::try_from(self.k.unsigned_abs()).unwrap_or(usize::MAX), 0),
        };
        let count = rows.saturating_sub(row).min(columns.saturating_sub(column));
        let first = if count == 0 { 0 } else { row * columns + column };
        fn make<T: Scalar>(first: usize, step: usize, count: usize, one: T) -> Box<dyn Kernel> {
            Box::new(EyeKernel { first, step, count, one })
        }
        let step = columns.saturating_add(1);
        match y.dtype {
            DType::Bool => Ok(make(first, step, count, true)),
            DType::F16 => Ok(make(first, step, count, f16::ONE)),
            DType::BF16 => Ok(make(first, step, count, bf16::ONE)),
            dtype => with_number!(dtype, T => make::<T>(first, step, count, num_traits::one())),
        }
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

struct EyeKernel<T> {
    first: usize,
    step: usize,
    count: usize,
    one: T,
}

impl<T: Scalar> Kernel for EyeKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let y = io.output::<T>(0)?;
        y.fill(T::default());
        for y in y.iter_mut().skip(self.first).step_by(self.step).take(self.count) {
            *y = self.one.clone();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::{Tensor, f16};

    #[test]
    fn cases() {
        let x = || Case::new().random_input(&[2, 3]);
        let is = |values: [i64; 6]| Tensor::new(vec![2, 3], values.to_vec()).unwrap();
        check(
            "EyeLike",
            &[
                x().output(&[2, 3], &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
                x().int("dtype", 7).int("k", 1).output_tensor(is([0, 1, 0, 0, 0, 1])),
                x().int("dtype", 7).int("k", 2).output_tensor(is([0, 0, 1, 0, 0, 0])),
                x().int("dtype", 7).int("k", -1).output_tensor(is([0, 0, 0, 1, 0, 0])),
                x().int("dtype", 7).int("k", i64::MIN).output_tensor(is([0; 6])),
                x().int("dtype", 7).int("k", i64::MAX).output_tensor(is([0; 6])),
                Case::new()
                    .random_input(&[1, 1])
                    .int("dtype", 9)
                    .output_tensor(Tensor::new(vec![1, 1], vec![true]).unwrap()),
                Case::new()
                    .random_input(&[1, 1])
                    .int("dtype", 10)
                    .output_tensor(Tensor::new(vec![1, 1], vec![f16::ONE]).unwrap()),
                Case::new().random_input(&[0, 2]).output(&[0, 2], &[]),
                Case::new().ints(&[1, 1], &[5]).output_tensor(Tensor::new(vec![1, 1], vec![1i64]).unwrap()),
                x().int("dtype", 8).error("attribute `dtype`"),
                x().int("dtype", i64::MAX).error("attribute `dtype`"),
                Case::new().random_input(&[2]).error("expected rank 2"),
                Case::new().tensor(Tensor::new(vec![1, 1], vec!["a".to_string()]).unwrap()).error("a number or bool"),
            ],
        );
    }
}
