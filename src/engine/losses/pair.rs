//! Losses that compare number with number: the mean of `l(p, t)`.
//!
//! An optional third input, a mask of the prediction's shape and type, weighs each pair: the mean is `Σ m·l / Σ m`, 0 where
//! the mask is 0 throughout. Pairs with weight 0 count nothing, whatever they hold. No gradient flows to the mask.

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
        inputs.expect(2..=3, 1..=1)?;
        let prediction = inputs.float(0)?;
        inputs.float(1)?;
        for (index, other) in [(1, inputs.optional(1)), (2, inputs.optional(2))] {
            let Some(other) = other else { continue };
            inputs.same_dtype(index, prediction.dtype)?;
            if prediction.shape.accepts(&other.shape).is_err() {
                let expected = format!("the shape of the prediction, {}", prediction.shape);
                return Err(OpError::Shape { input: index, expected, found: other.shape.clone() });
            }
        }
        Ok(vec![ValueType::known(prediction.dtype, &[])])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let prediction = signature.input(0)?;
        let rows = prediction.shape.first().copied().unwrap_or(1);
        let divisor = if F::PER_ROW { rows } else { prediction.len() }.max(1) as f64;
        let elements = prediction.len().max(1) as f64;
        with_float!(prediction.dtype, T => Box::new(PairKernel::<F, T> {
            loss: self.0.clone(),
            divisor,
            elements,
            weight: elements,
            kind: PhantomData,
        }))
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index < 2
    }

    fn reads(&self) -> Reads {
        Reads::INPUTS
    }
}

struct PairKernel<F, T> {
    loss: F,
    /// What the sum is divided by without a mask.
    divisor: f64,
    elements: f64,
    /// The sum of the mask of the last forward pass.
    weight: f64,
    kind: PhantomData<T>,
}

impl<F: Pair, T: Float> PairKernel<F, T> {
    /// What the sum is multiplied by: under a mask the rows count by its share of all elements.
    fn scale(&self) -> f64 {
        if self.weight > 0.0 { self.elements / (self.divisor * self.weight) } else { 0.0 }
    }

    /// Writes the derivatives that `which` picks, times `scale`.
    fn derivatives(
        &self,
        gradient: &mut [T],
        (predictions, targets, mask): (&[T], &[T], Option<&[T]>),
        scale: T,
        which: impl Fn((T, T)) -> T,
    ) {
        let pairs = gradient.iter_mut().zip(predictions).zip(targets);
        match mask {
            None => pairs.for_each(|((d, p), t)| *d = scale * which(self.loss.derivatives(*p, *t))),
            Some(mask) => {
                for (((d, p), t), m) in pairs.zip(mask) {
                    let counts = *m != T::zero();
                    *d = if counts { scale * *m * which(self.loss.derivatives(*p, *t)) } else { T::zero() };
                }
            }
        }
    }
}

impl<F: Pair, T: Float> Kernel for PairKernel<F, T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let (predictions, targets) = (io.input::<T>(0)?, io.input::<T>(1)?);
        let pairs = predictions.iter().zip(targets);
        let sum: f64 = match io.optional_input::<T>(2)? {
            None => pairs.map(|(p, t)| self.loss.value(*p, *t).wide()).sum(),
            Some(mask) => {
                if let Some(bad) = mask.iter().find(|weight| !(**weight >= T::zero() && weight.is_finite())) {
                    let (expected, found) = ("weights that are not negative".into(), bad.wide().to_string());
                    return Err(OpError::Value { input: 2, expected, found });
                }
                self.weight = mask.iter().map(|weight| weight.wide()).sum();
                let weighed = pairs.zip(mask).filter(|(_, weight)| **weight != T::zero());
                weighed.map(|((p, t), weight)| weight.wide() * self.loss.value(*p, *t).wide()).sum()
            }
        };
        io.output::<T>(0)?.fill(T::of(sum * self.scale()));
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let pairs = (io.input::<T>(0)?, io.input::<T>(1)?, io.optional_input::<T>(2)?);
        let d_loss = io.d_output::<T>(0)?.first().copied().unwrap_or(T::zero());
        let scale = d_loss * T::of(self.scale());
        if let Some(gradient) = io.d_input::<T>(0)? {
            self.derivatives(gradient, pairs, scale, |both| both.0);
        }
        if let Some(gradient) = io.d_input::<T>(1)? {
            self.derivatives(gradient, pairs, scale, |both| both.1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::ops::DOMAIN;
    use crate::engine::testing::{Case, check_in};

    #[test]
    fn a_mask_weighs_the_pairs() {
        let pairs = || Case::new().input(&[2, 2], &[1.0, 2.0, 3.0, 4.0]).input(&[2, 2], &[0.0, 0.0, 0.0, f64::NAN]);
        check_in(
            DOMAIN,
            "SquaredError",
            &[
                pairs().input(&[2, 2], &[1.0, 1.0, 0.0, 0.0]).output(&[], &[2.5]).without_gradient(),
                pairs().input(&[2, 2], &[3.0, 0.0, 1.0, 0.0]).output(&[], &[3.0]).without_gradient(),
                pairs().input(&[2, 2], &[0.0; 4]).output(&[], &[0.0]).without_gradient(),
                Case::new().random_input(&[3, 2]).random_input(&[3, 2]).initializer(mask()),
                pairs().input(&[2, 1], &[1.0, 1.0]).error("the shape of the prediction"),
                pairs().input(&[2, 2], &[1.0, -1.0, 0.0, 0.0]).error("weights that are not negative"),
                pairs().ints(&[2, 2], &[1, 1, 0, 0]).error("input 2: expected f"),
            ],
        );
        // A mean over rows: they count by their share.
        let case = Case::new().random_input(&[3, 2]).input(&[3, 2], &[0.5, 0.5, 0.25, 0.75, 0.9, 0.1]);
        check_in(DOMAIN, "KullbackLeibler", &[case.initializer(mask())]);
    }

    fn mask() -> crate::tensor::Tensor {
        crate::tensor::Tensor::new(vec![3, 2], vec![1.0f64, 0.0, 1.0, 1.0, 0.0, 0.5]).unwrap()
    }
}
