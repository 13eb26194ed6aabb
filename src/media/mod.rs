//! Floor 2: packets, payloads and formats: what travels between stages.
//!
//! A [`Packet`] is a [`Payload`] with its place in a stream: when it starts, how long it lasts, which number it has. A
//! [`Format`] says what may travel on a port; it may hold unknowns until a stream opens.

mod affine;
mod audio;
mod format;
mod image;
mod labels;
mod packet;
mod payload;
mod regions;
mod stream;
mod text;
mod view;

pub use affine::Affine;
pub use audio::{Audio, AudioError};
pub use format::{Format, FormatMismatch};
pub use image::{Image, ImageError, PixelFormat, Place};
pub use labels::{Classes, Label, Labels};
pub use packet::{Flags, Origin, Packet};
pub use payload::{Custom, CustomPayload, Payload, PayloadMismatch};
pub use regions::{Keypoint, Mask, Point, Rect, Region, Regions};
pub use stream::{StreamId, StreamInfo};
pub use text::{Piece, Text, Transcript};
pub use view::View;
