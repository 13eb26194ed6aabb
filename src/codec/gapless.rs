//! The index of an mp4 file (`moov`), read for what the decoder does not apply: which part of the decoded sound is the
//! sound that was encoded.
//!
//! Two ways of saying so are known: the edit list (ISO/IEC 14496-12, 8.6.6; ffmpeg, newer Apple encoders) and the
//! `iTunSMPB` comment of iTunes. The comment counts frames exactly, so it wins.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::ops::Range;

use super::input::{Input, read_full};

/// A larger index is no index of a recording: ten hours of AAC need some 8 MB.
const MAX_INDEX: u64 = 256 * 1024 * 1024;

/// Where the index was found.
pub(super) enum Index {
    /// Its body, and whether the file ends before its boxes do.
    Found {
        /// What the `moov` box holds.
        body: Vec<u8>,
        /// The file is known to be cut.
        cut: bool,
    },
    /// The file has none.
    Absent,
    /// Behind the sound, where a stream cannot go.
    BehindSound,
}

/// Finds the index; the input returned starts at the beginning again.
pub(super) fn find_index(input: Input) -> io::Result<(Index, Input)> {
    match input {
        Input::File { mut file, length } => {
            let (mut found, mut position) = (None, 0u64);
            while position < length
                && let Some((kind, header, size)) = next_box(&mut file, length - position)?
            {
                if &kind == b"moov" && found.is_none() && size - header <= MAX_INDEX {
                    let mut body = Vec::new();
                    (&mut file).take(size - header).read_to_end(&mut body)?;
                    found = Some(body);
                }
                position = position.saturating_add(size);
                file.seek(SeekFrom::Start(position.min(length)))?;
            }
            file.seek(SeekFrom::Start(0))?;
            let index = found.map_or(Index::Absent, |body| Index::Found { body, cut: position > length });
            Ok((index, Input::File { file, length }))
        }
        Input::Stream(mut stream) => {
            let mut seen = Recorder { inner: &mut stream, seen: Vec::new() };
            let mut index = Index::Absent;
            while let Some((kind, header, size)) = next_box(&mut seen, u64::MAX)? {
                if matches!(&kind, b"mdat" | b"moof") || size - header > MAX_INDEX {
                    index = Index::BehindSound;
                    break;
                }
                let mut body = Vec::new();
                (&mut seen).take(size - header).read_to_end(&mut body)?;
                if &kind == b"moov" {
                    index = Index::Found { body, cut: false };
                    break;
                }
            }
            let seen = seen.seen;
            Ok((index, Input::Stream(Box::new(Cursor::new(seen).chain(stream)))))
        }
    }
}

struct Recorder<R> {
    inner: R,
    seen: Vec<u8>,
}

impl<R: Read> Read for Recorder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.seen.extend_from_slice(&buffer[..count]);
        Ok(count)
    }
}

/// The kind of the next box, the length of its header, and its whole size; `None` at the end or where no box is.
fn next_box(reader: &mut dyn Read, left: u64) -> io::Result<Option<([u8; 4], u64, u64)>> {
    let mut head = [0; 8];
    if read_full(reader, &mut head)? < head.len() {
        return Ok(None);
    }
    let [a, b, c, d, kind @ ..] = head;
    let (header, size) = match u32::from_be_bytes([a, b, c, d]) {
        0 => (8, left),
        1 => {
            let mut large = [0; 8];
            if read_full(reader, &mut large)? < large.len() {
                return Ok(None);
            }
            (16, u64::from_be_bytes(large))
        }
        size => (8, u64::from(size)),
    };
    Ok((size >= header).then_some((kind, header, size)))
}

/// The frames of track `track`, decoded at `rate`, that are its sound; `None` where the index does not say.
///
/// An end of `u64::MAX` means all that there is.
pub(super) fn sound_of(index: &[u8], track: u32, rate: u32) -> Option<Range<u64>> {
    itunes_comment(index).or_else(|| edit_of(index, track, rate))
}

/// Whether the sound is in fragments that the index does not count.
pub(super) fn is_fragmented(index: &[u8]) -> bool {
    child(index, b"mvex").is_some()
}

fn edit_of(index: &[u8], track: u32, rate: u32) -> Option<Range<u64>> {
    let movie_scale = timescale(child(index, b"mvhd")?)?;
    let body = boxes(index).filter(|(kind, _)| kind == b"trak").map(|(_, body)| body).find(|body| {
        let header = child(body, b"tkhd");
        header.and_then(|header| number(header, if header.first() == Some(&1) { 20 } else { 12 })) == Some(track)
    })?;
    let media_scale = timescale(child(child(body, b"mdia")?, b"mdhd")?)?;
    let list = child(child(body, b"edts")?, b"elst")?;
    // Empty edits (media time −1) delay the track against others; they hide nothing.
    let mut edits = edits(list).filter(|(_, media_time)| *media_time >= 0);
    let (duration, media_time) = edits.next()?;
    let scaled = |value: u64, to: u32, from: u32, round_up: bool| {
        let product = u128::from(value) * u128::from(to);
        let rounding = if round_up { from.saturating_sub(1) } else { from / 2 };
        u64::try_from((product + u128::from(rounding)) / u128::from(from)).unwrap_or(u64::MAX)
    };
    let start = scaled(media_time.unsigned_abs(), rate, media_scale, false);
    // The duration counts in the coarse unit of the movie, often a millisecond: it is rounded up, and the end of the
    // sample table cuts more finely. A list of several edits replays parts of a film; only its start is applied.
    let end = match (duration, edits.next()) {
        (1.., None) => start.saturating_add(scaled(duration, rate, movie_scale, true)),
        _ => u64::MAX,
    };
    Some(start..end)
}

fn edits(list: &[u8]) -> impl Iterator<Item = (u64, i64)> {
    let wide = list.first() == Some(&1);
    let size = if wide { 20 } else { 12 };
    list.get(8..).unwrap_or_default().chunks_exact(size).map(move |entry| {
        if wide {
            let word = |at: usize| entry.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or_default();
            (u64::from_be_bytes(word(0)), i64::from_be_bytes(word(8)))
        } else {
            let word = |at: usize| number(entry, at).unwrap_or_default();
            (u64::from(word(0)), i64::from(word(4).cast_signed()))
        }
    })
}

/// ` 00000000 DELAY PADDING LENGTH …` in hexadecimal frames.
fn itunes_comment(index: &[u8]) -> Option<Range<u64>> {
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|window| window == what);
    let comment = index.get(find(index, b"iTunSMPB")?..)?;
    let data = comment.get(find(comment.get(..64)?, b"data")? + 12..)?;
    let text = data.get(..60.min(data.len())).map(String::from_utf8_lossy)?;
    let mut words = text.split_whitespace().skip(1).map(|word| u64::from_str_radix(word, 16).ok());
    let (delay, _padding, length) = (words.next()??, words.next()??, words.next()??);
    (length > 0).then(|| delay..delay.saturating_add(length))
}

/// The ticks per second in an `mvhd` or `mdhd` box.
fn timescale(header: &[u8]) -> Option<u32> {
    number(header, if header.first() == Some(&1) { 20 } else { 12 }).filter(|scale| *scale > 0)
}

fn number(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

fn child<'a>(bytes: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    boxes(bytes).find(|(found, _)| found == kind).map(|(_, body)| body)
}

/// The boxes in `bytes`: kind and body. Ends at the first that does not fit.
fn boxes(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let size = number(rest, 0)? as usize;
        let kind = *rest.get(4..)?.first_chunk()?;
        let body = rest.get(8..size)?;
        rest = rest.get(size..)?;
        Some((kind, body))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mp4_box(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        let mut bytes = (body.len() as u32 + 8).to_be_bytes().to_vec();
        bytes.extend_from_slice(kind);
        bytes.extend_from_slice(body);
        bytes
    }

    fn header(at_12: u32) -> Vec<u8> {
        let mut body = vec![0; 12];
        body.extend_from_slice(&at_12.to_be_bytes());
        body
    }

    /// An index with one track (number 7, media scale 44,100) and these edits on a movie scale of 1,000.
    fn index(edits: &[(u32, i32)]) -> Vec<u8> {
        let mut list = vec![0; 4];
        list.extend_from_slice(&(edits.len() as u32).to_be_bytes());
        for (duration, media_time) in edits {
            list.extend_from_slice(&duration.to_be_bytes());
            list.extend_from_slice(&media_time.to_be_bytes());
            list.extend_from_slice(&[0, 1, 0, 0]);
        }
        let track = [
            mp4_box(b"tkhd", &header(7)),
            mp4_box(b"edts", &mp4_box(b"elst", &list)),
            mp4_box(b"mdia", &mp4_box(b"mdhd", &header(44_100))),
        ];
        [mp4_box(b"mvhd", &header(1000)), mp4_box(b"trak", &track.concat())].concat()
    }

    #[test]
    fn edit_lists() {
        type Case<'a> = (&'a [(u32, i32)], u32, Option<Range<u64>>);
        let cases: &[Case] = &[
            (&[(1000, 1024)], 44_100, Some(1024..45_124)),
            (&[(500, -1), (1000, 1024)], 44_100, Some(1024..45_124)),
            (&[(1, 0)], 44_100, Some(0..45)),
            (&[(0, 2112)], 44_100, Some(2112..u64::MAX)),
            (&[(1000, 0), (1000, 44_100)], 44_100, Some(0..u64::MAX)),
            (&[(1000, 2048)], 22_050, Some(1024..23_074)),
            (&[(500, -1)], 44_100, None),
            (&[], 44_100, None),
        ];
        for (edits, rate, expected) in cases {
            assert_eq!(sound_of(&index(edits), 7, *rate), *expected, "{edits:?}");
        }
        assert_eq!(sound_of(&index(&[(1000, 1024)]), 8, 44_100), None);
    }

    #[test]
    fn the_comment_of_itunes_wins() {
        let mut bytes = index(&[(1000, 1024)]);
        bytes.extend_from_slice(b"\0\0\0\x14name\0\0\0\0iTunSMPB\0\0\0\x5cdata\0\0\0\x01\0\0\0\0");
        bytes.extend_from_slice(b" 00000000 00000840 000001CA 00000000003F31F6 00000000 00000000 00000000");
        assert_eq!(sound_of(&bytes, 7, 44_100), Some(2112..2112 + 0x3f31f6));
    }

    #[test]
    fn an_index_cut_anywhere_is_no_panic() {
        let bytes = index(&[(1000, 1024)]);
        for end in 0..bytes.len() {
            assert_eq!(sound_of(&bytes[..end], 7, 44_100), None, "cut at {end}");
        }
    }
}
