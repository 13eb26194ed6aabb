//! Stages in a row, run in the caller's thread: no actors, no links, no clock. What a training does to its data with it
//! is, bit for bit, what a pipeline with the same stages does to a stream.

use std::sync::Arc;

use thiserror::Error;

use super::assemble::assemble;
use super::plan::Plan;
use super::spec::{self, Place, StageSpec};
use crate::config::{Fault, Faults, Node, Source};
use crate::media::{Format, Packet, StreamId, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Registry, Role, Runnable, Settings, Solo, SoloError, StageError,
};
use crate::units::ClockInstant;

/// The id of what is before a chain's first stage, in messages.
const SOURCE: &str = "data";
/// The id of what is behind its last.
const READER: &str = "model";

/// A list of stages of one role as it was read, each of which reads what the one above writes.
#[derive(Clone, Debug)]
pub struct Chain {
    stages: Vec<StageSpec>,
    settings: Settings,
    /// What reading them found; [`Chain::check`] reports it.
    faults: Faults,
    /// Where its reader is written.
    reader: Place,
}

/// Why a chain cannot take a stream or a packet.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChainError {
    /// A stage of it refuses.
    #[error("stage `{stage}`: {error}")]
    Stage {
        /// The stage's id.
        stage: Arc<str>,
        /// Why.
        #[source]
        error: StageError,
    },
    /// A stage that brings streams in cannot stand in a chain.
    #[error("stage `{stage}`: expected one that takes packets, found a capture")]
    Capture {
        /// The stage's id.
        stage: Arc<str>,
    },
    /// Its keys are at fault; [`Chain::check`] says which.
    #[error("stage `{stage}` has faults, so it cannot be run")]
    Faulty {
        /// The stage's id.
        stage: Arc<str>,
    },
}

impl Chain {
    /// Reads the list `node`, which stands under `key` in its file: stages of `role`, as a pipeline file has them but for
    /// `from`. Relative paths in them start where `settings` says. What is wrong with them is told by
    /// [`check`](Self::check).
    pub fn read(
        node: &Node,
        source: &Source,
        key: &str,
        role: Role,
        registry: &Registry,
        settings: &Settings,
    ) -> Chain {
        let mut faults = Faults::new();
        let mut stages = Vec::new();
        if node.as_sequence().is_none() {
            let fault = Fault::error("wrong-type", format!("`{key}` is no list of stages"))
                .expected(format!("a list, as in `- {role}: {}`", registry.names(role).next().unwrap_or("KIND")))
                .found(node.describe());
            faults.push(fault.at_node(node, source).path(key));
        }
        for (index, stage) in node.as_sequence().unwrap_or_default().iter().enumerate() {
            let path = format!("{key}[{index}]");
            let other = Role::ALL.into_iter().filter(|other| *other != role).find_map(|other| stage.key(other.key()));
            if let Some(other) = other.filter(|_| stage.get(role.key()).is_none()) {
                let fault = Fault::error("wrong-role", format!("a {} cannot stand in `{key}`", other.name))
                    .expected(format!("stages of the role `{role}`"))
                    .at_key(other, source);
                faults.push(fault.path(path));
                continue;
            }
            if let Some(from) = stage.key("from") {
                let fault = Fault::error("no-from", format!("each stage in `{key}` reads from the one above it"))
                    .help("remove `from`")
                    .at_key(from, source);
                faults.push(fault.path(path.clone()));
            }
            let read = spec::read_stage(stage, source, path, registry, settings, &mut faults);
            stages.extend(read.map(|stage| StageSpec { from: None, ..stage }));
        }
        Chain { stages, settings: settings.clone(), faults, reader: Place::default() }
    }

    /// Says where its reader is written: what that cannot read is told there.
    #[must_use]
    pub fn read_at(mut self, node: &Node, source: &Source) -> Self {
        self.reader = Place::of(node, source);
        self
    }

    /// Whether it has no stage.
    pub fn is_empty(&self) -> bool {
        self.stages.is_empty()
    }

    /// What it gives for `from`, as a pipeline would have it, with warnings; or every fault at once. `reader` is what
    /// reads its last stage; `None` reads anything.
    pub fn check(&self, from: Format, reader: Option<Arc<dyn Blueprint>>) -> Result<(Format, Faults), Faults> {
        let end = |id: &str, role: Role, blueprint: Arc<dyn Blueprint>| StageSpec {
            id: id.into(),
            role,
            kind: id.to_owned(),
            blueprint: Some(blueprint),
            from: None,
            place: self.reader.clone(),
        };
        let mut stages = vec![end(SOURCE, Role::Capture, Arc::new(Given(from)))];
        stages.extend(self.stages.iter().cloned());
        stages.push(end(READER, Role::Sink, reader.unwrap_or_else(|| Arc::new(Anything))));
        let name = Arc::from(READER);
        let (plan, warnings) =
            assemble(name, Plan::DEFAULT_MEMORY_BYTES, self.settings.clone(), stages, self.faults.clone())?;
        // The first stage is the source, so the last of the chain has its number.
        Ok((plan.format(self.stages.len(), 0).clone(), warnings))
    }

    /// Builds the stages and opens a stream called `name` that carries `format`, with nothing unknown.
    pub fn open(&self, name: &str, format: Format) -> Result<ChainRun, ChainError> {
        let mut run = ChainRun { stages: Vec::with_capacity(self.stages.len()), format };
        for spec in &self.stages {
            let stage = spec.id.clone();
            let Some(blueprint) = &spec.blueprint else { return Err(ChainError::Faulty { stage }) };
            let stream = StreamInfo {
                id: StreamId(0),
                name: name.into(),
                group: name.into(),
                live: false,
                zero: ClockInstant::default(),
                wall: None,
                file: None,
            };
            let solo = Solo::open(&**blueprint, stream, vec![run.format().clone()]).map_err(|error| match error {
                SoloError::Stage(error) => ChainError::Stage { stage: stage.clone(), error },
                SoloError::IsCapture => ChainError::Capture { stage: stage.clone() },
            })?;
            run.stages.push((stage, solo));
        }
        Ok(run)
    }
}

/// A chain with an open stream.
pub struct ChainRun {
    stages: Vec<(Arc<str>, Solo)>,
    /// What it was opened with.
    format: Format,
}

impl ChainRun {
    /// The format of what it takes.
    pub fn input(&self) -> &Format {
        &self.format
    }

    /// The format of what it gives.
    pub fn format(&self) -> &Format {
        self.stages.last().and_then(|(_, solo)| solo.formats().first()).unwrap_or(&self.format)
    }

    /// Takes a packet and gives what comes of it.
    pub fn push(&mut self, packet: Packet) -> Result<Vec<Packet>, ChainError> {
        self.pass(0, vec![packet])
    }

    /// Ends the stream and gives what was left, stage by stage.
    pub fn flush(&mut self) -> Result<Vec<Packet>, ChainError> {
        let mut given = Vec::new();
        for place in 0..self.stages.len() {
            let (stage, solo) = &mut self.stages[place];
            let left = solo.flush().map_err(|error| ChainError::Stage { stage: stage.clone(), error })?;
            given.extend(self.pass(place + 1, first_port(left))?);
        }
        Ok(given)
    }

    /// Begins a new stream of the same format, with the same stages.
    pub fn restart(&mut self) -> Result<(), ChainError> {
        for (stage, solo) in &mut self.stages {
            solo.reset().map_err(|error| ChainError::Stage { stage: stage.clone(), error })?;
        }
        Ok(())
    }

    /// Lets packets through the stages from `first` on.
    fn pass(&mut self, first: usize, mut packets: Vec<Packet>) -> Result<Vec<Packet>, ChainError> {
        for (stage, solo) in self.stages.iter_mut().skip(first) {
            let mut given = Vec::with_capacity(packets.len());
            for packet in packets {
                let result = solo.push(0, packet).map_err(|error| ChainError::Stage { stage: stage.clone(), error })?;
                given.extend(first_port(result));
            }
            packets = given;
        }
        Ok(packets)
    }
}

/// What came on the port that a bare stage name means.
fn first_port(packets: Vec<(usize, Packet)>) -> Vec<Packet> {
    packets.into_iter().filter(|(port, _)| *port == 0).map(|(_, packet)| packet).collect()
}

/// Stands for what is before the first stage, while formats are solved.
#[derive(Debug)]
struct Given(Format);

impl Blueprint for Given {
    fn contract(&self) -> Contract {
        Contract::new().output("out")
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(vec![self.0.clone()])
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Err(StageError::fatal("it stands for data, and is never run"))
    }
}

/// Stands for a reader that takes anything.
#[derive(Debug)]
struct Anything;

impl Blueprint for Anything {
    fn contract(&self) -> Contract {
        Contract::new().input("in", Format::Any)
    }

    fn outputs(&self, _: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        Ok(Vec::new())
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Err(StageError::fatal("it stands for a reader, and is never run"))
    }
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::*;
    use crate::config::parse;
    use crate::media::Audio;
    use crate::stage::{Draft, Input, Kind, Opened, Output, Stage};
    use crate::units::{Rate, TimeSpan, Timestamp};

    /// Multiplies samples, holds one packet back until the next or the end.
    #[derive(Clone, Debug, Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    struct Gain {
        /// The factor.
        by: f32,
        /// The rate it takes. Default: any.
        #[serde(default)]
        rate_hz: Option<u32>,
    }

    impl Blueprint for Gain {
        fn contract(&self) -> Contract {
            let rate = self.rate_hz.and_then(|hz| Rate::hz(hz).ok());
            Contract::new().input("in", Format::audio(rate, None)).output("out").optional_output("also")
        }

        fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
            Ok(vec![inputs[0].clone(), inputs[0].clone()])
        }

        fn build(&self) -> Result<Runnable, StageError> {
            Ok(Runnable::stage(GainStage(self.clone())))
        }
    }

    struct GainStage(Gain);

    impl Stage for GainStage {
        type State = Option<Draft>;

        fn open(&mut self, _: &StreamInfo, inputs: &[Format]) -> Result<Opened<Option<Draft>>, StageError> {
            let outputs = self.0.outputs(inputs).map_err(|_| StageError::end_stream("no"))?;
            Ok(Opened { state: None, outputs })
        }

        fn process(&mut self, held: &mut Option<Draft>, input: Input, out: &mut Output) -> Result<(), StageError> {
            let audio = input.packet.payload.audio()?;
            let samples: Vec<f32> = audio.samples().iter().map(|sample| sample * self.0.by).collect();
            if samples.contains(&0.0) {
                return Err(StageError::skip("silence"));
            }
            let draft =
                Draft::new(input.packet.start, input.packet.duration, Audio::mono(samples.clone(), audio.rate()));
            out.emit(1, draft.clone());
            held.replace(draft).into_iter().for_each(|draft| out.emit(0, draft));
            Ok(())
        }

        fn flush(&mut self, held: &mut Option<Draft>, out: &mut Output) -> Result<(), StageError> {
            held.take().into_iter().for_each(|draft| out.emit(0, draft));
            Ok(())
        }
    }

    const REGISTRY: Registry =
        Registry::new(&[(Role::Preprocess, &[Kind::plain::<Gain>("gain", Role::Preprocess, "Louder.", "")])], &[]);

    fn chain(yaml: &str) -> Chain {
        let source = Source::new("recipe.yaml", yaml);
        let node = parse(&source).unwrap();
        let stages = node.get("preprocess").unwrap();
        Chain::read(stages, &source, "preprocess", Role::Preprocess, &REGISTRY, &Settings::default())
    }

    fn mono(hz: u32) -> Format {
        Format::audio(Some(Rate::hz(hz).unwrap()), Some(1))
    }

    #[test]
    fn packets_pass_every_stage_and_the_end_brings_what_was_held() {
        let chain =
            chain("preprocess:\n  - preprocess: gain\n    by: 2\n  - preprocess: gain\n    id: more\n    by: 3\n");
        assert_eq!(chain.check(Format::ANY_AUDIO, None).unwrap().0, Format::ANY_AUDIO);
        let mut run = chain.open("a.wav", mono(8000)).unwrap();
        assert_eq!((run.input(), run.format()), (&mono(8000), &mono(8000)));
        let packet = |number: i64| {
            let audio = Audio::mono(vec![number as f32 + 1.0], Rate::hz(8000).unwrap());
            Packet::new(StreamId(0), Timestamp::from_nanos(number), TimeSpan::ZERO, audio)
        };
        let samples = |packets: Vec<Packet>| -> Vec<f32> {
            packets.iter().flat_map(|packet| packet.payload.audio().unwrap().samples().to_vec()).collect()
        };
        for _ in 0..2 {
            assert!(run.push(packet(0)).unwrap().is_empty());
            assert!(run.push(packet(1)).unwrap().is_empty());
            assert_eq!(samples(run.push(packet(2)).unwrap()), [6.0]);
            assert_eq!(samples(run.flush().unwrap()), [12.0, 18.0]);
            run.restart().unwrap();
        }
        let error = run.push(packet(-1)).unwrap_err().to_string();
        assert_eq!(error, "stage `gain`: silence");
    }

    #[test]
    fn an_empty_chain_passes_everything() {
        let chain = chain("preprocess: []\n");
        assert!(chain.is_empty());
        assert_eq!(chain.check(mono(8000), None).unwrap().0, mono(8000));
        assert_eq!(chain.open("a", Format::Text).unwrap().format(), &Format::Text);
    }

    #[test]
    fn faults_are_those_of_a_pipeline_at_their_places() {
        // The list, what is said, and the text that the fault points at.
        for (list, says, place) in [
            ("- preprocess: gian\n    by: 1\n", "did you mean `gain`?", "gian"),
            ("- preprocess: gain\n    bye: 1\n", "did you mean `by`?", "bye"),
            ("- preprocess: gain\n", "`by`", "preprocess: gain"),
            ("- sink: gain\n", "a sink cannot stand in `preprocess`", "sink"),
            ("- preproces: gain\n", "did you mean `preprocess`?", "preproces"),
            ("- preprocess: gain\n    by: 1\n    from: x\n", "reads from the one above it", "from"),
            (
                "- preprocess: gain\n    by: 1\n  - preprocess: gain\n    by: 1\n",
                "two stages have the id `gain`",
                "gain",
            ),
            ("- preprocess: gain\n    by: 1\n    rate_hz: 16000\n", "audio 8000 Hz, 1 channel, from `data`", "gain"),
        ] {
            let chain = chain(&format!("preprocess:\n  {list}"));
            let faults = chain.check(mono(8000), None).unwrap_err();
            let fault = faults.iter().find(|fault| fault.to_string().contains(says));
            let fault = fault.unwrap_or_else(|| panic!("{list}: {faults}"));
            assert_eq!(fault.source.as_ref().unwrap().slice(fault.span.unwrap()), Some(place), "{list}: {fault}");
        }
        let none = chain("preprocess: 5\n").check(mono(8000), None).unwrap_err().to_string();
        assert!(none.contains("`preprocess` is no list of stages"), "{none}");
        assert!(matches!(chain("preprocess: [{preprocess: gain}]").open("a", mono(8)), Err(ChainError::Faulty { .. })));
    }
}
