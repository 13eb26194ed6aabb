//! Pictures: rows of pixels that share their memory, and their place in the frame that was captured.

use std::fmt;

use thiserror::Error;

use super::Affine;
use crate::tensor::Buffer;

/// How a pixel lies in memory. Samples are 8 bits, 0 to 255, gamma-coded as files and cameras give them (sRGB unless
/// somebody knows better); alpha is straight, not multiplied in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PixelFormat {
    /// One byte: luminance.
    Gray8,
    /// Three bytes: red, green, blue.
    Rgb8,
    /// Four bytes: red, green, blue, alpha (255 is opaque).
    Rgba8,
}

impl PixelFormat {
    /// Samples in a pixel.
    pub const fn channels(self) -> usize {
        match self {
            PixelFormat::Gray8 => 1,
            PixelFormat::Rgb8 => 3,
            PixelFormat::Rgba8 => 4,
        }
    }

    /// Bytes of a pixel.
    pub const fn bytes(self) -> usize {
        self.channels()
    }

    /// Its name, as in `rgb8`.
    pub const fn name(self) -> &'static str {
        match self {
            PixelFormat::Gray8 => "gray8",
            PixelFormat::Rgb8 => "rgb8",
            PixelFormat::Rgba8 => "rgba8",
        }
    }
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a picture lies in the frame that was captured. Every resize, crop, letterbox and rotation composes its own map
/// into it, so that what is found in the picture can be told in the pixels of the frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// From this picture's pixel coordinates to the frame's (see [`Affine`] for where pixels have their centres).
    pub to_frame: Affine,
    /// Width of the captured frame in pixels.
    pub frame_width: u32,
    /// Height of the captured frame in pixels.
    pub frame_height: u32,
}

impl Place {
    /// The place of the frame itself.
    pub fn whole(frame_width: u32, frame_height: u32) -> Self {
        Place { to_frame: Affine::IDENTITY, frame_width, frame_height }
    }

    /// The place of a picture made from the one at this place: `to_this` leads from the new picture's pixel coordinates
    /// to those of the old one.
    #[must_use]
    pub fn of_part(&self, to_this: &Affine) -> Self {
        Place { to_frame: self.to_frame.after(to_this), ..*self }
    }
}

/// A picture: `height` rows of `width` pixels, from the top left, sharing their memory. Never empty.
///
/// Rows lie `stride` bytes apart; a [crop](Image::crop) has the stride of the picture that it is cut from, and copies
/// nothing.
#[derive(Clone, Debug)]
pub struct Image {
    /// From the first byte of the first row to the last byte of the last one.
    pixels: Buffer<u8>,
    width: u32,
    height: u32,
    stride: usize,
    format: PixelFormat,
    place: Place,
}

/// Pixels that do not make a picture.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImageError {
    /// No pixel at all, or more than memory can address.
    #[error("expected a picture of at least 1 × 1 pixels that memory can hold, found {width} × {height}")]
    Size {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// Rows that overlap.
    #[error("expected rows at least {expected} bytes apart (the bytes of one row), found a stride of {found}")]
    Stride {
        /// Bytes of a row.
        expected: usize,
        /// The stride given.
        found: usize,
    },
    /// Too few or too many bytes.
    #[error("expected {expected} bytes for {width} × {height} pixels of {format}, found {found}")]
    Length {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
        /// The pixels' format.
        format: PixelFormat,
        /// Bytes that the picture takes.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
}

impl Image {
    /// A captured frame: row after row of `pixels`, which are not copied. Its place is the identity.
    ///
    /// Fails when a side is zero or the bytes are not exactly `width × height` pixels.
    pub fn new(
        pixels: impl Into<Buffer<u8>>,
        width: u32,
        height: u32,
        format: PixelFormat,
    ) -> Result<Self, ImageError> {
        let row = row_bytes(width, height, format)?;
        Self::with_stride(pixels, width, height, row, format)
    }

    /// As [`new`](Image::new), with rows that begin `stride` bytes apart. The bytes may end with the last row's last
    /// pixel, or with its padding.
    pub fn with_stride(
        pixels: impl Into<Buffer<u8>>,
        width: u32,
        height: u32,
        stride: usize,
        format: PixelFormat,
    ) -> Result<Self, ImageError> {
        let pixels = pixels.into();
        let row = row_bytes(width, height, format)?;
        if stride < row {
            return Err(ImageError::Stride { expected: row, found: stride });
        }
        let size = || ImageError::Size { width, height };
        let before_last = stride.checked_mul(height as usize - 1).ok_or_else(size)?;
        let expected = before_last.checked_add(row).ok_or_else(size)?;
        let most = before_last.saturating_add(stride);
        let found = pixels.len();
        let pixels = if (expected..=most).contains(&found) { pixels.slice(0..expected) } else { None };
        let pixels = pixels.ok_or(ImageError::Length { width, height, format, expected, found })?;
        Ok(Image { pixels, width, height, stride, format, place: Place::whole(width, height) })
    }

    /// The same picture at another place.
    #[must_use]
    pub fn at(self, place: Place) -> Self {
        Image { place, ..self }
    }

    /// Pixels in a row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// How a pixel lies in memory.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// Bytes from the start of a row to the start of the next.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Where it lies in the captured frame.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The bytes from the first pixel to the last one, with what lies between the rows where they have a stride.
    pub fn bytes(&self) -> &Buffer<u8> {
        &self.pixels
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.width as usize * self.format.bytes()
    }

    /// Bytes of its pixels, without what lies between the rows.
    pub fn byte_len(&self) -> usize {
        self.row_bytes() * self.height as usize
    }

    /// The rows from the top, each of [`row_bytes`](Image::row_bytes) bytes.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let row = self.row_bytes();
        self.pixels.chunks(self.stride).map(move |line| &line[..row])
    }

    /// The pixels row after row without anything between them: shared where they lie like that, copied where not.
    pub fn packed(&self) -> Buffer<u8> {
        if self.stride == self.row_bytes() || self.height == 1 {
            return self.pixels.clone();
        }
        let mut packed = Vec::with_capacity(self.byte_len());
        self.rows().for_each(|row| packed.extend_from_slice(row));
        packed.into()
    }

    /// The part of `width × height` pixels whose top left pixel is (x, y), sharing memory, at its own place in the
    /// frame. `None` when it is empty or not all inside the picture.
    pub fn crop(&self, x: u32, y: u32, width: u32, height: u32) -> Option<Image> {
        let inside = |start: u32, length: u32, whole: u32| start.checked_add(length).is_some_and(|end| end <= whole);
        if width == 0 || height == 0 || !inside(x, width, self.width) || !inside(y, height, self.height) {
            return None;
        }
        let start = y as usize * self.stride + x as usize * self.format.bytes();
        let length = (height as usize - 1) * self.stride + width as usize * self.format.bytes();
        let place = self.place.of_part(&Affine::translation(x.into(), y.into()));
        Some(Image { pixels: self.pixels.slice(start..start + length)?, width, height, place, ..*self })
    }
}

/// Bytes of a row, when the picture is not empty and could be addressed.
fn row_bytes(width: u32, height: u32, format: PixelFormat) -> Result<usize, ImageError> {
    let row = (width as usize).checked_mul(format.bytes());
    row.filter(|row| *row > 0 && height > 0 && row.checked_mul(height as usize).is_some())
        .ok_or(ImageError::Size { width, height })
}

impl PartialEq for Image {
    /// Whether size, format, place and every pixel are the same; strides may differ.
    fn eq(&self, other: &Self) -> bool {
        (self.width, self.height, self.format) == (other.width, other.height, other.format)
            && self.place == other.place
            && self.rows().eq(other.rows())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counting(width: u32, height: u32, format: PixelFormat) -> Image {
        let bytes = width as usize * height as usize * format.bytes();
        Image::new((0..bytes).map(|n| n as u8).collect::<Vec<u8>>(), width, height, format).unwrap()
    }

    #[test]
    fn bad_pictures() {
        use PixelFormat::{Gray8, Rgb8, Rgba8};
        for (bytes, width, height, stride, format, message) in [
            (0, 0, 0, 0, Gray8, "expected a picture of at least 1 × 1 pixels that memory can hold, found 0 × 0"),
            (0, 0, 4, 0, Rgb8, "expected a picture of at least 1 × 1 pixels that memory can hold, found 0 × 4"),
            (4, 4, 0, 4, Gray8, "expected a picture of at least 1 × 1 pixels that memory can hold, found 4 × 0"),
            (
                9,
                u32::MAX,
                u32::MAX,
                usize::MAX,
                Rgba8,
                "expected a picture of at least 1 × 1 pixels that memory can hold, found 4294967295 × 4294967295",
            ),
            (12, 4, 3, 3, Gray8, "expected rows at least 4 bytes apart (the bytes of one row), found a stride of 3"),
            (11, 4, 3, 4, Gray8, "expected 12 bytes for 4 × 3 pixels of gray8, found 11"),
            (13, 4, 3, 4, Gray8, "expected 12 bytes for 4 × 3 pixels of gray8, found 13"),
            (13, 4, 3, 5, Gray8, "expected 14 bytes for 4 × 3 pixels of gray8, found 13"),
            (16, 4, 3, 5, Gray8, "expected 14 bytes for 4 × 3 pixels of gray8, found 16"),
        ] {
            let error = Image::with_stride(vec![0u8; bytes], width, height, stride, format).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn rows_leave_their_padding_out() {
        for length in [13, 15] {
            let image = Image::with_stride((0..length).collect::<Vec<u8>>(), 3, 3, 5, PixelFormat::Gray8).unwrap();
            assert_eq!(image.rows().collect::<Vec<_>>(), [[0, 1, 2], [5, 6, 7], [10, 11, 12]]);
            assert_eq!(&*image.packed(), &[0, 1, 2, 5, 6, 7, 10, 11, 12]);
            assert_eq!(image.byte_len(), 9);
        }
    }

    #[test]
    fn crops_share_memory_and_know_their_place() {
        let image = counting(5, 4, PixelFormat::Rgb8);
        let crop = image.crop(1, 2, 3, 2).unwrap();
        assert_eq!(crop.rows().collect::<Vec<_>>(), [&image.bytes()[33..42], &image.bytes()[48..57]]);
        assert!(std::ptr::eq(&crop.bytes()[0], &image.bytes()[33]));
        assert_eq!(crop.place().to_frame.apply((0.5, 0.5)), (1.5, 2.5));
        let inner = crop.crop(2, 1, 1, 1).unwrap();
        assert_eq!(&**inner.bytes(), &image.bytes()[54..57]);
        assert_eq!(inner.place().to_frame, Affine::translation(3.0, 3.0));
        assert_eq!((inner.place().frame_width, inner.place().frame_height), (5, 4));
        assert_eq!(
            inner,
            Image::new(image.bytes()[54..57].to_vec(), 1, 1, PixelFormat::Rgb8).unwrap().at(*inner.place())
        );
    }

    #[test]
    fn crops_that_are_not_inside() {
        let image = counting(5, 4, PixelFormat::Gray8);
        for (x, y, width, height) in [
            (0, 0, 0, 1),
            (0, 0, 1, 0),
            (0, 0, 6, 1),
            (5, 0, 1, 1),
            (0, 3, 1, 2),
            (u32::MAX, 0, 1, 1),
            (1, 1, u32::MAX, 1),
        ] {
            assert!(image.crop(x, y, width, height).is_none(), "{x} {y} {width} {height}");
        }
        assert_eq!(image.crop(0, 0, 5, 4).unwrap(), image);
    }

    proptest! {
        #[test]
        fn a_pixel_of_a_crop_is_the_frames_pixel_at_its_place(
            width in 1u32..9, height in 1u32..9, cut in prop::array::uniform4(0u32..9), stride in 0usize..4,
        ) {
            let stride = width as usize * 3 + stride;
            let bytes: Vec<u8> = (0..stride * height as usize).map(|n| n as u8).collect();
            let image = Image::with_stride(bytes, width, height, stride, PixelFormat::Rgb8).unwrap();
            let (x, y) = (cut[0] % width, cut[1] % height);
            let crop = image.crop(x, y, 1 + cut[2] % (width - x), 1 + cut[3] % (height - y)).unwrap();
            for (j, row) in crop.rows().enumerate() {
                for (i, pixel) in row.chunks(3).enumerate() {
                    let (frame_x, frame_y) = crop.place().to_frame.apply((i as f64 + 0.5, j as f64 + 0.5));
                    let expected = image.rows().nth(frame_y as usize).unwrap().chunks(3).nth(frame_x as usize).unwrap();
                    prop_assert_eq!(pixel, expected);
                }
            }
        }
    }
}
