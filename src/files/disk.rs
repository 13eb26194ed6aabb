//! The steps by which a file is replaced, so that tests can let each of them fail.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// What [`replace`](super::replace()) asks of a file system.
pub(super) trait Disk {
    /// A file that is being written.
    type File;

    /// The names in a folder.
    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>>;

    /// A new file, held by this writer until it is dropped or the process ends.
    fn create(&self, path: &Path) -> io::Result<Self::File>;

    /// Whether no writer holds the file any more.
    fn is_abandoned(&self, path: &Path) -> bool;

    /// Appends.
    fn write(&self, file: &mut Self::File, content: &[u8]) -> io::Result<()>;

    /// Gives `file` the permissions of the file at `path`, where there is one.
    fn adopt_permissions(&self, file: &Self::File, path: &Path) -> io::Result<()>;

    /// Brings the content onto the disk.
    fn sync(&self, file: &Self::File) -> io::Result<()>;

    /// Puts `from` in the place of `to`, in one step.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Brings the names in a folder onto the disk.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Takes a name away.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The file system of this machine.
pub(super) struct System;

impl Disk for System {
    type File = File;

    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name())).collect()
    }

    fn create(&self, path: &Path) -> io::Result<File> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        match file.try_lock() {
            // Another writer takes it for abandoned, in the moment before it was locked, and removes it.
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::AlreadyExists.into()),
            // A file system without locks: leftovers stay.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(file),
        }
    }

    fn is_abandoned(&self, path: &Path) -> bool {
        OpenOptions::new().write(true).open(path).is_ok_and(|file| file.try_lock().is_ok())
    }

    fn write(&self, file: &mut File, content: &[u8]) -> io::Result<()> {
        file.write_all(content)
    }

    fn adopt_permissions(&self, file: &File, path: &Path) -> io::Result<()> {
        match fs::metadata(path) {
            Ok(old) => file.set_permissions(old.permissions()),
            Err(_) => Ok(()),
        }
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        if cfg!(not(unix)) {
            return Ok(()); // Folders cannot be opened there.
        }
        match File::open(folder)?.sync_all() {
            // Some network file systems know no such thing.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
            result => result,
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// The folder that the name of `path` is in.
pub(super) fn folder_of(path: &Path) -> PathBuf {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}
