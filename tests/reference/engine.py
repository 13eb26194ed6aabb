"""Makes tests/data/engine/*.json: what PyTorch computes, forward and backward, for tests/engine_reference.rs.

    python -m venv venv && venv/bin/pip install torch==2.15.0 numpy && venv/bin/python tests/reference/engine.py

Any build of PyTorch does; everything is computed in f64 on the CPU. A file is a family, a list of cases:

- `name`, `opset`, `nodes` (op, domain unless empty, inputs, outputs, attributes): a graph of ONNX nodes. Attributes are
  integers, floats, text or lists of them; a float is written with a point or an exponent.
- `inputs`: by name, with `shape`, and either `seed`, `low` and `high` (drawn, see `draw`; of f64) or `values` (i64, or
  f64 where `float` is true). With `constant` it is an initializer.
- `outputs`: by name, `shape` and `values`.
- `gradients`: by name of an input, the gradient of the sum over all outputs of output times cotangent, where the
  cotangent of output number i is drawn between -1 and 1 with seed 1000 + i. Absent: only outputs are compared, those of
  inference.
"""

import json
import math
import os
import zlib

import numpy as np
import torch
import torch.nn.functional as F

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data", "engine")
PERCEPT = "ai.percept"
MASK = (1 << 64) - 1
families = {}


def f32(value):
    """The number that an attribute of f32 holds."""
    return float(np.float32(value))


def draw(shape, seed, low=-1.0, high=1.0):
    """Numbers between low and high: SplitMix64 of seed and position, 53 bits of it."""
    values = []
    for index in range(math.prod(shape)):
        z = (seed + (index + 1) * 0x9E3779B97F4A7C15) & MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        z ^= z >> 31
        values.append(low + (high - low) * ((z >> 11) / float(1 << 53)))
    return np.array(values, np.float64).reshape(shape)


class D:
    """An input that is drawn."""

    def __init__(self, *shape, low=-1.0, high=1.0):
        self.shape, self.low, self.high = shape, low, high


class V:
    """An input that is given; of i64 unless it holds floats."""

    def __init__(self, values, constant=False):
        self.values = np.array(values)
        self.constant = constant


def node(op, inputs, outputs, domain="", **attributes):
    made = {"op": op, "inputs": inputs.split(" ") if inputs else [], "outputs": outputs.split(" ")}
    if domain:
        made["domain"] = domain
    if attributes:
        made["attributes"] = attributes
    return made


def case(family, name, nodes, inputs, compute, opset=21, gradients=True, only=None):
    """Adds a case. `compute` takes the inputs and gives the outputs, in the order of `only` or of the last node's."""
    nodes = nodes if isinstance(nodes, list) else [nodes]
    tensors, described = {}, {}
    for key, value in inputs.items():
        if isinstance(value, D):
            seed = zlib.crc32(f"{name}/{key}".encode())
            tensors[key] = torch.tensor(draw(value.shape, seed, value.low, value.high), requires_grad=True)
            described[key] = {"shape": value.shape, "seed": seed, "low": value.low, "high": value.high}
        else:
            tensors[key] = torch.tensor(value.values)
            described[key] = {"shape": value.values.shape, "values": value.values.flatten().tolist()}
            if value.values.dtype == np.float64:
                described[key]["float"] = True
            if value.constant:
                described[key]["constant"] = True
    results = compute(*tensors.values())
    results = results if isinstance(results, tuple) else (results,)
    names = only or [output for output in nodes[-1]["outputs"] if output]
    made = {"name": name, "opset": opset, "nodes": nodes, "inputs": described, "outputs": {}}
    for key, result in zip(names, results, strict=True):
        made["outputs"][key] = {"shape": list(result.shape), "values": result.detach().flatten().tolist()}
    if gradients:
        total = 0
        for index, result in enumerate(results):
            if result.is_floating_point():
                total = total + (result * torch.tensor(draw(tuple(result.shape), 1000 + index))).sum()
        total.backward()
        leaves = {key: tensor for key, tensor in tensors.items() if tensor.requires_grad}
        made["gradients"] = {
            key: (torch.zeros_like(leaf) if leaf.grad is None else leaf.grad).flatten().tolist()
            for key, leaf in leaves.items()
        }
    families.setdefault(family, []).append(made)


def activations():
    def one(op, compute, shape=(3, 7), low=-3.0, high=3.0, opset=21, **attributes):
        label = "_".join([op.lower(), *(str(value) for value in attributes.values())])
        case("activations", label, node(op, "x", "y", **attributes), {"x": D(*shape, low=low, high=high)}, compute, opset)

    one("Relu", F.relu)
    one("LeakyRelu", lambda x: F.leaky_relu(x, f32(0.1)), alpha=0.1)
    one("Elu", lambda x: F.elu(x, f32(0.7)), alpha=0.7)
    one("Celu", lambda x: F.celu(x, f32(0.7)), alpha=0.7)
    # The specification's defaults are these constants in f32.
    a, g = f32(1.67326319217681884765625), f32(1.05070102214813232421875)
    one("Selu", lambda x: g * torch.where(x > 0, x, a * torch.expm1(x)))
    one("Gelu", F.gelu)
    one("Gelu", lambda x: F.gelu(x, approximate="tanh"), approximate="tanh")
    one("Sigmoid", torch.sigmoid)
    one("HardSigmoid", lambda x: torch.clamp(x * f32(0.2) + 0.5, 0, 1), alpha=0.2, beta=0.5)
    one("HardSwish", lambda x: x * torch.clamp(x * (1 / 6) + 0.5, 0, 1), opset=22)
    one("Mish", F.mish, opset=22)
    one("Swish", F.silu, opset=24)
    one("Tanh", torch.tanh)
    one("Softplus", F.softplus)
    one("Softsign", F.softsign)
    one("ThresholdedRelu", lambda x: F.threshold(x, 0.5, 0.0), alpha=0.5)
    one("Exp", torch.exp)
    one("Log", torch.log, low=0.1)
    one("Sqrt", torch.sqrt, low=0.1)
    one("Reciprocal", torch.reciprocal, low=0.3)
    one("Neg", torch.neg)
    one("Abs", torch.abs)
    one("Erf", torch.erf)
    one("Sin", torch.sin)
    one("Cos", torch.cos)
    two = {"x": D(2, 3, 4), "slope": D(3, 1)}
    case("activations", "prelu", node("PRelu", "x slope", "y"), two, lambda x, slope: torch.where(x > 0, x, slope * x))
    bounds = {"x": D(3, 5, low=-2.0, high=2.0), "low": V(-0.5), "high": V(1.25)}
    case("activations", "clip", node("Clip", "x low high", "y"), bounds, lambda x, low, high: torch.clamp(x, -0.5, 1.25))
    for axis in (0, 1, -1):
        label = str(axis).replace("-", "minus_")
        shape = D(2, 5, 3, low=-4.0, high=4.0)
        case("activations", f"softmax_{label}", node("Softmax", "x", "y", axis=axis), {"x": shape}, lambda x: F.softmax(x, axis))
        case("activations", f"log_softmax_{label}", node("LogSoftmax", "x", "y", axis=axis), {"x": shape},
             lambda x: F.log_softmax(x, axis))


def arithmetic():
    def two(op, compute, a=D(2, 3, 4), b=D(3, 1), **more):
        case("arithmetic", op.lower(), node(op, "a b", "y", **more), {"a": a, "b": b}, compute)

    two("Add", torch.add)
    two("Sub", torch.sub)
    two("Mul", torch.mul)
    two("Div", torch.div, b=D(3, 1, low=0.5, high=2.0))
    two("Pow", torch.pow, a=D(2, 3, 4, low=0.3, high=2.0), b=D(3, 1, low=-2.0, high=3.0))
    many = {"a": D(2, 3), "b": D(3), "c": D(2, 1)}
    for op, compute in [
        ("Max", lambda a, b, c: torch.maximum(torch.maximum(a, b), c)),
        ("Min", lambda a, b, c: torch.minimum(torch.minimum(a, b), c)),
        ("Sum", lambda a, b, c: a + b + c),
        ("Mean", lambda a, b, c: (a + b + c) / 3),
    ]:
        case("arithmetic", op.lower(), node(op, "a b c", "y"), many, compute)
    nodes = [node("Less", "a b", "smaller"), node("Where", "smaller a b", "y")]
    case("arithmetic", "where", nodes, {"a": D(2, 4), "b": D(4)}, lambda a, b: torch.where(a < b, a, b))
    gemm = {"a": D(4, 3), "b": D(5, 4), "c": D(5)}
    case("arithmetic", "gemm", node("Gemm", "a b c", "y", alpha=0.5, beta=2.0, transA=1, transB=1), gemm,
         lambda a, b, c: 0.5 * a.T @ b.T + 2.0 * c)
    for label, a, b in [
        ("matrices", D(3, 4), D(4, 2)), ("batches", D(2, 1, 3, 4), D(3, 4, 2)), ("vector_right", D(2, 3, 4), D(4)),
        ("vector_left", D(4), D(2, 4, 3)), ("vectors", D(4), D(4)),
    ]:
        case("arithmetic", f"matmul_{label}", node("MatMul", "a b", "y"), {"a": a, "b": b}, torch.matmul)
    for label, equation, a, b in [
        ("attention", "bqd,bkd->bqk", D(2, 3, 4), D(2, 5, 4)), ("ellipsis", "...ij,...jk->...ik", D(2, 2, 3), D(2, 3, 2)),
        ("outer", "i,j->ij", D(3), D(4)),
    ]:
        case("arithmetic", f"einsum_{label}", node("Einsum", "a b", "y", equation=equation), {"a": a, "b": b},
             lambda a, b: torch.einsum(equation, a, b))


def convolutions():
    def conv(label, x, w, bias=True, compute=None, **attributes):
        rank = len(x.shape) - 2
        torch_names = {"strides": "stride", "dilations": "dilation", "group": "groups"}
        keywords = {torch_names[key]: value for key, value in attributes.items() if key in torch_names}
        pads = attributes.get("pads", [0] * 2 * rank)

        def run(x, w, b=None):
            around = [side for axis in reversed(range(rank)) for side in (pads[axis], pads[rank + axis])]
            return (F.conv1d, F.conv2d, F.conv3d)[rank - 1](F.pad(x, around), w, b, **keywords)

        inputs = {"x": x, "w": w} | ({"b": D(w.shape[0])} if bias else {})
        case("convolutions", label, node("Conv", " ".join(inputs), "y", **attributes), inputs, compute or run)

    conv("conv1d", D(2, 3, 9), D(4, 3, 3))
    conv("conv1d_dilated", D(2, 2, 11), D(3, 2, 3), dilations=[2], pads=[2, 2])
    conv("conv2d", D(2, 2, 5, 6), D(3, 2, 3, 2))
    conv("conv2d_without_bias", D(1, 2, 4, 4), D(2, 2, 3, 3), bias=False, pads=[1, 1, 1, 1])
    conv("conv2d_strides_pads", D(1, 2, 7, 6), D(3, 2, 3, 3), strides=[2, 3], pads=[1, 0, 2, 1])
    conv("conv2d_groups", D(2, 4, 5, 4), D(6, 2, 3, 3), group=2, pads=[1, 1, 1, 1])
    conv("conv2d_depthwise", D(1, 3, 5, 5), D(3, 1, 3, 3), group=3, strides=[2, 2], pads=[1, 1, 1, 1])
    conv("conv2d_dilated_groups", D(1, 4, 7, 7), D(4, 2, 2, 2), group=2, dilations=[2, 3])
    conv("conv2d_pointwise", D(2, 4, 3, 3), D(3, 4, 1, 1))
    conv("conv3d", D(1, 2, 4, 3, 4), D(2, 2, 2, 2, 3), strides=[2, 1, 1], pads=[1, 0, 1, 1, 0, 1])

    def transposed(label, x, w, groups=1, **attributes):
        rank = len(x.shape) - 2
        pads = attributes.get("pads", [0] * 2 * rank)
        keywords = {"stride": attributes.get("strides", 1), "padding": pads[:rank], "groups": groups,
                    "output_padding": attributes.get("output_padding", 0), "dilation": attributes.get("dilations", 1)}
        if groups > 1:
            attributes["group"] = groups
        run = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
        case("convolutions", label, node("ConvTranspose", "x w b", "y", **attributes),
             {"x": x, "w": w, "b": D(w.shape[1] * groups)}, lambda x, w, b: run(x, w, b, **keywords))

    transposed("transposed1d", D(2, 3, 4), D(3, 2, 3), strides=[2])
    transposed("transposed2d", D(1, 2, 3, 3), D(2, 3, 3, 2), strides=[2, 3], pads=[1, 0, 1, 0], output_padding=[1, 2])
    transposed("transposed2d_groups", D(1, 4, 3, 2), D(4, 2, 2, 2), groups=2, dilations=[2, 1])
    transposed("transposed3d", D(1, 2, 2, 2, 3), D(2, 1, 2, 2, 2), strides=[1, 2, 1])


def pools():
    def pool(label, op, x, compute, opset=21, **attributes):
        case("pools", label, node(op, "x", "y", **attributes), {"x": x}, compute, opset)

    pool("max1d", "MaxPool", D(2, 2, 9), lambda x: F.max_pool1d(x, 3, 2, 1), kernel_shape=[3], strides=[2], pads=[1, 1])
    pool("max2d", "MaxPool", D(2, 2, 6, 5), lambda x: F.max_pool2d(x, (2, 3), (2, 1)), kernel_shape=[2, 3], strides=[2, 1])
    pool("max2d_dilated_ceil", "MaxPool", D(1, 2, 7, 7), lambda x: F.max_pool2d(x, 2, 2, 0, 3, True), kernel_shape=[2, 2],
         strides=[2, 2], dilations=[3, 3], ceil_mode=1)
    pool("max3d", "MaxPool", D(1, 2, 4, 4, 4), lambda x: F.max_pool3d(x, 2, 2), kernel_shape=[2, 2, 2], strides=[2, 2, 2])
    pool("average1d", "AveragePool", D(2, 2, 8), lambda x: F.avg_pool1d(x, 3, 2), kernel_shape=[3], strides=[2])
    for include in (0, 1):
        pool(f"average2d_include_{include}", "AveragePool", D(1, 2, 5, 6),
             lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=bool(include)), kernel_shape=[3, 3], strides=[2, 2],
             pads=[1, 1, 1, 1], count_include_pad=include)
    pool("average3d", "AveragePool", D(1, 2, 4, 3, 4), lambda x: F.avg_pool3d(x, 2, (2, 1, 2)), kernel_shape=[2, 2, 2],
         strides=[2, 1, 2])
    pool("lp2d", "LpPool", D(1, 2, 4, 6), lambda x: F.lp_pool2d(x, 2, (2, 3), 2), p=2, kernel_shape=[2, 3], strides=[2, 2])
    pool("global_average", "GlobalAveragePool", D(2, 3, 4, 5), lambda x: x.mean((2, 3), keepdim=True))
    pool("global_max", "GlobalMaxPool", D(2, 3, 4, 5), lambda x: x.amax((2, 3), keepdim=True))
    x = D(2, 2, 4, 6)
    nodes = [node("MaxPool", "x", "small indices", kernel_shape=[2, 2], strides=[2, 2]),
             node("MaxUnpool", "small indices", "y", kernel_shape=[2, 2], strides=[2, 2])]

    def unpool(x):
        small, indices = F.max_pool2d(x, 2, 2, return_indices=True)
        return F.max_unpool2d(small, indices, 2, 2)

    case("pools", "max_unpool", nodes, {"x": x}, unpool, opset=22)


def normalisations():
    eps = f32(1e-5)
    affine = {"x": D(4, 3, 2, 2), "scale": D(3), "bias": D(3), "mean": V([0.5, -0.25, 0.0]), "variance": V([1.0, 0.5, 2.0])}
    norm = node("BatchNormalization", "x scale bias mean variance", "y new_mean new_variance", training_mode=1, momentum=0.75)

    def batch_norm(x, scale, bias, mean, variance):
        mean, variance = mean.clone(), variance.clone()
        count = x.numel() / x.shape[1]
        y = F.batch_norm(x, mean, variance, scale, bias, True, 0.25, eps)
        # PyTorch's running variance takes the sample variance, ONNX's that of the population.
        before = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
        variance = 0.75 * before + (variance - 0.75 * before) * (count - 1) / count
        return y, mean, variance

    case("normalisations", "batch_training", norm, affine, batch_norm)
    case("normalisations", "batch_training_rows", norm, affine | {"x": D(6, 3)}, batch_norm)
    still = node("BatchNormalization", "x scale bias mean variance", "y")
    case("normalisations", "batch_inference", still, affine,
         lambda x, scale, bias, mean, variance: F.batch_norm(x, mean, variance, scale, bias, False, 0.1, eps), gradients=False)
    case("normalisations", "layer", node("LayerNormalization", "x scale bias", "y", axis=-1),
         {"x": D(2, 3, 5), "scale": D(5), "bias": D(5)}, lambda x, scale, bias: F.layer_norm(x, (5,), scale, bias, eps))
    case("normalisations", "layer_two_axes", node("LayerNormalization", "x scale bias", "y", axis=1, epsilon=0.01),
         {"x": D(2, 3, 5), "scale": D(3, 5), "bias": D(3, 5)},
         lambda x, scale, bias: F.layer_norm(x, (3, 5), scale, bias, f32(0.01)))
    case("normalisations", "rms", node("RMSNormalization", "x scale", "y", axis=-1), {"x": D(2, 3, 5), "scale": D(5)},
         lambda x, scale: F.rms_norm(x, (5,), scale, eps), opset=23)
    channels = {"x": D(2, 4, 3, 2), "scale": D(4), "bias": D(4)}
    case("normalisations", "instance", node("InstanceNormalization", "x scale bias", "y"), channels,
         lambda x, scale, bias: F.instance_norm(x, weight=scale, bias=bias, eps=eps))
    case("normalisations", "group", node("GroupNormalization", "x scale bias", "y", num_groups=2), channels,
         lambda x, scale, bias: F.group_norm(x, 2, scale, bias, eps))
    case("normalisations", "local_response", node("LRN", "x", "y", size=3, alpha=0.01, beta=0.75, bias=1.5), {"x": D(2, 5, 3)},
         lambda x: F.local_response_norm(x, 3, f32(0.01), 0.75, 1.5))
    for p in (1, 2):
        case("normalisations", f"lp_{p}", node("LpNormalization", "x", "y", axis=1, p=p), {"x": D(2, 4, 3)},
             lambda x: F.normalize(x, p, 1))


def reductions():
    axes = {"all": None, "one": [1], "two": [0, -1]}
    for op, compute, low in [
        ("ReduceSum", torch.sum, -1.0), ("ReduceMean", torch.mean, -1.0), ("ReduceMax", torch.amax, -1.0),
        ("ReduceMin", torch.amin, -1.0), ("ReduceL1", lambda x, dim, keepdim: x.abs().sum(dim, keepdim), -1.0),
        ("ReduceL2", lambda x, dim, keepdim: x.square().sum(dim, keepdim).sqrt(), -1.0),
        ("ReduceLogSum", lambda x, dim, keepdim: x.sum(dim, keepdim).log(), 0.1),
        ("ReduceLogSumExp", torch.logsumexp, -1.0),
        ("ReduceSumSquare", lambda x, dim, keepdim: x.square().sum(dim, keepdim), -1.0),
    ]:
        for label, over in axes.items():
            keep = label != "two"
            given = {"x": D(3, 4, 2, low=low)} | ({} if over is None else {"axes": V(over, constant=True)})
            case("reductions", f"{op.lower()}_{label}", node(op, " ".join(given), "y", keepdims=int(keep)), given,
                 lambda x, axes=None: compute(x, dim=(0, 1, 2) if over is None else tuple(over), keepdim=keep))
    case("reductions", "reduceprod", node("ReduceProd", "x axes", "y"), {"x": D(3, 4), "axes": V([1], constant=True)},
         lambda x, axes: torch.prod(x, 1, keepdim=True))
    case("reductions", "cumsum", node("CumSum", "x axis", "y"), {"x": D(3, 4), "axis": V(1, constant=True)},
         lambda x, axis: torch.cumsum(x, 1))
    case("reductions", "topk", node("TopK", "x k", "y indices"), {"x": D(3, 6), "k": V([2], constant=True)},
         lambda x, k: tuple(torch.topk(x, 2)))


def movement():
    def move(label, nodes, inputs, compute, opset=21):
        case("movement", label, nodes, inputs, compute, opset)

    move("embedding", node("Gather", "table indices", "y"), {"table": D(5, 3), "indices": V([[0, 4, 4], [2, 0, 4]])},
         lambda table, indices: F.embedding(indices, table))
    move("gather_elements", node("GatherElements", "x indices", "y", axis=1),
         {"x": D(3, 4), "indices": V([[0, 3], [1, 1], [2, 0]])}, lambda x, indices: torch.gather(x, 1, indices))
    move("scatter_elements", node("ScatterElements", "x indices updates", "y", axis=1),
         {"x": D(3, 4), "indices": V([[0, 3], [1, 2], [2, 0]]), "updates": D(3, 2)},
         lambda x, indices, updates: torch.scatter(x, 1, indices, updates))
    move("scatter_add", node("ScatterElements", "x indices updates", "y", axis=0, reduction="add"),
         {"x": D(3, 2), "indices": V([[0, 2], [0, 2], [1, 2]]), "updates": D(3, 2)},
         lambda x, indices, updates: torch.scatter_add(x, 0, indices, updates))
    # Places that several updates meet at.
    for reduction, torch_name in [("mul", "prod"), ("max", "amax"), ("min", "amin")]:
        move(f"scatter_{reduction}", node("ScatterElements", "x indices updates", "y", axis=1, reduction=reduction),
             {"x": D(3, 4), "indices": V([[0, 3, 0], [1, 1, 1], [2, 0, 3]]), "updates": D(3, 3)},
             lambda x, indices, updates, how=torch_name: torch.scatter_reduce(x, 1, indices, updates, how))
    move("transpose", node("Transpose", "x", "y", perm=[2, 0, 1]), {"x": D(2, 3, 4)}, lambda x: x.permute(2, 0, 1))
    move("concat", node("Concat", "a b a", "y", axis=1), {"a": D(2, 3), "b": D(2, 2)}, lambda a, b: torch.cat([a, b, a], 1))
    move("split", node("Split", "x sizes", "a b", axis=1), {"x": D(2, 5), "sizes": V([2, 3], constant=True)},
         lambda x, sizes: tuple(torch.split(x, [2, 3], 1)))
    move("expand", node("Expand", "x shape", "y"), {"x": D(3, 1), "shape": V([2, 3, 4], constant=True)},
         lambda x, shape: x.expand(2, 3, 4))
    move("tile", node("Tile", "x repeats", "y"), {"x": D(2, 3), "repeats": V([2, 2], constant=True)},
         lambda x, repeats: x.repeat(2, 2))
    move("slice", node("Slice", "x starts ends axes steps", "y"),
         {"x": D(4, 6), "starts": V([1, 0], constant=True), "ends": V([4, 6], constant=True),
          "axes": V([0, 1], constant=True), "steps": V([1, 2], constant=True)},
         lambda x, starts, ends, axes, steps: x[1:4, 0:6:2])
    for mode, name in [("constant", "constant"), ("reflect", "reflect"), ("edge", "replicate"), ("wrap", "circular")]:
        move(f"pad_{mode}", node("Pad", "x pads", "y", mode=mode),
             {"x": D(1, 2, 4, 5), "pads": V([0, 0, 2, 1, 0, 0, 1, 3], constant=True)},
             lambda x, pads: F.pad(x, (1, 3, 2, 1), mode=name))
    move("depth_to_space", node("DepthToSpace", "x", "y", blocksize=2, mode="CRD"), {"x": D(1, 8, 2, 3)},
         lambda x: F.pixel_shuffle(x, 2))
    for mode, name, corners in [("linear", "bilinear", False), ("linear", "bilinear", True), ("cubic", "bicubic", False)]:
        transform = "align_corners" if corners else "half_pixel"
        move(f"resize_{mode}_{transform}",
             node("Resize", "x   sizes", "y", mode=mode, coordinate_transformation_mode=transform, cubic_coeff_a=-0.75),
             {"x": D(1, 2, 4, 3), "sizes": V([1, 2, 6, 5], constant=True)},
             lambda x, sizes: F.interpolate(x, (6, 5), mode=name, align_corners=corners))
    move("resize_nearest",
         node("Resize", "x   sizes", "y", mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
         {"x": D(1, 2, 3, 3), "sizes": V([1, 2, 6, 6], constant=True)}, lambda x, sizes: F.interpolate(x, (6, 6)))


def recurrent():
    """The gates are in ONNX's order; weights are put into PyTorch's before it computes."""
    T, N, I, H = 4, 2, 3, 2

    def order(weights, gates):
        return torch.cat([part for gate in gates for part in [weights.chunk(len(gates), 0)[gate]]])

    def parameters(w, r, b, gates):
        flat = []
        for direction in range(w.shape[0]):
            wb, rb = b[direction].chunk(2)
            flat += [order(part, gates) for part in (w[direction], r[direction], wb, rb)]
        return flat

    def arranged(y, directions):
        return y.view(T, N, directions, H).permute(0, 2, 1, 3)

    def inputs(gates, directions, cell=False):
        made = {"x": D(T, N, I), "w": D(directions, gates * H, I), "r": D(directions, gates * H, H),
                "b": D(directions, 2 * gates * H), "h": D(directions, N, H)}
        return made | ({"c": D(directions, N, H)} if cell else {})

    for label, directions, direction in [("forward", 1, "forward"), ("reverse", 1, "reverse"), ("bidirectional", 2, "bidirectional")]:
        def both(x, run):
            """PyTorch has no layer that only runs backwards: its input and output are reversed instead."""
            if direction != "reverse":
                return run(x)
            y, *rest = run(x.flip(0))
            return (y.flip(0), *rest)

        def lstm(x, w, r, b, h, c):
            y, hn, cn = both(x, lambda x: torch._VF.lstm(
                x, (h, c), parameters(w, r, b, [0, 2, 3, 1]), True, 1, 0.0, False, directions == 2, False))
            return arranged(y, directions), hn, cn

        case("recurrent", f"lstm_{label}", node("LSTM", "x w r b  h c", "y yh yc", hidden_size=H, direction=direction),
             inputs(4, directions, True), lstm)

        def gru(x, w, r, b, h):
            y, hn = both(x, lambda x: torch._VF.gru(
                x, h, parameters(w, r, b, [1, 0, 2]), True, 1, 0.0, False, directions == 2, False))
            return arranged(y, directions), hn

        case("recurrent", f"gru_{label}",
             node("GRU", "x w r b  h", "y yh", hidden_size=H, direction=direction, linear_before_reset=1),
             inputs(3, directions), gru)

        def rnn(x, w, r, b, h):
            y, hn = both(x, lambda x: torch._VF.rnn_tanh(
                x, h, parameters(w, r, b, [0]), True, 1, 0.0, False, directions == 2, False))
            return arranged(y, directions), hn

        case("recurrent", f"rnn_{label}", node("RNN", "x w r b  h", "y yh", hidden_size=H, direction=direction),
             inputs(1, directions), rnn)

    def gru_before(x, w, r, b, h):
        """The reset gate before the product: what PyTorch's layer does not have, step by step."""
        (wz, wr, wh), (rz, rr, rh) = w[0].chunk(3), r[0].chunk(3)
        wbz, wbr, wbh, rbz, rbr, rbh = b[0].chunk(6)
        state, steps = h[0], []
        for step in x:
            z = torch.sigmoid(step @ wz.T + state @ rz.T + wbz + rbz)
            reset = torch.sigmoid(step @ wr.T + state @ rr.T + wbr + rbr)
            new = torch.tanh(step @ wh.T + (reset * state) @ rh.T + rbh + wbh)
            state = (1 - z) * new + z * state
            steps.append(state)
        return torch.stack(steps)[:, None], state[None]

    case("recurrent", "gru_reset_before", node("GRU", "x w r b  h", "y yh", hidden_size=H), inputs(3, 1), gru_before)

    lengths = [4, 2]

    def lstm_lengths(x, w, r, b, lens, h, c, p):
        """Sequences of several lengths, and peepholes."""
        pi, po, pf = p[0].chunk(3)
        hidden, cell, steps = h[0], c[0], []
        for index, step in enumerate(x):
            i, o, f, g = (step @ w[0].T + hidden @ r[0].T + b[0].chunk(2)[0] + b[0].chunk(2)[1]).chunk(4, 1)
            i, f = torch.sigmoid(i + pi * cell), torch.sigmoid(f + pf * cell)
            new_cell = f * cell + i * torch.tanh(g)
            new = torch.sigmoid(o + po * new_cell) * torch.tanh(new_cell)
            alive = torch.tensor([[index < length] for length in lengths])
            hidden, cell = torch.where(alive, new, hidden), torch.where(alive, new_cell, cell)
            steps.append(torch.where(alive, new, torch.zeros_like(new)))
        return torch.stack(steps)[:, None], hidden[None], cell[None]

    given = inputs(4, 1, True)
    given = {key: given[key] for key in ("x", "w", "r", "b")} | {"lens": V(lengths)} | {"h": given["h"], "c": given["c"], "p": D(1, 3 * H)}
    case("recurrent", "lstm_lengths_peepholes",
         [node("Cast", "lens", "short", to=6), node("LSTM", "x w r b short h c p", "y yh yc", hidden_size=H)], given, lstm_lengths)


def losses():
    def loss(label, op, inputs, compute, **attributes):
        case("losses", label, node(op, " ".join(inputs), "loss", PERCEPT, **attributes), inputs, compute)

    logits = D(5, 4, low=-3.0, high=3.0)
    classes = V([0, 3, 1, 1, 2])
    weights = [f32(w) for w in (0.5, 2.0, 1.0, 0.1)]
    loss("cross_entropy", "CrossEntropy", {"p": logits, "t": classes}, lambda p, t: F.cross_entropy(p, t))
    loss("cross_entropy_smoothed", "CrossEntropy", {"p": logits, "t": classes},
         lambda p, t: F.cross_entropy(p, t, label_smoothing=f32(0.1)), label_smoothing=0.1)
    loss("cross_entropy_weighted", "CrossEntropy", {"p": logits, "t": classes},
         lambda p, t: F.cross_entropy(p, t, torch.tensor(weights, dtype=torch.float64)), class_weights=weights)
    loss("cross_entropy_weighted_smoothed", "CrossEntropy", {"p": logits, "t": classes},
         lambda p, t: F.cross_entropy(p, t, torch.tensor(weights, dtype=torch.float64), label_smoothing=f32(0.2)),
         class_weights=weights, label_smoothing=0.2)
    loss("cross_entropy_ignored", "CrossEntropy", {"p": logits, "t": V([0, -100, 1, -100, 2])},
         lambda p, t: F.cross_entropy(p, t))
    loss("cross_entropy_positions", "CrossEntropy", {"p": D(2, 3, 4), "t": V([[0, 1, 2, 2], [1, 1, 0, 2]])},
         lambda p, t: F.cross_entropy(p, t))
    soft = V([[0.25, 0.25, 0.5, 0.0], [1.0, 0.0, 0.0, 0.0], [0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 0.0, 1.0], [0.7, 0.1, 0.1, 0.1]])
    loss("cross_entropy_soft", "CrossEntropy", {"p": logits, "t": soft}, lambda p, t: F.cross_entropy(p, t))
    loss("cross_entropy_soft_smoothed", "CrossEntropy", {"p": logits, "t": soft},
         lambda p, t: F.cross_entropy(p, t, label_smoothing=f32(0.3)), label_smoothing=0.3)
    wide = D(3, 4, low=-8.0, high=8.0)
    loss("binary_cross_entropy", "BinaryCrossEntropy", {"p": wide, "t": D(3, 4, low=0.0)},
         lambda p, t: F.binary_cross_entropy_with_logits(p, t))
    pair = {"p": D(3, 4, low=-2.0, high=2.0), "t": D(3, 4, low=-2.0, high=2.0)}
    loss("squared", "SquaredError", pair, lambda p, t: F.mse_loss(p, t))
    loss("absolute", "AbsoluteError", pair, lambda p, t: F.l1_loss(p, t))
    loss("huber", "Huber", pair, lambda p, t: F.huber_loss(p, t))
    loss("huber_half", "Huber", pair, lambda p, t: F.huber_loss(p, t, delta=0.5), delta=0.5)
    signs = V([[1.0, -1.0, 1.0, 1.0], [-1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, 1.0]])
    loss("hinge", "Hinge", {"p": D(3, 4, low=-2.0, high=2.0), "t": signs}, lambda p, t: torch.clamp(1 - p * t, min=0).mean())
    loss("perceptron", "PerceptronCriterion", {"p": D(3, 4), "t": signs}, lambda p, t: torch.clamp(-p * t, min=0).mean())
    loss("kl", "KullbackLeibler", {"p": D(5, 4, low=-3.0, high=-0.1), "t": soft},
         lambda p, t: F.kl_div(p, t, reduction="batchmean"))
    loss("cosine_embedding", "CosineEmbedding", {"a": D(4, 5), "b": D(4, 5), "t": V([1.0, -1.0, 1.0, -1.0])},
         lambda a, b, t: F.cosine_embedding_loss(a, b, t, margin=f32(-0.5)), margin=-0.5)
    loss("triplet", "TripletMargin", {"anchor": D(4, 5), "positive": D(4, 5), "negative": D(4, 5)},
         lambda anchor, positive, negative: F.triplet_margin_loss(anchor, positive, negative, margin=0.75, eps=0.0), margin=0.75)
    def ctc(label, frames, targets, lengths=None, blank=0, classes=5):
        """Rows of logits and of labels; a row of labels ends at the first negative number."""
        inputs = {"p": D(len(targets), frames, classes, low=-4.0, high=4.0), "t": V(targets)}

        def compute(p, t, lens=torch.tensor([frames] * len(targets))):
            log_probabilities = F.log_softmax(p, -1).permute(1, 0, 2)
            return F.ctc_loss(log_probabilities, t.clamp(min=0), lens, (t >= 0).sum(1), blank)

        loss(label, "Ctc", inputs | ({"lens": V(lengths)} if lengths else {}), compute, blank_index=blank)

    ctc("ctc", 6, [[1, 2, -1], [3, 3, 1]])
    ctc("ctc_lengths", 7, [[1, 2, -1], [4, -1, -1], [3, 1, 3]], lengths=[5, 3, 7])
    ctc("ctc_blank_last", 5, [[0, 1], [2, 2]], blank=4)
    ctc("ctc_long", 300, [[1 + index % 2 for index in range(60)]], classes=3)


def main():
    torch.set_num_threads(1)
    for make in (activations, arithmetic, convolutions, pools, normalisations, reductions, movement, recurrent, losses):
        make()
    os.makedirs(OUT, exist_ok=True)
    for family, cases in families.items():
        path = os.path.join(OUT, f"{family}.json")
        with open(path, "w") as file:
            lines = (json.dumps(made, separators=(",", ":")) for made in cases)
            file.write("[\n" + ",\n".join(lines) + "\n]\n")
        print(family, len(cases), "cases", os.path.getsize(path), "bytes")


if __name__ == "__main__":
    main()
