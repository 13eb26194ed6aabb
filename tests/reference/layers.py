"""Makes tests/data/engine/layers.json: what PyTorch computes for whole layers, for src/engine/layers/tests/reference.rs.

    python -m venv venv && venv/bin/pip install torch==2.15.0 numpy && venv/bin/python tests/reference/layers.py

Computed in f64 on the CPU. Each case has a `name`, which says which layer it is; `inputs` and `weights` by name (drawn or
given, as in engine.py); `output`; and `gradients` by name, of the sum of output times cotangent, which is drawn between
-1 and 1 with seed 1000. Absent: only the output of inference is compared.
"""

import json
import os
import zlib

import numpy as np
import torch
import torch.nn.functional as F
from engine import OUT, D, V, draw

cases = []


def case(name, inputs, weights, compute, gradients=True):
    """Adds a case. `compute` takes a dictionary of all inputs and weights and gives the output."""
    tensors, described = {}, {"inputs": {}, "weights": {}}
    for group, members in (("inputs", inputs), ("weights", weights)):
        for key, value in members.items():
            if isinstance(value, D):
                seed = zlib.crc32(f"{name}/{key}".encode())
                tensors[key] = torch.tensor(draw(value.shape, seed, value.low, value.high), requires_grad=True)
                described[group][key] = {"shape": value.shape, "seed": seed, "low": value.low, "high": value.high}
            else:
                tensors[key] = torch.tensor(value.values)
                described[group][key] = {"shape": value.values.shape, "values": value.values.flatten().tolist()}
    result = compute(tensors)
    made = {"name": name, **described,
            "output": {"shape": list(result.shape), "values": result.detach().flatten().tolist()}}
    if gradients:
        (result * torch.tensor(draw(tuple(result.shape), 1000))).sum().backward()
        made["gradients"] = {
            key: {"values": (torch.zeros_like(leaf) if leaf.grad is None else leaf.grad).flatten().tolist()}
            for key, leaf in tensors.items() if leaf.requires_grad
        }
    cases.append(made)


def plain():
    case("dense", {"x": D(3, 5)}, {"l.weight": D(4, 5), "l.bias": D(4)},
         lambda t: F.linear(t["x"], t["l.weight"], t["l.bias"]))
    case("embedding", {"x": V([[1, 4, 1], [0, 2, 1]])}, {"l.weight": D(5, 3)},
         lambda t: F.embedding(t["x"], t["l.weight"]))
    case("maxout", {"x": D(6, 5)}, {"l.weight": D(12, 5), "l.bias": D(12)},
         lambda t: F.linear(t["x"], t["l.weight"], t["l.bias"]).unflatten(1, (4, 3)).amax(1))
    case("maxout_conv", {"x": D(2, 3, 5, 4)}, {"l.weight": D(6, 3, 3, 3), "l.bias": D(6)},
         lambda t: F.conv2d(t["x"], t["l.weight"], t["l.bias"], padding=1).unflatten(1, (3, 2)).amax(1))
    case("conv_transpose", {"x": D(2, 3, 4, 3)}, {"l.weight": D(3, 2, 3, 3), "l.bias": D(2)},
         lambda t: F.conv_transpose2d(t["x"], t["l.weight"], t["l.bias"], stride=2, padding=1))
    case("threshold", {"x": D(4, 6)}, {}, lambda t: 2.0 * (t["x"] > 0.25).double() - 1.0, gradients=False)
    case("threshold_smooth", {"x": D(4, 6)}, {}, lambda t: torch.sigmoid(3.0 * (t["x"] - 0.25)))


def pools():
    def k_max_min(x, k, low, weight):
        x = x.flatten(2)
        return x.topk(k).values.mean(2) + weight * x.topk(low, largest=False).values.mean(2)

    case("k_max_min", {"x": D(2, 3, 4, 5)}, {}, lambda t: k_max_min(t["x"], 3, 3, 1.0))
    case("k_max_min_weighted", {"x": D(2, 3, 9)}, {}, lambda t: k_max_min(t["x"], 4, 2, 0.5))


def normalisations():
    def window(size, deviation, channels):
        line = torch.exp(-0.5 * ((torch.arange(size).double() - size // 2) / deviation) ** 2)
        square = line[:, None] * line[None, :]
        return (square / square.sum()).expand(1, channels, size, size) / channels

    def around(x, w):
        pad = w.shape[-1] // 2
        return F.conv2d(x, w, padding=pad) / F.conv2d(torch.ones_like(x), w, padding=pad)

    def divisive(x):
        w = window(5, 5 / 4, x.shape[1])
        v = x - around(x, w)
        deviation = (around(v * v, w) + 1e-8).sqrt()
        return v / torch.maximum(deviation, deviation.mean((1, 2, 3), keepdim=True))

    case("local_contrast", {"x": D(2, 3, 7, 6)}, {}, lambda t: divisive(t["x"]))
    case("local_contrast_subtractive", {"x": D(2, 2, 4, 5)}, {},
         lambda t: t["x"] - around(t["x"], window(3, 0.8, 2)))

    def norm(t, training):
        return F.batch_norm(t["x"], t["l.mean"].detach(), t["l.variance"].detach(), t["l.scale"], t["l.bias"],
                            training, 0.0, 0.125)

    weights = {"l.scale": D(3), "l.bias": D(3), "l.mean": D(3), "l.variance": D(3, low=0.5, high=2.0)}
    case("batch_norm", {"x": D(4, 3, 5)}, weights, lambda t: norm(t, True))
    case("batch_norm_inference", {"x": D(4, 3, 5)}, weights, lambda t: norm(t, False), gradients=False)


def residuals():
    def block(name, x, convolutions, stride, shortcut):
        """Convolutions: output channels, kernel, stride; the shortcut is a convolution where it is given."""
        weights, channels = {}, x.shape[1]

        def add(conv, norm, inputs, outputs, kernel):
            weights[f"l.{conv}.weight"] = D(outputs, inputs, kernel, kernel)
            for part, low, high in (("scale", 0.5, 1.5), ("bias", -0.5, 0.5), ("mean", -1, 1), ("variance", 0.5, 2)):
                weights[f"l.{norm}.{part}"] = D(outputs, low=low, high=high)

        inputs = channels
        for number, (outputs, kernel, _) in enumerate(convolutions, 1):
            add(f"conv{number}", f"norm{number}", inputs, outputs, kernel)
            inputs = outputs
        if shortcut:
            add("shortcut", "shortcut_norm", channels, inputs, 1)

        def step(t, x, conv, norm, stride):
            weight = t[f"l.{conv}.weight"]
            y = F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)
            return F.batch_norm(y, None, None, t[f"l.{norm}.scale"], t[f"l.{norm}.bias"], True, 0.0, float(np.float32(1e-5)))

        def compute(t):
            y = t["x"]
            for number, (_, _, stride_here) in enumerate(convolutions, 1):
                y = step(t, F.relu(y) if number > 1 else y, f"conv{number}", f"norm{number}", stride_here)
            side = step(t, t["x"], "shortcut", "shortcut_norm", stride) if shortcut else t["x"]
            return F.relu(y + side)

        case(name, {"x": x}, weights, compute)

    block("residual", D(2, 3, 5, 4), [(3, 3, 1), (3, 3, 1)], 1, False)
    block("residual_projected", D(2, 3, 6, 5), [(4, 3, 2), (4, 3, 1)], 2, True)
    block("residual_bottleneck", D(2, 3, 6, 5), [(2, 1, 1), (2, 3, 2), (8, 1, 1)], 2, True)


def attention():
    def add(name, inputs, size, context, heads, bias=True, causal=False, masked=None):
        weights = {}
        for part, rows in (("query", size), ("key", context), ("value", context), ("out", size)):
            weights[f"l.{part}"] = D(rows, size)
            if bias:
                weights[f"l.{part}_bias"] = D(size)

        def compute(t):
            def project(x, part):
                y = x @ t[f"l.{part}"]
                return y + t[f"l.{part}_bias"] if bias else y

            def split(x):
                return x.unflatten(2, (heads, size // heads)).transpose(1, 2)

            source = t.get("context", t["x"])
            mask = masked(t["mask"]) if masked else None
            y = F.scaled_dot_product_attention(split(project(t["x"], "query")), split(project(source, "key")),
                                               split(project(source, "value")), attn_mask=mask, is_causal=causal)
            return project(y.transpose(1, 2).flatten(2), "out")

        case(name, inputs, weights, compute)

    add("attention", {"x": D(2, 3, 4)}, 4, 4, 2)
    add("attention_causal", {"x": D(2, 4, 6)}, 6, 6, 3, bias=False, causal=True)
    mask = V([[True, True, False, True], [False, True, True, False]])
    add("attention_context", {"x": D(2, 3, 4), "context": D(2, 4, 5), "mask": mask}, 4, 5, 2,
        masked=lambda mask: mask[:, None, None, :])
    mask = V(np.arange(18).reshape(2, 3, 3) % 4 != 1)
    add("attention_mask", {"x": D(2, 3, 4), "mask": mask}, 4, 4, 2, masked=lambda mask: mask[:, None])


def recurrent():
    """The cells as the specification of ONNX writes them, step by step: W, R, Wb and Rb hold the gates one after another."""

    def elman(x, h, c, w, r, b):
        return torch.tanh(x @ w.T + h @ r.T + sum(b.chunk(2))), c

    def gru(x, h, c, w, r, b):
        wz, wr, wh = (x @ w.T + b.chunk(2)[0]).chunk(3, 1)
        rows, biases = r.chunk(3), b.chunk(2)[1].chunk(3)
        z = torch.sigmoid(wz + h @ rows[0].T + biases[0])
        reset = torch.sigmoid(wr + h @ rows[1].T + biases[1])
        new = torch.tanh(wh + (reset * h) @ rows[2].T + biases[2])
        return (1 - z) * new + z * h, c

    def lstm(x, h, c, w, r, b):
        i, o, f, new = (x @ w.T + h @ r.T + sum(b.chunk(2))).chunk(4, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(new)
        return torch.sigmoid(o) * torch.tanh(c), c

    def add(name, cell, gates, directions, last, inputs=2, hidden=3):
        rows = gates * hidden
        weights = {"l.input": D(directions, rows, inputs), "l.state": D(directions, rows, hidden),
                   "l.bias": D(directions, 2 * rows)}

        def compute(t):
            x, all_states, last_states = t["x"], [], []
            for direction in range(directions):
                h = c = torch.zeros(x.shape[0], hidden, dtype=torch.float64)
                states = [None] * x.shape[1]
                for step in range(x.shape[1]) if direction == 0 else reversed(range(x.shape[1])):
                    h, c = cell(x[:, step], h, c, *(t[f"l.{part}"][direction] for part in ("input", "state", "bias")))
                    states[step] = h
                all_states.append(torch.stack(states, 1))
                last_states.append(h)
            return torch.cat(last_states if last else all_states, -1)

        case(name, {"x": D(2, 4, inputs)}, weights, compute)

    add("elman", elman, 1, 1, False)
    add("gru", gru, 3, 1, True)
    add("lstm", lstm, 4, 2, False)
    add("lstm_last", lstm, 4, 2, True)


def main():
    torch.set_num_threads(1)
    for make in (plain, pools, normalisations, residuals, attention, recurrent):
        make()
    path = os.path.join(OUT, "layers.json")
    with open(path, "w") as file:
        lines = (json.dumps(made, separators=(",", ":")) for made in cases)
        file.write("[\n" + ",\n".join(lines) + "\n]\n")
    print("layers", len(cases), "cases", os.path.getsize(path), "bytes")


if __name__ == "__main__":
    main()
