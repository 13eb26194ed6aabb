//! Holds the architecture: which module may name which, where each external crate may appear, and what lies at the top
//! level of the repository. Code under `cfg(test)` is exempt from all of it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

#[path = "architecture/paths.rs"]
mod paths;

use paths::NamedPath;

/// The modules, floor by floor. A module names only modules of floors below its own. Two modules of one floor don't
/// name each other, but `stages` and its folders do: it holds their registries.
const FLOORS: &[&[&str]] = &[
    /* 0 */ &["units", "files"],
    /* 1 */ &["tensor", "config"],
    /* 2 */ &["media", "dsp", "onnx"],
    /* 3 */ &["codec", "engine", "stage"],
    /* 4 */ &["cards", "zoo", "learn"],
    /* 5 */ &["inference"],
    /* 6 */
    &[
        "stages",
        "stages::capture",
        "stages::preprocess",
        "stages::model",
        "stages::decoder",
        "stages::sink",
        "pipeline",
    ],
    /* 7 */ &["train"],
    /* 8 */ &["runtime"],
    /* 9 */ &["serve"],
    /* 10 */ &["cli"],
];

/// The only modules that may name some external crates, so that each can be replaced in one place.
const FENCES: &[(&[&str], &[&str])] = &[
    (&["ort", "ort_sys"], &["inference::ort"]),
    (&["ractor"], &["runtime"]),
    (&["prost"], &["onnx"]),
    (&["saphyr_parser", "saphyr", "serde_saphyr"], &["config"]),
    (&["cpal"], &["stages::capture"]),
    (&["symphonia", "symphonia_core"], &["codec"]),
    (&["clap", "clap_complete", "indicatif", "tracing_subscriber"], &["cli"]),
    (&["metrics_exporter_prometheus"], &["cli", "serve"]),
    (&["hyper", "hyper_util", "base64", "getrandom"], &["serve"]),
    (&["gemm", "pulp"], &["engine"]),
    (&["safetensors"], &["train"]),
    (&["tiny_skia", "skrifa"], &["dsp", "train"]),
];

/// The only module that asks the system for the time.
const CLOCK: &str = "units::clock";

/// What may lie at the top level, and why.
const TOP_LEVEL: &[(&str, &[&str])] = &[
    ("the package", &["Cargo.toml", "Cargo.lock", "src", "tests", "examples", "benches"]),
    ("what runs as it stands", &["pipelines", "models"]),
    ("what a reader opens", &["README.md", "CHANGELOG.md", "LICENSE-APACHE", "LICENSE-MIT"]),
    ("one command for everything", &["Makefile", ".ci"]),
    (
        "where tools look for their settings",
        &["clippy.toml", "deny.toml", "rustfmt.toml", ".gitattributes", ".gitignore"],
    ),
];

/// A file below `src/`: its path with forward slashes, and its text.
type SourceFile = (String, String);

/// Every breach of the floors, the fences and the clock in `files`, one line each; empty when all is well.
fn breaches(files: &[SourceFile]) -> Vec<String> {
    let mut breaches = Vec::new();
    let mut read = Vec::new();
    for (file, source) in files {
        match paths::read(source, &module_path(file)) {
            Ok(paths) => read.push((file.as_str(), module_path(file), paths)),
            Err(error) => breaches.push(format!("src/{file}:{error}")),
        }
    }
    let tests: Vec<_> = read.iter().flat_map(|(_, _, paths)| paths.test_modules.clone()).collect();
    for (file, module, paths) in &read {
        if tests.iter().any(|test| module.starts_with(test)) {
            continue;
        }
        // The front door (lib.rs, main.rs) may name every floor.
        if let Some(top) = module.first() {
            match home(module) {
                Some(home) => breaches.extend(paths.named.iter().filter_map(|path| floor_breach(file, home, path))),
                None => breaches.push(format!("src/{file}: module `{top}` has no floor in tests/architecture.rs")),
            }
        }
        breaches.extend(paths.named.iter().filter_map(|path| fence_breach(file, module, path)));
        breaches.extend(paths.named.iter().filter_map(|path| clock_breach(file, module, path)));
    }
    breaches.dedup();
    breaches
}

/// `dsp/mel.rs` → `[dsp, mel]`, `dsp/mod.rs` → `[dsp]`, `lib.rs` and `main.rs` → `[]`.
fn module_path(file: &str) -> Vec<String> {
    let mut segments: Vec<String> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    let front_door = segments.len() == 1 && matches!(file, "lib.rs" | "main.rs");
    if front_door || segments.last().is_some_and(|last| last == "mod") {
        segments.pop();
    }
    segments
}

/// The module of the table in which `module` (segments below the crate's root) lies, and its floor.
fn home(module: &[String]) -> Option<(&'static str, usize)> {
    let places = FLOORS.iter().enumerate().flat_map(|(floor, names)| names.iter().map(move |name| (*name, floor)));
    places.filter(|(name, _)| is_within(module, name)).max_by_key(|(name, _)| name.len())
}

/// Whether `module` is the module `name` (`a::b`) or lies below it.
fn is_within(module: &[String], name: &str) -> bool {
    let mut segments = module.iter();
    name.split("::").all(|part| segments.next().is_some_and(|segment| segment == part))
}

fn floor_breach(file: &str, (from, floor): (&str, usize), path: &NamedPath) -> Option<String> {
    if path.segments.first()? != "crate" {
        return None;
    }
    let place = format!("src/{file}:{} (floor {floor})", path.line);
    let Some((to, below)) = home(&path.segments[1..]) else {
        let named = path.segments.join("::");
        return Some(format!("{place} uses {named}, which is no module of a floor: name the module that defines it"));
    };
    let family = |parent: &str, child: &str| child.strip_prefix(parent).is_some_and(|rest| rest.starts_with("::"));
    if below < floor || from == to || family(from, to) || family(to, from) {
        return None;
    }
    let rule =
        if below > floor { "a module uses only floors below" } else { "modules on one floor don't use each other" };
    Some(format!("{place} uses crate::{to} (floor {below}): {rule}"))
}

fn fence_breach(file: &str, module: &[String], path: &NamedPath) -> Option<String> {
    let name = path.segments.first()?.as_str();
    let (_, homes) = FENCES.iter().find(|(crates, _)| crates.contains(&name))?;
    let allowed = homes.iter().any(|home| is_within(module, home));
    (!allowed).then(|| format!("src/{file}:{} uses the crate {name}, kept inside {}", path.line, homes.join(", ")))
}

fn clock_breach(file: &str, module: &[String], path: &NamedPath) -> Option<String> {
    const TYPES: [&str; 2] = ["Instant", "SystemTime"];
    let reads = match path.segments.as_slice() {
        [.., named, last] if last == "now" => TYPES.contains(&named.as_str()),
        [.., last] => path.renamed && TYPES.contains(&last.as_str()),
        [] => false,
    };
    let named = path.segments[path.segments.len().saturating_sub(2)..].join("::");
    (reads && !is_within(module, CLOCK))
        .then(|| format!("src/{file}:{} uses {named}: time comes from the clock that a stage is given", path.line))
}

/// The files below `folder`, with paths relative to `root`.
fn source_files(root: &Path, folder: &Path) -> Vec<SourceFile> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is readable") {
        let path = entry.expect("the entry is readable").path();
        if path.is_dir() {
            files.extend(source_files(root, &path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root).expect("the folder lies below the root");
            let name =
                relative.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/");
            files.push((name, std::fs::read_to_string(&path).expect("sources are UTF-8")));
        }
    }
    files.sort();
    files
}

#[test]
fn every_module_stays_on_its_floor_and_inside_its_fence() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = source_files(&root, &root);
    assert!(files.iter().any(|(name, _)| name == "lib.rs"), "found no sources in {}", root.display());
    let breaches = breaches(&files);
    assert!(breaches.is_empty(), "{} breaches of the architecture:\n{}", breaches.len(), breaches.join("\n"));
}

#[test]
fn only_what_is_listed_lies_at_the_top_level() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !root.join(".git").exists() {
        return; // A published package has no listing of the repository.
    }
    // A hook's environment points at another index; a checkout may belong to another user.
    let listing = Command::new("git")
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .current_dir(root)
        .env_remove("GIT_DIR")
        .env_remove("GIT_INDEX_FILE")
        .env_remove("GIT_WORK_TREE")
        .output()
        .expect("git runs in a checkout");
    assert!(listing.status.success(), "git ls-files: {}", String::from_utf8_lossy(&listing.stderr));
    let listing = String::from_utf8(listing.stdout).expect("file names are UTF-8");
    let found: BTreeSet<&str> = listing.split('\0').filter_map(|path| path.split('/').next()).collect();
    let found: BTreeSet<&str> = found.into_iter().filter(|name| !name.is_empty()).collect();
    assert!(found.contains("Cargo.toml"), "git ls-files lists no Cargo.toml: {found:?}");
    let allowed: BTreeSet<&str> = TOP_LEVEL.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let strangers: Vec<_> = found.difference(&allowed).collect();
    assert!(strangers.is_empty(), "not in the list of the top level in tests/architecture.rs: {strangers:?}");
}

#[test]
fn each_module_stands_on_one_floor() {
    let mut seen = BTreeSet::new();
    for name in FLOORS.iter().copied().flatten() {
        assert!(seen.insert(name), "{name} stands on two floors");
    }
}

#[test]
fn each_fence_surrounds_a_dependency_and_a_module() {
    let manifest = include_str!("../Cargo.toml");
    for (crates, homes) in FENCES {
        let depended = |name: &&str| {
            let name = name.replace('_', "-");
            let (line, table) = (format!("{name} ="), format!("[dependencies.{name}]"));
            manifest.lines().any(|text| text.starts_with(&line) || text == table)
        };
        assert!(crates.iter().any(depended), "Cargo.toml depends on none of {crates:?}");
        for module in *homes {
            let module: Vec<_> = module.split("::").map(str::to_owned).collect();
            assert!(home(&module).is_some(), "{module:?} has no floor");
        }
    }
}

/// Checks `files` together and compares each breach with the beginning expected of it, in order.
#[track_caller]
fn expect(files: &[(&str, &str)], expected: &[&str]) {
    let files: Vec<SourceFile> = files.iter().map(|(name, source)| ((*name).into(), (*source).into())).collect();
    let found = breaches(&files);
    let agrees = found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| a.starts_with(b));
    assert!(agrees, "in {files:#?}\nfound    {found:#?}\nexpected {expected:#?}");
}

#[test]
fn the_checker_finds_every_way_up() {
    let up = "src/dsp/x.rs:1 (floor 2) uses crate::runtime (floor 8): a module uses only floors below";
    for source in [
        "use crate::runtime::Link;",
        "use crate::{units::Rate, runtime::{self, Link}};",
        "pub use crate::runtime as r;",
        "use crate::runtime::*;",
        "use super::super::runtime::Link;",
        "use super::super::super::super::x::y; use percept::runtime::Link;",
        "use ::percept::runtime::Link;",
        "fn f() { crate::runtime::go() }",
        "fn f() { use crate::runtime::go; go() }",
        "fn f(link: &crate::runtime::Link) {}",
        "fn f() -> Vec<Option<crate::runtime::Link>> { vec![] }",
        "impl crate::runtime::Actor for X {}",
        "fn f() { let _ = <X as crate::runtime::Actor>::go(); }",
        "fn f() { if let crate::runtime::State::Gone = x {} }",
        "fn f() { println!(\"{}\", crate::runtime::name()) }",
        "fn f() { outer!(a, [b, { inner!(x: crate::runtime::name()) }]) }",
        "fn f() { crate::runtime::count!() }",
        "macro_rules! m { () => { $crate::runtime::go() } }",
        "macro_rules! m { () => { use $crate::{units::Rate, runtime::Link}; } }",
        "struct X { #[serde(default = \"crate::runtime::bound\")] x: u8 }",
        "#[derive(crate::runtime::Actor)] struct X;",
        "mod inner { use super::super::super::runtime::Link; }",
        "#[cfg(any(test, feature = \"cli\"))] use crate::runtime::Link;",
        "#[cfg(not(test))] use crate::runtime::Link;",
    ] {
        expect(&[("dsp/x.rs", source)], &[up]);
    }
}

#[test]
fn the_checker_knows_the_floors() {
    let beside = "modules on one floor don't use each other";
    for (file, source, expected) in [
        ("runtime/mod.rs", "use crate::stages::capture; use crate::units::Rate;", None),
        ("dsp/mod.rs", "use self::mel::Mel; use super::units::Rate; mod mel;", None),
        ("dsp/mel.rs", "use super::window::Hann; use crate::dsp::window::Hamming;", None),
        ("dsp/mel.rs", "pub(in crate::dsp) fn f() {} pub(crate) fn g() {}", None),
        ("dsp/mel.rs", "/// See [`crate::runtime::Link`].\nfn f() {}", None),
        ("lib.rs", "pub mod runtime; pub use crate::runtime::Link; pub use cli::run;", None),
        ("main.rs", "fn main() { percept::cli::main() }", None),
        ("stages/mod.rs", "pub mod sink; pub use sink::KINDS; use crate::stages::capture::KINDS as C;", None),
        ("stages/sink/jsonl.rs", "use crate::stages::Kind; use super::console::Style;", None),
        (
            "dsp/mel.rs",
            "use crate::media::Packet;",
            Some(format!("src/dsp/mel.rs:1 (floor 2) uses crate::media (floor 2): {beside}")),
        ),
        (
            "stages/sink/wav.rs",
            "\nuse super::super::capture::file;",
            Some(format!("src/stages/sink/wav.rs:2 (floor 6) uses crate::stages::capture (floor 6): {beside}")),
        ),
        (
            "pipeline/check.rs",
            "use crate::stages::Registry;",
            Some(format!("src/pipeline/check.rs:1 (floor 6) uses crate::stages (floor 6): {beside}")),
        ),
        (
            "stage/mod.rs",
            "use crate::Pipeline;",
            Some("src/stage/mod.rs:1 (floor 3) uses crate::Pipeline, which is no module of a floor".to_owned()),
        ),
        ("stage/mod.rs", "use crate as root;", Some("src/stage/mod.rs:1 (floor 3) uses crate, which".to_owned())),
        ("utils/mod.rs", "", Some("src/utils/mod.rs: module `utils` has no floor".to_owned())),
        ("dsp/mel.rs", "fn f( {}", Some("src/dsp/mel.rs:1: ".to_owned())),
    ] {
        expect(&[(file, source)], expected.as_deref().as_slice());
    }
}

#[test]
fn the_checker_leaves_tests_alone() {
    for source in [
        "#[cfg(test)] mod tests { use crate::runtime::Link; use ort::Session; }",
        "#[cfg(all(test, feature = \"cli\"))] use crate::runtime::Link;",
        "#[test] fn f() { crate::runtime::go() }",
        "#[tokio::test] async fn f() { std::time::Instant::now(); }",
        "struct X; impl X { #[cfg(test)] fn f() { crate::runtime::go() } }",
        "#![cfg(test)] use crate::runtime::Link;",
    ] {
        expect(&[("dsp/x.rs", source)], &[]);
    }
    let declared = ("dsp/mod.rs", "#[cfg(test)] mod tests; mod testing;");
    let below = "use crate::runtime::Link;";
    expect(&[declared, ("dsp/tests.rs", below), ("dsp/tests/more.rs", below)], &[]);
    expect(&[declared, ("dsp/testing.rs", below)], &["src/dsp/testing.rs:1 (floor 2) uses crate::runtime"]);
}

#[test]
fn the_checker_holds_the_fences_and_the_clock() {
    for (file, source, expected) in [
        ("inference/ort/session.rs", "use ort::session::Session;", None),
        ("inference/mod.rs", "mod ort; pub use ort::load; fn f() { ort::load() }", None),
        ("inference/session.rs", "use super::ort; fn f() { ort::load() }", None),
        ("inference/session.rs", "fn f(ort: u8) { let x = ort + 1; }", None),
        (
            "inference/session.rs",
            "use ort::Session;",
            Some("src/inference/session.rs:1 uses the crate ort, kept inside"),
        ),
        (
            "inference/session.rs",
            "mod ort {} fn f() { ::ort::init() }",
            Some("src/inference/session.rs:1 uses the crate ort"),
        ),
        ("media/mod.rs", "use {half::f16, ort};", Some("src/media/mod.rs:1 uses the crate ort")),
        ("media/mod.rs", "extern crate ractor as r;", Some("src/media/mod.rs:1 uses the crate ractor")),
        ("media/mod.rs", "#[derive(Clone, prost::Message)] struct X;", Some("src/media/mod.rs:1 uses the crate prost")),
        ("media/mod.rs", "fn f() { m!(x: ::ractor::cast()) }", Some("src/media/mod.rs:1 uses the crate ractor")),
        ("main.rs", "use clap::Parser;", Some("src/main.rs:1 uses the crate clap, kept inside cli")),
        ("serve/mod.rs", "use metrics_exporter_prometheus::PrometheusBuilder;", None),
        ("units/clock.rs", "use std::time::Instant; fn f() { Instant::now(); }", None),
        ("units/time.rs", "use std::time::{Duration, Instant, SystemTime};", None),
        (
            "units/time.rs",
            "use std::time::Instant; fn f() { Instant::now(); }",
            Some("src/units/time.rs:1 uses Instant::now"),
        ),
        ("cards/mod.rs", "fn f() { std::time::SystemTime::now(); }", Some("src/cards/mod.rs:1 uses SystemTime::now")),
        ("cards/mod.rs", "fn f() { x.get_or_insert_with(Instant::now) }", Some("src/cards/mod.rs:1 uses Instant::now")),
        ("runtime/mod.rs", "fn f() { tokio::time::Instant::now(); }", Some("src/runtime/mod.rs:1 uses Instant::now")),
        ("runtime/mod.rs", "use std::time::Instant as Moment;", Some("src/runtime/mod.rs:1 uses time::Instant")),
    ] {
        expect(&[(file, source)], expected.as_slice());
    }
}
