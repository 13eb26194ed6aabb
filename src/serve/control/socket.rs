//! The file of a unix socket.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::serve::ServeError;

/// The file of a unix socket that this process listens at. Removed when it is dropped, unless another lies there by
/// then.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    /// Listens at `path`. A socket's file that nobody listens at any more is replaced; one that somebody listens at,
    /// and anything else, is left as it is and refused.
    ///
    /// It is made in a folder of its own that nobody else can enter, beside `path`, and moved there when its mode is
    /// 0600: at no moment can anybody else connect.
    pub fn bind(path: &Path) -> Result<(SocketFile, UnixListener), ServeError> {
        let failed = |source| ServeError::Listen { address: path.display().to_string(), source };
        // It is made under another path: this one must be one that others can connect to.
        SocketAddr::from_pathname(path).map_err(failed)?;
        let free = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(failed(error)),
            Ok(found) if !found.file_type().is_socket() => {
                return Err(ServeError::NoSocket { path: path.to_owned() });
            }
            Ok(_) => match UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => false,
                Err(error) => return Err(failed(error)),
                Ok(_) => return Err(ServeError::Taken { path: path.to_owned() }),
            },
        };
        let folder = Private::beside(path).map_err(failed)?;
        let made = folder.0.join("s");
        let listener = UnixListener::bind(&made).map_err(failed)?;
        fs::set_permissions(&made, Permissions::from_mode(0o600)).map_err(failed)?;
        let found = fs::symlink_metadata(&made).map_err(failed)?;
        match free {
            // Unlike a move, a link fails where another has just taken the path.
            true => fs::hard_link(&made, path).map_err(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => ServeError::Taken { path: path.to_owned() },
                _ => failed(error),
            })?,
            false => fs::rename(&made, path).map_err(failed)?,
        }
        Ok((SocketFile { path: path.to_owned(), identity: (found.dev(), found.ino()) }, listener))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity);
        if is_ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!("{} could not be removed: {error}", self.path.display());
        }
    }
}

/// A folder that only its owner can enter, removed when it is dropped.
struct Private(PathBuf);

impl Private {
    fn beside(path: &Path) -> io::Result<Private> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut tries = 0u32;
        loop {
            // Short: the path of a unix socket has about a hundred bytes.
            let folder = parent.join(format!(".{:x}-{tries}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => return Ok(Private(folder)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tries < 100 => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // What is left in it is a socket that could not be moved.
        let _ = fs::remove_file(self.0.join("s"));
        let _ = fs::remove_dir(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> Vec<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn it_is_its_owners_and_goes_with_the_listener() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.sock");
        let (file, listener) = SocketFile::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(files(folder.path()), ["c.sock"], "nothing else is left");
        UnixStream::connect(&path).unwrap();
        listener.accept().unwrap();
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_one_is_replaced_and_a_living_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.sock");
        let (file, listener) = SocketFile::bind(&path).unwrap();
        assert!(matches!(SocketFile::bind(&path), Err(ServeError::Taken { .. })));
        drop(listener);
        let (newer, _listener) = SocketFile::bind(&path).unwrap();
        drop(file);
        assert!(path.exists(), "the file is another's by now");
        drop(newer);
        assert!(!path.exists());
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(SocketFile::bind(&path), Err(ServeError::NoSocket { .. })));
        std::os::unix::fs::symlink(&path, folder.path().join("link")).unwrap();
        assert!(matches!(SocketFile::bind(&folder.path().join("link")), Err(ServeError::NoSocket { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        for bad in [folder.path().join("none/c.sock"), folder.path().join("x".repeat(200))] {
            let error = SocketFile::bind(&bad).unwrap_err().to_string();
            assert!(error.starts_with("cannot listen at "), "{error}");
        }
        assert_eq!(files(folder.path()).len(), 2, "nothing is left behind");
    }
}
