//! Drawing on a picture: boxes, lines, discs, masks and texts.
//!
//! Coordinates are continuous and in pixels, as everywhere here: pixel (i, j) covers [i, i + 1) × [j, j + 1). What lies
//! outside of the picture is left out, and what has no finite place is not drawn. Edges are smooth.

mod colour;
mod font;
mod lettering;

pub use colour::{Colour, distinct_colour, heat_colour};
pub(crate) use font::Font;
pub use lettering::Lettering;

/// Samples of a pixel: red, green, blue.
const CHANNELS: usize = 3;

/// Beyond any picture, in pixels.
const FAR: f32 = 1e7;

/// A picture that is drawn on: rows of red, green and blue, one behind the other.
#[derive(Debug)]
pub struct Canvas<'a> {
    pixels: &'a mut [u8],
    width: usize,
    height: usize,
}

impl<'a> Canvas<'a> {
    /// Draws on these pixels. `None` unless they are `width × height` of three bytes.
    pub fn new(pixels: &'a mut [u8], width: u32, height: u32) -> Option<Self> {
        let (width, height) = (width as usize, height as usize);
        let bytes = width.checked_mul(height)?.checked_mul(CHANNELS)?;
        (bytes == pixels.len()).then_some(Canvas { pixels, width, height })
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Lays a colour over a pixel; `coverage` 255 hides what was there.
    fn blend(&mut self, x: usize, y: usize, colour: Colour, coverage: u8) {
        let at = (y * self.width + x) * CHANNELS;
        let Some(pixel) = self.pixels.get_mut(at..at + CHANNELS).filter(|_| x < self.width) else { return };
        let over = u32::from(coverage);
        for (sample, new) in pixel.iter_mut().zip(colour) {
            *sample = ((u32::from(*sample) * (255 - over) + u32::from(new) * over + 127) / 255) as u8;
        }
    }

    /// The pixels that a span of coordinates touches, cut at `limit`; empty for what is no span.
    fn touched(from: f32, to: f32, limit: usize) -> std::ops::Range<usize> {
        if !(from.is_finite() && to.is_finite()) {
            return 0..0;
        }
        // A cast of what is beyond the range gives its end.
        let (from, to) = (from.floor().max(0.0) as usize, to.ceil().max(0.0) as usize);
        from.min(limit)..to.min(limit)
    }

    /// Fills the rectangle from one corner to the opposite one; `opacity` 1 hides what was there.
    pub fn fill(&mut self, from: (f32, f32), to: (f32, f32), colour: Colour, opacity: f32) {
        let share = |start: f32, end: f32, at: usize| {
            let at = at as f32;
            ((at + 1.0).min(end) - at.max(start)).clamp(0.0, 1.0)
        };
        for y in Self::touched(from.1, to.1, self.height) {
            let row = share(from.1, to.1, y) * opacity.clamp(0.0, 1.0);
            for x in Self::touched(from.0, to.0, self.width) {
                let coverage = (row * share(from.0, to.0, x) * 255.0).round() as u8;
                self.blend(x, y, colour, coverage);
            }
        }
    }

    /// The outline of a rectangle; its line lies half inside and half outside.
    pub fn rectangle(&mut self, from: (f32, f32), to: (f32, f32), thickness: f32, colour: Colour) {
        let half = thickness / 2.0;
        let (left, top, right, bottom) = (from.0 - half, from.1 - half, to.0 + half, to.1 + half);
        self.fill((left, top), (right, top + thickness), colour, 1.0);
        self.fill((left, bottom - thickness), (right, bottom), colour, 1.0);
        let (top, bottom) = (top + thickness, bottom - thickness);
        self.fill((left, top), (left + thickness, bottom), colour, 1.0);
        self.fill((right - thickness, top), (right, bottom), colour, 1.0);
    }

    /// A line with round ends.
    pub fn line(&mut self, from: (f32, f32), to: (f32, f32), thickness: f32, colour: Colour) {
        let radius = thickness / 2.0;
        let margin = radius + 1.0;
        let along = (to.0 - from.0, to.1 - from.1);
        let length = along.0 * along.0 + along.1 * along.1;
        if !length.is_finite() {
            return;
        }
        for y in Self::touched(from.1.min(to.1) - margin, from.1.max(to.1) + margin, self.height) {
            let dy = y as f32 + 0.5 - from.1;
            for x in Self::touched(from.0.min(to.0) - margin, from.0.max(to.0) + margin, self.width) {
                let dx = x as f32 + 0.5 - from.0;
                // The nearest point of the line to the pixel's centre.
                let part = if length > 0.0 { ((dx * along.0 + dy * along.1) / length).clamp(0.0, 1.0) } else { 0.0 };
                let distance = (dx - part * along.0).hypot(dy - part * along.1);
                let coverage = ((radius + 0.5 - distance).clamp(0.0, 1.0) * 255.0).round() as u8;
                if coverage > 0 {
                    self.blend(x, y, colour, coverage);
                }
            }
        }
    }

    /// A filled circle.
    pub fn disc(&mut self, centre: (f32, f32), radius: f32, colour: Colour) {
        self.line(centre, centre, radius * 2.0, colour);
    }

    /// Lays over each pixel within a rectangle what `of` gives for its centre: a colour and its coverage, 255 hiding what
    /// was there.
    pub fn overlay(&mut self, from: (f32, f32), to: (f32, f32), mut of: impl FnMut(f32, f32) -> Option<(Colour, u8)>) {
        for y in Self::touched(from.1, to.1, self.height) {
            for x in Self::touched(from.0, to.0, self.width) {
                if let Some((colour, coverage)) = of(x as f32 + 0.5, y as f32 + 0.5) {
                    self.blend(x, y, colour, coverage);
                }
            }
        }
    }

    /// Writes a text in one line; `at` is the left end of its base line. Gives where it ends.
    pub fn text(&mut self, lettering: &mut Lettering, at: (f32, f32), text: &str, colour: Colour) -> f32 {
        let mut x = at.0;
        // Far outside of any picture, and false for NaN.
        if !(x.abs() < FAR && at.1.abs() < FAR) {
            return x;
        }
        for character in text.chars() {
            let glyph = lettering.glyph(character);
            let (left, top) = (x.round() as i64 + glyph.left, at.1.round() as i64 + glyph.top);
            for (row, line) in glyph.coverage.chunks(glyph.width.max(1)).enumerate() {
                let Ok(y) = usize::try_from(top + row as i64) else { continue };
                for (column, coverage) in line.iter().enumerate().filter(|(_, coverage)| **coverage > 0) {
                    if let Ok(x) = usize::try_from(left + column as i64) {
                        self.blend(x, y, colour, *coverage);
                    }
                }
            }
            x += glyph.advance;
        }
        x
    }
}

#[cfg(test)]
mod tests;
