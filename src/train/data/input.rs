//! Files of data, compressed or not.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::DataError;

/// The most bytes that are read from one file, after decompression: 8 GiB. It keeps a small file that unpacks without
/// end from taking all memory.
pub(super) const MAX_BYTES: u64 = 8 << 30;

/// What a gzip file begins with (RFC 1952, 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Opens the file at `path`, decompressing it when it is gzip. Reading more than [`MAX_BYTES`] is an error.
pub(super) fn open(path: &Path) -> Result<Box<dyn Read + Send>, DataError> {
    open_up_to(path, MAX_BYTES)
}

fn open_up_to(path: &Path, limit: u64) -> Result<Box<dyn Read + Send>, DataError> {
    let mut reader = BufReader::with_capacity(1 << 16, File::open(path).map_err(|source| DataError::io(path, source))?);
    let head = reader.fill_buf().map_err(|source| DataError::io(path, source))?;
    let inner: Box<dyn Read + Send> =
        if head.starts_with(&GZIP) { Box::new(MultiGzDecoder::new(reader)) } else { Box::new(reader) };
    Ok(Box::new(Limited { inner, limit, left: limit }))
}

struct Limited<R> {
    inner: R,
    limit: u64,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(out)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {} bytes of data in one file", self.limit))
        })?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::gzip;
    use super::*;

    #[test]
    fn plain_and_compressed_read_alike() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        for bytes in [gzip(b"abc"), b"abc".to_vec(), [gzip(b"a"), gzip(b"bc")].concat()] {
            std::fs::write(&path, bytes).unwrap();
            let mut text = String::new();
            open(&path).unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "abc");
        }
    }

    #[test]
    fn bad_input() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(open(&folder.path().join("none")), Err(DataError::Io { .. })));
        assert!(matches!(open(folder.path()), Err(DataError::Io { .. })));
        let path = folder.path().join("data.gz");
        let whole = gzip(&[7; 5000]);
        std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        assert!(open(&path).unwrap().read_to_end(&mut Vec::new()).is_err(), "cut");
        std::fs::write(&path, whole).unwrap();
        let error = open_up_to(&path, 4999).unwrap().read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "more than 4999 bytes of data in one file");
        assert_eq!(open_up_to(&path, 5000).unwrap().read_to_end(&mut Vec::new()).unwrap(), 5000);
    }
}
