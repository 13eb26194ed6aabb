//! `percept schema`.

use super::error::CliError;
use super::exit::Exit;
use super::global::Global;

/// Soon
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

pub(super) fn run(_: &Args, _: &Global) -> Result<Exit, CliError> {
    Err(CliError::failed("not written yet"))
}
