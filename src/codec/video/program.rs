//! The programs `ffmpeg` and `ffprobe`: found, asked what they can do, run, and never left behind.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use super::VideoError;

/// How much of what a program complains is kept: its end, in bytes.
const TAIL: usize = 4096;
/// Lines of it that go into a message.
const LAST_LINES: usize = 3;
/// The wait between two looks whether a program has ended, and how many there are before it is killed.
const LOOK: Duration = Duration::from_millis(5);
const LOOKS: u32 = 2000;

/// Where ffmpeg is. Nothing is run before something is read or written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ffmpeg {
    program: PathBuf,
}

impl Default for Ffmpeg {
    /// The one on the system's path.
    fn default() -> Self {
        Ffmpeg::at("ffmpeg")
    }
}

/// What a version of ffmpeg can do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Abilities {
    /// Whether it has `-fps_mode` (5.1 and later) in place of `-vsync`.
    fps_mode: bool,
    encoders: Vec<String>,
}

impl Ffmpeg {
    /// A program by its path, or by its name on the system's path. `ffprobe` is looked for beside it.
    pub fn at(program: impl Into<PathBuf>) -> Self {
        Ffmpeg { program: program.into() }
    }

    /// `ffprobe`, which comes with ffmpeg.
    fn prober(&self) -> PathBuf {
        let name = self.program.file_name().and_then(OsStr::to_str).unwrap_or("ffmpeg");
        self.program.with_file_name(name.replacen("ffmpeg", "ffprobe", 1))
    }

    /// Runs it once to see that it is there; `path` is the video that needs it, for the message.
    pub fn check(&self, path: &Path) -> Result<(), VideoError> {
        self.abilities(path).map(|_| ())
    }

    /// Starts ffmpeg for the video at `path`.
    pub(super) fn start(
        &self,
        path: &Path,
        work: Work,
        arguments: &[OsString],
        stopper: &Stopper,
    ) -> Result<Running, VideoError> {
        let mut command = Command::new(&self.program);
        command.args(["-hide_banner", "-nostdin", "-v", "error"]).args(arguments);
        let running = Running::start(command, &self.program, path, work)?;
        stopper.watch(&running.child);
        Ok(running)
    }

    /// Runs ffprobe to its end: what it writes, or its last words.
    pub(super) fn probe(&self, path: &Path, arguments: &[OsString]) -> Result<Vec<u8>, VideoError> {
        let program = self.prober();
        let mut command = Command::new(&program);
        command.args(["-hide_banner", "-v", "error"]).args(arguments);
        let mut running = Running::start(command, &program, path, Work::Gives)?;
        let mut bytes = Vec::new();
        let read = running.output.take().map_or(Ok(0), |mut output| output.read_to_end(&mut bytes));
        let (status, detail) = running.end();
        match read {
            Err(source) => Err(VideoError::Read { path: path.to_owned(), source }),
            Ok(_) if status.is_some_and(|status| status.success()) => Ok(bytes),
            Ok(_) => {
                let detail = if detail.is_empty() { "nothing".to_owned() } else { detail };
                Err(VideoError::Unreadable { path: path.to_owned(), detail })
            }
        }
    }

    /// The options that keep every frame with its own time.
    pub(super) fn passthrough(&self, path: &Path) -> Result<[&'static str; 2], VideoError> {
        Ok([if self.abilities(path)?.fps_mode { "-fps_mode" } else { "-vsync" }, "passthrough"])
    }

    /// The first of these encoders that it has.
    pub(super) fn encoder(&self, path: &Path, wanted: &[&'static str]) -> Result<Option<&'static str>, VideoError> {
        let abilities = self.abilities(path)?;
        Ok(wanted.iter().copied().find(|name| abilities.encoders.iter().any(|known| known == name)))
    }

    /// Asked once of each program.
    fn abilities(&self, path: &Path) -> Result<Abilities, VideoError> {
        static KNOWN: OnceLock<Mutex<BTreeMap<PathBuf, Abilities>>> = OnceLock::new();
        let known = KNOWN.get_or_init(Mutex::default);
        if let Some(abilities) = lock(known).get(&self.program) {
            return Ok(abilities.clone());
        }
        let ask = |argument: &str| {
            let mut command = Command::new(&self.program);
            command.args(["-hide_banner", argument]);
            let mut running = Running::start(command, &self.program, path, Work::Gives)?;
            let mut bytes = Vec::new();
            let read = running.output.take().map_or(Ok(0), |mut output| output.read_to_end(&mut bytes));
            running.end();
            read.map_err(|source| VideoError::Read { path: path.to_owned(), source })?;
            Ok::<_, VideoError>(String::from_utf8_lossy(&bytes).into_owned())
        };
        let abilities = Abilities { fps_mode: has_fps_mode(&ask("-version")?), encoders: encoders(&ask("-encoders")?) };
        lock(known).insert(self.program.clone(), abilities.clone());
        Ok(abilities)
    }
}

/// Whether what `-version` writes is of 5.1 or later. Builds from the repository have no such number and are new.
fn has_fps_mode(text: &str) -> bool {
    let version = text.split_whitespace().skip_while(|word| *word != "version").nth(1).unwrap_or_default();
    let mut numbers = version.trim_start_matches('n').split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (5, 1),
        (Some(Ok(major)), _) => major > 5,
        _ => true,
    }
}

/// The names in what `-encoders` writes: the second word of each line behind the legend.
fn encoders(text: &str) -> Vec<String> {
    let lines = text.lines().skip_while(|line| !line.trim_start().starts_with("---")).skip(1);
    lines.filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned).collect()
}

/// Which way the data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// The program writes, we read.
    Gives,
    /// We write, the program reads.
    Takes,
}

/// A program at work. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) input: Option<ChildStdin>,
    pub(super) output: Option<ChildStdout>,
    child: Arc<Mutex<Child>>,
    complaints: Option<JoinHandle<String>>,
}

/// Ends the programs that other threads wait for, those that are started later too: what waits comes to its end.
#[derive(Clone, Default)]
pub struct Stopper(Arc<Mutex<Watched>>);

#[derive(Default)]
struct Watched {
    stopped: bool,
    children: Vec<Weak<Mutex<Child>>>,
}

impl fmt::Debug for Stopper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stopper").field("stopped", &lock(&self.0).stopped).finish()
    }
}

impl Stopper {
    /// Kills what runs, now and later.
    pub fn stop(&self) {
        let mut watched = lock(&self.0);
        watched.stopped = true;
        for child in watched.children.drain(..).filter_map(|child| child.upgrade()) {
            // An error says that it has ended.
            let _ = lock(&child).kill();
        }
    }

    fn watch(&self, child: &Arc<Mutex<Child>>) {
        let mut watched = lock(&self.0);
        watched.children.retain(|child| child.strong_count() > 0);
        match watched.stopped {
            // An error says that it has ended.
            true => drop(lock(child).kill()),
            false => watched.children.push(Arc::downgrade(child)),
        }
    }

    /// The number of the newest process that runs.
    #[cfg(test)]
    pub(super) fn process(&self) -> Option<u32> {
        lock(&self.0).children.iter().filter_map(Weak::upgrade).next_back().map(|child| lock(&child).id())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds the lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Running {
    fn start(mut command: Command, program: &Path, path: &Path, work: Work) -> Result<Running, VideoError> {
        let (input, output) = match work {
            Work::Gives => (Stdio::null(), Stdio::piped()),
            Work::Takes => (Stdio::piped(), Stdio::null()),
        };
        command.stdin(input).stdout(output).stderr(Stdio::piped());
        let (path, program) = (path.to_owned(), program.to_owned());
        let mut child = command.spawn().map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => VideoError::NoProgram { path: path.clone(), program: program.clone() },
            _ => VideoError::Spawn { path: path.clone(), program: program.clone(), source },
        })?;
        let (input, output, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let mut running = Running { input, output, child: Arc::new(Mutex::new(child)), complaints: None };
        // A program whose complaints nobody reads would stop at a full pipe.
        let listen = move || stderr.map(listen).unwrap_or_default();
        let complaints = std::thread::Builder::new()
            .name("percept/ffmpeg".into())
            .spawn(listen)
            .map_err(|source| VideoError::Spawn { path, program, source })?;
        running.complaints = Some(complaints);
        Ok(running)
    }

    /// Waits for its end, which it has come to by itself (its output is read to the end, its input closed): its status and
    /// last words. One that does not end in time is killed.
    pub(super) fn end(&mut self) -> (Option<ExitStatus>, String) {
        self.input = None;
        self.output = None;
        let mut looks = 0;
        let status = loop {
            // Not a wait under the lock: whoever stops it needs the lock meanwhile.
            match lock(&self.child).try_wait() {
                Ok(Some(status)) => break Some(status),
                Ok(None) => {}
                Err(_) => break None,
            }
            looks += 1;
            if looks == LOOKS {
                self.kill();
            }
            std::thread::sleep(LOOK);
        };
        let said = self.complaints.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        (status, last_words(&said))
    }

    /// As [`end`](Self::end), for as long as it takes.
    pub(super) fn end_of_work(&mut self) -> (Option<ExitStatus>, String) {
        self.input = None;
        loop {
            match lock(&self.child).try_wait() {
                Ok(None) => {}
                _ => break,
            }
            std::thread::sleep(LOOK);
        }
        self.end()
    }

    fn kill(&mut self) {
        let mut child = lock(&self.child);
        // An error says that it has ended.
        let _ = child.kill();
        let _ = child.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.input = None;
        self.output = None;
        self.kill();
    }
}

/// Reads to the end and keeps the last part.
fn listen(mut stderr: ChildStderr) -> String {
    let mut kept = Vec::new();
    let mut part = [0; 1024];
    while let Ok(count) = stderr.read(&mut part)
        && count > 0
    {
        kept.extend_from_slice(&part[..count]);
        if kept.len() > 2 * TAIL {
            kept.drain(..kept.len() - TAIL);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// The last lines in one, without addresses in memory (`[h264 @ 0x5581…]`) and repetitions.
fn last_words(said: &str) -> String {
    let clean = |line: &str| {
        let mut words: Vec<&str> = Vec::new();
        let mut rest = line.split_whitespace().peekable();
        while let Some(word) = rest.next() {
            match rest.next_if(|next| word == "@" && next.starts_with("0x")) {
                // `[h264 @ 0x5581]` leaves `[h264]`.
                Some(_) => {
                    if let Some(last) = words.last_mut() {
                        *last = last.trim_start_matches('[');
                    }
                    words.push(":");
                }
                None => words.push(word),
            }
        }
        words.join(" ").replace(" :", ":")
    };
    let mut lines: Vec<String> = said.lines().map(clean).filter(|line| !line.is_empty()).collect();
    lines.dedup();
    let from = lines.len().saturating_sub(LAST_LINES);
    lines.drain(..from);
    lines.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_their_options() {
        for (text, expected) in [
            ("ffmpeg version 5.1.9-0+deb12u1 Copyright (c) 2000-2026", true),
            ("ffmpeg version n4.4.2 Copyright", false),
            ("ffmpeg version 4.2.7-0ubuntu0.1 Copyright", false),
            ("ffmpeg version 5.0 Copyright", false),
            ("ffmpeg version 7 Copyright", true),
            ("ffmpeg version N-112345-gabcdef Copyright", true),
            ("ffmpeg version 2024-01-01-git-abc Copyright", true),
            ("", true),
        ] {
            assert_eq!(has_fps_mode(text), expected, "{text}");
        }
        let text =
            "Encoders:\n V..... = Video\n ------\n V....D libx264  libx264 H.264 (codec h264)\n A....D aac  AAC\n";
        assert_eq!(encoders(text), ["libx264", "aac"]);
    }

    #[test]
    fn last_words_are_short() {
        for (said, expected) in [
            ("", ""),
            ("\n\na.mp4: Invalid data found\n", "a.mp4: Invalid data found"),
            (
                "[mov,mp4 @ 0x55f0c0] moov atom not found\nfile:x: Invalid\n",
                "mov,mp4: moov atom not found; file:x: Invalid",
            ),
            ("1\n2\n2\n2\n3\n4\n", "2; 3; 4"),
        ] {
            assert_eq!(last_words(said), expected, "{said}");
        }
    }

    #[test]
    fn the_prober_is_beside_it() {
        for (program, prober) in [
            ("ffmpeg", "ffprobe"),
            ("/opt/ffmpeg/bin/ffmpeg", "/opt/ffmpeg/bin/ffprobe"),
            ("C:/ffmpeg.exe", "C:/ffprobe.exe"),
            ("/opt/ffmpeg-7", "/opt/ffprobe-7"),
        ] {
            assert_eq!(Ffmpeg::at(program).prober(), Path::new(prober), "{program}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_program_that_is_dropped_or_stopped_is_gone() {
        let sleeper = || {
            let mut command = Command::new("sleep");
            command.arg("1000");
            let running = Running::start(command, Path::new("sleep"), Path::new("x"), Work::Gives).unwrap();
            let stopper = Stopper::default();
            stopper.watch(&running.child);
            (running, stopper)
        };
        let exists = |process: u32| Path::new(&format!("/proc/{process}")).exists();
        let (dropped, stopper) = sleeper();
        let process = stopper.process().unwrap();
        assert!(exists(process) || !cfg!(target_os = "linux"));
        drop(dropped);
        assert!(!exists(process), "no zombie either");
        assert_eq!(stopper.process(), None);
        let (mut stopped, stopper) = sleeper();
        let first = stopper.clone();
        let other = std::thread::spawn(move || first.stop());
        let mut bytes = Vec::new();
        stopped.output.take().unwrap().read_to_end(&mut bytes).unwrap();
        other.join().unwrap();
        let (status, said) = stopped.end();
        assert!(!status.unwrap().success() && said.is_empty());
        // What is started after the stop.
        let (mut late, _) = sleeper();
        stopper.watch(&late.child);
        late.output.take().unwrap().read_to_end(&mut bytes).unwrap();
        assert!(!late.end().0.unwrap().success());
    }

    #[test]
    fn a_program_that_is_not_there_is_told_with_what_to_install() {
        let error = Ffmpeg::at("/nowhere/ffmpeg").probe(Path::new("a.mp4"), &[]).unwrap_err().to_string();
        assert!(error.starts_with("a.mp4: this needs the program `/nowhere/ffprobe`, which was not found;"), "{error}");
        assert!(error.contains("apt install ffmpeg") && error.contains("brew install ffmpeg"), "{error}");
    }
}
