//! Boxes told by a map of where their centres are: CenterNet, CenterFace.

use schemars::JsonSchema;
use serde::Deserialize;

use super::find::{Find, Order};

/// Where a keypoint's numbers start, and what they are told in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KeypointsFrom {
    /// In cells, from the upper left corner of the centre's cell (CenterNet).
    #[default]
    Cell,
    /// In shares of the box, from its upper left corner (CenterFace).
    Box,
}

/// Maps of one cell for each few pixels: how probable a centre is in it (one map for each class), where in the cell it
/// is, and the size of the box. Zhou et al., "Objects as Points" (2019), section 3.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Centers {
    /// Which of two maps comes first. Default: xy.
    pub order: Order,
    /// Whether the size, in cells, is told by its logarithm. Default: false.
    pub exponential: bool,
    /// Whether the offset counts from the middle of the cell, not from its upper left corner. Default: false.
    pub from_middle: bool,
    /// Whether only a cell above its eight neighbours counts, which does for this kind what suppression does for others.
    /// Default: false.
    pub peaks: bool,
    /// Where a keypoint's numbers start. Default: cell.
    pub keypoints_from: KeypointsFrom,
}

/// The maps of one picture, each `columns × rows` cells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Maps<'a> {
    pub columns: usize,
    pub rows: usize,
    /// Probabilities, a map for each class.
    pub heat: &'a [f32],
    pub size: &'a [f32],
    pub offset: &'a [f32],
    /// Two maps for each keypoint; may be none.
    pub keypoints: &'a [f32],
}

impl Maps<'_> {
    /// Whether the cell's probability is at least that of its neighbours in the same map; of equal ones the first counts.
    fn is_peak(&self, class: usize, row: usize, column: usize, score: f32) -> bool {
        let map = class * self.columns * self.rows;
        let (rows, columns) = (row.saturating_sub(1)..=row + 1, column.saturating_sub(1)..=column + 1);
        rows.filter(|y| *y < self.rows).all(|y| {
            columns.clone().filter(|x| *x < self.columns).all(|x| {
                let other = self.heat.get(map + y * self.columns + x).copied().unwrap_or(f32::NEG_INFINITY);
                let before = (y, x) < (row, column);
                other < score || (other == score && !before)
            })
        })
    }
}

impl Centers {
    /// What is at least `threshold` probable, in cells.
    pub(super) fn find(&self, maps: &Maps<'_>, threshold: f32) -> Vec<Find> {
        let cells = maps.columns * maps.rows;
        let mut finds = Vec::new();
        for (place, score) in maps.heat.iter().enumerate().filter(|(_, score)| **score >= threshold) {
            let (class, cell) = (place / cells, place % cells);
            let (row, column) = (cell / maps.columns, cell % maps.columns);
            if !self.peaks || maps.is_peak(class, row, column, *score) {
                finds.extend(self.at(maps, class, row, column, *score));
            }
        }
        finds
    }

    fn at(&self, maps: &Maps<'_>, class: usize, row: usize, column: usize, score: f32) -> Option<Find> {
        let cells = maps.columns * maps.rows;
        let pair = |values: &[f32], which: usize| {
            let at = |map: usize| values.get((2 * which + map) * cells + row * maps.columns + column).copied();
            Some(self.order.xy(at(0)?, at(1)?))
        };
        let (column, row) = (column as f32, row as f32);
        let middle = if self.from_middle { 0.5 } else { 0.0 };
        let (x, y) = pair(maps.offset, 0)?;
        let (width, height) = pair(maps.size, 0)?;
        let size = if self.exponential { (width.exp(), height.exp()) } else { (width, height) };
        let bounds = Find::around((column + x + middle, row + y + middle), size);
        let keypoint = |which: usize| {
            let (x, y) = pair(maps.keypoints, which)?;
            Some(match self.keypoints_from {
                KeypointsFrom::Cell => [column + x, row + y, 1.0],
                KeypointsFrom::Box => [bounds.x + x * bounds.width, bounds.y + y * bounds.height, 1.0],
            })
        };
        let keypoints = (0..maps.keypoints.len() / (2 * cells).max(1)).filter_map(keypoint).collect();
        Some(Find { bounds, score, class, keypoints })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dsp::picture::Bounds;

    /// Two classes on 3 × 2 cells; the centres of a box of 2 × 4 cells, off by (0.25, 0.5), with one keypoint.
    fn find(centers: &Centers, heat: &[f32; 12], threshold: f32) -> Vec<Find> {
        let twice = |a: f32, b: f32| [[a; 6], [b; 6]].concat();
        let (size, offset, keypoints) = (twice(2.0, 4.0), twice(0.25, 0.5), twice(0.5, 0.25));
        let maps = Maps { columns: 3, rows: 2, heat, size: &size, offset: &offset, keypoints: &keypoints };
        centers.find(&maps, threshold)
    }

    const HEAT: [f32; 12] = [0.1, 0.9, 0.8, 0.1, 0.1, 0.9, 0.0, 0.0, 0.0, 0.7, 0.0, 0.0];

    #[test]
    fn boxes_lie_around_their_centres() {
        let one = |x, y, width, height| Bounds { x, y, width, height };
        let plain = Centers::default();
        let yx = Centers { order: Order::Yx, from_middle: true, ..plain.clone() };
        let face = Centers { keypoints_from: KeypointsFrom::Box, ..plain.clone() };
        let exponential = Centers { exponential: true, ..plain.clone() };
        let (e2, e4) = (2.0f32.exp(), 4.0f32.exp());
        for (centers, bounds, keypoint) in [
            // The cell (0, 1) of the second class.
            (plain, one(0.25 - 1.0, 1.5 - 2.0, 2.0, 4.0), [0.5, 1.25, 1.0]),
            (yx, one(1.0 - 2.0, 1.75 - 1.0, 4.0, 2.0), [0.25, 1.5, 1.0]),
            (face, one(-0.75, -0.5, 2.0, 4.0), [-0.75 + 1.0, -0.5 + 1.0, 1.0]),
            (exponential, one(0.25 - e2 / 2.0, 1.5 - e4 / 2.0, e2, e4), [0.5, 1.25, 1.0]),
        ] {
            let found = find(&centers, &HEAT, 0.6);
            let last = found.last().unwrap();
            assert_eq!((last.class, last.score, last.bounds, &*last.keypoints), (1, 0.7, bounds, &[keypoint][..]));
            assert_eq!(found.len(), 4, "{centers:?}");
        }
    }

    #[test]
    fn peaks_stand_above_their_neighbours() {
        let peaks = Centers { peaks: true, ..Centers::default() };
        let at = |heat: &[f32; 12], threshold| {
            let found = find(&peaks, heat, threshold);
            found.iter().map(|find| (find.class, find.score)).collect::<Vec<_>>()
        };
        // Of the two that touch and are equal, the first.
        assert_eq!(at(&HEAT, 0.5), [(0, 0.9), (1, 0.7)]);
        assert_eq!(at(&HEAT, 0.8), [(0, 0.9)]);
        assert_eq!(at(&[0.0; 12], 0.1), []);
    }
}
