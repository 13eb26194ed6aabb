"""Training steps in PyTorch, eager: forward, loss, backward and update by gradient descent; and one-sample updates of a
linear model in a NumPy loop.

A process that lives long. It tells what it is in a line of JSON, then answers each line of standard input,
`{"work": "lenet5", "batch": 1, "threads": 1, "steps": 100}`, with `{"cpu_s": …, "wall_s": …}` of those steps (CPU time of
all its threads), or with `{}` where it has no such work.
"""

import json
import math
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

CLASSES, FEATURES, UNITS, TIME = 10, 40, 128, 100


def descend(model: nn.Module, x: torch.Tensor, batch: int):
    """Steps of gradient descent on one batch."""
    target = torch.arange(batch) % CLASSES
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001)

    def step():
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(model(x), target).backward()
        optimizer.step()

    return step


def lenet5(batch: int):
    model = nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, CLASSES)),
    )
    return descend(model, torch.randn(batch, 1, 28, 28), batch)


def mlp(batch: int):
    model = nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, CLASSES))
    return descend(model, torch.randn(batch, 784), batch)


class Recurrent(nn.Module):
    """A recurrent layer, and a dense one on its last state."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.out = layer(FEATURES, UNITS), nn.Linear(UNITS, CLASSES)

    def forward(self, x):
        return self.out(self.layer(x)[0][-1])


def recurrent(layer):
    return lambda batch: descend(Recurrent(layer), torch.randn(TIME, batch, FEATURES), batch)


def conv(batch: int):
    layer = nn.Conv2d(64, 64, 3, padding=1, bias=False)
    x = torch.randn(batch, 64, 56, 56, requires_grad=True)
    cotangent = torch.randn(batch, 64, 56, 56)

    def step():
        x.grad = layer.weight.grad = None
        layer(x).backward(cotangent)

    return step


class Mean(nn.Module):
    """The mean over time."""

    def forward(self, x):
        return x.mean(dim=2)


def tdnn(batch: int):
    model = nn.Sequential(nn.Conv1d(FEATURES, 128, 5, padding=2), nn.ReLU(), Mean(), nn.Linear(128, CLASSES))
    return descend(model, torch.randn(batch, FEATURES, 200), batch)


class Block(nn.Module):
    """A basic block of ResNet."""

    def __init__(self, before: int, channels: int):
        super().__init__()
        stride = 1 if before == channels else 2
        self.inner = nn.Sequential(
            *(nn.Conv2d(before, channels, 3, stride, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()),
            *(nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels)),
        )
        short = nn.Sequential(nn.Conv2d(before, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))
        self.short = short if stride == 2 else nn.Identity()

    def forward(self, x):
        return F.relu(self.inner(x) + self.short(x))


def resnet18(batch: int):
    sizes = [64, 64, 64, 128, 128, 256, 256, 512, 512]
    model = nn.Sequential(
        *(nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
        *(Block(before, channels) for before, channels in zip(sizes, sizes[1:])),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, CLASSES)),
    )
    return descend(model, torch.randn(batch, 3, 64, 64), batch)


def online(logistic: bool):
    """Steps on one sample after another, 64 features, as a NumPy loop does them."""
    generator = np.random.default_rng(1)
    x = generator.uniform(-1, 1, (256, 64)).astype(np.float32)
    target = x[:, 0] + x[:, 1] > 0
    samples = list(zip(x, target.astype(float) if logistic else np.where(target, 1.0, -1.0)))
    state = {"w": np.zeros(64, np.float32), "b": 0.0, "at": 0}
    rate = 0.01

    def step():
        features, wanted = samples[state["at"]]
        state["at"] = (state["at"] + 1) % len(samples)
        w = state["w"]
        score = float(w @ features) + state["b"]
        if logistic:
            change = rate * (wanted - 1 / (1 + math.exp(-score)))
        elif wanted * score <= 0:
            change = rate * wanted
        else:
            return
        w += change * features
        state["b"] += change

    return step


WORKS = {
    "lenet5": lenet5,
    "mlp": mlp,
    "lstm": recurrent(nn.LSTM),
    "gru": recurrent(nn.GRU),
    "conv": conv,
    "tdnn": tdnn,
    "resnet18": resnet18,
    "logistic": lambda batch: online(True),
    "perceptron": lambda batch: online(False),
}


def main() -> None:
    print(json.dumps({"peer": f"PyTorch {torch.__version__}, eager"}), flush=True)
    asked, step = None, None
    for line in sys.stdin:
        question = json.loads(line)
        work = question["work"], question["batch"], question["threads"]
        if question["work"] not in WORKS:
            print("{}", flush=True)
            continue
        if work != asked:
            torch.manual_seed(1)
            torch.set_num_threads(question["threads"])
            asked, step = work, WORKS[question["work"]](question["batch"])
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(question["steps"]):
            step()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(json.dumps({"cpu_s": cpu, "wall_s": wall}), flush=True)


if __name__ == "__main__":
    main()
