"""Makes the frozen speech references: tests/data/speech/reference.json and cuts.json.

    python speech.py [--wheels DIR] [--check]

With --check nothing is written: what the models give now is compared with what is committed, exactly.
"""

import argparse
import hashlib
import json
import platform
import random
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import onnxruntime as ort

import endpoint
from speech_models import BEGIN, END, MIN_SAMPLES, WHEELS, Moonshine, Silero, Wheels, read_wav
from words import errors, words

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data/speech"
CUTS, SEED = 100, 7


def transcripts() -> dict[str, str]:
    """Recording -> what is said in it, in the order of the file."""
    lines = (DATA / "transcripts.txt").read_text().splitlines()
    return dict(line.split(": ", 1) for line in lines if not line.startswith("#"))


def recording(name: str) -> Path:
    """Where a recording lies."""
    folder = ROOT / "examples/recordings" if name == "two_cities" else DATA
    return folder / f"{name}.wav"


def decoded(moonshine: Moonshine, samples: np.ndarray, start: int, end: int) -> dict:
    """One utterance: its place, its text, how sure the model was, the tokens chosen (with the end token)."""
    tokens, scores, margins = [], [], []
    for token, logits in moonshine.steps(samples[start:end]):
        logits = logits.astype(np.float64)
        tokens.append(token)
        scores.append(logits[token] - logits.max() - np.log(np.exp(logits - logits.max()).sum()))
        second, first = np.partition(logits, -2)[-2:]
        margins.append(float(first - second))
    return {
        "start": start,
        "end": end,
        "start_s": round(start / endpoint.SAMPLE_RATE_HZ, 6),
        "end_s": round(end / endpoint.SAMPLE_RATE_HZ, 6),
        "text": moonshine.tokenizer.text(tokens),
        "mean_log_prob": round(float(np.mean(scores)), 5) if scores else None,
        "min_margin": round(min(margins), 4) if margins else None,
        "tokens": tokens,
    }


def clip(name: str, transcript: str, silero: Silero, moonshine: Moonshine) -> dict:
    """All that is known of one recording."""
    path = recording(name)
    samples = read_wav(path)
    voice = silero.voice(samples)
    found = [decoded(moonshine, samples, *span) for span in endpoint.segments(voice, len(samples))]
    heard = words(" ".join(segment["text"] for segment in found))
    return {
        "name": name,
        "file": str(path.relative_to(ROOT)),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "samples": len(samples),
        "words": len(words(transcript)),
        "word_errors": errors(words(transcript), heard),
        "segments": found,
        "voice": [round(p, 6) for p in voice],
    }


def cuts(names: list[str], silero: Silero, moonshine: Moonshine) -> list[dict]:
    """Recordings that end early, at places drawn from a seed: only their first samples are heard."""
    seeded = random.Random(SEED)
    recordings = {name: read_wav(recording(name)) for name in names}
    result = []
    for _ in range(CUTS):
        name = seeded.choice(names)
        kept = seeded.randint(1, len(recordings[name]))
        samples = recordings[name][:kept]
        spans = endpoint.segments(silero.voice(samples), kept)
        found = [decoded(moonshine, samples, start, end) for start, end in spans]
        result.append({"clip": name, "samples": kept, "segments": spans, "texts": [one["text"] for one in found],
                       "min_margins": [one["min_margin"] for one in found]})
    return result


def reference(silero: Silero, moonshine: Moonshine) -> dict:
    """The content of reference.json."""
    clips = [clip(name, said, silero, moonshine) for name, said in transcripts().items()]
    sets = {}
    for one in clips:
        total = sets.setdefault(one["name"].split("-")[0], {"words": 0, "word_errors": 0})
        total["words"] += one["words"]
        total["word_errors"] += one["word_errors"]
    return {
        "format": 1,
        "made_by": "tests/reference/speech.py",
        "made_with": {"onnxruntime": ort.__version__, "numpy": np.__version__, "python": platform.python_version()},
        "wheels": {name: {"version": version, "sha256": files} for name, (version, files) in WHEELS.items()},
        "sample_rate_hz": endpoint.SAMPLE_RATE_HZ,
        "window": endpoint.WINDOW,
        "endpoint": asdict(endpoint.Settings()),
        "moonshine": {"begin": BEGIN, "end": END, "min_samples": MIN_SAMPLES, "max_tokens_per_second": 6.5},
        "word_errors": sets,
        "clips": clips,
    }


def lines(value: dict | list, depth: int) -> str:
    """JSON with a line for each member down to `depth`; what lies deeper, or is a list of plain values, is on one."""
    nested = value.values() if isinstance(value, dict) else value
    if depth == 0 or not any(isinstance(item, (dict, list)) for item in nested):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, list):
        return "[\n" + ",\n".join(lines(item, depth - 1) for item in value) + "\n]"
    items = (lines(item, depth - 1) if isinstance(item, (dict, list)) else json.dumps(item) for item in nested)
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {item}" for key, item in zip(value, items)) + "\n}"


def main() -> None:
    """Writes both files, or checks them."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--wheels", type=Path, default=Path("wheels"), help="folder of the model packages' wheels")
    arguments.add_argument("--check", action="store_true", help="compare instead of writing")
    options = arguments.parse_args()
    wheels = Wheels(options.wheels)
    silero, moonshine = Silero(wheels), Moonshine(wheels)
    made = reference(silero, moonshine)
    names = [one["name"] for one in made["clips"] if one["name"].startswith("librivox")]
    truncated = {"format": 1, "made_by": "tests/reference/speech.py", "seed": SEED,
                 "cuts": cuts(names, silero, moonshine)}
    wrong = []
    for file, text in (("reference.json", lines(made, 4)), ("cuts.json", lines(truncated, 2))):
        if not options.check:
            (DATA / file).write_text(text + "\n")
        elif (DATA / file).read_text() != text + "\n":
            wrong.append(file)
    for name, total in made["word_errors"].items():
        print(f"{name}: {total['word_errors']} word errors of {total['words']}")
    if wrong:
        sys.exit(f"not what the models give here: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
