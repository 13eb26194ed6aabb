//! The formats that a recipe can name.

use std::fmt;
use std::path::Path;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::{DataError, DataSet, Known, csv, idx, image_folder, text_lines, wav_folder};
use crate::config::{Faults, Node, Source};

/// Where data lie and how they are read: the settings of one format.
pub trait DataFormat: Send + Sync + fmt::Debug {
    /// Opens the data, with classes and tokens numbered as in `known` where the settings leave that open. Relative paths
    /// start at `base_dir`.
    ///
    /// Fails when the data cannot be read at all; a sample that is bad by itself fails when it is read.
    fn open_with(&self, base_dir: &Path, known: &Known) -> Result<Box<dyn DataSet>, DataError>;

    /// Opens the data by themselves.
    fn open(&self, base_dir: &Path) -> Result<Box<dyn DataSet>, DataError> {
        self.open_with(base_dir, &Known::default())
    }
}

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
    pub read: fn(&Node, &Source) -> Result<Box<dyn DataFormat>, Faults>,
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
}
