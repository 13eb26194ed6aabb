//! The picture behind the numbers that a model reads.

use super::{Affine, Image, Place};

/// The picture that a tensor was made of: its size, and where it lies in the captured frame. It travels with the packet
/// ([`Packet::view`](super::Packet::view)) from the stage that made numbers of pixels through the model to the decoder,
/// which so tells what it finds in the pixels of the frame.
///
/// Points of the picture are continuous: it covers [0, width] × [0, height] (see [`Affine`]).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// Pixels in a row of the picture.
    pub width: u32,
    /// Its rows.
    pub height: u32,
    /// Where it lies in the frame.
    pub place: Place,
}

impl View {
    /// The view of a picture as it is.
    pub fn of(image: &Image) -> Self {
        View { width: image.width(), height: image.height(), place: *image.place() }
    }

    /// The view of a frame of this size as it is.
    pub fn whole(width: u32, height: u32) -> Self {
        View { width, height, place: Place::whole(width, height) }
    }

    /// The view of a picture of this size that was made from the one seen here: `to_this` leads from the new picture's
    /// pixel coordinates to those of the old one.
    #[must_use]
    pub fn of_part(&self, (width, height): (u32, u32), to_this: &Affine) -> Self {
        View { width, height, place: self.place.of_part(to_this) }
    }

    /// The map from a grid of `columns × rows` cells over the whole picture to the frame: cell (i, j) covers
    /// [i, i + 1) × [j, j + 1). A grid of 1 × 1 makes it the map from shares of the sides. `None` for a grid of nothing.
    pub fn from_grid(&self, columns: usize, rows: usize) -> Option<Affine> {
        let scale = |pixels: u32, cells: usize| (cells > 0).then(|| f64::from(pixels) / cells as f64);
        let scale = Affine::scale(scale(self.width, columns)?, scale(self.height, rows)?);
        Some(self.place.to_frame.after(&scale))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::PixelFormat;

    #[test]
    fn points_go_back_to_the_frame() {
        let frame = Image::new(vec![0u8; 80 * 60], 80, 60, PixelFormat::Gray8).unwrap();
        let crop = View::of(&frame.crop(10, 20, 40, 30).unwrap());
        assert_eq!((crop.width, crop.height), (40, 30));
        // Brought to 20 × 10 and turned a quarter clockwise: (x, y) of the result was (y, 10 − x).
        let small = crop.of_part((20, 10), &Affine::scale(2.0, 3.0));
        let turned = small.of_part((10, 20), &Affine::new([[0.0, 1.0, 0.0], [-1.0, 0.0, 10.0]]));
        assert_eq!(turned.place.to_frame.apply((10.0, 0.0)), (10.0, 20.0));
        assert_eq!(turned.place.to_frame.apply((0.0, 20.0)), (50.0, 50.0));
        assert_eq!((turned.place.frame_width, turned.place.frame_height), (80, 60));
        for (columns, rows, cell, point) in
            [(1, 1, (1.0, 0.5), (50.0, 35.0)), (10, 5, (5.0, 5.0), (30.0, 50.0)), (20, 10, (0.5, 0.5), (11.0, 21.5))]
        {
            assert_eq!(small.from_grid(columns, rows).unwrap().apply(cell), point, "{columns} × {rows}");
        }
        assert_eq!(small.from_grid(0, 4), None);
        assert_eq!(View::whole(4, 3).from_grid(4, 3), Some(Affine::IDENTITY));
    }
}
