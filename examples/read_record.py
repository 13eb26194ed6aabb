"""Reads a record of percept in Python: python examples/read_record.py RUN.mcap

Needs `pip install mcap numpy`. The layout is documented in percept::codec::record, and in the schemas of the file itself.
"""

import json
import struct
import sys

import numpy as np
from mcap.reader import make_reader

DTYPES = [None, "f2", "bf16", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", "string"]
CHANNELS = {1: 1, 2: 3, 3: 4}  # gray8, rgb8, rgba8


def payload(kind, data):
    """Sound as (rate, frames × channels), pictures and tensors as arrays, bytes as bytes; of others the raw layout."""
    if kind == "percept.Audio":
        numerator, denominator, channels = struct.unpack_from("<IIH", data)
        return numerator / denominator, np.frombuffer(data, "<f4", offset=10).reshape(-1, channels)
    if kind == "percept.Image":
        pixel, width, height = struct.unpack_from("<BII", data)
        return np.frombuffer(data, "u1", offset=9 + 48 + 8).reshape(height, width, CHANNELS[pixel])
    if kind == "percept.Tensor" and DTYPES[data[0]] not in ("bf16", "string"):
        (rank,) = struct.unpack_from("<I", data, 1)
        shape = struct.unpack_from(f"<{rank}Q", data, 5)
        return np.frombuffer(data, np.dtype(DTYPES[data[0]]).newbyteorder("<"), offset=5 + 8 * rank).reshape(shape)
    return bytes(data)


with open(sys.argv[1], "rb") as file:
    for schema, channel, message in make_reader(file, validate_crcs=True).iter_messages(log_time_order=False):
        if schema.name == "percept.Stream":
            print(json.loads(message.data))
            continue
        stream, sequence, start, duration = struct.unpack_from("<IQqq", message.data)
        # Flag 16: the picture that the payload was made of stands before it.
        value = payload(schema.name, message.data[57 + 64 if message.data[52] & 16 else 57 :])
        shown = value[1] if isinstance(value, tuple) else value
        print(stream, channel.topic, sequence, start, duration, schema.name, getattr(shown, "shape", shown))
