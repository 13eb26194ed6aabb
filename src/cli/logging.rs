//! The log, on the standard error.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use super::error::CliError;
use super::global::Global;

/// The variable that stands in for `--log`.
const VARIABLE: &str = "PERCEPT_LOG";

/// Sends what is logged to the standard error, as much of it as `--log`, or else `PERCEPT_LOG`, asks for.
pub(super) fn start(global: &Global) -> Result<(), CliError> {
    let variable = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty());
    let (wish, name) = match (&global.log, variable) {
        (Some(wish), _) => (wish.clone(), "--log"),
        (None, Some(wish)) => (wish, VARIABLE),
        (None, None) => (if global.quiet { "error" } else { "warn" }.to_owned(), "--log"),
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter(&wish, name)?)
        .with_writer(io::stderr)
        .with_ansi(global.stderr().color)
        .finish();
    // A program that calls this function twice, a test say, keeps its first log.
    let _ = subscriber.try_init();
    Ok(())
}

fn filter(wish: &str, name: &str) -> Result<EnvFilter, CliError> {
    EnvFilter::builder().parse(wish).map_err(|error| {
        CliError::usage(format!("{name} does not understand `{wish}`: {error}")).help(
            "give error, warn, info, debug, trace or off, or parts with a module each: info,percept::runtime=debug",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        for (wish, good) in [
            ("warn", true),
            ("info,percept::runtime=debug", true),
            ("off", true),
            ("percept=loud", false),
            ("a=b=c", false),
        ] {
            assert_eq!(filter(wish, "--log").is_ok(), good, "{wish}");
        }
    }
}
