//! The old file or the new one, never a part of one.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use super::disk::{Disk, System, folder_of};
use super::error::FileError;

#[cfg(test)]
mod tests;

/// Writes `content` to `path` so that, whatever happens meanwhile (an error, a full disk, the end of the process, a power
/// cut), the old file or the whole new one is there; once it returns, the new one outlives a power cut.
///
/// A temporary file in the same folder is written and synced, renamed, and the folder synced. It has the permissions of
/// the old file. A link at `path` is replaced, not followed. The folder must exist. Several threads and processes may
/// replace a file at once: the last one wins. What a killed writer left beside the file is removed.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), FileError> {
    replace_on(&System, path, content)
}

/// How often another writer may take our temporary file for a leftover.
const ATTEMPTS: usize = 8;

fn replace_on<D: Disk>(disk: &D, path: &Path, content: &[u8]) -> Result<(), FileError> {
    let Some(name) = path.file_name() else {
        return Err(FileError::NoName { path: path.to_owned() });
    };
    let folder = folder_of(path);
    remove_leftovers(disk, &folder, name);
    let mut attempt = 1;
    loop {
        match write_beside(disk, path, &folder.join(temporary(name)), content) {
            Err((_, error)) if attempt < ATTEMPTS && is_taken(&error) => attempt += 1,
            Err((step, error)) => return Err(FileError::of(path, step, content.len(), error)),
            Ok(()) => break,
        }
    }
    disk.sync_folder(&folder).map_err(|source| FileError::NotSynced { path: path.to_owned(), source })
}

/// Writes the temporary file and puts it in place; on an error, says at which step and removes it.
fn write_beside<D: Disk>(
    disk: &D,
    path: &Path,
    temporary: &Path,
    content: &[u8],
) -> Result<(), (&'static str, io::Error)> {
    let mut file = disk.create(temporary).map_err(|error| ("create a file beside it", error))?;
    let written = disk
        .write(&mut file, content)
        .map_err(|error| ("write", error))
        .and_then(|()| disk.adopt_permissions(&file, path).map_err(|error| ("set its permissions", error)))
        .and_then(|()| disk.sync(&file).map_err(|error| ("sync", error)))
        .and_then(|()| disk.rename(temporary, path).map_err(|error| ("put it in place", error)));
    if written.is_err() {
        // The first fault is the one to tell; a leftover is removed next time.
        let _ = disk.remove(temporary);
    }
    written
}

/// Whether a temporary file was there already, or is there no more.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound)
}

/// `.NAME.PROCESS-COUNT.part`
fn temporary(name: &OsStr) -> OsString {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}-{}.part", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    temporary
}

/// Whether `found` is a temporary file for `name`.
fn is_temporary(found: &OsStr, name: &OsStr) -> bool {
    let middle = found
        .as_encoded_bytes()
        .strip_prefix(b".")
        .and_then(|rest| rest.strip_prefix(name.as_encoded_bytes()))
        .and_then(|rest| rest.strip_prefix(b"."))
        .and_then(|rest| rest.strip_suffix(b".part"));
    let is_number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    middle.is_some_and(|middle| {
        let mut parts = middle.splitn(2, |byte| *byte == b'-');
        parts.next().is_some_and(is_number) && parts.next().is_some_and(is_number)
    })
}

/// Removes what killed writers left. A failure is no reason not to write.
fn remove_leftovers<D: Disk>(disk: &D, folder: &Path, name: &OsStr) {
    for found in disk.names(folder).unwrap_or_default() {
        let path = folder.join(&found);
        if is_temporary(&found, name) && disk.is_abandoned(&path) {
            let _ = disk.remove(&path);
        }
    }
}
