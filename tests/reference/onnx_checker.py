"""Checks ONNX files as the `onnx` package does: the checker, all rules on, then strict shape inference.

    python tests/reference/onnx_checker.py FILE…

tests/train.rs runs it on what percept saves, where there is a Python with `onnx`.
"""

import sys

import onnx


def main(paths):
    faults = 0
    for path in paths:
        try:
            onnx.checker.check_model(path, full_check=True)
            onnx.shape_inference.infer_shapes(onnx.load(path), check_type=True, strict_mode=True, data_prop=True)
        except Exception as error:  # each of the package's own kinds
            faults += 1
            print(f"{path}: {error}")
    print(f"{len(paths) - faults} files pass, {faults} do not (onnx {onnx.__version__})")
    return 1 if faults or not paths else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
