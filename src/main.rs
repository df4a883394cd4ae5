//! The `textledger` program; see [`textledger::commands`].

use std::process::ExitCode;

/// A callback is some two hundred small allocations; the system's allocator takes a sixth of its time for them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    textledger::commands::run()
}
