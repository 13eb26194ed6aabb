//! A grid of numbers, seen in another grid.

use crate::dsp::DspError;

/// Where a coordinate falls between the middles of cells: the cells before and after, and the weight of the one after.
/// `None` outside of the grid.
#[derive(Clone, Copy, Debug)]
struct Tap {
    before: usize,
    after: usize,
    weight: f32,
}

fn tap(at: f64, cells: usize) -> Option<Tap> {
    // False for NaN as well.
    let inside = at >= 0.0 && at <= cells as f64;
    if !inside {
        return None;
    }
    let last = cells - 1;
    // Beyond the middle of the outermost cells their value holds on.
    let place = (at - 0.5).clamp(0.0, last as f64);
    let before = (place as usize).min(last);
    Some(Tap { before, after: (before + 1).min(last), weight: (place - before as f64) as f32 })
}

fn between(a: f32, b: f32, weight: f32) -> f32 {
    a + (b - a) * weight
}

/// Writes what a grid of `columns × rows` numbers says at the middle of each cell of another grid: `out` holds `width`
/// numbers a row, and `to_grid` maps its coordinates to the grid's (rows `[[a, b, c], [d, e, f]]`; cell (i, j) covers
/// [i, i + 1) × [j, j + 1)). Bilinear between the middles of cells; beyond those of the outermost their value holds on, and
/// outside of the grid it is 0. Enlarging is as Pillow's `BILINEAR` does it; a grid that is made smaller is sampled, not
/// averaged.
///
/// Fails when the grid is empty or has other than `columns × rows` numbers, or `out` no whole rows.
pub fn project(
    grid: &[f32],
    (columns, rows): (usize, usize),
    to_grid: [[f64; 3]; 2],
    width: usize,
    out: &mut [f32],
) -> Result<(), DspError> {
    let expected = columns.checked_mul(rows).filter(|cells| *cells > 0).unwrap_or(usize::MAX);
    if grid.len() != expected {
        return Err(DspError::WrongLength { what: "a grid to project", expected, found: grid.len() });
    }
    if width == 0 || !out.len().is_multiple_of(width) {
        let found = out.len();
        return Err(DspError::WrongLength { what: "rows of a projected grid", expected: width.max(1), found });
    }
    let value = |x: Tap, y: Tap| {
        let (above, below) = (&grid[y.before * columns..][..columns], &grid[y.after * columns..][..columns]);
        let above = between(above[x.before], above[x.after], x.weight);
        between(above, between(below[x.before], below[x.after], x.weight), y.weight)
    };
    let [[a, b, c], [d, e, f]] = to_grid;
    let lines = out.chunks_exact_mut(width).enumerate();
    if b == 0.0 && d == 0.0 {
        let across: Vec<Option<Tap>> = (0..width).map(|i| tap(a * (i as f64 + 0.5) + c, columns)).collect();
        for (j, line) in lines {
            let down = tap(e * (j as f64 + 0.5) + f, rows);
            for (out, x) in line.iter_mut().zip(&across) {
                *out = x.zip(down).map_or(0.0, |(x, y)| value(x, y));
            }
        }
        return Ok(());
    }
    for (j, line) in lines {
        let y = j as f64 + 0.5;
        for (i, out) in line.iter_mut().enumerate() {
            let x = i as f64 + 0.5;
            let taps = tap(a * x + b * y + c, columns).zip(tap(d * x + e * y + f, rows));
            *out = taps.map_or(0.0, |(x, y)| value(x, y));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn projected(grid: &[f32], size: (usize, usize), map: [[f64; 3]; 2], out: (usize, usize)) -> Vec<f32> {
        let mut values = vec![f32::NAN; out.0 * out.1];
        project(grid, size, map, out.0, &mut values).unwrap();
        values
    }

    #[test]
    fn values() {
        let same = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]];
        let half = [[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]];
        let grid = [0.0, 4.0, 8.0, 12.0];
        for (size, map, out, expected) in [
            ((2, 2), same, (2, 2), &[0.0, 4.0, 8.0, 12.0][..]),
            ((4, 1), same, (4, 1), &[0.0, 4.0, 8.0, 12.0]),
            (
                (4, 1),
                half,
                (8, 2),
                &[0.0, 1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 12.0, 0.0, 1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 12.0],
            ),
            // The grid lies one to the right and covers two columns.
            ((2, 2), [[1.0, 0.0, -1.0], [0.0, 1.0, 0.0]], (4, 2), &[0.0, 0.0, 4.0, 0.0, 0.0, 8.0, 12.0, 0.0]),
            // A quarter turn: the output's x is the grid's y.
            ((2, 2), [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], (2, 2), &[0.0, 8.0, 4.0, 12.0]),
            ((2, 2), [[f64::NAN, 0.0, 0.0], [0.0, 1.0, 0.0]], (1, 1), &[0.0]),
            ((2, 2), [[f64::INFINITY, 0.1, 0.0], [0.0, 1.0, 0.0]], (1, 1), &[0.0]),
        ] {
            assert_eq!(projected(&grid, size, map, out), expected, "{size:?} {map:?}");
        }
    }

    #[test]
    fn bad_input() {
        let same = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]];
        for (grid, size, width, length) in [(3, (2, 2), 2, 4), (0, (0, 4), 2, 4), (4, (2, 2), 0, 4), (4, (2, 2), 3, 4)]
        {
            let mut out = vec![0.0; length];
            assert!(project(&vec![0.0; grid], size, same, width, &mut out).is_err(), "{grid} {size:?} {width}");
        }
        assert!(project(&[0.0], (usize::MAX, 2), same, 1, &mut [0.0]).is_err());
    }

    proptest! {
        #[test]
        fn both_ways_agree_and_stay_between_the_values(
            grid in prop::collection::vec(0.0f32..1.0, 12),
            scale in prop::array::uniform2(0.1f64..2.0),
            shift in prop::array::uniform2(-3.0f64..3.0),
        ) {
            let straight = [[scale[0], 0.0, shift[0]], [0.0, scale[1], shift[1]]];
            let general = [[scale[0], 1e-300, shift[0]], [0.0, scale[1], shift[1]]];
            let found = projected(&grid, (4, 3), straight, (9, 7));
            prop_assert_eq!(&found, &projected(&grid, (4, 3), general, (9, 7)));
            let most = grid.iter().copied().fold(0.0, f32::max);
            prop_assert!(found.iter().all(|value| (0.0..=most + 1e-6).contains(value)));
        }
    }
}
