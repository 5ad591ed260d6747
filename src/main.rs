//! The program: parse, run, exit code.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Ten thousand calls hold small pieces that come and go; the system's allocator keeps half as much again of what they
/// have let go.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    callvault::cli::main()
}
