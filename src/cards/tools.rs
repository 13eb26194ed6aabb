//! The programs that fetch: Python's pip and curl.
//!
//! Downloads go through the tools that a machine already has, with the proxies, mirrors and certificates its owner has set up for
//! them.

use std::ffi::{OsStr, OsString};
use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use super::error::CardError;

/// How often a running tool is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The most that is kept of what a tool says.
const KEPT: usize = 16 << 10;

/// Which programs fetch.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Pythons to try, best first.
    pub(super) pythons: Vec<OsString>,
    /// The curl program.
    pub(super) curl: OsString,
}

impl Tools {
    /// The programs of this environment. Python is `$PERCEPT_PYTHON` if set, and nothing else then; otherwise that of the active
    /// virtual environment, `python3`, `python`: the first that has pip.
    pub fn from_env() -> Tools {
        Tools::from(&|name| std::env::var_os(name))
    }

    fn from(env: &dyn Fn(&str) -> Option<OsString>) -> Tools {
        let set = |name| env(name).filter(|value| !value.is_empty());
        let pythons = match set("PERCEPT_PYTHON") {
            Some(python) => vec![python],
            None => {
                let inside = if cfg!(windows) { Path::new("Scripts/python.exe") } else { Path::new("bin/python") };
                let active = set("VIRTUAL_ENV").map(|folder| Path::new(&folder).join(inside).into_os_string());
                active.into_iter().chain(["python3".into(), "python".into()]).collect()
            }
        };
        Tools { pythons, curl: "curl".into() }
    }

    /// The first Python that has pip.
    pub(super) fn python(&self, package: &str) -> Result<&OsStr, CardError> {
        let mut tried = Vec::new();
        for python in &self.pythons {
            let mut command = Command::new(python);
            command.args(["-m", "pip", "--version"]);
            let reason = match run(command, &mut || true) {
                Ok(Ended { status, .. }) if status.success() => return Ok(python),
                Ok(Ended { said, .. }) => said.lines().last().unwrap_or("pip does not work").trim().to_owned(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => "not found".to_owned(),
                Err(error) => error.to_string(),
            };
            tried.push(format!("`{}` ({reason})", Path::new(python).display()));
        }
        Err(CardError::NoPython { package: package.to_owned(), tried })
    }
}

/// How a tool ended.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// The end of what it wrote to its error output.
    pub said: String,
}

/// Runs a command to its end, with nothing on its input and its output dropped. `go_on` is asked about twenty times a second; when
/// it says no, the command is killed, and the error is of the kind [`io::ErrorKind::Interrupted`].
pub(super) fn run(mut command: Command, go_on: &mut dyn FnMut() -> bool) -> io::Result<Ended> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut child = KilledOnDrop(child);
    let errors = child.0.stderr.take().map(|pipe| thread::spawn(move || tail(pipe)));
    let status = loop {
        if let Some(status) = child.0.try_wait()? {
            break status;
        }
        if !go_on() {
            return Err(io::Error::from(io::ErrorKind::Interrupted));
        }
        thread::sleep(LOOK_EVERY);
    };
    let said = errors.and_then(|reader| reader.join().ok()).unwrap_or_default();
    Ok(Ended { status, said })
}

/// The last [`KEPT`] bytes that come out of a pipe.
fn tail(mut pipe: impl Read) -> String {
    let mut kept = Vec::new();
    let mut block = [0; 4096];
    loop {
        match pipe.read(&mut block) {
            Ok(0) => break,
            Ok(count) => {
                kept.extend_from_slice(&block[..count]);
                let surplus = kept.len().saturating_sub(KEPT);
                kept.drain(..surplus);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

struct KilledOnDrop(Child);

impl Drop for KilledOnDrop {
    fn drop(&mut self) {
        // Both fail only when it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pythons_by_environment() {
        type Variables<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Variables<'_>, &[&str]); 4] = [
            (&[], &["python3", "python"]),
            (&[("VIRTUAL_ENV", "/v")], &["/v/bin/python", "python3", "python"]),
            (&[("PERCEPT_PYTHON", "/p"), ("VIRTUAL_ENV", "/v")], &["/p"]),
            (&[("PERCEPT_PYTHON", ""), ("VIRTUAL_ENV", "")], &["python3", "python"]),
        ];
        for (env, pythons) in cases {
            let found = Tools::from(&|name| env.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()));
            let expected: Vec<OsString> = pythons.iter().map(Into::into).collect();
            assert!(cfg!(windows) || found.pythons == expected, "{env:?}: {:?}", found.pythons);
        }
    }

    #[test]
    fn without_a_python_every_one_tried_is_named() {
        let tools = Tools { pythons: vec!["/no/python-a".into(), "/no/python-b".into()], curl: "curl".into() };
        let error = tools.python("onnxruntime==1.32.0").unwrap_err().to_string();
        for part in ["onnxruntime==1.32.0", "`/no/python-a` (not found)", "`/no/python-b`", "PERCEPT_PYTHON"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_tool_is_heard_and_can_be_stopped() {
        let shell = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            command
        };
        let ended = run(shell("echo out; echo err >&2; exit 3"), &mut || true).unwrap();
        assert_eq!((ended.status.code(), ended.said.as_str()), (Some(3), "err\n"));
        // More than a pipe holds, and more than is kept.
        let ended = run(shell("yes 0123456789 | head -c 300000 >&2; echo end >&2"), &mut || true).unwrap();
        assert!(ended.said.len() <= KEPT && ended.said.ends_with("end\n"));
        let stopped = run(shell("exec sleep 600"), &mut || false).unwrap_err();
        assert_eq!(stopped.kind(), io::ErrorKind::Interrupted);
    }
}
