//! Checkpoints: a safetensors file with everything that a training needs to go on bit for bit.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::error::TrainError;
use crate::files;
use crate::tensor::{DType, Tensor, TensorError};

/// Tensors by name, and text by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// The tensors, of f32 or f64.
    pub tensors: Vec<(String, Tensor)>,
    /// What else is remembered.
    pub notes: HashMap<String, String>,
}

impl Checkpoint {
    /// Writes it to `path`. Whatever happens meanwhile, `path` holds the old checkpoint or the new one, whole.
    pub fn save(&self, path: &Path) -> Result<(), TrainError> {
        let fault = |reason: String| TrainError::Checkpoint { path: path.display().to_string(), reason };
        let encode = |name: &str, tensor: &Tensor| -> Result<(Vec<u8>, Dtype), String> {
            let wrong = |error: TensorError| error.to_string();
            match tensor.dtype() {
                DType::F32 => {
                    let values = tensor.as_slice::<f32>().map_err(wrong)?.iter();
                    Ok((values.flat_map(|value| value.to_le_bytes()).collect(), Dtype::F32))
                }
                DType::F64 => {
                    let values = tensor.as_slice::<f64>().map_err(wrong)?.iter();
                    Ok((values.flat_map(|value| value.to_le_bytes()).collect(), Dtype::F64))
                }
                found => Err(format!("expected tensors of f32 or f64, found `{name}` of {found}")),
            }
        };
        let mut encoded = Vec::with_capacity(self.tensors.len());
        for (name, tensor) in &self.tensors {
            let (bytes, dtype) = encode(name, tensor).map_err(fault)?;
            encoded.push((name.as_str(), tensor.shape(), dtype, bytes));
        }
        let mut views = Vec::with_capacity(encoded.len());
        for (name, shape, dtype, bytes) in &encoded {
            let view = TensorView::new(*dtype, shape.to_vec(), bytes).map_err(|error| fault(error.to_string()))?;
            views.push((*name, view));
        }
        let content =
            safetensors::serialize(views, Some(self.notes.clone())).map_err(|error| fault(error.to_string()))?;
        Ok(files::replace(path, &content)?)
    }

    /// Reads the checkpoint at `path`.
    pub fn load(path: &Path) -> Result<Self, TrainError> {
        let fault = |reason: String| TrainError::Checkpoint { path: path.display().to_string(), reason };
        let content = fs::read(path).map_err(|error| fault(error.to_string()))?;
        let broken = |error| fault(format!("it is no checkpoint, or a broken one: {error}"));
        let (_, header) = SafeTensors::read_metadata(&content).map_err(broken)?;
        let notes = header.metadata().clone().unwrap_or_default();
        let file = SafeTensors::deserialize(&content).map_err(broken)?;
        let mut tensors = Vec::new();
        for (name, view) in file.tensors() {
            let shape = view.shape().to_vec();
            let tensor = match view.dtype() {
                Dtype::F32 => Tensor::new(shape, numbers(view.data(), f32::from_le_bytes)),
                Dtype::F64 => Tensor::new(shape, numbers(view.data(), f64::from_le_bytes)),
                found => return Err(fault(format!("expected tensors of F32 or F64, found `{name}` of {found:?}"))),
            };
            tensors.push((name, tensor.map_err(|error| fault(error.to_string()))?));
        }
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(Checkpoint { tensors, notes })
    }
}

fn numbers<T, const N: usize>(bytes: &[u8], read: fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|bytes| read(*bytes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            tensors: vec![
                ("a".into(), Tensor::new(vec![2, 2], vec![1.0f32, f32::MIN_POSITIVE, -0.0, 3.5]).unwrap()),
                ("b".into(), Tensor::scalar(0.1f64)),
                ("c".into(), Tensor::new(vec![0, 3], Vec::<f32>::new()).unwrap()),
            ],
            notes: [("epoch".to_owned(), "3".to_owned())].into(),
        }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        checkpoint().save(&path).unwrap();
        assert_eq!(Checkpoint::load(&path).unwrap(), checkpoint());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn broken_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.safetensors");
        checkpoint().save(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        for cut in [0, 4, 8, 20, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).unwrap();
            let error = Checkpoint::load(&path).unwrap_err().to_string();
            assert!(error.contains("broken"), "{cut}: {error}");
        }
        assert!(Checkpoint::load(&folder.path().join("none")).is_err());
    }
}
