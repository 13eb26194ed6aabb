//! ONNX's own tests, as tests/reference/onnx_suite.py packs them into `tests/data/onnx/suite.zip`.
#![allow(dead_code, reason = "each test uses a part")]

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use percept::engine::ops::OPS;
use percept::onnx::{AttributeValue, Model, Node};

/// Control flow, which the engine expands into other operators, so that it is not in their table.
pub const CONTROL: &[&str] = &["If", "Loop", "Scan"];

/// The archive, unpacked.
pub struct Suite {
    data: Vec<u8>,
    /// The tests: those of single operators by name, then the `light_` networks.
    pub tests: Vec<SuiteTest>,
}

/// A model with inputs and the outputs that must come of them.
pub struct SuiteTest {
    pub name: String,
    /// How far an output may be off, relative to the expected one.
    pub rtol: f64,
    /// And beside that.
    pub atol: f64,
    model: Piece,
    /// In the order of the graph's inputs.
    pub inputs: Vec<Value>,
    pub outputs: Vec<Value>,
}

/// Where a file lies in the data: offset and length.
#[derive(Clone, Copy)]
pub struct Piece(usize, usize);

/// An input or output.
pub enum Value {
    /// A `TensorProto`.
    Tensor(Piece),
    /// A sequence, optional or map, which is not packed.
    Other(String),
}

impl Suite {
    pub fn open() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx/suite.zip");
        let file = std::fs::File::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut archive = zip::ZipArchive::new(file).expect("it is a zip archive");
        let mut entry = |name| {
            let mut bytes = Vec::new();
            archive.by_name(name).expect("it is there").read_to_end(&mut bytes).expect("it is whole");
            bytes
        };
        let index = String::from_utf8(entry("index.tsv")).expect("it is text");
        Suite { data: entry("data"), tests: index.lines().map(SuiteTest::read).collect() }
    }

    pub fn model(&self, test: &SuiteTest) -> &[u8] {
        self.bytes(test.model)
    }

    pub fn bytes(&self, Piece(offset, len): Piece) -> &[u8] {
        &self.data[offset..offset + len]
    }
}

impl SuiteTest {
    fn read(line: &str) -> Self {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, rtol, atol, model, inputs, outputs] = fields[..] else { panic!("not a line of the index: {line}") };
        let values = |list: &str| list.split(',').filter(|value| !value.is_empty()).map(Value::read).collect();
        SuiteTest {
            name: name.into(),
            rtol: rtol.parse().expect("a number"),
            atol: atol.parse().expect("a number"),
            model: Piece::read(model).expect("a piece"),
            inputs: values(inputs),
            outputs: values(outputs),
        }
    }
}

impl Value {
    fn read(text: &str) -> Self {
        Piece::read(text).map_or_else(|| Value::Other(text.into()), Value::Tensor)
    }
}

impl Piece {
    fn read(text: &str) -> Option<Self> {
        let (offset, len) = text.split_once('+')?;
        Some(Piece(offset.parse().ok()?, len.parse().ok()?))
    }
}

/// Whether the engine has the operator `name`, as [`qualified`] writes it.
pub fn is_covered(name: &str) -> bool {
    let (domain, op_type) = name.rsplit_once(':').unwrap_or(("", name));
    domain.is_empty() && CONTROL.contains(&op_type)
        || OPS.iter().any(|entry| entry.domain == domain && entry.op_type == op_type)
}

/// The operators of a model, those in its branches, bodies and functions too; `domain:name` where they are not ONNX's.
pub fn operators_of(model: &Model) -> BTreeSet<String> {
    fn visit(nodes: &[Node], names: &mut BTreeSet<String>) {
        for node in nodes {
            names.insert(qualified(&node.domain, &node.op_type));
            for attribute in &node.attributes {
                match &attribute.value {
                    AttributeValue::Graph(graph) => visit(&graph.nodes, names),
                    AttributeValue::Graphs(graphs) => graphs.iter().for_each(|graph| visit(&graph.nodes, names)),
                    _ => {}
                }
            }
        }
    }
    let mut names = BTreeSet::new();
    visit(&model.graph.nodes, &mut names);
    for function in &model.functions {
        visit(&function.nodes, &mut names);
    }
    let functions: BTreeSet<String> =
        model.functions.iter().map(|function| qualified(&function.domain, &function.name)).collect();
    names.retain(|name| !functions.contains(name));
    names
}

/// An operator's name, with its domain unless that is ONNX's own: `domain:name`.
pub fn qualified(domain: &str, name: &str) -> String {
    match domain {
        "" | "ai.onnx" => name.to_owned(),
        domain => format!("{domain}:{name}"),
    }
}
