//! Colour to luminance.

use super::PixelView;

/// The luminance of every pixel, appended to `out` row by row: 0.299 red + 0.587 green + 0.114 blue (ITU-R BT.601, as
/// Pillow's mode `L`), in 16-bit fixed point, rounded to nearest. Alpha is left out; a gray picture is copied.
pub fn grayscale(view: &PixelView<'_>, out: &mut Vec<u8>) {
    out.reserve(view.width() * view.height());
    for row in view.rows() {
        match view.channels() {
            1 => out.extend_from_slice(row),
            channels => out.extend(row.chunks_exact(channels).map(|pixel| luminance(pixel[0], pixel[1], pixel[2]))),
        }
    }
}

/// 0.299, 0.587 and 0.114 times 2¹⁶; they sum to 2¹⁶, so that white stays white.
fn luminance(red: u8, green: u8, blue: u8) -> u8 {
    let sum = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue) + 0x8000;
    (sum >> 16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases() {
        // The values are Pillow's.
        for (pixel, expected) in [
            ([0, 0, 0], 0),
            ([255, 255, 255], 255),
            ([255, 0, 0], 76),
            ([0, 255, 0], 150),
            ([0, 0, 255], 29),
            ([12, 200, 99], 132),
            ([1, 2, 3], 2),
        ] {
            assert_eq!(luminance(pixel[0], pixel[1], pixel[2]), expected, "{pixel:?}");
        }
    }

    #[test]
    fn rows_and_alpha() {
        let mut out = vec![9];
        let bytes = [255, 255, 255, 0, 0, 0, 0, 255, 7, 7, 255, 0, 0, 9];
        grayscale(&PixelView::new(&bytes, 1, 2, 10, 4).unwrap(), &mut out);
        assert_eq!(out, [9, 255, 76]);
        out.clear();
        grayscale(&PixelView::new(&bytes, 2, 2, 5, 1).unwrap(), &mut out);
        assert_eq!(out, [255, 255, 0, 0]);
    }
}
