//! Writing NUT.

use std::io::{self, Write};

use super::{FILE_ID, checksum, flag, startcode};

/// Bytes that lie between two syncpoints at most; as one stands before each frame, a frame.
const MAX_DISTANCE: u64 = 65_536;
/// The low bits of a time that are written; here always the whole time is.
const PTS_SHIFT: u64 = 0;

/// Writes frames of one stream of raw pictures, `rgb24` as ffmpeg calls it.
#[derive(Debug)]
pub(crate) struct NutWriter {
    frame_bytes: u64,
    /// Bytes written, and where the last syncpoint stands among them.
    position: u64,
    last_syncpoint: u64,
    last_pts: i64,
}

impl NutWriter {
    /// Writes the headers. `time_base` is the seconds of a unit of time, as a fraction.
    pub(crate) fn begin(out: &mut impl Write, width: u32, height: u32, time_base: (u32, u32)) -> io::Result<Self> {
        let mut bytes = FILE_ID.to_vec();
        let mut main = Vec::new();
        // Version, streams, distance, time bases.
        for value in [3, 1, MAX_DISTANCE, 1, time_base.0.into(), time_base.1.into()] {
            number(&mut main, value);
        }
        // All frame codes in one run of 255 (one is left out by the spec): everything is written with the frame. The fields:
        // difference of times, factor of sizes, stream, least size, reserved fields, length of the run.
        for value in [flag::CODED, 6, 0, 1, 0, 0, 0, 255] {
            number(&mut main, value);
        }
        number(&mut main, 0); // no headers that are left out
        packet(&mut bytes, startcode::MAIN, main);
        let mut stream = Vec::new();
        for value in [0, 0, 4] {
            number(&mut stream, value); // number, class, length of the code
        }
        stream.extend_from_slice(b"RGB\x18");
        // Time base, shift, distance of times, delay, flags, no particulars, sides, aspect unknown, colours unknown.
        for value in [0, PTS_SHIFT, 1 << 30, 0, 0, 0, width.into(), height.into(), 0, 0, 0] {
            number(&mut stream, value);
        }
        packet(&mut bytes, startcode::STREAM, stream);
        out.write_all(&bytes)?;
        let frame_bytes = u64::from(width) * u64::from(height) * 3;
        Ok(NutWriter { frame_bytes, position: bytes.len() as u64, last_syncpoint: 0, last_pts: 0 })
    }

    /// Writes a frame: rows of pixels, all together as many as the sides say. `pts`, in units of the time base, is not
    /// negative.
    pub(crate) fn write<'a>(
        &mut self,
        out: &mut impl Write,
        pts: i64,
        rows: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<()> {
        let pts = u64::try_from(pts).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut bytes = Vec::new();
        let mut sync = Vec::new();
        number(&mut sync, self.last_pts.max(0) as u64);
        let back = if self.last_syncpoint == 0 { 0 } else { (self.position - self.last_syncpoint) >> 4 };
        number(&mut sync, back);
        self.last_syncpoint = self.position;
        packet(&mut bytes, startcode::SYNCPOINT, sync);
        let frame = bytes.len();
        bytes.push(0); // the frame code
        number(&mut bytes, flag::KEY | flag::CODED_PTS | flag::STREAM_ID | flag::SIZE_MSB | flag::CHECKSUM);
        number(&mut bytes, 0); // the stream
        number(&mut bytes, pts + (1 << PTS_SHIFT));
        number(&mut bytes, self.frame_bytes);
        let sum = checksum(&bytes[frame..]);
        bytes.extend_from_slice(&sum.to_be_bytes());
        out.write_all(&bytes)?;
        let mut written = 0;
        for row in rows {
            out.write_all(row)?;
            written += row.len() as u64;
        }
        self.position += bytes.len() as u64 + written;
        self.last_pts = pts as i64;
        if written == self.frame_bytes { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }
}

fn number(bytes: &mut Vec<u8>, value: u64) {
    let digits = (64 - value.leading_zeros()).div_ceil(7).max(1);
    for digit in (0..digits).rev() {
        let more = if digit > 0 { 0x80 } else { 0 };
        bytes.push((value >> (7 * digit)) as u8 & 0x7f | more);
    }
}

/// A packet of less than 4096 bytes.
fn packet(out: &mut Vec<u8>, startcode: u64, mut content: Vec<u8>) {
    content.extend_from_slice(&checksum(&content).to_be_bytes());
    out.extend_from_slice(&startcode.to_be_bytes());
    number(out, content.len() as u64);
    out.extend_from_slice(&content);
}
