//! Pure functions on pictures: resizing, cropping, turning, and the way into a model's tensor.
//!
//! Pixels are 8-bit samples, 1 (gray), 3 (red, green, blue) or 4 (and straight alpha) to a pixel, in rows that may have
//! a stride: a [`PixelView`] borrows them. Functions that change the shape of a picture also tell the map from the
//! output's pixel coordinates to the input's, as the rows `[[a, b, c], [d, e, f]]` of (x, y) ↦ (ax + by + c, dx + ey +
//! f). Coordinates are continuous: pixel (i, j) covers [i, i + 1) × [j, j + 1) and has its centre at (i + ½, j + ½).
//!
//! | to | use |
//! |---|---|
//! | decide what part of a picture goes where | [`Placement`], [`centred`], [`shares`] |
//! | resize | a [`Resizer`] |
//! | turn, straighten | [`quarter_turn`], [`rotate`], [`warp`] |
//! | make gray | [`grayscale`] |
//! | draw boxes, lines, texts and masks | a [`Canvas`], a [`Lettering`] |
//! | keep one box of many, follow boxes over frames | [`nms`], [`soft_nms`], a [`Tracker`] |
//! | see a grid of numbers, such as a mask, in another grid | [`project`] |
//! | fill a model's input | [`TensorFiller`], alone or over a [`Resizer`] without a picture between them |

mod assignment;
mod bounds;
mod draw;
mod filter;
mod grayscale;
mod nms;
mod placement;
mod project;
mod resize;
mod rotate;
mod tensor;
mod tracker;
mod view;
mod weights;

#[cfg(test)]
mod reference;

pub use bounds::{Bounds, Candidate};
pub(crate) use draw::Font;
pub use draw::{Canvas, Colour, Lettering, distinct_colour, heat_colour};
pub use filter::Filter;
pub use grayscale::grayscale;
pub use nms::{Decay, nms, soft_nms};
pub use placement::{Area, Fit, Placement, centred, shares};
pub use project::project;
pub use resize::Resizer;
pub use rotate::{Quarters, Turned, quarter_turn, rotate, warp};
pub use tensor::{ChannelOrder, TensorConfig, TensorFiller, TensorLayout};
pub use tracker::{Tracked, Tracker, TrackerConfig};
pub use view::PixelView;

/// The longest side of a picture that is made here, in pixels. It keeps a slip in a configuration from asking for all
/// the memory of the machine.
pub const MAX_SIDE: u32 = 1 << 15;
/// The longest side of a picture that is resized, in pixels; a resizer's tables are as long.
pub const MAX_INPUT_SIDE: u32 = 1 << 20;
