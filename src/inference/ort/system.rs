//! What the system is asked in the search for ONNX Runtime: Python interpreters and the loader's list.

use std::env;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::locate::is_library;

/// How long a program that is asked for a path may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Prints where the package `onnxruntime` is, without importing it and without looking into the working directory.
const ASK_PYTHON: &str = "import sys; sys.path = [p for p in sys.path if p]\n\
    from importlib.util import find_spec\n\
    spec = find_spec('onnxruntime')\n\
    print('\\n'.join(spec.submodule_search_locations or []) if spec else '')";

/// The folder of the package `onnxruntime` that `interpreter` would import.
pub(super) fn ask_python(interpreter: &Path) -> Result<PathBuf, String> {
    let answer = output_of(Command::new(interpreter).arg("-c").arg(ASK_PYTHON), PATIENCE)?;
    let folder = answer.lines().map(str::trim).find(|line| !line.is_empty());
    folder.map(PathBuf::from).ok_or_else(|| "the package onnxruntime is not installed".to_owned())
}

/// What `command` prints, within `patience`.
fn output_of(command: &mut Command, patience: Duration) -> Result<String, String> {
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = spawned.map_err(|error| format!("does not start: {error}"))?;
    let Some(stdout) = child.stdout.take() else {
        return Err("gives no output".to_owned());
    };
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let result = stdout.take(1 << 20).read_to_string(&mut text).map(|_| text);
        // Nobody listens any more once the patience is over.
        let _ = sender.send(result);
    });
    let answer = receiver.recv_timeout(patience);
    // It has closed its output or is too slow: in either case nothing more is wanted of it.
    let _ = child.kill();
    let _ = child.wait();
    match answer {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => Err(format!("gives no text: {error}")),
        Err(_) => Err(format!("gave no answer within {} s", patience.as_secs_f32())),
    }
}

/// Where this system's loader looks for libraries.
pub(super) fn system_folders() -> Vec<PathBuf> {
    let variable = match env::consts::OS {
        "windows" => "PATH",
        "macos" => "DYLD_LIBRARY_PATH",
        _ => "LD_LIBRARY_PATH",
    };
    let listed = env::var_os(variable).unwrap_or_default();
    let mut folders: Vec<PathBuf> = env::split_paths(&listed).filter(|folder| folder.is_absolute()).collect();
    if cfg!(target_os = "linux") {
        // The loader's own list; some systems keep it out of a user's search path.
        for program in ["ldconfig", "/sbin/ldconfig", "/usr/sbin/ldconfig"] {
            if let Ok(listing) = output_of(Command::new(program).arg("-p"), PATIENCE) {
                folders.extend(folders_of_listing(&listing));
                break;
            }
        }
    }
    if cfg!(unix) {
        folders.extend(["/usr/local/lib", "/usr/lib", "/usr/lib64", "/lib", "/opt/homebrew/lib"].map(PathBuf::from));
    }
    let mut unique: Vec<PathBuf> = Vec::new();
    for folder in folders {
        if !unique.contains(&folder) && folder.is_dir() {
            unique.push(folder);
        }
    }
    unique
}

/// The folders in which `ldconfig -p` knows an ONNX Runtime.
fn folders_of_listing(listing: &str) -> impl Iterator<Item = PathBuf> {
    listing
        .lines()
        .filter_map(|line| line.split_once(" => "))
        .map(|(_, path)| Path::new(path.trim()))
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| is_library(name, "linux")))
        .filter_map(|path| path.parent().map(Path::to_owned))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_loaders_listing_is_read() {
        let listing = "123 libs found in cache `/etc/ld.so.cache'\n\
            \tlibonnxruntime.so.1 (libc6,x86-64) => /usr/lib/x86_64-linux-gnu/libonnxruntime.so.1\n\
            \tlibm.so.6 (libc6,x86-64) => /lib/x86_64-linux-gnu/libm.so.6\n";
        let folders: Vec<PathBuf> = folders_of_listing(listing).collect();
        assert_eq!(folders, [PathBuf::from("/usr/lib/x86_64-linux-gnu")]);
    }

    #[cfg(unix)]
    #[test]
    fn a_python_that_hangs_fails_or_is_not_there_does_not_stop_the_search() {
        use std::os::unix::fs::PermissionsExt;

        let root = tempfile::tempdir().unwrap();
        let script = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            path
        };
        let answer = ask_python(&script("good", "echo; echo '/site-packages/onnxruntime '"));
        assert_eq!(answer, Ok(PathBuf::from("/site-packages/onnxruntime")));
        assert!(ask_python(&script("none", "echo")).unwrap_err().contains("not installed"));
        assert!(ask_python(&script("fails", "exit 3")).unwrap_err().contains("not installed"));
        assert!(ask_python(Path::new("/nowhere/python")).unwrap_err().contains("does not start"));
        let slow = output_of(&mut Command::new(script("slow", "exec sleep 60")), Duration::from_millis(50));
        assert!(slow.unwrap_err().contains("no answer"));
    }
}
