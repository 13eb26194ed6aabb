//! Losses that compare number with number: the mean of `l(p, t)`.

use std::fmt::Debug;
use std::marker::PhantomData;

use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;

/// A comparison of one prediction with one target.
pub(super) trait Pair: Clone + Debug + Send + Sync + 'static {
    /// Whether the sum is divided by the number of rows (dimension 0) instead of elements.
    const PER_ROW: bool = false;

    /// `l(p, t)`.
    fn value<T: Float>(&self, prediction: T, target: T) -> T;

    /// `(∂l/∂p, ∂l/∂t)`.
    fn derivatives<T: Float>(&self, prediction: T, target: T) -> (T, T);

    /// Its attributes, without defaults.
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        Vec::new()
    }
}

/// The operator of such a loss.
#[derive(Clone, Debug)]
pub(super) struct PairLoss<F>(pub F);

impl<F: Pair> Op for PairLoss<F> {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        self.0.attributes()
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=2, 1..=1)?;
        let (prediction, target) = (inputs.float(0)?, inputs.float(1)?);
        inputs.same_dtype(1, prediction.dtype)?;
        if prediction.shape.accepts(&target.shape).is_err() {
            let expected = format!("the shape of the prediction, {}", prediction.shape);
            return Err(OpError::Shape { input: 1, expected, found: target.shape.clone() });
        }
        Ok(vec![ValueType::known(prediction.dtype, &[])])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let prediction = signature.input(0)?;
        let rows = prediction.shape.first().copied().unwrap_or(1);
        let divisor = if F::PER_ROW { rows } else { prediction.len() }.max(1) as f64;
        with_float!(prediction.dtype, T => Box::new(PairKernel::<F, T> { loss: self.0.clone(), divisor, kind: PhantomData }))
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        Reads::INPUTS
    }
}

struct PairKernel<F, T> {
    loss: F,
    divisor: f64,
    kind: PhantomData<T>,
}

impl<F: Pair, T: Float> Kernel for PairKernel<F, T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let (predictions, targets) = (io.input::<T>(0)?, io.input::<T>(1)?);
        let sum: f64 = predictions.iter().zip(targets).map(|(p, t)| self.loss.value(*p, *t).wide()).sum();
        io.output::<T>(0)?.fill(T::of(sum / self.divisor));
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let (predictions, targets) = (io.input::<T>(0)?, io.input::<T>(1)?);
        let d_loss = io.d_output::<T>(0)?.first().copied().unwrap_or(T::zero());
        let scale = d_loss / T::of(self.divisor);
        if let Some(gradient) = io.d_input::<T>(0)? {
            for ((d, p), t) in gradient.iter_mut().zip(predictions).zip(targets) {
                *d = scale * self.loss.derivatives(*p, *t).0;
            }
        }
        if let Some(gradient) = io.d_input::<T>(1)? {
            for ((d, p), t) in gradient.iter_mut().zip(predictions).zip(targets) {
                *d = scale * self.loss.derivatives(*p, *t).1;
            }
        }
        Ok(())
    }
}
