"""Speech recognition as a plain Python loop: Silero VAD, utterances, Moonshine tiny; ONNX Runtime on one thread.

    python speech.py [--wheels DIR] [--passes 5] [--print]

Reads the five LibriVox clips and two_cities.wav (69 s), all of it before the clock starts, and so are the models.
Real-time factor = wall time over the audio's length; the lowest and the median of the passes, after one to warm up.
"""

import argparse
import statistics
from pathlib import Path

import measure
from endpoint import SAMPLE_RATE_HZ, segments
from speech_models import Moonshine, Silero, Wheels, read_wav


def main() -> None:
    """Measures and prints one line."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--wheels", type=Path, default=Path("wheels"))
    arguments.add_argument("--passes", type=int, default=5)
    arguments.add_argument("--print", action="store_true", help="the texts too")
    options = arguments.parse_args()
    wheels = Wheels(options.wheels)
    silero, moonshine = Silero(wheels), Moonshine(wheels)
    recordings = {path: read_wav(path) for path in measure.SPEECH}
    audio_s = sum(map(len, recordings.values())) / SAMPLE_RATE_HZ

    walls, cpus, gates = [], [], []
    for number in range(options.passes + 1):
        texts, count, gate_s = {}, 0, 0.0
        clock = measure.Clock()
        for path, samples in recordings.items():
            gate = measure.Clock()
            voice = silero.voice(samples)
            gate_s += gate.stop()[0]
            spans = segments(voice, len(samples))
            texts[path] = "\n".join(moonshine.transcribe(samples[start:end]) for start, end in spans)
            count += len(spans)
        wall, cpu = clock.stop()
        if number > 0:
            walls.append(wall)
            cpus.append(cpu)
            gates.append(gate_s)
    if options.print:
        print(*texts.values(), sep="\n")
    measure.report("speech", "python", audio_s=audio_s, utterances=count,
                   word_errors=measure.word_errors(texts), rtf_best=min(walls) / audio_s,
                   rtf_median=statistics.median(walls) / audio_s, cpu_rtf_median=statistics.median(cpus) / audio_s,
                   gate_share=statistics.median(gates) / statistics.median(walls), peak_mib=measure.memory_mib("VmHWM"))


if __name__ == "__main__":
    main()
