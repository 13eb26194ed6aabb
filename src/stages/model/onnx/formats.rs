//! The ports of the stage: what may come in, and what goes out for it.

use std::collections::HashMap;
use std::sync::Arc;

use super::binding::{Binding, DataInput};
use crate::media::Format;
use crate::stage::{Contract, ContractFault};
use crate::tensor::{Dim, SymbolicShape};

impl Binding {
    /// The stage's ports. What an input port takes in detail is the matter of [`Binding::formats`], whose faults help.
    pub fn contract(&self) -> Contract {
        let mut contract = Contract::new().batch(self.batch);
        for input in &self.inputs {
            let format = match (self.windows, input.takes_sound()) {
                (Some(_), _) => Format::ANY_AUDIO,
                (None, true) => Format::Any,
                (None, false) => Format::ANY_TENSOR,
            };
            contract = contract.input(&input.name, format);
        }
        for (place, output) in self.outputs.iter().enumerate() {
            let name = &output.port.name;
            contract = if place == 0 { contract.output(name) } else { contract.optional_output(name) };
        }
        contract
    }

    /// The formats of the output ports for these on the input ports, or what does not fit.
    pub fn formats(&self, inputs: &[Format]) -> Result<Vec<Format>, Vec<ContractFault>> {
        let (mut faults, mut known) = (Vec::new(), Known::default());
        for (input, format) in self.inputs.iter().zip(inputs) {
            if let Err(fault) = self.accept(input, format, &mut known) {
                faults.push(ContractFault { found: format.to_string(), ..fault });
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let output = |carried: &super::binding::Carried| {
            let shape = match (carried.port.shape.dims(), known.added) {
                (Some(dims), Some(added)) => {
                    let axis = carried.batch_axis.filter(|_| added);
                    let kept = dims.iter().enumerate().filter(|(place, _)| Some(*place) != axis);
                    SymbolicShape::Ranked(kept.map(|(_, dim)| known.size(dim)).collect())
                }
                _ => SymbolicShape::Unranked,
            };
            let shape = if self.open_classes { super::live::open(&shape) } else { shape };
            Format::Tensor { dtype: Some(carried.port.dtype), shape }
        };
        Ok(self.outputs.iter().map(output).collect())
    }

    /// The number of channels that sound must have, where that is known.
    pub fn channels_of(&self, input: &DataInput) -> Option<u16> {
        match input.port.shape.dims() {
            Some([_, channels, _]) => channels.known().and_then(|channels| channels.try_into().ok()).or(self.channels),
            _ => Some(1),
        }
    }

    fn accept(&self, input: &DataInput, format: &Format, known: &mut Known) -> Result<(), ContractFault> {
        let fault = |expected: String, help: Option<String>| ContractFault {
            port: input.name.clone(),
            expected,
            found: String::new(),
            help,
        };
        let wanted = || self.wanted(input);
        let dims = input.port.shape.dims();
        match format {
            Format::Any => Ok(()),
            Format::Audio { sample_rate, channels } if input.takes_sound() => {
                if let (Some(rate), Some(found)) = (self.rate, sample_rate)
                    && rate != *found
                {
                    let help = format!(
                        "insert `- preprocess: resample` with `sample_rate_hz: {}` before the model",
                        rate.as_hz()
                    );
                    return Err(fault(wanted(), Some(help)));
                }
                if let (Some(wish), Some(found)) = (self.channels_of(input), channels)
                    && wish != *found
                {
                    let help = (wish == 1).then(|| "insert `- preprocess: mono` before the model".to_owned());
                    return Err(fault(wanted(), help));
                }
                known.adds(input.batch_axis.is_some() && dims.is_some_and(|dims| dims.len() > 1));
                if let (Some(size), Some(last)) = (self.windows, dims.and_then(|dims| dims.last())) {
                    known.learn(last, &Dim::Known(size.window + size.context));
                }
                Ok(())
            }
            Format::Tensor { dtype, shape } if self.windows.is_none() => {
                if dtype.is_some_and(|dtype| dtype != input.port.dtype) {
                    return Err(fault(wanted(), None));
                }
                let (Some(ours), Some(theirs)) = (dims, shape.dims()) else {
                    return Ok(());
                };
                let mut theirs = theirs.to_vec();
                let axis = input.batch_axis.filter(|_| theirs.len() + 1 == ours.len());
                if let Some(axis) = axis {
                    theirs.insert(axis, Dim::Known(1));
                }
                if input.port.shape.accepts(&SymbolicShape::Ranked(theirs.clone())).is_err() {
                    return Err(fault(wanted(), None));
                }
                known.adds(axis.is_some());
                ours.iter()
                    .zip(&theirs)
                    .enumerate()
                    .filter(|(place, _)| Some(*place) != axis)
                    .for_each(|(_, (ours, theirs))| known.learn(ours, theirs));
                Ok(())
            }
            _ => Err(fault(wanted(), None)),
        }
    }

    /// What the port takes, in words.
    fn wanted(&self, input: &DataInput) -> String {
        let sound = || {
            let mut text = Format::audio(self.rate, self.channels_of(input)).to_string();
            if let Some(size) = self.windows {
                text = format!("{text} (cut into windows of {} samples)", size.window);
            }
            text
        };
        let tensor = || {
            let whole = &input.port.shape;
            let lone = input.batch_axis.zip(whole.dims()).map(|(axis, dims)| {
                let kept = dims.iter().enumerate().filter(|(place, _)| *place != axis);
                SymbolicShape::Ranked(kept.map(|(_, dim)| dim.clone()).collect())
            });
            let also = lone.map(|lone| format!(" or {lone}")).unwrap_or_default();
            format!("{}{also}", Format::Tensor { dtype: Some(input.port.dtype), shape: whole.clone() })
        };
        match (self.windows.is_some(), input.takes_sound() && self.rate.is_some()) {
            (true, _) => sound(),
            (false, true) => format!("{} or {}", sound(), tensor()),
            (false, false) => tensor(),
        }
    }
}

/// What the inputs' formats tell of the outputs'.
#[derive(Default)]
struct Known {
    /// Whether a batch axis is added, and taken away again; `None`: it depends on the packets.
    added: Option<bool>,
    sizes: HashMap<Arc<str>, usize>,
}

impl Known {
    fn adds(&mut self, added: bool) {
        self.added = Some(self.added.unwrap_or(false) || added);
    }

    fn learn(&mut self, ours: &Dim, theirs: &Dim) {
        if let (Dim::Symbol(name), Some(size)) = (ours, theirs.known()) {
            self.sizes.insert(name.clone(), size);
        }
    }

    fn size(&self, dim: &Dim) -> Dim {
        match dim {
            Dim::Symbol(name) => self.sizes.get(name).map_or_else(|| dim.clone(), |size| Dim::Known(*size)),
            _ => dim.clone(),
        }
    }
}
