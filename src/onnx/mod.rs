//! Floor 2: the ONNX file format. The only place that knows protobuf.
