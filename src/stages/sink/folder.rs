//! `folder`: puts each file into a folder named by its label.
//!
//! For sorting photos and recordings: behind a decoder that gives labels, every stream that was read from a file is copied
//! (or hard linked) into `path/LABEL/`. A file with several results, such as an animation, goes to the label with the
//! largest sum of scores. Files are placed when their stream ends; one that gave no result stays where it is, and only there,
//! and one that broke off is placed by what was seen of it.
//!
//! Nothing is ever overwritten or moved: where the name is taken by another file the copy gets a number (`cat-2.png`);
//! where it is taken by the same content, it is there already. So a run can be repeated.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::{SinkError, is_partial, path};
use crate::config::{Fault, Faults};
use crate::media::{Format, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Input, Kind, Opened, Output, ReadContext, Resolve, Role, Runnable, Stage,
    StageError,
};

/// The longest name of a folder, in bytes; every common file system takes 255.
const LONGEST_NAME: usize = 200;
/// Numbers that are tried before a name is given up.
const NUMBERS: u64 = 100_000;

/// How a file gets to its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Placing {
    /// A copy, with the permissions of new files.
    #[default]
    Copy,
    /// A second name of the same file, which takes no space; only within one file system.
    HardLink,
}

/// Settings of `folder`: `labels` of streams that were read from files →
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Folder {
    /// The folder that gets a folder for each label. A relative one starts at the pipeline's folder.
    pub path: String,
    /// How a file gets there: `copy` or `hard_link`. Default: copy.
    #[serde(default)]
    pub by: Placing,
    /// The folder for files whose best label scores less than `min_score`, and for those without one. Default: unsorted.
    #[serde(default = "otherwise")]
    #[schemars(length(min = 1))]
    pub otherwise: String,
    /// The least score, 0 to 1, that the best label needs; of several results it is their mean. Default: 0.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1))]
    pub min_score: f32,
    #[serde(skip)]
    base: PathBuf,
}

fn otherwise() -> String {
    "unsorted".to_owned()
}

impl Folder {
    /// Copies into folders below `path`.
    pub fn new(path: impl Into<String>) -> Self {
        Folder {
            path: path.into(),
            by: Placing::default(),
            otherwise: otherwise(),
            min_score: 0.0,
            base: PathBuf::new(),
        }
    }
}

const EXAMPLE: &str = "\
percept: 1
name: sorted-photos
stages:
  - capture: images
    path: examples/photos
  - preprocess: to_tensor
    width: 224
    height: 224
    fit: fill
    scale: 1
    mean: 127
    std: 128
  - model: models/efficientnet-lite0
  - decoder: top_k
    labels: models/efficientnet-lite0/labels.txt
  - sink: folder
    path: sorted
    min_score: 0.3
";

/// The registry's entry.
pub const KIND: Kind =
    Kind::resolved::<Folder>("folder", Role::Sink, "puts each file into a folder named by its label", EXAMPLE);

impl Resolve for Folder {
    fn resolve(mut self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        path::check(context, &self.path, &[])?;
        self.base = context.settings.base_dir.clone();
        Ok(Box::new(self))
    }
}

impl Blueprint for Folder {
    fn contract(&self) -> Contract {
        // A large file takes as long as it takes.
        Contract::new().input("labels", Format::Labels).deadline(None)
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(Vec::new())
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(FolderStage { folder: self.base.join(&self.path), config: self.clone() }))
    }

    fn probe(&self) -> Vec<Fault> {
        path::probe(&self.base, &format!("{}/{}", self.path, path::STREAM))
    }
}

struct FolderStage {
    folder: PathBuf,
    config: Folder,
}

/// One stream.
struct Labelled {
    file: Arc<Path>,
    /// Results so far, and the sum of each label's scores.
    results: u32,
    sums: BTreeMap<String, f64>,
}

impl Stage for FolderStage {
    type State = Labelled;

    fn open(&mut self, stream: &StreamInfo, _: &[Format]) -> Result<Opened<Labelled>, StageError> {
        let file = stream.file.clone().ok_or_else(|| SinkError::NoFile { stream: stream.name.to_string() })?;
        Ok(Opened { state: Labelled { file, results: 0, sums: BTreeMap::new() }, outputs: Vec::new() })
    }

    fn process(&mut self, state: &mut Labelled, input: Input, _: &mut Output) -> Result<(), StageError> {
        let labels = input.packet.payload.labels()?;
        if is_partial(&input.packet) {
            return Ok(());
        }
        state.results += 1;
        for label in labels.entries.iter().filter(|label| label.score.is_finite()) {
            let name = label.name.as_deref().map_or_else(|| format!("class-{}", label.index), str::to_owned);
            *state.sums.entry(name).or_default() += f64::from(label.score);
        }
        Ok(())
    }

    fn flush(&mut self, state: &mut Labelled, _: &mut Output) -> Result<(), StageError> {
        if state.results == 0 {
            return Ok(());
        }
        let least = f64::from(self.config.min_score) * f64::from(state.results);
        // Of equal sums the first name in the alphabet.
        let best = state.sums.iter().reduce(|best, next| if next.1 > best.1 { next } else { best });
        let label = best.filter(|(_, sum)| **sum >= least).map_or(&self.config.otherwise, |(name, _)| name);
        place(&state.file, &self.folder.join(safe(label)), self.config.by)?;
        state.results = 0;
        state.sums.clear();
        Ok(())
    }
}

/// A label as the name of a folder: what some file system refuses becomes `_`; never empty, hidden or a way up.
fn safe(label: &str) -> String {
    let refused = |c: char| c.is_control() || matches!(c, '/' | '\\' | ':' | '*' | '?' | '"' | '<' | '>' | '|');
    let name: String = label.chars().map(|c| if refused(c) { '_' } else { c }).collect();
    let name = name.trim_start_matches(['.', ' ']);
    let end = name.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= LONGEST_NAME).last();
    let name = name[..end.unwrap_or(0)].trim_end_matches(['.', ' ']);
    if name.is_empty() { "_".to_owned() } else { name.to_owned() }
}

/// Puts `file` into `folder` under its own name, with a number where that is taken by another content.
fn place(file: &Path, folder: &Path, by: Placing) -> Result<PathBuf, SinkError> {
    fs::create_dir_all(folder).map_err(|source| SinkError::Folder { path: folder.join("_"), source })?;
    let wanted = folder.join(file.file_name().unwrap_or(file.as_os_str()));
    for number in 1..=NUMBERS {
        let target = path::numbered(&wanted, number);
        let placed = match by {
            Placing::Copy => copy_new(file, &target),
            Placing::HardLink => fs::hard_link(file, &target),
        };
        match placed {
            Ok(()) => return Ok(target),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if same_content(file, &target).unwrap_or(false) {
                    return Ok(target);
                }
            }
            Err(source) => return Err(SinkError::Place { file: file.to_owned(), path: target, source }),
        }
    }
    let source = io::ErrorKind::AlreadyExists.into();
    Err(SinkError::Place { file: file.to_owned(), path: wanted, source })
}

/// Copies to a file that must not be there yet; one that cannot be copied to its end is taken away again.
fn copy_new(file: &Path, target: &Path) -> io::Result<()> {
    let mut reader = File::open(file)?;
    let mut writer = OpenOptions::new().write(true).create_new(true).open(target)?;
    let copied = io::copy(&mut reader, &mut writer).and_then(|_| writer.sync_data());
    if copied.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(target);
    }
    copied
}

fn same_content(a: &Path, b: &Path) -> io::Result<bool> {
    let (mut a, mut b) = (File::open(a)?, File::open(b)?);
    if a.metadata()?.len() != b.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0; 1 << 16], Vec::new());
    loop {
        let count = a.read(&mut left)?;
        right.clear();
        b.by_ref().take(count as u64).read_to_end(&mut right)?;
        if left[..count] != right[..] {
            return Ok(false);
        }
        if count == 0 {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Source, parse};
    use crate::media::{Label, Labels};
    use crate::stage::{Settings, Solo};
    use crate::stages::sink::kit::{packet, stream};

    fn labels(entries: &[(&str, f32)]) -> Labels {
        let label = |(index, (name, score)): (usize, &(&str, f32))| {
            let name = (!name.is_empty()).then(|| (*name).into());
            Label { index, name, score: *score }
        };
        Labels { entries: entries.iter().enumerate().map(label).collect() }
    }

    /// Runs one file through the sink.
    fn sort(config: &Folder, file: &Path, results: &[Labels]) -> Result<(), String> {
        let info = StreamInfo { file: Some(file.into()), ..stream(0, "photo") };
        let mut solo = Solo::open(config, info, vec![Format::Labels]).map_err(|error| error.to_string())?;
        for (at, labels) in results.iter().enumerate() {
            solo.push(0, packet(at as i64, at as i64, labels.clone())).map_err(|error| error.to_string())?;
        }
        solo.flush().map(|_| ()).map_err(|error| error.to_string())
    }

    /// The files below a folder, with their content.
    fn files(folder: &Path) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name().into_string().unwrap();
            if entry.path().is_dir() {
                found.extend(files(&entry.path()).into_iter().map(|(below, text)| (format!("{name}/{below}"), text)));
            } else {
                found.push((name, fs::read_to_string(entry.path()).unwrap()));
            }
        }
        found.sort();
        found
    }

    #[test]
    fn a_file_goes_to_its_label() {
        let cat = || labels(&[("cat", 0.75), ("dog", 0.25)]);
        let dog = || labels(&[("dog", 0.875), ("cat", 0.125)]);
        for (min_score, results, expected) in [
            (0.0, vec![cat()], Some("cat")),
            (0.75, vec![cat()], Some("cat")),
            (0.8, vec![cat()], Some("unsorted")),
            (0.0, vec![cat(), dog()], Some("dog")),
            (0.6, vec![cat(), dog()], Some("unsorted")),
            (0.0, vec![labels(&[])], Some("unsorted")),
            (0.0, vec![labels(&[("", 0.5)])], Some("class-0")),
            (0.0, vec![labels(&[("x", f32::NAN)])], Some("unsorted")),
            (0.0, vec![], None),
        ] {
            for by in [Placing::Copy, Placing::HardLink] {
                let folder = tempfile::tempdir().unwrap();
                let file = folder.path().join("a.png");
                fs::write(&file, "pixels").unwrap();
                let target = folder.path().join("sorted");
                let config = Folder { min_score, by, ..Folder::new(target.to_str().unwrap()) };
                // A second run finds that all is there.
                for _ in 0..2 {
                    sort(&config, &file, &results).unwrap();
                    let expected = expected.map(|label| (format!("{label}/a.png"), "pixels".to_owned()));
                    assert_eq!(files(&target), Vec::from_iter(expected), "{results:?} {min_score} {by:?}");
                }
                assert_eq!(fs::read_to_string(&file).unwrap(), "pixels", "the file stays");
            }
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("sorted");
        for by in [Placing::Copy, Placing::HardLink] {
            let config = Folder { by, ..Folder::new(target.to_str().unwrap()) };
            for content in ["one", "two", "one", "three"] {
                let file = folder.path().join(format!("{by:?}-{content}/a.png"));
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(&file, content).unwrap();
                sort(&config, &file, &[labels(&[("cat", 1.0)])]).unwrap();
            }
        }
        let expected = [("cat/a-2.png", "two"), ("cat/a-3.png", "three"), ("cat/a.png", "one")];
        assert_eq!(files(&target), expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }

    #[test]
    fn labels_are_made_safe() {
        let long = "ü".repeat(150);
        for (label, expected) in [
            ("tiger cat", "tiger cat"),
            ("animal/dog", "animal_dog"),
            ("../../etc", "_.._etc"),
            ("..", "_"),
            ("", "_"),
            (" . ", "_"),
            ("a\0b\n:", "a_b__"),
            ("end. ", "end"),
            (&long, &long[..200]),
        ] {
            assert_eq!(safe(label), expected, "{label:?}");
        }
    }

    #[test]
    fn what_cannot_be_placed_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let (gone, file) = (folder.path().join("gone.png"), folder.path().join("a.png"));
        fs::write(&file, "x").unwrap();
        let cat = [labels(&[("cat", 1.0)])];
        let config = Folder::new(folder.path().join("sorted").to_str().unwrap());
        let error = sort(&config, &gone, &cat).unwrap_err();
        assert!(error.contains("gone.png") && error.contains("sorted/cat/gone.png"), "{error}");
        let blocked = Folder::new(file.to_str().unwrap());
        let error = sort(&blocked, &file, &cat).unwrap_err();
        assert!(error.contains("its folder cannot be made"), "{error}");
        let info = stream(0, "microphone");
        let opened = Solo::open(&config, info, vec![Format::Labels]);
        let error = opened.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("microphone") && error.contains("no file"), "{error}");
    }

    #[test]
    fn keys() {
        let read = |yaml: &str| {
            let source = Source::new("test.yaml", yaml);
            let node = parse(&source).unwrap();
            let settings = Settings::default();
            let context = ReadContext { node: &node, model: None, source: &source, settings: &settings };
            (KIND.read)(&context)
                .map(|_| ())
                .map_err(|faults| faults.iter().map(|fault| fault.code).collect::<Vec<_>>())
        };
        for (yaml, expected) in [
            ("{path: sorted, by: hard_link, min_score: 0.5, otherwise: rest}", Ok(())),
            ("{}", Err(vec!["missing-key"])),
            ("path: '-'", Err(vec!["bad-path"])),
            ("path: 'sorted/{stream}'", Err(vec!["bad-path"])),
            ("{path: a, min_score: 2}", Err(vec!["out-of-range"])),
            ("{path: a, links: true}", Err(vec!["unknown-key"])),
        ] {
            assert_eq!(read(yaml), expected, "{yaml}");
        }
    }
}
