//! What stands in a `card.yaml`, as serde and JSON Schema see it.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;

use super::digest::Sha256;
use super::port::Ports;

/// The version of the card format that this percept reads.
pub const VERSION: u32 = 1;

/// A model card: what a model is, where its files come from, and what they promise.
///
/// Paths are written with `/`, and lie below the folder they are relative to.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CardSpec {
    /// Version of the card format: 1.
    pub percept_card: u32,
    /// The name that pipelines use (`model: NAME`): lower-case letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The stage kind that runs it: `onnx`, `seq2seq`, …; `library` for a shared library that is no model.
    pub kind: String,
    /// What it does and what it is good for, in a sentence or two.
    pub summary: String,
    /// The licence of the files, as an SPDX expression (`MIT`, `Apache-2.0 OR MIT`).
    pub licence: String,
    /// Where the files come from.
    pub source: Origin,
    /// The files by role (`model`, `encoder`, `tokens`, `licence`, …), the same on every platform. Default: none.
    #[serde(default)]
    pub files: BTreeMap<String, FileSpec>,
    /// Files that differ from one platform to another: platform (`linux-x86_64`), then role. Default: none.
    #[serde(default)]
    pub platform_files: BTreeMap<String, BTreeMap<String, FileSpec>>,
    /// Inputs and outputs of each graph, by the role of its file. Needed for `.ort` files, whose ports only ONNX Runtime
    /// can read; verified for `.onnx` files. Default: none.
    #[serde(default)]
    pub ports: BTreeMap<String, Ports>,
    /// State that is carried from one call to the next: the input's name, then the output that feeds it. Default: none.
    #[serde(default)]
    pub state: BTreeMap<String, String>,
    /// Whether items of several streams in one call give what each alone gives. Default: never.
    #[serde(default)]
    pub batch: Exactness,
    /// Whether an input padded to a longer one gives what it alone gives. Default: never.
    #[serde(default)]
    pub padding: Exactness,
    /// The file that names what the outputs mean: labels or tokens. Default: none.
    #[serde(default)]
    pub labels: Option<Labels>,
    /// What the model expects of its input, as the stages before it must make it. Default: nothing known.
    #[serde(default)]
    pub preprocess: Option<Preprocess>,
    /// The decoder that reads what the model says, as a pipeline has it (`{decoder: boxes, …}`): a decoder with `card: NAME`
    /// takes its keys from here. Default: none.
    #[serde(default)]
    pub decoder: serde_json::Map<String, serde_json::Value>,
    /// Defaults of the stage kind's own keys; what the pipeline says goes first. Default: none.
    #[serde(default)]
    pub config: serde_json::Map<String, serde_json::Value>,
}

/// Where a card's files come from.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Origin {
    /// The origin in words: project, version, package, address.
    pub text: String,
    /// What to do on a platform that no download serves. Default: a general word.
    #[serde(default)]
    pub elsewhere: Option<String>,
    /// What can be downloaded, by a name that `files` refer to. Default: nothing.
    #[serde(default)]
    pub downloads: BTreeMap<String, Download>,
}

/// One thing to download: exactly one of `pip`, `url` and `file` says how.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Download {
    /// A Python package, `NAME==VERSION`, fetched with `pip download`; needs `wheel` and `tags`. Default: none.
    #[serde(default)]
    pub pip: Option<String>,
    /// An address (`https://…`), fetched with `curl`. Default: none.
    #[serde(default)]
    pub url: Option<String>,
    /// A local file, relative to the card's folder or absolute. Default: none.
    #[serde(default)]
    pub file: Option<String>,
    /// The exact file name of the wheel that pip fetches. Default: none.
    #[serde(default)]
    pub wheel: Option<String>,
    /// The tags that pip is asked for, so that every machine gets the same wheel. Default: none.
    #[serde(default)]
    pub tags: Option<Tags>,
    /// The sum of the downloaded file.
    pub sha256: Sha256,
    /// The size of the downloaded file in bytes.
    #[schemars(range(min = 1))]
    pub bytes: u64,
}

/// The tags of a wheel (PEP 425), as `pip download` takes them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Tags {
    /// `--platform`: `manylinux_2_28_x86_64`, `win_amd64`, `any`.
    pub platform: String,
    /// `--python-version`: `"3.12"`, in quotes.
    pub python: String,
    /// `--implementation`: `cp` or `py`.
    pub implementation: String,
    /// `--abi`: `cp312` or `none`.
    pub abi: String,
}

/// One file of a card.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FileSpec {
    /// Where it lies: below the card's folder, or below the card's folder in the cache if it has a `from`.
    pub path: String,
    /// The sum of the file. Default: not checked (only for a file beside the card).
    #[serde(default)]
    pub sha256: Option<Sha256>,
    /// The size of the file in bytes. Default: not checked (only for a file beside the card).
    #[serde(default)]
    pub bytes: Option<u64>,
    /// The download it comes out of. Default: it lies beside the card.
    #[serde(default)]
    pub from: Option<FromDownload>,
}

/// The download that a file comes out of.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FromDownload {
    /// The name of the download.
    pub download: String,
    /// The member's name, if the download is a zip archive (a wheel is one). Default: the download is the file.
    #[serde(default)]
    pub member: Option<String>,
}

/// Whether combining inputs changes results.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Hash)]
#[serde(rename_all = "snake_case")]
pub enum Exactness {
    /// Combined equals alone, within 1e-5.
    Exact,
    /// Combined differs from alone: never combine.
    #[default]
    Never,
}

impl fmt::Display for Exactness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Exactness::Exact => "exact",
            Exactness::Never => "never",
        })
    }
}

/// The file of labels or tokens.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Labels {
    /// The role of the file.
    pub file: String,
    /// How many entries it must have.
    #[schemars(range(min = 1))]
    pub size: u64,
}

/// What a model expects of its input. All keys are facts about the model, none is an option.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Preprocess {
    /// Sample rate in Hz. Default: not audio.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub sample_rate_hz: Option<u32>,
    /// Number of channels. Default: not audio.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub channels: Option<u16>,
    /// New samples a call takes, without its context. Default: any number.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub window_samples: Option<u64>,
    /// Samples from the start of one window to the start of the next. Default: `window_samples`.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub hop_samples: Option<u64>,
    /// Samples of the past put before each window, zeros at a stream's start. Default: 0.
    #[serde(default)]
    pub context_samples: u64,
    /// Lowest and highest value of a sample. Default: unknown.
    #[serde(default)]
    pub value_range: Option<[f64; 2]>,
    /// The preprocess stages that the model was trained behind, in order, as a pipeline has them. Default: not known.
    #[serde(default)]
    pub stages: Vec<serde_json::Map<String, serde_json::Value>>,
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Every key of every mapping in a schema that has no description.
    fn undescribed(schema: &Value, at: &str, found: &mut Vec<String>) {
        let keys = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
        for (key, value) in keys {
            if value.get("description").is_none() {
                found.push(format!("{at}.{key}"));
            }
        }
        let Some(definitions) = schema.get("$defs").and_then(Value::as_object) else {
            return;
        };
        for (name, definition) in definitions {
            undescribed(definition, name, found);
        }
    }

    #[test]
    fn every_key_is_documented() {
        let schema = crate::config::schema_of::<CardSpec>();
        assert!(schema["$defs"]["Download"]["properties"]["bytes"].is_object(), "{schema:#}");
        let mut found = Vec::new();
        undescribed(&schema, "card", &mut found);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn exactness_is_never_unless_stated() {
        assert_eq!(Exactness::default(), Exactness::Never);
        for exactness in [Exactness::Exact, Exactness::Never] {
            let read: Exactness = serde_json::from_value(exactness.to_string().into()).unwrap();
            assert_eq!(read, exactness);
        }
    }
}
