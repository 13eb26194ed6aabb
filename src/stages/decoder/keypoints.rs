//! `keypoints`: the named places of one thing, such as the joints of a body.
//!
//! Use it after a model that tells one set of keypoints for a picture (or a crop around one person), in one of two ways:
//!
//! * `form: heat`: a map for each keypoint of how probable it is in each cell, f32 [1, keypoints, rows, columns]. The best
//!   cell counts, moved a quarter of a cell towards the better of its neighbours on each axis (Newell et al., "Stacked
//!   Hourglass Networks", 2016; Xiao et al., "Simple Baselines", 2018);
//! * `form: points`: their coordinates, f32 [1, …, keypoints, 2], or 3 with the score as the third number.
//!
//! The result is a packet with one region: the box around the keypoints that reach `threshold`, their mean score, and all
//! keypoints in the pixels of the captured frame, back through every resize and crop; or none where no keypoint reaches
//! it. A detector that tells keypoints with its boxes is read by `boxes`.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::boxes::{Order, Unit};
use super::picture::{self, PictureError, numbers, sigmoid};
use crate::config::Faults;
use crate::media::{Affine, Format, Keypoint, Packet, Point, Rect, Region, Regions, StreamInfo, View};
use crate::stage::{
    Blueprint, Contract, ContractFault, Input, Kind, Opened, Output, ReadContext, Resolve, Role, Runnable, Stage,
    StageError,
};
use crate::stages::join::draft_of;
use crate::tensor::{DType, SymbolicShape, Tensor};
use crate::units::Timestamp;

const POINTS: &str = "points";

/// How a model tells its keypoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeypointForm {
    /// A map for each.
    #[default]
    Heat,
    /// Their coordinates.
    Points,
}

/// The keys of `keypoints`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Keypoints {
    /// The model whose card holds these keys under `decoder`: its name or its folder. The stage's own keys go first.
    pub card: Option<String>,
    /// How the model tells its keypoints: `heat` or `points`. Default: heat.
    pub form: KeypointForm,
    /// Their names, in the model's order.
    #[schemars(length(max = 1000))]
    pub names: Vec<String>,
    /// Whether scores are logits, of which 1 / (1 + exp(−x)) makes probabilities. Default: false.
    pub sigmoid: bool,
    /// Keypoints below this score do not count for the box. Default: 0.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: f32,
    /// Which of two coordinates comes first, for `points`. Default: xy.
    pub order: Order,
    /// What coordinates are told in, for `points`: `pixels` or `shares` of the picture that the model reads. Default: pixels.
    pub unit: Unit,
    /// Pixels in a row of the picture that the model reads, where its numbers do not come from `to_tensor`.
    #[schemars(range(min = 1))]
    pub width: Option<u32>,
    /// Its rows.
    #[schemars(range(min = 1))]
    pub height: Option<u32>,
}

const EXAMPLE: &str = r#"percept: 1
name: pose
stages:
  - capture: images
    path: examples/photos
  - preprocess: to_tensor
    width: 192
    height: 256
    fit: letterbox
  - model: pose.onnx
  - decoder: keypoints
    names: [nose, neck, hip, foot]
    threshold: 0.3
    width: 192
    height: 256
  - sink: jsonl
    path: "-"
"#;

/// The entry of the registry.
pub const KIND: Kind =
    Kind::resolved::<Keypoints>("keypoints", Role::Decoder, "the named places of one thing", EXAMPLE);

/// A [`Keypoints`] ready to run.
#[derive(Clone, Debug)]
pub struct KeypointsDecoder {
    settings: Keypoints,
    names: Arc<[Arc<str>]>,
    size: Option<(u32, u32)>,
}

impl Resolve for Keypoints {
    fn resolve(self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        let settings = picture::from_card::<Keypoints>(context, KIND.name, self.card.as_deref())?.unwrap_or(self);
        let mut faults = Faults::new();
        if settings.names.is_empty() {
            let fault = picture::stage_fault(context, "missing-key", "the keypoints have no names");
            faults.push(fault.help("add `names: [nose, left_eye, …]`, in the model's order"));
        }
        let size = picture::size(context, settings.width, settings.height, &mut faults);
        let names = settings.names.iter().map(|name| Arc::from(name.as_str())).collect();
        let decoder = KeypointsDecoder { settings, names, size };
        faults.into_result(Box::new(decoder) as Box<dyn Blueprint>).map(|(blueprint, _)| blueprint)
    }
}

/// The best cell of a map: its middle, moved a quarter towards the better neighbours, in cells; and its value.
fn peak(map: &[f32], columns: usize) -> Option<(f32, f32, f32)> {
    let (place, best) = map.iter().copied().enumerate().reduce(|a, b| if b.1 > a.1 { b } else { a })?;
    let (column, row) = (place % columns, place / columns);
    let lean = |before: Option<f32>, after: Option<f32>| match (before, after) {
        (Some(before), Some(after)) if after > before => 0.25,
        (Some(before), Some(after)) if after < before => -0.25,
        _ => 0.0,
    };
    let at = |inside: bool, place: usize| inside.then(|| map.get(place).copied()).flatten();
    let x = lean(at(column > 0, place.wrapping_sub(1)), at(column + 1 < columns, place + 1));
    let y = lean(at(row > 0, place.wrapping_sub(columns)), at(true, place + columns));
    Some((column as f32 + 0.5 + x, row as f32 + 0.5 + y, best))
}

impl KeypointsDecoder {
    fn fits(&self, shape: &SymbolicShape) -> bool {
        let Some(dims) = shape.dims() else { return true };
        let is = |dim: Option<&crate::tensor::Dim>, sizes: &[usize]| {
            dim.is_some_and(|dim| dim.known().is_none_or(|known| sizes.contains(&known)))
        };
        match self.settings.form {
            KeypointForm::Heat => dims.len() == 4 && is(dims.first(), &[1]) && is(dims.get(1), &[self.names.len()]),
            KeypointForm::Points => {
                let Some((last, rest)) = dims.split_last() else { return false };
                let Some((points, ones)) = rest.split_last() else { return false };
                is(Some(last), &[2, 3])
                    && is(Some(points), &[self.names.len()])
                    && ones.iter().all(|dim| is(Some(dim), &[1]))
            }
        }
    }

    fn expected(&self) -> String {
        let count = self.names.len();
        match self.settings.form {
            KeypointForm::Heat => format!("[1, {count}, rows, columns]"),
            KeypointForm::Points => format!("[1, {count}, 2] or [1, {count}, 3]"),
        }
    }

    /// x, y and score of each, in the coordinates that the map leads from.
    fn points(&self, tensor: &Tensor, view: &View, start: Timestamp) -> Result<(Vec<[f32; 3]>, Affine), PictureError> {
        let values = numbers(tensor, POINTS, start)?;
        let wrong =
            || PictureError::Shape { start, port: POINTS, expected: self.expected(), found: tensor.shape().to_vec() };
        if !self.fits(&tensor.symbolic_shape()) || values.is_empty() {
            return Err(wrong());
        }
        let score = |value: f32| if self.settings.sigmoid { sigmoid(value) } else { value };
        match (self.settings.form, tensor.shape()) {
            (KeypointForm::Heat, &[_, _, rows, columns]) => {
                let peaks = values.chunks_exact(rows * columns).filter_map(|map| peak(map, columns));
                let points = peaks.map(|(x, y, value)| [x, y, score(value)]).collect();
                Ok((points, view.from_grid(columns, rows).unwrap_or_default()))
            }
            (KeypointForm::Points, shape) => {
                let width = shape.last().copied().unwrap_or(2);
                let point = |values: &[f32]| {
                    let (x, y) = self.settings.order.xy(*values.first()?, *values.get(1)?);
                    Some([x, y, values.get(2).map_or(1.0, |value| score(*value))])
                };
                let map = match self.settings.unit {
                    Unit::Pixels => view.place.to_frame,
                    Unit::Shares => view.from_grid(1, 1).unwrap_or_default(),
                };
                Ok((values.chunks_exact(width).filter_map(point).collect(), map))
            }
            _ => Err(wrong()),
        }
    }

    fn decode(&self, packet: &Packet) -> Result<Regions, StageError> {
        let tensor = packet.payload.tensor().map_err(StageError::skip)?;
        let view = picture::view_of(std::slice::from_ref(packet), self.size).map_err(StageError::skip)?;
        let (points, to_frame) = self.points(tensor, &view, packet.start).map_err(StageError::skip)?;
        let keypoint = |(place, [x, y, score]): (usize, &[f32; 3])| Keypoint {
            point: Point { x: *x, y: *y }.mapped(&to_frame),
            score: *score,
            name: self.names.get(place).cloned(),
        };
        let keypoints: Arc<[Keypoint]> = points.iter().enumerate().map(keypoint).collect();
        let finite = |point: &Point| point.x.is_finite() && point.y.is_finite();
        let sure: Vec<&Keypoint> = keypoints
            .iter()
            .filter(|keypoint| keypoint.score >= self.settings.threshold && finite(&keypoint.point))
            .collect();
        let around = sure.iter().map(|keypoint| Rect { x: keypoint.point.x, y: keypoint.point.y, ..Rect::default() });
        let around = around.reduce(|a, b| {
            let corner = Point { x: a.x.min(b.x), y: a.y.min(b.y) };
            Rect::from_corners(corner, Point { x: a.right().max(b.x), y: a.bottom().max(b.y) })
        });
        let score = sure.iter().map(|keypoint| keypoint.score).sum::<f32>() / sure.len().max(1) as f32;
        let region = around.map(|bounds| {
            let mut region = Region::new(bounds, score);
            region.keypoints = keypoints.clone();
            region
        });
        let (frame_width, frame_height) = (view.place.frame_width, view.place.frame_height);
        Ok(Regions { frame_width, frame_height, entries: region.into_iter().collect() })
    }
}

impl Blueprint for KeypointsDecoder {
    fn contract(&self) -> Contract {
        let points = Format::Tensor { dtype: Some(DType::F32), shape: SymbolicShape::Unranked };
        let points = match self.settings.form {
            KeypointForm::Points => points,
            KeypointForm::Heat => {
                use crate::tensor::Dim::{Any, Known};
                let shape = SymbolicShape::Ranked(vec![Known(1), Known(self.names.len()), Any, Any]);
                Format::Tensor { dtype: Some(DType::F32), shape }
            }
        };
        Contract::new().input(POINTS, points).output("regions")
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        match inputs.first() {
            Some(found @ Format::Tensor { shape, .. }) if !self.fits(shape) => Err(vec![ContractFault {
                port: POINTS.to_owned(),
                expected: format!("tensor f32 {}", self.expected()),
                found: found.to_string(),
                help: Some("give as many `names` as the model tells keypoints, and the `form` that it has".to_owned()),
            }]),
            _ => Ok(vec![Format::Regions]),
        }
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(self.clone()))
    }
}

impl Stage for KeypointsDecoder {
    type State = ();

    fn open(&mut self, _: &StreamInfo, _: &[Format]) -> Result<Opened<()>, StageError> {
        Ok(Opened { state: (), outputs: vec![Format::Regions] })
    }

    fn process(&mut self, _: &mut (), input: Input, out: &mut Output) -> Result<(), StageError> {
        let regions = self.decode(&input.packet)?;
        if let Some(draft) = draft_of(std::slice::from_ref(&input.packet), regions) {
            out.emit(0, draft);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::trial::{open, packet, read, regions, seen};
    use super::*;
    use crate::media::Place;

    /// Two pixels of the frame for each of the picture's 8 × 4, from (10, 20) on.
    fn view() -> View {
        let to_frame = Affine::translation(10.0, 20.0).after(&Affine::scale(2.0, 2.0));
        View { width: 8, height: 4, place: Place { to_frame, frame_width: 64, frame_height: 48 } }
    }

    /// Box and score of the region, and x, y and score of its keypoints.
    fn run(yaml: &str, shape: &[usize], values: &[f32]) -> Option<([f32; 4], f32, Vec<[f32; 3]>)> {
        let blueprint = read(&KIND, yaml).unwrap_or_else(|why| panic!("{yaml}: {why}"));
        let found = open(&*blueprint).push(0, seen(0, shape, values.to_vec(), view())).unwrap();
        let found = regions(&found);
        assert_eq!((found.frame_width, found.frame_height), (64, 48));
        let region = found.entries.first()?;
        let Rect { x, y, width, height } = region.bounds;
        let points = region.keypoints.iter().map(|keypoint| [keypoint.point.x, keypoint.point.y, keypoint.score]);
        Some(([x, y, width, height], region.score, points.collect()))
    }

    #[test]
    fn peaks_of_maps() {
        // 4 × 2 cells of 2 × 2 pixels: 4 × 4 in the frame.
        let nose = [0.0, 0.9, 0.3, 0.0, 0.0, 0.5, 0.0, 0.0];
        let hand = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.1, 0.2];
        let both = [nose, hand].concat();
        let (nose, hand) = ([10.0 + 4.0 * 1.75, 20.0 + 4.0 * 0.5, 0.9], [10.0 + 4.0 * 3.5, 20.0 + 4.0 * 1.5, 0.2]);
        let found = run("names: [nose, hand]", &[1, 2, 2, 4], &both).unwrap();
        assert_eq!(found.2, [nose, hand]);
        assert_eq!(found.0, [nose[0], nose[1], hand[0] - nose[0], hand[1] - nose[1]]);
        assert!((found.1 - 0.55).abs() < 1e-6);
        let found = run("names: [nose, hand]\nthreshold: 0.5", &[1, 2, 2, 4], &both).unwrap();
        assert_eq!((found.0, found.1, found.2.len()), ([nose[0], nose[1], 0.0, 0.0], 0.9, 2));
        assert_eq!(run("names: [nose, hand]\nthreshold: 0.95", &[1, 2, 2, 4], &both), None);
        let found = run("names: [a]\nsigmoid: true", &[1, 1, 1, 1], &[0.0]).unwrap();
        assert_eq!(found.2, [[10.0 + 8.0, 20.0 + 4.0, 0.5]]);
    }

    #[test]
    fn coordinates() {
        let points = "form: points\nnames: [a, b]\n";
        for (keys, shape, values, expected) in [
            ("", &[1, 2, 2][..], &[1.0, 2.0, 3.0, 4.0][..], [[12.0, 24.0, 1.0], [16.0, 28.0, 1.0]]),
            ("order: yx\n", &[1, 1, 2, 3], &[2.0, 1.0, 0.5, 4.0, 3.0, 0.25], [[12.0, 24.0, 0.5], [16.0, 28.0, 0.25]]),
            ("unit: shares\n", &[2, 2], &[0.0, 0.0, 1.0, 0.5], [[10.0, 20.0, 1.0], [26.0, 24.0, 1.0]]),
        ] {
            let found = run(&format!("{points}{keys}"), shape, values).unwrap();
            assert_eq!(found.2, expected, "{keys}");
        }
        // A point that is nowhere is told, and left out of the box.
        let found = run(points, &[1, 2, 2], &[1.0, 2.0, f32::INFINITY, 4.0]).unwrap();
        assert_eq!(found.0, [12.0, 24.0, 0.0, 0.0]);
    }

    #[test]
    fn tensors_that_do_not_fit_are_skipped_and_the_stream_goes_on() {
        let mut solo = open(&*read(&KIND, "names: [a, b]").unwrap());
        for (input, says) in [
            (
                seen(0, &[1, 3, 1, 1], vec![0.0; 3], view()),
                "expected a tensor [1, 2, rows, columns], found [1, 3, 1, 1]",
            ),
            (seen(0, &[1, 2, 0, 1], vec![], view()), "found [1, 2, 0, 1]"),
            (seen(0, &[1, 2, 1, 1], vec![f32::NAN; 2], view()), "NaN (not a number) at place 0"),
            (packet(0, Tensor::new(vec![1, 2, 1, 1], vec![0.0f32; 2]).unwrap()), "know the picture"),
            (packet(0, Regions::default()), "expected a payload of tensor, found regions"),
        ] {
            let error = solo.push(0, input).unwrap_err();
            assert!(matches!(error, StageError::Skip(_)) && error.to_string().contains(says), "{error}");
        }
        assert_eq!(regions(&solo.push(0, seen(0, &[1, 2, 1, 1], vec![0.5; 2], view())).unwrap()).entries.len(), 1);
        let points = read(&KIND, "names: [a, b]\nform: points").unwrap();
        let tensor = |sizes: &[usize]| Format::Tensor { dtype: Some(DType::F32), shape: SymbolicShape::known(sizes) };
        for (sizes, fits) in
            [(&[1, 2, 3][..], true), (&[2, 2], true), (&[1, 3, 2], false), (&[2, 2, 2], false), (&[2], false)]
        {
            assert_eq!(points.outputs(&[tensor(sizes)]).is_ok(), fits, "{sizes:?}");
        }
    }

    #[test]
    fn faults_at_their_place() {
        for (yaml, says) in [
            ("", "the keypoints have no names"),
            ("names: [a]\nwidth: 3", "`width` is given without `height`"),
            ("names: [a]\nform: map", "heat"),
            ("card: blazeface", "the decoder `boxes`"),
        ] {
            let faults = read(&KIND, yaml).unwrap_err();
            assert!(faults.contains(says) && faults.contains("test.yaml:"), "{yaml}: {faults}");
        }
    }
}
