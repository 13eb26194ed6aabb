"""What the Python peers share: the way to the reference code, the recordings, clocks, memory, a line of result."""

import json
import os
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests/reference"))

SPEECH = [*sorted((ROOT / "tests/data/speech").glob("librivox-*.wav")), ROOT / "examples/recordings/two_cities.wav"]


def memory_mib(key: str = "VmRSS") -> float:
    """Resident memory of this process now, or its highest (`VmHWM`); Linux only."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) / 1024
    raise KeyError(key)


def word_errors(texts: dict[Path, str]) -> int:
    """Word errors of recordings' texts against what is said in them, normalised as tests/reference/README.md tells."""
    from words import errors, words

    lines = (ROOT / "tests/data/speech/transcripts.txt").read_text().splitlines()
    said = dict(line.split(": ", 1) for line in lines if not line.startswith("#"))
    return sum(errors(words(said[path.stem]), words(text)) for path, text in texts.items())


class Clock:
    """Wall and CPU time (all threads of the process) since it was made."""

    def __init__(self):
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def stop(self) -> tuple[float, float]:
        """Seconds of wall and CPU time so far."""
        return time.perf_counter() - self.wall, time.process_time() - self.cpu


def report(bench: str, peer: str, **figures) -> None:
    """One result as one line of JSON; `load` is the machine's load average of the last minute."""
    rounded = {key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in figures.items()}
    print(json.dumps({"bench": bench, "peer": peer, **rounded, "load": round(os.getloadavg()[0], 2)}), flush=True)
