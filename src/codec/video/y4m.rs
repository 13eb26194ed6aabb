//! Y4M: frames without compression behind a line of text each, as `ffmpeg -f yuv4mpegpipe` and `mjpegtools` write them.
//!
//! Source: the manual page yuv4mpeg(5) of mjpegtools. Eight bits; 4:2:0, 4:1:1, 4:2:2, 4:4:4 and without colour.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::yuv::Layout;
use super::{VideoError, VideoLimits};

/// What a file begins with.
pub(super) const MAGIC: &[u8] = b"YUV4MPEG2 ";
/// The longest line that is read, in bytes.
const MAX_LINE: u64 = 1024;
/// Frames a second of a file that does not tell.
const DEFAULT_RATE: (u32, u32) = (25, 1);

/// Reads a file frame by frame.
#[derive(Debug)]
pub(super) struct Y4mReader {
    path: PathBuf,
    input: BufReader<File>,
    layout: Layout,
    frame_bytes: usize,
    /// Frames in so many seconds.
    rate: (u32, u32),
    /// Bytes of the file without its first line.
    body: u64,
    frames: u64,
}

impl Y4mReader {
    pub(super) fn open(path: &Path, limits: &VideoLimits) -> Result<Self, VideoError> {
        let failed = |source| VideoError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut input = BufReader::new(file);
        let wrong = |detail: String| VideoError::Y4m { path: path.to_owned(), detail };
        let line = line(&mut input).map_err(failed)?.ok_or_else(|| wrong("its first line does not end".to_owned()))?;
        let (layout, rate) = header(&line).map_err(wrong)?;
        let (width, height) = (layout.width as u64, layout.height as u64);
        let max_pixels = limits.max_pixels;
        if width.saturating_mul(height) > max_pixels {
            return Err(VideoError::TooManyPixels { path: path.to_owned(), width, height, max_pixels });
        }
        let frame_bytes = layout.bytes().ok_or_else(|| wrong("its frames are larger than memory".to_owned()))?;
        let body = length.saturating_sub(line.len() as u64 + 1);
        Ok(Y4mReader { path: path.to_owned(), input, layout, frame_bytes, rate, body, frames: 0 })
    }

    /// Width and height in pixels.
    pub(super) fn size(&self) -> (u32, u32) {
        // The header's numbers are 32 bits.
        (self.layout.width as u32, self.layout.height as u32)
    }

    /// Frames in so many seconds.
    pub(super) fn rate(&self) -> (u32, u32) {
        self.rate
    }

    /// How many frames there are, when their lines are as short as they mostly are.
    pub(super) fn expected(&self) -> u64 {
        self.body / (self.frame_bytes as u64 + b"FRAME\n".len() as u64)
    }

    /// The next frame as red, green, blue.
    pub(super) fn read(&mut self) -> Result<Option<Vec<u8>>, VideoError> {
        let failed = |source| VideoError::Read { path: self.path.clone(), source };
        if self.input.fill_buf().map_err(failed)?.is_empty() {
            return Ok(None);
        }
        let truncated = || VideoError::Truncated {
            path: self.path.clone(),
            frames: self.frames,
            expected: None,
            detail: String::new(),
        };
        let line = line(&mut self.input).map_err(failed)?.ok_or_else(truncated)?;
        if line != "FRAME" && !line.starts_with("FRAME ") {
            let detail = format!("expected the line `FRAME` before frame {}, found other bytes", self.frames);
            return Err(VideoError::Y4m { path: self.path.clone(), detail });
        }
        let mut planes = Vec::with_capacity(self.frame_bytes);
        self.input.by_ref().take(self.frame_bytes as u64).read_to_end(&mut planes).map_err(failed)?;
        if planes.len() < self.frame_bytes {
            return Err(truncated());
        }
        self.frames += 1;
        Ok(Some(self.layout.to_rgb(&planes)))
    }
}

/// The next line without its end; `None` where it has none.
fn line(input: &mut impl BufRead) -> std::io::Result<Option<String>> {
    let mut bytes = Vec::new();
    input.take(MAX_LINE).read_until(b'\n', &mut bytes)?;
    Ok((bytes.pop() == Some(b'\n')).then(|| String::from_utf8_lossy(&bytes).into_owned()))
}

/// What the first line says. Fails with what is wrong.
fn header(line: &str) -> Result<(Layout, (u32, u32)), String> {
    let (mut width, mut height, mut rate) = (None, None, DEFAULT_RATE);
    let (mut colours, mut full) = ("420", false);
    for word in line.split(' ').skip(1).filter(|word| !word.is_empty()) {
        let (key, value) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
        match key {
            "W" => width = Some(value),
            "H" => height = Some(value),
            "F" => {
                let parts = value.split_once(':').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
                match parts {
                    Some((0, 0)) => {}
                    Some((frames, seconds)) if frames > 0 && seconds > 0 => rate = (frames, seconds),
                    _ => return Err(format!("expected a frame rate such as `F30000:1001`, found `{word}`")),
                }
            }
            "C" => colours = value,
            "X" if value == "COLORRANGE=FULL" => full = true,
            _ => {}
        }
    }
    let side = |name: &str, text: Option<&str>| {
        let side = text.and_then(|text| text.parse::<u32>().ok()).filter(|side| *side > 0);
        side.map(|side| side as usize)
            .ok_or_else(|| format!("expected a {name} in pixels, found `{}`", text.unwrap_or("none")))
    };
    let (width, height) = (side("width", width)?, side("height", height)?);
    let shared = match colours {
        "420" | "420mpeg2" | "420paldv" => Some((2, 2)),
        "420jpeg" => Some((2, 2)),
        "411" => Some((4, 1)),
        "422" => Some((2, 1)),
        "444" => Some((1, 1)),
        "mono" => None,
        other => {
            return Err(format!("expected colours of 8 bits as 420, 411, 422, 444 or mono, found `{other}`"));
        }
    };
    Ok((Layout { width, height, shared, full }, rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let name = file.path().display().to_string();
        let text = |error: VideoError| error.to_string().replace(&name, "a.y4m");
        let mut reader = Y4mReader::open(file.path(), &VideoLimits { max_pixels: 100 }).map_err(text)?;
        let mut frames = Vec::new();
        while let Some(frame) = reader.read().map_err(text)? {
            frames.push(frame);
        }
        assert_eq!(reader.expected(), frames.len() as u64);
        Ok(frames)
    }

    #[test]
    fn headers() {
        let layout = |width, height, shared, full| Layout { width, height, shared, full };
        for (line, expected) in [
            ("YUV4MPEG2 W4 H2 F30000:1001 Ip A1:1 C420jpeg", (layout(4, 2, Some((2, 2)), false), (30_000, 1001))),
            ("YUV4MPEG2 W4 H2 F0:0 C422 XYSCSS=422 XCOLORRANGE=FULL", (layout(4, 2, Some((2, 1)), true), (25, 1))),
            ("YUV4MPEG2 H2  W4 Cmono", (layout(4, 2, None, false), (25, 1))),
            ("YUV4MPEG2 W1 H1 C411 F5:1", (layout(1, 1, Some((4, 1)), false), (5, 1))),
        ] {
            assert_eq!(header(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn frames_are_read() {
        let gray = [&b"YUV4MPEG2 W2 H1 Cmono XCOLORRANGE=FULL\nFRAME\n"[..], &[7, 9], b"FRAME Ip\n", &[1, 2]].concat();
        // A line of a frame that is longer than most.
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &gray).unwrap();
        let mut reader = Y4mReader::open(file.path(), &VideoLimits::default()).unwrap();
        assert_eq!(reader.size(), (2, 1));
        assert_eq!(reader.read().unwrap(), Some(vec![7, 7, 7, 9, 9, 9]));
        assert_eq!(reader.read().unwrap(), Some(vec![1, 1, 1, 2, 2, 2]));
        assert_eq!(reader.read().unwrap(), None);
        let odd = [&b"YUV4MPEG2 W3 H3 C420 F25:1\nFRAME\n"[..], &[128; 17]].concat();
        assert_eq!(of(&odd).unwrap()[0].len(), 27);
    }

    #[test]
    fn bad_files_are_errors() {
        for (bytes, says) in [
            (&b"YUV4MPEG2 W2 H2"[..], "a.y4m: its first line does not end; make another"),
            (b"YUV4MPEG2 H2\n", "expected a width in pixels, found `none`"),
            (b"YUV4MPEG2 W2 H-2\n", "expected a height in pixels, found `-2`"),
            (b"YUV4MPEG2 W0 H2\n", "expected a width in pixels, found `0`"),
            (b"YUV4MPEG2 W2 H2 F25:0\n", "expected a frame rate such as `F30000:1001`, found `F25:0`"),
            (b"YUV4MPEG2 W2 H2 C420p10\n", "expected colours of 8 bits as 420, 411, 422, 444 or mono, found `420p10`"),
            (b"YUV4MPEG2 W20 H20\n", "expected frames of at most 100 pixels, found 20 × 20"),
            (b"YUV4MPEG2 W100000 H100000\n", "found 100000 × 100000"),
            (b"YUV4MPEG2 W1 H1 Cmono\nFRAMES\n1", "expected the line `FRAME` before frame 0"),
            (b"YUV4MPEG2 W1 H1 Cmono\nFRAME\n1FRAME\n", "truncated after 1 frames; what came before is good"),
            (b"YUV4MPEG2 W1 H1 Cmono\nFRAME\n1FRA", "truncated after 1 frames"),
        ] {
            let error = of(bytes).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
    }
}
