//! A scene as pixels.

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use tiny_skia::{FillRule, LineCap, LineJoin, Paint, Path, PathBuilder, Pixmap, Stroke, StrokeDash, Transform};

use super::scene::{Anchor, Colour, Mark, Point, Scene};
use crate::dsp::picture::Font;

/// The bytes of a PNG file, 8 bits of red, green and blue a pixel; or what is wrong.
pub(super) fn png(scene: &Scene) -> Result<Vec<u8>, String> {
    let (width, height) = (scene.width, scene.height);
    let mut pixels = Pixmap::new(width, height).ok_or_else(|| format!("no room for {width} × {height} pixels"))?;
    pixels.fill(tiny_skia::Color::WHITE);
    let font = Font::new();
    for mark in &scene.marks {
        draw(&mut pixels, &font, mark);
    }
    let rgb: Vec<u8> = pixels.pixels().iter().flat_map(|pixel| [pixel.red(), pixel.green(), pixel.blue()]).collect();
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(&rgb, width, height, ExtendedColorType::Rgb8)
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn draw(pixels: &mut Pixmap, font: &Font, mark: &Mark) {
    match mark {
        Mark::Line { from, to, colour, width, dashed } => {
            let dash = if *dashed { StrokeDash::new(vec![5.0, 4.0], 0.0) } else { None };
            let stroke = Stroke { width: *width as f32, dash, ..Stroke::default() };
            line(pixels, &[*from, *to], *colour, &stroke);
        }
        Mark::Curve { pieces, colour, width, .. } => {
            let (line_cap, line_join) = (LineCap::Round, LineJoin::Round);
            let stroke = Stroke { width: *width as f32, line_cap, line_join, ..Stroke::default() };
            for piece in pieces {
                line(pixels, piece, *colour, &stroke);
            }
        }
        Mark::Dot { at, radius, colour, ring } => {
            let Some(circle) = PathBuilder::from_circle(at.0 as f32, at.1 as f32, *radius as f32) else { return };
            fill(pixels, &circle, if *ring { [255; 3] } else { *colour });
            if *ring {
                let stroke = Stroke { width: 2.5, ..Stroke::default() };
                pixels.stroke_path(&circle, &paint(*colour), &stroke, Transform::identity(), None);
            }
        }
        Mark::Text { at, size, anchor, colour, text } => {
            let back = match anchor {
                Anchor::Start => 0.0,
                Anchor::Middle => font.width(text, *size) / 2.0,
                Anchor::End => font.width(text, *size),
            };
            if let Some(outline) = font.outline(text, *size, at.0 - back, at.1) {
                fill(pixels, &outline, *colour);
            }
        }
    }
}

fn line(pixels: &mut Pixmap, points: &[Point], colour: Colour, stroke: &Stroke) {
    let mut path = PathBuilder::new();
    for (index, (x, y)) in points.iter().enumerate() {
        match index {
            0 => path.move_to(*x as f32, *y as f32),
            _ => path.line_to(*x as f32, *y as f32),
        }
    }
    if let Some(path) = path.finish() {
        pixels.stroke_path(&path, &paint(colour), stroke, Transform::identity(), None);
    }
}

fn fill(pixels: &mut Pixmap, path: &Path, colour: Colour) {
    pixels.fill_path(path, &paint(colour), FillRule::Winding, Transform::identity(), None);
}

fn paint([red, green, blue]: Colour) -> Paint<'static> {
    let mut paint = Paint::default();
    paint.set_color_rgba8(red, green, blue, 255);
    paint
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture with one mark: how many of its pixels are not white, and the colour at 10, 10.
    fn drawn(mark: Mark) -> (usize, [u8; 3]) {
        let scene = Scene { width: 40, height: 20, description: String::new(), marks: vec![mark] };
        let pixels = image::load_from_memory(&png(&scene).expect("a picture")).expect("a PNG").to_rgb8();
        assert_eq!(pixels.dimensions(), (40, 20));
        (pixels.pixels().filter(|pixel| pixel.0 != [255; 3]).count(), pixels.get_pixel(10, 10).0)
    }

    #[test]
    fn every_mark_leaves_its_colour() {
        let colour = [0, 114, 178];
        let (from, to) = ((0.0, 10.5), (40.0, 10.5));
        let whole = drawn(Mark::Line { from, to, colour, width: 1.0, dashed: false });
        assert_eq!(whole, (40, colour));
        let dashed = drawn(Mark::Line { from, to, colour, width: 1.0, dashed: true });
        assert!(dashed.0 > 20 && dashed.0 < 35, "{dashed:?}");
        let pieces = vec![vec![(5.5, 10.5), (15.5, 10.5)], vec![(25.5, 10.5), (35.5, 10.5)]];
        let curve = drawn(Mark::Curve { class: "", pieces, colour, width: 1.0 });
        assert!(curve.0 >= 20 && curve.0 < 40 && curve.1 == colour, "{curve:?}");
        let at = (10.5, 10.5);
        assert_eq!(drawn(Mark::Dot { at, radius: 4.0, colour, ring: false }).1, colour);
        assert_eq!(drawn(Mark::Dot { at, radius: 4.0, colour, ring: true }).1, [255; 3]);
        for anchor in [Anchor::Start, Anchor::Middle, Anchor::End] {
            let text = drawn(Mark::Text { at: (20.0, 15.0), size: 12.0, anchor, colour, text: "loss".into() });
            assert!(text.0 > 20, "{anchor:?}: {text:?}");
        }
    }
}
