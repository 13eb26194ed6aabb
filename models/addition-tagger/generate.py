"""Writes train.tsv and test.tsv: sums of two random binary numbers, a line each.

A step holds one bit of either number, the least significant first; its tag is the bit of their sum. The last step is
`00`, so that its tag is the carry. train.tsv has sums of 12 steps, test.tsv sums of 40, all different.
"""

import random
from pathlib import Path


def line(steps: int, source: random.Random) -> str:
    a, b = (source.getrandbits(steps - 1) for _ in range(2))
    bits = range(steps)
    pairs = " ".join(f"{a >> bit & 1}{b >> bit & 1}" for bit in bits)
    return f"{pairs}\t{' '.join(str((a + b) >> bit & 1) for bit in bits)}\n"


def write(name: str, count: int, steps: int, seed: int) -> None:
    source = random.Random(seed)
    lines: dict[str, None] = {}
    while len(lines) < count:
        lines[line(steps, source)] = None
    Path(__file__).with_name(name).write_text("".join(lines))


write("train.tsv", 2000, 12, 1)
write("test.tsv", 400, 40, 2)
