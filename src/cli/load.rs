//! A pipeline file with the changes that the command line makes to it.

use std::path::Path;

use clap::Args;

use super::CliError;
use super::global::Global;
use crate::pipeline::PipelineFile;
use crate::runtime::Pipeline;
use crate::stages::REGISTRY;

/// What the command line changes in a pipeline file.
#[derive(Debug, Args)]
pub(super) struct Changes {
    #[command(flatten)]
    edits: Edits,

    /// Adds a `jsonl` sink that writes what the last stage writes; `-` is the standard output
    #[arg(long, short, value_name = "PATH")]
    output: Option<String>,
}

impl Changes {
    /// Reads the file, makes the changes, checks the whole, and shows warnings.
    pub(super) fn load(&self, path: &Path, global: &Global) -> Result<Pipeline, CliError> {
        let mut file = self.edits.open(path)?;
        if let Some(output) = &self.output {
            file.add_output(output)?;
        }
        check(&file, path, global)
    }
}

/// Checks a pipeline file that was read at `path`, and shows warnings.
pub(super) fn check(file: &PipelineFile, path: &Path, global: &Global) -> Result<Pipeline, CliError> {
    let pipeline = Pipeline::from_file(file, &REGISTRY, &global.settings(path))?;
    global.warn(pipeline.warnings());
    Ok(pipeline)
}

/// What the command line changes in the stages of a pipeline file.
#[derive(Debug, Args)]
pub(super) struct Edits {
    /// Reads files or folders in place of the capture; ID=PATH where there are several captures
    #[arg(long, short, value_name = "[ID=]PATH", num_args = 1..)]
    input: Vec<String>,

    /// Sets a key of a stage, as in --set endpoint.min_silence_ms=300
    #[arg(long, short, value_name = "STAGE.KEY=VALUE")]
    set: Vec<String>,
}

impl Edits {
    /// Reads the file and makes the changes.
    pub(super) fn open(&self, path: &Path) -> Result<PipelineFile, CliError> {
        let mut file = PipelineFile::open(path)?;
        for (id, paths) in self.inputs() {
            file.set_inputs(id.as_deref(), &paths)?;
        }
        for change in &self.set {
            file.set(change)?;
        }
        Ok(file)
    }

    /// The inputs by capture: `ID=PATH` where the part before `=` could be an id and no such file is there.
    fn inputs(&self) -> Vec<(Option<String>, Vec<String>)> {
        let mut inputs: Vec<(Option<String>, Vec<String>)> = Vec::new();
        for input in &self.input {
            let (id, path) = match input.split_once('=') {
                Some((id, path)) if is_word(id) && !Path::new(input).exists() => (Some(id.to_owned()), path),
                _ => (None, input.as_str()),
            };
            match inputs.iter_mut().find(|(known, _)| *known == id) {
                Some((_, paths)) => paths.push(path.to_owned()),
                None => inputs.push((id, vec![path.to_owned()])),
            }
        }
        inputs
    }
}

/// Whether a text could be the id of a stage.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '-' || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_grouped_by_capture() {
        let input = ["a.wav", "mic=b.wav", "c.wav", "mic=d.wav", "/odd=path/e.wav"].map(str::to_owned).to_vec();
        let changes = Edits { input, set: Vec::new() };
        let texts = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            changes.inputs(),
            [
                (None, texts(&["a.wav", "c.wav", "/odd=path/e.wav"])),
                (Some("mic".to_owned()), texts(&["b.wav", "d.wav"])),
            ]
        );
    }
}
