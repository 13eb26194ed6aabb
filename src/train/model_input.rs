//! What a model takes of a sample, as the last stage of a recipe's `preprocess` must give it.

use crate::media::Format;
use crate::onnx::Model;
use crate::stage::{Blueprint, Contract, ContractFault, Runnable, StageError};
use crate::tensor::{DType, Dim, SymbolicShape};

/// The input of a model that samples go to, without its batch axis. It stands for the model while formats are checked.
#[derive(Clone, Debug)]
pub(super) struct ModelInput {
    dtype: Option<DType>,
    /// Of one sample.
    shape: SymbolicShape,
}

impl ModelInput {
    /// The first free input of `model`.
    pub fn of(model: &Model) -> Option<Self> {
        let input = model.graph.free_inputs().next()?;
        let shape = match input.shape.dims() {
            Some(dims) => SymbolicShape::Ranked(dims.iter().skip(1).cloned().collect()),
            None => SymbolicShape::Unranked,
        };
        Some(ModelInput { dtype: input.dtype, shape })
    }

    /// Whether sound needs a dimension for its channels, even if there is only one: `[batch, channels, samples]`.
    pub fn channel_axis(&self) -> bool {
        self.shape.rank() == Some(2)
    }

    /// What would turn sound into what the model takes.
    fn help(&self, channels: Option<u16>) -> Option<String> {
        match self.shape.dims() {
            Some([_]) if channels.is_some_and(|channels| channels > 1) => Some("insert `- preprocess: mono`".into()),
            Some([frames, bands]) => {
                let key = |name: &str, dim: &Dim| dim.known().map(|size| format!("`{name}: {size}`"));
                let keys: Vec<String> = [key("frames", frames), key("bands", bands)].into_iter().flatten().collect();
                let with = if keys.is_empty() { String::new() } else { format!(" with {}", keys.join(" and ")) };
                Some(format!("insert `- preprocess: log_mel`{with}, if the model takes spectra"))
            }
            _ => None,
        }
    }
}

impl Blueprint for ModelInput {
    fn contract(&self) -> Contract {
        Contract::new().input("input", Format::Any)
    }

    fn outputs(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        let wanted = Format::Tensor { dtype: self.dtype, shape: self.shape.clone() };
        let found = inputs.first().unwrap_or(&Format::Any);
        let (given, help) = match found {
            Format::Audio { channels, .. } => {
                let samples = || Dim::Any;
                let dims = match channels {
                    _ if self.channel_axis() => {
                        vec![channels.map_or(Dim::Any, |count| usize::from(count).into()), samples()]
                    }
                    Some(channels) if *channels > 1 => vec![usize::from(*channels).into(), samples()],
                    _ => vec![samples()],
                };
                let format = Format::Tensor { dtype: Some(DType::F32), shape: SymbolicShape::Ranked(dims) };
                (format, self.help(*channels))
            }
            other => (other.clone(), None),
        };
        match wanted.accepts(&given) {
            Ok(()) => Ok(Vec::new()),
            Err(_) => Err(vec![ContractFault {
                port: "input".into(),
                expected: format!("{wanted} for each sample"),
                found: found.to_string(),
                help,
            }]),
        }
    }

    fn build(&self) -> Result<Runnable, StageError> {
        Err(StageError::fatal("it stands for a model, and is never run"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Rate;

    fn input(dims: &[Option<usize>]) -> ModelInput {
        let dims = dims.iter().map(|dim| dim.map_or(Dim::Any, Dim::Known)).collect();
        ModelInput { dtype: Some(DType::F32), shape: SymbolicShape::Ranked(dims) }
    }

    #[test]
    fn formats_that_fit_and_what_to_do_with_others() {
        let audio = |channels| Format::audio(Some(Rate::hz(16_000).unwrap()), channels);
        let tensor = |dtype, sizes: &[usize]| Format::Tensor { dtype: Some(dtype), shape: SymbolicShape::known(sizes) };
        // What the model takes of a sample, what there is, and the help; `fits` where nothing is wrong.
        for (dims, format, expected) in [
            (&[None][..], audio(Some(1)), "fits"),
            (&[None], audio(None), "fits"),
            (&[None], audio(Some(2)), "insert `- preprocess: mono`"),
            (&[Some(1), None], audio(Some(1)), "fits"),
            (&[Some(2), None], audio(Some(2)), "fits"),
            (
                &[Some(30), Some(40)],
                audio(Some(1)),
                "insert `- preprocess: log_mel` with `frames: 30` and `bands: 40`, if",
            ),
            (&[None, Some(40)], tensor(DType::F32, &[100, 40]), "fits"),
            (&[None, Some(40)], tensor(DType::F32, &[100, 80]), "none"),
            (&[None, Some(40)], tensor(DType::F64, &[100, 40]), "none"),
            (&[None, Some(40)], Format::Any, "fits"),
            (&[None, Some(40)], Format::Text, "none"),
        ] {
            let found = match input(dims).outputs(std::slice::from_ref(&format)) {
                Ok(_) => "fits".to_owned(),
                Err(faults) => faults[0].help.clone().unwrap_or_else(|| "none".into()),
            };
            assert!(found.starts_with(expected), "{dims:?} of {format}: {found}");
        }
    }
}
