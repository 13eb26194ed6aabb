//! A file of records: opened when it is written, whole after every record.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::error::SinkError;

/// A file that a sink appends records to. Clones write the same file.
///
/// Each record is one write, and one that fails is taken back, so the file never ends with half a record. After a
/// failure nothing more is written: every later record gives the same error.
#[derive(Clone, Debug)]
pub(super) struct OutputFile {
    path: Arc<Path>,
    target: Arc<Mutex<Target>>,
}

#[derive(Debug)]
struct Target {
    handle: Handle,
    /// Bytes in whole records; where a failed record is cut off.
    whole: u64,
    failed: Option<io::ErrorKind>,
}

enum Handle {
    Closed,
    /// `regular`: it can be closed and opened again, and be cut.
    File {
        file: File,
        regular: bool,
    },
    Writer(Box<dyn Write + Send>),
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Handle::Closed => "Closed",
            Handle::File { .. } => "File",
            Handle::Writer(_) => "Writer",
        })
    }
}

impl OutputFile {
    /// Makes the file, or empties the one that is there; folders on the way to it are made.
    pub(super) fn create(path: &Path) -> Result<Self, SinkError> {
        make_folders(path)?;
        let failed = |source| SinkError::Write { path: path.to_owned(), source };
        let file = File::create(path).map_err(failed)?;
        let regular = file.metadata().map_err(failed)?.is_file();
        Ok(Self::new(path, Handle::File { file, regular }))
    }

    /// Records into a writer that is never closed, under a name for messages.
    pub(super) fn writer(name: &str, writer: Box<dyn Write + Send>) -> Self {
        Self::new(Path::new(name), Handle::Writer(writer))
    }

    fn new(path: &Path, handle: Handle) -> Self {
        let target = Target { handle, whole: 0, failed: None };
        OutputFile { path: path.into(), target: Arc::new(Mutex::new(target)) }
    }

    /// Where it is, or the writer's name.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends one record.
    pub(super) fn append(&self, record: &[u8]) -> Result<(), SinkError> {
        let mut target = self.lock();
        let result = match target.failed {
            Some(kind) => Err(kind.into()),
            None => target.append(&self.path, record),
        };
        result.map_err(|source| {
            target.failed = Some(source.kind());
            SinkError::Write { path: self.path.to_path_buf(), source }
        })
    }

    /// Gives the handle back; the next record opens the file again.
    pub(super) fn close(&self) {
        let mut target = self.lock();
        if matches!(target.handle, Handle::File { regular: true, .. }) {
            target.handle = Handle::Closed;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Target> {
        // A panic inside a write leaves the count of whole records behind at worst.
        self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Target {
    fn append(&mut self, path: &Path, record: &[u8]) -> io::Result<()> {
        if matches!(self.handle, Handle::Closed) {
            let file = OpenOptions::new().append(true).create(true).open(path)?;
            self.whole = file.metadata()?.len();
            self.handle = Handle::File { file, regular: true };
        }
        let written = match &mut self.handle {
            Handle::Closed => Ok(()),
            Handle::File { file, .. } => file.write_all(record),
            Handle::Writer(writer) => writer.write_all(record).and_then(|()| writer.flush()),
        };
        match written {
            Ok(()) => self.whole += record.len() as u64,
            Err(_) => {
                if let Handle::File { file, regular: true } = &self.handle {
                    // Half a record is worse than none; where cutting fails too, the error below tells of the file.
                    let _ = file.set_len(self.whole);
                }
            }
        }
        written
    }
}

/// Each `write` is a record; for writers of a format that flush after each.
impl Write for OutputFile {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        match self.append(record) {
            Ok(()) => Ok(record.len()),
            Err(SinkError::Write { source, .. }) => Err(source),
            Err(other) => Err(io::Error::other(other)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Makes the folders on the way to `path`.
pub(super) fn make_folders(path: &Path) -> Result<(), SinkError> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => {
            fs::create_dir_all(folder).map_err(|source| SinkError::Folder { path: PathBuf::from(path), source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_follow_each_other_however_often_it_is_closed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made/on/the/way/a.txt");
        let file = OutputFile::create(&path).unwrap();
        for (record, close) in [("one\n", false), ("two\n", true), ("three\n", true), ("four\n", false)] {
            file.append(record.as_bytes()).unwrap();
            if close {
                file.close();
                file.close();
            }
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\nfour\n");
        OutputFile::create(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
    }

    #[test]
    fn a_path_that_cannot_be() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "").unwrap();
        for (path, expected) in [
            ("file/a.txt", "its folder cannot be made (a part of the path is a file"),
            ("file/b/a.txt", "its folder cannot be made (a part of the path is a file"),
            (".", "cannot be written (it is a folder: name a file in it)"),
        ] {
            let message = OutputFile::create(&folder.path().join(path)).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
        let long = "x".repeat(300);
        let message = OutputFile::create(&folder.path().join(long)).unwrap_err().to_string();
        assert!(message.contains("shorter name for the stream"), "{message}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_fails_every_record_and_says_what_to_do() {
        let file = OutputFile::create(Path::new("/dev/full")).unwrap();
        for _ in 0..2 {
            let message = file.append(b"x").unwrap_err().to_string();
            assert!(message.starts_with("/dev/full: cannot be written (free some space, "), "{message}");
        }
    }

    /// Takes `left` bytes, then says that the disk is full.
    struct Small {
        left: usize,
        taken: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Small {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes.len().min(self.left);
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.left -= fits;
            self.taken.lock().unwrap().extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_follows_a_record_that_failed() {
        let taken: Arc<Mutex<Vec<u8>>> = Arc::default();
        let file = OutputFile::writer("small", Box::new(Small { left: 6, taken: taken.clone() }));
        file.append(b"one\n").unwrap();
        assert!(file.append(b"two\n").is_err());
        assert!(file.append(b"3\n").is_err());
        assert_eq!(*taken.lock().unwrap(), b"one\ntw");
    }
}
