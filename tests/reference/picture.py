"""Makes the frozen values that src/dsp/picture is tested against: tests/data/picture/resize.json.gz.

    python -m venv venv && venv/bin/pip install pillow==13.0.0
    venv/bin/python tests/reference/picture.py

Not needed by the tests themselves.
"""

import gzip
import json
from pathlib import Path

import PIL
from PIL import Image

OUT = Path(__file__).resolve().parent.parent / "data" / "picture" / "resize.json.gz"
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
FILTERS = {
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

# (width, height), (new width, new height), the part used or None for all of it.
SIZES = [
    ((61, 47), (20, 15), None),
    ((40, 30), (64, 50), None),
    ((50, 20), (17, 41), None),
    ((50, 20), (21, 30), None),
    ((33, 29), (33, 12), None),
    ((33, 29), (14, 29), None),
    ((200, 7), (5, 7), None),
    ((3, 120), (3, 2), None),
    ((1, 1), (5, 4), None),
    ((24, 18), (1, 1), None),
    ((60, 40), (16, 16), (10.0, 0.0, 50.0, 40.0)),
    ((61, 40), (16, 18), (12.722222222222221, 0.0, 48.27777777777778, 40.0)),
    ((30, 30), (20, 20), (5.0, 5.0, 25.0, 25.0)),
]


def pixels(width, height, channels):
    """Noise, black and white noise, and ramps, side by side. The Rust test makes the same."""
    state, out = 12345, bytearray()
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                state = (state * 1103515245 + 12345) % 2**32
                noise = state >> 24
                kind = (x // 8 + y // 8) % 3
                out.append(noise if kind == 0 else 255 * (noise & 1) if kind == 1 else (5 * x + 3 * y + 60 * c) % 256)
    return bytes(out)


def cases():
    for (width, height), size, box in SIZES:
        for channels, mode in MODES.items():
            picture = Image.frombytes(mode, (width, height), pixels(width, height, channels))
            for name, kind in FILTERS.items():
                yield {
                    "input": [width, height],
                    "output": size,
                    "source": box or (0, 0, width, height),
                    "channels": channels,
                    "filter": name,
                    "pixels": picture.resize(size, kind, box).tobytes().hex(),
                }


def main():
    OUT.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"pillow": PIL.__version__, "cases": list(cases())}, separators=(",", ":"))
    OUT.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{OUT}: {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
