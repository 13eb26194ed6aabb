//! `percept check`: every fault of a pipeline file at once. Opens no device and starts nothing.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::global::Global;
use super::load::Changes;
use super::{CliError, Exit};

/// Checks a pipeline file and shows every fault at once
#[derive(Debug, ClapArgs)]
pub(super) struct Args {
    /// The pipeline file
    file: PathBuf,

    #[command(flatten)]
    changes: Changes,
}

pub(super) fn run(args: &Args, global: &Global) -> Result<Exit, CliError> {
    let pipeline = args.changes.load(&args.file, global)?;
    if !global.quiet {
        let plan = pipeline.plan();
        let (stages, links) = (plan.stages.len(), plan.links.len());
        global.note(format!("{}: {stages} stages, {links} links, no fault", args.file.display()));
    }
    Ok(Exit::Done)
}
