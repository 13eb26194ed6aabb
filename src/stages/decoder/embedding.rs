//! `embedding`: who or what a vector is nearest to, of those that are known.
//!
//! Use it after a model that describes a picture or a sound by a vector, f32 `[D]` or `[1, D]`. The *gallery* is a file of
//! JSON lines, a vector a line and as many for a name as you have:
//!
//! ```text
//! {"name": "ann", "values": [0.12, -0.4, …]}
//! {"name": "bob", "values": [-0.3, 0.08, …]}
//! ```
//!
//! To make one, let the model's tensors go to `sink: jsonl` with `max_values: 4096` and give each record a `name`; other
//! keys may stay. Gallery and packets are compared by cosine, so the lengths of vectors do not matter; of several vectors of
//! a name the nearest counts.
//!
//! The result is a packet of labels, the nearest first; the score is the cosine, −1 to 1, and the index the place of the
//! name in the file.

mod gallery;

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

use self::gallery::unit;
pub use self::gallery::{Gallery, GalleryError};
use super::picture::{PictureError, numbers, stage_fault};
use crate::config::Faults;
use crate::media::{Format, Label, Labels, StreamInfo};
use crate::stage::{
    Blueprint, Contract, ContractFault, Input, Kind, Opened, Output, ReadContext, Resolve, Role, Runnable, Stage,
    StageError,
};
use crate::stages::join::draft_of;
use crate::tensor::{DType, SymbolicShape, Tensor};
use crate::units::Timestamp;

const EMBEDDING: &str = "embedding";

/// The keys of `embedding`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EmbeddingConfig {
    /// The file of what is known: JSON lines, each with `name` and `values`.
    #[serde(default)]
    pub gallery: Option<PathBuf>,
    /// What is known, instead of a file: `{ann: [0.1, 0.9], bob: [0.8, 0.2]}`, in the order of the names.
    #[serde(default)]
    pub known: BTreeMap<String, Vec<f32>>,
    /// How many names at most. Default: 5.
    #[serde(default = "five")]
    #[schemars(range(min = 1, max = 1000))]
    pub k: usize,
    /// Names with a smaller cosine are left out; then there may be none. Default: -1, all.
    #[serde(default = "least")]
    #[schemars(range(min = -1.0, max = 1.0))]
    pub threshold: f32,
}

fn five() -> usize {
    5
}

fn least() -> f32 {
    -1.0
}

const EXAMPLE: &str = r#"percept: 1
name: which-way
stages:
  - capture: images
    path: examples/photos
  - preprocess: to_tensor
    width: 224
    height: 224
  - model: embedder.onnx
  - decoder: embedding
    known: {left: [1, 0, 0, 0], right: [-1, 0, 0, 0], up: [0, 1, 0, 0]}   # or `gallery: FILE`
    k: 1
    threshold: 0.8
  - sink: jsonl
    path: "-"
"#;

/// The entry of the registry.
pub const KIND: Kind =
    Kind::resolved::<EmbeddingConfig>("embedding", Role::Decoder, "what of a gallery a vector is nearest to", EXAMPLE);

/// An [`EmbeddingConfig`] with its gallery.
#[derive(Clone, Debug)]
pub struct EmbeddingDecoder {
    gallery: Gallery,
    k: usize,
    threshold: f32,
}

impl EmbeddingDecoder {
    /// At most `k` names whose cosine is `threshold` or more.
    pub fn new(gallery: Gallery, k: usize, threshold: f32) -> Self {
        EmbeddingDecoder { gallery, k, threshold }
    }

    fn fits(&self, shape: &SymbolicShape) -> bool {
        let Some(dims) = shape.dims() else { return true };
        let known = |at: usize, size: usize| dims.get(at).and_then(|dim| dim.known()).is_none_or(|known| known == size);
        let dimensions = self.gallery.dimensions();
        match dims.len() {
            1 => known(0, dimensions),
            2 => known(0, 1) && known(1, dimensions),
            _ => false,
        }
    }

    fn expected(&self) -> String {
        let dimensions = self.gallery.dimensions();
        format!("[{dimensions}] or [1, {dimensions}], as the gallery has them")
    }

    fn decode(&self, tensor: &Tensor, start: Timestamp) -> Result<Labels, PictureError> {
        let values = numbers(tensor, EMBEDDING, start)?;
        let shape =
            |expected: String| PictureError::Shape { start, port: EMBEDDING, expected, found: tensor.shape().to_vec() };
        if !self.fits(&tensor.symbolic_shape()) {
            return Err(shape(self.expected()));
        }
        let unit = unit(values).ok_or_else(|| shape("with a direction: not all zeros, and finite".to_owned()))?;
        let label = |(index, score): (usize, f32)| Label { index, name: self.gallery.name(index).cloned(), score };
        let mut found: Vec<Label> = self.gallery.cosines(&unit).into_iter().enumerate().map(label).collect();
        found.retain(|label| label.score >= self.threshold);
        found.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.index.cmp(&b.index)));
        found.truncate(self.k);
        Ok(Labels { entries: found.into() })
    }
}

impl Resolve for EmbeddingConfig {
    fn resolve(self, context: &ReadContext<'_>) -> Result<Box<dyn Blueprint>, Faults> {
        let gallery = match (&self.gallery, self.known.is_empty()) {
            (Some(path), true) => Gallery::read(&context.settings.resolve(path)).map_err(|error| {
                let code = if matches!(error, GalleryError::Read { .. }) { "missing-file" } else { "bad-gallery" };
                context.fault("gallery", code, error.to_string())
            })?,
            (None, false) => {
                let vectors = self.known.iter().map(|(name, values)| (name.as_str(), values.as_slice()));
                Gallery::new(vectors).map_err(|(place, message)| {
                    let name = self.known.keys().nth(place).map_or("", String::as_str);
                    context.fault("known", "bad-gallery", format!("`{name}`: {message}"))
                })?
            }
            (given, _) => {
                let (code, message) = match given {
                    Some(_) => ("two-galleries", "`gallery` and `known` both say what is known"),
                    None => ("missing-key", "nothing says what is known"),
                };
                return Err(stage_fault(context, code, message).expected("one of `gallery` and `known`").into());
            }
        };
        Ok(Box::new(EmbeddingDecoder::new(gallery, self.k, self.threshold)))
    }
}

impl Blueprint for EmbeddingDecoder {
    fn contract(&self) -> Contract {
        let vectors = Format::Tensor { dtype: Some(DType::F32), shape: SymbolicShape::Unranked };
        Contract::new().input(EMBEDDING, vectors).output("labels")
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        match inputs.first() {
            Some(found @ Format::Tensor { shape, .. }) if !self.fits(shape) => Err(vec![ContractFault {
                port: EMBEDDING.to_owned(),
                expected: format!("tensor f32 {}", self.expected()),
                found: found.to_string(),
                help: Some("make the gallery with this model".to_owned()),
            }]),
            _ => Ok(vec![Format::Labels]),
        }
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Ok(Runnable::stage(self.clone()))
    }
}

impl Stage for EmbeddingDecoder {
    type State = ();

    fn open(&mut self, _: &StreamInfo, _: &[Format]) -> Result<Opened<()>, StageError> {
        Ok(Opened { state: (), outputs: vec![Format::Labels] })
    }

    fn process(&mut self, _: &mut (), input: Input, out: &mut Output) -> Result<(), StageError> {
        let packet = &input.packet;
        let tensor = packet.payload.tensor().map_err(StageError::skip)?;
        let labels = self.decode(tensor, packet.start).map_err(StageError::skip)?;
        if let Some(draft) = draft_of(std::slice::from_ref(packet), labels) {
            out.emit(0, draft);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::trial::{open, packet, read};
    use super::*;

    const KNOWN: &str = "{\"name\": \"ann\", \"values\": [1, 0]}\n{\"name\": \"bob\", \"values\": [0, 1]}\n\
                         {\"name\": \"eve\", \"values\": [-1, 0]}\n";

    fn decoder(k: usize, threshold: f32) -> EmbeddingDecoder {
        EmbeddingDecoder::new(Gallery::from_text(KNOWN, Path::new("g.jsonl")).unwrap(), k, threshold)
    }

    #[test]
    fn the_nearest_first() {
        for (k, threshold, vector, expected) in [
            (5, -1.0, [3.0f32, 4.0], &[("bob", 80), ("ann", 60), ("eve", -60)][..]),
            (1, -1.0, [3.0, 4.0], &[("bob", 80)]),
            (5, 0.7, [3.0, 4.0], &[("bob", 80)]),
            (5, 0.9, [3.0, 4.0], &[]),
            // Equally near: as they stand in the file.
            (2, -1.0, [1.0, 1.0], &[("ann", 71), ("bob", 71)]),
        ] {
            let mut solo = open(&decoder(k, threshold));
            for shape in [vec![2], vec![1, 2]] {
                let found = solo.push(0, packet(0, Tensor::new(shape, vector.to_vec()).unwrap())).unwrap();
                let labels = found[0].1.payload.labels().unwrap();
                let found = labels
                    .entries
                    .iter()
                    .map(|label| (label.name.as_deref().unwrap(), (label.score * 100.0).round() as i32));
                let found: Vec<_> = found.collect();
                assert_eq!(found, expected, "{vector:?}");
            }
        }
    }

    #[test]
    fn tensors_that_do_not_fit_are_skipped_and_the_stream_goes_on() {
        let mut solo = open(&decoder(1, 0.0));
        for (tensor, says) in [
            (Tensor::from_vec(vec![1.0f32; 3]), "expected a tensor [2] or [1, 2], as the gallery has them, found [3]"),
            (Tensor::new(vec![2, 1], vec![1.0f32; 2]).unwrap(), "found [2, 1]"),
            (Tensor::from_vec(vec![0.0f32; 2]), "with a direction"),
            (Tensor::from_vec(vec![1.0f32, f32::NAN]), "NaN (not a number) at place 1"),
            (Tensor::from_vec(vec![1.0f64, 1.0]), "f64"),
        ] {
            let error = solo.push(0, packet(0, tensor)).unwrap_err();
            assert!(matches!(error, StageError::Skip(_)) && error.to_string().contains(says), "{error}");
        }
        assert_eq!(solo.push(0, packet(0, Tensor::from_vec(vec![1.0f32, 0.0]))).unwrap().len(), 1);
    }

    #[test]
    fn faults_before_it_starts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("known.jsonl");
        std::fs::write(&file, KNOWN).unwrap();
        let blueprint = read(&KIND, &format!("gallery: {}", file.display())).unwrap();
        let tensor = |sizes: &[usize]| Format::Tensor { dtype: Some(DType::F32), shape: SymbolicShape::known(sizes) };
        for (sizes, fits) in
            [(&[2][..], true), (&[1, 2], true), (&[1, 3], false), (&[2, 2], false), (&[1, 1, 2], false)]
        {
            assert_eq!(blueprint.outputs(&[tensor(sizes)]).is_ok(), fits, "{sizes:?}");
        }
        assert!(read(&KIND, "known: {a: [1, 0], b: [0, 1]}").is_ok());
        std::fs::write(&file, "nothing").unwrap();
        for (yaml, says) in [
            ("{}".to_owned(), "nothing says what is known"),
            ("gallery: a\nknown: {a: [1]}".into(), "both say what is known"),
            ("known: {a: [1], b: [1, 2]}".into(), "`b`: expected 1 values, found 2"),
            ("known: {a: [0]}".into(), "with a direction"),
            ("gallery: nowhere.jsonl".into(), "nowhere.jsonl"),
            (format!("gallery: {}", file.display()), "line 1 of the gallery"),
            ("gallery: a\nthreshold: 2".into(), "threshold"),
        ] {
            let faults = read(&KIND, &yaml).unwrap_err();
            assert!(faults.contains(says) && faults.contains("test.yaml:"), "{yaml}: {faults}");
        }
    }
}
