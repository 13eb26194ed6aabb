//! ONNX's own tests, as tests/reference/onnx_suite.py packs them into `tests/data/onnx/suite.zip`.
#![allow(dead_code, reason = "each test uses a part")]

use std::io::Read;
use std::path::Path;

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
