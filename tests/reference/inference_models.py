"""Writes the small models of tests/data/inference.

    pip install onnx onnxruntime
    python tests/reference/inference_models.py tests/data/inference

The files are committed; this only says where they come from.
"""

import sys
from pathlib import Path

import onnxruntime
from onnx import TensorProto as T
from onnx import checker, helper, save

OUT = Path(sys.argv[1])
INFO = helper.make_tensor_value_info


def write(name, nodes, inputs, outputs, initializers=(), **properties):
    graph = helper.make_graph(nodes, name, inputs, outputs, initializer=list(initializers))
    model = helper.make_model(
        graph, producer_name="percept-tests", opset_imports=[helper.make_opsetid("", 17)], ir_version=8
    )
    model.model_version = 3
    helper.set_model_props(model, {key: str(value) for key, value in properties.items()})
    checker.check_model(model, full_check=True)
    save(model, OUT / f"{name}.onnx")


node = helper.make_node

write("relu", [node("Relu", ["x"], ["y"])], [INFO("x", T.FLOAT, [1, 4])], [INFO("y", T.FLOAT, [1, 4])],
      labels="yes,no")

# stateN = state + x, y = 2 * stateN: what a recurrent model does.
write(
    "accumulate",
    [node("Add", ["state", "x"], ["stateN"]), node("Add", ["stateN", "stateN"], ["y"])],
    [INFO("x", T.FLOAT, ["batch", 4]), INFO("state", T.FLOAT, ["batch", 4])],
    [INFO("y", T.FLOAT, ["batch", 4]), INFO("stateN", T.FLOAT, ["batch", 4])],
)

# present = past ++ x along time: what a key/value cache does. It starts with no time step at all.
write(
    "cache",
    [node("Concat", ["past", "x"], ["present"], axis=1), node("ReduceSum", ["present"], ["sum"], keepdims=0)],
    [INFO("past", T.FLOAT, ["batch", "time", 2]), INFO("x", T.FLOAT, ["batch", 1, 2])],
    [INFO("present", T.FLOAT, ["batch", "total", 2]), INFO("sum", T.FLOAT, [])],
)

TYPES = {
    "f16": T.FLOAT16, "bf16": T.BFLOAT16, "f32": T.FLOAT, "f64": T.DOUBLE, "i8": T.INT8, "i16": T.INT16,
    "i32": T.INT32, "i64": T.INT64, "u8": T.UINT8, "u16": T.UINT16, "u32": T.UINT32, "u64": T.UINT64,
    "bool": T.BOOL, "string": T.STRING,
}
write(
    "identity",
    [node("Identity", [name], [f"{name}_out"]) for name in TYPES],
    [INFO(name, code, [f"n_{name}", "m"]) for name, code in TYPES.items()],
    [INFO(f"{name}_out", code, [f"n_{name}", "m"]) for name, code in TYPES.items()],
)

write("image", [node("Relu", ["pixels"], ["y"])], [INFO("pixels", T.FLOAT, ["N", 3, 2, 2])],
      [INFO("y", T.FLOAT, ["N", 3, 2, 2])])

write("scalar", [node("Neg", ["x"], ["y"])], [INFO("x", T.FLOAT, [])], [INFO("y", T.FLOAT, [])])

# `x` is an output as it stands, so a runtime may give it back in the caller's memory.
write("through", [node("Relu", ["x"], ["y"])], [INFO("x", T.FLOAT, ["n"])],
      [INFO("x", T.FLOAT, ["n"]), INFO("y", T.FLOAT, ["n"])])

write("sequence", [node("Relu", ["x"], ["y"]), node("SequenceConstruct", ["x", "y"], ["both"])],
      [INFO("x", T.FLOAT, ["n"])],
      [INFO("y", T.FLOAT, ["n"]), helper.make_tensor_sequence_value_info("both", T.FLOAT, ["n"])])

write("sequence_input", [node("SequenceLength", ["items"], ["n"])],
      [helper.make_tensor_sequence_value_info("items", T.FLOAT, None)], [INFO("n", T.INT64, [])])

# Fails while it runs, unless there are four elements.
write("reshape", [node("Reshape", ["x", "shape"], ["y"])], [INFO("x", T.FLOAT, ["n"])], [INFO("y", T.FLOAT, [2, 2])],
      [helper.make_tensor("shape", T.INT64, [2], [2, 2])])

# Counts to `trips`, one loop turn at a time: as slow as one likes, and made of many small steps.
body = helper.make_graph(
    [node("Identity", ["go"], ["go_on"]), node("Add", ["count", "one"], ["next"])],
    "body",
    [INFO("turn", T.INT64, []), INFO("go", T.BOOL, []), INFO("count", T.FLOAT, [1])],
    [INFO("go_on", T.BOOL, []), INFO("next", T.FLOAT, [1])],
    initializer=[helper.make_tensor("one", T.FLOAT, [1], [1.0])],
)
write("count", [node("Loop", ["trips", "", "zero"], ["total"], body=body)], [INFO("trips", T.INT64, [])],
      [INFO("total", T.FLOAT, [1])], [helper.make_tensor("zero", T.FLOAT, [1], [0.0])])

# The same as relu.onnx in ONNX Runtime's own format.
options = onnxruntime.SessionOptions()
options.add_session_config_entry("session.save_model_format", "ORT")
options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
options.optimized_model_filepath = str(OUT / "relu.ort")
onnxruntime.InferenceSession(str(OUT / "relu.onnx"), options, providers=["CPUExecutionProvider"])
