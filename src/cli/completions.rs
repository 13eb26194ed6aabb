//! `percept completions`: the words that a shell completes.

use clap_complete::Shell;

use super::error::CliError;
use super::exit::Exit;
use super::global::Global;
use super::{command, output, terminal};

/// Print a script that completes percept's words in a shell
///
/// For bash: `percept completions bash > ~/.local/share/bash-completion/completions/percept`; for zsh: into a file
/// `_percept` in a folder of `$fpath`; for fish: into `~/.config/fish/completions/percept.fish`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &Args, _: &Global) -> Result<Exit, CliError> {
    output::print(&script(args.shell))?;
    Ok(Exit::Done)
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command(terminal::Wish::Never), "percept", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn every_shell_completes_every_verb() {
        for shell in Shell::value_variants() {
            let script = script(*shell);
            for verb in command(terminal::Wish::Never).get_subcommands() {
                assert!(script.contains(verb.get_name()), "{shell}: {}", verb.get_name());
            }
        }
    }
}
