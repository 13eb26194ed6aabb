//! `percept kinds`: the reference of the stage kinds, printed from the registry.

use std::fmt::Write;

use serde_json::{Value as Json, json};

use super::error::CliError;
use super::exit::Exit;
use super::global::Global;
use super::output;
use super::reference::{self, Key};
use super::terminal::Terminal;
use super::text::{self, pad, paragraphs, wrap};
use crate::config::{self, Node, Source, Value};
use crate::media::Format;
use crate::pipeline::PipelineFile;
use crate::stage::{Blueprint, Kind, ReadContext, Registry, Role, Settings};
use crate::stages::REGISTRY;

/// Print the reference: every kind of stage, or one of them with its keys, ports and an example
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The kind to print in full, as in `resample`
    name: Option<String>,
    /// Print JSON: role, name, summary, example and the JSON Schema of the keys
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    let registry = REGISTRY;
    let kinds = match &args.name {
        Some(name) => named(&registry, name)?,
        None => registry.kinds().collect(),
    };
    let terminal = global.stdout();
    output::print(&match (args.json, &args.name) {
        (true, _) => output::json(&kinds.into_iter().map(as_json).collect()),
        (false, None) => list(&registry, &terminal),
        (false, Some(_)) => kinds.into_iter().map(|kind| page(kind, &terminal)).collect::<Vec<_>>().join("\n"),
    })?;
    Ok(Exit::Done)
}

/// The kinds of a name; of several roles when they share it.
fn named<'a>(registry: &'a Registry, name: &str) -> Result<Vec<&'a Kind>, CliError> {
    let kinds: Vec<&Kind> = registry.kinds().filter(|kind| kind.name == name).collect();
    if !kinds.is_empty() {
        return Ok(kinds);
    }
    if let Some((role, feature)) = Role::ALL.iter().find_map(|role| Some((role, registry.left_out(*role, name)?))) {
        return Err(CliError::usage(format!("this build was made without the {role} `{name}`"))
            .help(format!("build percept with the feature `{feature}`")));
    }
    Err(CliError::unknown("kind", name, registry.kinds().map(|kind| kind.name), "`percept kinds`"))
}

fn as_json(kind: &Kind) -> Json {
    json!({
        "role": kind.role.key(),
        "name": kind.name,
        "summary": kind.summary,
        "example": kind.example,
        "schema": (kind.schema)(),
    })
}

/// What a role is for.
const fn role_words(role: Role) -> &'static str {
    match role {
        Role::Capture => "where streams come from",
        Role::Preprocess => "what changes a stream before a model reads it",
        Role::Model => "what runs a model; the card named after `model:` picks the kind",
        Role::Decoder => "what turns the words of a model into results",
        Role::Sink => "where results go",
    }
}

/// Every kind with its summary, role by role.
fn list(registry: &Registry, terminal: &Terminal) -> String {
    let mut page = String::new();
    let column = registry.kinds().map(|kind| text::width(kind.name)).max().unwrap_or_default() + 4;
    for role in Role::ALL {
        let mut kinds = registry.kinds().filter(|kind| kind.role == role).peekable();
        if kinds.peek().is_none() {
            continue;
        }
        // Writing to a string cannot fail.
        let _ = writeln!(page, "{}  {}", terminal.heading(role), terminal.faint(role_words(role)));
        for kind in kinds {
            let lines = wrap(kind.summary, terminal.width.saturating_sub(column));
            let lines = lines.join(&format!("\n{}", " ".repeat(column)));
            let _ = writeln!(page, "  {}{lines}", terminal.name(pad(kind.name, column - 2)));
        }
        page.push('\n');
    }
    page.push_str(
        "`percept kinds NAME` prints a kind's keys, ports and an example; `percept models` lists the models.\n",
    );
    page
}

/// The reference of one kind.
fn page(kind: &Kind, terminal: &Terminal) -> String {
    let schema = (kind.schema)();
    let mut page = format!("{}{} {}\n\n", terminal.faint(kind.role), terminal.faint(":"), terminal.name(kind.name));
    let docs = schema.get("description").and_then(Json::as_str).unwrap_or_default();
    // A few words, such as "Keys of `x`.", say less than the summary.
    let docs = paragraphs(docs).into_iter().filter(|words| words.split(' ').count() > 4);
    for paragraph in std::iter::once(kind.summary.to_owned()).chain(docs) {
        push_wrapped(&mut page, "  ", &paragraph, terminal);
    }
    ports(&mut page, kind, terminal);
    let _ = writeln!(page, "\n{}", terminal.heading("Keys"));
    let keys = reference::keys(&schema);
    if keys.is_empty() {
        page.push_str("  none of its own\n");
    }
    for key in keys {
        push_key(&mut page, kind.role, &key, terminal);
    }
    let common = if kind.role == Role::Capture { "`id`" } else { "`id` and `from`" };
    let _ = writeln!(page, "  {}", terminal.faint(format!("and {common}, as every {} has", kind.role)));
    let _ = writeln!(page, "\n{}", terminal.heading("Example"));
    for line in kind.example.lines() {
        let _ = writeln!(page, "{}", format!("  {line}").trim_end());
    }
    page
}

fn push_wrapped(page: &mut String, indent: &str, words: &str, terminal: &Terminal) {
    for line in wrap(words, terminal.width.saturating_sub(indent.len())) {
        let _ = writeln!(page, "{indent}{line}");
    }
}

fn push_key(page: &mut String, role: Role, key: &Key, terminal: &Terminal) {
    let need = match (&key.default, key.required) {
        (Some(default), _) => format!("default {default}"),
        (None, true) if role == Role::Model => "required, here or in the card".to_owned(),
        (None, true) => "required".to_owned(),
        (None, false) => "optional".to_owned(),
    };
    let _ = writeln!(page, "  {}  {}", terminal.name(&key.name), terminal.faint(format!("{}; {need}", key.takes)));
    for paragraph in paragraphs(&key.docs) {
        push_wrapped(page, "      ", &paragraph, terminal);
    }
    for (word, docs) in &key.choices {
        push_wrapped(page, "      ", &format!("{word}: {}", paragraphs(docs).join(" ")), terminal);
    }
}

/// The ports of the kind in its example; nothing where they depend on a model that is not here.
fn ports(page: &mut String, kind: &Kind, terminal: &Terminal) {
    let Some((contract, formats)) = contract(kind) else { return };
    let _ = writeln!(page, "\n{}", terminal.heading("Ports"));
    let names = contract.inputs.iter().map(|port| &port.name).chain(contract.outputs.iter().map(|port| &port.name));
    let column = names.map(|name| text::width(name)).max().unwrap_or_default();
    for port in &contract.inputs {
        let optional = if port.optional { ", optional" } else { "" };
        let _ = writeln!(page, "  reads   {}  {}{optional}", terminal.name(pad(&port.name, column)), port.format);
    }
    for (place, port) in contract.outputs.iter().enumerate() {
        let optional = if port.optional { "may be left unread" } else { "" };
        let format = formats.get(place).filter(|format| **format != Format::Any).map(Format::to_string);
        let words: Vec<_> = format.into_iter().chain((!optional.is_empty()).then(|| optional.to_owned())).collect();
        let line = format!("  writes  {}  {}", terminal.name(pad(&port.name, column)), words.join(", "));
        let _ = writeln!(page, "{}", line.trim_end());
    }
}

/// The contract of the kind in its example, and the formats that it writes there.
fn contract(kind: &Kind) -> Option<(crate::stage::Contract, Vec<Format>)> {
    let settings = Settings::default();
    if kind.role == Role::Model {
        // The model's card picks the kind and adds keys: only the whole way of a pipeline knows how.
        let file = PipelineFile::parse(kind.name, kind.example).ok()?;
        let (plan, _) = file.check(&REGISTRY, &settings).ok()?;
        let place = plan.stages.iter().position(|stage| stage.role == Role::Model && stage.kind == kind.name)?;
        return Some((plan.stages[place].contract.clone(), plan.formats.get(place).cloned().unwrap_or_default()));
    }
    let source = Source::new(kind.name, kind.example);
    let tree = config::parse(&source).ok()?;
    let named = |stage: &&Node| stage.get(kind.role.key()).and_then(Node::as_str) == Some(kind.name);
    let stage = tree.get("stages")?.as_sequence()?.iter().find(named)?;
    let own = |name: &str| name != kind.role.key() && name != "id" && name != "from";
    let keys = stage.as_mapping()?.iter().filter(|(key, _)| own(&key.name)).cloned().collect();
    let node = Node::new(stage.span, Value::Mapping(keys));
    let context = ReadContext { node: &node, model: None, source: &source, settings: &settings };
    let blueprint: Box<dyn Blueprint> = (kind.read)(&context).ok()?;
    let contract = blueprint.contract();
    let inputs: Vec<Format> = contract.inputs.iter().map(|port| port.format.clone()).collect();
    let formats = blueprint.outputs(&inputs).unwrap_or_default();
    Some((contract, formats))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Terminal = Terminal { color: false, width: 60, interactive: false };

    #[test]
    fn the_list_names_every_kind_and_stays_within_the_width() {
        let list = list(&REGISTRY, &PLAIN);
        assert!(REGISTRY.kinds().count() > 0);
        for kind in REGISTRY.kinds() {
            assert!(list.contains(&format!("\n  {} ", kind.name)), "{}\n{list}", kind.name);
        }
        let rows = list.lines().filter(|line| line.starts_with("  "));
        assert!(rows.clone().all(|line| text::width(line) <= 60), "{list}");
    }

    #[test]
    fn every_page_documents_every_key() {
        for kind in REGISTRY.kinds() {
            let page = page(kind, &PLAIN);
            for key in reference::keys(&(kind.schema)()) {
                assert!(
                    page.contains(&format!("\n  {}  {}", key.name, key.takes)),
                    "{}: {}\n{page}",
                    kind.name,
                    key.name
                );
                assert!(!key.docs.is_empty(), "{}: {} is not documented", kind.name, key.name);
            }
            assert!(page.contains("\n  percept: 1\n"), "{page}");
            if kind.role != Role::Model && kind.role != Role::Capture {
                assert!(page.contains("\n  reads   "), "the ports of {} are not shown\n{page}", kind.name);
            }
        }
    }

    #[test]
    fn wrong_names_have_a_remedy() {
        let first = REGISTRY.kinds().next().unwrap().name;
        let error = named(&REGISTRY, &format!("{first}x")).unwrap_err();
        let CliError::Usage { help: Some(help), .. } = error else { panic!("{error:?}") };
        assert!(help.contains(&format!("did you mean `{first}`?")), "{help}");
        let registry = Registry::new(&[], &[(Role::Capture, "microphone", "microphone")]);
        let error = named(&registry, "microphone").unwrap_err().to_string();
        assert_eq!(error, "this build was made without the capture `microphone`");
    }
}
