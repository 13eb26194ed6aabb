"""Makes tests/data/onnx/suite.zip: ONNX's own operator tests, for tests/onnx_suite.rs.

    python -m venv venv && venv/bin/pip install onnx==1.23.2 && venv/bin/python tests/reference/onnx_suite.py

The `onnx` package computes its node tests when asked (onnx.backend.test.case.node), one model with inputs and expected
outputs each; the nine networks of backend/test/data/light come as files, with an input that the package's test runner
makes. All are packed as they are:

- `NOTICE`: where the data come from and under which licence.
- `index.tsv`: one line a test, in the order of their names: name, rtol, atol, model, inputs, outputs. Files are given
  as `offset+length` in `data`, several with commas between. An input that is no tensor (a sequence, an optional, a
  map) is given as its kind instead.
- `data`: the files one after the other, equal ones once: models (ModelProto) and tensors (TensorProto).
"""

import os
import warnings
import zipfile

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.backend.test.case.model import collect_testcases as collect_model_tests
from onnx.backend.test.case.node import collect_testcases as collect_node_tests
from onnx.backend.test.runner import Runner

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "data", "onnx", "suite.zip")
LIGHT = os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data", "light")

NOTICE = """Test data of the Python package onnx 1.23.2 (onnx.backend.test), https://github.com/onnx/onnx,
Copyright (c) ONNX Project Contributors, licensed under the Apache License 2.0
(https://www.apache.org/licenses/LICENSE-2.0). Serialised, packed and otherwise unchanged; made by
tests/reference/onnx_suite.py of percept.
"""


class Data:
    """The files, each content once."""

    def __init__(self):
        self.known = {}
        self.parts = []
        self.length = 0

    def add(self, content):
        if content not in self.known:
            self.known[content] = f"{self.length}+{len(content)}"
            self.parts.append(content)
            self.length += len(content)
        return self.known[content]


def tensor(value, info):
    """A value as the bytes of a TensorProto, or the kind that it has instead."""
    kind = info.type.WhichOneof("value")
    if kind != "tensor_type":
        return kind.removesuffix("_type")
    if isinstance(value, TensorProto):
        proto = TensorProto()
        proto.CopyFrom(value)
        proto.name = ""
    else:
        proto = numpy_helper.from_array(np.asarray(value))
    return proto.SerializeToString(deterministic=True)


def node_tests():
    for case in collect_node_tests():
        ((inputs, outputs),) = case.data_sets
        graph = case.model.graph
        yield (
            case.name,
            (case.rtol, case.atol),
            case.model.SerializeToString(deterministic=True),
            [tensor(value, info) for value, info in zip(inputs, graph.input)],
            [tensor(value, info) for value, info in zip(outputs, graph.output)],
        )


def light_tests():
    for case in collect_model_tests():
        if not (case.url or "").startswith("onnx/backend/test/data/light/"):
            continue
        path = os.path.join(LIGHT, os.path.basename(case.url))
        model = onnx.load(path)
        known = {initializer.name for initializer in model.graph.initializer}
        inputs = [info for info in model.graph.input if info.name not in known]
        values = [Runner.generate_dummy_data(info, name=case.model_name) for info in inputs]
        outputs = []
        for index in range(len(model.graph.output)):
            with open(path.replace(".onnx", f"_output_{index}.pb"), "rb") as file:
                outputs.append(file.read())
        with open(path, "rb") as file:
            content = file.read()
        name = os.path.basename(case.url).removesuffix(".onnx")
        inputs = [tensor(value, info) for value, info in zip(values, inputs)]
        yield (name, (case.rtol, case.atol), content, inputs, outputs)


def main():
    warnings.filterwarnings("ignore")
    data = Data()
    lines = []
    node = sorted(node_tests(), key=lambda test: test[0])
    light = sorted(light_tests(), key=lambda test: test[0])
    tests = node + light
    refs = {}
    # Models first: they compress with one another.
    for name, _, model, _, _ in tests:
        refs[name] = [data.add(model)]
    for name, tolerance, _, inputs, outputs in tests:
        for parts in (inputs, outputs):
            refs[name].append(",".join(p if isinstance(p, str) else data.add(p) for p in parts))
        lines.append("\t".join([name, *map(str, tolerance), *refs[name]]))
    entries = {"NOTICE": NOTICE.encode(), "index.tsv": ("\n".join(lines) + "\n").encode(), "data": b"".join(data.parts)}
    with zipfile.ZipFile(OUT, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content, compresslevel=9)
            print(name, len(content))
    print(len(refs), "tests in", os.path.getsize(OUT), "bytes")


if __name__ == "__main__":
    main()
