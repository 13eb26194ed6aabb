//! What can be wrong with a model file.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::files::FileError;
use crate::tensor::DType;

/// Why a model cannot be read or written.
///
/// A fault inside a file that was opened by path comes wrapped in [`OnnxError::InFile`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried: `open`, `read`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A model cannot be saved; the file that was there is untouched.
    #[error(transparent)]
    Save(#[from] FileError),
    /// The path is a folder, a pipe or a device.
    #[error("{}: expected a model file, found {found}: give the path of the .onnx file itself", path.display())]
    NotAFile {
        /// The path as given.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// A fault in the file at `path`.
    #[error("{}: {fault}", path.display())]
    InFile {
        /// The model file.
        path: PathBuf,
        /// What is wrong with it.
        fault: Box<OnnxError>,
    },
    /// There is not a single byte.
    #[error("expected an ONNX model, found 0 bytes: fetch or export the file again")]
    Empty,
    /// A model in ONNX Runtime's own format.
    #[error(
        "this is an ONNX Runtime flatbuffer (.ort), which only ONNX Runtime reads: \
         its ports come from the model's card, or give the .onnx file it was made from"
    )]
    OrtFormat,
    /// Another kind of file.
    #[error("expected an ONNX model, found {found}: {remedy}")]
    NotOnnx {
        /// What it looks like.
        found: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// The bytes are no valid protobuf message.
    #[error("cut off or damaged ({len} bytes; {reason}): fetch or export the file again")]
    Damaged {
        /// The bytes there are.
        len: u64,
        /// What the protobuf reader stumbled over.
        reason: String,
    },
    /// A part that every model has is absent.
    #[error("the model has no {part}: it is cut off or was exported wrongly; fetch or export it again")]
    Incomplete {
        /// What was expected.
        part: &'static str,
    },
    /// Graphs inside attributes of nodes inside graphs, without end.
    #[error("graphs are nested more than {limit} deep, in {place}: no exporter does that; export the model again")]
    TooDeep {
        /// The most that is accepted ([`MAX_GRAPH_DEPTH`](super::MAX_GRAPH_DEPTH)).
        limit: usize,
        /// The graph that holds the one too many.
        place: String,
    },
    /// A tensor of a data type that percept does not hold (8-bit and smaller floats, 4-bit integers, complex numbers).
    #[error("{place} has data type {found}, which is not supported: convert the model to f32, f16 or int8")]
    UnsupportedDType {
        /// The tensor.
        place: String,
        /// The data type as ONNX names it, or its number.
        found: String,
    },
    /// A part of the format that percept does not hold.
    #[error("{place} {found}: {remedy}")]
    Unsupported {
        /// Where it is.
        place: String,
        /// What is there.
        found: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// A shape with a negative size, or whose product no memory could hold.
    #[error("{place} has shape {dims:?}, which is not the shape of a tensor: the file is damaged")]
    Shape {
        /// The tensor.
        place: String,
        /// Its sizes as written.
        dims: Vec<i64>,
    },
    /// The data of a tensor is not as long as its shape asks for.
    #[error("{place} of {dtype} and shape {shape:?} takes {expected} {unit}, found {found}: the file is damaged")]
    Size {
        /// The tensor.
        place: String,
        /// Its data type.
        dtype: DType,
        /// Its shape.
        shape: Vec<usize>,
        /// What the shape asks for.
        expected: u64,
        /// What there is.
        found: u64,
        /// What is counted: `bytes` or `elements`.
        unit: &'static str,
    },
    /// An element that its data type cannot hold.
    #[error("{place}, element {index}: {found} is no {dtype}: the file is damaged")]
    Element {
        /// The tensor.
        place: String,
        /// The element's place in row-major order.
        index: usize,
        /// The tensor's data type.
        dtype: DType,
        /// The element as written.
        found: String,
    },
    /// The weights in a file beside the model cannot be had.
    #[error("{place} lies in the external file {location:?}: {fault}")]
    External {
        /// The tensor.
        place: String,
        /// The file, as the model names it.
        location: String,
        /// What is wrong.
        fault: ExternalFault,
    },
    /// The parts of a sparse tensor do not fit together.
    #[error("{place}: expected {expected}, found {found}: the file is damaged")]
    Sparse {
        /// The sparse tensor.
        place: String,
        /// What its other parts ask for.
        expected: String,
        /// What there is.
        found: String,
    },
    /// An attribute without a value, or of a type that the format does not have.
    #[error("{place}: expected {expected}, found {found}: the file is damaged or newer than this program")]
    Attribute {
        /// The attribute and its node.
        place: String,
        /// What its type asks for.
        expected: &'static str,
        /// What is there.
        found: String,
    },
    /// The model is larger than a protobuf message may be.
    #[error("the model takes {len} bytes, and one file holds at most {limit}: make it smaller (f16, quantisation)")]
    TooLarge {
        /// Its size.
        len: u64,
        /// The most there may be.
        limit: u64,
    },
}

/// Why external weights cannot be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ExternalFault {
    /// The model was read from bytes, so there is no folder to look in.
    #[error("the model was read from memory, without a folder to look in: load it from its path")]
    NoFolder,
    /// The model does not say which file.
    #[error("the model names no file (key `location`)")]
    NoLocation,
    /// The path is absolute, climbs with `..`, or leads out of the model's folder over a link.
    #[error("only a relative path that stays inside the model's folder is followed: put the file beside the model")]
    OutsideFolder,
    /// There is a folder, a pipe or a device.
    #[error("it is not a regular file")]
    NotAFile,
    /// `offset` or `length` is not a count of bytes.
    #[error("key `{key}` is {value:?}, expected a number of bytes")]
    Number {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// The model's `length` is not what the tensor takes.
    #[error("the tensor takes {expected} bytes, the model says {found}")]
    Length {
        /// What data type and shape ask for.
        expected: u64,
        /// What `length` says.
        found: u64,
    },
    /// The file ends before the tensor does.
    #[error("the tensor needs bytes {from} to {to}, the file has {len}: fetch it again")]
    Short {
        /// The tensor's first byte.
        from: u64,
        /// The byte after its last (`u64::MAX` when that overflows).
        to: u64,
        /// The file's length.
        len: u64,
    },
    /// The operating system refused.
    #[error("{0}")]
    Io(#[source] io::Error),
}

impl OnnxError {
    /// This fault, inside the file at `path`.
    pub(super) fn in_file(self, path: &std::path::Path) -> OnnxError {
        match self {
            OnnxError::Io { .. } | OnnxError::Save(_) | OnnxError::NotAFile { .. } | OnnxError::InFile { .. } => self,
            fault => OnnxError::InFile { path: path.to_owned(), fault: Box::new(fault) },
        }
    }
}
