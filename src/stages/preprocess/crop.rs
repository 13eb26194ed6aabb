//! `crop`: a part of each picture, without a copy.
//!
//! The middle of `width` × `height` pixels, as the preparation of most classifiers takes it after `resize` with
//! `short_side`; the same pixels of every picture with `x` and `y` too; or with `shares`, the same part of pictures of any
//! size. The result shares the picture's memory and knows its place in the frame.

use schemars::JsonSchema;
use serde::Deserialize;

use super::PreprocessError;
use super::picture::{self, IMAGE, Pictures};
use super::sound::{fault, mirrored};
use crate::config::{Fault, Faults};
use crate::dsp::picture::{Area, centred, shares};
use crate::media::{Format, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Input, Kind, Opened, Output, ReadContext, Resolve, Role, Runnable, Stage,
    StageError,
};

/// The keys of `crop`: `width` and `height`, with `x` and `y` or without; or `shares`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CropConfig {
    /// Pixels in a row of the result; needs `height`.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub width: Option<u32>,
    /// Rows of the result; needs `width`.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub height: Option<u32>,
    /// The first column, from 0; needs `y`. Default: the part is in the middle.
    #[serde(default)]
    pub x: Option<u32>,
    /// The first row, from 0; needs `x`. Default: the part is in the middle.
    #[serde(default)]
    pub y: Option<u32>,
    /// The part between shares of the sides, 0 to 1: left, top, right, bottom, each rounded to the nearest pixel.
    #[serde(default)]
    pub shares: Option<[f64; 4]>,
}

/// A part of each picture: images → images of the same pixel format, packet by packet.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Crop {
    /// So many pixels in the middle; where that is odd, one pixel nearer to the upper left.
    Centred {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// The same pixels of every picture.
    At(Area),
    /// Between shares of the sides, 0 to 1: left, top, right, bottom.
    Shares([f64; 4]),
}

const EXAMPLE: &str = "\
percept: 1
name: the-middle
stages:
  - capture: images
    path: examples/photos
  - preprocess: crop
    shares: [0.25, 0.25, 0.75, 0.75]
  - sink: jsonl
    path: \"-\"
";

/// The registry's entry.
pub const KIND: Kind = Kind::resolved::<CropConfig>("crop", Role::Preprocess, "a part of each picture", EXAMPLE);

impl Resolve for CropConfig {
    fn resolve(self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        let missing = |given: &str, other: &str| {
            let message = format!("`{given}` is given without `{other}`");
            Faults::from(context.fault(given, "missing-key", message).help(format!("add `{other}`")))
        };
        let crop = match (self.shares, self.width, self.height, self.x, self.y) {
            (None, Some(width), Some(height), None, None) => Crop::Centred { width, height },
            (None, Some(width), Some(height), Some(x), Some(y)) => Crop::At(Area { x, y, width, height }),
            (Some(edges), None, None, None, None) => {
                // The rules are those of the function, tried on a picture that rounds nothing away.
                shares((1, 1), edges).map_err(|error| {
                    let fault = context.fault("shares", "bad-shares", error.to_string());
                    Faults::from(
                        fault
                            .expected("[left, top, right, bottom], each from 0 to 1")
                            .help("the middle half is [0.25, 0.25, 0.75, 0.75]"),
                    )
                })?;
                Crop::Shares(edges)
            }
            (Some(_), ..) => {
                let fault = context.fault("shares", "two-parts", "`shares` and pixels both say which part it is");
                return Err(fault.help("keep `shares`, or `width` and `height`").into());
            }
            (None, None, None, ..) => {
                return Err(Fault::error("missing-key", "a crop needs to know which part it is")
                    .expected("`width` and `height`, or `shares`")
                    .help("add `width: 224` and `height: 224` for the middle, say")
                    .at_node(context.node, context.source)
                    .into());
            }
            (None, Some(_), None, ..) => return Err(missing("width", "height")),
            (None, None, Some(_), ..) => return Err(missing("height", "width")),
            (None, _, _, Some(_), None) => return Err(missing("x", "y")),
            (None, _, _, None, Some(_)) => return Err(missing("y", "x")),
        };
        Ok(Box::new(crop))
    }
}

impl Crop {
    /// The part of a picture of this size; fails when it does not lie inside.
    fn area(&self, size: (u32, u32)) -> Result<Area, PreprocessError> {
        match *self {
            Crop::Centred { width, height } => {
                let inside = width <= size.0 && height <= size.1;
                inside.then(|| centred(size, width, height)).ok_or_else(|| self.outside(size))?.map_err(Into::into)
            }
            Crop::At(area) => {
                let inside =
                    |start: u32, length: u32, whole: u32| start.checked_add(length).is_some_and(|end| end <= whole);
                let fits = inside(area.x, area.width, size.0) && inside(area.y, area.height, size.1);
                fits.then_some(area).ok_or_else(|| self.outside(size))
            }
            Crop::Shares(edges) => Ok(shares(size, edges)?),
        }
    }

    fn outside(&self, (width, height): (u32, u32)) -> PreprocessError {
        PreprocessError::TooSmall { expected: self.least(), width, height }
    }

    /// The pictures that it can be cut from, in words.
    fn least(&self) -> String {
        match *self {
            Crop::Centred { width, height } => format!("{width} × {height}"),
            Crop::At(area) => {
                let far = |start: u32, length: u32| u64::from(start) + u64::from(length);
                format!("{} × {}", far(area.x, area.width), far(area.y, area.height))
            }
            Crop::Shares(_) => "1 × 1".to_owned(),
        }
    }

    /// Width and height of the result, where they do not depend on the picture.
    fn size(&self) -> Option<(u32, u32)> {
        match *self {
            Crop::Centred { width, height } | Crop::At(Area { width, height, .. }) => Some((width, height)),
            Crop::Shares(_) => None,
        }
    }
}

impl Blueprint for Crop {
    fn contract(&self) -> Contract {
        Contract::new().input(IMAGE, Format::ANY_IMAGE).output(IMAGE).inline()
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        let known = Pictures::known(inputs);
        let size = match known.size() {
            None => self.size(),
            Some(size) => {
                let area = self.area(size).map_err(|_| {
                    let expected = format!("pictures of at least {} pixels", self.least());
                    let help = Some("insert `- preprocess: resize` before it".to_owned());
                    vec![fault(IMAGE, expected, known.format(), help)]
                })?;
                Some((area.width, area.height))
            }
        };
        Ok(vec![Format::image(known.pixel, size.map(|size| size.0), size.map(|size| size.1))])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(CropStage(*self)))
    }
}

struct CropStage(Crop);

impl Stage for CropStage {
    type State = Pictures;

    fn open(&mut self, _: &StreamInfo, inputs: &[Format]) -> Result<Opened<Pictures>, StageError> {
        let (state, outputs) = Pictures::open(&self.0, inputs)?;
        Ok(Opened { state, outputs })
    }

    fn process(&mut self, state: &mut Pictures, input: Input, out: &mut Output) -> Result<(), StageError> {
        let image = state.of(&input.packet)?;
        let size = picture::size_of(image);
        let area = self.0.area(size)?;
        let part = image.crop(area.x, area.y, area.width, area.height).ok_or_else(|| self.0.outside(size))?;
        out.emit(0, mirrored(&input.packet, part));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{Trial, counting, faults, outputs, read};
    use super::*;
    use crate::media::PixelFormat::{Gray8, Rgb8};

    fn centre(width: u32, height: u32) -> Crop {
        Crop::Centred { width, height }
    }

    #[test]
    fn parts() {
        for (crop, size, expected) in [
            (centre(2, 2), (4, 4), (1, 1, 2, 2)),
            (centre(2, 2), (5, 3), (1, 0, 2, 2)),
            (centre(4, 4), (4, 4), (0, 0, 4, 4)),
            (Crop::At(Area { x: 1, y: 2, width: 3, height: 1 }), (4, 3), (1, 2, 3, 1)),
            (Crop::Shares([0.0, 0.5, 0.5, 1.0]), (8, 6), (0, 3, 4, 3)),
        ] {
            let image = counting(size.0, size.1, Rgb8);
            let mut trial = Trial::open(&crop, Format::image(Some(Rgb8), Some(size.0), Some(size.1))).unwrap();
            let found = trial.payload(7, image.clone()).unwrap();
            assert_eq!(trial.format(), &found[0].payload.format(), "{crop:?}");
            let (x, y, width, height) = expected;
            let part = found[0].payload.image().unwrap();
            assert_eq!(part, &image.crop(x, y, width, height).unwrap(), "{crop:?}");
            assert_eq!(part.place().to_frame.apply((0.0, 0.0)), (f64::from(x), f64::from(y)));
            let start = (y as usize * size.0 as usize + x as usize) * 3;
            assert_eq!(part.bytes().as_ptr(), image.bytes()[start..].as_ptr(), "{crop:?}: nothing was copied");
            assert_eq!(found[0].start.as_nanos(), 7);
        }
    }

    #[test]
    fn formats() {
        let unknown = Format::image(Some(Gray8), None, None);
        assert_eq!(outputs(&centre(4, 2), unknown.clone()), Ok(Format::image(Some(Gray8), Some(4), Some(2))));
        assert_eq!(outputs(&Crop::Shares([0.0, 0.0, 0.5, 0.5]), unknown.clone()), Ok(unknown));
        let at = Crop::At(Area { x: u32::MAX, y: 0, width: 2, height: 1 });
        for (crop, least) in [(centre(5, 2), "5 × 2"), (at, "4294967297 × 1")] {
            let fault = outputs(&crop, Format::image(None, Some(4), Some(4))).unwrap_err();
            assert_eq!(fault.expected, format!("pictures of at least {least} pixels"));
            assert!(fault.help.unwrap().contains("resize"));
        }
    }

    #[test]
    fn keys() {
        for yaml in ["width: 4\nheight: 3", "{x: 0, y: 1, width: 4, height: 3}", "shares: [0, 0, 1, 0.5]"] {
            read(&KIND, yaml).unwrap_or_else(|why| panic!("{yaml}: {why}"));
        }
        for (yaml, codes) in [
            ("{}", &["missing-key"][..]),
            ("x: 1\ny: 1", &["missing-key"]),
            ("width: 4", &["missing-key"]),
            ("height: 4", &["missing-key"]),
            ("{width: 4, height: 4, x: 1}", &["missing-key"]),
            ("{width: 4, height: 4, y: 1}", &["missing-key"]),
            ("{width: 4, shares: [0, 0, 1, 1]}", &["two-parts"]),
            ("shares: [0, 0.5, 1, 0.5]", &["bad-shares"]),
            ("shares: [0, 0, 1, 1.5]", &["bad-shares"]),
            ("shares: [0, 0, 1, .nan]", &["not-finite"]),
            ("width: 0\nheight: 1", &["out-of-range"]),
            ("size: 4", &["unknown-key"]),
        ] {
            assert_eq!(faults(&KIND, yaml), codes, "{yaml}");
        }
        assert!(!faults(&KIND, "shares: [0, 0, 1]").is_empty());
    }

    #[test]
    fn bad_input_is_an_error() {
        assert!(Trial::open(&centre(4, 4), Format::Labels).is_err());
        assert!(Trial::open(&centre(4, 4), Format::image(Some(Rgb8), Some(3), Some(8))).is_err());
        let mut trial = Trial::open(&centre(4, 4), Format::ANY_IMAGE).unwrap();
        let error = trial.payload(0, counting(3, 8, Rgb8)).unwrap_err();
        assert!(matches!(error, StageError::Skip(_)), "{error:?}");
        assert_eq!(
            error.to_string(),
            "expected a picture of at least 4 × 4 pixels, found 3 × 8: insert `- preprocess: resize` before"
        );
        assert!(trial.payload(0, counting(4, 8, Gray8)).is_ok(), "the stream goes on");
    }
}
