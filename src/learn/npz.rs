//! Samples from an `.npz` file: a zip archive of NumPy arrays, one sample a row.
//!
//! Format: the NumPy enhancement proposal 1 and `numpy.lib.format`, versions 1.0 to 3.0; C order, little-endian.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use zip::ZipArchive;

use super::error::LearnError;
use super::sample::{Sample, Target, is_sound};
use crate::media::StreamId;
use crate::tensor::{Element, Tensor, f16};
use crate::units::Timestamp;

/// Bytes that one array may take: 2 GiB.
const MAX_BYTES: u64 = 1 << 31;

/// Reads the samples of `path`: arrays `input` and `target`, or `x` and `y`, of the same number of rows. A target that is
/// a whole number is a class; any other target is a row of its array. Numbers that are not finite are an error.
pub fn load_samples(path: &Path) -> Result<Vec<Sample>, LearnError> {
    let fault = |reason: String| LearnError::Unreadable { path: path.to_owned(), reason };
    let file = File::open(path).map_err(|error| fault(format!("it cannot be opened: {error}")))?;
    let mut zip = ZipArchive::new(BufReader::new(file))
        .map_err(|error| fault(format!("expected an .npz file, which is a zip archive: {error}")))?;
    let names: Result<Vec<String>, _> = zip.file_names().map(|name| name.map(|name| name.into_owned())).collect();
    let names = names.map_err(|error| fault(format!("its names cannot be read: {error}")))?;
    let has = |name: &str| names.iter().any(|found| found == &format!("{name}.npy"));
    let pair = [("input", "target"), ("x", "y")].into_iter().find(|(input, target)| has(input) && has(target));
    let Some((input, target)) = pair else {
        return Err(fault(format!(
            "expected arrays `input` and `target` (or `x` and `y`), found {}",
            if names.is_empty() { "none".into() } else { names.join(", ") }
        )));
    };
    let mut read = |name: &str| -> Result<Tensor, LearnError> {
        let entry = zip.by_name(&format!("{name}.npy")).map_err(|error| fault(format!("array `{name}`: {error}")))?;
        let mut bytes = Vec::new();
        entry.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| fault(format!("array `{name}`: {error}")))?;
        if bytes.len() as u64 > MAX_BYTES {
            return Err(fault(format!("array `{name}`: expected at most {MAX_BYTES} bytes, found more")));
        }
        array(&bytes).map_err(|reason| fault(format!("array `{name}`: {reason}")))
    };
    let (inputs, targets) = (read(input)?, read(target)?);
    let rows = |tensor: &Tensor| tensor.shape().first().copied();
    let (Some(count), Some(others)) = (rows(&inputs), rows(&targets)) else {
        return Err(fault("expected arrays with a sample in each row, found one without rows".into()));
    };
    if count != others || count == 0 {
        return Err(fault(format!("expected as many rows in both, and at least 1; found {count} and {others}")));
    }
    let row = |tensor: &Tensor, at: usize| -> Result<Tensor, LearnError> {
        let row = tensor.narrow(0, at, at + 1).and_then(|row| row.reshape(tensor.shape()[1..].to_vec()));
        row.map_err(|error| fault(error.to_string()))
    };
    (0..count)
        .map(|at| {
            let (input, target) = (row(&inputs, at)?, row(&targets, at)?);
            for (name, tensor) in [(input_name(&pair), &input), ("target", &target)] {
                if !is_sound(tensor) {
                    return Err(fault(format!("row {at} of `{name}`: expected finite numbers, found none or others")));
                }
            }
            let class = match target.as_slice::<i64>() {
                Ok([class]) => Some(*class),
                _ => None,
            };
            let target = match class {
                Some(class) => Target::Class(usize::try_from(class).map_err(|_| {
                    fault(format!("row {at} of the targets: expected a class index from 0, found {class}"))
                })?),
                None => Target::Tensor(target),
            };
            Ok(Sample { input, target, stream: StreamId(0), start: Timestamp::ZERO })
        })
        .collect()
}

fn input_name(pair: &Option<(&'static str, &'static str)>) -> &'static str {
    pair.map_or("input", |(input, _)| input)
}

/// A `.npy` file as a tensor. Integers become i64, booleans u8.
fn array(bytes: &[u8]) -> Result<Tensor, String> {
    let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or("expected a .npy file, found another beginning")?;
    let cut = || "it is cut off".to_owned();
    let (version, rest) = (rest.first_chunk::<2>().ok_or_else(cut)?, &rest[2..]);
    let (len, rest) = match version[0] {
        1 => (u16::from_le_bytes(*rest.first_chunk::<2>().ok_or_else(cut)?) as usize, &rest[2..]),
        2 | 3 => (u32::from_le_bytes(*rest.first_chunk::<4>().ok_or_else(cut)?) as usize, &rest[4..]),
        found => return Err(format!("expected a format version of 1 to 3, found {found}")),
    };
    let header = rest.get(..len).ok_or_else(cut)?;
    let data = rest.get(len..).ok_or_else(cut)?;
    let header = std::str::from_utf8(header).map_err(|_| "its header is no text".to_owned())?;
    if value(header, "fortran_order")?.starts_with("True") {
        return Err("expected rows one after the other (C order), found Fortran order".into());
    }
    let kind = value(header, "descr")?;
    let kind = kind.trim_start_matches(['\'', '"']).split(['\'', '"']).next().unwrap_or_default();
    let shape = value(header, "shape")?;
    let shape = shape.strip_prefix('(').and_then(|rest| rest.split(')').next()).ok_or("its shape is no tuple")?;
    let shape: Vec<usize> = shape
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty())
        .map(|size| size.parse().map_err(|_| format!("its shape has the size `{size}`")))
        .collect::<Result<_, String>>()?;
    fn numbers<T, E: Element, const N: usize>(
        shape: Vec<usize>,
        data: &[u8],
        read: fn([u8; N]) -> T,
        convert: impl Fn(T) -> E,
    ) -> Result<Tensor, String> {
        let (chunks, rest) = data.as_chunks::<N>();
        if !rest.is_empty() {
            return Err(format!("expected elements of {N} bytes, found {} bytes too many", rest.len()));
        }
        let elements: Vec<E> = chunks.iter().map(|bytes| convert(read(*bytes))).collect();
        Tensor::new(shape, elements).map_err(|error| error.to_string())
    }
    match kind {
        "<f2" => numbers(shape, data, f16::from_le_bytes, |value| value),
        "<f4" => numbers(shape, data, f32::from_le_bytes, |value| value),
        "<f8" => numbers(shape, data, f64::from_le_bytes, |value| value),
        "<i8" => numbers(shape, data, i64::from_le_bytes, |value| value),
        "<i4" => numbers(shape, data, i32::from_le_bytes, i64::from),
        "<i2" => numbers(shape, data, i16::from_le_bytes, i64::from),
        "|i1" => numbers(shape, data, i8::from_le_bytes, i64::from),
        "<u4" => numbers(shape, data, u32::from_le_bytes, i64::from),
        "<u2" => numbers(shape, data, u16::from_le_bytes, i64::from),
        "|u1" => numbers(shape, data, u8::from_le_bytes, i64::from),
        "|b1" => numbers(shape, data, |bytes: [u8; 1]| bytes[0], |value| i64::from(value != 0)),
        found => Err(format!("expected little-endian numbers (f2, f4, f8, i1 to i8, u1 to u4, b1), found `{found}`")),
    }
}

/// What stands after `key` in a header, which is a Python dictionary.
fn value<'a>(header: &'a str, key: &str) -> Result<&'a str, String> {
    let missing = || format!("its header has no `{key}`");
    let at =
        [format!("'{key}'"), format!("\"{key}\"")].iter().find_map(|quoted| Some(header.find(quoted)? + quoted.len()));
    let rest = header.get(at.ok_or_else(missing)?..).ok_or_else(missing)?;
    Ok(rest.trim_start().strip_prefix(':').ok_or_else(missing)?.trim_start())
}

#[cfg(test)]
pub(in crate::learn) mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    /// A `.npy` file of version 1.
    fn npy(kind: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn floats(shape: &str, values: &[f32]) -> Vec<u8> {
        npy("<f4", shape, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
    }

    fn write(path: &Path, entries: &[(&str, Vec<u8>)]) {
        let mut zip = zip::ZipWriter::new(File::create(path).unwrap());
        for (name, bytes) in entries {
            zip.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
    }

    /// Writes vectors and classes as a reference set.
    pub(in crate::learn) fn write_reference(path: &Path, samples: &[(Vec<f32>, usize)]) {
        let width = samples[0].0.len();
        let inputs: Vec<f32> = samples.iter().flat_map(|(input, _)| input.clone()).collect();
        let classes: Vec<u8> = samples.iter().flat_map(|(_, class)| (*class as i64).to_le_bytes()).collect();
        let entries = [
            ("input.npy", floats(&format!("({}, {width})", samples.len()), &inputs)),
            ("target.npy", npy("<i8", &format!("({},)", samples.len()), &classes)),
        ];
        write(path, &entries);
    }

    #[test]
    fn rows_are_samples() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        write_reference(&path, &[(vec![1.0, 2.0], 3), (vec![3.0, 4.0], 0)]);
        let samples = load_samples(&path).unwrap();
        assert_eq!(samples.len(), 2);
        assert_eq!(samples[1].input, Tensor::from_vec(vec![3.0f32, 4.0]));
        assert_eq!((&samples[0].target, &samples[1].target), (&Target::Class(3), &Target::Class(0)));
        // Targets of several numbers, by the other names, and a narrower class.
        write(&path, &[("x.npy", floats("(1, 1, 2)", &[1.0, 2.0])), ("y.npy", floats("(1, 2)", &[0.5, 0.5]))]);
        let samples = load_samples(&path).unwrap();
        assert_eq!(samples[0].input.shape(), [1, 2]);
        assert_eq!(samples[0].target, Target::Tensor(Tensor::from_vec(vec![0.5f32, 0.5])));
        write(&path, &[("x.npy", floats("(2,)", &[1.0, 2.0])), ("y.npy", npy("|u1", "(2,)", &[7, 8]))]);
        assert_eq!(load_samples(&path).unwrap()[1].target, Target::Class(8));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npz");
        let classes = |values: &[i64]| {
            let shape = format!("({},)", values.len());
            npy("<i8", &shape, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>())
        };
        let two = || floats("(2, 1)", &[1.0, 2.0]);
        let mut fortran = two();
        let at = fortran.windows(5).position(|five| five == b"False").unwrap();
        fortran.splice(at..at + 5, *b"True ");
        for (entries, says) in [
            (vec![("input.npy", two())], "found input.npy"),
            (vec![("input.npy", two()), ("target.npy", classes(&[1]))], "found 2 and 1"),
            (vec![("input.npy", two()), ("target.npy", classes(&[1, -1]))], "found -1"),
            (
                vec![("input.npy", floats("(2,)", &[1.0, f32::NAN])), ("target.npy", classes(&[1, 1]))],
                "row 1 of `input`",
            ),
            (vec![("input.npy", floats("()", &[1.0])), ("target.npy", classes(&[1]))], "without rows"),
            (vec![("input.npy", floats("(0, 1)", &[])), ("target.npy", classes(&[]))], "at least 1"),
            (vec![("input.npy", floats("(3, 1)", &[1.0])), ("target.npy", classes(&[1]))], "holds 3 elements"),
            (vec![("input.npy", npy(">f4", "(1,)", &[0; 4])), ("target.npy", classes(&[1]))], "found `>f4`"),
            (vec![("input.npy", npy("<f4", "(1,)", &[0; 5])), ("target.npy", classes(&[1]))], "1 bytes too many"),
            (vec![("input.npy", fortran), ("target.npy", classes(&[1, 1]))], "Fortran"),
            (vec![("input.npy", b"hello".to_vec()), ("target.npy", classes(&[1]))], "another beginning"),
        ] {
            write(&path, &entries);
            let error = load_samples(&path).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("a.npz"), "{says}: {error}");
        }
        std::fs::write(&path, b"no archive").unwrap();
        assert!(load_samples(&path).unwrap_err().to_string().contains("zip archive"));
        assert!(load_samples(&folder.path().join("none.npz")).unwrap_err().to_string().contains("opened"));
    }

    proptest! {
        #[test]
        fn damaged_arrays_never_panic(cut in 0usize..90, at in 0usize..90, byte in any::<u8>()) {
            let mut bytes = floats("(2, 3)", &[0.0; 6]);
            let len = bytes.len();
            bytes[at % len] = byte;
            bytes.truncate(len - cut % len);
            let _ = array(&bytes);
        }
    }
}
