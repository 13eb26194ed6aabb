//! What is drawn, and how it looks.

use std::sync::Arc;

use crate::dsp::picture::{Canvas, Colour, Lettering, distinct_colour, heat_colour};
use crate::media::{Affine, Image, Label, Labels, Mask, PixelFormat, Point, Rect, Region, Regions};

/// How it looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    pub(super) min_score: f32,
    pub(super) max_labels: usize,
    pub(super) scores: bool,
    pub(super) mask_opacity: f32,
    pub(super) heat_opacity: f32,
    pub(super) text_px: Option<u32>,
    pub(super) line_px: Option<u32>,
}

/// What was found on a picture.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) regions: Vec<Regions>,
    pub(super) heat: Vec<Regions>,
    pub(super) labels: Vec<Labels>,
    pub(super) texts: Vec<Arc<str>>,
}

const BLACK: Colour = [0, 0, 0];
const WHITE: Colour = [255, 255, 255];
/// How much a panel behind text hides.
const PANEL: f32 = 0.6;
/// Most lines of what was said.
const LINES: usize = 3;

/// The picture with all that is drawn on it, `rgb8`. `None` for a picture whose pixels are not those of its format.
pub(super) fn paint(image: &Image, found: &Found, style: &Style) -> Option<Image> {
    let (width, height) = (image.width(), image.height());
    let mut pixels = rgb(image);
    let short = width.min(height);
    let mut painter = Painter {
        canvas: Canvas::new(&mut pixels, width, height)?,
        lettering: Lettering::new(style.text_px.unwrap_or((short / 22).clamp(11, 48)).into()),
        line: style.line_px.unwrap_or((short / 240).max(1)) as f32,
        style: *style,
    };
    // What was found is told in the pixels of the captured frame, of which this picture may show a part.
    if let Some(to_picture) = image.place().to_frame.inverse() {
        let of = |list: &[Regions]| -> Vec<Region> {
            let entries = list.iter().flat_map(|regions| regions.entries.iter());
            let drawn = entries.filter(|region| region.score >= style.min_score || region.score.is_nan());
            drawn.map(|region| region.mapped(&to_picture)).collect()
        };
        let (heat, regions) = (of(&found.heat), of(&found.regions));
        heat.iter().filter_map(|region| region.mask.as_ref()).for_each(|mask| painter.heat(mask));
        for region in &regions {
            if let Some(mask) = &region.mask {
                painter.mask(mask, colour_of(region));
            }
        }
        regions.iter().for_each(|region| painter.outline(region));
        regions.iter().for_each(|region| painter.tag(region));
    }
    painter.labels(&found.labels);
    painter.caption(&found.texts.join(" "));
    Image::new(pixels, width, height, PixelFormat::Rgb8).ok()
}

/// Red, green and blue of each pixel; alpha is laid over black.
fn rgb(image: &Image) -> Vec<u8> {
    match image.format() {
        PixelFormat::Rgb8 => image.packed().to_vec(),
        PixelFormat::Gray8 => image.packed().iter().flat_map(|gray| [*gray; 3]).collect(),
        PixelFormat::Rgba8 => {
            let over = |sample: u8, alpha: u8| ((u16::from(sample) * u16::from(alpha) + 127) / 255) as u8;
            let pixels = image.packed();
            let opaque = |pixel: &[u8; 4]| [0, 1, 2].map(|n| over(pixel[n], pixel[3]));
            pixels.as_chunks::<4>().0.iter().flat_map(opaque).collect()
        }
    }
}

/// One colour for each track, or else for each class.
fn colour_of(region: &Region) -> Colour {
    let class = region.label.as_ref().map_or(0, |label| label.index as u64);
    distinct_colour(region.track.unwrap_or(class))
}

struct Painter<'a> {
    canvas: Canvas<'a>,
    lettering: Lettering,
    line: f32,
    style: Style,
}

impl Painter<'_> {
    /// Lays a mask over the picture: `of` makes a colour and its coverage of its value.
    fn grid(&mut self, mask: &Mask, of: impl Fn(u8) -> (Colour, u8)) {
        let Some(to_mask) = mask.to_frame.inverse() else { return };
        let all = Rect { x: 0.0, y: 0.0, width: mask.width as f32, height: mask.height as f32 };
        let bounds = all.mapped(&mask.to_frame);
        self.canvas.overlay((bounds.x, bounds.y), (bounds.right(), bounds.bottom()), |x, y| {
            match value_at(mask, &to_mask, x, y) {
                0 => None,
                value => Some(of(value)),
            }
        });
    }

    fn mask(&mut self, mask: &Mask, colour: Colour) {
        let opacity = self.style.mask_opacity;
        self.grid(mask, |value| (colour, (f32::from(value) * opacity) as u8));
    }

    fn heat(&mut self, mask: &Mask) {
        let opacity = self.style.heat_opacity;
        // What is cold lets the picture through.
        self.grid(mask, |value| (heat_colour(value), (f32::from(value.saturating_mul(2)) * opacity) as u8));
    }

    fn outline(&mut self, region: &Region) {
        let colour = colour_of(region);
        let bounds = &region.bounds;
        let corners: Vec<(f32, f32)> = region.outline.iter().map(|point| (point.x, point.y)).collect();
        if corners.len() > 1 {
            for (n, corner) in corners.iter().enumerate() {
                self.canvas.line(*corner, corners[(n + 1) % corners.len()], self.line, colour);
            }
        } else if !is_whole_picture(region, &self.canvas) {
            self.canvas.rectangle((bounds.x, bounds.y), (bounds.right(), bounds.bottom()), self.line, colour);
        }
        for keypoint in region.keypoints.iter().filter(|keypoint| keypoint.score >= self.style.min_score) {
            let Point { x, y } = keypoint.point;
            self.canvas.disc((x, y), self.line * 1.5 + 1.5, BLACK);
            self.canvas.disc((x, y), self.line * 1.5 + 0.5, colour);
        }
    }

    /// The name of a region, on a tag at its upper left corner.
    fn tag(&mut self, region: &Region) {
        let mut words = Vec::new();
        if let Some(track) = region.track {
            words.push(format!("#{track}"));
        }
        if let Some(label) = &region.label {
            words.push(name_of(label));
        }
        if self.style.scores && region.score.is_finite() && !(words.is_empty() && region.mask.is_some()) {
            let score = region.label.as_ref().map_or(region.score, |label| label.score);
            words.push(format!("{score:.2}"));
        }
        let text = words.join(" ");
        let (x, y) = (region.bounds.x, region.bounds.y);
        if text.is_empty() || !(x.is_finite() && y.is_finite()) {
            return;
        }
        let (above, below) = self.lettering.reach();
        let (high, wide) = (above + below, self.lettering.width(&text) + 6.0);
        // Within the picture, above the box where there is room.
        let left = (x - self.line / 2.0).min(self.canvas.width() as f32 - wide).max(0.0);
        let top = if y - high >= 0.0 { y - high } else { y.max(0.0) };
        let top = top.min(self.canvas.height() as f32 - high).max(0.0);
        let colour = colour_of(region);
        self.canvas.fill((left, top), (left + wide, top + high), colour, 1.0);
        let letters = if is_light(colour) { BLACK } else { WHITE };
        self.canvas.text(&mut self.lettering, (left + 3.0, top + above), &text, letters);
    }

    /// The best classes of the picture, in its upper left corner.
    fn labels(&mut self, labels: &[Labels]) {
        let entries = labels.iter().flat_map(|labels| labels.entries.iter().take(self.style.max_labels));
        let lines: Vec<String> = entries
            .filter(|label| label.score >= self.style.min_score || label.score.is_nan())
            .map(|label| match self.style.scores {
                true => format!("{} {:.2}", name_of(label), label.score),
                false => name_of(label),
            })
            .collect();
        self.panel(&lines, false);
    }

    /// What is said, at the bottom.
    fn caption(&mut self, text: &str) {
        let room = self.canvas.width() as f32 * 0.9;
        let mut lines: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            match lines.last_mut().filter(|line| self.lettering.width(&format!("{line} {word}")) <= room) {
                Some(line) => {
                    line.push(' ');
                    line.push_str(word);
                }
                None => lines.push(word.to_owned()),
            }
        }
        // Of much the end.
        lines.drain(..lines.len().saturating_sub(LINES));
        self.panel(&lines, true);
    }

    /// Lines of text on a dark panel: in the upper left corner, or in the middle of the bottom.
    fn panel(&mut self, lines: &[String], bottom: bool) {
        if lines.is_empty() {
            return;
        }
        let (above, below) = self.lettering.reach();
        let step = above + below;
        let margin = (step / 4.0).round();
        let wide = lines.iter().map(|line| self.lettering.width(line)).fold(0.0, f32::max) + 2.0 * margin;
        let high = step * lines.len() as f32 + margin;
        let (left, top) = match bottom {
            false => (0.0, 0.0),
            true => {
                let (width, height) = (self.canvas.width() as f32, self.canvas.height() as f32);
                (((width - wide) / 2.0).round(), (height - high - margin).round())
            }
        };
        self.canvas.fill((left, top), (left + wide, top + high), BLACK, PANEL);
        for (n, line) in lines.iter().enumerate() {
            let base = (left + margin, (top + margin / 2.0 + above + step * n as f32).round());
            self.canvas.text(&mut self.lettering, base, line, WHITE);
        }
    }
}

fn name_of(label: &Label) -> String {
    label.name.as_deref().map_or_else(|| format!("class {}", label.index), str::to_owned)
}

/// Whether a region is a mask of all there is: a box around it would only hide the picture's edge.
fn is_whole_picture(region: &Region, canvas: &Canvas<'_>) -> bool {
    let bounds = &region.bounds;
    let (width, height) = (canvas.width() as f32, canvas.height() as f32);
    region.mask.is_some()
        && bounds.x <= 0.5
        && bounds.y <= 0.5
        && bounds.right() >= width - 0.5
        && bounds.bottom() >= height - 0.5
}

/// Whether black is easier to read on it than white.
fn is_light([red, green, blue]: Colour) -> bool {
    299 * u32::from(red) + 587 * u32::from(green) + 114 * u32::from(blue) > 140_000
}

/// The value of a mask at a point of the picture, between the centres of its cells in straight lines; 0 outside.
fn value_at(mask: &Mask, to_mask: &Affine, x: f32, y: f32) -> u8 {
    let (x, y) = to_mask.apply((x.into(), y.into()));
    let (width, height) = (f64::from(mask.width), f64::from(mask.height));
    // False for NaN as well.
    let inside = x >= 0.0 && y >= 0.0 && x < width && y < height;
    if !inside {
        return 0;
    }
    let split = |place: f64, cells: u32| {
        let place = (place - 0.5).clamp(0.0, f64::from(cells) - 1.0);
        let first = place as usize;
        (first, (first + 1).min(cells as usize - 1), place.fract())
    };
    let ((left, right, across), (top, bottom, down)) = (split(x, mask.width), split(y, mask.height));
    let cell = |column: usize, row: usize| {
        let index = row.checked_mul(mask.width as usize).and_then(|start| start.checked_add(column));
        f64::from(index.and_then(|index| mask.values.get(index)).copied().unwrap_or(0))
    };
    let upper = cell(left, top) * (1.0 - across) + cell(right, top) * across;
    let lower = cell(left, bottom) * (1.0 - across) + cell(right, bottom) * across;
    (upper * (1.0 - down) + lower * down).round() as u8
}
