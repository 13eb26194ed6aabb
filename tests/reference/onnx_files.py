"""Makes tests/data/onnx/: small model files, and the numbers that their tensors must come out as.

    python -m venv venv && venv/bin/pip install onnx==1.23.2 && venv/bin/python tests/reference/onnx_files.py

Three files are copied from the onnx package's own test data, two are built here. `values.json` is what
onnx.numpy_helper reads from each, every element as text (floats as the shortest text that gives them back in f64).
"""

import json
import os
import shutil

import numpy as np
import onnx
from onnx import TensorProto, external_data_helper, helper, numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "data", "onnx")
PACKAGE = os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data")
COPIED = {
    "linear.onnx": "pytorch-converted/test_Linear/model.onnx",
    "sequence.onnx": "simple/test_sequence_model1/model.onnx",
    "alexnet_light.onnx": "light/light_bvlc_alexnet.onnx",
}


def typed_tensors():
    """One tensor a data type, in the typed fields where the format has them."""
    T = TensorProto
    tensors = [
        helper.make_tensor("f16", T.FLOAT16, [4], np.array([1.5, -2.0, 65504, 6e-8], np.float16)),
        helper.make_tensor("bf16", T.BFLOAT16, [3], [1.0, -2.5, 0.0078125]),
        helper.make_tensor("f32", T.FLOAT, [2, 2], [0.1, -1e30, 1e-40, 3.0]),
        helper.make_tensor("f64", T.DOUBLE, [2], [0.1, -1e300]),
        helper.make_tensor("i8", T.INT8, [3], [-128, 0, 127]),
        helper.make_tensor("i16", T.INT16, [2], [-32768, 32767]),
        helper.make_tensor("i32", T.INT32, [2], [-(2**31), 2**31 - 1]),
        helper.make_tensor("i64", T.INT64, [2], [-(2**63), 2**63 - 1]),
        helper.make_tensor("u8", T.UINT8, [2], [0, 255]),
        helper.make_tensor("u16", T.UINT16, [2], [0, 65535]),
        helper.make_tensor("u32", T.UINT32, [2], [0, 2**32 - 1]),
        helper.make_tensor("u64", T.UINT64, [2], [0, 2**64 - 1]),
        helper.make_tensor("bool", T.BOOL, [3], [True, False, True]),
        helper.make_tensor("string", T.STRING, [2], ["grüße".encode(), b""]),
    ]
    for name, array in {
        "raw_f16": np.array([[1.5], [-2.0]], np.float16),
        "raw_i16": np.array([-2, 300], np.int16),
        "raw_u64": np.array(2**63 + 1, np.uint64),
        "raw_bool": np.array([True, False]),
        "raw_empty": np.zeros((0, 3), np.float32),
    }.items():
        tensors.append(numpy_helper.from_array(array, name))
    return tensors


def everything():
    """A model that uses every corner of the format: If, a function, sparse weights, training info, metadata."""
    f = TensorProto.FLOAT
    y = helper.make_tensor_value_info("y", f, ["N", 2])
    scale = helper.make_tensor("scale", f, [2], [2.0, 0.5])
    scale.doc_string = "per-channel scale"
    then_graph = helper.make_graph([helper.make_node("Mul", ["x", "scale"], ["t"])], "then", [],
                                   [helper.make_tensor_value_info("t", f, ["N", 2])], [scale])
    else_graph = helper.make_graph([helper.make_node("Double", ["x"], ["e"], domain="local", factor=2.0)], "else", [],
                                   [helper.make_tensor_value_info("e", f, ["N", 2])])
    branch = helper.make_node("If", ["flag"], ["y"], name="choose", then_branch=then_graph, else_branch=else_graph)
    sparse = helper.make_sparse_tensor(helper.make_tensor("sparse", f, [2], [3.0, 4.0]),
                                       helper.make_tensor("indices", TensorProto.INT64, [2], [1, 5]), [2, 3])
    graph = helper.make_graph(
        [branch], "everything",
        [helper.make_tensor_value_info("x", f, ["N", 2]), helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
         helper.make_value_info("maybe", helper.make_optional_type_proto(
             helper.make_sequence_type_proto(helper.make_tensor_type_proto(TensorProto.INT64, [None])))),
         helper.make_value_info("table", helper.make_map_type_proto(
             TensorProto.STRING, helper.make_tensor_type_proto(f, [])))],
        [y], typed_tensors(), sparse_initializer=[sparse], doc_string="every corner")
    double = helper.make_function("local", "Double", ["a"], ["b"], [helper.make_node("Constant", [], ["c"]),
                                                                    helper.make_node("Mul", ["a", "c"], ["b"])],
                                  [helper.make_opsetid("", 21)], ["factor"])
    attribute = double.node[0].attribute.add()
    attribute.name, attribute.ref_attr_name, attribute.type = "value_float", "factor", onnx.AttributeProto.FLOAT
    model = helper.make_model(graph, functions=[double], ir_version=10, producer_name="onnx_files.py",
                              producer_version="1", opset_imports=[helper.make_opsetid("", 21),
                                                                   helper.make_opsetid("local", 1)])
    helper.set_model_props(model, {"language": "en", "rate": "16000"})
    step = helper.make_training_info(helper.make_graph([helper.make_node("Identity", ["x"], ["z"])], "step", [], []),
                                     [("w", "z")], None, None)
    model.training_info.append(step)
    onnx.save(model, os.path.join(OUT, "everything.onnx"))


def external():
    """Two weights in a file beside the model, the second behind an alignment gap."""
    weights = [numpy_helper.from_array(np.arange(6, dtype=np.float32).reshape(2, 3) / 4, "w"),
               numpy_helper.from_array(np.array([7, -8, 9], np.int64), "b")]
    model = helper.make_model(helper.make_graph(
        [helper.make_node("Identity", ["w"], ["y"])], "external", [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])], weights), ir_version=8,
        opset_imports=[helper.make_opsetid("", 13)])
    path = os.path.join(OUT, "external.onnx")
    data = os.path.join(OUT, "external.bin")
    if os.path.exists(data):
        os.remove(data)
    with open(data, "wb") as file:
        for tensor in model.graph.initializer:
            file.write(b"\xee" * (-file.tell() % 32))
            raw = tensor.raw_data
            external_data_helper.set_external_data(tensor, "external.bin", file.tell(), len(raw))
            tensor.ClearField("raw_data")
            file.write(raw)
    onnx.save(model, path)


def numbers(array):
    """Every element as text, from which it can be read back exactly."""
    if array.dtype == object:
        return [text.decode() if isinstance(text, bytes) else str(text) for text in array.ravel()]
    if array.dtype.kind in "iub":
        return [str(int(value)) for value in array.ravel()]
    return [repr(float(value)) for value in array.ravel()]


def values(file):
    model = onnx.load(os.path.join(OUT, file))
    return {tensor.name: {"dtype": TensorProto.DataType.Name(tensor.data_type), "shape": list(tensor.dims),
                          "values": numbers(numpy_helper.to_array(tensor))} for tensor in model.graph.initializer}


if __name__ == "__main__":
    os.makedirs(OUT, exist_ok=True)
    for name, source in COPIED.items():
        shutil.copyfile(os.path.join(PACKAGE, source), os.path.join(OUT, name))
    everything()
    external()
    frozen = {name: values(name) for name in [*COPIED, "everything.onnx", "external.onnx"]}
    with open(os.path.join(OUT, "values.json"), "w", encoding="utf-8") as file:
        json.dump(frozen, file, indent=1, ensure_ascii=False)
        file.write("\n")
