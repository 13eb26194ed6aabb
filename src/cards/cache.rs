//! Where files of cards are: beside the card, or in the user's cache.
//!
//! ```text
//! CACHE/models/NAME/KEY/…      the files of a card; KEY stands for the paths and sums of exactly these files
//! CACHE/models/NAME/KEY.lock   held while they are fetched
//! CACHE/models/NAME/KEY.part/  a fetch in progress
//! CACHE/stamps/HASH            size, time and sum of a file when it was last read through
//! ```
//!
//! A folder `KEY` comes into being by one rename, complete. Sizes are looked at each time; sums only when a file is fetched, when
//! its size or time is not the stamped one, and by [`Cache::verify`].

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use etcetera::BaseStrategy;
use thiserror::Error;

use super::card::{Card, Place};
use super::digest::Sha256;
use super::download::sum;
use super::error::{CardError, Difference};
use super::platform::Platform;
use super::progress::{Progress, Silent};
use super::schema::FileSpec;
use crate::files;

/// The folder that fetched files live in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    root: PathBuf,
    platform: Platform,
}

/// Where a file of a card is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Located {
    /// Here, whole and right.
    Ready(PathBuf),
    /// Not on this machine yet.
    NotFetched(NotFetched),
}

/// A file that has to be fetched first.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{card}` is not on this machine yet ({} MB to fetch): type `percept setup`, or `{command}`", megabytes(*.bytes))]
#[non_exhaustive]
pub struct NotFetched {
    /// The card's name.
    pub card: String,
    /// Bytes that a fetch will download.
    pub bytes: u64,
    /// What to type for this card alone.
    pub command: String,
}

/// What [`Cache::verify`] found of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Its role in the card.
    pub role: String,
    /// Where it is, or would be.
    pub path: PathBuf,
    /// How it is.
    pub state: FileState,
}

/// How a file of a card is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileState {
    /// There, of the right size and sum.
    Good,
    /// Not there.
    Absent,
    /// Not the file that the card means.
    Wrong(Difference),
}

impl Cache {
    /// The user's cache: `$PERCEPT_CACHE`, else `percept` in the platform's cache folder (`~/.cache` on Linux,
    /// `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on Windows). Nothing is created yet.
    pub fn from_env() -> Result<Cache, CardError> {
        Cache::from(std::env::var_os("PERCEPT_CACHE"))
    }

    fn from(wish: Option<OsString>) -> Result<Cache, CardError> {
        let root = match wish.filter(|path| !path.is_empty()) {
            Some(path) => {
                let path = PathBuf::from(path);
                std::path::absolute(&path).map_err(|error| CardError::io("find", &path, 0, error))?
            }
            None => {
                let strategy = etcetera::base_strategy::choose_native_strategy().map_err(|_| CardError::NoCache)?;
                strategy.cache_dir().join("percept")
            }
        };
        Ok(Cache::at(root))
    }

    /// The cache in this folder.
    pub fn at(root: impl Into<PathBuf>) -> Cache {
        Cache { root: root.into(), platform: Platform::current() }
    }

    /// The same folder, seen from another platform: to fetch for a machine without a network.
    pub fn for_platform(self, platform: Platform) -> Cache {
        Cache { platform, ..self }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The platform that files are for.
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// The folder of a card's files.
    pub(super) fn folder(&self, card: &Card) -> Result<PathBuf, CardError> {
        Ok(self.root.join("models").join(card.name()).join(card.key(&self.platform)?))
    }

    /// Where a file of a card is, or would be.
    pub(super) fn path(&self, card: &Card, file: &FileSpec) -> Result<PathBuf, CardError> {
        match (card.place(), &file.from) {
            (Place::Folder(folder), None) => Ok(folder.join(&file.path)),
            _ => Ok(self.folder(card)?.join(&file.path)),
        }
    }

    /// See [`Card::locate`].
    fn locate(&self, card: &Card, role: &str) -> Result<Located, CardError> {
        let file = card.file(role, &self.platform)?;
        let path = self.path(card, file)?;
        let state = self.state(&path, file, Reading::Stamped, &mut Silent)?;
        let remedy = || match (card.place(), &file.from) {
            (Place::Folder(_), None) => "if the file is right, correct `bytes` and `sha256` in the card".to_owned(),
            _ => format!("type `{}` to fetch it anew", card.pull_command()),
        };
        if state != FileState::Good
            && let Some(content) = embedded(card, file)
        {
            // It is written anew, whatever has become of its copy.
            write_whole(&path, content)?;
            self.stamp(&path, file);
            return Ok(Located::Ready(path));
        }
        match (state, &file.from) {
            (FileState::Good, _) => Ok(Located::Ready(path)),
            (FileState::Wrong(what), _) => Err(CardError::Changed { path, what, remedy: remedy() }),
            (FileState::Absent, None) => Err(CardError::Absent { card: card.name().to_owned(), path }),
            (FileState::Absent, Some(_)) => Ok(Located::NotFetched(NotFetched {
                card: card.name().to_owned(),
                bytes: self.to_download(card)?,
                command: card.pull_command(),
            })),
        }
    }

    /// Bytes that a fetch of this card downloads, when nothing is there.
    pub fn to_download(&self, card: &Card) -> Result<u64, CardError> {
        let files = card.files(&self.platform)?;
        let downloads = &card.spec().source.downloads;
        let needed = downloads
            .iter()
            .filter(|(id, _)| files.values().any(|file| file.from.as_ref().is_some_and(|from| from.download == **id)));
        Ok(needed.map(|(_, download)| download.bytes).fold(0, u64::saturating_add))
    }

    /// Reads every file of a card through, and says how each is. A file that is part of the program is good also when no
    /// copy of it has been asked for yet.
    pub fn verify(&self, card: &Card, progress: &mut dyn Progress) -> Result<Vec<Verified>, CardError> {
        let files = card.files(&self.platform)?.into_iter();
        let states = files.map(|(role, file)| {
            let path = self.path(card, file)?;
            let state = match self.state(&path, file, Reading::Whole, progress)? {
                FileState::Absent if embedded(card, file).is_some() => FileState::Good,
                state => state,
            };
            Ok(Verified { role: role.to_owned(), path, state })
        });
        states.collect()
    }

    /// How the file at `path` compares with its card.
    pub(super) fn state(
        &self,
        path: &Path,
        file: &FileSpec,
        reading: Reading,
        progress: &mut dyn Progress,
    ) -> Result<FileState, CardError> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(FileState::Absent);
            }
            Err(error) => return Err(CardError::io("look at", path, 0, error)),
        };
        let found = metadata.len();
        if let Some(expected) = file.bytes.filter(|expected| *expected != found) {
            return Ok(FileState::Wrong(Difference::Size { expected, found }));
        }
        let Some(expected) = file.sha256 else {
            return Ok(FileState::Good);
        };
        let stamp = self.stamp_path(path);
        let fresh = stamp_text(&metadata, expected);
        if reading == Reading::Stamped && fs::read_to_string(&stamp).is_ok_and(|text| Some(text) == fresh) {
            return Ok(FileState::Good);
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let found = sum(path, &name, found, progress)?;
        if found != expected {
            // Without its stamp the file is read again next time.
            let _ = fs::remove_file(&stamp);
            return Ok(FileState::Wrong(Difference::Sum { expected, found }));
        }
        self.stamp(path, file);
        Ok(FileState::Good)
    }

    /// Notes that the file at `path` has just been found right. Without the note it is read again next time, so a failure
    /// to write it is no error.
    pub(super) fn stamp(&self, path: &Path, file: &FileSpec) {
        let text = fs::metadata(path).ok().and_then(|metadata| stamp_text(&metadata, file.sha256?));
        if let Some(text) = text {
            let _ = write_whole(&self.stamp_path(path), text.as_bytes());
        }
    }

    fn stamp_path(&self, path: &Path) -> PathBuf {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        self.root.join("stamps").join(Sha256::of(path.as_os_str().as_encoded_bytes()).short())
    }
}

impl Card {
    /// Where the file of a role is on this machine. Its size is checked, and its sum if it may have changed since it was last.
    ///
    /// A file that is part of the program is written to the cache when it is first asked for.
    ///
    /// # Errors
    /// A file that is there but isn't the one the card means; a file beside the card that is not there; a role that the card
    /// hasn't on this platform. A file that only has to be fetched is no error, but [`Located::NotFetched`].
    pub fn locate(&self, role: &str, cache: &Cache) -> Result<Located, CardError> {
        cache.locate(self, role)
    }
}

/// The content of a file that is part of the program.
pub(super) fn embedded(card: &Card, file: &FileSpec) -> Option<&'static [u8]> {
    match (card.place(), &file.from) {
        (Place::BuiltIn(card), None) => {
            card.files.iter().find(|(path, _)| *path == file.path).map(|(_, content)| *content)
        }
        _ => None,
    }
}

/// How thoroughly a file is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Size and time, the content only if they are not the stamped ones.
    Stamped,
    /// The content.
    Whole,
}

/// What a stamp says; `None` where the system keeps no time of change.
fn stamp_text(metadata: &Metadata, sum: Sha256) -> Option<String> {
    let time = metadata.modified().ok()?;
    let time = match time.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_nanos().to_string(),
        Err(before) => format!("-{}", before.duration().as_nanos()),
    };
    Some(format!("{} {time} {sum}\n", metadata.len()))
}

/// Writes a file that is either there as a whole or not at all, its folder too.
pub(super) fn write_whole(path: &Path, content: &[u8]) -> Result<(), CardError> {
    let size = content.len() as u64;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(|error| CardError::io("create", path, size, error))?;
    }
    files::replace(path, content).map_err(|error| CardError::io("write", path, size, error.into_io()))
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::super::fetch::{Fetched, fetch};
    use super::super::testing::{Place, WEIGHTS};
    use super::*;

    #[test]
    fn the_folder_by_environment() {
        let root = |wish: Option<&str>| Cache::from(wish.map(Into::into)).unwrap().root().to_owned();
        let here = std::env::current_dir().unwrap();
        assert_eq!(root(Some("some/where")), here.join("some/where"));
        assert_eq!(root(here.to_str()), here);
        assert_eq!(root(None), root(Some("")));
        assert!(root(None).is_absolute() && root(None).ends_with("percept"));
    }

    #[test]
    fn a_changed_file_is_noticed_and_fetched_anew() {
        let place = Place::new();
        place.fetch().unwrap();
        let path = place.located("model");
        let mut changed = WEIGHTS.to_vec();
        changed[3] ^= 1;
        for (content, says) in [(changed.as_slice(), "expected sha256"), (b"short", "expected 28 bytes, found 5")] {
            fs::write(&path, content).unwrap();
            // A time of its own, also where the clock of the file system is coarse.
            let file = fs::File::options().write(true).open(&path).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1)).unwrap();
            let error = place.card().locate("model", &place.cache).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("percept models pull"), "{error}");
            let states = place.cache.verify(&place.card(), &mut Silent).unwrap();
            assert!(matches!(&states[0].state, FileState::Wrong(_)), "{states:?}");
            assert!(matches!(place.fetch().unwrap(), Fetched::Downloaded { .. }));
            assert_eq!(fs::read(place.located("model")).unwrap(), WEIGHTS);
        }
        let states = place.cache.verify(&place.card(), &mut Silent).unwrap();
        assert!(states.iter().all(|file| file.state == FileState::Good) && states.len() == 2, "{states:?}");
    }

    #[test]
    fn verify_sees_what_a_stamp_hides() {
        let place = Place::new();
        place.fetch().unwrap();
        let path = place.located("model");
        let time = fs::metadata(&path).unwrap().modified().unwrap();
        let mut changed = WEIGHTS.to_vec();
        changed[3] ^= 1;
        fs::write(&path, changed).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        // Size and time are the old ones: a start does not read the file …
        assert_eq!(place.located("model"), path);
        // … but verifying does, and the next start then knows.
        let states = place.cache.verify(&place.card(), &mut Silent).unwrap();
        assert!(matches!(states[0].state, FileState::Wrong(Difference::Sum { .. })), "{states:?}");
        assert!(place.card().locate("model", &place.cache).is_err());
    }

    #[test]
    fn files_in_the_program_need_no_fetch() {
        let place = Place::new();
        let card = Card::built_in("silero-vad").unwrap().unwrap();
        assert_eq!(fetch(&card, &place.cache, &mut Silent).unwrap(), Fetched::AlreadyThere);
        let states = place.cache.verify(&card, &mut Silent).unwrap();
        assert!(states.iter().all(|file| file.state == FileState::Good), "{states:?}");
        let Located::Ready(path) = card.locate("model", &place.cache).unwrap() else { panic!("not ready") };
        let (sum, _) = Sha256::of_file(&path, &mut |_| true).unwrap();
        assert_eq!(Some(sum), card.spec().files["model"].sha256);
        // A copy that was spoiled is written anew.
        fs::write(&path, "spoiled").unwrap();
        let Located::Ready(again) = card.locate("model", &place.cache).unwrap() else { panic!("not ready") };
        assert_eq!(fs::metadata(again).unwrap().len(), 1_289_603);
    }
}
