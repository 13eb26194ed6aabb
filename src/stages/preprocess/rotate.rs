//! `rotate`: pictures turned.
//!
//! By quarters for cameras that hang on their side or upside down: exact, no pixel changes. By any angle in degrees for
//! what is known to be slanted, with interpolation. What files say about their orientation (EXIF) the capture does itself.

use schemars::JsonSchema;
use serde::Deserialize;

use super::PreprocessError;
use super::picture::{self, IMAGE, Pictures};
use super::sound::mirrored;
use crate::config::{Fault, Faults};
use crate::dsp;
use crate::dsp::picture::{Quarters, Turned, quarter_turn};
use crate::media::{Format, Image, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Input, Kind, Opened, Output, ReadContext, Resolve, Role, Runnable, Stage,
    StageError,
};

/// The keys of `rotate`: `quarters` or `degrees`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RotateConfig {
    /// By quarters: `right` (90° clockwise), `half` (180°) or `left` (90° counterclockwise).
    #[serde(default)]
    pub quarters: Option<Quarters>,
    /// By an angle in degrees, clockwise, about the centre.
    #[serde(default)]
    #[schemars(range(min = -360, max = 360))]
    pub degrees: Option<f64>,
    /// With `degrees`: whether the result is as large as the turned picture needs. Default: false, as large as before, with
    /// the corners cut off.
    #[serde(default)]
    pub expand: Option<bool>,
    /// With `degrees`: the colour where no picture is: red, green and blue, 0 to 255. Default: [0, 0, 0], black.
    #[serde(default)]
    pub ground: Option<[u8; 3]>,
}

/// Pictures turned: images → images of the same pixel format, packet by packet.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Rotate {
    /// By quarters.
    Quarters(Quarters),
    /// By an angle.
    Degrees {
        /// Clockwise.
        degrees: f64,
        /// Whether the result is as large as the turned picture needs; otherwise it is as large as before.
        expand: bool,
        /// The colour where no picture is: red, green, blue.
        ground: [u8; 3],
    },
}

const EXAMPLE: &str = "\
percept: 1
name: upright
stages:
  - capture: images
    path: examples/photos
  - preprocess: rotate
    quarters: right
  - sink: jsonl
    path: \"-\"
";

/// The registry's entry.
pub const KIND: Kind = Kind::resolved::<RotateConfig>("rotate", Role::Preprocess, "pictures turned", EXAMPLE);

impl Resolve for RotateConfig {
    fn resolve(self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        let rotate = match (self.quarters, self.degrees) {
            (Some(quarters), None) => {
                for (key, given) in [("expand", self.expand.is_some()), ("ground", self.ground.is_some())] {
                    if given {
                        let message = format!("`{key}` says nothing where a turn by quarters leaves no corners");
                        return Err(context.fault(key, "needless-key", message).help("leave it out").into());
                    }
                }
                Rotate::Quarters(quarters)
            }
            (None, Some(degrees)) => Rotate::Degrees {
                degrees,
                expand: self.expand.unwrap_or_default(),
                ground: self.ground.unwrap_or_default(),
            },
            (Some(_), Some(_)) => {
                let fault = context.fault("degrees", "two-turns", "`quarters` and `degrees` both say how far");
                return Err(fault.help("keep one of them").into());
            }
            (None, None) => {
                return Err(Fault::error("missing-key", "a turn needs to know how far")
                    .expected("`quarters` or `degrees`")
                    .help("add `quarters: right`, say")
                    .at_node(context.node, context.source)
                    .into());
            }
        };
        Ok(Box::new(rotate))
    }
}

impl Blueprint for Rotate {
    fn contract(&self) -> Contract {
        Contract::new().input(IMAGE, Format::ANY_IMAGE).output(IMAGE)
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        let known = Pictures::known(inputs);
        let known = match self {
            Rotate::Quarters(Quarters::Right | Quarters::Left) => {
                Pictures { width: known.height, height: known.width, ..known }
            }
            Rotate::Degrees { expand: true, .. } => Pictures { width: None, height: None, ..known },
            Rotate::Quarters(Quarters::Half) | Rotate::Degrees { .. } => known,
        };
        Ok(vec![known.format()])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(RotateStage(*self)))
    }
}

struct RotateStage(Rotate);

impl Stage for RotateStage {
    type State = Pictures;

    fn open(&mut self, _: &StreamInfo, inputs: &[Format]) -> Result<Opened<Pictures>, StageError> {
        let (state, outputs) = Pictures::open(&self.0, inputs)?;
        Ok(Opened { state, outputs })
    }

    fn process(&mut self, state: &mut Pictures, input: Input, out: &mut Output) -> Result<(), StageError> {
        let turned = turned(&self.0, state.of(&input.packet)?)?;
        out.emit(0, mirrored(&input.packet, turned));
        Ok(())
    }
}

fn turned(rotate: &Rotate, image: &Image) -> Result<Image, PreprocessError> {
    let (view, mut pixels) = (picture::view(image)?, Vec::new());
    let Turned { width, height, output_to_input } = match *rotate {
        Rotate::Quarters(quarters) => quarter_turn(&view, quarters, &mut pixels),
        Rotate::Degrees { degrees, expand, ground } => {
            let ground = picture::colour(ground, image.format());
            dsp::picture::rotate(&view, degrees, expand, &ground, &mut pixels)?
        }
    };
    // Sides of pictures fit; one that does not makes a picture of no size, which is refused.
    let side = |length: usize| u32::try_from(length).unwrap_or(0);
    picture::made_from(image, pixels, (side(width), side(height)), image.format(), output_to_input)
}

#[cfg(test)]
mod tests {
    use super::super::trial::{Trial, counting, faults, outputs, read};
    use super::*;
    use crate::media::PixelFormat::{Gray8, Rgb8, Rgba8};

    fn by(degrees: f64, expand: bool) -> Rotate {
        Rotate::Degrees { degrees, expand, ground: [9, 9, 9] }
    }

    #[test]
    fn turns() {
        // 0 1 2
        // 3 4 5
        for (rotate, size, pixels) in [
            (Rotate::Quarters(Quarters::Right), (2, 3), &[3, 0, 4, 1, 5, 2][..]),
            (Rotate::Quarters(Quarters::Left), (2, 3), &[2, 5, 1, 4, 0, 3]),
            (Rotate::Quarters(Quarters::Half), (3, 2), &[5, 4, 3, 2, 1, 0]),
            (by(180.0, false), (3, 2), &[5, 4, 3, 2, 1, 0]),
            (by(0.0, true), (3, 2), &[0, 1, 2, 3, 4, 5]),
        ] {
            let mut trial = Trial::open(&rotate, Format::image(Some(Gray8), Some(3), Some(2))).unwrap();
            let found = trial.payload(0, counting(3, 2, Gray8)).unwrap();
            let found = found[0].payload.image().unwrap();
            assert_eq!((picture::size_of(found), &found.packed()[..]), (size, pixels), "{rotate:?}");
            let middle = (f64::from(size.0) / 2.0, f64::from(size.1) / 2.0);
            let (x, y) = found.place().to_frame.apply(middle);
            assert!((x - 1.5).abs() < 1e-9 && (y - 1.0).abs() < 1e-9, "{rotate:?}: the middle stays");
            assert!(trial.format().accepts(&Format::image(Some(Gray8), Some(size.0), Some(size.1))).is_ok());
        }
    }

    #[test]
    fn the_ground_is_of_the_picture_s_format() {
        for format in [Gray8, Rgb8, Rgba8] {
            let mut trial = Trial::open(&by(45.0, true), Format::ANY_IMAGE).unwrap();
            let found = trial.payload(0, counting(4, 4, format)).unwrap();
            let found = found[0].payload.image().unwrap();
            assert!(found.width() > 4 && found.format() == format);
            let corner = &found.packed()[..format.bytes()];
            assert!(corner.iter().take(3).all(|sample| *sample == 9), "{format}: {corner:?}");
        }
    }

    #[test]
    fn formats() {
        let input = Format::image(Some(Rgb8), Some(3), Some(2));
        for (rotate, expected) in [
            (Rotate::Quarters(Quarters::Left), Format::image(Some(Rgb8), Some(2), Some(3))),
            (Rotate::Quarters(Quarters::Half), input.clone()),
            (by(3.0, false), input.clone()),
            (by(3.0, true), Format::image(Some(Rgb8), None, None)),
        ] {
            assert_eq!(outputs(&rotate, input.clone()), Ok(expected), "{rotate:?}");
        }
    }

    #[test]
    fn keys() {
        for yaml in ["quarters: left", "degrees: -3.5", "{degrees: 10, expand: true, ground: [255, 255, 255]}"] {
            read(&KIND, yaml).unwrap_or_else(|why| panic!("{yaml}: {why}"));
        }
        for (yaml, codes) in [
            ("{}", &["missing-key"][..]),
            ("{quarters: left, degrees: 3}", &["two-turns"]),
            ("{quarters: left, expand: true}", &["needless-key"]),
            ("{quarters: left, ground: [0, 0, 0]}", &["needless-key"]),
            ("degrees: 361", &["out-of-range"]),
            ("angle: 3", &["unknown-key"]),
        ] {
            assert_eq!(faults(&KIND, yaml), codes, "{yaml}");
        }
        assert!(!faults(&KIND, "quarters: up").is_empty());
    }

    #[test]
    fn bad_input_is_an_error() {
        assert!(Trial::open(&by(1.0, false), Format::Text).is_err());
        let mut trial = Trial::open(&by(f64::NAN, false), Format::ANY_IMAGE).unwrap();
        let error = trial.payload(0, counting(4, 4, Gray8)).unwrap_err();
        assert!(matches!(error, StageError::Skip(_)) && error.to_string().contains("degrees"), "{error}");
    }
}
