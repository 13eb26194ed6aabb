//! What a head of a detector finds, before it is told in the frame's pixels.

use crate::dsp::picture::{Bounds, Candidate};
use crate::media::{Affine, Keypoint, Point, Rect, Region};
use std::sync::Arc;

/// The order of two coordinates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// x, then y; width, then height.
    #[default]
    Xy,
    /// y, then x; height, then width.
    Yx,
}

impl Order {
    /// The two numbers as (x, y).
    pub(in crate::stages::decoder) fn xy(self, first: f32, second: f32) -> (f32, f32) {
        match self {
            Order::Xy => (first, second),
            Order::Yx => (second, first),
        }
    }
}

/// One thing that was found, in the coordinates of its head.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Find {
    pub bounds: Bounds,
    pub score: f32,
    pub class: usize,
    /// x, y and score of each.
    pub keypoints: Vec<[f32; 3]>,
}

/// What was found, and the map from the head's coordinates to the frame.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    pub finds: Vec<Find>,
    pub to_frame: Affine,
}

impl Find {
    /// Bounds by their centre.
    pub fn around((x, y): (f32, f32), (width, height): (f32, f32)) -> Bounds {
        Bounds { x: x - width / 2.0, y: y - height / 2.0, width, height }
    }

    pub fn candidate(&self) -> Candidate {
        Candidate { bounds: self.bounds, score: self.score, class: self.class }
    }

    /// The region in the frame, with this score and these names of the keypoints.
    pub fn region(&self, score: f32, names: &[Arc<str>], to_frame: &Affine) -> Region {
        let Bounds { x, y, width, height } = self.bounds;
        let mut region = Region::new(Rect { x, y, width, height }, score);
        let keypoint = |(place, [x, y, score]): (usize, &[f32; 3])| Keypoint {
            point: Point { x: *x, y: *y },
            score: *score,
            name: names.get(place).cloned(),
        };
        region.keypoints = self.keypoints.iter().enumerate().map(keypoint).collect();
        region.mapped(to_frame)
    }
}
