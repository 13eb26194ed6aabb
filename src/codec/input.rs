//! Where bytes come from: a file, or a stream that cannot seek.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use super::CodecError;

/// A reader that another thread may own.
pub(super) type Stream = Box<dyn Read + Send + Sync>;

/// The bytes of one source, at their beginning.
pub(super) enum Input {
    /// A regular file: it can seek and knows its length.
    File {
        /// Open, at position 0.
        file: File,
        /// Its length in bytes.
        length: u64,
    },
    /// Anything else.
    Stream(Stream),
}

impl Input {
    /// Opens a file. A path that is no regular file (a FIFO, a device) becomes a stream.
    pub(super) fn open(path: &Path) -> Result<Input, CodecError> {
        let fault = |source: io::Error| match source.kind() {
            io::ErrorKind::NotFound => CodecError::Missing { path: path.to_owned() },
            _ => CodecError::Read { path: path.to_owned(), source },
        };
        let kind = std::fs::metadata(path).map_err(fault)?;
        if kind.is_dir() {
            return Err(CodecError::IsFolder { path: path.to_owned() });
        }
        let file = File::open(path).map_err(fault)?;
        Ok(match kind.is_file() {
            true => Input::File { file, length: kind.len() },
            false => Input::Stream(Box::new(file)),
        })
    }

    /// Reads up to `count` bytes from the beginning, and gives them with an input that still starts there.
    pub(super) fn peek(self, count: usize) -> io::Result<(Vec<u8>, Input)> {
        let mut head = Vec::new();
        match self {
            Input::File { mut file, length } => {
                (&mut file).take(count as u64).read_to_end(&mut head)?;
                file.seek(SeekFrom::Start(0))?;
                Ok((head, Input::File { file, length }))
            }
            Input::Stream(mut stream) => {
                (&mut stream).take(count as u64).read_to_end(&mut head)?;
                Ok((head.clone(), Input::Stream(Box::new(Cursor::new(head).chain(stream)))))
            }
        }
    }

    /// The bytes one after the other, without seeking.
    pub(super) fn into_stream(self) -> Stream {
        match self {
            Input::File { file, .. } => Box::new(file),
            Input::Stream(stream) => stream,
        }
    }
}

/// Reads until `buffer` is full or the end is reached; gives the number of bytes read.
pub(super) fn read_full(reader: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peeking_takes_nothing_away() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"0123456789").unwrap();
        for input in [Input::open(file.path()).unwrap(), Input::Stream(Box::new(&b"0123456789"[..]))] {
            let (head, input) = input.peek(4).unwrap();
            assert_eq!(head, b"0123");
            let mut all = Vec::new();
            input.into_stream().read_to_end(&mut all).unwrap();
            assert_eq!(all, b"0123456789");
        }
    }
}
