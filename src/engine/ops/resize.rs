//! Resize: its input sampled anew along some axes, to `sizes` or by `scales`.
//!
//! `nearest` takes the value at one position, `linear` weighs 2 positions of each axis, `cubic` 4; with `antialias` as
//! many as one output position covers. Derivative: every weight backwards. Integers are interpolated in f64 and rounded.
//! ONNX: <https://onnx.ai/onnx/operators/onnx__Resize.html>, from version 10 on.

use super::interpolate::{Coordinates, Interpolate, Method, Nearest, Rounded, Stretch, Weighting};
use super::rearrange::{Axis, Fill, Rearrange, distinct_axes, kernel, strides};
use crate::engine::attributes::{NodeReader, OpEntry};
use crate::engine::error::OpError;
use crate::engine::kernel::Kernel;
use crate::engine::kernels::float::{with_float, with_number};
use crate::engine::op::{Inputs, Op, Reads, Signature, ValueType, integers};
use crate::onnx::AttributeValue;
use crate::tensor::{DType, Dim, SymbolicShape, Tensor};

pub const ENTRY: OpEntry = OpEntry { domain: "", op_type: "Resize", since: 10, parse };

/// Resize, and Upsample before it.
#[derive(Clone, Debug)]
pub struct Resize {
    pub(super) inputs: Layout,
    pub(super) method: Method,
    pub(super) coordinates: Coordinates,
    pub(super) antialias: bool,
    pub(super) exclude_outside: bool,
    pub(super) extrapolation: f32,
    pub(super) axes: Option<Vec<i64>>,
    pub(super) policy: Policy,
}

/// Where the scales are.
#[derive(Clone, Debug, PartialEq)]
pub enum Layout {
    /// An attribute: Upsample 7.
    Attribute(Vec<f32>),
    /// Input 1: Upsample 9, Resize 10.
    Scales,
    /// Input 1 is the region, 2 the scales, 3 the sizes: Resize from version 11 on.
    Full,
}

/// What becomes of sizes that would change the aspect ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// They are taken as they are.
    Stretch,
    /// No axis becomes larger than its size.
    NotLarger,
    /// No axis becomes smaller than its size.
    NotSmaller,
}

/// Looks `value` up among `names`, the first being the default.
fn choose<T: Copy>(node: &NodeReader<'_>, name: &'static str, names: &[(&'static str, T)]) -> Result<T, OpError> {
    let given = node.string(name)?;
    let found = names.iter().find(|(known, _)| given.is_none_or(|given| given == *known));
    found.map(|(_, value)| *value).ok_or_else(|| OpError::Attribute {
        name: name.into(),
        expected: format!("one of {}", names.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ")),
        found: given.unwrap_or_default().into(),
    })
}

const COORDINATES: [(&str, Coordinates); 7] = [
    ("half_pixel", Coordinates::HalfPixel),
    ("pytorch_half_pixel", Coordinates::PytorchHalfPixel),
    ("align_corners", Coordinates::AlignCorners),
    ("asymmetric", Coordinates::Asymmetric),
    ("tf_crop_and_resize", Coordinates::TfCropAndResize),
    ("tf_half_pixel_for_nn", Coordinates::TfHalfPixelForNn),
    ("half_pixel_symmetric", Coordinates::HalfPixelSymmetric),
];

const NEAREST: [(&str, Nearest); 4] = [
    ("round_prefer_floor", Nearest::RoundPreferFloor),
    ("round_prefer_ceil", Nearest::RoundPreferCeil),
    ("floor", Nearest::Floor),
    ("ceil", Nearest::Ceil),
];

const POLICIES: [(&str, Policy); 3] =
    [("stretch", Policy::Stretch), ("not_larger", Policy::NotLarger), ("not_smaller", Policy::NotSmaller)];

/// The modes of Upsample and Resize 10.
pub(super) fn simple(node: &NodeReader<'_>, inputs: Layout) -> Result<Resize, OpError> {
    let modes = [("nearest", Method::Nearest(Nearest::Simple)), ("linear", Method::Linear)];
    Ok(Resize {
        inputs,
        method: choose(node, "mode", &modes)?,
        coordinates: Coordinates::Asymmetric,
        antialias: false,
        exclude_outside: false,
        extrapolation: 0.0,
        axes: None,
        policy: Policy::Stretch,
    })
}

fn parse(node: &NodeReader<'_>) -> Result<Box<dyn Op>, OpError> {
    let opset = node.opset();
    if opset < 11 {
        return Ok(Box::new(simple(node, Layout::Scales)?));
    }
    let known: Vec<(&'static str, Coordinates)> = COORDINATES
        .into_iter()
        .filter(|(_, mode)| match mode {
            Coordinates::TfHalfPixelForNn => opset < 13,
            Coordinates::HalfPixelSymmetric => opset >= 19,
            _ => true,
        })
        .collect();
    let nearest = choose(node, "nearest_mode", &NEAREST)?;
    let cubic = node.float("cubic_coeff_a")?.unwrap_or(-0.75);
    let modes = [("nearest", Method::Nearest(nearest)), ("linear", Method::Linear), ("cubic", Method::Cubic(cubic))];
    let method = choose(node, "mode", &modes)?;
    let newer = opset >= 18;
    let antialias = newer && node.flag("antialias", false)?;
    if antialias && matches!(method, Method::Nearest(_)) {
        let (expected, found) = ("mode linear or cubic beside it".into(), "nearest".into());
        return Err(OpError::Attribute { name: "antialias".into(), expected, found });
    }
    Ok(Box::new(Resize {
        inputs: Layout::Full,
        method,
        coordinates: choose(node, "coordinate_transformation_mode", &known)?,
        antialias,
        exclude_outside: node.flag("exclude_outside", false)?,
        extrapolation: node.float("extrapolation_value")?.unwrap_or(0.0),
        axes: if newer { node.ints("axes")? } else { None },
        policy: if newer { choose(node, "keep_aspect_ratio_policy", &POLICIES)? } else { Policy::Stretch },
    }))
}

/// What the shape and the sampling follow from.
#[derive(Debug, Default)]
struct Targets {
    scales: Option<Vec<f64>>,
    sizes: Option<Vec<usize>>,
    region: Option<Vec<f64>>,
}

/// The size of an axis in the output and its scale, as far as they are known.
type Known = (Option<usize>, Option<f64>);

fn reals(tensor: &Tensor) -> Option<Vec<f64>> {
    match tensor.dtype() {
        DType::F32 => tensor.as_slice::<f32>().ok().map(|values| values.iter().map(|v| f64::from(*v)).collect()),
        DType::F64 => tensor.as_slice::<f64>().ok().map(<[f64]>::to_vec),
        _ => None,
    }
}

impl Resize {
    /// Where scales, sizes and region are.
    fn positions(&self) -> (usize, usize, usize) {
        match self.inputs {
            Layout::Full => (2, 3, 1),
            _ => (1, usize::MAX, usize::MAX),
        }
    }

    /// What is known of the inputs beside the first; `None` when something that matters is not.
    fn targets(&self, types: &[Option<ValueType>]) -> Result<Option<Targets>, OpError> {
        if let Layout::Attribute(scales) = &self.inputs {
            let scales = Some(scales.iter().map(|scale| f64::from(*scale)).collect());
            return Ok(Some(Targets { scales, ..Targets::default() }));
        }
        let (scales, sizes, region) = self.positions();
        // An empty one is one that is left out.
        let given = |index: usize| {
            types.get(index).and_then(Option::as_ref).filter(|input| input.dims() != Some(&[Dim::Known(0)]))
        };
        let mut targets = Targets::default();
        if let Some(input) = given(scales) {
            if input.dtype != DType::F32 {
                return Err(OpError::DType { input: scales, expected: "f32", found: input.dtype });
            }
            let Some(value) = &input.value else { return Ok(None) };
            targets.scales = reals(value);
        }
        if let Some(input) = given(sizes) {
            if input.dtype != DType::I64 {
                return Err(OpError::DType { input: sizes, expected: "i64", found: input.dtype });
            }
            let Some(value) = &input.value else { return Ok(None) };
            let values = integers(value).unwrap_or_default();
            let known: Option<Vec<usize>> = values.iter().map(|size| usize::try_from(*size).ok()).collect();
            let (expected, found) = ("sizes".into(), format!("{values:?}"));
            targets.sizes = Some(known.ok_or(OpError::Value { input: sizes, expected, found })?);
        }
        if self.coordinates == Coordinates::TfCropAndResize {
            let input = given(region).ok_or(OpError::MissingInput { input: region })?;
            let Some(value) = &input.value else { return Ok(None) };
            let wrong = OpError::DType { input: region, expected: "f32 or f64", found: input.dtype };
            targets.region = Some(reals(value).ok_or(wrong)?);
        }
        if targets.scales.is_some() == targets.sizes.is_some() {
            let (expected, found) = ("scales, or sizes as input 3".into(), "both or neither".into());
            return Err(OpError::Value { input: scales, expected, found });
        }
        Ok(Some(targets))
    }

    /// For each axis its size in the output and its scale, as far as they are known.
    fn axes(&self, dims: &[Dim], targets: &Targets) -> Result<Vec<Known>, OpError> {
        let (scales_input, sizes_input, _) = self.positions();
        let axes = match &self.axes {
            Some(axes) => distinct_axes(None, axes, dims.len())?,
            None => (0..dims.len()).collect(),
        };
        let counted = |input: usize, found: usize| match found == axes.len() {
            true => Ok(()),
            false => {
                Err(OpError::Value { input, expected: format!("{} values", axes.len()), found: found.to_string() })
            }
        };
        let mut all: Vec<Known> = dims.iter().map(|dim| (dim.known(), Some(1.0))).collect();
        if let Some(scales) = &targets.scales {
            counted(scales_input, scales.len())?;
            for (axis, scale) in axes.iter().zip(scales) {
                if !(scale.is_finite() && *scale > 0.0) {
                    let (expected, found) = ("scales above 0".into(), scale.to_string());
                    return Err(OpError::Value { input: scales_input, expected, found });
                }
                all[*axis] = (dims[*axis].known().map(|size| (size as f64 * scale) as usize), Some(*scale));
            }
        }
        if let Some(sizes) = &targets.sizes {
            counted(sizes_input, sizes.len())?;
            for (axis, size) in axes.iter().zip(sizes) {
                let scale = dims[*axis].known().map(|from| *size as f64 / from as f64);
                all[*axis] = (Some(*size), scale);
            }
            let scales: Option<Vec<f64>> = axes.iter().map(|axis| all[*axis].1).collect();
            let one = |pick: fn(f64, f64) -> f64| scales.as_ref().and_then(|all| all.iter().copied().reduce(pick));
            let scale = match self.policy {
                Policy::Stretch => return Ok(all),
                Policy::NotLarger => one(f64::min),
                Policy::NotSmaller => one(f64::max),
            };
            for axis in &axes {
                let size = dims[*axis].known().zip(scale).map(|(size, scale)| (size as f64 * scale + 0.5) as usize);
                all[*axis] = (size, scale);
            }
        }
        Ok(all)
    }

    fn stretches(&self, shape: &[usize], targets: &Targets) -> Result<Vec<Stretch>, OpError> {
        let dims: Vec<Dim> = shape.iter().copied().map(Dim::Known).collect();
        let all = self.axes(&dims, targets)?;
        let mut regions = vec![(0.0, 1.0); shape.len()];
        if let Some(region) = &targets.region {
            let axes = match &self.axes {
                Some(axes) => distinct_axes(None, axes, shape.len())?,
                None => (0..shape.len()).collect(),
            };
            if region.len() != 2 * axes.len() || region.iter().any(|bound| !bound.is_finite()) {
                let expected = format!("{} finite numbers", 2 * axes.len());
                return Err(OpError::Value { input: 1, expected, found: format!("{region:?}") });
            }
            for (index, axis) in axes.iter().enumerate() {
                regions[*axis] = (region[index], region[axes.len() + index]);
            }
        }
        let stretch = |((from, (to, scale)), region): ((&usize, Known), (f64, f64))| {
            let (from, to) = (*from, to.unwrap_or(0));
            Stretch { from, to, scale: scale.unwrap_or(1.0), region }
        };
        Ok(shape.iter().zip(all).zip(regions).map(stretch).collect())
    }
}

impl Op for Resize {
    fn attributes(&self) -> Vec<(&'static str, AttributeValue)> {
        let mut attributes = Vec::new();
        let mut text = |name: &'static str, value: &str| attributes.push((name, AttributeValue::String(value.into())));
        match self.method {
            Method::Nearest(Nearest::RoundPreferFloor | Nearest::Simple) => {}
            Method::Nearest(nearest) => {
                let name = NEAREST.iter().find(|(_, known)| *known == nearest).map_or("", |(name, _)| name);
                text("nearest_mode", name);
            }
            Method::Linear => text("mode", "linear"),
            Method::Cubic(_) => text("mode", "cubic"),
        }
        if self.inputs == Layout::Full && self.coordinates != Coordinates::HalfPixel {
            let name = COORDINATES.iter().find(|(_, known)| *known == self.coordinates).map_or("", |(name, _)| name);
            text("coordinate_transformation_mode", name);
        }
        if let Some((name, _)) =
            POLICIES.iter().find(|(_, known)| *known == self.policy && self.policy != Policy::Stretch)
        {
            text("keep_aspect_ratio_policy", name);
        }
        for (name, value) in [("antialias", self.antialias), ("exclude_outside", self.exclude_outside)] {
            if value {
                attributes.push((name, AttributeValue::Int(1)));
            }
        }
        if let Method::Cubic(a) = self.method
            && a != -0.75
        {
            attributes.push(("cubic_coeff_a", AttributeValue::Float(a)));
        }
        if self.extrapolation != 0.0 {
            attributes.push(("extrapolation_value", AttributeValue::Float(self.extrapolation)));
        }
        attributes.extend(self.axes.iter().map(|axes| ("axes", AttributeValue::Ints(axes.clone()))));
        if let Layout::Attribute(scales) = &self.inputs {
            attributes.push(("scales", AttributeValue::Floats(scales.clone())));
        }
        attributes
    }

    fn infer(&self, inputs: &Inputs<'_>) -> Result<Vec<ValueType>, OpError> {
        let counts = match self.inputs {
            Layout::Attribute(_) => 1..=1,
            Layout::Scales => 2..=2,
            Layout::Full => 2..=4,
        };
        inputs.expect(counts, 1..=1)?;
        let x = inputs.required(0)?;
        if !matches!(self.method, Method::Nearest(_)) {
            inputs.number(0)?;
        }
        let types: Vec<Option<ValueType>> = (0..inputs.len()).map(|index| inputs.optional(index).cloned()).collect();
        let targets = self.targets(&types)?;
        let Some(dims) = x.dims() else { return Ok(vec![ValueType::new(x.dtype, SymbolicShape::Unranked)]) };
        let Some(targets) = targets else { return Ok(vec![ValueType::ranked(x.dtype, vec![Dim::Any; dims.len()])]) };
        let all = self.axes(dims, &targets)?;
        if let Some(sizes) = x.sizes() {
            self.stretches(&sizes, &targets)?;
            let from_nothing = |(from, (to, _)): (&usize, &Known)| *from == 0 && *to != Some(0);
            if sizes.iter().zip(&all).any(from_nothing) {
                let expected = "elements to make more of".into();
                return Err(OpError::Shape { input: 0, expected, found: x.shape.clone() });
            }
        }
        let out = dims.iter().zip(all).map(|(dim, (to, scale))| match to {
            Some(size) => Dim::Known(size),
            None if scale == Some(1.0) => dim.clone(),
            None => Dim::Any,
        });
        Ok(vec![ValueType::ranked(x.dtype, out.collect())])
    }

    fn build(&self, signature: &Signature) -> Result<Box<dyn Kernel>, OpError> {
        let (x, y) = (signature.input(0)?, signature.output(0)?);
        let types: Vec<Option<ValueType>> = signature
            .inputs
            .iter()
            .map(|input| {
                input.as_ref().map(|input| ValueType {
                    value: input.value.clone(),
                    ..ValueType::known(input.dtype, &input.shape)
                })
            })
            .collect();
        let targets = self.targets(&types)?;
        let targets = targets.ok_or_else(|| OpError::Plan { what: "the sizes are not known".into() })?;
        let stretches = if y.is_empty() { Vec::new() } else { self.stretches(&x.shape, &targets)? };
        let cubic = match self.method {
            Method::Nearest(nearest) => {
                let axes =
                    stretches.iter().zip(strides(&x.shape)).map(|(stretch, stride)| match stretch.is_identity() {
                        true => Axis::whole(stride, stretch.from),
                        false => Axis::new(stride, stretch.nearest(self.coordinates, nearest)),
                    });
                return kernel(x, Rearrange::new(&y.shape, axes), Fill::Number(self.extrapolation));
            }
            Method::Linear => None,
            Method::Cubic(a) => Some(a),
        };
        let Resize { coordinates, antialias, exclude_outside, extrapolation, .. } = *self;
        let weighting = Weighting { coordinates, cubic, antialias, exclude_outside };
        if matches!(x.dtype, DType::F32 | DType::F64) {
            if y.is_empty() {
                return kernel(x, Rearrange::new(&y.shape, []), Fill::Number(0.0));
            }
            return with_float!(x.dtype, T => Box::new(Interpolate::<T>::new(&stretches, &weighting, extrapolation)));
        }
        let inner = Interpolate::<f64>::new(&stretches, &weighting, extrapolation);
        with_number!(x.dtype, T => Box::new(Rounded::<T>::new(inner, x.len(), y.len())))
    }

    fn shape_inputs(&self) -> &'static [usize] {
        match (&self.inputs, self.coordinates) {
            (Layout::Attribute(_), _) => &[],
            (Layout::Scales, _) => &[1],
            (Layout::Full, Coordinates::TfCropAndResize) => &[1, 2, 3],
            (Layout::Full, _) => &[2, 3],
        }
    }

    fn is_differentiable(&self, index: usize) -> bool {
        index == 0
    }

    fn reads(&self) -> Reads {
        Reads::NOTHING
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::{Case, check};
    use crate::tensor::Tensor;

    fn scales(values: &[f32]) -> Tensor {
        Tensor::from_vec(values.to_vec())
    }

    #[test]
    fn cases() {
        let line = || Case::new().input(&[4], &[1.0, 2.0, 3.0, 4.0]).left_out();
        let by = |scale: f32| line().initializer(scales(&[scale]));
        let to = |size: i64| line().left_out().constant_ints(&[size]);
        let mode = |case: Case, mode: &str| case.string("coordinate_transformation_mode", mode);
        let is = |case: Case, values: &[f64]| case.output(&[values.len()], values);
        let linear = |case: Case| case.string("mode", "linear");
        let cubic = |case: Case| case.string("mode", "cubic");
        let plane = |rows: f32, columns: f32| {
            Case::new().random_input(&[1, 2, 4, 5]).left_out().initializer(scales(&[1.0, 1.0, rows, columns]))
        };
        check(
            "Resize",
            &[
                is(by(2.0), &[1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0]),
                is(by(0.5), &[1.0, 3.0]),
                is(by(0.5).string("nearest_mode", "round_prefer_ceil"), &[2.0, 4.0]),
                is(by(0.5).string("nearest_mode", "floor"), &[1.0, 3.0]),
                is(by(0.5).string("nearest_mode", "ceil"), &[2.0, 4.0]),
                is(to(3).string("nearest_mode", "floor"), &[1.0, 2.0, 3.0]),
                is(linear(by(2.0)), &[1.0, 1.25, 1.75, 2.25, 2.75, 3.25, 3.75, 4.0]),
                is(linear(mode(by(2.0), "asymmetric")), &[1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.0]),
                is(linear(mode(to(7), "align_corners")), &[1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]),
                is(linear(mode(to(1), "pytorch_half_pixel")), &[1.0]),
                is(linear(mode(to(1), "align_corners")), &[1.0]),
                is(linear(mode(by(0.625), "half_pixel_symmetric")), &[1.7, 3.3]),
                is(linear(by(0.5).int("antialias", 1)), &[1.625, 3.375]),
                is(linear(by(0.5).int("antialias", 1).int("exclude_outside", 1)), &[12.0 / 7.0, 23.0 / 7.0]),
                is(cubic(mode(by(0.5), "align_corners")), &[1.0, 4.0]),
                linear(plane(2.0, 1.5)),
                linear(plane(0.6, 0.6).int("antialias", 1)),
                cubic(plane(2.0, 0.8)),
                cubic(plane(0.6, 0.6).int("antialias", 1).float("cubic_coeff_a", -0.5)),
                cubic(plane(2.0, 2.0).int("exclude_outside", 1)),
                plane(1.0, 2.0),
                linear(plane(1.0, 1.0)),
                Case::new()
                    .input(&[4], &[1.0, 2.0, 3.0, 4.0])
                    .initializer(scales(&[0.5, 1.5]))
                    .left_out()
                    .constant_ints(&[3])
                    .string("mode", "linear")
                    .string("coordinate_transformation_mode", "tf_crop_and_resize")
                    .float("extrapolation_value", 10.0)
                    .output(&[3], &[2.5, 4.0, 10.0]),
                Case::new()
                    .random_input(&[2, 3, 4])
                    .tensor(scales(&[0.1, 0.2, 0.9, 1.3]))
                    .left_out()
                    .ints(&[2], &[4, 5])
                    .ints_attribute("axes", &[1, -1])
                    .string("mode", "cubic")
                    .string("coordinate_transformation_mode", "tf_crop_and_resize"),
                Case::new()
                    .random_input(&[2, 4])
                    .left_out()
                    .left_out()
                    .constant_ints(&[7, 8])
                    .string("keep_aspect_ratio_policy", "not_larger"),
                is(line().opset(11).initializer(scales(&[])).constant_ints(&[2]), &[1.0, 3.0]),
                is(
                    mode(by(2.0).opset(11), "tf_half_pixel_for_nn").string("nearest_mode", "floor"),
                    &[1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 4.0, 4.0],
                ),
                is(Case::new().input(&[4], &[1.0, 2.0, 3.0, 4.0]).initializer(scales(&[0.6])).opset(10), &[1.0, 3.0]),
                is(
                    linear(Case::new().input(&[2], &[1.0, 2.0]).initializer(scales(&[2.0])).opset(10)),
                    &[1.0, 1.5, 2.0, 2.0],
                ),
                linear(Case::new().random_input(&[0, 2]).left_out().initializer(scales(&[2.0, 2.0]))),
                linear(to(0)).output(&[0], &[]),
                Case::new()
                    .tensor(Tensor::from_vec(vec![0u8, 255]))
                    .left_out()
                    .initializer(scales(&[2.0]))
                    .string("mode", "linear")
                    .output_tensor(Tensor::from_vec(vec![0u8, 64, 191, 255])),
                Case::new()
                    .tensor(Tensor::from_vec(vec!["a".to_string()]))
                    .left_out()
                    .initializer(scales(&[2.0]))
                    .output_tensor(Tensor::from_vec(vec!["a".to_string(); 2])),
                Case::new()
                    .tensor(Tensor::from_vec(vec![1u8]))
                    .left_out()
                    .left_out()
                    .constant_ints(&[0])
                    .string("mode", "cubic")
                    .output_tensor(Tensor::from_vec(Vec::<u8>::new())),
                by(0.0).error("scales above 0"),
                by(f32::NAN).error("scales above 0"),
                by(1e30).error("which is more than"),
                to(-1).error("input 3: expected sizes"),
                line().initializer(scales(&[1.0, 1.0])).error("expected 1 values, found 2"),
                by(2.0).constant_ints(&[8]).error("both or neither"),
                line().error("both or neither"),
                linear(Case::new().random_input(&[0]).left_out().left_out().constant_ints(&[2]))
                    .error("elements to make"),
                by(2.0).int("antialias", 1).error("attribute `antialias`"),
                mode(by(2.0), "tf_half_pixel_for_nn").error("coordinate_transformation_mode"),
                mode(by(2.0).opset(18), "half_pixel_symmetric").error("coordinate_transformation_mode"),
                by(2.0).opset(13).int("antialias", 0).error("attribute `antialias`"),
                by(2.0).string("mode", "area").error("one of nearest, linear, cubic"),
                mode(by(2.0), "tf_crop_and_resize").error("input 1 is missing"),
                by(2.0).ints_attribute("axes", &[1]).error("different axes of rank 1"),
            ],
        );
    }
}
