"""The same two jobs by sherpa-onnx, on the same model files, one thread.

    python sherpa.py [--wheels DIR] [--passes 5] [--streams 1 8 32] [--seconds 40] [--job speech|gate]
                     [--print]

Speech: its voice activity detector with the settings of percept's `endpoint`, then its Moonshine recogniser; it adds no
padding, so its utterances are a little shorter. Voice gate: one detector a stream, which is how it is meant to be used;
a detector loads the model for itself. Lines as in speech.py and vad_streams.py.
"""

import argparse
import base64
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import sherpa_onnx

import measure
from endpoint import SAMPLE_RATE_HZ, WINDOW, Settings
from speech_models import Tokenizer, Wheels, read_wav

PASSES = 3


def detector(model: Path, settings: Settings = Settings()) -> sherpa_onnx.VoiceActivityDetector:
    """One stream's detector; its lower threshold is 0.15 below the upper one, as percept's is."""
    config = sherpa_onnx.VadModelConfig()
    config.sample_rate = SAMPLE_RATE_HZ
    config.num_threads = 1
    config.silero_vad.model = str(model)
    config.silero_vad.window_size = WINDOW
    config.silero_vad.threshold = settings.threshold_on
    config.silero_vad.min_silence_duration = settings.min_silence_ms / 1000
    config.silero_vad.min_speech_duration = settings.min_speech_ms / 1000
    config.silero_vad.max_speech_duration = settings.max_length_ms / 1000
    return sherpa_onnx.VoiceActivityDetector(config, buffer_size_in_seconds=60)


def tokens_txt(tokenizer: bytes) -> str:
    """tokenizer.bin as the lines that sherpa-onnx reads: a piece's bytes in base64 (a space if it has none), its id."""
    pieces = enumerate(Tokenizer(tokenizer).pieces)
    return "".join(f"{base64.b64encode(piece or b' ').decode()} {number}\n" for number, piece in pieces)


def utterances(vad, samples: np.ndarray):
    """Yields the samples of each utterance as soon as it is over."""
    for k in range(0, len(samples), WINDOW):
        vad.accept_waveform(samples[k:k + WINDOW])
        while not vad.empty():
            yield np.array(vad.front.samples, np.float32)
            vad.pop()
    vad.flush()
    while not vad.empty():
        yield np.array(vad.front.samples, np.float32)
        vad.pop()


def speech(folder: Path, passes: int, show: bool) -> None:
    """Measures recognition."""
    recordings = {path: read_wav(path) for path in measure.SPEECH}
    audio_s = sum(map(len, recordings.values())) / SAMPLE_RATE_HZ
    vad = detector(folder / "silero_vad_16k_op15.onnx")
    recognizer = sherpa_onnx.OfflineRecognizer.from_moonshine_v2(
        encoder=str(folder / "encoder_model.ort"), decoder=str(folder / "decoder_model_merged.ort"),
        tokens=str(folder / "tokens.txt"), num_threads=1)
    walls, cpus = [], []
    for number in range(passes + 1):
        texts, count = {}, 0
        clock = measure.Clock()
        for path, samples in recordings.items():
            vad.reset()
            texts[path] = ""
            for utterance in utterances(vad, samples):
                stream = recognizer.create_stream()
                stream.accept_waveform(SAMPLE_RATE_HZ, utterance)
                recognizer.decode_stream(stream)
                texts[path] += stream.result.text + "\n"
                count += 1
        wall, cpu = clock.stop()
        if number > 0:
            walls.append(wall)
            cpus.append(cpu)
    if show:
        print(*texts.values(), sep="")
    measure.report("speech", "sherpa-onnx", audio_s=audio_s, utterances=count,
                   word_errors=measure.word_errors(texts), rtf_best=min(walls) / audio_s,
                   rtf_median=statistics.median(walls) / audio_s, cpu_rtf_median=statistics.median(cpus) / audio_s,
                   peak_mib=measure.memory_mib("VmHWM"))


def gate(folder: Path, streams: int, seconds: int) -> None:
    """Measures the detector over many streams."""
    whole = read_wav(measure.ROOT / "examples/recordings/two_cities.wav")
    count = seconds * SAMPLE_RATE_HZ // WINDOW
    audio = np.stack([np.resize(np.roll(whole, -stream * SAMPLE_RATE_HZ), count * WINDOW) for stream in range(streams)])
    before = measure.memory_mib()
    vads = [detector(folder / "silero_vad_16k_op15.onnx") for _ in range(streams)]
    cpus = []
    for _ in range(PASSES):
        for vad in vads:
            vad.reset()
        clock = measure.Clock()
        for k in range(count):
            for stream, vad in enumerate(vads):
                vad.accept_waveform(audio[stream, k * WINDOW:(k + 1) * WINDOW])
                while not vad.empty():
                    vad.pop()
        cpus.append(clock.stop()[1])
    audio_s = streams * count * WINDOW / SAMPLE_RATE_HZ
    measure.report("voice gate", "sherpa-onnx", streams=streams, cpu_ms_per_s=1000 * min(cpus) / audio_s,
                   grown_mib=measure.memory_mib() - before, peak_mib=measure.memory_mib("VmHWM"))


def main() -> None:
    """Lays the models out as files and starts a process for each line."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--wheels", type=Path, default=Path("wheels"))
    arguments.add_argument("--passes", type=int, default=5)
    arguments.add_argument("--streams", type=int, nargs="+", default=[1, 8, 32])
    arguments.add_argument("--seconds", type=int, default=40, help="audio in a stream of the voice gate")
    arguments.add_argument("--print", action="store_true", help="the texts too")
    arguments.add_argument("--job", choices=["speech", "gate"], help="only this one")
    arguments.add_argument("--one", choices=["speech", "gate"], help=argparse.SUPPRESS)
    arguments.add_argument("--models", type=Path, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.one == "speech":
        return speech(options.models, options.passes, options.print)
    if options.one == "gate":
        return gate(options.models, options.streams[0], options.seconds)
    with tempfile.TemporaryDirectory() as name:
        wheels, folder = Wheels(options.wheels), Path(name)
        for file in ("silero_vad_16k_op15.onnx", "encoder_model.ort", "decoder_model_merged.ort"):
            (folder / file).write_bytes(wheels.read(file))
        (folder / "tokens.txt").write_text(tokens_txt(wheels.read("tokenizer.bin")))
        again = [sys.executable, __file__, "--models", name]
        if options.job != "gate":
            subprocess.run(again + ["--one", "speech", "--passes", str(options.passes)]
                           + ["--print"] * options.print, check=True)
        for streams in options.streams if options.job != "speech" else []:
            subprocess.run(again + ["--one", "gate", "--streams", str(streams), "--seconds", str(options.seconds)],
                           check=True)


if __name__ == "__main__":
    main()
