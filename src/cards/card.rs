//! A card, read and found sound.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::config::{self, Fault, Faults, Node, Source};

use super::builtin::{BUILT_IN, BuiltIn};
use super::check::{Problem, check};
use super::digest::Sha256;
use super::error::CardError;
use super::platform::Platform;
use super::port::Ports;
use super::schema::{CardSpec, FileSpec};

/// The name of a card's file in its folder.
pub const CARD_FILE: &str = "card.yaml";

/// Where the files beside a card are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Inside the program.
    BuiltIn(&'static BuiltIn),
    /// In this folder.
    Folder(PathBuf),
}

/// A model card, sound by itself: its parts fit together. Whether its files are there is the cache's matter
/// ([`Card::locate`]).
#[derive(Clone, Debug)]
pub struct Card {
    spec: CardSpec,
    config: Option<Node>,
    decoder: Option<Node>,
    source: Source,
    place: Place,
}

impl Card {
    /// The built-in card of this name, if there is one.
    pub fn built_in(name: &str) -> Option<Result<Card, CardError>> {
        let card = BUILT_IN.iter().find(|card| card.name == name)?;
        let source = Source::new(format!("{name}/{CARD_FILE}"), card.card);
        Some(Card::parse(source, Place::BuiltIn(card)))
    }

    /// The card in this folder.
    pub fn open(folder: &Path) -> Result<Card, CardError> {
        let path = folder.join(CARD_FILE);
        let bytes = fs::read(&path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => CardError::NoCard { folder: folder.to_owned() },
            _ => CardError::io("read", &path, 0, error),
        })?;
        let source = Source::from_bytes(path.display().to_string(), bytes).map_err(CardError::Refused)?;
        Card::parse(source, Place::Folder(folder.to_owned()))
    }

    fn parse(source: Source, place: Place) -> Result<Card, CardError> {
        let node = config::parse(&source).map_err(CardError::Refused)?;
        let spec: CardSpec = config::read(&node, &source).map_err(CardError::Refused)?;
        let mut faults = Faults::new();
        for problem in check(&spec) {
            faults.push(fault(&problem, &node, &source));
        }
        if !faults.is_empty() {
            return Err(CardError::Refused(faults));
        }
        let (config, decoder) = (node.get("config").cloned(), node.get("decoder").cloned());
        Ok(Card { spec, config, decoder, source, place })
    }

    /// Everything the card says.
    pub fn spec(&self) -> &CardSpec {
        &self.spec
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// The stage kind that runs it; `library` for one that is no model.
    pub fn kind(&self) -> &str {
        &self.spec.kind
    }

    /// The `config` mapping: defaults of the stage kind's own keys, with their places in [`Card::source`].
    pub fn config(&self) -> Option<&Node> {
        self.config.as_ref()
    }

    /// The `decoder` mapping: the keys of the stage that reads what the model says, with their places in [`Card::source`].
    pub fn decoder(&self) -> Option<&Node> {
        self.decoder.as_ref()
    }

    /// The card's text.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Whether the card is part of the program.
    pub fn is_built_in(&self) -> bool {
        matches!(self.place, Place::BuiltIn(_))
    }

    /// The card's folder; a built-in card has none.
    pub fn folder(&self) -> Option<&Path> {
        match &self.place {
            Place::BuiltIn(_) => None,
            Place::Folder(folder) => Some(folder),
        }
    }

    /// Inputs and outputs of the graph in the file of this role, if the card states them.
    pub fn ports(&self, role: &str) -> Option<&Ports> {
        self.spec.ports.get(role)
    }

    /// The files by role, as they are for a platform.
    pub fn files(&self, platform: &Platform) -> Result<BTreeMap<&str, &FileSpec>, CardError> {
        let mut files: BTreeMap<_, _> = self.spec.files.iter().map(|(role, file)| (role.as_str(), file)).collect();
        match self.spec.platform_files.get(platform.name()) {
            Some(more) => files.extend(more.iter().map(|(role, file)| (role.as_str(), file))),
            None if self.spec.platform_files.is_empty() => {}
            None => {
                let elsewhere = self.spec.source.elsewhere.clone();
                return Err(CardError::Platform {
                    card: self.name().to_owned(),
                    platform: platform.clone(),
                    served: self.spec.platform_files.keys().cloned().collect(),
                    elsewhere: elsewhere
                        .unwrap_or_else(|| "Get its files by hand, and name them in a card of your own.".to_owned()),
                });
            }
        }
        Ok(files)
    }

    /// The file of this role, as it is for a platform.
    pub fn file(&self, role: &str, platform: &Platform) -> Result<&FileSpec, CardError> {
        if let Some(file) = self.spec.files.get(role) {
            return Ok(file);
        }
        let files = self.files(platform)?;
        files.get(role).copied().ok_or_else(|| CardError::NoRole {
            card: self.name().to_owned(),
            role: role.to_owned(),
            known: files.keys().map(|&role| role.to_owned()).collect(),
        })
    }

    /// What to type to fetch it: its name, or the folder of a card that is not built in.
    pub(super) fn pull_command(&self) -> String {
        match &self.place {
            Place::BuiltIn(_) => format!("percept models pull {}", self.name()),
            Place::Folder(folder) => format!("percept models pull {}", folder.display()),
        }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// A name for this exact set of files: a changed card gets another.
    pub(super) fn key(&self, platform: &Platform) -> Result<String, CardError> {
        let lines = self.files(platform)?.into_values().map(|file| {
            let sum = file.sha256.map(|sum| sum.to_string()).unwrap_or_default();
            format!("{}\0{sum}\n", file.path)
        });
        Ok(Sha256::of(lines.collect::<String>().as_bytes()).short())
    }
}

/// The problem as a fault at its place: the innermost key that is there.
fn fault(problem: &Problem, root: &Node, source: &Source) -> Fault {
    let mut node = root;
    for key in &problem.at {
        match node.get(key) {
            Some(inner) => node = inner,
            None => break,
        }
    }
    Fault::error("card", problem.message.clone()).at_node(node, source).path(problem.at.join("."))
}

#[cfg(test)]
mod tests {
    use super::super::cache::Located;
    use super::super::fetch::fetch;
    use super::super::progress::Silent;
    use super::super::testing::Place;
    use super::*;

    #[test]
    fn a_refused_card_says_where() {
        let place = Place::new();
        let good = place.card_text();
        for (from, to, place_of, says) in [
            ("kind: onnx", "kid: onnx", ":3:1: ", "kid"),
            ("percept_card: 1", "percept_card: 2", ":1:15: ", "version 1"),
            ("download: wheel", "download: weel", "card.yaml:11:", "weel"),
            ("sub/weights.onnx", "../weights.onnx", "card.yaml:11:", "below the card's folder"),
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

    #[test]
    fn a_platform_that_is_not_served_is_told_what_to_do() {
        let place = Place::new();
        let card = Card::built_in("onnxruntime").unwrap().unwrap();
        let cache = place.cache.for_platform(Platform::named("plan9-mips"));
        for error in [card.locate("library", &cache).unwrap_err(), fetch(&card, &cache, &mut Silent).unwrap_err()] {
            let message = error.to_string();
            for part in ["plan9-mips", "linux-x86_64", "--onnxruntime PATH", "ORT_DYLIB_PATH"] {
                assert!(message.contains(part), "{message}");
            }
        }
        let served = card.spec().platform_files.keys();
        for platform in served {
            let cache = cache.clone().for_platform(Platform::named(platform));
            assert!(matches!(card.locate("library", &cache).unwrap(), Located::NotFetched(_)), "{platform}");
        }
    }
}
