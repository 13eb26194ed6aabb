//! `percept models`: the model cards, and their files on this machine.

use std::fmt::Write;
use std::path::Path;

use clap::Subcommand;

use super::error::CliError;
use super::exit::Exit;
use super::fetching::{State, fetch};
use super::global::Global;
use super::output;
use super::progress::Display;
use super::terminal::Terminal;
use super::text::{self, pad, wrap};
use crate::cards::{self, Cache, Card, FileSpec, FileState, Model, Port, Verified};

/// List, show, fetch and verify the models that a pipeline can name
///
/// Models are known by their cards: those that are part of percept, and those in the folder `models` of the current folder.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the models, and how they stand on this machine (the default)
    List,
    /// Show all that a card says: source, licence, files, ports, state, what the input must be
    Show {
        /// The name of a card, or its folder
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Fetch the files of models that are not here yet
    Pull {
        /// Names of cards, or their folders
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Read every byte of the files, and compare them with their cards
    Verify {
        /// Names of cards, or their folders [default: every card]
        #[arg(value_name = "NAME")]
        names: Vec<String>,
    },
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    let cache = global.cache()?;
    let terminal = global.stdout();
    match args.action.as_ref().unwrap_or(&Action::List) {
        Action::List => output::print(&list(Path::new("."), &cache, &terminal))?,
        Action::Show { name } => output::print(&show(&card(name)?, &cache, &terminal)?)?,
        Action::Pull { names } => {
            // A wrong name is told before anything is fetched.
            let cards = names.iter().map(|name| card(name)).collect::<Result<Vec<_>, _>>()?;
            for card in cards {
                fetch(&card, &cache, global)?;
            }
        }
        Action::Verify { names } => return verify(names, &cache, global),
    }
    Ok(Exit::Done)
}

/// The card of a name, or of a folder.
fn card(name: &str) -> Result<Card, CliError> {
    match cards::find(name, Path::new("."))? {
        Model::Card(card) => Ok(*card),
        Model::File(path) => Err(CliError::usage(format!("{} is a model file without a card", path.display()))
            .help("a card.yaml in its folder that names it would be its card; a pipeline can run it as it is")),
    }
}

fn list(base: &Path, cache: &Cache, terminal: &Terminal) -> String {
    let cards = cards::list(base);
    let column = cards.keys().map(|name| text::width(name)).max().unwrap_or_default();
    let mut page = String::new();
    for (name, card) in cards {
        // Writing to a string cannot fail.
        match card {
            Ok(card) => {
                let state = State::of(&card, cache);
                let facts = format!("{}  {}", card.kind(), card.spec().licence);
                let _ = writeln!(
                    page,
                    "{}  {}  {}",
                    terminal.name(pad(&name, column)),
                    terminal.faint(facts),
                    state.show(&card, terminal)
                );
                if let State::Wrong(why) = state {
                    push(&mut page, &why, terminal);
                }
                push(&mut page, &card.spec().summary, terminal);
            }
            Err(error) => {
                let _ =
                    writeln!(page, "{}  {}", terminal.name(pad(&name, column)), terminal.bad("its card is refused"));
                push(&mut page, &error.to_string(), terminal);
            }
        }
    }
    let _ = writeln!(page, "\nFetched files are in {}.", cache.root().display());
    page
}

fn push(page: &mut String, words: &str, terminal: &Terminal) {
    for line in wrap(words, terminal.width.saturating_sub(4)) {
        let _ = writeln!(page, "    {line}");
    }
}

/// The column of what a card says, after the name of each row.
const ROW: usize = 15;

/// Everything that a card says, and where its files are.
fn show(card: &Card, cache: &Cache, terminal: &Terminal) -> Result<String, CliError> {
    let spec = card.spec();
    let state = State::of(card, cache);
    let mut page = format!("{}  {}\n\n", terminal.name(card.name()), state.show(card, terminal));
    let mut row = |name: &str, words: &str| {
        let lines = wrap(words, terminal.width.saturating_sub(ROW));
        for (place, line) in lines.iter().enumerate() {
            let name = pad(if place == 0 { name } else { "" }, ROW - 2);
            let _ = writeln!(page, "{}  {line}", terminal.faint(name));
        }
    };
    if let State::Wrong(why) = &state {
        row("problem", why);
    }
    row("kind", card.kind());
    row("summary", &spec.summary);
    row("licence", &spec.licence);
    row("source", &spec.source.text);
    if let Some(folder) = card.folder() {
        row("card", &folder.join(cards::CARD_FILE).display().to_string());
    }
    for (role, file) in card.files(cache.platform())? {
        row(&format!("file {role}"), &file_words(file));
    }
    for (role, ports) in &spec.ports {
        if spec.ports.len() > 1 {
            row("graph", role);
        }
        for (place, port) in ports.inputs.iter().enumerate() {
            row(if place == 0 { "reads" } else { "" }, &port_words(port));
        }
        for (place, port) in ports.outputs.iter().enumerate() {
            row(if place == 0 { "writes" } else { "" }, &port_words(port));
        }
    }
    let states: Vec<_> = spec.state.iter().map(|(input, output)| format!("{input} ← {output}")).collect();
    if !states.is_empty() {
        row("state", &states.join(", "));
    }
    if card.kind() != "library" {
        row("batch", &spec.batch.to_string());
        row("padding", &spec.padding.to_string());
    }
    if let Some(labels) = &spec.labels {
        row("labels", &format!("{} in the file {}", labels.size, labels.file));
    }
    if let Some(input) = &spec.preprocess {
        let number = |name: &str, value: Option<u64>| value.map(|value| format!("{name}: {value}"));
        let facts = [
            number("sample_rate_hz", input.sample_rate_hz.map(u64::from)),
            number("channels", input.channels.map(u64::from)),
            number("window_samples", input.window_samples),
            number("hop_samples", input.hop_samples),
            number("context_samples", Some(input.context_samples).filter(|samples| *samples > 0)),
            input.value_range.map(|[low, high]| format!("value_range: [{low}, {high}]")),
        ];
        let facts: Vec<_> = facts.into_iter().flatten().collect();
        if !facts.is_empty() {
            row("input", &facts.join(", "));
        }
        for (place, stage) in input.stages.iter().enumerate() {
            row(if place == 0 { "behind" } else { "" }, &stage_words(stage));
        }
    }
    let defaults: Vec<_> = spec.config.iter().map(|(key, value)| format!("{key}: {value}")).collect();
    if !defaults.is_empty() {
        row("sets", &defaults.join(", "));
    }
    Ok(page)
}

/// A stage on one line: `preprocess: log_mel, bands: 40`.
fn stage_words(stage: &serde_json::Map<String, serde_json::Value>) -> String {
    let words = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    stage.iter().map(|(key, value)| format!("{key}: {}", words(value))).collect::<Vec<_>>().join(", ")
}

fn file_words(file: &FileSpec) -> String {
    let size = file.bytes.map(|bytes| format!(" ({})", text::bytes(bytes))).unwrap_or_default();
    let sum = file.sha256.map(|sum| format!(" sha256 {sum}")).unwrap_or_default();
    format!("{}{size}{sum}", file.path)
}

fn port_words(port: &Port) -> String {
    format!("{} {} {}", port.name, port.dtype, port.shape)
}

/// Reads the files of these cards, or of all. Files that are wrong fail; those not fetched are missing only when asked for.
fn verify(names: &[String], cache: &Cache, global: &Global) -> Result<Exit, CliError> {
    let all = names.is_empty();
    let cards: Vec<Card> = match all {
        // A refused card is a fault of its own: `list` shows it beside the others.
        true => cards::list(Path::new(".")).into_values().collect::<Result<_, _>>()?,
        false => names.iter().map(|name| card(name)).collect::<Result<_, _>>()?,
    };
    let terminal = global.stdout();
    let (mut page, mut exit) = (String::new(), Exit::Done);
    for card in cards {
        if all && matches!(State::of(&card, cache), State::ToFetch(_)) {
            let _ = writeln!(page, "{}  {}", terminal.name(card.name()), terminal.faint("not fetched"));
            continue;
        }
        let mut display = Display::new(global);
        let files = cache.verify(&card, &mut display)?;
        display.clear();
        for Verified { role, path, state, .. } in files {
            let words = match state {
                FileState::Good => terminal.good("good").to_string(),
                FileState::Absent => {
                    if exit == Exit::Done {
                        exit = Exit::Missing;
                    }
                    format!("{}: `percept models pull {}` fetches it", terminal.warning("not here"), card.name())
                }
                FileState::Wrong(difference) => {
                    exit = Exit::Failed;
                    format!("{}: {difference}", terminal.bad("wrong"))
                }
            };
            let _ =
                writeln!(page, "{}  {role}  {}  {words}", terminal.name(card.name()), terminal.faint(path.display()));
        }
    }
    output::print(&page)?;
    Ok(exit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Terminal = Terminal { color: false, width: 100, interactive: false };

    #[test]
    fn the_list_tells_how_each_card_stands() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("cache"));
        std::fs::create_dir_all(folder.path().join("models/bad")).unwrap();
        std::fs::write(folder.path().join("models/bad/card.yaml"), "percept_card: 9").unwrap();
        let page = list(folder.path(), &cache, &PLAIN);
        // The first column is as wide as the longest name.
        for part in [
            "silero-vad           onnx  MIT  part of percept\n",
            "bad                  its card is refused\n",
            "selfie-segmentation  onnx  Apache-2.0  part of percept\n",
            "not fetched, ",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
    }

    #[test]
    fn all_of_a_card_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let card = Card::built_in("silero-vad").unwrap().unwrap();
        let page = show(&card, &Cache::at(folder.path().join("cache")), &PLAIN).unwrap();
        for part in [
            "silero-vad  part of percept\n",
            "licence        MIT\n",
            "file model     silero_vad_16k_op15.onnx (1.3 MB)",
            "reads          input f32 [batch, 576]\n",
            "state          state ← stateN\n",
            "batch          exact\n",
            "input          sample_rate_hz: 16000, channels: 1, ",
        ] {
            assert!(page.contains(part), "{part}\n{page}");
        }
    }
}
