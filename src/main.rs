//! The `textledger` program; see [`textledger::commands`].

use std::process::ExitCode;

fn main() -> ExitCode {
    textledger::commands::run()
}
