//! From what is written in `path:` to files: plain paths, folders, globs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::{Fault, Source, Span, suggest};
use crate::stage::ReadContext;

/// One path, or several.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Paths {
    /// A file, a folder or a glob.
    One(String),
    /// Files, folders and globs.
    Many(#[schemars(length(min = 1))] Vec<String>),
}

impl Paths {
    pub(super) fn as_slice(&self) -> &[String] {
        match self {
            Paths::One(path) => std::slice::from_ref(path),
            Paths::Many(paths) => paths,
        }
    }
}

impl From<&str> for Paths {
    fn from(path: &str) -> Self {
        Paths::One(path.to_owned())
    }
}

impl From<String> for Paths {
    fn from(path: String) -> Self {
        Paths::One(path)
    }
}

impl From<Vec<String>> for Paths {
    fn from(paths: Vec<String>) -> Self {
        Paths::Many(paths)
    }
}

/// Where each path of a list is written.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Vec<(Span, Source)>);

impl Places {
    /// Those of the key `path`.
    pub(super) fn of(context: &ReadContext<'_>) -> Self {
        let paths = context.node.get("path").unwrap_or(context.node);
        let nodes = paths.as_sequence().unwrap_or(std::slice::from_ref(paths));
        Places(nodes.iter().map(|node| (node.span, node.source(context.source).clone())).collect())
    }

    /// The fault at the place of the path it is about.
    pub(super) fn put(&self, (item, fault): (usize, Fault)) -> Fault {
        match self.0.get(item) {
            Some((span, text)) => fault.at(*span, text),
            None => fault,
        }
    }
}

/// What a capture looks for in folders.
#[derive(Debug)]
pub(super) struct Sort {
    /// What the files' names look like: `sound`, `a picture`.
    pub like: &'static str,
    /// One such file: `file of sound`, `picture`.
    pub file: &'static str,
    /// Endings of their names, in lower case.
    pub endings: &'static [&'static str],
    /// What to do for standard input.
    pub stdin: &'static str,
}

/// A file to read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FoundFile {
    /// Its path as it was given, or the folder's path as given with the path inside it.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// Whether it was named itself, not by a folder or a glob.
    pub named: bool,
    /// The place of what named it in the list of paths.
    pub item: usize,
}

/// The files behind a list of paths.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// In the order of the list; those of a folder or a glob sorted.
    pub files: Vec<FoundFile>,
    /// Whether there may be more than one, whatever is there today.
    pub many: bool,
    /// Files in folders whose names do not look like what is wanted, by their ending.
    pub left_out: BTreeMap<String, usize>,
    /// What is wrong with the paths, each with its place in the list.
    pub faults: Vec<(usize, Fault)>,
}

/// Looks for the files behind `paths`; relative ones start at `base`. In folders only those of the `sort` count.
pub(super) fn find(paths: &[String], base: &Path, recursive: bool, sort: &Sort) -> Found {
    let mut found = Found { many: paths.len() > 1, ..Found::default() };
    for (item, given) in paths.iter().enumerate() {
        let path = base.join(given);
        if path.is_dir() {
            found.folder(item, given, &path, recursive, sort);
        } else if path.exists() {
            found.files.push(FoundFile { name: given.clone(), path, named: true, item });
        } else if is_glob(given) {
            found.glob(item, given, base);
        } else {
            found.faults.push((item, missing(given, &path, sort)));
        }
    }
    found
}

impl Found {
    /// How many files were left out and which, in words.
    pub(super) fn left_out_text(&self, sort: &Sort) -> Option<String> {
        let total: usize = self.left_out.values().sum();
        let (was, they) = if total == 1 { ("file was", "its name does") } else { ("files were", "their names do") };
        let kinds: Vec<_> = self.left_out.iter().map(|(ending, count)| format!("{count} {ending}")).collect();
        (total > 0)
            .then(|| format!("{total} {was} left out, as {they} not look like {}: {}", sort.like, kinds.join(", ")))
    }

    fn folder(&mut self, item: usize, given: &str, path: &Path, recursive: bool, sort: &Sort) {
        self.many = true;
        let before = (self.files.len(), self.left_out.values().sum::<usize>());
        let mut walk = Walk { item, recursive, entered: BTreeSet::new(), files: Vec::new() };
        if let Err(error) = walk.enter(path, Path::new(given)) {
            let message = format!("the folder `{given}` cannot be read: {error}");
            let fault = Fault::error("unreadable-folder", message).help("ask for the right to read it");
            self.faults.push((item, fault));
            return;
        }
        walk.files.sort();
        for file in walk.files {
            match ending(&file.path) {
                Some(ending) if sort.endings.contains(&ending.as_str()) => self.files.push(file),
                Some(ending) => *self.left_out.entry(format!(".{ending}")).or_default() += 1,
                None => *self.left_out.entry("without an ending".into()).or_default() += 1,
            }
        }
        if self.files.len() == before.0 {
            let others = self.left_out.values().sum::<usize>() - before.1;
            let found = match others {
                0 => "an empty folder".to_owned(),
                1 => format!("1 file that does not look like {} by its name", sort.like),
                _ => format!("{others} files that do not look like {} by their names", sort.like),
            };
            let help = if recursive {
                "name the files themselves"
            } else {
                "set `recursive: true` to look into its folders too"
            };
            let fault = Fault::error("no-files", format!("there is no {} in the folder `{given}`", sort.file))
                .expected(format!("at least one file named {}", listed(sort.endings)))
                .found(found)
                .help(help);
            self.faults.push((item, fault));
        }
    }

    fn glob(&mut self, item: usize, given: &str, base: &Path) {
        self.many = true;
        let pattern = match base.to_str() {
            Some("") => given.to_owned(),
            Some(base) if !Path::new(given).is_absolute() => format!("{}/{given}", glob::Pattern::escape(base)),
            _ => given.to_owned(),
        };
        let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
        let matches = match glob::glob_with(&pattern, options) {
            Ok(matches) => matches,
            Err(error) => {
                let fault = Fault::error("bad-pattern", format!("`{given}` is no valid pattern: {}", error.msg)).help(
                    "`*` stands for anything in a name, `**/` for any folders, `[ab]` for one of some characters",
                );
                self.faults.push((item, fault));
                return;
            }
        };
        let mut files = Vec::new();
        for entry in matches {
            match entry {
                Ok(path) if path.is_dir() => {}
                Ok(path) => {
                    let name = path.strip_prefix(base).unwrap_or(&path).display().to_string();
                    files.push(FoundFile { name, path, named: false, item });
                }
                Err(error) => {
                    let message = format!("{} cannot be looked into: {}", error.path().display(), error.error());
                    let fault = Fault::warning("unreadable-folder", message).help("ask for the right to read it");
                    self.faults.push((item, fault));
                }
            }
        }
        if files.is_empty() {
            let fault = Fault::error("no-files", format!("no file matches `{given}`"))
                .help(format!("relative patterns start at {}", shown(base)));
            self.faults.push((item, fault));
        }
        files.sort();
        self.files.extend(files);
    }
}

/// A walk through a folder.
struct Walk {
    /// The place of the folder in the list of paths.
    item: usize,
    recursive: bool,
    /// Folders that were entered, so that a link to one of them above does not lead round in circles.
    entered: BTreeSet<PathBuf>,
    files: Vec<FoundFile>,
}

impl Walk {
    fn enter(&mut self, folder: &Path, name: &Path) -> std::io::Result<()> {
        if !self.entered.insert(folder.canonicalize()?) {
            return Ok(());
        }
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let file_name = entry.file_name();
            if file_name.to_string_lossy().starts_with('.') {
                continue;
            }
            let (path, name) = (entry.path(), name.join(&file_name));
            if !path.is_dir() {
                let name = name.display().to_string();
                self.files.push(FoundFile { name, path, named: false, item: self.item });
            } else if self.recursive {
                self.enter(&path, &name)?;
            }
        }
        Ok(())
    }
}

/// The ending of a name in lower case.
fn ending(path: &Path) -> Option<String> {
    path.extension().map(|ending| ending.to_string_lossy().to_lowercase())
}

fn is_glob(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

fn listed(endings: &[&str]) -> String {
    endings.iter().map(|ending| format!(".{ending}")).collect::<Vec<_>>().join(", ")
}

fn shown(base: &Path) -> String {
    if base.as_os_str().is_empty() { "the current folder".into() } else { format!("`{}`", base.display()) }
}

/// The fault of a path with nothing there, and what else is in its folder.
fn missing(given: &str, path: &Path, sort: &Sort) -> Fault {
    let fault = Fault::error("missing-file", format!("there is no file or folder `{given}`"));
    if given == "-" {
        return fault.help(sort.stdin);
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let Ok(entries) = std::fs::read_dir(folder) else {
        return fault.expected(format!("a file, a folder or a glob; the folder {} is not there either", shown(folder)));
    };
    let names: Vec<String> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let wanted = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let meant = suggest(&wanted, names.iter().map(String::as_str)).map(|meant| format!("did you mean `{meant}`?"));
    fault.expected(format!("a file, a folder or a glob, seen from {}", shown(folder))).maybe_help(meant)
}

#[cfg(test)]
mod tests {
    use super::super::file::SOUND;
    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("clips/deep")).unwrap();
        for name in
            ["clips/b.wav", "clips/a.FLAC", "clips/notes.txt", "clips/README", "clips/.hidden.wav", "clips/deep/c.mp3"]
        {
            std::fs::write(folder.path().join(name), b"x").unwrap();
        }
        folder
    }

    fn names(found: &Found) -> Vec<&str> {
        found.files.iter().map(|file| file.name.as_str()).collect()
    }

    #[test]
    fn paths_become_files() {
        let folder = folder();
        for (paths, recursive, expected, many) in [
            (&["clips/b.wav"][..], false, &["clips/b.wav"][..], false),
            (&["clips/notes.txt"], false, &["clips/notes.txt"], false),
            (&["clips"], false, &["clips/a.FLAC", "clips/b.wav"], true),
            (&["clips/"], false, &["clips/a.FLAC", "clips/b.wav"], true),
            (&["clips"], true, &["clips/a.FLAC", "clips/b.wav", "clips/deep/c.mp3"], true),
            (&["clips/*.wav"], false, &["clips/b.wav"], true),
            (&["clips/**/*.[mw]*"], false, &["clips/b.wav", "clips/deep/c.mp3"], true),
            (&["clips/b.wav", "clips/a.FLAC"], false, &["clips/b.wav", "clips/a.FLAC"], true),
        ] {
            let found =
                find(&paths.iter().map(ToString::to_string).collect::<Vec<_>>(), folder.path(), recursive, &SOUND);
            assert_eq!(found.faults, [], "{paths:?}");
            assert_eq!(names(&found), expected, "{paths:?}");
            assert_eq!(found.many, many, "{paths:?}");
            assert!(found.files.iter().all(|file| file.path == folder.path().join(&file.name)), "{paths:?}");
        }
    }

    #[test]
    fn what_does_not_look_like_sound_is_counted() {
        let folder = folder();
        let found = find(&["clips".into()], folder.path(), false, &SOUND);
        let text = found.left_out_text(&SOUND).unwrap();
        assert_eq!(text, "2 files were left out, as their names do not look like sound: 1 .txt, 1 without an ending");
        assert_eq!(find(&["clips/b.wav".into()], folder.path(), false, &SOUND).left_out_text(&SOUND), None);
    }

    #[test]
    fn paths_without_files_are_faults() {
        let folder = folder();
        std::fs::create_dir(folder.path().join("empty")).unwrap();
        for (path, code, text) in [
            ("clips/c.wav", "missing-file", "did you mean `b.wav`?"),
            ("gone/c.wav", "missing-file", "is not there either"),
            ("-", "missing-file", "`- capture: stdin`"),
            ("empty", "no-files", "an empty folder"),
            (".", "no-files", "`recursive: true`"),
            ("clips/*.ogg", "no-files", "no file matches `clips/*.ogg`"),
            ("clips/[b", "bad-pattern", "invalid range pattern"),
        ] {
            let found = find(&[path.into()], folder.path(), false, &SOUND);
            let [(0, fault)] = &found.faults[..] else { panic!("{path}: {:?}", found.faults) };
            assert_eq!(fault.code, code, "{path}");
            assert!(fault.to_string().contains(text), "{path}: {fault}");
            assert!(found.files.is_empty(), "{path}");
        }
    }

    #[test]
    fn a_name_with_the_signs_of_a_pattern_is_a_name_when_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("take [1]");
        std::fs::create_dir(&base).unwrap();
        std::fs::write(base.join("a[b].wav"), b"x").unwrap();
        assert_eq!(names(&find(&["a[b].wav".into()], &base, false, &SOUND)), ["a[b].wav"]);
        assert_eq!(names(&find(&["*.wav".into()], &base, false, &SOUND)), ["a[b].wav"], "the base is no pattern");
    }

    #[cfg(unix)]
    #[test]
    fn links_in_circles_come_to_an_end() {
        let folder = folder();
        std::os::unix::fs::symlink(folder.path().join("clips"), folder.path().join("clips/deep/up")).unwrap();
        let found = find(&["clips".into()], folder.path(), true, &SOUND);
        assert_eq!(names(&found), ["clips/a.FLAC", "clips/b.wav", "clips/deep/c.mp3"]);
    }
}
