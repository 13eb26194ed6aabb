//! What `models` and `setup` share: how a card stands on this machine, and fetching it.

use super::error::CliError;
use super::global::Global;
use super::progress::Display;
use super::terminal::Terminal;
use super::text;
use crate::cards::{self, Cache, Card, CardError, Fetched, Located};

/// How the files of a card stand on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing to fetch: they are part of percept, or beside the card.
    Here,
    /// Fetched.
    Fetched,
    /// This many bytes are to be fetched.
    ToFetch(u64),
    /// They cannot be had, or are not what the card says: why.
    Wrong(String),
}

impl State {
    /// How the files of `card` stand. What cannot be read is `Wrong`.
    pub fn of(card: &Card, cache: &Cache) -> State {
        Self::read(card, cache).unwrap_or_else(|error| State::Wrong(error.to_string()))
    }

    fn read(card: &Card, cache: &Cache) -> Result<State, CardError> {
        let mut state = State::Here;
        for (role, file) in card.files(cache.platform())? {
            // What is part of percept is written to the cache when it is used, not when it is listed.
            if file.from.is_none() && card.is_built_in() {
                continue;
            }
            match card.locate(role, cache)? {
                Located::NotFetched(missing) => return Ok(State::ToFetch(missing.bytes)),
                Located::Ready(_) if file.from.is_some() => state = State::Fetched,
                _ => {}
            }
        }
        Ok(state)
    }

    /// In words, coloured by what is to be done.
    pub fn show(&self, card: &Card, terminal: &Terminal) -> String {
        match self {
            State::Here if card.is_built_in() => terminal.good("part of percept").to_string(),
            State::Here => terminal.good("here").to_string(),
            State::Fetched => terminal.good("fetched").to_string(),
            State::ToFetch(bytes) => terminal.warning(format!("not fetched, {}", text::bytes(*bytes))).to_string(),
            State::Wrong(_) => terminal.bad("wrong").to_string(),
        }
    }
}

/// Fetches what a card needs, showing how far it is, and says what was done. Whether anything was.
pub(super) fn fetch(card: &Card, cache: &Cache, global: &Global) -> Result<bool, CliError> {
    let mut display = Display::new(global);
    let fetched = cards::fetch(card, cache, &mut display)?;
    display.clear();
    match fetched {
        Fetched::Downloaded { bytes } => {
            global.note(format!("{}: fetched, {}", card.name(), text::bytes(bytes)));
            Ok(true)
        }
        Fetched::AlreadyThere => {
            global.note(format!("{}: already there", card.name()));
            Ok(false)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cards::Platform;

    #[test]
    fn states_of_the_built_in_cards() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache")).for_platform(Platform::named("linux-x86_64"));
        let state = |name: &str, cache: &Cache| State::of(&Card::built_in(name).unwrap().unwrap(), cache);
        assert_eq!(state("silero-vad", &cache), State::Here);
        assert_eq!(state("onnxruntime", &cache), State::ToFetch(27_780_211));
        let elsewhere = cache.clone().for_platform(Platform::named("plan9-mips"));
        assert!(matches!(state("onnxruntime", &elsewhere), State::Wrong(why) if why.contains("plan9-mips")));
        assert!(!cache.root().exists(), "looking changes nothing");
    }
}
