//! The percept program.

use std::process::ExitCode;

fn main() -> ExitCode {
    percept::cli::main()
}
