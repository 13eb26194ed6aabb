//! Weights in a file beside the model (ONNX IR specification, "External Tensor Data").

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use super::error::{ExternalFault, OnnxError};
use super::place::Place;
use super::proto::StringStringEntryProto;

/// The folder in which a model's external files lie.
///
/// A link is followed when it ends in the folder the model was named in or in the one where the model's own file really
/// lies: download caches link both the model and its weights into a store.
pub(super) struct Folder {
    named: Option<PathBuf>,
    roots: Vec<PathBuf>,
}

impl Folder {
    /// No folder: external files are refused.
    pub(super) fn none() -> Self {
        Folder { named: None, roots: Vec::new() }
    }

    /// The folder `dir`.
    pub(super) fn at(dir: &Path) -> Self {
        let named = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        Folder { named: Some(named.to_owned()), roots: named.canonicalize().into_iter().collect() }
    }

    /// The folder of the model file `path`.
    pub(super) fn of_model(path: &Path) -> Self {
        let mut folder = Folder::at(path.parent().unwrap_or(Path::new(".")));
        if let Ok(real) = path.canonicalize() {
            folder.roots.extend(real.parent().map(Path::to_owned));
        }
        folder
    }

    /// The `len` bytes that `entries` (`TensorProto.external_data`) point at. `checksum` is not verified.
    pub(super) fn read(
        &self,
        entries: &[StringStringEntryProto],
        len: u64,
        place: &Place,
    ) -> Result<Vec<u8>, OnnxError> {
        let location = entry(entries, "location").unwrap_or_default();
        self.bytes(location, entries, len).map_err(|fault| OnnxError::External {
            place: place.to_string(),
            location: location.to_owned(),
            fault,
        })
    }

    fn bytes(&self, location: &str, entries: &[StringStringEntryProto], len: u64) -> Result<Vec<u8>, ExternalFault> {
        let offset = number(entries, "offset")?.unwrap_or(0);
        if let Some(found) = number(entries, "length")?.filter(|found| *found != len) {
            return Err(ExternalFault::Length { expected: len, found });
        }
        let path = self.resolve(location)?;
        if !fs::metadata(&path).map_err(ExternalFault::Io)?.is_file() {
            return Err(ExternalFault::NotAFile);
        }
        let mut file = File::open(&path).map_err(ExternalFault::Io)?;
        let file_len = file.metadata().map_err(ExternalFault::Io)?.len();
        let to = offset.saturating_add(len);
        let short = ExternalFault::Short { from: offset, to, len: file_len };
        let Some(count) = usize::try_from(len).ok().filter(|_| to <= file_len) else {
            return Err(short);
        };
        file.seek(SeekFrom::Start(offset)).map_err(ExternalFault::Io)?;
        let mut bytes = Vec::with_capacity(count);
        file.take(len).read_to_end(&mut bytes).map_err(ExternalFault::Io)?;
        if bytes.len() == count { Ok(bytes) } else { Err(short) }
    }

    /// The real path of `location`, which stays inside the folder.
    fn resolve(&self, location: &str) -> Result<PathBuf, ExternalFault> {
        let named = self.named.as_ref().ok_or(ExternalFault::NoFolder)?;
        if location.is_empty() {
            return Err(ExternalFault::NoLocation);
        }
        let inside = |part: Component| matches!(part, Component::Normal(_) | Component::CurDir);
        if !Path::new(location).components().all(inside) {
            return Err(ExternalFault::OutsideFolder);
        }
        let real = named.join(location).canonicalize().map_err(ExternalFault::Io)?;
        if self.roots.iter().any(|root| real.starts_with(root)) { Ok(real) } else { Err(ExternalFault::OutsideFolder) }
    }
}

fn entry<'a>(entries: &'a [StringStringEntryProto], key: &str) -> Option<&'a str> {
    entries.iter().find(|entry| entry.key() == key).map(|entry| entry.value())
}

fn number(entries: &[StringStringEntryProto], key: &'static str) -> Result<Option<u64>, ExternalFault> {
    let Some(value) = entry(entries, key) else {
        return Ok(None);
    };
    value.parse().map(Some).map_err(|_| ExternalFault::Number { key, value: value.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(pairs: &[(&str, &str)]) -> Vec<StringStringEntryProto> {
        let entry = |(key, value): &(&str, &str)| StringStringEntryProto {
            key: Some((*key).into()),
            value: Some((*value).into()),
        };
        pairs.iter().map(entry).collect()
    }

    #[test]
    fn bytes_come_from_inside_the_folder_only() {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("model");
        fs::create_dir_all(dir.join("sub")).unwrap();
        fs::write(outer.path().join("secret"), [9; 16]).unwrap();
        fs::write(dir.join("w.bin"), (0..16).collect::<Vec<u8>>()).unwrap();
        fs::write(dir.join("sub/w.bin"), [1; 4]).unwrap();
        let absolute = dir.join("w.bin");
        let absolute = absolute.to_str().unwrap();
        let folder = Folder::at(&dir);
        let place = Place::Initializer { name: "w" };
        type Pairs<'a> = &'a [(&'a str, &'a str)];
        let good: &[(Pairs, &[u8])] = &[
            (&[("location", "w.bin")], &[0, 1, 2, 3]),
            (&[("location", "./w.bin"), ("offset", "12"), ("length", "4")], &[12, 13, 14, 15]),
            (&[("location", "sub/w.bin"), ("checksum", "?")], &[1, 1, 1, 1]),
        ];
        for (pairs, expected) in good {
            assert_eq!(folder.read(&entries(pairs), 4, &place).unwrap(), *expected, "{pairs:?}");
        }
        let bad: &[(Pairs, &str)] = &[
            (&[], "names no file"),
            (&[("location", "../secret")], "stays inside"),
            (&[("location", "sub/../../secret")], "stays inside"),
            (&[("location", absolute)], "stays inside"),
            (&[("location", "sub")], "not a regular file"),
            (&[("location", "gone.bin")], "gone.bin"),
            (&[("location", "w\0.bin")], "NUL"),
            (&[("location", "w.bin"), ("offset", "13")], "bytes 13 to 17, the file has 16"),
            (&[("location", "w.bin"), ("offset", "18446744073709551615")], "the file has 16"),
            (&[("location", "w.bin"), ("offset", "-1")], "`offset` is \"-1\""),
            (&[("location", "w.bin"), ("length", "many")], "`length` is \"many\""),
            (&[("location", "w.bin"), ("length", "5")], "takes 4 bytes, the model says 5"),
        ];
        for (pairs, part) in bad {
            let error = folder.read(&entries(pairs), 4, &place).unwrap_err().to_string();
            assert!(error.starts_with("initializer \"w\"") && error.contains(part), "{pairs:?}: {error}");
        }
        let error = folder.read(&entries(&[("location", "w.bin")]), 1 << 40, &place).unwrap_err().to_string();
        assert!(error.contains("the file has 16"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_into_the_models_own_store_and_nowhere_else() {
        use std::os::unix::fs::symlink;
        let outer = tempfile::tempdir().unwrap();
        let (store, view) = (outer.path().join("store"), outer.path().join("view"));
        fs::create_dir(&store).unwrap();
        fs::create_dir(&view).unwrap();
        fs::write(store.join("a1"), b"model").unwrap();
        fs::write(store.join("b2"), b"data").unwrap();
        fs::write(outer.path().join("secret"), b"none").unwrap();
        symlink(store.join("a1"), view.join("model.onnx")).unwrap();
        symlink(store.join("b2"), view.join("model.bin")).unwrap();
        symlink(outer.path().join("secret"), view.join("evil.bin")).unwrap();
        let folder = Folder::of_model(&view.join("model.onnx"));
        let place = Place::Initializer { name: "w" };
        assert_eq!(folder.read(&entries(&[("location", "model.bin")]), 4, &place).unwrap(), b"data");
        let error = folder.read(&entries(&[("location", "evil.bin")]), 4, &place).unwrap_err();
        assert!(matches!(error, OnnxError::External { fault: ExternalFault::OutsideFolder, .. }), "{error}");
    }
}
