//! Model files: opened with care, read in passing.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use prost::bytes::Buf;

use super::error::OnnxError;
use super::sniff;

/// The most bytes one protobuf message may have.
pub(super) const MAX_LEN: u64 = i32::MAX as u64;

/// Bytes read from the file at a time.
const WINDOW: usize = 64 * 1024;

/// A model file as protobuf wants to read it. What is skipped is not read from the disk.
pub(super) struct ModelFile {
    file: File,
    window: Vec<u8>,
    at: usize,
    /// Bytes after the window.
    beyond: u64,
    len: u64,
    head: Vec<u8>,
    fault: Option<io::Error>,
}

impl ModelFile {
    /// Opens a regular file that may be a model.
    pub(super) fn open(path: &Path) -> Result<Self, OnnxError> {
        let io = |action| move |source| OnnxError::Io { action, path: path.to_owned(), source };
        let kind = fs::metadata(path).map_err(io("open"))?.file_type();
        if !kind.is_file() {
            let found = if kind.is_dir() { "a folder" } else { "a pipe or device" };
            return Err(OnnxError::NotAFile { path: path.to_owned(), found });
        }
        let file = File::open(path).map_err(io("open"))?;
        let len = file.metadata().map_err(io("read"))?.len();
        let mut model = ModelFile { file, window: vec![], at: 0, beyond: len, len, head: vec![], fault: None };
        model.refill();
        model.check(path)?;
        model.head = model.window[..model.window.len().min(sniff::HEAD_LEN)].to_vec();
        sniff::refuse(&model.head).map_err(|fault| fault.in_file(path))?;
        if len > MAX_LEN {
            return Err(OnnxError::TooLarge { len, limit: MAX_LEN }.in_file(path));
        }
        Ok(model)
    }

    /// Bytes of the file.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The first bytes of the file.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// The fault of the disk, if there was one: then what was read since is not what the file holds.
    pub(super) fn check(&mut self, path: &Path) -> Result<(), OnnxError> {
        match self.fault.take() {
            Some(source) => Err(OnnxError::Io { action: "read", path: path.to_owned(), source }),
            None => Ok(()),
        }
    }

    /// Reads the next window. `Buf` knows no errors, so after one it is filled with zeros, which are no valid message.
    fn refill(&mut self) {
        let count = usize::try_from(self.beyond).map_or(WINDOW, |beyond| beyond.min(WINDOW));
        self.at = 0;
        self.window.clear();
        self.window.resize(count, 0);
        self.beyond -= count as u64;
        if self.fault.is_none()
            && let Err(fault) = self.file.read_exact(&mut self.window)
        {
            self.window.fill(0);
            self.fault = Some(fault);
        }
    }
}

impl Buf for ModelFile {
    fn remaining(&self) -> usize {
        usize::try_from(self.beyond).unwrap_or(usize::MAX).saturating_add(self.window.len() - self.at)
    }

    fn chunk(&self) -> &[u8] {
        &self.window[self.at..]
    }

    fn advance(&mut self, count: usize) {
        let here = self.window.len() - self.at;
        if count < here || (count == here && self.beyond == 0) {
            self.at += count;
            return;
        }
        let skip = ((count - here) as u64).min(self.beyond);
        if skip > 0
            && self.fault.is_none()
            && let Err(fault) = self.file.seek(SeekFrom::Current(i64::try_from(skip).unwrap_or(i64::MAX)))
        {
            self.fault = Some(fault);
        }
        self.beyond -= skip;
        self.refill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_and_skipping_agree_with_the_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.onnx");
        let bytes: Vec<u8> = (0..3 * WINDOW + 17).map(|i| (i % 251) as u8).collect();
        fs::write(&path, &bytes).unwrap();
        for step in [1, 7, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW + 5] {
            let mut file = ModelFile::open(&path).unwrap();
            let mut at = 0;
            while file.has_remaining() {
                assert_eq!(file.remaining(), bytes.len() - at);
                assert_eq!(file.chunk()[0], bytes[at], "step {step} at {at}");
                let count = step.min(file.remaining());
                file.advance(count);
                at += count;
            }
            assert_eq!(at, bytes.len());
            file.check(&path).unwrap();
        }
        let mut file = ModelFile::open(&path).unwrap();
        let mut copy = vec![0; bytes.len()];
        file.copy_to_slice(&mut copy);
        assert_eq!(copy, bytes);
    }

    #[test]
    fn a_file_that_shrinks_while_it_is_read_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("m.onnx");
        fs::write(&path, vec![1; 4 * WINDOW]).unwrap();
        let mut file = ModelFile::open(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(WINDOW as u64 + 3).unwrap();
        file.advance(WINDOW + 1);
        assert_eq!(file.chunk()[0], 0);
        assert_eq!(file.remaining(), 3 * WINDOW - 1);
        assert!(matches!(file.check(&path), Err(OnnxError::Io { action: "read", .. })));
    }
}
