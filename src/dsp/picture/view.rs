//! Borrowed pixels.

use crate::dsp::DspError;
use crate::dsp::error::in_range;

/// `height` rows of `width` pixels of `channels` bytes, `stride` bytes from row to row. Never empty.
#[derive(Clone, Copy, Debug)]
pub struct PixelView<'a> {
    /// From the first pixel to the last one at least.
    bytes: &'a [u8],
    width: usize,
    height: usize,
    stride: usize,
    channels: usize,
}

impl<'a> PixelView<'a> {
    /// Pixels in rows that begin `stride` bytes apart; what follows the last row is ignored.
    ///
    /// Fails when a side is zero, the channels are not 1, 3 or 4, rows overlap, or bytes are missing.
    pub fn new(bytes: &'a [u8], width: u32, height: u32, stride: usize, channels: usize) -> Result<Self, DspError> {
        let (width, height) = (width as usize, height as usize);
        in_range("the width of a picture in pixels", width, 1, u32::MAX as usize)?;
        in_range("the height of a picture in pixels", height, 1, u32::MAX as usize)?;
        if !matches!(channels, 1 | 3 | 4) {
            let expected = "1 (gray), 3 (RGB) or 4 (RGBA)";
            return Err(DspError::BadValue { what: "the channels of a picture", expected, found: channels as f64 });
        }
        let row = width.saturating_mul(channels);
        in_range("the bytes from row to row", stride, row, usize::MAX)?;
        let expected = stride.saturating_mul(height - 1).saturating_add(row);
        if bytes.len() < expected {
            return Err(DspError::WrongLength { what: "the bytes of a picture", expected, found: bytes.len() });
        }
        Ok(PixelView { bytes, width, height, stride, channels })
    }

    /// Pixels in rows without anything between them.
    pub fn packed(bytes: &'a [u8], width: u32, height: u32, channels: usize) -> Result<Self, DspError> {
        Self::new(bytes, width, height, (width as usize).saturating_mul(channels), channels)
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Bytes of a pixel.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Row `y` from the top, without what follows it.
    ///
    /// # Panics
    /// When there is no such row.
    pub(super) fn row(&self, y: usize) -> &'a [u8] {
        &self.bytes[y * self.stride..][..self.width * self.channels]
    }

    /// The rows from the top.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let view = *self;
        (0..view.height).map(move |y| view.row(y))
    }

    /// The pixel at column `x` of row `y`.
    ///
    /// # Panics
    /// When there is no such pixel.
    pub(super) fn pixel(&self, x: usize, y: usize) -> &'a [u8] {
        &self.row(y)[x * self.channels..][..self.channels]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_leave_out_what_follows_them() {
        let bytes: Vec<u8> = (0..12).collect();
        let view = PixelView::new(&bytes, 1, 3, 4, 3).unwrap();
        assert_eq!(view.rows().collect::<Vec<_>>(), [[0, 1, 2], [4, 5, 6], [8, 9, 10]]);
        assert_eq!(view.pixel(0, 1), [4, 5, 6]);
    }

    #[test]
    fn bad_views() {
        let bytes = [0u8; 12];
        for (width, height, stride, channels, message) in [
            (0, 2, 3, 3, "the width of a picture in pixels must be from 1 to 4294967295, found 0"),
            (2, 0, 6, 3, "the height of a picture in pixels must be from 1 to 4294967295, found 0"),
            (2, 2, 4, 2, "the channels of a picture must be 1 (gray), 3 (RGB) or 4 (RGBA), found 2"),
            (2, 2, 5, 3, "the bytes from row to row must be from 6 to 18446744073709551615, found 5"),
            (2, 2, 7, 3, "the bytes of a picture must hold 13 values, found 12"),
            (2, 2, usize::MAX, 3, "the bytes of a picture must hold 18446744073709551615 values, found 12"),
            (
                u32::MAX,
                u32::MAX,
                usize::MAX,
                4,
                "the bytes of a picture must hold 18446744073709551615 values, found 12",
            ),
        ] {
            let error = PixelView::new(&bytes, width, height, stride, channels).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
    }
}
