"""Makes tests/data/engine/shapes.json: what ONNX's own shape inference says of some models, for engine/shapes/tests.rs.

    python -m venv venv && venv/bin/pip install onnx==1.23.2 && venv/bin/python tests/reference/shapes.py

A list of cases: `name`, `model` (a ModelProto without types of values in between, as hexadecimal digits), and `values`:
by name the type that `onnx.shape_inference.infer_shapes(model, check_type, strict_mode, data_prop)` finds, as percept
writes it: `f32 [N, 2, ?]`. Dimensions that are neither numbers nor symbols of the inputs (such as it makes up) are `?`;
without a rank the shape is `[…]`. Initializers are left out. The nine networks of backend/test/data/light are in
tests/data/onnx/suite.zip already, so they stand here under their names, without the model, for tests/onnx_suite.rs.
"""

import json
import os

import onnx
from onnx import TensorProto, helper, parser, shape_inference

HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "data", "engine", "shapes.json")
LIGHT = os.path.join(os.path.dirname(onnx.__file__), "backend", "test", "data", "light")
TYPES = {
    TensorProto.FLOAT: "f32",
    TensorProto.DOUBLE: "f64",
    TensorProto.INT64: "i64",
    TensorProto.INT32: "i32",
    TensorProto.BOOL: "bool",
}

HEADER = '<ir_version: 10, opset_import: ["" : 21]>\n'

MODELS = {
    "dense": """
        agraph (float[N, 784] x, float[784, 64] w, float[64] b, float[64, 10] v) => (float[n, c] y) {
            h = MatMul(x, w)
            a = Add(h, b)
            r = Relu(a)
            s = MatMul(r, v)
            y = Softmax <axis = 1> (s)
        }""",
    "convolutions": """
        agraph (float[N, 3, H, W] x, float[8, 3, 3, 3] w, float[16, 8, 5, 5] v) => (float[a, b] y) {
            c = Conv <pads = [1, 1, 1, 1]> (x, w)
            p = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (c)
            d = Conv <strides = [2, 2], pads = [2, 2, 2, 2]> (p, v)
            g = GlobalAveragePool (d)
            y = Flatten (g)
        }""",
    "reshaped": """
        agraph (float[N, T, 64] x) => (float[a, b, c, d] y)
        <int64[1] zero = {0}, int64[1] one = {1}, int64[2] heads = {4, 16}> {
            s = Shape (x)
            n = Gather (s, zero)
            t = Gather (s, one)
            target = Concat <axis = 0> (n, t, heads)
            r = Reshape (x, target)
            y = Transpose <perm = [0, 2, 1, 3]> (r)
        }""",
    "attention": """
        agraph (float[N, T, 32] q, float[N, S, 32] k, float[N, S, 32] v) => (float[a, b, c] y) {
            kt = Transpose <perm = [0, 2, 1]> (k)
            scores = MatMul (q, kt)
            p = Softmax <axis = -1> (scores)
            y = MatMul (p, v)
        }""",
    "joined": """
        agraph (float[N, 4] a, float[M, 4] b, int64[K] rows) => (float[a, b] y, float[c, d] z, float[e] w)
        <int64[1] axes = {1}> {
            j = Concat <axis = 0> (a, b)
            y = Gather (j, rows)
            z = Add (a, b)
            w = ReduceSum <keepdims = 0> (j, axes)
        }""",
    "recurrent": """
        agraph (float[T, N, 12] x, float[1, 24, 12] w, float[1, 24, 8] r) => (float[a, b, c, d] y, float[e, f, g] h) {
            y, h = GRU <hidden_size = 8> (x, w, r)
        }""",
    "branches": """
        agraph (bool c, float[N, 4] x) => (float[a, b] y, float[e, f] z) {
            y = If (c) <
                then_branch = g1 () => (float[d, e] t) { t = Add (x, x) },
                else_branch = g2 () => (float[d, e] e) { e = Relu (x) }
            >
            z = If (c) <
                then_branch = g3 () => (float[d, e] u) { u = Concat <axis = 1> (x, x) },
                else_branch = g4 () => (float[d, e] f) { f = Neg (x) }
            >
        }""",
    "scan": """
        agraph (float[4] s, float[T, 4] x) => (float[a] f, float[b, c] all) {
            f, all = Scan <num_scan_inputs = 1, body = b (float[4] i, float[4] e) => (float[4] o, float[4] a) {
                o = Add (i, e)
                a = Identity (o)
            }> (s, x)
        }""",
    "loop": """
        agraph (float[N, 4] x, int64 count) => (float[a, b] y, float[c, d, e] all)
        <bool go = {1}> {
            y, all = Loop (count, go, x) <body = b (int64 i, bool c, float[N, 4] s) => (bool d, float[N, 4] t, float[N, 4] u) {
                d = Identity (c)
                t = Relu (s)
                u = Neg (t)
            }>
        }""",
    "arranged": """
        agraph (float[N, 6, T] x) => (float[a, b] y, int64[c, d, e] places, float[f, g, h] cut)
        <int64[1] k = {2}, int64[1] two = {2}, int64[1] zero = {0}, int64[1] three = {3}, int64[1] one = {1},
         int64[3] times = {1, 2, 1}, int64[6] around = {0, 0, 1, 0, 0, 2}> {
            best, places = TopK <axis = 1> (x, k)
            first, second, third = Split <axis = 1, num_outputs = 3> (x)
            cut = Slice (x, zero, three, one)
            tiled = Tile (x, times)
            padded = Pad (x, around)
            flat = Unsqueeze (best, zero)
            y = ReduceMax <keepdims = 0> (x, two)
            kind = Cast <to = 7> (x)
            same = Equal (x, x)
        }""",
}


def values(model):
    inferred = shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True).graph
    known = {d.dim_param for i in inferred.input for d in i.type.tensor_type.shape.dim if d.dim_param}
    weights = {initializer.name for initializer in model.graph.initializer}
    found = {}
    for info in [*inferred.input, *inferred.value_info, *inferred.output]:
        if info.name in weights:
            continue
        kind = info.type.tensor_type
        dims = ["…"]
        if kind.HasField("shape"):
            dims = []
            for dim in kind.shape.dim:
                symbol = dim.dim_param if dim.dim_param in known else "?"
                dims.append(str(dim.dim_value) if dim.HasField("dim_value") else symbol)
        found[info.name] = f"{TYPES[kind.elem_type]} [{', '.join(dims)}]"
    return found


def bare(model):
    """Without what the file says of values in between, and without the shapes of outputs."""
    del model.graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return model


def main():
    cases = []
    for name, text in MODELS.items():
        model = parser.parse_model(HEADER + text.strip())
        onnx.checker.check_model(model)
        bare(model)
        content = model.SerializeToString(deterministic=True)
        cases.append({"name": name, "model": content.hex(), "values": values(model)})
    for file in sorted(os.listdir(LIGHT)):
        if file.endswith(".onnx"):
            model = bare(onnx.load(os.path.join(LIGHT, file)))
            cases.append({"name": file.removesuffix(".onnx"), "model": None, "values": values(model)})
    with open(OUT, "w", encoding="utf-8") as out:
        out.write("[\n" + ",\n".join(json.dumps(case, separators=(",", ":"), ensure_ascii=False) for case in cases) + "\n]\n")
    print(len(cases), "cases,", os.path.getsize(OUT), "bytes")


if __name__ == "__main__":
    main()
