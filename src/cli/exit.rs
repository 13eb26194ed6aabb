//! The exit codes: a promise to scripts.

use std::fmt::Write;
use std::process::ExitCode;

/// How the program ended, as scripts see it. The numbers are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Exit {
    /// 0: done. For `run`: every stream came to its end and the books balance; also after one interrupt (SIGINT or
    /// SIGTERM), which lets everything under way be finished.
    Done,
    /// 1: failed. A pipeline could not start, a stage failed for good, a download or a file operation failed, a file is
    /// not what its card says.
    Failed,
    /// 2: refused before anything started. A wrong command line, or faults in a pipeline or a card.
    Refused,
    /// 3: finished, but not whole. Streams were ended before their end, or packets or samples were lost that no policy
    /// of the pipeline allows to drop. Also when the reader of every output has gone (`percept run … | head -1`): the
    /// run ends then.
    Lossy,
    /// 4: something must be fetched or installed first: a model, ONNX Runtime. The message says what to type.
    Missing,
    /// 130: interrupted (SIGINT): a run for the second time, before everything under way was finished; a training for the
    /// first.
    Interrupted,
    /// 143: told to end (SIGTERM), likewise.
    Terminated,
}

impl Exit {
    /// All of them, by number.
    pub const ALL: [Exit; 7] =
        [Exit::Done, Exit::Failed, Exit::Refused, Exit::Lossy, Exit::Missing, Exit::Interrupted, Exit::Terminated];

    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Refused => 2,
            Exit::Lossy => 3,
            Exit::Missing => 4,
            Exit::Interrupted => 130,
            Exit::Terminated => 143,
        }
    }

    /// What it means, in a line.
    pub const fn meaning(self) -> &'static str {
        match self {
            Exit::Done => "done; an interrupted run was finished in order",
            Exit::Failed => "failed while working: a stage failed for good, a download or a file failed",
            Exit::Refused => "refused before anything started: a wrong command line, faults in a pipeline or a card",
            Exit::Lossy => "finished, but with losses that no policy allows, or with streams that failed",
            Exit::Missing => "something must be fetched or installed first (percept setup)",
            Exit::Interrupted => "interrupted: a run for the second time, a training for the first",
            Exit::Terminated => "told to end: a run for the second time, a training for the first",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

/// The table of the long help.
pub(super) fn table() -> String {
    let mut text = String::from("Exit codes:\n");
    for exit in Exit::ALL {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {:>3}  {}", exit.code(), exit.meaning());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change of this table breaks scripts.
    #[test]
    fn the_numbers_are_stable() {
        assert_eq!(Exit::ALL.map(Exit::code), [0, 1, 2, 3, 4, 130, 143]);
        let table = table();
        for exit in Exit::ALL {
            assert!(table.contains(&format!("{:>3}  {}\n", exit.code(), exit.meaning())), "{table}");
        }
    }
}
