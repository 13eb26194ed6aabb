"""Makes tests/data/speech/endpoint.json: invented voice probabilities and the utterances that `endpoint` finds in them.

    python endpoint_cases.py [--check]

The recordings end their speech once each; these cases drop candidates, end in every state, meet thresholds exactly,
and reach max_length, also inside a silence. Needs nothing but Python.
"""

import argparse
import json
import random
import sys
from dataclasses import asdict, replace
from pathlib import Path

import endpoint

FILE = Path(__file__).resolve().parents[2] / "tests/data/speech/endpoint.json"
CASES, SEED = 60, 7
DEFAULT = endpoint.Settings()
SETTINGS = [
    DEFAULT,
    replace(DEFAULT, max_length_ms=1000),
    replace(DEFAULT, max_length_ms=2000, min_silence_ms=700),
    replace(DEFAULT, min_silence_ms=200, min_speech_ms=250),
    replace(DEFAULT, pad_before_ms=0, pad_after_ms=0, min_speech_ms=0),
    replace(DEFAULT, pad_before_ms=600, pad_after_ms=800, max_length_ms=3000),
    replace(DEFAULT, threshold_on=0.9, threshold_off=0.1, max_length_ms=1500),
]


def voice(seeded: random.Random) -> list[float]:
    """Probabilities in hundredths: stretches of silence, doubt and speech, each window a little off its stretch."""
    result: list[float] = []
    for _ in range(seeded.randint(0, 16)):
        level = seeded.choice([2, 5, 30, 35, 45, 50, 60, 95, 98])
        for _ in range(seeded.choice([1, 2, 3, 5, 10, 20, 40])):
            result.append(min(100, max(0, level + seeded.randint(-4, 4))) / 100)
    return result


def cases() -> list[dict]:
    """Each case: its settings' number, samples in the stream, a probability a window, utterances in samples."""
    seeded = random.Random(SEED)
    result = []
    for k in range(CASES):
        which = k % len(SETTINGS)
        p = voice(seeded)
        samples = max(0, endpoint.WINDOW * len(p) - seeded.choice([0, 0, 1, 200, 511]))
        found = endpoint.segments(p, samples, SETTINGS[which])
        result.append({"settings": which, "samples": samples, "voice": p, "segments": found})
    return result


def main() -> None:
    """Writes the file, or checks it."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--check", action="store_true", help="compare instead of writing")
    options = arguments.parse_args()
    head = {"format": 1, "made_by": "tests/reference/endpoint_cases.py", "seed": SEED}
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    for key, rows in (("settings", [asdict(one) for one in SETTINGS]), ("cases", cases())):
        lines.append(f' "{key}": [\n' + ",\n".join("  " + json.dumps(row) for row in rows) + "\n ]")
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    if not options.check:
        FILE.write_text(text)
    elif FILE.read_text() != text:
        sys.exit(f"{FILE.name} is not what the algorithm gives")


if __name__ == "__main__":
    main()
