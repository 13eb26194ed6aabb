//! A model stage from outside while it runs: which version serves, and how another takes its place.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use thiserror::Error;

use super::super::graph::Graph;
use super::super::session::{Runtime, SessionError};
use super::binding::Binding;
use super::desk::{Desk, LabelError, Labelled};
use super::run::{Given, RunError};
use crate::config::Fault;
use crate::inference::{Exchange, ModelSource, Session, Snapshot, Superseded};
use crate::learn::{Target, Versions};
use crate::media::Classes;
use crate::tensor::{Dim, SymbolicShape, Tensor, TensorError};
use crate::units::Timestamp;

/// The largest input that a trial run is made for, in elements.
const MAX_TRIAL_ELEMENTS: usize = 1 << 24;
/// The largest file that is read: more does not fit in one message of Protocol Buffers.
const LARGEST_FILE: u64 = 2 << 30;

/// A model that is, or will be, served by a stage, for those who change it while it runs.
#[derive(Debug)]
pub struct LiveModel {
    binding: Arc<Binding>,
    graph: Graph,
    runtime: Runtime,
    exchange: Exchange,
    /// Where labels from outside wait for the learner.
    desk: Desk,
    /// Where the versions of earlier runs lie.
    saved: OnceLock<PathBuf>,
}

/// Why a model cannot take the place of the one that serves; that one goes on.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SwapError {
    /// It cannot be opened, or has other ports.
    #[error("{} cannot take the place of model `{model}`: {source}", path.display())]
    Session {
        /// The file, or the name.
        path: PathBuf,
        /// The model that serves.
        model: String,
        /// Why.
        source: SessionError,
    },
    /// It has other ports than the one that serves.
    #[error(
        "{} cannot take the place of model `{model}`: {difference}; a model that is exchanged while it runs must take \
         and give the same tensors{}", path.display(), if *open { "" } else {
        "; only with `open_classes: true` may it have another number of classes" }
    )]
    Ports {
        /// The file, or the name.
        path: PathBuf,
        /// The model that serves.
        model: String,
        /// The first difference.
        difference: String,
        /// Whether the number of classes may change.
        open: bool,
    },
    /// It failed on a run of zeros.
    #[error("{} cannot take the place of model `{model}`: it fails on zeros: {source}", path.display())]
    Trial {
        /// The file, or the name.
        path: PathBuf,
        /// The model that serves.
        model: String,
        /// Why.
        source: RunError,
    },
    /// There is no such version to go back to.
    #[error("model `{model}` has no version to go back to: expected {wanted}, found {found:?}")]
    NoVersion {
        /// The model that serves.
        model: String,
        /// What was asked for.
        wanted: String,
        /// The versions that are remembered.
        found: Vec<u32>,
    },
    /// It is no file, or too large for one.
    #[error("{} cannot take the place of model `{model}`: expected a file of at most {} MiB, found {found}",
        path.display(), LARGEST_FILE >> 20)]
    NoFile {
        /// The path.
        path: PathBuf,
        /// The model that serves.
        model: String,
        /// What is there.
        found: String,
    },
    /// Somebody else has exchanged it meanwhile.
    #[error("model `{model}` was exchanged meanwhile: expected version {expected} to be the newest, found {newest}")]
    Superseded {
        /// The model that serves.
        model: String,
        /// The version that was to be replaced.
        expected: u32,
        /// The newest.
        newest: u32,
    },
    /// The list of its classes is not as long as what it gives.
    #[error(
        "{} cannot take the place of model `{model}`: it gives scores for {scores} classes, and {names} names were given",
        path.display()
    )]
    Classes {
        /// The file, or the name.
        path: PathBuf,
        /// The model that serves.
        model: String,
        /// Classes that it has.
        scores: usize,
        /// Names that were given.
        names: usize,
    },
}

impl LiveModel {
    /// The model that the pipeline's file names.
    pub(super) fn new(binding: Arc<Binding>, graph: Graph, runtime: Runtime) -> LiveModel {
        let first = Snapshot { version: 0, source: graph.path.clone().into(), classes: None };
        LiveModel {
            binding,
            exchange: Exchange::new(first),
            graph,
            runtime,
            desk: Desk::default(),
            saved: OnceLock::new(),
        }
    }

    /// What it is called in messages.
    pub fn name(&self) -> &str {
        &self.graph.model
    }

    /// The version that serves; 0 is the file that the pipeline names.
    pub fn version(&self) -> u32 {
        self.exchange.adopted()
    }

    /// The newest version, which the stage adopts before its next packet.
    pub fn newest(&self) -> Arc<Snapshot> {
        self.exchange.newest()
    }

    /// The file that the pipeline names, whatever serves now.
    pub(in crate::stages::model) fn first(&self) -> Snapshot {
        Snapshot { version: 0, source: self.graph.path.clone().into(), classes: None }
    }

    /// Brings another model, a file or one in memory: opens it, sees that it fits, tries it on zeros, and offers it to
    /// the stage, which adopts it between two packets. `classes` are the names of what it tells apart, where they are
    /// others than before.
    ///
    /// Gives its version. Blocks as long as it takes to open the model; the stream goes on meanwhile. When it fails the
    /// old one goes on.
    pub fn swap(&self, source: impl Into<ModelSource>, classes: Option<Classes>) -> Result<u32, SwapError> {
        self.swap_over(source.into(), classes, None)
    }

    /// The same, where `over` is the newest version still.
    pub(in crate::stages::model) fn swap_over(
        &self,
        source: ModelSource,
        classes: Option<Classes>,
        over: Option<u32>,
    ) -> Result<u32, SwapError> {
        let (at, model) = (|| source.path().to_owned(), || self.graph.model.clone());
        let ports = |difference: String| SwapError::Ports {
            path: at(),
            model: model(),
            difference,
            open: self.binding.open_classes,
        };
        if let ModelSource::File(path) = &source
            && let Ok(found) = path.metadata()
            && !(found.is_file() && found.len() <= LARGEST_FILE)
        {
            let found = match found.is_file() {
                true => format!("{} MiB", found.len() >> 20),
                false => "something else".to_owned(),
            };
            return Err(SwapError::NoFile { path: at(), model: model(), found });
        }
        let mut session = self.runtime.open_from(&source, &self.expected()).map_err(|source| match source {
            SessionError::Ports { difference, .. } => ports(difference),
            source => SwapError::Session { path: at(), model: model(), source },
        })?;
        let trial = self.trial(&mut *session);
        let scores = trial.map_err(|source| SwapError::Trial { path: at(), model: model(), source })?;
        if let (Some(classes), Some(scores)) = (&classes, scores)
            && classes.names().len() != scores
        {
            return Err(SwapError::Classes { path: at(), model: model(), scores, names: classes.names().len() });
        }
        let offered = self.exchange.offer(source, classes, session, over);
        offered.map_err(|newer| self.superseded(over, newer))
    }

    fn superseded(&self, over: Option<u32>, Superseded { newest }: Superseded) -> SwapError {
        SwapError::Superseded { model: self.graph.model.clone(), expected: over.unwrap_or(newest), newest }
    }

    /// Goes back to a version that served before: that number, or the last one before the newest. What it comes back as
    /// is a version of its own, whose number this gives.
    pub fn rollback(&self, to: Option<u32>) -> Result<u32, SwapError> {
        self.rollback_over(to, None)
    }

    /// The same, where `over` is the newest version still.
    pub(in crate::stages::model) fn rollback_over(&self, to: Option<u32>, over: Option<u32>) -> Result<u32, SwapError> {
        let before = self.exchange.before();
        let found = match to {
            Some(version) => before.iter().find(|known| known.version == version),
            None => before.last(),
        };
        let nothing = || SwapError::NoVersion {
            model: self.graph.model.clone(),
            wanted: to.map_or("one before the newest".to_owned(), |version| format!("version {version}")),
            found: before.iter().map(|known| known.version).collect(),
        };
        let snapshot = found.ok_or_else(nothing)?;
        let session = self.runtime.open_from(&snapshot.source, &self.expected()).map_err(|source| {
            SwapError::Session { path: snapshot.source.path().to_owned(), model: self.graph.model.clone(), source }
        })?;
        let offered = self.exchange.offer_again(snapshot.version, session, over);
        offered.map_err(|newer| self.superseded(over, newer))?.ok_or_else(nothing)
    }

    /// The versions that served before the newest and can be gone back to, oldest first.
    pub fn before(&self) -> Vec<Arc<Snapshot>> {
        self.exchange.before()
    }

    /// The graph's input that packets fill, where there is one and each run stands for itself; else what there is.
    pub(in crate::stages::model) fn only_input(&self) -> Result<&str, String> {
        match &self.binding.inputs[..] {
            [only]
                if self.binding.states.is_empty()
                    && self.binding.windows.is_none()
                    && self.binding.constants.is_empty() =>
            {
                Ok(&only.port.name)
            }
            inputs => Err(format!(
                "{} inputs, {} states, {} constants{}",
                inputs.len(),
                self.binding.states.len(),
                self.binding.constants.len(),
                if self.binding.windows.is_some() { ", windows of sound" } else { "" }
            )),
        }
    }

    /// Tells the learner what is right: a class of `stream` (the only one, where none is named) for the packet that
    /// starts `at`, or for the newest. It is joined and counted as any label.
    pub fn label(&self, target: Target, stream: Option<&str>, at: Option<Timestamp>) -> Result<Labelled, LabelError> {
        self.desk.label(&self.graph.model, target, stream, at)
    }

    pub(in crate::stages::model) fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Remembers so many versions beside the newest, to go back to.
    pub(in crate::stages::model) fn remember(&self, versions: usize) {
        self.exchange.remember(versions);
    }

    /// Lets the stage begin with the version that served last, of those in this folder.
    pub(in crate::stages::model) fn saved_in(&self, folder: &Path) {
        let _ = self.saved.set(folder.to_owned());
    }

    /// Takes up what served last in an earlier run, where such versions were saved and nothing else was brought yet.
    pub(in crate::stages::model) fn restore(&self) {
        if self.newest().version > 0 {
            return;
        }
        let Some(folder) = self.saved.get().filter(|folder| folder.is_dir()) else { return };
        let model = &self.graph.model;
        let restored = Versions::read(folder).and_then(|versions| match versions.current() {
            Some(current) => versions.load(current.number).map(|(model, manifest)| Some((model, manifest.clone()))),
            None => Ok(None),
        });
        match restored {
            Ok(Some((version, manifest))) => {
                let names = manifest.labels.iter().map(|name| Arc::from(name.as_str()));
                let name = format!("{model}, version {}", manifest.number).into();
                self.exchange.begin_with(Snapshot {
                    version: u32::try_from(manifest.number).unwrap_or(u32::MAX),
                    source: ModelSource::Memory { name, bytes: version.encode().into() },
                    classes: (!manifest.labels.is_empty()).then(|| Classes::new(names)),
                });
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(model, %error, "no version of an earlier run can be taken up"),
        }
    }

    pub(super) fn binding(&self) -> &Binding {
        &self.binding
    }

    pub(super) fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// A session on the newest version, for a stage that is built. Where that one cannot be opened any more, on the
    /// pipeline's file.
    pub(super) fn begin(&self) -> Result<(Box<dyn Session>, Arc<Snapshot>), SessionError> {
        self.restore();
        let newest = self.exchange.begin();
        if newest.version == 0 {
            return Ok((self.runtime.open(&self.graph)?, newest));
        }
        match self.runtime.open_from(&newest.source, &self.expected()) {
            Ok(session) => Ok((session, newest)),
            Err(error) => {
                let (version, model) = (newest.version, &self.graph.model);
                tracing::warn!(model, version, %error, "the version cannot be opened any more; the first one serves");
                let session = self.runtime.open(&self.graph)?;
                // Where something newer came meanwhile the stage begins with that.
                let first = self.runtime.open(&self.graph)?;
                let _ = self.exchange.offer(self.graph.path.clone().into(), None, first, Some(version));
                Ok((session, self.exchange.begin()))
            }
        }
    }

    pub(super) fn probe(&self) -> Vec<Fault> {
        self.runtime.probe(&[&self.graph])
    }

    /// The ports that another model must have.
    fn expected(&self) -> Graph {
        let mut graph = self.graph.clone();
        if self.binding.open_classes {
            for carried in &self.binding.outputs {
                for port in graph.outputs.iter_mut().filter(|port| port.name == carried.port.name) {
                    port.shape = open(&port.shape);
                }
            }
        }
        graph
    }

    /// Runs it once on zeros, where the size of every input is known but for the batch. Gives the number of classes, the
    /// last size of the first output.
    fn trial(&self, session: &mut dyn Session) -> Result<Option<usize>, RunError> {
        let zeros = self.binding.inputs.iter().map(|input| {
            let dims = input.port.shape.dims()?.iter().enumerate();
            let size = |(axis, dim): (usize, &Dim)| dim.known().or((Some(axis) == input.batch_axis).then_some(1));
            let shape = dims.map(size).collect::<Option<Vec<usize>>>()?;
            let elements = shape.iter().try_fold(1usize, |product, size| product.checked_mul(*size))?;
            (elements <= MAX_TRIAL_ELEMENTS).then(|| Tensor::zeros(input.port.dtype, shape))
        });
        let Some(zeros) = zeros.collect::<Option<Result<Vec<Tensor>, TensorError>>>() else { return Ok(None) };
        let inputs = zeros.map_err(|source| RunError::Tensor { model: self.graph.model.clone(), source })?;
        let states = self.binding.first_states();
        let taken = self.binding.run(session, &[Given { inputs: &inputs, states: &states, added: false }])?;
        let first = taken.first().and_then(|taken| taken.outputs.first());
        Ok(first.and_then(|output| output.shape().last().copied()))
    }
}

/// The shape with any number of classes, its last size.
pub(super) fn open(shape: &SymbolicShape) -> SymbolicShape {
    match shape.dims() {
        None | Some([]) => shape.clone(),
        Some([before @ .., _]) => SymbolicShape::Ranked(before.iter().cloned().chain([Dim::Any]).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{Bench, small_model};
    use super::super::KIND;
    use super::*;
    use crate::media::{Format, Packet, StreamId, StreamInfo};
    use crate::onnx::{Model, ValueInfo};
    use crate::stage::{Blueprint, Solo};
    use crate::units::{ClockInstant, TimeSpan, Timestamp};

    fn info() -> StreamInfo {
        StreamInfo {
            id: StreamId(0),
            name: "test".into(),
            group: "test".into(),
            live: true,
            zero: ClockInstant::default(),
            wall: None,
            file: None,
        }
    }

    /// A pipeline's folder with `name` and what `change` makes of it, `other.onnx`.
    fn bench(name: &str, change: impl FnOnce(&mut Model)) -> (Bench, Arc<dyn Blueprint>, PathBuf) {
        let bench = Bench::new();
        bench.write(name, std::fs::read(small_model(name)).unwrap());
        let mut model = Model::load(small_model(name)).unwrap();
        change(&mut model);
        let other = bench.path("other.onnx");
        model.save(&other).unwrap();
        let state = if name == "accumulate.onnx" { "state: {state: stateN}\n" } else { "" };
        let stage = Arc::from(bench.read(&KIND, &format!("model: {name}\nbackend: engine\n{state}")).unwrap());
        (bench, stage, other)
    }

    fn live(stage: &Arc<dyn Blueprint>) -> Arc<LiveModel> {
        stage.handle().unwrap().downcast().unwrap()
    }

    fn push(solo: &mut Solo, at: i64, values: [f32; 4]) -> (u32, Vec<f32>) {
        let tensor = Tensor::new(vec![4], values.to_vec()).unwrap();
        let packet = Packet::new(StreamId(0), Timestamp::from_nanos(at), TimeSpan::ZERO, tensor);
        let found = solo.push(0, packet).unwrap();
        let (_, packet) = found.first().unwrap();
        (packet.weights, packet.payload.tensor().unwrap().as_slice().unwrap().to_vec())
    }

    fn op(from: &'static str, to: &'static str) -> impl Fn(&mut Model) {
        move |model: &mut Model| {
            let nodes = model.graph.nodes.iter_mut();
            let changed = nodes.filter(|node| node.op_type == from).map(|node| node.op_type = to.into()).count();
            assert_ne!(changed, 0);
        }
    }

    #[test]
    fn another_model_is_adopted_between_two_packets() {
        let (_bench, stage, other) = bench("relu.onnx", op("Relu", "Neg"));
        let live = live(&stage);
        let mut solo = Solo::open(&*stage, info(), vec![Format::ANY_TENSOR]).unwrap();
        let x = [-1.0, 2.0, -3.0, 4.0];
        assert_eq!(push(&mut solo, 0, x), (0, vec![0.0, 2.0, 0.0, 4.0]));
        assert_eq!((live.swap(&*other, None).unwrap(), live.version()), (1, 0));
        assert_eq!(push(&mut solo, 1, x), (1, vec![1.0, -2.0, 3.0, -4.0]));
        assert_eq!((live.version(), &live.newest().source), (1, &other.clone().into()));
        assert_eq!(live.rollback(None).unwrap(), 2);
        assert_eq!(push(&mut solo, 1, x), (2, vec![0.0, 2.0, 0.0, 4.0]));
        let error = live.rollback(None).unwrap_err().to_string();
        assert!(error.contains("expected one before the newest, found []"), "{error}");
        assert_eq!((live.swap(&*other, None).unwrap(), push(&mut solo, 1, x).0), (3, 3));
        let bytes: Arc<[u8]> = std::fs::read(&other).unwrap().into();
        let memory = ModelSource::Memory { name: "learned".into(), bytes };
        // A stage that is built anew goes on with it.
        let mut anew = Solo::open(&*stage, info(), vec![Format::ANY_TENSOR]).unwrap();
        assert_eq!(push(&mut anew, 2, x), (3, vec![1.0, -2.0, 3.0, -4.0]));
        // And with the first one when its file is gone: a version of its own.
        std::fs::remove_file(&other).unwrap();
        let mut anew = Solo::open(&*stage, info(), vec![Format::ANY_TENSOR]).unwrap();
        assert_eq!(push(&mut anew, 2, x), (4, vec![0.0, 2.0, 0.0, 4.0]));
        // What is in memory needs no file.
        assert_eq!(live.swap(memory, None).unwrap(), 5);
        assert_eq!(push(&mut anew, 3, x), (5, vec![1.0, -2.0, 3.0, -4.0]));
        let mut anew = Solo::open(&*stage, info(), vec![Format::ANY_TENSOR]).unwrap();
        assert_eq!(push(&mut anew, 4, x), (5, vec![1.0, -2.0, 3.0, -4.0]));
        let cut = ModelSource::Memory {
            name: "half".into(),
            bytes: std::fs::read(small_model("relu.onnx")).unwrap()[..30].into(),
        };
        let error = live.swap(cut, None).unwrap_err().to_string();
        assert!(error.contains("half cannot take the place of model `relu.onnx`"), "{error}");
    }

    #[test]
    fn states_are_carried_over() {
        let (_bench, stage, other) = bench("accumulate.onnx", |_| {});
        let mut alone = Solo::open(&*stage, info(), vec![Format::ANY_TENSOR]).unwrap();
        let expected: Vec<_> = (0..3).map(|at| push(&mut alone, at, [1.0; 4]).1).collect();
        assert!(expected[0] != expected[1] && expected[1] != expected[2]);
        let mut solo = Solo::open(&*stage, info(), vec![Format::ANY_TENSOR]).unwrap();
        for (at, expected) in (0..).zip(expected) {
            assert_eq!(push(&mut solo, at, [1.0; 4]), (at as u32, expected));
            live(&stage).swap(&*other, None).unwrap();
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_the_old_one_goes_on() {
        fn renamed(model: &mut Model) {
            let input = model.graph.inputs.first_mut().unwrap();
            let name = std::mem::replace(&mut input.name, "z".into());
            let inputs = model.graph.nodes.iter_mut().flat_map(|node| &mut node.inputs);
            inputs.filter(|input| **input == name).for_each(|input| *input = "z".into());
        }
        fn wider(model: &mut Model) {
            let wide = |value: &mut ValueInfo| value.shape = SymbolicShape::Ranked(vec![Dim::Known(1), Dim::Known(5)]);
            model.graph.inputs.iter_mut().for_each(wide);
            model.graph.outputs.iter_mut().for_each(wide);
        }
        type Change = fn(&mut Model);
        let table: [(Change, &str); 3] = [
            (renamed, "input `x`: expected f32 [1, 4], found no such port"),
            (wider, "input `x`: expected f32 [1, 4], found f32 [1, 5]"),
            (|model| model.graph.nodes.iter_mut().for_each(|node| node.op_type = "Rleu".into()), "Rleu"),
        ];
        for (change, says) in table {
            let (bench, stage, other) = bench("relu.onnx", change);
            let live = live(&stage);
            let mut solo = Solo::open(&*stage, info(), vec![Format::ANY_TENSOR]).unwrap();
            let error = live.swap(&*other, None).unwrap_err().to_string();
            assert!(error.contains("other.onnx cannot take the place of model `relu.onnx`"), "{error}");
            assert!(error.contains(says), "{error}");
            let half = bench.write("half.onnx", &std::fs::read(&other).unwrap()[..20]);
            assert!(matches!(live.swap(&*half, None), Err(SwapError::Session { .. })));
            assert!(matches!(live.swap(bench.path("none.onnx"), None), Err(SwapError::Session { .. })));
            let names = Classes::new(["a".into(), "b".into()]);
            let error = live.swap(bench.path("relu.onnx"), Some(names)).unwrap_err().to_string();
            assert!(error.contains("scores for 4 classes, and 2 names were given"), "{error}");
            assert_eq!(push(&mut solo, 0, [-1.0, 2.0, -3.0, 4.0]), (0, vec![0.0, 2.0, 0.0, 4.0]));
            assert_eq!((live.version(), live.newest().version), (0, 0));
        }
    }

    #[test]
    fn open_classes_may_be_more() {
        use crate::engine::{Builder, Dense};
        let bench = Bench::new();
        let save = |classes: usize| {
            let mut graph = Builder::new("head", 1);
            let x = graph.input("x", crate::tensor::DType::F32, &[None, Some(4)]).unwrap();
            let y = Dense::new("out", classes).apply(&mut graph, &x).unwrap();
            graph.output("y", &y).unwrap();
            let path = bench.path(&format!("{classes}.onnx"));
            graph.finish().save(&path).unwrap();
            path
        };
        save(3);
        let four = save(4);
        for (open, closed_says) in [(false, Some("may it have another number of classes")), (true, None)] {
            let yaml = format!("model: 3.onnx\nbackend: engine\nopen_classes: {open}\n");
            let stage: Arc<dyn Blueprint> = Arc::from(bench.read(&KIND, &yaml).unwrap());
            let shape = SymbolicShape::Ranked(vec![Dim::Known(4)]);
            let formats = stage.outputs(&[Format::Tensor { dtype: None, shape }]).unwrap();
            assert_eq!(formats[0].to_string(), if open { "tensor f32 [?]" } else { "tensor f32 [3]" });
            let live = live(&stage);
            let mut solo = Solo::open(&*stage, info(), vec![Format::ANY_TENSOR]).unwrap();
            assert_eq!(push(&mut solo, 0, [1.0; 4]).1.len(), 3);
            let names = Classes::new(["a", "b", "c", "d"].map(Into::into));
            let swapped = live.swap(&*four, Some(names.clone()));
            match closed_says {
                Some(says) => assert!(swapped.unwrap_err().to_string().contains(says)),
                None => {
                    assert_eq!(swapped.unwrap(), 1);
                    let tensor = Tensor::new(vec![4], vec![1.0f32; 4]).unwrap();
                    let packet = Packet::new(StreamId(0), Timestamp::from_nanos(1), TimeSpan::ZERO, tensor);
                    let (_, packet) = solo.push(0, packet).unwrap().remove(0);
                    assert_eq!(packet.payload.tensor().unwrap().shape(), [4]);
                    assert!(packet.classes.unwrap().same(&names));
                }
            }
        }
    }
}
