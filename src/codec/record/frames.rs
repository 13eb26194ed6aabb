//! The records of an MCAP file, as its [specification](https://mcap.dev/spec) has them: `opcode u8, length u64, content`.

use std::io::{self, Read};
use std::path::PathBuf;

use super::RecordError;
use super::cursor::put_text;

/// The first and the last bytes of a file.
pub(super) const MAGIC: [u8; 8] = [0x89, b'M', b'C', b'A', b'P', 0x30, b'\r', b'\n'];
/// The head of a record: its opcode and its length.
pub(super) const HEAD: usize = 9;
/// The most content that is read into memory at once.
pub(super) const MOST: u64 = 1 << 30;
/// How much a file must give before more is asked for: lengths in it are not trusted.
const STEP: u64 = 1 << 20;

/// Opcodes.
pub(super) mod op {
    pub const HEADER: u8 = 0x01;
    pub const FOOTER: u8 = 0x02;
    pub const SCHEMA: u8 = 0x03;
    pub const CHANNEL: u8 = 0x04;
    pub const MESSAGE: u8 = 0x05;
    pub const CHUNK: u8 = 0x06;
    pub const MESSAGE_INDEX: u8 = 0x07;
    pub const CHUNK_INDEX: u8 = 0x08;
    pub const STATISTICS: u8 = 0x0b;
    pub const METADATA: u8 = 0x0c;
    pub const METADATA_INDEX: u8 = 0x0d;
    pub const SUMMARY_OFFSET: u8 = 0x0e;
    pub const DATA_END: u8 = 0x0f;
}

/// Appends a record whose content `content` appends.
pub(super) fn put_record(out: &mut Vec<u8>, opcode: u8, content: impl FnOnce(&mut Vec<u8>)) {
    out.push(opcode);
    let at = out.len();
    out.extend([0; 8]);
    content(out);
    put_length(out, at, 8);
}

/// Appends a map or a list behind the bytes that it takes.
pub(super) fn put_block(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend([0; 4]);
    content(out);
    put_length(out, at, 4);
}

/// Appends a map of texts.
pub(super) fn put_map(out: &mut Vec<u8>, entries: &[(&str, &str)]) {
    put_block(out, |out| {
        for (key, value) in entries {
            put_text(out, key);
            put_text(out, value);
        }
    });
}

/// Writes how many bytes follow the `width` bytes at `at` into them.
fn put_length(out: &mut [u8], at: usize, width: usize) {
    let length = (out.len() - at - width) as u64;
    out[at..at + width].copy_from_slice(&length.to_le_bytes()[..width]);
}

/// A record of a file.
#[derive(Debug, PartialEq)]
pub(super) struct Frame {
    /// Where its content begins in the file.
    pub at: u64,
    pub opcode: u8,
    pub content: Vec<u8>,
    /// How long the content should be; longer than it where the file ends too early.
    pub length: u64,
}

/// Reads the records of a file one after the other.
#[derive(Debug)]
pub(super) struct Frames<R> {
    input: R,
    pub path: PathBuf,
    /// Bytes read.
    at: u64,
}

impl<R: Read> Frames<R> {
    /// Reads the magic bytes that a file begins with; `path` stands in messages.
    pub(super) fn new(input: R, path: PathBuf) -> Result<Self, RecordError> {
        let mut frames = Frames { input, path, at: 0 };
        let found = frames.bytes(MAGIC.len() as u64)?;
        if found == MAGIC {
            return Ok(frames);
        }
        let found = match &found[..] {
            [] => "an empty file".to_owned(),
            bytes if MAGIC.starts_with(bytes) => "the first bytes of one, and nothing behind them".to_owned(),
            bytes => format!("`{}`", bytes.escape_ascii()),
        };
        Err(RecordError::NotRecord { path: frames.path, found })
    }

    /// Bytes read so far.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    pub(super) fn damaged(&self, at: u64, detail: impl Into<String>) -> RecordError {
        RecordError::Damaged { path: self.path.clone(), at, detail: detail.into() }
    }

    /// The next record; one that was begun and not finished has less content than it should. `None` where there is not even
    /// a whole head.
    pub(super) fn next(&mut self) -> Result<Option<Frame>, RecordError> {
        let start = self.at;
        let head = self.bytes(HEAD as u64)?;
        let (Some((opcode, length)), true) = (head.split_first(), head.len() == HEAD) else { return Ok(None) };
        let length = length.iter().rev().fold(0, |length, byte| length << 8 | u64::from(*byte));
        if *opcode == 0 {
            return Err(self.damaged(start, "expected a record, found the opcode 0"));
        }
        if length > MOST {
            return Err(
                self.damaged(start, format!("a record of {length} bytes is beyond the {MOST} that there can be"))
            );
        }
        let at = self.at;
        Ok(Some(Frame { at, opcode: *opcode, content: self.bytes(length)?, length }))
    }

    /// Up to `count` bytes; fewer only at the end. Memory grows with what comes.
    fn bytes(&mut self, count: u64) -> Result<Vec<u8>, RecordError> {
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < count {
            let step = (count - bytes.len() as u64).min(STEP.max(bytes.len() as u64));
            match self.input.by_ref().take(step).read_to_end(&mut bytes) {
                Ok(0) => break,
                Ok(read) => self.at += read as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(RecordError::Read { path: self.path.clone(), source }),
            }
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(records: &[(u8, &[u8])]) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for (opcode, content) in records {
            put_record(&mut out, *opcode, |out| out.extend_from_slice(content));
        }
        out
    }

    #[test]
    fn records_follow_each_other() {
        let bytes = file(&[(1, b"ab"), (0x80, b"")]);
        let mut frames = Frames::new(&bytes[..], "x".into()).unwrap();
        let frame =
            |at, opcode, content: &[u8]| Frame { at, opcode, content: content.into(), length: content.len() as u64 };
        assert_eq!(frames.next().unwrap(), Some(frame(17, 1, b"ab")));
        assert_eq!(frames.next().unwrap(), Some(frame(28, 0x80, b"")));
        assert_eq!(frames.next().unwrap(), None);
    }

    #[test]
    fn a_cut_record_has_less_content_than_it_should() {
        let bytes = file(&[(1, b"abc")]);
        for cut in MAGIC.len()..bytes.len() {
            let found = Frames::new(&bytes[..cut], "x".into()).unwrap().next().unwrap();
            match cut.checked_sub(MAGIC.len() + HEAD) {
                None => assert_eq!(found, None, "{cut}"),
                Some(left) => {
                    let frame = found.unwrap();
                    assert_eq!((frame.content.len(), frame.length), (left, 3), "{cut}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_record_is_told() {
        for (bytes, says) in [
            (&b""[..], "found an empty file"),
            (&MAGIC[..3], "found the first bytes of one"),
            (b"RIFF\x01\0\0\0WAVE", "found `RIFF\\x01\\x00\\x00\\x00`"),
        ] {
            let error = Frames::new(bytes, "a.mcap".into()).unwrap_err().to_string();
            assert!(error.starts_with("a.mcap: expected a record") && error.contains(says), "{error}");
        }
        for (length, says) in [(u64::MAX, "is beyond"), (MOST + 1, "is beyond")] {
            let bytes = [&MAGIC[..], &[6], &length.to_le_bytes()].concat();
            let error = Frames::new(&bytes[..], "x".into()).unwrap().next().unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("damaged at byte 8"), "{error}");
        }
        let bytes = [&MAGIC[..], &[6], &MOST.to_le_bytes(), &[1, 2]].concat();
        let frame = Frames::new(&bytes[..], "x".into()).unwrap().next().unwrap().unwrap();
        assert!(frame.content.capacity() < 3 << 20, "only what is there is held: {}", frame.content.capacity());
    }
}
