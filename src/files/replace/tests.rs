use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::*;

/// A disk in memory. What was not synced may be lost by a power cut.
#[derive(Clone, Default)]
struct Simulated {
    state: RefCell<State>,
    /// The step (counted from 0) that fails, and how.
    fails: Option<(usize, io::ErrorKind)>,
    /// The step from which there is no power any more.
    cut: Option<usize>,
    /// Steps that do nothing, as a careless writer would have it.
    without: &'static [&'static str],
}

#[derive(Clone, Default)]
struct State {
    steps: Vec<&'static str>,
    files: Vec<Content>,
    /// The names, as a running system sees them.
    names: BTreeMap<PathBuf, usize>,
    /// The names on the disk, and what was done to them since.
    durable: BTreeMap<PathBuf, usize>,
    pending: Vec<Change>,
}

#[derive(Clone, Default)]
struct Content {
    seen: Vec<u8>,
    synced: bool,
}

#[derive(Clone)]
enum Change {
    Add(PathBuf, usize),
    Rename(PathBuf, PathBuf, usize),
    Remove(PathBuf),
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, change: &Change) {
    match change {
        Change::Add(path, file) => drop(names.insert(path.clone(), *file)),
        Change::Rename(from, to, file) => {
            names.remove(from);
            names.insert(to.clone(), *file);
        }
        Change::Remove(path) => drop(names.remove(path)),
    }
}

const PATH: &str = "folder/file";
const OLD: &[u8] = b"the old content";
const NEW: &[u8] = b"what is new";

impl Simulated {
    /// With the old file, safe on the disk.
    fn new() -> Self {
        let disk = Simulated::default();
        {
            let mut state = disk.state.borrow_mut();
            state.files.push(Content { seen: OLD.to_vec(), synced: true });
            state.names.insert(PATH.into(), 0);
            state.durable.insert(PATH.into(), 0);
        }
        disk
    }

    /// Takes a step, unless it fails; then says whether it does anything.
    fn step(&self, name: &'static str) -> io::Result<bool> {
        let mut state = self.state.borrow_mut();
        let at = state.steps.len();
        state.steps.push(name);
        if self.cut.is_some_and(|cut| at >= cut) {
            return Err(io::Error::other("no power"));
        }
        match self.fails {
            Some((step, kind)) if step == at => Err(kind.into()),
            _ => Ok(!self.without.contains(&name)),
        }
    }

    fn change(&self, change: Change) {
        let mut state = self.state.borrow_mut();
        apply(&mut state.names, &change);
        state.pending.push(change);
    }

    /// The file, as a running system sees it.
    fn seen(&self) -> Option<Vec<u8>> {
        let state = self.state.borrow();
        Some(state.files[*state.names.get(&PathBuf::from(PATH))?].seen.clone())
    }

    /// Every state in which the file may be after the power is back: each subset of the changes of names that were not
    /// synced may be on the disk, and of content that was not synced nothing, a part, zeros, or all.
    fn after_power_cut(&self) -> Vec<Option<Vec<u8>>> {
        let state = self.state.borrow();
        let mut outcomes = Vec::new();
        for subset in 0..1usize << state.pending.len() {
            let mut names = state.durable.clone();
            let kept = state.pending.iter().enumerate().filter(|(at, _)| subset >> at & 1 == 1);
            kept.for_each(|(_, change)| apply(&mut names, change));
            let Some(file) = names.get(&PathBuf::from(PATH)) else {
                outcomes.push(None);
                continue;
            };
            let content = &state.files[*file];
            outcomes.push(Some(content.seen.clone()));
            if !content.synced {
                let len = content.seen.len();
                outcomes.extend([vec![], content.seen[..len / 2].to_vec(), vec![0; len]].map(Some));
            }
        }
        outcomes
    }
}

impl Disk for Simulated {
    type File = usize;

    fn names(&self, _: &Path) -> io::Result<Vec<OsString>> {
        self.step("names")?;
        Ok(self.state.borrow().names.keys().filter_map(|path| Some(path.file_name()?.to_owned())).collect())
    }

    fn create(&self, path: &Path) -> io::Result<usize> {
        self.step("create")?;
        let file = self.state.borrow().files.len();
        self.state.borrow_mut().files.push(Content::default());
        self.change(Change::Add(path.to_owned(), file));
        Ok(file)
    }

    fn is_abandoned(&self, _: &Path) -> bool {
        true
    }

    fn write(&self, file: &mut usize, content: &[u8]) -> io::Result<()> {
        let result = self.step("write");
        // Of what cannot be written, a part is.
        let written = if result.is_ok() { content } else { &content[..3] };
        self.state.borrow_mut().files[*file].seen.extend(written);
        result.map(|_| ())
    }

    fn adopt_permissions(&self, _: &usize, _: &Path) -> io::Result<()> {
        self.step("permissions").map(|_| ())
    }

    fn sync(&self, file: &usize) -> io::Result<()> {
        if self.step("sync")? {
            self.state.borrow_mut().files[*file].synced = true;
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step("rename")?;
        let file = self.state.borrow().names.get(from).copied().ok_or(io::ErrorKind::NotFound)?;
        self.change(Change::Rename(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        if self.step("sync_folder")? {
            let mut state = self.state.borrow_mut();
            state.durable = state.names.clone();
            state.pending.clear();
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step("remove")?;
        self.change(Change::Remove(path.to_owned()));
        Ok(())
    }
}

/// The steps of a replacement that meets no fault.
fn steps() -> Vec<&'static str> {
    let disk = Simulated::new();
    replace_on(&disk, Path::new(PATH), NEW).unwrap();
    assert_eq!(disk.seen().unwrap(), NEW);
    disk.state.into_inner().steps
}

/// What is broken when the power is cut before each step, and after the last.
fn broken_by_power_cuts(without: &'static [&'static str]) -> Vec<String> {
    let mut broken = Vec::new();
    for cut in 0..=steps().len() {
        let disk = Simulated { cut: Some(cut), without, ..Simulated::new() };
        let result = replace_on(&disk, Path::new(PATH), NEW);
        for found in disk.after_power_cut() {
            let whole = found.as_deref() == Some(NEW) || (result.is_err() && found.as_deref() == Some(OLD));
            if !whole {
                broken.push(format!("power cut before step {cut}, {result:?}: {found:?}"));
            }
        }
    }
    broken
}

#[test]
fn a_power_cut_at_any_step_leaves_the_old_file_or_the_new_one() {
    assert_eq!(steps(), ["names", "create", "write", "permissions", "sync", "rename", "sync_folder"]);
    assert_eq!(broken_by_power_cuts(&[]), Vec::<String>::new());
    // Each sync is needed: without one of them something is lost.
    for without in [&["sync"], &["sync_folder"]] {
        assert!(!broken_by_power_cuts(without).is_empty(), "{without:?}");
    }
}

#[test]
fn a_fault_at_any_step_leaves_the_old_file_and_nothing_beside_it() {
    // The first and the last step: the folder cannot be read, or not be synced.
    for (step, name) in steps().into_iter().enumerate() {
        for (kind, says) in [
            (io::ErrorKind::StorageFull, "make room"),
            (io::ErrorKind::QuotaExceeded, "make room"),
            (io::ErrorKind::FileTooLarge, "make room"),
            (io::ErrorKind::PermissionDenied, "untouched"),
        ] {
            let disk = Simulated { fails: Some((step, kind)), ..Simulated::new() };
            let result = replace_on(&disk, Path::new(PATH), NEW);
            let names = disk.state.borrow().names.len();
            assert_eq!(names, 1, "{name}: nothing is left beside it");
            match (name, result) {
                ("names", Ok(())) => assert_eq!(disk.seen().unwrap(), NEW),
                ("sync_folder", Err(error @ FileError::NotSynced { .. })) => {
                    assert_eq!(disk.seen().unwrap(), NEW);
                    assert!(error.to_string().contains("save again"), "{error}");
                }
                (_, Err(error)) => {
                    assert_eq!(disk.seen().unwrap(), OLD, "{name}");
                    let error = error.to_string();
                    assert!(error.contains("folder/file") && error.contains(says), "{name}: {error}");
                    assert!(error.contains("untouched"), "{name}: {error}");
                }
                (_, Ok(())) => panic!("{name} failed unnoticed"),
            }
        }
    }
}

#[test]
fn files_are_replaced_and_leftovers_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    replace(&path, b"one").unwrap();
    let leftover = folder.path().join(".file.77-0.part");
    fs::write(&leftover, b"on").unwrap();
    // What another writer holds, and what only looks alike, stays.
    let held = System.create(&folder.path().join(".file.78-0.part")).unwrap();
    for other in [".file.78.part", ".file.x-1.part", ".other.77-0.part", "file.77-0.part"] {
        fs::write(folder.path().join(other), b"").unwrap();
    }
    replace(&path, b"two").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"two");
    assert!(!leftover.exists());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 6);
    drop(held);
    replace(&path, b"three").unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5);
}

#[test]
fn bad_paths() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("taken")).unwrap();
    for (path, step) in [("taken", "put it in place"), ("gone/file", "create a file beside it")] {
        let error = replace(&folder.path().join(path), b"x").unwrap_err();
        assert!(matches!(&error, FileError::Refused { step: found, .. } if *found == step), "{path}: {error}");
    }
    assert!(matches!(replace(Path::new("/"), b"x"), Err(FileError::NoName { .. })));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[cfg(unix)]
#[test]
fn permissions_are_kept_and_links_replaced() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let (path, link) = (folder.path().join("file"), folder.path().join("link"));
    replace(&path, b"one").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    replace(&path, b"two").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    symlink(&path, &link).unwrap();
    replace(&link, b"three").unwrap();
    assert!(!link.is_symlink());
    assert_eq!((fs::read(&path).unwrap(), fs::read(&link).unwrap()), (b"two".to_vec(), b"three".to_vec()));
}

#[test]
fn writers_at_once_leave_one_whole_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    std::thread::scope(|scope| {
        for writer in 0..4u8 {
            let path = &path;
            scope.spawn(move || {
                for _ in 0..20 {
                    replace(path, &vec![writer; 10_000 + usize::from(writer)]).unwrap();
                }
            });
        }
    });
    let found = fs::read(&path).unwrap();
    assert_eq!(found, vec![found[0]; 10_000 + usize::from(found[0])]);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// The file that the child of the next test writes to.
const CHILD: &str = "PERCEPT_TEST_REPLACE";
const SIZE: usize = 1 << 20;

#[test]
fn a_writer_that_is_killed_leaves_a_whole_file() {
    if let Some(path) = std::env::var_os(CHILD) {
        for round in 0..=u8::MAX {
            replace(path.as_ref(), &vec![round; SIZE]).unwrap();
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    replace(&path, &vec![0; SIZE]).unwrap();
    for round in 0..12u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "files::replace::tests::a_writer_that_is_killed_leaves_a_whole_file"])
            .env(CHILD, &path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // From the start of the process into its writing.
        std::thread::sleep(Duration::from_millis(4 + round * 7 % 31));
        child.kill().unwrap();
        child.wait().unwrap();
        let found = fs::read(&path).unwrap();
        assert!(found.len() == SIZE && found.iter().all(|byte| *byte == found[0]), "round {round}");
    }
    replace(&path, b"last").unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "leftovers are removed");
}
