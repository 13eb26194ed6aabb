//! Fetching what a card needs, once.
//!
//! Everything happens in a folder beside the final one, which is renamed when each file has its size and sum: a fetch that fails,
//! is cancelled or killed leaves nothing that is ever used. A lock file keeps two processes from fetching the same.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::archive::{Archive, Wanted, create};
use super::cache::{Cache, FileState, Reading, embedded, write_whole};
use super::card::Card;
use super::download::{download, sum};
use super::error::{CardError, Difference, MemberProblem};
use super::progress::{Phase, Progress, Silent};
use super::schema::{Download, FileSpec};
use super::tools::Tools;

/// How often a lock held by another process is tried again.
const TRY_EVERY: Duration = Duration::from_millis(100);

/// What a fetch did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fetched {
    /// Nothing: every file was there.
    AlreadyThere,
    /// Downloaded this many bytes.
    Downloaded {
        /// Bytes, as the card states them.
        bytes: u64,
    },
}

/// Fetches the files of a card that are not in the cache, with the programs of this environment ([`Tools::from_env`]).
///
/// When all is there, nothing is done, and neither Python nor the network is needed. If one file is missing or wrong, all that
/// are downloaded are fetched anew.
///
/// # Errors
/// Each says what to do; whatever the error, the cache is as it was before.
pub fn fetch(card: &Card, cache: &Cache, progress: &mut dyn Progress) -> Result<Fetched, CardError> {
    fetch_with(card, cache, &Tools::from_env(), progress)
}

/// [`fetch`] with given programs.
pub fn fetch_with(
    card: &Card,
    cache: &Cache,
    tools: &Tools,
    progress: &mut dyn Progress,
) -> Result<Fetched, CardError> {
    let files: Vec<&FileSpec> = card
        .files(cache.platform())?
        .into_values()
        .filter(|file| file.from.is_some())
        .collect();
    if all_there(card, cache, &files)? {
        return Ok(Fetched::AlreadyThere);
    }
    let folder = cache.folder(card)?;
    let lock = Lock::take(&folder, card.name(), progress)?;
    // Another process may have fetched it while this one waited.
    if all_there(card, cache, &files)? {
        return Ok(Fetched::AlreadyThere);
    }
    let work = Work::new(folder.with_added_extension(lock.work_extension()))?;
    let bytes = fill(card, cache, &files, &work.0, tools, progress)?;
    put_in_place(&work.0.join("files"), &folder, bytes)?;
    for file in files {
        cache.stamp(&folder.join(&file.path), file);
    }
    drop((work, lock));
    Ok(Fetched::Downloaded { bytes })
}

fn all_there(card: &Card, cache: &Cache, files: &[&FileSpec]) -> Result<bool, CardError> {
    for file in files {
        let path = cache.path(card, file)?;
        if cache.state(&path, file, Reading::Stamped, &mut Silent)? != FileState::Good {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Downloads everything into `work`, with the finished files in `work/files`. The bytes downloaded.
fn fill(
    card: &Card,
    cache: &Cache,
    files: &[&FileSpec],
    work: &Path,
    tools: &Tools,
    progress: &mut dyn Progress,
) -> Result<u64, CardError> {
    let ready = work.join("files");
    let beside = card.folder().unwrap_or(Path::new(""));
    let mut bytes = 0u64;
    for (number, (source, files)) in by_download(card, files).into_values().enumerate() {
        let into = work.join(format!("download-{number}"));
        fs::create_dir_all(&into).map_err(|error| CardError::io("create", &into, source.bytes, error))?;
        let path = download(source, &into, beside, tools, progress)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for file in files {
            take(&path, &name, file, &ready, progress)?;
        }
        // Free its space before the next one comes; the whole folder goes in the end anyway.
        let _ = fs::remove_dir_all(&into);
        bytes = bytes.saturating_add(source.bytes);
    }
    // The folder is replaced as a whole: what is part of the program belongs into it as well.
    for file in card.files(cache.platform())?.into_values() {
        if let Some(content) = embedded(card, file) {
            write_whole(&ready.join(&file.path), content)?;
        }
    }
    Ok(bytes)
}

/// The files, by the download that they come out of.
fn by_download<'a>(card: &'a Card, files: &[&'a FileSpec]) -> BTreeMap<&'a str, (&'a Download, Vec<&'a FileSpec>)> {
    let mut groups = BTreeMap::new();
    for file in files {
        let Some(from) = &file.from else { continue };
        if let Some((id, source)) = card.spec().source.downloads.get_key_value(&from.download) {
            groups.entry(id.as_str()).or_insert((source, Vec::new())).1.push(*file);
        }
    }
    groups
}

/// Takes one file out of a download, to its place below `ready`, and checks it.
fn take(path: &Path, name: &str, file: &FileSpec, ready: &Path, progress: &mut dyn Progress) -> Result<(), CardError> {
    let to = ready.join(&file.path);
    // A sound card has both for a file that comes out of a download.
    let (Some(sha256), Some(bytes)) = (file.sha256, file.bytes) else {
        return Ok(());
    };
    if let Some(member) = file.from.as_ref().and_then(|from| from.member.as_deref()) {
        return Archive::open(path, name)?.unpack(&Wanted { member, bytes, sha256 }, &to, progress);
    }
    let wrong = |difference| CardError::Member {
        archive: name.to_owned(),
        member: file.path.clone(),
        problem: MemberProblem::Differs(difference),
    };
    let io = |error| CardError::io("write", &to, bytes, error);
    let mut copy = create(&to, bytes)?;
    let found = std::io::copy(&mut File::open(path).map_err(io)?, &mut copy).map_err(io)?;
    copy.sync_all().map_err(io)?;
    if found != bytes {
        return Err(wrong(Difference::Size { expected: bytes, found }));
    }
    let found = sum(&to, name, bytes, progress)?;
    if found != sha256 {
        return Err(wrong(Difference::Sum {
            expected: sha256,
            found,
        }));
    }
    Ok(())
}

/// Makes `from` the folder `to`, which is replaced if it is there.
fn put_in_place(from: &Path, to: &Path, bytes: u64) -> Result<(), CardError> {
    match fs::remove_dir_all(to) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(CardError::io("replace", to, bytes, error));
        }
        _ => {}
    }
    fs::rename(from, to).map_err(|error| CardError::io("create", to, bytes, error))
}

/// The right to fetch into a folder, until it is dropped or the process ends; `None` on a file system without locks, where
/// the last of several fetches at once wins.
struct Lock(Option<File>);

impl Lock {
    /// Waits for it as long as another holds it.
    fn take(folder: &Path, what: &str, progress: &mut dyn Progress) -> Result<Lock, CardError> {
        let path = folder.with_added_extension("lock");
        let io = |error| CardError::io("lock", &path, 0, error);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).map_err(|error| CardError::io("create", parent, 0, error))?;
        }
        let file = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(io)?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock(Some(file))),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => return Ok(Lock(None)),
                Err(TryLockError::Error(error)) => return Err(io(error)),
            }
            progress.update(Phase::Waiting, what, 0, 0);
            if progress.cancelled() {
                return Err(CardError::Cancelled { what: what.to_owned() });
            }
            thread::sleep(TRY_EVERY);
        }
    }

    /// The end of the name of the folder to work in: with a lock one for all, so that remains are found and removed.
    fn work_extension(&self) -> String {
        match self.0 {
            Some(_) => "part".to_owned(),
            None => format!("part-{}", std::process::id()),
        }
    }
}

/// An empty folder that goes with this value. What is found in its place is the remains of a process that was killed.
struct Work(PathBuf);

impl Work {
    fn new(path: PathBuf) -> Result<Work, CardError> {
        let io = |error| CardError::io("create", &path, 0, error);
        if path.exists() {
            fs::remove_dir_all(&path).map_err(io)?;
        }
        fs::create_dir_all(&path).map_err(io)?;
        Ok(Work(path))
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What is left is removed by the next fetch, and never used.
        let _ = fs::remove_dir_all(&self.0);
    }
}
