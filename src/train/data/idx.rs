//! `idx`: images (or other arrays) and labels in two files, as MNIST comes.
//!
//! Format (LeCun, Cortes and Burges, *The MNIST database*): two zero bytes, the type (0x08 u8, 0x09 i8, 0x0B i16, 0x0C
//! i32, 0x0D f32, 0x0E f64), the number of dimensions, each dimension as big-endian u32, the elements, big-endian, row
//! by row.

use std::io::Read;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DataError, DataFormat, DataSet, FormatEntry, Known, Sample, expect_index, input};
use crate::tensor::Tensor;

/// Two IDX files, plain or gzip: input f32, target i64 (a class). They are held in memory as they are stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Idx {
    /// The file of inputs: at least two dimensions, the first of which counts samples.
    pub images: PathBuf,
    /// The file of labels: whole numbers of one dimension, classes counted from 0.
    pub labels: PathBuf,
    /// The names of the classes in the order of their numbers. Default: those of the training data, or the numbers.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub classes: Option<Vec<String>>,
    /// The shape of an input. Default: `[1, height, width]` for a file of three dimensions, else as the file has it.
    #[serde(default)]
    pub shape: Option<Vec<usize>>,
    /// What each input value is multiplied by. Default: 1/255 for files of unsigned bytes, else 1.
    #[serde(default)]
    pub scale: Option<f32>,
    /// What is added to it after that. Default: 0.
    #[serde(default)]
    pub offset: f32,
}

pub(super) const FORMAT: FormatEntry = FormatEntry::of::<Idx>(
    "idx",
    "images and labels in two files, as MNIST and Fashion-MNIST come",
    "images: train-images-idx3-ubyte.gz\nlabels: train-labels-idx1-ubyte.gz\n",
);

impl Idx {
    /// These two files.
    pub fn new(images: impl Into<PathBuf>, labels: impl Into<PathBuf>) -> Self {
        Idx { images: images.into(), labels: labels.into(), classes: None, shape: None, scale: None, offset: 0.0 }
    }
}

impl DataFormat for Idx {
    fn open_with(&self, base_dir: &Path, known: &Known) -> Result<Box<dyn DataSet>, DataError> {
        let (image_path, label_path) = (base_dir.join(&self.images), base_dir.join(&self.labels));
        let images = Array::read(&image_path)?;
        let labels = Array::read(&label_path)?;
        if images.dims.len() < 2 {
            let found = format!("{}; is this the file of labels?", images.dims.len());
            return Err(DataError::format(&image_path, "", "at least 2 dimensions", found));
        }
        let (count, own) = (images.dims[0], &images.dims[1..]);
        if labels.dims.len() != 1 || labels.kind.is_float() {
            let found = format!("{:?} of shape {:?}; is this the file of images?", labels.kind, labels.dims);
            return Err(DataError::format(&label_path, "", "whole numbers of one dimension", found));
        }
        if labels.dims[0] != count {
            let expected = format!("{count} labels, one for each image of {}", image_path.display());
            return Err(DataError::format(&label_path, "", expected, labels.dims[0].to_string()));
        }
        if count == 0 {
            return Err(DataError::format(&image_path, "", "images", "none"));
        }
        let product: usize = own.iter().product();
        let shape = match (&self.shape, own) {
            (Some(shape), _) => shape.clone(),
            (None, [height, width]) => vec![1, *height, *width],
            (None, own) => own.to_vec(),
        };
        if shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size)) != Some(product) {
            let expected = format!("{product} values, as {own:?} has");
            return Err(DataError::setting("shape", expected, format!("{shape:?}")));
        }
        let (classes, named) = classes(self, known, &labels, &label_path)?;
        Ok(Box::new(IdxSet { images, shape, scale: self.scale, offset: self.offset, classes, named }))
    }
}

/// The class of each sample and the names of the classes. A label that cannot be a class spoils the whole file.
fn classes(idx: &Idx, known: &Known, labels: &Array, path: &Path) -> Result<(Vec<usize>, Vec<String>), DataError> {
    let given = idx.classes.as_deref().or((!known.labels.is_empty()).then_some(&known.labels[..]));
    let limit = given.map_or(1 << 16, <[String]>::len);
    let mut classes = Vec::with_capacity(labels.dims[0]);
    for index in 0..labels.dims[0] {
        let label = labels.value(index);
        let class = (label >= 0.0 && label < limit as f64).then_some(label as usize).ok_or_else(|| {
            DataError::format(
                path,
                &format!("label {index}"),
                format!("a class from 0 to {}", limit - 1),
                label.to_string(),
            )
        })?;
        classes.push(class);
    }
    let count = classes.iter().max().map_or(0, |largest| largest + 1);
    let named = given.map_or_else(|| (0..count).map(|class| class.to_string()).collect(), <[String]>::to_vec);
    Ok((classes, named))
}

struct IdxSet {
    images: Array,
    shape: Vec<usize>,
    scale: Option<f32>,
    offset: f32,
    classes: Vec<usize>,
    named: Vec<String>,
}

impl DataSet for IdxSet {
    fn len(&self) -> usize {
        self.classes.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        let target = self.target(index)?;
        let count: usize = self.shape.iter().product();
        let elements = index * count..(index + 1) * count;
        let offset = self.offset;
        let values: Vec<f32> = match (self.images.kind, self.scale) {
            // Divided, not multiplied by the rounded reciprocal: 255 is exactly 1.
            (Kind::U8, None) => {
                self.images.bytes[elements].iter().map(|byte| f32::from(*byte) / 255.0 + offset).collect()
            }
            (Kind::U8, Some(scale)) => {
                self.images.bytes[elements].iter().map(|byte| f32::from(*byte) * scale + offset).collect()
            }
            (_, scale) => {
                let scale = scale.unwrap_or(1.0);
                elements.map(|element| self.images.value(element) as f32 * scale + offset).collect()
            }
        };
        Ok(Sample { input: Tensor::new(self.shape.clone(), values)?, target })
    }

    fn target(&self, index: usize) -> Result<Tensor, DataError> {
        expect_index(index, self.len())?;
        Ok(Tensor::scalar(self.classes[index] as i64))
    }

    fn labels(&self) -> &[String] {
        &self.named
    }
}

/// The type of the elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    U8,
    I8,
    I16,
    I32,
    F32,
    F64,
}

impl Kind {
    fn of(code: u8) -> Option<Kind> {
        Some(match code {
            0x08 => Kind::U8,
            0x09 => Kind::I8,
            0x0b => Kind::I16,
            0x0c => Kind::I32,
            0x0d => Kind::F32,
            0x0e => Kind::F64,
            _ => return None,
        })
    }

    fn width(self) -> usize {
        match self {
            Kind::U8 | Kind::I8 => 1,
            Kind::I16 => 2,
            Kind::I32 | Kind::F32 => 4,
            Kind::F64 => 8,
        }
    }

    fn is_float(self) -> bool {
        matches!(self, Kind::F32 | Kind::F64)
    }
}

/// An array as the file has it.
struct Array {
    kind: Kind,
    dims: Vec<usize>,
    bytes: Vec<u8>,
}

impl Array {
    fn read(path: &Path) -> Result<Self, DataError> {
        let io = |source| DataError::io(path, source);
        let mut reader = input::open(path)?;
        let mut header = Vec::new();
        reader.by_ref().take(4).read_to_end(&mut header).map_err(io)?;
        let (kind, rank) = match header[..] {
            [0, 0, code, rank] => (Kind::of(code), rank),
            _ => (None, 0),
        };
        let (Some(kind), true) = (kind, rank > 0) else {
            let expected = "an IDX file (0, 0, a type from 0x08 to 0x0e, the number of dimensions)";
            let found = if header.is_empty() { "an empty file".into() } else { format!("the bytes {header:02x?}") };
            return Err(DataError::format(path, "", expected, found));
        };
        let mut sizes = Vec::new();
        reader.by_ref().take(4 * u64::from(rank)).read_to_end(&mut sizes).map_err(io)?;
        if sizes.len() != 4 * usize::from(rank) {
            return Err(DataError::format(path, "", format!("{rank} dimensions"), "the end of the file"));
        }
        let dims: Vec<usize> = sizes
            .chunks_exact(4)
            .map(|size| u32::from_be_bytes([size[0], size[1], size[2], size[3]]) as usize)
            .collect();
        let length = dims.iter().try_fold(kind.width(), |product, size| product.checked_mul(*size));
        let length = length.filter(|length| *length as u64 <= input::MAX_BYTES);
        let Some(length) = length else {
            let expected = format!("at most {} bytes of elements", input::MAX_BYTES);
            return Err(DataError::format(path, "", expected, format!("{kind:?} of shape {dims:?}")));
        };
        let mut bytes = Vec::new();
        reader.take(length as u64 + 1).read_to_end(&mut bytes).map_err(io)?;
        if bytes.len() != length {
            let found = if bytes.len() > length { "more".into() } else { bytes.len().to_string() };
            return Err(DataError::format(path, "", format!("{length} bytes after its header {dims:?}"), found));
        }
        bytes.shrink_to_fit();
        Ok(Array { kind, dims, bytes })
    }

    /// Element `index`, below the product of the dimensions.
    fn value(&self, index: usize) -> f64 {
        let width = self.kind.width();
        let at = |byte: usize| self.bytes[index * width + byte];
        match self.kind {
            Kind::U8 => f64::from(at(0)),
            Kind::I8 => f64::from(at(0) as i8),
            Kind::I16 => f64::from(i16::from_be_bytes([at(0), at(1)])),
            Kind::I32 => f64::from(i32::from_be_bytes([at(0), at(1), at(2), at(3)])),
            Kind::F32 => f64::from(f32::from_be_bytes([at(0), at(1), at(2), at(3)])),
            Kind::F64 => f64::from_be_bytes(std::array::from_fn(at)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{complaint, floats, gzip, integers, open, read};
    use super::*;

    fn idx(code: u8, dims: &[u32], elements: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, code, dims.len() as u8];
        dims.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
        bytes.extend(elements);
        bytes
    }

    const KEYS: &str = "images: images\nlabels: labels\n";

    #[test]
    fn files_read_as_they_should() {
        let floats32: Vec<u8> = [1.5f32, -2.0, 0.0, 4.0].iter().flat_map(|value| value.to_be_bytes()).collect();
        let floats64: Vec<u8> = [1.5f64, -2.0].iter().flat_map(|value| value.to_be_bytes()).collect();
        let labels = idx(0x08, &[2], &[2, 0]);
        let names = ["0", "1", "2"];
        // Images, labels, keys, the shape of an input, the second input, the names of the classes.
        type Case<'a> = (Vec<u8>, Vec<u8>, &'a str, &'a [usize], &'a [f32], &'a [&'a str]);
        let cases: &[Case] = &[
            (idx(0x08, &[2, 1, 2], &[0, 255, 51, 0]), labels.clone(), "", &[1, 1, 2], &[0.2, 0.0], &names),
            (
                idx(0x08, &[2, 1, 2], &[0, 255, 51, 0]),
                labels.clone(),
                "shape: [2]\nscale: 2\noffset: -1\n",
                &[2],
                &[101.0, -1.0],
                &names,
            ),
            (gzip(&idx(0x08, &[2, 1], &[0, 255])), gzip(&labels), "", &[1], &[1.0], &names),
            (idx(0x09, &[2, 1], &[0, 0xff]), labels.clone(), "", &[1], &[-1.0], &names),
            (idx(0x0b, &[2, 1], &[0, 0, 1, 2]), labels.clone(), "", &[1], &[258.0], &names),
            (idx(0x0c, &[2, 1], &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xfe]), labels.clone(), "", &[1], &[-2.0], &names),
            (idx(0x0d, &[2, 1, 2, 1], &floats32), labels.clone(), "", &[1, 2, 1], &[0.0, 4.0], &names),
            (
                idx(0x0e, &[2, 1], &floats64),
                idx(0x0c, &[2], &[0, 0, 0, 1, 0, 0, 0, 0]),
                "classes: [a, b]",
                &[1],
                &[-2.0],
                &["a", "b"],
            ),
        ];
        let folder = tempfile::tempdir().unwrap();
        for (number, (images, labels, keys, shape, second, names)) in cases.iter().enumerate() {
            std::fs::write(folder.path().join("images"), images).unwrap();
            std::fs::write(folder.path().join("labels"), labels).unwrap();
            let data = open(&FORMAT, &format!("{KEYS}{keys}"), folder.path()).unwrap();
            let sample = data.sample(1).unwrap();
            assert_eq!((sample.input.shape(), &floats(&sample.input)[..]), (*shape, *second), "case {number}");
            assert_eq!((data.len(), integers(&sample.target)), (2, vec![0]));
            assert_eq!(data.labels(), *names);
            assert_eq!(integers(&data.target(0).unwrap()), [names.len() as i64 - 1]);
            assert!(matches!(data.sample(2), Err(DataError::Index { index: 2, len: 2 })));
        }
    }

    #[test]
    fn classes_of_the_training_data_hold_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("images"), idx(0x08, &[1, 1], &[9])).unwrap();
        std::fs::write(folder.path().join("labels"), idx(0x08, &[1], &[1])).unwrap();
        let known = Known { labels: vec!["a".into(), "b".into(), "c".into()], vocabulary: Vec::new() };
        let data = read(&FORMAT, KEYS).open_with(folder.path(), &known).unwrap();
        assert_eq!(data.labels(), known.labels);
    }

    #[test]
    fn bad_input() {
        let (images, labels) = (idx(0x08, &[2, 1, 1], &[1, 2]), idx(0x08, &[2], &[0, 1]));
        let longer = [&images[..], &[0]].concat();
        let (huge, lying) = (idx(0x0e, &[u32::MAX; 3], &[]), idx(0x08, &[u32::MAX, 1], &[1]));
        let (unknown, one) = (idx(0x0a, &[2, 1], &[0, 0]), idx(0x08, &[1], &[0]));
        let (none, unlabelled) = (idx(0x08, &[0, 1], &[]), idx(0x08, &[0], &[]));
        let negative = idx(0x09, &[2], &[0, 0xff]);
        let magic = "images: an IDX file (0, 0, a type from 0x08 to 0x0e, the number of dimensions)";
        // Images, labels, keys, what was expected where, and what was found.
        type Case<'a> = (&'a [u8], &'a [u8], &'a str, &'a str, &'a str);
        let cases: &[Case] = &[
            (b"", &labels, "", magic, "an empty file"),
            (b"\0\0\x08", &labels, "", magic, "the bytes [00, 00, 08]"),
            (b"P6\n1 1", &labels, "", magic, "the bytes [50, 36, 0a, 31]"),
            (&unknown, &labels, "", magic, "the bytes [00, 00, 0a, 02]"),
            (&[0, 0, 8, 0], &labels, "", magic, "the bytes [00, 00, 08, 00]"),
            (&images[..14], &labels, "", "images: 3 dimensions", "the end of the file"),
            (&images[..17], &labels, "", "images: 2 bytes after its header [2, 1, 1]", "1"),
            (&longer, &labels, "", "images: 2 bytes after its header [2, 1, 1]", "more"),
            (
                &huge,
                &labels,
                "",
                "images: at most 8589934592 bytes of elements",
                "F64 of shape [4294967295, 4294967295, 4294967295]",
            ),
            (&lying, &labels, "", "images: 4294967295 bytes after its header [4294967295, 1]", "1"),
            (&labels, &labels, "", "images: at least 2 dimensions", "1; is this the file of labels?"),
            (
                &images,
                &images,
                "",
                "labels: whole numbers of one dimension",
                "U8 of shape [2, 1, 1]; is this the file of images?",
            ),
            (&images, &one, "", "labels: 2 labels, one for each image of images", "1"),
            (&none, &unlabelled, "", "images: images", "none"),
            (&images, &negative, "", "labels, label 1: a class from 0 to 65535", "-1"),
            (&images, &labels, "classes: [a]", "labels, label 1: a class from 0 to 0", "1"),
            (&images, &labels, "shape: [2]", "shape: 1 values, as [1, 1] has", "[2]"),
        ];
        let folder = tempfile::tempdir().unwrap();
        for (images, labels, keys, expected, found) in cases {
            std::fs::write(folder.path().join("images"), images).unwrap();
            std::fs::write(folder.path().join("labels"), labels).unwrap();
            let expected = format!("{}, found {found}", expected.replacen(": ", ": expected ", 1));
            assert_eq!(complaint(&FORMAT, &format!("{KEYS}{keys}"), folder.path()), expected);
        }
    }

    #[test]
    fn fashion_mnist_reads_where_it_is_installed() {
        let folder = Path::new("/usr/share/datasets/fashion-mnist");
        if !folder.exists() {
            return;
        }
        let data = open(&FORMAT, FORMAT.example, folder).unwrap();
        assert_eq!((data.len(), data.labels().len()), (60_000, 10));
        assert_eq!(data.sample(59_999).unwrap().input.shape(), [1, 28, 28]);
    }
}
