//! Frozen values of Pillow, made by `tests/reference/picture.py`.

use std::io::Read;

use serde::Deserialize;

use super::Filter;

/// A picture resized by Pillow.
#[derive(Deserialize)]
pub(super) struct Resized {
    pub(super) input: (u32, u32),
    pub(super) output: (u32, u32),
    /// Left, top, right, bottom of the part used.
    pub(super) source: [f64; 4],
    pub(super) channels: usize,
    pub(super) filter: Filter,
    /// In hexadecimal.
    pixels: String,
}

impl Resized {
    /// The bytes of the result.
    pub(super) fn pixels(&self) -> Vec<u8> {
        let digits: Vec<u8> = self.pixels.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
        digits.chunks_exact(2).map(|pair| pair[0] * 16 + pair[1]).collect()
    }
}

pub(super) fn resized() -> Vec<Resized> {
    #[derive(Deserialize)]
    struct File {
        cases: Vec<Resized>,
    }
    let packed = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/picture/resize.json.gz"));
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
    serde_json::from_str::<File>(&text).unwrap().cases
}

/// The input of the reference: noise, black and white noise, and ramps, side by side.
pub(super) fn picture(width: u32, height: u32, channels: usize) -> Vec<u8> {
    let mut state = 12_345u32;
    let mut out = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for channel in 0..channels as u32 {
                state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
                let noise = (state >> 24) as u8;
                out.push(match (x / 8 + y / 8) % 3 {
                    0 => noise,
                    1 => 255 * (noise & 1),
                    _ => (5 * x + 3 * y + 60 * channel) as u8,
                });
            }
        }
    }
    out
}
