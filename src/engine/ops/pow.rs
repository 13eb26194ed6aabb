//! Pow: `y = a` to the power of `b`, with broadcasting. The result has the type of a; b may be of another type.
//!
//! Derivatives: `b·a^(b−1)` (0 where b is 0) and `y·ln a` (0 where a is 0 and b is not negative), summed over what was
//! repeated. Integers to integers wrap around; to other numbers they are rounded towards zero.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Pow.html>.

use std::marker::PhantomData;

use super::binary::{Binary, Broadcast, Integer, number, with_integer};
use super::broadcast::{self, Walk};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::cell::Scalar;
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::tensor::DType;

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Pow", since: 7, parse };

fn parse(_: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Pow))
}

#[derive(Clone, Debug)]
struct Pow;

impl Op for Pow {
    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=2, 1..=1)?;
        let (a, b) = (number(inputs, 0)?, number(inputs, 1)?);
        Ok(vec![ValueType::new(a.dtype, broadcast::shapes(&a.shape, &b.shape)?)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (a, b, y) = (signature.input(0)?, signature.input(1)?, signature.output(0)?);
        let floats = |dtype| matches!(dtype, DType::F32 | DType::F64);
        if a.dtype == b.dtype && floats(a.dtype) {
            return Broadcast::<Function>::new().build(signature);
        }
        let walk = Walk::new(&y.shape, [&a.shape, &b.shape]);
        let of = Exponents::new(b.dtype, b.len());
        if floats(a.dtype) {
            return with_float!(a.dtype, T => Box::new(MixedKernel::<T> { walk, of, base: PhantomData }));
        }
        with_integer!(a.dtype, T => Box::new(IntegerKernel::<T> { walk, of, base: PhantomData }))
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        Reads::ALL
    }
}

#[derive(Clone, Debug)]
struct Function;

impl Binary for Function {
    const READS: Reads = Reads::ALL;

    fn integer<T: Integer>(a: T, _: T) -> T {
        // Integers have a kernel of their own.
        a
    }

    #[inline(always)]
    fn value<T: Float>(a: T, b: T) -> T {
        // The exponents that models are made of.
        if b == T::of(2.0) {
            a * a
        } else if b == T::of(3.0) {
            a * a * a
        } else if b == T::of(0.5) && a > T::zero() {
            a.sqrt()
        } else {
            a.powf(b)
        }
    }

    #[inline(always)]
    fn derivatives<T: Float>(a: T, b: T, y: T) -> (T, T) {
        let by_a = if b == T::zero() { T::zero() } else { b * Self::value(a, b - T::one()) };
        let by_b = if a == T::zero() && b >= T::zero() { T::zero() } else { y * a.ln() };
        (by_a, by_b)
    }
}

/// Exponents of another type than the base.
struct Exponents {
    dtype: DType,
    /// Whether they are integers.
    whole: bool,
    integers: Vec<i64>,
    numbers: Vec<f64>,
}

impl Exponents {
    /// Room for `len` exponents of `dtype`.
    fn new(dtype: DType, len: usize) -> Self {
        let whole = !matches!(dtype, DType::F32 | DType::F64);
        Exponents { dtype, whole, integers: vec![0; if whole { len } else { 0 }], numbers: vec![0.0; len] }
    }

    /// Takes them from input 1.
    fn read(&mut self, io: &Forward<'_>) -> Result<(), OpError> {
        fn floats<T: Float>(io: &Forward<'_>, to: &mut [f64]) -> Result<(), OpError> {
            to.iter_mut().zip(io.input::<T>(1)?).for_each(|(to, b)| *to = b.wide());
            Ok(())
        }
        if !self.whole {
            let numbers = &mut self.numbers;
            return with_float!(self.dtype, T => floats::<T>(io, numbers))?;
        }
        // Beyond i64 an exponent is as good as the largest.
        fn integers<T: Scalar + Copy + TryInto<i64>>(io: &Forward<'_>, to: &mut [i64]) -> Result<(), OpError> {
            to.iter_mut().zip(io.input::<T>(1)?).for_each(|(to, b)| *to = (*b).try_into().unwrap_or(i64::MAX));
            Ok(())
        }
        let to = &mut self.integers;
        with_integer!(self.dtype, T => integers::<T>(io, to))??;
        self.numbers.iter_mut().zip(&self.integers).for_each(|(number, integer)| *number = *integer as f64);
        Ok(())
    }
}

struct IntegerKernel<T> {
    walk: Walk<2>,
    of: Exponents,
    base: PhantomData<T>,
}

impl<T: Integer> Kernel for IntegerKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        self.of.read(io)?;
        let (a, y) = (io.input::<T>(0)?, io.output::<T>(0)?);
        self.walk.runs(|result, [at_a, at_b], length, [step_a, step_b]| {
            for (i, y) in y[result..result + length].iter_mut().enumerate() {
                let (a, b) = (a[at_a + i * step_a], at_b + i * step_b);
                *y = if self.of.whole {
                    a.pow(self.of.integers[b])
                } else {
                    T::narrow(a.wide().powf(self.of.numbers[b]))
                };
            }
        });
        Ok(())
    }
}

/// A floating-point base, an exponent of another type.
struct MixedKernel<T> {
    walk: Walk<2>,
    of: Exponents,
    base: PhantomData<T>,
}

impl<T: Float> Kernel for MixedKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        self.of.read(io)?;
        let (a, y) = (io.input::<T>(0)?, io.output::<T>(0)?);
        self.walk.runs(|result, [at_a, at_b], length, [step_a, step_b]| {
            for (i, y) in y[result..result + length].iter_mut().enumerate() {
                *y = T::of(Function::value(a[at_a + i * step_a].wide(), self.of.numbers[at_b + i * step_b]));
            }
        });
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let (a, dy) = (io.input::<T>(0)?, io.d_output::<T>(0)?);
        let mut da = io.d_input::<T>(0)?;
        if let Some(da) = &mut da {
            da.fill(T::zero());
        }
        // The only other floating-point type: the gradient with respect to exponents of integers is never wanted.
        let (mut narrow, mut wide) = match self.of.dtype {
            DType::F32 => (io.d_input::<f32>(1)?, None),
            DType::F64 => (None, io.d_input::<f64>(1)?),
            _ => (None, None),
        };
        if let Some(db) = &mut narrow {
            db.fill(0.0);
        }
        if let Some(db) = &mut wide {
            db.fill(0.0);
        }
        self.walk.runs(|result, [at_a, at_b], length, [step_a, step_b]| {
            for (i, dy) in dy[result..result + length].iter().enumerate() {
                let (at_a, at_b) = (at_a + i * step_a, at_b + i * step_b);
                let (x, b) = (a[at_a].wide(), self.of.numbers[at_b]);
                let (by_a, by_b) = Function::derivatives(x, b, Function::value(x, b));
                if let Some(da) = &mut da {
                    da[at_a] += T::of(dy.wide() * by_a);
                }
                if let Some(db) = &mut narrow {
                    db[at_b] += (dy.wide() * by_b) as f32;
                }
                if let Some(db) = &mut wide {
                    db[at_b] += dy.wide() * by_b;
                }
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    #[test]
    fn cases() {
        let positive = || Case::new().input(&[2, 3], &[0.5, 1.0, 1.5, 2.0, 2.5, 3.0]);
        check(
            "Pow",
            &[
                positive()
                    .input(&[3], &[2.0, 0.5, -1.0])
                    .output(&[2, 3], &[0.25, 1.0, 0.6666666666666666, 4.0, 1.5811388300841898, 0.3333333333333333]),
                positive().input(&[], &[2.0]),
                positive().input(&[], &[3.0]),
                positive().input(&[], &[0.5]),
                positive().input(&[2, 1], &[-0.7, 1.3]),
                positive().ints(&[3], &[2, 0, -1]).output(&[2, 3], &[0.25, 1.0, 1.0 / 1.5, 4.0, 1.0, 1.0 / 3.0]),
                Case::new().random_input(&[2, 3]).ints(&[], &[3]),
                // The other floating-point type as exponent.
                positive().tensor(Tensor::from_vec(vec![2.0f32, 3.0, 0.5])),
                Case::new()
                    .input(&[3], &[-2.0, 0.0, -1.5])
                    .initializer(Tensor::from_vec(vec![2i64, 2, 3]))
                    .output(&[3], &[4.0, 0.0, -3.375]),
                Case::new()
                    .input(&[2], &[-8.0, 0.0])
                    .input(&[2], &[0.5, -1.0])
                    .output(&[2], &[f64::NAN, f64::INFINITY])
                    .without_gradient(),
                Case::new()
                    .ints(&[5], &[2, -3, 7, 2, 1])
                    .ints(&[5], &[10, 3, 0, -1, -4])
                    .output_tensor(Tensor::from_vec(vec![1024i64, -27, 1, 0, 1])),
                Case::new().ints(&[1], &[i64::MAX]).ints(&[1], &[2]).output_tensor(Tensor::from_vec(vec![1i64])),
                Case::new()
                    .tensor(Tensor::from_vec(vec![4i32, 9]))
                    .tensor(Tensor::from_vec(vec![0.5f32, 1.5]))
                    .output_tensor(Tensor::from_vec(vec![2i32, 27])),
                Case::new()
                    .tensor(Tensor::from_vec(vec![3u8]))
                    .tensor(Tensor::from_vec(vec![u64::MAX]))
                    .output_tensor(Tensor::from_vec(vec![171u8])),
                Case::new().random_input(&[0, 3]).random_input(&[3]),
                Case::new().random_input(&[0, 3]).ints(&[1], &[2]),
                Case::new().input(&[], &[2.0]).input(&[], &[1.5]),
                Case::new().random_input(&[2]).random_input(&[3]).error("cannot be broadcast"),
                Case::new().random_input(&[2]).tensor(Tensor::from_vec(vec![true])).error("f32, f64 or an integer"),
                Case::new().random_input(&[2]).error("expected 2 inputs"),
            ],
        );
    }
}
