//! A whole model (`ModelProto`, onnx.proto).

use std::path::Path;

use prost::Message;
use prost::bytes::Buf;

use super::error::OnnxError;
use super::external::Folder;
use super::file::{MAX_LEN, ModelFile};
use super::graph::{Function, Graph, MAX_GRAPH_DEPTH, OpsetImport};
use super::kept::{Kept, some_text};
use super::proto::{ModelProto, StringStringEntryProto};
use super::sniff;
use crate::files;

/// The version of the format that [`Model::new`] writes: it has everything that [`Model`] shows, and ONNX Runtime reads
/// it since 1.18.
const IR_VERSION: i64 = 10;

/// An ONNX model: a graph, the operator sets it is written in, and who made it.
///
/// # What survives loading and saving
///
/// Everything the format of onnx 1.23 defines, also what these types do not show: documentation, metadata of nodes and
/// values, denotations, quantisation annotations, device configurations, training information. Lost are fields newer
/// than that version, notes on sparse tensors, the order of fields and the choice of encoding: tensors are written as
/// `raw_data` inside the model, external ones too. Training information is passed on unread: where it points at
/// external files, copy those along.
///
/// # Memory
///
/// Loading takes the weights once, plus the largest tensor; encoding holds them three times (tensors, messages, bytes).
/// What a file claims is checked against its length before anything is allocated for it; a hostile file of nothing but
/// empty messages takes at most some 500 times its own size.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The version of the file format.
    pub ir_version: i64,
    /// The program that made it.
    pub producer_name: String,
    /// That program's version.
    pub producer_version: String,
    /// Whose model it is, as a reversed domain name.
    pub domain: String,
    /// The model's own version.
    pub model_version: i64,
    /// What it is for.
    pub doc_string: String,
    /// The operator sets its nodes come from.
    pub opset_imports: Vec<OpsetImport>,
    /// Free pairs of key and value, in the file's order.
    pub metadata: Vec<(String, String)>,
    /// The computation.
    pub graph: Graph,
    /// Operators that the model defines itself.
    pub functions: Vec<Function>,
    pub(crate) kept: Kept<ModelProto>,
}

impl Model {
    /// A model of `graph` in version `opset` of ONNX's own operators, made by percept.
    pub fn new(graph: Graph, opset: i64) -> Self {
        Model {
            ir_version: IR_VERSION,
            producer_name: env!("CARGO_PKG_NAME").into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            domain: String::new(),
            model_version: 0,
            doc_string: String::new(),
            opset_imports: vec![OpsetImport::new("", opset)],
            metadata: Vec::new(),
            graph,
            functions: Vec::new(),
            kept: Kept::default(),
        }
    }

    /// Reads the model at `path`, with the external files beside it. Every fault names the path.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, OnnxError> {
        let path = path.as_ref();
        let proto: ModelProto = read_file(path)?;
        Self::from_proto(proto, &Folder::of_model(path)).map_err(|fault| fault.in_file(path))
    }

    /// Reads a model from bytes. External files are looked for in `base_dir`; without it they are refused.
    pub fn decode(bytes: &[u8], base_dir: Option<&Path>) -> Result<Self, OnnxError> {
        let proto: ModelProto = read_bytes(bytes)?;
        Self::from_proto(proto, &base_dir.map_or_else(Folder::none, Folder::at))
    }

    /// The model as bytes, weights included.
    ///
    /// Does not check what [`Model::save`] checks: more than 2 GiB, or graphs deeper than [`MAX_GRAPH_DEPTH`], cannot
    /// be read again.
    pub fn encode(&self) -> Vec<u8> {
        self.to_proto().encode_to_vec()
    }

    /// Writes the model to `path`, weights included: the old file stays until the new one is whole and on the disk.
    ///
    /// Fails when it is larger than 2 GiB or its graphs lie deeper than [`MAX_GRAPH_DEPTH`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), OnnxError> {
        let path = path.as_ref();
        let functions = self.functions.iter().all(|function| function.is_within(MAX_GRAPH_DEPTH));
        if !functions || !self.graph.is_within(MAX_GRAPH_DEPTH) {
            let place = format!("model {:?}", self.graph.name);
            return Err(OnnxError::TooDeep { limit: MAX_GRAPH_DEPTH, place }.in_file(path));
        }
        let proto = self.to_proto();
        let len = proto.encoded_len() as u64;
        if len > MAX_LEN {
            return Err(OnnxError::TooLarge { len, limit: MAX_LEN }.in_file(path));
        }
        Ok(files::replace(path, &proto.encode_to_vec())?)
    }

    /// The version of the operators of `domain` (empty for ONNX's own) that its nodes come from.
    pub fn opset(&self, domain: &str) -> Option<i64> {
        OpsetImport::find(&self.opset_imports, domain)
    }

    fn from_proto(mut proto: ModelProto, folder: &Folder) -> Result<Self, OnnxError> {
        let functions = std::mem::take(&mut proto.functions).into_iter();
        Ok(Model {
            ir_version: proto.ir_version.take().unwrap_or_default(),
            producer_name: proto.producer_name.take().unwrap_or_default(),
            producer_version: proto.producer_version.take().unwrap_or_default(),
            domain: proto.domain.take().unwrap_or_default(),
            model_version: proto.model_version.take().unwrap_or_default(),
            doc_string: proto.doc_string.take().unwrap_or_default(),
            opset_imports: OpsetImport::list_from_proto(std::mem::take(&mut proto.opset_import)),
            metadata: metadata(std::mem::take(&mut proto.metadata_props)),
            graph: Graph::from_proto(proto.graph.take().unwrap_or_default(), &"the model", folder, 0)?,
            functions: functions.map(|function| Function::from_proto(function, folder)).collect::<Result<_, _>>()?,
            kept: Kept::new(proto),
        })
    }

    fn to_proto(&self) -> ModelProto {
        let entry = |(key, value): &(String, String)| StringStringEntryProto {
            key: Some(key.clone()),
            value: Some(value.clone()),
        };
        ModelProto {
            ir_version: Some(self.ir_version),
            producer_name: some_text(&self.producer_name),
            producer_version: some_text(&self.producer_version),
            domain: some_text(&self.domain),
            model_version: Some(self.model_version).filter(|version| *version != 0),
            doc_string: some_text(&self.doc_string),
            opset_import: OpsetImport::list_to_proto(&self.opset_imports),
            metadata_props: self.metadata.iter().map(entry).collect(),
            graph: Some(self.graph.to_proto()),
            functions: self.functions.iter().map(Function::to_proto).collect(),
            ..self.kept.message()
        }
    }
}

/// Pairs of key and value.
pub(super) fn metadata(entries: Vec<StringStringEntryProto>) -> Vec<(String, String)> {
    let pair = |entry: StringStringEntryProto| (entry.key.unwrap_or_default(), entry.value.unwrap_or_default());
    entries.into_iter().map(pair).collect()
}

/// A message that is a model, in full or in part.
pub(super) trait Parts {
    /// Format version, whether there is a graph, and the number of operator sets.
    fn parts(&self) -> (i64, bool, usize);
}

impl Parts for ModelProto {
    fn parts(&self) -> (i64, bool, usize) {
        (self.ir_version(), self.graph.is_some(), self.opset_import.len())
    }
}

/// Looks for the parts without which there is no model. Before IR version 3 a model names no operator sets.
fn check_complete((ir_version, graph, opsets): (i64, bool, usize)) -> Result<(), OnnxError> {
    let needed = [
        (ir_version > 0, "format version (ir_version)"),
        (graph, "graph"),
        (ir_version < 3 || opsets > 0, "operator set (opset_import)"),
    ];
    match needed.into_iter().find(|(there, _)| !there) {
        Some((_, part)) => Err(OnnxError::Incomplete { part }),
        None => Ok(()),
    }
}

/// Reads a message from the file at `path`, of which only what the message holds is read.
pub(super) fn read_file<M: Message + Default + Parts>(path: &Path) -> Result<M, OnnxError> {
    let mut file = ModelFile::open(path)?;
    let (len, head) = (file.len(), file.head().to_vec());
    let read = read(&mut file, len, &head);
    file.check(path)?;
    read.map_err(|fault| fault.in_file(path))
}

/// Reads a message from `bytes`.
pub(super) fn read_bytes<M: Message + Default + Parts>(mut bytes: &[u8]) -> Result<M, OnnxError> {
    let (len, head) = (bytes.len() as u64, &bytes[..bytes.len().min(sniff::HEAD_LEN)]);
    sniff::refuse(head)?;
    read(&mut bytes, len, head)
}

fn read<M: Message + Default + Parts>(buf: &mut impl Buf, len: u64, head: &[u8]) -> Result<M, OnnxError> {
    let fault = |fault: OnnxError| sniff::diagnose(head, fault);
    let message = M::decode(buf).map_err(|error| {
        let reason = error.to_string();
        fault(match reason.contains("recursion limit") {
            true => OnnxError::TooDeep { limit: MAX_GRAPH_DEPTH, place: "the model".into() },
            false => OnnxError::Damaged { len, reason },
        })
    })?;
    check_complete(message.parts()).map_err(fault)?;
    Ok(message)
}
