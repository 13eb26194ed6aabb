//! The options that every verb takes.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use super::error::CliError;
use super::terminal::{Terminal, Wish};
use crate::cards::Cache;
use crate::config::Faults;
use crate::stage::Settings;

/// The options that every verb takes, before or after its name.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Options of every verb")]
pub(super) struct Global {
    /// Print results and errors only: no progress, no notes, no warnings
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// What is logged, to the standard error: error, warn, info, debug, trace, or a filter such as
    /// `info,percept::runtime=debug` [default: PERCEPT_LOG, or warn]
    #[arg(long, global = true, value_name = "LEVEL|FILTER")]
    pub log: Option<String>,
    /// When to use colours; auto: on a terminal, unless NO_COLOR is set [default: auto]
    #[arg(long, global = true, value_enum, value_name = "WHEN", default_value_t, hide_default_value = true)]
    pub color: Wish,
    /// The ONNX Runtime library, or the folder that it is in [default: ORT_DYLIB_PATH, or what `percept setup` fetched,
    /// or the Python package onnxruntime, or the system's]
    #[arg(long, global = true, value_name = "PATH")]
    pub onnxruntime: Option<PathBuf>,
    /// Threads of the pool that all models share [default: one for each core]
    #[arg(long, global = true, value_name = "N")]
    pub model_threads: Option<NonZeroUsize>,
}

impl Global {
    /// The settings for a pipeline file: relative paths in it start at its folder.
    pub fn settings(&self, pipeline: &Path) -> Settings {
        Settings {
            base_dir: folder_of(pipeline).to_owned(),
            onnxruntime: self.onnxruntime.clone(),
            model_threads: self.model_threads.map(NonZeroUsize::get),
            cache: None,
            samples: Some(crate::train::samples),
        }
    }

    /// The user's cache of models and libraries.
    pub fn cache(&self) -> Result<Cache, CliError> {
        Ok(Cache::from_env()?)
    }

    /// The standard output.
    pub fn stdout(&self) -> Terminal {
        Terminal::stdout(self.color)
    }

    /// The standard error.
    pub fn stderr(&self) -> Terminal {
        Terminal::stderr(self.color)
    }

    /// Tells the user something in passing, on the standard error, unless they asked for quiet.
    pub fn note(&self, text: impl AsRef<str>) {
        if !self.quiet {
            self.stderr().line(text.as_ref());
        }
    }

    /// Shows what is worth a look and stops nothing, on the standard error, unless the user asked for quiet.
    pub fn warn(&self, warnings: &Faults) {
        if !self.quiet && !warnings.is_empty() {
            let terminal = self.stderr();
            terminal.line(warnings.render(terminal.style()).trim_end());
        }
    }
}

/// The folder that a file lies in, as it was named.
pub(super) fn folder_of(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_pipeline() {
        for (file, folder) in [("a.yaml", "."), ("x/a.yaml", "x"), ("/a.yaml", "/"), ("../a.yaml", "..")] {
            assert_eq!(folder_of(Path::new(file)), Path::new(folder), "{file}");
        }
    }

    #[test]
    fn settings_carry_the_options() {
        let global =
            Global { onnxruntime: Some("lib.so".into()), model_threads: NonZeroUsize::new(3), ..Global::default() };
        let settings = global.settings(Path::new("x/a.yaml"));
        assert_eq!((settings.base_dir, settings.onnxruntime), ("x".into(), Some("lib.so".into())));
        assert_eq!(settings.model_threads, Some(3));
    }
}
