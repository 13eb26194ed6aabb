//! Pipelines with every fault that check knows, and where it puts it.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::PipelineFile;
use crate::config::{Fault, Faults};
use crate::media::Format;
use crate::stage::{Blueprint, Contract, ContractFault, Kind, Registry, Role, Runnable, Settings, StageError};
use crate::units::Rate;

macro_rules! kinds {
    ($($type:ident, $fields:tt, $contract:expr, $outputs:expr;)*) => {$(
        #[derive(Clone, Debug, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        struct $type $fields

        impl Blueprint for $type {
            fn contract(&self) -> Contract {
                let contract: fn(&$type) -> Contract = $contract;
                contract(self)
            }

            fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
                let outputs: fn(&$type, &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> = $outputs;
                outputs(self, inputs)
            }

            fn build(&self) -> Result<Runnable, StageError> {
                Err(StageError::fatal("these stages are only checked"))
            }
        }
    )*};
}

fn audio(hz: u32) -> Format {
    Format::audio(Some(Rate::hz(hz).unwrap()), Some(1))
}

kinds! {
    Tone, { /// Rate. Default 48000.
        #[serde(default = "fast")] #[schemars(range(min = 1))] rate_hz: u32, #[serde(default)] many: bool },
        |tone| Contract::new().output("out").many_streams(tone.many), |tone, _| Ok(vec![audio(tone.rate_hz)]);
    Convert, { /// Rate.
        rate_hz: u32 }, |_| Contract::new().input("in", Format::ANY_AUDIO).output("out"), |c, _| Ok(vec![audio(c.rate_hz)]);
    Voice, {}, |_| Contract::new().input("in", Format::ANY_AUDIO).output("out"), |_, inputs| {
        match audio(16_000).accepts(&inputs[0]) {
            Ok(()) => Ok(vec![Format::ANY_TENSOR]),
            Err(mismatch) => Err(vec![ContractFault {
                port: "in".into(),
                expected: mismatch.expected.to_string(),
                found: mismatch.found.to_string(),
                help: Some("insert `- preprocess: convert` with `rate_hz: 16000`".into()),
            }]),
        }
    };
    Cut, {}, |_| Contract::new().input("voice", Format::ANY_TENSOR).input("audio", Format::ANY_AUDIO).output("out"),
        |_, inputs| Ok(vec![inputs[1].clone()]);
    Write, { /// Path.
        path: String }, |write| Contract::new().input("in", Format::Any).writes(write.path.clone()), |_, _| Ok(vec![]);
}

fn fast() -> u32 {
    48_000
}

const REGISTRY: Registry = Registry::new(
    &[
        (Role::Capture, &[Kind::plain::<Tone>("tone", Role::Capture, "A tone.", "")]),
        (Role::Preprocess, &[Kind::plain::<Convert>("convert", Role::Preprocess, "Another rate.", "")]),
        (
            Role::Decoder,
            &[
                Kind::plain::<Voice>("voice", Role::Decoder, "Voice.", ""),
                Kind::plain::<Cut>("cut", Role::Decoder, "Cuts.", ""),
            ],
        ),
        (Role::Sink, &[Kind::plain::<Write>("write", Role::Sink, "Writes.", "")]),
    ],
    &[(Role::Capture, "microphone", "microphone")],
);

fn check(stages: &str) -> Result<(Arc<super::Plan>, Faults), Faults> {
    let text = format!("percept: 1\nstages:\n{stages}");
    let file = PipelineFile::parse("test.yaml", text)?;
    file.check(&REGISTRY, &Settings::default()).map(|(plan, faults)| (Arc::new(plan), faults))
}

fn faults(stages: &str) -> Vec<Fault> {
    match check(stages) {
        Ok((_, faults)) => faults.iter().cloned().collect(),
        Err(faults) => faults.iter().cloned().collect(),
    }
}

const DIAMOND: &str = "  - capture: tone
  - preprocess: convert
    rate_hz: 16000
  - decoder: voice
  - decoder: cut
    from: {voice: voice, audio: {stage: convert, queue: 4, overflow: drop_oldest}}
  - sink: write
    path: out
";

#[test]
fn a_whole_pipeline_is_planned_with_its_links() {
    let (plan, faults) = check(DIAMOND).unwrap();
    assert!(faults.is_empty());
    let links: Vec<_> = plan.links.iter().map(|link| plan.link_name(link)).collect();
    assert_eq!(links, ["tone → convert", "convert → voice", "voice → cut.voice", "convert → cut.audio", "cut → write"]);
    let formats: Vec<_> = plan.links.iter().map(|link| plan.format(link.from.0, link.from.1).to_string()).collect();
    let [fast, slow] = ["audio 48000 Hz, 1 channel", "audio 16000 Hz, 1 channel"];
    assert_eq!(formats, [fast, slow, "tensor", slow, slow]);
    assert_eq!(plan.links[3].settings.queue, 4);
    assert_eq!(plan.links[3].settings.overflow, super::Overflow::DropOldest);
    assert_eq!(&*plan.name, "test");
}

#[test]
fn each_fault_is_found_where_it_stands() {
    // Stages, the code of the one fault, the text it points at, and a word that its message or help must hold.
    let cases = [
        ("  - capture: tune\n  - sink: write\n    path: x\n", "unknown-kind", "tune", "`tone`"),
        ("  - capture: convert\n  - sink: write\n    path: x\n", "unknown-kind", "convert", "preprocess: convert"),
        ("  - capture: microphone\n  - sink: write\n    path: x\n", "left-out", "microphone", "feature `microphone`"),
        ("  - captur: tone\n  - capture: tone\n  - sink: write\n    path: x\n", "no-role", "captur", "`capture`"),
        (
            "  - capture: tone\n    sink: write\n  - sink: write\n    path: x\n  - capture: tone\n    id: b\n",
            "two-roles",
            "sink",
            "one role",
        ),
        ("  - capture: tone\n    ratehz: 5\n  - sink: write\n    path: x\n", "unknown-key", "ratehz", "`rate_hz`"),
        ("  - capture: tone\n    rate_hz: 0\n  - sink: write\n    path: x\n", "", "0", "1"),
        ("  - capture: tone\n  - sink: write\n    path: x\n    from: tune\n", "unknown-stage", "tune", "`tone`"),
        (
            "  - capture: tone\n  - sink: write\n    path: x\n    from: tone.left\n",
            "unknown-port",
            "tone.left",
            "tone.out",
        ),
        ("  - capture: tone\n  - sink: write\n    path: x\n    from: {stage: tone, queue: 0}\n", "", "0", "1"),
        (
            "  - capture: tone\n  - sink: write\n    path: x\n  - sink: write\n    id: b\n    path: x\n",
            "same-file",
            "write",
            "path of its own",
        ),
        ("  - capture: tone\n    many: true\n  - sink: write\n    path: x\n", "one-file", "write", "{stream}"),
        (
            "  - capture: tone\n  - sink: write\n    path: x\n  - sink: write\n    path: y\n",
            "duplicate-id",
            "write",
            "id",
        ),
        ("  - capture: tone\n  - preprocess: convert\n    rate_hz: 1\n", "unread-output", "convert", "nobody"),
        ("  - sink: write\n    path: x\n", "", "write", "capture"),
        (
            "  - capture: tone\n  - decoder: voice\n  - sink: write\n    path: x\n",
            "format-mismatch",
            "voice",
            "rate_hz: 16000",
        ),
        ("  - capture: tone\n  - decoder: cut\n  - sink: write\n    path: x\n", "which-port", "cut", "voice"),
    ];
    for (stages, code, place, word) in cases {
        let found = faults(stages);
        let text = found.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
        let fault = found.iter().find(|fault| code.is_empty() || fault.code == code);
        let fault = fault.unwrap_or_else(|| panic!("no {code} in\n{stages}\n{text}"));
        let source = fault.source.as_ref().unwrap();
        assert_eq!(source.slice(fault.span.unwrap()), Some(place), "{stages}\n{text}");
        assert!(text.contains(word), "no {word} in\n{text}");
    }
}

#[test]
fn a_cycle_is_named_unless_it_is_feedback() {
    let stages = |feedback: &str| {
        format!(
            "  - capture: tone\n    rate_hz: 16000\n  - decoder: voice\n  - decoder: cut\n    from: {{voice: voice, audio: \
             {{stage: convert{feedback}}}}}\n  - preprocess: convert\n    rate_hz: 16000\n  - sink: write\n    path: x\n"
        )
    };
    let found = faults(&stages(""));
    assert!(
        found.iter().any(|fault| fault.code == "cycle" && fault.found.as_deref() == Some("cut → convert → cut")),
        "{found:#?}"
    );
    assert!(check(&stages(", feedback: true")).is_ok());
}

#[test]
fn all_faults_come_at_once() {
    let found = faults(
        "  - capture: tone\n    ratehz: 1\n    rate_hz: x\n  - preprocess: konvert\n  - decoder: cut\n    from: {voice: nobody}\n  - sink: write\n",
    );
    let codes: Vec<_> = found.iter().map(|fault| fault.code).collect();
    for code in ["unknown-key", "unknown-kind", "unknown-stage", "missing-key"] {
        assert!(codes.contains(&code), "no {code} in {codes:?}");
    }
    assert!(codes.len() >= 5, "{codes:?}");
}

#[test]
fn overrides_and_inputs_change_the_file_before_it_is_checked() {
    let text = format!("percept: 1\nstages:\n{DIAMOND}");
    let mut file = PipelineFile::parse("test.yaml", text).unwrap();
    file.set("convert.rate_hz=8000").unwrap();
    let faults = file.check(&REGISTRY, &Settings::default()).unwrap_err();
    assert_eq!(faults.iter().next().unwrap().code, "format-mismatch");
    assert!(file.set("konvert.rate_hz=1").unwrap_err().to_string().contains("`convert`"));
    assert!(file.set_inputs(Some("nobody"), &["a.wav".into()]).unwrap_err().to_string().contains("`tone`"));
    file.set_inputs(None, &["a.wav".into()]).unwrap();
    let faults = file.check(&REGISTRY, &Settings::default()).unwrap_err();
    assert!(faults.to_string().contains("--input a.wav"), "{faults}");
}

#[test]
fn inputs_keep_a_capture_that_reads_files_and_its_keys() {
    for (capture, kind, keeps) in [
        ("{capture: images, path: a, folder: b, pixels: gray8}", "images", Some("gray8")),
        ("{capture: file, path: a, pixels: gray8}", "file", Some("gray8")),
        ("{capture: microphone, pixels: gray8}", "file", None),
        ("{capture: video, path: a, pixels: gray8}", "video", Some("gray8")),
        ("{capture: camera, pixels: gray8}", "video", None),
    ] {
        let text = format!("percept: 1\nstages: [{capture}]\n");
        let mut file = PipelineFile::parse("test.yaml", text).unwrap();
        file.set_inputs(None, &["holiday".into()]).unwrap();
        let stage = file.stages().next().unwrap();
        let value = |key: &str| stage.get(key).and_then(crate::config::Node::as_str);
        assert_eq!((value("capture"), value("path"), value("pixels")), (Some(kind), Some("holiday"), keeps));
        assert_ne!(value("folder"), Some("b"));
        let keys: Vec<_> = stage.as_mapping().unwrap().iter().map(|(key, _)| key.name.as_str()).collect();
        assert_eq!(keys.iter().filter(|key| **key == "folder" || **key == "path").count(), 2, "{keys:?}");
    }
}
