//! `mask`: which pixels show what.
//!
//! Use it after a model that tells for each cell of a grid over the picture how probable each class is there: tensors f32
//! `[1, classes, rows, columns]`, or with `layout: nhwc` `[1, rows, columns, classes]`. With one class a cell belongs to it
//! from `threshold` on. With several the most probable one has the cell, if it is as probable as that.
//!
//! The result is a packet of regions, the largest first: for each class that is anywhere, the box around its cells, their
//! mean probability as score, and the mask. Coordinates are the captured frame's pixels, back through every resize and
//! crop. The mask has the grid of the model and knows how it lies over the frame; with `upsample` it has the frame's own
//! pixels, bilinear between the grid's.

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::picture::{self, PictureError, numbers, sigmoid};
use super::top_k::Activation;
use super::{Tokens, TokensError};
use crate::config::Faults;
use crate::dsp::picture::{TensorLayout, project};
use crate::media::{Affine, Format, Label, Mask, Packet, Rect, Region, Regions, StreamInfo, View};
use crate::stage::{
    Blueprint, Contract, ContractFault, Input, Kind, Opened, Output, ReadContext, Resolve, Role, Runnable, Stage,
    StageError,
};
use crate::stages::join::draft_of;
use crate::tensor::{DType, Dim, SymbolicShape, Tensor};
use crate::units::Timestamp;

const SCORES: &str = "scores";

/// The keys of `mask`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MaskConfig {
    /// The model whose card holds these keys under `decoder`: its name or its folder. The stage's own keys go first.
    pub card: Option<String>,
    /// `nchw` is [1, classes, rows, columns], `nhwc` is [1, rows, columns, classes]. Default: nchw.
    pub layout: TensorLayout,
    /// What makes probabilities of the model's scores: `softmax`, `sigmoid` or `none`. Default: none.
    pub activation: Activation,
    /// A cell belongs to its class from this probability on.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: f32,
    /// Whether class 0 of several means that there is nothing. Default: true.
    pub background: bool,
    /// Whether masks are brought to the size of the captured frame. Default: false.
    pub upsample: bool,
    /// Whether a mask tells how probable each of its cells is, 1 to 255, and not 255 for all. Default: true.
    pub graded: bool,
    /// The classes' names, in the model's order. Default: they have their numbers only.
    #[schemars(length(max = 10_000))]
    pub names: Vec<String>,
    /// File of the classes' names, one a line, instead of `names`.
    pub labels: Option<PathBuf>,
    /// Pixels in a row of the picture that the model reads, where its numbers do not come from `to_tensor`.
    #[schemars(range(min = 1, max = 65_536))]
    pub width: Option<u32>,
    /// Its rows.
    #[schemars(range(min = 1, max = 65_536))]
    pub height: Option<u32>,
}

impl Default for MaskConfig {
    fn default() -> Self {
        MaskConfig {
            card: None,
            layout: TensorLayout::Nchw,
            activation: Activation::None,
            threshold: 0.5,
            background: true,
            upsample: false,
            graded: true,
            names: Vec::new(),
            labels: None,
            width: None,
            height: None,
        }
    }
}

const EXAMPLE: &str = r#"percept: 1
name: persons
stages:
  - capture: images
    path: examples/photos
  - preprocess: to_tensor
    width: 256
    height: 256
    layout: nhwc
  - model: selfie-segmentation
  - decoder: mask
    layout: nhwc
    names: [person]
    width: 256
    height: 256
  - sink: jsonl
    path: "-"
"#;

/// The entry of the registry.
pub const KIND: Kind = Kind::resolved::<MaskConfig>("mask", Role::Decoder, "which pixels show what", EXAMPLE);

/// A [`MaskConfig`] whose names are known.
#[derive(Clone, Debug)]
pub struct MaskDecoder {
    settings: MaskConfig,
    names: Option<Tokens>,
    size: Option<(u32, u32)>,
}

impl Resolve for MaskConfig {
    fn resolve(self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        let settings = picture::from_card::<MaskConfig>(context, KIND.name, self.card.as_deref())?.unwrap_or(self);
        let mut faults = Faults::new();
        let names = match &settings.labels {
            Some(_) if !settings.names.is_empty() => {
                faults.push(context.fault("labels", "two-lists", "`names` and `labels` both name the classes"));
                None
            }
            Some(path) => match Tokens::read(&context.settings.resolve(path)) {
                Ok(names) => Some(names),
                Err(error) => {
                    let code = if matches!(error, TokensError::Read { .. }) { "missing-file" } else { "bad-labels" };
                    faults.push(context.fault("labels", code, error.to_string()));
                    None
                }
            },
            None => (!settings.names.is_empty()).then(|| Tokens::from_names(&settings.names)),
        };
        let size = picture::size(context, settings.width, settings.height, &mut faults);
        let decoder = MaskDecoder { settings, names, size };
        faults.into_result(Box::new(decoder) as Box<dyn Blueprint>).map(|(blueprint, _)| blueprint)
    }
}

/// Which class has each cell, and how probable it is.
struct Winners {
    columns: usize,
    rows: usize,
    /// `None` where there is nothing.
    cells: Vec<Option<(u16, f32)>>,
}

/// What is known of a class after one look at all cells.
#[derive(Clone, Copy)]
struct Extent {
    class: u16,
    cells: usize,
    sum: f64,
    left: usize,
    top: usize,
    right: usize,
    bottom: usize,
}

impl Winners {
    /// The classes that are anywhere, the largest first, then in their order.
    fn extents(&self) -> Vec<Extent> {
        let mut found: Vec<Extent> = Vec::new();
        for (place, cell) in self.cells.iter().enumerate() {
            let Some((class, score)) = *cell else { continue };
            let (x, y) = (place % self.columns, place / self.columns);
            let new = Extent { class, cells: 1, sum: score.into(), left: x, top: y, right: x + 1, bottom: y + 1 };
            match found.iter_mut().find(|extent| extent.class == class) {
                None => found.push(new),
                Some(extent) => {
                    extent.cells += 1;
                    extent.sum += f64::from(score);
                    extent.left = extent.left.min(x);
                    extent.right = extent.right.max(x + 1);
                    extent.bottom = extent.bottom.max(y + 1);
                }
            }
        }
        found.sort_by(|a, b| b.cells.cmp(&a.cells).then(a.class.cmp(&b.class)));
        found
    }
}

impl MaskDecoder {
    /// The shape of the tensors.
    fn shape(&self) -> SymbolicShape {
        let classes = self.names.as_ref().map_or(Dim::Any, |names| Dim::Known(names.len()));
        SymbolicShape::Ranked(match self.settings.layout {
            TensorLayout::Nchw => vec![Dim::Known(1), classes, Dim::Any, Dim::Any],
            TensorLayout::Nhwc => vec![Dim::Known(1), Dim::Any, Dim::Any, classes],
        })
    }

    /// The probabilities class by class, each `columns × rows`.
    fn planes(&self, tensor: &Tensor, start: Timestamp) -> Result<(Vec<Vec<f32>>, usize, usize), PictureError> {
        let values = numbers(tensor, SCORES, start)?;
        let shape =
            |expected: String| PictureError::Shape { start, port: SCORES, expected, found: tensor.shape().to_vec() };
        let expected = self.shape();
        expected.accepts(&tensor.symbolic_shape()).map_err(|_| shape(expected.to_string()))?;
        let &[_, a, b, c] = tensor.shape() else { return Err(shape(expected.to_string())) };
        let (classes, rows, columns) = match self.settings.layout {
            TensorLayout::Nchw => (a, b, c),
            TensorLayout::Nhwc => (c, a, b),
        };
        if values.is_empty() {
            return Err(shape("with at least one cell and one class".to_owned()));
        }
        if classes > usize::from(u16::MAX) {
            return Err(shape(format!("of at most {} classes", u16::MAX)));
        }
        let cells = rows * columns;
        let mut planes: Vec<Vec<f32>> = match self.settings.layout {
            TensorLayout::Nchw => values.chunks_exact(cells).map(<[f32]>::to_vec).collect(),
            TensorLayout::Nhwc => {
                (0..classes).map(|class| values.iter().skip(class).step_by(classes).copied().collect()).collect()
            }
        };
        match self.settings.activation {
            Activation::None => {}
            Activation::Sigmoid => planes.iter_mut().flatten().for_each(|value| *value = sigmoid(*value)),
            Activation::Softmax => {
                for cell in 0..cells {
                    let best = planes.iter().map(|plane| plane[cell]).fold(f32::NEG_INFINITY, f32::max);
                    // Infinite ones share what there is.
                    let weight = |value: f32| if value == best { 1.0 } else { (value - best).exp() };
                    let total: f32 = planes.iter().map(|plane| weight(plane[cell])).sum();
                    planes.iter_mut().for_each(|plane| plane[cell] = weight(plane[cell]) / total);
                }
            }
        }
        Ok((planes, columns, rows))
    }

    /// Which class has each cell of a grid into which `to_grid` leads; of the grid itself without it.
    fn winners(&self, planes: &[Vec<f32>], grid: (usize, usize), output: Option<((u32, u32), Affine)>) -> Winners {
        let (columns, rows) = output.map_or(grid, |((width, height), _)| (width as usize, height as usize));
        let nothing = self.settings.background && planes.len() > 1;
        let mut best: Vec<Option<(u16, f32)>> = vec![None; columns.saturating_mul(rows)];
        let mut seen = vec![0.0; if output.is_some() { best.len() } else { 0 }];
        for (class, plane) in (0..).zip(planes) {
            let values = match output {
                None => plane,
                Some((_, to_grid)) => match project(plane, grid, to_grid.rows(), columns.max(1), &mut seen) {
                    Ok(()) => &seen,
                    Err(_) => continue,
                },
            };
            for (best, value) in best.iter_mut().zip(values) {
                if best.is_none_or(|(_, most)| *value > most) {
                    *best = Some((class, *value));
                }
            }
        }
        let least = self.settings.threshold.max(f32::MIN_POSITIVE);
        let counts = |cell: &(u16, f32)| cell.1 >= least && !(nothing && cell.0 == 0);
        best.iter_mut().for_each(|cell| *cell = cell.filter(counts));
        Winners { columns, rows, cells: best }
    }

    fn decode(&self, packet: &Packet) -> Result<Regions, StageError> {
        let start = packet.start;
        let tensor = packet.payload.tensor().map_err(StageError::skip)?;
        let (planes, columns, rows) = self.planes(tensor, start).map_err(StageError::skip)?;
        let view = picture::view_of(std::slice::from_ref(packet), self.size).map_err(StageError::skip)?;
        let grid_to_frame = view.from_grid(columns, rows).unwrap_or_default();
        let back = grid_to_frame.inverse().filter(|_| self.settings.upsample);
        let (winners, to_frame) = match back {
            Some(to_grid) => {
                let frame = (view.place.frame_width, view.place.frame_height);
                (self.winners(&planes, (columns, rows), Some((frame, to_grid))), Affine::IDENTITY)
            }
            None => (self.winners(&planes, (columns, rows), None), grid_to_frame),
        };
        let entries = winners.extents().iter().map(|extent| self.region(&winners, extent, &to_frame)).collect();
        let View { place, .. } = view;
        Ok(Regions { frame_width: place.frame_width, frame_height: place.frame_height, entries })
    }

    fn region(&self, winners: &Winners, extent: &Extent, to_frame: &Affine) -> Region {
        let value = |cell: &Option<(u16, f32)>| match *cell {
            Some((class, score)) if class == extent.class => match self.settings.graded {
                true => (score.clamp(0.0, 1.0) * 255.0).round().max(1.0) as u8,
                false => 255,
            },
            _ => 0,
        };
        let values: Vec<u8> = winners.cells.iter().map(value).collect();
        let bounds = Rect {
            x: extent.left as f32,
            y: extent.top as f32,
            width: (extent.right - extent.left) as f32,
            height: (extent.bottom - extent.top) as f32,
        };
        let score = (extent.sum / extent.cells as f64) as f32;
        let mut region = Region::new(bounds.mapped(to_frame), score);
        let name: Option<Arc<str>> = self.names.as_ref().and_then(|names| names.get(extent.class.into())).cloned();
        region.label = Some(Label { index: extent.class.into(), name, score });
        let (width, height) = (winners.columns as u32, winners.rows as u32);
        region.mask = Some(Mask { width, height, values: values.into(), to_frame: *to_frame });
        region
    }
}

impl Blueprint for MaskDecoder {
    fn contract(&self) -> Contract {
        let scores = Format::Tensor { dtype: Some(DType::F32), shape: self.shape() };
        Contract::new().input(SCORES, scores).output("regions")
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(vec![Format::Regions])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(self.clone()))
    }
}

impl Stage for MaskDecoder {
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
    use crate::media::{Place, Point};

    fn run(yaml: &str, shape: &[usize], values: &[f32], view: View) -> Regions {
        let blueprint = read(&KIND, yaml).unwrap_or_else(|why| panic!("{yaml}: {why}"));
        regions(&open(&*blueprint).push(0, seen(0, shape, values.to_vec(), view)).unwrap()).clone()
    }

    /// Class, cells of the mask, and box, in tenths.
    fn short(regions: &Regions) -> Vec<(usize, Vec<u8>, [f32; 4])> {
        let one = |region: &Region| {
            let Rect { x, y, width, height } = region.bounds;
            (region.label.as_ref().unwrap().index, region.mask.as_ref().unwrap().values.to_vec(), [x, y, width, height])
        };
        regions.entries.iter().map(one).collect()
    }

    #[test]
    fn one_class_from_a_threshold_on() {
        let values = [0.2, 0.6, 0.5, 0.8, 0.0, 0.3];
        for (keys, shape, mask) in [
            ("", [1, 1, 2, 3], [0u8, 153, 128, 204, 0, 0]),
            ("layout: nhwc\n", [1, 2, 3, 1], [0, 153, 128, 204, 0, 0]),
            ("graded: false\n", [1, 1, 2, 3], [0, 255, 255, 255, 0, 0]),
        ] {
            let found = run(keys, &shape, &values, View::whole(30, 20));
            assert_eq!(short(&found), [(0, mask.to_vec(), [0.0, 0.0, 30.0, 20.0])], "{keys}");
            assert!((found.entries[0].score - 1.9 / 3.0).abs() < 1e-6);
        }
        let found = run("threshold: 0.7\n", &[1, 1, 2, 3], &values, View::whole(30, 20));
        assert_eq!(short(&found), [(0, vec![0, 0, 0, 204, 0, 0], [0.0, 10.0, 10.0, 10.0])]);
        assert!(run("threshold: 0.9\n", &[1, 1, 2, 3], &values, View::whole(30, 20)).entries.is_empty());
        // Nothing is nothing, whatever the threshold.
        assert!(run("threshold: 0\n", &[1, 1, 1, 1], &[0.0], View::whole(30, 20)).entries.is_empty());
    }

    #[test]
    fn the_most_probable_class_has_the_cell() {
        // Three classes on two cells, class by class.
        let values = [0.1, 0.6, 0.7, 0.2, 0.2, 0.2];
        let found = run("names: [nothing, cat, dog]\ngraded: false\n", &[1, 3, 1, 2], &values, View::whole(2, 1));
        assert_eq!(short(&found), [(1, vec![255, 0], [0.0, 0.0, 1.0, 1.0])]);
        assert_eq!(found.entries[0].label.as_ref().unwrap().name.as_deref(), Some("cat"));
        let keys = "layout: nhwc\nbackground: false\nactivation: softmax\nthreshold: 0\n";
        let found = run(keys, &[1, 1, 2, 3], &[0.0, 2.0, 0.0, 5.0, f32::NEG_INFINITY, 0.0], View::whole(2, 1));
        let softmax = |best: f32, rest: f32| (255.0 * best.exp() / (best.exp() + rest)).round() as u8;
        assert_eq!(
            short(&found),
            [
                (0, vec![0, softmax(5.0, 1.0)], [1.0, 0.0, 1.0, 1.0]),
                (1, vec![softmax(2.0, 2.0), 0], [0.0, 0.0, 1.0, 1.0]),
            ]
        );
        let found = run("background: false\nactivation: sigmoid\n", &[1, 2, 1, 1], &[1.0, 2.0], View::whole(2, 1));
        assert_eq!(short(&found)[0].1, [(255.0 / (1.0 + (-2.0f32).exp())).round() as u8]);
    }

    #[test]
    fn masks_lie_over_the_frame() {
        // A crop of 4 × 2 pixels at (10, 20), shown to the model as it is; its right half is found.
        let place = Place { to_frame: Affine::translation(10.0, 20.0), frame_width: 16, frame_height: 24 };
        let view = View { width: 4, height: 2, place };
        let found = run("", &[1, 1, 1, 2], &[0.0, 1.0], view);
        let mask = found.entries[0].mask.as_ref().unwrap();
        assert_eq!(found.entries[0].bounds, Rect { x: 12.0, y: 20.0, width: 2.0, height: 2.0 });
        assert_eq!((mask.width, mask.height), (2, 1));
        for (x, y, value) in [(11.9, 20.5, 0), (12.1, 20.5, 255), (13.9, 21.9, 255), (14.1, 20.5, 0), (13.0, 22.1, 0)] {
            assert_eq!(mask.at(Point { x, y }), value, "{x} {y}");
        }
        let found = run("upsample: true\n", &[1, 1, 1, 2], &[0.0, 1.0], view);
        let mask = found.entries[0].mask.as_ref().unwrap();
        assert_eq!((mask.width, mask.height, mask.to_frame), (16, 24, Affine::IDENTITY));
        // Between the middles of the two cells, 2 pixels apart, it rises from 0 to 1.
        let line: Vec<u8> = (8..16).map(|x| mask.at(Point { x: x as f32 + 0.5, y: 21.5 })).collect();
        assert_eq!(line, [0, 0, 0, 0, 191, 255, 0, 0]);
        assert_eq!(found.entries[0].bounds, Rect { x: 12.0, y: 20.0, width: 2.0, height: 2.0 });
    }

    #[test]
    fn tensors_that_do_not_fit_are_skipped_and_the_stream_goes_on() {
        let blueprint = read(&KIND, "names: [a, b]\n").unwrap();
        let mut solo = open(&*blueprint);
        let whole = View::whole(4, 4);
        for (input, says) in [
            (seen(0, &[1, 3, 1, 1], vec![0.0; 3], whole), "expected a tensor [1, 2, ?, ?], found [1, 3, 1, 1]"),
            (seen(0, &[2, 1, 1], vec![0.0; 2], whole), "found [2, 1, 1]"),
            (seen(0, &[1, 2, 0, 4], vec![], whole), "with at least one cell"),
            (seen(0, &[1, 2, 1, 1], vec![0.0, f32::NAN], whole), "NaN (not a number) at place 1"),
            (packet(0, Tensor::new(vec![1, 2, 1, 1], vec![0.0f32; 2]).unwrap()), "know the picture"),
            (packet(0, Tensor::new(vec![1, 2, 1, 1], vec![0i64; 2]).unwrap()), "f32"),
            (packet(0, Regions::default()), "expected a payload of tensor, found regions"),
        ] {
            let error = solo.push(0, input).unwrap_err();
            assert!(matches!(error, StageError::Skip(_)) && error.to_string().contains(says), "{error}");
        }
        assert_eq!(regions(&solo.push(0, seen(0, &[1, 2, 1, 1], vec![0.0, 0.9], whole)).unwrap()).entries.len(), 1);
    }

    #[test]
    fn faults_at_their_place() {
        for yaml in ["{}", "card: selfie-segmentation", "names: [a]", "card: selfie-segmentation\nupsample: true"] {
            read(&KIND, yaml).unwrap_or_else(|why| panic!("{yaml}: {why}"));
        }
        for (yaml, says) in [
            ("labels: nowhere.txt", "nowhere.txt"),
            ("labels: nowhere.txt\nnames: [a]", "both name the classes"),
            ("height: 4", "`height` is given without `width`"),
            ("card: blazeface", "the decoder `boxes`"),
            ("threshold: 1.5", "threshold"),
            ("upsampel: true", "did you mean `upsample`?"),
        ] {
            let faults = read(&KIND, yaml).unwrap_err();
            assert!(faults.contains(says) && faults.contains("test.yaml:"), "{yaml}: {faults}");
        }
    }
}
