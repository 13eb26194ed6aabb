"""EfficientNet-Lite0 for models/efficientnet-lite0, and what it says of the photos in examples/photos.

    python -m venv venv && venv/bin/pip install numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 pillow==13.0.0
    venv/bin/python tests/reference/photos.py shrink MODEL_F32      # writes models/efficientnet-lite0/efficientnet-lite0.onnx
    venv/bin/python tests/reference/photos.py labels META_PY        # writes models/efficientnet-lite0/labels.txt
    venv/bin/python tests/reference/photos.py freeze                # writes tests/data/picture/photos.json
    venv/bin/python tests/reference/photos.py compare MODEL_F32     # prints how far the two models are apart

MODEL_F32 is the graph with its weights in 32 bits; META_PY is torchvision/models/_meta.py of torchvision 0.29.2.
Not needed by the tests themselves.
"""

import ast
import hashlib
import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
CARD = ROOT / "models" / "efficientnet-lite0"
MODEL = CARD / "efficientnet-lite0.onnx"
LABELS = CARD / "labels.txt"
PHOTOS = ROOT / "examples" / "photos"
OUT = ROOT / "tests" / "data" / "picture" / "photos.json"
F32_SHA256 = "b76c443774c7e358480f834cf5eac83afd1e903a8a43f6974b6dd158b6467a7c"
SHORT_SIDE, SIDE = 256, 224


def checked(path):
    content = Path(path).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != F32_SHA256:
        sys.exit(f"{path}: expected sha256 {F32_SHA256}, found {found}")
    return content


def shrink(path):
    """Weights of two axes and more become f16, each behind a Cast to f32; biases stay."""
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load_from_string(checked(path))
    casts, kept = [], []
    for tensor in model.graph.initializer:
        if len(tensor.dims) < 2:
            kept.append(tensor)
            continue
        values = numpy_helper.to_array(tensor)
        half = values.astype(np.float16)
        assert np.isfinite(half).all(), tensor.name
        kept.append(numpy_helper.from_array(half, tensor.name + ".f16"))
        casts.append(
            helper.make_node("Cast", [tensor.name + ".f16"], [tensor.name], name=tensor.name + ".cast", to=1)
        )
    nodes = casts + list(model.graph.node)
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    MODEL.write_bytes(model.SerializeToString(deterministic=True))
    report(MODEL)


def labels(path):
    """The list `_IMAGENET_CATEGORIES`, a name a line."""
    tree = ast.parse(Path(path).read_text())
    lists = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    names = ast.literal_eval(lists["_IMAGENET_CATEGORIES"])
    assert len(names) == 1000 and all(name.strip() == name and name for name in names)
    LABELS.write_text("".join(name + "\n" for name in names))
    report(LABELS)


def report(path):
    content = path.read_bytes()
    print(path.relative_to(ROOT), len(content), hashlib.sha256(content).hexdigest())


def prepared(path):
    """The short side to 256 (the long one rounded down), the middle 224 by 224, (x - 127) / 128, channel by channel."""
    from PIL import Image

    image = Image.open(path).convert("RGB")
    width, height = image.size
    if width <= height:
        size = (SHORT_SIDE, SHORT_SIDE * height // width)
    else:
        size = (SHORT_SIDE * width // height, SHORT_SIDE)
    image = image.resize(size, Image.Resampling.BILINEAR)
    left, top = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
    image = image.crop((left, top, left + SIDE, top + SIDE))
    values = (np.asarray(image).astype(np.float64) - 127) / 128
    return values.astype(np.float32).transpose(2, 0, 1)[None]


def probabilities(model):
    """By photo: the softmax of what the model says."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    found = {}
    for path in sorted(PHOTOS.glob("*.png")):
        logits = session.run(["logits"], {"image": prepared(path)})[0][0].astype(np.float64)
        weights = np.exp(logits - logits.max())
        found[path.name] = weights / weights.sum()
    return found


def freeze():
    import onnxruntime
    import PIL

    names = LABELS.read_text().splitlines()
    photos = {}
    for photo, scores in probabilities(MODEL.read_bytes()).items():
        best = np.argsort(-scores, kind="stable")[:5]
        photos[photo] = [
            {"index": int(at), "name": names[at], "probability": round(float(scores[at]), 6)} for at in best
        ]
    versions = {"pillow": PIL.__version__, "onnxruntime": onnxruntime.__version__}
    OUT.write_text(json.dumps({"made_with": versions, "photos": photos}, indent=1) + "\n")
    print(OUT.read_text())


def compare(path):
    whole, half = probabilities(checked(path)), probabilities(MODEL.read_bytes())
    for photo, scores in whole.items():
        print(photo, "largest difference of a probability", np.abs(scores - half[photo]).max())
        assert scores.argmax() == half[photo].argmax()


def main():
    steps = {"shrink": shrink, "labels": labels, "freeze": freeze, "compare": compare}
    step, *rest = sys.argv[1:] or [""]
    if step not in steps:
        sys.exit(__doc__)
    steps[step](*rest)


if __name__ == "__main__":
    main()
