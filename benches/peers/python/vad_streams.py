"""Silero VAD over many streams in Python; ONNX Runtime on one thread.

    python vad_streams.py [--wheels DIR] [--streams 1 8 32] [--seconds 40]

Every stream is two_cities.wav from a place of its own. `alone`: one call a stream and window; `batched`: one call a
window for all streams. Each line comes from a process of its own: CPU time in ms per second of one stream's audio (the
best of three passes), and how much memory the process grew by from before the model was loaded.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

import measure
from endpoint import SAMPLE_RATE_HZ, WINDOW
from speech_models import CONTEXT, Silero, Wheels, read_wav

PASSES = 3


def one(mode: str, streams: int, seconds: int, wheels: Path) -> None:
    """Measures one line in this process."""
    whole = read_wav(measure.ROOT / "examples/recordings/two_cities.wav")
    count = seconds * SAMPLE_RATE_HZ // WINDOW
    audio = np.stack([np.resize(np.roll(whole, -stream * SAMPLE_RATE_HZ), count * WINDOW) for stream in range(streams)])
    before = measure.memory_mib()
    silero = Silero(Wheels(wheels))
    cpus = []
    for _ in range(PASSES):
        clock = measure.Clock()
        if mode == "alone":
            states = [np.zeros((2, 1, 128), np.float32) for _ in range(streams)]
            windows = [np.zeros((1, CONTEXT + WINDOW), np.float32) for _ in range(streams)]
            for k in range(count):
                for stream in range(streams):
                    window = windows[stream]
                    window[:, :CONTEXT] = window[:, WINDOW:]
                    window[:, CONTEXT:] = audio[stream, k * WINDOW:(k + 1) * WINDOW]
                    _, states[stream] = silero.step(window, states[stream])
        else:
            state = np.zeros((2, streams, 128), np.float32)
            window = np.zeros((streams, CONTEXT + WINDOW), np.float32)
            for k in range(count):
                window[:, :CONTEXT] = window[:, WINDOW:]
                window[:, CONTEXT:] = audio[:, k * WINDOW:(k + 1) * WINDOW]
                _, state = silero.step(window, state)
        cpus.append(clock.stop()[1])
    audio_s = streams * count * WINDOW / SAMPLE_RATE_HZ
    measure.report("voice gate", f"python, {mode}", streams=streams, cpu_ms_per_s=1000 * min(cpus) / audio_s,
                   grown_mib=measure.memory_mib() - before, peak_mib=measure.memory_mib("VmHWM"))


def main() -> None:
    """Starts a process for each line."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--wheels", type=Path, default=Path("wheels"))
    arguments.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32])
    arguments.add_argument("--seconds", type=int, default=40, help="audio in a stream")
    arguments.add_argument("--one", choices=["alone", "batched"], help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.one:
        one(options.one, options.streams[0], options.seconds, options.wheels)
        return
    for mode in ("alone", "batched"):
        for streams in options.streams:
            subprocess.run([sys.executable, __file__, "--one", mode, "--streams", str(streams), "--seconds",
                            str(options.seconds), "--wheels", str(options.wheels)], check=True)


if __name__ == "__main__":
    main()
