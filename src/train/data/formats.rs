//! The formats that a recipe can name.

use std::fmt;
use std::path::Path;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::{DataError, DataSet, Known, csv, idx, image_folder, text_lines, wav_folder};
use crate::config::{Faults, Node, Source};
use crate::media::Format;

/// Where data lie and how they are read: the settings of one format.
pub trait DataFormat: Send + Sync + fmt::Debug {
    /// Opens the data, with classes and tokens numbered as in `known` where the settings leave that open. Relative
    /// paths start at `base_dir`.
    ///
    /// Fails when the data cannot be read at all; a sample that is bad by itself fails when it is read.
    fn open_with(&self, base_dir: &Path, known: &Known) -> Result<Box<dyn DataSet>, DataError>;

    /// What its samples are before they are prepared, as far as the settings tell: what a recipe's `preprocess` begins
    /// with.
    fn format(&self) -> Format {
        Format::ANY_TENSOR
    }

    /// What its inputs are without `preprocess`, likewise.
    fn input(&self) -> Format {
        Format::ANY_TENSOR
    }

    /// Whether the settings bring all samples to one length.
    fn is_fixed_length(&self) -> bool {
        false
    }

    /// Opens the data by themselves.
    fn open(&self, base_dir: &Path) -> Result<Box<dyn DataSet>, DataError> {
        self.open_with(base_dir, &Known::default())
    }
}

/// Reads the settings of a format from a mapping of its keys.
pub type ReadSettings = fn(&Node, &Source) -> Result<Box<dyn DataFormat>, Faults>;

/// A format: an entry of [`FORMATS`].
#[derive(Clone, Copy)]
pub struct FormatEntry {
    /// Its name in a recipe.
    pub name: &'static str,
    /// What it reads, in one line.
    pub summary: &'static str,
    /// Its keys, as YAML.
    pub example: &'static str,
    /// The JSON Schema of its keys, with their documentation and defaults.
    pub schema: fn() -> serde_json::Value,
    /// Reads its settings from a mapping of its keys; reports every fault at once.
    pub read: ReadSettings,
}

impl FormatEntry {
    /// The entry of the format whose settings are `C`.
    pub const fn of<C>(name: &'static str, summary: &'static str, example: &'static str) -> Self
    where
        C: DataFormat + DeserializeOwned + JsonSchema + 'static,
    {
        FormatEntry { name, summary, example, schema: crate::config::schema_of::<C>, read: read::<C> }
    }
}

impl fmt::Debug for FormatEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "format {}", self.name)
    }
}

fn read<C>(node: &Node, source: &Source) -> Result<Box<dyn DataFormat>, Faults>
where
    C: DataFormat + DeserializeOwned + JsonSchema + 'static,
{
    Ok(Box::new(crate::config::read::<C>(node, source)?))
}

/// Every format.
pub const FORMATS: &[FormatEntry] =
    &[csv::FORMAT, idx::FORMAT, image_folder::FORMAT, text_lines::FORMAT, wav_folder::FORMAT];

/// The format of this name.
pub fn format_named(name: &str) -> Option<&'static FormatEntry> {
    FORMATS.iter().find(|format| format.name == name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing;
    use super::*;
    use crate::config::parse;

    #[test]
    fn formats_are_documented_and_their_examples_read() {
        assert!(FORMATS.is_sorted_by_key(|format| format.name));
        for format in FORMATS {
            assert_eq!(format_named(format.name).unwrap().summary, format.summary);
            testing::read(format, format.example);
            assert!(!format.summary.is_empty() && !format.summary.ends_with('.'), "{format:?}");
            let schema = (format.schema)();
            assert!(schema["description"].is_string(), "{format:?}");
            for (name, property) in schema["properties"].as_object().unwrap() {
                assert!(property["description"].is_string(), "{format:?}: {name} is not documented");
            }
        }
        assert!(format_named("zip").is_none());
    }

    #[test]
    fn unknown_keys_are_refused_and_absent_files_named() {
        for format in FORMATS {
            let source = Source::new("recipe.yaml", format!("{}nonsense: 1\n", format.example));
            let faults = (format.read)(&parse(&source).unwrap(), &source).unwrap_err();
            assert!(faults.iter().any(|fault| fault.message.contains("nonsense")), "{format:?}: {faults:?}");
            let error = testing::read(format, format.example).open(Path::new("/nowhere")).err().unwrap();
            assert!(error.to_string().starts_with("/nowhere/"), "{format:?}: {error}");
        }
    }

    /// A format, its keys, and the files that they read.
    type Case = (&'static str, &'static str, Vec<(&'static str, Vec<u8>)>);

    fn good_files() -> Vec<Case> {
        let images = [&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 3][..], &[9; 12]].concat();
        let labels = vec![0, 0, 8, 1, 0, 0, 0, 2, 1, 0];
        let table = b"a,b,y\n1,2,p\n3,\"4\",q\n".to_vec();
        let mut png = std::io::Cursor::new(Vec::new());
        image::RgbImage::from_pixel(5, 4, image::Rgb([1, 2, 3])).write_to(&mut png, image::ImageFormat::Png).unwrap();
        let mut jpeg = std::io::Cursor::new(Vec::new());
        image::RgbImage::from_pixel(9, 9, image::Rgb([1, 2, 3])).write_to(&mut jpeg, image::ImageFormat::Jpeg).unwrap();
        let header = b"RIFF\x2c\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\x08\0\0\0";
        let wav = [&header[..], &[1; 8]].concat();
        vec![
            ("idx", "images: images\nlabels: labels\n", vec![("images", images.clone()), ("labels", labels)]),
            ("idx", "images: images\nlabels: images\n", vec![("images", testing::gzip(&images))]),
            ("csv", "path: t\ntarget: y\n", vec![("t", table.clone())]),
            ("text_lines", "path: t\n", vec![("t", "aé\tx\nbc\ty\n".into())]),
            (
                "image_folder",
                "path: .\nwidth: 3\nheight: 2\n",
                vec![("a/x.png", png.into_inner()), ("a/y.jpg", jpeg.into_inner())],
            ),
            ("wav_folder", "path: .\nsample_rate_hz: 16000\n", vec![("a/x.wav", wav.clone())]),
            (
                "wav_folder",
                "path: a\ntable: t.csv\ntarget: characters\n",
                vec![("a/x.wav", wav), ("t.csv", b"file,label\nx.wav,yes\n".to_vec())],
            ),
        ]
    }

    /// Opens what lies in `folder` and reads every sample.
    fn read_all(name: &str, keys: &str, folder: &Path) -> Result<usize, DataError> {
        let data = testing::read(format_named(name).unwrap(), keys).open(folder)?;
        (0..data.len()).map(|index| data.sample(index)).collect::<Result<Vec<_>, _>>().map(|samples| samples.len())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn damaged_files_are_errors_or_data(
            choice in any::<prop::sample::Index>(),
            file in any::<prop::sample::Index>(),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let all = good_files();
            let (name, keys, files) = &all[choice.index(all.len())];
            let folder = tempfile::tempdir().unwrap();
            let damaged = file.index(files.len());
            for (number, (path, bytes)) in files.iter().enumerate() {
                let mut bytes = bytes.clone();
                if number == damaged {
                    for (at, value) in &changes {
                        let at = at.index(bytes.len());
                        bytes[at] = *value;
                    }
                    if let Some(cut) = &cut {
                        bytes.truncate(cut.index(bytes.len()));
                    }
                }
                let path = folder.path().join(path);
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, bytes).unwrap();
            }
            let result = read_all(name, keys, folder.path());
            // The second case of idx has images for labels.
            if changes.is_empty() && cut.is_none() && *keys != all[1].1 {
                prop_assert!(result.unwrap() > 0);
            }
        }
    }
}
