//! Numbered pictures as a video: `frames/%04d.png`.

use std::path::{Path, PathBuf};

use super::super::picture::{PictureError, PictureLimits, read_picture};
use super::{VideoError, VideoLimits};
use crate::media::{Image, PixelFormat};

/// The name of a picture with a place for its number.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    before: String,
    /// Least digits; missing ones are zeros.
    digits: usize,
    after: String,
}

impl Pattern {
    /// Reads `%d` or `%04d` in a name.
    fn of(name: &str) -> Option<Pattern> {
        let (before, rest) = name.split_once('%')?;
        let (digits, after) = rest.split_once('d')?;
        let digits = match digits {
            "" => 1,
            digits => digits.strip_prefix('0')?.parse().ok().filter(|digits| (1..=18).contains(digits))?,
        };
        Some(Pattern { before: before.to_owned(), digits, after: after.to_owned() })
    }

    fn name(&self, number: u64) -> String {
        format!("{}{number:0digits$}{}", self.before, self.after, digits = self.digits)
    }

    /// The number of a name that is of this pattern.
    fn number(&self, name: &str) -> Option<u64> {
        let digits = name.strip_prefix(&self.before)?.strip_suffix(&self.after)?;
        let number: u64 = digits.parse().ok()?;
        (self.name(number) == name).then_some(number)
    }
}

/// Whether the last part of a path has a place for a number.
pub(super) fn is_sequence(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| Pattern::of(name).is_some())
}

/// Reads pictures by number, from the least that is there up to the first that is missing.
#[derive(Debug)]
pub(super) struct SequenceReader {
    path: PathBuf,
    pattern: Pattern,
    next: u64,
    end: u64,
    size: (u32, u32),
    limits: PictureLimits,
    /// Decoded when the sequence was opened.
    first: Option<Image>,
}

impl SequenceReader {
    pub(super) fn open(path: &Path, limits: &VideoLimits) -> Result<Self, VideoError> {
        let missing = || VideoError::Missing { path: path.to_owned() };
        let pattern = path.file_name().and_then(|name| name.to_str()).and_then(Pattern::of).ok_or_else(missing)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let entries = std::fs::read_dir(folder).map_err(|_| missing())?;
        let mut numbers: Vec<u64> =
            entries.flatten().filter_map(|entry| pattern.number(entry.file_name().to_str()?)).collect();
        numbers.sort_unstable();
        let from = *numbers.first().ok_or_else(missing)?;
        let count = numbers.iter().zip(from..).take_while(|(found, expected)| *found == expected).count() as u64;
        let limits = PictureLimits { max_pixels: limits.max_pixels, ..PictureLimits::default() };
        let mut reader = SequenceReader {
            path: path.to_owned(),
            pattern,
            next: from,
            end: from.saturating_add(count),
            size: (0, 0),
            limits,
            first: None,
        };
        let first = reader.decode(from)?;
        reader.size = (first.width(), first.height());
        reader.first = Some(first);
        Ok(reader)
    }

    /// Width and height in pixels, of every picture.
    pub(super) fn size(&self) -> (u32, u32) {
        self.size
    }

    /// Pictures that are left.
    pub(super) fn left(&self) -> u64 {
        self.end - self.next
    }

    fn decode(&self, number: u64) -> Result<Image, PictureError> {
        read_picture(&self.path.with_file_name(self.pattern.name(number)), &self.limits)
    }

    /// The next picture, `rgb8`.
    pub(super) fn read(&mut self) -> Result<Option<Image>, VideoError> {
        if self.next == self.end {
            return Ok(None);
        }
        let number = self.next;
        let image = match self.first.take() {
            Some(first) => first,
            None => self.decode(number)?,
        };
        self.next += 1;
        let found = (image.width(), image.height());
        if found != self.size {
            let path = self.path.with_file_name(self.pattern.name(number));
            return Err(VideoError::OtherSize { path, expected: self.size, found });
        }
        Ok(Some(coloured(image)))
    }
}

/// The picture as `rgb8`: gray is three equal samples, alpha is left out.
fn coloured(image: Image) -> Image {
    let pixels: Vec<u8> = match image.format() {
        PixelFormat::Rgb8 => return image,
        PixelFormat::Gray8 => image.packed().iter().flat_map(|gray| [*gray; 3]).collect(),
        PixelFormat::Rgba8 => image.packed().chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
    };
    let (width, height) = (image.width(), image.height());
    Image::new(pixels, width, height, PixelFormat::Rgb8).expect("three bytes for each pixel of a picture")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{PictureFormat, encode_picture};
    use crate::media::PixelFormat;

    #[test]
    fn names_and_numbers() {
        for (name, number, expected) in [
            ("%d.png", 7, Some("7.png")),
            ("a%04d.png", 7, Some("a0007.png")),
            ("a%04d.png", 12_345, Some("a12345.png")),
            ("100%.png", 0, None),
            ("a%4d.png", 0, None),
            ("a.png", 0, None),
            ("%099d", 0, None),
        ] {
            let pattern = Pattern::of(name);
            assert_eq!(pattern.as_ref().map(|pattern| pattern.name(number)).as_deref(), expected, "{name}");
            if let (Some(pattern), Some(expected)) = (pattern, expected) {
                assert_eq!(pattern.number(expected), Some(number));
                assert_eq!(pattern.number("b0007.png"), None);
                assert_eq!(pattern.number("a7.png"), None);
            }
        }
    }

    #[test]
    fn a_sequence_goes_up_to_the_first_gap() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, width: u32, level: u8| {
            let image = Image::new(vec![level; width as usize * 2], width, 2, PixelFormat::Gray8).unwrap();
            std::fs::write(folder.path().join(name), encode_picture(&image, PictureFormat::Png).unwrap()).unwrap();
        };
        for number in [3u8, 4, 5, 7] {
            write(&format!("f{number:03}.png"), 3, number);
        }
        let path = folder.path().join("f%03d.png");
        assert!(is_sequence(&path) && !is_sequence(&folder.path().join("f003.png")));
        let mut reader = SequenceReader::open(&path, &VideoLimits::default()).unwrap();
        assert_eq!((reader.size(), reader.left()), ((3, 2), 3));
        for level in [3, 4, 5] {
            assert_eq!(reader.read().unwrap().unwrap().packed()[0], level);
        }
        assert!(reader.read().unwrap().is_none());
        write("f004.png", 5, 0);
        let mut reader = SequenceReader::open(&path, &VideoLimits::default()).unwrap();
        reader.read().unwrap();
        let error = reader.read().unwrap_err().to_string();
        assert!(error.contains("f004.png: expected 3 × 2 pixels") && error.contains("found 5 × 2"), "{error}");
        let error = SequenceReader::open(&folder.path().join("g%d.png"), &VideoLimits::default()).unwrap_err();
        assert!(error.to_string().contains("g%d.png: there is no such file"), "{error}");
    }
}
