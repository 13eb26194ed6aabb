//! Boxes told as how far they are off from anchors: SSD, BlazeFace.

use schemars::JsonSchema;
use serde::Deserialize;

use super::find::{Find, Order};
use crate::dsp::picture::Bounds;

/// The most anchors that a grid may have.
pub const MAX_ANCHORS: usize = 1_000_000;

/// A grid of anchors. Each row of the tensor is how far one box is off from its anchor: x, y, width, height, and then x
/// and y of each keypoint. Liu et al., "SSD: Single Shot MultiBox Detector" (2016), section 2.2.
///
/// With an anchor at (ax, ay) of size (aw, ah), in shares of the picture, the box's centre is x / scale₀ · aw + ax, y /
/// scale₁ · ah + ay, its size width / scale₂ · aw, height / scale₃ · ah, or with `exponential` exp(width / scale₂) · aw
/// and so on. Keypoints are as the centre.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Anchors {
    /// The grids, in the order of the tensor's rows.
    #[schemars(length(min = 1, max = 16))]
    pub layers: Vec<AnchorLayer>,
    /// What x, y, width and height are divided by. Default: 1 each. SSD: [10, 10, 5, 5]; BlazeFace: 128 each.
    #[serde(default = "ones")]
    pub scale: [f32; 4],
    /// Whether the size is told by its logarithm. Default: false.
    #[serde(default)]
    pub exponential: bool,
    /// Which of two coordinates comes first. Default: xy.
    #[serde(default)]
    pub order: Order,
}

/// One grid of anchors over the whole picture, row by row from the top left; at each cell's middle all `sizes`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AnchorLayer {
    /// Cells in a row.
    #[schemars(range(min = 1, max = 4096))]
    pub columns: usize,
    /// Rows of cells.
    #[schemars(range(min = 1, max = 4096))]
    pub rows: usize,
    /// Width and height of the anchors at each cell, in shares of the picture's sides.
    #[schemars(length(min = 1, max = 64))]
    pub sizes: Vec<[f32; 2]>,
}

fn ones() -> [f32; 4] {
    [1.0; 4]
}

impl Anchors {
    /// How many anchors there are.
    pub fn count(&self) -> usize {
        let layer = |layer: &AnchorLayer| layer.columns.saturating_mul(layer.rows).saturating_mul(layer.sizes.len());
        self.layers.iter().map(layer).fold(0, usize::saturating_add)
    }

    /// Centre x and y, width and height of each anchor, in shares of the picture.
    pub(super) fn all(&self) -> Vec<[f32; 4]> {
        let mut all = Vec::with_capacity(self.count().min(MAX_ANCHORS));
        for layer in &self.layers {
            for row in 0..layer.rows {
                for column in 0..layer.columns {
                    let x = (column as f32 + 0.5) / layer.columns as f32;
                    let y = (row as f32 + 0.5) / layer.rows as f32;
                    all.extend(layer.sizes.iter().map(|[width, height]| [x, y, *width, *height]));
                }
            }
        }
        all
    }

    /// The box of a row, in shares of the picture; `values` holds 4 numbers and 2 for each keypoint.
    pub(super) fn find(&self, anchor: &[f32; 4], values: &[f32], score: f32, class: usize) -> Option<Find> {
        let [ax, ay, aw, ah] = *anchor;
        let [sx, sy, sw, sh] = self.scale;
        let point = |pair: &[f32]| {
            let (x, y) = self.order.xy(*pair.first()?, *pair.get(1)?);
            Some((x / sx * aw + ax, y / sy * ah + ay))
        };
        let (centre, rest) = (point(values.get(..2)?)?, values.get(4..)?);
        let (width, height) = self.order.xy(*values.get(2)?, *values.get(3)?);
        let (width, height) = (width / sw, height / sh);
        let size = match self.exponential {
            true => (width.exp() * aw, height.exp() * ah),
            false => (width * aw, height * ah),
        };
        let bounds: Bounds = Find::around(centre, size);
        let keypoints = rest.chunks_exact(2).filter_map(point).map(|(x, y)| [x, y, 1.0]).collect();
        Some(Find { bounds, score, class, keypoints })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blaze(columns: usize, each: usize) -> AnchorLayer {
        AnchorLayer { columns, rows: columns, sizes: vec![[1.0, 1.0]; each] }
    }

    #[test]
    fn anchors_lie_in_the_middle_of_their_cells_row_by_row() {
        let anchors = Anchors {
            layers: vec![blaze(16, 2), blaze(8, 6)],
            scale: [128.0; 4],
            exponential: false,
            order: Order::Xy,
        };
        let all = anchors.all();
        assert_eq!((anchors.count(), all.len()), (896, 896));
        for (place, x, y) in [(0, 0.5, 0.5), (1, 0.5, 0.5), (2, 1.5, 0.5), (32, 0.5, 1.5), (511, 15.5, 15.5)] {
            assert_eq!(all[place], [x / 16.0, y / 16.0, 1.0, 1.0], "{place}");
        }
        assert_eq!(all[512], [0.0625, 0.0625, 1.0, 1.0]);
        let huge = Anchors { layers: vec![blaze(usize::MAX, 2)], ..anchors };
        assert_eq!(huge.count(), usize::MAX);
    }

    #[test]
    fn boxes_are_off_from_their_anchors() {
        let base = Anchors { layers: Vec::new(), scale: [10.0, 10.0, 5.0, 5.0], exponential: true, order: Order::Xy };
        let anchor = [0.5, 0.25, 0.2, 0.4];
        let yx = Anchors { order: Order::Yx, ..base.clone() };
        let linear = Anchors { exponential: false, scale: [100.0, 100.0, 10.0, 20.0], ..base.clone() };
        for (anchors, values, centre, size, keypoint) in [
            (&base, &[0.0, 0.0, 0.0, 0.0, 5.0, 10.0], (0.5, 0.25), (0.2, 0.4), [0.6, 0.65]),
            (&base, &[5.0, -5.0, 5.0, 0.0, 0.0, 0.0], (0.6, 0.05), (0.2 * 1.0f32.exp(), 0.4), [0.5, 0.25]),
            (&yx, &[-5.0, 5.0, 0.0, 5.0, 10.0, 5.0], (0.6, 0.05), (0.2 * 1.0f32.exp(), 0.4), [0.6, 0.65]),
            (&linear, &[50.0, 25.0, 10.0, 10.0, 0.0, 0.0], (0.6, 0.35), (0.2, 0.2), [0.5, 0.25]),
        ] {
            let found = anchors.find(&anchor, values, 0.5, 3).unwrap();
            let bounds = found.bounds;
            let got = [
                bounds.x + bounds.width / 2.0 - centre.0,
                bounds.y + bounds.height / 2.0 - centre.1,
                bounds.width - size.0,
                bounds.height - size.1,
                found.keypoints[0][0] - keypoint[0],
                found.keypoints[0][1] - keypoint[1],
            ];
            assert!(got.iter().all(|off| off.abs() < 1e-6), "{values:?}: {found:?}");
            assert_eq!((found.score, found.class, found.keypoints[0][2]), (0.5, 3, 1.0));
        }
        assert_eq!(base.find(&anchor, &[0.0; 3], 0.5, 0), None);
    }
}
