//! Folders of files, one folder a class.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::DataError;
use super::classes::Classes;

/// How deep folders are looked into.
const MAX_DEPTH: usize = 16;

/// The files of each class.
#[derive(Debug)]
pub(super) struct ClassFolders {
    pub classes: Classes,
    /// Each file with its class, by class and then by path.
    pub files: Vec<(PathBuf, usize)>,
}

impl ClassFolders {
    /// The folders in `root`, each a class, and in them (and in folders of theirs) the files with one of `extensions`,
    /// capital letters or small. Names that begin with a dot are passed over, as are links to folders below the
    /// classes'.
    ///
    /// Fails when there is no such file, one lies beside the classes' folders, a folder's name is not text, or a class
    /// is none of `setting` or of the known ones.
    pub fn scan(
        root: &Path,
        extensions: &[&str],
        setting: Option<&[String]>,
        known: &[String],
    ) -> Result<Self, DataError> {
        let is_sample = |path: &Path| {
            let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
            extensions.iter().any(|known| known.eq_ignore_ascii_case(extension))
        };
        let mut folders = Vec::new();
        for path in listed(root)? {
            if path.is_dir() {
                let name = path.file_name().unwrap_or_default();
                let name = name.to_str().ok_or_else(|| {
                    DataError::format(root, "", "folders whose names are UTF-8 text", name.display().to_string())
                })?;
                folders.push((name.to_owned(), path));
            } else if is_sample(&path) {
                return Err(DataError::format(&path, "", "a folder named after the class around it", "none"));
            }
        }
        let classes = Classes::choose(setting, known, folders.iter().map(|(name, _)| name.as_str()))?;
        let mut files = Vec::new();
        for (name, path) in folders {
            let class = classes.number(&name).ok_or_else(|| {
                DataError::format(
                    &path,
                    "",
                    format!("a folder named after {}", classes.expected()),
                    format!("`{name}`"),
                )
            })?;
            let mut found = BTreeSet::new();
            collect(&path, MAX_DEPTH, &is_sample, &mut found)?;
            files.extend(found.into_iter().map(|path| (path, class)));
        }
        if files.is_empty() {
            let expected = format!("a folder for each class, with files ({})", extensions.join(", "));
            return Err(DataError::format(root, "", expected, "none"));
        }
        files.sort_by(|(a_path, a), (b_path, b)| a.cmp(b).then_with(|| a_path.cmp(b_path)));
        Ok(ClassFolders { classes, files })
    }
}

fn collect(
    folder: &Path,
    depth: usize,
    is_sample: &dyn Fn(&Path) -> bool,
    found: &mut BTreeSet<PathBuf>,
) -> Result<(), DataError> {
    let Some(depth) = depth.checked_sub(1) else {
        return Err(DataError::format(folder, "", format!("at most {MAX_DEPTH} folders in one another"), "more"));
    };
    for path in listed(folder)? {
        if path.is_dir() {
            if !path.is_symlink() {
                collect(&path, depth, is_sample, found)?;
            }
        } else if is_sample(&path) {
            found.insert(path);
        }
    }
    Ok(())
}

/// What lies in a folder, in order, without hidden things.
fn listed(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let io = |source| DataError::io(folder, source);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let entry = entry.map_err(io)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for path in paths {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"").unwrap();
        }
        folder
    }

    #[test]
    fn folders_are_classes() {
        let paths =
            ["b/2.png", "b/10.PNG", "a/deep/x.png", "a/y.png", "a/note.txt", ".git/z.png", "b/.z.png", "readme.txt"];
        let folder = tree(&paths);
        fs::create_dir(folder.path().join("empty")).unwrap();
        let found = ClassFolders::scan(folder.path(), &["png"], None, &[]).unwrap();
        let files: Vec<_> = found
            .files
            .iter()
            .map(|(p, class)| (p.strip_prefix(folder.path()).unwrap().to_str().unwrap(), *class))
            .collect();
        assert_eq!(files, [("a/deep/x.png", 0), ("a/y.png", 0), ("b/10.PNG", 1), ("b/2.png", 1)]);
        assert_eq!(found.classes.names(), ["a", "b", "empty"]);
        let known = ["empty", "b", "a"].map(str::to_owned);
        let found = ClassFolders::scan(folder.path(), &["png"], None, &known).unwrap();
        assert_eq!(found.files.iter().map(|(_, class)| *class).collect::<Vec<_>>(), [1, 1, 2, 2]);
    }

    #[test]
    fn bad_folders() {
        for (paths, classes, expected) in [
            (&["x.txt"][..], None, ": expected a folder for each class, with files (png), found none"),
            (&["a/x.txt"], None, ": expected a folder for each class, with files (png), found none"),
            (&["x.png", "a/y.png"], None, "/x.png: expected a folder named after the class around it, found none"),
            (&["a/x.png", "b/y.png"], Some("a"), "/b: expected a folder named after one of the classes `a`, found `b`"),
        ] {
            let folder = tree(paths);
            let classes = classes.map(|name: &str| vec![name.to_owned()]);
            let error = ClassFolders::scan(folder.path(), &["png"], classes.as_deref(), &[]).unwrap_err().to_string();
            assert_eq!(error, format!("{}{expected}", folder.path().display()));
        }
        let deep = tree(&[&format!("a/{}x.png", "d/".repeat(20))]);
        let error = ClassFolders::scan(deep.path(), &["png"], None, &[]).unwrap_err().to_string();
        assert!(error.ends_with("expected at most 16 folders in one another, found more"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn a_class_without_a_name_and_a_circle_of_links() {
        use std::os::unix::ffi::OsStrExt;

        let folder = tree(&["a/x.png"]);
        std::os::unix::fs::symlink("..", folder.path().join("a/up")).unwrap();
        assert_eq!(ClassFolders::scan(folder.path(), &["png"], None, &[]).unwrap().files.len(), 1);
        fs::create_dir(folder.path().join(std::ffi::OsStr::from_bytes(b"\xff"))).unwrap();
        let error = ClassFolders::scan(folder.path(), &["png"], None, &[]).unwrap_err().to_string();
        assert!(error.contains("expected folders whose names are UTF-8 text"), "{error}");
    }
}
