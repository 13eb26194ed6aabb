//! ConvTranspose: the transpose of a convolution, which is how Conv's gradient with respect to its input is computed:
//! `Y[n, m, p·stride + k·dilation − pad] += W[c, m, k]·X[n, c, p]`, and `B[m]` is added.
//!
//! `dX` is the convolution of `dY` with `W`; `dW` is that of Conv with `dY` for the input and `X` for the gradient.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__ConvTranspose.html>.

use super::conv::group;
use super::window::{AutoPad, Axis, Window};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::{Backward, Forward, Kernel};
use crate::engine::kernels::convolution::{Convolution, Sizes, sum};
use crate::engine::kernels::float::with_float;
use crate::engine::kernels::simd::Shifted;
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType};
use crate::onnx::AttributeValue;
use crate::tensor::{Dim, SymbolicShape};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "ConvTranspose", since: 1, parse };

#[derive(Clone, Debug)]
struct ConvTranspose {
    group: usize,
    window: Window,
    output_padding: Option<Vec<usize>>,
    output_shape: Option<Vec<usize>>,
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    Ok(Box::new(ConvTranspose {
        group: group(node)?,
        window: Window::parse(node)?,
        output_padding: super::window::bounded(node, "output_padding", 0)?,
        output_shape: super::window::bounded(node, "output_shape", 0)?,
    }))
}

impl ConvTranspose {
    /// The windows of the convolution whose transpose it is: its positions are the elements of `image`.
    fn axes(&self, image: &[Option<usize>], kernel: &[Option<usize>]) -> Result<Vec<Option<Axis>>, OpError> {
        let rank = image.len();
        let (strides, dilations, pads, auto_pad) = self.window.settings(rank)?;
        let count = |name: &str, found: usize| OpError::Attribute {
            name: name.into(),
            expected: format!("{rank} values"),
            found: format!("{found} values"),
        };
        let extra = match &self.output_padding {
            None => vec![0; rank],
            Some(extra) if extra.len() == rank => extra.clone(),
            Some(extra) => return Err(count("output_padding", extra.len())),
        };
        let wanted = match &self.output_shape {
            None => None,
            // Some exporters write the items and channels too.
            Some(shape) if shape.len() == rank || shape.len() == rank + 2 => Some(&shape[shape.len() - rank..]),
            Some(shape) => return Err(count("output_shape", shape.len())),
        };
        let mut axes = Vec::with_capacity(rank);
        for index in 0..rank {
            let (Some(input), Some(kernel)) = (image[index], kernel[index]) else {
                axes.push(None);
                continue;
            };
            let (stride, dilation) = (strides[index], dilations[index]);
            let too_large = || OpError::TooLarge { shape: format!("[…, {input}·{stride}, …]") };
            if kernel == 0 || input == 0 || kernel > i32::MAX as usize {
                let expected = "an image and a window that are not empty".to_string();
                return Err(OpError::Shape { input: 1, expected, found: SymbolicShape::known(&[kernel]) });
            }
            let full = (input - 1).checked_mul(stride).ok_or_else(too_large)?;
            let full = full.checked_add(extra[index] + (kernel - 1) * dilation + 1).ok_or_else(too_large)?;
            let same = matches!(auto_pad, AutoPad::SameUpper | AutoPad::SameLower);
            let wanted = match wanted {
                Some(wanted) => Some(wanted[index]),
                None if same => Some(input.checked_mul(stride).ok_or_else(too_large)?),
                None => None,
            };
            let (before, after, output) = match wanted {
                Some(output) => {
                    let total = full.saturating_sub(output);
                    match auto_pad {
                        AutoPad::SameUpper => (total / 2, total - total / 2, output),
                        _ => (total - total / 2, total / 2, output),
                    }
                }
                None => {
                    let (before, after) = match auto_pad {
                        AutoPad::NotSet => (pads[index], pads[index + rank]),
                        _ => (0, 0),
                    };
                    let output = full.checked_sub(before + after).ok_or_else(|| OpError::Attribute {
                        name: "pads".into(),
                        expected: format!("at most the {full} elements that there are without them"),
                        found: format!("{before} and {after}"),
                    })?;
                    (before, after, output)
                }
            };
            if output > i32::MAX as usize {
                return Err(too_large());
            }
            axes.push(Some(Axis { input: output, output: input, kernel, stride, dilation, before, after }));
        }
        Ok(axes)
    }
}

impl Op for ConvTranspose {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = self.window.attributes();
        if self.group != 1 {
            attributes.push(("group", AttributeValue::Int(self.group as i64)));
        }
        for (name, list) in [("output_padding", &self.output_padding), ("output_shape", &self.output_shape)] {
            if let Some(list) = list {
                attributes.push((name, AttributeValue::Ints(list.iter().map(|value| *value as i64).collect())));
            }
        }
        attributes
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        inputs.expect(2..=3, 1..=1)?;
        let dtype = inputs.float(0)?.dtype;
        inputs.same_dtype(1, dtype)?;
        inputs.same_dtype(2, dtype)?;
        let (Some(image), Some(weights)) = (inputs.dims(0, 3..=5)?, inputs.dims(1, 3..=5)?) else {
            return Ok(vec![ValueType::new(dtype, SymbolicShape::Unranked)]);
        };
        let found = || inputs.required(1).map(|w| w.shape.clone());
        if image.len() != weights.len() {
            return Err(OpError::Rank { input: 1, expected: image.len().to_string(), found: found()? });
        }
        if !image[1].accepts(&weights[0]) {
            let expected = format!("{} channels at dimension 0", image[1]);
            return Err(OpError::Shape { input: 1, expected, found: found()? });
        }
        if let Some(channels) = weights[0].known().filter(|channels| channels % self.group != 0) {
            let expected = format!("a number of channels that is divisible into {} groups, not {channels}", self.group);
            return Err(OpError::Shape { input: 1, expected, found: found()? });
        }
        self.window.expect_kernel(&weights[2..])?;
        let known = |dims: &[Dim]| dims.iter().map(Dim::known).collect::<Vec<_>>();
        let axes = self.axes(&known(&image[2..]), &known(&weights[2..]))?;
        let filters = match weights[1].known() {
            None => Dim::Any,
            Some(each) => {
                let filters = each.checked_mul(self.group);
                Dim::Known(filters.ok_or_else(|| OpError::TooLarge { shape: format!("[…, {each}·group, …]") })?)
            }
        };
        if inputs.optional(2).is_some()
            && let Some([size]) = inputs.dims(2, 1..=1)?
            && !size.accepts(&filters)
        {
            let expected = format!("{filters} values, one for each channel of the output");
            return Err(OpError::Shape { input: 2, expected, found: inputs.required(2)?.shape.clone() });
        }
        let mut dims = vec![image[0].clone(), filters];
        dims.extend(axes.into_iter().map(|axis| axis.map_or(Dim::Any, |axis| Dim::Known(axis.input))));
        Ok(vec![ValueType::ranked(dtype, dims)])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (x, w) = (signature.input(0)?, signature.input(1)?);
        let (&[items, channels, ref image @ ..], &[_, filters, ref kernel @ ..]) =
            (x.shape.as_slice(), w.shape.as_slice())
        else {
            return Err(OpError::Plan { what: "a convolution of rank 1".into() });
        };
        let known = |sizes: &[usize]| sizes.iter().map(|size| Some(*size)).collect::<Vec<_>>();
        let mut axes = [Axis::ONE; 3];
        for (to, axis) in axes.iter_mut().rev().zip(self.axes(&known(image), &known(kernel))?.into_iter().rev()) {
            *to = axis.unwrap_or(Axis::ONE);
        }
        let sizes = Sizes { items, groups: self.group, channels: filters, filters: channels / self.group, axes };
        with_float!(x.dtype, T => Box::new(TransposeKernel::<T>(Convolution::new(sizes))))
    }

    fn is_differentiable(&self, _: usize) -> bool {
        true
    }

    fn reads(&self) -> Reads {
        Reads::of(&[0, 1], &[])
    }
}

struct TransposeKernel<T>(Convolution<T>);

impl<T: Shifted> Kernel for TransposeKernel<T> {
    fn forward(&mut self, io: &mut Forward<'_>) -> Result<(), OpError> {
        let (x, w, b) = (io.input::<T>(0)?, io.input::<T>(1)?, io.optional_input::<T>(2)?);
        let y = io.output::<T>(0)?;
        self.0.backward(&[], w, x, Some(&mut *y), None, io.env.pool);
        let plane = self.0.sizes().plane();
        if let Some(b) = b.filter(|b| !b.is_empty() && plane > 0) {
            for (index, y) in y.chunks_exact_mut(plane).enumerate() {
                let bias = b[index % b.len()];
                y.iter_mut().for_each(|y| *y += bias);
            }
        }
        Ok(())
    }

    fn backward(&mut self, io: &mut Backward<'_>) -> Result<(), OpError> {
        let (x, w, dy) = (io.input::<T>(0)?, io.input::<T>(1)?, io.d_output::<T>(0)?);
        let (dx, dw, db) = (io.d_input::<T>(0)?, io.d_input::<T>(1)?, io.d_input::<T>(2)?);
        if let Some(dx) = dx {
            self.0.forward(dy, w, None, dx, None, io.env.pool);
        }
        if dw.is_some() {
            self.0.backward(dy, w, x, None, dw, io.env.pool);
        }
        if let Some(db) = db {
            db.fill(T::zero());
            let count = db.len().max(1);
            for (index, dy) in dy.chunks_exact(self.0.sizes().plane().max(1)).enumerate() {
                db[index % count] += sum(dy);
            }
        }
        Ok(())
    }

    fn owned_bytes(&self) -> usize {
        self.0.owned_bytes()
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};

    #[test]
    fn cases() {
        let nine: Vec<f64> = (0..9).map(f64::from).collect();
        let square = || Case::new().input(&[1, 1, 3, 3], &nine).input(&[1, 1, 3, 3], &[1.0; 9]);
        let random = |x: &[usize], w: &[usize]| Case::new().random_input(x).random_input(w);
        let two = || random(&[1, 2, 3, 3], &[2, 3, 3, 3]);
        check(
            "ConvTranspose",
            &[
                // The example of the specification.
                square().output(
                    &[1, 1, 5, 5],
                    &[
                        0., 1., 3., 3., 2., 3., 8., 15., 12., 7., 9., 21., 36., 27., 15., 9., 20., 33., 24., 13., 6.,
                        13., 21., 15., 8.,
                    ],
                ),
                square().ints_attribute("pads", &[2, 2, 2, 2]).output(&[1, 1, 1, 1], &[36.]),
                Case::new()
                    .input(&[1, 1, 2], &[1., 2.])
                    .input(&[1, 1, 2], &[1., 10.])
                    .input(&[1], &[0.5])
                    .ints_attribute("strides", &[3])
                    .ints_attribute("output_padding", &[1])
                    .output(&[1, 1, 6], &[1.5, 10.5, 0.5, 2.5, 20.5, 0.5]),
                random(&[2, 3, 5], &[3, 2, 3]).random_input(&[2]).ints_attribute("dilations", &[2]),
                two().ints_attribute("strides", &[3, 2]).ints_attribute("output_shape", &[10, 8]).random_input(&[3]),
                two().ints_attribute("strides", &[2, 2]).ints_attribute("pads", &[1, 0, 1, 2]),
                two().string("auto_pad", "SAME_UPPER").ints_attribute("strides", &[2, 2]),
                two().string("auto_pad", "SAME_LOWER").ints_attribute("strides", &[1, 2]),
                two().string("auto_pad", "VALID"),
                random(&[2, 4, 3, 3], &[4, 1, 2, 2]).int("group", 2).random_input(&[2]),
                random(&[1, 2, 2, 3, 2], &[2, 2, 2, 1, 2]).ints_attribute("strides", &[2, 1, 1]),
                random(&[0, 2, 3], &[2, 3, 2]).random_input(&[3]),
                random(&[1, 0, 3], &[0, 3, 2]).random_input(&[3]),
                two().ints_attribute("output_padding", &[1]).error("`output_padding`: expected 2 values"),
                two().ints_attribute("output_shape", &[1]).error("`output_shape`: expected 2 values"),
                two().ints_attribute("pads", &[9, 9, 9, 9]).error("`pads`: expected at most"),
                two().int("group", 4).error("divisible into 4 groups"),
                two().random_input(&[2]).error("3 values, one for each channel"),
                random(&[1, 3, 3], &[2, 3, 2]).error("3 channels at dimension 0"),
                random(&[1, 2, 3], &[2, 3, 2, 2]).error("expected rank 3"),
                random(&[1, 2, 0], &[2, 3, 2]).error("not empty"),
            ],
        );
    }
}
