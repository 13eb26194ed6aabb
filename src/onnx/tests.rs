//! The module as its users see it: real files, round trips, broken files.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use proptest::prelude::*;
use prost::Message;
use serde_json::Value;

use super::proto::{self, GraphProto, ModelProto, NodeProto};
use super::*;
use crate::tensor::{DType, Dim, SymbolicShape, Tensor, TensorData};

const FILES: [&str; 5] = ["linear.onnx", "sequence.onnx", "alexnet_light.onnx", "everything.onnx", "external.onnx"];

fn data(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/onnx").join(file)
}

/// Whether the elements of a tensor are those that `expected` tells as text.
fn holds(tensor: &Tensor, expected: &[String]) -> bool {
    fn all<T: Copy + PartialEq + FromStr>(elements: &[T], expected: &[String]) -> bool {
        elements.iter().map(|element| Some(*element)).eq(expected.iter().map(|text| text.parse().ok()))
    }
    fn exact(elements: impl Iterator<Item = f64>, expected: &[String]) -> bool {
        all(&elements.collect::<Vec<_>>(), expected)
    }
    match tensor.data() {
        TensorData::F16(buffer) => exact(buffer.iter().map(|x| x.to_f64()), expected),
        TensorData::BF16(buffer) => exact(buffer.iter().map(|x| x.to_f64()), expected),
        TensorData::F32(buffer) => exact(buffer.iter().map(|x| f64::from(*x)), expected),
        TensorData::F64(buffer) => all(buffer, expected),
        TensorData::I8(buffer) => all(buffer, expected),
        TensorData::I16(buffer) => all(buffer, expected),
        TensorData::I32(buffer) => all(buffer, expected),
        TensorData::I64(buffer) => all(buffer, expected),
        TensorData::U8(buffer) => all(buffer, expected),
        TensorData::U16(buffer) => all(buffer, expected),
        TensorData::U32(buffer) => all(buffer, expected),
        TensorData::U64(buffer) => all(buffer, expected),
        TensorData::Bool(buffer) => all(&buffer.iter().map(|x| u8::from(*x)).collect::<Vec<_>>(), expected),
        TensorData::String(buffer) => **buffer == *expected,
    }
}

fn onnx_name(dtype: DType) -> &'static str {
    proto::tensor_proto::DataType::try_from(dtype::to_code(dtype)).unwrap().as_str_name()
}

#[test]
fn initializers_are_the_numbers_that_the_onnx_package_reads() {
    let frozen: Value = serde_json::from_slice(&fs::read(data("values.json")).unwrap()).unwrap();
    for file in FILES {
        let model = Model::load(data(file)).unwrap();
        let expected = frozen[file].as_object().unwrap();
        assert_eq!(model.graph.initializers.len(), expected.len(), "{file}");
        for (name, tensor) in &model.graph.initializers {
            let expected = &expected[name];
            assert_eq!(onnx_name(tensor.dtype()), expected["dtype"], "{file}: {name}");
            assert_eq!(serde_json::to_value(tensor.shape()).unwrap(), expected["shape"], "{file}: {name}");
            let elements: Vec<String> = serde_json::from_value(expected["values"].clone()).unwrap();
            assert!(holds(tensor, &elements), "{file}: {name}: expected {elements:?}, found {:?}", tensor.data());
        }
    }
}

#[test]
fn every_part_of_a_rich_model_is_read() {
    let model = Model::load(data("everything.onnx")).unwrap();
    assert_eq!((model.ir_version, model.opset(""), model.opset("ai.onnx"), model.opset("local")), {
        (10, Some(21), Some(21), Some(1))
    });
    assert_eq!(model.opset("other"), None);
    assert_eq!((model.producer_name.as_str(), model.producer_version.as_str()), ("onnx_files.py", "1"));
    let pairs: Vec<_> = model.metadata.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(pairs, [("language", "en"), ("rate", "16000")]);
    let ports: Vec<String> = model.graph.inputs.iter().map(ToString::to_string).collect();
    assert_eq!(ports, ["x: f32 [N, 2]", "flag: bool []", "maybe: optional of i64 [?]", "table: map of f32 []"]);
    let (name, sparse) = &model.graph.sparse_initializers[0];
    assert_eq!((name.as_str(), sparse.shape()), ("sparse", &[2usize, 3][..]));
    assert_eq!(sparse.indices().as_slice::<i64>().unwrap(), [1, 5]);

    let choose = &model.graph.nodes[0];
    assert_eq!((choose.op_type.as_str(), choose.name.as_str()), ("If", "choose"));
    let Some(AttributeValue::Graph(branch)) = choose.attribute("then_branch") else { panic!("no branch") };
    assert_eq!(branch.initializer("scale").unwrap().as_slice::<f32>().unwrap(), [2.0, 0.5]);
    let double = &model.functions[0];
    assert_eq!((double.name.as_str(), double.attributes.as_slice()), ("Double", &["factor".to_owned()][..]));
    let reference = AttributeValue::Reference { name: "factor".into(), kind: AttributeKind::Float };
    assert_eq!(double.nodes[0].attribute("value_float"), Some(&reference));
}

#[test]
fn real_files_survive_a_round_trip_with_what_is_not_shown() {
    for file in FILES {
        let model = Model::load(data(file)).unwrap();
        let bytes = model.encode();
        assert_eq!(Model::decode(&bytes, None).unwrap(), model, "{file}");
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(file);
        model.save(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes, "{file}");
        assert_eq!(Model::load(&path).unwrap(), model, "{file}");
    }
    let before = ModelProto::decode(&*fs::read(data("everything.onnx")).unwrap()).unwrap();
    let model = Model::load(data("everything.onnx")).unwrap();
    let after = ModelProto::decode(&*model.encode()).unwrap();
    assert!(!before.training_info.is_empty());
    assert_eq!(after.training_info, before.training_info);
    let (before, after) = (before.graph.unwrap(), after.graph.unwrap());
    assert_eq!((after.doc_string(), before.doc_string()), ("every corner", "every corner"));
    assert_eq!((after.input, after.output), (before.input, before.output));
    let branches = after.node[0].attribute.iter().filter_map(|attribute| attribute.g.as_ref());
    let notes: Vec<_> = branches.flat_map(|graph| &graph.initializer).map(|tensor| tensor.doc_string()).collect();
    assert_eq!(notes, ["per-channel scale"]);
}

#[test]
fn the_header_agrees_with_the_model() {
    for file in FILES {
        let model = Model::load(data(file)).unwrap();
        let header = inspect(data(file)).unwrap();
        assert_eq!(header, ModelHeader::decode(&fs::read(data(file)).unwrap()).unwrap(), "{file}");
        assert_eq!(header.inputs, model.graph.free_inputs().cloned().collect::<Vec<_>>(), "{file}");
        assert_eq!(header.outputs, model.graph.outputs, "{file}");
        assert_eq!(header.metadata, model.metadata, "{file}");
        assert_eq!(header.opset_imports, model.opset_imports, "{file}");
        assert_eq!(header.graph_name, model.graph.name, "{file}");
        let papers = (header.producer_name, header.producer_version, header.ir_version, header.node_count);
        let expected = (model.producer_name, model.producer_version, model.ir_version, model.graph.nodes.len());
        assert_eq!(papers, expected, "{file}");
    }
    let linear = inspect(data("linear.onnx")).unwrap();
    assert_eq!(linear.inputs.iter().map(ToString::to_string).collect::<Vec<_>>(), ["0: f32 [4, 10]"]);
}

#[test]
fn a_header_is_read_past_weights_that_percept_does_not_hold() {
    let mut proto = ModelProto::decode(&*fs::read(data("linear.onnx")).unwrap()).unwrap();
    proto.graph.as_mut().unwrap().initializer[0].data_type = Some(17);
    let bytes = proto.encode_to_vec();
    assert_eq!(ModelHeader::decode(&bytes).unwrap(), inspect(data("linear.onnx")).unwrap());
    let error = Model::decode(&bytes, None).unwrap_err().to_string();
    assert!(error.starts_with("initializer \"1\" has data type float8e4m3fn"), "{error}");
}

#[test]
fn a_model_larger_than_the_reading_window_is_read_alike_from_disk_and_memory() {
    let mut graph = Graph::new("large");
    let shape = SymbolicShape::known(&[1]);
    for i in 0..300 {
        let weights = Tensor::from_vec((0..i * 7).map(|j| (i * j) as f32).collect());
        let name = format!("weights {i}");
        graph.nodes.push(Node::new("Add", [format!("x{i}"), name.clone()], [format!("x{}", i + 1)]));
        graph.inputs.push(ValueInfo::tensor(
            if i % 3 == 0 { format!("x{i}") } else { name.clone() },
            DType::F32,
            shape.clone(),
        ));
        graph.initializers.push((name, weights));
    }
    let model = Model::new(graph, 21);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large.onnx");
    model.save(&path).unwrap();
    assert!(fs::metadata(&path).unwrap().len() > 1_000_000);
    assert_eq!(Model::load(&path).unwrap(), model);
    let header = inspect(&path).unwrap();
    assert_eq!(header, ModelHeader::decode(&model.encode()).unwrap());
    assert_eq!((header.inputs.len(), header.node_count), (100, 300));
}

#[test]
fn external_weights_need_a_folder_and_stay_in_it() {
    let bytes = fs::read(data("external.onnx")).unwrap();
    let model = Model::load(data("external.onnx")).unwrap();
    assert_eq!(Model::decode(&bytes, Some(data("external.onnx").parent().unwrap())).unwrap(), model);
    let none = Model::decode(&bytes, None).unwrap_err();
    assert!(matches!(none, OnnxError::External { fault: ExternalFault::NoFolder, .. }), "{none}");

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    fs::write(&path, &bytes).unwrap();
    let error = Model::load(&path).unwrap_err().to_string();
    assert!(error.contains("m.onnx: initializer \"w\" lies in the external file \"external.bin\": "), "{error}");
    fs::write(dir.path().join("external.bin"), [0; 30]).unwrap();
    let error = Model::load(&path).unwrap_err().to_string();
    assert!(error.contains("initializer \"b\"") && error.contains("bytes 32 to 56, the file has 30"), "{error}");
    assert!(inspect(&path).is_ok());
}

#[test]
fn files_that_are_no_models_are_told_apart() {
    let whole = fs::read(data("alexnet_light.onnx")).unwrap();
    let without = |part: fn(&mut ModelProto)| {
        let mut proto = ModelProto::decode(&*whole).unwrap();
        part(&mut proto);
        proto.encode_to_vec()
    };
    let cases: [(&str, Vec<u8>, &str); 11] = [
        ("half", whole[..whole.len() / 2].to_vec(), "cut off or damaged (1984 bytes; "),
        ("most", whole[..whole.len() - 1].to_vec(), "cut off or damaged"),
        ("empty", vec![], "found 0 bytes"),
        ("text", b"percept: 1\nname: speech\nstages: []\n".to_vec(), "expected an ONNX model, found text"),
        ("lfs", b"version https://git-lfs.github.com/spec/v1\n".to_vec(), "git lfs pull"),
        ("page", b"<html><body>404</body></html>".to_vec(), "found a web page"),
        ("ort", b"\x20\0\0\0ORTM\x01\x02\x03\x04".to_vec(), "ports come from the model's card"),
        ("zeros", vec![0; 100], "cut off or damaged"),
        ("no graph", without(|proto| proto.graph = None), "the model has no graph"),
        ("no version", without(|proto| proto.ir_version = None), "the model has no format version"),
        ("no opset", without(|proto| proto.opset_import.clear()), "the model has no operator set"),
    ];
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes, part) in cases {
        let path = dir.path().join(name);
        fs::write(&path, &bytes).unwrap();
        let from_file = Model::load(&path).unwrap_err().to_string();
        assert!(from_file.starts_with(&format!("{}: ", path.display())), "{name}: {from_file}");
        let from_bytes = Model::decode(&bytes, None).unwrap_err().to_string();
        let header = inspect(&path).unwrap_err().to_string();
        for message in [from_file, from_bytes, header] {
            assert!(message.contains(part), "{name}: {message}");
        }
    }
    for result in [Model::load(dir.path()).map(drop), inspect(dir.path()).map(drop)] {
        assert!(matches!(result, Err(OnnxError::NotAFile { found: "a folder", .. })));
    }
    assert!(matches!(inspect(dir.path().join("gone")), Err(OnnxError::Io { action: "open", .. })));
}

/// A chain of `depth` graphs, each inside an attribute of the only node of the one before.
fn nested(depth: usize) -> Graph {
    let mut graph = Graph::new("leaf");
    for _ in 1..depth {
        let mut outer = Graph::new("outer");
        outer.nodes.push(Node::new("If", ["c"], ["y"]).with("then_branch", AttributeValue::Graph(graph)));
        graph = outer;
    }
    graph
}

#[test]
fn nesting_has_a_limit_that_reading_and_writing_share() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.onnx");
    let deepest = Model::new(nested(MAX_GRAPH_DEPTH), 21);
    deepest.save(&path).unwrap();
    assert_eq!(Model::load(&path).unwrap(), deepest);
    let mut within = Model::new(Graph::new("g"), 21);
    within.functions.push(Function { nodes: nested(MAX_GRAPH_DEPTH).nodes, ..Function::default() });
    assert_eq!(Model::decode(&within.encode(), None).unwrap(), within);
    within.save(&path).unwrap();

    let deeper = Model::new(nested(MAX_GRAPH_DEPTH + 1), 21);
    within.functions[0].nodes = nested(MAX_GRAPH_DEPTH + 1).nodes;
    for model in [deeper, within] {
        let read = Model::decode(&model.encode(), None).unwrap_err();
        assert!(matches!(read, OnnxError::TooDeep { limit: MAX_GRAPH_DEPTH, .. }), "{read}");
        let Err(OnnxError::InFile { fault, .. }) = model.save(&path) else { panic!("saved") };
        assert!(matches!(*fault, OnnxError::TooDeep { .. }));
    }
}

#[test]
fn messages_without_end_need_little_stack() {
    /// `field` of wire type 2 around `inner`.
    fn wrap(field: u32, inner: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(inner.len() + 8);
        prost::encoding::encode_varint(u64::from(field << 3 | 2), &mut bytes);
        prost::encoding::encode_varint(inner.len() as u64, &mut bytes);
        bytes.extend_from_slice(inner);
        bytes
    }
    let (mut graphs, mut types, mut groups) = (vec![], vec![], vec![8, 7, 58, 0]);
    for _ in 0..2_000 {
        graphs = wrap(1, &wrap(5, &wrap(6, &graphs)));
        types = wrap(4, &wrap(1, &types));
    }
    groups.extend([0xa3, 0x06].repeat(100_000));
    let value = wrap(11, &wrap(2, &types));
    let cases = [[vec![8, 7], wrap(7, &graphs)].concat(), [vec![8, 7], wrap(7, &value)].concat(), groups];
    let small = std::thread::Builder::new().stack_size(512 * 1024);
    let reader = small.spawn(move || {
        for bytes in cases {
            assert!(Model::decode(&bytes, None).is_err());
            assert!(ModelHeader::decode(&bytes).is_err() || bytes[3] != 0x0b);
        }
        assert!(Model::decode(&Model::new(nested(MAX_GRAPH_DEPTH), 21).encode(), None).is_ok());
    });
    reader.unwrap().join().unwrap();
}

/// xorshift64*: the same numbers on every machine.
struct Seeded(u64);

impl Seeded {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Seeded) {
    for _ in 0..=random.below(2) {
        let (at, other) = (random.below(bytes.len()), random.below(bytes.len()));
        match random.below(10) {
            0 | 7..=9 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.below(256) as u8,
            2 => bytes[at] = 0xff,
            3 => bytes.truncate(at.max(1)),
            4 => {
                let piece = bytes[at.min(other)..at.max(other).min(at.min(other) + 64)].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => drop(bytes.drain(at.min(other)..at.max(other).min(at.min(other) + 8))),
            _ => drop(bytes.splice(at..at, [0xff; 9])),
        }
        if bytes.is_empty() {
            bytes.push(8);
        }
    }
}

/// Bytes of all tensors of a graph and the graphs inside it.
fn tensor_bytes(graph: &Graph) -> usize {
    let weights: usize = graph.initializers.iter().map(|(_, tensor)| tensor.byte_len()).sum();
    let attributes = graph.nodes.iter().flat_map(|node| &node.attributes).map(|attribute| match &attribute.value {
        AttributeValue::Tensor(tensor) => tensor.byte_len(),
        AttributeValue::Graph(graph) => tensor_bytes(graph),
        _ => 0,
    });
    weights + attributes.sum::<usize>()
}

#[test]
fn damaged_models_are_errors_or_models_but_never_more() {
    let folder = data("");
    let (mut errors, mut models) = (0, 0);
    for (seed, file) in FILES.into_iter().enumerate() {
        let whole = fs::read(data(file)).unwrap();
        let mut random = Seeded(0x9e37_79b9 + seed as u64);
        for _ in 0..500 {
            let mut bytes = whole.clone();
            mutate(&mut bytes, &mut random);
            let header = ModelHeader::decode(&bytes);
            match Model::decode(&bytes, Some(&folder)) {
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    errors += 1;
                }
                Ok(model) => {
                    // Text takes 24 bytes an element, other elements at most 8 a byte of the file.
                    assert!(tensor_bytes(&model.graph) <= 24 * bytes.len(), "{file}: more than the file holds");
                    assert!(header.is_ok(), "{file}: {}", header.unwrap_err());
                    let again = model.encode();
                    assert_eq!(Model::decode(&again, None).unwrap().encode(), again, "{file}");
                    models += 1;
                }
            }
        }
    }
    assert!(errors > 500 && models > 200, "{errors} errors, {models} models: the damage is too strong or too weak");
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-z./]{1,6}", ".{1,3}"]
}

fn any_shape() -> impl Strategy<Value = SymbolicShape> {
    let dim = prop_oneof![
        (0usize..1 << 40).prop_map(Dim::Known),
        "[A-Z]".prop_map(|s| Dim::Symbol(s.into())),
        Just(Dim::Any)
    ];
    prop_oneof![Just(SymbolicShape::Unranked), prop::collection::vec(dim, 0..4).prop_map(SymbolicShape::Ranked)]
}

fn any_value() -> impl Strategy<Value = ValueInfo> {
    let dtype = prop::option::of(prop::sample::select(DType::ALL.to_vec()));
    let kind = prop::sample::select(vec![
        ValueKind::Tensor,
        ValueKind::SparseTensor,
        ValueKind::Sequence,
        ValueKind::Optional,
        ValueKind::Map { key: Some(DType::I64) },
        ValueKind::Map { key: None },
    ]);
    (any_text(), dtype, any_shape(), kind)
        .prop_map(|(name, dtype, shape, kind)| ValueInfo::of_kind(kind, name, dtype, shape))
}

fn any_tensor() -> impl Strategy<Value = Tensor> {
    prop_oneof![
        prop::collection::vec(-1e9f32..1e9, 0..6).prop_map(Tensor::from_vec),
        prop::collection::vec(any::<i64>(), 0..6).prop_map(Tensor::from_vec),
        prop::collection::vec(any_text(), 0..3).prop_map(Tensor::from_vec),
        any::<bool>().prop_map(Tensor::scalar),
    ]
}

fn any_graph() -> impl Strategy<Value = Graph> {
    fn graph_of(values: impl Strategy<Value = AttributeValue> + Clone + 'static) -> impl Strategy<Value = Graph> {
        let attributes = prop::collection::vec((any_text(), values), 0..3);
        let names = || prop::collection::vec(any_text(), 0..3);
        let node = (any_text(), any_text(), any_text(), names(), names(), attributes);
        let node = node.prop_map(|(op_type, domain, name, inputs, outputs, attributes)| {
            let node = Node { domain, name, ..Node::new(op_type, inputs, outputs) };
            attributes.into_iter().fold(node, |node, (name, value)| node.with(name, value))
        });
        let infos = || prop::collection::vec(any_value(), 0..3);
        let weights = prop::collection::vec((any_text(), any_tensor()), 0..3);
        (any_text(), infos(), infos(), infos(), weights, prop::collection::vec(node, 0..3)).prop_map(
            |(name, inputs, outputs, value_info, initializers, nodes)| Graph {
                inputs,
                outputs,
                value_info,
                initializers,
                nodes,
                ..Graph::new(name)
            },
        )
    }
    let leaf = prop_oneof![
        any::<i64>().prop_map(AttributeValue::Int),
        (-1e9f32..1e9).prop_map(AttributeValue::Float),
        prop::collection::vec(any::<u8>(), 0..4).prop_map(AttributeValue::String),
        prop::collection::vec(any::<i64>(), 0..4).prop_map(AttributeValue::Ints),
        any_tensor().prop_map(AttributeValue::Tensor),
    ]
    .boxed();
    let inner = graph_of(leaf.clone()).prop_map(AttributeValue::Graph).boxed();
    graph_of(prop_oneof![3 => leaf, 1 => inner].boxed())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_encoded_decodes_to_the_same(
        graph in any_graph(), texts in prop::array::uniform4(any_text()), opset in 1i64..30, version in any::<i64>(),
        metadata in prop::collection::vec((any_text(), any_text()), 0..3),
    ) {
        let [domain, doc_string, name, overload] = texts;
        let mut model = Model::new(graph.clone(), opset);
        model.functions.push(Function { name, overload, nodes: graph.nodes, ..Function::default() });
        (model.domain, model.doc_string, model.model_version, model.metadata) = (domain, doc_string, version, metadata);
        let bytes = model.encode();
        let back = Model::decode(&bytes, None).unwrap();
        prop_assert_eq!(&back, &model);
        prop_assert_eq!(back.encode(), bytes.clone());
        prop_assert_eq!(ModelHeader::decode(&bytes).unwrap().outputs, model.graph.outputs);
    }
}

#[test]
fn a_node_that_this_program_does_not_know_keeps_its_notes() {
    let node = NodeProto {
        op_type: Some("Op".into()),
        doc_string: Some("why".into()),
        metadata_props: vec![proto::StringStringEntryProto { key: Some("k".into()), value: Some("v".into()) }],
        ..NodeProto::default()
    };
    let graph = GraphProto { node: vec![node.clone()], ..GraphProto::default() };
    let model = ModelProto {
        ir_version: Some(8),
        graph: Some(graph),
        opset_import: vec![proto::OperatorSetIdProto { domain: None, version: Some(13) }],
        ..ModelProto::default()
    };
    let model = Model::decode(&model.encode_to_vec(), None).unwrap();
    let back = ModelProto::decode(&*model.encode()).unwrap();
    assert_eq!(back.graph.unwrap().node, [node]);
}
