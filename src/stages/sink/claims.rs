//! Which stream writes which file: kept by a sink's blueprint, so that it outlives the stage.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;

use super::path::numbered;
use crate::media::StreamInfo;

/// What a sink has begun to write, by path. Clones share it.
///
/// A stream is known by its name's place in memory, which is the same for as long as the stream lives, however often it
/// opens. So another stream, or a stream of another run, never takes it for its own.
pub(super) struct Claims<T>(Arc<Mutex<FxHashMap<PathBuf, Claim<T>>>>);

struct Claim<T> {
    owner: Arc<str>,
    value: Arc<Mutex<T>>,
}

impl<T> Claims<T> {
    /// What `path` was claimed with first, by whichever stream; `make` when nobody has.
    pub(super) fn shared<E>(
        &self,
        path: &Path,
        stream: &StreamInfo,
        make: impl FnOnce(&Path) -> Result<T, E>,
    ) -> Result<Arc<Mutex<T>>, E> {
        let mut claims = self.lock();
        match claims.get(path) {
            Some(claim) => Ok(claim.value.clone()),
            None => insert(&mut claims, path.to_owned(), stream, make),
        }
    }

    /// What this stream has claimed under `path`, or under a number of it; `make` on the first free number when it has
    /// claimed nothing.
    pub(super) fn own<E>(
        &self,
        path: &Path,
        stream: &StreamInfo,
        make: impl FnOnce(&Path) -> Result<T, E>,
    ) -> Result<Arc<Mutex<T>>, E> {
        self.find(path, stream, true, make)
    }

    /// `make` on the first number of `path` that no stream has claimed.
    pub(super) fn fresh<E>(
        &self,
        path: &Path,
        stream: &StreamInfo,
        make: impl FnOnce(&Path) -> Result<T, E>,
    ) -> Result<Arc<Mutex<T>>, E> {
        self.find(path, stream, false, make)
    }

    fn find<E>(
        &self,
        path: &Path,
        stream: &StreamInfo,
        resume: bool,
        make: impl FnOnce(&Path) -> Result<T, E>,
    ) -> Result<Arc<Mutex<T>>, E> {
        let mut claims = self.lock();
        let mut number = 1;
        loop {
            let candidate = numbered(path, number);
            match claims.get(&candidate) {
                None => return insert(&mut claims, candidate, stream, make),
                Some(claim) if resume && Arc::ptr_eq(&claim.owner, &stream.name) => return Ok(claim.value.clone()),
                Some(_) => number += 1,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, FxHashMap<PathBuf, Claim<T>>> {
        // A claim is whole before it is inserted.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn insert<T, E>(
    claims: &mut FxHashMap<PathBuf, Claim<T>>,
    path: PathBuf,
    stream: &StreamInfo,
    make: impl FnOnce(&Path) -> Result<T, E>,
) -> Result<Arc<Mutex<T>>, E> {
    let value = Arc::new(Mutex::new(make(&path)?));
    claims.insert(path, Claim { owner: stream.name.clone(), value: value.clone() });
    Ok(value)
}

impl<T> Clone for Claims<T> {
    fn clone(&self) -> Self {
        Claims(self.0.clone())
    }
}

impl<T> Default for Claims<T> {
    fn default() -> Self {
        Claims(Arc::default())
    }
}

impl<T> fmt::Debug for Claims<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.lock().keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stages::sink::kit::stream;

    /// The path under which a claim was made.
    fn path(claimed: Result<Arc<Mutex<PathBuf>>, ()>) -> String {
        claimed.unwrap().lock().unwrap().display().to_string()
    }

    #[test]
    fn a_stream_finds_its_own_again_and_nobody_elses() {
        let claims = Claims::default();
        let make = |path: &Path| Ok(path.to_owned());
        let (a, b, c) = (stream(0, "a"), stream(1, "a"), stream(0, "a"));
        let file = Path::new("a.srt");
        assert_eq!(path(claims.own(file, &a, make)), "a.srt");
        assert_eq!(path(claims.own(file, &b, make)), "a-2.srt");
        assert_eq!(path(claims.own(file, &a.clone(), make)), "a.srt");
        assert_eq!(path(claims.clone().own(file, &b, make)), "a-2.srt");
        assert_eq!(path(claims.fresh(file, &a, make)), "a-3.srt");
        assert_eq!(path(claims.own(file, &c, make)), "a-4.srt");
        assert_eq!(path(claims.shared(file, &c, make)), "a.srt");
    }

    #[test]
    fn what_could_not_be_made_is_not_claimed() {
        let claims: Claims<()> = Claims::default();
        let a = stream(0, "a");
        assert!(claims.own(Path::new("x"), &a, |_| Err(())).is_err());
        assert_eq!(format!("{claims:?}"), "{}");
        assert!(claims.own(Path::new("x"), &a, |_| Ok::<_, ()>(())).is_ok());
        assert_eq!(format!("{claims:?}"), "{\"x\"}");
    }
}
