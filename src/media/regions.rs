//! What was found where in a frame: boxes, keypoints, masks, tracks.

use std::sync::Arc;

use super::{Affine, Label};
use crate::tensor::Buffer;

/// A point in the pixel coordinates of a frame (see [`Affine`] for where pixels have their centres).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    /// From the left edge, in pixels.
    pub x: f32,
    /// From the upper edge, in pixels.
    pub y: f32,
}

/// An upright rectangle in the pixel coordinates of a frame. It may reach beyond the frame, as what it bounds may.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rect {
    /// Its left edge, in pixels.
    pub x: f32,
    /// Its upper edge, in pixels.
    pub y: f32,
    /// In pixels, not negative.
    pub width: f32,
    /// In pixels, not negative.
    pub height: f32,
}

impl Rect {
    /// The rectangle between two opposite corners.
    pub fn from_corners(a: Point, b: Point) -> Self {
        Rect { x: a.x.min(b.x), y: a.y.min(b.y), width: (a.x - b.x).abs(), height: (a.y - b.y).abs() }
    }

    /// Its right edge, in pixels.
    pub fn right(&self) -> f32 {
        self.x + self.width
    }

    /// Its lower edge, in pixels.
    pub fn bottom(&self) -> f32 {
        self.y + self.height
    }

    /// Its area in square pixels.
    pub fn area(&self) -> f32 {
        self.width * self.height
    }

    /// The part within a frame of `width × height` pixels; of no area where they do not meet.
    #[must_use]
    pub fn within(&self, width: u32, height: u32) -> Self {
        let clip = |start: f32, end: f32, limit: u32| {
            let limit = limit as f32;
            (start.clamp(0.0, limit), end.clamp(0.0, limit))
        };
        let (left, right) = clip(self.x, self.right(), width);
        let (top, bottom) = clip(self.y, self.bottom(), height);
        Rect { x: left, y: top, width: (right - left).max(0.0), height: (bottom - top).max(0.0) }
    }

    /// The least upright rectangle around its four corners after `map`.
    #[must_use]
    pub fn mapped(&self, map: &Affine) -> Self {
        let (left, top) = (f64::from(self.x), f64::from(self.y));
        let (right, bottom) = (left + f64::from(self.width), top + f64::from(self.height));
        let corners = [(left, top), (right, top), (right, bottom), (left, bottom)].map(|corner| map.apply(corner));
        let least = |pick: fn(&(f64, f64)) -> f64| corners.iter().map(pick).fold(f64::INFINITY, f64::min);
        let most = |pick: fn(&(f64, f64)) -> f64| corners.iter().map(pick).fold(f64::NEG_INFINITY, f64::max);
        let (x, y) = (least(|corner| corner.0), least(|corner| corner.1));
        Rect {
            x: x as f32,
            y: y as f32,
            width: (most(|corner| corner.0) - x) as f32,
            height: (most(|corner| corner.1) - y) as f32,
        }
    }
}

impl Point {
    /// Where `map` takes it.
    #[must_use]
    pub fn mapped(&self, map: &Affine) -> Self {
        let (x, y) = map.apply((self.x.into(), self.y.into()));
        Point { x: x as f32, y: y as f32 }
    }
}

/// One named place on what was found: an eye, an elbow.
#[derive(Clone, Debug, PartialEq)]
pub struct Keypoint {
    /// Where it is in the frame.
    pub point: Point,
    /// How sure the model is that it is there and visible, 0..1; 1 where the model does not tell.
    pub score: f32,
    /// Its name, when the list of names is known.
    pub name: Option<Arc<str>>,
}

/// Which pixels belong to what was found: a grid of its own size, laid over the frame by a map.
#[derive(Clone, Debug, PartialEq)]
pub struct Mask {
    /// Values in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `width × height` values from the top left: 0 is outside, 255 inside, and between them as sure as that.
    pub values: Buffer<u8>,
    /// From the mask's own pixel coordinates to the frame's.
    pub to_frame: Affine,
}

impl Mask {
    /// The value at a point of the frame, without interpolation: that of the mask's pixel that the point falls into; 0
    /// outside of the mask.
    pub fn at(&self, point: Point) -> u8 {
        let Some(back) = self.to_frame.inverse() else { return 0 };
        let (x, y) = back.apply((point.x.into(), point.y.into()));
        // False for NaN as well.
        let inside = x >= 0.0 && y >= 0.0 && x < f64::from(self.width) && y < f64::from(self.height);
        if !inside {
            return 0;
        }
        let index = (y as usize).checked_mul(self.width as usize).and_then(|row| row.checked_add(x as usize));
        index.and_then(|index| self.values.get(index)).copied().unwrap_or(0)
    }
}

/// One thing that was found in a frame. Made by [`Region::new`]; the other fields are filled by who knows them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Region {
    /// The box around it, in the frame's pixels.
    pub bounds: Rect,
    /// How sure the detector is that something is there, as the decoder defines it (a probability unless it says
    /// otherwise).
    pub score: f32,
    /// What it is, with a score of its own: the detector's class, or the one that a later stage recognised in the crop.
    pub label: Option<Label>,
    /// Its corners in order, where the detector gives more than an upright box: a line of slanted text has four, from
    /// its upper left clockwise as one reads it. Empty otherwise.
    pub outline: Arc<[Point]>,
    /// Its keypoints, in the model's order; may be empty.
    pub keypoints: Arc<[Keypoint]>,
    /// Which pixels belong to it.
    pub mask: Option<Mask>,
    /// The same number for the same thing from frame to frame, within its stream.
    pub track: Option<u64>,
    /// The vector that a model describes it by, for comparing it with others.
    pub embedding: Option<Buffer<f32>>,
}

impl Region {
    /// Something in this box, and nothing more known of it.
    pub fn new(bounds: Rect, score: f32) -> Self {
        Region {
            bounds,
            score,
            label: None,
            outline: Arc::default(),
            keypoints: Arc::default(),
            mask: None,
            track: None,
            embedding: None,
        }
    }

    /// The same thing in other coordinates: box, outline, keypoints and mask go where `map` takes them. So a decoder
    /// that found it in a resized crop tells it in the frame's pixels: `region.mapped(&image.place().to_frame)`.
    #[must_use]
    pub fn mapped(&self, map: &Affine) -> Self {
        Region {
            bounds: self.bounds.mapped(map),
            outline: self.outline.iter().map(|point| point.mapped(map)).collect(),
            keypoints: self
                .keypoints
                .iter()
                .map(|keypoint| Keypoint { point: keypoint.point.mapped(map), ..keypoint.clone() })
                .collect(),
            mask: self.mask.clone().map(|mask| Mask { to_frame: map.after(&mask.to_frame), ..mask }),
            ..self.clone()
        }
    }

    /// Bytes that it holds on to.
    fn byte_len(&self) -> usize {
        let mask = self.mask.as_ref().map_or(0, |mask| mask.values.byte_len());
        let embedding = self.embedding.as_ref().map_or(0, Buffer::byte_len);
        size_of_val(self) + size_of_val(&*self.outline) + size_of_val(&*self.keypoints) + mask + embedding
    }
}

/// What was found in one frame, best first. All coordinates are pixels of the captured frame.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Regions {
    /// Width of the frame in pixels.
    pub frame_width: u32,
    /// Height of the frame in pixels.
    pub frame_height: u32,
    /// Best first.
    pub entries: Arc<[Region]>,
}

impl Regions {
    /// Bytes that the regions hold on to, masks and embeddings included.
    pub fn byte_len(&self) -> usize {
        self.entries.iter().map(Region::byte_len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rect(x: f32, y: f32, width: f32, height: f32) -> Rect {
        Rect { x, y, width, height }
    }

    #[test]
    fn rectangles() {
        let point = |x, y| Point { x, y };
        assert_eq!(Rect::from_corners(point(5.0, 1.0), point(2.0, 7.0)), rect(2.0, 1.0, 3.0, 6.0));
        assert_eq!(rect(2.0, 1.0, 3.0, 6.0).area(), 18.0);
        for (inside, expected) in [
            (rect(1.0, 2.0, 3.0, 4.0), rect(1.0, 2.0, 3.0, 4.0)),
            (rect(-5.0, -5.0, 100.0, 7.0), rect(0.0, 0.0, 10.0, 2.0)),
            (rect(8.0, 8.0, 5.0, 5.0), rect(8.0, 8.0, 2.0, 0.0)),
            (rect(20.0, 3.0, 5.0, 2.0), rect(10.0, 3.0, 0.0, 2.0)),
        ] {
            assert_eq!(inside.within(10, 8), expected, "{inside:?}");
        }
    }

    #[test]
    fn a_region_found_in_a_crop_lies_in_the_frame() {
        let grid = Mask { width: 2, height: 1, values: vec![9, 200].into(), to_frame: Affine::scale(5.0, 10.0) };
        let region = Region {
            outline: [Point { x: 1.0, y: 2.0 }].into(),
            keypoints: [Keypoint { point: Point { x: 3.0, y: 4.0 }, score: 0.5, name: Some("eye".into()) }].into(),
            mask: Some(grid),
            track: Some(7),
            ..Region::new(rect(1.0, 2.0, 4.0, 4.0), 0.75)
        };
        // The crop begins at (100, 50) and was made half as large.
        let found = region.mapped(&Affine::translation(100.0, 50.0).after(&Affine::scale(2.0, 2.0)));
        assert_eq!(found.bounds, rect(102.0, 54.0, 8.0, 8.0));
        assert_eq!(found.outline[0], Point { x: 102.0, y: 54.0 });
        assert_eq!(found.keypoints[0].point, Point { x: 106.0, y: 58.0 });
        assert_eq!((found.score, found.track, found.keypoints[0].name.as_deref()), (0.75, Some(7), Some("eye")));
        let mask = found.mask.unwrap();
        for (x, y, value) in [
            (100.5, 50.5, 9),
            (109.9, 69.9, 9),
            (110.0, 50.0, 200),
            (120.0, 50.0, 0),
            (99.9, 60.0, 0),
            (f32::NAN, 60.0, 0),
        ] {
            assert_eq!(mask.at(Point { x, y }), value, "{x}, {y}");
        }
    }

    #[test]
    fn a_turn_keeps_the_box_around_it() {
        // A quarter turn clockwise of a frame 10 pixels high.
        let turn = Affine::new([[0.0, -1.0, 10.0], [1.0, 0.0, 0.0]]);
        assert_eq!(rect(1.0, 2.0, 3.0, 4.0).mapped(&turn), rect(4.0, 1.0, 4.0, 3.0));
    }

    #[test]
    fn a_mask_shorter_than_its_size_is_outside_there() {
        let mask = Mask { width: 2, height: 2, values: vec![255].into(), to_frame: Affine::IDENTITY };
        assert_eq!(mask.at(Point { x: 0.5, y: 0.5 }), 255);
        assert_eq!(mask.at(Point { x: 1.5, y: 1.5 }), 0);
        let folded = Mask { to_frame: Affine::scale(0.0, 1.0), ..mask };
        assert_eq!(folded.at(Point { x: 0.0, y: 0.5 }), 0);
    }

    #[test]
    fn the_bounds_of_links_count_masks_and_embeddings() {
        let bare = Regions { entries: [Region::new(Rect::default(), 1.0)].into(), ..Regions::default() };
        let region = Region {
            mask: Some(Mask { width: 2, height: 2, values: vec![0; 4].into(), to_frame: Affine::IDENTITY }),
            embedding: Some(vec![0.0; 3].into()),
            ..Region::new(Rect::default(), 1.0)
        };
        let full = Regions { entries: [region].into(), ..Regions::default() };
        assert_eq!(full.byte_len() - bare.byte_len(), 4 + 12);
    }
}
