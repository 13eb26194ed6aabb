//! What a file is when it is no ONNX model.

use super::error::OnnxError;

/// Bytes of a file's beginning that [`refuse`] and [`diagnose`] want to see.
pub(super) const HEAD_LEN: usize = 512;

/// First bytes, their place, what has them, and what to do then.
const MAGICS: [(usize, &[u8], &str, &str); 9] = [
    (0, b"version https://git-lfs", "a Git LFS pointer", "run `git lfs pull` to get the file it stands for"),
    (0, b"<", "a web page", "the download got an error page; fetch the model again"),
    (0, b"PK\x03\x04", "a zip archive", "unpack it, or export the PyTorch checkpoint to ONNX"),
    (0, b"\x1f\x8b", "a gzip archive", "unpack it"),
    (0, b"BZh", "a bzip2 archive", "unpack it"),
    (0, b"\x89HDF", "an HDF5 file", "export the Keras model to ONNX"),
    (0, b"GGUF", "a GGUF file", "export the model to ONNX"),
    (0, b"\x80\x02", "a Python pickle", "export the PyTorch checkpoint to ONNX"),
    (4, b"TFL3", "a TensorFlow Lite model", "export the model to ONNX"),
];

/// The faults that are certain before reading on: no bytes, or ONNX Runtime's flatbuffer (file identifier `ORTM`).
pub(super) fn refuse(head: &[u8]) -> Result<(), OnnxError> {
    match head.get(4..8) {
        Some(b"ORTM") => Err(OnnxError::OrtFormat),
        _ if head.is_empty() => Err(OnnxError::Empty),
        _ => Ok(()),
    }
}

/// The likeliest story behind bytes that failed to read as a model with `fault`.
pub(super) fn diagnose(head: &[u8], fault: OnnxError) -> OnnxError {
    let magic = MAGICS.iter().find(|(at, magic, ..)| head.get(*at..).is_some_and(|tail| tail.starts_with(magic)));
    match magic {
        Some((.., found, remedy)) => OnnxError::NotOnnx { found, remedy },
        None if is_text(head) => OnnxError::NotOnnx { found: "text", remedy: "give the path of the .onnx file" },
        None => fault,
    }
}

/// Whether these are UTF-8 characters (the last may be cut) without control characters that text never has.
fn is_text(head: &[u8]) -> bool {
    let text = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(fault) if fault.error_len().is_none() && fault.valid_up_to() > 0 => {
            std::str::from_utf8(&head[..fault.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return false,
    };
    text.chars().all(|c| !c.is_control() || matches!(c, '\t' | '\n' | '\r' | '\x0c' | '\x1b'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_told_apart() {
        let fault = || OnnxError::Damaged { len: 9, reason: "x".into() };
        let cases: [(&[u8], &str); 7] = [
            (b"version https://git-lfs.github.com/spec/v1\noid", "found a Git LFS pointer: run `git lfs pull`"),
            (b"<!DOCTYPE html>", "found a web page"),
            (b"PK\x03\x04....", "found a zip archive"),
            (b"\x1c\0\0\0TFL3", "found a TensorFlow Lite model"),
            ("percept: 1\n# gr\u{fc}".as_bytes(), "found text"),
            (&"gr\u{fc}".as_bytes()[..3], "found text"),
            (b"\x08\x07\x12\x07pytorch", "cut off or damaged"),
        ];
        for (head, part) in cases {
            assert!(refuse(head).is_ok());
            let message = diagnose(head, fault()).to_string();
            assert!(message.contains(part), "{message}");
        }
        assert!(matches!(refuse(b""), Err(OnnxError::Empty)));
        assert!(matches!(refuse(b"\x18\0\0\0ORTM\0\0"), Err(OnnxError::OrtFormat)));
    }
}
