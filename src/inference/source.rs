//! Where a model comes from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where a model comes from: a file, or memory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelSource {
    /// A file.
    File(PathBuf),
    /// What such a file would hold, without a folder that external data could lie in.
    Memory {
        /// What it is called in messages, in the place of a path.
        name: Arc<str>,
        /// The content of an `.onnx` file.
        bytes: Arc<[u8]>,
    },
}

impl ModelSource {
    /// The path of the file, or the name: for messages.
    pub fn path(&self) -> &Path {
        match self {
            ModelSource::File(path) => path,
            ModelSource::Memory { name, .. } => Path::new(&**name),
        }
    }

    /// The name of the file, or the name.
    pub fn name(&self) -> String {
        let path = self.path();
        path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
    }
}

impl From<&Path> for ModelSource {
    fn from(path: &Path) -> Self {
        ModelSource::File(path.to_owned())
    }
}

impl From<PathBuf> for ModelSource {
    fn from(path: PathBuf) -> Self {
        ModelSource::File(path)
    }
}
