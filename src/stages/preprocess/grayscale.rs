//! `grayscale`: the luminance of pictures.
//!
//! For models that read one channel: handwriting, X-rays, some detectors. Put it before `to_tensor` with `channels: 1`. The
//! values are Pillow's mode `L` (ITU-R BT.601: 0.299 red + 0.587 green + 0.114 blue); alpha is left out. A picture that is
//! gray passes through without a copy.

use schemars::JsonSchema;
use serde::Deserialize;

use super::PreprocessError;
use super::picture::{self, IMAGE, Pictures};
use super::sound::mirrored;
use crate::dsp;
use crate::media::{Affine, Format, Image, PixelFormat, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Input, Kind, Opened, Output, Role, Runnable, Stage, StageError,
};

/// The luminance of pictures: images → images of `gray8` and the same size, packet by packet. It has no keys.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grayscale {}

const EXAMPLE: &str = "\
percept: 1
name: gray
stages:
  - capture: images
    path: examples/photos
  - preprocess: grayscale
  - sink: jsonl
    path: \"-\"
";

/// The registry's entry.
pub const KIND: Kind = Kind::plain::<Grayscale>("grayscale", Role::Preprocess, "the luminance of pictures", EXAMPLE);

impl Blueprint for Grayscale {
    fn contract(&self) -> Contract {
        Contract::new().input(IMAGE, Format::ANY_IMAGE).output(IMAGE)
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        let known = Pictures { pixel: Some(PixelFormat::Gray8), ..Pictures::known(inputs) };
        Ok(vec![known.format()])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(GrayscaleStage(*self)))
    }
}

struct GrayscaleStage(Grayscale);

impl Stage for GrayscaleStage {
    type State = Pictures;

    fn open(&mut self, _: &StreamInfo, inputs: &[Format]) -> Result<Opened<Pictures>, StageError> {
        let (state, outputs) = Pictures::open(&self.0, inputs)?;
        Ok(Opened { state, outputs })
    }

    fn process(&mut self, state: &mut Pictures, input: Input, out: &mut Output) -> Result<(), StageError> {
        let gray = gray(state.of(&input.packet)?)?;
        out.emit(0, mirrored(&input.packet, gray));
        Ok(())
    }
}

fn gray(image: &Image) -> Result<Image, PreprocessError> {
    if image.format() == PixelFormat::Gray8 {
        return Ok(image.clone());
    }
    let mut pixels = Vec::new();
    dsp::picture::grayscale(&picture::view(image)?, &mut pixels);
    picture::made_from(image, pixels, picture::size_of(image), PixelFormat::Gray8, Affine::IDENTITY.rows())
}

#[cfg(test)]
mod tests {
    use super::super::trial::{Trial, counting, faults, outputs};
    use super::*;
    use crate::media::PixelFormat::{Gray8, Rgb8, Rgba8};

    #[test]
    fn values_and_place() {
        for (format, bytes) in [(Rgb8, vec![255, 0, 0, 0, 255, 0]), (Rgba8, vec![255, 0, 0, 0, 0, 255, 0, 9])] {
            let known = Format::image(Some(format), Some(2), Some(1));
            let mut trial = Trial::open(&Grayscale {}, known).unwrap();
            assert_eq!(trial.format(), &Format::image(Some(Gray8), Some(2), Some(1)));
            let found = trial.payload(0, Image::new(bytes, 2, 1, format).unwrap()).unwrap();
            assert_eq!(&found[0].payload.image().unwrap().packed()[..], [76, 150], "{format}");
        }
        let part = counting(8, 8, Rgb8).crop(2, 3, 4, 4).unwrap();
        let mut trial = Trial::open(&Grayscale {}, Format::ANY_IMAGE).unwrap();
        let found = trial.payload(0, part.clone()).unwrap();
        assert_eq!(found[0].payload.image().unwrap().place(), part.place());
    }

    #[test]
    fn a_gray_picture_is_not_copied() {
        let image = counting(4, 4, Gray8);
        let mut trial = Trial::open(&Grayscale {}, Format::ANY_IMAGE).unwrap();
        let found = trial.payload(0, image.clone()).unwrap();
        assert_eq!(found[0].payload.image().unwrap().bytes().as_ptr(), image.bytes().as_ptr());
    }

    #[test]
    fn bad_input_is_an_error() {
        assert_eq!(outputs(&Grayscale {}, Format::ANY_IMAGE), Ok(Format::image(Some(Gray8), None, None)));
        assert_eq!(faults(&KIND, "channels: 1"), ["unknown-key"]);
        assert!(Trial::open(&Grayscale {}, Format::Bytes).is_err());
        let mut trial = Trial::open(&Grayscale {}, Format::image(Some(Rgb8), Some(4), Some(4))).unwrap();
        let error = trial.payload(0, counting(4, 4, Gray8)).unwrap_err();
        assert!(matches!(error, StageError::Skip(_)) && error.to_string().contains("reopen"), "{error}");
    }
}
