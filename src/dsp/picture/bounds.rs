//! Boxes, and how much of them is shared.

/// An upright rectangle in pixels.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// Its left edge.
    pub x: f32,
    /// Its upper edge.
    pub y: f32,
    /// Its width.
    pub width: f32,
    /// Its height.
    pub height: f32,
}

impl Bounds {
    /// Its area; 0 where a side is not positive.
    pub fn area(&self) -> f64 {
        f64::from(self.width).max(0.0) * f64::from(self.height).max(0.0)
    }

    /// Whether all of it is finite and its sides are positive.
    pub fn is_proper(&self) -> bool {
        [self.x, self.y, self.width, self.height].iter().all(|value| value.is_finite())
            && self.width > 0.0
            && self.height > 0.0
    }

    /// The area that both cover.
    pub fn intersection(&self, other: &Bounds) -> f64 {
        let shared = |start: f32, length: f32, other_start: f32, other_length: f32| {
            let (start, other_start) = (f64::from(start), f64::from(other_start));
            let end = (start + f64::from(length)).min(other_start + f64::from(other_length));
            (end - start.max(other_start)).max(0.0)
        };
        shared(self.x, self.width, other.x, other.width) * shared(self.y, self.height, other.y, other.height)
    }

    /// Intersection over union: 1 for the same box, 0 for boxes that share nothing, have no area or are not finite.
    pub fn iou(&self, other: &Bounds) -> f64 {
        if !self.is_proper() || !other.is_proper() {
            return 0.0;
        }
        let shared = self.intersection(other);
        shared / (self.area() + other.area() - shared)
    }
}

/// Something that a detector may have found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Candidate {
    /// Where.
    pub bounds: Bounds,
    /// How sure it is.
    pub score: f32,
    /// Of which class; the same number for all where classes do not matter.
    pub class: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(x: f32, y: f32, width: f32, height: f32) -> Bounds {
        Bounds { x, y, width, height }
    }

    #[test]
    fn shares() {
        let square = bounds(0.0, 0.0, 2.0, 2.0);
        for (other, expected) in [
            (square, 1.0),
            (bounds(1.0, 0.0, 2.0, 2.0), 1.0 / 3.0),
            (bounds(1.0, 1.0, 2.0, 2.0), 1.0 / 7.0),
            (bounds(0.5, 0.5, 1.0, 1.0), 0.25),
            (bounds(2.0, 0.0, 2.0, 2.0), 0.0),
            (bounds(0.0, -9.0, 2.0, 2.0), 0.0),
            (bounds(0.0, 0.0, 0.0, 2.0), 0.0),
            (bounds(2.0, 2.0, -2.0, -2.0), 0.0),
            (bounds(f32::NAN, 0.0, 2.0, 2.0), 0.0),
            (bounds(0.0, 0.0, f32::INFINITY, 2.0), 0.0),
            (bounds(-1e30, -1e30, 2e30, 2e30), 0.0),
        ] {
            assert!((square.iou(&other) - expected).abs() < 1e-12, "{other:?}: {}", square.iou(&other));
            assert_eq!(square.iou(&other), other.iou(&square));
        }
    }
}
