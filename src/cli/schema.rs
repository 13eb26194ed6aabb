//! `percept schema`: the JSON Schema of pipeline files, for editors.

use std::path::PathBuf;

use serde_json::{Map, Value as Json, json};

use super::error::CliError;
use super::exit::Exit;
use super::global::Global;
use super::output;
use crate::cards::{BUILT_IN, Card};
use crate::pipeline::{FORMAT_VERSION, head_schema, link_schema};
use crate::stage::{Kind, Registry, Role};
use crate::stages::REGISTRY;

/// Print the JSON Schema of pipeline files, for completion and checks in an editor
///
/// With the YAML extension of VS Code: `percept schema -o percept.schema.json`, then put this line at the top of a pipeline:
/// `# yaml-language-server: $schema=percept.schema.json`
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The file to write it to, instead of the standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(args: &Args, _: &Global) -> Result<Exit, CliError> {
    output::write(args.output.as_deref(), &output::json(&schema(&REGISTRY)))?;
    Ok(Exit::Done)
}

/// The JSON Schema (draft 2020-12) of a whole pipeline file with the kinds of `registry` and the built-in cards.
///
/// A stage is one of: a kind by the constant value of its role key; a built-in card, with the keys of its kind, of which
/// those that the card sets need not be given; any other model, a file or a card of the user's own.
fn schema(registry: &Registry) -> Json {
    let mut definitions = Map::new();
    let mut stages = Vec::new();
    let mut other_models = Vec::new();
    for kind in registry.kinds() {
        let name = format!("{}.{}", kind.role, kind.name);
        if kind.role != Role::Model {
            let role = json!({"const": kind.name, "description": kind.summary});
            stages.push(define(&mut definitions, &name, kind, role, None));
            continue;
        }
        for (card, summary, given) in cards(kind) {
            let role = json!({"const": card, "description": summary});
            stages.push(define(&mut definitions, &format!("card.{card}"), kind, role, Some(&given)));
        }
        let role = json!({
            "type": "string",
            "description": "A model file, the folder of a card, or the name of a card in the folder `models`.",
            "not": {"enum": BUILT_IN.iter().map(|card| card.name).collect::<Vec<_>>()},
            "examples": ["models/mine.onnx", "models/mine/"],
        });
        // The card of the user's own may give any key.
        other_models.push(define(&mut definitions, &name, kind, role, Some(&all_keys(kind))));
    }
    if !other_models.is_empty() {
        stages.push(json!({"anyOf": other_models}));
    }
    links(&mut definitions);
    definitions.insert("stage".to_owned(), json!({"type": "object", "oneOf": stages}));

    let mut root = embed("pipeline", head_schema(), &mut definitions);
    set(&mut root, &[], "title", json!("A pipeline of percept"));
    let version = root.pointer("/properties/percept/description").cloned().unwrap_or_default();
    set(&mut root, &["properties"], "percept", json!({"const": FORMAT_VERSION, "description": version}));
    set(&mut root, &["properties", "stages"], "items", json!({"$ref": "#/$defs/stage"}));
    set(&mut root, &["properties", "stages"], "minItems", json!(1));
    let Json::Object(keywords) = root else { return root };
    let mut whole = Map::new();
    whole.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    whole.extend(keywords);
    whole.insert("$defs".to_owned(), Json::Object(definitions));
    Json::Object(whole)
}

/// The built-in cards of a model kind: name, summary, and the keys that the card sets.
fn cards(kind: &Kind) -> Vec<(String, String, Vec<String>)> {
    let cards = BUILT_IN.iter().filter_map(|card| Card::built_in(card.name)?.ok());
    cards
        .filter(|card| card.kind() == kind.name)
        .map(|card| {
            let spec = card.spec();
            (spec.name.clone(), spec.summary.clone(), spec.config.keys().cloned().collect())
        })
        .collect()
}

/// Every key that a kind requires.
fn all_keys(kind: &Kind) -> Vec<String> {
    let schema = (kind.schema)();
    let required = schema.get("required").and_then(Json::as_array);
    required.into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// Defines the stages of a kind with `role` as the value of its role key. Keys in `given` need not be given. A reference.
fn define(definitions: &mut Map<String, Json>, name: &str, kind: &Kind, role: Json, given: Option<&[String]>) -> Json {
    let mut stage = embed(name, (kind.schema)(), definitions);
    let mut properties = Map::new();
    properties.insert(kind.role.key().to_owned(), role);
    properties.insert("id".to_owned(), json!({"$ref": "#/$defs/id"}));
    if kind.role != Role::Capture {
        properties.insert("from".to_owned(), json!({"$ref": "#/$defs/from"}));
    }
    let mut required = vec![Json::from(kind.role.key())];
    if let Some(Json::Array(own)) = stage.get("required") {
        let needed = |name: &&Json| !given.is_some_and(|given| given.iter().any(|given| name.as_str() == Some(given)));
        required.extend(own.iter().filter(needed).cloned());
    }
    if let Some(Json::Object(own)) = stage.get("properties") {
        properties.extend(own.clone());
    }
    set(&mut stage, &[], "type", json!("object"));
    set(&mut stage, &[], "title", json!(format!("{}: {}", kind.role, kind.name)));
    set(&mut stage, &[], "description", json!(kind.summary));
    set(&mut stage, &[], "properties", Json::Object(properties));
    set(&mut stage, &[], "required", Json::Array(required));
    definitions.insert(name.to_owned(), stage);
    json!({"$ref": format!("#/$defs/{name}")})
}

/// Defines `id` and `from`: `stage`, `stage.port`, one with settings, a list of these, or a mapping of input port to these.
fn links(definitions: &mut Map<String, Json>) {
    let link = embed("link", link_schema(), definitions);
    definitions.insert("link".to_owned(), link);
    let id = json!({
        "type": "string",
        "description": "The name of the stage, unique in the pipeline. Default: the name of its kind, or of its card.",
        "pattern": r"^\p{L}[\p{L}\p{N}_-]*$",
        "maxLength": 100,
    });
    definitions.insert("id".to_owned(), id);
    let source = json!({"anyOf": [
        {"type": "string", "description": "The stage that writes, or `stage.port`."},
        {"$ref": "#/$defs/link"},
    ]});
    definitions.insert("source".to_owned(), source);
    let sources = json!({"anyOf": [
        {"$ref": "#/$defs/source"},
        {"type": "array", "items": {"$ref": "#/$defs/source"}, "minItems": 1},
    ]});
    definitions.insert("sources".to_owned(), sources);
    let from = json!({
        "description": "Where the stage reads from; for one with several inputs a mapping of input to source. Default: the \
                        nearest stage above that writes.",
        "anyOf": [
            {"$ref": "#/$defs/sources"},
            {
                "type": "object",
                "not": {"required": ["stage"]},
                "minProperties": 1,
                "additionalProperties": {"$ref": "#/$defs/sources"},
            },
        ],
    });
    definitions.insert("from".to_owned(), from);
}

/// Makes a document a part of another one: its definitions move to `definitions`, under names that begin with `name`.
fn embed(name: &str, mut schema: Json, definitions: &mut Map<String, Json>) -> Json {
    let own = match &mut schema {
        Json::Object(keywords) => {
            keywords.shift_remove("$schema");
            keywords.shift_remove("$defs")
        }
        _ => None,
    };
    if let Some(Json::Object(own)) = own {
        for (inner, mut definition) in own {
            move_references(&mut definition, name);
            definitions.insert(format!("{name}.{inner}"), definition);
        }
    }
    move_references(&mut schema, name);
    schema
}

fn move_references(schema: &mut Json, name: &str) {
    match schema {
        Json::Object(keywords) => {
            for (word, value) in keywords {
                match value {
                    Json::String(reference) if word == "$ref" => {
                        if reference == "#" {
                            *reference = format!("#/$defs/{name}");
                        } else if let Some(inner) = reference.strip_prefix("#/$defs/") {
                            *reference = format!("#/$defs/{name}.{inner}");
                        }
                    }
                    // Values, not schemas.
                    _ if matches!(word.as_str(), "const" | "enum" | "default" | "examples") => {}
                    other => move_references(other, name),
                }
            }
        }
        Json::Array(items) => items.iter_mut().for_each(|item| move_references(item, name)),
        _ => {}
    }
}

/// Sets a keyword of the schema at `path`, if there is one.
fn set(schema: &mut Json, path: &[&str], keyword: &str, value: Json) {
    let place = path.iter().try_fold(schema, |schema, key| schema.get_mut(key));
    if let Some(Json::Object(keywords)) = place {
        keywords.insert(keyword.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::*;
    use crate::config::{self, Faults, Source};
    use crate::media::Format;
    use crate::stage::{Blueprint, Contract, ContractFault, Runnable, StageError};

    macro_rules! configs {
        ($($name:ident { $($fields:tt)* })*) => {$(
            #[derive(Debug, Deserialize, JsonSchema)]
            #[serde(deny_unknown_fields)]
            #[allow(dead_code, reason = "only described, never read")]
            struct $name { $($fields)* }

            impl Blueprint for $name {
                fn contract(&self) -> Contract {
                    Contract::new()
                }

                fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
                    Ok(Vec::new())
                }

                fn build(&self) -> Result<Runnable, StageError> {
                    Err(StageError::fatal("only described"))
                }
            }
        )*};
    }

    /// Which.
    #[derive(Debug, Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    #[allow(dead_code, reason = "only described, never read")]
    enum Which {
        /// This.
        This,
    }

    configs! {
        Tone { rate_hz: u32, which: Option<Which> }
        Graph { input: String, threads: Option<u32> }
        Write { path: String }
    }

    const KINDS: Registry = Registry::new(
        &[
            (Role::Capture, &[Kind::plain::<Tone>("tone", Role::Capture, "A tone.", "")]),
            (
                Role::Model,
                &[
                    Kind::plain::<Graph>("onnx", Role::Model, "A graph.", ""),
                    Kind::plain::<Graph>("seq2seq", Role::Model, "Two graphs.", ""),
                ],
            ),
            (Role::Sink, &[Kind::plain::<Write>("write", Role::Sink, "Writes.", "")]),
        ],
        &[],
    );

    fn faults(schema: &Json, text: &str) -> Faults {
        let source = Source::new("a.yaml", text);
        let node = config::parse(&source).unwrap_or_else(|faults| panic!("{faults}\n{text}"));
        config::validate(&node, schema, &source)
    }

    #[test]
    fn what_is_accepted_and_what_is_not() {
        let schema = schema(&KINDS);
        for (stages, good) in [
            ("- {capture: tone, rate_hz: 1, which: this}\n- {sink: write, path: x}", true),
            ("- {capture: tone, rate_hz: 1, id: a}\n- {sink: write, path: x, from: a, id: b}", true),
            ("- {sink: write, path: x, from: [a, b.c, {stage: d, queue: 4, overflow: latest}]}", true),
            ("- {sink: write, path: x, from: {a: b, c: {stage: d, feedback: true}, e: [f]}}", true),
            ("- {model: silero-vad, threads: 1}", true),
            ("- {model: silero-vad, input: x}", true),
            ("- {model: ./mine.onnx, input: x}", true),
            ("- {model: mine}", true),
            ("- {capture: tone, rate_hz: 1, from: a}", false),
            ("- {capture: tone}", false),
            ("- {capture: tone, rate_hz: 1, which: that}", false),
            ("- {capture: tone, rate_hz: 1, rate: 1}", false),
            ("- {capture: tune, rate_hz: 1}", false),
            ("- {sink: write, path: x, from: {a: 1}}", false),
            ("- {sink: write, path: x, from: {stage: d, queue: 0}}", false),
            ("- {model: silero-vad, thread: 1}", false),
            ("- {model: mine, thread: 1}", false),
            ("- {model: 1}", false),
            ("- {path: x}", false),
            ("- []", false),
        ] {
            let found = faults(&schema, &format!("percept: 1\nstages:\n{stages}\n"));
            assert_eq!(!found.has_errors(), good, "{stages}\n{found}");
        }
        for (text, good) in [
            ("percept: 1\nname: x\nmemory_mb: 4\nstages: [{capture: tone, rate_hz: 1}]", true),
            ("percept: 2\nstages: [{capture: tone, rate_hz: 1}]", false),
            ("stages: [{capture: tone, rate_hz: 1}]", false),
            ("percept: 1\nstage: []", false),
        ] {
            assert_eq!(!faults(&schema, text).has_errors(), good, "{text}");
        }
    }

    /// Every `$ref` leads somewhere, and every definition is led to.
    #[test]
    fn no_loose_ends() {
        fn walk(schema: &Json, found: &mut Vec<String>) {
            match schema {
                Json::Object(keywords) => keywords.iter().for_each(|(word, value)| match value {
                    Json::String(name) if word == "$ref" => found.push(name.clone()),
                    other => walk(other, found),
                }),
                Json::Array(items) => items.iter().for_each(|item| walk(item, found)),
                _ => {}
            }
        }
        for registry in [&KINDS, &REGISTRY] {
            let schema = schema(registry);
            let mut references = Vec::new();
            walk(&schema, &mut references);
            for reference in &references {
                assert!(schema.pointer(&reference[1..]).is_some(), "{reference}");
            }
            for name in schema["$defs"].as_object().unwrap().keys() {
                assert!(references.contains(&format!("#/$defs/{name}")), "nothing refers to {name}");
            }
        }
    }

    #[test]
    fn every_example_is_accepted_and_a_wrong_key_in_it_is_not() {
        let schema = schema(&REGISTRY);
        assert!(REGISTRY.kinds().count() > 0);
        for kind in REGISTRY.kinds() {
            let source = Source::new(kind.name, kind.example);
            let mut tree = config::parse(&source).unwrap();
            // An example may name a kind that this build leaves out.
            let known = |stage: &&config::Node| {
                Role::ALL.iter().filter(|role| **role != Role::Model).all(|role| {
                    stage
                        .get(role.key())
                        .and_then(config::Node::as_str)
                        .is_none_or(|name| REGISTRY.find(*role, name).is_some())
                })
            };
            let whole = tree.get("stages").unwrap().as_sequence().unwrap().iter().all(|stage| known(&stage));
            if whole {
                let found = config::validate(&tree, &schema, &source);
                assert!(!found.has_errors(), "{}: {found}", kind.name);
            }
            let own = tree.get_mut("stages").unwrap();
            let config::Value::Sequence(stages) = &mut own.value else { panic!("{}", kind.name) };
            for stage in stages {
                let config::Value::Mapping(entries) = &mut stage.value else { panic!("{}", kind.name) };
                let key = config::Key::new("no_such_key", config::Span::default());
                entries.push((key, config::Node::new(config::Span::default(), config::Value::Int(1))));
            }
            assert!(config::validate(&tree, &schema, &source).has_errors(), "{}", kind.name);
        }
    }
}
