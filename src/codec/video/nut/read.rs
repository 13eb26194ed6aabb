//! Reading NUT.

use std::io::{self, Read};

use super::{FILE_ID, checksum, flag, read_full, startcode};

/// The longest header that is read, in bytes.
const MAX_HEADER: u64 = 1 << 20;

/// Why a stream of NUT cannot be read on.
#[derive(Debug)]
pub(crate) enum NutFault {
    /// The system's error.
    Io(io::Error),
    /// It ends within a header or a frame, or before any.
    Cut,
    /// What it holds contradicts the specification, or is not expected here.
    Malformed(&'static str),
}

impl From<io::Error> for NutFault {
    fn from(error: io::Error) -> Self {
        NutFault::Io(error)
    }
}

/// What a frame code stands for.
#[derive(Clone, Copy, Debug)]
struct Code {
    flags: u64,
    stream: u64,
    pts_delta: i64,
    size_factor: u64,
    size_least: u64,
    reserved: u64,
    header: u64,
}

/// Reads the frames of the only stream.
#[derive(Debug)]
pub(crate) struct NutReader<R> {
    input: R,
    codes: Vec<Code>,
    /// What frames begin with that is not written each time.
    headers: Vec<Vec<u8>>,
    time_base: (u32, u32),
    time_bases: u64,
    pts_shift: u32,
    width: u32,
    height: u32,
    last_pts: i64,
}

impl<R: Read> NutReader<R> {
    /// Reads the headers.
    pub(crate) fn begin(mut input: R) -> Result<Self, NutFault> {
        let mut id = [0; FILE_ID.len()];
        if read_full(&mut input, &mut id)? < id.len() {
            return Err(NutFault::Cut);
        }
        if id != FILE_ID {
            return Err(NutFault::Malformed("no NUT header"));
        }
        if next_startcode(&mut input, None)? != Some(startcode::MAIN) {
            return Err(NutFault::Malformed("no main header"));
        }
        let main = packet(&mut input)?;
        let (codes, headers, bases) = main_header(&mut Fields(&main))?;
        let mut reader = NutReader {
            input,
            codes,
            headers,
            time_base: (1, 1),
            time_bases: bases.len() as u64,
            pts_shift: 0,
            width: 0,
            height: 0,
            last_pts: 0,
        };
        loop {
            match next_startcode(&mut reader.input, None)? {
                Some(startcode::STREAM) => {
                    let bytes = packet(&mut reader.input)?;
                    reader.stream_header(&mut Fields(&bytes), &bases)?;
                }
                Some(startcode::SYNCPOINT) if reader.width > 0 => {
                    reader.syncpoint()?;
                    return Ok(reader);
                }
                Some(startcode::SYNCPOINT) => return Err(NutFault::Malformed("a frame before its stream")),
                Some(_) => drop(packet(&mut reader.input)?),
                None => return Err(NutFault::Cut),
            }
        }
    }

    /// Pixels in a row.
    pub(crate) fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub(crate) fn height(&self) -> u32 {
        self.height
    }

    /// The seconds of a unit of time, as a fraction.
    pub(crate) fn time_base(&self) -> (u32, u32) {
        self.time_base
    }

    /// The next frame with its time in units of the time base; `None` at the end. One of more than `most` bytes is refused.
    pub(crate) fn read(&mut self, most: usize) -> Result<Option<(i64, Vec<u8>)>, NutFault> {
        loop {
            let mut code = [0];
            if read_full(&mut self.input, &mut code)? == 0 {
                return Ok(None);
            }
            if code != *b"N" {
                return self.frame(code[0], most).map(Some);
            }
            match next_startcode(&mut self.input, Some(b'N'))? {
                Some(startcode::SYNCPOINT) => self.syncpoint()?,
                Some(startcode::INDEX | startcode::INFO | startcode::MAIN | startcode::STREAM) => {
                    packet(&mut self.input)?;
                }
                _ => return Err(NutFault::Malformed("neither a frame nor a header where one should begin")),
            }
        }
    }

    fn frame(&mut self, code: u8, most: usize) -> Result<(i64, Vec<u8>), NutFault> {
        let code = *self.codes.get(usize::from(code)).ok_or(NutFault::Malformed("an unknown frame code"))?;
        let mut coded = Vec::new();
        let input = &mut self.input;
        let mut number = || number(input, &mut coded);
        let mut flags = code.flags;
        if flags & flag::CODED != 0 {
            flags ^= number()?;
        }
        if flags & (flag::INVALID | flag::SIDE_DATA) != 0 {
            return Err(NutFault::Malformed("a frame code that is not to be used"));
        }
        let stream = if flags & flag::STREAM_ID != 0 { number()? } else { code.stream };
        if stream != 0 {
            return Err(NutFault::Malformed("a frame of a second stream"));
        }
        let pts = match flags & flag::CODED_PTS != 0 {
            true => {
                let pts = i64::try_from(number()?).map_err(|_| NutFault::Malformed("a time beyond all times"))?;
                let full = 1i64 << self.pts_shift;
                match pts < full {
                    // Only the low bits were written: the nearest time to the last one that has them.
                    true => {
                        let first = self.last_pts.saturating_sub((full - 1) / 2);
                        (pts.wrapping_sub(first) & (full - 1)).saturating_add(first)
                    }
                    false => pts - full,
                }
            }
            false => self.last_pts.saturating_add(code.pts_delta),
        };
        let mut size = code.size_least;
        if flags & flag::SIZE_MSB != 0 {
            size = code.size_factor.checked_mul(number()?).and_then(|more| more.checked_add(size)).unwrap_or(u64::MAX);
        }
        if flags & flag::MATCH_TIME != 0 {
            number()?;
        }
        let header = if flags & flag::HEADER_INDEX != 0 { number()? } else { code.header };
        let reserved = if flags & flag::RESERVED != 0 { number()? } else { code.reserved };
        for _ in 0..reserved {
            number()?;
        }
        if flags & flag::CHECKSUM != 0 {
            let mut sum = [0; 4];
            if read_full(&mut self.input, &mut sum)? < sum.len() {
                return Err(NutFault::Cut);
            }
        }
        let head = usize::try_from(header).ok().and_then(|header| self.headers.get(header));
        let head = head.ok_or(NutFault::Malformed("a frame with an unknown beginning"))?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > most {
            return Err(NutFault::Malformed("a frame larger than its picture"));
        }
        let rest = size.checked_sub(head.len()).ok_or(NutFault::Malformed("a frame shorter than its beginning"))?;
        let mut data = Vec::with_capacity(size);
        data.extend_from_slice(head);
        self.input.by_ref().take(rest as u64).read_to_end(&mut data)?;
        if data.len() < size {
            return Err(NutFault::Cut);
        }
        self.last_pts = pts;
        Ok((pts, data))
    }

    fn stream_header(&mut self, fields: &mut Fields<'_>, bases: &[(u32, u32)]) -> Result<(), NutFault> {
        let (id, class) = (fields.number()?, fields.number()?);
        if (id, class) != (0, 0) {
            return Err(NutFault::Malformed("not one stream of video"));
        }
        fields.bytes()?; // the code of its format
        let base = usize::try_from(fields.number()?).ok().and_then(|base| bases.get(base));
        self.time_base = *base.ok_or(NutFault::Malformed("a stream without a time base"))?;
        let shift = u32::try_from(fields.number()?).ok().filter(|shift| *shift < 16);
        self.pts_shift = shift.ok_or(NutFault::Malformed("a shift of times beyond 15 bits"))?;
        for _ in 0..3 {
            fields.number()?; // the largest distance of times, the decoder's delay, flags
        }
        fields.bytes()?; // what is particular to its format
        let mut side = || fields.number().map(|side| u32::try_from(side).ok().filter(|side| *side > 0));
        match (side()?, side()?) {
            (Some(width), Some(height)) => (self.width, self.height) = (width, height),
            _ => return Err(NutFault::Malformed("a picture without pixels")),
        }
        Ok(())
    }

    fn syncpoint(&mut self) -> Result<(), NutFault> {
        let bytes = packet(&mut self.input)?;
        let time = Fields(&bytes).number()?;
        let pts = time / self.time_bases.max(1);
        // With one stream there is one time base in use.
        self.last_pts = i64::try_from(pts).map_err(|_| NutFault::Malformed("a time beyond all times"))?;
        Ok(())
    }
}

type MainHeader = (Vec<Code>, Vec<Vec<u8>>, Vec<(u32, u32)>);

fn main_header(fields: &mut Fields<'_>) -> Result<MainHeader, NutFault> {
    let version = fields.number()?;
    if !(2..=4).contains(&version) {
        return Err(NutFault::Malformed("a version of NUT that is not 2, 3 or 4"));
    }
    if version > 3 {
        fields.number()?;
    }
    if fields.number()? != 1 {
        return Err(NutFault::Malformed("more than one stream"));
    }
    fields.number()?; // the largest distance of syncpoints
    let bases = fields.number()?;
    let mut time_bases = Vec::new();
    for _ in 0..bases {
        let mut part = || fields.number().map(|part| u32::try_from(part).ok().filter(|part| *part > 0));
        match (part()?, part()?) {
            (Some(numerator), Some(denominator)) => time_bases.push((numerator, denominator)),
            _ => return Err(NutFault::Malformed("a time base that is no fraction")),
        }
    }
    if time_bases.len() != 1 {
        return Err(NutFault::Malformed("not one time base"));
    }
    let codes = frame_codes(fields)?;
    let mut headers = vec![Vec::new()];
    if !fields.0.is_empty() {
        for _ in 0..fields.number()? {
            headers.push(fields.bytes()?.to_vec());
        }
    }
    Ok((codes, headers, time_bases))
}

/// The table of frame codes, which is written in runs.
fn frame_codes(fields: &mut Fields<'_>) -> Result<Vec<Code>, NutFault> {
    let invalid =
        Code { flags: flag::INVALID, stream: 0, pts_delta: 0, size_factor: 1, size_least: 0, reserved: 0, header: 0 };
    let mut run = invalid;
    let mut codes = Vec::with_capacity(256);
    while codes.len() < 256 {
        run.flags = fields.number()?;
        let count = fields.number()?;
        if count > 0 {
            run.pts_delta = fields.signed()?;
        }
        if count > 1 {
            run.size_factor = fields.number()?;
        }
        if count > 2 {
            run.stream = fields.number()?;
        }
        run.size_least = if count > 3 { fields.number()? } else { 0 };
        run.reserved = if count > 4 { fields.number()? } else { 0 };
        let length = if count > 5 { fields.number()? } else { run.size_factor.saturating_sub(run.size_least) };
        if count > 6 {
            fields.signed()?;
        }
        if count > 7 {
            run.header = fields.number()?;
        }
        for _ in 8..count {
            fields.number()?;
        }
        if length == 0 {
            return Err(NutFault::Malformed("an empty run of frame codes"));
        }
        for step in 0..length.min(256) {
            if codes.len() == usize::from(b'N') {
                codes.push(invalid);
            }
            if codes.len() < 256 {
                codes.push(Code { size_least: run.size_least.saturating_add(step), ..run });
            }
        }
    }
    Ok(codes)
}

/// The startcode that is next; `read` is its first byte if that was taken already. `None` at the end.
fn next_startcode(input: &mut impl Read, read: Option<u8>) -> Result<Option<u64>, NutFault> {
    let mut bytes = [0; 8];
    let from = usize::from(read.is_some());
    bytes[0] = read.unwrap_or(0);
    match read_full(input, &mut bytes[from..])? {
        0 if from == 0 => Ok(None),
        count if count + from < 8 => Err(NutFault::Cut),
        _ => Ok(Some(u64::from_be_bytes(bytes))),
    }
}

/// What follows a startcode, without its checksum, which is looked at.
fn packet(input: &mut impl Read) -> Result<Vec<u8>, NutFault> {
    let mut coded = Vec::new();
    let length = number(input, &mut coded)?;
    if length > MAX_HEADER {
        return Err(NutFault::Malformed("a header of more than a mebibyte"));
    }
    if length > 4096 && read_full(input, &mut [0; 4])? < 4 {
        return Err(NutFault::Cut);
    }
    let mut bytes = Vec::new();
    input.take(length).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < length {
        return Err(NutFault::Cut);
    }
    if bytes.len() < 4 || checksum(&bytes) != 0 {
        return Err(NutFault::Malformed("a header whose checksum is wrong"));
    }
    bytes.truncate(bytes.len() - 4);
    Ok(bytes)
}

/// A number of variable length: seven bits a byte, the most significant first. `coded` is a place to work.
fn number(input: &mut impl Read, coded: &mut Vec<u8>) -> Result<u64, NutFault> {
    coded.clear();
    loop {
        let mut byte = [0];
        if read_full(input, &mut byte)? == 0 {
            return Err(NutFault::Cut);
        }
        coded.push(byte[0]);
        if byte[0] & 0x80 == 0 {
            return Fields(coded).number();
        }
        if coded.len() > 9 {
            return Err(NutFault::Malformed("a number beyond 64 bits"));
        }
    }
}

/// The fields of a header that are left.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn number(&mut self) -> Result<u64, NutFault> {
        let mut value: u64 = 0;
        loop {
            let (byte, rest) = self.0.split_first().ok_or(NutFault::Malformed("a header that is cut"))?;
            self.0 = rest;
            if value >> 57 != 0 {
                return Err(NutFault::Malformed("a number beyond 64 bits"));
            }
            value = value << 7 | u64::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
    }

    /// A number with a sign, in its lowest bit.
    fn signed(&mut self) -> Result<i64, NutFault> {
        let value = self.number()?.saturating_add(1);
        let half = (value >> 1) as i64;
        Ok(if value & 1 == 1 { -half } else { half })
    }

    /// Bytes behind their number.
    fn bytes(&mut self) -> Result<&'a [u8], NutFault> {
        let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(NutFault::Malformed("a header that is cut"))?;
        self.0 = rest;
        Ok(bytes)
    }
}
