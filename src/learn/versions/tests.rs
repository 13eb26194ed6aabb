use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::onnx::Graph;

/// A model that is told by its name, and takes some bytes.
fn model(name: &str) -> Model {
    Model::new(Graph { name: name.into(), ..Graph::default() }, 17)
}

/// Files in memory; each step may be the last. A replacement is whole or not done, as [`crate::files`] proves of its own.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Files>>);

#[derive(Default)]
struct Files {
    files: BTreeMap<PathBuf, Vec<u8>>,
    steps: usize,
    /// The step that is not done any more, nor any after it.
    ends: Option<usize>,
    /// The step that fails, all others being done.
    fails: Option<usize>,
}

impl Memory {
    fn step<T>(&self, act: impl FnOnce(&mut Files) -> T) -> io::Result<T> {
        let mut files = self.0.lock().unwrap();
        let step = files.steps;
        files.steps += 1;
        if files.ends.is_some_and(|end| step >= end) || files.fails == Some(step) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(act(&mut files))
    }

    /// What the next process finds.
    fn again(&self) -> Memory {
        let files = self.0.lock().unwrap().files.clone();
        Memory(Arc::new(Mutex::new(Files { files, ..Files::default() })))
    }
}

impl Disk for Memory {
    fn names(&self, _: &Path) -> io::Result<Vec<String>> {
        let files = self.0.lock().unwrap();
        Ok(files.files.keys().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.lock().unwrap().files.get(path).cloned().ok_or(io::ErrorKind::NotFound.into())
    }

    fn replace(&self, path: &Path, content: &[u8]) -> Result<(), FileError> {
        let refused = |source| FileError::Refused { path: path.to_owned(), step: "write", source };
        self.step(|files| drop(files.files.insert(path.to_owned(), content.to_vec()))).map_err(refused)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(|files| drop(files.files.remove(path)))
    }
}

fn open(memory: &Memory, keep: usize) -> Versions {
    Versions::open_on(Box::new(memory.clone()), Path::new("live"), keep).unwrap()
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Save,
    Rollback,
    Reopen,
}

/// Does what is asked until something fails; gives the names that may serve then: before and after the last act.
fn work(memory: &Memory, acts: &[Act]) -> (Option<String>, Option<String>, bool) {
    let mut versions = open(memory, 3);
    let mut serving = None;
    for (at, act) in acts.iter().enumerate() {
        let name = |versions: &Versions, number| versions.load(number).unwrap().0.graph.name;
        let next = match act {
            Act::Save => Some(format!("model {at}")),
            Act::Rollback => {
                let mut other = open(&memory.again(), 3);
                match other.rollback() {
                    Ok(number) => Some(name(&other, number)),
                    Err(_) => serving.clone(),
                }
            }
            Act::Reopen => serving.clone(),
        };
        let done = match act {
            Act::Save => versions.save(&model(&format!("model {at}")), &[], None).is_ok(),
            Act::Rollback => match versions.rollback() {
                Ok(_) => true,
                Err(LearnError::NoVersion { .. }) => true,
                Err(_) => false,
            },
            Act::Reopen => {
                versions = open(memory, 3);
                true
            }
        };
        if !done {
            return (serving, next, false);
        }
        serving = next;
    }
    (serving.clone(), serving, true)
}

proptest! {
    #[test]
    fn whatever_ends_it_a_whole_version_serves(
        acts in prop::collection::vec(prop::sample::select(vec![Act::Save, Act::Save, Act::Rollback, Act::Reopen]), 1..10),
    ) {
        for end in 0..60 {
            let memory = Memory::default();
            memory.0.lock().unwrap().ends = Some(end);
            let (before, after, all) = work(&memory, &acts);
            let found = open(&memory.again(), 3);
            prop_assert_eq!(found.broken(), &[] as &[String]);
            let serving = found.current().map(|manifest| found.load(manifest.number).unwrap().0.graph.name);
            prop_assert!(serving == before || serving == after, "{:?}: {:?} of {:?} {:?}", end, serving, before, after);
            for manifest in found.list() {
                prop_assert!(found.load(manifest.number).is_ok());
            }
            if all {
                break;
            }
        }
    }
}

#[test]
fn a_failure_leaves_what_was_and_numbers_only_grow() {
    for fails in 0..12 {
        let memory = Memory::default();
        memory.0.lock().unwrap().fails = Some(fails);
        let mut versions = open(&memory, 2);
        let mut numbers = Vec::new();
        let mut last = None;
        for at in 0..6 {
            match versions.save(&model(&at.to_string()), &[], None) {
                Ok(number) => {
                    numbers.push(number);
                    last = Some(at.to_string());
                }
                Err(_) => assert_eq!(numbers.len() as u64 + 1, versions.highest),
            }
            let serving = versions.current().map(|manifest| versions.load(manifest.number).unwrap().0.graph.name);
            assert_eq!(serving, last, "step {fails} fails, save {at}");
        }
        assert!(numbers.is_sorted_by(|a, b| a < b) && numbers.len() >= 5, "{numbers:?}");
        let again = open(&memory.again(), 2);
        assert_eq!(again.current().map(|manifest| manifest.number), numbers.last().copied());
    }
}

#[test]
fn the_last_ones_stay_and_a_way_leads_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("live");
    let mut versions = Versions::open(&path, 3).unwrap();
    assert!(versions.current().is_none());
    assert!(versions.rollback().unwrap_err().to_string().contains("there is none"));
    let figures = Figures { samples: 40, serving: 0.5, other: 0.25, p_value: 1e-3, ..Figures::default() };
    for at in 1..=6 {
        let labels = [format!("class {at}")];
        assert_eq!(versions.save(&model(&format!("m{at}")), &labels, Some(&figures)).unwrap(), at);
    }
    let numbers = |versions: &Versions| versions.list().map(|manifest| manifest.number).collect::<Vec<_>>();
    assert_eq!(numbers(&versions), [4, 5, 6]);
    let mut versions = Versions::open(&path, 3).unwrap();
    let (found, manifest) = versions.load(6).unwrap();
    assert_eq!((found.graph.name.as_str(), manifest.parent), ("m6", Some(5)));
    assert_eq!((manifest.labels.as_slice(), &manifest.figures), (["class 6".to_owned()].as_slice(), &Some(figures)));
    assert_eq!(versions.rollback().unwrap(), 5);
    assert_eq!(versions.rollback().unwrap(), 4);
    assert!(versions.rollback().unwrap_err().to_string().contains("there is 4, 5, 6"));
    // What comes after is a child of what serves, and no number is used twice.
    assert_eq!(versions.save(&model("m7"), &[], None).unwrap(), 7);
    assert_eq!(versions.current().unwrap().parent, Some(4));
    assert_eq!(numbers(&versions), [4, 5, 6, 7], "the parent of what serves stays, beyond the last three");
    assert_eq!(versions.rollback().unwrap(), 4, "to its parent, not to the one taken back");
    assert!(versions.rollback_to(99).unwrap_err().to_string().contains("99"));
    versions.rollback_to(7).unwrap();
    assert_eq!(Versions::open(&path, 3).unwrap().current().unwrap().number, 7);
}

#[test]
fn what_is_damaged_is_named_and_another_one_serves() {
    for (file, content) in [("v000003.onnx", &b"half a mod"[..]), ("v000003.json", b"{"), ("v000003.json", b"{}")] {
        let folder = tempfile::tempdir().unwrap();
        let mut versions = Versions::open(folder.path(), 5).unwrap();
        for at in 1..=3 {
            versions.save(&model(&at.to_string()), &[], None).unwrap();
        }
        fs::write(folder.path().join(file), content).unwrap();
        fs::write(folder.path().join("v000009.onnx"), b"was never finished").unwrap();
        fs::write(folder.path().join("notes.txt"), b"a person's own").unwrap();
        let mut again = Versions::open(folder.path(), 5).unwrap();
        assert_eq!(again.current().map(|manifest| manifest.number), Some(2), "{file}");
        assert!(again.broken().len() == 1 && again.broken()[0].starts_with("version 3:"), "{:?}", again.broken());
        assert!(!folder.path().join("v000009.onnx").exists() && folder.path().join("notes.txt").exists());
        assert_eq!(again.save(&model("next"), &[], None).unwrap(), 10);
        assert!(again.load(3).is_err());
    }
    assert_eq!(
        (number_of("v000012.onnx"), number_of("v12.onnx"), number_of("v000012.onnx.bak")),
        (Some(12), None, None)
    );
}

const CHILD: &str = "PERCEPT_TEST_VERSIONS_CHILD";

/// A process that saves version after version is killed in the midst of it, over and over.
#[test]
#[cfg(unix)]
fn a_process_that_is_killed_leaves_whole_versions() {
    if let Some(folder) = std::env::var_os(CHILD) {
        let mut versions = Versions::open(Path::new(&folder), 3).unwrap();
        println!("ready");
        for at in 0.. {
            versions.save(&model(&"x".repeat(100_000 + at)), &[], None).unwrap();
            if at % 3 == 2 {
                versions.rollback().unwrap();
            }
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut last = 0;
    for round in 0..12u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "learn::versions::tests::a_process_that_is_killed_leaves_whole_versions", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(120 + 7 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let versions = Versions::open(folder.path(), 3).unwrap();
        assert_eq!(versions.broken(), &[] as &[String]);
        if let Some(manifest) = versions.current() {
            let (found, _) = versions.load(manifest.number).unwrap();
            assert!(found.graph.name.len() >= 100_000);
        }
        assert!(versions.highest >= last);
        last = versions.highest;
        assert!(versions.list().count() <= 5);
    }
    assert!(last > 0, "nothing was saved");
}
