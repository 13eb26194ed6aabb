//! Conv: `Y[n, m, p] = B[m] + Σ_{c, k} W[m, c, k]·X[n, g·C/G + c, p·stride + k·dilation − pad]` in one to three dimensions,
//! with the filters in `G` groups, `g` that of filter `m`.
//!
//! `dW`, `dX` and `dB` are the same sum read the other way round: `dW[m, c, k] = Σ_{n, p} dY[n, m, p]·X[…]`,
//! `dX[…] = Σ_{m, p, k} W[m, c, k]·dY[n, m, p]`, `dB[m] = Σ_{n, p} dY[n, m, p]`.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Conv.html>.

use std::sync::Arc;

use super::window::Window;
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::convolution::{Convolution, Sizes};
use crate::engine::kernels::direct::Gradients;
use crate::engine::kernels::float::with_float;
use crate::engine::kernels::simd::Shifted;
use crate::engine::op::{Activation, Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{Dim, SymbolicShape};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Conv", since: 1, parse };

#[derive(Clone, Debug)]
struct Conv {
    group: usize,
    window: Window,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(Conv { group: group(node)?, window: Window::parse(node)? }))
}

/// The attribute `group`.
pub(super) fn group(node: &NodeReader<'_>) -> Result<usize, OpError> {
    match node.int("group")? {
        None => Ok(1),
        Some(count) if (1..=i64::from(i32::MAX)).contains(&count) => Ok(count as usize),
        Some(found) => Err(OpError::Attribute {
            name: "group".into(),
            expected: "a positive integer".into(),
            found: found.to_string(),
        }),
    }
}

/// The shape of a convolution of input `x` with the weights at input `w` and the bias at input `b`.
pub(super) fn shape(
    inputs: &Inputs<'_>,
    [x, w, b]: [usize; 3],
    group: usize,
    window: &Window,
) -> Result<SymbolicShape, OpError> {
    let image = inputs.dims(x, 3..=5)?;
    let weights = inputs.dims(w, 3..=5)?;
    if let (Some(image), Some(weights)) = (image, weights)
        && image.len() != weights.len()
    {
        let found = inputs.required(w)?.shape.clone();
        return Err(OpError::Rank { input: w, expected: image.len().to_string(), found });
    }
    if let Some(weights) = weights {
        if let Some(filters) = weights[0].known().filter(|filters| filters % group != 0) {
            let expected = format!("a number of filters that is divisible into {group} groups, not {filters}");
            return Err(OpError::Shape { input: w, expected, found: inputs.required(w)?.shape.clone() });
        }
        window.expect_kernel(&weights[2..])?;
        if inputs.optional(b).is_some()
            && let Some([size]) = inputs.dims(b, 1..=1)?
            && !size.accepts(&weights[0])
        {
            let expected = format!("{} values, one for each filter", weights[0]);
            return Err(OpError::Shape { input: b, expected, found: inputs.required(b)?.shape.clone() });
        }
    }
    let (Some(image), Some(weights)) = (image, weights) else {
        let rank = image.or(weights).map(<[Dim]>::len);
        return Ok(rank.map_or(SymbolicShape::Unranked, |rank| SymbolicShape::Ranked(vec![Dim::Any; rank])));
    };
    if let (Some(channels), Some(each)) = (image[1].known(), weights[1].known())
        && each.checked_mul(group) != Some(channels)
    {
        let expected = format!("{channels} channels in {group} groups at dimension 1");
        return Err(OpError::Shape { input: w, expected, found: inputs.required(w)?.shape.clone() });
    }
    let mut dims = vec![image[0].clone(), weights[0].clone()];
    dims.extend(window.outputs(&image[2..], &weights[2..])?);
    Ok(SymbolicShape::Ranked(dims))
}

impl Op for Conv {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = self.window.attributes();
        if self.group != 1 {
            attributes.push(("group", AttributeValue::Int(self.group as i64)));
        }
        attributes
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=3, 1..=1)?;
        let dtype = inputs.float(0)?.dtype;
        inputs.same_dtype(1, dtype)?;
        inputs.same_dtype(2, dtype)?;
        Ok(vec![ValueType::new(dtype, shape(inputs, [0, 1, 2], self.group, &self.window)?)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (x, w) = (signature.input(0)?, signature.input(1)?);
        let (&[items, _, ref image @ ..], &[filters, channels, ref kernel @ ..]) =
            (x.shape.as_slice(), w.shape.as_slice())
        else {
            return Err(OpError::Plan { what: "a convolution of rank 1".into() });
        };
        let axes = self.window.axes(image, kernel)?;
        let sizes = Sizes { items, groups: self.group, channels, filters: filters / self.group, axes };
        let after = signature.activation.clone();
        with_float!(x.dtype, T => Box::new(ConvKernel::<T> { convolution: Convolution::new(sizes), after }))
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        Reads::of(&[0, 1], &[])
    }

    fn takes_activation(&self) -> bool {
        true
    }
}

struct ConvKernel<T> {
    convolution: Convolution<T>,
    after: Option<Arc<dyn Activation>>,
}

impl<T: Shifted> Kernel for ConvKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let (x, w, b) = (io.input::<T>(0)?, io.input::<T>(1)?, io.optional_input::<T>(2)?);
        let y = io.output::<T>(0)?;
        self.convolution.forward(x, w, b, y, self.after.as_deref(), io.env.pool);
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let (x, w, dy) = (io.input::<T>(0)?, io.input::<T>(1)?, io.d_output::<T>(0)?);
        let after = match self.after.as_deref() {
            Some(after) => Some((after, io.output::<T>(0)?)),
            None => None,
        };
        let (dx, dw, db) = (io.d_input::<T>(0)?, io.d_input::<T>(1)?, io.d_input::<T>(2)?);
        self.convolution.gradients(Gradients { x, w, dy, after, dx, dw, db }, io.env.pool);
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        self.convolution.owned_bytes()
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    fn random(x: &[usize], w: &[usize]) -> Case {
        Case::new().random_input(x).random_input(w)
    }

    #[test]
    fn values() {
        let image: Vec<f64> = (0..25).map(f64::from).collect();
        let square = || Case::new().input(&[1, 1, 5, 5], &image).input(&[1, 1, 3, 3], &[1.0; 9]);
        let row: Vec<f64> = (0..32).map(f64::from).collect();
        let far = i64::from(i32::MAX);
        check(
            "Conv",
            &[
                // Only the last element of the window lies on the input, all others far before it.
                Case::new()
                    .input(&[1, 1, 1, 1, 32], &row)
                    .input(&[1, 1, 2, 2, 1], &[7., 7., 7., 2.])
                    .ints_attribute("dilations", &[far, far, 1])
                    .ints_attribute("pads", &[far, far, 0, 0, 0, 0])
                    .output(&[1, 1, 1, 1, 32], &row.iter().map(|x| 2. * x).collect::<Vec<_>>()),
                // The examples of the specification.
                square().ints_attribute("kernel_shape", &[3, 3]).ints_attribute("pads", &[1, 1, 1, 1]).output(
                    &[1, 1, 5, 5],
                    &[
                        12., 21., 27., 33., 24., 33., 54., 63., 72., 51., 63., 99., 108., 117., 81., 93., 144., 153.,
                        162., 111., 72., 111., 117., 123., 84.,
                    ],
                ),
                square().output(&[1, 1, 3, 3], &[54., 63., 72., 99., 108., 117., 144., 153., 162.]),
                square()
                    .string("auto_pad", "SAME_LOWER")
                    .ints_attribute("strides", &[2, 2])
                    .output(&[1, 1, 3, 3], &[12., 27., 24., 63., 108., 81., 72., 117., 84.]),
                Case::new()
                    .input(&[1, 1, 4], &[1., 2., 3., 4.])
                    .input(&[2, 1, 2], &[1., 1., 1., -1.])
                    .input(&[2], &[0.5, 0.0])
                    .output(&[1, 2, 3], &[3.5, 5.5, 7.5, -1., -1., -1.]),
                Case::new()
                    .input(&[1, 2, 3], &[1., 2., 3., 4., 5., 6.])
                    .input(&[2, 1, 1], &[2., 10.])
                    .int("group", 2)
                    .output(&[1, 2, 3], &[2., 4., 6., 40., 50., 60.]),
            ],
        );
    }

    #[test]
    fn gradients() {
        check(
            "Conv",
            &[
                random(&[2, 3, 7], &[4, 3, 3]).random_input(&[4]),
                random(&[2, 3, 9], &[4, 3, 3]).ints_attribute("dilations", &[2]).ints_attribute("pads", &[3, 1]),
                random(&[3, 2, 5, 6], &[4, 2, 3, 3]).random_input(&[4]).ints_attribute("pads", &[1, 1, 1, 1]),
                random(&[2, 2, 7, 6], &[3, 2, 3, 2])
                    .ints_attribute("strides", &[2, 3])
                    .ints_attribute("pads", &[0, 2, 1, 1]),
                random(&[2, 4, 5, 5], &[6, 2, 3, 3]).int("group", 2).random_input(&[6]),
                random(&[2, 4, 5, 5], &[4, 1, 3, 3]).int("group", 4).ints_attribute("pads", &[1, 1, 1, 1]),
                random(&[1, 4, 6, 6], &[8, 1, 3, 3]).int("group", 4).ints_attribute("strides", &[2, 2]),
                random(&[2, 5, 3, 4], &[3, 5, 1, 1]).random_input(&[3]),
                random(&[2, 5, 3, 4], &[3, 5, 1, 1]).ints_attribute("strides", &[2, 2]),
                random(&[1, 2, 4, 3, 4], &[3, 2, 2, 2, 3]).ints_attribute("pads", &[1, 0, 1, 0, 1, 1]),
                random(&[2, 1, 6, 7], &[2, 1, 3, 4])
                    .string("auto_pad", "SAME_UPPER")
                    .ints_attribute("strides", &[2, 1]),
                random(&[1, 2, 6, 7], &[2, 2, 3, 4]).string("auto_pad", "SAME_LOWER"),
                random(&[1, 2, 6, 7], &[2, 2, 3, 4]).string("auto_pad", "VALID").ints_attribute("strides", &[1, 2]),
                // The padding is wider than the window.
                random(&[1, 1, 3], &[1, 1, 2]).ints_attribute("pads", &[4, 5]),
                // Nothing to do.
                random(&[0, 2, 5, 5], &[3, 2, 3, 3]).random_input(&[3]),
                random(&[1, 0, 5], &[3, 0, 3]).random_input(&[3]),
                random(&[1, 2, 5], &[0, 2, 3]).random_input(&[0]),
                random(&[1, 1 << 20, 1], &[0, 1 << 20, 1 << 20])
                    .ints_attribute("pads", &[1 << 20, 0])
                    .error("which is more than the"),
                random(&[0, 2, 3, 3], &[1, 2, 2, 2]).random_input(&[1]),
                // Larger than the blocks of the kernels.
                random(&[1, 3, 17, 19], &[9, 3, 3, 3]).random_input(&[9]).ints_attribute("pads", &[1, 1, 1, 1]),
            ],
        );
    }

    #[test]
    fn refused() {
        let two = || random(&[1, 2, 5, 5], &[4, 2, 3, 3]);
        check(
            "Conv",
            &[
                two().ints_attribute("strides", &[1]).error("`strides`: expected 2 values"),
                two().ints_attribute("strides", &[0, 1]).error("`strides`: expected integers from 1"),
                two().ints_attribute("dilations", &[1, 0]).error("`dilations`"),
                two().ints_attribute("pads", &[1, 1]).error("expected 4 values"),
                two().ints_attribute("pads", &[-1, 0, 0, 0]).error("not negative"),
                two().ints_attribute("pads", &[i64::MAX, 0, 0, 0]).error("`pads`"),
                two().ints_attribute("pads", &[1, 0, 0, 0]).string("auto_pad", "VALID").error("none beside auto_pad"),
                two().string("auto_pad", "SAME").error("SAME_UPPER"),
                two().ints_attribute("kernel_shape", &[3, 2]).error("as the weights are"),
                two().ints_attribute("dilations", &[3, 1]).error("fits into 5 elements"),
                two().int("group", 0).error("a positive integer"),
                two().int("group", 3).error("divisible into 3 groups"),
                two().int("group", 2).error("2 channels in 2 groups"),
                two().random_input(&[3]).error("4 values, one for each filter"),
                two().int("axis", 0).error("attribute `axis`"),
                random(&[1, 2, 5], &[4, 2, 3, 3]).error("expected rank 3"),
                random(&[2, 5], &[4, 2]).error("expected rank 3 to 5"),
                Case::new().random_input(&[1, 2, 5]).error("expected 2 to 3 inputs"),
                Case::new().random_input(&[1, 2, 5]).ints(&[1, 2, 1], &[1, 1]).error("input 1: expected f"),
                Case::new().ints(&[1, 1, 1], &[1]).ints(&[1, 1, 1], &[1]).error("expected f32 or f64"),
            ],
        );
    }
}
