//! The values that a line joins.

use super::scale::drawable;
use super::scene::{Colour, Point};
use crate::train::Epoch;

/// One value for each epoch, where it is known and can be drawn.
#[derive(Clone, Debug)]
pub(super) struct Series {
    /// What the legend says.
    pub(super) name: &'static str,
    /// What it is called in the SVG file.
    pub(super) class: &'static str,
    /// The colour of its line.
    pub(super) colour: Colour,
    /// Epoch and value, in the order of epochs.
    values: Vec<(f64, Option<f64>)>,
}

impl Series {
    /// A series of values in the order of epochs, all of them drawable.
    pub(super) fn new(
        name: &'static str,
        class: &'static str,
        colour: Colour,
        values: Vec<(f64, Option<f64>)>,
    ) -> Self {
        Series { name, class, colour, values }
    }

    /// The least and the greatest value; nothing, when there is none.
    pub(super) fn extent(&self) -> Option<(f64, f64)> {
        let values = self.values.iter().filter_map(|(_, value)| *value);
        values.fold(None, |extent, value| match extent {
            None => Some((value, value)),
            Some((low, high)) => Some((value.min(low), value.max(high))),
        })
    }

    /// Epoch and value of the last one.
    pub(super) fn last(&self) -> Option<(f64, f64)> {
        self.values.iter().rev().find_map(|(epoch, value)| Some((*epoch, (*value)?)))
    }

    /// Epoch and value at a place in the history.
    pub(super) fn get(&self, index: usize) -> Option<(f64, f64)> {
        self.values.get(index).and_then(|(epoch, value)| Some((*epoch, (*value)?)))
    }

    /// Runs of neighbours with values.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Vec<(f64, f64)>> {
        self.values
            .split(|(_, value)| value.is_none())
            .filter(|piece| !piece.is_empty())
            .map(|piece| piece.iter().filter_map(|(epoch, value)| Some((*epoch, (*value)?))).collect())
    }
}

/// Where the best epoch is in the history: the one with the lowest validation loss, the first of equals, as early
/// stopping has it. The lowest training loss counts where nothing was validated.
pub(super) fn best(epochs: &[&Epoch]) -> Option<usize> {
    let validated = epochs.iter().any(|epoch| epoch.validation_loss.is_some());
    let watched = |epoch: &Epoch| if validated { epoch.validation_loss } else { Some(epoch.loss) };
    let losses = epochs.iter().enumerate().filter_map(|(index, epoch)| Some((index, drawable(watched(epoch)?)?)));
    losses.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(index, _)| index)
}

/// A line that looks the same with at most four points in a column of pixels: the first, the lowest, the highest and
/// the last (M4: Jugel, Jerzak, Hackenbroich, Markl, VLDB 2014). Points come from left to right.
pub(super) fn thinned(points: impl Iterator<Item = Point>) -> Vec<Point> {
    let mut kept: Vec<Point> = Vec::new();
    let mut column: Vec<Point> = Vec::new();
    for point in points {
        if column.first().is_some_and(|first| first.0.floor() != point.0.floor()) {
            keep(&mut column, &mut kept);
        }
        column.push(point);
    }
    keep(&mut column, &mut kept);
    kept
}

/// Moves what is to be seen of a column.
fn keep(column: &mut Vec<Point>, kept: &mut Vec<Point>) {
    let order = |a: &(usize, f64), b: &(usize, f64)| a.1.total_cmp(&b.1);
    let heights = || column.iter().enumerate().map(|(index, point)| (index, point.1));
    let extremes = [heights().min_by(order), heights().max_by(order)].map(|found| found.map_or(0, |(index, _)| index));
    let mut seen = [0, extremes[0], extremes[1], column.len().saturating_sub(1)].to_vec();
    seen.sort_unstable();
    seen.dedup();
    kept.extend(seen.into_iter().filter_map(|index| column.get(index)));
    column.clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: &[Option<f64>]) -> Series {
        let values = values.iter().enumerate().map(|(index, value)| (index as f64, *value)).collect();
        Series::new("training", "training loss", [0; 3], values)
    }

    #[test]
    fn what_is_missing_makes_a_gap() {
        let gaps = series(&[None, Some(3.0), Some(1.0), None, None, Some(2.0), None]);
        let pieces: Vec<Vec<(f64, f64)>> = gaps.pieces().collect();
        assert_eq!(pieces, [vec![(1.0, 3.0), (2.0, 1.0)], vec![(5.0, 2.0)]]);
        assert_eq!(gaps.extent(), Some((1.0, 3.0)));
        assert_eq!(gaps.last(), Some((5.0, 2.0)));
        assert_eq!(gaps.get(2), Some((2.0, 1.0)));
        assert_eq!((gaps.get(3), gaps.get(7)), (None, None));
        assert_eq!((series(&[]).extent(), series(&[None]).last()), (None, None));
    }

    #[test]
    fn the_best_epoch_has_the_lowest_validation_loss() {
        const NAN: f64 = f64::NAN;
        type Case = (&'static str, &'static [(f64, Option<f64>)], Option<usize>);
        let table: &[Case] = &[
            ("none", &[], None),
            ("validated", &[(3.0, Some(2.0)), (2.0, Some(1.0)), (1.0, Some(1.5))], Some(1)),
            ("the first of equals", &[(3.0, Some(1.0)), (2.0, Some(1.0))], Some(0)),
            ("not validated", &[(3.0, None), (2.0, None)], Some(1)),
            ("not a number", &[(3.0, Some(NAN)), (2.0, Some(5.0)), (1.0, Some(f64::NEG_INFINITY))], Some(1)),
            ("never a number", &[(3.0, Some(NAN)), (2.0, Some(NAN))], None),
        ];
        for (name, losses, expected) in table {
            let history = super::super::tests::history(losses.iter().map(|(loss, other)| (*loss, *other, None)));
            assert_eq!(best(&history.iter().collect::<Vec<_>>()), *expected, "{name}");
        }
    }

    #[test]
    fn a_column_keeps_its_ends_and_extremes() {
        let points = [(0.1, 5.0), (0.2, 1.0), (0.3, 3.0), (0.4, 9.0), (0.5, 4.0), (1.5, 2.0)];
        assert_eq!(thinned(points.into_iter()), [(0.1, 5.0), (0.2, 1.0), (0.4, 9.0), (0.5, 4.0), (1.5, 2.0)]);
        let few = [(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)];
        assert_eq!(thinned(few.into_iter()), few);
        assert_eq!(thinned(std::iter::empty()), []);
        assert_eq!(thinned((0..1000).map(|index| (0.001 * f64::from(index), 1.0))).len(), 2);
    }
}
