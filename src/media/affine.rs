//! Affine maps between the pixel coordinates of pictures.

/// An affine map of the plane: (x, y) ↦ (a·x + b·y + c, d·x + e·y + f), its rows `[[a, b, c], [d, e, f]]`.
///
/// Coordinates are continuous: pixel (i, j) of a picture covers [i, i + 1) × [j, j + 1), with its centre at the half
/// pixel, and a picture of w × h pixels covers [0, w] × [0, h]. In these coordinates a resize is a plain scale, without
/// the half-pixel terms that maps between pixel *indices* need (`half_pixel` of ONNX's Resize, Pillow).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    rows: [[f64; 3]; 2],
}

impl Affine {
    /// Every point stays where it is.
    pub const IDENTITY: Affine = Affine::new([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]);

    /// The map with these rows.
    pub const fn new(rows: [[f64; 3]; 2]) -> Self {
        Affine { rows }
    }

    /// x and y times a factor each.
    pub const fn scale(x: f64, y: f64) -> Self {
        Affine::new([[x, 0.0, 0.0], [0.0, y, 0.0]])
    }

    /// Moves points by (x, y).
    pub const fn translation(x: f64, y: f64) -> Self {
        Affine::new([[1.0, 0.0, x], [0.0, 1.0, y]])
    }

    /// The rows `[[a, b, c], [d, e, f]]`.
    pub const fn rows(&self) -> [[f64; 3]; 2] {
        self.rows
    }

    /// Where the point (x, y) goes.
    pub fn apply(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let [[a, b, c], [d, e, f]] = self.rows;
        (a * x + b * y + c, d * x + e * y + f)
    }

    /// `first`, and then this map.
    pub fn after(&self, first: &Affine) -> Affine {
        let [[a, b, c], [d, e, f]] = self.rows;
        let [[g, h, i], [j, k, l]] = first.rows;
        Affine::new([
            [a * g + b * j, a * h + b * k, a * i + b * l + c],
            [d * g + e * j, d * h + e * k, d * i + e * l + f],
        ])
    }

    /// The area of the image of a unit square; negative for maps that mirror.
    pub fn determinant(&self) -> f64 {
        let [[a, b, _], [d, e, _]] = self.rows;
        a * e - b * d
    }

    /// The map back. `None` for maps that fold the plane onto a line, or hold numbers that are not finite.
    pub fn inverse(&self) -> Option<Affine> {
        let [[a, b, c], [d, e, f]] = self.rows;
        let determinant = self.determinant();
        let rows = [
            [e / determinant, -b / determinant, (b * f - c * e) / determinant],
            [-d / determinant, a / determinant, (c * d - a * f) / determinant],
        ];
        (determinant != 0.0 && rows.iter().flatten().all(|value| value.is_finite())).then(|| Affine::new(rows))
    }
}

impl Default for Affine {
    fn default() -> Self {
        Affine::IDENTITY
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn points_go_where_the_rows_say() {
        for (map, point, expected) in [
            (Affine::IDENTITY, (3.5, -1.0), (3.5, -1.0)),
            (Affine::scale(2.0, 0.5), (3.0, 4.0), (6.0, 2.0)),
            (Affine::translation(10.0, -1.0), (3.0, 4.0), (13.0, 3.0)),
            // A quarter turn clockwise of a picture 5 pixels high.
            (Affine::new([[0.0, -1.0, 5.0], [1.0, 0.0, 0.0]]), (0.5, 0.5), (4.5, 0.5)),
            // First the scale, then the move.
            (Affine::translation(1.0, 1.0).after(&Affine::scale(2.0, 2.0)), (3.0, 4.0), (7.0, 9.0)),
        ] {
            assert_eq!(map.apply(point), expected, "{map:?}");
        }
    }

    #[test]
    fn maps_without_a_way_back() {
        for rows in [
            [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]],
            [[1.0, 2.0, 0.0], [2.0, 4.0, 0.0]],
            [[f64::NAN, 0.0, 0.0], [0.0, 1.0, 0.0]],
            [[1.0, 0.0, f64::INFINITY], [0.0, 1.0, 0.0]],
            [[1e-200, 0.0, 0.0], [0.0, 1e-200, 0.0]],
        ] {
            assert_eq!(Affine::new(rows).inverse(), None, "{rows:?}");
        }
    }

    proptest! {
        #[test]
        fn the_inverse_leads_back(
            rows in prop::array::uniform2(prop::array::uniform3(-9.0f64..9.0)),
            x in -99.0f64..99.0, y in -99.0f64..99.0,
        ) {
            let map = Affine::new(rows);
            prop_assume!(map.determinant().abs() > 0.01);
            let (back_x, back_y) = map.inverse().unwrap().after(&map).apply((x, y));
            prop_assert!((back_x - x).abs() < 1e-7 && (back_y - y).abs() < 1e-7);
        }
    }
}
