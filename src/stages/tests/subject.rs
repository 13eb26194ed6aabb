//! A kind with formats for its inputs: what the promises are tested on.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use super::inputs::{choices, schedule, whole};
use super::rig::{Rig, Seen};
use crate::config::{Node, Source, Value, parse};
use crate::media::{Format, Packet};
use crate::stage::{Blueprint, Kind, ReadContext, Role, Settings};
use crate::stages::model::testing::with_card;

/// Makes a blueprint whose paths are relative to a folder.
type Make = Rc<dyn Fn(&Path) -> Box<dyn Blueprint>>;

/// One kind with a choice of formats for its inputs, and a folder of its own.
pub struct Subject {
    pub role: Role,
    pub blueprint: Box<dyn Blueprint>,
    pub formats: Vec<Format>,
    name: String,
    make: Make,
    folder: tempfile::TempDir,
}

impl Subject {
    /// What `make` makes, with a choice of formats.
    pub fn new(role: Role, name: &str, formats: &[Format], make: Make) -> Subject {
        let folder = tempfile::tempdir().unwrap();
        let blueprint = make(folder.path());
        Subject { role, blueprint, formats: formats.to_vec(), name: name.into(), make, folder }
    }

    /// The example of a kind, with each choice of formats that its ports and its `outputs` accept.
    pub fn of_kind(kind: &'static Kind) -> Vec<Subject> {
        let make: Make = Rc::new(move |base| {
            example_blueprint(kind, base)
                .unwrap_or_else(|why| panic!("{kind:?}: its example cannot be read, and it is not in NOT_RUN:\n{why}"))
        });
        let folder = tempfile::tempdir().unwrap();
        let choices = choices(&*make(folder.path()));
        assert!(!choices.is_empty(), "{kind:?}: no formats were found that its ports and `outputs` accept");
        let subject = |formats: &Vec<Format>| Subject::new(kind.role, &format!("{kind:?}"), formats, make.clone());
        choices.iter().map(subject).collect()
    }

    /// The same in another folder.
    pub fn again(&self) -> Subject {
        Subject::new(self.role, &self.name, &self.formats, self.make.clone())
    }

    /// Its kind and its formats.
    pub fn name(&self) -> String {
        let formats: Vec<_> = self.formats.iter().map(Format::to_string).collect();
        format!("{} of {}", self.name, formats.join(" and "))
    }

    /// The packets of a stream on these formats, each port's sound in one piece.
    pub fn whole(&self, seed: u32) -> Vec<Vec<Packet>> {
        self.formats.iter().map(|format| whole(format, seed)).collect()
    }

    /// The stage with open streams of these names.
    pub fn rig(&self, streams: &[&str]) -> Rig {
        Rig::open(&*self.blueprint, &self.formats, streams, self.name())
    }

    /// The final results of one stream.
    pub fn run(&self, ports: &[Vec<Packet>]) -> Vec<Seen> {
        let mut rig = self.rig(&["a"]);
        rig.run(0, &schedule(ports));
        self.seen(&rig, 0)
    }

    /// What a stream of the rig gave. Sound that a preprocessing stage gives is cut as its input was: only the whole counts.
    pub fn seen(&self, rig: &Rig, stream: usize) -> Vec<Seen> {
        rig.seen(stream, self.role == Role::Preprocess)
    }

    /// What it wrote to its folder.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap().map(Result::unwrap);
        entries
            .filter(|entry| entry.path().is_file())
            .map(|entry| (entry.file_name().to_string_lossy().into_owned(), std::fs::read(entry.path()).unwrap()))
            .collect()
    }
}

/// The stage in the kind's example that is of this kind.
pub fn example_stage(kind: &Kind) -> Result<(Source, Node), String> {
    let source = Source::new(format!("example of {}", kind.name), kind.example);
    let pipeline = parse(&source).map_err(|faults| faults.to_string())?;
    let stages = pipeline.get("stages").and_then(Node::as_sequence).ok_or("it has no list `stages`")?;
    let key = kind.role.key();
    // A model stage names a model; its card picks the kind.
    let is_kind = |stage: &&Node| match stage.get(key) {
        Some(name) => kind.role == Role::Model || name.as_str() == Some(kind.name),
        None => false,
    };
    let stage = stages.iter().find(is_kind).ok_or(format!("it has no `- {key}: {}`", kind.name))?;
    Ok((source, stage.clone()))
}

/// The blueprint of the kind's example, with paths relative to `base`.
fn example_blueprint(kind: &Kind, base: &Path) -> Result<Box<dyn Blueprint>, String> {
    let (source, stage) = example_stage(kind)?;
    let own = |name: &str| name != kind.role.key() && name != "id" && name != "from";
    let keys = stage.as_mapping().into_iter().flatten().filter(|(key, _)| own(&key.name)).cloned().collect();
    let node = Node::new(stage.span, Value::Mapping(keys));
    let settings = Settings { base_dir: base.to_owned(), ..Settings::default() };
    let model = (kind.role == Role::Model).then(|| stage.get("model")).flatten();
    let node = match model.and_then(Node::as_str) {
        Some(name) => with_card(node, name, base),
        None => node,
    };
    let context = ReadContext { node: &node, model, source: &source, settings: &settings };
    (kind.read)(&context).map_err(|faults| faults.to_string())
}
