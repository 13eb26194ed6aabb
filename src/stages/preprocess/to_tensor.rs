//! `to_tensor`: pictures as the numbers that a model reads.
//!
//! The stage before every model of pictures. Each value is (sample · `scale` − `mean`) / `std`; `mean` and `std` are one
//! number for all channels or one for each. How a model was trained says which:
//!
//! | trained with | keys |
//! |---|---|
//! | 0 to 1 | none, the default |
//! | torchvision on ImageNet | `mean: [0.485, 0.456, 0.406]`, `std: [0.229, 0.224, 0.225]` |
//! | −1 to 1 | `mean: 0.5`, `std: 0.5` |
//! | 0 to 255 | `scale: 1` |
//! | OpenCV | `order: bgr` |
//! | TensorFlow | `layout: nhwc` |
//!
//! With `width` and `height` the picture is resized on the way: each line goes from the filter to the tensor and no picture
//! is made in between. The numbers are those of `resize` and `to_tensor` one after the other, to the bit.
//!
//! The tensor's packet knows the picture that it was made of (see [`View`]), so that a decoder can tell what it finds in
//! the pixels of the frame.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::PreprocessError;
use super::picture::{self, IMAGE, Pictures};
use super::scaling::{Scaler, Scaling, TargetSize};
use super::sound::{fault, mirrored};
use crate::config::Faults;
use crate::dsp::picture::{ChannelOrder, Filter, Fit, MAX_SIDE, TensorConfig, TensorFiller, TensorLayout};
use crate::media::{Affine, Format, Image, PixelFormat, StreamInfo, View};
use crate::stage::{
    Blueprint, Contract, ContractFault, Input, Kind, Opened, Output, ReadContext, Resolve, Role, Runnable, Stage,
    StageError,
};
use crate::tensor::{DType, Dim, SymbolicShape, Tensor};

/// The name of the output port.
const TENSOR: &str = "tensor";

/// One number for all channels, or one for each.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
#[non_exhaustive]
pub enum PerChannel {
    /// For all.
    All(f64),
    /// For each, in the order of `order`.
    Each(#[schemars(length(min = 1, max = 3))] Vec<f64>),
}

impl PerChannel {
    fn values(self) -> Vec<f64> {
        match self {
            PerChannel::All(value) => vec![value],
            PerChannel::Each(values) => values,
        }
    }
}

/// The keys of `to_tensor`. `width` and `height` resize on the way, as `resize` does; the others say what the numbers are.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToTensorConfig {
    /// Pixels in a row of the resized picture; needs `height`. Default: not resized.
    #[serde(default)]
    #[schemars(range(min = 1, max = MAX_SIDE))]
    pub width: Option<u32>,
    /// Rows of the resized picture; needs `width`. Default: not resized.
    #[serde(default)]
    #[schemars(range(min = 1, max = MAX_SIDE))]
    pub height: Option<u32>,
    /// What becomes of the proportions: `stretch`, `fit`, `fill` or `letterbox`, see `resize`. Default: stretch.
    #[serde(default)]
    pub fit: Option<Fit>,
    /// What a resized pixel is made of: `box`, `bilinear`, `bicubic` or `lanczos`. Default: bilinear.
    #[serde(default)]
    pub filter: Option<Filter>,
    /// The colour around a letterbox: red, green and blue, 0 to 255. Default: [0, 0, 0], black.
    #[serde(default)]
    pub ground: Option<[u8; 3]>,
    /// What a sample of 0 to 255 is multiplied by. Default: 1 / 255.
    #[serde(default)]
    pub scale: Option<f64>,
    /// What is taken off after that: a number, or one for each channel. Default: 0.
    #[serde(default)]
    pub mean: Option<PerChannel>,
    /// What is divided by after that: a number, or one for each channel. Default: 1.
    #[serde(default)]
    pub std: Option<PerChannel>,
    /// `nchw` is channel by channel, [1, channels, height, width]; `nhwc` is pixel by pixel, [1, height, width, channels].
    /// Default: nchw.
    #[serde(default)]
    pub layout: TensorLayout,
    /// Which colour comes first: `rgb` or `bgr`. Default: rgb.
    #[serde(default)]
    pub order: ChannelOrder,
    /// Channels of the tensor, 1 or 3; 1 needs gray pictures, which fill 3 with the same numbers. Default: 3.
    #[serde(default = "channels")]
    #[schemars(range(min = 1, max = 3))]
    pub channels: usize,
}

fn channels() -> usize {
    3
}

/// Pictures as the numbers that a model reads: images → tensors f32 with a batch axis of 1, packet by packet.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ToTensor {
    /// What the numbers are.
    pub numbers: TensorConfig,
    /// The size that pictures are brought to on the way. Default: they keep theirs.
    pub scaling: Option<Scaling>,
}

impl ToTensor {
    /// Numbers of this kind, at the size that the pictures have.
    pub fn new(numbers: TensorConfig) -> Self {
        ToTensor { numbers, scaling: None }
    }

    /// With the pictures brought to a size on the way.
    #[must_use]
    pub fn scaled(mut self, scaling: Scaling) -> Self {
        self.scaling = Some(scaling);
        self
    }
}

const EXAMPLE: &str = "\
percept: 1
name: numbers
stages:
  - capture: images
    path: examples/photos
  - preprocess: to_tensor
    width: 32
    height: 32
    mean: [0.485, 0.456, 0.406]
    std: [0.229, 0.224, 0.225]
  - sink: jsonl
    path: \"-\"
";

/// The registry's entry.
pub const KIND: Kind = Kind::resolved::<ToTensorConfig>(
    "to_tensor",
    Role::Preprocess,
    "pictures as the numbers that a model reads, resized on the way",
    EXAMPLE,
);

impl Resolve for ToTensorConfig {
    fn resolve(self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        let mut faults = Faults::new();
        let size = match (self.width, self.height) {
            (Some(width), Some(height)) => Some(TargetSize::Exactly { width, height }),
            (None, None) => None,
            (width, _) => {
                let (given, other) = if width.is_some() { ("width", "height") } else { ("height", "width") };
                let message = format!("`{given}` is given without `{other}`");
                faults.push(context.fault(given, "missing-key", message).help(format!("add `{other}`")));
                None
            }
        };
        let keys = [("fit", self.fit.is_some()), ("filter", self.filter.is_some()), ("ground", self.ground.is_some())];
        for (key, _) in keys.into_iter().filter(|(_, given)| *given && self.width.or(self.height).is_none()) {
            let message = format!("`{key}` says how pictures are resized, and they are not");
            faults.push(context.fault(key, "needless-key", message).help("add `width` and `height`, or leave it out"));
        }
        let defaults = TensorConfig::default();
        let mut numbers = TensorConfig { layout: self.layout, order: self.order, channels: self.channels, ..defaults };
        numbers.scale = self.scale.unwrap_or(numbers.scale);
        numbers.mean = self.mean.map_or(numbers.mean, PerChannel::values);
        numbers.std = self.std.map_or(numbers.std, PerChannel::values);
        // A gray picture fills any number of channels that there may be.
        if let Err(error) = TensorFiller::new(&numbers, 1) {
            let text = error.to_string();
            let key = ["mean", "std", "scale"].into_iter().find(|key| text.starts_with(key)).unwrap_or("channels");
            faults.push(context.fault(key, "bad-numbers", text));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let scaling = size.map(|size| Scaling {
            size,
            fit: self.fit.unwrap_or_default(),
            filter: self.filter.unwrap_or_default(),
            ground: self.ground.unwrap_or_default(),
        });
        Ok(Box::new(ToTensor { numbers, scaling }))
    }
}

impl Blueprint for ToTensor {
    fn contract(&self) -> Contract {
        Contract::new().input(IMAGE, Format::ANY_IMAGE).output(TENSOR)
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        let known = Pictures::known(inputs);
        if let (1, Some(pixel @ (PixelFormat::Rgb8 | PixelFormat::Rgba8))) = (self.numbers.channels, known.pixel) {
            let help = Some("insert `- preprocess: grayscale` before it, or set `channels: 3`".to_owned());
            return Err(vec![fault(IMAGE, "gray pictures for a tensor of 1 channel", pixel, help)]);
        }
        let scaled = match &self.scaling {
            Some(scaling) => scaling.known(known).map_err(|fault| vec![fault])?,
            None => known,
        };
        let dim = |side: Option<u32>| side.map_or(Dim::Any, |side| Dim::Known(side as usize));
        let (width, height, channels) = (dim(scaled.width), dim(scaled.height), Dim::Known(self.numbers.channels));
        let dims = match self.numbers.layout {
            TensorLayout::Nchw => vec![Dim::Known(1), channels, height, width],
            TensorLayout::Nhwc => vec![Dim::Known(1), height, width, channels],
        };
        Ok(vec![Format::Tensor { dtype: Some(DType::F32), shape: SymbolicShape::Ranked(dims) }])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(ToTensorStage(self.clone())))
    }
}

struct ToTensorStage(ToTensor);

/// One stream.
struct State {
    pictures: Pictures,
    scaler: Option<Scaler>,
    /// For pictures of so many channels.
    filler: Option<(usize, TensorFiller)>,
}

impl Stage for ToTensorStage {
    type State = State;

    fn open(&mut self, _: &StreamInfo, inputs: &[Format]) -> Result<Opened<State>, StageError> {
        let (pictures, outputs) = Pictures::open(&self.0, inputs)?;
        let scaler = self.0.scaling.map(Scaler::new);
        Ok(Opened { state: State { pictures, scaler, filler: None }, outputs })
    }

    fn process(&mut self, state: &mut State, input: Input, out: &mut Output) -> Result<(), StageError> {
        let image = state.pictures.of(&input.packet)?;
        let (shape, values, view) = state.numbers(&self.0.numbers, image)?;
        let tensor = Tensor::new(shape.to_vec(), values).map_err(StageError::skip)?;
        let mut draft = mirrored(&input.packet, tensor);
        draft.view = Some(Arc::new(view));
        out.emit(0, draft);
        Ok(())
    }
}

impl State {
    /// The shape and the values of a picture's tensor, and the picture that they show.
    fn numbers(
        &mut self,
        config: &TensorConfig,
        image: &Image,
    ) -> Result<([usize; 4], Vec<f32>, View), PreprocessError> {
        let channels = image.format().channels();
        let filler = match self.filler.take().filter(|(known, _)| *known == channels) {
            Some(filler) => filler,
            None => (channels, TensorFiller::new(config, channels)?),
        };
        let (_, filler) = self.filler.insert(filler);
        let view = picture::view(image)?;
        Ok(match &mut self.scaler {
            None => {
                let shape = filler.shape(view.width(), view.height());
                let mut values = vec![0.0; shape.iter().product()];
                filler.fill(&view, &mut values)?;
                (shape, values, View::of(image))
            }
            Some(scaler) => {
                let resizer = scaler.resizer(image)?;
                let (width, height) = resizer.placement().output();
                let shape = filler.shape(width as usize, height as usize);
                let mut values = vec![0.0; shape.iter().product()];
                filler.fill_resized(resizer, &view, &mut values)?;
                let seen =
                    View::of(image).of_part((width, height), &Affine::new(resizer.placement().output_to_input()));
                (shape, values, seen)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::resize::Resize;
    use super::super::trial::{Trial, counting, faults, outputs, read};
    use super::*;
    use crate::media::PixelFormat::{Gray8, Rgb8, Rgba8};

    fn numbers(change: impl FnOnce(&mut TensorConfig)) -> ToTensor {
        let mut config = TensorConfig { scale: 1.0, ..TensorConfig::default() };
        change(&mut config);
        ToTensor::new(config)
    }

    fn tensor(trial: &mut Trial, image: Image) -> (Vec<usize>, Vec<f32>) {
        let found = trial.payload(0, image).unwrap();
        assert!(trial.format().accepts(&found[0].payload.format()).is_ok(), "{}", trial.format());
        let tensor = found[0].payload.tensor().unwrap();
        (tensor.shape().to_vec(), tensor.as_slice::<f32>().unwrap().to_vec())
    }

    #[test]
    fn values_and_their_order() {
        let colours = Image::new(vec![10, 20, 30, 40, 50, 60], 2, 1, Rgb8).unwrap();
        let clear = Image::new(vec![10, 20, 30, 0, 40, 50, 60, 9], 2, 1, Rgba8).unwrap();
        let gray = Image::new(vec![7, 8], 2, 1, Gray8).unwrap();
        for (stage, image, shape, values) in [
            (numbers(|_| ()), &colours, [1, 3, 1, 2], &[10.0, 40.0, 20.0, 50.0, 30.0, 60.0][..]),
            (numbers(|_| ()), &clear, [1, 3, 1, 2], &[10.0, 40.0, 20.0, 50.0, 30.0, 60.0]),
            (numbers(|c| c.layout = TensorLayout::Nhwc), &colours, [1, 1, 2, 3], &[10.0, 20.0, 30.0, 40.0, 50.0, 60.0]),
            (
                numbers(|c| (c.layout, c.order) = (TensorLayout::Nhwc, ChannelOrder::Bgr)),
                &colours,
                [1, 1, 2, 3],
                &[30.0, 20.0, 10.0, 60.0, 50.0, 40.0],
            ),
            (
                numbers(|c| (c.mean, c.std) = (vec![10.0, 20.0, 30.0], vec![2.0])),
                &colours,
                [1, 3, 1, 2],
                &[0.0, 15.0, 0.0, 15.0, 0.0, 15.0],
            ),
            (numbers(|c| c.channels = 1), &gray, [1, 1, 1, 2], &[7.0, 8.0]),
            (numbers(|c| c.scale = 2.0), &gray, [1, 3, 1, 2], &[14.0, 16.0, 14.0, 16.0, 14.0, 16.0]),
        ] {
            let mut trial = Trial::open(&stage, Format::ANY_IMAGE).unwrap();
            let found = tensor(&mut trial, image.clone());
            assert_eq!(found, (shape.to_vec(), values.to_vec()), "{stage:?}");
        }
    }

    #[test]
    fn resizing_on_the_way_is_resizing_before() {
        for fit in [Fit::Stretch, Fit::Fit, Fit::Fill, Fit::Letterbox] {
            let size = TargetSize::Exactly { width: 6, height: 5 };
            let scaling = Scaling { fit, ground: [1, 2, 3], ..Scaling::to(size) };
            for format in [Gray8, Rgb8, Rgba8] {
                let mut fused = Trial::open(&numbers(|_| ()).scaled(scaling), Format::ANY_IMAGE).unwrap();
                let mut resize = Trial::open(&Resize(scaling), Format::ANY_IMAGE).unwrap();
                let mut plain = Trial::open(&numbers(|_| ()), Format::ANY_IMAGE).unwrap();
                // The second has another size.
                for (width, height) in [(16, 9), (5, 11)] {
                    let image = counting(width, height, format);
                    let resized = resize.payload(0, image.clone()).unwrap()[0].payload.image().unwrap().clone();
                    assert_eq!(tensor(&mut fused, image), tensor(&mut plain, resized), "{fit:?} {format}");
                }
            }
        }
    }

    #[test]
    fn tensors_know_their_picture() {
        // stage, size of the frame, part of it that comes in, size of the tensor's picture, where its corners are in the frame
        let to = |width, height, fit| {
            numbers(|_| ()).scaled(Scaling { fit, ..Scaling::to(TargetSize::Exactly { width, height }) })
        };
        for (stage, part, size, corners) in [
            (numbers(|_| ()), (2, 3, 8, 4), (8, 4), [(2.0, 3.0), (10.0, 7.0)]),
            (to(4, 4, Fit::Stretch), (2, 3, 8, 4), (4, 4), [(2.0, 3.0), (10.0, 7.0)]),
            (to(4, 4, Fit::Fit), (2, 3, 8, 4), (4, 2), [(2.0, 3.0), (10.0, 7.0)]),
            (to(4, 4, Fit::Fill), (2, 3, 8, 4), (4, 4), [(4.0, 3.0), (8.0, 7.0)]),
            (to(4, 4, Fit::Letterbox), (2, 3, 8, 4), (4, 4), [(2.0, 1.0), (10.0, 9.0)]),
        ] {
            let (x, y, width, height) = part;
            let image = counting(16, 12, Rgb8).crop(x, y, width, height).unwrap();
            let mut trial = Trial::open(&stage, Format::ANY_IMAGE).unwrap();
            let found = trial.payload(0, image).unwrap();
            let view = found[0].view.as_deref().unwrap();
            assert_eq!((view.width, view.height), size, "{stage:?}");
            let far = (f64::from(size.0), f64::from(size.1));
            let found = [(0.0, 0.0), far].map(|corner| view.place.to_frame.apply(corner));
            assert_eq!(found, corners, "{stage:?}");
            assert_eq!((view.place.frame_width, view.place.frame_height), (16, 12));
        }
    }

    #[test]
    fn formats() {
        let any = || Dim::Any;
        let known = |size: usize| Dim::Known(size);
        let of = |dims: &[Dim]| Format::Tensor { dtype: Some(DType::F32), shape: SymbolicShape::Ranked(dims.to_vec()) };
        let scaling = Scaling::to(TargetSize::Exactly { width: 6, height: 5 });
        let nhwc = numbers(|c| c.layout = TensorLayout::Nhwc);
        for (stage, input, expected) in [
            (numbers(|_| ()), Format::ANY_IMAGE, of(&[known(1), known(3), any(), any()])),
            (numbers(|_| ()), Format::image(None, Some(4), None), of(&[known(1), known(3), any(), known(4)])),
            (nhwc, Format::image(Some(Rgb8), Some(4), Some(2)), of(&[known(1), known(2), known(4), known(3)])),
            (
                numbers(|c| c.channels = 1).scaled(scaling),
                Format::ANY_IMAGE,
                of(&[known(1), known(1), known(5), known(6)]),
            ),
        ] {
            assert_eq!(outputs(&stage, input.clone()), Ok(expected), "{stage:?} of {input}");
        }
        let fault = outputs(&numbers(|c| c.channels = 1), Format::image(Some(Rgb8), None, None)).unwrap_err();
        assert!(fault.help.unwrap().contains("grayscale"));
    }

    #[test]
    fn keys() {
        let text =
            read(&KIND, "{mean: [1, 2, 3], std: 4, order: bgr, layout: nhwc, scale: 1, width: 8, height: 9}").unwrap();
        assert!(text.contains("mean: [1.0, 2.0, 3.0], std: [4.0]") && text.contains("Bgr"), "{text}");
        assert!(read(&KIND, "{}").unwrap().contains("scale: 0.00392156862745098"));
        for (yaml, codes) in [
            ("width: 4", &["missing-key"][..]),
            ("height: 4", &["missing-key"]),
            ("fit: fill", &["needless-key"]),
            ("filter: box\nground: [0, 0, 0]", &["needless-key", "needless-key"]),
            ("mean: [1, 2]", &["bad-numbers"]),
            ("std: 0", &["bad-numbers"]),
            ("std: [1, 0, 1]", &["bad-numbers"]),
            ("scale: .inf", &["not-finite"]),
            ("channels: 2", &["bad-numbers"]),
            ("channels: 4", &["out-of-range"]),
            ("size: 4", &["unknown-key"]),
        ] {
            assert_eq!(faults(&KIND, yaml), codes, "{yaml}");
        }
    }

    #[test]
    fn bad_input_is_an_error() {
        assert!(Trial::open(&numbers(|_| ()), Format::ANY_AUDIO).is_err());
        assert!(Trial::open(&numbers(|c| c.channels = 1), Format::image(Some(Rgb8), Some(4), Some(4))).is_err());
        let mut trial = Trial::open(&numbers(|c| c.channels = 1), Format::ANY_IMAGE).unwrap();
        let error = trial.payload(0, counting(4, 4, Rgb8)).unwrap_err();
        assert!(matches!(error, StageError::Skip(_)) && error.to_string().contains("make it gray"), "{error}");
        assert!(trial.payload(0, counting(4, 4, Gray8)).is_ok(), "the stream goes on");
    }
}
