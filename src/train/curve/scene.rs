//! What a picture is made of, before it is SVG or pixels.

/// Red, green and blue in sRGB.
pub(super) type Colour = [u8; 3];

/// A place in pixels from the upper left corner.
pub(super) type Point = (f64, f64);

/// Marks on white, the later over the earlier.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scene {
    /// Pixels from left to right.
    pub(super) width: u32,
    /// Pixels from top to bottom.
    pub(super) height: u32,
    /// What the picture shows, for those who cannot see it.
    pub(super) description: String,
    /// What is drawn.
    pub(super) marks: Vec<Mark>,
}

/// One thing on the picture. All coordinates are finite.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Mark {
    /// A straight line.
    Line { from: Point, to: Point, colour: Colour, width: f64, dashed: bool },
    /// The lines of one series, with a gap between any two pieces.
    Curve { class: &'static str, pieces: Vec<Vec<Point>>, colour: Colour, width: f64 },
    /// A disc, or a ring that is white inside.
    Dot { at: Point, radius: f64, colour: Colour, ring: bool },
    /// A line of text. Its place is on the base line.
    Text { at: Point, size: f64, anchor: Anchor, colour: Colour, text: String },
}

/// Which part of a text is at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anchor {
    /// Its beginning.
    Start,
    /// Its middle.
    Middle,
    /// Its end.
    End,
}
