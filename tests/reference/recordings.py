"""Makes the recordings beside the references from their sources; what it wrote is committed, so it is rarely run.

    python recordings.py [--wheels DIR] [--testdata /usr/share/pocketsphinx/test/data]

Copies the ten clips of Debian's pocketsphinx-testdata (all of them 16 kHz, mono, 16 bit) to tests/data/speech, and
brings two_cities.wav of the moonshine-voice wheel from 48 kHz to 16 kHz for examples/recordings.
"""

import argparse
import io
import wave
from pathlib import Path

import numpy as np

from speech_models import Wheels

ROOT = Path(__file__).resolve().parents[2]
CLIPS = {
    "librivox": [f"sense_and_sensibility_01_austen_64kb-{part}" for part in ("0870", "0880", "0890", "0920", "0930")],
    "cards": ["001", "002", "003", "004", "005"],
}


def write_wav(path: Path, samples: np.ndarray) -> None:
    """16-bit mono at 16 kHz, no chunks but `fmt ` and `data`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.astype("<i2").tobytes())


def third(samples: np.ndarray) -> np.ndarray:
    """48 kHz to 16 kHz: every third sample behind a linear-phase low pass, delay removed.

    Windowed sinc, cut at 7 kHz, Kaiser window of beta 7.86 (80 dB) over 161 taps: flat to 6.25 kHz, gone at 7.75 kHz
    (Oppenheim and Schafer, Discrete-Time Signal Processing, 7.5.3). Of the filters tried, this one leaves Moonshine
    surest of its tokens, so that the frozen text hangs on no last digit.
    """
    half = 80
    taps = np.sinc(np.arange(-half, half + 1) * (2 * 7_000 / 48_000)) * np.kaiser(2 * half + 1, 7.86)
    taps /= taps.sum()
    low = np.convolve(samples.astype(np.float64), taps)[half:half + len(samples)]
    return np.clip(np.rint(low[::3]), -32768, 32767)


def main() -> None:
    """Writes every recording."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--wheels", type=Path, default=Path("wheels"), help="folder of the model packages' wheels")
    arguments.add_argument("--testdata", type=Path, default=Path("/usr/share/pocketsphinx/test/data"))
    options = arguments.parse_args()
    for folder, names in CLIPS.items():
        for name in names:
            with wave.open(str(options.testdata / folder / f"{name}.wav")) as file:
                samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
            short = name.rsplit("-", 1)[-1]
            write_wav(ROOT / "tests/data/speech" / f"{folder}-{short}.wav", samples)
    with wave.open(io.BytesIO(Wheels(options.wheels).read("two_cities.wav"))) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    write_wav(ROOT / "examples/recordings/two_cities.wav", third(samples))


if __name__ == "__main__":
    main()
