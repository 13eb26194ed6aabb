//! `boxes`: what a detector found, and where in the frame.
//!
//! Use it after a detector that tells boxes in one of three ways, each with its key:
//!
//! | key | for | input ports |
//! |---|---|---|
//! | `anchors` | SSD, BlazeFace: boxes as how far they are off from a grid of anchors | `boxes` [1, N, 4 + 2·keypoints], `scores` [1, N, classes] |
//! | `centers` | CenterNet, CenterFace: maps of where centres are | `heat` [1, classes, rows, columns], `size` and `offset` [1, 2, rows, columns], with keypoints `keypoints` [1, 2·keypoints, rows, columns] |
//! | `rows` | YOLO, DETR: a box a row, free of anchors | `boxes` [1, N, numbers], or transposed |
//!
//! All are f32. Of each anchor or row the best class counts; with `centers` each class by itself. What is less probable
//! than `threshold` goes; of the rest the best 4096 stay, and of boxes of one class that overlap the best one
//! (non-maximum suppression, or a soft one).
//!
//! The result is a packet of regions, best first, in the pixels of the captured frame: back through every resize and crop
//! that the picture went through before the model. They may reach beyond the frame.
//!
//! A model's card can hold these keys, under `decoder`; then `card: NAME` is enough here.

mod anchors;
mod centers;
mod find;
mod rows;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

pub use self::anchors::{AnchorLayer, Anchors, MAX_ANCHORS};
pub use self::centers::{Centers, KeypointsFrom};
pub use self::find::Order;
use self::find::{Find, Found};
pub use self::rows::{BoxForm, ClassForm, Rows, Unit};
use super::picture::{self, PictureError, numbers, sigmoid};
use super::top_k::Activation;
use super::{Tokens, TokensError};
use crate::config::Faults;
use crate::dsp::picture::{Decay, nms, soft_nms};
use crate::media::{Affine, Format, Label, Packet, Region, Regions, StreamInfo, View};
use crate::stage::{
    Blueprint, Contract, ContractFault, Input, Kind, Opened, Output, ReadContext, Resolve, Role, Runnable, Stage,
    StageError,
};
use crate::stages::join::{Join, draft_of};
use crate::tensor::{DType, Dim, SymbolicShape, Tensor};
use crate::units::Timestamp;

/// The most boxes that are compared with each other.
pub const MAX_CANDIDATES: usize = 4096;

/// The keys of `boxes`: one of `anchors`, `centers` and `rows`, and what becomes of their boxes.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Boxes {
    /// The model whose card holds these keys under `decoder`: its name or its folder. The stage's own keys go first.
    pub card: Option<String>,
    /// Boxes as how far they are off from a grid of anchors.
    pub anchors: Option<Anchors>,
    /// Maps of where centres are.
    pub centers: Option<Centers>,
    /// A box a row.
    pub rows: Option<Rows>,
    /// What makes probabilities of the model's scores: `softmax`, `sigmoid` or `none`. Default: none.
    pub activation: Activation,
    /// Whether the first class of `anchors` or `rows` means that there is nothing; the others are then numbered from 0.
    pub background: bool,
    /// Boxes below this probability are left out.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub threshold: f32,
    /// What happens to a box that overlaps a better one of its class.
    pub nms: Suppression,
    /// The intersection over union from which on boxes overlap, for `hard` and `linear`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub iou: f64,
    /// How fast scores decay with `gaussian`: times exp(−IoU² / sigma).
    #[schemars(range(min = 0.001, max = 1000.0))]
    pub sigma: f64,
    /// How many boxes at most.
    #[schemars(range(min = 1, max = 4096))]
    pub most: usize,
    /// File of the classes' names, one a line. Without it a class has its number only.
    pub labels: Option<PathBuf>,
    /// The names of the keypoints that the model gives with each box, in its order. Default: none.
    #[schemars(length(max = 1000))]
    pub keypoints: Vec<String>,
    /// Pixels in a row of the picture that the model reads, where its numbers do not come from `to_tensor`.
    #[schemars(range(min = 1))]
    pub width: Option<u32>,
    /// Its rows.
    #[schemars(range(min = 1))]
    pub height: Option<u32>,
}

/// What happens to a box that overlaps a better one of its class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Suppression {
    /// It goes.
    #[default]
    Hard,
    /// Its score falls the more it overlaps: times 1 − IoU. Bodla et al., "Soft-NMS" (2017).
    Linear,
    /// Its score falls the more it overlaps: times exp(−IoU² / sigma). The same paper.
    Gaussian,
    /// It stays: the model suppresses by itself.
    None,
}

impl Default for Boxes {
    fn default() -> Self {
        Boxes {
            card: None,
            anchors: None,
            centers: None,
            rows: None,
            activation: Activation::None,
            background: false,
            threshold: 0.5,
            nms: Suppression::Hard,
            iou: 0.45,
            sigma: 0.5,
            most: 100,
            labels: None,
            keypoints: Vec::new(),
            width: None,
            height: None,
        }
    }
}

const EXAMPLE: &str = r#"percept: 1
name: faces
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
    anchors:
      scale: [128, 128, 128, 128]
      layers:
        - {columns: 16, rows: 16, sizes: [[1, 1], [1, 1]]}
        - {columns: 8, rows: 8, sizes: [[1, 1], [1, 1], [1, 1], [1, 1], [1, 1], [1, 1]]}
    keypoints: [right_eye, left_eye, nose, mouth, right_ear, left_ear]
    activation: sigmoid
    threshold: 0.5
    iou: 0.3
    width: 128
    height: 128
  - sink: jsonl
    path: "-"
"#;

/// The entry of the registry.
pub const KIND: Kind = Kind::resolved::<Boxes>("boxes", Role::Decoder, "what a detector found, and where", EXAMPLE);

/// How the model tells its boxes.
#[derive(Clone, Debug)]
enum Head {
    Anchors(Anchors, Arc<[[f32; 4]]>),
    Centers(Centers),
    Rows(Rows),
}

/// A [`Boxes`] with its anchors and labels.
#[derive(Clone, Debug)]
pub struct BoxesDecoder {
    settings: Boxes,
    head: Head,
    labels: Option<Tokens>,
    keypoints: Arc<[Arc<str>]>,
    size: Option<(u32, u32)>,
}

impl Resolve for Boxes {
    fn resolve(self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        let settings = picture::from_card::<Boxes>(context, KIND.name, self.card.as_deref())?.unwrap_or(self);
        let mut faults = Faults::new();
        let labels = settings.labels.as_ref().map(|path| Tokens::read(&context.settings.resolve(path)));
        let labels = labels.transpose().unwrap_or_else(|error| {
            let code = if matches!(error, TokensError::Read { .. }) { "missing-file" } else { "bad-labels" };
            faults.push(context.fault("labels", code, error.to_string()));
            None
        });
        let size = picture::size(context, settings.width, settings.height, &mut faults);
        let head = match (&settings.anchors, &settings.centers, &settings.rows) {
            (Some(anchors), None, None) => {
                let divisors = anchors.scale.iter().all(|value| value.is_finite() && *value != 0.0);
                if !divisors {
                    let fault = context.fault("anchors", "bad-scale", "`scale` divides, so none of it may be 0");
                    faults.push(fault);
                }
                if anchors.count() > MAX_ANCHORS {
                    let message = format!("the layers have {} anchors", anchors.count());
                    let fault = context.fault("anchors", "too-many-anchors", message);
                    faults.push(fault.expected(format!("at most {MAX_ANCHORS}")));
                }
                (anchors.count() <= MAX_ANCHORS).then(|| Head::Anchors(anchors.clone(), anchors.all().into()))
            }
            (None, Some(centers), None) => Some(Head::Centers(centers.clone())),
            (None, None, Some(rows)) => Some(Head::Rows(rows.clone())),
            (None, None, None) => {
                let fault = picture::stage_fault(context, "missing-key", "nothing says how the model tells its boxes");
                faults.push(
                    fault
                        .expected("one of `anchors`, `centers` and `rows`")
                        .help("or name the model's card: `card: NAME`"),
                );
                None
            }
            _ => {
                let message = "a model tells its boxes in one way, and here are two";
                faults.push(
                    picture::stage_fault(context, "two-heads", message)
                        .expected("one of `anchors`, `centers` and `rows`"),
                );
                None
            }
        };
        match head {
            Some(head) if faults.is_empty() => {
                let keypoints = settings.keypoints.iter().map(|name| Arc::from(name.as_str())).collect();
                Ok(Box::new(BoxesDecoder { settings, head, labels, keypoints, size }))
            }
            _ => Err(faults),
        }
    }
}

/// Ports of each head.
const ANCHORS: &[&str] = &["boxes", "scores"];
const CENTERS: &[&str] = &["heat", "size", "offset", "keypoints"];
const ROWS: &[&str] = &["boxes"];

impl BoxesDecoder {
    /// The names of the input ports.
    fn ports(&self) -> &'static [&'static str] {
        match self.head {
            Head::Anchors(..) => ANCHORS,
            Head::Centers(_) if self.keypoints.is_empty() => &CENTERS[..3],
            Head::Centers(_) => CENTERS,
            Head::Rows(_) => ROWS,
        }
    }

    /// The shape of each port; the last sizes are unknown where only the model knows them.
    fn shape(&self, port: usize) -> Vec<Dim> {
        let (one, points) = (Dim::Known(1), self.keypoints.len());
        let classes = || match self.labels.as_ref() {
            Some(labels) => Dim::Known(labels.len() + usize::from(self.settings.background)),
            None => Dim::Any,
        };
        match (&self.head, port) {
            (Head::Anchors(_, all), 0) => vec![one, Dim::Known(all.len()), Dim::Known(4 + 2 * points)],
            (Head::Anchors(_, all), _) => vec![one, Dim::Known(all.len()), classes()],
            (Head::Centers(_), 0) => vec![one, classes(), Dim::Any, Dim::Any],
            (Head::Centers(_), 3) => vec![one, Dim::Known(2 * points), Dim::Any, Dim::Any],
            (Head::Centers(_), _) => vec![one, Dim::Known(2), Dim::Any, Dim::Any],
            (Head::Rows(rows), _) => {
                let width = match (rows.classes, classes()) {
                    (ClassForm::Number, _) => Dim::Known(rows.fixed(points) + 2),
                    (ClassForm::Scores, Dim::Known(classes)) => Dim::Known(rows.fixed(points) + classes),
                    _ => Dim::Any,
                };
                if rows.transposed { vec![one, width, Dim::Any] } else { vec![one, Dim::Any, width] }
            }
        }
    }

    /// Whether a packet is one for the port: before it waits for others, as the error is its own.
    fn check(&self, port: usize, packet: &Packet) -> Result<(), StageError> {
        let tensor = packet.payload.tensor().map_err(StageError::skip)?;
        let name = self.ports().get(port).copied().unwrap_or("boxes");
        tensor
            .as_slice::<f32>()
            .map_err(|error| StageError::skip(PictureError::Tensor { start: packet.start, port: name, error }))?;
        let expected = SymbolicShape::Ranked(self.shape(port));
        match expected.accepts(&tensor.symbolic_shape()) {
            Ok(()) => Ok(()),
            Err(_) => Err(StageError::skip(self.wrong(port, expected.to_string(), tensor, packet.start))),
        }
    }

    fn wrong(&self, port: usize, expected: String, tensor: &Tensor, start: Timestamp) -> PictureError {
        let port = self.ports().get(port).copied().unwrap_or("boxes");
        PictureError::Shape { start, port, expected, found: tensor.shape().to_vec() }
    }

    /// What is at least as probable as the threshold, in the coordinates of the head.
    fn found(&self, tensors: &[&Tensor], view: &View, start: Timestamp) -> Result<Found, PictureError> {
        let mut values = Vec::with_capacity(tensors.len());
        for (port, tensor) in tensors.iter().enumerate() {
            // Only what decides is looked through; a box that is no box is left out later.
            let name = self.ports().get(port).copied().unwrap_or("boxes");
            let decides =
                matches!((&self.head, port), (Head::Anchors(..), 1) | (Head::Centers(_), 0) | (Head::Rows(_), _));
            values.push(match decides {
                true => numbers(tensor, name, start)?,
                false => tensor.as_slice().map_err(|error| PictureError::Tensor { start, port: name, error })?,
            });
        }
        let shares = || view.from_grid(1, 1).unwrap_or_default();
        let size = |port: usize, axis: usize| {
            tensors.get(port).and_then(|tensor| tensor.shape().get(axis)).copied().unwrap_or(0)
        };
        Ok(match (&self.head, &*values) {
            (Head::Anchors(anchors, all), [boxes, scores]) => {
                let (width, classes) = (size(0, 2).max(1), size(1, 2).max(1));
                let rows = all.iter().zip(boxes.chunks_exact(width)).zip(scores.chunks_exact(classes));
                let find = |((anchor, values), scores)| {
                    let (class, score) = self.best(scores, 1.0)?;
                    anchors.find(anchor, values, score, class)
                };
                Found { finds: rows.filter_map(find).collect(), to_frame: shares() }
            }
            (Head::Centers(centers), [heat, size_map, offset, rest @ ..]) => {
                let (rows, columns) = (size(0, 2), size(0, 3));
                for (port, tensor) in tensors.iter().enumerate() {
                    if (size(port, 2), size(port, 3)) != (rows, columns) {
                        let expected = format!("with maps of {rows} × {columns}, as `heat`");
                        return Err(self.wrong(port, expected, tensor, start));
                    }
                }
                let activated: Vec<f32>;
                let heat: &[f32] = match self.settings.activation {
                    Activation::None => heat,
                    // Maps of classes exclude nothing: each is a probability of its own.
                    _ => {
                        activated = heat.iter().copied().map(sigmoid).collect();
                        &activated
                    }
                };
                let keypoints = rest.first().copied().unwrap_or_default();
                let maps = centers::Maps { columns, rows, heat, size: size_map, offset, keypoints };
                let finds = if rows * columns == 0 { Vec::new() } else { centers.find(&maps, self.settings.threshold) };
                Found { finds, to_frame: view.from_grid(columns, rows).unwrap_or_default() }
            }
            (Head::Rows(rows), [boxes]) => {
                let to_frame = match rows.unit {
                    Unit::Pixels => view.place.to_frame,
                    Unit::Shares => shares(),
                };
                let (count, width) = match rows.transposed {
                    true => (size(0, 2), size(0, 1)),
                    false => (size(0, 1), size(0, 2)),
                };
                if width < rows.fixed(self.keypoints.len()) + 1 {
                    let least = rows.fixed(self.keypoints.len()) + 1;
                    let expected = format!("of at least {least} numbers a box");
                    return Err(tensors
                        .first()
                        .map_or(PictureError::NoPicture { start }, |tensor| self.wrong(0, expected, tensor, start)));
                }
                let mut row = vec![0.0; width];
                let mut finds = Vec::new();
                for number in 0..count {
                    for (place, value) in row.iter_mut().enumerate() {
                        let at = if rows.transposed { place * count + number } else { number * width + place };
                        *value = boxes.get(at).copied().unwrap_or(0.0);
                    }
                    finds.extend(self.row(rows, &row));
                }
                Found { finds, to_frame }
            }
            _ => Found { finds: Vec::new(), to_frame: Affine::IDENTITY },
        })
    }

    /// What a row of [`Rows`] tells, when it is probable enough.
    fn row(&self, rows: &Rows, row: &[f32]) -> Option<Find> {
        let first = rows.class_start();
        let last = row.len().checked_sub(rows.fixed(self.keypoints.len()) - first)?;
        let (classes, keypoints) = (row.get(first..last)?, row.get(last..)?);
        let present = match (rows.objectness, self.settings.activation) {
            (false, _) => 1.0,
            (true, Activation::None) => *row.get(4)?,
            (true, _) => sigmoid(*row.get(4)?),
        };
        let (class, score) = match (rows.classes, classes) {
            (ClassForm::Scores, classes) => self.best(classes, present)?,
            (ClassForm::Number, [score, class]) => {
                let (_, score) = self.best(std::slice::from_ref(score), present)?;
                // The cast saturates; a class that is no whole number from 0 on is none.
                (*class >= 0.0 && class.fract() == 0.0).then_some((*class as usize, score))?
            }
            _ => return None,
        };
        rows.find(row, keypoints, score, class)
    }

    /// The best class and its probability, when that reaches the threshold.
    fn best(&self, scores: &[f32], present: f32) -> Option<(usize, f32)> {
        let background = self.settings.background && scores.len() > 1;
        let own = if background { scores.get(1..)? } else { scores };
        let (class, best) = own.iter().copied().enumerate().reduce(|a, b| if b.1 > a.1 { b } else { a })?;
        let score = present
            * match self.settings.activation {
                Activation::None => best,
                Activation::Sigmoid => sigmoid(best),
                Activation::Softmax => 1.0 / scores.iter().map(|score| (score - best).exp()).sum::<f32>(),
            };
        (score >= self.settings.threshold).then_some((class, score))
    }

    /// The boxes that stay, best first, each with its score.
    fn kept(&self, finds: &mut Vec<Find>) -> Vec<(usize, f32)> {
        finds.retain(|find| find.bounds.is_proper() && find.score.is_finite());
        // Stable: of equal scores the first stays the first.
        finds.sort_by(|a, b| b.score.total_cmp(&a.score));
        finds.truncate(MAX_CANDIDATES);
        let candidates: Vec<_> = finds.iter().map(Find::candidate).collect();
        let Boxes { iou, sigma, threshold, most, .. } = self.settings;
        let with_score = |place: usize| Some((place, candidates.get(place)?.score));
        match self.settings.nms {
            Suppression::Hard => nms(&candidates, iou, most).into_iter().filter_map(with_score).collect(),
            Suppression::None => (0..candidates.len().min(most)).filter_map(with_score).collect(),
            Suppression::Linear => soft_nms(&candidates, Decay::Linear { threshold: iou }, threshold, most),
            Suppression::Gaussian => soft_nms(&candidates, Decay::Gaussian { sigma }, threshold, most),
        }
    }

    /// The regions of one picture.
    fn decode(&self, packets: &[Packet]) -> Result<Regions, StageError> {
        let start = packets.first().map_or(Timestamp::ZERO, |packet| packet.start);
        let view = picture::view_of(packets, self.size).map_err(StageError::skip)?;
        let mut tensors = Vec::with_capacity(packets.len());
        for packet in packets {
            tensors.push(packet.payload.tensor().map_err(StageError::skip)?);
        }
        let mut found = self.found(&tensors, &view, start).map_err(StageError::skip)?;
        let kept = self.kept(&mut found.finds);
        let region = |(place, score): (usize, f32)| -> Option<Region> {
            let find = found.finds.get(place)?;
            let mut region = find.region(score, &self.keypoints, &found.to_frame);
            let name = self.labels.as_ref().and_then(|labels| labels.get(find.class)).cloned();
            region.label = Some(Label { index: find.class, name, score });
            Some(region)
        };
        Ok(Regions {
            frame_width: view.place.frame_width,
            frame_height: view.place.frame_height,
            entries: kept.into_iter().filter_map(region).collect(),
        })
    }
}

impl Blueprint for BoxesDecoder {
    fn contract(&self) -> Contract {
        let port =
            |port: usize| Format::Tensor { dtype: Some(DType::F32), shape: SymbolicShape::Ranked(self.shape(port)) };
        let add = |contract: Contract, (place, name): (usize, &&str)| contract.input(*name, port(place));
        self.ports().iter().enumerate().fold(Contract::new(), add).output("regions")
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(vec![Format::Regions])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(self.clone()))
    }
}

impl Stage for BoxesDecoder {
    type State = Join;

    fn open(&mut self, _: &StreamInfo, _: &[Format]) -> Result<Opened<Join>, StageError> {
        Ok(Opened { state: Join::new(self.ports().len()), outputs: vec![Format::Regions] })
    }

    fn process(&mut self, join: &mut Join, input: Input, out: &mut Output) -> Result<(), StageError> {
        self.check(input.port, &input.packet)?;
        let Some(packets) = join.push(input.port, input.packet, out) else { return Ok(()) };
        let regions = self.decode(&packets)?;
        if let Some(draft) = draft_of(&packets, regions) {
            out.emit(0, draft);
        }
        Ok(())
    }

    fn flush(&mut self, join: &mut Join, out: &mut Output) -> Result<(), StageError> {
        join.give_up(out);
        Ok(())
    }

    fn hold_back(&self, join: &Join) -> Option<Timestamp> {
        join.hold_back()
    }
}
