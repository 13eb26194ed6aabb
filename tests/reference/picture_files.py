"""Makes the files in tests/data/picture that the decoders are tested with and that our own encoders cannot write.

    python -m venv venv && venv/bin/pip install pillow==13.0.0
    venv/bin/python tests/reference/picture_files.py

Each is 16 × 16 pixels: quarters of red, green, blue and white, from the upper left along the rows.
"""

from pathlib import Path

from PIL import Image

OUT = Path(__file__).resolve().parent.parent / "data" / "picture"
COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)]


def quarters():
    picture = Image.new("RGB", (16, 16))
    for at, colour in enumerate(COLOURS):
        picture.paste(colour, (at % 2 * 8, at // 2 * 8, at % 2 * 8 + 8, at // 2 * 8 + 8))
    return picture


def main():
    picture = quarters()
    picture.convert("CMYK").save(OUT / "cmyk.jpg", quality=95)
    picture.save(OUT / "progressive.jpg", quality=95, progressive=True, subsampling=0)
    picture.save(OUT / "lossy.webp", quality=95)
    palette = picture.quantize(4)
    palette.save(OUT / "palette.png")
    palette.save(OUT / "transparent_palette.png", transparency=palette.getpixel((15, 15)))
    frames = [picture, picture.rotate(90), picture.rotate(180)]
    for name in ("animated.gif", "animated.png", "animated.webp"):
        frames[0].save(OUT / name, save_all=True, append_images=frames[1:], duration=[40, 120, 200], lossless=True)


if __name__ == "__main__":
    main()
