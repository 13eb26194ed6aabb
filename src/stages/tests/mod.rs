//! What every kind owes, tested by walking the registry: a new kind is covered by its line in `KINDS`.

mod faulty;
mod inputs;
mod promises;
mod rig;
mod subject;

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::REGISTRY;
use super::model::testing::require_runtime;
use crate::config::{Node, Source, parse};
use crate::stage::{Kind, Registry, Role};
use subject::{Subject, example_stage};

/// Kinds whose behaviour is tested beside them alone, and why: what their examples need is not at hand here.
const NOT_RUN: &[(Role, &str, &str)] = &[
    (
        Role::Model,
        "seq2seq",
        "its model has to be fetched, and a packet is a whole utterance, so its text is about how the input was cut",
    ),
    (Role::Decoder, "embedding", "only vectors as long as those that its user knows will do, and none is made up here"),
    (Role::Sink, "folder", "it places the files that streams were read from, and those made up here have none"),
];

/// The registry, for tests that keep what they find in it.
fn registry() -> &'static Registry {
    static ALL: Registry = REGISTRY;
    &ALL
}

/// Every kind that takes packets, as its example configures it, with each choice of formats that it accepts.
fn subjects() -> impl Iterator<Item = Subject> {
    fn runs(kind: &&'static Kind) -> bool {
        let left_out = NOT_RUN.iter().any(|(role, name, _)| (*role, *name) == (kind.role, kind.name));
        let runnable = kind.role != Role::Model || left_out || require_runtime();
        kind.role != Role::Capture && !left_out && runnable
    }
    registry().kinds().filter(runs).flat_map(Subject::of_kind)
}

/// Whether what it gives is a result, which does not depend on how its input was cut: a sink writes a record a packet.
fn gives_results(subject: &Subject) -> bool {
    subject.role != Role::Sink
}

#[test]
fn check_solves_what_open_gives() {
    subjects().for_each(|subject| promises::check_solves_what_open_gives(&subject));
}

#[test]
fn any_chunking_gives_the_same_results() {
    subjects().filter(gives_results).for_each(|subject| promises::chunking(&subject));
}

#[test]
fn any_random_chunking_gives_the_same_results() {
    subjects().filter(gives_results).for_each(|subject| promises::random_chunking(&subject));
}

#[test]
fn any_chunking_around_a_gap_gives_the_same_results() {
    subjects().filter(gives_results).for_each(|subject| promises::chunking_around_a_gap(&subject));
}

#[test]
fn packets_without_frames_change_nothing() {
    subjects().filter(gives_results).for_each(|subject| promises::empty_packets(&subject));
}

#[test]
fn reset_and_replay_give_the_same() {
    subjects().for_each(|subject| promises::reset_and_replay(&subject));
}

#[test]
fn a_poisoned_stream_touches_no_other() {
    subjects().for_each(|subject| promises::isolation(&subject));
}

#[test]
fn streams_that_share_a_call_get_what_each_gets_alone() {
    let batches = |subject: &Subject| subject.blueprint.contract().batch.max > 1;
    let subjects: Vec<Subject> = subjects().collect();
    assert!(!cfg!(feature = "onnxruntime") || subjects.iter().any(batches), "no example batches, so nothing was shown");
    subjects.iter().for_each(promises::batching);
}

#[test]
fn a_payload_of_the_wrong_type_is_an_error() {
    subjects().for_each(|subject| promises::wrong_payloads(&subject));
}

#[test]
fn names_are_unique_and_stand_in_the_table_of_their_role() {
    let mut seen = BTreeSet::new();
    for role in Role::ALL {
        for kind in registry().kinds().filter(|kind| kind.role == role) {
            assert_eq!(kind.role, role, "{kind:?}");
            assert!(seen.insert((role.key(), kind.name)), "{kind:?} is there twice");
            assert!(kind.name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_')), "{kind:?}");
            assert!(
                !kind.summary.is_empty() && !kind.summary.contains('\n') && !kind.summary.ends_with('.'),
                "{kind:?}"
            );
            assert_eq!(REGISTRY.find(role, kind.name).map(|kind| kind.name), Some(kind.name));
        }
    }
    for (role, name, why) in NOT_RUN {
        assert!(
            REGISTRY.find(*role, name).is_some() && !why.is_empty(),
            "NOT_RUN names a {role} `{name}` that is not there"
        );
    }
}

#[test]
fn examples_are_whole_pipelines_that_name_their_kind() {
    for kind in registry().kinds() {
        example_stage(kind).unwrap_or_else(|why| panic!("the example of {kind:?}: {why}"));
        let pipeline = parse(&Source::new("example", kind.example)).unwrap();
        assert!(pipeline.get("percept").is_some() && pipeline.get("name").is_some(), "{kind:?}");
        let stages = pipeline.get("stages").and_then(Node::as_sequence).unwrap();
        let has = |role: Role| stages.iter().any(|stage| stage.get(role.key()).is_some());
        assert!(has(Role::Capture) && has(Role::Sink), "{kind:?}: its example has no capture or no sink");
    }
}

#[test]
fn every_key_is_documented() {
    fn undocumented(schema: &Json, path: &str, found: &mut Vec<String>) {
        match schema {
            Json::Object(object) => {
                for (name, value) in object {
                    let path = format!("{path}/{name}");
                    if name == "properties" {
                        for (key, property) in value.as_object().into_iter().flatten() {
                            // The one key of a choice, or what names it, is documented as that choice.
                            let choice = object.get("required") == Some(&serde_json::json!([key]))
                                || property.get("const").is_some();
                            let text = property.get("description").and_then(Json::as_str);
                            let own = object.get("description").filter(|_| choice).and_then(Json::as_str);
                            if text.or(own).is_none_or(|text| text.trim().is_empty()) {
                                found.push(format!("{path}/{key}"));
                            }
                        }
                    }
                    undocumented(value, &path, found);
                }
            }
            Json::Array(items) => items.iter().for_each(|item| undocumented(item, path, found)),
            _ => {}
        }
    }
    for kind in registry().kinds() {
        let schema = (kind.schema)();
        let mut found = Vec::new();
        undocumented(&schema, "", &mut found);
        assert!(found.is_empty(), "{kind:?}: keys without documentation: {found:?}");
        assert!(schema.get("description").is_some(), "{kind:?}: the config struct has no documentation");
        assert_eq!(
            schema.get("additionalProperties"),
            Some(&Json::Bool(false)),
            "{kind:?}: unknown keys must be refused"
        );
    }
}
