//! `image_folder`: pictures, one folder a class.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use image::imageops::FilterType;
use image::{DynamicImage, ImageDecoder, ImageReader, Limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::folder::ClassFolders;
use super::{DataError, DataFormat, DataSet, FormatEntry, Known, Sample, expect_index};
use crate::tensor::Tensor;

/// What a pixel holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Color {
    /// Red, green, blue.
    #[default]
    Rgb,
    /// Luminance: 0.2126 red + 0.7152 green + 0.0722 blue.
    Gray,
}

/// How a picture is brought to its size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fit {
    /// All of it, stretched where its proportions are others.
    #[default]
    Stretch,
    /// The largest part in its middle that has the right proportions.
    Crop,
}

/// The order of an input's dimensions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Layout {
    /// `[channels, height, width]`.
    #[default]
    Chw,
    /// `[height, width, channels]`.
    Hwc,
}

/// A folder with a folder of pictures (png, jpeg, bmp, gif, webp, pnm) for each class: input f32, target i64. Pictures
/// are read when they are needed.
///
/// Samples come by class, then by path. The format is told from the content. Of a moving picture the first frame
/// counts, transparency does not, and the orientation that a camera noted is applied. Sizes change by a triangle
/// filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImageFolder {
    /// The folder of the classes' folders.
    pub path: PathBuf,
    /// The width of an input, in pixels.
    #[schemars(range(min = 1, max = 4096))]
    pub width: u32,
    /// The height of an input, in pixels.
    #[schemars(range(min = 1, max = 4096))]
    pub height: u32,
    /// What a pixel holds. Default: rgb.
    #[serde(default)]
    pub color: Color,
    /// How a picture is brought to its size. Default: stretch.
    #[serde(default)]
    pub fit: Fit,
    /// The order of an input's dimensions. Default: chw.
    #[serde(default)]
    pub layout: Layout,
    /// What each value, from 0 to 255, is multiplied by. Default: 1/255.
    #[serde(default)]
    pub scale: Option<f32>,
    /// What is added to it after that. Default: 0.
    #[serde(default)]
    pub offset: f32,
    /// The names of the classes, which are those of the folders, in the order of their numbers. Default: those of the
    /// training data, or all folders in order.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub classes: Option<Vec<String>>,
    /// The most pixels of a picture; a larger one is a bad sample. Default: 50000000.
    #[serde(default = "default_pixels")]
    #[schemars(range(min = 1))]
    pub max_pixels: u64,
}

fn default_pixels() -> u64 {
    50_000_000
}

/// The largest width and height of an input.
const MAX_INPUT: u32 = 4096;
/// The largest width and height of a picture: a filter's buffer is as wide as the picture and as high as the input.
const MAX_SIDE: u32 = 1 << 15;

const EXTENSIONS: &[&str] = &["png", "jpg", "jpeg", "bmp", "gif", "webp", "pnm", "pbm", "pgm", "ppm"];

pub(super) const FORMAT: FormatEntry = FormatEntry::of::<ImageFolder>(
    "image_folder",
    "pictures, in a folder for each class",
    "path: photos\nwidth: 96\nheight: 96\nfit: crop\n",
);

impl ImageFolder {
    /// The folder at `path`, with pictures of this size.
    pub fn new(path: impl Into<PathBuf>, width: u32, height: u32) -> Self {
        ImageFolder {
            path: path.into(),
            width,
            height,
            color: Color::Rgb,
            fit: Fit::Stretch,
            layout: Layout::Chw,
            scale: None,
            offset: 0.0,
            classes: None,
            max_pixels: default_pixels(),
        }
    }

    fn load(&self, path: &Path) -> Result<Tensor, DataError> {
        let bad = |error: image::ImageError| match error {
            image::ImageError::IoError(source) if source.kind() != std::io::ErrorKind::UnexpectedEof => {
                DataError::io(path, source)
            }
            other => DataError::format(path, "", "a picture (png, jpeg, bmp, gif, webp, pnm)", other.to_string()),
        };
        let file = File::open(path).map_err(|source| DataError::io(path, source))?;
        let reader = ImageReader::new(BufReader::new(file)).with_guessed_format();
        let mut reader = reader.map_err(|source| DataError::io(path, source))?;
        let mut limits = Limits::default();
        limits.max_image_width = Some(MAX_SIDE);
        limits.max_image_height = Some(MAX_SIDE);
        limits.max_alloc = Some(self.max_pixels.saturating_mul(16).saturating_add(1 << 24));
        reader.limits(limits);
        let mut decoder = reader.into_decoder().map_err(bad)?;
        let (width, height) = decoder.dimensions();
        let pixels = u64::from(width) * u64::from(height);
        if pixels > self.max_pixels || pixels == 0 {
            let expected = format!("from 1 to {} pixels (`max_pixels`)", self.max_pixels);
            return Err(DataError::format(path, "", expected, format!("{width} by {height}")));
        }
        let orientation = decoder.orientation().unwrap_or(image::metadata::Orientation::NoTransforms);
        let mut picture = DynamicImage::from_decoder(decoder).map_err(bad)?;
        picture.apply_orientation(orientation);
        self.tensor(self.fitted(picture))
    }

    fn fitted(&self, picture: DynamicImage) -> DynamicImage {
        let picture = match self.fit {
            Fit::Stretch => picture,
            Fit::Crop => {
                let (width, height) = (u64::from(picture.width()), u64::from(picture.height()));
                let (w, h) = (u64::from(self.width), u64::from(self.height));
                // The largest part with the proportions w : h, to the nearest pixel.
                let nearest = |side: u64, a: u64, b: u64| ((side * a + b / 2) / b).max(1);
                let (part_width, part_height) =
                    (nearest(height, w, h).min(width) as u32, nearest(width, h, w).min(height) as u32);
                let (x, y) = ((picture.width() - part_width) / 2, (picture.height() - part_height) / 2);
                picture.crop_imm(x, y, part_width, part_height)
            }
        };
        if (picture.width(), picture.height()) == (self.width, self.height) {
            return picture;
        }
        picture.resize_exact(self.width, self.height, FilterType::Triangle)
    }

    fn tensor(&self, picture: DynamicImage) -> Result<Tensor, DataError> {
        let (channels, bytes) = match self.color {
            Color::Rgb => (3, picture.into_rgb8().into_raw()),
            Color::Gray => (1, picture.into_luma8().into_raw()),
        };
        // Divided, not multiplied by the rounded reciprocal: 255 is exactly 1.
        let value = |byte: &u8| match self.scale {
            None => f32::from(*byte) / 255.0 + self.offset,
            Some(scale) => f32::from(*byte) * scale + self.offset,
        };
        let (width, height) = (self.width as usize, self.height as usize);
        Ok(match self.layout {
            Layout::Hwc => Tensor::new(vec![height, width, channels], bytes.iter().map(value).collect::<Vec<f32>>())?,
            Layout::Chw => {
                let planes = (0..channels).flat_map(|channel| bytes.iter().skip(channel).step_by(channels).map(value));
                Tensor::new(vec![channels, height, width], planes.collect::<Vec<f32>>())?
            }
        })
    }
}

impl DataFormat for ImageFolder {
    fn open_with(&self, base_dir: &Path, known: &Known) -> Result<Box<dyn DataSet>, DataError> {
        for (setting, size) in [("width", self.width), ("height", self.height)] {
            if !(1..=MAX_INPUT).contains(&size) {
                return Err(DataError::setting(setting, format!("from 1 to {MAX_INPUT} pixels"), size));
            }
        }
        let root = base_dir.join(&self.path);
        let folders = ClassFolders::scan(&root, EXTENSIONS, self.classes.as_deref(), &known.labels)?;
        Ok(Box::new(ImageSet { config: self.clone(), folders }))
    }
}

struct ImageSet {
    config: ImageFolder,
    folders: ClassFolders,
}

impl DataSet for ImageSet {
    fn len(&self) -> usize {
        self.folders.files.len()
    }

    fn sample(&self, index: usize) -> Result<Sample, DataError> {
        let target = self.target(index)?;
        Ok(Sample { input: self.config.load(&self.folders.files[index].0)?, target })
    }

    fn target(&self, index: usize) -> Result<Tensor, DataError> {
        expect_index(index, self.len())?;
        Ok(Tensor::scalar(self.folders.files[index].1 as i64))
    }

    fn labels(&self) -> &[String] {
        self.folders.classes.names()
    }
}

#[cfg(test)]
mod tests {
    use image::{ImageFormat, Rgb, RgbImage};

    use super::super::testing::{complaint, floats, integers, open};
    use super::*;

    /// A picture whose pixel at (x, y) is (x, y, 7) times 10.
    fn picture(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([x as u8 * 10, y as u8 * 10, 70]))
    }

    fn folder_with(files: &[(&str, ImageFormat, RgbImage)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (path, format, image) in files {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            image.save_with_format(path, *format).unwrap();
        }
        folder
    }

    #[test]
    fn lossless_formats_read_exactly() {
        let formats = [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP, ImageFormat::Pnm];
        for (number, format) in formats.into_iter().enumerate() {
            // The name lies about the format.
            let folder = folder_with(&[("a/x.png", format, picture(2, 3)), ("b/x.png", format, picture(2, 3))]);
            let data = open(&FORMAT, "{path: ., width: 2, height: 3, scale: 0.5, offset: 1}", folder.path()).unwrap();
            let sample = data.sample(1).unwrap();
            let expected = [[1.0, 6.0, 1.0, 6.0, 1.0, 6.0], [1.0, 1.0, 6.0, 6.0, 11.0, 11.0], [36.0; 6]].concat();
            assert_eq!(sample.input.shape(), [3, 3, 2]);
            assert_eq!(floats(&sample.input), expected, "format {number}");
            assert_eq!((integers(&sample.target), data.labels().len()), (vec![1], 2));
        }
    }

    #[test]
    fn jpeg_and_gif_read_nearly() {
        for format in [ImageFormat::Jpeg, ImageFormat::Gif] {
            let folder = folder_with(&[("a/x.jpg", format, RgbImage::from_pixel(8, 8, Rgb([200, 200, 200])))]);
            let data = open(&FORMAT, "{path: ., width: 4, height: 4, color: gray}", folder.path()).unwrap();
            let input = data.sample(0).unwrap().input;
            assert_eq!(input.shape(), [1, 4, 4]);
            assert!(floats(&input).iter().all(|value| (value - 200.0 / 255.0).abs() < 0.02), "{format:?}: {input:?}");
        }
    }

    #[test]
    fn layout_and_fit() {
        let folder = folder_with(&[("a/x.png", ImageFormat::Png, picture(6, 2))]);
        let read = |keys: &str| {
            let data = open(&FORMAT, &format!("{{path: ., scale: 1, {keys}}}"), folder.path()).unwrap();
            data.sample(0).unwrap().input
        };
        let whole = read("width: 6, height: 2, layout: hwc");
        assert_eq!((whole.shape(), &floats(&whole)[3..6]), (&[2, 6, 3][..], &[10.0, 0.0, 70.0][..]));
        let crop = read("width: 2, height: 2, fit: crop");
        assert_eq!(floats(&crop)[..4], [20.0, 30.0, 20.0, 30.0]);
        let halved = read("width: 3, height: 1, fit: crop");
        assert_eq!(halved.shape(), [3, 1, 3]);
        let stretched = floats(&read("width: 3, height: 2"));
        assert!(stretched[0] < 10.0 && (stretched[1] - 25.0).abs() <= 1.0 && stretched[2] > 40.0, "{stretched:?}");
    }

    #[test]
    fn bad_input() {
        let folder = folder_with(&[("a/a.png", ImageFormat::Png, picture(20, 20))]);
        let keys = "path: .\nwidth: 4\nheight: 4\n";
        let fault = |keys: &str| complaint(&FORMAT, keys, folder.path());
        assert_eq!(fault(keys), "no complaint");
        let pixels = "sample 0: ./a/a.png: expected from 1 to 399 pixels (`max_pixels`), found 20 by 20";
        assert_eq!(fault(&format!("{keys}max_pixels: 399")).replace("././", "./").trim_start_matches("./"), pixels);

        let whole = std::fs::read(folder.path().join("a/a.png")).unwrap();
        let expected = "b.png: expected a picture (png, jpeg, bmp, gif, webp, pnm), found";
        for bytes in [&b""[..], b"not a picture at all", &whole[..whole.len() / 2], &whole[..20]] {
            std::fs::write(folder.path().join("a/b.png"), bytes).unwrap();
            let found = fault(keys);
            assert!(found.starts_with("sample 1:") && found.contains(expected), "{found}");
        }
        let zero = ImageFolder::new(".", 0, 4).open(folder.path()).err().unwrap().to_string();
        assert_eq!(zero, "width: expected from 1 to 4096 pixels, found 0");
    }
}
