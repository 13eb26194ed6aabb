//! Turning pictures, by quarter turns exactly and by any angle with interpolation.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MAX_SIDE, PixelView};
use crate::dsp::DspError;
use crate::dsp::error::in_range;

/// Turns that move pixels and change none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Quarters {
    /// 90° clockwise: the top goes to the right.
    Right,
    /// 180°.
    Half,
    /// 90° counterclockwise: the top goes to the left.
    Left,
}

/// A picture that was turned: its size, and where its pixels come from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Turned {
    /// Pixels in a row of the result.
    pub width: usize,
    /// Rows of the result.
    pub height: usize,
    /// The map from the result's pixel coordinates to the input's, as two rows.
    pub output_to_input: [[f64; 3]; 2],
}

/// Turns a picture by quarters: packed pixels in place of what `out` held.
pub fn quarter_turn(view: &PixelView<'_>, turn: Quarters, out: &mut Vec<u8>) -> Turned {
    let (width, height) = (view.width(), view.height());
    let (across, down) = (width as f64, height as f64);
    out.clear();
    out.reserve(width * height * view.channels());
    let turned = |width, height, output_to_input| Turned { width, height, output_to_input };
    match turn {
        Quarters::Right => {
            for y in 0..width {
                (0..height).for_each(|x| out.extend_from_slice(view.pixel(y, height - 1 - x)));
            }
            turned(height, width, [[0.0, 1.0, 0.0], [-1.0, 0.0, down]])
        }
        Quarters::Half => {
            for y in (0..height).rev() {
                (0..width).rev().for_each(|x| out.extend_from_slice(view.pixel(x, y)));
            }
            turned(width, height, [[-1.0, 0.0, across], [0.0, -1.0, down]])
        }
        Quarters::Left => {
            for y in 0..width {
                (0..height).for_each(|x| out.extend_from_slice(view.pixel(width - 1 - y, x)));
            }
            turned(height, width, [[0.0, -1.0, across], [1.0, 0.0, 0.0]])
        }
    }
}

/// Turns a picture about its centre by `degrees` clockwise: packed pixels in place of what `out` held.
///
/// With `expand` the result is as large as the turned picture needs, otherwise as large as the input, with the corners
/// cut off. Each pixel is interpolated between the four that surround its place in the input (bilinear; at the edge the
/// picture goes on as it ends), and is `ground`, a pixel's bytes, where that lies outside. Alpha is interpolated like a
/// colour.
///
/// Fails when the angle is not finite, the ground has not the bytes of a pixel, or the result would have a side over
/// [`MAX_SIDE`](super::MAX_SIDE).
pub fn rotate(
    view: &PixelView<'_>,
    degrees: f64,
    expand: bool,
    ground: &[u8],
    out: &mut Vec<u8>,
) -> Result<Turned, DspError> {
    if !degrees.is_finite() {
        let (what, expected) = ("the angle of a rotation in degrees", "a finite number");
        return Err(DspError::BadValue { what, expected, found: degrees });
    }
    let channels = view.channels();
    if ground.len() != channels {
        let found = ground.len();
        return Err(DspError::WrongLength { what: "the ground's colour", expected: channels, found });
    }
    let (across, down) = (view.width() as f64, view.height() as f64);
    let (sin, cos) = degrees.rem_euclid(360.0).to_radians().sin_cos();
    let (width, height) = if expand {
        // A hair less than the corners reach, so that rounding errors add no empty row.
        let side = |a: f64, b: f64| (a.abs() + b.abs() - 1e-6).ceil().max(1.0) as usize;
        (side(across * cos, down * sin), side(across * sin, down * cos))
    } else {
        (view.width(), view.height())
    };
    in_range("the width of a rotated picture in pixels", width, 1, MAX_SIDE as usize)?;
    in_range("the height of a rotated picture in pixels", height, 1, MAX_SIDE as usize)?;
    // The y axis points down, so a clockwise turn has the matrix [cos −sin; sin cos]; this is the way back.
    let (middle_x, middle_y) = (width as f64 / 2.0, height as f64 / 2.0);
    let map = [
        [cos, sin, across / 2.0 - cos * middle_x - sin * middle_y],
        [-sin, cos, down / 2.0 + sin * middle_x - cos * middle_y],
    ];
    out.clear();
    out.reserve(width * height * channels);
    for y in 0..height {
        for x in 0..width {
            let (x, y) = (x as f64 + 0.5, y as f64 + 0.5);
            let place = (map[0][0] * x + map[0][1] * y + map[0][2], map[1][0] * x + map[1][1] * y + map[1][2]);
            let inside = place.0 >= 0.0 && place.1 >= 0.0 && place.0 < across && place.1 < down;
            if inside { interpolate(view, place, out) } else { out.extend_from_slice(ground) }
        }
    }
    Ok(Turned { width, height, output_to_input: map })
}

/// The picture of `width × height` pixels that an affine map of its pixel coordinates into those of `view` shows: packed
/// pixels in place of what `out` held. Each pixel is interpolated between the four that surround its place (bilinear);
/// outside the picture goes on as it ends. A part that is made smaller is sampled, not averaged.
///
/// Fails when the result would be empty or have a side over [`MAX_SIDE`](super::MAX_SIDE), and when the map is not finite.
pub fn warp(
    view: &PixelView<'_>,
    to_view: [[f64; 3]; 2],
    (width, height): (usize, usize),
    out: &mut Vec<u8>,
) -> Result<(), DspError> {
    in_range("the width of a warped picture in pixels", width, 1, MAX_SIDE as usize)?;
    in_range("the height of a warped picture in pixels", height, 1, MAX_SIDE as usize)?;
    if let Some(found) = to_view.iter().flatten().find(|value| !value.is_finite()) {
        let (what, expected) = ("the map of a warped picture", "finite numbers");
        return Err(DspError::BadValue { what, expected, found: *found });
    }
    let [[a, b, c], [d, e, f]] = to_view;
    out.clear();
    out.reserve(width * height * view.channels());
    for y in 0..height {
        for x in 0..width {
            let (x, y) = (x as f64 + 0.5, y as f64 + 0.5);
            interpolate(view, (a * x + b * y + c, d * x + e * y + f), out);
        }
    }
    Ok(())
}

/// Appends the pixel between the four around (x, y); outside the picture goes on as it ends.
fn interpolate(view: &PixelView<'_>, (x, y): (f64, f64), out: &mut Vec<u8>) {
    // From edges to centres.
    let between = |place: f64, length: usize| {
        let place = (place - 0.5).clamp(0.0, (length - 1) as f64);
        let first = place as usize;
        (first, (first + 1).min(length - 1), place - first as f64)
    };
    let (left, right, across) = between(x, view.width());
    let (above, below, down) = between(y, view.height());
    let mix = |a: f64, b: f64, share: f64| a + (b - a) * share;
    let corners =
        [view.pixel(left, above), view.pixel(right, above), view.pixel(left, below), view.pixel(right, below)];
    for channel in 0..view.channels() {
        let [a, b, c, d] = corners.map(|pixel| f64::from(pixel[channel]));
        // Within 0 to 255, as its parts are.
        out.push(mix(mix(a, b, across), mix(c, d, across), down).round() as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warps_show_what_the_map_says() {
        let bytes = [0, 10, 20, 100, 110, 120];
        let view = PixelView::packed(&bytes, 3, 2, 1).unwrap();
        let same = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]];
        for (map, size, expected) in [
            (same, (3, 2), &[0, 10, 20, 100, 110, 120][..]),
            ([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]], (2, 1), &[110, 120]),
            ([[1.0, 0.0, 0.5], [0.0, 1.0, 0.0]], (2, 1), &[5, 15]),
            // A quarter turn to the right, and the edge that goes on.
            ([[0.0, 1.0, 0.0], [-1.0, 0.0, 2.0]], (2, 3), &[100, 0, 110, 10, 120, 20]),
            ([[1.0, 0.0, 2.0], [0.0, 1.0, -5.0]], (2, 1), &[20, 20]),
        ] {
            let mut out = vec![9];
            warp(&view, map, size, &mut out).unwrap();
            assert_eq!(out, expected, "{map:?}");
        }
        for (map, size) in [(same, (0, 1)), (same, (1, 1 << 16)), ([[f64::NAN, 0.0, 0.0], [0.0, 1.0, 0.0]], (1, 1))] {
            assert!(warp(&view, map, size, &mut Vec::new()).is_err(), "{map:?} {size:?}");
        }
    }

    #[test]
    fn quarters_move_pixels() {
        let bytes = [1, 2, 3, 0, 4, 5, 6];
        let view = PixelView::new(&bytes, 3, 2, 4, 1).unwrap();
        for (turn, size, expected, from) in [
            (Quarters::Right, (2, 3), [4, 1, 5, 2, 6, 3], (0.5, 1.5)),
            (Quarters::Half, (3, 2), [6, 5, 4, 3, 2, 1], (2.5, 1.5)),
            (Quarters::Left, (2, 3), [3, 6, 2, 5, 1, 4], (2.5, 0.5)),
        ] {
            let mut out = vec![9];
            let found = quarter_turn(&view, turn, &mut out);
            let [[a, b, c], [d, e, f]] = found.output_to_input;
            assert_eq!((found.width, found.height, &out[..]), (size.0, size.1, &expected[..]), "{turn:?}");
            // Where the first pixel of the result comes from.
            assert_eq!((a * 0.5 + b * 0.5 + c, d * 0.5 + e * 0.5 + f), from, "{turn:?}");
        }
    }

    #[test]
    fn an_angle_of_a_quarter_is_the_quarter() {
        let bytes: Vec<u8> = (0..5 * 4 * 3).map(|n| (n * 7) as u8).collect();
        let view = PixelView::packed(&bytes, 5, 4, 3).unwrap();
        for (degrees, turn) in
            [(90.0, Quarters::Right), (-180.0, Quarters::Half), (270.0, Quarters::Left), (-90.0, Quarters::Left)]
        {
            let (mut exact, mut turned) = (Vec::new(), Vec::new());
            let quarter = quarter_turn(&view, turn, &mut exact);
            let found = rotate(&view, degrees, true, &[0; 3], &mut turned).unwrap();
            assert_eq!((found.width, found.height, &turned), (quarter.width, quarter.height, &exact), "{degrees}");
            let (map, found) = (quarter.output_to_input, found.output_to_input);
            let off = map.as_flattened().iter().zip(found.as_flattened()).map(|(a, b)| (a - b).abs());
            assert!(off.fold(0.0, f64::max) < 1e-9, "{map:?} {found:?}");
        }
    }

    #[test]
    fn a_slant() {
        let bytes = [200u8; 9];
        let view = PixelView::packed(&bytes, 3, 3, 1).unwrap();
        let mut out = Vec::new();
        // The diagonal of 3 × 3 is 4.24 long.
        let found = rotate(&view, 45.0, true, &[7], &mut out).unwrap();
        assert_eq!((found.width, found.height), (5, 5));
        let map = found.output_to_input;
        assert_eq!((out[0], out[4], out[12], out[20], out[24]), (7, 7, 200, 7, 7));
        // The centre stays the centre.
        assert!((map[0][0] * 2.5 + map[0][1] * 2.5 + map[0][2] - 1.5).abs() < 1e-12);
        let bytes = [200u8; 25];
        let view = PixelView::packed(&bytes, 5, 5, 1).unwrap();
        let found = rotate(&view, 45.0, false, &[7], &mut out).unwrap();
        let corners = [0, 4, 20, 24];
        let expected: Vec<u8> = (0..25).map(|at| if corners.contains(&at) { 7 } else { 200 }).collect();
        assert_eq!((found.width, found.height, out), (5, 5, expected));
    }

    #[test]
    fn a_clockwise_turn_takes_the_top_to_the_right() {
        let mut bytes = vec![0u8; 81];
        bytes[4] = 255;
        let view = PixelView::packed(&bytes, 9, 9, 1).unwrap();
        let mut out = Vec::new();
        rotate(&view, 30.0, false, &[0], &mut out).unwrap();
        let brightest = (0..81).max_by_key(|&at| out[at]).unwrap();
        // From 4 above the centre to (4 sin 30°, −4 cos 30°) = (2, −3.5) from it.
        assert!(brightest % 9 == 6 && brightest / 9 <= 1, "{brightest}");
    }

    #[test]
    fn bad_input() {
        let bytes = vec![0u8; MAX_SIDE as usize];
        let view = PixelView::packed(&bytes, 1, 1, 3).unwrap();
        let mut out = Vec::new();
        for angle in [f64::NAN, f64::INFINITY] {
            assert!(matches!(rotate(&view, angle, true, &[0; 3], &mut out), Err(DspError::BadValue { .. })));
        }
        assert!(matches!(rotate(&view, 1.0, true, &[0; 4], &mut out), Err(DspError::WrongLength { .. })));
        let long = PixelView::packed(&bytes, MAX_SIDE / 2, 2, 1).unwrap();
        assert!(rotate(&long, 1e300, true, &[0], &mut out).is_ok());
        let bytes = vec![0u8; MAX_SIDE as usize + 1];
        let long = PixelView::packed(&bytes, MAX_SIDE + 1, 1, 1).unwrap();
        assert!(matches!(rotate(&long, 0.0, true, &[0], &mut out), Err(DspError::OutOfRange { .. })));
    }
}
