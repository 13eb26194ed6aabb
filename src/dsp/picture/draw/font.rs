//! The bundled font: widths and outlines of texts.

use skrifa::instance::{LocationRef, Size};
use skrifa::outline::{DrawSettings, OutlinePen};
use skrifa::{FontRef, GlyphId, MetadataProvider};
use tiny_skia::{Path, PathBuilder};

/// Roboto Regular, a subset; see `roboto/README.md`.
static ROBOTO: &[u8] = include_bytes!("roboto/Roboto-Regular.ttf");

/// Reads the font: characters that it lacks are drawn as an empty box. Without kerning.
pub(crate) struct Font(FontRef<'static>);

impl Font {
    /// The bundled font.
    pub(crate) fn new() -> Self {
        Font(FontRef::new(ROBOTO).expect("the bundled font is well formed"))
    }

    /// The width of a text in pixels, `size` pixels being one em.
    pub(crate) fn width(&self, text: &str, size: f64) -> f64 {
        let metrics = self.0.glyph_metrics(Size::new(size as f32), LocationRef::default());
        self.glyphs(text).map(|glyph| f64::from(metrics.advance_width(glyph).unwrap_or(0.0))).sum()
    }

    /// How far letters reach above the base line and below it, in pixels.
    pub(crate) fn reach(&self, size: f64) -> (f64, f64) {
        let metrics = self.0.metrics(Size::new(size as f32), LocationRef::default());
        (metrics.ascent.into(), (-metrics.descent).into())
    }

    /// The outline of a text whose base line begins at `x`, `y`, with `y` downwards; nothing where all is blank.
    pub(crate) fn outline(&self, text: &str, size: f64, x: f64, y: f64) -> Option<Path> {
        let size = Size::new(size as f32);
        let metrics = self.0.glyph_metrics(size, LocationRef::default());
        let outlines = self.0.outline_glyphs();
        let mut pen = Pen { path: PathBuilder::new(), x: x as f32, y: y as f32 };
        for glyph in self.glyphs(text) {
            if let Some(outline) = outlines.get(glyph) {
                // A glyph that cannot be drawn stays blank.
                let _ = outline.draw(DrawSettings::unhinted(size, LocationRef::default()), &mut pen);
            }
            pen.x += metrics.advance_width(glyph).unwrap_or(0.0);
        }
        pen.path.finish()
    }

    fn glyphs(&self, text: &str) -> impl Iterator<Item = GlyphId> {
        let map = self.0.charmap();
        text.chars().map(move |character| map.map(character).unwrap_or(GlyphId::NOTDEF))
    }
}

/// Moves outlines, whose `y` goes upwards, to their place on the picture.
struct Pen {
    path: PathBuilder,
    x: f32,
    y: f32,
}

impl OutlinePen for Pen {
    fn move_to(&mut self, x: f32, y: f32) {
        self.path.move_to(self.x + x, self.y - y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.path.line_to(self.x + x, self.y - y);
    }

    fn quad_to(&mut self, cx: f32, cy: f32, x: f32, y: f32) {
        self.path.quad_to(self.x + cx, self.y - cy, self.x + x, self.y - y);
    }

    fn curve_to(&mut self, cx0: f32, cy0: f32, cx1: f32, cy1: f32, x: f32, y: f32) {
        self.path.cubic_to(self.x + cx0, self.y - cy0, self.x + cx1, self.y - cy1, self.x + x, self.y - y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_font_has_what_curves_say() {
        let font = Font::new();
        let map = font.0.charmap();
        for character in "abcdefghijklmnopqrstuvwxyz0123456789.,:%-+()· …äéñčłΩя".chars() {
            assert!(map.map(character).is_some(), "no glyph for {character:?}");
        }
    }

    #[test]
    fn texts_have_width_and_outline() {
        let font = Font::new();
        let (one, two) = (font.width("loss", 20.0), font.width("lossloss", 20.0));
        assert!(one > 20.0 && one < 60.0, "{one}");
        assert!((two - 2.0 * one).abs() < 1e-3);
        let bounds = font.outline("loss", 20.0, 100.0, 50.0).expect("an outline").bounds();
        assert!(bounds.left() >= 100.0 && f64::from(bounds.right()) <= 100.0 + one + 1.0, "{bounds:?}");
        assert!(bounds.top() > 30.0 && bounds.bottom() < 52.0, "{bounds:?}");
        assert!(font.outline("", 20.0, 0.0, 0.0).is_none());
        assert!(font.outline("漢", 20.0, 0.0, 0.0).is_some(), "a box");
    }
}
