//! Letters as pixels.

use std::collections::HashMap;
use std::fmt;

use tiny_skia::{FillRule, Mask, Transform};

use super::Font;

/// Characters that are kept; more begin anew, as a text of any length may come from outside.
const KEPT: usize = 1024;
/// Sizes that letters have, in pixels.
const SIZES: std::ops::RangeInclusive<f64> = 4.0..=400.0;

/// The letters of the bundled font (Latin, Greek, Cyrillic; others are an empty box) at one size. Each is drawn once.
pub struct Lettering {
    font: Font,
    size: f64,
    glyphs: HashMap<char, Glyph>,
}

/// A letter: how much of each pixel it covers.
pub(super) struct Glyph {
    /// From the pen to its left side, from the base line to its upper side (upwards is negative).
    pub(super) left: i64,
    pub(super) top: i64,
    pub(super) width: usize,
    /// Rows of `width`; empty for a blank.
    pub(super) coverage: Vec<u8>,
    /// How far the pen moves.
    pub(super) advance: f32,
}

impl fmt::Debug for Lettering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lettering").field("size", &self.size).finish_non_exhaustive()
    }
}

impl Lettering {
    /// Letters of `size` pixels to the em, 4 to 400; others count as the nearest of these.
    pub fn new(size: f64) -> Self {
        let size = if size.is_nan() { *SIZES.start() } else { size.clamp(*SIZES.start(), *SIZES.end()) };
        Lettering { font: Font::new(), size, glyphs: HashMap::new() }
    }

    /// Pixels to the em.
    pub fn size(&self) -> f64 {
        self.size
    }

    /// The width of a text in pixels.
    pub fn width(&self, text: &str) -> f32 {
        self.font.width(text, self.size) as f32
    }

    /// How far letters reach above the base line and below it, in pixels.
    pub fn reach(&self) -> (f32, f32) {
        let (above, below) = self.font.reach(self.size);
        (above as f32, below as f32)
    }

    pub(super) fn glyph(&mut self, character: char) -> &Glyph {
        if self.glyphs.len() >= KEPT {
            self.glyphs.clear();
        }
        let (font, size) = (&self.font, self.size);
        self.glyphs.entry(character).or_insert_with(|| glyph(font, size, character))
    }
}

fn glyph(font: &Font, size: f64, character: char) -> Glyph {
    let text = character.to_string();
    let advance = font.width(&text, size) as f32;
    let blank = Glyph { left: 0, top: 0, width: 0, coverage: Vec::new(), advance };
    let Some(bounds) = font.outline(&text, size, 0.0, 0.0).map(|outline| outline.bounds()) else { return blank };
    let (left, top) = (bounds.left().floor(), bounds.top().floor());
    let (width, height) = ((bounds.right() - left).ceil() as u32 + 1, (bounds.bottom() - top).ceil() as u32 + 1);
    let outline = font.outline(&text, size, f64::from(-left), f64::from(-top));
    let (Some(mut mask), Some(outline)) = (Mask::new(width, height), outline) else { return blank };
    mask.fill_path(&outline, FillRule::Winding, true, Transform::identity());
    Glyph { left: left as i64, top: top as i64, width: width as usize, coverage: mask.data().to_vec(), advance }
}
