//! What every kind owes, tested by walking the registry: a new kind is covered by its line in `KINDS`.

mod inputs;
mod rig;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use serde_json::Value as Json;

use super::REGISTRY;
use crate::config::{Node, Source, Value, parse};
use crate::media::{Format, Packet};
use crate::stage::{Registry, Blueprint, Kind, ReadContext, Role, Settings, StageError};
use inputs::{SIZES, choices, cut, cut_at, payloads, poison, schedule, whole, with_empty};
use rig::{Rig, Seen, difference};

/// Kinds whose behaviour is tested beside them alone, and why.
const NOT_RUN: &[(Role, &str, &str)] = &[];

/// The stage in the kind's example that is of this kind.
fn example_stage(kind: &Kind) -> Result<(Source, Node), String> {
    let source = Source::new(format!("example of {}", kind.name), kind.example);
    let pipeline = parse(&source).map_err(|faults| faults.to_string())?;
    let stages = pipeline
        .get("stages")
        .and_then(Node::as_sequence)
        .ok_or("it has no list `stages`")?;
    let key = kind.role.key();
    // A model stage names a model; its card picks the kind.
    let is_kind = |stage: &&Node| match stage.get(key) {
        Some(name) => kind.role == Role::Model || name.as_str() == Some(kind.name),
        None => false,
    };
    let stage = stages
        .iter()
        .find(is_kind)
        .ok_or(format!("it has no `- {key}: {}`", kind.name))?;
    Ok((source, stage.clone()))
}

/// The blueprint of the kind's example, with paths relative to `base`.
/// The registry, for tests that keep what they find in it.
fn registry() -> &'static Registry {
    static ALL: Registry = REGISTRY;
    &ALL
}

fn example_blueprint(kind: &Kind, base: &Path) -> Result<Box<dyn Blueprint>, String> {
    let (source, stage) = example_stage(kind)?;
    let own = |name: &str| name != kind.role.key() && name != "id" && name != "from";
    let keys = stage
        .as_mapping()
        .into_iter()
        .flatten()
        .filter(|(key, _)| own(&key.name))
        .cloned()
        .collect();
    let node = Node::new(stage.span, Value::Mapping(keys));
    let settings = Settings {
        base_dir: base.to_owned(),
        ..Settings::default()
    };
    let model = (kind.role == Role::Model).then(|| stage.get("model")).flatten();
    let context = ReadContext {
        node: &node,
        model,
        source: &source,
        settings: &settings,
    };
    (kind.read)(&context).map_err(|faults| faults.to_string())
}

/// One kind with a choice of formats for its inputs.
struct Subject {
    kind: &'static Kind,
    blueprint: Box<dyn Blueprint>,
    formats: Vec<Format>,
    folder: tempfile::TempDir,
}

impl Subject {
    fn new(kind: &'static Kind, formats: &[Format]) -> Subject {
        let folder = tempfile::tempdir().unwrap();
        let blueprint = example_blueprint(kind, folder.path()).unwrap_or_else(|why| panic!("{kind:?}: {why}"));
        Subject {
            kind,
            blueprint,
            formats: formats.to_vec(),
            folder,
        }
    }

    fn name(&self) -> String {
        let formats: Vec<_> = self.formats.iter().map(Format::to_string).collect();
        format!("{:?} of {}", self.kind, formats.join(" and "))
    }

    /// The packets of a stream on these formats, each port's sound in one piece.
    fn whole(&self, seed: u32) -> Vec<Vec<Packet>> {
        self.formats.iter().map(|format| whole(format, seed)).collect()
    }

    fn rig(&self, streams: &[&str]) -> Rig {
        Rig::open(&*self.blueprint, &self.formats, streams, self.name())
    }

    /// The final results of one stream.
    fn run(&self, ports: &[Vec<Packet>]) -> Vec<Seen> {
        let mut rig = self.rig(&["a"]);
        rig.run(0, &schedule(ports));
        self.seen(&rig, 0)
    }

    /// What a stream of the rig gave. Sound that a preprocessing stage gives is cut as its input was: only the whole counts.
    fn seen(&self, rig: &Rig, stream: usize) -> Vec<Seen> {
        rig.seen(stream, self.kind.role == Role::Preprocess)
    }

    /// What it wrote to its folder.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap().map(Result::unwrap);
        entries
            .filter(|entry| entry.path().is_file())
            .map(|entry| {
                (
                    entry.file_name().to_string_lossy().into_owned(),
                    std::fs::read(entry.path()).unwrap(),
                )
            })
            .collect()
    }
}

/// Every kind that takes packets, with each choice of formats that its ports and its check accept.
fn subjects() -> Vec<Subject> {
    let runs = |kind: &&Kind| {
        kind.role != Role::Capture
            && !NOT_RUN
                .iter()
                .any(|(role, name, _)| (kind.role, kind.name) == (*role, *name))
    };
    let mut subjects = Vec::new();
    for kind in registry().kinds().filter(runs) {
        let folder = tempfile::tempdir().unwrap();
        let blueprint = example_blueprint(kind, folder.path())
            .unwrap_or_else(|why| panic!("{kind:?}: its example cannot be read, and it is not in NOT_RUN:\n{why}"));
        let choices = choices(&*blueprint);
        assert!(
            !choices.is_empty(),
            "{kind:?}: no formats were found that its ports and `outputs` accept"
        );
        subjects.extend(choices.iter().map(|formats| Subject::new(kind, formats)));
    }
    subjects
}

/// A sink writes a record a packet, so what it writes is about how its input was cut.
fn results(subject: &Subject) -> bool {
    subject.kind.role != Role::Sink
}

#[test]
fn names_are_unique_and_stand_in_the_table_of_their_role() {
    let mut seen = BTreeSet::new();
    for role in Role::ALL {
        for kind in registry().kinds().filter(|kind| kind.role == role) {
            assert_eq!(kind.role, role, "{kind:?}");
            assert!(seen.insert((role.key(), kind.name)), "{kind:?} is there twice");
            assert!(
                kind.name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '_')),
                "{kind:?}"
            );
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
        assert!(
            pipeline.get("percept").is_some() && pipeline.get("name").is_some(),
            "{kind:?}"
        );
        let stages = pipeline.get("stages").and_then(Node::as_sequence).unwrap();
        let has = |role: Role| stages.iter().any(|stage| stage.get(role.key()).is_some());
        assert!(
            has(Role::Capture) && has(Role::Sink),
            "{kind:?}: its example has no capture or no sink"
        );
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
                            let text = property.get("description").and_then(Json::as_str);
                            if text.is_none_or(|text| text.trim().is_empty()) {
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
        assert!(
            schema.get("description").is_some(),
            "{kind:?}: the config struct has no documentation"
        );
        assert_eq!(
            schema.get("additionalProperties"),
            Some(&Json::Bool(false)),
            "{kind:?}: unknown keys must be refused"
        );
    }
}

#[test]
fn check_solves_what_open_gives() {
    for subject in subjects() {
        let contract = subject.blueprint.contract();
        let solved = subject.blueprint.outputs(&subject.formats).unwrap();
        assert_eq!(solved.len(), contract.outputs.len(), "{}", subject.name());
        let rig = subject.rig(&["a"]);
        let opened = rig.opened(0);
        assert_eq!(opened.len(), solved.len(), "{}", subject.name());
        for (solved, opened) in solved.iter().zip(opened) {
            assert!(
                solved.accepts(opened).is_ok(),
                "{}: solved {solved}, opened {opened}",
                subject.name()
            );
        }
        // With nothing known, nothing may be refused that each port takes by itself.
        let open: Vec<_> = contract.inputs.iter().map(|port| port.format.clone()).collect();
        if let Ok(unknown) = subject.blueprint.outputs(&open) {
            for (unknown, solved) in unknown.iter().zip(&solved) {
                assert!(
                    unknown.accepts(solved).is_ok(),
                    "{}: {unknown} became {solved}",
                    subject.name()
                );
            }
        }
        for input in &contract.inputs {
            assert!(
                contract.inputs.iter().filter(|other| other.name == input.name).count() == 1,
                "{}",
                subject.name()
            );
        }
    }
}

#[test]
fn any_chunking_gives_the_same_results() {
    for subject in subjects().iter().filter(|subject| results(subject)) {
        let ports = subject.whole(1);
        let expected = subject.run(&ports);
        for size in SIZES {
            let pieces: Vec<_> = ports.iter().map(|packets| cut(packets, &[size])).collect();
            difference(&expected, &subject.run(&pieces))
                .unwrap_or_else(|why| panic!("{} in chunks of {size}: {why}", subject.name()));
        }
    }
}

#[test]
fn any_random_chunking_gives_the_same_results() {
    for subject in subjects().iter().filter(|subject| results(subject)) {
        let ports = subject.whole(2);
        let expected = subject.run(&ports);
        let mut runner = TestRunner::new(ProptestConfig {
            cases: 6,
            failure_persistence: None,
            ..ProptestConfig::default()
        });
        let sizes = proptest::collection::vec(prop_oneof![1usize..40, 1usize..6000], 1..30);
        runner
            .run(&sizes, |sizes| {
                let pieces: Vec<_> = ports.iter().map(|packets| cut(packets, &sizes)).collect();
                difference(&expected, &subject.run(&pieces))
                    .map_err(|why| TestCaseError::fail(format!("{}: {why}", subject.name())))
            })
            .unwrap();
    }
}

#[test]
fn packets_without_frames_change_nothing() {
    for subject in subjects().iter().filter(|subject| results(subject)) {
        let ports: Vec<_> = subject.whole(3).iter().map(|packets| cut(packets, &[500])).collect();
        let expected = subject.run(&ports);
        let padded: Vec<_> = ports.iter().map(|packets| with_empty(packets)).collect();
        difference(&expected, &subject.run(&padded)).unwrap_or_else(|why| panic!("{}: {why}", subject.name()));
    }
}

#[test]
fn a_gap_splits_a_stream_the_same_way_for_any_chunking() {
    for subject in subjects().iter().filter(|subject| results(subject)) {
        let ports: Vec<_> = subject
            .whole(4)
            .iter()
            .map(|packets| cut_at(packets, 0.6, 0.25))
            .collect();
        let expected = subject.run(&ports);
        for size in [7, 160, 4801] {
            let pieces: Vec<_> = ports.iter().map(|packets| cut(packets, &[size])).collect();
            difference(&expected, &subject.run(&pieces))
                .unwrap_or_else(|why| panic!("{} in chunks of {size}: {why}", subject.name()));
        }
    }
}

#[test]
fn reset_and_replay_give_the_same() {
    for subject in subjects() {
        let ports: Vec<_> = subject.whole(5).iter().map(|packets| cut(packets, &[777])).collect();
        let (schedule, fresh) = (schedule(&ports), Subject::new(subject.kind, &subject.formats));
        let expected = fresh.run(&ports);
        let mut rig = subject.rig(&["a"]);
        if results(&subject) {
            rig.feed(0, &schedule[..schedule.len() / 2]);
            rig.reset(0);
        }
        rig.run(0, &schedule);
        difference(&expected, &subject.seen(&rig, 0)).unwrap_or_else(|why| panic!("{}: {why}", subject.name()));
        assert_eq!(fresh.files(), subject.files(), "{}", subject.name());
    }
}

#[test]
fn a_poisoned_stream_touches_no_other() {
    for subject in subjects() {
        let clean: Vec<_> = subject.whole(6).iter().map(|packets| cut(packets, &[480])).collect();
        let alone = Subject::new(subject.kind, &subject.formats);
        let mut rig = alone.rig(&["clean"]);
        rig.run(0, &schedule(&clean));
        let expected = alone.seen(&rig, 0);

        let poisoned: Vec<_> = subject
            .whole(7)
            .iter()
            .map(|packets| poison(&cut(packets, &[480])))
            .collect();
        let (clean, poisoned) = (schedule(&clean), schedule(&poisoned));
        let mut rig = subject.rig(&["clean", "poisoned"]);
        let wrong = payloads();
        for at in 0..clean.len().max(poisoned.len()) {
            if let Some(slice) = poisoned.get(at..at + 1) {
                rig.feed(1, slice);
                let (port, packet) = &slice[0];
                let mut packet = packet.clone();
                packet.payload = wrong[at % wrong.len()].clone();
                let _ = rig.try_feed(1, *port, packet);
            }
            if let Some(slice) = clean.get(at..at + 1) {
                rig.feed(0, slice);
            }
        }
        let _ = rig.try_flush(1);
        rig.flush(0);
        difference(&expected, &subject.seen(&rig, 0)).unwrap_or_else(|why| panic!("{}: {why}", subject.name()));
        let mut files = subject.files();
        files.retain(|name, _| alone.files().contains_key(name));
        let one_file_a_stream = subject
            .blueprint
            .contract()
            .writes
            .is_some_and(|path| path.contains("{stream}"));
        assert!(!one_file_a_stream || files == alone.files(), "{}", subject.name());
    }
}

#[test]
fn a_payload_of_the_wrong_type_is_an_error() {
    for subject in subjects() {
        let contract = subject.blueprint.contract();
        for (port, input) in contract.inputs.iter().enumerate() {
            for payload in payloads() {
                let mut rig = subject.rig(&["a"]);
                let refused = input.format.accepts(&payload.format()).is_err();
                let packet = inputs::packet(0, 1_000_000, payload.clone());
                let result = rig.try_feed(0, port, packet);
                assert!(
                    !refused || result.is_err(),
                    "{} took {} on `{}`",
                    subject.name(),
                    payload.format(),
                    input.name
                );
                assert!(
                    !matches!(result, Err(StageError::Fatal(_))),
                    "{}: one packet ends all streams",
                    subject.name()
                );
            }
        }
    }
}
