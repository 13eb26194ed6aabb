//! `crop_regions`: a picture of each thing that was found in a picture.
//!
//! For chains: find, cut out, recognise. Each frame and its regions give one picture for each region, best first, with the
//! time of the frame; the `origin` of each packet says which frame it is of, and which part of how many. A crop knows its
//! place, so that what is found in it comes back in the pixels of the captured frame.
//!
//! An upright box is cut out without a copy, rounded outwards to whole pixels; what lies beyond the picture is left out. A
//! region with an outline of four corners, such as a line of slanted text, is straightened: its first corner comes to the
//! upper left, and it is interpolated (bilinear). The outline is taken for a parallelogram, given by its first, second and
//! fourth corner. A region of nothing in the picture gives nothing.

use schemars::JsonSchema;
use serde::Deserialize;

use super::PreprocessError;
use super::picture::{self, IMAGE, Pictures};
use super::sound::mirrored;
use crate::dsp::picture::{MAX_SIDE, warp};
use crate::media::{Affine, Format, Image, Packet, Point, Rect, Region, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Input, Kind, Opened, Output, Role, Runnable, Stage, StageError,
};
use crate::stages::join::Join;
use crate::units::Timestamp;

const REGIONS: &str = "regions";

/// The keys of `crop_regions`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CropRegions {
    /// What is added on each side, in shares of the box's sides. Default: 0.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub margin: f64,
    /// Whether the shorter side of a box grows to the longer one. Default: false.
    pub square: bool,
    /// How many regions of a frame at most, the best ones. Default: 32.
    #[schemars(range(min = 1, max = 4096))]
    pub most: usize,
    /// Regions that score less are left out. Default: 0.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: f32,
    /// Crops with a side below so many pixels are left out. Default: 1.
    #[schemars(range(min = 1, max = 4096))]
    pub least: u32,
    /// Whether outlines are straightened; otherwise the box around them is cut out. Default: true.
    pub straighten: bool,
}

impl Default for CropRegions {
    fn default() -> Self {
        CropRegions { margin: 0.0, square: false, most: 32, threshold: 0.0, least: 1, straighten: true }
    }
}

const EXAMPLE: &str = "\
percept: 1
name: each-face
stages:
  - capture: images
    path: examples/photos
  - preprocess: to_tensor
    width: 128
    height: 128
    fit: letterbox
    layout: nhwc
    mean: 0.5
    std: 0.5
  - model: blazeface
  - decoder: boxes
    from: {boxes: blazeface.regressors, scores: blazeface.classificators}
    card: blazeface
  - preprocess: crop_regions
    from: {image: images, regions: boxes}
    margin: 0.1
    square: true
  - sink: jsonl
    path: \"-\"
";

/// The registry's entry.
pub const KIND: Kind = Kind::plain::<CropRegions>(
    "crop_regions",
    Role::Preprocess,
    "a picture of each thing that was found in a picture",
    EXAMPLE,
);

impl Blueprint for CropRegions {
    fn contract(&self) -> Contract {
        Contract::new().input(IMAGE, Format::ANY_IMAGE).input(REGIONS, Format::Regions).output(IMAGE)
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(vec![Format::image(Pictures::known(inputs).pixel, None, None)])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(*self))
    }
}

impl CropRegions {
    /// The box with its margin, and square if that is asked for.
    fn grown(&self, bounds: &Rect) -> Rect {
        let Rect { x, y, width, height } = *bounds;
        let margin = self.margin as f32;
        let longer = width.max(height);
        let (across, down) = if self.square { (longer, longer) } else { (width, height) };
        let (across, down) = (across * (1.0 + 2.0 * margin), down * (1.0 + 2.0 * margin));
        Rect { x: x + (width - across) / 2.0, y: y + (height - down) / 2.0, width: across, height: down }
    }

    /// The crop of a region; `None` where it shows nothing of the picture. `to_image` leads from the frame to the picture.
    fn crop(&self, image: &Image, region: &Region, to_image: &Affine) -> Result<Option<Image>, PreprocessError> {
        if let ([a, b, _, d], true) = (&*region.outline, self.straighten) {
            return self.straightened(image, [a, b, d].map(|corner| corner.mapped(to_image)));
        }
        let bounds = self.grown(&region.bounds.mapped(to_image));
        let finite = [bounds.x, bounds.y, bounds.right(), bounds.bottom()].iter().all(|value| value.is_finite());
        let inside = bounds.within(image.width(), image.height());
        if !finite || inside.area() <= 0.0 {
            return Ok(None);
        }
        // Within the picture, so the casts are exact.
        let (x, y) = (inside.x.floor() as u32, inside.y.floor() as u32);
        let (right, bottom) = (inside.right().ceil() as u32, inside.bottom().ceil() as u32);
        let side = |start: u32, end: u32, whole: u32| end.min(whole).saturating_sub(start);
        let (width, height) = (side(x, right, image.width()), side(y, bottom, image.height()));
        Ok(image.crop(x, y, width, height).filter(|_| width.min(height) >= self.least))
    }

    /// The parallelogram with its upper left, upper right and lower left corner there.
    fn straightened(&self, image: &Image, corners: [Point; 3]) -> Result<Option<Image>, PreprocessError> {
        let [a, b, d] = corners.map(|corner| (f64::from(corner.x), f64::from(corner.y)));
        let (across, down) = ((b.0 - a.0, b.1 - a.1), (d.0 - a.0, d.1 - a.1));
        let longer = across.0.hypot(across.1).max(down.0.hypot(down.1));
        // How far each side grows at both ends, in shares of it.
        let grown = |side: (f64, f64)| {
            let length = side.0.hypot(side.1);
            let square = if self.square && length > 0.0 { (longer / length - 1.0) / 2.0 } else { 0.0 };
            (square + self.margin * (1.0 + 2.0 * square), length)
        };
        let ((more_across, width), (more_down, height)) = (grown(across), grown(down));
        let size = |length: f64, more: f64| (length * (1.0 + 2.0 * more)).round();
        let (width, height) = (size(width, more_across), size(height, more_down));
        let sizes = f64::from(self.least)..=f64::from(MAX_SIDE);
        // False for NaN as well.
        if !sizes.contains(&width) || !sizes.contains(&height) {
            return Ok(None);
        }
        let step = |side: (f64, f64), more: f64, length: f64| {
            let share = (1.0 + 2.0 * more) / length;
            (side.0 * share, side.1 * share)
        };
        let (right, below) = (step(across, more_across, width), step(down, more_down, height));
        let corner =
            (a.0 - across.0 * more_across - down.0 * more_down, a.1 - across.1 * more_across - down.1 * more_down);
        let map = [[right.0, below.0, corner.0], [right.1, below.1, corner.1]];
        let (width, height) = (width as u32, height as u32);
        let mut pixels = Vec::new();
        warp(&picture::view(image)?, map, (width as usize, height as usize), &mut pixels)?;
        picture::made_from(image, pixels, (width, height), image.format(), map).map(Some)
    }

    /// The crops of a frame.
    fn crops(&self, image: &Packet, regions: &Packet, out: &mut Output) -> Result<(), StageError> {
        let (picture, found) = (image.payload.image()?, regions.payload.regions()?);
        // A picture that was folded to a line shows nothing.
        let Some(to_image) = picture.place().to_frame.inverse() else { return Ok(()) };
        let sure = found.entries.iter().filter(|region| region.score >= self.threshold);
        for region in sure.take(self.most) {
            let Some(crop) = self.crop(picture, region, &to_image)? else { continue };
            let mut draft = mirrored(image, crop);
            draft.flags.gap |= regions.flags.gap;
            draft.flags.partial |= regions.flags.partial;
            draft.flags.late |= regions.flags.late;
            draft.revision = draft.revision.max(regions.revision);
            draft.weights = draft.weights.max(regions.weights);
            out.emit(0, draft);
        }
        Ok(())
    }
}

/// One stream.
pub struct State {
    pictures: Pictures,
    join: Join,
}

impl Stage for CropRegions {
    type State = State;

    fn open(&mut self, _: &StreamInfo, inputs: &[Format]) -> Result<Opened<State>, StageError> {
        let (pictures, outputs) = Pictures::open(self, inputs.get(..1).unwrap_or_default())?;
        Ok(Opened { state: State { pictures, join: Join::new(2) }, outputs })
    }

    fn process(&mut self, state: &mut State, input: Input, out: &mut Output) -> Result<(), StageError> {
        // Before it waits for its partner, as the error is its own.
        match input.port {
            0 => state.pictures.of(&input.packet).map(|_| ())?,
            _ => input.packet.payload.regions().map(|_| ())?,
        }
        match state.join.push(input.port, input.packet, out).as_deref() {
            Some([image, regions]) => self.crops(image, regions, out),
            _ => Ok(()),
        }
    }

    fn flush(&mut self, state: &mut State, out: &mut Output) -> Result<(), StageError> {
        state.join.give_up(out);
        Ok(())
    }

    fn hold_back(&self, state: &State) -> Option<Timestamp> {
        state.join.hold_back()
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{counting, faults, read};
    use super::*;
    use crate::media::PixelFormat::Rgb8;
    use crate::media::{Payload, Regions, StreamId};
    use crate::stage::Solo;
    use crate::units::{ClockInstant, TimeSpan};

    fn packet(payload: impl Into<Payload>) -> Packet {
        Packet::new(StreamId(0), Timestamp::from_nanos(7), TimeSpan::ZERO, payload)
    }

    fn solo(stage: &CropRegions) -> Solo {
        let info = StreamInfo {
            id: StreamId(0),
            name: "trial".into(),
            group: "trial".into(),
            live: false,
            zero: ClockInstant::default(),
            wall: None,
            file: None,
        };
        Solo::open(stage, info, vec![Format::ANY_IMAGE, Format::Regions]).unwrap()
    }

    fn region(x: f32, y: f32, width: f32, height: f32) -> Region {
        Region::new(Rect { x, y, width, height }, 0.5)
    }

    fn run(stage: &CropRegions, image: &Image, entries: &[Region]) -> Vec<Image> {
        let mut solo = solo(stage);
        let regions = Regions { frame_width: 16, frame_height: 12, entries: entries.into() };
        assert!(solo.push(0, packet(image.clone())).unwrap().is_empty());
        let found = solo.push(1, packet(regions)).unwrap();
        assert!(found.iter().all(|(port, packet)| *port == 0 && packet.start.as_nanos() == 7));
        found.into_iter().map(|(_, packet)| packet.payload.image().unwrap().clone()).collect()
    }

    #[test]
    fn boxes_are_cut_out_of_the_frame_without_a_copy() {
        let image = counting(16, 12, Rgb8);
        let plain = CropRegions::default();
        let with = |change: fn(&mut CropRegions)| {
            let mut stage = plain;
            change(&mut stage);
            stage
        };
        for (stage, bounds, expected) in [
            (plain, (2.0, 3.0, 4.0, 5.0), Some((2, 3, 4, 5))),
            // Outwards to whole pixels; nothing beyond the picture.
            (plain, (2.5, 3.5, 4.0, 5.0), Some((2, 3, 5, 6))),
            (plain, (-3.0, 10.0, 5.0, 9.0), Some((0, 10, 2, 2))),
            (plain, (16.0, 3.0, 4.0, 5.0), None),
            (plain, (f32::NAN, 3.0, 4.0, 5.0), None),
            (plain, (3.0, 3.0, 0.0, 5.0), None),
            (plain, (-1e30, -1e30, 2e30, 2e30), Some((0, 0, 16, 12))),
            (with(|stage| stage.margin = 0.5), (4.0, 4.0, 4.0, 2.0), Some((2, 3, 8, 4))),
            (with(|stage| stage.square = true), (4.0, 4.0, 4.0, 2.0), Some((4, 3, 4, 4))),
            (with(|stage| stage.least = 3), (4.0, 4.0, 4.0, 2.0), None),
            (with(|stage| stage.threshold = 0.6), (4.0, 4.0, 4.0, 2.0), None),
        ] {
            let (x, y, width, height) = bounds;
            let found = run(&stage, &image, &[region(x, y, width, height)]);
            let expected = expected.and_then(|(x, y, width, height)| image.crop(x, y, width, height));
            assert_eq!(found.first(), expected.as_ref(), "{stage:?} {bounds:?}");
            if let Some(crop) = found.first() {
                let range = image.bytes().as_ptr_range();
                assert!(range.contains(&crop.bytes().as_ptr()), "nothing was copied");
            }
        }
        let two = [region(0.0, 0.0, 2.0, 2.0), region(4.0, 4.0, 3.0, 3.0)];
        assert_eq!(run(&plain, &image, &two).len(), 2);
        assert_eq!(run(&with(|stage| stage.most = 1), &image, &two).len(), 1);
        assert!(run(&plain, &image, &[]).is_empty());
    }

    #[test]
    fn regions_are_in_the_frame_wherever_the_picture_is() {
        // The picture is the part from (4, 2) on, half as large.
        let image = counting(4, 4, Rgb8);
        let map = Affine::translation(4.0, 2.0).after(&Affine::scale(2.0, 2.0));
        let frame = counting(16, 12, Rgb8);
        let image = image.at(frame.place().of_part(&map));
        let found = run(&CropRegions::default(), &image, &[region(6.0, 4.0, 4.0, 2.0)]);
        assert_eq!(found, [image.crop(1, 1, 2, 1).unwrap()]);
        assert_eq!(found[0].place().to_frame.apply((0.0, 0.0)), (6.0, 4.0));
    }

    #[test]
    fn outlines_are_straightened() {
        let image = counting(16, 12, Rgb8);
        let outline = |corners: [(f32, f32); 4]| {
            let mut region = region(2.0, 2.0, 4.0, 4.0);
            region.outline = corners.map(|(x, y)| Point { x, y }).into();
            region
        };
        // Read from below to above: the upper left corner as one reads it is the lower left of the picture.
        let upwards = outline([(2.0, 7.0), (2.0, 3.0), (4.0, 3.0), (4.0, 7.0)]);
        let found = run(&CropRegions::default(), &image, std::slice::from_ref(&upwards));
        let [crop] = &found[..] else { panic!("{found:?}") };
        assert_eq!((crop.width(), crop.height()), (4, 2));
        for (at, frame) in [((0.0, 0.0), (2.0, 7.0)), ((4.0, 0.0), (2.0, 3.0)), ((0.0, 2.0), (4.0, 7.0))] {
            assert_eq!(crop.place().to_frame.apply(at), frame);
        }
        let pixel = |image: &Image, x: usize, y: usize| image.rows().nth(y).unwrap()[3 * x..3 * x + 3].to_vec();
        assert_eq!(pixel(crop, 0, 0), pixel(&image, 2, 6));
        assert_eq!(pixel(crop, 3, 1), pixel(&image, 3, 3));
        let grown = CropRegions { margin: 0.25, square: true, ..CropRegions::default() };
        let found = run(&grown, &image, std::slice::from_ref(&upwards));
        assert_eq!((found[0].width(), found[0].height()), (6, 6));
        assert_eq!(found[0].place().to_frame.apply((3.0, 3.0)), (3.0, 5.0), "the middle stays");
        let upright = CropRegions { straighten: false, ..CropRegions::default() };
        assert_eq!(run(&upright, &image, &[upwards]), [image.crop(2, 2, 4, 4).unwrap()]);
        for bad in [[(2.0, 2.0); 4], [(f32::NAN, 0.0); 4], [(0.0, 0.0), (1e9, 0.0), (1e9, 1e9), (0.0, 1e9)]] {
            assert!(run(&CropRegions::default(), &image, &[outline(bad)]).is_empty(), "{bad:?}");
        }
    }

    #[test]
    fn bad_input_is_an_error_and_the_stream_goes_on() {
        let mut solo = solo(&CropRegions::default());
        let image = counting(16, 12, Rgb8);
        for (port, wrong) in [(0, packet(Regions::default())), (1, packet(image.clone()))] {
            assert!(matches!(solo.push(port, wrong), Err(StageError::Skip(_))));
        }
        let mut late = packet(Regions { entries: [region(0.0, 0.0, 2.0, 2.0)].into(), ..Regions::default() });
        (late.flags.late, late.weights) = (true, 3);
        assert!(solo.push(1, late).unwrap().is_empty());
        let found = solo.push(0, packet(image)).unwrap();
        assert!(found[0].1.flags.late && found[0].1.weights == 3, "{found:?}");
    }

    #[test]
    fn keys() {
        assert!(
            read(&KIND, "{margin: 0.2, square: true, most: 4, threshold: 0.5, least: 8, straighten: false}").is_ok()
        );
        for (yaml, code) in [("margin: -1", "out-of-range"), ("most: 0", "out-of-range"), ("size: 4", "unknown-key")] {
            assert_eq!(faults(&KIND, yaml), [code], "{yaml}");
        }
    }
}
