//! Data sets: numbered samples, each an input and a target.
//!
//! | to | use |
//! |---|---|
//! | open what a recipe names | [`FORMATS`]: [`Idx`], [`Csv`], [`ImageFolder`], [`WavFolder`], [`TextLines`] |
//! | train on what a program holds | [`Memory`] |
//! | prepare them as a pipeline would | [`Preprocessed`] |
//! | set samples aside | [`Split`], [`Subset`] |
//! | go through them | [`epoch_order`], then [`Batches`], or [`Loader`] to read ahead in the background |
//! | take samples of varying lengths | [`Buckets`] |
//! | vary them | [`augment`] |
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use percept::train::data::{
//!     BatchSettings, Batches, DataFormat, DataSet, Idx, Loader, Split, Subset, epoch_order,
//! };
//!
//! # fn main() -> Result<(), percept::train::data::DataError> {
//! let idx = Idx::new("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz");
//! let data: Arc<dyn DataSet> = idx.open("/usr/share/datasets/fashion-mnist".as_ref())?.into();
//! let parts = Split { test: 0.0, ..Split::default() }.divide(&data)?;
//! let train: Arc<dyn DataSet> = Arc::new(Subset::new(data.clone(), parts.train)?);
//! for epoch in 0..10 {
//!     let order = epoch_order(train.len(), 1, epoch);
//!     let batches = Batches::new(train.clone(), order, BatchSettings::default(), epoch, None)?;
//!     for batch in Loader::start(batches)? {
//!         println!("{:?}", batch?.inputs.shape()); // [32, 1, 28, 28]
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Everything random has a seed and follows from it, the epoch and the number of the sample alone: neither the order of
//! reading nor the timing of threads changes a bit. Files may be compressed by gzip, which is told from their content.

use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

use crate::codec::CodecError;
use crate::dsp::DspError;
use crate::media::Payload;
use crate::pipeline::ChainError;
use crate::tensor::{Tensor, TensorError};

pub mod augment;

mod batches;
mod buckets;
mod classes;
mod csv;
mod folder;
mod formats;
mod idx;
mod image_folder;
mod input;
mod loader;
mod memory;
mod order;
mod preprocessed;
mod random;
mod split;
mod subset;
mod table;
#[cfg(test)]
mod testing;
mod text_lines;
mod vocabulary;
mod wav_folder;

pub use batches::{BadSample, Batch, BatchSettings, Batches, Position};
pub use buckets::Buckets;
pub use classes::Known;
pub use csv::{Csv, CsvTarget};
pub use formats::{DataFormat, FORMATS, FormatEntry, ReadSettings, format_named};
pub use idx::Idx;
pub use image_folder::{Color, Fit, ImageFolder, Layout};
pub use loader::Loader;
pub use memory::Memory;
pub use order::epoch_order;
pub use preprocessed::Preprocessed;
pub use split::{Parts, Split};
pub use subset::Subset;
pub use table::Column;
pub use text_lines::{TextLines, TextTarget};
pub use vocabulary::{Tokens, Vocabulary};
pub use wav_folder::{Keep, WavFolder, WavTarget};

/// One sample: a tensor for the model's input and one for the loss, both without the batch dimension.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// What the model sees.
    pub input: Tensor,
    /// What it should say: an i64 scalar for a class, i64 `[T]` for a class at each step, numbers otherwise.
    pub target: Tensor,
}

/// One sample before it is prepared: what a capture would give, and the target.
#[derive(Clone, Debug)]
pub struct Raw {
    /// What it is called in messages: its file.
    pub name: String,
    /// What `preprocess` stages take, in one piece.
    pub payload: Payload,
    /// See [`Sample::target`].
    pub target: Tensor,
}

/// The target that losses ignore, beyond the end of a text.
const IGNORED: i64 = -100;

/// Numbered samples that can be read in any order, from several threads.
pub trait DataSet: Send + Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sample `index`, below [`len`](DataSet::len). A bad sample is an error that names it; the trainer counts and
    /// skips it up to a limit.
    fn sample(&self, index: usize) -> Result<Sample, DataError>;

    /// The target of sample `index`, without reading its input where the data allow that.
    fn target(&self, index: usize) -> Result<Tensor, DataError> {
        Ok(self.sample(index)?.target)
    }

    /// Sample `index` before it is prepared. Default: its input, as a tensor.
    fn raw(&self, index: usize) -> Result<Raw, DataError> {
        let Sample { input, target } = self.sample(index)?;
        Ok(Raw { name: format!("sample {index}"), payload: input.into(), target })
    }

    /// The names of the classes, where targets are class indices and the names are known.
    fn labels(&self) -> &[String] {
        &[]
    }

    /// The tokens that text was turned into numbers by, token k being number k; empty where there is no text.
    fn vocabulary(&self) -> &[String] {
        &[]
    }

    /// What target texts were cut into, where targets are texts.
    fn tokens(&self) -> Option<Tokens> {
        None
    }
}

macro_rules! forwarded {
    ($($pointer:ident),*) => {$(
        impl<D: DataSet + ?Sized> DataSet for $pointer<D> {
            fn len(&self) -> usize {
                (**self).len()
            }

            fn sample(&self, index: usize) -> Result<Sample, DataError> {
                (**self).sample(index)
            }

            fn target(&self, index: usize) -> Result<Tensor, DataError> {
                (**self).target(index)
            }

            fn raw(&self, index: usize) -> Result<Raw, DataError> {
                (**self).raw(index)
            }

            fn labels(&self) -> &[String] {
                (**self).labels()
            }

            fn vocabulary(&self) -> &[String] {
                (**self).vocabulary()
            }

            fn tokens(&self) -> Option<Tokens> {
                (**self).tokens()
            }
        }
    )*};
}

forwarded!(Arc, Box);

/// Why data cannot be read.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DataError {
    /// A file cannot be opened or read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}{place}: expected {expected}, found {found}")]
    Format {
        /// The file.
        path: String,
        /// Where in it: begins with `, ` unless empty.
        place: String,
        /// What it should hold.
        expected: String,
        /// What it holds.
        found: String,
    },
    /// Samples do not fit together.
    #[error("sample {index}: expected {expected}, found {found}")]
    Shape {
        /// Its number.
        index: usize,
        /// The shape and type of the samples before.
        expected: String,
        /// Its own.
        found: String,
    },
    /// A setting has no meaning for these data.
    #[error("{setting}: expected {expected}, found {found}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// What would be accepted.
        expected: String,
        /// What it is.
        found: String,
    },
    /// There is no such sample.
    #[error("expected the number of a sample, below {len}, found {index}")]
    Index {
        /// The number asked for.
        index: usize,
        /// How many samples there are.
        len: usize,
    },
    /// A sample holds NaN or an infinity.
    #[error("sample {index}: expected finite numbers, found {value} at element {element} of its {part}")]
    NotFinite {
        /// The number of the sample.
        index: usize,
        /// `input` or `target`.
        part: &'static str,
        /// The first such element, counted row by row from 0.
        element: usize,
        /// Its value.
        value: f64,
    },
    /// More bad samples than allowed.
    #[error("{bad} bad samples where {limit} are allowed (`max_bad`); the last is sample {index}: {last}")]
    TooManyBad {
        /// How many were found.
        bad: usize,
        /// How many are allowed.
        limit: usize,
        /// The number of the last one.
        index: usize,
        /// What is wrong with the last one.
        last: Box<DataError>,
    },
    /// The thread that reads ahead is gone.
    #[error("reading ahead ended early: {reason}")]
    Stopped {
        /// Why: the message of the panic, or what the system said.
        reason: String,
    },
    /// Sound cannot be read; the message names the file.
    #[error(transparent)]
    Sound(#[from] CodecError),
    /// Sound cannot be brought to the rate asked for.
    #[error("{path}: {source}")]
    Signal {
        /// The file.
        path: String,
        /// What is wrong.
        source: DspError,
    },
    /// A sample cannot be prepared.
    #[error("{name}: {source}")]
    Preprocess {
        /// The sample: its file.
        name: String,
        /// The stage that refuses, and why.
        source: ChainError,
    },
    /// Preparing a sample does not give what a model takes in one run.
    #[error("{name}: expected one packet from the preprocess stages, found {found}; {help}")]
    Packets {
        /// The sample: its file.
        name: String,
        /// What they gave.
        found: String,
        /// What to do.
        help: &'static str,
    },
    /// A tensor cannot be made.
    #[error(transparent)]
    Tensor(#[from] TensorError),
}

impl DataError {
    pub(in crate::train) fn io(path: &Path, source: std::io::Error) -> Self {
        DataError::Io { path: path.display().to_string(), source }
    }

    /// A fault of the file at `path`; `place` is empty or names a place in it (`line 3`).
    fn format(path: &Path, place: &str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        let place = if place.is_empty() { String::new() } else { format!(", {place}") };
        DataError::Format { path: path.display().to_string(), place, expected: expected.into(), found: found.into() }
    }

    fn setting(setting: &'static str, expected: impl Into<String>, found: impl ToString) -> Self {
        DataError::Setting { setting, expected: expected.into(), found: found.to_string() }
    }
}

/// Fails unless `index` is that of one of `len` samples.
fn expect_index(index: usize, len: usize) -> Result<(), DataError> {
    if index < len { Ok(()) } else { Err(DataError::Index { index, len }) }
}

/// Stacks samples along a new first dimension: inputs and targets. All must have the same shapes and types.
pub fn collate(samples: &[Sample]) -> Result<(Tensor, Tensor), DataError> {
    let stack = |select: fn(&Sample) -> &Tensor| -> Result<Tensor, DataError> {
        let rows: Result<Vec<Tensor>, DataError> = samples
            .iter()
            .enumerate()
            .map(|(index, sample)| {
                let (tensor, first) = (select(sample), select(&samples[0]));
                if tensor.shape() != first.shape() || tensor.dtype() != first.dtype() {
                    return Err(DataError::Shape {
                        index,
                        expected: format!("{} {:?}", first.dtype(), first.shape()),
                        found: format!("{} {:?}", tensor.dtype(), tensor.shape()),
                    });
                }
                let mut shape = vec![1];
                shape.extend(tensor.shape());
                Ok(tensor.reshape(shape)?)
            })
            .collect();
        Ok(Tensor::concat(&rows?, 0)?)
    };
    Ok((stack(|sample| &sample.input)?, stack(|sample| &sample.target)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_stacked() {
        let sample = |value: f32, class: i64| Sample {
            input: Tensor::from_vec(vec![value, value + 1.0]),
            target: Tensor::scalar(class),
        };
        let (inputs, targets) = collate(&[sample(1.0, 0), sample(3.0, 2)]).unwrap();
        assert_eq!(inputs, Tensor::new(vec![2, 2], vec![1.0f32, 2.0, 3.0, 4.0]).unwrap());
        assert_eq!(targets, Tensor::from_vec(vec![0i64, 2]));
        let odd = Sample { input: Tensor::from_vec(vec![1.0f32]), target: Tensor::scalar(0i64) };
        let error = collate(&[sample(1.0, 0), odd]).unwrap_err().to_string();
        assert_eq!(error, "sample 1: expected f32 [2], found f32 [1]");
    }
}
