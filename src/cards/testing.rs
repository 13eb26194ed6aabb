//! What the tests of this module share: a small model that is fetched from a wheel made on the spot.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::archive::tests::zip_of;
use super::*;

pub(super) const WEIGHTS: &[u8] = b"the weights of a small model";
pub(super) const WORDS: &[u8] = b"yes\nno\n";

/// A folder with a card, a wheel that it downloads from, and a cache.
pub(super) struct Place {
    pub(super) folder: TempDir,
    pub(super) cache: Cache,
}

impl Place {
    pub(super) fn new() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache"));
        fs::create_dir(folder.path().join("small")).unwrap();
        let place = Place { folder, cache };
        place.write_wheel(&zip_of(&[("pkg/weights.onnx", WEIGHTS), ("pkg/words.txt", WORDS)]));
        place.write_card(&place.card_text());
        place
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn write_wheel(&self, bytes: &[u8]) {
        fs::write(self.path("small/small.whl"), bytes).unwrap();
    }

    pub(super) fn write_card(&self, text: &str) {
        fs::write(self.path("small/card.yaml"), text).unwrap();
    }

    /// The card for the wheel as it lies there now.
    pub(super) fn card_text(&self) -> String {
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

    pub(super) fn card(&self) -> Card {
        Card::open(&self.path("small")).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(super) fn fetch(&self) -> Result<Fetched, CardError> {
        fetch(&self.card(), &self.cache, &mut Silent)
    }

    pub(super) fn located(&self, role: &str) -> PathBuf {
        match self.card().locate(role, &self.cache).unwrap() {
            Located::Ready(path) => path,
            Located::NotFetched(what) => panic!("{what}"),
        }
    }

    /// Every file in the cache, but locks and stamps.
    pub(super) fn cached(&self) -> Vec<PathBuf> {
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
pub(super) struct Noted(pub(super) Vec<(Phase, u64, u64)>);

impl Progress for Noted {
    fn update(&mut self, phase: Phase, _: &str, done: u64, total: u64) {
        self.0.push((phase, done, total));
    }
}

/// A program that is this shell script.
#[cfg(unix)]
pub(super) fn program(place: &Place, script: &str) -> PathBuf {
    let (source, path) = (place.path("script"), place.path("program"));
    fs::write(&source, format!("#!/bin/sh\n{script}\n")).unwrap();
    // Written by another process: a file that this one has open for writing while a thread of it forks cannot be run.
    let copied = std::process::Command::new("install").arg("-m755").args([&source, &path]).status().unwrap();
    assert!(copied.success());
    path
}
