"""Makes the frozen values that src/dsp is tested against: tests/data/dsp/*.json.

    python -m venv venv && venv/bin/pip install librosa==0.11.0 kaldi-native-fbank==1.23.0
    venv/bin/python tests/reference/dsp.py

Not needed by the tests themselves.
"""

import json
from pathlib import Path

import kaldi_native_fbank as knf
import librosa
import numpy as np

OUT = Path(__file__).resolve().parent.parent / "data" / "dsp"
SAMPLES = 4000


def signal():
    """Whole numbers of 16 bits: a rising sawtooth in noise, with a gap of silence. The Rust test makes the same."""
    state, out = 12345, []
    for n in range(SAMPLES):
        state = (state * 1103515245 + 12345) % 2**32
        noise = (state >> 16) % 2048 - 1024
        tone = n * (200 + n // 8) % 16384 - 8192
        out.append(0 if 1500 <= n < 2300 else tone + noise)
    return np.array(out, dtype=np.float32) / 32768


def compact(values):
    return [float(f"{v:.7g}") for v in np.asarray(values).ravel()]


def librosa_mel(x, *, rate, window_length, hop, fft, window, bands, fmin, fmax, htk, norm, power, center, pad_mode):
    return librosa.feature.melspectrogram(
        y=x, sr=rate, n_fft=fft, hop_length=hop, win_length=window_length, window=window, center=center,
        pad_mode=pad_mode, power=power, n_mels=bands, fmin=fmin, fmax=fmax, htk=htk, norm=norm,
    ).T


def log_mels():
    x = signal()
    whisper = librosa_mel(
        x, rate=16000, window_length=400, hop=160, fft=400, window="hann", bands=80, fmin=0, fmax=8000, htk=False,
        norm="slaney", power=2.0, center=True, pad_mode="reflect",
    )
    yield "whisper", np.log10(np.maximum(whisper, 1e-10))

    tacotron = librosa_mel(
        x, rate=22050, window_length=800, hop=256, fft=1024, window="hamming", bands=64, fmin=55, fmax=8000, htk=True,
        norm=None, power=1.0, center=True, pad_mode="constant",
    )
    yield "htk_magnitude", np.log(np.maximum(tacotron, 1e-5))

    emphasised = np.append(x[0], x[1:] - np.float32(0.97) * x[:-1])
    decibel = librosa_mel(
        emphasised, rate=16000, window_length=512, hop=200, fft=512, window="blackman", bands=40, fmin=20, fmax=7600,
        htk=False, norm="slaney", power=2.0, center=False, pad_mode="constant",
    )
    yield "decibel", librosa.power_to_db(decibel, ref=1.0, amin=1e-8, top_db=None)

    nemo = librosa_mel(
        emphasised, rate=16000, window_length=320, hop=160, fft=512, window=np.hanning(320), bands=64, fmin=0,
        fmax=8000, htk=False, norm="slaney", power=2.0, center=True, pad_mode="constant",
    )
    yield "nemo", np.log(nemo + 2.0**-24)

    options = knf.FbankOptions()
    options.frame_opts.samp_freq = 16000
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = 80
    fbank = knf.OnlineFbank(options)
    fbank.accept_waveform(16000, (x * 32768).tolist())
    fbank.input_finished()
    yield "kaldi", np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])


def filterbanks():
    for rate, fft, bands, fmin, fmax, scale, norm in [
        (16000, 64, 8, 0.0, 8000.0, "slaney", "slaney"),
        (16000, 64, 8, 0.0, 8000.0, "slaney", "none"),
        (16000, 100, 12, 80.0, 7600.0, "htk", "slaney"),
        (44100, 101, 10, 300.0, 20000.0, "htk", "none"),
    ]:
        weights = librosa.filters.mel(
            sr=rate, n_fft=fft, n_mels=bands, fmin=fmin, fmax=fmax, htk=scale == "htk",
            norm="slaney" if norm == "slaney" else None, dtype=np.float64,
        )
        yield {
            "sample_rate_hz": rate, "fft_size": fft, "bands": bands, "min_hz": fmin, "max_hz": fmax, "scale": scale,
            "norm": norm, "weights": compact(weights),
        }


def write(name, value):
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / name).write_text(json.dumps(value, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    write("log_mel.json", {
        name: {"frames": values.shape[0], "bands": values.shape[1], "values": compact(values)}
        for name, values in log_mels()
    })
    write("mel_filterbank.json", list(filterbanks()))
