//! What tests of data sets share.

use std::io::Write;
use std::path::Path;

use super::{DataError, DataFormat, DataSet, FormatEntry, Memory, Sample};
use crate::config::{Source, parse};
use crate::tensor::Tensor;

/// `bytes` compressed.
pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Samples whose input is their number, in three classes.
pub(super) fn numbered(count: usize) -> Memory {
    Memory::new(
        (0..count)
            .map(|k| Sample { input: Tensor::from_vec(vec![k as f32]), target: Tensor::scalar((k % 3) as i64) })
            .collect(),
    )
}

/// The format's config from YAML.
pub(super) fn read(entry: &FormatEntry, yaml: &str) -> Box<dyn DataFormat> {
    let source = Source::new("test.yaml", yaml);
    let node = parse(&source).unwrap_or_else(|faults| panic!("{yaml}: {faults:?}"));
    (entry.read)(&node, &source).unwrap_or_else(|faults| panic!("{yaml}: {faults:?}"))
}

/// The data set that YAML describes, with paths from `folder`.
pub(super) fn open(entry: &FormatEntry, yaml: &str, folder: &Path) -> Result<Box<dyn DataSet>, DataError> {
    read(entry, yaml).open(folder)
}

/// The message with which opening fails, or else the first bad sample's, with `folder` left out of it.
pub(super) fn complaint(entry: &FormatEntry, yaml: &str, folder: &Path) -> String {
    let fault = match open(entry, yaml, folder) {
        Err(error) => error.to_string(),
        Ok(data) => (0..data.len())
            .find_map(|index| data.sample(index).err().map(|error| format!("sample {index}: {error}")))
            .unwrap_or_else(|| "no complaint".into()),
    };
    fault.replace(&format!("{}/", folder.display()), "").replace(&folder.display().to_string(), ".")
}

/// The elements of a tensor f32.
pub(super) fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.as_slice::<f32>().unwrap().to_vec()
}

/// The elements of a tensor i64.
pub(super) fn integers(tensor: &Tensor) -> Vec<i64> {
    tensor.as_slice::<i64>().unwrap().to_vec()
}
