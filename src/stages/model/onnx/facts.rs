//! What a card or the config says of the sound that a model takes, and of its labels, against the graph.

use super::binder::Binder;
use super::binding::{Carried, DataInput};
use super::config::MAX_SAMPLES;
use super::windows::WindowSize;
use crate::cards::Preprocess;
use crate::config::Fault;
use crate::tensor::Dim;
use crate::units::Rate;

impl<'a> Binder<'a> {
    pub(super) fn preprocess(&self) -> Option<&'a Preprocess> {
        self.files.card()?.spec().preprocess.as_ref()
    }

    pub(super) fn rate(&self) -> Option<Rate> {
        let hz = self.config.sample_rate_hz.or(self.preprocess().and_then(|preprocess| preprocess.sample_rate_hz));
        hz.and_then(|hz| Rate::hz(hz).ok())
    }

    pub(super) fn windows(&mut self, inputs: &[DataInput]) -> Option<WindowSize> {
        let preprocess = self.preprocess();
        let samples = |own: Option<u32>, card: Option<u64>| own.map(u64::from).or(card);
        let window = samples(self.config.window_samples, preprocess.and_then(|card| card.window_samples));
        let hop = samples(self.config.hop_samples, preprocess.and_then(|card| card.hop_samples));
        let context = samples(self.config.context_samples, preprocess.map(|card| card.context_samples)).unwrap_or(0);
        let Some(window) = window else {
            if self.config.hop_samples.is_some() || self.config.context_samples.is_some() {
                let path = if self.config.hop_samples.is_some() { "hop_samples" } else { "context_samples" };
                let fault = Fault::error("window", "there are no windows for this to apply to");
                self.put(&[path], fault.help("set `window_samples` as well"));
            }
            return None;
        };
        let hop = hop.unwrap_or(window);
        let path = ["window_samples"];
        let too_long = |samples: &u64| *samples > u64::from(MAX_SAMPLES);
        if window == 0 || hop == 0 || [window, hop, context].iter().any(too_long) {
            let fault = Fault::error("window", "windows of this size cannot be cut")
                .expected(format!("1 to {} samples", MAX_SAMPLES))
                .found(format!("window {window}, hop {hop}, context {context}"));
            self.put(&path, fault);
            return None;
        }
        let [input] = inputs else {
            if !inputs.is_empty() {
                let names: Vec<_> = inputs.iter().map(|input| format!("`{}`", input.port.name)).collect();
                let fault = Fault::error("window", "windows are cut for one input, and packets fill several")
                    .found(names.join(", "))
                    .help("name one as `input` and give the others as `constants` or `state`, or cut frames before it");
                self.put(&path, fault);
            }
            return None;
        };
        if !input.takes_sound() {
            let fault = Fault::error("window", format!("sound cannot fill input `{}`", input.port.name))
                .expected("f32 of rank 1 to 3: samples, below batch, below batch and channels")
                .found(format!("{} {}", input.port.dtype, input.port.shape));
            self.put(&path, fault);
            return None;
        }
        let samples = input.port.shape.dims().and_then(|dims| dims.last()).and_then(Dim::known);
        if let Some(samples) = samples.filter(|samples| *samples as u64 != window + context) {
            let fault =
                Fault::error("window", format!("input `{}` takes {samples} samples at a time", input.port.name))
                    .expected(format!("`window_samples` and `context_samples` that make {samples}"))
                    .found(format!("{window} + {context} = {}", window + context));
            self.put(&path, fault);
        }
        let size = |samples: u64| usize::try_from(samples).ok();
        Some(WindowSize {
            window: size(window)?,
            hop: size(hop)?,
            context: size(context)?,
            pad_last: self.config.pad_last,
        })
    }

    /// The file of labels against the size that the card states, and that size against the first output.
    pub(super) fn labels(&mut self, outputs: &[Carried]) {
        let Some(labels) = self.files.card().and_then(|card| card.spec().labels.clone()) else {
            return;
        };
        let file = match self.files.file(&labels.file) {
            Ok(file) => file,
            Err(fault) => return self.faults.push(fault),
        };
        // Lists of names are text; other files are read by who knows them.
        if let Ok(text) = std::fs::read_to_string(&file) {
            let found = text.lines().count() as u64;
            if found != labels.size {
                let fault = Fault::error("labels-size", format!("{} does not fit the model", file.display()))
                    .expected(format!("{} lines, as the card says", labels.size))
                    .found(found.to_string());
                self.put(&[], fault);
            }
        }
        let Some(output) = outputs.first() else { return };
        let classes = output.port.shape.dims().and_then(|dims| dims.last()).and_then(Dim::known);
        if let Some(classes) = classes.filter(|classes| *classes as u64 != labels.size) {
            let fault = Fault::error("labels-size", format!("the labels of `{}` do not fit its output", self.model()))
                .expected(format!("{classes} labels, as output `{}` has ({})", output.port.name, output.port.shape))
                .found(format!("{} in the card", labels.size));
            self.put(&[], fault);
        }
    }
}
