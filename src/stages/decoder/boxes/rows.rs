//! Boxes told one a row, free of anchors: the YOLO family, DETR, and models that suppress by themselves.

use schemars::JsonSchema;
use serde::Deserialize;

use super::find::Find;
use crate::dsp::picture::Bounds;

/// What the four numbers of a box are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BoxForm {
    /// Centre x and y, width, height.
    #[default]
    Centre,
    /// Left, top, width, height.
    Corner,
    /// Left, top, right, bottom.
    Corners,
}

/// What coordinates are told in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Pixels of the picture that the model reads.
    #[default]
    Pixels,
    /// Shares of its sides, 0 to 1.
    Shares,
}

/// How a row tells its class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClassForm {
    /// A score for each class.
    #[default]
    Scores,
    /// The score, then the number of the class.
    Number,
}

/// A box a row: its four numbers, with `objectness` how probable it is that there is anything, then what tells its class,
/// then x and y of each keypoint, and with `keypoint_scores` the score of each.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rows {
    /// Whether the tensor is [1, numbers, boxes], not [1, boxes, numbers] (YOLOv8 and later). Default: false.
    pub transposed: bool,
    /// What the four numbers of a box are. Default: centre.
    pub form: BoxForm,
    /// What coordinates are told in. Default: pixels.
    pub unit: Unit,
    /// Whether the fifth number is the probability that there is anything, by which scores are multiplied (YOLOv3 to
    /// YOLOv7). Default: false.
    pub objectness: bool,
    /// How a row tells its class. Default: scores.
    pub classes: ClassForm,
    /// Whether each keypoint has a third number, its score. Default: false.
    pub keypoint_scores: bool,
}

impl Rows {
    /// Numbers of a row besides those of the classes, with so many keypoints.
    pub(super) fn fixed(&self, keypoints: usize) -> usize {
        4 + usize::from(self.objectness) + keypoints * self.keypoint_width()
    }

    fn keypoint_width(&self) -> usize {
        if self.keypoint_scores { 3 } else { 2 }
    }

    /// The place of the first of the class's numbers.
    pub(super) fn class_start(&self) -> usize {
        4 + usize::from(self.objectness)
    }

    /// The box of a row, in `unit`.
    pub(super) fn find(&self, row: &[f32], keypoints: &[f32], score: f32, class: usize) -> Option<Find> {
        let &[a, b, c, d, ..] = row else { return None };
        let bounds = match self.form {
            BoxForm::Centre => Find::around((a, b), (c, d)),
            BoxForm::Corner => Bounds { x: a, y: b, width: c, height: d },
            BoxForm::Corners => Bounds { x: a, y: b, width: c - a, height: d - b },
        };
        let keypoint = |values: &[f32]| match *values {
            [x, y] => Some([x, y, 1.0]),
            [x, y, score] => Some([x, y, score]),
            _ => None,
        };
        let keypoints = keypoints.chunks_exact(self.keypoint_width()).filter_map(keypoint).collect();
        Some(Find { bounds, score, class, keypoints })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_box() {
        let plain = Rows::default();
        let of = |form| Rows { form, ..plain.clone() };
        for (rows, row, expected) in [
            (of(BoxForm::Centre), [5.0, 6.0, 4.0, 2.0], [3.0, 5.0, 4.0, 2.0]),
            (of(BoxForm::Corner), [5.0, 6.0, 4.0, 2.0], [5.0, 6.0, 4.0, 2.0]),
            (of(BoxForm::Corners), [5.0, 6.0, 9.0, 8.0], [5.0, 6.0, 4.0, 2.0]),
        ] {
            let found = rows.find(&row, &[1.0, 2.0, 3.0, 4.0], 0.5, 7).unwrap();
            let Bounds { x, y, width, height } = found.bounds;
            assert_eq!([x, y, width, height], expected, "{rows:?}");
            assert_eq!((found.score, found.class), (0.5, 7));
            assert_eq!(found.keypoints, [[1.0, 2.0, 1.0], [3.0, 4.0, 1.0]]);
        }
        let scored = Rows { keypoint_scores: true, objectness: true, ..plain };
        assert_eq!((scored.fixed(2), scored.class_start()), (11, 5));
        assert_eq!(scored.find(&[0.0; 4], &[1.0, 2.0, 0.25], 0.5, 0).unwrap().keypoints, [[1.0, 2.0, 0.25]]);
        assert_eq!(scored.find(&[0.0; 3], &[], 0.5, 0), None);
    }
}
