//! Where ONNX Runtime's shared library is.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::system::{ask_python, system_folders};

/// How deep below a folder the library is looked for.
const DEPTH: usize = 6;

/// From the name of an environment variable to its value.
pub type Variable = dyn Fn(&str) -> Option<OsString> + Send + Sync;
/// From a Python interpreter to the folder of its package `onnxruntime`, or why there is none.
pub type PythonPackage = dyn Fn(&Path) -> Result<PathBuf, String> + Send + Sync;
/// The folders in which the system's loader looks.
pub type SystemFolders = dyn Fn() -> Vec<PathBuf> + Send + Sync;

/// Where to look, and how to ask the system. [`Search::new`] asks the real one; tests put their own answers in.
pub struct Search {
    /// The path a user typed: the library, or a folder that holds it.
    pub explicit: Option<PathBuf>,
    /// The folder into which percept fetches libraries.
    pub cache: Option<PathBuf>,
    /// Looks up an environment variable.
    pub variable: Box<Variable>,
    /// Asks a Python interpreter for the folder of its package `onnxruntime`; `Err` says why there is none.
    pub python_package: Box<PythonPackage>,
    /// The folders in which the system's loader looks.
    pub system_folders: Box<SystemFolders>,
}

/// A library that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The library file.
    pub library: PathBuf,
    /// Which of the places it was found in.
    pub origin: Origin,
}

/// The places that are looked at, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// The path a user typed.
    Explicit,
    /// The variable `ORT_DYLIB_PATH`.
    Variable,
    /// What percept fetched.
    Cache,
    /// The package `onnxruntime` of this Python interpreter.
    Python(PathBuf),
    /// The system's library path.
    System,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Explicit => f.write_str("--onnxruntime"),
            Origin::Variable => f.write_str("ORT_DYLIB_PATH"),
            Origin::Cache => f.write_str("percept's cache"),
            Origin::Python(interpreter) => write!(f, "the package onnxruntime of {}", interpreter.display()),
            Origin::System => f.write_str("the system's library path"),
        }
    }
}

/// One place that was looked at in vain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The place.
    pub origin: Origin,
    /// What was, or was not, there.
    pub outcome: String,
}

/// ONNX Runtime is in none of the places.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "ONNX Runtime was not found. Looked at:{}\nType `percept setup` to fetch it, or `pip install onnxruntime`, or say \
     where it is with `--onnxruntime PATH` or ORT_DYLIB_PATH.",
    lines(attempts)
)]
pub struct NotFound {
    /// Everything that was tried, in order.
    pub attempts: Vec<Attempt>,
}

fn lines(attempts: &[Attempt]) -> String {
    attempts.iter().map(|attempt| format!("\n  - {}: {}", attempt.origin, attempt.outcome)).collect()
}

impl Search {
    /// A search of this machine: the path a user typed, and the folder percept fetches into, come from the caller.
    pub fn new(explicit: Option<PathBuf>, cache: Option<PathBuf>) -> Self {
        Search {
            explicit,
            cache,
            variable: Box::new(|name| env::var_os(name)),
            python_package: Box::new(ask_python),
            system_folders: Box::new(system_folders),
        }
    }

    /// The value of a variable that is set to something.
    fn set_variable(&self, name: &str) -> Option<OsString> {
        (self.variable)(name).filter(|value| !value.is_empty())
    }

    /// The Python interpreters of the active environment, in the order in which they are asked.
    fn interpreters(&self) -> Vec<PathBuf> {
        let mut interpreters: Vec<PathBuf> =
            self.set_variable("PERCEPT_PYTHON").map(PathBuf::from).into_iter().collect();
        if let Some(root) = self.set_variable("VIRTUAL_ENV") {
            let program = if cfg!(windows) { "Scripts\\python.exe" } else { "bin/python" };
            interpreters.push(Path::new(&root).join(program));
        }
        interpreters.extend(["python3", "python"].map(PathBuf::from));
        interpreters
    }
}

/// Finds ONNX Runtime: the path typed, `ORT_DYLIB_PATH`, percept's cache, the active Python environment, the system.
///
/// A path that was typed, or set in `ORT_DYLIB_PATH`, is a wish: when there is no library the search ends there.
/// Nothing is loaded; whether the library will do is known at [`initialize`](super::initialize).
pub fn locate(search: &Search) -> Result<Found, NotFound> {
    let mut attempts = Vec::new();
    let wish = search
        .explicit
        .clone()
        .map(|path| (path, Origin::Explicit))
        .or_else(|| search.set_variable("ORT_DYLIB_PATH").map(|path| (PathBuf::from(path), Origin::Variable)));
    if let Some((path, origin)) = wish {
        return match library_at(&path) {
            Ok(library) => Ok(Found { library, origin }),
            Err(outcome) => Err(NotFound { attempts: vec![Attempt { origin, outcome }] }),
        };
    }
    attempts.push(Attempt { origin: Origin::Variable, outcome: "not set".to_owned() });

    match search.cache.as_deref().map(library_below) {
        Some(Ok(library)) => {
            return Ok(Found { library, origin: Origin::Cache });
        }
        Some(Err(outcome)) => attempts.push(Attempt { origin: Origin::Cache, outcome }),
        None => attempts.push(Attempt { origin: Origin::Cache, outcome: "there is none".to_owned() }),
    }
    for interpreter in search.interpreters() {
        let origin = Origin::Python(interpreter.clone());
        match (search.python_package)(&interpreter).and_then(|package| library_below(&package)) {
            Ok(library) => return Ok(Found { library, origin }),
            Err(outcome) => attempts.push(Attempt { origin, outcome }),
        }
    }
    let folders = (search.system_folders)();
    if let Some(library) = folders.iter().find_map(|folder| best_of(files_in(folder, 0))) {
        return Ok(Found { library, origin: Origin::System });
    }
    let shown: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
    let outcome = format!("no {} in {}", library_name(), if shown.is_empty() { "it".into() } else { shown.join(", ") });
    attempts.push(Attempt { origin: Origin::System, outcome });
    Err(NotFound { attempts })
}

/// The library that `path` is, or that lies below it.
fn library_at(path: &Path) -> Result<PathBuf, String> {
    match fs::metadata(path) {
        Ok(entry) if entry.is_dir() => library_below(path),
        Ok(_) => Ok(path.to_owned()),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// The newest library below `folder`.
fn library_below(folder: &Path) -> Result<PathBuf, String> {
    best_of(files_in(folder, DEPTH)).ok_or_else(|| format!("no {} below {}", library_name(), folder.display()))
}

/// The libraries in `folder` and `depth` levels below it.
fn files_in(folder: &Path, depth: usize) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            // Links are not followed, so that a circle of them has an end.
            if depth > 0 && !path.is_symlink() {
                found.extend(files_in(&path, depth - 1));
            }
        } else if path.is_file() && entry.file_name().to_str().is_some_and(|name| is_library(name, env::consts::OS)) {
            found.push(path);
        }
    }
    found
}

/// The one with the highest version in its path; among equals the last by name, so that the choice does not depend on
/// the order in which the system lists files.
fn best_of(libraries: Vec<PathBuf>) -> Option<PathBuf> {
    libraries.into_iter().max_by_key(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        (version(&name), version(&path.to_string_lossy()), path.clone())
    })
}

/// The numbers of the last dotted run of at least two numbers in `text`; empty when there is none.
fn version(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit() && c != '.')
        .map(|run| run.split('.').filter(|part| !part.is_empty()).filter_map(|part| part.parse().ok()).collect())
        .rfind(|numbers: &Vec<u64>| numbers.len() >= 2)
        .unwrap_or_default()
}

/// Whether a file of this name is ONNX Runtime's library on the system `os` (and not one of its providers).
pub(super) fn is_library(name: &str, os: &str) -> bool {
    match os {
        "windows" => name.eq_ignore_ascii_case("onnxruntime.dll"),
        "macos" | "ios" => name.starts_with("libonnxruntime.") && name.ends_with(".dylib"),
        _ => name.strip_prefix("libonnxruntime.so").is_some_and(|rest| {
            rest.is_empty() || (rest.starts_with('.') && rest.chars().all(|c| c == '.' || c.is_ascii_digit()))
        }),
    }
}

fn library_name() -> &'static str {
    match env::consts::OS {
        "windows" => "onnxruntime.dll",
        "macos" | "ios" => "libonnxruntime.dylib",
        _ => "libonnxruntime.so",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A search that finds nothing unless told to.
    fn nothing() -> Search {
        Search {
            explicit: None,
            cache: None,
            variable: Box::new(|_| None),
            python_package: Box::new(|_| Err("the package onnxruntime is not installed".to_owned())),
            system_folders: Box::new(Vec::new),
        }
    }

    fn touch(root: &Path, path: &str) -> PathBuf {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        path
    }

    #[test]
    fn the_first_place_that_has_it_wins() {
        let root = tempfile::tempdir().unwrap();
        let name = library_name();
        let place = |folder: &str| touch(root.path(), &format!("{folder}/{name}"));
        let (explicit, variable, cached, packaged, system) =
            (place("explicit"), place("variable"), place("cache/a/lib"), place("package/capi"), place("system"));
        let mut search = Search {
            explicit: Some(explicit.clone()),
            cache: Some(root.path().join("cache")),
            variable: Box::new({
                let variable = variable.clone();
                move |name| (name == "ORT_DYLIB_PATH").then(|| variable.clone().into_os_string())
            }),
            python_package: Box::new({
                let package = root.path().join("package");
                move |python| {
                    if python == Path::new("python") { Ok(package.clone()) } else { Err("no".into()) }
                }
            }),
            system_folders: Box::new({
                let folder = root.path().join("system");
                move || vec![PathBuf::from("/nowhere"), folder.clone()]
            }),
        };
        let found = |search: &Search| {
            let found = locate(search).unwrap();
            (found.library, found.origin)
        };
        assert_eq!(found(&search), (explicit, Origin::Explicit));
        search.explicit = None;
        assert_eq!(found(&search), (variable, Origin::Variable));
        search.variable = Box::new(|_| Some(OsString::new()));
        assert_eq!(found(&search), (cached, Origin::Cache));
        search.cache = None;
        assert_eq!(found(&search), (packaged, Origin::Python("python".into())));
        search.python_package = Box::new(|_| Err("no".into()));
        assert_eq!(found(&search), (system, Origin::System));
    }

    #[test]
    fn a_wish_that_cannot_be_met_is_not_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let cached = touch(root.path(), &format!("cache/{}", library_name()));
        let mut search = Search { cache: Some(cached.parent().unwrap().to_owned()), ..nothing() };
        assert!(locate(&search).is_ok());
        search.variable = Box::new(|name| (name == "ORT_DYLIB_PATH").then(|| "/nowhere/lib.so".into()));
        let error = locate(&search).unwrap_err();
        assert!(matches!(&error.attempts[..], [Attempt { origin: Origin::Variable, .. }]), "{error}");
        assert!(error.to_string().contains("/nowhere/lib.so"), "{error}");
        search.explicit = Some(root.path().join("empty"));
        assert!(matches!(&locate(&search).unwrap_err().attempts[..], [Attempt { origin: Origin::Explicit, .. }]));
    }

    #[test]
    fn not_found_lists_everything_and_says_what_to_type() {
        let search = Search {
            cache: Some("/nowhere/cache".into()),
            variable: Box::new(|name| match name {
                "PERCEPT_PYTHON" => Some("/my/python".into()),
                "VIRTUAL_ENV" => Some("/venv".into()),
                _ => None,
            }),
            ..nothing()
        };
        let text = locate(&search).unwrap_err().to_string();
        for part in ["ORT_DYLIB_PATH: not set", "/nowhere/cache", "/my/python", "/venv", "python3", "system's library"]
        {
            assert!(text.contains(part), "{part} is not in: {text}");
        }
        for remedy in ["percept setup", "pip install onnxruntime", "--onnxruntime PATH"] {
            assert!(text.contains(remedy), "{remedy} is not in: {text}");
        }
    }

    #[test]
    fn names_of_the_library_by_system() {
        for (name, os, expected) in [
            ("libonnxruntime.so", "linux", true),
            ("libonnxruntime.so.1", "linux", true),
            ("libonnxruntime.so.1.32.0", "linux", true),
            ("libonnxruntime.so.1.32.0.debug", "linux", false),
            ("libonnxruntime_providers_shared.so", "linux", false),
            ("libonnxruntime_providers_cuda.so", "linux", false),
            ("onnxruntime.dll", "linux", false),
            ("libonnxruntime.1.32.0.dylib", "macos", true),
            ("libonnxruntime.dylib", "macos", true),
            ("libonnxruntime_x.dylib", "macos", false),
            ("onnxruntime.dll", "windows", true),
            ("onnxruntime_providers_shared.dll", "windows", false),
        ] {
            assert_eq!(is_library(name, os), expected, "{name} on {os}");
        }
    }

    #[test]
    fn the_newest_of_several_is_taken() {
        for (names, best) in [
            (vec!["libonnxruntime.so.1.9.0", "libonnxruntime.so.1.32.0"], 1),
            (vec!["libonnxruntime.so.1.32.0", "libonnxruntime.so"], 0),
            (vec!["onnxruntime-1.30.0/libonnxruntime.so", "onnxruntime-1.4.2/libonnxruntime.so"], 0),
        ] {
            let paths: Vec<PathBuf> = names.iter().map(|name| Path::new("/cache").join(name)).collect();
            assert_eq!(best_of(paths.clone()).as_ref(), Some(&paths[best]));
            assert_eq!(best_of(paths.iter().rev().cloned().collect()).as_ref(), Some(&paths[best]));
        }
        assert_eq!(best_of(Vec::new()), None);
    }
}
