//! What a packet carries.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::{Audio, Format, Image, Labels, Regions, Text, Transcript};
use crate::tensor::{Buffer, Tensor};

/// What a packet carries. Cloning shares the data.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Payload {
    /// Sound.
    Audio(Audio),
    /// A picture.
    Image(Image),
    /// A tensor.
    Tensor(Tensor),
    /// Text as a model gives it.
    Text(Text),
    /// A settled or partial transcript.
    Transcript(Transcript),
    /// Classes with scores.
    Labels(Labels),
    /// What was found where in a frame.
    Regions(Regions),
    /// Uninterpreted bytes.
    Bytes(Buffer<u8>),
    /// A type of the user's own.
    Custom(Custom),
}

/// A payload type of the user's own: any shareable value under a name that formats compare.
pub trait CustomPayload: Any + Send + Sync + fmt::Debug {
    /// The name of the type, as formats and messages show it.
    fn type_name(&self) -> &'static str;

    /// Bytes that it takes, for the links' bounds.
    fn byte_len(&self) -> usize;

    /// Its encoding for sinks that write records, if it has one.
    fn encode(&self) -> Option<serde_json::Value> {
        None
    }
}

/// A shared value of the user's own type.
#[derive(Clone, Debug)]
pub struct Custom(Arc<dyn CustomPayload>);

impl Custom {
    /// Wraps a value.
    pub fn new(value: impl CustomPayload) -> Self {
        Custom(Arc::new(value))
    }

    /// The value, when it is a `T`.
    pub fn downcast_ref<T: CustomPayload>(&self) -> Option<&T> {
        let any: &dyn Any = &*self.0;
        any.downcast_ref()
    }

    /// The name of its type.
    pub fn type_name(&self) -> &'static str {
        self.0.type_name()
    }

    /// Its encoding, if it has one.
    pub fn encode(&self) -> Option<serde_json::Value> {
        self.0.encode()
    }
}

/// A payload of another type than the one asked for.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("expected a payload of {expected}, found {found}")]
pub struct PayloadMismatch {
    /// What was asked for.
    pub expected: &'static str,
    /// What the packet carries.
    pub found: String,
}

macro_rules! accessors {
    ($($name:ident, $variant:ident, $type:ty, $label:literal);* $(;)?) => {$(
        #[doc = concat!("The payload as ", $label, "; fails when it is something else.")]
        pub fn $name(&self) -> Result<&$type, PayloadMismatch> {
            match self {
                Payload::$variant(value) => Ok(value),
                other => Err(PayloadMismatch { expected: $label, found: other.format().to_string() }),
            }
        }
    )*};
}

impl Payload {
    accessors! {
        audio, Audio, Audio, "audio";
        image, Image, Image, "image";
        tensor, Tensor, Tensor, "tensor";
        text, Text, Text, "text";
        transcript, Transcript, Transcript, "transcript";
        labels, Labels, Labels, "labels";
        regions, Regions, Regions, "regions";
        bytes, Bytes, Buffer<u8>, "bytes";
    }

    /// The format that this very payload has: no unknowns.
    pub fn format(&self) -> Format {
        match self {
            Payload::Audio(audio) => Format::audio(Some(audio.rate()), Some(audio.channels())),
            Payload::Image(image) => Format::image(Some(image.format()), Some(image.width()), Some(image.height())),
            Payload::Tensor(tensor) => Format::Tensor { dtype: Some(tensor.dtype()), shape: tensor.symbolic_shape() },
            Payload::Text(_) => Format::Text,
            Payload::Transcript(_) => Format::Transcript,
            Payload::Labels(_) => Format::Labels,
            Payload::Regions(_) => Format::Regions,
            Payload::Bytes(_) => Format::Bytes,
            Payload::Custom(custom) => Format::Custom(custom.type_name()),
        }
    }

    /// Bytes of data that the payload holds on to, for the links' bounds.
    pub fn byte_len(&self) -> usize {
        match self {
            Payload::Audio(audio) => audio.samples().byte_len(),
            Payload::Image(image) => image.byte_len(),
            Payload::Tensor(tensor) => tensor.byte_len(),
            Payload::Text(text) => text.text.len() + size_of_val(&*text.pieces),
            Payload::Transcript(transcript) => transcript.text.len() + size_of_val(&*transcript.pieces),
            Payload::Labels(labels) => size_of_val(&*labels.entries),
            Payload::Regions(regions) => regions.byte_len(),
            Payload::Bytes(bytes) => bytes.len(),
            Payload::Custom(custom) => custom.0.byte_len(),
        }
    }

    /// Frames of sound, for books that balance in samples; zero for anything else.
    pub fn audio_frames(&self) -> u64 {
        match self {
            Payload::Audio(audio) => audio.frames() as u64,
            _ => 0,
        }
    }
}

macro_rules! conversions {
    ($($type:ident),*) => {$(
        impl From<$type> for Payload {
            fn from(value: $type) -> Self {
                Payload::$type(value)
            }
        }
    )*};
}

conversions!(Audio, Image, Tensor, Text, Transcript, Labels, Regions, Custom);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::PixelFormat;

    #[derive(Debug)]
    struct Pose([f32; 3]);

    impl CustomPayload for Pose {
        fn type_name(&self) -> &'static str {
            "pose"
        }

        fn byte_len(&self) -> usize {
            12
        }
    }

    #[test]
    fn a_custom_type_comes_back_out() {
        let payload = Payload::from(Custom::new(Pose([1.0, 2.0, 3.0])));
        assert_eq!(payload.format(), Format::Custom("pose"));
        let Payload::Custom(custom) = &payload else { panic!("{payload:?}") };
        assert_eq!(custom.downcast_ref::<Pose>().unwrap().0, [1.0, 2.0, 3.0]);
        assert_eq!(payload.byte_len(), 12);
    }

    #[test]
    fn a_picture_has_a_format_without_unknowns() {
        let image = Image::new(vec![0u8; 24], 4, 2, PixelFormat::Rgb8).unwrap();
        let crop = Payload::from(image.crop(1, 0, 2, 2).unwrap());
        assert_eq!(crop.format(), Format::image(Some(PixelFormat::Rgb8), Some(2), Some(2)));
        assert!(crop.format().is_fixed() && !Format::image(Some(PixelFormat::Rgb8), None, Some(2)).is_fixed());
        assert_eq!(crop.byte_len(), 12);
        assert_eq!(crop.image().unwrap().width(), 2);
        assert_eq!(crop.regions().unwrap_err().to_string(), "expected a payload of regions, found image rgb8 2 × 2");
        assert_eq!(Payload::from(Regions::default()).format(), Format::Regions);
    }

    #[test]
    fn the_wrong_accessor_says_what_it_found() {
        let error = Payload::from(Tensor::scalar(1i64)).audio().unwrap_err();
        assert_eq!(error.to_string(), "expected a payload of audio, found tensor i64 []");
    }
}
