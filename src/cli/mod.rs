//! Floor 10: the command line, one file a verb.
//!
//! A verb is a file with `pub(super) struct Args` (clap's derive) and `pub(super) fn run(&Args, &Global) -> Result<Exit,
//! CliError>`, and two lines here: a variant of `Verb` and an arm of `dispatch`. What a verb finds goes to the standard
//! output through `output`; notes, progress and errors go to the standard error. [`Exit`] is the table of exit codes.

mod check;
mod completions;
mod devices;
mod error;
mod eval;
mod exit;
mod fetching;
mod global;
mod graph;
mod kinds;
mod lanes;
mod live;
mod load;
mod logging;
mod models;
mod output;
mod progress;
mod record;
mod reference;
mod run;
mod schema;
mod serving;
mod setup;
mod signals;
mod speed;
mod telemetry;
mod terminal;
mod text;
mod train;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};

use self::global::Global;

pub use self::error::CliError;
pub use self::exit::Exit;

/// Recognition on live streams: a YAML file declares the pipeline, each line becomes a supervised stage.
#[derive(Debug, Parser)]
#[command(name = "percept", version, arg_required_else_help = true, max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    verb: Verb,
}

/// The verbs, in the order of the help.
#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Args),
    Record(record::Args),
    Live(live::Args),
    Check(check::Args),
    Graph(graph::Args),
    Kinds(kinds::Args),
    Train(train::Args),
    Eval(eval::Args),
    Models(models::Args),
    Setup(setup::Args),
    Devices(devices::Args),
    Schema(schema::Args),
    Completions(completions::Args),
}

fn dispatch(verb: &Verb, global: &Global) -> Result<Exit, CliError> {
    match verb {
        Verb::Run(args) => run::run(args, global),
        Verb::Record(args) => record::run(args, global),
        Verb::Live(args) => live::run(args, global),
        Verb::Check(args) => check::run(args, global),
        Verb::Graph(args) => graph::run(args, global),
        Verb::Kinds(args) => kinds::run(args, global),
        Verb::Train(args) => train::run(args, global),
        Verb::Eval(args) => eval::run(args, global),
        Verb::Models(args) => models::run(args, global),
        Verb::Setup(args) => setup::run(args, global),
        Verb::Devices(args) => devices::run(args, global),
        Verb::Schema(args) => schema::run(args, global),
        Verb::Completions(args) => completions::run(args, global),
    }
}

/// Runs the program with the arguments of the process, and says how it ended.
///
/// With ONNX Runtime it first starts the process again, under the same number, with `ORT_DISABLE_TELEMETRY=1` in its
/// environment, unless that variable is there.
pub fn main() -> ExitCode {
    telemetry::off();
    run(std::env::args_os().collect()).into()
}

fn run(arguments: Vec<OsString>) -> Exit {
    let wish = terminal::wish(&arguments);
    let cli = match command(wish).try_get_matches_from(arguments).and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(refusal) => {
            // Help and version are no errors. A reader that has gone needs neither.
            let _ = refusal.print();
            return if refusal.use_stderr() { Exit::Refused } else { Exit::Done };
        }
    };
    let result = logging::start(&cli.global).and_then(|()| dispatch(&cli.verb, &cli.global));
    result.unwrap_or_else(|error| {
        error.print(&cli.global);
        error.exit()
    })
}

/// The whole command line, as help, completions and parsing see it.
fn command(color: terminal::Wish) -> clap::Command {
    let color = match color {
        terminal::Wish::Auto => ColorChoice::Auto,
        terminal::Wish::Always => ColorChoice::Always,
        terminal::Wish::Never => ColorChoice::Never,
    };
    Cli::command().color(color).after_long_help(exit::table())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command(terminal::Wish::Never).debug_assert();
    }

    #[test]
    fn every_verb_and_option_says_what_it_is_for() {
        fn walk(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
            command.get_subcommands().for_each(walk);
        }
        walk(&command(terminal::Wish::Never));
    }
}
