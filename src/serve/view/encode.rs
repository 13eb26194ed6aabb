//! Pictures for the page: made smaller, compressed as JPEG.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, ImageBuffer, ImageEncoder, Luma, Rgb, imageops};
use thiserror::Error;

use super::board::Frame;
use crate::media::{Image, PixelFormat};

/// The longest side on the page, in pixels.
const LONGEST: u32 = 960;

/// JPEG's quality, of 100.
const QUALITY: u8 = 80;

/// Why a picture cannot be shown.
#[derive(Debug, Error)]
pub(super) enum EncodeError {
    /// It has no pixels, or fewer than its size says.
    #[error("it is {width} × {height} pixels in {bytes} bytes")]
    Pixels { width: u32, height: u32, bytes: usize },
    /// JPEG takes it not.
    #[error(transparent)]
    Jpeg(#[from] image::ImageError),
}

/// The event that shows a picture: JSON with the JPEG as a data URL. `width` and `height` are the picture's own.
pub(super) fn event(port: usize, frame: &Frame) -> Result<Arc<str>, EncodeError> {
    let (width, height) = (frame.image.width(), frame.image.height());
    let stream = serde_json::Value::from(&*frame.stream);
    let (number, start) = (frame.number, frame.start_s);
    let mut text = format!(
        "{{\"port\":{port},\"number\":{number},\"stream\":{stream},\"start\":{start},\"width\":{width},\"height\":{height},\
         \"url\":\"data:image/jpeg;base64,"
    );
    STANDARD.encode_string(jpeg(&frame.image)?, &mut text);
    text.push_str("\"}");
    Ok(text.into())
}

fn jpeg(image: &Image) -> Result<Vec<u8>, EncodeError> {
    let (width, height) = (image.width(), image.height());
    let packed = image.packed();
    let wrong = || EncodeError::Pixels { width, height, bytes: packed.len() };
    if width == 0 || height == 0 {
        return Err(wrong());
    }
    // In whole numbers: no side becomes zero.
    let longest = u64::from(width.max(height));
    let scaled = |side: u32| match longest > u64::from(LONGEST) {
        true => u32::try_from(u64::from(side) * u64::from(LONGEST) / longest).unwrap_or(LONGEST).max(1),
        false => side,
    };
    let (to_width, to_height) = (scaled(width), scaled(height));
    let mut bytes = Vec::new();
    let encoder = JpegEncoder::new_with_quality(&mut bytes, QUALITY);
    match image.format() {
        PixelFormat::Gray8 => {
            let whole = ImageBuffer::<Luma<u8>, &[u8]>::from_raw(width, height, &packed).ok_or_else(wrong)?;
            let small = imageops::thumbnail(&whole, to_width, to_height);
            encoder.write_image(small.as_raw(), to_width, to_height, ExtendedColorType::L8)?;
        }
        PixelFormat::Rgb8 | PixelFormat::Rgba8 => {
            let colours: Vec<u8>;
            let rgb: &[u8] = if image.format() == PixelFormat::Rgba8 {
                colours = packed.chunks_exact(4).flat_map(|pixel| pixel.iter().take(3).copied()).collect();
                &colours
            } else {
                &packed
            };
            let whole = ImageBuffer::<Rgb<u8>, &[u8]>::from_raw(width, height, rgb).ok_or_else(wrong)?;
            let small = imageops::thumbnail(&whole, to_width, to_height);
            encoder.write_image(small.as_raw(), to_width, to_height, ExtendedColorType::Rgb8)?;
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_format_and_odd_size_becomes_a_jpeg() {
        for (format, channels) in [(PixelFormat::Gray8, 1), (PixelFormat::Rgb8, 3), (PixelFormat::Rgba8, 4)] {
            for (width, height, expected) in
                [(1, 1, (1, 1)), (5, 3, (5, 3)), (2000, 1000, (960, 480)), (3, 4000, (1, 960)), (1001, 1, (960, 1))]
            {
                let bytes = vec![200u8; width as usize * height as usize * channels];
                let image = Image::new(bytes, width, height, format).unwrap();
                let made = image::load_from_memory(&jpeg(&image).unwrap()).unwrap();
                assert_eq!((made.width(), made.height()), expected, "{format:?} {width} × {height}");
                let pixel = made.to_rgb8().get_pixel(0, 0).0;
                assert!(pixel.iter().all(|value| value.abs_diff(200) < 4), "{pixel:?}");
            }
        }
    }

    #[test]
    fn a_part_of_a_picture_is_that_part() {
        let mut bytes = vec![0u8; 16 * 16];
        bytes.iter_mut().skip(8 * 16).for_each(|value| *value = 255);
        let image = Image::new(bytes, 16, 16, PixelFormat::Gray8).unwrap().crop(2, 8, 8, 8).unwrap();
        let made = image::load_from_memory(&jpeg(&image).unwrap()).unwrap().to_luma8();
        assert!(made.pixels().all(|pixel| pixel.0[0] > 250));
    }

    #[test]
    fn the_event_is_json() {
        let image = Image::new(vec![9u8; 12], 2, 2, PixelFormat::Rgb8).unwrap();
        let frame = Frame { image, number: 3, stream: "a \"b\"\n".into(), start_s: 0.5 };
        let event: serde_json::Value = serde_json::from_str(&event(1, &frame).unwrap()).unwrap();
        assert_eq!((&event["stream"], &event["width"]), (&"a \"b\"\n".into(), &2.into()));
        assert!(event["url"].as_str().unwrap().starts_with("data:image/jpeg;base64,/9j/"));
    }
}
