//! `resize`: pictures at another size.
//!
//! For models that want pictures of one size, and to make what follows cheaper. `short_side` keeps the proportions, as the
//! preparation of most classifiers does before a `crop`; with `width` and `height`, `fit` says what becomes of them. The
//! results are Pillow's, to the bit: unlike OpenCV's default, pictures that get smaller do not alias. Where a
//! model reads the result at once, give the size to `to_tensor` instead, which then makes no picture in between.
//!
//! A picture that has the size already is passed on without a copy.

use schemars::JsonSchema;
use serde::Deserialize;

use super::PreprocessError;
use super::picture::{self, IMAGE, Pictures};
use super::scaling::{Scaler, Scaling, TargetSize};
use super::sound::mirrored;
use crate::config::{Fault, Faults};
use crate::dsp::picture::{Filter, Fit, MAX_SIDE};
use crate::media::{Affine, Format, Image, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Input, Kind, Opened, Output, ReadContext, Resolve, Role, Runnable, Stage,
    StageError,
};

/// The keys of `resize`: `width` and `height`, or `short_side`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResizeConfig {
    /// Pixels in a row of the result; needs `height`.
    #[serde(default)]
    #[schemars(range(min = 1, max = MAX_SIDE))]
    pub width: Option<u32>,
    /// Rows of the result; needs `width`.
    #[serde(default)]
    #[schemars(range(min = 1, max = MAX_SIDE))]
    pub height: Option<u32>,
    /// Pixels of the shorter side; the longer one follows from the proportions, rounded down.
    #[serde(default)]
    #[schemars(range(min = 1, max = MAX_SIDE))]
    pub short_side: Option<u32>,
    /// What becomes of the proportions with `width` and `height`: `stretch` changes them; `fit` makes the largest picture
    /// inside the size; `fill` covers the size and cuts off what stands out; `letterbox` is `fit`, centred on `ground`.
    /// Default: stretch.
    #[serde(default)]
    pub fit: Option<Fit>,
    /// What a pixel is made of: `box`, `bilinear`, `bicubic` or `lanczos`. Default: bilinear.
    #[serde(default)]
    pub filter: Filter,
    /// The colour around a letterbox: red, green and blue, 0 to 255. Default: [0, 0, 0], black.
    #[serde(default)]
    pub ground: Option<[u8; 3]>,
}

/// Pictures at another size: images → images of the same pixel format, packet by packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Resize(pub Scaling);

const EXAMPLE: &str = "\
percept: 1
name: thumbnails
stages:
  - capture: images
    path: examples/photos
  - preprocess: resize
    width: 64
    height: 64
    fit: letterbox
  - sink: jsonl
    path: \"-\"
";

/// The registry's entry.
pub const KIND: Kind = Kind::resolved::<ResizeConfig>("resize", Role::Preprocess, "pictures at another size", EXAMPLE);

impl Resolve for ResizeConfig {
    fn resolve(self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        let mut faults = Faults::new();
        let size = match (self.width, self.height, self.short_side) {
            (Some(width), Some(height), None) => Some(TargetSize::Exactly { width, height }),
            (None, None, Some(side)) => Some(TargetSize::ShortSide(side)),
            (None, None, None) => {
                faults.push(
                    Fault::error("missing-key", "a resized picture needs a size")
                        .expected("`width` and `height`, or `short_side`")
                        .help("add `short_side: 256`, say")
                        .at_node(context.node, context.source),
                );
                None
            }
            (_, _, Some(_)) => {
                let fault =
                    context.fault("short_side", "two-sizes", "`short_side` and `width` or `height` both say a size");
                faults.push(
                    fault.help("keep `short_side` for the proportions, or `width` and `height` for an exact size"),
                );
                None
            }
            (width, _, None) => {
                let (given, other) = if width.is_some() { ("width", "height") } else { ("height", "width") };
                let message = format!("`{given}` is given without `{other}`");
                let fault = context.fault(given, "missing-key", message);
                faults.push(fault.help(format!("add `{other}`, or give `short_side` to keep the proportions")));
                None
            }
        };
        if let (Some(TargetSize::ShortSide(_)), Some(_)) = (size, self.fit) {
            let fault =
                context.fault("fit", "needless-key", "`fit` says nothing where `short_side` keeps the proportions");
            faults.push(fault.help("leave it out, or give `width` and `height`"));
        }
        if let (Some(_), false) = (self.ground, self.fit == Some(Fit::Letterbox)) {
            let fault =
                context.fault("ground", "needless-key", "`ground` is the colour around a letterbox, and there is none");
            faults.push(fault.help("set `fit: letterbox`, or leave it out"));
        }
        match size {
            Some(size) if faults.is_empty() => Ok(Box::new(Resize(Scaling {
                size,
                fit: self.fit.unwrap_or_default(),
                filter: self.filter,
                ground: self.ground.unwrap_or_default(),
            }))),
            _ => Err(faults),
        }
    }
}

impl Blueprint for Resize {
    fn contract(&self) -> Contract {
        Contract::new().input(IMAGE, Format::ANY_IMAGE).output(IMAGE)
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        let known = self.0.known(Pictures::known(inputs)).map_err(|fault| vec![fault])?;
        Ok(vec![known.format()])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(ResizeStage(self.clone())))
    }
}

struct ResizeStage(Resize);

/// One stream.
struct State {
    pictures: Pictures,
    scaler: Scaler,
}

impl Stage for ResizeStage {
    type State = State;

    fn open(&mut self, _: &StreamInfo, inputs: &[Format]) -> Result<Opened<State>, StageError> {
        let (pictures, outputs) = Pictures::open(&self.0, inputs)?;
        Ok(Opened { state: State { pictures, scaler: Scaler::new(self.0.0) }, outputs })
    }

    fn process(&mut self, state: &mut State, input: Input, out: &mut Output) -> Result<(), StageError> {
        let image = state.pictures.of(&input.packet)?;
        let resized = resized(&mut state.scaler, image)?;
        out.emit(0, mirrored(&input.packet, resized));
        Ok(())
    }
}

/// The picture at its new size.
fn resized(scaler: &mut Scaler, image: &Image) -> Result<Image, PreprocessError> {
    let resizer = scaler.resizer(image)?;
    let (size, map) = (resizer.placement().output(), resizer.placement().output_to_input());
    if size == picture::size_of(image) && map == Affine::IDENTITY.rows() {
        return Ok(image.clone());
    }
    let mut pixels = Vec::new();
    resizer.run(&picture::view(image)?, &mut pixels)?;
    picture::made_from(image, pixels, size, image.format(), map)
}

#[cfg(test)]
mod tests {
    use super::super::trial::{Trial, counting, faults, outputs, read};
    use super::*;
    use crate::media::PixelFormat::{Gray8, Rgb8, Rgba8};

    fn exactly(width: u32, height: u32, fit: Fit) -> Resize {
        Resize(Scaling { fit, ground: [9, 9, 9], ..Scaling::to(TargetSize::Exactly { width, height }) })
    }

    #[test]
    fn sizes_and_places() {
        let short = Resize(Scaling::to(TargetSize::ShortSide(4)));
        // stage, size before, size after, where the result's middle is in the frame
        for (resize, before, after, middle) in [
            (exactly(4, 2, Fit::Stretch), (8, 8), (4, 2), (4.0, 4.0)),
            (exactly(4, 4, Fit::Fit), (8, 4), (4, 2), (4.0, 2.0)),
            (exactly(4, 4, Fit::Fill), (8, 4), (4, 4), (4.0, 2.0)),
            (exactly(4, 4, Fit::Letterbox), (8, 4), (4, 4), (4.0, 2.0)),
            (short.clone(), (8, 12), (4, 6), (4.0, 6.0)),
            (short, (12, 8), (6, 4), (6.0, 4.0)),
        ] {
            for format in [Gray8, Rgb8, Rgba8] {
                let image = counting(before.0, before.1, format);
                let known = Format::image(Some(format), Some(before.0), Some(before.1));
                let mut trial = Trial::open(&resize, known).unwrap();
                assert_eq!(trial.format(), &Format::image(Some(format), Some(after.0), Some(after.1)));
                let found = trial.payload(0, image).unwrap();
                let found = found[0].payload.image().unwrap();
                assert_eq!(picture::size_of(found), after, "{resize:?}");
                let at = (f64::from(after.0) / 2.0, f64::from(after.1) / 2.0);
                assert_eq!(found.place().to_frame.apply(at), middle, "{resize:?} of {before:?}");
                assert_eq!((found.place().frame_width, found.place().frame_height), before);
            }
        }
    }

    #[test]
    fn values() {
        let picture = Image::new(vec![0u8, 100, 200, 40], 2, 2, Gray8).unwrap();
        let mut trial = Trial::open(&exactly(1, 1, Fit::Stretch), Format::ANY_IMAGE).unwrap();
        let found = trial.payload(0, picture.clone()).unwrap();
        assert_eq!(&found[0].payload.image().unwrap().packed()[..], [85], "(0 + 100 + 200 + 40) / 4");
        let mut trial = Trial::open(&exactly(4, 2, Fit::Letterbox), Format::ANY_IMAGE).unwrap();
        let found = trial.payload(0, picture).unwrap();
        assert_eq!(&found[0].payload.image().unwrap().packed()[..], [9, 0, 100, 9, 9, 200, 40, 9]);
    }

    #[test]
    fn a_picture_of_that_size_is_not_copied() {
        for fit in [Fit::Stretch, Fit::Fit, Fit::Fill, Fit::Letterbox] {
            let image = counting(9, 9, Rgb8).crop(1, 1, 8, 4).unwrap();
            let mut trial = Trial::open(&exactly(8, 4, fit), Format::ANY_IMAGE).unwrap();
            let found = trial.payload(0, image.clone()).unwrap();
            let found = found[0].payload.image().unwrap();
            assert_eq!((found.bytes().as_ptr(), found), (image.bytes().as_ptr(), &image), "{fit:?}");
        }
    }

    #[test]
    fn sizes_may_change_where_they_are_not_known() {
        let mut trial = Trial::open(&exactly(4, 4, Fit::Fit), Format::ANY_IMAGE).unwrap();
        for (before, after) in [((8, 4), (4, 2)), ((4, 8), (2, 4)), ((8, 4), (4, 2))] {
            let found = trial.payload(0, counting(before.0, before.1, Rgb8)).unwrap();
            assert_eq!(picture::size_of(found[0].payload.image().unwrap()), after);
        }
    }

    #[test]
    fn formats() {
        let unknown = Format::image(Some(Rgb8), None, None);
        for (resize, expected) in [
            (exactly(4, 2, Fit::Stretch), Format::image(Some(Rgb8), Some(4), Some(2))),
            (exactly(4, 2, Fit::Letterbox), Format::image(Some(Rgb8), Some(4), Some(2))),
            (exactly(4, 2, Fit::Fit), unknown.clone()),
            (Resize(Scaling::to(TargetSize::ShortSide(4))), unknown.clone()),
        ] {
            assert_eq!(outputs(&resize, unknown.clone()), Ok(expected), "{resize:?}");
        }
        let short = Resize(Scaling::to(TargetSize::ShortSide(1 << 14)));
        let fault = outputs(&short, Format::image(None, Some(1), Some(3))).unwrap_err();
        assert!(fault.expected.contains("32768"), "{fault:?}");
    }

    #[test]
    fn keys() {
        for yaml in [
            "width: 4\nheight: 3",
            "short_side: 256\nfilter: lanczos",
            "{width: 1, height: 1, fit: letterbox, ground: [1, 2, 3]}",
        ] {
            read(&KIND, yaml).unwrap_or_else(|why| panic!("{yaml}: {why}"));
        }
        for (yaml, codes) in [
            ("{}", &["missing-key"][..]),
            ("width: 4", &["missing-key"]),
            ("height: 4", &["missing-key"]),
            ("short_side: 4\nwidth: 4", &["two-sizes"]),
            ("short_side: 4\nfit: fill", &["needless-key"]),
            ("width: 4\nheight: 4\nground: [0, 0, 0]", &["needless-key"]),
            ("short_side: 0", &["out-of-range"]),
            ("short_side: 32769", &["out-of-range"]),
            ("with: 4", &["unknown-key"]),
        ] {
            assert_eq!(faults(&KIND, yaml), codes, "{yaml}");
        }
        assert!(!faults(&KIND, "width: 4\nheight: 4\nfit: letterbox\nground: [0, 0]").is_empty());
        assert!(!faults(&KIND, "width: 4\nheight: 4\nfit: letterbox\nground: [0, 0, 256]").is_empty());
    }

    #[test]
    fn bad_input_is_an_error() {
        assert!(Trial::open(&exactly(4, 4, Fit::Fit), Format::Text).is_err());
        let mut trial = Trial::open(&exactly(4, 4, Fit::Fit), Format::image(Some(Rgb8), Some(8), Some(8))).unwrap();
        for image in [counting(8, 9, Rgb8), counting(8, 8, Gray8)] {
            let error = trial.payload(0, image).unwrap_err();
            assert!(matches!(error, StageError::Skip(_)) && error.to_string().contains("reopen"), "{error}");
        }
        let mut trial = Trial::open(&Resize(Scaling::to(TargetSize::ShortSide(256))), Format::ANY_IMAGE).unwrap();
        let error = trial.payload(0, counting(1, 200, Gray8)).unwrap_err();
        assert!(matches!(error, StageError::Skip(_)) && error.to_string().contains("32768"), "{error}");
    }
}
