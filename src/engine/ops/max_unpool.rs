//! MaxUnpool: puts each element of `X` where MaxPool found it, `Y[I[i]] = X[i]`, and zeros elsewhere.
//!
//! The indices count in the tensor that MaxPool read as the window attributes tell; where `output_shape` is larger, that
//! tensor is its beginning along every dimension. `dX[i] = dY[I[i]]`, 0 where a later element took the place.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__MaxUnpool.html>.

use std::marker::PhantomData;

use super::pooling;
use super::window::Window;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel, bytes};
use crate::engine::kernels::Float;
use crate::engine::kernels::float::with_float;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{DType, Dim, SymbolicShape};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "MaxUnpool", since: 9, parse };

#[derive(Clone, Debug)]
struct MaxUnpool {
    window: Window,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(MaxUnpool { window: Window::parse_unpool(node)? }))
}

impl MaxUnpool {
    /// The sizes that MaxPool read, where known.
    fn pooled_from(&self, dims: &[Dim]) -> Result<Vec<Dim>, OpError> {
        let rank = dims.len() - 2;
        let kernel = pooling::kernel(&self.window, rank)?;
        let (strides, _, pads, _) = self.window.settings(rank)?;
        let mut shape = dims[..2].to_vec();
        for (index, dim) in dims[2..].iter().enumerate() {
            let Some(size) = dim.known() else {
                shape.push(Dim::Any);
                continue;
            };
            let size = match size {
                0 => Some(0),
                size => (size - 1)
                    .checked_mul(strides[index])
                    .and_then(|size| size.checked_add(kernel[index]))
                    .map(|size| size.saturating_sub(pads[index] + pads[index + rank])),
            };
            shape.push(Dim::Known(size.ok_or_else(|| OpError::TooLarge { shape: format!("[…, {dim}·stride, …]") })?));
        }
        Ok(shape)
    }
}

impl Op for MaxUnpool {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        self.window.attributes()
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=3, 1..=1)?;
        let x = inputs.float(0)?;
        let indices = inputs.of(1, "i64", |dtype| dtype == DType::I64)?;
        if indices.shape.accepts(&x.shape).is_err() {
            let found = indices.shape.clone();
            return Err(OpError::Shape { input: 1, expected: format!("the shape of input 0, {}", x.shape), found });
        }
        let Some(dims) = inputs.dims(0, 3..=5)? else {
            return Ok(vec![ValueType::new(x.dtype, SymbolicShape::Unranked)]);
        };
        let natural = self.pooled_from(dims)?;
        if inputs.optional(2).is_none() {
            return Ok(vec![ValueType::ranked(x.dtype, natural)]);
        }
        let Some(sizes) = inputs.integers(2)? else {
            return Ok(vec![ValueType::ranked(x.dtype, vec![Dim::Any; dims.len()])]);
        };
        let dims: Vec<Option<usize>> = sizes.iter().map(|size| usize::try_from(*size).ok()).collect();
        let fits = dims.len() == natural.len()
            && dims
                .iter()
                .zip(&natural)
                .all(|(size, least)| size.is_some_and(|size| size >= least.known().unwrap_or(0)));
        if !fits {
            let least: Vec<String> = natural.iter().map(Dim::to_string).collect();
            let expected = format!("a shape of at least [{}]", least.join(", "));
            return Err(OpError::Value { input: 2, expected, found: format!("{sizes:?}") });
        }
        let dims = dims.into_iter().map(|size| size.map_or(Dim::Any, Dim::Known)).collect();
        Ok(vec![ValueType::ranked(x.dtype, dims)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (x, y) = (signature.input(0)?, signature.output(0)?);
        let dims: Vec<Dim> = x.shape.iter().map(|size| Dim::Known(*size)).collect();
        let from: Vec<usize> = self.pooled_from(&dims)?.iter().filter_map(Dim::known).collect();
        let len = from.iter().try_fold(1usize, |len, size| len.checked_mul(*size));
        let len = len.ok_or_else(|| OpError::TooLarge { shape: format!("{from:?}") })?;
        // Where both shapes are the same an index is its own place.
        let shapes = (from != y.shape).then(|| (from, y.shape.clone()));
        let (places, owners) = match signature.wants(0) {
            true => (vec![0; x.len()], vec![0; y.len()]),
            false => (Vec::new(), Vec::new()),
        };
        with_float!(x.dtype, T => Box::new(UnpoolKernel::<T> { len, shapes, places, owners, kind: PhantomData }))
    }

    fn shape_inputs(&self) -> &'static [usize] {
        &[2]
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

struct UnpoolKernel<T> {
    /// Elements that the indices count in.
    len: usize,
    /// The shape that the indices count in and that of the output, where they differ.
    shapes: Option<(Vec<usize>, Vec<usize>)>,
    /// Where each element went in the last forward pass; empty when there is no backward pass.
    places: Vec<usize>,
    /// For each place that is in `places` the element that is there.
    owners: Vec<usize>,
    kind: PhantomData<fn(T)>,
}

impl<T> UnpoolKernel<T> {
    fn place(&self, index: i64) -> Result<usize, OpError> {
        let inside = usize::try_from(index).ok().filter(|index| *index < self.len);
        let mut index = inside.ok_or_else(|| OpError::Value {
            input: 1,
            expected: format!("indices below {}", self.len),
            found: index.to_string(),
        })?;
        let Some((from, to)) = &self.shapes else { return Ok(index) };
        let (mut place, mut stride) = (0, 1);
        for (from, to) in from.iter().zip(to).rev() {
            place += index % from * stride;
            index /= from;
            stride *= to;
        }
        Ok(place)
    }
}

impl<T: Float> Kernel for UnpoolKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let (x, indices, y) = (io.input::<T>(0)?, io.input::<i64>(1)?, io.output::<T>(0)?);
        y.fill(T::zero());
        for (at, (x, index)) in x.iter().zip(indices).enumerate() {
            let place = self.place(*index)?;
            y[place] = *x;
            if let Some(to) = self.places.get_mut(at) {
                *to = place;
                self.owners[place] = at;
            }
        }
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let dy = io.d_output::<T>(0)?;
        let Some(dx) = io.d_input::<T>(0)? else { return Ok(()) };
        for (at, (dx, place)) in dx.iter_mut().zip(&self.places).enumerate() {
            *dx = if self.owners[*place] == at { dy[*place] } else { T::zero() };
        }
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        bytes(&self.places) + bytes(&self.owners)
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        let four = || {
            Case::new()
                .input(&[1, 1, 2, 2], &[1., 2., 3., 4.])
                .ints(&[1, 1, 2, 2], &[5, 7, 13, 15])
                .ints_attribute("kernel_shape", &[2, 2])
                .ints_attribute("strides", &[2, 2])
        };
        check(
            "MaxUnpool",
            &[
                // The examples of the specification.
                four().output(&[1, 1, 4, 4], &[0., 0., 0., 0., 0., 1., 0., 2., 0., 0., 0., 0., 0., 3., 0., 4.]),
                four().constant_ints(&[1, 1, 5, 5]).output(
                    &[1, 1, 5, 5],
                    &[
                        0., 0., 0., 0., 0., 0., 1., 0., 2., 0., 0., 0., 0., 0., 0., 0., 3., 0., 4., 0., 0., 0., 0., 0.,
                        0.,
                    ],
                ),
                // The later of two takes the place.
                Case::new()
                    .input(&[1, 1, 2], &[1., 2.])
                    .ints(&[1, 1, 2], &[1, 1])
                    .ints_attribute("kernel_shape", &[2])
                    .output(&[1, 1, 3], &[0., 2., 0.]),
                Case::new()
                    .random_input(&[2, 1, 2])
                    .ints(&[2, 1, 2], &[0, 2, 4, 5])
                    .ints_attribute("kernel_shape", &[2])
                    .ints_attribute("pads", &[1, 0])
                    .ints_attribute("strides", &[2]),
                four().constant_ints(&[1, 1, 3, 5]).error("at least [1, 1, 4, 4]"),
                four().constant_ints(&[4, 4]).error("a shape of at least"),
                four().string("auto_pad", "VALID").error("auto_pad"),
                Case::new()
                    .input(&[1, 1, 1], &[1.])
                    .ints(&[1, 1, 1], &[2])
                    .ints_attribute("kernel_shape", &[2])
                    .error("indices below 2"),
                Case::new()
                    .input(&[1, 1, 1], &[1.])
                    .ints(&[1, 1, 1], &[-1])
                    .ints_attribute("kernel_shape", &[2])
                    .error("indices below 2"),
                Case::new()
                    .input(&[1, 1, 1], &[1.])
                    .ints(&[1, 1, 2], &[0, 1])
                    .ints_attribute("kernel_shape", &[2])
                    .error("the shape of input 0"),
            ],
        );
    }
}
