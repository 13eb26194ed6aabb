//! A gallery: vectors with names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use thiserror::Error;

/// The largest file that is read.
const MAX_BYTES: u64 = 1 << 30;

/// Vectors of one length, each of length 1 and with a name.
#[derive(Clone, Debug, PartialEq)]
pub struct Gallery {
    dimensions: usize,
    /// Vector after vector.
    values: Arc<[f32]>,
    /// For each vector the number of its name.
    of: Arc<[usize]>,
    names: Arc<[Arc<str>]>,
}

/// Why a file is no gallery.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GalleryError {
    /// It cannot be read.
    #[error("cannot read the gallery {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// It is larger than any gallery that is searched one by one.
    #[error("the gallery {} has {bytes} bytes, expected at most {MAX_BYTES}", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
    /// A line is not what it should be.
    #[error("line {line} of the gallery {}: {message}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What was expected, and found.
        message: String,
    },
    /// There is nothing in it.
    #[error(
        "the gallery {} is empty, expected lines as {{\"name\": \"ann\", \"values\": [0.1, …]}}",
        path.display()
    )]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

/// A line of the file; other keys are left alone.
#[derive(Deserialize)]
struct Line {
    name: String,
    values: Vec<f32>,
}

impl Gallery {
    /// The gallery in a file of JSON lines, each with `name` and `values`; a name may have several lines. Empty lines are
    /// left out.
    ///
    /// Fails at vectors of different lengths, or without any, and at vectors without a direction (all 0, or not finite).
    pub fn read(path: &Path) -> Result<Self, GalleryError> {
        let read = |error| GalleryError::Read { path: path.to_owned(), error };
        let bytes = std::fs::metadata(path).map_err(read)?.len();
        if bytes > MAX_BYTES {
            return Err(GalleryError::TooLarge { path: path.to_owned(), bytes });
        }
        let text = std::fs::read_to_string(path).map_err(read)?;
        Self::from_text(&text, path)
    }

    /// The gallery in a text; `path` is named in errors.
    pub fn from_text(text: &str, path: &Path) -> Result<Self, GalleryError> {
        let wrong = |line: usize, message: String| GalleryError::Line { path: path.to_owned(), line, message };
        let (mut entries, mut numbers) = (Vec::new(), Vec::new());
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let Line { name, values } = serde_json::from_str(line).map_err(|error| {
                wrong(number + 1, format!("expected {{\"name\": \"ann\", \"values\": [0.1, …]}}: {error}"))
            })?;
            entries.push((name, values));
            numbers.push(number + 1);
        }
        if entries.is_empty() {
            return Err(GalleryError::Empty { path: path.to_owned() });
        }
        let vectors = entries.iter().map(|(name, values)| (name.as_str(), values.as_slice()));
        Self::new(vectors).map_err(|(place, message)| wrong(numbers.get(place).copied().unwrap_or(1), message))
    }

    /// The gallery of these vectors, at least one; a name may have several. Fails with the place of the first that will not
    /// do, and why.
    pub fn new<'a>(vectors: impl IntoIterator<Item = (&'a str, &'a [f32])>) -> Result<Self, (usize, String)> {
        let (mut values, mut of, mut names): (Vec<f32>, Vec<usize>, Vec<Arc<str>>) = Default::default();
        let mut dimensions = 0;
        for (place, (name, vector)) in vectors.into_iter().enumerate() {
            if place == 0 {
                dimensions = vector.len();
            }
            if vector.len() != dimensions || dimensions == 0 {
                return Err((place, format!("expected {} values, found {}", dimensions.max(1), vector.len())));
            }
            let direction = "expected a vector with a direction, found only zeros or no numbers";
            values.extend(unit(vector).ok_or_else(|| (place, direction.to_owned()))?);
            let known = names.iter().position(|known| **known == *name);
            of.push(known.unwrap_or_else(|| {
                names.push(name.into());
                names.len() - 1
            }));
        }
        match of.is_empty() {
            true => Err((0, "expected at least one vector, found none".to_owned())),
            false => Ok(Gallery { dimensions, values: values.into(), of: of.into(), names: names.into() }),
        }
    }

    /// How long its vectors are.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// The name with this number.
    pub fn name(&self, number: usize) -> Option<&Arc<str>> {
        self.names.get(number)
    }

    /// For each name the largest cosine of one of its vectors with this one, which has length 1; −1 to 1.
    pub fn cosines(&self, unit: &[f32]) -> Vec<f32> {
        let mut best = vec![-1.0f32; self.names.len()];
        for (vector, name) in self.values.chunks_exact(self.dimensions).zip(&*self.of) {
            let cosine: f32 = vector.iter().zip(unit).map(|(a, b)| a * b).sum();
            if let Some(best) = best.get_mut(*name) {
                *best = best.max(cosine.clamp(-1.0, 1.0));
            }
        }
        best
    }
}

/// The vector brought to length 1; `None` when it has no direction.
pub(super) fn unit(values: &[f32]) -> Option<Vec<f32>> {
    let length = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    let usable = length > 0.0 && length.is_finite();
    usable.then(|| values.iter().map(|value| (f64::from(*value) / length) as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gallery(text: &str) -> Result<Gallery, String> {
        Gallery::from_text(text, Path::new("g.jsonl")).map_err(|error| error.to_string())
    }

    #[test]
    fn the_nearest_vector_of_a_name_counts() {
        let text = "{\"name\": \"ann\", \"values\": [2, 0]}\n\n{\"name\": \"bob\", \"values\": [0, 1], \"more\": 1}\n\
                    {\"name\": \"ann\", \"values\": [1, 1]}\n";
        let found = gallery(text).unwrap();
        assert_eq!((found.dimensions(), found.name(1).map(|name| &**name), found.name(2)), (2, Some("bob"), None));
        for (vector, expected) in
            [([1.0, 0.0], [1.0, 0.0]), ([1.0, 1.0], [1.0, std::f32::consts::FRAC_1_SQRT_2]), ([0.0, -3.0], [0.0, -1.0])]
        {
            let cosines = found.cosines(&unit(&vector).unwrap());
            let near = cosines.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5);
            assert!(near, "{vector:?}: {cosines:?}");
        }
    }

    #[test]
    fn files_that_are_none() {
        for (text, says) in [
            ("", "the gallery g.jsonl is empty"),
            ("ann 1 2", "line 1 of the gallery g.jsonl: expected {\"name\": \"ann\""),
            ("{\"name\": \"a\"}", "missing field `values`"),
            ("{\"name\": \"a\", \"values\": []}", "expected 1 values, found 0"),
            ("{\"name\": \"a\", \"values\": [1]}\n{\"name\": \"b\", \"values\": [1, 2]}", "line 2 of the gallery"),
            ("{\"name\": \"a\", \"values\": [0, 0]}", "found only zeros"),
        ] {
            let error = gallery(text).unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(Gallery::read(Path::new("/nowhere.jsonl")).unwrap_err().to_string().contains("/nowhere.jsonl"));
        assert_eq!(unit(&[f32::INFINITY]), None);
        assert_eq!(unit(&[1e30, 0.0]), Some(vec![1.0, 0.0]));
    }
}
