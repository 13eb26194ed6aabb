//! The keys of `onnx` in a pipeline file.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::inference::SessionOptions;
use crate::learn::LearnConfig;

/// Longest window, hop or context, in samples.
pub const MAX_SAMPLES: u32 = 1 << 24;

/// Settings of `onnx`. What a card says of its model is the default of each key.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct OnnxConfig {
    /// The graph's input that packets fill, where there is only one. Default: every input that is neither state nor
    /// constant.
    #[serde(default)]
    pub input: Option<String>,
    /// The graph's inputs that packets fill, each with the name of the stage's port: `{port: input}`. An input that is
    /// not named here has a port of its own name.
    #[serde(default)]
    pub inputs: BTreeMap<String, String>,
    /// The graph's output that a bare stage name means. Default: the first of `outputs`.
    #[serde(default)]
    pub output: Option<String>,
    /// The graph's outputs that get a port, each of its own name. Default: every output that feeds no state.
    #[serde(default)]
    pub outputs: Vec<String>,
    /// Inputs that are always the same: `{sr: 16000}`. A value fills the whole input; a list, nested or flat, gives its
    /// elements. Default: none.
    #[serde(default)]
    pub constants: BTreeMap<String, serde_json::Value>,
    /// State that is carried from one run to the next, for each stream: `{input: output}`. It starts as zeros, where a
    /// stream starts and after a gap. Default: the card's.
    #[serde(default)]
    pub state: Option<BTreeMap<String, String>>,
    /// The shape of a state where a stream starts: `{input: [2, 1, 128]}`. Default: the graph's, unknown sizes being 1.
    #[serde(default)]
    pub state_shape: BTreeMap<String, Vec<usize>>,
    /// Samples per second of the sound that the model takes. Default: the card's, else any.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub sample_rate_hz: Option<u32>,
    /// New samples that a run takes: sound is cut into windows. Default: the card's, else a run takes a packet as it
    /// is.
    #[serde(default)]
    #[schemars(range(min = 1, max = 16_777_216))]
    pub window_samples: Option<u32>,
    /// Samples from the start of one window to the start of the next. Default: the card's, else `window_samples`.
    #[serde(default)]
    #[schemars(range(min = 1, max = 16_777_216))]
    pub hop_samples: Option<u32>,
    /// Samples of the past that are put before each window, zeros at a stream's start. Default: the card's, else 0.
    #[serde(default)]
    #[schemars(range(max = 16_777_216))]
    pub context_samples: Option<u32>,
    /// Whether a stream's last samples, which do not fill a window, are filled up with zeros. Without it they are left
    /// out. Default: true.
    #[serde(default = "yes")]
    pub pad_last: bool,
    /// Runs several streams in one call. Only for models whose card says `batch: exact`. Default: each run alone.
    #[serde(default)]
    pub batch: Option<BatchConfig>,
    /// For a model without a card: that several streams in one call give what each alone gives. Default: false.
    #[serde(default)]
    pub batch_exact: bool,
    /// The batch axis of an input or output, by its name; null for none. Default: the axis with the name of the data
    /// input's first one, else the first.
    #[serde(default)]
    pub batch_axis: BTreeMap<String, Option<usize>>,
    /// Whether another version of the model, brought while it runs, may have another number of classes: the last size of
    /// every output. Then check sees that whoever reads them can live with that. Default: false.
    #[serde(default)]
    pub open_classes: bool,
    /// Learns from the stream while it runs, beside the model, on percept's own engine. Default: the model stays as it is.
    #[serde(default)]
    pub learn: Option<LearnConfig>,
    /// Providers, threads and what each provider may be told.
    #[serde(flatten)]
    pub session: SessionOptions,
}

/// How many streams go into one call.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchConfig {
    /// Most streams in one call.
    #[schemars(range(min = 1, max = 1024))]
    pub max: u16,
    /// How long the first of them waits for others, in milliseconds. Default: 5.
    #[serde(default = "wait_ms")]
    #[schemars(range(max = 60_000))]
    pub wait_ms: u32,
}

fn yes() -> bool {
    true
}

fn wait_ms() -> u32 {
    5
}

#[cfg(test)]
mod tests {
    use crate::config::{self, Source};

    use super::*;

    fn read(yaml: &str) -> Result<OnnxConfig, String> {
        let source = Source::new("test.yaml", yaml);
        config::read(&config::parse(&source).unwrap(), &source).map_err(|faults| faults.to_string())
    }

    #[test]
    fn an_empty_mapping_will_do_and_options_stand_beside_the_keys() {
        let config = read("{}").unwrap();
        assert!(config.pad_last && config.session == SessionOptions::default() && config.batch.is_none());
        let config =
            read("{input: x, threads: 2, providers: [cuda, cpu], allow_fallback: true, batch: {max: 8}}").unwrap();
        assert_eq!(config.session.threads.map(usize::from), Some(2));
        assert!(config.session.allow_fallback);
        assert_eq!(config.batch.map(|batch| (batch.max, batch.wait_ms)), Some((8, 5)));
        let axes = read("{batch_axis: {x: 1, y: null}}").unwrap().batch_axis;
        assert_eq!((axes["x"], axes["y"]), (Some(1), None));
    }

    #[test]
    fn wrong_keys_are_refused_at_their_places() {
        for (yaml, says) in [
            ("{widow_samples: 5}", "did you mean `window_samples`?"),
            ("{treads: 5}", "did you mean `threads`?"),
            ("{window_samples: 0}", "out-of-range"),
            ("{window_samples: 16777217}", "out-of-range"),
            ("{batch: {max: 0}}", "out-of-range"),
            ("{batch: {max: 2, wait: 3}}", "did you mean `wait_ms`?"),
            ("{threads: 0}", "out-of-range"),
            ("{providers: [gpu]}", "unknown-value"),
            ("{batch_axis: {x: -1}}", "batch_axis.x"),
            ("{state: {h: [hN]}}", "wrong-type"),
        ] {
            let faults = read(yaml).unwrap_err();
            assert!(faults.contains(says) && faults.starts_with("test.yaml:1:"), "{yaml}: {faults}");
        }
    }
}
