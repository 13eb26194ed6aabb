//! A folder of numbered versions, of which each is whole.
//!
//! ```text
//! v000012.onnx     the model
//! v000012.json     the manifest: number, parent, labels, figures, length and SHA-256 of the model
//! current.json     the version that serves
//! ```
//!
//! Each file is replaced whole or not at all ([`crate::files`]), in this order: model, manifest, `current.json`. A version
//! is there when its manifest is, and the model has the length and the sum that it says. So whatever ends the process,
//! and whenever, the next one finds the version before or the new one. What is left of a version that was not finished is
//! removed.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::LearnError;
use super::learner::Figures;
use crate::files::{self, FileError};
use crate::onnx::Model;

#[cfg(test)]
mod tests;

/// What is known of a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The version of this format: 1.
    percept_version: u32,
    /// The version's number.
    pub number: u64,
    /// The version that it came from; nothing for the first.
    pub parent: Option<u64>,
    /// The names of its classes.
    pub labels: Vec<String>,
    /// Why it was adopted; nothing for the first.
    pub figures: Option<Figures>,
    /// Bytes of its model.
    bytes: u64,
    /// The SHA-256 of its model, in hexadecimal digits.
    sha256: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Current {
    percept_current: u32,
    number: u64,
}

const FORMAT: u32 = 1;
const CURRENT: &str = "current.json";

/// What a folder is asked for, so that tests can end the process between any two steps.
trait Disk {
    fn names(&self, folder: &Path) -> io::Result<Vec<String>>;
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    fn replace(&self, path: &Path, content: &[u8]) -> Result<(), FileError>;
    fn remove(&self, path: &Path) -> io::Result<()>;
}

struct System;

impl Disk for System {
    fn names(&self, folder: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn replace(&self, path: &Path, content: &[u8]) -> Result<(), FileError> {
        files::replace(path, content)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// A folder of versions. One process at a time writes it.
pub struct Versions {
    folder: PathBuf,
    keep: usize,
    disk: Box<dyn Disk + Send>,
    known: BTreeMap<u64, Manifest>,
    current: Option<u64>,
    /// The highest number that was ever seen: numbers only grow.
    highest: u64,
    /// What was found that is no whole version, in words.
    broken: Vec<String>,
}

impl Versions {
    /// Opens the folder, makes it where there is none, and looks at each version; what is left of one that was not
    /// finished is removed, what is damaged is named by [`broken`](Versions::broken) and left alone. Of all versions the
    /// last `keep` stay, and the one that serves with its parent.
    pub fn open(folder: &Path, keep: usize) -> Result<Self, LearnError> {
        let fault = |source| LearnError::Folder { path: folder.to_owned(), step: "make it", source };
        fs::create_dir_all(folder).map_err(fault)?;
        Versions::open_on(Box::new(System), folder, keep)
    }

    /// Looks at the folder and changes nothing in it, whoever else may be writing there.
    pub fn read(folder: &Path) -> Result<Self, LearnError> {
        Versions::look(Box::new(System), folder, usize::MAX, false)
    }

    fn open_on(disk: Box<dyn Disk + Send>, folder: &Path, keep: usize) -> Result<Self, LearnError> {
        Versions::look(disk, folder, keep, true)
    }

    fn look(disk: Box<dyn Disk + Send>, folder: &Path, keep: usize, tidy: bool) -> Result<Self, LearnError> {
        let fault = |source| LearnError::Folder { path: folder.to_owned(), step: "list it", source };
        let names = disk.names(folder).map_err(fault)?;
        let mut versions = Versions {
            folder: folder.to_owned(),
            keep: keep.max(2),
            disk,
            known: BTreeMap::new(),
            current: None,
            highest: 0,
            broken: Vec::new(),
        };
        let numbers: std::collections::BTreeSet<u64> = names.iter().filter_map(|name| number_of(name)).collect();
        versions.highest = numbers.last().copied().unwrap_or_default();
        for number in numbers {
            if !names.contains(&file_name(number, "json")) {
                // Its manifest was never written, or it was being removed.
                if tidy {
                    let _ = versions.disk.remove(&versions.path(number, "onnx"));
                }
                continue;
            }
            if !names.contains(&file_name(number, "onnx")) {
                // It was being removed when the power was cut.
                if tidy {
                    let _ = versions.disk.remove(&versions.path(number, "json"));
                }
                continue;
            }
            match versions.check(number) {
                Ok((manifest, _)) => drop(versions.known.insert(number, manifest)),
                Err(reason) => versions.broken.push(format!("version {number}: {reason}")),
            }
        }
        let said = versions.disk.read(&folder.join(CURRENT)).ok();
        let said = said.and_then(|text| serde_json::from_slice::<Current>(&text).ok()).map(|current| current.number);
        let whole = said.filter(|number| versions.known.contains_key(number));
        if let (Some(number), None) = (said, whole) {
            versions.highest = versions.highest.max(number);
        }
        versions.current = whole.or_else(|| versions.known.keys().next_back().copied());
        Ok(versions)
    }

    /// What was found damaged, in words.
    pub fn broken(&self) -> &[String] {
        &self.broken
    }

    /// The versions that are whole, by number.
    pub fn list(&self) -> impl DoubleEndedIterator<Item = &Manifest> {
        self.known.values()
    }

    /// The version that serves; nothing in an empty folder.
    pub fn current(&self) -> Option<&Manifest> {
        self.known.get(&self.current?)
    }

    /// The version that is this model with these names, where there is one.
    pub fn find(&self, model: &Model, labels: &[String]) -> Option<u64> {
        let content = model.encode();
        let (bytes, sha256) = (content.len() as u64, sum(&content));
        let is_it = |known: &&Manifest| known.bytes == bytes && known.sha256 == sha256 && known.labels == labels;
        self.known.values().rev().find(is_it).map(|known| known.number)
    }

    /// The model and the manifest of a version.
    pub fn load(&self, number: u64) -> Result<(Model, &Manifest), LearnError> {
        let Some(manifest) = self.known.get(&number) else { return Err(self.no_version(number.to_string())) };
        let path = self.path(number, "onnx");
        let unreadable = |reason: String| LearnError::Unreadable { path: path.clone(), reason };
        let (_, content) = self.check(number).map_err(unreadable)?;
        let model = Model::decode(&content, None).map_err(|error| unreadable(error.to_string()))?;
        Ok((model, manifest))
    }

    /// Saves a model as the next version, which serves from then on; gives its number, which no version ever had.
    pub fn save(&mut self, model: &Model, labels: &[String], figures: Option<&Figures>) -> Result<u64, LearnError> {
        let number = self.highest + 1;
        // Also where it fails: what is left of it must not be taken for another.
        self.highest = number;
        let content = model.encode();
        let manifest = Manifest {
            percept_version: FORMAT,
            number,
            parent: self.current,
            labels: labels.to_vec(),
            figures: figures.cloned(),
            bytes: content.len() as u64,
            sha256: sum(&content),
        };
        self.disk.replace(&self.path(number, "onnx"), &content)?;
        self.disk.replace(&self.path(number, "json"), &encoded(&manifest))?;
        self.known.insert(number, manifest);
        self.serve(number)?;
        self.prune();
        Ok(number)
    }

    /// Goes back to the version that the serving one came from, or to the one before it where that is gone; gives its
    /// number.
    pub fn rollback(&mut self) -> Result<u64, LearnError> {
        let before = self.current.and_then(|current| {
            let parent = self.known.get(&current).and_then(|manifest| manifest.parent);
            let parent = parent.filter(|parent| self.known.contains_key(parent));
            parent.or_else(|| self.known.range(..current).next_back().map(|(number, _)| *number))
        });
        let Some(number) = before else { return Err(self.no_version("before the one that serves".into())) };
        self.serve(number)?;
        Ok(number)
    }

    /// Goes back, or on, to any version that is there.
    pub fn rollback_to(&mut self, number: u64) -> Result<(), LearnError> {
        match self.known.contains_key(&number) {
            true => self.serve(number),
            false => Err(self.no_version(number.to_string())),
        }
    }

    fn serve(&mut self, number: u64) -> Result<(), LearnError> {
        self.disk.replace(&self.folder.join(CURRENT), &encoded(&Current { percept_current: FORMAT, number }))?;
        self.current = Some(number);
        Ok(())
    }

    /// Removes what is more than `keep`. What cannot be removed is removed another time.
    fn prune(&mut self) {
        let parent = self.current().and_then(|manifest| manifest.parent);
        let most = self.known.len().saturating_sub(self.keep);
        let old: Vec<u64> = self.known.keys().take(most).copied().collect();
        for number in old {
            if Some(number) == self.current || Some(number) == parent {
                continue;
            }
            // The manifest first: without it there is no version.
            if self.disk.remove(&self.path(number, "json")).is_ok() {
                self.known.remove(&number);
                let _ = self.disk.remove(&self.path(number, "onnx"));
            }
        }
    }

    /// A version's manifest and model, where both are whole; else what is wrong.
    fn check(&self, number: u64) -> Result<(Manifest, Vec<u8>), String> {
        let read = |path: PathBuf| {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            self.disk.read(&path).map_err(|error| format!("{name} cannot be read: {error}"))
        };
        let manifest: Manifest = serde_json::from_slice(&read(self.path(number, "json"))?)
            .map_err(|error| format!("its manifest is damaged: {error}"))?;
        if manifest.percept_version != FORMAT || manifest.number != number {
            let found = (manifest.percept_version, manifest.number);
            return Err(format!("expected a manifest of format {FORMAT} for version {number}, found {found:?}"));
        }
        let content = read(self.path(number, "onnx"))?;
        if content.len() as u64 != manifest.bytes || sum(&content) != manifest.sha256 {
            return Err(format!(
                "its model is damaged: expected {} bytes with the sum {}, found {} with {}",
                manifest.bytes,
                manifest.sha256,
                content.len(),
                sum(&content)
            ));
        }
        Ok((manifest, content))
    }

    fn path(&self, number: u64, extension: &str) -> PathBuf {
        self.folder.join(file_name(number, extension))
    }

    fn no_version(&self, wanted: String) -> LearnError {
        let known: Vec<String> = self.known.keys().map(u64::to_string).collect();
        let found = if known.is_empty() { "none".into() } else { known.join(", ") };
        LearnError::NoVersion { path: self.folder.clone(), wanted, found }
    }
}

fn file_name(number: u64, extension: &str) -> String {
    format!("v{number:06}.{extension}")
}

/// The number of a file of a version.
fn number_of(name: &str) -> Option<u64> {
    let number: u64 = name.strip_prefix('v')?.split('.').next()?.parse().ok()?;
    ["onnx", "json"].iter().any(|extension| name == file_name(number, extension)).then_some(number)
}

fn sum(content: &[u8]) -> String {
    Sha256::digest(content).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    text
}
