//! Taking named members out of a zip archive (a wheel is one; PKWARE APPNOTE 6.3.10, PEP 427).
//!
//! An archive's own paths never become paths on disk: a member is asked for by name, and written where the card says. A member
//! can't be larger than the card says, so an archive cannot fill a disk.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use sha2::Digest;
use zip::ZipArchive;
use zip::result::ZipError;

use super::digest::Sha256;
use super::error::{CardError, Difference, MemberProblem};
use super::progress::{Phase, Progress};

/// An open archive.
pub(super) struct Archive {
    zip: ZipArchive<BufReader<File>>,
    name: String,
}

/// What a member must be.
pub(super) struct Wanted<'a> {
    /// Its name in the archive.
    pub member: &'a str,
    /// Its size in bytes.
    pub bytes: u64,
    /// Its sum.
    pub sha256: Sha256,
}

impl Archive {
    /// Opens the archive at `path`; `name` is what messages call it.
    pub(super) fn open(path: &Path, name: &str) -> Result<Archive, CardError> {
        let file = File::open(path).map_err(|error| CardError::io("open", path, 0, error))?;
        match ZipArchive::new(BufReader::new(file)) {
            Ok(zip) => Ok(Archive { zip, name: name.to_owned() }),
            Err(error) => Err(CardError::Archive { archive: name.to_owned(), reason: error.to_string() }),
        }
    }

    /// Writes a member to the new file `to`, whose folder is made if need be, and checks its size and sum on the way.
    pub(super) fn unpack(
        &mut self,
        wanted: &Wanted<'_>,
        to: &Path,
        progress: &mut dyn Progress,
    ) -> Result<(), CardError> {
        let Wanted { member, bytes, sha256 } = *wanted;
        let archive = &self.name;
        let problem = |problem| CardError::Member { archive: archive.clone(), member: member.to_owned(), problem };
        let unreadable = |reason: String| CardError::Archive { archive: archive.clone(), reason };
        let entry = match self.zip.by_name(member) {
            Ok(entry) => entry,
            Err(ZipError::FileNotFound) => return Err(problem(MemberProblem::Missing)),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        if !entry.is_file() || entry.is_symlink() {
            return Err(problem(MemberProblem::NotAFile));
        }
        let mut file = create(to, bytes)?;
        // One more than it may have, so that a longer one is noticed.
        let mut entry = entry.take(bytes.saturating_add(1));
        let mut hash = sha2::Sha256::new();
        let mut block = vec![0; 1 << 18];
        let mut size = 0u64;
        loop {
            let count = match entry.read(&mut block) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(unreadable(format!("{member}: {error}"))),
            };
            size = size.saturating_add(count as u64);
            hash.update(&block[..count]);
            file.write_all(&block[..count]).map_err(|error| CardError::io("write", to, bytes, error))?;
            progress.update(Phase::Unpacking, member, size.min(bytes), bytes);
            if progress.cancelled() {
                return Err(CardError::Cancelled { what: archive.clone() });
            }
        }
        if size != bytes {
            return Err(problem(MemberProblem::Differs(Difference::Size { expected: bytes, found: size })));
        }
        let found = Sha256::from_digest(hash);
        if found != sha256 {
            return Err(problem(MemberProblem::Differs(Difference::Sum { expected: sha256, found })));
        }
        file.sync_all().map_err(|error| CardError::io("write", to, bytes, error))
    }
}

/// A new file, its folder too.
pub(super) fn create(path: &Path, bytes: u64) -> Result<File, CardError> {
    let io = |error| CardError::io("create", path, bytes, error);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(io)?;
    }
    File::create_new(path).map_err(io)
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Cursor;

    use zip::write::SimpleFileOptions;

    use super::super::progress::Silent;
    use super::*;

    /// A zip archive of these members, deflated.
    pub(in super::super) fn zip_of(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in members {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn unpack(archive: &[u8], member: &str, expected: &[u8]) -> Result<Vec<u8>, CardError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.zip");
        fs::write(&path, archive).unwrap();
        let to = folder.path().join("deep/er/file");
        let wanted = Wanted { member, bytes: expected.len() as u64, sha256: Sha256::of(expected) };
        Archive::open(&path, "a.zip")?.unpack(&wanted, &to, &mut Silent)?;
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "only the archive and the folder asked for");
        Ok(fs::read(to).unwrap())
    }

    #[test]
    fn members_come_out_as_they_went_in() {
        let large: Vec<u8> = (0..700_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
        let archive = zip_of(&[("a/b.bin", &large), ("empty", b"")]);
        assert_eq!(unpack(&archive, "a/b.bin", &large).unwrap(), large);
        assert_eq!(unpack(&archive, "empty", b"").unwrap(), b"");
    }

    #[test]
    fn a_hostile_name_stays_a_name() {
        for name in ["../../evil", "/tmp/evil", "..\\evil", "C:\\evil"] {
            let archive = zip_of(&[(name, b"evil")]);
            // It is written where it was asked to be, nowhere else; the count in `unpack` sees to that.
            match unpack(&archive, name, b"evil") {
                Ok(bytes) => assert_eq!(bytes, b"evil"),
                Err(CardError::Member { .. } | CardError::Archive { .. }) => {}
                Err(other) => panic!("{name}: {other}"),
            }
        }
    }

    #[test]
    fn wrong_members_are_refused() {
        let mut links = zip::ZipWriter::new(Cursor::new(Vec::new()));
        links.add_symlink("link", "/etc/passwd", SimpleFileOptions::default()).unwrap();
        links.add_directory("folder", SimpleFileOptions::default()).unwrap();
        let links = links.finish().unwrap().into_inner();
        let good = zip_of(&[("a", b"12345")]);
        let bomb = zip_of(&[("a", &vec![0; 50 << 20])]);
        type Case<'a> = (&'a str, &'a [u8], &'a str, &'a [u8], &'a str);
        let cases: Vec<Case<'_>> = vec![
            ("missing", &good, "b", b"12345", "none of this name"),
            ("longer", &good, "a", b"1234", "expected 4 bytes, found 5"),
            ("shorter", &good, "a", b"123456", "expected 6 bytes, found 5"),
            ("other bytes", &good, "a", b"54321", "expected sha256"),
            ("link", &links, "link", b"/etc/passwd", "a folder or a link"),
            ("folder", &links, "folder/", b"", "a folder or a link"),
            ("bomb", &bomb, "a", b"12345", "expected 5 bytes, found 6"),
            ("cut in half", &good[..good.len() / 2], "a", b"12345", "not a readable zip"),
            ("empty file", b"", "a", b"", "not a readable zip"),
            ("text", b"<html>not here</html>", "a", b"", "not a readable zip"),
        ];
        for (case, archive, member, expected, says) in cases {
            let error = unpack(archive, member, expected).unwrap_err().to_string();
            assert!(error.contains(says), "{case}: {error}");
        }
    }

    #[test]
    fn mutated_archives_never_panic() {
        let archive = zip_of(&[("a", b"some text, some text, some text"), ("b/c", b"more")]);
        let mut random = 1u32;
        for _ in 0..500 {
            let mut mutated = archive.clone();
            for _ in 0..3 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = random as usize % mutated.len();
                mutated[at] = (random >> 24) as u8;
            }
            if let Ok(bytes) = unpack(&mutated, "a", b"some text, some text, some text") {
                assert_eq!(bytes, b"some text, some text, some text");
            }
        }
    }
}
